//! What is known of each gateway's link, for the lights and for those who have something to say over it.
//! Absent on purpose: the link itself (`site::agent`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use tokio::sync::{mpsc, watch};

use super::config::Gateway;
use super::time::Moment;
use super::visits::Via;
use crate::link::frames::ToGateway;

/// Words that wait for the link's task.
pub const WAITING: usize = 64;

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody wants it.
    Resting,
    /// It is being tried for the first time.
    Trying,
    /// It is up.
    Up,
    /// Nobody was reached.
    Away {
        /// Where.
        address: String,
        /// Why, for those who know.
        cause: String,
        /// The gateway itself, or something in front of it, said no.
        answered: bool,
    },
    /// Somebody with another key.
    OtherKey {
        /// Its fingerprint.
        presented: String,
    },
    /// The gateway does not know our key.
    NotLetIn,
    /// It was up, or nearly, and ended.
    Broken {
        /// Why.
        cause: String,
    },
}

/// What is known of a link.
#[derive(Clone, Debug)]
pub struct Status {
    /// How it is.
    pub phase: Phase,
    /// The address that the gateway sees us at, as it said when it was last up.
    pub seen_from: Option<String>,
    /// What the gateway's clock said, and when.
    pub its_time: Option<(Timestamp, Moment)>,
    /// When it came up or went.
    pub since: Timestamp,
}

/// One gateway's.
pub struct Link {
    /// Whom it is with.
    pub gateway: Gateway,
    /// The same, for visits.
    pub via: Via,
    status: watch::Sender<Status>,
    out: Mutex<Option<mpsc::Sender<ToGateway>>>,
}

impl Status {
    /// How far our clock is ahead of the gateway's by now; minus: behind.
    pub fn ahead(&self, now: Moment) -> Option<SignedDuration> {
        let (its, then) = self.its_time?;
        let passed = SignedDuration::try_from(now.since_boot.saturating_sub(then.since_boot)).ok()?;
        Some(now.wall.duration_since(its) - passed)
    }
}

impl Link {
    /// Not tried yet.
    pub fn new(gateway: Gateway, now: Timestamp) -> Self {
        let fingerprint = gateway.fingerprint();
        let via = Via { title: format!("{} {fingerprint}", gateway.title()), fingerprint };
        let status = Status { phase: Phase::Trying, seen_from: None, its_time: None, since: now };
        Self { gateway, via, status: watch::Sender::new(status), out: Mutex::default() }
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// With each change.
    pub fn changes(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// It is like this now.
    pub fn is(&self, phase: Phase, now: Timestamp) {
        self.status.send_if_modified(|status| {
            let changed = status.phase != phase;
            if changed {
                (status.phase, status.since) = (phase, now);
            }
            changed
        });
    }

    /// What the gateway said first.
    pub fn greeted(&self, seen_from: String, its_time: Timestamp, now: Moment) {
        self.status.send_modify(|status| {
            (status.seen_from, status.its_time) = (Some(seen_from), Some((its_time, now)));
        });
    }

    /// Takes what is to be said from now on, or nothing any more.
    pub fn speaks(&self, out: Option<mpsc::Sender<ToGateway>>) {
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = out;
    }

    /// Says it, if the link is up and has room for it.
    pub fn say(&self, what: ToGateway) {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(out) = out
            && let Err(e) = out.try_send(what)
        {
            tracing::debug!("not said over the link: {e}");
        }
    }
}

/// How wrong a clock may be before its light is red.
pub const CLOCK: Duration = Duration::from_mins(1);
