//! The line on the client's terminal: what to send so that it shows prompt, text and cursor.
//! Absent on purpose: terminfo, colours, questions to the terminal; TERM is only compared with a short list.

use std::io::Write as _;

use super::Size;
use super::text::{columns, printable, shown, width};

/// Beginnings of TERM whose terminals understand ECMA-48 cursor movement and ignore unknown DEC modes.
const ECMA48: &str = "xterm screen tmux rxvt vt1 vt2 vt3 vt4 vt510 vt520 vt525 linux ansi putty alacritty kitty foot \
    wezterm konsole gnome vte st- eterm nsterm cygwin mintty ms-terminal contour ghostty";

pub(super) struct Screen {
    ecma48: bool,
    size: Size,
    prompt: String,
    /// Row of the cursor, counted from the prompt's first row.
    row: usize,
    drawn: Option<Drawn>,
    /// Columns on screen now; only a plain terminal needs it, to blank them.
    used: usize,
}

/// What stands before the cursor, if nothing stands behind it and nothing is cut off.
struct Drawn {
    before: String,
    at: (usize, usize),
}

impl Screen {
    pub(super) fn new(term: &str, size: Size) -> Self {
        let known = term.len() <= 64 && ECMA48.split(' ').any(|name| term.starts_with(name));
        Self { ecma48: known, size, prompt: String::new(), row: 0, drawn: None, used: 0 }
    }

    /// DEC mode 2004: pastes come in brackets, so that a pasted line end does not run a line.
    pub(super) fn bracket_pastes(&self, on: bool) -> &'static [u8] {
        match (self.ecma48, on) {
            (true, true) => b"\x1b[?2004h",
            (true, false) => b"\x1b[?2004l",
            (false, _) => b"",
        }
    }

    /// A new prompt, on the row the cursor is in; at most half of the room there is goes to it.
    pub(super) fn start(&mut self, prompt: &str) {
        self.prompt = printable(prompt);
        self.fresh();
    }

    fn fresh(&mut self) {
        self.row = 0;
        self.drawn = None;
        self.used = 0;
    }

    /// The terminal has another size. Some reflow, some do not: we go up no further than both would have.
    pub(super) fn resize(&mut self, size: Size, before: &str) {
        self.size = size;
        let (prompt, before, _) = self.view(before, "");
        self.row = self.row.min(after(after((0, 0), &prompt, self.cols()), &before, self.cols()).0);
        self.drawn = None;
        self.used = self.used.min(self.cols().saturating_sub(1));
    }

    /// Shows the line, its cursor between `before` and `behind`.
    pub(super) fn draw(&mut self, out: &mut Vec<u8>, before: &str, behind: &str) {
        let (prompt, before, behind) = self.view(before, behind);
        if behind.is_empty() && self.append(out, &before) {
            return;
        }
        let cols = self.cols();
        if self.ecma48 {
            csi(out, self.row, 'A');
            // First blank: a wide character that does not fit a row's end writes nothing there.
            out.extend_from_slice(b"\r\x1b[J");
        } else {
            out.push(b'\r');
        }
        for text in [&prompt, &before, &behind] {
            out.extend_from_slice(text.as_bytes());
        }
        let cursor = wrapped(after(after((0, 0), &prompt, cols), &before, cols), cols);
        let end = after(after(after((0, 0), &prompt, cols), &before, cols), &behind, cols);
        if self.ecma48 {
            let end = wrap(out, end, cols);
            if end != cursor {
                csi(out, end.0 - cursor.0, 'A');
                out.push(b'\r');
                csi(out, cursor.1, 'C');
            }
        } else {
            let used = end.1;
            out.resize(out.len() + self.used.saturating_sub(used), b' ');
            if self.used > used || !behind.is_empty() {
                out.push(b'\r');
                out.extend_from_slice(prompt.as_bytes());
                out.extend_from_slice(before.as_bytes());
            }
            self.used = used;
        }
        self.row = cursor.0;
        self.drawn = behind.is_empty().then_some(Drawn { before, at: cursor });
    }

    /// Typing at the line's end is the common case: only what is new is sent. False if it is not that case.
    fn append(&mut self, out: &mut Vec<u8>, before: &str) -> bool {
        let cols = self.cols();
        let Some(drawn) = &mut self.drawn else { return false };
        let Some(more) = before.strip_prefix(drawn.before.as_str()) else { return false };
        // A combining mark joins the character before it, which after a wrap is a row above.
        if drawn.at.1 == 0 && more.chars().next().is_some_and(|c| width(c) == 0) {
            return false;
        }
        out.extend_from_slice(more.as_bytes());
        let end = after(drawn.at, more, cols);
        drawn.at = if self.ecma48 { wrap(out, end, cols) } else { end };
        drawn.before.push_str(more);
        self.row = drawn.at.0;
        self.used = self.used.max(drawn.at.1);
        true
    }

    /// The line is done: shows it whole, with `mark` behind it, and goes to the next row.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, line: &str, mark: &str) {
        self.draw(out, line, "");
        out.extend_from_slice(mark.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.fresh();
    }

    /// Shows `choices` below the line; the line is to be drawn again.
    pub(super) fn list(&mut self, out: &mut Vec<u8>, line: &str, choices: &[String]) {
        self.finish(out, line, "");
        for choice in choices {
            out.extend_from_slice(printable(choice).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn clear(&mut self, out: &mut Vec<u8>) {
        if self.ecma48 {
            out.extend_from_slice(b"\x1b[H\x1b[2J");
        } else {
            out.extend_from_slice(b"\r\n");
        }
        self.fresh();
    }

    fn cols(&self) -> usize {
        usize::from(self.size.cols)
    }

    /// Prompt, and what there is room for around the cursor: one screen less a row, or one row if plain.
    fn view(&self, before: &str, behind: &str) -> (String, String, String) {
        let cols = self.cols();
        // Each row may lose a column to a wide character that does not fit its end; two are for marks.
        let room = if self.ecma48 { (cols - 1) * (usize::from(self.size.rows) - 1) } else { cols - 1 };
        let prompt = tail(&self.prompt, room / 2).to_owned();
        let room = (room - columns(&prompt)).saturating_sub(2);
        let (before, behind) = (shown(before), shown(behind));
        let (left, right) = (columns(&before), columns(&behind));
        if left + right <= room {
            return (prompt, before, behind);
        }
        let right_room = room.saturating_sub(left).max(room / 2).min(right);
        let left_room = room - right_room;
        let before = if left > left_room { format!("<{}", tail(&before, left_room)) } else { before };
        let behind = if right > right_room { format!("{}>", head(&behind, right_room)) } else { behind };
        (prompt, before, behind)
    }
}

/// Where the cursor is after `text`, wrapping as a terminal does; a column of `cols` is a wrap yet to come.
fn after((mut row, mut col): (usize, usize), text: &str, cols: usize) -> (usize, usize) {
    for wide in text.chars().map(width) {
        if col + wide > cols {
            row += 1;
            col = 0;
        }
        col += wide;
    }
    (row, col)
}

fn wrapped((row, col): (usize, usize), cols: usize) -> (usize, usize) {
    if col >= cols { (row + 1, 0) } else { (row, col) }
}

/// Makes the terminal do the wrap that is yet to come.
fn wrap(out: &mut Vec<u8>, at: (usize, usize), cols: usize) -> (usize, usize) {
    if at.1 >= cols {
        out.extend_from_slice(b" \r");
    }
    wrapped(at, cols)
}

fn csi(out: &mut Vec<u8>, count: usize, letter: char) {
    if count > 0 {
        // Writing into memory does not fail.
        write!(out, "\x1b[{count}{letter}").ok();
    }
}

/// The longest end of `text` that fits, not beginning with a combining mark.
fn tail(text: &str, room: usize) -> &str {
    let mut sum = 0;
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        sum += width(c);
        if sum > room {
            break;
        }
        if width(c) > 0 {
            from = at;
        }
    }
    text.get(from..).unwrap_or_default()
}

/// The longest beginning of `text` that fits.
fn head(text: &str, room: usize) -> &str {
    let mut sum = 0;
    let end = text.char_indices().find(|(_, c)| {
        sum += width(*c);
        sum > room
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}
