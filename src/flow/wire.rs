//! The TCP connection as russh is given it: counted, watched, slowed while too much waits, and cut when we say so.
//! Absent on purpose: SSH. What goes over it is not looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::Sleep;

use super::{Ledger, Rest, Socket};

/// Bytes that a wire reads between two pauses.
pub(super) const GULP: usize = 256 << 10;

/// Reads after which a connection is no longer in its handshake and login. Until then each is acknowledged at once: a peer that
/// writes twice before it waits, with Nagle's algorithm on as OpenSSH has it there, else waits 40 ms for a delayed ACK.
const EARLY: u8 = 96;

/// On which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The technician's server: never rests, only pauses; windows do the holding back.
    Server,
    /// A target's client: rests while too much waits.
    Client,
}

/// What the rest of the house sees of a connection.
pub struct Line {
    stream: Socket,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Line {
    /// Bytes received so far, as they came over TCP.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes sent so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Ends the connection now, in both directions, whoever waits for it.
    pub fn cut(&self) {
        if let Err(e) = self.stream.shutdown(rustix::net::Shutdown::Both) {
            tracing::debug!("cut: {e}");
        }
    }

    /// Returns once the other side has closed or the connection broke; also while unread bytes lie before its end.
    pub async fn gone(&self) {
        loop {
            match self.stream.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if !(ready.is_read_closed() || ready.is_error()) => {
                    // Readable, and nobody reads now: look again in a while.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// The connection's reading and writing end.
pub struct Wire {
    line: Arc<Line>,
    ledger: Arc<Ledger>,
    role: Role,
    pause: Option<Pin<Box<Sleep>>>,
    /// What may still be read before the next pause.
    gulp: usize,
    /// Reads of the handshake and login that are still to come.
    early: u8,
    /// Bytes of our first line that have been said already.
    said: usize,
}

impl Wire {
    /// Takes a connection over, in a role; `ledger` has what its channels have received and not passed on.
    pub fn new(stream: impl Into<Socket>, role: Role, ledger: Arc<Ledger>) -> (Self, Arc<Line>) {
        let stream = stream.into();
        let line = Arc::new(Line { stream, bytes_in: AtomicU64::new(0), bytes_out: AtomicU64::new(0) });
        (Self { line: line.clone(), ledger, role, pause: None, gulp: GULP, early: EARLY, said: 0 }, line)
    }

    /// The first so many bytes that are to be written have gone out before: they are left out.
    #[must_use]
    pub fn said(self, bytes: usize) -> Self {
        Self { said: bytes, ..self }
    }

    /// How much of `bytes` has been said already.
    fn left_out(&mut self, bytes: usize) -> Option<usize> {
        let said = self.said.min(bytes);
        self.said -= said;
        (said > 0).then_some(said)
    }

    /// Ready once it may read.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            self.gulp = GULP;
        }
        match self.role {
            Role::Server => {}
            Role::Client => {
                // Registered first: what is passed on between the look and the wait wakes it all the same.
                self.ledger.reader.register(cx.waker());
                match self.ledger.rest() {
                    Rest::No => self.gulp = GULP,
                    Rest::For(_) => {}
                    Rest::UntilLess => return Poll::Pending,
                }
            }
        }
        if self.gulp == 0 {
            if let Some(pause) = self.paused() {
                let pause = self.pause.insert(Box::pin(tokio::time::sleep(pause)));
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            self.gulp = GULP;
        }
        Poll::Ready(())
    }

    fn paused(&self) -> Option<std::time::Duration> {
        match self.role {
            Role::Server => self.ledger.pause(),
            Role::Client => match self.ledger.rest() {
                Rest::For(pause) => Some(pause),
                Rest::No | Rest::UntilLess => None,
            },
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_turn(cx));
            ready!(self.line.stream.poll_read_ready(cx))?;
            match self.line.stream.try_read(buf.initialize_unfilled()) {
                Ok(n) => {
                    buf.advance(n);
                    self.line.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                    self.gulp = self.gulp.saturating_sub(n);
                    if self.early > 0 {
                        self.early -= 1;
                        self.line.stream.acknowledge_at_once();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // All that had come is read: a trickle is answered in its turn, not at once.
                    if self.paused().is_some() && self.gulp < GULP {
                        self.gulp = 0;
                    }
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Wire {
    fn poll_try(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.line.stream.poll_write_ready(cx))?;
            match write(&self.line.stream) {
                Ok(n) => {
                    self.line.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(said) = self.left_out(buf.len()) {
            return Poll::Ready(Ok(said));
        }
        self.poll_try(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(said) = self.left_out(bufs.iter().map(|buf| buf.len()).sum()) {
            return Poll::Ready(Ok(said));
        }
        self.poll_try(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(
            self.line
                .stream
                .shutdown(rustix::net::Shutdown::Write)
                .or_else(|e| if e.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(e) }),
        )
    }
}
