//! `site.toml` → [`Settings`]: whom the site dials, what may be reached in it, who may switch. Every error at once, with its place.
//! Absent on purpose: what the switch says right now (`site::switch`), and any address that a gateway names.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ssh_key::{Algorithm, HashAlg, PrivateKey, PublicKey};

pub use page::{Page, Seal};

use super::desk;
use crate::config::{Document, Folder, KonnektorBox, Language, Place, Problems, Readable, Recipient, Table};
use crate::link;
use crate::names::{Firm, HostPort, KonnektorName, SiteName};
use crate::secret::Secret;

/// The file's name below the folder.
pub const FILE: &str = "site.toml";
/// Where it stands unless somebody says otherwise.
pub const FOLDER: &str = "/etc/pforte-site";

const MINUTE: Duration = Duration::from_mins(1);
/// The longest `most`.
const DAY: Duration = Duration::from_hours(24);

/// A site, as its own file says.
pub struct Settings {
    /// Its name at the gateways.
    pub name: SiteName,
    /// The practice's name for people.
    pub title: String,
    /// In which it is midnight.
    pub zone: TimeZone,
    /// The zone's name.
    pub zone_name: String,
    /// Of the terminal, unless it is asked otherwise.
    pub language: Language,
    /// The site's own key.
    pub key: Arc<PrivateKey>,
    /// What outlives a restart.
    pub state: PathBuf,
    /// The terminal's socket.
    pub socket: PathBuf,
    /// Who is dialled.
    pub gateways: Vec<Gateway>,
    /// Whom the page offers.
    pub firms: Vec<desk::Firm>,
    /// How the switch begins.
    pub switch: SwitchSettings,
    /// The only addresses that are dialled for anybody, as they are written.
    pub allow: BTreeSet<String>,
    /// The only Konnektors that anybody reaches.
    pub konnektors: BTreeMap<KonnektorName, KonnektorBox>,
    /// age recipient that encrypts archives before they leave.
    pub recipient: Option<String>,
    /// The local page, if there is one.
    pub page: Option<Page>,
    /// The link.
    pub link: LinkSettings,
    /// How long after a visit its report is signed.
    pub report_after: Duration,
}

/// A gateway that the site dials.
#[derive(Clone)]
pub struct Gateway {
    /// Its addresses; the next one is tried when one fails.
    pub addresses: Vec<HostPort>,
    /// The only key that it may have.
    pub host_key: PublicKey,
    /// The way out.
    pub proxy: Option<Proxy>,
}

impl Gateway {
    /// As OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        self.host_key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// For people: the first address.
    pub fn title(&self) -> String {
        self.addresses.first().map(ToString::to_string).unwrap_or_default()
    }
}

/// The way out, where there is no other.
#[derive(Clone)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Where it is.
    pub address: HostPort,
    /// User and password, if it wants them.
    pub login: Option<(String, Secret)>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// `CONNECT` (RFC 9110 §9.3.6)
    Http,
    /// RFC 1928; the proxy looks names up.
    Socks5,
}

/// How the switch begins; what was chosen at the page counts from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchSettings {
    /// The longest that it can be opened for.
    pub most: Duration,
    /// It opens by itself after a restart.
    pub when_possible: bool,
    /// The standing order for nightly backups.
    pub backup_only: bool,
}

/// When and how the link is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// When it is dialled.
    pub dial: Dial,
    /// How often the site says that it lives.
    pub alive: Duration,
    /// After so long without a word the gateway is gone.
    pub silence: Duration,
}

/// When the link is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// It is there, and technicians can ask to be let in.
    Always,
    /// Only while the switch is open, or the standing order is on.
    WhenOpen,
}

/// A time zone's name.
struct Zone(String, TimeZone);

impl FromStr for Zone {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let zone = TimeZone::get(text).map_err(|_| "expected a time zone such as Europe/Berlin")?;
        Ok(Self(text.to_owned(), zone))
    }
}

/// `http://host:port` or `socks5://host:port`.
struct ProxyAddress(ProxyKind, HostPort);

impl FromStr for ProxyAddress {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ways = [("http://", ProxyKind::Http), ("socks5://", ProxyKind::Socks5)];
        let found = ways.into_iter().find_map(|(scheme, kind)| Some((kind, text.strip_prefix(scheme)?)));
        let (kind, rest) = found.ok_or("expected http://host:port or socks5://host:port")?;
        // What stands before an @ is a password in a file that many can read.
        if rest.contains('@') {
            return Err("the user stands in proxy_user, the password in proxy_password = { file = \"…\" }");
        }
        let address = rest.strip_suffix('/').unwrap_or(rest).parse();
        Ok(Self(kind, address.map_err(|_| "expected http://host:port or socks5://host:port")?))
    }
}

/// A text for people: one line that is not empty.
struct Line(String);

impl FromStr for Line {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = !text.trim().is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
        good.then(|| Self(text.trim().to_owned())).ok_or("expected one line of at most 200 bytes")
    }
}

/// A host key that a gateway may have.
struct HostKey(PublicKey);

impl FromStr for HostKey {
    type Err = String;

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are refused, new ones too")]
    fn from_str(text: &str) -> Result<Self, String> {
        let key: PublicKey = text.parse().map_err(|e: ssh_key::Error| e.to_string())?;
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Rsa { .. } => Ok(Self(key)),
            _ => Err(format!("expected an ssh-ed25519 or ssh-rsa key, not {}", key.algorithm())),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "site {}", self.name)
    }
}

impl Settings {
    /// Reads `site.toml` in `dir`, and everything that it names.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn load(dir: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let folder = Folder::new(dir);
        let read = read(&folder, &mut problems);
        problems.check()?;
        read.ok_or_else(Problems::default)
    }

    /// What was right when it was written and is no more.
    ///
    /// # Errors
    /// The page's certificate has expired.
    pub fn check_dates(&self, now: Timestamp) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if let Some(page) = &self.page {
            page.check_dates(now, &mut problems);
        }
        problems.check()
    }
}

fn read(folder: &Folder, problems: &mut Problems) -> Option<Settings> {
    let file = Path::new(FILE);
    let text = folder.read(file, Readable::ByAll, None, problems)?;
    let document = Document::parse(file, &text, problems)?;
    let mut root = document.root();
    let name = root.required::<SiteName>("name", problems);
    let title = root.required::<Line>("title", problems);
    let zone = root.parsed::<Zone>("zone", problems);
    let languages = [("de", Language::German), ("en", Language::English)];
    let language = root.one_of("language", &languages, problems).unwrap_or(Language::German);
    let key = key(folder, &mut root, problems);
    let state = root.parsed::<PathBuf>("state", problems).map_or_else(|| "state".into(), |at| at.value);
    let state = folder.path(state);
    let socket = root.parsed::<PathBuf>("socket", problems).map(|at| folder.path(at.value));
    let allow = root.list::<HostPort>("allow", problems).unwrap_or_default();
    let recipient = root.parsed::<Recipient>("recipient", problems);
    let gateways = root.tables("gateway", problems);
    if gateways.is_empty() {
        problems.add(Place::file(file), "needs a [[gateway]]: whom the site dials");
    }
    let gateways: Vec<_> = gateways.into_iter().map(|t| gateway(folder, t, problems)).collect::<Vec<_>>();
    let firms = root.tables("firm", problems);
    let firms = firms.into_iter().map(|table| firm(table, problems)).collect::<Vec<_>>();
    let switch = switch(root.table("switch", problems), problems);
    let boxes = root.named::<KonnektorName>("konnektor", problems);
    let boxes = boxes
        .into_iter()
        .map(|(n, t)| Some((n, KonnektorBox::read(folder, t, problems)?)))
        .collect::<Vec<_>>();
    let page = root.table("page", problems).map(|table| page::read(folder, table, problems));
    let link = link_settings(root.table("link", problems), problems);
    let report_after = root.table("report", problems).and_then(|mut table| {
        let after = table.duration_within("after", (Duration::ZERO, DAY), problems);
        table.finish(problems);
        after.map(|at| at.value)
    });
    root.finish(problems);
    let (zone_name, zone) =
        zone.map_or_else(|| ("Europe/Berlin".into(), None), |at| (at.value.0, Some(at.value.1)));
    let zone = zone.or_else(|| TimeZone::get(&zone_name).ok()).unwrap_or(TimeZone::UTC);
    Some(Settings {
        name: name?.value,
        title: title?.value.0,
        zone,
        zone_name,
        language,
        key: key?,
        socket: socket.unwrap_or_else(|| state.join("site.sock")),
        state,
        gateways: gateways.into_iter().collect::<Option<_>>()?,
        firms: firms.into_iter().collect::<Option<_>>()?,
        switch,
        allow: allow.into_iter().map(|at| at.value.to_string()).collect(),
        konnektors: boxes.into_iter().collect::<Option<_>>()?,
        recipient: recipient.map(|at| at.value.0),
        page: page.flatten(),
        link,
        report_after: report_after.unwrap_or(MINUTE),
    })
}

fn key(folder: &Folder, root: &mut Table<'_, '_>, problems: &mut Problems) -> Option<Arc<PrivateKey>> {
    let file = root.required::<PathBuf>("key", problems)?;
    let text = folder.read(&file.value, Readable::ByOwner, Some(&file.place), problems)?;
    let text = zeroize::Zeroizing::new(text);
    match PrivateKey::from_openssh(text.as_bytes()) {
        Ok(key) if key.is_encrypted() => {
            problems.add(file.place, "the key has a passphrase, and nobody is there to type it");
            None
        }
        Ok(key) if key.algorithm() == Algorithm::Ed25519 => Some(Arc::new(key)),
        Ok(key) => {
            problems.add(file.place, format!("expected an ssh-ed25519 key, not {}", key.algorithm()));
            None
        }
        Err(e) => {
            problems.add(file.place, format!("no private key in OpenSSH's format: {e}"));
            None
        }
    }
}

fn gateway(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<Gateway> {
    let addresses = table.required_list::<HostPort>("address", problems);
    let host_key = table.required::<HostKey>("host_key", problems);
    let proxy = table.parsed::<ProxyAddress>("proxy", problems);
    let user = table.parsed::<Line>("proxy_user", problems);
    let password = folder.secret(&mut table, "proxy_password", problems);
    let place = table.place();
    if user.is_some() != (password.is_some() || table.holds("proxy_password")) {
        problems.add(place.clone(), "proxy_user and proxy_password belong together");
    }
    if proxy.is_none() && !table.holds("proxy") && user.is_some() {
        problems.add(place, "proxy_user without a proxy");
    }
    table.finish(problems);
    let login = user.map(|at| at.value.0).zip(password);
    let proxy = proxy.map(|at| Proxy { kind: at.value.0, address: at.value.1, login });
    let addresses: Vec<HostPort> = addresses.into_iter().map(|at| at.value).collect();
    (!addresses.is_empty()).then_some(Gateway { addresses, host_key: host_key?.value.0, proxy })
}

fn firm(mut table: Table<'_, '_>, problems: &mut Problems) -> Option<desk::Firm> {
    let name = table.required::<Firm>("name", problems);
    let title = table.required::<Line>("title", problems);
    let telephone = table.parsed::<Line>("telephone", problems).map(|at| at.value.0);
    table.finish(problems);
    Some(desk::Firm { name: name?.value.to_string(), title: title?.value.0, telephone })
}

fn switch(table: Option<Table<'_, '_>>, problems: &mut Problems) -> SwitchSettings {
    let mut settings =
        SwitchSettings { most: Duration::from_hours(4), when_possible: false, backup_only: false };
    let Some(mut table) = table else { return settings };
    if let Some(most) = table.duration_within("most", (MINUTE, DAY), problems) {
        settings.most = most.value;
    }
    settings.when_possible = table.flag("when_possible", problems).unwrap_or(false);
    settings.backup_only = table.flag("backup_only", problems).unwrap_or(false);
    table.finish(problems);
    settings
}

fn link_settings(table: Option<Table<'_, '_>>, problems: &mut Problems) -> LinkSettings {
    let mut settings = LinkSettings { dial: Dial::Always, alive: link::ALIVE, silence: link::SILENCE };
    let Some(mut table) = table else { return settings };
    let ways = [("always", Dial::Always), ("when-open", Dial::WhenOpen)];
    settings.dial = table.one_of("dial", &ways, problems).unwrap_or(Dial::Always);
    if let Some(alive) = table.duration_within("alive", (Duration::from_secs(1), link::ALIVE), problems) {
        settings.alive = alive.value;
        settings.silence = alive.value * 5 / 2;
    }
    table.finish(problems);
    settings
}
