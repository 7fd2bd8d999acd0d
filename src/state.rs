//! What must outlive a restart: used one-time codes, host keys and certificates seen first, penalties, jobs.
//! Absent on purpose: sessions and policy. What a connection knows dies with it; what a person may do stands in files.
//!
//! SQLite in one file; the SQL keeps to what PostgreSQL takes too (`$1`, `ON CONFLICT`, BIGINT microseconds for times).

mod orders;
mod schema;
mod slots;
mod usual;
mod work;

pub use orders::OrderRecord;
pub use slots::{LONGEST_HOLD, Slot};
pub use usual::UsualRecord;
pub use work::JobRecord;

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
mod tests;
