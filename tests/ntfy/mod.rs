//! A real ntfy server on loopback, and the phone that reads from it and presses what it shows.
//! Absent on purpose: any of our own code; the phone does over HTTP what ntfy's app does.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files; helpers of tests are tests, and run a real server"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

/// ntfy's binary: what `PFORTE_NTFY` names, or what tests/run put into `.tools`.
fn binary() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/ntfy/usr/bin/ntfy");
    let binary = std::env::var_os("PFORTE_NTFY").map_or(here, PathBuf::from);
    assert!(binary.exists(), "there is no ntfy at {}: run tests/run, which fetches it", binary.display());
    binary
}

/// The server: nobody may do anything but the gateway write and the phone read. Dropped, it is gone.
pub struct Ntfy {
    _dir: TempDir,
    server: Child,
    pub url: String,
    /// The gateway's access token.
    pub token: String,
}

impl Ntfy {
    pub fn start() -> Self {
        pforte::house::choose_tls_provider();
        let dir = tempfile::tempdir().unwrap();
        // ntfy takes an address alone: another process may take the port in between, so once more.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(server) = serve(dir.path(), port) {
                let url = format!("http://127.0.0.1:{port}");
                run(dir.path(), &["user", "add", "gateway"]);
                run(dir.path(), &["user", "add", "phone"]);
                run(dir.path(), &["access", "gateway", "pforte-*", "write-only"]);
                run(dir.path(), &["access", "phone", "pforte-*", "read-only"]);
                let told = run(dir.path(), &["token", "add", "gateway"]);
                let token = told.split_whitespace().find(|word| word.starts_with("tk_"));
                let token = token.unwrap().trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
                return Self { _dir: dir, server, url, token };
            }
        }
        panic!("ntfy does not start: {}", std::fs::read_to_string(dir.path().join("log")).unwrap());
    }

    /// A phone that reads this topic from now on.
    pub async fn phone(&self, topic: &str) -> Phone {
        let client = Client::builder().no_proxy().build().unwrap();
        let stream = client.get(format!("{}/{topic}/json", self.url)).basic_auth("phone", Some("secret"));
        let mut stream = stream.send().await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
        let (told, events) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut rest = Vec::new();
            while let Ok(Some(chunk)) = stream.chunk().await {
                rest.extend_from_slice(&chunk);
                while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line).unwrap();
                    if told.send(event).await.is_err() {
                        return;
                    }
                }
            }
        });
        let mut phone = Phone { client, events };
        // What is published from here on is read: the stream is open.
        phone.event("open").await;
        phone
    }

    /// What the server keeps of a topic on its disk.
    pub async fn kept(&self, topic: &str) -> String {
        let client = Client::builder().no_proxy().build().unwrap();
        let poll =
            client.get(format!("{}/{topic}/json?poll=1", self.url)).basic_auth("phone", Some("secret"));
        poll.send().await.unwrap().text().await.unwrap()
    }
}

impl Drop for Ntfy {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn serve(dir: &Path, port: u16) -> Option<Child> {
    let at = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "base-url: http://127.0.0.1:{port}\nlisten-http: 127.0.0.1:{port}\ncache-file: {}\nauth-file: {}\n\
         auth-default-access: deny-all\nvisitor-request-limit-burst: 1000\n",
        at("cache.db"),
        at("auth.db")
    );
    std::fs::write(dir.join("server.yml"), config).unwrap();
    let log =
        || Stdio::from(std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap());
    let mut command = Command::new(binary());
    command.args(["serve", "--config"]).arg(dir.join("server.yml")).stdout(log()).stderr(log());
    let mut server = command.spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if server.try_wait().unwrap().is_some() {
            return None;
        }
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(server);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill().ok();
    server.wait().ok();
    None
}

fn run(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(binary());
    command.args(&arguments[..1]).arg("--config").arg(dir.join("server.yml")).args(&arguments[1..]);
    let output = command.env("NTFY_PASSWORD", "secret").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// One phone.
pub struct Phone {
    client: Client,
    events: mpsc::Receiver<Value>,
}

impl Phone {
    async fn event(&mut self, kind: &str) -> Value {
        let event = async {
            loop {
                let event = self.events.recv().await.expect("the stream ended");
                if event["event"] == kind {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("no {kind}"))
    }

    /// The next notification.
    pub async fn notified(&mut self) -> Shown {
        Shown { client: self.client.clone(), message: self.event("message").await }
    }

    /// The next retraction: which notification goes away.
    pub async fn retracted(&mut self) -> String {
        self.event("message_delete").await["sequence_id"].as_str().unwrap().to_owned()
    }

    /// What came and was not looked at yet.
    pub fn unseen(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .filter(|event| event["event"] == "message")
            .collect()
    }
}

/// A notification on a phone.
#[derive(Clone)]
pub struct Shown {
    client: Client,
    pub message: Value,
}

/// What the phone's browser got.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Shown {
    pub fn text(&self) -> &str {
        self.message["message"].as_str().unwrap()
    }

    pub fn sequence(&self) -> &str {
        self.message["sequence_id"].as_str().unwrap()
    }

    pub fn action(&self, label: &str) -> &Value {
        let actions = self.message["actions"].as_array().unwrap();
        actions.iter().find(|action| action["label"] == label).unwrap()
    }

    pub fn url(&self, label: &str) -> &str {
        self.action(label)["url"].as_str().unwrap()
    }

    /// Presses an action as ntfy's app does: `http` is called with its method, `view` is opened in the browser.
    pub async fn press(&self, label: &str) -> Page {
        let action = self.action(label);
        match action["action"].as_str().unwrap() {
            "http" => self.call(action["method"].as_str().unwrap(), self.url(label), "").await,
            "view" => self.call("GET", self.url(label), "").await,
            other => panic!("{other}"),
        }
    }

    /// Fills in the page's form and presses one of its buttons.
    pub async fn submit(&self, answer: &str, number: &str) -> Page {
        self.call("POST", self.url("Approve"), &format!("number={number}&answer={answer}")).await
    }

    pub async fn call(&self, method: &str, url: &str, body: &str) -> Page {
        let request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let reply = request.body(body.to_owned()).send().await.unwrap();
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        Page { status, headers, text: reply.text().await.unwrap() }
    }
}
