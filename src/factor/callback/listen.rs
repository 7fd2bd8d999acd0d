//! The hub's listener: TLS or a proxy's plain HTTP, one request a connection, and bounds on everything.
//! Absent on purpose: who is right; a call of an open path goes to whoever opened it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::{Call, Callbacks, Heard, Reply};
use crate::secret::Secret;

/// The most bytes of a call's body.
const BODY_LIMIT: usize = 16 * 1024;
/// The most connections at once; further ones wait in the listener's queue.
const CONNECTIONS: usize = 128;
/// For the TLS handshake, for a request's head, and again for its body.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// The most connections of one source; a further one is closed. A reverse proxy is one source, and its requests are short.
const CONNECTIONS_OF_ONE: usize = 8;
/// For a whole connection, which carries one request: none is kept.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTls {
    /// The certificate's file.
    #[error("certificate: no usable certificate in the file")]
    Certificate,
    /// The key's file.
    #[error("key: no usable private key in the file")]
    Key,
    /// They do not belong together, or TLS could not be set up.
    #[error("certificate and key do not belong together")]
    Pair,
}

/// The hub's certificate and key, ready for use.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Takes the certificate with its chain, and its key, both as PEM.
    pub fn new(certificate: &str, key: &Secret) -> Result<Self, BadTls> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(BadTls::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|_| BadTls::Key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| BadTls::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| BadTls::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
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

pub(super) async fn serve(hub: Callbacks, listener: TcpListener, tls: Option<Tls>) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let sources = Sources::default();
    let mut running = tokio::task::JoinSet::new();
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
        while running.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Some(place) = sources.enter(from.ip()) {
                    running.spawn(connection(hub.clone(), stream, tls.clone(), (permit, place)));
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

async fn connection(
    hub: Callbacks,
    stream: TcpStream,
    tls: Option<Tls>,
    places: (OwnedSemaphorePermit, Place),
) {
    let served = async {
        let Some(Tls(acceptor)) = tls else { return requests(hub, stream).await };
        match tokio::time::timeout(READ_DEADLINE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => requests(hub, stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "callback handshake"),
            Err(_) => tracing::debug!("callback handshake too slow"),
        }
    };
    if tokio::time::timeout(CONNECTION_DEADLINE, served).await.is_err() {
        tracing::debug!("callback connection kept too long");
    }
    drop(places);
}

async fn requests(hub: Callbacks, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let hub = hub.clone();
        async move { Ok::<_, Infallible>(response(handle(&hub, request).await)) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(READ_DEADLINE)
        .max_buf_size(BODY_LIMIT)
        .keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "callback connection");
    }
}

/// One request. The body of a call that leads nowhere is not read.
async fn handle(hub: &Callbacks, request: Request<Incoming>) -> Reply {
    let gone = || Reply::bare(StatusCode::NOT_FOUND);
    let Some((tx, judge)) = hub.judge(request.uri().path()) else { return gone() };
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), BODY_LIMIT);
    let body = match tokio::time::timeout(READ_DEADLINE, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Reply::bare(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return Reply::bare(StatusCode::REQUEST_TIMEOUT),
    };
    match judge(&Call { method: &head.method, headers: &head.headers, body: &body }) {
        Heard::Nothing(reply) => reply,
        Heard::Answer(verdict, reply) if hub.settle(tx, verdict) => reply,
        Heard::Answer(..) => gone(),
    }
}

/// Nothing of it is kept, framed, sniffed or told on, whatever it is.
fn response(reply: Reply) -> Response<Body> {
    let html = !reply.html.is_empty();
    let mut response = Response::new(Body::from(reply.html));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&reply.policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if html {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock::Clock;

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
        let url = "https://gateway.example/".parse().unwrap();
        let callbacks = Callbacks::new(url, || 0, Clock::system());
        (address, tokio::spawn(callbacks.serve(listener, None)).abort_handle())
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
