//! `keys/` → [`KeyBook`]; a verified signature → [`KeyProven`] or [`Machine`]; and which keys are good enough.
//! Absent on purpose: verifying signatures. russh does that, and its [`VerifiedPublicKey`] can be made by nobody else.

mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use russh::server::{PublicKeyOffer, VerifiedPublicKey};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg};

use super::{Connection, KeyProven, Machine, SamePerson, Who};
use crate::config::{Folder, Place, Problems, Readable};
use crate::names::{Fingerprint, SiteName, Username};
use line::KeyLine;

/// Why a key opens nothing. The client never learns which; the journal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// The key is not of an accepted kind: `ssh-ed25519`, or RSA of exactly 4096 bits with an odd exponent ≥ 65537.
    #[error("key-policy")]
    Policy,
    /// RSA with SHA-1 (`ssh-rsa`), or any algorithm other than RFC 8332's and RFC 8709's.
    #[error("signature-algorithm")]
    Algorithm,
    /// No such user.
    #[error("unknown-user")]
    UnknownUser,
    /// Not a key of this user.
    #[error("unknown-key")]
    UnknownKey,
    /// Its `expiry-time` has passed.
    #[error("key-expired")]
    Expired,
    /// The client's address is not in the key's `from`.
    #[error("key-source")]
    Source,
}

/// All registered keys.
#[derive(Default)]
pub struct KeyBook {
    people: BTreeMap<Username, Vec<KeyLine>>,
    machines: BTreeMap<SiteName, Vec<KeyLine>>,
}

/// Why an inner login is not that of the person who is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSame {
    /// It names somebody else.
    #[error("inner-login-as-another-user")]
    User,
    /// It is signed with another key of theirs.
    #[error("inner-login-with-another-key")]
    Key,
    /// The key is none of theirs, or counts no longer.
    #[error("inner-login: {0}")]
    NoKey(#[from] NoKey),
}

impl KeyBook {
    /// Reads `keys/*.pub` and `keys/sites/*.pub`. What is wrong goes to `problems`, every line of it.
    pub fn load(folder: &Folder, problems: &mut Problems) -> Self {
        let mut book = Self::default();
        let mut seen: BTreeMap<Fingerprint, PathBuf> = BTreeMap::new();
        for file in folder.list(Path::new("keys"), problems) {
            if file.file_name().is_some_and(|n| n == "sites") && folder.path(&file).is_dir() {
                continue;
            }
            if let Some((user, keys)) = load_file::<Username>(folder, &file, &mut seen, problems) {
                book.people.insert(user, keys);
            }
        }
        for file in folder.list(Path::new("keys/sites"), problems) {
            if let Some((site, keys)) = load_file::<SiteName>(folder, &file, &mut seen, problems) {
                book.machines.insert(site, keys);
            }
        }
        book
    }

    /// This book without the keys that no longer stand in their files; nothing else of the files counts. Files in `broken` are
    /// left as they were read before, unless they are gone. `None` if nothing was removed.
    pub fn only_removals(&self, folder: &Folder, broken: &BTreeSet<PathBuf>) -> Option<Self> {
        let mut ignored = Problems::default();
        let read = Self::load(folder, &mut ignored);
        let mut removed = false;
        let mut keep = |file: PathBuf, keys: &[KeyLine], now: Option<&Vec<KeyLine>>| -> Vec<KeyLine> {
            if broken.contains(&file) && folder.path(&file).exists() {
                return keys.to_vec();
            }
            let left: Vec<KeyLine> = keys
                .iter()
                .filter(|k| now.is_some_and(|now| now.iter().any(|n| n.key == k.key)))
                .cloned()
                .collect();
            removed |= left.len() != keys.len();
            left
        };
        let mut left = Self::default();
        for (user, keys) in &self.people {
            let kept = keep(format!("keys/{user}.pub").into(), keys, read.people.get(user));
            left.people.insert(user.clone(), kept);
        }
        for (site, keys) in &self.machines {
            let kept = keep(format!("keys/sites/{site}.pub").into(), keys, read.machines.get(site));
            left.machines.insert(site.clone(), kept);
        }
        removed.then_some(left)
    }

    /// The persons, in alphabetical order, with their keys' fingerprints and comments.
    pub fn people(&self) -> impl Iterator<Item = (&Username, impl Iterator<Item = (&Fingerprint, &str)>)> {
        self.people
            .iter()
            .map(|(user, keys)| (user, keys.iter().map(|k| (&k.fingerprint, k.comment.as_str()))))
    }

    /// The keys of one person.
    pub fn keys_of(&self, user: &Username) -> Vec<Fingerprint> {
        let mut all = self.people();
        all.find(|(name, _)| *name == user)
            .map(|(_, keys)| keys.map(|(key, _)| key.clone()).collect())
            .unwrap_or_default()
    }

    /// Would a signature by this key be worth verifying? Nothing may be remembered of the answer (R31, R56).
    pub fn would_prove(
        &self,
        user: &Username,
        offer: &PublicKeyOffer<'_>,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), NoKey> {
        self.find(user, offer.public_key.key_data(), offer.algorithm, from, now).map(|_| ())
    }

    /// The signature was verified by russh; is it a key of this user, in force, from a permitted address?
    pub fn prove(
        &self,
        user: &Username,
        key: &VerifiedPublicKey<'_>,
        connection: Connection,
        now: Timestamp,
    ) -> Result<KeyProven, NoKey> {
        let line = self.find(user, key.public_key.key_data(), key.algorithm, connection.from.ip(), now)?;
        Ok(KeyProven { user: user.clone(), key: line.fingerprint.clone(), connection })
    }

    /// The signature on an inner session was verified by russh; is it `who`'s, under their own name, with the key they came with?
    pub fn prove_same(
        &self,
        who: &Who,
        user: &str,
        key: &VerifiedPublicKey<'_>,
        now: Timestamp,
    ) -> Result<SamePerson, NotSame> {
        let user: Username = user.parse().map_err(|_| NotSame::User)?;
        if user != *who.user() {
            return Err(NotSame::User);
        }
        let proof = self.prove(&user, key, who.connection().clone(), now)?;
        if proof.key == *who.key() { Ok(SamePerson(who.clone())) } else { Err(NotSame::Key) }
    }

    /// The same for a site's machine.
    pub fn prove_machine(
        &self,
        site: &SiteName,
        key: &VerifiedPublicKey<'_>,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Machine, NoKey> {
        acceptable(key.public_key.key_data())?;
        good_algorithm(key.algorithm)?;
        let keys = self.machines.get(site).ok_or(NoKey::UnknownUser)?;
        let line = matching(keys, key.public_key.key_data(), from, now)?;
        Ok(Machine { site: site.clone(), key: line.fingerprint.clone() })
    }

    /// Is the machine's key still registered for this site and in force from this address?
    pub fn holds_machine(
        &self,
        site: &SiteName,
        key: &Fingerprint,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), NoKey> {
        let keys = self.machines.get(site).ok_or(NoKey::UnknownUser)?;
        let line = keys.iter().find(|line| line.fingerprint == *key).ok_or(NoKey::UnknownKey)?;
        line.in_force(from, now)
    }

    /// Is the key still registered for this user and in force from this address?
    /// Asked again of every open connection when keys change and as time passes.
    pub fn holds(
        &self,
        user: &Username,
        key: &Fingerprint,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), NoKey> {
        let keys = self.people.get(user).ok_or(NoKey::UnknownUser)?;
        let line = keys.iter().find(|line| line.fingerprint == *key).ok_or(NoKey::UnknownKey)?;
        line.in_force(from, now)
    }

    fn find(
        &self,
        user: &Username,
        key: &KeyData,
        algorithm: &Algorithm,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<&KeyLine, NoKey> {
        acceptable(key)?;
        good_algorithm(algorithm)?;
        let keys = self.people.get(user).ok_or(NoKey::UnknownUser)?;
        matching(keys, key, from, now)
    }
}

/// Compares whole keys, every byte of them (R53, R55); the fingerprint is for people.
fn matching<'k>(
    keys: &'k [KeyLine],
    key: &KeyData,
    from: IpAddr,
    now: Timestamp,
) -> Result<&'k KeyLine, NoKey> {
    let line = keys.iter().find(|line| line.key == *key).ok_or(NoKey::UnknownKey)?;
    line.in_force(from, now)?;
    Ok(line)
}

/// The signature algorithms of RFC 8709 §4 and RFC 8332 §3; `ssh-rsa` with SHA-1 is none.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a list of what is accepted; all else, also what is yet to come, is not"
)]
fn good_algorithm(algorithm: &Algorithm) -> Result<(), NoKey> {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) } => Ok(()),
        _ => Err(NoKey::Algorithm),
    }
}

/// The key policy; decided before any signature is looked at (R53: a huge modulus costs CPU).
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a list of what is accepted; all else, also what is yet to come, is not"
)]
fn acceptable(key: &KeyData) -> Result<(), NoKey> {
    match key {
        KeyData::Ed25519(_) => Ok(()),
        KeyData::Rsa(rsa) => {
            let exponent = rsa.e().as_positive_bytes().unwrap_or_default();
            let odd = exponent.last().is_some_and(|b| b & 1 == 1);
            let at_least_f4 = exponent.len() > 3 || (exponent.len() == 3 && exponent >= [1, 0, 1].as_slice());
            let modulus = rsa.n().as_positive_bytes().unwrap_or_default();
            let bits = modulus.len() * 8
                - modulus.first().map_or(0, |b| b.leading_zeros() as usize).min(modulus.len() * 8);
            if odd && at_least_f4 && bits == 4096 { Ok(()) } else { Err(NoKey::Policy) }
        }
        _ => Err(NoKey::Policy),
    }
}

/// A private key as OpenSSH, OpenSSL or PuTTY writes it.
fn is_private(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        (line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----"))
            || line.starts_with("PuTTY-User-Key-File-")
    })
}

/// One file of keys: its name is the owner's.
fn load_file<Owner: std::str::FromStr<Err: std::fmt::Display>>(
    folder: &Folder,
    file: &Path,
    seen: &mut BTreeMap<Fingerprint, PathBuf>,
    problems: &mut Problems,
) -> Option<(Owner, Vec<KeyLine>)> {
    let mut unread = Problems::default();
    let text = folder.read(file, Readable::ByAll, None, &mut unread);
    if text.as_deref().is_some_and(is_private) {
        problems.add(Place::file(file), "this is a private key: take it away and put the .pub here");
        return None;
    }
    let Some(stem) = file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".pub")) else {
        problems.add(Place::file(file), "a key file is named after its owner: USER.pub");
        return None;
    };
    let owner =
        stem.parse().map_err(|e| problems.add(Place::file(file), format!("the file's name: {e}"))).ok()?;
    for problem in unread.0 {
        problems.add_once(problem.place, problem.message);
    }
    let text = text?;
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = Place { file: file.to_owned(), line: number + 1, column: 0 };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match KeyLine::parse(line) {
            Ok(key) if acceptable(&key.key).is_err() => {
                let kind = line::describe(&key.key);
                problems.add(
                    place,
                    format!("{kind} is not accepted: use ssh-ed25519, or RSA of exactly 4096 bits"),
                );
            }
            Ok(key) => {
                if let Some(other) = seen.insert(key.fingerprint.clone(), file.to_owned()) {
                    let message =
                        format!("this key stands in {} too: one key belongs to one person", other.display());
                    problems.add(place, message);
                }
                keys.push(key);
            }
            Err(why) => problems.add(place, why),
        }
    }
    Some((owner, keys))
}

#[cfg(test)]
mod tests;
