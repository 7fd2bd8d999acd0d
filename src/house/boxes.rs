//! The Konnektors of the sites' files, and `policy/konnektor/MAKE.toml` in the place of a profile that this build ships.
//! Absent on purpose: what a profile says; and a file for a make that nobody drives, which is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::commands::{Known, Konnektors, Way};
use crate::config::{
    Folder, KonnektorBox, Place, Problems, Product, Readable, Site, SiteKonnektor, near_miss,
};
use crate::gate::Rules;
use crate::konnektor::{self, Error, Pins, Profile, Profiles, Spec, Timeouts};
use crate::names::{KonnektorId, KonnektorName, SiteName};
use crate::policy::Policy;
use crate::vault::{Vault, retention};

const FOLDER: &str = "policy/konnektor";

/// The shipped profiles, each replaced where there is a file for it. A file's mistakes go to `problems`, with their place.
pub(super) fn profiles(folder: &Folder, problems: &mut Problems) -> Option<Profiles> {
    let mut profiles = match Profiles::shipped() {
        Ok(profiles) => profiles,
        Err(error) => {
            problems.add(Place::file(Path::new(FOLDER)), error.to_string());
            return None;
        }
    };
    for file in folder.list(Path::new(FOLDER), problems) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".toml");
        let Some((product, _)) = Profiles::MAKES.into_iter().find(|(_, make)| stem == Some(make)) else {
            let makes = Profiles::MAKES.map(|(_, make)| make);
            let hint = near_miss(stem.unwrap_or(&name), makes);
            let message = format!("expected one of {}, each .toml{hint}", makes.join(", "));
            problems.add(Place::file(&file), message);
            continue;
        };
        let Some(text) = folder.read(&file, Readable::ByAll, None, problems) else { continue };
        match Profile::parse(&text) {
            Ok(profile) => profiles = profiles.with(product, profile),
            Err(Error::BadProfile { what }) => {
                let (place, what) = placed(&file, &what);
                problems.add(place, what);
            }
            Err(error) => problems.add(Place::file(&file), error.to_string()),
        }
    }
    Some(profiles)
}

/// `12:3: why` is a place and a reason; anything else is about the file.
fn placed<'w>(file: &Path, what: &'w str) -> (Place, &'w str) {
    let parts = what.split_once(':').and_then(|(line, rest)| {
        let (column, why) = rest.split_once(": ")?;
        Some((line.parse().ok()?, column.parse().ok()?, why))
    });
    match parts {
        Some((line, column, why)) => (Place { file: file.to_owned(), line, column }, why),
        None => (Place::file(file), what),
    }
}

pub(super) type Boxes = BTreeMap<KonnektorId, Known>;

/// The boxes and what is known of them, each changed as a whole later.
pub(super) fn konnektors(known: Boxes, vault: Vault, pins: Arc<dyn Pins>, profiles: Profiles) -> Konnektors {
    let (known, profiles) = (ArcSwap::from_pointee(known), ArcSwap::from_pointee(profiles));
    Konnektors { known, vault, pins, profiles, links: OnceLock::new() }
}

/// What the gate has to know of them, and what a command has.
pub(super) fn rules(policy: Policy, sites: &BTreeMap<SiteName, Site>) -> anyhow::Result<(Rules, Boxes)> {
    let mut known = BTreeMap::new();
    let mut konnektors: BTreeMap<SiteName, BTreeSet<KonnektorName>> = BTreeMap::new();
    for site in sites.values() {
        let recipients =
            site.recipients.iter().map(|r| r.parse().map_err(|e| anyhow::anyhow!("{}: {e}", site.name)));
        let recipients: Vec<age::x25519::Recipient> = recipients.collect::<Result<_, _>>()?;
        for (name, konnektor) in &site.konnektors {
            let id = KonnektorId { site: site.name.clone(), konnektor: name.clone() };
            konnektors.entry(site.name.clone()).or_default().insert(name.clone());
            let (way, networks) = match konnektor {
                SiteKonnektor::Direct(direct) => {
                    (Way::Direct(Box::new(spec(id.clone(), direct)?)), direct.networks.clone())
                }
                SiteKonnektor::Link(linked) => {
                    let (product, address) = (make(linked.product), linked.address.clone());
                    (Way::Link { product, address }, linked.networks.clone())
                }
            };
            let retention = site.retention.map(|kept| retention::Rules {
                all: kept.all,
                weekly: kept.weekly,
                monthly: kept.monthly,
            });
            known.insert(id, Known { way, recipients: recipients.clone(), retention, networks });
        }
    }
    Ok((Rules { policy, konnektors }, known))
}

fn make(product: Product) -> konnektor::Product {
    match product {
        Product::Kocobox => konnektor::Product::Kocobox,
        Product::Secunet => konnektor::Product::Secunet,
        Product::Rise => konnektor::Product::Rise,
        Product::Auto => konnektor::Product::Auto,
    }
}

fn spec(id: KonnektorId, konnektor: &KonnektorBox) -> anyhow::Result<Spec> {
    let certificate = match &konnektor.certificate {
        Some(hex) => Some(format!("sha256:{hex}").parse()?),
        None => None,
    };
    Ok(Spec {
        id,
        product: make(konnektor.product),
        address: konnektor.address.clone(),
        sds_address: konnektor.sds.clone(),
        certificate,
        user: konnektor.user.clone(),
        password: konnektor.password.clone(),
        parallel: konnektor.parallel,
        timeouts: Timeouts::default(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SECUNET: &str = include_str!("../konnektor/secunet.toml");

    fn loaded(files: &[(&str, &str)], rights: u32) -> (Option<Profiles>, String) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(rights)).unwrap();
        }
        let mut problems = Problems::default();
        let found = profiles(&Folder::new(dir.path()), &mut problems);
        (found, problems.to_string())
    }

    #[test]
    fn a_file_takes_the_place_of_its_makes_profile_and_of_no_other() {
        let text = SECUNET.replace("to = \"2.0.2\"", "to = \"2.0.9\"");
        let (profiles, problems) = loaded(&[("secunet.toml", &text), (".secunet.toml.swp", "x")], 0o644);
        assert_eq!(problems, "");
        let knows =
            |product, firmware| profiles.as_ref().unwrap().of(product).unwrap().knows_firmware(firmware);
        assert!(knows(konnektor::Product::Secunet, "2.0.9"));
        assert!(!Profile::secunet().unwrap().knows_firmware("2.0.9"));
        assert!(knows(konnektor::Product::Kocobox, "5.5.16"));
    }

    #[test]
    fn a_mistake_has_its_place_and_what_others_can_write_is_not_read() {
        let bad = SECUNET.replace("redirects = 10", "redirects = \"x\"");
        let line = bad.lines().position(|line| line.starts_with("redirects")).unwrap() + 1;
        let (_, problems) = loaded(&[("secunet.toml", &bad)], 0o644);
        assert!(problems.starts_with(&format!("policy/konnektor/secunet.toml:{line}:13: ")), "{problems}");
        let wrong = SECUNET.replace("post = \"/rest", "post = \"rest");
        let (_, problems) = loaded(&[("secunet.toml", &wrong)], 0o644);
        assert!(problems.starts_with("policy/konnektor/secunet.toml: login.bearer.post: "), "{problems}");
        let (_, problems) = loaded(&[("secunet.toml", SECUNET)], 0o666);
        assert!(problems.starts_with("policy/konnektor/secunet.toml: "), "{problems}");
        let (_, problems) = loaded(&[("secunett.toml", SECUNET)], 0o644);
        assert!(problems.contains("did you mean \"secunet\"?"), "{problems}");
    }
}
