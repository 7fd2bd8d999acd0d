//! Work orders: one approval for several things, for a time, by the same key from the same address, and for nothing else.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;
use crate::served;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use door::{Door, JANE, Ran, Setup, ran};
use jiff::Timestamp;
use machine::{HOST, Stage};
use pforte::clock::Clock;
use served::Served;

const BOB: &str = "firm-bob.roe";
const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\", \"konnektor status\", \"hop backup\"]\non = [\"*\"]\norder = \"2h\"\n\
                     [[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backups\"]\non = [\"*\"]\n";
const BATCH: [&str; 2] = ["-o", "BatchMode=yes"];
const ORDER: [&str; 8] = ["order", "T-1", "-i", "praxis-mueller", "--may", "backup,status", "--for", "60m"];

fn with_rules() -> Setup {
    Setup { rules: Some(RULES.into()), ..Setup::default() }
}

async fn batch(door: &Door, words: &[&str]) -> Ran {
    door.ssh_as(JANE, "jane", &BATCH, words).await
}

/// A clock that the test sets.
fn hand() -> (Clock, Arc<AtomicI64>) {
    let (begin, seconds) = (Timestamp::now(), Arc::new(AtomicI64::new(0)));
    let shared = seconds.clone();
    let clock = Clock::of(move || begin + jiff::SignedDuration::from_secs(shared.load(Ordering::SeqCst)));
    (clock, seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_asks_once_naming_all_of_it_and_then_batch_clients_need_nobody() {
    let door = Door::open(with_rules()).await;
    assert_eq!(batch(&door, &["konnektor", "backup"]).await.code, 255, "without an order");
    let ordered = door.ssh(&ORDER).await;
    assert_eq!(ordered.code, 0, "{ordered:?}");
    assert!(ordered.stderr.contains("Work order T-1 is open until"), "{ordered:?}");
    let seen = door.phone.seen();
    assert_eq!(seen.len(), 2, "the login's, and the order's");
    assert_eq!(seen[1].command.as_deref(), Some("order T-1 -i praxis-mueller --may backup,status --for 60m"));
    for words in
        [["konnektor", "backup"], ["konnektor", "status"], ["konnektor", "backup"], ["order", "list"]]
    {
        let done = batch(&door, &words).await;
        assert_eq!(done.code, 0, "{done:?}");
    }
    let plink = door.plink(JANE, "jane", &["-batch"], &["konnektor", "backup"]).await;
    assert_eq!(plink.code, 0, "{plink:?}");
    assert_eq!(door.phone.questions(), 2, "no further question");
    let logins = door.wait_for("login", 6).await;
    assert_eq!(logins[5]["factor"], "order T-1");
    let started = door.events("started");
    assert!(
        started.iter().any(|l| l["command"] == "konnektor backup" && l["factor"] == "order T-1"),
        "{started:#?}"
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_covers_its_words_its_key_and_its_address_and_nothing_else() {
    let door = Door::open(with_rules()).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    let second = door.make_key("second");
    let first = std::fs::read_to_string(door.path().join("keys").join(format!("{JANE}.pub"))).unwrap();
    door.register(JANE, &format!("{}\n{second}", first.trim_end()));
    door.reload().await;
    assert_eq!(
        door.ssh(&["order", "T-1", "-i", "praxis-mueller", "--may", "backup", "--for", "1h"]).await.code,
        0
    );
    assert_eq!(door.phone.questions(), 2);
    assert_eq!(batch(&door, &["konnektor", "backup"]).await.code, 0);
    assert_eq!(door.phone.questions(), 2);
    // What it does not name wants a yes of its own, though a rule permits it.
    for (n, words) in [["konnektor", "backups"], ["konnektor", "status"]].iter().enumerate() {
        let asked = batch(&door, words).await;
        assert_eq!(asked.code, 0, "{asked:?}");
        assert!(asked.stderr.contains("wants to be confirmed"), "{asked:?}");
        assert_eq!(u64::try_from(n).unwrap() + 3, door.phone.questions());
    }
    door.phone_does("deny");
    let denied = batch(&door, &["konnektor", "status"]).await;
    assert_eq!((denied.code, denied.stdout.as_str()), (77, ""), "{denied:?}");
    // Another key of hers, another address, a colleague: as ever, and BatchMode cannot be asked.
    for (user, key, more) in [
        (JANE, "second", ["-o", "BindAddress=127.0.0.1"]),
        (JANE, "jane", ["-o", "BindAddress=127.0.0.2"]),
        (BOB, "bob", ["-o", "BindAddress=127.0.0.1"]),
    ] {
        let options = [&BATCH[..], &more[..]].concat();
        let refused = door.ssh_as(user, key, &options, &["konnektor", "backup"]).await;
        assert_eq!(refused.code, 255, "{user} {key} {more:?}: {refused:?}");
    }
    assert_eq!(door.phone.questions(), 5);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_no_rule_allows_is_refused_and_rings_no_phone() {
    let door = Door::open(with_rules()).await;
    for (words, code, sentence) in [
        (
            vec!["order", "T-1", "-i", "praxis-mueller", "--may", "backups", "--for", "5m"],
            77,
            "in a work order",
        ),
        (vec!["order", "T-1", "-i", "praxis-mueller", "--may", "restore", "--for", "5m"], 77, "No rule"),
        (vec!["order", "T-1", "-i", "praxis-nirgends", "--may", "backup", "--for", "5m"], 77, "No rule"),
        (
            vec!["order", "T-1", "-i", "praxis-mueller", "--may", "backup,backups", "--for", "5m"],
            77,
            "in a work order",
        ),
        (
            vec!["order", "T-1", "-i", "praxis-mueller", "--may", "backup", "--for", "3h"],
            77,
            "at most 120 min",
        ),
        (vec!["order", "T-1", "-i", "praxis-mueller", "--may", "backup"], 64, "order TICKET -i SITE"),
        (
            vec!["order", "T-1", "-i", "praxis-mueller", "--may", "everything", "--for", "5m"],
            64,
            "everything",
        ),
        (vec!["order", "list", "-i", "praxis-mueller"], 64, "missing"),
    ] {
        let refused = door.ssh(&words).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (code, ""), "{words:?} {refused:?}");
        assert!(refused.stderr.contains(sentence), "{words:?} {refused:?}");
    }
    let long = format!("praxis-mueller{}", ",praxis-mueller".repeat(12));
    let refused = door.ssh(&["order", "T-1", "-i", &long, "--may", "backup", "--for", "5m"]).await;
    assert!(refused.code == 64 && refused.stderr.contains("more than a phone shows"), "{refused:?}");
    assert!(door.phone.seen().iter().all(|question| question.purpose == "login"));
    // Denied at its own question, it is not open; what was open before still is.
    assert_eq!(door.ssh(&ORDER).await.code, 0);
    door.phone_does("deny");
    let words = ["order", "T-2", "-i", "praxis-mueller", "--may", "backup", "--for", "5m"];
    let denied = batch(&door, &words).await;
    assert_eq!((denied.code, denied.stdout.as_str()), (77, ""), "{denied:?}");
    let list = batch(&door, &["order", "list"]).await;
    assert!(list.stdout.contains("T-1: ") && !list.stdout.contains("T-2"), "{list:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_without_order_allows_none_and_one_that_confirms_each_time_cannot_allow_any() {
    let door = Door::open(Setup::default()).await;
    let refused = door.ssh(&ORDER).await;
    assert_eq!(refused.code, 77, "{refused:?}");
    let both = RULES.replace("order = \"2h\"", "order = \"2h\"\nconfirm = true");
    std::fs::write(door.path().join("policy/rules.toml"), both).unwrap();
    let problems = door.house.reload().await.unwrap_err();
    assert!(problems.to_string().contains("cannot be in a work order"), "{problems}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_or_ended_order_ends_what_came_in_under_it() {
    let (clock, seconds) = hand();
    let door = Door::open(Setup { clock, ..with_rules() }).await;
    for (n, end) in ["closed", "ended"].into_iter().enumerate() {
        let ticket = format!("T-{n}");
        let words = ["order", &ticket, "-i", "praxis-mueller", "--may", "backup", "--for", "60m"];
        assert_eq!(door.ssh(&words).await.code, 0);
        let mut open = door.ssh_command(JANE, "jane");
        open.args(BATCH).args(["-N", "127.0.0.1"]).stderr(Stdio::piped());
        let open = open.spawn().unwrap();
        door.wait_for("login", 2 + 3 * n).await;
        if end == "closed" {
            let closed = door.ssh(&["order", "close", &ticket]).await;
            assert_eq!(closed.code, 0, "{closed:?}");
        } else {
            seconds.fetch_add(3599, Ordering::SeqCst);
            door.house.front().recheck();
            assert_eq!(batch(&door, &["konnektor", "backup"]).await.code, 0, "the last second");
            seconds.fetch_add(1, Ordering::SeqCst);
        }
        door.house.front().recheck();
        let output =
            tokio::time::timeout(Duration::from_secs(10), open.wait_with_output()).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("The work order is over"), "{end}: {told}");
        assert_eq!(batch(&door, &["konnektor", "backup"]).await.code, 255, "{end}");
        let finished = door.events("finished");
        assert!(finished.iter().any(|line| line["cause"] == "order-ended"), "{finished:#?}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_a_job_from_under_an_order_wants_a_yes_and_closing_the_order_does_not() {
    let door = Door::open(with_rules()).await;
    assert_eq!(door.ssh(&ORDER).await.code, 0);
    door.phone_does("deny");
    for words in [["jobs", "cancel", "1"], ["jobs", "attach", "1"]] {
        let denied = batch(&door, &words).await;
        assert_eq!(denied.code, 77, "{words:?} {denied:?}");
        assert!(denied.stderr.contains("Not confirmed"), "{denied:?}");
    }
    // A script closes what it needs no longer.
    let closed = batch(&door, &["order", "close", "T-1"]).await;
    assert!(closed.code == 0 && closed.stderr.contains("is closed"), "{closed:?}");
    assert_eq!(batch(&door, &["order", "list"]).await.code, 255);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_fraud_closes_the_orders_too() {
    let door = Door::open(with_rules()).await;
    assert_eq!(door.ssh(&ORDER).await.code, 0);
    assert_eq!(batch(&door, &["konnektor", "status"]).await.code, 0);
    door.phone_does("fraud");
    let reported = batch(&door, &["konnektor", "backups"]).await;
    assert!(reported.code != 0 && !reported.stderr.is_empty(), "{reported:?}");
    door.phone_does("approve");
    let barred = batch(&door, &["konnektor", "status"]).await;
    assert_eq!(barred.code, 255, "{barred:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_outlasts_a_restart_and_a_rule_that_is_gone_takes_its_use_away() {
    let mut door = Door::open(with_rules()).await;
    assert_eq!(door.ssh(&ORDER).await.code, 0);
    door.house.close().await;
    let served = Served::start(door.path()).await;
    door.port = served.address.port();
    assert_eq!(batch(&door, &["konnektor", "backup"]).await.code, 0);
    assert_eq!(door.phone.questions(), 2);
    let without = RULES.replace("order = \"2h\"\n", "");
    std::fs::write(door.path().join("policy/rules.toml"), without).unwrap();
    let mut asked = 0;
    for _ in 0..100 {
        // 77: let in under the order, and the rule was gone before the command.
        let ran = batch(&door, &["konnektor", "backup"]).await;
        assert!([0, 77].contains(&ran.code), "{ran:?}");
        asked = door.phone.questions();
        if asked > 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(asked > 2, "no rule allows it in an order any more, so the phone is asked");
    served.signal(rustix::process::Signal::TERM);
    assert!(served.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn hops_and_rsync_live_with_one_approval_though_the_outer_client_waits_ten_seconds_only() {
    let stage = Stage::with("", with_rules()).await;
    let door = &stage.door;
    let words = ["order", "T-7", "-i", "praxis-mueller", "--may", "hop-backup", "--for", "30m"];
    assert_eq!(door.ssh(&words).await.code, 0);
    // From now on nobody would answer.
    door.phone_does("silent");
    for _ in 0..3 {
        let mut ssh = stage.command("ssh");
        ssh.args(BATCH).args(["-o", "ConnectTimeout=10", HOST, "echo there"]);
        let there = ran(ssh).await;
        assert_eq!((there.code, there.stdout.as_str()), (0, "there\n"), "{there:?}");
    }
    let shell = format!("ssh -F {} -o BatchMode=yes", stage.config.display());
    std::fs::write(door.path().join("content"), "content\n").unwrap();
    let mut rsync = tokio::process::Command::new("rsync");
    let target = format!("{HOST}:{}", stage.sshd.path().join("synced").display());
    rsync.args(["-e", &shell]).arg(door.path().join("content")).arg(&target).stdin(Stdio::null());
    let synced = ran(rsync).await;
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(std::fs::read_to_string(stage.sshd.path().join("synced")).unwrap(), "content\n");
    assert_eq!(door.phone.questions(), 2, "the login's and the order's");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ansible_works_under_an_order_with_a_connection_for_each_of_its_steps() {
    let stage = Stage::with("", with_rules()).await;
    let door = &stage.door;
    let words = ["order", "T-8", "-i", "praxis-mueller", "--may", "hop-backup", "--for", "30m"];
    assert_eq!(door.ssh(&words).await.code, 0);
    door.phone_does("silent");
    let way =
        format!("-F {} -o BatchMode=yes -o ControlMaster=no -o ControlPath=none", stage.config.display());
    let inventory =
        format!("{HOST} ansible_python_interpreter=/usr/bin/python3 ansible_ssh_common_args='{way}'\n");
    std::fs::write(door.path().join("inventory"), inventory).unwrap();
    let venv =
        std::env::var("PFORTE_VENV").expect("PFORTE_VENV names no Python environment; tests/run makes one");
    let mut ansible = tokio::process::Command::new(std::path::Path::new(&venv).join("bin/ansible"));
    ansible.args(["all", "-i", "inventory", "-m", "ping"]).current_dir(door.path()).stdin(Stdio::null());
    ansible.env("ANSIBLE_CONFIG", "none.cfg").env("HOME", door.path()).env("ANSIBLE_LOCAL_TEMP", door.path());
    let pinged = ran(ansible).await;
    assert_eq!(pinged.code, 0, "{pinged:?}");
    assert!(pinged.stdout.contains("\"ping\": \"pong\""), "{pinged:?}");
    assert!(door.events("login").len() > 3, "several connections");
    assert_eq!(door.phone.questions(), 2, "the login's and the order's");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_order_every_other_kind_of_channel_and_command_wants_its_own_yes() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\"]\non = [\"*\"]\norder = \"2h\"\n\
                 [[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"*\"]\n";
    let stage = Stage::with("", Setup { rules: Some(rules.into()), ..Setup::default() }).await;
    let door = &stage.door;
    let words = ["order", "T-9", "-i", "praxis-mueller", "--may", "backup", "--for", "30m"];
    assert_eq!(door.ssh(&words).await.code, 0);
    assert_eq!(batch(door, &["konnektor", "backup"]).await.code, 0);
    let rung = door.phone.questions();
    door.phone_does("deny");
    let (started, read) = (door.events("started").len(), door.konnektor.requests().len());
    // SFTP: a kept backup.
    let list = door.path().join("batch");
    std::fs::write(&list, "get /praxis-mueller/main/*.json .\n").unwrap();
    let mut sftp = stage.command("sftp");
    sftp.args(BATCH).arg("-b").arg(&list).arg("gateway").current_dir(door.path());
    let refused = ran(sftp).await;
    assert_ne!(refused.code, 0, "sftp: {refused:?}");
    // Commands.
    for words in [["konnektor", "status"], ["konnektor", "restore"]] {
        let mut words = words.to_vec();
        if words[1] == "restore" {
            words.extend(["-f", "2026-01-01-00-00.json", "--yes"]);
        }
        let refused = batch(door, &words).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (77, ""), "{words:?} {refused:?}");
    }
    // A host: from the prompt's terminal, and through the jump.
    let mut connect = stage.command("ssh");
    connect.args(BATCH).args(["-tt", "gateway", "connect", "backup"]);
    let refused = ran(connect).await;
    assert_eq!(refused.code, 77, "connect: {refused:?}");
    let mut jump = stage.command("ssh");
    jump.args(BATCH).args([HOST, "echo there"]);
    let refused = ran(jump).await;
    assert!(refused.code == 255 && refused.stdout.is_empty(), "-J: {refused:?}");
    assert_eq!(stage.sshd.connections(), 0, "nothing reached the host");
    assert_eq!(door.konnektor.requests().len(), read, "nor the box");
    assert_eq!(door.events("started").len(), started, "nothing was begun");
    assert!(door.phone.questions() > rung, "each was asked for by itself");
    // And what the order names goes on.
    door.phone_does("silent");
    assert_eq!(batch(door, &["konnektor", "backup"]).await.code, 0);
    stage.close().await;
}
