use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::Clock;

const AFTER: Duration = Duration::from_mins(1);

struct House {
    dir: tempfile::TempDir,
    seconds: Arc<AtomicU64>,
    visits: Arc<Visits>,
    shelf: Arc<Shelf>,
}

fn shelf(dir: &tempfile::TempDir) -> Shelf {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
    Shelf::open(dir.path(), Arc::new(key), "praxis", "Praxis Dr. Müller").unwrap()
}

fn house() -> House {
    let dir = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .unwrap();
    let seconds = Arc::new(AtomicU64::new(0));
    let (wall, boot) = (seconds.clone(), seconds.clone());
    let start: Timestamp = "2026-11-22T17:00:00Z".parse().unwrap();
    let clock = Clock::of(move || {
        start + jiff::SignedDuration::from_secs(i64::try_from(wall.load(Ordering::Relaxed)).unwrap())
    });
    let time = Time::of(clock, move || Duration::from_secs(boot.load(Ordering::Relaxed)));
    let shelf = Arc::new(shelf(&dir));
    House { dir, seconds, visits: Arc::new(Visits::new(time, shelf.clone())), shelf }
}

fn via(letter: &str) -> Via {
    Via { fingerprint: format!("SHA256:{letter}"), title: format!("gateway SHA256:{letter}") }
}

fn visitor(user: &str, session: &str) -> Visitor {
    Visitor {
        user: user.into(),
        session: session.into(),
        family: "hop backup".into(),
        command: "hop backup".into(),
    }
}

impl House {
    fn comes(&self, user: &str, session: &str) -> Result<Seat, Refusal> {
        let about = ("Systemhaus".to_owned(), None);
        self.visits
            .begin(&via("a"), &visitor(user, session), about, "10.0.0.2:22".into())
            .map(|begun| begun.seat)
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn shelve(&self) -> usize {
        let due = self.visits.tend(AFTER);
        for visit in &due {
            self.shelf.put(visit, "2026-11-22T18:00:00Z".parse().unwrap()).unwrap();
            self.visits.shelved(&visit.past.visit);
        }
        due.len()
    }

    fn told(&self, line: &str) {
        self.visits.told("SHA256:a", line.to_owned());
    }
}

fn line(seq: u64, event: &str, more: &str) -> String {
    format!(
        "{{\"seq\":{seq},\"time\":\"2026-11-22T17:00:05Z\",\"event\":\"{event}\",\"session\":\"01JA\"{more}}}"
    )
}

#[test]
fn a_visit_is_its_sessions_streams_and_what_was_told_of_them() {
    let house = house();
    // The gateway's line may be quicker than the stream.
    house.told(&line(1, "started", ",\"target\":\"backup\",\"command\":\"hop backup\""));
    let one = house.comes("firm-jane.doe", "01JA").unwrap();
    let two = house.comes("firm-jane.doe", "01JA").unwrap();
    house.told(&line(2, "input", ",\"command\":\"ls \\u001b[2J\""));
    house.told(&line(3, "file", ",\"path\":\"/etc/x\",\"bytes\":12,\"change\":\"upload\""));
    house.told(&line(4, "refused", ",\"command\":\"rm\",\"cause\":\"rule\""));
    house.told(&line(5, "finished", ",\"target\":\"backup\",\"command\":\"hop backup\",\"exit\":3"));
    let here = house.visits.present();
    assert_eq!(here.len(), 1);
    let deeds: Vec<(DeedKind, &str, Option<u32>)> =
        here[0].deeds.iter().map(|deed| (deed.kind, deed.text.as_str(), deed.exit)).collect();
    assert_eq!(
        deeds,
        [
            (DeedKind::Command, "backup: hop backup", Some(3)),
            (DeedKind::Typed, "ls \u{1b}[2J", None),
            (DeedKind::File, "upload /etc/x (12 bytes)", None),
            (DeedKind::Refused, "rm (rule)", None),
        ]
    );
    one.leave(Cause::Left);
    house.pass(10);
    assert_eq!((house.visits.tend(AFTER).len(), house.visits.present().len()), (0, 1), "one stream is there");
    two.leave(Cause::Left);
    house.pass(2);
    house.visits.tend(AFTER);
    assert_eq!(house.visits.present().len(), 1, "not for long enough");
    house.pass(1);
    house.visits.tend(AFTER);
    assert!(house.visits.present().is_empty());
    let over = house.visits.over();
    assert_eq!((over[0].ended.as_str(), over[0].deeds, over[0].reported), ("left", 4, false));
    // What is told late is in the report, too; the line byte by byte.
    house.told(&line(6, "input", ",\"command\":\"late\""));
    house.pass(60);
    assert_eq!(house.shelve(), 1);
    let report = house.shelf.report("01JA").unwrap();
    assert!(report.holds());
    let visit: desk::Visit = serde_json::from_str(&report.json).unwrap();
    assert_eq!((visit.deeds_done.len(), visit.lines.len(), visit.left_out), (5, 6, 0));
    assert_eq!(visit.lines[1], line(2, "input", ",\"command\":\"ls \\u001b[2J\""));
    assert!(visit.past.reported && visit.gateway.contains("SHA256:a"));
    let forged = desk::Report { json: report.json.replace("late", "gone"), ..report };
    assert!(!forged.holds());
}

#[test]
fn a_cut_visit_is_over_at_once_and_a_session_that_comes_again_is_another_visit() {
    let house = house();
    house.comes("firm-jane.doe", "01JA").unwrap().leave(Cause::Closed);
    house.visits.tend(AFTER);
    assert_eq!(house.visits.over()[0].ended, "closed");
    // Before its report it goes on; after it, it is another one, also over a restart.
    drop(house.comes("firm-jane.doe", "01JA").unwrap());
    house.visits.tend(AFTER);
    assert_eq!(house.visits.over()[0].ended, "link-lost");
    house.pass(60);
    assert_eq!(house.shelve(), 1);
    house.comes("firm-jane.doe", "01JA").unwrap().leave(Cause::Time);
    house.visits.tend(AFTER);
    house.pass(60);
    assert_eq!(house.shelve(), 1);
    let names: Vec<String> = shelf(&house.dir).kept(9).into_iter().map(|past| past.visit).collect();
    assert!(names.contains(&"01JA".into()) && names.contains(&"01JA-2".into()), "{names:?}");
}

#[test]
fn who_was_shown_out_comes_no_more_by_that_session_and_nobody_borrows_one() {
    let house = house();
    let seat = house.comes("firm-jane.doe", "01JA").unwrap();
    assert_eq!(house.comes("firm-max.m", "01JA").err(), Some(Refusal::NotUnderstood));
    let other = house.visits.begin(
        &via("b"),
        &visitor("firm-jane.doe", "01JA"),
        (String::new(), None),
        String::new(),
    );
    assert_eq!(other.err(), Some(Refusal::NotUnderstood), "another gateway's");
    house.visits.told("SHA256:b", line(9, "input", ",\"command\":\"not theirs\""));
    assert!(house.visits.present()[0].deeds.is_empty());
    assert!(house.visits.end("01JA").is_some());
    assert!(seat.stop.is_cancelled());
    drop(seat);
    assert_eq!(house.comes("firm-jane.doe", "01JA").err(), Some(Refusal::NotNamed));
    house.visits.tend(AFTER);
    assert_eq!(house.visits.over()[0].ended, "ended");
    for bad in ["", "../x", "a/b", "a.b", "-a", &"a".repeat(65)] {
        assert_eq!(house.comes("firm-jane.doe", bad).err(), Some(Refusal::NotUnderstood), "{bad:?}");
    }
}

#[test]
fn what_is_told_is_bounded_and_the_rest_counted() {
    let house = house();
    let _seat = house.comes("firm-jane.doe", "01JA").unwrap();
    for n in 0..DEEDS as u64 + 50 {
        house.told(&line(n, "input", ",\"command\":\"x\""));
    }
    let report = &house.visits.changed()[0];
    assert_eq!((report.deeds_done.len(), report.left_out), (DEEDS, 50));
    // Huge ones, of many sessions: no more than all may hold.
    let huge = "y".repeat(60 << 10);
    let mut seats = Vec::new();
    for visit in 0..MOST - 1 {
        let session = format!("01JB{visit}");
        seats.push(house.comes("firm-jane.doe", &session).unwrap());
        for _ in 0..100 {
            house.told(&format!("{{\"event\":\"input\",\"session\":\"{session}\",\"command\":\"{huge}\"}}"));
        }
    }
    assert!(house.visits.state().held <= ALL_BYTES);
    assert_eq!(house.comes("firm-jane.doe", "01JC").err(), Some(Refusal::TooMany));
    assert!(house.visits.present().iter().flat_map(|p| &p.deeds).all(|deed| deed.text.len() <= 8 << 10));
    // Lines of nobody's session wait for a while, and not all of them.
    for n in 0..5000 {
        house.told(&format!("{{\"event\":\"input\",\"session\":\"01JN{n}\",\"command\":\"{huge}\"}}"));
    }
    let state = house.visits.state();
    assert!(state.early.len() <= EARLY.0 && state.early_bytes <= EARLY.1);
}

#[test]
fn a_visit_that_a_crash_cut_has_a_report_all_the_same() {
    let house = house();
    let seat = house.comes("firm-jane.doe", "01JA").unwrap();
    house.told(&line(1, "input", ",\"command\":\"ls\""));
    for visit in house.visits.changed() {
        house.shelf.draft(&visit).unwrap();
    }
    assert!(house.visits.changed().is_empty(), "nothing new");
    let after = shelf(&house.dir);
    let report = after.report("01JA").unwrap();
    assert!(report.holds() && report.json.contains("\"ls\"") && report.json.contains("link-lost"));
    drop(seat);
    assert!(after.report("../01JA").is_none());
}
