//! A channel's incoming side: taken at once, counted, given on in order.
//! Absent on purpose: any wait before taking. russh's task stands still for as long as a channel's messages are not taken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf};

use super::{Backlog, OVERHEAD, STALLED};

/// What came, in its order.
#[derive(Debug)]
pub enum Piece {
    /// Data.
    Data(Bytes),
    /// Extended data of a type (RFC 4254 §5.2).
    Extended(u32, Bytes),
    /// EOF, a request, a reply.
    Other(ChannelMsg),
}

impl Piece {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "russh's enum: what is neither data nor done is passed on as it is"
    )]
    fn of(message: ChannelMsg) -> Option<Self> {
        match message {
            ChannelMsg::Data { data } => Some(Piece::Data(data)),
            ChannelMsg::ExtendedData { ext, data } => Some(Piece::Extended(ext, data)),
            // russh has done all that this is for.
            ChannelMsg::WindowAdjusted { .. } => None,
            other => Some(Piece::Other(other)),
        }
    }

    fn weight(&self) -> usize {
        OVERHEAD
            + match self {
                Piece::Data(data) | Piece::Extended(_, data) => data.len(),
                Piece::Other(_) => 0,
            }
    }
}

/// More waits on the channel than any good sender would have sent, or nobody has taken any of it for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its far end takes nothing, and more than {} MiB wait for it", STALLED >> 20)]
pub struct Overfull;

/// The incoming side of one channel.
pub struct Inbox {
    read: ChannelReadHalf,
    queue: VecDeque<Piece>,
    backlog: Arc<Backlog>,
    closed: bool,
}

impl Inbox {
    /// Takes a channel's read half over. From here on somebody has to be in [`Inbox::next`] or [`Inbox::beside`] all the time.
    pub fn new(read: ChannelReadHalf, backlog: Arc<Backlog>) -> Self {
        Self { read, queue: VecDeque::new(), backlog, closed: false }
    }

    /// Takes all that has come; wakes the caller's task when more does.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) {
        while !self.closed {
            match pin!(self.read.wait()).poll(cx) {
                Poll::Ready(Some(message)) => {
                    if let Some(piece) = Piece::of(message) {
                        self.backlog.more(piece.weight());
                        self.queue.push_back(piece);
                    }
                }
                Poll::Ready(None) => self.closed = true,
                Poll::Pending => return,
            }
        }
    }

    /// The next piece that waits, if one does.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        let piece = self.queue.pop_front()?;
        self.backlog.less(piece.weight());
        // Not held for as long as the channel lives: it may be idle for hours.
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(piece)
    }

    /// Puts back what was not used up of a piece.
    pub(super) fn put_back(&mut self, rest: Bytes) {
        let piece = Piece::Data(rest);
        self.backlog.more(piece.weight());
        self.queue.push_front(piece);
    }

    /// The count of what waits.
    pub fn backlog(&self) -> Arc<Backlog> {
        self.backlog.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.backlog.is_overfull()
    }

    /// The next piece; `None` once the channel is closed and all was given on. Cancelled, it loses nothing.
    pub async fn next(&mut self) -> Option<Piece> {
        poll_fn(|cx| {
            self.poll_take(cx);
            match self.pop() {
                Some(piece) => Poll::Ready(Some(piece)),
                None if self.closed => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// More data of those that were taken already, if that is what comes next.
    pub fn more_data(&mut self) -> Option<Bytes> {
        match self.queue.front() {
            Some(Piece::Data(_)) => match self.pop() {
                Some(Piece::Data(data)) => Some(data),
                Some(Piece::Extended(..) | Piece::Other(_)) | None => None,
            },
            Some(Piece::Extended(..) | Piece::Other(_)) | None => None,
        }
    }

    /// Does `work`, and takes meanwhile what comes.
    ///
    /// # Errors
    /// [`Overfull`]; `work` is dropped then.
    pub async fn beside<W: Future>(&mut self, work: W) -> Result<W::Output, Overfull> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.poll_take(cx);
            if self.is_overfull() {
                return Poll::Ready(Err(Overfull));
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_weighs_what_it_holds() {
        let long = || "x".repeat(200_000);
        let heavy = [
            ChannelMsg::SetEnv { want_reply: false, variable_name: "A".into(), variable_value: long() },
            ChannelMsg::SetEnv { want_reply: false, variable_name: long(), variable_value: "a".into() },
            ChannelMsg::Exec { want_reply: true, command: vec![0; 200_000] },
            ChannelMsg::RequestSubsystem { want_reply: true, name: long() },
            ChannelMsg::Signal { signal: russh::Sig::Custom(long()) },
        ];
        for message in heavy {
            assert!(
                Piece::of(message.clone()).is_some_and(|piece| piece.weight() >= 200_000),
                "{:.80?}",
                message
            );
        }
    }
}
