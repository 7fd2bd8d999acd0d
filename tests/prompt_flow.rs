//! Limits, type-ahead, back-pressure and the end of a prompt, and bytes that no keyboard sends.
//! Absent on purpose: what the screen looks like, which is `prompt_editing`'s.
#![allow(clippy::print_stdout, reason = "helpers of tests are tests")]

use crate::prompt_terminal;
use std::pin::pin;
use std::task::{Context, Waker};

use pforte::prompt::{Prompt, Read, Size, Typed};
use prompt_terminal::Terminal;
use proptest::prelude::*;
use tokio::sync::mpsc;

const SIZE: Size = Size { cols: 80, rows: 24 };

#[test]
fn what_is_typed_while_a_command_runs_is_read_afterwards() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line("first"), "first");
    assert_eq!(t.keyboard.type_bytes(b"second\rthi"), Typed::Taken);
    assert_eq!(t.line(""), "second");
    assert_eq!(t.line("rd"), "third");
}

#[test]
fn a_paste_while_a_command_runs_is_still_one_line() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line("first"), "first");
    assert_eq!(t.keyboard.type_bytes(b"\x1b[200~a\rb\r\x1b[201~"), Typed::Taken);
    assert_eq!(t.line(""), "a b ");
}

#[test]
fn interrupt_reaches_the_running_command_and_drops_type_ahead() {
    let mut t = Terminal::xterm();
    let pressed = t.keyboard.interrupted();
    assert_eq!(t.line("x"), "x");
    assert!(!*pressed.borrow());
    assert_eq!(t.keyboard.type_bytes(b"dangerous\r\x03safe"), Typed::Taken);
    assert!(*pressed.borrow());
    assert_eq!(t.line(""), "safe");
    assert!(!*pressed.borrow());
}

#[test]
fn interrupt_typed_right_behind_a_line_is_for_its_command() {
    let mut t = Terminal::xterm();
    let pressed = t.keyboard.interrupted();
    assert_eq!(t.line("run\rnext\r\x03"), "run");
    assert!(*pressed.borrow());
    assert_eq!(t.line("then"), "then");
}

#[test]
fn type_ahead_beyond_its_limit_is_dropped_with_one_bell() {
    let mut t = Terminal::xterm();
    assert_eq!(t.keyboard.type_bytes(&vec![b'a'; 64 * 1024 - 1]), Typed::Taken);
    assert_eq!(t.keyboard.type_bytes(b"\rbb"), Typed::Overflow);
    assert_eq!(t.keyboard.type_bytes(b"rm\r"), Typed::Overflow);
    assert_eq!(t.output.try_recv().unwrap().as_ref(), b"\x07");
    assert!(t.output.try_recv().is_err());
    assert_eq!(t.line("").len(), 8 * 1024);
    assert_eq!(t.line("ok"), "ok");
}

#[test]
fn a_line_ends_at_8_kib_and_a_longer_paste_is_refused_whole() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line("ä".repeat(4096)).len(), 8192);
    assert_eq!(t.bells(), 0);
    assert_eq!(t.line("ä".repeat(4097)).len(), 8192);
    assert_eq!(t.bells(), 1);
    assert_eq!(t.line(format!("a\x1b[200~{}\x1b[201~b", "x".repeat(8192))), "ab");
    assert_eq!(t.bells(), 2);
}

#[test]
fn history_is_bounded_in_bytes() {
    let mut t = Terminal::xterm();
    for n in 0..20 {
        t.line(format!("{n:04}{}", "x".repeat(8000)));
    }
    assert!(t.line("\x1b[A".repeat(50)).starts_with("0012"));
}

#[test]
fn whole_lines_are_read_before_hanging_up_ends_it() {
    let mut t = Terminal::xterm();
    t.keyboard.type_bytes(b"one\rtwo\rthr");
    t.keyboard.hang_up();
    assert_eq!(t.types(""), Some(Read::Line("one".into())));
    assert_eq!(t.types(""), Some(Read::Line("two".into())));
    assert_eq!(t.types(""), Some(Read::End));
    assert_eq!(t.types(""), Some(Read::End));
}

#[test]
fn the_terminal_gets_its_paste_mode_back() {
    let mut t = Terminal::xterm();
    t.line("x");
    drop(t.prompt);
    assert_eq!(t.output.try_recv().unwrap().as_ref(), b"\x1b[?2004l");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_prompt_wakes_for_keys_and_for_hanging_up() {
    let (sender, mut output) = mpsc::channel(4);
    let (mut prompt, keyboard) = Prompt::open("xterm", SIZE, sender);
    let reader = tokio::spawn(async move {
        let read = prompt.read_line("> ").await;
        (read, prompt)
    });
    output.recv().await.unwrap();
    keyboard.type_bytes(b"hi\r");
    let (read, mut prompt) = reader.await.unwrap();
    assert_eq!(read, Read::Line("hi".into()));
    let reader = tokio::spawn(async move { prompt.read_line("> ").await });
    output.recv().await.unwrap();
    drop(keyboard);
    assert_eq!(reader.await.unwrap(), Read::End);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_own_prompt_only_and_can_hang_up() {
    let (sender, output) = mpsc::channel(1);
    let (mut prompt, keyboard) = Prompt::open("xterm", SIZE, sender);
    assert_eq!(keyboard.type_bytes(b"one\r"), Typed::Taken);
    {
        let mut read = pin!(prompt.read_line("> "));
        for _ in 0..3 {
            assert!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        // Whoever holds the keyboard is not held up, and its hanging up is heard by the read that waits.
        assert_eq!(keyboard.type_bytes(b"two"), Typed::Taken);
        keyboard.hang_up();
        assert_eq!(read.await, Read::End);
    }
    assert_eq!(prompt.read_line("> ").await, Read::End);
    drop(output);
}

#[tokio::test]
async fn a_client_that_is_gone_ends_the_read() {
    let (sender, output) = mpsc::channel(1);
    let (mut prompt, _keyboard) = Prompt::open("xterm", SIZE, sender);
    drop(output);
    assert_eq!(prompt.read_line("> ").await, Read::End);
}

/// Types all of it, as fast as it is taken, reads lines until the end, and checks every one.
fn survives(term: &str, pieces: &[Vec<u8>]) {
    let mut t = Terminal::new(term, 20, 5);
    let mut reads = 0;
    for piece in pieces {
        t.keyboard.type_bytes(piece);
        reads += drain(&mut t);
        t.keyboard.resize(Size { cols: u16::try_from(piece.len() % 97).unwrap(), rows: 7 });
    }
    t.keyboard.type_bytes(b"\x03still\r");
    reads += drain(&mut t);
    t.keyboard.hang_up();
    assert_eq!(t.types(""), Some(Read::End));
    assert!(reads >= 1);
}

fn drain(t: &mut Terminal) -> usize {
    let mut reads = 0;
    while let Some(read) = t.types("") {
        reads += 1;
        if let Read::Line(line) = read {
            assert!(line.len() <= 8192 && !line.contains(char::is_control));
        }
    }
    reads
}

#[test]
fn a_megabyte_of_every_byte_value_is_survived() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let pieces: Vec<Vec<u8>> = (0..64)
        .map(|_| {
            (0..16 * 1024)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    seed.to_le_bytes()[3]
                })
                .collect()
        })
        .collect();
    for term in ["xterm", "dumb"] {
        survives(term, &pieces);
    }
}

/// Bytes as terminals send them, and as they do not.
fn typed() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\x1b[H",
        "\x1b[F",
        "\x1b[3~",
        "\x1b[1;5D",
        "\x1bb",
        "\x1bf",
        "\x1bd",
        "\x1b[200~",
        "\x1b[201~",
        "\x1b",
        "\x17",
        "\x15",
        "\x0b",
        "\x14",
        "\t",
        "\r",
        "\x7f",
        "漢",
        "ä",
        "e\u{301}",
        "👩\u{200d}👧",
        "\u{200d}",
        "\u{301}",
        "👍\u{1f3fd}",
        "🇩🇪",
        "\u{202e}",
        "a b",
        "konn",
        "\x0c",
        "\x04",
    ]);
    prop_oneof![
        6 => known.prop_map(|s| s.as_bytes().to_vec()),
        2 => "\\PC{1,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..12),
    ]
}

/// Letters of every width, and keys that move and delete.
fn edited() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b ",
        "abcdefghi",
        "ä",
        "漢",
        "漢字",
        "e\u{301}",
        "👩\u{200d}👧",
        "👍\u{1f3fd}",
        "🇩🇪",
        "\u{202e}",
        "\x1b[D",
        "\x1b[C",
        "\x01",
        "\x05",
        "\x7f",
        "\x1b[3~",
        "\x17",
        "\x1bb",
        "\x1bf",
        "x\x14",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_typing_panics_or_keeps_from_hanging_up(
        term in prop::sample::select(vec!["xterm", "dumb"]),
        pieces in prop::collection::vec(typed(), 0..200),
    ) {
        survives(term, &pieces);
    }

    #[test]
    fn a_line_typed_key_by_key_looks_like_one_typed_at_once(
        term in prop::sample::select(vec!["xterm", "dumb"]),
        pieces in prop::collection::vec(edited(), 0..60),
    ) {
        let mut slow = Terminal::new(term, 20, 9);
        let pieces: Vec<&[u8]> = pieces.iter().map(|p| p.as_bytes()).collect();
        prop_assert_eq!(slow.type_pieces(false, &pieces), None);
        let mut fast = Terminal::new(term, 20, 9);
        prop_assert_eq!(fast.types(pieces.concat()), None);
        prop_assert_eq!(slow.shown(), fast.shown());
        prop_assert_eq!(slow.screen.screen().cursor_position(), fast.screen.screen().cursor_position());
    }

    #[test]
    fn no_term_panics(term in ".*") {
        survives(&term, &[b"x\x1b[D".to_vec()]);
    }
}
