//! The page's connections: bounded in number, time and bytes, each listener on its own, so that one cannot starve another.
//! Absent on purpose: what is answered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::attempts::source;
use super::guard::{Peer, Way};

/// The most connections of a listener; further ones wait in its queue.
const CONNECTIONS: usize = 96;
/// The most of one source; a further one is closed. A browser opens six, and keeps one more for what is new.
const CONNECTIONS_OF_ONE: usize = 24;
/// For the TLS handshake, and for each request's head; also how long a kept connection may be idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// For a whole connection: who reads an answer a byte a minute does not keep its place for long.
const CONNECTION_DEADLINE: Duration = Duration::from_mins(5);
/// The most bytes of a request's head.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long what runs may take to end.
const LEAVE: Duration = Duration::from_secs(2);
/// The first byte of a TLS connection: a handshake's record (RFC 8446 §5.1). No request of HTTP begins with it.
const HANDSHAKE: u8 = 22;

/// One address that the page is served at.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    way: Way,
}

impl Listener {
    /// Plain HTTP, as on loopback.
    pub fn plain(socket: TcpListener) -> Self {
        Self { socket, tls: None, way: Way::Plain }
    }

    /// Plain HTTP for the operator's own proxy, which speaks TLS to browsers.
    pub fn proxied(socket: TcpListener) -> Self {
        Self { socket, tls: None, way: Way::Proxied }
    }

    /// HTTPS; the cookie is Secure then. The configuration's ALPN should say `http/1.1` or nothing.
    pub fn tls(socket: TcpListener, config: Arc<rustls::ServerConfig>) -> Self {
        Self { socket, tls: Some(TlsAcceptor::from(config)), way: Way::Tls }
    }

    /// HTTPS with a certificate that browsers take without a question: they are told to take no other (RFC 6797).
    pub fn strict_tls(socket: TcpListener, config: Arc<rustls::ServerConfig>) -> Self {
        Self { way: Way::StrictTls, ..Self::tls(socket, config) }
    }
}

/// How many connections each source has.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place; given back when dropped.
struct Place {
    sources: Sources,
    source: IpAddr,
    _all: OwnedSemaphorePermit,
}

impl Sources {
    fn enter(&self, from: IpAddr, all: OwnedSemaphorePermit) -> Option<Place> {
        let source = source(from);
        let mut there = self.lock();
        let count = there.entry(source).or_default();
        if *count >= CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Place { sources: self.clone(), source, _all: all })
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

/// Serves until `stop`, then gives what runs a moment.
pub(super) async fn serve(listener: Listener, router: Router, stop: CancellationToken) {
    let all = Arc::new(Semaphore::new(CONNECTIONS));
    let sources = Sources::default();
    let mut running = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &all)).await {
        while running.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer, permit)) => {
                if let Some(place) = sources.enter(peer.from.ip(), permit) {
                    let (router, tls, stop) = (router.clone(), listener.tls.clone(), stop.clone());
                    running.spawn(connection(router, stream, peer, tls, stop, place));
                } else {
                    tracing::debug!(from = %peer.from.ip(), "page: too many connections of one source");
                }
            }
            // Out of file descriptors, or the client is gone already: neither ends the service.
            Err(error) => {
                tracing::warn!(%error, "page: listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(LEAVE, async { while running.join_next().await.is_some() {} }).await.is_err() {
        running.shutdown().await;
    }
}

async fn accept(
    listener: &Listener,
    all: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(all).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, from) = listener.socket.accept().await?;
    let to = stream.local_addr()?;
    Ok((stream, Peer { from, to, way: listener.way }, permit))
}

async fn connection(
    router: Router,
    stream: TcpStream,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    place: Place,
) {
    let served = async {
        let Some(acceptor) = tls else { return requests(router, stream, peer, stop).await };
        match tokio::time::timeout(HEAD_DEADLINE, open(acceptor, stream)).await {
            Ok(Ok(Opened::Tls(stream))) => requests(router, *stream, peer, stop).await,
            Ok(Ok(Opened::Plain(stream))) => {
                requests(router, stream, Peer { way: Way::Astray, ..peer }, stop).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "page: handshake"),
            Err(_) => tracing::debug!("page: handshake too slow"),
        }
    };
    if tokio::time::timeout(CONNECTION_DEADLINE, served).await.is_err() {
        tracing::debug!("page: connection kept too long");
    }
    drop(place);
}

/// What came to a TLS listener.
enum Opened {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// A browser to which somebody typed the address without its `https://` speaks plain HTTP, and is answered in it.
async fn open(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<Opened> {
    let mut first = [HANDSHAKE];
    stream.peek(&mut first).await?;
    if first == [HANDSHAKE] {
        Ok(Opened::Tls(Box::new(acceptor.accept(stream).await?)))
    } else {
        Ok(Opened::Plain(stream))
    }
}

async fn requests(
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    stop: CancellationToken,
) {
    let service = hyper_util::service::TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let answer = hyper::service::Service::call(&service, request);
        async move { answer.await.map_err(|never: Infallible| never) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD_LIMIT);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "page: connection");
    }
}
