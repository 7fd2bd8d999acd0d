//! The second factor at the door: what is not a yes, in time, from the right person, is a no that runs nothing.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use door::{Door, JANE, Ran, Setup, ran};
use jiff::Timestamp;
use pforte::clock::Clock;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const BOB: &str = "firm-bob.roe";

/// Nobody got in and nothing ran.
fn nothing_ran(door: &Door) {
    assert!(door.events("login").is_empty() && door.events("started").is_empty(), "{:#?}", door.journal());
    assert!(door.konnektor.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_yes_of_the_phone_is_a_yes_and_everything_else_rings_once_and_is_told() {
    let allowed = Door::open(Setup::default()).await;
    let ran = allowed.ssh(&["konnektor", "backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    allowed.close().await;
    for (mood, timeout, sentence, cause) in [
        ("deny", "60s", "Not confirmed: it was denied on the phone", "factor-denied"),
        ("fraud", "60s", "Not confirmed: it was reported as not yours", "factor-fraud"),
        ("silent", "1s", "Not confirmed: nobody answered", "factor-timeout"),
        ("slow", "1s", "Not confirmed: ", "factor-"),
        (
            "garbage",
            "60s",
            "Not confirmed: the phone service gave no answer that counts",
            "factor-failed: answer malformed",
        ),
        (
            "error500",
            "60s",
            "Not confirmed: the phone service does not answer",
            "factor-failed: provider answered status 500",
        ),
    ] {
        let door = Door::open(Setup { phone: mood, timeout, ..Setup::default() }).await;
        let ran = door.ssh(&["konnektor", "backup"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (255, ""), "{mood}: {ran:?}");
        assert!(ran.stderr.contains(sentence), "{mood}: {ran:?}");
        let refused = door.wait_for("refused", 1).await;
        assert!(refused[0]["cause"].as_str().unwrap().starts_with(cause), "{mood}: {refused:?}");
        assert_eq!(refused[0]["user"], JANE);
        assert_eq!(door.phone.questions(), 1, "{mood}");
        nothing_ran(&door);
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_on_record_once_though_the_client_talks_on() {
    let door = Door::open(Setup { phone: "error500", ..Setup::default() }).await;
    // An empty request may come before the farewell; every client answers it.
    let steps = json!([
        ["sign", JANE, "jane"],
        ["interactive", JANE],
        ["answer"],
        ["answer"],
        ["answer"],
        ["none", JANE]
    ]);
    let told = door.knock(vec![steps; 8].into()).await;
    assert!(told.iter().flatten().all(|reply| reply["reply"] != "success"), "{told:?}");
    let refused = door.wait_for("refused", 8).await;
    let causes: Vec<&str> = refused.iter().map(|line| line["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["factor-failed: provider answered status 500"; 8]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fourth_no_in_ten_minutes_locks_that_person_key_and_source_alone_and_says_how_long() {
    let begin = Timestamp::now();
    let seconds = Arc::new(AtomicI64::new(0));
    let clock = {
        let seconds = seconds.clone();
        Clock::of(move || begin + jiff::SignedDuration::from_secs(seconds.load(Ordering::SeqCst)))
    };
    let door = Door::open(Setup { phone: "deny", clock, ..Setup::default() }).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    for n in 1..=4 {
        let denied = door.ssh(&["whoami"]).await;
        assert!(denied.stderr.contains("Not confirmed: it was denied"), "{denied:?}");
        door.wait_for("refused", n).await;
        seconds.fetch_add(20, Ordering::SeqCst);
    }
    door.phone_does("approve");
    for left in ["9 min 40 s", "9 min 20 s"] {
        let locked = door.ssh(&["whoami"]).await;
        assert_eq!(locked.code, 255, "{locked:?}");
        assert!(
            locked.stderr.contains(&format!("none for you with this key from here for {left}")),
            "{locked:?}"
        );
        // A further try does not lengthen it.
        seconds.fetch_add(20, Ordering::SeqCst);
    }
    assert_eq!(door.phone.questions(), 4, "the phone does not ring for who is locked");
    let last = door.wait_for("refused", 6).await;
    assert_eq!(last[5]["cause"], "factor-locked");
    // Neither a colleague behind the same address nor the same person elsewhere is locked.
    assert_eq!(door.ssh_as(BOB, "bob", &[], &["whoami"]).await.code, 0);
    let elsewhere = door.ssh_as(JANE, "jane", &["-b", "127.0.0.2"], &["whoami"]).await;
    assert_eq!(elsewhere.code, 0, "{elsewhere:?}");
    assert_eq!(door.ssh(&["whoami"]).await.code, 255);
    seconds.store(20 * 3 + 601, Ordering::SeqCst);
    assert_eq!(door.ssh(&["whoami"]).await.code, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plink_and_dbclient_are_told_of_a_no_and_ring_once_too() {
    let door = Door::open(Setup { phone: "deny", ..Setup::default() }).await;
    let plink = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    assert!(plink.code != 0 && plink.stderr.contains("Not confirmed: it was denied"), "{plink:?}");
    assert_eq!(door.phone.questions(), 1);
    let dbclient = door.dbclient(JANE, "jane", &[], &["whoami"]).await;
    // dbclient shows no reason, and ends with 0 whenever it is told to disconnect.
    assert!(dbclient.stderr.contains("Disconnect received") && dbclient.stdout.is_empty(), "{dbclient:?}");
    assert_eq!(door.phone.questions(), 2);
    door.wait_for("refused", 2).await;
    nothing_ran(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_lets_nobody_in() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let phone_url = Some(format!("http://{closed}/ask"));
    let door = Door::open(Setup { phone_url, ..Setup::default() }).await;
    let ran = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(ran.code, 255, "{ran:?}");
    assert!(ran.stderr.contains("the phone service does not answer"), "{ran:?}");
    let refused = door.wait_for("refused", 1).await;
    assert_eq!(refused[0]["cause"], "factor-failed: provider unreachable");
    nothing_ran(&door);
    door.close().await;
}

/// The two digits behind `must be ` or `confirmation: `.
fn number(text: &str) -> u8 {
    let at = ["must be ", "confirmation: "].iter().find_map(|mark| text.find(mark).map(|at| at + mark.len()));
    text[at.unwrap()..][..2].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_shows_firm_user_source_and_the_number_that_the_ssh_side_shows() {
    let more = format!("\n[users.\"{BOB}\"]\nbatch = \"hold-key\"\n");
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    let openssh = door.ssh(&["whoami"]).await;
    let plink = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    let held = door.ssh_as(BOB, "bob", &["-o", "BatchMode=yes"], &["whoami"]).await;
    let seen = door.phone.seen();
    assert_eq!(seen.len(), 3);
    // The held key's number came with the banner; of the others the last one shown is the question's.
    for (ran, question, user) in [(openssh, &seen[0], JANE), (plink, &seen[1], JANE), (held, &seen[2], BOB)] {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(number(&ran.stderr), question.code, "{ran:?}");
        assert_eq!((question.user.as_str(), question.client_ip.as_str()), (user, "127.0.0.1"));
        let number = question.code;
        assert_eq!(
            question.message_en,
            format!(
                "login to the maintenance gateway. Firm firm, {user}, from 127.0.0.1. Number: {number}. Not you? Then deny."
            )
        );
        assert!(question.message_de.contains("Firma firm") && question.message_de.contains("Zahl: "));
    }
    door.close().await;
}

/// Base32 of twenty bytes each.
const JANES_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const BOBS_SECRET: &str = "MFRGGZDFMZTWQ2LKMFRGGZDFMZTWQ2LK";

fn code(secret: &str, at: Timestamp) -> String {
    let totp = totp_rs::Builder::new()
        .with_algorithm(totp_rs::Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(totp_rs::Secret::try_from_base32(secret).unwrap())
        .build()
        .unwrap();
    totp.generate(at.as_second().unsigned_abs()).to_string()
}

/// A door with codes for a factor; the time stands still.
async fn door_of_codes() -> (Door, Timestamp) {
    let now = Timestamp::now();
    let setup = Setup {
        gateway: vec![("provider = \"webhook\"".into(), "provider = \"totp\"".into())],
        files: vec![
            ("secrets/totp/firm-jane.doe", JANES_SECRET.into(), 0o600),
            ("secrets/totp/firm-bob.roe", BOBS_SECRET.into(), 0o600),
        ],
        clock: Clock::of(move || now),
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    (door, now)
}

/// OpenSSH, which has these codes typed by an askpass program, one a question, then the last one again and again.
async fn ssh_typing(door: &Door, user: &str, key: &str, codes: &[&str]) -> Ran {
    let mut ssh = door.ssh_command(user, key);
    door.types(&mut ssh, codes);
    ssh.args(["127.0.0.1", "whoami"]);
    ran(ssh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_opens_to_its_own_user_and_once() {
    let (door, now) = door_of_codes().await;
    let (janes, bobs) = (code(JANES_SECRET, now), code(BOBS_SECRET, now));
    // Of another user.
    let refused = ssh_typing(&door, JANE, "jane", &[&bobs]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    assert!(refused.stderr.contains("the code was wrong"), "{refused:?}");
    let allowed = ssh_typing(&door, BOB, "bob", &[&bobs]).await;
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(allowed.stdout.contains("confirmed by: totp\n"), "{allowed:?}");
    // A second time.
    let again = ssh_typing(&door, BOB, "bob", &[&bobs]).await;
    assert_eq!(again.code, 255, "{again:?}");
    assert_eq!(door.events("login").len(), 1);
    let refused = door.wait_for("refused", 2).await;
    assert_eq!(refused[0]["cause"], "factor-denied: wrong code");
    assert_eq!(refused[1]["cause"], "factor-denied: used before");
    assert_ne!(janes, bobs);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_may_be_mended_twice_and_the_third_ends_the_connection() {
    let (door, now) = door_of_codes().await;
    let right = code(JANES_SECRET, now);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let mended = ssh_typing(&door, JANE, "jane", &[wrong, &right]).await;
    assert_eq!(mended.code, 0, "{mended:?}");
    let (door, _) = {
        door.close().await;
        door_of_codes().await
    };
    let told = door
        .knock(json!([[
            ["sign", JANE, "jane"],
            ["interactive", JANE],
            ["answer", wrong],
            ["answer", "12345"],
            ["answer", "alles gut"],
            ["sign", JANE, "jane"],
        ]]))
        .await;
    let replies: Vec<&str> = told[0].iter().map(|r| r["reply"].as_str().unwrap()).collect();
    assert_eq!(replies[..4], ["failure", "question", "question", "question"], "{told:?}");
    assert_eq!(told[0][1]["prompts"], json!(["Code: "]));
    assert_eq!(told[0].last().unwrap()["reply"], "gone", "{told:?}");
    let goodbye = told[0].last().unwrap()["goodbye"].as_str().unwrap();
    assert!(goodbye.starts_with("14: Not confirmed"), "{goodbye}");
    assert_eq!(door.wait_for("refused", 1).await[0]["cause"], "factor-denied: wrong code");
    assert!(door.events("login").is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_yes_lets_in_and_one_that_says_no_or_hangs_does_not() {
    for (script, code, cause) in [
        ("cat > \"$0.asked\"; exit 0", 0, None),
        ("exit 1", 255, Some("factor-denied")),
        ("exit 2", 255, Some("factor-fraud")),
        ("exit 7", 255, Some("factor-failed: program ended with exit code 7")),
        ("sleep 600", 255, Some("factor-timeout")),
    ] {
        let setup = Setup {
            gateway: vec![("provider = \"webhook\"".into(), "provider = \"exec\"".into())],
            gateway_more: "\n[second_factor.exec]\ncommand = [\"@DIR@/ask\"]\n".into(),
            files: vec![("ask", format!("#!/bin/sh\n{script}\n"), 0o700)],
            timeout: "1s",
            ..Setup::default()
        };
        let door = Door::open(setup).await;
        let ran = door.ssh(&["whoami"]).await;
        assert_eq!(ran.code, code, "{script}: {ran:?}");
        match cause {
            None => {
                assert!(ran.stdout.contains("confirmed by: exec\n"), "{ran:?}");
                let asked = std::fs::read_to_string(door.path().join("ask.asked")).unwrap();
                let asked: Value = serde_json::from_str(&asked).unwrap();
                assert_eq!((&asked["user"], &asked["code"]), (&json!(JANE), &json!(number(&ran.stderr))));
            }
            Some(cause) => {
                assert!(ran.stderr.contains("Not confirmed"), "{script}: {ran:?}");
                assert_eq!(door.wait_for("refused", 1).await[0]["cause"], cause, "{script}");
                nothing_ran(&door);
            }
        }
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_confirm_asks_the_phone_for_the_command_by_name() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\"]\non = [\"praxis-mueller\"]\nconfirm = true\n\
                 [[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backups\"]\non = [\"praxis-mueller\"]\n";
    let door = Door::open(Setup { rules: Some(rules.into()), ..Setup::default() }).await;
    let ran = door.ssh(&["konnektor", "backup", "-s", "infomodell"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let seen = door.phone.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].purpose.as_str(), seen[1].purpose.as_str()), ("login", "command"));
    assert_eq!(seen[1].command.as_deref(), Some("konnektor backup -s infomodell"));
    assert_eq!(seen[1].site.as_deref(), Some("praxis-mueller"));
    assert!(seen[1].message_en.contains("command \"konnektor backup -s infomodell\" on praxis-mueller"));
    let shown = ran.stderr.split("\"konnektor backup -s infomodell\" wants to be confirmed").nth(1).unwrap();
    assert_eq!(number(shown), seen[1].code);
    let started = door.events("started");
    assert_eq!((started.len(), &started[0]["rule"]), (1, &json!("rules.toml:1")));

    // Without confirm beside it: one push.
    assert_eq!(door.ssh(&["konnektor", "backups"]).await.code, 0);
    assert_eq!(door.phone.questions(), 3);
    let before = door.konnektor.requests().len();

    // Denied: the login is confirmed, then the person changes their mind.
    let mut master = Master::open(&door).await;
    door.phone_does("deny");
    let denied = master.run(&door, &["konnektor", "backup"]).await;
    assert_eq!((denied.code, denied.stdout.as_str()), (77, ""), "{denied:?}");
    assert!(denied.stderr.contains("Not confirmed: it was denied"), "{denied:?}");
    let refused = door.wait_for("refused", 1).await;
    assert_eq!(
        (&refused[0]["cause"], &refused[0]["command"]),
        (&json!("factor-denied"), &json!("konnektor backup"))
    );
    assert_eq!(door.konnektor.requests().len(), before, "nothing ran on the box");
    assert_eq!(door.events("started").len(), 2);
    master.close().await;
    door.close().await;
}

/// One connection that more sessions go over.
struct Master(tokio::process::Child);

impl Master {
    async fn open(door: &Door) -> Self {
        let socket = door.path().join("control");
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.args(["-M", "-N", "-S"]).arg(&socket).arg("127.0.0.1");
        let child = ssh.spawn().unwrap();
        for _ in 0..1000 {
            if socket.exists() {
                return Self(child);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no master connection");
    }

    async fn run(&mut self, door: &Door, words: &[&str]) -> Ran {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.arg("-S").arg(door.path().join("control")).arg("127.0.0.1").args(words);
        ran(ssh).await
    }

    async fn close(mut self) {
        self.0.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_while_their_key_is_held_stops_the_ringing() {
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = Setup {
        phone_url: Some(format!("http://{}/ask", provider.local_addr().unwrap())),
        gateway_more: format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n"),
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    // OpenSSH with the key held, and with keyboard-interactive (bob's): both are killed while the phone rings.
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    for (n, (user, key, cause)) in
        [(JANE, "jane", "client-gone"), (BOB, "bob", "no-answer")].into_iter().enumerate()
    {
        let mut ssh = door.ssh_command(user, key).args(["127.0.0.1", "konnektor", "backup"]).spawn().unwrap();
        let (mut question, _) = provider.accept().await.unwrap();
        let mut asked = vec![0; 64 * 1024];
        assert!(question.read(&mut asked).await.unwrap() > 0);
        ssh.kill().await.unwrap();
        let hung_up = async { while question.read(&mut asked).await.is_ok_and(|n| n > 0) {} };
        // Keyboard-interactive is looked after in rounds of eight seconds.
        tokio::time::timeout(Duration::from_secs(10), hung_up).await.expect("the phone rings on");
        let refused = door.wait_for("refused", n + 1).await;
        assert_eq!((&refused[n]["user"], &refused[n]["cause"]), (&json!(user), &json!(cause)));
    }
    nothing_ran(&door);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_user_is_no_first_factor_for_another() {
    let door = Door::open(Setup::default()).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    let told = door
        .knock(json!([
            [["sign", JANE, "jane"], ["push", JANE], ["run", "whoami"]],
            [["sign", JANE, "jane"], ["interactive", BOB], ["answer"], ["none", BOB]],
            [["sign", JANE, "jane"], ["interactive", JANE], ["interactive", BOB], ["none", BOB]],
            [["sign", JANE, "jane"], ["answer"], ["none", JANE]],
            [["sign", JANE, "jane"], ["password", JANE, "x"], ["none", JANE]],
        ]))
        .await;
    assert_eq!(told[0][1]["reply"], "success", "{told:?}");
    assert!(told[0][2]["stdout"].as_str().unwrap().contains(JANE));
    for (n, replies) in told.iter().enumerate().skip(1) {
        assert!(replies.iter().all(|r| r["reply"] != "success"), "{n}: {replies:?}");
    }
    assert_eq!(door.events("login").len(), 1);
    let refused = door.wait_for("refused", 4).await;
    assert!(refused.iter().all(|line| line["cause"] == "method-out-of-order"), "{refused:#?}");
    assert!(door.phone.questions() <= 2, "the login, and a question that was dropped, if it came so far");
    door.close().await;
}
