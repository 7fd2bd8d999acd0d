//! A customer's machine: the system's sshd on loopback, as root, with its own folder, keys and one account.
//! Absent on purpose: the gateway.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real servers; helpers of tests are tests"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Who runs the tests: sshd lets nobody else in but as themselves.
pub const LOGIN: &str = "root";

/// The host's name for technicians.
pub const HOST: &str = "backup.praxis-mueller.example";

/// A client's master connection.
pub struct Master {
    socket: PathBuf,
    _process: Child,
}

impl Master {
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// A running sshd. Dropped, it is gone.
pub struct Sshd {
    pub dir: TempDir,
    pub port: u16,
    process: Child,
}

impl Sshd {
    /// With these further lines of `sshd_config`; no key is let in yet.
    pub async fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        keygen(&dir.path().join("host"), "ed25519").await;
        let port = free_port().await;
        let process = spawn(dir.path(), port, more).await;
        Self { dir, port, process }
    }

    /// Lets this public key in.
    pub fn authorize(&self, line: &str) {
        std::fs::write(self.dir.path().join("authorized"), format!("{line}\n")).unwrap();
    }

    /// Its public host key, one line.
    pub fn host_key(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("host.pub")).unwrap().trim().to_owned()
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it, with all that runs in it.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// How many connections it serves: its children.
    pub fn connections(&self) -> usize {
        self.children().len()
    }

    /// Ends all it serves, and none of itself.
    pub async fn kill_sessions(&self) {
        for pid in self.children() {
            Command::new("kill").args(["-9", &pid]).status().await.unwrap();
        }
    }

    fn children(&self) -> Vec<String> {
        let pid = self.process.id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// The same again, with these further lines.
    pub async fn restart(&mut self, more: &str) {
        self.kill().await;
        self.process = spawn(self.dir.path(), self.port, more).await;
    }

    /// Another host key from now on, at the same port.
    pub async fn changes_its_key(&mut self, kind: &str, more: &str) {
        self.kill().await;
        for file in ["host", "host.pub"] {
            std::fs::remove_file(self.path().join(file)).unwrap();
        }
        keygen(&self.path().join("host"), kind).await;
        self.process = spawn(self.dir.path(), self.port, more).await;
    }
}

async fn keygen(path: &Path, kind: &str) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(path).status().await;
    assert!(made.unwrap().success());
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn spawn(dir: &Path, port: u16, more: &str) -> Child {
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized\n\
         PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
         PermitRootLogin yes\nPrintMotd no\nPrintLastLog no\nAcceptEnv LANG LC_* EMAIL\nMaxStartups 200\n\
         MaxSessions 100\nSetEnv HOME={dir}\nPermitUserEnvironment no\nSubsystem sftp internal-sftp\nLogLevel ERROR\n{more}\n",
        dir = dir.display()
    );
    std::fs::write(dir.join("config"), config).unwrap();
    if !Path::new("/run/sshd").exists() {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-e", "-f"]).arg(dir.join("config"));
    let log = std::fs::File::create(dir.join("log")).unwrap();
    sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    let process = sshd.spawn().unwrap();
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return process;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("sshd does not start: {}", std::fs::read_to_string(dir.join("log")).unwrap_or_default());
}

/// An OpenSSH client's configuration: `gateway`, and the site's hosts through it.
pub fn ssh_config(dir: &Path, port: u16, user: &str, key: &str) -> PathBuf {
    let host_key = std::fs::read_to_string(dir.join("state/host_ed25519.pub")).unwrap();
    let known = dir.join("known_hosts_all");
    std::fs::write(&known, format!("[127.0.0.1]:{port},*.praxis-mueller.example {host_key}")).unwrap();
    let file = dir.join(format!("ssh_config_{user}_{key}"));
    let text = format!(
        "Host *\n  User {user}\n  IdentityFile {dir}/{key}\n  IdentitiesOnly yes\n  IdentityAgent none\n\
         \x20 UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n\
         \x20 SendEnv LANG LC_* EMAIL\n\
         Host gateway\n  HostName 127.0.0.1\n  Port {port}\n\
         Host *.praxis-mueller.example\n  ProxyJump gateway\n",
        dir = dir.display(),
        known = known.display(),
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// A gateway with `backup.praxis-mueller.example` behind it, and the client's configuration for both.
pub struct Stage {
    pub door: crate::door::Door,
    pub sshd: Sshd,
    pub config: PathBuf,
}

/// Everybody of the firm may go to the backup server.
pub const RULES: &str =
    "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\", \"forward backup\"]\non = [\"praxis-mueller\"]\n";

impl Stage {
    /// `more` goes into the host's table of the site's file.
    pub async fn set(more: &str) -> Self {
        Self::with(more, crate::door::Setup { rules: Some(RULES.into()), ..crate::door::Setup::default() })
            .await
    }

    pub async fn with(more: &str, setup: crate::door::Setup) -> Self {
        let sshd = Sshd::start("").await;
        let door = crate::door::Door::open(setup).await;
        let target_key = std::fs::read_to_string(door.path().join("state/target_ed25519.pub")).unwrap();
        sshd.authorize(&target_key);
        let file = door.path().join("policy/sites/praxis-mueller.toml");
        let site = std::fs::read_to_string(&file).unwrap();
        let host =
            format!("[hosts.backup]\naddress = \"127.0.0.1:{}\"\nlogin = \"{LOGIN}\"\n{more}\n", sshd.port);
        std::fs::write(&file, format!("{site}\n{host}")).unwrap();
        door.reload().await;
        let config = ssh_config(door.path(), door.port, crate::door::JANE, "jane");
        Self { door, sshd, config }
    }

    /// `ssh backup.praxis-mueller.example WORDS`
    pub async fn ssh(&self, words: &[&str]) -> crate::door::Ran {
        let mut ssh = self.command("ssh");
        ssh.arg(HOST).args(words);
        crate::door::ran(ssh).await
    }

    /// `ssh`, `scp` or `sftp` with the configuration.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(&self.config).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A master connection to the host; [`Stage::over`] uses it.
    pub async fn master(&self) -> Master {
        let socket = self.door.path().join("inner-master");
        let mut ssh = self.command("ssh");
        ssh.args(["-M", "-N", "-S"]).arg(&socket).arg(HOST);
        let process = ssh.spawn().unwrap();
        for _ in 0..2000 {
            if socket.exists() {
                return Master { socket, _process: process };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no master");
    }

    /// `ssh HOST WORDS` over a master.
    pub fn over<W: AsRef<std::ffi::OsStr>>(&self, master: &Master, words: &[W]) -> Command {
        let mut ssh = self.command("ssh");
        ssh.arg("-S").arg(&master.socket).arg(HOST).args(words);
        ssh
    }

    /// `inner.py` takes these steps as jane with her key, after one approval; it waits for nothing.
    pub async fn steps(&self, steps: serde_json::Value) -> Vec<serde_json::Value> {
        self.steps_at(HOST, 22, steps, std::future::ready(())).await
    }

    /// The same to any host; `meanwhile` runs when it says that it waits.
    pub async fn steps_at(
        &self,
        host: &str,
        port: u16,
        steps: serde_json::Value,
        meanwhile: impl Future<Output = ()>,
    ) -> Vec<serde_json::Value> {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let venv = std::env::var("PFORTE_VENV")
            .expect("PFORTE_VENV names no Python environment; tests/run makes one");
        let mut python = Command::new(Path::new(&venv).join("bin/python"));
        python
            .args(["-W", "ignore"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/inner.py"))
            .current_dir(self.door.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = python.spawn().unwrap();
        let order = serde_json::json!({
            "port": self.door.port, "user": crate::door::JANE, "key": "jane", "host": host, "host_port": port, "steps": steps,
        });
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut meanwhile = Some(meanwhile);
        let all = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("inner.py broke");
                if line == "#ready" {
                    meanwhile.take().expect("it waits once").await;
                    stdin.write_all(b"\n").await.unwrap();
                } else {
                    return serde_json::from_str(&line).unwrap();
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(2), all).await.expect("inner.py hangs")
    }

    /// From now on another server stands at the host's address.
    pub async fn points_to(&self, port: u16) {
        let file = self.door.path().join("policy/sites/praxis-mueller.toml");
        let site = std::fs::read_to_string(&file).unwrap();
        let site = site.replace(&format!("127.0.0.1:{}", self.sshd.port), &format!("127.0.0.1:{port}"));
        std::fs::write(&file, site).unwrap();
        self.door.reload().await;
    }

    pub async fn close(self) {
        self.door.close().await;
    }
}
