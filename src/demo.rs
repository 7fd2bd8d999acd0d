//! `pforte demo`: all of it on loopback, with a simulated Konnektor and phone, two machines behind the gateway, and one backup and one
//! command through the system's ssh.
//! Absent on purpose: any shortcut. The gateway runs as `serve` runs it, on files as `init` writes them.

mod machine;
mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::factor::phone::{Mode, Phone, PhoneConfig};
use crate::house::{self, House};
use crate::init::{Start, make_key, write_new};
use crate::kit::{self, Choices, Facts};
use crate::konnektor::archive::Archive;
use crate::konnektor::simulator::{self, PATIENTS, Simulator};
use crate::names::ServiceName;
use crate::random::Random;
use crate::secret::Secret;
use machine::{Absent, Machine, Trusted};
use words::{Heading, Lang, to_try};

/// Who goes through it.
const JANE: &str = "firm-jane.doe";
/// The customer's domain in the shipped policy.
const DOMAIN: &str = "praxis-mueller.example";
/// The hosts behind the gateway, and how the gateway logs in there: both ways that need no password.
const HOSTS: [(&str, &str); 2] = [("portal", "certificate"), ("backup", "key")];
/// Lets her go on to them, and write to the box.
const RULE: &str = "
[[rule]]
who = [\"firm-jane.doe\"]
may = [\"hop portal\", \"hop backup\", \"konnektor status\", \"konnektor diff\", \"konnektor restore\",
       \"konnektor perform\", \"konnektor terminals\", \"konnektor remap\"]
on = [\"praxis-mueller\"]
";
/// How the simulated box takes a service. A real one's way is not publicly known, so the shipped profile has none.
const WRITES: (&str, &str) =
    ("[write]\npath = \"\"", "[write]\npath = \"/administration/json-store/{service}\"");
/// What is asked of the backup machine.
const AT_BACKUP: &str = "echo \"done at $(uname -n) as $(id -un), uid $(id -u)\"";

/// How the demo behaves.
#[derive(Args)]
pub struct Options {
    /// Print the lines to try, and run until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Where its files go; without it, a folder that is removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The gateway's port; without it, any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What the phone does.
    #[arg(long, value_enum, default_value_t = Answer::Approve)]
    phone: Answer,
    /// The language of sentences.
    #[arg(long, value_enum, default_value_t = Lang::En)]
    lang: Lang,
}

#[derive(Clone, Copy, ValueEnum)]
enum Answer {
    Approve,
    Deny,
    Silent,
}

/// Everything that runs, and where its files are.
struct Stage {
    dir: PathBuf,
    house: House,
    box_: Simulator,
    machines: Result<Vec<Machine>, Absent>,
    _phone: Phone,
}

/// Runs the demo; an error means that the backup did not come back as the box holds it.
pub async fn run(options: Options) -> Result<()> {
    house::choose_tls_provider();
    let temporary = match &options.dir {
        Some(_) => None,
        None => Some(Temporary::make(&Random::system())?),
    };
    let dir = match (&options.dir, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => temporary.0.clone(),
        (None, None) => bail!("no folder"),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let stage = Stage::set(&dir, &options).await?;
    let shown = stage.show(&options).await;
    if options.stay && shown.is_ok() {
        stage.stay(options.lang).await?;
    } else {
        let Stage { mut house, .. } = stage;
        house.close().await;
    }
    shown
}

impl Stage {
    async fn set(dir: &Path, options: &Options) -> Result<Self> {
        let clock = Clock::system();
        let random = Random::system();
        // The same password, key and phone on a second start in the same folder.
        let fresh = !dir.join("policy").exists();
        let password = format!("Zauber-{:08x}", random.draw64() >> 32);
        let mut start = Start::example(&random);
        if !fresh {
            bail!(
                "{} holds a policy already: give an empty folder, or run pforte serve --config there",
                dir.display()
            );
        }
        std::fs::create_dir_all(dir.join("konnektor"))?;
        let boxes = simulator::Options {
            latency: Duration::from_millis(100),
            log_file: true,
            ..simulator::Options::new(dir.join("konnektor"), Secret::new(password.clone()), clock.clone())
        };
        let box_ = Simulator::start(boxes).await?;
        let word = options.phone.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        write_new(&dir.join("phone"), format!("{word}\n").as_bytes(), 0o644)?;
        let phone_config = PhoneConfig {
            directory: dir.to_owned(),
            secret: Secret::new(start.webhook_secret.clone()),
            mode: Mode::Reply,
            latency: Duration::from_millis(300),
        };
        let phone = Phone::start(TcpListener::bind("127.0.0.1:0").await?, phone_config, clock.clone())?;

        let ssh = SocketAddr::from(([127, 0, 0, 1], options.port));
        let language = match options.lang {
            Lang::De => "language = \"de\"",
            Lang::En => "language = \"en\"",
        };
        start.konnektor_password = password;
        start.gateway =
            changed(&start.gateway, "listen = [\"127.0.0.1:2222\"]", &format!("listen = [\"{ssh}\"]"))?;
        start.gateway = changed(&start.gateway, "language = \"en\"", language)?;
        start.gateway = changed(&start.gateway, "http://127.0.0.1:8099/ask", &phone.url())?;
        start.site = changed(&start.site, "192.168.2.100:9443", &box_.address().to_string())?;
        let sds = format!("sds = \"{}\"\ncertificate = \"{}\"\n", box_.address(), box_.certificate_pin());
        start.site = changed(&start.site, "user = \"koco-root\"\n", &format!("{sds}user = \"koco-root\"\n"))?;
        start.rules.push_str(RULE);
        start.write(dir)?;
        let profile = changed(crate::konnektor::Profile::kocobox_text(), WRITES.0, WRITES.1)?;
        std::fs::create_dir_all(dir.join("policy/konnektor"))?;
        write_new(&dir.join("policy/konnektor/kocobox.toml"), profile.as_bytes(), 0o644)?;
        let machines = machines(dir).await?;
        let site = dir.join("policy/sites/praxis-mueller.toml");
        let hosts: String = machines.iter().flatten().map(Machine::table).collect::<Result<_>>()?;
        std::fs::write(&site, start.site + &hosts)?;
        let key = make_key(&dir.join("id_ed25519"), JANE)?;
        write_new(
            &dir.join(format!("keys/{JANE}.pub")),
            format!("{}\n", key.public_key().to_openssh()?).as_bytes(),
            0o644,
        )?;

        let loaded = house::load(dir)?;
        let house = House::open(dir, loaded, clock.clone(), random).await?;
        let port = house.addresses().first().context("no listener")?.port();
        // From now on any other command finds the gateway where it listens.
        let found = changed(
            &start.gateway,
            &format!("listen = [\"{ssh}\"]"),
            &format!("listen = [\"127.0.0.1:{port}\"]"),
        )?;
        std::fs::write(dir.join("policy/gateway.toml"), found)?;
        let host_key = std::fs::read_to_string(dir.join("state/host_ed25519.pub"))?;
        let known = format!("gateway,portal.{DOMAIN},{DOMAIN},backup.{DOMAIN} {host_key}");
        write_new(&dir.join("known_hosts"), known.as_bytes(), 0o644)?;
        write_new(&dir.join("ssh_config"), ssh_config(dir, port, machines.is_ok()).as_bytes(), 0o644)?;
        write_kit(dir, &clock).await?;
        let ready =
            serde_json::json!({ "ssh": port, "konnektor": box_.address().port(), "pid": std::process::id() });
        write_new(&dir.join("ready"), format!("{ready}\n").as_bytes(), 0o644)?;
        Ok(Self { dir: dir.to_owned(), house, box_, machines, _phone: phone })
    }

    /// One backup through the system's ssh, read back, decrypted and compared; then the journal.
    async fn show(&self, options: &Options) -> Result<()> {
        let lang = options.lang;
        if let Err(why) = &self.machines {
            heading(&Heading::NoMachines(why.clone()).text(lang));
        }
        heading(&Heading::Asks.text(lang));
        let backup = self.ssh_to("gateway", &["konnektor", "backup"]).await?;
        if !matches!(options.phone, Answer::Approve) {
            ensure!(backup.code != Some(0), "the phone did not approve, and the backup ran all the same");
            heading(&Heading::NothingRan.text(lang));
            return self.journal();
        }
        ensure!(backup.code == Some(0), "ssh gateway konnektor backup ended with {:?}", backup.code);
        let name = backup.stdout.split_whitespace().nth(1).context("no name in the answer")?.to_owned();
        heading(&Heading::Kept.text(lang));
        self.ssh_to("gateway", &["konnektor", "backups"]).await?;
        let shown = self.ssh_quietly("gateway", &["konnektor", "show", "-f", &name]).await?;
        ensure!(shown.code == Some(0), "ssh gateway konnektor show ended with {:?}", shown.code);
        let services = self.compare(&shown.stdout)?;
        heading(&Heading::Compared { services }.text(lang));
        self.bring_back(&name, lang).await?;
        if self.machines.is_ok() {
            heading(&Heading::GoesOn.text(lang));
            let gone_on = self.ssh_to(&format!("backup.{DOMAIN}"), &[AT_BACKUP]).await?;
            let done = gone_on.code == Some(0) && gone_on.stdout.starts_with("done at ");
            ensure!(done, "ssh backup.{DOMAIN} ended with {:?}", gone_on.code);
        }
        heading(&Heading::Journal.text(lang));
        self.journal()
    }

    /// The box loses its settings, and gets them back from the backup.
    async fn bring_back(&self, name: &str, lang: Lang) -> Result<()> {
        heading(&Heading::Reset.text(lang));
        self.box_.factory_reset()?;
        let restored = self.ssh_to("gateway", &["konnektor", "restore", "--yes", "-f", name]).await?;
        ensure!(restored.code == Some(0), "ssh gateway konnektor restore ended with {:?}", restored.code);
        let diff = self.ssh_quietly("gateway", &["konnektor", "diff", "-f", name]).await?;
        // Users are never written, and what a box says of itself is its own.
        let differ: Vec<&str> = diff.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
        ensure!(
            diff.code == Some(0)
                && differ.iter().all(|service| ["usermanagement", "infoservice"].contains(service)),
            "after the restore the box differs in {differ:?}"
        );
        heading(&Heading::BroughtBack.text(lang));
        Ok(())
    }

    /// Each service as it came back against the box's own file, personal data aside.
    fn compare(&self, json: &str) -> Result<usize> {
        let archive = Archive::parse(json.as_bytes())?;
        let back: BTreeMap<&ServiceName, Value> =
            archive.services().map(|(name, value)| (name, value.value())).collect();
        for name in simulator::SERVICES {
            let file = self.dir.join("konnektor").join(format!("{name}.json"));
            let held: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
            let name: ServiceName = name.parse()?;
            let value = back.get(&name).with_context(|| format!("{name} is missing"))?;
            ensure!(contains(&held, value), "{name} came back otherwise than the box holds it");
        }
        for patient in PATIENTS {
            ensure!(!json.contains(patient), "a patient's name is in the backup");
        }
        Ok(back.len())
    }

    #[expect(clippy::print_stdout, reason = "the answer of a command")]
    fn journal(&self) -> Result<()> {
        for line in
            crate::journal::search(&self.dir.join("state/journal"), crate::journal::Filter::default())?
        {
            println!("{}", line?.human());
        }
        Ok(())
    }

    async fn stay(self, lang: Lang) -> Result<()> {
        let host = format!("backup.{DOMAIN}");
        let host = self.machines.is_ok().then_some(host.as_str());
        heading(&to_try(&self.dir, self.box_.address(), host, lang));
        self.house.run(house::told_to_stop()).await;
        Ok(())
    }

    async fn ssh_to(&self, host: &str, words: &[&str]) -> Result<Ran> {
        let quoted = words
            .iter()
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() });
        heading(&format!("$ ssh {host} {}", quoted.collect::<Vec<_>>().join(" ")));
        let ran = self.ssh_quietly(host, words).await?;
        out(&ran.stderr);
        out(&ran.stdout);
        Ok(ran)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the demo shows the gateway through the system's own ssh client"
    )]
    async fn ssh_quietly(&self, host: &str, words: &[&str]) -> Result<Ran> {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.arg("-F").arg(self.dir.join("ssh_config")).arg(host).args(words);
        ssh.stdin(Stdio::null()).kill_on_drop(true);
        let done = ssh.output().await.context("run the system's ssh: is openssh-client installed?")?;
        Ok(Ran {
            code: done.status.code(),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        })
    }
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Is `back` what `held` is, but for members and entries that were left out?
fn contains(held: &Value, back: &Value) -> bool {
    match (held, back) {
        (Value::Object(held), Value::Object(back)) => {
            back.iter().all(|(key, value)| held.get(key).is_some_and(|held| contains(held, value)))
        }
        (Value::Array(held), Value::Array(back)) => {
            let mut rest = held.iter();
            back.iter().all(|value| rest.any(|held| contains(held, value)))
        }
        (held, back) => held == back,
    }
}

/// Starts them; the first that does not run here decides for both.
async fn machines(dir: &Path) -> Result<Result<Vec<Machine>, Absent>> {
    let line = |file: &str| -> Result<String> {
        Ok(std::fs::read_to_string(dir.join("state").join(file))?.trim().to_owned())
    };
    let (key, authority) = (line("target_ed25519.pub")?, line("user_ca.pub")?);
    let trusted = Trusted { key: &key, authority: &authority, principal: JANE };
    std::fs::create_dir_all(dir.join("hosts"))?;
    let mut running = Vec::new();
    for (name, proof) in HOSTS {
        match Machine::start(&dir.join("hosts").join(name), name, proof, &trusted).await? {
            Ok(machine) => running.push(machine),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(running))
}

/// The kit as a technician gets it, and PuTTY's part of it where PuTTY on Linux reads it.
async fn write_kit(dir: &Path, clock: &Clock) -> Result<()> {
    let text = dir.to_str().context("the demo's folder: expected a path of UTF-8")?;
    let ppk = dir.join("id_ed25519.ppk");
    let mut choices = Choices {
        dir: format!("{text}/kit"),
        identity: format!("{text}/id_ed25519"),
        control_dir: text.to_owned(),
        ppk: puttygen(&dir.join("id_ed25519"), &ppk).await.then(|| ppk.display().to_string()),
        email: None,
    };
    if choices.check().is_err() {
        // Too long for a socket.
        choices.control_dir = "~/.ssh".into();
    }
    let facts = Facts::read(dir, &JANE.parse()?)?;
    kit::write(&dir.join("kit"), &facts, &choices, clock)?;
    for (name, bytes) in kit::files(&facts, &choices)? {
        let file = dir.join(if name == "putty-pforte.reg" { "putty/putty-pforte.reg" } else { &name });
        if name == "putty-pforte.reg" || name.starts_with("putty/") {
            std::fs::create_dir_all(file.parent().context("putty/")?)?;
            write_new(&file, &bytes, 0o644)?;
        }
    }
    Ok(())
}

/// PuTTY's form of the key, where PuTTY is installed.
#[expect(clippy::disallowed_methods, reason = "PuTTY's own program knows its form of keys")]
async fn puttygen(key: &Path, ppk: &Path) -> bool {
    let mut puttygen = tokio::process::Command::new("puttygen");
    // Its random seed goes there.
    puttygen.env("PUTTYDIR", key.with_file_name("putty"));
    puttygen.arg(key).args(["-O", "private", "-o"]).arg(ppk).stdin(Stdio::null()).stdout(Stdio::null());
    puttygen.stderr(Stdio::null()).kill_on_drop(true).status().await.is_ok_and(|status| status.success())
}

fn ssh_config(dir: &Path, port: u16, hops: bool) -> String {
    let dir = dir.display();
    let behind = if hops { format!(" portal.{DOMAIN} {DOMAIN} backup.{DOMAIN}") } else { String::new() };
    let through = if hops { format!("Host{behind}\n    ProxyJump gateway\n\n") } else { String::new() };
    format!(
        "Host gateway\n    HostName 127.0.0.1\n    Port {port}\n    HostKeyAlias gateway\n\n{through}\
         Host gateway{behind}\n    User {JANE}\n    IdentityFile \"{dir}/id_ed25519\"\n    \
         IdentitiesOnly yes\n    IdentityAgent none\n    UserKnownHostsFile \"{dir}/known_hosts\"\n    GlobalKnownHostsFile /dev/null\n    \
         StrictHostKeyChecking yes\n    SendEnv LANG LC_* EMAIL\n    ServerAliveInterval 240\n"
    )
}

/// The shipped text with one thing changed; it has to stand there exactly once.
fn changed(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.matches(from).count() == 1, "the shipped policy does not hold {from:?} exactly once");
    Ok(text.replace(from, to))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn heading(text: &str) {
    println!("\n{text}");
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn out(text: &str) {
    print!("{text}");
}

/// A folder that goes with its owner.
struct Temporary(PathBuf);

impl Temporary {
    fn make(random: &Random) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("pforte-demo-{:016x}", random.draw64()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{}: {e}", self.0.display());
        }
    }
}
