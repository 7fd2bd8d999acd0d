//! One JSON object a line, each way. Absent on purpose: sentences for people; a cause is a word, and the command has the words.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{SessionId, Username};

/// The protocol's version.
pub const VERSION: u32 = 1;
/// The longest line in bytes, either way.
pub const LONGEST: usize = 64 << 10;
/// The longest reason.
const WHY_MAX: usize = 200;

/// A connection, or one channel of it: `SESSION`, `SESSION/CHANNEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    /// The connection.
    pub session: SessionId,
    /// The channel, by the number that recordings have.
    pub channel: Option<u32>,
}

impl FromStr for Id {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let form = "expected SESSION or SESSION/CHANNEL";
        let (session, channel) = text.split_once('/').map_or((text, None), |(s, c)| (s, Some(c)));
        let channel = channel.map(|channel| channel.parse().map_err(|_| form)).transpose()?;
        Ok(Self { session: session.parse().map_err(|_| form)?, channel })
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.session)?;
        self.channel.map_or(Ok(()), |channel| write!(f, "/{channel}"))
    }
}

/// Why something is ended: one line for the person and the journal, at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Why(String);

impl Why {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Why {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > WHY_MAX || text.chars().any(char::is_control) {
            return Err("expected one line of 1 to 200 characters");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Why {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<Why> for String {
    fn from(why: Why) -> Self {
        why.0
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Who is in and what runs.
    List,
    /// An end.
    End {
        /// To what.
        id: Id,
        /// Why.
        why: Why,
    },
    /// A look at a terminal.
    Watch {
        /// Whose.
        id: Id,
    },
    /// A person's phone, asked for real; answers follow, a line each.
    Factor {
        /// Whose.
        user: Username,
        /// Sentences are in German, or English; without it as the gateway speaks.
        german: Option<bool>,
    },
}

/// What a client answers to [`Say::Prompt`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    /// Perhaps a code.
    pub typed: String,
}

/// The first line of a client, and its only one but for answers to prompts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`]
    pub v: u32,
    /// What is asked for.
    pub ask: Ask,
}

impl Request {
    /// A whole line, its end included.
    pub fn parse(line: &[u8]) -> Result<Ask, Cause> {
        let line = line.strip_suffix(b"\n").ok_or(Cause::BadRequest)?;
        let request: Self = serde_json::from_slice(line).map_err(|_| Cause::BadRequest)?;
        if request.v == VERSION { Ok(request.ask) } else { Err(Cause::BadRequest) }
    }
}

/// Why something is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Neither root, nor who runs the gateway, nor of the group.
    #[error("not-permitted")]
    NotPermitted,
    /// Too many clients.
    #[error("busy")]
    Busy,
    /// The request did not come in time.
    #[error("too-slow")]
    TooSlow,
    /// It is none.
    #[error("bad-request")]
    BadRequest,
    /// Nothing of that name runs.
    #[error("no-such")]
    NoSuch,
    /// It has no terminal to look at.
    #[error("no-terminal")]
    NoTerminal,
    /// It has several: which?
    #[error("several")]
    Several,
    /// It is ending already.
    #[error("ending-already")]
    Ending,
    /// What cannot be written down is not done.
    #[error("cannot-journal")]
    CannotJournal,
}

/// A connection that is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the journal's own words")]
pub struct Session {
    pub session: String,
    pub user: String,
    pub firm: String,
    pub key: String,
    pub from: String,
    pub factor: String,
    pub since: Timestamp,
}

/// A way from it to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the journal's own words")]
pub struct Way {
    pub site: String,
    pub host: String,
    /// `sealed` or `recorded`.
    pub inner: String,
    pub since: Timestamp,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What is done there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the journal's own words")]
pub struct Act {
    pub channel: u32,
    /// `shell`, `exec`, `subsystem` or `forward`.
    pub kind: String,
    pub command: String,
    pub since: Timestamp,
    /// Columns and rows.
    pub terminal: Option<(u32, u32)>,
    pub recording: Option<String>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// How many operators watch it.
    pub watchers: usize,
}

/// What the gateway says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Say {
    /// The next connection of a list.
    Session(Session),
    /// A way of the connection before it.
    Way(Way),
    /// An act on the way before it.
    Act(Act),
    /// All of it was said, or done.
    Done {},
    /// A screen is drawn from here on, on an empty one.
    Screen {
        /// Whose: the channel.
        id: Id,
        /// Of the terminal.
        columns: u32,
        /// Of the terminal.
        rows: u32,
        /// Pieces of output that were not shown, for they were not taken in time.
        lost: u64,
    },
    /// Output, base64.
    Output(String),
    /// The terminal's size has changed.
    Size {
        /// Of the terminal.
        columns: u32,
        /// Of the terminal.
        rows: u32,
    },
    /// The terminal is gone.
    Over {
        /// Pieces of output that were not shown.
        lost: u64,
    },
    /// A step of the second factor, free of secrets.
    Step(String),
    /// A sentence that the person would see.
    Show(String),
    /// Something is to be typed: [`Typed`].
    Prompt {
        /// What.
        text: String,
        /// May it be seen?
        echo: bool,
    },
    /// What came of it.
    Verdict {
        /// What the journal calls the factor, if the person said yes.
        factor: Option<String>,
        /// If not, why, as the journal has it.
        cause: Option<String>,
        /// For the person.
        sentence: String,
    },
    /// It is not done.
    Refused {
        /// Why.
        cause: Cause,
    },
}

/// One line of the gateway's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// [`VERSION`]
    pub v: u32,
    /// What it says.
    #[serde(flatten)]
    pub say: Say,
}

impl From<Say> for Reply {
    fn from(say: Say) -> Self {
        Self { v: VERSION, say }
    }
}

impl Reply {
    pub(super) fn refused(cause: Cause) -> Self {
        Say::Refused { cause }.into()
    }

    /// With its end.
    pub fn line(&self) -> Vec<u8> {
        // Nothing in it can fail to be JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        for good in ["x", " maintenance is over ", &"ü".repeat(200)] {
            assert_eq!(good.parse::<Why>().unwrap().as_str(), good.trim());
        }
        for bad in ["", "  ", "a\nb", "\x1b[2J", &"ü".repeat(201)] {
            assert!(bad.parse::<Why>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn requests_are_taken_whole_and_of_this_version_alone() {
        let id = "00000000010000000000000002";
        let parse = |text: String| Request::parse(format!("{text}\n").as_bytes());
        assert_eq!(parse(r#"{"v":1,"ask":"list"}"#.into()), Ok(Ask::List));
        let watch = parse(format!(r#"{{"v":1,"ask":{{"watch":{{"id":"{id}/7"}}}}}}"#));
        assert_eq!(watch, Ok(Ask::Watch { id: format!("{id}/7").parse().unwrap() }));
        for bad in [
            String::new(),
            r#"{"v":2,"ask":"list"}"#.into(),
            r#"{"v":1,"ask":"list","more":1}"#.into(),
            format!(r#"{{"v":1,"ask":{{"end":{{"id":"{id}"}}}}}}"#),
            format!(r#"{{"v":1,"ask":{{"end":{{"id":"{id}","why":"a\nb"}}}}}}"#),
            r#"{"v":1,"ask":{"watch":{"id":"../x"}}}"#.into(),
        ] {
            assert_eq!(parse(bad.clone()), Err(Cause::BadRequest), "{bad}");
        }
        assert_eq!(Request::parse(br#"{"v":1,"ask":"list"}"#), Err(Cause::BadRequest), "no end of line");
    }

    #[test]
    fn what_is_said_is_read_again() {
        let id = "00000000010000000000000002/7".parse().unwrap();
        for say in [
            Say::Done {},
            Say::Over { lost: 0 },
            Say::Output("eA==".into()),
            Say::Screen { id, columns: 80, rows: 24, lost: 3 },
            Say::Refused { cause: Cause::NotPermitted },
        ] {
            let line = Reply::from(say.clone()).line();
            let read: Reply = serde_json::from_slice(&line).unwrap();
            assert_eq!((read.v, read.say), (VERSION, say));
        }
    }
}
