//! The site's page against hostile bytes and text: slow, huge and many requests, tricks in every field; and its reports, checked.
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
use std::time::{Duration, Instant};

use page::desk::{HOSTILE, ask, hostile, jane, past, visit};
use page::{Served, parse};
use pforte::site::desk::{Action, Deed, Desk as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn an_action_is_done_to_its_end_though_the_browser_goes_away() {
    let served = Served::new().await;
    let person = served.log_in().await;
    let token = person.token().await;
    let go = Arc::new(tokio::sync::Notify::new());
    *served.desk.slow.lock().unwrap() = Some(Arc::clone(&go));
    let body = format!("do=close&csrf={token}");
    let text = format!(
        "POST /do HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nCookie: {1}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {2}\r\n\r\n{body}",
        served.address,
        person.cookie,
        body.len()
    );
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    until(|| Arc::strong_count(&go) > 2, "the action runs").await;
    drop(stream);
    // Whatever hyper does about it is done by the time another request is answered.
    person.get("/part").await;
    go.notify_one();
    until(|| served.desk.told() == vec![Action::Close], "it is done").await;
}

async fn until(mut is_so: impl FnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_new_is_told_at_once_and_the_stream_ends_with_the_service() {
    let served = Served::new().await;
    let person = served.log_in().await;
    assert!(!person.get("/part").await.body.contains(
        "Jane Doe</bdi>, <bdi>Firma Muster IT-Service</bdi></h3>\n<p class=\"who\"><bdi>firm-jane.doe"
    ));
    let text =
        format!("GET /events HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", served.address, person.cookie);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "\r\n\r\n").await;
    assert!(seen.contains("text/event-stream"), "{seen}");
    served.desk.happen("enter");
    read_until(&mut stream, &mut seen, "data: 1").await;
    assert!(person.get("/part").await.body.contains("id=\"end-01JDK3M5Q8VYH2T6XWZ4R7N9AB\""));
    served.stop.cancel();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("ends").ok();
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, what: &str) {
    let mut buffer = [0; 4096];
    while !seen.contains(what) {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("{what} in {seen}")).unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

#[tokio::test]
async fn huge_slow_and_many_requests_are_cut_and_others_served_meanwhile() {
    let served = Served::new().await;
    let huge = "x".repeat(20_000);
    assert_eq!(served.post("/login", &format!("pin={huge}")).await.status, 413);
    let head =
        format!("GET /login HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", served.address, "x".repeat(40_000));
    assert_eq!(parse(&served.raw(head.as_bytes()).await).status, 431);
    let announced = format!(
        "POST /login HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Length: 99999999999\r\n\r\n",
        served.address
    );
    assert_eq!(parse(&served.raw(announced.as_bytes()).await).status, 413);

    // A body that never comes, a head that never ends, and more connections than one source may have.
    let begun = Instant::now();
    let body = format!(
        "POST /login HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Length: 10\r\n\r\nab",
        served.address
    );
    let head = format!("GET /login HTTP/1.1\r\nHost: {}\r\n", served.address);
    let slow = async { parse(&served.raw(body.as_bytes()).await).status };
    let loris = async { served.raw(head.as_bytes()).await };
    let meanwhile = async { served.get("/login").await.status };
    let (slow, loris, meanwhile) = tokio::join!(slow, loris, meanwhile);
    assert_eq!((slow, meanwhile), (408, 200));
    assert!(!loris.contains("200"), "{loris}");
    assert!(begun.elapsed() < Duration::from_secs(19), "{:?}", begun.elapsed());

    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut beyond = TcpStream::connect(served.address).await.unwrap();
    let mut nothing = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), beyond.read_to_end(&mut nothing)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "the 25th of one source is closed");
    drop(held);
    let back = async {
        loop {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            let text =
                format!("GET /login HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", served.address);
            stream.write_all(text.as_bytes()).await.ok();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.ok();
            if all.starts_with(b"HTTP/1.1 200") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("the places are given back");
}

fn harmless(html: &str) {
    for bad in ["<img", "<script>", "onerror=alert(1)>", "\u{202e}", "\u{200b}", "\0"] {
        assert!(!html.contains(bad), "{bad:?} in {html}");
    }
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"), "{html}");
    assert!(html.contains("⟨U+202E⟩"), "{html}");
    // Each quote inside of an attribute is escaped, so each tag's quotes pair up.
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let names: String = tag.split('"').step_by(2).collect();
        assert!(!names.contains("onerror"), "{tag}");
    }
}

#[tokio::test]
async fn text_of_others_is_shown_as_text_and_its_tricks_are_seen() {
    let served = Served::new().await;
    served.desk.change(hostile);
    let person = served.log_in().await;
    harmless(&person.get("/").await.body);
    harmless(&person.get("/part").await.body);
    let page = person.get("/").await.body;
    assert!(!page.contains("href=\"/visit/&lt;"), "what is no visit's name is no link");
    assert!(!page.contains("href=\"tel:&lt;"));

    // Whatever a gateway calls a visit, its button ends that one.
    for (button, name) in [("end", "visit"), ("deny", "ask"), ("withdraw", "who")] {
        let form = page.split(&format!("value=\"{button}\"")).next().unwrap();
        let value =
            form.rsplit_once(&format!("name=\"{name}\" value=\"")).unwrap().1.split('"').next().unwrap();
        person.press(&format!("do={button}&{name}={value}")).await;
    }
    let told = served.desk.told();
    assert!(told.contains(&Action::End { visit: HOSTILE.into() }), "{told:?}");
    assert!(told.contains(&Action::Deny { ask: HOSTILE.into() }), "{told:?}");
    assert!(told.contains(&Action::Withdraw { who: HOSTILE.into() }), "{told:?}");

    served.desk.change(|view| view.site = "praxis-mueller".into());
    let mut held = visit();
    (held.site, held.title, held.gateway) = (HOSTILE.into(), HOSTILE.into(), HOSTILE.into());
    (held.past.user, held.past.firm, held.past.why) = (HOSTILE.into(), HOSTILE.into(), Some(HOSTILE.into()));
    for deed in &mut held.deeds_done {
        deed.text = HOSTILE.into();
    }
    *served.desk.visit.lock().unwrap() = Some(held);
    harmless(&person.get("/visit/01JDJZZZQ8VYH2T6XWZ4R7N9AB").await.body);

    for path in
        ["/%3Cscript%3Ealert(1)%3C/script%3E", "/visit/%3Cimg%20src=x%3E", "/visit/..%2f..%2fetc%2fpasswd"]
    {
        let answer = person.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("<script>alert") && !answer.body.contains("<img"), "{path}");
    }
    let back = served.post("/language", "lang=en&back=https://evil.example/").await;
    assert_eq!(back.header("location"), "/");
    let back = served.post("/language", "lang=%22%3E&back=//evil.example").await;
    assert_eq!((back.header("location"), back.cookie("lang").as_str()), ("/", "de"));
}

#[tokio::test]
async fn a_flood_from_a_gateway_makes_a_page_of_bounded_size() {
    let served = Served::new().await;
    let long = "A".repeat(5_000);
    served.desk.change(|view| {
        let mut asked = ask();
        asked.why.clone_from(&long);
        view.asks = vec![asked; 1000];
        let mut there = jane();
        there.deeds = vec![Deed { text: long.clone(), ..there.deeds[0].clone() }; 200];
        view.present = vec![there; 30];
        view.visits = vec![past(); 1000];
    });
    let person = served.log_in().await;
    let page = person.get("/").await.body;
    assert!(page.len() < 4_000_000, "{}", page.len());
    assert!(page.contains("Weitere: 980"), "the rest is counted");
}

#[tokio::test]
async fn a_report_is_checked_with_the_very_command_that_the_page_shows() {
    let served = Served::new().await;
    let person = served.log_in().await;
    let id = past().visit;
    let page = person.get(&format!("/visit/{id}")).await;
    for words in [
        "Jane Doe",
        "Update des Kartenterminals",
        "Sicherung des Konnektors",
        "systemctl restart cups",
        "nicht ausgeführt",
    ] {
        assert!(page.body.contains(words), "{words} in {}", page.body);
    }
    let command = page.body.split_once("<code id=\"command\">").unwrap().1.split_once("</code>").unwrap().0;
    let command = command.replace("&lt;", "<");
    let folder = tempfile::tempdir().unwrap();
    for (path, file) in [("json", "json"), ("sig", "json.sig"), ("signers", "signers")] {
        let answer = person.get(&format!("/visit/{id}.{path}")).await;
        let name = format!("{id}.{file}");
        assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{name}\""));
        std::fs::write(folder.path().join(name), answer.body).unwrap();
    }
    let json = std::fs::read_to_string(folder.path().join(format!("{id}.json"))).unwrap();
    assert_eq!(json, served.desk.report(&id).await.unwrap().json, "byte by byte");
    let check = || {
        let out = std::process::Command::new("sh")
            .arg("-c")
            .arg(&command)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (good, said) = check();
    assert!(good && said.contains("Good \"pforte-visit\" signature for praxis-mueller"), "{said}");
    let fingerprint = page.body.split_once("id=\"fingerprint\">").unwrap().1.split_once('<').unwrap().0;
    let fingerprint = fingerprint.replace("&#x2f;", "/");
    assert!(said.contains(&fingerprint), "{said} {fingerprint}");
    std::fs::write(folder.path().join(format!("{id}.json")), json.replace("konnektor status", "konnektor"))
        .unwrap();
    assert!(!check().0, "a changed one is not genuine");

    assert_eq!(person.get("/visit/01JDJYYYQ8VYH2T6XWZ4R7N9AB").await.status, 404);
    assert!(person.get("/visit/01JDJYYYQ8VYH2T6XWZ4R7N9AB").await.body.contains("noch nicht fertig"));
    assert!(person.get("/visit/01JNOBODY").await.body.contains("Diese Seite gibt es nicht"));
    assert_eq!(person.get(&format!("/visit/{id}.key")).await.status, 404);
}
