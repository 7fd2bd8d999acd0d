//! A host as its site's file has it, for people and for programs: where it is, how the gateway logs in, what is kept of a session.
//! Absent on purpose: who may go there.

use serde_json::{Value, json};
use ssh_key::HashAlg;

use crate::asks::Family;
use crate::config::{Config, Host, HostProof, Inner, Site};
use crate::names::{HostName, SiteName};

/// What a rule's family leads to at a site, if that is a host.
pub(super) enum Way<'c> {
    /// No host: a Konnektor.
    None,
    /// The rule names a host that the site's file has not.
    Missing(&'static str),
    /// On to a host.
    Hop(&'c Site, &'c HostName, &'c Host),
    /// From a host on to its `forwards`.
    Forward(&'c Host),
}

impl<'c> Way<'c> {
    pub(super) fn of(config: &'c Config, family: Family, site: &SiteName) -> Self {
        let Some((hop, role)) = ["portal", "backup"].into_iter().find_map(|role| {
            let name: HostName = role.parse().ok()?;
            let hop = Family::hop(&name) == Some(family);
            (hop || Family::forward(&name) == Some(family)).then_some((hop, role))
        }) else {
            return Way::None;
        };
        let site = config.sites.get(site);
        let found = site.and_then(|site| Some((site, site.hosts.iter().find(|(n, _)| n.as_str() == role)?)));
        match found {
            None => Way::Missing(role),
            Some((site, (name, host))) if hop => Way::Hop(site, name, host),
            Some((_, (_, host))) => Way::Forward(host),
        }
    }

    /// A line for people, without its end.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Way::None => None,
            Way::Missing(role) => Some(format!("nowhere yet: the site's file has no [hosts.{role}]")),
            Way::Hop(site, name, host) => {
                let inner = match host.inner {
                    Inner::Recorded => format!("recorded; the gateway logs in {}", login(host)),
                    Inner::Sealed => "sealed: a byte pipe, they log in there themselves".to_owned(),
                };
                Some(format!("{name}.{} = {}, {inner}; host key {}", site.domain, host.address, key(host)))
            }
            Way::Forward(host) if host.forwards.is_empty() => {
                Some("nowhere yet: the host's forwards are empty".to_owned())
            }
            Way::Forward(host) => {
                let to: Vec<String> = host.forwards.iter().map(ToString::to_string).collect();
                Some(format!("ssh -L to {}", to.join(", ")))
            }
        }
    }

    /// The same for programs; null where there is none.
    pub(super) fn json(&self) -> Value {
        match self {
            Way::None | Way::Missing(_) => Value::Null,
            Way::Hop(site, name, host) => json!({
                "name": format!("{name}.{}", site.domain),
                "address": host.address.to_string(),
                "host_key": host.host_key.as_ref().map(|key| key.fingerprint(HashAlg::Sha256).to_string()),
                "inner": match host.inner { Inner::Recorded => "recorded", Inner::Sealed => "sealed" },
                "login": host.login,
                "proof": match host.inner { Inner::Recorded => Some(proof(&host.proof)), Inner::Sealed => None },
            }),
            Way::Forward(host) => {
                let to: Vec<String> = host.forwards.iter().map(ToString::to_string).collect();
                json!({ "forwards": to })
            }
        }
    }
}

fn proof(proof: &HostProof) -> &'static str {
    match proof {
        HostProof::Key => "key",
        HostProof::Password(_) => "password",
        HostProof::Certificate => "certificate",
    }
}

fn login(host: &Host) -> String {
    let with = match &host.proof {
        HostProof::Key => "with its key",
        HostProof::Password(_) => "with a password",
        HostProof::Certificate => "with a certificate for the technician",
    };
    let who =
        host.login.as_ref().map_or_else(|| "under their name".to_owned(), |login| format!("as {login}"));
    format!("{who} {with}")
}

fn key(host: &Host) -> String {
    match &host.host_key {
        Some(key) => format!("pinned, {}", key.fingerprint(HashAlg::Sha256)),
        None if host.inner == Inner::Sealed => "theirs to know".to_owned(),
        None => "learned: the first one seen is kept".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folder;
    use crate::init::Start;
    use crate::random::Random;

    fn config(hosts: &str) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let mut start = Start { konnektor_password: "Zauber".into(), ..Start::example(&Random::system()) };
        start.site += hosts;
        start.write(dir.path()).unwrap();
        let mut problems = crate::config::Problems::default();
        let config = Config::load(&Folder::new(dir.path()), &mut problems).unwrap();
        assert!(problems.0.is_empty(), "{problems}");
        (dir, config)
    }

    fn way(hosts: &str, family: Family) -> (Option<String>, Value) {
        let (_dir, config) = config(hosts);
        let way = Way::of(&config, family, &"praxis-mueller".parse().unwrap());
        (way.text(), way.json())
    }

    const BACKUP: &str = "\n[hosts.backup]\naddress = \"10.0.0.2:22\"\n";

    #[test]
    fn where_a_hop_leads_how_the_gateway_logs_in_and_what_is_kept_is_said() {
        let (text, json) = way(BACKUP, Family::HopBackup);
        let learned = "backup.praxis-mueller.example = 10.0.0.2:22, recorded; the gateway logs in under their name with its key; \
                       host key learned: the first one seen is kept";
        assert_eq!(text.as_deref(), Some(learned));
        assert_eq!((&json["host_key"], &json["proof"]), (&Value::Null, &"key".into()));
        let key = crate::init::make_key(&tempfile::tempdir().unwrap().path().join("k"), "k").unwrap();
        let pinned = format!(
            "{BACKUP}host_key = \"{}\"\nlogin = \"support\"\nproof = \"certificate\"\n",
            key.public_key().to_openssh().unwrap()
        );
        let (text, json) = way(&pinned, Family::HopBackup);
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let text = text.unwrap();
        assert!(text.ends_with(&format!("host key pinned, {fingerprint}")), "{text}");
        assert!(text.contains("logs in as support with a certificate for the technician"), "{text}");
        assert_eq!((&json["host_key"], &json["proof"]), (&fingerprint.into(), &"certificate".into()));
        let (text, json) = way(&format!("{BACKUP}inner = \"sealed\"\n"), Family::HopBackup);
        assert!(text.unwrap().contains("sealed: a byte pipe"));
        assert_eq!((&json["inner"], &json["proof"]), (&"sealed".into(), &Value::Null));
    }

    #[test]
    fn a_rule_that_leads_nowhere_yet_says_so() {
        let (text, json) = way(BACKUP, Family::HopPortal);
        assert_eq!(
            (text.as_deref(), json),
            (Some("nowhere yet: the site's file has no [hosts.portal]"), Value::Null)
        );
        let (text, _) = way(BACKUP, Family::ForwardBackup);
        assert_eq!(text.as_deref(), Some("nowhere yet: the host's forwards are empty"));
        let (text, _) = way(&format!("{BACKUP}forwards = [\"10.0.0.9:443\"]\n"), Family::ForwardBackup);
        assert_eq!(text.as_deref(), Some("ssh -L to 10.0.0.9:443"));
        assert_eq!(way(BACKUP, Family::KonnektorBackup), (None, Value::Null));
    }

    /// What stands there as a comment is what the parser takes.
    #[test]
    fn the_shipped_hosts_are_read_once_their_comment_signs_are_gone() {
        let commented = crate::init::SITE.split("# [hosts.backup]").nth(1).unwrap();
        let table = format!("# [hosts.backup]{commented}");
        let skipped = ["# host_key", "# password"];
        let live: Vec<&str> = table
            .lines()
            .filter(|line| !skipped.iter().any(|s| line.starts_with(s)))
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .collect();
        let (_dir, config) = config(&live.join("\n"));
        assert_eq!(config.sites.values().map(|site| site.hosts.len()).collect::<Vec<_>>(), [2]);
    }
}
