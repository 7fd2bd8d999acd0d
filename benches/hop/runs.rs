//! One run through one jump: a transfer, one-byte echoes, a login. What it took, and what it cost the jump.
//! Absent on purpose: comparing.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::jumps::{Jump, Jumps};
use super::machine::{Host, Machine};
use super::measure;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// What `ssh` carries through the jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// `ssh -W`: a bare TCP connection.
    Bare,
    /// `ssh -J`: a session of its own inside.
    Whole,
}

/// What a transfer took.
pub struct Took {
    wall: Duration,
    cpu: Duration,
    bytes: usize,
}

impl Took {
    pub fn mb_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.wall.as_secs_f64()
    }

    /// The jump's CPU-seconds for a GiB.
    pub fn cpu(&self) -> f64 {
        self.cpu.as_secs_f64() * f64::from(1 << 30) / self.bytes as f64
    }
}

const AT_MOST: Duration = Duration::from_mins(2);

/// One transfer of `bytes`, its login not counted; `None` if the jump does not carry this.
pub async fn transfer(
    jumps: &Jumps,
    jump: &Jump,
    machine: &mut Machine,
    load: Load,
    way: Way,
    cipher: &str,
    bytes: usize,
) -> Result<Option<Took>> {
    let ssh = match (load, way) {
        (Load::Bare, Way::Up) => jumps.bare(jump, Host::Sink, Some(cipher)),
        (Load::Bare, Way::Down) => jumps.bare(jump, Host::Source, Some(cipher)),
        (Load::Whole, Way::Up) => jumps.whole(jump, Some(cipher), "echo begun >&2; cat >/dev/null"),
        (Load::Whole, Way::Down) => {
            jumps.whole(jump, Some(cipher), &format!("echo begun >&2; head -c {bytes} /dev/zero"))
        }
    };
    let Some(mut ssh) = ssh else { return Ok(None) };
    let zeros = tempfile::tempfile()?;
    zeros.set_len(bytes as u64)?;
    ssh.stdin(if way == Way::Up { zeros.into() } else { Stdio::null() }).stdout(Stdio::null());
    ssh.stderr(if load == Load::Whole { Stdio::piped() } else { Stdio::inherit() });
    let mut child = ssh.spawn()?;
    let run = async {
        match load {
            Load::Bare => machine.said("begun").await?,
            Load::Whole => begun(&mut child).await?,
        }
        let (since, before) = (Instant::now(), so_far(jump.pid)?);
        if (load, way) == (Load::Bare, Way::Up) {
            machine.said("ended").await?;
        }
        let early = since.elapsed();
        let status = child.wait().await?;
        ensure!(status.success(), "{}: ssh ended with {status}", jump.name);
        let wall = if (load, way) == (Load::Bare, Way::Up) { early } else { since.elapsed() };
        measure::settled(jump.pid).await?;
        let cpu = measure::cpu(jump.pid)?.saturating_sub(before);
        Ok(Some(Took { wall, cpu, bytes }))
    };
    tokio::time::timeout(AT_MOST, run).await.with_context(|| format!("{} stands still", jump.name))?
}

async fn begun(child: &mut Child) -> Result<()> {
    let mut lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
    let line = lines.next_line().await?.context("nothing began")?;
    ensure!(line == "begun", "{line}");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}

/// The CPU time of a server so far: its own, and of those who run for it and are not yet counted there.
fn so_far(pid: u32) -> Result<Duration> {
    let mut all = Duration::ZERO;
    for pid in measure::below(pid)? {
        all += measure::cpu(pid)?;
    }
    Ok(all)
}

/// `ssh` with an echo behind it, up: its login is done and one byte has come back.
async fn echoing(mut ssh: Command) -> Result<(Child, Duration)> {
    let since = Instant::now();
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let first = async {
        child.stdin.as_mut().context("stdin")?.write_all(b"x").await?;
        child.stdout.as_mut().context("stdout")?.read_exact(&mut [0]).await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(AT_MOST, first).await.context("no echo")??;
    Ok((child, since.elapsed()))
}

/// From ssh's start to the first byte back through the jump.
pub async fn login(jumps: &Jumps, jump: &Jump, load: Load) -> Result<Option<Duration>> {
    let ssh = match load {
        Load::Bare => jumps.bare(jump, Host::Echo, None),
        Load::Whole => jumps.whole(jump, None, "cat"),
    };
    let Some(ssh) = ssh else { return Ok(None) };
    let (mut child, took) = echoing(ssh).await?;
    drop(child.stdin.take());
    ensure!(child.wait().await?.success(), "{}: no good end", jump.name);
    measure::settled(jump.pid).await?;
    Ok(Some(took))
}

/// `count` shells with a terminal at the host, idle after their prompt; what each added to the jump.
pub async fn terminals(jumps: &Jumps, jump: &Jump, count: usize) -> Result<measure::Grown> {
    let mut held = Vec::new();
    let mut before = (0, 0);
    // Threads, pools and pages that the first ones bring are no session's.
    for n in 0..count + 4 {
        if n == 4 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            before = measure::memory(jump.pid)?;
        }
        let ssh = jumps.terminal(jump, "exec cat").context("no way to a shell")?;
        held.push(echoing_line(ssh).await?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = measure::memory(jump.pid)?;
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
    let grown = measure::Grown { rss: each(before.0, after.0), pss: each(before.1, after.1) };
    drop(held);
    measure::settled(jump.pid).await?;
    Ok(grown)
}

/// An ssh whose far end has given a line back.
async fn echoing_line(mut ssh: Command) -> Result<Child> {
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = ssh.spawn()?;
    let first = async {
        child.stdin.as_mut().context("stdin")?.write_all(b"x\n").await?;
        child.stdout.as_mut().context("stdout")?.read_exact(&mut [0; 3]).await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(AT_MOST, first).await.context("no echo")??;
    Ok(child)
}

/// `count` one-byte echoes, one behind the other, shortest first.
pub async fn echoes(jumps: &Jumps, jump: &Jump, count: usize) -> Result<Option<Vec<Duration>>> {
    let Some(ssh) = jumps.bare(jump, Host::Echo, None) else { return Ok(None) };
    let (mut child, _) = echoing(ssh).await?;
    let (mut to, mut from) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let since = Instant::now();
        to.write_all(b"x").await?;
        from.read_exact(&mut [0]).await?;
        took.push(since.elapsed());
    }
    drop(to);
    child.wait().await?;
    took.sort();
    Ok(Some(took))
}

/// The same without ssh and without a jump.
pub async fn direct(machine: &Machine, count: usize) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(machine.address(Host::Echo)?).await?;
    stream.set_nodelay(true)?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let since = Instant::now();
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await?;
        took.push(since.elapsed());
    }
    took.sort();
    Ok(took)
}

/// How much CPU time all processes of this machine have had, so that a run can say who else was there.
pub fn busy() -> Result<f64> {
    let text = std::io::read_to_string(File::open(Path::new("/proc/stat"))?)?;
    let first = text.lines().next().context("/proc/stat")?;
    let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((ticks.iter().take(8).sum::<f64>() - idle) / rustix::param::clock_ticks_per_second() as f64)
}
