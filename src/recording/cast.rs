//! asciicast v3 (<https://docs.asciinema.org/manual/asciicast/v3/>), and v2 for older players: lines out of events and back.
//! Absent on purpose: encryption, files, time; an event's time is given in microseconds.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{About, side};

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `o`: the target's output.
    Output,
    /// `i`: input as it came; only where a caller records it.
    Input,
    /// `r`: the terminal's new size, `COLSxROWS`.
    Resize,
    /// `m`: a remark, and each line that was typed.
    Mark,
    /// `x`: the exit status.
    Exit,
}

impl Code {
    const fn letter(self) -> &'static str {
        match self {
            Code::Output => "o",
            Code::Input => "i",
            Code::Resize => "r",
            Code::Mark => "m",
            Code::Exit => "x",
        }
    }

    fn of(letter: &str) -> Option<Self> {
        [Code::Output, Code::Input, Code::Resize, Code::Mark, Code::Exit]
            .into_iter()
            .find(|code| code.letter() == letter)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Microseconds since the event before it.
    pub after: u64,
    /// What it is.
    pub code: Code,
    /// Its text.
    pub data: String,
}

/// The header's fields that a player or a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// 3.
    pub version: u32,
    /// The terminal as it began.
    pub term: Term,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// Who, where.
    pub title: String,
    /// What was run, if not a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What only we know.
    pub pforte: Ours,
}

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// `xterm-256color`, …
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// The header's fields that asciicast does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    /// The connection.
    pub session: String,
    /// The channel in it.
    pub channel: u32,
    /// Who.
    pub user: String,
    /// Of which firm.
    pub firm: String,
    /// The customer.
    pub site: String,
    /// The customer's host.
    pub host: String,
    /// When it began, to the microsecond.
    pub started: Timestamp,
}

/// The first line of a recording.
pub(super) fn header(about: &About) -> Header {
    Header {
        version: 3,
        term: Term { cols: side(about.cols, 80), rows: side(about.rows, 24), kind: printable(&about.term) },
        timestamp: about.started.as_second(),
        title: format!("{} at {}/{}", about.user, about.site, about.host),
        command: about.command.as_deref().map(|command| String::from_utf8_lossy(command).into_owned()),
        pforte: Ours {
            session: about.session.to_string(),
            channel: about.channel,
            user: about.user.to_string(),
            firm: about.firm.to_string(),
            site: about.site.to_string(),
            host: about.host.to_string(),
            started: about.started,
        },
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Appends an event's line.
pub(super) fn put_event(out: &mut Vec<u8>, after: u64, code: Code, data: &str) {
    let mut line = format!("[{}.{:06}, \"{}\", ", after / 1_000_000, after % 1_000_000, code.letter());
    // A text is always JSON.
    line.push_str(&Value::from(data).to_string());
    line.push_str("]\n");
    out.extend_from_slice(line.as_bytes());
}

/// The event of a line.
pub(super) fn event(line: &str) -> Option<Event> {
    let (seconds, code, data): (f64, String, String) = serde_json::from_str(line).ok()?;
    let after = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    let after = u64::try_from(after.as_nanos().checked_add(500)? / 1000).ok()?;
    Some(Event { after, code: Code::of(&code)?, data })
}

/// Takes the beginning of `carry` and `bytes` that is whole characters; what may be half of one stays in `carry`. What is no UTF-8
/// becomes U+FFFD, for asciicast is JSON.
pub(super) fn text(carry: &mut Vec<u8>, bytes: &[u8]) -> String {
    let joined;
    let mut rest = if carry.is_empty() {
        bytes
    } else {
        carry.extend_from_slice(bytes);
        joined = std::mem::take(carry);
        joined.as_slice()
    };
    let mut out = String::with_capacity(rest.len());
    loop {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return out;
            }
            Err(error) => {
                let (good, bad) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, b""));
                out.push_str(std::str::from_utf8(good).unwrap_or_default());
                let Some(length) = error.error_len() else {
                    *carry = bad.to_vec();
                    return out;
                };
                out.push('\u{fffd}');
                rest = bad.get(length..).unwrap_or_default();
            }
        }
    }
}

/// The file format to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// asciicast v2: times count from the beginning; no exit status.
    V2,
    /// asciicast v3.
    V3,
}

/// Writes a plain asciicast, line by line.
pub struct Exporter {
    format: Format,
    time: u64,
}

impl Exporter {
    /// One for `format`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, time: 0 }
    }

    /// The first line, with its line feed.
    #[must_use]
    pub fn header(&self, header: &Header) -> String {
        let mut value = match self.format {
            Format::V3 => json!(header),
            Format::V2 => json!({
                "version": 2,
                "width": header.term.cols,
                "height": header.term.rows,
                "timestamp": header.timestamp,
                "title": header.title,
                "command": header.command,
                "env": { "TERM": header.term.kind },
            }),
        };
        if let Value::Object(fields) = &mut value {
            fields.retain(|_, value| !value.is_null());
        }
        format!("{value}\n")
    }

    /// An event's line with its line feed; none for what the format does not know.
    pub fn event(&mut self, event: &Event) -> Option<String> {
        let mut out = Vec::new();
        match self.format {
            Format::V3 => put_event(&mut out, event.after, event.code, &event.data),
            Format::V2 => {
                self.time = self.time.saturating_add(event.after);
                if event.code == Code::Exit {
                    return None;
                }
                put_event(&mut out, self.time, event.code, &event.data);
            }
        }
        String::from_utf8(out).ok()
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String has no way to fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was_written() {
        for (after, data) in [
            (0, ""),
            (1, "\u{1b}[0m\r\n\"\\\u{0}\u{7f}ü你"),
            (3_600_000_001, "x"),
            (u64::from(u32::MAX), "]"),
        ] {
            let mut line = Vec::new();
            put_event(&mut line, after, Code::Output, data);
            let line = String::from_utf8(line).unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(event(&line), Some(Event { after, code: Code::Output, data: data.into() }));
        }
        for bad in ["[-1, \"o\", \"\"]", "[1, \"q\", \"\"]", "[1, \"o\"]", "{}", "[1e300, \"o\", \"\"]"] {
            assert_eq!(event(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_character_cut_in_two_is_joined_and_what_is_none_is_replaced() {
        let bytes = "aü你b".as_bytes();
        for at in 0..bytes.len() {
            let mut carry = Vec::new();
            let (first, second) = bytes.split_at(at);
            let joined = text(&mut carry, first) + &text(&mut carry, second);
            assert_eq!(joined, "aü你b");
            assert!(carry.is_empty());
        }
        assert_eq!(text(&mut Vec::new(), b"\xff\xfea\xe4b"), "\u{fffd}\u{fffd}a\u{fffd}b");
    }

    #[test]
    fn v2_counts_from_the_beginning_and_leaves_the_exit_out() {
        let mut out = Exporter::new(Format::V2);
        let event = |after, code| Event { after, code, data: "0".into() };
        assert_eq!(out.event(&event(500_000, Code::Output)).unwrap(), "[0.500000, \"o\", \"0\"]\n");
        assert_eq!(out.event(&event(250_000, Code::Mark)).unwrap(), "[0.750000, \"m\", \"0\"]\n");
        assert_eq!(out.event(&event(1, Code::Exit)), None);
    }
}
