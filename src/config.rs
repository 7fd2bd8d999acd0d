//! `policy/` → [`Config`]: read once, every error at once, each with its place.
//! Absent on purpose: dialling, and who may do what (that is `policy`).

mod days;
mod factor;
mod files;
mod firm;
mod gateway;
mod network;
mod notify;
mod problems;
mod reader;
mod schedule;
mod site;
mod storage;
#[cfg(test)]
mod tests;

pub use days::parse_days;
pub use factor::{
    CallbackListener, DuoFactor, DuoSignature, ExecFactor, FactorSettings, Factors, Kind, NtfyFactor,
    PrivacyIdeaFactor, PrivacyIdeaService, SmsBy, SmsFactor, WebhookFactor,
};
pub use files::{Folder, NO_SECRET, Readable, Unread, read_guarded};
pub use firm::{FirmFile, PersonsFactor};
pub use gateway::{Batch, Gateway, Language, Limits, Person};
pub use network::Network;
pub use notify::{Notice, Notify};
pub use problems::{Place, Problem, Problems, near_miss, nearest};
pub use reader::{At, Document, Table};
pub use schedule::{Retention, Schedule, When};
pub use site::{
    Host, HostProof, Inner, KonnektorBox, LinkedBox, Product, Recipient, Site, SiteKonnektor, Via,
};
pub use storage::{BadPostgresUrl, PostgresAt, PostgresHost, PostgresUrl, StateAt, Storage};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::names::{Firm, HostName, SiteName, Username};

/// What stands in `policy/gateway.toml`, `policy/sites/` and `policy/firms/`.
pub struct Config {
    /// `policy/gateway.toml`.
    pub gateway: Gateway,
    /// `policy/sites/*.toml` by the file's name.
    pub sites: BTreeMap<SiteName, Site>,
    /// `policy/firms/*.toml` by the file's name; a firm need not have one.
    pub firms: BTreeMap<Firm, FirmFile>,
    /// Where secrets of codes stand, unless a file says otherwise.
    pub totp_folder: PathBuf,
    /// Sites whose files are there, but wrong.
    pub broken: BTreeSet<SiteName>,
}

impl Config {
    /// Reads all of it. What is wrong goes to `problems`; `None` if the gateway's own file could not be read.
    pub fn load(folder: &Folder, problems: &mut Problems) -> Option<Self> {
        folder.guard(
            &[
                "",
                "policy",
                "policy/sites",
                "policy/firms",
                "keys",
                "keys/sites",
                "secrets",
                "secrets/totp",
                "state",
            ],
            problems,
        );
        let gateway = Gateway::load(folder, problems);
        let (mut sites, mut broken) = (BTreeMap::new(), BTreeSet::new());
        for file in folder.list(Path::new("policy/sites"), problems) {
            if let Some(site) = Site::load(folder, &file, problems) {
                sites.insert(site.name.clone(), site);
            } else {
                let name = file.file_stem().and_then(|stem| stem.to_str());
                broken.extend(name.and_then(|name| name.parse::<SiteName>().ok()));
            }
        }
        Self::no_domain_twice(&sites, problems);
        let known = |kind| {
            // A gateway's file that could not be read has been complained about: its tables are not missing too.
            kind == Kind::Totp || gateway.as_ref().is_none_or(|g| g.factor.sets_up(kind))
        };
        let mut firms = BTreeMap::new();
        for file in folder.list(Path::new("policy/firms"), problems) {
            if let Some(firm) = FirmFile::load(folder, &file, &known, problems) {
                if gateway.as_ref().is_some_and(|gateway| gateway.callback.is_none()) {
                    firm.factor.without_callback(problems);
                }
                firms.insert(firm.firm.clone(), firm);
            }
        }
        if let Some(gateway) = &gateway {
            let grace = gateway.limits.factor_grace;
            let all = std::iter::once(&gateway.factor).chain(firms.values().map(|firm| &firm.factor));
            all.for_each(|factors| factor::ends_before_the_login(factors, grace, problems));
        }
        let totp_folder = folder.path("secrets/totp");
        Some(Self { gateway: gateway?, sites, firms, totp_folder, broken })
    }

    fn no_domain_twice(sites: &BTreeMap<SiteName, Site>, problems: &mut Problems) {
        let mut seen: BTreeMap<&str, &Site> = BTreeMap::new();
        for site in sites.values() {
            if let Some(other) = seen.insert(&site.domain, site) {
                let message = format!(
                    "the domain {} stands in {} too: one domain leads to one site",
                    site.domain, other.place
                );
                problems.add(site.place.clone(), message);
            }
        }
    }

    /// How this person confirms: their own choice, their firm's, the gateway's.
    pub fn factor_of(&self, user: &Username) -> FactorOf<'_> {
        let firm = self.firms.get(&user.firm());
        self.chosen(firm, firm.and_then(|firm| firm.people.get(user)))
    }

    /// The same of somebody of this firm of whom nothing else is said; of no firm that has a file.
    pub fn factor_of_firm<'c>(&'c self, firm: Option<&'c FirmFile>) -> FactorOf<'c> {
        self.chosen(firm, None)
    }

    fn chosen<'c>(&'c self, firm: Option<&'c FirmFile>, person: Option<&'c PersonsFactor>) -> FactorOf<'c> {
        let (of_firm, of_all) = (firm.map(|firm| &firm.factor), &self.gateway.factor);
        let choose = |mine: Option<Kind>, theirs: fn(&Factors) -> Option<Kind>| {
            mine.or_else(|| of_firm.and_then(theirs)).or_else(|| theirs(of_all))
        };
        let first = choose(person.and_then(|p| p.provider), |f| f.provider).unwrap_or(Kind::Totp);
        let second = choose(person.and_then(|p| p.second), |f| f.second).filter(|second| *second != first);
        let menu = person.and_then(|p| p.menu).or_else(|| of_firm.and_then(|f| f.menu)).or(of_all.menu);
        let own = |kind| firm.filter(|firm| firm.factor.settings.contains_key(&kind)).map(|firm| &firm.firm);
        FactorOf {
            first: (own(first), first),
            second: second.map(|second| (own(second), second)),
            menu: menu.unwrap_or(false),
            person,
        }
    }

    /// The site and host that answer to `name`: `DOMAIN`, `portal.DOMAIN`, `backup.DOMAIN`, in any case of letters.
    pub fn host(&self, name: &str) -> Option<(&Site, &HostName, &Host)> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.sites.values().find_map(|site| {
            let rest = name.strip_suffix(&site.domain)?;
            let host = match rest.strip_suffix('.') {
                Some(host) => host,
                None if rest.is_empty() => "portal",
                None => return None,
            };
            site.hosts.iter().find(|(n, _)| n.as_str() == host).map(|(n, h)| (site, n, h))
        })
    }
}

/// How one person confirms. Settings are the firm's own where it has some, else the gateway's.
pub struct FactorOf<'c> {
    /// Asked first.
    pub first: (Option<&'c Firm>, Kind),
    /// May be chosen instead.
    pub second: Option<(Option<&'c Firm>, Kind)>,
    /// Are they asked which way they want?
    pub menu: bool,
    /// Where they are reached, if their firm's file says so.
    pub person: Option<&'c PersonsFactor>,
}
