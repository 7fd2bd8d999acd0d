//! Bytes as they came → [`Draft`], or a refusal that says what was wrong. Words left over are wrong.
//! Absent on purpose: quoting, variables, wildcards, comments. There is no shell to mean them for.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::table::{self, grammar, row};
use crate::asks::{Draft, Verb};
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
}

/// Parses a command.
pub fn parse(bytes: &[u8]) -> Result<Draft, Unparsed> {
    if bytes.len() > LONGEST {
        return Err(Unparsed::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Unparsed::Characters)?;
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(Unparsed::Characters);
    }
    if text.trim().is_empty() {
        return Err(Unparsed::Empty);
    }
    if text.trim() != text {
        return Err(Unparsed::Spaces);
    }
    let matches = grammar().try_get_matches_from(text.split_ascii_whitespace()).map_err(|e| usage(&e))?;
    let missing = || Unparsed::Usage { kind: Wrong::Missing, word: text.to_owned(), near: None };
    let (row, arguments) = row(&matches).ok_or_else(missing)?;
    let verb = if arguments.get_flag("help") {
        Verb::Help(row.words.iter().map(ToString::to_string).collect())
    } else {
        (row.verb)(arguments).ok_or_else(missing)?
    };
    Ok(Draft { verb, as_asked: bytes.into() })
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
        Wrong::LeftOver | Wrong::Missing | Wrong::Value => None,
    };
    Unparsed::Usage { kind, word: word.unwrap_or_default().escape_default().to_string(), near }
}

impl Unparsed {
    /// For the journal.
    pub fn cause(&self) -> &'static str {
        match self {
            Unparsed::TooLong => "too-long",
            Unparsed::Characters => "characters",
            Unparsed::Spaces => "spaces",
            Unparsed::Empty => "empty",
            Unparsed::Usage { kind: Wrong::Command, .. } => "no-such-command",
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
                (Wrong::Missing, false) => format!("something is missing: {word}"),
                (Wrong::Missing, true) => format!("es fehlt etwas: {word}"),
                (Wrong::Value, false) => format!("\"{word}\" is no value that fits there"),
                (Wrong::Value, true) => format!("„{word}“ passt dort nicht"),
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
