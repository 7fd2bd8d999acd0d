//! What a sealed hop is not: another port, an address, a host that no rule names. And how a hop ends that goes on too
//! long. Each refusal as the system's ssh shows it, and its line in the journal; each beside what is allowed.
//! Absent on purpose: load, in `flow_sealed.rs`.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::load;

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use door::{Door, JANE, Ran, Setup, ran};
use load::{Machine, Pauses, echoed};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\"]\non = [\"praxis-mueller\"]\n";
const BACKUP: &str = "backup.praxis-mueller.example:22";
const NO_SUCH_HOST: &str = "No host of that name is open to you. What is: ssh GATEWAY sites";

/// A door with `backup` and `portal` at the machine; a rule names the first.
async fn sealed(machine: &Machine, setup: Setup) -> Door {
    let door = Door::open(Setup { rules: Some(RULES.into()), ..setup }).await;
    let file = door.path().join("policy/sites/praxis-mueller.toml");
    let mut site = std::fs::read_to_string(&file).unwrap();
    for name in ["backup", "portal"] {
        let host = format!("\n[hosts.{name}]\naddress = \"{}\"\ninner = \"sealed\"\n", machine.address);
        site.push_str(&host);
    }
    std::fs::write(&file, site).unwrap();
    door.reload().await;
    door
}

/// `ssh -W WHERE gateway`
fn through(door: &Door, place: &str) -> Command {
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.args(["-W", place, "127.0.0.1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    ssh
}

/// ssh says why and ends with 255; what it asked for and the cause are in the journal; nobody was dialled.
async fn refused(door: &Door, machine: &Machine, place: &str, cause: &str) -> Value {
    let before = door.events("refused").len();
    let mut ssh = through(door, place);
    ssh.stdin(Stdio::null());
    let Ran { code, stdout, stderr } = ran(ssh).await;
    assert_eq!((code, stdout.as_str()), (255, ""), "{stderr}");
    let sentence = format!("open failed: administratively prohibited: {NO_SUCH_HOST}");
    assert!(stderr.contains(&sentence), "{place}: {stderr}");
    let line = door.wait_for("refused", before + 1).await.pop().unwrap();
    assert_eq!((&line["cause"], &line["user"]), (&cause.into(), &JANE.into()), "{line}");
    assert_eq!(line["command"], format!("direct-tcpip {place}"), "{line}");
    assert_eq!(machine.open.load(Ordering::SeqCst), 0);
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_names_and_the_port_of_permitted_hosts_lead_anywhere() {
    let machine = Machine::echo().await;
    let door = sealed(&machine, Setup::default()).await;
    for place in [
        "backup.praxis-mueller.example:25".to_owned(),
        format!("backup.praxis-mueller.example:{}", machine.address.port()),
        machine.address.to_string(),
        "127.0.0.1:22".into(),
        "localhost:22".into(),
        "backup:22".into(),
        "backup.praxis-mueller:22".into(),
        "xbackup.praxis-mueller.example:22".into(),
        "backup.praxis-mueller.example..:22".into(),
        "backup.praxis-mueller.example.evil.example:22".into(),
        "x.praxis-mueller.example:22".into(),
    ] {
        refused(&door, &machine, &place, "no-such-host").await;
    }
    assert_eq!(door.events("started").len(), 0);
    echoed(through(&door, BACKUP), 1, Pauses::None).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_no_rule_names_is_refused_in_the_words_of_one_that_is_not_there() {
    let machine = Machine::echo().await;
    let door = sealed(&machine, Setup::default()).await;
    let line = refused(&door, &machine, "portal.praxis-mueller.example:22", "no-rule").await;
    assert_eq!((&line["site"], &line["target"]), (&"praxis-mueller".into(), &"host/portal".into()), "{line}");
    // The portal's short name means the same host.
    refused(&door, &machine, "praxis-mueller.example:22", "no-rule").await;
    echoed(through(&door, BACKUP), 1, Pauses::None).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_capitals_or_with_a_dot_behind_it_is_the_same_host() {
    let machine = Machine::echo().await;
    let door = sealed(&machine, Setup::default()).await;
    let ways = [BACKUP, "BACKUP.Praxis-MUELLER.example:22", "backup.praxis-mueller.example.:22"];
    for way in ways {
        echoed(through(&door, way), 100, Pauses::None).await;
    }
    let finished = door.wait_for("finished", 2 * ways.len()).await;
    let hops: Vec<_> = finished.iter().filter(|line| line["target"] == "host/backup").collect();
    assert_eq!(hops.len(), ways.len(), "{finished:?}");
    for (hop, way) in hops.into_iter().zip(ways) {
        assert_eq!((&hop["site"], &hop["cause"]), (&"praxis-mueller".into(), &"closed".into()));
        assert_eq!((&hop["bytes_in"], &hop["bytes_out"]), (&100.into(), &100.into()));
        // As it came.
        assert_eq!(hop["command"], format!("direct-tcpip {way}"));
    }
    // Nor does a rule that names another host let capitals through.
    refused(&door, &machine, "PORTAL.praxis-mueller.example.:22", "no-rule").await;
    door.close().await;
}

/// `-J gateway,HOST`: what is behind the second jump is the host's affair. Back into the gateway there is no jump.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_jump_is_made_at_the_host_and_never_at_the_gateway() {
    let machine = Machine::echo().await;
    let inner = sealed(&machine, Setup::default()).await;
    // The host is a gateway of its own: what it refuses or lets through is in its own journal.
    let outer = sealed(&machine, Setup::default()).await;
    let file = outer.path().join("policy/sites/praxis-mueller.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    let address = format!("127.0.0.1:{}", inner.port);
    std::fs::write(&file, site.replace(&machine.address.to_string(), &address)).unwrap();
    outer.reload().await;
    let two = |first: &str, place: &str| {
        let words = |command: &Command| {
            let command = command.as_std();
            let mut words = vec![command.get_program().to_string_lossy().into_owned()];
            words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
            words.join(" ")
        };
        let mut ssh = inner.ssh_command(JANE, "jane");
        ssh.arg("-o").arg(format!("ProxyCommand={}", words(&through(&outer, first))));
        ssh.args(["-W", place, "127.0.0.1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        ssh
    };
    echoed(two(BACKUP, BACKUP), 3 << 20, Pauses::None).await;
    // ssh ends its ProxyCommand without waiting for it.
    let hop = door_hops(&outer, 1).await.pop().unwrap();
    assert!(hop["cause"] == "closed" || hop["cause"] == "client-closed", "{hop}");
    assert_eq!(door_hops(&inner, 1).await[0]["bytes_in"], 3 << 20);
    let mut refused_there = two(BACKUP, "portal.praxis-mueller.example:22");
    refused_there.stdin(Stdio::null());
    let there = ran(refused_there).await;
    assert!(there.stderr.contains(NO_SUCH_HOST), "{there:?}");
    assert_eq!((inner.events("refused").len(), outer.events("refused").len()), (1, 0));
    let itself = format!("127.0.0.1:{}", outer.port);
    let mut back = two(&itself, BACKUP);
    back.stdin(Stdio::null());
    let back = ran(back).await;
    assert!(back.code == 255 && back.stderr.contains(NO_SUCH_HOST), "{back:?}");
    assert_eq!(outer.wait_for("refused", 1).await[0]["command"], format!("direct-tcpip {itself}"));
    inner.close().await;
    outer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_no_is_named_to_the_client_with_its_reason() {
    let machine = Machine::echo().await;
    let door = sealed(&machine, Setup::default()).await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let file = door.path().join("policy/sites/praxis-mueller.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, site.replace(&machine.address.to_string(), &nobody.to_string())).unwrap();
    door.reload().await;
    let mut ssh = through(&door, BACKUP);
    ssh.stdin(Stdio::null());
    let Ran { code, stdout, stderr } = ran(ssh).await;
    assert_eq!((code, stdout.as_str()), (255, ""));
    let sentence = "open failed: connect failed: backup.praxis-mueller.example does not answer (connect-failed: Connection refused";
    assert!(stderr.contains(sentence), "{stderr}");
    // The customer's address is nobody's business.
    assert!(!stderr.contains(&nobody.to_string()) && !stderr.contains("127.0.0.1:"), "{stderr}");
    let hop = door_hops(&door, 1).await.pop().unwrap();
    let cause = hop["cause"].as_str().unwrap();
    assert!(cause.starts_with("connect-failed: Connection refused"), "{hop}");
    assert!(hop["exit"] != 0 && hop["bytes_in"] == 0, "{hop}");
    std::fs::write(&file, site).unwrap();
    door.reload().await;
    echoed(through(&door, BACKUP), 1, Pauses::None).await;
    door.close().await;
}

/// The last lines of hops, once there are so many.
async fn door_hops(door: &Door, count: usize) -> Vec<Value> {
    let mut hops = Vec::new();
    for _ in 0..1000 {
        hops = door.events("finished");
        hops.retain(|line| line["target"] == "host/backup");
        if hops.len() >= count {
            return hops;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{hops:?} are not {count}");
}

/// A hop that is up: one byte has come back.
async fn up(door: &Door) -> Child {
    let mut client = through(door, BACKUP).stderr(Stdio::piped()).spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
    client.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_hop_ends_and_one_that_speaks_now_and_then_does_not() {
    let machine = Machine::echo().await;
    let gateway_more = "\n[limits]\nidle = \"1s\"\n".to_owned();
    let door = sealed(&machine, Setup { gateway_more, ..Setup::default() }).await;
    let mut speaking = up(&door).await;
    let mut silent = up(&door).await;
    let began = Instant::now();
    let mut to = speaking.stdin.take().unwrap();
    let speak = async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            to.write_all(b"x").await.unwrap();
        }
    };
    // Its standard input stays open: it is the gateway that ends it.
    let _open = silent.stdin.take();
    let ended = async {
        tokio::select! {
            ended = tokio::time::timeout(Duration::from_secs(10), silent.wait()) => ended,
            () = speak => unreachable!(),
        }
    };
    ended.await.expect("it does not end").unwrap();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    let hop = door_hops(&door, 1).await.pop().unwrap();
    assert_eq!((&hop["cause"], &hop["exit"], &hop["bytes_in"]), (&"idle".into(), &1.into(), &1.into()));
    assert!(speaking.try_wait().unwrap().is_none(), "the one that speaks goes on");
    drop(to);
    speaking.wait().await.unwrap();
    assert_eq!(door_hops(&door, 2).await[1]["cause"], "closed");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_whose_rule_goes_is_gone_within_a_second() {
    let machine = Machine::echo().await;
    let door = sealed(&machine, Setup::default()).await;
    let mut client = up(&door).await;
    let rules = door.path().join("policy/rules.toml");
    // A change that leaves it permitted leaves it alone.
    std::fs::write(&rules, format!("{RULES}\n# seen\n")).unwrap();
    door.reload().await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.stdin.as_mut().unwrap().write_all(b"y").await.unwrap();
    client.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
    std::fs::write(&rules, RULES.replace("hop backup", "hop portal")).unwrap();
    door.reload().await;
    let began = Instant::now();
    while machine.open.load(Ordering::SeqCst) > 0 {
        assert!(began.elapsed() < Duration::from_secs(1), "it still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _open = client.stdin.take();
    tokio::time::timeout(Duration::from_secs(5), client.wait()).await.expect("its client stays").unwrap();
    let hop = door_hops(&door, 1).await.pop().unwrap();
    assert_eq!((&hop["cause"], &hop["exit"]), (&"withdrawn".into(), &1.into()), "{hop}");
    let refused = door.wait_for("refused", 1).await.pop().unwrap();
    assert_eq!(
        (&refused["cause"], &refused["target"]),
        (&"withdrawn: no-rule".into(), &"host/backup".into())
    );
    refused_again(&door, &machine).await;
    door.close().await;
}

async fn refused_again(door: &Door, machine: &Machine) {
    refused(door, machine, BACKUP, "no-rule").await;
}
