//! `konnektor …`: a permitted command, a box, the vault.
//! Absent on purpose: the box's own protocol, and any address but those of the site's file.

mod backup;
mod boxes;
mod changed;
mod check;
mod diff;
mod kept;
mod perform;
mod plans;
mod restore;
mod retire;
mod sealed;
mod source;
mod standing;
mod status;
mod terminals;
mod unfinished;

use std::sync::Arc;

use serde_json::json;

use super::jobs::Desk;
use super::{Ended, Gone, Input, Out, Works, exit};
use crate::asks::{Command, Family, Form, Verb};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::Error;
use crate::names::KonnektorId;
use crate::vault::VaultError;

pub(super) use boxes::Reached;
use boxes::visitor;
pub use boxes::{Known, Konnektors, Way};
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
                "product": box_.product(),
                "address": box_.address().map(ToString::to_string),
            })
        });
        out.json(&json.collect()).await?;
        return Ok(Ended::done());
    }
    for (id, box_) in &boxes {
        let address = box_.address().map_or_else(|| "?".to_owned(), ToString::to_string);
        out.line(format!("{id}\t{}\t{address}", box_.product())).await?;
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
    } else if matches!(e, Error::UnknownAction { .. } | Error::SiteRefused { .. }) {
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
