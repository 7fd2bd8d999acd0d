//! A recording as the relay holds it: output and input come from two tasks, a third writes. Absent on purpose: files; see `tape`.
//!
//! What is not written yet is bounded by [`UNWRITTEN`]: beyond it the caller waits, and so the target does. Each call either takes all
//! of its bytes or, dropped while it waits, none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::cast::{self, Code};
use super::lines::{Lines, Noted, Typed};
use super::tape::{End, Tape};
use super::{About, CannotRecord, RecordingName, side};
use crate::clock::Clock;

/// A frame is written when so many bytes of events wait,
pub(super) const FRAME: usize = 256 * 1024;
/// or the first of them has waited so long.
pub(super) const FLUSH: Duration = Duration::from_millis(500);
/// So often at most is the disk asked to keep what it was given.
const SYNC: Duration = Duration::from_secs(2);
/// The most bytes of output that wait to be written.
const UNWRITTEN: usize = 512 * 1024;
/// The most calls that wait to be written.
const QUEUE: usize = 32;

/// A finished recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What `pforte play` and the journal call it.
    pub name: RecordingName,
    /// The file's length.
    pub bytes: u64,
    /// The file's SHA-256.
    pub sha256: [u8; 32],
    /// Lines that no call has told yet.
    pub last: Vec<Typed>,
}

enum Message {
    /// Lines of the cast, and the room they take.
    Events(Vec<u8>, Option<OwnedSemaphorePermit>),
    /// The last lines.
    Finish(Vec<u8>, End, oneshot::Sender<(u64, [u8; 32])>),
}

/// What output and input both change.
struct State {
    lines: Lines,
    size: (u16, u16),
    /// Half a character at the end of the output so far.
    carry: Vec<u8>,
    /// The time of this call,
    last: Timestamp,
    /// and of the last event.
    told: Timestamp,
    output_bytes: u64,
    typed: u64,
    ended: bool,
}

/// A recording that runs. Its calls may come from several tasks.
pub struct Recording {
    name: RecordingName,
    clock: Clock,
    state: Mutex<State>,
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Message>,
    failure: Arc<OnceLock<CannotRecord>>,
}

impl Recording {
    pub(super) fn over(tape: Tape, name: RecordingName, about: &About, clock: Clock) -> Self {
        let size = (side(about.cols, 80), side(about.rows, 24));
        let state = State {
            lines: Lines::new(size.0, size.1),
            size,
            carry: Vec::new(),
            last: about.started,
            told: about.started,
            output_bytes: 0,
            typed: 0,
            ended: false,
        };
        let room = Arc::new(Semaphore::new(UNWRITTEN));
        let failure = Arc::new(OnceLock::new());
        let (queue, calls) = mpsc::channel(QUEUE);
        tokio::spawn(write(tape, calls, Arc::clone(&room), Arc::clone(&failure)));
        Self { name, clock, state: Mutex::new(state), room, queue, failure }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &RecordingName {
        &self.name
    }

    /// What the target sent, before it goes to the person. Answers the lines that are known by it; waits while the disk is behind.
    ///
    /// # Errors
    /// [`CannotRecord`]: from now on nothing is recorded; the session must end.
    pub async fn output(&self, bytes: &[u8]) -> Result<Vec<Typed>, CannotRecord> {
        let room = u32::try_from(bytes.len().min(UNWRITTEN)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(room).await.map_err(|_| self.failure())?;
        self.record(Some(permit), |state, after, out| {
            state.output_bytes = state.output_bytes.saturating_add(bytes.len() as u64);
            let text = cast::text(&mut state.carry, bytes);
            if !text.is_empty() {
                cast::put_event(out, after, Code::Output, &text);
            }
            let now = state.last;
            state.watched(|lines| lines.output(bytes, now))
        })
        .await
    }

    /// What the person's terminal sent, before it goes to the target. The keys are not recorded. Answers as [`Recording::output`].
    ///
    /// # Errors
    /// [`CannotRecord`].
    pub async fn input(&self, bytes: &[u8]) -> Result<Vec<Typed>, CannotRecord> {
        self.record(None, |state, _, _| {
            let now = state.last;
            state.watched(|lines| lines.input(bytes, now))
        })
        .await
    }

    /// The terminal's new size; 0 is unknown.
    ///
    /// # Errors
    /// [`CannotRecord`].
    pub async fn resize(&self, cols: u32, rows: u32) -> Result<(), CannotRecord> {
        self.record(None, |state, after, out| {
            state.size = (side(cols, 80), side(rows, 24));
            let (cols, rows) = state.size;
            cast::put_event(out, after, Code::Resize, &format!("{cols}x{rows}"));
            state.watched(|lines| {
                lines.resize(cols, rows);
                Vec::new()
            })
        })
        .await
        .map(drop)
    }

    /// A remark for who plays it.
    ///
    /// # Errors
    /// [`CannotRecord`].
    pub async fn mark(&self, text: &str) -> Result<(), CannotRecord> {
        self.record(None, |_, after, out| {
            cast::put_event(out, after, Code::Mark, text);
            Vec::new()
        })
        .await
        .map(drop)
    }

    /// Ends it; all is on disk when this returns.
    ///
    /// # Errors
    /// [`CannotRecord`]: it could not be written, or was finished before.
    pub async fn finish(&self, exit: Option<u32>) -> Result<Kept, CannotRecord> {
        let slot = self.queue.reserve().await.map_err(|_| self.failure())?;
        let (reply, answer) = oneshot::channel();
        let last = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut state.ended, true) {
                return Err(CannotRecord::Ended);
            }
            let mut out = Vec::new();
            let mut after = state.tick(self.clock.now());
            let noted = state.watched(Lines::finish);
            if !state.carry.is_empty() {
                cast::put_event(&mut out, std::mem::take(&mut after), Code::Output, "\u{fffd}");
            }
            let unused = if noted.is_empty() { 0 } else { std::mem::take(&mut after) };
            let last = state.note(noted, unused, &mut out);
            if let Some(exit) = exit {
                cast::put_event(&mut out, after, Code::Exit, &exit.to_string());
            }
            let end = End { exit, output_bytes: state.output_bytes, typed: state.typed };
            slot.send(Message::Finish(out, end, reply));
            last
        };
        let (bytes, sha256) = answer.await.map_err(|_| self.failure())?;
        Ok(Kept { name: self.name.clone(), bytes, sha256, last })
    }

    /// Returns when nothing more can be recorded: at once after an error, so that an idle session ends too.
    pub async fn failed(&self) -> CannotRecord {
        self.queue.closed().await;
        self.failure()
    }

    fn failure(&self) -> CannotRecord {
        self.failure.get().cloned().unwrap_or(CannotRecord::Ended)
    }

    /// One call: what it waits for comes first, then all happens at once, so that events keep their order.
    async fn record(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        act: impl FnOnce(&mut State, u64, &mut Vec<u8>) -> Vec<Noted>,
    ) -> Result<Vec<Typed>, CannotRecord> {
        let slot = self.queue.reserve().await.map_err(|_| self.failure())?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Err(CannotRecord::Ended);
        }
        let mut out = Vec::new();
        let after = state.tick(self.clock.now());
        let noted = act(&mut state, after, &mut out);
        // The time since the last event counts once.
        let unused = if out.is_empty() { after } else { 0 };
        let told = state.note(noted, unused, &mut out);
        if out.is_empty() {
            return Ok(told);
        }
        state.told = state.last;
        slot.send(Message::Events(out, permit));
        Ok(told)
    }
}

impl State {
    /// Microseconds since the last event; time does not run backwards here.
    fn tick(&mut self, now: Timestamp) -> u64 {
        self.last = self.last.max(now);
        let after = self.last.duration_since(self.told).as_micros();
        u64::try_from(after.max(0)).unwrap_or(u64::MAX)
    }

    /// Lines and remarks become marks of the cast.
    fn note(&mut self, noted: Vec<Noted>, mut after: u64, out: &mut Vec<u8>) -> Vec<Typed> {
        let mut told = Vec::new();
        for noted in noted {
            let text = match &noted {
                Noted::Typed(typed) => {
                    let cut = if typed.cut { ", cut" } else { "" };
                    format!("typed ({}{cut}): {}", typed.how.as_str(), typed.line)
                }
                Noted::Remark(remark) => remark.clone(),
            };
            cast::put_event(out, std::mem::take(&mut after), Code::Mark, &text);
            if let Noted::Typed(typed) = noted {
                self.typed += 1;
                told.push(typed);
            }
        }
        told
    }

    /// A panic while lines are read costs the lines in the making, not the session.
    fn watched(&mut self, act: impl FnOnce(&mut Lines) -> Vec<Noted>) -> Vec<Noted> {
        let lines = &mut self.lines;
        catch_unwind(AssertUnwindSafe(|| act(lines))).unwrap_or_else(|_| {
            self.lines = Lines::new(self.size.0, self.size.1);
            vec![Noted::Remark("the screen's model failed and began anew; a line may be missing".into())]
        })
    }
}

/// What waits to be written.
#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
    due: Option<Instant>,
}

/// Writes until the recording is finished, dropped, or cannot be written.
async fn write(
    mut tape: Tape,
    mut calls: mpsc::Receiver<Message>,
    room: Arc<Semaphore>,
    failure: Arc<OnceLock<CannotRecord>>,
) {
    let mut pending = Pending::default();
    let mut synced = Instant::now();
    let mut dirty = false;
    let failed = loop {
        let sync_due = dirty.then(|| synced + SYNC);
        let message = tokio::select! {
            message = calls.recv() => message,
            () = at(pending.due) => {
                let sync = synced.elapsed() >= SYNC;
                match blocking(tape, std::mem::take(&mut pending), None, sync).await {
                    Ok(back) => tape = back,
                    Err(error) => break error,
                }
                dirty = !sync;
                if sync { synced = Instant::now() }
                continue;
            }
            () = at(sync_due) => {
                match blocking(tape, Pending::default(), None, true).await {
                    Ok(back) => tape = back,
                    Err(error) => break error,
                }
                dirty = false;
                synced = Instant::now();
                continue;
            }
        };
        match message {
            Some(Message::Events(lines, permit)) => {
                pending.lines.extend_from_slice(&lines);
                pending.due.get_or_insert_with(|| Instant::now() + FLUSH);
                match (&mut pending.permit, permit) {
                    (Some(all), Some(more)) => all.merge(more),
                    (all @ None, more) => *all = more,
                    (Some(_), None) => {}
                }
                if pending.lines.len() >= FRAME {
                    pending.due = Some(Instant::now());
                    let sync = synced.elapsed() >= SYNC;
                    match blocking(tape, std::mem::take(&mut pending), None, sync).await {
                        Ok(back) => tape = back,
                        Err(error) => break error,
                    }
                    dirty = !sync;
                    if sync {
                        synced = Instant::now();
                    }
                }
            }
            Some(Message::Finish(lines, end, reply)) => {
                pending.lines.extend_from_slice(&lines);
                match blocking(tape, pending, Some(end), true).await {
                    // Who asked may be gone.
                    Ok(tape) => reply.send(tape.total()).unwrap_or_default(),
                    Err(error) => failure.set(error).unwrap_or_default(),
                }
                return;
            }
            None => {
                if let Err(error) = blocking(tape, pending, None, true).await {
                    tracing::warn!("a recording that nobody finished: {error}");
                }
                return;
            }
        }
    };
    failure.set(failed).unwrap_or_default();
    room.close();
}

/// At that time; never, if there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A frame and what keeps it, where blocking is allowed. The room that its events took is free afterwards.
async fn blocking(
    mut tape: Tape,
    pending: Pending,
    end: Option<End>,
    sync: bool,
) -> Result<Tape, CannotRecord> {
    let written = tokio::task::spawn_blocking(move || {
        if !pending.lines.is_empty() || end.is_some() {
            tape.write(&pending.lines, end)?;
        }
        if sync {
            tape.sync()?;
        }
        Ok(tape)
    });
    written.await.map_err(|_| CannotRecord::Failed("interrupted".into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_lines_are_read_is_remarked_and_reading_goes_on() {
        let mut state = State {
            lines: Lines::new(80, 24),
            size: (80, 24),
            carry: Vec::new(),
            last: Timestamp::UNIX_EPOCH,
            told: Timestamp::UNIX_EPOCH,
            output_bytes: 0,
            typed: 0,
            ended: false,
        };
        let noted = state.watched(|_| panic!("as a model would"));
        assert!(matches!(noted.as_slice(), [Noted::Remark(_)]));
        let now = Timestamp::UNIX_EPOCH;
        state.watched(|lines| lines.output(b"$ ", now));
        state.watched(|lines| lines.input(b"ls\r", now));
        assert!(matches!(state.watched(|lines| lines.output(b"ls\r\n", now)).as_slice(), [Noted::Typed(_)]));
    }
}
