//! A job that a schedule begins: the same turn at the box, the same list, the same ways to stop it; nobody to ask.
//! Absent on purpose: a person. What is done stands in the site's file.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Desk, Job, LOOK, worked};
use crate::commands::konnektor::{Upshot, run_chore};
use crate::commands::{Works, exit};
use crate::config::Language;
use crate::journal::started::{Outcome, Routine};
use crate::state::StateError;

/// As the list of jobs shows it.
const WHO: &str = "schedule";

/// Begins a job for what a site's file orders and the journal has; what comes of it is told once its last line is there.
///
/// # Errors
/// The state cannot be written; nothing was begun.
pub async fn begin_standing(
    routine: Routine,
    works: &Arc<Works>,
    language: Language,
) -> Result<(Arc<Job>, oneshot::Receiver<Upshot>), Box<(Routine, StateError)>> {
    let (id, command) = (routine.konnektor().clone(), routine.chore().as_asked());
    let job = match works.jobs.note(&id, None, WHO, &command, language).await {
        Ok(job) => job,
        Err(e) => return Err(Box::new((routine, e))),
    };
    let (told, upshot) = oneshot::channel();
    let (works, running) = (Arc::clone(works), Arc::clone(&job));
    let tracked = works.clone();
    tracked.jobs.tasks.spawn(async move {
        let out = running.out();
        let desk = Desk { works: works.clone(), job: Arc::clone(&running), out: out.clone(), input: None };
        let mut upshot = Upshot::default();
        let ended = {
            let work = run_chore(&routine, &desk, &mut upshot);
            Box::pin(worked(work, withdrawn(&works, &running, language), &desk, &works)).await
        };
        (upshot.exit, upshot.cause) = (ended.exit, ended.cause);
        let removed = upshot.removed.len();
        let cause = match (&upshot.cause, removed) {
            (cause, 0) => cause.clone(),
            (None, n) => Some(format!("removed={n}")),
            (Some(cause), n) => Some(format!("{cause}; removed={n}")),
        };
        let outcome =
            Outcome { exit: upshot.exit, bytes_out: out.bytes(), cause: cause.clone(), ..Outcome::default() };
        if routine.finish(outcome).await.is_err() {
            tracing::error!(job = running.number, "the end of a job could not be journalled");
            upshot.exit = exit::CANNOT_JOURNAL;
        }
        if let Err(e) = works.jobs.state.end_job(running.number, upshot.exit, cause.as_deref()).await {
            tracing::error!(job = running.number, "the end of a job could not be kept: {e}");
        }
        running.end(upshot.exit);
        // The schedule may have gone; then nobody waits for it.
        told.send(upshot).ok();
    });
    Ok((job, upshot))
}

/// Returns when the file orders nothing of this box any more.
async fn withdrawn(works: &Works, job: &Job, language: Language) -> String {
    loop {
        tokio::time::sleep(LOOK).await;
        if !works.gate.still_stands(&job.id) {
            return match language {
                Language::English => "The site's file has no schedule for this box any more.".into(),
                Language::German => "Die Datei des Standorts hat keinen Zeitplan mehr dafür.".into(),
            };
        }
    }
}
