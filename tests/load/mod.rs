//! Machines to be reached through the gateway, and load that goes both ways.
//! Absent on purpose: the gateway.
#![allow(
    clippy::cast_possible_truncation,
    reason = "shared by several test files; helpers of tests are tests"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// A TCP server on loopback; gone when dropped.
pub struct Machine {
    pub address: SocketAddr,
    pub open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Machine {
    async fn serving<F, R>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = open.clone();
        let task = tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let open = Open(counted.clone());
                let serving = serve(stream);
                running.spawn(async move {
                    serving.await;
                    drop(open);
                });
            }
        });
        Self { address, open, task }
    }

    /// Gives back what it gets, one buffer at a time: it reads nothing while it cannot write.
    pub async fn echo() -> Self {
        Self::serving(|mut stream| async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n) = stream.read(&mut buffer).await {
                if n == 0 || stream.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
            stream.shutdown().await.ok();
        })
        .await
    }

    /// Takes all and says nothing.
    pub async fn sink() -> Self {
        Self::serving(|mut stream| async move {
            let mut buffer = vec![0; 64 << 10];
            while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        })
        .await
    }

    /// Takes all until its client has no more, and only then answers: how much it was, in eight bytes.
    pub async fn counting() -> Self {
        Self::serving(|mut stream| async move {
            let mut buffer = vec![0; 64 << 10];
            let mut count = 0_u64;
            while let Ok(n) = stream.read(&mut buffer).await
                && n > 0
            {
                count += n as u64;
            }
            // Long after: the other direction may take its time.
            tokio::time::sleep(Duration::from_millis(300)).await;
            stream.write_all(&count.to_be_bytes()).await.ok();
            stream.shutdown().await.ok();
        })
        .await
    }

    /// Says a word, has no more to say, and listens on; what it has heard is added to `heard`.
    pub async fn silenced(word: &'static [u8], heard: Arc<AtomicUsize>) -> Self {
        Self::serving(move |mut stream| {
            let heard = heard.clone();
            async move {
                stream.write_all(word).await.ok();
                stream.shutdown().await.ok();
                let mut buffer = vec![0; 64 << 10];
                while let Ok(n) = stream.read(&mut buffer).await
                    && n > 0
                {
                    heard.fetch_add(n, Ordering::SeqCst);
                }
            }
        })
        .await
    }

    /// Takes nothing; it notices when the connection is reset, for an end cannot come past what lies unread.
    pub async fn stuck() -> Self {
        Self::serving(|stream| async move {
            let either = tokio::io::Interest::READABLE | tokio::io::Interest::ERROR;
            while stream.ready(either).await.is_ok_and(|ready| !(ready.is_read_closed() || ready.is_error()))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Sends without an end, and reads nothing.
    pub async fn flood() -> Self {
        Self::serving(|mut stream| async move {
            let buffer = vec![7; 64 << 10];
            while stream.write_all(&buffer).await.is_ok() {}
        })
        .await
    }
}

/// When a reader does not read.
#[derive(Clone, Copy, Debug)]
pub enum Pauses {
    None,
    AtFirst(Duration),
    /// A few milliseconds each four MiB.
    NowAndThen,
}

/// The nth MiB of a stream that repeats nothing.
pub fn block(n: usize) -> Vec<u8> {
    let mut state = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut block = Vec::with_capacity(1 << 20);
    while block.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block
}

/// Sends `bytes` through a program's standard input and wants them back from its standard output, and then its end.
pub async fn echoed(program: Command, bytes: usize, pauses: Pauses) {
    echoed_within(program, bytes, pauses, Duration::from_mins(4)).await;
}

/// The same with another limit than four minutes.
pub async fn echoed_within(mut program: Command, bytes: usize, pauses: Pauses, limit: Duration) {
    let mut child = program.spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sending = tokio::spawn(async move {
        let mut sent = Sha256::new();
        for n in 0..bytes.div_ceil(1 << 20) {
            let block = block(n);
            let part = &block[..block.len().min(bytes - (n << 20))];
            to.write_all(part).await.unwrap();
            sent.update(part);
        }
        to.shutdown().await.unwrap();
        sent.finalize()
    });
    let reading = async {
        if let Pauses::AtFirst(pause) = pauses {
            tokio::time::sleep(pause).await;
        }
        let (mut got, mut count, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
        loop {
            let n = from.read(&mut buffer).await.unwrap();
            if n == 0 {
                break;
            }
            got.update(&buffer[..n]);
            if matches!(pauses, Pauses::NowAndThen) && (count >> 22) != ((count + n) >> 22) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            count += n;
        }
        (got.finalize(), count)
    };
    let (got, count) = tokio::time::timeout(limit, reading).await.expect("it stands still");
    let sent =
        tokio::time::timeout(Duration::from_secs(10), sending).await.expect("it takes no more").unwrap();
    assert_eq!(count, bytes);
    assert_eq!(got, sent);
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.expect("no end").unwrap();
    assert!(status.success(), "{status}");
}

/// This process's resident memory: the gateway's, for it runs in the test's own process.
pub struct Memory(usize);

impl Memory {
    pub fn now() -> Self {
        Self(resident())
    }

    pub fn grew_less_than(&self, bytes: usize) {
        let grown = resident().saturating_sub(self.0);
        assert!(grown < bytes, "grew by {} KiB", grown >> 10);
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
