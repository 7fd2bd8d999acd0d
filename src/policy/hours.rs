//! `Mon-Fri 07:00-19:00 Europe/Berlin`: when a rule is in force.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::config::parse_days;

/// Days of the week and a span of the day in a time zone. A span that ends before it begins goes over midnight,
/// and belongs to the day it begins on.
#[derive(Clone, Debug)]
pub struct Hours {
    written: String,
    days: [bool; 7],
    begin: Time,
    end: Time,
    zone: TimeZone,
}

const FORM: &str = "expected hours such as \"Mon-Fri 07:00-19:00 Europe/Berlin\"";

impl Hours {
    /// Is `now` within?
    pub fn contain(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone());
        let today = local.weekday().to_monday_zero_offset();
        let on = |day: i8| {
            usize::try_from(day.rem_euclid(7)).ok().and_then(|d| self.days.get(d)).copied().unwrap_or(false)
        };
        let time = local.time();
        if self.begin <= self.end {
            on(today) && self.begin <= time && time < self.end
        } else {
            (on(today) && time >= self.begin) || (on(today - 1) && time < self.end)
        }
    }
}

impl FromStr for Hours {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, span, zone] = words.as_slice() else { return Err(FORM.into()) };
        let (begin, end) = span.split_once('-').ok_or(FORM)?;
        let time = |t: &str| {
            let (h, m) = t.split_once(':')?;
            let two = |n: &str| (n.len() == 2).then(|| n.parse::<i8>().ok()).flatten();
            match (two(h)?, two(m)?) {
                (24, 0) => Some(Time::MAX),
                (h, m) => Time::new(h, m, 0, 0).ok(),
            }
        };
        Ok(Self {
            written: text.to_owned(),
            days: parse_days(days)?,
            begin: time(begin).ok_or(FORM)?,
            end: time(end).ok_or(FORM)?,
            zone: TimeZone::get(zone)
                .map_err(|_| format!("\"{zone}\" is no time zone; such as Europe/Berlin"))?,
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: &str, time: &str) -> bool {
        hours.parse::<Hours>().unwrap().contain(time.parse().unwrap())
    }

    #[test]
    fn office_hours_follow_the_clocks_of_their_place() {
        let office = "Mon-Fri 07:00-19:00 Europe/Berlin";
        assert!(at(office, "2026-11-20T06:00:00Z"), "Friday 07:00 in winter");
        assert!(!at(office, "2026-11-20T05:59:59Z"));
        assert!(at(office, "2026-07-03T05:00:00Z"), "Friday 07:00 in summer");
        assert!(!at(office, "2026-11-20T18:00:00Z"), "19:00 is past it");
        assert!(!at(office, "2026-11-21T10:00:00Z"), "Saturday");
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let night = "Fri 22:00-06:00 UTC";
        assert!(at(night, "2026-11-20T23:00:00Z"));
        assert!(at(night, "2026-11-21T05:59:00Z"));
        assert!(!at(night, "2026-11-20T05:00:00Z"));
        assert!(!at(night, "2026-11-21T22:30:00Z"));
    }

    #[test]
    fn days_have_german_names_too() {
        for (day, date) in ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"].into_iter().zip(16..) {
            assert!(at(&format!("{day} 00:00-24:00 UTC"), &format!("2026-11-{date}T12:00:00Z")), "{day}");
            assert!(
                !at(&format!("{day} 00:00-24:00 UTC"), &format!("2026-11-{}T12:00:00Z", date + 1)),
                "{day}"
            );
        }
        assert!(at("mo-FR 07:00-19:00 Europe/Berlin", "2026-11-20T06:00:00Z"));
    }

    #[test]
    fn a_word_that_is_no_day_is_told_the_days() {
        let why = "Mon-Frei 07:00-19:00 UTC".parse::<Hours>().unwrap_err();
        assert_eq!(
            why,
            "\"Frei\" is no day of the week: Mon, Tue, Wed, Thu, Fri, Sat, Sun, or Mo, Di, Mi, Do, Fr, Sa, So"
        );
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "Mon",
            "Mon 7-19 UTC",
            "Mon-Xyz 07:00-19:00 UTC",
            "Mon 07:00-25:00 UTC",
            "Mon 07:00-19:00 Mars/Base",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
        assert!("Sat-Mon,Wed 00:00-24:00 UTC".parse::<Hours>().is_ok());
    }
}
