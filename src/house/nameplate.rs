//! What the gateway shows of itself: its host key, and a certificate over it that is renewed in good time.
//! Absent on purpose: connections. A new certificate counts for those that come after it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use russh::keys::PrivateKey;
use russh::server;

use super::private_key;
use crate::authority::{HostAuthority, HostIdentity, NotIssued, UserAuthority, due};
use crate::config::Storage;
use crate::front::configuration;
use crate::init::{self, make_key};
use crate::names::HostPort;
use crate::random::Random;

/// After a certificate could not be made, it is tried again.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// The gateway's own authorities.
pub struct Authorities {
    /// For host keys.
    pub host: HostAuthority,
    /// For technicians at targets.
    pub user: UserAuthority,
}

impl Authorities {
    /// Reads both; an installation from before there were any gets them made, and the log says so.
    pub fn open(dir: &Path, storage: &Storage, random: &Random) -> anyhow::Result<Self> {
        let open = |file: &Path, comment: &str| {
            let path = dir.join(file);
            // A link that leads nowhere is there too: nothing is made in its place.
            if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
                let key = make_key(&path, comment)?;
                tracing::warn!(
                    "{}: there was no {comment}, so one was made; keep it as the host key is kept",
                    path.display()
                );
                return Ok(key);
            }
            private_key(&path, comment)
        };
        Ok(Self {
            host: HostAuthority::new(open(&storage.host_ca, init::HOST_CA)?, random.clone()),
            user: UserAuthority::new(open(&storage.user_ca, init::USER_CA)?, random.clone()),
        })
    }
}

/// The host key, the names on its certificate, and when the next one is due.
pub struct Nameplate {
    authorities: Arc<Authorities>,
    key: PrivateKey,
    names: Mutex<(Vec<String>, Timestamp)>,
}

impl Nameplate {
    /// Nothing is signed yet.
    pub fn new(authorities: Arc<Authorities>, key: PrivateKey) -> Self {
        Self { authorities, key, names: Mutex::new((Vec::new(), Timestamp::MAX)) }
    }

    /// The gateway's own host key, and a certificate over it for a recorded host's names: what an inner server shows.
    pub fn identity(&self, names: &[String], now: Timestamp) -> Result<HostIdentity, NotIssued> {
        self.authorities.host.identity(&self.key, names, now)
    }

    /// Who vouches.
    pub fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// The configuration of the front door under these names.
    pub fn named(&self, reached_at: &[HostPort], now: Timestamp) -> Arc<server::Config> {
        let mut names: Vec<String> = reached_at.iter().map(|name| name.host().to_owned()).collect();
        names.sort();
        names.dedup();
        self.make(names, now)
    }

    /// The next configuration, once half the certificate's life is over.
    pub fn renewed(&self, now: Timestamp) -> Option<Arc<server::Config>> {
        let names = {
            let held = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            (now >= held.1).then(|| held.0.clone())?
        };
        Some(self.make(names, now))
    }

    /// Without names, or where signing fails, the plain key is shown: who knows it still comes in.
    fn make(&self, names: Vec<String>, now: Timestamp) -> Arc<server::Config> {
        let (certificate, next) = if names.is_empty() {
            tracing::warn!(
                "no host certificate: policy/gateway.toml has no names, and listens on no address of its own"
            );
            (None, Timestamp::MAX)
        } else {
            match self.authorities.host.host_certificate(self.key.public_key(), &names, now) {
                Ok(certificate) => {
                    let next = due(&certificate);
                    tracing::info!("host certificate for {}, the next one on {next}", names.join(", "));
                    (Some(certificate), next)
                }
                Err(e) => {
                    tracing::error!("no host certificate: {e}");
                    (None, now.checked_add(AGAIN).unwrap_or(Timestamp::MAX))
                }
            }
        };
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = (names, next);
        configuration(self.key.clone(), certificate)
    }
}
