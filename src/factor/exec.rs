//! The second factor by a program of the operator's: the question as JSON on its stdin, the answer as its exit code.
//! Absent on purpose: any text of a client in an argument; how a program is run is [`program`].
//!
//! Exit codes: 0 allow, 1 deny, 2 fraud, 3 timeout; everything else is an error, and so a refusal.

pub mod program;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use self::program::{BadProgram, Program};
use super::{Cause, Push, Question, Verdict, wire};
use crate::clock::Clock;

/// The program and its bounds.
pub struct ExecConfig {
    /// The program's absolute path and its arguments, from the configuration alone.
    pub argv: Vec<String>,
    /// For the program to answer; then it is killed.
    pub timeout: Duration,
    /// How many may run at once; further questions wait within their own time.
    pub at_once: usize,
}

impl ExecConfig {
    /// The defaults: 60 s, 16 at once.
    #[must_use]
    pub fn new(argv: Vec<String>) -> Self {
        Self { argv, timeout: Duration::from_mins(1), at_once: 16 }
    }
}

/// Why the provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The program is none, or others could change it.
    #[error("exec: {0}")]
    Program(#[from] BadProgram),
    /// Nothing may run at once.
    #[error("exec: at_once must be at least 1")]
    NoneAtOnce,
}

/// The provider.
pub struct Exec {
    program: Program,
    arguments: Vec<String>,
    timeout: Duration,
    running: Semaphore,
    clock: Clock,
}

impl Exec {
    /// Checks the program: see [`Program::new`].
    pub fn new(config: ExecConfig, clock: Clock) -> Result<Self, ExecError> {
        let mut argv = config.argv.into_iter();
        let program = Program::new(argv.next().ok_or(BadProgram::NotAbsolute)?)?;
        if config.at_once == 0 {
            return Err(ExecError::NoneAtOnce);
        }
        let running = Semaphore::new(config.at_once.min(Semaphore::MAX_PERMITS));
        Ok(Self { program, arguments: argv.collect(), timeout: config.timeout, running, clock })
    }

    async fn run(&self, question: &Question) -> Verdict {
        let mut body = wire::body(question, None);
        body.push(b'\n');
        let ended = self.program.run(self.arguments.iter().map(String::as_str), &body).await;
        if !ended.complaint.is_empty() {
            tracing::warn!(line = ?ended.complaint, "second factor's program says");
        }
        match ended.status.map(|status| status.code()) {
            Err(cause) => Verdict::Failed(cause),
            Ok(Some(0)) => Verdict::Allowed,
            Ok(Some(1)) => Verdict::Denied,
            Ok(Some(2)) => Verdict::Fraud,
            Ok(Some(3)) => Verdict::TimedOut,
            Ok(Some(code)) => Verdict::Failed(Cause::ExitCode(code)),
            Ok(None) => Verdict::Failed(Cause::Killed),
        }
    }
}

#[async_trait]
impl Push for Exec {
    fn name(&self) -> &'static str {
        "exec"
    }

    async fn ask(&self, question: &Question) -> Verdict {
        let wait = question.remaining(&self.clock, self.timeout);
        if wait.is_zero() {
            return Verdict::TimedOut;
        }
        let Ok(Ok(_turn)) = tokio::time::timeout(wait, self.running.acquire()).await else {
            return Verdict::Failed(Cause::Busy);
        };
        let limit = question.remaining(&self.clock, self.timeout);
        tokio::time::timeout(limit, self.run(question)).await.unwrap_or(Verdict::TimedOut)
    }
}
