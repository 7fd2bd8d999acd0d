//! `help`, `whoami`, `sites`, `why`: what a person can ask about themself.

use super::table::{Row, TABLE};
use super::{Ended, Out, Works};
use serde_json::json;

use crate::asks::{Command, Family, Form, Verb};
use crate::config::Language;
use crate::grants::Given;
use crate::journal::started::Started;
use crate::link::lease::Whose;
use crate::names::SiteName;
use crate::sentences;

/// Runs it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other verbs are not about oneself, today's and tomorrow's"
)]
pub async fn run(started: &Started<Command>, works: &Works, out: &Out) -> Result<Ended, Ended> {
    match &started.ask().verb {
        Verb::Help(topic) => help(topic, out).await,
        Verb::Whoami => whoami(started, out).await,
        Verb::Sites => sites(started, works, out).await,
        Verb::Why { site, command } => why(started, works, out, site, *command).await,
        _ => Err(Ended::failed(super::exit::FAILED, "not-about-oneself")),
    }
}

async fn help(topic: &[String], out: &Out) -> Result<Ended, Ended> {
    let rows: Vec<&Row> = TABLE
        .iter()
        .filter(|row| row.words.iter().zip(topic).all(|(a, b)| a == b) && row.words.len() >= topic.len())
        .collect();
    if rows.is_empty() {
        let topic = super::parse::echoed(&topic.join(" "));
        out.say(match out.language {
            Language::English => {
                format!("there is no command \"{topic}\". What there is: help")
            }
            Language::German => format!("es gibt keinen Befehl „{topic}“. Was es gibt: help"),
        })
        .await?;
        return Ok(Ended::failed(super::exit::USAGE, "no-such-command"));
    }
    for row in rows {
        out.line(row.usage()).await?;
        out.line(format!("    {}", row.about(out.language))).await?;
    }
    Ok(Ended::done())
}

async fn whoami(started: &Started<Command>, out: &Out) -> Result<Ended, Ended> {
    let who = started.who();
    let connection = who.connection();
    if started.ask().form() == Form::Json {
        let json = json!({
            "user": who.user().to_string(),
            "firm": who.firm().to_string(),
            "key": who.key().to_string(),
            "from": connection.from.to_string(),
            "factor": who.factor(),
            "since": format!("{:.0}", who.since()),
            "session": connection.session.to_string(),
        });
        out.json(&json).await?;
        return Ok(Ended::done());
    }
    let rows = [
        (out.pick("user", "Benutzer"), who.user().to_string()),
        (out.pick("firm", "Firma"), who.firm().to_string()),
        (out.pick("key", "Schlüssel"), who.key().to_string()),
        (out.pick("from", "von"), connection.from.to_string()),
        (out.pick("confirmed by", "bestätigt über"), who.factor().to_owned()),
        (out.pick("since", "seit"), format!("{:.0}", who.since())),
        (out.pick("session", "Sitzung"), connection.session.to_string()),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        text.extend([name, ": ", &value, "\n"]);
    }
    out.data(text).await?;
    Ok(Ended::done())
}

async fn sites(started: &Started<Command>, works: &Works, out: &Out) -> Result<Ended, Ended> {
    let who = started.who();
    let mut sites: Vec<(SiteName, Vec<&str>)> = Vec::new();
    for family in Family::NAMED {
        for site in works.gate.sites_for(who, family) {
            match sites.iter_mut().find(|(name, _)| *name == site) {
                Some((_, families)) => families.push(family.as_str()),
                None => sites.push((site, vec![family.as_str()])),
            }
        }
    }
    sites.sort();
    if started.ask().form() == Form::Json {
        let sites = sites.iter().map(|(site, commands)| {
            let mut json = json!({"site": site.to_string(), "commands": commands});
            if let (Some(object), Some(link)) = (json.as_object_mut(), linked(works, site)) {
                object.insert("link".into(), link.json());
            }
            json
        });
        out.json(&sites.collect()).await?;
        return Ok(Ended::done());
    }
    if sites.is_empty() {
        out.say(out.pick(
            "No rule lets you work at any site now.",
            "Keine Regel lässt Sie zurzeit irgendwo arbeiten.",
        ))
        .await?;
    }
    for (site, families) in sites {
        out.line(format!("{site}: {}", families.join(", "))).await?;
        if let Some(link) = linked(works, &site) {
            out.line(format!("    {}", link.words(out.language))).await?;
        }
    }
    Ok(Ended::done())
}

/// How it stands with a site's own link.
struct Linked {
    since: Option<jiff::Timestamp>,
    open: Vec<Given>,
}

/// `None`: the gateway dials this site itself, and has no link of it.
fn linked(works: &Works, site: &SiteName) -> Option<Linked> {
    let since = works.uplinks.link(site).map(|link| link.since);
    let consented = works.gate.consented();
    let open = consented.at(site, works.clock.now());
    if since.is_none() && !works.gate.is_over_a_link(site) {
        return None;
    }
    Some(Linked { since, open: open.into_iter().flatten().cloned().collect() })
}

impl Linked {
    fn json(&self) -> serde_json::Value {
        let open = self.open.iter().map(|given| {
            json!({"who": given.who.to_string(), "may": given.may, "until": format!("{:.0}", given.said)})
        });
        json!({
            "linked": self.since.is_some(),
            "since": self.since.map(|since| format!("{since:.0}")),
            "open": open.collect::<Vec<_>>(),
        })
    }

    fn words(&self, language: Language) -> String {
        let Some(since) = self.since else {
            return match language {
                Language::English => {
                    "not linked: the customer's machine has no connection to this gateway".into()
                }
                Language::German => {
                    "nicht verbunden: der Rechner des Kunden erreicht dieses Gateway nicht".into()
                }
            };
        };
        let open = self.open.iter().map(|given| {
            let said = format!("{:.0}", given.said);
            match (&given.who, language) {
                (Whose::Schedule, Language::English) => "for nightly backups".to_owned(),
                (Whose::Schedule, Language::German) => "für nächtliche Sicherungen".to_owned(),
                (who, Language::English) => format!("until {said} for {who}"),
                (who, Language::German) => format!("bis {said} für {who}"),
            }
        });
        let open = open.collect::<Vec<_>>().join(", ");
        match (open.is_empty(), language) {
            (true, Language::English) => format!("linked since {since:.0}, closed"),
            (true, Language::German) => format!("verbunden seit {since:.0}, geschlossen"),
            (false, Language::English) => format!("linked since {since:.0}, open {open}"),
            (false, Language::German) => format!("verbunden seit {since:.0}, offen {open}"),
        }
    }
}

async fn why(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    site: &SiteName,
    command: Option<Family>,
) -> Result<Ended, Ended> {
    let families = command.map_or_else(|| Family::NAMED.to_vec(), |family| vec![family]);
    for family in families {
        let line = match works.gate.explain(started.who(), family, site) {
            Ok(terms) => sentences::allowed(&terms, family, out.language),
            Err(denied) => sentences::denied(&denied, family, Some(site), out.language),
        };
        out.line(format!("{}: {line}", family.as_str())).await?;
    }
    Ok(Ended::done())
}
