//! Broken and hostile streams: said once, and never more held than the limits.

use proptest::prelude::*;

use super::super::super::Tap;
use super::super::super::event::{Direction, Event, Extent, Moved, Part, Unreadable};
use super::super::super::frames::PACKET_MAX;
use super::super::{EOF, NAMES_MAX, OK, OPEN_MAX, PENDING_MAX};
use super::wire::{Wire, hash, p32, p64, packet, string};
use crate::transfers::{CHANNEL_WAITING_MAX, FILE_CHUNKS_MAX, NAME_MAX};

/// All that a tap may hold: what waits (a growing buffer is up to twice its content), names, requests, two packets.
const HELD_MAX: usize = 2 * CHANNEL_WAITING_MAX + NAMES_MAX + PENDING_MAX * 128 + 4 * PACKET_MAX as usize;

#[test]
fn a_packet_that_breaks_the_protocol_is_said_once() {
    let open = packet(3, &[p32(1), string(b"/a"), p32(1), p32(0)].concat());
    let cases: Vec<(Vec<u8>, Vec<u8>, Unreadable)> = vec![
        (p32(PACKET_MAX + 1), vec![], Unreadable::LongPacket(PACKET_MAX + 1)),
        (p32(0), vec![], Unreadable::Malformed),
        (packet(3, &[p32(1), p32(99)].concat()), vec![], Unreadable::Malformed),
        (packet(6, &[p32(1), string(b"h"), p64(0), p32(9)].concat()), vec![], Unreadable::Malformed),
        (packet(6, &[p32(1), p32(u32::MAX)].concat()), vec![], Unreadable::Malformed),
        ([open.clone(), open.clone()].concat(), vec![], Unreadable::NumberTwice),
        (vec![], packet(101, &[p32(9), p32(0)].concat()), Unreadable::Unasked),
        (open.clone(), packet(103, &[p32(1), string(b"x")].concat()), Unreadable::Unasked),
        (open, packet(102, &[p32(1), string(&[0; 257])].concat()), Unreadable::Malformed),
        // A guessed handle, and the target takes it.
        (
            packet(6, &[p32(1), string(b"0"), p64(0), string(b"x")].concat()),
            packet(101, &[p32(1), p32(0)].concat()),
            Unreadable::UnknownHandle,
        ),
        (
            packet(5, &[p32(1), string(b"0"), p64(0), p32(9)].concat()),
            packet(103, &[p32(1), string(b"x")].concat()),
            Unreadable::UnknownHandle,
        ),
        (
            packet(5, &[p32(1), string(b"0"), p64(0), p32(1)].concat()),
            packet(103, &[p32(1), string(b"xy")].concat()),
            Unreadable::Malformed,
        ),
    ];
    for (client, target, why) in cases {
        let mut wire = Wire::new(3);
        let mut told = wire.tap.client_sent(&client);
        told.extend(wire.tap.target_sent(&target));
        told.extend(wire.tap.client_sent(&client));
        told.extend(wire.tap.end());
        assert_eq!(told, [Event::Unreadable(why)], "{client:?}");
    }
    let mut tap = Tap::for_subsystem(b"sftp");
    let early = tap.client_sent(&packet(13, &[p32(1), string(b"/a")].concat()));
    assert_eq!(early, [Event::Unreadable(Unreadable::TooEarly)]);
}

#[test]
fn a_handle_given_out_twice_is_not_followed() {
    let mut wire = Wire::new(3);
    wire.open("/a", 1);
    let id = wire.send(3, &[string(b"/b"), p32(1), p32(0)].concat());
    let told = wire.tap.target_sent(&packet(102, &[p32(id), string(b"h")].concat()));
    assert_eq!(told.last(), Some(&Event::Unreadable(Unreadable::HandleTwice)));
}

#[test]
fn open_files_are_told_before_the_tap_gives_up() {
    let mut wire = Wire::new(3);
    wire.open("/a", 0x1a);
    wire.write(0, b"abc", OK);
    let told = wire.tap.client_sent(&p32(u32::MAX));
    assert!(matches!(told.as_slice(), [Event::Moved(_), Event::Unreadable(_)]), "{told:?}");
}

#[test]
fn a_long_path_is_told_cut_with_its_hash() {
    let path = vec![b'x'; NAME_MAX + 1];
    let mut wire = Wire::new(3);
    let told = wire.ask(13, &string(&path), OK);
    let [Event::Changed(changed)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(changed.path.bytes, path[..NAME_MAX]);
    let cut = changed.path.cut.unwrap();
    assert_eq!((cut.bytes, cut.sha256), (path.len() as u64, super::wire::hash(&path)));
}

#[test]
fn requests_without_answers_are_bounded() {
    for (body, kind, least, why) in [
        (string(b"/a"), 17, PENDING_MAX, Unreadable::TooManyRequests),
        (string(&vec![b'x'; 250_000]), 13, 900, Unreadable::TooManyNames),
    ] {
        let mut wire = Wire::new(3);
        for n in 0u32.. {
            let told = wire.tap.client_sent(&packet(kind, &[p32(n), body.clone()].concat()));
            assert!(wire.tap.held() <= HELD_MAX);
            if let Some(Event::Unreadable(last)) = told.last() {
                assert_eq!(*last, why);
                assert!(n as usize >= least && n as usize <= PENDING_MAX, "{n}");
                break;
            }
        }
        assert!(wire.tap.held() < 64 * 1024);
    }
}

#[test]
fn open_files_are_bounded() {
    let mut wire = Wire::new(3);
    for n in 0..OPEN_MAX {
        wire.open_as("/a", 1, format!("{n}").as_bytes());
    }
    let id = wire.send(3, &[string(b"/a"), p32(1), p32(0)].concat());
    let told = wire.tap.target_sent(&packet(102, &[p32(id), string(b"h")].concat()));
    assert_eq!(told.last(), Some(&Event::Unreadable(Unreadable::TooManyFiles)));
}

#[test]
fn what_waits_is_bounded_over_all_files() {
    let mut wire = Wire::new(3);
    let piece = vec![1u8; 200_000];
    for n in 0..64 {
        wire.open_as("/a", 0x1a, format!("{n}").as_bytes());
        for at in 0..64u64 {
            let body = [string(format!("{n}").as_bytes()), p64(1 + 300_000 * at), string(&piece)].concat();
            assert_eq!(wire.ask(6, &body, OK), []);
            assert!(wire.tap.held() <= HELD_MAX);
        }
    }
    assert_eq!(wire.tap.end().len(), 64);
}

/// Packets that look right, of few numbers, handles and paths, so that they meet.
fn packets() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let id = 0..6u32;
    let handle = prop_oneof![Just(b"h".to_vec()), Just(b"i".to_vec())];
    let payload = proptest::collection::vec(any::<u8>(), 0..40);
    let request = (id.clone(), handle.clone(), 0..60u64, payload.clone(), 0..7u8).prop_map(
        |(id, handle, at, data, kind)| {
            let id = p32(id);
            let handle = string(&handle);
            (
                true,
                match kind {
                    0 | 1 => packet(3, &[id, string(b"/a"), p32(0x1b), p32(0)].concat()),
                    2 => packet(4, &[id, handle].concat()),
                    3 => packet(5, &[id, handle, p64(at), p32(40)].concat()),
                    4 | 5 => packet(6, &[id, handle, p64(at), string(&data)].concat()),
                    _ => packet(10, &[id, handle, p32(1), p64(at)].concat()),
                },
            )
        },
    );
    let answer = (id, handle, payload, 0..3u8, 0..2u32).prop_map(|(id, handle, data, kind, status)| {
        let id = p32(id);
        (
            false,
            match kind {
                0 => packet(101, &[id, p32(status), string(b""), string(b"")].concat()),
                1 => packet(102, &[id, string(&handle)].concat()),
                _ => packet(103, &[id, string(&data)].concat()),
            },
        )
    });
    proptest::collection::vec(prop_oneof![request, answer], 0..40)
}

fn run(packets: &[(bool, Vec<u8>)], cuts: &[usize]) -> Vec<Event> {
    let mut wire = Wire::new(3);
    let mut cuts = cuts.iter().copied().cycle();
    let mut told = Vec::new();
    for (client, bytes) in packets {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
            rest = after;
            told.extend(if *client { wire.tap.client_sent(piece) } else { wire.tap.target_sent(piece) });
        }
        assert!(wire.tap.held() <= HELD_MAX);
    }
    told.extend(wire.tap.end());
    told
}

/// Pieces of a file of so many bytes in some order, perhaps with one left out or sent twice.
fn pieces() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, usize)>, Option<bool>)> {
    let content = proptest::collection::vec(any::<u8>(), 1..400);
    (content, 1..40usize, 0..4u8, any::<prop::sample::Index>()).prop_flat_map(|(content, size, spoil, at)| {
        let mut cuts: Vec<(usize, usize)> =
            (0..content.len()).step_by(size).map(|from| (from, content.len().min(from + size))).collect();
        let at = at.index(cuts.len());
        let spoil = match spoil {
            0 => {
                cuts.remove(at);
                Some(false)
            }
            1 => {
                cuts.push(cuts[at]);
                Some(true)
            }
            _ => None,
        };
        (Just(content), Just(cuts).prop_shuffle(), Just(spoil))
    })
}

fn only(events: &[Event]) -> Option<Moved> {
    match events {
        [] => None,
        [Event::Moved(moved)] => Some(moved.clone()),
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// At most 400 pieces, of which 64 may wait: a hash may be missing, but never wrong.
    #[test]
    fn a_hash_is_right_or_missing((content, cuts, spoil) in pieces()) {
        let (mut up, mut down) = (Wire::new(3), Wire::new(3));
        up.open("/a", 0x1a);
        down.open("/a", 1);
        for (from, to) in &cuts {
            up.write(*from as u64, &content[*from..*to], OK);
            down.read(*from as u64, u32::try_from(to - from).unwrap(), &content[*from..*to]);
        }
        down.read_status(content.len() as u64, EOF);
        let up = only(&up.close(OK)).unwrap();
        let down = only(&down.close(OK)).unwrap();
        let moved = cuts.iter().map(|(from, to)| to - from).sum::<usize>() as u64;
        prop_assert_eq!((up.bytes, down.bytes), (moved, moved));
        let lost = Extent::Partly(Part::OutOfOrder);
        for told in [&up, &down] {
            // The last piece left out makes a shorter file that is whole as far as a writer tells.
            let end = told.ranges.last().map_or(0, |r| r.end);
            if let Some(sha256) = told.sha256 {
                prop_assert_eq!(sha256, hash(&content[..usize::try_from(end).unwrap()]));
            }
            if told.extent == Extent::Whole {
                prop_assert!(told.sha256.is_some() && spoil != Some(true));
                prop_assert!(end == content.len() as u64 || told.direction == Direction::Upload);
            }
            if spoil.is_none() && told.extent != lost {
                prop_assert_eq!(told.extent, Extent::Whole);
            }
        }
        if cuts.len() <= FILE_CHUNKS_MAX {
            prop_assert!(up.extent != lost && down.extent != lost);
        }
        if spoil == Some(true) {
            prop_assert_eq!(up.sha256, None);
        }
    }

    #[test]
    fn any_split_gives_the_same_events(packets in packets(), cuts in proptest::collection::vec(1..50usize, 1..20)) {
        prop_assert_eq!(run(&packets, &cuts), run(&packets, &[]));
    }

    #[test]
    fn arbitrary_bytes_are_survived(
        command in prop_oneof![Just("sftp-server"), Just("scp -t x"), Just("scp -f x"), Just("sh")],
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..3000)), 0..20),
        lines in any::<bool>(),
    ) {
        let mut tap = Tap::for_exec(command.as_bytes());
        let mut unreadable = 0;
        let mut count = |events: &[Event]| unreadable += events.iter().filter(|e| matches!(e, Event::Unreadable(_))).count();
        for (client, mut bytes) in pieces {
            if lines {
                // More like scp: few different bytes.
                for b in &mut bytes {
 *b = b"\0\x01\nCDET0 12a"[usize::from(*b) % 12];
 }
            }
            count(&if client { tap.client_sent(&bytes) } else { tap.target_sent(&bytes) });
            prop_assert!(tap.held() <= HELD_MAX);
        }
        count(&tap.end());
        prop_assert!(unreadable <= 1);
    }
}
