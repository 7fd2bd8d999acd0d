//! The sites' Konnektors as commands know them, and where notices go: out of the files, ready for use.
//! Absent on purpose: dialling.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::commands::Known;
use crate::config::{KonnektorBox, Notify, Product, Site};
use crate::gate::Rules;
use crate::konnektor::{self, Spec, Timeouts};
use crate::names::{KonnektorId, KonnektorName, SiteName};
use crate::notify::Target;
use crate::policy::Policy;
use crate::vault::retention;

pub(super) type Boxes = BTreeMap<KonnektorId, Known>;

/// The gate's rules, and the boxes.
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
            let retention = site.retention.map(|kept| retention::Rules {
                all: kept.all,
                weekly: kept.weekly,
                monthly: kept.monthly,
            });
            let (recipients, networks) = (recipients.clone(), konnektor.networks.clone());
            let spec = spec(id.clone(), konnektor)?;
            known.insert(id, Known { spec, recipients, retention, networks });
        }
    }
    Ok((Rules { policy, konnektors }, known))
}

fn spec(id: KonnektorId, konnektor: &KonnektorBox) -> anyhow::Result<Spec> {
    let certificate = match &konnektor.certificate {
        Some(hex) => Some(format!("sha256:{hex}").parse()?),
        None => None,
    };
    Ok(Spec {
        id,
        product: match konnektor.product {
            Product::Kocobox => konnektor::Product::Kocobox,
            Product::Secunet => konnektor::Product::Secunet,
            Product::Rise => konnektor::Product::Rise,
            Product::Auto => konnektor::Product::Auto,
        },
        address: konnektor.address.clone(),
        sds_address: konnektor.sds.clone(),
        certificate,
        user: konnektor.user.clone(),
        password: konnektor.password.clone(),
        parallel: konnektor.parallel,
        timeouts: Timeouts::default(),
    })
}

/// Where notices go, if gateway.toml says.
pub(super) async fn notices(notify: Option<&Notify>) -> anyhow::Result<Option<Target>> {
    let Some(notify) = notify else { return Ok(None) };
    let ca = match &notify.ca {
        Some(ca) => Some(tokio::fs::read(ca).await.with_context(|| format!("{}", ca.display()))?),
        None => None,
    };
    Ok(Some(Target::new(notify, ca.as_deref()).context("[notify]")?))
}
