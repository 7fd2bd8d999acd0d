//! A `KoCoBox` on loopback for the demo and the tests: TLS, form login, token, 19 services out of a folder, faults to order.
//! Absent on purpose: anything of the driver; it is written from what is publicly known of the box, so that it can disagree.

mod answers;
mod content;
mod faults;

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::konnektor::CertificatePin;
use crate::secret::Secret;

pub use content::{PATIENTS, SERVICES};
pub use faults::{Fault, Order, When};

/// Where the box puts its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenWay {
    /// A cookie of each `json-retrieve` answer.
    Cookie,
    /// A textarea in `start.htm`.
    Textarea,
    /// Both, the same token.
    Both,
}

/// How the box behaves.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each set by its name")]
pub struct Options {
    /// Its services, one JSON file each, read at each request; missing ones are written at the start.
    pub dir: PathBuf,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Waited before each answer.
    pub latency: Duration,
    /// Where the token is.
    pub token: TokenWay,
    /// A new token with each answer that carries one; the old one is worth nothing from then on.
    pub rotating: bool,
    /// Services are read with the token only, but the one that hands it out.
    pub token_on_reads: bool,
    /// After login there is only the page that wants a new password.
    pub forced_password_change: bool,
    /// What `connector.sds` says.
    pub firmware: String,
    /// Each request is appended to `DIR/requests.log` too.
    pub log_file: bool,
    /// For the requests' times.
    pub clock: Clock,
    /// Where to listen; `None`: any free port of 127.0.0.1.
    pub listener: Option<TcpListener>,
}

impl Options {
    /// A quick box with firmware 5.5.16, token in both places, user `koco-root`.
    #[must_use]
    pub fn new(dir: PathBuf, password: Secret, clock: Clock) -> Self {
        Self {
            dir,
            user: "koco-root".into(),
            password,
            latency: Duration::ZERO,
            token: TokenWay::Both,
            rotating: false,
            token_on_reads: false,
            forced_password_change: false,
            firmware: "5.5.16".into(),
            log_file: false,
            clock,
            listener: None,
        }
    }
}

/// A request the box got, noted before it was answered. Bodies and headers are not kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Request {
    /// When.
    pub time: jiff::Timestamp,
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Whether it came with a live session.
    pub session: bool,
}

/// Why the box did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder or listener.
    #[error("the simulated Konnektor cannot use its folder or port: {0}")]
    Io(#[from] std::io::Error),
    /// Its certificate or TLS.
    #[error("the simulated Konnektor cannot make its certificate")]
    Tls,
}

/// A running box; dropping it ends it and its connections.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// Requests kept in memory at most.
const REMEMBERED: usize = 100_000;

pub(crate) struct Shared {
    options: Options,
    /// Session id → is it logged in, and its token.
    sessions: Mutex<HashMap<String, Session>>,
    requests: Mutex<Vec<Request>>,
    orders: Mutex<Vec<Order>>,
    tls: Mutex<(TlsAcceptor, CertificatePin)>,
    served: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Clone, Default)]
struct Session {
    logged_in: bool,
    token: String,
}

impl Simulator {
    /// Writes missing services into the folder, makes a certificate, listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(mut options: Options) -> Result<Self, StartError> {
        std::fs::create_dir_all(&options.dir)?;
        content::write_missing(&options.dir)?;
        let listener = match options.listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            sessions: Mutex::default(),
            requests: Mutex::default(),
            orders: Mutex::default(),
            tls: Mutex::new(certificate()?),
            served: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate it shows now.
    #[must_use]
    pub fn certificate_pin(&self) -> CertificatePin {
        lock(&self.shared.tls).1
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The most requests that were under way at the same time.
    #[must_use]
    pub fn most_parallel(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Orders a failure; earlier orders stay.
    pub fn set_fault(&self, order: Order) {
        lock(&self.shared.orders).push(order);
    }

    /// Takes all ordered failures back.
    pub fn clear_faults(&self) {
        lock(&self.shared.orders).clear();
    }

    /// From the next connection on it shows another certificate.
    ///
    /// # Errors
    /// [`StartError::Tls`].
    pub fn change_certificate(&self) -> Result<(), StartError> {
        *lock(&self.shared.tls) = certificate()?;
        Ok(())
    }

    /// Ends all sessions, as a restart of the box does.
    pub fn end_sessions(&self) {
        lock(&self.shared.sessions).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn certificate() -> Result<(TlsAcceptor, CertificatePin), StartError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .map_err(|_| StartError::Tls)?;
    let leaf: CertificateDer<'static> = made.cert.der().clone();
    let pin = CertificatePin::of(&leaf);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf], key))
        .map_err(|_| StartError::Tls)?;
    Ok((TlsAcceptor::from(Arc::new(config)), pin))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(stream, shared) => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let acceptor = lock(&shared.tls).0.clone();
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let shared = Arc::clone(&shared);
        async move { shared.serve(request.map(Body::new)).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection to the simulated Konnektor ended");
    }
}

impl Shared {
    /// Notes the request, waits the latency, then answers, or fails as ordered.
    async fn serve(&self, request: hyper::Request<Body>) -> Result<hyper::Response<Body>, faults::Dropped> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let _leave = Leave(&self.running);
        let nth = self.served.fetch_add(1, Ordering::SeqCst) + 1;
        let path = request.uri().path().to_owned();
        self.note(&request);
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        let due = faults::due(&mut lock(&self.orders), &path, nth);
        match due {
            Some(fault) => self.fail(fault, &path).await,
            None => Ok(self.answer(request).await),
        }
    }

    fn note(&self, request: &hyper::Request<Body>) {
        let noted = Request {
            time: self.options.clock.now(),
            method: request.method().to_string(),
            path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            session: self.session_of(request.headers()).is_some_and(|(_, session)| session.logged_in),
        };
        if self.options.log_file
            && let Ok(line) = serde_json::to_string(&noted)
        {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.options.dir.join("requests.log"));
            if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
                tracing::warn!(%error, "the simulated Konnektor cannot write requests.log");
            }
        }
        let mut requests = lock(&self.requests);
        if requests.len() < REMEMBERED {
            requests.push(noted);
        }
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
