//! The other processes of the bench: this same program, told by its environment what it is.

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pforte::clock::Clock;
use pforte::factor::phone::{Mode, Phone, PhoneConfig};
use pforte::secret::Secret;
use russh::keys::PrivateKey;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use super::client::{Client, HERE, configuration, key};

const ROLE: &str = "PFORTE_BENCH_ROLE";

/// What a process of the bench is told.
#[derive(Serialize, Deserialize)]
enum Role {
    Phone { directory: PathBuf, secret: String },
    Load { target: Target, clients: usize, seconds: f64 },
    Hold { target: Target, what: Idle, count: usize },
}

/// A server as a client sees it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Target {
    pub address: SocketAddr,
    pub user: String,
    pub key: PathBuf,
    pub command: String,
    /// The prompt's text.
    pub sign: Option<String>,
    /// The host that a hop leads to.
    pub hop: Option<(String, u16)>,
    /// Each client is a person of their own, as in life: one person has one open question at a time.
    pub crowd: bool,
}

impl Target {
    /// The person that client `n` is.
    fn person(&self, n: usize) -> (Arc<Self>, Arc<PrivateKey>) {
        let mut own = self.clone();
        if self.crowd && n > 0 {
            own.user = format!("firm-jane{n}.doe");
            own.key.as_mut_os_string().push(n.to_string());
        }
        let key = key(&own.key);
        (Arc::new(own), key)
    }
}

/// What an idle session has open.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum Idle {
    NoChannel,
    Prompt,
    Hop,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Idle::NoChannel => "no channel",
            Idle::Prompt => "open prompt",
            Idle::Hop => "open hop",
        })
    }
}

/// What the load came to.
#[derive(Serialize, Deserialize)]
pub struct Done {
    pub count: usize,
    pub seconds: f64,
    pub p50_ms: f64,
}

/// Plays the role that the environment gives, if it gives one.
pub async fn take() -> Result<bool> {
    let Ok(role) = std::env::var(ROLE) else { return Ok(false) };
    match serde_json::from_str(&role)? {
        Role::Phone { directory, secret } => ring(directory, secret).await?,
        Role::Load { target, clients, seconds } => {
            let done = load(target, clients, Duration::from_secs_f64(seconds)).await?;
            println!("{}", serde_json::to_string(&done)?);
        }
        Role::Hold { target, what, count } => hold(target, what, count).await?,
    }
    Ok(true)
}

/// Starts this program once more, in a role. It ends when its standard input does.
fn spawn(role: &Role) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(ROLE, serde_json::to_string(role)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
    Ok((child, lines))
}

/// A phone that says yes at once; its process and its URL.
pub async fn phone(directory: &Path, secret: &str) -> Result<(Child, String)> {
    let (child, mut lines) = spawn(&Role::Phone { directory: directory.into(), secret: secret.into() })?;
    Ok((child, lines.next_line().await?.context("no phone")?))
}

/// Logins for some seconds from a process of their own.
pub async fn loaded(target: &Target, clients: usize, time: Duration) -> Result<Done> {
    let role = Role::Load { target: target.clone(), clients, seconds: time.as_secs_f64() };
    let (_child, mut lines) = spawn(&role)?;
    Ok(serde_json::from_str(&lines.next_line().await?.context("the load ended early")?)?)
}

/// Sessions that stay until the process is dropped.
pub async fn held(target: &Target, what: Idle, count: usize) -> Result<Child> {
    let (child, mut lines) = spawn(&Role::Hold { target: target.clone(), what, count })?;
    ensure!(lines.next_line().await?.as_deref() == Some("held"), "not all of {count} got in");
    Ok(child)
}

pub async fn until_input_ends() {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()).ok()).await.ok();
}

async fn ring(directory: PathBuf, secret: String) -> Result<()> {
    let config =
        PhoneConfig { directory, secret: Secret::new(secret), mode: Mode::Reply, latency: Duration::ZERO };
    let phone = Phone::start(TcpListener::bind("127.0.0.1:0").await?, config, Clock::system())?;
    println!("{}", phone.url());
    until_input_ends().await;
    Ok(())
}

async fn log_in(target: &Target, key: &Arc<PrivateKey>) -> Result<Client> {
    let login = Client::log_in(configuration(), target.address, HERE, &target.user, key.clone());
    let login = tokio::time::timeout(Duration::from_mins(1), login).await.context("a login hangs")??;
    login.context("a login was refused")
}

async fn load(target: Target, clients: usize, time: Duration) -> Result<Done> {
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for n in 0..clients {
        let (target, key) = target.person(n);
        all.spawn(async move {
            let mut took = Vec::new();
            while begun.elapsed() < time {
                let since = Instant::now();
                let client = log_in(&target, &key).await?;
                let answer = client.exec(&target.command).await?;
                if answer.code != Some(0) {
                    bail!("{}: {answer:?}", target.command);
                }
                client.leave().await?;
                took.push(since.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(one) = all.join_next().await {
        took.extend(one??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let p50_ms = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok(Done { count: took.len(), seconds, p50_ms })
}

async fn hold(target: Target, what: Idle, count: usize) -> Result<()> {
    let (target, key, next) = (Arc::new(target.clone()), key(&target.key), Arc::new(AtomicUsize::new(0)));
    let mut all = JoinSet::new();
    for _ in 0..16 {
        let (target, key, next) = (target.clone(), key.clone(), next.clone());
        all.spawn(async move {
            let mut held = Vec::new();
            while next.fetch_add(1, Ordering::SeqCst) < count {
                let client = log_in(&target, &key).await?;
                let channel = match (what, &target.sign, &target.hop) {
                    (Idle::Prompt, Some(sign), _) => Some(client.prompt(sign.as_bytes()).await?),
                    (Idle::Hop, _, Some((host, port))) => Some(client.hop(host, *port).await?),
                    (Idle::Prompt | Idle::Hop | Idle::NoChannel, _, _) => None,
                };
                held.push((client, channel));
            }
            anyhow::Ok(held)
        });
    }
    let mut held = Vec::new();
    while let Some(one) = all.join_next().await {
        held.extend(one??);
    }
    ensure!(held.len() == count, "{} of {count}", held.len());
    println!("held");
    until_input_ends().await;
    Ok(())
}
