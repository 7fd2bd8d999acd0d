//! Who may try a PIN now: five wrong ones of an address, twenty an hour of all, then it takes longer and longer.
//! Absent on purpose: the PIN itself. And a way to forget by a restart; what is kept of it is `attempts::kept`'s.

mod kept;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// So many wrong ones of an address cost nothing.
const FREE: u32 = 5;
/// So many of all addresses together within [`HOUR`].
const OVERALL: usize = 20;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// The first wait; each further wrong one doubles it, up to an hour.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(60);
/// An address that was quiet for so long begins anew.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);
/// The most addresses that are remembered; beyond, the one that was quiet for longest is forgotten.
const ADDRESSES: usize = 1024;

/// Wrong PINs so far.
#[derive(Default)]
pub(super) struct Attempts {
    known: Mutex<Known>,
    /// Where they are kept, and of which PIN they are.
    file: Option<(PathBuf, String)>,
    /// One writes at a time, always what is known then.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Known {
    of: HashMap<IpAddr, Wrong>,
    /// This machine has an hour of its own: whoever guesses from the network does not lock its owner out.
    here: VecDeque<Timestamp>,
    network: VecDeque<Timestamp>,
    /// Since the last right one.
    since_right: u32,
    /// Since the start.
    total: u64,
}

struct Wrong {
    times: u32,
    last: Timestamp,
    wait_until: Timestamp,
}

/// Of IPv6 a /64 is one source (RFC 4291, 2.5.4).
pub(super) fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        v6 if v6.is_loopback() => v6,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

impl Attempts {
    /// May it try now? If so it counts as a wrong one until [`Attempts::right`] says otherwise, so that many at once
    /// are no way round. If not: how long to wait.
    pub(super) fn begin(&self, from: IpAddr, now: Timestamp) -> Result<(), SignedDuration> {
        let from = source(from);
        let mut known = self.lock();
        known.forget(now);
        let own = known.of.get(&from).map_or(now, |wrong| wrong.wait_until);
        let hour = known.hour(from);
        let all = match hour.front() {
            Some(first) if hour.len() >= OVERALL => first.saturating_add(HOUR).unwrap_or(now),
            _ => now,
        };
        let until = own.max(all);
        if until > now {
            return Err(until.duration_since(now));
        }
        hour.push_back(now);
        known.since_right = known.since_right.saturating_add(1);
        known.total = known.total.saturating_add(1);
        known.room();
        let wrong = known.of.entry(from).or_insert(Wrong { times: 0, last: now, wait_until: now });
        wrong.times = wrong.times.saturating_add(1);
        wrong.last = now;
        wrong.wait_until = now.saturating_add(wait(wrong.times)).unwrap_or(now);
        Ok(())
    }

    /// It was right: the address begins anew. How many were wrong before, since the last right one.
    pub(super) fn right(&self, from: IpAddr) -> u32 {
        let from = source(from);
        let mut known = self.lock();
        known.of.remove(&from);
        known.hour(from).pop_back();
        known.total = known.total.saturating_sub(1);
        std::mem::take(&mut known.since_right).saturating_sub(1)
    }

    /// How many wrong ones there were since the start.
    pub(super) fn total(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn hour(&mut self, from: IpAddr) -> &mut VecDeque<Timestamp> {
        if from.is_loopback() { &mut self.here } else { &mut self.network }
    }

    fn forget(&mut self, now: Timestamp) {
        // What lies ahead was kept by a clock that went wrong since: it counts as just now, and nobody waits for years.
        let latest = now.saturating_add(HOUR).unwrap_or(now);
        for at in self.here.iter_mut().chain(&mut self.network) {
            *at = now.min(*at);
        }
        for wrong in self.of.values_mut() {
            (wrong.last, wrong.wait_until) = (wrong.last.min(now), wrong.wait_until.min(latest));
        }
        for hour in [&mut self.here, &mut self.network] {
            while hour.front().is_some_and(|first| now.duration_since(*first) >= HOUR) {
                hour.pop_front();
            }
        }
        self.of.retain(|_, wrong| now.duration_since(wrong.last) < FORGOTTEN);
    }

    fn room(&mut self) {
        if self.of.len() >= ADDRESSES
            && let Some(quiet) = self.of.iter().min_by_key(|(_, wrong)| wrong.last).map(|(from, _)| *from)
        {
            self.of.remove(&quiet);
        }
    }
}

fn wait(times: u32) -> SignedDuration {
    match times.checked_sub(FREE) {
        None => SignedDuration::ZERO,
        Some(beyond) => HOUR.min(FIRST_WAIT * 2_i32.pow(beyond.min(6))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_sixth_wrong_one_of_an_address_waits_longer_each_time() {
        let attempts = Attempts::default();
        for _ in 0..5 {
            attempts.begin(ip("192.168.1.20"), at(0)).unwrap();
        }
        assert_eq!(attempts.begin(ip("192.168.1.20"), at(10)).unwrap_err().as_secs(), 50);
        attempts.begin(ip("192.168.1.21"), at(10)).unwrap();
        attempts.begin(ip("192.168.1.20"), at(60)).unwrap();
        assert_eq!(attempts.begin(ip("::ffff:192.168.1.20"), at(60)).unwrap_err().as_secs(), 120);
        attempts.begin(ip("192.168.1.20"), at(180)).unwrap();
        assert_eq!(attempts.begin(ip("192.168.1.20"), at(180)).unwrap_err().as_secs(), 240);
    }

    #[test]
    fn a_right_one_begins_anew_and_tells_how_many_were_wrong() {
        let attempts = Attempts::default();
        for _ in 0..4 {
            attempts.begin(ip("fe80::1"), at(0)).unwrap();
        }
        assert_eq!(attempts.right(ip("fe80::2")), 3);
        assert_eq!(attempts.total(), 3);
        for _ in 0..5 {
            attempts.begin(ip("fe80::1"), at(0)).unwrap();
        }
        assert!(attempts.begin(ip("fe80::3"), at(0)).is_err(), "a /64 is one source");
    }

    #[test]
    fn twenty_an_hour_from_the_network_stop_all_of_it_but_not_this_machine() {
        let attempts = Attempts::default();
        for n in 0..20 {
            attempts.begin(ip(&format!("192.168.1.{n}")), at(n)).unwrap();
        }
        assert_eq!(attempts.begin(ip("192.168.1.99"), at(600)).unwrap_err().as_secs(), 3000);
        attempts.begin(ip("127.0.0.1"), at(600)).unwrap();
        attempts.begin(ip("192.168.1.99"), at(3600)).unwrap();
        assert!(attempts.begin(ip("192.168.1.98"), at(3600)).is_err(), "one place an hour came free");
    }

    #[test]
    fn a_flood_of_addresses_is_remembered_in_bounds() {
        let attempts = Attempts::default();
        for n in 0..5000_i64 {
            // Each so late that the hour is free again.
            let from = std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap() + (10 << 24));
            attempts.begin(from.into(), at(n * 181)).unwrap();
        }
        assert!(attempts.lock().of.len() <= ADDRESSES);
        assert!(attempts.lock().network.len() <= OVERALL);
    }
}
