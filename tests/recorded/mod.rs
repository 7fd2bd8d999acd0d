//! A real shell on a real pty, recorded as a relay would: its output and the keys go through a recording.
//! Absent on purpose: pauses; every key waits for what the shell shows, or for nothing.
#![allow(clippy::disallowed_methods, reason = "runs shells")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use age::x25519::Identity;
use pforte::clock::Clock;
use pforte::recording::{About, Code, Ending, Kept, Recording, Recordings};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::mpsc;

pub fn about(session: u128, command: Option<&str>) -> About {
    About {
        session: pforte::names::SessionId::new(1, session),
        channel: 0,
        user: "firm-jane.doe".parse().unwrap(),
        firm: "firm".parse().unwrap(),
        site: "praxis-mueller".parse().unwrap(),
        host: "backup".parse().unwrap(),
        command: command.map(Into::into),
        term: "xterm-256color".into(),
        cols: 80,
        rows: 24,
        started: Clock::system().now(),
    }
}

pub fn open(folder: &Path) -> Recordings {
    let identity = Identity::generate();
    Recordings::open(folder, vec![identity.to_public()], vec![identity], Clock::system()).unwrap()
}

pub struct Shell {
    _dir: tempfile::TempDir,
    recordings: Recordings,
    recording: Recording,
    master: File,
    output: mpsc::Receiver<Vec<u8>>,
    child: Child,
    /// All that came, and how far it was looked at.
    seen: String,
    looked: usize,
    /// The lines, `marks ls` or `screen ls`.
    pub typed: Vec<String>,
}

impl Shell {
    /// A shell in an empty folder that shows `host$ `.
    pub async fn start(program: &str, arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        for (name, text) in files {
            std::fs::write(home.join(name), text).unwrap();
        }
        let recordings = open(&dir.path().join("recordings"));
        let recording = recordings.begin(about(7, None)).await.unwrap();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = PathBuf::from(name.into_string().unwrap());
        size(&master, 80, 24);
        let slave = || Stdio::from(std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", program])
            .args(arguments)
            .current_dir(&home)
            .env_clear()
            .envs([("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8"), ("INPUTRC", "/dev/null"), ("LESS", "")])
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &home)
            .env("ZDOTDIR", &home)
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = mpsc::channel(64);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let (seen, typed) = (String::new(), Vec::new());
        let mut shell =
            Self { _dir: dir, recordings, recording, master, output, child, seen, looked: 0, typed };
        shell.until("host$ ").await;
        shell
    }

    fn tell(&mut self, typed: Vec<pforte::recording::Typed>) {
        assert!(typed.iter().all(|typed| !typed.cut), "{typed:?}");
        self.typed.extend(typed.into_iter().map(|typed| format!("{} {}", typed.how.as_str(), typed.line)));
    }

    /// Takes output until `text` has come, after what was waited for before.
    #[track_caller]
    pub fn until<'a>(&'a mut self, text: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                if let Some(at) = self.seen[self.looked..].find(text) {
                    self.looked += at + text.len();
                    return;
                }
                let more = tokio::time::timeout(Duration::from_secs(20), self.output.recv()).await;
                let Ok(Some(bytes)) = more else {
                    panic!("{caller}: no {text:?} in {:?}; {:?}", &self.seen[self.looked..], self.typed);
                };
                let typed = self.recording.output(&bytes).await.unwrap();
                self.tell(typed);
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }

    /// Presses keys, all in one piece.
    pub async fn keys(&mut self, keys: &str) {
        let typed = self.recording.input(keys.as_bytes()).await.unwrap();
        self.tell(typed);
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Returns when the shell waits for a key, and no sooner: a Ctrl-C between readline's last look for signals and its wait
    /// gives no prompt before the next key, in any bash (5.2), with marks or without.
    pub async fn waits(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        for _ in 0..2000 {
            let stat = std::fs::read_to_string(&stat).unwrap();
            // PID (NAME) STATE …, proc_pid_stat(5).
            if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never waits for a key");
    }

    /// Types, waits until the end of it is shown, presses Enter, waits for the next prompt.
    pub async fn line(&mut self, keys: &str, shown: &str) {
        self.keys(keys).await;
        self.until(shown).await;
        self.keys("\r").await;
        self.until("\r\n").await;
        self.until("host$ ").await;
    }

    pub async fn resize(&mut self, cols: u16, rows: u16) {
        self.recording.resize(cols.into(), rows.into()).await.unwrap();
        size(&self.master, cols, rows);
    }

    /// Ends the shell; gives the lines, and every event of the recording as text.
    pub async fn finish(mut self) -> (Vec<String>, String) {
        self.keys("exit\r").await;
        while let Some(bytes) = self.output.recv().await {
            let typed = self.recording.output(&bytes).await.unwrap();
            self.tell(typed);
        }
        self.child.wait().unwrap();
        let Kept { name, last, .. } = self.recording.finish(Some(0)).await.unwrap();
        self.tell(last);
        let mut playback = self.recordings.read(&name).unwrap();
        let mut all = String::new();
        for event in playback.by_ref() {
            let event = event.unwrap();
            assert_ne!(event.code, Code::Input, "keys are not recorded");
            all.push_str(&event.data);
            all.push('\n');
        }
        assert!(matches!(playback.ending(), Some(Ending::Whole { exit: Some(0), .. })));
        (self.typed, all)
    }
}

fn size(master: impl std::os::fd::AsFd, cols: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}
