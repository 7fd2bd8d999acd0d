//! One line of the journal as bytes: how text is made harmless, the chain's fields, and the hash.
//! Absent on purpose: which fields there are (that is `entry`), files, time and signatures.

use std::fmt::Write as _;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::entry::Event;

/// The most bytes one line can have, its newline not counted.
pub const LINE_MAX: usize = 16 * 1024;

/// Puts one whole line, newline included, behind `out`; returns its hash.
pub(crate) fn put_line(out: &mut Vec<u8>, seq: u64, time: Timestamp, prev: &Hash, body: &str) -> Hash {
    let line = format!("{{\"seq\":{seq},\"time\":\"{time:.6}\",\"prev\":\"{prev}\"{body}");
    let hash = Hash::of(line.as_bytes());
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
    hash
}

/// How [`put_text`] showed its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    AsItCame,
    Partly,
}

/// Writes bytes as a JSON string of at most `limit` bytes between the quotes. Bytes that are not UTF-8 become `\xNN`;
/// whatever steers a terminal or hides text (C0, C1, line separators, bidirectional marks) becomes `\uNNNN`.
pub(crate) fn put_text(out: &mut String, bytes: &[u8], limit: usize) -> Shown {
    let mut shown = Shown::AsItCame;
    let end = out.len() + 1 + limit;
    let mut piece = String::with_capacity(12);
    out.push('"');
    'all: for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            piece.clear();
            escape(&mut piece, character);
            if out.len() + piece.len() > end {
                shown = Shown::Partly;
                break 'all;
            }
            out.push_str(&piece);
        }
        for byte in chunk.invalid() {
            shown = Shown::Partly;
            if out.len() + 5 > end {
                break 'all;
            }
            // Writing to a String cannot fail.
            write!(out, "\\\\x{byte:02x}").ok();
        }
    }
    out.push('"');
    shown
}

fn escape(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_unsafe(c) => {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}").ok();
            }
        }
        c => out.push(c),
    }
}

/// Does the character steer a terminal, break a line or hide its neighbours? (Unicode's Cc, line separators and
/// `Bidi_Control`, the zero-width characters, the byte order mark, tags.)
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The SHA-256 of a whole line without its newline; printed as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first line of all has as its `prev`.
    pub const ZERO: Hash = Hash([0; 32]);

    /// The hash of a line, given without its newline.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0_u8; 64];
        for (byte, pair) in self.0.iter().zip(text.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        f.write_str("sha256:")?;
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

impl FromStr for Hash {
    type Err = BadHash;
    fn from_str(text: &str) -> Result<Self, BadHash> {
        let hex = text.strip_prefix("sha256:").filter(|h| h.len() == 64).ok_or(BadHash)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return Err(BadHash) };
            *byte = (nibble(*high)? << 4) | nibble(*low)?;
        }
        Ok(Self(bytes))
    }
}

const fn nibble(digit: u8) -> Result<u8, BadHash> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(BadHash),
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected sha256: and 64 hexadecimal digits")]
pub struct BadHash;

/// The chain's fields of a line that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    pub seq: u64,
    pub prev: Hash,
    pub head: Option<HeadFields>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadFields {
    pub signature: String,
    pub signed: String,
}

impl Links {
    /// Reads a line's chain fields; `None` if it is no line of a journal.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            seq: u64,
            prev: &'a str,
            event: &'a str,
            signature: Option<String>,
            signed: Option<String>,
        }
        let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
        let head = (fields.event == Event::Head.as_str()).then(|| HeadFields {
            signature: fields.signature.unwrap_or_default(),
            signed: fields.signed.unwrap_or_default(),
        });
        Some(Self { seq: fields.seq, prev: fields.prev.parse().ok()?, head })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_prints_and_parses_and_nothing_else_does() {
        let hash = Hash::of(b"abc");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in ["", "sha256:", &"0".repeat(71), &hash.to_string().to_uppercase(), &format!("{hash}0")] {
            assert_eq!(bad.parse::<Hash>(), Err(BadHash));
        }
    }
}
