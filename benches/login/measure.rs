//! What the kernel says of a server: CPU with what it has reaped, resident memory with what it has started.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::roles::{self, Idle, Target};
use super::servers::Server;

/// Smallest, middle and largest.
pub struct Spread {
    least: f64,
    pub median: f64,
    most: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(values.len() / 2), most: at(values.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let text = format!("{:.digits$}/{:.digits$}/{:.digits$}", self.least, self.median, self.most);
        write!(f, "{text:>width$}", width = f.width().unwrap_or(0))
    }
}

/// Logins for some seconds.
pub struct Login {
    pub count: usize,
    seconds: f64,
    pub p50_ms: f64,
    cpu: Duration,
}

impl Login {
    pub async fn of(server: &impl Server, target: &Target, clients: usize, time: Duration) -> Result<Self> {
        let before = cpu(server.pid())?;
        let done = roles::loaded(target, clients, time).await?;
        settled(server.pid()).await?;
        let cpu = cpu(server.pid())?.saturating_sub(before);
        ensure!(done.count > 0, "nobody got in");
        Ok(Self { count: done.count, seconds: done.seconds, p50_ms: done.p50_ms, cpu })
    }

    pub fn a_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    pub fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.count as f64
    }
}

/// KiB that each session added.
pub struct Grown {
    pub rss: f64,
    pub pss: f64,
}

/// Opens sessions and looks at the server before and after.
pub async fn idle(server: &impl Server, target: &Target, what: Idle, count: usize) -> Result<Grown> {
    idle_at(server.pid(), target, what, count).await
}

/// The same of a server's process.
pub async fn idle_at(pid: u32, target: &Target, what: Idle, count: usize) -> Result<Grown> {
    // Threads, pools and pages that the first logins bring are no session's.
    drop(roles::held(target, what, 4).await?);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (rss, pss) = memory(pid)?;
    let clients = roles::held(target, what, count).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (rss_then, pss_then) = memory(pid)?;
    drop(clients);
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
    Ok(Grown { rss: each(rss, rss_then), pss: each(pss, pss_then) })
}

/// User and system time of a process and of all that it has waited for (proc(5): fields 14 to 17, in ticks).
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("stat")?.1;
    let ticks: Vec<u64> = fields.split(' ').skip(11).take(4).map(str::parse).collect::<Result<_, _>>()?;
    let each = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(each * u32::try_from(ticks.iter().sum::<u64>())?)
}

/// Waits until a server's processes for the last logins have ended, and its own work too.
pub async fn settled(pid: u32) -> Result<()> {
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if below(pid)?.len() == 1 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Ok(());
        }
    }
    anyhow::bail!("sessions stay after their clients")
}

/// A process and all below it.
pub fn below(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        for task in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten() {
            let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    Ok(all)
}

/// KiB resident, and KiB in proportion to who shares them, of a process and all below it.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let (mut rss, mut pss) = (0, 0);
    for pid in below(pid)? {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        };
        rss += field("Rss:").unwrap_or(0);
        pss += field("Pss:").unwrap_or(0);
    }
    ensure!(rss > 0, "the kernel tells no memory of {pid}");
    Ok((rss, pss))
}
