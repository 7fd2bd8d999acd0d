//! `konnektor backups|show`: what the vault keeps of a box.
//! Absent on purpose: the box itself; it is not dialled.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::super::{Ended, Gone, Out, Works, exit};
use super::{said, vault_failed};
use crate::asks::{Command, Form};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::archive::{Archive, write_services};
use crate::names::{BackupName, KonnektorId, ServiceName};
use crate::prompt::printable;
use crate::vault::Kept;

pub(super) async fn backups(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    id: &KonnektorId,
) -> Result<Ended, Ended> {
    let kept = match works.konnektors.vault.list(id).await {
        Ok(kept) => kept,
        Err(e) => return Err(vault_failed(out, &e).await),
    };
    if started.ask().form() == Form::Json {
        out.json(&kept.iter().map(kept_json).collect()).await?;
        return Ok(Ended::done());
    }
    if kept.is_empty() {
        out.say(match out.language {
            Language::English => format!("Nothing is kept of {id} yet."),
            Language::German => format!("Von {id} wird noch nichts aufbewahrt."),
        })
        .await?;
    }
    for backup in kept {
        let line = kept_line(&backup);
        let sealed = out.pick("sealed for the site", "für den Kunden verschlüsselt");
        out.line(if backup.foreign.is_some() { format!("{line}\t{sealed}") } else { line }).await?;
    }
    Ok(Ended::done())
}

/// What `backups` shows of the sidecar: the box, its firmware, who, when. It is plain text that others could write, so
/// neither a tab nor a newline nor an escape of it stays, on a terminal or without one.
fn about(backup: &Kept) -> ([Option<String>; 3], String) {
    let texts = backup.about.as_ref().map(|about| [&about.product, &about.firmware, &about.by]);
    let texts = texts.map_or([None, None, None], |texts| texts.map(|text| Some(printable(text))));
    let taken = backup.about.as_ref().map_or(backup.modified, |about| about.taken);
    (texts, seconds(taken))
}

/// One backup, its columns set apart by tabs.
fn kept_line(backup: &Kept) -> String {
    let (texts, taken) = about(backup);
    let [product, firmware, by] = texts.map(|text| text.unwrap_or_else(|| "?".into()));
    format!("{}\t{taken}\t{}\t{product}\t{firmware}\t{by}", backup.name, backup.bytes)
}

/// One backup for programs; `null` where its sidecar is missing.
fn kept_json(backup: &Kept) -> serde_json::Value {
    let ([product, firmware, by], taken) = about(backup);
    json!({
        "name": backup.name.to_string(),
        "taken": taken,
        "bytes": backup.bytes,
        "product": product,
        "firmware": firmware,
        "by": by,
        "sealed": backup.foreign.is_some(),
    })
}

pub(super) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

pub(super) async fn show(
    works: &Works,
    out: &Out,
    id: &KonnektorId,
    file: &BackupName,
    services: &[ServiceName],
) -> Result<Ended, Ended> {
    let json = match works.konnektors.vault.get(id, file).await {
        Ok(json) => json,
        Err(e) => return Err(vault_failed(out, &e).await),
    };
    let archive = match Archive::parse(&json) {
        // age proves no sender: the file has to be the one of this box (its own head says which).
        Ok(archive) if archive.konnektor().as_ref() == Ok(id) => archive,
        Ok(_) => return Err(bad_archive(out, file, "another-box").await),
        Err(e) => return Err(bad_archive(out, file, &e.to_string()).await),
    };
    if services.is_empty() {
        out.data(json.to_vec()).await?;
        return Ok(Ended::done());
    }
    let mut chosen = BTreeMap::new();
    for service in services {
        let Some(value) = archive.service(service) else {
            out.say(match out.language {
                Language::English => format!("{file} holds no {service}."),
                Language::German => format!("{file} enthält kein {service}."),
            })
            .await?;
            return Err(Ended::failed(exit::USAGE, "no-such-service"));
        };
        chosen.insert(service, value);
    }
    let mut text = Vec::new();
    // Writing into memory does not fail.
    write_services(chosen.into_iter(), 0, &mut text).ok();
    text.push(b'\n');
    out.data(text).await?;
    Ok(Ended::done())
}

pub(super) async fn bad_archive(out: &Out, file: &BackupName, cause: &str) -> Ended {
    let sentence = match out.language {
        Language::English => format!("{file} is no valid backup of this box: {cause}"),
        Language::German => format!("{file} ist keine gültige Sicherung dieses Geräts: {cause}"),
    };
    said(out, sentence, exit::FAILED, format!("archive={cause}")).await
}

/// Writes a kept backup to standard output; one that its site sealed as it is.
pub(in crate::commands) async fn content(
    works: &Works,
    out: &Out,
    id: &KonnektorId,
    name: &BackupName,
) -> Result<(), Gone> {
    match works.konnektors.vault.get_or_foreign(id, name).await {
        Ok(json) => out.data(json.to_vec()).await,
        Err(e) => out.say(e.sentence(out.language == Language::German)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::About;

    #[test]
    fn a_sidecar_can_forge_neither_a_column_nor_a_line_nor_an_escape() {
        let taken = "2026-11-21T16:04:05Z".parse().unwrap();
        let about = About {
            product: "Koco\tBox".into(),
            firmware: "5\n6".into(),
            by: "firm-jane.doe\u{1b}[2J".into(),
            taken,
        };
        let name = "2026-11-21-16-04.json".parse().unwrap();
        let kept = Kept { name, bytes: 7, modified: taken, about: Some(about), foreign: None };
        assert_eq!(
            kept_line(&kept),
            "2026-11-21-16-04.json\t2026-11-21T16:04:05Z\t7\tKoco\\u{9}Box\t5\\u{a}6\tfirm-jane.doe\\u{1b}[2J"
        );
    }

    #[test]
    fn a_backup_without_a_sidecar_has_null_where_people_read_a_question_mark() {
        let modified = "2026-11-21T16:04:05Z".parse().unwrap();
        let name = "2026-11-21-16-04.json".parse().unwrap();
        let kept = Kept { name, bytes: 7, modified, about: None, foreign: None };
        assert_eq!(kept_line(&kept), "2026-11-21-16-04.json\t2026-11-21T16:04:05Z\t7\t?\t?\t?");
        assert_eq!(
            kept_json(&kept).to_string(),
            r#"{"name":"2026-11-21-16-04.json","taken":"2026-11-21T16:04:05Z","bytes":7,"product":null,"firmware":null,"by":null,"sealed":false}"#
        );
    }
}
