//! Long work at a box goes on when its line drops: numbered, one at a box at a time, followed again, cancelled.
//! Absent on purpose: what the work is, and who may begin it; each has its `Started` already.

mod follow;
mod job;
mod show;
mod standing;
mod turn;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::task::TaskTracker;

use super::{Ended, Input, Out, Works, exit, konnektor};
use crate::asks::{Ask, Command};
use crate::config::Language;
use crate::identity::Who;
use crate::journal::started::{Outcome, Started};
use crate::names::KonnektorId;
use crate::sentences;
use crate::state::State;

pub use follow::{Dialog, Foreground, follow};
pub use job::{Answers, Job, Stop};
pub(super) use show::busy;
pub(super) use show::run;
pub use standing::begin_standing;
pub(super) use turn::free_elsewhere;

/// How long work that was told to stop may take to come to a safe place.
const GRACE: Duration = Duration::from_secs(20);
/// How often it is looked whether what permitted the work is still there.
const LOOK: Duration = Duration::from_millis(400);
/// Jobs of one person that run or wait at one box.
const OWN: usize = 4;
/// Ended jobs whose last words are kept in memory.
const REMEMBERED: usize = 64;

/// All jobs of this gateway.
pub struct Jobs {
    book: Mutex<Book>,
    state: State,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Book {
    jobs: BTreeMap<u32, Arc<Job>>,
    boxes: BTreeMap<KonnektorId, Arc<tokio::sync::Mutex<()>>>,
}

impl Jobs {
    /// None yet; what an earlier run left without an end is said to have ended.
    ///
    /// # Errors
    /// The state's.
    pub async fn open(state: State) -> Result<Self, crate::state::StateError> {
        let lost = state.close_lost_jobs().await?;
        if lost > 0 {
            tracing::warn!(lost, "jobs were under way when the gateway ended; jobs lists them");
        }
        Ok(Self { book: Mutex::default(), state, tasks: TaskTracker::new() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job by its number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Arc<Job>> {
        self.book().jobs.get(&number).cloned()
    }

    /// The one that is at work at this box now.
    #[must_use]
    pub fn at_work(&self, id: &KonnektorId) -> Option<Arc<Job>> {
        self.book().jobs.values().find(|job| job.id == *id && job.works()).cloned()
    }

    /// Those that run or wait.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Job>> {
        self.book().jobs.values().filter(|job| job.exit().is_none()).cloned().collect()
    }

    /// Tells all whose person `ends` names to stop: their key is gone, or the gateway closes.
    pub fn end(&self, ends: impl Fn(&Who) -> Option<&'static str>) {
        for job in self.running() {
            if let Some(cause) = job.who.as_ref().and_then(&ends) {
                job.stop(&Stop::Now(cause.to_owned()));
            }
        }
    }

    /// Ends all jobs, at a safe place where they get to one in time, and waits for their last lines.
    pub async fn close(&self) {
        for job in self.running() {
            job.stop(&Stop::Safely("shutdown".into()));
        }
        self.tasks.close();
        if tokio::time::timeout(GRACE + GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("jobs were cut at the end");
        }
    }

    /// The lock of one box, in the order of those who ask.
    pub fn turn(&self, id: &KonnektorId) -> Arc<tokio::sync::Mutex<()>> {
        self.book().boxes.entry(id.clone()).or_default().clone()
    }

    async fn note(
        &self,
        id: &KonnektorId,
        who: Option<&Who>,
        name: &str,
        command: &str,
        language: Language,
    ) -> Result<Arc<Job>, crate::state::StateError> {
        let number = self.state.begin_job(&id.to_string(), name, command).await?;
        let job = Arc::new(Job::new(number, id.clone(), who.cloned(), name, command, language));
        let mut book = self.book();
        book.jobs.insert(number, Arc::clone(&job));
        let ended: Vec<u32> =
            book.jobs.iter().filter(|(_, job)| job.exit().is_some()).map(|(number, _)| *number).collect();
        for number in ended.iter().take(ended.len().saturating_sub(REMEMBERED)) {
            book.jobs.remove(number);
        }
        Ok(job)
    }
}

/// What a job works with, beside the box.
pub(super) struct Desk {
    pub(super) works: Arc<Works>,
    pub(super) job: Arc<Job>,
    pub(super) out: Out,
    pub(super) input: Option<Arc<Input>>,
}

/// Why a job was not begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// So many of this person's run or wait at the box already.
    #[error("{OWN} jobs of one person at one box already")]
    TooMany,
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] crate::state::StateError),
}

/// Begins a job for a command that was permitted and journalled.
///
/// # Errors
/// [`NotBegun`]; nothing was begun.
pub async fn begin(
    started: Started<Command>,
    works: &Arc<Works>,
    language: Language,
    input: Option<Arc<Input>>,
) -> Result<Arc<Job>, Box<(Started<Command>, NotBegun)>> {
    let Some(id) = started.ask().verb.konnektor().cloned() else {
        // Only verbs about a box are jobs; the state says nothing else.
        let error = crate::state::StateError::Url;
        return Err(Box::new((started, error.into())));
    };
    let who = started.who().clone();
    // A line that drops leaves its job behind, so the bounds on lines are none on jobs.
    let is_own =
        |job: &&Arc<Job>| job.id == id && job.who.as_ref().is_some_and(|other| other.user() == who.user());
    if works.jobs.running().iter().filter(is_own).count() >= OWN {
        return Err(Box::new((started, NotBegun::TooMany)));
    }
    let command = String::from_utf8_lossy(started.ask().as_asked()).into_owned();
    let noted = works.jobs.note(&id, Some(&who), who.user().as_str(), &command, language).await;
    let job = match noted {
        Ok(job) => job,
        Err(e) => return Err(Box::new((started, e.into()))),
    };
    let (works, running) = (Arc::clone(works), Arc::clone(&job));
    let tracked = works.clone();
    tracked.jobs.tasks.spawn(async move {
        let out = running.out();
        let desk = Desk { works: works.clone(), job: Arc::clone(&running), out: out.clone(), input };
        let work = async {
            // It may have waited for its turn: what permitted it has to be there now, not half a second ago.
            if let Some(refused) = works.gate.withdrawn_from(&started).await {
                out.say(sentences::refused(&refused, out.language)).await?;
                return Err(Ended::failed(exit::REFUSED, "withdrawn"));
            }
            konnektor::run_job(&started, &desk).await
        };
        let withdrawn = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Some(refused) = works.gate.withdrawn_from(&started).await {
                    return sentences::refused(&refused, out.language);
                }
            }
        };
        let ended = Box::pin(worked(work, withdrawn, &desk, &works)).await;
        let outcome = Outcome {
            exit: ended.exit,
            bytes_in: 0,
            bytes_out: out.bytes(),
            cause: ended.cause.clone(),
            ..Outcome::default()
        };
        let mut exit = ended.exit;
        if started.finish(outcome).await.is_err() {
            tracing::error!(job = running.number, "the end of a job could not be journalled");
            exit = exit::CANNOT_JOURNAL;
        }
        if let Err(e) = works.jobs.state.end_job(running.number, exit, ended.cause.as_deref()).await {
            tracing::error!(job = running.number, "the end of a job could not be kept: {e}");
        }
        running.end(exit);
    });
    Ok(job)
}

/// The work, until it is done or has to end. What permitted it is gone when `withdrawn` says so.
async fn worked(
    work: impl Future<Output = Result<Ended, Ended>>,
    withdrawn: impl Future<Output = String>,
    desk: &Desk,
    works: &Arc<Works>,
) -> Ended {
    let (job, out) = (&desk.job, &desk.out);
    let turn = works.jobs.turn(&job.id);
    let work = AssertUnwindSafe(async {
        // A client that never ends its input holds its own line, not the box.
        if let Some(input) = &desk.input {
            input.ended().await;
        }
        let _turn = if let Ok(turn) = turn.try_lock() {
            turn
        } else {
            if let Some(other) = works.jobs.at_work(&job.id) {
                let sentence = show::busy(&other, out.language);
                out.say(sentence).await?;
            }
            turn.lock().await
        };
        turn::taken(works, job, out).await?;
        job.set_works();
        work.await
    })
    .catch_unwind();
    tokio::pin!(work);
    let withdrawn = async {
        let sentence = withdrawn.await;
        // Nobody has to hear it; it is in the journal.
        out.say(sentence).await.ok();
        Stop::Now("withdrawn".into())
    };
    tokio::pin!(withdrawn);
    let over = |done: Result<Result<Ended, Ended>, _>| {
        done.map_or_else(|_| panicked(), |ended| ended.unwrap_or_else(|ended| ended))
    };
    let mut stop = tokio::select! {
        done = &mut work => return over(done),
        stop = job.stopped() => stop,
        stop = &mut withdrawn => stop,
    };
    if let Stop::Safely(cause) = &stop
        && job.is_delicate()
    {
        let cause = cause.clone();
        tokio::select! {
            done = &mut work => {
                let ended = over(done);
                let cause = ended.cause.map_or_else(|| cause.clone(), |other| format!("{cause}; {other}"));
                return Ended { exit: ended.exit, cause: Some(cause) };
            }
            // Who was cancelled first keeps no longer what is taken from them meanwhile.
            now = job.stopped_now() => stop = Stop::Now(now),
            now = &mut withdrawn => stop = now,
            () = tokio::time::sleep(GRACE) => {}
        }
    }
    let exit = if stop == Stop::Now("withdrawn".into()) { exit::REFUSED } else { exit::FAILED };
    let (Stop::Now(cause) | Stop::Safely(cause)) = stop;
    out.say(show::stopped(&cause, out.language)).await.ok();
    Ended::failed(exit, cause)
}

fn panicked() -> Ended {
    tracing::error!("a panic ended a job");
    Ended::failed(exit::FAILED, "panic")
}
