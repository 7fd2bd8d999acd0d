//! What is known of a make's interface, as data: paths, markers, services, limits; one TOML file, replaceable.
//! Absent on purpose: what a service's value means, and anything of one site.

mod login;
mod makes;
mod ways;

use serde::Deserialize;

use crate::konnektor::Error;
use crate::names::{ActionName, ServiceName};

pub(crate) use login::{Bearer, CookieSession, Form, Login, Markers};
pub use makes::Profiles;
pub(crate) use ways::Performed;

/// A profile; see `kocobox.toml`, `secunet.toml` and `rise.toml` for each key's meaning and how sure it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub(crate) known_firmware: Vec<Range>,
    pub(crate) login: Login,
    pub(crate) read: Read,
    pub(crate) write: Write,
    pub(crate) perform: Perform,
    /// Which client certificates there are.
    pub(crate) certificates: Option<List>,
    /// Where a box keeps its own address.
    pub(crate) address: Option<Place>,
    /// Where a box keeps its serial number.
    pub(crate) serial: Option<Place>,
    pub(crate) terminals: Option<Terminals>,
    pub(crate) administrators: Option<Administrators>,
    pub(crate) compare: Compare,
    #[serde(default)]
    pub(crate) status: Vec<Status>,
    pub(crate) limits: Limits,
    pub(crate) personal: Personal,
    service: Vec<Service>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    from: String,
    to: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Read {
    /// With `{service}` in it; empty: each service has a path of its own.
    path: String,
    /// Sent with a GET; empty: not sent.
    pub(crate) content_type: String,
}

/// How a service is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Write {
    /// With `{service}` in it; empty: not known.
    pub(crate) path: String,
    /// `POST` or `PUT`.
    pub(crate) verb: String,
    pub(crate) content_type: String,
}

/// The actions a box can be asked to perform.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Perform {
    /// With `{action}` in it; empty: not known, but for actions with a path of their own.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) action: Vec<Action>,
}

/// An action that the make is known to take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Its name.
    pub name: ActionName,
    /// Where, if not at `perform.path`; `{member}` in it is taken out of the data.
    pub(crate) path: Option<String>,
    /// `POST` unless it says otherwise.
    pub(crate) verb: Option<String>,
    /// What is sent where there is no data, if not nothing.
    pub(crate) body: Option<String>,
    /// JSON Schema (2020-12) of its data; without one it takes no data.
    #[serde(default)]
    pub(crate) schema: Option<serde_json::Value>,
    /// The box goes away and comes back.
    #[serde(default)]
    pub reboots: bool,
}

/// A list in a service, its items known by a name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "as the file has it")]
pub(crate) struct List {
    pub(crate) service: ServiceName,
    /// JSON pointer of the list.
    pub(crate) list: String,
    /// The member that names an item.
    pub(crate) name: String,
}

/// A place in a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) service: ServiceName,
    /// JSON pointer.
    pub(crate) pointer: String,
}

/// Where card terminals are listed and referred to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terminals {
    pub(crate) service: ServiceName,
    pub(crate) list: String,
    pub(crate) id: String,
    pub(crate) mac: String,
    pub(crate) hostname: String,
    pub(crate) serial: String,
    pub(crate) address: String,
    pub(crate) state: String,
    /// The states of a terminal that is paired.
    #[serde(default)]
    pub(crate) paired: Vec<String>,
    /// The service whose texts refer to terminals by their id.
    pub(crate) references: ServiceName,
}

/// Where users are listed, and which of their roles may do everything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Administrators {
    pub(crate) service: ServiceName,
    pub(crate) list: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) roles: Vec<String>,
}

/// What is looked at when two values are compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compare {
    /// Members that are no configuration: they change by themselves.
    pub(crate) transient: Vec<String>,
    /// Members that name the item of a list they stand in; the first one that is there counts.
    pub(crate) identity: Vec<String>,
    /// Members whose values are not shown.
    pub(crate) secret: Vec<String>,
}

/// A line of `konnektor status`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) english: String,
    pub(crate) german: String,
    pub(crate) service: ServiceName,
    pub(crate) pointer: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) service_bytes: usize,
    pub(crate) page_bytes: usize,
    pub(crate) json_depth: usize,
    pub(crate) redirects: usize,
    pub(crate) cookies: usize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Personal {
    pub(crate) card_type_keys: Vec<String>,
    pub(crate) card_types: Vec<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) key_prefixes: Vec<String>,
}

/// A service of the management interface.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags, each written by its name in the file")]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name in the URL.
    pub name: ServiceName,
    /// Whether it belongs to a backup.
    #[serde(default = "yes")]
    pub backup: bool,
    /// Whether it can be written back.
    #[serde(default = "yes")]
    pub restore: bool,
    /// Where it stands in a restore, ascending.
    #[serde(default)]
    pub order: u32,
    /// Whether it holds private keys or passwords.
    #[serde(default)]
    pub contains_secrets: bool,
    /// Where it is read, if not at `read.path`.
    pub(crate) read: Option<String>,
    /// Where it is written, if not at `write.path`.
    pub(crate) write: Option<String>,
    /// How it is written, if not by `write.verb`.
    pub(crate) verb: Option<String>,
    /// Whether what was written counts after a reboot only.
    #[serde(default)]
    pub needs_reboot: bool,
    /// Whether it is known to hold card holders' data (all services are searched for it).
    #[serde(default)]
    pub personal: bool,
}

fn yes() -> bool {
    true
}

impl Profile {
    /// A profile from TOML text, for example a changed copy of the shipped one.
    ///
    /// # Errors
    /// [`Error::BadProfile`] with line and column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |what: String| Error::BadProfile { what };
        let mut profile: Self = toml::from_str(text).map_err(|e| bad(place(text, &e)))?;
        profile.check_paths().map_err(bad)?;
        if profile.limits.json_depth == 0 || profile.limits.json_depth > crate::konnektor::json::DEEPEST {
            return Err(bad("limits.json_depth: expected 1 to 120".into()));
        }
        let personal = &mut profile.personal;
        let lists = [
            &mut personal.keys,
            &mut personal.key_prefixes,
            &mut personal.card_type_keys,
            &mut personal.card_types,
        ];
        for key in lists.into_iter().flatten() {
            *key = crate::konnektor::personal::folded(key);
        }
        for key in &mut profile.compare.transient {
            *key = crate::konnektor::personal::folded(key);
        }
        for key in &mut profile.compare.secret {
            *key = crate::konnektor::personal::folded(key);
        }
        profile.login.fold();
        for action in &profile.perform.action {
            crate::konnektor::perform::checked(action).map_err(bad)?;
        }
        Ok(profile)
    }

    /// Every path starts at the box's root, and every hole is one that gets filled.
    fn check_paths(&self) -> Result<(), String> {
        let right = |path: &str| path.starts_with('/') && !path.starts_with("//");
        for (key, path) in self.login.paths() {
            if !right(path) {
                return Err(format!("{key}: expected a path from `/` on"));
            }
        }
        for (key, path, hole) in [
            ("read.path", &self.read.path, "{service}"),
            ("write.path", &self.write.path, "{service}"),
            ("perform.path", &self.perform.path, "{action}"),
        ] {
            if !(path.is_empty() || right(path) && path.contains(hole)) {
                return Err(format!("{key}: expected nothing, or a path from `/` on, with {hole:?} in it"));
            }
        }
        for service in &self.service {
            for path in service.read.iter().chain(&service.write) {
                if !path.is_empty() && !right(path) {
                    return Err(format!("service {}: expected nothing, or a path from `/` on", service.name));
                }
            }
        }
        for action in &self.perform.action {
            if action.path.as_ref().is_some_and(|path| !path.is_empty() && !right(path)) {
                return Err(format!("action {}: expected nothing, or a path from `/` on", action.name));
            }
            let required = action.schema.as_ref().and_then(|schema| schema.get("required")?.as_array());
            let demands = |hole: &str| required.is_some_and(|names| names.iter().any(|name| name == hole));
            if let Some(hole) = ways::holes(action).into_iter().find(|hole| !demands(hole)) {
                return Err(format!("action {}: its schema must require {hole}", action.name));
            }
            if let Some(verb) = &action.verb {
                ways::method(verb)
                    .map_err(|_| format!("action {}: verb: expected POST, PUT or DELETE", action.name))?;
            }
        }
        Ok(())
    }

    /// A profile file, in the place of the shipped one.
    ///
    /// # Errors
    /// [`Error::BadProfile`] with the file's name, line and column.
    pub fn read(path: &std::path::Path) -> Result<Self, Error> {
        let at = |what: String| Error::BadProfile { what: format!("{}:{what}", path.display()) };
        let text = std::fs::read_to_string(path).map_err(|error| at(error.kind().to_string()))?;
        Self::parse(&text)
            .map_err(|error| if let Error::BadProfile { what } = error { at(what) } else { error })
    }

    /// All services, in the file's order.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.service
    }

    /// The named services, or all of a backup where none is named; in the file's order.
    pub(crate) fn wanted(&self, names: &[ServiceName]) -> Result<Vec<&Service>, Error> {
        if let Some(service) = names.iter().find(|name| !self.service.iter().any(|s| s.name == **name)) {
            return Err(Error::UnknownService { service: service.clone() });
        }
        let all = names.is_empty();
        Ok(self.service.iter().filter(|s| if all { s.backup } else { names.contains(&s.name) }).collect())
    }

    /// Whether this firmware is in a known range; an unknown one may be read, not written.
    #[must_use]
    pub fn knows_firmware(&self, firmware: &str) -> bool {
        self.known_firmware.iter().any(|range| {
            let (from, to, it) = (numbers(&range.from), numbers(&range.to), numbers(firmware));
            !it.is_empty()
                && it >= from
                && it.iter().zip(&to).find(|(a, b)| a != b).is_none_or(|(a, b)| a < b)
        })
    }

    /// One service, by its name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.service.iter().find(|service| service.name == *name)
    }

    /// An action, by its name.
    #[must_use]
    pub fn action(&self, name: &ActionName) -> Option<&Action> {
        self.perform.action.iter().find(|action| action.name == *name)
    }

    /// A value without card holders' data, and where that was.
    #[must_use]
    pub fn without_persons(&self, value: &crate::konnektor::Json) -> (crate::konnektor::Json, Vec<String>) {
        value.stripped(&self.personal)
    }

    /// A service's value out of bytes that are not trusted, as one out of a box's answer.
    pub(crate) fn taken(
        &self,
        bytes: &[u8],
        service: &ServiceName,
    ) -> Result<(crate::konnektor::Json, Vec<String>), Error> {
        crate::konnektor::json::read(bytes, self.limits.json_depth, service, &self.personal)
    }

    /// Whether users and their roles are in this service: it is never written, whatever the file says.
    pub(crate) fn holds_users(&self, name: &ServiceName) -> bool {
        self.administrators.as_ref().is_some_and(|users| users.service == *name)
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

fn place(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
    format!("{line}:{column}: {}", error.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::konnektor::Product;

    #[test]
    fn the_shipped_profile_lists_nineteen_services_and_lan_last_to_be_restored() {
        let profile = Profile::kocobox().unwrap();
        assert_eq!(profile.wanted(&[]).unwrap().len(), 19);
        let last = profile.services().iter().max_by_key(|s| s.order).unwrap();
        assert_eq!(last.name.as_str(), "lanwanservice");
    }

    #[test]
    fn a_wrong_profile_is_refused_with_its_place() {
        let text = makes::KOCOBOX.replace("redirects = 10", "redirects = \"ten\"");
        let Err(Error::BadProfile { what }) = Profile::parse(&text) else { panic!("taken") };
        let line = text.lines().position(|l| l.starts_with("redirects")).unwrap() + 1;
        assert!(what.starts_with(&format!("{line}:")), "{what}");
        for (from, to) in
            [("\"/j_sec", "\"//evil/j_sec"), ("{service}", "x"), ("json_depth = 120", "json_depth = 121")]
        {
            assert!(Profile::parse(&makes::KOCOBOX.replace(from, to)).is_err(), "{to} was taken");
        }
    }

    #[test]
    fn every_make_ships_a_profile_whose_secrets_and_unknowns_are_said_to_be_such() {
        for (product, make) in Profiles::MAKES {
            let profile = Profile::of(product).unwrap();
            let secret = profile.services().iter().any(|service| service.contains_secrets);
            assert!(secret && !profile.wanted(&[]).unwrap().is_empty(), "{make}");
            for service in profile.wanted(&[]).unwrap() {
                assert!(profile.read_path(&service.name).is_ok(), "{make}: {} cannot be read", service.name);
            }
            assert!(Profiles::shipped().unwrap().of(product).is_some());
        }
        assert!(matches!(Profile::of(Product::Auto), Err(Error::UnknownProduct)));
        let secunet = Profile::secunet().unwrap();
        for (known, firmware) in [(true, "2.0.2"), (true, "5.53.0"), (false, "2.0.3"), (false, "6.0.0")] {
            assert_eq!(secunet.knows_firmware(firmware), known, "{firmware}");
        }
    }

    #[test]
    fn a_path_a_hole_a_verb_or_a_schema_that_cannot_be_right_is_refused() {
        let text = makes::SECUNET;
        assert!(Profile::parse(text).is_ok());
        for (from, to) in [
            ("post = \"/rest", "post = \"rest"),
            ("read = \"/rest/mgmt/ak/info\"", "read = \"//evil/x\""),
            ("path = \"/rest/mgmt/nk/system\"", "path = \"https://evil/x\""),
            ("{updateId}", "{updateID}"),
            ("verb = \"DELETE\"", "verb = \"TRACE\""),
            ("type = \"object\"", "type = \"thing\""),
            ("[login.bearer]", "[login.magic]"),
        ] {
            let Err(Error::BadProfile { what }) = Profile::parse(&text.replacen(from, to, 1)) else {
                panic!("{to} was taken")
            };
            assert!(what.len() > 10, "{what}");
        }
    }

    #[test]
    fn firmware_is_known_within_its_range_only() {
        let profile = Profile::kocobox().unwrap();
        for known in ["4.2", "4.2.16", "5.1.8", "5.5.16"] {
            assert!(profile.knows_firmware(known), "{known}");
        }
        for unknown in ["", "x", "4.1.9", "5.6", "5.6.0", "6.0", "10.0"] {
            assert!(!profile.knows_firmware(unknown), "{unknown}");
        }
    }

    #[test]
    fn an_unlisted_service_is_refused_and_a_listed_one_read() {
        let profile = Profile::kocobox().unwrap();
        assert_eq!(profile.wanted(&["infomodell".parse().unwrap()]).unwrap().len(), 1);
        let service: ServiceName = "nosuch".parse().unwrap();
        assert_eq!(
            profile.wanted(std::slice::from_ref(&service)).unwrap_err(),
            Error::UnknownService { service }
        );
    }
}
