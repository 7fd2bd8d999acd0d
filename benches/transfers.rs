//! How fast does a tap read along with SFTP, and which SHA-256 is the faster? One thread; the bytes are made beforehand.
//! Absent on purpose: the relay; this is what a tap adds to it.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "a benchmark prints numbers, and may fail loudly"
)]

use std::hint::black_box;
use std::time::Instant;

use pforte::transfers::{Event, Tap};
use sha2::Digest as _;

const MIB: usize = 1 << 20;
/// A client's write or a server's answer.
const PIECE: usize = 32 * 1024;
const TOTAL: usize = 512 * MIB;

/// The best of three, in MB/s.
fn measured(what: &str, mut work: impl FnMut()) {
    let best = (0..3).map(|_| {
        let start = Instant::now();
        work();
        TOTAL as f64 / 1e6 / start.elapsed().as_secs_f64()
    });
    println!("{what:<44} {:>7.0} MB/s", best.fold(0.0, f64::max));
}

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_be_bytes(), [kind].as_slice(), &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn opened() -> Tap {
    let mut tap = Tap::for_subsystem(b"sftp");
    assert!(tap.client_sent(&packet(1, &[&[0, 0, 0, 3]])).is_empty());
    assert!(tap.target_sent(&packet(2, &[&[0, 0, 0, 3]])).is_empty());
    assert!(tap.client_sent(&packet(3, &[&[0; 4], &string(b"/a"), &[0, 0, 0, 0x1b], &[0; 4]])).is_empty());
    assert!(tap.target_sent(&packet(102, &[&[0; 4], &string(b"h")])).is_empty());
    tap
}

fn ended(tap: Tap, bytes: usize) {
    let events = tap.end();
    assert!(matches!(events.as_slice(), [Event::Moved(moved)] if moved.bytes == bytes as u64), "{events:?}");
}

fn main() {
    let piece: Vec<u8> = (0..PIECE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    measured("sha2 alone", || {
        let mut hasher = sha2::Sha256::new();
        (0..TOTAL / PIECE).for_each(|_| hasher.update(&piece));
        black_box(hasher.finalize());
    });
    measured("aws-lc-rs alone", || {
        let mut hasher = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        (0..TOTAL / PIECE).for_each(|_| hasher.update(&piece));
        black_box(hasher.finish());
    });
    let payload = string(&piece);
    let id = [0, 0, 0, 1];
    let ok = packet(101, &[&id, &[0; 4]]);
    let at = |n: usize| ((n * PIECE) as u64).to_be_bytes();
    measured("SFTP upload", || {
        let mut tap = opened();
        for n in 0..TOTAL / PIECE {
            let head = packet(6, &[&id, &string(b"h"), &at(n)]);
            // The payload is not copied: its length is put into the head by hand.
            let length = u32::try_from(head.len() - 4 + payload.len()).unwrap().to_be_bytes();
            assert!(
                tap.client_sent(&length).is_empty() && tap.client_sent(head.get(4..).unwrap()).is_empty()
            );
            assert!(tap.client_sent(&payload).is_empty() && tap.target_sent(&ok).is_empty());
        }
        ended(tap, TOTAL);
    });
    let data = packet(103, &[&id, &payload]);
    measured("SFTP download", || {
        let mut tap = opened();
        for n in 0..TOTAL / PIECE {
            let read = packet(5, &[&id, &string(b"h"), &at(n), &32768u32.to_be_bytes()]);
            assert!(tap.client_sent(&read).is_empty() && tap.target_sent(&data).is_empty());
        }
        ended(tap, TOTAL);
    });
    let data = |n: usize| packet(103, &[&u32::try_from(n).unwrap().to_be_bytes(), &payload]);
    let turned: Vec<Vec<u8>> = (0..16).map(data).collect();
    measured("SFTP download, every 16 answers turned round", || {
        let mut tap = opened();
        for n in 0..TOTAL / PIECE / 16 {
            for m in 0..16usize {
                let id = u32::try_from(m).unwrap().to_be_bytes();
                let read = packet(5, &[&id, &string(b"h"), &at(16 * n + m), &32768u32.to_be_bytes()]);
                assert!(tap.client_sent(&read).is_empty());
            }
            for data in turned.iter().rev() {
                assert!(tap.target_sent(data).is_empty());
            }
        }
        ended(tap, TOTAL);
    });
    measured("scp upload", || {
        let mut tap = Tap::for_exec(b"scp -t .");
        assert!(tap.target_sent(b"\0").is_empty());
        assert!(tap.client_sent(format!("C0644 {TOTAL} f\n").as_bytes()).is_empty());
        assert!(tap.target_sent(b"\0").is_empty());
        (0..TOTAL / PIECE).for_each(|_| assert!(tap.client_sent(&piece).is_empty()));
        ended(tap, TOTAL);
    });
}
