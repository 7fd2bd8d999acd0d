//! Codes by SMS at the door: OpenSSH types them; plink and batch jobs are told.
//! Absent on purpose: gateways that fail; those are `factor_sms`.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::sms_desk;

use std::path::Path;
use std::time::{Duration, Instant};

use door::{Door, JANE, Ran, Setup, ran};
use sms_desk::{Desk, PHONE, SERVICES, code_in};
use tokio::net::TcpListener;

const BOB: &str = "firm-bob.roe";

/// Jane has a phone; bob has none.
const FIRM: &str = "name = \"Firma\"\n[people.\"firm-jane.doe\"]\nphone = \"+49 151 1234-5678\"\n";

/// A door, the desk its SMS go to, and the folder where the last one lies.
struct Post {
    door: Door,
    desk: Desk,
    dir: tempfile::TempDir,
}

/// A gateway with `first` and `second` for factors, and seven for SMS.
async fn open(first: &str, second: &str, setup: Setup) -> Post {
    let dir = tempfile::tempdir().unwrap();
    let (service, settings, status, answer) = SERVICES[0];
    let desk = Desk::writing(status, answer, Some(dir.path().join("sms"))).await;
    let settings = settings.replace("\"key\"", "\"secrets/seven\"");
    let sms = format!("\n[second_factor.sms]\n{}", desk.settings(service, &settings));
    let second = if second.is_empty() { String::new() } else { format!("\nsecond = \"{second}\"") };
    let setup = Setup {
        gateway: vec![("provider = \"webhook\"".into(), format!("provider = \"{first}\"{second}"))],
        gateway_more: format!("{sms}{}", setup.gateway_more),
        files: vec![
            ("policy/firms/firm.toml", FIRM.into(), 0o644),
            ("secrets/seven", "s3cret\n".into(), 0o600),
        ],
        ..setup
    };
    let door = Door::open(setup).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    door.reload().await;
    Post { door, desk, dir }
}

/// OpenSSH, which has these lines typed by an askpass program, one a question; `CODE` is the one of the last SMS.
async fn ssh_typing(post: &Post, user: &str, key: &str, lines: &[&str]) -> Ran {
    let (askpass, list) = (post.dir.path().join("askpass"), post.dir.path().join("lines"));
    std::fs::write(&list, lines.join("\n") + "\n").unwrap();
    let script = format!(
        "#!/bin/sh\nline=$(head -n 1 '{0}'); sed -i 1d '{0}'; echo \"$1\" >> '{1}/prompts'\n\
         [ \"$line\" = CODE ] && line=$(sed 's/.*Code \\([0-9]*\\).*/\\1/' '{1}/sms')\necho \"$line\"\n",
        list.display(),
        post.dir.path().display()
    );
    std::fs::remove_file(&askpass).ok();
    pforte::init::write_new(&askpass, script.as_bytes(), 0o700).unwrap();
    let mut ssh = post.door.ssh_command(user, key);
    ssh.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":none");
    ssh.args(["127.0.0.1", "whoami"]);
    ran(ssh).await
}

fn prompts(post: &Post) -> String {
    std::fs::read_to_string(post.dir.path().join("prompts")).unwrap()
}

/// Everything that the gateway has written so far.
fn written(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(written(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_the_sms_opens_and_is_kept_nowhere() {
    let post = open("sms", "", Setup::default()).await;
    let ran = ssh_typing(&post, JANE, "jane", &["CODE"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("confirmed by: sms\n"), "{ran:?}");
    assert!(ran.stderr.contains("A code is on its way by SMS to ...78."), "{ran:?}");
    let sent = post.desk.sent();
    assert_eq!((sent.len(), sent[0].json()["to"].as_str()), (1, Some(PHONE)));
    let code = code_in(&sent[0].body);
    assert_eq!(
        sent[0].json()["text"].as_str().unwrap(),
        format!(
            "Code {code}: login to the maintenance gateway. Firm firm, {JANE}, from 127.0.0.1. Not you? Tell nobody."
        )
    );
    let login = post.door.wait_for("login", 1).await;
    assert_eq!(login[0]["factor"], "sms", "{login:?}");
    let kept = written(&post.door.path().join("state"));
    for secret in [code.as_str(), &PHONE[1..], "1234-5678", "s3cret"] {
        assert!(!kept.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} was written down");
    }
    // The same code a second time is one of three wrong ones, and the second SMS has another.
    let again = ssh_typing(&post, JANE, "jane", &[&code, &code, &code]).await;
    assert_eq!(again.code, 255, "{again:?}");
    assert!(again.stderr.contains("the code was wrong"), "{again:?}");
    assert_eq!(post.desk.sent().len(), 2);
    assert_eq!(post.door.wait_for("refused", 1).await[0]["cause"], "factor-denied: wrong code");
    assert_eq!(post.door.events("login").len(), 1);
    post.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_app_comes_first_the_word_sms_sends_one() {
    let post = open("totp", "sms", Setup::default()).await;
    let ran = ssh_typing(&post, JANE, "jane", &["sms", "000", "CODE"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("confirmed by: sms\n"), "{ran:?}");
    assert!(prompts(&post).contains("Code (or sms): "), "{}", prompts(&post));
    assert_eq!((post.desk.sent().len(), post.door.events("login")[0]["factor"].as_str()), (1, Some("sms")));
    post.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_phone_service_is_down_an_sms_is_offered_and_opens() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let phone_url = Some(format!("http://{closed}/ask"));
    let post = open("webhook", "sms", Setup { phone_url, ..Setup::default() }).await;
    let ran = ssh_typing(&post, JANE, "jane", &["sms", "CODE"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(prompts(&post).contains("No answer. Instead: sms?"), "{}", prompts(&post));
    assert_eq!((post.desk.sent().len(), post.door.events("login")[0]["factor"].as_str()), (1, Some("sms")));
    post.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_phone_on_file_is_told_and_nothing_is_sent() {
    let post = open("sms", "", Setup::default()).await;
    let ran = ssh_typing(&post, BOB, "bob", &["123456"]).await;
    assert_eq!(ran.code, 255, "{ran:?}");
    assert!(ran.stderr.contains("no phone number of yours is on file"), "{ran:?}");
    let refused = post.door.wait_for("refused", 1).await;
    assert_eq!(refused[0]["cause"], "factor-failed: no phone number on file");
    assert!(post.desk.sent().is_empty());
    post.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plink_in_a_batch_is_told_and_does_not_hang_and_a_held_key_sends_nothing() {
    let more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    let post = open("sms", "", Setup::default()).await;
    let start = Instant::now();
    let plink = post.door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    assert!(plink.code != 0 && plink.stdout.is_empty(), "{plink:?}");
    // It shows nothing of a question that has a prompt, but says why it stops.
    assert!(plink.stderr.contains("Cannot answer interactive prompts in batch mode"), "{plink:?}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(post.desk.sent().len(), 1);
    post.door.wait_for("refused", 1).await;
    assert!(post.door.events("login").is_empty());
    post.door.close().await;

    let post = open("sms", "", Setup { gateway_more: more, ..Setup::default() }).await;
    let batch = post.door.ssh_as(JANE, "jane", &["-o", "BatchMode=yes"], &["whoami"]).await;
    assert_eq!(batch.code, 255, "{batch:?}");
    let refused = post.door.wait_for("refused", 1).await;
    assert_eq!(refused[0]["cause"], "no-second-factor");
    assert!(post.desk.sent().is_empty());
    post.door.close().await;
}
