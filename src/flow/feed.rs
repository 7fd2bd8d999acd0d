//! An inbox's other source: pieces that a callback hands in, where a channel's own read half was let go.
//! Absent on purpose: waiting. Whoever hands in is russh's only task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::task::AtomicWaker;

use super::{Backlog, Piece};

/// What was handed in and not taken yet.
pub struct Feed {
    state: Mutex<State>,
    reader: AtomicWaker,
    backlog: Arc<Backlog>,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    closed: bool,
}

impl Feed {
    /// Nothing yet; `backlog` counts what is handed in.
    pub fn new(backlog: Arc<Backlog>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), reader: AtomicWaker::new(), backlog })
    }

    /// Hands a piece in; after [`Feed::close`] it is let go.
    pub fn push(&self, piece: Piece) {
        let mut state = self.lock();
        if !state.closed {
            self.backlog.more(piece.weight());
            state.pieces.push_back(piece);
        }
        drop(state);
        self.reader.wake();
    }

    /// No more will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.reader.wake();
    }

    pub(super) fn backlog(&self) -> Arc<Backlog> {
        self.backlog.clone()
    }

    /// All that waits, and whether that is the end; wakes `waker` when there is more.
    pub(super) fn take(&self, waker: &std::task::Waker, into: &mut VecDeque<Piece>) -> bool {
        self.reader.register(waker);
        let mut state = self.lock();
        into.append(&mut state.pieces);
        state.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
