//! The schedules of all sites as the scheduler follows them, and what `pforte check` shows of them.
//! Absent on purpose: what was done already.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::times::{Moment, Times};
use crate::config::{Config, Schedule, When};
use crate::names::KonnektorId;

const HOUR: Duration = Duration::from_hours(1);
/// A box without a good backup for so long may be one whose backup is under way.
const DAILY: SignedDuration = SignedDuration::from_hours(26);
/// A slot's backup is there after so long, with its tries after 10 and 60 minutes.
const TRIES: SignedDuration = SignedDuration::from_mins(90);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A backup.
    Backup,
    /// All that is kept is opened.
    Check,
    /// Old ones go.
    Tidy,
    /// Is a good one missing?
    Watch,
}

/// One thing that is done again and again.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) konnektor: KonnektorId,
    /// `praxis-mueller.toml:12`
    pub(super) place: String,
    pub(super) work: Work,
}

/// All of them.
pub struct Plan {
    items: Vec<Item>,
    times: Vec<(String, Times)>,
}

impl Plan {
    /// What the sites' files order, and what belongs to it.
    pub fn of(config: &Config) -> Self {
        let mut plan = Self { items: Vec::new(), times: Vec::new() };
        for (konnektor, schedule) in schedules(config) {
            let place = schedule.place.short();
            let first = !plan.items.iter().any(|item| item.konnektor == konnektor);
            let name = format!("{konnektor} {}", schedule.written);
            let mut add = |name: String, times: Times, work: Work| {
                plan.times.push((name, times));
                plan.items.push(Item { konnektor: konnektor.clone(), place: place.clone(), work });
            };
            add(name, times(&konnektor, schedule), Work::Backup);
            if first {
                let zone = &schedule.zone;
                let at = |days, hour, jitter| Times {
                    when: When::At { days, time: Time::constant(hour, 0, 0, 0) },
                    zone: zone.clone(),
                    jitter: HOUR * jitter,
                    seed: konnektor.to_string(),
                };
                let sunday = [false, false, false, false, false, false, true];
                add(format!("{konnektor} check"), at(sunday, 4, 12), Work::Check);
                add(format!("{konnektor} tidy"), at([true; 7], 12, 6), Work::Tidy);
                let hourly = Times { when: When::Every(HOUR), ..at([true; 7], 0, 0) };
                add(format!("{konnektor} watch"), Times { jitter: HOUR / 2, ..hourly }, Work::Watch);
            }
        }
        plan
    }

    pub(super) fn times(&self) -> &[(String, Times)] {
        &self.times
    }

    pub(super) fn item(&self, nth: usize) -> Option<(&String, &Item)> {
        Some((&self.times.get(nth)?.0, self.items.get(nth)?))
    }

    /// Since when a good backup of this box is missing, if the last one is of `last`: the slot that wanted it.
    pub(super) fn missing(
        &self,
        konnektor: &KonnektorId,
        last: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let backups = self.items.iter().zip(&self.times);
        let backups = backups.filter(|(item, _)| item.konnektor == *konnektor && item.work == Work::Backup);
        backups.filter_map(|(_, (_, times))| missing(times, last, now)).min()
    }
}

/// Twice the period; of a time of the day 26 hours, if one of its days has come since.
fn missing(times: &Times, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let age = now.duration_since(last);
    match &times.when {
        When::Every(period) => {
            let wanted = SignedDuration::try_from(*period * 2).ok()?;
            (age > wanted).then(|| last + wanted)
        }
        When::At { .. } => {
            let jitter = SignedDuration::try_from(times.jitter).ok()?;
            let grace = (jitter + TRIES).max(SignedDuration::from_hours(2));
            let passed = times.latest(now - grace)?;
            (age > DAILY && last < passed.slot).then_some(passed.slot)
        }
    }
}

fn schedules(config: &Config) -> impl Iterator<Item = (KonnektorId, &Schedule)> {
    config.sites.values().flat_map(|site| {
        site.schedules.iter().map(|schedule| {
            (KonnektorId { site: site.name.clone(), konnektor: schedule.konnektor.clone() }, schedule)
        })
    })
}

fn times(konnektor: &KonnektorId, schedule: &Schedule) -> Times {
    Times {
        when: schedule.when.clone(),
        zone: schedule.zone.clone(),
        jitter: schedule.jitter,
        seed: konnektor.to_string(),
    }
}

/// When a schedule runs next, for people.
pub struct NextRun {
    /// The box.
    pub konnektor: KonnektorId,
    /// `Mon,Fri 02:30 Europe/Berlin`
    pub written: String,
    /// `praxis-mueller.toml:12`
    pub place: String,
    /// With its jitter, where it is.
    pub at: Zoned,
}

/// The next run of each schedule after `now`, in the files' order.
pub fn next_runs(config: &Config, now: Timestamp) -> Vec<NextRun> {
    let next = |(konnektor, schedule): (KonnektorId, &Schedule)| {
        let Moment { at, .. } = times(&konnektor, schedule).next(now, None)?;
        let zone = match schedule.when {
            When::At { .. } => schedule.zone.clone(),
            When::Every(_) => TimeZone::system(),
        };
        Some(NextRun {
            konnektor,
            written: schedule.written.clone(),
            place: schedule.place.short(),
            at: at.to_zoned(zone),
        })
    };
    schedules(config).filter_map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn times_of(when: When) -> Times {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        Times { when, zone, jitter: HOUR / 2, seed: String::new() }
    }

    #[test]
    fn a_daily_backup_is_missed_after_twenty_six_hours_and_no_sooner() {
        let night = times_of(When::At { days: [true; 7], time: "02:30".parse().unwrap() });
        let last = at("2026-11-20T01:40:00Z");
        assert_eq!(missing(&night, last, at("2026-11-21T03:40:00Z")), None);
        assert_eq!(missing(&night, last, at("2026-11-21T03:41:00Z")), Some(at("2026-11-21T01:30:00Z")));
    }

    #[test]
    fn nothing_is_missed_over_a_weekend_that_has_no_slot() {
        let days = [true, true, true, true, true, false, false];
        let night = times_of(When::At { days, time: "02:30".parse().unwrap() });
        let friday = at("2026-11-20T01:40:00Z");
        assert_eq!(missing(&night, friday, at("2026-11-23T01:00:00Z")), None);
        assert_eq!(missing(&night, friday, at("2026-11-23T04:00:00Z")), Some(at("2026-11-23T01:30:00Z")));
    }

    #[test]
    fn what_comes_every_six_hours_is_missed_after_twelve() {
        let every = times_of(When::Every(HOUR * 6));
        let last = at("2026-11-20T00:00:00Z");
        assert_eq!(missing(&every, last, at("2026-11-20T12:00:00Z")), None);
        assert_eq!(missing(&every, last, at("2026-11-20T12:01:00Z")), Some(at("2026-11-20T12:00:00Z")));
    }
}
