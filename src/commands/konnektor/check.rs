//! `konnektor backups --check`: opens all that is kept of a box and looks whether it could be restored.
//! Absent on purpose: the box; it is not dialled.

use serde_json::json;

use super::super::{Ended, Out, Works, exit};
use super::kept::seconds;
use super::{Konnektors, said, vault_failed};
use crate::asks::{Command, Form};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::archive::{Archive, BadArchive};
use crate::names::{BackupName, KonnektorId, ServiceName};
use crate::vault::{Kept, VaultError};

/// Why a kept backup cannot be used at all.
pub(super) enum Unusable {
    Vault(VaultError),
    Archive(BadArchive),
    AnotherBox,
}

impl Unusable {
    fn sentence(&self, language: Language) -> String {
        let german = language == Language::German;
        match (self, german) {
            (Self::Vault(e), _) => e.sentence(german),
            (Self::Archive(e), _) => e.sentence(german),
            (Self::AnotherBox, false) => "of another box".into(),
            (Self::AnotherBox, true) => "von einem anderen Gerät".into(),
        }
    }
}

/// A kept backup that is whole and of this very box.
pub(super) async fn opened(
    konnektors: &Konnektors,
    id: &KonnektorId,
    name: &BackupName,
) -> Result<Archive, Unusable> {
    let opened = konnektors.vault.get_read(id, name, |from| Archive::read_from(from)).await;
    match opened {
        Err(e) => Err(Unusable::Vault(e)),
        Ok(Err(e)) => Err(Unusable::Archive(e)),
        // age proves no sender: the file has to be of this box (its own head says which).
        Ok(Ok(archive)) if archive.konnektor().as_ref() == Ok(id) => Ok(archive),
        Ok(Ok(_)) => Err(Unusable::AnotherBox),
    }
}

/// One backup, looked through.
struct Looked {
    kept: Kept,
    services: usize,
    /// `ok`, `incomplete` or `unusable`.
    verdict: &'static str,
    words: String,
}

async fn look(konnektors: &Konnektors, id: &KonnektorId, kept: Kept, out: &Out) -> Looked {
    let (services, verdict, words) = match opened(konnektors, id, &kept.name).await {
        Ok(archive) if archive.about.failed.is_empty() => {
            (archive.about.services.len(), "ok", out.pick("ok", "in Ordnung").to_owned())
        }
        Ok(archive) => {
            let missing: Vec<String> = archive.about.failed.keys().map(ToString::to_string).collect();
            let words = format!("{}: {}", out.pick("incomplete", "unvollständig"), missing.join(", "));
            (archive.about.services.len(), "incomplete", words)
        }
        Err(Unusable::Vault(VaultError::SealedForSite)) => {
            let vault = &konnektors.vault;
            match vault.foreign(id, &kept.name).await {
                Ok(foreign) if foreign.missing.is_empty() => {
                    let english = "as the site sealed it (SHA-256); not opened";
                    let german = "wie der Kunde sie verschlüsselt hat (SHA-256); nicht geöffnet";
                    (foreign.services.len(), "ok", out.pick(english, german).to_owned())
                }
                Ok(foreign) => {
                    let missing: Vec<&str> = foreign.missing.iter().map(ServiceName::as_str).collect();
                    let words =
                        format!("{}: {}", out.pick("incomplete", "unvollständig"), missing.join(", "));
                    (foreign.services.len(), "incomplete", words)
                }
                Err(e) => (0, "unusable", e.sentence(out.language == Language::German)),
            }
        }
        Err(e) => (0, "unusable", e.sentence(out.language)),
    };
    Looked { kept, services, verdict, words }
}

/// Looks through all of them, and tells each as it goes.
pub(super) async fn look_through(
    konnektors: &Konnektors,
    id: &KonnektorId,
    form: Form,
    out: &Out,
) -> Result<Ended, Ended> {
    let kept = match konnektors.vault.list(id).await {
        Ok(kept) => kept,
        Err(e) => return Err(vault_failed(out, &e).await),
    };
    let (all, mut bad, mut rows) = (kept.len(), Vec::new(), Vec::new());
    for (nth, backup) in kept.into_iter().enumerate() {
        let step = format!("{}/{all} {}", nth + 1, backup.name);
        out.progress(&step, "").await?;
        let looked = look(konnektors, id, backup, out).await;
        out.progress("", "").await?;
        if looked.verdict != "ok" {
            bad.push(looked.kept.name.to_string());
        }
        match form {
            Form::Json => rows.push(row(&looked)),
            Form::Text => {
                let Looked { kept, services, words, .. } = &looked;
                out.line(format!("{}\t{}\t{services}\t{words}", kept.name, kept.bytes)).await?;
            }
        }
    }
    if form == Form::Json {
        out.json(&rows.into()).await?;
    }
    if bad.is_empty() {
        return Ok(Ended::done());
    }
    let sentence = match out.language {
        Language::English => format!("{} of {all} backups are no good ones.", bad.len()),
        Language::German => format!("{} von {all} Sicherungen taugen nichts.", bad.len()),
    };
    let few: Vec<&str> = bad.iter().take(10).map(String::as_str).collect();
    let cause = format!("bad-backups={} of {all}: {}", bad.len(), few.join(", "));
    Err(said(out, sentence, exit::FAILED, cause).await)
}

fn row(looked: &Looked) -> serde_json::Value {
    let taken = looked.kept.about.as_ref().map_or(looked.kept.modified, |about| about.taken);
    json!({
        "name": looked.kept.name.to_string(),
        "taken": seconds(taken),
        "bytes": looked.kept.bytes,
        "services": looked.services,
        "verdict": looked.verdict,
        "why": looked.words,
    })
}

/// The command.
pub(super) async fn check(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    id: &KonnektorId,
) -> Result<Ended, Ended> {
    look_through(&works.konnektors, id, started.ask().form(), out).await
}
