//! `konnektor restore`: a fresh backup first, then the plan, then the question, then the writes, each read back.
//! Absent on purpose: how a value is written or compared; the engine does that.

mod watch;

use std::sync::Arc;

use ipnet::IpNet;

pub(super) use watch::end_cause;
use watch::{Watcher, in_the_way, moved, not_seen, replaced};

use super::super::jobs::{Answers, Desk};
use super::super::{Ended, Out, exit};
use super::backup::{By, take};
use super::plans::{questions, results, show};
use super::source::{called, given_of, whole_input, with_sum};
use super::unfinished::{self, Unfinished, word};
use super::{Reached, backup, failed, said, visitor};
use crate::asks::{self, Command, Restore, Source, Yes};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::archive::Sum;
use crate::konnektor::restore::{
    self, ByHand, Certificates, End, LeftOut, NoPlan, Options, Outcome, Patience, Plan, Situation,
};
use crate::konnektor::{Given, Identity, Konnektor, Reading};
use crate::names::{BackupName, HostPort, IncomingName, KonnektorId, ServiceName};
use crate::prompt::printable;

/// What is to be done, settled: a new restore, or the rest of an old one.
struct Wish {
    source: Source,
    options: Options,
    certificates: asks::Certificates,
    dry_run: bool,
    /// The record of what is resumed or undone.
    old: Option<Unfinished>,
    undo: bool,
}

/// Runs it.
pub(super) async fn run(
    started: &Started<Command>,
    desk: &Desk,
    id: &KonnektorId,
    (restore, yes): (&Restore, Yes),
) -> Result<Ended, Ended> {
    let wish = settle(desk, id, restore).await?;
    let (driver, reached) = desk.works.konnektors.open(id, visitor(started), &desk.out).await?;
    let mut on = Work { started, desk, id, reached, networks: Vec::new(), driver, unseen: Vec::new() };
    let done = on.restore(wish, yes).await;
    on.driver.logout().await;
    done
}

/// What is wished for, in the light of what is unfinished at the box.
async fn settle(desk: &Desk, id: &KonnektorId, restore: &Restore) -> Result<Wish, Ended> {
    let out = &desk.out;
    let old = unfinished::at(&desk.works, out, id).await?;
    match (restore, old) {
        (Restore::From { source, certificates, services, dry_run }, old) => {
            if let Some(old) = old.filter(|old| !old.at_its_end && !dry_run) {
                return Err(in_the_way(out, &old).await);
            }
            let certificates = *certificates;
            let options = Options { services: services.clone(), certificates: engines(certificates) };
            let (source, dry_run) = (source.clone(), *dry_run);
            Ok(Wish { source, options, certificates, dry_run, old: None, undo: false })
        }
        (Restore::Resume | Restore::Undo, None) => {
            let english = "No restore of this box is unfinished.";
            let german = "An diesem Gerät ist kein Einlesen unvollendet.";
            let sentence = out.pick(english, german).to_owned();
            Err(said(out, sentence, exit::USAGE, "nothing-unfinished".into()).await)
        }
        (Restore::Undo, Some(old)) => {
            let options = Options { services: old.attempted.clone(), certificates: Certificates::Exact };
            let (source, certificates) = (Source::Kept(old.before.clone()), asks::Certificates::New);
            Ok(Wish { source, options, certificates, dry_run: false, old: Some(old), undo: true })
        }
        (Restore::Resume, Some(old)) => {
            let certificates = old.certificates();
            let engines = if old.undo { Certificates::Exact } else { engines(certificates) };
            let options = Options { services: old.services.clone(), certificates: engines };
            let Some(source) = old.source() else {
                return Err(unfinished::state_failed(out, "an unfinished restore without a file").await);
            };
            let undo = old.undo;
            Ok(Wish { source, options, certificates, dry_run: false, old: Some(old), undo })
        }
    }
}

fn engines(certificates: asks::Certificates) -> Certificates {
    match certificates {
        asks::Certificates::New => Certificates::New,
        asks::Certificates::Overwrite => Certificates::Overwrite,
        asks::Certificates::Delete => Certificates::Delete,
    }
}

struct Work<'a> {
    started: &'a Started<Command>,
    desk: &'a Desk,
    id: &'a KonnektorId,
    reached: Reached,
    networks: Vec<IpNet>,
    driver: Arc<dyn Konnektor>,
    /// Services that the box does not show, though it is about them.
    unseen: Vec<ServiceName>,
}

impl Work<'_> {
    fn out(&self) -> &Out {
        &self.desk.out
    }

    fn german(&self) -> bool {
        self.out().language == Language::German
    }

    async fn restore(&mut self, mut wish: Wish, yes: Yes) -> Result<Ended, Ended> {
        let (desk, mut handed_in) = (self.desk, false);
        let done = self.planned(&mut wish, &mut handed_in, yes).await;
        if let (Source::Incoming(name), true, Ok(None) | Err(_)) = (&wish.source, handed_in, &done)
            && let Err(e) = desk.works.konnektors.vault.remove_incoming(&self.id.site, name).await
        {
            tracing::warn!("a file that was handed in for nothing stays: {e}");
        }
        match done? {
            Some((plan, record)) => self.execute(plan, record).await,
            None => Ok(Ended::done()),
        }
    }

    /// Everything before the first write; `None`: there will be none.
    async fn planned(
        &mut self,
        wish: &mut Wish,
        handed_in: &mut bool,
        yes: Yes,
    ) -> Result<Option<(Plan, Unfinished)>, Ended> {
        let desk = self.desk;
        let (works, out) = (&desk.works, &desk.out);
        let profile = self.driver.profile().clone();
        let input = self.desk.input.as_ref();
        let (given, sum) = if wish.source == Source::Input && !wish.dry_run {
            let bytes = Arc::new(whole_input(out, input).await?);
            let given = given_of(out, &wish.source, &bytes, &profile).await?;
            let sum = Sum::of(&bytes).sha256;
            // Kept for --resume; taken away again if nothing comes of it.
            let bytes = Arc::into_inner(bytes).unwrap_or_default();
            wish.source = Source::Incoming(self.hand_in(bytes).await?);
            *handed_in = true;
            (given, Some(sum))
        } else {
            with_sum(works, out, (self.id, &wish.source), input, &profile).await?
        };
        if let Some(old) = wish.old.as_ref().filter(|old| !wish.undo && old.sum.is_some() && old.sum != sum) {
            return Err(replaced(out, &called(&wish.source, out), old).await);
        }
        self.networks = match self.reached.networks.as_slice() {
            [] => restore::around(self.driver.address()),
            listed => listed.to_vec(),
        };
        self.find(wish.old.as_ref()).await?;
        // A file of 50 MB is let go while the box is read and kept, and read again after that.
        let read_again = !wish.dry_run;
        let kept = if read_again { None } else { Some(given) };
        let (identity, now, fresh) = self.look(wish).await?;
        let given = if let Some(given) = kept {
            given
        } else {
            let (given, again) = with_sum(works, out, (self.id, &wish.source), None, &profile).await?;
            if again != sum {
                let english = "The file was replaced meanwhile; nothing was written.";
                let german = "Die Datei wurde inzwischen ersetzt; es wurde nichts geschrieben.";
                let sentence = self.out().pick(english, german).to_owned();
                return Err(said(self.out(), sentence, exit::FAILED, "file-replaced".into()).await);
            }
            given
        };
        let plan = self.plan(&given, &now, &identity, &wish.options).await?;
        // What the plan does not need is let go: a service can be 50 MB.
        drop((given, now));
        show(out, (&self.id.to_string(), &called(&wish.source, out)), &plan).await?;
        // What may have been written and cannot be looked at is not at its end.
        let attempted = |name| wish.old.as_ref().is_some_and(|old| old.attempted.contains(name));
        let named = |name| plan.steps.is_empty() && wish.options.services.contains(name);
        self.unseen = (plan.left_out.iter())
            .filter(|(name, why)| matches!(why, LeftOut::NotRead(_)) && (attempted(name) || named(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if plan.steps.is_empty() {
            if !self.unseen.is_empty() {
                return Err(not_seen(self.out(), &self.unseen).await);
            }
            if wish.old.is_some() {
                unfinished::forget(works, out, self.id).await?;
                self.tidy(wish.old.as_ref().and_then(|old| old.incoming.as_ref())).await;
            }
            out.say(out.pick("Nothing is to be written.", "Es ist nichts zu schreiben.")).await?;
            return Ok(None);
        }
        if wish.dry_run {
            out.say(out.pick("Nothing was written (--dry-run).", "Es wurde nichts geschrieben (--dry-run)."))
                .await?;
            return Ok(None);
        }
        self.ask(&plan, yes).await?;
        let record = self.record(wish, fresh, sum).await?;
        Ok(Some((plan, record)))
    }

    /// The writes.
    async fn execute(&mut self, plan: Plan, record: Unfinished) -> Result<Ended, Ended> {
        let by_hand = plan.by_hand.clone();
        let patience = Patience::default();
        let watch = Watcher::new(self.desk, self.id, record);
        self.desk.job.set_delicate(true);
        let outcome = restore::execute(plan, Arc::clone(&self.driver), &watch, patience).await;
        self.desk.job.set_delicate(false);
        let record = watch.into_record();
        self.driver = self.at(&outcome.address);
        self.tell(&by_hand, outcome, record).await
    }

    fn at(&self, address: &HostPort) -> Arc<dyn Konnektor> {
        if address == self.driver.address() {
            Arc::clone(&self.driver)
        } else {
            self.driver.at(address.clone())
        }
    }

    /// A box that was moving when it was interrupted may be at either address.
    async fn find(&mut self, old: Option<&Unfinished>) -> Result<(), Ended> {
        let other: Option<HostPort> =
            old.and_then(|old| old.address.as_ref()).and_then(|text| text.parse().ok());
        let Some(other) = other.filter(|other| self.may_follow(other)) else { return Ok(()) };
        let candidates = [other, self.driver.address().clone()];
        match restore::find(&self.driver, &candidates).await {
            Ok(driver) => {
                self.driver = driver;
                Ok(())
            }
            Err(e) => Err(failed(self.out(), &e).await),
        }
    }

    fn may_follow(&self, address: &HostPort) -> bool {
        let ip = address.host().parse::<std::net::IpAddr>();
        ip.is_ok_and(|ip| self.networks.iter().any(|network| network.contains(&ip)))
            && address.port() == self.driver.address().port()
    }

    /// The box as it is now; kept as a fresh backup, unless nothing will be written.
    async fn look(&self, wish: &Wish) -> Result<(Identity, Reading, Option<BackupName>), Ended> {
        let out = self.out();
        if wish.dry_run {
            let identity = match self.driver.identify().await {
                Ok(identity) => identity,
                Err(e) => return Err(failed(out, &e).await),
            };
            return match backup::read(self.driver.as_ref(), &[], out).await? {
                Ok(reading) => Ok((identity, reading, None)),
                Err(e) => Err(failed(out, &e).await),
            };
        }
        let by = (By::of(self.started), self.desk.works.clock.now());
        let boxes = (self.driver.as_ref(), &self.reached);
        let taken = take(&self.desk.works.konnektors, boxes, (&[], None), by, out).await?;
        out.say(match out.language {
            Language::English => format!("As it is now, the box is kept as {}.", taken.name),
            Language::German => format!("So wie es jetzt ist, ist das Gerät gesichert als {}.", taken.name),
        })
        .await?;
        let reading = match taken.reading {
            Some(reading) => Ok(reading),
            // The site sealed it; what is planned on is read beside it.
            None => backup::read(self.driver.as_ref(), &[], out).await?,
        };
        match reading {
            Ok(reading) => Ok((taken.identity, reading, Some(taken.name))),
            Err(e) => Err(failed(out, &e).await),
        }
    }

    async fn plan(
        &self,
        given: &Given,
        now: &Reading,
        identity: &Identity,
        options: &Options,
    ) -> Result<Plan, Ended> {
        let situation = Situation {
            given,
            now,
            identity,
            konnektor: self.id,
            profile: self.driver.profile(),
            address: self.driver.address(),
            networks: &self.networks,
            any_firmware: self.started.allowances().any_firmware,
        };
        match restore::plan(&situation, options) {
            Ok(plan) => Ok(plan),
            Err(no) => {
                let code = match &no {
                    NoPlan::NotInFile { .. } | NoPlan::BadAddress { .. } => exit::USAGE,
                    NoPlan::Konnektor(e) => super::exit_code(e),
                    NoPlan::UnknownFirmware { .. } | NoPlan::OutsideNetworks { .. } => exit::REFUSED,
                    NoPlan::OtherMake { .. } => exit::FAILED,
                };
                Err(said(self.out(), no.sentence(self.german()), code, no.to_string()).await)
            }
        }
    }

    /// Once before anything is written; twice where certificates are deleted.
    async fn ask(&self, plan: &Plan, yes: Yes) -> Result<(), Ended> {
        let out = self.out();
        let name = self.id.to_string();
        let questions = questions(plan, &name, out.language);
        for (nth, question) in questions.iter().enumerate() {
            if usize::from(yes) > nth {
                continue;
            }
            match self.desk.job.ask(question).await {
                Some(answer) if answer == name => {}
                Some(_) => {
                    let sentence = out.pick("Nothing was written.", "Es wurde nichts geschrieben.");
                    return Err(said(out, sentence.to_owned(), exit::FAILED, "not-wanted".into()).await);
                }
                None => {
                    let sentence = match (out.language, nth) {
                        (Language::English, 0) => {
                            "Nobody could be asked, so nothing was written. Say --yes, or use a terminal: ssh -t"
                        }
                        (Language::German, 0) => {
                            "Niemand konnte gefragt werden, also wurde nichts geschrieben. Sagen Sie --yes, oder nehmen Sie ein Terminal: ssh -t"
                        }
                        (Language::English, _) => {
                            "Deleting all client certificates wants a second yes: --yes --yes, or a terminal: ssh -t"
                        }
                        (Language::German, _) => {
                            "Alle Clientzertifikate zu löschen verlangt ein zweites Ja: --yes --yes, oder ein Terminal: ssh -t"
                        }
                    };
                    return Err(said(out, sentence.to_owned(), exit::USAGE, "nobody-to-ask".into()).await);
                }
            }
        }
        Ok(())
    }

    /// What would be needed to resume or undo; a file from standard input is handed in for that.
    async fn record(
        &self,
        wish: &Wish,
        fresh: Option<BackupName>,
        sum: Option<String>,
    ) -> Result<Unfinished, Ended> {
        let old = wish.old.as_ref();
        let (kept, incoming) = match &wish.source {
            Source::Kept(name) => (Some(name.clone()), None),
            Source::Incoming(name) => (None, Some(name.clone())),
            Source::Input => (None, None),
        };
        // An undo leads to what the box held before the first of all tries.
        let before = match (old, fresh) {
            (Some(old), _) => old.before.clone(),
            (None, Some(fresh)) => fresh,
            (None, None) => return Err(unfinished::state_failed(self.out(), "no fresh backup").await),
        };
        Ok(Unfinished {
            kept,
            incoming,
            sum,
            before,
            certificates: word(wish.certificates),
            services: wish.options.services.clone(),
            attempted: old.map(|old| old.attempted.clone()).unwrap_or_default(),
            address: old.and_then(|old| old.address.clone()),
            at_its_end: false,
            undo: wish.undo,
            by: self.desk.job.name.clone(),
            began: self.desk.works.clock.now(),
        })
    }

    /// Keeps what came on standard input among the site's incoming files.
    async fn hand_in(&self, bytes: zeroize::Zeroizing<Vec<u8>>) -> Result<IncomingName, Ended> {
        let name = format!("restored-{}-job-{}.json", self.id.konnektor, self.desk.job.number);
        let name: IncomingName = match name.parse() {
            Ok(name) => name,
            Err(e) => return Err(unfinished::state_failed(self.out(), &e.to_string()).await),
        };
        let by = (self.desk.job.name.as_str(), self.desk.works.clock.now());
        let vault = &self.desk.works.konnektors.vault;
        let recipients = &self.reached.recipients;
        match vault.put_incoming(&self.id.site, &name, recipients, by, Arc::new(vec![bytes])).await {
            Ok(()) => Ok(name),
            Err(e) => Err(super::vault_failed(self.out(), &e).await),
        }
    }

    /// What came on standard input was kept for --resume alone.
    async fn tidy(&self, incoming: Option<&IncomingName>) {
        let ours = format!("restored-{}-job-", self.id.konnektor);
        if let Some(name) = incoming.filter(|name| name.as_str().starts_with(&ours))
            && let Err(e) = self.desk.works.konnektors.vault.remove_incoming(&self.id.site, name).await
        {
            tracing::warn!("a file that was handed in and restored stays: {e}");
        }
    }

    /// What came of it, service by service, and what is left to do.
    async fn tell(
        &self,
        by_hand: &[ByHand],
        outcome: Outcome,
        mut record: Unfinished,
    ) -> Result<Ended, Ended> {
        let (works, out, german) = (&self.desk.works, self.out(), self.german());
        results(out, &outcome).await?;
        if outcome.address != self.reached.home {
            record.address = Some(outcome.address.to_string());
            moved(out, &outcome.address, &self.reached.file).await?;
        }
        let cause = end_cause(&outcome.end);
        let way_back = match out.language {
            Language::English => format!(
                "konnektor restore -i {0} --resume tries the rest; konnektor restore -i {0} --undo goes back to {1}.",
                self.id, record.before
            ),
            Language::German => format!(
                "konnektor einlesen -i {0} --resume versucht den Rest; konnektor einlesen -i {0} --undo geht zurück zu {1}.",
                self.id, record.before
            ),
        };
        let code =
            match &outcome.end {
                End::Done if !self.unseen.is_empty() => {
                    if let Err(e) = unfinished::keep(works, self.id, &record).await {
                        tracing::error!("an unfinished restore could not be kept: {e}");
                    }
                    return Err(not_seen(self.out(), &self.unseen).await);
                }
                End::Done => {
                    unfinished::forget(works, out, self.id).await?;
                    self.tidy(record.incoming.as_ref()).await;
                    for by_hand in by_hand {
                        out.line(format!("→ {}", printable(&by_hand.sentence(german)))).await?;
                    }
                    out.say(out.pick(
                        "Restored, read back and compared.",
                        "Eingelesen, zurückgelesen und verglichen.",
                    ))
                    .await?;
                    return Ok(Ended::done());
                }
                End::Failed => {
                    record.at_its_end = true;
                    exit::FAILED
                }
                End::Interrupted(e) => super::exit_code(e),
                End::Stopped => exit::FAILED,
            };
        if let Err(e) = unfinished::keep(works, self.id, &record).await {
            tracing::error!("an unfinished restore could not be kept: {e}");
        }
        let sentence = outcome.end.sentence(german);
        out.say(format!("{sentence} {way_back}")).await?;
        Err(Ended::failed(code, cause))
    }
}
