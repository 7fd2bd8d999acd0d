//! What can be asked for, as data: commands, hops, relays, and what is done in a relayed session.
//! Absent on purpose: how it was written (that is `commands`), and whether it may (that is `policy`).

mod files;

pub use files::{FileAsk, FilePlace};

use crate::names::{BackupName, HostName, HostPort, KonnektorId, KonnektorName, ServiceName, SiteName};

/// A family of asks, as `may = […]` in rules.toml names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `help`, `whoami`, `sites`, `why`: about the person alone; open to everybody whom any rule names.
    Oneself,
    /// `konnektor list`
    KonnektorList,
    /// `konnektor status`
    KonnektorStatus,
    /// `konnektor backup`
    KonnektorBackup,
    /// `konnektor backups`
    KonnektorBackups,
    /// `konnektor show`
    KonnektorShow,
    /// `konnektor diff`
    KonnektorDiff,
    /// `konnektor restore`
    KonnektorRestore,
    /// `konnektor perform`
    KonnektorPerform,
    /// `hop portal`
    HopPortal,
    /// `hop backup`
    HopBackup,
    /// `forward portal`
    ForwardPortal,
    /// `forward backup`
    ForwardBackup,
}

impl Family {
    /// All that a rule can name.
    pub const NAMED: [Family; 12] = [
        Family::KonnektorList,
        Family::KonnektorStatus,
        Family::KonnektorBackup,
        Family::KonnektorBackups,
        Family::KonnektorShow,
        Family::KonnektorDiff,
        Family::KonnektorRestore,
        Family::KonnektorPerform,
        Family::HopPortal,
        Family::HopBackup,
        Family::ForwardPortal,
        Family::ForwardBackup,
    ];

    /// What this gateway can do; the rest can stand in rules, and nothing comes of it yet.
    pub const BUILT: [Family; 8] = [
        Family::KonnektorList,
        Family::KonnektorBackup,
        Family::KonnektorBackups,
        Family::KonnektorShow,
        Family::HopPortal,
        Family::HopBackup,
        Family::ForwardPortal,
        Family::ForwardBackup,
    ];

    /// `hop HOST`; there are two hosts a site that rules can name.
    pub fn hop(host: &HostName) -> Option<Self> {
        match host.as_str() {
            "portal" => Some(Family::HopPortal),
            "backup" => Some(Family::HopBackup),
            _ => None,
        }
    }

    /// `forward HOST`
    pub fn forward(host: &HostName) -> Option<Self> {
        match host.as_str() {
            "portal" => Some(Family::ForwardPortal),
            "backup" => Some(Family::ForwardBackup),
            _ => None,
        }
    }

    /// As rules.toml and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Oneself => "whoami",
            Family::KonnektorList => "konnektor list",
            Family::KonnektorStatus => "konnektor status",
            Family::KonnektorBackup => "konnektor backup",
            Family::KonnektorBackups => "konnektor backups",
            Family::KonnektorShow => "konnektor show",
            Family::KonnektorDiff => "konnektor diff",
            Family::KonnektorRestore => "konnektor restore",
            Family::KonnektorPerform => "konnektor perform",
            Family::HopPortal => "hop portal",
            Family::HopBackup => "hop backup",
            Family::ForwardPortal => "forward portal",
            Family::ForwardBackup => "forward backup",
        }
    }
}

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
    /// What the person's phone is asked about, where a rule wants that: the ask itself, but for what is a part of something
    /// larger that was confirmed.
    fn confirmed_as(&self) -> &[u8] {
        self.as_asked()
    }
}

/// Which box is meant: as `-i SITE[/KONNEKTOR]` says, or the only one that is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// No `-i`.
    Only,
    /// `-i SITE`: the site's only one.
    At(SiteName),
    /// `-i SITE/KONNEKTOR`.
    Exactly(KonnektorId),
}

impl std::str::FromStr for Which {
    type Err = crate::names::BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            None => Ok(Self::At(text.parse()?)),
            Some((site, konnektor)) => {
                let konnektor: KonnektorName = konnektor.parse()?;
                Ok(Self::Exactly(KonnektorId { site: site.parse()?, konnektor }))
            }
        }
    }
}

/// Where a backup goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Into {
    /// The site's store, under the time's name.
    Store,
    /// The site's store, under this name.
    Named(BackupName),
    /// Standard output, and the store.
    Output,
}

/// A restricted command. `K` is how its Konnektor is known: [`Which`] as written, [`KonnektorId`] once it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb<K> {
    /// `help [COMMAND]`
    Help(Vec<String>),
    /// `whoami`
    Whoami,
    /// `sites`
    Sites,
    /// `why SITE [COMMAND]`
    Why {
        /// The site asked about; it need not exist.
        site: SiteName,
        /// The command asked about, or all.
        command: Option<Family>,
    },
    /// `konnektor list`
    KonnektorList,
    /// `konnektor backup [-i …] [-f FILE|-] [-s SERVICE,…]`
    KonnektorBackup {
        /// The box.
        konnektor: K,
        /// Where it goes.
        into: Into,
        /// All of them, if empty.
        services: Vec<ServiceName>,
    },
    /// `konnektor backups [-i …]`
    KonnektorBackups {
        /// The box.
        konnektor: K,
    },
    /// `konnektor show [-i …] -f FILE [-s …]`
    KonnektorShow {
        /// The box.
        konnektor: K,
        /// The backup's name.
        file: BackupName,
        /// All of them, if empty.
        services: Vec<ServiceName>,
    },
    /// `connect portal|backup [-i SITE]`
    Connect {
        /// The host.
        host: HostName,
        /// Where; the only one that is permitted, if it is left out.
        site: Option<SiteName>,
    },
}

impl<K> Verb<K> {
    /// What rules call it.
    pub fn family(&self) -> Family {
        match self {
            Verb::Help(_) | Verb::Whoami | Verb::Sites | Verb::Why { .. } => Family::Oneself,
            Verb::KonnektorList => Family::KonnektorList,
            Verb::KonnektorBackup { .. } => Family::KonnektorBackup,
            Verb::KonnektorBackups { .. } => Family::KonnektorBackups,
            Verb::KonnektorShow { .. } => Family::KonnektorShow,
            Verb::Connect { host, .. } => Family::hop(host).unwrap_or(Family::HopPortal),
        }
    }

    /// The box it is about, if it is about one.
    pub fn konnektor(&self) -> Option<&K> {
        match self {
            Verb::Help(_)
            | Verb::Whoami
            | Verb::Sites
            | Verb::Why { .. }
            | Verb::KonnektorList
            | Verb::Connect { .. } => None,
            Verb::KonnektorBackup { konnektor, .. }
            | Verb::KonnektorBackups { konnektor }
            | Verb::KonnektorShow { konnektor, .. } => Some(konnektor),
        }
    }

    /// The same with its box known otherwise.
    pub fn settle<L, E>(self, settle: impl FnOnce(K) -> Result<L, E>) -> Result<Verb<L>, E> {
        Ok(match self {
            Verb::Help(topic) => Verb::Help(topic),
            Verb::Whoami => Verb::Whoami,
            Verb::Sites => Verb::Sites,
            Verb::Why { site, command } => Verb::Why { site, command },
            Verb::KonnektorList => Verb::KonnektorList,
            Verb::KonnektorBackup { konnektor, into, services } => {
                Verb::KonnektorBackup { konnektor: settle(konnektor)?, into, services }
            }
            Verb::KonnektorBackups { konnektor } => Verb::KonnektorBackups { konnektor: settle(konnektor)? },
            Verb::KonnektorShow { konnektor, file, services } => {
                Verb::KonnektorShow { konnektor: settle(konnektor)?, file, services }
            }
            Verb::Connect { host, site } => Verb::Connect { host, site },
        })
    }
}

/// A command as it was written, its box not yet settled. No permit can be had for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What was asked for.
    pub verb: Verb<Which>,
    /// Byte by byte.
    pub as_asked: Box<[u8]>,
}

/// A command that names all it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What was asked for.
    pub verb: Verb<KonnektorId>,
    /// Byte by byte.
    pub as_asked: Box<[u8]>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// `--json`: one JSON value, for programs.
    Json,
}

impl Command {
    /// How its answer is to be written. No value can be `--json`, so the word is the flag wherever it stands.
    pub fn form(&self) -> Form {
        let flag = self.as_asked.split(|b| *b == b' ').any(|word| word == b"--json");
        if flag { Form::Json } else { Form::Text }
    }
}

impl Ask for Command {
    fn family(&self) -> Family {
        self.verb.family()
    }

    fn site(&self) -> Option<&SiteName> {
        self.verb.konnektor().map(|k| &k.site)
    }

    fn target(&self) -> Option<String> {
        self.verb.konnektor().map(|k| format!("konnektor/{}", k.konnektor))
    }

    fn as_asked(&self) -> &[u8] {
        &self.as_asked
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
