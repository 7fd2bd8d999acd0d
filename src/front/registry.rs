//! Who is in right now, so that a removed key, an ended rule or the operator can end it.
//! Absent on purpose: deciding who has to go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::Disconnect;

use super::connection::Shared;
use crate::identity::Who;
use crate::names::SessionId;
use crate::sentences::ascii;

/// The connections that are in.
#[derive(Default)]
pub struct Registry(Mutex<HashMap<SessionId, (Who, Arc<Shared>)>>);

impl Registry {
    fn map(&self) -> MutexGuard<'_, HashMap<SessionId, (Who, Arc<Shared>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody came in.
    pub fn add(&self, who: &Who, shared: &Arc<Shared>) {
        self.map().insert(who.connection().session, (who.clone(), shared.clone()));
    }

    /// Somebody left.
    pub fn remove(&self, session: SessionId) {
        self.map().remove(&session);
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.map().len()
    }

    /// Nobody?
    pub fn is_empty(&self) -> bool {
        self.map().is_empty()
    }

    /// Ends every connection for which `why` gives a reason. The first word is the journal's cause.
    pub fn end(&self, mut why: impl FnMut(&Who) -> Option<(&'static str, String)>) {
        let leaving: Vec<(Arc<Shared>, &'static str, String)> = self
            .map()
            .values()
            .filter_map(|(who, shared)| why(who).map(|(cause, text)| (shared.clone(), cause, text)))
            .collect();
        for (shared, cause, text) in leaving {
            if shared.ended.set(cause).is_ok() {
                shared.goodbye(Disconnect::ByApplication, ascii(&text));
            }
        }
    }
}
