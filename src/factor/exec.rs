//! The second factor by a program of the operator's: the question as JSON on its stdin, the answer as its exit code.
//! Absent on purpose: a shell, the gateway's environment, and any text of a client in an argument.
//!
//! Exit codes: 0 allow, 1 deny, 2 fraud, 3 timeout; everything else is an error, and so a refusal.
//! What the program starts ends with it: the whole process group is killed. (A process that makes a session of its own
//! with setsid(2) escapes that; it cannot keep us waiting either way.)

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Semaphore, oneshot};

use super::{Cause, Push, Question, Verdict, wire};
use crate::clock::Clock;

/// The most bytes the program may write to stdout, and again to stderr.
const OUTPUT_LIMIT: u64 = 64 * 1024;
/// How long what a program wrote last is still read after its end.
const AFTERGLOW: Duration = Duration::from_millis(200);

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

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No program, or not by its absolute path.
    #[error("exec: the program must be given by its absolute path")]
    NotAbsolute,
    /// The program, or a directory above it, cannot be looked at.
    #[error("exec: {path}: {error}")]
    Missing {
        /// What was looked at.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The program is not a file that can be executed.
    #[error("exec: {0}: not an executable file")]
    NotExecutable(PathBuf),
    /// Somebody else than root and us could change the program, or put another in its place.
    #[error(
        "exec: {0}: others could change it (owner must be root or this user, and not writable by group or others)"
    )]
    Writable(PathBuf),
    /// Nothing may run at once.
    #[error("exec: at_once must be at least 1")]
    NoneAtOnce,
}

/// The provider.
pub struct Exec {
    program: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
    running: Semaphore,
    clock: Clock,
}

impl Exec {
    /// Checks the program: absolute, executable, and under nobody's control but root's and ours, up to `/`.
    pub fn new(config: ExecConfig, clock: Clock) -> Result<Self, ExecError> {
        let mut argv = config.argv.into_iter();
        let program =
            argv.next().map(PathBuf::from).filter(|p| p.is_absolute()).ok_or(ExecError::NotAbsolute)?;
        // Links are followed once, here: what was checked is what runs.
        let program = program.canonicalize().map_err(|error| ExecError::Missing { path: program, error })?;
        check(&program)?;
        if config.at_once == 0 {
            return Err(ExecError::NoneAtOnce);
        }
        let running = Semaphore::new(config.at_once.min(Semaphore::MAX_PERMITS));
        Ok(Self { program, arguments: argv.collect(), timeout: config.timeout, running, clock })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the exec second factor is where the gateway runs a program"
    )]
    fn spawn(&self) -> Result<Running, Cause> {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let child = child.map_err(|error| {
            tracing::warn!(program = %self.program.display(), %error, "second factor not started");
            Cause::NotStarted
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.map(|id| Running { group: Group(id), child }).ok_or(Cause::NotStarted)
    }

    /// Starts the program, gives it the question, and waits for its end and no longer.
    async fn run(&self, question: &Question) -> Result<ExitStatus, Cause> {
        let mut running = self.spawn()?;
        let pipes = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(Cause::NotStarted) };
        // The program stays a zombie until its group is killed: so the group's number cannot be anybody else's yet.
        let ended = watch(running.group.0)?;

        let mut question = wire::body(question, None);
        question.push(b'\n');
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let (over, is_over) = oneshot::channel();
        let end = wait(&ended, &running.group, over);
        let talk = async {
            let streams = async {
                let read = async { tokio::try_join!(read(stdout, &mut said), read(stderr, &mut complained)) };
                tokio::join!(write(stdin, &question), read).1.map(|_| ())
            };
            tokio::select! {
                read = streams => read,
                () = grace(is_over) => Ok(()),
            }
        };
        let done = tokio::try_join!(end, talk);
        if let Some(line) = String::from_utf8_lossy(&complained).lines().next() {
            tracing::warn!(line = ?line.chars().take(200).collect::<String>(), "second factor's program says");
        }
        done?;
        running.child.wait().await.map_err(|_| Cause::Killed)
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
        match tokio::time::timeout(limit, self.run(question)).await {
            Err(_) => Verdict::TimedOut,
            Ok(Err(cause)) => Verdict::Failed(cause),
            Ok(Ok(status)) => match status.code() {
                Some(0) => Verdict::Allowed,
                Some(1) => Verdict::Denied,
                Some(2) => Verdict::Fraud,
                Some(3) => Verdict::TimedOut,
                Some(code) => Verdict::Failed(Cause::ExitCode(code)),
                None => Verdict::Failed(Cause::Killed),
            },
        }
    }
}

/// A process group that ends when this value does.
struct Group(Pid);

impl Group {
    fn kill(&self) {
        // An error says that nobody is left.
        if let Err(error) = kill_process_group(self.0, Signal::KILL) {
            tracing::trace!(%error, "process group already gone");
        }
    }
}

/// A program at work. Fields are dropped in this order: the group is killed while its leader is not reaped yet.
struct Running {
    group: Group,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `child.wait()` the group is gone, and its number may be given out again.
        if self.child.id().is_some() {
            self.group.kill();
        }
    }
}

/// A descriptor that becomes readable when the process ends (`pidfd_open(2)`).
#[expect(
    deprecated,
    reason = "its successor is unsafe for types that swap their descriptor; an OwnedFd never does"
)]
fn watch(process: Pid) -> Result<AsyncFd<OwnedFd>, Cause> {
    let descriptor = pidfd_open(process, PidfdFlags::NONBLOCK).map_err(|_| Cause::NotStarted)?;
    AsyncFd::new(descriptor).map_err(|_| Cause::NotStarted)
}

/// Waits for the program's end without reaping it, then kills what is left of its group.
async fn wait(ended: &AsyncFd<OwnedFd>, group: &Group, over: oneshot::Sender<()>) -> Result<(), Cause> {
    // The guard is of no use: the descriptor never becomes unreadable again.
    ended.readable().await.map(drop).map_err(|_| Cause::Killed)?;
    group.kill();
    drop(over);
    Ok(())
}

/// Ends a moment after the program.
async fn grace(is_over: oneshot::Receiver<()>) {
    if is_over.await.is_err() {
        tokio::time::sleep(AFTERGLOW).await;
    }
}

/// A program need not read its question: a closed pipe is no error.
async fn write(mut stdin: ChildStdin, question: &[u8]) {
    if let Err(error) = stdin.write_all(question).await {
        tracing::trace!(%error, "program did not read its question");
    }
}

async fn read(pipe: impl AsyncRead + Unpin, into: &mut Vec<u8>) -> Result<(), Cause> {
    let mut bounded = pipe.take(OUTPUT_LIMIT + 1);
    if let Err(error) = bounded.read_to_end(into).await {
        tracing::trace!(%error, "program's output");
    }
    if bounded.limit() == 0 { Err(Cause::OutputTooLarge) } else { Ok(()) }
}

fn check(program: &Path) -> Result<(), ExecError> {
    let look =
        |path: &Path| path.metadata().map_err(|error| ExecError::Missing { path: path.to_owned(), error });
    let file = look(program)?;
    if !file.is_file() || file.mode() & 0o111 == 0 {
        return Err(ExecError::NotExecutable(program.to_owned()));
    }
    let us = geteuid().as_raw();
    for path in program.ancestors() {
        let found = look(path)?;
        let ours = found.uid() == 0 || found.uid() == us;
        // In a sticky directory such as /tmp nobody can replace what is not theirs (inode(7)).
        let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if !ours || (found.mode() & 0o022 != 0 && !sticky) {
            return Err(ExecError::Writable(path.to_owned()));
        }
    }
    Ok(())
}
