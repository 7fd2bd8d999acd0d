//! `policy/` → [`Config`]: read once, every error at once, each with its place.
//! Absent on purpose: dialling, and who may do what (that is `policy`).

mod days;
mod files;
mod gateway;
mod network;
mod notify;
mod problems;
mod reader;
mod schedule;
mod site;
#[cfg(test)]
mod tests;

pub use days::parse_days;
pub use files::{Folder, NO_SECRET, Readable, Unread, read_guarded};
pub use gateway::{
    Batch, ExecFactor, FactorSettings, Gateway, Language, Limits, Person, Storage, WebhookFactor,
};
pub use network::Network;
pub use notify::{Notice, Notify};
pub use problems::{Place, Problem, Problems, near_miss, nearest};
pub use reader::{At, Document, Table};
pub use schedule::{Retention, Schedule, When};
pub use site::{Host, HostProof, Inner, KonnektorBox, Product, Site, Via};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::names::{HostName, SiteName};

/// What stands in `policy/gateway.toml` and `policy/sites/`.
pub struct Config {
    /// `policy/gateway.toml`.
    pub gateway: Gateway,
    /// `policy/sites/*.toml` by the file's name.
    pub sites: BTreeMap<SiteName, Site>,
    /// Sites whose files are there, but wrong.
    pub broken: BTreeSet<SiteName>,
}

impl Config {
    /// Reads all of it. What is wrong goes to `problems`; `None` if the gateway's own file could not be read.
    pub fn load(folder: &Folder, problems: &mut Problems) -> Option<Self> {
        folder.guard(
            &["", "policy", "policy/sites", "keys", "keys/sites", "secrets", "secrets/totp", "state"],
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
        Some(Self { gateway: gateway?, sites, broken })
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
