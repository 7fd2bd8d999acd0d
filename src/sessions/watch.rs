//! A person's terminal on the operator's, through the filter that recordings are played through.
//! Absent on purpose: the operator's keys; they go nowhere.

use std::io::{IsTerminal, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ask::Line;
use super::complain;
use crate::config::Language;
use crate::control::{Cause, Say};
use crate::play::RESET;
use crate::play::filter::Filter;

/// Shows it until it ends or Ctrl-C; why not, if not.
pub(super) async fn run(line: &mut Line, language: Language) -> anyhow::Result<Option<Cause>> {
    let mut out = std::io::stdout().lock();
    let mut screen = Shown { filter: Filter::new(), rest: Vec::new() };
    let pick = |english: &'static str, german: &'static str| match language {
        Language::English => english,
        Language::German => german,
    };
    // Where both go to one terminal, a word of ours would stand in the other's screen.
    let beside = !std::io::stderr().is_terminal();
    let (mut begun, mut missed) = (false, 0_u64);
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    let ended = loop {
        let said = tokio::select! {
            biased;
            _ = &mut stop => break Ok(false),
            said = line.next() => said,
        };
        match said {
            Ok(Say::Screen { id, columns, rows, lost }) => {
                missed = missed.saturating_add(lost);
                if !begun {
                    complain(&format!("{id}: {columns}x{rows}. {}", pick("Ctrl-C ends.", "Strg-C beendet.")));
                } else if beside {
                    complain(pick("Output was not shown.", "Ausgaben wurden nicht gezeigt."));
                }
                begun = true;
                screen = Shown { filter: Filter::new(), rest: Vec::new() };
                out.write_all(RESET)?;
                out.write_all(b"\x1b[2J\x1b[H")?;
            }
            Ok(Say::Output(text)) => out.write_all(&screen.shown(&STANDARD.decode(text)?))?,
            Ok(Say::Size { columns, rows }) if beside => complain(&format!("{columns}x{rows}")),
            Ok(Say::Refused { cause }) => return Ok(Some(cause)),
            Ok(Say::Over { lost }) => {
                missed = missed.saturating_add(lost);
                break Ok(true);
            }
            Ok(
                Say::Size { .. }
                | Say::Session(_)
                | Say::Way(_)
                | Say::Act(_)
                | Say::Done {}
                | Say::Step(_)
                | Say::Show(_)
                | Say::Prompt { .. }
                | Say::Verdict { .. },
            ) => {}
            Err(e) => break Err(e),
        }
        out.flush()?;
    };
    if begun {
        out.write_all(RESET)?;
        out.flush()?;
    }
    if missed > 0 {
        let text = pick(
            "pieces of output were not shown: this terminal was too slow.",
            "Stücke der Ausgabe wurden nicht gezeigt: dieses Terminal war zu langsam.",
        );
        complain(&format!("{missed} {text}"));
    }
    if ended? {
        complain(pick("It has ended.", "Es ist zu Ende."));
    }
    Ok(None)
}

/// Bytes as they come; a character may come in two pieces.
struct Shown {
    filter: Filter,
    rest: Vec<u8>,
}

impl Shown {
    fn shown(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let bad = chunk.invalid();
            let last = chunks.peek().is_none();
            if last && std::str::from_utf8(bad).is_err_and(|e| e.error_len().is_none()) {
                self.rest = bad.to_vec();
            } else if !bad.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.filter.shown(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_two_pieces_is_one_and_no_clipboard_is_filled() {
        let text = "grün \x1b]52;c;cm0gLXJmIC8=\x07\x1b[6n你 ok".as_bytes();
        for at in 0..text.len() {
            let mut screen = Shown { filter: Filter::new(), rest: Vec::new() };
            let mut shown = screen.shown(&text[..at]);
            shown.extend(screen.shown(&text[at..]));
            assert_eq!(String::from_utf8(shown).unwrap(), "grün 你 ok", "{at}");
        }
        let mut screen = Shown { filter: Filter::new(), rest: Vec::new() };
        assert_eq!(screen.shown(b"a\xffb\xc3"), "a\u{fffd}b".as_bytes());
        assert_eq!(screen.shown(b"x"), "\u{fffd}x".as_bytes());
    }
}
