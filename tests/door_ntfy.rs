//! ntfy and callbacks through the real door: the number in ssh's own output, typed on the phone; and files that change meanwhile.
//! Absent on purpose: wrong answers one by one; `factor_ntfy.rs` has them.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::ntfy;

use std::process::Stdio;
use std::time::Duration;

use door::{Door, JANE, Setup};
use ntfy::{Ntfy, Shown};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};

const TOPIC: &str = "pforte-firm-jane_doe";

/// A free port, told to a gateway that binds it in a moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn callback(port: u16) -> String {
    format!("\n[second_factor.callback]\nlisten = \"127.0.0.1:{port}\"\nurl = \"http://127.0.0.1:{port}\"\n")
}

fn setup(ntfy: &Ntfy) -> Setup {
    let table =
        format!("\n[second_factor.ntfy]\nurl = \"{}\"\ntoken = {{ file = \"secrets/ntfy\" }}\n", ntfy.url);
    Setup {
        gateway: vec![("provider = \"webhook\"".into(), "provider = \"ntfy\"".into())],
        gateway_more: format!("{}{table}", callback(free_port())),
        files: vec![("secrets/ntfy", format!("{}\n", ntfy.token), 0o600)],
        ..Setup::default()
    }
}

/// ssh on its way in.
struct Waiting {
    ssh: Child,
    stderr: tokio::io::Lines<BufReader<ChildStderr>>,
}

impl Waiting {
    fn start(door: &Door, words: &[&str]) -> Self {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.arg("127.0.0.1").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ssh = ssh.spawn().unwrap();
        let stderr = BufReader::new(ssh.stderr.take().unwrap()).lines();
        Self { ssh, stderr }
    }

    /// The number that the SSH side shows.
    async fn number(&mut self) -> String {
        let line = async {
            loop {
                let line = self.stderr.next_line().await.unwrap().expect("ssh ended");
                if let Some((_, rest)) = line.split_once("asks for a number. Enter ") {
                    return rest[..2].to_owned();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), line).await.expect("no number")
    }

    async fn ended(mut self) -> (i32, String, String) {
        let rest = async {
            let mut text = String::new();
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                text.push_str(&line);
                text.push('\n');
            }
            text
        };
        let stderr = tokio::time::timeout(Duration::from_mins(1), rest).await.expect("ssh hangs");
        let output = self.ssh.wait_with_output().await.unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap(), stderr)
    }
}

/// Logs in as jane and does with the phone what `press` says.
async fn log_in(
    door: &Door,
    phone: &mut ntfy::Phone,
    press: impl AsyncFnOnce(Shown, String),
) -> (i32, String, String) {
    let mut waiting = Waiting::start(door, &["whoami"]);
    let (number, shown) = (waiting.number().await, phone.notified().await);
    assert!(!shown.text().contains("Number") && shown.text().contains(JANE), "{}", shown.text());
    press(shown, number).await;
    waiting.ended().await
}

async fn right(shown: Shown, number: String) {
    assert_eq!(shown.press("Approve").await.status, 200);
    assert_eq!(shown.submit("allow", &number).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_in_sshs_output_typed_on_the_phone_lets_in() {
    let ntfy = Ntfy::start();
    let mut phone = ntfy.phone(TOPIC).await;
    let door = Door::open(setup(&ntfy)).await;
    let (code, stdout, stderr) = log_in(&door, &mut phone, right).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("confirmed by: ntfy\n"), "{stdout}");
    assert_eq!(door.wait_for("login", 1).await[0]["factor"], "ntfy");
    phone.retracted().await;
    // A wrong number, a no and a report are a no to ssh, each with its own sentence and cause.
    let next = |number: &str| ((number.parse::<u32>().unwrap() - 9) % 90 + 10).to_string();
    let wrong = async |shown: Shown, number: String| {
        shown.submit("allow", &next(&number)).await;
    };
    let (code, _, stderr) = log_in(&door, &mut phone, wrong).await;
    assert!(code == 255 && stderr.contains("Not confirmed: it was denied"), "{stderr}");
    let (code, _, stderr) = log_in(&door, &mut phone, async |shown, _| drop(shown.press("Deny").await)).await;
    assert!(code == 255 && stderr.contains("Not confirmed: it was denied"), "{stderr}");
    let (code, _, stderr) =
        log_in(&door, &mut phone, async |shown, _| drop(shown.submit("fraud", "").await)).await;
    assert!(code == 255 && stderr.contains("it was reported as not yours"), "{stderr}");
    let refused = door.wait_for("refused", 3).await;
    let causes: Vec<&str> = refused.iter().map(|line| line["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["factor-denied", "factor-denied", "factor-fraud"]);
    assert_eq!(door.events("login").len(), 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_leave_the_listener_and_the_open_question_alone() {
    let ntfy = Ntfy::start();
    let mut phone = ntfy.phone(TOPIC).await;
    let mut elsewhere = ntfy.phone("pforte-new-firm-jane_doe").await;
    let door = Door::open(setup(&ntfy)).await;
    // Reloaded while the question is open.
    let mut waiting = Waiting::start(&door, &["whoami"]);
    let (number, shown) = (waiting.number().await, phone.notified().await);
    let file = door.path().join("policy/gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("\n[second_factor.ntfy]", "\n[second_factor.ntfy]\ntopic = \"pforte-new-{user}\""),
    )
    .unwrap();
    door.reload().await;
    right(shown, number).await;
    let (code, _, stderr) = waiting.ended().await;
    assert_eq!(code, 0, "{stderr}");
    // The new topic counts, over the same listener.
    let (code, _, stderr) = log_in(&door, &mut elsewhere, right).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(phone.unseen().is_empty());
    // A firm's own: the old topic again.
    let firm = format!(
        "[second_factor]\nprovider = \"ntfy\"\n[second_factor.ntfy]\nurl = \"{}\"\ntoken = {{ file = \"secrets/ntfy\" }}\n",
        ntfy.url
    );
    std::fs::create_dir_all(door.path().join("policy/firms")).unwrap();
    std::fs::write(door.path().join("policy/firms/firm.toml"), firm).unwrap();
    door.reload().await;
    let (code, _, stderr) = log_in(&door, &mut phone, right).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(door.wait_for("login", 3).await.len(), 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_with_callbacks_survives_a_reload() {
    let setup = Setup {
        gateway: vec![("[second_factor.webhook]".into(), "[second_factor.webhook]\ncallback = true".into())],
        gateway_more: callback(free_port()),
        phone_mode: pforte::factor::phone::Mode::Callback,
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    for _ in 0..3 {
        let ran = door.ssh(&["whoami"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let file = door.path().join("policy/gateway.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n# changed\n")).unwrap();
        door.reload().await;
    }
    assert_eq!(door.phone.questions(), 3);
    door.close().await;
}
