//! privacyIDEA at the door: OpenSSH shows the number that the phone wants, and takes the code of an SMS.
//! Absent on purpose: everything that can go wrong; `factor_privacyidea*.rs` has that.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::privacyidea;

use std::process::Stdio;
use std::time::Duration;

use door::{Door, JANE, Setup};
use privacyidea::{PASSWORD, People, REALM, SERVICE, Town};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

const BOB: &str = "firm-bob.roe";

/// An askpass that waits for its answers in files, one a prompt: DIR/typed.1, DIR/typed.2, …
const ASKPASS: &str = r#"#!/bin/sh
n=1
while [ -e "@DIR@/asked.$n" ]; do n=$((n + 1)); done
printf '%s\n' "$1" > "@DIR@/asked.$n"
for _ in $(seq 600); do
    if [ -e "@DIR@/typed.$n" ]; then cat "@DIR@/typed.$n"; exit 0; fi
    sleep 0.05
done
exit 1
"#;

fn types(door: &Door, prompt: usize, text: &str) {
    let (new, typed) = (door.path().join("typed.new"), door.path().join(format!("typed.{prompt}")));
    std::fs::write(&new, format!("{text}\n")).unwrap();
    std::fs::rename(new, typed).unwrap();
}

fn asked(door: &Door, prompt: usize) -> String {
    std::fs::read_to_string(door.path().join(format!("asked.{prompt}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_shown_and_pressed_and_a_code_by_sms_is_typed() {
    let people = People {
        tokens: vec![(JANE, &["push"]), ("roe", &["push", "sms"])],
        presence: vec![JANE],
        ..People::default()
    };
    let mut town = Town::open(people).await;
    let url = &town.url;
    let setup = Setup {
        gateway: vec![("provider = \"webhook\"".into(), "provider = \"privacyidea\"".into())],
        gateway_more: format!(
            "\n[second_factor.privacyidea]\nurl = \"{url}\"\nrealm = \"{REALM}\"\nuser = \"{SERVICE}\"\n\
             password = {{ file = \"secrets/privacyidea\" }}\nverify = \"privacyidea.pem\"\n"
        ),
        files: vec![
            ("secrets/privacyidea", format!("{PASSWORD}\n"), 0o600),
            ("privacyidea.pem", String::from_utf8(town.public_key()).unwrap(), 0o644),
            ("policy/firms/firm.toml", format!("[people.\"{BOB}\"]\nas = \"roe\"\nmenu = true\n"), 0o644),
            ("askpass", String::new(), 0o700),
        ],
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;

    // The number goes to ssh's stderr while the phone rings.
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.args(["127.0.0.1", "whoami"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut ssh = ssh.spawn().unwrap();
    let mut told = BufReader::new(ssh.stderr.take().unwrap()).lines();
    let number = async {
        while let Some(line) = told.next_line().await.unwrap() {
            if let Some((_, number)) = line.split_once("Your phone asks for a number. Enter ") {
                return number[..2].to_owned();
            }
        }
        panic!("no number was shown")
    };
    let number = tokio::time::timeout(Duration::from_secs(30), number).await.unwrap();
    assert!(town.phone(JANE).await.press(&number).await);
    let ended = tokio::time::timeout(Duration::from_mins(1), ssh.wait_with_output()).await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && shown.contains("confirmed by: privacyidea-push\n"), "{shown}");
    assert_eq!(door.events("login")[0]["factor"], json!("privacyidea-push"));

    // Asked which way, bob types `sms`, and then what came.
    std::fs::write(door.path().join("askpass"), ASKPASS.replace("@DIR@", &door.path().display().to_string()))
        .unwrap();
    types(&door, 1, "sms");
    let mut ssh = door.ssh_command(BOB, "bob");
    ssh.env("SSH_ASKPASS", door.path().join("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
    ssh.env("DISPLAY", ":none").args(["127.0.0.1", "whoami"]);
    let typing = async {
        let (_, code) = town.sms().await;
        types(&door, 2, &code);
    };
    let (ran, ()) = tokio::join!(door::ran(ssh), typing);
    assert!(ran.code == 0 && ran.stdout.contains("confirmed by: privacyidea-sms\n"), "{ran:?}");
    assert!(ran.stderr.contains("A code is on its way by SMS."), "{ran:?}");
    assert!(asked(&door, 1).contains("How to confirm: push, sms, code?"), "{}", asked(&door, 1));
    assert!(asked(&door, 2).contains("Code"), "{}", asked(&door, 2));
    assert_eq!(door.events("login")[1]["factor"], json!("privacyidea-sms"));
    assert_eq!(town.phone("roe").await.open().await, 0, "the phone was not asked");
    door.close().await;
}
