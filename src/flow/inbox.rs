//! A channel's incoming side: taken at once, counted, given on in order.
//! Absent on purpose: any wait before taking. russh's task stands still for as long as a channel's messages are not taken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, Sig};
use tokio::time::{Sleep, sleep};

use super::{Backlog, Feed, OVERHEAD, PARTING, STALLED};

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

    pub(super) fn weight(&self) -> usize {
        OVERHEAD
            + match self {
                Piece::Data(data) | Piece::Extended(_, data) => data.len(),
                Piece::Other(message) => held(message),
            }
    }
}

/// What a request holds: no window bounds how many of them a peer sends, nor how long they are.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "russh's enum: the others hold nothing of a peer's choice"
)]
fn held(message: &ChannelMsg) -> usize {
    let name = |signal: &Sig| if let Sig::Custom(name) = signal { name.len() } else { 0 };
    match message {
        ChannelMsg::Exec { command, .. } => command.len(),
        ChannelMsg::RequestSubsystem { name, .. } => name.len(),
        ChannelMsg::SetEnv { variable_name, variable_value, .. } => {
            variable_name.len() + variable_value.len()
        }
        ChannelMsg::RequestPty { term, terminal_modes, .. } => term.len() + 8 * terminal_modes.len(),
        ChannelMsg::RequestX11 { x11_authentication_protocol, x11_authentication_cookie, .. } => {
            x11_authentication_protocol.len() + x11_authentication_cookie.len()
        }
        ChannelMsg::Signal { signal } => name(signal),
        ChannelMsg::ExitSignal { signal_name, error_message, lang_tag, .. } => {
            name(signal_name) + error_message.len() + lang_tag.len()
        }
        _ => 0,
    }
}

/// More waits on the channel than any good sender would have sent, or nobody has taken any of it for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its far end takes nothing, and more than {} MiB wait for it", STALLED >> 20)]
pub struct Overfull;

/// Why work was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// Too much waits for it.
    #[error("overfull: {0}")]
    Overfull(#[from] Overfull),
    /// Who wanted it has closed the channel, and it did not come to its end soon after.
    #[error("client-closed")]
    Left,
}

enum Source {
    Channel(ChannelReadHalf),
    Fed(Arc<Feed>),
}

/// The incoming side of one channel.
pub struct Inbox {
    source: Source,
    queue: VecDeque<Piece>,
    backlog: Arc<Backlog>,
    closed: bool,
    /// Begun with the first work after the close.
    parting: Option<Pin<Box<Sleep>>>,
}

impl Inbox {
    /// Takes a channel's read half over. From here on somebody has to be in [`Inbox::next`] or [`Inbox::beside`] all the time.
    pub fn new(read: ChannelReadHalf, backlog: Arc<Backlog>) -> Self {
        Self { source: Source::Channel(read), queue: VecDeque::new(), backlog, closed: false, parting: None }
    }

    /// The same of what is handed in.
    pub fn fed(feed: Arc<Feed>) -> Self {
        let backlog = feed.backlog();
        Self { source: Source::Fed(feed), queue: VecDeque::new(), backlog, closed: false, parting: None }
    }

    /// Takes all that has come; wakes the caller's task when more does.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) {
        let read = match &mut self.source {
            Source::Channel(read) => read,
            Source::Fed(feed) => {
                self.closed = feed.take(cx.waker(), &mut self.queue);
                return;
            }
        };
        while !self.closed {
            match pin!(read.wait()).poll(cx) {
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

    /// Will nothing more come?
    pub fn is_closed(&self) -> bool {
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

    /// The same, for work that only the channel's owner wants: once the channel is closed, all such work together has
    /// [`PARTING`] left. A far end that takes nothing would hold it for ever.
    ///
    /// # Errors
    /// [`GivenUp`]; `work` is dropped then.
    pub async fn while_open<W: Future>(&mut self, work: W) -> Result<W::Output, GivenUp> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.poll_take(cx);
            if self.is_overfull() {
                return Poll::Ready(Err(Overfull.into()));
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if !self.closed {
                return Poll::Pending;
            }
            let parting = self.parting.get_or_insert_with(|| Box::pin(sleep(PARTING)));
            parting.as_mut().poll(cx).map(|()| Err(GivenUp::Left))
        })
        .await
    }

    /// Does `work` to its end, and lets go what comes meanwhile.
    pub async fn letting_go<W: Future>(&mut self, work: W) -> W::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.poll_take(cx);
            while self.pop().is_some() {}
            work.as_mut().poll(cx)
        })
        .await
    }

    /// The peer's reply to a request; what came before it stays for [`Inbox::next`]. `None`: it closed instead.
    pub async fn reply(&mut self) -> Option<bool> {
        poll_fn(|cx| {
            self.poll_take(cx);
            let reply = |piece: &Piece| {
                matches!(piece, Piece::Other(ChannelMsg::Success | ChannelMsg::Failure | ChannelMsg::Close))
            };
            let Some(at) = self.queue.iter().position(reply) else {
                return if self.closed { Poll::Ready(None) } else { Poll::Pending };
            };
            let piece = self.queue.remove(at);
            if let Some(piece) = &piece {
                self.backlog.less(piece.weight());
            }
            Poll::Ready(match piece {
                Some(Piece::Other(ChannelMsg::Success)) => Some(true),
                Some(Piece::Other(ChannelMsg::Failure)) => Some(false),
                Some(_) | None => None,
            })
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
            let said = format!("{message:.80?}");
            assert!(Piece::of(message).is_some_and(|piece| piece.weight() >= 200_000), "{said}");
        }
    }
}
