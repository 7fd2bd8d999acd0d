//! The journal as a whole folder: chain, days, heads, opening after a crash, and search.
//! Absent on purpose: power and space running out (`journal_crash.rs`), and damage (`journal_damage.rs`).

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use jiff::{SignedDuration, Timestamp};
use pforte::clock::Clock;
use pforte::journal::{
    self, CannotJournal, Entry, Event, Filter, Journal, Kind, OpenError, Options, Report, Written,
};
use pforte::names::SessionId;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

const START: &str = "2026-11-21T23:50:00Z";

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

/// A clock that stands until it is moved.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        let start: Timestamp = START.parse().unwrap();
        Clock::of(move || start + SignedDuration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

fn options() -> Options {
    Options { reserve: 64 << 10 }
}

async fn open(dir: &Path, clock: Clock) -> Result<Journal, OpenError> {
    Journal::open(dir, key(), clock, options()).await
}

fn started(command: &str) -> Entry {
    Entry {
        user: Some("firm-jane.doe".parse().unwrap()),
        site: Some("praxis-mueller".parse().unwrap()),
        command: Some(command.into()),
        ..Entry::new(Event::Started)
    }
}

fn lines(dir: &Path) -> Vec<serde_json::Value> {
    let lines = journal::search(dir, Filter::default()).unwrap();
    lines.map(|line| serde_json::from_str(line.unwrap().json()).unwrap()).collect()
}

fn verify(dir: &Path) -> Report {
    journal::verify(dir, key().public_key()).unwrap()
}

#[track_caller]
fn assert_sound(dir: &Path) {
    let report = verify(dir);
    assert!(report.is_sound(), "{report}");
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|n| n.starts_with("20")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn lines_are_numbered_and_chained_from_zeros_over_days_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::default();
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    assert_eq!(journal.append(started("sites")).await, Ok(Written { seq: 2 }));
    hand.forward(20 * 60);
    // The old file's head is number 3.
    assert_eq!(journal.append(started("sites")).await, Ok(Written { seq: 4 }));
    journal.close().await.unwrap();
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(files(dir.path()), ["2026-11-21.jsonl", "2026-11-22.jsonl"]);
    let mut prev = journal::Hash::ZERO;
    let mut count = 0;
    for file in files(dir.path()) {
        let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
        for line in text.lines() {
            count += 1;
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&value["seq"], &value["prev"]), (&count.into(), &prev.to_string().into()));
            prev = journal::Hash::of(line.as_bytes());
        }
        assert!(text.lines().last().unwrap().contains("\"event\":\"head\""));
    }
    let events: Vec<_> = lines(dir.path()).iter().map(|l| l["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["loaded", "started", "head", "started", "head", "loaded", "head"]);
    assert_sound(dir.path());
}

#[tokio::test]
async fn a_head_cannot_be_written_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), Hand::default().clock()).await.unwrap();
    assert_eq!(journal.append(Entry::new(Event::Head)).await, Err(CannotJournal::NotYours));
    assert_eq!(lines(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_clock_that_goes_back_never_leads_into_an_older_file() {
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::default();
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    hand.forward(86400);
    journal.append(started("a")).await.unwrap();
    hand.forward(-2 * 86400);
    journal.append(started("b")).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(files(dir.path()), ["2026-11-21.jsonl", "2026-11-22.jsonl"]);
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    assert_sound(dir.path());
}

#[tokio::test]
async fn a_head_comes_every_five_minutes_if_something_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::default();
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    for seconds in [299, 1, 10, 290] {
        hand.forward(seconds);
        journal.append(started("a")).await.unwrap();
    }
    let heads: Vec<_> =
        lines(dir.path()).iter().filter(|l| l["event"] == "head").map(|l| l["seq"].clone()).collect();
    // loaded, a, head, a, a, head: the last "a" comes five minutes after the first head.
    assert_eq!(heads, [3, 6]);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the claim is about the system's ssh-keygen")]
async fn ssh_keygen_verifies_a_head_and_refuses_it_for_another_text() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir.path().join("journal"), Hand::default().clock()).await.unwrap();
    journal.append(started("sites")).await.unwrap();
    journal.close().await.unwrap();
    let head = lines(&dir.path().join("journal")).pop().unwrap();
    let signed = head["signed"].as_str().unwrap();
    assert_eq!(signed, format!("2 {}\n", head["prev"].as_str().unwrap()));
    std::fs::write(dir.path().join("sig"), head["signature"].as_str().unwrap()).unwrap();
    let signers = format!("pforte {}\n", key().public_key().to_openssh().unwrap());
    std::fs::write(dir.path().join("allowed_signers"), signers).unwrap();
    for (text, good) in [(signed, true), (&*signed.replace('2', "3"), false)] {
        let mut keygen = std::process::Command::new("ssh-keygen")
            .args([
                "-Y",
                "verify",
                "-f",
                "allowed_signers",
                "-I",
                "pforte",
                "-n",
                journal::NAMESPACE,
                "-s",
                "sig",
            ])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        keygen.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert_eq!(keygen.wait().unwrap().success(), good);
    }
}

#[tokio::test]
async fn a_second_writer_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), Hand::default().clock()).await.unwrap();
    let refused = open(dir.path(), Hand::default().clock()).await.err().unwrap();
    assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
    first.close().await.unwrap();
    assert_eq!(first.append(started("late")).await, Err(CannotJournal::Closed));
    assert!(first.health().is_err());
    assert_eq!(first.close().await, Err(CannotJournal::Closed));
    let second = open(dir.path(), Hand::default().clock()).await.unwrap();
    assert_eq!(second.health(), Ok(()));
    second.append(started("next")).await.unwrap();
}

/// A journal of some lines, closed; returns the newest file.
async fn closed(dir: &Path) -> std::path::PathBuf {
    let journal = open(dir, Hand::default().clock()).await.unwrap();
    for n in 0..5 {
        journal.append(started(&format!("command {n}"))).await.unwrap();
    }
    journal.close().await.unwrap();
    dir.join(files(dir).pop().unwrap())
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_kept_in_the_loaded_line() {
    for torn in [&b"{\"seq\":8,\"ti"[..], b"{\"seq\":8,\"ti\0\0\0\n", &[0; 5000]] {
        let dir = tempfile::tempdir().unwrap();
        let file = closed(dir.path()).await;
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(torn).unwrap();
        let report = verify(dir.path());
        assert!(report.is_sound() && report.torn_bytes > 0, "{report}");
        let journal = open(dir.path(), Hand::default().clock()).await.unwrap();
        journal.close().await.unwrap();
        let loaded = &lines(dir.path())[7];
        assert_eq!((&loaded["seq"], &loaded["event"]), (&8.into(), &"loaded".into()));
        assert_eq!(loaded["torn_bytes"], torn.len());
        assert_eq!(loaded["torn_sha256"], journal::Hash::of(torn).to_string());
        assert!(loaded["torn"].as_str().unwrap().len() <= 1024);
        assert_sound(dir.path());
    }
}

#[tokio::test]
async fn a_changed_end_refuses_to_open_and_names_file_and_line() {
    for (nth_last, named) in [(0, 7), (1, 7)] {
        let dir = tempfile::tempdir().unwrap();
        let file = closed(dir.path()).await;
        let mut all: Vec<_> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        let at = all.len() - 1 - nth_last;
        all[at] = all[at].replace("23:50", "23:51");
        std::fs::write(&file, all.join("\n") + "\n").unwrap();
        let refused = open(dir.path(), Hand::default().clock()).await.err().unwrap().to_string();
        assert!(refused.contains(&format!("2026-11-21.jsonl:{named}: ")), "{refused}");
    }
}

#[tokio::test]
async fn a_cut_end_refuses_to_open_and_says_which_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = closed(dir.path()).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let keep: String = text.split_inclusive('\n').take(4).collect();
    std::fs::write(&file, keep).unwrap();
    let refused = open(dir.path(), Hand::default().clock()).await.err().unwrap();
    assert!(matches!(refused, OpenError::CutOff { first: 5, last: 7, .. }), "{refused}");
    std::fs::remove_file(&file).unwrap();
    let refused = open(dir.path(), Hand::default().clock()).await.err().unwrap();
    assert!(matches!(refused, OpenError::CutOff { first: 1, last: 7, .. }), "{refused}");
}

#[tokio::test]
async fn files_are_ours_alone_and_what_others_can_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/journal");
    let file = closed(&path).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    for (bad, modes) in [(&file, [0o620, 0o600]), (&path, [0o702, 0o700])] {
        for (mode, refused) in modes.into_iter().zip([true, false]) {
            std::fs::set_permissions(bad, std::fs::Permissions::from_mode(mode)).unwrap();
            let opened = open(&path, Hand::default().clock()).await;
            assert_eq!(matches!(opened, Err(OpenError::OthersCanWrite { .. })), refused);
            if let Ok(journal) = opened {
                journal.close().await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_into_a_stalled_disk_waits_and_is_all_there_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let batches = Arc::new(AtomicU64::new(0));
    let clock = {
        let (gate, batches) = (Arc::clone(&gate), Arc::clone(&batches));
        // The writer asks for the time once a batch: that is where this disk hangs.
        Clock::of(move || {
            batches.fetch_add(1, Ordering::SeqCst);
            let mut stalled = gate.0.lock().unwrap();
            while *stalled {
                stalled = gate.1.wait(stalled).unwrap();
            }
            START.parse().unwrap()
        })
    };
    let journal = open(dir.path(), clock).await.unwrap();
    *gate.0.lock().unwrap() = true;
    batches.store(0, Ordering::SeqCst);
    let burst: Vec<_> = (0..20_000)
        .map(|n: u32| {
            let journal = journal.clone();
            tokio::spawn(async move { (n, journal.append(started(&n.to_string())).await.unwrap().seq) })
        })
        .collect();
    while batches.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(burst.iter().all(|task| !task.is_finished()), "acknowledged by a stalled disk");
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
    let mut answers = Vec::new();
    for task in burst {
        answers.push(task.await.unwrap());
    }
    let all = lines(dir.path());
    assert_eq!(all.len(), 20_001);
    for (n, seq) in answers {
        assert_eq!(all[usize::try_from(seq).unwrap() - 1]["command"], n.to_string());
    }
    // Group commit: one sync for many lines.
    assert!(batches.load(Ordering::SeqCst) < 1000, "{batches:?} syncs");
    assert_sound(dir.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_beside_a_writer_at_work_raises_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::default();
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (journal, hand) = (journal.clone(), hand.clone());
            tokio::spawn(async move {
                for _ in 0..100 {
                    hand.forward(600);
                    journal.append(started(&"x".repeat(3000))).await.unwrap();
                }
            })
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_sound(dir.path());
    }
    futures::future::join_all(writers).await.into_iter().for_each(Result::unwrap);
    journal.close().await.unwrap();
    assert_sound(dir.path());
    assert!(files(dir.path()).len() > 5);
}

#[tokio::test]
async fn search_takes_what_the_filter_says_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::default();
    let journal = open(dir.path(), hand.clock()).await.unwrap();
    let session = SessionId::new(1, 1);
    let mut tail =
        journal::follow(dir.path(), Filter { event: Some(Event::Finished), ..Filter::default() }).unwrap();
    assert_eq!(tail.poll().unwrap(), []);
    for (user, site) in [("firm-jane.doe", "a"), ("firm-john.doe", "b"), ("other-jane.doe", "a")] {
        hand.forward(86400);
        for event in [Event::Started, Event::Finished] {
            let (user, site) = (user.parse().ok(), site.parse().ok());
            let session = (event == Event::Started).then_some(session);
            journal.append(Entry { user, site, session, ..Entry::new(event) }).await.unwrap();
        }
    }
    let count = |filter: Filter| journal::search(dir.path(), filter).unwrap().map(Result::unwrap).count();
    let all = Filter::default;
    assert_eq!(count(Filter { user: "firm-jane.doe".parse().ok(), ..all() }), 2);
    assert_eq!(count(Filter { firm: "firm".parse().ok(), ..all() }), 4);
    assert_eq!(count(Filter { site: "a".parse().ok(), event: Some(Event::Started), ..all() }), 2);
    assert_eq!(
        count(Filter { since: "2026-11-23T23:50:00Z".parse().ok(), site: "b".parse().ok(), ..all() }),
        2
    );
    assert_eq!(
        count(Filter { since: "2026-11-23T23:50:01Z".parse().ok(), site: "b".parse().ok(), ..all() }),
        0
    );
    assert_eq!(
        count(Filter {
            since: "2026-11-24T00:00:00Z".parse().ok(),
            user: "other-jane.doe".parse().ok(),
            ..all()
        }),
        2
    );
    assert_eq!(journal::show(dir.path(), session).unwrap().count(), 3);
    // The tail followed through three new files.
    assert_eq!(tail.next().await.unwrap().len(), 3);
    assert_eq!(tail.poll().unwrap(), []);
}

#[tokio::test]
async fn the_human_form_is_one_safe_line() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), Hand::default().clock()).await.unwrap();
    journal.append(started("konnektor backup\n\u{1b}[2J")).await.unwrap();
    let line =
        journal::search(dir.path(), Filter { event: Some(Event::Started), ..Filter::default() }).unwrap();
    let line = line.map(Result::unwrap).next().unwrap();
    assert_eq!(
        line.human(),
        "     2 2026-11-21 23:50:00 started  firm-jane.doe @praxis-mueller ‘konnektor backup\\n\\u{1b}[2J’"
    );
    assert_eq!(line.time(), START.parse().ok());
}

#[tokio::test]
async fn a_missing_or_foreign_head_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    std::fs::remove_file(dir.path().join("HEAD")).unwrap();
    assert_eq!(verify(dir.path()).findings.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::NoHead]);
    let journal = open(dir.path(), Hand::default().clock()).await.unwrap();
    journal.close().await.unwrap();
    assert!(lines(dir.path())[7]["cause"].as_str().unwrap().contains("HEAD was missing"));
    assert_sound(dir.path());
}

#[tokio::test]
async fn a_journal_signed_by_another_key_is_not_sound() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    let other = PrivateKey::from(Ed25519Keypair::from_seed(&[8; 32]));
    let report = journal::verify(dir.path(), other.public_key()).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [Kind::BadSignature, Kind::NoHead]);
}
