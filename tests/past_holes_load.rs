//! What brought other gateways down by load, silence or slowness, each as a requirement of ours. The numbers are those
//! of docs/past-holes.md.
//! Absent on purpose: speed. Benchmarks are in benches/.
#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::duration_suboptimal_units,
    clippy::unchecked_time_subtraction,
    clippy::large_stack_arrays,
    reason = "helpers of tests are tests"
)]

use crate::door;
use crate::factor_common;
use crate::raw;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use door::{Door, JANE, Setup};
use pforte::init::make_key;
use pforte::journal::{Entry, Event};
use raw::{Payload, Raw, blob, growth, interactive, is_refusal, median, msg, probe, resident};
use ssh_key::PrivateKey;

const MIB: u64 = 1 << 20;

fn key(door: &Door) -> PrivateKey {
    raw::read_key(&door.path().join("jane"))
}

fn limits(text: &str) -> Setup {
    Setup { gateway_more: format!("\n[limits]\n{text}\n"), ..Setup::default() }
}

async fn logins(door: &Door, jane: &PrivateKey) -> Duration {
    let mut times = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        Raw::inside(door.port, JANE, jane).await;
        times.push(began.elapsed());
    }
    median(times)
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_thousand_silent_sockets_delay_no_login() {
    let door = Door::open(limits("unproven = 3000\nkex_grace = \"60s\"\nkey_grace = \"60s\"")).await;
    let jane = key(&door);
    logins(&door, &jane).await;
    let undisturbed = logins(&door, &jane).await;
    let mut silent = Vec::new();
    for n in 0..1000 {
        let mut raw = Raw::tcp(door.port).await;
        if n % 3 == 1 {
            raw.say_version().await;
        }
        if n % 3 == 2 {
            raw.tx.raw(b"SSH-2.").await;
        }
        silent.push(raw);
    }
    let disturbed = logins(&door, &jane).await;
    assert!(disturbed < undisturbed + Duration::from_millis(100), "{undisturbed:?}, then {disturbed:?}");
    drop(silent);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_r83_silent_sockets_of_one_source_are_few_and_another_source_comes_in() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door);
    let bad = raw::fresh_source();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(Raw::tcp_from(door.port, bad).await);
    }
    let mut served = 0;
    for raw in &mut held {
        served += usize::from(raw.rx.line().await.is_some());
    }
    assert_eq!(served, 4);
    Raw::inside(door.port, JANE, &jane).await;
    drop(held);
    door.close().await;
}

/// Sends the same messages for as long as the server takes them, at most `times`, and reads beside it.
async fn flood(raw: Raw, messages: Vec<Vec<u8>>, times: usize) -> (Raw, usize) {
    let Raw { mut tx, mut rx, .. } = raw;
    let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
    let write = async {
        let mut sent = 0;
        for _ in 0..times {
            for message in &messages {
                if !tx.send(message).await {
                    drop(ended);
                    return sent;
                }
            }
            sent += 1;
        }
        drop(ended);
        sent
    };
    let read = async {
        loop {
            tokio::select! {
                biased;
                message = rx.next() => if message.is_none() { break },
                _ = &mut end => break,
            }
        }
    };
    let ran = async { tokio::join!(write, read) };
    let (sent, ()) = tokio::time::timeout(Duration::from_secs(60), ran).await.expect("the server hangs");
    (Raw { tx, rx, ..raw }, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_r84_a_flood_into_a_command_or_a_prompt_is_not_kept() {
    let door = Door::open(Setup { box_latency: Duration::from_millis(300), ..Setup::default() }).await;
    let jane = key(&door);
    for shell in [false, true] {
        let mut raw = Raw::inside(door.port, JANE, &jane).await;
        let (_, theirs) = raw.channel().await;
        if shell {
            let pty = Payload(Vec::new()).text("xterm").number(80).number(24).number(0).number(0).text([0]).0;
            assert!(raw.channel_request(theirs, "pty-req", &pty).await);
            assert!(raw.channel_request(theirs, "shell", &[]).await);
        } else {
            raw.tx.send(raw::exec(theirs, b"konnektor backup")).await;
        }
        let (mut raw, _) = flood(raw, vec![raw::data(theirs, &[b'x'; 30_000])], 100).await;
        let before = resident();
        let (again, sent) = flood(raw, vec![raw::data(theirs, &[b'x'; 30_000])], 2000).await;
        raw = again;
        assert!(growth(before) < 16 * MIB, "{} KiB after {sent} of 30,000 bytes", growth(before) >> 10);
        drop(raw);
        assert_eq!(Raw::inside(door.port, JANE, &jane).await.run(b"whoami").await.code, Some(0));
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_r84_a_client_that_takes_no_output_holds_only_itself() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door);
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let before = resident();
    for _ in 0..4 {
        // A window of nothing at all: not one byte may come.
        raw.tx.send(raw::open(500, "session").number(0).number(32 << 10).0).await;
        let opened = raw.rx.read_one_of(&[msg::OPEN_CONFIRMATION]).await.unwrap();
        let theirs = u32::from_be_bytes(opened[5..9].try_into().unwrap());
        raw.tx.send(raw::exec(theirs, b"konnektor backup -f -")).await;
    }
    let began = Instant::now();
    let ended = raw.run(b"whoami").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    door.wait_for("started", 5).await;
    assert_eq!(raw.run(b"whoami").await.code, Some(0));
    assert!(growth(before) < 16 * MIB, "{} KiB", growth(before) >> 10);
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_a_callback_with_a_huge_or_endless_body_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let clock = pforte::clock::Clock::system();
    let url = "http://127.0.0.1:1/".parse().unwrap();
    let callbacks = pforte::factor::callback::Callbacks::new(url, rand::random::<u128>, clock);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(callbacks.clone().serve(listener, None));
    let asked = factor_common::question(60);
    let open = callbacks.open(&asked).unwrap();
    let at = open.path(|_| panic!("a call that never came whole was judged")).unwrap();
    let before = resident();
    // Where nobody waits, and where somebody does.
    let heads = |path: &str| {
        [
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n"),
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n", "a".repeat(1 << 20)),
            format!("POST {path} HTTP/1.1\r\n"),
        ]
    };
    for head in [heads("/callback"), heads(at.path())].concat() {
        let stream = tokio::net::TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let chunk = format!("10000\r\n{}\r\n", "a".repeat(1 << 16));
        let send = async {
            write.write_all(head.as_bytes()).await?;
            if head.contains("\r\n\r\n") {
                for _ in 0..1024 {
                    write.write_all(chunk.as_bytes()).await?;
                }
            }
            std::future::pending::<std::io::Result<()>>().await
        };
        let receive = async {
            let mut answer = [0; 512];
            while matches!(read.read(&mut answer).await, Ok(1..)) {}
        };
        let ended = tokio::time::timeout(Duration::from_secs(8), async {
            tokio::select! { _ = send => {}, () = receive => {} }
        });
        assert!(ended.await.is_ok(), "it is not ended: {head:.60}");
    }
    assert!(growth(before) < 8 * MIB, "{} KiB", growth(before) >> 10);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_a_hundred_thousand_opens_that_are_refused_cost_nothing() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door);
    let unknown = |n| raw::open(n, "no-such-type").number(1 << 20).number(32 << 10).0;
    for (open, limited) in [(raw::open_forward(9), true), (raw::open_session(9), true), (unknown(9), false)] {
        let mut raw = Raw::inside(door.port, JANE, &jane).await;
        for _ in 0..8 {
            raw.channel().await;
        }
        let (raw, _) = flood(raw, vec![open.clone()], 900).await;
        let before = resident();
        let (mut raw, sent) = flood(raw, vec![open], 99_100).await;
        if limited {
            // It ends at a limit; if not, the server waits for more.
            raw.rx.drain().await;
        }
        assert!(growth(before) < 16 * MIB, "{} KiB after {sent}", growth(before) >> 10);
    }
    assert_eq!(Raw::inside(door.port, JANE, &jane).await.run(b"whoami").await.code, Some(0));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_channels_opened_and_closed_without_end_are_ended() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door);
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let before = resident();
    let mut opened = 0;
    while opened < 20_000 {
        raw.tx.send(raw::open_session(opened)).await;
        let kinds = [msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE, msg::DISCONNECT];
        let Some(answer) = raw.rx.read_one_of(&kinds).await else { break };
        if answer[0] != msg::OPEN_CONFIRMATION {
            break;
        }
        let theirs = u32::from_be_bytes(answer[5..9].try_into().unwrap());
        raw.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
        opened += 1;
    }
    assert!(opened >= 1000, "an honest connection is not hindered: {opened}");
    assert!(growth(before) < 32 * MIB, "{} KiB", growth(before) >> 10);
    assert!(opened < 20_000, "it ends at a limit");
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r80_twenty_thousand_events_at_once_are_all_on_the_disk_in_order() {
    let door = Door::open(Setup::default()).await;
    let journal = door.house.front().journal.clone();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..100 {
        let journal = journal.clone();
        tasks.spawn(async move {
            for n in 0..200 {
                let entry = Entry { cause: Some(format!("event {task} {n}")), ..Entry::new(Event::Refused) };
                journal.append(entry).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let lines = door.events("refused");
    assert_eq!(lines.len(), 20_000);
    let mut next = [0; 100];
    for line in lines {
        let words: Vec<usize> =
            line["cause"].as_str().unwrap().split(' ').skip(1).map(|n| n.parse().unwrap()).collect();
        assert_eq!(words[1], next[words[0]], "each in the order in which it was said");
        next[words[0]] += 1;
    }
    door.close().await;
}

/// How long the server lets this connection be, if the client says a little something now and then.
async fn lasted(raw: Raw, drip: Option<Vec<u8>>) -> Duration {
    let began = Instant::now();
    let Raw { mut tx, mut rx, .. } = raw;
    let talk = async {
        while let Some(drip) = &drip {
            if !tx.raw(drip).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let listen = rx.drain();
    tokio::select! { () = talk => {}, () = listen => {} }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn r83_each_grace_time_is_absolute_and_leaves_no_login_behind() {
    let setup = Setup {
        phone: "silent",
        timeout: "1s",
        ..limits("kex_grace = \"1s\"\nkey_grace = \"2s\"\nfactor_grace = \"2s\"")
    };
    let door = Door::open(setup).await;
    let jane = key(&door);
    let soon = |lasted: Duration, seconds: f64, stage: &str| {
        assert!((seconds - 0.6..seconds + 1.5).contains(&lasted.as_secs_f64()), "{stage}: {lasted:?}");
    };
    let (connected, versions, keyed, asking) = tokio::join!(
        async { lasted(Raw::tcp(door.port).await, None).await },
        async { lasted(Raw::versions(door.port).await, None).await },
        async { lasted(Raw::keyed(door.port).await, None).await },
        async { lasted(Raw::asking(door.port).await, None).await },
    );
    soon(connected, 1.0, "silent after connect");
    soon(versions, 1.0, "silent after the version");
    soon(keyed, 1.0, "silent after the key exchange");
    soon(asking, 2.0, "silent after the service");
    let dripping = async {
        let raw = Raw::tcp(door.port).await;
        lasted(raw, Some(b"S".to_vec())).await
    };
    let proven = async {
        let mut raw = Raw::asking(door.port).await;
        raw.prove_key(JANE, &jane).await;
        lasted(raw, None).await
    };
    let asked = async {
        let mut raw = Raw::asking(door.port).await;
        raw.prove_key(JANE, &jane).await;
        raw.begin_factor(JANE).await;
        lasted(raw, None).await
    };
    let (dripping, proven, asked) = tokio::join!(dripping, proven, asked);
    assert!(dripping < Duration::from_secs(3), "a version letter by letter: {dripping:?}");
    soon(proven, 2.0, "silent after the key");
    soon(asked, 2.0, "silent with the question open");
    assert!(door.events("login").is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r83_signing_again_buys_no_time() {
    let setup =
        Setup { phone: "silent", timeout: "1s", ..limits("key_grace = \"2s\"\nfactor_grace = \"2s\"") };
    let door = Door::open(setup).await;
    let jane = key(&door);
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        let request = raw.signed(JANE, &jane);
        if raw.ask(request).await.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r88_one_persons_wrong_factor_locks_out_nobody_else() {
    let door = Door::open(Setup { phone: "deny", ..Setup::default() }).await;
    let jane = key(&door);
    let bob = make_key(&door.path().join("bob"), "firm-bob.roe").unwrap();
    door.register("firm-bob.roe", &bob.public_key().to_openssh().unwrap());
    door.reload().await;
    let bad = raw::fresh_source();
    let from = async |user: &str, key: &PrivateKey, source| {
        let mut raw = Raw::tcp_from(door.port, source).await;
        raw.say_version().await;
        raw.kex(&raw::Proposal::default()).await?;
        raw.service().await;
        let request = raw.signed(user, key);
        let answer = raw.ask(request).await?;
        if !raw::is_partial(&answer) {
            return None;
        }
        raw.ask(interactive(user)).await?;
        raw.rounds().await.filter(|answer| answer[0] == msg::USERAUTH_SUCCESS)
    };
    for n in 1..=4 {
        assert!(from(JANE, &jane, bad).await.is_none());
        door.wait_for("refused", n).await;
    }
    door.phone_does("approve");
    assert!(from(JANE, &jane, bad).await.is_none(), "locked from there");
    assert_eq!(door.phone.questions(), 4, "and the phone stays quiet");
    assert!(from("firm-bob.roe", &bob, bad).await.is_some(), "a colleague behind the same address is not");
    assert!(from(JANE, &jane, raw::fresh_source()).await.is_some(), "nor she herself elsewhere");
    // A key whose owner says it was not them opens nowhere, and neither does what it has opened stay.
    door.phone_does("fraud");
    assert!(from(JANE, &jane, raw::fresh_source()).await.is_none());
    door.phone_does("approve");
    let before = door.phone.questions();
    assert!(from(JANE, &jane, raw::fresh_source()).await.is_none(), "reported as stolen");
    assert_eq!(door.phone.questions(), before);
    assert!(from("firm-bob.roe", &bob, bad).await.is_some());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_every_refusal_takes_the_same_time_and_says_the_same() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door);
    let stranger = make_key(&door.path().join("stranger"), "s").unwrap();
    let line = make_key(&door.path().join("late"), "late").unwrap().public_key().to_openssh().unwrap();
    door.register("firm-late.one", &format!("expiry-time=\"20200101Z\" {line}"));
    door.reload().await;
    let late = raw::read_key(&door.path().join("late"));
    let cases: [(&str, &str, &PrivateKey); 5] = [
        ("unknown user", "firm-no.body", &stranger),
        ("a name that is none", "-oProxyCommand=x", &stranger),
        ("unknown key", JANE, &stranger),
        ("another's key", "firm-no.body", &jane),
        ("expired key", "firm-late.one", &late),
    ];
    let mut medians = Vec::new();
    let mut said: Option<Vec<u8>> = None;
    for (name, user, key) in cases {
        for signed in [false, true] {
            let mut times = Vec::new();
            for _ in 0..9 {
                let mut raw = Raw::asking(door.port).await;
                let message =
                    if signed { raw.signed(user, key) } else { probe(user, "ssh-ed25519", &blob(key)) };
                let began = Instant::now();
                let answer = raw.ask(message).await.unwrap();
                times.push(began.elapsed());
                assert!(is_refusal(&answer), "{name}");
                assert_eq!(*said.get_or_insert_with(|| answer.clone()), answer, "{name}");
            }
            medians.push((median(times), name, signed));
        }
    }
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(most.0 - least.0 < Duration::from_millis(15), "{least:?} and {most:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_an_idle_client_is_asked_and_stays_and_a_dead_one_is_ended() {
    let door = Door::open(limits("keepalive = \"250ms\"")).await;
    let jane = key(&door);
    let mut idle = Raw::inside(door.port, JANE, &jane).await;
    let mut dead = Raw::inside(door.port, JANE, &jane).await;
    let began = Instant::now();
    let (pings, died) = tokio::join!(
        async {
            let mut pings = 0;
            while began.elapsed() < Duration::from_secs(5) {
                let Ok(message) = tokio::time::timeout(Duration::from_secs(1), idle.rx.next()).await else {
                    continue;
                };
                if message.expect("it stays")[0] == msg::GLOBAL_REQUEST {
                    pings += 1;
                    idle.tx.send([msg::REQUEST_FAILURE]).await;
                }
            }
            pings
        },
        async {
            dead.rx.read_all().await;
            began.elapsed()
        }
    );
    assert!(pings >= 4, "{pings}");
    assert!(died < Duration::from_millis(4000), "{died:?}");
    assert!(died > Duration::from_millis(900), "{died:?}");
    assert_eq!(idle.run(b"whoami").await.code, Some(0));
    let finished = door.wait_for("finished", 1).await;
    assert!(finished.iter().any(|line| line["cause"] == "client-silent"), "{finished:#?}");
    drop((idle, dead));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_a_silent_client_with_a_busy_command_is_not_cut() {
    let setup = Setup { box_latency: Duration::from_millis(100), ..limits("keepalive = \"300ms\"") };
    let door = Door::open(setup).await;
    let mut raw = Raw::inside(door.port, JANE, &key(&door)).await;
    let ended = raw.run(b"konnektor backup").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_client_that_is_killed_leaves_nothing_running() {
    let door = Door::open(Setup { box_latency: Duration::from_millis(200), ..Setup::default() }).await;
    let jane = key(&door);
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    Raw::inside(door.port, JANE, &jane).await.run(b"konnektor list").await;
    let before = files();
    for round in 0..5_usize {
        let mut raw = Raw::inside(door.port, JANE, &jane).await;
        let (_, theirs) = raw.channel().await;
        raw.tx.send(raw::exec(theirs, b"konnektor backup")).await;
        let asked = door.konnektor.requests().len();
        for _ in 0..300 {
            if door.konnektor.requests().len() > asked + 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if round % 2 == 0 {
            raw.vanish();
        } else {
            raw.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
            raw.rx.read_one_of(&[msg::CLOSE]).await;
        }
        let began = Instant::now();
        // The command's own end and, where it is one, the connection's.
        let lines = door.wait_for("finished", 2 + 2 * round + 1).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(!lines.is_empty());
    }
    tokio::time::sleep(Duration::from_millis(2000)).await;
    let asked = door.konnektor.requests().len();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(door.konnektor.requests().len(), asked, "the box is left alone");
    assert_eq!(door.house.front().registry.len(), 0);
    assert!(files() <= before + 8, "{before} files, then {}", files());
    let started = door.events("started");
    let ids: Vec<_> = started.iter().filter(|line| line["command"] == "konnektor backup").collect();
    assert_eq!(ids.len(), 5);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r96_four_thousand_forwards_are_counted_and_the_next_command_is_on_record() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door);
    let raw = Raw::inside(door.port, JANE, &jane).await;
    let began = Instant::now();
    let (mut raw, _) = flood(raw, vec![raw::open_forward(9)], 4000).await;
    raw.rx.drain().await;
    assert!(began.elapsed() < Duration::from_secs(10));
    let finished = door.wait_for("finished", 1).await;
    let written = door.events("refused").iter().filter(|line| line["cause"] == "no-such-host").count();
    assert!(written >= 1);
    let cause = finished[0]["cause"].as_str().unwrap_or_default();
    let counted: usize =
        cause.split(|c: char| !c.is_ascii_digit()).find_map(|n| n.parse().ok()).unwrap_or_default();
    assert!(written + counted >= 1000, "{written} lines, and: {cause:?}");
    let mut next = Raw::inside(door.port, JANE, &jane).await;
    assert_eq!(next.run(b"whoami").await.code, Some(0));
    assert_eq!(door.events("started").last().unwrap()["command"], "whoami");
    assert_eq!(door.house.front().panics.load(Ordering::SeqCst), 0);
    drop(next);
    door.close().await;
}
