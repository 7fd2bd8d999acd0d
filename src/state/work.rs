//! What long work leaves behind: numbered jobs, a restore that is not at its end.
//! Absent on purpose: a backup's content, and who may do what.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::changes::Topic;
use super::store::{Row, sql};
use super::{State, StateError, Store, time};

/// A job as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Counted up over restarts.
    pub number: u32,
    /// `site/konnektor`.
    pub konnektor: String,
    /// Who began it.
    pub who: String,
    /// What was asked for, secrets masked.
    pub command: String,
    /// When.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// With which exit code.
    pub exit: Option<u32>,
    /// Why, if not well.
    pub cause: Option<String>,
}

/// Jobs that are kept at most.
const JOBS_MAX: i64 = 1000;

/// Ends that can wait to be written while the database is away.
const ENDS_MAX: usize = 1024;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    number: u32,
    at: Timestamp,
    exit: u32,
    cause: Option<String>,
}

impl State {
    /// Writes a job down as this gateway's and gives its number.
    ///
    /// # Errors
    /// The database.
    pub async fn begin_job(&self, konnektor: &str, who: &str, command: &str) -> Result<u32, StateError> {
        let store = &self.0.store;
        let mut changing = store.changing(Topic::Jobs).await?;
        // A gateway that the others took for gone is there again.
        let there = sql("INSERT INTO gateway (holder, beats) VALUES ($1, 1) ON CONFLICT (holder) DO NOTHING");
        changing.execute(there.bind(store.holder.as_str())).await?;
        let row = changing.row(sql("SELECT COALESCE(MAX(number), 0) + 1 FROM job"));
        let number: i64 = row.await?.try_get(0)?;
        let command: String = command.chars().take(512).collect();
        changing
            .execute(
                sql("INSERT INTO job (number, konnektor, who, command, began_at, holder)
                     VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(number)
                .bind(konnektor)
                .bind(who)
                .bind(&command)
                .bind(store.clock.now().as_microsecond())
                .bind(store.holder.as_str()),
            )
            .await?;
        let old = sql("DELETE FROM job WHERE number <= $1 AND ended_at IS NOT NULL");
        changing.execute(old.bind(number - JOBS_MAX)).await?;
        changing.told().await?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Writes down how a job ended, and gives its turn at the box back. What cannot be written now is written later.
    ///
    /// # Errors
    /// The database.
    pub async fn end_job(&self, number: u32, exit: u32, cause: Option<&str>) -> Result<(), StateError> {
        let store = &self.0.store;
        let end = End { number, at: store.clock.now(), exit, cause: cause.map(ToOwned::to_owned) };
        let written = store.end_job(&end).await;
        if written.is_err() {
            let mut unwritten = store.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            if unwritten.len() < ENDS_MAX {
                unwritten.push_back(end);
            }
        }
        written
    }

    /// Takes a box for a job of this gateway: `None`, or the number of the job that another gateway, which is there, has
    /// begun at it. Between its own jobs a gateway chooses itself.
    ///
    /// # Errors
    /// The database; the work must not begin then.
    pub async fn take_turn(&self, konnektor: &str, number: u32) -> Result<Option<u32>, StateError> {
        let store = &self.0.store;
        let taken = sql("INSERT INTO turn (konnektor, holder, job) VALUES ($1, $2, $3)
             ON CONFLICT (konnektor) DO UPDATE SET holder = excluded.holder, job = excluded.job
             WHERE turn.holder = excluded.holder
                OR NOT EXISTS (SELECT 1 FROM gateway WHERE gateway.holder = turn.holder)");
        let taken = taken.bind(konnektor).bind(store.holder.as_str()).bind(i64::from(number));
        if store.pool.execute(taken).await? == 1 {
            return Ok(None);
        }
        let other = sql("SELECT job FROM turn WHERE konnektor = $1").bind(konnektor);
        let other: Option<i64> = store.pool.row(other).await?.map(|row| row.try_get(0)).transpose()?;
        Ok(Some(other.and_then(|job| u32::try_from(job).ok()).unwrap_or(0)))
    }

    /// The job of another gateway, which is there, that works at this box.
    ///
    /// # Errors
    /// The database.
    pub async fn turn_elsewhere(&self, konnektor: &str) -> Result<Option<u32>, StateError> {
        let other = sql("SELECT job FROM turn WHERE konnektor = $1 AND holder <> $2
             AND EXISTS (SELECT 1 FROM gateway WHERE gateway.holder = turn.holder)");
        let other = other.bind(konnektor).bind(self.0.store.holder.as_str());
        let job: Option<i64> = self.0.store.pool.row(other).await?.map(|row| row.try_get(0)).transpose()?;
        Ok(job.map(|job| u32::try_from(job).unwrap_or(0)))
    }

    /// Those that have no end yet and the latest of the others, the oldest of each first, those without an end last.
    ///
    /// # Errors
    /// The database.
    pub async fn jobs(&self, most: u32) -> Result<Vec<JobRecord>, StateError> {
        let rows = sql("SELECT number, konnektor, who, command, began_at, ended_at, exit_code, cause
             FROM job ORDER BY ended_at IS NOT NULL, number DESC LIMIT $1");
        let rows = self.0.store.pool.rows(rows.bind(i64::from(most))).await?;
        let record = |row: &Row| {
            let (number, exit): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(6)?);
            let ended: Option<i64> = row.try_get(5)?;
            Ok(JobRecord {
                number: u32::try_from(number).unwrap_or(u32::MAX),
                konnektor: row.try_get(1)?,
                who: row.try_get(2)?,
                command: row.try_get(3)?,
                began: time(row.try_get(4)?),
                ended: ended.map(time),
                exit: exit.and_then(|exit| u32::try_from(exit).ok()),
                cause: row.try_get(7)?,
            })
        };
        rows.iter().rev().map(record).collect()
    }

    /// Keeps what is needed to bring a box's interrupted restore to a good end; one a box.
    ///
    /// # Errors
    /// The database; the work must not begin then.
    pub async fn keep_unfinished(&self, konnektor: &str, record: &str) -> Result<(), StateError> {
        let kept = sql("INSERT INTO unfinished (konnektor, record, changed_at) VALUES ($1, $2, $3)
             ON CONFLICT (konnektor) DO UPDATE SET record = excluded.record, changed_at = excluded.changed_at");
        let kept = kept.bind(konnektor).bind(record).bind(self.0.store.clock.now().as_microsecond());
        self.0.store.pool.execute(kept).await.map(drop)
    }

    /// What is unfinished at a box.
    ///
    /// # Errors
    /// The database.
    pub async fn unfinished(&self, konnektor: &str) -> Result<Option<String>, StateError> {
        let row = sql("SELECT record FROM unfinished WHERE konnektor = $1").bind(konnektor);
        self.0.store.pool.row(row).await?.map(|row| row.try_get(0)).transpose()
    }

    /// It has come to its end.
    ///
    /// # Errors
    /// The database.
    pub async fn forget_unfinished(&self, konnektor: &str) -> Result<(), StateError> {
        let over = sql("DELETE FROM unfinished WHERE konnektor = $1").bind(konnektor);
        self.0.store.pool.execute(over).await.map(drop)
    }
}

impl Store {
    pub(super) async fn end_job(&self, end: &End) -> Result<(), StateError> {
        let End { number, at, exit, cause } = end;
        let mut both = self.pool.begin().await?;
        let ended = sql("UPDATE job SET ended_at = $2, exit_code = $3, cause = $4 WHERE number = $1");
        let ended = ended.bind(i64::from(*number)).bind(at.as_microsecond());
        both.execute(ended.bind(i64::from(*exit)).bind(cause.as_deref())).await?;
        let turn = sql("DELETE FROM turn WHERE job = $1 AND holder = $2");
        both.execute(turn.bind(i64::from(*number)).bind(self.holder.as_str())).await?;
        both.commit().await
    }
}
