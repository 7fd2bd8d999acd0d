//! `kit.json`: what a kit was made of, so that it can be told whether it still holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ssh_key::HashAlg;

use super::choices::Choices;
use super::facts::Facts;
use super::files::Files;
use crate::names::Username;

/// Its name in the kit's folder.
pub const FILE: &str = "kit.json";

/// What stands in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// pforte's version.
    pub pforte: String,
    /// Whose kit it is.
    pub user: Username,
    /// When it was made.
    pub made: Timestamp,
    /// What was chosen for it.
    pub choices: Choices,
    /// The gateway's names.
    pub gateway: Vec<String>,
    /// `SHA256:…` of the gateway's host key.
    pub host_key: String,
    /// `SHA256:…` of its authority.
    pub host_ca: String,
    /// Names of hosts, and whose key is shown there.
    pub hosts: BTreeMap<String, String>,
    /// `sha256:…` of each file.
    pub files: BTreeMap<String, String>,
}

/// `sha256:` and 64 hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

impl Manifest {
    /// Of a kit that is being made.
    pub fn of(facts: &Facts, choices: &Choices, files: &Files, now: Timestamp) -> Self {
        Self {
            pforte: env!("CARGO_PKG_VERSION").to_owned(),
            user: facts.user.clone(),
            made: now,
            choices: choices.clone(),
            gateway: facts.reached_at.iter().map(ToString::to_string).collect(),
            host_key: facts.host_key.fingerprint(HashAlg::Sha256).to_string(),
            host_ca: facts.host_ca.fingerprint(HashAlg::Sha256).to_string(),
            hosts: facts.hosts(),
            files: files.iter().map(|(name, bytes)| (name.clone(), sha256(bytes))).collect(),
        }
    }

    /// Of the kit in `dir`; `None` if there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        };
        let manifest: Self = serde_json::from_str(&text).with_context(|| {
            format!("{}: no list of a kit; make the kit again into an empty folder", path.display())
        })?;
        // Files are looked at and taken away by these names.
        let inside = |name: &String| Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if let Some(name) = manifest.files.keys().find(|name| !inside(name)) {
            bail!(
                "{}: {name:?} lies outside of the kit; make the kit again into an empty folder",
                path.display()
            );
        }
        Ok(Some(manifest))
    }

    /// The text of `kit.json`.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// What is no longer as it was made, a sentence each, with what to do.
    pub fn differences(&self, dir: &Path, now: &Manifest) -> Vec<String> {
        let again = format!("Make it again: pforte kit {} --out {}", self.user, dir.display());
        let mut found = Vec::new();
        for (name, was) in &self.files {
            match std::fs::read(dir.join(name)) {
                Ok(bytes) if sha256(&bytes) == *was => {}
                Ok(_) => found.push(format!(
                    "{name} was changed by hand. Making the kit again keeps that as {name}.before and writes a fresh one."
                )),
                Err(e) => found.push(format!("{name} is missing or cannot be read ({e}). {again}")),
            }
        }
        if self.pforte != now.pforte {
            found.push(format!("It was made by pforte {}, this is {}. {again}", self.pforte, now.pforte));
        }
        if self.gateway != now.gateway {
            let (was, is) = (self.gateway.join(", "), now.gateway.join(", "));
            found.push(format!("The gateway is reached at {is} now, no longer at {was}. {again}"));
        }
        for (what, was, is) in
            [("host key", &self.host_key, &now.host_key), ("authority", &self.host_ca, &now.host_ca)]
        {
            if was != is {
                found.push(format!("The gateway's {what} is {is} now; the kit trusts {was}. {again}"));
            }
        }
        for (name, shown) in &now.hosts {
            match self.hosts.get(name) {
                None => {
                    found.push(format!("{name} can be reached now, and the kit does not know it. {again}"));
                }
                Some(was) if was != shown => {
                    found.push(format!("The key at {name} is {shown} now; the kit has {was}. {again}"));
                }
                Some(_) => {}
            }
        }
        for name in self.hosts.keys().filter(|name| !now.hosts.contains_key(*name)) {
            found.push(format!("{name} can be reached no longer, and the kit still leads there. {again}"));
        }
        if found.is_empty() && self.files != now.files {
            found.push(format!("It would be written otherwise today. {again}"));
        }
        found
    }
}
