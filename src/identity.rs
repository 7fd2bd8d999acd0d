//! Who is there: a stranger until a key was proven, nobody to the inner doors until the phone said yes.
//! Absent on purpose: what they may do. A [`Principal`] opens nothing by itself.

mod attempts;
pub mod keys;
pub mod orders;
pub mod second_factor;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;

use crate::names::{Fingerprint, Firm, SessionId, SiteName, Username};

/// The connection a proof was given on. A proof is worth nothing on another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name in the journal.
    pub session: SessionId,
    /// Where it comes from.
    pub from: SocketAddr,
    /// Why it ends, if not by its client.
    pub ended: Ended,
}

/// Why a connection was ended, for the journal: known before anything on it is cut, to all that runs on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended(Arc<OnceLock<Cow<'static, str>>>);

impl Ended {
    /// From now on this is why; `false` if it is ending already.
    pub fn set(&self, cause: impl Into<Cow<'static, str>>) -> bool {
        self.0.set(cause.into()).is_ok()
    }

    /// Why, if it was ended.
    pub fn cause(&self) -> Option<&str> {
        self.0.get().map(AsRef::as_ref)
    }
}

/// This person signed this connection's session identifier with a registered key (RFC 4252 §7).
/// Made by [`keys::KeyBook::prove`] alone, out of what russh makes alone after it verified the signature.
pub struct KeyProven {
    user: Username,
    key: Fingerprint,
    connection: Connection,
}

impl KeyProven {
    /// The person.
    pub fn user(&self) -> &Username {
        &self.user
    }

    /// The key that signed.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }

    /// The connection it signed.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// A person of whom both factors are proven, on one connection.
/// Made by [`second_factor::SecondFactor`] alone, out of a [`KeyProven`].
#[derive(Debug)]
pub struct Principal {
    user: Username,
    firm: Firm,
    key: Fingerprint,
    connection: Connection,
    factor: Arc<str>,
    since: Timestamp,
    under: Option<orders::Under>,
    /// The words of what was asked for by itself, and confirmed: no order's end is the end of that.
    confirmed: Mutex<BTreeSet<String>>,
}

impl Principal {
    /// The person.
    pub fn user(&self) -> &Username {
        &self.user
    }

    /// Their firm.
    pub fn firm(&self) -> &Firm {
        &self.firm
    }

    /// The key they came with.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }

    /// Where from, as which session.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The address they came from.
    pub fn source(&self) -> IpAddr {
        self.connection.from.ip().to_canonical()
    }

    /// What said yes, and how: `webhook`, `totp`, `duo-push`.
    pub fn factor(&self) -> &str {
        &self.factor
    }

    /// The work orders under which they were let in without a question of their own; nothing else is open to them without one.
    pub fn under(&self) -> Option<&orders::Under> {
        self.under.as_ref()
    }

    /// Were they let in under work orders that are all over?
    pub fn has_outlived_its_orders(&self, now: Timestamp) -> bool {
        self.under.as_ref().is_some_and(|under| !under.is_open(now))
    }

    /// Was this very ask confirmed on this connection?
    pub fn has_confirmed(&self, words: &str) -> bool {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).contains(words)
    }

    fn note_confirmed(&self, words: &str) {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).insert(words.to_owned());
    }

    /// When it said so.
    pub fn since(&self) -> Timestamp {
        self.since
    }
}

/// Shared by all that runs on one connection.
pub type Who = Arc<Principal>;

/// The person who is in on the outer connection has signed an inner session's identifier too, with the very same key.
/// Made by [`keys::KeyBook::prove_same`] alone.
pub struct SamePerson(Who);

impl SamePerson {
    /// The person.
    pub fn who(&self) -> &Who {
        &self.0
    }
}

/// A site's machine: it can open its link and nothing else. Made by [`keys::KeyBook::prove_machine`] alone.
pub struct Machine {
    site: SiteName,
    key: Fingerprint,
}

impl Machine {
    /// The site whose machine it is.
    pub fn site(&self) -> &SiteName {
        &self.site
    }

    /// The key it signed with.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }
}
