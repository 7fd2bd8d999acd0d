//! One stream to a Konnektor at a site: calls out, answers in, each bounded in size and time.
//! Absent on purpose: belief. What does not fit what was asked ends the stream.

use std::time::Duration;

use futures::FutureExt;
use serde::Serialize;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::konnektor::Error;
use crate::link::frames::{Broken, Call, Called};
use crate::link::{BadLine, Lines, Stream, write_line};

/// How long a site may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the wish for a stream to the site's answer.
    pub open: Duration,
    /// From a call to its answer, what the box needs included; bytes have their own time beside it.
    pub call: Duration,
    /// For the next bytes of something that has begun.
    pub silence: Duration,
    /// Bytes a second that something long comes with at least.
    pub rate: u64,
    /// A stream that was not used for so long is not used again.
    pub idle: Duration,
}

impl Patience {
    /// A box that needs all of its five minutes, behind a slow line.
    pub const ORDINARY: Self = Self {
        open: Duration::from_mins(1),
        call: Duration::from_mins(6),
        silence: Duration::from_mins(1),
        rate: 16 << 10,
        idle: Duration::from_mins(2),
    };

    fn of(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / self.rate.max(1))
    }
}

/// So many bytes go out at once.
const PIECE: usize = 64 << 10;

pub(super) struct Session {
    lines: Lines<ReadHalf<Stream>>,
    out: WriteHalf<Stream>,
    patience: Patience,
    used: Instant,
    deadline: Instant,
}

impl Session {
    pub(super) fn over(stream: Stream, patience: Patience) -> Self {
        let (from, out) = tokio::io::split(stream);
        let now = Instant::now();
        Self { lines: Lines::new(from), out, patience, used: now, deadline: now + patience.call }
    }

    /// Not idle for too long, and neither ended nor speaking unasked.
    pub(super) fn is_fresh(&mut self) -> bool {
        self.used.elapsed() < self.patience.idle && self.lines.stirs().now_or_never().is_none()
    }

    /// From now on the site's time for a call counts.
    pub(super) fn begin(&mut self) {
        self.deadline = Instant::now() + self.patience.call;
    }

    pub(super) async fn send(&mut self, call: &Call) -> Result<(), Error> {
        self.begin();
        self.line_out(call).await
    }

    async fn line_out(&mut self, line: &(impl Serialize + Sync)) -> Result<(), Error> {
        match timeout(self.patience.silence, write_line(&mut self.out, line)).await {
            Ok(sent) => sent.map_err(|e| lost(&e)),
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// A call with bytes behind it.
    pub(super) async fn send_with(&mut self, call: &Call, body: &[u8]) -> Result<(), Error> {
        self.send(call).await?;
        let until = self.deadline + self.patience.of(body.len() as u64);
        let each = self.patience.silence;
        for piece in body.chunks(PIECE) {
            match timeout_at(until.min(Instant::now() + each), self.out.write_all(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Error::Dropped),
                Err(_) => return Err(Error::TimedOut),
            }
        }
        if !matches!(timeout(each, self.out.flush()).await, Ok(Ok(()))) {
            return Err(Error::Dropped);
        }
        self.begin();
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Called, Error> {
        match timeout_at(self.deadline, self.lines.next()).await {
            Ok(called) => called.map_err(|e| lost(&e)),
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// The next `bytes` bytes, handed on as they come: memory is taken for what is there, not for what was announced.
    pub(super) async fn bytes(
        &mut self,
        bytes: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.deadline += self.patience.of(bytes);
        let (mut left, mut piece) = (bytes, Vec::new());
        while left > 0 {
            piece.clear();
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let until = self.deadline.min(Instant::now() + self.patience.silence);
            let read = match timeout_at(until, self.lines.bytes(&mut piece, most)).await {
                Ok(read) => read.map_err(|e| lost(&e))?,
                Err(_) => return Err(Error::TimedOut),
            };
            each(&piece)?;
            left -= read as u64;
        }
        Ok(())
    }

    pub(super) async fn whole(&mut self, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        self.bytes(bytes, |piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        Ok(whole)
    }

    /// The end of a call without steps or values. The outer error ends the stream, the inner one is the box's.
    pub(super) async fn end(&mut self) -> Result<Result<Option<serde_json::Value>, Error>, Error> {
        match self.next().await? {
            Called::Done { answer } => {
                self.used = Instant::now();
                Ok(Ok(answer))
            }
            Called::Failed { error } => self.failed(&error).map(Err),
            Called::Began { .. }
            | Called::Read { .. }
            | Called::NotRead { .. }
            | Called::Value { .. }
            | Called::Missing { .. }
            | Called::Archive { .. } => Err(Error::SiteUnclear),
        }
    }

    /// What a call failed with: what the box said is the inner one. After a no of its own the site ends the stream.
    pub(super) fn failed(&mut self, error: &Broken) -> Result<Error, Error> {
        self.used = Instant::now();
        let error = Error::from_wire(&error.0);
        let ends = matches!(error, Error::SiteRefused { .. } | Error::SiteUnclear);
        if ends { Err(error) } else { Ok(error) }
    }
}

/// A line that broke leaves open what arrived; one that says something else was not believed.
fn lost(error: &BadLine) -> Error {
    match error {
        BadLine::Closed | BadLine::Broken(_) => Error::Dropped,
        BadLine::TooLong | BadLine::NotUnderstood(_) => Error::SiteUnclear,
    }
}
