//! Which client can what: OpenSSH, plink, dbclient, paramiko and jumps, against a phone, codes, a menu and a held key.
//! Each time the phone's questions are counted. Absent on purpose: what `door_factors` and `door_keys` try already.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;
use crate::seat;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use door::{Door, JANE, Ran, Setup, ran};
use jiff::Timestamp;
use machine::{HOST, RULES, Stage};
use pforte::clock::Clock;
use seat::{Seat, on_terminal, until};
use serde_json::Value;
use tokio::process::Command;

const BATCH: [&str; 2] = ["-o", "BatchMode=yes"];
/// Base32 of twenty bytes.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// Slower than one round of eight seconds.
const SLOW: Duration = Duration::from_secs(12);
/// Who hangs takes longer.
const SOON: Duration = Duration::from_secs(30);

/// A clock that the test puts on.
fn hand() -> (Clock, Arc<AtomicI64>) {
    let (begin, seconds) = (Timestamp::now(), Arc::new(AtomicI64::new(0)));
    let shared = seconds.clone();
    let clock = Clock::of(move || begin + jiff::SignedDuration::from_secs(shared.load(Ordering::SeqCst)));
    (clock, seconds)
}

/// A door where codes are one of jane's factors, and each code is a new one.
struct Codes {
    door: Door,
    clock: Clock,
    seconds: Arc<AtomicI64>,
}

impl Codes {
    /// `factor` replaces the line that names the provider.
    async fn open(factor: &str) -> Self {
        let (clock, seconds) = hand();
        let setup = Setup {
            gateway: vec![("provider = \"webhook\"".into(), factor.into())],
            files: vec![("secrets/totp/firm-jane.doe", SECRET.into(), 0o600)],
            clock: clock.clone(),
            ..Setup::default()
        };
        Self { door: Door::open(setup).await, clock, seconds }
    }

    /// A code that was not used yet.
    fn code(&self) -> String {
        self.seconds.fetch_add(30, Ordering::SeqCst);
        let totp = totp_rs::Builder::new()
            .with_algorithm(totp_rs::Algorithm::SHA1)
            .with_digits(6)
            .with_step_duration(30)
            .with_secret(totp_rs::Secret::try_from_base32(SECRET).unwrap())
            .build()
            .unwrap();
        totp.generate(self.clock.now().as_second().unsigned_abs()).to_string()
    }

    async fn ssh_typing(&self, lines: &[&str]) -> Ran {
        let mut ssh = self.door.ssh_command(JANE, "jane");
        self.door.types(&mut ssh, lines);
        ssh.args(["127.0.0.1", "whoami"]);
        ran(ssh).await
    }

    /// OpenSSH without a terminal to ask at, and without an askpass program.
    async fn ssh_alone(&self) -> Ran {
        let mut ssh = self.door.ssh_command(JANE, "jane");
        ssh.args(["127.0.0.1", "whoami"]);
        ran(without_terminal(&ssh)).await
    }
}

/// The same program where there is no terminal, not even of those who run the tests.
fn without_terminal(command: &Command) -> Command {
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(command.as_std().get_program()).args(command.as_std().get_args());
    for name in ["SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY"] {
        alone.env_remove(name);
    }
    alone.stdin(std::process::Stdio::null()).kill_on_drop(true);
    alone
}

/// What paramiko told, as of any client.
fn told(paramiko: &Value) -> Ran {
    let text = |name: &str| paramiko[name].as_str().unwrap_or_default();
    Ran {
        code: paramiko["code"].as_i64().and_then(|code| code.try_into().ok()).unwrap_or(255),
        stdout: text("stdout").into(),
        stderr: format!("{}{}{}", text("shown"), text("stderr"), text("error")),
    }
}

fn is_in(ran: &Ran, user: &str, factor: &str) {
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(user), "{ran:?}");
    assert!(ran.stdout.contains(&format!("confirmed by: {factor}\n")), "{ran:?}");
}

/// People of their own, so that none waits for another's turn; each with a key of their name.
async fn with_people(door: &Door, people: &[&str]) {
    for name in people {
        let line = door.make_key(name);
        door.register(&format!("firm-{name}.one"), &line);
    }
    door.reload().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_confirmed_lets_every_client_in_and_rings_once_each() {
    let door = Door::open(Setup::default()).await;
    let clients = [
        door.ssh(&["whoami"]).await,
        door.plink(JANE, "jane", &[], &["whoami"]).await,
        door.plink(JANE, "jane", &["-batch"], &["whoami"]).await,
        door.dbclient(JANE, "jane", &[], &["whoami"]).await,
        told(&door.paramiko_typing(JANE, "jane", "whoami", &[]).await),
    ];
    for ran in &clients {
        is_in(ran, JANE, "webhook");
        assert!(ran.stderr.contains("The number there must be "), "{ran:?}");
    }
    assert_eq!(door.phone.questions(), 5);
    assert_eq!(door.wait_for("login", 5).await.len(), 5);
    assert!(door.events("refused").is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_no_is_asked_once_by_every_client() {
    let door = Door::open(Setup { phone: "deny", ..Setup::default() }).await;
    let plink = door.plink(JANE, "jane", &[], &["whoami"]).await;
    let paramiko = told(&door.paramiko_typing(JANE, "jane", "whoami", &[]).await);
    for (n, ran) in [&plink, &paramiko].into_iter().enumerate() {
        assert!(ran.code != 0 && ran.stdout.is_empty(), "{n} {ran:?}");
    }
    assert!(plink.stderr.contains("Not confirmed: it was denied on the phone"), "{plink:?}");
    assert_eq!(door.phone.questions(), 2);
    let refused = door.wait_for("refused", 2).await;
    assert!(refused.iter().all(|line| line["cause"] == "factor-denied"), "{refused:#?}");
    assert!(door.events("login").is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_stays_silent_ends_every_client_in_time_and_rings_once_each() {
    let door = Door::open(Setup { phone: "silent", timeout: "1s", ..Setup::default() }).await;
    let began = Instant::now();
    let plink = door.plink(JANE, "jane", &[], &["whoami"]).await;
    let batch = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    let dbclient = door.dbclient(JANE, "jane", &[], &["whoami"]).await;
    let paramiko = told(&door.paramiko_typing(JANE, "jane", "whoami", &[]).await);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    for ran in [&plink, &batch] {
        assert!(ran.code != 0 && ran.stderr.contains("Not confirmed: nobody answered"), "{ran:?}");
    }
    for ran in [&plink, &batch, &dbclient, &paramiko] {
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    assert!(paramiko.code != 0, "{paramiko:?}");
    assert_eq!(door.phone.questions(), 4);
    let refused = door.wait_for("refused", 4).await;
    assert!(refused.iter().all(|line| line["cause"] == "factor-timeout"), "{refused:#?}");
    assert!(door.events("login").is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_stay_through_the_empty_rounds_of_a_slow_answer_and_ring_once_each() {
    let people = ["ann", "bob", "cid", "dan", "eve", "fay", "gil"];
    let more =
        ["eve", "fay", "gil"].map(|name| format!("[users.\"firm-{name}.one\"]\nbatch = \"hold-key\"\n"));
    // All of them wait at once, at one address.
    let more = format!("\n[limits]\nunproven_per_source = 20\n{}", more.concat());
    let setup = Setup { phone_latency: SLOW, gateway_more: more, ..Setup::default() };
    let door = Door::open(setup).await;
    with_people(&door, &people).await;
    let began = Instant::now();
    let (openssh, plink, dbclient, paramiko, held_ssh, held_plink, held_paramiko) = tokio::join!(
        door.ssh_as("firm-ann.one", "ann", &[], &["whoami"]),
        door.plink("firm-bob.one", "bob", &["-batch"], &["whoami"]),
        door.dbclient("firm-cid.one", "cid", &[], &["whoami"]),
        door.paramiko_typing("firm-dan.one", "dan", "whoami", &[]),
        door.ssh_as("firm-eve.one", "eve", &BATCH, &["whoami"]),
        door.plink("firm-fay.one", "fay", &["-batch"], &["whoami"]),
        door.paramiko("firm-gil.one", "gil", "whoami", Value::Null),
    );
    assert!(began.elapsed() >= SLOW, "{:?}", began.elapsed());
    let (paramiko, held_paramiko) = (told(&paramiko), told(&held_paramiko));
    let all = [openssh, plink, dbclient, paramiko, held_ssh, held_plink, held_paramiko];
    for (name, ran) in people.iter().zip(&all) {
        is_in(ran, &format!("firm-{name}.one"), "webhook");
    }
    let mut asked: Vec<String> = door.phone.seen().into_iter().map(|question| question.user).collect();
    asked.sort();
    assert_eq!(asked, people.map(|name| format!("firm-{name}.one")), "once each");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_that_is_not_confirmed_is_refused_by_every_batch_client_and_rings_once_each() {
    for (phone, timeout, cause) in [("deny", "60s", "factor-denied"), ("silent", "1s", "factor-timeout")] {
        let more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
        let setup = Setup { phone, timeout, gateway_more: more, ..Setup::default() };
        let door = Door::open(setup).await;
        let began = Instant::now();
        let all = [
            door.ssh_as(JANE, "jane", &BATCH, &["whoami"]).await,
            door.plink(JANE, "jane", &["-batch"], &["whoami"]).await,
            told(&door.paramiko(JANE, "jane", "whoami", Value::Null).await),
        ];
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        for ran in &all {
            assert!(ran.code != 0 && ran.stdout.is_empty(), "{phone}: {ran:?}");
        }
        assert_eq!(door.phone.questions(), 3, "{phone}");
        let refused = door.wait_for("refused", 3).await;
        assert!(refused.iter().all(|line| line["cause"] == cause), "{refused:#?}");
        assert!(door.events("login").is_empty());
        door.close().await;
    }
}

/// `ssh -J gateway HOST`, whose outer client waits ten seconds for the inner one.
async fn jump(stage: &Stage, batch: bool) -> Ran {
    // What the outer ssh is told on its command line the inner one does not hear.
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let inner = if batch { "Host gateway\n  BatchMode yes\n" } else { "" };
    std::fs::write(stage.door.path().join("ssh_config_jump"), format!("{inner}{text}")).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(stage.door.path().join("ssh_config_jump"));
    ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-J", "gateway", HOST, "echo there"]);
    ran(without_terminal(&ssh)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_gets_through_when_the_phone_answers_before_the_outer_client_gives_up() {
    let stage = Stage::set("").await;
    let quick = jump(&stage, false).await;
    assert_eq!((quick.code, quick.stdout.as_str()), (0, "there\n"), "{quick:?}");
    assert!(quick.stderr.contains("The number there must be "), "{quick:?}");
    assert_eq!(stage.door.phone.questions(), 1);
    let batch = jump(&stage, true).await;
    assert_eq!((batch.code, batch.stdout.as_str()), (255, ""), "{batch:?}");
    assert!(batch.stderr.contains("Permission denied (keyboard-interactive)"), "{batch:?}");
    assert_eq!(stage.door.phone.questions(), 1, "nothing could be asked");
    stage.door.phone_does("deny");
    let denied = jump(&stage, false).await;
    assert!(denied.code == 255 && denied.stderr.contains("Not confirmed: it was denied"), "{denied:?}");
    assert_eq!(stage.door.phone.questions(), 2);
    // Nobody answers: the outer client goes after ten seconds, the inner one with it, and nobody is let in any more.
    stage.door.phone_does("silent");
    let began = Instant::now();
    let late = jump(&stage, false).await;
    assert!(late.code == 255 && late.stderr.contains("timed out during banner exchange"), "{late:?}");
    assert!((9..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // That it has gone is seen when the round of eight seconds is over.
    until(async || stage.door.events("refused").len() == 3).await;
    assert_eq!(stage.door.events("refused")[2]["cause"], "no-answer");
    stage.door.phone_does("approve");
    assert_eq!((stage.door.phone.questions(), stage.door.events("login").len()), (3, 1));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_jump_with_a_held_key_gets_through_by_one_push() {
    let more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    let stage =
        Stage::with("", Setup { rules: Some(RULES.into()), gateway_more: more, ..Setup::default() }).await;
    let quick = jump(&stage, true).await;
    assert_eq!((quick.code, quick.stdout.as_str()), (0, "there\n"), "{quick:?}");
    assert!(quick.stderr.contains("Number for the confirmation: "), "{quick:?}");
    assert_eq!(stage.door.phone.questions(), 1);
    stage.door.phone_does("deny");
    let denied = jump(&stage, true).await;
    assert!(denied.code == 255 && denied.stdout.is_empty(), "{denied:?}");
    assert_eq!((stage.door.phone.questions(), stage.door.wait_for("refused", 1).await.len()), (2, 1));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_typed_into_plink_dbclient_and_paramiko() {
    let codes = Codes::open("provider = \"totp\"").await;
    let door = &codes.door;
    let plink = door.plink_command(JANE, "jane", &["-no-antispoof"], &["whoami"]).await;
    let mut plink = Seat::take(on_terminal(&plink));
    plink.shows("Code: ").await;
    plink.types(&format!("{}\n", codes.code())).await;
    assert_eq!(plink.ends().await, 0, "{} {}", plink.shown(), plink.said());
    assert!(plink.shown().contains("confirmed by: totp"), "{}", plink.shown());
    // dbclient takes what it would ask for out of its environment.
    let mut dbclient = door.dbclient_command(JANE, "jane", &[], &["whoami"]).await;
    dbclient.env("DROPBEAR_PASSWORD", codes.code());
    is_in(&ran(dbclient).await, JANE, "totp");
    let paramiko = told(&door.paramiko_typing(JANE, "jane", "whoami", &[&codes.code()]).await);
    is_in(&paramiko, JANE, "totp");
    assert_eq!((door.phone.questions(), door.wait_for("login", 3).await.len()), (0, 3));
    codes.door.close().await;
}

/// plink -batch and OpenSSH's BatchMode, where something would have to be typed.
async fn batch_clients_are_refused_and_told(door: &Door) {
    let plink = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    assert_eq!((plink.code, plink.stdout.as_str()), (1, ""), "{plink:?}");
    assert!(plink.stderr.contains("Cannot answer interactive prompts in batch mode"), "{plink:?}");
    let openssh = door.ssh_as(JANE, "jane", &BATCH, &["whoami"]).await;
    assert_eq!((openssh.code, openssh.stdout.as_str()), (255, ""), "{openssh:?}");
    assert!(openssh.stderr.contains("Permission denied (keyboard-interactive)"), "{openssh:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_code_is_wanted_batch_clients_are_refused_and_told_and_do_not_hang() {
    let codes = Codes::open("provider = \"totp\"").await;
    let door = &codes.door;
    let began = Instant::now();
    batch_clients_are_refused_and_told(door).await;
    let paramiko = told(&door.paramiko_typing(JANE, "jane", "whoami", &[]).await);
    assert!(paramiko.code != 0 && paramiko.stdout.is_empty(), "{paramiko:?}");
    // Without -batch, and without a terminal, plink gives up without a word, and calls that a success.
    let silent = door.plink_command(JANE, "jane", &[], &["whoami"]).await;
    let silent = ran(without_terminal(&silent)).await;
    assert_eq!((silent.code, silent.stdout.as_str()), (0, ""), "{silent:?}");
    // OpenSSH types nothing, three times: nothing is no code.
    let empty = codes.ssh_alone().await;
    assert!(empty.code == 255 && empty.stderr.contains("the code was wrong"), "{empty:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(door.wait_for("refused", 5).await.len(), 5);
    assert!(door.events("login").is_empty());
    assert_eq!(door.phone.questions(), 0);
    codes.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_menu_types_a_word_a_code_or_nothing_and_only_nothing_rings() {
    let codes = Codes::open("provider = \"webhook\"\nsecond = \"totp\"\nmenu = true").await;
    let door = &codes.door;
    let word = codes.ssh_typing(&["code", &codes.code()]).await;
    is_in(&word, JANE, "totp");
    let prompts = std::fs::read_to_string(door.path().join("prompts")).unwrap();
    assert!(prompts.contains("How to confirm: push, code? [Enter: the first] "), "{prompts}");
    assert!(prompts.contains("Code (or push): "), "{prompts}");
    is_in(&codes.ssh_typing(&[&codes.code()]).await, JANE, "totp");
    let paramiko = told(&door.paramiko_typing(JANE, "jane", "whoami", &["code", &codes.code()]).await);
    is_in(&paramiko, JANE, "totp");
    assert_eq!(door.phone.questions(), 0);
    is_in(&codes.ssh_typing(&[""]).await, JANE, "webhook");
    is_in(&codes.ssh_typing(&["push"]).await, JANE, "webhook");
    let paramiko = told(&door.paramiko_typing(JANE, "jane", "whoami", &[""]).await);
    is_in(&paramiko, JANE, "webhook");
    assert_eq!(door.phone.questions(), 3);
    let plink = door.plink_command(JANE, "jane", &["-no-antispoof"], &["whoami"]).await;
    let mut plink = Seat::take(on_terminal(&plink));
    plink.shows("[Enter: the first] ").await;
    plink.types("code\n").await;
    plink.shows("Code (or push): ").await;
    plink.types(&format!("{}\n", codes.code())).await;
    assert_eq!(plink.ends().await, 0, "{} {}", plink.shown(), plink.said());
    assert!(plink.shown().contains("confirmed by: totp"), "{}", plink.shown());
    // dbclient reads what may be seen from its standard input.
    let mut dbclient = door.dbclient_command(JANE, "jane", &[], &["whoami"]).await;
    dbclient.env("DROPBEAR_PASSWORD", codes.code());
    let mut dbclient = Seat::take(dbclient);
    dbclient.types("code\n").await;
    assert_eq!(dbclient.ends().await, 0, "{} {}", dbclient.shown(), dbclient.said());
    assert!(dbclient.shown().contains("confirmed by: totp"), "{}", dbclient.shown());
    assert_eq!(door.phone.questions(), 3);
    // Where nobody sits, OpenSSH and dbclient type nothing, and the phone rings.
    is_in(&codes.ssh_alone().await, JANE, "webhook");
    is_in(&door.dbclient(JANE, "jane", &[], &["whoami"]).await, JANE, "webhook");
    assert_eq!(door.phone.questions(), 5);
    assert_eq!(door.wait_for("login", 10).await.len(), 10);
    codes.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_menu_turns_batch_clients_away_with_a_word_and_rings_nobody() {
    let codes = Codes::open("provider = \"webhook\"\nsecond = \"totp\"\nmenu = true").await;
    let door = &codes.door;
    let began = Instant::now();
    batch_clients_are_refused_and_told(door).await;
    // No -batch, and no terminal: it gives up without a word.
    let silent = door.plink_command(JANE, "jane", &[], &["whoami"]).await;
    let silent = ran(without_terminal(&silent)).await;
    assert_eq!((silent.code, silent.stdout.as_str()), (0, ""), "{silent:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(door.wait_for("refused", 3).await.len(), 3);
    assert_eq!((door.phone.questions(), door.events("login").len()), (0, 0));
    codes.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_with_a_menu_is_asked_on_the_phone_alone() {
    let more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    let setup = Setup {
        gateway: vec![(
            "provider = \"webhook\"".into(),
            "provider = \"webhook\"\nsecond = \"totp\"\nmenu = true".into(),
        )],
        gateway_more: more,
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    is_in(&door.ssh_as(JANE, "jane", &BATCH, &["whoami"]).await, JANE, "webhook");
    is_in(&door.plink(JANE, "jane", &["-batch"], &["whoami"]).await, JANE, "webhook");
    is_in(&door.plink(JANE, "jane", &[], &["whoami"]).await, JANE, "webhook");
    is_in(&door.ssh(&["whoami"]).await, JANE, "webhook");
    is_in(&door.dbclient(JANE, "jane", &[], &["whoami"]).await, JANE, "webhook");
    assert_eq!(door.phone.questions(), 5);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_order_lets_every_client_in_and_asks_nobody_again() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor status\"]\non = [\"*\"]\norder = \"2h\"\n";
    let door = Door::open(Setup { rules: Some(rules.into()), ..Setup::default() }).await;
    let words = ["order", "T-1", "-i", "praxis-mueller", "--may", "status", "--for", "60m"];
    let ordered = door.ssh(&words).await;
    assert_eq!(ordered.code, 0, "{ordered:?}");
    assert_eq!(door.phone.questions(), 2, "the login's and the order's");
    door.phone_does("silent");
    let status = ["konnektor", "status"];
    for ran in [
        door.ssh(&status).await,
        door.ssh_as(JANE, "jane", &BATCH, &status).await,
        door.plink(JANE, "jane", &["-batch"], &status).await,
        door.dbclient(JANE, "jane", &[], &status).await,
        told(&door.paramiko(JANE, "jane", "konnektor status", Value::Null).await),
    ] {
        assert!(ran.code == 0 && ran.stdout.contains("praxis-mueller"), "{ran:?}");
    }
    assert_eq!(door.phone.questions(), 2);
    let logins = door.wait_for("login", 6).await;
    assert!(logins[1..].iter().all(|line| line["factor"] == "order T-1"), "{logins:#?}");
    door.close().await;
}
