//! `policy/sites/<site>.toml`: a customer, its hosts and its Konnektors; the only source of addresses to dial.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::files::{Folder, Readable};
use super::network::Network;
use super::problems::{Place, Problems};
use super::reader::{Document, Table};
use super::schedule::{self, Retention, Schedule};
use crate::names::{HostName, HostPort, KonnektorName, SiteName};
use crate::secret::Secret;

/// What no Konnektor can be called.
const INCOMING: &str = "incoming";

/// How a site is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The gateway dials the addresses itself.
    Direct,
    /// Only over the site's own outbound link.
    Link,
}

/// What happens to a session that goes through to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// It ends at the gateway, is recorded, and opened again to the host.
    Recorded,
    /// A byte pipe; the gateway sees the amount and nothing else.
    Sealed,
}

/// Whose box a Konnektor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// KoCoBox MED+.
    Kocobox,
    /// secunet Konnektor.
    Secunet,
    /// RISE Konnektor.
    Rise,
    /// As `connector.sds` says.
    Auto,
}

/// A machine at the customer's.
pub struct Host {
    /// Where to dial.
    pub address: HostPort,
    /// The pinned host key; without it the first one seen is kept.
    pub host_key: Option<ssh_key::PublicKey>,
    /// The account there.
    pub login: Option<String>,
    /// How the gateway proves itself there.
    pub proof: HostProof,
    /// Recorded unless the file says `sealed`.
    pub inner: Inner,
    /// Where `ssh -L` may lead from there.
    pub forwards: Vec<HostPort>,
}

/// How the gateway logs in at a recorded host.
pub enum HostProof {
    /// With its own key.
    Key,
    /// With the account's password.
    Password(Secret),
    /// With a certificate for the technician, made for this login (`TrustedUserCAKeys` there).
    Certificate,
}

/// A Konnektor at the customer's.
pub struct KonnektorBox {
    /// Whose box it is.
    pub product: Product,
    /// The management interface.
    pub address: HostPort,
    /// `connector.sds`, where it is not at the management interface's own host and port 443.
    pub sds: Option<HostPort>,
    /// The pinned certificate's SHA-256 over its DER, lower-case hex; without it the first one seen is kept.
    pub certificate: Option<String>,
    /// The account on the box.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Networks in which the box may be followed when a restore changes its address; none: the one around its address.
    pub networks: Vec<ipnet::IpNet>,
    /// Requests at once that the box can bear; 4 unless the file says otherwise.
    pub parallel: usize,
}

/// A Konnektor behind its site's own link: who logs in at it, and how, stands in the site's own `site.toml`.
pub struct LinkedBox {
    /// Whose box it is, if the file says it.
    pub product: Product,
    /// Where it is, for people; the gateway never dials it.
    pub address: Option<HostPort>,
    /// As [`KonnektorBox::networks`].
    pub networks: Vec<ipnet::IpNet>,
}

/// A Konnektor of a site.
pub enum SiteKonnektor {
    /// The gateway dials it.
    Direct(KonnektorBox),
    /// The site's machine does.
    Link(LinkedBox),
}

/// A customer.
pub struct Site {
    /// The file's name.
    pub name: SiteName,
    /// The customer's name for people.
    pub title: String,
    /// The site's hosts answer to `portal.DOMAIN` and `backup.DOMAIN`.
    pub domain: String,
    /// How it is reached.
    pub via: Via,
    /// Its hosts.
    pub hosts: BTreeMap<HostName, Host>,
    /// Its Konnektors.
    pub konnektors: BTreeMap<KonnektorName, SiteKonnektor>,
    /// age recipients of the customer, who can read the site's backups without us.
    pub recipients: Vec<String>,
    /// When its Konnektors are backed up by themselves.
    pub schedules: Vec<Schedule>,
    /// How long backups are kept; nothing is removed where there is no schedule and the file does not say.
    pub retention: Option<Retention>,
    /// The file.
    pub place: Place,
}

/// A DNS domain in lower case.
struct Domain(String);

impl FromStr for Domain {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if text.len() <= 200 && text.contains('.') && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a domain in lower case, such as praxis-mueller.example")
        }
    }
}

/// `sha256:` and 64 hex digits.
struct CertificatePin(String);

impl FromStr for CertificatePin {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default().replace(':', "").to_ascii_lowercase();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(hex))
        } else {
            Err("expected sha256: and the 64 hex digits of the certificate's SHA-256")
        }
    }
}

/// An age recipient, `age1…`.
pub struct Recipient(pub String);

impl FromStr for Recipient {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<age::x25519::Recipient>().map(|_| Self(text.to_owned())).map_err(ToOwned::to_owned)
    }
}

impl Site {
    /// Reads `file`, whose name is the site's.
    pub fn load(folder: &Folder, file: &Path, problems: &mut Problems) -> Option<Self> {
        let Some(stem) = file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".toml"))
        else {
            problems.add(Place::file(file), "a site's file is named SITE.toml");
            return None;
        };
        let name: SiteName = stem
            .parse()
            .map_err(|e| problems.add(Place::file(file), format!("the file's name: {e}")))
            .ok()?;
        let text = folder.read(file, Readable::ByAll, None, problems)?;
        let document = Document::parse(file, &text, problems)?;
        let mut root = document.root();
        let title = root.required::<String>("name", problems);
        let domain = root.required::<Domain>("domain", problems);
        let via = root
            .one_of("via", &[("direct", Via::Direct), ("link", Via::Link)], problems)
            .unwrap_or(Via::Direct);
        let recipients = root.list::<Recipient>("recipients", problems).unwrap_or_default();
        let hosts = root.named("hosts", problems);
        let hosts = hosts.into_iter().filter_map(|(n, t)| Some((n, host(folder, t, problems)?))).collect();
        let boxes = root.named::<KonnektorName>("konnektor", problems);
        let named: Vec<KonnektorName> = boxes.iter().map(|(name, _)| name.clone()).collect();
        let konnektors = boxes
            .into_iter()
            .filter_map(|(name, table)| {
                // In the vault and by SFTP, that is the folder of the files that were handed in.
                if name.as_str() == INCOMING {
                    problems.add(table.place(), format!("no Konnektor can be called \"{INCOMING}\""));
                }
                let read = match via {
                    Via::Direct => SiteKonnektor::Direct(KonnektorBox::read(folder, table, problems)?),
                    Via::Link => SiteKonnektor::Link(linked(table, problems)),
                };
                Some((name, read))
            })
            .collect();
        let schedules = schedule::schedules(root.tables("schedule", problems), &named, problems);
        let retention = root.table("retention", problems).map(|table| schedule::retention(table, problems));
        root.finish(problems);
        Some(Self {
            name,
            title: title?.value,
            domain: domain?.value.0,
            via,
            hosts,
            konnektors,
            recipients: recipients.into_iter().map(|r| r.value.0).collect(),
            retention: retention.or_else(|| (!schedules.is_empty()).then(Retention::default)),
            schedules,
            place: Place::file(file),
        })
    }
}

fn host(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<Host> {
    let address = table.required::<HostPort>("address", problems);
    let host_key = table.parsed::<ssh_key::PublicKey>("host_key", problems).map(|k| k.value);
    let login = table.parsed::<String>("login", problems).map(|l| l.value);
    let password = folder.secret(&mut table, "password", problems);
    let certificate = table.one_of("proof", &[("key", false), ("certificate", true)], problems);
    let inner = table.one_of("inner", &[("recorded", Inner::Recorded), ("sealed", Inner::Sealed)], problems);
    let forwards = table.list::<HostPort>("forwards", problems).unwrap_or_default();
    if certificate.is_some() && password.is_some() {
        problems.add(table.place(), "either proof or password: the gateway logs in in one way");
    }
    table.finish(problems);
    let proof = match (password, certificate) {
        (Some(password), _) => HostProof::Password(password),
        (None, Some(true)) => HostProof::Certificate,
        (None, Some(false) | None) => HostProof::Key,
    };
    Some(Host {
        address: address?.value,
        host_key,
        login,
        proof,
        inner: inner.unwrap_or(Inner::Recorded),
        forwards: forwards.into_iter().map(|f| f.value).collect(),
    })
}

/// What belongs to the site's own machine is refused here: a password that is not on the gateway leaks from nowhere.
fn linked(mut table: Table<'_, '_>, problems: &mut Problems) -> LinkedBox {
    for key in ["password", "user", "certificate", "sds", "parallel"] {
        if table.elsewhere(key) {
            let message =
                format!("{key}: with via = \"link\" it belongs into the site's own site.toml, not here");
            problems.add(table.place(), message);
        }
    }
    let product = table.one_of("product", &PRODUCTS, problems).unwrap_or(Product::Auto);
    let address = table.parsed::<HostPort>("address", problems).map(|a| a.value);
    let networks = table.list::<Network>("networks", problems).unwrap_or_default();
    table.finish(problems);
    LinkedBox { product, address, networks: networks.into_iter().map(|network| network.value.0).collect() }
}

const PRODUCTS: [(&str, Product); 4] = [
    ("kocobox", Product::Kocobox),
    ("secunet", Product::Secunet),
    ("rise", Product::Rise),
    ("auto", Product::Auto),
];

impl KonnektorBox {
    /// Reads a table `[konnektor.NAME]`, of a site's file or of a site's own `site.toml`.
    pub fn read(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<Self> {
        let product = table.one_of("product", &PRODUCTS, problems).unwrap_or(Product::Auto);
        let address = table.required::<HostPort>("address", problems);
        let sds = table.parsed::<HostPort>("sds", problems).map(|a| a.value);
        let certificate = table.parsed::<CertificatePin>("certificate", problems).map(|c| c.value.0);
        let user = table.required::<String>("user", problems);
        let secret = folder.secret(&mut table, "password", problems);
        if !table.holds("password") {
            table.missing("password");
        }
        let parallel =
            table.number("parallel", 1..17, problems).and_then(|n| usize::try_from(n).ok()).unwrap_or(4);
        let networks = table.list::<Network>("networks", problems).unwrap_or_default();
        table.finish(problems);
        Some(Self {
            product,
            address: address?.value,
            sds,
            certificate,
            user: user?.value,
            password: secret?,
            networks: networks.into_iter().map(|network| network.value.0).collect(),
            parallel,
        })
    }
}
