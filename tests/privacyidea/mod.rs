//! A real privacyIDEA on loopback with people, their phones and an SMS gateway, and somebody who may stand in between.
//! Absent on purpose: the provider under test.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real programs; helpers of tests are tests"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use pforte::factor::privacyidea::{PrivacyIdeaConfig, Service};
use pforte::secret::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// The realm of everybody.
pub const REALM: &str = "partner";
/// The administrator who may trigger, and nothing else.
pub const SERVICE: &str = "service";
/// Their password.
pub const PASSWORD: &str = "Dienst & Söhne = 100%";
/// Everybody's code generator: `12345678901234567890`.
pub const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// Everybody's phone.
pub const NUMBER: &str = "+4915112345678";

/// Starting takes some seconds of computing, more on a busy machine.
const START: Duration = Duration::from_mins(2);
/// Anything else.
const SOON: Duration = Duration::from_secs(30);

/// Who is there: a name and the kinds of its tokens.
#[derive(Default)]
pub struct People {
    pub tokens: Vec<(&'static str, &'static [&'static str])>,
    /// Whose phone wants a number pressed.
    pub presence: Vec<&'static str>,
    /// Who may pass without a token (passOnNoToken).
    pub no_token: Vec<&'static str>,
}

/// The server, running; dropped, it is gone.
pub struct Town {
    dir: TempDir,
    _server: Child,
    pub url: String,
    pub token: String,
    serials: Value,
    sms: mpsc::Receiver<(String, String)>,
}

fn python() -> PathBuf {
    let venv = std::env::var_os("PFORTE_PI_VENV")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-pi"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(
        python.exists(),
        "{} is not there: run tests/run once, which installs a privacyIDEA for the tests",
        python.display()
    );
    python
}

/// A script of this folder, with pipes; what it complains of goes to a file.
fn script(name: &str, complaints: &Path) -> Child {
    let mut command = Command::new(python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/privacyidea").join(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(complaints).unwrap())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

async fn line(out: &mut BufReader<ChildStdout>, within: Duration, complaints: &Path) -> Value {
    let mut line = String::new();
    let read = tokio::time::timeout(within, out.read_line(&mut line)).await;
    let read = read.is_ok_and(|read| read.unwrap() > 0);
    assert!(read, "no answer: {}", std::fs::read_to_string(complaints).unwrap());
    serde_json::from_str(&line).unwrap()
}

impl Town {
    pub async fn open(people: People) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sms_url, sms) = sms_gateway().await;
        let tokens: serde_json::Map<String, Value> =
            people.tokens.iter().map(|(name, kinds)| ((*name).to_owned(), json!(kinds))).collect();
        let phones: serde_json::Map<String, Value> =
            people.tokens.iter().map(|(name, _)| ((*name).to_owned(), json!(NUMBER))).collect();
        let order = json!({
            "folder": dir.path(), "password": PASSWORD, "sms": sms_url, "people": tokens, "phones": phones,
            "totp": "3132333435363738393031323334353637383930",
            "presence": people.presence, "no_token": people.no_token,
        });
        let complaints = dir.path().join("serve.log");
        let mut server = script("serve.py", &complaints);
        let mut stdin = server.stdin.take().unwrap();
        stdin.write_all(order.to_string().as_bytes()).await.unwrap();
        drop(stdin);
        let mut out = BufReader::new(server.stdout.take().unwrap());
        let told = line(&mut out, START, &complaints).await;
        let (url, token) =
            (format!("http://127.0.0.1:{}", told["port"]), told["token"].as_str().unwrap().to_owned());
        let serials = std::fs::read(dir.path().join("serials.json")).unwrap();
        let serials = serde_json::from_slice(&serials).unwrap();
        Self { dir, _server: server, url, token, serials, sms }
    }

    /// As the gateway's file would set it up, but in more of a hurry to poll.
    pub fn config(&self) -> PrivacyIdeaConfig {
        self.config_at(&self.url)
    }

    pub fn config_at(&self, url: &str) -> PrivacyIdeaConfig {
        let service = Service::Token(Secret::new(self.token.clone()));
        PrivacyIdeaConfig {
            realm: Some(REALM.into()),
            poll_interval: Duration::from_millis(250),
            ..PrivacyIdeaConfig::new(url.parse().unwrap(), service)
        }
    }

    /// The key of the server's signatures.
    pub fn public_key(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("public.pem")).unwrap()
    }

    /// The phone of somebody with a push token.
    pub async fn phone(&self, name: &str) -> Phone {
        let complaints = self.dir.path().join(format!("{name}.log"));
        let mut child = script("phone.py", &complaints);
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut phone = Phone { _child: child, stdin, out: BufReader::new(stdout), complaints };
        let key = self.dir.path().join(format!("{name}.pem"));
        phone.write(&json!({ "url": self.url, "serial": self.serials[name]["push"], "key": key })).await;
        phone
    }

    /// The next SMS: to whom, and what it says.
    pub async fn sms(&mut self) -> (String, String) {
        tokio::time::timeout(SOON, self.sms.recv()).await.expect("no SMS").unwrap()
    }

    /// Has another SMS come?
    pub fn more_sms(&mut self) -> bool {
        self.sms.try_recv().is_ok()
    }
}

/// An SMS gateway that keeps what it is given.
async fn sms_gateway() -> (String, mpsc::Receiver<(String, String)>) {
    let (sent, received) = mpsc::channel(16);
    let handler = move |axum::Form(form): axum::Form<std::collections::HashMap<String, String>>| {
        let sent = sent.clone();
        async move {
            sent.send((form["to"].clone(), form["text"].clone())).await.ok();
            "ok"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sms", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/sms", axum::routing::post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

/// An authenticator app; it does nothing that it is not told.
pub struct Phone {
    _child: Child,
    stdin: ChildStdin,
    out: BufReader<ChildStdout>,
    complaints: PathBuf,
}

impl Phone {
    async fn write(&mut self, order: &Value) {
        self.stdin.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }

    async fn told(&mut self, order: Value) -> Value {
        self.write(&order).await;
        line(&mut self.out, SOON, &self.complaints).await
    }

    /// The question on its screen, once there is one.
    pub async fn question(&mut self) -> Value {
        self.told(json!({ "do": "wait" })).await
    }

    /// How many questions are on its screen.
    pub async fn open(&mut self) -> u64 {
        self.told(json!({ "do": "open" })).await.as_u64().unwrap()
    }

    pub async fn approve(&mut self) {
        let question = self.question().await;
        let taken = self.told(json!({ "do": "answer", "how": "approve", "question": question })).await;
        assert_eq!(taken, json!(true));
    }

    pub async fn decline(&mut self) {
        let question = self.question().await;
        let taken = self.told(json!({ "do": "answer", "how": "decline", "question": question })).await;
        assert_eq!(taken, json!(true));
    }

    /// Presses a number; was it the right one?
    pub async fn press(&mut self, number: &str) -> bool {
        let question = self.question().await;
        let order = json!({ "do": "answer", "how": "approve", "question": question, "press": number });
        self.told(order).await == json!(true)
    }
}

/// What somebody between us and the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddle {
    /// Only looks on.
    Not,
    /// Uses the transaction up before we can.
    FinishesFirst,
    /// Says that the phone accepted.
    SaysAccept,
    /// Has somebody else's phone ring.
    TriggersFor(&'static str),
    /// Says again what the server said to the first poll.
    Repeats,
}

/// One request as it passed, and its answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub body: String,
    pub answer: Value,
}

/// Stands between us and the server.
#[derive(Clone)]
pub struct Between {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Between {
    pub async fn new(server: &str, meddle: Meddle) -> Self {
        pforte::house::choose_tls_provider();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, server) = (seen.clone(), server.to_owned());
        let handler = move |request: Request<Body>| pass(request, server.clone(), meddle, kept.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// What has passed below this path.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// The transaction that was triggered last.
    pub fn transaction(&self) -> String {
        let triggered = self.seen("/validate/triggerchallenge");
        triggered.last().unwrap().answer["detail"]["transaction_id"].as_str().unwrap().to_owned()
    }
}

async fn pass(
    request: Request<Body>,
    server: String,
    meddle: Meddle,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let mut body = String::from_utf8(body).unwrap();
    if let Meddle::TriggersFor(name) = meddle
        && path == "/validate/triggerchallenge"
    {
        let rest: Vec<&str> = body.split('&').filter(|field| !field.starts_with("user=")).collect();
        body = format!("user={name}&{}", rest.join("&"));
    }
    let again = if meddle == Meddle::FinishesFirst && path == "/validate/check" { 2 } else { 1 };
    let mut told = None;
    for _ in 0..again {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut on = client.request(head.method.clone(), format!("{server}{}", head.uri)).body(body.clone());
        for name in ["content-type", "pi-authorization"] {
            if let Some(value) = head.headers.get(name) {
                on = on.header(name, value);
            }
        }
        let reply = on.send().await.unwrap();
        told = Some((reply.status(), reply.text().await.unwrap()));
    }
    let (status, mut text) = told.unwrap();
    if path == "/validate/polltransaction" {
        if meddle == Meddle::SaysAccept {
            text = text.replace("\"pending\"", "\"accept\"");
        }
        let first = seen.lock().unwrap().iter().find(|seen: &&Seen| seen.path == path).cloned();
        if let (Meddle::Repeats, Some(first)) = (meddle, first) {
            text = first.body;
        }
    }
    let answer = serde_json::from_str(&text).unwrap_or_default();
    let kept = if path == "/validate/polltransaction" { text.clone() } else { body };
    seen.lock().unwrap().push(Seen { path, body: kept, answer });
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(text))
        .unwrap()
}
