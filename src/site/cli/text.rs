//! What the terminal prints. Absent on purpose: anything that a terminal would obey; text of others is shown, never obeyed.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Language;
use crate::names::SiteName;
use crate::site::desk::{
    About, Access, Action, Deed, DeedKind, Light, REPORT, Report, Said, Seal, Shine, View, Visit,
};
use crate::site::init::Made;
use crate::site::socket::Want;

/// The sentence in that language.
pub(super) fn in_language(said: &Said, language: Language) -> &str {
    match language {
        Language::German => &said.de,
        Language::English => &said.en,
    }
}

fn either(language: Language, de: impl Into<String>, en: impl Into<String>) -> String {
    match language {
        Language::German => de.into(),
        Language::English => en.into(),
    }
}

/// Without what a terminal would obey, and without what turns a line's direction round.
fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

fn at(time: Timestamp, zone: &TimeZone, form: &str) -> String {
    time.to_zoned(zone.clone()).strftime(form).to_string()
}

fn day(time: Timestamp, zone: &TimeZone) -> String {
    at(time, zone, "%d.%m.%Y %H:%M")
}

/// Everything at one look.
pub(super) fn view(view: &View, language: Language) -> String {
    let zone = TimeZone::get(&view.zone).unwrap_or(TimeZone::UTC);
    let mut out = String::new();
    let say = |de: &str, en: &str| either(language, de, en);
    writeln!(out, "{} ({})", plain(&view.title), view.site).ok();
    let switch = match view.switch.until {
        Some(until) => {
            let until = day(until, &zone);
            say(&format!("OFFEN bis {until}"), &format!("OPEN until {until}"))
        }
        None => say("GESCHLOSSEN", "CLOSED"),
    };
    writeln!(out, "{}", say(&format!("Schalter: {switch}"), &format!("Switch: {switch}"))).ok();
    if view.switch.backup_only {
        writeln!(out, "{}", say("Nächtliche Sicherungen laufen.", "Nightly backups run.")).ok();
    }
    if view.switch.when_possible {
        writeln!(
            out,
            "{}",
            say("Öffnet nach einem Neustart von selbst.", "Opens by itself after a restart.")
        )
        .ok();
    }
    for named in &view.named {
        let (who, title, until) = (&named.who, plain(&named.title), at(named.until, &zone, "%H:%M"));
        let line = say(
            &format!("Herein darf: {title} ({who}) bis {until}"),
            &format!("May come in: {title} ({who}) until {until}"),
        );
        writeln!(out, "{line}").ok();
    }
    if view.switch.open && view.named.is_empty() {
        writeln!(
            out,
            "{}",
            say(
                "Herein darf noch niemand: pforte site allow FIRMA",
                "Nobody may come in yet: pforte site allow FIRM"
            )
        )
        .ok();
    }
    for ask in &view.asks {
        let (id, user, why, minutes) = (plain(&ask.id), &ask.user, plain(&ask.why), ask.minutes);
        let line = say(
            &format!(
                "Bittet um Einlass: {user}, {minutes} Minuten: \"{why}\"\n  pforte site grant {id} | deny {id}"
            ),
            &format!(
                "Asks to come in: {user}, {minutes} minutes: \"{why}\"\n  pforte site grant {id} | deny {id}"
            ),
        );
        writeln!(out, "{line}").ok();
    }
    for here in &view.present {
        let (user, since, visit) = (plain(&here.user), at(here.since, &zone, "%H:%M"), &here.visit);
        let whereto = plain(&here.at.join(", "));
        let line = say(
            &format!("Gerade da: {user} seit {since}: {whereto}\n  pforte site end {visit}"),
            &format!("In right now: {user} since {since}: {whereto}\n  pforte site end {visit}"),
        );
        writeln!(out, "{line}").ok();
    }
    out.push('\n');
    for light in &view.lights {
        lamp(&mut out, light, language);
    }
    if !view.visits.is_empty() {
        writeln!(out, "\n{}", say("Frühere Besuche:", "Earlier visits:")).ok();
    }
    for past in view.visits.iter().take(10) {
        let (since, until) = (day(past.since, &zone), at(past.until, &zone, "%H:%M"));
        writeln!(
            out,
            "  {since}-{until} {} ({}, {}) {}",
            plain(&past.user),
            past.deeds,
            past.ended,
            past.visit
        )
        .ok();
    }
    for access in &view.access {
        reached(&mut out, access, &zone, language);
    }
    out
}

/// Where the page is in the network, and how somebody there can tell that it is this one.
fn reached(out: &mut String, access: &Access, zone: &TimeZone, language: Language) {
    let say = |de: &str, en: &str| either(language, de, en);
    writeln!(
        out,
        "\n{}: {}",
        say("Die Seite im Netz der Praxis", "The page in the practice's network"),
        access.url
    )
    .ok();
    let compare = match access.seal {
        Seal::Own => say(
            "  Der Browser warnt dort beim ersten Mal: Dieses Gerät hat sein Zertifikat selbst gemacht.\n  \
             Lassen Sie sich das Zertifikat anzeigen. Nur wenn sein SHA-256-Fingerabdruck dieser ist, ist es dieses Gerät:",
            "  The browser there warns the first time: this device has made its certificate itself.\n  \
             Have it show you the certificate. Only if its SHA-256 fingerprint is this one, it is this device:",
        ),
        Seal::Given => say("  Zertifikat, SHA-256-Fingerabdruck:", "  Certificate, SHA-256 fingerprint:"),
        Seal::Plain => String::new(),
    };
    if let Some(fingerprint) = &access.fingerprint {
        writeln!(out, "{compare}\n  {fingerprint}").ok();
    }
    if let Some(until) = access.until {
        writeln!(out, "  {} {}", say("gültig bis", "valid until"), day(until, zone)).ok();
    }
    if let Some(warning) = &access.warning {
        let warning = plain(in_language(warning, language));
        writeln!(out, "  {}: {warning}", say("ACHTUNG", "WARNING")).ok();
    }
}

/// `site.toml` is right; what is unwise in it.
pub(super) fn checked(warning: Option<&Said>, language: Language) -> String {
    let right = either(language, "site.toml ist in Ordnung.", "site.toml is right.");
    match warning {
        None => right,
        Some(warning) => {
            let warning = plain(in_language(warning, language));
            format!("{right}\n{}: {warning}", either(language, "ACHTUNG", "WARNING"))
        }
    }
}

fn lamp(out: &mut String, light: &Light, language: Language) {
    let sign = match light.shine {
        Shine::Green => either(language, "gut ", "good"),
        Shine::Red => either(language, "ROT ", "RED "),
        Shine::Unknown => "?   ".to_owned(),
    };
    let about = either(language, name(light.about).0, name(light.about).1);
    let which = light.which.as_ref().map_or_else(String::new, |which| format!(" {}", plain(which)));
    writeln!(out, "{sign}  {about}{which}: {}", plain(in_language(&light.says, language))).ok();
    if let Some(advice) = &light.advice {
        writeln!(out, "      {}", plain(in_language(advice, language))).ok();
    }
}

/// What a light is about.
fn name(about: About) -> (&'static str, &'static str) {
    match about {
        About::Network => ("Netz", "Network"),
        About::Router => ("Router", "Router"),
        About::Dns => ("Namen", "Names"),
        About::PublicAddress => ("Adresse", "Address"),
        About::Gateway => ("Gegenstelle", "Gateway"),
        About::Key => ("Schlüssel", "Key"),
        About::Clock => ("Uhr", "Clock"),
        About::Konnektor => ("Konnektor", "Konnektor"),
    }
}

/// It is done.
pub(super) fn done(want: &Want, language: Language) -> String {
    let Want::Act { action } = want else { return String::new() };
    let say = |de: &str, en: &str| either(language, de, en);
    match action {
        Action::Open { .. } | Action::OpenToday => say(
            "Offen. Herein darf noch niemand: pforte site allow FIRMA",
            "Open. Nobody may come in yet: pforte site allow FIRM",
        ),
        Action::Close => say("Geschlossen.", "Closed."),
        Action::Allow { who } => say(&format!("{who} darf herein."), &format!("{who} may come in.")),
        Action::Withdraw { who } => {
            say(&format!("{who} darf nicht mehr herein."), &format!("{who} may come in no more."))
        }
        Action::Grant { .. } => say("Hereingelassen.", "Let in."),
        Action::Deny { .. } => say("Abgelehnt.", "Denied."),
        Action::End { .. } => say("Beendet.", "Ended."),
        Action::BackupOnly { on: true } => say("Nächtliche Sicherungen laufen.", "Nightly backups run."),
        Action::BackupOnly { on: false } => say("Keine nächtlichen Sicherungen.", "No nightly backups."),
        Action::WhenPossible { on: true } => {
            say("Öffnet nach einem Neustart von selbst.", "Opens by itself after a restart.")
        }
        Action::WhenPossible { on: false } => {
            say("Bleibt nach einem Neustart geschlossen.", "Stays closed after a restart.")
        }
    }
}

/// There is no report.
pub(super) fn no_report(language: Language) -> String {
    either(
        language,
        "Davon gibt es keinen Bericht. Er kommt eine Minute nach dem Besuch.",
        "There is no report of that. It comes a minute after the visit.",
    )
}

/// Nobody answers at the socket.
pub(super) fn nobody_there(path: &Path, language: Language) -> String {
    let path = path.display();
    either(
        language,
        format!("Hier läuft keine Fernwartung ({path}): systemctl start pforte-site"),
        format!("No site runs here ({path}): systemctl start pforte-site"),
    )
}

/// The socket is not for this user.
pub(super) fn not_permitted(path: &Path, language: Language) -> String {
    let path = path.display();
    either(
        language,
        format!("{path}: das darf dieser Benutzer nicht."),
        format!("{path}: this user may not."),
    )
}

/// What was found when a report was checked.
pub(super) fn verified(report: &Report, good: bool, language: Language) -> String {
    let key = ssh_key::PublicKey::from_openssh(&report.key);
    let key = key.map(|key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string()).unwrap_or_default();
    if good {
        either(
            language,
            format!("Der Bericht ist echt, unterschrieben von {key}."),
            format!("The report is genuine, signed by {key}."),
        )
    } else {
        either(
            language,
            format!("Der Bericht ist NICHT von {key} unterschrieben."),
            format!("The report is NOT signed by {key}."),
        )
    }
}

/// A report, for people.
pub(super) fn report(visit: &Visit, report: &Report, language: Language) -> String {
    let zone = TimeZone::system();
    let past = &visit.past;
    let (title, user, firm) = (plain(&visit.title), plain(&past.user), plain(&past.firm));
    let (since, until) = (day(past.since, &zone), day(past.until, &zone));
    let mut out = either(
        language,
        format!("{title}: Besuch von {user} ({firm})\n{since} bis {until}, Ende: {}\n", past.ended),
        format!("{title}: visit of {user} ({firm})\n{since} to {until}, ended: {}\n", past.ended),
    );
    if let Some(why) = &past.why {
        writeln!(out, "\"{}\"", plain(why)).ok();
    }
    for deed in &visit.deeds_done {
        writeln!(out, "  {}", line(deed, &zone)).ok();
    }
    if visit.left_out > 0 {
        let n = visit.left_out;
        out.push_str(&either(language, format!("  und {n} weitere\n"), format!("  and {n} more\n")));
    }
    let check = format!(
        "ssh-keygen -Y verify -f allowed_signers -I {} -n {REPORT} -s {}.json.sig < {}.json",
        visit.site, past.visit, past.visit
    );
    out.push_str(&either(
        language,
        "Prüfen: pforte site report --verify, oder ",
        "Check: pforte site report --verify, or ",
    ));
    writeln!(out, "{check}\n  allowed_signers: {} {}", visit.site, report.key).ok();
    out
}

fn line(deed: &Deed, zone: &TimeZone) -> String {
    let kind = match deed.kind {
        DeedKind::Command => ">",
        DeedKind::Typed => "$",
        DeedKind::File => "=",
        DeedKind::Refused => "x",
    };
    let exit = deed.exit.map_or_else(String::new, |exit| format!(" [{exit}]"));
    format!("{} {kind} {}{exit}", at(deed.at, zone, "%H:%M:%S"), plain(&deed.text))
}

/// What `init` has made, and what to do with it.
pub(super) fn made(dir: &Path, name: &SiteName, made: &Made) -> String {
    let dir = dir.display();
    let then = if made.given {
        format!(
            "systemctl enable --now pforte-site; secrets and state belong to the user {}, as which it runs: give it what you add there",
            crate::owner::SERVICES[1]
        )
    } else {
        format!("pforte site serve --config {dir}")
    };
    format!(
        "A site stands in {dir}. Next:\n\
         1. {dir}/site.toml: the gateway's address and host key, what may be reached, the firms\n\
         2. the line on standard output goes to the gateway, as keys/sites/{name}.pub\n\
         3. {then}\n\
         The page's PIN, said this once: {}",
        made.pin.reveal()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_moves_no_cursor_and_turns_no_line() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }
}
