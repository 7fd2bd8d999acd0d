//! Handing files in: opening for writing, writing, closing, removing, renaming. All of it within one site's `incoming`.
//! Absent on purpose: a disk before a file is whole. What was not closed, or is no JSON, is nowhere.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::desk::{FileLine, No};
use super::open::{Open, Writing};
use super::spool::{Refused, Spool};
use super::tree::{self, Name, Node};
use super::wire::{flags, status};
use super::{Files, Held, asked};
use crate::asks::{Family, FileAsk, FilePlace};
use crate::commands::exit;
use crate::commands::files::{self, FileFailed};
use crate::journal::started::{Outcome, Started};
use crate::names::{IncomingName, SiteName};

/// Files that may be set to no bytes before they are written anew.
const EMPTIED: usize = 16;

/// What is to be kept.
struct Whole {
    started: Started<FileAsk>,
    path: String,
    name: IncomingName,
    spool: Spool,
    /// Bytes that came for it by this ask.
    taken: u64,
    turn: OwnedSemaphorePermit,
}

impl Files {
    /// A name that `incoming` would never keep is told so; anything else is nothing.
    pub(super) async fn misnamed(&mut self, path: &[u8]) -> No {
        let seen =
            tree::misnamed(path).is_some_and(|site| self.desk.sees(&[Family::KonnektorRestore], &site));
        if !seen {
            return self.nothing("upload", path).await;
        }
        let english =
            "A file here has a name of letters, digits, dots, dashes and underscores that ends in .json.";
        let german =
            "Eine Datei heißt hier aus Buchstaben, Ziffern, Punkten und Strichen und endet auf .json.";
        let no = No::new(status::FAILURE, self.desk.pick(english, german));
        self.desk.refuse("bad-name", &asked("upload", &[path]), no).await
    }

    /// OPEN for writing.
    pub(super) async fn open_to_write(
        &mut self,
        path: &[u8],
        wanted: u32,
        site: SiteName,
        name: Name,
    ) -> Result<u32, No> {
        let ask = asked("upload", &[path]);
        let key = (site.clone(), name.as_str().into());
        let held = self.held.remove(&key);
        let (before, turn) = match held {
            Some(Held { spool, turn }) => (Some(spool), turn),
            None => match self.desk.turn(&self.desk.table.uploads) {
                Ok(turn) => (None, turn),
                Err(no) => return Err(self.desk.refuse("too-many-files", &ask, no).await),
            },
        };
        let started = self.desk.ask(FilePlace::Incoming(site.clone()), &ask).await?;
        let (spool, changed) = match self.before(&started, wanted, &site, &name, before).await {
            Ok(opened) => opened,
            Err(failed) => return Err(self.desk.gave_up(started, &failed, 0).await),
        };
        self.emptied.remove(&key);
        let writing = Writing {
            started,
            path: tree::absolute(path).unwrap_or_default(),
            site,
            name,
            spool,
            taken: 0,
            append: wanted & flags::APPEND != 0,
            changed,
            broken: None,
            turn,
        };
        Ok(self.put(Open::Writing(Box::new(writing))))
    }

    /// What the file begins with, and whether that is other than what is kept.
    async fn before(
        &self,
        started: &Started<FileAsk>,
        wanted: u32,
        site: &SiteName,
        name: &Name,
        held: Option<Spool>,
    ) -> Result<(Spool, bool), FileFailed> {
        let is = |flag| wanted & flag != 0;
        let empty = || Spool::new(self.desk.front.files.handing_in.clone());
        let works = &self.desk.front.works;
        let (there, count) = match name {
            Name::Passing(_) => (held.is_some(), 0),
            Name::Final(name) => {
                let listed = files::incoming(started, works).await?;
                (listed.iter().any(|file| file.name == name.as_str()), listed.len())
            }
        };
        if there && is(flags::EXCL) && is(flags::CREAT) {
            return Err(FileFailed::Vault(files::EXISTS));
        }
        if !there && !is(flags::CREAT) {
            return Err(FileFailed::Vault(files::NOT_FOUND));
        }
        if !there && count >= files::MOST {
            return Err(FileFailed::Quota);
        }
        let emptied = self.emptied.contains(&(site.clone(), name.as_str().into()));
        if !there || emptied || is(flags::TRUNC) {
            return Ok((empty(), true));
        }
        match (name, held) {
            (_, Some(held)) => Ok((held, true)),
            (Name::Passing(_), None) => Ok((empty(), true)),
            (Name::Final(name), None) => {
                let content = files::handed_in(started, works, name).await?;
                let mut spool = empty();
                spool.write(0, &content).map_err(|_| FileFailed::NoRoom)?;
                Ok((spool, false))
            }
        }
    }

    /// WRITE.
    pub(super) fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Result<(), No> {
        self.change(handle, |writing| {
            writing.taken += data.len() as u64;
            let at = if writing.append { writing.spool.len() } else { offset };
            writing.spool.write(at, data)
        })
    }

    /// FSETSTAT: a size counts; times and permissions are taken and mean nothing.
    pub(super) fn fset_stat(&mut self, handle: &[u8], size: Option<u64>) -> Result<(), No> {
        match size {
            Some(size) => self.change(handle, |writing| writing.spool.resize(size)),
            None => self.change(handle, |_| Ok(())),
        }
    }

    fn change(
        &mut self,
        handle: &[u8],
        change: impl FnOnce(&mut Writing) -> Result<(), Refused>,
    ) -> Result<(), No> {
        let english = "This file is open for reading only.";
        let read_only = self.desk.pick(english, "Diese Datei ist nur zum Lesen offen.");
        let no_room = self.desk.no_room();
        let english = "This is larger than 64 MiB; nothing of it will be kept.";
        let too_large = self.desk.pick(english, "Das ist größer als 64 MiB; davon wird nichts aufbewahrt.");
        let Open::Writing(writing) = self.handle(handle)? else {
            return Err(No::new(status::PERMISSION_DENIED, read_only));
        };
        if let Some(broken) = &writing.broken {
            return Err(broken.clone());
        }
        writing.changed = true;
        change(writing).map_err(|refused| {
            let no = match refused {
                Refused::TooLarge => No::new(status::FAILURE, too_large),
                Refused::NoRoom => no_room,
            };
            writing.broken = Some(no.clone());
            no
        })
    }

    /// CLOSE.
    pub(super) async fn close(&mut self, handle: &[u8]) -> Result<(), No> {
        let key = self.key(handle)?;
        match self.open.remove(&key) {
            Some(Open::Folder(folder)) => folder.close(&self.desk).await,
            Some(Open::Reading(reading)) => reading.close(&self.desk, None).await,
            Some(Open::Writing(writing)) => self.hand_in(*writing).await,
            Some(Open::Over(_)) | None => Ok(()),
        }
    }

    async fn hand_in(&mut self, writing: Writing) -> Result<(), No> {
        let Writing { started, path, site, name, spool, taken, changed, broken, turn, .. } = writing;
        let outcome = |exit, cause: Option<&str>| Outcome {
            exit,
            bytes_in: taken,
            cause: cause.map(ToOwned::to_owned),
            ..Outcome::default()
        };
        if let Some(no) = broken {
            self.desk.finish(started, outcome(exit::FAILED, Some("not all of it was taken"))).await?;
            return Err(no);
        }
        if let Some(no) = self.desk.withdrawn(started.ask()).await {
            self.desk.finish(started, outcome(exit::REFUSED, Some("withdrawn"))).await?;
            return Err(no);
        }
        match name {
            Name::Final(_) if !changed => self.desk.finish(started, outcome(exit::DONE, None)).await,
            Name::Final(name) => self.keep(Whole { started, path, name, spool, taken, turn }).await,
            Name::Passing(name) => {
                self.held.insert((site, name), Held { spool, turn });
                self.desk.finish(started, outcome(exit::DONE, Some("waits for its name"))).await
            }
        }
    }

    /// Seals it into the vault. In a task of its own: whole files are kept or not, though the client goes away meanwhile.
    async fn keep(&mut self, whole: Whole) -> Result<(), No> {
        let (front, desk) = (self.desk.front.clone(), self.desk.twin());
        self.looked.forget();
        let kept = tokio::spawn(async move {
            let Whole { started, path, name, spool, taken, turn } = whole;
            let (pieces, room) = spool.into_pieces();
            let pieces = Arc::new(pieces);
            let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
            let one_at_a_time = front.files.keeping.lock().await;
            let kept = files::keep(&started, &front.works, &name, pieces.clone()).await;
            drop(one_at_a_time);
            if let Err(failed) = kept {
                return Err(desk.gave_up(started, &failed, taken).await);
            }
            let sha256 = tokio::task::spawn_blocking(move || {
                let digest =
                    pieces.iter().fold(Sha256::new(), |digest, piece| digest.chain_update(piece.as_slice()));
                <[u8; 32]>::from(digest.finalize())
            });
            let sha256 = sha256.await.ok();
            let line =
                FileLine { path: &path, change: "upload", bytes: Some(bytes), sha256, to: None, cause: None };
            desk.file(started.ask(), line).await?;
            desk.finish(started, Outcome { bytes_in: taken, ..Outcome::default() }).await?;
            drop((room, turn));
            Ok(())
        });
        kept.await.unwrap_or_else(|_| Err(self.desk.cannot_journal()))
    }

    /// REMOVE.
    pub(super) async fn remove(&mut self, path: &[u8]) -> Result<(), No> {
        let (site, name) = match tree::node(path) {
            Some(Node::Handed(site, name)) => (site, name),
            Some(
                node @ (Node::Root
                | Node::Site(_)
                | Node::Konnektor(_)
                | Node::Backup(..)
                | Node::Incoming(_)),
            ) => {
                return Err(self.read_only("remove", path, &node).await);
            }
            None => return Err(self.nothing("remove", path).await),
        };
        let started = self.desk.ask(FilePlace::Incoming(site.clone()), &asked("remove", &[path])).await?;
        let removed = match &name {
            Name::Final(name) => files::remove(&started, &self.desk.front.works, name).await,
            Name::Passing(name) => {
                let held = self.held.remove(&(site, name.clone()));
                held.map(|_| ()).ok_or(FileFailed::Vault(files::NOT_FOUND))
            }
        };
        self.changed(started, removed, path, "removed", None).await
    }

    /// The lines of a change that was made, or not.
    async fn changed(
        &mut self,
        started: Started<FileAsk>,
        done: Result<(), FileFailed>,
        path: &[u8],
        change: &str,
        to: Option<&[u8]>,
    ) -> Result<(), No> {
        self.looked.forget();
        if let Err(failed) = done {
            return Err(self.desk.gave_up(started, &failed, 0).await);
        }
        let path = tree::absolute(path).unwrap_or_default();
        let to = to.and_then(tree::absolute);
        let line =
            FileLine { path: &path, change, bytes: None, sha256: None, to: to.as_deref(), cause: None };
        self.desk.file(started.ask(), line).await?;
        self.desk.finish(started, Outcome::default()).await
    }

    /// RENAME, and posix-rename, which replaces. `x.json.filepart` becomes `x.json` so, and only then is it kept.
    pub(super) async fn rename(&mut self, from: &[u8], to: &[u8], replace: bool) -> Result<(), No> {
        let ask = asked("rename", &[from, to]);
        let (site, old, new) = match (tree::node(from), tree::node(to)) {
            (Some(Node::Handed(site, old)), Some(Node::Handed(other, new))) if site == other => {
                (site, old, new)
            }
            (Some(Node::Handed(..)), None) => return Err(self.misnamed(to).await),
            (Some(node), _) => return Err(self.read_only("rename", from, &node).await),
            (None, _) => return Err(self.nothing("rename", from).await),
        };
        let started = self.desk.ask(FilePlace::Incoming(site.clone()), &ask).await?;
        let works = self.desk.front.works.clone();
        let key = |name: &str| (site.clone(), name.into());
        match (old, new) {
            (Name::Final(old), Name::Final(new)) => {
                let done = files::rename(&started, &works, (&old, &new), replace).await;
                self.changed(started, done, from, "renamed", Some(to)).await
            }
            (Name::Passing(old), Name::Passing(new)) => {
                let done = self.held.remove(&key(&old)).map(|held| {
                    self.held.insert(key(&new), held);
                });
                let done = done.ok_or(FileFailed::Vault(files::NOT_FOUND));
                self.changed(started, done, from, "renamed", Some(to)).await
            }
            (Name::Passing(old), Name::Final(name)) => {
                let taken = match files::incoming(&started, &works).await {
                    Ok(listed) => !replace && listed.iter().any(|file| file.name == name.as_str()),
                    Err(failed) => return Err(self.desk.gave_up(started, &failed, 0).await),
                };
                if taken {
                    return Err(self.desk.gave_up(started, &FileFailed::Vault(files::EXISTS), 0).await);
                }
                let Some(Held { spool, turn }) = self.held.remove(&key(&old)) else {
                    return Err(self.desk.gave_up(started, &FileFailed::Vault(files::NOT_FOUND), 0).await);
                };
                let path = tree::absolute(to).unwrap_or_default();
                self.keep(Whole { started, path, name, spool, taken: 0, turn }).await
            }
            (Name::Final(_), Name::Passing(_)) => {
                let outcome = Outcome {
                    exit: exit::USAGE,
                    cause: Some("a kept file to a passing name".into()),
                    ..Outcome::default()
                };
                self.desk.finish(started, outcome).await?;
                let english = "A kept file has a name that ends in .json.";
                let german = "Eine aufbewahrte Datei hat einen Namen, der auf .json endet.";
                Err(No::new(status::PERMISSION_DENIED, self.desk.pick(english, german)))
            }
        }
    }

    /// SETSTAT: nobody's times and permissions can be set here, so it is done; a size only where a file is handed in.
    pub(super) async fn set_stat(&mut self, path: &[u8], size: Option<u64>) -> Result<(), No> {
        let (at, name) = match tree::node(path) {
            Some(Node::Handed(at, name)) => (at, name),
            Some(
                node @ (Node::Root
                | Node::Site(_)
                | Node::Konnektor(_)
                | Node::Backup(..)
                | Node::Incoming(_)),
            ) => {
                return Err(self.read_only("setstat", path, &node).await);
            }
            None => return Err(self.nothing("setstat", path).await),
        };
        let row = self.row_of(path).await?;
        let Some(size) = size.filter(|size| *size != row.bytes) else { return Ok(()) };
        let open = self.open.iter().find_map(|(handle, open)| match open {
            Open::Writing(writing) if writing.site == at && writing.name == name => Some(*handle),
            Open::Writing(_) | Open::Folder(_) | Open::Reading(_) | Open::Over(_) => None,
        });
        if let Some(handle) = open {
            return self.fset_stat(&handle.to_be_bytes(), Some(size));
        }
        let key = (at, name.as_str().into());
        // As it is until new content is whole: what is emptied first and then written is replaced at once, or not at all.
        if size == 0 && self.emptied.len() < EMPTIED && matches!(name, Name::Final(_)) {
            self.emptied.insert(key);
            return Ok(());
        }
        let english = "Open the file to change its size.";
        Err(No::new(
            status::FAILURE,
            self.desk.pick(english, "Öffnen Sie die Datei, um ihre Größe zu ändern."),
        ))
    }
}
