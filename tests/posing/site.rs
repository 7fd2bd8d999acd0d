//! `pforte site serve` as a process, and what its terminal says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use pforte::site::desk::View;
use ssh_key::PublicKey;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{WITHIN, key};

pub const NAME: &str = "praxis-mueller";

/// A folder with a site; perhaps it runs.
pub struct Site {
    pub dir: TempDir,
    pub public: PublicKey,
    process: Option<Child>,
}

/// What a command gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A gateway's table of `site.toml`.
pub fn table(address: SocketAddr, seed: u8) -> String {
    let host_key = key(seed).public_key().to_openssh().unwrap();
    format!("[[gateway]]\naddress = \"{address}\"\nhost_key = \"{host_key}\"\n")
}

impl Site {
    /// Made by `pforte site init`, its file with these lines instead of the example's; not running.
    pub async fn new(top: &str, tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("site");
        let made = pforte(&["site", "init", home.to_str().unwrap(), "--name", NAME]).await;
        assert_eq!(made.code, 0, "{made:?}");
        let public = PublicKey::from_openssh(&made.out).unwrap();
        let site = Self { dir, public, process: None };
        site.configure(top, tables);
        site
    }

    pub fn configure(&self, top: &str, tables: &str) {
        let text = format!(
            "name = \"{NAME}\"\ntitle = \"Praxis Dr. Müller\"\nlanguage = \"en\"\nkey = \"secrets/site_ed25519\"\n{top}\n{tables}\n\
             [[firm]]\nname = \"firm\"\ntitle = \"Systemhaus Muster\"\n[report]\nafter = \"1s\"\n"
        );
        std::fs::write(self.home().join("site.toml"), text).unwrap();
    }

    pub fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("site")
    }

    pub async fn start(&mut self) {
        self.start_under(&[]).await;
    }

    /// Under a program that runs it, `faketime …`.
    pub async fn start_under(&mut self, under: &[&str]) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut words: Vec<&str> = under.to_vec();
        words.push(env!("CARGO_BIN_EXE_pforte"));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["site", "serve", "--config"]).arg(self.home());
        command.env("PFORTE_LOG", "debug,russh=off,yamux=off").env("NO_COLOR", "1");
        let process = command.stdin(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap();
        self.process = Some(process);
        let began = tokio::time::Instant::now();
        while self.says(&["status"]).await.code != 0 {
            assert!(began.elapsed() < WITHIN, "it does not start: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(process.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::time::timeout(WITHIN, process.wait()).await.expect("it stays").unwrap();
        assert!(ended.success(), "{}", self.log());
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// The most memory it ever held, in MiB.
    pub fn most_memory(&self) -> usize {
        let status = format!("/proc/{}/status", self.process.as_ref().unwrap().id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    }

    /// `pforte site WORDS`
    pub async fn says(&self, words: &[&str]) -> Ran {
        let home = self.home();
        let mut all = vec!["site"];
        all.extend(words);
        all.extend(["--config", home.to_str().unwrap()]);
        pforte(&all).await
    }

    /// The same, and it has to work.
    pub async fn does(&self, words: &[&str]) {
        let ran = self.says(words).await;
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    }

    pub async fn view(&self) -> View {
        let ran = self.says(&["status", "--json"]).await;
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
    }

    /// Until the view is so.
    pub async fn until(&self, is: impl Fn(&View) -> bool) -> View {
        let began = tokio::time::Instant::now();
        loop {
            let view = self.view().await;
            if is(&view) {
                return view;
            }
            assert!(began.elapsed() < WITHIN, "{view:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The record's events, each with whom and why.
    pub fn record(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.home().join("state/site.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn events(&self) -> Vec<String> {
        self.record().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn allowing(allow: &[SocketAddr]) -> String {
    let list: Vec<String> = allow.iter().map(|address| format!("\"{address}\"")).collect();
    format!("allow = [{}]", list.join(", "))
}

pub async fn pforte(words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pforte"));
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(WITHIN, command.output()).await.expect("it hangs").unwrap().into()
}

/// A file for its owner alone.
pub fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A small disk over a site's state; dropped, it is unmounted.
pub struct Disk(std::path::PathBuf);

impl Disk {
    pub fn over(site: &Site) -> Self {
        let path = site.home().join("state");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k,mode=700", "pforte-test"]).arg(&path);
        assert!(mount.status().unwrap().success(), "this test needs root, to mount a small disk");
        Self(path)
    }

    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}
