//! Every line that goes over a link, as data. Unknown fields are left aside, unknown kinds end the link.
//! Absent on purpose: what is done about them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::SignedLease;
use crate::names::{HostPort, KonnektorName};

/// From the gateway to the site, on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum ToSite {
    /// The first line.
    Hello {
        /// [`super::VERSION`]
        version: u32,
        /// Its time, for the site's light; nothing depends on it.
        now: Timestamp,
        /// The address that the site is seen at, for the page.
        seen_from: String,
    },
    /// A lease is wanted that names this.
    Renew {
        /// 32 random bytes, base64; one time.
        nonce: String,
    },
    /// A technician asks to be let in.
    Ask(Asked),
    /// They have left or it was answered elsewhere.
    AskGone {
        /// [`Asked::id`]
        id: String,
    },
    /// A line of the gateway's journal that is about this site, byte by byte as it stands there.
    Told {
        /// The line, without its newline.
        line: String,
    },
    /// Answers [`ToGateway::Alive`].
    Alive {
        /// The same number.
        number: u64,
    },
    /// The gateway is about to end the link.
    Bye {
        /// Why, for the journal and the page.
        reason: String,
    },
}

/// Somebody asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its name; the gateway's.
    pub id: String,
    /// `firm-jane.doe`
    pub user: String,
    /// `firm`
    pub firm: String,
    /// In their words; untrusted text.
    pub why: String,
    /// For how long, in minutes.
    pub minutes: u32,
    /// When they asked.
    pub at: Timestamp,
}

/// From the site to the gateway, on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum ToGateway {
    /// The first line.
    Hello {
        /// [`super::VERSION`]
        version: u32,
        /// `pforte 0.1.0`
        software: String,
    },
    /// What the site allows; the answer to [`ToSite::Renew`].
    Lease(SignedLease),
    /// What the site allows has changed: renew.
    Changed,
    /// Nothing is allowed any more, from now on.
    Closed,
    /// What became of an ask.
    Answer {
        /// [`Asked::id`]
        id: String,
        /// Let in?
        allowed: bool,
    },
    /// This session is to end now.
    End {
        /// [`Visitor::session`]
        session: String,
    },
    /// The site lives.
    Alive {
        /// Counted up.
        number: u64,
    },
    /// The site is about to end the link.
    Bye {
        /// Why.
        reason: String,
    },
}

/// On whose behalf the gateway opens a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visitor {
    /// `firm-jane.doe`, or [`super::lease::SCHEDULE`]
    pub user: String,
    /// The connection's name in the gateway's journal.
    pub session: String,
    /// `konnektor backup`: the family, as rules.toml writes it.
    pub family: String,
    /// As it was asked for.
    pub command: String,
}

/// The first line of a stream that the gateway opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Who.
    pub visitor: Visitor,
    /// What.
    pub wish: Wish,
}

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Wish {
    /// Bytes to an address that `site.toml` lists.
    Dial {
        /// Which.
        to: String,
    },
    /// Calls to a Konnektor that `site.toml` has, a line each ([`Call`], [`Called`]).
    Konnektor {
        /// Which.
        name: String,
    },
    /// The site itself makes a backup of a Konnektor and sends the archive: lines of [`Called::Step`], then one
    /// [`Called::Archive`], then its bytes.
    Backup {
        /// Which.
        name: String,
        /// The services; none: all that belong to a backup.
        services: Vec<String>,
        /// Where the box is by now, if a restore has moved it within its own networks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
}

impl Wish {
    /// A way to an address.
    pub fn dial(to: &HostPort) -> Self {
        Self::Dial { to: to.to_string() }
    }

    /// Calls to a Konnektor.
    pub fn konnektor(name: &KonnektorName) -> Self {
        Self::Konnektor { name: name.to_string() }
    }
}

/// The site's answer to a [`Head`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// Go on.
    Open {
        /// For a Konnektor: what is known of its make, `kocobox`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        product: Option<String>,
        /// For a Konnektor: where `site.toml` has it; the gateway never dials it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// For a Konnektor: the site encrypts archives to its own recipient, so a backup is a [`Wish::Backup`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sealed: bool,
    },
    /// Not allowed: the switch, or `site.toml`.
    Refused {
        /// `switch-closed`, `not-listed`, …
        cause: Refusal,
    },
    /// Allowed, and not there.
    Away {
        /// For the journal.
        cause: String,
        /// For a Konnektor: what it met.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Broken>,
    },
}

/// Why the site says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The switch is closed.
    #[error("switch-closed")]
    SwitchClosed,
    /// It is open, and not for them.
    #[error("not-named")]
    NotNamed,
    /// `site.toml` does not list it.
    #[error("not-listed")]
    NotListed,
    /// Too much at once.
    #[error("too-many")]
    TooMany,
    /// The line was not understood.
    #[error("not-understood")]
    NotUnderstood,
}

/// A call to a Konnektor at the site; one line, answered by [`Called`] lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Call {
    /// Make, firmware, hardware.
    Identify,
    /// Reads services; none named: all that belong to a backup.
    Read {
        /// Which.
        services: Vec<String>,
    },
    /// Writes one. Its value follows in the next `bytes` bytes.
    Write {
        /// Which.
        service: String,
        /// The length of the JSON after this line.
        bytes: u64,
    },
    /// Has the box do something; its data, if any, follows in the next `bytes` bytes.
    Perform {
        /// What.
        action: String,
        /// The length of the JSON after this line; none: no data.
        bytes: Option<u64>,
    },
    /// The same box at another address.
    At {
        /// Where.
        address: String,
    },
    /// Ends the session at the box.
    Logout,
}

/// What comes of a [`Call`]: any number of steps as they happen, then values and what is missing, then `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Called {
    /// A service was asked for.
    Began {
        /// Which.
        service: String,
    },
    /// One was read; nothing more of it follows here.
    Read {
        /// Which.
        service: String,
        /// Of the answer's body.
        bytes: u64,
        /// From request to last byte.
        millis: u64,
    },
    /// One was not read; a step as well.
    NotRead {
        /// Which.
        service: String,
        /// Why.
        error: Broken,
    },
    /// A service's value: the next `bytes` bytes are its JSON, and the `stripped` bytes after them a JSON list of texts: what
    /// was taken out, as JSON pointers.
    Value {
        /// Which.
        service: String,
        /// The length of the JSON after this line.
        bytes: u64,
        /// Bytes of the answer's body, before anything was taken out.
        read: u64,
        /// The length of the list behind it; 0: nothing was taken out.
        stripped: u64,
    },
    /// A service that has no value, in the place of one.
    Missing {
        /// Which.
        service: String,
        /// Why.
        error: Broken,
    },
    /// The whole archive: the next `bytes` bytes, encrypted to the site's recipients.
    Archive {
        /// Its length.
        bytes: u64,
        /// Its SHA-256 in hex.
        sha256: String,
        /// What is in it.
        about: Sealed,
    },
    /// It is done.
    Done {
        /// What it gave: an identity, what an action answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<serde_json::Value>,
    },
    /// It failed.
    Failed {
        /// Why.
        error: Broken,
    },
}

/// What the gateway learns of an archive that it cannot open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// What the box said of itself.
    pub identity: serde_json::Value,
    /// What was read.
    pub services: Vec<SealedService>,
    /// What was not, and why.
    pub missing: Vec<(String, Broken)>,
}

/// One service in a sealed archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedService {
    /// Which.
    pub service: String,
    /// Bytes of the answer's body.
    pub read: u64,
    /// At how many places something personal was taken out.
    pub stripped: u64,
}

/// A Konnektor's error as it goes over the link: its cause with its fields, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken(pub serde_json::Value);
