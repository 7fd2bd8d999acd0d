//! [`Started<Relay>`] → the inner SSH session, ended here, recorded, and opened again to the site's host.
//!
//! `ssh -J gateway firm-jane.doe@backup.praxis.example`: on the direct-tcpip channel that the client opened for its inner
//! session, the gateway is that session's server. It lets in the same person with the same key and nobody else, logs in to the
//! host with a credential of its own, and passes on what both say, channel by channel, each with its line in the journal.
//!
//! Absent on purpose: deciding (`gate`), and any address but those of `policy/sites`.

mod channel;
mod client;
mod connect;
mod door;
mod forward;
mod pool;
mod pump;
mod scribe;
mod target;
mod wish;

pub use connect::Connect;
pub use target::{Certifies, HostKeys, Login, NotKept};

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use russh::server::{self, Msg};
use russh::{ChannelWriteHalf, Disconnect};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::asks::{Act, Ask, Deed, Relay};
use crate::clock::Clock;
use crate::config::Language;
use crate::flow::{Inbox, Ledger, Tunnel, Windows};
use crate::gate::{Gate, Refused};
use crate::hops::{Hosts, Target};
use crate::identity::Who;
use crate::identity::keys::KeyBook;
use crate::identity::second_factor::{Confirmation, SecondFactor};
use crate::journal::Journal;
use crate::journal::started::{Outcome, Started};
use crate::live::{self, Live};
use crate::recording::Recordings;
use door::Door;
use pool::Pool;

/// From the channel's opening to an inner login, the phone's answer included.
const GRACE: Duration = Duration::from_mins(2);
/// For the last words.
const PARTING: Duration = Duration::from_secs(2);

/// What relays work with.
pub struct Relays {
    /// The inner door.
    pub gate: Arc<Gate>,
    /// For lines that were typed and files that were moved.
    pub journal: Journal,
    /// Registered keys.
    pub keys: Arc<ArcSwap<KeyBook>>,
    /// The second factor, for rules that want one for each session.
    pub factor: Arc<ArcSwap<SecondFactor>>,
    /// The time.
    pub clock: Clock,
    /// How the gateway logs in at hosts.
    pub login: Login,
    /// Where recordings go.
    pub recordings: Recordings,
    /// What runs.
    pub live: Arc<Live>,
    /// The hosts as the files say now.
    pub hosts: Arc<Hosts>,
    /// For people whose client names no language.
    pub language: Language,
    /// A session in which nothing comes or goes for so long ends.
    pub idle: Duration,
}

/// A channel on which an inner session is to begin.
pub struct Inner {
    /// The relays' parts.
    pub relays: Arc<Relays>,
    /// How the inner server presents itself.
    pub config: Arc<server::Config>,
    /// Who opened the channel.
    pub who: Who,
    /// Where to.
    pub target: Target,
    /// What was asked for.
    pub ask: Relay,
    /// There already, unless the rule wants the phone asked first.
    pub started: Option<Started<Relay>>,
    /// What comes from the client.
    pub inbox: Inbox,
    /// What goes to it.
    pub out: ChannelWriteHalf<Msg>,
    /// Cancelled when the outer connection has ended.
    pub gone: CancellationToken,
    /// The number of the outer connection's next relayed channel.
    pub numbers: Arc<AtomicU32>,
}

/// How far an inner session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Login,
    In,
}

/// An inner session, as its handler and its channels see it.
struct Session {
    relays: Arc<Relays>,
    who: Who,
    target: Target,
    ask: Relay,
    /// Taken when it ends.
    started: Mutex<Option<Arc<Started<Relay>>>>,
    confirmation: OnceLock<Confirmation>,
    ledger: Arc<Ledger>,
    windows: Windows,
    handle: OnceLock<server::Handle>,
    phase: watch::Sender<Phase>,
    pool: Pool,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Why it ended, if not by its client.
    why: OnceLock<String>,
    /// Listed while it runs.
    present: live::Present,
    numbers: Arc<AtomicU32>,
}

impl Inner {
    /// Serves the inner session to its end, and writes its last line.
    pub async fn run(self) {
        let Inner { relays, config, who, target, ask, started, inbox, out, gone, numbers } = self;
        let session = Session::new(relays, who, target, ask, started, numbers);
        let phases = session.phase.subscribe();
        let tunnel = Tunnel::new(inbox, &out, session.ledger.clone());
        tokio::select! {
            () = session.clone().serve(config, tunnel) => {}
            () = late(phases) => session.ends("inner-login-too-slow"),
            () = gone.cancelled() => session.ends("client-gone"),
            refused = session.withdrawn() => Box::pin(session.withdraw(&refused)).await,
        }
        session.end().await;
        // It waits behind other channels' data at most; the client may be gone.
        tokio::time::timeout(PARTING, out.close()).await.ok();
        Box::pin(session.finish()).await;
    }
}

/// Returns if nobody is in after [`GRACE`].
async fn late(mut phases: watch::Receiver<Phase>) {
    if tokio::time::timeout(GRACE, phases.wait_for(|phase| *phase == Phase::In)).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

impl Session {
    fn new(
        relays: Arc<Relays>,
        who: Who,
        target: Target,
        ask: Relay,
        started: Option<Started<Relay>>,
        numbers: Arc<AtomicU32>,
    ) -> Arc<Self> {
        let place = (target.site.clone(), target.name.clone());
        let (outer, now) = (who.connection().session, relays.clock.now());
        let present = relays.live.begin(outer, place, live::Inner::Recorded, now);
        Arc::new(Self {
            relays,
            who,
            target,
            ask,
            started: Mutex::new(started.map(Arc::new)),
            confirmation: OnceLock::new(),
            ledger: Arc::default(),
            windows: Windows::default(),
            handle: OnceLock::new(),
            phase: watch::Sender::new(Phase::Login),
            pool: Pool::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            why: OnceLock::new(),
            present,
            numbers,
        })
    }

    /// Ends its channels, each with its last line, and its connections.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(PARTING, self.tasks.wait()).await.is_err() {
            tracing::warn!("channels of an inner session were cut at its end");
        }
        self.pool.empty();
    }

    /// The same, and its own last line.
    async fn close(&self) {
        self.end().await;
        self.finish().await;
    }

    async fn serve(self: Arc<Self>, config: Arc<server::Config>, tunnel: Tunnel) {
        let running = match Box::pin(server::run_stream(config, tunnel, Door::new(self.clone()))).await {
            Ok(running) => running,
            Err(e) => return tracing::debug!("inner session: {e}"),
        };
        self.handle.set(running.handle()).ok();
        match running.await {
            Ok(()) => {}
            Err(door::Broken(russh::Error::Join(_))) => {
                tracing::error!("a panic ended an inner session");
                self.ends("panic");
            }
            Err(e) => tracing::debug!("inner session: {e}"),
        }
    }

    /// Ends it; the first reason stays.
    fn ends(&self, why: &str) {
        self.why.set(why.to_owned()).ok();
    }

    fn started(&self) -> Option<Arc<Started<Relay>>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self, started: Started<Relay>) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(started));
    }

    /// The gate's word on one thing that is to be done in it.
    async fn open(&self, deed: Deed, as_asked: &[u8]) -> Result<Started<Act>, Refused> {
        let act = Act { relay: self.ask.clone(), deed, as_asked: as_asked.into() };
        let opened = self.relays.gate.open(act, &self.who, self.confirmation.get()).await;
        // Nobody is asked any more: so this is the answer, and on record.
        if let Err(Refused::Denied { why, .. }) = &opened
            && why.wants_a_confirmation()
        {
            let line = crate::journal::Entry {
                cause: Some(why.cause().to_owned()),
                command: Some(as_asked.to_vec()),
                ..self.line(crate::journal::Event::Refused)
            };
            self.relays.journal.append(line).await.map_err(Refused::CannotJournal)?;
        }
        opened
    }

    /// Returns once the policy would not permit this act any more, though the session may go on.
    async fn act_withdrawn(&self, act: &Act) {
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            if self.relays.gate.withdrawn(act, &self.who).await.is_some() {
                return;
            }
        }
    }

    /// Returns once the policy would not permit it any more; that is in the journal then.
    async fn withdrawn(&self) -> Refused {
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            if self.started().is_some()
                && let Some(refused) = self.relays.gate.withdrawn(&self.ask, &self.who).await
            {
                return refused;
            }
        }
    }

    /// Ends it because it is not permitted any more, and says so.
    async fn withdraw(&self, refused: &Refused) {
        self.ends("withdrawn");
        let sentence = crate::sentences::refused(refused, self.relays.language);
        self.goodbye(Disconnect::ByApplication, &sentence).await;
    }

    /// DISCONNECT with a reason, and the time to hear it.
    async fn goodbye(&self, reason: Disconnect, text: &str) {
        self.stop.cancel();
        if let Some(handle) = self.handle.get() {
            let text = crate::sentences::ascii(text);
            tokio::time::timeout(PARTING, handle.disconnect(reason, text, "en".into())).await.ok();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn finish(&self) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A channel's task that was cut may hold it still: then its own drop writes the line.
        let Some(started) = started.and_then(Arc::into_inner) else { return };
        let (bytes_in, bytes_out) = self.present.counted().read();
        let outcome = Outcome {
            exit: u32::from(self.why.get().is_some_and(|why| why != "client-gone")),
            bytes_in,
            bytes_out,
            cause: self.why.get().cloned(),
            ..Outcome::default()
        };
        if let Err(e) = started.finish(outcome).await {
            tracing::error!("the end of an inner session could not be journalled: {e}");
        }
    }

    /// What the journal and the person are told of an end that the operator wanted.
    fn by_operator(&self, why: &str) -> (String, String) {
        let sentence = self.pick("The operator has ended this: ", "Der Betreiber hat dies beendet: ");
        (format!("ended-by-operator: {why}"), format!("{sentence}{why}"))
    }

    /// In the language that the person reads here.
    fn pick<'t>(&self, english: &'t str, german: &'t str) -> &'t str {
        match self.relays.language {
            Language::English => english,
            Language::German => german,
        }
    }

    /// A line about this session that is no answer to an ask: what was typed, which file was moved.
    fn line(&self, event: crate::journal::Event) -> crate::journal::Entry {
        crate::journal::Entry {
            site: Some(self.target.site.clone()),
            target: self.ask.target(),
            ..crate::journal::started::of(&self.who, event)
        }
    }
}
