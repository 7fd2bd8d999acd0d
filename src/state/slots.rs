//! Which moment of a schedule was taken, by whom, and whether it is over: each is taken once, whoever asks for it.
//! Absent on purpose: when the moments are.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::store::{Row, sql};
use super::{State, StateError, time};

/// Nothing holds a slot, nor waits for its next try, longer than this; what does was written by a wrong clock.
pub const LONGEST_HOLD: SignedDuration = SignedDuration::from_hours(2);

/// The latest slot of a schedule that anybody took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its moment, without jitter.
    pub slot: Timestamp,
    /// It is over: done, or given up.
    pub over: bool,
    /// If it is not over: until then it is somebody's, or has to wait for its next try.
    pub not_before: Timestamp,
}

impl State {
    /// The latest slot of each schedule, by its name.
    ///
    /// # Errors
    /// The database.
    pub async fn slots(&self) -> Result<BTreeMap<String, Slot>, StateError> {
        let rows = self.0.store.pool.rows(sql("SELECT schedule, slot, ended, not_before FROM slot")).await?;
        let slot = |row: &Row| {
            let over: i64 = row.try_get(2)?;
            let slot =
                Slot { slot: time(row.try_get(1)?), over: over != 0, not_before: time(row.try_get(3)?) };
            Ok((row.try_get(0)?, slot))
        };
        rows.iter().map(slot).collect()
    }

    /// A schedule that is seen for the first time begins behind `slot`; so does one whose last slot is later than
    /// `horizon`, for then a clock was wrong.
    ///
    /// # Errors
    /// The database.
    pub async fn begin_slots(
        &self,
        schedule: &str,
        slot: Timestamp,
        horizon: Timestamp,
    ) -> Result<(), StateError> {
        self.0.store.pool.execute(sql("INSERT INTO slot (schedule, slot, ended, tries, holder, not_before) VALUES ($1, $2, 1, 0, '', $2)
             ON CONFLICT (schedule) DO UPDATE SET slot = excluded.slot, ended = 1, tries = 0, holder = '',
                 not_before = excluded.not_before
             WHERE slot.slot > $3")
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(horizon.as_microsecond())).await?;
        Ok(())
    }

    /// Takes a slot for `holder` until `until`, and gives the number of the try, from 1. Of many at the same time, over
    /// all gateways, one gets it; a slot that is over nobody, nor an earlier one.
    ///
    /// # Errors
    /// The database; the slot is nobody's then.
    pub async fn take_slot(
        &self,
        schedule: &str,
        slot: Timestamp,
        holder: &str,
        until: Timestamp,
    ) -> Result<Option<u32>, StateError> {
        let now = self.0.store.clock.now();
        let row = self.0.store.pool.row(sql("INSERT INTO slot (schedule, slot, ended, tries, holder, not_before) VALUES ($1, $2, 0, 1, $3, $4)
             ON CONFLICT (schedule) DO UPDATE SET slot = excluded.slot, ended = 0, holder = excluded.holder,
                 not_before = excluded.not_before,
                 tries = CASE WHEN slot.slot = excluded.slot THEN slot.tries + 1 ELSE 1 END
             WHERE (excluded.slot > slot.slot AND slot.ended = 1)
                OR (excluded.slot >= slot.slot AND slot.ended = 0
                    AND (slot.not_before <= $5 OR slot.not_before > $6))
             RETURNING tries")
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(holder)
        .bind(until.as_microsecond())
        .bind(now.as_microsecond())
        .bind((now + LONGEST_HOLD).as_microsecond())).await?;
        let tries: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(tries.map(|tries| u32::try_from(tries).unwrap_or(u32::MAX)))
    }

    /// Keeps a slot until `until`: its work goes on, or its next try is then. Only its holder's word counts.
    ///
    /// # Errors
    /// The database.
    pub async fn keep_slot(
        &self,
        schedule: &str,
        slot: Timestamp,
        holder: &str,
        until: Timestamp,
    ) -> Result<(), StateError> {
        self.0.store.pool.execute(sql("UPDATE slot SET not_before = $4 WHERE schedule = $1 AND slot = $2 AND holder = $3 AND ended = 0")
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(holder)
        .bind(until.as_microsecond())).await?;
        Ok(())
    }

    /// Gives a slot back as if it had not been taken: the gateway closes, and it runs again.
    ///
    /// # Errors
    /// The database; it is then free once its time is up.
    pub async fn return_slot(&self, schedule: &str, slot: Timestamp, holder: &str) -> Result<(), StateError> {
        self.0
            .store
            .pool
            .execute(
                sql("UPDATE slot SET not_before = $4, tries = CASE WHEN tries > 1 THEN tries - 1 ELSE 0 END
             WHERE schedule = $1 AND slot = $2 AND holder = $3 AND ended = 0")
                .bind(schedule)
                .bind(slot.as_microsecond())
                .bind(holder)
                .bind(self.0.store.clock.now().as_microsecond()),
            )
            .await?;
        Ok(())
    }

    /// A slot is over.
    ///
    /// # Errors
    /// The database.
    pub async fn end_slot(&self, schedule: &str, slot: Timestamp, holder: &str) -> Result<(), StateError> {
        self.0
            .store
            .pool
            .execute(
                sql("UPDATE slot SET ended = 1 WHERE schedule = $1 AND slot = $2 AND holder = $3")
                    .bind(schedule)
                    .bind(slot.as_microsecond())
                    .bind(holder),
            )
            .await?;
        Ok(())
    }

    /// A good backup of a box was taken.
    ///
    /// # Errors
    /// The database.
    pub async fn note_good_backup(&self, konnektor: &str, taken: Timestamp) -> Result<(), StateError> {
        self.0
            .store
            .pool
            .execute(
                sql("INSERT INTO good_backup (konnektor, taken_at) VALUES ($1, $2)
             ON CONFLICT (konnektor) DO UPDATE SET taken_at = excluded.taken_at")
                .bind(konnektor)
                .bind(taken.as_microsecond()),
            )
            .await?;
        Ok(())
    }

    /// When the last good backup of a box was taken; if there was none, when that was first asked.
    ///
    /// # Errors
    /// The database.
    pub async fn last_good_backup(&self, konnektor: &str) -> Result<Timestamp, StateError> {
        let row = self
            .0
            .store
            .pool
            .row(
                sql("INSERT INTO good_backup (konnektor, taken_at) VALUES ($1, $2)
             ON CONFLICT (konnektor) DO UPDATE SET taken_at = good_backup.taken_at RETURNING taken_at")
                .bind(konnektor)
                .bind(self.0.store.clock.now().as_microsecond()),
            )
            .await?
            .ok_or(sqlx::Error::RowNotFound)?;
        Ok(time(row.try_get(0)?))
    }

    /// May this be told, or was it since `since`? Of many at the same time one may.
    ///
    /// # Errors
    /// The database.
    pub async fn may_tell(&self, what: &str, since: Timestamp) -> Result<bool, StateError> {
        let now = self.0.store.clock.now().as_microsecond();
        let done = self
            .0
            .store
            .pool
            .execute(
                sql("INSERT INTO told (what, told_at) VALUES ($1, $2)
             ON CONFLICT (what) DO UPDATE SET told_at = excluded.told_at
             WHERE told.told_at <= $3 OR told.told_at > $2")
                .bind(what)
                .bind(now)
                .bind(since.as_microsecond()),
            )
            .await?;
        Ok(done == 1)
    }
}
