//! How often one key has asked in vain, wherever it came from: what a stolen key can try is little.
//! Absent on purpose: strangers. Only a proven key is counted, so nobody is locked out by somebody who has not theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use super::KeyProven;
use crate::clock::Clock;
use crate::names::{Fingerprint, Username};

/// Questions denied or unanswered, and codes that were wrong, that one key may cause within [`WITHIN`].
const VAIN: usize = 10;
const WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// The book.
pub(super) struct Attempts {
    clock: Clock,
    vain: Mutex<HashMap<(Username, Fingerprint), Vec<Timestamp>>>,
    turns: Mutex<HashMap<Username, Arc<Semaphore>>>,
}

impl Attempts {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, vain: Mutex::default(), turns: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, HashMap<(Username, Fingerprint), Vec<Timestamp>>> {
        self.vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much longer this key may not ask.
    pub(super) fn locked(&self, user: &Username, key: &Fingerprint) -> Option<Duration> {
        let now = self.clock.now();
        let mut book = self.book();
        let times = book.get_mut(&(user.clone(), key.clone()))?;
        times.retain(|time| now.duration_since(*time) < WITHIN);
        let first = *times.first().filter(|_| times.len() >= VAIN)?;
        Duration::try_from(WITHIN - now.duration_since(first)).ok()
    }

    /// A question goes out, or a code comes in: it counts as vain until [`Attempts::answered`] takes it back.
    pub(super) fn asked(&self, user: &Username, key: &Fingerprint) {
        let now = self.clock.now();
        let mut book = self.book();
        let times = book.entry((user.clone(), key.clone())).or_default();
        times.retain(|time| now.duration_since(*time) < WITHIN);
        if times.len() < VAIN * 2 {
            times.push(now);
        }
    }

    /// The last one was answered with yes, or the provider failed: it was not in vain.
    pub(super) fn answered(&self, user: &Username, key: &Fingerprint) {
        let mut book = self.book();
        let whose = (user.clone(), key.clone());
        if let Some(times) = book.get_mut(&whose) {
            times.pop();
            if times.is_empty() {
                book.remove(&whose);
            }
        }
    }

    /// One open question a person; the next waits for its turn.
    pub(super) fn turn(&self, user: &Username) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }
}

/// The person and key of a proof.
pub(super) fn whose(proof: &KeyProven) -> (&Username, &Fingerprint) {
    (&proof.user, &proof.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn ten_in_vain_within_an_hour_lock_the_key_from_everywhere_and_a_yes_takes_one_back() {
        let seconds = Arc::new(AtomicI64::new(0));
        let shared = seconds.clone();
        let attempts =
            Attempts::new(Clock::of(move || Timestamp::from_second(shared.load(Ordering::SeqCst)).unwrap()));
        let user: Username = "firm-jane.doe".parse().unwrap();
        let key = |c: &str| -> Fingerprint { format!("SHA256:{}", c.repeat(43)).parse().unwrap() };
        for _ in 0..9 {
            attempts.asked(&user, &key("A"));
        }
        attempts.asked(&user, &key("A"));
        attempts.answered(&user, &key("A"));
        assert_eq!(attempts.locked(&user, &key("A")), None);
        attempts.asked(&user, &key("A"));
        assert_eq!(attempts.locked(&user, &key("A")), Some(Duration::from_hours(1)));
        assert_eq!(attempts.locked(&user, &key("B")), None, "another key of the same person is free");
        assert_eq!(attempts.locked(&"firm-john.roe".parse().unwrap(), &key("A")), None);
        seconds.fetch_add(3600, Ordering::SeqCst);
        assert_eq!(attempts.locked(&user, &key("A")), None);
    }
}
