//! What of a recording may reach the terminal of who plays it: no clipboard, and nothing that a terminal answers.
//! Absent on purpose: any other cleaning; a recording is shown as it was seen. An export leaves all in.
//!
//! An answer would be typed into the player's shell. Sources: <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>.

use crate::recording::scan::{Kind, Scanner, Token};

/// Takes a recording's output piece by piece.
pub(crate) struct Filter(Scanner);

impl Filter {
    pub(crate) fn new() -> Self {
        Self(Scanner::new())
    }

    /// What may be shown of `text`, and of a sequence that it ends.
    pub(crate) fn shown(&mut self, text: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        self.0.feed(text.as_bytes(), |token, _| match token {
            // ENQ asks for the answerback string.
            Token::Text(text) => out.extend(text.iter().filter(|byte| **byte != 0x05)),
            // A sequence too long to be kept whole is no control of a screen.
            Token::Sequence { whole: false, .. } => {}
            Token::Sequence { kind, body, .. } => {
                let (before, after): (&[u8], &[u8]) = match kind {
                    Kind::Escape if body != b"Z" => (b"\x1b", b""),
                    Kind::Csi if !asks(body) => (b"\x1b[", b""),
                    Kind::Osc if harmless(body) => (b"\x1b]", b"\x1b\\"),
                    // DCS, APC, PM: requests, downloads, images; none is needed to see what was done.
                    Kind::Escape | Kind::Csi | Kind::Osc | Kind::Dcs | Kind::Other => return,
                };
                out.extend_from_slice(before);
                out.extend_from_slice(body);
                out.extend_from_slice(after);
            }
        });
        out
    }
}

/// Whether a terminal answers this: DA, DSR, DECRQM, DECREQTPARM, DECRQCRA, XTVERSION, window reports, the kitty keyboard's state.
fn asks(body: &[u8]) -> bool {
    let Some((last, parameters)) = body.split_last() else { return false };
    match last {
        // `t` moves, resizes and reports the player's own window.
        b'c' | b'n' | b'x' | b'y' | b't' => true,
        b'p' => parameters.last() == Some(&b'$'),
        b'q' => parameters.first() == Some(&b'>'),
        b'u' | b'S' => parameters.first() == Some(&b'?'),
        b'v' | b'w' | b'|' => parameters.iter().any(|byte| matches!(byte, b'$' | b'*' | b'\'' | b'#' | b'&')),
        _ => false,
    }
}

/// Titles, links, shell marks, colours that are set: but no clipboard (52), no question, nothing that a terminal keeps or runs.
fn harmless(body: &[u8]) -> bool {
    let number = body.split(|byte| *byte == b';').next().unwrap_or_default();
    let asks = body.split(|byte| *byte == b';').any(|part| part == b"?");
    let known =
        [b"0".as_slice(), b"1", b"2", b"4", b"7", b"8", b"10", b"11", b"12", b"104", b"110", b"111", b"112"];
    !asks && (known.contains(&number) || matches!(number, b"133" | b"633"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> String {
        let mut filter = Filter::new();
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| filter.shown(piece)).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_a_terminal_would_answer_or_copy_is_dropped() {
        for bad in [
            "\x1b]52;c;cm0gLXJmIC8=\x07",
            "\u{9d}52;c;eA==\u{9c}",
            "\x1b[6n",
            "\x1b[?6n",
            "\x1b[5n",
            "\x1b[c",
            "\x1b[>0c",
            "\x1b[=c",
            "\x1bZ",
            "\u{9a}",
            "\x1b[>q",
            "\x1b[?2026$p",
            "\x1b[18t",
            "\x1b[21t",
            "\x1b[?u",
            "\x1b[x",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
            "\x1b]11;?\x07",
            "\x1b]4;1;?\x1b\\",
            "\x1b]50;?\x07",
            "\x1b]1337;RequestAttachment\x07",
            "\x05",
            "\u{9b}6n",
            "\x1b_Gi=1,a=q;\x1b\\",
            "\x1b[1;1;1;1;1;1*y",
            "\x1b[?1;1S",
        ] {
            assert_eq!(shown(&[&format!("a{bad}b")]), "ab", "{bad:?}");
            let at = bad.char_indices().nth(1).map_or(bad.len(), |(at, _)| at);
            assert_eq!(
                shown(&[&format!("a{}", &bad[..at]), &format!("{}b", &bad[at..])]),
                "ab",
                "{bad:?} in two"
            );
        }
    }

    #[test]
    fn what_paints_is_shown_as_it_was() {
        for good in [
            "\x1b[1;31mü\x1b[0m\r\n",
            "\x1b[2J\x1b[3;4H",
            "\x1b(B\x1b7\x1b8\x1bc",
            "\x1b[?1049h\x1b[2 q\x1b[!p\x1b[3S",
            "\x07\t",
        ] {
            assert_eq!(shown(&[good]), good);
        }
        assert_eq!(shown(&["\x1b]0;title\x07x"]), "\x1b]0;title\x1b\\x");
    }
}
