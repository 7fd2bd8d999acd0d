//! What the templates see: every line's content, put together from facts and choices.
//! Absent on purpose: escaping. Each template says for which syntax it needs that.

use serde::Serialize;
use ssh_key::{HashAlg, PublicKey};

use super::choices::Choices;
use super::facts::{Facts, Shown, Site};
use super::{numbers, registry};

/// What the templates see.
#[derive(Serialize)]
pub(super) struct View {
    version: &'static str,
    user: String,
    gateway: Endpoint,
    sites: Vec<SiteView>,
    dir: String,
    identity: String,
    windows_identity: String,
    control_dir: String,
    ppk: Option<String>,
    email: Option<String>,
    host_ca: String,
    host_ca_blob: String,
    host_ca_fingerprint: String,
    host_key_fingerprint: String,
    authority_patterns: String,
    authority_name: &'static str,
    authority_validity: String,
    known: Vec<Known>,
    gateway_session: &'static str,
    sessions: Vec<Session>,
    winscp: Vec<Session>,
    domains: Vec<Domain>,
    putty_keys: Vec<PuttyKey>,
}

#[derive(Serialize)]
struct Endpoint {
    host: String,
    port: u16,
}

#[derive(Serialize)]
struct SiteView {
    name: String,
    title: String,
    hosts: Vec<HostView>,
}

#[derive(Serialize)]
struct HostView {
    names: Vec<String>,
}

/// A line of `known_hosts`.
#[derive(Serialize)]
struct Known {
    names: Vec<String>,
    key: String,
}

#[derive(Clone, Serialize)]
struct Session {
    name: String,
    host: String,
    port: u16,
    proxy: Proxy,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Proxy {
    None,
    Session,
    Plink,
}

/// What `bssh.bat` is given, and the session that it opens.
#[derive(Serialize)]
struct Domain {
    domain: String,
    name: String,
}

#[derive(Serialize)]
struct PuttyKey {
    name: String,
    data: String,
}

const GATEWAY: &str = "Fernwartung Gateway";
const AUTHORITY: &str = "Fernwartung Gateway CA";
/// SSH's own port, by which clients ask for a host behind the gateway; the site's file has the real one.
const SSH: u16 = 22;

/// OpenSSH's form: the port only where it is not 22.
fn known_name(host: &str, port: u16) -> String {
    if port == SSH { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// Type and base64, without the comment, which may say anything.
fn line(key: &PublicKey) -> Result<String, ssh_key::Error> {
    Ok(key.to_openssh()?.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

fn sessions(site: &Site) -> Vec<Session> {
    let hosts = [("Portal", &site.portal), ("Backup", &site.backup)];
    let there = hosts.into_iter().filter_map(|(role, host)| Some((role, host.as_ref()?.names.first()?)));
    there
        .flat_map(|(role, host)| {
            [(Proxy::Session, ""), (Proxy::Plink, " (plink)")].map(|(proxy, more)| Session {
                name: format!("Fernwartung {} {role}{more}", site.name),
                host: host.clone(),
                port: SSH,
                proxy,
            })
        })
        .collect()
}

/// Where the authority may vouch: below a domain everywhere but at sealed hosts, which show a key of their own.
fn below_domains(facts: &Facts) -> Vec<(&str, Vec<&String>)> {
    let recorded = facts.sites.iter().filter(|s| s.hosts().any(|host| host.shown == Shown::Gateways));
    recorded
        .map(|site| {
            let sealed = site.hosts().filter(|host| host.shown != Shown::Gateways);
            (site.domain.as_str(), sealed.flat_map(|host| &host.names).collect())
        })
        .collect()
}

impl View {
    /// Fails where a key has no text.
    pub(super) fn of(facts: &Facts, choices: &Choices) -> Result<Self, ssh_key::Error> {
        let first = facts.reached_at.first();
        let gateway = Endpoint {
            host: first.map(|f| f.host().to_owned()).unwrap_or_default(),
            port: first.map_or(SSH, crate::names::HostPort::port),
        };
        let mut sessions = vec![Session {
            name: GATEWAY.to_owned(),
            host: gateway.host.clone(),
            port: gateway.port,
            proxy: Proxy::None,
        }];
        sessions.extend(facts.sites.iter().flat_map(self::sessions));
        let winscp = sessions.iter().filter(|s| s.proxy == Proxy::Session).cloned().collect();
        let blob = line(&facts.host_ca)?.split(' ').nth(1).unwrap_or_default().to_owned();
        let windows_identity =
            if choices.identity.starts_with("~/") { choices.identity.as_str() } else { "~/.ssh/id_ed25519" };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            user: facts.user.to_string(),
            gateway,
            sites: facts.sites.iter().map(SiteView::of).collect(),
            dir: choices.dir.clone(),
            identity: choices.identity.clone(),
            windows_identity: windows_identity.to_owned(),
            control_dir: choices.control_dir.clone(),
            ppk: choices.ppk.clone(),
            email: choices.email.clone(),
            host_ca: line(&facts.host_ca)?,
            host_ca_blob: blob,
            host_ca_fingerprint: facts.host_ca.fingerprint(HashAlg::Sha256).to_string(),
            host_key_fingerprint: facts.host_key.fingerprint(HashAlg::Sha256).to_string(),
            authority_patterns: patterns(facts),
            authority_name: AUTHORITY,
            authority_validity: validity(facts),
            known: known(facts)?,
            gateway_session: GATEWAY,
            domains: domains(facts),
            putty_keys: putty_keys(facts),
            sessions,
            winscp,
        })
    }
}

impl SiteView {
    fn of(site: &Site) -> Self {
        let hosts = site.hosts().map(|host| HostView { names: host.names.clone() });
        Self { name: site.name.to_string(), title: site.title.clone(), hosts: hosts.collect() }
    }
}

/// For a `@cert-authority` line of sshd(8)'s `known_hosts`.
fn patterns(facts: &Facts) -> String {
    let mut patterns: Vec<String> =
        facts.reached_at.iter().map(|name| known_name(name.host(), name.port())).collect();
    for (domain, sealed) in below_domains(facts) {
        patterns.extend([format!("*.{domain}"), domain.to_owned()]);
        patterns.extend(sealed.into_iter().map(|name| format!("!{name}")));
    }
    patterns.join(",")
}

/// The same for PuTTY, whose expressions know no IPv6 addresses.
fn validity(facts: &Facts) -> String {
    let gateway = facts.reached_at.iter().map(|name| name.host().to_owned()).filter(|n| !n.contains(':'));
    let mut terms: Vec<String> = gateway.collect();
    terms.dedup();
    for (domain, sealed) in below_domains(facts) {
        let here = [format!("(*.{domain} || {domain})")];
        let term: Vec<String> =
            here.into_iter().chain(sealed.iter().map(|name| format!("!{name}"))).collect();
        terms.push(format!("({})", term.join(" && ")));
    }
    terms.join(" || ")
}

fn known(facts: &Facts) -> Result<Vec<Known>, ssh_key::Error> {
    let own = facts.reached_at.iter().map(|name| known_name(name.host(), name.port())).collect();
    let mut lines = vec![Known { names: own, key: line(&facts.host_key)? }];
    for host in facts.sites.iter().flat_map(Site::hosts) {
        let key = match &host.shown {
            Shown::Gateways => &facts.host_key,
            Shown::Own(key) => key,
            Shown::Unknown => continue,
        };
        lines.push(Known { names: host.names.clone(), key: line(key)? });
    }
    Ok(lines)
}

/// `ssh-ed25519@PORT:HOST`; a sealed host's key of another kind is asked about once, as PuTTY does.
fn putty_keys(facts: &Facts) -> Vec<PuttyKey> {
    let own = facts.reached_at.iter().map(|name| (name.host(), name.port(), &facts.host_key));
    let hosts = facts.sites.iter().flat_map(Site::hosts).flat_map(|host| {
        let key = match &host.shown {
            Shown::Gateways => Some(&facts.host_key),
            Shown::Own(key) => Some(key),
            Shown::Unknown => None,
        };
        host.names.iter().filter_map(move |name| Some((name.as_str(), SSH, key?)))
    });
    own.chain(hosts)
        .filter_map(|(host, port, key)| {
            let name = format!("ssh-ed25519@{port}:{}", registry::key_name(host));
            Some(PuttyKey { name, data: numbers::of(key)? })
        })
        .collect()
}

fn domains(facts: &Facts) -> Vec<Domain> {
    let of = |site: &Site| {
        let backup = site.backup.iter().flat_map(|host| {
            let name = format!("Fernwartung {} Backup", site.name);
            [site.domain.clone()].into_iter().chain(host.names.clone()).map(move |d| (d, name.clone()))
        });
        let portal = site.portal.iter().filter_map(|host| {
            Some((host.names.first()?.clone(), format!("Fernwartung {} Portal", site.name)))
        });
        backup.chain(portal).map(|(domain, name)| Domain { domain, name }).collect::<Vec<_>>()
    };
    facts.sites.iter().flat_map(of).collect()
}
