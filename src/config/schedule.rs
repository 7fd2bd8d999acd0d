//! `[[schedule]]` and `[retention]` of a site's file: the customer's standing order for backups, and how long they stay.
//! Absent on purpose: when the next one is; that wants a clock.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::days::parse_days;
use super::problems::{Place, Problems, near_miss};
use super::reader::{Table, Written};
use crate::names::{KonnektorName, ServiceName};

/// When a schedule runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At a time of the day, on these days of the week, Monday first.
    At {
        /// The days.
        days: [bool; 7],
        /// The time there.
        time: Time,
    },
    /// Each time so much has passed, counted from 1970-01-01T00:00Z.
    Every(Duration),
}

/// One `[[schedule]]`.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The box.
    pub konnektor: KonnektorName,
    /// When.
    pub when: When,
    /// As it is written: `Mon-Fri 02:30 Europe/Berlin`, `every 6h`.
    pub written: String,
    /// Where the time is meant.
    pub zone: TimeZone,
    /// The run begins up to so much later.
    pub jitter: Duration,
    /// These services alone; all of them, if empty.
    pub services: Vec<ServiceName>,
    /// Where it stands: the rule by which it runs.
    pub place: Place,
}

/// How long backups stay: all of them for a while, then one a week, then one a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// All that are younger.
    pub all: Duration,
    /// The newest of each week that are younger.
    pub weekly: Duration,
    /// The newest of each month that are younger.
    pub monthly: Duration,
}

const DAY: Duration = Duration::from_hours(24);

impl Default for Retention {
    fn default() -> Self {
        Self { all: DAY * 30, weekly: DAY * (26 * 7), monthly: DAY * (5 * 366) }
    }
}

/// A time of the day, with days before it or without: `02:30`, `Mon-Fri 02:30`.
struct At([bool; 7], Time);

impl FromStr for At {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "expected a time such as \"02:30\" or \"Mon-Fri 02:30\"";
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, time) = match words.as_slice() {
            [time] => ([true; 7], time),
            [days, time] => (parse_days(days)?, time),
            _ => return Err(FORM.into()),
        };
        let two = |n: &str| (n.len() == 2).then(|| n.parse::<i8>().ok()).flatten();
        let time = time.split_once(':').and_then(|(h, m)| Time::new(two(h)?, two(m)?, 0, 0).ok());
        Ok(Self(days, time.ok_or(FORM)?))
    }
}

/// A zone's name, `Europe/Berlin`.
struct Zone(TimeZone);

impl FromStr for Zone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        TimeZone::get(text).map(Self).map_err(|_| "no time zone; such as Europe/Berlin".into())
    }
}

/// A long span: `30d`, `26w`, `5y` (of 366 days each).
struct Span(Duration);

impl FromStr for Span {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected a span from 1d to 100y, such as 30d, 26w or 5y";
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(FORM)?;
        let days = match unit {
            "d" => 1,
            "w" => 7,
            "y" => 366,
            _ => return Err(FORM),
        };
        let number = number.parse::<u32>().ok().filter(|n| *n > 0 && !number.starts_with('+'));
        let span = number.and_then(|n| DAY.checked_mul(n.checked_mul(days)?)).ok_or(FORM)?;
        if span <= DAY * 36_600 { Ok(Self(span)) } else { Err(FORM) }
    }
}

const ZONE: &str = "Europe/Berlin";
const JITTER: Duration = Duration::from_mins(30);
/// How often at most, and at least.
const PERIODS: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(7 * 24));
/// Two runs of a day stay in their order.
const JITTERS: (Duration, Duration) = (Duration::ZERO, Duration::from_hours(12));

pub(super) fn schedules(
    tables: Vec<Table<'_, '_>>,
    konnektors: &[KonnektorName],
    problems: &mut Problems,
) -> Vec<Schedule> {
    let mut found: Vec<Schedule> = Vec::new();
    for table in tables {
        let Some(schedule) = schedule(table, konnektors, problems) else { continue };
        let same = |other: &&Schedule| {
            (&other.konnektor, &other.written) == (&schedule.konnektor, &schedule.written)
        };
        match found.iter().find(same) {
            Some(other) => {
                let message = format!("the same schedule stands in {} too", other.place);
                problems.add(schedule.place, message);
            }
            None => found.push(schedule),
        }
    }
    found
}

fn schedule(
    mut table: Table<'_, '_>,
    konnektors: &[KonnektorName],
    problems: &mut Problems,
) -> Option<Schedule> {
    let before = problems.0.len();
    let place = table.place();
    let konnektor = konnektor(&mut table, konnektors, problems);
    let at = table.parsed::<At>("at", problems);
    let every = table.duration_within("every", PERIODS, problems);
    let zone = table.parsed::<Zone>("zone", problems);
    let jitter = table.duration_within("jitter", JITTERS, problems);
    let services = table.list::<ServiceName>("services", problems).unwrap_or_default();
    match (table.holds("at"), table.holds("every")) {
        (true, true) => problems.add(place.clone(), "either at or every: a schedule has one way to go by"),
        (false, false) => table.missing("at"),
        (true, false) | (false, true) => {}
    }
    if let (Some(_), Some(zone)) = (&every, &zone) {
        problems.add(zone.place.clone(), "zone: every counts in UTC, whatever the clocks say");
    }
    if let (Some(every), Some(jitter)) = (&every, &jitter)
        && jitter.value >= every.value
    {
        let message = format!("jitter: expected less than every = \"{}\"", Written(every.value));
        problems.add(jitter.place.clone(), message);
    }
    table.finish(problems);
    let zone = zone.map_or_else(|| ZONE.parse::<Zone>().ok(), |zone| Some(zone.value))?.0;
    let (when, written) = match (at, every) {
        (Some(at), None) => {
            let At(days, time) = at.value;
            let days_written = at_days(days);
            let zone = zone.iana_name().unwrap_or("UTC");
            (When::At { days, time }, format!("{days_written}{} {zone}", time.strftime("%H:%M")))
        }
        (None, Some(every)) => (When::Every(every.value), format!("every {}", Written(every.value))),
        (None, None) | (Some(_), Some(_)) => return None,
    };
    let usual = match when {
        When::At { .. } => JITTER,
        When::Every(period) => JITTER.min(period / 4),
    };
    (problems.0.len() == before).then_some(Schedule {
        konnektor: konnektor?,
        when,
        written,
        zone,
        jitter: jitter.map_or(usual, |jitter| jitter.value),
        services: services.into_iter().map(|service| service.value).collect(),
        place,
    })
}

/// `Mon,Tue `, or nothing for all of them: one way to write each set, so that it is known again.
fn at_days(days: [bool; 7]) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    if days == [true; 7] {
        return String::new();
    }
    let named: Vec<&str> = DAYS.into_iter().zip(days).filter(|(_, on)| *on).map(|(day, _)| day).collect();
    format!("{} ", named.join(","))
}

fn konnektor(
    table: &mut Table<'_, '_>,
    konnektors: &[KonnektorName],
    problems: &mut Problems,
) -> Option<KonnektorName> {
    let Some(named) = table.parsed::<KonnektorName>("konnektor", problems) else {
        if table.holds("konnektor") {
            return None;
        }
        if let [only] = konnektors {
            return Some(only.clone());
        }
        let why = if konnektors.is_empty() { "this site has none" } else { "this site has several" };
        problems.add(table.place(), format!("[[schedule]] needs the field \"konnektor\": {why}"));
        return None;
    };
    if konnektors.contains(&named.value) {
        return Some(named.value);
    }
    let hint = near_miss(named.value.as_str(), konnektors.iter().map(KonnektorName::as_str));
    problems.add(named.place, format!("no [konnektor.{}] in this file{hint}", named.value));
    None
}

pub(super) fn retention(mut table: Table<'_, '_>, problems: &mut Problems) -> Retention {
    let mut found = Retention::default();
    let place = table.place();
    let mut span = |key, into: &mut Duration| {
        if let Some(span) = table.parsed::<Span>(key, problems) {
            *into = span.value.0;
        }
    };
    span("all", &mut found.all);
    span("weekly", &mut found.weekly);
    span("monthly", &mut found.monthly);
    table.finish(problems);
    if !(found.all <= found.weekly && found.weekly <= found.monthly) {
        problems.add(place, "retention: expected all, weekly and monthly in this order, each no shorter");
    }
    found
}
