//! The outer door: accepts, lets people in by both factors, and answers every request of theirs.
//! Absent on purpose: deciding (`gate`), doing (`commands`), and any address to dial.

mod algorithms;
mod arrivals;
mod connection;
mod files;
mod handler;
mod hop;
mod limits;
mod login;
mod penalties;
mod proxy;
mod registry;
mod replies;
mod seat;
mod serve;
mod session;
mod talk;

pub use algorithms::{configuration, inner_configuration, link_configuration};
pub use files::Bounds;
pub use limits::{Doorkeeper, Penalty};
pub use registry::Registry;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use russh::{Disconnect, server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::authority::Authorities;
use crate::clock::Clock;
use crate::commands::{Out, Works, exit};
use crate::config::{Language, Person};
use crate::flow::{Ledger, Role, Windows, Wire};
use crate::gate::Gate;
use crate::hops::Hosts;
use crate::identity::keys::KeyBook;
use crate::identity::second_factor::SecondFactor;
use crate::identity::{Connection, Ended, Who};
use crate::journal::started::of;
use crate::journal::{Entry, Event, Journal};
use crate::names::{Fingerprint, SessionId, Username};
use crate::random::Random;
use crate::relay::Relays;
use crate::sentences;
use crate::sentences::ascii;
use crate::state::State;
use crate::uplink::{Arrival, Uplinks};
use arrivals::Arrivals;
use connection::{Phase, Shared, prepare};
use handler::Handler;
use limits::Offence;

/// What the door needs; built in `main`.
pub struct Front {
    /// Registered keys.
    pub keys: Arc<ArcSwap<KeyBook>>,
    /// What differs for one person.
    pub people: ArcSwap<BTreeMap<Username, Person>>,
    /// The second factor.
    pub factor: Arc<ArcSwap<SecondFactor>>,
    /// The inner door.
    pub gate: Arc<Gate>,
    /// What the commands work with.
    pub works: Arc<Works>,
    /// How much of files is in memory at once.
    pub files: Bounds,
    /// The hosts that can be hopped to.
    pub hosts: Arc<Hosts>,
    /// Recorded sessions at them.
    pub relays: Arc<Relays>,
    /// Who vouches for the hosts that inner sessions seem to be.
    pub authorities: Arc<Authorities>,
    /// The journal.
    pub journal: Journal,
    /// Places and penalties.
    pub keeper: Arc<Doorkeeper>,
    /// Who is in.
    pub registry: Registry,
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// For people whose client names no language.
    pub language: Language,
    /// Keeps penalties over a restart.
    pub state: State,
    /// How many refused logins of strangers are written down a second.
    pub strangers: Strangers,
    /// Panics so far.
    pub panics: AtomicU64,
    /// Cancelled when the gateway closes.
    pub stop: CancellationToken,
    /// Who can change what is refused here.
    pub contact: Option<String>,
    /// Peers whose PROXY header is demanded and believed.
    pub proxies: Vec<ipnet::IpNet>,
    /// What each new connection is served with; changes with the host certificate.
    pub ssh: ArcSwap<server::Config>,
    /// Sites' links.
    pub uplinks: Arc<Uplinks>,
}

/// Refused logins of strangers are written down, but no flood of them: 20 a second, 100 at once.
pub struct Strangers {
    limiter: DefaultDirectRateLimiter,
    unwritten: AtomicU64,
}

impl Default for Strangers {
    fn default() -> Self {
        let twenty = NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN);
        let hundred = NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::direct(Quota::per_second(twenty).allow_burst(hundred)),
            unwritten: AtomicU64::new(0),
        }
    }
}

impl Front {
    /// Accepts connections until `stop`; returns when the last one has ended, or ten seconds after.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let arrivals = Arrivals::default();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => break,
            };
            match accepted {
                // No client is waited for here (R4): what is not admitted is dropped at once.
                Ok((stream, from)) => {
                    if let Some(arrival) = arrivals.of(&self, stream, from) {
                        connections.spawn(arrival);
                    }
                }
                Err(e) => {
                    // EMFILE and its like pass; the door stays.
                    tracing::warn!("accept: {e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        self.registry.end(|_| Some(("shutdown", self.shutdown_text().to_owned())));
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(10), all).await.is_err() {
            tracing::warn!("connections were cut at the end");
        }
    }

    fn old_text(&self) -> &'static str {
        match self.language {
            Language::English => "This connection is as old as connections get here. Please connect again.",
            Language::German => "Diese Verbindung ist so alt, wie sie hier werden darf. Bitte neu verbinden.",
        }
    }

    /// Returns when the gateway closes and nobody is in on this connection.
    async fn closing(&self, shared: &Shared) {
        self.stop.cancelled().await;
        if shared.who.get().is_some() {
            std::future::pending::<()>().await;
        }
    }

    fn shutdown_text(&self) -> &'static str {
        match self.language {
            Language::English => "The gateway is going down.",
            Language::German => "Das Gateway wird angehalten.",
        }
    }

    /// One connection from its first byte to its last line in the journal.
    async fn connection(self: Arc<Self>, arrival: Arrival, place: limits::Place, begun: Instant) {
        let Arrival { stream, from, said } = arrival;
        if let Err(e) = prepare(&stream) {
            tracing::debug!(%from, "socket: {e}");
            return;
        }
        let now = self.clock.now();
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let session = SessionId::new(millis, self.random.draw());
        let connection = Connection { session, from, ended: Ended::default() };
        let ledger = Arc::new(Ledger::default());
        let (wire, line) = Wire::new(stream, Role::Server, ledger.clone());
        let wire = wire.said(said);
        let (phase, phases) = watch::channel(Phase::Exchange);
        let shared = Arc::new(Shared {
            line,
            connection,
            place,
            phase,
            handle: OnceLock::new(),
            who: OnceLock::new(),
            trail: Mutex::default(),
            unwritten: 0.into(),
            stop: CancellationToken::new(),
            ledger,
            windows: Windows::default(),
            numbers: Arc::default(),
        });
        let handler = Handler::new(self.clone(), shared.clone());
        let ran = tokio::select! {
            ran = self.clone().run(wire, handler, shared.clone()) => ran,
            phase = self.grace(phases, begun) => Err(if phase == Phase::In {
                // Told why, and given the time to hear it.
                shared.goodbye(Disconnect::ByApplication, ascii(self.old_text()));
                tokio::time::timeout(Duration::from_secs(1), shared.line.gone()).await.ok();
                shared.line.cut();
                End::Old
            } else {
                shared.line.cut();
                End::Grace
            }),
            // Who is in is told of the end by the registry; who is not has nothing to finish.
            () = self.closing(&shared) => {
                shared.line.cut();
                Ok(())
            }
        };
        if let Some(who) = shared.who.get() {
            self.registry.remove(who.connection().session);
            self.left(who, &shared, now, &ran).await;
        } else {
            self.never_in(&shared, &ran).await;
        }
    }

    /// russh's session, in russh's own task; a panic in it ends this connection and no other (R12).
    async fn run(self: Arc<Self>, wire: Wire, handler: Handler, shared: Arc<Shared>) -> Result<(), End> {
        let config = self.ssh.load_full();
        let running =
            server::run_stream(config, wire, handler).await.map_err(|e| End::Broken(e.to_string()))?;
        let handle = running.handle();
        shared.handle.set(handle.clone()).ok();
        let alive = self.keep_alive(handle, &shared);
        tokio::select! {
            ended = running => match ended {
                Ok(()) => Ok(()),
                Err(handler::Broken(russh::Error::Join(_))) => Err(End::Panic),
                Err(e) => Err(End::Broken(e.to_string())),
            },
            () = alive => {
                shared.line.cut();
                Err(End::Silent)
            }
        }
    }

    /// Returns when the phase has lasted too long; the first ones are counted from `begin`.
    async fn grace(&self, mut phases: watch::Receiver<Phase>, begin: Instant) -> Phase {
        let limits = self.keeper.limits();
        loop {
            let phase = *phases.borrow_and_update();
            let deadline = match phase {
                Phase::Exchange => begin + limits.kex_grace,
                Phase::Key => begin + limits.key_grace,
                Phase::Factor => tokio::time::Instant::now() + limits.factor_grace,
                Phase::In => tokio::time::Instant::now() + limits.connection_age,
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return phase,
                changed = phases.changed() => if changed.is_err() { std::future::pending::<()>().await },
            }
        }
    }

    /// Asks a silent client whether it lives: a global request that every client answers with a refusal (RFC 4254 §4).
    /// russh's own keepalive cannot wait for the login, and its handle has no ping; this one request it can send.
    async fn keep_alive(&self, handle: server::Handle, shared: &Shared) {
        let mut phases = shared.phase.subscribe();
        if phases.wait_for(|phase| *phase == Phase::In).await.is_err() {
            return std::future::pending().await;
        }
        let interval = self.keeper.limits().keepalive;
        let mut heard = shared.line.bytes_in();
        let mut unanswered = 0;
        loop {
            if unanswered == 0 {
                tokio::time::sleep(interval).await;
            } else {
                let ping = handle.cancel_forward_tcpip(String::new(), 0);
                tokio::time::timeout(interval, ping).await.ok();
            }
            let now = shared.line.bytes_in();
            if now != heard {
                heard = now;
                unanswered = 0;
                continue;
            }
            unanswered += 1;
            if unanswered > 4 {
                return;
            }
        }
    }

    /// Both factors are proven: the line in the journal, the places among those who are in.
    async fn enter(&self, who: &Who, shared: &Arc<Shared>) {
        // A journal that cannot be written lets nobody do anything, but it lets them in to be told so: exit code 254.
        if let Err(e) = self.journal.append(of(who, Event::Login)).await {
            tracing::error!("a login could not be journalled: {e}");
        }
        shared.who.set(who.clone()).ok();
        self.registry.add(who, shared);
    }

    /// The last line of somebody who was in.
    async fn left(&self, who: &Who, shared: &Shared, since: Timestamp, ran: &Result<(), End>) {
        if matches!(ran, Err(End::Panic)) {
            self.count_panic();
        }
        let took = self.clock.now().duration_since(since).as_millis();
        let mut cause = shared.connection.ended.cause().map(ToOwned::to_owned);
        cause = cause.or_else(|| ran.as_ref().err().map(ToString::to_string));
        let unwritten = shared.unwritten.load(Ordering::Relaxed);
        if unwritten > 0 {
            let counted = format!("{unwritten} more refusals were not written one by one");
            cause = Some(cause.map_or(counted.clone(), |cause| format!("{cause}; {counted}")));
        }
        let line = Entry {
            exit: Some(0),
            bytes_in: Some(shared.line.bytes_in()),
            bytes_out: Some(shared.line.bytes_out()),
            duration_ms: Some(u64::try_from(took).unwrap_or_default()),
            cause,
            ..of(who, Event::Finished)
        };
        if let Err(e) = self.journal.append(line).await {
            tracing::error!("the end of a connection could not be journalled: {e}");
        }
    }

    /// The one line, and the penalty, of a connection that never got in.
    async fn never_in(&self, shared: &Shared, ran: &Result<(), End>) {
        let (line, offence, key, verified) = {
            let mut trail = shared.trail.lock().unwrap_or_else(PoisonError::into_inner);
            let tried = trail.offence().map(|(offence, key)| (offence, key.cloned()));
            let (offence, key) = match (ran, tried) {
                (Err(End::Panic), _) => (Offence::Crash, None),
                (_, Some((offence, key))) => (offence, key),
                (Err(End::Grace), None) => (Offence::Grace, None),
                (_, None) => (Offence::NoTry, None),
            };
            (trail.last_line(&shared.connection), offence, key, trail.is_verified())
        };
        if offence == Offence::Crash {
            self.count_panic();
        }
        self.penalise(shared.place.source(), key.as_ref(), offence);
        let Some(mut line) = line else { return };
        if !verified && self.strangers.limiter.check().is_err() {
            self.strangers.unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unwritten = self.strangers.unwritten.swap(0, Ordering::Relaxed);
        if unwritten > 0 {
            line.cause =
                line.cause.map(|cause| format!("{cause}; {unwritten} refusals before it were not written"));
        }
        if let Err(e) = self.journal.append(line).await {
            tracing::error!("a refusal could not be journalled: {e}");
        }
    }

    fn count_panic(&self) {
        let so_far = self.panics.fetch_add(1, Ordering::SeqCst) + 1;
        tracing::error!(so_far, "a panic ended a connection");
    }

    /// A command's task panicked; its `finished` line is written by what it dropped.
    async fn panicked(&self, out: &Out) -> u32 {
        self.count_panic();
        let english = "Something in the gateway broke; this command was ended. Tell its operator the time.";
        let german = "Im Gateway ist etwas zerbrochen; dieser Befehl wurde beendet. Nennen Sie dem Betreiber die Uhrzeit.";
        told(out, out.pick(english, german), exit::FAILED).await
    }

    async fn cannot_journal(&self, out: &Out) -> u32 {
        told(out, sentences::cannot_journal(out.language), exit::CANNOT_JOURNAL).await
    }

    /// Ends what a removed or expired key has opened. Called when keys change, and every half second.
    pub fn recheck(&self) {
        self.uplinks.recheck();
        self.remember_locks();
        self.end_reported();
        let (keys, now) = (self.keys.load(), self.clock.now());
        self.works.jobs.end(|who| {
            let gone = keys.holds(who.user(), who.key(), who.source(), now).is_err();
            let over = || who.has_outlived_its_orders(now).then_some("order-ended");
            gone.then_some("key-removed").or_else(over)
        });
        self.works.orders.end_unless(|user, key, from| keys.holds(user, key, from, now).is_ok());
        self.registry.end(|who| {
            keys.holds(who.user(), who.key(), who.source(), now).err().map(|why| {
                let text = match self.language {
                    Language::English => "Your key is no longer valid here.",
                    Language::German => "Ihr Schlüssel gilt hier nicht mehr.",
                };
                let cause =
                    if why == crate::identity::keys::NoKey::Expired { "key-expired" } else { "key-removed" };
                (cause, text.to_owned())
            })
        });
        self.registry.end(|who| {
            let text = match self.language {
                Language::English => "The work order is over.",
                Language::German => "Der Arbeitsauftrag ist zu Ende.",
            };
            who.has_outlived_its_orders(now).then(|| ("order-ended", text.to_owned()))
        });
    }
}

/// How a connection ended, but by itself.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("connection-broken")]
    Broken(String),
    #[error("panic")]
    Panic,
    #[error("client-silent")]
    Silent,
    #[error("too-slow")]
    Grace,
    #[error("connection-too-old")]
    Old,
}

/// Says it and gives the code.
async fn told(out: &Out, sentence: impl AsRef<str>, code: u32) -> u32 {
    if out.say(sentence).await.is_err() {
        tracing::debug!("a sentence was not heard");
    }
    code
}

fn fingerprint(key: &ssh_key::PublicKey) -> Option<Fingerprint> {
    key.fingerprint(ssh_key::HashAlg::Sha256).to_string().parse().ok()
}
