//! The webhook: claims about a provider that answers well, badly, late, or is somebody else.
//! Absent on purpose: callbacks and the simulated phone, which have files of their own.

use crate::factor_common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use factor_common::{SECRET, clock_off_by, listener, provider, question, secret, signature, signed, tx_of};
use futures::stream;
use pforte::clock::Clock;
use pforte::factor::webhook::{Webhook, WebhookConfig, WebhookError};
use pforte::factor::{Cause, Push, Verdict};
use pforte::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn config(address: SocketAddr) -> WebhookConfig {
    let mut config = WebhookConfig::new(format!("http://{address}/ask").parse().unwrap(), secret());
    config.timeout = Duration::from_secs(10);
    config.body_timeout = Duration::from_millis(500);
    config.poll_interval = Duration::from_millis(20);
    config
}

fn webhook(address: SocketAddr) -> Webhook {
    Webhook::new(config(address), Clock::system()).unwrap()
}

/// The verdict on a provider that answers the POST with what `reply` makes of the tx.
async fn verdict(reply: impl Fn(&str) -> Response<Body> + Clone + Send + Sync + 'static) -> Verdict {
    let address = provider(move |_, _, body| reply(&tx_of(&body))).await;
    webhook(address).ask(&question(30)).await
}

fn answer(tx: &str, result: &str) -> String {
    format!(r#"{{"tx":"{tx}","result":"{result}"}}"#)
}

#[tokio::test]
async fn the_reply_is_the_answer_and_all_but_allow_refuse() {
    let words = [
        ("allow", Verdict::Allowed),
        ("deny", Verdict::Denied),
        ("fraud", Verdict::Fraud),
        ("timeout", Verdict::TimedOut),
        ("error", Verdict::Failed(Cause::ProviderError)),
        ("pending", Verdict::Failed(Cause::Malformed)),
        ("ALLOW", Verdict::Failed(Cause::Malformed)),
        ("allowed", Verdict::Failed(Cause::Malformed)),
        ("", Verdict::Failed(Cause::Malformed)),
    ];
    for (word, expected) in words {
        assert_eq!(verdict(move |tx| signed(200, &answer(tx, word), 0, SECRET)).await, expected, "{word}");
    }
}

#[tokio::test]
async fn the_question_is_signed_json_with_every_field() {
    let seen = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&seen);
    let address = provider(move |path, headers: HeaderMap, body| {
        *keep.lock().unwrap() = Some((path, headers, body.clone()));
        signed(200, &answer(&tx_of(&body), "allow"), 0, SECRET)
    })
    .await;
    let question = question(30);
    assert_eq!(webhook(address).ask(&question).await, Verdict::Allowed);
    let (path, headers, body) = seen.lock().unwrap().take().unwrap();
    assert_eq!(path, "/ask");
    let timestamp = headers["X-Pforte-Timestamp"].to_str().unwrap();
    assert_eq!(headers["X-Pforte-Signature"], signature(timestamp, &body, SECRET));
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "tx": question.tx.to_string(), "user": "firm-jane.doe", "firm": "firm", "key_fp": question.key.as_str(),
        "client_ip": "203.0.113.7", "client_port": 50122, "session": question.session.to_string(),
        "purpose": "login", "command": null, "site": null, "code": 47, "expires_at": question.expires.to_string(),
        "message_de": pforte::factor::message(&question, true),
        "message_en": pforte::factor::message(&question, false),
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn an_answer_that_is_not_signed_with_our_key_is_refused() {
    let other = "another secret of enough length!";
    let unsigned = |tx: &str| Response::new(Body::from(answer(tx, "allow")));
    assert_eq!(verdict(unsigned).await, Verdict::Failed(Cause::BadSignature));
    let foreign = move |tx: &str| signed(200, &answer(tx, "allow"), 0, other);
    assert_eq!(verdict(foreign).await, Verdict::Failed(Cause::BadSignature));
    let turned = |tx: &str| {
        let denied = signed(200, &answer(tx, "deny"), 0, SECRET);
        let (head, _) = denied.into_parts();
        Response::from_parts(head, Body::from(answer(tx, "allow")))
    };
    // The deny's content-length is not copied: axum computes it from the new body.
    assert_eq!(verdict(turned).await, Verdict::Failed(Cause::BadSignature));
    let twice = |tx: &str| {
        let mut twice = signed(200, &answer(tx, "allow"), 0, SECRET);
        let first = twice.headers()["X-Pforte-Signature"].clone();
        twice.headers_mut().append("X-Pforte-Signature", first);
        twice
    };
    assert_eq!(verdict(twice).await, Verdict::Failed(Cause::BadSignature));
}

#[tokio::test]
async fn our_own_question_sent_back_is_no_answer() {
    let address = provider(|_, headers: HeaderMap, body| {
        let mut echo = Response::new(Body::from(body));
        for name in ["X-Pforte-Timestamp", "X-Pforte-Signature"] {
            echo.headers_mut().insert(name, headers[name].clone());
        }
        echo
    })
    .await;
    assert_eq!(webhook(address).ask(&question(30)).await, Verdict::Failed(Cause::Malformed));
}

#[tokio::test]
async fn an_answer_for_another_question_or_another_person_is_refused() {
    let wrong = |_: &str| signed(200, &answer(&"0".repeat(32), "allow"), 0, SECRET);
    assert_eq!(verdict(wrong).await, Verdict::Failed(Cause::WrongTx));
    let longer = |tx: &str| signed(200, &answer(&format!("{tx}0"), "allow"), 0, SECRET);
    assert_eq!(verdict(longer).await, Verdict::Failed(Cause::WrongTx));
    let by = |user: &'static str| {
        move |tx: &str| {
            let body = format!(r#"{{"tx":"{tx}","user":"{user}","result":"allow"}}"#);
            signed(200, &body, 0, SECRET)
        }
    };
    assert_eq!(verdict(by("firm-bob.roe")).await, Verdict::Failed(Cause::WrongPerson));
    assert_eq!(verdict(by("firm-jane.doe")).await, Verdict::Allowed);
}

#[tokio::test]
async fn an_old_answer_is_refused_on_its_second_coming() {
    let recorded = Arc::new(std::sync::Mutex::new(None::<String>));
    let address = provider(move |_, _, body| {
        let text = recorded.lock().unwrap().get_or_insert_with(|| answer(&tx_of(&body), "allow")).clone();
        signed(200, &text, 0, SECRET)
    })
    .await;
    let webhook = webhook(address);
    assert_eq!(webhook.ask(&question(30)).await, Verdict::Allowed);
    assert_eq!(webhook.ask(&question(30)).await, Verdict::Failed(Cause::WrongTx));
}

#[tokio::test]
async fn a_stale_answer_is_refused() {
    for (age, expected) in [
        (55, Verdict::Allowed),
        (-55, Verdict::Allowed),
        (70, Verdict::Failed(Cause::Stale)),
        (-70, Verdict::Failed(Cause::Stale)),
    ] {
        assert_eq!(
            verdict(move |tx| signed(200, &answer(tx, "allow"), age, SECRET)).await,
            expected,
            "{age}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_off_refuses() {
    let address = provider(|_, _, body| signed(200, &answer(&tx_of(&body), "allow"), 0, SECRET)).await;
    for (seconds, expected) in [(-50, Verdict::Allowed), (-90, Verdict::Failed(Cause::Stale))] {
        let webhook = Webhook::new(config(address), clock_off_by(seconds)).unwrap();
        assert_eq!(webhook.ask(&question(30)).await, expected, "{seconds}");
    }
}

#[tokio::test]
async fn statuses_that_are_no_answer_refuse_even_with_a_signed_allow() {
    for status in [201, 204, 400, 401, 403, 404, 429, 500, 502, 503, 504] {
        let refused = verdict(move |tx| signed(status, &answer(tx, "allow"), 0, SECRET)).await;
        assert_eq!(refused, Verdict::Failed(Cause::Status(status)));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let visited = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&visited);
    let address = provider(move |_, _, body| {
        count.fetch_add(1, Ordering::SeqCst);
        let mut away = signed(307, &answer(&tx_of(&body), "allow"), 0, SECRET);
        away.headers_mut().insert("Location", "/elsewhere".parse().unwrap());
        away
    })
    .await;
    assert_eq!(webhook(address).ask(&question(30)).await, Verdict::Failed(Cause::Redirect));
    assert_eq!(visited.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn garbage_refuses() {
    for garbage in ["", "{}", "[]", "null", "}{", "allow", "\"allow\"", "{\"result\":\"allow\"}"] {
        let refused = verdict(move |_| signed(200, garbage, 0, SECRET)).await;
        assert_eq!(refused, Verdict::Failed(Cause::Malformed), "{garbage}");
    }
    let double =
        |tx: &str| signed(200, &format!(r#"{{"tx":"{tx}","result":"deny","result":"allow"}}"#), 0, SECRET);
    assert_eq!(verdict(double).await, Verdict::Failed(Cause::Malformed));
}

#[tokio::test]
async fn what_is_not_http_refuses() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await);
        }
    });
    assert_eq!(webhook(address).ask(&question(30)).await, Verdict::Failed(Cause::Unreachable));
}

#[tokio::test]
async fn a_provider_that_is_down_refuses_at_once() {
    let (listener, address) = listener().await;
    drop(listener);
    let start = Instant::now();
    assert_eq!(webhook(address).ask(&question(30)).await, Verdict::Failed(Cause::Unreachable));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_provider_that_hangs_up_is_not_asked_again() {
    let (listener, address) = listener().await;
    let connections = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut some = [0; 64];
            drop(stream.read(&mut some).await);
        }
    });
    assert_eq!(webhook(address).ask(&question(30)).await, Verdict::Failed(Cause::Unreachable));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_provider_that_says_nothing_times_out() {
    let (listener, address) = listener().await;
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let mut config = config(address);
    config.timeout = Duration::from_millis(300);
    let webhook = Webhook::new(config, Clock::system()).unwrap();
    assert_eq!(webhook.ask(&question(30)).await, Verdict::TimedOut);
    assert_eq!(webhook.ask(&question(0)).await, Verdict::TimedOut, "expired before it was asked");
    held.abort();
}

#[tokio::test]
async fn a_questions_expiry_ends_the_wait_before_the_time_out() {
    let address = provider(|_, _, body| signed(200, &answer(&tx_of(&body), "pending"), 0, SECRET)).await;
    let (listener, silent) = listener().await;
    let start = Instant::now();
    assert_eq!(webhook(silent).ask(&question(1)).await, Verdict::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(5));
    drop((listener, address));
}

#[tokio::test]
async fn a_slow_drip_refuses() {
    let drip = |_: &str| {
        let drops = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        Response::new(Body::from_stream(drops))
    };
    let start = Instant::now();
    assert_eq!(verdict(drip).await, Verdict::Failed(Cause::TooSlow));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_gigabyte_is_neither_read_nor_kept() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let flood = move |_: &str| {
        let count = Arc::clone(&count);
        let chunks = stream::unfold(0_u32, move |n| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1 << 20, Ordering::SeqCst);
                (n < 1024).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b' '; 1 << 20])), n + 1))
            }
        });
        Response::new(Body::from_stream(chunks))
    };
    assert_eq!(verdict(flood).await, Verdict::Failed(Cause::TooLarge));
    assert!(sent.load(Ordering::SeqCst) < 64 << 20, "{} bytes", sent.load(Ordering::SeqCst));
    let announced = |_: &str| {
        Response::builder()
            .header("Content-Length", 1_u64 << 30)
            .body(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()))
    };
    assert_eq!(verdict(move |tx| announced(tx).unwrap()).await, Verdict::Failed(Cause::TooLarge));
}

#[tokio::test]
async fn a_202_is_polled_with_signed_requests_until_decided() {
    let polls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&polls);
    let address = provider(move |path, headers: HeaderMap, body| {
        if path == "/ask" {
            let body = format!(r#"{{"tx":"{}","status_url":"/status?v=1"}}"#, tx_of(&body));
            return signed(202, &body, 0, SECRET);
        }
        let timestamp = headers["X-Pforte-Timestamp"].to_str().unwrap();
        assert_eq!(
            headers["X-Pforte-Signature"],
            signature(timestamp, format!("GET {path}").as_bytes(), SECRET)
        );
        let tx = path.strip_prefix("/status?v=1&tx=").unwrap();
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => signed(200, &answer(tx, "pending"), 0, SECRET),
            1 => signed(202, &format!(r#"{{"tx":"{tx}"}}"#), 0, SECRET),
            _ => signed(200, &answer(tx, "allow"), 0, SECRET),
        }
    })
    .await;
    assert_eq!(webhook(address).ask(&question(30)).await, Verdict::Allowed);
    assert_eq!(polls.load(Ordering::SeqCst), 3);
}

/// The verdict when the POST is answered by 202 and each poll by `reply`.
async fn polled(reply: impl Fn(&str) -> Response<Body> + Clone + Send + Sync + 'static) -> Verdict {
    let address = provider(move |path, _, body| match path.split_once("?tx=") {
        None => signed(202, &format!(r#"{{"tx":"{}","status_url":"/status"}}"#, tx_of(&body)), 0, SECRET),
        Some((_, tx)) => reply(tx),
    })
    .await;
    webhook(address).ask(&question(30)).await
}

#[tokio::test]
async fn a_poll_is_held_to_the_same_rules_as_a_reply() {
    assert_eq!(polled(|tx| signed(200, &answer(tx, "deny"), 0, SECRET)).await, Verdict::Denied);
    let unsigned = polled(|tx| Response::new(Body::from(answer(tx, "allow")))).await;
    assert_eq!(unsigned, Verdict::Failed(Cause::BadSignature));
    let wrong = polled(|_| signed(200, &answer(&"0".repeat(32), "allow"), 0, SECRET)).await;
    assert_eq!(wrong, Verdict::Failed(Cause::WrongTx));
    let stale = polled(|tx| signed(200, &answer(tx, "allow"), 70, SECRET)).await;
    assert_eq!(stale, Verdict::Failed(Cause::Stale));
    let busy = polled(|tx| signed(429, &answer(tx, "allow"), 0, SECRET)).await;
    assert_eq!(busy, Verdict::Failed(Cause::Status(429)));
    let odd = polled(|tx| signed(202, &answer(tx, "allow"), 0, SECRET)).await;
    assert_eq!(odd, Verdict::Failed(Cause::Malformed));
}

#[tokio::test]
async fn a_status_address_elsewhere_is_not_asked() {
    let away = |tx: &str| {
        signed(202, &format!(r#"{{"tx":"{tx}","status_url":"http://169.254.169.254/latest"}}"#), 0, SECRET)
    };
    assert_eq!(verdict(away).await, Verdict::Failed(Cause::ForeignUrl));
    let nowhere = |tx: &str| signed(202, &format!(r#"{{"tx":"{tx}"}}"#), 0, SECRET);
    assert_eq!(verdict(nowhere).await, Verdict::Failed(Cause::NoWayBack));
}

#[tokio::test]
async fn the_configured_status_address_is_asked() {
    let address = provider(|path, _, body| match path.strip_prefix("/state?tx=") {
        None => signed(202, &format!(r#"{{"tx":"{}"}}"#, tx_of(&body)), 0, SECRET),
        Some(tx) => signed(200, &answer(tx, "fraud"), 0, SECRET),
    })
    .await;
    let mut config = config(address);
    config.status_url = Some(format!("http://{address}/state").parse().unwrap());
    let webhook = Webhook::new(config, Clock::system()).unwrap();
    assert_eq!(webhook.ask(&question(30)).await, Verdict::Fraud);
}

#[test]
fn a_configuration_that_cannot_be_safe_is_refused() {
    let new = |url: &str, change: fn(&mut WebhookConfig)| {
        let mut config = WebhookConfig::new(url.parse().unwrap(), secret());
        change(&mut config);
        Webhook::new(config, Clock::system()).map(drop)
    };
    assert!(new("https://push.example/ask", |c| c.verify_replies = false).is_ok());
    assert!(matches!(
        new("http://push.example/ask", |c| c.verify_replies = false),
        Err(WebhookError::UnverifiedHttp)
    ));
    let http_status: fn(&mut WebhookConfig) = |c| {
        c.verify_replies = false;
        c.status_url = Some("http://push.example/status".parse().unwrap());
    };
    assert!(matches!(new("https://push.example/ask", http_status), Err(WebhookError::UnverifiedHttp)));
    assert!(matches!(new("ftp://push.example/ask", |_| ()), Err(WebhookError::Scheme)));
    assert!(matches!(new("file:///etc/passwd", |_| ()), Err(WebhookError::Scheme)));
    let short: fn(&mut WebhookConfig) = |c| c.secret = Secret::new("short".into());
    assert!(matches!(new("https://push.example/ask", short), Err(WebhookError::ShortSecret)));
    let ca: fn(&mut WebhookConfig) = |c| c.ca_pem = Some(b"no certificate".to_vec());
    assert!(matches!(new("https://push.example/ask", ca), Err(WebhookError::Ca)));
}
