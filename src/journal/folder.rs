//! The journal's folder: who may write it, its lock, its files, `HEAD` and the reserve for a full disk.
//! Absent on purpose: lines and their chain; this is the only part that creates or truncates files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use super::line::Hash;
use super::{OpenError, read};

const LOCK: &str = "LOCK";
const HEAD: &str = "HEAD";
const RESERVE: &str = "RESERVE";

/// The folder, held by this process alone until it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    dir: File,
    head: File,
    /// Kept open: closing it gives the lock back.
    _lock: File,
}

impl Folder {
    /// Makes the folder (0700) where it is missing, takes its lock, and refuses what others could have written.
    pub(crate) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |what| move |source| OpenError::Io { what, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the folder"))?;
        let dir = File::open(path).map_err(failed("open the folder"))?;
        refuse_writable(path, dir.metadata().map_err(failed("read the folder"))?.mode())?;
        for entry in std::fs::read_dir(path).map_err(failed("read the folder"))? {
            let entry = entry.map_err(failed("read the folder"))?;
            let metadata = entry.metadata().map_err(failed("read the folder"))?;
            if metadata.is_file() {
                refuse_writable(&entry.path(), metadata.mode())?;
            }
        }
        let mut lock = file(&path.join(LOCK)).map_err(failed("open LOCK in"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // Who holds it is a courtesy; that it is held is what counts.
            lock.read_to_string(&mut holder).ok();
            return Err(OpenError::Locked { dir: path.to_owned(), holder: holder.trim().to_owned() });
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(failed("write LOCK in"))?;
        let head = file(&path.join(HEAD)).map_err(failed("open HEAD in"))?;
        dir.sync_all().map_err(failed("sync the folder"))?;
        Ok(Self { path: path.to_owned(), dir, head, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A day's file, made (0600) where it is missing and then known to the disk.
    pub(crate) fn day(&self, day: Date) -> io::Result<File> {
        let file = file(&self.path.join(read::file_name(day)))?;
        self.dir.sync_all()?;
        Ok(file)
    }

    /// Overwrites `HEAD` in place. Not synced: behind the journal is where it may be.
    pub(crate) fn write_head(&self, record: &str) -> io::Result<()> {
        self.head.write_all_at(record.as_bytes(), 0)
    }
}

/// What `HEAD` holds; empty where it is missing.
pub(crate) fn read_head(dir: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    match read::open(&dir.join(HEAD)) {
        Ok(file) => file.take(4096).read_to_end(&mut text)?,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn refuse_writable(path: &Path, mode: u32) -> Result<(), OpenError> {
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        Err(OpenError::OthersCanWrite { path: path.to_owned(), mode: mode & 0o777 })
    }
}

/// Room kept for the lines that end running work when the disk is full.
pub(crate) struct Reserve {
    path: PathBuf,
    size: u64,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, size: u64) -> Self {
        Self { path: dir.join(RESERVE), size }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Makes the reserve where it is missing or short: blocks asked for first, then really written (a disk that
    /// compresses gets nothing to compress), then synced. What is half made is taken away again.
    pub(crate) fn make(&self) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|m| m.len() == self.size) {
            return Ok(());
        }
        self.fill().inspect_err(|_| self.remove())
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = file(&self.path)?;
        file.set_len(0)?;
        if self.size == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let mut noise = Hash::of(b"pforte reserve");
        let mut left = self.size;
        let mut block = Vec::with_capacity(64 * 1024);
        while left > 0 {
            block.clear();
            while block.len() < 64 * 1024 {
                noise = Hash::of(&noise.0);
                block.extend_from_slice(&noise.0);
            }
            let part = block.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&block);
            file.write_all(part)?;
            left -= part.len() as u64;
        }
        file.sync_all()
    }

    /// Gives the room to the journal's file: its blocks behind `len` are claimed at once, before somebody else's
    /// file grows into them. Where the disk cannot claim, the room is merely free.
    pub(crate) fn release(&self, journal: &File, len: u64) {
        self.remove();
        if self.size > 0 {
            rustix::fs::fallocate(journal, FallocateFlags::KEEP_SIZE, len, self.size).ok();
        }
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(%error, "the journal's reserve cannot be released");
        }
    }
}
