//! The simulated phone of `pforte demo` and of the tests: a provider that answers as the file DIR/phone says.
//! Absent on purpose: any use of the webhook's own code; it is written from the contract, so that each checks the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::{get, post};
use futures::stream;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::secret::Secret;

/// The most questions that are remembered; older ones are forgotten first.
const REMEMBERED: usize = 10_000;
/// How often a waiting answer looks into DIR/phone again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How the phone's answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the reply to the question, held until it is given.
    Reply,
    /// 202, then to whoever asks at `/status`.
    Poll,
    /// 202, then as a POST to the question's `callback_url`.
    Callback,
}

/// What the phone needs to know.
pub struct PhoneConfig {
    /// Holds the file `phone`: `approve`, `deny`, `fraud`, `silent`, `slow`, `garbage` or `error500`. Without it: `silent`.
    pub directory: PathBuf,
    /// The shared HMAC key.
    pub secret: Secret,
    /// How answers travel.
    pub mode: Mode,
    /// How long the person takes to answer.
    pub latency: Duration,
}

/// A question as it came in, its signature checked.
#[derive(Clone, Debug, Deserialize)]
pub struct SeenQuestion {
    /// The question's name.
    pub tx: String,
    /// Who is asked.
    pub user: String,
    /// `login` or `command`.
    pub purpose: String,
    /// The command, if it is about one.
    pub command: Option<String>,
    /// The customer, if it is about one.
    pub site: Option<String>,
    /// The connection's source address.
    pub client_ip: String,
    /// The number shown, 10 to 99.
    pub code: u8,
    /// What the person reads, in German.
    pub message_de: String,
    /// What the person reads, in English.
    pub message_en: String,
    callback_url: Option<String>,
    expires_at: jiff::Timestamp,
}

/// What the person does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Approve,
    Deny,
    Fraud,
    Silent,
    Slow,
    Garbage,
    Error500,
}

struct Shared {
    config: PhoneConfig,
    clock: Clock,
    client: reqwest::Client,
    questions: AtomicU64,
    seen: Mutex<VecDeque<SeenQuestion>>,
}

/// The phone at work; dropping it hangs up.
pub struct Phone {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: AbortHandle,
}

impl Phone {
    /// Serves `/ask` and `/status` on the listener.
    pub fn start(listener: TcpListener, config: PhoneConfig, clock: Clock) -> io::Result<Self> {
        let address = listener.local_addr()?;
        super::http::choose_tls_provider();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5));
        let client = client.build().map_err(io::Error::other)?;
        let (questions, seen) = (AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { config, clock, client, questions, seen });
        let routes = Router::new().route("/ask", post(ask)).route("/status", get(status));
        let served = axum::serve(listener, routes.with_state(Arc::clone(&shared)));
        let serving = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "simulated phone");
            }
        });
        Ok(Self { shared, address, serving: serving.abort_handle() })
    }

    /// Where questions are posted.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/ask", self.address)
    }

    /// The questions seen, oldest first; at most the last 10,000.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenQuestion> {
        self.shared.seen().iter().cloned().collect()
    }

    /// How many questions came in, ever.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.shared.questions.load(Ordering::Relaxed)
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, VecDeque<SeenQuestion>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn mood(&self) -> Mood {
        let text = tokio::fs::read_to_string(self.config.directory.join("phone")).await;
        match text.as_deref().map(str::trim) {
            Ok("approve") => Mood::Approve,
            Ok("deny") => Mood::Deny,
            Ok("fraud") => Mood::Fraud,
            Ok("slow") => Mood::Slow,
            Ok("garbage") => Mood::Garbage,
            Ok("error500") => Mood::Error500,
            Ok(_) | Err(_) => Mood::Silent,
        }
    }

    /// What the person answers, once they do; `timeout` when the question has expired.
    async fn decision(&self, question: &SeenQuestion) -> &'static str {
        tokio::time::sleep(self.config.latency).await;
        while self.clock.now() < question.expires_at {
            if let Some(word) = self.mood().await.word() {
                return word;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        "timeout"
    }

    fn mac(&self, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.config.secret.reveal().as_bytes()).ok()?;
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        Some(mac)
    }

    /// The two headers that make a body ours.
    fn headers(&self, body: &[u8]) -> [(&'static str, String); 2] {
        let timestamp = self.clock.now().as_second().to_string();
        let tag = self.mac(&timestamp, body).map(|mac| mac.finalize().into_bytes());
        let digits = tag.iter().flatten().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let hex: String = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
        [("X-Pforte-Timestamp", timestamp), ("X-Pforte-Signature", format!("v1={hex}"))]
    }

    fn is_from_the_gateway(&self, headers: &HeaderMap, signed: &[u8]) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(timestamp), Some(signature)) = (text("X-Pforte-Timestamp"), text("X-Pforte-Signature"))
        else {
            return false;
        };
        let now = self.clock.now().as_second();
        let fresh = timestamp.parse::<i64>().is_ok_and(|t| (now - 60..=now + 60).contains(&t));
        let tag: Option<Vec<u8>> = signature.strip_prefix("v1=").map(|hex| {
            let digits: Vec<u8> =
                hex.chars().filter_map(|c| c.to_digit(16)).filter_map(|d| d.try_into().ok()).collect();
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
        });
        let mac = self.mac(timestamp, signed);
        fresh && mac.zip(tag).is_some_and(|(mac, tag)| mac.verify_slice(&tag).is_ok())
    }

    fn reply(&self, status: StatusCode, body: String) -> Response<Body> {
        let mut response = Response::builder().status(status);
        for (name, value) in self.headers(body.as_bytes()) {
            response = response.header(name, value);
        }
        response.body(Body::from(body)).unwrap_or_default()
    }

    async fn call_back(self: Arc<Self>, question: SeenQuestion) {
        let result = self.decision(&question).await;
        let Some(url) = &question.callback_url else { return };
        let timestamp = self.clock.now().as_second();
        let body =
            serde_json::json!({ "tx": question.tx, "result": result, "timestamp": timestamp }).to_string();
        let mut request = self.client.post(url);
        for (name, value) in self.headers(body.as_bytes()) {
            request = request.header(name, value);
        }
        match request.body(body).send().await {
            Ok(reply) => tracing::debug!(status = %reply.status(), "simulated phone called back"),
            Err(error) => tracing::debug!(%error, "simulated phone could not call back"),
        }
    }
}

impl Mood {
    /// The answer's word; none while there is none.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Approve => Some("allow"),
            Self::Deny => Some("deny"),
            Self::Fraud => Some("fraud"),
            Self::Silent | Self::Slow | Self::Garbage | Self::Error500 => None,
        }
    }

    /// The reply of a provider that is not well.
    fn defect(self, shared: &Shared) -> Option<Response<Body>> {
        match self {
            Self::Approve | Self::Deny | Self::Fraud | Self::Silent => None,
            Self::Slow => {
                let drip = stream::unfold((), async |()| {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
                });
                Some(Response::new(Body::from_stream(drip)))
            }
            Self::Garbage => Some(shared.reply(StatusCode::OK, "}{\u{fffd}<html>".to_owned())),
            Self::Error500 => Some(shared.reply(StatusCode::INTERNAL_SERVER_ERROR, String::new())),
        }
    }
}

async fn ask(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if !shared.is_from_the_gateway(&headers, &body) {
        return shared.reply(StatusCode::UNAUTHORIZED, String::new());
    }
    let Ok(question) = serde_json::from_slice::<SeenQuestion>(&body) else {
        return shared.reply(StatusCode::BAD_REQUEST, String::new());
    };
    shared.questions.fetch_add(1, Ordering::Relaxed);
    {
        let mut seen = shared.seen();
        if seen.len() >= REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(question.clone());
    }
    if let Some(defect) = shared.mood().await.defect(&shared) {
        return defect;
    }
    let tx = question.tx.clone();
    match shared.config.mode {
        Mode::Reply => {
            let result = shared.decision(&question).await;
            let answer = serde_json::json!({ "tx": tx, "user": question.user, "result": result });
            shared.reply(StatusCode::OK, answer.to_string())
        }
        Mode::Poll => {
            let answer = serde_json::json!({ "tx": tx, "status_url": "/status" });
            shared.reply(StatusCode::ACCEPTED, answer.to_string())
        }
        Mode::Callback => {
            tokio::spawn(Arc::clone(&shared).call_back(question));
            shared.reply(StatusCode::ACCEPTED, serde_json::json!({ "tx": tx }).to_string())
        }
    }
}

/// A poll: answered at once, `pending` while the person has not decided.
async fn status(State(shared): State<Arc<Shared>>, headers: HeaderMap, uri: Uri) -> Response<Body> {
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    if !shared.is_from_the_gateway(&headers, format!("GET {path}").as_bytes()) {
        return shared.reply(StatusCode::UNAUTHORIZED, String::new());
    }
    let asked = uri.query().and_then(|query| query.strip_prefix("tx="));
    let question = shared.seen().iter().find(|question| asked == Some(question.tx.as_str())).cloned();
    let Some(question) = question else { return shared.reply(StatusCode::NOT_FOUND, String::new()) };
    let mood = shared.mood().await;
    if let Some(defect) = mood.defect(&shared) {
        return defect;
    }
    let late = shared.clock.now() >= question.expires_at;
    let result = if late { "timeout" } else { mood.word().unwrap_or("pending") };
    shared.reply(StatusCode::OK, serde_json::json!({ "tx": question.tx, "result": result }).to_string())
}
