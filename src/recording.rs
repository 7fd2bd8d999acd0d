//! What was done in a relayed terminal: an asciicast, encrypted as it is written, and the lines that were typed.
//! Absent on purpose: SSH, policy, the journal; the relay hands bytes in, and gets lines and an end to journal.
//!
//! A recording is one file, `YYYY-MM-DD/SESSION-CHANNEL.rec`, that only grows: a magic line, then frames. A frame is a length (u32, big
//! endian) and a small age file. Its plaintext's first line gives the frame's number and the SHA-256 of the frame before (of the magic
//! line at first); asciicast v3 lines follow. So a file that was cut, by kill -9 or a full disk, plays up to the cut, and one that was
//! changed says where. The last frame says that it is the last; the file's SHA-256 belongs into the journal, for age proves no sender:
//! who can write the file and knows the recipients could write another, but not under the journal's hash.
//!
//! Raw keys are never kept. A frame is written after [`FRAME`] bytes or [`FLUSH`], so a crash loses no more than that.
//!
//! [`FRAME`]: live::FRAME
//! [`FLUSH`]: live::FLUSH

mod cast;
mod keys;
mod lines;
mod live;
mod marks;
mod name;
mod read;
pub(crate) mod scan;
mod screen;
mod tape;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519::{Identity, Recipient};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use cast::{Code, Event, Exporter, Format, Header, Ours, Term};
pub use lines::{LINE_MAX, Obtained, Typed};
pub use live::{Kept, Recording};
pub use name::{BadRecordingName, RecordingName};
pub use read::{Ending, Playback, Unreadable};

use crate::clock::Clock;
use crate::names::{Firm, HostName, SessionId, SiteName, Username};

/// Why there is no recording, or no more of it. `Display` is for the journal, [`CannotRecord::sentence`] for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotRecord {
    /// Nothing to encrypt to.
    #[error("recording=no-recipients")]
    NoRecipients,
    /// The disk is full.
    #[error("recording=full")]
    Full,
    /// The file or its folder was moved or removed.
    #[error("recording=gone")]
    Gone,
    /// This channel of this session has a recording already.
    #[error("recording=exists")]
    Exists,
    /// It was finished before.
    #[error("recording=ended")]
    Ended,
    /// The disk, or the program, failed otherwise.
    #[error("recording=failed cause={0}")]
    Failed(String),
}

impl CannotRecord {
    /// One sentence for a person.
    #[must_use]
    pub fn sentence(&self, german: bool) -> &'static str {
        match (self, german) {
            (Self::Full, false) => "The recordings' disk is full, so this session ends.",
            (Self::Full, true) => "Der Datenträger der Aufzeichnungen ist voll, darum endet diese Sitzung.",
            (_, false) => "The session cannot be recorded, so it ends.",
            (_, true) => "Die Sitzung lässt sich nicht aufzeichnen, darum endet sie.",
        }
    }

    fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{AlreadyExists, NotFound, QuotaExceeded, StorageFull};
        let kind = error.kind();
        if matches!(kind, StorageFull | QuotaExceeded) {
            Self::Full
        } else if kind == AlreadyExists {
            Self::Exists
        } else if kind == NotFound {
            Self::Gone
        } else {
            Self::Failed(kind.to_string())
        }
    }
}

/// What a recording is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The connection.
    pub session: SessionId,
    /// The channel in it, a number that no other recording of the session has.
    pub channel: u32,
    /// Who.
    pub user: Username,
    /// Of which firm.
    pub firm: Firm,
    /// The customer.
    pub site: SiteName,
    /// The customer's host.
    pub host: HostName,
    /// What is run; none for a shell.
    pub command: Option<Vec<u8>>,
    /// The terminal's name, `xterm-256color`.
    pub term: String,
    /// Its columns; 0 is unknown.
    pub cols: u32,
    /// Its rows; 0 is unknown.
    pub rows: u32,
    /// When it begins.
    pub started: Timestamp,
}

/// The folder of recordings, and the keys to it.
#[derive(Clone)]
pub struct Recordings {
    folder: PathBuf,
    recipients: Arc<[Recipient]>,
    identities: Arc<[Identity]>,
    clock: Clock,
}

impl Recordings {
    /// Those in `folder`, which is made (for its owner only) where it is missing. Without recipients none begins, without identities
    /// none is read.
    ///
    /// # Errors
    /// [`CannotRecord::Failed`], [`CannotRecord::Full`]: the folder cannot be made.
    pub fn open(
        folder: &Path,
        recipients: Vec<Recipient>,
        identities: Vec<Identity>,
        clock: Clock,
    ) -> Result<Self, CannotRecord> {
        tape::make_folder(folder)?;
        let (recipients, identities) = (recipients.into(), identities.into());
        Ok(Self { folder: folder.to_owned(), recipients, identities, clock })
    }

    /// Begins a recording: its header is on disk when this returns. Dropped without [`Recording::finish`] it keeps what it has, and
    /// reads as cut.
    ///
    /// # Errors
    /// Every [`CannotRecord`] but `Ended`; the session must not start then.
    pub async fn begin(&self, about: About) -> Result<Recording, CannotRecord> {
        if self.recipients.is_empty() {
            return Err(CannotRecord::NoRecipients);
        }
        let day = about.started.to_zoned(TimeZone::UTC).date();
        let name = RecordingName { day, session: about.session, channel: about.channel };
        let (folder, recipients, header) =
            (self.folder.clone(), Arc::clone(&self.recipients), cast::header(&about));
        let created = {
            let name = name.clone();
            tokio::task::spawn_blocking(move || tape::Tape::create(&folder, &name, &header, recipients))
        };
        let tape = created.await.map_err(|_| CannotRecord::Failed("interrupted".into()))??;
        Ok(Recording::over(tape, name, &about, self.clock.clone()))
    }

    /// All recordings of a session, by channel.
    ///
    /// # Errors
    /// [`Unreadable::Disk`].
    pub fn of(&self, session: SessionId) -> Result<Vec<RecordingName>, Unreadable> {
        let mut found = Vec::new();
        for day in std::fs::read_dir(&self.folder).map_err(|e| Unreadable::of(&e))? {
            let day = day.map_err(|e| Unreadable::of(&e))?;
            if !day.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for file in std::fs::read_dir(day.path()).map_err(|e| Unreadable::of(&e))? {
                let file = file.map_err(|e| Unreadable::of(&e))?.file_name();
                let folder = day.file_name();
                let (Some(folder), Some(file)) = (folder.to_str(), file.to_str()) else { continue };
                let name = file.strip_suffix(".rec").and_then(|stem| format!("{folder}/{stem}").parse().ok());
                found.extend(name.filter(|name: &RecordingName| name.session == session));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Opens a recording; its frames are held against each other as they are read.
    ///
    /// # Errors
    /// Every [`Unreadable`].
    pub fn read(&self, name: &RecordingName) -> Result<Playback, Unreadable> {
        Playback::open(&self.folder, name, Arc::clone(&self.identities))
    }
}

/// A side as a screen may have it.
fn side(wanted: u32, usual: u16) -> u16 {
    if wanted == 0 { usual } else { u16::try_from(wanted).unwrap_or(u16::MAX) }
}

#[cfg(test)]
mod tests;
