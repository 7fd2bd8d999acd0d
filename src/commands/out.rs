//! Where a command writes: data to standard output, everything else to standard error.
//! Absent on purpose: SSH. The front's channel, the prompt and a test are all a [`Sink`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::config::Language;

/// The client does not take any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

/// What takes the bytes. Each call waits until there is room; nothing is queued without bound.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Data.
    async fn output(&self, data: Bytes) -> Result<(), Gone>;
    /// Sentences, progress, errors.
    async fn errors(&self, data: Bytes) -> Result<(), Gone>;
}

/// What the person sees it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A terminal: lines end in CR LF, progress is a line that is written over.
    Screen,
    /// A program or a file: bytes as they are, progress a line per step.
    None,
}

/// A command's output.
#[derive(Clone)]
pub struct Out {
    sink: Arc<dyn Sink>,
    /// The language of sentences.
    pub language: Language,
    /// What the person sees it on.
    pub terminal: Terminal,
    bytes: Arc<AtomicU64>,
}

impl Out {
    /// Writes into `sink`.
    pub fn new(sink: Arc<dyn Sink>, language: Language, terminal: Terminal) -> Self {
        Self { sink, language, terminal, bytes: Arc::default() }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes data.
    pub async fn data(&self, data: impl Into<Bytes>) -> Result<(), Gone> {
        let data = self.framed(data.into());
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.sink.output(data).await
    }

    /// Writes a line of data.
    pub async fn line(&self, line: impl AsRef<str>) -> Result<(), Gone> {
        self.data(format!("{}\n", line.as_ref())).await
    }

    /// Writes a sentence for the person, on standard error.
    pub async fn say(&self, sentence: impl AsRef<str>) -> Result<(), Gone> {
        self.errors(format!("{}\n", sentence.as_ref())).await
    }

    /// Writes over the current line on a screen; without one, nothing.
    pub async fn over(&self, line: &str) -> Result<(), Gone> {
        match self.terminal {
            Terminal::Screen => self.errors(format!("\r\x1b[K{line}")).await,
            Terminal::None => Ok(()),
        }
    }

    async fn errors(&self, data: String) -> Result<(), Gone> {
        let data = self.framed(data.into());
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.sink.errors(data).await
    }

    /// `en` or `de`, as the person reads it.
    pub fn pick<'t>(&self, english: &'t str, german: &'t str) -> &'t str {
        match self.language {
            Language::English => english,
            Language::German => german,
        }
    }

    fn framed(&self, data: Bytes) -> Bytes {
        match self.terminal {
            Terminal::None => data,
            Terminal::Screen => {
                let mut framed = Vec::with_capacity(data.len() + 16);
                let mut last = 0;
                for &byte in &data {
                    if byte == b'\n' && last != b'\r' {
                        framed.push(b'\r');
                    }
                    framed.push(byte);
                    last = byte;
                }
                framed.into()
            }
        }
    }
}
