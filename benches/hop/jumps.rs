//! The jumps that are compared, and how the system's ssh goes through each.
//! Absent on purpose: measuring. Another kind of jump is one more [`Jump`] in [`Jumps::start`], and no more than that.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::machine::{Host, Machine};
use super::roles::Target;
use super::servers::{Gateway, Server as _, Sshd, Stage};

/// What is between the client and the host.
pub struct Jump {
    pub name: String,
    /// Its process, with what it has started.
    pub pid: u32,
    /// As a client logs in there.
    pub target: Target,
    /// How it reaches the machine's sink, source and echo by `ssh -W`; none if it opens no sealed hop.
    bare: Option<[(String, u16); 3]>,
    /// Where `ssh -J` through it leads to a shell, and as whom.
    pub whole: Option<(String, u16, String)>,
}

/// All of them, up at once, taken by turns.
pub struct Jumps {
    /// The first is what the others are compared with.
    pub all: Vec<Jump>,
    stage: Stage,
    sshd: Sshd,
    inner: Sshd,
    gateways: Vec<(Gateway, Stage)>,
}

impl Jumps {
    /// The system's sshd, this build of the gateway, and other builds by their names.
    pub async fn start(machine: &Machine, others: &[(String, PathBuf)]) -> Result<Self> {
        let stage = Stage::set().await?;
        // What `ssh -J` ends at; its CPU is nobody's here.
        let inner = Sshd::start(&stage).await?;
        let inner_at = inner.target(&stage).address;
        let sshd = Sshd::start(&stage).await?;
        let mut addresses = Vec::new();
        for host in [Host::Sink, Host::Source, Host::Echo] {
            addresses.push(machine.address(host)?);
        }
        let bare: Vec<_> = addresses.iter().map(|a| (a.ip().to_string(), a.port())).collect();
        let bare: [_; 3] = bare.try_into().ok().context("three hosts")?;
        let through = (inner_at.ip().to_string(), inner_at.port(), "root".to_owned());
        let target = Target { hop: Some(bare[2].clone()), ..sshd.target(&stage) };
        let mut all = vec![Jump {
            name: "sshd".into(),
            pid: sshd.pid(),
            target,
            bare: Some(bare),
            whole: Some(through),
        }];
        let mut gateways = Vec::new();
        let this = ("sealed".to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_pforte")));
        for (name, program) in std::iter::once(&this).chain(others) {
            // A folder, a journal and a phone of its own.
            let own = Stage::set().await?;
            // A site for each: a site's hosts are called portal and backup.
            let hosts = ["sink", "source", "echo", "shell"];
            for (host, address) in hosts.into_iter().zip(addresses.iter().chain([&inner_at])) {
                let site = format!(
                    "name = \"{host}\"\ndomain = \"{host}.example\"\nvia = \"direct\"\n\n\
                     [hosts.backup]\naddress = \"{address}\"\ninner = \"sealed\"\n"
                );
                std::fs::write(own.path().join(format!("policy/sites/{host}.toml")), site)?;
            }
            // The same shell again, its session ended at the gateway, recorded, and opened again with the gateway's key there.
            let site = format!(
                "name = \"recorded\"\ndomain = \"recorded.example\"\nvia = \"direct\"\n\n\
                 [hosts.backup]\naddress = \"{inner_at}\"\nlogin = \"root\"\n"
            );
            std::fs::write(own.path().join("policy/sites/recorded.toml"), site)?;
            let key = own.path().join("state/target_ed25519");
            std::fs::copy(stage.path().join("jane"), &key)?;
            let rule = "\n[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\"]\non = [\"*\"]\n";
            append(&own.path().join("policy/rules.toml"), rule)?;
            let gateway = Gateway::start_build(&own, program).await?;
            let at = |host: &str| (format!("backup.{host}.example"), 22);
            let (shell, port) = at("shell");
            all.push(Jump {
                name: name.clone(),
                pid: gateway.pid(),
                target: Target { hop: Some(at("echo")), ..gateway.target(&own) },
                bare: Some([at("sink"), at("source"), at("echo")]),
                whole: Some((shell, port, "root".into())),
            });
            let target = gateway.target(&own);
            let user = target.user.clone();
            let recorded = if *name == this.0 { "recorded".to_owned() } else { format!("recorded-{name}") };
            all.push(Jump {
                name: recorded,
                pid: gateway.pid(),
                target,
                bare: None,
                whole: Some(("backup.recorded.example".into(), 22, user)),
            });
            gateways.push((gateway, own));
        }
        for cipher in CIPHERS.into_iter().map(Some).chain([None]) {
            let text = configuration(&all, &stage.path().join("jane"), cipher)?;
            std::fs::write(stage.path().join(file(cipher)), text)?;
        }
        Ok(Self { all, stage, sshd, inner, gateways })
    }

    /// `ssh -W HOST JUMP`; `None` if the jump opens no sealed hop.
    pub fn bare(&self, jump: &Jump, host: Host, cipher: Option<&str>) -> Option<Command> {
        let (name, port) = jump.bare.as_ref()?.get(host as usize)?;
        let mut ssh = self.ssh(cipher);
        ssh.arg("-W").arg(format!("{name}:{port}")).arg(format!("jump-{}", jump.name));
        Some(ssh)
    }

    /// `ssh -J JUMP HOST 'command'`.
    pub fn whole(&self, jump: &Jump, cipher: Option<&str>, command: &str) -> Option<Command> {
        jump.whole.as_ref()?;
        let mut ssh = self.ssh(cipher);
        ssh.arg(format!("inner-{}", jump.name)).arg(command);
        Some(ssh)
    }

    /// `ssh -tt -J JUMP HOST 'command'`.
    pub fn terminal(&self, jump: &Jump, command: &str) -> Option<Command> {
        jump.whole.as_ref()?;
        let mut ssh = self.ssh(None);
        ssh.arg("-tt").arg(format!("inner-{}", jump.name)).arg(command);
        Some(ssh)
    }

    fn ssh(&self, cipher: Option<&str>) -> Command {
        let mut ssh = Command::new("ssh");
        // -J gives its own ssh the same file, and none of the other options.
        ssh.arg("-F").arg(self.stage.path().join(file(cipher))).kill_on_drop(true);
        ssh
    }

    pub async fn stop(self) -> Result<()> {
        for (gateway, _stage) in self.gateways {
            gateway.stop().await?;
        }
        self.sshd.stop().await?;
        self.inner.stop().await
    }
}

/// Both layers of a client take the same one.
pub const CIPHERS: [&str; 2] = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"];

fn file(cipher: Option<&str>) -> String {
    format!("ssh_config-{}", cipher.unwrap_or("any"))
}

fn configuration(jumps: &[Jump], own: &Path, cipher: Option<&str>) -> Result<String> {
    let mut text = cipher.map_or_else(String::new, |cipher| format!("Ciphers {cipher}\n"));
    for jump in jumps {
        let Target { address, user, key, .. } = &jump.target;
        let (name, key) = (&jump.name, key.display());
        let (ip, port) = (address.ip(), address.port());
        writeln!(
            text,
            "Host jump-{name}\n  HostName {ip}\n  Port {port}\n  User {user}\n  IdentityFile {key}"
        )?;
        if let Some((host, port, user)) = &jump.whole {
            let own = if user == "root" { own.display().to_string() } else { key.to_string() };
            writeln!(text, "Host inner-{name}\n  HostName {host}\n  Port {port}\n  User {user}")?;
            writeln!(text, "  IdentityFile {own}\n  ProxyJump jump-{name}")?;
        }
    }
    text.push_str(
        "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  GlobalKnownHostsFile /dev/null\n  \
         IdentitiesOnly yes\n  IdentityAgent none\n  LogLevel ERROR\n  KexAlgorithms curve25519-sha256\n",
    );
    Ok(text)
}

fn append(file: &Path, more: &str) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    std::fs::write(file, text + more)?;
    Ok(())
}
