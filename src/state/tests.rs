use super::*;

fn now() -> Timestamp {
    "2026-11-21T16:00:00Z".parse().unwrap()
}

fn url(dir: &tempfile::TempDir) -> String {
    format!("sqlite:{}", dir.path().join("state/state.db").display())
}

async fn open(dir: &tempfile::TempDir) -> State {
    State::open(&url(dir), Clock::of(now)).await.unwrap()
}

fn jane() -> Username {
    "firm-jane.doe".parse().unwrap()
}

#[tokio::test]
async fn a_totp_step_is_taken_once_and_never_an_earlier_one_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    assert!(state.use_totp_step(&jane(), 100).await.unwrap());
    assert!(!state.use_totp_step(&jane(), 100).await.unwrap());
    assert!(!state.use_totp_step(&jane(), 99).await.unwrap());
    assert!(state.use_totp_step(&"firm-john.doe".parse().unwrap(), 99).await.unwrap());
    drop(state);
    let state = open(&dir).await;
    assert!(!state.use_totp_step(&jane(), 100).await.unwrap());
    assert!(state.use_totp_step(&jane(), 101).await.unwrap());
    assert!(!state.use_totp_step(&jane(), u64::MAX).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_racing_for_a_step_one_gets_it_over_two_gateways() {
    let dir = tempfile::tempdir().unwrap();
    let states = [open(&dir).await, open(&dir).await];
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

#[tokio::test]
async fn the_first_host_key_is_kept_and_a_second_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    let (what, at) = ("praxis-mueller/konnektor/main", "192.168.2.100:9443");
    assert_eq!(state.learned(what, at).await.unwrap(), None);
    assert_eq!(state.learn(what, at, "sha256:aa", "firm-jane.doe").await.unwrap(), Learned::New);
    let pin = Pin { value: "sha256:aa".into(), who: "firm-jane.doe".into(), when: now() };
    assert_eq!(state.learn(what, at, "sha256:aa", "x").await.unwrap(), Learned::Same(pin.clone()));
    assert_eq!(state.learn(what, at, "sha256:bb", "x").await.unwrap(), Learned::Other(pin.clone()));
    assert_eq!(open(&dir).await.learned(what, at).await.unwrap(), Some(pin));
    assert_eq!(state.learn(what, "10.0.0.1:9443", "sha256:bb", "x").await.unwrap(), Learned::New);
}

#[tokio::test]
async fn penalties_outlive_a_restart_the_latest_end_wins_and_ended_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    let at = |secs| now() + jiff::SignedDuration::from_secs(secs);
    state.penalise("203.0.113.7", "firm-jane.doe", at(60), "3 wrong codes");
    state.penalise("203.0.113.7", "firm-jane.doe", at(30), "earlier end");
    state.penalise("203.0.113.8", "", at(10), "too many");
    state.flush().await.unwrap();
    state.penalise("203.0.113.7", "firm-jane.doe", at(40), "earlier end, after the flush");
    state.flush().await.unwrap();
    drop(state);
    let state = open(&dir).await;
    assert_eq!(state.penalties(now()).await.unwrap().len(), 2);
    let left = state.penalties(at(10)).await.unwrap();
    assert_eq!(left.iter().map(|p| (&*p.reason, p.until)).collect::<Vec<_>>(), [("3 wrong codes", at(60))]);
    assert_eq!(state.penalties(at(60)).await.unwrap(), []);
}

#[tokio::test]
async fn a_flood_of_penalties_is_bounded_in_memory_and_touches_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    for n in 0..3 * PENDING_MAX {
        state.penalise(&format!("source {n}"), "", now(), "flood");
    }
    // This test's runtime has one thread: nothing was written while the loop held it.
    assert_eq!(state.0.store.pending.lock().unwrap().len(), PENDING_MAX);
}

async fn fill(state: &State, from: i64, rows: i64, until: Timestamp) {
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1 + $2)
         INSERT INTO penalty SELECT 'source ' || i, '', $3 + i, 'flood' FROM n",
    )
    .bind(from)
    .bind(rows)
    .bind(until.as_microsecond())
    .execute(&state.0.store.pool)
    .await
    .unwrap();
}

async fn rows(state: &State) -> i64 {
    let row = sqlx::query("SELECT COUNT(*) FROM penalty").fetch_one(&state.0.store.pool).await.unwrap();
    row.try_get(0).unwrap()
}

#[tokio::test]
async fn each_flush_removes_ended_penalties_and_no_more_than_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
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

#[tokio::test]
async fn penalties_are_kept_up_to_a_number_and_the_ones_that_end_first_go() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    let at = |secs| now() + jiff::SignedDuration::from_secs(secs);
    fill(&state, 0, KEPT_MAX, at(60)).await;
    state.penalise("203.0.113.7", "", at(3600), "the latest end");
    state.flush().await.unwrap();
    assert_eq!(rows(&state).await, KEPT_MAX);
    let kept = state.penalties(now()).await.unwrap();
    assert!(kept.iter().any(|p| p.source == "203.0.113.7"));
    assert!(!kept.iter().any(|p| p.source == "source 0"));
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_plain_words() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    sqlx::query("INSERT INTO schema_version VALUES (99)").execute(&state.0.store.pool).await.unwrap();
    let refused = State::open(&url(&dir), Clock::of(now)).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "state: its schema is version 99, this pforte knows 4; run the newer pforte"
    );
}

#[tokio::test]
async fn the_file_is_ours_alone_and_one_that_others_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    state.use_totp_step(&jane(), 1).await.unwrap();
    let file = dir.path().join("state/state.db");
    for entry in std::fs::read_dir(file.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(State::open(&url(&dir), Clock::of(now)).await, Err(StateError::Open { .. })));
}

#[tokio::test]
async fn other_urls_are_refused() {
    for url in ["", "sqlite:", "sqlite::memory:", "postgres://x/y", "sqlite:x?mode=memory"] {
        assert!(matches!(State::open(url, Clock::of(now)).await, Err(StateError::Url)), "{url}");
    }
}
