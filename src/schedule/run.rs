//! One run of one slot: taken in the state, begun as a job, told where it fails, tried again where the box was away.
//! Absent on purpose: what the job does.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::plan::{Item, Work};
use super::words::Words;
use super::{Shared, words};
use crate::commands::jobs::Stop;
use crate::commands::{Upshot, begin_standing, exit, has_expired};
use crate::config::Notice;
use crate::gate::Refused;
use crate::names::KonnektorId;
use crate::notify::{About, Told};
use crate::policy::Routinely;
use crate::state::StateError;

/// A slot is this gateway's for so long; it is kept again well before that ends.
const HOLD: SignedDuration = SignedDuration::from_mins(5);
const HOLD_AGAIN: Duration = Duration::from_mins(1);
/// After a box was away: before the second try, and before the third, which is the last.
const AGAIN: [SignedDuration; 2] = [SignedDuration::from_mins(10), SignedDuration::from_mins(60)];
/// After a start nothing is said to be missing for so long: it may be caught up now.
const SETTLED: SignedDuration = SignedDuration::from_hours(2);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// What a job that ends because the gateway closes has for its cause.
const SHUTDOWN: &str = "shutdown";

/// What becomes of the slot.
enum After {
    Over,
    /// It is tried again then, by whichever gateway.
    Again(SignedDuration),
    /// The gateway closes: as if it had not been taken.
    Returned,
}

impl Shared {
    pub(super) async fn run(self: Arc<Self>, name: String, item: Item, slot: Timestamp) {
        if let Err(e) = self.run_slot(&name, &item, slot).await {
            tracing::error!("the schedule {name}: {e}");
        }
    }

    async fn run_slot(&self, name: &str, item: &Item, slot: Timestamp) -> Result<(), StateError> {
        let (state, clock) = (&self.works.state, &self.works.clock);
        let Some(tries) = state.take_slot(name, slot, &self.holder, clock.now() + HOLD).await? else {
            return Ok(());
        };
        let kept = async {
            loop {
                tokio::time::sleep(HOLD_AGAIN).await;
                if let Err(e) = state.keep_slot(name, slot, &self.holder, clock.now() + HOLD).await {
                    tracing::error!("the schedule {name}: {e}");
                }
            }
        };
        let after = tokio::select! {
            after = self.work(item, tries) => after,
            () = kept => return Ok(()),
        };
        match after {
            After::Over => state.end_slot(name, slot, &self.holder).await,
            After::Again(pause) => state.keep_slot(name, slot, &self.holder, clock.now() + pause).await,
            After::Returned => state.return_slot(name, slot, &self.holder).await,
        }
    }

    async fn work(&self, item: &Item, tries: u32) -> After {
        let what = match item.work {
            Work::Watch => return self.watch(&item.konnektor).await,
            // Nothing is written into the journal day by day where nothing is to be done.
            Work::Tidy if !has_expired(&self.works, &item.konnektor).await => return After::Over,
            Work::Tidy => Routinely::Tidy,
            Work::Check => Routinely::Check,
            Work::Backup => Routinely::Backup,
        };
        let (id, job, upshot) = match self.routine(item, what).await {
            Ok((job, upshot)) => (&item.konnektor, Some(job), upshot),
            // The file has changed since it was looked at; the refusal is in the journal.
            Err(Refused::Denied { .. } | Refused::Unsettled(_)) => return After::Over,
            Err(Refused::CannotJournal(e)) => {
                let upshot =
                    Upshot { exit: exit::CANNOT_JOURNAL, cause: Some(e.to_string()), ..Upshot::default() };
                (&item.konnektor, None, upshot)
            }
        };
        if !upshot.removed.is_empty() {
            let names: Vec<String> = upshot.removed.iter().map(ToString::to_string).collect();
            self.tell(words::removed(id, &names), Notice::Retention, id, job).await;
        }
        if let Some(changed) = &upshot.changed {
            self.tell(words::changed(id, changed), Notice::BackupChanged, id, job).await;
        }
        if upshot.exit == exit::DONE {
            return After::Over;
        }
        let cause = upshot.cause.unwrap_or_else(|| format!("exit={}", upshot.exit));
        if cause == SHUTDOWN {
            return After::Returned;
        }
        let again = usize::try_from(tries.saturating_sub(1)).ok().and_then(|nth| AGAIN.get(nth));
        match (upshot.exit, again) {
            (exit::AWAY | exit::CANNOT_JOURNAL, Some(pause)) => return After::Again(*pause),
            // Nobody orders it any more.
            (exit::REFUSED, _) => return After::Over,
            _ => {}
        }
        let (words, notice) = match item.work {
            Work::Check => (words::check_failed(id, &cause), Notice::CheckFailed),
            Work::Backup | Work::Tidy | Work::Watch => {
                (words::failed(id, &cause, tries), Notice::BackupFailed)
            }
        };
        self.tell(words, notice, id, job).await;
        After::Over
    }

    /// Through the gate, as a job, to its end.
    async fn routine(&self, item: &Item, what: Routinely) -> Result<(u32, Upshot), Refused> {
        let works = &self.works;
        let routine = works.gate.open_standing(&item.konnektor, &item.place, what).await?;
        let (job, upshot) = match begin_standing(routine, works, self.language).await {
            Ok(begun) => begun,
            Err(not) => {
                let (routine, e) = *not;
                tracing::error!("a scheduled job could not be noted: {e}");
                // Away: it is tried again. Dropping it writes its last line.
                drop(routine);
                let cause = Some("state".to_owned());
                return Ok((0, Upshot { exit: exit::AWAY, cause, ..Upshot::default() }));
            }
        };
        let lost = || Upshot { exit: exit::FAILED, cause: Some("job-lost".to_owned()), ..Upshot::default() };
        let number = job.number;
        tokio::pin!(upshot);
        let upshot = tokio::select! {
            upshot = &mut upshot => upshot,
            () = self.stop.cancelled() => {
                job.stop(&Stop::Safely(SHUTDOWN.into()));
                upshot.await
            }
        };
        Ok((number, upshot.unwrap_or_else(|_| lost())))
    }

    /// Is there no good backup where the schedule wants one?
    async fn watch(&self, id: &KonnektorId) -> After {
        if let Err(e) = self.tell_unfinished_at(id).await {
            tracing::error!("schedules: {e}");
        }
        let now = self.works.clock.now();
        let last = match self.works.state.last_good_backup(&id.to_string()).await {
            Ok(last) => last,
            Err(e) => {
                tracing::error!("schedules: {e}");
                return After::Over;
            }
        };
        if now.duration_since(self.started) < SETTLED {
            return After::Over;
        }
        if let Some(wanted) = self.plan.load().missing(id, last, now) {
            self.tell_daily(words::missing(id, last, wanted), Notice::BackupMissing, id).await;
        }
        After::Over
    }

    /// Tells it, unless it was told within a day.
    pub(super) async fn tell_daily(&self, words: Words, notice: Notice, id: &KonnektorId) {
        let since = self.works.clock.now() - DAY;
        match self.works.state.may_tell(&format!("{notice} {id}"), since).await {
            Ok(true) => self.tell(words, notice, id, None).await,
            Ok(false) => {}
            Err(e) => tracing::error!("schedules: {e}"),
        }
    }

    async fn tell(&self, words: Words, notice: Notice, id: &KonnektorId, job: Option<u32>) {
        let Words { english, german, cause } = words;
        let konnektor = id.clone();
        let about = About::Konnektor(konnektor);
        self.notices.tell(Told { notice, about, english, german, job, cause }).await;
    }
}
