//! A recording when its process is killed and when its disk is full. Absent on purpose: a power cut, which no test of one machine makes.
#![expect(clippy::disallowed_methods, reason = "kills itself as a child process, and mounts a small disk")]

use crate::recorded;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use age::x25519::Identity;
use pforte::clock::Clock;
use pforte::recording::{CannotRecord, Code, Ending, RecordingName, Recordings};
use recorded::about;

/// Says to the test executable that it is the child, and where it writes.
const CHILD: &str = "PFORTE_TEST_RECORDING_CHILD";

/// The numbers that a recording's output counts, and how it ends.
fn counted(recordings: &Recordings, name: &RecordingName) -> (Vec<u64>, Ending) {
    let mut playback = recordings.read(name).unwrap();
    let mut text = String::new();
    for event in playback.by_ref() {
        let event = event.unwrap();
        assert_eq!(event.code, Code::Output);
        text.push_str(&event.data);
    }
    (text.lines().map(|line| line.trim().parse().unwrap()).collect(), playback.ending().unwrap().clone())
}

/// Not a claim of its own: what [`a_recording_whose_process_is_killed_plays_up_to_the_cut`] starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_records_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let key = std::fs::read_to_string(Path::new(&dir).join("key")).unwrap();
    let recipients = vec![key.parse::<Identity>().unwrap().to_public()];
    let folder = Path::new(&dir).join("recordings");
    let recordings = Recordings::open(&folder, recipients, vec![], Clock::system()).unwrap();
    let recording = recordings.begin(about(9, None)).await.unwrap();
    writeln!(std::io::stdout(), "begun {}", recording.name()).unwrap();
    for n in 0_u64.. {
        recording.output(format!("{n}\r\n").as_bytes()).await.unwrap();
        // All but what the last half second holds is in the file once so much more was taken.
        if n % 1000 == 0 {
            writeln!(std::io::stdout(), "taken {n}").unwrap();
        }
    }
}

#[test]
fn a_recording_whose_process_is_killed_plays_up_to_the_cut() {
    use age::secrecy::ExposeSecret as _;
    for round in 0..4_u64 {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        std::fs::write(dir.path().join("key"), identity.to_string().expose_secret()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "recording_crash::child_that_records_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut name, mut taken) = (None, 0);
        let until = 20_000 + round * 30_000;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some((_, begun)) = line.rsplit_once("begun ") {
                name = Some(begun.parse::<RecordingName>().unwrap());
            }
            if let Some(n) = line.rsplit_once("taken ").and_then(|(_, n)| n.parse::<u64>().ok()) {
                taken = n;
                if n >= until {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let folder = dir.path().join("recordings");
        let recordings = Recordings::open(&folder, vec![], vec![identity], Clock::system()).unwrap();
        let (numbers, ending) = counted(&recordings, &name.unwrap());
        assert_eq!(ending, Ending::Cut);
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "a number is missing before the cut");
        // No more than the unwritten queue may be lost: 512 KiB of output, each call some 30 bytes as a line of the cast.
        let read = numbers.len() as u64;
        assert!(read + 110_000 >= taken && read > 0, "{read} of {taken}");
    }
}

/// A tmpfs; dropped, it is unmounted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-t", "tmpfs", "-o", &options, "pforte-test"]).arg(dir.path()).output().unwrap();
        assert!(mounted.status.success(), "this test needs root and CAP_SYS_ADMIN, to mount a small disk");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_recording_and_what_fitted_plays() {
    let disk = SmallDisk::mount("1m");
    let recordings = recorded::open(&disk.0.path().join("recordings"));
    let recording = recordings.begin(about(1, None)).await.unwrap();
    let mut error = None;
    for n in 0..20_000_000_u64 {
        if let Err(e) = recording.output(format!("{n}\r\n").as_bytes()).await {
            error = Some(e);
            break;
        }
    }
    assert_eq!(error, Some(CannotRecord::Full));
    assert_eq!(recording.failed().await, CannotRecord::Full);
    assert_eq!(recording.finish(Some(0)).await, Err(CannotRecord::Full));
    let (numbers, ending) = counted(&recordings, recording.name());
    assert_eq!(ending, Ending::Cut);
    assert!(numbers.len() > 1000 && numbers.iter().copied().eq(0..numbers.len() as u64));
    // And no other begins; nothing of it stays.
    assert_eq!(recordings.begin(about(2, None)).await.err(), Some(CannotRecord::Full));
    assert_eq!(recordings.of(about(2, None).session).unwrap(), []);
}

/// A target that floods is held up by the disk, not kept in memory; a caller that went away while it waited has recorded nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_recorded_whole_and_a_dropped_call_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = recorded::open(dir.path());
    let recording = recordings.begin(about(1, None)).await.unwrap();
    let piece = "a line of text that floods the terminal, and some more of it\r\n".repeat(500);
    let (mut taken, mut dropped) = (0, 0);
    for _ in 0..600 {
        match tokio::time::timeout(Duration::from_micros(300), recording.output(piece.as_bytes())).await {
            Ok(done) => {
                done.unwrap();
                taken += 1;
            }
            Err(_) => dropped += 1,
        }
    }
    let kept = recording.finish(None).await.unwrap();
    let mut playback = recordings.read(&kept.name).unwrap();
    let length: usize = playback.by_ref().map(|event| event.unwrap().data.len()).sum();
    assert_eq!(length, taken * piece.len(), "{dropped} dropped");
    assert!(matches!(playback.ending(), Some(Ending::Whole { .. })));
}
