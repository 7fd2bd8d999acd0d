//! Callbacks, and the simulated phone against the webhook: claims about answers that come once, twice, late or never.
//! Absent on purpose: replies that are wrong; the webhook's own file has them.

use crate::factor_common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use factor_common::{SECRET, listener, now, provider, question, secret, signature, signed, tx_of};
use pforte::clock::Clock;
use pforte::factor::callback::Callbacks;
use pforte::factor::phone::{Mode, Phone, PhoneConfig};
use pforte::factor::webhook::{Webhook, WebhookConfig};
use pforte::factor::{Cause, Purpose, Push, Question, Verdict};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn callbacks() -> (Callbacks, SocketAddr) {
    let (listener, address) = listener().await;
    let url = format!("http://{address}/").parse().unwrap();
    let callbacks = Callbacks::new(url, rand::random::<u128>, Clock::system());
    tokio::spawn(callbacks.clone().serve(listener, None));
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
async fn call_back(url: &Url, body: &str, age: i64, secret: &str) -> u16 {
    let timestamp = (now().as_second() - age).to_string();
    let signature = signature(&timestamp, body.as_bytes(), secret);
    raw(address(url), &format!("POST {}", url.path()), body, &timestamp, &signature).await
}

fn address(url: &Url) -> SocketAddr {
    url.socket_addrs(|| None).unwrap()[0]
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

/// A provider that takes the question and answers nothing but 202, and where it may call back.
struct Later {
    url: String,
    told: Arc<Mutex<HashMap<String, Url>>>,
}

impl Later {
    async fn start() -> Self {
        let told = Arc::<Mutex<HashMap<String, Url>>>::default();
        let keep = Arc::clone(&told);
        let address = provider(move |_, _, body| {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let url = json["callback_url"].as_str().unwrap().parse().unwrap();
            keep.lock().unwrap().insert(tx_of(&body), url);
            signed(202, &format!(r#"{{"tx":"{}"}}"#, tx_of(&body)), 0, SECRET)
        });
        Self { url: format!("http://{}/ask", address.await), told }
    }

    /// Where this question is answered, once it has been asked.
    async fn callback_url(&self, question: &Question) -> Url {
        let start = Instant::now();
        loop {
            if let Some(url) = self.told.lock().unwrap().get(&question.tx.to_string()) {
                return url.clone();
            }
            assert!(start.elapsed() < Duration::from_secs(10), "never asked");
            tokio::task::yield_now().await;
        }
    }
}

fn answer(question: &Question, result: &str, age: i64) -> String {
    let timestamp = now().as_second() - age;
    format!(r#"{{"tx":"{}","result":"{result}","timestamp":{timestamp}}}"#, question.tx)
}

#[tokio::test]
async fn a_callback_is_taken_exactly_once() {
    let (callbacks, _) = callbacks().await;
    let later = Later::start().await;
    let webhook = webhook(&later.url, Some(callbacks), Duration::from_secs(20));
    let question = question(30);
    let called = async {
        let url = later.callback_url(&question).await;
        assert_eq!(call_back(&url, &answer(&question, "deny", 0), 0, SECRET).await, 200);
        url
    };
    let (verdict, url) = tokio::join!(webhook.ask(&question), called);
    assert_eq!(verdict, Verdict::Denied);
    assert_eq!(call_back(&url, &answer(&question, "allow", 0), 0, SECRET).await, 404, "replayed");
    assert_eq!(call_back(&url, &answer(&question, "deny", 0), 0, SECRET).await, 404, "replayed");
}

#[tokio::test]
async fn a_callback_that_is_not_right_is_refused_and_the_question_stays_open() {
    let (callbacks, _) = callbacks().await;
    let later = Later::start().await;
    let webhook = webhook(&later.url, Some(callbacks), Duration::from_secs(20));
    let (asked, other) = (question(30), question(30));
    let attacks = async {
        let url = later.callback_url(&asked).await;
        let call = async |body: &str, age| call_back(&url, body, age, SECRET).await;
        let allow = answer(&asked, "allow", 0);
        let by_bob = allow.replace("\"result\"", "\"user\":\"firm-bob.roe\",\"result\"");
        assert_eq!(call(&by_bob, 0).await, 403, "another person");
        let forged = call_back(&url, &allow, 0, "another secret of enough length!").await;
        assert_eq!(forged, 401, "wrong signature");
        assert_eq!(call(&allow, 70).await, 401, "stale header");
        assert_eq!(call(&allow, -70).await, 401, "header from the future");
        assert_eq!(call(&answer(&asked, "allow", 70), 0).await, 401, "stale body");
        assert_eq!(call(&answer(&other, "allow", 0), 0).await, 404, "unknown tx");
        assert_eq!(call(&answer(&asked, "pending", 0), 0).await, 400);
        assert_eq!(call(&answer(&asked, "yes", 0), 0).await, 400);
        assert_eq!(call("}{", 0).await, 400);
        assert_eq!(call(&format!(r#"{{"tx":"{}","result":"allow"}}"#, asked.tx), 0).await, 400);
        let huge = format!("{allow}{}", " ".repeat(17 * 1024));
        assert_eq!(call(&huge, 0).await, 413);
        let at = async |line: String| raw(address(&url), &line, &allow, "", "").await;
        assert_eq!(at(format!("POST {}", url.path())).await, 401, "no signature");
        assert_eq!(at(format!("GET {}", url.path())).await, 405);
        // Signed well, but nowhere that was opened: the question's path is the question's.
        let mut elsewhere = url.clone();
        for path in ["/callback", "/", "/0123456789abcdef0123456789abcdef", &format!("{}/", url.path())] {
            elsewhere.set_path(path);
            assert_eq!(call_back(&elsewhere, &allow, 0, SECRET).await, 404, "{path}");
        }
        assert_eq!(call(&answer(&asked, "deny", 0), 0).await, 200);
    };
    let (verdict, ()) = tokio::join!(webhook.ask(&asked), attacks);
    assert_eq!(verdict, Verdict::Denied, "an attack was taken for the answer");
}

#[tokio::test]
async fn a_callback_of_one_question_does_not_answer_another() {
    let (callbacks, _) = callbacks().await;
    let later = Later::start().await;
    let webhook = webhook(&later.url, Some(callbacks), Duration::from_secs(20));
    let (one, two) = (question(30), question(30));
    let calls = async {
        let (at_one, at_two) = (later.callback_url(&one).await, later.callback_url(&two).await);
        assert_ne!(at_one, at_two);
        assert_eq!(call_back(&at_two, &answer(&one, "allow", 0), 0, SECRET).await, 404);
        assert_eq!(call_back(&at_one, &answer(&one, "deny", 0), 0, SECRET).await, 200);
        assert_eq!(call_back(&at_two, &answer(&two, "allow", 0), 0, SECRET).await, 200);
    };
    let (one, two, ()) = tokio::join!(webhook.ask(&one), webhook.ask(&two), calls);
    assert_eq!((one, two), (Verdict::Denied, Verdict::Allowed));
}

#[tokio::test]
async fn a_callback_after_the_question_was_dropped_finds_nothing() {
    let (callbacks, _) = callbacks().await;
    let later = Later::start().await;
    let webhook = webhook(&later.url, Some(callbacks), Duration::from_millis(200));
    let question = question(30);
    assert_eq!(webhook.ask(&question).await, Verdict::TimedOut);
    let url = later.callback_url(&question).await;
    assert_eq!(webhook.ask(&question).await, Verdict::TimedOut, "a question that is over was still open");
    assert_ne!(url, later.callback_url(&question).await);
    assert_eq!(call_back(&url, &answer(&question, "allow", 0), 0, SECRET).await, 404);
}

#[tokio::test]
async fn a_question_cannot_be_open_twice() {
    let (callbacks, _) = callbacks().await;
    let later = Later::start().await;
    let webhook = webhook(&later.url, Some(callbacks), Duration::from_secs(20));
    let question = question(30);
    let rest = async {
        let url = later.callback_url(&question).await;
        let second = webhook.ask(&question).await;
        assert_eq!(call_back(&url, &answer(&question, "allow", 0), 0, SECRET).await, 200);
        second
    };
    let (first, second) = tokio::join!(webhook.ask(&question), rest);
    assert_eq!((first, second), (Verdict::Allowed, Verdict::Failed(Cause::Replay)));
}

#[tokio::test]
async fn a_callback_that_drips_is_hung_up_and_hinders_nobody() {
    let (callbacks, address) = callbacks().await;
    let start = Instant::now();
    let later = Later::start().await;
    let webhook = webhook(&later.url, Some(callbacks), Duration::from_secs(30));
    let (asked, dripped) = (question(30), question(30));
    let mut half_a_head = connect(address).await;
    half_a_head.write_all(b"POST /callb").await.unwrap();
    let drips = async {
        let url = later.callback_url(&dripped).await;
        let mut slow = Vec::new();
        for _ in 0..6 {
            let mut stream = connect(address).await;
            let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{", url.path());
            stream.write_all(head.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        let at = later.callback_url(&asked).await;
        assert_eq!(call_back(&at, &answer(&asked, "allow", 0), 0, SECRET).await, 200);
        assert!(start.elapsed() < Duration::from_secs(4), "it waited for the slow ones");
        for stream in slow {
            assert_eq!(status_of(stream).await, 408);
        }
        assert_eq!(call_back(&url, &answer(&dripped, "deny", 0), 0, SECRET).await, 200);
    };
    let (asked, dripped, ()) = tokio::join!(webhook.ask(&asked), webhook.ask(&dripped), drips);
    assert_eq!((asked, dripped), (Verdict::Allowed, Verdict::Denied));
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
