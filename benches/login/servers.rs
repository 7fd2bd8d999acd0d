//! The two servers, started and stopped by the bench, and the folder that they and the clients share.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pforte::init::{Start, make_key, write_new};
use pforte::random::Random;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::roles::{self, Target};

const JANE: &str = "firm-jane.doe";
/// Technicians with a key.
const CROWD: usize = 64;

/// As many open files as the system lets us have, for us and what we start.
pub fn raise_open_files() {
    let now = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).ok();
}

/// Files, and the phone.
pub struct Stage {
    dir: TempDir,
    _phone: Child,
}

impl Stage {
    pub async fn set() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path();
        let mut start = Start::example(&Random::system());
        std::fs::write(root.join("phone"), "approve")?;
        let (phone, url) = roles::phone(root, &start.webhook_secret).await?;
        start.gateway =
            start.gateway.replace("127.0.0.1:2222", "127.0.0.1:0").replace("http://127.0.0.1:8099/ask", &url);
        // A generator of load comes from one address, as one person.
        start.gateway.push_str(
            "\n[limits]\nunproven = 4096\nunproven_per_source = 4096\nconnections = 8192\nconnections_per_user = 8192\n",
        );
        start.konnektor_password = "not-used".into();
        start.write(root)?;
        let key = make_key(&root.join("jane"), JANE)?;
        let public = format!("{}\n", key.public_key().to_openssh()?);
        write_new(&root.join(format!("keys/{JANE}.pub")), public.as_bytes(), 0o644)?;
        for n in 1..CROWD {
            let key = make_key(&root.join(format!("jane{n}")), JANE)?;
            let line = format!("{}\n", key.public_key().to_openssh()?);
            write_new(&root.join(format!("keys/firm-jane{n}.doe.pub")), line.as_bytes(), 0o644)?;
        }
        write_new(&root.join("authorized_keys"), public.as_bytes(), 0o600)?;
        make_key(&root.join("sshd_host"), "sshd")?;
        Ok(Self { dir, _phone: phone })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A server whose processes can be counted.
pub trait Server {
    /// The process that was started.
    fn pid(&self) -> u32;
}

/// `pforte serve`.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    pub async fn start(stage: &Stage) -> Result<Self> {
        Self::start_build(stage, Path::new(env!("CARGO_BIN_EXE_pforte"))).await
    }

    /// Another build of it, for a comparison by turns.
    pub async fn start_build(stage: &Stage, program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--config"])
            .arg(stage.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("pforte")?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
        let mut address = None;
        while address.is_none() {
            let line = lines.next_line().await?.context("pforte does not start")?;
            address = line.rsplit_once("listening on ").and_then(|(_, at)| at.trim().parse().ok());
        }
        // What it says is read on, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address: address.context("no address")? })
    }

    pub fn target(&self, stage: &Stage) -> Target {
        Target {
            address: self.address,
            user: JANE.into(),
            key: stage.path().join("jane"),
            command: "whoami".into(),
            sign: Some("pforte> ".into()),
            hop: None,
            crowd: true,
        }
    }

    pub async fn stop(self) -> Result<()> {
        end(self.child).await
    }

    /// SIGKILL.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

impl Server for Gateway {
    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}

/// The system's sshd with a configuration of its own.
pub struct Sshd {
    child: Child,
    address: SocketAddr,
}

impl Sshd {
    pub async fn start(stage: &Stage) -> Result<Self> {
        // Its unprivileged child is locked in there; Debian's service makes it.
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").context("as root only")?;
        // sshd takes no listening socket: a free port is looked for, and tried again if somebody was quicker.
        for _ in 0..5 {
            let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let dir = stage.path();
            let config: PathBuf = dir.join("sshd_config");
            // Without HOME no shell reads root's own start-up files, which are none of sshd's cost.
            let text = format!(
                "ListenAddress {address}\nHostKey {0}/sshd_host\nAuthorizedKeysFile {0}/authorized_keys\nStrictModes no\n\
                 PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n\
                 KexAlgorithms curve25519-sha256\nMaxStartups 4096:100:4096\nPerSourceMaxStartups none\nMaxSessions 64\n\
                 LoginGraceTime 60\nPidFile none\nPrintMotd no\nPrintLastLog no\nLogLevel ERROR\nUseDNS no\nSetEnv HOME={0}/empty\n",
                dir.display()
            );
            std::fs::write(&config, text)?;
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(&config)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .context("/usr/sbin/sshd: openssh-server")?;
            for _ in 0..200 {
                if std::net::TcpStream::connect(address).is_ok() {
                    return Ok(Self { child, address });
                }
                if child.try_wait()?.is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        anyhow::bail!("sshd does not start")
    }

    pub fn target(&self, stage: &Stage) -> Target {
        Target {
            address: self.address,
            user: "root".into(),
            key: stage.path().join("jane"),
            command: "/bin/true".into(),
            sign: None,
            hop: None,
            crowd: false,
        }
    }

    pub async fn stop(self) -> Result<()> {
        end(self.child).await
    }
}

impl Server for Sshd {
    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}

/// SIGTERM, and its end.
async fn end(mut child: Child) -> Result<()> {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).context("it has ended")?;
    rustix::process::kill_process(pid, Signal::TERM)?;
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    ensure!(ended.is_ok(), "a server does not end");
    Ok(())
}
