//! Bytes as they came → [`Draft`], or a refusal that says what was wrong. Words left over are wrong.
//! Absent on purpose: quoting, variables, wildcards, comments. There is no shell to mean them for.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::data;
use super::table::{self, grammar, row};
use crate::asks::{Draft, Family, LONGEST_ORDER, Verb};
use crate::config::{Language, nearest};

/// The longest command in bytes. No command of the table is near it.
pub const LONGEST: usize = 8 * 1024;

/// Why what was asked for is none of our commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// Longer than [`LONGEST`].
    TooLong,
    /// Bytes beyond printable ASCII: control characters, newlines, NUL, look-alike letters, no UTF-8.
    Characters,
    /// A space before the first or after the last word.
    Spaces,
    /// No words at all.
    Empty,
    /// A work order longer than a phone shows.
    LongOrder,
    /// Not in the table, or with wrong arguments; clap's own finding.
    Usage {
        /// What is wrong with it.
        kind: Wrong,
        /// The word in question, escaped.
        word: String,
        /// The nearest that there is.
        near: Option<String>,
    },
}

/// What is wrong with the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No such command.
    Command,
    /// A word or option too many.
    LeftOver,
    /// A word or option missing.
    Missing,
    /// A value that is none.
    Value,
    /// A file transfer: there is no file system.
    NoFiles,
}

/// The longest echo of a word in characters: enough to know it again.
const ECHO: usize = 60;

/// A word as it is said back: escaped, and cut.
pub(super) fn echoed(word: &str) -> String {
    let escaped = word.chars().take(ECHO + 1).flat_map(char::escape_default).collect::<String>();
    if escaped.chars().count() <= ECHO {
        return escaped;
    }
    escaped.chars().take(ECHO).chain(['…']).collect()
}

/// Parses a command.
pub fn parse(bytes: &[u8]) -> Result<Draft, Unparsed> {
    if bytes.len() > LONGEST {
        return Err(Unparsed::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Unparsed::Characters)?;
    // What a practice is told is read by people; all else is names.
    let for_people = ["ask ", "anfragen "].iter().any(|word| text.starts_with(word));
    if !text.chars().all(|c| (' '..='~').contains(&c) || (for_people && is_letter_like(c))) {
        return Err(Unparsed::Characters);
    }
    if text.trim().is_empty() {
        return Err(Unparsed::Empty);
    }
    if text.trim() != text {
        return Err(Unparsed::Spaces);
    }
    if moves_files(text) {
        let word = text.split_ascii_whitespace().next().unwrap_or_default();
        return Err(Unparsed::Usage { kind: Wrong::NoFiles, word: echoed(word), near: None });
    }
    let (words, data) = data::words(text);
    let matches = grammar().try_get_matches_from(words).map_err(|e| usage(&e))?;
    let missing = || Unparsed::Usage { kind: Wrong::Missing, word: echoed(text), near: None };
    let (row, arguments) = row(&matches).ok_or_else(missing)?;
    let mut verb = if arguments.get_flag("help") {
        Verb::Help(row.words.iter().map(ToString::to_string).collect())
    } else {
        (row.verb)(arguments).ok_or_else(|| match row.words {
            ["order"] => Unparsed::Usage {
                kind: Wrong::Missing,
                word: "order TICKET -i SITE,… --may COMMAND,… --for 60m".into(),
                near: None,
            },
            ["ask"] => Unparsed::Usage {
                kind: Wrong::Missing,
                word: "ask SITE --why \"3 to 200 characters\" --for 30m".into(),
                near: None,
            },
            _ => not_fitting(arguments),
        })?
    };
    if matches!(verb, Verb::Order(_)) && bytes.len() > LONGEST_ORDER {
        return Err(Unparsed::LongOrder);
    }
    if let Verb::KonnektorPerform { data: empty, .. } = &mut verb {
        *empty = data;
    }
    Ok(Draft { verb, as_asked: data::masked(bytes).map_or_else(|| bytes.into(), Into::into) })
}

/// Letters and signs of any language; nothing that is not seen, or turns what is seen around (Unicode TR36).
fn is_letter_like(c: char) -> bool {
    c.is_alphanumeric() || "„“”‚‘’–—…€§°²³ß«»".contains(c)
}

/// What clap has let through and is none: the command that `why` was asked about, a third `-f`, data that is no JSON.
fn not_fitting(arguments: &clap::ArgMatches) -> Unparsed {
    let why = table::why_words(arguments);
    let word = if why.is_empty() { table::last_value(arguments) } else { why.clone() };
    let near = nearest(&why, Family::NAMED.iter().map(|family| family.as_str())).filter(|_| !why.is_empty());
    Unparsed::Usage { kind: Wrong::Value, word: echoed(&word), near: near.map(ToOwned::to_owned) }
}

/// Is it what scp, rsync and sftp send as a command?
fn moves_files(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    let program = first.rsplit('/').next().unwrap_or_default();
    matches!(program, "scp" | "rsync" | "sftp-server" | "internal-sftp")
}

fn usage(error: &clap::Error) -> Unparsed {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        Some(_) | None => None,
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "clap's list may grow; what is not named is a word missing"
    )]
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => Wrong::Command,
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues | ErrorKind::ArgumentConflict => {
            Wrong::LeftOver
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_none_or(|v| v.is_empty()) => {
            Wrong::Missing
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => Wrong::Value,
        _ => Wrong::Missing,
    };
    let word = text(ContextKind::InvalidSubcommand)
        .or_else(|| text(ContextKind::InvalidValue).filter(|v| !v.is_empty()))
        .or_else(|| text(ContextKind::InvalidArg));
    let near = match kind {
        Wrong::Command => {
            nearest(word.as_deref().unwrap_or_default(), table::last_words()).map(ToOwned::to_owned)
        }
        Wrong::LeftOver | Wrong::Missing | Wrong::Value | Wrong::NoFiles => None,
    };
    let word = word.unwrap_or_default();
    let word = match kind {
        // Ours, not theirs; clap writes an option with its value's name as `-f <FILE>`.
        Wrong::Missing => word.replace(['<', '>'], ""),
        Wrong::Command | Wrong::LeftOver | Wrong::Value | Wrong::NoFiles => echoed(&word),
    };
    Unparsed::Usage { kind, word, near }
}

impl Unparsed {
    /// For the journal.
    pub fn cause(&self) -> &'static str {
        match self {
            Unparsed::TooLong | Unparsed::LongOrder => "too-long",
            Unparsed::Characters => "characters",
            Unparsed::Spaces => "spaces",
            Unparsed::Empty => "empty",
            Unparsed::Usage { kind: Wrong::Command | Wrong::NoFiles, .. } => "no-such-command",
            Unparsed::Usage { kind: Wrong::LeftOver, .. } => "words-left-over",
            Unparsed::Usage { kind: Wrong::Missing, .. } => "words-missing",
            Unparsed::Usage { kind: Wrong::Value, .. } => "bad-value",
        }
    }

    /// One line for the person: what, why, what to do.
    pub fn sentence(&self, language: Language) -> String {
        let german = language == Language::German;
        let mut line = match (self, german) {
            (Unparsed::TooLong, false) => format!("the command is longer than {LONGEST} bytes"),
            (Unparsed::TooLong, true) => format!("der Befehl ist länger als {LONGEST} Bytes"),
            (Unparsed::LongOrder, false) => format!(
                "the work order is longer than {LONGEST_ORDER} bytes, more than a phone shows: name fewer sites or commands, or open two"
            ),
            (Unparsed::LongOrder, true) => format!(
                "der Arbeitsauftrag ist länger als {LONGEST_ORDER} Bytes, mehr als ein Telefon zeigt: nennen Sie weniger Standorte oder Befehle, oder öffnen Sie zwei"
            ),
            (Unparsed::Characters, false) => {
                "the command holds characters other than plain letters, digits and signs".into()
            }
            (Unparsed::Characters, true) => {
                "der Befehl enthält andere Zeichen als einfache Buchstaben, Ziffern und Satzzeichen".into()
            }
            (Unparsed::Spaces, false) => "the command begins or ends with a space".into(),
            (Unparsed::Spaces, true) => "der Befehl beginnt oder endet mit einem Leerzeichen".into(),
            (Unparsed::Empty, false) => "no command was given".into(),
            (Unparsed::Empty, true) => "es wurde kein Befehl genannt".into(),
            (Unparsed::Usage { kind, word, .. }, german) => match (kind, german) {
                (Wrong::Command, false) => format!("there is no command \"{word}\""),
                (Wrong::Command, true) => format!("es gibt keinen Befehl „{word}“"),
                (Wrong::LeftOver, false) => format!("\"{word}\" is too much"),
                (Wrong::LeftOver, true) => format!("„{word}“ ist zu viel"),
                (Wrong::Missing, _) => missing(word, language),
                (Wrong::Value, false) => format!("\"{word}\" is no value that fits there"),
                (Wrong::Value, true) => format!("„{word}“ passt dort nicht"),
                (Wrong::NoFiles, false) => {
                    let instead = instead(word, "scp without -O", "scp");
                    format!("there is no file system here, so no \"{word}\": use sftp, or {instead}")
                }
                (Wrong::NoFiles, true) => {
                    let instead = instead(word, "scp ohne -O", "scp");
                    format!(
                        "hier gibt es kein Dateisystem, also kein „{word}“: nehmen Sie sftp oder {instead}"
                    )
                }
            },
        };
        if let Unparsed::Usage { near: Some(near), .. } = self {
            let (open, close) =
                if german { (", meinten Sie „", "“?") } else { (", did you mean \"", "\"?") };
            line.extend([open, near, close]);
        }
        line.push_str(if line.ends_with('?') { " " } else { ". " });
        line.push_str(if german { "Was es gibt: help" } else { "What there is: help" });
        line
    }
}

/// What moves files here instead: today's scp speaks SFTP, and only its old protocol is sent as a command.
fn instead(word: &str, of_scp: &'static str, of_others: &'static str) -> &'static str {
    if word.rsplit('/').next() == Some("scp") { of_scp } else { of_others }
}

/// `word` is `konnektor`, where its second word is missing, or an argument as the usage writes it: `-f FILE`, `SITE`.
fn missing(word: &str, language: Language) -> String {
    let words = table::konnektor_words();
    match (word, words.split_last(), language) {
        ("konnektor", Some((last, others)), Language::English) => {
            format!("after \"konnektor\" a word is missing: {} or {last}", others.join(", "))
        }
        ("konnektor", Some((last, others)), Language::German) => {
            format!("nach „konnektor“ fehlt ein Wort: {} oder {last}", others.join(", "))
        }
        (order, _, Language::English) if order.starts_with("order ") => {
            format!("something is missing: {order}")
        }
        (order, _, Language::German) if order.starts_with("order ") => format!("es fehlt etwas: {order}"),
        (_, _, language) => {
            let value = word.split(' ').next_back().unwrap_or_default();
            let called = table::called(value, language);
            match language {
                Language::English => format!("{called} is missing: {word}"),
                Language::German => format!("{called} fehlt: {word}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asks::{Into, Which};

    fn cause(text: impl AsRef<[u8]>) -> &'static str {
        parse(text.as_ref()).map_or_else(|e| e.cause(), |d| panic!("{:?} was taken", d.verb))
    }

    #[test]
    fn a_backup_is_a_backup() {
        let verb = parse(b"konnektor backup").unwrap().verb;
        assert_eq!(
            verb,
            Verb::KonnektorBackup { konnektor: Which::Only, into: Into::Store, services: vec![] }
        );
        let verb = parse(b"konnektor sichern -i praxis-mueller/main -f - -s infomodell,update").unwrap().verb;
        let services = vec!["infomodell".parse().unwrap(), "update".parse().unwrap()];
        let konnektor = "praxis-mueller/main".parse().unwrap();
        assert_eq!(verb, Verb::KonnektorBackup { konnektor, into: Into::Output, services });
    }

    #[test]
    fn nothing_that_a_shell_would_read_is_taken() {
        assert_eq!(cause("konnektor backup; id"), "no-such-command");
        assert_eq!(cause("konnektor backup ;id"), "words-left-over");
        assert_eq!(cause("konnektor backup && id"), "words-left-over");
        assert_eq!(cause("konnektor backup $(id)"), "words-left-over");
        assert_eq!(cause("konnektor backup `id`"), "words-left-over");
        assert_eq!(cause("konnektor backup | id"), "words-left-over");
        assert_eq!(cause("konnektor backup # comment"), "words-left-over");
        assert_eq!(cause("konnektor backup -f $(id)"), "bad-value");
        assert_eq!(cause("konnektor backup -f ../../etc/passwd"), "bad-value");
        assert_eq!(cause("konnektor backup -f /etc/passwd"), "bad-value");
        assert_eq!(cause("konnektor backup -i ../x"), "bad-value");
        assert_eq!(cause("konnektor \"backup\""), "no-such-command");
        assert_eq!(cause("konnektor backup\nid"), "characters");
        assert_eq!(cause("konnektor backup\n"), "characters");
        assert_eq!(cause("konnektor\tbackup"), "characters");
        assert_eq!(cause("konnektor backup\0"), "characters");
        assert_eq!(cause("konnektor b\u{430}ckup"), "characters");
        assert_eq!(cause("konnektor backup\u{200b}"), "characters");
        assert_eq!(cause(b"konnektor backup\xff"), "characters");
        assert_eq!(cause("konnektor backup "), "spaces");
        assert_eq!(cause(" konnektor backup"), "spaces");
        assert_eq!(cause("  "), "empty");
        assert_eq!(cause(""), "empty");
        assert_eq!(cause("konnektor backup extra"), "words-left-over");
        assert_eq!(cause("konnektor"), "words-missing");
        assert_eq!(cause("konnektor show"), "words-missing");
        assert_eq!(cause("konnektor show -f"), "words-missing");
        assert_eq!(cause("konnektor backup -f a.json -f b.json"), "bad-value");
        assert_eq!(cause("--help"), "words-left-over");
        assert_eq!(cause("Konnektor Backup"), "no-such-command");
        assert_eq!(cause("a".repeat(LONGEST + 1)), "too-long");
    }

    #[test]
    fn a_near_miss_is_named() {
        let sentence = parse(b"konnektor bakcup").unwrap_err().sentence(Language::English);
        assert_eq!(sentence, "there is no command \"bakcup\", did you mean \"backup\"? What there is: help");
        let sentence = parse(b"konnektor backup x").unwrap_err().sentence(Language::German);
        assert_eq!(sentence, "„x“ ist zu viel. Was es gibt: help");
    }

    fn said(text: &str, language: Language) -> String {
        parse(text.as_bytes()).unwrap_err().sentence(language)
    }

    #[test]
    fn a_command_that_why_does_not_know_is_named_with_the_nearest() {
        assert_eq!(cause("why praxis-mueller konnektor bakcup"), "bad-value");
        assert_eq!(
            said("why praxis-mueller konnektor bakcup", Language::English),
            "\"konnektor bakcup\" is no value that fits there, did you mean \"konnektor backup\"? What there is: help"
        );
        assert_eq!(
            said("why praxis-mueller foo", Language::German),
            "„foo“ passt dort nicht. Was es gibt: help"
        );
        for words in ["konnektor backup", "konnektor sichern"] {
            let verb = parse(format!("why praxis-mueller {words}").as_bytes()).unwrap().verb;
            let site = "praxis-mueller".parse().unwrap();
            assert_eq!(verb, Verb::Why { site, command: Some(Family::KonnektorBackup) });
        }
    }

    #[test]
    fn why_answers_for_hops_and_forwards_which_are_no_commands() {
        for family in ["hop portal", "hop backup", "forward portal", "forward backup"] {
            let asked = parse(format!("why praxis-mueller {family}").as_bytes()).unwrap();
            let Verb::Why { command: Some(command), .. } = asked.verb else { panic!("{family}") };
            assert_eq!(command.as_str(), family, "a rule can name it");
        }
        let said = parse(b"hop backup").unwrap_err().sentence(Language::English);
        assert!(!said.contains("does not have"), "{said}");
    }

    #[test]
    fn what_is_missing_is_said_in_plain_words() {
        for (line, english, german) in [
            (
                "konnektor",
                "after \"konnektor\" a word is missing: list, backup, backups, status, diff, restore, perform, terminals, remap or show",
                "nach „konnektor“ fehlt ein Wort: list, backup, backups, status, diff, restore, perform, terminals, remap oder show",
            ),
            (
                "konnektor show",
                "the name of a backup is missing: -f FILE",
                "der Name einer Sicherung fehlt: -f FILE",
            ),
            (
                "konnektor show -f",
                "the name of a backup is missing: -f FILE",
                "der Name einer Sicherung fehlt: -f FILE",
            ),
            ("why", "the name of a site is missing: SITE", "der Name eines Standorts fehlt: SITE"),
            (
                "konnektor backup -s",
                "the name of a service is missing: -s SERVICE,…",
                "der Name eines Dienstes fehlt: -s SERVICE,…",
            ),
            (
                "konnektor backup -i",
                "the name of a site or Konnektor is missing: -i SITE[/KONNEKTOR]",
                "der Name eines Standorts oder Konnektors fehlt: -i SITE[/KONNEKTOR]",
            ),
        ] {
            assert_eq!(cause(line), "words-missing");
            assert_eq!(said(line, Language::English), format!("{english}. What there is: help"));
            assert_eq!(said(line, Language::German), format!("{german}. Was es gibt: help"));
        }
    }

    #[test]
    fn an_echoed_word_is_cut() {
        let long = "x".repeat(5000);
        let sentence = said(&format!("whoami {long}"), Language::English);
        assert_eq!(sentence, format!("\"{}…\" is too much. What there is: help", "x".repeat(60)));
        assert_eq!(
            said(&format!("whoami {}", "x".repeat(60)), Language::German),
            format!("„{}“ ist zu viel. Was es gibt: help", "x".repeat(60))
        );
    }

    #[test]
    fn a_file_transfer_is_told_what_moves_files_here() {
        for line in ["scp -t /tmp", "rsync --server . .", "sftp-server", "/usr/lib/openssh/sftp-server"] {
            assert_eq!(cause(line), "no-such-command");
            assert!(said(line, Language::English).starts_with("there is no file system here"), "{line}");
            assert!(said(line, Language::German).starts_with("hier gibt es kein Dateisystem"), "{line}");
        }
        assert_eq!(
            said("scp -t /tmp", Language::English),
            "there is no file system here, so no \"scp\": use sftp, or scp without -O. What there is: help"
        );
        assert_eq!(
            said("rsync --server . .", Language::German),
            "hier gibt es kein Dateisystem, also kein „rsync“: nehmen Sie sftp oder scp. Was es gibt: help"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_parsed_or_refused(bytes: Vec<u8>) {
            if let Ok(draft) = parse(&bytes) {
                proptest::prop_assert_eq!(&*draft.as_asked, bytes.as_slice());
            }
        }

        #[test]
        fn no_word_after_a_whole_command_is_taken(word in "[!-~]{1,12}") {
            proptest::prop_assume!(word != "-h" && word != "--help");
            let line = format!("whoami {word}");
            proptest::prop_assert!(parse(line.as_bytes()).is_err());
        }
    }
}
