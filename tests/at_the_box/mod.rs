//! A simulated box, and `pforte konnektor` run as a person at the practice's PC runs it.
//! Absent on purpose: tests.
#![allow(clippy::disallowed_methods, reason = "each test file uses its part, and runs the program")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pforte::clock::Clock;
use pforte::konnektor::simulator::{Make, Options, PATIENTS, SERVICES, Simulator};
use pforte::secret::Secret;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

pub const PASSWORD: &str = "Geh/eim+4711&x=%20";
pub const WITHIN: Duration = Duration::from_secs(30);
const SHIPPED: &str = include_str!("../../src/konnektor/kocobox.toml");

/// A box and the folder in which a person sits.
pub struct Place {
    pub dir: TempDir,
    pub home: TempDir,
    pub held: TempDir,
    pub simulator: Simulator,
    pub user: String,
    pub password: String,
    pub lang: &'static str,
    pub heard: Mutex<String>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// It ended so.
    pub fn is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

pub async fn place(change: impl FnOnce(&mut Options)) -> Place {
    place_of(Make::Kocobox, PASSWORD, change).await
}

pub async fn place_of(make: Make, password: &str, change: impl FnOnce(&mut Options)) -> Place {
    let held = tempfile::tempdir().unwrap();
    let secret = Secret::new(password.to_owned());
    let mut options = Options::of(make, held.path().to_owned(), secret, Clock::system());
    options.real_lan_address = true;
    change(&mut options);
    let user = options.user.clone();
    let simulator = Simulator::start(options).await.unwrap();
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let known = "path = \"/administration/json-store/{service}\"";
    let profile = SHIPPED.replacen("[write]\npath = \"\"", &format!("[write]\n{known}"), 1);
    assert!(profile.contains(known));
    fs::write(home.path().join("kocobox.toml"), profile).unwrap();
    fs::set_permissions(home.path().join("kocobox.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let (password, heard) = (password.to_owned(), Mutex::default());
    Place { dir, home, held, simulator, user, password, lang: "de_DE.UTF-8", heard }
}

impl Place {
    pub fn address(&self) -> String {
        self.simulator.address().to_string()
    }

    pub fn pins(&self) -> PathBuf {
        self.home.path().join(".config/pforte/konnektor-pins")
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.home.path().join(".local/state/pforte").join(name)
    }

    /// The unfinished work at this box.
    pub fn record(&self) -> PathBuf {
        self.state(&format!("restore-{}.json", self.address().replace(':', "_")))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `pforte konnektor …` with no environment but a home and a language.
    pub fn bare(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pforte"));
        command.arg("konnektor").args(line).env_clear().kill_on_drop(true).current_dir(self.dir.path());
        command.env("HOME", self.home.path()).env("LANG", self.lang).env("TZ", "Europe/Berlin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The same, with the address and the user; its directory is on the same port.
    pub fn at(&self, line: &[&str]) -> Command {
        let (address, user) = (self.address(), self.user.clone());
        let mut command = self.bare(&["-i", &address, "-u", &user, "--sds", &address]);
        command.args(line);
        command
    }

    /// The same, the password in the environment and the certificate taken; with a profile that can write.
    pub fn easy(&self, line: &[&str]) -> Command {
        let mut command = self.at(line);
        command.arg("--accept-new").env("PFORTE_KONNEKTOR_PASSWORD", &self.password);
        if self.user == "koco-root" {
            command.arg("--profile").arg(self.home.path().join("kocobox.toml"));
        }
        command
    }

    pub async fn ended(&self, mut command: Command) -> Ran {
        self.heard_of(command.spawn().unwrap()).await
    }

    pub async fn heard_of(&self, child: Child) -> Ran {
        let done = tokio::time::timeout(WITHIN * 2, child.wait_with_output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Ran { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) };
        self.heard.lock().unwrap().extend([ran.out.as_str(), &ran.err]);
        ran
    }

    pub async fn run(&self, line: &[&str]) -> Ran {
        self.ended(self.easy(line)).await
    }

    /// A backup under this name.
    pub async fn backup(&self, name: &str) -> Value {
        self.run(&["backup", "-f", name]).await.is(0);
        serde_json::from_slice(&fs::read(self.file(name)).unwrap()).unwrap()
    }

    pub fn get(&self, service: &str) -> Value {
        let path = self.held.path().join(format!("{service}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    pub fn put(&self, service: &str, value: &Value) {
        fs::write(self.held.path().join(format!("{service}.json")), value.to_string()).unwrap();
    }

    /// Changes one member of each of these.
    pub fn change(&self, services: &[&str]) {
        for service in services {
            let mut value = self.get(service);
            value.as_object_mut().unwrap().insert("CHANGED".into(), Value::from("später"));
            self.put(service, &value);
        }
    }

    /// Everything that a restore can bring back, as it is held now.
    pub fn all(&self) -> BTreeMap<&'static str, Value> {
        let kept = |service: &&str| !["infoservice", "usermanagement", "cardterminals"].contains(service);
        SERVICES.into_iter().filter(kept).map(|service| (service, self.get(service))).collect()
    }

    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < WITHIN, "{what} does not come");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// No card holder in any output or file, and no password.
    pub fn is_clean(&self) {
        let mut texts = vec![("output".to_owned(), self.heard.lock().unwrap().clone())];
        for root in [self.dir.path(), &self.home.path().join(".config"), &self.home.path().join(".local")] {
            gather(root, &mut texts);
        }
        for (place, text) in texts {
            for secret in PATIENTS.iter().copied().chain(["X110400001", "X110400002", &self.password]) {
                assert!(!text.contains(secret), "{secret} is in {place}");
            }
        }
    }
}

fn gather(folder: &Path, texts: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, texts);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            texts.push((path.display().to_string(), text));
        }
    }
}

/// A terminal in which it runs.
pub struct Screen {
    pub child: Child,
    pub keyboard: File,
    output: mpsc::Receiver<Vec<u8>>,
    pub shown: String,
}

impl Screen {
    pub fn open(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || {
            let path = std::ffi::OsStr::from_bytes(name.as_bytes());
            let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::RDWR;
            File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap())
        };
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().unwrap();
        drop(command);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, output) = mpsc::channel(64);
        std::thread::spawn(move || {
            let mut piece = vec![0; 4096];
            // EIO once it has gone.
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                if sender.blocking_send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, output, shown: String::new() }
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub async fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            match tokio::time::timeout(WITHIN, self.output.recv()).await {
                Ok(Some(piece)) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
                Ok(None) | Err(_) => panic!("{text:?} does not come: {:?}", self.shown),
            }
        }
    }

    /// Its end; what it showed is heard.
    pub async fn end(mut self, place: &Place) -> Ran {
        let status = tokio::time::timeout(WITHIN * 2, self.child.wait()).await.unwrap().unwrap();
        while let Ok(Some(piece)) = tokio::time::timeout(WITHIN, self.output.recv()).await {
            self.shown.push_str(&String::from_utf8_lossy(&piece));
        }
        place.heard.lock().unwrap().push_str(&self.shown);
        Ran { code: status.code(), out: self.shown, err: String::new() }
    }
}
