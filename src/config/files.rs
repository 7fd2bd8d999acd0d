//! Reads configuration files, and refuses those that the wrong people could have written or read.
//! Absent on purpose: what stands in them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::problems::{Place, Problems};
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
        let place = || from.cloned().unwrap_or_else(|| Place::file(file));
        let path = self.path(file);
        let read = || -> io::Result<Result<String, String>> {
            let meta = fs::metadata(&path)?;
            if let Some(why) = refuse(&meta, readable) {
                return Ok(Err(why));
            }
            if !meta.is_file() || meta.len() > LARGEST {
                return Ok(Err("is no file of at most 16 MiB".into()));
            }
            Ok(Ok(fs::read_to_string(&path)?))
        };
        match read() {
            Ok(Ok(text)) => return Some(text),
            Ok(Err(why)) => problems.add(place(), format!("{} {why}", file.display())),
            Err(e) => problems.add(place(), format!("{} cannot be read: {e}", file.display())),
        }
        None
    }

    /// The secret in `file`: its first line without the line's end.
    pub fn secret(&self, file: &Path, from: &Place, problems: &mut Problems) -> Option<Secret> {
        let text = self.read(file, Readable::ByOwner, Some(from), problems)?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            problems.add(
                from.clone(),
                format!("{} is empty: write the secret into its first line", file.display()),
            );
            return None;
        }
        Some(Secret::new(line.to_owned()))
    }

    /// The files of a sub-folder by name, without those that begin with a dot; none if it is not there.
    pub fn list(&self, folder: &Path, problems: &mut Problems) -> Vec<PathBuf> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                problems.add(Place::file(folder), format!("cannot be read: {e}"));
                return Vec::new();
            }
        };
        if let Ok(meta) = fs::metadata(self.path(folder))
            && let Some(why) = refuse(&meta, Readable::ByAll)
        {
            problems.add(Place::file(folder), format!("the folder {why}"));
        }
        let mut files: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
            .map(|e| folder.join(e.file_name()))
            .collect();
        files.sort();
        files
    }
}

/// Why a file of these rights is refused, with the command that mends it.
fn refuse(meta: &fs::Metadata, readable: Readable) -> Option<String> {
    let owner = meta.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Some(format!("belongs to user {owner}: it must belong to root or to the gateway's own user"));
    }
    if meta.mode() & 0o022 != 0 {
        return Some(format!("can be written by others (mode {:o}): chmod go-w", meta.mode() & 0o7777));
    }
    if readable == Readable::ByOwner && meta.mode() & 0o044 != 0 {
        return Some(format!("can be read by others (mode {:o}): chmod go-rwx", meta.mode() & 0o7777));
    }
    None
}
