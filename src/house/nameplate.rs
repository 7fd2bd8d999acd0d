//! What the gateway shows of itself: its host key, and a certificate over it that is renewed in good time.
//! Absent on purpose: connections. A new certificate counts for those that come after it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use russh::keys::PrivateKey;
use russh::server;

use super::private_key;
use crate::authority::{Authorities, HostAuthority, HostIdentity, UserAuthority, due};
use crate::config::Storage;
use crate::front::configuration;
use crate::init::{self, make_key};
use crate::names::HostPort;
use crate::random::Random;

/// After a certificate could not be made, it is tried again.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// Reads the gateway's keys; an installation from before there were authorities gets them made, and the log says so.
pub(super) fn open(
    dir: &Path,
    storage: &Storage,
    host_key: PrivateKey,
    random: &Random,
) -> anyhow::Result<Authorities> {
    let open = |file: &Path, comment: &str| {
        let path = dir.join(file);
        // A link that leads nowhere is there too: nothing is made in its place.
        if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            let key = make_key(&path, comment)?;
            let file = path.display();
            tracing::warn!(
                "{file}: there was no {comment}, so one was made; keep it as the host key is kept"
            );
            return Ok(key);
        }
        private_key(&path, comment)
    };
    Ok(Authorities {
        host: HostAuthority::new(open(&storage.host_ca, init::HOST_CA)?, random.clone()),
        user: UserAuthority::new(open(&storage.user_ca, init::USER_CA)?, random.clone()),
        host_key,
    })
}

/// The names on the certificate, and when the next one is due.
pub struct Nameplate {
    authorities: Arc<Authorities>,
    names: Mutex<(Vec<String>, Timestamp)>,
}

impl Nameplate {
    /// The front door's configuration under these names, and what renews it.
    pub fn new(
        authorities: Arc<Authorities>,
        reached_at: &[HostPort],
        now: Timestamp,
    ) -> (Self, Arc<server::Config>) {
        let plate = Self { authorities, names: Mutex::new((Vec::new(), Timestamp::MAX)) };
        let ssh = plate.make(hosts(reached_at), now);
        (plate, ssh)
    }

    /// Who vouches; inner servers and targets need them too.
    pub fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// The next configuration, if these are other names than before.
    pub fn renamed(&self, reached_at: &[HostPort], now: Timestamp) -> Option<Arc<server::Config>> {
        let names = hosts(reached_at);
        let same = self.names.lock().unwrap_or_else(PoisonError::into_inner).0 == names;
        (!same).then(|| self.make(names, now))
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
            match self.authorities.identity(&names, now) {
                Ok(HostIdentity { certificate, .. }) => {
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
        configuration(self.authorities.host_key.clone(), certificate)
    }
}

/// Names alone, each once.
fn hosts(reached_at: &[HostPort]) -> Vec<String> {
    let mut names: Vec<String> = reached_at.iter().map(|name| name.host().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}
