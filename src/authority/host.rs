//! Host certificates: this key is the gateway, or the gateway in a recorded host's place.

use jiff::{SignedDuration, Timestamp};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{Certificate, PrivateKey, PublicKey};

use super::{NotIssued, checked, validity};
use crate::random::Random;

/// A client whose clock is slow takes it too.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);
/// Re-issued when half of it is over, so that a gateway that runs is never without.
const AFTER: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Vouches for host keys; clients know it by a `@cert-authority` line, PuTTY by `SshHostCAs`.
pub struct HostAuthority {
    key: PrivateKey,
    random: Random,
}

/// What an SSH server shows: russh's `Config.keys` and `Config.certificates`.
#[derive(Clone)]
pub struct HostIdentity {
    /// The host key. Clients that know no authorities see it plain.
    pub key: PrivateKey,
    /// The certificate over it.
    pub certificate: Certificate,
}

impl HostAuthority {
    /// Signs with `key`, Ed25519; serial numbers come from `random`.
    pub fn new(key: PrivateKey, random: Random) -> Self {
        Self { key, random }
    }

    /// What clients are told to trust.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// A certificate that `key` is the host of these `names`, from an hour before `now` to 90 days after it.
    ///
    /// Names stand without ports: OpenSSH and PuTTY compare the name alone.
    pub fn host_certificate(
        &self,
        key: &PublicKey,
        names: &[String],
        now: Timestamp,
    ) -> Result<Certificate, NotIssued> {
        let names = checked(names)?;
        let (from, to) = validity(now, BEFORE, AFTER)?;
        let mut builder = Builder::new_with_random_nonce(&mut rand::rng(), key, from, to)?;
        builder.cert_type(CertType::Host)?;
        builder.serial(self.random.draw64())?;
        builder.key_id(format!("pforte host {}", names.first().map_or("", String::as_str)))?;
        for name in names {
            // Clients compare in lower case.
            builder.valid_principal(name.to_ascii_lowercase())?;
        }
        Ok(builder.sign(&self.key)?)
    }

    /// The key and its certificate for these names.
    pub fn identity(
        &self,
        key: &PrivateKey,
        names: &[String],
        now: Timestamp,
    ) -> Result<HostIdentity, NotIssued> {
        let certificate = self.host_certificate(key.public_key(), names, now)?;
        Ok(HostIdentity { key: key.clone(), certificate })
    }
}
