//! Duo: claims about each fault of each call, about clocks, certificates and proxies. It is always closed, and rings once at most.
//! Absent on purpose: what Duo says when it is well (`factor_duo.rs`).

use crate::asked;
use crate::duo;
use crate::factor_common;

use std::time::{Duration, Instant};

use asked::{asked, client, config, janes, pushed};
use duo::{Duo, Fault};
use factor_common::{clock_off_by, listener, question};
use pforte::clock::Clock;
use pforte::factor::duo::{Duo as Client, DuoConfig, DuoError};
use pforte::factor::{Cause, Reach, Verdict, Way};
use pforte::secret::Secret;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn an_answer_of_429_at_any_call_is_waited_for_and_rings_once() {
    let rounds = duo::STEPS.into_iter().flat_map(|call| {
        [("retry-after", "0"), ("x-retry-after", "0"), ("", "")].map(|header| (call, header))
    });
    let rounds = rounds.map(|(call, (name, value))| async move {
        let duo = janes().await;
        let header = (!name.is_empty()).then(|| (name, value.to_owned()));
        duo.tenant(|t| t.faults.insert(call, Fault::Throttle(1, header)));
        let begun = Instant::now();
        assert_eq!(pushed(&client(&duo)).await.verdict, Verdict::Allowed, "{call} {name}");
        assert_eq!(duo.pushes(), 1, "{call} {name}");
        let least = Duration::from_secs(u64::from(name.is_empty()));
        assert!((least..least + Duration::from_secs(5)).contains(&begun.elapsed()), "{call} {name}");
    });
    futures::future::join_all(rounds).await;
}

#[tokio::test]
async fn an_answer_of_429_that_outlasts_the_question_ends_it_at_once() {
    let begun = Instant::now();
    for call in duo::STEPS {
        let date = Clock::system().now() + jiff::SignedDuration::from_mins(2);
        let date = jiff::fmt::rfc2822::to_string(&date.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        let dates = if call == "ping" { vec![] } else { vec![date] };
        for header in ["3600".to_owned(), u64::MAX.to_string()].into_iter().chain(dates) {
            let duo = janes().await;
            duo.tenant(|t| t.faults.insert(call, Fault::Throttle(1, Some(("Retry-After", header)))));
            assert_eq!(pushed(&client(&duo)).await.verdict, Verdict::Failed(Cause::Throttled), "{call}");
            assert_eq!(duo.pushes(), usize::from(call == "auth_status"), "{call}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    // One that never ends: 1 s, 2 s, 4 s, and more than is left.
    let duo = janes().await;
    duo.tenant(|t| t.faults.insert("auth", Fault::Throttle(u32::MAX, None)));
    let asked = asked(&client(&duo), &question(6), Way::Push, Reach::ALL, &[]).await;
    assert_eq!((asked.verdict, duo.pushes()), (Verdict::Failed(Cause::Throttled), 0));
    assert!(duo.tenant(|t| t.faults.len()) == 1 && begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn every_fault_at_every_call_refuses_in_time_and_rings_once_at_most() {
    let says = |status, body: &str| Fault::Says(status, body.to_owned());
    let faults = [
        (Fault::Break, Cause::Unreachable),
        (Fault::Hang, Cause::TooSlow),
        (Fault::Drip, Cause::TooSlow),
        (says(500, "{\"stat\":\"FAIL\",\"code\":50000}"), Cause::Status(500)),
        (says(503, "<html>"), Cause::Status(503)),
        (says(200, "{\"stat\":\"OK\",\"response\":{\"result\":\"al"), Cause::Malformed),
        (says(200, "<html>Anmeldung am WLAN</html>"), Cause::Malformed),
        (says(200, ""), Cause::Malformed),
        (says(200, "{\"result\":\"allow\",\"status\":\"allow\",\"time\":1}"), Cause::Malformed),
        (says(200, "{\"stat\":\"OK\",\"response\":\"allow\"}"), Cause::Malformed),
        (says(200, "{\"stat\":\"FAIL\",\"code\":\"40001\"}"), Cause::ProviderError),
        (says(201, "{\"stat\":\"OK\",\"response\":{\"result\":\"allow\"}}"), Cause::Status(201)),
        (says(401, "{\"stat\":\"FAIL\",\"code\":40103}"), Cause::Credentials),
        (says(403, "{\"stat\":\"FAIL\",\"code\":40301}"), Cause::Credentials),
        (Fault::Redirect, Cause::Redirect),
        (Fault::Huge { announced: true }, Cause::TooLarge),
        (Fault::Huge { announced: false }, Cause::TooLarge),
    ];
    let begun = Instant::now();
    let rounds =
        duo::STEPS.into_iter().flat_map(|call| faults.iter().cloned().map(move |(f, c)| (call, f, c)));
    let rounds = rounds.map(|(call, fault, cause)| async move {
        let duo = janes().await;
        duo.tenant(|t| t.faults.insert(call, fault.clone()));
        let asked = asked(&client(&duo), &question(4), Way::Push, Reach::ALL, &[]).await;
        // Duo holds a poll: of one that it never answers only the question's end can tell.
        let held = call == "auth_status" && matches!(fault, Fault::Hang);
        let expected = if held { Verdict::TimedOut } else { Verdict::Failed(cause) };
        assert_eq!(asked.verdict, expected, "{call}: {fault:?}: {:?}", asked.steps);
        let rung = usize::from(matches!(call, "auth" | "auth_status"));
        assert_eq!(duo.pushes(), rung, "{call}: {fault:?}");
        assert!(duo.calls("auth").len() <= 1 && duo.calls("auth_status").len() <= 1, "{call}: {fault:?}");
    });
    futures::future::join_all(rounds).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_same_faults_end_the_look_at_the_start_with_their_cause() {
    let duo = janes().await;
    assert_eq!(client(&duo).check().await, Ok(()));
    assert_eq!((duo.calls("ping").len(), duo.calls("check").len()), (1, 1));
    for (call, fault, cause) in [
        ("check", Fault::Break, Cause::Unreachable),
        ("check", Fault::Hang, Cause::TooSlow),
        ("check", Fault::Drip, Cause::TooSlow),
        ("check", Fault::Says(500, String::new()), Cause::Status(500)),
        ("check", Fault::Says(200, "<html>".into()), Cause::Malformed),
        ("check", Fault::Redirect, Cause::Redirect),
        ("check", Fault::Huge { announced: false }, Cause::TooLarge),
        ("check", Fault::Throttle(1, None), Cause::Throttled),
        ("ping", Fault::Hang, Cause::TooSlow),
        ("ping", Fault::Other(json!({ "time": "soon" })), Cause::Malformed),
        ("ping", Fault::Other(json!({ "time": i64::MAX })), Cause::Malformed),
    ] {
        duo.tenant(|t| t.faults = [(call, fault.clone())].into());
        assert_eq!(client(&duo).check().await, Err(cause), "{call}: {fault:?}");
    }
    duo.tenant(|t| t.faults.clear());
    let changed = |change: fn(&mut DuoConfig)| {
        let mut config = config(&duo);
        change(&mut config);
        Client::new(config, Clock::system())
    };
    let keys = changed(|c| c.skey = Secret::new("another key".into())).unwrap();
    assert_eq!(keys.check().await, Err(Cause::Credentials));
    let keys = changed(|c| c.ikey = "DI000000000000000000".into()).unwrap();
    assert_eq!(keys.check().await, Err(Cause::Credentials));
    duo.tenant(|t| t.other_type = true);
    assert_eq!(client(&duo).check().await, Err(Cause::Credentials));
    assert_eq!(duo.tenant(|t| t.refused.clone()), [40103, 40102, 40301]);
    assert!(matches!(changed(|c| c.skey = Secret::new(String::new())), Err(DuoError::EmptyKey)));
    // Nobody there.
    let (nobody, address) = listener().await;
    drop(nobody);
    let mut config = config(&duo);
    config.host = address.to_string().parse().unwrap();
    let away = Client::new(config, Clock::system()).unwrap();
    assert_eq!(away.check().await, Err(Cause::Unreachable));
    assert_eq!(pushed(&away).await.verdict, Verdict::Failed(Cause::Unreachable));
}

#[tokio::test]
async fn an_answer_about_somebody_or_something_else_is_refused() {
    for (call, fields, cause) in [
        ("auth_status", json!({ "txid": "another" }), Cause::WrongTx),
        ("auth_status", json!({ "username": "firm-john.roe" }), Cause::WrongPerson),
        ("auth", json!({ "username": "firm-john.roe" }), Cause::WrongPerson),
        ("auth", json!({ "txid": "" }), Cause::Malformed),
        ("auth", json!({ "txid": "a b\n" }), Cause::Malformed),
        ("auth", json!({ "txid": 7 }), Cause::Malformed),
        ("auth", json!({ "txid": null }), Cause::Malformed),
        ("preauth", json!({ "result": "yes" }), Cause::Malformed),
        ("preauth", json!({ "result": null }), Cause::Malformed),
    ] {
        let duo = janes().await;
        duo.tenant(|t| t.faults.insert(call, Fault::Other(fields.clone())));
        let asked = pushed(&client(&duo)).await;
        assert_eq!(asked.verdict, Verdict::Failed(cause), "{fields}: {asked:?}");
        assert!(duo.pushes() <= 1, "{fields}");
    }
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_off_either_way_does_no_harm() {
    for off in [-600, 600] {
        // Theirs.
        let duo = janes().await;
        duo.tenant(|t| t.ahead = off);
        let client = client(&duo);
        assert_eq!(pushed(&client).await.verdict, Verdict::Allowed, "{off}");
        // It is put right while we run: asked for anew before anything rings.
        duo.tenant(|t| t.ahead = 0);
        assert_eq!(pushed(&client).await.verdict, Verdict::Allowed, "{off}");
        assert_eq!(duo.tenant(|t| t.refused.clone()), [40105], "{off}");
        assert_eq!((duo.calls("ping").len(), duo.pushes()), (2, 2), "{off}");
        // Ours.
        let ours = Client::new(config(&duo), clock_off_by(off)).unwrap();
        let mut question = question(20);
        question.expires += jiff::SignedDuration::from_secs(off);
        let asked = asked(&ours, &question, Way::Push, Reach::ALL, &[]).await;
        assert_eq!(asked.verdict, Verdict::Allowed, "{off}");
        // A ping that lies: the call is made once more, and then no more.
        duo.tenant(|t| t.faults.insert("ping", Fault::Other(json!({ "time": 1_000_000_000 }))));
        let lied = Client::new(config(&duo), Clock::system()).unwrap();
        let before = duo.tenant(|t| t.refused.len());
        assert_eq!(pushed(&lied).await.verdict, Verdict::Failed(Cause::Stale), "{off}");
        assert_eq!(duo.tenant(|t| t.refused.len()) - before, 2, "{off}");
    }
}

#[tokio::test]
async fn a_push_that_duo_finds_off_in_time_is_not_sent_again() {
    let duo = janes().await;
    let stale = "{\"stat\":\"FAIL\",\"code\":40105}".to_owned();
    duo.tenant(|t| t.faults.insert("auth", Fault::Says(401, stale)));
    assert_eq!(pushed(&client(&duo)).await.verdict, Verdict::Failed(Cause::Stale));
    assert_eq!((duo.calls("auth").len(), duo.pushes()), (1, 1), "the fake rang before it complained");
}

#[tokio::test]
async fn another_certificate_is_not_spoken_to() {
    let (duo, other) = (janes().await, Duo::start().await);
    for ca_pem in [Some(other.ca_pem.clone().into_bytes()), None] {
        let client = Client::new(DuoConfig { ca_pem, ..config(&duo) }, Clock::system()).unwrap();
        assert_eq!(pushed(&client).await.verdict, Verdict::Failed(Cause::Unreachable));
    }
    assert!(duo.calls("ping").is_empty());
    let nonsense = DuoConfig { ca_pem: Some(b"nothing".to_vec()), ..config(&duo) };
    assert!(Client::new(nonsense, Clock::system()).is_err());
}

/// A proxy for CONNECT; gives the heads of the requests it got.
async fn proxy() -> (String, tokio::sync::mpsc::Receiver<String>) {
    let (listener, address) = listener().await;
    let (heads, got) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = heads.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let to = head.split(' ').nth(1).unwrap().to_owned();
                heads.send(head).await.unwrap();
                #[expect(clippy::disallowed_methods, reason = "a proxy of a test dials")]
                let mut there = TcpStream::connect(to).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut stream, &mut there).await.ok();
            });
        }
    });
    (format!("http://{address}"), got)
}

#[tokio::test]
async fn a_proxy_is_used_and_sees_the_host_alone() {
    let duo = janes().await;
    let (proxy, mut heads) = proxy().await;
    let client = Client::new(DuoConfig { proxy: Some(proxy), ..config(&duo) }, Clock::system()).unwrap();
    assert_eq!(pushed(&client).await.verdict, Verdict::Allowed);
    let head = heads.try_recv().unwrap();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", duo.address)), "{head}");
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    assert!(heads.try_recv().is_err(), "one connection for all calls");
    // A proxy that is down is no reason to go without it.
    let (gone, address) = listener().await;
    drop(gone);
    let proxy = Some(format!("http://{address}"));
    let client = Client::new(DuoConfig { proxy, ..config(&duo) }, Clock::system()).unwrap();
    assert_eq!(pushed(&client).await.verdict, Verdict::Failed(Cause::Unreachable));
    assert_eq!(duo.pushes(), 1);
}
