//! What the page, the terminal and the program see of the site, and what a person there can do: one view, a few actions.
//! Absent on purpose: HTML, sockets, and how any of it is done.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Everything at one moment; `pforte site status --json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct View {
    /// The site's name at the gateways.
    pub site: String,
    /// The practice's name for people.
    pub title: String,
    /// Now, by this machine's clock.
    pub now: Timestamp,
    /// The time zone for people, `Europe/Berlin`.
    pub zone: String,
    /// The switch.
    pub switch: Switch,
    /// Who may come while it is open.
    pub named: Vec<Named>,
    /// Whom the page offers to name: the firms of `site.toml`.
    pub firms: Vec<Firm>,
    /// The lights, in the order of a cable: nearest first.
    pub lights: Vec<Light>,
    /// Who is in right now.
    pub present: Vec<Presence>,
    /// Who asks to be let in.
    pub asks: Vec<Ask>,
    /// Visits that are over, newest first, at most 50.
    pub visits: Vec<Past>,
    /// Where the page is in the practice's network; empty if it is there for this machine alone.
    #[serde(default)]
    pub access: Vec<Access>,
}

/// The page at an address of the practice's network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Access {
    /// `https://192.168.1.5:8022/`
    pub url: String,
    /// What keeps others in that network from reading along.
    pub seal: Seal,
    /// SHA-256 of the certificate, as browsers show it: `AB:CD:…`
    pub fingerprint: Option<String>,
    /// The last moment at which the certificate counts.
    pub until: Option<Timestamp>,
    /// What somebody has to do about it.
    pub warning: Option<Said>,
}

/// What keeps others from reading along.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Seal {
    /// TLS with a certificate that the site made.
    Own,
    /// TLS with the operator's certificate.
    Given,
    /// Nothing here.
    Plain,
}

/// The switch.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Switch {
    /// Is the link open to those who are named?
    pub open: bool,
    /// Until when.
    pub until: Option<Timestamp>,
    /// The longest that it can be opened for, in minutes.
    pub most_minutes: u32,
    /// The standing order: nightly backups run, nothing else.
    pub backup_only: bool,
    /// It opens by itself after a restart, and names nobody.
    pub when_possible: bool,
}

/// Somebody who may come.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Named {
    /// `firm` or `firm-jane.doe`
    pub who: String,
    /// The firm's name for people.
    pub title: String,
    /// Until when; never longer than the switch.
    pub until: Timestamp,
}

/// A firm that `site.toml` knows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Firm {
    /// `firm`
    pub name: String,
    /// For people.
    pub title: String,
    /// Its telephone, if `site.toml` has it.
    pub telephone: Option<String>,
}

/// What a light is about; one of a kind, but for gateways and Konnektors.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A network interface is up and has an address.
    Network,
    /// The default gateway (the practice's router) answers.
    Router,
    /// Names are resolved.
    Dns,
    /// The address that a gateway sees us at.
    PublicAddress,
    /// A gateway was reached.
    Gateway,
    /// The gateway's key is the pinned one, and it knows ours.
    Key,
    /// This machine's clock is right.
    Clock,
    /// A Konnektor answers.
    Konnektor,
}

/// Green or red.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Shine {
    /// All is well.
    Green,
    /// It is not, and somebody has to do something.
    Red,
    /// Not known yet, or not to be known before another one is green.
    Unknown,
}

/// One light, with its sentence.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Light {
    /// What it is about.
    pub about: About,
    /// Which one, where there are several: an address, a Konnektor's name.
    pub which: Option<String>,
    /// Its colour.
    pub shine: Shine,
    /// What is so, in both languages.
    pub says: Said,
    /// What to do, if it is red.
    pub advice: Option<Said>,
}

/// A sentence in both languages.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Said {
    /// German.
    pub de: String,
    /// English.
    pub en: String,
}

/// Somebody who is in.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Presence {
    /// The visit's name: the gateway's session, `01J…`.
    pub visit: String,
    /// `firm-jane.doe`, or `@schedule`
    pub user: String,
    /// The firm's name for people.
    pub firm: String,
    /// Since when.
    pub since: Timestamp,
    /// In their own words, if they asked.
    pub why: Option<String>,
    /// What is open now: `backup server`, `Konnektor main: konnektor backup`.
    pub at: Vec<String>,
    /// What was done so far, newest last, at most 200.
    pub deeds: Vec<Deed>,
}

/// One thing that was done.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: DeedKind,
    /// The command, the line, the path; untrusted text.
    pub text: String,
    /// How it ended, once it has: 0 is well.
    pub exit: Option<u32>,
    /// The gateway's journal line that says so, if it does: its number.
    pub seq: Option<u64>,
}

/// What kind of deed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DeedKind {
    /// A command, a connection.
    Command,
    /// A line typed in a session.
    Typed,
    /// A file that went over.
    File,
    /// Something was refused, here or at the gateway.
    Refused,
}

/// Somebody asks to be let in.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Ask {
    /// Its name.
    pub id: String,
    /// `firm-jane.doe`
    pub user: String,
    /// The firm's name for people.
    pub firm: String,
    /// In their words; untrusted text.
    pub why: String,
    /// For how long.
    pub minutes: u32,
    /// When they asked.
    pub at: Timestamp,
}

/// A visit that is over.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Past {
    /// [`Presence::visit`]
    pub visit: String,
    /// `firm-jane.doe`, or `@schedule`
    pub user: String,
    /// The firm's name for people.
    pub firm: String,
    /// In their own words, if they asked.
    pub why: Option<String>,
    /// From when.
    pub since: Timestamp,
    /// To when.
    pub until: Timestamp,
    /// How it ended: `left`, `closed`, `ended`, `link-lost`, `time`.
    pub ended: String,
    /// How many deeds.
    pub deeds: usize,
    /// Is the signed report there? It is, minutes after the visit.
    pub reported: bool,
}

/// A signed report of one visit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The JSON, byte by byte as it was signed.
    pub json: String,
    /// SSHSIG, armoured, namespace [`REPORT`]; `ssh-keygen -Y verify` checks it.
    pub signature: String,
    /// The public key that signed, in OpenSSH's format.
    pub key: String,
}

/// SSHSIG's namespace of visit reports.
pub const REPORT: &str = "pforte-visit";

/// What a report's JSON holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// The site's name.
    pub site: String,
    /// The practice's name.
    pub title: String,
    /// The gateway that it came over, and its key's fingerprint.
    pub gateway: String,
    /// [`Past`]
    #[serde(flatten)]
    pub past: Past,
    /// All of them; beyond 10,000 the rest is counted in `left_out`.
    pub deeds_done: Vec<Deed>,
    /// Deeds beyond that.
    pub left_out: u64,
    /// The gateway's journal lines that were sent along, byte by byte, so that they can be held against its journal.
    pub lines: Vec<String>,
}

/// What a person at the site does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Opens the link for so many minutes.
    Open {
        /// 1 to [`Switch::most_minutes`].
        minutes: u32,
    },
    /// Opens it until the end of the day, or for the longest time if that is shorter.
    OpenToday,
    /// Closes it: whoever is in is out within a second.
    Close,
    /// Names a firm or a person.
    Allow {
        /// `firm` or `firm-jane.doe`
        who: String,
    },
    /// Takes that back: they are out within a second.
    Withdraw {
        /// The same.
        who: String,
    },
    /// Lets somebody in who asks: names that person, and opens the link for the minutes that they asked for if it is closed.
    Grant {
        /// [`Ask::id`]
        ask: String,
    },
    /// Does not.
    Deny {
        /// [`Ask::id`]
        ask: String,
    },
    /// Ends one visit; the person is named no more.
    End {
        /// [`Presence::visit`]
        visit: String,
    },
    /// Turns the standing order on or off.
    BackupOnly {
        /// On?
        on: bool,
    },
    /// Opens the link after each restart, or no more.
    WhenPossible {
        /// On?
        on: bool,
    },
}

/// Who does it, for the site's own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// At the page, from this address.
    Page(String),
    /// At a terminal of this machine, as this user.
    Terminal(String),
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The link can be opened for so many minutes at most.
    #[error("at most {0} minutes")]
    TooLong(u32),
    /// The link is closed, so nobody can be named yet: open it first.
    #[error("the link is closed: open it first")]
    Closed,
    /// No firm and no person is called that.
    #[error("neither a firm nor a person")]
    NoSuchName,
    /// There is none of that name any more.
    #[error("it is gone")]
    Gone,
    /// The site's disk or the like; nothing was changed.
    #[error("{0}")]
    Broken(String),
}

impl NotDone {
    /// For people.
    pub fn said(&self) -> Said {
        let said = |de: &str, en: &str| Said { de: de.to_owned(), en: en.to_owned() };
        match self {
            Self::TooLong(most) => Said {
                de: format!("Hier kann höchstens für {most} Minuten geöffnet werden."),
                en: format!("It can be opened for at most {most} minutes here."),
            },
            Self::Closed => said(
                "Die Verbindung ist geschlossen. Erst öffnen, dann jemanden hereinlassen.",
                "The link is closed. Open it first, then let somebody in.",
            ),
            Self::NoSuchName => said(
                "So heißt keine Firma und keine Person. Beispiel: firm oder firm-jane.doe",
                "No firm and no person is called that. For example: firm or firm-jane.doe",
            ),
            Self::Gone => said("Das gibt es nicht mehr.", "That is gone."),
            Self::Broken(why) => Said {
                de: format!("Es ging nicht, und nichts wurde geändert: {why}"),
                en: format!("It did not work, and nothing was changed: {why}"),
            },
        }
    }
}

/// The desk at which a person of the practice sits, whatever it looks like.
#[async_trait]
pub trait Desk: Send + Sync + 'static {
    /// How everything is.
    fn view(&self) -> View;
    /// Does it; returns when it is done and on record.
    async fn act(&self, action: Action, by: By) -> Result<(), NotDone>;
    /// The report of a visit that is over.
    async fn report(&self, visit: &str) -> Option<Report>;
    /// Changes with each change of the view; at most every 200 ms.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// How soon a close, a withdrawal or an end has to have taken effect.
pub const WITHIN: Duration = Duration::from_secs(1);
