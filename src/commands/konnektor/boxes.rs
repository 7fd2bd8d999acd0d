//! The boxes: those that are dialled from here, with their secrets, and those behind a site's own link, without.
//! Absent on purpose: what is done at one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::super::{Ended, Out};
use super::{failed, no_such};
use crate::asks::{Ask, Command};
use crate::journal::started::{Routine, Started};
use crate::konnektor::{Konnektor, Pins, Product, Profiles, Spec};
use crate::link::frames::Visitor;
use crate::link::lease::SCHEDULE;
use crate::names::{HostPort, KonnektorId};
use crate::uplink::Streams;
use crate::uplink::konnektor::{Backups, Patience};
use crate::vault::Vault;
use crate::vault::retention::Rules;

/// How a box is reached.
#[derive(Clone)]
pub enum Way {
    /// From here.
    Direct(Box<Spec>),
    /// Over its site's own link; the site has its address and its account.
    Link {
        /// Its make, as far as the gateway's own file says it.
        product: Product,
        /// Where it is, for people; never dialled.
        address: Option<HostPort>,
    },
}

/// A box as the site's file describes it, and who of the customer's can read its backups.
#[derive(Clone)]
pub struct Known {
    /// How to reach it.
    pub way: Way,
    /// The customer's age recipients.
    pub recipients: Vec<age::x25519::Recipient>,
    /// How long its backups stay; for ever, if nothing is said.
    pub retention: Option<Rules>,
    /// Where the box may be followed to when its address changes; empty: the network around its address.
    pub networks: Vec<ipnet::IpNet>,
}

impl Known {
    pub(super) fn product(&self) -> &'static str {
        match &self.way {
            Way::Direct(spec) => word(spec.product),
            Way::Link { product, .. } => word(*product),
        }
    }

    pub(super) fn address(&self) -> Option<&HostPort> {
        match &self.way {
            Way::Direct(spec) => Some(&spec.address),
            Way::Link { address, .. } => address.as_ref(),
        }
    }
}

fn word(product: Product) -> &'static str {
    match product {
        Product::Kocobox => "kocobox",
        Product::Secunet => "secunet",
        Product::Rise => "rise",
        Product::Auto => "auto",
    }
}

/// The boxes, the vault, and where certificates seen first are kept.
pub struct Konnektors {
    /// All boxes; changed as a whole when files change.
    pub known: ArcSwap<BTreeMap<KonnektorId, Known>>,
    /// What is kept.
    pub vault: Vault,
    /// Certificates seen first.
    pub pins: Arc<dyn Pins>,
    /// What is known of each make; changed as a whole when files change.
    pub profiles: ArcSwap<Profiles>,
    /// The sites' own links; until they are set no site has one.
    pub links: OnceLock<Arc<dyn Streams>>,
}

/// A box that was opened, apart from its driver.
pub(in crate::commands) struct Reached {
    pub(in crate::commands) id: KonnektorId,
    /// Where it is, as whoever dials it has it.
    pub(super) home: HostPort,
    /// The file that says so.
    pub(super) file: String,
    pub(super) recipients: Vec<age::x25519::Recipient>,
    pub(super) networks: Vec<ipnet::IpNet>,
    /// There, where the site makes and seals its backups itself.
    pub(super) sealed: Option<Backups>,
}

impl Konnektors {
    /// The box's driver, on this visitor's behalf; dials only where the make has to be found out.
    pub(super) async fn open(
        &self,
        id: &KonnektorId,
        visitor: Visitor,
        out: &Out,
    ) -> Result<(Arc<dyn Konnektor>, Reached), Ended> {
        let Some(known) = self.known.load().get(id).cloned() else {
            return Err(no_such(out, id).await);
        };
        let profiles = self.profiles.load_full();
        let opened = match &known.way {
            Way::Direct(spec) => {
                let opened = crate::konnektor::open(Spec::clone(spec), &profiles, self.pins.clone()).await;
                opened.map(|driver| (driver, None))
            }
            Way::Link { product, .. } => match self.links.get() {
                Some(links) => {
                    let (links, box_) = (Arc::clone(links), (id, *product));
                    let patience = Patience::ORDINARY;
                    let opened = crate::uplink::konnektor::open(links, box_, visitor, &profiles, patience);
                    opened.await.map(|opened| (opened.driver, opened.sealed))
                }
                None => Err(crate::konnektor::Error::Away),
            },
        };
        let (driver, sealed) = match opened {
            Ok(opened) => opened,
            Err(e) => return Err(failed(out, &e).await),
        };
        let file = match &known.way {
            Way::Direct(_) => format!("policy/sites/{}.toml", id.site),
            Way::Link { .. } => format!("site.toml ({})", id.site),
        };
        let Known { recipients, networks, .. } = known;
        let (id, home) = (id.clone(), driver.address().clone());
        Ok((driver, Reached { id, home, file, recipients, networks, sealed }))
    }
}

/// So much of a command goes to the site, in bytes; its page shows it.
const COMMAND: usize = 4096;

/// On whose behalf a command's box is opened.
pub(super) fn visitor(started: &Started<Command>) -> Visitor {
    let (who, ask) = (started.who(), started.ask());
    let asked = String::from_utf8_lossy(ask.as_asked());
    Visitor {
        user: who.user().to_string(),
        session: who.connection().session.to_string(),
        family: ask.family().as_str().to_owned(),
        command: asked.get(..asked.floor_char_boundary(COMMAND)).unwrap_or_default().to_owned(),
    }
}

/// The same for what a schedule has done; there is nobody, and no connection.
pub(super) fn nobody(routine: &Routine) -> Visitor {
    Visitor {
        user: SCHEDULE.to_owned(),
        // A name all the same: the site counts visits by it.
        session: format!("schedule-{}", routine.konnektor().konnektor),
        family: "konnektor backup".to_owned(),
        command: routine.chore().as_asked(),
    }
}
