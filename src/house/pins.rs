//! Konnektors' certificates that no file pins: the first one seen is kept and journalled, another one refused.

use async_trait::async_trait;

use crate::journal::{Entry, Event, Journal};
use crate::konnektor::{CertificatePin, NotKept, Pinned, Pins};
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
