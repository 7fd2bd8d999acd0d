//! The journal when its process is killed and when its disk is full: what was acknowledged is there.
//! Absent on purpose: a real power cut, which no test of one machine can make.
#![expect(clippy::disallowed_methods, reason = "kills itself as a child process, and mounts a small disk")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pforte::clock::Clock;
use pforte::journal::{self, CannotJournal, Entry, Event, Filter, Journal, Options};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

/// Says to the test executable that it is the child and where it writes.
const CHILD: &str = "PFORTE_TEST_JOURNAL_CHILD";
const RESERVE: u64 = 64 << 10;

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

async fn open(dir: &Path) -> Journal {
    Journal::open(dir, key(), Clock::system(), Options { reserve: RESERVE }).await.unwrap()
}

fn entry(event: Event, command: &str) -> Entry {
    Entry { command: Some(command.into()), ..Entry::new(event) }
}

fn numbers(dir: &Path) -> BTreeSet<u64> {
    let lines = journal::search(dir, Filter::default()).unwrap();
    lines.map(|line| line.unwrap().field("seq").unwrap().as_u64().unwrap()).collect()
}

#[track_caller]
fn assert_sound(dir: &Path) {
    let report = journal::verify(dir, key().public_key()).unwrap();
    assert!(report.is_sound() && report.torn_bytes == 0, "{report}");
}

/// Not a claim of its own: what [`every_acknowledged_line_outlives_kill_9`] starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let journal = open(Path::new(&dir)).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let journal = journal.clone();
        writers.spawn(async move {
            for n in 0_u64.. {
                // Some lines of several pages, so that a write can end in the midst of one.
                let command = if n % 7 == writer % 7 { "x".repeat(8000) } else { format!("{writer} {n}") };
                let seq = journal.append(entry(Event::Started, &command)).await.unwrap().seq;
                writeln!(std::io::stdout(), "acknowledged {seq}").unwrap();
            }
        });
    }
    while writers.join_next().await.is_some() {}
}

#[tokio::test]
async fn every_acknowledged_line_outlives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for _round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal_crash::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut kill_after = rand::random_range(1..200);
        let heard = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in heard.map_while(Result::ok) {
            // The first words of the child are the test harness's, on the same line at times.
            if let Some(seq) = line.rsplit_once("acknowledged ").and_then(|(_, seq)| seq.parse().ok()) {
                acknowledged.insert(seq);
                kill_after -= 1;
                if kill_after == 0 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(kill_after <= 0, "the child ended by itself");
        let journal = open(dir.path()).await;
        journal.close().await.unwrap();
        assert_sound(dir.path());
        let there = numbers(dir.path());
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

/// A real disk of one megabyte.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "pforte-test"];
        let mounted = Command::new("mount").args(mount).arg(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "this test needs root, to mount a small disk: {said}");
        Self(dir)
    }

    fn journal(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    /// Takes all that is left, by the byte.
    fn fill(&self) {
        let mut hog = std::fs::OpenOptions::new().create(true).append(true).open(self.hog()).unwrap();
        while hog.write_all(&[0; 512]).is_ok() {}
    }

    fn hog(&self) -> PathBuf {
        self.0.path().join("hog")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let umounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(umounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// New lines until the disk is full; the refusal.
async fn until_refused(journal: &Journal, acknowledged: &mut BTreeSet<u64>) -> CannotJournal {
    loop {
        match journal.append(entry(Event::Started, "konnektor backup")).await {
            Ok(written) => assert!(acknowledged.insert(written.seq)),
            Err(refused) => return refused,
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_takes_what_ends_running_work_and_loses_nothing() {
    let disk = SmallDisk::new();
    let dir = disk.journal();
    let stalled = Arc::new(AtomicBool::new(false));
    let clock = {
        // The writer asks for the time once a batch: there it can be held up.
        let stalled = Arc::clone(&stalled);
        Clock::of(move || {
            while stalled.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            "2026-11-21T16:00:00Z".parse().unwrap()
        })
    };
    let journal = Journal::open(&dir, key(), clock, Options { reserve: RESERVE }).await.unwrap();
    let mut acknowledged = BTreeSet::new();
    let running = 60;
    for n in 0..running {
        acknowledged.insert(journal.append(entry(Event::Started, &n.to_string())).await.unwrap().seq);
    }
    for _again in 0..2 {
        disk.fill();
        let refused = until_refused(&journal, &mut acknowledged).await;
        let sentence = refused.to_string();
        assert!(sentence.starts_with("the journal cannot be written, so no new work begins: "), "{sentence}");
        assert!(sentence.contains("No space left on device"), "{sentence}");
        assert!(journal.health().is_err());
        // Somebody takes every byte that becomes free: the reserve's room is the journal's all the same.
        disk.fill();
        for n in 0..running {
            let event = if n % 2 == 0 { Event::Finished } else { Event::File };
            acknowledged.insert(journal.append(entry(event, &n.to_string())).await.unwrap().seq);
            assert!(journal.append(entry(Event::Login, "")).await.is_err());
        }
        // Strangers cannot eat the room of those who are in, not even all at once.
        stalled.store(true, Ordering::SeqCst);
        let append = |event, command: String| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(entry(event, &command)).await })
        };
        let flood: Vec<_> = (0..500).map(|_| append(Event::Refused, "x".repeat(8000))).collect();
        let ends: Vec<_> = (0..20).map(|n| append(Event::Finished, format!("in the flood {n}"))).collect();
        // One thread, which runs some sixty tasks between two turns of this one: then all are queued, for one batch.
        for _turn in 0..100 {
            tokio::task::yield_now().await;
        }
        stalled.store(false, Ordering::SeqCst);
        let flood = futures::future::join_all(flood).await;
        assert!(flood.iter().any(|refused| refused.as_ref().unwrap().is_err()));
        acknowledged.extend(flood.into_iter().filter_map(|written| Some(written.unwrap().ok()?.seq)));
        for ended in ends {
            acknowledged.insert(ended.await.unwrap().unwrap().seq);
        }
        while let Ok(written) = journal.append(entry(Event::Refused, "let me in")).await {
            acknowledged.insert(written.seq);
        }
        acknowledged.insert(journal.append(entry(Event::Finished, "the last")).await.unwrap().seq);
        assert_sound(&dir);

        std::fs::remove_file(disk.hog()).unwrap();
        acknowledged.insert(journal.append(entry(Event::Started, "room again")).await.unwrap().seq);
        assert_eq!(journal.health(), Ok(()));
        assert_eq!(std::fs::metadata(dir.join("RESERVE")).unwrap().len(), RESERVE);
    }
    journal.close().await.unwrap();
    assert_sound(&dir);
    let there = numbers(&dir);
    assert_eq!(acknowledged.difference(&there).collect::<Vec<_>>(), Vec::<&u64>::new());
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_takes_no_new_work() {
    let disk = SmallDisk::new();
    let dir = disk.journal();
    open(&dir).await.close().await.unwrap();
    std::fs::remove_file(dir.join("RESERVE")).unwrap();
    disk.fill();
    let options = Options { reserve: RESERVE };
    let refused = Journal::open(&dir, key(), Clock::system(), options).await.err().unwrap();
    assert!(refused.to_string().contains("No space left on device"), "{refused}");
    assert_sound(&dir);
}
