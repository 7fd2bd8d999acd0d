//! Technicians meanwhile: one who logs in once a second with the system's ssh, and those whose sessions a closed switch ends.

use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use russh::ChannelMsg;
use russh::client::Msg;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Client, HERE, configuration, key};
use super::fleet::Fleet;
use super::measure::Spread;
use super::practice;
use super::town::Town;

/// People who take turns, each with one question at a time.
const PEOPLE: usize = 16;

/// Logins, once a second, until they are ended.
pub struct Logins {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<f64>>>,
}

/// How they went.
pub struct Logged(Vec<f64>);

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |n: usize| self.0.get(n).copied().unwrap_or(f64::NAN);
        let (p50, max) = (at(self.0.len() / 2), at(self.0.len().saturating_sub(1)));
        write!(f, "{} logins with OpenSSH, p50 {p50:.0} ms, max {max:.0} ms", self.0.len())
    }
}

impl Logins {
    pub fn begin(town: &Town) -> Self {
        let (end, mut ended) = oneshot::channel();
        let ssh = |n: usize| {
            let person = n % PEOPLE;
            let (user, file) = match person {
                0 => ("firm-jane.doe".to_owned(), "jane".to_owned()),
                n => (format!("firm-jane{n}.doe"), format!("jane{n}")),
            };
            let root = town.stage.path();
            let mut ssh = Command::new("ssh");
            ssh.args([
                "-F",
                "none",
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "GlobalKnownHostsFile=/dev/null",
            ])
            .args([
                "-o",
                "HostKeyAlias=gateway",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "IdentityAgent=none",
                "-o",
            ])
            .arg(format!("UserKnownHostsFile={}", root.join("known_hosts").display()))
            .args(["-p", &town.address.port().to_string(), "-l", &user, "-i"])
            .arg(root.join(file))
            .args(["127.0.0.1", "whoami"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
            ssh
        };
        let commands: Vec<Command> = (0..120).map(ssh).collect();
        let task = tokio::spawn(async move {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            let mut running = JoinSet::new();
            for mut ssh in commands {
                tokio::select! {
                    _ = second.tick() => {}
                    _ = &mut ended => break,
                }
                running.spawn(async move {
                    let begun = Instant::now();
                    let ran = ssh.output().await?;
                    if !ran.status.success() {
                        bail!("a technician does not get in: {}", String::from_utf8_lossy(&ran.stderr));
                    }
                    anyhow::Ok(begun.elapsed().as_secs_f64() * 1000.0)
                });
            }
            let mut took = Vec::new();
            while let Some(one) = running.join_next().await {
                took.push(one??);
            }
            Ok(took)
        });
        Self { end, task }
    }

    pub async fn end(self) -> Result<Logged> {
        self.end.send(()).ok();
        let mut took = self.task.await??;
        took.sort_by(f64::total_cmp);
        Ok(Logged(took))
    }
}

/// A session through a link, in which one byte has come back.
struct Session {
    _client: Client,
    channel: russh::Channel<Msg>,
}

impl Session {
    /// Until its client sees its end.
    async fn ended(mut self) -> Instant {
        loop {
            match self.channel.wait().await {
                Some(ChannelMsg::Close | ChannelMsg::Eof) | None => return Instant::now(),
                Some(_) => {}
            }
        }
    }
}

async fn session(town: &Town, n: usize) -> Result<Session> {
    let person = n % PEOPLE;
    let (user, file) = match person {
        0 => ("firm-jane.doe".to_owned(), "jane".to_owned()),
        n => (format!("firm-jane{n}.doe"), format!("jane{n}")),
    };
    let key = key(&town.stage.path().join(file));
    let client = Client::log_in(configuration(), town.address, HERE, &user, key).await?;
    let client = client.context("a login was refused")?;
    let host = format!("backup.{}.example", practice::name(n));
    let begun = Instant::now();
    let mut channel = loop {
        // The lease is signed; the gateway may be a moment behind.
        match client.hop(&host, 22).await {
            Ok(channel) => break channel,
            Err(e) if begun.elapsed() > Duration::from_secs(5) => return Err(e.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { .. }) => return Ok(Session { _client: client, channel }),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            other => bail!("no echo through a link: {other:?}"),
        }
    }
}

/// Sessions through links, and from a switch's closing to what their clients see of it.
pub async fn closes(town: &Town, fleet: &mut Fleet, count: usize) -> Result<()> {
    fleet.open(count).await?;
    let mut sessions = Vec::new();
    for n in 0..count {
        sessions.push(session(town, n).await?);
    }
    let at_once = sessions.split_off(count / 2);
    let mut one_by_one = Vec::new();
    for (n, session) in sessions.into_iter().enumerate() {
        let begun = Instant::now();
        fleet.close(n).await?;
        let ended = tokio::time::timeout(Duration::from_secs(10), session.ended()).await?;
        one_by_one.push((ended - begun).as_secs_f64() * 1000.0);
    }
    let mut ends: JoinSet<Instant> = at_once.into_iter().map(Session::ended).collect();
    let begun = Instant::now();
    fleet.close_between(count / 2, count).await?;
    let mut together = Vec::new();
    while let Some(ended) = tokio::time::timeout(Duration::from_secs(10), ends.join_next()).await? {
        together.push((ended? - begun).as_secs_f64() * 1000.0);
    }
    ensure!(together.len() == count - count / 2, "a session stays");
    println!(
        "a switch closes, until its session's client sees the end, ms: {} one by one {:.1}; {} at once {:.1}   (goal 1000; least/median/most)",
        one_by_one.len(),
        Spread::of(one_by_one.iter().copied()),
        together.len(),
        Spread::of(together.iter().copied())
    );
    Ok(())
}
