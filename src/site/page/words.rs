//! The page's words: which language, how a time reads, what a command means to whoever has never seen one.
//! Absent on purpose: the sentences of one place only; those stand in the templates, both languages side by side.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub(super) use crate::site::desk::Said;
use crate::site::desk::{About, DeedKind};

/// German, unless somebody wants English.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    German,
    English,
}

impl Language {
    /// As the switch at the top was left, or else as the browser asks (RFC 9110 §12.5.4).
    pub(super) fn of(chosen: Option<&str>, headers: &HeaderMap) -> Self {
        match chosen {
            Some("de") => return Self::German,
            Some("en") => return Self::English,
            Some(_) | None => {}
        }
        let wanted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (mut german, mut english) = (0, 0);
        for part in wanted.split(',').take(32) {
            let mut words = part.split(';').map(str::trim);
            let tag = words.next().unwrap_or_default().to_ascii_lowercase();
            let weight = words.find_map(|word| word.strip_prefix("q=")).map_or(1000, thousandths);
            match tag.split('-').next() {
                Some("de") => german = german.max(weight),
                Some("en") => english = english.max(weight),
                _ => {}
            }
        }
        if english > german { Self::English } else { Self::German }
    }

    pub(super) fn tag(self) -> &'static str {
        self.say("de", "en")
    }

    pub(super) fn say<T>(self, german: T, english: T) -> T {
        match self {
            Self::German => german,
            Self::English => english,
        }
    }

    pub(super) fn of_both(self, said: &Said) -> &str {
        self.say(&said.de, &said.en)
    }
}

/// `0.8` → 800.
fn thousandths(weight: &str) -> u32 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u32>().unwrap_or(0).min(1) * 1000 + part.parse::<u32>().unwrap_or(0).min(999)
}

/// Times as the practice reads them.
pub(super) struct Times {
    pub(super) language: Language,
    zone: TimeZone,
    now: Timestamp,
}

impl Times {
    pub(super) fn new(language: Language, zone: &str, now: Timestamp) -> Self {
        Self { language, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC), now }
    }

    /// `16:30 Uhr`; of another day `22.11.2026, 16:30 Uhr`.
    pub(super) fn at(&self, time: Timestamp) -> String {
        if self.day(time) == self.day(self.now) { self.clock(time) } else { self.date(time) }
    }

    /// With its day.
    pub(super) fn date(&self, time: Timestamp) -> String {
        let day = time
            .to_zoned(self.zone.clone())
            .strftime(self.language.say("%-d.%-m.%Y", "%-d %B %Y"))
            .to_string();
        format!("{day}, {}", self.clock(time))
    }

    /// To the second, for a report.
    pub(super) fn second(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    fn clock(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime(self.language.say("%H:%M Uhr", "%H:%M")).to_string()
    }

    fn day(&self, time: Timestamp) -> jiff::civil::Date {
        time.to_zoned(self.zone.clone()).date()
    }

    /// Minutes until the day ends here.
    pub(super) fn minutes_today(&self) -> i64 {
        let now = self.now.to_zoned(self.zone.clone());
        let end = now.tomorrow().and_then(|tomorrow| tomorrow.start_of_day());
        end.map_or(0, |end| end.timestamp().duration_since(self.now).as_mins())
    }

    /// From now until `time`: `28 Minuten`; never less than one.
    pub(super) fn left(&self, time: Timestamp) -> String {
        let seconds = time.duration_since(self.now).as_secs().max(0);
        self.span((seconds + 59) / 60)
    }

    /// From `time` until now.
    pub(super) fn ago(&self, time: Timestamp) -> String {
        self.span(self.now.duration_since(time).as_mins())
    }

    /// From one time to another.
    pub(super) fn between(&self, from: Timestamp, to: Timestamp) -> String {
        self.span(to.duration_since(from).as_mins())
    }

    /// So many minutes.
    pub(super) fn span(&self, minutes: i64) -> String {
        let one = |n: i64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        let say = |de, en| self.language.say(de, en);
        let hours = |n| one(n, say("Stunde", "hour"), say("Stunden", "hours"));
        let rest = |n| one(n, say("Minute", "minute"), say("Minuten", "minutes"));
        match (minutes / 60, minutes % 60) {
            _ if minutes < 1 => say("weniger als 1 Minute", "less than 1 minute").to_owned(),
            (0, m) => rest(m),
            (h, 0) => hours(h),
            (h, m) => format!("{} {}", hours(h), rest(m)),
        }
    }

    /// How long somebody has to wait, rounded up.
    pub(super) fn wait(&self, wait: SignedDuration) -> String {
        let seconds = wait.as_secs().max(1);
        match seconds {
            1 => self.language.say("1 Sekunde", "1 second").to_owned(),
            2..=90 => format!("{seconds} {}", self.language.say("Sekunden", "seconds")),
            _ => self.span((seconds + 59) / 60),
        }
    }
}

/// A light's name.
pub(super) fn about(about: About) -> (&'static str, &'static str) {
    match about {
        About::Network => ("Netzwerk der Praxis", "The practice's network"),
        About::Router => ("Router", "Router"),
        About::Dns => ("Namen im Internet (DNS)", "Names on the internet (DNS)"),
        About::PublicAddress => ("Adresse im Internet", "Address on the internet"),
        About::Gateway => ("Verbindung zur Fernwartung", "Link to remote maintenance"),
        About::Key => ("Echtheit der Gegenstelle", "The other side is genuine"),
        About::Clock => ("Uhrzeit", "Clock"),
        About::Konnektor => ("Konnektor", "Konnektor"),
    }
}

/// How a visit ended.
pub(super) fn ended(how: &str) -> (&'static str, &'static str) {
    match how {
        "left" => ("von selbst gegangen", "left by themselves"),
        "closed" => ("Sie haben geschlossen", "you closed"),
        "ended" => ("Sie haben den Besuch beendet", "you ended the visit"),
        "link-lost" => ("die Verbindung brach ab", "the link was lost"),
        "time" => ("die Zeit war um", "the time was up"),
        _ => ("beendet", "over"),
    }
}

/// What the first words of a command mean; the longest that fits counts.
const MEANINGS: &[(&str, &str, &str)] = &[
    ("konnektor backup", "Sicherung des Konnektors", "Backup of the Konnektor"),
    ("konnektor backups", "Blick in die Liste der Sicherungen", "A look at the list of backups"),
    ("konnektor status", "Blick auf den Zustand des Konnektors", "A look at the Konnektor's state"),
    ("konnektor show", "Blick in eine Sicherung", "A look into a backup"),
    (
        "konnektor diff",
        "Vergleich des Konnektors mit einer Sicherung",
        "Comparison of the Konnektor with a backup",
    ),
    ("konnektor restore", "Einstellungen in den Konnektor schreiben", "Writing settings to the Konnektor"),
    ("konnektor einlesen", "Einstellungen in den Konnektor schreiben", "Writing settings to the Konnektor"),
    ("konnektor perform", "Aktion am Konnektor", "Action on the Konnektor"),
    ("konnektor remap", "Zuordnung der Kartenterminals", "Assignment of card terminals"),
    ("konnektor list", "Blick in die Liste der Konnektoren", "A look at the list of Konnektors"),
    ("scp", "Übertragung einer Datei", "Copying a file"),
    ("sftp", "Übertragung von Dateien", "Copying files"),
    ("rsync", "Abgleich von Dateien", "Synchronising files"),
    ("shell", "Eingabefenster", "Terminal"),
    ("hop", "Verbindung zu einem Rechner", "Connection to a machine"),
    ("relay", "Verbindung zu einem Rechner", "Connection to a machine"),
];

/// A deed in plain words; the deed itself is shown beside them.
pub(super) fn deed(kind: DeedKind, text: &str) -> (&'static str, &'static str) {
    match kind {
        DeedKind::Typed => ("Eingabe am Rechner", "Typed at the machine"),
        DeedKind::File => ("Übertragung einer Datei", "Copying a file"),
        DeedKind::Command | DeedKind::Refused => {
            let means = |start: &str| {
                text.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            let found =
                MEANINGS.iter().filter(|(start, ..)| means(start)).max_by_key(|(start, ..)| start.len());
            found.map_or(("Befehl", "Command"), |(_, de, en)| (de, en))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(wanted: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, wanted.parse().unwrap());
        Language::of(None, &headers)
    }

    #[test]
    fn german_unless_english_is_preferred_or_chosen() {
        assert_eq!(asked("fr-FR, fr;q=0.9"), Language::German);
        assert_eq!(asked("de-DE,de;q=0.9,en;q=0.8"), Language::German);
        assert_eq!(asked("en-US,en;q=0.9,de;q=0.8"), Language::English);
        assert_eq!(asked("en;q=0.2, de;q=0.25"), Language::German);
        assert_eq!(asked("en;q=nonsense"), Language::German);
        assert_eq!(Language::of(Some("en"), &HeaderMap::new()), Language::English);
        assert_eq!(Language::of(Some("<x>"), &HeaderMap::new()), Language::German);
    }

    #[test]
    fn times_read_in_the_zone_of_the_site() {
        let now: Timestamp = "2026-11-22T13:00:00Z".parse().unwrap();
        let german = Times::new(Language::German, "Europe/Berlin", now);
        let english = Times::new(Language::English, "Europe/Berlin", now);
        let later = "2026-11-22T14:30:00Z".parse().unwrap();
        assert_eq!((german.at(later), english.at(later)), ("15:30 Uhr".into(), "15:30".into()));
        let tomorrow = "2026-11-22T23:30:00Z".parse().unwrap();
        assert_eq!(german.at(tomorrow), "23.11.2026, 00:30 Uhr");
        assert_eq!(english.at(tomorrow), "23 November 2026, 00:30");
        assert_eq!(
            (german.left(later), english.left(later)),
            ("1 Stunde 30 Minuten".into(), "1 hour 30 minutes".into())
        );
        assert_eq!(german.minutes_today(), 600);
        assert_eq!(german.wait(SignedDuration::from_secs(61)), "61 Sekunden");
        assert_eq!(german.wait(SignedDuration::from_secs(121)), "3 Minuten");
        assert_eq!(
            Times::new(Language::German, "Nowhere/Else", now).at(now),
            "13:00 Uhr",
            "UTC, if there is no such zone"
        );
    }

    #[test]
    fn a_command_is_told_by_its_first_words_alone() {
        assert_eq!(deed(DeedKind::Command, "konnektor backups").1, "A look at the list of backups");
        assert_eq!(deed(DeedKind::Command, "konnektor backup -s x").1, "Backup of the Konnektor");
        assert_eq!(deed(DeedKind::Command, "konnektor backupx").1, "Command");
    }
}
