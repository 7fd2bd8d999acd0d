//! The arguments that rows share, and what is read out of them.
//! Absent on purpose: meaning; each gives data of `asks`.

use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};

use crate::asks::{Certificates, Family, Into, Order, Source, Verb, Which};
use crate::names::{BadName, ServiceName, SiteName, Ticket};

pub(super) fn parsed<T: std::str::FromStr<Err = crate::names::BadName> + Clone + Send + Sync + 'static>()
-> ValueParser {
    ValueParser::new(|text: &str| text.parse::<T>())
}

pub(super) fn destination(text: &str) -> Result<Into, crate::names::BadName> {
    if text == "-" { Ok(Into::Output) } else { text.parse().map(Into::Named) }
}

pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// `incoming/NAME.json`, a kept backup's name, or `-`.
pub(super) fn a_source(text: &str) -> Result<Source, crate::names::BadName> {
    match (text, text.strip_prefix("incoming/")) {
        ("-", _) => Ok(Source::Input),
        (_, Some(name)) => name.parse().map(Source::Incoming),
        (_, None) => text.parse().map(Source::Kept),
    }
}

pub(super) fn source() -> Arg {
    Arg::new("file").short('f').value_name("FILE|-").value_parser(a_source as fn(&str) -> _)
}

/// `CT_ID_0001=CT_ID_0011`
pub(super) fn pair(text: &str) -> Result<(String, String), crate::names::BadName> {
    let bad = crate::names::BadName { what: "pair", form: "OLD=NEW" };
    let (old, new) = text.split_once('=').ok_or(bad)?;
    let fits = |id: &str| !id.is_empty() && id.len() <= 128;
    if fits(old) && fits(new) { Ok((old.to_owned(), new.to_owned())) } else { Err(bad) }
}

pub(super) fn dry_run() -> Arg {
    Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue)
}

/// Said twice, it answers the second question too.
pub(super) fn yes() -> Arg {
    Arg::new("yes").long("yes").action(ArgAction::Count)
}

/// The strongest of what was said.
pub(super) fn certificates(m: &ArgMatches) -> Certificates {
    let said: Vec<&String> = m.get_many::<String>("certificates").into_iter().flatten().collect();
    let has = |words: [&str; 2]| said.iter().any(|word| words.contains(&word.as_str()));
    if has(["delete", "loeschen"]) {
        Certificates::Delete
    } else if has(["overwrite", "ueberschreiben"]) {
        Certificates::Overwrite
    } else {
        Certificates::New
    }
}

pub(super) fn which() -> Arg {
    Arg::new("which").short('i').value_name("SITE[/KONNEKTOR]").value_parser(parsed::<Which>())
}

pub(super) fn services() -> Arg {
    let parser = parsed::<ServiceName>();
    Arg::new("services")
        .short('s')
        .value_name("SERVICE,…")
        .value_delimiter(',')
        .action(ArgAction::Append)
        .value_parser(parser)
}

/// Read by [`crate::asks::Command::form`]; `konnektor show` is JSON with and without it.
pub(super) fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue)
}

pub(super) fn konnektor(m: &ArgMatches) -> Which {
    m.get_one::<Which>("which").cloned().unwrap_or(Which::Only)
}

pub(super) fn service_list(m: &ArgMatches) -> Vec<ServiceName> {
    m.get_many::<ServiceName>("services").into_iter().flatten().cloned().collect()
}

/// `TICKET -i SITE,… --may WHAT,… --for 60m`, `list`, `close [TICKET]`
pub(super) fn order() -> Vec<Arg> {
    let list = |name: &'static str| Arg::new(name).value_delimiter(',').action(ArgAction::Append);
    let sites = list("sites").short('i').value_name("SITE,…").value_parser(parsed::<SiteName>());
    let may = list("may").long("may").value_name("COMMAND,…").value_parser(a_family as fn(&str) -> _);
    let lasts = Arg::new("for").long("for").value_name("60m").value_parser(a_span as fn(&str) -> _);
    let ticket = Arg::new("ticket").value_name("TICKET").requires("what").value_parser(parsed::<Ticket>());
    vec![Arg::new("what").value_name("TICKET|list|close"), ticket, sites, may, lasts, json()]
}

pub(super) fn ordered(m: &ArgMatches) -> Option<Verb<Which>> {
    let ticket = m.get_one::<Ticket>("ticket").cloned();
    let bare = !["sites", "may", "for"].into_iter().any(|id| m.contains_id(id));
    match m.get_one::<String>("what").map(String::as_str) {
        None | Some("list" | "liste") => (bare && ticket.is_none()).then_some(Verb::Orders),
        Some("close" | "schliessen") => bare.then_some(Verb::OrderClose(ticket)),
        Some(name) if ticket.is_none() => {
            let mut sites: Vec<SiteName> = m.get_many("sites")?.cloned().collect();
            let mut may: Vec<Family> = m.get_many("may")?.copied().collect();
            sites.sort();
            sites.dedup();
            may.sort();
            may.dedup();
            let lasts = *m.get_one::<Duration>("for")?;
            Some(Verb::Order(Order { ticket: name.parse().ok()?, sites, may, lasts }))
        }
        Some(_) => None,
    }
}

pub(super) fn ask() -> Vec<Arg> {
    vec![
        Arg::new("site").value_name("SITE").required(true).value_parser(parsed::<SiteName>()),
        Arg::new("why").long("why").value_name("TEXT").required(true).num_args(1..),
        Arg::new("for").long("for").value_name("30m").value_parser(a_span as fn(&str) -> _),
        Arg::new("no-wait").long("no-wait").action(ArgAction::SetTrue),
    ]
}

pub(super) fn asked(m: &ArgMatches) -> Option<Verb<Which>> {
    let lasts = m.get_one::<Duration>("for").copied().unwrap_or(Duration::from_mins(30));
    Some(Verb::Ask {
        site: m.get_one::<SiteName>("site")?.clone(),
        why: a_reason(&m.get_many::<String>("why")?.map(String::as_str).collect::<Vec<_>>().join(" "))?,
        minutes: u32::try_from(lasts.as_secs().div_ceil(60)).ok()?,
        wait: !m.get_flag("no-wait"),
    })
}

/// What the practice reads: something, and not a page. The client's shell has taken the quotes, or left them.
fn a_reason(text: &str) -> Option<String> {
    let text = text.trim_matches(['"', '\'', ' ']);
    (3..=200).contains(&text.chars().count()).then(|| text.to_owned())
}

/// `backup`, `konnektor-backup`, `hop-backup`: a command's name needs no blanks here.
fn a_family(text: &str) -> Result<Family, BadName> {
    let bad = BadName { what: "command", form: "one such as backup, status or hop-backup" };
    let spelled = text.replacen('-', " ", 1);
    let whole = [text.to_owned(), spelled, format!("konnektor {text}")];
    whole.iter().find_map(|words| super::family(words)).ok_or(bad)
}

fn a_span(text: &str) -> Result<Duration, BadName> {
    let bad = BadName { what: "time span", form: "30m, 2h, up to 24h" };
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad)?;
    let span = Duration::try_from(span).map_err(|_| bad)?;
    (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&span).then_some(span).ok_or(bad)
}
