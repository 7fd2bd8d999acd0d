//! Sites' outbound links, as the gateway has them: a site's machine proves itself, and from then on there is a way to that site.
//! Absent on purpose: dialling a site, deciding what may go over a link (`policy`, and the site itself), and people: a machine can
//! open its link and nothing else, and sees nothing of other sites.
//!
//! A link is told from a technician's connection by its first bytes ([`crate::link::IDENT`]), before any cryptography. That proves
//! nothing and opens nothing: it chooses the queue. Links have turns of their own for their handshakes, so that all sites coming
//! back at once wait for each other and never stand before a technician.

mod ask;
mod control;
mod door;
pub mod konnektor;
mod streams;
mod told;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use russh::server;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::flow::{Ledger, Role, Wire};
use crate::grants::Grants;
use crate::identity::keys::KeyBook;
use crate::journal::{CannotJournal, Entry, Event, Journal, Written};
use crate::link::frames::{Broken, Head, Refusal, Reply, ToSite};
use crate::link::{BadLine, HEAD, IDENT, MuxError, Opener, Stream, read_line, write_line};
use crate::names::{Fingerprint, SessionId, SiteName};
use crate::random::Random;

pub use ask::{Answered, Asking};
pub use streams::Streams;

/// What links are given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Links at once; whoever comes then is turned away.
    pub most: usize,
    /// Handshakes at once; the others wait for their turn.
    pub handshakes: usize,
    /// Handshakes of one source at once.
    pub per_source: usize,
    /// For key exchange, login and subsystem, from when its turn has come; and again for its hello.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { most: 20_000, handshakes: 128, per_source: 16, grace: Duration::from_secs(20) }
    }
}

/// How long a link waits for its turn.
const TURN: Duration = Duration::from_secs(20);
/// Lines of links that wait for the journal at once; a technician's line waits behind no more of them, when all links come or go.
const LINES: usize = 128;

/// Looks at the same keys between two that count.
const RECHECKS: u32 = 20;

/// Built from these.
pub struct Parts {
    /// Registered keys, `keys/sites` among them.
    pub keys: Arc<ArcSwap<KeyBook>>,
    /// Where consent goes.
    pub grants: Arc<Grants>,
    /// The journal.
    pub journal: Journal,
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Our host key's fingerprint: leases are for it alone.
    pub gateway: Fingerprint,
    /// How SSH is spoken on a link.
    pub ssh: Arc<server::Config>,
    /// Bounds.
    pub settings: Settings,
}

/// All links of this gateway.
pub struct Uplinks {
    parts: Parts,
    links: Mutex<BTreeMap<SiteName, Arc<Link>>>,
    sources: Mutex<HashMap<IpAddr, usize>>,
    places: Arc<Semaphore>,
    turns: Semaphore,
    lines: Semaphore,
    next: AtomicU64,
    asks: ask::Book,
    /// Refused logins and broken rules are written down, but no flood of them: 20 a second, 100 at once.
    written: DefaultDirectRateLimiter,
    unwritten: AtomicU64,
    /// How often keys were looked at, and which book it was last.
    checked: Mutex<(u32, usize)>,
    stop: CancellationToken,
}

/// A site's link.
pub struct Link {
    /// Whose.
    pub site: SiteName,
    /// Since when.
    pub since: Timestamp,
    /// Where from.
    pub from: SocketAddr,
    key: Fingerprint,
    number: u64,
    opener: Opener,
    /// Boxed: a queue has room for 32 of whatever it holds from its beginning.
    tell: mpsc::Sender<Box<ToSite>>,
    /// Cancelled when it has ended, or is to.
    gone: CancellationToken,
}

/// Why there is no way to a site.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// It has no link to this gateway now.
    #[error("no-link")]
    NoLink,
    /// The link carries as much as it can.
    #[error("link: {0}")]
    Mux(#[from] MuxError),
    /// The site says no.
    #[error("site-refused: {0}")]
    Refused(Refusal),
    /// It is allowed, and not there.
    #[error("site-away: {cause}")]
    Away {
        /// In the site's words.
        cause: String,
        /// What the site met at a Konnektor.
        error: Option<Broken>,
    },
    /// The site says what cannot be understood, or nothing in time.
    #[error("link: {0}")]
    Broken(#[from] BadLine),
    /// Nothing in time.
    #[error("link-timeout")]
    Slow,
}

/// One of the handshakes of a source.
struct Source<'a> {
    uplinks: &'a Uplinks,
    from: IpAddr,
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        let mut sources = self.uplinks.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = sources.get_mut(&self.from) {
            *mine -= 1;
            if *mine == 0 {
                sources.remove(&self.from);
            }
        }
    }
}

/// Whose first bytes these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A site's link.
    Link,
    /// Anybody else, or nobody any more.
    Other,
    /// It cannot be told yet.
    Unsaid,
}

/// A connection that was told from a technician's.
pub struct Arrival {
    /// The connection; what it said is still in it.
    pub stream: TcpStream,
    /// Where from.
    pub from: SocketAddr,
    /// Bytes of our own first line that it has been sent.
    pub said: usize,
}

/// Is this connection a site's link? Looks at its first bytes until `patience` is over, and leaves them there.
pub async fn first(stream: &TcpStream, patience: Duration) -> First {
    let mut first = [0; IDENT.len()];
    let looking = async {
        let mut seen = 0;
        loop {
            match stream.peek(&mut first).await {
                Ok(n) if n == first.len() && first == *IDENT.as_bytes() => return First::Link,
                Ok(n) if n > seen && IDENT.as_bytes().starts_with(first.get(..n).unwrap_or_default()) => {
                    seen = n;
                }
                // It began like one, and the rest is still to come.
                Ok(n) if n == seen && n > 0 => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(_) | Err(_) => return First::Other,
            }
        }
    };
    tokio::time::timeout(patience, looking).await.unwrap_or(First::Unsaid)
}

impl Uplinks {
    /// None yet.
    pub fn new(parts: Parts, stop: CancellationToken) -> Arc<Self> {
        let twenty = std::num::NonZeroU32::new(20).unwrap_or(std::num::NonZeroU32::MIN);
        let hundred = std::num::NonZeroU32::new(100).unwrap_or(std::num::NonZeroU32::MIN);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(parts.settings.most)),
            turns: Semaphore::new(parts.settings.handshakes),
            lines: Semaphore::new(LINES),
            parts,
            links: Mutex::default(),
            sources: Mutex::default(),
            next: 1.into(),
            asks: ask::Book::default(),
            written: RateLimiter::direct(Quota::per_second(twenty).allow_burst(hundred)),
            unwritten: 0.into(),
            checked: Mutex::default(),
            stop,
        })
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<SiteName, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The site's link, if it has one to this gateway.
    pub fn link(&self, site: &SiteName) -> Option<Arc<Link>> {
        self.links().get(site).cloned()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.links().len()
    }

    fn of_source(&self, from: IpAddr) -> Option<Source<'_>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = sources.entry(from).or_insert(0);
        if *mine >= self.parts.settings.per_source {
            return None;
        }
        *mine += 1;
        drop(sources);
        Some(Source { uplinks: self, from })
    }

    /// One link from its first byte to its last line in the journal.
    pub async fn connection(self: Arc<Self>, arrival: Arrival) {
        let Arrival { stream, from, said } = arrival;
        let Ok(_place) = self.places.clone().try_acquire_owned() else {
            tracing::info!(%from, cause = "too-many-links", "turned away");
            return;
        };
        if let Err(e) = prepare(&stream) {
            tracing::debug!(%from, "socket: {e}");
            return;
        }
        let Some(source) = self.of_source(from.ip().to_canonical()) else {
            tracing::info!(%from, cause = "too-many-links-of-source", "turned away");
            return;
        };
        let Ok(Ok(turn)) = tokio::time::timeout(TURN, self.turns.acquire()).await else {
            tracing::info!(%from, cause = "no-turn", "turned away");
            return;
        };
        let (wire, line) = Wire::new(stream, Role::Server, Arc::new(Ledger::default()));
        let wire = wire.said(said);
        let millis = u64::try_from(self.parts.clock.now().as_millisecond()).unwrap_or_default();
        let session = SessionId::new(millis, self.parts.random.draw());
        let (proven, proof) = tokio::sync::oneshot::channel();
        let handler = door::Door::new(self.clone(), (session, from), proven);
        let running = async {
            // Boxed, as all steps are: then russh's task has the session, and nothing of the handshake stays here.
            match Box::pin(server::run_stream(self.parts.ssh.clone(), wire, handler)).await {
                Ok(running) => running.await.map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            }
        };
        let grown = async {
            let proof = tokio::select! {
                proof = tokio::time::timeout(self.parts.settings.grace, proof) => proof,
                () = self.stop.cancelled() => return,
            };
            // From here on it is no handshake any more.
            drop((turn, source));
            if let Ok(Ok(proof)) = proof {
                Box::pin(self.clone().linked(proof, (session, from))).await;
            }
        };
        let mut grown = std::pin::pin!(grown);
        tokio::select! {
            ended = running => {
                if let Err(e) = ended {
                    tracing::debug!(%from, "link: {e}");
                }
                // It hears of the end by its streams, and writes the last line.
                grown.await;
            }
            () = &mut grown => {}
        }
        line.cut();
    }

    /// Opens a stream to the site for what `head` says, and hears its answer.
    ///
    /// # Errors
    /// [`NoWay`]; nothing is open then.
    pub async fn open(&self, site: &SiteName, head: &Head) -> Result<(Stream, Reply), NoWay> {
        let link = self.link(site).ok_or(NoWay::NoLink)?;
        let opening = async {
            let mut stream = link.opener.open().await?;
            write_line(&mut stream, head).await?;
            let reply: Reply = read_line(&mut stream).await?;
            match reply {
                open @ Reply::Open { .. } => Ok((stream, open)),
                Reply::Refused { cause } => Err(NoWay::Refused(cause)),
                Reply::Away { cause, error } => Err(NoWay::Away { cause: sane(&cause), error }),
            }
        };
        tokio::select! {
            opened = tokio::time::timeout(HEAD, opening) => opened.map_err(|_| NoWay::Slow)?,
            () = link.gone.cancelled() => Err(NoWay::NoLink),
        }
    }

    /// Ends the links of machines whose key is no longer registered: at once when the keys changed, and now and then, as keys expire.
    pub fn recheck(&self) {
        let (keys, now) = (self.parts.keys.load(), self.parts.clock.now());
        {
            let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            let book = Arc::as_ptr(&keys).addr();
            checked.0 = (checked.0 + 1) % RECHECKS;
            if checked.0 != 0 && checked.1 == book {
                return;
            }
            checked.1 = book;
        }
        let links: Vec<_> = self.links().values().cloned().collect();
        for link in links {
            if keys.holds_machine(&link.site, &link.key, link.from.ip(), now).is_err() {
                link.gone.cancel();
            }
        }
    }

    /// A line about a link, in its turn.
    async fn append(&self, line: Entry) -> Result<Written, CannotJournal> {
        // Never closed: without a turn it is written all the same.
        let _turn = self.lines.acquire().await.ok();
        self.parts.journal.append(line).await
    }

    /// Writes down what a machine did that none should, as long as there is no flood of it.
    async fn refused(&self, line: Entry) {
        if self.written.check().is_ok() {
            let before = self.unwritten.swap(0, Ordering::Relaxed);
            if before > 0 {
                tracing::warn!(before, "refusals of links have no line of their own");
            }
            let line = Entry { event: Event::Refused, ..line };
            if self.append(line).await.is_err() {
                tracing::error!("a refused link could not be journalled");
            }
        } else {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Link {
    /// Returns when it has ended.
    pub async fn ended(&self) {
        self.gone.cancelled().await;
    }

    /// Has it?
    pub fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }
}

/// What a site says goes into the journal and before people: short, and without control characters.
fn sane(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    crate::prompt::printable(&short).chars().take(400).collect()
}

/// As towards the technician: no Nagle, dead peers found by TCP.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_mins(1))?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, 40_000)?;
    Ok(())
}
