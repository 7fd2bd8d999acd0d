//! Reads configuration files, and refuses those that the wrong people could have written or read.
//! Absent on purpose: what stands in them.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::problems::{Place, Problems};
use super::reader::{At, Table};
use crate::secret::Secret;

/// Who may read a file beside its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// Anybody; it is only not to be written by others.
    ByAll,
    /// The owner alone: it holds a secret.
    ByOwner,
}

/// The configuration's folder, and what is read from it.
pub struct Folder {
    root: PathBuf,
}

/// Larger files are not read: nothing of ours is near it.
const LARGEST: u64 = 16 << 20;

/// What stands in a new configuration where only its operator knows the secret.
pub const NO_SECRET: &str = "replace-me";

impl Folder {
    /// The folder that holds `policy/` and `keys/`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// `path` below the folder; an absolute path stays as it is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The text of `file`, or a problem. `from` is the place that names the file, if one does.
    pub fn read(
        &self,
        file: &Path,
        readable: Readable,
        from: Option<&Place>,
        problems: &mut Problems,
    ) -> Option<String> {
        let place = from.cloned().unwrap_or_else(|| Place::file(file));
        let name = from.map_or_else(String::new, |_| format!("{} ", file.display()));
        self.read_as(&name, file, readable, place, problems)
    }

    /// As [`Folder::read`]; `name` is what the sentence of a problem calls the file, with a space behind it.
    fn read_as(
        &self,
        name: &str,
        file: &Path,
        readable: Readable,
        place: Place,
        problems: &mut Problems,
    ) -> Option<String> {
        let path = self.path(file);
        match guarded(&path).and_then(|()| read_file(&path, readable)) {
            Ok(text) => return Some(text),
            Err(Unread::Folder(folder, why)) => self.complain(&folder, &why, problems),
            Err(Unread::Refused(why)) => problems.add(place, format!("{name}{why}")),
            Err(Unread::Failed(e)) => problems.add(place, format!("{name}cannot be read: {e}")),
        }
        None
    }

    /// A folder that others can change is one problem, however many files it holds.
    fn complain(&self, folder: &Path, why: &str, problems: &mut Problems) {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        let inside = folder.strip_prefix(&root).ok().filter(|p| !p.as_os_str().is_empty());
        problems.add_once(Place::file(inside.unwrap_or(folder)), format!("the folder {why}"));
    }

    /// Complains about each of `folders` that is there and that others can change, or a folder above it.
    pub fn guard(&self, folders: &[&str], problems: &mut Problems) {
        for folder in folders {
            let path = self.path(folder).join(".");
            if let Err(Unread::Folder(folder, why)) = guarded(&path) {
                self.complain(&folder, &why, problems);
            }
        }
    }

    /// The secret in the file that `table` names: `key = { file = "…" }`; its first line without the line's end.
    /// The file's name is not repeated: people write the secret itself there by mistake.
    pub fn secret(
        &self,
        table: &mut Table<'_, '_>,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Secret> {
        const NAME: &str = "the file named here ";
        let mut inner = table.table(key, problems)?;
        let file = inner.required::<PathBuf>("file", problems);
        inner.finish(problems);
        let At { value: file, place } = file?;
        let text = Zeroizing::new(self.read_as(NAME, &file, Readable::ByOwner, place.clone(), problems)?);
        let line = text.lines().next().unwrap_or_default();
        if line.trim().is_empty() {
            problems.add(place, format!("{NAME}is empty: write the secret into its first line"));
            return None;
        }
        if line.trim() == NO_SECRET {
            let message = format!("{NAME}still says {NO_SECRET}: write the secret into its first line");
            problems.add(place, message);
            return None;
        }
        Some(Secret::new(line.to_owned()))
    }

    /// The files of a sub-folder by name, without hidden ones and editors' left-overs; none if it is not there.
    pub fn list(&self, folder: &Path, problems: &mut Problems) -> Vec<PathBuf> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                problems.add(Place::file(folder), format!("cannot be read: {e}"));
                return Vec::new();
            }
        };
        if let Some(name) = folder.to_str() {
            self.guard(&[name], problems);
        }
        let mut files: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|e| !is_left_over(&e.file_name().to_string_lossy()))
            .map(|e| folder.join(e.file_name()))
            .collect();
        files.sort();
        files
    }
}

/// Hidden files, and what editors leave beside the file they work on (Emacs, vi, patch).
fn is_left_over(name: &str) -> bool {
    name.starts_with('.')
        || (name.starts_with('#') && name.ends_with('#'))
        || ["~", ".swp", ".bak", ".orig"].iter().any(|end| name.ends_with(end))
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// A folder above it could be changed by others: which one, and why.
    #[error("the folder {path} {1}", path = .0.display())]
    Folder(PathBuf, String),
    /// The file's own rights or kind.
    #[error("{0}")]
    Refused(String),
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Failed(#[from] io::Error),
}

/// The text of a file that only root and we can change, nor any folder above it; its rights are those of the very
/// file that is read, not of what stood under its name before.
pub fn read_guarded(path: &Path, readable: Readable) -> Result<String, Unread> {
    guarded(path)?;
    read_file(path, readable)
}

pub(super) fn read_file(path: &Path, readable: Readable) -> Result<String, Unread> {
    // A FIFO must not hold us up: what is no file is refused below.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if let Some(why) = refuse(&meta, readable).or_else(|| roots_alone(path, &meta)) {
        return Err(Unread::Refused(why));
    }
    let mut text = String::new();
    if !meta.is_file() || file.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        return Err(Unread::Refused("is no file of at most 16 MiB".into()));
    }
    Ok(text)
}

/// Links are followed. Each folder above what they lead to, and above the name itself, is under nobody's control but
/// root's and ours; in a sticky one nobody can replace what is not theirs (inode(7)).
fn guarded(path: &Path) -> Result<(), Unread> {
    let target = path.canonicalize()?;
    let named = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").canonicalize()?,
        Some(parent) => parent.canonicalize()?,
        None => target.clone(),
    };
    let folder = if target.is_dir() { Some(target.as_path()) } else { target.parent() };
    for folder in named.ancestors().chain(folder.into_iter().flat_map(Path::ancestors)) {
        let meta = folder.metadata()?;
        let sticky = meta.mode() & 0o1000 != 0;
        if let Some(why) = foreign(&meta).or_else(|| (!sticky).then(|| writable(&meta)).flatten()) {
            return Err(Unread::Folder(folder.to_owned(), why));
        }
    }
    Ok(())
}

/// Why a file of these rights is refused, with the command that mends it.
fn refuse(meta: &Metadata, readable: Readable) -> Option<String> {
    foreign(meta).or_else(|| writable(meta)).or_else(|| {
        (readable == Readable::ByOwner && meta.mode() & 0o044 != 0)
            .then(|| format!("can be read by others (mode {:o}): chmod go-rwx", meta.mode() & 0o7777))
    })
}

/// Root reads it, in a folder that was given to a service, which will not.
fn roots_alone(path: &Path, meta: &Metadata) -> Option<String> {
    let folder = path.parent()?.metadata().ok()?.uid();
    let hidden = meta.uid() == 0 && meta.mode() & 0o044 == 0;
    (hidden && folder != 0 && folder != rustix::process::geteuid().as_raw()).then(|| {
        format!(
            "belongs to root alone, its folder to user {folder}, who cannot read it: chown it like its folder"
        )
    })
}

fn foreign(meta: &Metadata) -> Option<String> {
    let owner = meta.uid();
    (!crate::owner::is_ours(owner))
        .then(|| format!("belongs to user {owner}: it must belong to root or to the gateway's own user"))
}

fn writable(meta: &Metadata) -> Option<String> {
    (meta.mode() & 0o022 != 0)
        .then(|| format!("can be written by others (mode {:o}): chmod go-w", meta.mode() & 0o7777))
}
