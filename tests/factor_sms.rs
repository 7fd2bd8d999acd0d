//! Codes by SMS: claims about who is let in, what leaves the house, and gateways that fail in every way.
//! Absent on purpose: SSH; that is `door_sms`.

use crate::factor_common;
use crate::sms_desk;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use factor_common::{listener, now, question};
use pforte::clock::Clock;
use pforte::factor::sms::Bounds;
use pforte::factor::{Cause, Line, Prompt, Provider, Purpose, Reach, Said, Say, Verdict, Way};
use pforte::random::Random;
use serde_json::json;
use sms_desk::{Desk, PHONE, SERVICES, Types, code_in, sms, talk, with_phone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn each_service_is_asked_once_as_its_documentation_says_and_the_right_code_opens() {
    for (service, settings, status, answer) in SERVICES {
        let desk = Desk::open(*status, answer).await;
        let question = with_phone(question(60));
        let (verdict, said) =
            talk(&sms(&desk.settings(service, settings)), &question, &desk, &[Types::Code]).await;
        assert_eq!(verdict, Verdict::Allowed, "{service}");
        let shown = [Said::Say(Say::Sent(Some("…78".into()))), Said::Ask(Prompt::Code, vec![])];
        assert_eq!(said, shown, "{service}");
        let sent = desk.sent();
        assert_eq!((sent.len(), sent[0].method.as_str()), (1, "POST"), "{service}");
        let code = code_in(&sent[0].body);
        let text = format!(
            "Code {code}: login to the maintenance gateway. Firm firm, firm-jane.doe, from 203.0.113.7. Not you? Tell nobody."
        );
        let header = |name: &str| sent[0].headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let basic =
            |pair: &str| Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)));
        match *service {
            "seven" => {
                assert_eq!(header("x-api-key").as_deref(), Some("s3cret"));
                let expected = json!({"to": PHONE, "from": "Wartung", "text": text, "json": 1});
                assert_eq!(sent[0].json(), expected);
            }
            "sipgate" => {
                assert_eq!(header("authorization"), basic("token-AB12CD:s3cret"));
                assert_eq!(sent[0].json(), json!({"smsId": "s0", "recipient": PHONE, "message": text}));
            }
            "twilio" => {
                assert_eq!(header("authorization"), basic("AC0123:s3cret"));
                assert_eq!(
                    sent[0].form(),
                    [("To", PHONE), ("From", "Wartung"), ("Body", &text)]
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                );
            }
            other => panic!("{other}"),
        }
        let kind = header("content-type").unwrap();
        assert_eq!(kind.contains("json"), *service != "twilio", "{kind}");
    }
}

#[tokio::test]
async fn what_a_service_calls_a_failure_is_one_whatever_the_status_and_no_code_is_asked_for() {
    // seven says 200 to everything; its old answers are bare numbers.
    let seven = |code: &str| {
        json!({"success": code, "total_price": 0, "balance": 0.0, "debug": "false", "sms_type": "direct",
               "messages": [{"id": null, "recipient": "4915112345678", "success": false, "error": code, "error_text": "x"}]})
        .to_string()
    };
    let twilio = |code: u32, status: u16| {
        json!({"code": code, "message": "x", "more_info": "https://www.twilio.com/docs/errors", "status": status}).to_string()
    };
    for (service, status, answer, cause) in [
        ("seven", 200, seven("101"), Cause::ProviderError),
        ("seven", 200, seven("500"), Cause::ProviderError),
        ("seven", 200, seven("900"), Cause::ProviderError),
        ("seven", 200, "900".to_owned(), Cause::Malformed),
        ("seven", 200, String::new(), Cause::Malformed),
        ("seven", 200, "<html>".to_owned(), Cause::Malformed),
        ("seven", 204, seven("100"), Cause::Status(204)),
        ("seven", 500, seven("100"), Cause::Status(500)),
        ("seven", 429, String::new(), Cause::Throttled),
        ("sipgate", 401, String::new(), Cause::Credentials),
        ("sipgate", 402, String::new(), Cause::Status(402)),
        ("sipgate", 403, String::new(), Cause::Credentials),
        ("twilio", 200, String::new(), Cause::Status(200)),
        (
            "twilio",
            201,
            json!({"sid": "SM1", "status": "failed", "error_code": 30007}).to_string(),
            Cause::ProviderError,
        ),
        ("twilio", 400, twilio(21211, 400), Cause::Status(400)),
        ("twilio", 401, twilio(20003, 401), Cause::Credentials),
        ("twilio", 429, twilio(20429, 429), Cause::Throttled),
        ("twilio", 302, String::new(), Cause::Redirect),
    ] {
        let desk = Desk::open(status, &answer).await;
        let (_, settings, ..) = SERVICES.iter().find(|(name, ..)| *name == service).unwrap();
        let question = with_phone(question(60));
        let (verdict, said) = talk(&sms(&desk.settings(service, settings)), &question, &desk, &[]).await;
        assert_eq!(verdict, Verdict::Failed(cause), "{service} {status} {answer}");
        assert!(said.is_empty() && desk.sent().len() == 1, "{service} {status} {answer}: {said:?}");
    }
}

#[tokio::test]
async fn a_wrong_code_may_be_mended_twice_and_the_third_ends_it_with_one_sms() {
    let desk = Desk::open(204, "").await;
    let sms = sms(&desk.http());
    let (verdict, said) =
        talk(&sms, &with_phone(question(60)), &desk, &[Types::Text("000"), Types::Wrong, Types::Spaced])
            .await;
    assert_eq!(verdict, Verdict::Allowed);
    let prompts = |said: &[Said]| -> Vec<Prompt> {
        said.iter().filter_map(|s| if let Said::Ask(p, _) = s { Some(p.clone()) } else { None }).collect()
    };
    assert_eq!(prompts(&said), [Prompt::Code, Prompt::Again, Prompt::Again]);
    assert_eq!(desk.sent().len(), 1);
    // The right one comes too late.
    let wrong = [Types::Wrong, Types::Text(""), Types::Text("ja"), Types::Code];
    let (verdict, said) = talk(&sms, &with_phone(question(60)), &desk, &wrong).await;
    assert_eq!((verdict, prompts(&said).len(), desk.sent().len()), (Verdict::Denied, 3, 2));
}

#[tokio::test]
async fn a_code_opens_once() {
    let desk = Desk::open(200, "").await;
    let sms = sms(&desk.http());
    let (verdict, _) = talk(&sms, &with_phone(question(60)), &desk, &[Types::Code]).await;
    assert_eq!(verdict, Verdict::Allowed);
    let used = Types::Owned(code_in(&desk.sent()[0].body));
    let (verdict, _) =
        talk(&sms, &with_phone(question(60)), &desk, &[used.clone(), used.clone(), used]).await;
    assert_eq!((verdict, desk.sent().len()), (Verdict::Denied, 2));
}

#[tokio::test]
async fn the_code_of_one_open_question_is_wrong_for_another() {
    let desk = Desk::open(200, "").await;
    let sms = sms(&desk.http());
    let (mut line, mut theirs) = Line::new(Reach::ALL, false);
    let question_one = with_phone(question(60));
    let first = sms.ask(&question_one, Way::Sms, &mut line);
    let second = async {
        while !matches!(theirs.said.recv().await, Some(Said::Ask(..))) {}
        let foreign = code_in(&desk.sent()[0].body);
        let tries = [Types::Owned(foreign.clone()), Types::Owned(foreign.clone()), Types::Owned(foreign)];
        talk(&sms, &with_phone(question(60)), &desk, &tries).await.0
    };
    tokio::select! {
        verdict = first => panic!("answered: {verdict:?}"),
        verdict = second => assert_eq!(verdict, Verdict::Denied),
    }
}

#[tokio::test]
async fn a_code_ends_with_its_question() {
    let desk = Desk::open(200, "").await;
    // Nothing is typed.
    let start = Instant::now();
    let (verdict, _) = talk(&sms(&desk.http()), &with_phone(question(1)), &desk, &[Types::Never]).await;
    assert_eq!(verdict, Verdict::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(10));
    // The right one is typed, too late.
    let late = Arc::new(AtomicI64::new(0));
    let clock = {
        let late = late.clone();
        Clock::of(move || now() + jiff::SignedDuration::from_secs(late.load(Ordering::SeqCst)))
    };
    let sms = sms_desk::sms_with(&desk.http(), clock, Random::system());
    let (verdict, _) = talk(&sms, &with_phone(question(300)), &desk, &[Types::CodeAfter(late, 301)]).await;
    assert_eq!(verdict, Verdict::TimedOut);
    // An expired question sends nothing.
    let sent = desk.sent().len();
    assert_eq!(talk(&sms, &with_phone(question(300)), &desk, &[]).await.0, Verdict::TimedOut);
    assert_eq!(desk.sent().len(), sent);
    assert_eq!(sms.lasts(), Some(Duration::from_mins(5)));
}

#[tokio::test]
async fn without_a_phone_or_without_anybody_to_type_nothing_is_sent() {
    let desk = Desk::open(200, "").await;
    let sms = sms(&desk.http());
    assert_eq!(talk(&sms, &question(60), &desk, &[]).await.0, Verdict::Failed(Cause::NoPhone));
    let (mut line, _theirs) = Line::new(Reach::NOTHING, false);
    let verdict = sms.ask(&with_phone(question(60)), Way::Sms, &mut line).await;
    assert_eq!(verdict, Verdict::Failed(Cause::NoPlace));
    assert!(desk.sent().is_empty());
}

#[tokio::test]
async fn codes_have_six_digits_zeros_in_front_included_and_come_from_the_source_of_chance() {
    for (random, code) in [(0_u64, "000000"), (42, "000042"), (999_999, "999999"), (1_000_000, "000000")] {
        let desk = Desk::open(200, "").await;
        let random = Random::of(move || u128::from(random) << 64);
        let sms = sms_desk::sms_with(&desk.http(), Clock::system(), random);
        let (verdict, _) = talk(&sms, &with_phone(question(60)), &desk, &[Types::Text(code)]).await;
        assert_eq!((verdict, code_in(&desk.sent()[0].body).as_str()), (Verdict::Allowed, code));
    }
}

/// What a broken gateway does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Reset,
    Hangs,
    DripsHead,
    DripsBody,
    NoHttp,
    CutOff,
    Gigabyte,
    EndlessBody,
}

/// A gateway with a fault; counts the requests that it has read.
async fn broken(fault: Fault) -> (String, Arc<AtomicI64>) {
    let (listener, address) = listener().await;
    let asked = Arc::new(AtomicI64::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !String::from_utf8_lossy(&request).contains("text=Code") {
                    match stream.read(&mut buffer).await {
                        Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                        Ok(_) | Err(_) => return,
                    }
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let head = "HTTP/1.1 200 OK\r\nContent-Length: ";
                let begin = match fault {
                    Fault::Reset => {
                        drop(stream.set_zero_linger());
                        return;
                    }
                    Fault::Hangs => String::new(),
                    Fault::DripsHead => "HTTP/1.1 200 OK\r\nX: ".to_owned(),
                    Fault::DripsBody => format!("{head}1000\r\n\r\n"),
                    Fault::NoHttp => "SMS OK\r\n\r\n".to_owned(),
                    Fault::CutOff => format!("{head}1000\r\n\r\nhalf"),
                    Fault::Gigabyte => format!("{head}1073741824\r\n\r\n"),
                    Fault::EndlessBody => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
                };
                stream.write_all(begin.as_bytes()).await.ok();
                match fault {
                    Fault::DripsHead | Fault::DripsBody => {
                        while stream.write_all(b"a").await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    Fault::Gigabyte | Fault::EndlessBody => {
                        let block = vec![b'a'; 1 << 16];
                        while stream.write_all(&block).await.is_ok() {}
                    }
                    // The other end hangs up.
                    Fault::Hangs => while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {},
                    Fault::Reset | Fault::NoHttp | Fault::CutOff => {}
                }
            });
        }
    });
    (format!("http://{address}/"), asked)
}

#[tokio::test]
async fn a_broken_gateway_is_a_refusal_within_its_time_and_is_asked_once() {
    for (fault, cause) in [
        (Fault::Reset, Cause::Unreachable),
        (Fault::Hangs, Cause::TooSlow),
        (Fault::DripsHead, Cause::TooSlow),
        (Fault::DripsBody, Cause::TooSlow),
        (Fault::NoHttp, Cause::Unreachable),
        (Fault::CutOff, Cause::Malformed),
        (Fault::Gigabyte, Cause::TooLarge),
        (Fault::EndlessBody, Cause::TooLarge),
    ] {
        let (url, asked) = broken(fault).await;
        let bounds =
            Bounds { body: Duration::from_secs(1), whole: Duration::from_secs(2), ..Bounds::default() };
        let sms = sms_desk::sms_within(&sms_desk::http_to(&url), Clock::system(), Random::system(), bounds);
        let (mut line, mut theirs) = Line::new(Reach::ALL, false);
        let start = Instant::now();
        let verdict = sms.ask(&with_phone(question(60)), Way::Sms, &mut line).await;
        assert_eq!(verdict, Verdict::Failed(cause), "{fault:?}");
        assert!(start.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", start.elapsed());
        assert!(theirs.said.try_recv().is_err(), "{fault:?}: no code is asked for");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{fault:?}");
    }
    let (closed, address) = listener().await;
    drop(closed);
    let sms = sms(&sms_desk::http_to(&format!("http://{address}/")));
    let (mut line, _theirs) = Line::new(Reach::ALL, false);
    let verdict = sms.ask(&with_phone(question(60)), Way::Sms, &mut line).await;
    assert_eq!(verdict, Verdict::Failed(Cause::Unreachable));
}

#[tokio::test]
async fn a_command_full_of_quotes_and_placeholders_is_only_text_in_every_encoding() {
    let mut question = with_phone(question(60));
    let command = "a\"ü&to=+1\n{to}\\%0a{secret}";
    question.purpose = Purpose::Command { command: command.into(), site: None };
    let more = "sender = \"Wartung\"\nsecret = { file = \"key\" }\nuser = \"u\"";
    let text = |sent: &str| -> String {
        let (code, rest) = sent.strip_prefix("Code ").unwrap().split_at(6);
        assert_eq!(code.len(), 6);
        rest.to_owned()
    };
    let expected = ": command \"a\"ue&to=+1\\n{to}\\%0a{secret}\". Firm firm, firm-jane.doe, from 203.0.113.7. Not you? Tell nobody.";

    let desk = Desk::open(200, "").await;
    let form = format!(
        "service = \"http\"\nurl = \"http://{}/\"\nencoding = \"form\"\n{more}\nbody = \"k={{secret}}&to={{to}}&from={{from}}&text={{text}}\"",
        desk.address
    );
    assert_eq!(talk(&sms(&form), &question, &desk, &[Types::Code]).await.0, Verdict::Allowed);
    let pairs = desk.sent()[0].form();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["k", "to", "from", "text"]);
    assert_eq!((pairs[1].1.as_str(), text(&pairs[3].1).as_str()), (PHONE, expected));

    let json = format!(
        "service = \"http\"\nurl = \"http://{}/v1\"\nencoding = \"json\"\n{more}\nheaders = {{ Authorization = \"Key {{secret}}\" }}\n\
         body = '{{\"to\": [\"{{to_digits}}\"], \"text\": \"{{text}}\"}}'",
        desk.address
    );
    assert_eq!(talk(&sms(&json), &question, &desk, &[Types::Code]).await.0, Verdict::Allowed);
    let sent = desk.sent()[1].clone();
    assert_eq!((sent.json()["to"][0].as_str(), sent.uri.as_str()), (Some("4915112345678"), "/v1"));
    assert_eq!(text(sent.json()["text"].as_str().unwrap()), expected);
    assert_eq!(
        (&sent.headers["authorization"], &sent.headers["content-type"]),
        (&"Key s3cret".parse().unwrap(), &"application/json".parse().unwrap())
    );

    let get = format!(
        "service = \"http\"\nmethod = \"GET\"\nurl = \"http://{}/send/{{to}}?text={{text}}\"\n{more}\n\
         success = {{ status = [202], json = \"/ok\", equals = \"true\" }}",
        desk.address
    );
    let (mut line, _theirs) = Line::new(Reach::ALL, false);
    let verdict = sms(&get).ask(&question, Way::Sms, &mut line).await;
    assert_eq!(verdict, Verdict::Failed(Cause::Status(200)));
    let sent = desk.sent()[2].clone();
    let (path, query) = sent.uri.split_once('?').unwrap();
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!((path, sent.method.as_str(), pairs.len()), ("/send/%2B4915112345678", "GET", 1));
    assert_eq!(text(&pairs[0].1), expected);
}
