//! Wrong PINs on the disk: a restart gives no fresh guesses.
//! Absent on purpose: the PIN, and anything that was typed. And an error that would keep the page from its practice.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ADDRESSES, Attempts, FIRST_WAIT, FREE, Known, OVERALL, Wrong, source};
use crate::site::page::PinHash;
use crate::site::record::replace;

/// The file's name in the state's folder.
const FILE: &str = "page-attempts.json";
/// A larger file is none of ours: 1024 addresses take less than half of it.
const LARGEST: u64 = 256 << 10;

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Which PIN was guessed at.
    pin: String,
    of: Vec<Guessed>,
    here: Vec<Timestamp>,
    network: Vec<Timestamp>,
    since_right: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guessed {
    from: IpAddr,
    times: u32,
    last: Timestamp,
    wait_until: Timestamp,
}

impl Attempts {
    /// Those that are kept in `state`. What is damaged there is taken for the worst: the network waits for an hour, this
    /// machine, where somebody may have to close, for a minute.
    pub fn kept(state: &Path, pin: &PinHash, now: Timestamp) -> Self {
        let (path, pin) = (state.join(FILE), name(pin));
        let known = match read(&path) {
            Ok(None) => Known::default(),
            Ok(Some(kept)) => kept.known(&pin, now),
            Err(e) => {
                tracing::error!("{}: {e}: as if too many PINs had been wrong just now", path.display());
                worst(now)
            }
        };
        let attempts = Self { known: Mutex::new(known), file: Some((path, pin)), writing: Mutex::default() };
        // The worst too: it is not to begin anew with the next restart.
        attempts.keep();
        attempts
    }

    /// Writes down what is known now. A full disk is said in the log and refuses nobody: whoever wants to close at the page
    /// has to get in, and what is known counts until a restart.
    pub fn keep(&self) {
        let Some((path, pin)) = &self.file else { return };
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(&Kept::of(&self.lock(), pin));
        if let Err(e) = text.map_err(std::io::Error::from).and_then(|text| replace(path, &text)) {
            tracing::error!("wrong PINs cannot be kept in {}: {e}", path.display());
        }
    }
}

/// Which PIN it is: a hash of its salted hash. With another PIN all guesses so far were in vain, so that a new one is the
/// way out for whoever may set it.
fn name(pin: &PinHash) -> String {
    let hash = Sha256::new().chain_update("pforte page-attempts\0").chain_update(pin.reveal()).finalize();
    format!("{:016x}", u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default()))
}

fn read(path: &Path) -> std::io::Result<Option<Kept>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

fn worst(now: Timestamp) -> Known {
    let wait_until = now.saturating_add(FIRST_WAIT).unwrap_or(now);
    let here = ["127.0.0.1", "::1"].into_iter().filter_map(|here| here.parse().ok());
    Known {
        of: here.map(|here| (here, Wrong { times: FREE, last: now, wait_until })).collect(),
        network: VecDeque::from([now; OVERALL]),
        ..Known::default()
    }
}

impl Kept {
    fn of(known: &Known, pin: &str) -> Self {
        let guessed = |(from, wrong): (&IpAddr, &Wrong)| Guessed {
            from: *from,
            times: wrong.times,
            last: wrong.last,
            wait_until: wrong.wait_until,
        };
        Self {
            pin: pin.to_owned(),
            of: known.of.iter().map(guessed).collect(),
            here: known.here.iter().copied().collect(),
            network: known.network.iter().copied().collect(),
            since_right: known.since_right,
        }
    }

    fn known(self, pin: &str, now: Timestamp) -> Known {
        if self.pin != pin {
            return Known { since_right: self.since_right, ..Known::default() };
        }
        let wrong = |it: Guessed| {
            (source(it.from), Wrong { times: it.times, last: it.last, wait_until: it.wait_until })
        };
        let last = |all: Vec<Timestamp>| {
            let beyond = all.len().saturating_sub(OVERALL);
            all.into_iter().skip(beyond).collect()
        };
        let mut known = Known {
            of: self.of.into_iter().take(ADDRESSES).map(wrong).collect::<HashMap<_, _>>(),
            here: last(self.here),
            network: last(self.network),
            since_right: self.since_right,
            total: 0,
        };
        known.forget(now);
        known
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::random::Random;
    use crate::secret::Secret;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn pin(digits: &str) -> PinHash {
        PinHash::of(&Secret::new(digits.into()), &Random::system()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guess(attempts: &Attempts, from: &str, now: Timestamp) -> Result<(), i64> {
        let may = attempts.begin(ip(from), now).map_err(|wait| wait.as_secs());
        attempts.keep();
        may
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let (dir, pin) = (tempfile::tempdir().unwrap(), pin("480213"));
        let attempts = Attempts::kept(dir.path(), &pin, at(0));
        for n in 0..7 {
            guess(&attempts, "192.168.1.20", at(n * 120)).unwrap();
        }
        for n in 0..13 {
            guess(&attempts, &format!("192.168.1.{}", 30 + n), at(721)).unwrap();
        }
        let attempts = Attempts::kept(dir.path(), &pin, at(722));
        assert_eq!(guess(&attempts, "192.168.1.99", at(722)), Err(3600 - 722), "twenty an hour of all");
        assert_eq!(guess(&attempts, "127.0.0.1", at(722)), Ok(()));
        assert_eq!(attempts.right(ip("127.0.0.1")), 20);
        let attempts = Attempts::kept(dir.path(), &pin, at(3600 + 722));
        assert_eq!(attempts.lock().of[&ip("192.168.1.20")].times, 7);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn another_pin_is_guessed_at_anew() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::kept(dir.path(), &pin("480213"), at(0));
        for _ in 0..5 {
            guess(&attempts, "127.0.0.1", at(0)).unwrap();
        }
        assert_eq!(guess(&attempts, "127.0.0.1", at(0)), Err(60));
        let attempts = Attempts::kept(dir.path(), &pin("991357"), at(1));
        assert_eq!(guess(&attempts, "127.0.0.1", at(1)), Ok(()));
        assert_eq!(attempts.right(ip("127.0.0.1")), 5, "it is told all the same");
    }

    #[test]
    fn what_is_damaged_is_the_worst_for_an_hour_and_here_for_a_minute() {
        let (dir, pin) = (tempfile::tempdir().unwrap(), pin("480213"));
        let path = dir.path().join(FILE);
        let whole = Kept { pin: name(&pin), of: vec![], here: vec![], network: vec![], since_right: 0 };
        let whole = serde_json::to_vec(&whole).unwrap();
        let much = [vec![b' '; usize::try_from(LARGEST).unwrap()], whole.clone()].concat();
        for damaged in [&b""[..], b"{}", b"\xff\x00", &whole[..whole.len() / 2], &much] {
            std::fs::write(&path, damaged).unwrap();
            let attempts = Attempts::kept(dir.path(), &pin, at(0));
            assert_eq!(guess(&attempts, "192.168.1.20", at(0)), Err(3600));
            assert_eq!(guess(&attempts, "127.0.0.1", at(0)), Err(60));
            // And it is written down: the next restart is no worse and no better.
            let attempts = Attempts::kept(dir.path(), &pin, at(50));
            assert_eq!(guess(&attempts, "127.0.0.1", at(50)), Err(10));
            assert_eq!(guess(&attempts, "::1", at(60)), Ok(()));
            assert_eq!(guess(&attempts, "127.0.0.1", at(60)), Ok(()));
            assert_eq!(guess(&attempts, "192.168.1.20", at(3600)), Ok(()));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let attempts = Attempts::kept(dir.path(), &pin, at(0));
        assert_eq!(guess(&attempts, "127.0.0.1", at(60)), Ok(()), "a folder in its place");
    }

    #[test]
    fn a_clock_that_went_back_makes_nobody_wait_for_years() {
        let (dir, pin) = (tempfile::tempdir().unwrap(), pin("480213"));
        let attempts = Attempts::kept(dir.path(), &pin, at(0));
        for _ in 0..5 {
            guess(&attempts, "127.0.0.1", at(0)).unwrap();
        }
        for n in 0..20 {
            guess(&attempts, &format!("192.168.1.{n}"), at(0)).unwrap();
        }
        let long_ago = Timestamp::from_second(86_400).unwrap();
        let attempts = Attempts::kept(dir.path(), &pin, long_ago);
        let hour = 3600;
        assert_eq!(guess(&attempts, "127.0.0.1", long_ago), Err(hour));
        assert_eq!(guess(&attempts, "192.168.1.50", long_ago), Err(hour));
        let later = long_ago + jiff::SignedDuration::from_secs(hour);
        assert_eq!(guess(&attempts, "127.0.0.1", later), Ok(()));
        assert_eq!(guess(&attempts, "192.168.1.50", later), Ok(()));
    }
}
