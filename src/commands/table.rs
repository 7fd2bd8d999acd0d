//! One row a command: its words, its arguments, its help in two languages, and how it becomes a [`Verb`].

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};

use crate::asks::{Family, Into, Verb, Which};
use crate::config::Language;
use crate::names::{BackupName, ServiceName, SiteName};

/// A remote command.
pub struct Row {
    /// Its words: `konnektor`, `backup`.
    pub words: &'static [&'static str],
    /// Other last words; German ones of the old tool.
    pub aliases: &'static [&'static str],
    /// One line of help.
    pub english: &'static str,
    /// The same in German.
    pub german: &'static str,
    /// Its arguments.
    pub arguments: fn() -> Vec<Arg>,
    /// The matched arguments as a verb. `None` cannot happen with what clap has let through; it is refused as usage.
    pub verb: fn(&ArgMatches) -> Option<Verb<Which>>,
}

/// All of them, in the order in which help shows them.
pub static TABLE: &[Row] = &[
    Row {
        words: &["help"],
        aliases: &["hilfe"],
        english: "what there is, or one command",
        german: "was es gibt, oder ein Befehl",
        arguments: || vec![Arg::new("topic").value_name("COMMAND").num_args(0..=2)],
        verb: |m| Some(Verb::Help(m.get_many::<String>("topic").into_iter().flatten().cloned().collect())),
    },
    Row {
        words: &["whoami"],
        aliases: &[],
        english: "who you are to this gateway",
        german: "wer Sie für dieses Gateway sind",
        arguments: Vec::new,
        verb: |_| Some(Verb::Whoami),
    },
    Row {
        words: &["sites"],
        aliases: &["standorte"],
        english: "where you may do what",
        german: "wo Sie was dürfen",
        arguments: Vec::new,
        verb: |_| Some(Verb::Sites),
    },
    Row {
        words: &["why"],
        aliases: &["warum"],
        english: "why something is, or is not, permitted there now",
        german: "warum dort etwas jetzt erlaubt ist oder nicht",
        arguments: || {
            vec![
                Arg::new("site").value_name("SITE").required(true).value_parser(parsed::<SiteName>()),
                Arg::new("command").value_name("COMMAND").num_args(0..=2),
            ]
        },
        verb: |m| {
            let words: Vec<&str> =
                m.get_many::<String>("command").into_iter().flatten().map(String::as_str).collect();
            let command = match words.as_slice() {
                [] => None,
                words => Some(Family::NAMED.into_iter().find(|f| f.as_str() == words.join(" "))?),
            };
            Some(Verb::Why { site: m.get_one::<SiteName>("site")?.clone(), command })
        },
    },
    Row {
        words: &["konnektor", "list"],
        aliases: &["liste"],
        english: "the Konnektors you may reach",
        german: "die Konnektoren, die Sie erreichen dürfen",
        arguments: Vec::new,
        verb: |_| Some(Verb::KonnektorList),
    },
    Row {
        words: &["konnektor", "backup"],
        aliases: &["sichern"],
        english: "back a Konnektor up; -f - writes it to standard output too",
        german: "einen Konnektor sichern; -f - gibt die Sicherung auch aus",
        arguments: || {
            let file =
                Arg::new("file").short('f').value_name("FILE|-").value_parser(destination as fn(&str) -> _);
            vec![which(), file, services()]
        },
        verb: |m| {
            Some(Verb::KonnektorBackup {
                konnektor: konnektor(m),
                into: m.get_one::<Into>("file").cloned().unwrap_or(Into::Store),
                services: service_list(m),
            })
        },
    },
    Row {
        words: &["konnektor", "backups"],
        aliases: &["sicherungen"],
        english: "what is kept: name, time, size, box, firmware, who",
        german: "was aufbewahrt wird: Name, Zeit, Größe, Gerät, Firmware, wer",
        arguments: || vec![which()],
        verb: |m| Some(Verb::KonnektorBackups { konnektor: konnektor(m) }),
    },
    Row {
        words: &["konnektor", "show"],
        aliases: &["zeigen"],
        english: "a kept backup as plain JSON",
        german: "eine Sicherung als lesbares JSON",
        arguments: || {
            let file = Arg::new("file")
                .short('f')
                .value_name("FILE")
                .required(true)
                .value_parser(parsed::<BackupName>());
            vec![which(), file, services()]
        },
        verb: |m| {
            Some(Verb::KonnektorShow {
                konnektor: konnektor(m),
                file: m.get_one::<BackupName>("file")?.clone(),
                services: service_list(m),
            })
        },
    },
];

fn parsed<T: std::str::FromStr<Err = crate::names::BadName> + Clone + Send + Sync + 'static>() -> ValueParser
{
    ValueParser::new(|text: &str| text.parse::<T>())
}

fn destination(text: &str) -> Result<Into, crate::names::BadName> {
    if text == "-" { Ok(Into::Output) } else { text.parse().map(Into::Named) }
}

fn which() -> Arg {
    Arg::new("which").short('i').value_name("SITE[/KONNEKTOR]").value_parser(parsed::<Which>())
}

fn services() -> Arg {
    let parser = parsed::<ServiceName>();
    Arg::new("services")
        .short('s')
        .value_name("SERVICE,…")
        .value_delimiter(',')
        .action(ArgAction::Append)
        .value_parser(parser)
}

fn konnektor(m: &ArgMatches) -> Which {
    m.get_one::<Which>("which").cloned().unwrap_or(Which::Only)
}

fn service_list(m: &ArgMatches) -> Vec<ServiceName> {
    m.get_many::<ServiceName>("services").into_iter().flatten().cloned().collect()
}

impl Row {
    fn command(&self) -> clap::Command {
        let name = self.words.last().copied().unwrap_or_default();
        let mut command =
            clap::Command::new(name).disable_help_flag(true).aliases(self.aliases.iter().copied());
        let help = Arg::new("help").short('h').long("help").action(ArgAction::SetTrue).exclusive(true);
        for argument in (self.arguments)() {
            command = command.arg(argument);
        }
        command.arg(help)
    }

    /// One line of help in the person's language.
    pub fn about(&self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::German => self.german,
        }
    }

    /// `konnektor backup [-i SITE[/KONNEKTOR]] [-f FILE|-] [-s SERVICE,…]`
    pub fn usage(&self) -> String {
        let mut usage = self.words.join(" ");
        for argument in (self.arguments)() {
            let value = argument
                .get_value_names()
                .and_then(|v| v.first())
                .map(ToString::to_string)
                .unwrap_or_default();
            let written = match argument.get_short() {
                Some(short) => format!("-{short} {value}"),
                None => value,
            };
            if argument.is_required_set() {
                usage.extend([" ", &written]);
            } else {
                usage.extend([" [", &written, "]"]);
            }
        }
        usage
    }
}

/// The table as clap reads it: two levels, no colours, no help of its own.
pub fn grammar() -> clap::Command {
    let bare = |name: &'static str| {
        clap::Command::new(name)
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_help_subcommand(true)
            .disable_version_flag(true)
            .color(clap::ColorChoice::Never)
    };
    let mut root = bare("pforte");
    let mut family = bare("konnektor").no_binary_name(false);
    for row in TABLE {
        match row.words {
            [_] => root = root.subcommand(row.command()),
            [_, ..] => family = family.subcommand(row.command()),
            [] => {}
        }
    }
    root.subcommand(family)
}

/// The row that a match is of, and its arguments.
pub fn row(matches: &ArgMatches) -> Option<(&'static Row, &ArgMatches)> {
    let (first, inner) = matches.subcommand()?;
    let (words, inner) = match inner.subcommand() {
        Some((second, innermost)) => (vec![first, second], innermost),
        None => (vec![first], inner),
    };
    TABLE.iter().find(|row| row.words == words.as_slice()).map(|row| (row, inner))
}

/// Every word that names a command.
pub fn last_words() -> impl Iterator<Item = &'static str> {
    let own = TABLE.iter().flat_map(|row| row.words.iter().copied());
    own.chain(TABLE.iter().flat_map(|row| row.aliases.iter().copied()))
}

/// Every command as it is typed, for the prompt's completion.
pub fn words() -> Vec<String> {
    TABLE.iter().map(|row| row.words.join(" ")).collect()
}
