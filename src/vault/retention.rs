//! Which backups have had their time: all stay for a while, then one a week, then one a month; never the last good one.
//! Absent on purpose: a clock, and the removing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::names::BackupName;

/// How long backups stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// All that are younger.
    pub all: Duration,
    /// The newest of each ISO week that are younger.
    pub weekly: Duration,
    /// The newest of each month that are younger.
    pub monthly: Duration,
}

/// A backup, as far as its time goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: BackupName,
    /// When it was taken.
    pub taken: Timestamp,
    /// Complete, and could be restored.
    pub good: bool,
    /// Something needs it.
    pub pinned: bool,
}

/// Those that go, the oldest first. What is younger than `all` stays, and what is pinned; of the older ones the newest
/// good one of each week (UTC), then of each month, or the newest if none is good. The newest of all stays, and the
/// newest good one.
#[must_use]
pub fn keep(kept: &[Candidate], now: Timestamp, rules: &Rules) -> Vec<BackupName> {
    let newest = |of: &mut dyn Iterator<Item = &Candidate>| -> Option<BackupName> {
        of.max_by_key(|one| (one.taken, one.name.clone())).map(|one| one.name.clone())
    };
    let mut stay: BTreeSet<BackupName> = kept.iter().filter(|one| one.pinned).map(named).collect();
    stay.extend(newest(&mut kept.iter()));
    stay.extend(newest(&mut kept.iter().filter(|one| one.good)));
    let of_age = |age: Age| kept.iter().filter(move |one| Age::of(one.taken, now, rules) == age);
    // What stays of the younger ones speaks for its week, and then for its month, as well.
    let all: Vec<&Candidate> = of_age(Age::All).collect();
    let weeks = best(all.iter().copied().chain(of_age(Age::Weekly)), week);
    let months = best(all.iter().chain(&weeks).copied().chain(of_age(Age::Monthly)), month);
    stay.extend(all.into_iter().chain(weeks).chain(months).map(named));
    let mut gone: Vec<&Candidate> = kept.iter().filter(|one| !stay.contains(&one.name)).collect();
    gone.sort_by_key(|one| (one.taken, one.name.clone()));
    gone.into_iter().map(|one| one.name.clone()).collect()
}

fn named(one: &Candidate) -> BackupName {
    one.name.clone()
}

/// The newest good one of each span, or the newest where none is good.
fn best<'c>(of: impl Iterator<Item = &'c Candidate>, span: fn(Timestamp) -> (i16, i8)) -> Vec<&'c Candidate> {
    let mut spans: BTreeMap<(i16, i8), &Candidate> = BTreeMap::new();
    for one in of {
        let rank = |one: &Candidate| (one.good, one.taken, one.name.clone());
        let best = spans.entry(span(one.taken)).or_insert(one);
        if rank(one) > rank(best) {
            *best = one;
        }
    }
    spans.into_values().collect()
}

/// Which rule a backup has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    All,
    Weekly,
    Monthly,
    Past,
}

impl Age {
    fn of(taken: Timestamp, now: Timestamp, rules: &Rules) -> Self {
        let age = now.duration_since(taken);
        let within = |span: Duration| SignedDuration::try_from(span).is_ok_and(|span| age < span);
        if within(rules.all) {
            Self::All
        } else if within(rules.weekly) {
            Self::Weekly
        } else if within(rules.monthly) {
            Self::Monthly
        } else {
            Self::Past
        }
    }
}

fn week(taken: Timestamp) -> (i16, i8) {
    let week = taken.to_zoned(TimeZone::UTC).date().iso_week_date();
    (week.year(), week.week())
}

fn month(taken: Timestamp) -> (i16, i8) {
    let date = taken.to_zoned(TimeZone::UTC).date();
    (date.year(), date.month())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const RULES: Rules = Rules {
        all: Duration::from_hours(24 * 30),
        weekly: Duration::from_hours(24 * 182),
        monthly: Duration::from_hours(24 * 1830),
    };

    fn now() -> Timestamp {
        "2026-11-21T16:00:00Z".parse().unwrap()
    }

    fn candidate(hours: i64, nth: usize, good: bool, pinned: bool) -> Candidate {
        let taken = now() - SignedDuration::from_hours(hours);
        Candidate { name: format!("2000-01-01-00-00-{}.json", nth + 2).parse().unwrap(), taken, good, pinned }
    }

    fn daily(days: usize) -> Vec<Candidate> {
        (0..days).map(|n| candidate(i64::try_from(n).unwrap() * 24, n, true, false)).collect()
    }

    fn without(kept: &[Candidate], gone: &[BackupName]) -> Vec<Candidate> {
        kept.iter().filter(|one| !gone.contains(&one.name)).cloned().collect()
    }

    #[test]
    fn of_six_years_of_daily_backups_a_month_of_days_half_a_year_of_weeks_and_five_of_months_stay() {
        let all = daily(6 * 365);
        let left = without(&all, &keep(&all, now(), &RULES));
        let age = |one: &Candidate| now().duration_since(one.taken).as_hours() / 24;
        assert_eq!(left.iter().filter(|one| age(one) < 30).count(), 30);
        let weeks = left.iter().filter(|one| (30..182).contains(&age(one))).count();
        assert!((21..=22).contains(&weeks), "{weeks}");
        let months = left.iter().filter(|one| age(one) >= 182).count();
        assert!((53..=55).contains(&months), "{months}");
        assert_eq!(keep(&left, now(), &RULES), [], "a second look takes nothing");
    }

    #[test]
    fn the_only_good_one_stays_however_old_it_is_and_the_newest_though_it_is_bad() {
        let kept = [
            candidate(24 * 4000, 1, true, false),
            candidate(24 * 3999, 2, false, false),
            candidate(24 * 3000, 3, false, false),
        ];
        assert_eq!(keep(&kept, now(), &RULES), ["2000-01-01-00-00-4.json".parse().unwrap()]);
    }

    #[test]
    fn a_good_one_speaks_for_its_week_rather_than_a_later_bad_one() {
        // Monday and Tuesday of one ISO week.
        let kept = [
            candidate(1, 0, true, false),
            candidate(24 * 61, 1, true, false),
            candidate(24 * 60, 2, false, false),
        ];
        assert_eq!(keep(&kept, now(), &RULES), ["2000-01-01-00-00-4.json".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn young_pinned_newest_and_newest_good_ones_never_go(
            list in proptest::collection::vec((-48_i64..24 * 2500, any::<bool>(), any::<bool>()), 0..60),
            all in 1_u32..400, weekly in 0_u32..400, monthly in 0_u32..3000,
        ) {
            let rules = Rules { all: DAY * all, weekly: DAY * (all + weekly), monthly: DAY * (all + weekly + monthly) };
            let kept: Vec<Candidate> = list.iter().enumerate().map(|(n, (hours, good, pinned))| candidate(*hours, n, *good, *pinned)).collect();
            let gone = keep(&kept, now(), &rules);
            let left = without(&kept, &gone);
            for one in kept.iter().filter(|one| gone.contains(&one.name)) {
                prop_assert!(!one.pinned);
                prop_assert!(now().duration_since(one.taken) >= SignedDuration::try_from(rules.all).unwrap());
                prop_assert!(left.iter().any(|other| other.taken >= one.taken));
                prop_assert!(!one.good || left.iter().any(|other| other.good && other.taken >= one.taken), "a later good one is there");
                if now().duration_since(one.taken) < SignedDuration::try_from(rules.monthly).unwrap() {
                    let month = super::month(one.taken);
                    let week = super::week(one.taken);
                    prop_assert!(left.iter().any(|other| super::month(other.taken) == month || super::week(other.taken) == week));
                }
            }
            prop_assert_eq!(keep(&left, now(), &rules), vec![], "a second look takes nothing");
        }
    }
}
