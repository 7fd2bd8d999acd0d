//! Restricted commands, as data: what was asked for, of which box.
//! Absent on purpose: how it was written (that is `commands`).

use super::{Ask, Family, Order};
use crate::names::{
    ActionName, BackupName, HostName, IncomingName, KonnektorId, KonnektorName, ServiceName, SiteName, Ticket,
};

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

/// Where a backup comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Kept of this very box.
    Kept(BackupName),
    /// Handed in at the site: `incoming/NAME.json`.
    Incoming(IncomingName),
    /// Standard input.
    Input,
}

/// What becomes of client certificates in a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificates {
    /// Those whose name the box does not have are added.
    #[default]
    New,
    /// Those of the same name are replaced too.
    Overwrite,
    /// All of the box's go first.
    Delete,
}

/// What a restore is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// A file.
    From {
        /// Which.
        source: Source,
        /// What becomes of client certificates.
        certificates: Certificates,
        /// All of them, if empty.
        services: Vec<ServiceName>,
        /// Shows the plan and writes nothing.
        dry_run: bool,
    },
    /// What was interrupted, to its end.
    Resume,
    /// Back to what the box held before.
    Undo,
}

/// How often `--yes` was said: questions that need no asking.
pub type Yes = u8;

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
        /// Decrypts and validates all of them.
        check: bool,
    },
    /// `konnektor status [-i …]`
    KonnektorStatus {
        /// The box.
        konnektor: K,
    },
    /// `konnektor diff [-i …] -f FILE [-f FILE]`
    KonnektorDiff {
        /// The box.
        konnektor: K,
        /// The one.
        old: Source,
        /// The other; the box itself, if it is left out.
        new: Option<Source>,
        /// All of them, if empty.
        services: Vec<ServiceName>,
    },
    /// `konnektor restore [-i …] -f FILE|- …`
    KonnektorRestore {
        /// The box.
        konnektor: K,
        /// What is wanted.
        restore: Restore,
        /// Without asking.
        yes: Yes,
    },
    /// `konnektor perform [-i …] -a ACTION [-d JSON]`
    KonnektorPerform {
        /// The box.
        konnektor: K,
        /// The action.
        action: ActionName,
        /// Its data as it was written; JSON.
        data: Option<Data>,
    },
    /// `konnektor terminals [-i …]`
    KonnektorTerminals {
        /// The box.
        konnektor: K,
    },
    /// `konnektor remap [-i …] -f FILE [-m OLD=NEW]`
    KonnektorRemap {
        /// The box.
        konnektor: K,
        /// With the terminals as they were.
        source: Source,
        /// What the person has decided.
        pairs: Vec<(String, String)>,
        /// Shows the change and writes nothing.
        dry_run: bool,
        /// Without asking.
        yes: Yes,
    },
    /// `jobs`
    Jobs,
    /// `jobs attach N`
    JobAttach(u32),
    /// `jobs cancel N`
    JobCancel(u32),
    /// `konnektor show [-i …] -f FILE [-s …]`
    KonnektorShow {
        /// The box.
        konnektor: K,
        /// The backup's name.
        file: BackupName,
        /// All of them, if empty.
        services: Vec<ServiceName>,
    },
    /// `order TICKET …`
    Order(Order),
    /// `order list`
    Orders,
    /// `order close [TICKET]`
    OrderClose(Option<Ticket>),
    /// `ask SITE --why "…" [--for 30m] [--no-wait]`
    Ask {
        /// The practice.
        site: SiteName,
        /// In the technician's words.
        why: String,
        /// For how many minutes.
        minutes: u32,
        /// Until the practice has answered?
        wait: bool,
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
            Verb::Help(_)
            | Verb::Whoami
            | Verb::Sites
            | Verb::Why { .. }
            | Verb::Ask { .. }
            | Verb::Jobs
            | Verb::JobAttach(_)
            | Verb::JobCancel(_)
            | Verb::Orders
            | Verb::OrderClose(_) => Family::Oneself,
            Verb::Order(_) => Family::Order,
            Verb::KonnektorStatus { .. } => Family::KonnektorStatus,
            Verb::KonnektorDiff { .. } => Family::KonnektorDiff,
            Verb::KonnektorRestore { .. } => Family::KonnektorRestore,
            Verb::KonnektorPerform { .. } => Family::KonnektorPerform,
            Verb::KonnektorTerminals { .. } => Family::KonnektorTerminals,
            Verb::KonnektorRemap { .. } => Family::KonnektorRemap,
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
            | Verb::Ask { .. }
            | Verb::KonnektorList
            | Verb::Jobs
            | Verb::JobAttach(_)
            | Verb::JobCancel(_)
            | Verb::Order(_)
            | Verb::Orders
            | Verb::OrderClose(_)
            | Verb::Connect { .. } => None,
            Verb::KonnektorBackup { konnektor, .. }
            | Verb::KonnektorBackups { konnektor, .. }
            | Verb::KonnektorStatus { konnektor }
            | Verb::KonnektorDiff { konnektor, .. }
            | Verb::KonnektorRestore { konnektor, .. }
            | Verb::KonnektorPerform { konnektor, .. }
            | Verb::KonnektorTerminals { konnektor }
            | Verb::KonnektorRemap { konnektor, .. }
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
            Verb::Ask { site, why, minutes, wait } => Verb::Ask { site, why, minutes, wait },
            Verb::KonnektorList => Verb::KonnektorList,
            Verb::KonnektorBackup { konnektor, into, services } => {
                Verb::KonnektorBackup { konnektor: settle(konnektor)?, into, services }
            }
            Verb::KonnektorBackups { konnektor, check } => {
                Verb::KonnektorBackups { konnektor: settle(konnektor)?, check }
            }
            Verb::KonnektorStatus { konnektor } => Verb::KonnektorStatus { konnektor: settle(konnektor)? },
            Verb::KonnektorDiff { konnektor, old, new, services } => {
                Verb::KonnektorDiff { konnektor: settle(konnektor)?, old, new, services }
            }
            Verb::KonnektorRestore { konnektor, restore, yes } => {
                Verb::KonnektorRestore { konnektor: settle(konnektor)?, restore, yes }
            }
            Verb::KonnektorPerform { konnektor, action, data } => {
                Verb::KonnektorPerform { konnektor: settle(konnektor)?, action, data }
            }
            Verb::KonnektorTerminals { konnektor } => {
                Verb::KonnektorTerminals { konnektor: settle(konnektor)? }
            }
            Verb::KonnektorRemap { konnektor, source, pairs, dry_run, yes } => {
                Verb::KonnektorRemap { konnektor: settle(konnektor)?, source, pairs, dry_run, yes }
            }
            Verb::Jobs => Verb::Jobs,
            Verb::JobAttach(number) => Verb::JobAttach(number),
            Verb::JobCancel(number) => Verb::JobCancel(number),
            Verb::Order(order) => Verb::Order(order),
            Verb::Orders => Verb::Orders,
            Verb::OrderClose(ticket) => Verb::OrderClose(ticket),
            Verb::KonnektorShow { konnektor, file, services } => {
                Verb::KonnektorShow { konnektor: settle(konnektor)?, file, services }
            }
            Verb::Connect { host, site } => Verb::Connect { host, site },
        })
    }
}

impl<K> Verb<K> {
    /// Whether it reads a file from standard input.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have no file")]
    pub fn reads_input(&self) -> bool {
        match self {
            Verb::KonnektorDiff { old, new, .. } => *old == Source::Input || *new == Some(Source::Input),
            Verb::KonnektorRestore { restore: Restore::From { source, .. }, .. }
            | Verb::KonnektorRemap { source, .. } => *source == Source::Input,
            _ => false,
        }
    }

    /// Whether it may ask the person something while it runs.
    pub fn asks_back(&self) -> bool {
        matches!(self, Verb::KonnektorRestore { .. } | Verb::KonnektorRemap { .. })
    }

    /// Whether it goes on when the person's line drops, as a job of its box.
    pub fn is_a_job(&self) -> bool {
        matches!(
            self,
            Verb::KonnektorBackup { .. }
                | Verb::KonnektorRestore { .. }
                | Verb::KonnektorPerform { .. }
                | Verb::KonnektorRemap { .. }
        )
    }
}

/// An action's data, JSON as it was written; it may hold a secret, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(pub String);

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Data({} bytes)", self.0.len())
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

    fn action(&self) -> Option<&ActionName> {
        if let Verb::KonnektorPerform { action, .. } = &self.verb { Some(action) } else { None }
    }

    fn acts(&self) -> bool {
        matches!(self.verb, Verb::JobAttach(_) | Verb::JobCancel(_))
    }
    fn as_asked(&self) -> &[u8] {
        &self.as_asked
    }
}
