//! What a kit is made of: the gateway's names and keys, and the hosts that a rule lets this person go on to.
//! Absent on purpose: what the files look like.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use ssh_key::{HashAlg, PublicKey};

use crate::asks::Family;
use crate::config::{Inner, Problems};
use crate::house::{self, Loaded};
use crate::init::HOST_CA;
use crate::names::{HostPort, SiteName, Username};

/// Why no kit could be made, or none be compared: the exit code tells them apart.
#[derive(Debug, thiserror::Error)]
pub enum NoFacts {
    /// What stands in the files, each with its place.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// A key of the gateway's own, or a name.
    #[error("{0:#}")]
    Gateway(anyhow::Error),
}

/// Whose key a host shows to a client that came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The session ends at the gateway, which shows its own, with a certificate for the host's names.
    Gateways,
    /// Sealed: the host shows its own, which stands pinned in the site's file.
    Own(PublicKey),
    /// Sealed, and nobody has written down which.
    Unknown,
}

/// A host that this person may go on to.
#[derive(Clone, Debug)]
pub struct Host {
    /// `portal.DOMAIN` and `DOMAIN`, or `backup.DOMAIN`.
    pub names: Vec<String>,
    /// Whose key it shows.
    pub shown: Shown,
}

/// A customer with at least one such host.
#[derive(Clone, Debug)]
pub struct Site {
    /// The file's name.
    pub name: SiteName,
    /// The customer's name for people.
    pub title: String,
    /// Its hosts answer to names below it.
    pub domain: String,
    /// The portal.
    pub portal: Option<Host>,
    /// The backup machine.
    pub backup: Option<Host>,
}

impl Site {
    /// Both, as far as they are there.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.portal.iter().chain(&self.backup)
    }
}

/// All of it.
pub struct Facts {
    /// The technician.
    pub user: Username,
    /// Has keys/ a key of theirs?
    pub has_key: bool,
    /// By which the gateway is reached; the first one is written.
    pub reached_at: Vec<HostPort>,
    /// The gateway's host key.
    pub host_key: PublicKey,
    /// Who vouches for it.
    pub host_ca: PublicKey,
    /// Where this person may go.
    pub sites: Vec<Site>,
}

impl Facts {
    /// Reads the configuration below `dir`, as `serve` would.
    pub fn read(dir: &Path, user: &Username) -> Result<Self, NoFacts> {
        let loaded = house::load(dir)?;
        let gateway = &loaded.config.gateway;
        let reached_at = gateway.reached_at(&gateway.listen);
        if reached_at.is_empty() {
            let why = "policy/gateway.toml: names: is missing, and listen has no address to connect to: \
                       write names = [\"gateway.firm.example\"]";
            return Err(NoFacts::Gateway(anyhow::anyhow!(why)));
        }
        let storage = &gateway.storage;
        let host_key =
            house::private_key(&dir.join(&storage.host_key), "host key").map_err(NoFacts::Gateway)?;
        let host_ca = authority(&dir.join(&storage.host_ca)).map_err(NoFacts::Gateway)?;
        Ok(Self {
            has_key: loaded.keys.people().any(|(name, mut keys)| name == user && keys.next().is_some()),
            sites: sites(&loaded, user),
            user: user.clone(),
            reached_at,
            host_key: host_key.public_key().clone(),
            host_ca,
        })
    }

    /// Every name that leads to a host, and the fingerprint of what is shown there.
    pub fn hosts(&self) -> BTreeMap<String, String> {
        let all = self.sites.iter().flat_map(Site::hosts);
        all.flat_map(|host| {
            let shown = match &host.shown {
                Shown::Gateways => "the gateway's".to_owned(),
                Shown::Own(key) => key.fingerprint(HashAlg::Sha256).to_string(),
                Shown::Unknown => "not pinned".to_owned(),
            };
            host.names.iter().map(move |name| (name.clone(), shown.clone()))
        })
        .collect()
    }
}

fn authority(path: &Path) -> Result<PublicKey> {
    if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        bail!("{}: there is no {HOST_CA} yet: start pforte serve once, which makes it", path.display());
    }
    Ok(house::private_key(path, HOST_CA)?.public_key().clone())
}

fn sites(loaded: &Loaded, user: &Username) -> Vec<Site> {
    let mut may: BTreeMap<SiteName, (bool, bool)> = BTreeMap::new();
    for (family, site, _) in loaded.policy.reach(user) {
        let (portal, backup) = may.entry(site).or_default();
        *portal |= family == Family::HopPortal;
        *backup |= family == Family::HopBackup;
    }
    let found = may.into_iter().filter_map(|(name, (portal, backup))| {
        let site = loaded.config.sites.get(&name)?;
        let domain = &site.domain;
        let host = |allowed: bool, role: &str, names: Vec<String>| {
            let (_, host) = site.hosts.iter().find(|(name, _)| allowed && name.as_str() == role)?;
            let shown = match (host.inner, &host.host_key) {
                (Inner::Recorded, _) => Shown::Gateways,
                (Inner::Sealed, Some(key)) => Shown::Own(key.clone()),
                (Inner::Sealed, None) => Shown::Unknown,
            };
            Some(Host { names, shown })
        };
        let site = Site {
            title: site.title.clone(),
            domain: domain.clone(),
            portal: host(portal, "portal", vec![format!("portal.{domain}"), domain.clone()]),
            backup: host(backup, "backup", vec![format!("backup.{domain}")]),
            name,
        };
        (site.portal.is_some() || site.backup.is_some()).then_some(site)
    });
    found.collect()
}
