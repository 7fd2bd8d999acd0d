//! Which moment of a schedule was taken, by whom, and whether it is over: each is taken once, whoever asks for it.
//! Absent on purpose: when the moments are.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sqlx::Row as _;

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
        let rows = sqlx::query("SELECT schedule, slot, ended, not_before FROM slot")
            .fetch_all(&self.0.store.pool)
            .await?;
        let slot = |row: sqlx::sqlite::SqliteRow| {
            let over: i64 = row.try_get(2)?;
            let slot =
                Slot { slot: time(row.try_get(1)?), over: over != 0, not_before: time(row.try_get(3)?) };
            Ok((row.try_get(0)?, slot))
        };
        rows.into_iter().map(slot).collect()
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
        sqlx::query(
            "INSERT INTO slot (schedule, slot, ended, tries, holder, not_before) VALUES ($1, $2, 1, 0, '', $2)
             ON CONFLICT (schedule) DO UPDATE SET slot = excluded.slot, ended = 1, tries = 0, holder = '',
                 not_before = excluded.not_before
             WHERE slot.slot > $3",
        )
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(horizon.as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
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
        let row = sqlx::query(
            "INSERT INTO slot (schedule, slot, ended, tries, holder, not_before) VALUES ($1, $2, 0, 1, $3, $4)
             ON CONFLICT (schedule) DO UPDATE SET slot = excluded.slot, ended = 0, holder = excluded.holder,
                 not_before = excluded.not_before,
                 tries = CASE WHEN slot.slot = excluded.slot THEN slot.tries + 1 ELSE 1 END
             WHERE (excluded.slot > slot.slot AND slot.ended = 1)
                OR (excluded.slot >= slot.slot AND slot.ended = 0
                    AND (slot.not_before <= $5 OR slot.not_before > $6))
             RETURNING tries",
        )
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(holder)
        .bind(until.as_microsecond())
        .bind(now.as_microsecond())
        .bind((now + LONGEST_HOLD).as_microsecond())
        .fetch_optional(&self.0.store.pool)
        .await?;
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
        sqlx::query(
            "UPDATE slot SET not_before = $4 WHERE schedule = $1 AND slot = $2 AND holder = $3 AND ended = 0",
        )
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(holder)
        .bind(until.as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(())
    }

    /// Gives a slot back as if it had not been taken: the gateway closes, and it runs again.
    ///
    /// # Errors
    /// The database; it is then free once its time is up.
    pub async fn return_slot(&self, schedule: &str, slot: Timestamp, holder: &str) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE slot SET not_before = $4, tries = MAX(tries - 1, 0)
             WHERE schedule = $1 AND slot = $2 AND holder = $3 AND ended = 0",
        )
        .bind(schedule)
        .bind(slot.as_microsecond())
        .bind(holder)
        .bind(self.0.store.clock.now().as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(())
    }

    /// A slot is over.
    ///
    /// # Errors
    /// The database.
    pub async fn end_slot(&self, schedule: &str, slot: Timestamp, holder: &str) -> Result<(), StateError> {
        sqlx::query("UPDATE slot SET ended = 1 WHERE schedule = $1 AND slot = $2 AND holder = $3")
            .bind(schedule)
            .bind(slot.as_microsecond())
            .bind(holder)
            .execute(&self.0.store.pool)
            .await?;
        Ok(())
    }

    /// A good backup of a box was taken.
    ///
    /// # Errors
    /// The database.
    pub async fn note_good_backup(&self, konnektor: &str, taken: Timestamp) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO good_backup (konnektor, taken_at) VALUES ($1, $2)
             ON CONFLICT (konnektor) DO UPDATE SET taken_at = excluded.taken_at",
        )
        .bind(konnektor)
        .bind(taken.as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(())
    }

    /// When the last good backup of a box was taken; if there was none, when that was first asked.
    ///
    /// # Errors
    /// The database.
    pub async fn last_good_backup(&self, konnektor: &str) -> Result<Timestamp, StateError> {
        let row = sqlx::query(
            "INSERT INTO good_backup (konnektor, taken_at) VALUES ($1, $2)
             ON CONFLICT (konnektor) DO UPDATE SET taken_at = good_backup.taken_at RETURNING taken_at",
        )
        .bind(konnektor)
        .bind(self.0.store.clock.now().as_microsecond())
        .fetch_one(&self.0.store.pool)
        .await?;
        Ok(time(row.try_get(0)?))
    }

    /// May this be told, or was it since `since`? Of many at the same time one may.
    ///
    /// # Errors
    /// The database.
    pub async fn may_tell(&self, what: &str, since: Timestamp) -> Result<bool, StateError> {
        let now = self.0.store.clock.now().as_microsecond();
        let done = sqlx::query(
            "INSERT INTO told (what, told_at) VALUES ($1, $2)
             ON CONFLICT (what) DO UPDATE SET told_at = excluded.told_at
             WHERE told.told_at <= $3 OR told.told_at > $2",
        )
        .bind(what)
        .bind(now)
        .bind(since.as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::clock::Clock;

    struct Bench {
        _dir: tempfile::TempDir,
        states: [State; 2],
        now: Arc<AtomicI64>,
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state.sqlite").display());
        let now = Arc::new(AtomicI64::new(1000));
        let told = Arc::clone(&now);
        let clock = Clock::of(move || at(told.load(Ordering::Relaxed)));
        let states =
            [State::open(&url, clock.clone()).await.unwrap(), State::open(&url, clock).await.unwrap()];
        Bench { _dir: dir, states, now }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_racing_for_a_slot_one_gets_it_over_two_gateways() {
        let bench = bench().await;
        for slot in 1..=5 {
            let race: Vec<_> = (0..16)
                .map(|n| {
                    let state = bench.states[n % 2].clone();
                    tokio::spawn(async move {
                        let holder = n.to_string();
                        let taken = state.take_slot("a", at(slot), &holder, at(2000)).await.unwrap();
                        if taken.is_some() {
                            state.end_slot("a", at(slot), &holder).await.unwrap();
                        }
                        taken
                    })
                })
                .collect();
            let won = futures::future::join_all(race).await;
            assert_eq!(won.into_iter().filter_map(|taken| taken.unwrap()).collect::<Vec<_>>(), [1]);
        }
    }

    #[tokio::test]
    async fn a_slot_is_its_holders_until_its_time_is_up_and_over_only_by_their_word() {
        let bench = bench().await;
        let [one, two] = &bench.states;
        let take = |state: &State, slot, holder: &'static str| {
            let state = state.clone();
            async move { state.take_slot("a", at(slot), holder, at(1300)).await.unwrap() }
        };
        assert_eq!(take(one, 900, "one").await, Some(1));
        assert_eq!(take(two, 900, "two").await, None);
        assert_eq!(take(two, 950, "two").await, None, "the earlier one is still at work");
        bench.now.store(1300, Ordering::Relaxed);
        assert_eq!(take(two, 900, "two").await, Some(2), "one did not come back");
        one.end_slot("a", at(900), "one").await.unwrap();
        assert!(!two.slots().await.unwrap()["a"].over, "it was another's by then");
        two.keep_slot("a", at(900), "two", at(1900)).await.unwrap();
        assert_eq!(take(one, 900, "one").await, None, "the next try waits");
        two.return_slot("a", at(900), "two").await.unwrap();
        assert_eq!(take(one, 900, "one").await, Some(2), "what was given back counts as no try");
        one.end_slot("a", at(900), "one").await.unwrap();
        bench.now.store(9000, Ordering::Relaxed);
        assert_eq!(take(two, 900, "two").await, None, "over is over");
        assert_eq!(take(two, 899, "two").await, None);
        assert_eq!(take(two, 901, "two").await, Some(1));
    }

    #[tokio::test]
    async fn a_schedule_begins_once_and_anew_where_a_clock_was_wrong() {
        let bench = bench().await;
        let [state, _] = &bench.states;
        state.begin_slots("a", at(500), at(1100)).await.unwrap();
        state.begin_slots("a", at(800), at(1100)).await.unwrap();
        assert_eq!(state.slots().await.unwrap()["a"].slot, at(500));
        assert!(state.take_slot("a", at(99_000), "x", at(99_300)).await.unwrap().is_some());
        state.begin_slots("a", at(800), at(1100)).await.unwrap();
        assert_eq!(
            state.slots().await.unwrap()["a"],
            Slot { slot: at(800), over: true, not_before: at(800) }
        );
    }

    #[tokio::test]
    async fn what_was_told_waits_and_a_missing_backup_is_counted_from_the_first_question() {
        let bench = bench().await;
        let [one, two] = &bench.states;
        assert!(one.may_tell("missing a", at(900)).await.unwrap());
        assert!(!two.may_tell("missing a", at(999)).await.unwrap());
        assert!(two.may_tell("missing a", at(1000)).await.unwrap());
        assert_eq!(one.last_good_backup("a").await.unwrap(), at(1000));
        bench.now.store(2000, Ordering::Relaxed);
        assert_eq!(one.last_good_backup("a").await.unwrap(), at(1000));
        one.note_good_backup("a", at(1800)).await.unwrap();
        assert_eq!(two.last_good_backup("a").await.unwrap(), at(1800));
    }
}
