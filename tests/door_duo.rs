//! Duo at the door, with OpenSSH: what the person reads, what the journal says, and how often it rings.
//! Absent on purpose: Duo's own faults (`factor_duo.rs`).
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::duo;

use door::{Door, JANE, Ran, Setup, ran};
use duo::{Answer, Duo, IKEY, Preauth, SKEY};
use serde_json::json;

/// A door that asks `duo`; jane may choose how.
async fn door_of(duo: &Duo, menu: bool) -> Door {
    let settings = format!(
        "\n[second_factor.duo]\nhost = \"{}\"\nikey = \"{IKEY}\"\nskey = {{ file = \"secrets/duo\" }}\nca = \"duo.pem\"\n",
        duo.address
    );
    let firm = format!("[people.\"{JANE}\"]\nas = \"Jäne Döe\"\nmenu = {menu}\n");
    let setup = Setup {
        gateway: vec![("provider = \"webhook\"".into(), "provider = \"duo\"".into())],
        gateway_more: settings,
        files: vec![
            ("secrets/duo", format!("{SKEY}\n"), 0o600),
            ("duo.pem", duo.ca_pem.clone(), 0o644),
            ("policy/firms/firm.toml", firm, 0o644),
        ],
        timeout: "10s",
        ..Setup::default()
    };
    Door::open(setup).await
}

async fn janes() -> Duo {
    let duo = Duo::start().await;
    duo.person("Jäne Döe", |user| user.passcodes = vec!["1234567"]);
    duo
}

/// OpenSSH, which has these words typed by an askpass program, one a question.
async fn ssh_typing(door: &Door, words: &[&str]) -> Ran {
    let (askpass, list) = (door.path().join("askpass"), door.path().join("words"));
    std::fs::write(&list, words.join("\n") + "\n").unwrap();
    let script = format!("#!/bin/sh\nhead -n 1 '{0}'\nsed -i 1d '{0}'\n", list.display());
    pforte::init::write_new(&askpass, script.as_bytes(), 0o700).unwrap();
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":none");
    ssh.args(["127.0.0.1", "whoami"]);
    ran(ssh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_shows_duos_code_where_it_has_one_and_the_journal_says_duo_push() {
    let duo = janes().await;
    let door = door_of(&duo, false).await;
    let plain = door.ssh(&["whoami"]).await;
    assert_eq!(plain.code, 0, "{plain:?}");
    let shown = duo.calls("auth")[0].fields["pushinfo"].clone();
    let number = shown.strip_prefix("Number=").unwrap().get(..2).unwrap().to_owned();
    assert!(plain.stderr.contains(&format!("The number there must be {number}.")), "{plain:?}");
    duo.person("Jäne Döe", |user| user.verified = Some("0474"));
    let verified = door.ssh(&["whoami"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(verified.stderr.contains("Your phone asks for a number. Enter 0474 there."), "{verified:?}");
    assert!(verified.stdout.contains("confirmed by: duo-push\n"), "{verified:?}");
    let logins = door.wait_for("login", 2).await;
    assert!(logins.iter().all(|login| login["factor"] == "duo-push"), "{logins:?}");
    assert_eq!((duo.pushes(), duo.calls("check").len()), (2, 1), "the look at the start asked nobody");
    let journal = serde_json::to_string(&door.journal()).unwrap();
    assert!(!journal.contains(SKEY) && !journal.contains("0474"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_told_and_rings_once() {
    for (answer, sentence, cause) in [
        (Answer::Deny, "Not confirmed: it was denied on the phone", "factor-denied"),
        (Answer::Fraud, "Not confirmed: it was reported as not yours", "factor-fraud"),
    ] {
        let duo = janes().await;
        duo.person("Jäne Döe", |user| user.answer = answer.clone());
        let door = door_of(&duo, false).await;
        let denied = door.ssh(&["whoami"]).await;
        assert_eq!((denied.code, denied.stdout.as_str()), (255, ""), "{denied:?}");
        assert!(denied.stderr.contains(sentence), "{denied:?}");
        assert_eq!(door.wait_for("refused", 1).await[0]["cause"], cause);
        assert_eq!((duo.pushes(), door.events("login").len()), (1, 0));
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_choose_types_sms_and_then_the_code() {
    let duo = janes().await;
    let door = door_of(&duo, true).await;
    let ran = ssh_typing(&door, &["sms", "7654321", "1234567"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("A code is on its way by SMS to ...4788."), "{ran:?}");
    assert!(ran.stdout.contains("confirmed by: duo-sms\n"), "{ran:?}");
    assert_eq!((duo.texts(), duo.pushes()), (1, 0));
    assert_eq!(door.wait_for("login", 1).await[0]["factor"], json!("duo-sms"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_enrolled_or_would_pass_unasked_is_told_so() {
    let enrol = "You are not enrolled yet. Do it here: https://duo.example/enrol/1";
    for (preauth, sentence, cause) in [
        (
            Preauth::Enroll("https://duo.example/enrol/1"),
            enrol,
            "factor-failed: person not enrolled at the provider",
        ),
        (
            Preauth::Allow,
            "the phone service would let you through without asking you",
            "factor-failed: provider would let the person through unasked, which the settings do not allow",
        ),
    ] {
        let duo = janes().await;
        duo.person("Jäne Döe", |user| user.preauth = preauth.clone());
        let door = door_of(&duo, false).await;
        let ran = door.ssh(&["whoami"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (255, ""), "{ran:?}");
        assert!(ran.stderr.contains(sentence), "{ran:?}");
        assert_eq!(door.wait_for("refused", 1).await[0]["cause"], cause);
        assert_eq!((duo.pushes(), door.events("login").len()), (0, 0));
        door.close().await;
    }
}
