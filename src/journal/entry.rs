//! What a caller says about an event: its fields, and in which order they stand in the line.
//! Absent on purpose: number, time and chain, which the writer adds. A secret has no way in, for it has no text to give.

use std::net::SocketAddr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::line::{Hash, Shown, put_text};
use crate::names::{Fingerprint, Firm, SessionId, SiteName, Username};

/// The most bytes of escaped text that `command` takes.
pub const COMMAND_MAX: usize = 8 * 1024;
const CLAIMED_MAX: usize = 256;
const TARGET_MAX: usize = 384;
const WORD_MAX: usize = 128;
const CAUSE_MAX: usize = 1024;
const PATH_MAX: usize = 2048;
const TO_MAX: usize = 1024;
const TORN_MAX: usize = 512;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A person or machine is in.
    Login,
    /// Somebody was refused.
    Refused,
    /// Permitted work begins.
    Started,
    /// A line typed in a relayed shell; it is in `command`.
    Input,
    /// A file went over: path, bytes, sha256.
    File,
    /// Work has ended.
    Finished,
    /// A customer gave or withdrew consent.
    Consent,
    /// A site's outbound link came or went.
    Link,
    /// A configuration, or the journal itself, was loaded.
    Loaded,
    /// The chain's head, signed.
    Head,
}

/// Whether an entry may use the reserve when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Opens new work: refused without a place to write it down.
    New,
    /// A refusal: anybody can cause these, so they get no more than half of the reserve.
    Refusal,
    /// Ends or belongs to work that already runs: gets all of the reserve.
    Closing,
}

impl Event {
    /// All of them, in the order of the documentation.
    pub const ALL: [Event; 10] = [
        Event::Login,
        Event::Refused,
        Event::Started,
        Event::Input,
        Event::File,
        Event::Finished,
        Event::Consent,
        Event::Link,
        Event::Loaded,
        Event::Head,
    ];

    /// The word in the field `event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Login => "login",
            Event::Refused => "refused",
            Event::Started => "started",
            Event::Input => "input",
            Event::File => "file",
            Event::Finished => "finished",
            Event::Consent => "consent",
            Event::Link => "link",
            Event::Loaded => "loaded",
            Event::Head => "head",
        }
    }

    /// What a full disk means for it.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Event::Login | Event::Started | Event::Input | Event::Consent | Event::Link | Event::Loaded => {
                Class::New
            }
            Event::Refused => Class::Refusal,
            Event::File | Event::Finished | Event::Head => Class::Closing,
        }
    }
}

/// A word that is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event: expected login, refused, started, input, file, finished, consent, link, loaded or head")]
pub struct BadEvent;

impl FromStr for Event {
    type Err = BadEvent;
    fn from_str(text: &str) -> Result<Self, BadEvent> {
        Event::ALL.into_iter().find(|e| e.as_str() == text).ok_or(BadEvent)
    }
}

/// What a caller knows about a line; number, time and chain are added when it is written. A `None` is left out.
///
/// ```
/// use pforte::journal::{Entry, Event};
/// let user = "firm-jane.doe".parse().unwrap();
/// let entry = Entry { user: Some(user), command: Some(b"sites".to_vec()), ..Entry::new(Event::Started) };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// The connection it belongs to.
    pub session: Option<SessionId>,
    /// Who, if the name parsed.
    pub user: Option<Username>,
    /// The raw text that was given as a name and did not parse; at most 256 bytes are shown.
    pub claimed: Option<Vec<u8>>,
    /// The firm; left empty it is the user's.
    pub firm: Option<Firm>,
    /// The key shown.
    pub key: Option<Fingerprint>,
    /// Where the connection came from.
    pub from: Option<SocketAddr>,
    /// The second factor that answered: `push`, `totp`, …
    pub factor: Option<String>,
    /// The customer.
    pub site: Option<SiteName>,
    /// What at the customer's: `konnektor/main`, `backup`, …
    pub target: Option<String>,
    /// The rule that decided: `rules.toml:3`.
    pub rule: Option<String>,
    /// What was asked for, as it came. Shown up to 8 KiB; what is not shown as it came has its length and SHA-256 beside it.
    pub command: Option<Vec<u8>>,
    /// Why, for the operator: `grant=withdrawn`.
    pub cause: Option<String>,
    /// Exit code.
    pub exit: Option<u32>,
    /// Bytes from the client.
    pub bytes_in: Option<u64>,
    /// Bytes to the client.
    pub bytes_out: Option<u64>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// A transferred file's name at the target.
    pub path: Option<Vec<u8>>,
    /// A transferred file's length in bytes.
    pub bytes: Option<u64>,
    /// A transferred file's SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// Which way a file went: `upload` or `download`; of other changes what was done: `removed`, `renamed`, …
    pub change: Option<String>,
    /// A second path: where a file was renamed to.
    pub to: Option<Vec<u8>>,
    /// How a typed line was obtained: `marks`, `screen`, `exec` or `script`.
    pub obtained: Option<String>,
    /// The channel of the connection.
    pub channel: Option<u32>,
    /// The recording's name: `2026-11-21/01J…-0`.
    pub recording: Option<String>,
    /// What a crash left of a last line (only the journal itself writes this).
    pub torn: Option<Vec<u8>>,
}

impl Entry {
    /// An entry with nothing but its event.
    #[must_use]
    pub const fn new(event: Event) -> Self {
        Self {
            event,
            session: None,
            user: None,
            claimed: None,
            firm: None,
            key: None,
            from: None,
            factor: None,
            site: None,
            target: None,
            rule: None,
            command: None,
            cause: None,
            exit: None,
            bytes_in: None,
            bytes_out: None,
            duration_ms: None,
            path: None,
            bytes: None,
            sha256: None,
            change: None,
            to: None,
            obtained: None,
            channel: None,
            recording: None,
            torn: None,
        }
    }

    /// Everything after `prev`, ready to be put behind it: `,"event":"login",…}`.
    pub(crate) fn body(&self) -> String {
        let mut body = Body::new(self.event);
        body.display("session", self.session.as_ref());
        body.display("user", self.user.as_ref());
        body.text("claimed", self.claimed.as_deref(), CLAIMED_MAX);
        let firm = self.firm.clone().or_else(|| self.user.as_ref().map(Username::firm));
        body.display("firm", firm.as_ref());
        body.display("key", self.key.as_ref());
        body.display("from", self.from.as_ref());
        body.text("factor", self.factor.as_deref().map(str::as_bytes), WORD_MAX);
        body.display("site", self.site.as_ref());
        body.text("target", self.target.as_deref().map(str::as_bytes), TARGET_MAX);
        body.text("rule", self.rule.as_deref().map(str::as_bytes), WORD_MAX);
        body.proven("command", "command_bytes", "command_sha256", self.command.as_deref(), COMMAND_MAX);
        body.text("cause", self.cause.as_deref().map(str::as_bytes), CAUSE_MAX);
        body.number("exit", self.exit.map(u64::from));
        body.number("bytes_in", self.bytes_in);
        body.number("bytes_out", self.bytes_out);
        body.number("duration_ms", self.duration_ms);
        body.proven("path", "path_bytes", "path_sha256", self.path.as_deref(), PATH_MAX);
        body.number("bytes", self.bytes);
        body.hash("sha256", self.sha256.as_ref());
        body.text("change", self.change.as_deref().map(str::as_bytes), WORD_MAX);
        body.proven("to", "to_bytes", "to_sha256", self.to.as_deref(), TO_MAX);
        body.text("obtained", self.obtained.as_deref().map(str::as_bytes), WORD_MAX);
        body.number("channel", self.channel.map(u64::from));
        body.text("recording", self.recording.as_deref().map(str::as_bytes), WORD_MAX);
        if let Some(torn) = &self.torn {
            body.text("torn", Some(torn), TORN_MAX);
            body.number("torn_bytes", Some(torn.len() as u64));
            body.hash("torn_sha256", Some(&Sha256::digest(torn).into()));
        }
        body.0.push('}');
        body.0
    }
}

/// The body of a `head` line.
pub(crate) fn head_body(signature: &str, signed: &str) -> String {
    let mut body = Body::new(Event::Head);
    body.text("signature", Some(signature.as_bytes()), 2048);
    body.text("signed", Some(signed.as_bytes()), 256);
    body.0.push('}');
    body.0
}

struct Body(String);

impl Body {
    fn new(event: Event) -> Self {
        Self(format!(",\"event\":\"{}\"", event.as_str()))
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn display<T: ToString>(&mut self, name: &str, value: Option<&T>) {
        self.text(name, value.map(ToString::to_string).as_deref().map(str::as_bytes), WORD_MAX);
    }

    fn text(&mut self, name: &str, value: Option<&[u8]>, limit: usize) {
        if let Some(bytes) = value {
            self.name(name);
            put_text(&mut self.0, bytes, limit);
        }
    }

    /// Text that has its length and SHA-256 beside it where it is not shown as it came.
    fn proven(&mut self, name: &str, length: &str, hash: &str, value: Option<&[u8]>, limit: usize) {
        let Some(bytes) = value else { return };
        self.name(name);
        if put_text(&mut self.0, bytes, limit) == Shown::Partly {
            self.number(length, Some(bytes.len() as u64));
            self.hash(hash, Some(&Sha256::digest(bytes).into()));
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        if let Some(number) = value {
            self.name(name);
            self.0.push_str(&number.to_string());
        }
    }

    fn hash(&mut self, name: &str, value: Option<&[u8; 32]>) {
        if let Some(hash) = value {
            self.name(name);
            self.0.push('"');
            self.0.push_str(&Hash(*hash).to_string());
            self.0.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{LINE_MAX, is_unsafe, put_line};
    use super::*;

    fn written(entry: &Entry) -> String {
        let mut out = Vec::new();
        put_line(&mut out, 17, "2026-11-21T16:04:05.1234567Z".parse().unwrap(), &Hash::ZERO, &entry.body());
        String::from_utf8(out).unwrap()
    }

    fn command(bytes: &[u8]) -> serde_json::Value {
        let line = written(&Entry { command: Some(bytes.to_vec()), ..Entry::new(Event::Refused) });
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn fields_come_in_the_documented_order() {
        let entry = Entry {
            session: Some(SessionId::new(1, 2)),
            user: Some("firm-jane.doe".parse().unwrap()),
            key: Some(format!("SHA256:{}", "a".repeat(43)).parse().unwrap()),
            from: Some("203.0.113.7:50122".parse().unwrap()),
            factor: Some("push".into()),
            site: Some("praxis-mueller".parse().unwrap()),
            target: Some("konnektor/main".into()),
            rule: Some("rules.toml:3".into()),
            command: Some(b"konnektor backup".to_vec()),
            ..Entry::new(Event::Started)
        };
        let zeros = "0".repeat(64);
        let key = "a".repeat(43);
        assert_eq!(
            written(&entry),
            format!(
                "{{\"seq\":17,\"time\":\"2026-11-21T16:04:05.123456Z\",\"prev\":\"sha256:{zeros}\",\"event\":\"started\",\
                 \"session\":\"00000000010000000000000002\",\"user\":\"firm-jane.doe\",\"firm\":\"firm\",\
                 \"key\":\"SHA256:{key}\",\"from\":\"203.0.113.7:50122\",\"factor\":\"push\",\"site\":\"praxis-mueller\",\
                 \"target\":\"konnektor/main\",\"rule\":\"rules.toml:3\",\"command\":\"konnektor backup\"}}\n"
            )
        );
    }

    #[test]
    fn how_a_line_was_obtained_comes_after_the_hash_and_before_what_a_crash_left() {
        let entry = Entry {
            command: Some(b"ls".to_vec()),
            sha256: Some([0; 32]),
            obtained: Some("marks".into()),
            channel: Some(3),
            recording: Some("2026-11-21/00000000010000000000000002-3".into()),
            torn: Some(b"x".to_vec()),
            ..Entry::new(Event::Input)
        };
        let zeros = "0".repeat(64);
        let expected = format!(
            "\"event\":\"input\",\"command\":\"ls\",\"sha256\":\"sha256:{zeros}\",\"obtained\":\"marks\",\"channel\":3,\
             \"recording\":\"2026-11-21/00000000010000000000000002-3\",\"torn\":\"x\","
        );
        assert!(written(&entry).contains(&expected), "{}", written(&entry));
    }

    #[test]
    fn text_cannot_forge_a_line_or_steer_a_terminal() {
        let evil = "\n{\"seq\":1}\r\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\u{2028}\"\\\0";
        let line = written(&Entry { claimed: Some(evil.into()), ..Entry::new(Event::Refused) });
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().chars().any(is_unsafe), "{line}");
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["claimed"], evil);
        assert!(back.get("user").is_none());
    }

    #[test]
    fn a_command_that_is_not_utf_8_is_shown_with_its_hash() {
        let back = command(b"cat \xff\xfe\\x");
        assert_eq!(back["command"], "cat \\xff\\xfe\\x");
        assert_eq!(back["command_bytes"], 8);
        assert_eq!(back["command_sha256"], Hash::of(b"cat \xff\xfe\\x").to_string());
    }

    #[test]
    fn a_long_command_is_cut_with_the_hash_of_the_whole() {
        let long = "ä".repeat(COMMAND_MAX);
        let back = command(long.as_bytes());
        assert_eq!(back["command"].as_str().unwrap().len(), COMMAND_MAX);
        assert_eq!(back["command_bytes"], 2 * COMMAND_MAX);
        assert_eq!(back["command_sha256"], Hash::of(long.as_bytes()).to_string());
    }

    #[test]
    fn a_command_that_fits_is_shown_as_it_came_and_without_a_hash() {
        let back = command("x".repeat(COMMAND_MAX).as_bytes());
        assert_eq!(back["command"].as_str().unwrap().len(), COMMAND_MAX);
        assert!(back.get("command_sha256").is_none());
    }

    #[test]
    fn no_entry_makes_a_line_longer_than_the_limit() {
        for filler in [b"\0".as_slice(), b"\xff", "\u{e0001}".as_bytes(), b"a"] {
            let bytes = filler.repeat(100_000);
            let text = String::from_utf8(bytes.clone()).unwrap_or_default();
            let entry = Entry {
                claimed: Some(bytes.clone()),
                command: Some(bytes.clone()),
                path: Some(bytes.clone()),
                torn: Some(bytes.clone()),
                factor: Some(text.clone()),
                target: Some(text.clone()),
                rule: Some(text.clone()),
                cause: Some(text.clone()),
                sha256: Some([0; 32]),
                user: Some(format!("firm-jane.{}", "d".repeat(54)).parse().unwrap()),
                site: Some("a".repeat(63).parse().unwrap()),
                key: Some(format!("SHA256:{}", "a".repeat(43)).parse().unwrap()),
                from: Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap()),
                session: Some(SessionId::new(1, 2)),
                exit: Some(u32::MAX),
                bytes_in: Some(u64::MAX),
                bytes_out: Some(u64::MAX),
                duration_ms: Some(u64::MAX),
                bytes: Some(u64::MAX),
                change: Some(text.clone()),
                to: Some(bytes.clone()),
                obtained: Some(text.clone()),
                channel: Some(u32::MAX),
                recording: Some(text.clone()),
                ..Entry::new(Event::Finished)
            };
            assert!(written(&entry).len() <= LINE_MAX);
        }
    }

    #[test]
    fn every_event_is_found_by_its_word_and_no_other() {
        for event in Event::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
        }
        assert_eq!("Login".parse::<Event>(), Err(BadEvent));
    }
}
