//! `pforte konnektor einlesen`: files of all forms, interrupted in every way, resumed and undone; the built program at simulated boxes.
#![allow(clippy::disallowed_methods, reason = "tests")]

use crate::at_the_box;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use age::secrecy::ExposeSecret;
use at_the_box::{Place, Screen, place};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const SOME: [&str; 6] =
    ["ntpservice", "dnsservice", "protocolservice", "vpnservice", "management", "certificateservice"];

#[tokio::test]
async fn a_restore_keeps_what_was_writes_what_the_file_says_and_proves_it() {
    let place = place(|_| {}).await;
    place.backup("x.json").await;
    let wanted = place.all();
    place.change(&SOME);
    let changed = place.all();
    let ran = place.run(&["einlesen", "-f", "x.json", "--dry-run"]).await.is(0);
    assert!(ran.err.contains("--dry-run") && ran.out.contains("ntpservice schreiben."), "{ran:?}");
    assert_eq!((place.files(), place.all()), (vec!["x.json".to_owned()], changed.clone()));
    // Nobody to ask.
    let ran = place.run(&["einlesen", "-f", "x.json"]).await.is(64);
    assert!(ran.err.contains("--yes"), "{ran:?}");
    assert_eq!((place.all(), place.simulator.writes()), (changed.clone(), 0));
    let mut screen = Screen::open(place.easy(&["einlesen", "-f", "x.json"]));
    let question = format!("Tippen Sie {}: ", place.address());
    screen.until(&question).await;
    screen.press("ja\n");
    screen.end(&place).await.is(1);
    assert_eq!(place.simulator.writes(), 0);
    let mut screen = Screen::open(place.easy(&["einlesen", "-f", "x.json"]));
    screen.until(&question).await;
    screen.press(&format!("{}\n", place.address()));
    let ran = screen.end(&place).await.is(0);
    assert!(ran.out.contains("Eingelesen, zurückgelesen und verglichen."), "{ran:?}");
    assert_eq!(place.all(), wanted);
    assert!(!place.record().exists());
    // What was before lies beside it, and leads back.
    let before: Vec<String> = place.files().into_iter().filter(|name| name.contains("-vorher")).collect();
    assert_eq!(fs::metadata(place.file(&before[0])).unwrap().permissions().mode() & 0o777, 0o600);
    place.run(&["restore", "-f", &before[0], "--yes"]).await.is(0);
    assert_eq!(place.all(), changed);
    place.is_clean();
}

#[tokio::test]
async fn the_old_form_and_an_edited_file_are_read() {
    let place = place(|_| {}).await;
    place.run(&["backup", "--plain", "-f", "alt.json"]).await.is(0);
    let wanted = place.all();
    place.change(&SOME);
    let ran = place.run(&["einlesen", "-f", "alt.json", "-s", "ntpservice", "--yes"]).await.is(0);
    assert!(ran.out.contains("keinen Kopf"), "{ran:?}");
    assert_eq!(place.get("ntpservice"), wanted["ntpservice"]);
    assert_ne!(place.get("dnsservice"), wanted["dnsservice"]);
    // Standard input, as a program reads it.
    let mut command = place.easy(&["einlesen", "-f", "-", "--yes", "--json"]);
    command.stdin(fs::File::open(place.file("alt.json")).unwrap());
    let ran = place.ended(command).await.is(0);
    assert_eq!(ran.json()["done"], true);
    assert_eq!(place.all(), wanted);
    let mut edited = place.backup("neu.json").await;
    edited["services"]["ntpservice"]["CHANGED"] = json!("von Hand");
    fs::write(place.file("neu.json"), edited.to_string()).unwrap();
    let ran = place.run(&["einlesen", "-f", "neu.json", "--yes"]).await.is(0);
    assert!(ran.out.contains("bearbeitet: ntpservice"), "{ran:?}");
    assert_eq!(place.get("ntpservice")["CHANGED"], "von Hand");
    fs::write(place.file("kaputt.json"), "{\n  \"ntpservice\": }").unwrap();
    let ran = place.run(&["einlesen", "-f", "kaputt.json", "--yes"]).await.is(64);
    assert!(ran.err.contains("Zeile 2"), "{ran:?}");
    place.run(&["einlesen", "-f", "fehlt.json", "--yes"]).await.is(64);
    place.is_clean();
}

#[tokio::test]
async fn client_certificates_are_overwritten_or_deleted_as_the_old_words_say() {
    let place = place(|_| {}).await;
    place.backup("x.json").await;
    let wanted = place.get("clientsystem-certificates");
    let mut now = wanted.clone();
    now["certificates"][0]["serial"] = json!("anders");
    let mut other = now["certificates"][0].clone();
    other["name"] = json!("noch-eines");
    now["certificates"].as_array_mut().unwrap().push(other);
    place.put("clientsystem-certificates", &now);
    let line = ["einlesen", "-f", "x.json", "-s", "clientsystem-certificates", "--yes"];
    place.run(&line).await.is(0);
    assert_eq!(place.get("clientsystem-certificates"), now, "the same names stay");
    place.run(&[&line[..], &["-z", "ueberschreiben"]].concat()).await.is(0);
    let held = place.get("clientsystem-certificates");
    assert_eq!(held["certificates"][0], wanted["certificates"][0]);
    assert_eq!(held["certificates"].as_array().unwrap().len(), now["certificates"].as_array().unwrap().len());
    let ran = place.run(&[&line[..], &["-z", "loeschen"]].concat()).await.is(64);
    assert!(ran.err.contains("--yes --yes"), "{ran:?}");
    assert_eq!(place.get("clientsystem-certificates"), held);
    place.run(&[&line[..], &["-z", "loeschen", "--yes"]].concat()).await.is(0);
    assert_eq!(place.get("clientsystem-certificates"), wanted);
    place.is_clean();
}

#[tokio::test]
async fn encrypted_backups_are_opened_by_their_key_alone() {
    let place = place(|_| {}).await;
    let identity = age::x25519::Identity::generate();
    let key = place.home.path().join("key");
    fs::write(&key, identity.to_string().expose_secret()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let to = identity.to_public().to_string();
    let ran = place.run(&["backup", "-f", "x.json", "--recipient", &to]).await.is(0);
    assert!(!ran.err.contains("private Schlüssel"), "{ran:?}");
    assert_eq!(place.files(), ["x.json.age"]);
    assert!(fs::read(place.file("x.json.age")).unwrap().starts_with(b"age-encryption.org/v1"));
    let wanted = place.all();
    place.change(&SOME);
    let line = ["einlesen", "-f", "x.json.age", "--yes", "--recipient", &to];
    let ran = place.run(&line).await.is(64);
    assert!(ran.err.contains("--identity"), "{ran:?}");
    place.run(&[&line[..], &["--identity", key.to_str().unwrap()]].concat()).await.is(0);
    assert_eq!(place.all(), wanted);
    // What was before is encrypted as well.
    assert!(place.files().iter().all(|name| name.contains(".json.age")), "{:?}", place.files());
    place.is_clean();
}

/// A box in the middle of a restore, changed before, and what it held before that.
async fn begun(place: &Place) -> tokio::process::Child {
    place.backup("x.json").await;
    place.change(&SOME);
    place.run(&["status"]).await.is(0);
    let child = place.easy(&["einlesen", "-f", "x.json", "--yes"]).spawn().unwrap();
    place.until("the second write", |place| place.simulator.writes() >= 2).await;
    child
}

fn signal(child: &tokio::process::Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

fn slow(options: &mut pforte::konnektor::simulator::Options) {
    options.latency = Duration::from_millis(30);
}

#[tokio::test]
async fn a_restore_that_was_killed_is_resumed_to_the_file() {
    let place = place(slow).await;
    let wanted = place.all();
    let child = begun(&place).await;
    signal(&child, Signal::KILL);
    assert_eq!(place.heard_of(child).await.code, None);
    assert_ne!(place.all(), wanted, "it was not in the middle");
    assert_eq!(fs::metadata(place.record()).unwrap().permissions().mode() & 0o777, 0o600);
    let ran = place.run(&["einlesen", "-f", "x.json", "--yes"]).await.is(1);
    assert!(ran.err.contains("unvollendet"), "{ran:?}");
    let file = fs::read(place.file("x.json")).unwrap();
    fs::write(place.file("x.json"), [&file[..], b" "].concat()).unwrap();
    let ran = place.run(&["einlesen", "--resume", "--yes"]).await.is(1);
    assert!(ran.err.contains("nicht mehr die Datei"), "{ran:?}");
    fs::write(place.file("x.json"), file).unwrap();
    place.run(&["einlesen", "--resume", "--yes"]).await.is(0);
    assert_eq!(place.all(), wanted);
    assert!(!place.record().exists());
    place.run(&["einlesen", "--resume", "--yes"]).await.is(64);
    place.is_clean();
}

#[tokio::test]
async fn a_restore_that_was_killed_is_undone_to_what_was_before() {
    let place = place(slow).await;
    let file = place.all();
    let child = begun(&place).await;
    signal(&child, Signal::KILL);
    place.heard_of(child).await;
    place.run(&["restore", "--undo", "--yes"]).await.is(0);
    let mut changed = file;
    for service in SOME {
        changed.get_mut(service).unwrap()["CHANGED"] = json!("später");
    }
    assert_eq!(place.all(), changed);
    assert!(!place.record().exists());
    place.is_clean();
}

#[tokio::test]
async fn ctrl_c_stops_before_the_next_step_and_says_how_to_go_on() {
    let place = place(slow).await;
    let wanted = place.all();
    let child = begun(&place).await;
    signal(&child, Signal::INT);
    let ran = place.heard_of(child).await.is(1);
    for part in ["Vor dem nächsten Schritt angehalten.", "--resume", "--undo", "-vorher"] {
        assert!(ran.err.contains(part), "{part} is not in {ran:?}");
    }
    // What was begun was read back.
    assert!(
        ran.out.contains("geschrieben und geprüft") && ran.out.contains("nicht mehr erreicht"),
        "{ran:?}"
    );
    place.run(&["einlesen", "--resume", "--yes"]).await.is(0);
    assert_eq!(place.all(), wanted);
    place.is_clean();
}

#[tokio::test]
async fn a_second_ctrl_c_stops_at_once() {
    use pforte::konnektor::simulator::{Fault, Order};
    let place = place(slow).await;
    let wanted = place.all();
    place.backup("x.json").await;
    place.change(&SOME);
    place.simulator.set_fault(Order::of_write(2, Fault::Stall));
    let child = place.easy(&["einlesen", "-f", "x.json", "--yes"]).spawn().unwrap();
    place.until("the second write", |place| place.simulator.writes() >= 2).await;
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    let ran = place.heard_of(child).await.is(1);
    assert!(ran.err.contains("Mitten in einem Schritt angehalten."), "{ran:?}");
    assert!(place.record().exists());
    place.simulator.clear_faults();
    place.run(&["einlesen", "--resume", "--yes"]).await.is(0);
    assert_eq!(place.all(), wanted);
}

#[tokio::test]
async fn a_box_that_gets_another_address_is_followed_in_its_network_alone() {
    let place = place(|_| {}).await;
    let mut file = place.backup("x.json").await;
    let old = place.address();
    file["services"]["lanwanservice"]["ANLW_LAN_IP_ADDRESS"] = json!("127.0.1.2");
    fs::write(place.file("weit.json"), file.to_string()).unwrap();
    let ran = place.run(&["einlesen", "-f", "weit.json", "--yes"]).await.is(77);
    assert!(ran.err.contains("--network"), "{ran:?}");
    assert_eq!(place.simulator.writes(), 0);
    file["services"]["lanwanservice"]["ANLW_LAN_IP_ADDRESS"] = json!("127.0.0.2");
    fs::write(place.file("nah.json"), file.to_string()).unwrap();
    let ran = place.run(&["einlesen", "-f", "nah.json", "--yes"]).await.is(0);
    let new = place.address();
    assert_ne!(new, old);
    assert!(ran.out.contains(&format!("-i {new}")), "{ran:?}");
    // Its certificate is known there.
    let pin = place.simulator.certificate_pin();
    assert_eq!(
        fs::read_to_string(place.pins()).unwrap(),
        format!("{old} management {pin}\n{new} management {pin}\n")
    );
    let mut command = place.at(&["status"]);
    command.env("PFORTE_KONNEKTOR_PASSWORD", at_the_box::PASSWORD);
    place.ended(command).await.is(0);
    place.run(&["einlesen", "-f", "weit.json", "--yes", "--network", "127.0.0.0/16"]).await.is(0);
    assert!(place.address().starts_with("127.0.1.2:"));
    place.is_clean();
}

#[tokio::test]
async fn references_are_put_right_after_a_new_pairing() {
    let place = place(|_| {}).await;
    place.backup("x.json").await;
    let mut terminals = place.get("cardterminals");
    let old = terminals[0]["CTID"].as_str().unwrap().to_owned();
    let new = "CT_ID_0011".to_owned();
    terminals[0]["CTID"] = json!(new);
    place.put("cardterminals", &terminals);
    let ran = place.run(&["zuordnen", "-f", "x.json", "--dry-run"]).await.is(0);
    assert!(ran.out.contains(&format!("{old} → {new}")), "{ran:?}");
    place.run(&["remap", "-f", "x.json"]).await.is(64);
    place.run(&["remap", "-f", "x.json", "--yes"]).await.is(0);
    let held = place.get("infomodell").to_string();
    assert!(held.contains(&new) && !held.contains(&format!("\"{old}\"")), "{held}");
    place.is_clean();
}
