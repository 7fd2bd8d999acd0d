//! The customer's switch: closed, open until a time, and for whom. Two steps, always theirs: open, then name somebody.
//! Absent on purpose: files and sockets. What is written down before a change counts is `site::hall`'s.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use ssh_key::PrivateKey;
use tokio::sync::watch;

use super::desk::NotDone;
use super::time::{End, Moment, Time};
use crate::link::frames::{Refusal, Visitor};
use crate::link::lease::{EVERYTHING, Grant, Lease, SCHEDULE, SignedLease, Whose};
use crate::names::{SiteName, Username};

/// How long a lease lasts, at most.
const LEASE: Duration = Duration::from_secs(45);
/// What the standing order allows.
const NIGHTLY: [&str; 2] = ["konnektor backup", "konnektor status"];
/// How many can be named at once; a lease holds [`crate::link::lease::MOST`] and the standing order.
const MOST_NAMED: usize = 60;
/// Of those who were shown out while their firm stays named.
const MOST_BARRED: usize = 1000;
/// For how long the standing order is said to hold, each time.
const STANDING: u32 = 86_400;

/// What outlives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Nightly backups run, nothing else.
    pub backup_only: bool,
    /// It opens by itself after a restart, and names nobody.
    pub when_possible: bool,
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Opens it.
    Open(Duration),
    /// Opens it to local midnight.
    OpenToday,
    /// Names somebody, until the switch's end or for that long.
    Allow(Whose, Option<Duration>),
    /// Names them no more, and nobody of them.
    Withdraw(Whose),
    /// This person alone comes no more, whatever their firm may.
    ShowOut(Username),
    /// The standing order.
    Stand(Standing),
}

/// A change that can be done, not done yet.
#[derive(Clone, Debug)]
pub struct Planned {
    change: Change,
    until: Option<End>,
    /// A close in between wins.
    closings: u64,
    /// Until when, for the record.
    pub shown: Option<Timestamp>,
}

/// What ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The switch.
    Closed,
    /// Somebody's turn.
    Named(Whose),
}

/// The switch. Whatever changes, [`Switch::changes`] tells.
pub struct Switch {
    site: SiteName,
    key: Arc<PrivateKey>,
    time: Time,
    zone: TimeZone,
    most: Duration,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

struct State {
    open: Option<End>,
    named: Vec<(Whose, End)>,
    barred: BTreeSet<Username>,
    standing: Standing,
    closings: u64,
    /// What ended last ended by itself.
    by_time: bool,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Until when it is open.
    pub until: Option<Timestamp>,
    /// Who may come, until when.
    pub named: Vec<(Whose, Timestamp)>,
    /// The standing orders.
    pub standing: Standing,
    /// The longest that it can be opened for.
    pub most: Duration,
}

impl Switch {
    /// Closed.
    pub fn new(
        site: SiteName,
        key: Arc<PrivateKey>,
        time: Time,
        zone: TimeZone,
        most: Duration,
        standing: Standing,
    ) -> Self {
        let state = State {
            open: None,
            named: Vec::new(),
            barred: BTreeSet::new(),
            standing,
            closings: 0,
            by_time: false,
        };
        Self { site, key, time, zone, most, state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Both clocks.
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// Counted up with each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Can this be done, and until when would it hold? Changes nothing.
    ///
    /// # Errors
    /// [`NotDone`]
    pub fn plan(&self, change: Change) -> Result<Planned, NotDone> {
        let (now, state) = (self.time.now(), self.state());
        let minutes = || NotDone::TooLong(u32::try_from(self.most.as_secs() / 60).unwrap_or(u32::MAX));
        let until = match &change {
            Change::Open(lasts) if lasts.is_zero() || *lasts > self.most => return Err(minutes()),
            Change::Open(lasts) => Some(End::after(now, *lasts)),
            Change::OpenToday => Some(End::after(now, self.to_midnight(now).min(self.most))),
            Change::Allow(Whose::Schedule, _) => return Err(NotDone::NoSuchName),
            Change::Allow(who, lasts) => {
                let open = state.open(now).ok_or(NotDone::Closed)?;
                let known = state.named.iter().find(|(named, _)| named == who);
                if known.is_none() && state.named.len() >= MOST_NAMED {
                    return Err(NotDone::Broken(format!("{MOST_NAMED}")));
                }
                let until = lasts.map_or(open, |lasts| open.earlier(End::after(now, lasts)));
                Some(known.map_or(until, |(_, end)| until.later(end.earlier(open))))
            }
            Change::Withdraw(who) => {
                let named = state.named.iter().any(|(named, _)| named == who);
                return if named {
                    Ok(Planned::without_end(change, state.closings))
                } else {
                    Err(NotDone::Gone)
                };
            }
            Change::ShowOut(_) | Change::Stand(_) => None,
        };
        let shown = until.map(|end| end.shown(now));
        Ok(Planned { change, until, closings: state.closings, shown })
    }

    fn to_midnight(&self, now: Moment) -> Duration {
        let today = now.wall.to_zoned(self.zone.clone());
        let midnight = today.checked_add(1.day()).and_then(|tomorrow| tomorrow.start_of_day());
        let left =
            midnight.ok().and_then(|m| Duration::try_from(m.timestamp().duration_since(now.wall)).ok());
        left.unwrap_or_default()
    }

    /// Does what was planned. A close since then wins over what would open.
    ///
    /// # Errors
    /// [`NotDone::Closed`]
    pub fn apply(&self, planned: Planned) -> Result<(), NotDone> {
        let mut state = self.state();
        let shut = state.closings != planned.closings;
        match (planned.change, planned.until) {
            (Change::Open(_) | Change::OpenToday, until) => {
                if shut {
                    return Err(NotDone::Closed);
                }
                state.open = until;
                if let Some(until) = until {
                    state.named.iter_mut().for_each(|(_, end)| *end = end.earlier(until));
                }
            }
            (Change::Allow(who, _), until) => {
                let open = state.open(self.time.now());
                let (Some(until), Some(open), false) = (until, open, shut) else {
                    return Err(NotDone::Closed);
                };
                state.barred.retain(|user| !who.is(user));
                state.named.retain(|(named, _)| *named != who);
                state.named.push((who, until.earlier(open)));
            }
            (Change::Withdraw(who), _) => state.withdraw(&who),
            (Change::ShowOut(user), _) => {
                state.named.retain(|(named, _)| *named != Whose::User(user.clone()));
                if state.named.iter().any(|(named, _)| named.is(&user)) {
                    if state.barred.len() >= MOST_BARRED {
                        state.named.retain(|(named, _)| !named.is(&user));
                    } else {
                        state.barred.insert(user);
                    }
                }
            }
            (Change::Stand(standing), _) => state.standing = standing,
        }
        drop(state);
        self.tell();
        Ok(())
    }

    /// Closes it, at once and whatever else is under way. Was it open?
    pub fn close(&self) -> bool {
        let was = {
            let mut state = self.state();
            let was = state.open(self.time.now()).is_some();
            state.close();
            state.by_time = false;
            was
        };
        self.tell();
        was
    }

    /// Takes a name back at once. Was it there?
    pub fn withdraw(&self, who: &Whose) -> bool {
        let was = {
            let mut state = self.state();
            let was = state.named.iter().any(|(named, _)| named == who);
            state.withdraw(who);
            was
        };
        self.tell();
        was
    }

    /// What has ended by itself since the last time; asked often.
    pub fn tick(&self) -> Vec<Ended> {
        let (now, mut state) = (self.time.now(), self.state());
        let mut ended = Vec::new();
        if state.open.is_some() && state.open(now).is_none() {
            state.close();
            ended.push(Ended::Closed);
        } else {
            let over = state.named.extract_if(.., |(_, end)| end.left(now).is_zero());
            ended.extend(over.map(|(who, _)| Ended::Named(who)));
        }
        state.by_time |= !ended.is_empty();
        drop(state);
        if !ended.is_empty() {
            self.tell();
        }
        ended
    }

    /// May they come, right now?
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admits(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let (now, state) = (self.time.now(), self.state());
        if visitor.user == SCHEDULE {
            if !state.standing.backup_only {
                return Err(Refusal::SwitchClosed);
            }
            return if NIGHTLY.contains(&visitor.family.as_str()) { Ok(()) } else { Err(Refusal::NotNamed) };
        }
        let user: Username = visitor.user.parse().map_err(|_| Refusal::NotUnderstood)?;
        if state.open(now).is_none() {
            return Err(Refusal::SwitchClosed);
        }
        let named = state.named.iter().any(|(who, end)| who.is(&user) && !end.left(now).is_zero());
        if named && !state.barred.contains(&user) { Ok(()) } else { Err(Refusal::NotNamed) }
    }

    /// Did what ended last end by itself?
    pub fn ended_by_time(&self) -> bool {
        self.state().by_time
    }

    /// Is there anything that a gateway could be needed for?
    pub fn wants_link(&self) -> bool {
        let (now, state) = (self.time.now(), self.state());
        state.standing.backup_only || state.open(now).is_some()
    }

    /// Is it open?
    pub fn is_open(&self) -> bool {
        self.state().open(self.time.now()).is_some()
    }

    /// The standing orders.
    pub fn standing(&self) -> Standing {
        self.state().standing
    }

    /// How it stands, for people.
    pub fn seen(&self) -> Seen {
        let (now, state) = (self.time.now(), self.state());
        let open = state.open(now);
        let named = state.named.iter().filter(|(_, end)| open.is_some() && !end.left(now).is_zero());
        Seen {
            until: open.map(|end| end.shown(now)),
            named: named.map(|(who, end)| (who.clone(), end.shown(now))).collect(),
            standing: state.standing,
            most: self.most,
        }
    }

    /// What is allowed now, signed for the gateway of that fingerprint and the nonce that it sent.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn lease(&self, nonce: String, gateway: &str) -> Result<SignedLease, ssh_key::Error> {
        let lease = {
            let (now, state) = (self.time.now(), self.state());
            let seconds = |left: Duration| u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
            let mut grants = Vec::new();
            if let Some(open) = state.open(now) {
                for (who, end) in &state.named {
                    let seconds = seconds(end.earlier(open).left(now));
                    if seconds > 0 {
                        let may = BTreeSet::from([EVERYTHING.to_owned()]);
                        grants.push(Grant { who: who.to_string(), may, seconds });
                    }
                }
            }
            if state.standing.backup_only {
                let may = NIGHTLY.map(ToOwned::to_owned).into();
                grants.push(Grant { who: SCHEDULE.into(), may, seconds: STANDING });
            }
            let (site, gateway) = (self.site.to_string(), gateway.to_owned());
            Lease { site, gateway, nonce, seconds: seconds(LEASE), grants }
        };
        lease.sign(&self.key)
    }
}

impl Planned {
    fn without_end(change: Change, closings: u64) -> Self {
        Self { change, until: None, closings, shown: None }
    }
}

impl State {
    fn open(&self, now: Moment) -> Option<End> {
        self.open.filter(|end| !end.left(now).is_zero())
    }

    fn close(&mut self) {
        self.open = None;
        self.named.clear();
        self.barred.clear();
        self.closings += 1;
    }

    /// A firm that comes no more takes its people along.
    fn withdraw(&mut self, who: &Whose) {
        self.by_time = false;
        self.named.retain(|(named, _)| match named {
            Whose::User(user) => !who.is(user),
            Whose::Firm(_) | Whose::Schedule => named != who,
        });
    }
}
