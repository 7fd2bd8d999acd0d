//! SFTP on the gateway itself: kept backups as files to read, and a folder a site where edited ones are handed in.
//! Absent on purpose: a file system. A path is taken apart into checked names, those are looked up in the vault's own index,
//! and the gate decides each listing, open, upload, removal and rename (R62).
//!
//! One request is answered after the other, and an answer waits for the client's window: nothing is queued but what has come
//! in, and that is counted (`flow`). So a client that does not read is held back, and its neighbours on the connection are not.

mod desk;
mod hand;
mod look;
mod open;
mod spool;
mod tree;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

pub use desk::{Desk, Table};

use super::replies::Outgoing;
use crate::commands::{Sink, exit};
use crate::flow::{Inbox, Piece};
use crate::names::SiteName;
use desk::{FOLDERS, No, READS, UPLOADS};
use look::Looked;
use open::Open;
use spool::{PIECE, Spool};
use tree::Node;
use wire::{Packet, Packets, Request, status};

/// What is open on one channel at once, what is over and not closed too.
const HANDLES: usize = 64;
/// Decrypted bytes of all connections together that are open for reading.
const READING: usize = 512 << 20;
/// Bytes of all connections together that are being handed in.
const HANDING_IN: usize = 256 << 20;
/// How often it is looked whether what is open is still permitted.
const AGAIN: Duration = Duration::from_millis(400);

/// The bounds of all connections together.
pub struct Bounds {
    reading: Arc<Semaphore>,
    handing_in: Arc<Semaphore>,
    /// One file is sealed at a time: the quota is counted before, and the sealed copy is the only one.
    keeping: Arc<Mutex<()>>,
}

impl Default for Bounds {
    fn default() -> Self {
        let of = |bytes: usize| Arc::new(Semaphore::new(bytes / PIECE));
        Self { reading: of(READING), handing_in: of(HANDING_IN), keeping: Arc::default() }
    }
}

/// A file that was handed in under a name that is not its last one.
struct Held {
    spool: Spool,
    turn: OwnedSemaphorePermit,
}

/// One channel's session.
pub struct Files {
    desk: Desk,
    open: BTreeMap<u32, Open>,
    next: u32,
    held: BTreeMap<(SiteName, Box<str>), Held>,
    /// Files that the client has set to no bytes, and not written yet: as they are until it does.
    emptied: BTreeSet<(SiteName, Box<str>)>,
    looked: Looked,
    checked: Instant,
}

/// Why a session is over.
enum End {
    /// Its client is done.
    Done,
    /// The connection, or the channel, is gone.
    Gone,
    /// For this reason, which its client is told.
    Because(String, &'static str, &'static str),
}

impl Files {
    /// At this desk.
    pub fn new(desk: Desk) -> Self {
        Self {
            desk,
            open: BTreeMap::new(),
            next: 0,
            held: BTreeMap::new(),
            emptied: BTreeSet::new(),
            looked: Looked::default(),
            checked: Instant::now(),
        }
    }

    /// The session, to its end; what was open has its last line then. Gives the exit code.
    pub async fn run(
        mut self,
        mut inbox: Inbox,
        outgoing: Arc<Outgoing>,
        stop: CancellationToken,
        gone: CancellationToken,
    ) -> u32 {
        let ended = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = gone.cancelled() => {}
            }
        };
        let mut end = tokio::select! {
            end = self.talk(&mut inbox, &outgoing) => end,
            () = ended => End::Gone,
        };
        if self.close_all().await.is_err() {
            let english = "The journal cannot be written.";
            end = End::Because(
                "cannot-journal".into(),
                english,
                "Das Protokoll kann nicht geschrieben werden.",
            );
        }
        match end {
            End::Done => exit::DONE,
            End::Gone => exit::FAILED,
            End::Because(cause, english, german) => {
                let no = No::new(status::FAILURE, self.desk.pick(english, german));
                let no = self.desk.refuse(&cause, b"sftp", no).await;
                let said = outgoing.errors(format!("{}\n", no.sentence).into());
                tokio::time::timeout(Duration::from_secs(1), said).await.ok();
                exit::FAILED
            }
        }
    }

    async fn talk(&mut self, inbox: &mut Inbox, outgoing: &Outgoing) -> End {
        let idle = self.desk.front.keeper.limits().idle;
        let mut packets = Packets::default();
        let mut again = interval(AGAIN);
        let mut last = Instant::now();
        loop {
            match packets.next() {
                Ok(Some(packet)) => {
                    last = Instant::now();
                    if self.checked.elapsed() >= AGAIN {
                        self.recheck().await;
                    }
                    let reply = match inbox.while_open(Box::pin(self.answer(packet))).await {
                        Ok(reply) => reply,
                        Err(given_up) => return overfull(given_up),
                    };
                    let mut sending = pin!(outgoing.output(reply));
                    loop {
                        tokio::select! {
                            sent = inbox.while_open(sending.as_mut()) => match sent {
                                Ok(Ok(())) => break,
                                Ok(Err(_)) => return End::Gone,
                                Err(given_up) => return overfull(given_up),
                            },
                            _ = again.tick() => self.recheck().await,
                        }
                    }
                    if self.desk.has_enough() {
                        return End::Because(
                            "too-many-refusals".into(),
                            "Too many refused requests.",
                            "Zu viele abgelehnte Anfragen.",
                        );
                    }
                }
                Ok(None) => tokio::select! {
                    piece = inbox.next() => match piece {
                        Some(Piece::Data(bytes)) => packets.push(&bytes),
                        Some(Piece::Extended(..)) => {}
                        // EOF, or what is like it.
                        Some(Piece::Other(_)) | None => return End::Done,
                    },
                    _ = again.tick(), if !self.open.is_empty() => self.recheck().await,
                    () = sleep_until(last + idle) => {
                        return End::Because("idle".into(), "Nothing was asked for long.", "Lange wurde nichts gefragt.");
                    }
                },
                Err(broken) => {
                    let english = "These bytes are no SFTP.";
                    return End::Because(
                        format!("sftp-broken: {broken}"),
                        english,
                        "Diese Bytes sind kein SFTP.",
                    );
                }
            }
        }
    }

    /// What is open and no longer permitted ends.
    async fn recheck(&mut self) {
        self.checked = Instant::now();
        for handle in self.open.keys().copied().collect::<Vec<_>>() {
            let Some(ask) = self.open.get(&handle).and_then(Open::ask) else { continue };
            let Some(no) = self.desk.withdrawn(ask).await else { continue };
            self.looked.forget();
            if let Some(open) = self.open.insert(handle, Open::Over(no))
                && open.cut(&self.desk, exit::REFUSED, "withdrawn").await.is_err()
            {
                tracing::error!("the end of a withdrawn file could not be journalled");
            }
        }
    }

    async fn close_all(&mut self) -> Result<(), No> {
        let mut all = Ok(());
        for (_, open) in std::mem::take(&mut self.open) {
            all = all.and(open.cut(&self.desk, exit::FAILED, "unfinished").await);
        }
        all
    }

    async fn answer(&mut self, packet: Packet) -> Bytes {
        match packet {
            Packet::Init => wire::version(),
            Packet::Request(number, request) => match self.request(number, request).await {
                Ok(reply) => reply,
                Err(no) => wire::status(number, no.code, &no.sentence, self.desk.pick("en", "de")),
            },
        }
    }

    async fn request(&mut self, number: u32, request: Request) -> Result<Bytes, No> {
        let ok = |()| wire::status(number, status::OK, "", "");
        match request {
            Request::Open { path, flags } => {
                self.open_file(&path, flags).await.map(|h| wire::handle(number, h))
            }
            Request::OpenDir { path } => self.open_folder(&path).await.map(|h| wire::handle(number, h)),
            Request::Close { handle } => self.close(&handle).await.map(ok),
            Request::Read { handle, offset, len } => {
                self.read(&handle, offset, len).map(|bytes| wire::data(number, &bytes))
            }
            Request::Write { handle, offset, data } => self.write(&handle, offset, &data).map(ok),
            Request::Stat { path } => self.stat(&path).await.map(|a| wire::attributes(number, &a)),
            Request::FStat { handle } => self.fstat(&handle).map(|a| wire::attributes(number, &a)),
            Request::SetStat { path, size } => self.set_stat(&path, size).await.map(ok),
            Request::FSetStat { handle, size } => self.fset_stat(&handle, size).map(ok),
            Request::ReadDir { handle } => self.entries(number, &handle),
            Request::Remove { path } => self.remove(&path).await.map(ok),
            Request::Rename { from, to, replace } => self.rename(&from, &to, replace).await.map(ok),
            Request::RealPath { path } => {
                let path = tree::absolute(&path).ok_or_else(|| self.desk.missing())?;
                let root = tree::Row::folder("/", tree::Kind::Folder, self.desk.front.clock.now());
                Ok(wire::names(number, &[(path.clone(), path, root.attributes())]))
            }
            Request::Sync { handle } => match self.handle(&handle)? {
                Open::Writing(writing) => writing.broken.clone().map_or_else(|| Ok(ok(())), Err),
                Open::Folder(_) | Open::Reading(_) | Open::Over(_) => Ok(ok(())),
            },
            Request::Limits => Ok(wire::limits(number, (READS + UPLOADS + FOLDERS) as u64)),
            Request::Never { what, path } => Err(self.never(what, &path).await),
            Request::Unknown => Err(No::new(status::OP_UNSUPPORTED, "")),
            Request::Bad => Err(No::new(status::BAD_MESSAGE, "")),
        }
    }

    /// Folders and links are what they are.
    async fn never(&mut self, what: &str, path: &[u8]) -> No {
        let english = "Folders cannot be made or removed here, and there are no links.";
        let german = "Ordner kann man hier nicht anlegen oder löschen, und Verknüpfungen gibt es nicht.";
        let no = No::new(status::PERMISSION_DENIED, self.desk.pick(english, german));
        self.desk.refuse("never-by-sftp", &asked(what, &[path]), no).await
    }

    fn key(&self, handle: &[u8]) -> Result<u32, No> {
        let key = handle.try_into().map(u32::from_be_bytes);
        key.ok().filter(|key| self.open.contains_key(key)).ok_or_else(|| {
            let english = "This file is not open.";
            No::new(status::FAILURE, self.desk.pick(english, "Diese Datei ist nicht offen."))
        })
    }

    fn handle(&mut self, handle: &[u8]) -> Result<&mut Open, No> {
        let key = self.key(handle)?;
        let missing = self.desk.missing();
        match self.open.get_mut(&key) {
            Some(Open::Over(no)) => Err(no.clone()),
            Some(open) => Ok(open),
            None => Err(missing),
        }
    }

    /// A handle for it. Numbers come again after 2³² only.
    fn put(&mut self, open: Open) -> u32 {
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(handle, open);
        handle
    }

    fn has_room(&self) -> Result<(), No> {
        if self.open.len() < HANDLES { Ok(()) } else { Err(self.desk.no_room()) }
    }

    /// A path that means nothing, or nothing that can be done so.
    async fn nothing(&mut self, verb: &str, path: &[u8]) -> No {
        let no = self.desk.missing();
        self.desk.refuse("no-such-file", &asked(verb, &[path]), no).await
    }

    /// What is there may only be read.
    async fn read_only(&mut self, verb: &str, path: &[u8], node: &Node) -> No {
        let seen = node.site().is_none_or(|site| self.desk.sees_site(site));
        let english = "This can only be read. Hand files in at SITE/incoming.";
        let german = "Das kann man nur lesen. Geben Sie Dateien in STANDORT/incoming ab.";
        let no = if seen {
            No::new(status::PERMISSION_DENIED, self.desk.pick(english, german))
        } else {
            self.desk.missing()
        };
        self.desk.refuse("read-only", &asked(verb, &[path]), no).await
    }
}

/// `sftp open /praxis-mueller/main/2026-11-21-16-04.json`: the path as it came.
fn asked(verb: &str, paths: &[&[u8]]) -> Vec<u8> {
    let mut text = b"sftp ".to_vec();
    text.extend_from_slice(verb.as_bytes());
    for path in paths {
        text.push(b' ');
        text.extend_from_slice(path);
    }
    text
}

fn overfull(given_up: crate::flow::GivenUp) -> End {
    match given_up {
        crate::flow::GivenUp::Left => End::Gone,
        crate::flow::GivenUp::Overfull(_) => {
            End::Because(given_up.to_string(), "Too much was sent at once.", "Zu viel auf einmal.")
        }
    }
}
