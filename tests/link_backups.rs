//! Backups of a Konnektor behind a real link, through the door: by calls, or made and sealed at the site.
//! Absent on purpose: the driver itself (`link_konnektor.rs`), and consent (`door_link.rs`).
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::door;
use crate::practice;

use std::process::Stdio;
use std::sync::Arc;

use door::{Door, JANE, PASSWORD, Ran, Setup, ran};
use pforte::clock::Clock;
use pforte::commands::begin_standing;
use pforte::config::Language;
use pforte::konnektor::archive::Archive;
use pforte::konnektor::{LearnNothing, Product, Profiles, Spec, Timeouts};
use pforte::link::lease::SCHEDULE;
use pforte::names::KonnektorId;
use pforte::policy::Routinely;
use pforte::secret::Secret;
use pforte::site::konnektor::{Boxes, Patience, SiteBox, Tools};
use practice::{Practice, SITE, Shelf, behind_link, fingerprint, public};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

const BOX: &str = "praxis-mueller/main";
const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor list\", \"konnektor status\", \"konnektor backup\", \
    \"konnektor backups\", \"konnektor show\", \"konnektor diff\", \"konnektor restore\"]\non = [\"*\"]\n";

fn id() -> KonnektorId {
    KonnektorId { site: SITE.parse().unwrap(), konnektor: "main".parse().unwrap() }
}

struct Stage {
    door: Door,
    practice: Practice,
    site: age::x25519::Identity,
}

/// A gateway that has neither the box's account nor its address, and a practice that has both.
async fn stage(seals: bool) -> Stage {
    let setup = Setup {
        rules: Some(RULES.into()),
        site_more: "\n[[schedule]]\nat = \"02:30\"\n".into(),
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let dir = door.path();
    std::fs::create_dir_all(dir.join("keys/sites")).unwrap();
    std::fs::write(dir.join(format!("keys/sites/{SITE}.pub")), public(1)).unwrap();
    let file = dir.join(format!("policy/sites/{SITE}.toml"));
    let text = behind_link(&std::fs::read_to_string(&file).unwrap());
    let text: String =
        text.lines().filter(|line| !line.starts_with("address = ")).flat_map(|line| [line, "\n"]).collect();
    assert!(!text.contains("127.0.0.1") && text.contains("[konnektor.main]"), "{text}");
    std::fs::write(&file, text).unwrap();
    std::fs::remove_file(dir.join("secrets/praxis-mueller")).unwrap();
    door.reload().await;
    let practice = Practice::link(([127, 0, 0, 1], door.port).into(), fingerprint(dir), 1).await;
    let address: pforte::names::HostPort = door.konnektor.address().to_string().parse().unwrap();
    let spec = Spec {
        id: id(),
        product: Product::Kocobox,
        sds_address: Some(address.clone()),
        address,
        certificate: Some(door.konnektor.certificate_pin()),
        user: "koco-root".into(),
        password: Secret::new(PASSWORD.into()),
        parallel: Spec::PARALLEL,
        timeouts: Timeouts::default(),
    };
    let site = age::x25519::Identity::generate();
    let boxes = Boxes {
        boxes: [(id().konnektor, SiteBox { spec, networks: Vec::new() })].into(),
        recipients: if seals { vec![site.to_public()] } else { Vec::new() },
    };
    let tools = Tools {
        profiles: Arc::new(Profiles::shipped().unwrap()),
        pins: Arc::new(LearnNothing),
        clock: Clock::system(),
        patience: Patience::ORDINARY,
    };
    practice.allows.lock().unwrap().konnektors = Some(Shelf(Arc::new((boxes, tools))));
    practice.allow(&[("firm", &[], 600), (SCHEDULE, &[], 600)]).await;
    door.wait_for("consent", 1).await;
    Stage { door, practice, site }
}

/// jane's ssh, with something on standard input.
async fn with_input(door: &Door, words: &[&str], input: &[u8]) -> Ran {
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.ok();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every file below a folder, as one heap of bytes.
fn heap(dir: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // A socket holds nothing.
        if path.is_dir() {
            all.extend(heap(&path));
        } else if path.is_file() {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

fn holds(heap: &[u8], text: &str) -> bool {
    memchr::memmem::find(heap, text.as_bytes()).is_some()
}

fn opened(sealed: &[u8], site: &age::x25519::Identity) -> Archive {
    Archive::parse(&age::decrypt(site, sealed).unwrap()).unwrap()
}

async fn kept_name(door: &Door) -> String {
    let list = door.ssh(&["konnektor backups --json"]).await;
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    list.as_array().unwrap().last().unwrap()["name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_recipient_a_backup_over_the_link_is_an_ordinary_one() {
    let Stage { door, practice, .. } = stage(false).await;
    let list = door.ssh(&["konnektor list"]).await;
    assert_eq!(list.stdout, format!("{BOX}\tkocobox\t?\n"), "{list:?}");
    let status = door.ssh(&["konnektor status"]).await;
    assert!(status.code == 0 && status.stdout.contains("5.5.16"), "{status:?}");
    let backup = door.ssh(&["konnektor backup"]).await;
    assert!(backup.code == 0 && backup.stdout.contains("infomodell\t"), "{backup:?}");
    let name = kept_name(&door).await;
    let shown = door.ssh(&[&format!("konnektor show -f {name}")]).await;
    let archive = Archive::parse(shown.stdout.as_bytes()).unwrap();
    assert_eq!(archive.services().count(), 19);
    assert_eq!(archive.about.by.as_ref().map(ToString::to_string).as_deref(), Some(JANE));
    let diff = door.ssh(&[&format!("konnektor diff -f {name}")]).await;
    assert!(diff.code == 0 && diff.stderr.contains("No difference"), "{diff:?}");
    let dry = door.ssh(&[&format!("konnektor restore -f {name} --dry-run")]).await;
    assert!(dry.code == 0 && dry.stderr.contains("Nothing is to be written"), "{dry:?}");
    let heads = practice.heads.lock().unwrap().clone();
    let families: Vec<&str> = heads.iter().map(|head| head.visitor.family.as_str()).collect();
    let asked = ["konnektor status", "konnektor backup", "konnektor diff", "konnektor restore"];
    assert_eq!(families, asked);
    assert!(heads.iter().all(|head| head.visitor.user == JANE && head.visitor.session.len() == 26));
    assert_eq!(heads[1].visitor.command, "konnektor backup");
    assert!(!holds(&heap(door.path().join("state").as_path()), PASSWORD));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_backup_is_kept_as_it_came_and_only_its_site_opens_it() {
    let Stage { door, practice, site } = stage(true).await;
    let made = door.ssh(&["konnektor backup"]).await;
    assert!(made.code == 0 && made.stdout.contains("infomodell\t"), "{made:?}");
    assert!(made.stderr.contains("The site has encrypted it for itself"), "{made:?}");
    let name = kept_name(&door).await;
    let object = door.path().join(format!("state/vault/{BOX}/{name}.age"));
    let archive = opened(&std::fs::read(&object).unwrap(), &site);
    assert_eq!(archive.services().count(), 19);
    assert_eq!(archive.konnektor(), Ok(id()));
    let about = &archive.about;
    assert_eq!(about.by.as_ref().map(ToString::to_string).as_deref(), Some(JANE));
    let session = door.events("login").last().unwrap()["session"].clone();
    assert!(about.session.is_some() && session.is_string());
    // What a direct reading of the box gives, value for value.
    for service in ["ntpservice", "vpnservice", "management", "clientsystem-certificates"] {
        let path = door.path().join(format!("konnektor/{service}.json"));
        let held: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(archive.service(&service.parse().unwrap()).unwrap(), &held, "{service}");
    }
    // None of it lies at the gateway in any form that the gateway could open.
    let heap = heap(door.path().join("state").as_path());
    let terminal = archive.service(&"cardterminals".parse().unwrap()).unwrap().value();
    let mac = terminal[0]["MAC_ADDRESS"]
        .as_str()
        .or_else(|| terminal[0]["MAC_ADRESS"].as_str())
        .unwrap()
        .to_owned();
    for text in [PASSWORD, "MGM_KONN_HOSTNAME", "VPN_TI_MTU", "NTP_SERVER_ADDR", mac.as_str()] {
        assert!(!holds(&heap, text), "{text}");
    }
    let vault = &door.house.front().works.konnektors.vault;
    let no = vault.get(&id(), &name.parse().unwrap()).await.unwrap_err();
    assert_eq!(no, pforte::vault::VaultError::SealedForSite);

    let list = door.ssh(&["konnektor backups"]).await;
    let row: Vec<&str> = list.stdout.trim_end().split('\t').collect();
    assert_eq!(
        (row[0], row[3], row[4], row[5], row[6]),
        (name.as_str(), "KoCoBox MED+", "5.5.16", JANE, "sealed for the site")
    );
    assert_eq!(row[2], std::fs::metadata(&object).unwrap().len().to_string());
    for command in ["show", "diff", "restore --yes"] {
        let refused = door.ssh(&[&format!("konnektor {command} -f {name}")]).await;
        assert_eq!(refused.code, 1, "{command} {refused:?}");
        assert!(
            refused.stderr.contains("age -d -i KEY") && refused.stdout.is_empty(),
            "{command} {refused:?}"
        );
        assert!(refused.stderr.contains("pforte konnektor einlesen"), "{refused:?}");
    }
    let handed = with_input(&door, &["konnektor restore -f - --yes"], &std::fs::read(&object).unwrap()).await;
    assert!(handed.code == 1 && handed.stderr.contains("age -d -i KEY"), "{handed:?}");
    assert_eq!(door.konnektor.writes(), 0);

    let check = door.ssh(&["konnektor backups --check"]).await;
    assert!(check.code == 0 && check.stdout.contains("\t19\tas the site sealed it"), "{check:?}");
    let mut bytes = std::fs::read(&object).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&object, &bytes).unwrap();
    let check = door.ssh(&["konnektor backups --check"]).await;
    assert!(check.code == 1 && check.stdout.contains("damaged"), "{check:?}");

    // Values were not asked for by anybody who makes a backup.
    let heads = practice.heads.lock().unwrap().clone();
    let wishes: Vec<String> = heads.iter().map(|head| format!("{:?}", head.wish)).collect();
    assert!(wishes[1].starts_with("Backup"), "{wishes:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_backup_to_standard_output_is_the_encrypted_file() {
    let Stage { door, practice: _linked, site } = stage(true).await;
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg("konnektor backup -f -").stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ssh.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(opened(&output.stdout, &site).services().count(), 19);
    // What was made of named services holds these alone.
    let some = door.ssh(&["konnektor backup -s ntpservice,vpnservice"]).await;
    assert!(some.code == 0 && some.stdout.lines().count() == 3, "{some:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_at_a_site_that_seals_has_its_fresh_backup_sealed_too() {
    let Stage { door, practice: _linked, site } = stage(true).await;
    // The practice opens one of its own and hands it in.
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg("konnektor backup -f -").stdout(Stdio::piped()).stderr(Stdio::piped());
    let sealed = ssh.output().await.unwrap().stdout;
    let plain = age::decrypt(&site, &sealed).unwrap();
    let restored = with_input(&door, &["konnektor restore -f - --yes"], &plain).await;
    assert!(restored.code == 0 && restored.stderr.contains("Nothing is to be written"), "{restored:?}");
    let name = kept_name(&door).await;
    let object = door.path().join(format!("state/vault/{BOX}/{name}.age"));
    assert_eq!(opened(&std::fs::read(object).unwrap(), &site).services().count(), 19);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_backs_up_over_the_link_as_nobody_and_counts_as_good() {
    for seals in [false, true] {
        let Stage { door, practice, site } = stage(seals).await;
        let works = &door.house.front().works;
        let before = works.clock.now();
        let file = std::fs::read_to_string(door.path().join(format!("policy/sites/{SITE}.toml"))).unwrap();
        let line = file.lines().position(|line| line == "[[schedule]]").unwrap() + 1;
        let place = format!("{SITE}.toml:{line}");
        // The gate hears of consent a moment after the journal.
        let begun = std::time::Instant::now();
        let routine = loop {
            match works.gate.open_standing(&id(), &place, Routinely::Backup).await {
                Ok(routine) => break routine,
                Err(_) => assert!(begun.elapsed() < std::time::Duration::from_secs(10)),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let begun = begin_standing(routine, works, Language::English).await;
        let (_, upshot) = begun.unwrap_or_else(|_| panic!("not begun"));
        let upshot = upshot.await.unwrap();
        assert_eq!((upshot.exit, upshot.cause.as_deref()), (0, None));
        let name = upshot.made.unwrap();
        let head = practice.heads.lock().unwrap().last().unwrap().clone();
        assert_eq!(
            (head.visitor.user.as_str(), head.visitor.family.as_str()),
            (SCHEDULE, "konnektor backup")
        );
        assert!(works.state.last_good_backup(&id().to_string()).await.unwrap() >= before);
        if seals {
            let object = door.path().join(format!("state/vault/{BOX}/{name}.age"));
            let archive = opened(&std::fs::read(object).unwrap(), &site);
            assert_eq!((archive.about.by, archive.about.session), (None, None));
        }
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_closed_or_away_is_said_to_be() {
    let Stage { door, practice, .. } = stage(false).await;
    practice.allows.lock().unwrap().refuses = Some(pforte::link::frames::Refusal::SwitchClosed);
    let refused = door.ssh(&["konnektor backup"]).await;
    assert!(refused.code == 77 && refused.stderr.contains("switch-closed"), "{refused:?}");
    practice.allows.lock().unwrap().refuses = None;
    let known = door.ssh(&["konnektor status"]).await;
    assert_eq!(known.code, 0, "{known:?}");
    let mut config = door.ssh_command(JANE, "jane");
    config.arg("127.0.0.1").arg("whoami");
    assert_eq!(ran(config).await.code, 0);
    door.close().await;
}
