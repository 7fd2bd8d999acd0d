//! A terminal at which somebody sits: what they type goes to the prompt, or, while they are connected on, to a host.
//! Absent on purpose: reading a line.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use russh::{ChannelId, ChannelMsg};
use tokio_util::sync::CancellationToken;

use super::connection::Shared;
use crate::commands::Sink;
use crate::flow::{Backlog, Feed, Inbox, Piece};
use crate::prompt::Size;

/// The terminal of one session channel.
pub struct Seat {
    /// What is shown on it.
    pub screen: Arc<dyn Sink>,
    /// The number of the connection's next relayed channel.
    pub numbers: Arc<AtomicU32>,
    /// Cancelled when the connection has to end.
    pub stop: CancellationToken,
    keys: Arc<Keys>,
    shared: Arc<Shared>,
    channel: ChannelId,
}

/// What its callbacks know of it.
pub struct Keys {
    term: String,
    state: Mutex<State>,
}

struct State {
    size: Size,
    /// Where keys go while somebody is connected on.
    feed: Option<Arc<Feed>>,
    hung_up: bool,
}

impl Keys {
    /// A terminal of this name and size.
    pub fn new(term: String, size: Size) -> Arc<Self> {
        Arc::new(Self { term, state: Mutex::new(State { size, feed: None, hung_up: false }) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys were typed; `false` if the prompt is to have them.
    pub fn typed(&self, data: &[u8]) -> bool {
        match &self.lock().feed {
            Some(feed) => {
                feed.push(Piece::Data(Bytes::copy_from_slice(data)));
                true
            }
            None => false,
        }
    }

    /// The window has another size.
    pub fn resize(&self, size: Size) {
        let mut state = self.lock();
        state.size = size;
        if let Some(feed) = &state.feed {
            feed.push(Piece::Other(ChannelMsg::WindowChange {
                col_width: size.cols.into(),
                row_height: size.rows.into(),
                pix_width: 0,
                pix_height: 0,
            }));
        }
    }

    /// No more keys will come.
    pub fn hang_up(&self) {
        let mut state = self.lock();
        state.hung_up = true;
        if let Some(feed) = &state.feed {
            feed.push(Piece::Other(ChannelMsg::Eof));
        }
    }
}

impl Seat {
    /// The terminal of `channel`, whose keys come by `keys`.
    pub fn new(
        keys: Arc<Keys>,
        screen: Arc<dyn Sink>,
        channel: ChannelId,
        shared: Arc<Shared>,
        numbers: Arc<AtomicU32>,
    ) -> Self {
        Self { screen, numbers, stop: shared.stop.clone(), keys, shared, channel }
    }

    /// From now on keys go here, not to the prompt.
    pub fn take(&self) -> Inbox {
        let backlog = Backlog::new(&self.shared.ledger);
        self.shared.windows.watch(self.channel, &backlog);
        let feed = Feed::new(backlog);
        let mut state = self.keys.lock();
        if state.hung_up {
            feed.push(Piece::Other(ChannelMsg::Eof));
        }
        state.feed = Some(feed.clone());
        drop(state);
        Inbox::fed(feed)
    }

    /// The prompt has them again.
    pub fn give_back(&self) {
        self.keys.lock().feed = None;
    }

    /// Its name, columns and rows.
    pub fn terminal(&self) -> (String, u32, u32) {
        let size = self.keys.lock().size;
        (self.keys.term.clone(), size.cols.into(), size.rows.into())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Whoever is connected on learns that nobody sits here any more.
        if let Some(feed) = self.keys.lock().feed.take() {
            feed.close();
        }
    }
}
