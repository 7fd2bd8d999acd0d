//! Every kind of damage to a journal is found, called by its name, and said where it is.
//! Absent on purpose: the writer's own crashes (`journal_crash.rs`).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use pforte::clock::Clock;
use pforte::journal::{self, Entry, Event, Finding, Journal, Kind, Options, Report};
use proptest::prelude::*;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use tempfile::TempDir;

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

/// One line of the sample: its file and its text with the newline.
type Placed = (String, Vec<u8>);

/// Fifty-odd lines over four days with heads between, made once.
fn sample() -> &'static (TempDir, Vec<Placed>) {
    static SAMPLE: OnceLock<(TempDir, Vec<Placed>)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let seconds = Arc::new(AtomicI64::new(0));
            let start: Timestamp = "2026-11-21T23:00:00Z".parse().unwrap();
            let hand = Arc::clone(&seconds);
            let clock = Clock::of(move || start + SignedDuration::from_secs(hand.load(Ordering::SeqCst)));
            let options = Options { reserve: 64 << 10 };
            let journal = Journal::open(dir.path(), key(), clock, options).await.unwrap();
            for n in 0..40 {
                seconds.fetch_add(if n % 13 == 12 { 86400 } else { 50 }, Ordering::SeqCst);
                let command = Some(format!("command {n}").into());
                journal.append(Entry { command, ..Entry::new(Event::Started) }).await.unwrap();
            }
            journal.close().await.unwrap();
        });
        let mut all = Vec::new();
        let names =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|n| n.starts_with("20")).collect();
        names.sort();
        for file in names {
            let text = std::fs::read(dir.path().join(&file)).unwrap();
            all.extend(text.split_inclusive(|b| *b == b'\n').map(|line| (file.clone(), line.to_vec())));
        }
        (dir, all)
    })
}

fn damaged(lines: &[Placed], without: Option<&str>) -> Report {
    let (source, all) = sample();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(source.path().join("HEAD"), dir.path().join("HEAD")).unwrap();
    for (file, _) in all {
        if without != Some(file) {
            let text: Vec<u8> =
                lines.iter().filter(|(f, _)| f == file).flat_map(|(_, l)| l.clone()).collect();
            std::fs::write(dir.path().join(file), text).unwrap();
        }
    }
    journal::verify(dir.path(), key().public_key()).unwrap()
}

fn named(report: &Report, kinds: &[Kind], first: usize, last: usize) -> bool {
    let range = (first as u64, last as u64);
    let is = |f: &Finding| kinds.contains(&f.kind) && (f.first, f.last) == range;
    report.findings.iter().any(is)
}

fn has(report: &Report, kind: Kind) -> bool {
    report.findings.iter().any(|finding| finding.kind == kind)
}

#[test]
fn the_sample_itself_is_sound() {
    let (_, all) = sample();
    let report = damaged(all, None);
    assert!(report.is_sound() && report.lines == all.len() as u64 && report.heads >= 8, "{report}");
    assert!(report.to_string().ends_with(": sound"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_is_found_and_its_line_named(at in any::<prop::sample::Index>(), within in any::<prop::sample::Index>(), byte: u8) {
        let mut all = sample().1.clone();
        let at = at.index(all.len());
        let within = within.index(all[at].1.len());
        let is_newline = within + 1 == all[at].1.len();
        prop_assume!(all[at].1[within] != byte);
        all[at].1[within] = byte;
        let report = damaged(&all, None);
        let end = is_newline && at + 1 == all.len();
        let kinds: &[Kind] = if end { &[Kind::CutOff] } else { &[Kind::Changed] };
        prop_assert!(named(&report, kinds, at + 1, at + 1), "line {}: {report}", at + 1);
        let blamed = report.findings.iter().filter(|f| f.kind == Kind::Changed).count();
        prop_assert!(end || blamed == 1, "{report}");
        prop_assert!(is_newline || !has(&report, Kind::Missing) && !has(&report, Kind::CutOff), "{report}");
    }

    #[test]
    fn a_missing_line_is_called_missing_and_never_changed(at in any::<prop::sample::Index>()) {
        let mut all = sample().1.clone();
        let at = at.index(all.len());
        all.remove(at);
        let report = damaged(&all, None);
        let kind = if at == all.len() { Kind::CutOff } else { Kind::Missing };
        prop_assert!(named(&report, &[kind], at + 1, at + 1), "line {}: {report}", at + 1);
        prop_assert!(!has(&report, Kind::Changed) && !has(&report, Kind::Moved), "{report}");
    }

    #[test]
    fn swapped_lines_are_called_moved(a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let mut all = sample().1.clone();
        let (a, b) = (a.index(all.len()), b.index(all.len()));
        prop_assume!(a != b);
        let other = all[b].1.clone();
        all[b].1 = std::mem::replace(&mut all[a].1, other);
        let report = damaged(&all, None);
        let moved = [a, b].iter().filter(|at| named(&report, &[Kind::Moved], **at + 1, **at + 1)).count();
        prop_assert!(moved == 2 || moved == 1 && a.abs_diff(b) == 1, "lines {} and {}: {report}", a + 1, b + 1);
        for wrong in [Kind::Changed, Kind::Missing, Kind::Doubled, Kind::CutOff] {
            prop_assert!(!has(&report, wrong), "{report}");
        }
    }

    #[test]
    fn a_line_that_stands_twice_is_called_doubled(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut all = sample().1.clone();
        let (from, to) = (from.index(all.len()), to.index(all.len()));
        let copy = (all[to].0.clone(), all[from].1.clone());
        all.insert(to + 1, copy);
        let report = damaged(&all, None);
        prop_assert!(named(&report, &[Kind::Doubled], from + 1, from + 1), "line {}: {report}", from + 1);
        for wrong in [Kind::Changed, Kind::Missing, Kind::Moved, Kind::CutOff] {
            prop_assert!(!has(&report, wrong), "{report}");
        }
    }

    #[test]
    fn a_cut_end_is_found_by_head(keep in any::<prop::sample::Index>()) {
        let mut all = sample().1.clone();
        let whole = all.len();
        all.truncate(keep.index(whole));
        let report = damaged(&all, None);
        prop_assert!(named(&report, &[Kind::CutOff], all.len() + 1, whole), "{report}");
        prop_assert!(!has(&report, Kind::Changed) && !has(&report, Kind::Missing), "{report}");
    }

    #[test]
    fn a_missing_file_is_found_with_all_its_lines(which in 0..4_usize) {
        let all = &sample().1;
        let mut names: Vec<_> = all.iter().map(|(file, _)| file.clone()).collect();
        names.dedup();
        let gone = &names[which.min(names.len() - 1)];
        let first = all.iter().position(|(file, _)| file == gone).unwrap() + 1;
        let last = all.iter().rposition(|(file, _)| file == gone).unwrap() + 1;
        let report = damaged(all, Some(gone));
        let kind = if last == all.len() { Kind::CutOff } else { Kind::Missing };
        prop_assert!(named(&report, &[kind], first, last), "{gone}: {report}");
        prop_assert_eq!(report.findings.len(), 1);
    }
}
