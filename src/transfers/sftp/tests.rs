#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bounds;
mod wire;

use super::super::event::{Attributes, Change, Direction, Extent, Moved, Name, Outcome, Part};
use super::*;
use wire::{Wire, hash, moved, p32, p64, string};

#[test]
fn a_file_written_in_order_is_whole() {
    let mut wire = Wire::new(3);
    wire.open("/a", 0x1a);
    wire.write(0, b"hello ", OK);
    wire.write(6, b"world", OK);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Upload, b"hello world", Extent::Whole)]);
}

#[test]
fn a_file_read_to_its_end_is_whole() {
    let mut wire = Wire::new(3);
    wire.open("/a", 1);
    wire.read(0, 5, b"hello");
    wire.read_status(5, EOF);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Download, b"hello", Extent::Whole)]);
    wire.open("/empty", 1);
    wire.read_status(0, EOF);
    assert_eq!(wire.close(OK), [moved("/empty", Direction::Download, b"", Extent::Whole)]);
}

#[test]
fn a_short_answer_and_an_end_behind_it_are_the_end() {
    let mut wire = Wire::new(3);
    wire.open("/a", 1);
    wire.read(0, 4, b"abcd");
    wire.read(4, 4, b"ef");
    wire.read_status(8, EOF);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Download, b"abcdef", Extent::Whole)]);
    // Further behind: what lies between was never asked for.
    wire.open("/a", 1);
    wire.read(0, 4, b"abcd");
    wire.read_status(8, EOF);
    let part = Extent::Partly(Part::EndNotSeen);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Download, b"abcd", part)]);
}

#[test]
fn a_download_that_stops_early_says_so_and_keeps_its_hash() {
    let mut wire = Wire::new(3);
    wire.open("/a", 1);
    wire.read(0, 4, b"abcd");
    let part = Extent::Partly(Part::EndNotSeen);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Download, b"abcd", part)]);
}

#[test]
fn what_is_read_again_is_told_and_hashed_once() {
    let mut wire = Wire::new(3);
    wire.open("/a", 1);
    wire.read(0, 4, b"abcd");
    wire.read(0, 4, b"abcd");
    wire.read_status(4, EOF);
    let events = wire.close(OK);
    let [Event::Moved(told)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((told.extent, told.bytes), (Extent::Partly(Part::Overlap), 8));
    assert_eq!(told.sha256, Some(hash(b"abcd")));
}

#[test]
fn answers_in_any_order_give_the_right_hash() {
    let mut wire = Wire::new(3);
    wire.open("/a", 1);
    let ids: Vec<u32> = (0..4).map(|n| wire.ask_read(n * 3, 3)).collect();
    let pieces: [&[u8]; 4] = [b"abc", b"def", b"ghi", b"jkl"];
    for n in [2, 3, 0, 1] {
        wire.data(ids[n], pieces[n]);
    }
    wire.read_status(12, EOF);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Download, b"abcdefghijkl", Extent::Whole)]);
}

#[test]
fn writes_in_any_order_give_the_right_hash() {
    let mut wire = Wire::new(3);
    wire.open("/a", 0x1a);
    wire.write(3, b"def", OK);
    wire.write(0, b"abc", OK);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Upload, b"abcdef", Extent::Whole)]);
}

/// Offset, bytes, and the status that they are answered with.
type Writes<'a> = &'a [(u64, &'a [u8], u32)];

fn upload(flags: u32, writes: Writes<'_>, close: u32) -> Moved {
    let mut wire = Wire::new(3);
    wire.open("/a", flags);
    for (offset, piece, status) in writes {
        wire.write(*offset, piece, *status);
    }
    match wire.close(close).as_slice() {
        [Event::Moved(moved)] => moved.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_whole_has_no_hash_of_a_whole() {
    let cases: &[(u32, Writes<'_>, u32, Part, u64, bool)] = &[
        (0x0a, &[(0, b"ab", OK)], OK, Part::NotEmptied, 2, true),
        (0x0a, &[(7, b"ab", OK)], OK, Part::Gap, 2, false),
        (0x1a, &[(0, b"ab", OK), (3, b"d", OK)], OK, Part::Gap, 3, false),
        (0x1a, &[(0, b"ab", OK), (1, b"x", OK)], OK, Part::Overlap, 3, false),
        (0x1a, &[(0, b"ab", OK), (0, b"ab", OK)], OK, Part::Overlap, 4, false),
        (0x0e, &[(0, b"ab", OK)], OK, Part::Appended, 2, false),
        (0x1a, &[(0, b"ab", OK), (2, b"cd", 4)], OK, Part::Failed(4), 2, false),
        (0x1a, &[(0, b"ab", OK)], 4, Part::Failed(4), 2, false),
        (0x1a, &[(u64::MAX, b"ab", OK)], OK, Part::Gap, 2, false),
    ];
    for (flags, writes, close, part, bytes, hashed) in cases {
        let told = upload(*flags, writes, *close);
        assert_eq!((told.extent, told.bytes), (Extent::Partly(*part), *bytes), "{writes:?}");
        assert_eq!(told.sha256, hashed.then(|| hash(b"ab")), "{writes:?}");
    }
    assert_eq!(upload(0x2a, &[(0, b"ab", OK)], OK).extent, Extent::Whole, "made by the open");
    assert_eq!(upload(0x0a, &[(7, b"ab", OK), (20, b"c", OK)], OK).ranges, [7..9, 20..21]);
    assert_eq!(upload(0x1a, &[], OK).sha256, Some(hash(b"")));
}

#[test]
fn too_much_out_of_order_is_no_wrong_hash() {
    let piece = vec![7u8; 128 * 1024];
    let mut wire = Wire::new(3);
    wire.open("/a", 0x1a);
    for n in (0..66u64).rev() {
        wire.write(n * piece.len() as u64, &piece, OK);
    }
    let events = wire.close(OK);
    let [Event::Moved(told)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((told.sha256, told.extent), (None, Extent::Partly(Part::OutOfOrder)));
    assert_eq!(told.bytes, 66 * 131_072);
    assert!(told.ranges.len() == 1 && told.ranges[0] == (0..told.bytes));
}

#[test]
fn a_size_set_in_between_is_seen() {
    let sized = |size: u64, before: &[u8], after: &[u8]| {
        let mut wire = Wire::new(3);
        wire.open("/a", 0x0a);
        if !before.is_empty() {
            wire.write(0, before, OK);
        }
        wire.ask(10, &[string(b"h"), p32(1), p64(size)].concat(), OK);
        if !after.is_empty() {
            wire.write(before.len() as u64, after, OK);
        }
        let events = wire.close(OK);
        let [Event::Moved(told)] = events.as_slice() else { panic!("{events:?}") };
        (told.extent, told.sha256)
    };
    let reshaped = Extent::Partly(Part::Reshaped);
    assert_eq!(sized(0, b"", b""), (Extent::Whole, Some(hash(b""))));
    assert_eq!(sized(0, b"", b"abcd"), (Extent::Whole, Some(hash(b"abcd"))));
    assert_eq!(sized(4, b"abcd", b""), (Extent::Whole, Some(hash(b"abcd"))));
    assert_eq!(sized(2, b"abcd", b"ef"), (reshaped, None));
    assert_eq!(sized(9, b"abcd", b"ef"), (reshaped, Some(hash(b"abcdef"))));
    assert_eq!(sized(6, b"abcd", b"ef"), (Extent::Whole, Some(hash(b"abcdef"))));
}

#[test]
fn a_file_open_at_the_end_is_unfinished() {
    let mut wire = Wire::new(3);
    wire.open("/a", 0x1a);
    wire.write(0, b"abc", OK);
    let told = wire.tap.end();
    assert_eq!(told, [moved("/a", Direction::Upload, b"abc", Extent::Unfinished)]);
}

#[test]
fn a_change_is_told_with_its_outcome() {
    let change = |version, kind: u8, body: &[u8], status: u32| {
        let mut wire = Wire::new(version);
        match wire.ask(kind, body, status).as_slice() {
            [Event::Changed(changed)] => {
                let text = |n: &Name| String::from_utf8(n.bytes.clone()).unwrap();
                (changed.change, text(&changed.path), changed.other.as_ref().map(text), changed.outcome)
            }
            other => panic!("{other:?}"),
        }
    };
    let (a, b) = (string(b"/a"), string(b"/b"));
    let both = [a.clone(), b.clone()].concat();
    let told = |change, path: &str, other: Option<&str>| {
        (change, path.to_owned(), other.map(str::to_owned), Outcome::Done)
    };
    let extended = |name: &[u8]| [string(name), both.clone()].concat();
    let none = p32(0);
    assert_eq!(change(3, 13, &a, OK), told(Change::Removed, "/a", None));
    assert_eq!(change(3, 13, &a, 3).3, Outcome::Failed(3));
    assert_eq!(change(3, 14, &[a.clone(), none].concat(), OK), told(Change::FolderMade, "/a", None));
    assert_eq!(change(3, 15, &a, OK), told(Change::FolderRemoved, "/a", None));
    assert_eq!(change(3, 18, &both, OK), told(Change::Renamed, "/a", Some("/b")));
    assert_eq!(
        change(3, 200, &extended(b"posix-rename@openssh.com"), OK),
        told(Change::Renamed, "/a", Some("/b"))
    );
    assert_eq!(change(3, 20, &both, OK), told(Change::Linked, "/b", Some("/a")));
    assert_eq!(
        change(3, 200, &extended(b"hardlink@openssh.com"), OK),
        told(Change::HardLinked, "/b", Some("/a"))
    );
    assert_eq!(change(3, 200, &extended(b"copy-file"), OK), told(Change::Copied, "/a", Some("/b")));
    assert_eq!(change(6, 21, &[both, vec![0]].concat(), OK), told(Change::HardLinked, "/a", Some("/b")));
    let all = Attributes { size: Some(7), owner: true, mode: Some(0o644) };
    let set = [a.clone(), p32(0xf), p64(7), p64(0), p32(0o644), p64(0)].concat();
    assert_eq!(change(3, 9, &set, OK), told(Change::Attributes(all), "/a", None));
    let set = [string(b"lsetstat@openssh.com"), a.clone(), p32(4), p32(0o600)].concat();
    let mode = Attributes { mode: Some(0o600), ..Attributes::default() };
    assert_eq!(change(3, 200, &set, OK), told(Change::Attributes(mode), "/a", None));
    let set = [a, p32(0x85), vec![1], p64(7), string(b"me"), string(b"us"), p32(0o644)].concat();
    assert_eq!(change(4, 9, &set, OK), told(Change::Attributes(all), "/a", None));
}

#[test]
fn listings_and_times_are_no_events() {
    let mut wire = Wire::new(3);
    for kind in [7, 8, 11, 12, 16, 17, 19] {
        assert!(wire.ask(kind, &string(b"/a"), OK).is_empty());
    }
    assert!(wire.ask(9, &[string(b"/a"), p32(8), p64(0)].concat(), OK).is_empty());
    assert!(wire.ask(99, b"whatever", 8).is_empty(), "an unknown request is passed over");
    assert!(wire.tap.target_sent(&wire::packet(77, b"what")).is_empty(), "and an unknown answer");
    assert!(wire.tap.end().is_empty());
}

#[test]
fn a_copy_by_the_target_names_both_files_and_spoils_the_hash() {
    let mut wire = Wire::new(3);
    wire.open_as("/from", 1, b"r");
    wire.open("/to", 0x1a);
    wire.write(0, b"abc", OK);
    let body = [string(b"copy-data"), string(b"r"), p64(0), p64(0), string(b"h"), p64(3)].concat();
    let events = wire.ask(200, &body, OK);
    let [Event::Changed(changed)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((changed.change, changed.path.bytes.as_slice()), (Change::Copied, b"/from".as_slice()));
    assert_eq!(changed.other.as_ref().unwrap().bytes, b"/to");
    let events = wire.close(OK);
    let [Event::Moved(told)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((told.extent, told.sha256), (Extent::Partly(Part::Reshaped), None));
}

#[test]
fn version_5_opens_with_other_flags() {
    let mut wire = Wire::new(6);
    wire.raw_open(&[string(b"/a"), p32(2), p32(1), p32(0)].concat(), b"h");
    wire.write(0, b"abc", OK);
    assert_eq!(wire.close(OK), [moved("/a", Direction::Upload, b"abc", Extent::Whole)]);
    wire.raw_open(&[string(b"/a"), p32(6), p32(3), p32(0)].concat(), b"h");
    wire.write(0, b"abc", OK);
    let events = wire.close(OK);
    let [Event::Moved(told)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(told.extent, Extent::Partly(Part::Appended));
}

#[test]
fn a_server_that_answers_the_close_first_loses_no_write() {
    let mut wire = Wire::new(3);
    wire.open("/a", 0x1a);
    let write = wire.send(6, &[string(b"h"), p64(0), string(b"abc")].concat());
    assert!(wire.close(OK).is_empty());
    let told = wire.status(write, OK);
    assert_eq!(told, [moved("/a", Direction::Upload, b"abc", Extent::Whole)]);
}

#[test]
fn an_sftp_server_behind_a_shell_is_known_by_its_first_packet() {
    let mut tap = super::super::Tap::for_exec(
        b"test -x /usr/lib/sftp-server && exec /usr/lib/sftp-server\nexec sftp-server",
    );
    let mut sent = wire::packet(1, &p32(3));
    for byte in sent.drain(..) {
        assert!(tap.client_sent(&[byte]).is_empty());
    }
    let mut wire = Wire::of(tap, 3);
    assert_eq!(wire.ask(13, &string(b"/a"), OK).len(), 1);
}
