//! Where a provider calls back: each open question takes one authenticated answer, then it is unknown.
//! Absent on purpose: TLS (a reverse proxy's work), any other path, any state after the question is over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Url;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::only;
use crate::clock::Clock;
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
/// For a whole connection, so that none is kept for good.
const CONNECTION_DEADLINE: Duration = Duration::from_mins(1);

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
        let mut running = tokio::task::JoinSet::new();
        loop {
            let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            while running.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    running.spawn(self.clone().connection(stream, permit));
                }
                // Out of file descriptors, or the client is gone already: neither ends the service.
                Err(error) => {
                    tracing::warn!(%error, "callback listener");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, permit: OwnedSemaphorePermit) {
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
        http.timer(TokioTimer::new()).header_read_timeout(READ_DEADLINE).max_buf_size(BODY_LIMIT);
        let served = http.serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(CONNECTION_DEADLINE, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "callback connection"),
            Err(_) => tracing::debug!("callback connection kept too long"),
        }
        drop(permit);
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
