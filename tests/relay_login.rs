//! Who gets into an inner session, where it leads, and what it refuses: each refusal beside what is allowed.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;

use std::time::{Duration, Instant};

use door::{JANE, Setup, ran};
use machine::{HOST, RULES, Stage};
use serde_json::json;

const BOB: &str = "firm-bob.roe";

/// A stage where keys are held until the phone answers, so that paramiko is asked nothing.
async fn held(more: &str) -> Stage {
    let gateway_more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    Stage::with(more, Setup { rules: Some(RULES.into()), gateway_more, ..Setup::default() }).await
}

fn causes(stage: &Stage) -> Vec<String> {
    stage.door.events("refused").iter().map(|l| l["cause"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_person_with_the_same_key_gets_in() {
    let stage = held("").await;
    let bob = stage.door.make_key("bob");
    stage.door.register(BOB, &bob);
    let jane = std::fs::read_to_string(stage.door.path().join("jane.pub")).unwrap();
    let second = stage.door.make_key("jane-2");
    stage.door.register(JANE, &format!("{jane}{second}"));
    stage.door.make_key("nobody");
    stage.door.reload().await;
    let done = stage
        .steps(json!([
            ["login", BOB, "bob"],
            ["login", JANE, "bob"],
            ["login", BOB, "jane"],
            ["login", JANE, "jane-2"],
            ["login", JANE, "nobody"],
            ["login", "root", "jane"],
            ["password", JANE],
            ["channel-without-login"],
            ["login", JANE, "jane"],
            ["run", "echo in"]
        ]))
        .await;
    for refused in &done[..8] {
        assert!(refused["error"].is_string(), "{done:#?}");
    }
    assert_eq!(done[8]["ok"], true, "{done:#?}");
    assert_eq!(done[9]["ok"], json!(["in\n", "", 0]), "{done:#?}");
    let causes = causes(&stage);
    assert_eq!(causes.iter().filter(|c| *c == "inner-login-as-another-user").count(), 3, "{causes:?}");
    assert_eq!(causes.iter().filter(|c| *c == "inner-login-with-another-key").count(), 3, "{causes:?}");
    assert!(causes.iter().any(|c| c == "inner-login: password"), "{causes:?}");
    assert_eq!(stage.door.phone.questions(), 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_as_somebody_else_is_told_as_whom_to() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-l", "support", HOST, "true"]);
    let refused = ran(ssh).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    // The gateway itself is asked as support too, where the configuration names no user for it.
    let mut ssh = stage.command("ssh");
    ssh.args(["-o", "ProxyJump=none", "-o"]);
    ssh.arg(format!("ProxyCommand=ssh -F {} -W %h:22 gateway", stage.config.display()));
    ssh.args(["-l", "support", HOST, "true"]);
    let refused = ran(ssh).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    assert!(refused.stderr.contains("log in as firm-jane.doe"), "{refused:?}");
    assert!(causes(&stage).contains(&"inner-login-as-another-user".to_owned()));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_taken_away_opens_no_inner_session_and_ends_what_it_opened() {
    let stage = held("").await;
    let began = Instant::now();
    let away = async {
        stage.door.register(JANE, &stage.door.make_key("other"));
        stage.door.reload().await;
        stage.door.house.front().recheck();
    };
    let steps = json!([
        ["login", JANE, "jane"],
        ["run", "echo in"],
        ["wait-file"],
        ["run", "echo still"],
        ["login", JANE, "jane"]
    ]);
    let done = Box::pin(stage.steps_at(HOST, 22, steps, away)).await;
    assert_eq!(done[1]["ok"], json!(["in\n", "", 0]), "{done:#?}");
    assert!(done[3]["error"].is_string() && done[4]["error"].is_string(), "{done:#?}");
    assert!(began.elapsed() < Duration::from_mins(1));
    let finished = stage.door.wait_for("finished", 3).await;
    assert!(finished.iter().any(|l| l["cause"] == "key-removed"), "{finished:#?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_host_port_or_address_is_reached() {
    let stage = held("").await;
    let port = u64::from(stage.sshd.port);
    let done = stage
        .steps(json!([
            ["open", "portal.praxis-mueller.example", 22],
            ["open", "backup.praxis-meier.example", 22],
            ["open", HOST, 25],
            ["open", "127.0.0.1", port],
            ["open", "127.0.0.1", 22],
            ["open", "localhost", port],
            ["open", "BACKUP.Praxis-Mueller.example.", 22]
        ]))
        .await;
    for refused in &done[..6] {
        let why = refused["error"].as_str().unwrap();
        assert!(why.contains("Administratively prohibited"), "{why}");
    }
    assert_eq!(done[6]["ok"], "open", "a name is a name in any case of letters: {done:#?}");
    let causes = causes(&stage);
    assert_eq!(causes.iter().filter(|c| *c == "no-such-host").count(), 6, "{causes:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_no_rule_names_looks_like_one_that_does_not_exist() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop portal\"]\non = [\"praxis-mueller\"]\n";
    let gateway_more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    let stage = Stage::with("", Setup { rules: Some(rules.into()), gateway_more, ..Setup::default() }).await;
    let done = stage.steps(json!([["open", HOST, 22], ["open", "backup.nowhere.example", 22]])).await;
    assert_eq!(done[0], done[1]);
    assert_eq!(causes(&stage), ["no-rule", "no-such-host"]);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jumps_are_one_too_many() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args([
        "-o",
        "ProxyJump=gateway,backup.praxis-mueller.example",
        "-o",
        "ConnectTimeout=20",
        "portal.praxis-mueller.example",
        "true",
    ]);
    let refused = ran(ssh).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    assert!(refused.stderr.contains("that is not forwarded here"), "{refused:?}");
    let refused = stage.door.wait_for("refused", 1).await;
    assert!(
        refused.iter().any(|l| l["cause"] == "not-forwarded"
            && l["command"] == "direct-tcpip portal.praxis-mueller.example:22")
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_lead_where_the_file_says_and_agents_x11_and_ways_back_nowhere() {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.ok();
        }
    });
    let stage = held(&format!("forwards = [\"127.0.0.1:{port}\"]")).await;
    let done = stage
        .steps(json!([
            ["login", JANE, "jane"],
            ["forward", "127.0.0.1", port],
            ["forward", "127.0.0.1", 22],
            ["forward", "localhost", port],
            ["reverse"],
            [
                "requests",
                [
                    ["auth-agent-req@openssh.com", false],
                    ["x11-req", false, false, "MIT-MAGIC-COOKIE-1", "00", 0]
                ],
                "echo lives"
            ],
            ["run", "echo and more"]
        ]))
        .await;
    assert_eq!(done[1]["ok"], "hello", "{done:#?}");
    assert!(
        done[2]["error"].is_string() && done[3]["error"].is_string() && done[4]["error"].is_string(),
        "{done:#?}"
    );
    let odd = done[5]["ok"].as_array().unwrap();
    assert_eq!((&odd[0], &odd[2]), (&json!("lives\n"), &json!(0)), "{done:#?}");
    assert!(odd[1].as_str().unwrap().contains("agent forwarding is refused here"), "{done:#?}");
    assert!(odd[1].as_str().unwrap().contains("X11 forwarding is refused here"), "{done:#?}");
    assert_eq!(done[6]["ok"], json!(["and more\n", "", 0]));
    let finished = stage.door.wait_for("finished", 5).await;
    let forward = finished.iter().find(|l| l["command"] == format!("direct-tcpip 127.0.0.1:{port}")).unwrap();
    assert_eq!(
        (&forward["bytes_in"], &forward["bytes_out"], &forward["exit"]),
        (&5.into(), &5.into(), &0.into())
    );
    let causes = causes(&stage);
    assert_eq!(causes.iter().filter(|c| *c == "not-forwarded").count(), 3, "{causes:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_end_no_more_than_their_own_session() {
    let stage = held("").await;
    let done = stage
        .steps(json!([
            ["login", JANE, "jane"],
            ["requests", [["no-such-request@example.com", false], ["break", false, 500]], "echo one"],
            ["modes", 120],
            ["modes", 131]
        ]))
        .await;
    assert_eq!(done[1]["ok"], json!(["one\n", "", 0]), "{done:#?}");
    assert_eq!(done[2]["ok"][2], 0, "{done:#?}");
    assert!(done[3]["error"].is_string() || done[3]["ok"][2] != 0, "{done:#?}");
    // The gateway is there all the same.
    assert_eq!(stage.ssh(&["echo there"]).await.stdout, "there\n");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_confirms_asks_the_phone_for_the_host_by_name_and_takes_no_for_an_answer() {
    let rules = format!("{RULES}confirm = true\n");
    let stage = Stage::with("", Setup { rules: Some(rules), ..Setup::default() }).await;
    let asked = stage.ssh(&["echo in"]).await;
    assert_eq!((asked.code, asked.stdout.as_str()), (0, "in\n"), "{asked:?}");
    assert!(
        asked.stderr.contains("The way to backup.praxis-mueller.example wants to be confirmed."),
        "{asked:?}"
    );
    assert_eq!(stage.door.phone.questions(), 2, "the login's and the host's");
    let question = std::fs::read_to_string(stage.door.path().join("phone.log")).unwrap_or_default();
    assert!(question.is_empty() || question.contains("hop backup -i praxis-mueller"), "{question}");

    let mut ssh = stage.command("ssh");
    ssh.args(["-M", "-N", "-f", "-o", "ControlPersist=yes", "-S"])
        .arg(stage.door.path().join("m"))
        .arg("gateway");
    assert_eq!(ran(ssh).await.code, 0);
    stage.door.phone_does("deny");
    let mut ssh = stage.command("ssh");
    let proxy = format!(
        "ProxyCommand=ssh -F {} -S {} -W %h:22 gateway",
        stage.config.display(),
        stage.door.path().join("m").display()
    );
    ssh.args(["-o", &proxy, "-o", "ProxyJump=none", HOST, "echo never"]);
    let denied = ran(ssh).await;
    assert_eq!(denied.code, 255, "{denied:?}");
    assert!(denied.stderr.contains("Not confirmed: it was denied on the phone"), "{denied:?}");
    assert!(!denied.stdout.contains("never"));
    assert!(causes(&stage).contains(&"factor-denied".to_owned()), "{:?}", causes(&stage));
    assert_eq!(stage.sshd.connections(), 0, "nothing was dialled");
    let mut bye = stage.command("ssh");
    bye.arg("-S").arg(stage.door.path().join("m")).args(["-O", "exit", "gateway"]);
    ran(bye).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_taken_away_ends_the_session_within_a_second_and_says_so() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args([HOST, "echo begun; sleep 60"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let mut begun = [0; 6];
    tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut begun).await.unwrap();
    std::fs::write(stage.door.path().join("policy/rules.toml"), RULES.replace("hop backup", "hop portal"))
        .unwrap();
    stage.door.reload().await;
    let since = Instant::now();
    let output =
        tokio::time::timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap().unwrap();
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{stderr}");
    assert!(stderr.contains("No rule lets you do"), "{stderr}");
    let refused = stage.door.wait_for("refused", 1).await;
    assert!(refused.iter().any(|l| l["cause"].as_str().unwrap().starts_with("withdrawn")), "{refused:#?}");
    for _ in 0..300 {
        if stage.sshd.connections() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.sshd.connections(), 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_another_key_is_refused_whatever_its_kind_and_pinned_or_kept() {
    for pinned in [true, false] {
        for kind in ["ed25519", "ecdsa"] {
            let mut stage = Stage::set("").await;
            if pinned {
                let file = stage.door.path().join("policy/sites/praxis-mueller.toml");
                let site = std::fs::read_to_string(&file).unwrap();
                let site = site.replace(
                    "login = \"root\"",
                    &format!("login = \"root\"\nhost_key = \"{}\"", stage.sshd.host_key()),
                );
                std::fs::write(&file, site).unwrap();
                stage.door.reload().await;
            }
            assert_eq!(stage.ssh(&["true"]).await.code, 0);
            let seen = stage
                .door
                .events("loaded")
                .iter()
                .filter(|l| l["cause"].as_str().unwrap_or_default().starts_with("host key first seen"))
                .count();
            assert_eq!(seen, usize::from(!pinned));
            stage.sshd.changes_its_key(kind, "").await;
            let refused = stage.ssh(&["echo never"]).await;
            assert_eq!((refused.code, refused.stdout.as_str()), (69, ""), "{refused:?}");
            assert!(refused.stderr.contains("shows another host key"), "{refused:?}");
            let finished = stage.door.wait_for("finished", 6).await;
            assert!(
                finished
                    .iter()
                    .any(|l| l["cause"].as_str().unwrap_or_default().starts_with("host-key-changed")),
                "{finished:#?}"
            );
            stage.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_operator_changes_counts_for_the_next_channel_of_a_running_session() {
    let stage = Stage::set("").await;
    let master = stage.master().await;
    assert_eq!(ran(stage.over(&master, &["true"])).await.code, 0);
    let file = stage.door.path().join("policy/sites/praxis-mueller.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    std::fs::write(&file, site.replace(&format!("127.0.0.1:{}", stage.sshd.port), &nobody.to_string()))
        .unwrap();
    stage.door.reload().await;
    // The connection that is spare may still be used; the one after it is not to the old address.
    let held = stage.over(&master, &["sleep 30"]).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let next = ran(stage.over(&master, &["true"])).await;
    assert_eq!(next.code, 69, "{next:?}");
    drop(held);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_let_the_gateway_in_is_told_of() {
    let stage = Stage::set("").await;
    stage.sshd.authorize("");
    let refused = stage.ssh(&["true"]).await;
    assert_eq!(refused.code, 69, "{refused:?}");
    assert!(refused.stderr.contains("does not let this gateway in"), "{refused:?}");
    stage.close().await;
}
