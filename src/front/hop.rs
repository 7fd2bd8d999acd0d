//! The direct-tcpip channels of one connection (RFC 4254 §7.2): each becomes a hop to a site's host, or a refusal.
//! Absent on purpose: deciding, and dialling what a client named.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure, ChannelWriteHalf, Disconnect};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Front;
use super::connection::Shared;
use crate::asks::{Ask, Hop, Relay};
use crate::config::{Inner, Language};
use crate::factor::Reach;
use crate::flow::{Backlog, Inbox};
use crate::gate::Refused;
use crate::hops::{Pipe, Sealed, Target, dial};
use crate::identity::Who;
use crate::identity::second_factor::NotConfirmed;
use crate::journal::started::{Outcome, Started};
use crate::live;
use crate::policy::Denied;
use crate::relay;
use crate::sentences;

/// Hops of one connection at once.
const AT_ONCE: usize = 256;
/// Hops of one connection in its life: russh keeps 3.3 KiB of each that we close first.
const OPENED: usize = 16_384;
/// Refused hops of one connection after which none is opened, nor written down, any more.
const WRITTEN: usize = 128;
/// Refused hops after which the connection is ended (R66).
const REFUSALS: usize = 1000;

/// All hops of a connection. Dropped with it, and all of them end.
pub struct Hops {
    front: Arc<Front>,
    shared: Arc<Shared>,
    open: Arc<AtomicUsize>,
    opened: usize,
    refused: Arc<AtomicUsize>,
    gone: CancellationToken,
    _end: DropGuard,
}

/// One of [`AT_ONCE`].
struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hops {
    /// None yet.
    pub fn new(front: Arc<Front>, shared: Arc<Shared>) -> Self {
        let gone = CancellationToken::new();
        Self {
            front,
            shared,
            open: Arc::default(),
            opened: 0,
            refused: Arc::default(),
            _end: gone.clone().drop_guard(),
            gone,
        }
    }

    /// A client wants to go on to `name:port`. Answers `reply` when it is decided, not before; waits for nothing.
    pub fn open(&mut self, channel: Channel<Msg>, who: Who, name: &str, port: u32, reply: ChannelOpenHandle) {
        self.opened += 1;
        let turn = Turn(self.open.clone());
        let too_many = self.open.fetch_add(1, Ordering::SeqCst) >= AT_ONCE || self.opened > OPENED;
        let refused = self.refused.load(Ordering::SeqCst);
        if too_many || refused >= WRITTEN {
            // Counted alone: a flood neither fills the journal nor learns anything by the time it takes.
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
            if self.refused.fetch_add(1, Ordering::SeqCst) == REFUSALS
                && self.shared.connection.ended.set("too-many-refusals")
            {
                self.shared.goodbye(Disconnect::ByApplication, "Too many refused hops.".to_owned());
            }
            // Dropped, the reply says no.
            return;
        }
        let backlog = Backlog::new(&self.shared.ledger);
        self.shared.windows.watch(channel.id(), &backlog);
        let (read, out) = channel.split();
        let hop = Opening {
            front: self.front.clone(),
            shared: self.shared.clone(),
            who,
            inbox: Inbox::new(read, backlog),
            out,
            gone: self.gone.clone(),
            refused: self.refused.clone(),
            as_asked: format!("direct-tcpip {name}:{port}").into_bytes(),
        };
        let target = self.front.hosts.find(name, port);
        // Not one of the connection's own tasks: its last line is written, though its client is gone.
        tokio::spawn(async move {
            if let Some(target) = target {
                Box::pin(hop.to(target, reply)).await;
            } else {
                let no = hop.front.no_such_host();
                hop.refuse(reply, "no-such-host", no).await;
            }
            drop(turn);
        });
    }
}

struct Opening {
    front: Arc<Front>,
    shared: Arc<Shared>,
    who: Who,
    inbox: Inbox,
    out: ChannelWriteHalf<Msg>,
    gone: CancellationToken,
    refused: Arc<AtomicUsize>,
    as_asked: Vec<u8>,
}

impl Opening {
    async fn refuse(&self, reply: ChannelOpenHandle, cause: &str, reason: ChannelOpenFailure) {
        self.refused.fetch_add(1, Ordering::SeqCst);
        if self.front.gate.refuse(&self.who, cause, &self.as_asked).await.is_err() {
            return reply.reject(self.front.cannot_journal_hop()).await;
        }
        reply.reject(reason).await;
    }

    /// The gate has said no, and written it down.
    async fn turn_away(&self, reply: ChannelOpenHandle, refused: &Refused) {
        self.refused.fetch_add(1, Ordering::SeqCst);
        reply.reject(self.front.refused_hop(refused)).await;
    }

    /// The phone is asked for this hop while its channel waits. There is no place to show a number: the phone names the host.
    async fn confirmed(&self, ask: &Hop) -> Result<Started<Hop>, ChannelOpenFailure> {
        let factor = self.front.factor.load_full();
        let words = ask.0.words();
        let asking = factor.confirm(&self.who, &words, ask.site(), factor.number(), Reach::NOTHING);
        let answered = tokio::select! {
            answered = asking.settled() => answered,
            // Whoever asked has gone: the phone stops ringing, and the next question need not wait.
            () = self.gone.cancelled() => Err(NotConfirmed::Broke("nobody is there any more")),
        };
        match answered {
            Ok(confirmation) => {
                let opened = self.front.gate.open(ask.clone(), &self.who, Some(&confirmation)).await;
                opened.map_err(|refused| self.front.refused_hop(&refused))
            }
            Err(why) => {
                if self.front.gate.refuse(&self.who, &why.to_string(), &self.as_asked).await.is_err() {
                    return Err(self.front.cannot_journal_hop());
                }
                if why == NotConfirmed::Fraud {
                    self.front.fraud(self.who.user(), self.who.key());
                }
                Err(prohibited(&sentences::not_confirmed(&why, self.front.language)))
            }
        }
    }

    async fn to(self, target: Target, reply: ChannelOpenHandle) {
        match target.host().map(|host| host.inner) {
            Some(Inner::Sealed) => Box::pin(self.sealed(&target, reply)).await,
            Some(Inner::Recorded) => self.recorded(target, reply).await,
            None => {
                let no = self.front.no_such_host();
                self.refuse(reply, "no-such-host", no).await;
            }
        }
    }

    async fn recorded(self, target: Target, reply: ChannelOpenHandle) {
        let ask = Relay::to(target.place(&self.as_asked));
        let started = match Box::pin(self.front.gate.open(ask.clone(), &self.who, None)).await {
            Ok(started) => Some(started),
            // The inner login asks for it; until then nothing is dialled.
            Err(Refused::Denied { why: Denied::NeedsConfirmation { .. }, .. }) => None,
            Err(refused) => return self.turn_away(reply, &refused).await,
        };
        reply.accept().await;
        let relays = self.front.relays.clone();
        let config = self.front.inner(&target);
        let Self { who, inbox, out, gone, shared, .. } = self;
        let numbers = shared.numbers.clone();
        relay::Inner { relays, config, who, target, ask, started, inbox, out, gone, numbers }.run().await;
    }

    async fn sealed(self, target: &Target, reply: ChannelOpenHandle) {
        let ask = Hop::to(target.place(&self.as_asked));
        let started = match Box::pin(self.front.gate.open(ask.clone(), &self.who, None)).await {
            Ok(started) => started,
            Err(Refused::Denied { why: Denied::NeedsConfirmation { .. }, .. }) => {
                match Box::pin(self.confirmed(&ask)).await {
                    Ok(started) => started,
                    Err(reason) => return reply.reject(reason).await,
                }
            }
            Err(refused) => return self.turn_away(reply, &refused).await,
        };
        let stream = match Box::pin(dial(&started, target)).await {
            Ok(stream) => stream,
            Err(away) => {
                let outcome = Outcome {
                    exit: crate::commands::exit::AWAY,
                    cause: Some(away.to_string()),
                    ..Outcome::default()
                };
                started.finish(outcome).await.ok();
                return reply.reject(self.front.away(target, &away.to_string())).await;
            }
        };
        reply.accept().await;
        let idle = self.front.keeper.limits().idle;
        let withdrawn = self.front.withdrawn_from(&ask, &self.who);
        let place = (target.site.clone(), target.name.clone());
        let session = self.who.connection().session;
        let present =
            self.front.relays.live.begin(session, place, live::Inner::Sealed, self.front.clock.now());
        let counted = present.counted().clone();
        let pipe = Pipe { inbox: self.inbox, out: self.out, host: stream, idle, counted, gone: self.gone };
        let withdrawn = async {
            withdrawn.await;
        };
        match pipe.run(started, withdrawn).await {
            Ok(Sealed::Closed | Sealed::ClientClosed) => {}
            Ok(ended) => tracing::info!(user = %self.who.user(), %ended, "a hop ended"),
            Err(e) => tracing::error!("the end of a hop could not be journalled: {e}"),
        }
        drop((self.shared, present));
    }
}

/// RFC 4254 §5.1: the code of "administratively prohibited", with a sentence that every client shows.
fn prohibited(sentence: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: 1, reason: crate::sentences::ascii(sentence) }
}

impl Front {
    /// The same words for a host that does not exist and for one that is not open to the person.
    fn no_such_host(&self) -> ChannelOpenFailure {
        prohibited(match self.language {
            Language::English => "No host of that name is open to you. What is: ssh GATEWAY sites",
            Language::German => "Kein Host dieses Namens steht Ihnen offen. Was offen ist: ssh GATEWAY sites",
        })
    }

    fn cannot_journal_hop(&self) -> ChannelOpenFailure {
        prohibited(sentences::cannot_journal(self.language))
    }

    fn refused_hop(&self, refused: &Refused) -> ChannelOpenFailure {
        match refused {
            Refused::CannotJournal(_) => self.cannot_journal_hop(),
            Refused::Denied { why: Denied::NoRule, .. } => self.no_such_host(),
            Refused::Denied { .. } | Refused::Unsettled(_) => {
                prohibited(&sentences::refused(refused, self.language))
            }
        }
    }

    fn away(&self, target: &Target, cause: &str) -> ChannelOpenFailure {
        let reason = match self.language {
            Language::English => format!("{} does not answer ({cause})", target.domain()),
            Language::German => format!("{} antwortet nicht ({cause})", target.domain()),
        };
        ChannelOpenFailure::Other { code: 2, reason: crate::sentences::ascii(&reason) }
    }

    /// How the inner server presents itself: as this host, by a certificate or the gateway's own key.
    fn inner(&self, target: &Target) -> Arc<russh::server::Config> {
        let identity = self.authorities.identity(&target.names(), self.clock.now());
        let certificate = identity.map(|identity| identity.certificate);
        if let Err(e) = &certificate {
            tracing::error!("no host certificate for {}: {e}", target.domain());
        }
        super::inner_configuration(self.authorities.host_key.clone(), certificate.ok())
    }

    /// Returns once the policy would not permit this any more; that is in the journal then.
    pub(super) async fn withdrawn_from<A: Ask>(&self, ask: &A, who: &Who) -> Refused {
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            if let Some(refused) = self.gate.withdrawn(ask, who).await {
                return refused;
            }
        }
    }
}
