//! The table of remote commands: name, usage, help, parse; `help` is printed from it, and so is the prompt's completion.
//! Absent on purpose: any shell. What was sent is parsed into a type or refused; nothing of it becomes a command line.

mod ask;
mod data;
pub mod files;
mod input;
pub mod jobs;
mod konnektor;
mod oneself;
mod order;
mod out;
mod parse;
mod table;

pub use data::masked;
pub use input::{Input, NoInput};
pub(crate) use jobs::Answers;
pub use jobs::{Dialog, Foreground, Jobs, begin_standing};
pub(crate) use konnektor::spoken;
pub(crate) use out::harmless;
pub use out::{Gone, Out, Sink, Terminal};
pub use parse::{LONGEST, Unparsed, parse};
pub use table::words;

use std::sync::Arc;
use std::time::Duration;

use crate::asks::{self, Command, Verb};
use crate::clock::Clock;
use crate::config::Language;
use crate::gate::Gate;
use crate::identity::orders::Orders;
use crate::identity::second_factor::Confirmation;
use crate::journal::CannotJournal;
use crate::journal::started::{Outcome, Started};
use crate::random::Random;
use crate::state::State;
use crate::uplink::Uplinks;

/// sysexits(3) where there is one; `../interface` fixes them.
pub mod exit {
    /// Done.
    pub const DONE: u32 = 0;
    /// Ran and failed.
    pub const FAILED: u32 = 1;
    /// `EX_USAGE`
    pub const USAGE: u32 = 64;
    /// `EX_UNAVAILABLE`: site or Konnektor away.
    pub const AWAY: u32 = 69;
    /// `EX_NOPERM`: refused.
    pub const REFUSED: u32 = 77;
    /// `EX_CONFIG`
    pub const CONFIGURATION: u32 = 78;
    /// Cannot journal: nothing was done.
    pub const CANNOT_JOURNAL: u32 = 254;
}

/// What the commands work with.
pub struct Works {
    /// Asked by `sites`, `why` and `konnektor list`, which tell about permissions.
    pub gate: Arc<Gate>,
    /// The boxes and what is kept of them.
    pub konnektors: konnektor::Konnektors,
    /// Work that goes on when its line drops.
    pub jobs: Jobs,
    /// What outlives a restart.
    pub state: State,
    /// What was confirmed in advance.
    pub orders: Arc<Orders>,
    /// Sites' own links.
    pub uplinks: Arc<Uplinks>,
    /// Chance.
    pub random: Random,
    /// The time.
    pub clock: Clock,
}

/// What the person's side of a command can give.
#[derive(Default)]
pub struct Means<'a> {
    /// Where a question can be answered.
    pub dialog: Option<&'a mut dyn Dialog>,
    /// Standard input.
    pub input: Option<Arc<Input>>,
    /// What Ctrl-C is meant for.
    pub foreground: Option<&'a Foreground>,
    /// What the phone said to this very command, if it was asked.
    pub confirmation: Option<Confirmation>,
}

pub use konnektor::{Known, Konnektors, Upshot, Way, has_expired};

/// How a command ended, before it is journalled.
pub(crate) struct Ended {
    exit: u32,
    cause: Option<String>,
}

impl Ended {
    pub(crate) fn done() -> Self {
        Self { exit: exit::DONE, cause: None }
    }

    pub(crate) fn failed(exit: u32, cause: impl Into<String>) -> Self {
        Self { exit, cause: Some(cause.into()) }
    }
}

impl Ended {
    /// The exit code.
    pub(crate) fn code(&self) -> u32 {
        self.exit
    }
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::failed(exit::FAILED, "client-gone")
    }
}

/// Runs a command that was permitted and journalled, writes its last line, and gives the exit code.
/// What is a job goes on when this is dropped.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other verbs are about a Konnektor, today's and tomorrow's"
)]
pub async fn run(
    started: Started<Command>,
    works: &Arc<Works>,
    out: &Out,
    means: Means<'_>,
) -> Result<u32, CannotJournal> {
    if started.ask().verb.is_a_job() {
        return begin_and_follow(started, works, out, means).await;
    }
    let ended = match &started.ask().verb {
        Verb::Help(_) | Verb::Whoami | Verb::Sites | Verb::Why { .. } => {
            oneself::run(&started, works, out).await
        }
        Verb::Ask { site, why, minutes, wait } => {
            ask::run(&started, works, out, (site, why, *minutes, *wait)).await
        }
        Verb::Jobs | Verb::JobAttach(_) | Verb::JobCancel(_) => {
            jobs::run(&started, works, out, means.dialog).await
        }
        Verb::Order(_) | Verb::Orders | Verb::OrderClose(_) => {
            order::run(&started, works, out, means.confirmation.as_ref()).await
        }
        // The front opens a relay for it; as a command it leads nowhere.
        Verb::Connect { .. } => Err(Ended::failed(exit::USAGE, "no-terminal")),
        _ => konnektor::run(&started, works, out, means.input.as_ref()).await,
    };
    finished(started, ended.unwrap_or_else(|ended| ended), out).await
}

async fn finished(started: Started<Command>, ended: Ended, out: &Out) -> Result<u32, CannotJournal> {
    let outcome = Outcome {
        exit: ended.exit,
        bytes_in: 0,
        bytes_out: out.bytes(),
        cause: ended.cause,
        ..Outcome::default()
    };
    started.finish(outcome).await?;
    Ok(ended.exit)
}

/// A job that takes longer is told its number.
const LONG: Duration = Duration::from_secs(2);

async fn begin_and_follow(
    started: Started<Command>,
    works: &Arc<Works>,
    out: &Out,
    means: Means<'_>,
) -> Result<u32, CannotJournal> {
    let verb = started.ask().verb.clone();
    let job = match jobs::begin(started, works, out.language, means.input).await {
        Ok(job) => job,
        Err(not) => {
            let (started, e) = *not;
            if matches!(e, jobs::NotBegun::TooMany) {
                let english = "Too many of your jobs run or wait at this box already; let one end, or end one: jobs cancel N";
                let german = "Es laufen oder warten an diesem Gerät schon zu viele Ihrer Aufträge; erst muss einer enden: jobs cancel N";
                out.say(out.pick(english, german)).await.ok();
                return finished(started, Ended::failed(exit::FAILED, "too-many-jobs"), out).await;
            }
            tracing::error!("a job could not be noted: {e}");
            let english = "The job could not be noted, so it was not begun. Tell the operator.";
            let german = "Der Auftrag ließ sich nicht vermerken, also wurde er nicht begonnen. Sagen Sie es dem Betreiber.";
            out.say(out.pick(english, german)).await.ok();
            return finished(started, Ended::failed(exit::FAILED, "state"), out).await;
        }
    };
    let followed = async {
        if let Some(foreground) = means.foreground {
            foreground.set(Some(&job));
        }
        let following = jobs::follow(&job, out, means.dialog);
        tokio::pin!(following);
        let exit = tokio::select! {
            exit = &mut following => exit?,
            () = tokio::time::sleep(LONG) => {
                out.say(match out.language {
                    Language::English => {
                        format!("Job {0}: goes on if this line drops (jobs attach {0}).", job.number)
                    }
                    Language::German => format!(
                        "Auftrag {0}: läuft weiter, wenn die Leitung abbricht (jobs attach {0}).",
                        job.number
                    ),
                })
                .await?;
                following.await?
            }
        };
        if let Some(foreground) = means.foreground {
            foreground.set(None);
        }
        if let (Verb::KonnektorBackup { konnektor, into: asks::Into::Output, .. }, Some(name)) =
            (&verb, job.made())
        {
            konnektor::content(works, out, konnektor, name).await?;
        }
        Ok::<_, Gone>(exit)
    };
    // A client that is gone hears no exit code; the job's own line has it.
    Ok(followed.await.unwrap_or(exit::FAILED))
}
