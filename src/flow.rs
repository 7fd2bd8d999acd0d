//! What keeps two-way load from standing still: russh grants a sender new window on receipt, not when the bytes have gone on,
//! and its one task waits for whoever takes a channel's messages. So nothing here ever lets it wait, and the granting is steered.
//!
//! Three parts, for every connection of ours, in both roles:
//!
//! 1. Each channel has an [`Inbox`]. It takes all that has come at once, also while what came before is still being written
//!    elsewhere ([`Inbox::beside`]), and counts it in a [`Backlog`].
//! 2. **Server role** (towards the technician): russh asks its handler for the next window's size each time it has granted one.
//!    [`Windows`] answers with two bytes while a channel's backlog is above [`MARK`]. The sender then runs out of window and is
//!    let go on two bytes at a time, until the backlog has gone on. Reading never stops, so the peer's `WINDOW_ADJUST`, which our
//!    own output may wait for, always gets through: no two-way flow can lock itself. The trickle is slowed by the [`Wire`],
//!    which takes what comes only every millisecond or so meanwhile.
//! 3. **Client role** (towards a target): russh lets nobody steer its window there. The [`Wire`] rests while the connection's
//!    backlog is above [`MARK`], and TCP pushes back; only while our own output waits for the target's window it goes on
//!    slowly, up to [`AHEAD`]. A connection in this role carries one channel at a time, so that one that is stuck stops no
//!    other (`relay` holds that).
//!
//! A window is a number of the whole connection in russh, not of one channel: a channel that was just granted its big one can
//! be outrun by a stuck neighbour's two bytes, which then get a big window too. That costs memory, not a deadlock: the wire is
//! slowed the more, the more waits; and a channel is ended that has [`MOST`] waiting, or [`STALLED`] and a far end that has taken
//! nothing for ten seconds. A stuck channel alone comes nowhere near: its sender is held back at about 3 MiB, for hours.
//!
//! Absent on purpose: SSH messages, and who may do what.

mod feed;
mod inbox;
mod socket;
mod tunnel;
mod wire;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::task::AtomicWaker;
use russh::ChannelId;
use tokio::time::Instant;

pub use feed::Feed;
pub use inbox::{GivenUp, Inbox, Overfull, Piece};
pub use socket::Socket;
pub use tunnel::Tunnel;
pub use wire::{Line, Role, Wire};

/// Bytes that wait on one channel before its sender is held back.
pub const MARK: usize = 1 << 20;
/// Bytes that a connection in the client role may read ahead while our own output waits for the target's window.
pub const AHEAD: usize = 16 << 20;
/// Bytes that wait on one channel before it is ended.
pub const MOST: usize = 32 << 20;
/// Bytes that wait on one channel before it is ended if none of them has gone on for [`PATIENCE`].
pub const STALLED: usize = 6 << 20;
/// How long the far end of a channel with [`STALLED`] may take nothing.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What is left to work for a channel that its owner has closed.
const PARTING: Duration = Duration::from_secs(2);
/// The receive window of a channel. Above 2 MiB nothing is gained on a LAN (measured), and a session may hold this much more.
pub const WINDOW: u32 = 2 << 20;
/// What a sender is granted while it is held back: russh grants only when less than half of it is left, so 1 would be for ever.
const TRICKLE: u32 = 2;
/// What a piece costs beside its bytes: a flood of one-byte packets is counted as the memory that it takes.
const OVERHEAD: usize = 96;

/// What one connection has received and not yet passed on, all channels together.
#[derive(Default)]
pub struct Ledger {
    waiting: AtomicUsize,
    /// Writers of ours that wait for the peer's window.
    writers: AtomicUsize,
    reader: AtomicWaker,
}

impl Ledger {
    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Held while our own output on this connection may wait for the peer's window, which comes over its incoming side.
    pub fn writing(self: &Arc<Self>) -> Writing {
        if self.writers.fetch_add(1, Ordering::SeqCst) == 0 {
            self.reader.wake();
        }
        Writing(self.clone())
    }

    /// How long the connection's next bytes are left where they are, in the server role: the longer, the more waits.
    fn pause(&self) -> Option<Duration> {
        match self.waiting() / MARK {
            0 => None,
            1..4 => Some(Duration::from_millis(1)),
            4..8 => Some(Duration::from_millis(5)),
            8..16 => Some(Duration::from_millis(50)),
            _ => Some(Duration::from_millis(250)),
        }
    }

    /// The same in the client role.
    fn rest(&self) -> Rest {
        match self.waiting() {
            0..MARK => Rest::No,
            MARK..AHEAD if self.writers.load(Ordering::SeqCst) > 0 => Rest::For(Duration::from_millis(5)),
            _ => Rest::UntilLess,
        }
    }

    fn less(&self, bytes: usize) {
        let before = self.waiting.fetch_sub(bytes, Ordering::SeqCst);
        if before >= MARK && before - bytes < MARK {
            self.reader.wake();
        }
    }
}

/// Our own output waits for the peer's window, or may.
pub struct Writing(Arc<Ledger>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a wire in the client role does before it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    No,
    For(Duration),
    UntilLess,
}

/// What one channel has received and not yet passed on.
pub struct Backlog {
    waiting: AtomicUsize,
    ledger: Arc<Ledger>,
    born: Instant,
    /// When something went on last, in milliseconds since it was made.
    moved: AtomicU64,
}

impl Backlog {
    /// Nothing yet.
    pub fn new(ledger: &Arc<Ledger>) -> Arc<Self> {
        let (waiting, moved) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { waiting, ledger: ledger.clone(), born: Instant::now(), moved })
    }

    /// Something of it has gone on.
    pub fn moves(&self) {
        self.moved.store(self.age(), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Is there more than any good sender would have sent, or nobody who takes it?
    fn is_overfull(&self) -> bool {
        match self.waiting() {
            0..STALLED => false,
            STALLED..MOST => {
                let still = self.age().saturating_sub(self.moved.load(Ordering::Relaxed));
                Duration::from_millis(still) > PATIENCE
            }
            _ => true,
        }
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn more(&self, bytes: usize) -> usize {
        self.ledger.waiting.fetch_add(bytes, Ordering::SeqCst);
        self.waiting.fetch_add(bytes, Ordering::SeqCst) + bytes
    }

    fn less(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::SeqCst);
        self.ledger.less(bytes);
        self.moves();
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.ledger.less(*self.waiting.get_mut());
    }
}

/// The receive windows of one connection in the server role: what its handler answers russh's `adjust_window` with.
pub struct Windows<Channel = ChannelId>(Mutex<HashMap<Channel, Weak<Backlog>>>);

impl<Channel> Default for Windows<Channel> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Channel: Eq + Hash> Windows<Channel> {
    /// From now on, `backlog` steers the window of `channel`.
    pub fn watch(&self, channel: Channel, backlog: &Arc<Backlog>) {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, backlog| backlog.strong_count() > 0);
        channels.insert(channel, Arc::downgrade(backlog));
    }

    /// `channel` was just granted a window up to `granted` bytes: the size of the next one, of whichever channel.
    pub fn next(&self, channel: &Channel, granted: u32) -> u32 {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held_back =
            |backlog: &Weak<Backlog>| backlog.upgrade().is_some_and(|backlog| backlog.waiting() >= MARK);
        let own = channels.get(channel).is_some_and(held_back);
        // One that is not held back and got a trickle gets its window next; one that has its window leaves the trickle
        // to those who are held back.
        if own || (granted > TRICKLE && channels.values().any(held_back)) { TRICKLE } else { WINDOW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_with_a_backlog_is_held_back_and_its_neighbour_is_not() {
        let ledger = Arc::new(Ledger::default());
        let (full, free) = (Backlog::new(&ledger), Backlog::new(&ledger));
        let windows = Windows::default();
        windows.watch(1, &full);
        windows.watch(2, &free);
        assert_eq!(windows.next(&1, WINDOW), WINDOW);
        full.more(MARK);
        assert_eq!(windows.next(&1, WINDOW), TRICKLE);
        assert_eq!(windows.next(&1, TRICKLE), TRICKLE);
        assert_eq!(windows.next(&2, TRICKLE), WINDOW, "it has only a trickle: next is its own");
        assert_eq!(windows.next(&2, WINDOW), TRICKLE, "it has its own: next may be the other's");
        full.less(1);
        assert_eq!(windows.next(&1, TRICKLE), WINDOW);
    }

    #[test]
    fn a_channel_that_is_gone_holds_nobody_back() {
        let ledger = Arc::new(Ledger::default());
        let full = Backlog::new(&ledger);
        let windows = Windows::default();
        windows.watch(1, &full);
        full.more(2 * MARK);
        assert_eq!(windows.next(&2, WINDOW), TRICKLE);
        assert!(ledger.pause().is_some());
        drop(full);
        assert_eq!(windows.next(&2, WINDOW), WINDOW);
        assert_eq!((ledger.waiting(), ledger.pause()), (0, None));
    }

    #[test]
    fn towards_a_target_the_wire_rests_but_for_the_window_that_our_output_waits_for() {
        let ledger = Arc::new(Ledger::default());
        let backlog = Backlog::new(&ledger);
        assert_eq!(ledger.rest(), Rest::No);
        backlog.more(MARK);
        assert_eq!(ledger.rest(), Rest::UntilLess);
        let writing = ledger.writing();
        assert!(matches!(ledger.rest(), Rest::For(_)));
        backlog.more(AHEAD);
        assert_eq!(ledger.rest(), Rest::UntilLess);
        backlog.less(AHEAD);
        drop(writing);
        assert_eq!(ledger.rest(), Rest::UntilLess);
        backlog.less(1);
        assert_eq!(ledger.rest(), Rest::No);
    }
}
