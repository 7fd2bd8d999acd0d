//! `pforte demo`: all of it on loopback, with a simulated Konnektor and phone, and one backup through the system's ssh.
//! Absent on purpose: any shortcut. The gateway runs as `serve` runs it, on files as `init` writes them.

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
use crate::konnektor::archive::Archive;
use crate::konnektor::simulator::{self, PATIENTS, Simulator};
use crate::names::ServiceName;
use crate::random::Random;
use crate::secret::Secret;

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

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    De,
    En,
}

/// What the demo says between what it shows.
#[derive(Clone, Copy)]
enum Heading {
    Asks,
    NothingRan,
    Kept,
    Compared { services: usize },
    Journal,
}

impl Heading {
    fn text(self, lang: Lang) -> String {
        match (self, lang) {
            (Heading::Asks, Lang::En) => {
                "A technician asks for a backup; the phone rings; the box is read.".into()
            }
            (Heading::Asks, Lang::De) => {
                "Ein Techniker will sichern; das Telefon fragt; das Gerät wird gelesen.".into()
            }
            (Heading::NothingRan, Lang::En) => "Nothing ran, and the journal says why:".into(),
            (Heading::NothingRan, Lang::De) => "Nichts lief, und das Protokoll sagt, warum:".into(),
            (Heading::Kept, Lang::En) => "What is kept:".into(),
            (Heading::Kept, Lang::De) => "Was aufbewahrt wird:".into(),
            (Heading::Compared { services }, Lang::En) => format!(
                "Decrypted again and compared: all {services} services are as the box holds them, patients left out."
            ),
            (Heading::Compared { services }, Lang::De) => format!(
                "Wieder entschlüsselt und verglichen: alle {services} Dienste sind wie im Gerät, Patienten weggelassen."
            ),
            (Heading::Journal, Lang::En) => "The journal:".into(),
            (Heading::Journal, Lang::De) => "Das Protokoll:".into(),
        }
    }
}

/// The lines to try.
fn to_try(dir: &Path, konnektor: SocketAddr, lang: Lang) -> String {
    let dir = dir.display();
    let (first, answers, last) = match lang {
        Lang::En => (
            "It stays until Ctrl-C. Try:",
            "what the phone answers from now on: approve, deny, silent",
            format!("The Konnektor listens on {konnektor}; what it holds stands in {dir}/konnektor/"),
        ),
        Lang::De => (
            "Sie läuft bis Strg-C. Zum Probieren:",
            "was das Telefon von nun an antwortet: approve, deny, silent",
            format!("Der Konnektor lauscht auf {konnektor}; was er enthält, steht in {dir}/konnektor/"),
        ),
    };
    format!(
        "{first}\n\
         ssh -F {dir}/ssh_config gateway\n\
         ssh -F {dir}/ssh_config gateway konnektor backup\n\
         ssh -F {dir}/ssh_config gateway help\n\
         echo deny > {dir}/phone          # {answers}\n\
         pforte journal tail --config {dir}\n\
         {last}"
    )
}

/// Everything that runs, and where its files are.
struct Stage {
    dir: PathBuf,
    house: House,
    box_: Simulator,
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
        start.write(dir)?;
        let key = make_key(&dir.join("id_ed25519"), "firm-jane.doe")?;
        write_new(
            &dir.join("keys/firm-jane.doe.pub"),
            format!("{}\n", key.public_key().to_openssh()?).as_bytes(),
            0o644,
        )?;

        let loaded = house::load(dir)?;
        let house = House::open(dir, loaded, clock, random).await?;
        let port = house.addresses().first().context("no listener")?.port();
        let host_key = std::fs::read_to_string(dir.join("state/host_ed25519.pub"))?;
        write_new(&dir.join("known_hosts"), format!("gateway {host_key}").as_bytes(), 0o644)?;
        write_new(&dir.join("ssh_config"), ssh_config(dir, port).as_bytes(), 0o644)?;
        let ready =
            serde_json::json!({ "ssh": port, "konnektor": box_.address().port(), "pid": std::process::id() });
        write_new(&dir.join("ready"), format!("{ready}\n").as_bytes(), 0o644)?;
        Ok(Self { dir: dir.to_owned(), house, box_, _phone: phone })
    }

    /// One backup through the system's ssh, read back, decrypted and compared; then the journal.
    async fn show(&self, options: &Options) -> Result<()> {
        let lang = options.lang;
        heading(&Heading::Asks.text(lang));
        let backup = self.ssh(&["konnektor", "backup"]).await?;
        if !matches!(options.phone, Answer::Approve) {
            ensure!(backup.code != Some(0), "the phone did not approve, and the backup ran all the same");
            heading(&Heading::NothingRan.text(lang));
            return self.journal();
        }
        ensure!(backup.code == Some(0), "ssh gateway konnektor backup ended with {:?}", backup.code);
        let name = backup.stdout.split_whitespace().nth(1).context("no name in the answer")?.to_owned();
        heading(&Heading::Kept.text(lang));
        self.ssh(&["konnektor", "backups"]).await?;
        let shown = self.ssh_quietly(&["konnektor", "show", "-f", &name]).await?;
        ensure!(shown.code == Some(0), "ssh gateway konnektor show ended with {:?}", shown.code);
        let services = self.compare(&shown.stdout)?;
        heading(&Heading::Compared { services }.text(lang));
        heading(&Heading::Journal.text(lang));
        self.journal()
    }

    /// Each service as it came back against the box's own file, personal data aside.
    fn compare(&self, json: &str) -> Result<usize> {
        let archive = Archive::parse(json.as_bytes())?;
        let back: BTreeMap<&ServiceName, &Value> = archive.services().collect();
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
        heading(&to_try(&self.dir, self.box_.address(), lang));
        self.house.run(house::told_to_stop()).await;
        Ok(())
    }

    async fn ssh(&self, words: &[&str]) -> Result<Ran> {
        heading(&format!("$ ssh gateway {}", words.join(" ")));
        let ran = self.ssh_quietly(words).await?;
        out(&ran.stderr);
        out(&ran.stdout);
        Ok(ran)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the demo shows the gateway through the system's own ssh client"
    )]
    async fn ssh_quietly(&self, words: &[&str]) -> Result<Ran> {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.arg("-F").arg(self.dir.join("ssh_config")).arg("gateway").args(words);
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

fn ssh_config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "Host gateway\n    HostName 127.0.0.1\n    Port {port}\n    User firm-jane.doe\n    IdentityFile \"{dir}/id_ed25519\"\n    \
         IdentitiesOnly yes\n    IdentityAgent none\n    UserKnownHostsFile \"{dir}/known_hosts\"\n    GlobalKnownHostsFile /dev/null\n    \
         HostKeyAlias gateway\n    StrictHostKeyChecking yes\n    ServerAliveInterval 240\n"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heading_is_german_where_german_is_asked_for() {
        let all = [
            Heading::Asks,
            Heading::NothingRan,
            Heading::Kept,
            Heading::Compared { services: 19 },
            Heading::Journal,
        ];
        for heading in all {
            assert_ne!(heading.text(Lang::De), heading.text(Lang::En));
        }
        assert!(Heading::Compared { services: 19 }.text(Lang::De).contains("alle 19 Dienste"));
        let (dir, box_) = (Path::new("/d"), SocketAddr::from(([127, 0, 0, 1], 9443)));
        let (de, en) = (to_try(dir, box_, Lang::De), to_try(dir, box_, Lang::En));
        assert!(
            de.starts_with("Sie läuft bis Strg-C.")
                && de.contains("Der Konnektor lauscht auf 127.0.0.1:9443")
        );
        let commands = |text: &str| text.lines().filter(|line| line.starts_with("ssh ")).count();
        assert_eq!((commands(&de), commands(&en), de.lines().count()), (3, 3, en.lines().count()));
    }
}
