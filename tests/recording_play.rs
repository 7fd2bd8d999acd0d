//! `pforte play`, run as a person runs it. Absent on purpose: a real terminal; what would reach it is looked at.
#![expect(clippy::disallowed_methods, reason = "runs pforte and a player")]

use crate::recorded;

use std::path::Path;
use std::process::{Command, Output};

use pforte::clock::Clock;
use pforte::random::Random;
use pforte::recording::{Kept, Recordings};
use recorded::about;

/// A folder as `pforte init` makes it, and its recordings.
fn house() -> (tempfile::TempDir, Recordings) {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("gateway");
    pforte::init::run(&home, &Random::system()).unwrap();
    let identities = pforte::vault::read_identities(&home.join("state/vault.agekey")).unwrap();
    let recipients = identities.iter().map(age::x25519::Identity::to_public).collect();
    let folder = home.join("state/recordings");
    assert_eq!(folder, home.join("state/recordings"));
    let recordings = Recordings::open(&folder, recipients, identities, Clock::system()).unwrap();
    (dir, recordings)
}

async fn record(recordings: &Recordings, channel: u32, texts: &[&str]) -> Kept {
    let about = pforte::recording::About { channel, ..about(5, Some("top")) };
    let recording = recordings.begin(about).await.unwrap();
    for text in texts {
        recording.output(text.as_bytes()).await.unwrap();
    }
    recording.mark("a remark").await.unwrap();
    recording.finish(Some(0)).await.unwrap()
}

fn play(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_pforte"))
        .arg("play")
        .args(arguments)
        .arg("--config")
        .arg(dir.join("gateway"))
        .output();
    let Output { status, stdout, stderr } = run.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_recording_plays_without_what_a_terminal_would_answer_and_exports_with_it() {
    let (dir, recordings) = house();
    let name = record(&recordings, 0, &["\x1b[31mred", "\x1b]52;c;eA==\x07\x1b[6", "nend\r\n"]).await.name;
    let session = name.session().to_string();
    let (code, out, err) = play(dir.path(), &[&session]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("\x1b[31mredend\r\n") && out.ends_with("\x1b[0m\r\n"), "{out:?}");
    assert!(!out.contains("]52") && !out.contains("[6n"), "{out:?}");

    let file = dir.path().join("out.cast");
    let (code, ..) = play(dir.path(), &[&session, "--export", file.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    let cast = std::fs::read_to_string(&file).unwrap();
    let header: serde_json::Value = serde_json::from_str(cast.lines().next().unwrap()).unwrap();
    assert_eq!(header["version"], 3);
    assert_eq!(header["term"]["cols"], 80);
    assert_eq!(header["command"], "top");
    assert_eq!(header["pforte"]["user"], "firm-jane.doe");
    assert!(cast.contains("]52;c;eA==") && cast.ends_with(", \"x\", \"0\"]\n"), "{cast}");

    let (code, out, _) = play(dir.path(), &[&session, "--export", "-", "--as", "v2"]);
    assert_eq!(code, Some(0));
    let header: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&header["version"], &header["width"]), (&2.into(), &80.into()));
    assert!(!out.contains("\"x\""), "v2 knows no exit");
}

#[tokio::test]
async fn a_session_with_several_recordings_lists_them() {
    let (dir, recordings) = house();
    let name = record(&recordings, 0, &["zero"]).await.name;
    record(&recordings, 3, &["three"]).await;
    let session = name.session();
    let (code, out, err) = play(dir.path(), &[&session.to_string()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains(&format!("{session}/0  ")) && err.contains(&format!("{session}/3  ")), "{err}");
    assert!(err.contains("firm-jane.doe at praxis-mueller/backup  top"), "{err}");
    let (code, out, _) = play(dir.path(), &[&format!("{session}/3")]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("three"), "{out}");
}

#[tokio::test]
async fn damage_ends_with_1_a_missing_key_with_78_and_a_cut_is_told() {
    let (dir, recordings) = house();
    let name = record(&recordings, 0, &["seen"]).await.name;
    let session = name.session().to_string();
    let path = dir.path().join(format!("gateway/state/recordings/{name}.rec"));
    let whole = std::fs::read(&path).unwrap();

    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let (code, _, err) = play(dir.path(), &[&session]);
    assert_eq!(code, Some(1));
    assert!(err.contains("damaged at frame 1"), "{err}");

    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (code, _, err) = play(dir.path(), &[&session]);
    assert_eq!(code, Some(0));
    assert!(err.contains("cut here"), "{err}");

    let (code, _, err) = play(dir.path(), &["00000000010000000000000009"]);
    assert_eq!((code, err.as_str()), (Some(1), "there is no such recording\n"));
    let (code, ..) = play(dir.path(), &["no-ulid"]);
    assert_eq!(code, Some(64));
    std::fs::remove_file(dir.path().join("gateway/state/vault.agekey")).unwrap();
    let (code, ..) = play(dir.path(), &[&session]);
    assert_eq!(code, Some(78));
}

/// `asciinema cat` of 2.4.0 reads v2; where the tests' Python has it not, `tests/run` installs it.
#[tokio::test]
async fn asciinema_reads_what_is_exported() {
    let venv =
        std::env::var("PFORTE_VENV").unwrap_or_else(|_| format!("{}/.venv", env!("CARGO_MANIFEST_DIR")));
    let (dir, recordings) = house();
    let name = record(&recordings, 0, &["äöü 你", "\x1b[1mbold\x1b[0m\r\n"]).await.name;
    let file = dir.path().join("out.cast");
    let file = file.to_str().unwrap();
    let (code, ..) = play(dir.path(), &[&name.session().to_string(), "--export", file, "--as", "v2"]);
    assert_eq!(code, Some(0));
    let cat =
        Command::new(format!("{venv}/bin/asciinema")).args(["cat", file]).env("LC_ALL", "C.UTF-8").output();
    let cat = cat.unwrap();
    assert_eq!(String::from_utf8_lossy(&cat.stdout), "äöü 你\x1b[1mbold\x1b[0m\r\n", "{cat:?}");
}

#[tokio::test]
async fn an_interrupt_ends_the_playing_and_leaves_the_terminal_as_it_was() {
    use std::io::Read as _;
    let (dir, _) = house();
    let home = dir.path().join("gateway");
    let identities = pforte::vault::read_identities(&home.join("state/vault.agekey")).unwrap();
    let recipients = identities.iter().map(age::x25519::Identity::to_public).collect();
    let about = about(5, None);
    let (started, asked) = (about.started, std::sync::atomic::AtomicI64::new(0));
    // An hour passes between one call and the next.
    let clock = Clock::of(move || {
        let hours = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        started + jiff::SignedDuration::from_hours(hours)
    });
    let recordings = Recordings::open(&home.join("state/recordings"), recipients, identities, clock).unwrap();
    let recording = recordings.begin(about).await.unwrap();
    recording.output(b"\x1b[?1049h\x1b[?25lfirst").await.unwrap();
    recording.output(b"an hour later").await.unwrap();
    let session = recording.finish(None).await.unwrap().name.session().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pforte"))
        .args(["play", &session, "--config"])
        .arg(&home)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"first") {
        let mut byte = [0];
        out.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        rest.starts_with("\x1b[?1049l") && rest.contains("\x1b[?25h") && !rest.contains("later"),
        "{rest:?}"
    );
    // So long a pause can be cut short.
    let (code, out, _) = play(dir.path(), &[&session, "--idle-limit", "0.01", "--speed", "2"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("an hour later"));
}
