use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::SignedDuration;
use ssh_key::private::Ed25519Keypair;

use super::*;
use crate::clock::Clock;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Two clocks that a test sets, apart from each other.
#[derive(Clone, Default)]
struct Clocks {
    wall: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
}

impl Clocks {
    fn time(&self) -> Time {
        let (wall, boot) = (self.wall.clone(), self.boot.clone());
        let wall = Clock::of(move || {
            let start: Timestamp = "2026-11-22T17:00:00Z".parse().unwrap();
            start + SignedDuration::from_secs(wall.load(Ordering::Relaxed))
        });
        Time::of(wall, move || Duration::from_secs(1000 + boot.load(Ordering::Relaxed)))
    }

    /// Time goes by, on both.
    fn pass(&self, time: Duration) {
        self.wall.fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::Relaxed);
        self.boot.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    /// Somebody sets the wall's clock.
    fn set(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn switch(clocks: &Clocks) -> Switch {
    let key = Arc::new(PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32])));
    let standing = Standing { backup_only: false, when_possible: false };
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    Switch::new("praxis-mueller".parse().unwrap(), key, clocks.time(), zone, HOUR * 4, standing)
}

fn does(switch: &Switch, change: Change) -> Result<(), NotDone> {
    switch.plan(change).and_then(|planned| switch.apply(planned))
}

fn allow(who: &str) -> Change {
    Change::Allow(who.parse().unwrap(), None)
}

fn comes(switch: &Switch, user: &str) -> Result<(), Refusal> {
    let family = if user == SCHEDULE { "konnektor backup" } else { "hop backup" };
    switch.admits(&Visitor {
        user: user.into(),
        session: "01J".into(),
        family: family.into(),
        command: String::new(),
    })
}

#[test]
fn it_is_closed_and_takes_two_steps_to_let_somebody_in() {
    let clocks = Clocks::default();
    let switch = switch(&clocks);
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::SwitchClosed));
    assert_eq!(does(&switch, allow("firm")), Err(NotDone::Closed));
    does(&switch, Change::Open(HOUR)).unwrap();
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed));
    does(&switch, allow("firm")).unwrap();
    assert_eq!(comes(&switch, "firm-jane.doe"), Ok(()));
    for other in ["other-jane.doe", SCHEDULE, "firma-jane.doe"] {
        assert!(comes(&switch, other).is_err(), "{other}");
    }
    for nobody in ["", "firm", "*", "firm-", "Firm-Jane.Doe"] {
        assert_eq!(comes(&switch, nobody), Err(Refusal::NotUnderstood), "{nobody}");
    }
    assert_eq!(does(&switch, Change::Allow(Whose::Schedule, None)), Err(NotDone::NoSuchName));
    assert!(switch.close());
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::SwitchClosed));
    does(&switch, Change::Open(HOUR)).unwrap();
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed), "a close forgets the names");
}

#[test]
fn it_ends_by_whichever_clock_comes_first() {
    for (set, passes) in [(0, 60_u32), (-86_400, 60), (-30 * 86_400, 60), (1800, 30), (86_400, 0)] {
        let clocks = Clocks::default();
        let switch = switch(&clocks);
        does(&switch, Change::Open(HOUR)).unwrap();
        does(&switch, allow("firm")).unwrap();
        clocks.set(set);
        if passes > 0 {
            clocks.pass(Duration::from_secs(u64::from(passes) * 60 - 1));
            assert_eq!(comes(&switch, "firm-jane.doe"), Ok(()), "set by {set}");
            assert_eq!(switch.tick(), []);
            clocks.pass(Duration::from_secs(1));
        }
        assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::SwitchClosed), "set by {set}");
        assert_eq!(switch.tick(), [Ended::Closed]);
        assert!(switch.ended_by_time() && switch.tick().is_empty());
        // Set right again: it stays closed.
        clocks.set(-set);
        assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::SwitchClosed), "set by {set}");
    }
}

#[test]
fn it_is_never_open_for_longer_than_the_most_and_today_ends_at_midnight() {
    let clocks = Clocks::default();
    let switch = switch(&clocks);
    assert_eq!(does(&switch, Change::Open(HOUR * 4 + MINUTE)), Err(NotDone::TooLong(240)));
    assert_eq!(does(&switch, Change::Open(Duration::ZERO)), Err(NotDone::TooLong(240)));
    // 18:00 in Berlin: midnight is further away than the most.
    does(&switch, Change::OpenToday).unwrap();
    assert_eq!(switch.seen().until.unwrap().to_string(), "2026-11-22T21:00:00Z");
    clocks.pass(HOUR * 3);
    does(&switch, Change::OpenToday).unwrap();
    assert_eq!(switch.seen().until.unwrap().to_string(), "2026-11-22T23:00:00Z");
}

#[test]
fn a_name_ends_with_the_switch_at_the_latest() {
    let clocks = Clocks::default();
    let switch = switch(&clocks);
    does(&switch, Change::Open(HOUR)).unwrap();
    does(&switch, Change::Allow("firm-jane.doe".parse().unwrap(), Some(MINUTE * 10))).unwrap();
    does(&switch, Change::Allow("other".parse().unwrap(), Some(HOUR * 3))).unwrap();
    clocks.pass(MINUTE * 10);
    assert_eq!(switch.tick(), [Ended::Named("firm-jane.doe".parse().unwrap())]);
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed));
    // Opened anew for less: the names end then, too; for more: they do not grow.
    does(&switch, Change::Open(MINUTE)).unwrap();
    does(&switch, Change::Open(HOUR * 2)).unwrap();
    assert_eq!(comes(&switch, "other-max.m"), Ok(()));
    clocks.pass(MINUTE);
    assert_eq!(comes(&switch, "other-max.m"), Err(Refusal::NotNamed));
    assert!(switch.is_open());
}

#[test]
fn who_is_shown_out_stays_out_while_the_firm_may_come() {
    let switch = switch(&Clocks::default());
    does(&switch, Change::Open(HOUR)).unwrap();
    does(&switch, allow("firm")).unwrap();
    does(&switch, Change::ShowOut("firm-jane.doe".parse().unwrap())).unwrap();
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed));
    assert_eq!(comes(&switch, "firm-max.m"), Ok(()));
    does(&switch, allow("firm-jane.doe")).unwrap();
    assert_eq!(comes(&switch, "firm-jane.doe"), Ok(()));
    // A firm that comes no more takes its people along.
    assert!(switch.withdraw(&"firm".parse().unwrap()));
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed));
    assert!(!switch.withdraw(&"firm".parse().unwrap()));
}

#[test]
fn a_close_wins_over_what_was_planned_before_it() {
    let switch = switch(&Clocks::default());
    let opening = switch.plan(Change::Open(HOUR)).unwrap();
    switch.close();
    assert_eq!(switch.apply(opening), Err(NotDone::Closed));
    does(&switch, Change::Open(HOUR)).unwrap();
    let naming = switch.plan(allow("firm")).unwrap();
    switch.close();
    does(&switch, Change::Open(HOUR)).unwrap();
    assert_eq!(switch.apply(naming), Err(NotDone::Closed));
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed));
}

#[test]
fn the_standing_order_is_for_nightly_backups_alone() {
    let clocks = Clocks::default();
    let switch = switch(&clocks);
    assert!(!switch.wants_link());
    does(&switch, Change::Stand(Standing { backup_only: true, when_possible: false })).unwrap();
    assert!(switch.wants_link());
    assert_eq!(comes(&switch, SCHEDULE), Ok(()));
    let restore = Visitor {
        user: SCHEDULE.into(),
        session: "01J".into(),
        family: "konnektor restore".into(),
        command: String::new(),
    };
    assert_eq!(switch.admits(&restore), Err(Refusal::NotNamed));
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::SwitchClosed));
    let lease: Lease = serde_json::from_str(&switch.lease("n".into(), "SHA256:x").unwrap().lease).unwrap();
    assert_eq!(lease.grants.len(), 1);
    assert_eq!(lease.grants[0].may, NIGHTLY.map(ToOwned::to_owned).into());
}

#[test]
fn a_lease_says_what_is_left_and_nothing_when_it_is_closed() {
    let clocks = Clocks::default();
    let switch = switch(&clocks);
    let grants = || {
        let signed = switch.lease("nonce".into(), "SHA256:x").unwrap();
        let lease: Lease = serde_json::from_str(&signed.lease).unwrap();
        assert_eq!((lease.nonce.as_str(), lease.gateway.as_str()), ("nonce", "SHA256:x"));
        assert!(lease.seconds <= 45);
        lease.grants.into_iter().map(|grant| (grant.who, grant.seconds)).collect::<Vec<_>>()
    };
    assert_eq!(grants(), []);
    does(&switch, Change::Open(HOUR)).unwrap();
    assert_eq!(grants(), []);
    does(&switch, allow("firm")).unwrap();
    clocks.pass(MINUTE * 50);
    assert_eq!(grants(), [("firm".to_owned(), 600)]);
    // A clock that is set back lengthens nothing.
    clocks.set(-3600);
    assert_eq!(grants(), [("firm".to_owned(), 600)]);
    clocks.pass(Duration::from_secs(599));
    assert_eq!(grants(), [("firm".to_owned(), 1)]);
    switch.close();
    assert_eq!(grants(), []);
}

#[test]
fn an_end_counts_before_anybody_has_looked_for_it_and_is_told_once_it_was_found() {
    let clocks = Clocks::default();
    let switch = switch(&clocks);
    does(&switch, Change::Open(HOUR)).unwrap();
    does(&switch, Change::Allow("firm-jane.doe".parse().unwrap(), Some(MINUTE * 10))).unwrap();
    let mut changes = switch.changes();
    let grants = || {
        let signed = switch.lease("nonce".into(), "SHA256:x").unwrap();
        serde_json::from_str::<Lease>(&signed.lease).unwrap().grants.len()
    };
    assert_eq!(grants(), 1);
    clocks.pass(MINUTE * 10);
    assert_eq!((comes(&switch, "firm-jane.doe"), grants()), (Err(Refusal::NotNamed), 0));
    assert!(switch.seen().named.is_empty() && !changes.has_changed().unwrap());
    // Whoever holds a stream hears of it by this alone.
    assert_eq!(switch.tick().len(), 1);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    clocks.pass(MINUTE * 50);
    assert_eq!(switch.tick(), [Ended::Closed]);
    assert!(changes.has_changed().unwrap());
}

#[test]
fn names_are_bounded_and_of_too_many_who_were_shown_out_none_comes_in() {
    let switch = switch(&Clocks::default());
    does(&switch, Change::Open(HOUR)).unwrap();
    for n in 0..MOST_NAMED {
        does(&switch, allow(&format!("other-p.n{n}"))).unwrap();
    }
    assert!(matches!(does(&switch, allow("firm")), Err(NotDone::Broken(_))));
    does(&switch, allow("other-p.n0")).unwrap();
    does(&switch, Change::Withdraw("other-p.n0".parse().unwrap())).unwrap();
    does(&switch, allow("firm")).unwrap();
    for n in 0..MOST_BARRED {
        does(&switch, Change::ShowOut(format!("firm-p.n{n}").parse().unwrap())).unwrap();
    }
    assert_eq!(comes(&switch, "firm-max.m"), Ok(()));
    // There is no room to remember one more: then the whole firm is out.
    does(&switch, Change::ShowOut("firm-jane.doe".parse().unwrap())).unwrap();
    assert_eq!(comes(&switch, "firm-jane.doe"), Err(Refusal::NotNamed));
    assert_eq!(comes(&switch, "firm-max.m"), Err(Refusal::NotNamed));
}
