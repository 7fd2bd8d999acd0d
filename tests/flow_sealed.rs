//! Two-way load through a sealed hop: what stands still with russh as it comes, and must not here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, and run real clients"
)]

mod door;
mod load;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use door::{Door, JANE, Setup};
use load::{Machine, Memory, Pauses, echoed};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const MIB: usize = 1 << 20;

/// A door with `backup.praxis-mueller.example` at this address, sealed.
async fn sealed(machine: &Machine) -> Door {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\", \"konnektor list\"]\non = [\"praxis-mueller\"]\n";
    let door = Door::open(Setup { rules: Some(rules.into()), ..Setup::default() }).await;
    add_host(&door, "backup", machine);
    door.reload().await;
    door
}

fn add_host(door: &Door, name: &str, machine: &Machine) {
    let file = door.path().join("policy/sites/praxis-mueller.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    let host = format!("[hosts.{name}]\naddress = \"{}\"\ninner = \"sealed\"\n", machine.address);
    std::fs::write(&file, format!("{site}\n{host}")).unwrap();
}

/// `ssh -W backup.…:22 gateway`
fn through(door: &Door) -> Command {
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.args(["-W", "backup.praxis-mueller.example:22", "127.0.0.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    ssh
}

/// A master connection; `through_master` uses it.
async fn master(door: &Door) -> (tokio::process::Child, std::path::PathBuf) {
    let socket = door.path().join("master");
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.args(["-M", "-N", "-S"]).arg(&socket).arg("127.0.0.1").stderr(Stdio::null());
    let child = ssh.spawn().unwrap();
    for _ in 0..1000 {
        if socket.exists() {
            return (child, socket);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no master");
}

fn through_master(door: &Door, socket: &std::path::Path) -> Command {
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("-S").arg(socket).args(["-W", "backup.praxis-mueller.example:22", "127.0.0.1"]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    ssh
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_comes_back_however_its_reader_pauses() {
    let machine = Machine::echo().await;
    let door = sealed(&machine).await;
    let memory = Memory::now();
    for pauses in [Pauses::None, Pauses::AtFirst(Duration::from_secs(2)), Pauses::NowAndThen] {
        for _ in 0..5 {
            echoed(through(&door), 100 * MIB, pauses).await;
        }
    }
    memory.grew_less_than(32 * MIB);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_goes_both_ways_in_flat_memory() {
    let machine = Machine::echo().await;
    let door = sealed(&machine).await;
    echoed(through(&door), 10 * MIB, Pauses::None).await;
    let memory = Memory::now();
    echoed(through(&door), 1024 * MIB, Pauses::NowAndThen).await;
    memory.grew_less_than(24 * MIB);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_nothing_stops_no_other_channel_and_costs_little_memory() {
    let stuck = Machine::stuck().await;
    let door = sealed(&stuck).await;
    // The second host is the site's portal.
    let echo = Machine::echo().await;
    add_host(&door, "portal", &echo);
    let rules = door.path().join("policy/rules.toml");
    let text =
        std::fs::read_to_string(&rules).unwrap().replace("\"hop backup\"", "\"hop backup\", \"hop portal\"");
    std::fs::write(&rules, text).unwrap();
    door.reload().await;
    let (_master, socket) = master(&door).await;
    let memory = Memory::now();
    let mut blocked = through_master(&door, &socket).spawn().unwrap();
    let mut to = blocked.stdin.take().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let sending = tokio::spawn(async move {
        let block = load::block(1);
        while to.write_all(&block).await.is_ok() {
            count.fetch_add(MIB, Ordering::SeqCst);
        }
    });
    // Until it takes no more.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let portal = || {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.arg("-S").arg(&socket).args(["-W", "portal.praxis-mueller.example:22", "127.0.0.1"]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        ssh
    };
    let began = std::time::Instant::now();
    for _ in 0..10 {
        echoed(portal(), 1, Pauses::None).await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "ten short hops beside a stuck one took {took:?}");
    assert!(blocked.try_wait().unwrap().is_none(), "alone it may wait as long as it likes");
    assert!(sent.load(Ordering::SeqCst) < 12 * MIB, "{sent:?}");
    // A neighbour that sends much gets through, though at the cost of the one that is stuck.
    echoed(portal(), 300 * MIB, Pauses::None).await;
    memory.grew_less_than(64 * MIB);
    let ended = tokio::time::timeout(Duration::from_secs(30), blocked.wait()).await;
    ended.expect("the stuck one was not ended").unwrap();
    sending.abort();
    let finished = door.wait_for("finished", 12).await;
    let cause = |line: &serde_json::Value| line["cause"].as_str().unwrap_or_default().to_owned();
    assert!(finished.iter().any(|line| cause(line).starts_with("overfull")), "{finished:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_costs_little_memory_and_goes_without_a_trace() {
    let flood = Machine::flood().await;
    let door = sealed(&flood).await;
    let memory = Memory::now();
    let mut client = through(&door).spawn().unwrap();
    while flood.open.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    memory.grew_less_than(16 * MIB);
    client.kill().await.unwrap();
    for _ in 0..500 {
        if flood.open.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(flood.open.load(Ordering::SeqCst), 0, "the host's connection is gone within five seconds");
    door.close().await;
}
