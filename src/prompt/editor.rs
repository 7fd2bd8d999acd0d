//! Keys → the line being edited, its history and its completions, upon rustyline's line buffer.
//! Absent on purpose: bytes, terminals, waiting; how it looks is `screen`'s.

use rustyline::completion::longest_common_prefix;
use rustyline::history::{History, MemHistory, SearchDirection};
use rustyline::line_buffer::{ChangeListener, DeleteListener, Direction, LineBuffer};
use rustyline::{At, Config, Word};
use zeroize::Zeroize;

use super::keys::Key;

/// A line's limit in bytes.
pub(super) const LINE: usize = 8 * 1024;
const HISTORY_LINES: usize = 1000;
const HISTORY_BYTES: usize = 64 * 1024;

/// What a key did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Edited,
    /// Not possible; the line is as it was.
    Bell,
    ClearScreen,
    /// Several completions, to be shown below the line.
    Choices(Vec<String>),
    Accepted,
    Interrupted,
    End,
}

pub(super) struct Editor {
    line: LineBuffer,
    secret: bool,
    history: MemHistory,
    /// Which line of the history is shown; none while it is a new one.
    recalled: Option<usize>,
    /// The new line, while an older one is shown.
    draft: String,
    words: Vec<String>,
    paste: Option<Paste>,
    after_tab: bool,
    /// The next key finds a bug.
    #[cfg(test)]
    pub(super) faulty: bool,
}

struct Paste {
    text: String,
    too_long: bool,
}

/// Nobody listens to single changes: the screen compares whole lines.
struct Unheard;

impl DeleteListener for Unheard {
    fn delete(&mut self, _: usize, _: &str, _: Direction) {}
}

impl ChangeListener for Unheard {
    fn insert_char(&mut self, _: usize, _: char) {}
    fn insert_str(&mut self, _: usize, _: &str) {}
    fn replace(&mut self, _: usize, _: &str, _: &str) {}
}

impl Editor {
    pub(super) fn new() -> Self {
        let mut history = MemHistory::with_config(&Config::default());
        // In memory, neither can fail.
        history.set_max_len(HISTORY_LINES).ok();
        history.ignore_dups(true).ok();
        history.ignore_space(true);
        Self {
            line: LineBuffer::with_capacity(0),
            secret: false,
            history,
            recalled: None,
            draft: String::new(),
            words: Vec::new(),
            paste: None,
            after_tab: false,
            #[cfg(test)]
            faulty: false,
        }
    }

    /// An empty line. The memory of a secret one before it is wiped.
    pub(super) fn start(&mut self, secret: bool) {
        self.finish();
        // The capacity is the limit: rustyline's buffer never grows.
        self.line = LineBuffer::with_capacity(LINE);
        self.secret = secret;
    }

    /// Lets the line go, and its memory.
    pub(super) fn finish(&mut self) {
        let old = std::mem::replace(&mut self.line, LineBuffer::with_capacity(0));
        if self.secret {
            old.into_string().zeroize();
        }
        self.recalled = None;
        self.draft = String::new();
        self.paste = None;
        self.after_tab = false;
    }

    pub(super) fn set_words(&mut self, mut words: Vec<String>) {
        words.sort();
        words.dedup();
        self.words = words;
    }

    /// Before the cursor, and behind it.
    pub(super) fn halves(&self) -> (&str, &str) {
        self.line.as_str().split_at_checked(self.line.pos()).unwrap_or((self.line.as_str(), ""))
    }

    /// The finished line, which the history keeps unless it is secret, begins with a space, or repeats the last.
    pub(super) fn take(&mut self) -> String {
        let line = self.line.as_str().to_owned();
        if !self.secret {
            self.remember(&line);
        }
        self.finish();
        line
    }

    fn remember(&mut self, line: &str) {
        self.history.add(line).ok();
        let mut bytes: usize = (&self.history).into_iter().map(String::len).sum();
        while bytes > HISTORY_BYTES && !self.history.is_empty() {
            bytes -= self.recall(0).map_or(0, |oldest| oldest.len());
            self.history.set_max_len(self.history.len() - 1).ok();
        }
        self.history.set_max_len(HISTORY_LINES).ok();
    }

    /// Takes the last line out of the history again.
    pub(super) fn forget_last(&mut self) {
        let mut kept: Vec<String> = (&self.history).into_iter().cloned().collect();
        kept.pop();
        self.history.clear().ok();
        for line in kept {
            self.history.add_owned(line).ok();
        }
    }

    fn recall(&self, index: usize) -> Option<String> {
        self.history.get(index, SearchDirection::Forward).ok()?.map(|found| found.entry.into_owned())
    }

    pub(super) fn press(&mut self, key: Key) -> Step {
        #[cfg(test)]
        assert!(!self.faulty, "a bug");
        let after_tab = std::mem::replace(&mut self.after_tab, key == Key::Tab);
        let line = &mut self.line;
        let done = match key {
            Key::Char(c) => match line.insert(c, 1, &mut Unheard) {
                Some(_) => true,
                None => return Step::Bell,
            },
            Key::PasteBegin | Key::Pasted(_) | Key::PasteEnd => return self.paste(key),
            Key::Enter => return Step::Accepted,
            Key::Interrupt => return Step::Interrupted,
            Key::EndOfInput if line.is_empty() => return Step::End,
            Key::EndOfInput | Key::Delete => line.delete(1, &mut Unheard).is_some(),
            Key::Backspace => line.backspace(1, &mut Unheard),
            Key::Left => line.move_backward(1),
            Key::Right => line.move_forward(1),
            Key::WordLeft => line.move_to_prev_word(Word::Emacs, 1),
            Key::WordRight => line.move_to_next_word(At::AfterEnd, Word::Emacs, 1),
            Key::Home => line.move_buffer_start(),
            Key::End => line.move_buffer_end(),
            Key::KillToEnd => line.kill_line(&mut Unheard),
            Key::KillToStart => line.discard_line(&mut Unheard),
            Key::KillWordLeft => line.delete_prev_word(Word::Emacs, 1, &mut Unheard),
            Key::KillSpacedWordLeft => line.delete_prev_word(Word::Big, 1, &mut Unheard),
            Key::KillWordRight => line.delete_word(At::AfterEnd, Word::Emacs, 1, &mut Unheard),
            Key::Swap => line.transpose_chars(&mut Unheard),
            Key::ClearScreen => return Step::ClearScreen,
            Key::Up => return self.older(),
            Key::Down => return self.newer(),
            Key::Tab => return self.complete(after_tab),
        };
        if done { Step::Edited } else { Step::Nothing }
    }

    /// A paste is taken whole or not at all: half a command is another command.
    fn paste(&mut self, key: Key) -> Step {
        match (key, &mut self.paste) {
            (Key::PasteBegin, paste) => *paste = Some(Paste { text: String::new(), too_long: false }),
            (Key::Pasted(c), Some(paste)) => {
                paste.too_long |= paste.text.len() + c.len_utf8() > LINE;
                if !paste.too_long {
                    paste.text.push(c);
                }
            }
            (_, paste) => {
                let Some(mut paste) = paste.take() else { return Step::Nothing };
                let taken = !paste.too_long && self.line.yank(&paste.text, 1, &mut Unheard).is_some();
                let empty = paste.text.is_empty();
                if self.secret {
                    paste.text.zeroize();
                }
                return match (taken, empty) {
                    (true, _) => Step::Edited,
                    (false, true) => Step::Nothing,
                    (false, false) => Step::Bell,
                };
            }
        }
        Step::Nothing
    }

    fn older(&mut self) -> Step {
        let index = self.recalled.unwrap_or(self.history.len());
        if self.secret || index == 0 {
            return Step::Bell;
        }
        if self.recalled.is_none() {
            self.line.as_str().clone_into(&mut self.draft);
        }
        self.show_recalled(index - 1)
    }

    fn newer(&mut self) -> Step {
        match self.recalled {
            None => Step::Bell,
            Some(index) if index + 1 < self.history.len() => self.show_recalled(index + 1),
            Some(_) => {
                self.recalled = None;
                let draft = std::mem::take(&mut self.draft);
                self.line.update(&draft, draft.len(), &mut Unheard);
                Step::Edited
            }
        }
    }

    fn show_recalled(&mut self, index: usize) -> Step {
        let Some(text) = self.recall(index) else { return Step::Bell };
        self.recalled = Some(index);
        self.line.update(&text, text.len(), &mut Unheard);
        Step::Edited
    }

    /// Completes the text before the cursor if a word (or a phrase of words) begins with it, else its last
    /// word. What is common to all that fit is filled in; a second Tab lists them.
    fn complete(&mut self, again: bool) -> Step {
        let (before, _) = self.halves();
        let typed = before.trim_start();
        let last = typed.rsplit(' ').next().unwrap_or_default();
        if self.secret {
            return Step::Bell;
        }
        let (from, fits) = [typed, last]
            .into_iter()
            .map(|from| {
                (from, self.words.iter().filter(|w| w.starts_with(from)).cloned().collect::<Vec<_>>())
            })
            .find(|(_, fits)| !fits.is_empty())
            .unwrap_or_default();
        let common = longest_common_prefix(&fits).unwrap_or_default();
        let mut more = common.get(from.len()..).unwrap_or_default().to_owned();
        if fits.len() == 1 {
            more.push(' ');
        }
        match more.is_empty() {
            false if self.line.yank(&more, 1, &mut Unheard).is_some() => Step::Edited,
            true if again && fits.len() > 1 => Step::Choices(fits),
            true | false => Step::Bell,
        }
    }
}
