//! The TCP connection as russh is given it: counted, watched, and cut when we say so.
//! Absent on purpose: SSH. What goes over it is not looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What the rest of the house sees of a connection.
pub struct Line {
    stream: TcpStream,
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
        if let Err(e) = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both) {
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
pub struct Wire(Arc<Line>);

impl Wire {
    /// Takes a connection over.
    pub fn new(stream: TcpStream) -> (Self, Arc<Line>) {
        let line = Arc::new(Line { stream, bytes_in: AtomicU64::new(0), bytes_out: AtomicU64::new(0) });
        (Self(line.clone()), line)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read(buf.initialize_unfilled()) {
                Ok(n) => {
                    buf.advance(n);
                    self.0.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Wire {
    fn poll_try(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match write(&self.0.stream) {
                Ok(n) => {
                    self.0.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
            rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write)
                .map_err(io::Error::from)
                .or_else(|e| if e.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(e) }),
        )
    }
}
