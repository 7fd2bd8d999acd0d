//! The sealed pipe: a channel's bytes to a host's TCP connection and back, each direction ended by itself.
//! Absent on purpose: a look at the bytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::server::Msg;
use russh::{ChannelMsg, ChannelWriteHalf};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use crate::asks::Hop;
use crate::flow::{Backlog, GivenUp, Inbox, Overfull, Piece, Socket};
use crate::journal::CannotJournal;
use crate::journal::started::{Outcome, Started};
use crate::live::Counted;

/// What one read from the host may bring; grown up to the second while it is filled each time.
const READ: (usize, usize) = (16 << 10, 256 << 10);
/// How long a host may take to hear the last of a client that has gone.
const LAST: Duration = Duration::from_secs(2);
/// Pieces that go to the host in one write.
const PIECES: usize = 16;

/// Both ends of a pipe that is to be laid.
pub struct Pipe {
    /// What comes from the client.
    pub inbox: Inbox,
    /// What goes to it.
    pub out: ChannelWriteHalf<Msg>,
    /// The host.
    pub host: Socket,
    /// No byte in either direction for so long ends it.
    pub idle: Duration,
    /// What it has passed on.
    pub counted: Arc<Counted>,
    /// Cancelled when the client's connection has ended.
    pub gone: CancellationToken,
}

/// How a pipe ended.
#[derive(Debug, thiserror::Error)]
pub enum Sealed {
    /// Both directions came to their end.
    #[error("closed")]
    Closed,
    /// The client closed the channel, or its connection.
    #[error("client-closed")]
    ClientClosed,
    /// The host's connection broke.
    #[error("host: {0}")]
    Host(io::Error),
    /// The host takes nothing, and too much waits.
    #[error("overfull: {0}")]
    Overfull(#[from] Overfull),
    /// Nothing came for too long.
    #[error("idle")]
    Idle,
    /// What permitted it is gone; the journal says what.
    #[error("withdrawn")]
    Withdrawn,
}

impl Pipe {
    /// Passes bytes until one side ends it, it idles, or `withdrawn` returns; then writes the last line.
    pub async fn run(
        self,
        started: Started<Hop>,
        withdrawn: impl Future<Output = ()>,
    ) -> Result<Sealed, CannotJournal> {
        let Pipe { mut inbox, out, host, idle, counted, gone } = self;
        let ended = tokio::select! {
            ended = both(&mut inbox, &out, &host, &counted) => ended,
            () = idled(idle, &counted) => Sealed::Idle,
            () = gone.cancelled() => Sealed::ClientClosed,
            () = withdrawn => Sealed::Withdrawn,
        };
        let_go(host, &ended).await;
        // It waits behind other channels' data at most; the client may be gone.
        tokio::time::timeout(Duration::from_secs(10), out.close()).await.ok();
        drop(inbox);
        let well = matches!(ended, Sealed::Closed | Sealed::ClientClosed);
        let outcome = Outcome {
            exit: u32::from(!well),
            bytes_in: counted.up.load(Ordering::Relaxed),
            bytes_out: counted.down.load(Ordering::Relaxed),
            cause: Some(ended.to_string()),
            ..Outcome::default()
        };
        started.finish(outcome).await?;
        Ok(ended)
    }
}

/// Ends the host's connection. What the kernel still holds for it is delivered if the hop came to its end, and within
/// [`LAST`] if its client has gone; of one that was ended nothing more is, and a host that reads nothing loses it too (R93).
async fn let_go(host: Socket, ended: &Sealed) {
    match ended {
        Sealed::Closed => return,
        Sealed::ClientClosed => {
            host.shutdown(rustix::net::Shutdown::Write).ok();
            let its_end = async {
                let either = Interest::READABLE | Interest::ERROR;
                while host.ready(either).await.is_ok_and(|is| !(is.is_read_closed() || is.is_error())) {
                    // Readable, and nobody reads any more.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(LAST, its_end).await.ok();
        }
        Sealed::Host(_) | Sealed::Overfull(_) | Sealed::Idle | Sealed::Withdrawn => {}
    }
    host.let_nothing_linger();
}

async fn both(inbox: &mut Inbox, out: &ChannelWriteHalf<Msg>, host: &Socket, counted: &Counted) -> Sealed {
    let up = up(inbox, host, &counted.up);
    let down = down(out, host, &counted.down);
    tokio::pin!(up, down);
    // EOF of one side is passed on and the other goes on; all else is the end of both.
    tokio::select! {
        ended = &mut up => if matches!(ended, Sealed::Closed) { down.await } else { ended },
        ended = &mut down => if matches!(ended, Sealed::Closed) { up.await } else { ended },
    }
}

/// From the client to the host.
async fn up(inbox: &mut Inbox, host: &Socket, counted: &AtomicU64) -> Sealed {
    let backlog = inbox.backlog();
    let mut batch: Vec<Bytes> = Vec::new();
    loop {
        match inbox.next().await {
            Some(Piece::Data(data)) => batch.push(data),
            Some(Piece::Other(ChannelMsg::Eof)) => {
                return match host.shutdown(rustix::net::Shutdown::Write) {
                    Ok(()) => Sealed::Closed,
                    Err(e) => Sealed::Host(e),
                };
            }
            Some(Piece::Extended(..) | Piece::Other(_)) => continue,
            None => return Sealed::ClientClosed,
        }
        while batch.len() < PIECES
            && let Some(data) = inbox.more_data()
        {
            batch.push(data);
        }
        let bytes: usize = batch.iter().map(Bytes::len).sum();
        match inbox.while_open(write(host, &mut batch, &backlog)).await {
            Ok(Ok(())) => counted.fetch_add(bytes as u64, Ordering::Relaxed),
            Ok(Err(e)) => return Sealed::Host(e),
            Err(GivenUp::Overfull(overfull)) => return overfull.into(),
            Err(GivenUp::Left) => return Sealed::ClientClosed,
        };
    }
}

/// Writes all of it; `batch` is empty then.
async fn write(host: &Socket, batch: &mut Vec<Bytes>, backlog: &Backlog) -> io::Result<()> {
    let mut from = 0;
    while from < batch.len() {
        let slices: Vec<io::IoSlice<'_>> =
            batch.iter().skip(from).map(|piece| io::IoSlice::new(piece)).collect();
        let mut written = match host.try_write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                host.writable().await?;
                continue;
            }
            Err(e) => return Err(e),
        };
        backlog.moves();
        for piece in batch.iter_mut().skip(from) {
            let part = piece.len().min(written);
            piece.advance(part);
            written -= part;
            if piece.has_remaining() {
                break;
            }
            from += 1;
        }
    }
    batch.clear();
    Ok(())
}

/// From the host to the client. No buffer is held while nothing comes.
async fn down(out: &ChannelWriteHalf<Msg>, host: &Socket, counted: &AtomicU64) -> Sealed {
    let mut size = READ.0;
    loop {
        if let Err(e) = host.ready(Interest::READABLE).await {
            return Sealed::Host(e);
        }
        let mut buffer = BytesMut::with_capacity(size);
        match host.try_read_buf(&mut buffer) {
            Ok(0) => return if out.eof().await.is_ok() { Sealed::Closed } else { Sealed::ClientClosed },
            Ok(n) => {
                size = if n == size {
                    (2 * size).min(READ.1)
                } else {
                    n.next_power_of_two().clamp(READ.0, READ.1)
                };
                if out.data_bytes(buffer.freeze()).await.is_err() {
                    return Sealed::ClientClosed;
                }
                counted.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Sealed::Host(e),
        }
    }
}

/// Returns when nothing has been counted for `idle`.
async fn idled(idle: Duration, counted: &Counted) {
    let all = || {
        let (up, down) = counted.read();
        up.wrapping_add(down)
    };
    let mut seen = all();
    loop {
        tokio::time::sleep(idle).await;
        let now = all();
        if now == seen {
            return;
        }
        seen = now;
    }
}
