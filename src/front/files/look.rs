//! Looking: folders, what a path is, opening for reading, and reading.
//! Absent on purpose: any change.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::desk::No;
use super::open::{Folder, Open, Reading, Seen};
use super::spool::PIECE;
use super::tree::{self, INCOMING, Kind, Name, Node, Row};
use super::wire::{self, Attributes, flags, status};
use super::{Files, asked};
use crate::asks::{Family, FileAsk, FilePlace};
use crate::commands::files::{self, FileFailed, Listed};
use crate::journal::started::{Outcome, Started};
use crate::names::{KonnektorId, SiteName};

/// How long a listing answers for what is in its folder: clients ask about each file that they have just listed.
const FRESH: Duration = Duration::from_secs(5);
/// Listings that are remembered at once.
const REMEMBERED: usize = 8;
/// Entries that one READDIR brings.
const ENTRIES: usize = 100;
/// What shows a box's backups.
const OF_A_BOX: [Family; 2] = [Family::KonnektorBackups, Family::KonnektorShow];

/// Listings of a moment ago.
#[derive(Default)]
pub struct Looked(VecDeque<(FilePlace, Instant, Vec<Row>)>);

impl Looked {
    fn at(&self, place: &FilePlace) -> Option<&[Row]> {
        let fresh = |(at, when, _): &&(FilePlace, Instant, Vec<Row>)| at == place && when.elapsed() < FRESH;
        self.0.iter().find(fresh).map(|(_, _, rows)| rows.as_slice())
    }

    fn remember(&mut self, place: FilePlace, rows: Vec<Row>) {
        self.0.retain(|(at, ..)| *at != place);
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front((place, Instant::now(), rows));
    }

    /// Something has changed.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

fn rows(listed: Vec<Listed>, kind: Kind) -> Vec<Row> {
    let row =
        |file: Listed| Row { name: file.name, kind, bytes: file.bytes, time: file.time, owner: file.by };
    listed.into_iter().map(row).collect()
}

impl Files {
    fn is_box(&self, id: &KonnektorId) -> bool {
        self.desk.front.works.konnektors.known.load().contains_key(id) && self.desk.sees(&OF_A_BOX, &id.site)
    }

    fn folder(&self, name: &str, kind: Kind) -> Row {
        Row::folder(name, kind, self.desk.front.clock.now())
    }

    /// OPENDIR: one ask; what is read of it later belongs to that.
    pub(super) async fn open_folder(&mut self, path: &[u8]) -> Result<u32, No> {
        self.has_room()?;
        let turn = self.desk.turn(&self.desk.table.folders)?;
        let ask = asked("list", &[path]);
        let (started, rows, row) = match tree::node(path) {
            Some(Node::Root) => {
                let row = self.folder("/", Kind::Folder);
                match self.desk.ask(FilePlace::Overview, &ask).await {
                    Ok(started) => {
                        let sites = self.desk.sites();
                        let sites =
                            sites.iter().map(|site| self.folder(site.as_str(), Kind::Folder)).collect();
                        (Some(started), sites, row)
                    }
                    // Whom no rule names has an empty tree; the refusal is on record.
                    Err(no) if no.code == status::NO_SUCH_FILE => (None, Vec::new(), row),
                    Err(no) => return Err(no),
                }
            }
            Some(Node::Site(site)) if self.desk.sees_site(&site) => {
                let started = self.desk.ask(FilePlace::Overview, &ask).await?;
                (Some(started), self.of_site(&site), self.folder(site.as_str(), Kind::Folder))
            }
            Some(Node::Konnektor(id)) if self.is_box(&id) => {
                let started = self.desk.ask(FilePlace::Kept(id.clone()), &ask).await?;
                let (started, rows) = self.kept(started, &id).await?;
                (Some(started), rows, self.folder(id.konnektor.as_str(), Kind::Folder))
            }
            Some(Node::Incoming(site)) => {
                let started = self.desk.ask(FilePlace::Incoming(site.clone()), &ask).await?;
                let (started, mut rows) = self.handed(started, &site).await?;
                rows.extend(self.passing(&site));
                (Some(started), rows, self.folder(INCOMING, Kind::Drop))
            }
            Some(Node::Site(_) | Node::Konnektor(_) | Node::Backup(..) | Node::Handed(..)) | None => {
                return Err(self.nothing("list", path).await);
            }
        };
        let folder = Folder { started, rows: rows.into(), sent: 0, row, _turn: turn };
        Ok(self.put(Open::Folder(Box::new(folder))))
    }

    fn of_site(&self, site: &SiteName) -> Vec<Row> {
        let known = self.desk.front.works.konnektors.known.load();
        let mut rows = Vec::new();
        if self.desk.sees(&OF_A_BOX, site) {
            let boxes = known.keys().filter(|id| id.site == *site);
            rows.extend(boxes.map(|id| self.folder(id.konnektor.as_str(), Kind::Folder)));
        }
        if self.desk.sees(&[Family::KonnektorRestore], site) {
            rows.push(self.folder(INCOMING, Kind::Drop));
        }
        rows
    }

    async fn kept(
        &mut self,
        started: Started<FileAsk>,
        id: &KonnektorId,
    ) -> Result<(Started<FileAsk>, Vec<Row>), No> {
        let listed = files::backups(&started, &self.desk.front.works).await;
        self.listed(started, listed, FilePlace::Kept(id.clone()), Kind::Kept).await
    }

    async fn handed(
        &mut self,
        started: Started<FileAsk>,
        site: &SiteName,
    ) -> Result<(Started<FileAsk>, Vec<Row>), No> {
        let listed = files::incoming(&started, &self.desk.front.works).await;
        self.listed(started, listed, FilePlace::Incoming(site.clone()), Kind::Handed).await
    }

    async fn listed(
        &mut self,
        started: Started<FileAsk>,
        listed: Result<Vec<Listed>, FileFailed>,
        place: FilePlace,
        kind: Kind,
    ) -> Result<(Started<FileAsk>, Vec<Row>), No> {
        match listed {
            Ok(listed) => {
                let rows = rows(listed, kind);
                self.looked.remember(place, rows.clone());
                Ok((started, rows))
            }
            Err(failed) => Err(self.desk.gave_up(started, &failed, 0).await),
        }
    }

    /// What this channel is handing in under a name that is not its last one.
    fn passing(&self, site: &SiteName) -> Vec<Row> {
        let held = self.held.iter().filter(|((at, _), _)| at == site);
        held.map(|((_, name), held)| self.arriving(name, held.spool.len())).collect()
    }

    pub(super) fn arriving(&self, name: &str, bytes: u64) -> Row {
        let owner = Some(self.desk.who.user().to_string());
        let time = self.desk.front.clock.now().as_second();
        Row { name: name.to_owned(), kind: Kind::Handed, bytes, time, owner }
    }

    /// READDIR.
    pub(super) fn entries(&mut self, number: u32, handle: &[u8]) -> Result<bytes::Bytes, No> {
        let now = self.desk.front.clock.now();
        let missing = self.desk.missing();
        let Open::Folder(folder) = self.handle(handle)? else { return Err(missing) };
        let batch = folder.rows.drain(..folder.rows.len().min(ENTRIES));
        let names: Vec<_> = batch.map(|row| (row.name.clone(), row.long(now), row.attributes())).collect();
        if names.is_empty() {
            return Err(No::new(status::EOF, ""));
        }
        let reply = wire::names(number, &names);
        folder.sent += reply.len() as u64;
        Ok(reply)
    }

    /// STAT, LSTAT: of a file it is an ask, unless its folder has just been listed.
    pub(super) async fn stat(&mut self, path: &[u8]) -> Result<Attributes, No> {
        Ok(self.row_of(path).await?.attributes())
    }

    pub(super) async fn row_of(&mut self, path: &[u8]) -> Result<Row, No> {
        match tree::node(path) {
            Some(Node::Root) => Ok(self.folder("/", Kind::Folder)),
            Some(Node::Site(site)) if self.desk.sees_site(&site) => {
                Ok(self.folder(site.as_str(), Kind::Folder))
            }
            Some(Node::Konnektor(id)) if self.is_box(&id) => {
                Ok(self.folder(id.konnektor.as_str(), Kind::Folder))
            }
            Some(Node::Incoming(site)) if self.desk.sees(&[Family::KonnektorRestore], &site) => {
                Ok(self.folder(INCOMING, Kind::Drop))
            }
            Some(Node::Backup(id, name)) if self.is_box(&id) => {
                let place = FilePlace::Kept(id.clone());
                let may = OF_A_BOX.iter().any(|family| self.desk.may(*family, &id.site));
                let rows = if let Some(rows) = self.looked.at(&place).filter(|_| may) {
                    rows.to_vec()
                } else {
                    // Who may not list may still read what they know the name of.
                    let lists = self.desk.may(Family::KonnektorBackups, &id.site);
                    let ask = if lists { place } else { FilePlace::Backup(id.clone(), name.clone()) };
                    let started = self.desk.ask(ask, &asked("stat", &[path])).await?;
                    let (started, rows) = self.kept(started, &id).await?;
                    self.desk.finish(started, Outcome::default()).await?;
                    rows
                };
                rows.into_iter().find(|row| row.name == name.as_str()).ok_or_else(|| self.desk.missing())
            }
            Some(Node::Handed(site, name)) if self.desk.sees(&[Family::KonnektorRestore], &site) => {
                self.row_handed(path, &site, &name).await
            }
            Some(_) => Err(self.nothing("stat", path).await),
            // It can be the name of nothing; clients look for all kinds of things of their own.
            None => Err(self.desk.missing()),
        }
    }

    async fn row_handed(&mut self, path: &[u8], site: &SiteName, name: &Name) -> Result<Row, No> {
        let open = self.open.values().find_map(|open| match open {
            Open::Writing(writing) if writing.site == *site && writing.name == *name => {
                Some(writing.spool.len())
            }
            Open::Writing(_) | Open::Folder(_) | Open::Reading(_) | Open::Over(_) => None,
        });
        let key = (site.clone(), name.as_str().into());
        let held = open.or_else(|| self.held.get(&key).map(|held| held.spool.len()));
        if let Some(bytes) = held {
            return Ok(self.arriving(name.as_str(), bytes));
        }
        let Name::Final(name) = name else { return Err(self.desk.missing()) };
        let place = FilePlace::Incoming(site.clone());
        let may = self.desk.may(Family::KonnektorRestore, site);
        let rows = if let Some(rows) = self.looked.at(&place).filter(|_| may) {
            rows.to_vec()
        } else {
            let started = self.desk.ask(place, &asked("stat", &[path])).await?;
            let (started, rows) = self.handed(started, site).await?;
            self.desk.finish(started, Outcome::default()).await?;
            rows
        };
        let row = rows.into_iter().find(|row| row.name == name.as_str());
        let mut row = row.ok_or_else(|| self.desk.missing())?;
        if self.emptied.contains(&key) {
            row.bytes = 0;
        }
        Ok(row)
    }

    /// FSTAT.
    pub(super) fn fstat(&mut self, handle: &[u8]) -> Result<Attributes, No> {
        let arriving = match self.handle(handle)? {
            Open::Folder(folder) => return Ok(folder.row.attributes()),
            Open::Reading(reading) => return Ok(reading.row.attributes()),
            Open::Over(no) => return Err(no.clone()),
            Open::Writing(writing) => (writing.name.clone(), writing.spool.len()),
        };
        Ok(self.arriving(arriving.0.as_str(), arriving.1).attributes())
    }

    /// OPEN.
    pub(super) async fn open_file(&mut self, path: &[u8], wanted: u32) -> Result<u32, No> {
        self.has_room()?;
        let writes = wanted & (flags::WRITE | flags::APPEND | flags::CREAT | flags::TRUNC) != 0;
        match tree::node(path) {
            Some(Node::Handed(site, name)) if writes => self.open_to_write(path, wanted, site, name).await,
            Some(Node::Handed(site, Name::Final(name))) => {
                let place = FilePlace::Incoming(site.clone());
                let (started, turn) = self.open_to_read(place, path).await?;
                let (started, rows) = self.handed(started, &site).await?;
                let row = rows.into_iter().find(|row| row.name == name.as_str());
                let room = self.room(row.as_ref().map(|row| row.bytes));
                let (started, room) = self.with_room(started, room).await?;
                let content = files::handed_in(&started, &self.desk.front.works, &name).await;
                self.reading(path, started, content, row, (room, turn)).await
            }
            Some(Node::Backup(id, name)) if !writes && self.is_box(&id) => {
                let place = FilePlace::Backup(id.clone(), name.clone());
                let (started, turn) = self.open_to_read(place, path).await?;
                let listed = files::row_of(&started, &self.desk.front.works, &name).await;
                let row = match listed {
                    Ok(row) => {
                        row.map(|listed| rows(vec![listed], Kind::Kept)).and_then(|mut rows| rows.pop())
                    }
                    Err(failed) => return Err(self.desk.gave_up(started, &failed, 0).await),
                };
                let room = self.room(row.as_ref().map(|row| row.bytes));
                let (started, room) = self.with_room(started, room).await?;
                let content = files::backup(&started, &self.desk.front.works).await;
                self.reading(path, started, content, row, (room, turn)).await
            }
            Some(
                node @ (Node::Backup(..)
                | Node::Root
                | Node::Site(_)
                | Node::Konnektor(_)
                | Node::Incoming(_)),
            ) if writes => Err(self.read_only("upload", path, &node).await),
            None if writes => Err(self.misnamed(path).await),
            Some(_) | None => Err(self.nothing("open", path).await),
        }
    }

    async fn open_to_read(
        &mut self,
        place: FilePlace,
        path: &[u8],
    ) -> Result<(Started<FileAsk>, tokio::sync::OwnedSemaphorePermit), No> {
        let ask = asked("open", &[path]);
        match self.desk.turn(&self.desk.table.reads) {
            Ok(turn) => Ok((self.desk.ask(place, &ask).await?, turn)),
            Err(no) => Err(self.desk.refuse("too-many-files", &ask, no).await),
        }
    }

    /// Its place in the gateway's memory, if it is there at all.
    fn room(&self, bytes: Option<u64>) -> Result<tokio::sync::OwnedSemaphorePermit, FileFailed> {
        let bytes = bytes.ok_or(FileFailed::Vault(files::NOT_FOUND))?;
        let pieces = u32::try_from(bytes.div_ceil(PIECE as u64).max(1)).unwrap_or(u32::MAX);
        let room = self.desk.front.files.reading.clone().try_acquire_many_owned(pieces);
        room.map_err(|_| FileFailed::NoRoom)
    }

    async fn with_room(
        &self,
        started: Started<FileAsk>,
        room: Result<tokio::sync::OwnedSemaphorePermit, FileFailed>,
    ) -> Result<(Started<FileAsk>, tokio::sync::OwnedSemaphorePermit), No> {
        match room {
            Ok(room) => Ok((started, room)),
            Err(failed) => Err(self.desk.gave_up(started, &failed, 0).await),
        }
    }

    async fn reading(
        &mut self,
        path: &[u8],
        started: Started<FileAsk>,
        content: Result<zeroize::Zeroizing<Vec<u8>>, FileFailed>,
        row: Option<Row>,
        mut room: (tokio::sync::OwnedSemaphorePermit, tokio::sync::OwnedSemaphorePermit),
    ) -> Result<u32, No> {
        let opened = content.and_then(|content| {
            let mut row = row.ok_or(FileFailed::Vault(files::NOT_FOUND))?;
            // The index is not believed: the content is as long as it is.
            let more = (content.len() as u64).saturating_sub(row.bytes);
            if more > 0 {
                room.0.merge(self.room(Some(more))?);
            }
            row.bytes = content.len() as u64;
            Ok((content, row))
        });
        match opened {
            Ok((content, row)) => {
                let path = tree::absolute(path).unwrap_or_default();
                let (seen, sent) = (Seen::default(), 0);
                let reading = Reading { started, path, content, row, seen, sent, _room: room };
                Ok(self.put(Open::Reading(Box::new(reading))))
            }
            Err(failed) => Err(self.desk.gave_up(started, &failed, 0).await),
        }
    }

    /// READ.
    pub(super) fn read(&mut self, handle: &[u8], offset: u64, len: u32) -> Result<Vec<u8>, No> {
        let len = usize::try_from(len.min(wire::READ)).unwrap_or_default();
        let missing = self.desk.missing();
        let bytes = match self.handle(handle)? {
            Open::Reading(reading) => {
                let rest = usize::try_from(offset).ok().and_then(|at| reading.content.get(at..));
                let rest = rest.unwrap_or_default();
                let bytes = rest.get(..len.min(rest.len())).unwrap_or_default().to_vec();
                reading.sent += bytes.len() as u64;
                if !bytes.is_empty() {
                    reading.seen.add(offset, offset + bytes.len() as u64);
                }
                bytes
            }
            Open::Writing(writing) => writing.spool.read(offset, len),
            Open::Folder(_) | Open::Over(_) => return Err(missing),
        };
        if bytes.is_empty() && len > 0 { Err(No::new(status::EOF, "")) } else { Ok(bytes) }
    }
}
