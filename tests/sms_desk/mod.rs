//! What the tests of SMS share: a gateway that takes notes, a person who types, and settings read as a file has them.
//! Absent on purpose: anything of the provider's own code; what is sent is decoded by other means.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use pforte::clock::Clock;
use pforte::config::{Config, FactorSettings, Folder, Kind, Problems, SmsBy, SmsFactor};
use pforte::factor::sms::{Bounds, Gateway, Sms, SmsConfig};
use pforte::factor::{Line, Provider, Question, Reach, Said, Verdict, Way};
use pforte::random::Random;
use pforte::secret::Secret;
use serde_json::Value;
use tokio::net::TcpListener;

pub const PHONE: &str = "+4915112345678";

/// Each service with its settings, and the answer that its documentation shows.
pub const SERVICES: &[(&str, &str, u16, &str)] = &[
    (
        "seven",
        "api_key = { file = \"key\" }\nsender = \"Wartung\"",
        200,
        r#"{"success":"100","total_price":0.075,"balance":593.994,"debug":"false","sms_type":"direct","messages":[{"id":"77229318510","sender":"Wartung","recipient":"4915112345678","text":"…","encoding":"gsm","label":null,"parts":1,"udh":null,"is_binary":false,"price":0.075,"success":true,"error":null,"error_text":null}]}"#,
    ),
    ("sipgate", "token_id = \"token-AB12CD\"\ntoken = { file = \"key\" }\ndevice = \"s0\"", 204, ""),
    (
        "twilio",
        "account = \"AC0123\"\ntoken = { file = \"key\" }\nsender = \"Wartung\"",
        201,
        r#"{"sid":"SM304417148af644198a0efaceebc965a5","date_created":"Fri, 31 Oct 2014 03:39:29 +0000","date_sent":null,"account_sid":"AC0123","to":"+4915112345678","from":"Wartung","body":"…","status":"queued","num_segments":"1","num_media":"0","direction":"outbound-api","api_version":"2010-04-01","price":null,"price_unit":"USD","error_code":null,"error_message":null}"#,
    ),
];

/// One request that came.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Sent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

/// A gateway that answers everything alike.
#[derive(Clone)]
pub struct Desk {
    pub address: std::net::SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Desk {
    pub async fn open(status: u16, answer: &str) -> Self {
        Self::writing(status, answer, None).await
    }

    /// Writes each body to `file` too, before it answers.
    pub async fn writing(status: u16, answer: &str, file: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let desk = Self { address: listener.local_addr().unwrap(), sent: Arc::default() };
        let (sent, answer) = (desk.sent.clone(), answer.to_owned());
        let handler = move |request: Request<Body>| {
            let (sent, answer, file) = (sent.clone(), answer.clone(), file.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
                let body = String::from_utf8(body).unwrap();
                if let Some(file) = file {
                    std::fs::write(file, &body).unwrap();
                }
                let (method, uri) = (head.method.to_string(), head.uri.to_string());
                sent.lock().unwrap().push(Sent { method, uri, headers: head.headers, body });
                let reply = Response::builder().status(status).header("location", "http://127.0.0.1:1/");
                reply.body(Body::from(answer)).unwrap()
            }
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
        desk
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// `[second_factor.sms]` of one of [`SERVICES`], sent here.
    pub fn settings(&self, service: &str, settings: &str) -> String {
        format!("service = \"{service}\"\nurl = \"http://{}/sms\"\n{settings}\n", self.address)
    }

    /// The plainest service that there can be.
    pub fn http(&self) -> String {
        http_to(&format!("http://{}/", self.address))
    }
}

pub fn http_to(url: &str) -> String {
    format!("service = \"http\"\nurl = \"{url}\"\nencoding = \"form\"\nbody = \"to={{to}}&text={{text}}\"\n")
}

/// The six digits behind the word `Code`, however the space between is written.
pub fn code_in(text: &str) -> String {
    let behind = text.split_once("Code").unwrap().1;
    let behind = behind.strip_prefix("%20").or(behind.strip_prefix(' ')).unwrap();
    let code = behind[..6].to_owned();
    assert!(code.bytes().all(|b| b.is_ascii_digit()), "{text}");
    code
}

/// What is wrong with `[second_factor.sms]`, or its settings. The secret in `key` is s3cret.
pub fn read(dir: &Path, sms: &str, more: &str) -> Result<SmsFactor, Vec<String>> {
    for folder in ["policy", "keys", "secrets", "state"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let gateway = format!(
        "listen = [\"127.0.0.1:0\"]\n[second_factor]\nprovider = \"sms\"\n[second_factor.sms]\n{sms}\n{more}"
    );
    std::fs::write(dir.join("policy/gateway.toml"), gateway).unwrap();
    if !dir.join("key").exists() {
        pforte::init::write_new(&dir.join("key"), b"s3cret\n", 0o600).unwrap();
    }
    let mut problems = Problems::default();
    let config = Config::load(&Folder::new(dir), &mut problems);
    if !problems.0.is_empty() {
        return Err(problems.0.iter().map(ToString::to_string).collect());
    }
    let settings = config.unwrap().gateway.factor.settings.remove(&Kind::Sms).unwrap();
    let FactorSettings::Sms(sms) = settings else { panic!("another kind") };
    Ok(*sms)
}

pub fn sms(settings: &str) -> Sms {
    sms_with(settings, Clock::system(), Random::system())
}

pub fn sms_with(settings: &str, clock: Clock, random: Random) -> Sms {
    sms_within(settings, clock, random, Bounds::default())
}

pub fn sms_within(settings: &str, clock: Clock, random: Random, bounds: Bounds) -> Sms {
    let dir = tempfile::tempdir().unwrap();
    let read = read(dir.path(), settings, "").unwrap_or_else(|problems| panic!("{problems:#?}"));
    let gateway = match read.by {
        SmsBy::Exec(command) => Gateway::Exec { command },
        SmsBy::Http { request, proxy, .. } => Gateway::Http { request, ca_pem: None, proxy },
    };
    let config = SmsConfig {
        gateway,
        sender: read.sender,
        user: read.user,
        secret: read.secret,
        lasts: read.lasts.value,
        german: false,
        bounds,
    };
    Sms::new(config, clock, random).unwrap()
}

pub fn with_phone(mut question: Question) -> Question {
    question.contact.phone = Some(PHONE.parse().unwrap());
    question
}

/// What a person types at one prompt.
#[derive(Clone)]
pub enum Types {
    /// The code of the last SMS.
    Code,
    /// The same as `123 456 `.
    Spaced,
    /// Six digits that are not it.
    Wrong,
    Text(&'static str),
    Owned(String),
    /// The code, so many seconds later.
    CodeAfter(Arc<AtomicI64>, i64),
    /// Nothing at all.
    Never,
}

/// Asks `question` of `sms`; the person types `types` one after the other, then leaves. What was said, besides.
pub async fn talk(sms: &Sms, question: &Question, desk: &Desk, types: &[Types]) -> (Verdict, Vec<Said>) {
    let (mut line, mut theirs) = Line::new(Reach::ALL, false);
    let person = async {
        let (mut said, mut types) = (Vec::new(), types.iter());
        while let Some(next) = theirs.said.recv().await {
            let asked = matches!(next, Said::Ask(..));
            said.push(next);
            if !asked {
                continue;
            }
            let last = || code_in(&desk.sent().last().unwrap().body);
            let answer = match types.next() {
                None => break,
                Some(Types::Never) => continue,
                Some(Types::Code) => last(),
                Some(Types::Spaced) => format!("{} {} ", &last()[..3], &last()[3..]),
                Some(Types::Wrong) if last() == "123456" => "654321".to_owned(),
                Some(Types::Wrong) => "123456".to_owned(),
                Some(Types::Text(text)) => (*text).to_owned(),
                Some(Types::Owned(text)) => text.clone(),
                Some(Types::CodeAfter(late, seconds)) => {
                    late.store(*seconds, Ordering::SeqCst);
                    last()
                }
            };
            theirs.answers.send(Secret::new(answer)).await.unwrap();
        }
        drop(theirs);
        said
    };
    let ask = async {
        let verdict = sms.ask(question, Way::Sms, &mut line).await;
        drop(line);
        verdict
    };
    tokio::join!(ask, person)
}
