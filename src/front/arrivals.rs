//! Who has just come: a load balancer's connection, a site's link, or a technician; each to its own queue.
//! Absent on purpose: reading anything but a PROXY header. First bytes are looked at and left where they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::algorithms::FIRST_LINE;
use super::{Front, limits, proxy};
use crate::uplink::{self, Arrival, First};

/// Connections from load balancers whose header is awaited at the same time.
const HEADERS: usize = 256;
/// Connections whose first bytes are awaited at the same time by somebody who has no place yet.
const SORTED: usize = 2048;
/// How long first bytes are awaited by somebody who has no place yet. Every client that we know of says its name at once, or waits
/// for ours.
const SORTING: Duration = Duration::from_millis(300);

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
        if let Ok(turn) = self.sorted.clone().try_acquire_owned() {
            return Some(Box::pin(front.sorted(stream, from, turn)));
        }
        let place = front.place(from)?;
        Some(Box::pin(front.unsaid(Arrival { stream, from, said: 0 }, place, Instant::now())))
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
        let begun = Instant::now();
        let first = uplink::first(&stream, SORTING).await;
        drop(turn);
        let arrival = Arrival { stream, from, said: 0 };
        match first {
            First::Link => Box::pin(self.uplinks.clone().connection(arrival)).await,
            First::Other => {
                let Some(place) = self.place(from) else { return };
                Box::pin(self.connection(arrival, place, begun)).await;
            }
            First::Unsaid => {
                let Some(place) = self.place(from) else { return };
                Box::pin(self.unsaid(arrival, place, begun)).await;
            }
        }
    }

    /// Somebody who is late, or waits for our name: a technician until they say otherwise, with a technician's place and grace.
    /// In a storm of links some are late, and none of these is to be served among technicians.
    async fn unsaid(self: Arc<Self>, mut arrival: Arrival, place: limits::Place, begun: Instant) {
        let grace = self.keeper.limits().kex_grace.saturating_sub(begun.elapsed());
        let asking = async {
            arrival.stream.write_all(FIRST_LINE).await?;
            arrival.said = FIRST_LINE.len();
            std::io::Result::Ok(uplink::first(&arrival.stream, grace).await)
        };
        let first = tokio::select! {
            first = tokio::time::timeout(grace, asking) => first,
            () = self.stop.cancelled() => return,
        };
        if let Ok(Ok(First::Link)) = first {
            drop(place);
            Box::pin(self.uplinks.clone().connection(arrival)).await;
        } else {
            Box::pin(self.connection(arrival, place, begun)).await;
        }
    }
}
