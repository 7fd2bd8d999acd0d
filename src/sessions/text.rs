//! The list and the sentences as people read them, German and English. Absent on purpose: a control character of anybody's command.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::Language::{self, English, German};
use crate::control::{Act, Cause, Session, Way};

/// Everything that was listed.
#[derive(Default, Serialize)]
pub(super) struct List {
    sessions: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    session: Session,
    ways: Vec<ListedWay>,
}

#[derive(Serialize)]
struct ListedWay {
    #[serde(flatten)]
    way: Way,
    acts: Vec<Act>,
}

impl List {
    pub(super) fn session(&mut self, session: Session) {
        self.sessions.push(Listed { session, ways: Vec::new() });
    }

    pub(super) fn way(&mut self, way: Way) {
        if let Some(last) = self.sessions.last_mut() {
            last.ways.push(ListedWay { way, acts: Vec::new() });
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        if let Some(last) = self.sessions.last_mut().and_then(|session| session.ways.last_mut()) {
            last.acts.push(act);
        }
    }

    /// For people; times of this zone.
    pub(super) fn human(&self, language: Language, zone: &TimeZone) -> String {
        let german = language == German;
        let pick =
            |english: &'static str, german_text: &'static str| if german { german_text } else { english };
        if self.sessions.is_empty() {
            return format!("{}\n", pick("Nobody is in.", "Niemand ist da."));
        }
        let (since, from) = (pick("since", "seit"), pick("from", "von"));
        let mut text = String::new();
        for Listed { session, ways } in &self.sessions {
            let Session { session, user, firm, key, from: address, factor, since: at } = session;
            let (user, firm, key, factor) = (plain(user), plain(firm), plain(key), plain(factor));
            writeln!(text, "{session}  {user} ({firm})  {from} {address}  {since} {}", time(*at, zone)).ok();
            writeln!(text, "  {key}  {factor}").ok();
            for ListedWay { way, acts } in ways {
                let inner = match way.inner.as_str() {
                    "sealed" => pick("sealed", "versiegelt"),
                    _ => pick("recorded", "aufgezeichnet"),
                };
                let (site, host) = (plain(&way.site), plain(&way.host));
                let (at, bytes) = (time(way.since, zone), moved(way.bytes_in, way.bytes_out));
                writeln!(text, "  {site}/{host}  {inner}  {since} {at}  {bytes}").ok();
                for act in acts {
                    writeln!(text, "    {}", line(act, pick, since, zone)).ok();
                }
            }
        }
        text
    }
}

fn line(
    act: &Act,
    pick: impl Fn(&'static str, &'static str) -> &'static str,
    since: &str,
    zone: &TimeZone,
) -> String {
    let mut line = format!("/{}  {}", act.channel, plain(&act.kind));
    if !act.command.is_empty() {
        write!(line, "  {}", plain(&act.command)).ok();
    }
    if let Some((columns, rows)) = act.terminal {
        write!(line, "  {} {columns}x{rows}", pick("terminal", "Terminal")).ok();
    }
    write!(line, "  {since} {}  {}", time(act.since, zone), moved(act.bytes_in, act.bytes_out)).ok();
    if let Some(recording) = &act.recording {
        write!(line, "  {}", plain(recording)).ok();
    }
    if act.watchers > 0 {
        write!(line, "  {} {}", pick("watched by", "beobachtet von"), act.watchers).ok();
    }
    line
}

/// Nothing that a terminal acts on, and nothing that reorders text.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if shown(c) { c } else { '\u{fffd}' }).collect()
}

fn time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn moved(up: u64, down: u64) -> String {
    format!("↑ {} ↓ {}", size(up), size(down))
}

/// `999 B`, `1.2 kB`, `34 MB`
fn size(bytes: u64) -> String {
    let mut rest = bytes;
    let mut tenths = 0;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if rest < 1000 || unit == "TB" {
            return if unit == "B" || rest >= 10 {
                format!("{rest} {unit}")
            } else {
                format!("{rest}.{tenths} {unit}")
            };
        }
        tenths = rest % 1000 / 100;
        rest /= 1000;
    }
    String::new()
}

/// Why it is not done.
pub(super) fn refused(cause: Cause, language: Language) -> &'static str {
    match (cause, language) {
        (Cause::NotPermitted, English) => "This is open to root, to who runs the gateway, and to its group.",
        (Cause::NotPermitted, German) => "Das steht root, dem Benutzer des Gateways und seiner Gruppe offen.",
        (Cause::Busy, English) => "Too many ask at once. Please try again.",
        (Cause::Busy, German) => "Zu viele fragen zugleich. Bitte noch einmal versuchen.",
        (Cause::TooSlow, English) => "The question came too slowly.",
        (Cause::TooSlow, German) => "Die Frage kam zu langsam.",
        (Cause::BadRequest, English) => {
            "The gateway does not understand this command: is it of another version?"
        }
        (Cause::BadRequest, German) => {
            "Das Gateway versteht diesen Befehl nicht: hat er eine andere Version?"
        }
        (Cause::NoSuch, English) => "Nothing of that name runs. What does: pforte sessions",
        (Cause::NoSuch, German) => "Unter diesem Namen läuft nichts. Was läuft: pforte sessions",
        (Cause::NoTerminal, English) => "There is no terminal to look at.",
        (Cause::NoTerminal, German) => "Dort ist kein Terminal, das man sehen könnte.",
        (Cause::Several, English) => {
            "It has several terminals: SESSION/CHANNEL, as pforte sessions lists them."
        }
        (Cause::Several, German) => "Es hat mehrere Terminals: SESSION/KANAL, wie pforte sessions sie nennt.",
        (Cause::Ending, English) => "It is ending already.",
        (Cause::Ending, German) => "Es endet schon.",
        (Cause::CannotJournal, English) => "This cannot be journalled, so it was not done.",
        (Cause::CannotJournal, German) => {
            "Das kann nicht ins Journal geschrieben werden, darum wurde es nicht getan."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_well_in_both_languages_and_shows_no_control_character() {
        let mut list = List::default();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(list.human(English, &zone), "Nobody is in.\n");
        let since = "2026-11-21T16:04:05Z".parse().unwrap();
        list.session(Session {
            session: "00000000010000000000000002".into(),
            user: "firm-jane.doe".into(),
            firm: "firm".into(),
            key: "SHA256:x".into(),
            from: "192.0.2.1:5".into(),
            factor: "webhook".into(),
            since,
        });
        let (site, host, inner) = ("praxis-mueller".into(), "backup".into(), "recorded".into());
        list.way(Way { site, host, inner, since, bytes_in: 1, bytes_out: 12_345 });
        list.act(Act {
            channel: 3,
            kind: "exec".into(),
            command: "top\x1b[2J\u{202e}".into(),
            since,
            terminal: Some((80, 24)),
            recording: Some("2026-11-21/X-3".into()),
            bytes_in: 1,
            bytes_out: 1_234_567,
            watchers: 1,
        });
        assert_eq!(
            list.human(English, &zone),
            "00000000010000000000000002  firm-jane.doe (firm)  from 192.0.2.1:5  since 2026-11-21 17:04:05\n  \
             SHA256:x  webhook\n  praxis-mueller/backup  recorded  since 2026-11-21 17:04:05  ↑ 1 B ↓ 12 kB\n    \
             /3  exec  top\u{fffd}[2J\u{fffd}  terminal 80x24  since 2026-11-21 17:04:05  ↑ 1 B ↓ 1.2 MB  2026-11-21/X-3  watched by 1\n"
        );
        let german = list.human(German, &zone);
        assert!(german.contains("aufgezeichnet  seit 2026-11-21 17:04:05"), "{german}");
    }
}
