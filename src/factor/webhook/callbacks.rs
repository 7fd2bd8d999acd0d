//! Where a provider calls back: each open question takes one authenticated answer, then it is unknown.
//! Absent on purpose: TLS (a reverse proxy's work), any other path, any state after the question is over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Url;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::clock::Clock;
use crate::factor::http::only;
use crate::factor::wire::{self, Answer, Key};
use crate::factor::{Cause, Question, Tx, Verdict};
use crate::secret::Secret;

/// The most bytes of a callback's body.
const BODY_LIMIT: usize = 16 * 1024;
/// The most questions open at once.
const OPEN_LIMIT: usize = 4096;
/// The most connections at once; further ones wait in the listener's queue.
const CONNECTIONS: usize = 128;
/// For a request's head, and again for its body.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// The most connections of one source; a further one is closed. A reverse proxy is one source, and its requests are short.
const CONNECTIONS_OF_ONE: usize = 8;
/// For a whole connection, which carries one request: none is kept.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

struct Open {
    question: Question,
    answer: oneshot::Sender<Verdict>,
}

struct Shared {
    key: Key,
    url: Url,
    clock: Clock,
    open: Mutex<HashMap<Tx, Open>>,
}

/// How many connections each source has.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place; given back when dropped.
struct Place {
    sources: Sources,
    source: IpAddr,
}

impl Sources {
    /// A place, if the source has fewer than [`CONNECTIONS_OF_ONE`]. Of IPv6 a /64 is one source (RFC 4291, 2.5.4).
    fn enter(&self, from: IpAddr) -> Option<Place> {
        let source = match from.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        };
        let mut there = self.lock();
        let count = there.entry(source).or_default();
        if *count >= CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Place { sources: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.sources.lock().entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The open questions and the handler that answers them; a clone is the same one.
#[derive(Clone)]
pub struct Callbacks(Arc<Shared>);

impl Callbacks {
    /// `url` is what the provider is told to call, as it reaches us from outside; its path is `/callback` on our listener.
    #[must_use]
    pub fn new(url: Url, secret: &Secret, clock: Clock) -> Self {
        Self(Arc::new(Shared { key: Key::new(secret), url, clock, open: Mutex::default() }))
    }

    /// What the provider is told to call.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Serves callbacks until the future is dropped. Ends by itself only if the listener cannot accept any more.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let sources = Sources::default();
        let mut running = tokio::task::JoinSet::new();
        loop {
            let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            while running.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, from)) => {
                    if let Some(place) = sources.enter(from.ip()) {
                        running.spawn(self.clone().connection(stream, (permit, place)));
                    } else {
                        tracing::debug!(%from, "too many callback connections of one source");
                    }
                }
                // Out of file descriptors, or the client is gone already: neither ends the service.
                Err(error) => {
                    tracing::warn!(%error, "callback listener");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, places: (OwnedSemaphorePermit, Place)) {
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let callbacks = self.clone();
            async move {
                let status = callbacks.handle(request).await.unwrap_or_else(|refused| refused);
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(READ_DEADLINE)
            .max_buf_size(BODY_LIMIT)
            .keep_alive(false);
        let served = http.serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(CONNECTION_DEADLINE, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "callback connection"),
            Err(_) => tracing::debug!("callback connection kept too long"),
        }
        drop(places);
    }

    /// One request. Nothing is looked up before the signature is good.
    async fn handle(&self, request: Request<Incoming>) -> Result<StatusCode, StatusCode> {
        if request.uri().path() != "/callback" {
            return Err(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), BODY_LIMIT);
        let body =
            tokio::time::timeout(READ_DEADLINE, body).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        let (timestamp, signature) =
            (only(&head.headers, wire::TIMESTAMP), only(&head.headers, wire::SIGNATURE));
        let now = self.0.clock.now();
        if let Err(cause) = self.0.key.verify(now, timestamp, signature, &body) {
            tracing::warn!(%cause, "callback refused");
            return Err(StatusCode::UNAUTHORIZED);
        }
        self.take(&body)
    }

    /// An authenticated answer: fresh, for an open question, for its person, and final.
    fn take(&self, body: &[u8]) -> Result<StatusCode, StatusCode> {
        let named: Answer = serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let signed_at = named.timestamp.ok_or(StatusCode::BAD_REQUEST)?;
        let now = self.0.clock.now();
        wire::fresh(now, signed_at).map_err(|_| StatusCode::UNAUTHORIZED)?;
        let verdict = named.result.and_then(wire::Word::verdict).ok_or(StatusCode::BAD_REQUEST)?;
        let tx: Tx = named.tx.parse().map_err(|_| StatusCode::NOT_FOUND)?;
        let mut open = self.lock();
        let Entry::Occupied(entry) = open.entry(tx) else { return Err(StatusCode::NOT_FOUND) };
        if entry.get().question.expires <= now {
            return Err(StatusCode::NOT_FOUND);
        }
        if let Err(cause) = Answer::to(&entry.get().question, body) {
            tracing::warn!(%cause, "callback refused");
            return Err(StatusCode::FORBIDDEN);
        }
        // Whoever asked may have gone in this very moment: then nobody takes the answer.
        entry.remove().answer.send(verdict).map_err(|_| StatusCode::NOT_FOUND)?;
        Ok(StatusCode::OK)
    }

    /// Opens a question for one answer; it is closed when the returned value is dropped.
    pub(super) fn open(&self, question: &Question) -> Result<CalledBack, Cause> {
        let (answer, answered) = oneshot::channel();
        let mut open = self.lock();
        if open.len() >= OPEN_LIMIT {
            return Err(Cause::Busy);
        }
        match open.entry(question.tx) {
            Entry::Occupied(_) => Err(Cause::Replay),
            Entry::Vacant(entry) => {
                entry.insert(Open { question: question.clone(), answer });
                Ok(CalledBack { callbacks: self.clone(), tx: question.tx, answered })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tx, Open>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open question.
pub(super) struct CalledBack {
    callbacks: Callbacks,
    tx: Tx,
    answered: oneshot::Receiver<Verdict>,
}

impl CalledBack {
    /// Waits for the one answer, for ever.
    pub(super) async fn verdict(mut self) -> Verdict {
        match (&mut self.answered).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Failed(Cause::Replay),
        }
    }
}

impl Drop for CalledBack {
    fn drop(&mut self) {
        self.callbacks.lock().remove(&self.tx);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_source_has_eight_places_and_gets_them_back() {
        let sources = Sources::default();
        let enter = |from: &str| sources.enter(from.parse().unwrap());
        let mut places: Vec<_> = (0..CONNECTIONS_OF_ONE).map(|_| enter("203.0.113.7").unwrap()).collect();
        assert!(enter("203.0.113.7").is_none());
        assert!(enter("::ffff:203.0.113.7").is_none());
        assert!(enter("203.0.113.8").is_some());
        places.pop();
        places.push(enter("203.0.113.7").unwrap());
        places.clear();
        assert!(sources.lock().is_empty());
        let places: Vec<_> =
            (0..CONNECTIONS_OF_ONE).map(|n| enter(&format!("2001:db8::{n}")).unwrap()).collect();
        assert!(enter("2001:db8::ffff").is_none());
        assert!(enter("2001:db8:0:1::").is_some());
        drop(places);
    }

    async fn listening() -> (std::net::SocketAddr, tokio::task::AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = "https://gateway.example/callback".parse().unwrap();
        let callbacks =
            Callbacks::new(url, &Secret::new("a secret of enough length".into()), Clock::system());
        (address, tokio::spawn(callbacks.serve(listener)).abort_handle())
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test dials its own listener")]
    async fn a_connection_carries_one_request_and_the_ninth_of_a_source_is_closed() {
        let (address, server) = listening().await;
        let mut first = Vec::new();
        for _ in 0..CONNECTIONS_OF_ONE {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /other HTTP/1.1\r\nHost: x\r\n").await.unwrap();
            first.push(stream);
        }
        // Accepted in their order, so this one comes after the eight.
        let mut ninth = TcpStream::connect(address).await.unwrap();
        let mut nothing = Vec::new();
        assert!(matches!(ninth.read_to_end(&mut nothing).await, Ok(0) | Err(_)));
        for mut stream in first {
            stream.write_all(b"\r\nGET /other HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            // Ends by itself: one answer, then the end, whatever else was sent.
            stream.read_to_end(&mut answer).await.ok();
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(answer.matches("HTTP/1.1 404").count(), 1, "{answer}");
        }
        server.abort();
    }
}
