//! Where a command writes: data to standard output, everything else to standard error.
//! Absent on purpose: SSH. The front's channel, the prompt and a test are all a [`Sink`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::config::Language;
use crate::prompt::{crlf, printable};

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
    /// How far it is, for whoever looks later: as a bar, and as a line.
    async fn progress(&self, _bar: &str, _line: &str) -> Result<(), Gone> {
        Ok(())
    }
}

/// What the person sees it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A terminal: lines end in CR LF, progress is a line that is written over, control characters are made visible.
    Screen,
    /// A program or a file: bytes as they are, progress a line per step.
    None,
    /// A job's log: shown later, on what the person then has.
    Later,
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

    /// Writes one JSON value as a line of data, for programs.
    pub async fn json(&self, value: &serde_json::Value) -> Result<(), Gone> {
        self.line(value.to_string()).await
    }

    /// Writes a sentence for the person, on standard error.
    pub async fn say(&self, sentence: impl AsRef<str>) -> Result<(), Gone> {
        self.errors(format!("{}\n", sentence.as_ref())).await
    }

    /// Writes over the current line on a screen; without one, nothing.
    pub async fn over(&self, line: &str) -> Result<(), Gone> {
        match self.terminal {
            // Erase the line (ECMA-48 EL): the one escape that is ours.
            Terminal::Screen => self.send(format!("\r\x1b[K{}", printable(line)).into()).await,
            Terminal::None | Terminal::Later => Ok(()),
        }
    }

    /// How far it is: `bar` written over the line on a screen, `line` as a line of its own without one.
    pub async fn progress(&self, bar: &str, line: &str) -> Result<(), Gone> {
        match self.terminal {
            Terminal::Screen => self.over(bar).await,
            Terminal::None if line.is_empty() => Ok(()),
            Terminal::None => self.say(line).await,
            Terminal::Later => self.sink.progress(bar, line).await,
        }
    }

    /// Sentences that were framed for nobody yet.
    pub async fn say_bytes(&self, data: Bytes) -> Result<(), Gone> {
        self.send(self.framed(data)).await
    }

    async fn errors(&self, data: String) -> Result<(), Gone> {
        self.send(self.framed(data.into())).await
    }

    async fn send(&self, data: Bytes) -> Result<(), Gone> {
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

    /// On a screen nothing but lines and tabs moves the cursor: what came from a box or a file could speak to it.
    fn framed(&self, data: Bytes) -> Bytes {
        match self.terminal {
            Terminal::None | Terminal::Later => data,
            Terminal::Screen => crlf(&harmless(&String::from_utf8_lossy(&data))),
        }
    }
}

/// All that is not printable made visible, but for newlines, CR LF and tabs.
pub(crate) fn harmless(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines
        .map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<u8>>);

    #[async_trait]
    impl Sink for Heard {
        async fn output(&self, data: Bytes) -> Result<(), Gone> {
            self.0.lock().unwrap().extend_from_slice(&data);
            Ok(())
        }
        async fn errors(&self, data: Bytes) -> Result<(), Gone> {
            self.output(data).await
        }
    }

    async fn heard(terminal: Terminal, data: &[u8]) -> Vec<u8> {
        let sink = Arc::new(Heard::default());
        let out = Out::new(sink.clone(), Language::English, terminal);
        out.data(data.to_vec()).await.unwrap();
        let heard = sink.0.lock().unwrap().clone();
        assert_eq!(out.bytes(), heard.len() as u64);
        heard
    }

    const EVIL: &[u8] = b"a\tb\x1b]0;x\x07\r\x9b\xc2\x9b2J\nnext\r\n";

    #[tokio::test]
    async fn no_escape_of_data_or_of_a_sentence_reaches_a_screen() {
        let shown = heard(Terminal::Screen, EVIL).await;
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown, "a\tb\\u{1b}]0;x\\u{7}\\u{d}\u{fffd}\\u{9b}2J\r\nnext\r\n");
        let sink = Arc::new(Heard::default());
        let out = Out::new(sink.clone(), Language::English, Terminal::Screen);
        out.say("no\x1b[2J").await.unwrap();
        out.over("50 %\x1b[2J\r\n").await.unwrap();
        let said = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said, "no\\u{1b}[2J\r\n\r\x1b[K50 %\\u{1b}[2J\\u{d}\\u{a}");
    }

    #[tokio::test]
    async fn a_program_gets_data_byte_for_byte() {
        assert_eq!(heard(Terminal::None, EVIL).await, EVIL);
    }
}
