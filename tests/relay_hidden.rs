//! What a technician may try so that a deed is on no record, and is on record all the same.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;

use std::time::{Duration, Instant};

use door::{JANE, Setup, ran};
use machine::{HOST, RULES, Stage};
use serde_json::json;

async fn held(rules: &str, more: &str) -> Stage {
    let gateway_more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    Stage::with(more, Setup { rules: Some(rules.into()), gateway_more, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_goes_through_a_terminal_is_on_record() {
    let stage = held(RULES, "").await;
    let file = |name: &str| stage.sshd.path().join(name).display().to_string();
    let done = stage
        .steps(json!([
            ["login", JANE, "jane"],
            ["sftp-on-terminal", "subsystem", file("by-subsystem"), "eins"],
            ["sftp-on-terminal", "/usr/lib/openssh/sftp-server", file("by-command"), "zwei"]
        ]))
        .await;
    assert_eq!((&done[1]["ok"], &done[2]["ok"]), (&json!("written"), &json!("written")), "{done:#?}");
    let moved = stage.door.wait_for("file", 2).await;
    for name in ["by-subsystem", "by-command"] {
        assert!(moved.iter().any(|l| l["path"] == file(name) && l["bytes"] == 4), "{name}: {moved:#?}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_whose_session_is_ended_for_its_flood_is_on_record() {
    let stage = held(RULES, "").await;
    let began = Instant::now();
    let done = stage
        .steps(json!([["login", JANE, "jane"], ["shell", "echo boese > /dev/null\nexec sleep 1000\n", 1600]]))
        .await;
    assert!(began.elapsed() < Duration::from_mins(1), "{done:?}");
    let finished = stage.door.wait_for("finished", 3).await;
    let line = finished.iter().find(|l| l["channel"] == 0).unwrap_or_else(|| panic!("{finished:#?}"));
    assert!(line["cause"].as_str().unwrap().starts_with("overfull"), "{line}");
    let scripts = stage.door.events("input");
    let begins = |l: &serde_json::Value| l["command"].as_str().unwrap_or_default().starts_with("echo boese");
    assert!(scripts.iter().any(|l| l["obtained"] == "script" && begins(l)), "{scripts:#?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_on_record_to_its_last_byte_however_long_it_is() {
    let stage = Stage::set("").await;
    let long = format!(": {}; echo hidden-tail", "A".repeat(100_000));
    let run = stage.ssh(&[&long]).await;
    assert_eq!((run.code, run.stdout.as_str()), (0, "hidden-tail\n"));
    let journal: String =
        stage.door.journal().iter().map(|l| l["command"].as_str().unwrap_or_default()).collect();
    assert!(journal.contains("hidden-tail"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_on_record_though_it_looks_like_something_else() {
    let stage = held(RULES, "").await;
    let done = stage
        .steps(json!([
            ["login", JANE, "jane"],
            ["shell", "\u{0}\u{0}\u{0}\u{5}\u{1}\u{0}\u{0}\u{0}\u{3}\necho as-sftp\n"],
            ["shell", "\u{0}\necho as-binary\n"]
        ]))
        .await;
    assert!(done[1]["ok"][0].as_str().unwrap().contains("as-sftp"), "{done:?}");
    assert!(done[2]["ok"][0].as_str().unwrap().contains("as-binary"), "{done:?}");
    let scripts = stage.door.events("input");
    for hidden in ["as-sftp", "as-binary"] {
        let kept = |l: &serde_json::Value| l["command"].as_str().is_some_and(|c| c.contains(hidden));
        assert!(scripts.iter().any(kept), "{hidden}: {scripts:#?}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_a_killed_client_is_on_record_and_what_ran_is_gone() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-T", HOST]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut client = ssh.spawn().unwrap();
    let stdin = client.stdin.as_mut().unwrap();
    tokio::io::AsyncWriteExt::write_all(stdin, b"echo begun; exec sleep 1000\n").await.unwrap();
    let mut begun = [0; 6];
    tokio::io::AsyncReadExt::read_exact(client.stdout.as_mut().unwrap(), &mut begun).await.unwrap();
    client.kill().await.unwrap();
    let scripts = stage.door.wait_for("input", 1).await;
    assert_eq!(scripts[0]["command"], "echo begun; exec sleep 1000\n");
    let finished = stage.door.wait_for("finished", 2).await;
    assert!(finished.iter().any(|l| l["recording"].is_string() && l["sha256"].is_string()), "{finished:#?}");
    for _ in 0..500 {
        if stage.sshd.connections() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.sshd.connections(), 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_ends_when_its_own_right_is_taken_away_and_the_session_stays() {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    let stage = Stage::set(&format!("forwards = [\"127.0.0.1:{port}\"]")).await;
    let master = stage.master().await;
    let mut forward = stage.command("ssh");
    let way = format!("127.0.0.1:{port}");
    forward.arg("-S").arg(master.socket()).args(["-W", &way, HOST]).stdin(std::process::Stdio::piped());
    let mut forward = forward.spawn().unwrap();
    let (_held, _) = echo.accept().await.unwrap();
    std::fs::write(stage.door.path().join("policy/rules.toml"), RULES.replace(", \"forward backup\"", ""))
        .unwrap();
    stage.door.reload().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), forward.wait()).await;
    assert!(ended.is_ok(), "the forward goes on");
    let still = ran(stage.over(&master, &["echo still"])).await;
    assert_eq!((still.code, still.stdout.as_str()), (0, "still\n"), "{still:?}");
    let refused = stage.door.wait_for("refused", 1).await;
    assert!(refused.iter().any(|l| l["cause"].as_str().unwrap().starts_with("withdrawn")), "{refused:#?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_would_need_a_confirmation_and_cannot_get_one_is_on_record() {
    let rules = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\"]\non = [\"praxis-mueller\"]\n\
                 [[rule]]\nwho = [\"firm-*\"]\nmay = [\"forward backup\"]\non = [\"praxis-mueller\"]\nconfirm = true\n";
    let stage = held(rules, "forwards = [\"127.0.0.1:4711\"]").await;
    let done = stage.steps(json!([["login", JANE, "jane"], ["forward", "127.0.0.1", 4711]])).await;
    assert!(done[1]["error"].is_string(), "{done:?}");
    let refused = stage.door.wait_for("refused", 1).await;
    assert_eq!(
        (&refused[0]["cause"], &refused[0]["command"]),
        (&json!("not-confirmed"), &json!("direct-tcpip 127.0.0.1:4711"))
    );
    stage.close().await;
}
