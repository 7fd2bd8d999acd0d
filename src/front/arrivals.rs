//! Who has just come: a load balancer's connection, a site's link, or a technician; each to its own queue.
//! Absent on purpose: reading anything but a PROXY header. First bytes are looked at and left where they are.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Front, limits, proxy};
use crate::uplink;

/// Connections from load balancers whose header is awaited at the same time.
const HEADERS: usize = 256;
/// Connections whose first bytes are awaited at the same time, to tell a site's link; others are a technician's unseen.
const SORTED: usize = 2048;

/// What waits for its first bytes.
pub(super) struct Arrivals {
    headers: Arc<Semaphore>,
    sorted: Arc<Semaphore>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { headers: Arc::new(Semaphore::new(HEADERS)), sorted: Arc::new(Semaphore::new(SORTED)) }
    }
}

impl Arrivals {
    /// The whole life of a connection that was just accepted; `None`: turned away. Waits for nothing.
    pub(super) fn of(
        &self,
        front: &Arc<Front>,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Option<BoxFuture<'static, ()>> {
        let front = front.clone();
        if front.proxies.iter().any(|net| net.contains(&from.ip().to_canonical())) {
            let turn = self.headers.clone().try_acquire_owned().ok()?;
            return Some(Box::pin(front.behind_proxy(stream, from, turn)));
        }
        match self.sorted.clone().try_acquire_owned() {
            Ok(turn) => Some(Box::pin(front.sorted(stream, from, turn))),
            Err(_) => {
                let place = front.place(from)?;
                Some(Box::pin(front.connection(stream, from, place)))
            }
        }
    }
}

impl Front {
    fn place(&self, from: SocketAddr) -> Option<limits::Place> {
        match self.keeper.admit(from.ip()) {
            Ok(place) => Some(place),
            Err(turned) => {
                tracing::info!(%from, cause = turned.as_str(), "turned away");
                None
            }
        }
    }

    /// A connection from a listed load balancer: its header says who it is from, and nobody else's does (R61).
    async fn behind_proxy(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        turn: OwnedSemaphorePermit,
    ) {
        let header = tokio::time::timeout(self.keeper.limits().kex_grace, proxy::client(&mut stream)).await;
        match header {
            Ok(Ok(from)) => self.sorted(stream, from, turn).await,
            Ok(Err(why)) => tracing::info!(%peer, cause = %why, "turned away"),
            Err(_) => tracing::info!(%peer, cause = "proxy-header-too-slow", "turned away"),
        }
    }

    /// A site's link, or a technician: their first bytes say which, and come at once.
    async fn sorted(self: Arc<Self>, stream: TcpStream, from: SocketAddr, turn: OwnedSemaphorePermit) {
        let link = uplink::is_link(&stream).await;
        drop(turn);
        if link {
            Box::pin(self.uplinks.clone().connection(stream, from)).await;
        } else if let Some(place) = self.place(from) {
            Box::pin(self.connection(stream, from, place)).await;
        }
    }
}
