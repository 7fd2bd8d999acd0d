//! The terminal's screen as the person sees it, as far as reading a command line from it needs. Absent on purpose: colours, and the
//! alternate screen, whose bytes are not shown to it.
//!
//! The model (vt100) takes some 50 MB/s, less than a flood brings; so output is held back until somebody asks. What was held is fed then,
//! and of more than [`FLOOD`] bytes since the last key only the last [`HELD`] are: a prompt is always at the end, and lines of before are
//! asked for by nobody. After such a gap the model begins blank, at the last row, after the first line feed that was kept.

use std::num::NonZero;

/// The most bytes that are held back.
const HELD: usize = 16 * 1024;
/// So many bytes after a key the model is exact still.
const FLOOD: usize = 256 * 1024;
const COLS_MAX: u16 = 500;
const ROWS_MAX: u16 = 200;

/// A line as it stands on the screen, over all rows that it was wrapped into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What it shows; blanks at the end that were printed are there.
    pub(super) text: String,
    /// Its first and its last row.
    pub(super) rows: (u16, u16),
}

/// What stands left and right of the cursor when a person begins to type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Prompt {
    pub(super) left: String,
    pub(super) right: String,
}

pub(super) struct Screen {
    model: vt100::Parser,
    held: Vec<u8>,
    /// Of what was held, the beginning was dropped.
    gap: bool,
    since_key: usize,
}

impl Screen {
    pub(super) fn new(cols: u16, rows: u16) -> Self {
        let (cols, rows) = sides(cols, rows);
        Self { model: vt100::Parser::new(rows, cols, 0), held: Vec::new(), gap: false, since_key: 0 }
    }

    /// Takes output that nobody asks about yet.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.since_key = self.since_key.saturating_add(bytes.len());
        let room = HELD.saturating_sub(self.held.len());
        if bytes.len() <= room {
            self.held.extend_from_slice(bytes);
        } else if self.since_key <= FLOOD {
            self.feed(bytes);
        } else {
            self.gap = true;
            let kept = bytes.get(bytes.len().saturating_sub(HELD)..).unwrap_or_default();
            let old = self.held.len().saturating_sub(HELD - kept.len());
            self.held.drain(..old.min(self.held.len()));
            self.held.extend_from_slice(kept);
        }
    }

    /// Takes output now.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.settle();
        self.model.process(bytes);
    }

    /// A key was pressed: the model is exact from here on.
    pub(super) fn key(&mut self) {
        self.settle();
        self.since_key = 0;
    }

    /// Feeds what was held back.
    pub(super) fn settle(&mut self) {
        let held = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.gap) {
            let (rows, cols) = self.model.screen().size();
            self.model = vt100::Parser::new(rows, cols, 0);
            self.model.process(&vec![b'\n'; rows.get().into()]);
            let from = memchr::memchr(b'\n', &held).map_or(0, |at| at + 1);
            self.model.process(held.get(from..).unwrap_or_default());
        } else if !held.is_empty() {
            self.model.process(&held);
        }
    }

    pub(super) fn resize(&mut self, cols: u16, rows: u16) {
        self.settle();
        let (cols, rows) = sides(cols, rows);
        self.model.set_size(rows, cols);
    }

    /// The cursor's row.
    pub(super) fn row(&self) -> u16 {
        self.model.screen().cursor_position().0
    }

    /// Whether the line goes on below the cursor's row: a line feed does not leave it.
    pub(super) fn goes_on(&self) -> bool {
        self.model.screen().row_wrapped(self.row())
    }

    /// The line that the cursor is in.
    pub(super) fn line(&self) -> Line {
        self.line_at(self.row())
    }

    fn line_at(&self, row: u16) -> Line {
        let screen = self.model.screen();
        let (rows, cols) = screen.size();
        let wrapped = |row: u16| screen.row_wrapped(row);
        let mut first = row;
        while first > 0 && wrapped(first - 1) {
            first -= 1;
        }
        let mut last = row;
        while last + 1 < rows.get() && wrapped(last) {
            last += 1;
        }
        Line { text: screen.contents_between(first, 0, last, cols.get()), rows: (first, last) }
    }

    /// What stands around the cursor.
    pub(super) fn prompt(&self) -> Prompt {
        let screen = self.model.screen();
        let (row, col) = screen.cursor_position();
        let Line { rows: (first, last), .. } = self.line();
        let left = screen.contents_between(first, 0, row, col);
        let right = screen.contents_between(row, col, last, screen.size().1.get());
        Prompt { left, right: right.trim().to_owned() }
    }

    /// The lines from the nearest one above the cursor's that `begins` down to the cursor's and at least `more` below that one.
    pub(super) fn lines_from(&self, begins: impl Fn(&str) -> bool, more: usize) -> Option<Vec<String>> {
        let here = self.line();
        let mut lines = vec![here.text];
        let (mut first, mut last) = here.rows;
        while !lines.last().is_some_and(|line| begins(line)) {
            let above = self.line_at(first.checked_sub(1)?);
            first = above.rows.0;
            lines.push(above.text);
        }
        lines.reverse();
        while lines.len() <= more && last + 1 < self.model.screen().size().0.get() {
            let below = self.line_at(last + 1);
            last = below.rows.1;
            lines.push(below.text);
        }
        Some(lines)
    }
}

fn sides(cols: u16, rows: u16) -> (NonZero<u16>, NonZero<u16>) {
    let side = |wanted: u16, most: u16, usual: u16| {
        let wanted = if wanted == 0 { usual } else { wanted };
        NonZero::new(wanted.clamp(2, most)).unwrap_or(NonZero::<u16>::MIN)
    };
    (side(cols, COLS_MAX, 80), side(rows, ROWS_MAX, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_flood_the_line_at_its_end_is_read_and_little_was_held() {
        let mut screen = Screen::new(80, 24);
        for n in 0..100_000 {
            screen.hold(format!("\x1b[32mline {n}\x1b[0m of a flood of text\r\n").as_bytes());
            assert!(screen.held.len() <= HELD);
        }
        screen.hold(b"host$ ");
        screen.key();
        assert_eq!(screen.prompt().left, "host$ ");
        screen.feed(b"ls");
        assert_eq!(screen.line().text, "host$ ls");
    }

    #[test]
    fn a_wrapped_line_is_one_line_and_a_resize_to_anything_is_survived() {
        let mut screen = Screen::new(10, 4);
        screen.feed("$ abcdefghijklmnop你好".as_bytes());
        assert_eq!(screen.line().text, "$ abcdefghijklmnop你好");
        assert_eq!(screen.line().rows, (0, 2));
        for (cols, rows) in [(0, 0), (1, 1), (u16::MAX, u16::MAX), (3, 2), (2, 2)] {
            screen.resize(cols, rows);
            screen.feed("你好\x1b[K\r\n你\x1b[2;2H\x1b[1@x".as_bytes());
            screen.line();
            screen.prompt();
            screen.lines_from(|_| false, 9);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_output_brings_the_model_down(
            pieces in proptest::collection::vec((proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), 0_u16..40, 0_u16..20), 0..8),
            csi in proptest::collection::vec("\x1b\\[[0-9;?]{0,9}[@-~]", 0..20),
        ) {
            let mut screen = Screen::new(20, 5);
            for (bytes, cols, rows) in &pieces {
                screen.feed(bytes);
                screen.feed(csi.concat().as_bytes());
                screen.resize(*cols, *rows);
                screen.feed("你a".as_bytes());
                screen.line();
                screen.prompt();
            }
        }
    }
}
