//! The technician's side of a relayed channel: a channel of the inner session, or the gateway's own prompt.
//! Absent on purpose: what they say. That comes by the inbox.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::server::{self, Msg};
use russh::{ChannelWriteHalf, Sig};

use crate::commands::{Gone, Sink};

/// RFC 4254 §5.2: `SSH_EXTENDED_DATA_STDERR`.
const STDERR: u32 = 1;

/// Where the host's words go.
pub enum Client {
    /// A session channel of the inner session.
    Channel {
        /// For replies to requests.
        handle: server::Handle,
        /// For everything else.
        out: ChannelWriteHalf<Msg>,
        /// One screen for both streams.
        on_terminal: bool,
    },
    /// The screen of the gateway's own prompt; the prompt goes on when this ends.
    Prompt(Arc<dyn Sink>),
}

impl Client {
    /// Data, as it came.
    pub async fn data(&self, data: Bytes) -> Result<(), Gone> {
        match self {
            Client::Channel { out, .. } => out.data_bytes(data).await.map_err(|_| Gone),
            Client::Prompt(screen) => screen.output(data).await,
        }
    }

    /// Extended data of a kind; a prompt's screen shows all kinds.
    pub async fn extended(&self, kind: u32, data: Bytes) -> Result<(), Gone> {
        match self {
            Client::Channel { out, .. } => out.extended_data_bytes(kind, data).await.map_err(|_| Gone),
            Client::Prompt(screen) => screen.output(data).await,
        }
    }

    /// A sentence of ours. A client that takes nothing is not waited for.
    pub async fn say(&self, sentence: &str) {
        let saying = async {
            match self {
                Client::Channel { on_terminal: false, .. } => {
                    self.extended(STDERR, format!("{sentence}\n").into()).await
                }
                Client::Channel { on_terminal: true, .. } | Client::Prompt(_) => {
                    self.data(format!("{sentence}\r\n").into()).await
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), saying).await.ok();
    }

    /// How the command died.
    pub async fn exit_signal(&self, signal: Sig, core_dumped: bool, message: String, language: String) {
        match self {
            Client::Channel { handle, out, .. } => {
                handle.exit_signal_request(out.id(), signal, core_dumped, message, language).await.ok();
            }
            Client::Prompt(_) => {}
        }
    }

    /// The last frames in their order: exit-status, EOF, CLOSE (RFC 4254 §6.10, §5.3).
    pub async fn end(&self, code: Option<u32>) {
        let Client::Channel { out, .. } = self else { return };
        let last = async {
            if let Some(code) = code {
                out.exit_status(code).await?;
            }
            out.eof().await?;
            out.close().await
        };
        tokio::time::timeout(Duration::from_mins(1), last).await.ok();
    }

    /// Yes to the request that started something.
    pub async fn accept(&self) {
        if let Client::Channel { handle, out, .. } = self {
            handle.channel_success(out.id()).await.ok();
        }
    }

    /// No to it.
    pub async fn refuse(&self) {
        if let Client::Channel { handle, out, .. } = self {
            handle.channel_failure(out.id()).await.ok();
        }
    }
}
