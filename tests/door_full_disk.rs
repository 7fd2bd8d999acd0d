//! A disk that is full: nothing new begins, what runs ends on record, and with room again work goes on.
//! Absent on purpose: a disk that fails to sync; the journal's own tests have one.
#![allow(
    clippy::disallowed_methods,
    reason = "helpers of tests, which may fail loudly and mount small disks"
)]

use crate::door;
use crate::files;
use crate::practice;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use door::{Door, Ran, Setup, verify};
use pforte::clock::Clock;
use pforte::house::{self, House};
use pforte::random::Random;
use practice::{Practice, SITE};

/// A tmpfs over a folder of the gateway's; dropped, it is unmounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "pforte-test"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(
            mounted.status.success(),
            "this test needs root and CAP_SYS_ADMIN, to mount a small disk: {said}"
        );
        Self(path)
    }

    /// Takes all that is left, by the byte.
    fn fill(&self) {
        let mut hog = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join("hog")).unwrap();
        let mut size = 1 << 16;
        for _ in 0..100_000 {
            match hog.write_all(&vec![0; size]) {
                Ok(()) => {}
                Err(_) if size > 1 => size /= 2,
                Err(_) => return,
            }
        }
        panic!("the disk does not get full");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("hog")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway may hold files there still.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// The gateway anew on the same folder.
async fn reopen(door: &mut Door) -> anyhow::Result<()> {
    let loaded = house::load(door.path()).unwrap_or_else(|problems| panic!("{problems}"));
    door.house = House::open(door.path(), loaded, Clock::system(), Random::system()).await?;
    door.port = door.house.addresses()[0].port();
    Ok(())
}

/// The gateway once more, over a small disk at `folder`. The disk is dropped last.
async fn door_over(setup: Setup, folder: &str, size: &str) -> (Door, SmallDisk) {
    let mut door = Door::open(setup).await;
    door.house.close().await;
    let disk = SmallDisk::over(door.path().join(folder), size);
    reopen(&mut door).await.unwrap();
    (door, disk)
}

fn refused_for_the_journal(ran: &Ran) {
    assert_eq!(ran.code, 254, "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert!(ran.stderr.contains("The journal cannot be written, so nothing was done."), "{ran:?}");
}

/// What fits into the last block of the journal's file is still taken; then no more is.
async fn fill_the_last_block(door: &Door) {
    for _ in 0..16 {
        if door.ssh(&["whoami"]).await.code != 0 {
            return;
        }
    }
    panic!("a full disk takes line after line");
}

fn holds_of(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            names.extend(holds_of(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.retain(|name| name != "hog");
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_lets_nothing_begin_and_what_runs_end_on_record() {
    // The reserve is 4 MiB of it, and while the disk is full as much again is claimed behind the journal's end.
    let setup = Setup { box_latency: Duration::from_millis(400), ..Setup::default() };
    let (door, disk) = door_over(setup, "state/journal", "10m").await;
    let before = door.ssh(&["whoami"]).await;
    assert_eq!(before.code, 0, "{before:?}");

    // A backup is under way when the disk gets full: it ends, is kept, and its last line is there.
    let running = door.ssh(&["konnektor", "backup"]);
    let meanwhile = async {
        door.wait_for("started", 2).await;
        disk.fill();
    };
    let (running, ()) = tokio::join!(running, meanwhile);
    assert_eq!(running.code, 0, "{running:?}");
    let finished = door.wait_for("finished", 4).await;
    let last = finished.iter().find(|line| line["command"] == "konnektor backup").unwrap();
    assert_eq!(last["exit"], 0);

    fill_the_last_block(&door).await;
    // Nothing new: not by exec, not at the box, and no line says that it began.
    let (asked, started) = (door.konnektor.requests().len(), door.events("started").len());
    for command in [&["konnektor", "backup"][..], &["whoami"], &["konnektor", "list"]] {
        refused_for_the_journal(&door.ssh(command).await);
    }
    assert_eq!(door.konnektor.requests().len(), asked);
    assert_eq!(door.events("started").len(), started);

    // What is refused for another reason is refused, and on record out of the reserve.
    let denied = door.ssh(&["konnektor", "backup", "-i", "praxis-nowhere"]).await;
    assert_eq!(denied.code, 77, "{denied:?}");
    assert!(door.events("refused").iter().any(|line| line["command"].as_str().unwrap().contains("nowhere")));

    disk.make_room();
    let after = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(after.code, 0, "{after:?}");
    let whoami = door.ssh(&["whoami"]).await;
    assert_eq!(whoami.code, 0, "{whoami:?}");
    let dir = door.path().to_owned();
    assert!(pforte::journal::verify(&dir.join("state/journal"), &journal_key(&dir)).unwrap().is_sound());
    let Door { mut house, dir, .. } = door;
    house.close().await;
    verify(dir.path());
}

fn journal_key(dir: &Path) -> ssh_key::PublicKey {
    ssh_key::PublicKey::read_openssh_file(dir.join("state/journal_ed25519.pub")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_on_a_full_journal_and_does_once_there_is_room() {
    let (mut door, disk) = door_over(Setup::default(), "state/journal", "10m").await;
    disk.fill();
    fill_the_last_block(&door).await;
    refused_for_the_journal(&door.ssh(&["whoami"]).await);
    door.house.close().await;
    verify(door.path());

    // Its own first line does not fit: it does not start, and says why.
    disk.fill();
    let refused = reopen(&mut door).await.unwrap_err();
    assert!(format!("{refused:#}").contains("No space left on device"), "{refused:#}");

    disk.make_room();
    for _ in 0..100 {
        // The refused one's journal gives its lock back a moment after the error.
        match reopen(&mut door).await {
            Ok(()) => break,
            Err(e) => assert!(format!("{e:#}").contains("another process"), "{e:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ran = door.ssh(&["whoami"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_vault_fails_the_backup_with_a_sentence_and_keeps_no_half_file() {
    let (door, disk) = door_over(Setup::default(), "state/vault", "1m").await;
    let whole = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(whole.code, 0, "{whole:?}");
    let kept = holds_of(&door.path().join("state/vault"));

    disk.fill();
    let ran = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    let sentence = ran.stderr.lines().last().unwrap();
    assert!(sentence.ends_with('.') && !sentence.contains("os error"), "{}", ran.stderr);
    assert_eq!(holds_of(&door.path().join("state/vault")), kept, "half a file");
    let finished = door.wait_for("finished", 4).await;
    let failed: Vec<_> =
        finished.iter().filter(|line| line["command"] == "konnektor backup" && line["exit"] == 1).collect();
    assert_eq!(failed.len(), 1, "{finished:#?}");

    disk.make_room();
    let again = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    let Door { mut house, dir, .. } = door;
    house.close().await;
    verify(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_vault_says_so_to_whoever_hands_a_file_in_and_keeps_what_was_there() {
    let setup = files::with_rules(files::RULES);
    let (door, disk) = door_over(setup, "state/vault", "1m").await;
    let path = "/praxis-mueller/incoming/a.json";
    let mut hand = files::Hand::open(&door).await;
    assert_eq!(hand.upload(path, b"{\"first\": true}").await.code(), 0);
    let kept = holds_of(&door.path().join("state/vault"));

    disk.fill();
    let large = format!("\"{}\"", "x".repeat(200_000));
    for path in [path, "/praxis-mueller/incoming/b.json"] {
        let full = hand.upload(path, large.as_bytes()).await;
        assert_eq!(
            (full.code(), full.sentence().as_str()),
            (4, "The vault's disk is full; nothing was kept.")
        );
    }
    assert_eq!(holds_of(&door.path().join("state/vault")), kept, "half a file");
    let handle = hand.open_file(path, files::READ).await.handle();
    assert_eq!(hand.read(&handle, 0, 100).await.data(), b"{\"first\": true}");

    disk.make_room();
    assert_eq!(hand.upload(path, large.as_bytes()).await.code(), 0);
    assert_eq!(hand.end().await, 0);
    files::settled(&door).await;
    let failed = door.events("finished").iter().filter(|line| line["cause"] == "vault=full").count();
    assert_eq!(failed, 2);
    let Door { mut house, dir, .. } = door;
    house.close().await;
    verify(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_and_no_consent_counts_without_its_line_and_a_close_does() {
    let setup = Setup {
        files: vec![("keys/sites/praxis-mueller.pub", practice::public(1), 0o644)],
        ..Setup::default()
    };
    let (door, disk) = door_over(setup, "state/journal", "10m").await;
    let gateway = ([127, 0, 0, 1], door.port).into();
    let host_key = practice::fingerprint(door.path());
    let open = |who: &str| {
        let (site, now) = (SITE.parse().unwrap(), jiff::Timestamp::now());
        let snapshot = door.house.front().works.gate.consented();
        let given = snapshot.at(&site, now);
        given.map(|given| given.iter().any(|given| given.who.to_string() == who))
    };
    let until = async |what: &str, so: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not so in time: {what}");
    };
    let first = Practice::link(gateway, host_key.clone(), 1).await;
    first.allow(&[("firm", &[], 600)]).await;
    until("the firm may come", &|| open("firm") == Some(true)).await;
    disk.fill();
    fill_the_last_block(&door).await;
    // Less than before counts all the same, and its link goes on.
    first.close().await;
    until("a close counts", &|| open("firm") == Some(false)).await;
    assert!(!first.is_over());
    // More does not: nobody comes in of whom nothing is written.
    first.allow(&[("firm-max.m", &[], 600)]).await;
    until("its link ends", &|| first.is_over()).await;
    until("and is gone", &|| open("firm-max.m").is_none()).await;
    // A machine that comes now has no link.
    let second = Practice::link(gateway, host_key.clone(), 1).await;
    until("the second one's link ends", &|| second.is_over()).await;
    assert_eq!(open("firm"), None);
    disk.make_room();
    until_room(&door).await;
    let third = Practice::link(gateway, host_key, 1).await;
    third.allow(&[("firm", &[], 600)]).await;
    until("the firm may come again", &|| open("firm") == Some(true)).await;
    door.close().await;
}

/// The journal takes lines again.
async fn until_room(door: &Door) {
    for _ in 0..100 {
        if door.ssh(&["whoami"]).await.code == 0 {
            return;
        }
    }
    panic!("with room again it takes none");
}
