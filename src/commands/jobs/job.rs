//! One job: what it said so far, bounded; who asks it something; how it was told to stop.
//! Absent on purpose: bulk data. A backup's content comes out of the vault, not through here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::commands::{Gone, Out, Sink, Terminal};
use crate::config::Language;
use crate::identity::Who;
use crate::names::KonnektorId;

/// What a job said is kept up to so many bytes; beyond, the oldest goes.
const SAID_MAX: usize = 256 * 1024;
/// And so many pieces.
const PIECES_MAX: usize = 8192;

/// How long a question waits for its answer: meanwhile nobody else works at the box.
const PATIENCE: Duration = Duration::from_mins(10);

/// Why it ends before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At once: what permitted it is gone.
    Now(String),
    /// At the next safe place: somebody cancelled it, or the gateway closes.
    Safely(String),
}

/// One piece of what a job said.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// Data, for standard output.
    Output(Bytes),
    /// A sentence, for standard error.
    Errors(Bytes),
    /// How far it is: as a bar, and as a line.
    Progress(String, String),
}

impl Said {
    fn len(&self) -> usize {
        match self {
            Said::Output(bytes) | Said::Errors(bytes) => bytes.len(),
            Said::Progress(bar, line) => bar.len() + line.len(),
        }
    }
}

/// A question to the person who follows the job.
pub(super) struct Question {
    pub(super) text: String,
    pub(super) answer: oneshot::Sender<Option<String>>,
}

#[derive(Default)]
struct Log {
    pieces: VecDeque<Said>,
    bytes: usize,
    /// How many pieces were there before the first one that is kept.
    gone: usize,
}

/// A job.
pub struct Job {
    /// Its number.
    pub number: u32,
    /// The box.
    pub id: KonnektorId,
    /// Who began it; nobody, if it was a schedule.
    pub who: Option<Who>,
    /// Their name, or the schedule's.
    pub name: String,
    /// What was asked for, secrets masked.
    pub command: String,
    /// The language it speaks.
    pub language: Language,
    works: AtomicBool,
    delicate: AtomicBool,
    log: Mutex<Log>,
    /// Pieces so far, and the exit code once there is one.
    changed: watch::Sender<(usize, Option<u32>)>,
    stop: watch::Sender<Option<Stop>>,
    questions: mpsc::Sender<Question>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Question>>,
    /// Who follows and can answer.
    answering: watch::Sender<usize>,
    /// The name of the backup it made, for the follower who wants its content.
    made: OnceLock<crate::names::BackupName>,
}

impl Job {
    pub(super) fn new(
        number: u32,
        id: KonnektorId,
        who: Option<Who>,
        name: &str,
        command: &str,
        language: Language,
    ) -> Self {
        let (questions, asked) = mpsc::channel(1);
        Self {
            number,
            id,
            who,
            name: name.to_owned(),
            command: command.to_owned(),
            language,
            works: AtomicBool::new(false),
            delicate: AtomicBool::new(false),
            log: Mutex::default(),
            changed: watch::Sender::new((0, None)),
            stop: watch::Sender::new(None),
            questions,
            asked: asked.into(),
            answering: watch::Sender::new(0),
            made: OnceLock::new(),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its work writes.
    pub(super) fn out(self: &Arc<Self>) -> Out {
        Out::new(Arc::new(Words(Arc::clone(self))), self.language, Terminal::Later)
    }

    /// Has it its turn at the box, and no end yet?
    pub fn works(&self) -> bool {
        self.works.load(Ordering::Acquire) && self.exit().is_none()
    }

    pub(super) fn set_works(&self) {
        self.works.store(true, Ordering::Release);
    }

    /// From now on it must not be cut: it stops by itself when it is told to.
    pub fn set_delicate(&self, delicate: bool) {
        self.delicate.store(delicate, Ordering::Release);
    }

    pub(super) fn is_delicate(&self) -> bool {
        self.delicate.load(Ordering::Acquire)
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<u32> {
        self.changed.borrow().1
    }

    pub(super) fn end(&self, exit: u32) {
        self.changed.send_modify(|(_, end)| *end = Some(exit));
    }

    pub(super) fn changed(&self) -> watch::Receiver<(usize, Option<u32>)> {
        self.changed.subscribe()
    }

    /// The backup that it made.
    pub fn set_made(&self, name: crate::names::BackupName) {
        self.made.set(name).ok();
    }

    /// The backup that it made, if it was to make one and did.
    pub fn made(&self) -> Option<&crate::names::BackupName> {
        self.made.get()
    }

    /// Tells it to stop; the first reason counts, but `Now` counts more.
    pub fn stop(&self, stop: &Stop) {
        self.stop.send_if_modified(|told| {
            let counts = match (&told, stop) {
                (None, _) | (Some(Stop::Safely(_)), Stop::Now(_)) => true,
                (Some(_), _) => false,
            };
            if counts {
                *told = Some(stop.clone());
            }
            counts
        });
    }

    /// Was it told to stop?
    pub fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Returns when it is.
    pub async fn stopped(&self) -> Stop {
        let mut told = self.stop.subscribe();
        let stop = match told.wait_for(Option::is_some).await {
            Ok(stop) => stop.clone(),
            // The sender lives as long as the job.
            Err(_) => None,
        };
        match stop {
            Some(stop) => stop,
            None => std::future::pending().await,
        }
    }

    /// Returns when it is told to stop at once.
    pub(super) async fn stopped_now(&self) -> String {
        let mut told = self.stop.subscribe();
        if let Ok(stop) = told.wait_for(|stop| matches!(stop, Some(Stop::Now(_)))).await
            && let Some(Stop::Now(cause)) = stop.as_ref()
        {
            return cause.clone();
        }
        std::future::pending().await
    }

    /// How far it is; returns at once.
    pub fn progress(&self, bar: &str, line: &str) {
        self.push(Said::Progress(bar.to_owned(), line.to_owned()));
    }

    fn push(&self, said: Said) {
        let mut log = self.log();
        // Progress is worth nothing once there is more of it.
        if matches!((log.pieces.back(), &said), (Some(Said::Progress(..)), Said::Progress(..)))
            && log.pieces.len() > 512
            && let Some(old) = log.pieces.pop_back()
        {
            log.bytes -= old.len();
            log.gone += 1;
        }
        log.bytes += said.len();
        log.pieces.push_back(said);
        while log.bytes > SAID_MAX || log.pieces.len() > PIECES_MAX {
            let Some(old) = log.pieces.pop_front() else { break };
            log.bytes -= old.len();
            log.gone += 1;
        }
        let total = log.gone + log.pieces.len();
        drop(log);
        self.changed.send_modify(|(pieces, _)| *pieces = total);
    }

    /// What was said from piece `from` on, and the number of the piece behind it.
    pub(super) fn said(&self, from: usize) -> (Vec<Said>, usize) {
        let log = self.log();
        let skip = from.saturating_sub(log.gone);
        let pieces = log.pieces.iter().skip(skip).cloned().collect();
        (pieces, log.gone + log.pieces.len())
    }

    pub(super) async fn asked(&self) -> tokio::sync::MutexGuard<'_, mpsc::Receiver<Question>> {
        self.asked.lock().await
    }

    /// Somebody follows who can answer, until this is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.answering.send_modify(|n| *n += 1);
        Answering(Arc::clone(self))
    }
}

pub(super) struct Answering(Arc<Job>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.send_modify(|n| *n -= 1);
    }
}

/// Asks the person who follows.
#[async_trait]
pub trait Answers: Send + Sync {
    /// The answer, or `None`: nobody is there to give one.
    async fn ask(&self, question: &str) -> Option<String>;
}

#[async_trait]
impl Answers for Job {
    async fn ask(&self, question: &str) -> Option<String> {
        let mut answering = self.answering.subscribe();
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.questions.send(Question { text: question.to_owned(), answer }).await.ok()?;
            answered.await.ok().flatten()
        };
        tokio::select! {
            biased;
            // Nobody is there who could answer, or not any more.
            _ = answering.wait_for(|n| *n == 0) => None,
            answer = asking => answer,
            () = tokio::time::sleep(PATIENCE) => None,
        }
    }
}

/// The sink of a job's work: never waits, for nobody may be there to read.
struct Words(Arc<Job>);

#[async_trait]
impl Sink for Words {
    async fn output(&self, data: Bytes) -> Result<(), Gone> {
        self.0.push(Said::Output(data));
        Ok(())
    }

    async fn errors(&self, data: Bytes) -> Result<(), Gone> {
        self.0.push(Said::Errors(data));
        Ok(())
    }

    async fn progress(&self, bar: &str, line: &str) -> Result<(), Gone> {
        self.0.push(Said::Progress(bar.to_owned(), line.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Arc<Job> {
        let id = KonnektorId { site: "praxis".parse().unwrap(), konnektor: "main".parse().unwrap() };
        Arc::new(Job::new(1, id, None, "firm-jane.doe", "konnektor backup", Language::English))
    }

    #[tokio::test]
    async fn what_nobody_reads_is_kept_within_bounds() {
        let job = job();
        let out = job.out();
        for n in 0..20_000 {
            out.say(format!("{n} {}", "x".repeat(60))).await.unwrap();
        }
        let (said, next) = job.said(0);
        assert_eq!(next, 20_000);
        assert!(said.iter().map(Said::len).sum::<usize>() <= SAID_MAX);
        assert!(job.said(19_999).0.len() == 1 && job.said(20_000).0.is_empty());
    }

    #[tokio::test]
    async fn a_question_without_anybody_to_answer_is_answered_by_nobody() {
        let job = job();
        assert_eq!(job.ask("sure?").await, None);
        let following = job.answering();
        let asking = tokio::spawn({
            let job = job.clone();
            async move { job.ask("sure?").await }
        });
        let question = job.asked().await.recv().await.unwrap();
        assert_eq!(question.text, "sure?");
        question.answer.send(Some("yes".into())).unwrap();
        assert_eq!(asking.await.unwrap().as_deref(), Some("yes"));
        let asking = tokio::spawn({
            let job = job.clone();
            async move { job.ask("again?").await }
        });
        let question = job.asked().await.recv().await.unwrap();
        drop(following);
        assert_eq!(asking.await.unwrap(), None);
        drop(question);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_answers_is_not_asked_for_ever() {
        let job = job();
        let _following = job.answering();
        let asked = tokio::time::timeout(2 * PATIENCE, job.ask("sure?")).await;
        assert_eq!(asked, Ok(None));
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_counts_but_at_once_counts_more() {
        let job = job();
        job.stop(&Stop::Safely("cancelled".into()));
        job.stop(&Stop::Safely("other".into()));
        assert_eq!(job.stopped().await, Stop::Safely("cancelled".into()));
        job.stop(&Stop::Now("withdrawn".into()));
        assert_eq!(job.stopped().await, Stop::Now("withdrawn".into()));
    }
}
