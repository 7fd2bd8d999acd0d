//! What somebody with a key and a few rules, or a hostile box, could try with jobs and restores; it does not work.
//! Absent on purpose: what the other files show already; see `konnektor_cuts.rs`, `files_hostile.rs`.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::files;
use crate::served;

use std::process::Stdio;
use std::time::{Duration, Instant};

use door::{Door, JANE, Ran, Setup};
use files::sftp;
use pforte::konnektor::simulator::{Fault, Order, When};
use serde_json::{Value, json};
use served::Served;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

const RULE: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\", \"konnektor show\", \"konnektor diff\", \
    \"konnektor restore\", \"konnektor perform\"]\non = [\"praxis-mueller\"]\n";

/// The shipped profile, with the way of writing that the simulated box takes.
fn profile() -> (&'static str, String, u32) {
    let shipped = include_str!("../src/konnektor/kocobox.toml");
    let path = "[write]\npath = \"/administration/json-store/{service}\"";
    ("policy/konnektor/kocobox.toml", shipped.replacen("[write]\npath = \"\"", path, 1), 0o600)
}

async fn open(change: impl FnOnce(&mut Setup)) -> Door {
    let mut setup = Setup { rules: Some(RULE.into()), files: vec![profile()], ..Setup::default() };
    change(&mut setup);
    Door::open(setup).await
}

fn begin(door: &Door, line: &str) -> Child {
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ssh.kill_on_drop(true).spawn().unwrap()
}

async fn end(child: Child) -> Ran {
    let output = tokio::time::timeout(Duration::from_mins(1), child.wait_with_output()).await;
    let output = output.expect("ssh hangs").unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn fed(door: &Door, line: &str, input: &[u8]) -> Ran {
    let mut child = begin(door, line);
    child.stdin.take().unwrap().write_all(input).await.unwrap();
    end(child).await
}

/// Waits until something is so, twenty seconds at most.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not so in time: {what}");
}

fn fault(door: &Door, fault: Fault, path: &str) {
    door.konnektor.set_fault(Order { fault, when: When::Path(path.into()), times: None });
}

/// What the box holds.
fn held(door: &Door, service: &str) -> Value {
    let text = std::fs::read(door.path().join(format!("konnektor/{service}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

async fn jobs(door: &Door) -> Vec<Value> {
    serde_json::from_str(&door.ssh(&["jobs --json"]).await.stdout).unwrap()
}

fn dns(ttl: u32) -> String {
    json!({"dnsservice": {"DNS_SERVERS_INT": ["192.168.2.1"], "DNS_DOMAIN_VPN_ZUGD_INT": "vpnzugd.example", "DNS_TTL": ttl}})
        .to_string()
}

/// A restore of `dnsservice` from `incoming/a.json`, cut while it writes.
async fn interrupted(door: &Door) {
    std::fs::write(door.path().join("a.json"), dns(60)).unwrap();
    let put = sftp(door, &["put a.json praxis-mueller/incoming/a.json"]).await;
    assert_eq!(put.code, 0, "{put:?}");
    fault(door, Fault::Stall, "/json-store/dnsservice");
    let restore = begin(door, "konnektor restore --yes -f incoming/a.json");
    until("it writes", async || door.konnektor.requests().iter().any(|r| r.path.contains("json-store")))
        .await;
    let rules = door.path().join("policy/rules.toml");
    std::fs::write(&rules, RULE.replace("\"konnektor restore\", ", "")).unwrap();
    door.reload().await;
    assert_eq!(end(restore).await.code, 77);
    std::fs::write(&rules, RULE).unwrap();
    door.reload().await;
    door.konnektor.clear_faults();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_input_does_not_hold_the_box() {
    let door = open(|_| {}).await;
    let mut endless = begin(&door, "konnektor restore --yes -f -");
    endless.stdin.as_mut().unwrap().write_all(b"{").await.unwrap();
    until("its job began", async || !jobs(&door).await.is_empty()).await;
    let backup = tokio::time::timeout(Duration::from_secs(15), door.ssh(&["konnektor backup"])).await;
    assert_eq!(backup.expect("the box is held").code, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_does_not_fill_the_queue_of_a_box() {
    let door = open(|_| {}).await;
    fault(&door, Fault::Stall, "/connector.sds");
    let mut waiting = Vec::new();
    for n in 1..=4 {
        waiting.push(begin(&door, "konnektor backup"));
        until("its job began", async || jobs(&door).await.len() == n).await;
    }
    let fifth = tokio::time::timeout(Duration::from_secs(10), door.ssh(&["konnektor backup"])).await;
    let fifth = fifth.expect("a fifth waits too");
    assert_eq!(fifth.code, 1, "{fifth:?}");
    assert!(fifth.stderr.contains("jobs cancel N"), "{}", fifth.stderr);
    drop(waiting);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_exchanged_meanwhile_is_not_what_a_resume_writes() {
    let door = open(|_| {}).await;
    let before = held(&door, "dnsservice");
    interrupted(&door).await;
    std::fs::write(door.path().join("b.json"), dns(666)).unwrap();
    let put = sftp(&door, &["put b.json praxis-mueller/incoming/a.json"]).await;
    assert_eq!(put.code, 0, "{put:?}");
    let resumed = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!((resumed.code, held(&door, "dnsservice")), (1, before), "{resumed:?}");
    assert!(resumed.stderr.contains("incoming/a.json is not the file any more"), "{}", resumed.stderr);
    let put = sftp(&door, &["put a.json praxis-mueller/incoming/a.json"]).await;
    assert_eq!(put.code, 0, "{put:?}");
    let resumed = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!((resumed.code, &held(&door, "dnsservice")["DNS_TTL"]), (0, &json!(60)), "{resumed:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_hides_what_was_written_does_not_make_the_undo_forgotten() {
    let door = open(|_| {}).await;
    interrupted(&door).await;
    fault(&door, Fault::Status(403), "/json-retrieve/dnsservice");
    for way in ["--undo", "--resume"] {
        let hidden = door.ssh(&["konnektor restore --yes", way]).await;
        assert_eq!(hidden.code, 1, "{hidden:?}");
        assert!(hidden.stderr.contains("dnsservice"), "{hidden:?}");
    }
    door.konnektor.clear_faults();
    let resumed = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!((resumed.code, &held(&door, "dnsservice")["DNS_TTL"]), (0, &json!(60)), "{resumed:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_named_and_could_not_be_read_is_no_success() {
    let door = open(|_| {}).await;
    fault(&door, Fault::Status(403), "/json-retrieve/dnsservice");
    let ran = fed(&door, "konnektor restore --yes -s dnsservice -f -", dns(60).as_bytes()).await;
    assert_eq!((ran.code, door.konnektor.writes()), (1, 0), "{ran:?}");
    assert!(ran.stderr.contains("dnsservice"), "{}", ran.stderr);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_on_standard_input_is_gone_when_it_is_restored() {
    let door = open(|_| {}).await;
    let ran = fed(&door, "konnektor restore --yes -f -", dns(60).as_bytes()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let listed = sftp(&door, &["ls praxis-mueller/incoming"]).await;
    assert!(listed.code == 0 && !listed.stdout.contains("restored-"), "{listed:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_allowed_beyond_is_gone_for_a_job_that_waits() {
    let door = open(|setup| setup.rules = Some(format!("{RULE}firmware = \"any\"\n"))).await;
    door.konnektor.update_firmware("9.9.9").unwrap();
    until("it is back", async || door.ssh(&["konnektor backup -s update"]).await.code == 0).await;
    door.konnektor.clear_faults();
    fault(&door, Fault::Stall, "/json-retrieve/dnsservice");
    let first = begin(&door, "konnektor backup");
    until("the first is at work", async || {
        door.konnektor.requests().iter().any(|r| r.path.ends_with("/json-retrieve/dnsservice"))
    })
    .await;
    let mut second = begin(&door, "konnektor perform -a reboot");
    drop(second.stdin.take());
    until("the second waits", async || jobs(&door).await.iter().any(|job| job["waits"] == true)).await;
    std::fs::write(door.path().join("policy/rules.toml"), RULE).unwrap();
    door.reload().await;
    assert_eq!(end(second).await.code, 77);
    door.konnektor.clear_faults();
    drop(first);
    // The new firmware restarts the box too: what was asked of it is what counts.
    assert!(!door.konnektor.requests().iter().any(|request| request.path.ends_with("/perform/reboot")));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_first_does_not_keep_what_is_then_withdrawn() {
    let door = open(|_| {}).await;
    fault(&door, Fault::Stall, "/json-store/dnsservice");
    std::fs::write(door.path().join("a.json"), dns(60)).unwrap();
    let restore = fed_later(&door).await;
    until("it writes", async || door.konnektor.requests().iter().any(|r| r.path.contains("json-store")))
        .await;
    let cancel = begin(&door, "jobs cancel 1");
    until("it is told to", async || {
        door.journal().iter().any(|line| line["command"] == "jobs cancel 1" && line["event"] == "started")
    })
    .await;
    std::fs::write(door.path().join("policy/rules.toml"), RULE.replace("\"konnektor restore\", ", ""))
        .unwrap();
    let begun = Instant::now();
    door.reload().await;
    assert_eq!(end(restore).await.code, 77);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(cancel);
    door.close().await;
}

async fn fed_later(door: &Door) -> Child {
    let mut child = begin(door, "konnektor restore --yes -f -");
    child.stdin.take().unwrap().write_all(dns(60).as_bytes()).await.unwrap();
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_written_down_though_a_shell_took_its_quotes_away() {
    let door = open(|_| {}).await;
    for data in [
        "{user:anna,password:GeheimWort}",
        "'{\"newPin\":\"GeheimWort\"}'",
        "{\\\"password\\\":\\\"GeheimWort\\\"}",
        "password=GeheimWort",
    ] {
        let ran = door.ssh(&[&format!("konnektor perform -a change -d {data}")]).await;
        assert_ne!(ran.code, 0, "{ran:?}");
    }
    let lines = door.wait_for("refused", 3).await;
    assert!(lines.len() >= 3, "{lines:?}");
    for line in door.journal() {
        assert!(!line.to_string().contains("GeheimWort"), "{line}");
    }
    assert!(!door.ssh(&["jobs"]).await.stdout.contains("GeheimWort"));
    door.close().await;
}

#[test]
fn a_file_of_countless_values_is_refused_before_they_are_kept() {
    let text = format!("{{\"infomodell\":[0{}]}}", ",0".repeat(5_000_000));
    let profile = pforte::konnektor::Profile::kocobox().unwrap();
    let read = pforte::konnektor::Given::read(&mut text.as_bytes(), &profile);
    assert_eq!(read.unwrap_err(), pforte::konnektor::BadGiven::TooMany);
}

/// All that the box holds and a restore writes.
fn configuration(door: &Door) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|key, _| !["CORRELATION", "CONNECTED"].contains(&key.as_str()));
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let services = pforte::konnektor::simulator::SERVICES;
    let mut all: Vec<Value> = (services.iter())
        .filter(|service| !["usermanagement", "infoservice"].contains(service))
        .map(|service| held(door, service))
        .collect();
    all.iter_mut().for_each(strip);
    json!(all).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_anywhere_comes_to_a_good_end_and_is_on_record() {
    let mut door = open(|setup| setup.box_latency = Duration::from_millis(5)).await;
    let wanted = configuration(&door);
    let kept = door.ssh(&["konnektor backup"]).await;
    let name = kept.stdout.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    door.house.close().await;
    let (mut in_the_middle, mut resumed, mut undone) = (0, 0, 0);
    for round in 0..12 {
        door.konnektor.factory_reset().unwrap();
        let reset = configuration(&door);
        let begun = door.konnektor.writes();
        let served = Served::start(door.path()).await;
        door.port = served.address.port();
        let restore = begin(&door, &format!("konnektor restore --yes -f {name}"));
        if round % 4 > 0 {
            until("it writes", async || door.konnektor.writes() > begun).await;
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..150))).await;
        served.kill().await;
        drop(restore);
        // A write that was on its way may arrive still.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = configuration(&door);
        in_the_middle += usize::from(now != wanted && now != reset);
        let served = Served::start(door.path()).await;
        door.port = served.address.port();
        let jobs = jobs(&door).await;
        assert!(jobs.iter().all(|job| job["ended"].is_string()), "{jobs:?}");
        let way = if round % 2 == 0 { "--resume" } else { "--undo" };
        let end = door.ssh(&["konnektor restore --yes", way]).await;
        let now = configuration(&door);
        match (end.code, way) {
            (0, "--resume") => {
                resumed += 1;
                assert!(now == wanted, "resumed, but not as wanted");
            }
            (0, _) => {
                undone += 1;
                assert!(now == reset, "undone, but not as it was");
            }
            // There was none: it had not begun to write, or was at its end.
            (64, _) => assert!(now == reset || now == wanted, "{end:?}"),
            _ => panic!("{way}: {end:?}"),
        }
        served.kill().await;
        let verify = std::process::Command::new(env!("CARGO_BIN_EXE_pforte"))
            .args(["journal", "verify", "--config"])
            .arg(door.path())
            .output()
            .unwrap();
        assert!(verify.status.success(), "{verify:?}");
    }
    println!("{in_the_middle} of 12 in the middle, {resumed} resumed, {undone} undone");
    assert!(in_the_middle >= 3, "{in_the_middle}");
}
