//! Who may still connect: places for those whose key is not proven yet, places in all, and penalties that explain themselves.
//! Absent on purpose: SSH, and any wait. Every answer is given at once.
//!
//! Defaults and triggers are OpenSSH's (`MaxStartups`, `PerSourceMaxStartups`, `PerSourcePenalties` of `sshd_config(5)`),
//! with two differences: a penalty sticks to a source *and* a key, so that nobody behind a firm's address locks out a
//! colleague; and a source that logged in lately keeps a quarter of the places during a flood.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::config::Limits;
use crate::names::{Fingerprint, Source, Username};

/// What costs a penalty, and how long a one: `PerSourcePenalties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// The session's task panicked.
    Crash,
    /// A wrong key, signature or code.
    Failed,
    /// A name that is no user's.
    UnknownUser,
    /// A grace time ran out.
    Grace,
    /// Gone without a try.
    NoTry,
    /// The second factor was reported as fraud.
    Fraud,
    /// Counted already, or a barred key that came again: it costs nothing more, so that a bar ends when it was said to.
    Counted,
}

impl Offence {
    fn seconds(self) -> i64 {
        match self {
            Offence::Crash => 90,
            Offence::Failed | Offence::UnknownUser => 5,
            Offence::Grace => 10,
            Offence::NoTry => 1,
            Offence::Fraud => 600,
            Offence::Counted => 0,
        }
    }

    /// For the journal and the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Offence::Crash => "crash",
            Offence::Failed => "failed",
            Offence::UnknownUser => "unknown-user",
            Offence::Grace => "grace",
            Offence::NoTry => "no-try",
            Offence::Fraud => "fraud",
            Offence::Counted => "counted",
        }
    }
}

/// A penalty is in force once so much has come together while it ran; then to its end, as in OpenSSH.
const LEAST: SignedDuration = SignedDuration::from_secs(15);
/// And grows no further than this.
const MOST: SignedDuration = SignedDuration::from_secs(600);
/// Sources and keys remembered; beyond it the soonest to end are forgotten.
const REMEMBERED: usize = 65_536;
/// How long a key that was reported as stolen is barred.
const REPORTED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// All sources, in the state.
const EVERYWHERE: &str = "*";
/// How long a source counts as one that logs in.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How much more a known source may open at once than a stranger.
const KNOWN_FACTOR: usize = 8;

/// Why no place is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// All places are taken.
    Full,
    /// The source has its share of places without a proven key.
    SourceFull,
    /// The person has their share of connections.
    UserFull,
}

impl Turned {
    /// For the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Turned::Full => "full",
            Turned::SourceFull => "source-full",
            Turned::UserFull => "user-full",
        }
    }
}

/// A penalty as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Whose.
    pub source: String,
    /// Which key's; empty for the source without any.
    pub key: String,
    /// What for, last.
    pub reason: &'static str,
    /// Until when.
    pub until: Timestamp,
    /// Does it bar already, or is it one of the small sins that are collected?
    pub in_force: bool,
}

/// What the book holds of a culprit.
#[derive(Clone, Copy)]
struct Running {
    until: Timestamp,
    reason: &'static str,
    /// What has come together since it began.
    collected: SignedDuration,
}

impl Running {
    /// OpenSSH's `min:` — small sins are collected before they count.
    fn in_force(&self, now: Timestamp) -> bool {
        self.until > now && self.collected >= LEAST
    }
}

type Culprit = (Source, Option<Fingerprint>);

#[derive(Default)]
struct Book {
    unproven: HashMap<Source, usize>,
    unproven_total: usize,
    total: usize,
    users: HashMap<Username, usize>,
    known: HashMap<Source, Timestamp>,
    penalties: HashMap<Culprit, Running>,
    /// Keys reported as not their owner's: barred from everywhere.
    reported: HashMap<Fingerprint, Timestamp>,
}

/// Gives out places and remembers who misbehaved.
pub struct Doorkeeper {
    limits: Limits,
    clock: Clock,
    book: Mutex<Book>,
}

impl Doorkeeper {
    /// A doorkeeper with an empty book.
    pub fn new(limits: Limits, clock: Clock) -> Arc<Self> {
        Arc::new(Self { limits, clock, book: Mutex::default() })
    }

    /// The limits it goes by.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, or why there is none. Never waits (R4, R83).
    pub fn admit(self: &Arc<Self>, from: IpAddr) -> Result<Place, Turned> {
        let source = Source::of(from);
        let now = self.clock.now();
        let mut book = self.book();
        let known = book.known.get(&source).is_some_and(|seen| now.duration_since(*seen) < KNOWN_FOR);
        let places =
            if known { self.limits.unproven } else { self.limits.unproven - self.limits.unproven / 4 };
        if book.total >= self.limits.connections || book.unproven_total >= places {
            return Err(Turned::Full);
        }
        let penalised = book.penalties.get(&(source, None)).is_some_and(|running| running.in_force(now));
        let share = match (known, penalised) {
            (true, _) => self.limits.unproven_per_source.saturating_mul(KNOWN_FACTOR),
            (false, false) => self.limits.unproven_per_source,
            // Still one at a time, so that the right key can always be shown.
            (false, true) => 1,
        };
        let mine = book.unproven.entry(source).or_insert(0);
        if *mine >= share {
            return Err(Turned::SourceFull);
        }
        *mine += 1;
        book.unproven_total += 1;
        book.total += 1;
        Ok(Place { keeper: self.clone(), source, held: Mutex::new(Held::Unproven) })
    }

    /// Adds a penalty to this source and key; without a key, to the source as a stranger.
    pub fn penalise(&self, source: Source, key: Option<&Fingerprint>, offence: Offence) -> Penalty {
        let now = self.clock.now();
        let mut book = self.book();
        if book.penalties.len() >= REMEMBERED {
            forget_some(&mut book.penalties, now);
        }
        let reason = offence.as_str();
        let begun = Running { until: now, reason, collected: SignedDuration::ZERO };
        let running = book.penalties.entry((source, key.cloned())).or_insert(begun);
        if running.until <= now {
            *running = begun;
        }
        let more = SignedDuration::from_secs(offence.seconds());
        let longest = now.saturating_add(MOST).unwrap_or(Timestamp::MAX);
        running.until = running.until.saturating_add(more).unwrap_or(longest).min(longest);
        running.collected = running.collected.saturating_add(more);
        if offence != Offence::Counted {
            running.reason = reason;
        }
        let (until, in_force) = (running.until, running.in_force(now));
        let key = key.map(ToString::to_string).unwrap_or_default();
        Penalty { source: source.to_string(), key, reason, until, in_force }
    }

    /// Is this key from this source barred, and for how much longer?
    pub fn barred(&self, source: Source, key: &Fingerprint) -> Option<(Duration, &'static str)> {
        let now = self.clock.now();
        let book = self.book();
        if let Some(until) = book.reported.get(key).filter(|until| **until > now) {
            return Some((Duration::try_from(until.duration_since(now)).unwrap_or_default(), "fraud"));
        }
        let running = book.penalties.get(&(source, Some(key.clone()))).filter(|r| r.in_force(now))?;
        Some((Duration::try_from(running.until.duration_since(now)).unwrap_or_default(), running.reason))
    }

    /// Is this key barred from everywhere?
    pub fn is_reported(&self, key: &Fingerprint) -> bool {
        let now = self.clock.now();
        self.book().reported.get(key).is_some_and(|until| *until > now)
    }

    /// The key's owner reported a question they had not caused: the key is barred from everywhere for a day.
    pub fn report(&self, key: &Fingerprint) -> Penalty {
        let until = self.clock.now().saturating_add(REPORTED_FOR).unwrap_or(Timestamp::MAX);
        self.book().reported.insert(key.clone(), until);
        Penalty { source: EVERYWHERE.into(), key: key.to_string(), reason: "fraud", until, in_force: true }
    }

    /// Takes over a penalty that was in force in a former run, or is at another gateway; a source as [`Source`] prints it.
    /// One that ends later stays.
    pub fn remember(&self, source: &str, key: &str, until: Timestamp) {
        let key: Result<Option<Fingerprint>, _> =
            if key.is_empty() { Ok(None) } else { key.parse().map(Some) };
        let now = self.clock.now();
        let mut book = self.book();
        if let (EVERYWHERE, Ok(Some(key))) = (source, &key) {
            let there = book.reported.entry(key.clone()).or_insert(until);
            *there = until.max(*there);
            return;
        }
        if book.penalties.len() >= REMEMBERED {
            forget_some(&mut book.penalties, now);
        }
        if let (Ok(source), Ok(key)) = (source.trim_end_matches("/64").parse(), key) {
            let earlier = Running { until, reason: "earlier", collected: LEAST };
            let there = book.penalties.entry((Source::of(source), key)).or_insert(earlier);
            if there.until < until {
                *there = earlier;
            }
        }
    }
}

fn forget_some(penalties: &mut HashMap<Culprit, Running>, now: Timestamp) {
    penalties.retain(|_, running| running.until > now);
    if penalties.len() >= REMEMBERED {
        let mut ends: Vec<Timestamp> = penalties.values().map(|running| running.until).collect();
        let middle = ends.len() / 2;
        let (_, median, _) = ends.select_nth_unstable(middle);
        let median = *median;
        penalties.retain(|_, running| running.until > median);
    }
}

enum Held {
    Unproven,
    Proven(Username),
}

/// A connection's place; given back when dropped.
pub struct Place {
    keeper: Arc<Doorkeeper>,
    source: Source,
    held: Mutex<Held>,
}

impl Place {
    /// Where the connection comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Both factors are proven: the place counts as the person's from now on.
    pub fn proven(&self, user: &Username) -> Result<(), Turned> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut book = self.keeper.book();
        if let Held::Proven(_) = *held {
            return Ok(());
        }
        let mine = book.users.entry(user.clone()).or_insert(0);
        if *mine >= self.keeper.limits.connections_per_user {
            return Err(Turned::UserFull);
        }
        *mine += 1;
        release_unproven(&mut book, self.source);
        let now = self.keeper.clock.now();
        if book.known.len() >= REMEMBERED {
            book.known.retain(|_, seen| now.duration_since(*seen) < KNOWN_FOR);
        }
        if book.known.len() < REMEMBERED {
            book.known.insert(self.source, now);
        }
        *held = Held::Proven(user.clone());
        Ok(())
    }
}

fn release_unproven(book: &mut Book, source: Source) {
    book.unproven_total = book.unproven_total.saturating_sub(1);
    if let Some(n) = book.unproven.get_mut(&source) {
        *n = n.saturating_sub(1);
        if *n == 0 {
            book.unproven.remove(&source);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.keeper.book();
        book.total = book.total.saturating_sub(1);
        match self.held.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Held::Unproven => release_unproven(&mut book, self.source),
            Held::Proven(user) => {
                if let Some(n) = book.users.get_mut(user) {
                    *n = n.saturating_sub(1);
                    if *n == 0 {
                        book.users.remove(user);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn keeper(limits: Limits) -> (Arc<Doorkeeper>, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(1_000_000));
        let shared = seconds.clone();
        let clock = Clock::of(move || Timestamp::from_second(shared.load(Ordering::SeqCst)).unwrap());
        (Doorkeeper::new(limits, clock), seconds)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn key(c: char) -> Fingerprint {
        format!("SHA256:{}", c.to_string().repeat(43)).parse().unwrap()
    }

    #[test]
    fn a_source_gets_four_places_before_a_key_and_its_neighbour_its_own() {
        let (keeper, _) = keeper(Limits::default());
        let held: Vec<_> = (0..4).map(|_| keeper.admit(ip("192.0.2.1")).unwrap()).collect();
        assert_eq!(keeper.admit(ip("192.0.2.1")).err(), Some(Turned::SourceFull));
        assert!(keeper.admit(ip("192.0.2.2")).is_ok());
        drop(held);
        assert!(keeper.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_whole_slash_64_is_one_source() {
        let (keeper, _) = keeper(Limits::default());
        let _held: Vec<_> = (1..5).map(|n| keeper.admit(ip(&format!("2001:db8::{n}"))).unwrap()).collect();
        assert!(keeper.admit(ip("2001:db8::ffff")).is_err());
        assert!(keeper.admit(ip("2001:db8:0:1::1")).is_ok());
        assert_eq!(Source::of(ip("::ffff:192.0.2.1")), Source::of(ip("192.0.2.1")));
    }

    #[test]
    fn a_flood_leaves_a_quarter_to_those_who_log_in() {
        let (keeper, _) = keeper(Limits { unproven: 8, unproven_per_source: 1, ..Limits::default() });
        let user = "firm-jane.doe".parse().unwrap();
        keeper.admit(ip("192.0.2.1")).unwrap().proven(&user).unwrap();
        let _flood: Vec<_> = (0..6).map(|n| keeper.admit(ip(&format!("198.51.100.{n}"))).unwrap()).collect();
        assert_eq!(keeper.admit(ip("198.51.100.99")).err(), Some(Turned::Full));
        assert!(keeper.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_proven_place_is_free_for_the_next_stranger_and_counts_for_the_person() {
        let (keeper, _) =
            keeper(Limits { unproven_per_source: 1, connections_per_user: 2, ..Limits::default() });
        let user = "firm-jane.doe".parse().unwrap();
        let first = keeper.admit(ip("192.0.2.1")).unwrap();
        first.proven(&user).unwrap();
        let second = keeper.admit(ip("192.0.2.1")).unwrap();
        second.proven(&user).unwrap();
        let third = keeper.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(third.proven(&user), Err(Turned::UserFull));
        drop(first);
        assert_eq!(third.proven(&user), Ok(()));
    }

    #[test]
    fn a_colleagues_wrong_key_locks_out_that_key_and_nobody_else() {
        let (keeper, seconds) = keeper(Limits::default());
        let source = Source::of(ip("192.0.2.1"));
        for _ in 0..2 {
            keeper.penalise(source, Some(&key('A')), Offence::Failed);
        }
        assert_eq!(keeper.barred(source, &key('A')), None, "small sins are collected first");
        keeper.penalise(source, Some(&key('A')), Offence::Failed);
        let (left, reason) = keeper.barred(source, &key('A')).unwrap();
        assert_eq!((left.as_secs(), reason), (15, "failed"));
        assert_eq!(keeper.barred(source, &key('B')), None);
        assert_eq!(keeper.barred(Source::of(ip("192.0.2.2")), &key('A')), None, "nor from elsewhere");
        assert!(keeper.admit(ip("192.0.2.1")).is_ok());
        seconds.fetch_add(14, Ordering::SeqCst);
        assert_eq!(keeper.barred(source, &key('A')).unwrap().0.as_secs(), 1, "to the end that was told");
        seconds.fetch_add(1, Ordering::SeqCst);
        assert_eq!(keeper.barred(source, &key('A')), None);
        keeper.penalise(source, Some(&key('A')), Offence::Failed);
        assert_eq!(keeper.barred(source, &key('A')), None, "served; the next one begins anew");
    }

    #[test]
    fn small_sins_over_some_seconds_come_together_and_over_minutes_do_not() {
        let (keeper, seconds) = keeper(Limits::default());
        let source = Source::of(ip("192.0.2.1"));
        for in_force in [false, false, true] {
            let penalty = keeper.penalise(source, Some(&key('A')), Offence::Failed);
            assert_eq!(penalty.in_force, in_force);
            seconds.fetch_add(2, Ordering::SeqCst);
        }
        for _ in 0..10 {
            seconds.fetch_add(60, Ordering::SeqCst);
            assert!(!keeper.penalise(source, Some(&key('A')), Offence::Failed).in_force);
        }
    }

    #[test]
    fn what_a_former_run_remembered_is_in_force_to_its_end() {
        let (keeper, seconds) = keeper(Limits::default());
        let until = Timestamp::from_second(1_000_005).unwrap();
        keeper.remember("192.0.2.1", key('A').as_str(), until);
        let source = Source::of(ip("192.0.2.1"));
        assert_eq!(keeper.barred(source, &key('A')).unwrap().0.as_secs(), 5);
        seconds.fetch_add(5, Ordering::SeqCst);
        assert_eq!(keeper.barred(source, &key('A')), None);
    }

    #[test]
    fn a_penalised_stranger_still_gets_one_place_to_show_the_right_key() {
        let (keeper, _) = keeper(Limits::default());
        let source = Source::of(ip("192.0.2.1"));
        keeper.penalise(source, None, Offence::Crash);
        let _one = keeper.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(keeper.admit(ip("192.0.2.1")).err(), Some(Turned::SourceFull));
    }

    #[test]
    fn no_penalty_is_longer_than_ten_minutes_and_the_book_is_bounded() {
        let (keeper, _) = keeper(Limits::default());
        let source = Source::of(ip("192.0.2.1"));
        for _ in 0..100 {
            keeper.penalise(source, Some(&key('A')), Offence::Fraud);
        }
        assert_eq!(keeper.barred(source, &key('A')).unwrap().0.as_secs(), 600);
        for n in 0..66_536_u32 {
            keeper.penalise(Source::of(IpAddr::V4(n.into())), None, Offence::NoTry);
        }
        assert!(keeper.book().penalties.len() <= REMEMBERED);
    }
}
