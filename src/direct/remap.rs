//! `remap`: the Infomodell's references to card terminals put right after a new pairing.
//! Absent on purpose: a guess. What is not clear is asked, and without an answer nothing is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::arguments::Remap;
use super::seat::{Room, Seat, is_stopped};
use super::terminal::show_progress;
use super::{Stop, backup, files, is_german};
use crate::commands::spoken::{decided, how_far, read, remapped, show_diff, told_pairs};
use crate::commands::{Answers, Ended, exit};
use crate::config::Language;
use crate::konnektor::restore::{self, End, Event, Kind, Patience, Plan, Step, StepResult, Watch};
use crate::konnektor::{Error, terminals};
use crate::prompt::printable;

/// Runs it.
pub(super) async fn run(room: Room, wish: &Remap) -> Result<Ended, Ended> {
    let opened = files::open(&wish.file, room.globals.identity.as_deref(), room.words);
    let opened = match opened {
        Ok(opened) => opened,
        Err((sentence, code)) => return Err(room.no(sentence, code).await),
    };
    let seat = room.open(false).await?;
    let done = remap(&seat, wish, &opened.bytes).await;
    seat.driver.logout().await;
    done
}

async fn remap(seat: &Seat, wish: &Remap, bytes: &[u8]) -> Result<Ended, Ended> {
    let (room, told, profile) = (&seat.room, &seat.room.told, seat.driver.profile());
    let given = match files::given(&wish.file, bytes, profile, room.words) {
        Ok(given) => given,
        Err((sentence, code)) => return Err(room.no(sentence, code).await),
    };
    let old = match terminals::terminals_of(profile, &given) {
        Ok(old) => old,
        Err(e) => return Err(seat.failed(&e).await),
    };
    drop(given);
    let (now, before) = if wish.dry_run {
        match read(seat.driver.as_ref(), &[], told).await? {
            Ok(reading) => (reading, None),
            Err(e) => return Err(seat.failed(&e).await),
        }
    } else {
        let (taken, lies) = backup::fresh(seat, &files::folder(&wish.file)).await?;
        seat.may_write(&taken.identity.firmware).await?;
        (taken.reading, Some(lies))
    };
    let new = match terminals::terminals(profile, &now) {
        Ok(new) => new,
        Err(e) => return Err(seat.failed(&e).await),
    };
    let found = decided(&room.person, told, (&old, &new), &wish.pairs).await?;
    told_pairs(told, &found).await?;
    let Some(service) = terminals::references(profile).cloned() else {
        return Err(seat.failed(&Error::NotInProfile { key: "terminals".into() }).await);
    };
    let Some(value) = now.services.iter().find(|read| read.service == service).map(|read| &read.value) else {
        let why = now.failed.iter().find(|(name, _)| *name == service).map(|(_, e)| e.clone());
        return Err(seat.failed(&why.unwrap_or(Error::UnknownService { service })).await);
    };
    let (value, diff) = terminals::rewrite(value, &found.pairs);
    if diff.is_empty() {
        told.say(told.pick("There is nothing to put right.", "Es ist nichts richtigzustellen.")).await?;
        return remapped(told, &found).await;
    }
    show_diff(&diff, told).await?;
    let Some(before) = before else {
        told.say(told.pick("Nothing was written (--dry-run).", "Es wurde nichts geschrieben (--dry-run)."))
            .await?;
        return Ok(Ended::done());
    };
    confirm(seat, wish.yes).await?;
    let step = Step { service: service.clone(), kind: Kind::Write, value, diff };
    let plan = Plan { steps: vec![step], ..Plan::default() };
    let watch = Watcher { stop: Arc::clone(&room.stop), language: room.words.language };
    room.stop.delicate.store(true, Ordering::Release);
    let outcome = restore::execute(plan, Arc::clone(&seat.driver), &watch, Patience::default()).await;
    room.stop.delicate.store(false, Ordering::Release);
    show_progress("", "");
    for (service, result) in &outcome.results {
        told.line(format!("{service}\t{}", printable(&result.sentence(room.german())))).await?;
    }
    if outcome.end == End::Done {
        return remapped(told, &found).await;
    }
    let (name, before) = (&seat.name, before.path.display());
    let sentence = match room.words.language {
        Language::English => format!(
            "The references are not right yet. Try again; or back: pforte konnektor -i {name} restore -f {before} -s {service}"
        ),
        Language::German => format!(
            "Die Verweise stimmen noch nicht. Noch einmal versuchen; oder zurück: pforte konnektor -i {name} einlesen -f {before} -s {service}"
        ),
    };
    Err(room.no(sentence, exit::FAILED).await)
}

async fn confirm(seat: &Seat, yes: bool) -> Result<(), Ended> {
    let (room, name) = (&seat.room, &seat.name);
    if yes {
        return Ok(());
    }
    let question = match room.words.language {
        Language::English => format!("Write this to {name}? Type {name}: "),
        Language::German => format!("Auf {name} schreiben? Tippen Sie {name}: "),
    };
    let (sentence, code) = match room.person.ask(&question).await {
        Some(answer) if answer == *name => return Ok(()),
        Some(_) => (room.words.pick("Nothing was written.", "Es wurde nichts geschrieben."), exit::FAILED),
        None => (
            room.words.pick(
                "Nobody could be asked, so nothing was written. Say --yes, or use a terminal.",
                "Niemand konnte gefragt werden, also wurde nichts geschrieben. Sagen Sie --yes, oder nehmen Sie ein Terminal.",
            ),
            exit::USAGE,
        ),
    };
    Err(room.no(sentence, code).await)
}

/// Tells how far it is; one that was told to stop does not begin to write.
struct Watcher {
    stop: Arc<Stop>,
    language: Language,
}

#[async_trait]
impl Watch for Watcher {
    async fn before(&self, _step: &Step) -> Result<(), restore::Stop> {
        if is_stopped(&self.stop) { Err(restore::Stop) } else { Ok(()) }
    }

    async fn after(&self, _step: &Step, _result: &StepResult) {}

    fn told(&self, event: &Event<'_>) {
        let (bar, line) = how_far(event, is_german(self.language));
        show_progress(&bar, &line);
    }
}
