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
        arguments: || vec![json()],
        verb: |_| Some(Verb::Whoami),
    },
    Row {
        words: &["sites"],
        aliases: &["standorte"],
        english: "where you may do what",
        german: "wo Sie was dürfen",
        arguments: || vec![json()],
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
            let words = why_words(m);
            let command = if words.is_empty() { None } else { Some(family(&words)?) };
            Some(Verb::Why { site: m.get_one::<SiteName>("site")?.clone(), command })
        },
    },
    Row {
        words: &["konnektor", "list"],
        aliases: &["liste"],
        english: "the Konnektors you may reach",
        german: "die Konnektoren, die Sie erreichen dürfen",
        arguments: || vec![json()],
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
        arguments: || vec![which(), json()],
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
            vec![which(), file, services(), json()]
        },
        verb: |m| {
            Some(Verb::KonnektorShow {
                konnektor: konnektor(m),
                file: m.get_one::<BackupName>("file")?.clone(),
                services: service_list(m),
            })
        },
    },
    Row {
        words: &["connect"],
        aliases: &["verbinden"],
        english: "a recorded shell at a site's host",
        german: "eine aufgezeichnete Shell auf einem Rechner des Standorts",
        arguments: || {
            let host = Arg::new("host").value_name("portal|backup").required(true);
            let site = Arg::new("site").short('i').value_name("SITE").value_parser(parsed::<SiteName>());
            vec![host.value_parser(["portal", "backup"]), site]
        },
        verb: |m| {
            let host = m.get_one::<String>("host")?.parse().ok()?;
            Some(Verb::Connect { host, site: m.get_one::<SiteName>("site").cloned() })
        },
    },
];

/// The command that `why` is asked about, as it was written.
pub fn why_words(m: &ArgMatches) -> String {
    let words = m.try_get_many::<String>("command").ok().flatten().into_iter().flatten();
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The family of `konnektor backup` or `konnektor sichern`, if this gateway has it; of `hop backup` too, which is no command.
fn family(words: &str) -> Option<Family> {
    let Some(last) = words.strip_prefix("konnektor ") else {
        return Family::BUILT.into_iter().find(|family| family.as_str() == words);
    };
    let row = TABLE.iter().find(|row| match row.words {
        ["konnektor", word] => *word == last || row.aliases.contains(&last),
        _ => false,
    })?;
    Family::BUILT.into_iter().find(|family| family.as_str() == row.words.join(" "))
}

/// Commands that the interface names and this gateway does not have yet; German words of the old tool among them.
const NOT_YET: [&str; 5] = ["status", "diff", "restore", "einlesen", "perform"];

/// Is it one that this gateway does not have yet? Gives it without its arguments.
pub fn not_yet(words: &str) -> Option<String> {
    let mut words = words.split_ascii_whitespace();
    match (words.next()?, words.next()?) {
        ("konnektor", word) if NOT_YET.contains(&word) => Some(format!("konnektor {word}")),
        _ => None,
    }
}

/// The words that can follow `konnektor`.
pub fn konnektor_words() -> Vec<&'static str> {
    let rows = TABLE.iter().filter(|row| row.words.first() == Some(&"konnektor"));
    rows.filter_map(|row| row.words.get(1).copied()).collect()
}

/// What an argument is called in a sentence, by its value's name.
pub fn called(value: &str, language: Language) -> &'static str {
    match (value, language) {
        ("SITE", Language::English) => "the name of a site",
        ("SITE", Language::German) => "der Name eines Standorts",
        ("SITE[/KONNEKTOR]", Language::English) => "the name of a site or Konnektor",
        ("SITE[/KONNEKTOR]", Language::German) => "der Name eines Standorts oder Konnektors",
        ("FILE", Language::English) => "the name of a backup",
        ("FILE", Language::German) => "der Name einer Sicherung",
        ("FILE|-", Language::English) => "the name of a backup, or - for standard output,",
        ("FILE|-", Language::German) => "der Name einer Sicherung, oder - für die Standardausgabe,",
        ("SERVICE,…", Language::English) => "the name of a service",
        ("SERVICE,…", Language::German) => "der Name eines Dienstes",
        (_, Language::English) => "a word",
        (_, Language::German) => "ein Wort",
    }
}

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

/// Read by [`crate::asks::Command::form`]; `konnektor show` is JSON with and without it.
fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue)
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
            let written = match (argument.get_short(), argument.get_long()) {
                (Some(short), _) => format!("-{short} {value}"),
                (None, Some(long)) => format!("--{long}"),
                (None, None) => value,
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

/// Every command as it is typed, for the prompt's completion; the German words too.
pub fn words() -> Vec<String> {
    TABLE
        .iter()
        .flat_map(|row| {
            let (last, before) = row.words.split_last().map_or(("", [].as_slice()), |(l, b)| (*l, b));
            let lasts = std::iter::once(last).chain(row.aliases.iter().copied());
            lasts.map(move |last| [before, &[last]].concat().join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_offers_the_german_words_too() {
        let words = words();
        for word in
            ["hilfe", "standorte", "warum", "konnektor backup", "konnektor sichern", "konnektor zeigen"]
        {
            assert!(words.iter().any(|w| w == word), "{word} in {words:?}");
        }
        for words in words {
            let cause = crate::commands::parse(words.as_bytes()).err().map(|e| e.cause());
            assert!(cause.is_none_or(|cause| cause == "words-missing"), "{words} is {cause:?}");
        }
    }

    #[test]
    fn every_family_that_is_built_has_a_row_and_no_other_has() {
        // Hops and forwards are channels of SSH, not commands.
        for family in Family::NAMED.into_iter().filter(|family| family.as_str().starts_with("konnektor")) {
            let row = TABLE.iter().any(|row| row.words.join(" ") == family.as_str());
            assert_eq!(row, Family::BUILT.contains(&family), "{}", family.as_str());
            assert_eq!(row, not_yet(family.as_str()).is_none(), "{}", family.as_str());
        }
    }
}
