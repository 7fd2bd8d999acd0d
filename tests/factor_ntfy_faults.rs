//! ntfy servers that are down, slow, broken or somebody else: a no within its time, with its cause, and one publication.
//! Absent on purpose: what a phone presses; `factor_ntfy.rs` has that, against a real server.

use crate::factor_common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use factor_common::{listener, question};
use pforte::clock::Clock;
use pforte::factor::callback::Callbacks;
use pforte::factor::ntfy::{Match, Ntfy, NtfyConfig, NtfyError};
use pforte::factor::{Cause, Line, Provider, Question, Reach, Verdict, Way};
use pforte::names::Topic;
use pforte::secret::Secret;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server does with a request, beside reading it.
#[derive(Clone)]
enum Does {
    /// Closes with a reset.
    Reset,
    /// Says nothing.
    Hang,
    /// These bytes, then nothing, for ever.
    Says(String),
    /// These bytes, then spaces without end, as fast as they are taken.
    Pours(String),
    /// These bytes, then a space each 20 ms.
    Drips(String),
}

/// The requests that came: head and body.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

async fn server(does: Does) -> (SocketAddr, Seen) {
    let (listener, address) = listener().await;
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, does.clone(), Arc::clone(&keep)));
        }
    });
    (address, seen)
}

async fn serve(mut stream: TcpStream, does: Does, seen: Seen) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut more = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut more).await else { return };
        bytes.extend_from_slice(&more[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
        break (head, length);
    };
    while bytes.len() < length {
        let mut more = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut more).await else { return };
        bytes.extend_from_slice(&more[..count]);
    }
    seen.lock().unwrap().push((head, bytes));
    match does {
        Does::Reset => stream.set_zero_linger().unwrap(),
        Does::Hang => std::future::pending().await,
        Does::Says(text) => {
            stream.write_all(text.as_bytes()).await.ok();
            std::future::pending::<()>().await;
        }
        Does::Pours(text) => {
            stream.write_all(text.as_bytes()).await.ok();
            while stream.write_all(&[b' '; 8192]).await.is_ok() {}
        }
        Does::Drips(text) => {
            stream.write_all(text.as_bytes()).await.ok();
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn hub() -> Callbacks {
    let (listener, address) = listener().await;
    let hub =
        Callbacks::new(format!("http://{address}/").parse().unwrap(), rand::random::<u128>, Clock::system());
    tokio::spawn(hub.clone().serve(listener, None));
    hub
}

async fn config(address: SocketAddr) -> NtfyConfig {
    let url = format!("http://{address}/").parse().unwrap();
    let mut config = NtfyConfig::new(url, Topic::default(), hub().await);
    config.token = Some(Secret::new("tk_secret".into()));
    config.timeout = Duration::from_secs(20);
    config.publish_timeout = Duration::from_millis(500);
    config
}

async fn ask(config: NtfyConfig, question: &Question) -> Verdict {
    let (mut line, theirs) = Line::new(Reach::ALL, false);
    let verdict = Ntfy::new(config, Clock::system()).unwrap().ask(question, Way::Push, &mut line).await;
    drop(theirs);
    verdict
}

fn reply(status: &str, body: &str) -> Does {
    Does::Says(format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn publications(seen: &Seen) -> usize {
    seen.lock().unwrap().iter().filter(|(head, _)| head.starts_with("POST ")).count()
}

#[tokio::test]
async fn a_server_that_is_not_well_is_a_no_in_time_and_is_asked_once() {
    let ok = |id: &str, event: &str, topic: &str| {
        reply("200 OK", &format!(r#"{{"id":"{id}","event":"{event}","topic":"{topic}"}}"#))
    };
    let topic = "pforte-firm-jane_doe";
    let cases = [
        ("reset", Does::Reset, Cause::Unreachable),
        ("hang", Does::Hang, Cause::TooSlow),
        ("half a head", Does::Says("HTTP/1.1 200 OK\r\nContent-".into()), Cause::TooSlow),
        ("no http", Does::Says("SSH-2.0-x\r\n\r\n\r\n".into()), Cause::Unreachable),
        ("drip", Does::Drips("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n".into()), Cause::TooSlow),
        ("a drip of a head", Does::Drips("HTTP/1.1 200 OK\r\nX: ".into()), Cause::TooSlow),
        (
            "1 GB",
            Does::Pours("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".into()),
            Cause::TooLarge,
        ),
        ("no end", Does::Pours("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".into()), Cause::TooLarge),
        ("429", reply("429 Too Many Requests", "{}"), Cause::Throttled),
        ("500", reply("500 Internal Server Error", ""), Cause::Status(500)),
        ("400", reply("400 Bad Request", r#"{"code":40009}"#), Cause::Status(400)),
        ("401", reply("401 Unauthorized", "{}"), Cause::Credentials),
        ("403", reply("403 Forbidden", "{}"), Cause::Credentials),
        ("redirect", reply("307 Temporary Redirect\r\nLocation: /other", ""), Cause::Redirect),
        ("a portal", reply("200 OK", "<html>Please log in"), Cause::Malformed),
        ("nothing", reply("200 OK", ""), Cause::Malformed),
        ("no message", ok("x", "poll_request", topic), Cause::Malformed),
        ("no id", ok("", "message", topic), Cause::Malformed),
        ("another topic", ok("x", "message", "pforte-firm-bob_roe"), Cause::Malformed),
    ];
    for (name, does, cause) in cases {
        let (address, seen) = server(does).await;
        let start = Instant::now();
        assert_eq!(ask(config(address).await, &question(30)).await, Verdict::Failed(cause), "{name}");
        assert!(start.elapsed() < Duration::from_secs(3), "{name}: {:?}", start.elapsed());
        assert_eq!(publications(&seen), 1, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_a_no_at_once() {
    let (closed, address) = listener().await;
    drop(closed);
    let start = Instant::now();
    assert_eq!(ask(config(address).await, &question(30)).await, Verdict::Failed(Cause::Unreachable));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn silence_ends_with_the_question() {
    let topic = "pforte-firm-jane_doe";
    let (address, seen) =
        server(reply("200 OK", &format!(r#"{{"id":"x","event":"message","topic":"{topic}"}}"#))).await;
    let start = Instant::now();
    let config = NtfyConfig { timeout: Duration::from_millis(300), ..config(address).await };
    let asked = question(30);
    assert_eq!(ask(config, &asked).await, Verdict::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(3));
    // And takes the notification back.
    let delete = format!("DELETE /{topic}/{} ", asked.tx);
    let retracted = async {
        while !seen.lock().unwrap().iter().any(|(head, _)| head.starts_with(&delete)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), retracted).await.unwrap();
    assert_eq!(publications(&seen), 1);
}

#[tokio::test]
async fn an_answer_counts_although_the_server_has_not_replied_yet() {
    let (address, seen) = server(Does::Hang).await;
    let mut config = config(address).await;
    (config.number, config.publish_timeout) = (Match::Shown, Duration::from_secs(15));
    let pressed = async {
        let approve = loop {
            let body = seen.lock().unwrap().first().map(|(_, body)| body.clone());
            if let Some(body) = body {
                let message: Value = serde_json::from_slice(&body).unwrap();
                break message["actions"][0]["url"].as_str().unwrap().to_owned();
            }
            tokio::task::yield_now().await;
        };
        reqwest::Client::builder().no_proxy().build().unwrap().post(approve).send().await.unwrap().status()
    };
    let asked = question(30);
    let (verdict, status) = tokio::join!(ask(config, &asked), pressed);
    assert_eq!((verdict, status.as_u16()), (Verdict::Allowed, 200));
}

#[tokio::test]
async fn the_publication_asks_for_no_copy_and_the_token_is_in_its_header_alone() {
    let (address, seen) = server(reply("500 Internal Server Error", "")).await;
    let verdict = ask(config(address).await, &question(30)).await;
    assert_eq!(verdict, Verdict::Failed(Cause::Status(500)));
    let (head, body) = seen.lock().unwrap()[0].clone();
    let lower = head.to_lowercase();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    assert!(lower.contains("x-cache: no\r\n") && lower.contains("x-firebase: no\r\n"), "{head}");
    assert!(head.contains("Bearer tk_secret\r\n"), "{head}");
    assert!(!String::from_utf8(body).unwrap().contains("tk_"));
}

#[tokio::test]
async fn people_without_a_topic_are_not_asked() {
    let (address, seen) = server(Does::Hang).await;
    for external in [None, Some("jane@firm.example".to_owned()), Some("../admin".to_owned())] {
        let mut asked = question(30);
        asked.contact.external = external;
        let config = NtfyConfig { topic: "pforte-{external}".parse().unwrap(), ..config(address).await };
        assert_eq!(ask(config, &asked).await, Verdict::Failed(Cause::NotEnrolled));
    }
    assert_eq!(publications(&seen), 0);
}

#[tokio::test]
async fn what_would_be_sent_in_the_clear_is_refused() {
    let hub = hub().await;
    let made = |url: &str| {
        Ntfy::new(NtfyConfig::new(url.parse().unwrap(), Topic::default(), hub.clone()), Clock::system()).err()
    };
    for url in ["https://ntfy.example", "http://127.0.0.1:1", "http://localhost", "http://[::1]:8"] {
        assert_eq!(made(url), None, "{url}");
    }
    for url in ["http://ntfy.example", "http://10.0.0.1", "http://localhost.example", "ftp://127.0.0.1"] {
        assert_eq!(made(url), Some(NtfyError::Clear), "{url}");
    }
}
