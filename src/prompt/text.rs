//! Text for a terminal: line ends, and characters that could deceive or move things made visible.
//! Absent on purpose: any styling, and any trust in where a text comes from.

use bytes::Bytes;
use unicode_width::UnicodeWidthChar;

/// `text` with every line end as CR LF, for a client whose terminal is in raw mode. Lone CRs stay.
#[must_use]
pub fn crlf(text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32 + 2);
    let mut last = 0;
    for byte in text.bytes() {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    out.into()
}

/// `text` with C0 and C1 controls (line ends too), bidi controls and invisible characters as `\u{…}`: for
/// every echo of what a client sent. Umlauts, CJK, emoji and combining marks stay as they are.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// How the editor shows a line: as [`printable`], and without joiners, variation selectors and skin tones.
/// Terminals disagree on the width of what those make, and a cursor one column off edits the wrong letter.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' => {}
            c if hides(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Columns of one character on a terminal that counts as wcwidth does.
pub(super) fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Columns of a text, character by character.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Controls (General Category Cc), bidi controls (UAX #9), tags, and what takes no room and leaves no mark.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_cr_lf_once() {
        assert_eq!(crlf("a\nb\r\nc\n\n").as_ref(), b"a\r\nb\r\nc\r\n\r\n");
        assert_eq!(crlf("").as_ref(), b"");
    }

    #[test]
    fn what_could_deceive_is_escaped_and_what_is_written_is_not() {
        assert_eq!(printable("a\x1b[2J\r\n\u{9b}\x7f"), "a\\u{1b}[2J\\u{d}\\u{a}\\u{9b}\\u{7f}");
        assert_eq!(printable("x\u{202e}y\u{200b}\u{2066}\u{feff}"), "x\\u{202e}y\\u{200b}\\u{2066}\\u{feff}");
        assert_eq!(printable("Müller 漢字 e\u{301} 👩"), "Müller 漢字 e\u{301} 👩");
    }

    #[test]
    fn a_family_of_emoji_is_shown_as_its_members() {
        assert_eq!(shown("👩\u{200d}👧 👍\u{1f3fd} ❤\u{fe0f}"), "👩👧 👍 ❤");
    }
}
