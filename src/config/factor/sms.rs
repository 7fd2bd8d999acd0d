//! `[second_factor.sms]`: who sends, with what, and for how long a code counts; each service is a template.
//! Absent on purpose: sending.

mod services;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use url::{Host, Url};

use self::services::Ready;
use crate::config::files::Folder;
use crate::config::problems::{Place, Problems};
use crate::config::reader::{At, Table};
use crate::secret::Secret;
use crate::template::{Encoding, Request, Slot, Success, Template, Values};

/// For how long a code counts where the file does not say.
const LASTS: Duration = Duration::from_mins(5);

/// The SMS provider's settings.
pub struct SmsFactor {
    /// For how long a code counts.
    pub lasts: At<Duration>,
    /// `{from}`; empty if there is none.
    pub sender: String,
    /// The user of `{basic}`; empty if there is none.
    pub user: String,
    /// `{secret}`.
    pub secret: Option<Secret>,
    /// Who sends.
    pub by: SmsBy,
}

/// Who sends an SMS.
pub enum SmsBy {
    /// A service on the net.
    Http {
        /// What it is sent.
        request: Box<Request>,
        /// A CA file, PEM, instead of the system's.
        ca: Option<PathBuf>,
        /// A proxy, `http://HOST:PORT`.
        proxy: Option<String>,
    },
    /// A program and its arguments; no shell.
    Exec(Vec<Template>),
}

/// The services by their names in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Ready(Ready),
    Http,
    Exec,
}

/// What a phone may show as the sender: a number, or a few letters.
struct SenderName(String);

impl FromStr for SenderName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=16).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" +-._".contains(&b))
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'+');
        if good { Ok(Self(text.into())) } else { Err("expected at most 16 letters and digits of ASCII") }
    }
}

/// A name at a service: it may become part of a URL or of a header.
struct Account(String);

impl FromStr for Account {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._@".contains(&b));
        if good { Ok(Self(text.into())) } else { Err("expected letters, digits and -._@ of ASCII") }
    }
}

pub(super) fn sms(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<SmsFactor> {
    let before = problems.0.len();
    let ready = Ready::ALL.map(|ready| (ready.as_str(), Service::Ready(ready)));
    let [seven, sipgate, twilio] = ready;
    let services = [seven, sipgate, twilio, ("http", Service::Http), ("exec", Service::Exec)];
    let service = table.one_of("service", &services, problems);
    let range = (Duration::from_secs(1), Duration::from_mins(10));
    let lasts = table.duration_within("lasts", range, problems);
    let lasts = lasts.unwrap_or_else(|| At { value: LASTS, place: table.place() });
    let sender = table.parsed::<SenderName>("sender", problems).map(|s| s.value.0).unwrap_or_default();
    let mut found =
        SmsFactor { lasts, sender, user: String::new(), secret: None, by: SmsBy::Exec(Vec::new()) };
    let by = match service {
        Some(Service::Ready(ready)) => ready.read(folder, &mut table, &mut found, problems),
        Some(Service::Http) => http(folder, &mut table, &mut found, problems),
        Some(Service::Exec) => exec(&mut table, &found, problems),
        // What else stands there belongs to a service that nobody knows.
        None => {
            if !table.holds("service") {
                problems.add(table.place(), "[second_factor.sms] needs the field \"service\"");
            }
            return None;
        }
    };
    table.finish(problems);
    let by = by.filter(|_| problems.0.len() == before)?;
    Some(SmsFactor { by, ..found })
}

/// Any service that takes a request: all of it is said in the file.
fn http(
    folder: &Folder,
    table: &mut Table<'_, '_>,
    found: &mut SmsFactor,
    problems: &mut Problems,
) -> Option<SmsBy> {
    use reqwest::Method;
    found.secret = folder.secret(table, "secret", problems);
    let unread = table.holds("secret") && found.secret.is_none();
    found.user = table.parsed::<Account>("user", problems).map(|u| u.value.0).unwrap_or_default();
    let methods = [("POST", "POST"), ("GET", "GET"), ("PUT", "PUT")];
    let method = match table.one_of("method", &methods, problems) {
        Some("GET") => Method::GET,
        Some("PUT") => Method::PUT,
        Some(_) | None => Method::POST,
    };
    let url = table.required::<String>("url", problems);
    let encodings = [
        ("json", (Encoding::Json, "application/json")),
        ("form", (Encoding::Percent, "application/x-www-form-urlencoded")),
    ];
    let encoding = table.one_of("encoding", &encodings, problems);
    let body = table.text("body", problems);
    if body.is_some() && !table.holds("encoding") {
        table.missing("encoding");
    }
    let named = table.named_lists::<String>("headers", problems);
    let success = success(table, problems);
    let (ca, proxy) = way_out(folder, table, problems);
    // All fields are read by now: from here on one mistake may end it.
    if unread || (body.is_some() && encoding.is_none()) {
        return None;
    }
    let mut headers = Vec::new();
    for (name, values) in named {
        for At { value, place } in values {
            match name.parse::<HeaderName>() {
                Ok(name) => headers.push((name, header(&value, &place, problems)?)),
                Err(_) => problems.add(place, format!("headers: \"{}\" is no name", name.escape_debug())),
            }
        }
    }
    if let Some((_, kind)) = encoding
        && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE)
    {
        headers.push((CONTENT_TYPE, literal(kind)));
    }
    let body = match (body, encoding) {
        (Some(At { value, place }), Some((encoding, _))) => {
            Some(template(&value, encoding, "body", &place, problems)?)
        }
        (_, _) => None,
    };
    let url = url?;
    let request = Request { method, url: checked_url(&url, problems)?, headers, body, success };
    complete(&request, found, &url.place, problems);
    Some(SmsBy::Http { request: Box::new(request), ca, proxy })
}

fn exec(table: &mut Table<'_, '_>, found: &SmsFactor, problems: &mut Problems) -> Option<SmsBy> {
    let command = table.required_list::<String>("command", problems);
    let place = command.first()?.place.clone();
    let mut templates = Vec::new();
    for At { value, place } in &command {
        templates.push(template(value, Encoding::Plain, "command", place, problems)?);
    }
    if templates.first().is_some_and(|program| program.slots().next().is_some()) {
        problems.add(place.clone(), "command: the program itself has no placeholders");
    }
    let slots: Vec<Slot> = templates.iter().flat_map(Template::slots).collect();
    if slots.iter().any(|slot| matches!(slot, Slot::Secret | Slot::Basic)) {
        problems.add(place.clone(), "command: everybody on this machine could read a {secret} there");
        return None;
    }
    // The text may come by standard input.
    needs(&slots, false, found, &place, problems);
    Some(SmsBy::Exec(templates))
}

/// What a reply must be: `{ status = [200], json = "/success", equals = "100" }`.
fn success(table: &mut Table<'_, '_>, problems: &mut Problems) -> Success {
    let mut found = Success::default();
    let Some(mut inner) = table.table("success", problems) else { return found };
    if let Some(statuses) = inner.numbers("status", 200..300, problems) {
        found.statuses = statuses.into_iter().filter_map(|status| u16::try_from(status).ok()).collect();
    }
    let (json, equals) = (inner.text("json", problems), inner.text("equals", problems));
    match (json, equals) {
        (Some(json), Some(equals)) => {
            if !json.value.starts_with('/') {
                problems.add(json.place, "json: expected a JSON pointer such as /success");
            }
            found.json = Some((json.value, equals.value));
        }
        (Some(_), None) => inner.missing("equals"),
        (None, Some(_)) => inner.missing("json"),
        (None, None) => {}
    }
    inner.finish(problems);
    found
}

/// `ca` and `proxy`.
fn way_out(
    folder: &Folder,
    table: &mut Table<'_, '_>,
    problems: &mut Problems,
) -> (Option<PathBuf>, Option<String>) {
    let ca = table.parsed::<PathBuf>("ca", problems).map(|ca| folder.path(ca.value));
    let proxy = table.parsed::<Url>("proxy", problems).map(|proxy| proxy.value.to_string());
    (ca, proxy)
}

fn template(
    text: &str,
    encoding: Encoding,
    key: &str,
    place: &Place,
    problems: &mut Problems,
) -> Option<Template> {
    let template = Template::parse(text, encoding);
    template.map_err(|e| problems.add(place.clone(), format!("{key}: {e}"))).ok()
}

/// A text of ours without placeholders.
fn literal(text: &str) -> Template {
    Template::parse(text, Encoding::Plain).unwrap_or_else(|_| Template::default())
}

/// https, or http to this machine; no placeholder may choose the host.
fn checked_url(url: &At<String>, problems: &mut Problems) -> Option<Template> {
    let At { value, place } = url;
    let made = template(value, Encoding::Percent, "url", place, problems)?;
    let sample = Values { to: "+4915112345678", text: "a", from: "a", user: "a", secret: "a" };
    let parsed: Url = match made.fill(&sample).reveal().parse() {
        Ok(parsed) => parsed,
        Err(e) => {
            problems.add(place.clone(), format!("url: {e}"));
            return None;
        }
    };
    let (_, after) = made.beginning().split_once("://").unwrap_or_default();
    if made.slots().next().is_some() && !after.contains(['/', '?']) {
        problems.add(place.clone(), "url: placeholders stand behind the host");
    }
    let here = match parsed.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match parsed.scheme() {
        "https" => {}
        "http" if here => {}
        _ => problems.add(place.clone(), "url: must be https; http is for this machine alone"),
    }
    Some(made)
}

/// What is sent must name the phone and hold the text, and have what its placeholders stand for.
fn complete(request: &Request, found: &SmsFactor, place: &Place, problems: &mut Problems) {
    let headers = request.headers.iter().map(|(_, value)| value);
    let parts = std::iter::once(&request.url).chain(headers).chain(&request.body);
    let slots: Vec<Slot> = parts.flat_map(Template::slots).collect();
    needs(&slots, true, found, place, problems);
    let secret = found.secret.as_ref().map(Secret::reveal).unwrap_or_default();
    let values = Values { to: "+4915112345678", text: "a", from: "a", user: &found.user, secret };
    let carried = |value: &Template| HeaderValue::from_str(value.fill(&values).reveal()).is_ok();
    if !request.headers.iter().all(|(_, value)| carried(value)) {
        problems.add(place.clone(), "headers: the secret holds characters that no header can carry");
    }
}

fn needs(slots: &[Slot], text: bool, found: &SmsFactor, place: &Place, problems: &mut Problems) {
    let has = |wanted: &[Slot]| slots.iter().any(|slot| wanted.contains(slot));
    for (wrong, message) in [
        (!has(&[Slot::To, Slot::ToDigits]), "the phone is sent nowhere: {to} or {to_digits} is missing"),
        (text && !has(&[Slot::Text]), "the code is sent nowhere: {text} is missing"),
        (has(&[Slot::From]) && found.sender.is_empty(), "{from} needs the field \"sender\""),
        (
            has(&[Slot::Secret, Slot::Basic]) && found.secret.is_none(),
            "{secret} and {basic} need the field \"secret\"",
        ),
        (has(&[Slot::Basic]) && found.user.is_empty(), "{basic} needs the field \"user\""),
    ] {
        if wrong {
            problems.add(place.clone(), message);
        }
    }
}

/// What a header holds beside its placeholders must be something that HTTP can carry.
fn header(text: &str, place: &Place, problems: &mut Problems) -> Option<Template> {
    let value = template(text, Encoding::Plain, "headers", place, problems)?;
    let sample = Values { to: "+4915112345678", text: "a", from: "a", user: "a", secret: "a" };
    if HeaderValue::from_str(value.fill(&sample).reveal()).is_err() {
        problems.add(place.clone(), "headers: a value may not have line breaks or control characters");
        return None;
    }
    Some(value)
}
