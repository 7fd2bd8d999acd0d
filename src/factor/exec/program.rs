//! A program of the operator's, checked once and run without a shell: who asks gives its arguments and its stdin.
//! Absent on purpose: what an exit code means, the gateway's environment, and any log of what the program writes.
//!
//! What the program starts ends with it: the whole process group is killed. (A process that makes a session of its own
//! with setsid(2) escapes that; it cannot keep us waiting either way.)

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::factor::Cause;

/// The most bytes the program may write to stdout, and again to stderr.
const OUTPUT_LIMIT: u64 = 64 * 1024;
/// How long what a program wrote last is still read after its end.
const AFTERGLOW: Duration = Duration::from_millis(200);

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadProgram {
    /// No program, or not by its absolute path.
    #[error("the program must be given by its absolute path")]
    NotAbsolute,
    /// The program, or a directory above it, cannot be looked at.
    #[error("{path}: {error}")]
    Missing {
        /// What was looked at.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The program is not a file that can be executed.
    #[error("{0}: not an executable file")]
    NotExecutable(PathBuf),
    /// Somebody else than root and us could change the program, or put another in its place.
    #[error(
        "{0}: others could change it (owner must be root or this user, and not writable by group or others)"
    )]
    Writable(PathBuf),
}

/// A program that was checked.
pub struct Program(PathBuf);

/// How a program ended.
pub struct Ended {
    /// Its status, or why there is none.
    pub status: Result<ExitStatus, Cause>,
    /// The first line that it wrote to stderr, at most 200 characters; empty if none. It may hold anything.
    pub complaint: String,
}

impl Program {
    /// Checks it: absolute, executable, and under nobody's control but root's and ours, up to `/`.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, BadProgram> {
        let path = path.into();
        if !path.is_absolute() {
            return Err(BadProgram::NotAbsolute);
        }
        // Links are followed once, here: what was checked is what runs.
        let path = path.canonicalize().map_err(|error| BadProgram::Missing { path, error })?;
        check(&path)?;
        Ok(Self(path))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the second factor's programs are where the gateway runs one"
    )]
    fn spawn<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Running, Cause> {
        let child = Command::new(&self.0)
            .args(arguments)
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
            tracing::warn!(program = %self.0.display(), %error, "second factor not started");
            Cause::NotStarted
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.map(|id| Running { group: Group(id), child }).ok_or(Cause::NotStarted)
    }

    /// Starts it, writes `input` to its stdin, and waits for its end and no longer. Dropping the future kills it.
    pub async fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Ended {
        let mut complained = Vec::new();
        let status = match self.spawn(arguments) {
            Ok(running) => attend(running, input, &mut complained).await,
            Err(cause) => Err(cause),
        };
        let complaint = String::from_utf8_lossy(&complained);
        let complaint = complaint.lines().next().unwrap_or_default().chars().take(200).collect();
        Ended { status, complaint }
    }
}

async fn attend(mut running: Running, input: &[u8], complained: &mut Vec<u8>) -> Result<ExitStatus, Cause> {
    let pipes = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(Cause::NotStarted) };
    // The program stays a zombie until its group is killed: so the group's number cannot be anybody else's yet.
    let ended = watch(running.group.0)?;

    let mut said = Vec::new();
    let (over, is_over) = oneshot::channel();
    let end = wait(&ended, &running.group, over);
    let talk = async {
        let streams = async {
            let read = async { tokio::try_join!(read(stdout, &mut said), read(stderr, complained)) };
            tokio::join!(write(stdin, input), read).1.map(|_| ())
        };
        tokio::select! {
            read = streams => read,
            () = grace(is_over) => Ok(()),
        }
    };
    tokio::try_join!(end, talk)?;
    running.child.wait().await.map_err(|_| Cause::Killed)
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

/// A program need not read its input: a closed pipe is no error.
async fn write(mut stdin: ChildStdin, input: &[u8]) {
    if let Err(error) = stdin.write_all(input).await {
        tracing::trace!(%error, "program did not read its input");
    }
}

async fn read(pipe: impl AsyncRead + Unpin, into: &mut Vec<u8>) -> Result<(), Cause> {
    let mut bounded = pipe.take(OUTPUT_LIMIT + 1);
    if let Err(error) = bounded.read_to_end(into).await {
        tracing::trace!(%error, "program's output");
    }
    if bounded.limit() == 0 { Err(Cause::OutputTooLarge) } else { Ok(()) }
}

fn check(program: &Path) -> Result<(), BadProgram> {
    let look =
        |path: &Path| path.metadata().map_err(|error| BadProgram::Missing { path: path.to_owned(), error });
    let file = look(program)?;
    if !file.is_file() || file.mode() & 0o111 == 0 {
        return Err(BadProgram::NotExecutable(program.to_owned()));
    }
    for path in program.ancestors() {
        let found = look(path)?;
        let ours = crate::owner::is_ours(found.uid());
        // In a sticky directory such as /tmp nobody can replace what is not theirs (inode(7)).
        let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if !ours || (found.mode() & 0o022 != 0 && !sticky) {
            return Err(BadProgram::Writable(path.to_owned()));
        }
    }
    Ok(())
}
