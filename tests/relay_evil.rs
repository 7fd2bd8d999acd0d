//! A customer's machine that was taken over: whatever it says, the person gets a sentence and a code, and nothing is left behind.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;
use crate::raw;

use std::process::Stdio;
use std::time::{Duration, Instant};

use door::{JANE, Ran, Setup, ran};
use machine::{HOST, RULES, Stage};
use raw::evil::{Evil, Host, exit_status, host_key};
use raw::{Payload, msg};
use serde_json::json;

/// What else an opening says.
type More = fn(Payload) -> Payload;

/// What `ssh HOST true` gives where the host behaves like this, and the journal's causes.
async fn meets<F, R>(serve: F) -> (Ran, Vec<String>)
where
    F: Fn(Host) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let stage = Stage::set("").await;
    let evil = Evil::start(serve).await;
    stage.points_to(evil.port).await;
    let met = stage.ssh(&["true"]).await;
    assert!(evil.is_left_within(5).await, "the gateway stays with it: {met:?}");
    let finished = stage.door.wait_for("finished", 3).await;
    let causes = finished.iter().map(|l| l["cause"].as_str().unwrap_or_default().to_owned()).collect();
    // A connection has a last line too.
    assert_eq!((stage.door.events("started").len(), finished.len()), (2, 3), "{finished:#?}");
    stage.close().await;
    (met, causes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_speaks_no_ssh_is_told_of_with_69() {
    let garbage = meets(|mut host| async move {
        host.tx.raw(&vec![0x5a; 70_000]).await;
        host.stays_raw().await;
    });
    let endless_banner =
        meets(
            |mut host| async move { while host.tx.raw(b"Willkommen auf dem Sicherungsserver!\r\n").await {} },
        );
    let closes = meets(|_| async {});
    let silent = meets(|mut host| async move { host.stays_raw().await });
    let unkeyed = meets(|mut host| async move {
        host.versions().await;
        host.stays_raw().await;
    });
    let met = tokio::join!(garbage, endless_banner, closes, silent, unkeyed);
    for (met, causes) in [met.0, met.1, met.2, met.3, met.4] {
        assert_eq!((met.code, met.stdout.as_str()), (69, ""), "{met:?}");
        assert!(met.stderr.contains("cannot be reached from here"), "{met:?}");
        assert!(causes.iter().any(|c| c.starts_with("target-")), "{causes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_host_that_asks_without_end_is_not_let_have_anything() {
    let prompts = |count: u32| Payload::of(msg::INFO_RESPONSE - 1).text("").text("").text("").number(count).0;
    let many = meets(move |mut host| async move {
        host.asked_for_login().await;
        host.tx.send(prompts(1 << 28)).await;
        host.stays().await;
    });
    let banners = meets(|mut host| async move {
        host.asked_for_login().await;
        for _ in 0..2000 {
            host.tx.send(Payload::of(msg::USERAUTH_BANNER).text([b'x'; 16 << 10]).text("").0).await;
        }
        host.tx.send(Payload::of(msg::USERAUTH_FAILURE).text("password").byte(0).0).await;
        host.stays().await;
    });
    let silent = meets(|mut host| async move {
        host.asked_for_login().await;
        host.stays().await;
    });
    let (a, b, c) = tokio::join!(many, banners, silent);
    for (met, _) in [a, b, c] {
        assert_eq!((met.code, met.stdout.as_str()), (69, ""), "{met:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_no_command_is_told_of_with_69() {
    let no_channel = meets(|mut host| async move {
        host.lets_in().await;
        host.stays().await;
    });
    let no_answer = meets(|mut host| async move {
        host.lets_in().await;
        host.channel(2 << 20).await;
        host.stays().await;
    });
    let (a, b) = tokio::join!(no_channel, no_answer);
    for (met, causes) in [a, b] {
        assert_eq!(met.code, 69, "{met:?}");
        assert!(causes.contains(&"target-timeout".to_owned()), "{causes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_r38_r67_what_a_host_says_unasked_changes_nothing() {
    let (met, _) = meets(|mut host| async move {
        let Some(theirs) = host.runs().await else { return };
        let mut refused = 0;
        let ways = |p: Payload| p.text("127.0.0.1").number(22).text("127.0.0.1").number(1);
        let plain = |p: Payload| p;
        let x11 = |p: Payload| p.text("127.0.0.1").number(6000);
        let kinds: [(&str, More); 6] = [
            ("session", plain),
            ("x11", x11),
            ("forwarded-tcpip", ways),
            ("auth-agent@openssh.com", plain),
            ("direct-tcpip", ways),
            ("no-such", plain),
        ];
        for (kind, more) in kinds {
            host.tx.send(more(raw::open(77, kind).number(1 << 20).number(32 << 10)).0).await;
            let Some(answer) = host.any(&[msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE]).await else { return };
            refused += u32::from(answer[0] == msg::OPEN_FAILURE);
        }
        for _ in 0..10_000 {
            host.tx.send([msg::REQUEST_SUCCESS]).await;
        }
        for _ in 0..2 {
            host.tx.send(Payload::of(msg::WINDOW_ADJUST).number(theirs).number(u32::MAX).0).await;
        }
        host.tx.send(raw::data(4711, b"for nobody")).await;
        host.tx.send(Payload::of(msg::EOF).number(4711).0).await;
        host.tx.send(exit_status(4711, 1)).await;
        host.tx.send(exit_status(theirs, 3)).await;
        host.tx.send(raw::data(theirs, format!("{refused} refused").as_bytes())).await;
        for _ in 0..2 {
            host.tx.send(Payload::of(msg::EOF).number(theirs).0).await;
        }
        host.tx.send(raw::data(theirs, b", and on")).await;
        host.exits(theirs, 4).await;
    })
    .await;
    assert_eq!(met.code, 4, "{met:?}");
    assert_eq!(met.stdout, "6 refused, and on");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_ends_are_told_as_they_are() {
    let no_status = meets(|mut host| async move {
        let Some(theirs) = host.runs().await else { return };
        host.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
        host.stays().await;
    });
    let lost = meets(|mut host| async move {
        let Some(theirs) = host.runs().await else { return };
        let packet = host.tx.packet(&raw::data(theirs, &vec![7; 20_000]));
        host.tx.raw(&packet[..9000]).await;
    });
    let signal = meets(|mut host| async move {
        let Some(theirs) = host.runs().await else { return };
        let odd = Payload(Vec::new()).text("SE\u{1b}]0;GV@x").flag(true).text("\u{1b}[2J\0core").text("").0;
        host.tx.send(raw::channel_request(theirs, "exit-signal", false, &odd)).await;
        host.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
        host.stays().await;
    });
    let ((no_status, causes), (lost, lost_causes), (signal, _)) = tokio::join!(no_status, lost, signal);
    assert_eq!(no_status.code, 255, "{no_status:?}");
    assert!(causes.contains(&"no-exit-status".to_owned()), "{causes:?}");
    assert_eq!(lost.code, 69, "{lost:?}");
    assert!(lost.stderr.contains("connection to the host was lost"), "{lost:?}");
    assert!(lost_causes.contains(&"target-lost".to_owned()), "{lost_causes:?}");
    assert_eq!(signal.code, 255, "{signal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_says_before_it_accepts_a_command_is_not_lost() {
    let (met, _) = meets(|mut host| async move {
        if host.lets_in().await.is_none() {
            return;
        }
        let Some(theirs) = host.channel(2 << 20).await else { return };
        host.command().await;
        host.tx.send(raw::data(theirs, b"early, ")).await;
        host.tx.send(Payload::of(msg::CHANNEL_SUCCESS).number(theirs).0).await;
        host.tx.send(raw::data(theirs, b"late")).await;
        host.exits(theirs, 0).await;
    })
    .await;
    assert_eq!((met.code, met.stdout.as_str()), (0, "early, late"), "{met:?}");
}

/// russh asks about the first key exchange of a connection alone. Who rekeys is who has the connection's keys: the same host.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_host_shows_at_a_rekey_is_not_the_one_that_is_kept() {
    let stage = Stage::set("").await;
    let count = std::sync::atomic::AtomicU8::new(0);
    let evil = Evil::start(move |mut host| {
        let before = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            host.key = host_key(1 + before);
            let Some(theirs) = host.runs().await else { return };
            host.key = host_key(2);
            host.kex().await;
            host.tx.send(raw::data(theirs, b"rekeyed")).await;
            host.exits(theirs, 0).await;
        }
    })
    .await;
    stage.points_to(evil.port).await;
    let first = stage.ssh(&["true"]).await;
    assert_eq!((first.code, first.stdout.as_str()), (0, "rekeyed"), "{first:?}");
    let second = stage.ssh(&["true"]).await;
    assert_eq!((second.code, second.stdout.as_str()), (69, ""), "{second:?}");
    assert!(second.stderr.contains("shows another host key"), "{second:?}");
    stage.close().await;
}

/// `-S` over a master to the gateway, so that only one channel ends when its client does.
async fn outer_master(stage: &Stage) -> (tokio::process::Child, String) {
    let socket = stage.door.path().join("outer");
    let mut ssh = stage.command("ssh");
    ssh.args(["-M", "-N", "-S"]).arg(&socket).arg("gateway");
    let master = ssh.spawn().unwrap();
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let proxy =
        format!("ProxyCommand=ssh -F {} -S {} -W %h:22 gateway", stage.config.display(), socket.display());
    (master, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_client_killed_while_its_host_takes_nothing_leaves_nothing() {
    let stage = Stage::set("").await;
    let evil = Evil::start(|mut host| async move {
        if host.lets_in().await.is_none() {
            return;
        }
        let Some(theirs) = host.channel(0).await else { return };
        host.command().await;
        host.tx.send(Payload::of(msg::CHANNEL_SUCCESS).number(theirs).0).await;
        host.stays().await;
    })
    .await;
    stage.points_to(evil.port).await;
    // The inner session goes on, for it has a master too.
    let master = stage.master().await;
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let mut ssh = stage.over(&master, &["takes nothing"]);
    let mut client = ssh.stdin(Stdio::from(zero)).stdout(Stdio::piped()).spawn().unwrap();
    evil.is_met().await;
    stage.door.wait_for("started", 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.kill().await.unwrap();
    assert!(evil.is_left_within(5).await, "the host's connection stays: {:#?}", stage.door.journal());
    stage.door.wait_for("finished", 1).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_client_killed_that_has_read_nothing_leaves_nothing() {
    let stage = Stage::set("").await;
    let evil = Evil::start(|mut host| async move {
        let Some(theirs) = host.runs().await else { return };
        // It keeps no window.
        while host.tx.send(raw::data(theirs, &vec![7; 30_000])).await {}
    })
    .await;
    stage.points_to(evil.port).await;
    let (mut master, proxy) = outer_master(&stage).await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-o", &proxy, "-o", "ProxyJump=none", HOST, "floods"]).stdout(Stdio::piped());
    let mut client = ssh.spawn().unwrap();
    evil.is_met().await;
    stage.door.wait_for("started", 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.kill().await.unwrap();
    assert!(evil.is_left_within(8).await, "the host's connection stays");
    stage.door.wait_for("finished", 2).await;
    master.kill().await.unwrap();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_forward_that_the_host_never_answers_ends_with_its_session() {
    let gateway_more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    let setup = Setup { rules: Some(RULES.into()), gateway_more, ..Setup::default() };
    let stage = Stage::with("forwards = [\"127.0.0.1:4711\"]", setup).await;
    let evil = Evil::start(|mut host| async move {
        host.lets_in().await;
        host.stays().await;
    })
    .await;
    stage.points_to(evil.port).await;
    let done = stage.steps(json!([["login", JANE, "jane"], ["forward", "127.0.0.1", 4711]])).await;
    assert!(done[1]["error"].is_string(), "{done:?}");
    assert!(evil.is_left_within(5).await, "the host's connection stays");
    let began = Instant::now();
    let finished = stage.door.wait_for("finished", 3).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(finished.iter().any(|l| l["command"] == "direct-tcpip 127.0.0.1:4711"), "{finished:#?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_beside_a_host_that_hangs_the_same_session_goes_on() {
    let stage = Stage::set("").await;
    // Every second connection hangs.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let evil = Evil::start(move |mut host| {
        let hangs = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move {
            if host.lets_in().await.is_none() {
                return;
            }
            while let Some(theirs) = host.channel(2 << 20).await {
                host.command().await;
                host.tx.send(Payload::of(msg::CHANNEL_SUCCESS).number(theirs).0).await;
                while hangs && host.tx.send(raw::data(theirs, &vec![7; 30_000])).await {}
                host.tx.send(raw::data(theirs, b"quick")).await;
                host.tx.send(exit_status(theirs, 0)).await;
                host.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
            }
        }
    })
    .await;
    stage.points_to(evil.port).await;
    let master = stage.master().await;
    let mut stuck = stage.over(&master, &["stuck"]).stdout(Stdio::piped()).spawn().unwrap();
    stage.door.wait_for("started", 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..5 {
        let began = Instant::now();
        let quick = ran(stage.over(&master, &["quick"])).await;
        assert_eq!((quick.code, quick.stdout.as_str()), (0, "quick"), "{quick:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    stuck.kill().await.unwrap();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_commands_arrive_byte_for_byte_and_of_the_environment_the_language_alone() {
    use std::os::unix::ffi::OsStrExt as _;
    let stage = Stage::set("").await;
    let heard: std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>> = std::sync::Arc::default();
    let told = heard.clone();
    let evil = Evil::start(move |mut host| {
        let told = told.clone();
        async move {
            host.lets_in().await;
            let Some(theirs) = host.channel(2 << 20).await else { return };
            while let Some(request) = host.any(&[msg::CHANNEL_REQUEST]).await {
                told.lock().unwrap().push(request[5..].to_vec());
                if request[9..].starts_with(b"exec") {
                    host.tx.send(Payload::of(msg::CHANNEL_SUCCESS).number(theirs).0).await;
                    return host.exits(theirs, 0).await;
                }
            }
        }
    })
    .await;
    stage.points_to(evil.port).await;
    let command = b"echo \xff\xfe '\xc3' \x01$(id)";
    let mut ssh = stage.command("ssh");
    ssh.args([
        "-o",
        "SetEnv=LANG=de_DE.UTF-8 LC_ODD=$(id) LC_ALL=C;id EMAIL=jane@firm.example LD_PRELOAD=/x PATH=/x",
    ]);
    ssh.env_clear().env("PATH", std::env::var("PATH").unwrap());
    ssh.arg(HOST).arg(std::ffi::OsStr::from_bytes(command));
    let run = ran(ssh).await;
    assert_eq!(run.code, 0, "{run:?}");
    let heard = heard.lock().unwrap().clone();
    let variable =
        |name: &str, value: &str| Payload(Vec::new()).text("env").flag(false).text(name).text(value).0;
    let expected = [
        variable("LANG", "de_DE.UTF-8"),
        variable("EMAIL", "jane@firm.example"),
        Payload(Vec::new()).text("exec").flag(true).text(command).0,
    ];
    for wanted in &expected {
        assert!(heard.contains(wanted), "{wanted:?}: {heard:?}");
    }
    assert_eq!(heard.len(), expected.len(), "{heard:?}");
    stage.close().await;
}

/// Clock ticks that this process has computed: the gateway's, and the host's.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    after.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_stuck_costs_no_computing() {
    let stage = Stage::set("").await;
    let evil = Evil::start(|mut host| async move {
        host.lets_in().await;
        let Some(theirs) = host.channel(0).await else { return };
        host.command().await;
        host.tx.send(Payload::of(msg::CHANNEL_SUCCESS).number(theirs).0).await;
        host.stays().await;
    })
    .await;
    stage.points_to(evil.port).await;
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let mut ssh = stage.command("ssh");
    let mut client = ssh.args([HOST, "takes nothing"]).stdin(Stdio::from(zero)).spawn().unwrap();
    stage.door.wait_for("started", 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = ticks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let spent = ticks() - before;
    // Of a hundred a second.
    assert!(spent < 200, "{spent} ticks in ten seconds");
    client.kill().await.unwrap();
    assert!(evil.is_left_within(5).await);
    stage.close().await;
}
