//! Streams over one connection: yamux, driven by a task of its own that always reads, so that no stream's reader holds up another.
//! Absent on purpose: what a stream is for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use yamux::{Config, Connection, Mode};

/// Ends of one connection: opens streams, and takes those of the other side.
pub struct Mux {
    wishes: mpsc::Sender<oneshot::Sender<Result<Stream, MuxError>>>,
    /// Boxed: a queue has room for 32 of whatever it holds from its beginning, and most links never get one.
    coming: mpsc::Receiver<Box<Stream>>,
    gone: CancellationToken,
    driver: JoinHandle<()>,
}

/// Streams that may still arrive while the last words are sent; they are dropped.
const LATE: usize = 16;

/// How much one connection may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Streams at once, of both sides together.
    pub streams: usize,
    /// Bytes that all of them together may hold unread.
    pub window: usize,
}

impl Bounds {
    /// 64 streams; 256 KiB each, and 16 MiB more among those that are fast and far away.
    pub const ORDINARY: Self = Self { streams: 64, window: (64 * 256 + (16 << 10)) << 10 };
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// The connection has ended.
    #[error("link-gone")]
    Gone,
    /// As many as there may be are open.
    #[error("too-many-streams")]
    TooMany,
}

/// One stream; each direction ends by itself.
pub struct Stream {
    inner: Compat<yamux::Stream>,
    _turn: Turn,
}

/// Counts a stream while it lives.
struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mux {
    /// Over `io`. The side that dialled is the client. Ends when the connection does, or when `self` and all streams are dropped.
    pub fn new<T>(io: T, client: bool, bounds: Bounds) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut config = Config::default();
        // In this order: each checks itself against the other.
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(bounds.streams);
        config.set_max_connection_receive_window(Some(bounds.window.max(bounds.streams * (256 << 10))));
        let mode = if client { Mode::Client } else { Mode::Server };
        let connection = Connection::new(io.compat(), config, mode);
        let (wishes, coming_wishes) = mpsc::channel(4);
        let (arrived, coming) = mpsc::channel(4);
        let gone = CancellationToken::new();
        let driver = Driver {
            connection,
            wished: coming_wishes,
            wish: None,
            arrived,
            open: Arc::default(),
            most: bounds.streams,
            cut: Box::pin(gone.clone().cancelled_owned()),
            gone: gone.clone(),
        };
        let driver = tokio::spawn(driver);
        Self { wishes, coming, gone, driver }
    }

    /// Opens a stream; the other side learns of it with the first byte.
    ///
    /// # Errors
    /// [`MuxError`]
    pub async fn open(&self) -> Result<Stream, MuxError> {
        self.opener().open().await
    }

    /// What opens streams, apart from what takes them.
    pub fn opener(&self) -> Opener {
        Opener { wishes: self.wishes.clone() }
    }

    /// The next stream of the other side; `None`: the connection has ended.
    pub async fn next(&mut self) -> Option<Stream> {
        self.coming.recv().await.map(|stream| *stream)
    }

    /// Cancelled when the connection has ended. Cancel it to end the connection: what was written before is still handed
    /// over if that takes no wait, and all streams are cut.
    pub fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Ends the connection, as cancelling [`Mux::gone`] does, and returns when that is done.
    pub async fn leave(self) {
        self.gone.cancel();
        self.driver.await.ok();
    }
}

/// Opens streams.
#[derive(Clone)]
pub struct Opener {
    wishes: mpsc::Sender<oneshot::Sender<Result<Stream, MuxError>>>,
}

impl Opener {
    /// As [`Mux::open`].
    ///
    /// # Errors
    /// [`MuxError`]
    pub async fn open(&self) -> Result<Stream, MuxError> {
        let (answer, answered) = oneshot::channel();
        self.wishes.send(answer).await.map_err(|_| MuxError::Gone)?;
        answered.await.map_err(|_| MuxError::Gone)?
    }
}

struct Driver<T> {
    connection: Connection<Compat<T>>,
    wished: mpsc::Receiver<oneshot::Sender<Result<Stream, MuxError>>>,
    wish: Option<oneshot::Sender<Result<Stream, MuxError>>>,
    arrived: mpsc::Sender<Box<Stream>>,
    open: Arc<AtomicUsize>,
    most: usize,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    gone: CancellationToken,
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn counted(&self, stream: yamux::Stream) -> Stream {
        self.open.fetch_add(1, Ordering::Relaxed);
        Stream { inner: stream.compat(), _turn: Turn(Arc::clone(&self.open)) }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.cut.as_mut().poll(cx).is_ready() {
            // The last words. Not by yamux's own close: it leaves those who read from a stream asleep.
            for _ in 0..LATE {
                if !matches!(this.connection.poll_next_inbound(cx), Poll::Ready(Some(Ok(_)))) {
                    break;
                }
            }
            return Poll::Ready(());
        }
        loop {
            let mut moved = false;
            if this.wish.is_none()
                && let Poll::Ready(Some(wish)) = this.wished.poll_recv(cx)
            {
                this.wish = Some(wish);
            }
            if let Some(wish) = this.wish.take() {
                if this.open.load(Ordering::Relaxed) >= this.most {
                    wish.send(Err(MuxError::TooMany)).ok();
                    moved = true;
                } else {
                    match this.connection.poll_new_outbound(cx) {
                        Poll::Ready(Ok(stream)) => {
                            wish.send(Ok(this.counted(stream))).ok();
                            moved = true;
                        }
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => this.wish = Some(wish),
                    }
                }
            }
            match this.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => {
                    let stream = Box::new(this.counted(stream));
                    // Nobody takes it in time: dropped, and the other side learns that.
                    if let Err(e) = this.arrived.try_send(stream) {
                        tracing::debug!("a stream of a link is dropped: {e}");
                    }
                    moved = true;
                }
                Poll::Ready(Some(Err(e))) => {
                    tracing::debug!("link: {e}");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair(bounds: Bounds) -> (Mux, Mux) {
        let (a, b) = tokio::io::duplex(16 << 10);
        (Mux::new(a, true, bounds), Mux::new(b, false, bounds))
    }

    #[tokio::test]
    async fn a_stuck_stream_stops_no_other_and_each_direction_ends_by_itself() {
        let (a, mut b) = pair(Bounds::ORDINARY);
        let mut stuck = a.open().await.unwrap();
        let filling = tokio::spawn(async move {
            // More than its window, and nobody reads.
            stuck.write_all(&vec![1; 4 << 20]).await.ok();
        });
        let _unread = b.next().await.unwrap();
        let mut one = a.open().await.unwrap();
        let echo = tokio::spawn(async move {
            let mut two = b.next().await.unwrap();
            let mut all = Vec::new();
            two.read_to_end(&mut all).await.unwrap();
            two.write_all(&all).await.unwrap();
            two.shutdown().await.unwrap();
            b
        });
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        one.write_all(&sent).await.unwrap();
        one.shutdown().await.unwrap();
        let mut back = Vec::new();
        one.read_to_end(&mut back).await.unwrap();
        assert!(back == sent);
        assert!(!filling.is_finished());
        filling.abort();
        drop(echo.await.unwrap());
    }

    #[tokio::test]
    async fn the_last_words_are_heard_and_who_does_not_listen_holds_nobody_up() {
        // One worker: nothing is sent by chance between the word and the end.
        let (a, mut b) = pair(Bounds::ORDINARY);
        let mut word = a.open().await.unwrap();
        word.write_all(b"closed").await.unwrap();
        a.leave().await;
        let mut heard = Vec::new();
        b.next().await.unwrap().read_to_end(&mut heard).await.ok();
        assert_eq!(heard, b"closed");

        let (deaf, _ears) = tokio::io::duplex(8);
        let a = Mux::new(deaf, true, Bounds::ORDINARY);
        let mut word = a.open().await.unwrap();
        word.write_all(b"closed").await.unwrap();
        let reader = tokio::spawn(async move { word.read(&mut [0]).await });
        a.leave().await;
        assert_eq!(reader.await.unwrap().unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn streams_are_bounded_and_the_end_of_the_connection_is_theirs() {
        let (a, b) = pair(Bounds { streams: 3, window: 1 << 20 });
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut stream = a.open().await.unwrap();
            stream.write_all(b"x").await.unwrap();
            held.push(stream);
        }
        assert_eq!(a.open().await.err(), Some(MuxError::TooMany));
        b.gone().cancel();
        assert_eq!(held[0].read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);
        a.gone().cancelled().await;
        assert_eq!(a.open().await.err(), Some(MuxError::Gone));
    }
}
