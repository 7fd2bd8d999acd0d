//! Who is logged in at the page: a random cookie, kept here as its hash, for a short idle time.
//! Absent on purpose: names. A practice has one PIN, so a session is an address and a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::attempts::source;
use super::words::Said;
use crate::random::Random;

/// The most sessions; beyond, the one that was idle for longest ends.
const MOST: usize = 64;
/// However busy, a session ends after a working day.
const LONGEST: SignedDuration = SignedDuration::from_hours(12);

/// All sessions.
pub(super) struct Sessions {
    of: Mutex<HashMap<Key, Session>>,
    random: Random,
    idle: SignedDuration,
}

/// SHA-256 of a cookie: what is looked up tells nothing of what was sent by how long it takes.
type Key = [u8; 32];

struct Session {
    token: String,
    from: IpAddr,
    begun: Timestamp,
    touched: Timestamp,
    news: Option<News>,
}

/// A session that was found.
#[derive(Clone)]
pub(super) struct Known {
    key: Key,
    /// Goes into each form.
    pub(super) token: String,
    /// Until it ends, if nothing is done.
    pub(super) left: SignedDuration,
}

/// What the next page says first.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// What was done, or why it was not.
    pub(super) says: Said,
    /// It was not.
    pub(super) wrong: bool,
    /// It was about the typed name: the words that were typed.
    pub(super) typed: Option<String>,
}

impl Sessions {
    pub(super) fn new(random: Random, idle: SignedDuration) -> Self {
        Self { of: Mutex::default(), random, idle }
    }

    /// A new one; the cookie's value.
    pub(super) fn begin(&self, from: IpAddr, now: Timestamp, news: Option<News>) -> String {
        let (cookie, token) =
            (format!("{:032x}", self.random.draw()), format!("{:032x}", self.random.draw()));
        let mut of = self.lock();
        of.retain(|_, session| session.left(self.idle, now).is_positive());
        if of.len() >= MOST
            && let Some(oldest) = of.iter().min_by_key(|(_, session)| session.touched).map(|(key, _)| *key)
        {
            of.remove(&oldest);
        }
        of.insert(key(&cookie), Session { token, from: source(from), begun: now, touched: now, news });
        cookie
    }

    /// The session of a cookie, for the address it was made for. `touch`: a person did something, so it lasts longer.
    pub(super) fn find(&self, cookie: &str, from: IpAddr, now: Timestamp, touch: bool) -> Option<Known> {
        let key = key(cookie);
        let mut of = self.lock();
        let session = of.get_mut(&key)?;
        if !session.left(self.idle, now).is_positive() {
            of.remove(&key);
            return None;
        }
        if session.from != source(from) {
            return None;
        }
        if touch {
            session.touched = now;
        }
        Some(Known { key, token: session.token.clone(), left: session.left(self.idle, now) })
    }

    /// Leaves a word for the next page.
    pub(super) fn tell(&self, known: &Known, news: News) {
        if let Some(session) = self.lock().get_mut(&known.key) {
            session.news = Some(news);
        }
    }

    /// The word, once.
    pub(super) fn news(&self, known: &Known) -> Option<News> {
        self.lock().get_mut(&known.key)?.news.take()
    }

    /// Ends it.
    pub(super) fn end(&self, known: &Known) {
        self.lock().remove(&known.key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn left(&self, idle: SignedDuration, now: Timestamp) -> SignedDuration {
        (idle - now.duration_since(self.touched)).min(LONGEST - now.duration_since(self.begun))
    }
}

impl Known {
    /// Is this the token of its forms?
    pub(super) fn sent(&self, token: &str) -> bool {
        self.token.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

fn key(cookie: &str) -> Key {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    fn sessions() -> Sessions {
        Sessions::new(Random::system(), SignedDuration::from_mins(15))
    }

    #[test]
    fn a_session_ends_idle_and_what_nobody_did_keeps_none_alive() {
        let (sessions, from) = (sessions(), "192.168.1.20".parse().unwrap());
        let cookie = sessions.begin(from, at(0), None);
        assert!(sessions.find(&cookie, from, at(14), false).is_some());
        assert!(sessions.find(&cookie, from, at(15), false).is_none());
        let cookie = sessions.begin(from, at(0), None);
        assert!(sessions.find(&cookie, from, at(14), true).is_some());
        assert!(sessions.find(&cookie, from, at(28), false).is_some());
    }

    #[test]
    fn a_session_ends_after_a_day_and_is_of_one_address() {
        let (sessions, from) = (sessions(), "192.168.1.20".parse().unwrap());
        let cookie = sessions.begin(from, at(0), None);
        for minutes in (0..720).step_by(10) {
            assert!(sessions.find(&cookie, from, at(minutes), true).is_some(), "{minutes}");
        }
        assert!(sessions.find(&cookie, "192.168.1.21".parse().unwrap(), at(715), true).is_none());
        assert!(sessions.find(&cookie, from, at(720), true).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_idlest_goes_first() {
        let (sessions, from) = (sessions(), "127.0.0.1".parse().unwrap());
        let cookies: Vec<String> = (0..=MOST).map(|_| sessions.begin(from, at(0), None)).collect();
        assert_eq!(sessions.lock().len(), MOST);
        assert!(sessions.find(cookies.last().unwrap(), from, at(0), false).is_some());
    }
}
