//! `pforte serve` as a process: killed in mid-restore it comes to a good end, and a large Infomodell costs bounded memory.
//! Absent on purpose: speed.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "helpers of tests are tests, and run real clients"
)]

use crate::door;
use crate::served;

use std::time::Duration;

use door::{Door, JANE, Ran, Setup, ran};
use pforte::konnektor::simulator::big_infomodell;
use serde_json::Value;
use served::Served;

const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\", \"konnektor backups\", \"konnektor diff\", \
                     \"konnektor restore\"]\non = [\"praxis-mueller\"]\n";

/// The shipped profile, with the way of writing that the simulated box takes.
fn profile() -> (&'static str, String, u32) {
    let shipped = include_str!("../src/konnektor/kocobox.toml");
    let path = "[write]\npath = \"/administration/json-store/{service}\"";
    let text = shipped.replacen("[write]\npath = \"\"", path, 1);
    assert_ne!(text, shipped);
    ("policy/konnektor/kocobox.toml", text, 0o600)
}

async fn folder(latency: Duration) -> Door {
    let setup =
        Setup { rules: Some(RULES.into()), files: vec![profile()], box_latency: latency, ..Setup::default() };
    let mut door = Door::open(setup).await;
    door.house.close().await;
    door
}

async fn ssh(door: &Door, served: &Served, line: &str) -> Ran {
    let mut ssh = door.ssh_command_to(served.address.port(), JANE, "jane");
    ssh.arg("127.0.0.1").arg(line);
    ran(ssh).await
}

fn value(door: &Door, service: &str) -> Value {
    let text = std::fs::read(door.path().join(format!("konnektor/{service}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_in_mid_restore_resumes_or_undoes_after_its_next_start() {
    for (way, ntp) in [("--resume", "192.168.2.1"), ("--undo", "192.168.2.77")] {
        let door = folder(Duration::from_millis(50)).await;
        let served = Served::start(door.path()).await;
        let kept = ssh(&door, &served, "konnektor backup").await;
        assert_eq!(kept.code, 0, "{kept:?}");
        let name = kept.stdout.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
        door.konnektor.factory_reset().unwrap();
        let path = door.path().join("konnektor/ntpservice.json");
        let edited = std::fs::read_to_string(&path).unwrap();
        let mut edited: Value = serde_json::from_str(&edited).unwrap();
        edited["NTP_SERVER_ADDR"] = "192.168.2.77".into();
        std::fs::write(&path, edited.to_string()).unwrap();
        let mut running = door.ssh_command_to(served.address.port(), JANE, "jane");
        running.arg("127.0.0.1").arg(format!("konnektor restore --yes -f {name}"));
        let mut running = running.spawn().unwrap();
        for _ in 0..400 {
            if door.konnektor.writes() >= 6 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(door.konnektor.writes() >= 6);
        served.kill().await;
        running.wait().await.unwrap();
        let served = Served::start(door.path()).await;
        let jobs = ssh(&door, &served, "jobs").await;
        assert!(jobs.stdout.contains("gateway-ended"), "{jobs:?}");
        let end = ssh(&door, &served, &format!("konnektor restore --yes {way}")).await;
        assert_eq!(end.code, 0, "{way}: {end:?}");
        assert_eq!(value(&door, "ntpservice")["NTP_SERVER_ADDR"], ntp, "{way}");
        let left = ssh(&door, &served, "konnektor restore --yes --resume").await;
        assert_eq!(left.code, 64, "nothing is unfinished any more: {left:?}");
        served.kill().await;
        door::verify(door.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_infomodell_is_backed_up_compared_and_restored_in_five_times_its_size() {
    let size: usize =
        std::env::var("PFORTE_LARGE").ok().and_then(|size| size.parse().ok()).unwrap_or(20_000_000);
    let door = folder(Duration::ZERO).await;
    let path = door.path().join("konnektor/infomodell.json");
    std::fs::write(&path, big_infomodell(size)).unwrap();
    let served = Served::start(door.path()).await;
    let whoami = ssh(&door, &served, "whoami").await;
    assert_eq!(whoami.code, 0, "{whoami:?}");
    println!("{} MiB before", served.most());
    let kept = ssh(&door, &served, "konnektor backup").await;
    assert_eq!(kept.code, 0, "{kept:?}");
    let name = kept.stdout.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    println!("{} MiB after the backup", served.most());
    // One place in the middle is another now.
    let mut text = std::fs::read(&path).unwrap();
    let at = memchr::memmem::rfind(&text[..text.len() / 2], b"\":\"").unwrap() + 3;
    text.insert(at, b'X');
    std::fs::write(&path, &text).unwrap();
    let diff = ssh(&door, &served, &format!("konnektor diff -f {name}")).await;
    assert!(diff.code == 0 && diff.stdout.starts_with("infomodell\n"), "{diff:?}");
    println!("{} MiB after the diff", served.most());
    let restored = ssh(&door, &served, &format!("konnektor restore --yes -f {name}")).await;
    assert_eq!(restored.code, 0, "{restored:?}");
    let most = served.most();
    println!("{most} MiB for {size} bytes");
    let now = std::fs::read(&path).unwrap();
    assert!(now.len() + 1 >= size && now != text);
    // Beside what a debug build holds anyway. Four times would be 200 MB for 50 MB.
    let limit = 96 + size / 1_000_000 * 5;
    assert!(most <= limit, "{most} MiB of {limit}");
    served.kill().await;
}
