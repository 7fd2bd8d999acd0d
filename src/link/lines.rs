//! A JSON line at a time, bounded on both sides. Absent on purpose: what it says.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why a line does not count; whoever sent it has ended the link with it.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// The other side closed, or the link broke.
    #[error("closed")]
    Closed,
    /// It is longer than any line of this protocol.
    #[error("line-too-long")]
    TooLong,
    /// It says nothing that is known; the text is serde's, which names the place and not the value.
    #[error("not-understood: line 1 column {0}")]
    NotUnderstood(usize),
    /// The link broke.
    #[error("broken: {0}")]
    Broken(#[from] std::io::Error),
}

/// The longest line: an ask, a lease with all its grants, a line of the journal.
pub const LONGEST: usize = 64 << 10;

/// So many bytes at once.
const READ: usize = 64 << 10;

/// Reads lines off a stream. What is read ahead stays in here.
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    searched: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Over `from`.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), searched: 0 }
    }

    /// The next line as `T`; `BadLine::Closed` at the end. Cancelling it loses nothing.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, BadLine> {
        loop {
            let new = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', new) {
                let end = self.searched + at;
                let parsed = serde_json::from_slice(self.buffer.get(..end).unwrap_or_default());
                self.buffer.drain(..=end);
                self.searched = 0;
                if self.buffer.is_empty() {
                    // An idle link holds no buffer.
                    self.buffer = Vec::new();
                }
                return parsed.map_err(|e| BadLine::NotUnderstood(e.column()));
            }
            self.searched = self.buffer.len();
            if self.searched > LONGEST {
                return Err(BadLine::TooLong);
            }
            self.buffer.reserve(1024);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(BadLine::Closed);
            }
        }
    }

    /// The next bytes, which are no line, appended to `into`: at least one and at most `most`; gives how many. Cancelling it loses
    /// nothing.
    ///
    /// # Errors
    /// [`BadLine::Closed`] at the end.
    pub async fn bytes(&mut self, into: &mut Vec<u8>, most: usize) -> Result<usize, BadLine> {
        let ahead = self.buffer.len().min(most);
        if ahead > 0 {
            into.extend(self.buffer.drain(..ahead));
            self.searched = 0;
            return Ok(ahead);
        }
        into.reserve(most.min(READ));
        let mut limited = (&mut self.from).take(most as u64);
        match limited.read_buf(into).await? {
            0 => Err(BadLine::Closed),
            read => Ok(read),
        }
    }

    /// Returns when the other side says something, or ends. Cancelling it loses nothing.
    pub async fn stirs(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.reserve(1024);
            // An end or an error is met again by whoever reads next.
            self.from.read_buf(&mut self.buffer).await.ok();
        }
    }

    /// The stream, and what was read of it beyond the last line.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        (self.from, self.buffer)
    }
}

/// Reads one line byte by byte, so that nothing after it is taken: what follows is not lines.
pub async fn read_line<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<T, BadLine> {
    let mut line = Vec::new();
    loop {
        match from.read_u8().await {
            Ok(b'\n') => {
                return serde_json::from_slice(&line).map_err(|e| BadLine::NotUnderstood(e.column()));
            }
            Ok(byte) if line.len() < LONGEST => line.push(byte),
            Ok(_) => return Err(BadLine::TooLong),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(BadLine::Closed),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Writes one line and sends it off.
///
/// # Errors
/// [`BadLine::TooLong`] for one that the other side would not take; nothing is written then.
pub async fn write_line(
    to: &mut (impl AsyncWrite + Unpin),
    what: &(impl Serialize + Sync),
) -> Result<(), BadLine> {
    let mut line = serde_json::to_vec(what).map_err(|e| BadLine::NotUnderstood(e.column()))?;
    if line.len() > LONGEST {
        return Err(BadLine::TooLong);
    }
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut_and_too_long_ones_end_it() {
        let (mut to, from) = tokio::io::duplex(7);
        let sender = tokio::spawn(async move {
            write_line(&mut to, &"one").await.unwrap();
            to.write_all(b"[1,").await.unwrap();
            to.write_all(b"2]\n{\n").await.unwrap();
            to.write_all(&vec![b'x'; LONGEST + 2048]).await.ok();
        });
        let mut lines = Lines::new(from);
        assert_eq!(lines.next::<String>().await.unwrap(), "one");
        assert_eq!(lines.next::<Vec<u32>>().await.unwrap(), [1, 2]);
        assert!(matches!(lines.next::<String>().await, Err(BadLine::NotUnderstood(_))));
        assert!(matches!(lines.next::<String>().await, Err(BadLine::TooLong)));
        drop(lines);
        sender.await.unwrap();
        assert!(matches!(write_line(&mut Vec::new(), &"x".repeat(LONGEST)).await, Err(BadLine::TooLong)));
    }

    #[tokio::test]
    async fn bytes_behind_a_line_are_taken_as_many_as_wanted_and_the_next_line_is_whole() {
        let (mut to, from) = tokio::io::duplex(1 << 10);
        to.write_all(b"\"one\"\nab\ncd\"two\"\n").await.unwrap();
        drop(to);
        let mut lines = Lines::new(from);
        assert_eq!(lines.next::<String>().await.unwrap(), "one");
        let mut bytes = Vec::new();
        while bytes.len() < 5 {
            let left = 5 - bytes.len();
            lines.bytes(&mut bytes, left).await.unwrap();
        }
        assert_eq!(bytes, b"ab\ncd");
        lines.stirs().await;
        assert_eq!(lines.next::<String>().await.unwrap(), "two");
        lines.stirs().await;
        assert!(matches!(lines.bytes(&mut bytes, 1).await, Err(BadLine::Closed)));
    }

    #[tokio::test]
    async fn a_single_line_takes_nothing_of_what_follows() {
        let mut from: &[u8] = b"\"head\"\nbytes";
        assert_eq!(read_line::<String>(&mut from).await.unwrap(), "head");
        assert_eq!(from, b"bytes");
        assert!(matches!(read_line::<String>(&mut from).await, Err(BadLine::Closed)));
    }
}
