//! The site's page against requests byte by byte: who may read it, who may press, what hostile text and bytes do to it.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::page;

use std::sync::Arc;

use jiff::SignedDuration;
use page::desk::ask;
use page::{FakeDesk, PIN, Served, parse};
use pforte::site::desk::{Action, By};
use pforte::site::page::Listener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn nothing_is_shown_or_done_without_the_pin() {
    let served = Served::new().await;
    for path in ["/", "/visit/01JDJZZZQ8VYH2T6XWZ4R7N9AB", "/visit/01JDJZZZQ8VYH2T6XWZ4R7N9AB.json"] {
        let answer = served.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/login"), "{path}");
    }
    for path in ["/part", "/events"] {
        assert_eq!(served.get(path).await.status, 401, "{path}");
    }
    let answer = served.post("/do", "do=today&csrf=").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/login?then=again"));
    let forged = served.send("GET /", &[("Cookie", "pforte=00000000000000000000000000000000")], "").await;
    assert_eq!(forged.status, 303);
    assert_eq!(served.desk.told(), vec![]);
    let login = served.get("/login").await;
    assert!(login.body.contains("name=\"pin\"") && !login.body.contains("firm-jane.doe"));
}

#[tokio::test]
async fn every_button_does_what_it_says_and_tells_who_pressed_it() {
    let served = Served::new().await;
    served.desk.happen("ask");
    let person = served.log_in().await;
    let ask = ask().id;
    let ask = ask.as_str();
    for (fields, action) in [
        ("do=open&minutes=30".to_owned(), Action::Open { minutes: 30 }),
        ("do=today".into(), Action::OpenToday),
        ("do=allow&who=firm".into(), Action::Allow { who: "firm".into() }),
        ("do=allow&typed=yes&who=+Firma+Muster+IT-Service+".into(), Action::Allow { who: "firm".into() }),
        ("do=allow&typed=yes&who=Firm-Jane.Doe".into(), Action::Allow { who: "firm-jane.doe".into() }),
        ("do=withdraw&who=firm".into(), Action::Withdraw { who: "firm".into() }),
        (format!("do=grant&ask={ask}"), Action::Grant { ask: ask.into() }),
        (format!("do=deny&ask={ask}"), Action::Deny { ask: ask.into() }),
        ("do=end&visit=01J".into(), Action::End { visit: "01J".into() }),
        ("do=backup-only&on=no".into(), Action::BackupOnly { on: false }),
        ("do=when-possible&on=yes".into(), Action::WhenPossible { on: true }),
        ("do=close".into(), Action::Close),
    ] {
        let answer = person.press(&fields).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{fields}");
        let last = served.desk.acts.lock().unwrap().last().cloned().unwrap();
        assert_eq!(last, (action, By::Page("127.0.0.1".into())), "{fields}");
        let page = person.get("/").await.body;
        assert!(page.contains("id=\"news\""), "{fields}: it is said what was done");
        assert!(!person.get("/").await.body.contains("id=\"news\""), "{fields}: once");
    }
    let before = served.desk.told().len();
    for fields in ["do=open&minutes=-1", "do=open&minutes=", "do=open&minutes=99999999999", "do=nothing", ""]
    {
        assert_eq!(person.press(fields).await.status, 400, "{fields}");
    }
    assert_eq!(served.desk.told().len(), before);
}

#[tokio::test]
async fn what_was_not_done_is_said_beside_what_was_typed() {
    let served = Served::new().await;
    let person = served.log_in().await;
    person.press("do=open&minutes=30").await;
    person.press("do=allow&typed=yes&who=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    let page = person.get("/").await.body;
    assert!(page.contains("So heißt keine Firma und keine Person."), "{page}");
    assert!(page.contains("aria-describedby=\"who-hint who-error\" aria-invalid=\"true\""), "{page}");
    assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;&#x2f;script&gt;\""), "{page}");
    person.press("do=open&minutes=100000").await;
    assert!(person.get("/").await.body.contains("höchstens für 480 Minuten"));
}

#[tokio::test]
async fn a_form_of_another_page_presses_nothing() {
    let served = Served::new().await;
    let person = served.log_in().await;
    let token = person.token().await;
    let good = format!("do=today&csrf={token}");
    let own = served.origin();
    for (headers, body) in [
        (vec![("Origin", "http://evil.example")], good.as_str()),
        (vec![("Origin", "null")], &good),
        (vec![("Origin", "https://127.0.0.1")], &good),
        (vec![("Origin", "")], &good),
        (vec![("Origin", ""), ("Sec-Fetch-Site", "cross-site")], &good),
        (vec![("Origin", ""), ("Sec-Fetch-Site", "none")], &good),
        (vec![("Origin", own.as_str()), ("Sec-Fetch-Site", "same-site")], &good),
        (vec![], "do=today"),
        (vec![], "do=today&csrf="),
        (vec![], "do=today&csrf=00000000000000000000000000000000"),
    ] {
        assert_eq!(person.post("/do", &headers, body).await.status, 403, "{headers:?} {body}");
    }
    // The token of one session is none of another.
    let other = served.log_in().await;
    assert_eq!(other.post("/do", &[], &good).await.status, 403);
    assert_eq!(person.get("/do").await.status, 405);
    assert_eq!(served.desk.told(), vec![]);
    let fetched = [("Origin", ""), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(person.post("/do", &fetched, &good).await.status, 303);
    assert_eq!(person.post("/do", &[], &good).await.status, 303);
    assert_eq!(served.desk.told(), vec![Action::OpenToday, Action::OpenToday]);
}

#[tokio::test]
async fn only_our_own_names_are_answered() {
    let served = Served::new().await;
    let person = served.log_in().await;
    let port = served.address.port();
    for host in
        ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "169.254.169.254", "127.0.0.1:1"]
    {
        for line in ["GET /", "GET /part", "GET /metrics", "GET /page.js", "POST /do", "GET /nothing"] {
            let answer = served.send(line, &[("Host", host), ("Cookie", &person.cookie)], "").await;
            assert_eq!(answer.status, 421, "{host} {line}");
            assert_eq!(answer.body, "");
        }
    }
    let address = served.address;
    for twisted in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        format!("GET http://evil.example/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let status = parse(&served.raw(twisted.as_bytes()).await).status;
        assert!(status == 421 || status == 400, "{status} {twisted}");
    }
    for host in [
        format!("localhost:{port}"),
        "fernwartung.praxis.example".into(),
        format!("FERNWARTUNG.praxis.example:{port}"),
    ] {
        assert_eq!(served.send("GET /login", &[("Host", &host)], "").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn every_answer_is_sealed() {
    let served = Served::new().await;
    let person = served.log_in().await;
    for path in [
        "/",
        "/login",
        "/part",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/metrics",
        "/nothing",
        "/visit/01JDJZZZQ8VYH2T6XWZ4R7N9AB",
        "/visit/01JDJZZZQ8VYH2T6XWZ4R7N9AB.json",
    ] {
        let answer = person.get(path).await;
        let policy = answer.header("content-security-policy");
        for word in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(word), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        let inline = ["<script>", "style=", "<style", "onclick", "javascript:", "http://", "https://"];
        if path == "/" || path == "/login" {
            assert!(inline.iter().all(|it| !answer.body.contains(it)), "{path}");
        }
    }
    assert_eq!(served.get("/part").await.header("x-frame-options"), "DENY");
    let refused = served.send("GET /", &[("Host", "evil.example")], "").await;
    assert_eq!(refused.header("x-frame-options"), "DENY");
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_and_secure_over_tls() {
    let served = Served::new().await;
    let answer = served.post("/login", &format!("pin={PIN}")).await;
    let set = answer.header("set-cookie");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    assert_eq!(answer.cookie("pforte").len(), 32);
    let again = served.post("/login", &format!("pin={PIN}")).await;
    assert_ne!(answer.cookie("pforte"), again.cookie("pforte"));

    let made = rcgen::generate_simple_self_signed(vec!["fernwartung.praxis.example".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let _tls = Served::with(FakeDesk::new(), |mut settings| {
        settings.listeners.push(Listener::tls(socket, Arc::new(config)));
        settings
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "fernwartung.praxis.example".try_into().unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    let body = format!("pin={PIN}");
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: fernwartung.praxis.example\r\nOrigin: https://fernwartung.praxis.example\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    let answer = parse(&String::from_utf8_lossy(&all));
    assert!(answer.header("set-cookie").ends_with("; HttpOnly; SameSite=Strict; Secure"), "{answer:?}");
}

#[tokio::test]
async fn a_guesser_waits_ever_longer_and_is_told_how_long() {
    let served = Served::new().await;
    for _ in 0..5 {
        let answer = served.post("/login", "pin=000001").await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("Diese PIN stimmt nicht."), "{}", answer.body);
        assert_eq!(answer.header("set-cookie"), "");
    }
    // The right one waits too, or guessing would go on at full speed.
    let answer = served.post("/login", &format!("pin={PIN}")).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (429, ""));
    assert!(answer.body.contains("Der nächste Versuch geht in"), "{}", answer.body);
    served.pass(SignedDuration::from_secs(61));
    assert_eq!(served.post("/login", "pin=000002").await.status, 403);
    served.pass(SignedDuration::from_secs(61));
    assert_eq!(served.post("/login", &format!("pin={PIN}")).await.status, 429, "two minutes now");
    served.pass(SignedDuration::from_secs(61));
    let person = served.log_in().await;
    assert!(person.get("/").await.body.contains("wurde 6 Mal eine falsche PIN eingegeben"));
    assert!(served.get("/metrics").await.body.contains("pforte_site_wrong_pins_total 6\n"));
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_round() {
    let served = Served::new().await;
    let tries = (0..12).map(|n| {
        let body = format!("pin=00001{n}");
        let served = &served;
        async move { served.post("/login", &body).await.status }
    });
    let all = futures::future::join_all(tries).await;
    assert!(all.iter().filter(|status| **status == 403).count() <= 5, "{all:?}");
    assert!(all.iter().all(|status| [403, 429, 503].contains(status)), "{all:?}");
}

#[tokio::test]
async fn a_session_ends_when_nobody_does_anything_and_closing_then_takes_the_pin_alone() {
    let served = Served::new().await;
    let person = served.log_in().await;
    let token = person.token().await;
    served.pass(SignedDuration::from_mins(14));
    let part = person.get("/part").await;
    assert!(part.body.contains("Angemeldet bleiben"), "warned, with a way to stay (WCAG 2.2.1)");
    served.pass(SignedDuration::from_secs(70));
    assert_eq!(person.get("/part").await.status, 401, "what the script fetches keeps no session alive");
    let late = person.post("/do", &[], &format!("do=close&csrf={token}")).await;
    assert_eq!(late.header("location"), "/login?then=close");
    assert_eq!(served.desk.told(), vec![]);
    let login = served.get("/login?then=close").await.body;
    assert!(login.contains("Jetzt schließen") && login.contains("name=\"then\" value=\"close\""));
    let answer = served.post("/login", &format!("pin={PIN}&then=close")).await;
    assert_eq!(answer.status, 303);
    assert_eq!(served.desk.told(), vec![Action::Close]);

    let person = served.log_in().await;
    let token = person.token().await;
    served.pass(SignedDuration::from_mins(14));
    assert_eq!(person.press("do=stay").await.status, 303);
    served.pass(SignedDuration::from_mins(14));
    assert_eq!(person.get("/part").await.status, 200);
    assert_eq!(person.post("/logout", &[], &format!("csrf={token}")).await.status, 303);
    assert_eq!(person.get("/part").await.status, 401);
}

#[tokio::test]
async fn metrics_count_and_name_nobody() {
    let served = Served::new().await;
    served.desk.happen("all");
    served.desk.happen("red");
    let answer = served.get("/metrics").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    for line in [
        "pforte_site_switch_open 1",
        "pforte_site_link_up 1",
        "pforte_site_present 1",
        "pforte_site_asks 1",
        "pforte_site_visits 2",
        "pforte_site_visits_unreported 1",
        "pforte_site_lights_red 1",
        "pforte_site_light{about=\"konnektor\",number=\"0\"} 0",
        "pforte_site_light{about=\"dns\",number=\"0\"} 1",
    ] {
        assert!(answer.body.lines().any(|it| it == line), "{line} in {}", answer.body);
    }
    assert!(!answer.body.contains("about=\"public-address\""), "unknown is neither");
    for name in ["jane", "max", "firm", "Muster", "Müller", "Drucker", "203.0.113", "192.168"] {
        assert!(!answer.body.contains(name), "{name}");
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_alone() {
    // An address of this machine that is not loopback, as the practice's network has one.
    let Some(own) = own_address() else { panic!("this machine has no address but loopback") };
    let socket = tokio::net::TcpListener::bind((own, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut served = Served::with(FakeDesk::new(), |mut settings| {
        settings.listeners.push(Listener::plain(socket));
        settings
    })
    .await;
    assert_eq!(served.get("/metrics").await.status, 200);
    served.address = address;
    assert_eq!(served.get("/metrics").await.status, 404);
    assert_eq!(
        served.send("GET /metrics", &[("Host", &format!("localhost:{}", address.port()))], "").await.status,
        421
    );
    assert_eq!(served.get("/login").await.status, 200);
}

/// No packet is sent: a UDP socket only looks up its route.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test]
async fn the_language_is_the_browsers_until_somebody_chooses() {
    let served = Served::new().await;
    let lang = |answer: &page::Answer| answer.body.split_once("<html lang=\"").unwrap().1[..2].to_owned();
    assert_eq!(lang(&served.get("/login").await), "de");
    let english = [("Accept-Language", "en-GB,en;q=0.9,de;q=0.5")];
    let answer = served.send("GET /login", &english, "").await;
    assert_eq!(lang(&answer), "en");
    assert!(answer.body.contains("The practice&#x27;s PIN"), "{}", answer.body);
    let chosen = served.post("/language", "lang=de&back=/login").await;
    assert_eq!(
        (chosen.status, chosen.header("location"), chosen.cookie("lang").as_str()),
        (303, "/login", "de")
    );
    let answer = served.send("GET /login", &[english[0], ("Cookie", "lang=de")], "").await;
    assert_eq!(lang(&answer), "de");
}
