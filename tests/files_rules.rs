//! Which files a person sees and opens by SFTP: what the rules say, at each request, and a phone where they say so.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::files;

use std::time::{Duration, Instant};

use door::{Door, JANE, Setup};
use files::{Hand, READ, RULES, asked, listed, settled, sftp, sftp_as, text, with_backup, with_rules};

const BOB: &str = "firm-bob.roe";

fn may(families: &[&str], more: &str) -> String {
    let both = format!("who = [\"{JANE}\"]\nmay = {families:?}\non = [\"praxis-mueller\"]\n{more}\n");
    format!("[[rule]]\n{both}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_the_rules_say_and_nothing_else_looks_as_if_it_were_there() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    let rules = async |rules: &str| {
        std::fs::write(door.path().join("policy/rules.toml"), rules).unwrap();
        door.reload().await;
    };
    let tree = async || {
        let ran = sftp(
            &door,
            &["-ls /", "-ls /praxis-mueller", "-ls /praxis-mueller/main", "-ls /praxis-mueller/incoming"],
        )
        .await;
        listed(&ran).into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let get = async |path: &str| {
        std::fs::remove_file(door.path().join("got")).ok();
        let ran = sftp(&door, &[&format!("get {path} got")]).await;
        std::fs::read_to_string(door.path().join("got")).map_err(|_| ran)
    };

    rules(&may(&["konnektor backups"], "")).await;
    assert_eq!(tree().await, ["/praxis-mueller", "/praxis-mueller/main", &backup]);
    assert!(get(&backup).await.is_err(), "may list, may not read");

    rules(&may(&["konnektor show"], "")).await;
    assert_eq!(tree().await, ["/praxis-mueller", "/praxis-mueller/main"]);
    assert_eq!(get(&backup).await.unwrap(), shown, "may not list, may read what they know the name of");

    rules(&may(&["konnektor restore"], "")).await;
    assert_eq!(tree().await, ["/praxis-mueller", "/praxis-mueller/incoming"]);
    let hidden = get(&backup).await.unwrap_err();
    let nowhere = get("/praxis-nirgends/main/2026-11-21-16-04.json").await.unwrap_err();
    let words = |ran: &door::Ran| ran.stderr.split('"').next_back().unwrap().to_owned();
    assert_eq!(words(&hidden), words(&nowhere), "forbidden and unknown look the same");

    rules(&may(&["konnektor list", "konnektor backup"], "")).await;
    assert_eq!(tree().await, [""; 0]);
    assert!(get(&backup).await.is_err());
    settled(&door).await;
    let refused = asked(&door).into_iter().filter(|(event, _)| event == "refused").collect::<Vec<_>>();
    assert!(refused.iter().any(|(_, command)| command.contains(&backup)), "{refused:#?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_a_rule_sees_an_empty_root_and_that_is_on_record() {
    let (door, backup, _) = with_backup(with_rules(RULES)).await;
    let line = door.make_key("bob");
    door.register(BOB, &line);
    door.reload().await;
    let seen = sftp_as(&door, BOB, "bob", &["ls -la /"]).await;
    assert_eq!((seen.code, listed(&seen)), (0, vec![]), "{seen:?}");
    for line in [
        format!("get {backup}"),
        "ls /praxis-mueller".into(),
        "put jane.pub /praxis-mueller/incoming/a.json".into(),
    ] {
        assert_ne!(sftp_as(&door, BOB, "bob", &[&line]).await.code, 0, "{line}");
    }
    let refused = door.wait_for("refused", 2).await;
    let first = &refused[0];
    assert_eq!(
        (&first["user"], &first["command"], &first["cause"]),
        (&BOB.into(), &"sftp list /".into(), &"no-rule".into())
    );
    let bobs = door.events("started").into_iter().filter(|line| line["user"] == BOB).count();
    assert_eq!(bobs, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_rule_ends_a_running_read_and_upload_within_a_second() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    let mut hand = Hand::open(&door).await;
    let reading = hand.open_file(&backup, READ).await.handle();
    let writing = hand.open_file("/praxis-mueller/incoming/a.json", files::WRITE).await.handle();
    assert_eq!(hand.write(&writing, 0, b"{}").await.code(), 0);
    assert_eq!(hand.read(&reading, 0, 100).await.data(), &shown.as_bytes()[..100]);

    std::fs::write(door.path().join("policy/rules.toml"), may(&["konnektor list"], "")).unwrap();
    door.reload().await;
    let since = Instant::now();
    // Nobody asks for anything: it ends all the same.
    for _ in 0..1000 {
        if asked(&door).iter().filter(|(event, _)| event == "refused").count() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let over = hand.read(&reading, 100, 100).await;
    assert_eq!(over.code(), 3, "{}", over.sentence());
    assert_eq!(hand.write(&writing, 2, b" ").await.code(), 3);
    assert_eq!((hand.close(&reading).await.code(), hand.close(&writing).await.code()), (0, 0));
    assert_eq!(hand.end().await, 0);
    let lines = door.journal();
    let ends: Vec<_> =
        lines.iter().filter(|line| line["event"] == "finished" && line["cause"] == "withdrawn").collect();
    assert_eq!(ends.len(), 2, "{ends:#?}");
    let part = lines.iter().find(|line| line["event"] == "file").expect("what went out is on record");
    assert_eq!((&part["bytes"], &part["cause"]), (&100.into(), &"unfinished".into()));
    assert!(part["sha256"].is_null());
    assert!(!door.path().join("state/vault/praxis-mueller/incoming").exists(), "nothing was kept");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_confirms_asks_the_phone_once_for_a_family_at_a_site() {
    let rules = RULES.to_owned();
    let (door, backup, shown) = with_backup(with_rules(&rules)).await;
    let all = ["konnektor backups", "konnektor show", "konnektor restore"];
    std::fs::write(door.path().join("policy/rules.toml"), may(&all, "confirm = true")).unwrap();
    door.reload().await;
    let before = door.phone.questions();
    let ran = sftp(
        &door,
        &[
            "ls /praxis-mueller/main",
            &format!("get {backup} one"),
            &format!("get {backup} two"),
            "ls /praxis-mueller/main",
        ],
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read_to_string(door.path().join("two")).unwrap(), shown);
    assert_eq!(door.phone.questions() - before, 3, "the login, `backups` and `show`");

    // A no counts for the connection: clients ask again and again.
    door.phone_does("approve");
    let mut hand = Hand::open(&door).await;
    door.phone_does("deny");
    let before = door.phone.questions();
    for _ in 0..3 {
        let refused = hand.open_file(&backup, READ).await;
        assert_eq!(refused.code(), 3);
        assert_eq!(refused.sentence(), "Not confirmed: it was denied on the phone.");
    }
    assert_eq!(door.phone.questions() - before, 1);
    drop(hand);
    settled(&door).await;
    let refused = asked(&door).into_iter().filter(|(event, _)| event == "refused").count();
    assert_eq!(refused, 3, "each is on record");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_codes_are_the_factor_a_rule_that_confirms_says_that_there_is_no_place_for_one() {
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let now = jiff::Timestamp::now();
    let totp = totp_rs::Builder::new()
        .with_algorithm(totp_rs::Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(totp_rs::Secret::try_from_base32(SECRET).unwrap())
        .build()
        .unwrap();
    let askpass = format!("#!/bin/sh\necho {}\n", totp.generate(now.as_second().unsigned_abs()));
    let setup = Setup {
        gateway: vec![("provider = \"webhook\"".into(), "provider = \"totp\"".into())],
        files: vec![("secrets/totp/firm-jane.doe", SECRET.into(), 0o600), ("askpass", askpass, 0o700)],
        clock: pforte::clock::Clock::of(move || now),
        ..with_rules(&may(&["konnektor show"], "confirm = true"))
    };
    let door = Door::open(setup).await;
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.env("SSH_ASKPASS", door.path().join("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
    let mut hand = Hand::over(ssh);
    hand.greet().await;
    let refused = hand.open_file("/praxis-mueller/main/2026-11-21-16-04.json", READ).await;
    assert_eq!(refused.code(), 3, "{}", refused.sentence());
    assert!(refused.sentence().contains("SFTP has no place to type one"), "{}", refused.sentence());
    drop(hand);
    let lines = door.wait_for("refused", 1).await;
    assert_eq!(lines[0]["cause"], "no-prompt-for-a-code");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_four_files_open_two_arriving_and_a_stalled_one_stops_no_other() {
    let (door, backup, shown) = with_backup(Setup { rules: Some(RULES.into()), ..Setup::default() }).await;
    let mut hand = Hand::open(&door).await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(hand.open_file(&backup, READ).await.handle());
    }
    let fifth = hand.open_file(&backup, READ).await;
    assert_eq!((fifth.code(), fifth.sentence().contains("Too many files")), (4, true));
    assert_eq!(hand.close(&handles[0]).await.code(), 0);
    hand.open_file(&backup, READ).await.handle();
    for name in ["a", "b"] {
        hand.open_file(format!("/praxis-mueller/incoming/{name}.json"), files::WRITE).await.handle();
    }
    assert_eq!(hand.open_file("/praxis-mueller/incoming/c.json", files::WRITE).await.code(), 4);

    // Requests without end, and no reply is ever read: another connection goes on as before.
    let handle = handles[1].clone();
    let request = [&[0, 0, 0, 25, 5, 0, 0, 0, 0][..], &handle, &[0; 8], &200_000u32.to_be_bytes()].concat();
    let requests = request.repeat((16 << 20) / request.len());
    let flood = hand.raw(&requests);
    assert!(tokio::time::timeout(Duration::from_secs(3), flood).await.is_err(), "it is held back");
    let began = Instant::now();
    let mut other = Hand::open(&door).await;
    let opened = other.open_file(&backup, READ).await.handle();
    assert_eq!(other.read(&opened, 0, 64).await.data(), &shown.as_bytes()[..64]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(other.ask(17, &[&text(&backup)]).await.kind, 105);
    drop((hand, other));
    settled(&door).await;
    door.close().await;
}
