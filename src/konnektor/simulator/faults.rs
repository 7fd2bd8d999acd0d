//! The failures a simulated box can be told to have, and when.
//! Absent on purpose: chance. What fails, fails where it was ordered.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use hyper::{Response, StatusCode, header};

use super::{Shared, answers, lock};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends without an answer.
    Drop,
    /// This HTTP status, with an HTML page.
    Status(u16),
    /// Status 200 and an HTML page where JSON was asked for.
    Html,
    /// All sessions end; the answer leads to the login page.
    SessionExpired,
    /// A byte now and then, without end.
    Drip,
    /// As many bytes of a JSON string.
    Endless(u64),
    /// A redirect to itself.
    RedirectLoop,
    /// A redirect to this URL.
    RedirectTo(String),
    /// A body said to be gzip.
    Gzip,
    /// As many cookies.
    Cookies(usize),
    /// JSON nested as deep.
    Nested(usize),
    /// No answer at all, the connection stays.
    Stall,
    /// This very body as JSON.
    Body(String),
}

/// Which requests meet it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The path ends so.
    Path(String),
    /// The nth request since the start, from 1.
    Nth(usize),
    /// Each.
    Always,
}

/// A failure to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub fault: Fault,
    /// Where.
    pub when: When,
    /// How often at most; `None`: always.
    pub times: Option<usize>,
}

impl Order {
    /// Each time for this service.
    #[must_use]
    pub fn of_service(service: &str, fault: Fault) -> Self {
        Self { fault, when: When::Path(format!("/json-retrieve/{service}")), times: None }
    }
}

/// The handler's only error: it makes hyper end the connection.
#[derive(Debug, thiserror::Error)]
#[error("dropped as ordered")]
pub(super) struct Dropped;

pub(super) fn due(orders: &mut [Order], path: &str, nth: usize) -> Option<Fault> {
    let order = orders.iter_mut().find(|order| {
        let here = match &order.when {
            When::Path(end) => path.ends_with(end.as_str()),
            When::Nth(n) => *n == nth,
            When::Always => true,
        };
        here && order.times != Some(0)
    })?;
    order.times = order.times.map(|times| times - 1);
    Some(order.fault.clone())
}

impl Shared {
    pub(super) async fn fail(&self, fault: Fault, path: &str) -> Result<Response<Body>, Dropped> {
        Ok(match fault {
            Fault::Drop => return Err(Dropped),
            Fault::Stall => std::future::pending().await,
            Fault::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = answers::html("<h1>Fehler</h1>");
                *answer.status_mut() = status;
                answer
            }
            Fault::Html => answers::html("<h1>Wartung</h1>"),
            Fault::SessionExpired => {
                lock(&self.sessions).clear();
                answers::redirect(answers::LOGIN_PAGE)
            }
            Fault::Drip => {
                let bytes = futures::stream::repeat(()).then(|()| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, std::io::Error>(Bytes::from_static(b" "))
                });
                answers::json(Body::from_stream(bytes))
            }
            Fault::Endless(bytes) => {
                const CHUNK: &[u8] = &[b'x'; 65536];
                let chunks = usize::try_from(bytes / 65536).unwrap_or(usize::MAX);
                let start = futures::stream::once(async { Bytes::from_static(b"\"") });
                let rest = futures::stream::repeat_with(|| Bytes::from_static(CHUNK)).take(chunks);
                answers::json(Body::from_stream(start.chain(rest).map(Ok::<_, std::io::Error>)))
            }
            Fault::RedirectLoop => answers::redirect(path),
            Fault::RedirectTo(url) => answers::redirect(&url),
            Fault::Gzip => {
                let mut answer = answers::json(Body::from(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]));
                answers::set(&mut answer, header::CONTENT_ENCODING, "gzip");
                answer
            }
            Fault::Cookies(count) => {
                let mut answer = answers::json(Body::from("{}"));
                for n in 0..count {
                    answers::set(&mut answer, header::SET_COOKIE, &format!("c{n}=x; Path=/"));
                }
                answer
            }
            Fault::Nested(depth) => {
                answers::json(Body::from(format!("{}{}", "[".repeat(depth), "]".repeat(depth))))
            }
            Fault::Body(text) => answers::json(Body::from(text)),
        })
    }
}
