//! What is due? Pure: which slot of each schedule runs next, and when, given what was done and when the gateway started.
//! Absent on purpose: taking a slot; two gateways may both find it due, and the state gives it to one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::times::Times;
use crate::state::{LONGEST_HOLD, Slot};

/// The next run of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which schedule of the list.
    pub nth: usize,
    /// Its slot.
    pub slot: Timestamp,
    /// When to begin.
    pub at: Timestamp,
}

/// The next run of each schedule, the earliest first. `started`: when this gateway did; what was missed before is caught
/// up soon after, once. A schedule of which nothing is known yet begins with its next slot.
#[must_use]
pub fn plan(
    schedules: &[(String, Times)],
    slots: &BTreeMap<String, Slot>,
    now: Timestamp,
    started: Timestamp,
) -> Vec<Due> {
    let next = |(nth, (name, times)): (usize, &(String, Times))| {
        let (slot, at) = next_of(times, slots.get(name), now, started)?;
        Some(Due { nth, slot, at })
    };
    let mut found: Vec<Due> = schedules.iter().enumerate().filter_map(next).collect();
    found.sort_by_key(|due| (due.at, due.nth));
    found
}

/// Those of [`plan`] whose time has come.
#[must_use]
pub fn due(
    schedules: &[(String, Times)],
    slots: &BTreeMap<String, Slot>,
    now: Timestamp,
    started: Timestamp,
) -> Vec<Due> {
    plan(schedules, slots, now, started).into_iter().filter(|due| due.at <= now).collect()
}

fn next_of(
    times: &Times,
    taken: Option<&Slot>,
    now: Timestamp,
    started: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let upcoming = times.next(now, None)?;
    // A slot that is not even the next one was taken by a clock that was wrong.
    let Some(taken) = taken.filter(|taken| taken.slot <= upcoming.slot) else {
        return Some((upcoming.slot, upcoming.at));
    };
    let newer = times.latest(now).filter(|latest| latest.slot > taken.slot);
    match (newer, taken.over) {
        (Some(newer), true) => {
            // A start that is still to come was on another clock.
            let missed = newer.at < started && started <= now;
            let at = if missed { started + times.catch_up(newer.slot) } else { newer.at };
            Some((newer.slot, at))
        }
        (newer, false) => {
            let (slot, at) = newer.map_or((taken.slot, taken.slot), |newer| (newer.slot, newer.at));
            let waits = Some(taken.not_before).filter(|until| until.duration_since(now) <= LONGEST_HOLD);
            Some((slot, at.max(waits.unwrap_or(now))))
        }
        (None, true) => times.next(now, Some(taken.slot)).map(|next| (next.slot, next.at)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use jiff::SignedDuration;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::config::When;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn minutes(n: i64) -> SignedDuration {
        SignedDuration::from_mins(n)
    }

    fn night(jitter: u64) -> Times {
        Times {
            when: When::At { days: [true; 7], time: "02:30".parse().unwrap() },
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            jitter: Duration::from_mins(jitter),
            seed: "praxis/main".into(),
        }
    }

    fn every(hours: u64, jitter: u64) -> Times {
        Times {
            when: When::Every(Duration::from_hours(hours)),
            zone: TimeZone::UTC,
            jitter: Duration::from_mins(jitter),
            seed: "praxis/main".into(),
        }
    }

    /// A gateway's look at one schedule: it takes what is due and has it over after `takes`.
    struct Looks {
        list: Vec<(String, Times)>,
        slots: BTreeMap<String, Slot>,
        started: Timestamp,
        runs: Vec<(Timestamp, Timestamp)>,
        busy: Option<Timestamp>,
        takes: SignedDuration,
    }

    impl Looks {
        fn new(times: Times, now: Timestamp, takes: SignedDuration) -> Self {
            let list = vec![("a".to_owned(), times)];
            let mut looks =
                Self { list, slots: BTreeMap::new(), started: now, runs: Vec::new(), busy: None, takes };
            looks.begin(now);
            looks
        }

        /// What `begin_slots` does.
        fn begin(&mut self, now: Timestamp) {
            let times = &self.list[0].1;
            let (slot, horizon) = (times.latest(now).unwrap().slot, times.next(now, None).unwrap().slot);
            if self.slots.get("a").is_none_or(|taken| taken.slot > horizon) {
                self.slots.insert("a".into(), Slot { slot, over: true, not_before: slot });
            }
        }

        fn look(&mut self, now: Timestamp) {
            self.begin(now);
            if self.busy.is_some_and(|until| until <= now) {
                self.busy = None;
                self.slots.get_mut("a").unwrap().over = true;
            }
            if self.busy.is_some() {
                return;
            }
            for due in due(&self.list, &self.slots, now, self.started) {
                self.runs.push((due.slot, now));
                // A run's own time is no clock's: one that takes none is over whatever the clock does.
                let over = self.takes.is_zero();
                self.busy = (!over).then(|| now + self.takes);
                self.slots.insert("a".into(), Slot { slot: due.slot, over, not_before: now + self.takes });
            }
        }

        fn through(&mut self, from: Timestamp, span: SignedDuration) -> Timestamp {
            let (mut now, end) = (from, from + span);
            while now < end {
                self.look(now);
                now += minutes(1);
            }
            now
        }
    }

    #[test]
    fn what_was_missed_while_the_gateway_was_down_is_caught_up_once_soon_after_its_start() {
        let started = at("2026-11-25T09:00:00Z");
        let slot = |text| Slot { slot: at(text), over: true, not_before: at(text) };
        let slots = BTreeMap::from([("a".to_owned(), slot("2026-11-20T01:30:00Z"))]);
        let list = [("a".to_owned(), night(30))];
        let [due] = plan(&list, &slots, started, started)[..] else { panic!("one") };
        assert_eq!(due.slot, at("2026-11-25T01:30:00Z"), "the latest alone");
        assert!(due.at >= started && due.at <= started + minutes(15), "{due:?}");
        let slots = BTreeMap::from([("a".to_owned(), slot("2026-11-25T01:30:00Z"))]);
        assert_eq!(plan(&list, &slots, started, started)[0].slot, at("2026-11-26T01:30:00Z"));
    }

    #[test]
    fn a_try_that_waits_is_dropped_for_the_next_slot() {
        let (list, now) = ([("a".to_owned(), every(1, 0))], at("2026-11-25T09:10:00Z"));
        let waiting =
            Slot { slot: at("2026-11-25T09:00:00Z"), over: false, not_before: at("2026-11-25T10:05:00Z") };
        let slots = BTreeMap::from([("a".to_owned(), waiting)]);
        let first = plan(&list, &slots, now, now)[0];
        assert_eq!((first.slot, first.at), (waiting.slot, waiting.not_before));
        let later = plan(&list, &slots, at("2026-11-25T10:01:00Z"), now)[0];
        assert_eq!((later.slot, later.at), (at("2026-11-25T10:00:00Z"), waiting.not_before));
    }

    #[test]
    fn a_clock_that_jumps_forward_and_back_costs_at_most_the_slot_of_that_day() {
        let mut looks = Looks::new(every(6, 10), at("2026-11-20T03:00:00Z"), minutes(1));
        let now = looks.through(at("2026-11-20T03:00:00Z"), SignedDuration::from_hours(12));
        let wrong = at("2031-01-01T00:30:00Z");
        looks.through(wrong, minutes(30));
        looks.through(now, SignedDuration::from_hours(24));
        let slots: Vec<Timestamp> = looks.runs.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots.iter().filter(|slot| **slot > at("2030-01-01T00:00:00Z")).count(), 1);
        let real: Vec<_> = slots.iter().filter(|slot| **slot < at("2030-01-01T00:00:00Z")).collect();
        assert_eq!(real.len(), 6, "{slots:?}");
        assert_eq!(real.iter().collect::<BTreeSet<_>>().len(), real.len(), "never twice");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn each_slot_runs_once_and_only_when_it_has_come(
            daily in any::<bool>(), hours in 1_u64..12, jitter in 0_u64..50, begin in 0_i64..3000,
            steps in proptest::collection::vec(1_i64..90, 50..300),
        ) {
            let times = if daily { night(jitter) } else { every(hours, jitter) };
            let first = at("2026-03-25T00:00:00Z") + minutes(begin);
            let mut looks = Looks::new(times.clone(), first, minutes(0));
            let mut now = first;
            for step in steps {
                looks.look(now);
                now += minutes(step);
            }
            let ran: Vec<Timestamp> = looks.runs.iter().map(|(slot, _)| *slot).collect();
            prop_assert!(ran.windows(2).all(|two| two[0] < two[1]), "never twice, never backwards: {ran:?}");
            for (slot, at) in &looks.runs {
                prop_assert!(slot <= at);
            }
            if daily || hours >= 2 {
                // Looks come at least every 90 minutes, so none of these is passed over.
                let mut expected = Vec::new();
                let mut moment = first;
                let last = looks.runs.last().map_or(first, |(_, at)| *at);
                while let Some(next) = times.next(moment, None).filter(|next| next.at <= last) {
                    expected.push(next.slot);
                    moment = next.at;
                }
                prop_assert_eq!(ran, expected);
            }
        }

        #[test]
        fn a_run_that_takes_longer_than_its_period_does_not_pile_up(takes in 61_i64..600, looks in 1_i64..2000) {
            let first = at("2026-03-28T00:30:00Z");
            let mut bench = Looks::new(every(1, 5), first, minutes(takes));
            let end = bench.through(first, minutes(looks));
            let most = end.duration_since(first).as_mins() / takes + 1;
            prop_assert!(i64::try_from(bench.runs.len()).unwrap() <= most);
            for (slot, at) in &bench.runs {
                prop_assert!(at.duration_since(*slot) <= minutes(66), "the latest slot, no old one");
            }
        }

        #[test]
        fn whatever_the_clock_did_all_is_well_once_it_is_right(
            jumps in proptest::collection::vec((-3000_i64..3000, 1_i64..200), 1..20), jitter in 0_u64..50,
        ) {
            let first = at("2026-03-20T00:00:00Z");
            let mut bench = Looks::new(every(6, jitter), first, minutes(0));
            let mut now = first;
            for (jump, span) in jumps {
                now += minutes(jump);
                now = bench.through(now, minutes(span));
            }
            // Two days on a right clock: each slot but the first ones runs.
            let ran = bench.runs.len();
            bench.through(now, SignedDuration::from_hours(48));
            let later = bench.runs.len() - ran;
            prop_assert!((7..=9).contains(&later), "{later}");
        }

        #[test]
        fn a_clock_set_back_by_less_than_a_period_runs_no_slot_twice(
            jumps in proptest::collection::vec((-300_i64..300, 360_i64..600), 1..8), jitter in 0_u64..50,
        ) {
            let first = at("2026-03-20T00:00:00Z");
            let mut bench = Looks::new(every(6, jitter), first, minutes(0));
            let mut now = bench.through(first, minutes(400));
            for (jump, span) in jumps {
                now = bench.through(now + minutes(jump), minutes(span));
            }
            let slots: BTreeSet<Timestamp> = bench.runs.iter().map(|(slot, _)| *slot).collect();
            prop_assert_eq!(slots.len(), bench.runs.len());
        }
    }
}
