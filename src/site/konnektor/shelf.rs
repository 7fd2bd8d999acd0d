//! The site's Konnektors as `site.toml` has them, and `konnektor/MAKE.toml` beside it in the place of a profile that this build ships.
//! Absent on purpose: learning a certificate; one that `site.toml` does not pin is refused, and its sum said.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Boxes, Patience, SiteBox, Tools, serve};
use crate::clock::Clock;
use crate::config::{self, Folder, Place, Problems, Readable};
use crate::konnektor::{LearnNothing, Product, Profile, Profiles, Spec, Timeouts};
use crate::link::Stream;
use crate::link::frames::Head;
use crate::names::KonnektorId;
use crate::site::config::Settings;
use crate::site::streams;

/// Where a site's own profiles lie, below the folder of its `site.toml`.
const FOLDER: &str = "konnektor";

/// The site's Konnektors, served to gateways.
pub struct Shelf {
    boxes: Boxes,
    tools: Tools,
}

impl Shelf {
    /// Of what `site.toml` in `dir` says.
    ///
    /// # Errors
    /// A profile, a recipient or a certificate that is none, each with its place.
    pub fn of(dir: &Path, settings: &Settings, clock: Clock) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let profiles = profiles(&Folder::new(dir), &mut problems);
        let mut boxes = Boxes::default();
        let mut wrong = |what: String| problems.add(Place::file(Path::new("site.toml")), what);
        match settings.recipient.as_deref().map(str::parse) {
            Some(Ok(recipient)) => boxes.recipients.push(recipient),
            Some(Err(e)) => wrong(format!("recipient: {e}")),
            None => {}
        }
        for (name, known) in &settings.konnektors {
            let pin = known.certificate.as_ref().map(|hex| format!("sha256:{hex}").parse());
            let certificate = match pin.transpose() {
                Ok(certificate) => certificate,
                Err(e) => {
                    wrong(format!("konnektor.{name}: {e}"));
                    continue;
                }
            };
            let spec = Spec {
                id: KonnektorId { site: settings.name.clone(), konnektor: name.clone() },
                product: match known.product {
                    config::Product::Kocobox => Product::Kocobox,
                    config::Product::Secunet => Product::Secunet,
                    config::Product::Rise => Product::Rise,
                    config::Product::Auto => Product::Auto,
                },
                address: known.address.clone(),
                sds_address: known.sds.clone(),
                certificate,
                user: known.user.clone(),
                password: known.password.clone(),
                parallel: known.parallel,
                timeouts: Timeouts::default(),
            };
            boxes.boxes.insert(name.clone(), SiteBox { spec, networks: known.networks.clone() });
        }
        match profiles {
            Some(profiles) if problems.0.is_empty() => {
                let (profiles, pins) = (Arc::new(profiles), Arc::new(LearnNothing));
                Ok(Self { boxes, tools: Tools { profiles, pins, clock, patience: Patience::ORDINARY } })
            }
            _ => Err(problems),
        }
    }
}

fn profiles(folder: &Folder, problems: &mut Problems) -> Option<Profiles> {
    let mut profiles = match Profiles::shipped() {
        Ok(profiles) => profiles,
        Err(e) => {
            problems.add(Place::file(Path::new(FOLDER)), e.to_string());
            return None;
        }
    };
    for file in folder.list(Path::new(FOLDER), problems) {
        let stem =
            file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".toml"));
        let make = Profiles::MAKES.into_iter().find(|(_, make)| stem == Some(*make));
        let Some((product, _)) = make else {
            let makes = Profiles::MAKES.map(|(_, make)| make).join(", ");
            problems.add(Place::file(&file), format!("expected one of {makes}, each .toml"));
            continue;
        };
        let Some(text) = folder.read(&file, Readable::ByAll, None, problems) else { continue };
        match Profile::parse(&text) {
            Ok(profile) => profiles = profiles.with(product, profile),
            Err(e) => problems.add(Place::file(&file), e.to_string()),
        }
    }
    Some(profiles)
}

#[async_trait]
impl streams::Boxes for Shelf {
    async fn serve(&self, stream: Stream, head: Head) {
        let ended = serve(stream, &head, &self.boxes, &self.tools).await;
        tracing::info!(user = %head.visitor.user, family = %head.visitor.family, "a Konnektor's stream: {ended}");
    }
}
