//! A small internet in network namespaces of our own: gateways and a technician, a practice's router with NAT, and a practice
//! behind it with the real `pforte site serve` and a machine to be maintained. As root.
//!
//! ```text
//! world 198.51.100.1 (.2)  ── w0 / r0 ──  router 198.51.100.77, masquerading, nothing new comes in  ── r1 / p0 ──  practice 192.168.77.2
//! ```
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::struct_field_names,
    reason = "helpers of tests are tests, and they run real programs"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pforte::init::{Start, make_key, write_new};
use pforte::random::Random;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub const SITE: &str = "praxis-mueller";
pub const HOST: &str = "backup.praxis-mueller.example";
pub const OUTER: &str = "198.51.100.77";

/// A namespace; dropped, it is gone with all that is in it.
pub struct Space(pub String);

impl Drop for Space {
    fn drop(&mut self) {
        std::process::Command::new("ip").args(["netns", "del", &self.0]).status().ok();
    }
}

impl Space {
    fn new(of: &str, letter: char) -> Self {
        let name = format!("pf-{of}-{letter}");
        run(&["ip", "netns", "add", &name]);
        run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
        Self(name)
    }

    /// A program in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Words in it that have to work.
    pub fn run(&self, words: &[&str]) {
        let mut all = vec!["ip", "netns", "exec", &self.0];
        all.extend(words);
        run(&all);
    }
}

fn run(words: &[&str]) {
    let done = std::process::Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The three of them, wired.
pub struct World {
    pub world: Space,
    pub router: Space,
    pub practice: Space,
    pub dir: TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let of = format!("{:x}", std::process::id());
        let (world, router, practice) = (Space::new(&of, 'w'), Space::new(&of, 'r'), Space::new(&of, 'p'));
        let (w, r, p) = (world.0.as_str(), router.0.as_str(), practice.0.as_str());
        run(&["ip", "link", "add", "w0", "netns", w, "type", "veth", "peer", "name", "r0", "netns", r]);
        run(&["ip", "link", "add", "r1", "netns", r, "type", "veth", "peer", "name", "p0", "netns", p]);
        for address in ["198.51.100.1/24", "198.51.100.2/24"] {
            run(&["ip", "-n", w, "addr", "add", address, "dev", "w0"]);
        }
        run(&["ip", "-n", r, "addr", "add", &format!("{OUTER}/24"), "dev", "r0"]);
        run(&["ip", "-n", r, "addr", "add", "192.168.77.1/24", "dev", "r1"]);
        run(&["ip", "-n", p, "addr", "add", "192.168.77.2/24", "dev", "p0"]);
        for (space, link) in [(w, "w0"), (r, "r0"), (r, "r1"), (p, "p0")] {
            run(&["ip", "-n", space, "link", "set", link, "up"]);
        }
        run(&["ip", "-n", p, "route", "add", "default", "via", "192.168.77.1"]);
        router.run(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        router.run(&["nft", "add table ip pf"]);
        router.run(&["nft", "add chain ip pf out { type nat hook postrouting priority 100 ; }"]);
        router.run(&["nft", "add rule ip pf out oifname r0 masquerade"]);
        router.run(&["nft", "add chain ip pf through { type filter hook forward priority 0 ; }"]);
        router.run(&["nft", "add rule ip pf through iifname r0 ct state new drop"]);
        Self { world, router, practice, dir }
    }

    /// Packets of both directions are lost at this rate, in percent, from now on.
    pub fn loses(&self, percent: u8) {
        self.router.run(&["nft", "flush chain ip pf through"]);
        self.router.run(&["nft", "add rule ip pf through iifname r0 ct state new drop"]);
        if percent > 0 {
            let rule = if percent == 100 {
                "add rule ip pf through drop".to_owned()
            } else {
                format!("add rule ip pf through numgen random mod 100 < {percent} drop")
            };
            self.router.run(&["nft", &rule]);
        }
    }

    /// The practice's cable.
    pub fn cable(&self, plugged: bool) {
        run(&["ip", "-n", &self.practice.0, "link", "set", "p0", if plugged { "up" } else { "down" }]);
        if plugged {
            run(&["ip", "-n", &self.practice.0, "route", "replace", "default", "via", "192.168.77.1"]);
        }
    }

    /// The provider gives the practice another address; what was open knows nothing of it.
    pub fn moves(&self, from: &str, to: &str) {
        let r = self.router.0.as_str();
        run(&["ip", "-n", r, "addr", "del", &format!("{from}/24"), "dev", "r0"]);
        run(&["ip", "-n", r, "addr", "add", &format!("{to}/24"), "dev", "r0"]);
    }

    /// A gateway at this address, port 22, whose second factor says yes by itself.
    pub async fn gateway(&self, address: &str) -> Gateway {
        self.gateway_with(address, "").await
    }

    pub async fn gateway_with(&self, address: &str, more: &str) -> Gateway {
        let dir = self.dir.path().join(format!("gateway-{address}"));
        let mut start = Start::example(&Random::system());
        start.gateway = start
            .gateway
            .replace("127.0.0.1:2222", &format!("{address}:22"))
            .replace("provider = \"webhook\"", "provider = \"exec\"")
            .replace("[second_factor.webhook]\nurl = \"http://127.0.0.1:8099/ask\"\nsecret = { file = \"secrets/webhook\" }", "[second_factor.exec]\ncommand = [\"/usr/bin/cat\"]");
        start.gateway.push_str(more);
        start.rules =
            "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\", \"konnektor status\"]\non = [\"*\"]\n"
                .into();
        start.site = "name = \"Praxis Dr. Müller\"\ndomain = \"praxis-mueller.example\"\nvia = \"link\"\n\
             [hosts.backup]\naddress = \"192.168.77.2:2022\"\nlogin = \"root\"\n"
            .into();
        start.konnektor_password = "not-used".into();
        start.write(&dir).unwrap();
        let jane = self.dir.path().join("jane");
        if !jane.exists() {
            make_key(&jane, "firm-jane.doe").unwrap();
        }
        let public = std::fs::read_to_string(jane.with_extension("pub")).unwrap();
        write_new(&dir.join("keys/firm-jane.doe.pub"), public.as_bytes(), 0o644).unwrap();
        std::fs::create_dir_all(dir.join("keys/sites")).unwrap();
        Gateway::start(self, dir, address).await
    }

    /// The practice's machine: set up for these gateways, not started.
    pub fn site(&self, gateways: &[&Gateway], more: &str) -> Site {
        let dir = self.dir.path().join("site");
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_pforte"))
            .args(["site", "init"])
            .arg(&dir)
            .args(["--name", SITE])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let public = std::process::Command::new("ssh-keygen")
            .args(["-y", "-f"])
            .arg(dir.join("secrets/site_ed25519"))
            .output()
            .unwrap();
        let mut text = format!(
            "name = \"{SITE}\"\ntitle = \"Praxis Dr. Müller\"\nzone = \"Europe/Berlin\"\nkey = \"secrets/site_ed25519\"\n\
             allow = [\"192.168.77.2:2022\"]\n"
        );
        for gateway in gateways {
            let public = String::from_utf8_lossy(&public.stdout).into_owned();
            let file = gateway.dir.join(format!("keys/sites/{SITE}.pub"));
            std::fs::write(file, public).unwrap();
            let host_key = std::fs::read_to_string(gateway.dir.join("state/host_ed25519.pub")).unwrap();
            let host_key: Vec<&str> = host_key.split_whitespace().take(2).collect();
            text.push_str(&format!(
                "[[gateway]]\naddress = \"{}:22\"\nhost_key = \"{}\"\n",
                gateway.address,
                host_key.join(" ")
            ));
        }
        text.push_str("[[firm]]\nname = \"firm\"\ntitle = \"Systemhaus\"\n[switch]\nmost = \"4h\"\n");
        text.push_str(more);
        std::fs::write(dir.join("site.toml"), text).unwrap();
        Site { dir, child: None }
    }

    /// The machine to be maintained: sshd in the practice.
    pub fn sshd(&self, gateways: &[&Gateway]) -> Child {
        let dir = self.dir.path().join("sshd");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        make_key(&dir.join("host"), "sshd").unwrap();
        let keys: String = gateways
            .iter()
            .map(|gateway| std::fs::read_to_string(gateway.dir.join("state/target_ed25519.pub")).unwrap())
            .collect();
        write_new(&dir.join("authorized"), keys.as_bytes(), 0o600).unwrap();
        let config = dir.join("config");
        let text = format!(
            "ListenAddress 192.168.77.2:2022\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\n\
             PermitRootLogin prohibit-password\nUsePAM no\nPidFile none\nUseDNS no\nLogLevel ERROR\n",
            dir.display()
        );
        std::fs::write(&config, text).unwrap();
        self.practice.command("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(&config).spawn().unwrap()
    }

    /// OpenSSH in the world, as jane, by this gateway.
    pub fn ssh(&self, gateway: &Gateway, words: &[&str]) -> Command {
        let dir = self.dir.path();
        let config = dir.join(format!("ssh_config-{}", gateway.address));
        let host_key = std::fs::read_to_string(gateway.dir.join("state/host_ed25519.pub")).unwrap();
        let known = dir.join("known_hosts");
        std::fs::write(&known, format!("gateway {host_key}{HOST} {host_key}")).unwrap();
        let text = format!(
            "Host *\n  User firm-jane.doe\n  IdentityFile {dir}/jane\n  IdentitiesOnly yes\n  IdentityAgent none\n  BatchMode no\n\
             \x20 UserKnownHostsFile {dir}/known_hosts-{address}\n  StrictHostKeyChecking yes\n  ConnectTimeout 20\n  ServerAliveInterval 0\n\
             Host gateway\n  HostName {address}\n  HostKeyAlias gateway\n\
             Host *.praxis-mueller.example\n  ProxyJump gateway\n",
            dir = dir.display(),
            address = gateway.address,
        );
        std::fs::rename(&known, dir.join(format!("known_hosts-{}", gateway.address))).unwrap();
        std::fs::write(&config, text).unwrap();
        let mut command = self.world.command("ssh");
        command.arg("-F").arg(config).args(words);
        command
    }

    /// The same, to its end.
    pub async fn ran(&self, gateway: &Gateway, words: &[&str]) -> Ran {
        ran(self.ssh(gateway, words)).await
    }

    /// Until a login at the practice's machine works, or does not.
    pub async fn settles(&self, gateway: &Gateway, works: bool, within: Duration) -> Ran {
        let begun = Instant::now();
        loop {
            let ran = self.ran(gateway, &[HOST, "echo there"]).await;
            if (ran.code == 0) == works {
                return ran;
            }
            assert!(begun.elapsed() < within, "{ran:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub async fn ran(mut command: Command) -> Ran {
    let output =
        tokio::time::timeout(Duration::from_mins(2), command.output()).await.expect("it hangs").unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `pforte serve` in the world.
pub struct Gateway {
    pub dir: PathBuf,
    pub address: String,
    pub child: Option<Child>,
}

impl Gateway {
    async fn start(world: &World, dir: PathBuf, address: &str) -> Self {
        let mut gateway = Self { dir, address: address.to_owned(), child: None };
        gateway.begin(world).await;
        gateway
    }

    /// Starts it, and waits until it listens.
    pub async fn begin(&mut self, world: &World) {
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let child = world
            .world
            .command(env!("CARGO_BIN_EXE_pforte"))
            .args(["serve", "--config"])
            .arg(&self.dir)
            .env("NO_COLOR", "1")
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..600 {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap();
            if log.contains("listening on") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not start: {}", std::fs::read_to_string(self.dir.join("log")).unwrap());
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    pub fn journal(&self) -> Vec<Value> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir.join("state/journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        files.sort();
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn events(&self, event: &str) -> Vec<Value> {
        self.journal().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Until the site's link has come so often: `linked` lines.
    pub async fn linked(&self, times: usize, within: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            let linked = self.events("link").iter().filter(|line| begins(line, "linked")).count();
            if linked >= times {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < within, "{linked} of {times}: {:#?}", self.events("link"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub fn begins(line: &Value, cause: &str) -> bool {
    line["cause"].as_str().is_some_and(|text| text.starts_with(cause))
}

/// `pforte site serve` in the practice.
pub struct Site {
    pub dir: PathBuf,
    pub child: Option<Child>,
}

impl Site {
    pub async fn begin(&mut self, world: &World) {
        self.begin_with(world, &[]).await;
    }

    pub async fn begin_with(&mut self, world: &World, environment: &[(&str, &str)]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap();
        let child = world
            .practice
            .command(env!("CARGO_BIN_EXE_pforte"))
            .args(["site", "serve", "--config"])
            .arg(&self.dir)
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..400 {
            if self.says(&["status", "--json"]).await.code == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not start: {}", std::fs::read_to_string(self.dir.join("log")).unwrap());
    }

    /// `pforte site WORDS`
    pub async fn says(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pforte"));
        command
            .arg("site")
            .args(words)
            .arg("--config")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        ran(command).await
    }

    /// It has to work.
    pub async fn does(&self, words: &[&str]) -> Ran {
        let ran = self.says(words).await;
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran
    }

    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.does(&["status", "--json"]).await.stdout).unwrap()
    }

    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }
}
