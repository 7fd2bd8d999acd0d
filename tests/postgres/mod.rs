//! A PostgreSQL server of a test's own: the system's, in a temporary folder, on a socket there and on loopback.
//! Absent on purpose: durability. It forgets on a power cut what it was told, and starts in a tenth of a second.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared by several test files, which run real servers; helpers of tests are tests"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Its role, which may do anything.
pub const ROLE: &str = "pforte";
/// The role's password, which counts on loopback; on the socket none is asked for.
pub const PASSWORD: &str = "Geheim-im-Test";

/// A running server. Dropped, it is gone, as it is with the test's process.
pub struct Postgres {
    dir: TempDir,
    pub port: u16,
    more: Vec<String>,
    child: Option<Child>,
}

/// The newest that is installed.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("no PostgreSQL is installed; tests/run does that")
        .map(|entry| entry.unwrap())
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().expect("no PostgreSQL is installed; tests/run does that").1
}

/// The server runs as nobody's root, and ends with this thread.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/").stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn give_away(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        done(Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder));
    }
}

/// An empty server's folder, made once and kept beside the tests' programs.
fn template() -> PathBuf {
    let programs = programs();
    let version = programs.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let beside = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let kept = beside.join(format!("postgres-{version}"));
    if !kept.exists() {
        let making = tempfile::tempdir().unwrap();
        let (new, password) = (making.path().join("new"), making.path().join("password"));
        std::fs::write(&password, PASSWORD).unwrap();
        give_away(making.path());
        done(
            unprivileged(&programs.join("initdb"))
                .args(["-U", ROLE, "-E", "UTF8", "--locale=C", "--no-sync", "--auth-local=trust"])
                .args(["--auth-host=scram-sha-256", "--pwfile"])
                .arg(&password)
                .arg("-D")
                .arg(&new),
        );
        let copy = tempfile::tempdir_in(&beside).unwrap();
        done(Command::new("cp").arg("-R").arg(&new).arg(copy.path().join("new")));
        // Another test may have been quicker.
        if std::fs::rename(copy.path().join("new"), &kept).is_err() {
            assert!(kept.exists());
        }
    }
    kept
}

impl Postgres {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With these further settings, `name=value`; `@DIR@` is its folder, in which files of `put` are.
    pub fn with(settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        done(Command::new("cp").arg("-R").arg(template()).arg(dir.path().join("data")));
        std::fs::set_permissions(dir.path().join("data"), std::fs::Permissions::from_mode(0o700)).unwrap();
        give_away(dir.path());
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let more = settings.iter().map(|text| text.replace("@DIR@", dir.path().to_str().unwrap())).collect();
        Self { dir, port, more, child: None }.run()
    }

    /// A folder that the server can read, with these files.
    pub fn folder(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
            let owners = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(dir.path().join(name), owners).unwrap();
        }
        give_away(dir.path());
        dir
    }

    fn run(mut self) -> Self {
        self.again();
        self
    }

    /// Starts it again, at the same port.
    pub fn again(&mut self) {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.dir.path().join("log"));
        let log = log.unwrap();
        let mut server = unprivileged(&programs().join("postgres"));
        server.arg("-D").arg(self.dir.path().join("data"));
        for setting in [
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            "autovacuum=off",
            "listen_addresses=127.0.0.1",
            &format!("unix_socket_directories={}", self.dir.path().display()),
            &format!("port={}", self.port),
        ] {
            server.args(["-c", setting]);
        }
        for setting in &self.more {
            server.args(["-c", setting]);
        }
        self.child = Some(server.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while !self.answers() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(30), "{ended:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn answers(&self) -> bool {
        let ready = Command::new(programs().join("pg_isready")).arg("-q").args(self.at()).status();
        ready.unwrap().success()
    }

    fn at(&self) -> [String; 4] {
        ["-h".into(), self.dir.path().to_str().unwrap().into(), "-p".into(), self.port.to_string()]
    }

    /// Stops it at once; who is connected is cut off.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        // It may have gone by itself.
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        child.wait().unwrap();
    }

    /// Makes an empty database and says how it is reached through the socket.
    pub fn create(&self, database: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {database} STRATEGY file_copy"));
        self.url(database)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@:{}/{database}?host={}", self.port, self.dir.path().display())
    }

    /// The same on loopback, where the password is asked for.
    pub fn loopback(&self, database: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{database}", self.port)
    }

    /// What psql prints.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let mut psql = Command::new(programs().join("psql"));
        done(psql.args(self.at()).args(["-U", ROLE, "-d", database, "-X", "-A", "-t", "-q", "-c", text]))
    }

    /// All of a database in another one, as `pg_dump` moves it.
    pub fn copy(&self, from: &str, to: &str) -> String {
        let url = self.create(to);
        let file = self.dir.path().join("dump");
        let who = ["-U", ROLE, "-d"];
        done(
            Command::new(programs().join("pg_dump")).args(self.at()).args(who).arg(from).arg("-f").arg(&file),
        );
        let mut psql = Command::new(programs().join("psql"));
        done(psql.args(self.at()).args(who).args([to, "-X", "-q", "-f"]).arg(&file));
        url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
