//! What the client types, between the connection that receives it and the prompt that reads it.
//! Absent on purpose: waiting. Nothing here blocks the connection, whatever is typed and whoever reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use super::Size;

/// Type-ahead kept at most, in bytes.
pub(super) const TYPE_AHEAD: usize = 64 * 1024;
const INTERRUPT: u8 = 0x03;

/// Whether typed bytes were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// All of them.
    Taken,
    /// More than 64 KiB waits unread: these, and all up to the queue's next empty moment, are dropped.
    Overflow,
}

/// The connection's side of a prompt. Dropping it hangs up.
#[derive(Debug)]
pub struct Keyboard {
    shared: Arc<Shared>,
    output: mpsc::WeakSender<Bytes>,
}

impl Keyboard {
    /// Takes bytes as they came from the client, in pieces of any size. While no line is being read, Ctrl-C
    /// does what it does on a tty: it interrupts, and what was typed ahead of it is dropped.
    pub fn type_bytes(&self, bytes: &[u8]) -> Typed {
        let mut state = self.shared.lock();
        let mut rest = bytes;
        if !state.reading
            && let Some(at) = bytes.iter().rposition(|b| *b == INTERRUPT)
        {
            state.forget();
            self.shared.interrupt.send_replace(true);
            rest = bytes.get(at + 1..).unwrap_or_default();
        }
        let room = if state.overflowed { 0 } else { TYPE_AHEAD - state.bytes.len().min(TYPE_AHEAD) };
        let kept = rest.get(..room.min(rest.len())).unwrap_or_default();
        state.bytes.extend(kept);
        let overflow = kept.len() < rest.len();
        let first = overflow && !state.overflowed;
        state.overflowed |= overflow;
        drop(state);
        self.shared.wake.notify_one();
        if first && let Some(output) = self.output.upgrade() {
            // A full queue needs no bell: the client is not looking.
            output.try_send(Bytes::from_static(b"\x07")).ok();
        }
        if overflow { Typed::Overflow } else { Typed::Taken }
    }

    /// The client's window has another size now.
    pub fn resize(&self, size: Size) {
        self.shared.lock().resized = Some(size.fitted());
        self.shared.wake.notify_one();
    }

    /// For a running command: `wait_for(|pressed| *pressed)` ends at Ctrl-C. The next line read resets it.
    pub fn interrupted(&self) -> watch::Receiver<bool> {
        self.shared.interrupt.subscribe()
    }

    /// No more will be typed. Whole lines that wait are still read, then reading gives `Read::End`.
    pub fn hang_up(&self) {
        self.shared.lock().gone = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.hang_up();
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// One reader; a wake while it is busy is kept.
    pub(super) wake: Notify,
    interrupt: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    overflowed: bool,
    reading: bool,
    gone: bool,
    resized: Option<Size>,
}

impl State {
    fn forget(&mut self) {
        self.bytes = VecDeque::new();
        self.overflowed = false;
    }
}

pub(super) fn keyboard(output: &mpsc::Sender<Bytes>) -> (Arc<Shared>, Keyboard) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        wake: Notify::new(),
        interrupt: watch::Sender::new(false),
    });
    (shared.clone(), Keyboard { shared, output: output.downgrade() })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next byte, or none for now.
    pub(super) fn next(&self) -> Option<u8> {
        let mut state = self.lock();
        let byte = state.bytes.pop_front();
        if state.bytes.is_empty() && (state.overflowed || state.bytes.capacity() > 1024) {
            state.forget();
        }
        byte
    }

    pub(super) fn resized(&self) -> Option<Size> {
        self.lock().resized.take()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// From now until the guard goes, Ctrl-C belongs to the line. Also whether it was pressed before.
    pub(super) fn read(self: &Arc<Self>) -> (Reading, bool) {
        self.lock().reading = true;
        let interrupted = self.interrupt.send_replace(false);
        (Reading(self.clone()), interrupted)
    }
}

/// A line is being read as long as this lives.
pub(super) struct Reading(Arc<Shared>);

impl Drop for Reading {
    /// Ctrl-C that was typed behind the line's end is meant for what that line starts.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reading = false;
        if let Some(at) = state.bytes.iter().rposition(|b| *b == INTERRUPT) {
            state.bytes.drain(..=at);
            self.0.interrupt.send_replace(true);
        }
    }
}
