//! `konnektor terminals|remap`: card terminals, and the Infomodell's references to them put right after a new pairing.
//! Absent on purpose: a guess. What is not clear is asked, and without an answer nothing is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::json;

use super::super::jobs::{Answers, Desk, Job};
use super::super::{Ended, Gone, Out, Works, exit};
use super::backup::{By, take};
use super::source::given;
use super::{backup, failed, said, unknown_firmware, visitor};
use crate::asks::{Command, Form, Source, Yes};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::Error;
use crate::konnektor::restore::{self, Event, Patience, Step, StepResult, Stop, Watch};
use crate::konnektor::terminals::{self, Remap, Terminal};
use crate::names::KonnektorId;
use crate::prompt::printable;

/// `konnektor terminals`
pub(super) async fn list(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    id: &KonnektorId,
) -> Result<Ended, Ended> {
    let (driver, _) = works.konnektors.open(id, visitor(started), out).await?;
    let services = match terminals::service(driver.profile()) {
        Ok(service) => [service],
        Err(e) => return Err(failed(out, &e).await),
    };
    let reading = driver.read(&services, &()).await;
    driver.logout().await;
    let found = reading.and_then(|reading| terminals::terminals(driver.profile(), &reading));
    let found = match found {
        Ok(found) => found,
        Err(e) => return Err(failed(out, &e).await),
    };
    told(out, started.ask().form() == Form::Json, &found).await?;
    Ok(Ended::done())
}

/// Says which card terminals there are.
pub(crate) async fn told(out: &Out, json: bool, found: &[Terminal]) -> Result<(), Gone> {
    if json {
        let rows = found.iter().map(|one| {
            json!({"id": one.id, "mac": one.mac, "hostname": one.hostname, "serial": one.serial,
                "address": one.address, "state": one.state})
        });
        return out.json(&rows.collect()).await;
    }
    if found.is_empty() {
        out.say(out.pick("It lists no card terminals.", "Es nennt keine Kartenterminals.")).await?;
    }
    for one in found {
        out.line(row(one)).await?;
    }
    Ok(())
}

fn row(one: &Terminal) -> String {
    let fields = [&one.id, &one.mac, &one.hostname, &one.serial, &one.address, &one.state];
    fields.map(|field| if field.is_empty() { "?".to_owned() } else { printable(field) }).join("\t")
}

/// `konnektor remap`
pub(super) async fn remap(
    started: &Started<Command>,
    desk: &Desk,
    id: &KonnektorId,
    (source, chosen): (&Source, &[(String, String)]),
    (dry_run, yes): (bool, Yes),
) -> Result<Ended, Ended> {
    let (works, out) = (&desk.works, &desk.out);
    let german = out.language == Language::German;
    let (driver, reached) = works.konnektors.open(id, visitor(started), out).await?;
    let profile = driver.profile();
    let file = given(works, out, (id, source), desk.input.as_ref(), profile).await?;
    let old = match terminals::terminals_of(profile, &file) {
        Ok(old) => old,
        Err(e) => return Err(failed(out, &e).await),
    };
    drop(file);
    let (identity, now, fresh) = if dry_run {
        let identity = match driver.identify().await {
            Ok(identity) => identity,
            Err(e) => return Err(failed(out, &e).await),
        };
        match backup::read(driver.as_ref(), &[], out).await? {
            Ok(reading) => (identity, reading, None),
            Err(e) => return Err(failed(out, &e).await),
        }
    } else {
        let by = (By::of(started), works.clock.now());
        let taken = take(&works.konnektors, (driver.as_ref(), &reached), (&[], None), by, out).await?;
        let reading = match taken.reading {
            Some(reading) => Ok(reading),
            // The site sealed it; what is compared is read beside it.
            None => backup::read(driver.as_ref(), &[], out).await?,
        };
        match reading {
            Ok(reading) => (taken.identity, reading, Some(taken.name)),
            Err(e) => return Err(failed(out, &e).await),
        }
    };
    if !profile.knows_firmware(&identity.firmware) && !started.allowances().any_firmware {
        return Err(unknown_firmware(out, &identity.firmware).await);
    }
    let new = match terminals::terminals(profile, &now) {
        Ok(new) => new,
        Err(e) => return Err(failed(out, &e).await),
    };
    let remap = decided(desk.job.as_ref(), out, (&old, &new), chosen).await?;
    told_pairs(out, &remap).await?;
    let Some(service) = terminals::references(profile).cloned() else {
        return Err(failed(out, &Error::NotInProfile { key: "terminals".into() }).await);
    };
    let Some(read) = now.services.iter().find(|read| read.service == service) else {
        let why = now.failed.iter().find(|(name, _)| *name == service).map(|(_, e)| e.clone());
        return Err(failed(out, &why.unwrap_or(Error::UnknownService { service })).await);
    };
    let (value, diff) = terminals::rewrite(&read.value, &remap.pairs);
    drop(now);
    if diff.is_empty() {
        let sentence = out.pick("There is nothing to put right.", "Es ist nichts richtigzustellen.");
        out.say(sentence).await?;
        return ended(out, &remap).await;
    }
    super::diff::show(&diff, out).await?;
    if dry_run {
        out.say(out.pick("Nothing was written (--dry-run).", "Es wurde nichts geschrieben (--dry-run)."))
            .await?;
        return Ok(Ended::done());
    }
    confirm(desk, id, yes).await?;
    desk.job.set_delicate(true);
    let step = Step { service: service.clone(), kind: restore::Kind::Write, value, diff };
    let plan = restore::Plan { steps: vec![step], ..restore::Plan::default() };
    let watch = Watcher { job: &desk.job, german, begun: AtomicBool::new(false) };
    let outcome = restore::execute(plan, Arc::clone(&driver), &watch, Patience::default()).await;
    desk.job.set_delicate(false);
    driver.logout().await;
    for (service, result) in &outcome.results {
        out.line(format!("{service}\t{}", printable(&result.sentence(german)))).await?;
    }
    if outcome.end == restore::End::Done {
        return ended(out, &remap).await;
    }
    let before = fresh.map(|name| name.to_string()).unwrap_or_default();
    let sentence = match out.language {
        Language::English => format!(
            "The references are not right yet. Try again; or back: konnektor restore -i {id} -f {before} -s {service}"
        ),
        Language::German => format!(
            "Die Verweise stimmen noch nicht. Noch einmal versuchen; oder zurück: konnektor einlesen -i {id} -f {before} -s {service}"
        ),
    };
    Err(said(out, sentence, exit::FAILED, super::restore::end_cause(&outcome.end)).await)
}

/// Says which terminal is which.
pub(crate) async fn told_pairs(out: &Out, remap: &Remap) -> Result<(), Gone> {
    for (from, to, by) in &remap.pairs {
        let (from, to) = (printable(from), printable(to));
        out.line(format!("{from} → {to}\t{}", by.sentence(out.language == Language::German))).await?;
    }
    for lost in &remap.lost {
        let lost = printable(lost);
        let nothing = out.pick("nothing like it on the box", "nichts Ähnliches am Gerät");
        out.line(format!("{lost} → ?\t{nothing}")).await?;
    }
    Ok(())
}

/// Done, but for terminals that were not found again.
pub(crate) async fn ended(out: &Out, remap: &Remap) -> Result<Ended, Ended> {
    if remap.lost.is_empty() {
        return Ok(Ended::done());
    }
    let lost = remap.lost.iter().map(|id| printable(id)).collect::<Vec<_>>().join(", ");
    let sentence = match out.language {
        Language::English => format!("Not found again: {lost}. Pair them first, or say -m OLD=NEW."),
        Language::German => format!("Nicht wiedergefunden: {lost}. Erst pairen, oder -m ALT=NEU sagen."),
    };
    Err(said(out, sentence, exit::FAILED, "terminals-lost".into()).await)
}

/// Which is which: what is ambiguous is asked, one by one.
pub(crate) async fn decided(
    job: &dyn Answers,
    out: &Out,
    (old, new): (&[Terminal], &[Terminal]),
    chosen: &[(String, String)],
) -> Result<Remap, Ended> {
    let german = out.language == Language::German;
    let mut chosen = chosen.to_vec();
    loop {
        let remap = match terminals::remap(old, new, &chosen) {
            Ok(remap) => remap,
            Err(e) => return Err(said(out, e.sentence(german), exit::USAGE, e.to_string()).await),
        };
        let Some((id, could)) = remap.ambiguous.first() else { return Ok(remap) };
        for one in
            old.iter().filter(|one| one.id == *id).chain(new.iter().filter(|one| could.contains(&one.id)))
        {
            out.line(row(one)).await?;
        }
        let list = could.iter().map(|id| printable(id)).collect::<Vec<_>>().join(", ");
        let question = match out.language {
            Language::English => format!("Which one is {} now: {list}? ", printable(id)),
            Language::German => format!("Welches ist jetzt {}: {list}? ", printable(id)),
        };
        match job.ask(&question).await {
            Some(answer) if could.contains(&answer) => chosen.push((id.clone(), answer)),
            Some(_) => {
                let sentence = out.pick(
                    "None of these; nothing was written.",
                    "Keines davon; es wurde nichts geschrieben.",
                );
                return Err(said(out, sentence.to_owned(), exit::USAGE, "not-decided".into()).await);
            }
            None => {
                let sentence = match out.language {
                    Language::English => {
                        format!("It is not clear which one is {0} now: {list}. Say -m {0}=…", printable(id))
                    }
                    Language::German => format!(
                        "Es ist nicht klar, welches jetzt {0} ist: {list}. Sagen Sie -m {0}=…",
                        printable(id)
                    ),
                };
                return Err(said(out, sentence, exit::USAGE, "ambiguous-terminal".into()).await);
            }
        }
    }
}

async fn confirm(desk: &Desk, id: &KonnektorId, yes: Yes) -> Result<(), Ended> {
    let out = &desk.out;
    if yes > 0 {
        return Ok(());
    }
    let question = match out.language {
        Language::English => format!("Write this to {id}? Type {id}: "),
        Language::German => format!("Auf {id} schreiben? Tippen Sie {id}: "),
    };
    match desk.job.ask(&question).await {
        Some(answer) if answer == id.to_string() => Ok(()),
        answer => {
            let (sentence, code, cause) = if answer.is_some() {
                (out.pick("Nothing was written.", "Es wurde nichts geschrieben."), exit::FAILED, "not-wanted")
            } else {
                let english =
                    "Nobody could be asked, so nothing was written. Say --yes, or use a terminal: ssh -t";
                let german = "Niemand konnte gefragt werden, also wurde nichts geschrieben. Sagen Sie --yes, oder nehmen Sie ein Terminal: ssh -t";
                (out.pick(english, german), exit::USAGE, "nobody-to-ask")
            };
            Err(said(out, sentence.to_owned(), code, cause.into()).await)
        }
    }
}

/// Tells how far it is; a job that was told to stop does not begin to write.
struct Watcher<'a> {
    job: &'a Job,
    german: bool,
    begun: AtomicBool,
}

#[async_trait]
impl Watch for Watcher<'_> {
    async fn before(&self, _step: &Step) -> Result<(), Stop> {
        // Written a second time it is the same write.
        let again = self.begun.swap(true, Ordering::AcqRel);
        if self.job.is_stopped() && !again { Err(Stop) } else { Ok(()) }
    }

    async fn after(&self, _step: &Step, _result: &StepResult) {}

    fn told(&self, event: &Event<'_>) {
        let line = event.sentence(self.german);
        self.job.progress(&line, &line);
    }
}
