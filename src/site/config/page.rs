//! `[page]` of `site.toml`: where the page is, by which names, under which seal, behind which PIN.
//! Absent on purpose: a way to have it plain in the network without saying so.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;

use crate::config::{At, Folder, Place, Problems, Readable, Table};
use crate::secret::Secret;
use crate::site::desk::Said;
use crate::site::page::{Certificate, PinHash, keeper};

/// The local page.
#[derive(Clone)]
pub struct Page {
    /// On this machine.
    pub listen: SocketAddr,
    /// In the practice's network.
    pub lan: Option<SocketAddr>,
    /// Names that it is called by there, beside its address.
    pub hosts: Vec<String>,
    /// What `lan` speaks.
    pub seal: Seal,
    /// What people type in there, as it is kept.
    pub pin: PinHash,
}

/// What the page speaks in the practice's network.
#[derive(Clone)]
pub enum Seal {
    /// TLS, with a certificate that the site makes and renews itself.
    Own,
    /// TLS, with the operator's certificate.
    Given {
        /// PEM.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
        /// Where it is named.
        place: Place,
        /// The last moment at which it counts.
        until: Timestamp,
    },
    /// Plain HTTP: the operator's own proxy speaks TLS.
    Plain,
}

/// A DNS name, in lower case: what a browser sends as Host.
struct PageName(String);

impl FromStr for PageName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && letters(label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let good = text.len() <= 253 && text.split('.').all(label) && text.parse::<IpAddr>().is_err();
        good.then(|| Self(text.to_ascii_lowercase())).ok_or("expected a name such as fernwartung.praxis.lan")
    }
}

impl Page {
    /// What is right, and unwise or soon wrong.
    pub fn warning(&self, now: Timestamp) -> Option<Said> {
        self.lan?;
        match &self.seal {
            Seal::Own => None,
            Seal::Given { certificate, until, .. } => keeper::short(certificate, *until, now),
            Seal::Plain => Some(Said {
                de: "Die Seite ist im Netz der Praxis unverschlüsselt (plain = true). Ohne einen eigenen TLS-Proxy davor kann dort jeder \
                     die PIN mitlesen."
                    .into(),
                en: "The page is not encrypted in the practice's network (plain = true). Without a TLS proxy of your own before it \
                     anybody there can read the PIN."
                    .into(),
            }),
        }
    }

    /// Complains if the certificate is no good any more at `now`.
    pub(super) fn check_dates(&self, now: Timestamp, problems: &mut Problems) {
        if let Seal::Given { certificate, place, until, .. } = &self.seal
            && *until < now
        {
            let file = certificate.display();
            problems.add(
                place.clone(),
                format!("{file} expired at {until}: put the renewed certificate there, and its key"),
            );
        }
    }
}

pub(super) fn read(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<Page> {
    let listen = table.required::<SocketAddr>("listen", problems);
    let lan = table.parsed::<SocketAddr>("lan", problems);
    let hosts = table.list::<PageName>("hosts", problems).unwrap_or_default();
    let place = table.place();
    let pin = folder.secret(&mut table, "pin", problems);
    if !table.holds("pin") {
        table.missing("pin");
    }
    let pin = pin.and_then(|kept| {
        let hash = PinHash::parse(kept.reveal());
        hash.map_err(|e| problems.add(place, format!("pin: {e}; `pforte site pin` sets a new one"))).ok()
    });
    if let Some(listen) = &listen
        && !listen.value.ip().is_loopback()
    {
        problems
            .add(listen.place.clone(), "listen: expected an address of this machine itself, 127.0.0.1:8022");
    }
    if let Some(lan) = &lan
        && !in_a_practice(lan.value.ip())
    {
        problems.add(
            lan.place.clone(),
            "lan: expected an address of the practice's own network, such as 192.168.1.5:8022",
        );
    }
    let seal = seal(folder, &mut table, problems);
    table.finish(problems);
    let hosts = hosts.into_iter().map(|at| at.value.0).collect();
    Some(Page { listen: listen?.value, lan: lan.map(|at| at.value), hosts, seal: seal?, pin: pin? })
}

fn seal(folder: &Folder, table: &mut Table<'_, '_>, problems: &mut Problems) -> Option<Seal> {
    let certificate = table.parsed::<PathBuf>("certificate", problems);
    let key = table.parsed::<PathBuf>("key", problems);
    let plain = table.flag("plain", problems);
    let (place, said) = (table.place(), table.holds("certificate") || table.holds("key"));
    if !table.holds("lan") && (said || plain.is_some()) {
        problems.add(
            place.clone(),
            "certificate, key and plain are about lan, which is not set: 127.0.0.1 is always plain",
        );
    }
    if plain == Some(true) {
        if said {
            problems.add(place, "either certificate and key, or plain = true");
            return None;
        }
        return Some(Seal::Plain);
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => given(folder, certificate, key, problems),
        (None, None) => (!said).then_some(Seal::Own),
        (Some(_), None) | (None, Some(_)) => {
            problems.add(
                place,
                "certificate and key belong together; without both the site makes its own certificate",
            );
            None
        }
    }
}

fn given(
    folder: &Folder,
    certificate: At<PathBuf>,
    key: At<PathBuf>,
    problems: &mut Problems,
) -> Option<Seal> {
    let chain = folder.read(&certificate.value, Readable::ByAll, Some(&certificate.place), problems);
    let secret = folder.read(&key.value, Readable::ByOwner, Some(&key.place), problems);
    match Certificate::of(&chain?, &Secret::new(secret?)) {
        Ok(read) => Some(Seal::Given {
            certificate: folder.path(certificate.value),
            key: folder.path(key.value),
            place: certificate.place,
            until: read.until(),
        }),
        Err(e) => {
            let at = if e.is_about_key() { key } else { certificate };
            problems.add(at.place, format!("{} {e}", at.value.display()));
            None
        }
    }
}

/// Nothing listens towards the internet: RFC 1918, RFC 4193, link-local, loopback.
fn in_a_practice(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}
