//! `einlesen`, `restore`: a fresh backup first, then the plan, then the question, then the writes, each noted before it is done.
//! Absent on purpose: how a value is written or compared; the engine does that.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ipnet::IpNet;
use serde_json::json;

use super::arguments::Restore;
use super::backup;
use super::files::{self, Lies};
use super::record::{Record, word};
use super::seat::{Room, Seat, is_stopped, make_word};
use super::terminal::show_progress;
use super::words::complain;
use super::{Stop, is_german};
use crate::commands::spoken::{exit_code, how_far, questions, read, results, show_plan};
use crate::commands::{Answers, Ended, exit};
use crate::config::Language;
use crate::konnektor::restore::{
    self, Certificates, End, Event, Kind, NoPlan, Options, Outcome, Patience, Plan, Situation, Step,
    StepResult, Watch,
};
use crate::konnektor::{Given, Identity, Reading};
use crate::names::HostPort;

/// What is to be done, settled: a new restore, or the rest of an old one.
struct Wish {
    file: PathBuf,
    /// What the file has to be still.
    sum: Option<String>,
    options: Options,
    old: Option<Record>,
}

/// Runs it.
pub(super) async fn run(room: Room, restore: &Restore) -> Result<Ended, Ended> {
    let stdin = restore.file.as_deref() == Some(Path::new("-"));
    // The file first: a mistake in its name needs no box and no password.
    if let Some(file) = restore.file.as_ref().filter(|_| !stdin)
        && let Err(e) = std::fs::File::open(file)
    {
        return Err(room.no(format!("{}: {e}", file.display()), exit::USAGE).await);
    }
    let seat = room.open(restore.resume || restore.undo).await?;
    let mut work = Work { networks: Vec::new(), driver: Arc::clone(&seat.driver), seat, restore };
    let done = work.run().await;
    work.driver.logout().await;
    done
}

struct Work<'a> {
    seat: Seat,
    restore: &'a Restore,
    networks: Vec<IpNet>,
    driver: Arc<dyn crate::konnektor::Konnektor>,
}

impl Work<'_> {
    fn room(&self) -> &Room {
        &self.seat.room
    }

    async fn failed_file<T>(&self, done: Result<T, (String, u32)>) -> Result<T, Ended> {
        match done {
            Ok(done) => Ok(done),
            Err((sentence, code)) => Err(self.room().no(sentence, code).await),
        }
    }

    async fn state_failed(&self, e: &io::Error) -> Ended {
        self.seat.wrong_place(&self.seat.record, e).await
    }

    async fn run(&mut self) -> Result<Ended, Ended> {
        let wish = self.settle().await?;
        let Some((plan, record)) = self.planned(wish).await? else { return Ok(Ended::done()) };
        self.execute(plan, record).await
    }

    /// What is wished for, in the light of what is unfinished at the box.
    async fn settle(&self) -> Result<Wish, Ended> {
        let old = match Record::read(&self.seat.record) {
            Ok(old) => old,
            Err(e) => return Err(self.state_failed(&e).await),
        };
        let restore = self.restore;
        match (old, &restore.file) {
            (old, Some(file)) => {
                if let Some(old) = old.filter(|old| !old.at_its_end && !restore.dry_run) {
                    return Err(self.in_the_way(&old).await);
                }
                let services = restore.services.services.clone();
                let options = Options { services, certificates: restore.clients() };
                Ok(Wish { file: file.clone(), sum: None, options, old: None })
            }
            (None, None) => {
                let english = "No restore of this box is unfinished.";
                let german = "An diesem Gerät ist kein Einlesen unvollendet.";
                Err(self.room().no(self.room().words.pick(english, german), exit::USAGE).await)
            }
            (Some(old), None) if restore.undo => {
                let options = Options { services: old.attempted.clone(), certificates: Certificates::Exact };
                Ok(Wish {
                    file: old.before.path.clone(),
                    sum: Some(old.before.sum.clone()),
                    options,
                    old: Some(old),
                })
            }
            (Some(old), None) => {
                let options = Options { services: old.services.clone(), certificates: old.certificates() };
                Ok(Wish {
                    file: old.file.path.clone(),
                    sum: Some(old.file.sum.clone()),
                    options,
                    old: Some(old),
                })
            }
        }
    }

    async fn in_the_way(&self, old: &Record) -> Ended {
        let began = format!("{:.0}", old.began);
        let before = old.before.path.display();
        let sentence = match self.room().words.language {
            Language::English => format!(
                "A restore that began at {began} is unfinished: --resume brings it to its end, --undo goes back to {before}."
            ),
            Language::German => format!(
                "Ein Einlesen, das um {began} begonnen hat, ist unvollendet: --resume bringt es zu Ende, --undo geht zurück zu {before}."
            ),
        };
        self.room().no(sentence, exit::FAILED).await
    }

    /// Everything before the first write; `None`: there will be none.
    async fn planned(&mut self, wish: Wish) -> Result<Option<(Plan, Record)>, Ended> {
        let words = self.room().words;
        let opened = files::open(&wish.file, self.room().globals.identity.as_deref(), words);
        let opened = self.failed_file(opened).await?;
        let sum = opened.sum.to_string();
        if wish.sum.as_ref().is_some_and(|then| *then != sum) {
            let file = wish.file.display();
            let sentence = match words.language {
                Language::English => format!("{file} is not the file any more that the restore began with."),
                Language::German => {
                    format!("{file} ist nicht mehr die Datei, mit der das Einlesen begonnen hat.")
                }
            };
            return Err(self.room().no(sentence, exit::FAILED).await);
        }
        let given = files::given(&wish.file, &opened.bytes, self.driver.profile(), words);
        let given = self.failed_file(given).await?;
        self.networks = match self.restore.network.as_slice() {
            [] => restore::around(self.driver.address()),
            listed => listed.to_vec(),
        };
        self.find(wish.old.as_ref()).await?;
        let folder = files::folder(&wish.file);
        let (identity, now, fresh) = self.look(&folder).await?;
        if !self.restore.dry_run {
            self.seat.may_write(&identity.firmware).await?;
        }
        let plan = self.plan(&given, &now, &identity, &wish.options).await?;
        // What the plan does not need is let go: a service can be 50 MB.
        drop((given, now));
        self.show(&plan, &wish.file).await?;
        let told = &self.room().told;
        if plan.steps.is_empty() {
            if wish.old.is_some() {
                self.forget().await?;
            }
            told.say(words.pick("Nothing is to be written.", "Es ist nichts zu schreiben.")).await?;
            return Ok(None);
        }
        let Some(fresh) = fresh else {
            told.say(
                words.pick("Nothing was written (--dry-run).", "Es wurde nichts geschrieben (--dry-run)."),
            )
            .await?;
            return Ok(None);
        };
        self.ask(&plan).await?;
        let file = if wish.file == Path::new("-") {
            // Kept for --resume.
            let what = words.pick("-given", "-eingelesen");
            let recipients = &self.room().globals.recipient;
            match files::beside(&folder, (&self.room().minute(), what), opened.bytes, recipients) {
                Ok(lies) => lies,
                Err(e) => return Err(self.seat.wrong_place(&folder, &e).await),
            }
        } else {
            Lies { path: files::absolute(&wish.file), sum }
        };
        Ok(Some((plan, self.record(wish, file, fresh))))
    }

    fn record(&self, wish: Wish, file: Lies, fresh: Lies) -> Record {
        let Wish { options, old, .. } = wish;
        let (before, attempted, address) = match old {
            // An undo leads to what the box held before the first of all tries.
            Some(old) => (old.before, old.attempted, old.address),
            None => (fresh, Vec::new(), None),
        };
        Record {
            konnektor: self.seat.name.clone(),
            product: make_word(self.seat.product).to_owned(),
            file,
            before,
            certificates: word(options.certificates).to_owned(),
            services: options.services,
            attempted,
            address,
            at_its_end: false,
            began: self.room().clock.now(),
        }
    }

    async fn forget(&self) -> Result<(), Ended> {
        match Record::forget(&self.seat.record) {
            Ok(()) => Ok(()),
            Err(e) => Err(self.state_failed(&e).await),
        }
    }

    /// A box that was moving when it was interrupted may be at either address.
    async fn find(&mut self, old: Option<&Record>) -> Result<(), Ended> {
        let other: Option<HostPort> =
            old.and_then(|old| old.address.as_ref()).and_then(|text| text.parse().ok());
        let Some(other) = other.filter(|other| self.may_follow(other)) else { return Ok(()) };
        let candidates = [other, self.driver.address().clone()];
        match restore::find(&self.driver, &candidates).await {
            Ok(driver) => {
                self.driver = Arc::clone(&driver);
                self.seat.driver = driver;
                Ok(())
            }
            Err(e) => Err(self.seat.failed(&e).await),
        }
    }

    fn may_follow(&self, address: &HostPort) -> bool {
        let ip = address.host().parse::<IpAddr>();
        ip.is_ok_and(|ip| self.networks.iter().any(|network| network.contains(&ip)))
            && address.port() == self.driver.address().port()
    }

    /// The box as it is now; kept as a fresh backup, unless nothing will be written.
    async fn look(&self, folder: &Path) -> Result<(Identity, Reading, Option<Lies>), Ended> {
        if !self.restore.dry_run {
            let (taken, lies) = backup::fresh(&self.seat, folder).await?;
            return Ok((taken.identity, taken.reading, Some(lies)));
        }
        let identity = match self.driver.identify().await {
            Ok(identity) => identity,
            Err(e) => return Err(self.seat.failed(&e).await),
        };
        match read(self.driver.as_ref(), &[], &self.room().told).await? {
            Ok(reading) => Ok((identity, reading, None)),
            Err(e) => Err(self.seat.failed(&e).await),
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
            konnektor: &self.seat.id,
            profile: self.driver.profile(),
            address: self.driver.address(),
            networks: &self.networks,
            any_firmware: self.seat.any_firmware(),
        };
        match restore::plan(&situation, options) {
            Ok(plan) => Ok(plan),
            Err(no) => {
                let code = match &no {
                    NoPlan::NotInFile { .. } | NoPlan::BadAddress { .. } => exit::USAGE,
                    NoPlan::Konnektor(e) => exit_code(e),
                    NoPlan::UnknownFirmware { .. } | NoPlan::OutsideNetworks { .. } => exit::REFUSED,
                    NoPlan::OtherMake { .. } => exit::FAILED,
                };
                Err(self.room().no(self.room().words.no_plan(&no), code).await)
            }
        }
    }

    async fn show(&self, plan: &Plan, file: &Path) -> Result<(), Ended> {
        let room = self.room();
        show_plan(&room.told, (&self.seat.name, &file.display().to_string()), plan).await?;
        if room.globals.json && self.restore.dry_run {
            let german = room.german();
            let steps = plan.steps.iter().map(|step| {
                json!({"service": step.service, "does": step.sentence(german), "changes": step.diff.lines(german)})
            });
            let left_out = plan.left_out.iter();
            let left_out = left_out.map(|(name, why)| json!({"service": name, "why": why.sentence(german)}));
            let whole = json!({
                "konnektor": self.seat.name,
                "steps": steps.collect::<Vec<_>>(),
                "left_out": left_out.collect::<Vec<_>>(),
                "same": plan.same,
            });
            room.out.json(&whole).await?;
        }
        Ok(())
    }

    /// Once before anything is written; twice where certificates are deleted.
    async fn ask(&self, plan: &Plan) -> Result<(), Ended> {
        let room = self.room();
        for (nth, question) in questions(plan, &self.seat.name, room.words.language).iter().enumerate() {
            if usize::from(self.restore.yes) > nth {
                continue;
            }
            match room.person.ask(question).await {
                Some(answer) if answer == self.seat.name => {}
                Some(_) => {
                    let no = room.words.pick("Nothing was written.", "Es wurde nichts geschrieben.");
                    return Err(room.no(no, exit::FAILED).await);
                }
                None => {
                    let no = match (room.words.language, nth) {
                        (Language::English, 0) => {
                            "Nobody could be asked, so nothing was written. Say --yes, or use a terminal."
                        }
                        (Language::German, 0) => {
                            "Niemand konnte gefragt werden, also wurde nichts geschrieben. Sagen Sie --yes, oder nehmen Sie ein Terminal."
                        }
                        (Language::English, _) => {
                            "Deleting all client certificates wants a second yes: --yes --yes, or a terminal."
                        }
                        (Language::German, _) => {
                            "Alle Clientzertifikate zu löschen verlangt ein zweites Ja: --yes --yes, oder ein Terminal."
                        }
                    };
                    return Err(room.no(no, exit::USAGE).await);
                }
            }
        }
        Ok(())
    }

    /// The writes.
    async fn execute(&mut self, plan: Plan, record: Record) -> Result<Ended, Ended> {
        let by_hand = plan.by_hand.clone();
        let stop = Arc::clone(&self.room().stop);
        let watch = Watcher {
            file: self.seat.record.clone(),
            stop: Arc::clone(&stop),
            language: self.room().words.language,
            record: Mutex::new(record),
        };
        stop.delicate.store(true, Ordering::Release);
        let outcome = restore::execute(plan, Arc::clone(&self.driver), &watch, Patience::default()).await;
        let record = watch.record.into_inner().unwrap_or_else(PoisonError::into_inner);
        show_progress("", "");
        if outcome.address != *self.driver.address() {
            self.driver = self.driver.at(outcome.address.clone());
        }
        let by_hand: Vec<String> =
            by_hand.iter().map(|by_hand| by_hand.sentence(self.room().german())).collect();
        let ended = self.tell(&by_hand, &outcome, record).await;
        stop.delicate.store(false, Ordering::Release);
        ended
    }

    /// What came of it, service by service, and what is left to do.
    async fn tell(&self, by_hand: &[String], outcome: &Outcome, mut record: Record) -> Result<Ended, Ended> {
        let (room, german) = (self.room(), self.room().german());
        let told = &room.told;
        results(told, outcome).await?;
        if outcome.address.to_string() != self.seat.name {
            record.address = Some(outcome.address.to_string());
            self.moved(&outcome.address).await?;
        }
        if room.globals.json {
            let results = outcome.results.iter();
            let results = results.map(|(name, result)| {
                json!({"service": name, "result": kind(result), "says": result.sentence(german)})
            });
            let whole = json!({
                "konnektor": outcome.address.to_string(),
                "done": outcome.end == End::Done,
                "results": results.collect::<Vec<_>>(),
                "by_hand": by_hand,
                "before": record.before.path,
            });
            room.out.json(&whole).await?;
        }
        let code = match &outcome.end {
            End::Done => {
                self.forget().await?;
                for by_hand in by_hand {
                    told.line(format!("→ {}", crate::prompt::printable(by_hand))).await?;
                }
                let english = "Restored, read back and compared.";
                told.say(told.pick(english, "Eingelesen, zurückgelesen und verglichen.")).await?;
                return Ok(Ended::done());
            }
            End::Failed => {
                record.at_its_end = true;
                exit::FAILED
            }
            End::Interrupted(e) => exit_code(e),
            End::Stopped => exit::FAILED,
        };
        // A restore that ended before its first write leaves nothing to resume or undo.
        let begun = !record.attempted.is_empty();
        if let Some(Err(e)) = begun.then(|| record.keep(&self.seat.record)) {
            complain(&format!("{}: {e}", self.seat.record.display()));
        }
        let (name, before) = (&self.seat.name, record.before.path.display());
        let way_back = match room.words.language {
            _ if !begun => String::new(),
            Language::English => format!(
                "pforte konnektor -i {name} restore --resume tries the rest; restore --undo goes back to {before}."
            ),
            Language::German => format!(
                "pforte konnektor -i {name} einlesen --resume versucht den Rest; einlesen --undo geht zurück zu {before}."
            ),
        };
        Err(room.no(format!("{} {way_back}", outcome.end.sentence(german)), code).await)
    }

    async fn moved(&self, to: &HostPort) -> Result<(), Ended> {
        let room = self.room();
        if let Some(pin) = self.seat.pins.of_management()
            && let Err(e) = self.seat.pins.moved(to, pin)
        {
            complain(&format!("{}: {e}", self.seat.pins.file.display()));
        }
        room.told
            .line(match room.words.language {
                Language::English => format!("The box is at {to} now: -i {to}"),
                Language::German => format!("Das Gerät ist jetzt unter {to}: -i {to}"),
            })
            .await?;
        Ok(())
    }
}

fn kind(result: &StepResult) -> &'static str {
    match result {
        StepResult::Done { .. } => "done",
        StepResult::AlreadySo => "already-so",
        StepResult::Differs(_) => "differs",
        StepResult::Refused(_) => "refused",
        StepResult::Open(_) => "open",
        StepResult::NotReached => "not-reached",
    }
}

/// Notes each step before it is done, and tells how far it is.
struct Watcher {
    file: PathBuf,
    stop: Arc<Stop>,
    language: Language,
    record: Mutex<Record>,
}

#[async_trait]
impl Watch for Watcher {
    async fn before(&self, step: &Step) -> Result<(), restore::Stop> {
        if is_stopped(&self.stop) {
            return Err(restore::Stop);
        }
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if !record.attempted.contains(&step.service) {
            record.attempted.push(step.service.clone());
        }
        if let Kind::Move(to) = &step.kind {
            record.address = Some(to.to_string());
        }
        record.keep(&self.file).map_err(|e| {
            tracing::error!("the restore stops, for its next step could not be noted: {e}");
            restore::Stop
        })
    }

    async fn after(&self, _step: &Step, _result: &StepResult) {}

    fn told(&self, event: &Event<'_>) {
        let (bar, line) = how_far(event, is_german(self.language));
        show_progress(&bar, &line);
    }
}
