//! Which lines a person typed: exactly, where the target's shell marks them; else as the screen shows them when Enter is pressed.
//! Absent on purpose: the keys themselves. What was not echoed, a password, is on no screen and so in no line.
//!
//! When the first key of a line comes, what stands left of the cursor is the prompt. When Enter has been pressed and its line feed
//! arrives, the line that the cursor is about to leave is read and the prompt taken off; so history, completion and editing
//! need no understanding. The keys serve to tell an echo from a program's output: lines typed ahead (a paste, a slow link) wait until
//! the screen shows them, for the shell shows each at its own prompt. With marks the line is the shell's own word (633;E), or what the
//! screen showed between B and C. In the alternate screen (vi, less, tmux) lines are not read; that it was entered and left is noted.

mod marked;
mod reading;

use std::collections::VecDeque;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::keys::{Key, Keys};
use super::marks;
use super::scan::{Kind, Scanner, Token};
use super::screen::{Prompt, Screen};

/// The most bytes of a line.
pub const LINE_MAX: usize = 8 * 1024;
/// So many lines may be typed ahead of what the screen shows.
const AHEAD_MAX: usize = 256;
/// So much output may come before a line typed ahead is given up.
const AHEAD_BYTES: usize = 4 << 20;
/// A key so long after the one before is no part of a paste.
const PAUSE_MS: i128 = 200;
/// C comes at once after Enter; after this it does not come.
const NO_MARK_MS: i128 = 1000;

/// How a line was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obtained {
    /// From the shell's own marks.
    Marks,
    /// From what the screen showed.
    Screen,
}

impl Obtained {
    /// The word in the journal's field `obtained`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Obtained::Marks => "marks",
            Obtained::Screen => "screen",
        }
    }
}

/// A line that a person typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The line, at most 8 KiB, without control characters; a marked one may have line feeds in it.
    pub line: String,
    /// How it was obtained.
    pub how: Obtained,
    /// Whether its beginning or end may be missing: it was longer than 8 KiB or than the screen.
    pub cut: bool,
}

/// What is worth writing down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Typed(Typed),
    Remark(String),
}

/// A line in the making.
struct Entry {
    /// None: typed ahead, its prompt is not shown yet.
    prompt: Option<Prompt>,
    /// Where other output may have stood between prompt and line, only the cursor's own line counts.
    doubtful: bool,
    /// What the keys say, as long as they are plain.
    typed: Option<Zeroizing<String>>,
    pasted_newlines: usize,
    /// Whether the screen showed more than the prompt when Enter was pressed.
    echoed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No mark came, or a command runs.
    Unmarked,
    /// Between A and C.
    Prompt,
}

pub(super) struct Lines {
    scanner: Scanner,
    screen: Screen,
    keys: Keys,
    full_screen: bool,
    entry: Option<Entry>,
    waiting: VecDeque<Entry>,
    /// Output since something waits, in bytes.
    waited: usize,
    output_since_enter: bool,
    last_key: Timestamp,
    last_prompt: String,
    phase: Phase,
    marked_prompt: Option<Prompt>,
    /// Rows read between B and C.
    collected: Vec<Typed>,
    collected_at: Timestamp,
    /// Enters that no marked line has come for.
    enters: usize,
}

impl Lines {
    pub(super) fn new(cols: u16, rows: u16) -> Self {
        Self {
            scanner: Scanner::new(),
            screen: Screen::new(cols, rows),
            keys: Keys::new(),
            full_screen: false,
            entry: None,
            waiting: VecDeque::new(),
            waited: 0,
            output_since_enter: false,
            last_key: Timestamp::UNIX_EPOCH,
            last_prompt: String::new(),
            phase: Phase::Unmarked,
            marked_prompt: None,
            collected: Vec::new(),
            collected_at: Timestamp::UNIX_EPOCH,
            enters: 0,
        }
    }

    /// The terminal's new size.
    pub(super) fn resize(&mut self, cols: u16, rows: u16) {
        self.screen.resize(cols, rows);
    }

    /// What the person's terminal sent.
    pub(super) fn input(&mut self, bytes: &[u8], now: Timestamp) -> Vec<Noted> {
        let mut noted = Vec::new();
        if !self.collected.is_empty() && since(self.collected_at, now) >= NO_MARK_MS {
            self.release(&mut noted);
        }
        let mut keys = std::mem::replace(&mut self.keys, Keys::new());
        keys.feed(bytes, |key| self.key(key, now, &mut noted));
        self.keys = keys;
        noted
    }

    fn key(&mut self, key: Key, now: Timestamp, noted: &mut Vec<Noted>) {
        let pause = since(self.last_key, now) >= PAUSE_MS;
        self.last_key = now;
        if self.full_screen {
            self.enters = self.enters.saturating_add(usize::from(key == Key::Enter)).min(AHEAD_MAX);
            return;
        }
        if key == Key::Interrupt {
            self.entry = None;
            // The terminal's line discipline forgets what was typed ahead.
            self.waiting.retain(|entry| entry.prompt.is_some());
            return;
        }
        let mut entry = match self.entry.take() {
            Some(entry) => entry,
            None => self.begin(pause),
        };
        match key {
            Key::Character(c) => {
                if entry.typed.as_ref().is_some_and(|typed| typed.len() + 4 > LINE_MAX) {
                    entry.typed = None;
                }
                if let Some(typed) = &mut entry.typed {
                    typed.push(c);
                }
            }
            Key::Erase => {
                entry.typed.as_mut().map(|typed| typed.pop());
            }
            Key::EraseLine => {
                if let Some(typed) = &mut entry.typed {
                    typed.clear();
                }
            }
            Key::PastedNewline => {
                entry.pasted_newlines = entry.pasted_newlines.saturating_add(1);
                entry.typed = None;
            }
            Key::Edit => entry.typed = None,
            Key::Enter => return self.enter(entry, noted),
            Key::Interrupt => {}
        }
        self.entry = Some(entry);
    }

    /// The first key of a line.
    fn begin(&mut self, pause: bool) -> Entry {
        let settled = pause && self.output_since_enter;
        let ahead = !settled && !self.waiting.is_empty();
        let mut entry = Entry {
            prompt: None,
            doubtful: !self.waiting.is_empty(),
            typed: Some(Zeroizing::new(String::new())),
            pasted_newlines: 0,
            echoed: false,
        };
        if ahead {
            return entry;
        }
        self.screen.key();
        if self.waiting.is_empty() && pause {
            self.enters = 0;
        }
        let marked = self.marked_prompt.take();
        let sure = marked.is_some();
        let mut prompt = marked.unwrap_or_else(|| self.screen.prompt());
        if !sure
            && self.last_prompt.len() > 1
            && prompt.left.len() > self.last_prompt.len()
            && prompt.left.starts_with(&self.last_prompt)
        {
            // Text was there before the first key: Ctrl-O fetched it, or it was typed ahead.
            prompt.left.clone_from(&self.last_prompt);
            entry.typed = None;
        }
        entry.prompt = Some(prompt);
        entry
    }

    fn enter(&mut self, mut entry: Entry, noted: &mut Vec<Noted>) {
        self.enters = (self.enters + 1).min(AHEAD_MAX);
        if let Some(prompt) = &entry.prompt {
            self.screen.settle();
            entry.echoed = self.screen.line().text.trim_end() != prompt.left.trim_end();
        } else if entry.typed.as_ref().is_some_and(|typed| typed.trim().is_empty()) {
            return;
        }
        if self.waiting.is_empty() {
            self.waited = 0;
            self.output_since_enter = false;
        }
        if self.waiting.len() >= AHEAD_MAX {
            self.waiting.pop_front();
            noted.push(Noted::Remark("a line typed ahead was given up: too many".into()));
        }
        self.waiting.push_back(entry);
    }

    /// What the target sent.
    pub(super) fn output(&mut self, bytes: &[u8], now: Timestamp) -> Vec<Noted> {
        let mut noted = Vec::new();
        let mut fed = 0;
        let mut scanner = std::mem::replace(&mut self.scanner, Scanner::new());
        scanner.feed(bytes, |token, end| match token {
            Token::Text(_) if self.full_screen => fed = end,
            Token::Text(text) => {
                self.output_since_enter = true;
                if !self.waiting.is_empty() {
                    fed =
                        self.text(bytes, fed, end.saturating_sub(text.len()).max(fed), end, now, &mut noted);
                }
            }
            Token::Sequence { kind, body, whole } => {
                if self.sequence(kind, body, whole, bytes.get(fed..end).unwrap_or_default(), now, &mut noted)
                {
                    fed = end;
                }
            }
        });
        self.scanner = scanner;
        if !self.full_screen {
            self.take(bytes.get(fed..).unwrap_or_default());
        }
        self.give_up(bytes.len(), &mut noted);
        noted
    }

    /// Shows it to the screen: at once while a line is waited for.
    fn take(&mut self, bytes: &[u8]) {
        if self.waiting.is_empty() { self.screen.hold(bytes) } else { self.screen.feed(bytes) }
    }

    /// Text while a line is waited for: reads before each line feed. Answers what of `bytes` the screen has seen.
    fn text(
        &mut self,
        bytes: &[u8],
        mut fed: usize,
        start: usize,
        end: usize,
        now: Timestamp,
        noted: &mut Vec<Noted>,
    ) -> usize {
        for at in start..end {
            if !matches!(bytes.get(at), Some(b'\n' | 0x0b | 0x0c)) {
                continue;
            }
            self.screen.feed(bytes.get(fed..at).unwrap_or_default());
            fed = at;
            if !self.screen.goes_on() {
                self.leave(now, noted);
            }
            if self.waiting.is_empty() {
                break;
            }
        }
        fed
    }

    /// A sequence; `raw` is what the screen has not seen, up to and with the sequence. Answers whether it has seen it now.
    fn sequence(
        &mut self,
        kind: Kind,
        body: &[u8],
        whole: bool,
        raw: &[u8],
        now: Timestamp,
        noted: &mut Vec<Noted>,
    ) -> bool {
        if let Some(on) = full_screen(kind, body) {
            if on && !self.full_screen {
                self.take(raw.get(..raw.len().saturating_sub(body.len() + 2)).unwrap_or_default());
                self.full_screen = true;
                self.entry = None;
                self.waiting.clear();
                noted.push(Noted::Remark("full screen: entered".into()));
            } else if !on && self.full_screen {
                self.full_screen = false;
                // The sequence that entered may have been shown in half: cancel it.
                self.take(b"\x18");
                noted.push(Noted::Remark("full screen: left".into()));
            }
            // A reset is for the screen too.
            return kind == Kind::Csi;
        }
        if kind == Kind::Osc
            && let Some(mark) = marks::parse(body)
        {
            if !self.full_screen {
                self.take(raw);
            }
            self.marked(mark, whole, now, noted);
            return true;
        }
        if self.full_screen {
            return true;
        }
        if self.waiting.is_empty() {
            return false;
        }
        let leaves = match kind {
            Kind::Csi => body.last().is_some_and(|last| b"HfdEFBJ".contains(last)),
            Kind::Escape => matches!(body, [b'D' | b'E' | b'c']),
            Kind::Osc | Kind::Dcs | Kind::Other => false,
        };
        if !leaves {
            self.screen.feed(raw);
            return true;
        }
        let lead = raw.len().saturating_sub(body.len() + 2);
        let (before, sequence) = raw.split_at_checked(lead).unwrap_or((raw, b""));
        self.screen.feed(before);
        // Whether it leaves the line is known afterwards; what it left must be read before.
        let line = self.screen.line();
        let saved = self.read_front();
        self.screen.feed(sequence);
        let row = self.screen.row();
        let gone =
            row < line.rows.0 || row > line.rows.1 || matches!(body, [b'D' | b'E' | b'c'] | b"2J" | b"3J");
        if gone && saved.as_ref().is_some_and(|found| !found.is_empty()) {
            self.waiting.pop_front();
            for typed in saved.unwrap_or_default() {
                self.found(typed, now, noted);
            }
        }
        true
    }

    /// Lines typed ahead that the screen does not show are given up in the end.
    fn give_up(&mut self, more: usize, noted: &mut Vec<Noted>) {
        self.waited = self.waited.saturating_add(more);
        if !self.waiting.is_empty() && self.waited > AHEAD_BYTES {
            let lines = self.waiting.len();
            self.waiting.clear();
            noted.push(Noted::Remark(format!("lines typed ahead and not shown: {lines}")));
        }
    }

    /// What is left to say.
    pub(super) fn finish(&mut self) -> Vec<Noted> {
        let mut noted = Vec::new();
        self.release(&mut noted);
        noted
    }
}

fn since(before: Timestamp, now: Timestamp) -> i128 {
    now.duration_since(before).as_millis()
}

/// Whether a sequence enters (true) or leaves the alternate screen.
fn full_screen(kind: Kind, body: &[u8]) -> Option<bool> {
    if kind == Kind::Escape && body == b"c" {
        return Some(false);
    }
    let (last, numbers) = body.strip_prefix(b"?")?.split_last()?;
    let named = numbers.split(|b| *b == b';').any(|n| matches!(n, b"47" | b"1047" | b"1049"));
    (kind == Kind::Csi && named && matches!(last, b'h' | b'l')).then_some(*last == b'h')
}

#[cfg(test)]
mod tests;
