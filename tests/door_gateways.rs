//! Two gateways over one state, a server's or a file's: what one knows the other knows, and what one leaves is looked after.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::postgres;
use crate::served;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use door::{Door, JANE, Ran, Setup, ran};
use postgres::Postgres;
use served::Served;
use tokio::process::Child;

const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\", \"konnektor status\"]\non = [\"*\"]\norder = \"2h\"\n\
                     [[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor diff\"]\non = [\"*\"]\n";
const BATCH: [&str; 2] = ["-o", "BatchMode=yes"];
const ORDER: [&str; 8] = ["order", "T-1", "-i", "praxis-mueller", "--may", "backup,status", "--for", "60m"];
/// About a second, on a machine that has more to do.
const SOON: Duration = Duration::from_secs(4);

/// A state for several gateways.
struct Shared {
    server: Option<Postgres>,
    folder: tempfile::TempDir,
}

impl Shared {
    fn sqlite() -> Self {
        Self { server: None, folder: tempfile::tempdir().unwrap() }
    }

    fn postgres() -> Self {
        let server = Postgres::start();
        server.create("state");
        Self { server: Some(server), ..Self::sqlite() }
    }

    fn url(&self) -> String {
        let file = || format!("sqlite:{}", self.folder.path().join("state.sqlite").display());
        self.server.as_ref().map_or_else(file, |server| server.url("state"))
    }

    /// The same state under another address, as an operator copies it.
    fn copy(&self) -> String {
        if let Some(server) = &self.server {
            return server.copy("state", "copied");
        }
        let to = self.folder.path().join("copied.sqlite");
        for end in ["", "-wal", "-shm"] {
            let name = |file: &str| self.folder.path().join(format!("{file}.sqlite{end}"));
            std::fs::copy(name("state"), name("copied")).unwrap();
        }
        format!("sqlite:{}", to.display())
    }
}

/// A gateway on this state; jane has the key that she has at `like`.
async fn gateway(url: &str, like: Option<&Door>, setup: Setup) -> Door {
    let storage = format!("\n[storage]\nstate = \"{url}\"\nlost_after = \"2s\"\n");
    let more = format!("{}{storage}", setup.gateway_more);
    let setup = Setup { gateway_more: more, rules: Some(RULES.into()), ..setup };
    let door = Box::pin(Door::open(setup)).await;
    if let Some(like) = like {
        for file in ["jane", "jane.pub", &format!("keys/{JANE}.pub")] {
            std::fs::copy(like.path().join(file), door.path().join(file)).unwrap();
        }
        door.reload().await;
    }
    door
}

async fn two(shared: &Shared) -> (Door, Door) {
    let one = gateway(&shared.url(), None, Setup::default()).await;
    let other = gateway(&shared.url(), Some(&one), Setup::default()).await;
    (one, other)
}

async fn batch(door: &Door, words: &[&str]) -> Ran {
    door.ssh_as(JANE, "jane", &BATCH, words).await
}

/// Has her run it, the phone asked or not, until its end is as it should be.
async fn until(door: &Door, good: impl Fn(&Ran) -> bool, words: &[&str]) -> Ran {
    let begun = Instant::now();
    loop {
        let last = door.ssh(words).await;
        if good(&last) {
            return last;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{last:?}");
    }
}

/// Waits until this gateway knows so many orders of hers. A login that fails meanwhile would cost her a penalty.
async fn knows(door: &Door, orders: usize) {
    let begun = Instant::now();
    while door.house.front().works.orders.of(&JANE.parse().unwrap()).len() != orders {
        assert!(begun.elapsed() < SOON, "it does not hear of it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// She is in, and stays.
async fn stays(door: &Door, options: &[&str]) -> Child {
    let before = door.events("login").len();
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.args(options).args(["-N", "127.0.0.1"]).stderr(Stdio::piped());
    let child = ssh.spawn().unwrap();
    door.wait_for("login", before + 1).await;
    child
}

async fn ended(child: Child) -> String {
    let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await;
    String::from_utf8_lossy(&output.expect("it stays").unwrap().stderr).into_owned()
}

async fn an_order_opened_at_one_gateway_counts_at_the_other_and_closed_at_either_ends_at_both(
    shared: Shared,
) {
    let (one, other) = two(&shared).await;
    let second = other.make_key("second");
    let first = std::fs::read_to_string(other.path().join(format!("keys/{JANE}.pub"))).unwrap();
    other.register(JANE, &format!("{}\n{second}", first.trim_end()));
    other.reload().await;
    assert_eq!(batch(&other, &["konnektor", "backup"]).await.code, 255, "without an order");
    for (closes, ticket) in [(&one, "T-1"), (&other, "T-2")] {
        let mut words = ORDER;
        words[1] = ticket;
        let opened = one.ssh(&words).await;
        assert_eq!(opened.code, 0, "{opened:?}");
        knows(&other, 1).await;
        assert_eq!(batch(&other, &["konnektor", "backup"]).await.code, 0);
        let asked = other.phone.questions();
        // The key and the address count, here as there.
        let strange = other.ssh_as(JANE, "second", &BATCH, &["konnektor", "backup"]).await;
        assert_eq!(strange.code, 255, "another key: {strange:?}");
        let from = [BATCH[0], BATCH[1], "-o", "BindAddress=127.0.0.9"];
        let strange = other.ssh_as(JANE, "jane", &from, &["konnektor", "backup"]).await;
        assert_eq!(strange.code, 255, "another address: {strange:?}");
        assert!(other.phone.questions() >= asked);
        let (here, there) = (stays(&one, &BATCH).await, stays(&other, &BATCH).await);
        let closed = batch(closes, &["order", "close", ticket]).await;
        assert_eq!(closed.code, 0, "{closed:?}");
        let begun = Instant::now();
        // As a running gateway does twice a second; the other one has heard of it.
        closes.house.front().recheck();
        for open in [here, there] {
            let told = ended(open).await;
            assert!(told.contains("The work order is over"), "{ticket}: {told}");
        }
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        for door in [&one, &other] {
            assert_eq!(batch(door, &["konnektor", "backup"]).await.code, 255, "{ticket}");
        }
    }
    one.close().await;
    other.close().await;
}

async fn a_report_of_fraud_at_one_gateway_bars_and_ends_the_person_at_the_other(shared: Shared) {
    let (one, other) = two(&shared).await;
    let desk = stays(&other, &[]).await;
    one.phone_does("fraud");
    let thief = one.ssh_as(JANE, "jane", &["-o", "BindAddress=127.0.0.9"], &["whoami"]).await;
    assert_eq!(thief.code, 255, "{thief:?}");
    let begun = Instant::now();
    ended(desk).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let asked = other.phone.questions();
    let barred = other.ssh(&["whoami"]).await;
    assert!(barred.code == 255 && barred.stderr.contains("Barred"), "{barred:?}");
    assert_eq!(other.phone.questions(), asked);
    let lines = other.wait_for("finished", 1).await;
    assert!(lines.iter().any(|line| line["cause"] == "fraud-reported"), "{lines:#?}");
    one.close().await;
    other.close().await;
}

async fn one_gateway_works_at_a_box_at_a_time(shared: Shared) {
    let slow = || Setup { box_latency: Duration::from_millis(150), ..Setup::default() };
    let one = gateway(&shared.url(), None, slow()).await;
    let other = gateway(&shared.url(), Some(&one), slow()).await;
    let mut first = one.ssh_command(JANE, "jane");
    first.args(["127.0.0.1", "konnektor", "backup"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let first = first.spawn().unwrap();
    one.wait_for("started", 1).await;
    while one.konnektor.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let second = other.ssh(&["konnektor", "backup"]).await;
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.stderr.contains("Another gateway is at work"), "{second:?}");
    let first = first.wait_with_output().await.unwrap();
    assert!(first.status.success(), "{first:?}");
    let numbers: Vec<_> = [&one, &other].map(|door| door.events("finished").len()).into();
    assert!(numbers.iter().all(|n| *n >= 1));
    one.close().await;
    other.close().await;
}

async fn a_job_is_lost_when_its_gateway_is_gone_and_not_when_another_one_starts(shared: Shared) {
    let slow = Setup { box_latency: Duration::from_millis(700), ..Setup::default() };
    let mut one = gateway(&shared.url(), None, slow).await;
    one.house.close().await;
    let served = Served::start(one.path()).await;
    let mut running = one.ssh_command_to(served.address.port(), JANE, "jane");
    running.args(["127.0.0.1", "konnektor", "backup"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = running.spawn().unwrap();
    one.wait_for("started", 1).await;
    let other = gateway(&shared.url(), Some(&one), Setup::default()).await;
    let begun = Instant::now();
    // Longer than it takes to be missed.
    while begun.elapsed() < Duration::from_secs(4) {
        let jobs = other.ssh(&["jobs"]).await;
        assert!(jobs.stdout.starts_with("1\t") && jobs.stdout.contains("runs elsewhere"), "{jobs:?}");
    }
    served.kill().await;
    running.wait().await.unwrap();
    until(&other, |jobs| jobs.stdout.contains("gateway-ended"), &["jobs"]).await;
    // The box is free for the other one.
    let backup = other.ssh(&["konnektor", "backup"]).await;
    assert_eq!(backup.code, 0, "{backup:?}");
    other.close().await;
}

/// Somebody who copies the state has in it what was open, for the key and the address that it was open for, until its
/// time is up; nobody else gets in by it. To close it at the original closes nothing in the copy.
async fn a_copied_state_opens_no_order_for_anybody_but_whom_it_was_open_for(shared: Shared) {
    let one = gateway(&shared.url(), None, Setup::default()).await;
    let opened = one.ssh(&ORDER).await;
    assert_eq!(opened.code, 0, "{opened:?}");
    let other = gateway(&shared.copy(), Some(&one), Setup::default()).await;
    let (second, bobs) = (other.make_key("second"), other.make_key("bob"));
    let first = std::fs::read_to_string(other.path().join(format!("keys/{JANE}.pub"))).unwrap();
    other.register(JANE, &format!("{}\n{second}", first.trim_end()));
    other.register("firm-bob.roe", &bobs);
    other.reload().await;
    let from = [BATCH[0], BATCH[1], "-o", "BindAddress=127.0.0.9"];
    for (user, key, options) in
        [(JANE, "second", &BATCH[..]), ("firm-bob.roe", "bob", &BATCH[..]), (JANE, "jane", &from[..])]
    {
        let refused = other.ssh_as(user, key, options, &["konnektor", "backup"]).await;
        assert_eq!(refused.code, 255, "{user} {key} {refused:?}");
    }
    assert_eq!(batch(&other, &["konnektor", "backup"]).await.code, 0, "hers, as it was");
    // A rule of that gateway's own decides, as ever; and what the order does not name is asked for.
    other.phone_does("deny");
    assert_eq!(batch(&other, &["konnektor", "diff", "-f", "2026-01-01-00-00.json"]).await.code, 77);
    assert_eq!(batch(&one, &["order", "close", "T-1"]).await.code, 0);
    assert_eq!(batch(&one, &["konnektor", "backup"]).await.code, 255);
    assert_eq!(batch(&other, &["konnektor", "backup"]).await.code, 0, "the copy does not know");
    assert_eq!(batch(&other, &["order", "close", "T-1"]).await.code, 0);
    assert_eq!(batch(&other, &["konnektor", "backup"]).await.code, 255);
    one.close().await;
    other.close().await;
}

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Shared::sqlite()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Shared::postgres()).await;
            })+
        }
    };
}

on_both!(
    an_order_opened_at_one_gateway_counts_at_the_other_and_closed_at_either_ends_at_both,
    a_report_of_fraud_at_one_gateway_bars_and_ends_the_person_at_the_other,
    one_gateway_works_at_a_box_at_a_time,
    a_job_is_lost_when_its_gateway_is_gone_and_not_when_another_one_starts,
    a_copied_state_opens_no_order_for_anybody_but_whom_it_was_open_for,
);

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_people_come_in_and_what_needs_it_says_so_and_all_goes_on_after() {
    let mut shared = Shared::postgres();
    let (one, other) = two(&shared).await;
    assert_eq!(one.ssh(&ORDER).await.code, 0);
    knows(&other, 1).await;
    let under = stays(&other, &BATCH).await;
    shared.server.as_mut().unwrap().stop();
    // The phone is asked, and says yes; nothing of that is the state's.
    let come = one.ssh(&["whoami"]).await;
    assert_eq!(come.code, 0, "{come:?}");
    let backup = one.ssh(&["konnektor", "backup"]).await;
    assert!(backup.code == 1 && backup.stderr.contains("could not be noted"), "{backup:?}");
    let mut words = ORDER;
    words[1] = "T-2";
    let order = one.ssh(&words).await;
    assert!(order.code == 1 && order.stderr.contains("could not be noted"), "{order:?}");
    // Closed here, it is over here; the other gateway cannot know, and soon lets nobody in by it without a question.
    let closed = one.ssh(&["order", "close", "T-1"]).await;
    assert_eq!(closed.code, 0, "{closed:?}");
    assert_eq!(batch(&one, &["konnektor", "status"]).await.code, 255);
    let begun = Instant::now();
    while batch(&other, &["whoami"]).await.code == 0 {
        assert!(begun.elapsed() < Duration::from_secs(15), "it still lets her in");
    }
    shared.server.as_mut().unwrap().again();
    // What was closed meanwhile stays closed, at both.
    let told = ended(under).await;
    assert!(told.contains("The work order is over"), "{told}");
    for door in [&one, &other] {
        assert_eq!(until(door, |ran| ran.code == 0, &["konnektor", "backup"]).await.code, 0);
        assert_eq!(batch(door, &["konnektor", "status"]).await.code, 255);
        assert_eq!(door.house.front().panics.load(std::sync::atomic::Ordering::SeqCst), 0);
    }
    assert_eq!(one.ssh(&words).await.code, 0);
    knows(&other, 1).await;
    assert_eq!(batch(&other, &["konnektor", "status"]).await.code, 0);
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_state_stands_in_a_file_of_its_own_and_check_dials_nobody() {
    let server = Postgres::start();
    server.create("state");
    let dir = {
        let door = Door::open(Setup::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let mut copy = tokio::process::Command::new("cp");
        copy.arg("-R").arg(door.path()).arg(dir.path().join("gate"));
        assert_eq!(ran(copy).await.code, 0);
        door.close().await;
        dir
    };
    let gate = dir.path().join("gate");
    let file = gate.join("policy/gateway.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let write = |storage: &str| std::fs::write(&file, format!("{before}\n[storage]\n{storage}\n")).unwrap();
    let check = async || {
        let mut check = tokio::process::Command::new(env!("CARGO_BIN_EXE_pforte"));
        check.args(["check", "--config"]).arg(&gate);
        ran(check).await
    };
    let secret = gate.join("secrets/state");
    pforte::init::write_new(&secret, format!("{}\n", postgres::PASSWORD).as_bytes(), 0o600).unwrap();
    // In the address: refused, and not repeated.
    let url = server.loopback("state");
    write(&format!("state = \"{}\"", url.replace('@', ":Geheim-im-Test@")));
    let refused = check().await;
    assert!(refused.code == 78 && refused.stderr.contains("a password does not belong here"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("Geheim"), "{refused:?}");
    // In a file: taken, unless others can read it.
    let told = format!("state = \"{url}\"\nstate_password = {{ file = \"secrets/state\" }}");
    write(&told);
    let good = check().await;
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains(&format!("state  {url}")), "{good:?}");
    assert!(!format!("{good:?}").contains("Geheim"), "{good:?}");
    write("state_password = { file = \"secrets/state\" }");
    let alone = check().await;
    assert!(alone.code == 78 && alone.stderr.contains("are for state = \"postgres://"), "{alone:?}");
    write(&told);
    set_mode(&secret, 0o644);
    let open = check().await;
    assert!(open.code == 78 && open.stderr.contains("can be read by others"), "{open:?}");
    set_mode(&secret, 0o600);
    Served::start(&gate).await.kill().await;
    // A wrong one ends the start, and is in no line of it.
    std::fs::write(&secret, "falsch-geraten\n").unwrap();
    let mut serve = tokio::process::Command::new(env!("CARGO_BIN_EXE_pforte"));
    serve.args(["serve", "--config"]).arg(&gate).env("RUST_LOG", "trace");
    let wrong = ran(serve).await;
    assert!(wrong.code != 0 && wrong.stderr.contains("127.0.0.1"), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("falsch-geraten"), "{wrong:?}");
    // Nobody is there at all: the check does not notice.
    drop(server);
    assert_eq!(check().await.code, 0);
}

fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}
