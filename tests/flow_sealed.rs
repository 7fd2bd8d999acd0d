//! Two-way load through a sealed hop: what stands still with russh as it comes, and must not here.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::load;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use door::{Door, JANE, Setup};
use load::{Machine, Memory, Pauses, echoed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_no_more_to_say_still_hears_the_answer() {
    let machine = Machine::counting().await;
    let door = sealed(&machine).await;
    for bytes in [0, 1, 5 * MIB + 3] {
        let mut client = through(&door).spawn().unwrap();
        let mut to = client.stdin.take().unwrap();
        let sent: Vec<u8> = (0..bytes.div_ceil(MIB)).flat_map(load::block).take(bytes).collect();
        to.write_all(&sent).await.unwrap();
        drop(to);
        let ended = tokio::time::timeout(Duration::from_secs(20), client.wait_with_output()).await;
        let output = ended.expect("no end").unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, (bytes as u64).to_be_bytes());
    }
    let finished = finished_hops(&door, 3).await;
    assert!(finished.iter().all(|line| line["cause"] == "closed" && line["exit"] == 0), "{finished:?}");
    let last = finished.last().unwrap();
    assert_eq!((&last["bytes_in"], &last["bytes_out"]), (&(5 * MIB + 3).into(), &8.into()));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_no_more_to_say_still_hears_the_client() {
    let heard = Arc::new(AtomicUsize::new(0));
    let machine = Machine::silenced(b"that is all", heard.clone()).await;
    let door = sealed(&machine).await;
    // `ssh -W` ends at the host's EOF, through any server; a forwarded connection does not.
    let (mut client, socket) = forward(&door).await;
    let (mut from, mut to) = UnixStream::connect(&socket).await.unwrap().into_split();
    let mut word = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), from.read_to_end(&mut word)).await;
    end.expect("the host's end is not passed on").unwrap();
    assert_eq!(word, b"that is all");
    for n in 0..5 {
        to.write_all(&load::block(n)).await.unwrap();
    }
    drop((from, to));
    let finished = finished_hops(&door, 1).await;
    assert_eq!(heard.load(Ordering::SeqCst), 5 * MIB);
    assert_eq!((&finished[0]["cause"], &finished[0]["bytes_in"]), (&"closed".into(), &(5 * MIB).into()));
    client.kill().await.unwrap();
    door.close().await;
}

/// `ssh -N -L SOCKET:backup.…:22 gateway`, up.
async fn forward(door: &Door) -> (tokio::process::Child, std::path::PathBuf) {
    let socket = door.path().join("local");
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.args(["-N", "-L"]).arg(format!("{}:backup.praxis-mueller.example:22", socket.display()));
    let mut client = ssh.arg("127.0.0.1").spawn().unwrap();
    while !socket.exists() {
        assert!(client.try_wait().unwrap().is_none(), "ssh ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (client, socket)
}

/// The last lines of hops, once there are so many.
async fn finished_hops(door: &Door, count: usize) -> Vec<serde_json::Value> {
    let mut hops = Vec::new();
    for _ in 0..1000 {
        hops = door.events("finished");
        hops.retain(|line| line["target"] == "host/backup");
        if hops.len() >= count {
            return hops;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} hops of {count} have an end: {:#?}", hops.len(), hops.last());
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// R93. Killed in each state: both ways at once, up, down, and with nobody who reads.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_killed_in_mid_transfer_leave_no_connection_and_no_file() {
    let (echo, sink, flood, stuck) =
        (Machine::echo().await, Machine::sink().await, Machine::flood().await, Machine::stuck().await);
    let door = sealed(&echo).await;
    let file = door.path().join("policy/sites/praxis-mueller.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    let mut before = 0;
    for n in 0..50 {
        let machine = [&echo, &sink, &flood, &stuck][n % 4];
        std::fs::write(&file, site.replace(&echo.address.to_string(), &machine.address.to_string())).unwrap();
        door.reload().await;
        let mut client = through(&door).spawn().unwrap();
        let (mut to, mut from) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let sending = tokio::spawn(async move {
            let block = load::block(1);
            while to.write_all(&block).await.is_ok() {
                count.fetch_add(MIB, Ordering::SeqCst);
            }
        });
        if n % 4 != 3 {
            // The flood's client takes a little and then no more: a transfer that stands still.
            let least = if n % 4 == 1 { 0 } else { MIB };
            from.read_exact(&mut vec![0; least]).await.unwrap();
        }
        while n % 4 != 2 && sent.load(Ordering::SeqCst) < MIB {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(machine.open.load(Ordering::SeqCst), 1, "{n}");
        client.kill().await.unwrap();
        sending.await.unwrap();
        let killed = std::time::Instant::now();
        while machine.open.load(Ordering::SeqCst) > 0 {
            assert!(killed.elapsed() < Duration::from_secs(5), "the host's connection {n} stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        finished_hops(&door, n + 1).await;
        // By now all is open that stays open: the journal, the phone's connection, the ledger.
        if n == 11 {
            before = open_files();
        }
    }
    let now = open_files();
    assert!(now <= before + 4, "{before} files were open, now {now}");
    let finished = finished_hops(&door, 50).await;
    assert!(finished.iter().all(|line| line["cause"] == "client-closed"), "{finished:?}");
    door.close().await;
}

/// R96.
#[tokio::test(flavor = "multi_thread")]
async fn four_thousand_short_forwards_are_all_on_record() {
    const ALL: usize = 4000;
    let machine = Machine::echo().await;
    let door = sealed(&machine).await;
    let (mut client, socket) = forward(&door).await;
    let (began, next) = (std::time::Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (socket, next) = (socket.clone(), next.clone());
        all.spawn(async move {
            while next.fetch_add(1, Ordering::SeqCst) < ALL {
                let mut stream = UnixStream::connect(&socket).await.unwrap();
                stream.write_all(b"x").await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
            }
        });
    }
    let done = tokio::time::timeout(Duration::from_mins(1), all.join_all()).await;
    assert!(done.is_ok(), "{} of {ALL} in a minute", next.load(Ordering::SeqCst));
    let took = began.elapsed();
    let finished = finished_hops(&door, ALL).await;
    let mut started = door.events("started");
    started.retain(|line| line["target"] == "host/backup");
    assert_eq!((started.len(), finished.len()), (ALL, ALL), "after {took:?}");
    let closed = |line: &serde_json::Value| line["cause"] == "closed" || line["cause"] == "client-closed";
    assert!(finished.iter().all(|line| closed(line) && line["bytes_in"] == 1 && line["bytes_out"] == 1));
    client.kill().await.unwrap();
    let next = door.ssh(&["whoami"]).await;
    assert_eq!(next.code, 0, "{next:?}");
    door.close().await;
}
