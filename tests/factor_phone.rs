//! Callbacks, and the simulated phone against the webhook: claims about answers that come once, twice, late or never.
//! Absent on purpose: replies that are wrong; the webhook's own file has them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

mod factor_common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use factor_common::{SECRET, listener, now, provider, question, secret, signature, signed, tx_of};
use pforte::clock::Clock;
use pforte::factor::phone::{Mode, Phone, PhoneConfig};
use pforte::factor::webhook::{Callbacks, Webhook, WebhookConfig};
use pforte::factor::{Cause, Purpose, Push, Question, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn callbacks() -> (Callbacks, SocketAddr) {
    let (listener, address) = listener().await;
    let url = format!("http://{address}/callback").parse().unwrap();
    let callbacks = Callbacks::new(url, &secret(), Clock::system());
    tokio::spawn(callbacks.clone().serve(listener));
    (callbacks, address)
}

fn say(directory: &Path, mood: &str) {
    let (new, phone) = (directory.join("phone.new"), directory.join("phone"));
    std::fs::write(&new, format!("{mood}\n")).unwrap();
    std::fs::rename(new, phone).unwrap();
}

async fn phone(directory: &Path, mode: Mode) -> Phone {
    let (listener, _) = listener().await;
    let config =
        PhoneConfig { directory: directory.to_owned(), secret: secret(), mode, latency: Duration::ZERO };
    Phone::start(listener, config, Clock::system()).unwrap()
}

fn webhook(url: &str, callbacks: Option<Callbacks>, timeout: Duration) -> Webhook {
    let mut config = WebhookConfig::new(url.parse().unwrap(), secret());
    config.callbacks = callbacks;
    config.timeout = timeout;
    config.body_timeout = Duration::from_millis(500);
    config.poll_interval = Duration::from_millis(20);
    Webhook::new(config, Clock::system()).unwrap()
}

#[tokio::test]
async fn the_phone_answers_in_every_mode_as_its_file_says() {
    let (callbacks, _) = callbacks().await;
    let directory = tempfile::tempdir().unwrap();
    for mode in [Mode::Reply, Mode::Poll, Mode::Callback] {
        let phone = phone(directory.path(), mode).await;
        let hurried = webhook(&phone.url(), Some(callbacks.clone()), Duration::from_millis(250));
        let webhook = webhook(&phone.url(), Some(callbacks.clone()), Duration::from_secs(20));
        let answers = [
            ("approve", Verdict::Allowed),
            ("deny", Verdict::Denied),
            ("fraud", Verdict::Fraud),
            ("slow", Verdict::Failed(Cause::TooSlow)),
            ("garbage", Verdict::Failed(Cause::Malformed)),
            ("error500", Verdict::Failed(Cause::Status(500))),
        ];
        for (mood, expected) in answers {
            say(directory.path(), mood);
            assert_eq!(webhook.ask(&question(30)).await, expected, "{mode:?} {mood}");
        }
        for mood in ["silent", "approve deny", "APPROVE", ""] {
            say(directory.path(), mood);
            let verdict = hurried.ask(&question(30)).await;
            assert_eq!(verdict, Verdict::TimedOut, "{mode:?} {mood}");
        }
        assert_eq!(phone.questions(), 10, "{mode:?}: one push a question");
    }
}

#[tokio::test]
async fn the_phone_shows_what_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    say(directory.path(), "approve");
    let phone = phone(directory.path(), Mode::Reply).await;
    let webhook = webhook(&phone.url(), None, Duration::from_secs(20));
    let mut question = question(30);
    question.purpose = Purpose::Command {
        command: "konnektor backup".into(),
        site: Some("praxis-mueller".parse().unwrap()),
    };
    assert_eq!(webhook.ask(&question).await, Verdict::Allowed);
    let seen = phone.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].tx.clone(), seen[0].code), (question.tx.to_string(), 47));
    assert_eq!(
        (seen[0].command.as_deref(), seen[0].site.as_deref()),
        (Some("konnektor backup"), Some("praxis-mueller"))
    );
    assert_eq!(seen[0].message_de, pforte::factor::message(&question, true));
}

#[tokio::test]
async fn the_phone_does_not_answer_a_stranger() {
    let directory = tempfile::tempdir().unwrap();
    say(directory.path(), "approve");
    let phone = phone(directory.path(), Mode::Reply).await;
    let mut config =
        WebhookConfig::new(phone.url().parse().unwrap(), pforte::secret::Secret::new("x".repeat(32)));
    config.timeout = Duration::from_secs(20);
    let stranger = Webhook::new(config, Clock::system()).unwrap();
    assert_eq!(stranger.ask(&question(30)).await, Verdict::Failed(Cause::Status(401)));
    assert!(phone.seen().is_empty());
}

#[tokio::test]
async fn an_answer_given_while_we_wait_is_taken() {
    let (callbacks, _) = callbacks().await;
    for mode in [Mode::Reply, Mode::Poll, Mode::Callback] {
        let directory = tempfile::tempdir().unwrap();
        say(directory.path(), "silent");
        let phone = phone(directory.path(), mode).await;
        let webhook = webhook(&phone.url(), Some(callbacks.clone()), Duration::from_secs(20));
        let question = question(30);
        let asked = async {
            while phone.questions() == 0 {
                tokio::task::yield_now().await;
            }
            say(directory.path(), "approve");
        };
        let (verdict, ()) = tokio::join!(webhook.ask(&question), asked);
        assert_eq!(verdict, Verdict::Allowed, "{mode:?}");
    }
}

/// Posts a callback by hand; returns the status.
async fn call_back(address: SocketAddr, body: &str, age: i64, secret: &str) -> u16 {
    let timestamp = (now().as_second() - age).to_string();
    raw(address, "POST /callback", body, &timestamp, &signature(&timestamp, body.as_bytes(), secret)).await
}

async fn raw(address: SocketAddr, line: &str, body: &str, timestamp: &str, signature: &str) -> u16 {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\nX-Pforte-Timestamp: {timestamp}\r\n\
         X-Pforte-Signature: {signature}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = connect(address).await;
    drop(stream.write_all(request.as_bytes()).await);
    status_of(stream).await
}

#[expect(clippy::disallowed_methods, reason = "a test dials its own listener")]
async fn connect(address: SocketAddr) -> tokio::net::TcpStream {
    tokio::net::TcpStream::connect(address).await.unwrap()
}

async fn status_of(mut stream: tokio::net::TcpStream) -> u16 {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

/// A provider that takes the question and answers nothing but 202.
async fn later() -> String {
    let address =
        provider(|_, _, body| signed(202, &format!(r#"{{"tx":"{}"}}"#, tx_of(&body)), 0, SECRET)).await;
    format!("http://{address}/ask")
}

fn answer(question: &Question, result: &str, age: i64) -> String {
    let timestamp = now().as_second() - age;
    format!(r#"{{"tx":"{}","result":"{result}","timestamp":{timestamp}}}"#, question.tx)
}

/// Calls back with the answer until the question is open and takes it.
async fn taken(address: SocketAddr, question: &Question, result: &str) {
    let start = Instant::now();
    while call_back(address, &answer(question, result, 0), 0, SECRET).await != 200 {
        assert!(start.elapsed() < Duration::from_secs(10), "never taken");
    }
}

#[tokio::test]
async fn a_callback_is_taken_exactly_once() {
    let (callbacks, address) = callbacks().await;
    let webhook = webhook(&later().await, Some(callbacks), Duration::from_secs(20));
    let question = question(30);
    let (verdict, ()) = tokio::join!(webhook.ask(&question), taken(address, &question, "deny"));
    assert_eq!(verdict, Verdict::Denied);
    assert_eq!(call_back(address, &answer(&question, "allow", 0), 0, SECRET).await, 404, "replayed");
    assert_eq!(call_back(address, &answer(&question, "deny", 0), 0, SECRET).await, 404, "replayed");
}

#[tokio::test]
async fn a_callback_that_is_not_right_is_refused_and_the_question_stays_open() {
    let (callbacks, address) = callbacks().await;
    let webhook = webhook(&later().await, Some(callbacks), Duration::from_secs(20));
    let (asked, other) = (question(30), question(30));
    let attacks = async {
        // Opened when a callback with a bad person finds it: 403 instead of 404.
        let by_bob =
            || answer(&asked, "allow", 0).replace("\"result\"", "\"user\":\"firm-bob.roe\",\"result\"");
        let start = Instant::now();
        while call_back(address, &by_bob(), 0, SECRET).await == 404 {
            assert!(start.elapsed() < Duration::from_secs(10), "never opened");
        }
        assert_eq!(call_back(address, &by_bob(), 0, SECRET).await, 403, "another person");
        let allow = answer(&asked, "allow", 0);
        assert_eq!(
            call_back(address, &allow, 0, "another secret of enough length!").await,
            401,
            "wrong signature"
        );
        assert_eq!(call_back(address, &allow, 70, SECRET).await, 401, "stale header");
        assert_eq!(call_back(address, &allow, -70, SECRET).await, 401, "header from the future");
        assert_eq!(call_back(address, &answer(&asked, "allow", 70), 0, SECRET).await, 401, "stale body");
        assert_eq!(call_back(address, &answer(&other, "allow", 0), 0, SECRET).await, 404, "unknown tx");
        assert_eq!(call_back(address, &answer(&asked, "pending", 0), 0, SECRET).await, 400);
        assert_eq!(call_back(address, &answer(&asked, "yes", 0), 0, SECRET).await, 400);
        assert_eq!(call_back(address, "}{", 0, SECRET).await, 400);
        assert_eq!(
            call_back(address, &format!(r#"{{"tx":"{}","result":"allow"}}"#, asked.tx), 0, SECRET).await,
            400
        );
        let huge = format!("{allow}{}", " ".repeat(17 * 1024));
        assert_eq!(call_back(address, &huge, 0, SECRET).await, 413);
        assert_eq!(raw(address, "POST /callback", &allow, "", "").await, 401, "no signature");
        assert_eq!(raw(address, "GET /callback", &allow, "", "").await, 405);
        assert_eq!(raw(address, "POST /elsewhere", &allow, "", "").await, 404);
        taken(address, &asked, "deny").await;
    };
    let (verdict, ()) = tokio::join!(webhook.ask(&asked), attacks);
    assert_eq!(verdict, Verdict::Denied, "an attack was taken for the answer");
}

#[tokio::test]
async fn a_callback_after_the_question_was_dropped_finds_nothing() {
    let (callbacks, address) = callbacks().await;
    let webhook = webhook(&later().await, Some(callbacks), Duration::from_millis(200));
    let question = question(30);
    assert_eq!(webhook.ask(&question).await, Verdict::TimedOut);
    assert_eq!(webhook.ask(&question).await, Verdict::TimedOut, "a question that is over was still open");
    assert_eq!(call_back(address, &answer(&question, "allow", 0), 0, SECRET).await, 404);
}

#[tokio::test]
async fn a_question_cannot_be_open_twice() {
    let (callbacks, address) = callbacks().await;
    let webhook = webhook(&later().await, Some(callbacks), Duration::from_secs(20));
    let question = question(30);
    let rest = async {
        let second = webhook.ask(&question).await;
        taken(address, &question, "allow").await;
        second
    };
    let (first, second) = tokio::join!(webhook.ask(&question), rest);
    assert_eq!((first, second), (Verdict::Allowed, Verdict::Failed(Cause::Replay)));
}

#[tokio::test]
async fn a_callback_that_drips_is_hung_up_and_hinders_nobody() {
    let (callbacks, address) = callbacks().await;
    let start = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut stream = connect(address).await;
        stream
            .write_all(b"POST /callback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            .await
            .unwrap();
        slow.push(stream);
    }
    let mut half_a_head = connect(address).await;
    half_a_head.write_all(b"POST /callb").await.unwrap();
    let webhook = webhook(&later().await, Some(callbacks), Duration::from_secs(20));
    let question = question(30);
    let (verdict, ()) = tokio::join!(webhook.ask(&question), taken(address, &question, "allow"));
    assert_eq!(verdict, Verdict::Allowed);
    for stream in slow {
        assert_eq!(status_of(stream).await, 408);
    }
    let mut rest = Vec::new();
    half_a_head.read_to_end(&mut rest).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "hung up after {:?}", start.elapsed());
}

/// Not a claim but a number: `cargo nextest run --release factor -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn questions_a_second() {
    let (callbacks, _) = callbacks().await;
    let directory = tempfile::tempdir().unwrap();
    say(directory.path(), "approve");
    for mode in [Mode::Reply, Mode::Poll, Mode::Callback] {
        let phone = phone(directory.path(), mode).await;
        let webhook =
            std::sync::Arc::new(webhook(&phone.url(), Some(callbacks.clone()), Duration::from_secs(20)));
        let (tasks, each) = (32, 100);
        let start = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let webhook = std::sync::Arc::clone(&webhook);
                tokio::spawn(async move {
                    for _ in 0..each {
                        assert_eq!(webhook.ask(&question(30)).await, Verdict::Allowed);
                    }
                })
            })
            .collect();
        for task in running {
            task.await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{mode:?}: {:.0} questions/s, 32 at once", f64::from(tasks * each) / seconds);
    }
}
