//! What one relayed channel leaves behind: a recording of a terminal, lines that were typed, files that were moved, scripts.
//! Absent on purpose: passing bytes on. What cannot be written down ends the channel, and that is the caller's to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Session;
use super::wish::Wish;
use crate::asks::Deed;
use crate::journal::{COMMAND_MAX, CannotJournal, Entry, Event, Journal};
use crate::recording::{About, CannotRecord, Kept, Recording, Typed};
use crate::transfers::{Change, Direction, Event as Told, Extent, Name, Outcome, Script, Tap};

/// Lines that wait for the journal; beyond them the channel waits.
const WAITING: usize = 64;
/// Lines that are written at the same time.
const AT_ONCE: usize = 32;
/// How much of a script goes into a recording at once.
const CHUNK: usize = 64 << 10;
/// How much of a long command goes into one line: a byte may take six there.
const COMMAND_PIECE: usize = COMMAND_MAX / 6;

/// Why nothing more may be done on the channel.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CannotWrite {
    /// The recording fails.
    #[error("cannot-record: {0}")]
    Record(#[from] CannotRecord),
    /// The journal fails.
    #[error("cannot-journal: {0}")]
    Journal(Arc<CannotJournal>),
}

/// One channel's scribe.
pub struct Scribe {
    kind: Kind,
    lines: Lines,
    /// Those that `lines` had no room for yet: a call that is dropped while it waits loses none.
    waiting: Mutex<VecDeque<Entry>>,
    /// What its lines have in common.
    line: Entry,
}

enum Kind {
    /// A terminal; and what reads files out of it, for a client can have a terminal that changes no byte.
    Terminal(Box<Recording>, Mutex<Option<Tap>>),
    /// Everything else.
    Plain(Mutex<Option<Tap>>),
}

impl Scribe {
    /// For a channel, before anything happens on it. Its number is one that no other channel of the connection has.
    pub async fn begin(session: &Session, wish: &Wish, channel: u32) -> Result<Self, CannotWrite> {
        let line = Entry { channel: Some(channel), ..session.line(Event::Input) };
        // The `started` line has the beginning of a command and its hash; what ran is on record to its end.
        if !fits(&wish.as_asked) {
            for piece in wish.as_asked.chunks(COMMAND_PIECE) {
                let (command, obtained) = (Some(piece.to_vec()), Some("command".to_owned()));
                let entry = Entry { command, obtained, ..line.clone() };
                let written = session.relays.journal.append(entry).await;
                written.map_err(|e| CannotWrite::Journal(Arc::new(e)))?;
            }
        }
        let tap = match (&wish.deed, &wish.subsystem) {
            (Deed::Subsystem, Some(name)) => Tap::for_subsystem(name.as_bytes()),
            (Deed::Exec, _) => Tap::for_exec(&wish.as_asked),
            (Deed::Shell | Deed::Subsystem | Deed::Forward(_), _) => Tap::for_shell(),
        };
        let kind = match &wish.terminal {
            Some(terminal) => {
                let about = About {
                    term: terminal.term.clone(),
                    cols: terminal.columns,
                    rows: terminal.rows,
                    command: (wish.deed != Deed::Shell).then(|| wish.as_asked.clone()),
                    ..about(session, channel)
                };
                // What is typed is no script: it is on the screen, or it is nobody's business.
                let tap = (wish.deed != Deed::Shell).then(|| tap.without_scripts());
                let recording = session.relays.recordings.begin(about).await?;
                Kind::Terminal(Box::new(recording), Mutex::new(tap))
            }
            None => Kind::Plain(Mutex::new(Some(tap))),
        };
        let lines = Lines::new(session.relays.journal.clone());
        let recording = match &kind {
            Kind::Terminal(recording, _) => Some(recording.name().to_string()),
            Kind::Plain(_) => None,
        };
        Ok(Self { kind, lines, waiting: Mutex::default(), line: Entry { recording, ..line } })
    }

    /// The recording's name, if there is one.
    pub fn recording(&self) -> Option<String> {
        self.line.recording.clone()
    }

    /// From the technician, before it goes on.
    pub async fn up(&self, bytes: &[u8]) -> Result<(), CannotWrite> {
        self.lines.are_written()?;
        match &self.kind {
            Kind::Terminal(recording, tap) => {
                self.lay(self.typed(recording.input(bytes).await?));
                self.told(with(tap, |tap| tap.client_sent(bytes))).await
            }
            Kind::Plain(tap) => self.told(with(tap, |tap| tap.client_sent(bytes))).await,
        }
    }

    /// From the host, before it goes on.
    pub async fn down(&self, bytes: &[u8]) -> Result<(), CannotWrite> {
        self.lines.are_written()?;
        match &self.kind {
            Kind::Terminal(recording, tap) => {
                self.lay(self.typed(recording.output(bytes).await?));
                self.told(with(tap, |tap| tap.target_sent(bytes))).await
            }
            Kind::Plain(tap) => self.told(with(tap, |tap| tap.target_sent(bytes))).await,
        }
    }

    /// The same on standard error, which carries no protocol.
    pub async fn errors(&self, bytes: &[u8]) -> Result<(), CannotWrite> {
        match &self.kind {
            Kind::Terminal(..) => self.down(bytes).await,
            Kind::Plain(_) => self.lines.are_written(),
        }
    }

    /// The terminal has another size.
    pub async fn resize(&self, columns: u32, rows: u32) -> Result<(), CannotWrite> {
        match &self.kind {
            Kind::Terminal(recording, _) => Ok(recording.resize(columns, rows).await?),
            Kind::Plain(_) => Ok(()),
        }
    }

    /// Returns when nothing more can be recorded, though nothing comes or goes.
    pub async fn failed(&self) -> CannotWrite {
        match &self.kind {
            Kind::Terminal(recording, _) => recording.failed().await.into(),
            Kind::Plain(_) => std::future::pending().await,
        }
    }

    /// Writes the rest; all of it is durable when this returns. A recording's name and SHA-256, if there is one.
    pub async fn end(
        self,
        session: &Session,
        exit: Option<u32>,
    ) -> Result<Option<(String, [u8; 32])>, CannotWrite> {
        let kept = match &self.kind {
            Kind::Terminal(recording, tap) => {
                let tap = tap.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.told(tap.map(Tap::end).unwrap_or_default()).await?;
                let Kept { name, sha256, last, .. } = recording.finish(exit).await?;
                self.lay(self.typed(last));
                self.told(Vec::new()).await?;
                Some((name.to_string(), sha256))
            }
            Kind::Plain(tap) => {
                let tap = tap.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (scripts, told) = tap.map(Tap::end).unwrap_or_default().into_iter().partition(is_script);
                self.told(told).await?;
                let mut kept = None;
                for script in scripts {
                    if let Told::Script(script) = script {
                        kept = self.script(session, script).await?;
                    }
                }
                kept
            }
        };
        self.lines.end().await?;
        Ok(kept)
    }

    fn typed(&self, lines: Vec<Typed>) -> Vec<Entry> {
        let entry = |Typed { line, how, cut }: Typed| {
            let cause = cut.then(|| "the line is cut".to_owned());
            let obtained = Some(how.as_str().to_owned());
            Entry { command: Some(line.into_bytes()), obtained, cause, ..self.line.clone() }
        };
        lines.into_iter().map(entry).collect()
    }

    /// Keeps lines for the next call that can wait.
    fn lay(&self, lines: Vec<Entry>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
    }

    /// Lays these too, and passes on all that lie there.
    async fn told(&self, events: Vec<Told>) -> Result<(), CannotWrite> {
        self.lay(events.into_iter().filter_map(|event| self.entry(event)).collect());
        let empty = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        while !empty() {
            let room = self.lines.room().await?;
            if let Some(line) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                room.send(line);
            }
        }
        Ok(())
    }

    fn entry(&self, event: Told) -> Option<Entry> {
        let line = Entry { event: Event::File, ..self.line.clone() };
        let whole = |name: Name| match name.cut {
            None => (name.bytes, None),
            Some(cut) => (name.bytes, Some(format!("the path has {} bytes", cut.bytes))),
        };
        Some(match event {
            Told::Moved(moved) => {
                let (path, cut) = whole(moved.path);
                let extent = match moved.extent {
                    Extent::Whole => None,
                    Extent::Partly(part) => Some(part.to_string()),
                    Extent::Unfinished => Some("unfinished".to_owned()),
                };
                let change = match moved.direction {
                    Direction::Upload => "upload",
                    Direction::Download => "download",
                };
                Entry {
                    path: Some(path),
                    bytes: Some(moved.bytes),
                    sha256: moved.sha256,
                    change: Some(change.to_owned()),
                    to: moved.other.map(|other| other.bytes),
                    cause: extent.or(cut),
                    ..line
                }
            }
            Told::Changed(changed) => {
                let (path, cut) = whole(changed.path);
                let outcome = match changed.outcome {
                    Outcome::Done => cut,
                    Outcome::Failed(status) => Some(format!("failed with status {status}")),
                    Outcome::Unanswered => Some("no answer came".to_owned()),
                };
                Entry {
                    path: Some(path),
                    change: Some(word(changed.change)),
                    to: changed.other.map(|other| other.bytes),
                    cause: outcome,
                    ..line
                }
            }
            Told::Unreadable(why) => Entry { cause: Some(format!("unreadable from here on: {why}")), ..line },
            // The last line has the bytes; a script has its own.
            Told::Totals(_) | Told::Script(_) => return None,
        })
    }

    /// `ssh host < script.sh`: its words are in the journal as far as a line goes, all of it in a recording of its own.
    async fn script(
        &self,
        session: &Session,
        script: Script,
    ) -> Result<Option<(String, [u8; 32])>, CannotWrite> {
        if script.bytes == 0 {
            return Ok(None);
        }
        let mut name = None;
        if let Some(kept) = &script.kept {
            let channel = self.line.channel.unwrap_or_default();
            let recording = session.relays.recordings.begin(about(session, channel)).await?;
            for chunk in kept.chunks(CHUNK) {
                recording.mark(&String::from_utf8_lossy(chunk)).await?;
            }
            let Kept { name: called, sha256, .. } = recording.finish(None).await?;
            name = Some((called.to_string(), sha256));
        }
        let entry = Entry {
            command: script.kept,
            bytes: Some(script.bytes),
            sha256: Some(script.sha256),
            obtained: Some("script".to_owned()),
            recording: name.as_ref().map(|(name, _)| name.clone()),
            ..self.line.clone()
        };
        self.lines.write(entry).await?;
        Ok(name)
    }
}

/// Is this command in its `started` line to its last byte?
fn fits(command: &[u8]) -> bool {
    let plain = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    command.len() <= COMMAND_PIECE || (command.len() <= COMMAND_MAX && command.iter().all(plain))
}

fn is_script(event: &Told) -> bool {
    matches!(event, Told::Script(_))
}

fn with(tap: &Mutex<Option<Tap>>, see: impl FnOnce(&mut Tap) -> Vec<Told>) -> Vec<Told> {
    tap.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(see).unwrap_or_default()
}

fn word(change: Change) -> String {
    match change {
        Change::Removed => "removed".to_owned(),
        Change::Renamed => "renamed".to_owned(),
        Change::FolderMade => "folder made".to_owned(),
        Change::FolderRemoved => "folder removed".to_owned(),
        Change::Linked => "linked".to_owned(),
        Change::HardLinked => "hard-linked".to_owned(),
        Change::Copied => "copied".to_owned(),
        Change::Attributes(set) => {
            let size = set.size.map(|size| format!(" size {size}")).unwrap_or_default();
            let mode = set.mode.map(|mode| format!(" mode {:o}", mode & 0o7777)).unwrap_or_default();
            format!("set{size}{mode}{}", if set.owner { " owner" } else { "" })
        }
    }
}

fn about(session: &Session, channel: u32) -> About {
    About {
        session: session.who.connection().session,
        channel,
        user: session.who.user().clone(),
        firm: session.who.firm().clone(),
        site: session.target.site.clone(),
        host: session.target.name.clone(),
        command: None,
        term: String::new(),
        cols: 0,
        rows: 0,
        started: session.relays.clock.now(),
    }
}

/// The channel's lines on their way into the journal, in their order.
struct Lines {
    queue: mpsc::Sender<Entry>,
    failed: Arc<OnceLock<CannotWrite>>,
    writer: JoinHandle<()>,
}

impl Lines {
    fn new(journal: Journal) -> Self {
        let (queue, lines) = mpsc::channel(WAITING);
        let failed: Arc<OnceLock<CannotWrite>> = Arc::default();
        let told = failed.clone();
        let writer = tokio::spawn(async move {
            let lines = futures::stream::unfold(lines, |mut lines| async move {
                lines.recv().await.map(|line| (line, lines))
            });
            let written = lines.map(|line| journal.append(line)).buffered(AT_ONCE);
            written
                .for_each(|written| {
                    if let Err(e) = written {
                        told.set(CannotWrite::Journal(Arc::new(e))).ok();
                    }
                    std::future::ready(())
                })
                .await;
        });
        Self { queue, failed, writer }
    }

    fn are_written(&self) -> Result<(), CannotWrite> {
        self.failed.get().map_or(Ok(()), |failed| Err(failed.clone()))
    }

    async fn write(&self, line: Entry) -> Result<(), CannotWrite> {
        self.room().await?.send(line);
        Ok(())
    }

    async fn room(&self) -> Result<mpsc::Permit<'_, Entry>, CannotWrite> {
        self.are_written()?;
        // A writer that is gone has panicked.
        self.queue.reserve().await.map_err(|_| CannotWrite::Journal(Arc::new(CannotJournal::Closed)))
    }

    async fn end(self) -> Result<(), CannotWrite> {
        drop(self.queue);
        self.writer.await.map_err(|_| CannotWrite::Journal(Arc::new(CannotJournal::Closed)))?;
        self.failed.get().map_or(Ok(()), |failed| Err(failed.clone()))
    }
}
