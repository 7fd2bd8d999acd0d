//! Reading the journal: search by who, where, what and since when; all lines of a session; following the end.
//! Absent on purpose: any judgement of the chain (that is `verify`) and any index.

use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::entry::Event;
use super::line::{LINE_MAX, is_unsafe};
use super::read::{self, End, Lines};
use crate::names::{Firm, SessionId, SiteName, Username};

/// How often a followed file is asked for its size.
const POLL: Duration = Duration::from_millis(200);

/// Which lines are wanted; `None` takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Lines of this person.
    pub user: Option<Username>,
    /// Lines of this firm's people.
    pub firm: Option<Firm>,
    /// Lines about this customer.
    pub site: Option<SiteName>,
    /// Lines of this kind.
    pub event: Option<Event>,
    /// Lines of this connection.
    pub session: Option<SessionId>,
    /// Lines written at this time or later.
    pub since: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, line: &Line) -> bool {
        let is = |name: &str, wanted: Option<String>| wanted.is_none_or(|w| line.text(name) == Some(&w));
        is("user", self.user.as_ref().map(ToString::to_string))
            && is("firm", self.firm.as_ref().map(ToString::to_string))
            && is("site", self.site.as_ref().map(ToString::to_string))
            && is("event", self.event.map(|e| e.as_str().to_owned()))
            && is("session", self.session.map(|s| s.to_string()))
            && self.since.is_none_or(|since| line.time().is_some_and(|time| time >= since))
    }
}

/// A line that was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    raw: String,
    fields: Map<String, Value>,
}

impl Line {
    fn read(bytes: Vec<u8>) -> Option<Self> {
        let raw = String::from_utf8(bytes).ok()?;
        let fields = serde_json::from_str(&raw).ok()?;
        Some(Self { raw, fields })
    }

    /// The line as it stands in the file, JSON, without its newline.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.raw
    }

    /// A field's value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// A field's value where it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// When it was written.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.text("time")?.parse().ok()
    }

    /// One line for people, safe for a terminal: number, time, event, who, where, what, then the rest as `name=value`.
    /// A value that could be read as something else is quoted: nothing that a client sent looks like a field of ours.
    #[must_use]
    pub fn human(&self) -> String {
        const PLACED: [&str; 10] =
            ["seq", "time", "prev", "event", "user", "firm", "site", "target", "command", "signature"];
        let seq = self.field("seq").map(Value::to_string).unwrap_or_default();
        let time = self.text("time").and_then(|t| t.get(..19)).unwrap_or("-").replace('T', " ");
        let mut out = format!("{seq:>6} {time} {:<8} {}", self.shown("event"), self.shown("user"));
        if self.field("site").is_some() {
            out = format!("{out} @{}", self.shown("site"));
        }
        if self.field("target").is_some() {
            out = format!("{out} {}", self.shown("target"));
        }
        if self.field("command").is_some() {
            out = format!("{out} ‘{}’", safe(self.text("command").unwrap_or("-")));
        }
        for (name, value) in self.fields.iter().filter(|(name, _)| !PLACED.contains(&name.as_str())) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out = format!("{out} {}={}", word(name), word(value.trim_end()));
        }
        out
    }

    fn shown(&self, name: &str) -> String {
        self.text(name).map_or_else(|| "-".to_owned(), word)
    }
}

/// Harmless, and without the quotes that end a command.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) || matches!(c, '‘' | '’') { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A value as one word; in quotes, with `"` and `\` escaped, where it could pass for more than one.
fn word(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !is_unsafe(c) && !matches!(c, '=' | '"' | '‘' | '’' | '\\');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", safe(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// The wanted lines, oldest first; one line in memory at a time. Lines that are damaged are passed over: `verify` names them.
pub struct Search {
    lines: Lines,
    filter: Filter,
}

/// Searches the journal in `dir`. Files that ended before `since` are not opened.
///
/// # Errors
/// The folder cannot be read; each item can fail as its file cannot be read.
pub fn search(dir: &Path, filter: Filter) -> io::Result<Search> {
    let days = read::days(dir)?;
    let from = filter.since.map(|since| since.to_zoned(TimeZone::UTC).date());
    let lines = Lines::new(dir, wanted(&days, from));
    Ok(Search { lines, filter })
}

/// All lines of one session.
///
/// # Errors
/// As [`search`].
pub fn show(dir: &Path, session: SessionId) -> io::Result<Search> {
    // A session's number begins with its time, yet that clock may have been another's: all files are read.
    search(dir, Filter { session: Some(session), ..Filter::default() })
}

/// A file takes lines until the next one is made, on a full disk beyond its own day, so the next one's day decides.
fn wanted(days: &[Date], from: Option<Date>) -> Vec<Date> {
    let ended = |next: Option<&Date>| from.is_some_and(|from| next.is_some_and(|next| *next < from));
    let nexts = days.iter().skip(1).map(Some).chain([None]);
    days.iter().zip(nexts).filter(|(_, next)| !ended(*next)).map(|(day, _)| *day).collect()
}

impl Iterator for Search {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.lines.next() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some(raw)) if raw.end != End::Newline => {}
                Ok(Some(raw)) => {
                    if let Some(line) = Line::read(raw.bytes).filter(|line| self.filter.takes(line)) {
                        return Some(Ok(line));
                    }
                }
            }
        }
    }
}

/// The journal's end as it grows.
pub struct Tail {
    dir: PathBuf,
    filter: Filter,
    day: Option<Date>,
    offset: u64,
}

/// Follows the journal from its present end on.
///
/// # Errors
/// The folder cannot be read.
pub fn follow(dir: &Path, filter: Filter) -> io::Result<Tail> {
    let day = read::days(dir)?.last().copied();
    let offset = match day {
        Some(day) => std::fs::metadata(dir.join(read::file_name(day)))?.len(),
        None => 0,
    };
    Ok(Tail { dir: dir.to_owned(), filter, day, offset })
}

impl Tail {
    /// The wanted lines that came since the last call; at most 1,000 at a time.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<Line>> {
        let mut found = Vec::new();
        let mut read = 0;
        let at = self.day;
        for day in read::days(&self.dir)?.into_iter().filter(|day| at.is_none_or(|at| *day >= at)) {
            if self.day != Some(day) {
                (self.day, self.offset) = (Some(day), 0);
            }
            let mut file = BufReader::new(read::open(&self.dir.join(read::file_name(day)))?);
            file.seek(SeekFrom::Start(self.offset))?;
            loop {
                let mut bytes = Vec::new();
                let length = (&mut file).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
                if bytes.pop() != Some(b'\n') {
                    break;
                }
                self.offset += length as u64;
                found.extend(Line::read(bytes).filter(|line| self.filter.takes(line)));
                read += 1;
                if read == 1000 {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Waits for the next wanted lines, asking five times a second.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn next(&mut self) -> io::Result<Vec<Line>> {
        loop {
            let found = self.poll()?;
            if !found.is_empty() {
                return Ok(found);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn human(json: &serde_json::Value) -> String {
        Line::read(json.to_string().into_bytes()).unwrap().human()
    }

    #[test]
    fn no_value_forges_a_field_or_the_end_of_a_command() {
        let line = human(&serde_json::json!({
            "seq": 3, "time": "2026-11-21T16:04:05.123456Z", "event": "refused", "site": "x event=login",
            "command": "help’ user=firm-john.doe ‘", "claimed": "x event=login user=firm-john.doe",
            "cause": "a=\"b\"\\", "client": "no-space", "exit": 64, "empty": "", "a b": "‘c’",
        }));
        assert_eq!(
            line,
            "     3 2026-11-21 16:04:05 refused  - @\"x event=login\" ‘help\\u{2019} user=firm-john.doe \\u{2018}’ \
             claimed=\"x event=login user=firm-john.doe\" cause=\"a=\\\"b\\\"\\\\\" client=no-space exit=64 empty=\"\" \
             \"a b\"=\"\\u{2018}c\\u{2019}\""
        );
    }
}
