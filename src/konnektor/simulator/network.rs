//! Where a simulated box listens: TLS, connections, being away for a while, and another LAN address.
//! Absent on purpose: what is said over the connections; that is each make's.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Shared, StartError, lock};
use crate::konnektor::CertificatePin;

/// For the last answer of a connection that is to end.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// For a port that another program holds right now.
const PORT_FREE_WITHIN: Duration = Duration::from_secs(5);

/// What happens to the listener.
pub(super) enum Turn {
    /// Nobody listens for so long; connections end.
    Away(Duration),
    /// It listens there, and on the old address no more, after this time.
    Move(SocketAddr, Duration),
}

pub(super) struct Asked {
    turn: Turn,
    done: oneshot::Sender<()>,
}

/// A connection's own mark: its present answer may be sent to the end though all connections end.
#[derive(Default)]
pub(super) struct Own(AtomicBool);

impl Own {
    pub(super) fn finish(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// Returns when it has happened: from then on no new connection comes in the old way.
    pub(super) async fn turn(&self, turn: Turn) {
        let (done, happened) = oneshot::channel();
        if self.turns.send(Asked { turn, done }).await.is_ok() {
            // The listener is gone at the simulator's end only, and then nobody waits for the answer.
            drop(happened.await);
        }
    }
}

struct Open {
    listener: TcpListener,
    life: CancellationToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.life.cancel();
    }
}

/// Accepts until it is stopped.
pub(super) async fn listen(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut turns: mpsc::Receiver<Asked>,
    stop: CancellationToken,
) {
    let mut open = Some(Open { listener, life: stop.child_token() });
    let mut old: Option<(Open, Instant)> = None;
    let mut away: Option<(TcpSocket, Instant)> = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(Asked { turn, done }) = turns.recv() => {
                match turn {
                    Turn::Away(takes) => {
                        (open, old) = (None, None);
                        drop(away.take());
                        let address = *lock(&shared.address);
                        // Bound and not listening: connections are refused, and nobody else gets the port.
                        away = found(reserve(address).await).map(|socket| (socket, Instant::now() + takes));
                    }
                    Turn::Move(to, closes_after) => {
                        let moved = found(reserve(to).await.and_then(|socket| socket.listen(1024)));
                        *lock(&shared.address) = to;
                        let moved = moved.map(|listener| Open { listener, life: stop.child_token() });
                        let before = std::mem::replace(&mut open, moved);
                        old = before.filter(|_| !closes_after.is_zero()).map(|open| (open, Instant::now() + closes_after));
                    }
                }
                // Nobody waits where the asking connection itself was ended.
                done.send(()).ok();
            }
            () = until(away.as_ref().map(|(_, back)| *back)) => {
                if let Some((socket, _)) = away.take() {
                    open = found(socket.listen(1024)).map(|listener| Open { listener, life: stop.child_token() });
                }
            }
            () = until(old.as_ref().map(|(_, closes)| *closes)) => old = None,
            (stream, life) = accepted(open.as_ref()) => serve(stream, life, &shared),
            (stream, life) = accepted(old.as_ref().map(|(open, _)| open)) => serve(stream, life, &shared),
        }
    }
}

fn found<T>(socket: std::io::Result<T>) -> Option<T> {
    socket
        .inspect_err(|error| tracing::warn!(%error, "the simulated Konnektor is not reachable from now on"))
        .ok()
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn accepted(open: Option<&Open>) -> (TcpStream, CancellationToken) {
    let Some(open) = open else { return std::future::pending().await };
    loop {
        if let Ok((stream, _)) = open.listener.accept().await {
            return (stream, open.life.clone());
        }
    }
}

async fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let give_up = Instant::now() + PORT_FREE_WITHIN;
    loop {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        match socket.bind(address) {
            Ok(()) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn serve(stream: TcpStream, life: CancellationToken, shared: &Arc<Shared>) {
    tokio::spawn(connection(stream, life, Arc::clone(shared)));
}

async fn connection(stream: TcpStream, life: CancellationToken, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let acceptor = lock(&shared.tls).0.clone();
    let stream = tokio::select! {
        () = life.cancelled() => return,
        stream = acceptor.accept(stream) => stream,
    };
    let Ok(stream) = stream else { return };
    let own = Arc::new(Own::default());
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (shared, own) = (Arc::clone(&shared), Arc::clone(&own));
        async move { shared.serve(request.map(Body::new), &own).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = life.cancelled() => {
            if !own.0.load(Ordering::SeqCst) {
                return;
            }
            served.as_mut().graceful_shutdown();
            let Ok(ended) = tokio::time::timeout(LAST_ANSWER, served).await else { return };
            ended
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection to the simulated Konnektor ended");
    }
}

pub(super) fn certificate() -> Result<(TlsAcceptor, CertificatePin), StartError> {
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

/// The listener that was handed in, or any free port of 127.0.0.1.
pub(super) async fn first(listener: Option<TcpListener>) -> Result<TcpListener, Error> {
    match listener {
        Some(listener) => Ok(listener),
        None => TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await,
    }
}
