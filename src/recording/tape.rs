//! The file of a recording as it is written: sealed frames, each holding the hash of the one before. Absent on purpose: waiting, and
//! reading; all here blocks and belongs into `spawn_blocking`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519::Recipient;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cast::{Header, hex};
use super::{CannotRecord, RecordingName};

/// What the file begins with.
pub(super) const MAGIC: &[u8] = b"pforte recording 1\n";
/// No frame is longer, in bytes as it lies in the file.
pub(super) const FRAME_MAX: usize = 16 << 20;

/// The first line of a frame's plaintext.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) frame: u64,
    /// SHA-256 of the frame before, as it lies in the file without its length; of [`MAGIC`] for the first.
    pub(super) prev: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<End>,
}

/// What the last frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) exit: Option<u32>,
    pub(super) output_bytes: u64,
    pub(super) typed: u64,
}

/// A folder for its owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), CannotRecord> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| CannotRecord::of(&e))
}

/// A recording's file, open at its end.
pub(super) struct Tape {
    file: File,
    path: PathBuf,
    /// Device and inode: the path must go on leading here.
    place: (u64, u64),
    recipients: Arc<[Recipient]>,
    frame: u64,
    prev: String,
    hash: Sha256,
    bytes: u64,
}

impl Tape {
    /// A new file with its header, on disk.
    pub(super) fn create(
        folder: &Path,
        name: &RecordingName,
        header: &Header,
        recipients: Arc<[Recipient]>,
    ) -> Result<Self, CannotRecord> {
        let failed = |error: std::io::Error| CannotRecord::of(&error);
        let path = name.path(folder);
        let day = path.parent().unwrap_or(folder);
        make_folder(day)?;
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(&path)
            .map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        let mut tape = Self {
            place: (facts.dev(), facts.ino()),
            file,
            recipients,
            frame: 0,
            prev: hex(&Sha256::digest(MAGIC)),
            hash: Sha256::new(),
            bytes: 0,
            path: path.clone(),
        };
        let mut line = serde_json::to_vec(header).map_err(|_| CannotRecord::Failed("header".into()))?;
        line.push(b'\n');
        let begun = tape
            .put(MAGIC)
            .and_then(|()| tape.write(&line, None))
            .and_then(|()| tape.sync())
            .and_then(|()| File::open(day).and_then(|day| day.sync_all()).map_err(failed))
            .and_then(|()| File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed));
        if let Err(error) = begun {
            // Nothing of the session is in it; what stays would read as a recording that was cut.
            std::fs::remove_file(&path).ok();
            return Err(error);
        }
        Ok(tape)
    }

    /// Seals a frame and writes it at the file's end.
    pub(super) fn write(&mut self, lines: &[u8], end: Option<End>) -> Result<(), CannotRecord> {
        let link = Link { frame: self.frame, prev: std::mem::take(&mut self.prev), end };
        let mut plain = serde_json::to_vec(&link).map_err(|_| CannotRecord::Failed("frame".into()))?;
        plain.push(b'\n');
        plain.extend_from_slice(lines);
        let sealed = seal(&plain, &self.recipients)?;
        let length = u32::try_from(sealed.len()).ok().filter(|_| sealed.len() <= FRAME_MAX);
        let length = length.ok_or_else(|| CannotRecord::Failed("frame too long".into()))?;
        self.frame += 1;
        self.prev = hex(&Sha256::digest(&sealed));
        self.still_there()?;
        self.put(&[length.to_be_bytes().as_slice(), &sealed].concat())
    }

    /// Returns when all that was written is on disk.
    pub(super) fn sync(&self) -> Result<(), CannotRecord> {
        self.file.sync_data().map_err(|error| CannotRecord::of(&error))
    }

    /// The file's length and SHA-256.
    pub(super) fn total(&self) -> (u64, [u8; 32]) {
        (self.bytes, self.hash.clone().finalize().into())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CannotRecord> {
        self.file.write_all(bytes).map_err(|error| CannotRecord::of(&error))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// A file that was removed or moved takes every write, and nobody finds it.
    fn still_there(&self) -> Result<(), CannotRecord> {
        let facts = std::fs::symlink_metadata(&self.path).map_err(|error| CannotRecord::of(&error))?;
        if (facts.dev(), facts.ino()) == self.place { Ok(()) } else { Err(CannotRecord::Gone) }
    }
}

fn seal(plain: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, CannotRecord> {
    let failed = |_| CannotRecord::Failed("age".into());
    let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(all).map_err(|_| CannotRecord::NoRecipients)?;
    let mut writer = encryptor.wrap_output(Vec::with_capacity(plain.len() + 1024)).map_err(failed)?;
    writer.write_all(plain).map_err(failed)?;
    writer.finish().map_err(failed)
}
