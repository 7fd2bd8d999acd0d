//! Who has to wait, written down behind their back: many at a time, in the background.
//! Absent on purpose: what deserves a penalty.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::changes::Topic;
use super::store::{Row, sql};
use super::{State, StateError, Store, time};

/// Penalties that can wait to be written; what comes beyond is kept by the limits in memory only.
pub(super) const PENDING_MAX: usize = 4096;
/// Penalties that are kept at most; beyond, the ones that end first go.
pub(super) const KEPT_MAX: i64 = 65_536;
/// Penalties that one flush removes at most: twice what it can add, so it catches up, and holds the database briefly.
pub(super) const REMOVED_MAX: i64 = 8192;
/// How long the writer collects penalties before it writes them in one transaction.
const COLLECT: Duration = Duration::from_millis(250);

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

/// What waits to be written.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) pending: Mutex<HashMap<(String, String), Penalty>>,
    wake: Notify,
    /// One flush at a time, so that a later end is never overtaken by an earlier one.
    flushing: tokio::sync::Mutex<()>,
}

impl State {
    /// Notes a penalty. Returns at once: it is written in the background with others, the latest end wins (R83).
    pub fn penalise(&self, source: &str, key: &str, until: Timestamp, reason: &str) {
        let penalty = Penalty { source: source.into(), key: key.into(), until, reason: reason.into() };
        self.0.store.note(penalty);
        self.0.store.waiting.wake.notify_one();
    }

    /// The penalties that still run at `now`, to load at the start; ended ones are removed.
    ///
    /// # Errors
    /// The database.
    pub async fn penalties(&self, now: Timestamp) -> Result<Vec<Penalty>, StateError> {
        self.flush().await?;
        let now = now.as_microsecond();
        let pool = &self.0.store.pool;
        pool.execute(sql("DELETE FROM penalty WHERE ends_at <= $1").bind(now)).await?;
        let rows = sql("SELECT source, subject, ends_at, reason FROM penalty ORDER BY source, subject");
        pool.rows(rows).await?.iter().map(penalty).collect()
    }

    /// Writes the penalties that wait; for a clean end.
    ///
    /// # Errors
    /// The database; what could not be written waits on.
    pub async fn flush(&self) -> Result<(), StateError> {
        self.0.store.flush().await
    }
}

pub(super) fn penalty(row: &Row) -> Result<Penalty, StateError> {
    let (source, key) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Penalty { source, key, until: time(row.try_get(2)?), reason: row.try_get(3)? })
}

impl Store {
    fn note(&self, penalty: Penalty) {
        let mut pending = self.waiting.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (penalty.source.clone(), penalty.key.clone());
        if let Some(there) = pending.get_mut(&key) {
            if there.until < penalty.until {
                *there = penalty;
            }
        } else if pending.len() < PENDING_MAX {
            pending.insert(key, penalty);
        }
    }

    pub(super) async fn flush(&self) -> Result<(), StateError> {
        let _one = self.waiting.flushing.lock().await;
        let pending = &self.waiting.pending;
        let batch = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
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
        let mut changing = self.changing(Topic::Penalties).await?;
        let version = changing.version;
        for penalty in batch {
            changing
                .execute(
                    sql("INSERT INTO penalty (source, subject, ends_at, reason, version, writer)
                         VALUES ($1, $2, $3, $4, $5, $6)
                         ON CONFLICT (source, subject) DO UPDATE SET ends_at = excluded.ends_at,
                         reason = excluded.reason, version = excluded.version, writer = excluded.writer
                         WHERE excluded.ends_at > penalty.ends_at")
                    .bind(&penalty.source)
                    .bind(&penalty.key)
                    .bind(penalty.until.as_microsecond())
                    .bind(&penalty.reason)
                    .bind(version)
                    .bind(self.holder.as_str()),
                )
                .await?;
        }
        let ended = sql("DELETE FROM penalty WHERE (source, subject) IN
             (SELECT source, subject FROM penalty WHERE ends_at <= $2 ORDER BY ends_at LIMIT $1)");
        changing.execute(ended.bind(REMOVED_MAX).bind(self.clock.now().as_microsecond())).await?;
        let kept: i64 = changing.row(sql("SELECT COUNT(*) FROM penalty")).await?.try_get(0)?;
        if kept > KEPT_MAX {
            let first = sql("DELETE FROM penalty WHERE (source, subject) IN
                 (SELECT source, subject FROM penalty ORDER BY ends_at LIMIT $1)");
            changing.execute(first.bind((kept - KEPT_MAX).min(REMOVED_MAX))).await?;
        }
        changing.told().await
    }
}

/// Writes what waits, and what another try is due for, until it is aborted.
pub(super) async fn write(store: Arc<Store>) {
    loop {
        store.waiting.wake.notified().await;
        tokio::time::sleep(COLLECT).await;
        if let Err(error) = store.flush().await {
            tracing::warn!(%error, "penalties are not written and wait");
        }
    }
}
