//! What must outlive a restart: used one-time codes, host keys and certificates seen first, penalties.
//! Absent on purpose: sessions and policy. What a connection knows dies with it; what a person may do stands in files.
//!
//! SQLite in one file; the SQL keeps to what PostgreSQL takes too (`$1`, `ON CONFLICT`, BIGINT microseconds for times).

mod schema;

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::names::Username;

/// Penalties that can wait to be written; what comes beyond is kept by the limits in memory only.
const PENDING_MAX: usize = 4096;
/// Penalties that are kept at most; beyond, the ones that end first go.
const KEPT_MAX: i64 = 65_536;
/// Penalties that one flush removes at most: twice what it can add, so it catches up, and holds the database briefly.
const REMOVED_MAX: i64 = 8192;
/// How long the writer collects penalties before it writes them in one transaction.
const COLLECT: Duration = Duration::from_millis(250);

/// The state cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The URL is of another kind.
    #[error("state: expected sqlite:PATH")]
    Url,
    /// The system says no.
    #[error("state {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others could have changed it.
    #[error("state {}: mode {mode:03o} lets others read or write it; chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A later pforte wrote it.
    #[error("state: its schema is version {found}, this pforte knows {known}; run the newer pforte")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The database says no.
    #[error("state: {0}")]
    Database(#[from] sqlx::Error),
}

/// A host key or certificate as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// `ssh-ed25519 AAAA…` or `sha256:…`.
    pub value: String,
    /// Who was connecting.
    pub who: String,
    /// When.
    pub when: Timestamp,
}

/// What became of a key or certificate that was to be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The first one for this box: kept from now on.
    New,
    /// The one that is kept already.
    Same(Pin),
    /// Another one is kept: refuse the box.
    Other(Pin),
}

/// Somebody who has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// The address or network.
    pub source: String,
    /// What it is about: a user's name, a key, or empty for the source as a whole.
    pub key: String,
    /// The end.
    pub until: Timestamp,
    /// For the operator.
    pub reason: String,
}

/// A handle on the state; cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    writer: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

struct Store {
    pool: SqlitePool,
    clock: Clock,
    pending: Mutex<HashMap<(String, String), Penalty>>,
    wake: Notify,
    /// One flush at a time, so that a later end is never overtaken by an earlier one.
    flushing: tokio::sync::Mutex<()>,
}

impl State {
    /// Opens `sqlite:PATH` (made, 0600, where it is missing) and brings its schema up to date.
    ///
    /// # Errors
    /// [`StateError`]: another URL, a file that others can open, a newer schema, or the disk refuses.
    pub async fn open(url: &str, clock: Clock) -> Result<Self, StateError> {
        let path = url.strip_prefix("sqlite:").map(|p| p.strip_prefix("//").unwrap_or(p));
        let path =
            Path::new(path.filter(|p| !p.is_empty() && !p.contains(['?', ':'])).ok_or(StateError::Url)?);
        own_file(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        schema::migrate(&pool).await?;
        let store = Arc::new(Store {
            pool,
            clock,
            pending: Mutex::default(),
            wake: Notify::new(),
            flushing: tokio::sync::Mutex::default(),
        });
        let writer = tokio::spawn(write_penalties(Arc::clone(&store))).abort_handle();
        Ok(Self(Arc::new(Inner { store, writer })))
    }

    /// Takes a one-time code's time step: `true` once, and only if it is later than the last one taken (RFC 6238, 5.2).
    /// Of two callers at the same time one gets `true`.
    ///
    /// # Errors
    /// The database; the code then counts as wrong.
    pub async fn use_totp_step(&self, user: &Username, step: u64) -> Result<bool, StateError> {
        let Ok(step) = i64::try_from(step) else { return Ok(false) };
        let done = sqlx::query(
            "INSERT INTO totp_step (username, step, used_at) VALUES ($1, $2, $3)
             ON CONFLICT (username) DO UPDATE SET step = excluded.step, used_at = excluded.used_at
             WHERE excluded.step > totp_step.step",
        )
        .bind(user.as_str())
        .bind(step)
        .bind(self.0.store.clock.now().as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// What was learned for `what` (`praxis-mueller/konnektor/main`) at `address`.
    ///
    /// # Errors
    /// The database.
    pub async fn learned(&self, what: &str, address: &str) -> Result<Option<Pin>, StateError> {
        let row = sqlx::query("SELECT pin, who, learned_at FROM learned WHERE what = $1 AND address = $2")
            .bind(what)
            .bind(address)
            .fetch_optional(&self.0.store.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Pin { value: row.try_get(0)?, who: row.try_get(1)?, when: time(row.try_get(2)?) }))
    }

    /// Keeps the first key or certificate seen; a later one never replaces it.
    ///
    /// # Errors
    /// The database.
    pub async fn learn(
        &self,
        what: &str,
        address: &str,
        value: &str,
        who: &str,
    ) -> Result<Learned, StateError> {
        let done = sqlx::query(
            "INSERT INTO learned (what, address, pin, who, learned_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (what, address) DO NOTHING",
        )
        .bind(what)
        .bind(address)
        .bind(value)
        .bind(who)
        .bind(self.0.store.clock.now().as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Learned::New);
        }
        let kept = self.learned(what, address).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(if kept.value == value { Learned::Same(kept) } else { Learned::Other(kept) })
    }

    /// Notes a penalty. Returns at once: it is written in the background with others, the latest end wins (R83).
    pub fn penalise(&self, source: &str, key: &str, until: Timestamp, reason: &str) {
        let penalty = Penalty { source: source.into(), key: key.into(), until, reason: reason.into() };
        self.0.store.note(penalty);
        self.0.store.wake.notify_one();
    }

    /// The penalties that still run at `now`, to load at the start; ended ones are removed.
    ///
    /// # Errors
    /// The database.
    pub async fn penalties(&self, now: Timestamp) -> Result<Vec<Penalty>, StateError> {
        self.flush().await?;
        let now = now.as_microsecond();
        let pool = &self.0.store.pool;
        sqlx::query("DELETE FROM penalty WHERE ends_at <= $1").bind(now).execute(pool).await?;
        let rows =
            sqlx::query("SELECT source, subject, ends_at, reason FROM penalty ORDER BY source, subject")
                .fetch_all(pool)
                .await?;
        let penalty = |row: sqlx::sqlite::SqliteRow| {
            let (source, key) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Penalty { source, key, until: time(row.try_get(2)?), reason: row.try_get(3)? })
        };
        rows.into_iter().map(penalty).collect()
    }

    /// Writes the penalties that wait; for a clean end.
    ///
    /// # Errors
    /// The database; what could not be written waits on.
    pub async fn flush(&self) -> Result<(), StateError> {
        self.0.store.flush().await
    }
}

impl Store {
    fn note(&self, penalty: Penalty) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (penalty.source.clone(), penalty.key.clone());
        if let Some(there) = pending.get_mut(&key) {
            if there.until < penalty.until {
                *there = penalty;
            }
        } else if pending.len() < PENDING_MAX {
            pending.insert(key, penalty);
        }
    }

    async fn flush(&self) -> Result<(), StateError> {
        let _one = self.flushing.lock().await;
        let batch = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.write(batch.values()).await;
        if written.is_err() {
            for penalty in batch.into_values() {
                self.note(penalty);
            }
        }
        written
    }

    async fn write(&self, batch: impl Iterator<Item = &Penalty>) -> Result<(), StateError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for penalty in batch {
            sqlx::query(
                "INSERT INTO penalty (source, subject, ends_at, reason) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (source, subject) DO UPDATE SET ends_at = excluded.ends_at, reason = excluded.reason
                 WHERE excluded.ends_at > penalty.ends_at",
            )
            .bind(&penalty.source)
            .bind(&penalty.key)
            .bind(penalty.until.as_microsecond())
            .bind(&penalty.reason)
            .execute(&mut *transaction)
            .await?;
        }
        let now = self.clock.now().as_microsecond();
        sqlx::query(
            "DELETE FROM penalty WHERE (source, subject) IN
             (SELECT source, subject FROM penalty WHERE ends_at <= $2 ORDER BY ends_at LIMIT $1)",
        )
        .bind(REMOVED_MAX)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        let kept: i64 =
            sqlx::query("SELECT COUNT(*) FROM penalty").fetch_one(&mut *transaction).await?.try_get(0)?;
        if kept > KEPT_MAX {
            sqlx::query(
                "DELETE FROM penalty WHERE (source, subject) IN
                 (SELECT source, subject FROM penalty ORDER BY ends_at LIMIT $1)",
            )
            .bind((kept - KEPT_MAX).min(REMOVED_MAX))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }
}

async fn write_penalties(store: Arc<Store>) {
    loop {
        store.wake.notified().await;
        tokio::time::sleep(COLLECT).await;
        if let Err(error) = store.flush().await {
            tracing::warn!(%error, "penalties are not written and wait");
        }
    }
}

fn own_file(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mode = file.and_then(|file| file.metadata()).map_err(failed)?.mode() & 0o777;
    let others = mode & 0o077;
    if others == 0 { Ok(()) } else { Err(StateError::Open { path: path.to_owned(), mode }) }
}

/// Times were written by us; one that is out of range reads as the end of time, so that a penalty does not vanish.
fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            left.iter().map(|p| (&*p.reason, p.until)).collect::<Vec<_>>(),
            [("3 wrong codes", at(60))]
        );
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
            "state: its schema is version 99, this pforte knows 1; run the newer pforte"
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
}
