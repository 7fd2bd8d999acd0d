//! What does a hop cost beside the system's sshd as the jump? One run, all jumps by turns, ratios of medians.
//! Absent on purpose: the network; all is loopback, and ratios carry where absolutes do not.
//!
//! The gateway (`pforte serve`, journal durable), sshd, the phone, the machine behind them and the client are processes of
//! their own, so that the CPU of each is its own. The client is the system's ssh: `ssh -W` to a TCP sink, source and echo;
//! `ssh -J` to a shell at a second sshd.
//!
//! ```text
//! cargo bench --bench hop                     all of it
//! cargo bench --bench hop -- transfer         or: whole, echo, login, idle; aes128, chacha20, up, down
//! cargo bench --bench hop -- before=FILE      beside another build of the gateway
//! cargo bench --bench hop -- mib=256 rounds=9
//! ```
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark starts programs, prints numbers, and shares the tests' client and the login's servers"
)]

#[path = "../tests/served/client.rs"]
mod client;
#[path = "hop/jumps.rs"]
mod jumps;
#[path = "hop/machine.rs"]
mod machine;
#[path = "login/measure.rs"]
mod measure;
#[path = "login/roles.rs"]
mod roles;
#[path = "hop/runs.rs"]
mod runs;
#[path = "login/servers.rs"]
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jumps::{CIPHERS, Jumps};
use machine::Machine;
use measure::Spread;
use roles::Idle;
use runs::{Load, Way};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ECHOES: usize = 3000;
const LOGINS: usize = 15;
const IDLE: usize = 500;
const IDLE_SSHD: usize = 50;
const TERMINALS: usize = 40;

/// What the command line asks for.
struct Plan {
    only: Vec<String>,
    others: Vec<(String, PathBuf)>,
    bytes: usize,
    rounds: usize,
}

impl Plan {
    fn of(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut plan = Self { only: Vec::new(), others: Vec::new(), bytes: 1 << 30, rounds: 5 };
        for word in words.filter(|word| !word.starts_with('-')) {
            match word.split_once('=') {
                None => plan.only.push(word),
                Some(("mib", n)) => plan.bytes = n.parse::<usize>()? << 20,
                Some(("rounds", n)) => plan.rounds = n.parse()?,
                Some((name, file)) => plan.others.push((name.to_owned(), std::path::absolute(file)?)),
            }
        }
        Ok(plan)
    }

    /// Of a group of words, those that were said; all if none was.
    fn wants(&self, word: &str, group: &[&str]) -> bool {
        let said = |word: &str| self.only.iter().any(|o| o == word);
        said(word) || !group.iter().any(|word| said(word))
    }

    fn part(&self, word: &str) -> bool {
        self.wants(word, &["transfer", "whole", "echo", "login", "idle"])
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if roles::take().await? || machine::take().await? {
            return Ok(());
        }
        let plan = Plan::of(std::env::args().skip(1))?;
        servers::raise_open_files();
        let mut machine = Machine::start(plan.bytes).await?;
        let jumps = Jumps::start(&machine, &plan.others).await?;
        if plan.part("transfer") {
            transfers(&plan, &jumps, &mut machine, Load::Bare).await?;
        }
        if plan.part("whole") {
            transfers(&plan, &jumps, &mut machine, Load::Whole).await?;
        }
        if plan.part("echo") {
            echoes(&plan, &jumps, &machine).await?;
        }
        if plan.part("login") {
            logins(&jumps, Load::Bare).await?;
            logins(&jumps, Load::Whole).await?;
        }
        if plan.part("idle") {
            idle(&jumps).await?;
        }
        jumps.stop().await
    })
}

async fn transfers(plan: &Plan, jumps: &Jumps, machine: &mut Machine, load: Load) -> Result<()> {
    let mib = plan.bytes >> 20;
    match load {
        Load::Bare => println!("ssh -W, {mib} MiB (goal: 1.0 of sshd's MB/s at 0.8 of its CPU)"),
        Load::Whole => println!("ssh -J, {mib} MiB (goal of a recorded hop: 0.75 of sshd's MB/s)"),
    }
    for cipher in CIPHERS {
        for way in [Way::Up, Way::Down] {
            let (short, _) = cipher.split_once('-').unwrap_or((cipher, ""));
            let word = if way == Way::Up { "up" } else { "down" };
            let short = if short == "chacha20" { "chacha20" } else { "aes128" };
            if !plan.wants(short, &["aes128", "chacha20"]) || !plan.wants(word, &["up", "down"]) {
                continue;
            }
            let mut all: Vec<_> = jumps.all.iter().map(|_| Vec::new()).collect();
            let (busy, since) = (runs::busy()?, std::time::Instant::now());
            // A round that is not counted: pools fill, pages are touched.
            for round in 0..=plan.rounds {
                for (jump, took) in jumps.all.iter().zip(&mut all) {
                    let one = runs::transfer(jumps, jump, machine, load, way, cipher, plan.bytes).await?;
                    took.extend(one.filter(|_| round > 0));
                }
            }
            let busy = (runs::busy()? - busy) / since.elapsed().as_secs_f64();
            println!("  {short} {word}   (all of the machine: {busy:.2} cores)");
            let mut first = None;
            for (jump, took) in jumps.all.iter().zip(&all) {
                let speed = Spread::of(took.iter().map(runs::Took::mb_s));
                let cpu = Spread::of(took.iter().map(runs::Took::cpu));
                let (their_speed, their_cpu) = *first.get_or_insert((speed.median, cpu.median));
                println!(
                    "    {:<10} {speed:>18.0} MB/s {cpu:>16.2} CPU-s/GiB   x{:.2} the MB/s, x{:.2} the CPU",
                    jump.name,
                    speed.median / their_speed,
                    cpu.median / their_cpu
                );
            }
        }
    }
    Ok(())
}

async fn echoes(plan: &Plan, jumps: &Jumps, machine: &Machine) -> Result<()> {
    println!("one byte and back, {ECHOES} times, µs (goal: 1,000 more than direct at p99)");
    let at = |took: &[Duration], percent: usize| {
        took.get(took.len() * percent / 100).map_or(f64::NAN, |t| t.as_secs_f64() * 1e6)
    };
    let mut all: Vec<Vec<(f64, f64)>> = vec![Vec::new(); jumps.all.len() + 1];
    for _ in 0..plan.rounds {
        let direct = runs::direct(machine, ECHOES).await?;
        all[0].push((at(&direct, 50), at(&direct, 99)));
        for (n, jump) in jumps.all.iter().enumerate() {
            if let Some(took) = runs::echoes(jumps, jump, ECHOES).await? {
                all[n + 1].push((at(&took, 50), at(&took, 99)));
            }
        }
    }
    let names = std::iter::once("direct").chain(jumps.all.iter().map(|jump| jump.name.as_str()));
    for (name, took) in names.zip(all) {
        let (middle, late) = (Spread::of(took.iter().map(|t| t.0)), Spread::of(took.iter().map(|t| t.1)));
        println!("    {name:<10} p50 {middle:>18.0}   p99 {late:>18.0}");
    }
    Ok(())
}

async fn logins(jumps: &Jumps, load: Load) -> Result<()> {
    match load {
        Load::Bare => println!("ssh -W, from its start to the first byte back, ms, {LOGINS} times"),
        Load::Whole => println!("ssh -J, the same (goal of a recorded hop: 0.5 of sshd's)"),
    }
    let mut all: Vec<_> = jumps.all.iter().map(|_| Vec::new()).collect();
    for round in 0..=LOGINS {
        for (jump, took) in jumps.all.iter().zip(&mut all) {
            took.extend(runs::login(jumps, jump, load).await?.filter(|_| round > 0));
        }
    }
    let mut first = None;
    for (jump, took) in jumps.all.iter().zip(all) {
        let wall = Spread::of(took.iter().map(|t| t.as_secs_f64() * 1000.0));
        let theirs = *first.get_or_insert(wall.median);
        println!("    {:<10} {wall:>20.1}   x{:.2}", jump.name, wall.median / theirs);
    }
    Ok(())
}

async fn idle(jumps: &Jumps) -> Result<()> {
    // First: what ended sessions leave to the allocator would hide what the next ones take.
    println!("idle terminals at the host by ssh -J, KiB each at the jump (goal of a recorded one: 128)");
    for jump in jumps.all.iter().filter(|jump| jump.name != "sealed") {
        let grown = runs::terminals(jumps, jump, TERMINALS).await?;
        println!(
            "    {:<10} {TERMINALS:>4} at once   RSS {:>8.1}   PSS {:>8.1}",
            jump.name, grown.rss, grown.pss
        );
    }
    println!("idle connections with one hop open, KiB each");
    for (n, jump) in jumps.all.iter().enumerate().filter(|(_, jump)| !jump.name.starts_with("recorded")) {
        let count = if n == 0 { IDLE_SSHD } else { IDLE };
        let grown = measure::idle_at(jump.pid, &jump.target, Idle::Hop, count).await?;
        let (rss, pss) = (grown.rss, grown.pss);
        println!("    {:<10} {count:>4} at once   RSS {rss:>8.1}   PSS {pss:>8.1}", jump.name);
    }
    Ok(())
}
