//! A privacyIDEA that breaks, lies or dawdles, at each of its four requests: closed in time, and nothing rings twice.
//! Absent on purpose: the real one (`factor_privacyidea.rs`); this one is written from its answers.

use crate::factor_common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use factor_common::{listener, question};
use pforte::clock::Clock;
use pforte::factor::privacyidea::{PrivacyIdea, PrivacyIdeaConfig, Service};
use pforte::factor::{Cause, Contact, Line, Provider, Reach, Said, Say, Verdict, Way};
use pforte::secret::Secret;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const AUTH: &str = "/auth";
const TRIGGER: &str = "/validate/triggerchallenge";
const POLL: &str = "/validate/polltransaction";
const FINISH: &str = "/validate/check";
const STEPS: [&str; 4] = [AUTH, TRIGGER, POLL, FINISH];

const TOKEN: &str = r#"{"result":{"status":true,"value":{"token":"aaa.bbb.ccc"}}}"#;
const CHALLENGE: &str = r#"{"detail":{"message":"Please confirm","multi_challenge":[{"client_mode":"poll","serial":"PIPU1","transaction_id":"0131","type":"push"}],"transaction_id":"0131"},"result":{"authentication":"CHALLENGE","status":true,"value":1}}"#;
const PENDING: &str = r#"{"detail":{"challenge_status":"pending"},"result":{"authentication":"REJECT","status":true,"value":false}}"#;
const ACCEPT: &str = r#"{"detail":{"challenge_status":"accept"},"result":{"authentication":"ACCEPT","status":true,"value":true}}"#;
const YES: &str = r#"{"detail":{"message":"Found matching challenge","serial":"PIPU1"},"result":{"authentication":"ACCEPT","status":true,"value":true}}"#;

/// How one request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Says(u16, String),
    Closes,
    Resets,
    Hangs,
    Drips,
    Floods,
    Redirects,
}

fn says(body: &str) -> Reply {
    Reply::Says(200, body.to_owned())
}

/// What a healthy service says.
fn healthy(path: &str) -> Reply {
    let body = match path {
        AUTH => TOKEN,
        TRIGGER => CHALLENGE,
        POLL => ACCEPT,
        FINISH => YES,
        other => panic!("{other}"),
    };
    says(body)
}

type Log = Arc<Mutex<Vec<(String, String)>>>;

/// A service; `reply(path, how many of this path before)`. Every request is kept: its path, and its head and body.
async fn service(reply: impl Fn(&str, usize) -> Reply + Clone + Send + Sync + 'static) -> (String, Log) {
    let (listener, address) = listener().await;
    let log = Log::default();
    let kept = log.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, reply.clone(), kept.clone()));
        }
    });
    (format!("http://{address}"), log)
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve(mut stream: TcpStream, reply: impl Fn(&str, usize) -> Reply, log: Log) {
    while let Some(text) = request(&mut stream).await {
        let path = text.split([' ', '?']).nth(1).unwrap().to_owned();
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|(known, _)| *known == path).count();
            log.push((path.clone(), text));
            before
        };
        let head = |rest: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{rest}\r\n");
        let gone = match reply(&path, before) {
            Reply::Says(status, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
                stream.write_all(text.as_bytes()).await.is_err()
            }
            Reply::Redirects => {
                let text = format!("HTTP/1.1 307 X\r\nLocation: {path}/\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(text.as_bytes()).await.is_err()
            }
            Reply::Closes => true,
            Reply::Resets => {
                sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                true
            }
            Reply::Hangs => {
                while stream.read_u8().await.is_ok() {}
                true
            }
            Reply::Drips => {
                stream.write_all(head("Content-Length: 1000\r\n").as_bytes()).await.ok();
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                true
            }
            Reply::Floods => {
                stream.write_all(head("Transfer-Encoding: chunked\r\n").as_bytes()).await.ok();
                let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                // A gigabyte.
                for _ in 0..16 * 1024 {
                    if stream.write_all(chunk.as_bytes()).await.is_err() {
                        break;
                    }
                }
                true
            }
        };
        if gone {
            return;
        }
    }
}

fn config(url: &str) -> PrivacyIdeaConfig {
    let service = Service::User("service".into(), Secret::new("x".into()));
    PrivacyIdeaConfig {
        realm: Some("partner".into()),
        timeout: Duration::from_millis(1500),
        answer_timeout: Duration::from_millis(500),
        poll_interval: Duration::from_millis(20),
        ..PrivacyIdeaConfig::new(url.parse().unwrap(), service)
    }
}

async fn ask(provider: &PrivacyIdea, way: Way) -> (Verdict, Vec<Said>) {
    let mut question = question(30);
    question.contact = Contact { external: Some("jane".into()), phone: None };
    let (mut line, mut theirs) = Line::new(Reach::ALL, true);
    for code in ["111111", "222222", "333333"] {
        let answers = theirs.answers.clone();
        tokio::spawn(async move { answers.send(Secret::new(code.into())).await });
    }
    let heard = async {
        let mut heard = Vec::new();
        while let Some(said) = theirs.said.recv().await {
            heard.push(said);
        }
        heard
    };
    let asked = async {
        let verdict = provider.ask(&question, way, &mut line).await;
        drop(line);
        verdict
    };
    tokio::join!(asked, heard)
}

async fn push(url: &str) -> Verdict {
    ask(&PrivacyIdea::new(config(url), Clock::system()).unwrap(), Way::Push).await.0
}

fn count(log: &Log, path: &str) -> usize {
    log.lock().unwrap().iter().filter(|(known, _)| known == path).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_at_whichever_request_closes_in_time_and_rings_once() {
    let (url, log) = service(|path, _| healthy(path)).await;
    assert_eq!(push(&url).await, Verdict::Allowed);
    assert_eq!(STEPS.map(|path| count(&log, path)), [1; 4]);
    let faults = [
        (Reply::Closes, Cause::Unreachable, true),
        (Reply::Resets, Cause::Unreachable, true),
        (Reply::Hangs, Cause::TooSlow, true),
        (Reply::Drips, Cause::TooSlow, true),
        (Reply::Says(429, "{}".into()), Cause::Throttled, true),
        (Reply::Says(500, "{}".into()), Cause::Status(500), true),
        (Reply::Says(503, "<html>".into()), Cause::Status(503), true),
        (Reply::Says(404, "<html>".into()), Cause::Status(404), false),
        (Reply::Says(204, String::new()), Cause::Status(204), false),
        (says("<html>"), Cause::Malformed, false),
        (says("{}"), Cause::Malformed, false),
        (says(r#"{"result":{"status":true,"value":true},"detail":null}"#), Cause::Malformed, false),
        (says(&" ".repeat(64 * 1024 + 1)), Cause::TooLarge, false),
        (Reply::Floods, Cause::TooLarge, false),
        (Reply::Redirects, Cause::Redirect, false),
    ];
    for (n, step) in STEPS.into_iter().enumerate() {
        for (fault, cause, passes) in faults.clone() {
            let broken = fault.clone();
            let (url, log) =
                service(move |path, _| if path == step { broken.clone() } else { healthy(path) }).await;
            let begun = Instant::now();
            let verdict = push(&url).await;
            // An answer without any challenge means that there is no device.
            let nobody = step == TRIGGER && matches!(&fault, Reply::Says(200, text) if text.contains("null"));
            let expected = if nobody { Cause::NotEnrolled } else { cause };
            assert_eq!(verdict, Verdict::Failed(expected), "{step} {fault:?}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{step} {fault:?}: {:?}", begun.elapsed());
            assert_eq!(count(&log, TRIGGER), usize::from(n > 0), "{step} {fault:?}");
            let asked = count(&log, step);
            // A poll that failed may go better the next time; nothing else is sent again.
            if step == POLL && passes {
                assert!(begun.elapsed() >= Duration::from_millis(1400), "{fault:?}: given up early");
                assert!(asked >= 2, "{fault:?}: {asked}");
            } else {
                assert_eq!(asked, 1, "{step} {fault:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_unreachable() {
    let (listener, address) = listener().await;
    drop(listener);
    assert_eq!(push(&format!("http://{address}")).await, Verdict::Failed(Cause::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_fail_are_slowed_down_and_the_answer_counts_all_the_same() {
    let (url, log) = service(|path, before| match (path, before) {
        (POLL, 0) => Reply::Says(429, String::new()),
        (POLL, 1) => Reply::Resets,
        (POLL, 2) => says(PENDING),
        (POLL, 3) => Reply::Says(502, String::new()),
        _ => healthy(path),
    })
    .await;
    assert_eq!(push(&url).await, Verdict::Allowed);
    assert_eq!(STEPS.map(|path| count(&log, path)), [1, 1, 5, 1]);
    let (url, log) =
        service(|path, _| if path == POLL { Reply::Says(429, String::new()) } else { healthy(path) }).await;
    assert_eq!(push(&url).await, Verdict::Failed(Cause::Throttled));
    // 1500 ms: after 20, 40, 80, and then every 160 ms, a quarter more at most.
    assert!((7..=13).contains(&count(&log, POLL)), "{}", count(&log, POLL));
    let (url, _) = service(|path, _| if path == POLL { says(PENDING) } else { healthy(path) }).await;
    assert_eq!(push(&url).await, Verdict::TimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_for_another_question_or_device_and_a_yes_that_is_none_do_not_open() {
    let failed =
        |code: i64| format!(r#"{{"detail":null,"result":{{"error":{{"code":{code}}},"status":false}}}}"#);
    for (step, body, cause) in [
        (TRIGGER, CHALLENGE.replace("\"push\"", "\"sms\""), Cause::NotEnrolled),
        (TRIGGER, CHALLENGE.replace("\"0131\"", "null"), Cause::Malformed),
        (TRIGGER, CHALLENGE.replace("\"0131\"", "\"0131&user=bob\""), Cause::Malformed),
        (TRIGGER, r#"{"detail":{"message":"The SMS could not be sent","multi_challenge":[]},"result":{"status":true,"value":0}}"#.into(), Cause::ProviderError),
        (TRIGGER, failed(904), Cause::NotEnrolled),
        (TRIGGER, failed(303), Cause::ProviderError),
        (POLL, ACCEPT.replace("accept", "ACCEPT"), Cause::Malformed),
        (POLL, failed(10), Cause::ProviderError),
        // The poll says yes, the check does not.
        (FINISH, PENDING.into(), Cause::ProviderError),
        (FINISH, YES.replace("PIPU1", "PIPU2"), Cause::WrongTx),
        (FINISH, YES.replace(r#","serial":"PIPU1""#, ""), Cause::WrongTx),
        (FINISH, YES.replace("ACCEPT", "REJECT"), Cause::Malformed),
        (FINISH, YES.replace(r#""value":true"#, r#""value":false"#), Cause::Malformed),
        (FINISH, YES.replace(r#""status":true"#, r#""status":false"#), Cause::Malformed),
        (FINISH, YES.replace("ACCEPT", "CHALLENGE").replace(r#""value":true"#, r#""value":false"#), Cause::ProviderError),
    ] {
        let said = body.clone();
        let (url, log) =
            service(move |path, _| if path == step { says(&said) } else { healthy(path) }).await;
        assert_eq!(push(&url).await, Verdict::Failed(cause), "{step} {body}");
        assert_eq!((count(&log, TRIGGER), count(&log, FINISH)), (1, usize::from(step == FINISH)), "{body}");
    }
    // What is refused on the phone is not asked again, and not finished.
    for word in ["declined", "cancelled"] {
        let said = PENDING.replace("pending", word);
        let (url, log) = service(move |path, _| if path == POLL { says(&said) } else { healthy(path) }).await;
        assert_eq!((push(&url).await, count(&log, FINISH)), (Verdict::Denied, 0), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_token_is_kept_and_renewed_once() {
    let unauthorized = || Reply::Says(401, r#"{"result":{"error":{"code":4033},"status":false}}"#.into());
    // The second trigger finds it expired.
    let (url, log) = service(move |path, before| match (path, before) {
        (TRIGGER, 1) => unauthorized(),
        _ => healthy(path),
    })
    .await;
    let provider = PrivacyIdea::new(config(&url), Clock::system()).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&provider, Way::Push).await.0, Verdict::Allowed);
    }
    assert_eq!((count(&log, AUTH), count(&log, TRIGGER)), (2, 4));
    // A new one is no better; and one from a file cannot be renewed.
    let (url, log) = service(
        move |path, before| if path == TRIGGER && before > 0 { unauthorized() } else { healthy(path) },
    )
    .await;
    let provider = PrivacyIdea::new(config(&url), Clock::system()).unwrap();
    assert_eq!(ask(&provider, Way::Push).await.0, Verdict::Allowed);
    assert_eq!(ask(&provider, Way::Push).await.0, Verdict::Failed(Cause::Credentials));
    assert_eq!((count(&log, AUTH), count(&log, TRIGGER)), (2, 3));
    for status in [401, 403] {
        let (url, log) = service(move |path, _| match path {
            TRIGGER => Reply::Says(status, "{}".into()),
            _ => healthy(path),
        })
        .await;
        let service = Service::Token(Secret::new("ddd.eee.fff".into()));
        let provider =
            PrivacyIdea::new(PrivacyIdeaConfig { service, ..config(&url) }, Clock::system()).unwrap();
        assert_eq!(ask(&provider, Way::Push).await.0, Verdict::Failed(Cause::Credentials));
        assert_eq!((count(&log, AUTH), count(&log, TRIGGER)), (0, 1));
        assert!(log.lock().unwrap()[0].1.contains("pi-authorization: ddd.eee.fff\r\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_names_the_person_and_goes_where_it_belongs_and_steps_tell_no_secret() {
    let number = CHALLENGE
        .replace("\"0131\"", "\"01313233343536\"")
        .replace(r#""client_mode""#, r#""presence_answer":"45","client_mode""#);
    let (url, log) = service(move |path, _| match path {
        "/pi/auth" => says(TOKEN),
        "/pi/validate/triggerchallenge" => says(&number),
        "/pi/validate/polltransaction" => says(ACCEPT),
        "/pi/validate/check" => says(YES),
        other => panic!("{other}"),
    })
    .await;
    let provider = PrivacyIdea::new(config(&format!("{url}/pi")), Clock::system()).unwrap();
    assert_eq!(
        (provider.factor(Way::Push), provider.factor(Way::Sms)),
        ("privacyidea-push".into(), "privacyidea-sms".into())
    );
    let (verdict, heard) = ask(&provider, Way::Push).await;
    assert_eq!(verdict, Verdict::Allowed);
    assert!(heard.contains(&Said::Say(Say::Enter("45".into()))), "{heard:?}");
    let steps = format!("{heard:?}");
    assert!(
        steps.contains("…3536") && !steps.contains("01313233343536") && !steps.contains("aaa.bbb"),
        "{steps}"
    );
    let log = log.lock().unwrap();
    let bodies: Vec<&str> = log.iter().map(|(_, text)| text.split_once("\r\n\r\n").unwrap().1).collect();
    let who = "user=jane&realm=partner";
    assert_eq!(bodies[0], "username=service&password=x");
    assert_eq!(bodies[1], format!("{who}&type=push&client=203.0.113.7"));
    assert!(log[2].1.starts_with("GET /pi/validate/polltransaction?transaction_id=01313233343536 "));
    assert_eq!(bodies[3], format!("{who}&pass=&client=203.0.113.7&transaction_id=01313233343536"));
    // Only who triggers says who we are.
    let named: Vec<bool> = log.iter().map(|(_, text)| text.contains("aaa.bbb.ccc")).collect();
    assert_eq!(named, [false, true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_a_pin_ends_it_and_three_wrong_ones_do() {
    let (url, log) = service(|path, _| match path {
        FINISH => says(CHALLENGE.replace(r#""value":1"#, r#""value":false"#).as_str()),
        _ => healthy(path),
    })
    .await;
    let provider = PrivacyIdea::new(config(&url), Clock::system()).unwrap();
    assert_eq!(ask(&provider, Way::Code).await.0, Verdict::Denied);
    assert_eq!(STEPS.map(|path| count(&log, path)), [0, 0, 0, 1]);
    let (url, log) = service(|path, _| if path == FINISH { says(PENDING) } else { healthy(path) }).await;
    let provider = PrivacyIdea::new(config(&url), Clock::system()).unwrap();
    let (verdict, heard) = ask(&provider, Way::Code).await;
    assert_eq!((verdict, count(&log, FINISH)), (Verdict::Denied, 3));
    assert!(!format!("{heard:?}").contains("111111"), "{heard:?}");
}

#[test]
fn a_key_or_an_address_that_cannot_be_used_is_refused_at_the_start() {
    let error = |config| PrivacyIdea::new(config, Clock::system()).err().map(|e| e.to_string());
    let with = |pem: &str| PrivacyIdeaConfig { verify_pem: Some(pem.into()), ..config("http://127.0.0.1:1") };
    let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    for bad in ["", "x", ed25519] {
        assert!(error(with(bad)).unwrap().contains("no RSA public key"), "{bad}");
    }
    assert_eq!(error(with(include_str!("privacyidea/other.pem"))), None);
    assert!(error(config("mailto:jane@example.org")).unwrap().contains("no base"));
    let bad_ca = PrivacyIdeaConfig { ca_pem: Some(b"x".to_vec()), ..config("https://127.0.0.1:1") };
    assert!(error(bad_ca).unwrap().contains("CA file"));
}
