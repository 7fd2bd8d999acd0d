//! `pforte konnektor` as the old tool's user types it: backups, passwords, certificates, makes; the built program at simulated boxes.
#![allow(clippy::disallowed_methods, reason = "tests")]

use crate::at_the_box;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use at_the_box::{PASSWORD, Screen, place, place_of};
use pforte::konnektor::simulator::{Fault, Make, Order, SERVICES};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_user_of_the_old_tool_changes_the_programs_name_and_nothing_else() {
    let place = place(|_| {}).await;
    let address = place.address();
    // Both are what a box on its usual ports needs neither of.
    let beside = ["--sds", &address, "--accept-new"];
    let line = ["-i", &address, "-u", "koco-root", "-p", PASSWORD, "backup", "-f", "alles.json"];
    let ran = place.ended(place.bare(&[&line[..], &beside].concat())).await.is(0);
    assert!(ran.out.starts_with(&format!("{address} alles.json\n")), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1 + SERVICES.len());
    assert!(ran.err.contains("Prozessliste") && ran.err.contains("private Schlüssel"), "{ran:?}");
    assert_eq!(mode(&place.file("alles.json")), 0o600);
    // Options behind the word, and German words.
    let line =
        ["sichern", "-s", "infomodell", "ntpservice", "-u", "koco-root", "-i", &address, "-p", PASSWORD];
    place.ended(place.bare(&[&line[..], &beside].concat())).await.is(0);
    let names = place.files();
    assert_eq!(names.len(), 2, "{names:?}");
    let pattern: String = names[0].chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(pattern, "9999-99-99-99-99.json");
    let backup: serde_json::Value =
        serde_json::from_slice(&fs::read(place.file(&names[0])).unwrap()).unwrap();
    assert_eq!(backup["services"].as_object().unwrap().len(), 2);
    // What is there stays.
    let before = fs::read(place.file("alles.json")).unwrap();
    let ran = place.run(&["backup", "-f", "alles.json"]).await.is(64);
    assert!(ran.err.contains("gibt es schon"), "{ran:?}");
    assert_eq!(fs::read(place.file("alles.json")).unwrap(), before);
    place.is_clean();
}

#[tokio::test]
async fn a_second_backup_in_the_minute_has_another_name_and_output_is_a_file_too() {
    let mut place = place(|_| {}).await;
    place.lang = "C.UTF-8";
    let mut names = Vec::new();
    // Three, so that at least two are in the same minute.
    for _ in 0..3 {
        place.run(&["backup", "-s", "ntpservice"]).await.is(0);
        names = place.files();
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("-2.json")), "{names:?}");
    let ran = place.run(&["backup", "-f", "-", "-s", "ntpservice"]).await.is(0);
    assert_eq!(ran.json()["services"]["ntpservice"], place.get("ntpservice"));
    assert!(ran.err.contains("ntpservice") && ran.err.contains("private keys"), "{ran:?}");
    assert_eq!(place.files().len(), 3);
    let ran = place.run(&["backup", "-f", "plain.json", "--plain", "--json"]).await.is(0);
    let told = ran.json();
    assert_eq!(told["file"], "plain.json");
    assert_eq!(told["services"].as_array().unwrap().len(), SERVICES.len());
    let plain: serde_json::Value =
        serde_json::from_slice(&fs::read(place.file("plain.json")).unwrap()).unwrap();
    assert_eq!(plain["ntpservice"], place.get("ntpservice"));
    assert!(plain.get("pforte").is_none());
    place.is_clean();
}

/// All that can be typed, and what a German keyboard adds.
fn every_character() -> String {
    (' '..='~').chain("ÄÖÜäöüß€§".chars()).collect()
}

#[tokio::test]
async fn every_character_of_a_password_comes_from_a_file_the_environment_and_the_terminal() {
    let password = every_character();
    let place = place_of(Make::Kocobox, &password, |_| {}).await;
    let secret = place.home.path().join("password");
    fs::write(&secret, format!("{password}\r\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let by_file = ["status", "--accept-new", "--password-file", secret.to_str().unwrap()];
    place.ended(place.at(&by_file)).await.is(0);
    let mut by_environment = place.at(&["status"]);
    by_environment.env("PFORTE_KONNEKTOR_PASSWORD", &password);
    place.ended(by_environment).await.is(0);
    let mut screen = Screen::open(place.at(&["zustand"]));
    screen.until(&format!("Passwort von koco-root@{}: ", place.simulator.address().ip())).await;
    screen.press(&format!("{password}\n"));
    let ran = screen.end(&place).await.is(0);
    assert!(ran.out.contains("Betriebszustand"), "{ran:?}");
    let place_of_it = ["-p", &password];
    place.ended(place.at(&[&["status"], &place_of_it[..]].concat())).await.is(0);
    place.is_clean();
}

#[tokio::test]
async fn a_wrong_password_is_sent_once_and_a_missing_one_is_wrong_usage() {
    let place = place(|_| {}).await;
    let mut wrong = place.at(&["backup", "--accept-new"]);
    wrong.env("PFORTE_KONNEKTOR_PASSWORD", "falsch");
    let ran = place.ended(wrong).await.is(1);
    assert!(ran.err.contains("abgelehnt"), "{ran:?}");
    let logins = place.simulator.requests().iter().filter(|r| r.path == "/j_security_check").count();
    assert_eq!(logins, 1);
    let ran = place.ended(place.at(&["backup"])).await.is(64);
    assert!(ran.err.contains("--password-file") && ran.err.contains("PFORTE_KONNEKTOR_PASSWORD"), "{ran:?}");
    assert_eq!(place.files(), Vec::<String>::new());
    for line in
        [&["backup"][..], &["-i", "192.168.2.100", "backup"], &["-i", "x y", "-u", "a", "-p", "b", "backup"]]
    {
        place.ended(place.bare(line)).await.is(64);
    }
    for line in
        [&["bakup"][..], &["einlesen"], &["perform"], &["einlesen", "-f", "x", "-z", "alles"], &["-p"]]
    {
        place.ended(place.bare(line)).await.is(64);
    }
    place.is_clean();
}

#[tokio::test]
async fn a_password_file_that_others_can_read_is_refused() {
    let place = place(|_| {}).await;
    let secret = place.home.path().join("password");
    fs::write(&secret, PASSWORD).unwrap();
    for rights in [0o640, 0o604, 0o620] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(rights)).unwrap();
        let ran =
            place.ended(place.at(&["status", "--password-file", secret.to_str().unwrap()])).await.is(78);
        assert!(ran.err.contains("chmod 600"), "{ran:?}");
    }
    assert!(place.simulator.requests().is_empty());
    place.is_clean();
}

#[tokio::test]
async fn ctrl_c_at_the_password_gives_the_terminal_its_echo_back() {
    let place = place(|_| {}).await;
    let mut screen = Screen::open(place.at(&["status"]));
    screen.until("Passwort").await;
    assert!(!tcgetattr(&screen.keyboard).unwrap().local_modes.contains(LocalModes::ECHO));
    screen.press("halb");
    let pid = Pid::from_raw(screen.child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let keyboard = screen.keyboard.try_clone().unwrap();
    let ran = screen.end(&place).await.is(1);
    assert!(tcgetattr(&keyboard).unwrap().local_modes.contains(LocalModes::ECHO));
    assert!(!ran.out.contains("halb") && ran.out.contains("Angehalten."), "{ran:?}");
}

#[tokio::test]
async fn an_unknown_certificate_is_asked_about_and_kept() {
    let place = place(|_| {}).await;
    let pin = place.simulator.certificate_pin().to_string();
    let asked = |lang| {
        let mut command = place.at(&["status", "--lang", lang]);
        command.env("PFORTE_KONNEKTOR_PASSWORD", PASSWORD);
        command
    };
    // Nobody to ask.
    let ran = place.ended(asked("en")).await.is(77);
    for part in [&pin, "--certificate", "--accept-new"] {
        assert!(ran.err.contains(part), "{part} is not in {ran:?}");
    }
    // No is no, and it is asked once.
    let mut screen = Screen::open(asked("en"));
    screen.until("(yes/no)").await;
    screen.press("no\n");
    let ran = screen.end(&place).await.is(77);
    assert_eq!(ran.out.matches("(yes/no)").count(), 1, "{ran:?}");
    assert!(!place.pins().exists());
    assert!(place.simulator.requests().is_empty(), "something was sent");
    // Named, it needs no question and is not kept.
    let mut named = asked("en");
    named.args(["--certificate", &pin]);
    place.ended(named).await.is(0);
    assert!(!place.pins().exists());
    let mut screen = Screen::open(asked("de"));
    screen.until("(ja/nein)").await;
    assert!(screen.shown.contains(&pin) && screen.shown.contains("Telefon"), "{}", screen.shown);
    screen.press("ja\n");
    screen.end(&place).await.is(0);
    assert_eq!(fs::read_to_string(place.pins()).unwrap(), format!("{} management {pin}\n", place.address()));
    assert_eq!(mode(&place.pins()), 0o600);
    place.ended(asked("en")).await.is(0);
    place.is_clean();
}

#[tokio::test]
async fn a_changed_certificate_is_refused_with_both_and_the_line() {
    let place = place(|_| {}).await;
    place.run(&["status"]).await.is(0);
    let was = place.simulator.certificate_pin().to_string();
    place.simulator.change_certificate().unwrap();
    let now = place.simulator.certificate_pin().to_string();
    let before = place.simulator.requests().len();
    // Not even with the option that takes what is new.
    let ran = place.run(&["backup"]).await.is(77);
    let line = format!("{}:1", place.pins().display());
    for part in [&was, &now, &line] {
        assert!(ran.err.contains(part), "{part} is not in {ran:?}");
    }
    assert_eq!(place.simulator.requests().len(), before);
    assert!(fs::read_to_string(place.pins()).unwrap().contains(&was));
    let mut named = place.easy(&["status"]);
    named.args(["--certificate", &was]);
    let ran = place.ended(named).await.is(77);
    assert!(ran.err.contains(&now), "{ran:?}");
    place.is_clean();
}

#[tokio::test]
async fn secunet_and_rise_are_known_by_themselves() {
    for (make, service, firmware) in
        [(Make::Secunet, "mandanten", "2.0.2"), (Make::Rise, "terminals", "4.2.8")]
    {
        let place = place_of(make, PASSWORD, |_| {}).await;
        let status = place.run(&["status", "--json", "--product", "auto"]).await.is(0).json();
        assert_eq!((&status["firmware"], &status["firmware_known"]), (&firmware.into(), &true.into()));
        let backup = place.run(&["backup", "-f", "x.json"]).await;
        assert!(backup.out.contains(&format!("{service}\t")), "{backup:?}");
        // What the makes do not tell publicly is named; the rest is kept.
        assert!(
            backup.code == Some(0) || backup.code == Some(1) && backup.err.contains("ohne"),
            "{backup:?}"
        );
        assert!(place.file("x.json").exists());
        place.is_clean();
    }
}

#[tokio::test]
async fn what_the_role_may_not_read_is_named_and_the_rest_is_kept() {
    let place =
        place(|options| options.forbidden = vec!["certificateservice".into(), "vpnservice".into()]).await;
    let ran = place.run(&["backup", "-f", "x.json"]).await.is(1);
    assert!(ran.err.contains("certificateservice") && ran.err.contains("vpnservice"), "{ran:?}");
    let backup: serde_json::Value = serde_json::from_slice(&fs::read(place.file("x.json")).unwrap()).unwrap();
    assert_eq!(backup["services"].as_object().unwrap().len(), SERVICES.len() - 2);
    assert_eq!(backup["pforte"]["failed"].as_object().unwrap().len(), 2);
    place.is_clean();
}

#[tokio::test]
async fn a_box_that_is_away_is_69_and_a_bad_profile_78() {
    let place = place(|_| {}).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for product in ["auto", "kocobox"] {
        let mut command =
            place.bare(&["-i", &gone, "--sds", &gone, "-u", "x", "--product", product, "backup"]);
        command.env("PFORTE_KONNEKTOR_PASSWORD", "x");
        place.ended(command).await.is(69);
    }
    fs::write(place.file("p.toml"), "known_firmware = 3").unwrap();
    let ran = place.ended(place.at(&["--profile", "p.toml", "backup"])).await.is(78);
    assert!(ran.err.contains("p.toml:1:"), "{ran:?}");
}

#[tokio::test]
async fn a_second_process_at_the_box_is_told_the_first_ones_pid() {
    let place = place(|_| {}).await;
    place.run(&["status"]).await.is(0);
    place.simulator.set_fault(Order::of_service("infomodell", Fault::Stall));
    let first = place.easy(&["backup"]).spawn().unwrap();
    let pid = first.id().unwrap();
    let asked = |place: &at_the_box::Place| {
        place.simulator.requests().iter().any(|request| request.path.ends_with("/infomodell"))
    };
    place.until("the first one's question", asked).await;
    let ran = place.run(&["status"]).await.is(1);
    assert!(ran.err.contains(&format!("Prozess {pid} ")), "{ran:?}");
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::INT).unwrap();
    let ran = place.heard_of(first).await.is(1);
    assert!(ran.err.contains("Angehalten."), "{ran:?}");
    place.simulator.clear_faults();
    // Nothing of it is left, and the turn is free.
    assert_eq!(place.files(), Vec::<String>::new());
    place.run(&["status"]).await.is(0);
}

#[tokio::test]
async fn actions_are_those_of_the_profile_unless_one_is_spelled_out() {
    let place = place(|options| options.actions = vec!["werksreset".into()]).await;
    place.run(&["perform", "-a", "delete-ct", "-d", r#"{"CTID":"CT_ID_0001"}"#]).await.is(0);
    assert_eq!(place.simulator.performed()[0].0, "delete-ct");
    for data in [&["-d", r#"{"CTID":1}"#][..], &["-d", r#"{"x":"y"}"#], &[]] {
        let ran = place.run(&[&["perform", "-a", "delete-ct"], data].concat()).await.is(64);
        assert!(ran.err.contains("delete-ct"), "{ran:?}");
    }
    place.run(&["perform", "-a", "delete-ct", "-d", "{"]).await.is(64);
    let ran = place.run(&["ausfuehren", "-a", "werksreset"]).await.is(77);
    assert!(ran.err.contains("--unknown-action"), "{ran:?}");
    assert_eq!(place.simulator.performed().len(), 1);
    place.run(&["perform", "-a", "werksreset", "--unknown-action"]).await.is(0);
    assert_eq!(place.simulator.performed().len(), 2);
    let ran = place.run(&["perform", "-a", "reboot"]).await.is(0);
    assert!(ran.err.contains("ist es wieder da"), "{ran:?}");
    assert_eq!(place.simulator.reboots(), 1);
    place.is_clean();
}

#[tokio::test]
async fn an_unknown_firmware_is_read_and_written_only_where_that_is_said() {
    let place = place(|options| options.firmware = "9.9.9".into()).await;
    place.backup("x.json").await;
    let line = ["perform", "-a", "delete-ct", "-d", r#"{"CTID":"CT_ID_0001"}"#];
    let ran = place.run(&line).await.is(77);
    assert!(ran.err.contains("9.9.9") && ran.err.contains("--firmware any"), "{ran:?}");
    let ran = place.run(&[&line[..], &["--firmware", "any"]].concat()).await.is(0);
    assert!(ran.err.contains("9.9.9"), "{ran:?}");
    place.change(&["ntpservice"]);
    let restore = ["einlesen", "-f", "x.json", "-s", "ntpservice", "--yes"];
    place.run(&restore).await.is(77);
    place.run(&[&restore[..], &["--firmware", "any"]].concat()).await.is(0);
    assert!(place.get("ntpservice").get("CHANGED").is_none());
    place.is_clean();
}

#[tokio::test]
async fn terminals_and_differences_are_told_to_people_and_programs() {
    let place = place(|_| {}).await;
    place.backup("x.json").await;
    let listed = place.run(&["terminals", "--json"]).await.is(0).json();
    assert_eq!(listed[0]["id"], "CT_ID_0001");
    let ran = place.run(&["kartenterminals"]).await.is(0);
    assert!(ran.out.starts_with("CT_ID_0001\t"), "{ran:?}");
    place.change(&["ntpservice"]);
    let ran = place.run(&["vergleichen", "-f", "x.json"]).await.is(0);
    assert!(ran.out.contains("ntpservice\n") && ran.out.contains("+ /CHANGED: \"später\""), "{ran:?}");
    place.backup("y.json").await;
    // Two files need no box.
    let ran = place.ended(place.bare(&["diff", "-f", "x.json", "-f", "y.json", "--json"])).await.is(0);
    let changes = ran.json();
    assert_eq!((&changes[0]["service"], changes.as_array().unwrap().len()), (&"ntpservice".into(), 1));
    place.is_clean();
}
