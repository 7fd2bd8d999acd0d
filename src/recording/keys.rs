//! What a person's keys mean for the line that is being typed. Absent on purpose: the line itself, which only the screen knows.
//!
//! What the terminal answers by itself (cursor position, focus, mouse, colours) is no key and is passed over.

use zeroize::Zeroize;

/// More of one escape sequence is not kept.
const SEQUENCE_MAX: usize = 32;
/// No answer of a terminal's is longer.
const ANSWER_MAX: usize = 256;

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A printable character, typed or pasted.
    Character(char),
    /// A line's end: Enter, Ctrl-J, and Ctrl-O, which takes a line in readline.
    Enter,
    /// A line's end inside a bracketed paste: text, not Enter.
    PastedNewline,
    /// Backspace.
    Erase,
    /// Ctrl-U.
    EraseLine,
    /// Ctrl-C.
    Interrupt,
    /// Anything else: arrows, Tab, Ctrl-R. From here on only the screen knows the line.
    Edit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    Csi,
    /// `ESC O`: one more byte.
    Ss3,
    /// An answer of the terminal's, up to ST or BEL.
    Answer,
    AnswerEscape,
}

/// Reads keys out of bytes, however their pieces fall.
pub(super) struct Keys {
    state: State,
    sequence: Vec<u8>,
    character: [u8; 4],
    have: usize,
    pasting: bool,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { state: State::Ground, sequence: Vec::new(), character: [0; 4], have: 0, pasting: false }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], mut pressed: impl FnMut(Key)) {
        for &byte in bytes {
            if let Some(key) = self.step(byte) {
                pressed(key);
            }
        }
    }

    fn step(&mut self, byte: u8) -> Option<Key> {
        match self.state {
            State::Ground => self.plain(byte),
            State::Escape => {
                self.state = State::Ground;
                match byte {
                    b'[' => self.state = State::Csi,
                    b'O' => self.state = State::Ss3,
                    b']' | b'P' => self.state = State::Answer,
                    0x1b => self.state = State::Escape,
                    b'\r' | b'\n' => return self.plain(byte),
                    _ => return Some(Key::Edit),
                }
                self.sequence.clear();
                None
            }
            State::Ss3 => {
                self.state = State::Ground;
                // The keypad's Enter.
                Some(if byte == b'M' { Key::Enter } else { Key::Edit })
            }
            State::Csi => {
                if (0x40..=0x7e).contains(&byte) {
                    self.state = State::Ground;
                    return self.control(byte);
                }
                if self.sequence.len() < SEQUENCE_MAX {
                    self.sequence.push(byte);
                }
                None
            }
            State::Answer => {
                let first = self.sequence.is_empty();
                match byte {
                    0x07 | 0x18 => self.state = State::Ground,
                    0x1b => self.state = State::AnswerEscape,
                    b'0'..=b'9' | b'>' | b'!' if first => self.sequence.push(byte),
                    0x20..=0x7e if !first && self.sequence.len() < ANSWER_MAX => self.sequence.push(byte),
                    // No answer: a person pressed Alt and one of these, and goes on.
                    _ => {
                        self.state = State::Ground;
                        return self.plain(byte).or(Some(Key::Edit));
                    }
                }
                None
            }
            State::AnswerEscape => {
                self.state = State::Ground;
                None
            }
        }
    }

    fn control(&mut self, last: u8) -> Option<Key> {
        match (self.sequence.as_slice(), last) {
            (b"200", b'~') => {
                self.pasting = true;
                None
            }
            (b"201", b'~') => {
                self.pasting = false;
                None
            }
            // The kitty protocol and xterm's modifyOtherKeys.
            (b"13" | b"13;1", b'u') | (b"27;1;13", b'~') => Some(Key::Enter),
            (b"99;5", b'u') | (b"27;5;99", b'~') => Some(Key::Interrupt),
            // Answers: positions, attributes, modes, sizes, focus, mouse.
            ([b'?' | b'>' | b'<', ..], _)
            | (_, b'c' | b'n' | b't' | b'y' | b'I' | b'O' | b'M')
            | ([_, ..], b'R') => None,
            _ => Some(Key::Edit),
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Key> {
        if self.have > 0 || byte >= 0x80 {
            return self.wide(byte);
        }
        Some(match byte {
            b'\r' | b'\n' if self.pasting => Key::PastedNewline,
            b'\r' | b'\n' | 0x0f => Key::Enter,
            0x1b => {
                self.state = State::Escape;
                return None;
            }
            0x03 => Key::Interrupt,
            0x08 | 0x7f => Key::Erase,
            0x15 => Key::EraseLine,
            0x20..=0x7e => Key::Character(char::from(byte)),
            0..=0x1f | 0x80.. => Key::Edit,
        })
    }

    /// Collects a character of several bytes.
    fn wide(&mut self, byte: u8) -> Option<Key> {
        let continues = byte & 0xc0 == 0x80;
        if self.have > 0 && !continues {
            self.have = 0;
            // What was begun is no character; this byte is a key of its own.
            return if byte >= 0x80 { self.wide(byte) } else { self.plain(byte) };
        }
        if let Some(place) = self.character.get_mut(self.have) {
            *place = byte;
            self.have += 1;
        }
        let so_far = self.character.get(..self.have).unwrap_or_default();
        let key = match std::str::from_utf8(so_far) {
            Ok(text) => text.chars().next().map(Key::Character),
            Err(e) if e.error_len().is_none() && self.have < 4 => return None,
            Err(_) => Some(Key::Edit),
        };
        self.have = 0;
        self.character.zeroize();
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::new();
        let mut all = Vec::new();
        // Byte by byte: no piece may matter.
        for byte in bytes {
            keys.feed(&[*byte], |key| all.push(key));
        }
        all
    }

    #[test]
    fn enter_is_enter_in_all_its_forms_but_not_inside_a_paste() {
        for enter in ["\r", "\n", "\x0f", "\x1bOM", "\x1b[13u", "\x1b\r"] {
            assert_eq!(pressed(enter.as_bytes()), [Key::Enter], "{enter:?}");
        }
        assert_eq!(
            pressed(b"\x1b[200~a\rb\x1b[201~\r"),
            [Key::Character('a'), Key::PastedNewline, Key::Character('b'), Key::Enter]
        );
    }

    #[test]
    fn answers_of_the_terminal_are_no_keys() {
        let answers =
            "\x1b[24;80R\x1b[?62;1c\x1b[I\x1b[O\x1b[<0;3;4M\x1b]11;rgb:0/0/0\x07\x1bP1$r0m\x1b\\\x1b[?1;2$y";
        assert_eq!(pressed(answers.as_bytes()), []);
        assert_eq!(pressed(b"\x1b[A\x1bOA\x1bb\t\x12"), [Key::Edit; 5]);
    }

    #[test]
    fn characters_of_several_bytes_are_one_key_and_halves_are_none() {
        assert_eq!(pressed("ä你".as_bytes()), [Key::Character('ä'), Key::Character('你')]);
        assert_eq!(pressed(b"\xc3x\x03"), [Key::Character('x'), Key::Interrupt]);
    }
}
