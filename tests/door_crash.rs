//! `kill -9` in the midst of backups and logins: what was begun is on record, what is kept is whole, and it starts again.
//! Absent on purpose: a power cut; what the disk holds after one is the file system's promise.
#![allow(clippy::match_wild_err_arm, reason = "helpers of tests, which may fail loudly")]

use crate::door;
use crate::served;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use door::{Door, JANE, Setup};
use jiff::Timestamp;
use pforte::journal::Report;
use pforte::konnektor::archive::Archive;
use pforte::names::{BackupName, KonnektorId};
use pforte::vault::{self, Vault};
use russh::keys::PrivateKey;
use serde_json::Value;
use served::Served;
use served::client::{Client, HERE, configuration};
use tokio::task::JoinSet;

const ROUNDS: usize = 100;
const BOX_LATENCY: Duration = Duration::from_millis(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_leave_no_unrecorded_work_and_no_half_backup() {
    let setup = Setup {
        box_latency: BOX_LATENCY,
        gateway_more: "\n[limits]\nunproven_per_source = 64\nconnections_per_user = 256\n".into(),
        ..Setup::default()
    };
    let mut door = Door::open(setup).await;
    door.house.close().await;
    let key = served::client::key(&door.path().join("jane"));
    let vault = vault_of(door.path());
    let (mut checked, mut seen_requests, mut torn_rounds, mut cut_short) = (BTreeSet::new(), 0, 0, 0);
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let lines_before = door.journal().len();
        let served = Served::start(door.path()).await;
        if round % 10 == 0 && round > 0 {
            // What the round before tore is cut, and the cut is on record.
            let loaded = &door.journal()[lines_before - 1..];
            assert!(loaded.iter().any(|line| line["torn_bytes"] == TORN.len()), "{loaded:#?}");
            assert_eq!(verified(door.path()).torn_bytes, 0);
        }
        let mut clients = JoinSet::new();
        for client in 0..4 {
            clients.spawn(work(served.address, key.clone(), round, client));
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..500))).await;
        served.kill().await;
        while clients.join_next().await.is_some() {}

        let torn = verified(door.path()).torn_bytes;
        torn_rounds += usize::from(torn > 0);
        let journal = door.journal();
        let news = &journal[lines_before..];
        let requests = door.konnektor.requests();
        nothing_unrecorded(news, &requests[seen_requests..]);
        seen_requests = requests.len();
        cut_short += unfinished(news);
        whole(&vault, &mut checked).await;
        if round % 10 == 9 {
            tear(door.path());
            let report = verified(door.path());
            assert!(report.torn_bytes >= TORN.len() as u64, "{report}");
        }
    }
    let took = begun.elapsed();
    let left_over =
        files(&door.path().join("state/vault")).iter().filter(|f| f.to_string_lossy().contains('#')).count();
    println!(
        "{ROUNDS} kills in {:.1} s: {} lines, {} requests at the box, {} backups whole, {cut_short} commands cut short, \
         {torn_rounds} torn tails of its own, {left_over} staged files left over",
        took.as_secs_f64(),
        door.journal().len(),
        seen_requests,
        checked.len()
    );
    assert!(checked.len() > ROUNDS / 4, "too few backups came through to show anything: {}", checked.len());
    assert!(cut_short > ROUNDS / 4, "too few were cut short to show anything: {cut_short}");
    assert!(took < Duration::from_secs(90), "{took:?}");

    let served = Served::start(door.path()).await;
    let jane = Client::log_in(configuration(), served.address, HERE, JANE, key).await.unwrap().unwrap();
    assert_eq!(jane.exec("konnektor backup").await.unwrap().code, Some(0));
    served.signal(rustix::process::Signal::TERM);
    assert!(served.ended().await.success());
    assert_eq!(verified(door.path()).torn_bytes, 0);
}

/// Logs in and works until the gateway is gone.
async fn work(to: SocketAddr, key: Arc<PrivateKey>, round: usize, client: usize) {
    for turn in 0..1000 {
        let login = Client::log_in(configuration(), to, HERE, JANE, key.clone());
        let Ok(Ok(Some(jane))) = tokio::time::timeout(Duration::from_secs(20), login).await else { return };
        let command = match client {
            0 => "whoami".to_owned(),
            // The minute's own name, against others who take it too.
            1 if round.is_multiple_of(10) => "konnektor backup".to_owned(),
            _ => format!(
                "konnektor backup -f 2020-01-{:02}-{:02}-{:02}-{}.json",
                client + 1,
                round / 60,
                round % 60,
                turn + 2
            ),
        };
        match tokio::time::timeout(Duration::from_secs(20), jane.exec(&command)).await {
            Ok(Ok(answer)) if answer.code == Some(0) => {}
            Ok(Ok(answer)) => {
                assert_eq!(answer.code, None, "{command}: {answer:?}");
                return;
            }
            Ok(Err(_)) => return,
            Err(_) => panic!("{command} hangs"),
        }
        if jane.leave().await.is_err() {
            return;
        }
    }
}

fn time(line: &Value) -> Timestamp {
    line["time"].as_str().unwrap().parse().unwrap()
}

/// Since the start of one process: its first words to the box come after a `started` line, and so does each login there.
fn nothing_unrecorded(news: &[Value], requests: &[pforte::konnektor::simulator::Request]) {
    let is_backup =
        |line: &&Value| line["event"] == "started" && line["command"].as_str().unwrap().contains("backup");
    let started: Vec<Timestamp> = news.iter().filter(is_backup).map(time).collect();
    assert!(started.is_sorted(), "the journal's times go back");
    for what in ["GET /connector.sds", "POST /j_security_check"] {
        let asked: Vec<Timestamp> =
            requests.iter().filter(|r| format!("{} {}", r.method, r.path) == what).map(|r| r.time).collect();
        assert!(asked.len() <= started.len(), "{what}: {} requests, {} started", asked.len(), started.len());
        for (asked, started) in asked.iter().zip(&started) {
            assert!(started <= asked, "{what} at {asked}, but its line is of {started}");
        }
    }
    if let Some(first) = requests.first() {
        assert!(started.first().is_some_and(|started| *started <= first.time), "{first:?}: {started:?}");
    }
}

/// Commands that began and did not end.
fn unfinished(news: &[Value]) -> usize {
    let count = |event: &str| {
        news.iter().filter(|line| line["event"] == event && line["command"].is_string()).count()
    };
    count("started") - count("finished")
}

fn vault_of(dir: &Path) -> Vault {
    let identities = vault::read_identities(&dir.join("state/vault.agekey")).unwrap();
    let recipients = identities.iter().map(age::x25519::Identity::to_public).collect();
    Vault::open("file:state/vault", dir, recipients, identities).unwrap()
}

/// Every backup that is listed decrypts and is a complete archive of its box.
async fn whole(vault: &Vault, checked: &mut BTreeSet<BackupName>) {
    let id = KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() };
    for kept in vault.list(&id).await.unwrap() {
        if checked.contains(&kept.name) {
            continue;
        }
        let json = vault.get(&id, &kept.name).await.unwrap_or_else(|e| panic!("{}: {e}", kept.name));
        let archive = Archive::parse(&json).unwrap_or_else(|e| panic!("{}: {e}", kept.name));
        assert_eq!(archive.konnektor().as_ref(), Ok(&id));
        assert_eq!(archive.services().count(), 19, "{}", kept.name);
        checked.insert(kept.name);
    }
}

fn verified(dir: &Path) -> Report {
    let key = ssh_key::PublicKey::read_openssh_file(dir.join("state/journal_ed25519.pub")).unwrap();
    let report = pforte::journal::verify(&dir.join("state/journal"), &key).unwrap();
    assert!(report.is_sound(), "{report}");
    report
}

/// Half a line, as a write that was cut in its midst leaves it.
const TORN: &[u8] = br#"{"seq":99999,"time":"2026-11-21T1"#;

fn tear(dir: &Path) {
    let mut days = files(&dir.join("state/journal"));
    days.retain(|file| file.extension().is_some_and(|e| e == "jsonl"));
    days.sort();
    let mut file = std::fs::OpenOptions::new().append(true).open(days.pop().unwrap()).unwrap();
    file.write_all(TORN).unwrap();
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
