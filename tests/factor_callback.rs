//! The hub of callbacks by itself: what was opened is found, once and in time, over TLS too; all else is nowhere.
//! Absent on purpose: what providers make of a call; their own files have that.

use crate::factor_common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use factor_common::{listener, now, question};
use pforte::clock::Clock;
use pforte::factor::callback::{BadTls, Callbacks, Heard, Reply, Tls};
use pforte::factor::{Cause, Verdict};
use pforte::secret::Secret;
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn hub(clock: Clock) -> (Callbacks, SocketAddr) {
    let (listener, address) = listener().await;
    let hub = Callbacks::new(format!("http://{address}/").parse().unwrap(), rand::random::<u128>, clock);
    tokio::spawn(hub.clone().serve(listener, None));
    (hub, address)
}

fn yes() -> Heard {
    Heard::Answer(Verdict::Allowed, Reply::bare(StatusCode::OK))
}

/// The whole answer to a request.
#[expect(clippy::disallowed_methods, reason = "a test dials its own listener")]
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok();
    answer
}

async fn post(url: &Url) -> String {
    let address = url.socket_addrs(|| None).unwrap()[0];
    raw(address, &format!("POST {} HTTP/1.1\r\nHost: x\r\n\r\n", url.path())).await
}

/// The answer without the time that it was given.
fn undated(answer: &str) -> String {
    answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_question_takes_its_first_answer_and_its_other_paths_close_with_it() {
    let (hub, _) = hub(Clock::system()).await;
    let mut open = hub.open(&question(30)).unwrap();
    let (yes, no) = (
        open.path(|_| yes()).unwrap(),
        open.path(|_| Heard::Answer(Verdict::Denied, Reply::bare(StatusCode::OK))).unwrap(),
    );
    assert!(post(&no).await.starts_with("HTTP/1.1 200"));
    assert!(post(&yes).await.starts_with("HTTP/1.1 404"));
    assert!(post(&no).await.starts_with("HTTP/1.1 404"));
    assert_eq!(open.verdict().await, Verdict::Denied);
}

#[tokio::test]
async fn of_many_answers_at_once_one_counts() {
    let (hub, _) = hub(Clock::system()).await;
    for _ in 0..20 {
        let open = hub.open(&question(30)).unwrap();
        let at = open.path(|_| yes()).unwrap();
        let answers = futures::future::join_all((0..8).map(|_| post(&at))).await;
        let taken = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200")).count();
        assert_eq!(taken, 1);
    }
}

#[tokio::test]
async fn an_answer_at_the_moment_of_expiry_is_too_late() {
    let begin = now();
    let seconds = Arc::new(AtomicI64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        Clock::of(move || begin + jiff::SignedDuration::from_secs(seconds.load(Ordering::SeqCst)))
    };
    let (hub, _) = hub(clock).await;
    let mut asked = question(30);
    asked.expires = begin + jiff::SignedDuration::from_secs(30);
    let mut open = hub.open(&asked).unwrap();
    // The path is found in time, and the judge takes until the question has expired.
    let late = Arc::clone(&seconds);
    let slow = open
        .path(move |_| {
            late.store(30, Ordering::SeqCst);
            yes()
        })
        .unwrap();
    let found = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&found);
    let counts = open
        .path(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Heard::Nothing(Reply::bare(StatusCode::OK))
        })
        .unwrap();
    seconds.store(29, Ordering::SeqCst);
    assert!(post(&counts).await.starts_with("HTTP/1.1 200"));
    seconds.store(30, Ordering::SeqCst);
    assert!(post(&counts).await.starts_with("HTTP/1.1 404"));
    assert_eq!(found.load(Ordering::SeqCst), 1, "a question that has expired was looked at");
    seconds.store(29, Ordering::SeqCst);
    assert!(post(&slow).await.starts_with("HTTP/1.1 404"));
    assert_ne!(open.verdict().await, Verdict::Allowed);
}

#[tokio::test]
async fn whatever_is_not_open_looks_the_same() {
    let (hub, address) = hub(Clock::system()).await;
    let dropped = {
        let open = hub.open(&question(30)).unwrap();
        open.path(|_| yes()).unwrap()
    };
    let still = hub.open(&question(30)).unwrap();
    let at = still.path(|_| yes()).unwrap();
    let first = undated(&post(&dropped).await);
    assert!(first.starts_with("HTTP/1.1 404") && first.contains("no-store"), "{first}");
    let upper = at.path().to_uppercase();
    for path in [
        "/",
        "//",
        "/callback",
        "/favicon.ico",
        "/robots.txt",
        "/0",
        "*",
        "/%00",
        &"/x".repeat(500),
        "/00000000000000000000000000000000",
        &upper,
        &at.path()[..32],
        &format!("{}/", at.path()),
        &format!("/.{}", at.path()),
    ] {
        for method in ["POST", "GET", "PUT", "BREW"] {
            let answer = raw(address, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(undated(&answer), first, "{method} {path}");
        }
    }
    // It is not even read.
    let long = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(10));
    let start = Instant::now();
    assert!(raw(address, &long).await.starts_with("HTTP/1.1 404"));
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(post(&at).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn questions_and_what_they_hold_are_bounded_and_given_back() {
    let (hub, _) = hub(Clock::system()).await;
    let mut open: Vec<_> = (0..4096).map(|_| hub.open(&question(30)).unwrap()).collect();
    assert_eq!(hub.open(&question(30)).err(), Some(Cause::Busy));
    open.pop();
    let last = hub.open(&question(30)).unwrap();
    drop(open);
    let asked = question(30);
    let first = hub.open(&asked).unwrap();
    assert_eq!(hub.open(&asked).err(), Some(Cause::Replay));
    drop(first);
    assert!(hub.open(&asked).is_ok());
    drop(last);
}

fn pair(name: &str) -> (String, Secret) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), Secret::new(made.signing_key.serialize_pem()))
}

#[tokio::test]
async fn over_tls_the_certificate_is_shown_and_plain_text_gets_nothing() {
    pforte::house::choose_tls_provider();
    let (certificate, key) = pair("127.0.0.1");
    let (listener, address) = listener().await;
    let url = format!("https://{address}/").parse().unwrap();
    let hub = Callbacks::new(url, rand::random::<u128>, Clock::system());
    tokio::spawn(hub.clone().serve(listener, Some(Tls::new(&certificate, &key).unwrap())));
    let mut open = hub.open(&question(30)).unwrap();
    let at = open.path(|_| yes()).unwrap();
    assert_eq!(at.scheme(), "https");
    let client = |pem: &str| {
        let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap()
    };
    let (other, _) = pair("127.0.0.1");
    assert!(client(&other).post(at.clone()).send().await.is_err());
    assert!(!post(&at).await.contains("HTTP/1.1 200"));
    // Whoever never shakes hands is hung up, and hinders nobody.
    let silent = async {
        let start = Instant::now();
        raw(address, "\u{16}").await;
        start.elapsed()
    };
    let answered = async {
        let reply = client(&certificate).post(at.clone()).send().await.unwrap();
        assert_eq!(reply.status().as_u16(), 200);
    };
    let (silent, ()) = tokio::join!(silent, answered);
    assert!(silent < Duration::from_secs(9), "{silent:?}");
    assert_eq!(open.verdict().await, Verdict::Allowed);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_says_what_is_wrong() {
    let ((certificate, key), (_, other)) = (pair("a"), pair("b"));
    let tls = |certificate: &str, key: &Secret| Tls::new(certificate, key).err();
    assert_eq!(tls(&certificate, &key), None);
    assert_eq!(tls("", &key), Some(BadTls::Certificate));
    assert_eq!(tls(key.reveal(), &key), Some(BadTls::Certificate));
    assert_eq!(tls(&certificate, &Secret::new(certificate.clone())), Some(BadTls::Key));
    assert_eq!(tls(&certificate, &other), Some(BadTls::Pair));
}
