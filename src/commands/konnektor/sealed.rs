//! A backup that the site makes and seals: fetched, kept as it came, and told about.
//! Absent on purpose: a look inside; see `konnektor status` for the box itself.

use jiff::Timestamp;

use super::super::{Ended, Out};
use super::backup::{By, Taken, followed, teller};
use super::{Konnektors, Reached, failed, vault_failed};
use crate::config::Language;
use crate::konnektor::Konnektor;
use crate::names::{BackupName, ServiceName};
use crate::uplink::konnektor::{Backups, SiteArchive};
use crate::vault::{About, Foreign, SiteSealed};

/// Has one made and keeps it.
pub(super) async fn take(
    konnektors: &Konnektors,
    (backups, driver, reached): (&Backups, &dyn Konnektor, &Reached),
    (services, wanted): (&[ServiceName], Option<&BackupName>),
    (by, taken): (By, Timestamp),
    out: &Out,
) -> Result<Taken, Ended> {
    let (teller, steps) = teller();
    let making = async move { backups.take(services, driver.address(), &teller).await };
    let SiteArchive { pieces, sha256, identity, services, missing, .. } =
        match followed(making, steps, out).await? {
            Ok(archive) => archive,
            Err(e) => return Err(failed(out, &e).await),
        };
    let mut table = String::new();
    for (service, read, stripped) in &services {
        table.push_str(&super::backup::row(service, *read, *stripped, out.language));
    }
    for (service, why) in &missing {
        let line = format!("{service}\t-\t{}\n", why.sentence(out.language == Language::German));
        table.push_str(&line);
    }
    let names = |list: &[ServiceName]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let foreign = Foreign {
        services: services.into_iter().map(|(service, ..)| service).collect(),
        missing: missing.into_iter().map(|(service, _)| service).collect(),
    };
    let incomplete = names(&foreign.missing);
    let about = About {
        product: identity.product_name.clone(),
        firmware: identity.firmware.clone(),
        by: by.name,
        taken,
    };
    let sealed = SiteSealed { pieces, sha256, foreign };
    match konnektors.vault.put_foreign(&reached.id, &about, sealed, wanted).await {
        Ok(name) => Ok(Taken { name, identity, reading: None, table, incomplete }),
        Err(e) => Err(vault_failed(out, &e).await),
    }
}
