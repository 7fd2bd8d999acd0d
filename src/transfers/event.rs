//! What a tap tells. Data only.
//! Absent on purpose: how it is journalled.

use std::ops::Range;

use super::NAME_MAX;
use super::order::Hasher;

/// Something that was moved or changed, or why that can no longer be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file's bytes went over.
    Moved(Moved),
    /// The target's tree was changed, or somebody tried.
    Changed(Changed),
    /// What was sent on stdin, told at the end.
    Script(Script),
    /// Bytes of which no more than their number is told, at the end.
    Totals(Totals),
    /// The tap has stopped reading: from here on nothing is known of this channel. Told at most once; files that were
    /// open are told before it, as unfinished.
    Unreadable(Unreadable),
}

/// Which way a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the target.
    Upload,
    /// From the target to the client.
    Download,
}

/// A path as it was sent: no encoding is promised, and it may be relative.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The path, or its first [`NAME_MAX`] bytes.
    pub bytes: Vec<u8>,
    /// Where it was longer: what the whole was.
    pub cut: Option<Cut>,
}

/// The whole of something that is shown cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Name {
    /// Takes the path, cut at [`NAME_MAX`].
    #[must_use]
    pub fn new(path: &[u8]) -> Self {
        let Some(shown) = path.get(..NAME_MAX) else { return Self { bytes: path.to_vec(), cut: None } };
        if path.len() == NAME_MAX {
            return Self { bytes: path.to_vec(), cut: None };
        }
        let mut hasher = Hasher::default();
        hasher.update(path);
        Self { bytes: shown.to_vec(), cut: Some(Cut { bytes: path.len() as u64, sha256: hasher.finish() }) }
    }

    /// About what it takes in memory.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

/// A file's bytes went over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The file on the target, as the client or target named it.
    pub path: Name,
    /// scp alone: where the file lies instead if the command's path was no folder, which only the target knows.
    pub other: Option<Name>,
    /// Which way.
    pub direction: Direction,
    /// Bytes moved; of an upload, those that the target said it wrote. Bytes moved twice count twice.
    pub bytes: u64,
    /// SHA-256 of the bytes moved, in the order of their offsets; only where they begin at 0 and have no gap, and never of
    /// an unfinished file. None where something was written twice; of what was read twice (`Part::Overlap`) the first counts.
    pub sha256: Option<[u8; 32]>,
    /// Whether these bytes are the file.
    pub extent: Extent,
    /// The ranges that were moved, merged and in order; at most [`Moved::RANGES_MAX`].
    pub ranges: Vec<Range<u64>>,
    /// Whether there were more ranges than told.
    pub more_ranges: bool,
}

impl Moved {
    /// The most ranges that are told; a resumed transfer has one, a torn one a few.
    pub const RANGES_MAX: usize = 16;
}

/// Whether the bytes moved are the whole file, as far as the protocol tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// From the first byte to the end of the file.
    Whole,
    /// Not all of it, or not surely; the first reason that was met.
    Partly(Part),
    /// The channel ended, or became unreadable, before the file was closed.
    Unfinished,
}

/// Why bytes are not surely a whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Part {
    /// A part is missing at the beginning or in the middle.
    #[error("a part of the file was left out")]
    Gap,
    /// Bytes were moved twice, maybe with other content. paramiko's `get` does it when its prefetch falls behind.
    #[error("a part was moved more than once")]
    Overlap,
    /// Opened for appending: the target chooses the offset.
    #[error("appended to what was there")]
    Appended,
    /// So much came out of order that its hash was given up.
    #[error("too much came out of order to be hashed")]
    OutOfOrder,
    /// The target cut, grew or filled the file by another request.
    #[error("the file's size or content was changed by another request")]
    Reshaped,
    /// The target answered with a failure, with this status (of scp: 1).
    #[error("the target said it failed, with status {0}")]
    Failed(u32),
    /// The sender said that it could not read its file.
    #[error("the sender could not read all of its file")]
    SenderFailed,
    /// A download stopped before the end of the file was told; the hash is right for the bytes moved.
    #[error("the end of the file was not reached")]
    EndNotSeen,
    /// An upload wrote over a file without emptying it; older bytes may follow. The hash is right for the bytes moved.
    #[error("the file was not emptied before, older bytes may follow")]
    NotEmptied,
}

/// The target's tree was changed, or somebody tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What was asked for.
    pub change: Change,
    /// Of what; of a rename or copy the source, of a link the link itself.
    pub path: Name,
    /// The second path: of a rename or copy the destination, of a link what it leads to.
    pub other: Option<Name>,
    /// What the target answered.
    pub outcome: Outcome,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A file was removed.
    Removed,
    /// A file or folder has another name.
    Renamed,
    /// A folder was made.
    FolderMade,
    /// A folder was removed.
    FolderRemoved,
    /// A symbolic link was made.
    Linked,
    /// A hard link was made.
    HardLinked,
    /// Size, owner or mode was set. Times alone are not told.
    Attributes(Attributes),
    /// The target copied a file, or a part of it, by itself.
    Copied,
}

/// Which attributes were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// The new size, if set.
    pub size: Option<u64>,
    /// Owner or group was set.
    pub owner: bool,
    /// The new permission bits, if set.
    pub mode: Option<u32>,
}

/// What the target answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Done,
    /// Not done, with this SFTP status (of scp: 1).
    Failed(u32),
    /// The channel ended or became unreadable before the answer.
    Unanswered,
}

/// What was sent on stdin to a program that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The beginning, at most [`super::KEPT_MAX`] bytes; nothing if it does not look like text.
    pub kept: Option<Vec<u8>>,
    /// Length of all of it.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
}

/// Bytes of a protocol that is not read, such as rsync's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes that the client sent.
    pub from_client: u64,
    /// Bytes that the target sent.
    pub from_target: u64,
}

/// Why a tap stopped reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// An SFTP packet longer than OpenSSH takes.
    #[error("an SFTP packet of {0} bytes")]
    LongPacket(u32),
    /// A packet or line that does not follow the protocol.
    #[error("not in the protocol's form")]
    Malformed,
    /// A request before the versions were told.
    #[error("a request before the protocol's version was known")]
    TooEarly,
    /// A request's number was taken again before its answer.
    #[error("a request's number was used twice at once")]
    NumberTwice,
    /// An answer that nobody asked for.
    #[error("an answer to no request")]
    Unasked,
    /// The target gave out a handle that is in use.
    #[error("a handle was given out twice")]
    HandleTwice,
    /// Data went over a handle that the tap has not seen opened.
    #[error("data for a handle that was not given out")]
    UnknownHandle,
    /// More requests without an answer than the tap follows.
    #[error("too many requests without an answer")]
    TooManyRequests,
    /// More open files than the tap follows.
    #[error("too many open files")]
    TooManyFiles,
    /// More bytes of names at once than the tap holds.
    #[error("too many names at once")]
    TooManyNames,
    /// scp: folders deeper than the tap follows.
    #[error("folders too deep")]
    TooDeep,
    /// scp: a sender that does not wait for its answers.
    #[error("too much sent before an answer")]
    Ahead,
}
