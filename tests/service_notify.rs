//! What systemd is told by the two services (`sd_notify(3)`): ready, alive, stopping, how it stands; and when nothing.
//! Absent on purpose: the units themselves (`package.rs`).
#![allow(
    clippy::pedantic,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "tests, which run real programs"
)]

use crate::posing;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pforte::init::{Start, make_key, write_new};
use pforte::random::Random;
use posing::site::{Site, table};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::process::{Child, Command};

const WITHIN: Duration = Duration::from_secs(20);
/// What the unit of a test says in `WatchdogSec=`.
const WATCHDOG: Duration = Duration::from_secs(2);

/// The part of systemd that listens.
struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Self { dir, socket }
    }

    /// `pforte WORDS`, as a service of type notify with a watchdog.
    fn service(&self, words: &[&str], dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pforte"));
        command.args(words).arg("--config").arg(dir).env("NO_COLOR", "1");
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).env_remove("WATCHDOG_PID");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The next thing that is said, within this time.
    async fn said(&self, within: Duration) -> Option<String> {
        let mut said = [0; 4096];
        let n = tokio::time::timeout(within, self.socket.recv(&mut said)).await.ok()?.unwrap();
        Some(String::from_utf8(said[..n].to_vec()).unwrap().trim_end().to_owned())
    }

    /// Until this is said; what was said before.
    async fn until(&self, is: impl Fn(&str) -> bool) -> Vec<String> {
        let begun = Instant::now();
        let mut before = Vec::new();
        loop {
            let said = self.said(WITHIN.saturating_sub(begun.elapsed())).await;
            let said = said.unwrap_or_else(|| panic!("it is not said: {before:?}"));
            if is(&said) {
                return before;
            }
            before.push(said);
        }
    }

    /// So often alive, and never later than the watchdog would bite.
    async fn lives(&self, times: usize) {
        let mut last = Instant::now();
        for _ in 0..times {
            self.until(|said| said == "WATCHDOG=1").await;
            assert!(last.elapsed() < WATCHDOG, "after {:?}", last.elapsed());
            last = Instant::now();
        }
    }

    /// What was said already is taken; then nothing is for longer than the watchdog waits.
    async fn is_silent(&self) -> bool {
        while self.said(Duration::from_millis(1)).await.is_some() {}
        self.said(WATCHDOG + WATCHDOG / 2).await.is_none()
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it has ended")).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A gateway's folder.
fn gateway(listen: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("gateway");
    let mut start = Start::example(&Random::system());
    assert!(start.gateway.contains("127.0.0.1:2222"));
    start.gateway = start.gateway.replace("127.0.0.1:2222", listen);
    start.konnektor_password = "not-used".into();
    start.write(&home).unwrap();
    make_key(&dir.path().join("jane"), "firm-jane.doe").unwrap();
    let public = std::fs::read(dir.path().join("jane.pub")).unwrap();
    write_new(&home.join("keys/firm-jane.doe.pub"), &public, 0o644).unwrap();
    (dir, home)
}

/// Does somebody speak SSH there?
async fn speaks(address: &str) -> bool {
    let spoken = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let mut first = [0; 8];
        stream.read_exact(&mut first).await.ok()?;
        Some(first == *b"SSH-2.0-")
    };
    tokio::time::timeout(WITHIN, spoken).await.ok().flatten().unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_ready_when_it_listens_alive_while_it_works_and_says_that_it_stops() {
    let (manager, (_dir, home)) = (Manager::new(), gateway("127.0.0.1:0"));
    let mut child = manager.service(&["serve"], &home).spawn().unwrap();
    let before = manager.until(|said| said == "READY=1").await;
    assert!(before.iter().all(|said| said == "WATCHDOG=1"), "{before:?}");
    // Where it listens stands in its log by then, and there it answers.
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = tokio::time::timeout(Duration::from_millis(500), log.next_line()).await;
        let line = line.expect("ready, and no word of where").unwrap().unwrap();
        if let Some((_, address)) = line.rsplit_once("listening on ") {
            break address.trim().to_owned();
        }
    };
    assert!(speaks(&address).await);
    manager.lives(5).await;
    signal(&child, Signal::TERM);
    manager.until(|said| said == "STOPPING=1").await;
    assert!(tokio::time::timeout(WITHIN, child.wait()).await.expect("it stays").unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_is_ready_when_it_answers_says_how_it_stands_and_that_it_stops() {
    let (manager, site) = (Manager::new(), Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await);
    let mut child = manager.service(&["site", "serve"], &site.home()).spawn().unwrap();
    let before = manager.until(|said| said == "READY=1").await;
    assert!(before.iter().all(|said| !said.starts_with("STOPPING")), "{before:?}");
    let status = site.says(&["status"]).await;
    assert_eq!(status.code, 0, "ready, and does not answer: {status:?}");
    site.does(&["open", "--for", "30m"]).await;
    manager.until(|said| said.starts_with("STATUS=open until ") && said.contains("0 of 1 gateways")).await;
    site.does(&["close"]).await;
    manager.until(|said| said == "STATUS=closed; 0 of 1 gateways linked").await;
    manager.lives(5).await;
    signal(&child, Signal::TERM);
    manager.until(|said| said == "STOPPING=1").await;
    assert!(tokio::time::timeout(WITHIN, child.wait()).await.expect("it stays").unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_never_says_that_it_is_ready() {
    let manager = Manager::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_dir, home) = gateway(&taken.local_addr().unwrap().to_string());
    let ended = manager.service(&["serve"], &home).stderr(Stdio::null()).status();
    assert!(!tokio::time::timeout(WITHIN, ended).await.expect("it stays").unwrap().success());
    let mut site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    site.start().await;
    // Its socket is another's.
    let ended = manager.service(&["site", "serve"], &site.home()).stderr(Stdio::null()).status();
    assert!(!tokio::time::timeout(WITHIN, ended).await.expect("it stays").unwrap().success());
    let said = manager.said(Duration::from_millis(200)).await;
    assert_eq!(said, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_of_another_process_is_not_fed() {
    let (manager, (_dir, home)) = (Manager::new(), gateway("127.0.0.1:0"));
    let mut service = manager.service(&["serve"], &home);
    let child = service.stderr(Stdio::null()).env("WATCHDOG_PID", "1").spawn().unwrap();
    manager.until(|said| said == "READY=1").await;
    assert!(manager.is_silent().await);
    drop(child);
}

/// A log that nobody takes holds up whoever writes to it; with one worker that is all there is, and the feeding stands with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_work_stands_still_does_not_feed_the_watchdog() {
    let (manager, (_dir, home)) = (Manager::new(), gateway("127.0.0.1:0"));
    let mut service = manager.service(&["serve"], &home);
    let mut child = service.env("TOKIO_WORKER_THREADS", "1").env("PFORTE_LOG", "trace").spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = tokio::time::timeout(WITHIN, log.next_line()).await.unwrap().unwrap().unwrap();
        if let Some((_, address)) = line.rsplit_once("listening on ") {
            break address.trim().to_owned();
        }
    };
    manager.until(|said| said == "READY=1").await;
    manager.lives(2).await;
    // From here on nobody reads what it logs, and everybody who knocks makes it log.
    let (begun, mut knocking) = (Instant::now(), Vec::new());
    loop {
        for _ in 0..32 {
            knocking.push(TcpStream::connect(&address).await.unwrap());
        }
        while manager.said(Duration::from_millis(1)).await.is_some() {}
        if manager.said(WATCHDOG).await.is_none() {
            break;
        }
        assert!(begun.elapsed() < 3 * WITHIN, "it works on, whatever is logged");
    }
    assert!(manager.is_silent().await);
    // Its work goes on, and so does the feeding.
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    manager.until(|said| said == "WATCHDOG=1").await;
    manager.lives(2).await;
    reading.abort();
}
