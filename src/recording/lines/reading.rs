//! Reads a line off the screen as the cursor leaves it, and takes the prompt off. Absent on purpose: when; the caller knows.

use jiff::Timestamp;

use super::{LINE_MAX, Lines, Noted, Obtained, Typed};

impl Lines {
    /// The cursor is about to leave its line: which of the lines that are waited for is it?
    pub(super) fn leave(&mut self, now: Timestamp, noted: &mut Vec<Noted>) {
        let mut rejected = false;
        while let Some(front) = self.waiting.front() {
            if front.prompt.is_none() {
                if let Some((at, typed)) = self.read_ahead() {
                    self.waiting.drain(..=at);
                    self.found(typed, now, noted);
                }
                return;
            }
            let text = self.screen.line().text;
            let fits =
                front.prompt.as_ref().is_some_and(|p| !p.left.trim().is_empty() && text.starts_with(&p.left));
            if rejected && !fits {
                return;
            }
            let lines = self.read_front().unwrap_or_default();
            self.waiting.pop_front();
            if !lines.is_empty() {
                for typed in lines {
                    self.found(typed, now, noted);
                }
                return;
            }
            rejected = true;
        }
    }

    /// The line of the first that is waited for, as the screen shows it; empty: nothing was typed or echoed.
    pub(super) fn read_front(&mut self) -> Option<Vec<Typed>> {
        let front = self.waiting.front()?;
        let prompt = front.prompt.as_ref()?;
        let line = self.screen.line();
        let typed = front.typed.as_ref().map(|typed| typed.trim());
        let left = prompt.left.as_str();
        let blank = left.trim().is_empty();
        let mut lost = false;
        let mut rows = Vec::new();
        if let Some(rest) = after(&line.text, left).filter(|_| !blank) {
            rows.push(without_right(rest, &prompt.right).to_owned());
            if front.pasted_newlines > 0 {
                let more = self.screen.lines_from(|text| text == line.text, front.pasted_newlines);
                rows.extend(more.unwrap_or_default().into_iter().skip(1));
            }
            if front.typed.is_none() || front.echoed {
                left.clone_into(&mut self.last_prompt);
            }
        } else if let Some(text) =
            typed.filter(|text| !text.is_empty() && line.text.trim_end().ends_with(text))
        {
            rows.push(text.to_owned());
        } else if let Some(rest) = after(&line.text, &self.last_prompt).filter(|_| self.last_prompt.len() > 1)
        {
            rows.push(rest.to_owned());
        } else if let Some(found) = Some(())
            .filter(|()| !blank && !front.doubtful && typed.is_none())
            .and_then(|()| self.screen.lines_from(|text| text.starts_with(left), front.pasted_newlines))
        {
            let mut found = found.into_iter();
            rows.extend(found.next().and_then(|first| after(&first, left).map(str::to_owned)));
            rows.extend(found);
        } else {
            // A line longer than the screen has lost its prompt; any other shows it.
            lost = line.rows.0 == 0;
            rows.push(line.text);
        }
        let shown: Vec<String> = rows.into_iter().filter(|row| !row.trim().is_empty()).collect();
        let echo = match typed {
            // What appears only after Enter and was not typed is a program's output, not an echo.
            Some(typed) if !front.echoed => {
                !typed.is_empty() && shown.first().is_some_and(|row| row.trim().starts_with(typed))
            }
            Some(typed) => !masked(&shown, typed),
            None => true,
        };
        let shown = if echo { shown } else { Vec::new() };
        Some(shown.iter().map(|row| clean(row, Obtained::Screen, lost)).collect())
    }

    /// Which of the lines typed ahead the screen shows now.
    fn read_ahead(&self) -> Option<(usize, Typed)> {
        let text = self.screen.line().text;
        let text = text.trim_end();
        self.waiting.iter().enumerate().find_map(|(at, entry)| {
            let line = match &entry.typed {
                Some(typed) => {
                    let typed = typed.trim();
                    let before = text.strip_suffix(typed)?;
                    let prompt = before.is_empty() || before.ends_with([' ', '$', '#', '>', '%', ':', '\t']);
                    Some(typed).filter(|_| prompt)?
                }
                None => after(text, &self.last_prompt)
                    .filter(|rest| self.last_prompt.len() > 1 && !rest.trim().is_empty())?,
            };
            Some((at, clean(line, Obtained::Screen, false)))
        })
    }
}

/// What of the line follows the prompt. Blanks at a prompt's end may be gone.
fn after<'a>(line: &'a str, prompt: &str) -> Option<&'a str> {
    line.strip_prefix(prompt).or_else(|| line.strip_prefix(prompt.trim_end()))
}

/// zsh's prompt at the right stays where it is.
fn without_right<'a>(line: &'a str, right: &str) -> &'a str {
    let end = line.trim_end();
    if right.is_empty() { end } else { end.strip_suffix(right).unwrap_or(end).trim_end() }
}

/// A password echoed as stars.
fn masked(rows: &[String], typed: &str) -> bool {
    let star = |c: char| matches!(c, '*' | '•' | '●');
    rows.iter().all(|row| row.trim().chars().all(star)) && !typed.chars().all(star)
}

pub(super) fn clean(text: &str, how: Obtained, mut cut: bool) -> Typed {
    let mut line = String::new();
    for c in text.trim_end().chars() {
        let c = if c == '\t' { ' ' } else { c };
        if c.is_control() && c != '\n' {
            continue;
        }
        if line.len() + c.len_utf8() > LINE_MAX {
            cut = true;
            break;
        }
        line.push(c);
    }
    Typed { line, how, cut }
}
