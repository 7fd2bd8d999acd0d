//! A connection to a host: over TCP, or a local pair whose other end goes over a site's link. The kernel's rules hold for both.
//! Absent on purpose: dialling.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// Either of them.
#[derive(Debug)]
pub enum Socket {
    /// Dialled, or accepted.
    Tcp(TcpStream),
    /// One end of a pair.
    Pair(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

macro_rules! both {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self {
            Self::Tcp($stream) => $do,
            Self::Pair($stream) => $do,
        }
    };
}

impl Socket {
    /// As [`TcpStream::ready`].
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        both!(self, stream => stream.ready(interest).await)
    }

    /// As [`TcpStream::writable`].
    pub async fn writable(&self) -> io::Result<()> {
        both!(self, stream => stream.writable().await)
    }

    /// As [`TcpStream::poll_read_ready`].
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        both!(self, stream => stream.poll_read_ready(cx))
    }

    /// As [`TcpStream::poll_write_ready`].
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        both!(self, stream => stream.poll_write_ready(cx))
    }

    /// As [`TcpStream::try_read`].
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        both!(self, stream => stream.try_read(buffer))
    }

    /// As [`TcpStream::try_read_buf`].
    pub fn try_read_buf(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        both!(self, stream => stream.try_read_buf(buffer))
    }

    /// As [`TcpStream::try_write`].
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        both!(self, stream => stream.try_write(data))
    }

    /// As [`TcpStream::try_write_vectored`].
    pub fn try_write_vectored(&self, data: &[io::IoSlice<'_>]) -> io::Result<usize> {
        both!(self, stream => stream.try_write_vectored(data))
    }

    /// Ends one direction, or both.
    pub fn shutdown(&self, how: rustix::net::Shutdown) -> io::Result<()> {
        rustix::net::shutdown(self, how).map_err(io::Error::from)
    }

    /// What comes next is acknowledged at once; Linux forgets it again by itself. Of no account where there is no network.
    pub fn acknowledge_at_once(&self) {
        if let Self::Tcp(stream) = self {
            rustix::net::sockopt::set_tcp_quickack(stream, true).ok();
        }
    }

    /// When it is dropped, what it has not sent is dropped too, and the other end hears of it.
    pub fn let_nothing_linger(&self) {
        let done = match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Pair(_) => self.shutdown(rustix::net::Shutdown::Both),
        };
        if let Err(e) = done {
            tracing::debug!("a host's connection is not reset: {e}");
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        both!(self, stream => stream.as_fd())
    }
}
