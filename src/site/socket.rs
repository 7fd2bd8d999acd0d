//! The terminal's way to the running site: a socket in the file system, one line of JSON in, one out. Whoever can open it may switch.
//! Absent on purpose: the network. Its mode, 660, says who can.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::desk::{Action, By, Desk, NotDone, Report, Said, View};

/// Terminals at once.
const MOST: usize = 16;
/// For a terminal to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A question is no longer.
const LONGEST: u64 = 4 << 10;

/// What a terminal wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "kebab-case")]
pub enum Want {
    /// How everything is.
    View,
    /// Something done.
    Act {
        /// What.
        action: Action,
    },
    /// A report; the newest one unless it says which.
    Report {
        /// Of which visit.
        visit: Option<String>,
    },
}

/// What it gets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "got", rename_all = "kebab-case")]
pub enum Got {
    /// How everything is.
    View {
        /// All of it.
        view: Box<View>,
    },
    /// It is done.
    Done,
    /// It is not.
    NotDone {
        /// What the command ends with.
        code: u8,
        /// Why.
        said: Said,
    },
    /// A report, if there is one.
    Report {
        /// The report.
        report: Option<Report>,
    },
}

/// A bound socket.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds it; what a dead site left is replaced, a living one's is not.
    ///
    /// # Errors
    /// Another site answers there, or the disk's.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        let occupied =
            |what: &str| io::Error::new(io::ErrorKind::AddrInUse, format!("{}: {what}", path.display()));
        match std::fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(occupied("there is something that is no socket"));
            }
            Ok(_) if UnixStream::connect(path).await.is_ok() => {
                return Err(occupied("another site answers there"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // Made in a folder of our own and moved to its place with its mode: nobody else can reach it at any moment.
        let folder = path.with_extension(format!("new.{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        super::private_folder(&folder)?;
        let placed = place(&folder.join("s"), path);
        std::fs::remove_dir_all(&folder).ok();
        Ok(Self { listener: placed?, path: path.to_owned() })
    }

    /// Serves until `stop`, then takes the socket away.
    pub async fn serve(self, desk: Arc<dyn Desk>, stop: CancellationToken) {
        let seats = Arc::new(Semaphore::new(MOST));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else { continue };
                    let desk = Arc::clone(&desk);
                    tokio::spawn(async move {
                        let _seat = seat;
                        if let Err(e) = serve(stream, &*desk).await {
                            tracing::debug!("a terminal: {e}");
                        }
                    });
                }
                Err(e) => {
                    tracing::warn!("the terminal's socket: {e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        std::fs::remove_file(&self.path).ok();
    }
}

fn place(made: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(made)?;
    std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o660))?;
    std::fs::rename(made, path)?;
    Ok(listener)
}

async fn serve(stream: UnixStream, desk: &dyn Desk) -> io::Result<()> {
    let by = By::Terminal(who(&stream)?);
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(LONGEST));
    tokio::time::timeout(PATIENCE, read.read_until(b'\n', &mut line)).await??;
    let want: Want = serde_json::from_slice(&line)?;
    let got = match want {
        Want::View => Got::View { view: Box::new(desk.view()) },
        Want::Act { action } => match desk.act(action, by).await {
            Ok(()) => Got::Done,
            Err(why) => Got::NotDone { code: code(&why), said: why.said() },
        },
        Want::Report { visit } => {
            let newest = || desk.view().visits.into_iter().find(|past| past.reported).map(|past| past.visit);
            let report = match visit.or_else(newest) {
                Some(visit) => desk.report(&visit).await,
                None => None,
            };
            Got::Report { report }
        }
    };
    let mut answer = serde_json::to_vec(&got)?;
    answer.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&answer)).await??;
    Ok(())
}

/// interface.md: refused, usage, failed, cannot be written down.
fn code(why: &NotDone) -> u8 {
    match why {
        NotDone::TooLong(_) | NotDone::Closed => 77,
        NotDone::NoSuchName => 64,
        NotDone::Gone => 1,
        NotDone::Broken(_) => 254,
    }
}

/// As the kernel says (`SO_PEERCRED`, unix(7)).
fn who(stream: &UnixStream) -> io::Result<String> {
    let uid = stream.peer_cred()?.uid();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let login = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Ok(login.unwrap_or_else(|| format!("uid={uid}")))
}

/// Asks a running site.
///
/// # Errors
/// No site answers there, or it broke off.
pub async fn ask(path: &Path, want: &Want) -> io::Result<Got> {
    let mut stream = UnixStream::connect(path).await?;
    let mut line = serde_json::to_vec(want)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}
