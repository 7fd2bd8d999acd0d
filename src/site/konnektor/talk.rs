//! The site's end of a stream: calls in, steps and values out, each bounded in size and time.
//! Absent on purpose: a Konnektor.

use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::Ended;
use crate::link::frames::Call;
use crate::link::{BadLine, Lines, write_line};

/// How long a gateway may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two calls. A person may be asked something meanwhile, but a gateway that waits longer comes again.
    pub idle: Duration,
    /// For the next bytes of something that has begun.
    pub silence: Duration,
    /// Bytes a second that something long goes with at least.
    pub rate: u64,
}

impl Patience {
    /// A gateway drops a stream after two minutes by itself.
    pub const ORDINARY: Self =
        Self { idle: Duration::from_mins(5), silence: Duration::from_mins(1), rate: 16 << 10 };

    fn until(&self, bytes: usize) -> Instant {
        Instant::now() + self.silence + Duration::from_secs(bytes as u64 / self.rate.max(1))
    }
}

/// So many bytes go out at once.
const PIECE: usize = 64 << 10;

pub(super) struct Talk<S> {
    lines: Lines<ReadHalf<S>>,
    out: WriteHalf<S>,
    patience: Patience,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub(super) fn over(stream: S, patience: Patience) -> Self {
        let (from, out) = tokio::io::split(stream);
        Self { lines: Lines::new(from), out, patience }
    }

    /// The next call; none: the gateway has left.
    pub(super) async fn call(&mut self) -> Result<Option<Call>, Ended> {
        match timeout(self.patience.idle, self.lines.next()).await {
            Ok(Ok(call)) => Ok(Some(call)),
            Ok(Err(BadLine::Closed | BadLine::Broken(_))) => Ok(None),
            Ok(Err(BadLine::TooLong | BadLine::NotUnderstood(_))) => Err(Ended::NotUnderstood),
            Err(_) => Err(Ended::Idle),
        }
    }

    /// Returns when the gateway says something where it has nothing to say, or has left.
    pub(super) async fn stirs(&mut self) {
        self.lines.stirs().await;
    }

    /// What stands behind a call; memory is taken for what is there.
    pub(super) async fn body(&mut self, bytes: usize) -> Result<Vec<u8>, Ended> {
        let (mut body, until) = (Vec::new(), self.patience.until(bytes));
        while body.len() < bytes {
            let most = (bytes - body.len()).min(PIECE);
            let each = until.min(Instant::now() + self.patience.silence);
            match timeout_at(each, self.lines.bytes(&mut body, most)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Ended::Left),
                Err(_) => return Err(Ended::Idle),
            }
        }
        Ok(body)
    }

    pub(super) async fn say(&mut self, line: &(impl Serialize + Sync)) -> Result<(), Ended> {
        match timeout(self.patience.silence, write_line(&mut self.out, line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(BadLine::TooLong)) => Err(Ended::NotUnderstood),
            Ok(Err(_)) => Err(Ended::Left),
            Err(_) => Err(Ended::Idle),
        }
    }

    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let until = self.patience.until(bytes.len());
        for piece in bytes.chunks(PIECE) {
            let each = until.min(Instant::now() + self.patience.silence);
            match timeout_at(each, self.out.write_all(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Ended::Left),
                Err(_) => return Err(Ended::Idle),
            }
        }
        Ok(())
    }

    /// No more is said; what was, arrives.
    pub(super) async fn close(&mut self) {
        if timeout(self.patience.silence, self.out.shutdown()).await.is_err() {
            tracing::debug!("a gateway did not take the end of a stream");
        }
    }
}
