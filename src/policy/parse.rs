//! `policy/rules.toml` → [`Policy`], every error with its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::hours::Hours;
use super::standing::Order;
use super::{Matches, May, On, Policy, Rule};
use crate::asks::Family;
use crate::config::{At, Config, Document, Folder, Network, Problems, Readable, Table, Via, near_miss};
use crate::names::{Firm, KonnektorId, SiteName, Username};

const FILE: &str = "policy/rules.toml";

/// Reads the rules; what is wrong goes to `problems`.
pub fn load(folder: &Folder, config: &Config, problems: &mut Problems) -> Policy {
    let orders = config.sites.values().flat_map(|site| {
        site.schedules.iter().map(|schedule| Order {
            konnektor: KonnektorId { site: site.name.clone(), konnektor: schedule.konnektor.clone() },
            place: schedule.place.short().into(),
            services: schedule.services.clone(),
        })
    });
    let sites = config.sites.keys().cloned().collect();
    let linked = config.sites.values().filter(|site| site.via == Via::Link);
    let links = linked.map(|site| site.name.clone()).collect();
    let mut policy = Policy { rules: Vec::new(), sites, links, orders: orders.collect() };
    let file = Path::new(FILE);
    let Some(text) = folder.read(file, Readable::ByAll, None, problems) else { return policy };
    let Some(document) = Document::parse(file, &text, problems) else { return policy };
    let mut root = document.root();
    for table in root.tables("rule", problems) {
        policy.rules.extend(rule(table, config, problems));
    }
    root.finish(problems);
    policy
}

/// `firm-jane.doe`, `firm-*`, `@group`.
enum WrittenWho {
    User(Username),
    Firm(Firm),
    Group(String),
}

impl FromStr for WrittenWho {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(group) = text.strip_prefix('@') {
            return Ok(Self::Group(group.to_owned()));
        }
        match text.strip_suffix("-*") {
            Some(firm) => firm.parse().map(Self::Firm).map_err(|e| e.to_string()),
            None => text.parse().map(Self::User).map_err(|e| format!("{e}; or firm-*, or @group")),
        }
    }
}

fn rule(mut table: Table<'_, '_>, config: &Config, problems: &mut Problems) -> Option<Rule> {
    let before = problems.0.len();
    let name = table.place().short().into();
    let who = table.required_list::<WrittenWho>("who", problems);
    let may = table.required_list::<String>("may", problems);
    let on = table.required_list::<String>("on", problems);
    let needs_consent =
        table.one_of("needs", &[("nothing", false), ("consent", true)], problems).unwrap_or(false);
    let confirm = table.flag("confirm", problems).unwrap_or(false);
    let range = (Duration::from_mins(1), Duration::from_hours(24));
    let order = table.duration_within("order", range, problems);
    if let (true, Some(order)) = (confirm, &order) {
        let message = "order: what wants a confirmation each time (confirm = true) cannot be in a work order";
        problems.add(order.place.clone(), message);
    }
    let until = table.date("until", problems);
    let from = table.list::<Network>("from", problems);
    let from = from.map(|nets| nets.into_iter().map(|n| n.value.0).collect());
    let hours = table.parsed::<Hours>("hours", problems).map(|h| h.value);
    let hold_key = table.one_of("batch", &[("ask", false), ("hold-key", true)], problems).unwrap_or(false);
    let any_firmware =
        table.one_of("firmware", &[("known", false), ("any", true)], problems).unwrap_or(false);
    table.finish(problems);
    let who = expand_who(who, &config.gateway.groups, problems);
    let may = may.into_iter().filter_map(|m| family(&m, problems)).collect();
    let on = on.into_iter().filter_map(|o| place(&o, config, problems)).collect();
    // A date ends at its first moment, as expiry-time does in authorized_keys(5).
    let until = until.and_then(|d| d.to_zoned(TimeZone::system()).ok()).map(|z| z.timestamp());
    let whole = problems.0.len() == before;
    whole.then_some(Rule {
        name,
        who,
        may,
        on,
        needs_consent,
        confirm,
        any_firmware,
        order: order.map(|order| order.value),
        until,
        from,
        hours,
        hold_key,
    })
}

fn expand_who(
    who: Vec<At<WrittenWho>>,
    groups: &BTreeMap<String, Vec<Username>>,
    problems: &mut Problems,
) -> Vec<Matches> {
    let mut found = Vec::new();
    for entry in who {
        match entry.value {
            WrittenWho::User(user) => found.push(Matches::User(user)),
            WrittenWho::Firm(firm) => found.push(Matches::Firm(firm)),
            WrittenWho::Group(group) => {
                if let Some(members) = groups.get(&group) {
                    found.extend(members.iter().cloned().map(Matches::User));
                } else {
                    let hint = near_miss(&group, groups.keys().map(String::as_str));
                    let group = group.escape_debug();
                    problems
                        .add(entry.place, format!("no group \"{group}\" in [groups] of gateway.toml{hint}"));
                }
            }
        }
    }
    found
}

fn family(written: &At<String>, problems: &mut Problems) -> Option<May> {
    if written.value == "*" {
        return Some(May::Everything);
    }
    if let Some(family) = Family::NAMED.into_iter().find(|f| f.as_str() == written.value) {
        return Some(May::Family(family));
    }
    if let Some(action) = written.value.strip_prefix("konnektor perform ") {
        return match action.parse() {
            Ok(action) => Some(May::Action(action)),
            Err(e) => {
                problems.add(written.place.clone(), e.to_string());
                None
            }
        };
    }
    let hint = near_miss(&written.value, Family::NAMED.into_iter().map(Family::as_str));
    let known = Family::NAMED.map(Family::as_str).join(", ");
    let hint = if hint.is_empty() { format!("; known: {known}") } else { hint };
    problems
        .add(written.place.clone(), format!("unknown command \"{}\"{hint}", written.value.escape_debug()));
    None
}

fn place(written: &At<String>, config: &Config, problems: &mut Problems) -> Option<On> {
    if written.value == "*" {
        return Some(On::Everywhere);
    }
    match written.value.parse::<SiteName>() {
        // A site whose own file is wrong is no unknown one: its mistakes are said there.
        Ok(site) if config.sites.contains_key(&site) || config.broken.contains(&site) => Some(On::Site(site)),
        Ok(_) | Err(_) => {
            let hint = near_miss(&written.value, config.sites.keys().map(SiteName::as_str));
            problems.add(
                written.place.clone(),
                format!("unknown site \"{}\"{hint}", written.value.escape_debug()),
            );
            None
        }
    }
}
