//! Where things are kept without a gateway: files that only their owner reads, written whole or not at all; and the lock.
//! Absent on purpose: what stands in them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};

use crate::names::HostPort;

/// `~/.config/pforte`
pub(super) fn config() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config")
}

/// `~/.local/state/pforte`
pub(super) fn state() -> Option<PathBuf> {
    folder("XDG_STATE_HOME", ".local/state")
}

fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    // A relative path there is to be ignored (XDG Base Directory Specification).
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    Some(named.or_else(|| Some(home()?.join(below_home)))?.join("pforte"))
}

/// Makes the folder, for its owner alone.
pub(super) fn make(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// `192.168.2.100_9443`
pub(super) fn file_name(address: &HostPort) -> String {
    format!("{}_{}", address.host().replace(':', "-"), address.port())
}

/// Who else may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// It is a secret: nobody.
    Secret,
    /// Anybody; but nobody else may write it.
    Text,
}

/// Why a file is not taken.
#[derive(Debug)]
pub(super) enum Untaken {
    /// It cannot be read.
    Io(std::io::Error),
    /// It is no plain file.
    NoFile,
    /// Others can read or write it, or it is another's.
    Others,
    /// Larger than it may be.
    TooLarge,
}

/// Reads a file that is its owner's, or root's, and no larger than this.
pub(super) fn guarded(path: &Path, guard: Guard, largest: u64) -> Result<Vec<u8>, Untaken> {
    // A FIFO must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Untaken::Io)?;
    let facts = file.metadata().map_err(Untaken::Io)?;
    if !facts.is_file() {
        return Err(Untaken::NoFile);
    }
    let forbidden = if guard == Guard::Secret { 0o077 } else { 0o022 };
    let owned = crate::owner::is_ours(facts.uid());
    if !owned || facts.mode() & forbidden != 0 {
        return Err(Untaken::Others);
    }
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes).map_err(Untaken::Io)?;
    if bytes.len() as u64 > largest { Err(Untaken::TooLarge) } else { Ok(bytes) }
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// It stays, and nothing is written.
    Stays,
    /// It is replaced.
    Goes,
}

/// Writes a file of mode 0600, whole and on disk before it has its name.
pub(super) fn write(path: &Path, bytes: &[u8], there: There) -> std::io::Result<()> {
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = written(&temporary, bytes).and_then(|()| named(&temporary, path, there));
    if written.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    written?;
    // A folder that cannot be synced (a USB stick's) has the file all the same.
    File::open(folder).and_then(|folder| folder.sync_all()).ok();
    Ok(())
}

fn written(temporary: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::remove_file(temporary).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn named(temporary: &Path, path: &Path, there: There) -> std::io::Result<()> {
    if there == There::Goes {
        return std::fs::rename(temporary, path);
    }
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system knows how; there a second process in the same instant would win.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if path.symlink_metadata().is_ok() {
                return Err(std::io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(temporary, path)
        }
        done => Ok(done?),
    }
}

/// Writes under the first free of `name.json`, `name-2.json`, …; gives the path.
pub(super) fn write_free(folder: &Path, stem: &str, ending: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
    const MOST: usize = 1000;
    for n in 1..=MOST {
        let name = if n == 1 { format!("{stem}{ending}") } else { format!("{stem}-{n}{ending}") };
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match write(&path, bytes, There::Stays) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
            Ok(()) => return Ok(path),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

/// Held while a box is worked at; ends with the process, whatever ends it.
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

/// Why there is no lock.
pub(super) enum NoLock {
    /// Another process has it: its pid, as it wrote it.
    Held(String),
    /// The file cannot be made.
    Io(std::io::Error),
}

/// The box's turn.
pub(super) fn lock(path: &Path) -> Result<Lock, NoLock> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(NoLock::Io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.take(20).read_to_string(&mut pid).ok();
            let pid: String = pid.chars().filter(char::is_ascii_digit).collect();
            return Err(NoLock::Held(if pid.is_empty() { "?".into() } else { pid }));
        }
        Err(e) => return Err(NoLock::Io(e.into())),
    }
    let noted = file.set_len(0).and_then(|()| file.rewind());
    noted.and_then(|()| writeln!(file, "{}", std::process::id())).map_err(NoLock::Io)?;
    Ok(Lock(file))
}
