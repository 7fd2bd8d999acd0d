//! The gateway's own certificate authorities: who vouches for its host keys, and for a technician at a target.
//! Absent on purpose: files, and deciding for whom. What is signed is said by who asks, within bounds that stand here.
//!
//! Format: OpenSSH's PROTOCOL.certkeys. Both authorities are Ed25519.

mod host;
#[cfg(test)]
mod tests;
mod user;

pub use host::{HostAuthority, HostIdentity};
pub use user::{Extension, UserAuthority, UserIdentity};

use jiff::{SignedDuration, Timestamp};
use ssh_key::{Certificate, PrivateKey};

/// The gateway's own host key and both authorities, handed to whoever stands for the gateway or logs in at a target.
pub struct Authorities {
    /// The gateway's host key, Ed25519.
    pub host_key: PrivateKey,
    /// For host keys.
    pub host: HostAuthority,
    /// For technicians at targets.
    pub user: UserAuthority,
}

impl Authorities {
    /// What an SSH server of the gateway's own shows under these names: the gateway's own host key, so that one plain
    /// `known_hosts` line a name serves clients that know no authorities, and a certificate over it.
    pub fn identity(&self, names: &[String], now: Timestamp) -> Result<HostIdentity, NotIssued> {
        self.host.identity(&self.host_key, names, now)
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotIssued {
    /// It would be one for every name there is.
    #[error("a certificate needs a name")]
    NoName,
    /// A pattern, or nothing that a client could have connected to.
    #[error("{0:?} is no name for a certificate: a-z 0-9 . - : and _ alone")]
    BadName(String),
    /// Before 1970, or too far ahead.
    #[error("the clock says {0}, which no certificate can say")]
    BadTime(Timestamp),
    /// The signature or its encoding.
    #[error("the certificate could not be made: {0}")]
    Failed(#[from] ssh_key::Error),
}

/// When the next one is due: half its life is over.
///
/// A certificate without an end is never due.
pub fn due(certificate: &Certificate) -> Timestamp {
    let (from, to) = (certificate.valid_after(), certificate.valid_before());
    let half = i64::try_from(from.midpoint(to)).unwrap_or(i64::MAX);
    Timestamp::from_second(half).unwrap_or(Timestamp::MAX)
}

/// Both ends of a validity in seconds since 1970.
fn validity(now: Timestamp, before: SignedDuration, after: SignedDuration) -> Result<(u64, u64), NotIssued> {
    let at = |time: Result<Timestamp, jiff::Error>| {
        time.ok().and_then(|t| u64::try_from(t.as_second()).ok()).ok_or(NotIssued::BadTime(now))
    };
    Ok((at(now.checked_sub(before))?, at(now.checked_add(after))?))
}

/// OpenSSH takes a host certificate's names as patterns, so one with `*` would vouch for every host.
fn checked(names: &[String]) -> Result<&[String], NotIssued> {
    if names.is_empty() {
        return Err(NotIssued::NoName);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'_');
    match names.iter().find(|name| name.is_empty() || !name.bytes().all(plain)) {
        Some(bad) => Err(NotIssued::BadName(bad.clone())),
        None => Ok(names),
    }
}
