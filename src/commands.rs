//! The table of remote commands: name, usage, help, parse; `help` is printed from it, and so is the prompt's completion.
//! Absent on purpose: any shell. What was sent is parsed into a type or refused; nothing of it becomes a command line.

pub mod files;
mod konnektor;
mod oneself;
mod out;
mod parse;
mod table;

pub use out::{Gone, Out, Sink, Terminal};
pub use parse::{LONGEST, Unparsed, parse};
pub use table::words;

use std::sync::Arc;

use crate::asks::{Command, Verb};
use crate::clock::Clock;
use crate::gate::Gate;
use crate::journal::CannotJournal;
use crate::journal::started::{Outcome, Started};

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
    /// The time.
    pub clock: Clock,
}

pub use konnektor::{Known, Konnektors};

/// How a command ended, before it is journalled.
pub(crate) struct Ended {
    exit: u32,
    cause: Option<String>,
}

impl Ended {
    fn done() -> Self {
        Self { exit: exit::DONE, cause: None }
    }

    fn failed(exit: u32, cause: impl Into<String>) -> Self {
        Self { exit, cause: Some(cause.into()) }
    }
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::failed(exit::FAILED, "client-gone")
    }
}

/// Runs a command that was permitted and journalled, writes its last line, and gives the exit code.
pub async fn run(started: Started<Command>, works: &Works, out: &Out) -> Result<u32, CannotJournal> {
    let ended = match &started.ask().verb {
        Verb::Help(_) | Verb::Whoami | Verb::Sites | Verb::Why { .. } => {
            oneself::run(&started, works, out).await
        }
        Verb::KonnektorList
        | Verb::KonnektorBackup { .. }
        | Verb::KonnektorBackups { .. }
        | Verb::KonnektorShow { .. } => konnektor::run(&started, works, out).await,
        // The front opens a relay for it; as a command it leads nowhere.
        Verb::Connect { .. } => Err(Ended::failed(exit::USAGE, "no-terminal")),
    };
    let ended = ended.unwrap_or_else(|ended| ended);
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
