//! Who asks to be let in, over which link. Absent on purpose: the answer; that is the customer's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::desk;
use super::time::{End, Time};
use crate::link::frames::Asked;
use crate::names::Username;

/// At once, of one gateway.
const MOST: usize = 16;
/// Nobody waits longer.
const LONGEST: Duration = Duration::from_hours(1);
/// Of the reason.
const WHY: usize = 1 << 10;
/// Reasons that are remembered for a visit, by person.
const REASONS: usize = 200;

/// All asks.
#[derive(Default)]
struct State {
    /// By the gateway's number here, and its name of the ask.
    asks: BTreeMap<(usize, String), (desk::Ask, End)>,
    why: BTreeMap<String, (String, End)>,
}

/// Who asks.
pub struct Asks {
    time: Time,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Asks {
    /// Nobody asks.
    pub fn new(time: Time) -> Self {
        Self { time, state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counted up with each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Somebody asks. Is it kept? Not if the name is none, or too many ask.
    pub fn came(&self, gateway: usize, asked: Asked, firm: impl Fn(&str) -> String, most: Duration) -> bool {
        let Ok(user) = asked.user.parse::<Username>() else { return false };
        let now = self.time.now();
        let mut state = self.state();
        let of_it = state.asks.range((gateway, String::new())..(gateway + 1, String::new())).count();
        let key = (gateway, asked.id);
        let good = super::visits::is_session(&key.1);
        if !good || of_it >= MOST && !state.asks.contains_key(&key) {
            return false;
        }
        let why: String =
            super::visits::cut(&asked.why).chars().filter(|c| !c.is_control()).take(WHY).collect();
        let most = u32::try_from(most.as_secs() / 60).unwrap_or(u32::MAX);
        let until = End::after(now, LONGEST);
        if state.why.len() >= REASONS {
            state.why.retain(|_, (_, end)| !end.left(now).is_zero());
        }
        if state.why.len() < REASONS {
            let day = End::after(now, Duration::from_hours(24));
            state.why.insert(user.to_string(), (why.clone(), day));
        }
        let ask = desk::Ask {
            // Two gateways may give the same name.
            id: if gateway == 0 { key.1.clone() } else { format!("{gateway}.{}", key.1) },
            firm: firm(user.firm().as_str()),
            user: user.to_string(),
            why,
            minutes: asked.minutes.clamp(1, most),
            // Its own clock may be anything.
            at: now.wall,
        };
        state.asks.insert(key, (ask, until));
        drop(state);
        self.tell();
        true
    }

    /// They ask no more.
    pub fn gone(&self, gateway: usize, id: &str) {
        self.state().asks.remove(&(gateway, id.to_owned()));
        self.tell();
    }

    /// The link is gone, and they with it: a gateway that still has them asks again.
    pub fn lost(&self, gateway: usize) {
        self.state().asks.retain(|(of, _), _| *of != gateway);
        self.tell();
    }

    /// Who asks, oldest first.
    pub fn all(&self) -> Vec<desk::Ask> {
        let now = self.time.now();
        let mut state = self.state();
        state.asks.retain(|_, (_, end)| !end.left(now).is_zero());
        let mut all: Vec<desk::Ask> = state.asks.values().map(|(ask, _)| ask.clone()).collect();
        all.sort_by_key(|ask| ask.at);
        all
    }

    /// One, by its name at the desk: the gateway's number, its own name for it, and what it says.
    pub fn find(&self, id: &str) -> Option<(usize, String, desk::Ask)> {
        let state = self.state();
        let ((gateway, own), (ask, _)) = state.asks.iter().find(|(_, (ask, _))| ask.id == id)?;
        Some((*gateway, own.clone(), ask.clone()))
    }

    /// Why somebody came, in their own words.
    pub fn why(&self, user: &str) -> Option<String> {
        let now = self.time.now();
        self.state().why.get(user).filter(|(_, end)| !end.left(now).is_zero()).map(|(why, _)| why.clone())
    }
}
