//! What broke other gateways at the login and behind it, each as a requirement of ours. The numbers are those of
//! docs/past-holes.md.
//! Absent on purpose: holes of the SSH library (`past_holes_russh`) and of load (`past_holes_load`).
#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::duration_suboptimal_units,
    clippy::unchecked_time_subtraction,
    clippy::large_stack_arrays,
    reason = "helpers of tests are tests"
)]

use crate::door;
use crate::raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use door::{Door, JANE, Setup};
use jiff::Timestamp;
use pforte::clock::Clock;
use pforte::init::make_key;
use raw::{Fields, Payload, Raw, blob, interactive, is_refusal, msg, probe, request, sign};
use serde_json::Value;
use ssh_key::PrivateKey;

const BOB: &str = "firm-bob.roe";

fn key(door: &Door, name: &str) -> PrivateKey {
    raw::read_key(&door.path().join(name))
}

/// A second person of the same firm.
async fn bob(door: &Door) -> PrivateKey {
    let bob = make_key(&door.path().join("bob"), BOB).unwrap();
    door.register(BOB, &bob.public_key().to_openssh().unwrap());
    door.reload().await;
    bob
}

/// A key that is nobody's.
fn stranger(door: &Door) -> PrivateKey {
    make_key(&door.path().join("stranger"), "stranger").unwrap()
}

/// Nobody came in, nothing ran, nobody's phone rang, the box was left alone.
fn assert_untouched(door: &Door) {
    assert!(door.events("login").is_empty(), "{:#?}", door.journal());
    assert!(door.events("started").is_empty(), "{:#?}", door.journal());
    assert!(door.konnektor.requests().is_empty());
    assert_eq!(door.house.front().registry.len(), 0);
}

/// Waits for a refusal with this cause.
async fn refused(door: &Door, cause: &str) -> Value {
    for _ in 0..500 {
        if let Some(line) = door.events("refused").into_iter().find(|line| line["cause"] == cause) {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was refused for {cause}: {:#?}", door.journal());
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_an_unsigned_offer_is_no_login() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    for next in ["channel", "none", "password", "keyboard-interactive", "info-response", "hostbased"] {
        let mut raw = Raw::asking(door.port).await;
        let answer = raw.ask(probe(JANE, "ssh-ed25519", &blob(&jane))).await.unwrap();
        assert_eq!(answer[0], msg::PK_OK);
        match next {
            "channel" => assert!(raw.is_out().await),
            "info-response" => {
                let answer = raw.ask(raw::answers(&[""])).await.unwrap();
                assert!(is_refusal(&answer), "{answer:?}");
            }
            method => {
                let more = match method {
                    "password" => Payload(Vec::new()).flag(false).text("x").0,
                    "keyboard-interactive" => Payload(Vec::new()).text("").text("").0,
                    _ => Vec::new(),
                };
                let answer = raw.ask(request(JANE, method).bytes(more).0).await.unwrap();
                assert!(is_refusal(&answer), "{method}: {answer:?}");
            }
        }
        assert!(raw.is_out().await, "{next}");
    }
    assert_untouched(&door);
    assert_eq!(door.phone.questions(), 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_a_yes_counts_for_the_person_and_connection_it_was_asked_for() {
    let door = Door::open(Setup { phone: "silent", ..Setup::default() }).await;
    let (jane, bob) = (key(&door, "jane"), bob(&door).await);
    let mut first = Raw::asking(door.port).await;
    first.prove_key(JANE, &jane).await;
    first.begin_factor(JANE).await;
    let mut second = Raw::asking(door.port).await;
    second.prove_key(JANE, &jane).await;
    let mut third = Raw::asking(door.port).await;
    third.prove_key(BOB, &bob).await;
    for _ in 0..300 {
        if door.phone.questions() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    door.phone_does("approve");
    assert_eq!(first.rounds().await.unwrap(), [msg::USERAUTH_SUCCESS]);
    // One yes was given: the others have no question open, and an answer without one ends them.
    door.phone_does("deny");
    for raw in [&mut second, &mut third] {
        let answer = raw.ask(raw::answers(&[])).await.unwrap();
        assert_eq!(answer[0], msg::USERAUTH_FAILURE, "{answer:?}");
    }
    second.begin_factor(JANE).await;
    assert!(!matches!(second.rounds().await, Some(answer) if answer[0] == msg::USERAUTH_SUCCESS));
    third.begin_factor(BOB).await;
    assert!(!matches!(third.rounds().await, Some(answer) if answer[0] == msg::USERAUTH_SUCCESS));
    let seen = door.phone.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].tx != seen[1].tx && seen[1].tx != seen[2].tx);
    assert_eq!(door.events("login").len(), 1);
    drop((first, second, third));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_nobody_is_in_between_the_factors() {
    let door = Door::open(Setup { phone: "silent", timeout: "2s", ..Setup::default() }).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    assert!(door.house.front().registry.is_empty());
    raw.tx.send(raw::open_session(0)).await;
    raw.begin_factor(JANE).await;
    raw.tx.send(raw::open_session(1)).await;
    raw.tx.send(raw::exec(0, b"konnektor backup")).await;
    raw.tx.send(raw::answers(&[])).await;
    raw.tx.send(raw::open_session(2)).await;
    raw.tx.send(raw::exec(0, b"konnektor backup")).await;
    let all = raw.rx.read_all().await;
    assert!(all.iter().all(|m| ![msg::OPEN_CONFIRMATION, msg::CHANNEL_SUCCESS].contains(&m[0])), "{all:?}");
    refused(&door, "factor-timeout").await;
    assert_untouched(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_what_is_sent_before_the_last_factor_is_not_run_later() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let early = [
        raw::open_session(0),
        raw::channel_request(0, "env", true, &Payload(Vec::new()).text("LANG").text("de_DE").0),
        raw::exec(0, b"konnektor backup"),
        raw::channel_request(0, "auth-agent-req@openssh.com", true, &[]),
        raw::open_forward(1),
        Payload::of(msg::GLOBAL_REQUEST).text("tcpip-forward").flag(true).text("").number(0).0,
    ];
    let mut raw = Raw::asking(door.port).await;
    for message in &early {
        raw.tx.send(message).await;
    }
    raw.prove_key(JANE, &jane).await;
    for message in &early {
        raw.tx.send(message).await;
    }
    raw.begin_factor(JANE).await;
    for message in &early {
        raw.tx.send(message).await;
    }
    assert_eq!(raw.rounds().await.unwrap(), [msg::USERAUTH_SUCCESS]);
    let ended = raw.run(b"whoami").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.order.contains(&msg::OPEN_CONFIRMATION), "{ended:?}");
    assert_eq!(door.events("started").len(), 1, "{:#?}", door.events("started"));
    assert!(door.events("refused").is_empty(), "{:#?}", door.events("refused"));
    assert!(door.konnektor.requests().is_empty());
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_what_is_sent_with_the_last_answer_runs_behind_the_login_or_not_at_all() {
    for phone in ["deny", "approve"] {
        let door = Door::open(Setup { phone, ..Setup::default() }).await;
        let jane = key(&door, "jane");
        let mut raw = Raw::asking(door.port).await;
        raw.prove_key(JANE, &jane).await;
        raw.begin_factor(JANE).await;
        raw.tx.send(raw::answers(&[])).await;
        raw.tx.send(raw::open_session(0)).await;
        // Whichever number the server gives its first channel.
        for channel in 0..3 {
            raw.tx.send(raw::exec(channel, b"whoami")).await;
        }
        if phone == "deny" {
            raw.rx.read_all().await;
            assert_untouched(&door);
        } else {
            raw.rx.read_one_of(&[msg::CLOSE]).await.unwrap();
            let journal = door.journal();
            let at = |event: &str| journal.iter().position(|line| line["event"] == event).unwrap();
            assert!(at("login") < at("started"), "{journal:#?}");
        }
        drop(raw);
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_line_that_does_not_parse_is_on_record_as_it_came() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let long = vec![b'a'; 100_000];
    let lines: [&[u8]; 7] = [
        b"",
        b"rm -rf /",
        b"konnektor backup '",
        b"konnektor backup\nid",
        b"\xff\xfe\x00",
        b"konnektor \x1b[2J",
        &long,
    ];
    for line in lines {
        let ended = raw.run(line).await;
        assert_eq!(ended.code, Some(64), "{line:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty());
    }
    let refused = door.events("refused");
    assert_eq!(refused.len(), lines.len(), "{refused:#?}");
    assert_eq!(refused[1]["command"], "rm -rf /");
    let told = refused[6].to_string();
    assert!(told.len() < 16_384, "it is cut: {}", told.len());
    let [nul, esc] = [refused[4].to_string(), refused[5].to_string()];
    assert!(!nul.contains('\0') && !esc.contains('\x1b'));
    assert!(door.events("started").is_empty());
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_client_that_goes_at_once_leaves_its_line_too() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    for round in 1..=30_usize {
        let mut raw = Raw::inside(door.port, JANE, &jane).await;
        let (_, theirs) = raw.channel().await;
        let exec = raw.tx.packet(&raw::exec(theirs, b"rm -rf /"));
        let close = raw.tx.packet(&Payload::of(msg::CLOSE).number(theirs).0);
        raw.tx.raw(&[exec, close].concat()).await;
        raw.tx.end().await;
        raw.rx.drain().await;
        door.wait_for("finished", round).await;
    }
    assert_eq!(door.wait_for("refused", 1).await.len(), 30);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_r93_what_began_as_its_client_went_has_an_end_on_record() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    for _ in 0..30 {
        let (_, theirs) = raw.channel().await;
        let exec = raw.tx.packet(&raw::exec(theirs, b"konnektor list"));
        let close = raw.tx.packet(&Payload::of(msg::CLOSE).number(theirs).0);
        raw.tx.raw(&[exec, close].concat()).await;
        raw.rx.read_one_of(&[msg::CLOSE]).await.unwrap();
    }
    assert_eq!(door.wait_for("started", 30).await.len(), 30);
    drop(raw);
    let finished = door.wait_for("finished", 31).await;
    assert_eq!(finished.iter().filter(|line| line["command"] == "konnektor list").count(), 30);
    door.close().await;
}

/// A clock that panics once, at the next time somebody but the journal looks at it.
fn cracked() -> (Clock, Arc<AtomicBool>) {
    let crack = Arc::new(AtomicBool::new(false));
    let armed = crack.clone();
    let clock = Clock::of(move || {
        let journal = std::thread::current().name() == Some("journal");
        assert!(journal || !armed.swap(false, Ordering::SeqCst), "the clock broke");
        Timestamp::now()
    });
    (clock, crack)
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_a_panic_in_a_command_ends_that_command_only_and_is_counted() {
    let (clock, crack) = cracked();
    let door = Door::open(Setup { clock, ..Setup::default() }).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let (_, theirs) = raw.channel().await;
    crack.store(true, Ordering::SeqCst);
    raw.tx.send(raw::exec(theirs, b"whoami")).await;
    let ended = raw.collect(theirs).await;
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.stderr.contains("broke"), "{ended:?}");
    assert_eq!(door.house.front().panics.load(Ordering::SeqCst), 1);
    assert_eq!(raw.run(b"whoami").await.code, Some(0), "the connection lives on");
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_a_panic_in_a_login_ends_that_connection_only_and_is_counted() {
    let (clock, crack) = cracked();
    let door = Door::open(Setup { clock, ..Setup::default() }).await;
    let jane = key(&door, "jane");
    let mut witness = Raw::inside(door.port, JANE, &jane).await;
    let mut raw = Raw::asking(door.port).await;
    crack.store(true, Ordering::SeqCst);
    raw.tx.send(probe(JANE, "ssh-ed25519", &blob(&jane))).await;
    raw.rx.read_all().await;
    for _ in 0..300 {
        if door.house.front().panics.load(Ordering::SeqCst) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(door.house.front().panics.load(Ordering::SeqCst), 1);
    assert_eq!(witness.run(b"whoami").await.code, Some(0));
    Raw::inside(door.port, JANE, &jane).await;
    drop(witness);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_a_key_of_one_user_and_a_factor_of_another_let_neither_in() {
    let door = Door::open(Setup::default()).await;
    let (jane, bob) = (key(&door, "jane"), bob(&door).await);
    // The other factor as another user.
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.tx.send(interactive(BOB)).await;
    raw.tx.send(raw::answers(&[])).await;
    let all = raw.rx.read_all().await;
    assert!(all.iter().all(|m| m[0] != msg::USERAUTH_SUCCESS), "{all:?}");
    refused(&door, "method-out-of-order").await;
    // The name changes while the phone is asked.
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.begin_factor(JANE).await;
    let request = raw.signed(BOB, &bob);
    raw.tx.send(request).await;
    raw.tx.send(raw::answers(&[])).await;
    let all = raw.rx.read_all().await;
    assert!(all.iter().all(|m| m[0] != msg::USERAUTH_SUCCESS), "{all:?}");
    // `none` as somebody else between the factors, then back.
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.tx.send(request_none(BOB)).await;
    raw.tx.send(interactive(JANE)).await;
    raw.tx.send(raw::answers(&[])).await;
    let all = raw.rx.read_all().await;
    assert!(all.iter().all(|m| m[0] != msg::USERAUTH_SUCCESS), "{all:?}");
    // A second key begins anew; the first one's proof is gone with it.
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.prove_key(BOB, &bob).await;
    raw.tx.send(interactive(JANE)).await;
    let all = raw.rx.read_all().await;
    assert!(all.iter().all(|m| m[0] != msg::USERAUTH_SUCCESS), "{all:?}");
    assert_untouched(&door);
    door.close().await;
}

fn request_none(user: &str) -> Vec<u8> {
    request(user, "none").0
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_r56_the_key_that_signed_counts_and_no_key_that_was_offered() {
    let door = Door::open(Setup::default()).await;
    let (jane, stranger) = (key(&door, "jane"), stranger(&door));
    // Offer A (registered), sign with B (not registered).
    let mut raw = Raw::asking(door.port).await;
    assert_eq!(raw.ask(probe(JANE, "ssh-ed25519", &blob(&jane))).await.unwrap()[0], msg::PK_OK);
    let request = raw.signed(JANE, &stranger);
    assert!(is_refusal(&raw.ask(request).await.unwrap()));
    // B's signature under A's blob.
    let request = raw.signed_as(JANE, "ssh-ed25519", &blob(&jane), |data| {
        Payload(Vec::new()).text("ssh-ed25519").text(sign(&stranger, data)).0
    });
    assert!(is_refusal(&raw.ask(request).await.unwrap()));
    // A's signature, over another connection's identifier.
    let mut other = Raw::asking(door.port).await;
    let stolen = raw.signed(JANE, &jane);
    assert!(is_refusal(&other.ask(stolen).await.unwrap()));
    drop((raw, other));
    // Offer B, offer A, sign with A: A it is, in the journal too.
    let second = make_key(&door.path().join("jane2"), JANE).unwrap();
    let lines = [&jane, &second].map(|key| key.public_key().to_openssh().unwrap()).join("\n");
    door.register(JANE, &lines);
    door.reload().await;
    let mut raw = Raw::asking(door.port).await;
    for offered in [&jane, &second] {
        assert_eq!(raw.ask(probe(JANE, "ssh-ed25519", &blob(offered))).await.unwrap()[0], msg::PK_OK);
    }
    raw.log_in(JANE, &jane).await;
    let login = &door.events("login")[0];
    let fingerprint = jane.public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
    assert_eq!(login["key"], fingerprint);
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_attempts_and_probes_end_while_an_agent_of_twenty_keys_comes_through() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let strangers: Vec<PrivateKey> =
        (0..19).map(|n| make_key(&door.path().join(format!("s{n}")), "s").unwrap()).collect();
    let mut raw = Raw::asking(door.port).await;
    for other in &strangers {
        assert!(is_refusal(&raw.ask(probe(JANE, "ssh-ed25519", &blob(other))).await.unwrap()));
    }
    raw.log_in(JANE, &jane).await;
    drop(raw);
    // A thousand unregistered ones do not.
    let mut raw = Raw::asking(door.port).await;
    let mut answered = 0;
    for n in 0..1000 {
        match raw.ask(probe(JANE, "ssh-ed25519", &blob(&strangers[n % 19]))).await {
            Some(answer) if answer[0] == msg::USERAUTH_FAILURE => answered += 1,
            _ => break,
        }
    }
    assert!(answered <= 27, "{answered}");
    // Neither do a thousand of the registered one.
    let mut raw = Raw::asking(door.port).await;
    let mut answered = 0;
    for _ in 0..1000 {
        match raw.ask(probe(JANE, "ssh-ed25519", &blob(&jane))).await {
            Some(answer) if answer[0] == msg::PK_OK => answered += 1,
            _ => break,
        }
    }
    assert!(answered <= 20, "{answered}");
    // Nor wrong signatures, nor `none`, nor methods that nobody knows.
    for method in ["none", "gssapi-with-mic", "hostbased"] {
        let mut raw = Raw::asking(door.port).await;
        let mut answered = 0;
        while let Some(answer) = raw.ask(request(JANE, method).0).await {
            if answer[0] == msg::DISCONNECT {
                break;
            }
            answered += 1;
            assert!(answered <= 26, "{method}");
        }
    }
    let mut raw = Raw::asking(door.port).await;
    let mut answered = 0;
    loop {
        let request = raw.signed_as(JANE, "ssh-ed25519", &blob(&jane), |data| {
            Payload(Vec::new()).text("ssh-ed25519").text(sign(&strangers[0], data)).0
        });
        match raw.ask(request).await {
            Some(answer) if is_refusal(&answer) => answered += 1,
            _ => break,
        }
        assert!(answered <= 6, "wrong signatures");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_connection_that_is_over_writes_one_line_whatever_it_still_says() {
    let door = Door::open(Setup::default()).await;
    let (jane, stranger) = (key(&door, "jane"), stranger(&door));
    let mut raw = Raw::asking(door.port).await;
    let mut burst = Vec::new();
    for n in 0..2000 {
        let user = if n % 2 == 0 { JANE } else { BOB };
        burst.extend(raw.tx.packet(&probe(
            user,
            "ssh-ed25519",
            &blob(if n < 4 { &jane } else { &stranger }),
        )));
    }
    raw.tx.raw(&burst).await;
    raw.rx.drain().await;
    door.wait_for("refused", 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(door.events("refused").len(), 1, "{:#?}", door.events("refused"));
    drop(raw);
    // The same of somebody who proved a key, and broke the order.
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    let mut burst = Vec::new();
    for _ in 0..2000 {
        burst.extend(raw.tx.packet(&interactive(BOB)));
    }
    raw.tx.raw(&burst).await;
    raw.rx.drain().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(door.events("refused").len(), 2, "{:#?}", door.events("refused").len());
    drop(raw);
    door.close().await;
}

/// Messages that only a server sends, and all of the connection protocol.
fn not_before_the_login() -> Vec<Vec<u8>> {
    let mut messages = vec![
        vec![msg::USERAUTH_SUCCESS],
        Payload::of(msg::USERAUTH_FAILURE).text("publickey").flag(true).0,
        Payload::of(msg::USERAUTH_BANNER).text("hello").text("").0,
        Payload::of(msg::PK_OK).text("ssh-ed25519").text("").0,
        Payload::of(msg::INFO_REQUEST).text("").text("").text("").number(0).0,
        Payload::of(msg::SERVICE_ACCEPT).text("ssh-userauth").0,
    ];
    messages.extend([
        Payload::of(msg::GLOBAL_REQUEST).text("tcpip-forward").flag(true).text("").number(0).0,
        vec![msg::REQUEST_SUCCESS],
        vec![msg::REQUEST_FAILURE],
        raw::open_session(0),
        raw::open_forward(1),
        Payload::of(msg::OPEN_CONFIRMATION).number(0).number(0).number(1 << 20).number(32 << 10).0,
        Payload::of(msg::OPEN_FAILURE).number(0).number(1).text("").text("").0,
        Payload::of(msg::WINDOW_ADJUST).number(0).number(1).0,
        raw::data(0, b"konnektor backup\r"),
        Payload::of(msg::EXTENDED_DATA).number(0).number(1).text("x").0,
        raw::exec(0, b"konnektor backup"),
        raw::channel_request(0, "shell", true, &[]),
        Payload::of(msg::EOF).number(0).0,
        Payload::of(msg::CLOSE).number(0).0,
        vec![msg::CHANNEL_SUCCESS, 0, 0, 0, 0],
        vec![msg::CHANNEL_FAILURE, 0, 0, 0, 0],
    ]);
    messages.extend((101..=255).map(|number| vec![number, 0, 0, 0, 0]));
    messages
}

/// Says all of it, then: still a stranger, whom the server asks for a key and a phone.
async fn assert_still_out(door: &Door, raw: &mut Raw, jane: &PrivateKey) {
    let answer = raw.ask(request_none(JANE)).await.expect("the server lives");
    assert!(is_refusal(&answer), "{answer:?}");
    assert_untouched(door);
    assert!(door.events("refused").is_empty(), "{:#?}", door.events("refused"));
    raw.log_in(JANE, jane).await;
    assert_eq!(raw.run(b"whoami").await.code, Some(0));
    assert_eq!(door.events("started").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_r51_a_servers_messages_and_channels_before_the_login_do_nothing() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    // Before the service too.
    let mut raw = Raw::keyed(door.port).await;
    for message in not_before_the_login() {
        raw.tx.send(message).await;
    }
    assert!(raw.service().await);
    for message in not_before_the_login() {
        raw.tx.send(message).await;
    }
    assert_still_out(&door, &mut raw, &jane).await;
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_a_new_key_exchange_within_the_login_opens_nothing() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::keyed(door.port).await;
    raw.kex(&raw::Proposal::default()).await.expect("a second key exchange before the service");
    for message in not_before_the_login() {
        raw.tx.send(message).await;
    }
    assert!(raw.service().await);
    raw.kex(&raw::Proposal::default()).await.expect("a third one within the login");
    for message in not_before_the_login() {
        raw.tx.send(message).await;
    }
    assert_still_out(&door, &mut raw, &jane).await;
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_a_new_key_exchange_between_the_factors_changes_neither() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.kex(&raw::Proposal::default()).await.expect("a key exchange");
    raw.tx.send(raw::open_session(0)).await;
    raw.begin_factor(JANE).await;
    raw.kex(&raw::Proposal::default()).await.expect("a key exchange");
    raw.tx.send(raw::open_session(0)).await;
    assert!(door.house.front().registry.is_empty());
    assert_eq!(raw.rounds().await.unwrap(), [msg::USERAUTH_SUCCESS]);
    assert_eq!(raw.run(b"whoami").await.code, Some(0));
    drop(raw);
    door.close().await;
}

/// An RSA key's blob.
fn rsa_blob(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    Payload(Vec::new()).text("ssh-rsa").text(exponent).text(modulus).0
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_an_rsa_key_is_compared_with_its_exponent() {
    let door = Door::open(Setup::default()).await;
    let line = door.keygen("rsa", &["-t", "rsa", "-b", "4096"]).await;
    door.register(JANE, &line);
    door.reload().await;
    let public: ssh_key::PublicKey = line.parse().unwrap();
    let real = public.to_bytes().unwrap();
    let mut fields = Fields(&real);
    let (_, exponent, modulus) = (fields.text(), fields.text().to_vec(), fields.text().to_vec());
    // The real one is known.
    let mut raw = Raw::asking(door.port).await;
    assert_eq!(raw.ask(probe(JANE, "rsa-sha2-512", &real)).await.unwrap()[0], msg::PK_OK);
    assert_eq!(exponent, [1, 0, 1]);
    drop(raw);
    // With an exponent of 1 the padded hash is its own signature (CVE-2026-67276).
    let forged = |data: &[u8]| {
        use sha2::Digest;
        let head = [
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05,
            0x00, 0x04, 0x40,
        ];
        let mut padded = vec![0, 1];
        padded.resize(512 - 1 - head.len() - 64, 0xff);
        padded.push(0);
        padded.extend(head);
        padded.extend(sha2::Sha512::digest(data));
        Payload(Vec::new()).text("rsa-sha2-512").text(padded).0
    };
    for exponent in [&[1_u8][..], &[3], &[1, 0, 3], &[1, 0, 0], &[0], &[0, 1, 0, 1], &[1, 0, 1, 1]] {
        let crafted = rsa_blob(exponent, &modulus);
        let mut raw = Raw::asking(door.port).await;
        let answer = raw.ask(probe(JANE, "rsa-sha2-512", &crafted)).await;
        assert!(answer.is_none_or(|a| a[0] != msg::PK_OK), "{exponent:?}");
        let mut raw = Raw::asking(door.port).await;
        let request = raw.signed_as(JANE, "rsa-sha2-512", &crafted, forged);
        let answer = raw.ask(request).await;
        assert!(answer.is_none_or(|a| is_refusal(&a) || a[0] == msg::DISCONNECT), "{exponent:?}");
    }
    // SHA-1 is no signature.
    let mut raw = Raw::asking(door.port).await;
    let answer = raw.ask(probe(JANE, "ssh-rsa", &real)).await.unwrap();
    assert!(is_refusal(&answer), "{answer:?}");
    drop(raw);
    assert_untouched(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_a_huge_modulus_costs_nothing() {
    let door = Door::open(Setup::default()).await;
    let mut modulus = vec![0x7f];
    modulus.resize(16_384, 0xff);
    let crafted = rsa_blob(&[1, 0, 1], &modulus);
    for signed in [false, true] {
        let mut raw = Raw::asking(door.port).await;
        let message = if signed {
            raw.signed_as(JANE, "rsa-sha2-512", &crafted, |_| {
                Payload(Vec::new()).text("rsa-sha2-512").text(vec![1; 16_384]).0
            })
        } else {
            probe(JANE, "rsa-sha2-512", &crafted)
        };
        let before = cpu();
        let answer = raw.ask(message).await;
        assert!(answer.is_none_or(|a| is_refusal(&a)));
        let spent = cpu() - before;
        assert!(spent < Duration::from_millis(60), "{spent:?}");
    }
    refused(&door, "key-policy").await;
    door.close().await;
}

/// CPU time of this process so far, in steps of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn r54_a_name_that_could_be_an_argument_or_a_path_is_nobody() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let long = format!("firm-{}.doe", "a".repeat(100));
    let names = [
        "-2",
        "--help",
        "-oProxyCommand=id",
        "firm-jane.doe,root",
        "firm-jane.doe\n",
        "firm-jane.doe ",
        " firm-jane.doe",
        "FIRM-JANE.DOE",
        "firm-jane.doe\0",
        "../firm-jane.doe",
        "firm-jane/doe",
        "firm-jane.doe%",
        "firm-%.%",
        "firm-*",
        "",
        "root",
        "firm-jane.döe",
        "ﬁrm-jane.doe",
        &long,
    ];
    for name in names {
        let mut raw = Raw::asking(door.port).await;
        let request = raw.signed(name, &jane);
        let answer = raw.ask(request).await;
        assert!(answer.is_none_or(|a| is_refusal(&a)), "{name:?}");
        assert!(raw.is_out().await);
    }
    assert_untouched(&door);
    let lines = door.wait_for("refused", names.len()).await;
    assert!(lines.iter().all(|line| line["user"] != JANE), "{lines:#?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_a_key_in_other_case_is_another_key() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let real = blob(&jane);
    let fold = |upper: bool| {
        let mut folded = real.clone();
        for byte in folded.iter_mut().skip(19) {
            *byte = if upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        }
        folded
    };
    let mut variants = vec![fold(true), fold(false)];
    for at in 19..real.len() {
        if real[at].is_ascii_alphabetic() {
            let mut one = real.clone();
            one[at] ^= 0x20;
            variants.push(one);
        }
    }
    let mut raw = Raw::asking(door.port).await;
    for variant in variants.iter().filter(|v| **v != real).take(15) {
        let answer = raw.ask(probe(JANE, "ssh-ed25519", variant)).await.unwrap();
        assert!(is_refusal(&answer), "{answer:?}");
    }
    assert_eq!(raw.ask(probe(JANE, "ssh-ed25519", &real)).await.unwrap()[0], msg::PK_OK);
    drop(raw);
    assert_untouched(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r57_a_keys_from_holds_through_the_second_factor() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let line = jane.public_key().to_openssh().unwrap();
    door.register(JANE, &format!("from=\"192.0.2.0/24\" {line}"));
    door.reload().await;
    let mut raw = Raw::asking(door.port).await;
    let request = raw.signed(JANE, &jane);
    assert!(is_refusal(&raw.ask(request).await.unwrap()));
    drop(raw);
    refused(&door, "key-source").await;
    // It changes while the phone is asked.
    door.register(JANE, &line);
    door.reload().await;
    door.phone_does("silent");
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.begin_factor(JANE).await;
    door.register(JANE, &format!("from=\"192.0.2.0/24\" {line}"));
    door.reload().await;
    door.phone_does("approve");
    let last = raw.rounds().await;
    assert!(last.is_none_or(|answer| answer[0] != msg::USERAUTH_SUCCESS));
    assert_untouched(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r57_a_keys_expiry_holds_through_the_second_factor() {
    let offset = Arc::new(AtomicI64::new(0));
    let ahead = offset.clone();
    let clock =
        Clock::of(move || Timestamp::now() + jiff::SignedDuration::from_secs(ahead.load(Ordering::SeqCst)));
    let door = Door::open(Setup { phone: "silent", clock, ..Setup::default() }).await;
    let jane = key(&door, "jane");
    let line = jane.public_key().to_openssh().unwrap();
    let expiry =
        (Timestamp::now() + jiff::SignedDuration::from_secs(60)).strftime("%Y%m%d%H%M%SZ").to_string();
    door.register(JANE, &format!("expiry-time=\"{expiry}\" {line}"));
    door.reload().await;
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.begin_factor(JANE).await;
    // A minute passes for the key; the phone's question is open for 60 s, so only half of that for it.
    offset.store(40, Ordering::SeqCst);
    door.register(
        JANE,
        &format!("expiry-time=\"{}\" {line}", {
            (Timestamp::now() + jiff::SignedDuration::from_secs(20)).strftime("%Y%m%d%H%M%SZ")
        }),
    );
    door.reload().await;
    door.phone_does("approve");
    let last = raw.rounds().await;
    assert!(last.is_none_or(|answer| answer[0] != msg::USERAUTH_SUCCESS));
    assert!(door.events("started").is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r57_a_connection_ends_when_its_key_goes() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let line = jane.public_key().to_openssh().unwrap();
    door.register(JANE, &format!("from=\"192.0.2.0/24\" {line}"));
    door.reload().await;
    let said = raw.rx.read_one_of(&[msg::DISCONNECT]).await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains("no longer valid"), "{said:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r58_keyboard_interactive_without_a_key_is_refused() {
    let door = Door::open(Setup::default()).await;
    let (jane, stranger) = (key(&door, "jane"), stranger(&door));
    let mut raw = Raw::asking(door.port).await;
    assert!(is_refusal(&raw.ask(interactive(JANE)).await.unwrap()));
    assert!(is_refusal(&raw.ask(raw::answers(&[])).await.unwrap()));
    // An unsigned offer and a wrong signature make it no better.
    raw.ask(probe(JANE, "ssh-ed25519", &blob(&jane))).await;
    assert!(is_refusal(&raw.ask(interactive(JANE)).await.unwrap()));
    let request = raw.signed(JANE, &stranger);
    assert!(is_refusal(&raw.ask(request).await.unwrap()));
    assert!(is_refusal(&raw.ask(interactive(JANE)).await.unwrap()));
    assert_eq!(door.phone.questions(), 0);
    drop(raw);
    refused(&door, "keyboard-interactive-first").await;
    assert_untouched(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_r64_r87_no_subsystem_but_sftp_and_no_environment_but_the_language() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let (_, theirs) = raw.channel().await;
    let variable = |name: &str, value: &str| Payload(Vec::new()).text(name).text(value).0;
    for name in
        ["LD_PRELOAD", "PATH", "BASH_ENV", "GIT_SSH_COMMAND", "LC_", "LANGUAGE", "lang", "LANG\0X", ""]
    {
        let taken = raw.channel_request(theirs, "env", &variable(name, "x")).await;
        assert_eq!(taken, name == "LC_", "{name}");
    }
    assert!(!raw.channel_request(theirs, "env", &variable("LANG", "$(id)\n")).await);
    assert!(raw.channel_request(theirs, "env", &variable("LANG", "de_DE.UTF-8")).await);
    raw.tx.send(raw::exec(theirs, b"whoami extra")).await;
    let ended = raw.collect(theirs).await;
    assert_eq!(ended.code, Some(64));
    let began = Instant::now();
    for name in ["sftp-server", "netconf", ""] {
        let (_, theirs) = raw.channel().await;
        raw.tx.send(raw::channel_request(theirs, "subsystem", true, &Payload(Vec::new()).text(name).0)).await;
        let ended = raw.collect(theirs).await;
        assert_eq!(ended.code, Some(77), "{ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
    let ended = raw.run(b"konnektor backup -i praxis-nirgends").await;
    assert!(ended.code.is_some_and(|code| code != 0) && !ended.stderr.is_empty());
    assert!(began.elapsed() < Duration::from_secs(4), "each within a second: {:?}", began.elapsed());
    assert_eq!(door.events("refused").iter().filter(|line| line["cause"] == "no-subsystem").count(), 3);
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r69_a_command_with_anything_behind_it_is_refused_and_on_record() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let lines: [&[u8]; 16] = [
        b"konnektor backup; id",
        b"konnektor backup;id",
        b"konnektor backup\nid",
        b"konnektor backup && id",
        b"konnektor backup | sh",
        b"konnektor backup $(id)",
        b"konnektor backup `id`",
        b"konnektor backup\0",
        b"konnektor backup > /etc/passwd",
        "konnektor backup\u{a0}".as_bytes(),
        "konnektor bаckup".as_bytes(),
        "konnektor backup".as_bytes().split_at(9).0,
        b"konnektor backup -f ../../x",
        b"konnektor backup -f /etc/passwd",
        b"KONNEKTOR BACKUP",
        b"konnektor backup -i praxis-mueller/main;id",
    ];
    for line in lines {
        let ended = raw.run(line).await;
        assert!(
            ended.code.is_some_and(|code| code == 64 || code == 77),
            "{:?}: {ended:?}",
            line.escape_ascii()
        );
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    assert_eq!(door.events("refused").len(), lines.len(), "{:#?}", door.events("refused"));
    assert!(door.events("started").is_empty(), "{:#?}", door.events("started"));
    assert!(door.konnektor.requests().is_empty());
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_a_request_on_a_channel_that_is_not_open_runs_nothing() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    for channel in [0, 1, 2, 7, 0x7fff_ffff, u32::MAX] {
        raw.tx.send(raw::exec(channel, b"konnektor backup")).await;
        raw.tx.send(raw::channel_request(channel, "shell", true, &[])).await;
        raw.tx.send(raw::data(channel, b"konnektor backup\r")).await;
    }
    let ended = raw.run(b"whoami").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // And on one that is closed again, and a second time on one that has run.
    let (_, theirs) = raw.channel().await;
    raw.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
    raw.tx.send(raw::exec(theirs, b"konnektor backup")).await;
    raw.rx.read_one_of(&[msg::CLOSE]).await.unwrap();
    assert_eq!(raw.run(b"whoami").await.code, Some(0));
    let (_, theirs) = raw.channel().await;
    raw.tx.send(raw::exec(theirs, b"whoami")).await;
    raw.tx.send(raw::exec(theirs, b"konnektor backup")).await;
    raw.rx.read_one_of(&[msg::CLOSE]).await.unwrap();
    let started = door.events("started");
    assert!(started.iter().all(|line| line["command"] == "whoami"), "{started:#?}");
    assert_eq!(started.len(), 3);
    assert!(door.konnektor.requests().is_empty());
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r86_output_then_exit_status_then_eof_then_close_a_thousand_times() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    for n in 0..1000 {
        let (line, code): (&[u8], u32) = match n % 3 {
            0 => (b"whoami", 0),
            1 => (b"konnektor list", 0),
            _ => (b"no such thing", 64),
        };
        let ended = raw.run(line).await;
        assert_eq!(ended.code, Some(code), "run {n}: {ended:?}");
        let last = &ended.order[ended.order.len() - 3..];
        assert_eq!(last, [msg::CHANNEL_REQUEST, msg::EOF, msg::CLOSE], "run {n}: {ended:?}");
        assert!(!(ended.stdout.is_empty() && ended.stderr.is_empty()), "run {n}: {ended:?}");
    }
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r94_a_box_that_cannot_be_reached_is_said_on_stderr_with_a_code() {
    let door = Door::open(Setup {
        rules: Some("[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\"]\non = [\"*\"]\n".into()),
        sites: vec![(
            "praxis-fern".into(),
            pforte::init::SITE
                .replace("praxis-mueller", "praxis-fern")
                .replace("192.168.2.100:9443", "127.0.0.1:1"),
        )],
        ..Setup::default()
    })
    .await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let ended = raw.run(b"konnektor backup -i praxis-fern -f -").await;
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_remote_forwards_and_agents_are_refused_with_an_answer() {
    let door = Door::open(Setup::default()).await;
    let jane = key(&door, "jane");
    let mut raw = Raw::inside(door.port, JANE, &jane).await;
    let global = |kind: &str| Payload::of(msg::GLOBAL_REQUEST).text(kind).flag(true);
    for request in [
        global("tcpip-forward").text("").number(0).0,
        global("tcpip-forward").text("127.0.0.1").number(8080).0,
        global("cancel-tcpip-forward").text("").number(0).0,
        global("streamlocal-forward@openssh.com").text("/tmp/x").0,
        global("no-such-thing@example.org").0,
    ] {
        raw.tx.send(&request).await;
        let answer = raw.rx.read_one_of(&[msg::REQUEST_SUCCESS, msg::REQUEST_FAILURE]).await.unwrap();
        assert_eq!(answer[0], msg::REQUEST_FAILURE, "{}", String::from_utf8_lossy(&request));
    }
    let kinds = ["x11", "direct-tcpip", "forwarded-tcpip", "direct-streamlocal@openssh.com"];
    for (ours, kind) in (100..).zip(kinds) {
        let head = raw::open(ours, kind).number(1 << 20).number(32 << 10);
        let open = match kind {
            "x11" => head.text("127.0.0.1").number(1),
            "direct-streamlocal@openssh.com" => head.text("/run/x").text("").number(0),
            _ => head.text("127.0.0.1").number(22).text("127.0.0.1").number(1),
        };
        raw.tx.send(open.0).await;
        let answer = raw.rx.read_one_of(&[msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE]).await.unwrap();
        assert_eq!(answer[0], msg::OPEN_FAILURE, "{kind}");
        assert_eq!(Fields::of(&answer).number(), ours, "{kind}");
    }
    let (_, theirs) = raw.channel().await;
    assert!(!raw.channel_request(theirs, "auth-agent-req@openssh.com", &[]).await);
    let x11 = Payload(Vec::new()).flag(false).text("MIT-MAGIC-COOKIE-1").text("00").number(0).0;
    assert!(!raw.channel_request(theirs, "x11-req", &x11).await);
    // russh answers an unknown type twice (0.65.1), so nothing is read behind it.
    raw.tx
        .send(raw::open(104, "tun@openssh.com").number(1 << 20).number(32 << 10).number(1).number(1).0)
        .await;
    assert_eq!(raw.rx.read().await.unwrap()[0], msg::OPEN_FAILURE);
    drop(raw);
    door.close().await;
}

/// A gateway that asks for codes, and the code that counts at its time.
async fn codes() -> (Door, PrivateKey, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let shared = ahead.clone();
    // RFC 6238's fifth vector: 279037 counts at 2,000,000,000 s.
    let clock =
        Clock::of(move || Timestamp::from_second(2_000_000_000 + shared.load(Ordering::SeqCst)).unwrap());
    let setup = Setup {
        gateway: vec![
            ("provider = \"webhook\"".into(), "provider = \"totp\"".into()),
            ("[second_factor.webhook]\nurl".into(), "[second_factor.totp]\n# url".into()),
            ("secret = { file = \"secrets/webhook\" }".into(), "secrets = \"secrets/totp\"".into()),
        ],
        clock,
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    for user in [JANE, BOB] {
        let secret = if user == JANE {
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        } else {
            "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
        };
        pforte::init::write_new(&door.path().join(format!("secrets/totp/{user}")), secret.as_bytes(), 0o600)
            .unwrap();
    }
    let jane = key(&door, "jane");
    (door, jane, ahead)
}

const CODE: &str = "279037";

#[tokio::test(flavor = "multi_thread")]
async fn r88_a_code_counts_once_and_for_its_person_only() {
    let (door, jane, _) = codes().await;
    let bob = bob(&door).await;
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(BOB, &bob).await;
    raw.begin_factor(BOB).await;
    let answer = raw.ask(raw::answers(&[CODE])).await;
    assert!(answer.is_none_or(|a| a[0] != msg::USERAUTH_SUCCESS), "another's code");
    drop(raw);
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.begin_factor(JANE).await;
    assert_eq!(raw.ask(raw::answers(&[CODE])).await.unwrap(), [msg::USERAUTH_SUCCESS]);
    let mut again = Raw::asking(door.port).await;
    again.prove_key(JANE, &jane).await;
    again.begin_factor(JANE).await;
    let answer = again.ask(raw::answers(&[CODE])).await;
    assert!(answer.is_none_or(|a| a[0] != msg::USERAUTH_SUCCESS), "the same code twice");
    assert_eq!(door.events("login").len(), 1);
    drop((raw, again));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r88_guessing_codes_ends_the_connection_then_bars_the_key_from_there() {
    let (door, jane, _) = codes().await;
    let source = raw::fresh_source();
    let (mut guesses, mut barred) = (0, false);
    'guessing: for _ in 0..20 {
        let mut raw = Raw::tcp_from(door.port, source).await;
        raw.say_version().await;
        if raw.kex(&raw::Proposal::default()).await.is_none() || !raw.service().await {
            break;
        }
        let request = raw.signed(JANE, &jane);
        match raw.ask(request).await {
            Some(answer) if raw::is_partial(&answer) => {}
            _ => break,
        }
        // A barred key is told so where it would be asked for a code: no prompt, then DISCONNECT.
        match raw.ask(interactive(JANE)).await {
            Some(answer) if answer[0] == msg::INFO_REQUEST && !answer.ends_with(&[0; 4]) => {}
            _ => {
                barred = true;
                break;
            }
        }
        for n in 0..10 {
            assert!(n < 4, "codes on one connection");
            match raw.ask(raw::answers(&["000000"])).await {
                // Without a prompt it is the last one, and DISCONNECT follows.
                Some(answer) if answer[0] == msg::INFO_REQUEST && !answer.ends_with(&[0; 4]) => guesses += 1,
                _ => {
                    guesses += 1;
                    raw.rx.drain().await;
                    continue 'guessing;
                }
            }
        }
    }
    assert!(barred && guesses <= 6, "{guesses} guesses");
    let mut raw = Raw::asking(door.port).await;
    raw.prove_key(JANE, &jane).await;
    raw.begin_factor(JANE).await;
    assert_eq!(
        raw.ask(raw::answers(&[CODE])).await.unwrap(),
        [msg::USERAUTH_SUCCESS],
        "she herself, elsewhere"
    );
    drop(raw);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_r24_no_number_of_answers_but_the_right_one_counts() {
    let (door, jane, _) = codes().await;
    for message in [
        Payload::of(msg::INFO_RESPONSE).number(1 << 28).0,
        Payload::of(msg::INFO_RESPONSE).number(u32::MAX).text("x").0,
        raw::answers(&[]),
        raw::answers(&["", CODE]),
        raw::answers(&["x", "279037"]),
        raw::answers(&["279037\0"]),
        raw::answers(&["279037279037"]),
    ] {
        let mut raw = Raw::asking(door.port).await;
        raw.prove_key(JANE, &jane).await;
        raw.begin_factor(JANE).await;
        let answer = raw.ask(&message).await;
        assert!(answer.is_none_or(|a| a[0] != msg::USERAUTH_SUCCESS), "{message:?}");
    }
    assert_untouched(&door);
    door.close().await;
}
