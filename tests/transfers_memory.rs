//! What a tap costs when both ends are hostile: measured, not counted.
//! Absent on purpose: speed. One test, so that nothing else is in the numbers.

use pforte::transfers::{Event, Tap};

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    [&u32::try_from(body.len() + 1).unwrap().to_be_bytes(), [kind].as_slice(), &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A thousand open files with long names, each with all the holes that writes can leave, and requests without an answer.
#[test]
fn a_gibibyte_of_hostile_sftp_costs_less_than_64_mib() {
    let before = resident();
    let mut tap = Tap::for_subsystem(b"sftp");
    let mut events = Vec::new();
    events.extend(tap.client_sent(&packet(1, &[&[0, 0, 0, 3]])));
    events.extend(tap.target_sent(&packet(2, &[&[0, 0, 0, 3]])));
    let (zero, path) = ([0; 4], [b'x'; 3000]);
    for n in 0..1000u32 {
        let handle = string(&n.to_be_bytes());
        events.extend(tap.client_sent(&packet(3, &[&zero, &string(&path), &[0, 0, 0, 0x1a], &zero])));
        events.extend(tap.target_sent(&packet(102, &[&zero, &handle])));
    }
    assert_eq!(events, []);
    let mut most = 0;
    let piece = string(&vec![7; 100_000]);
    for n in 0..10_700u64 {
        let file = string(&u32::try_from(n * 7 % 1000).unwrap().to_be_bytes());
        // Always a hole before it.
        let at = (1 + n * 200_000).to_be_bytes();
        events.extend(tap.client_sent(&packet(6, &[&zero, &file, &at, &piece])));
        events.extend(tap.target_sent(&packet(101, &[&zero, &zero])));
        most = most.max(resident().saturating_sub(before));
    }
    for n in 1..4000u32 {
        events.extend(tap.client_sent(&packet(17, &[&n.to_be_bytes(), &string(&path)])));
    }
    assert_eq!(events, [], "it is read to the end");
    most = most.max(resident().saturating_sub(before));
    assert!(most < 64 << 20, "{most}");
    assert!(tap.held() > 16_000_000, "it was not hostile enough: {}", tap.held());
    let ended = tap.end();
    assert_eq!(ended.len(), 1000);
    assert!(ended.iter().all(|e| matches!(e, Event::Moved(m) if m.sha256.is_none() && m.ranges.len() <= 16)));
}
