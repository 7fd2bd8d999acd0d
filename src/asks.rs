//! What can be asked for, as data: commands, hops, relays, and what is done in a relayed session.
//! Absent on purpose: how it was written (that is `commands`), and whether it may (that is `policy`).

mod chore;
mod command;
mod family;
mod files;
mod order;

pub use chore::Chore;
pub use command::{Certificates, Command, Data, Draft, Form, Into, Restore, Source, Verb, Which, Yes};
pub use family::Family;
pub use files::{FileAsk, FilePlace};
pub use order::{LONGEST_ORDER, Order};

use crate::names::{ActionName, HostName, HostPort, SiteName};

/// Something that a person asks the gateway to do.
pub trait Ask: Send + Sync + 'static {
    /// What rules call it.
    fn family(&self) -> Family;
    /// Where, if it is about one site.
    fn site(&self) -> Option<&SiteName>;
    /// What at the site: `konnektor/main`, `host/backup`.
    fn target(&self) -> Option<String>;
    /// How it was asked for, byte by byte, for the journal.
    fn as_asked(&self) -> &[u8];
    /// The action it is about: one that its make's profile does not list has to be spelled out by a rule.
    fn action(&self) -> Option<&ActionName> {
        None
    }
    /// Does it change something, though it is about the person alone?
    fn acts(&self) -> bool {
        false
    }
    /// What the person's phone is asked about, where a rule wants that: the ask itself, but for what is a part of something
    /// larger that was confirmed.
    fn confirmed_as(&self) -> &[u8] {
        self.as_asked()
    }
}

/// A host of a site that somebody wants to reach, and how they asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The customer.
    pub site: SiteName,
    /// Its host.
    pub host: HostName,
    /// `hop HOST`
    pub family: Family,
    /// `direct-tcpip backup.praxis-mueller.example:22`, byte by byte.
    pub as_asked: Box<[u8]>,
}

impl Place {
    /// `hop backup -i praxis-mueller`: for phones and sentences, however it was asked for.
    pub fn words(&self) -> String {
        format!("{} -i {}", self.family.as_str(), self.site)
    }
}

/// A sealed way through to a host: bytes, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop(pub Place, Box<[u8]>);

/// A recorded session at a host, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay(pub Place, Box<[u8]>);

macro_rules! place_ask {
    ($name:ident) => {
        impl $name {
            /// To this place.
            pub fn to(place: Place) -> Self {
                let words = place.words().into_bytes().into();
                Self(place, words)
            }
        }

        impl Ask for $name {
            fn family(&self) -> Family {
                self.0.family
            }
            fn site(&self) -> Option<&SiteName> {
                Some(&self.0.site)
            }
            fn target(&self) -> Option<String> {
                Some(format!("host/{}", self.0.host))
            }
            fn as_asked(&self) -> &[u8] {
                &self.0.as_asked
            }
            fn confirmed_as(&self) -> &[u8] {
                &self.1
            }
        }
    };
}
place_ask!(Hop);
place_ask!(Relay);

/// What kind of thing is done in a relayed session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A shell.
    Shell,
    /// One command; `as_asked` has it.
    Exec,
    /// A subsystem, `sftp`; `as_asked` has its name.
    Subsystem,
    /// A way on from the host to an address that its site's file lists.
    Forward(HostPort),
}

/// One thing that is done in a relayed session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Within which session.
    pub relay: Relay,
    /// What kind.
    pub deed: Deed,
    /// `uname -a`; for a shell nothing.
    pub as_asked: Box<[u8]>,
}

impl Ask for Act {
    fn family(&self) -> Family {
        match self.deed {
            Deed::Shell | Deed::Exec | Deed::Subsystem => self.relay.family(),
            Deed::Forward(_) => Family::forward(&self.relay.0.host).unwrap_or(self.relay.family()),
        }
    }
    fn site(&self) -> Option<&SiteName> {
        self.relay.site()
    }
    fn target(&self) -> Option<String> {
        let host = self.relay.target()?;
        match &self.deed {
            Deed::Forward(to) => Some(format!("{host} {to}")),
            Deed::Shell | Deed::Exec | Deed::Subsystem => Some(host),
        }
    }
    fn as_asked(&self) -> &[u8] {
        &self.as_asked
    }
    fn confirmed_as(&self) -> &[u8] {
        self.relay.confirmed_as()
    }
}
