//! How many durable lines a second: one writer against sixty-four, and how fast a journal is verified.
//! Absent on purpose: statistics; the disk's own sync is the yardstick, and it is printed beside.
//!
//! `cargo bench --bench journal [-- DIR]`; DIR is where the disk to be measured is, default: here.
#![expect(clippy::print_stdout, reason = "a bench prints its numbers")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pforte::clock::Clock;
use pforte::journal::{Entry, Event, Journal, Options, verify};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

const LONG: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let at =
        std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map_or_else(|| ".".into(), PathBuf::from);
    let dir = tempfile::tempdir_in(at)?;
    let syncs = raw_syncs(dir.path())?;
    println!("raw fdatasync of one line:   {syncs:>8.0} /s");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let journal_dir = dir.path().join("journal");
    let one = runtime.block_on(writers(&journal_dir, 1))?;
    println!("1 writer:                    {one:>8.0} durable lines/s");
    let many = runtime.block_on(writers(&journal_dir, 64))?;
    println!("64 writers:                  {many:>8.0} durable lines/s, {:.1} times one", many / one);
    let begin = Instant::now();
    let report = verify(&journal_dir, key().public_key())?;
    anyhow::ensure!(report.is_sound(), "{report}");
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.lines as f64 / begin.elapsed().as_secs_f64();
    println!("verify:                      {rate:>8.0} lines/s over {} lines", report.lines);
    Ok(())
}

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

fn raw_syncs(dir: &Path) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(dir.join("raw"))?;
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < LONG {
        file.write_all(&[b'x'; 420])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

async fn writers(dir: &Path, count: usize) -> anyhow::Result<f64> {
    let journal = Journal::open(dir, key(), Clock::system(), Options::default()).await?;
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let journal = journal.clone();
        tasks.spawn(async move {
            let mut lines = 0_u32;
            while begin.elapsed() < LONG {
                journal.append(entry()?).await?;
                lines += 1;
            }
            anyhow::Ok(lines)
        });
    }
    let mut lines = 0;
    while let Some(done) = tasks.join_next().await {
        lines += done??;
    }
    let rate = f64::from(lines) / begin.elapsed().as_secs_f64();
    journal.close().await?;
    Ok(rate)
}

fn entry() -> anyhow::Result<Entry> {
    Ok(Entry {
        user: Some("firm-jane.doe".parse()?),
        from: Some("203.0.113.7:50122".parse()?),
        factor: Some("push".into()),
        site: Some("praxis-mueller".parse()?),
        target: Some("konnektor/main".into()),
        rule: Some("rules.toml:3".into()),
        command: Some(b"konnektor backup".to_vec()),
        ..Entry::new(Event::Started)
    })
}
