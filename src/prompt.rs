//! The interactive prompt on a client's terminal: lines are edited here, bytes in, bytes out.
//! Absent on purpose: SSH, policy, any thread, any file, any question to the terminal that might stay unanswered.

mod editor;
mod keyboard;
mod keys;
mod screen;
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use editor::{Editor, Step};
use keyboard::Shared;
pub use keyboard::{Keyboard, Typed};
use keys::Decoder;
use screen::Screen;
pub use text::{crlf, printable};

/// Keys worked off before the screen is drawn again and others get their turn.
const KEYS_AT_A_TIME: usize = 4096;
/// How long the last output waits for a client that hung up.
const PARTING: Duration = Duration::from_secs(1);

/// A terminal's size in characters. A side of 0 is unknown: 80 and 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters a row; taken as at least 20, at most 500.
    pub cols: u16,
    /// Rows; taken as at least 5, at most 200.
    pub rows: u16,
}

impl Size {
    fn fitted(self) -> Self {
        let or = |side, unknown| if side == 0 { unknown } else { side };
        Self { cols: or(self.cols, 80).clamp(20, 500), rows: or(self.rows, 24).clamp(5, 200) }
    }
}

/// What reading a line came to.
#[derive(Clone, PartialEq, Eq)]
pub enum Read {
    /// Enter. At most 8 KiB, without line end or control characters.
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D on an empty line, or the client is gone, or the prompt broke.
    End,
}

/// The line itself stays out of it: it may be secret.
impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Line(_) => "Line(…)",
            Self::Interrupted => "Interrupted",
            Self::End => "End",
        })
    }
}

/// The session's side: asks for lines.
pub struct Prompt {
    shared: Arc<Shared>,
    output: mpsc::Sender<Bytes>,
    decoder: Decoder,
    editor: Editor,
    screen: Screen,
    pastes_bracketed: bool,
    broken: bool,
}

impl Prompt {
    /// A prompt for a terminal of the client's TERM and size, writing to `output`, and its keyboard. TERM is
    /// only compared with a list; what is not in it gets a prompt of one row that needs CR alone.
    pub fn open(term: &str, size: Size, output: mpsc::Sender<Bytes>) -> (Self, Keyboard) {
        let (shared, keyboard) = keyboard::keyboard(&output);
        let prompt = Self {
            shared,
            output,
            decoder: Decoder::new(),
            editor: Editor::new(),
            screen: Screen::new(term, size.fitted()),
            pastes_bracketed: false,
            broken: false,
        };
        (prompt, keyboard)
    }

    /// Shows `prompt` and reads a line. The history keeps it, 1,000 lines and 64 KiB in all, unless it is empty,
    /// begins with a space or repeats the one before. Dropping the future drops the line half typed.
    pub async fn read_line(&mut self, prompt: &str) -> Read {
        self.editor.start(false);
        self.read(prompt, false).await
    }

    /// The same for a secret: nothing typed is shown, kept in the history, or left in this object's memory.
    pub async fn read_secret(&mut self, prompt: &str) -> Read {
        self.editor.start(true);
        self.read(prompt, true).await
    }

    /// What Tab completes: words, or phrases of several.
    pub fn set_completions(&mut self, words: Vec<String>) {
        self.editor.set_words(words);
    }

    /// Takes the last kept line out of the history, for one that turned out to hold a secret.
    pub fn forget_last(&mut self) {
        self.editor.forget_last();
    }

    async fn read(&mut self, prompt: &str, secret: bool) -> Read {
        let (reading, interrupted) = self.shared.read();
        if interrupted {
            // The key never came by here; it also ends a paste that has no end.
            self.decoder = Decoder::new();
        }
        let read = self.read_keys(prompt, secret).await;
        self.editor.finish();
        drop(reading);
        read
    }

    async fn read_keys(&mut self, prompt: &str, secret: bool) -> Read {
        let mut out = Vec::new();
        if !self.pastes_bracketed {
            out.extend_from_slice(self.screen.bracket_pastes(true));
            self.pastes_bracketed = true;
        }
        self.screen.start(prompt);
        self.screen.draw(&mut out, "", "");
        while !self.broken {
            if !out.is_empty() && !self.send(std::mem::take(&mut out)).await {
                return Read::End;
            }
            // Asked first: what was typed before the client went is worked off before its going is believed.
            let gone = self.shared.is_gone();
            let turn = catch_unwind(AssertUnwindSafe(|| self.press_keys(&mut out, secret)));
            match turn {
                Ok(Turn::Read(read)) => {
                    return if self.send(out).await { read } else { Read::End };
                }
                Ok(Turn::MoreWaits) => tokio::task::yield_now().await,
                Ok(Turn::AllRead) if !out.is_empty() => {}
                Ok(Turn::AllRead) if gone => return Read::End,
                Ok(Turn::AllRead) => tokio::select! {
                    () = self.shared.wake.notified() => {}
                    () = self.output.closed() => return Read::End,
                },
                // The panic hook has told it; this prompt has no state to be trusted any more.
                Err(_) => self.broken = true,
            }
        }
        Read::End
    }

    /// Works off what is typed, then draws once.
    fn press_keys(&mut self, out: &mut Vec<u8>, secret: bool) -> Turn {
        let mut stale = false;
        let mut bell = false;
        if let Some(size) = self.shared.resized() {
            let before = if secret { "" } else { self.editor.halves().0 };
            self.screen.resize(size, before);
            stale = true;
        }
        let mut turn = Turn::MoreWaits;
        for _ in 0..KEYS_AT_A_TIME {
            let Some(byte) = self.shared.next() else {
                turn = Turn::AllRead;
                break;
            };
            let Some(key) = self.decoder.push(byte) else { continue };
            let step = self.editor.press(key);
            let (before, behind) = if secret { ("", "") } else { self.editor.halves() };
            match step {
                Step::Nothing => {}
                Step::Edited => stale = true,
                Step::Bell if bell => {}
                Step::Bell => {
                    out.push(0x07);
                    bell = true;
                }
                Step::ClearScreen => {
                    self.screen.clear(out);
                    stale = true;
                }
                Step::Choices(words) => {
                    let line = [before, behind].concat();
                    self.screen.list(out, &line, &words);
                    stale = true;
                }
                Step::Accepted => {
                    let line = [before, behind].concat();
                    self.screen.finish(out, &line, "");
                    return Turn::Read(Read::Line(self.editor.take()));
                }
                Step::Interrupted => {
                    let line = [before, behind].concat();
                    self.screen.finish(out, &line, "^C");
                    return Turn::Read(Read::Interrupted);
                }
                Step::End => {
                    self.screen.finish(out, "", "");
                    return Turn::Read(Read::End);
                }
            }
        }
        if stale {
            let (before, behind) = if secret { ("", "") } else { self.editor.halves() };
            self.screen.draw(out, before, behind);
        }
        turn
    }

    /// Waits for the client to read. False: it never will.
    async fn send(&self, bytes: Vec<u8>) -> bool {
        let bytes = Bytes::from(bytes);
        while !self.shared.is_gone() {
            tokio::select! {
                permit = self.output.reserve() => return permit.map(|p| p.send(bytes)).is_ok(),
                // Keys are looked for after this anyway; here only a hang-up counts.
                () = self.shared.wake.notified() => {}
            }
        }
        tokio::time::timeout(PARTING, self.output.send(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }
}

impl Drop for Prompt {
    /// Gives the terminal back as it was, if the client still reads.
    fn drop(&mut self) {
        let off = self.screen.bracket_pastes(false);
        if self.pastes_bracketed && !off.is_empty() {
            self.output.try_send(Bytes::from_static(off)).ok();
        }
    }
}

enum Turn {
    Read(Read),
    /// Nothing is left to read for now.
    AllRead,
    MoreWaits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_own_prompt_only() {
        let (output, mut shown) = mpsc::channel(4);
        let (mut prompt, keyboard) = Prompt::open("xterm", Size { cols: 80, rows: 24 }, output);
        prompt.editor.faulty = true;
        assert_eq!(keyboard.type_bytes(b"x"), Typed::Taken);
        assert_eq!(prompt.read_line("> ").await, Read::End);
        prompt.editor.faulty = false;
        while shown.try_recv().is_ok() {}
        assert_eq!(prompt.read_line("> ").await, Read::End);
    }
}
