//! Who is in, and what they did: a visit begins with a session's first stream and ends when its streams are gone.
//! Absent on purpose: who may come (`site::switch`). What a gateway tells is text that nobody trusts, and bounded.

mod deeds;
pub mod shelf;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::desk::{self, Deed, DeedKind, Past, Presence};
use super::time::{Moment, Time};
use crate::link::frames::{Refusal, Visitor};

pub use deeds::cut;
pub use shelf::Shelf;

/// A visit is over when it has had no stream for so long.
const GONE: Duration = Duration::from_secs(3);
/// Deeds of one visit; the rest is counted.
const DEEDS: usize = 10_000;
/// Bytes of one visit's deeds and lines; beyond them they are counted.
const BYTES: usize = 8 << 20;
/// The same of all visits that are not on the shelf yet.
const ALL_BYTES: usize = 24 << 20;
/// Visits that are not on the shelf yet.
const MOST: usize = 64;
/// Lines that came before their session's first stream: number, bytes, age.
const EARLY: (usize, usize, Duration) = (500, 1 << 20, Duration::from_mins(1));
/// Sessions that were ended here and come no more.
const ENDED: usize = 1000;

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// They left.
    Left,
    /// The switch was closed, or they were named no more.
    Closed,
    /// It was ended here.
    Ended,
    /// The link is gone.
    LinkLost,
    /// Their time was over.
    Time,
}

impl Cause {
    /// The word of [`Past::ended`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Ended => "ended",
            Self::LinkLost => "link-lost",
            Self::Time => "time",
        }
    }
}

/// Which gateway a session is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Its key's fingerprint.
    pub fingerprint: String,
    /// Its address and fingerprint, for the report.
    pub title: String,
}

/// All visits of the site.
pub struct Visits {
    time: Time,
    shelf: Arc<Shelf>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// By the gateway's session.
    here: BTreeMap<String, Visit>,
    early: VecDeque<Early>,
    early_bytes: usize,
    ended: VecDeque<String>,
    held: usize,
    numbers: u64,
    /// Over, and about to be on the shelf; by name.
    leaving: BTreeMap<String, Visit>,
}

struct Early {
    at: Duration,
    session: String,
    from: String,
    line: String,
}

/// One visit that is not on the shelf yet.
struct Visit {
    name: String,
    via: Via,
    user: String,
    firm: String,
    why: Option<String>,
    since: Timestamp,
    streams: BTreeMap<u64, String>,
    /// Without a stream since then.
    empty: Option<Moment>,
    /// The last stream's end, and how it came.
    last: (Timestamp, Cause),
    over: Option<Moment>,
    stop: CancellationToken,
    deeds: Vec<Deed>,
    left_out: u64,
    lines: Vec<String>,
    bytes: usize,
    /// Since its draft was written.
    changed: bool,
}

/// A stream's place in its visit. Dropped, the stream is gone; the link, unless [`Seat::leave`] says otherwise.
pub struct Seat {
    visits: Arc<Visits>,
    session: String,
    number: u64,
    cause: Cause,
    /// Cancelled when the visit is ended here.
    pub stop: CancellationToken,
}

impl Seat {
    /// How the stream ended.
    pub fn leave(mut self, cause: Cause) {
        self.cause = cause;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.visits.left(&self.session, self.number, self.cause);
    }
}

/// What became of a stream's wish to be part of a visit.
pub struct Begun {
    /// Its place.
    pub seat: Seat,
    /// The visit's name, if it is a new one.
    pub new: Option<String>,
}

impl Visits {
    /// Nobody is here.
    pub fn new(time: Time, shelf: Arc<Shelf>) -> Self {
        Self { time, shelf, state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Counted up with each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A stream of a session; `at` is what it leads to, for people.
    ///
    /// # Errors
    /// [`Refusal::NotNamed`] after the visit was ended here, [`Refusal::NotUnderstood`] for a session of another person or
    /// gateway, [`Refusal::TooMany`].
    pub fn begin(
        self: &Arc<Self>,
        via: &Via,
        visitor: &Visitor,
        (firm, why): (String, Option<String>),
        at: String,
    ) -> Result<Begun, Refusal> {
        let now = self.time.now();
        let mut guard = self.state();
        let state = &mut *guard;
        let session = &visitor.session;
        if !is_session(session) {
            return Err(Refusal::NotUnderstood);
        }
        if state.ended.contains(session) {
            return Err(Refusal::NotNamed);
        }
        let mut new = None;
        if let Some(visit) = state.here.get(session) {
            if visit.via != *via || visit.user != visitor.user {
                return Err(Refusal::NotUnderstood);
            }
        } else {
            if state.here.len() + state.leaving.len() >= MOST {
                return Err(Refusal::TooMany);
            }
            let taken = |name: &str| state.leaving.contains_key(name) || self.shelf.holds(name);
            // Their session goes on after its report: another visit, with another.
            let mut names = (2..).map(|n| format!("{session}-{n}"));
            let name = if taken(session) { names.find(|name| !taken(name)) } else { None };
            let name = name.unwrap_or_else(|| session.clone());
            new = Some(name.clone());
            state.here.insert(session.clone(), Visit::new(name, via, &visitor.user, (firm, why), now));
            state.take_early(session, now);
        }
        state.numbers += 1;
        let number = state.numbers;
        let visit = state.here.get_mut(session).ok_or(Refusal::TooMany)?;
        visit.streams.insert(number, at);
        (visit.empty, visit.over) = (None, None);
        let stop = visit.stop.clone();
        if visitor.user == crate::link::lease::SCHEDULE {
            // A job has no session in the gateway's journal that would tell what it does.
            let deed = deeds::of_stream(now.wall, DeedKind::Command, &visitor.command);
            state.held += visit.add(deed, None, ALL_BYTES.saturating_sub(state.held));
        }
        drop(guard);
        self.tell();
        let seat =
            Seat { visits: Arc::clone(self), session: session.clone(), number, cause: Cause::LinkLost, stop };
        Ok(Begun { seat, new })
    }

    fn left(&self, session: &str, number: u64, cause: Cause) {
        let now = self.time.now();
        if let Some(visit) = self.state().here.get_mut(session) {
            visit.streams.remove(&number);
            if visit.streams.is_empty() {
                visit.empty = Some(now);
                let cause = if visit.stop.is_cancelled() { Cause::Ended } else { cause };
                (visit.last, visit.changed) = ((now.wall, cause), true);
            }
        }
        self.tell();
    }

    /// A stream of somebody who is in was refused here.
    pub fn refused(&self, visitor: &Visitor, at: &str, why: Refusal) {
        let now = self.time.now().wall;
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(visit) = state.here.get_mut(&visitor.session)
            && visit.user == visitor.user
        {
            let deed = deeds::of_stream(now, DeedKind::Refused, &format!("{at}: {why}"));
            state.held += visit.add(deed, None, ALL_BYTES.saturating_sub(state.held));
            drop(guard);
            self.tell();
        }
    }

    /// A line of that gateway's journal.
    pub fn told(&self, from: &str, line: String) {
        let Some(told) = deeds::Told::read(&line) else { return };
        let now = self.time.now();
        let mut guard = self.state();
        let state = &mut *guard;
        match state.here.get_mut(&told.session) {
            Some(visit) if visit.via.fingerprint == from => {
                let room = ALL_BYTES.saturating_sub(state.held);
                state.held += visit.told(&told, line, now.wall, room);
            }
            Some(_) => return,
            None => state.keep_early(Early {
                at: now.since_boot,
                session: told.session.clone(),
                from: from.to_owned(),
                line,
            }),
        }
        drop(guard);
        self.tell();
    }

    /// Ends a visit: its streams are cut, and its session comes no more. Who it was, and its session.
    pub fn end(&self, name: &str) -> Option<(String, String, Via)> {
        let mut state = self.state();
        let (session, visit) =
            state.here.iter().find(|(_, visit)| visit.name == name && visit.over.is_none())?;
        let found = (visit.user.clone(), session.clone(), visit.via.clone());
        visit.stop.cancel();
        if state.ended.len() >= ENDED {
            state.ended.pop_front();
        }
        state.ended.push_back(found.1.clone());
        drop(state);
        self.tell();
        Some(found)
    }

    /// The sessions in which `who` is right now.
    pub fn sessions(&self, is: impl Fn(&str) -> bool) -> Vec<(String, Via)> {
        let state = self.state();
        let here = state.here.iter().filter(|(_, visit)| visit.over.is_none() && is(&visit.user));
        here.map(|(session, visit)| (session.clone(), visit.via.clone())).collect()
    }

    /// Who is in.
    pub fn present(&self) -> Vec<Presence> {
        let state = self.state();
        let mut here: Vec<Presence> =
            state.here.values().filter(|visit| visit.over.is_none()).map(Visit::presence).collect();
        here.sort_by_key(|presence| presence.since);
        here
    }

    /// Visits that are over and not on the shelf yet, newest first.
    pub fn over(&self) -> Vec<Past> {
        let state = self.state();
        let all = state.here.values().chain(state.leaving.values());
        let mut over: Vec<Past> = all.filter(|v| v.over.is_some()).map(|visit| visit.past(false)).collect();
        over.sort_by_key(|past| std::cmp::Reverse(past.until));
        over
    }

    /// Ends visits whose streams are gone; gives those whose report is due, `after` that, until each is [`Visits::shelved`].
    pub fn tend(&self, after: Duration) -> Vec<desk::Visit> {
        let now = self.time.now();
        let since = |moment: Moment| now.since_boot.saturating_sub(moment.since_boot);
        let mut guard = self.state();
        let state = &mut *guard;
        let mut changed = false;
        for visit in state.here.values_mut() {
            let gone = visit.empty.is_some_and(|empty| visit.last.1 != Cause::Left || since(empty) >= GONE);
            if gone && visit.over.is_none() {
                visit.over = Some(now);
                changed = true;
            }
        }
        let due = state.here.extract_if(.., |_, v| v.over.is_some_and(|over| since(over) >= after));
        state.leaving.extend(due.map(|(_, visit)| (visit.name.clone(), visit)));
        let due = state.leaving.values().map(|visit| visit.report(self.shelf.of())).collect();
        let old = now.since_boot.saturating_sub(EARLY.2);
        while state.early.front().is_some_and(|early| early.at < old) {
            state.drop_early();
        }
        drop(guard);
        if changed {
            self.tell();
        }
        due
    }

    /// What is on the shelf is here no more.
    pub fn shelved(&self, name: &str) {
        let mut state = self.state();
        if let Some(visit) = state.leaving.remove(name) {
            state.held = state.held.saturating_sub(visit.bytes);
        }
        drop(state);
        self.tell();
    }

    /// What has changed since it was asked the last time and is not on the shelf yet.
    pub fn changed(&self) -> Vec<desk::Visit> {
        let mut state = self.state();
        let changed = state.here.values_mut().filter(|visit| visit.changed);
        let report = |visit: &mut Visit| {
            visit.changed = false;
            visit.report(self.shelf.of())
        };
        changed.map(report).collect()
    }
}

/// What can be a file's name, and is one of a gateway's sessions.
pub fn is_session(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
}

impl State {
    fn keep_early(&mut self, early: Early) {
        self.early_bytes += early.line.len();
        self.early.push_back(early);
        while self.early.len() > EARLY.0 || self.early_bytes > EARLY.1 {
            self.drop_early();
        }
    }

    fn drop_early(&mut self) {
        if let Some(old) = self.early.pop_front() {
            self.early_bytes = self.early_bytes.saturating_sub(old.line.len());
        }
    }

    fn take_early(&mut self, session: &str, now: Moment) {
        let Some(visit) = self.here.get_mut(session) else { return };
        let from = visit.via.fingerprint.clone();
        let early = std::mem::take(&mut self.early);
        let (theirs, others): (VecDeque<Early>, VecDeque<Early>) =
            early.into_iter().partition(|e| e.session == session && e.from == from);
        self.early = others;
        for early in theirs {
            self.early_bytes = self.early_bytes.saturating_sub(early.line.len());
            if let Some(told) = deeds::Told::read(&early.line) {
                let room = ALL_BYTES.saturating_sub(self.held);
                self.held += visit.told(&told, early.line, now.wall, room);
            }
        }
    }
}

impl Visit {
    fn new(name: String, via: &Via, user: &str, (firm, why): (String, Option<String>), now: Moment) -> Self {
        Self {
            name,
            via: via.clone(),
            user: user.to_owned(),
            firm,
            why,
            since: now.wall,
            streams: BTreeMap::new(),
            empty: None,
            last: (now.wall, Cause::LinkLost),
            over: None,
            stop: CancellationToken::new(),
            deeds: Vec::new(),
            left_out: 0,
            lines: Vec::new(),
            bytes: 0,
            changed: true,
        }
    }

    /// Adds a deed and the line that says so; gives how many bytes that holds.
    fn add(&mut self, deed: Deed, line: Option<String>, room: usize) -> usize {
        let bytes = deed.text.len() + line.as_ref().map_or(0, String::len) + 64;
        if self.deeds.len() >= DEEDS || self.bytes + bytes > BYTES || bytes > room {
            self.left_out += 1;
            return 0;
        }
        (self.bytes, self.changed) = (self.bytes + bytes, true);
        self.deeds.push(deed);
        self.lines.extend(line);
        bytes
    }

    fn told(&mut self, told: &deeds::Told, line: String, now: Timestamp, room: usize) -> usize {
        if let Some(exit) = told.exit {
            told.close(&mut self.deeds, exit);
        }
        if let Some(deed) = told.deed(now) {
            return self.add(deed, Some(line), room);
        }
        // It says no new deed, and belongs to the report all the same.
        let bytes = line.len();
        if self.bytes + bytes > BYTES || bytes > room {
            return 0;
        }
        (self.bytes, self.changed) = (self.bytes + bytes, true);
        self.lines.push(line);
        bytes
    }
}
