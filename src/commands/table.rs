//! One row a command: its words, its arguments, its help in two languages, and how it becomes a [`Verb`].

mod arguments;

use clap::{Arg, ArgAction, ArgMatches};

use arguments::{
    certificates, destination, dry_run, is_json, json, konnektor, pair, parsed, service_list, services,
    source, which, yes,
};

use crate::asks::{Family, Into, Restore, Source, Verb, Which};
use crate::config::Language;
use crate::names::{ActionName, BackupName, SiteName};

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
        words: &["ask"],
        aliases: &["anfragen"],
        english: "ask the practice to let you in; it answers at its own page",
        german: "die Praxis bitten, Sie hereinzulassen; sie antwortet auf ihrer eigenen Seite",
        arguments: arguments::ask,
        verb: arguments::asked,
    },
    Row {
        words: &["order"],
        aliases: &["auftrag"],
        english: "confirm several things at once, for a time; order list shows what is open, order close [TICKET] ends it",
        german: "mehreres auf einmal bestätigen, für eine Zeit; order list zeigt Offenes, order close [TICKET] beendet es",
        arguments: arguments::order,
        verb: arguments::ordered,
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
        arguments: || {
            let check = Arg::new("check").long("check").action(ArgAction::SetTrue);
            vec![which(), check, json()]
        },
        verb: |m| Some(Verb::KonnektorBackups { konnektor: konnektor(m), check: m.get_flag("check") }),
    },
    Row {
        words: &["konnektor", "status"],
        aliases: &["zustand"],
        english: "what the box is and how it is",
        german: "was für ein Gerät es ist und wie es ihm geht",
        arguments: || vec![which(), json()],
        verb: |m| Some(Verb::KonnektorStatus { konnektor: konnektor(m) }),
    },
    Row {
        words: &["konnektor", "diff"],
        aliases: &["vergleichen"],
        english: "what differs between a backup and the box, or a second backup",
        german: "was eine Sicherung vom Gerät oder einer zweiten Sicherung unterscheidet",
        arguments: || vec![which(), source().required(true).action(ArgAction::Append), services(), json()],
        verb: |m| {
            let mut sources = m.get_many::<Source>("file")?.cloned();
            let (old, new) = (sources.next()?, sources.next());
            let fits = sources.next().is_none() && !(old == Source::Input && new == Some(Source::Input));
            fits.then(|| Verb::KonnektorDiff { konnektor: konnektor(m), old, new, services: service_list(m) })
        },
    },
    Row {
        words: &["konnektor", "restore"],
        aliases: &["einlesen"],
        english: "write a backup back; --dry-run shows the plan, --resume and --undo end what was interrupted",
        german: "eine Sicherung einlesen; --dry-run zeigt den Plan, --resume und --undo beenden Unterbrochenes",
        arguments: || {
            let certificates = Arg::new("certificates")
                .short('z')
                .value_name("overwrite|delete")
                .action(ArgAction::Append)
                .value_parser(["overwrite", "delete", "ueberschreiben", "loeschen"]);
            let others = ["file", "certificates", "services", "dry-run"];
            let resume = Arg::new("resume").long("resume").action(ArgAction::SetTrue);
            let undo = Arg::new("undo").long("undo").action(ArgAction::SetTrue).conflicts_with("resume");
            vec![
                which(),
                source().required_unless_present_any(["resume", "undo"]),
                certificates,
                services(),
                dry_run(),
                resume.conflicts_with_all(others),
                undo.conflicts_with_all(others),
                yes(),
            ]
        },
        verb: |m| {
            let restore = match (m.get_flag("resume"), m.get_flag("undo")) {
                (true, _) => Restore::Resume,
                (_, true) => Restore::Undo,
                (false, false) => Restore::From {
                    source: m.get_one::<Source>("file")?.clone(),
                    certificates: certificates(m),
                    services: service_list(m),
                    dry_run: m.get_flag("dry-run"),
                },
            };
            Some(Verb::KonnektorRestore { konnektor: konnektor(m), restore, yes: m.get_count("yes") })
        },
    },
    Row {
        words: &["konnektor", "perform"],
        aliases: &["ausfuehren"],
        english: "have the box do something: reboot, …; its data is JSON",
        german: "das Gerät etwas tun lassen: reboot, …; die Daten sind JSON",
        arguments: || {
            let action = Arg::new("action")
                .short('a')
                .value_name("ACTION")
                .required(true)
                .value_parser(parsed::<ActionName>());
            vec![which(), action, Arg::new("data").short('d').value_name("JSON")]
        },
        verb: |m| {
            let action = m.get_one::<ActionName>("action")?.clone();
            // The data itself is found before the line is split into words; what is no JSON is none.
            let fits = m.get_one::<String>("data").is_none_or(|data| is_json(data));
            fits.then(|| Verb::KonnektorPerform { konnektor: konnektor(m), action, data: None })
        },
    },
    Row {
        words: &["konnektor", "terminals"],
        aliases: &["kartenterminals"],
        english: "its card terminals",
        german: "seine Kartenterminals",
        arguments: || vec![which(), json()],
        verb: |m| Some(Verb::KonnektorTerminals { konnektor: konnektor(m) }),
    },
    Row {
        words: &["konnektor", "remap"],
        aliases: &["zuordnen"],
        english: "after a new pairing: the Infomodell's references put right, by a backup from before",
        german: "nach neuem Pairing: die Verweise des Infomodells richtigstellen, nach einer Sicherung von vorher",
        arguments: || {
            let pair = Arg::new("pair")
                .short('m')
                .value_name("OLD=NEW")
                .action(ArgAction::Append)
                .value_parser(pair as fn(&str) -> _);
            vec![which(), source().required(true), pair, dry_run(), yes()]
        },
        verb: |m| {
            let pairs = m.get_many::<(String, String)>("pair").into_iter().flatten().cloned().collect();
            Some(Verb::KonnektorRemap {
                konnektor: konnektor(m),
                source: m.get_one::<Source>("file")?.clone(),
                pairs,
                dry_run: m.get_flag("dry-run"),
                yes: m.get_count("yes"),
            })
        },
    },
    Row {
        words: &["jobs"],
        aliases: &["auftraege"],
        english: "what runs at your boxes; attach N follows it again, cancel N ends it",
        german: "was an Ihren Geräten läuft; attach N folgt ihm wieder, cancel N beendet es",
        arguments: || {
            let action = Arg::new("action").value_name("attach|cancel").requires("number");
            let number = Arg::new("number").value_name("N").value_parser(clap::value_parser!(u32));
            vec![action.value_parser(["attach", "cancel"]), number, json()]
        },
        verb: |m| match (m.get_one::<String>("action").map(String::as_str), m.get_one::<u32>("number")) {
            (None, None) => Some(Verb::Jobs),
            (Some("attach"), Some(number)) => Some(Verb::JobAttach(*number)),
            (Some("cancel"), Some(number)) => Some(Verb::JobCancel(*number)),
            (Some(_) | None, _) => None,
        },
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
pub(super) fn family(words: &str) -> Option<Family> {
    let Some(last) = words.strip_prefix("konnektor ") else {
        return Family::NAMED.into_iter().find(|family| family.as_str() == words);
    };
    let row = TABLE.iter().find(|row| match row.words {
        ["konnektor", word] => *word == last || row.aliases.contains(&last),
        _ => false,
    })?;
    Family::NAMED.into_iter().find(|family| family.as_str() == row.words.join(" "))
}

/// A value of these arguments, for saying it back: the last of `-f`, or of `-d`.
pub fn last_value(m: &ArgMatches) -> String {
    let of = |id| m.try_get_raw(id).ok().flatten().and_then(Iterator::last);
    let word = of("data").or_else(|| of("file"));
    word.map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
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
        ("FILE|-", Language::English) => "the name of a backup, or -,",
        ("FILE|-", Language::German) => "der Name einer Sicherung, oder -,",
        ("ACTION", Language::English) => "the name of an action",
        ("ACTION", Language::German) => "der Name einer Aktion",
        ("N", Language::English) => "the number of a job",
        ("N", Language::German) => "die Nummer eines Auftrags",
        ("SERVICE,…", Language::English) => "the name of a service",
        ("SERVICE,…", Language::German) => "der Name eines Dienstes",
        (_, Language::English) => "a word",
        (_, Language::German) => "ein Wort",
    }
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
                (None, Some(long)) if value.is_empty() => format!("--{long}"),
                (None, Some(long)) => format!("--{long} {value}"),
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
    fn every_family_of_commands_has_a_row() {
        // Hops and forwards are channels of SSH, not commands.
        for family in Family::NAMED.into_iter().filter(|family| family.as_str().starts_with("konnektor")) {
            let row = TABLE.iter().any(|row| row.words.join(" ") == family.as_str());
            assert!(row, "{}", family.as_str());
        }
    }
}
