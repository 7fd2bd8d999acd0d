//! Tells when a file of the configuration has changed, however it was changed, or at SIGHUP.
//! Absent on purpose: what has changed; all of it is read again. And inotify: it follows a folder that was renamed away, and
//! sees nothing of the one in its place, nor of a link that points elsewhere now. A look at each file's dates misses neither.

use std::collections::hash_map::DefaultHasher;
use std::fs::{DirEntry, Metadata};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// And how much of a core that may cost: with 10,000 sites a look takes a while, and then it is taken less often.
const SHARE: u32 = 10;
/// A change is handed on when it has been quiet for one look, or after so many.
const SETTLE: u32 = 3;
/// Deeper folders are not ours.
const DEPTH: usize = 3;

/// What the files looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(u64);

impl Look {
    /// Dates, sizes, rights and numbers of all files below `policy`, `keys` and `secrets`.
    pub fn at(dir: &Path) -> Self {
        let folders = ["policy", "keys", "secrets"];
        Self(folders.iter().fold(0, |sum, folder| sum.wrapping_add(look(&dir.join(folder), DEPTH))))
    }
}

fn look(path: &Path, depth: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let Ok(meta) = std::fs::metadata(path) else { return hasher.finish() };
    dates(&meta).hash(&mut hasher);
    let own = hasher.finish();
    if !meta.is_dir() || depth == 0 {
        return own;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    // A sum, as the order is any: with 10,000 sites, sorting costs as much as looking.
    entries.fold(own, |sum, entry| sum.wrapping_add(look_in(path, &entry, depth - 1)))
}

/// A file is asked after in its open folder, without its whole path; it is most of what there is.
fn look_in(folder: &Path, entry: &DirEntry, depth: usize) -> u64 {
    match entry.metadata() {
        Ok(meta) if meta.is_file() => {
            let mut hasher = DefaultHasher::new();
            (folder, entry.file_name(), dates(&meta)).hash(&mut hasher);
            hasher.finish()
        }
        Ok(_) | Err(_) => look(&entry.path(), depth),
    }
}

fn dates(meta: &Metadata) -> impl Hash {
    let file = (meta.dev(), meta.ino(), meta.size(), meta.mode(), meta.uid());
    (file, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

/// Changes to come.
pub struct Changes {
    dir: PathBuf,
    seen: Look,
    /// How long the last look took.
    took: Duration,
    hangup: Option<Signal>,
    /// SIGHUP was heard and not handed on yet.
    due: bool,
}

impl Changes {
    /// Changes since `seen`. SIGHUP is heard from here on.
    pub fn since(dir: &Path, seen: Look) -> Self {
        let hangup = signal(SignalKind::hangup()).map_err(|e| tracing::error!("SIGHUP: {e}")).ok();
        Self { dir: dir.to_owned(), seen, took: Duration::ZERO, hangup, due: false }
    }

    async fn look(&mut self) -> Look {
        let (dir, begun) = (self.dir.clone(), Instant::now());
        let look = tokio::task::spawn_blocking(move || Look::at(&dir)).await.unwrap_or(self.seen);
        self.took = begun.elapsed();
        look
    }

    /// Returns once something has changed and is quiet again; at once on SIGHUP. Dropped before it returns, it loses
    /// nothing: the next call returns for the same change.
    pub async fn next(&mut self) {
        loop {
            if !self.due {
                let pause = LOOK.max(self.took * (SHARE - 1));
                let hangup = async {
                    match &mut self.hangup {
                        Some(signal) => signal.recv().await,
                        None => std::future::pending().await,
                    }
                };
                self.due = tokio::select! {
                    () = tokio::time::sleep(pause) => false,
                    _ = hangup => true,
                };
            }
            let mut now = self.look().await;
            if now == self.seen && !self.due {
                continue;
            }
            for _ in 0..SETTLE {
                tokio::time::sleep(LOOK / 3).await;
                let later = self.look().await;
                if std::mem::replace(&mut now, later) == later {
                    break;
                }
            }
            self.seen = now;
            self.due = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_swapped_by_rename_or_link_looks_otherwise_and_an_untouched_one_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["keys", "keys.new", "policy.one", "policy.two"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::fs::write(at("keys/firm-jane.doe.pub"), "x").unwrap();
        std::os::unix::fs::symlink(at("policy.one"), at("policy")).unwrap();
        let before = Look::at(dir.path());
        assert_eq!(Look::at(dir.path()), before);
        std::fs::rename(at("keys"), at("keys.old")).unwrap();
        std::fs::rename(at("keys.new"), at("keys")).unwrap();
        let swapped = Look::at(dir.path());
        assert_ne!(swapped, before);
        std::fs::remove_file(at("policy")).unwrap();
        std::os::unix::fs::symlink(at("policy.two"), at("policy")).unwrap();
        assert_ne!(Look::at(dir.path()), swapped);
    }
}
