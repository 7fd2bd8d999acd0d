//! What a handle stands for: a folder's entries, a decrypted backup, a file that is being handed in.
//! Absent on purpose: SFTP's packets, and deciding.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

use super::desk::{Desk, FileLine, No};
use super::spool::Spool;
use super::tree::{Name, Row};
use crate::asks::FileAsk;
use crate::commands::exit;
use crate::journal::started::{Outcome, Started};
use crate::names::SiteName;

/// What is open.
pub enum Open {
    /// A folder.
    Folder(Box<Folder>),
    /// A file for reading.
    Reading(Box<Reading>),
    /// A file that is being handed in.
    Writing(Box<Writing>),
    /// Its rule is gone, and so is what it held.
    Over(No),
}

/// A folder's entries that were not shown yet.
pub struct Folder {
    /// None for the root of somebody whom no rule names: it is empty, and its refusal is on record.
    pub started: Option<Started<FileAsk>>,
    /// What is left.
    pub rows: VecDeque<Row>,
    /// Bytes shown.
    pub sent: u64,
    /// The folder itself.
    pub row: Row,
    /// One of the connection's.
    pub _turn: OwnedSemaphorePermit,
}

/// A file's content, decrypted once and wiped when it is closed.
pub struct Reading {
    /// By which permit.
    pub started: Started<FileAsk>,
    /// Its path, written out.
    pub path: String,
    /// The content.
    pub content: Zeroizing<Vec<u8>>,
    /// As it is listed.
    pub row: Row,
    /// What went out.
    pub seen: Seen,
    /// Bytes that went out, those that did twice too.
    pub sent: u64,
    /// Its place in the gateway's memory, and among the connection's.
    pub _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// A file that is being handed in.
pub struct Writing {
    /// By which permit.
    pub started: Started<FileAsk>,
    /// Its path, written out.
    pub path: String,
    /// Where.
    pub site: SiteName,
    /// Under which name.
    pub name: Name,
    /// The content so far.
    pub spool: Spool,
    /// Bytes that came.
    pub taken: u64,
    /// Writes go to its end.
    pub append: bool,
    /// Is it other than what is kept?
    pub changed: bool,
    /// A write was not taken: it will not be kept.
    pub broken: Option<No>,
    /// One of the connection's.
    pub turn: OwnedSemaphorePermit,
}

impl Open {
    /// By which ask, while it is open.
    pub fn ask(&self) -> Option<&FileAsk> {
        match self {
            Open::Folder(folder) => folder.started.as_ref().map(Started::ask),
            Open::Reading(reading) => Some(reading.started.ask()),
            Open::Writing(writing) => Some(writing.started.ask()),
            Open::Over(_) => None,
        }
    }

    /// Ends it unasked for: its client is gone, or its rule is. Nothing that was being handed in is kept.
    pub async fn cut(self, desk: &Desk, exit: u32, cause: &str) -> Result<(), No> {
        let outcome = Outcome { exit, cause: Some(cause.to_owned()), ..Outcome::default() };
        match self {
            Open::Folder(folder) => match folder.started {
                Some(started) => desk.finish(started, Outcome { bytes_out: folder.sent, ..outcome }).await,
                None => Ok(()),
            },
            Open::Over(_) => Ok(()),
            Open::Reading(reading) => reading.close(desk, Some((exit, cause))).await,
            Open::Writing(writing) => {
                desk.finish(writing.started, Outcome { bytes_in: writing.taken, ..outcome }).await
            }
        }
    }
}

impl Folder {
    /// Its last line.
    pub async fn close(self, desk: &Desk) -> Result<(), No> {
        match self.started {
            Some(started) => {
                desk.finish(started, Outcome { bytes_out: self.sent, ..Outcome::default() }).await
            }
            None => Ok(()),
        }
    }
}

impl Reading {
    /// Its lines: what went out, with the hash if that was all of it; and the last one.
    pub async fn close(self, desk: &Desk, cut: Option<(u32, &str)>) -> Result<(), No> {
        let bytes = self.seen.bytes();
        let whole = bytes == self.content.len() as u64;
        let cause = match cut {
            Some(_) if !whole => Some("unfinished"),
            None if !whole => Some("not all of it was read"),
            Some(_) | None => None,
        };
        // Opened and closed again, as clients do to see whether they may: nothing went over.
        if whole || bytes > 0 {
            let content = self.content;
            let hash = move || <[u8; 32]>::from(Sha256::digest(content.as_slice()));
            let sha256 = if whole { tokio::task::spawn_blocking(hash).await.ok() } else { None };
            let path = &self.path;
            let line = FileLine { path, change: "download", bytes: Some(bytes), sha256, to: None, cause };
            desk.file(self.started.ask(), line).await?;
        }
        let (exit, cause) = cut.map_or((exit::DONE, None), |(exit, cause)| (exit, Some(cause.to_owned())));
        desk.finish(self.started, Outcome { exit, cause, bytes_out: self.sent, ..Outcome::default() }).await
    }
}

/// Which parts of a file went out: merged ranges, in order. Beyond [`Seen::MOST`] of them, some are forgotten.
#[derive(Default)]
pub struct Seen(Vec<(u64, u64)>);

impl Seen {
    /// The most ranges.
    pub const MOST: usize = 1024;

    /// These went out too.
    pub fn add(&mut self, from: u64, to: u64) {
        let first = self.0.partition_point(|(_, end)| *end < from);
        let last = self.0.partition_point(|(start, _)| *start <= to);
        let touched = self.0.get(first..last).unwrap_or_default();
        let from = touched.first().map_or(from, |(start, _)| from.min(*start));
        let to = touched.last().map_or(to, |(_, end)| to.max(*end));
        if last > first || self.0.len() < Self::MOST {
            self.0.splice(first..last.max(first), [(from, to)]);
        }
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_was_seen_is_counted_once(ranges in proptest::collection::vec((0u64..200, 1u64..40), 0..40)) {
            let (mut seen, mut plain) = (Seen::default(), [false; 256]);
            for (from, len) in ranges {
                seen.add(from, from + len);
                for at in from..from + len {
                    plain[usize::try_from(at).unwrap()] = true;
                }
                proptest::prop_assert_eq!(seen.bytes(), plain.iter().filter(|p| **p).count() as u64);
                proptest::prop_assert!(seen.0.windows(2).all(|two| two[0].1 < two[1].0));
            }
        }
    }

    #[test]
    fn ranges_are_bounded() {
        let mut seen = Seen::default();
        for n in 0..10_000 {
            seen.add(n * 10, n * 10 + 1);
        }
        assert_eq!((seen.0.len(), seen.bytes()), (Seen::MOST, 1024));
        seen.add(0, 100_000);
        assert_eq!((seen.0.len(), seen.bytes()), (1, 100_000));
    }
}
