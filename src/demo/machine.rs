//! portal and backup: the system's sshd on loopback, each with a folder, a host key and an unprivileged account of its own.
//! Absent on purpose: root. Where the demo is root, they run as nobody in a view of the system of their own; else as whoever runs it.
//!
//! sshd takes no listening socket from outside, so the listener is ours and sshd serves one connection a process (`sshd -i`):
//! no port is guessed, and what it started goes with it.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use ssh_key::PublicKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::{JoinHandle, JoinSet};

use crate::init::{make_key, write_new};

/// Connections to one machine at once.
const AT_ONCE: usize = 32;
/// nobody and nogroup, wherever we looked.
const NOBODY: u32 = 65_534;
/// The account that nobody is called at a machine.
const SUPPORT: &str = "support";

/// An sshd of its own mounts: accounts, groups and /home are the machine's, then root is gone for good. Without a group
/// `tty`, sshd leaves a terminal's group as it is, which nobody could not change (`pty_setowner` of its sshpty.c).
const VIEW: &str = "mount --bind \"$1/sshd/passwd\" /etc/passwd && mount --bind \"$1/sshd/group\" /etc/group && \
    mount --bind \"$1\" /home || exit 1\n\
    echo \"$2\" 2>/dev/null >/proc/sys/kernel/hostname\n\
    shift 2; cd /home/support && exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --pdeathsig=KILL -- \"$@\"";

/// Why there are no machines; the demo goes on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    NoSshd,
    /// It is there and does not run here: its own words.
    NotHere(String),
}

/// Whom the gateway lets in there: its own key, and technicians by its authority.
pub(super) struct Trusted<'t> {
    /// A line of `authorized_keys`.
    pub key: &'t str,
    /// A line of `TrustedUserCAKeys`.
    pub authority: &'t str,
    /// For `AuthorizedPrincipalsFile`.
    pub principal: &'t str,
}

/// A running machine. Dropped, it is gone.
pub(super) struct Machine {
    name: String,
    /// How the gateway proves itself there, in the words of a site's file.
    proof: String,
    address: SocketAddr,
    host_key: PublicKey,
    /// The account there.
    login: String,
    serving: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// How an sshd is started for one connection.
#[derive(Clone)]
struct Launch {
    program: PathBuf,
    words: Vec<OsString>,
    log: PathBuf,
}

impl Machine {
    /// `dir` is its folder: `sshd/` for the server, `support/` for who logs in.
    pub(super) async fn start(
        dir: &Path,
        name: &str,
        proof: &str,
        trusted: &Trusted<'_>,
    ) -> Result<Result<Self, Absent>> {
        let Some(sshd) = find("sshd") else { return Ok(Err(Absent::NoSshd)) };
        let root = rustix::process::geteuid().is_root();
        let (home, inside) = (dir.join(SUPPORT), dir.join("sshd"));
        for (folder, mode) in [(dir, 0o755), (&inside, 0o755), (&home, 0o700)] {
            DirBuilder::new().recursive(true).mode(mode).create(folder)?;
        }
        let seen = if root { Path::new("/home") } else { dir };
        let key = make_key(&inside.join("host"), name)?;
        let readme = format!("You are at {name}, a machine of the demo. This folder is its own.\n");
        for (file, text) in [
            ("sshd/config", config(seen)),
            ("sshd/authorized", format!("{}\n", trusted.key)),
            ("sshd/user_ca.pub", format!("{}\n", trusted.authority)),
            ("sshd/principals", format!("{}\n", trusted.principal)),
            ("support/README", readme),
            // A shell begins where its user is at home, which is not its own home here.
            ("support/.profile", "cd\n".into()),
            ("support/.bashrc", "[ \"${SHLVL:-1}\" -gt 1 ] || cd\n".into()),
        ] {
            write_new(&dir.join(file), text.as_bytes(), 0o644)?;
        }
        let login = if root { SUPPORT.to_owned() } else { own_name().await? };
        let launch = if root {
            accounts(&inside)?;
            for path in ["sshd/host", "support", "support/README", "support/.profile", "support/.bashrc"] {
                chown(dir.join(path), Some(NOBODY), Some(NOBODY))?;
            }
            Launch::viewed(dir, name, &sshd)
        } else {
            Launch::plain(dir, &sshd)
        };
        if let Err(why) = launch.tried().await {
            return Ok(Err(Absent::NotHere(why)));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Ok(Self {
            name: name.to_owned(),
            proof: proof.to_owned(),
            address: listener.local_addr()?,
            host_key: key.public_key().clone(),
            login,
            serving: tokio::spawn(launch.serve(listener)),
        }))
    }

    /// For its site's file.
    pub(super) fn table(&self) -> Result<String> {
        Ok(format!(
            "\n[hosts.{}]\naddress = \"{}\"\nhost_key = \"{}\"\nlogin = \"{}\"\nproof = \"{}\"\ninner = \"recorded\"\n",
            self.name,
            self.address,
            self.host_key.to_openssh()?,
            self.login,
            self.proof
        ))
    }
}

impl Launch {
    fn viewed(dir: &Path, name: &str, sshd: &Path) -> Self {
        let mut words: Vec<OsString> =
            ["--mount", "--uts", "/bin/sh", "-c", VIEW, "sh"].map(Into::into).into();
        words.extend([dir.into(), name.into(), sshd.into()]);
        words.extend(["-e", "-f", "/home/sshd/config"].map(Into::into));
        Self { program: "unshare".into(), words, log: dir.join("sshd/log") }
    }

    /// Without setpriv (macOS), sshd goes once its connection has ended, which the gateway's end brings about.
    fn plain(dir: &Path, sshd: &Path) -> Self {
        let mut words: Vec<OsString> = ["-e", "-f"].map(Into::into).into();
        words.push(dir.join("sshd/config").into());
        let log = dir.join("sshd/log");
        match find("setpriv") {
            None => Self { program: sshd.to_owned(), words, log },
            Some(program) => {
                let before = ["--no-new-privs", "--pdeathsig=KILL", "--"].map(Into::into);
                let words = before.into_iter().chain([sshd.into()]).chain(words).collect();
                Self { program, words, log }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the demo's machines are the system's own sshd")]
    fn command(&self, mode: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.words).arg(mode).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        // Ctrl-C is for the demo, which closes the gateway first.
        command.process_group(0);
        command
    }

    /// Does it start here, with this configuration? If not, its last words.
    async fn tried(&self) -> Result<(), String> {
        let tried =
            self.command("-t").output().await.map_err(|e| format!("{}: {e}", self.program.display()))?;
        if tried.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tried.stderr);
        Err(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim().to_owned())
    }

    async fn serve(self, listener: TcpListener) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if running.len() < AT_ONCE => match accepted {
                    Ok((stream, _)) => match self.begin(stream) {
                        Ok(mut child) => {
                            running.spawn(async move { child.wait().await });
                        }
                        Err(e) => tracing::warn!("a machine's sshd does not start: {e:#}"),
                    },
                    Err(e) => return tracing::error!("a machine's listener: {e}"),
                },
                Some(_) = running.join_next() => {}
            }
        }
    }

    fn begin(&self, stream: TcpStream) -> Result<tokio::process::Child> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let stream = OwnedFd::from(stream);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut sshd = self.command("-i");
        sshd.stdin(stream.try_clone()?).stdout(stream).stderr(log).spawn().context("spawn")
    }
}

/// As an operator would write it for a machine that only its gateway lets in.
fn config(at: &Path) -> String {
    let at = at.display();
    format!(
        "HostKey \"{at}/sshd/host\"\nAuthorizedKeysFile \"{at}/sshd/authorized\"\nTrustedUserCAKeys \"{at}/sshd/user_ca.pub\"\n\
         AuthorizedPrincipalsFile \"{at}/sshd/principals\"\nAuthenticationMethods publickey\nUsePAM no\nStrictModes no\n\
         PidFile none\nPrintMotd no\nPrintLastLog no\nX11Forwarding no\nAllowAgentForwarding no\nAllowTcpForwarding local\n\
         AcceptEnv LANG LC_* EMAIL\nSetEnv HOME=\"{at}/support\"\nSubsystem sftp internal-sftp -d \"{at}/support\"\nLogLevel ERROR\n"
    )
}

/// The machine's accounts: the system's, and before them nobody under another name and with a shell.
fn accounts(inside: &Path) -> Result<()> {
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    // `*`: no password, and not locked.
    let support = format!("{SUPPORT}:*:{NOBODY}:{NOBODY}:a machine of the demo:/home/{SUPPORT}:{shell}\n");
    let passwd = support + &std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let groups = std::fs::read_to_string("/etc/group").context("/etc/group")?;
    let group: String = groups.split_inclusive('\n').filter(|line| !line.starts_with("tty:")).collect();
    write_new(&inside.join("passwd"), passwd.as_bytes(), 0o644)?;
    write_new(&inside.join("group"), group.as_bytes(), 0o644)
}

/// Whoever runs the demo, by name: sshd lets nobody else in.
#[expect(clippy::disallowed_methods, reason = "the C library's own answer, without its unsafe interface")]
async fn own_name() -> Result<String> {
    let id = Command::new("id").arg("-un").stdin(Stdio::null()).output().await.context("id -un")?;
    Ok(String::from_utf8(id.stdout)?.trim().to_owned())
}

/// Where the system keeps it; sbin stands in few people's PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from);
    let runs =
        |file: &PathBuf| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    folders.into_iter().chain(std::env::split_paths(&path)).map(|f| f.join(program)).find(runs)
}
