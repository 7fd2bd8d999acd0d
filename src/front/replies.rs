//! What goes back: a channel as a [`Sink`], the order of its last frames, texts that every client can show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::Msg;

use crate::commands::{Gone, Sink};

/// RFC 4254 §5.2: `SSH_EXTENDED_DATA_STDERR`.
const STDERR: u32 = 1;

/// A session channel's outgoing side. Every write waits for the client's window; it may be called from a spawned task
/// only, never from russh's callbacks, which have to run for the window to open.
pub struct Outgoing {
    half: ChannelWriteHalf<Msg>,
    /// A terminal has one screen for both.
    merged: bool,
    ended: AtomicBool,
}

impl Outgoing {
    /// Takes a channel's write half; `merged` puts standard error into standard output, as a terminal does.
    pub fn new(half: ChannelWriteHalf<Msg>, merged: bool) -> Self {
        Self { half, merged, ended: AtomicBool::new(false) }
    }

    /// The last frames in their order: what was written, exit-status, EOF, CLOSE (RFC 4254 §6.10, §5.3).
    pub async fn end(&self, exit: u32) {
        let last = async {
            self.half.exit_status(exit).await?;
            self.half.eof().await?;
            // Before CLOSE: whoever has read it may open the next channel at once.
            self.ended.store(true, Ordering::SeqCst);
            self.half.close().await
        };
        // They wait behind other channels' data at most; a connection that takes nothing for so long is dead.
        match tokio::time::timeout(Duration::from_mins(1), last).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::debug!("end of a channel: {e}"),
            Err(_) => tracing::debug!("end of a channel: the client takes nothing"),
        }
    }
}

impl Outgoing {
    /// Is the channel closed from here? russh reports the client's CLOSE only if it came before ours.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Sink for Outgoing {
    async fn output(&self, data: Bytes) -> Result<(), Gone> {
        self.half.data_bytes(data).await.map_err(|_| Gone)
    }

    async fn errors(&self, data: Bytes) -> Result<(), Gone> {
        if self.merged {
            return self.output(data).await;
        }
        self.half.extended_data_bytes(STDERR, data).await.map_err(|_| Gone)
    }
}
