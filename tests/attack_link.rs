//! A site's machine that was taken over, against the gateway: floods, huge lines, wrong order, endless streams and channels.
//! Bounded, dropped, journalled; and everybody else goes on.
#![allow(clippy::disallowed_methods, reason = "tests, which dial what they attack")]

use crate::door;
use crate::practice;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use door::{Door, Setup};
use pforte::link::frames::{Head, ToGateway, ToSite, Visitor, Wish};
use pforte::link::{Bounds, Mux, write_line};
use pforte::uplink::NoWay;
use practice::{IDENT, Practice, SITE, bare, fingerprint, hello, public};
use russh::keys::PrivateKeyWithHashAlg;
use russh::{Disconnect, SshId, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

const WITHIN: Duration = Duration::from_secs(30);
const OTHER: &str = "praxis-meier";

async fn gate() -> (Door, SocketAddr) {
    let other = "name = \"Praxis Meier\"\ndomain = \"praxis-meier.example\"\nvia = \"link\"\n";
    let setup = Setup {
        files: vec![
            ("keys/sites/praxis-mueller.pub", public(1), 0o644),
            ("keys/sites/praxis-meier.pub", public(2), 0o644),
        ],
        sites: vec![(OTHER.to_owned(), other.to_owned())],
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let gateway = ([127, 0, 0, 1], door.port).into();
    (door, gateway)
}

async fn over(mux: &Mux) {
    tokio::time::timeout(WITHIN, mux.gone().cancelled()).await.expect("the link is not ended");
}

/// The gateway has cut the connection.
async fn ended(handle: &russh::client::Handle<practice::Guest>) {
    let cut = async {
        while !handle.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, cut).await.expect("it is not cut");
}

/// The gateway's own resident memory is the tests': one process. KiB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_out_of_order_too_long_or_not_understood_end_the_link_and_are_journalled() {
    let (door, gateway) = gate().await;
    let other = Practice::of(gateway, OTHER, fingerprint(door.path()), 2).await;
    let mut refused = 0;
    for how in
        ["before-hello", "second-hello", "unknown", "long", "no-json", "flood", "own-stream", "no-version"]
    {
        let mut site = bare(gateway, SITE, 1).await;
        if !matches!(how, "before-hello" | "no-version") {
            write_line(&mut site.to, &hello()).await.unwrap();
            assert!(matches!(site.lines.next::<ToSite>().await.unwrap(), ToSite::Hello { .. }));
        }
        let mut held = Vec::new();
        match how {
            "before-hello" => write_line(&mut site.to, &ToGateway::Changed).await.unwrap(),
            "no-version" => {
                let none = ToGateway::Hello { version: 0, software: "x".into() };
                write_line(&mut site.to, &none).await.unwrap();
            }
            "second-hello" => write_line(&mut site.to, &hello()).await.unwrap(),
            "unknown" => site.to.write_all(b"{\"is\":\"open-sesame\"}\n").await.unwrap(),
            "long" => {
                let long = vec![b'x'; 1 << 20];
                site.to.write_all(&long).await.ok();
            }
            "no-json" => site.to.write_all(b"\x00\xff\x80 }\n").await.unwrap(),
            "flood" => {
                for number in 0..5_000 {
                    if write_line(&mut site.to, &ToGateway::Alive { number }).await.is_err() {
                        break;
                    }
                }
            }
            _ => {
                let mut stream = site.mux.open().await.unwrap();
                stream.write_all(b"x").await.ok();
                stream.flush().await.ok();
                held.push(stream);
            }
        }
        over(&site.mux).await;
        refused += 1;
        let lines = door.wait_for("refused", refused).await;
        let last = lines.last().unwrap();
        assert_eq!(last["target"], "link", "{how}: {last:#}");
        assert_eq!((&last["site"], last["key"].is_string()), (&SITE.into(), true), "{how}: {last:#}");
    }
    assert!(!other.is_over(), "another site's link goes on");
    assert!(door.house.front().works.uplinks.link(&OTHER.parse().unwrap()).is_some());
    assert!(door.house.front().works.uplinks.link(&SITE.parse().unwrap()).is_none());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_streams_and_channels_are_bounded_and_the_technicians_go_on() {
    let (door, gateway) = gate().await;
    let before = resident();
    // Streams without end, of which nobody reads anything; in yamux' own frames it may be as rude as it likes.
    let handle = practice::ssh(gateway, &format!("site:{SITE}"), 1, IDENT).await.unwrap();
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, pforte::link::SUBSYSTEM).await.unwrap();
    let mut raw = channel.into_stream();
    // SYN of stream after stream (yamux' spec: version, type, flags, stream, length), 100,000 of them.
    let mut frames = Vec::new();
    for stream in 0..100_000_u32 {
        frames.extend_from_slice(&[0, 1, 0, 1]);
        frames.extend_from_slice(&(2 * stream + 1).to_be_bytes());
        frames.extend_from_slice(&0_u32.to_be_bytes());
    }
    let flood = tokio::spawn(async move {
        raw.write_all(&frames).await.ok();
        let mut sink = Vec::new();
        raw.read_to_end(&mut sink).await.ok();
    });
    let login = door.ssh(&["whoami"]).await;
    assert_eq!(login.code, 0, "{login:?}");
    door.wait_for("refused", 1).await;
    // What nobody takes holds up this client's own session, which would then not see that it is cut.
    flood.abort();
    ended(&handle).await;
    // Data beyond any window.
    let handle = practice::ssh(gateway, &format!("site:{SITE}"), 1, IDENT).await.unwrap();
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, pforte::link::SUBSYSTEM).await.unwrap();
    let mut raw = channel.into_stream();
    let mut frames = vec![0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
    frames.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
    frames.extend_from_slice(&(64_u32 << 20).to_be_bytes());
    raw.write_all(&frames).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let beyond = tokio::spawn(async move {
        for _ in 0..64 {
            if raw.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    door.wait_for("refused", 2).await;
    beyond.abort();
    ended(&handle).await;
    // Channels and global requests without end, behind the subsystem and before it.
    let handle = practice::ssh(gateway, &format!("site:{SITE}"), 1, IDENT).await.unwrap();
    let mut opened = 0;
    for _ in 0..200 {
        opened += usize::from(handle.channel_open_session().await.is_ok());
    }
    assert!(opened <= 1, "{opened}");
    handle.disconnect(Disconnect::ByApplication, "", "").await.ok();
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more than before");
    let login = door.ssh(&["whoami"]).await;
    assert_eq!(login.code, 0, "{login:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_keys_that_are_not_registered_does_not_fill_the_journal() {
    let (door, gateway) = gate().await;
    let begun = Instant::now();
    let config = client::Config { client_id: SshId::Standard(IDENT.into()), ..client::Config::default() };
    let config = Arc::new(config);
    let mut refused = 0;
    for _ in 0..150 {
        let stream = TcpStream::connect(gateway).await.unwrap();
        let mut handle = client::connect_stream(config.clone(), stream, practice::Guest).await.unwrap();
        loop {
            let key = PrivateKeyWithHashAlg::new(Arc::new(practice::key(9)), None);
            match handle.authenticate_publickey(format!("site:{SITE}"), key).await {
                Ok(answer) => assert!(!answer.success()),
                Err(_) => break,
            }
            refused += 1;
        }
    }
    assert!(refused >= 300, "{refused}");
    // A hundred at once, and twenty a second.
    let most = 100 + 20 * (begun.elapsed().as_secs() + 1);
    let lines = door.events("refused").len() as u64;
    assert!((100..=most).contains(&lines), "{lines} of {refused}, at most {most}");
    let login = door.ssh(&["whoami"]).await;
    assert_eq!(login.code, 0, "{login:?}");
    door.close().await;
}

/// Carries one to the other, each piece so much later.
fn late(from: DuplexStream, to: DuplexStream, by: Duration) {
    let ((ours, to_us), (theirs, to_them)) = (tokio::io::split(from), tokio::io::split(to));
    for (mut from, mut to) in [(ours, to_them), (theirs, to_us)] {
        let (pieces, mut coming) = tokio::sync::mpsc::channel(1 << 10);
        tokio::spawn(async move {
            let mut piece = [0; 16 << 10];
            while let Ok(n @ 1..) = from.read(&mut piece).await {
                if pieces.send((Instant::now() + by, piece[..n].to_vec())).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((at, piece)) = coming.recv().await {
                tokio::time::sleep_until(at).await;
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_link_holds_unread_is_bounded_however_far_away_the_other_side_seems() {
    let ((near, there), (far, here)) = (tokio::io::duplex(64 << 10), tokio::io::duplex(64 << 10));
    late(there, here, Duration::from_millis(30));
    // Four streams of 256 KiB, and nothing beyond for one that is read fast over a slow line.
    let bounds = Bounds { streams: 4, window: 1 << 20 };
    let (mut near, far) = (Mux::new(near, false, bounds), Mux::new(far, true, Bounds::ORDINARY));
    let mut stream = far.open().await.unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let flood = tokio::spawn(async move {
        let piece = vec![b'x'; 16 << 10];
        while stream.write_all(&piece).await.is_ok() {
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let mut stream = near.next().await.unwrap();
    let mut read = vec![0; 8 << 20];
    stream.read_exact(&mut read).await.unwrap();
    // From here on nobody reads: until nothing goes any more.
    let mut sent = 0;
    while sent < written.load(Ordering::SeqCst) {
        sent = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let unread = sent - read.len();
    assert!(unread <= 1 << 20, "{unread} bytes");
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_takes_nothing_or_says_nothing_loses_its_link() {
    let (door, gateway) = gate().await;
    // An ident and nothing else: gone with its grace; one that never comes that far too.
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(gateway).await.unwrap();
        stream.write_all(format!("{IDENT}\r\n").as_bytes()).await.unwrap();
        silent.push(stream);
    }
    // A link that asks nothing and reads nothing: the lines for it are dropped, nobody waits.
    let mut mute = bare(gateway, SITE, 1).await;
    write_line(&mut mute.to, &hello()).await.unwrap();
    door.wait_for("link", 1).await;
    for _ in 0..5 {
        assert_eq!(door.ssh(&["konnektor", "backup"]).await.code, 0);
    }
    // Nor is it waited for where somebody wants to go there.
    let visitor = Visitor {
        user: "firm-jane.doe".into(),
        session: "01JDV6Q0000000000000000000".into(),
        family: "hop backup".into(),
        command: String::new(),
    };
    let head = Head { visitor, wish: Wish::Dial { to: "127.0.0.1:1".into() } };
    let (front, name) = (door.house.front(), SITE.parse().unwrap());
    let opened = tokio::time::timeout(WITHIN, front.works.uplinks.open(&name, &head)).await;
    assert!(matches!(opened, Ok(Err(NoWay::Slow))), "it is waited for");
    for mut stream in silent {
        let ended = tokio::time::timeout(WITHIN, async {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.ok();
        });
        assert!(ended.await.is_ok(), "the grace ends it");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_site_says_of_itself_reaches_journal_and_screens_short_and_without_control_characters() {
    let (door, gateway) = gate().await;
    let mut site = bare(gateway, SITE, 1).await;
    let rude = format!("\x1b[2J\x07\u{202e}{}", "A".repeat(10_000));
    let said = ToGateway::Hello { version: 1, software: rude.clone() };
    write_line(&mut site.to, &said).await.unwrap();
    door.wait_for("link", 1).await;
    write_line(&mut site.to, &ToGateway::Bye { reason: rude }).await.unwrap();
    let links = door.wait_for("link", 2).await;
    for line in &links {
        let cause = line["cause"].as_str().unwrap();
        assert!(cause.len() < 600 && !cause.contains(['\x1b', '\x07', '\u{202e}']), "{cause:?}");
    }
    door.close().await;
}
