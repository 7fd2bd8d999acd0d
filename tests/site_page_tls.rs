//! The site's page behind TLS: what is served, renewed, read again, said to those who come without it, and what they can hold up.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::page;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use page::tls::{Sealed, dial, keeping, private, put};
use page::{FakeDesk, NOW, PIN, Served, parse};
use pforte::clock::Clock;
use pforte::random::Random;
use pforte::secret::Secret;
use pforte::site::desk::{Action, Seal};
use pforte::site::page::keeper::{self, Source};
use pforte::site::page::{Listener, PinHash};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::test]
async fn a_session_over_tls_has_a_cookie_that_nothing_else_sets_or_gets() {
    let sealed = Sealed::own().await;
    let answer = sealed.send("POST /login", &[], &format!("pin={PIN}")).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "{answer:?}");
    let set = answer.header("set-cookie");
    assert!(set.starts_with("__Host-pforte=") && set.contains("; Path=/;"), "{set}");
    assert!(set.ends_with("; Secure") && !set.contains("Domain"), "{set}");
    let value = answer.cookie("__Host-pforte");
    let page = |cookie: String| {
        let sealed = &sealed;
        async move { sealed.send("GET /", &[("Cookie", &cookie)], "").await }
    };
    assert_eq!(page(format!("__Host-pforte={value}")).await.status, 200);
    assert_eq!(
        page(format!("pforte={value}")).await.status,
        303,
        "what a page without TLS set is no session"
    );
    let language = sealed.send("POST /language", &[], "lang=en&back=/login").await;
    assert!(language.header("set-cookie").ends_with("; Secure"), "{language:?}");
    let origin = [("Origin", "http://127.0.0.1")];
    assert_eq!(sealed.send("POST /login", &origin, &format!("pin={PIN}")).await.status, 403);
    // Nobody could ever get past the browser's warning again.
    assert_eq!(answer.header("strict-transport-security"), "");
    let loopback = sealed.served.log_in().await;
    assert!(loopback.cookie.starts_with("pforte="));
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_what_is_older_is_not() {
    let sealed = Sealed::own().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (stream, seen) = dial(sealed.address, &[version]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(seen, sealed.fingerprint().await);
    }
    // One ClientHello, of TLS 1.2 and of 1.1 (RFC 5246 §7.4.1.2): no session, ECDHE-ECDSA with AES-128-GCM, no compression,
    // P-256, ecdsa_secp256r1_sha256.
    let hello = async |minor: u8| {
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
        hello.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
        let length = u8::try_from(hello.len()).unwrap();
        let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);
        let mut stream = TcpStream::connect(sealed.address).await.unwrap();
        stream.write_all(&record).await.unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    assert_eq!(hello(3).await[0], 22, "a handshake goes on");
    // An alert, fatal, protocol_version (RFC 8446 §6).
    assert_eq!(hello(2).await, [21, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test]
async fn our_own_certificate_is_renewed_in_time_and_not_before() {
    let mut sealed = Sealed::own().await;
    let first = sealed.until(|_| true).await;
    assert_eq!((first.seal, first.warning), (Seal::Own, None));
    assert_eq!(first.until, Some("2028-11-22T00:00:00Z".parse().unwrap()));
    assert_eq!(first.fingerprint.as_deref(), Some(sealed.fingerprint().await.as_str()));
    let text = std::fs::read_to_string(sealed.file()).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(sealed.file()), 0o600);
    // Two years from the day before, so 729 days and some hours are left; with 30 it is renewed.
    sealed.served.pass(DAY * 699);
    sealed.keeper.look();
    assert_eq!(sealed.fingerprint().await, first.fingerprint.clone().unwrap());
    sealed.served.pass(DAY);
    let second = sealed.until(|access| access.fingerprint != first.fingerprint).await;
    assert_eq!(sealed.fingerprint().await, second.fingerprint.unwrap());
    assert_eq!((second.until, second.warning), (Some("2030-10-23T00:00:00Z".parse().unwrap()), None));
    assert_ne!(std::fs::read_to_string(sealed.file()).unwrap(), text);
    assert_eq!(mode(sealed.file()), 0o600);
    let kept: Vec<_> =
        std::fs::read_dir(sealed.state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(kept, [keeper::FILE]);
}

#[tokio::test]
async fn our_own_certificate_outlives_a_restart_unless_a_name_changes_or_others_could_read_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(Mutex::new(NOW.parse::<Timestamp>().unwrap()));
    let told = Arc::clone(&now);
    let clock = Clock::of(move || *told.lock().unwrap());
    let file = dir.path().join(keeper::FILE);
    let start = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (keeper, told) = keeping(&Source::Own { file: file.clone(), names }, ADDRESS, clock.clone());
        drop(keeper);
        told.borrow()[0].fingerprint.clone().unwrap()
    };
    let first = start(&["192.168.1.5"]);
    assert_eq!(start(&["192.168.1.5"]), first);
    // A small machine's clock may begin in the past.
    *now.lock().unwrap() = Timestamp::UNIX_EPOCH;
    assert_eq!(start(&["192.168.1.5"]), first);
    *now.lock().unwrap() = NOW.parse().unwrap();
    let named = start(&["192.168.1.5", "fernwartung.praxis.example"]);
    assert_ne!(named, first);
    assert_ne!(start(&["192.168.1.6", "fernwartung.praxis.example"]), named);
    let last = start(&["192.168.1.5"]);
    assert_eq!(start(&["192.168.1.5"]), last);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let other = start(&["192.168.1.5"]);
    assert_ne!(other, last);
    std::fs::write(&file, "names: 192.168.1.5\nnothing").unwrap();
    assert_ne!(start(&["192.168.1.5"]), other, "a damaged one is made again");
}

const ADDRESS: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8022);

#[tokio::test]
async fn a_renewed_file_is_taken_up_and_a_bad_one_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = put(dir.path(), (2027, 6, 1));
    let mut sealed = Sealed::given(dir).await;
    let folder = sealed.state.path().to_owned();
    assert_eq!(sealed.fingerprint().await, first);
    let answer = sealed.send("GET /login", &[], "").await;
    assert_eq!(answer.header("strict-transport-security"), "max-age=2592000");
    assert_eq!(sealed.served.get("/login").await.header("strict-transport-security"), "");

    let (whole, key) = (folder.join("page.pem"), folder.join("page.key"));
    let good = std::fs::read_to_string(&whole).unwrap();
    for (bad, named) in [("", "page.pem"), (&good[..good.len() / 2], "page.pem")] {
        std::fs::write(&whole, bad).unwrap();
        let told = sealed.until(|access| access.warning.is_some()).await;
        let warning = told.warning.unwrap();
        assert!(warning.en.contains("the old one stays") && warning.en.contains(named), "{warning:?}");
        assert!(warning.de.contains("das alte gilt weiter"), "{warning:?}");
        assert_eq!((told.fingerprint.unwrap(), sealed.fingerprint().await), (first.clone(), first.clone()));
        std::fs::write(&whole, &good).unwrap();
        sealed.until(|access| access.warning.is_none()).await;
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = sealed.until(|access| access.warning.is_some()).await;
    assert!(told.warning.unwrap().en.contains("can be read by others"));

    // The certificate is there before its key: nothing of it is served until both are.
    let other = tempfile::tempdir().unwrap();
    let second = put(other.path(), (2026, 12, 10));
    std::fs::copy(other.path().join("page.pem"), &whole).unwrap();
    private(&key, &std::fs::read_to_string(&key).unwrap());
    let told =
        sealed.until(|access| access.warning.as_ref().is_some_and(|it| it.en.contains("another"))).await;
    assert_eq!((told.fingerprint.unwrap(), sealed.fingerprint().await), (first.clone(), first));
    private(&key, &std::fs::read_to_string(other.path().join("page.key")).unwrap());
    let told = sealed.until(|access| access.fingerprint.as_ref() == Some(&second)).await;
    assert_eq!(sealed.fingerprint().await, second);
    // It ends in 16 days.
    assert!(told.warning.unwrap().en.contains("counts for 16 more days"));
    sealed.served.pass(DAY * 20);
    let told =
        sealed.until(|access| access.warning.as_ref().is_some_and(|it| it.en.contains("expired"))).await;
    assert!(told.warning.unwrap().de.contains("abgelaufen"));
    assert_eq!(sealed.fingerprint().await, second, "an old one is better than none");
}

#[tokio::test]
async fn a_request_without_tls_is_led_on_to_our_own_name_and_nothing_of_it_is_taken() {
    let sealed = Sealed::own().await;
    let (address, port) = (sealed.address, sealed.address.port());
    let plain = async |text: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.ok();
        parse(&String::from_utf8_lossy(&all))
    };
    for (path, host, whereto) in [
        ("/", address.to_string(), format!("https://{address}/")),
        ("/login?then=close", address.to_string(), format!("https://{address}/login?then=close")),
        ("//evil.example/", address.to_string(), format!("https://{address}//evil.example/")),
        ("/", "Fernwartung.praxis.example".into(), format!("https://fernwartung.praxis.example:{port}/")),
    ] {
        let answer = plain(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("location")), (307, whereto.as_str()), "{answer:?}");
        assert_eq!((answer.header("cache-control"), answer.header("connection")), ("no-store", "close"));
    }
    let answer = plain("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into()).await;
    assert_eq!((answer.status, answer.header("location"), answer.body.as_str()), (421, "", ""));
    let form = format!("pin={PIN}&then=close");
    let answer = plain(format!(
        "POST /login HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    ))
    .await;
    assert_eq!((answer.status, answer.header("set-cookie")), (400, ""));
    assert!(answer.body.contains("beginnt mit https://") && answer.body.contains("begins with https://"));
    assert_eq!(sealed.served.desk.told(), Vec::<Action>::new());
    let answer = plain("SSH-2.0-OpenSSH_9.9\r\n\r\n".into()).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn who_never_ends_a_handshake_is_cut_and_holds_up_nobody_at_the_device() {
    let sealed = Sealed::own().await;
    let begun = Instant::now();
    let mut held = Vec::new();
    for n in 0..24 {
        let mut stream = TcpStream::connect(sealed.address).await.unwrap();
        // Nothing at all, or the beginning of a record of 16 KiB.
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1, 64, 0, 1]).await.unwrap();
        }
        held.push(stream);
    }
    let beyond = dial(sealed.address, rustls::ALL_VERSIONS);
    let beyond = tokio::time::timeout(Duration::from_secs(5), beyond).await.expect("closed at once");
    assert!(beyond.is_err(), "the 25th of one source is closed before its handshake");
    assert_eq!(sealed.served.get("/login").await.status, 200);
    for mut stream in held {
        let mut nothing = Vec::new();
        stream.read_to_end(&mut nothing).await.ok();
        assert_eq!(nothing, b"");
    }
    assert!(begun.elapsed() < Duration::from_secs(19), "{:?}", begun.elapsed());
    assert_eq!(sealed.send("GET /login", &[], "").await.status, 200);
}

#[tokio::test]
async fn the_device_shows_the_fingerprint_and_no_other_address_does() {
    let mut sealed = Sealed::own().await;
    let access = sealed.until(|_| true).await;
    let (url, fingerprint) = (access.url.clone(), access.fingerprint.clone().unwrap());
    sealed.served.desk.change(|view| view.access = vec![access]);
    let person = sealed.served.log_in().await;
    let page = person.get("/").await.body;
    assert!(page.contains(&fingerprint) && page.contains("jedes Zeichen gleich"), "{page}");
    assert!(page.contains(&url.replace('/', "&#x2f;")) && page.contains("22.11.2028"), "{page}");
    let english = [("Cookie", format!("{}; lang=en", person.cookie))];
    let english = [("Cookie", english[0].1.as_str())];
    let page = sealed.served.send("GET /", &english, "").await.body;
    assert!(page.contains("If every character is the same, it is this device"), "{page}");
    let answer = sealed.send("POST /login", &[], &format!("pin={PIN}")).await;
    let cookie = format!("__Host-pforte={}", answer.cookie("__Host-pforte"));
    let page = sealed.send("GET /", &[("Cookie", &cookie)], "").await;
    // Whoever stands between would say that theirs is right.
    assert!(page.status == 200 && !page.body.contains(&fingerprint), "{page:?}");
}

#[tokio::test]
async fn behind_the_operators_proxy_the_page_works_and_says_what_it_cannot_know() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let served = Served::with(FakeDesk::new(), |mut settings| {
        settings.listeners = vec![Listener::proxied(socket)];
        settings
    })
    .await;
    let at = |line: &str, headers: &[(&str, &str)], body: &str| {
        let mut text =
            format!("{line} HTTP/1.1\r\nHost: fernwartung.praxis.example\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "Content-Type: application/x-www-form-urlencoded\r\n";
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.ok();
            parse(&String::from_utf8_lossy(&all))
        }
    };
    let login = at("GET /login", &[], "").await;
    assert!(login.status == 200 && login.body.contains("id=\"plain\""), "{login:?}");
    assert!(!served.desk.told().contains(&Action::Close));
    let pin = format!("pin={PIN}");
    for (origin, name, end) in [
        ("https://fernwartung.praxis.example", "__Host-pforte", "; SameSite=Strict; Secure"),
        ("http://fernwartung.praxis.example", "pforte", "; SameSite=Strict"),
    ] {
        let answer = at("POST /login", &[("Origin", origin)], &pin).await;
        assert!(answer.status == 303 && answer.header("set-cookie").ends_with(end), "{answer:?}");
        let cookie = format!("{name}={}", answer.cookie(name));
        let page = at("GET /", &[("Cookie", &cookie)], "").await;
        assert!(page.status == 200 && page.body.contains("Nicht verschlüsselt"), "{page:?}");
    }
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(at("POST /login", &foreign, &pin).await.status, 403);
}

#[tokio::test]
async fn a_restart_of_the_page_forgets_no_wrong_pin() {
    let state = tempfile::tempdir().unwrap();
    // The same hash at each start, as the site's file has it.
    let pin = PinHash::of(&Secret::new(PIN.into()), &Random::system()).unwrap();
    let start = || {
        Served::with(FakeDesk::new(), |mut settings| {
            settings.pin = pin.clone();
            settings.state = Some(state.path().to_owned());
            settings
        })
    };
    let served = start().await;
    for _ in 0..5 {
        assert_eq!(served.post("/login", "pin=000001").await.status, 403);
    }
    drop(served);
    let served = start().await;
    assert_eq!(served.post("/login", &format!("pin={PIN}")).await.status, 429);
    // The new one's clock begins where the first one's began.
    served.pass(SignedDuration::from_mins(3));
    let person = served.log_in().await;
    assert!(person.get("/").await.body.contains("wurde 5 Mal eine falsche PIN eingegeben"));
    drop(served);
    let served = start().await;
    let person = served.log_in().await;
    assert!(!person.get("/").await.body.contains("falsche PIN"), "a right one is kept, too");
    let kept = std::fs::read_to_string(state.path().join("page-attempts.json")).unwrap();
    assert!(!kept.contains(PIN) && !kept.contains("000001") && !kept.contains("argon2"), "{kept}");
}
