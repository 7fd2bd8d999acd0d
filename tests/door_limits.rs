//! Who may still connect, what failed logins cost, what a restart, a reload and a stop leave behind.
//! Absent on purpose: the limits' arithmetic; that is in `front/limits.rs` with its own clock.
#![allow(clippy::match_wild_err_arm, reason = "helpers of tests, which may fail loudly")]

use crate::door;
use crate::served;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use door::{Door, JANE, Setup, verify};
use jiff::{SignedDuration, Timestamp};
use pforte::clock::Clock;
use pforte::init::make_key;
use rustix::process::Signal;
use served::Served;
use served::client::{Client, HERE, configuration, dial, key};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const JOHN: &str = "firm-john.roe";

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn at(door: &Door) -> SocketAddr {
    SocketAddr::new(HERE, door.port)
}

/// A connection that says nothing, and whether the gateway greeted it.
async fn silent(to: SocketAddr, from: IpAddr) -> Option<TcpStream> {
    let mut stream = dial(to, from).await.unwrap();
    let mut greeting = [0; 14];
    match tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut greeting)).await {
        Ok(Ok(_)) => {
            assert_eq!(&greeting, b"SSH-2.0-pforte");
            Some(stream)
        }
        Ok(Err(_)) => None,
        Err(e) => panic!("neither greeted nor turned away: {e}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_silent_connection_is_turned_away_and_another_source_gets_in() {
    let door = Door::open(Setup::default()).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(silent(at(&door), from(2)).await.expect("a place"));
    }
    assert!(silent(at(&door), from(2)).await.is_none(), "a fifth place before a key");
    assert!(silent(at(&door), from(3)).await.is_some());
    let elsewhere = door.ssh_as(JANE, "jane", &["-o", "BindAddress=127.0.0.3"], &["whoami"]).await;
    assert_eq!(elsewhere.code, 0, "{elsewhere:?}");

    // A place that is given back is there for the next.
    held.pop();
    let mut again = None;
    for _ in 0..200 {
        again = silent(at(&door), from(2)).await;
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(again.is_some());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_takes_no_strangers_place() {
    let limits = "\n[limits]\nunproven_per_source = 1\nconnections_per_user = 12\n";
    let door = Door::open(Setup { gateway_more: limits.into(), ..Setup::default() }).await;
    let key = key(&door.path().join("jane"));
    let log_in = async || Client::log_in(configuration(), at(&door), from(2), JANE, key.clone()).await;
    let mut inside = Vec::new();
    // More than a source that is known gets as a stranger: eight times one.
    for _ in 0..12 {
        inside.push(log_in().await.unwrap().expect("in"));
    }
    assert!(silent(at(&door), from(2)).await.is_some(), "the cap counts those who are in");
    // Beside it the refusal: one person's connections have a cap of their own, with a sentence.
    let options = ["-o", "BindAddress=127.0.0.2"];
    let thirteenth = door.ssh_as(JANE, "jane", &options, &["whoami"]).await;
    assert_eq!(thirteenth.code, 255, "{thirteenth:?}");
    assert!(thirteenth.stderr.contains("You have too many connections open."), "{thirteenth:?}");
    inside.pop().unwrap().leave().await.unwrap();
    door.wait_for("finished", 1).await;
    let after = door.ssh_as(JANE, "jane", &options, &["whoami"]).await;
    assert_eq!(after.code, 0, "{after:?}");
    for client in inside {
        client.leave().await.unwrap();
    }
    door.close().await;
}

/// A clock that stands until it is moved.
fn hand() -> (Clock, Arc<AtomicI64>) {
    let begin = Clock::system().now();
    let seconds = Arc::new(AtomicI64::new(0));
    let moved = seconds.clone();
    let now = move || -> Timestamp { begin + SignedDuration::from_secs(moved.load(Ordering::SeqCst)) };
    (Clock::of(now), seconds)
}

/// john with a key of his own.
async fn register_john(door: &Door) {
    let john = make_key(&door.path().join("john"), JOHN).unwrap();
    door.register(JOHN, &john.public_key().to_openssh().unwrap());
    door.reload().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_denials_lock_that_key_from_there_and_nobody_elses() {
    let (clock, seconds) = hand();
    let door = Door::open(Setup { clock, ..Setup::default() }).await;
    register_john(&door).await;
    let two = ["-o", "BindAddress=127.0.0.2"];
    door.phone_does("deny");
    for n in 1..=4 {
        let wrong = door.ssh_as(JANE, "jane", &two, &["whoami"]).await;
        assert_eq!(wrong.code, 255, "{wrong:?}");
        door.wait_for("refused", n).await;
        // As between people who mistype: some seconds lie between.
        seconds.fetch_add(1, Ordering::SeqCst);
    }
    door.phone_does("approve");
    // Somebody who has jane's public key alone, and tries it as john, bars nobody.
    // Two: a third unknown key at one instant makes its address wait, and that it does so is another test's.
    for _ in 0..2 {
        assert_eq!(door.ssh_as(JANE, "john", &["-o", "BindAddress=127.0.0.4"], &["whoami"]).await.code, 255);
    }
    let johns = door.ssh_as(JOHN, "john", &["-o", "BindAddress=127.0.0.4"], &["whoami"]).await;
    assert_eq!(johns.code, 0, "{johns:?} {:#?}", door.events("refused"));
    let barred = door.ssh_as(JANE, "jane", &two, &["whoami"]).await;
    assert_eq!(barred.code, 255, "{barred:?}");
    assert!(barred.stderr.contains("none for you with this key from here for 9 min 59 s"), "{barred:?}");
    assert_eq!(door.wait_for("refused", 7).await[6]["cause"], "factor-locked");
    // The colleague at the next desk, and jane from elsewhere.
    let john = door.ssh_as(JOHN, "john", &two, &["whoami"]).await;
    assert_eq!(john.code, 0, "{john:?}");
    let elsewhere = door.ssh_as(JANE, "jane", &["-o", "BindAddress=127.0.0.3"], &["whoami"]).await;
    assert_eq!(elsewhere.code, 0, "{elsewhere:?}");

    // It ends when it was said to end, and not before.
    seconds.fetch_add(590, Ordering::SeqCst);
    let early = door.ssh_as(JANE, "jane", &two, &["whoami"]).await;
    assert_eq!(early.code, 255, "{early:?}");
    seconds.fetch_add(60, Ordering::SeqCst);
    let served_out = door.ssh_as(JANE, "jane", &two, &["whoami"]).await;
    assert_eq!(served_out.code, 0, "{served_out:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_penalty_survives_a_restart_and_a_single_slip_costs_nothing_after_it() {
    let mut door = Door::open(Setup::default()).await;
    register_john(&door).await;
    let served = restarted(&mut door, None).await;
    let (two, three) = (["-o", "BindAddress=127.0.0.2"], ["-o", "BindAddress=127.0.0.3"]);
    door.phone_does("deny");
    for n in 1..=4 {
        let wrong = door.ssh_as(JANE, "jane", &two, &["whoami"]).await;
        assert_eq!(wrong.code, 255, "{wrong:?}");
        door.wait_for("refused", n).await;
    }
    let slip = door.ssh_as(JANE, "jane", &three, &["whoami"]).await;
    assert_eq!(slip.code, 255, "{slip:?}");
    door.wait_for("refused", 5).await;
    door.phone_does("approve");
    let served = restarted(&mut door, Some(served)).await;
    let barred = door.ssh_as(JANE, "jane", &two, &["whoami"]).await;
    assert_eq!(barred.code, 255, "{barred:?}");
    assert!(barred.stderr.contains("Barred from here for"), "{barred:?}");
    let john = door.ssh_as(JOHN, "john", &two, &["whoami"]).await;
    assert_eq!(john.code, 0, "{john:?}");
    let slipped = door.ssh_as(JANE, "jane", &three, &["whoami"]).await;
    assert_eq!(slipped.code, 0, "{slipped:?}");
    served.signal(Signal::TERM);
    assert!(served.ended().await.success());
    verify(door.path());
}

/// The gateway as a process of its own; the one before is told to stop.
async fn restarted(door: &mut Door, before: Option<Served>) -> Served {
    match before {
        Some(before) => {
            before.signal(Signal::TERM);
            assert!(before.ended().await.success());
        }
        None => door.house.close().await,
    }
    let served = Served::start(door.path()).await;
    door.port = served.address.port();
    served
}

/// Lines about the configuration.
fn loaded(door: &Door) -> Vec<String> {
    let lines = door.events("loaded").into_iter().filter(|line| line["target"] == "configuration");
    lines.map(|line| line["cause"].as_str().unwrap().to_owned()).collect()
}

async fn wait_for_loaded(door: &Door, count: usize) -> Vec<String> {
    for _ in 0..500 {
        let lines = loaded(door);
        if lines.len() >= count {
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {count}: {:#?}", loaded(door));
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_and_changed_files_reload_and_a_bad_change_is_told_and_not_taken() {
    let mut door = Door::open(Setup::default()).await;
    let served = restarted(&mut door, None).await;
    let before = loaded(&door).len();

    // SIGHUP, and nothing has changed.
    served.signal(Signal::HUP);
    let lines = wait_for_loaded(&door, before + 1).await;
    assert_eq!(lines[before], "the configuration was loaded again");
    assert_eq!(door.ssh(&["konnektor", "list"]).await.code, 0);

    // A changed file, and no signal: jane's rule is gone.
    let path = door.path().join("policy/rules.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("firm-*", "other-*")).unwrap();
    let lines = wait_for_loaded(&door, before + 2).await;
    assert_eq!(lines[before + 1], "the configuration was loaded again");
    let denied = door.ssh(&["konnektor", "list"]).await;
    assert_eq!(denied.code, 77, "{denied:?}");
    std::fs::write(&path, &good).unwrap();
    wait_for_loaded(&door, before + 3).await;
    assert_eq!(door.ssh(&["konnektor", "list"]).await.code, 0);

    // A bad change: told with its place, and the old policy stays.
    std::fs::write(&path, good.replace("on = [\"praxis-mueller\"]", "on = [\"praxis-muller\"]")).unwrap();
    let lines = wait_for_loaded(&door, before + 4).await;
    let told = lines.last().unwrap();
    assert!(told.starts_with("a change was refused, the old configuration stays: "), "{told}");
    assert!(told.contains("policy/rules.toml:6:"), "{told}");
    assert!(!told.contains("praxis-mull"), "the place alone, for what stands there may be a secret: {told}");
    assert_eq!(door.ssh(&["konnektor", "list"]).await.code, 0);

    // A key that goes takes its owner's connections along.
    std::fs::write(&path, &good).unwrap();
    wait_for_loaded(&door, before + 5).await;
    let jane = key(&door.path().join("jane"));
    let inside = Client::log_in(configuration(), at(&door), HERE, JANE, jane).await.unwrap().unwrap();
    std::fs::remove_file(door.path().join(format!("keys/{JANE}.pub"))).unwrap();
    assert!(inside.is_ended(Duration::from_secs(10)).await);
    let gone = door.wait_for("finished", 8).await;
    assert!(gone.iter().any(|line| line["cause"] == "key-removed"), "{gone:#?}");
    let refused = door.ssh(&["konnektor", "list"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");

    served.signal(Signal::TERM);
    assert!(served.ended().await.success());
    verify(door.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_everybody_and_leaves_a_signed_head() {
    let mut door = Door::open(Setup { box_latency: Duration::from_millis(300), ..Setup::default() }).await;
    let served = restarted(&mut door, None).await;
    let jane = key(&door.path().join("jane"));
    let idle = Client::log_in(configuration(), served.address, HERE, JANE, jane).await.unwrap().unwrap();
    let prompt = idle.prompt(b"pforte> ").await.unwrap();
    let backup = door.ssh(&["konnektor", "backup"]);
    let stop = async {
        door.wait_for("started", 1).await;
        served.signal(Signal::TERM);
        served.ended().await
    };
    let (backup, stopped) = tokio::join!(backup, stop);
    assert!(stopped.success(), "{stopped:?}");
    assert!(backup.stderr.contains("The gateway is going down."), "{backup:?}");
    assert_eq!(backup.code, 255, "{backup:?}");
    assert!(idle.is_ended(Duration::from_secs(10)).await);
    drop(prompt);

    verify(door.path());
    let journal = door.journal();
    assert_eq!(journal.last().unwrap()["event"], "head", "{journal:#?}");
    let ended = journal.iter().filter(|line| line["event"] == "finished" && line["cause"] == "shutdown");
    let (works, connections): (Vec<_>, Vec<_>) = ended.partition(|line| line["command"].is_string());
    assert_eq!(connections.len(), 2, "both connections' last lines say why: {journal:#?}");
    assert_eq!(works.len(), 1, "and so does the job's: {journal:#?}");
    let starts = journal.iter().filter(|line| line["event"] == "started").count();
    let ends =
        journal.iter().filter(|line| line["event"] == "finished" && line["command"].is_string()).count();
    assert_eq!(starts, ends, "what began has an end: {journal:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_cuts_has_the_stop_as_its_cause() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor status\"]\non = [\"*\"]\n";
    let (rules, box_latency) = (Some(rules.into()), Duration::from_secs(2));
    let mut door = Door::open(Setup { rules, box_latency, ..Setup::default() }).await;
    let served = restarted(&mut door, None).await;
    let stop = async {
        door.wait_for("started", 1).await;
        served.signal(Signal::TERM);
        served.ended().await
    };
    // No job, so it is dropped where it stands; and so is a job that is not noted yet.
    let (status, stopped) = tokio::join!(door.ssh(&["konnektor", "status"]), stop);
    assert!(stopped.success(), "{stopped:?}");
    assert_eq!(status.code, 255, "{status:?}");
    let finished = door.wait_for("finished", 2).await;
    let causes: Vec<_> = finished.iter().map(|line| (line["command"].is_string(), &line["cause"])).collect();
    assert!(causes.contains(&(true, &"shutdown".into())), "{finished:#?}");
    assert!(causes.contains(&(false, &"shutdown".into())), "{finished:#?}");
    verify(door.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_at_its_age_with_its_reason_on_record() {
    let limits = "\n[limits]\nconnection_age = \"1s\"\n";
    let door = Door::open(Setup { gateway_more: limits.into(), ..Setup::default() }).await;
    let jane = key(&door.path().join("jane"));
    let old = Client::log_in(configuration(), at(&door), HERE, JANE, jane).await.unwrap().unwrap();
    assert_eq!(old.exec("whoami").await.unwrap().code, Some(0));
    assert!(old.is_ended(Duration::from_secs(20)).await);
    let finished = door.wait_for("finished", 2).await;
    assert_eq!(finished[1]["cause"], "connection-too-old", "{finished:#?}");
    door.close().await;
}
