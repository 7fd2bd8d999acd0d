//! A gateway, a phone and a Konnektor on loopback for one test, and the clients that knock at it.
//! Absent on purpose: any way into the gateway but its port.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real clients; helpers of tests are tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use pforte::clock::Clock;
use pforte::factor::phone::{Mode, Phone, PhoneConfig};
use pforte::house::{self, House};
use pforte::init::{Start, make_key};
use pforte::konnektor::simulator::{self, Simulator};
use pforte::random::Random;
use pforte::secret::Secret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

pub const JANE: &str = "firm-jane.doe";
pub const PASSWORD: &str = "Geheim-für-Tests!";

/// What a test wants otherwise than the example has it.
pub struct Setup {
    /// Replaces texts in policy/gateway.toml.
    pub gateway: Vec<(String, String)>,
    /// Goes behind policy/gateway.toml.
    pub gateway_more: String,
    /// Replaces policy/rules.toml.
    pub rules: Option<String>,
    /// Goes behind the example's site file.
    pub site_more: String,
    /// `policy/sites/NAME.toml` beside the example's, with their passwords in `secrets/NAME`.
    pub sites: Vec<(String, String)>,
    /// Where questions go instead of to the phone.
    pub phone_url: Option<String>,
    /// More files: path below the folder, content, mode. `@DIR@` in `gateway_more` is that folder.
    pub files: Vec<(&'static str, String, u32)>,
    /// The box lets nobody do anything before its password was changed.
    pub forced_password_change: bool,
    /// What the phone does: approve, deny, silent, fraud, slow, garbage, error500.
    pub phone: &'static str,
    /// How the phone's answers travel.
    pub phone_mode: Mode,
    /// How long a question stays open.
    pub timeout: &'static str,
    /// How long the box thinks about each request.
    pub box_latency: Duration,
    /// How long the person takes.
    pub phone_latency: Duration,
    /// The time.
    pub clock: Clock,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            gateway: Vec::new(),
            gateway_more: String::new(),
            rules: None,
            site_more: String::new(),
            sites: Vec::new(),
            phone_url: None,
            files: Vec::new(),
            forced_password_change: false,
            phone: "approve",
            phone_mode: Mode::Reply,
            timeout: "60s",
            box_latency: Duration::ZERO,
            phone_latency: Duration::ZERO,
            clock: Clock::system(),
        }
    }
}

/// All of it, running. Dropped, it is gone.
pub struct Door {
    pub dir: TempDir,
    pub house: House,
    pub phone: Phone,
    pub konnektor: Simulator,
    pub port: u16,
}

impl Door {
    /// The example's configuration, and jane with an Ed25519 key in `DIR/jane`.
    pub async fn open(setup: Setup) -> Self {
        house::choose_tls_provider();
        let dir = tempfile::tempdir().unwrap();
        let files = Files::write(&dir, &setup).await;
        let loaded = house::load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
        let opening = House::open(dir.path(), loaded, setup.clock.clone(), Random::system());
        let house = Box::pin(opening).await.unwrap();
        let port = house.addresses()[0].port();
        let Files { phone, konnektor } = files;
        Self { dir, house, phone, konnektor, port }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Registers a public key (one line, options included) for `user`.
    pub fn register(&self, user: &str, line: &str) {
        std::fs::write(self.path().join(format!("keys/{user}.pub")), format!("{}\n", line.trim())).unwrap();
    }

    /// Makes a key with ssh-keygen, `DIR/name`, and returns its public line.
    pub async fn keygen(&self, name: &str, arguments: &[&str]) -> String {
        let path = self.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .args(arguments)
            .output();
        let made = made.await.unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::read_to_string(path.with_extension("pub")).unwrap()
    }

    /// Reads policy/ and keys/ again, as a changed file makes the gateway do.
    pub async fn reload(&self) {
        self.house.reload().await.unwrap_or_else(|problems| panic!("{problems}"));
    }

    pub fn phone_does(&self, what: &str) {
        std::fs::write(self.path().join("phone"), what).unwrap();
    }

    /// The system's ssh as jane, with these options before and these words behind the host.
    pub async fn ssh(&self, words: &[&str]) -> Ran {
        self.ssh_as(JANE, "jane", &[], words).await
    }

    /// The system's ssh as anybody, with the private key `DIR/key`.
    pub async fn ssh_as(&self, user: &str, key: &str, options: &[&str], words: &[&str]) -> Ran {
        let mut ssh = self.ssh_command(user, key);
        ssh.args(options).arg("127.0.0.1").args(words);
        ran(ssh).await
    }

    /// Has these lines typed into OpenSSH by an askpass program, one a question, then the last one again and again. What
    /// was asked stands in `DIR/prompts`.
    pub fn types(&self, ssh: &mut Command, lines: &[&str]) {
        let (askpass, list) = (self.path().join("askpass"), self.path().join("lines"));
        std::fs::write(&list, lines.join("\n") + "\n").unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$1\" >> '{1}'\nhead -n 1 '{0}'\nif [ \"$(wc -l < '{0}')\" -gt 1 ]; then sed -i 1d '{0}'; fi\n",
            list.display(),
            self.path().join("prompts").display(),
        );
        std::fs::remove_file(&askpass).ok();
        pforte::init::write_new(&askpass, script.as_bytes(), 0o700).unwrap();
        ssh.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":none");
    }

    /// ssh with everything but its last options, host and words.
    pub fn ssh_command(&self, user: &str, key: &str) -> Command {
        self.ssh_command_to(self.port, user, key)
    }

    /// The same to another port, behind which the gateway is.
    pub fn ssh_command_to(&self, port: u16, user: &str, key: &str) -> Command {
        let mut ssh = self.ssh_without_key(port, user);
        ssh.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i"]).arg(self.path().join(key));
        ssh
    }

    /// The same, and no key chosen yet either.
    pub fn ssh_without_key(&self, port: u16, user: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"])
            .args(["-o", "HostKeyAlias=gateway", "-o", "LogLevel=INFO", "-o"])
            .arg(format!("UserKnownHostsFile={}", self.path().join("known_hosts").display()))
            .args(["-p", &port.to_string(), "-l", user])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        ssh
    }

    /// plink as `user` with a .ppk of `DIR/key`; the host key is given by its fingerprint.
    pub async fn plink(&self, user: &str, key: &str, options: &[&str], words: &[&str]) -> Ran {
        ran(self.plink_command(user, key, options, words).await).await
    }

    /// The same, not yet run.
    pub async fn plink_command(&self, user: &str, key: &str, options: &[&str], words: &[&str]) -> Command {
        let ppk = self.path().join(format!("{key}.ppk"));
        if !ppk.exists() {
            let mut convert = Command::new("puttygen");
            convert.arg(self.path().join(key)).args(["-O", "private", "-o"]).arg(&ppk);
            let converted = ran(convert).await;
            assert_eq!(converted.code, 0, "{converted:?}");
        }
        let mut plink = Command::new("plink");
        plink
            .env("PUTTYDIR", self.path().join("putty"))
            .args(["-ssh", "-noagent", "-no-antispoof", "-P", &self.port.to_string(), "-l", user, "-i"])
            .arg(ppk)
            .args(["-hostkey", &self.host_key_fingerprint()])
            .args(options)
            .arg("127.0.0.1")
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        plink
    }

    /// dbclient as `user` with `DIR/key`, converted; it keeps no host keys here.
    pub async fn dbclient(&self, user: &str, key: &str, options: &[&str], words: &[&str]) -> Ran {
        ran(self.dbclient_command(user, key, options, words).await).await
    }

    /// The same, not yet run.
    pub async fn dbclient_command(&self, user: &str, key: &str, options: &[&str], words: &[&str]) -> Command {
        let converted = self.path().join(format!("{key}.dropbear"));
        if !converted.exists() {
            let mut convert = Command::new("dropbearconvert");
            convert.args(["openssh", "dropbear"]).arg(self.path().join(key)).arg(&converted);
            let done = ran(convert).await;
            assert_eq!(done.code, 0, "{done:?}");
        }
        let mut dbclient = Command::new("dbclient");
        dbclient
            .env("HOME", self.path())
            .args(["-y", "-y", "-p", &self.port.to_string(), "-l", user, "-i"])
            .arg(converted)
            .args(options)
            .arg("127.0.0.1")
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        dbclient
    }

    /// What `knock.py` is told when each connection takes these steps: `[["sign", user, key], ["push", user]]`.
    pub async fn knock(&self, connections: Value) -> Vec<Vec<Value>> {
        let told = self.python(serde_json::json!({ "port": self.port, "connections": connections })).await;
        serde_json::from_value(told).unwrap()
    }

    /// paramiko's `SSHClient` as `user` with `DIR/key`; `disabled` are its `disabled_algorithms`.
    pub async fn paramiko(&self, user: &str, key: &str, command: &str, disabled: Value) -> Value {
        let key = self.path().join(key);
        let client =
            serde_json::json!({ "user": user, "key": key, "command": command, "disabled": disabled });
        self.python(serde_json::json!({ "port": self.port, "client": client })).await
    }

    /// The same with both factors: key, then keyboard-interactive, which is answered with these lines. What it showed
    /// stands in `shown`.
    pub async fn paramiko_typing(&self, user: &str, key: &str, command: &str, lines: &[&str]) -> Value {
        let key = self.path().join(key);
        let client = serde_json::json!({ "user": user, "key": key, "command": command, "types": lines });
        self.python(serde_json::json!({ "port": self.port, "client": client })).await
    }

    async fn python(&self, order: Value) -> Value {
        let venv = std::env::var("PFORTE_VENV")
            .expect("PFORTE_VENV names no Python environment with paramiko; tests/run makes one");
        let mut python = Command::new(Path::new(&venv).join("bin/python"));
        python
            .args(["-W", "ignore"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/door/knock.py"))
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = python.spawn().expect("PFORTE_VENV/bin/python cannot be run");
        let order = order.to_string();
        let mut stdin = child.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, order.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(90), child.wait_with_output());
        let output = output.await.expect("knock.py hangs").unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{order}\n{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Makes an Ed25519 key `DIR/name`; gives its public line.
    pub fn make_key(&self, name: &str) -> String {
        make_key(&self.path().join(name), name).unwrap().public_key().to_openssh().unwrap()
    }

    /// Puts the RSA key of so many bits that `tests/door/rsa` holds at `DIR/rsa-BITS`; gives its public line.
    pub fn rsa_key(&self, bits: u32) -> String {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/door/rsa/{bits}"));
        let to = self.path().join(format!("rsa-{bits}"));
        if !to.exists() {
            pforte::init::write_new(&to, &std::fs::read(&from).unwrap(), 0o600).unwrap();
        }
        std::fs::copy(from.with_extension("pub"), to.with_extension("pub")).unwrap();
        std::fs::read_to_string(from.with_extension("pub")).unwrap().trim().to_owned()
    }

    /// `SHA256:…` of the gateway's host key.
    pub fn host_key_fingerprint(&self) -> String {
        let line = std::fs::read_to_string(self.path().join("state/host_ed25519.pub")).unwrap();
        line.parse::<ssh_key::PublicKey>().unwrap().fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }

    /// The journal so far, line by line.
    pub fn journal(&self) -> Vec<Value> {
        journal_in(self.path())
    }

    /// Lines of one kind.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.journal().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Waits until the journal holds `count` lines of a kind; the last lines of a connection come after its client has gone.
    pub async fn wait_for(&self, event: &str, count: usize) -> Vec<Value> {
        for _ in 0..3000 {
            let lines = self.events(event);
            if lines.len() >= count {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {count} lines of {event}: {:#?}", self.journal());
    }

    /// Ends the gateway in order and verifies what it wrote.
    pub async fn close(mut self) {
        self.house.close().await;
        verify(self.path());
    }
}

struct Files {
    phone: Phone,
    konnektor: Simulator,
}

impl Files {
    async fn write(dir: &TempDir, setup: &Setup) -> Self {
        let root = dir.path();
        std::fs::create_dir(root.join("konnektor")).unwrap();
        let options = simulator::Options {
            latency: setup.box_latency,
            log_file: true,
            forced_password_change: setup.forced_password_change,
            ..simulator::Options::new(
                root.join("konnektor"),
                Secret::new(PASSWORD.into()),
                setup.clock.clone(),
            )
        };
        let konnektor = Simulator::start(options).await.unwrap();
        let mut start = Start::example(&Random::system());
        std::fs::write(root.join("phone"), setup.phone).unwrap();
        let phone = PhoneConfig {
            directory: root.to_owned(),
            secret: Secret::new(start.webhook_secret.clone()),
            mode: setup.phone_mode,
            latency: setup.phone_latency,
        };
        let phone = Phone::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), phone, setup.clock.clone())
            .unwrap();
        start.konnektor_password = PASSWORD.into();
        start.gateway = start
            .gateway
            .replace("127.0.0.1:2222", "127.0.0.1:0")
            .replace("http://127.0.0.1:8099/ask", setup.phone_url.as_ref().unwrap_or(&phone.url()))
            .replace("timeout = \"60s\"", &format!("timeout = \"{}\"", setup.timeout));
        for (from, to) in &setup.gateway {
            assert!(start.gateway.contains(from.as_str()), "the example does not hold {from:?}");
            start.gateway = start.gateway.replace(from.as_str(), to);
        }
        start.gateway.push_str(&setup.gateway_more.replace("@DIR@", &root.display().to_string()));
        if let Some(rules) = &setup.rules {
            start.rules.clone_from(rules);
        }
        start.site = start.site.replace("192.168.2.100:9443", &konnektor.address().to_string()).replace(
            "user = \"koco-root\"",
            &format!(
                "sds = \"{}\"\ncertificate = \"{}\"\nuser = \"koco-root\"",
                konnektor.address(),
                konnektor.certificate_pin()
            ),
        );
        start.site.push_str(&setup.site_more);
        start.write(root).unwrap();
        for (path, content, mode) in &setup.files {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            pforte::init::write_new(&root.join(path), content.as_bytes(), *mode).unwrap();
        }
        for (name, text) in &setup.sites {
            let text = text.replace("@BOX@", &konnektor.address().to_string());
            std::fs::write(root.join(format!("policy/sites/{name}.toml")), text).unwrap();
            pforte::init::write_new(&root.join(format!("secrets/{name}")), PASSWORD.as_bytes(), 0o600)
                .unwrap();
        }
        let jane = make_key(&root.join("jane"), JANE).unwrap();
        let line = jane.public_key().to_openssh().unwrap();
        std::fs::write(root.join(format!("keys/{JANE}.pub")), format!("{line}\n")).unwrap();
        let host_key = std::fs::read_to_string(root.join("state/host_ed25519.pub")).unwrap();
        std::fs::write(root.join("known_hosts"), format!("gateway {host_key}")).unwrap();
        Self { phone, konnektor }
    }
}

/// How a client ended.
#[derive(Debug, Clone)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a client to its end, at most a minute and a half.
pub async fn ran(mut command: Command) -> Ran {
    let output = tokio::time::timeout(Duration::from_secs(90), command.output());
    let Output { status, stdout, stderr } = output.await.expect("the client hangs").unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The journal below a configuration's folder.
pub fn journal_in(dir: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir.join("state/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Panics unless the journal is whole.
pub fn verify(dir: &Path) {
    let key = ssh_key::PublicKey::read_openssh_file(dir.join("state/journal_ed25519.pub")).unwrap();
    let report = pforte::journal::verify(&dir.join("state/journal"), &key).unwrap();
    assert!(report.is_sound(), "{report}");
}
