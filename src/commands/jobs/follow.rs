//! Following a job: what it said so far, what it says, and its questions to the person.
//! Absent on purpose: any hold on it. Who follows may go at any time, and the job does not notice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::job::{Job, Said, Stop};
use crate::commands::{Gone, Out};

/// Where a question can be answered: a prompt.
#[async_trait]
pub trait Dialog: Send {
    /// Asks, and gives the line that was typed; `None`: Ctrl-C, Ctrl-D, or the client is gone.
    async fn ask(&mut self, question: &str) -> Option<String>;
}

/// The job that a person began on this very line and follows: Ctrl-C there is meant for it, a dropped line is not.
#[derive(Default)]
pub struct Foreground(Mutex<Option<Arc<Job>>>);

impl Foreground {
    fn job(&self) -> MutexGuard<'_, Option<Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::commands) fn set(&self, job: Option<&Arc<Job>>) {
        *self.job() = job.cloned();
    }

    /// Ctrl-C, or SSH's signal.
    pub fn interrupt(&self) {
        if let Some(job) = self.job().take() {
            job.stop(&Stop::Safely("interrupted".into()));
        }
    }
}

/// Shows what a job says until its end, and gives its exit code.
///
/// # Errors
/// The client takes no more; the job goes on.
pub async fn follow(job: &Arc<Job>, out: &Out, dialog: Option<&mut dyn Dialog>) -> Result<u32, Gone> {
    let mut changed = job.changed();
    let mut next = 0;
    match dialog {
        None => loop {
            next = show(job, next, out).await?;
            let now = *changed.borrow_and_update();
            if let (pieces, Some(exit)) = now
                && pieces <= next
            {
                return Ok(exit);
            }
            if now.0 <= next && changed.changed().await.is_err() {
                return Err(Gone);
            }
        },
        Some(dialog) => {
            let _answering = job.answering();
            let mut asked = job.asked().await;
            loop {
                next = show(job, next, out).await?;
                let now = *changed.borrow_and_update();
                if let (pieces, Some(exit)) = now
                    && pieces <= next
                {
                    return Ok(exit);
                }
                if now.0 > next {
                    continue;
                }
                tokio::select! {
                    biased;
                    told = changed.changed() => told.map_err(|_| Gone)?,
                    question = asked.recv() => {
                        let Some(question) = question else { return Err(Gone) };
                        // One that an earlier follower left behind.
                        if question.answer.is_closed() {
                            continue;
                        }
                        next = show(job, next, out).await?;
                        let mut waiting = question.answer;
                        let answer = tokio::select! {
                            answer = dialog.ask(&question.text) => answer,
                            // The job has ended meanwhile, or waits no longer.
                            () = waiting.closed() => continue,
                        };
                        waiting.send(answer).ok();
                    }
                }
            }
        }
    }
}

async fn show(job: &Job, from: usize, out: &Out) -> Result<usize, Gone> {
    let (said, next) = job.said(from);
    for piece in said {
        match piece {
            Said::Output(bytes) => out.data(bytes).await?,
            Said::Errors(bytes) => out.say_bytes(bytes).await?,
            Said::Progress(bar, line) => out.progress(&bar, &line).await?,
        }
    }
    Ok(next)
}
