//! `konnektor …`: a permitted command, a box, the vault.
//! Absent on purpose: the box's own protocol, and any address but those of the site's file.

mod backup;
mod changed;
mod check;
mod diff;
mod kept;
mod perform;
mod plans;
mod restore;
mod retire;
mod source;
mod standing;
mod status;
mod terminals;
mod unfinished;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::json;

use super::jobs::Desk;
use super::{Ended, Gone, Input, Out, Works, exit};
use crate::asks::{Command, Family, Form, Verb};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::{Error, Konnektor, Pins, Profiles, Spec};
use crate::names::KonnektorId;
use crate::vault::{Vault, VaultError};

pub(super) use kept::content;
pub use retire::has_expired;
pub use standing::Upshot;
pub(super) use standing::run_chore;

/// What `pforte konnektor` says in the same words, without a gateway.
pub(crate) mod spoken {
    pub(crate) use super::backup::{incomplete, read, table};
    pub(crate) use super::diff::{Services, show as show_diff, told as differences};
    pub(crate) use super::perform::{answered, returned};
    pub(crate) use super::plans::{questions, results, show as show_plan, told as how_far};
    pub(crate) use super::status::told as status;
    pub(crate) use super::terminals::{decided, ended as remapped, told as terminals, told_pairs};
    pub(crate) use super::{exit_code, said};
}

/// A box as the site's file describes it, and who of the customer's can read its backups.
#[derive(Clone)]
pub struct Known {
    /// Where and how to reach it.
    pub spec: Spec,
    /// The customer's age recipients.
    pub recipients: Vec<age::x25519::Recipient>,
    /// How long its backups stay; for ever, if nothing is said.
    pub retention: Option<crate::vault::retention::Rules>,
    /// Where the box may be followed to when its address changes; empty: the network around its address.
    pub networks: Vec<ipnet::IpNet>,
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
}

impl Konnektors {
    /// The box's driver; dials only where the make has to be found out.
    async fn open(&self, id: &KonnektorId, out: &Out) -> Result<(Arc<dyn Konnektor>, Known), Ended> {
        let Some(known) = self.known.load().get(id).cloned() else {
            return Err(no_such(out, id).await);
        };
        let profiles = self.profiles.load_full();
        let opened = crate::konnektor::open(known.spec.clone(), &profiles, self.pins.clone()).await;
        match opened {
            Ok(driver) => Ok((driver, known)),
            Err(e) => Err(failed(out, &e).await),
        }
    }
}

/// Runs what ends with its line.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other verbs are jobs, or about no Konnektor")]
pub async fn run(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    input: Option<&Arc<Input>>,
) -> Result<Ended, Ended> {
    match &started.ask().verb {
        Verb::KonnektorList => list(started, works, out).await,
        Verb::KonnektorBackups { konnektor, check: false } => {
            kept::backups(started, works, out, konnektor).await
        }
        Verb::KonnektorBackups { konnektor, check: true } => {
            check::check(started, works, out, konnektor).await
        }
        Verb::KonnektorShow { konnektor, file, services } => {
            kept::show(works, out, konnektor, file, services).await
        }
        Verb::KonnektorDiff { konnektor, old, new, services } => {
            diff::run(started, works, out, konnektor, (old, new.as_ref(), services), input).await
        }
        Verb::KonnektorTerminals { konnektor } => terminals::list(started, works, out, konnektor).await,
        Verb::KonnektorStatus { konnektor } => status::status(started, works, out, konnektor).await,
        _ => Err(Ended::failed(exit::FAILED, "not-about-a-konnektor")),
    }
}

/// Runs what goes on without its line.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other verbs are no jobs")]
pub(super) async fn run_job(started: &Started<Command>, desk: &Desk) -> Result<Ended, Ended> {
    match &started.ask().verb {
        Verb::KonnektorBackup { konnektor, into, services } => {
            backup::backup(started, desk, konnektor, into, services).await
        }
        Verb::KonnektorRestore { konnektor, restore, yes } => {
            restore::run(started, desk, konnektor, (restore, *yes)).await
        }
        Verb::KonnektorPerform { konnektor, action, data } => {
            perform::run(started, desk, konnektor, (action, data.as_ref())).await
        }
        Verb::KonnektorRemap { konnektor, source, pairs, dry_run, yes } => {
            terminals::remap(started, desk, konnektor, (source, pairs), (*dry_run, *yes)).await
        }
        _ => Err(Ended::failed(exit::FAILED, "no-job")),
    }
}

async fn list(started: &Started<Command>, works: &Works, out: &Out) -> Result<Ended, Ended> {
    let who = started.who();
    let known = works.konnektors.known.load();
    let sites = works.gate.sites_for(who, Family::KonnektorList);
    let boxes: Vec<_> =
        sites.iter().flat_map(|site| known.iter().filter(move |(id, _)| id.site == *site)).collect();
    if started.ask().form() == Form::Json {
        let json = boxes.iter().map(|(id, box_)| {
            json!({
                "konnektor": id.to_string(),
                "product": product(&box_.spec),
                "address": box_.spec.address.to_string(),
            })
        });
        out.json(&json.collect()).await?;
        return Ok(Ended::done());
    }
    for (id, box_) in &boxes {
        out.line(format!("{id}\t{}\t{}", product(&box_.spec), box_.spec.address)).await?;
    }
    if boxes.is_empty() {
        out.say(
            out.pick(
                "No rule shows you a Konnektor now.",
                "Keine Regel zeigt Ihnen zurzeit einen Konnektor.",
            ),
        )
        .await?;
    }
    Ok(Ended::done())
}

fn product(spec: &Spec) -> &'static str {
    use crate::konnektor::Product;
    match spec.product {
        Product::Kocobox => "kocobox",
        Product::Secunet => "secunet",
        Product::Rise => "rise",
        Product::Auto => "auto",
    }
}

/// The box's turn: nobody else reads or writes it meanwhile. Says who is at it where it has to wait.
async fn turn(works: &Works, out: &Out, id: &KonnektorId) -> Result<tokio::sync::OwnedMutexGuard<()>, Gone> {
    let turn = works.jobs.turn(id);
    let held = if let Ok(turn) = Arc::clone(&turn).try_lock_owned() {
        turn
    } else {
        if let Some(other) = works.jobs.at_work(id) {
            out.say(super::jobs::busy(&other, out.language)).await?;
        }
        turn.lock_owned().await
    };
    super::jobs::free_elsewhere(works, id, out).await?;
    Ok(held)
}

async fn unknown_firmware(out: &Out, firmware: &str) -> Ended {
    let firmware = crate::prompt::printable(firmware);
    let sentence = match out.language {
        Language::English => format!(
            "The firmware {firmware} is not known here, so the box is read only. A rule with firmware = \"any\" would allow more."
        ),
        Language::German => format!(
            "Die Firmware {firmware} ist hier nicht bekannt, also wird nur gelesen. Eine Regel mit firmware = \"any\" würde mehr erlauben."
        ),
    };
    said(out, sentence, exit::REFUSED, format!("unknown-firmware={firmware}")).await
}

pub(super) async fn no_such(out: &Out, id: &KonnektorId) -> Ended {
    let sentence = match out.language {
        Language::English => format!("There is no Konnektor {id}."),
        Language::German => format!("Es gibt keinen Konnektor {id}."),
    };
    said(out, sentence, exit::REFUSED, "no-such-konnektor".into()).await
}

pub(super) async fn failed(out: &Out, e: &Error) -> Ended {
    let code = exit_code(e);
    said(out, e.sentence(out.language == Language::German), code, e.to_string()).await
}

pub(crate) fn exit_code(e: &Error) -> u32 {
    if matches!(e, Error::Away) {
        exit::AWAY
    } else if matches!(e, Error::UnknownService { .. } | Error::BadData { .. } | Error::ReadOnly { .. }) {
        exit::USAGE
    } else if matches!(e, Error::UnknownAction { .. }) {
        exit::REFUSED
    } else {
        exit::FAILED
    }
}

pub(super) async fn vault_failed(out: &Out, e: &VaultError) -> Ended {
    let code =
        if matches!(e, VaultError::NotFound | VaultError::Exists) { exit::USAGE } else { exit::FAILED };
    said(out, e.sentence(out.language == Language::German), code, e.to_string()).await
}

pub(crate) async fn said(out: &Out, sentence: String, exit: u32, cause: String) -> Ended {
    match out.say(sentence).await {
        Ok(()) | Err(Gone) => Ended::failed(exit, cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_the_make_does_not_have_is_wrong_usage() {
        assert_eq!(exit_code(&Error::UnknownService { service: "foo".parse().unwrap() }), exit::USAGE);
        assert_eq!(exit_code(&Error::Away), exit::AWAY);
        assert_eq!(exit_code(&Error::LoginFailed), exit::FAILED);
    }
}
