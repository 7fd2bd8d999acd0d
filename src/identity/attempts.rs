//! Who has asked in vain how often, and whose turn it is: what a stolen key can try is little, and a phone is left in peace.
//! Absent on purpose: strangers. Only a proven key is counted, and only for where it comes from, so nobody is locked out
//! by somebody who has not theirs, nor from where they usually are by somebody who has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::names::{Fingerprint, Source, Username};

/// The fourth question in vain within [`WITHIN`] locks this key from this source.
const VAIN: usize = 4;
const WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How long the first lock lasts; each further one within a day twice as long as the one before, up to [`LONGEST`].
const LOCK: SignedDuration = SignedDuration::from_mins(10);
const LONGEST: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Questions in vain within [`HOUR`] that one key may cause from all sources together that never confirmed anything.
const FROM_STRANGE: usize = 24;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Prompts for codes that one key may have open at one source: one that is forgotten somewhere blocks nobody.
const PROMPTS: usize = 2;
/// The same at all sources together that never confirmed anything: so many codes can be tried before they are counted.
const STRANGE_PROMPTS: usize = FROM_STRANGE / VAIN;
/// How long a source counts as one where this person has confirmed.
pub(super) const USUAL_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How often a usual place looks whether a strange one has come before it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Entries remembered, of each kind.
const REMEMBERED: usize = 65_536;

/// One person's key from one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) user: Username,
    pub(super) key: Fingerprint,
    pub(super) source: Source,
}

#[derive(Default)]
struct Record {
    vain: Vec<Timestamp>,
    locked: Vec<Timestamp>,
    until: Option<Timestamp>,
    confirmed: Option<Timestamp>,
    /// When the last confirmation was given out to be written down.
    noted: Option<Timestamp>,
}

impl Record {
    fn forget(&mut self, now: Timestamp) {
        self.vain.retain(|time| now.duration_since(*time) < WITHIN);
        self.locked.retain(|time| now.duration_since(*time) < DAY);
        self.until = self.until.filter(|until| *until > now);
        self.confirmed = self.confirmed.filter(|time| now.duration_since(*time) < USUAL_FOR);
    }

    fn is_empty(&self) -> bool {
        self.vain.is_empty() && self.locked.is_empty() && self.until.is_none() && self.confirmed.is_none()
    }
}

#[derive(Default)]
struct Book {
    askers: HashMap<Asker, Record>,
    /// Questions in vain from where nothing was ever confirmed.
    strange: HashMap<(Username, Fingerprint), Vec<Timestamp>>,
    /// Locks that nobody has written down yet.
    fresh: Vec<(Asker, Timestamp)>,
}

/// Prompts for codes of a key at a source, or of a key at all sources that are strange.
type Prompting = (Username, Fingerprint, Option<Source>);

/// Whose question is open, and whether it gives way.
struct Place {
    semaphore: Arc<Semaphore>,
    /// The open question, if it comes from a source where nothing was ever confirmed.
    gives_way: Arc<Mutex<Option<CancellationToken>>>,
}

/// The book.
pub(super) struct Attempts {
    clock: Clock,
    book: Mutex<Book>,
    turns: Mutex<HashMap<Username, Place>>,
    prompts: Mutex<HashMap<Prompting, Arc<Semaphore>>>,
}

impl Attempts {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, book: Mutex::default(), turns: Mutex::default(), prompts: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much longer this key may not ask from this source.
    pub(super) fn locked(&self, asker: &Asker) -> Option<Duration> {
        let now = self.clock.now();
        let mut book = self.book();
        let record = book.askers.get(asker);
        if let Some(until) = record.and_then(|record| record.until).filter(|until| *until > now) {
            return Duration::try_from(until.duration_since(now)).ok();
        }
        if record.is_some_and(|r| r.confirmed.is_some_and(|at| now.duration_since(at) < USUAL_FOR)) {
            return None;
        }
        let times = book.strange.get_mut(&(asker.user.clone(), asker.key.clone()))?;
        times.retain(|time| now.duration_since(*time) < HOUR);
        let first = *times.first().filter(|_| times.len() >= FROM_STRANGE)?;
        Duration::try_from(HOUR - now.duration_since(first)).ok()
    }

    /// A question goes out, or codes may be typed: in vain unless [`Attempt`] is told otherwise.
    /// It weighs as much as the codes that are typed meanwhile, if it rings or sends something at least one.
    pub(super) fn begin(self: &Arc<Self>, asker: &Asker, rings: bool, codes: Arc<AtomicUsize>) -> Attempt {
        let before = codes.load(Ordering::Relaxed);
        Attempt { attempts: self.clone(), asker: Some(asker.clone()), rings, codes, before }
    }

    fn in_vain(&self, asker: Asker, weight: usize) {
        if weight == 0 {
            return;
        }
        let now = self.clock.now();
        let mut book = self.book();
        make_room(&mut book, now);
        let record = book.askers.entry(asker.clone()).or_default();
        record.forget(now);
        record.vain.extend(std::iter::repeat_n(now, weight.min(VAIN)));
        if record.vain.len() >= VAIN {
            let doubled = 1 << record.locked.len().min(8);
            let length = (LOCK * doubled).min(LONGEST);
            record.until = now.checked_add(length).ok();
            record.locked.push(now);
            record.vain.clear();
            let until = record.until;
            if let (Some(until), true) = (until, book.fresh.len() < REMEMBERED) {
                book.fresh.push((asker.clone(), until));
            }
        }
        let record = book.askers.entry(asker.clone()).or_default();
        if record.confirmed.is_none() {
            let times = book.strange.entry((asker.user, asker.key)).or_default();
            times.retain(|time| now.duration_since(*time) < HOUR);
            if times.len() < FROM_STRANGE * 2 {
                times.extend(std::iter::repeat_n(now, weight.min(VAIN)));
            }
        }
    }

    /// The locks since this was asked last, and when each ends.
    pub(super) fn fresh(&self) -> Vec<(Asker, Timestamp)> {
        std::mem::take(&mut self.book().fresh)
    }

    /// Is it time to write down that this person confirms from there? Once a day; the login waits for it.
    pub(super) fn is_to_be_noted(&self, asker: &Asker) -> bool {
        let now = self.clock.now();
        let mut book = self.book();
        let Some(record) = book.askers.get_mut(asker) else { return false };
        let due = record.noted.is_none_or(|noted| now.duration_since(noted) >= DAY);
        if due {
            record.noted = Some(now);
        }
        due
    }

    /// This was so before a restart, or at another gateway.
    pub(super) fn remember(&self, asker: Asker, confirmed: Timestamp) {
        let mut book = self.book();
        make_room(&mut book, self.clock.now());
        let record = book.askers.entry(asker).or_default();
        // None is earlier than any.
        record.confirmed = record.confirmed.max(Some(confirmed));
        record.noted = record.noted.max(Some(confirmed));
    }

    fn usual(&self, asker: &Asker) -> bool {
        let now = self.clock.now();
        let book = self.book();
        let confirmed = book.askers.get(asker).and_then(|record| record.confirmed);
        confirmed.is_some_and(|at| now.duration_since(at) < USUAL_FOR)
    }

    /// Waits for this person's turn: one open question at a time. Who comes from where they have confirmed before does
    /// not wait for a question from where they have not: that one gives way.
    pub(super) async fn turn(&self, asker: &Asker) -> Option<Turn> {
        let usual = self.usual(asker);
        let (semaphore, gives_way) = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= REMEMBERED {
                turns.retain(|_, place| Arc::strong_count(&place.semaphore) > 1);
            }
            let place = turns.entry(asker.user.clone()).or_insert_with(|| Place {
                semaphore: Arc::new(Semaphore::new(1)),
                gives_way: Arc::default(),
            });
            (place.semaphore.clone(), place.gives_way.clone())
        };
        // One place in the queue, kept until it is ours.
        let mut acquire = std::pin::pin!(semaphore.acquire_owned());
        let held = loop {
            if usual && let Some(open) = gives_way.lock().unwrap_or_else(PoisonError::into_inner).take() {
                open.cancel();
            }
            tokio::select! {
                held = &mut acquire => break held.ok()?,
                // Those before us in the queue may be strange too: each of them gives way when its turn has come.
                () = tokio::time::sleep(LOOK_AGAIN), if usual => {}
            }
        };
        let displaced = CancellationToken::new();
        *gives_way.lock().unwrap_or_else(PoisonError::into_inner) = (!usual).then(|| displaced.clone());
        Some(Turn { _held: vec![held], displaced })
    }

    /// Waits for a place among this key's prompts for codes. They ring nothing, so they are not the person's one open
    /// question: who holds a stolen key keeps nobody waiting elsewhere.
    pub(super) async fn prompt(&self, asker: &Asker) -> Option<Turn> {
        let Asker { user, key, source } = asker;
        let place = |source: Option<Source>, at_once: usize| {
            let mut prompts = self.prompts.lock().unwrap_or_else(PoisonError::into_inner);
            if prompts.len() >= REMEMBERED {
                prompts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            let place = prompts.entry((user.clone(), key.clone(), source));
            place.or_insert_with(|| Arc::new(Semaphore::new(at_once))).clone()
        };
        let mut held = vec![place(Some(*source), PROMPTS).acquire_owned().await.ok()?];
        if !self.usual(asker) {
            held.push(place(None, STRANGE_PROMPTS).acquire_owned().await.ok()?);
        }
        Some(Turn { _held: held, displaced: CancellationToken::new() })
    }
}

fn make_room(book: &mut Book, now: Timestamp) {
    if book.askers.len() >= REMEMBERED {
        book.askers.retain(|_, record| {
            record.forget(now);
            !record.is_empty()
        });
    }
    if book.askers.len() >= REMEMBERED {
        // Only keys that have signed get here: so many of them are no accident, and whoever is locked stays locked.
        book.askers.retain(|_, record| record.until.is_some());
    }
    if book.strange.len() >= REMEMBERED {
        book.strange.retain(|_, times| times.last().is_some_and(|last| now.duration_since(*last) < HOUR));
    }
}

/// A person's turn to be asked; the next one's when dropped.
pub(super) struct Turn {
    _held: Vec<OwnedSemaphorePermit>,
    displaced: CancellationToken,
}

impl Turn {
    /// Ends when this question has to give way.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

/// A question that is out; in vain when dropped without an answer.
pub(super) struct Attempt {
    attempts: Arc<Attempts>,
    asker: Option<Asker>,
    rings: bool,
    codes: Arc<AtomicUsize>,
    before: usize,
}

impl Attempt {
    /// It came to no answer: the provider failed, or another way was chosen. In vain is what has rung, and what was typed
    /// but for the last `unjudged` codes.
    pub(super) fn failed(mut self, rang: bool, unjudged: usize) {
        self.rings = rang;
        self.before = self.before.saturating_add(unjudged);
    }

    /// The person said yes.
    pub(super) fn confirmed(mut self) {
        if let Some(asker) = self.asker.take() {
            let now = self.attempts.clock.now();
            let mut book = self.attempts.book();
            make_room(&mut book, now);
            let record = book.askers.entry(asker).or_default();
            record.forget(now);
            record.confirmed = Some(now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(asker) = self.asker.take() {
            let typed = self.codes.load(Ordering::Relaxed).saturating_sub(self.before);
            self.attempts.in_vain(asker, typed.max(usize::from(self.rings)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI64;

    fn book() -> (Arc<Attempts>, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(0));
        let shared = seconds.clone();
        let clock = Clock::of(move || Timestamp::from_second(shared.load(Ordering::SeqCst)).unwrap());
        (Arc::new(Attempts::new(clock)), seconds)
    }

    fn asker(user: &str, key: &str, from: &str) -> Asker {
        Asker {
            user: user.parse().unwrap(),
            key: format!("SHA256:{}", key.repeat(43)).parse().unwrap(),
            source: Source::of(from.parse().unwrap()),
        }
    }

    fn ask(attempts: &Arc<Attempts>, asker: &Asker) -> Attempt {
        attempts.begin(asker, true, Arc::default())
    }

    fn jane(from: &str) -> Asker {
        asker("firm-jane.doe", "A", from)
    }

    #[test]
    fn the_fourth_in_ten_minutes_locks_that_person_key_and_source_and_nothing_else() {
        let (attempts, seconds) = book();
        let jane_here = jane("192.0.2.1");
        for _ in 0..3 {
            drop(ask(&attempts, &jane_here));
            seconds.fetch_add(60, Ordering::SeqCst);
        }
        assert_eq!(attempts.locked(&jane_here), None);
        drop(ask(&attempts, &jane_here));
        assert_eq!(attempts.locked(&jane_here), Some(Duration::from_mins(10)));
        for other in [
            jane("192.0.2.2"),
            asker("firm-jane.doe", "B", "192.0.2.1"),
            asker("firm-john.roe", "A", "192.0.2.1"),
        ] {
            assert_eq!(attempts.locked(&other), None, "{other:?}");
        }
        seconds.fetch_add(599, Ordering::SeqCst);
        assert_eq!(attempts.locked(&jane_here), Some(Duration::from_secs(1)));
        seconds.fetch_add(1, Ordering::SeqCst);
        assert_eq!(attempts.locked(&jane_here), None);
        for _ in 0..4 {
            drop(ask(&attempts, &jane_here));
        }
        assert_eq!(attempts.locked(&jane_here), Some(Duration::from_mins(20)), "the second lock is longer");
    }

    #[test]
    fn what_was_answered_is_not_in_vain_and_four_over_an_hour_are_not_four_in_ten_minutes() {
        let (attempts, seconds) = book();
        let jane = jane("192.0.2.1");
        for _ in 0..9 {
            ask(&attempts, &jane).failed(false, 1);
            ask(&attempts, &jane).confirmed();
        }
        for _ in 0..9 {
            drop(ask(&attempts, &jane));
            seconds.fetch_add(299, Ordering::SeqCst);
        }
        assert_eq!(attempts.locked(&jane), None);
    }

    #[test]
    fn a_place_is_to_be_written_down_once_a_day_and_only_if_something_was_confirmed_there() {
        let (attempts, seconds) = book();
        let jane = jane("192.0.2.1");
        assert!(!attempts.is_to_be_noted(&jane));
        for day in 0..3 {
            seconds.store(day * 86_400, Ordering::SeqCst);
            ask(&attempts, &jane).confirmed();
            assert!(attempts.is_to_be_noted(&jane), "day {day}");
            ask(&attempts, &jane).confirmed();
            assert!(!attempts.is_to_be_noted(&jane), "day {day}");
        }
    }

    #[test]
    fn a_stolen_key_from_many_places_is_locked_at_strange_ones_but_not_where_its_owner_works() {
        let (attempts, _) = book();
        ask(&attempts, &jane("192.0.2.1")).confirmed();
        for n in 0..FROM_STRANGE {
            assert_eq!(attempts.locked(&jane(&format!("198.51.100.{n}"))), None);
            drop(ask(&attempts, &jane(&format!("198.51.100.{n}"))));
        }
        assert_eq!(attempts.locked(&jane("203.0.113.1")), Some(Duration::from_hours(1)));
        assert_eq!(attempts.locked(&jane("192.0.2.1")), None);
    }

    #[test]
    fn wrong_codes_weigh_as_much_as_were_typed_and_looking_at_the_prompt_weighs_nothing() {
        let (attempts, _) = book();
        let jane = jane("192.0.2.1");
        for _ in 0..9 {
            drop(attempts.begin(&jane, false, Arc::default()));
        }
        let codes = Arc::new(AtomicUsize::new(5));
        let attempt = attempts.begin(&jane, false, codes.clone());
        codes.store(8, Ordering::Relaxed);
        drop(attempt);
        assert_eq!(attempts.locked(&jane), None, "three");
        let attempt = attempts.begin(&jane, false, codes.clone());
        codes.store(9, Ordering::Relaxed);
        drop(attempt);
        assert_eq!(attempts.locked(&jane), Some(Duration::from_mins(10)), "four");
    }

    #[tokio::test]
    async fn a_question_from_a_strange_place_gives_way_to_the_owners_and_not_the_other_way_round() {
        let (attempts, _) = book();
        ask(&attempts, &jane("192.0.2.1")).confirmed();
        let thief = attempts.turn(&jane("198.51.100.1")).await.unwrap();
        let waiting = attempts.clone();
        let owner = tokio::spawn(async move { waiting.turn(&jane("192.0.2.1")).await });
        tokio::time::timeout(Duration::from_secs(10), thief.displaced()).await.unwrap();
        drop(thief);
        let owner = tokio::time::timeout(Duration::from_secs(10), owner).await.unwrap().unwrap().unwrap();
        let thief = jane("198.51.100.1");
        let again = tokio::time::timeout(Duration::from_millis(300), attempts.turn(&thief));
        assert!(again.await.is_err(), "waits for its turn");
        assert!(tokio::time::timeout(Duration::from_millis(1), owner.displaced()).await.is_err());
    }
}
