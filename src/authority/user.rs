//! User certificates: the gateway logs a technician in at a target that trusts this authority, for five minutes.
//! Absent on purpose: any key that lasts. Each certificate has a key pair of its own, which is never written down.

use jiff::{SignedDuration, Timestamp};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{Algorithm, Certificate, PrivateKey, PublicKey};

use super::{NotIssued, checked, validity};
use crate::names::{SessionId, Username};
use crate::random::Random;

/// Targets' clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_mins(1);
/// Long enough to log in with; sshd asks for it at the login only.
const AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Vouches for technicians; targets know it by sshd's `TrustedUserCAKeys`.
pub struct UserAuthority {
    key: PrivateKey,
    random: Random,
}

/// What the session at the target may ask for; all else stays off (PROTOCOL.certkeys, "Extensions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// A terminal.
    PermitPty,
    /// direct-tcpip and tcpip-forward.
    PermitPortForwarding,
}

impl Extension {
    fn name(self) -> &'static str {
        match self {
            Self::PermitPty => "permit-pty",
            Self::PermitPortForwarding => "permit-port-forwarding",
        }
    }
}

/// What an SSH client logs in with.
pub struct UserIdentity {
    /// Made for this certificate alone.
    pub key: PrivateKey,
    /// The certificate over it.
    pub certificate: Certificate,
}

impl UserAuthority {
    /// Signs with `key`, Ed25519; serial numbers come from `random`.
    pub fn new(key: PrivateKey, random: Random) -> Self {
        Self { key, random }
    }

    /// What targets are told to trust.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// A new key and its certificate for `user`'s session, until five minutes after `now`.
    ///
    /// Principals: the user's name, and `more`; the target's `AuthorizedPrincipalsFile` says which account that is.
    /// The key id names user and session, and the target's sshd writes it into its own log.
    pub fn user_certificate(
        &self,
        user: &Username,
        session: SessionId,
        more: &[String],
        extensions: &[Extension],
        now: Timestamp,
    ) -> Result<UserIdentity, NotIssued> {
        let mut principals = vec![user.to_string()];
        principals.extend(more.iter().filter(|name| *name != user.as_str()).cloned());
        let (from, to) = validity(now, BEFORE, AFTER)?;
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
        let mut builder = Builder::new_with_random_nonce(&mut rand::rng(), key.public_key(), from, to)?;
        builder.cert_type(CertType::User)?;
        builder.serial(self.random.draw64())?;
        builder.key_id(format!("{user} {session}"))?;
        for principal in checked(&principals)? {
            builder.valid_principal(principal.as_str())?;
        }
        for extension in [Extension::PermitPty, Extension::PermitPortForwarding] {
            if extensions.contains(&extension) {
                builder.extension(extension.name(), "")?;
            }
        }
        Ok(UserIdentity { certificate: builder.sign(&self.key)?, key })
    }
}
