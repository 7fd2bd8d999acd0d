//! The journal: append-only, hash-chained, on the disk before anything runs; verify and search stand below it.
//! Absent on purpose: any way to change or remove a line, and any decision on who may do what.
//!
//! One thread owns the file and commits what is queued together (one write, one fdatasync), so many sessions share the
//! price of one sync. A full disk refuses new work and still takes the lines that end running work, out of a reserve.
//!
//! ```text
//! DIR/2026-11-21.jsonl   the lines of a day, the first one chained to the last one of the file before
//! DIR/HEAD               number and hash of the last durable line, signed: shows a cut tail
//! DIR/RESERVE            room for the last lines on a full disk
//! DIR/LOCK               one writer
//! ```

mod entry;
mod folder;
mod head;
mod line;
mod read;
mod search;
pub mod started;
mod tail;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ssh_key::PrivateKey;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::names::SiteName;

pub use entry::{BadEvent, COMMAND_MAX, Class, Entry, Event};
pub use head::{CannotSign, NAMESPACE, signed_text};
pub use line::{BadHash, Hash, LINE_MAX};
pub use search::{Filter, Line, Search, Tail as Follow, follow, search, show};
pub use verify::{Finding, Kind, Report, verify};

use writer::{Job, Message, Writer};

/// Lines that can wait for the disk; whoever comes then waits for a place in the queue.
const QUEUE: usize = 1024;

/// What can be set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes kept for the lines that end running work when the disk is full. Default: 4 MiB.
    pub reserve: u64,
    /// A test's disk that fails to sync this many times.
    #[cfg(test)]
    pub(crate) failing_syncs: Arc<std::sync::atomic::AtomicU32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reserve: 4 << 20,
            #[cfg(test)]
            failing_syncs: Arc::default(),
        }
    }
}

/// The journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process writes it.
    #[error("{}: another process (pid {holder}) writes this journal; stop it first", dir.display())]
    Locked {
        /// The journal's folder.
        dir: PathBuf,
        /// The process's number, as it wrote it down.
        holder: String,
    },
    /// Somebody else could have changed it.
    #[error("{}: mode {mode:03o} lets others write it; chmod go-w it, and ask who did", path.display())]
    OthersCanWrite {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its last lines are not as they were written.
    #[error("{}:{line}: {why}; run `pforte journal verify`, keep the folder, start with another", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        line: usize,
        /// What is wrong there.
        why: &'static str,
    },
    /// Its last lines are gone.
    #[error("{}: lines {first} to {last} are cut off; run `pforte journal verify`, keep the folder, start with another", dir.display())]
    CutOff {
        /// The journal's folder.
        dir: PathBuf,
        /// The first line that is gone.
        first: u64,
        /// The last line that `HEAD` knows of.
        last: u64,
    },
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] CannotSign),
    /// The first line could not be written.
    #[error(transparent)]
    FirstLine(#[from] CannotJournal),
}

/// The line is not in the journal, so what it is about must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotJournal {
    /// The disk refuses; the text is the operator's cause.
    #[error("the journal cannot be written, so no new work begins: {0}")]
    Disk(Arc<String>),
    /// A `head` line is signed, so the journal writes it by itself.
    #[error("only the journal itself writes head lines")]
    NotYours,
    /// The journal was closed, or its thread is gone.
    #[error("the journal is closed")]
    Closed,
}

/// A line about a site, as it stands in the file, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// The site.
    pub site: SiteName,
    /// The line.
    pub line: String,
}

/// Where durable lines about sites go as well; whoever listens too slowly misses some.
pub(crate) type Tap = Arc<OnceLock<tokio::sync::mpsc::Sender<Tapped>>>;

/// A line is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its number, counted from 1 over all files.
    pub seq: u64,
}

/// A handle on the journal; cheap to clone. The last one dropped, or [`Journal::close`], ends the writer with a signed head.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    queue: SyncSender<Message>,
    places: Arc<Semaphore>,
    trouble: Arc<ArcSwapOption<String>>,
    tap: Tap,
    /// What has a `started` line and no `finished` one yet.
    open: TaskTracker,
}

/// How long a close waits for the last lines of what has started.
const LAST_LINES: Duration = Duration::from_secs(5);

impl Journal {
    /// Opens the journal in `dir` (made where it is missing), cuts and records what a crash tore, and writes a `loaded` line.
    ///
    /// # Errors
    /// [`OpenError`]: locked, writable by others, broken or cut at its end, or the disk refuses.
    pub async fn open(
        dir: &Path,
        key: PrivateKey,
        clock: Clock,
        options: Options,
    ) -> Result<Self, OpenError> {
        let trouble = Arc::new(ArcSwapOption::empty());
        let tap = Tap::default();
        let (dir, shared, tapped) = (dir.to_owned(), Arc::clone(&trouble), Arc::clone(&tap));
        let opened =
            tokio::task::spawn_blocking(move || Writer::open(&dir, key, clock, &options, (shared, tapped)))
                .await;
        let (writer, first) = opened.map_err(|_| CannotJournal::Closed)??;
        let (queue, messages) = std::sync::mpsc::sync_channel(QUEUE + 1);
        let thread = std::thread::Builder::new().name("journal".into());
        thread.spawn(move || writer.run(&messages)).map_err(|source| OpenError::Io {
            what: "start the thread of",
            path: PathBuf::from("the journal"),
            source,
        })?;
        let places = Arc::new(Semaphore::new(QUEUE));
        let journal = Self(Arc::new(Inner { queue, places, trouble, tap, open: TaskTracker::new() }));
        journal.append(first).await?;
        Ok(journal)
    }

    /// Writes a line and returns when it is on the disk. Waits where the queue is full; nothing is dropped.
    /// A caller that goes away while it waits for the disk leaves its line written.
    ///
    /// # Errors
    /// [`CannotJournal`]: the line is not there and what it is about must not happen.
    pub async fn append(&self, entry: Entry) -> Result<Written, CannotJournal> {
        if entry.event == Event::Head {
            return Err(CannotJournal::NotYours);
        }
        let places = Arc::clone(&self.0.places);
        let place = places.acquire_owned().await.map_err(|_| CannotJournal::Closed)?;
        let (answer, answered) = oneshot::channel();
        let site = entry.site.clone();
        let job = Job { class: entry.event.class(), body: entry.body(), site, answer, _place: place };
        drop(entry);
        self.0.queue.try_send(Message::Append(job)).map_err(|_| CannotJournal::Closed)?;
        answered.await.unwrap_or(Err(CannotJournal::Closed))
    }

    /// From now on, every line about a site goes to `listener` as well, once it is durable. The first listener is the only one.
    pub fn tap(&self, listener: tokio::sync::mpsc::Sender<Tapped>) {
        if self.0.tap.set(listener).is_err() {
            tracing::error!("the journal has a listener already");
        }
    }

    /// Does the journal take new work?
    ///
    /// # Errors
    /// Why not. It looks for room again every second, and at each new line.
    pub fn health(&self) -> Result<(), CannotJournal> {
        match &*self.0.trouble.load() {
            None => Ok(()),
            Some(why) => Err(CannotJournal::Disk(Arc::clone(why))),
        }
    }

    /// Signs the head, gives the folder back and refuses every later line. What was queued before is written, and so
    /// are the last lines of what has started and ends within five seconds.
    ///
    /// # Errors
    /// The last head could not be written, or the journal was closed already.
    pub async fn close(&self) -> Result<(), CannotJournal> {
        let (answer, answered) = oneshot::channel();
        self.0.open.close();
        if tokio::time::timeout(LAST_LINES, self.0.open.wait()).await.is_err() {
            tracing::error!(left = self.0.open.len(), "the journal closes while commands still run");
        }
        self.0.places.close();
        self.0.queue.try_send(Message::Close(answer)).map_err(|_| CannotJournal::Closed)?;
        answered.await.unwrap_or(Err(CannotJournal::Closed))
    }
}
