//! Konnektors' certificates and hosts' keys that no file pins: the first one seen is kept and journalled, another one refused.

use async_trait::async_trait;
use ssh_key::PublicKey;

use crate::journal::{Entry, Event, Journal};
use crate::konnektor::{CertificatePin, NotKept, Pinned, Pins};
use crate::names::{HostName, SiteName};
use crate::relay;
use crate::state::{Learned, State};

/// Pins in the state.
pub struct LearnedPins {
    state: State,
    journal: Journal,
}

impl LearnedPins {
    /// Keeps them in `state`, and tells `journal` of each.
    pub fn new(state: State, journal: Journal) -> Self {
        Self { state, journal }
    }
}

#[async_trait]
impl Pins for LearnedPins {
    async fn pinned(&self, what: &Pinned) -> Option<CertificatePin> {
        match self.state.learned(&what.to_string(), "").await {
            Ok(pin) => pin.and_then(|pin| pin.value.parse().ok()),
            Err(e) => {
                tracing::error!("learned certificates: {e}");
                None
            }
        }
    }

    async fn first_seen(&self, what: &Pinned, pin: CertificatePin) -> Result<(), NotKept> {
        // First the line, then the trust: what nobody can read of later is not begun.
        let line = Entry {
            site: Some(what.konnektor.site.clone()),
            target: Some(format!("certificate {what}")),
            cause: Some(format!("first seen: {pin}")),
            ..Entry::new(Event::Loaded)
        };
        self.journal.append(line).await.map_err(|_| NotKept)?;
        match self.state.learn(&what.to_string(), "", &pin.to_string(), "gateway").await {
            Ok(Learned::New | Learned::Same(_)) => Ok(()),
            Ok(Learned::Other(_)) => Err(NotKept),
            Err(e) => {
                tracing::error!("learned certificates: {e}");
                Err(NotKept)
            }
        }
    }
}

/// Hosts' keys in the state.
pub struct LearnedHostKeys {
    state: State,
    journal: Journal,
}

impl LearnedHostKeys {
    /// Keeps them in `state`, and tells `journal` of each.
    pub fn new(state: State, journal: Journal) -> Self {
        Self { state, journal }
    }
}

#[async_trait]
impl relay::HostKeys for LearnedHostKeys {
    async fn kept(&self, site: &SiteName, host: &HostName) -> Result<Option<PublicKey>, relay::NotKept> {
        match self.state.learned(&format!("host {site}/{host}"), "").await {
            Ok(None) => Ok(None),
            // What is kept and cannot be read trusts nobody.
            Ok(Some(pin)) => pin.value.parse().map(Some).map_err(|_| relay::NotKept),
            Err(e) => {
                tracing::error!("learned host keys: {e}");
                Err(relay::NotKept)
            }
        }
    }

    async fn first_seen(
        &self,
        site: &SiteName,
        host: &HostName,
        key: &PublicKey,
    ) -> Result<(), relay::NotKept> {
        let mut key = key.clone();
        key.set_comment("");
        let text = key.to_openssh().map_err(|_| relay::NotKept)?;
        let line = Entry {
            site: Some(site.clone()),
            target: Some(format!("host/{host}")),
            cause: Some(format!("host key first seen: {}", key.fingerprint(ssh_key::HashAlg::Sha256))),
            ..Entry::new(Event::Loaded)
        };
        self.journal.append(line).await.map_err(|_| relay::NotKept)?;
        match self.state.learn(&format!("host {site}/{host}"), "", &text, "gateway").await {
            Ok(Learned::New | Learned::Same(_)) => Ok(()),
            Ok(Learned::Other(_)) => Err(relay::NotKept),
            Err(e) => {
                tracing::error!("learned host keys: {e}");
                Err(relay::NotKept)
            }
        }
    }
}
