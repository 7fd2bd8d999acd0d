//! [`Started<Hop>`] → a sealed byte pipe to a site's host: bytes both ways, half-close kept, nothing looked at.
//! Absent on purpose: deciding, and any address but those of `policy/sites`.

mod dial;
mod pipe;

pub use dial::{Away, dial};
pub use pipe::{Pipe, Sealed};

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::asks::{Family, Place};
use crate::config::{Config, Host, Via};
use crate::names::{HostName, SiteName};
use crate::uplink::Uplinks;

/// The hosts of all sites, changed as a whole when files change.
pub struct Hosts {
    config: ArcSwap<Config>,
    uplinks: Arc<Uplinks>,
}

/// One of them, as its file said when it was looked up.
#[derive(Clone)]
pub struct Target {
    config: Arc<Config>,
    uplinks: Arc<Uplinks>,
    /// Its site.
    pub site: SiteName,
    /// Its name there.
    pub name: HostName,
    /// `hop HOST`
    pub family: Family,
}

/// The port that the hosts answer to under their names, whatever the machine's real one (RFC 4253 §4.1).
pub const PORT: u32 = 22;

impl Hosts {
    /// As the files say, over these links where they say so.
    pub fn of(config: Config, uplinks: Arc<Uplinks>) -> Self {
        Self { config: ArcSwap::from_pointee(config), uplinks }
    }

    /// From the next look on, these.
    pub fn change(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    /// The host that a client's `name:port` means. An address is no name, and no other port is a host's.
    pub fn find(&self, name: &str, port: u32) -> Option<Target> {
        let config = self.config.load_full();
        let (site, host) = config.host(name).map(|(site, name, _)| (site.name.clone(), name.clone()))?;
        let family = Family::hop(&host)?;
        let uplinks = self.uplinks.clone();
        (port == PORT).then_some(Target { config, uplinks, site, name: host, family })
    }

    /// A site's host by its own name.
    pub fn at(&self, site: &SiteName, host: &HostName) -> Option<Target> {
        let config = self.config.load_full();
        config.sites.get(site)?.hosts.get(host)?;
        let family = Family::hop(host)?;
        let uplinks = self.uplinks.clone();
        Some(Target { config, uplinks, site: site.clone(), name: host.clone(), family })
    }
}

impl Target {
    /// The site's links, if it is reached over one.
    fn link(&self) -> Option<&Uplinks> {
        let via = self.config.sites.get(&self.site)?.via;
        (via == Via::Link).then_some(&*self.uplinks)
    }

    /// What its file says.
    pub fn host(&self) -> Option<&Host> {
        self.config.sites.get(&self.site)?.hosts.get(&self.name)
    }

    /// `backup.praxis-mueller.example`
    pub fn domain(&self) -> String {
        let domain = self.config.sites.get(&self.site).map_or("", |site| site.domain.as_str());
        format!("{}.{domain}", self.name)
    }

    /// All names that it answers to.
    pub fn names(&self) -> Vec<String> {
        let domain = self.config.sites.get(&self.site).map(|site| site.domain.clone());
        let bare = domain.filter(|_| self.name.as_str() == "portal");
        std::iter::once(self.domain()).chain(bare).collect()
    }

    /// The customer's name for people.
    pub fn title(&self) -> &str {
        self.config.sites.get(&self.site).map_or("", |site| site.title.as_str())
    }

    /// As a place that somebody asked for with these words.
    pub fn place(&self, as_asked: &[u8]) -> Place {
        Place {
            site: self.site.clone(),
            host: self.name.clone(),
            family: self.family,
            as_asked: as_asked.into(),
        }
    }
}
