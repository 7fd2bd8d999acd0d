//! The person's own terminal: where sentences and data go, and where questions are asked; echo off for a password.
//! Absent on purpose: any other place to ask. Standard input that is no terminal answers nothing.

use std::io::{IsTerminal, Read, Write};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::commands::{Answers, Gone, Sink, harmless};
use crate::prompt::printable;

/// Standard output and standard error; on a terminal nothing that came from a box moves the cursor.
pub(super) struct Streams;

#[async_trait]
impl Sink for Streams {
    async fn output(&self, data: Bytes) -> Result<(), Gone> {
        let mut out = std::io::stdout();
        let shown = if out.is_terminal() { on_screen(&data) } else { data };
        out.write_all(&shown).and_then(|()| out.flush()).map_err(|_| Gone)
    }

    async fn errors(&self, data: Bytes) -> Result<(), Gone> {
        let mut out = std::io::stderr();
        let shown = if out.is_terminal() { on_screen(&data) } else { data };
        out.write_all(&shown).and_then(|()| out.flush()).map_err(|_| Gone)
    }

    async fn progress(&self, bar: &str, line: &str) -> Result<(), Gone> {
        show_progress(bar, line);
        Ok(())
    }
}

fn on_screen(data: &[u8]) -> Bytes {
    harmless(&String::from_utf8_lossy(data)).into()
}

/// A bar on a terminal, a line without one; who does not look loses it.
pub(super) fn show_progress(bar: &str, line: &str) {
    let mut out = std::io::stderr();
    let text = if out.is_terminal() {
        // Erase the line (ECMA-48 EL).
        format!("\r\x1b[K{}", printable(bar))
    } else if line.is_empty() {
        return;
    } else {
        format!("{}\n", printable(line))
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

/// Whether somebody can be asked.
pub(super) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The echo is off until it is dropped, whatever ends it.
struct Unechoed {
    before: Termios,
    answered: bool,
}

impl Unechoed {
    fn begin() -> Option<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut without = before.clone();
        without.local_modes.remove(LocalModes::ECHO);
        without.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHONL);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &without).ok()?;
        Some(Self { before, answered: false })
    }
}

impl Drop for Unechoed {
    fn drop(&mut self) {
        if !self.answered {
            // Half a password is shown to nobody: not by the echo, if the kernel has it still before it, nor by the shell.
            tcflush(rustix::stdio::stdin(), QueueSelector::IFlush).ok();
        }
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

/// A line typed without echo; `None`: nobody is there, or the input ended.
pub(crate) async fn hidden(question: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !is_there() {
        return None;
    }
    let mut unechoed = Unechoed::begin()?;
    let line = line(question).await;
    unechoed.answered = line.is_some();
    line
}

/// A line typed as others are.
pub(super) async fn answer(question: &str) -> Option<String> {
    if !is_there() {
        return None;
    }
    let line = line(question).await?;
    String::from_utf8(line.to_vec()).ok().map(|line| line.trim().to_owned())
}

async fn line(question: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = std::io::stderr();
    let question = format!("\r\x1b[K{}", harmless(question));
    out.write_all(question.as_bytes()).and_then(|()| out.flush()).ok()?;
    let (told, typed) = oneshot::channel();
    // A thread of its own: the runtime would wait for one of its own at the end, and nobody may type any more.
    std::thread::spawn(move || told.send(read_line()).ok());
    typed.await.ok().flatten()
}

/// Byte by byte: what is typed for the next question must stay there.
fn read_line() -> Option<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    let mut byte = [0];
    let mut input = Unbuffered;
    loop {
        match input.read(&mut byte) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => return Some(line),
            Ok(_) if byte == *b"\n" => return Some(line),
            Ok(_) => line.extend_from_slice(&byte),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), into)?)
    }
}

/// Who sits here.
pub(super) struct Person;

#[async_trait]
impl Answers for Person {
    async fn ask(&self, question: &str) -> Option<String> {
        answer(question).await
    }
}
