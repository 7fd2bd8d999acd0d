//! `konnektor diff`: a backup against the box, or against a second one.
//! Absent on purpose: writing. What is secret is shown as changed, not as what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::super::{Ended, Gone, Input, Out, Works};
use super::source::given;
use super::{backup, failed, visitor};
use crate::asks::{Command, Form, Source};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::diff::{Diff, diff};
use crate::konnektor::{Json, Konnektor, Profile};
use crate::names::{KonnektorId, ServiceName};
use crate::prompt::printable;

/// Values by their names.
pub(crate) type Services = BTreeMap<ServiceName, Json>;

/// Runs it.
pub(super) async fn run(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    id: &KonnektorId,
    (old, new, services): (&Source, Option<&Source>, &[ServiceName]),
    input: Option<&Arc<Input>>,
) -> Result<Ended, Ended> {
    let (driver, _) = works.konnektors.open(id, visitor(started), out).await?;
    let profile = driver.profile();
    let before = given(works, out, (id, old), input, profile).await?.services;
    let (after, unread) = match new {
        Some(new) => (given(works, out, (id, new), input, profile).await?.services, BTreeMap::new()),
        None => of_box(works, out, id, driver.as_ref(), services).await?,
    };
    let json = started.ask().form() == Form::Json;
    told(out, json, (&before, &after, &unread), services, profile).await?;
    Ok(Ended::done())
}

/// Says what differs, service by service.
pub(crate) async fn told(
    out: &Out,
    json: bool,
    (before, after, unread): (&Services, &Services, &BTreeMap<ServiceName, String>),
    services: &[ServiceName],
    profile: &Profile,
) -> Result<(), Gone> {
    let wanted = |name: &&ServiceName| services.is_empty() || services.contains(name);
    let mut names: BTreeSet<&ServiceName> = before.keys().chain(after.keys()).filter(wanted).collect();
    names.extend(services);
    let mut found: Vec<(&ServiceName, Result<Diff, String>)> = Vec::new();
    for name in names {
        if let Some(compared) = compared(name, before, after, unread, profile, out) {
            found.push((name, compared));
        }
    }
    if json {
        let german = out.language == Language::German;
        let services = found.iter().map(|(name, compared)| match compared {
            Ok(diff) => json!({"service": name, "changes": diff.lines(german)}),
            Err(why) => json!({"service": name, "not_compared": why}),
        });
        return out.json(&services.collect()).await;
    }
    if found.is_empty() {
        out.say(out.pick("No difference.", "Kein Unterschied.")).await?;
    }
    for (name, compared) in &found {
        out.line(name.as_str()).await?;
        match compared {
            Ok(diff) => show(diff, out).await?,
            Err(why) => out.line(format!("  {why}")).await?,
        }
    }
    Ok(())
}

/// What a service's two values differ in; `None`: nothing.
fn compared(
    name: &ServiceName,
    before: &Services,
    after: &Services,
    unread: &BTreeMap<ServiceName, String>,
    profile: &Profile,
    out: &Out,
) -> Option<Result<Diff, String>> {
    match (before.get(name), after.get(name)) {
        (Some(before), Some(after)) => {
            let diff = diff(before, after, profile);
            (!diff.is_empty()).then_some(Ok(diff))
        }
        (_, None) if unread.contains_key(name) => unread.get(name).cloned().map(Err),
        (Some(_), None) => Some(Err(out.pick("only in the first", "nur im ersten").to_owned())),
        (None, Some(_)) => Some(Err(out.pick("only in the second", "nur im zweiten").to_owned())),
        (None, None) => Some(Err(out.pick("in neither", "in keinem").to_owned())),
    }
}

/// The box's services, and why some are missing.
async fn of_box(
    works: &Works,
    out: &Out,
    id: &KonnektorId,
    driver: &dyn Konnektor,
    services: &[ServiceName],
) -> Result<(Services, BTreeMap<ServiceName, String>), Ended> {
    let _turn = super::turn(works, out, id).await?;
    let reading = backup::read(driver, services, out).await?;
    driver.logout().await;
    match reading {
        Ok(reading) => {
            let german = out.language == Language::German;
            let unread = reading.failed.into_iter().map(|(name, e)| (name, e.sentence(german)));
            let services = reading.services.into_iter().map(|read| (read.service, read.value));
            Ok((services.collect(), unread.collect()))
        }
        Err(e) => Err(failed(out, &e).await),
    }
}

/// A diff's lines, set in.
pub(crate) async fn show(diff: &Diff, out: &Out) -> Result<(), Gone> {
    for line in diff.lines(out.language == Language::German) {
        out.line(format!("  {}", printable(&line))).await?;
    }
    Ok(())
}
