//! A desk that only remembers, the page in front of it, and requests byte by byte.
#![allow(clippy::disallowed_methods, reason = "shared by several test files; helpers of tests are tests")]

pub mod desk;
pub mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pforte::clock::Clock;
use pforte::random::Random;
use pforte::secret::Secret;
use pforte::site::page::{Listener, PinHash, Settings, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub use desk::FakeDesk;

pub const PIN: &str = "480213";
pub const NOW: &str = "2026-11-23T13:02:10Z";
const PATIENCE: Duration = Duration::from_secs(20);

/// The page, served on loopback until dropped.
pub struct Served {
    pub desk: Arc<FakeDesk>,
    pub address: SocketAddr,
    later: Arc<Mutex<SignedDuration>>,
    pub stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, Vec<String>>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|all| all.first()).map_or("", String::as_str)
    }

    /// What one of its cookies is set to.
    pub fn cookie(&self, name: &str) -> String {
        let set = self.headers.get("set-cookie").into_iter().flatten();
        let start = format!("{name}=");
        set.filter_map(|line| line.strip_prefix(&start))
            .map(|rest| rest.split(';').next().unwrap().to_owned())
            .next()
            .unwrap_or_default()
    }
}

/// Somebody who is logged in.
pub struct Person<'a> {
    pub served: &'a Served,
    pub cookie: String,
}

impl Served {
    pub async fn new() -> Self {
        Self::with(FakeDesk::new(), |settings| settings).await
    }

    pub async fn with(desk: FakeDesk, change: impl FnOnce(Settings) -> Settings) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let later = Arc::new(Mutex::new(SignedDuration::ZERO));
        let (start, begun, moved) =
            (NOW.parse::<Timestamp>().unwrap(), std::time::Instant::now(), Arc::clone(&later));
        let clock = Clock::of(move || {
            start + SignedDuration::try_from(begun.elapsed()).unwrap() + *moved.lock().unwrap()
        });
        let settings = change(Settings {
            listeners: vec![Listener::plain(socket)],
            state: None,
            hosts: vec!["fernwartung.praxis.example".into()],
            pin: PinHash::of(&Secret::new(PIN.into()), &Random::system()).unwrap(),
            idle: pforte::site::page::IDLE,
            clock: clock.clone(),
            random: Random::system(),
        });
        desk.use_clock(clock);
        let (desk, stop) = (Arc::new(desk), CancellationToken::new());
        tokio::spawn(serve(desk.clone(), settings, stop.clone()));
        Self { desk, address, later, stop }
    }

    /// The clock jumps.
    pub fn pass(&self, time: SignedDuration) {
        *self.later.lock().unwrap() += time;
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// These bytes, and all that comes back.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may have answered and closed before it has read all of it.
        stream.write_all(bytes).await.ok();
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an answer in time").ok();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// One request of these lines; Host and Connection are added unless they are there.
    pub async fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if line.starts_with("POST") {
            text += "Content-Type: application/x-www-form-urlencoded\r\n";
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "Connection: close\r\n\r\n";
        parse(&self.raw((text + body).as_bytes()).await)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], "").await
    }

    /// A form of our own page, without a session.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&format!("POST {path}"), &[("Origin", &self.origin())], body).await
    }

    pub async fn log_in(&self) -> Person<'_> {
        let answer = self.post("/login", &format!("pin={PIN}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{answer:?}");
        Person { served: self, cookie: format!("pforte={}", answer.cookie("pforte")) }
    }
}

impl Person<'_> {
    pub async fn get(&self, path: &str) -> Answer {
        self.served.send(&format!("GET {path}"), &[("Cookie", &self.cookie)], "").await
    }

    /// The token of the page's forms.
    pub async fn token(&self) -> String {
        let page = self.get("/part").await.body;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }

    /// Presses a button: the fields, with the right token and Origin.
    pub async fn press(&self, fields: &str) -> Answer {
        let body = format!("csrf={}&{fields}", self.token().await);
        self.post("/do", &[], &body).await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let origin = self.served.origin();
        let mut all = vec![("Cookie", self.cookie.as_str())];
        if !headers.iter().any(|(name, _)| *name == "Origin") {
            all.push(("Origin", &origin));
        }
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        self.served.send(&format!("POST {path}"), &all, body).await
    }
}

pub fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let mut headers: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
    Answer { status: status.unwrap_or(0), headers, body: body.to_owned() }
}
