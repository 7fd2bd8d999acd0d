//! What long work leaves behind: numbered jobs, a restore that is not at its end.
//! Absent on purpose: a backup's content, and who may do what.

use jiff::Timestamp;
use sqlx::Row as _;

use super::{State, StateError, time};

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

impl State {
    /// Writes a job down and gives its number.
    ///
    /// # Errors
    /// The database.
    pub async fn begin_job(&self, konnektor: &str, who: &str, command: &str) -> Result<u32, StateError> {
        let mut transaction = self.0.store.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 FROM job");
        let number: i64 = row.fetch_one(&mut *transaction).await?.try_get(0)?;
        let command: String = command.chars().take(512).collect();
        sqlx::query(
            "INSERT INTO job (number, konnektor, who, command, began_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(number)
        .bind(konnektor)
        .bind(who)
        .bind(command)
        .bind(self.0.store.clock.now().as_microsecond())
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM job WHERE number <= $1 AND ended_at IS NOT NULL")
            .bind(number - JOBS_MAX)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Writes down how a job ended.
    ///
    /// # Errors
    /// The database.
    pub async fn end_job(&self, number: u32, exit: u32, cause: Option<&str>) -> Result<(), StateError> {
        sqlx::query("UPDATE job SET ended_at = $2, exit_code = $3, cause = $4 WHERE number = $1")
            .bind(i64::from(number))
            .bind(self.0.store.clock.now().as_microsecond())
            .bind(i64::from(exit))
            .bind(cause)
            .execute(&self.0.store.pool)
            .await?;
        Ok(())
    }

    /// Jobs that no end was written of: the gateway ended in their midst. Called once, at the start.
    ///
    /// # Errors
    /// The database.
    pub async fn close_lost_jobs(&self) -> Result<u64, StateError> {
        let done = sqlx::query(
            "UPDATE job SET ended_at = $1, exit_code = 1, cause = 'gateway-ended' WHERE ended_at IS NULL",
        )
        .bind(self.0.store.clock.now().as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// Those that have no end yet and the latest of the others, the oldest of each first, those without an end last.
    ///
    /// # Errors
    /// The database.
    pub async fn jobs(&self, most: u32) -> Result<Vec<JobRecord>, StateError> {
        let rows = sqlx::query(
            "SELECT number, konnektor, who, command, began_at, ended_at, exit_code, cause
             FROM job ORDER BY ended_at IS NOT NULL, number DESC LIMIT $1",
        )
        .bind(i64::from(most))
        .fetch_all(&self.0.store.pool)
        .await?;
        let record = |row: sqlx::sqlite::SqliteRow| {
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
        rows.into_iter().rev().map(record).collect()
    }

    /// Keeps what is needed to bring a box's interrupted restore to a good end; one a box.
    ///
    /// # Errors
    /// The database; the work must not begin then.
    pub async fn keep_unfinished(&self, konnektor: &str, record: &str) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO unfinished (konnektor, record, changed_at) VALUES ($1, $2, $3)
             ON CONFLICT (konnektor) DO UPDATE SET record = excluded.record, changed_at = excluded.changed_at",
        )
        .bind(konnektor)
        .bind(record)
        .bind(self.0.store.clock.now().as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(())
    }

    /// What is unfinished at a box.
    ///
    /// # Errors
    /// The database.
    pub async fn unfinished(&self, konnektor: &str) -> Result<Option<String>, StateError> {
        let row = sqlx::query("SELECT record FROM unfinished WHERE konnektor = $1")
            .bind(konnektor)
            .fetch_optional(&self.0.store.pool)
            .await?;
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// It has come to its end.
    ///
    /// # Errors
    /// The database.
    pub async fn forget_unfinished(&self, konnektor: &str) -> Result<(), StateError> {
        let query = sqlx::query("DELETE FROM unfinished WHERE konnektor = $1").bind(konnektor);
        query.execute(&self.0.store.pool).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn jobs_are_numbered_over_restarts_and_lost_ones_are_said_to_be_that() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state.sqlite").display());
        {
            let state = State::open(&url, Clock::system()).await.unwrap();
            assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "konnektor backup").await.unwrap(), 1);
            assert_eq!(
                state.begin_job("praxis/main", "firm-jane.doe", "konnektor restore").await.unwrap(),
                2
            );
            state.end_job(1, 0, None).await.unwrap();
        }
        let state = State::open(&url, Clock::system()).await.unwrap();
        assert_eq!(state.close_lost_jobs().await.unwrap(), 1);
        assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "x").await.unwrap(), 3);
        let jobs = state.jobs(2).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((jobs[0].exit, jobs[0].cause.as_deref()), (Some(1), Some("gateway-ended")));
        assert_eq!((jobs[1].exit, jobs[1].ended), (None, None));
    }

    #[tokio::test]
    async fn a_job_that_runs_is_not_hidden_by_any_number_of_later_ones() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state.sqlite").display());
        let state = State::open(&url, Clock::system()).await.unwrap();
        assert_eq!(state.begin_job("praxis/main", "firm-jane.doe", "konnektor restore").await.unwrap(), 1);
        for _ in 0..5 {
            let number = state.begin_job("labor/main", "other-max.muster", "konnektor backup").await.unwrap();
            state.end_job(number, 1, None).await.unwrap();
        }
        let jobs = state.jobs(3).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [5, 6, 1]);
    }

    #[tokio::test]
    async fn one_unfinished_restore_a_box_is_kept_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state.sqlite").display());
        let state = State::open(&url, Clock::system()).await.unwrap();
        state.keep_unfinished("praxis/main", "a").await.unwrap();
        state.keep_unfinished("praxis/main", "b").await.unwrap();
        assert_eq!(state.unfinished("praxis/main").await.unwrap().as_deref(), Some("b"));
        assert_eq!(state.unfinished("praxis/second").await.unwrap(), None);
        state.forget_unfinished("praxis/main").await.unwrap();
        assert_eq!(state.unfinished("praxis/main").await.unwrap(), None);
    }
}
