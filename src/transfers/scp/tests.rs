#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::super::Tap;
use super::super::event::Part;
use super::*;

type Steps<'a> = &'a [(char, &'a [u8])];

/// Who sends: `s` the sender, `r` the receiver.
fn run(command: &str, steps: &[(char, &[u8])]) -> Vec<Event> {
    run_in(command, steps, usize::MAX)
}

fn run_in(command: &str, steps: &[(char, &[u8])], piece: usize) -> Vec<Event> {
    let mut tap = Tap::for_exec(command.as_bytes());
    let upload = command.contains(" -t");
    let mut events = Vec::new();
    for (who, bytes) in steps {
        for bytes in bytes.chunks(piece) {
            events.extend(if (*who == 's') == upload {
                tap.client_sent(bytes)
            } else {
                tap.target_sent(bytes)
            });
        }
    }
    events.extend(tap.end());
    events
}

fn moved(path: &str, other: Option<&str>, direction: Direction, content: &[u8], extent: Extent) -> Event {
    use sha2::Digest as _;
    Event::Moved(Moved {
        path: Name::new(path.as_bytes()),
        other: other.map(|o| Name::new(o.as_bytes())),
        direction,
        bytes: content.len() as u64,
        sha256: (extent == Extent::Whole).then(|| sha2::Sha256::digest(content).into()),
        extent,
        ranges: if content.is_empty() { vec![] } else { std::iter::once(0..content.len() as u64).collect() },
        more_ranges: false,
    })
}

fn folder(path: &str, other: Option<&str>, outcome: Outcome) -> Event {
    let (path, other) = (Name::new(path.as_bytes()), other.map(|o| Name::new(o.as_bytes())));
    Event::Changed(Changed { change: Change::FolderMade, path, other, outcome })
}

const TREE: &[(char, &[u8])] = &[
    ('r', b"\0"),
    ('s', b"T1 0 2 0\n"),
    ('r', b"\0"),
    ('s', b"D0755 0 d\n"),
    ('r', b"\0"),
    ('s', b"C0644 3 a b\n"),
    ('r', b"\0"),
    ('s', b"abc\0"),
    ('r', b"\0"),
    ('s', b"D0755 0 \xff\n"),
    ('r', b"\0"),
    ('s', b"C0644 0 empty\n"),
    ('r', b"\0"),
    ('s', b"\0"),
    ('r', b"\0"),
    ('s', b"E\n"),
    ('r', b"\0"),
    ('s', b"E\n"),
    ('r', b"\0"),
    ('s', b"C0600 1 z\n"),
    ('r', b"\0"),
    ('s', b"z\0"),
    ('r', b"\0"),
];

#[test]
fn a_tree_going_up_is_told_file_by_file() {
    let events = run("scp -r -p -t /srv", TREE);
    assert_eq!(events[0], folder("/srv/d", Some("/srv"), Outcome::Done));
    assert_eq!(events[1], moved("/srv/d/a b", Some("/srv/a b"), Direction::Upload, b"abc", Extent::Whole));
    let Event::Moved(empty) = &events[3] else { panic!("{events:?}") };
    assert_eq!(empty.path.bytes, b"/srv/d/\xff/empty");
    assert_eq!(events[4], moved("/srv/z", Some("/srv"), Direction::Upload, b"z", Extent::Whole));
    assert_eq!(events.len(), 5);
}

#[test]
fn a_tree_coming_down_is_told_with_the_path_it_was_asked_by() {
    let events = run("scp -r -f /srv/d/", TREE);
    assert_eq!(events[0], moved("/srv/d/a b", None, Direction::Download, b"abc", Extent::Whole));
    assert_eq!(events.len(), 3);
}

#[test]
fn any_split_of_the_bytes_gives_the_same() {
    for piece in [1, 2, 3, 7] {
        assert_eq!(run_in("scp -r -t -d x", TREE, piece), run("scp -r -t -d x", TREE));
    }
}

#[test]
fn a_client_that_stops_in_the_middle_left_a_file_unfinished() {
    let steps: &[(char, &[u8])] = &[('r', b"\0"), ('s', b"C0644 10 f\n"), ('r', b"\0"), ('s', b"12345")];
    assert_eq!(run("scp -t .", steps), [moved("./f", None, Direction::Upload, b"12345", Extent::Unfinished)]);
}

#[test]
fn a_file_that_the_target_refuses_is_not_moved_and_the_next_one_is() {
    let steps: &[(char, &[u8])] = &[
        ('r', b"\0"),
        ('s', b"C0644 3 no\n"),
        ('r', b"\x01scp: no: Permission denied\n"),
        ('s', b"D0755 0 nod\n"),
        ('r', b"\x01scp: nod: Permission denied\n"),
        ('s', b"C0644 3 yes\n"),
        ('r', b"\0"),
        ('s', b"yes\0"),
        ('r', b"\0"),
    ];
    let yes = moved("d/yes", None, Direction::Upload, b"yes", Extent::Whole);
    assert_eq!(run("scp -t -d d", steps), [folder("d/nod", None, Outcome::Failed(1)), yes]);
}

#[test]
fn a_failure_of_either_side_is_no_whole_file() {
    let target: &[(char, &[u8])] =
        &[('r', b"\0"), ('s', b"C0644 1 f\n"), ('r', b"\0"), ('s', b"x\0"), ('r', b"\x01full\n")];
    let part = Extent::Partly(Part::Failed(1));
    assert_eq!(run("scp -t .", target), [moved("./f", None, Direction::Upload, b"x", part)]);
    let sender: &[(char, &[u8])] =
        &[('r', b"\0"), ('s', b"C0644 1 f\n"), ('r', b"\0"), ('s', b"x\x01I/O\n"), ('r', b"\0")];
    let part = Extent::Partly(Part::SenderFailed);
    assert_eq!(run("scp -f f", sender), [moved("f", None, Direction::Download, b"x", part)]);
}

#[test]
fn a_complaint_of_the_sender_takes_no_answer() {
    let steps: &[(char, &[u8])] = &[
        ('r', b"\0"),
        ('s', b"\x01scp: x: No such file\n"),
        ('s', b"C0644 1 f\n"),
        ('r', b"\0"),
        ('s', b"x\0"),
        ('r', b"\0"),
    ];
    assert_eq!(run("scp -f x /a/f", steps), [moved("/a/f", None, Direction::Download, b"x", Extent::Whole)]);
}

#[test]
fn a_sender_that_does_not_wait_is_read_along_by_the_answers() {
    let all: &[(char, &[u8])] = &[('s', b"C0644 1 f\nx\0C0644 1 g\ny\0"), ('r', b"\0\0\0\0\0")];
    let [f, g] = ["./f", "./g"].map(|path| (path, if path == "./f" { b"x" } else { b"y" }));
    let told = [f, g].map(|(path, content)| moved(path, None, Direction::Upload, content, Extent::Whole));
    assert_eq!(run("scp -t .", all), told);
    let refused: &[(char, &[u8])] = &[('s', b"C0644 12 f\nC0644 1 g\ny\0"), ('r', b"\0\x01no\n\0\0")];
    assert_eq!(run("scp -t .", refused), [moved("./g", None, Direction::Upload, b"y", Extent::Whole)]);
}

#[test]
fn a_receiver_that_does_not_wait_for_the_verdict_is_read_along() {
    let steps = |verdict| -> [(char, &[u8]); 6] {
        let line = ('s', b"C0644 1 f\n".as_slice());
        [('r', b"\0"), line, ('r', b"\0"), ('s', b"x"), ('r', b"\0"), ('s', verdict)]
    };
    let f = |extent| [moved("f", None, Direction::Download, b"x", extent)];
    assert_eq!(run("scp -f f", &steps(b"\0")), f(Extent::Whole));
    assert_eq!(run("scp -f f", &steps(b"\x01I/O\n")), f(Extent::Partly(Part::SenderFailed)));
    let twice = [steps(b"").as_slice(), &[('r', b"\0")]].concat();
    let told = run("scp -f f", &twice);
    assert_eq!(told.last(), Some(&Event::Unreadable(Unreadable::Unasked)), "{told:?}");
}

#[test]
fn what_is_not_the_protocol_is_said_once() {
    let ahead = vec![b'C'; AHEAD_MAX + 1];
    let cases: &[(Steps<'_>, Unreadable)] = &[
        (&[('r', b"\0"), ('s', b"hello\n"), ('s', b"hello\n")], Unreadable::Malformed),
        (&[('r', b"\0"), ('s', b"C0644 -1 f\n")], Unreadable::Malformed),
        (&[('r', b"\0"), ('s', b"C0644 99999999999999999999 f\n")], Unreadable::Malformed),
        (&[('r', b"\0"), ('s', &[b'C'; 9000])], Unreadable::Malformed),
        (&[('r', b"\0\0")], Unreadable::Unasked),
        (&[('s', &ahead)], Unreadable::Ahead),
    ];
    for (steps, why) in cases {
        assert_eq!(run("scp -t .", steps), [Event::Unreadable(*why)]);
    }
}

#[test]
fn folders_without_end_are_given_up() {
    let mut tap = Tap::for_exec(b"scp -r -t -d .");
    let mut last = tap.target_sent(b"\0");
    let name = [b"D0755 0 ".as_slice(), &[b'x'; 255], b"\n"].concat();
    for _ in 0..3000 {
        assert!(tap.client_sent(&name).is_empty());
        last = tap.target_sent(b"\0");
        assert!(tap.held() < 400 * 1024, "{}", tap.held());
        if last.len() > 1 {
            break;
        }
    }
    assert_eq!(last.last(), Some(&Event::Unreadable(Unreadable::TooDeep)));
}
