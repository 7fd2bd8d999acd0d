//! Shell integration: what a target's shell says about its prompt and its command lines, in OSC 133 and OSC 633.
//! Absent on purpose: trust. A program can print these too; `lines` believes a command line only after an Enter.
//!
//! Sources: <https://gitlab.freedesktop.org/Per_Bothner/specifications/blob/master/proposals/semantic-prompts.md> and
//! <https://code.visualstudio.com/docs/terminal/shell-integration#_vs-code-custom-sequences-osc-633-st>.

/// What a mark says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// `A`: a prompt begins.
    PromptBegins,
    /// `B`: the prompt ends, the command line begins.
    LineBegins,
    /// `C`: the command runs.
    Runs,
    /// `D`: the command has ended.
    Ended,
    /// `633;E`: the command line itself.
    Line(Vec<u8>),
}

/// The mark in the body of an OSC, if it is one.
pub(super) fn parse(body: &[u8]) -> Option<Mark> {
    let (number, rest) = split(body);
    let (letter, rest) = split(rest?);
    match (number, letter) {
        (b"133" | b"633", b"A") => Some(Mark::PromptBegins),
        (b"133" | b"633", b"B") => Some(Mark::LineBegins),
        (b"133" | b"633", b"C") => Some(Mark::Runs),
        (b"133" | b"633", b"D") => Some(Mark::Ended),
        // A `;` in the line is escaped; what follows a bare one is the nonce.
        (b"633", b"E") => rest.map(|rest| Mark::Line(unescape(split(rest).0))),
        _ => None,
    }
}

fn split(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b';', bytes) {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)),
        None => (bytes, None),
    }
}

/// `\\` is a backslash, `\xHH` a byte; anything else stands for itself.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [b'\\', b'\\', tail @ ..] => {
                out.push(b'\\');
                tail
            }
            [b'\\', b'x' | b'X', high, low, tail @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return out,
        };
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_unescaped_byte_by_byte() {
        let line = |body: &str| parse(body.as_bytes());
        assert_eq!(line(r"633;E;ls -la"), Some(Mark::Line(b"ls -la".into())));
        assert_eq!(
            line(r"633;E;echo a\x3b b\x0ac \\x41;nonce"),
            Some(Mark::Line(b"echo a; b\nc \\x41".into()))
        );
        assert_eq!(line(r"633;E;\xzz\"), Some(Mark::Line(br"\xzz\".into())));
        assert_eq!(line("633;E"), None);
        assert_eq!(line("133;E;ls"), None);
    }

    #[test]
    fn marks_of_both_families_are_known_and_nothing_else() {
        assert_eq!(parse(b"133;A;cl=m"), Some(Mark::PromptBegins));
        assert_eq!(parse(b"633;B"), Some(Mark::LineBegins));
        assert_eq!(parse(b"133;D;0"), Some(Mark::Ended));
        for other in [b"0;A".as_slice(), b"133", b"133;", b"1337;A", b"633;P;Cwd=/"] {
            assert_eq!(parse(other), None);
        }
    }
}
