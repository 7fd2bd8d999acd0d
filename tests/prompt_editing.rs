//! What a person sees who types at the prompt, on an emulated terminal.
//! Absent on purpose: SSH; `prompt_flow` has the limits and the hanging up.
#![allow(clippy::print_stdout, reason = "helpers of tests are tests")]

use crate::prompt_terminal;
use pforte::prompt::{Read, Size};
use prompt_terminal::{Input, Terminal, text};

const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const LEFT: &str = "\x1b[D";

#[test]
fn what_is_typed_is_shown_and_read() {
    let mut t = Terminal::xterm();
    assert_eq!(t.types("konnektor list"), None);
    assert_eq!(t.row(), ("> konnektor list".into(), 16));
    assert_eq!(t.line("whoami"), "whoami");
    assert_eq!(t.row(), (String::new(), 0));
}

#[test]
fn cursor_keys_home_and_end_move_where_letters_go() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line(format!("acd{LEFT}{LEFT}b\x1b[H_\x1b[F!\x01<\x05>")), "<_abcd!>");
    assert_eq!(t.line("12\x1bOD\x1bOHx\x1b[1~y\x1b[4~z\x1b[D\x1b[C."), "yx12z.");
    assert_eq!(t.types(format!("abc{LEFT}{LEFT}")), None);
    assert_eq!(t.row(), ("> abc".into(), 3));
}

#[test]
fn words_are_jumped_over_and_deleted() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line("backup praxis-mueller\x17x"), "backup x");
    assert_eq!(t.line("foo b\x17c"), "foo c");
    assert_eq!(t.line("one two three\x1b[1;5D\x1b[1;5D_\x1bf|"), "one _two| three");
    assert_eq!(t.line("one two\x1bb\x1bd2"), "one 2");
    assert_eq!(t.line("one two\x1b\x7f2"), "one 2");
    assert_eq!(t.line("one two\x01\x1b[C\x0bx"), "ox");
    assert_eq!(t.line("one two\x15x"), "x");
    assert_eq!(t.line("abc\x01\x1b[3~\x04"), "c");
}

#[test]
fn up_and_down_go_through_history_and_back_to_what_was_begun() {
    let mut t = Terminal::xterm();
    for line in ["sites", "whoami", "whoami", "  secret", "konnektor list"] {
        assert_eq!(t.line(line), line);
    }
    assert_eq!(t.line(format!("new{UP}{UP}{DOWN}{DOWN}er")), "newer");
    assert_eq!(t.line(format!("{UP}{UP}{UP}")), "whoami");
    assert_eq!(t.line(format!("{UP}{UP}{UP}{UP}{UP}{UP}{UP}")), "sites");
}

#[test]
fn a_line_that_turned_out_secret_can_be_forgotten() {
    let mut t = Terminal::xterm();
    assert_eq!((t.line("one"), t.line("two"), t.line("password=x")).2, "password=x");
    t.prompt.forget_last();
    assert_eq!(t.line(UP), "two");
    assert_eq!(t.line(format!("{UP}{UP}")), "one");
}

#[test]
fn interrupt_shows_itself_and_drops_the_line() {
    let mut t = Terminal::xterm();
    assert_eq!(t.types("rm\x03"), Some(Read::Interrupted));
    assert!(t.screen.screen().contents().starts_with("> rm^C"));
    assert_eq!(t.line("x"), "x");
}

#[test]
fn end_of_input_ends_on_an_empty_line_and_deletes_elsewhere() {
    let mut t = Terminal::xterm();
    assert_eq!(t.types("\x04"), Some(Read::End));
    assert_eq!(t.line("ab\x01\x04"), "b");
}

#[test]
fn umlauts_kanji_and_combining_marks_take_their_columns() {
    let mut t = Terminal::xterm();
    assert_eq!(t.types("äöüß漢字e\u{301}"), None);
    assert_eq!(t.row(), ("> äöüß漢字e\u{301}".into(), 11));
    assert_eq!(t.types(format!("äb漢字e\u{301}{LEFT}")), None);
    assert_eq!(t.row(), ("> äb漢字e\u{301}".into(), 8));
    assert_eq!(t.line(format!("漢字e\u{301}x{LEFT}\x7f\x7f")), "漢x");
    // Byte by byte, as a slow line brings them.
    let pieces: Vec<&[u8]> = "größer\r".as_bytes().chunks(1).collect();
    assert_eq!(text(t.type_pieces(false, &pieces)), "größer");
}

#[test]
fn a_joined_emoji_is_read_whole_shown_as_its_parts_and_deleted_at_once() {
    let mut t = Terminal::xterm();
    let family = "👩\u{200d}👩\u{200d}👧";
    assert_eq!(t.types(format!("{family}!")), None);
    assert_eq!(t.row(), ("> 👩👩👧!".into(), 9));
    assert_eq!(t.line(family), family);
    assert_eq!(t.line(format!("a{family}\x7fb")), "ab");
}

#[test]
fn controls_and_bidi_overrides_are_not_echoed_raw() {
    let mut t = Terminal::xterm();
    assert_eq!(t.types("a\u{202e}b\u{9b}c"), None);
    assert_eq!(t.row().0, "> a\\u{202e}bc");
    assert!(!String::from_utf8(t.raw.clone()).unwrap().contains('\u{202e}'));
}

#[test]
fn a_line_of_several_rows_is_edited_in_all_of_them() {
    let mut t = Terminal::new("xterm", 20, 8);
    let long = "abcdefghijklmnopqrstuvwxyz0123456789";
    assert_eq!(t.types(format!("{long}\x01_")), None);
    assert_eq!(t.screen.screen().contents(), "> _abcdefghijklmnopqrstuvwxyz0123456789");
    assert_eq!(t.screen.screen().cursor_position(), (0, 3));
    // Exactly full rows, typed one key at a time and at once.
    let full = "x".repeat(18);
    for pieces in [full.as_bytes().chunks(1).collect::<Vec<_>>(), vec![full.as_bytes()]] {
        let mut t = Terminal::new("xterm", 20, 8);
        assert_eq!(t.type_pieces(false, &pieces), None);
        assert_eq!(t.screen.screen().cursor_position(), (1, 0));
        assert_eq!(t.line(format!("{full}{LEFT}y")), format!("{}yx", "x".repeat(17)));
    }
    // A wide character that does not fit the row's end goes to the next.
    let mut t = Terminal::new("xterm", 20, 8);
    assert_eq!(t.types(format!("{}漢字{LEFT}", "x".repeat(17))), None);
    assert_eq!(t.screen.screen().cursor_position(), (1, 2));
}

#[test]
fn a_line_longer_than_the_screen_shows_the_part_around_the_cursor() {
    let mut t = Terminal::new("xterm", 20, 5);
    let long: String = (0..400).flat_map(|n| format!("{n:03} ").into_bytes()).map(char::from).collect();
    assert_eq!(t.types(&long), None);
    assert!(t.screen.screen().contents().starts_with("> <"));
    assert!(t.screen.screen().contents().trim_end().ends_with("398 399"));
    let mut t = Terminal::new("xterm", 20, 5);
    assert_eq!(t.types(format!("{long}\x01")), None);
    assert_eq!(t.screen.screen().cursor_position(), (0, 2));
    assert!(t.screen.screen().contents().starts_with("> 000 001 002"));
    assert_eq!(t.line(&long), long);
}

#[test]
fn resize_in_the_middle_of_a_wrapped_line_shows_it_whole() {
    let long = "the quick brown fox jumps over the lazy dog again and again";
    for (from, to) in [(20u16, 60u16), (60, 20), (40, 33)] {
        let mut t = Terminal::new("xterm", from, 10);
        let keys = Input::Keys(long.as_bytes());
        let left = format!("{LEFT}{LEFT}");
        let resize = Input::Resize(Size { cols: to, rows: 10 });
        assert_eq!(t.inputs(false, &[keys, resize, Input::Keys(left.as_bytes())]), None);
        let cells = (0..10).flat_map(|r| (0..to).map(move |c| (r, c)));
        let all: String = cells
            .map(|(r, c)| t.screen.screen().cell(r, c).map_or("", vt100::Cell::contents))
            .map(|s| if s.is_empty() { " " } else { s })
            .collect();
        assert!(all.contains(long), "{from} to {to}: {all}");
        let (row, col) = t.screen.screen().cursor_position();
        assert_eq!(t.screen.screen().cell(row, col).unwrap().contents(), "i", "{from} to {to}");
        assert_eq!(t.line(long), long);
    }
}

#[test]
fn a_paste_of_several_lines_waits_as_one() {
    let mut t = Terminal::xterm();
    assert_eq!(t.types("\x1b[200~sites\r\nwhoami\nlist\ta\x1b[201~"), None);
    assert_eq!(t.row().0, "> sites whoami list a");
    assert_eq!(t.line("x\x1b[200~1\n2\x1b[A\x04\x1b[201~y"), "x1 2y");
    assert!(t.raw.windows(8).any(|w| w == b"\x1b[?2004h"));
}

#[test]
fn escape_alone_loses_nothing() {
    let mut t = Terminal::xterm();
    assert_eq!(text(t.type_pieces(false, &[b"\x1b", b"s", b"ites", b"\x1b", b"\r"])), "sites");
    assert_eq!(t.line("\x1b\x1b\x1b[Aa"), "sitesa");
}

#[test]
fn a_secret_is_neither_shown_nor_remembered() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line("whoami"), "whoami");
    assert_eq!(text(t.type_pieces(true, &[b"123", b"4x\x7f56", b"\t\r"])), "123456");
    assert!(
        !String::from_utf8(t.raw.clone()).unwrap().contains(['1', '5']) || {
            // Digits of escape sequences are no echo.
            !t.screen.screen().contents().contains(['1', '3', '5'])
        }
    );
    assert_eq!(t.line(UP), "whoami");
    assert_eq!(text(t.type_pieces(true, &[UP.as_bytes(), b"7\r"])), "7");
    assert_eq!(t.type_pieces(true, &[b"9\x03"]), Some(Read::Interrupted));
}

#[test]
fn tab_completes_what_is_common_and_lists_the_rest() {
    let mut t = Terminal::xterm();
    t.prompt.set_completions(["konnektor list", "konnektor backup", "whoami"].map(str::to_owned).into());
    assert_eq!(t.line("w\t"), "whoami ");
    assert_eq!(t.line("k\tb\t"), "konnektor backup ");
    assert_eq!(t.line("why x who\t"), "why x whoami ");
    assert_eq!(t.types("k\t\t\t"), None);
    assert!(t.screen.screen().contents().contains("konnektor backup\nkonnektor list\n> konnektor"));
    assert_eq!(t.line("zzz\t"), "zzz");
}

#[test]
fn any_term_works_and_an_unknown_one_gets_no_escape_sequence() {
    let long = "x".repeat(4096);
    for term in ["", "dumb", "vt52", "../../etc/passwd", "\x1b[2J", "ünknown", &long, &format!("xterm{long}")]
    {
        let mut t = Terminal::new(term, 20, 5);
        assert_eq!(t.types(format!("abc{LEFT}")), None);
        assert_eq!(t.row(), ("> abc".into(), 4));
        let mut t = Terminal::new(term, 20, 5);
        assert_eq!(t.type_pieces(false, &[b"abcd", LEFT.as_bytes(), b"\x7f", b"\x7f"]), None);
        assert_eq!(t.row(), ("> ad".into(), 3));
        let line = "0123456789".repeat(5);
        assert_eq!(t.types(&line), None);
        assert!(t.row().0.starts_with("> <") && t.row().0.ends_with("789"));
        assert_eq!(t.line(&line), line);
        assert!(!t.raw.contains(&0x1b), "{term}");
    }
}

#[test]
fn clear_screen_leaves_the_line() {
    let mut t = Terminal::xterm();
    assert_eq!(t.line("old"), "old");
    assert_eq!(t.types("new\x0c"), None);
    assert_eq!(t.screen.screen().contents(), "> new");
}

#[test]
fn odd_sizes_are_taken_as_sensible_ones() {
    for (cols, rows) in [(0, 0), (1, 1), (u16::MAX, u16::MAX), (0, 300)] {
        let mut t = Terminal::new("xterm", 80, 24);
        t.keyboard.resize(Size { cols, rows });
        assert_eq!(t.line("a漢".repeat(100)), "a漢".repeat(100));
    }
}
