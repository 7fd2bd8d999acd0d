//! The PIN of the page: made at install, kept as a slow hash, compared by it.
//! Absent on purpose: who may try how often; see `attempts`.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::random::Random;
use crate::secret::Secret;

/// A PIN has at least so many digits, and at most [`MOST`].
pub const LEAST: usize = 6;
/// More are no PIN, and are not hashed.
pub const MOST: usize = 12;
/// Memory in KiB, passes, lanes: OWASP's password storage cheat sheet, argon2id, its choice for 19 MiB.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// A hash that asks for more than this is not from here: 64 MiB, and so many passes.
const DEAREST: (u32, u32) = (64 * 1024, 8);

/// Why a PIN or its hash is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPin {
    /// Not 6 to 12 digits.
    #[error("a PIN has 6 to 12 digits")]
    Form,
    /// All digits alike, or a row like 123456.
    #[error("this PIN is among the first that anybody tries")]
    Weak,
    /// Not what [`PinHash::of`] gives.
    #[error("not the hash of a PIN ($argon2id$…)")]
    Hash,
}

/// What is kept of a PIN: PHC's text, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. It is a secret all the same:
/// a million PINs are soon tried.
#[derive(Clone)]
pub struct PinHash(Secret);

/// Six digits, each PIN as likely as any other that [`PinHash::of`] takes.
pub fn fresh(random: &Random) -> Secret {
    loop {
        let pin = format!("{:06}", random.draw() % 1_000_000);
        if check(&pin).is_ok() {
            return Secret::new(pin);
        }
    }
}

fn check(pin: &str) -> Result<(), BadPin> {
    if !(LEAST..=MOST).contains(&pin.len()) || !pin.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadPin::Form);
    }
    let steps: Vec<i16> = pin
        .as_bytes()
        .iter()
        .zip(pin.as_bytes().iter().skip(1))
        .map(|(a, b)| i16::from(*b) - i16::from(*a))
        .collect();
    let row = |step: i16| steps.iter().all(|s| *s == step);
    if row(0) || row(1) || row(-1) { Err(BadPin::Weak) } else { Ok(()) }
}

/// As people type it: spaces are left out.
pub(super) fn typed(text: &str) -> Secret {
    Secret::new(text.chars().filter(|c| !c.is_whitespace()).take(MOST + 1).collect())
}

impl PinHash {
    /// The hash of a PIN. Takes about as long as a check.
    pub fn of(pin: &Secret, random: &Random) -> Result<Self, BadPin> {
        check(pin.reveal())?;
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, None).map_err(|_| BadPin::Hash)?;
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_with_salt(pin.reveal().as_bytes(), &random.draw().to_be_bytes())
            .map_err(|_| BadPin::Hash)?;
        Ok(Self(Secret::new(hash.to_string())))
    }

    /// What was kept of it.
    pub fn parse(text: &str) -> Result<Self, BadPin> {
        let hash = PasswordHash::new(text.trim()).map_err(|_| BadPin::Hash)?;
        let params = Params::try_from(&hash).map_err(|_| BadPin::Hash)?;
        let dear = params.m_cost() > DEAREST.0 || params.t_cost() > DEAREST.1 || params.p_cost() > 4;
        if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() || dear {
            return Err(BadPin::Hash);
        }
        Ok(Self(Secret::new(text.trim().to_owned())))
    }

    /// For the file that keeps it, which only its owner may read.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Is it this one? Takes some 20 ms and 19 MiB, so not on a thread that serves; compared in constant time.
    pub(super) fn is(&self, pin: &Secret) -> bool {
        // What can be no PIN costs the same, or its length would be told.
        PasswordHash::new(self.0.reveal())
            .is_ok_and(|hash| Argon2::default().verify_password(pin.reveal().as_bytes(), &hash).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_known_by_its_hash_and_another_is_not() {
        let random = Random::system();
        let kept = PinHash::of(&Secret::new("480213".into()), &random).unwrap();
        let kept = PinHash::parse(kept.reveal()).unwrap();
        assert!(kept.is(&typed(" 480 213\n")));
        for wrong in ["480214", "48021", "4802130", "", "480213000000000000000"] {
            assert!(!kept.is(&typed(wrong)), "{wrong}");
        }
        assert!(kept.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let again = PinHash::of(&Secret::new("480213".into()), &random).unwrap();
        assert_ne!(kept.reveal(), again.reveal(), "salted");
    }

    #[test]
    fn what_anybody_tries_first_is_no_pin() {
        let of =
            |pin: &str| PinHash::of(&Secret::new(pin.into()), &Random::system()).map(|_| ()).unwrap_err();
        for (pin, why) in [
            ("12345", BadPin::Form),
            ("1234567890123", BadPin::Form),
            ("48021a", BadPin::Form),
            ("", BadPin::Form),
            ("000000", BadPin::Weak),
            ("123456", BadPin::Weak),
            ("987654", BadPin::Weak),
        ] {
            assert_eq!(of(pin), why, "{pin}");
        }
        let draws = std::sync::atomic::AtomicU64::new(0);
        let random = Random::of(move || {
            if draws.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 { 111_111 } else { 480_213 }
        });
        assert_eq!(fresh(&random).reveal(), "480213", "a weak one is drawn again");
    }

    #[test]
    fn a_hash_that_is_none_or_too_dear_is_refused() {
        for text in [
            "",
            "480213",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$iXHZdEEo1jmkHVCvvhBCVMIFDZS/Q27pSBgEHCWY1uE",
            "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$iXHZdEEo1jmkHVCvvhBCVMIFDZS/Q27pSBgEHCWY1uE",
        ] {
            assert_eq!(PinHash::parse(text).map(|_| ()), Err(BadPin::Hash), "{text}");
        }
    }
}
