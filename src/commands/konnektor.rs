//! `konnektor list|backup|backups|show`: a permitted command, a box, the vault.
//! Absent on purpose: the box's own protocol, and any address but those of the site's file.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Ended, Gone, Out, Works, exit};
use crate::asks::{Command, Family, Form, Into, Verb};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::archive::{Archive, Stamp, write_services};
use crate::konnektor::{Error, Pins, Profiles, Progress, Reading, Spec, Step};
use crate::names::{BackupName, KonnektorId, ServiceName};
use crate::prompt::printable;
use crate::vault::{About, Kept, Vault, VaultError};

/// A box as the site's file describes it, and who of the customer's can read its backups.
#[derive(Clone)]
pub struct Known {
    /// Where and how to reach it.
    pub spec: Spec,
    /// The customer's age recipients.
    pub recipients: Vec<age::x25519::Recipient>,
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

/// Runs it.
pub async fn run(started: &Started<Command>, works: &Works, out: &Out) -> Result<Ended, Ended> {
    match &started.ask().verb {
        Verb::KonnektorList => list(started, works, out).await,
        Verb::KonnektorBackup { konnektor, into, services } => {
            backup(started, works, out, konnektor, into, services).await
        }
        Verb::KonnektorBackups { konnektor } => backups(started, works, out, konnektor).await,
        Verb::KonnektorShow { konnektor, file, services } => {
            show(works, out, konnektor, file, services).await
        }
        Verb::Help(_) | Verb::Whoami | Verb::Sites | Verb::Why { .. } | Verb::Connect { .. } => {
            Err(Ended::failed(exit::FAILED, "not-about-a-konnektor"))
        }
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

async fn backup(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    id: &KonnektorId,
    into: &Into,
    services: &[ServiceName],
) -> Result<Ended, Ended> {
    let konnektors = &works.konnektors;
    let Some(known) = konnektors.known.load().get(id).cloned() else {
        return Err(no_such(out, id).await);
    };
    let taken = works.clock.now();
    let profiles = konnektors.profiles.load_full();
    let opened = crate::konnektor::open(known.spec.clone(), &profiles, konnektors.pins.clone()).await;
    let driver = match opened {
        Ok(driver) => driver,
        Err(e) => return Err(failed(out, &e).await),
    };
    // Make and firmware first: what is kept has to say what it was taken from.
    let identity = match driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(failed(out, &e).await),
    };
    let (told, steps) = mpsc::channel(64);
    let teller = Teller { told };
    let read = async {
        let read = driver.read(services, &teller).await;
        drop(teller);
        read
    };
    let (reading, shown) = tokio::join!(read, tell(steps, out));
    driver.logout().await;
    shown?;
    let reading = match reading {
        Ok(reading) => reading,
        Err(e) => return Err(failed(out, &e).await),
    };
    let who = started.who();
    let stamp = Stamp {
        identity: identity.clone(),
        konnektor: id.clone(),
        taken,
        by: Some(who.user().clone()),
        session: Some(who.connection().session),
    };
    let lines = table(&reading, out.language);
    let incomplete: Vec<String> = reading.failed.iter().map(|(name, _)| name.to_string()).collect();
    let json = Zeroizing::new(Archive::of(reading, stamp).to_json());
    let about = About {
        product: identity.product_name,
        firmware: identity.firmware,
        by: who.user().to_string(),
        taken,
    };
    let wanted = match into {
        Into::Named(name) => Some(name),
        Into::Store | Into::Output => None,
    };
    let kept = konnektors.vault.put(id, &about, &known.recipients, json.clone(), wanted).await;
    let name = match kept {
        Ok(name) => name,
        Err(e) => return Err(vault_failed(out, &e).await),
    };
    if *into == Into::Output {
        out.data(json.to_vec()).await?;
        out.say(format!("{id} {name}")).await?;
    } else {
        out.line(format!("{id} {name}")).await?;
        out.data(lines).await?;
    }
    if incomplete.is_empty() {
        return Ok(Ended::done());
    }
    let list = incomplete.join(", ");
    out.say(match out.language {
        Language::English => {
            format!("Kept, but without: {list}. The account on the box may not be allowed to read them.")
        }
        Language::German => {
            format!("Gesichert, aber ohne: {list}. Vielleicht darf das Konto auf dem Gerät sie nicht lesen.")
        }
    })
    .await?;
    Ok(Ended::failed(exit::FAILED, format!("incomplete: {list}")))
}

/// The services and their sizes.
fn table(reading: &Reading, language: Language) -> String {
    let mut text = String::new();
    for read in &reading.services {
        let stripped = match (read.stripped.len(), language) {
            (0, _) => String::new(),
            (n, Language::English) => format!("\t{n} personal data left out"),
            (n, Language::German) => format!("\t{n} personenbezogene Angaben weggelassen"),
        };
        let line = format!("{}\t{}{stripped}\n", read.service, read.bytes);
        text.push_str(&line);
    }
    for (service, why) in &reading.failed {
        let line = format!("{service}\t-\t{}\n", why.sentence(language == Language::German));
        text.push_str(&line);
    }
    text
}

/// Hands each step on to the person; a client that does not read loses steps, not the backup.
struct Teller {
    told: mpsc::Sender<String>,
}

impl Progress for Teller {
    fn step(&self, step: &Step<'_>) {
        let line = match step {
            Step::Started { .. } => return,
            Step::Done { service, bytes, took } => format!("{service} {bytes} B {} ms", took.as_millis()),
            Step::Failed { service, .. } => format!("{service} -"),
        };
        if self.told.try_send(line).is_err() {
            tracing::trace!("a step was not shown");
        }
    }
}

async fn tell(mut steps: mpsc::Receiver<String>, out: &Out) -> Result<(), Gone> {
    let mut done = 0;
    while let Some(step) = steps.recv().await {
        done += 1;
        match out.terminal {
            super::Terminal::Screen => out.over(&format!("[{:<19}] {step}", "#".repeat(done))).await?,
            super::Terminal::None => out.say(step).await?,
        }
    }
    out.over("").await
}

async fn backups(
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
        out.line(kept_line(&backup)).await?;
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
    })
}

fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

async fn show(
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

async fn bad_archive(out: &Out, file: &BackupName, cause: &str) -> Ended {
    let sentence = match out.language {
        Language::English => format!("{file} is no valid backup of this box: {cause}"),
        Language::German => format!("{file} ist keine gültige Sicherung dieses Geräts: {cause}"),
    };
    said(out, sentence, exit::FAILED, format!("archive={cause}")).await
}

async fn no_such(out: &Out, id: &KonnektorId) -> Ended {
    let sentence = match out.language {
        Language::English => format!("There is no Konnektor {id}."),
        Language::German => format!("Es gibt keinen Konnektor {id}."),
    };
    said(out, sentence, exit::REFUSED, "no-such-konnektor".into()).await
}

async fn failed(out: &Out, e: &Error) -> Ended {
    let code = exit_code(e);
    said(out, e.sentence(out.language == Language::German), code, e.to_string()).await
}

fn exit_code(e: &Error) -> u32 {
    if matches!(e, Error::Away) {
        exit::AWAY
    } else if matches!(e, Error::UnknownService { .. }) {
        exit::USAGE
    } else {
        exit::FAILED
    }
}

async fn vault_failed(out: &Out, e: &VaultError) -> Ended {
    let code =
        if matches!(e, VaultError::NotFound | VaultError::Exists) { exit::USAGE } else { exit::FAILED };
    said(out, e.sentence(out.language == Language::German), code, e.to_string()).await
}

async fn said(out: &Out, sentence: String, exit: u32, cause: String) -> Ended {
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
        let kept = Kept { name, bytes: 7, modified: taken, about: Some(about) };
        assert_eq!(
            kept_line(&kept),
            "2026-11-21-16-04.json\t2026-11-21T16:04:05Z\t7\tKoco\\u{9}Box\t5\\u{a}6\tfirm-jane.doe\\u{1b}[2J"
        );
    }

    #[test]
    fn a_backup_without_a_sidecar_has_null_where_people_read_a_question_mark() {
        let modified = "2026-11-21T16:04:05Z".parse().unwrap();
        let name = "2026-11-21-16-04.json".parse().unwrap();
        let kept = Kept { name, bytes: 7, modified, about: None };
        assert_eq!(kept_line(&kept), "2026-11-21-16-04.json\t2026-11-21T16:04:05Z\t7\t?\t?\t?");
        assert_eq!(
            kept_json(&kept).to_string(),
            r#"{"name":"2026-11-21-16-04.json","taken":"2026-11-21T16:04:05Z","bytes":7,"product":null,"firmware":null,"by":null}"#
        );
    }
}
