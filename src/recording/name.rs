//! What a recording is called: `2026-11-21/SESSION-CHANNEL`. Absent on purpose: any path that a person could have written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::Date;

use crate::names::SessionId;

/// A recording's name; printed as `2026-11-21/01J…-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordingName {
    pub(super) day: Date,
    pub(super) session: SessionId,
    pub(super) channel: u32,
}

/// A text that is no recording's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("recording: expected YYYY-MM-DD/SESSION-CHANNEL")]
pub struct BadRecordingName;

impl RecordingName {
    /// The connection.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The channel in it.
    #[must_use]
    pub fn channel(&self) -> u32 {
        self.channel
    }

    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}.rec"))
    }
}

impl fmt::Display for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.day, self.session, self.channel)
    }
}

impl FromStr for RecordingName {
    type Err = BadRecordingName;
    fn from_str(text: &str) -> Result<Self, BadRecordingName> {
        let (day, rest) = text.split_once('/').ok_or(BadRecordingName)?;
        let (session, channel) = rest.split_once('-').ok_or(BadRecordingName)?;
        let name = Self {
            day: day.parse().map_err(|_| BadRecordingName)?,
            session: session.parse().map_err(|_| BadRecordingName)?,
            channel: channel.parse().map_err(|_| BadRecordingName)?,
        };
        // One text a name, so that no two files answer to one.
        if name.to_string() == text { Ok(name) } else { Err(BadRecordingName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_prints_as_it_was_written_and_nothing_else_is_one() {
        let good = "2026-11-21/00000000010000000000000002-7";
        assert_eq!(good.parse::<RecordingName>().unwrap().to_string(), good);
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21/00000000010000000000000002",
            "2026-11-21/00000000010000000000000002-07",
            "2026-11-21/00000000010000000000000002--7",
            "2026-13-21/00000000010000000000000002-7",
            "../2026-11-21/00000000010000000000000002-7",
            "2026-11-21/../00000000010000000000000002-7",
        ] {
            assert_eq!(bad.parse::<RecordingName>(), Err(BadRecordingName), "{bad}");
        }
    }
}
