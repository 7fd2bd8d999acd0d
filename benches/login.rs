//! What does a login cost beside the system's sshd, and an idle session? One run, both servers by turns.
//! Absent on purpose: the network; all is loopback, and ratios carry where absolutes do not.
//!
//! Four processes: the gateway (`pforte serve`, journal durable), sshd, the phone and the load, so that the CPU of each
//! is its own. Key, phone, `whoami`, good-bye against key, `/bin/true`, good-bye; curve25519 for both.
//!
//! ```text
//! cargo bench --bench login              all of it
//! cargo bench --bench login -- login     logins only
//! cargo bench --bench login -- idle      idle sessions only
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
    reason = "a benchmark starts programs, prints numbers, and shares the tests' client"
)]

#[path = "../tests/served/client.rs"]
mod client;
#[path = "login/measure.rs"]
mod measure;
#[path = "login/roles.rs"]
mod roles;
#[path = "login/servers.rs"]
mod servers;

use std::time::Duration;

use anyhow::Result;
use measure::{Login, Spread};
use roles::{Idle, Target};
use servers::{Gateway, Sshd, Stage};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
const LOAD: Duration = Duration::from_secs(4);
const CLIENTS: [usize; 2] = [1, 32];
const IDLE: usize = 1000;
const IDLE_SSHD: usize = 100;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if roles::take().await? {
            return Ok(());
        }
        let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
        let wanted = |what: &str| only.is_empty() || only.iter().any(|o| o == what);
        servers::raise_open_files();
        let stage = Stage::set().await?;
        if wanted("login") {
            logins(&stage).await?;
        }
        if wanted("idle") {
            idle(&stage).await?;
        }
        Ok(())
    })
}

async fn logins(stage: &Stage) -> Result<()> {
    let gateway = Gateway::start(stage).await?;
    let sshd = Sshd::start(stage).await?;
    println!("login, command, good-bye; {} s each, {ROUNDS} rounds, by turns", LOAD.as_secs());
    for clients in CLIENTS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // A round that is not counted: pools fill, pages are touched.
        for round in 0..=ROUNDS {
            let their = Login::of(&sshd, &sshd.target(stage), clients, LOAD).await?;
            let our = Login::of(&gateway, &gateway.target(stage), clients, LOAD).await?;
            if round > 0 {
                theirs.push(their);
                ours.push(our);
            }
        }
        let show = |name: &str, all: &[Login]| {
            let rate = Spread::of(all.iter().map(Login::a_second));
            let cpu = Spread::of(all.iter().map(Login::cpu_ms));
            let middle = Spread::of(all.iter().map(|l| l.p50_ms));
            let count: usize = all.iter().map(|l| l.count).sum();
            println!(
                "{clients:>3} clients {name:<6} {rate:>26.1} logins/s {cpu:>23.3} CPU ms {middle:>23.2} p50 ms   ({count} logins)"
            );
            (rate.median, cpu.median)
        };
        let (their_rate, their_cpu) = show("sshd", &theirs);
        let (our_rate, our_cpu) = show("pforte", &ours);
        let (faster, cheaper) = (our_rate / their_rate, their_cpu / our_cpu);
        println!(
            "{clients:>3} clients ratio: {faster:.1} x the logins/s, 1/{cheaper:.1} of the CPU (goal with 32: 8 x, 1/10)"
        );
    }
    gateway.stop().await?;
    sshd.stop().await
}

async fn idle(stage: &Stage) -> Result<()> {
    println!("idle sessions, KiB each (resident, proportional), {ROUNDS} rounds");
    for what in [Idle::NoChannel, Idle::Prompt] {
        let (mut rss, mut pss) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let gateway = Gateway::start(stage).await?;
            let grown = measure::idle(&gateway, &gateway.target(stage), what, IDLE).await?;
            rss.push(grown.rss);
            pss.push(grown.pss);
            gateway.stop().await?;
        }
        let (rss, pss) = (Spread::of(rss.into_iter()), Spread::of(pss.into_iter()));
        println!("{IDLE} at pforte, {what:<11} RSS {rss:>20.1}   PSS {pss:>20.1}   (goal 64)");
    }
    let mut pss = Vec::new();
    for _ in 0..ROUNDS {
        let sshd = Sshd::start(stage).await?;
        let target = Target { sign: None, ..sshd.target(stage) };
        pss.push(measure::idle(&sshd, &target, Idle::NoChannel, IDLE_SSHD).await?.pss);
        sshd.stop().await?;
    }
    println!(
        "{IDLE_SSHD} at sshd, {:<12} {:>25} PSS {:>20.1}",
        "no channel",
        "",
        Spread::of(pss.into_iter())
    );
    Ok(())
}
