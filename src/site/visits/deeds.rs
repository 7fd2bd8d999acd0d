//! A line of a gateway's journal → what somebody did. Absent on purpose: any trust in it; it is cut, and never more than text.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use crate::site::desk::{Deed, DeedKind};

/// The longest text of a deed.
const LONGEST: usize = 8 << 10;

/// What is read of a line; everything else in it stays as it is.
#[derive(Deserialize)]
pub(super) struct Told {
    event: String,
    pub(super) session: String,
    time: Option<Timestamp>,
    command: Option<String>,
    pub(super) exit: Option<u32>,
    path: Option<String>,
    bytes: Option<u64>,
    change: Option<String>,
    seq: Option<u64>,
    cause: Option<String>,
    target: Option<String>,
}

impl Told {
    /// `None` for what is no line about a session.
    pub(super) fn read(line: &str) -> Option<Self> {
        let told: Self = serde_json::from_str(line).ok()?;
        super::is_session(&told.session).then_some(told)
    }

    fn what(&self) -> String {
        let (command, target) = (self.command.as_deref().unwrap_or_default(), self.target.as_deref());
        match target {
            Some(target) if command.is_empty() => cut(target),
            Some(target) => cut(&format!("{target}: {command}")),
            None => cut(command),
        }
    }

    /// What was done, if the line says that something was.
    pub(super) fn deed(&self, now: Timestamp) -> Option<Deed> {
        let (kind, text) = match self.event.as_str() {
            "started" => (DeedKind::Command, self.what()),
            "input" => (DeedKind::Typed, cut(self.command.as_deref()?)),
            "file" => {
                let words = [self.change.as_deref(), self.path.as_deref()];
                let mut text = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
                if let Some(bytes) = self.bytes {
                    write!(text, " ({bytes} bytes)").ok();
                }
                (DeedKind::File, cut(&text))
            }
            "refused" => {
                let cause = self.cause.as_deref().unwrap_or_default();
                (DeedKind::Refused, cut(&format!("{} ({cause})", self.what())))
            }
            _ => return None,
        };
        Some(Deed { at: self.time.unwrap_or(now), kind, text, exit: None, seq: self.seq })
    }

    /// `finished` ends the newest of its deeds that has not ended.
    pub(super) fn close(&self, deeds: &mut [Deed], exit: u32) {
        if self.event != "finished" {
            return;
        }
        let text = self.what();
        let open = deeds
            .iter_mut()
            .rev()
            .find(|deed| deed.kind == DeedKind::Command && deed.exit.is_none() && deed.text == text);
        if let Some(deed) = open {
            deed.exit = Some(exit);
        }
    }
}

/// What the site itself has seen.
pub(super) fn of_stream(at: Timestamp, kind: DeedKind, text: &str) -> Deed {
    Deed { at, kind, text: cut(text), exit: None, seq: None }
}

/// At most 8 KiB, in whole characters.
pub fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned()
}
