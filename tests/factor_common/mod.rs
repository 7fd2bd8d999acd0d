//! What the second factor's tests share: a question, a clock, and providers that misbehave as told.
//! Absent on purpose: anything of the webhook's own code; signatures here are made by the hmac crate.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use pforte::clock::Clock;
use pforte::factor::{Number, Purpose, Question, Tx};
use pforte::names::{SessionId, Username};
use pforte::secret::Secret;
use sha2::Sha256;
use tokio::net::TcpListener;

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub fn secret() -> Secret {
    Secret::new(SECRET.to_owned())
}

pub fn now() -> Timestamp {
    Clock::system().now()
}

/// A login of jane, with a name of its own, that expires after `seconds`.
pub fn question(seconds: i64) -> Question {
    let user: Username = "firm-jane.doe".parse().unwrap();
    Question {
        tx: Tx::new(rand::random()),
        firm: user.firm(),
        contact: pforte::factor::Contact::default(),
        user,
        key: format!("SHA256:{}", "A".repeat(43)).parse().unwrap(),
        from: "203.0.113.7:50122".parse().unwrap(),
        session: SessionId::new(1, 2),
        purpose: Purpose::Login,
        number: Number::new(37),
        expires: now() + Duration::from_secs(seconds.unsigned_abs()),
    }
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub fn signature(timestamp: &str, signed: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(signed);
    let tag = mac.finalize().into_bytes();
    tag.iter().fold("v1=".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// A reply signed `age` seconds ago.
pub fn signed(status: u16, body: &str, age: i64, secret: &str) -> Response<Body> {
    let timestamp = (now().as_second() - age).to_string();
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("X-Pforte-Signature", signature(&timestamp, body.as_bytes(), secret))
        .header("X-Pforte-Timestamp", timestamp)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// The tx of a question's JSON.
pub fn tx_of(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap();
    json["tx"].as_str().unwrap().to_owned()
}

/// A provider that answers each request with `reply(path, headers, body)`. Lives as long as the test.
pub async fn provider(
    reply: impl Fn(String, HeaderMap, Vec<u8>) -> Response<Body> + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let (listener, address) = listener().await;
    let handler = move |request: axum::http::Request<Body>| {
        let reply = reply.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
            reply(head.uri.to_string(), head.headers, body)
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    address
}

/// The system's clock, put wrong by `seconds`.
pub fn clock_off_by(seconds: i64) -> Clock {
    let system = Clock::system();
    Clock::of(move || system.now() + jiff::SignedDuration::from_secs(seconds))
}
