//! What do the links of 10,000 practices cost one gateway, how long is it until all are back, and who feels it meanwhile?
//! Absent on purpose: the network; all is loopback, the practices' own share of the two cores included.
//!
//! The gateway (`pforte serve`, journal durable), the phone, and one process that is all the practices, each from an address of its
//! own in 127.0.0.0/8. They speak the protocol and wait as the agent does: a lost link 0.2 to 3 s; after a refusal from 1 s to a
//! random moment below 2, 4, … 60 s; while nothing answers 2 to 4 s.
//!
//! ```text
//! cargo bench --bench links                 10,000 links
//! cargo bench --bench links -- 2000         another number
//! cargo bench --bench links -- 2000 memory  or: storms, close, cpu
//! cargo bench --bench links -- gateway=FILE of another build
//! ```
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark starts programs, prints numbers, and shares the tests' client and the login's servers"
)]

#[path = "../tests/served/client.rs"]
mod client;
#[path = "links/fleet.rs"]
mod fleet;
#[path = "login/measure.rs"]
mod measure;
#[path = "links/practice.rs"]
mod practice;
#[path = "login/roles.rs"]
mod roles;
#[path = "login/servers.rs"]
mod servers;
#[path = "links/technician.rs"]
mod technician;
#[path = "links/town.rs"]
mod town;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet::{Fleet, Linked};
use measure::Spread;
use servers::Server as _;
use technician::Logins;
use town::Town;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LINKS: usize = 10_000;
const ROUNDS: usize = 3;
/// The longest that a storm may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(90);
/// Until nothing of a storm is left to do.
const CALM: Duration = Duration::from_secs(3);
/// Two rounds of every link's `Alive`.
const CLOSED_FOR: Duration = Duration::from_secs(40);
/// Two rounds of every open link's renewal.
const OPEN_FOR: Duration = Duration::from_secs(30);
/// Sites with a session whose switch is closed.
const SESSIONS: usize = 100;

/// What the command line asks for.
struct Plan {
    links: usize,
    parts: Vec<String>,
    gateway: PathBuf,
}

impl Plan {
    fn of(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut plan = Self { links: LINKS, parts: Vec::new(), gateway: env!("CARGO_BIN_EXE_pforte").into() };
        for word in words.filter(|word| !word.starts_with('-')) {
            if let Some(file) = word.strip_prefix("gateway=") {
                plan.gateway = std::path::absolute(file)?;
            } else if word.starts_with(|c: char| c.is_ascii_digit()) {
                plan.links = word.parse()?;
            } else {
                ensure!(
                    ["memory", "storms", "close", "cpu"].contains(&word.as_str()),
                    "{word}: what is that?"
                );
                plan.parts.push(word);
            }
        }
        Ok(plan)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|p| p == part)
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if roles::take().await? || practice::take().await? {
            return Ok(());
        }
        let plan = Plan::of(std::env::args().skip(1))?;
        servers::raise_open_files();
        let begun = Instant::now();
        let mut town = Town::build(plan.links).await?;
        println!(
            "{} links from as many addresses; built in {:.1} s",
            plan.links,
            begun.elapsed().as_secs_f64()
        );
        if plan.wants("memory") {
            memory(&plan, &mut town).await?;
        }
        if ["storms", "close", "cpu"].iter().any(|part| plan.wants(part)) {
            life(&plan, &mut town).await?;
        }
        println!("all of it took {:.0} s", begun.elapsed().as_secs_f64());
        Ok(())
    })
}

/// What a link holds, each round a gateway of its own; and how long until all are linked from nothing.
async fn memory(plan: &Plan, town: &mut Town) -> Result<()> {
    let (mut rss, mut pss) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        let gateway = town.start(&plan.gateway).await?;
        let started = begun.elapsed();
        let mut fleet = Fleet::start(plan.links, town).await?;
        // The first few bring threads, pools and pages that are no link's.
        fleet.link(4).await?;
        fleet.linked(4, PATIENCE).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = measure::memory(gateway.pid())?;
        let cpu = measure::cpu(gateway.pid())?;
        fleet.link(plan.links).await?;
        let linked = fleet.linked(plan.links, PATIENCE).await?;
        tokio::time::sleep(CALM).await;
        let cpu = measure::cpu(gateway.pid())?.saturating_sub(cpu);
        let after = measure::memory(gateway.pid())?;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / (plan.links - 4) as f64;
        println!(
            "round {round}: from nothing {linked}; gateway {:.3} CPU ms a link, up in {:.1} s, {} MiB without links, {} MiB with",
            cpu.as_secs_f64() * 1000.0 / plan.links as f64,
            started.as_secs_f64(),
            before.1 / 1024,
            after.1 / 1024,
        );
        rss.push(each(before.0, after.0));
        pss.push(each(before.1, after.1));
        fleet.end().await?;
        gateway.stop().await?;
    }
    println!(
        "KiB a link   RSS {:>20.1}   PSS {:>20.1}   (goal 48; least/median/most of {ROUNDS})",
        Spread::of(rss.into_iter()),
        Spread::of(pss.into_iter())
    );
    Ok(())
}

/// One gateway: calm, storms, its death, and what its switches close.
async fn life(plan: &Plan, town: &mut Town) -> Result<()> {
    let gateway = town.start(&plan.gateway).await?;
    let mut fleet = Fleet::start(plan.links, town).await?;
    let calm = Logins::begin(town);
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("no link: {}", calm.end().await?);
    if plan.wants("cpu") {
        idle("its files alone", 0, CALM * 4, gateway.pid()).await?;
    }
    fleet.link(plan.links).await?;
    storm("from nothing", plan, town, &mut fleet, gateway.pid()).await?;
    if plan.wants("cpu") {
        idle("closed", plan.links, CLOSED_FOR, gateway.pid()).await?;
    }
    if plan.wants("close") {
        technician::closes(town, &mut fleet, SESSIONS.min(plan.links)).await?;
    }
    if plan.wants("cpu") {
        let open = 1000.min(plan.links);
        fleet.open(open).await?;
        tokio::time::sleep(CALM).await;
        idle("of them 1,000 open", plan.links, OPEN_FOR, gateway.pid()).await?;
        fleet.close_all().await?;
    }
    if plan.wants("storms") {
        fleet.cut().await?;
        storm("all lost at once", plan, town, &mut fleet, gateway.pid()).await?;
        gateway.kill().await?;
        let begun = Instant::now();
        let gateway = town.start(&plan.gateway).await?;
        println!(
            "killed with SIGKILL, started again, and listening after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        storm("after the gateway's death", plan, town, &mut fleet, gateway.pid()).await?;
        gateway.stop().await?;
    } else {
        gateway.stop().await?;
    }
    fleet.end().await
}

/// Waits until all are linked, with a technician who logs in once a second.
async fn storm(name: &str, plan: &Plan, town: &Town, fleet: &mut Fleet, pid: u32) -> Result<()> {
    let before = measure::cpu(pid)?;
    let logins = Logins::begin(town);
    let linked: Linked = fleet.linked(plan.links, PATIENCE).await?;
    let logins = logins.end().await?;
    let cpu = measure::cpu(pid)?.saturating_sub(before);
    println!(
        "storm, {name}: {linked}; gateway {:.3} CPU ms a link; meanwhile {logins}",
        cpu.as_secs_f64() * 1000.0 / plan.links as f64
    );
    tokio::time::sleep(CALM).await;
    Ok(())
}

/// The gateway's CPU with nobody but the links.
async fn idle(name: &str, links: usize, time: Duration, pid: u32) -> Result<()> {
    let (before, begun) = (measure::cpu(pid)?, Instant::now());
    tokio::time::sleep(time).await;
    let cpu = measure::cpu(pid)?.saturating_sub(before);
    println!(
        "idle, {links} links, {name}: {:.2} % of a core over {} s",
        cpu.as_secs_f64() * 100.0 / begun.elapsed().as_secs_f64(),
        time.as_secs()
    );
    Ok(())
}
