//! The moments of one schedule: its slots, and how much later each begins, so that not all boxes are asked at once.
//! Absent on purpose: a clock, and what was done already.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use sha2::{Digest, Sha256};

use crate::config::When;

/// What a missed slot may wait at most behind a start.
const SOON: Duration = Duration::from_mins(15);
/// Days to look around: each day of the week is among them, with the latest jitter.
const AROUND: i64 = 9;

/// When a schedule runs.
#[derive(Clone, Debug)]
pub struct Times {
    /// As the file says.
    pub when: When,
    /// Where the time of the day is meant.
    pub zone: TimeZone,
    /// Each run begins up to so much later.
    pub jitter: Duration,
    /// What the lateness is drawn from: the box.
    pub seed: String,
}

/// One moment of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// As the schedule has it.
    pub slot: Timestamp,
    /// With its jitter: the run begins here.
    pub at: Timestamp,
}

impl Times {
    /// The latest moment that has come.
    pub fn latest(&self, now: Timestamp) -> Option<Moment> {
        self.around(now).into_iter().rev().find(|moment| moment.at <= now)
    }

    /// The first moment that is still to come, of the slots behind `past`.
    pub fn next(&self, now: Timestamp, past: Option<Timestamp>) -> Option<Moment> {
        let behind = |moment: &Moment| moment.at > now && past.is_none_or(|past| moment.slot > past);
        self.around(now).into_iter().find(behind)
    }

    /// How long a missed slot waits behind a start.
    pub fn catch_up(&self, slot: Timestamp) -> SignedDuration {
        self.drawn("catch up", slot, self.jitter.min(SOON))
    }

    /// Slots before and after `now`, in their order, at least one of either.
    fn around(&self, now: Timestamp) -> Vec<Moment> {
        let mut slots: Vec<Timestamp> = match &self.when {
            When::Every(period) => every(*period, now),
            When::At { days, time } => {
                let today = now.to_zoned(self.zone.clone()).date();
                let dates = (-AROUND..=AROUND).filter_map(|n| today.checked_add(n.days()).ok());
                let dates = dates.filter(|date| {
                    let day = usize::try_from(date.weekday().to_monday_zero_offset()).ok();
                    day.and_then(|day| days.get(day)).copied().unwrap_or(false)
                });
                dates.filter_map(|date| moment(date, *time, &self.zone)).collect()
            }
        };
        slots.dedup();
        let late = |slot| slot + self.drawn("", slot, self.jitter);
        slots.into_iter().map(|slot| Moment { slot, at: late(slot) }).collect()
    }

    /// A part of `most`, the same each time it is asked for.
    fn drawn(&self, what: &str, slot: Timestamp, most: Duration) -> SignedDuration {
        let text = format!("{what}\n{}\n{slot}", self.seed);
        let hash = Sha256::digest(text.as_bytes());
        let number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let most = most.as_secs();
        SignedDuration::from_secs(i64::try_from(number % (most + 1)).unwrap_or_default())
    }
}

fn every(period: Duration, now: Timestamp) -> Vec<Timestamp> {
    let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1);
    let last = now.as_second().div_euclid(period);
    (-2..=2).filter_map(|n| Timestamp::from_second((last + n).checked_mul(period)?).ok()).collect()
}

/// A time of the day where it is: one that the clocks skip is the moment they are set, one that they show twice is the
/// first of the two.
fn moment(date: Date, time: Time, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(date.to_datetime(time));
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => {
            let before = after.to_timestamp(date.to_datetime(time)).ok()?;
            zone.following(before).next().map(|transition| transition.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.compatible().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(days: [bool; 7], time: &str, zone: &str, jitter: Duration) -> Times {
        let when = When::At { days, time: time.parse().unwrap() };
        Times { when, zone: TimeZone::get(zone).unwrap(), jitter, seed: "praxis/main".into() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slots(times: &Times, from: &str, until: &str) -> Vec<String> {
        let (mut now, mut found) = (at(from), Vec::new());
        while let Some(next) = times.next(now, None).filter(|next| next.at <= at(until)) {
            found.push(next.slot.to_string());
            now = next.at;
        }
        found
    }

    #[test]
    fn a_time_that_the_clocks_skip_is_the_moment_they_are_set() {
        let night = times([true; 7], "02:30", "Europe/Berlin", Duration::ZERO);
        assert_eq!(
            slots(&night, "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_runs_once() {
        let night = times([true; 7], "02:30", "Europe/Berlin", Duration::ZERO);
        assert_eq!(
            slots(&night, "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn days_of_the_week_are_those_of_the_place() {
        let mut days = [false; 7];
        days[6] = true;
        let sunday = times(days, "00:30", "Europe/Berlin", Duration::ZERO);
        assert_eq!(
            slots(&sunday, "2026-11-01T12:00:00Z", "2026-11-16T00:00:00Z"),
            ["2026-11-07T23:30:00Z", "2026-11-14T23:30:00Z"]
        );
    }

    #[test]
    fn what_comes_every_so_often_minds_no_clocks() {
        let when = When::Every(Duration::from_hours(6));
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let every = Times { when, zone, jitter: Duration::ZERO, seed: String::new() };
        assert_eq!(
            slots(&every, "2026-03-28T23:00:00Z", "2026-03-29T12:00:00Z"),
            ["2026-03-29T00:00:00Z", "2026-03-29T06:00:00Z", "2026-03-29T12:00:00Z"]
        );
    }

    #[test]
    fn the_lateness_is_the_same_each_time_and_another_for_each_box_and_day() {
        let one = times([true; 7], "02:30", "Europe/Berlin", Duration::from_mins(30));
        let now = at("2026-11-21T12:00:00Z");
        assert_eq!(one.next(now, None), one.clone().next(now, None));
        let mut late: Vec<i64> = (0..40)
            .map(|n| {
                let other = Times { seed: format!("praxis-{n}/main"), ..one.clone() };
                let next = other.next(now, None).unwrap();
                assert_eq!(next.slot, at("2026-11-22T01:30:00Z"));
                next.at.duration_since(next.slot).as_secs()
            })
            .collect();
        assert!(late.iter().all(|late| (0..=1800).contains(late)));
        late.sort_unstable();
        late.dedup();
        assert!(late.len() > 30 && late[late.len() - 1] - late[0] > 1000, "{late:?}");
    }
}
