//! `pforte serve` as a process of its own, on the folder, phone and Konnektor that `door` makes.
//! Absent on purpose: any way to look into the process; what it did stands in its folder.
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "shared by several test files, and tests run real programs"
)]

pub mod client;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The process; dropped, it is killed.
pub struct Served {
    child: Child,
    pub address: SocketAddr,
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Served {
    /// Starts it and waits until it listens.
    pub async fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pforte"))
            .args(["serve", "--config"])
            .arg(dir)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let listening = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let address = line.rsplit_once("listening on ").and_then(|(_, at)| at.trim().parse().ok());
                log.lock().unwrap().push(line);
                if let Some(address) = address {
                    return address;
                }
            }
            panic!("it does not start: {:#?}", log.lock().unwrap());
        };
        let address = tokio::time::timeout(Duration::from_secs(30), listening).await.expect("it hangs");
        let rest = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                rest.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, address, log }
    }

    /// The most memory it ever held, in MiB.
    pub fn most(&self) -> usize {
        let status = format!("/proc/{}/status", self.child.id().expect("it has ended"));
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    }

    /// SIGKILL, and no more than that.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().expect("it has ended")).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for its end, half a minute at most.
    pub async fn ended(mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.expect("it stays").unwrap()
    }
}
