//! Ways on, opened by a client with a login and no good intent: many, long, odd, cut short.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;
use crate::raw;

use std::time::Duration;

use door::JANE;
use machine::{HOST, Stage};
use raw::{Fields, Raw, msg, open, read_key};

fn way(ours: u32, name: impl AsRef<[u8]>, port: u32) -> Vec<u8> {
    open(ours, "direct-tcpip")
        .number(2 << 20)
        .number(32 << 10)
        .text(name)
        .number(port)
        .text("127.0.0.1")
        .number(1)
        .0
}

async fn inside(stage: &Stage) -> Raw {
    Raw::inside(stage.door.port, JANE, &read_key(&stage.door.path().join("jane"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_no_odd_name_or_port_is_a_host() {
    let stage = Stage::set("").await;
    let mut raw = inside(&stage).await;
    let odd: &[(String, u32)] = &[
        (format!("{HOST}\0"), 22),
        (format!("{HOST}\n"), 22),
        (format!("{HOST}\0.evil.example"), 22),
        (format!("{HOST} "), 22),
        (format!("{HOST}.."), 22),
        (HOST.replace('a', "\u{430}"), 22),
        (HOST.replace('.', "\u{3002}"), 22),
        ("[::1]".into(), 22),
        ("0x7f000001".into(), 22),
        (String::new(), 22),
        (HOST.into(), 0),
        (HOST.into(), 65_536 + 22),
        (HOST.into(), u32::MAX),
    ];
    for (name, port) in odd {
        raw.tx.send(way(1, name, *port)).await;
        let answer = raw.rx.read_one_of(&[msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE]).await.unwrap();
        assert_eq!(answer[0], msg::OPEN_FAILURE, "{name:?}:{port}");
    }
    assert_eq!(stage.door.wait_for("refused", odd.len()).await.len(), odd.len());
    assert_eq!(stage.sshd.connections(), 0);
    drop(raw);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_r96_refused_ways_with_long_names_are_on_record_then_counted_then_the_end() {
    const WAYS: usize = 6000;
    let stage = Stage::set("").await;
    let Raw { mut tx, mut rx, .. } = inside(&stage).await;
    let before = raw::resident();
    let name = "x".repeat(150_000);
    let sending = tokio::spawn(async move {
        for n in 0..WAYS {
            if !tx.send(way(u32::try_from(n).unwrap(), &name, 22)).await {
                break;
            }
        }
        tx
    });
    let (mut refused, mut most) = (0, 0);
    while refused < WAYS && rx.read_one_of(&[msg::OPEN_FAILURE]).await.is_some() {
        refused += 1;
        most = most.max(raw::growth(before));
    }
    assert!(most < 64 << 20, "{} MiB", most >> 20);
    assert!((128..WAYS).contains(&refused), "{refused}");
    drop((sending.await.unwrap(), rx));
    let finished = stage.door.wait_for("finished", 1).await;
    let cause = finished[0]["cause"].as_str().unwrap();
    assert!(cause.starts_with("too-many-refusals; "), "{cause}");
    let written = stage.door.events("refused").iter().filter(|l| l["cause"] == "no-such-host").count();
    let counted: usize = cause.split_ascii_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(written >= 128 && written + counted >= 1000, "{written} lines, and: {cause}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_session_cut_after_any_byte_leaves_nothing() {
    let stage = Stage::set("").await;
    let mut outer = inside(&stage).await;
    // A version, a KEXINIT, and a key exchange's first message, as a client sends them.
    let mut hello = b"SSH-2.0-cut\r\n".to_vec();
    let plain = |payload: &[u8]| {
        let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
        let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
        packet.push(u8::try_from(padding).unwrap());
        packet.extend(payload);
        packet.resize(packet.len() + padding, 0);
        packet
    };
    hello.extend(plain(&raw::Proposal::default().payload()));
    hello.extend(plain(&raw::Payload::of(msg::KEX_INIT).text([9; 32]).0));
    let steps: Vec<usize> = (0..hello.len()).step_by(13).chain([hello.len()]).collect();
    for (n, length) in steps.iter().enumerate() {
        outer.tx.send(way(u32::try_from(n).unwrap(), HOST, 22)).await;
        let answer = outer.rx.read_one_of(&[msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE]).await.unwrap();
        assert_eq!(answer[0], msg::OPEN_CONFIRMATION);
        let mut fields = Fields::of(&answer);
        fields.number();
        let theirs = fields.number();
        outer.tx.send(raw::data(theirs, &hello[..*length])).await;
        // Every second one says that no more will come; the others just close.
        if n % 2 == 0 {
            outer.tx.send(raw::Payload::of(msg::EOF).number(theirs).0).await;
        } else {
            outer.tx.send(raw::Payload::of(msg::CLOSE).number(theirs).0).await;
        }
    }
    let finished = stage.door.wait_for("finished", steps.len()).await;
    assert_eq!(stage.door.events("started").len(), steps.len());
    assert!(finished.iter().all(|l| l["cause"] != "abandoned"), "{finished:#?}");
    outer.vanish();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stage.sshd.connections(), 0);
    stage.close().await;
}
