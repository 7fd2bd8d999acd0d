//! The failures a simulated box can be told to have, and when.
//! Absent on purpose: chance. What fails, fails where it was ordered.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use hyper::{Response, StatusCode, header};

use super::network::Turn;
use super::{Shared, lock, random, replies};

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
    /// The right answer, a byte each time; it ends.
    Slow(Duration),
    /// The box loses its power: all connections and sessions end, it is away for [`reboot_takes`] and comes back by
    /// itself with what was applied.
    ///
    /// [`reboot_takes`]: super::Options::reboot_takes
    Power,
    /// The way to the box is cut: all connections end, new ones are refused for so long, sessions live on.
    Network(Duration),
    /// All sessions get another token; the answer is 403.
    TokenRotated,
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
    /// The nth request since the start, from 1, that wants to change something: `KoCoBox`: POST to `json-store`; secunet:
    /// PUT and DELETE, but not the logout; RISE: POST to `ctm`.
    NthWrite(usize),
    /// Each.
    Always,
}

/// On which side of what the request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Moment {
    /// Nothing of it is done.
    #[default]
    Before,
    /// It is done, and the answer is not sent.
    After,
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

    /// Once, with the nth write.
    #[must_use]
    pub fn of_write(nth: usize, fault: Fault) -> Self {
        Self { fault, when: When::NthWrite(nth), times: Some(1) }
    }

    /// At this moment of the request; without it [`Moment::Before`].
    #[must_use]
    pub fn at(self, moment: Moment) -> Timed {
        Timed { order: self, moment }
    }
}

/// A failure to order, with its moment; see [`Order::at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    order: Order,
    moment: Moment,
}

impl From<Order> for Timed {
    fn from(order: Order) -> Self {
        order.at(Moment::default())
    }
}

/// The handler's only error: it makes hyper end the connection.
#[derive(Debug, thiserror::Error)]
#[error("dropped as ordered")]
pub(super) struct Dropped;

/// What of a request decides whether it meets a failure.
pub(super) struct Met {
    pub(super) path: String,
    pub(super) nth: usize,
    /// Which write it is, where it is one.
    pub(super) nth_write: Option<usize>,
}

impl Met {
    /// The failure that is due, counted down.
    pub(super) fn due(&self, orders: &mut [Timed], moment: Moment) -> Option<Fault> {
        let met = orders.iter_mut().find(|timed| {
            let here = match &timed.order.when {
                When::Path(end) => self.path.ends_with(end.as_str()),
                When::Nth(n) => *n == self.nth,
                When::NthWrite(n) => Some(*n) == self.nth_write,
                When::Always => true,
            };
            here && timed.moment == moment && timed.order.times != Some(0)
        })?;
        met.order.times = met.order.times.map(|times| times - 1);
        Some(met.order.fault.clone())
    }
}

/// The same answer, a byte each time.
pub(super) fn slowly(answer: Response<Body>, pause: Duration) -> Response<Body> {
    answer.map(|body| {
        let bytes = body.into_data_stream().flat_map(move |piece| {
            let bytes: Vec<_> = match piece {
                Ok(piece) => (0..piece.len()).map(|at| Ok(piece.slice(at..=at))).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(bytes).then(move |byte| async move {
                tokio::time::sleep(pause).await;
                byte
            })
        });
        Body::from_stream(bytes)
    })
}

impl Shared {
    pub(super) async fn fail(&self, fault: Fault, path: &str) -> Result<Response<Body>, Dropped> {
        Ok(match fault {
            // Slow never comes here alone: it needs the answer, and `serve` has it.
            Fault::Drop | Fault::Slow(_) => return Err(Dropped),
            Fault::Power => {
                lock(&self.sessions).clear();
                self.turn(Turn::Away(self.options.reboot_takes)).await;
                return Err(Dropped);
            }
            Fault::Network(time) => {
                self.turn(Turn::Away(time)).await;
                return Err(Dropped);
            }
            Fault::TokenRotated => {
                lock(&self.sessions).values_mut().for_each(|session| session.token = random());
                replies::status(StatusCode::FORBIDDEN)
            }
            Fault::Stall => std::future::pending().await,
            Fault::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = replies::html("<h1>Fehler</h1>");
                *answer.status_mut() = status;
                answer
            }
            Fault::Html => replies::html("<h1>Wartung</h1>"),
            Fault::SessionExpired => {
                lock(&self.sessions).clear();
                self.no_session()
            }
            Fault::Drip => {
                let bytes = futures::stream::repeat(()).then(|()| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, std::io::Error>(Bytes::from_static(b" "))
                });
                replies::json(Body::from_stream(bytes))
            }
            Fault::Endless(bytes) => {
                const CHUNK: &[u8] = &[b'x'; 65536];
                let chunks = usize::try_from(bytes / 65536).unwrap_or(usize::MAX);
                let start = futures::stream::once(async { Bytes::from_static(b"\"") });
                let rest = futures::stream::repeat_with(|| Bytes::from_static(CHUNK)).take(chunks);
                replies::json(Body::from_stream(start.chain(rest).map(Ok::<_, std::io::Error>)))
            }
            Fault::RedirectLoop => replies::redirect(path),
            Fault::RedirectTo(url) => replies::redirect(&url),
            Fault::Gzip => {
                let mut answer = replies::json(Body::from(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]));
                replies::set(&mut answer, header::CONTENT_ENCODING, "gzip");
                answer
            }
            Fault::Cookies(count) => {
                let mut answer = replies::json(Body::from("{}"));
                for n in 0..count {
                    replies::set(&mut answer, header::SET_COOKIE, &format!("c{n}=x; Path=/"));
                }
                answer
            }
            Fault::Nested(depth) => {
                replies::json(Body::from(format!("{}{}", "[".repeat(depth), "]".repeat(depth))))
            }
            Fault::Body(text) => replies::json(Body::from(text)),
        })
    }
}
