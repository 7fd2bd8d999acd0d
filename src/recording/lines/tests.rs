use super::*;

/// A shell as the tests play it: what is typed is shown, Enter answers.
struct Played {
    lines: Lines,
    now: Timestamp,
    found: Vec<String>,
}

impl Played {
    fn new() -> Self {
        Self { lines: Lines::new(40, 6), now: Timestamp::UNIX_EPOCH, found: Vec::new() }
    }

    fn at(prompt: &str) -> Self {
        let mut played = Self::new();
        played.shows(prompt);
        played
    }

    fn note(&mut self, noted: Vec<Noted>) {
        self.found.extend(noted.into_iter().map(|noted| match noted {
            Noted::Typed(typed) => {
                let cut = if typed.cut { " (cut)" } else { "" };
                format!("{} {}{cut}", typed.how.as_str(), typed.line)
            }
            Noted::Remark(remark) => format!("* {remark}"),
        }));
    }

    fn shows(&mut self, text: &str) -> &mut Self {
        let noted = self.lines.output(text.as_bytes(), self.now);
        self.note(noted);
        self
    }

    fn keys(&mut self, keys: &str) -> &mut Self {
        let noted = self.lines.input(keys.as_bytes(), self.now);
        self.note(noted);
        self
    }

    /// Each key is shown before the next comes, as a person sees it.
    fn types(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            self.later(80).keys(&c.to_string()).shows(&c.to_string());
        }
        self
    }

    fn later(&mut self, milliseconds: i64) -> &mut Self {
        self.now += jiff::SignedDuration::from_millis(milliseconds);
        self
    }

    fn enter(&mut self) -> &mut Self {
        self.keys("\r").shows("\r\n")
    }

    fn found(&mut self) -> Vec<String> {
        std::mem::take(&mut self.found)
    }
}

#[test]
fn a_line_is_what_the_screen_shows_behind_the_prompt() {
    let mut p = Played::at("host$ ");
    p.types("ls -l").enter();
    assert_eq!(p.found(), ["screen ls -l"]);
    p.shows("file\r\nhost$ ").types("pwdx").keys("\x7f").shows("\x08\x1b[K").enter();
    assert_eq!(p.found(), ["screen pwd"]);
    p.shows("host$ ").keys("\x1b[A").shows("ls -l").enter();
    assert_eq!(p.found(), ["screen ls -l"], "recalled");
    p.shows("host$ ").enter();
    p.shows("host$ ").types("rm -rf /").keys("\x03").shows("^C\r\nhost$ ").types("id").enter();
    assert_eq!(p.found(), ["screen id"], "an empty and an aborted one are none");
}

#[test]
fn what_is_not_echoed_is_in_no_line() {
    for after in ["\r\n", "ok\r\nhost$ ", "\r\nSorry, try again.\r\n[sudo] password for jane: "] {
        let mut p = Played::at("[sudo] password for jane: ");
        for key in ["hunter2", "\r"] {
            p.later(100).keys(key);
        }
        p.shows(after);
        assert_eq!(p.found(), [""; 0], "{after:?}");
    }
    let mut p = Played::at("Password: ");
    p.later(300).keys("secret\r").shows("*\x08 \x08******").shows("\r\nhost$ ");
    assert_eq!(p.found(), [""; 0], "stars");
}

#[test]
fn after_a_password_without_a_line_feed_the_next_line_is_read() {
    let mut p = Played::at("Pass: ");
    p.later(300).keys("secret").later(100).keys("\r").shows("host$ ").later(300);
    p.types("id").enter().shows("uid=0\r\nhost$ ");
    assert_eq!(p.found(), ["screen id"]);
}

#[test]
fn lines_typed_ahead_are_read_where_the_shell_shows_them() {
    let mut p = Played::at("host$ ");
    p.later(500).keys("one\rtwo\r\rthree\r");
    p.shows("one\r\n").shows("output of one\r\nhost$ ").shows("two\r\n");
    p.shows("some more\r\nhost$ \r\nhost$ three\r\nend\r\nhost$ ");
    assert_eq!(p.found(), ["screen one", "screen two", "screen three"]);
    p.later(500).types("four").enter();
    assert_eq!(p.found(), ["screen four"]);
}

#[test]
fn keys_that_come_before_the_prompt_do_not_bring_it_into_the_line() {
    let mut p = Played::at("host$ ");
    p.types("make").enter().shows("Compil");
    assert_eq!(p.found(), ["screen make"]);
    p.later(300).keys("l").shows("ling\r\nhost$ l").keys("s").shows("s").enter();
    assert_eq!(p.found(), ["screen ls"]);
}

#[test]
fn a_line_over_many_rows_is_one_and_one_longer_than_the_screen_is_cut() {
    let mut p = Played::at("host$ ");
    let long = "echo ".to_owned() + &"x".repeat(100);
    p.types(&long).enter();
    assert_eq!(p.found(), [format!("screen {long}")]);
    p.shows("host$ ").types(&"y".repeat(400)).keys("\x1b[D").shows("\x08\x1b[C").enter();
    let found = p.found();
    assert!(found[0].starts_with("screen yyy") && found[0].ends_with("(cut)"), "{found:?}");
}

#[test]
fn rows_of_a_bracketed_paste_are_each_their_own() {
    let mut p = Played::at("host$ ");
    p.later(500).keys("\x1b[200~echo a\necho b\x1b[201~").shows("echo a\r\necho b").later(500).enter();
    assert_eq!(p.found(), ["screen echo a", "screen echo b"]);
}

#[test]
fn full_screen_programs_are_noted_and_their_lines_are_not_read() {
    let mut p = Played::at("host$ ");
    p.types("vi x").enter().shows("\x1b[?10").shows("49h\x1b[H").types("isecret").enter();
    p.shows("\x1b[?10").shows("49l").shows("host$ ").types("ls").enter();
    assert_eq!(p.found(), ["screen vi x", "* full screen: entered", "* full screen: left", "screen ls"]);
}

#[test]
fn a_marked_line_is_the_shells_own_word_and_counts_once() {
    let mut p = Played::new();
    let prompt = "\x1b]133;A\x07host$ \x1b]133;B\x07";
    p.shows(prompt).types("ls  -l; x").enter();
    p.shows("\x1b]633;E;ls  -l\\x3b x\x07\x1b]133;C\x07").shows("out\r\n\x1b]133;D;0\x07").shows(prompt);
    assert_eq!(p.found(), ["marks ls  -l; x"]);
    // Without the line itself: what the screen showed, over several rows.
    p.types("for i in 1; do").enter().shows("> ").types("id; done").enter().shows("\x1b]133;C\x07");
    assert_eq!(p.found(), ["marks for i in 1; do\nid; done"]);
    // What runs then is not marked.
    p.shows("mysql> ").types("select 1;").enter();
    assert_eq!(p.found(), ["screen select 1;"]);
}

#[test]
fn marks_that_a_program_prints_hide_no_line_and_make_none() {
    let mut p = Played::at("host$ ");
    p.types("cat evil").enter().shows("\x1b]633;E;rm -rf /\x07");
    // One Enter, one line: it was the shell's place to say it first.
    p.shows("\x1b]633;E;rm -rf /home\x07\r\n");
    let found = p.found();
    assert_eq!(found[0], "screen cat evil");
    assert_eq!(found[2], "* marked, but entered by nobody: rm -rf /home");
    // Where a prompt marks itself and nothing else, a program's mark does not take the place of what was seen.
    p.shows("\x1b]133;A\x07host$ \x1b]133;B\x07").types("evil").enter().shows("\x1b]633;E;harmless\x07\r\n");
    assert_eq!(p.found(), ["marks harmless", "screen evil"]);
    // A prompt that never says C: the screen's word stands after a second, or at the next prompt.
    p.shows("\x1b]133;A\x07host$ \x1b]133;B\x07")
        .types("one")
        .enter()
        .shows("\x1b]133;A\x07$ \x1b]133;B\x07");
    assert_eq!(p.found(), ["screen one"]);
    p.types("two").enter().later(1500).shows("$ ").types("three").enter();
    assert_eq!(p.found(), ["screen two"]);
    let rest = p.lines.finish();
    p.note(rest);
    assert_eq!(p.found(), ["screen three"]);
}

#[test]
fn a_marked_prompt_tells_where_a_line_typed_ahead_begins() {
    let mut p = Played::at("odd!");
    p.later(400)
        .keys("a b\rc d\r")
        .shows("\x1b]133;B\x07a b\r\n\x1b]133;C\x07\x1b]133;A\x07odd!\x1b]133;B\x07c d\r\n\x1b]133;C\x07");
    assert_eq!(p.found(), ["marks a b", "marks c d"]);
}

#[test]
fn a_line_is_at_most_8_kib_and_has_no_control_characters() {
    let mut p = Played::new();
    let long = "ä".repeat(LINE_MAX);
    p.keys("x\r").shows(&format!("\x1b]633;E;{long}\x07"));
    assert_eq!(p.found(), [format!("marks {} (cut)", "ä".repeat(LINE_MAX / 2))]);
    p.later(500).keys("x\r").shows("\x1b]633;E;a\\x1b[2Jb\\x07\u{9b}2J\x07");
    assert_eq!(p.found().last().unwrap(), "marks a[2Jb2J");
}

#[test]
fn lines_that_are_never_shown_are_given_up_and_take_bounded_room() {
    let mut p = Played::at("host$ ");
    for _ in 0..2000 {
        p.keys("never shown\r");
    }
    assert!(p.lines.waiting.len() <= AHEAD_MAX);
    assert!(p.found().contains(&"* a line typed ahead was given up: too many".to_owned()));
    let line = format!("{}\r\n", "text ".repeat(80));
    for _ in 0..(AHEAD_BYTES / line.len() / 100 + 2) {
        p.shows(&line.repeat(100));
    }
    assert!(p.lines.waiting.is_empty());
    assert!(p.found().last().unwrap().starts_with("* lines typed ahead and not shown"));
}

proptest::proptest! {
    #[test]
    fn no_stream_brings_the_reader_down(
        steps in proptest::collection::vec((proptest::prelude::any::<bool>(), "(\\PC|\r|\n|\x1b\\[[0-9;?]{0,6}[@-~]|\x1b\\]133;[ABCD]\x07|\x1b\\[\\?1049[hl]|\x1bc|\x03|你){0,12}"), 0..40)
    ) {
        let mut p = Played::new();
        for (output, text) in &steps {
            if *output { p.shows(text) } else { p.keys(text) }.later(90);
            proptest::prop_assert!(p.lines.waiting.len() <= AHEAD_MAX && p.lines.collected.len() <= 65);
        }
    }
}

#[test]
fn a_line_that_is_wiped_out_at_enter_is_read_before() {
    for wiped in ["\x1b[H\x1b[2J\x1b[3J$ ", "\x1b[2J\x1b[H$ ", "\x1b[5;1H", "\x1bE", "\x0b"] {
        let mut p = Played::at("host$ ");
        p.types("clear").keys("\r").shows(wiped);
        assert_eq!(p.found(), ["screen clear"], "{wiped:?}");
    }
}

#[test]
fn a_prompt_at_the_right_is_no_part_of_the_line() {
    let mut p = Played::at("host% \x1b[30G[right]\x1b[7G");
    p.types("ls").enter();
    assert_eq!(p.found(), ["screen ls"]);
}
