//! What the front page's template sees: the view in one language, with times that read and text that is safe to look at.
//! Absent on purpose: HTML.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::guard::{Peer, Way};
use super::text::{person, visible};
use super::words::{Times, about, deed, ended};
use crate::site::desk::{Access, Ask, Deed, DeedKind, Light, Past, Presence, Seal, Shine, View};

/// A name, a title.
const NAME: usize = 80;
/// Somebody's reason, a command.
const TEXT: usize = 400;
/// The most of each list that is drawn; the rest is counted.
const MOST: usize = 20;
/// Deeds that are seen at once; the others unfold.
const LAST_DEEDS: usize = 3;

/// The front page.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the page")]
pub(super) struct Shown {
    title: String,
    stand: String,
    /// One sentence that changes only when something happened: what a screen reader is told.
    summary: String,
    open: bool,
    until: Option<String>,
    left: String,
    backup_only: bool,
    when_possible: bool,
    busy: bool,
    /// Who may come, in one line.
    may: String,
    choices: Vec<Choice>,
    most: String,
    firms: Vec<FirmShown>,
    named: Vec<NamedShown>,
    asks: Vec<AskShown>,
    more_asks: usize,
    present: Vec<PresentShown>,
    more_present: usize,
    lights: Vec<LightShown>,
    red: usize,
    green: usize,
    unknown: usize,
    visits: Vec<PastShown>,
    /// On this machine alone: elsewhere it would be whoever stands between that says which fingerprint is right.
    access: Vec<AccessShown>,
    /// The address that this is read at is not encrypted, or it is not known to us.
    plain: bool,
}

/// The page at an address of the practice's network.
#[derive(Serialize)]
struct AccessShown {
    url: String,
    seal: Seal,
    fingerprint: Option<String>,
    until: Option<String>,
    warning: Option<String>,
}

/// A length that it can be opened for.
#[derive(Serialize)]
struct Choice {
    id: String,
    /// `open` or `today`
    does: &'static str,
    minutes: u32,
    label: String,
    until: String,
}

#[derive(Serialize)]
struct FirmShown {
    name: String,
    title: String,
    telephone: Option<String>,
    call: Option<String>,
    /// Until when, if it may come.
    until: Option<String>,
}

#[derive(Serialize)]
struct NamedShown {
    who: String,
    name: String,
    title: String,
    until: String,
}

#[derive(Serialize)]
struct AskShown {
    id: String,
    name: String,
    user: String,
    firm: String,
    why: String,
    span: String,
    at: String,
    ago: String,
}

#[derive(Serialize)]
struct PresentShown {
    id: String,
    name: String,
    user: String,
    firm: String,
    machine: bool,
    since: String,
    ago: String,
    why: Option<String>,
    at: Vec<String>,
    deeds: Vec<DeedShown>,
    before: Vec<DeedShown>,
}

/// One deed, on the page and in a report.
#[derive(Serialize)]
pub(super) struct DeedShown {
    at: String,
    kind: DeedKind,
    plain: &'static str,
    text: String,
    result: &'static str,
    well: bool,
    exit: Option<u32>,
    seq: Option<u64>,
}

#[derive(Serialize)]
struct LightShown {
    name: &'static str,
    which: Option<String>,
    shine: Shine,
    says: String,
    advice: Option<String>,
}

/// A visit that was, on the page and in a report.
#[derive(Serialize)]
pub(super) struct PastShown {
    visit: String,
    name: String,
    user: String,
    firm: String,
    machine: bool,
    why: Option<String>,
    since: String,
    until: String,
    lasted: String,
    ended: &'static str,
    deeds: usize,
    reported: bool,
}

impl Shown {
    /// The view as it is drawn.
    pub(super) fn of(view: &View, times: &Times, peer: Peer) -> Self {
        let say = |de, en| times.language.say(de, en);
        let access = if peer.way == Way::Plain { view.access.as_slice() } else { &[] };
        let open = view.switch.open;
        let firm_until =
            |name: &str| view.named.iter().find(|named| named.who == name).map(|named| times.at(named.until));
        let is_firm = |who: &str| view.firms.iter().any(|firm| firm.name == who);
        let shining = |shine| view.lights.iter().filter(|light| light.shine == shine).count();
        let mut asks: Vec<&Ask> = view.asks.iter().collect();
        // The oldest first: a new one does not push what a finger is about to press.
        asks.sort_by_key(|ask| ask.at);
        Self {
            title: visible(&view.title, NAME),
            stand: times.second(view.now),
            summary: summary(view, times),
            open,
            until: view.switch.until.map(|until| times.at(until)),
            left: view
                .switch
                .until
                .map_or_else(|| say("eine Weile", "a while").to_owned(), |until| times.left(until)),
            backup_only: view.switch.backup_only,
            when_possible: view.switch.when_possible,
            busy: !view.present.is_empty(),
            may: may(view),
            choices: choices(view, times),
            most: times.span(view.switch.most_minutes.into()),
            firms: view
                .firms
                .iter()
                .map(|firm| FirmShown {
                    name: firm.name.clone(),
                    title: visible(&firm.title, NAME),
                    telephone: firm.telephone.as_deref().map(|number| visible(number, 40)),
                    call: firm.telephone.as_deref().and_then(call),
                    until: firm_until(&firm.name),
                })
                .collect(),
            named: view
                .named
                .iter()
                .filter(|named| !is_firm(&named.who))
                .map(|named| NamedShown {
                    who: handle(&named.who),
                    name: person(&named.who),
                    title: visible(&named.title, NAME),
                    until: times.at(named.until),
                })
                .collect(),
            more_asks: asks.len().saturating_sub(MOST),
            asks: asks.into_iter().take(MOST).map(|ask| AskShown::of(ask, times)).collect(),
            more_present: view.present.len().saturating_sub(MOST),
            present: view.present.iter().take(MOST).map(|there| PresentShown::of(there, times)).collect(),
            lights: view.lights.iter().take(50).map(|light| LightShown::of(light, times)).collect(),
            red: shining(Shine::Red),
            green: shining(Shine::Green),
            unknown: shining(Shine::Unknown),
            visits: view.visits.iter().take(50).map(|past| PastShown::of(past, times)).collect(),
            access: access.iter().map(|access| AccessShown::of(access, times)).collect(),
            plain: peer.way == Way::Proxied,
        }
    }

    /// See the field.
    pub(super) fn summary(&self) -> &str {
        &self.summary
    }
}

/// What changed is heard in full, so it is short: open or closed, who is in, who asks.
fn summary(view: &View, times: &Times) -> String {
    let say = |de: &str, en: &str| times.language.say(de, en).to_owned();
    let mut said = match (view.switch.open, view.switch.until) {
        (true, Some(until)) => format!("{} {}.", say("Offen bis", "Open until"), times.at(until)),
        (true, None) => say("Offen.", "Open."),
        (false, _) => say("Geschlossen.", "Closed."),
    };
    let names = |users: Vec<&str>| {
        let shown: Vec<String> = users.iter().take(3).map(|user| who(user, times)).collect();
        let more = if users.len() > 3 { " …" } else { "" };
        format!("{}{more}", shown.join(", "))
    };
    if !view.present.is_empty() {
        let there = names(view.present.iter().map(|there| there.user.as_str()).collect());
        said = format!("{said} {} {there}.", say("Gerade da:", "In right now:"));
    }
    if !view.asks.is_empty() {
        let asking = names(view.asks.iter().map(|ask| ask.user.as_str()).collect());
        said = format!("{said} {} {asking}.", say("Bittet um Einlass:", "Asks to be let in:"));
    }
    said
}

/// The names of those who may come.
fn may(view: &View) -> String {
    let firm =
        |who: &str| view.firms.iter().find(|firm| firm.name == who).map(|firm| visible(&firm.title, NAME));
    let name = |who: &String| firm(who).unwrap_or_else(|| person(who));
    let names: Vec<String> = view.named.iter().take(5).map(|named| name(&named.who)).collect();
    format!("{}{}", names.join(", "), if view.named.len() > 5 { " …" } else { "" })
}

/// A person, or the schedule.
fn who(user: &str, times: &Times) -> String {
    if user == "@schedule" {
        times.language.say("Automatische Sicherung", "Automatic backup").to_owned()
    } else {
        person(user)
    }
}

fn choices(view: &View, times: &Times) -> Vec<Choice> {
    let say = |de: &str, en: &str| times.language.say(de, en).to_owned();
    let until = |minutes: i64| {
        let then = view.now.saturating_add(jiff::SignedDuration::from_mins(minutes)).unwrap_or(view.now);
        format!("{} {}", say("bis", "until"), times.at(then))
    };
    let most = view.switch.most_minutes;
    let choice = |minutes: u32| Choice {
        id: format!("open-{minutes}"),
        does: "open",
        minutes,
        label: times.span(minutes.into()),
        until: until(minutes.into()),
    };
    let mut choices: Vec<Choice> =
        [30, 120].into_iter().filter(|minutes| *minutes <= most).map(choice).collect();
    let today = times.minutes_today();
    let (label, end) = if i64::from(most) < today {
        (say("So lange es geht", "As long as possible"), until(most.into()))
    } else {
        (say("Heute", "Today"), say("bis Mitternacht", "until midnight"))
    };
    choices.push(Choice { id: "open-today".into(), does: "today", minutes: 0, label, until: end });
    choices
}

/// Only what a telephone dials becomes a link.
fn call(number: &str) -> Option<String> {
    let dialled = |c: char| c.is_ascii_digit() || c == '+';
    if !number.chars().all(|c| dialled(c) || " /()-".contains(c)) {
        return None;
    }
    let digits: String = number.chars().filter(|c| dialled(*c)).take(20).collect();
    (digits.len() >= 3).then(|| format!("tel:{digits}"))
}

/// By what a form names a visit, an ask, a person: itself, or, if a gateway made up what a form would change or cut, its
/// hash. So that even such a visit has a button that ends it.
pub(super) fn handle(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._@".contains(&b);
    if (1..=80).contains(&name.len()) && name.bytes().all(plain) {
        return name.to_owned();
    }
    let hash = Sha256::digest(name.as_bytes());
    let half = hash.first_chunk::<16>().copied().unwrap_or_default();
    format!("~{:032x}", u128::from_be_bytes(half))
}

impl AskShown {
    fn of(ask: &Ask, times: &Times) -> Self {
        Self {
            id: handle(&ask.id),
            name: who(&ask.user, times),
            user: visible(&ask.user, NAME),
            firm: visible(&ask.firm, NAME),
            why: visible(&ask.why, TEXT),
            span: times.span(ask.minutes.into()),
            at: times.at(ask.at),
            ago: times.ago(ask.at),
        }
    }
}

impl PresentShown {
    fn of(there: &Presence, times: &Times) -> Self {
        let mut deeds: Vec<DeedShown> =
            there.deeds.iter().rev().take(200).map(|deed| DeedShown::of(deed, times, true)).collect();
        let before = deeds.split_off(deeds.len().min(LAST_DEEDS));
        Self {
            id: handle(&there.visit),
            name: who(&there.user, times),
            user: visible(&there.user, NAME),
            firm: visible(&there.firm, NAME),
            machine: there.user == "@schedule",
            since: times.at(there.since),
            ago: times.ago(there.since),
            why: there.why.as_deref().map(|why| visible(why, TEXT)),
            at: there.at.iter().take(MOST).map(|at| visible(at, TEXT)).collect(),
            deeds,
            before,
        }
    }
}

impl DeedShown {
    /// `live`: one without an end is still going on; in a report it is not known how it ended.
    pub(super) fn of(done: &Deed, times: &Times, live: bool) -> Self {
        let say = |(de, en)| times.language.say(de, en);
        let (result, well) = match (done.kind, done.exit) {
            (DeedKind::Refused, _) => (say(("abgelehnt, nicht ausgeführt", "refused, not done")), false),
            (_, Some(0)) => (say(("hat geklappt", "worked")), true),
            (_, Some(_)) => (say(("endete mit einem Fehler", "ended with an error")), false),
            (DeedKind::Command, None) if live => (say(("läuft noch", "still going on")), true),
            (DeedKind::Command | DeedKind::Typed | DeedKind::File, None) => ("", true),
        };
        Self {
            at: times.second(done.at),
            kind: done.kind,
            plain: say(deed(done.kind, &done.text)),
            text: visible(&done.text, TEXT),
            result,
            well,
            exit: done.exit.filter(|exit| *exit != 0),
            seq: done.seq,
        }
    }
}

impl LightShown {
    fn of(light: &Light, times: &Times) -> Self {
        let (de, en) = about(light.about);
        Self {
            name: times.language.say(de, en),
            which: light.which.as_deref().map(|which| visible(which, NAME)),
            shine: light.shine,
            says: visible(times.language.of_both(&light.says), TEXT),
            advice: light.advice.as_ref().map(|advice| visible(times.language.of_both(advice), TEXT)),
        }
    }
}

impl AccessShown {
    fn of(access: &Access, times: &Times) -> Self {
        Self {
            url: access.url.clone(),
            seal: access.seal,
            fingerprint: access.fingerprint.clone(),
            until: access.until.map(|until| times.date(until)),
            warning: access.warning.as_ref().map(|warning| visible(times.language.of_both(warning), TEXT)),
        }
    }
}

impl PastShown {
    pub(super) fn of(past: &Past, times: &Times) -> Self {
        let machine = past.user == "@schedule";
        let (de, en) =
            if machine && past.ended == "left" { ("fertig", "finished") } else { ended(&past.ended) };
        Self {
            visit: past.visit.clone(),
            name: who(&past.user, times),
            user: visible(&past.user, NAME),
            firm: visible(&past.firm, NAME),
            machine,
            why: past.why.as_deref().map(|why| visible(why, TEXT)),
            since: times.date(past.since),
            until: times.at(past.until),
            lasted: times.between(past.since, past.until),
            ended: times.language.say(de, en),
            deeds: past.deeds,
            // What can be no path of ours is no link.
            reported: past.reported && super::answers::is_visit(&past.visit),
        }
    }
}
