//! A channel as the transport of another SSH session.
//! Absent on purpose: a task of its own. The inner session's task takes what comes, also while it writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::wire::GULP;
use super::{Inbox, Ledger, Overfull, Piece};

/// For a client to read why the session ends, before its way to it is closed.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A channel's data, both ways.
pub struct Tunnel {
    inbox: Inbox,
    out: Pin<Box<dyn AsyncWrite + Send>>,
    ended: bool,
    /// Of the session that goes over it: its held-back senders' trickle is slowed as on a wire.
    ledger: Arc<Ledger>,
    pause: Option<Pin<Box<Sleep>>>,
    gulp: usize,
    /// Between the last words and EOF.
    parting: Option<Pin<Box<Sleep>>>,
}

impl Tunnel {
    /// Over a channel that is open already; `ledger` has what the inner session's channels have received and not passed on.
    pub fn new<S>(inbox: Inbox, out: &ChannelWriteHalf<S>, ledger: Arc<Ledger>) -> Self
    where
        S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
    {
        Self {
            inbox,
            out: Box::pin(out.make_writer()),
            ended: false,
            ledger,
            pause: None,
            gulp: GULP,
            parting: None,
        }
    }

    /// Ready once it may read.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gulp == 0 && self.pause.is_none() {
            self.pause = self.ledger.pause().map(|pause| Box::pin(sleep(pause)));
            self.gulp = GULP;
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inbox.poll_take(cx);
        ready!(self.poll_turn(cx));
        while !self.ended {
            match self.inbox.pop() {
                Some(Piece::Data(mut data)) => {
                    let part = data.len().min(buf.remaining());
                    buf.put_slice(data.get(..part).unwrap_or_default());
                    data.advance(part);
                    if data.has_remaining() {
                        self.inbox.put_back(data);
                    }
                    self.gulp = self.gulp.saturating_sub(part);
                    if part > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Some(Piece::Other(ChannelMsg::Eof | ChannelMsg::Close)) => self.ended = true,
                // There is no second stream in a direct-tcpip channel, and no request that means anything to it.
                Some(Piece::Extended(..) | Piece::Other(_)) => {}
                None if self.inbox.is_closed() => self.ended = true,
                None => {
                    // All that had come is read: a trickle is answered in its turn, not at once.
                    if self.gulp < GULP && self.ledger.pause().is_some() {
                        self.gulp = 0;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // The outer session must not stand still while this waits for its window.
        self.inbox.poll_take(cx);
        if self.inbox.is_overfull() {
            return Poll::Ready(Err(io::Error::other(Overfull)));
        }
        match self.out.as_mut().poll_write(cx, buf) {
            // No window will come any more.
            Poll::Pending if self.inbox.is_closed() => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            written @ (Poll::Ready(_) | Poll::Pending) => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inbox.poll_take(cx);
        self.out.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inbox.poll_take(cx);
        // The last words first: `ssh -W` ends at EOF, and a client that is just writing into it then never reads them.
        if !self.inbox.is_closed() {
            let parting = self.parting.get_or_insert_with(|| Box::pin(sleep(LAST_WORDS)));
            ready!(parting.as_mut().poll(cx));
        }
        self.out.as_mut().poll_shutdown(cx)
    }
}
