//! Attacks on the second factor and on work orders: what a stolen key, or an order that is over, must not give.
//! Absent on purpose: providers' own protocols; `factor_*.rs` has those.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;
use crate::served;

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use door::{Door, JANE, Setup, ran};
use jiff::Timestamp;
use machine::{HOST, Stage};
use pforte::clock::Clock;
use pforte::factor::{
    Cause, Code, Contact, Directory, Line, Prompt, Provider, Providers, Question, Typed, Verdict, Way,
};
use pforte::identity::second_factor::{NotConfirmed, SecondFactor, Show, Trial};
use pforte::identity::{Connection, Ended};
use pforte::names::{Fingerprint, SessionId, Source, Username};
use pforte::random::Random;
use pforte::secret::Secret;
use served::Served;
use tokio::sync::mpsc;

/// Checks codes, and keeps them.
#[derive(Default)]
struct Codes {
    name: &'static str,
    seen: Mutex<Vec<String>>,
}

#[async_trait]
impl Code for Codes {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn check(&self, _user: &Username, code: &Secret, _now: Timestamp) -> Verdict {
        self.seen.lock().unwrap().push(code.reveal().to_owned());
        match code.reveal() {
            "right" => Verdict::Allowed,
            "odd" => Verdict::Failed(Cause::Status(400)),
            _ => Verdict::Denied,
        }
    }
}

/// Fails at the third code, as one does that is asked something odd.
struct Breaks(Arc<Codes>);

#[async_trait]
impl Provider for Breaks {
    fn name(&self) -> &'static str {
        "breaks"
    }

    fn ways(&self) -> &[Way] {
        &[Way::Code]
    }

    async fn ask(&self, question: &Question, _way: Way, line: &mut Line) -> Verdict {
        loop {
            let code = match line.ask(Prompt::Code).await {
                Ok(code) => code,
                Err(cause) => return Verdict::Failed(cause),
            };
            let verdict = self.0.check(&question.user, &code, question.expires).await;
            if verdict != Verdict::Denied {
                return verdict;
            }
        }
    }
}

/// Sends something, and breaks before it is answered.
struct Sends(Way, AtomicUsize);

#[async_trait]
impl Provider for Sends {
    fn name(&self) -> &'static str {
        "sends"
    }

    fn ways(&self) -> &[Way] {
        std::slice::from_ref(&self.0)
    }

    async fn ask(&self, _question: &Question, _way: Way, line: &mut Line) -> Verdict {
        self.1.fetch_add(1, Ordering::SeqCst);
        line.rang();
        Verdict::Failed(Cause::Malformed)
    }
}

/// Asks for a code, and gives up soon.
struct GivesUp;

#[async_trait]
impl Provider for GivesUp {
    fn name(&self) -> &'static str {
        "gives-up"
    }

    fn ways(&self) -> &[Way] {
        &[Way::Sms]
    }

    async fn ask(&self, _question: &Question, _way: Way, line: &mut Line) -> Verdict {
        tokio::time::timeout(Duration::from_millis(300), line.ask(Prompt::Code)).await.ok();
        Verdict::TimedOut
    }
}

struct Everybody(Providers);

impl Directory for Everybody {
    fn of(&self, _user: &Username) -> Providers {
        self.0.clone()
    }
}

fn factor(first: Arc<dyn Provider>, second: Option<Arc<dyn Provider>>) -> SecondFactor {
    let providers = Providers { first, second, contact: Contact::default(), menu: false };
    let (alarm, _) = mpsc::channel(1);
    let timeout = Duration::from_mins(1);
    SecondFactor::new(Arc::new(Everybody(providers)), timeout, Clock::system(), Random::system(), alarm)
}

fn jane() -> (Username, Fingerprint) {
    (JANE.parse().unwrap(), format!("SHA256:{}", "A".repeat(43)).parse().unwrap())
}

fn ask(factor: &SecondFactor, from: &str) -> Trial {
    let (user, key) = jane();
    let on = Connection {
        session: SessionId::new(1, 2),
        from: format!("{from}:50000").parse().unwrap(),
        ended: Ended::default(),
    };
    factor.trial(&user, &key, &on, "attack")
}

fn locked(factor: &SecondFactor, from: &str) -> Option<Duration> {
    let (user, key) = jane();
    factor.locked(&user, &key, Source::of(from.parse().unwrap()))
}

/// What comes next that is a prompt or the end, when this is typed.
async fn next(trial: &mut Trial, typed: Option<&str>) -> Result<Prompt, Result<String, NotConfirmed>> {
    let mut typed = typed.map(|text| Secret::new(text.to_owned()));
    loop {
        let Show { prompt, .. } = trial.next(typed.take(), Duration::from_secs(20)).await?;
        if let Some((prompt, _)) = prompt {
            return Ok(prompt);
        }
    }
}

const HERE: &str = "192.0.2.1";

#[tokio::test]
async fn wrong_codes_are_counted_though_another_way_is_chosen_before_the_last_try() {
    let one = Arc::new(Codes { name: "one", ..Codes::default() });
    let two = Arc::new(Codes { name: "two", ..Codes::default() });
    let typed = |codes: &Arc<Codes>| Arc::new(Typed(codes.clone(), Clock::system())) as Arc<dyn Provider>;
    let factor = factor(typed(&one), Some(typed(&two)));
    for _ in 0..5 {
        let mut trial = ask(&factor, HERE);
        let mut stands = next(&mut trial, None).await;
        for text in ["1", "2", "two", "3", "4", "code"].into_iter().cycle() {
            if stands.is_err() {
                break;
            }
            stands = next(&mut trial, Some(text)).await;
        }
    }
    let guesses = one.seen.lock().unwrap().len() + two.seen.lock().unwrap().len();
    assert!(locked(&factor, HERE).is_some(), "{guesses} guesses, and nothing is locked");
    assert!(guesses <= 6, "{guesses} guesses before the lock");
}

#[tokio::test]
async fn wrong_codes_are_counted_though_the_provider_fails_at_the_next_one() {
    let codes = Arc::new(Codes::default());
    let factor = factor(Arc::new(Breaks(codes.clone())), None);
    for _ in 0..5 {
        let mut trial = ask(&factor, HERE);
        let mut stands = next(&mut trial, None).await;
        for text in ["1", "2", "odd"] {
            if stands.is_err() {
                break;
            }
            stands = next(&mut trial, Some(text)).await;
        }
    }
    let guesses = codes.seen.lock().unwrap().iter().filter(|code| *code != "odd").count();
    assert!(locked(&factor, HERE).is_some() && guesses == 4, "{guesses} guesses");
}

#[tokio::test]
async fn what_has_rung_is_counted_though_the_provider_fails_after_it() {
    for way in [Way::Push, Way::Sms] {
        let sends = Arc::new(Sends(way, AtomicUsize::new(0)));
        let factor = factor(sends.clone(), None);
        for _ in 0..9 {
            assert!(next(&mut ask(&factor, HERE), None).await.is_err());
        }
        assert_eq!(sends.1.load(Ordering::SeqCst), 4, "{way:?}: the phone has rung so often");
    }
}

#[tokio::test]
async fn a_thief_who_waits_at_prompts_for_codes_keeps_nobody_waiting_elsewhere() {
    let codes = Arc::new(Codes::default());
    let factor = factor(Arc::new(Typed(codes.clone(), Clock::system())), None);
    let mut thieves: Vec<_> = (1..=9).map(|_| ask(&factor, "198.51.100.1")).collect();
    assert_eq!(next(&mut thieves[0], None).await, Ok(Prompt::Code));
    // She has never been here before.
    let mut owner = ask(&factor, HERE);
    let asked = tokio::time::timeout(Duration::from_secs(5), next(&mut owner, None)).await;
    assert_eq!(asked.ok(), Some(Ok(Prompt::Code)), "she waits behind a thief");
    assert_eq!(next(&mut owner, Some("right")).await, Err(Ok(String::new())));
}

#[tokio::test]
async fn prompts_for_codes_at_places_never_seen_before_are_few_at_once() {
    let codes = Arc::new(Codes::default());
    let factor = factor(Arc::new(Typed(codes.clone(), Clock::system())), None);
    let mut open = 0;
    let mut thieves = Vec::new();
    for n in 1..=20 {
        let mut thief = ask(&factor, &format!("198.51.100.{n}"));
        let asked = tokio::time::timeout(Duration::from_millis(200), next(&mut thief, None)).await;
        open += usize::from(asked.is_ok());
        thieves.push(thief);
    }
    assert_eq!(open, 6);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_no_answer_to_the_next_question() {
    let codes = Arc::new(Codes::default());
    let factor = factor(Arc::new(GivesUp), Some(Arc::new(Typed(codes.clone(), Clock::system()))));
    let mut trial = ask(&factor, HERE);
    assert_eq!(next(&mut trial, None).await, Ok(Prompt::Code));
    tokio::time::sleep(Duration::from_millis(800)).await;
    // The SMS's code is none for the generator.
    assert_eq!(next(&mut trial, Some("123456")).await, Ok(Prompt::Instead));
    assert_eq!(next(&mut trial, Some("")).await, Err(Err(NotConfirmed::TimedOut)));
    assert_eq!(*codes.seen.lock().unwrap(), Vec::<String>::new());
}

const ORDERS: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor backup\", \"konnektor status\", \"hop backup\"]\non = [\"*\"]\norder = \"2h\"\n";
const BATCH: [&str; 2] = ["-o", "BatchMode=yes"];

fn with_orders() -> Setup {
    Setup { rules: Some(ORDERS.into()), ..Setup::default() }
}

/// A session at the host under the orders, and its end when `end` has happened; told on stderr.
async fn a_hop_ends(stage: &Stage, end: impl AsyncFnOnce(&Door)) {
    let door = &stage.door;
    for (ticket, may) in [("T-1", "hop-backup"), ("T-2", "status")] {
        let words = ["order", ticket, "-i", "praxis-mueller", "--may", may, "--for", "60m"];
        assert_eq!(door.ssh(&words).await.code, 0);
    }
    let mut ssh = stage.command("ssh");
    ssh.args(BATCH).args([HOST, "echo there; exec sleep 60"]);
    let mut open = ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut there = [0; 6];
    let read = tokio::io::AsyncReadExt::read_exact(open.stdout.as_mut().unwrap(), &mut there);
    tokio::time::timeout(Duration::from_secs(30), read).await.unwrap().unwrap();
    end(door).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), open.wait_with_output()).await;
    assert!(ended.is_ok(), "the hop goes on, though the order that named it is over");
    let refused = door.events("refused");
    assert!(refused.iter().any(|line| line["cause"] == "withdrawn: not-in-orders"), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_under_an_order_ends_with_it_though_another_order_is_open() {
    let stage = Stage::with("", with_orders()).await;
    a_hop_ends(&stage, async |door| {
        let closed = door.ssh(&["order", "close", "T-1"]).await;
        assert_eq!(closed.code, 0, "{closed:?}");
    })
    .await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_under_an_order_ends_when_no_rule_allows_it_in_orders_any_more() {
    let stage = Stage::with("", with_orders()).await;
    a_hop_ends(&stage, async |door| {
        let rules = ORDERS.replace("order = \"2h\"\n", "");
        std::fs::write(door.path().join("policy/rules.toml"), rules).unwrap();
        door.reload().await;
    })
    .await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_by_itself_goes_on_when_one_of_two_orders_is_over() {
    let stage = Stage::with("", with_orders()).await;
    let door = &stage.door;
    for (ticket, may) in [("T-1", "backup"), ("T-2", "status")] {
        let words = ["order", ticket, "-i", "praxis-mueller", "--may", may, "--for", "60m"];
        assert_eq!(door.ssh(&words).await.code, 0);
    }
    let mut ssh = stage.command("ssh");
    // No order names the hop: the phone says yes to it.
    ssh.args([HOST, "echo there; sleep 5; echo done"]).stdout(Stdio::piped());
    let open = ssh.spawn().unwrap();
    door.wait_for("started", 3).await;
    assert_eq!(door.ssh(&["order", "close", "T-1"]).await.code, 0);
    let output = tokio::time::timeout(Duration::from_secs(30), open.wait_with_output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.unwrap().stdout), "there\ndone\n");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_longer_than_the_rule_allows_by_now_opens_nothing() {
    let door = Door::open(with_orders()).await;
    let words = ["order", "T-1", "-i", "praxis-mueller", "--may", "backup", "--for", "60m"];
    assert_eq!(door.ssh(&words).await.code, 0);
    let mut backup = door.ssh_command(JANE, "jane");
    backup.args(BATCH).args(["127.0.0.1", "konnektor", "backup"]);
    assert_eq!(ran(backup).await.code, 0);
    assert_eq!(door.phone.questions(), 2);
    let rules = ORDERS.replace("order = \"2h\"", "order = \"5m\"");
    std::fs::write(door.path().join("policy/rules.toml"), rules).unwrap();
    door.reload().await;
    assert_eq!(door.ssh(&["konnektor", "backup"]).await.code, 0);
    assert_eq!(door.phone.questions(), 3, "the phone is asked");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_do_not_push_a_command_out_of_the_phones_sight() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"*\"]\nconfirm = true\n";
    let door = Door::open(Setup { rules: Some(rules.into()), ..Setup::default() }).await;
    let padded = format!("konnektor {}backup", " ".repeat(300));
    assert_eq!(door.ssh(&[&padded]).await.code, 0);
    let seen = door.phone.seen();
    assert!(seen[1].message_en.starts_with("command \"konnektor backup\" on"), "{}", seen[1].message_en);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_locks_its_owner_out_nowhere_that_she_works_after_a_restart_either() {
    let mut door = Door::open(Setup::default()).await;
    assert_eq!(door.ssh(&["whoami"]).await.code, 0);
    door.house.close().await;
    let served = Served::start(door.path()).await;
    door.port = served.address.port();
    door.phone_does("deny");
    for place in 2..=7 {
        let bind = format!("BindAddress=127.0.0.{place}");
        for _ in 0..4 {
            let denied = door.ssh_as(JANE, "jane", &["-o", &bind], &["whoami"]).await;
            assert_eq!(denied.code, 255, "{denied:?}");
        }
    }
    door.phone_does("approve");
    let strange = door.ssh_as(JANE, "jane", &["-o", "BindAddress=127.0.0.9"], &["whoami"]).await;
    assert!(strange.code == 255 && strange.stderr.contains("none for you with this key"), "{strange:?}");
    let usual = door.ssh(&["whoami"]).await;
    assert_eq!(usual.code, 0, "{usual:?}");
    served.signal(rustix::process::Signal::TERM);
    assert!(served.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_stops_ringing_for_a_hop_whose_client_has_gone() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\"]\non = [\"*\"]\nconfirm = true\n";
    let phone_latency = Duration::from_secs(4);
    let setup = Setup { rules: Some(rules.into()), phone_latency, ..Setup::default() };
    let stage = Stage::with("inner = \"sealed\"", setup).await;
    let door = &stage.door;
    let mut ssh = door.ssh_command(JANE, "jane");
    let mut open = ssh.args(["-W", &format!("{HOST}:22"), "127.0.0.1"]).spawn().unwrap();
    for _ in 0..1000 {
        if door.phone.questions() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    open.kill().await.unwrap();
    let refused = door.wait_for("refused", 1).await;
    assert_eq!(refused[0]["cause"], "factor-failed: nobody is there any more");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_removed_and_comes_back_does_not_bring_its_orders_along() {
    let mut door = Door::open(with_orders()).await;
    let words = ["order", "T-1", "-i", "praxis-mueller", "--may", "backup", "--for", "60m"];
    assert_eq!(door.ssh(&words).await.code, 0);
    let file = door.path().join(format!("keys/{JANE}.pub"));
    let key = std::fs::read_to_string(&file).unwrap();
    let other = door.make_key("other");
    door.register(JANE, &other);
    door.reload().await;
    door.house.front().recheck();
    door.register(JANE, &key);
    door.reload().await;
    let refused = async |door: &Door| {
        let mut backup = door.ssh_command(JANE, "jane");
        backup.args(BATCH).args(["127.0.0.1", "konnektor", "backup"]);
        let backup = ran(backup).await;
        assert_eq!(backup.code, 255, "{backup:?}");
    };
    refused(&door).await;
    door.house.close().await;
    let served = Served::start(door.path()).await;
    door.port = served.address.port();
    refused(&door).await;
    served.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_came_of_commands_outlasts_a_restart_too() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"*\"]\nconfirm = true\n";
    let mut door = Door::open(Setup { rules: Some(rules.into()), ..Setup::default() }).await;
    let socket = door.path().join("master");
    let mut master = door.ssh_command(JANE, "jane");
    let mut master = master.args(["-M", "-N", "-S"]).arg(&socket).arg("127.0.0.1").spawn().unwrap();
    for _ in 0..1000 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    door.phone_does("deny");
    for _ in 0..4 {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.arg("-S").arg(&socket).args(["127.0.0.1", "konnektor", "backup"]);
        assert_eq!(ran(ssh).await.code, 77);
    }
    // Half a second later at the latest it is written down.
    for _ in 0..500 {
        door.house.front().recheck();
        if !door.house.front().state.penalties(Timestamp::now()).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    master.kill().await.unwrap();
    door.house.close().await;
    let served = Served::start(door.path()).await;
    door.port = served.address.port();
    door.phone_does("approve");
    let barred = door.ssh(&["whoami"]).await;
    assert!(barred.code == 255 && barred.stderr.contains("Barred from here for"), "{barred:?}");
    served.kill().await;
}
