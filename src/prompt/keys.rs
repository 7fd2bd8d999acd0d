//! Bytes from a terminal → keys: UTF-8, control characters, the escape sequences of cursor keys, pastes.
//! Absent on purpose: any time-out, any question to the terminal, any buffer that could grow.

/// What was pressed, as far as a line editor cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    PasteBegin,
    /// One character inside a bracketed paste; its line ends and tabs arrive as spaces.
    Pasted(char),
    PasteEnd,
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    KillToEnd,
    KillToStart,
    KillWordLeft,
    KillSpacedWordLeft,
    KillWordRight,
    Swap,
    ClearScreen,
    Interrupt,
    EndOfInput,
}

/// Longest parameter text of an escape sequence that is still looked at.
const PARAMETERS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    /// After `ESC [` (ECMA-48 5.4).
    Csi,
    /// After `ESC O`.
    Ss3,
    /// After `ESC [ [`, the Linux console's function keys: one letter to come.
    Linux,
}

/// The decoder; give it one byte at a time.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    parameters: [u8; PARAMETERS],
    length: usize,
    utf8: [u8; 4],
    utf8_length: usize,
    pasting: bool,
    after_return: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Ground,
            parameters: [0; PARAMETERS],
            length: 0,
            utf8: [0; 4],
            utf8_length: 0,
            pasting: false,
            after_return: false,
        }
    }

    /// The key that `byte` completes, if it does. Invalid UTF-8 and unknown sequences give none.
    pub(super) fn push(&mut self, byte: u8) -> Option<Key> {
        if byte < 0x20 || byte == 0x7f {
            return self.control(byte);
        }
        match self.state {
            State::Ground => self.text(byte),
            _ if byte >= 0x80 => {
                self.state = State::Ground;
                self.text(byte)
            }
            State::Escape => self.escape(byte),
            State::Csi => self.csi(byte),
            State::Ss3 => {
                self.state = State::Ground;
                if self.pasting { None } else { ss3(byte) }
            }
            State::Linux => {
                self.state = State::Ground;
                None
            }
        }
    }

    /// Control characters always get through; the sequence they stand in is given up.
    fn control(&mut self, byte: u8) -> Option<Key> {
        let escaped = self.state == State::Escape;
        let line_end_counted = byte == b'\n' && self.after_return;
        self.state = if byte == 0x1b { State::Escape } else { State::Ground };
        self.utf8_length = 0;
        self.after_return = byte == b'\r';
        if byte == 0x03 {
            self.pasting = false;
            return Some(Key::Interrupt);
        }
        if line_end_counted {
            return None;
        }
        if self.pasting {
            return matches!(byte, b'\r' | b'\n' | b'\t').then_some(Key::Pasted(' '));
        }
        match byte {
            0x01 => Some(Key::Home),
            0x02 => Some(Key::Left),
            0x04 => Some(Key::EndOfInput),
            0x05 => Some(Key::End),
            0x06 => Some(Key::Right),
            0x08 | 0x7f if escaped => Some(Key::KillWordLeft),
            0x08 | 0x7f => Some(Key::Backspace),
            0x09 => Some(Key::Tab),
            0x0a | 0x0d => Some(Key::Enter),
            0x0b => Some(Key::KillToEnd),
            0x0c => Some(Key::ClearScreen),
            0x0e => Some(Key::Down),
            0x10 => Some(Key::Up),
            0x14 => Some(Key::Swap),
            0x15 => Some(Key::KillToStart),
            0x17 => Some(Key::KillSpacedWordLeft),
            _ => None,
        }
    }

    fn text(&mut self, byte: u8) -> Option<Key> {
        self.after_return = false;
        loop {
            let first = self.utf8_length == 0;
            if let Some(place) = self.utf8.get_mut(self.utf8_length) {
                *place = byte;
                self.utf8_length += 1;
            }
            match std::str::from_utf8(self.utf8.get(..self.utf8_length).unwrap_or_default()) {
                Ok(text) => {
                    let c = text.chars().next().filter(|c| !c.is_control());
                    self.utf8_length = 0;
                    return c.map(if self.pasting { Key::Pasted } else { Key::Char });
                }
                Err(error) if error.error_len().is_none() => return None,
                Err(_) => self.utf8_length = 0,
            }
            if first {
                return None;
            }
        }
    }

    /// Alt with a letter we know, or the letter itself: who pressed Escape alone and types on loses nothing.
    fn escape(&mut self, byte: u8) -> Option<Key> {
        self.state = State::Ground;
        match byte {
            b'[' => {
                self.state = State::Csi;
                self.length = 0;
                None
            }
            b'O' => {
                self.state = State::Ss3;
                None
            }
            _ if self.pasting => self.text(byte),
            b'b' => Some(Key::WordLeft),
            b'f' => Some(Key::WordRight),
            b'd' => Some(Key::KillWordRight),
            byte => self.text(byte),
        }
    }

    fn csi(&mut self, byte: u8) -> Option<Key> {
        if byte < 0x40 {
            // Too long a sequence is swallowed to its end and means nothing.
            if let Some(place) = self.parameters.get_mut(self.length) {
                *place = byte;
            }
            self.length = self.length.saturating_add(1);
            return None;
        }
        self.state = if byte == b'[' && self.length == 0 { State::Linux } else { State::Ground };
        let parameters = self.parameters.get(..self.length)?;
        match (self.pasting, parameters, byte) {
            (true, b"201", b'~') => {
                self.pasting = false;
                Some(Key::PasteEnd)
            }
            (true, _, _) => None,
            (false, b"200", b'~') => {
                self.pasting = true;
                Some(Key::PasteBegin)
            }
            (false, _, _) => csi_key(parameters, byte),
        }
    }
}

/// xterm's, VT220's and rxvt's cursor and editing keys.
fn csi_key(parameters: &[u8], byte: u8) -> Option<Key> {
    let by_word = matches!(parameters, b"1;3" | b"1;5" | b"1;7" | b"3" | b"5");
    match (parameters, byte) {
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'C') => Some(if by_word { Key::WordRight } else { Key::Right }),
        (_, b'D') => Some(if by_word { Key::WordLeft } else { Key::Left }),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"3", b'~') => Some(Key::Delete),
        (b"3;3" | b"3;5", b'~') => Some(Key::KillWordRight),
        _ => None,
    }
}

fn ss3(byte: u8) -> Option<Key> {
    match byte {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Right),
        b'D' => Some(Key::Left),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        b'M' => Some(Key::Enter),
        b'c' => Some(Key::WordRight),
        b'd' => Some(Key::WordLeft),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::new();
        bytes.iter().filter_map(|b| decoder.push(*b)).collect()
    }

    #[test]
    fn broken_utf8_is_dropped_and_what_follows_is_read() {
        assert_eq!(keys(b"\xff\xc3(\xe6\xbc\xc3\xa4\x80"), [Key::Char('('), Key::Char('ä')]);
        assert_eq!(keys(b"\xc2\x9b31m"), [Key::Char('3'), Key::Char('1'), Key::Char('m')]);
    }

    #[test]
    fn a_sequence_in_two_halves_is_one_key() {
        let mut decoder = Decoder::new();
        assert_eq!([0x1b, b'[', b'1', b';', b'5'].map(|b| decoder.push(b)), [None; 5]);
        assert_eq!(decoder.push(b'D'), Some(Key::WordLeft));
    }

    #[test]
    fn an_endless_sequence_is_given_up_by_a_control_key() {
        let bytes = [b"\x1b[".as_slice(), &[b'9'; 5000], b"\r\x1b]0;x\r"].concat();
        assert_eq!(keys(&bytes).iter().filter(|k| **k == Key::Enter).count(), 2);
    }

    #[test]
    fn cr_lf_is_one_enter_and_interrupt_ends_a_paste_that_never_ends() {
        assert_eq!(keys(b"\r\n\n"), [Key::Enter, Key::Enter]);
        assert_eq!(keys(b"\x1b[200~\x03\r"), [Key::PasteBegin, Key::Interrupt, Key::Enter]);
    }
}
