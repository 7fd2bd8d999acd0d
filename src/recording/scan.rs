//! A stream of terminal output, cut into text and control sequences, however its pieces fall. Absent on purpose: what they mean.
//!
//! The states are those of <https://vt100.net/emu/dec_ansi_parser>, fewer where nobody here asks. C1 controls count in
//! their UTF-8 form (C2 80…9F) as xterm takes them. A sequence is kept up to [`SEQUENCE_MAX`] bytes, then only its end is waited for.

/// The most bytes of one sequence that are kept.
pub(crate) const SEQUENCE_MAX: usize = 32 * 1024;

const ESC: u8 = 0x1b;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const BEL: u8 = 0x07;

/// What introduced a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `ESC` intermediates final: the body is all after `ESC`.
    Escape,
    /// `ESC [`: the body is parameters, intermediates and the final byte.
    Csi,
    /// `ESC ]` up to BEL or ST.
    Osc,
    /// `ESC P` up to ST.
    Dcs,
    /// `ESC X`, `ESC ^`, `ESC _` up to ST.
    Other,
}

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Anything but sequences; line feeds and the other C0 controls are in it.
    Text(&'a [u8]),
    /// A complete sequence.
    Sequence {
        /// What introduced it.
        kind: Kind,
        /// Without introducer and terminator.
        body: &'a [u8],
        /// Whether all of the body is there: it was not too long.
        whole: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// After a C2 that may begin a C1 control.
    Utf8,
    Escape,
    Csi,
    Text(Kind),
    /// In the text of a string, after `ESC`: `\` ends it.
    TextEscape(Kind),
    /// In the text of a string, after a C2: 9C ends it.
    TextUtf8(Kind),
}

/// Cuts a stream; holds the beginning of a sequence that has not ended.
pub(crate) struct Scanner {
    state: State,
    body: Vec<u8>,
    whole: bool,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { state: State::Ground, body: Vec::new(), whole: true }
    }

    /// Cuts `bytes`; `found` gets each token with the offset in `bytes` at which it ends.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Token<'_>, usize)) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.state == State::Ground {
                let stop = memchr::memchr2(ESC, 0xc2, rest).unwrap_or(rest.len());
                if let Some(text) = rest.get(..stop).filter(|text| !text.is_empty()) {
                    found(Token::Text(text), at + stop);
                }
                if let Some(&byte) = rest.get(stop) {
                    self.state = if byte == ESC { State::Escape } else { State::Utf8 };
                    at += 1;
                }
                at += stop;
                continue;
            }
            let Some(&byte) = rest.first() else { break };
            at += 1;
            self.step(byte, at, &mut found);
        }
    }

    fn step(&mut self, byte: u8, end: usize, found: &mut impl FnMut(Token<'_>, usize)) {
        match self.state {
            State::Ground => self.state = State::Ground,
            State::Utf8 => match byte {
                0x90 => self.enter(State::Text(Kind::Dcs)),
                0x98 | 0x9e | 0x9f => self.enter(State::Text(Kind::Other)),
                0x9b => self.enter(State::Csi),
                0x9d => self.enter(State::Text(Kind::Osc)),
                0x80..=0x9f => {
                    // The 7-bit form of a C1 control is ESC and the byte less 0x40.
                    self.enter(State::Escape);
                    self.keep(byte - 0x40);
                    self.done(Kind::Escape, end, found);
                }
                ESC => {
                    found(Token::Text(b"\xc2"), end - 1);
                    self.enter(State::Escape);
                }
                _ => {
                    found(Token::Text(&[0xc2, byte]), end);
                    self.state = State::Ground;
                }
            },
            State::Escape => match byte {
                b'[' if self.body.is_empty() => self.enter(State::Csi),
                b']' if self.body.is_empty() => self.enter(State::Text(Kind::Osc)),
                b'P' if self.body.is_empty() => self.enter(State::Text(Kind::Dcs)),
                b'X' | b'^' | b'_' if self.body.is_empty() => self.enter(State::Text(Kind::Other)),
                ESC => self.enter(State::Escape),
                CAN | SUB => self.enter(State::Ground),
                0x20..=0x2f => self.keep(byte),
                0x30..=0x7e => {
                    self.keep(byte);
                    self.done(Kind::Escape, end, found);
                }
                // A control in the midst of a sequence is executed at once.
                0..=0x1f => found(Token::Text(&[byte]), end),
                0x7f.. => {}
            },
            State::Csi => match byte {
                ESC => self.enter(State::Escape),
                CAN | SUB => self.enter(State::Ground),
                0x20..=0x3f => self.keep(byte),
                0x40..=0x7e => {
                    self.keep(byte);
                    self.done(Kind::Csi, end, found);
                }
                0..=0x1f => found(Token::Text(&[byte]), end),
                0x7f.. => {}
            },
            State::Text(kind) => match byte {
                BEL if kind == Kind::Osc => self.done(kind, end, found),
                ESC => self.state = State::TextEscape(kind),
                CAN | SUB => self.enter(State::Ground),
                0xc2 => self.state = State::TextUtf8(kind),
                _ => self.keep(byte),
            },
            State::TextEscape(kind) => {
                self.done(kind, end - 1, found);
                if byte != b'\\' {
                    self.enter(State::Escape);
                    self.step(byte, end, found);
                }
            }
            State::TextUtf8(kind) => {
                self.state = State::Text(kind);
                if byte == 0x9c {
                    self.done(kind, end, found);
                } else {
                    self.keep(0xc2);
                    self.step(byte, end, found);
                }
            }
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.body.clear();
        self.whole = true;
    }

    fn keep(&mut self, byte: u8) {
        if self.body.len() < SEQUENCE_MAX {
            self.body.push(byte);
        } else {
            self.whole = false;
        }
    }

    fn done(&mut self, kind: Kind, end: usize, found: &mut impl FnMut(Token<'_>, usize)) {
        // Given back: a recording that idles keeps no long sequence's room.
        let body = std::mem::take(&mut self.body);
        let whole = self.whole;
        self.enter(State::Ground);
        found(Token::Sequence { kind, body: &body, whole }, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let mut scanner = Scanner::new();
        let mut all: Vec<String> = Vec::new();
        for piece in pieces {
            scanner.feed(piece, |token, end| {
                assert!(end <= piece.len());
                match token {
                    Token::Text(text) => {
                        let text = String::from_utf8_lossy(text);
                        match all.last_mut().filter(|last| last.starts_with("text ")) {
                            Some(last) => last.push_str(&text),
                            None => all.push(format!("text {text}")),
                        }
                    }
                    Token::Sequence { kind, body, whole } => {
                        assert!(whole || body.len() == SEQUENCE_MAX);
                        all.push(format!("{kind:?} {}", String::from_utf8_lossy(body)));
                    }
                }
            });
        }
        all
    }

    #[test]
    fn a_stream_is_cut_the_same_however_its_pieces_fall() {
        let stream = "a\x1b[1;2Hb\x1b]133;A\x07c\x1b]633;E;ls\x1b\\d\x1bP$qm\x1b\\e\x1b(B\u{9b}6n\u{9d}52;c;eA==\u{9c}\u{a7}ü"
            .as_bytes();
        let expected = [
            "text a",
            "Csi 1;2H",
            "text b",
            "Osc 133;A",
            "text c",
            "Osc 633;E;ls",
            "text d",
            "Dcs $qm",
            "text e",
            "Escape (B",
            "Csi 6n",
            "Osc 52;c;eA==",
            "text §ü",
        ];
        assert_eq!(cut(&[stream]), expected);
        for at in 0..stream.len() {
            // Halves of a character are joined by the caller; here they would print as two.
            let (a, b) = stream.split_at(at);
            if std::str::from_utf8(a).is_ok() {
                assert_eq!(cut(&[a, b]), expected, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_sequence_without_end_takes_bounded_room_and_cancel_ends_it() {
        let long = [b"\x1b]2;".as_slice(), &vec![b'x'; 10 * SEQUENCE_MAX]].concat();
        let mut scanner = Scanner::new();
        scanner.feed(&long, |_, _| panic!("a token of nothing"));
        assert!(scanner.body.capacity() <= 2 * SEQUENCE_MAX);
        let mut seen = Vec::new();
        scanner.feed(b"\x18after", |token, _| seen.push(format!("{token:?}")));
        assert_eq!(seen.len(), 1);
        assert_eq!(cut(&[b"\x1b]0;title\x1b[0mtext"]), ["Osc 0;title", "Csi 0m", "text text"]);
    }
}
