//! What the shell's marks say about the lines that were read. Absent on purpose: the screen's reading itself.

use jiff::Timestamp;

use super::reading::clean;
use super::{Lines, Noted, Obtained, Phase, Typed};
use crate::recording::marks::Mark;

/// Rows of one command line between B and C.
const COLLECTED_MAX: usize = 64;

impl Lines {
    pub(super) fn found(&mut self, typed: Typed, now: Timestamp, noted: &mut Vec<Noted>) {
        if self.phase == Phase::Prompt {
            if self.collected.len() >= COLLECTED_MAX {
                self.release(noted);
            }
            self.collected.push(typed);
            self.collected_at = now;
        } else {
            noted.push(Noted::Typed(typed));
        }
    }

    /// No mark came for these: the screen's word stands.
    pub(super) fn release(&mut self, noted: &mut Vec<Noted>) {
        noted.extend(self.collected.drain(..).map(Noted::Typed));
    }

    pub(super) fn marked(&mut self, mark: Mark, whole: bool, now: Timestamp, noted: &mut Vec<Noted>) {
        match mark {
            Mark::PromptBegins | Mark::Ended => {
                self.release(noted);
                if mark == Mark::PromptBegins {
                    self.phase = Phase::Prompt;
                }
            }
            Mark::LineBegins => {
                self.phase = Phase::Prompt;
                if self.full_screen {
                    return;
                }
                self.screen.settle();
                let prompt = self.screen.prompt();
                match self.waiting.front_mut().or(self.entry.as_mut()) {
                    // Typed ahead: this is the prompt that it will be shown at.
                    Some(entry) => entry.prompt = Some(prompt),
                    None => self.marked_prompt = Some(prompt),
                }
            }
            Mark::Line(line) => {
                let typed = clean(&String::from_utf8_lossy(&line), Obtained::Marks, !whole);
                if self.enters == 0 {
                    noted.push(Noted::Remark(format!("marked, but entered by nobody: {}", typed.line)));
                    return;
                }
                self.enters = self.enters.saturating_sub(self.collected.len().max(1));
                // A program can print a mark too: only what is in it was its line, all else that was seen stands.
                let marked = squeezed(&typed.line);
                self.collected.retain(|seen| !marked.contains(&squeezed(&seen.line)));
                if !typed.line.trim().is_empty() {
                    noted.push(Noted::Typed(typed));
                }
                self.release(noted);
                self.runs();
            }
            Mark::Runs => {
                self.runs();
                let rows: Vec<Typed> = self.collected.drain(..).collect();
                if !rows.is_empty() {
                    let text: Vec<&str> = rows.iter().map(|row| row.line.as_str()).collect();
                    let cut = rows.iter().any(|row| row.cut);
                    self.enters = self.enters.saturating_sub(rows.len());
                    noted.push(Noted::Typed(clean(&text.join("\n"), Obtained::Marks, cut)));
                }
            }
        }
        self.collected_at = now;
    }

    fn runs(&mut self) {
        self.phase = Phase::Unmarked;
        self.marked_prompt = None;
    }
}

/// A wrapped or edited line may differ in its blanks.
fn squeezed(line: &str) -> String {
    line.chars().filter(|c| !c.is_whitespace()).collect()
}
