//! Each of these runs on a file and on a server.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::names::Username;
use penalties::{KEPT_MAX, PENDING_MAX, REMOVED_MAX};
use postgres::Postgres;

#[path = "../../tests/postgres/mod.rs"]
mod postgres;
mod shared;
mod slots;
mod work;

/// A database for one test, a clock that it sets, and gateways that come and go.
struct Bench {
    url: String,
    seconds: Arc<AtomicI64>,
    server: Option<Postgres>,
    dir: tempfile::TempDir,
}

const MOMENT: &str = "2026-11-21T16:00:00Z";

fn now() -> Timestamp {
    MOMENT.parse().unwrap()
}

impl Bench {
    fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state/state.db").display());
        Self { url, seconds: Arc::new(AtomicI64::new(now().as_second())), server: None, dir }
    }

    fn postgres() -> Self {
        let server = Postgres::start();
        let url = server.create("state");
        Self { url, server: Some(server), ..Self::sqlite() }
    }

    fn at(&self) -> StateAt {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => StateAt::Sqlite(path.into()),
            None => {
                StateAt::Postgres(PostgresAt { url: self.url.parse().unwrap(), password: None, ca: None })
            }
        }
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.seconds);
        Clock::of(move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap())
    }

    /// A gateway that is not missed before a second has passed.
    async fn open(&self) -> State {
        State::open_at(&self.at(), Duration::from_secs(1), self.clock()).await.unwrap()
    }
}

/// Waits until `there` says so, ten seconds at most.
async fn until<F: Future<Output = bool>>(there: impl Fn() -> F) {
    for _ in 0..200 {
        if there().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come");
}

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::super::tests::Bench::sqlite()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::super::tests::Bench::postgres()).await;
            })+
        }
    };
}
use on_both;

on_both!(
    a_totp_step_is_taken_once_and_never_an_earlier_one_also_after_a_restart,
    of_many_racing_for_a_step_one_gets_it_over_two_gateways,
    the_first_host_key_is_kept_and_a_second_one_refused,
    penalties_outlive_a_restart_the_latest_end_wins_and_ended_ones_go,
    each_flush_removes_ended_penalties_and_no_more_than_its_share,
    penalties_are_kept_up_to_a_number_and_the_ones_that_end_first_go,
    a_newer_schema_is_refused_in_plain_words,
);

fn jane() -> Username {
    "firm-jane.doe".parse().unwrap()
}

async fn a_totp_step_is_taken_once_and_never_an_earlier_one_also_after_a_restart(bench: Bench) {
    let state = bench.open().await;
    assert!(state.use_totp_step(&jane(), 100).await.unwrap());
    assert!(!state.use_totp_step(&jane(), 100).await.unwrap());
    assert!(!state.use_totp_step(&jane(), 99).await.unwrap());
    assert!(state.use_totp_step(&"firm-john.doe".parse().unwrap(), 99).await.unwrap());
    drop(state);
    let state = bench.open().await;
    assert!(!state.use_totp_step(&jane(), 100).await.unwrap());
    assert!(state.use_totp_step(&jane(), 101).await.unwrap());
    assert!(!state.use_totp_step(&jane(), u64::MAX).await.unwrap());
}

async fn of_many_racing_for_a_step_one_gets_it_over_two_gateways(bench: Bench) {
    let states = [bench.open().await, bench.open().await];
    for step in 1..=5 {
        let race: Vec<_> = (0..16)
            .map(|n| {
                let state = states[n % 2].clone();
                tokio::spawn(async move { state.use_totp_step(&jane(), step).await.unwrap() })
            })
            .collect();
        let won = futures::future::join_all(race).await;
        assert_eq!(won.into_iter().filter(|w| *w.as_ref().unwrap()).count(), 1);
    }
}

async fn the_first_host_key_is_kept_and_a_second_one_refused(bench: Bench) {
    let state = bench.open().await;
    let (what, at) = ("praxis-mueller/konnektor/main", "192.168.2.100:9443");
    assert_eq!(state.learned(what, at).await.unwrap(), None);
    assert_eq!(state.learn(what, at, "sha256:aa", "firm-jane.doe").await.unwrap(), Learned::New);
    let pin = Pin { value: "sha256:aa".into(), who: "firm-jane.doe".into(), when: now() };
    assert_eq!(state.learn(what, at, "sha256:aa", "x").await.unwrap(), Learned::Same(pin.clone()));
    assert_eq!(state.learn(what, at, "sha256:bb", "x").await.unwrap(), Learned::Other(pin.clone()));
    assert_eq!(bench.open().await.learned(what, at).await.unwrap(), Some(pin));
    assert_eq!(state.learn(what, "10.0.0.1:9443", "sha256:bb", "x").await.unwrap(), Learned::New);
}

async fn penalties_outlive_a_restart_the_latest_end_wins_and_ended_ones_go(bench: Bench) {
    let state = bench.open().await;
    let at = |secs| now() + jiff::SignedDuration::from_secs(secs);
    state.penalise("203.0.113.7", "firm-jane.doe", at(60), "3 wrong codes");
    state.penalise("203.0.113.7", "firm-jane.doe", at(30), "earlier end");
    state.penalise("203.0.113.8", "", at(10), "too many");
    state.flush().await.unwrap();
    state.penalise("203.0.113.7", "firm-jane.doe", at(40), "earlier end, after the flush");
    state.flush().await.unwrap();
    drop(state);
    let state = bench.open().await;
    assert_eq!(state.penalties(now()).await.unwrap().len(), 2);
    let left = state.penalties(at(10)).await.unwrap();
    assert_eq!(left.iter().map(|p| (&*p.reason, p.until)).collect::<Vec<_>>(), [("3 wrong codes", at(60))]);
    assert_eq!(state.penalties(at(60)).await.unwrap(), []);
}

#[tokio::test]
async fn a_flood_of_penalties_is_bounded_in_memory_and_touches_no_disk() {
    let bench = Bench::sqlite();
    let state = bench.open().await;
    for n in 0..3 * PENDING_MAX {
        state.penalise(&format!("source {n}"), "", now(), "flood");
    }
    // This test's runtime has one thread: nothing was written while the loop held it.
    assert_eq!(state.0.store.waiting.pending.lock().unwrap().len(), PENDING_MAX);
}

async fn fill(state: &State, from: i64, rows: i64, until: Timestamp) {
    let flood = sql("WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1 + $2)
         INSERT INTO penalty (source, subject, ends_at, reason) SELECT 'source ' || i, '', $3 + i, 'flood' FROM n");
    let flood = flood.bind(from).bind(rows).bind(until.as_microsecond());
    state.0.store.pool.execute(flood).await.unwrap();
}

async fn rows(state: &State) -> i64 {
    let row = state.0.store.pool.row(sql("SELECT COUNT(*) FROM penalty")).await.unwrap();
    row.unwrap().try_get(0).unwrap()
}

async fn each_flush_removes_ended_penalties_and_no_more_than_its_share(bench: Bench) {
    let state = bench.open().await;
    let at = |secs| now() + jiff::SignedDuration::from_secs(secs);
    fill(&state, 0, REMOVED_MAX + 10, at(-60)).await;
    fill(&state, 100_000, 5, at(60)).await;
    state.penalise("203.0.113.7", "", at(60), "one more");
    state.flush().await.unwrap();
    assert_eq!(rows(&state).await, 10 + 5 + 1);
    state.penalise("203.0.113.8", "", at(60), "one more");
    state.flush().await.unwrap();
    assert_eq!(rows(&state).await, 5 + 2);
}

async fn penalties_are_kept_up_to_a_number_and_the_ones_that_end_first_go(bench: Bench) {
    let state = bench.open().await;
    let at = |secs| now() + jiff::SignedDuration::from_secs(secs);
    fill(&state, 0, KEPT_MAX, at(60)).await;
    state.penalise("203.0.113.7", "", at(3600), "the latest end");
    state.flush().await.unwrap();
    assert_eq!(rows(&state).await, KEPT_MAX);
    let kept = state.penalties(now()).await.unwrap();
    assert!(kept.iter().any(|p| p.source == "203.0.113.7"));
    assert!(!kept.iter().any(|p| p.source == "source 0"));
}

async fn a_newer_schema_is_refused_in_plain_words(bench: Bench) {
    let state = bench.open().await;
    state.0.store.pool.execute(sql("INSERT INTO schema_version VALUES (99)")).await.unwrap();
    let refused = State::open_at(&bench.at(), LOST_AFTER, bench.clock()).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "state: its schema is version 99, this pforte knows 6; run the newer pforte"
    );
}

#[tokio::test]
async fn the_file_is_ours_alone_and_one_that_others_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::sqlite();
    let state = bench.open().await;
    state.use_totp_step(&jane(), 1).await.unwrap();
    let file = bench.dir.path().join("state/state.db");
    for entry in std::fs::read_dir(file.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        State::open_at(&bench.at(), LOST_AFTER, bench.clock()).await,
        Err(StateError::Open { .. })
    ));
}

#[tokio::test]
async fn other_urls_are_refused() {
    for url in ["", "sqlite:", "sqlite::memory:", "mysql://x/y", "sqlite:x?mode=memory"] {
        assert!(matches!(State::open(url, Clock::of(now)).await, Err(StateError::Url)), "{url}");
    }
    for url in ["postgres://x/y", "postgres://me:geheim@localhost/y", "postgres://me@x/y?password=geheim"] {
        let refused = State::open(url, Clock::of(now)).await.err().unwrap();
        assert!(matches!(refused, StateError::PostgresUrl(_)), "{refused}");
        assert!(!format!("{refused} {refused:?}").contains("geheim"), "{refused:?}");
    }
}
