//! Who is in right now, so that a removed key, an ended rule or the operator can end it.
//! Absent on purpose: deciding who has to go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::Disconnect;

use super::connection::Shared;
use crate::identity::Who;
use crate::names::SessionId;
use crate::sentences::ascii;

/// A connection whose end is certain.
pub struct Leaving(Arc<Shared>);

impl Leaving {
    /// Says why, and ends it.
    pub fn goodbye(self, text: &str) {
        self.0.goodbye(Disconnect::ByApplication, ascii(text));
    }
}

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

    /// Who is in.
    pub fn all(&self) -> Vec<Who> {
        self.map().values().map(|(who, _)| who.clone()).collect()
    }

    /// One of them.
    pub fn who(&self, session: SessionId) -> Option<Who> {
        self.map().get(&session).map(|(who, _)| who.clone())
    }

    /// From now on this is why it ends; [`Leaving::goodbye`] ends it. `None` if it is not there, or ending already.
    pub fn will_end(&self, session: SessionId, cause: String) -> Option<Leaving> {
        let shared = self.map().get(&session).map(|(_, shared)| shared.clone())?;
        shared.connection.ended.set(cause).then_some(Leaving(shared))
    }

    /// Ends every connection for which `why` gives a reason. The first word is the journal's cause.
    pub fn end(&self, mut why: impl FnMut(&Who) -> Option<(&'static str, String)>) {
        let leaving: Vec<(Arc<Shared>, &'static str, String)> = self
            .map()
            .values()
            .filter_map(|(who, shared)| why(who).map(|(cause, text)| (shared.clone(), cause, text)))
            .collect();
        for (shared, cause, text) in leaving {
            if shared.connection.ended.set(cause) {
                shared.goodbye(Disconnect::ByApplication, ascii(&text));
            }
        }
    }
}
