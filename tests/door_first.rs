//! The line from end to end: a key, a phone, one restricted command, and the journal.

use crate::door;

use door::{Door, JANE, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_technician_backs_a_konnektor_up_and_it_is_on_record() {
    let door = Door::open(Setup::default()).await;
    let ran = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = ran.stdout.lines().next().unwrap();
    let name = first.strip_prefix("praxis-mueller/main ").unwrap();
    assert_eq!(ran.stdout.lines().count(), 20, "{}", ran.stdout);
    assert!(ran.stderr.contains("Confirm on your phone"), "{}", ran.stderr);

    let shown = door.ssh(&["konnektor", "show", "-f", name]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let archive = pforte::konnektor::archive::Archive::parse(shown.stdout.as_bytes()).unwrap();
    assert_eq!(archive.services().count(), 19);
    assert_eq!(archive.about.by.as_ref().unwrap().as_str(), JANE);

    let finished = door.wait_for("finished", 4).await;
    assert_eq!(finished[0]["exit"], 0);
    let started = &door.events("started")[0];
    assert_eq!(started["user"], JANE);
    assert_eq!(started["command"], "konnektor backup");
    assert_eq!(started["site"], "praxis-mueller");
    assert_eq!(started["target"], "konnektor/main");
    assert_eq!(started["rule"], "rules.toml:3");
    assert_eq!(started["factor"], "webhook");
    assert_eq!(door.phone.questions(), 2, "one push a connection");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_denies_lets_nothing_run_and_rings_once() {
    let door = Door::open(Setup { phone: "deny", ..Setup::default() }).await;
    let ran = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(ran.code, 255, "{ran:?}");
    assert!(ran.stderr.contains("Not confirmed"), "{}", ran.stderr);
    assert_eq!(door.phone.questions(), 1);
    let refused = door.wait_for("refused", 1).await;
    assert_eq!(refused[0]["cause"], "factor-denied");
    assert!(door.events("login").is_empty() && door.events("started").is_empty());
    assert!(door.konnektor.requests().is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_policy_denies_everything() {
    let door = Door::open(Setup { rules: Some(String::new()), ..Setup::default() }).await;
    for command in [&["whoami"][..], &["help"], &["sites"], &["konnektor", "list"], &["konnektor", "backup"]]
    {
        let ran = door.ssh(command).await;
        assert_eq!(ran.code, 77, "{command:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
    assert!(door.events("started").is_empty());
    door.close().await;
}
