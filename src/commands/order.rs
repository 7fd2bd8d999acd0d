//! `order`: several things confirmed at once; what is open, and closing it.
//! Absent on purpose: deciding; every later ask comes before the gate all the same.

use serde_json::json;

use super::{Ended, Out, Works, exit};
use crate::asks::{Command, Form, Order, Verb};
use crate::config::Language;
use crate::identity::orders::{NotBegun, WorkOrder};
use crate::identity::second_factor::Confirmation;
use crate::journal::started::Started;
use crate::names::Ticket;

/// Runs it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list is what is left")]
pub(super) async fn run(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    confirmation: Option<&Confirmation>,
) -> Result<Ended, Ended> {
    match &started.ask().verb {
        Verb::Order(order) => begin(started, works, out, order, confirmation).await,
        Verb::OrderClose(ticket) => close(started, works, out, ticket.as_ref()).await,
        _ => list(started, works, out).await,
    }
}

async fn begin(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    order: &Order,
    confirmation: Option<&Confirmation>,
) -> Result<Ended, Ended> {
    let asked = String::from_utf8_lossy(crate::asks::Ask::confirmed_as(started.ask())).into_owned();
    let begun = match confirmation {
        Some(confirmation) => works.orders.begin(confirmation, started.who(), &asked, order).await,
        None => Err(NotBegun::NotConfirmed),
    };
    let ticket = &order.ticket;
    match begun {
        Ok(order) => {
            let until = at(order.until());
            out.say(match out.language {
                Language::English => format!(
                    "Work order {ticket} is open until {until}: logins with this key from {} are let through for it without another question. To close it: order close {ticket}",
                    order.from()
                ),
                Language::German => format!(
                    "Arbeitsauftrag {ticket} ist offen bis {until}: Anmeldungen mit diesem Schlüssel von {} kommen dafür ohne weitere Frage durch. Schließen: order close {ticket}",
                    order.from()
                ),
            })
            .await?;
            Ok(Ended::done())
        }
        Err(why) => {
            out.say(match (&why, out.language) {
                (NotBegun::NotConfirmed, Language::English) => "The work order was not confirmed.".into(),
                (NotBegun::NotConfirmed, Language::German) => "Der Arbeitsauftrag wurde nicht bestätigt.".into(),
                (NotBegun::OpenAlready, Language::English) => {
                    format!("{ticket} is open already. Close it first: order close {ticket}")
                }
                (NotBegun::OpenAlready, Language::German) => {
                    format!("{ticket} ist schon offen. Erst schließen: order close {ticket}")
                }
                (NotBegun::TooMany, Language::English) => {
                    "You have too many work orders open. Close one: order list, order close TICKET".into()
                }
                (NotBegun::TooMany, Language::German) => {
                    "Sie haben zu viele Arbeitsaufträge offen. Schließen Sie einen: order list, order close TICKET".into()
                }
                (NotBegun::State(_), Language::English) => {
                    "The work order could not be noted, so it was not opened. Tell the operator.".into()
                }
                (NotBegun::State(_), Language::German) => {
                    "Der Arbeitsauftrag ließ sich nicht vermerken, also wurde er nicht geöffnet. Sagen Sie es dem Betreiber.".into()
                }
            })
            .await?;
            if let NotBegun::State(e) = &why {
                tracing::error!("a work order: {e}");
            }
            let code = if matches!(why, NotBegun::NotConfirmed) { exit::REFUSED } else { exit::FAILED };
            Ok(Ended::failed(code, why.to_string()))
        }
    }
}

async fn close(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    ticket: Option<&Ticket>,
) -> Result<Ended, Ended> {
    let user = started.who().user();
    if ticket.is_none() && works.orders.of(user).len() > 1 {
        out.say(out.pick(
            "Several are open. Which one? order close TICKET",
            "Mehrere sind offen. Welcher? order close TICKET",
        ))
        .await?;
        return Ok(Ended::failed(exit::USAGE, "several-orders"));
    }
    let closed = works.orders.close(user, ticket).await;
    for order in &closed {
        out.say(match out.language {
            Language::English => format!("Work order {} is closed; what ran under it ends.", order.ticket()),
            Language::German => {
                format!("Arbeitsauftrag {} ist geschlossen; was unter ihm lief, endet.", order.ticket())
            }
        })
        .await?;
    }
    if closed.is_empty() {
        out.say(out.pick("No such work order is open.", "Kein solcher Arbeitsauftrag ist offen.")).await?;
        return Ok(Ended::failed(exit::FAILED, "no-such-order"));
    }
    Ok(Ended::done())
}

async fn list(started: &Started<Command>, works: &Works, out: &Out) -> Result<Ended, Ended> {
    let orders = works.orders.of(started.who().user());
    let named = |order: &WorkOrder| -> (Vec<String>, Vec<&str>) {
        (
            order.sites().iter().map(ToString::to_string).collect(),
            order.may().iter().map(|family| family.as_str()).collect(),
        )
    };
    if started.ask().form() == Form::Json {
        let orders = orders.iter().map(|order| {
            let (sites, may) = named(order);
            json!({
                "ticket": order.ticket().to_string(),
                "sites": sites,
                "may": may,
                "from": order.from().to_string(),
                "begun": at(order.begun()),
                "until": at(order.until()),
            })
        });
        out.json(&orders.collect()).await?;
        return Ok(Ended::done());
    }
    if orders.is_empty() {
        out.say(out.pick("No work order is open.", "Kein Arbeitsauftrag ist offen.")).await?;
    }
    for order in &orders {
        let (sites, may) = named(order);
        let (sites, may) = (sites.join(", "), may.join(", "));
        let (until, from) = (at(order.until()), order.from());
        out.line(match out.language {
            Language::English => format!("{}: {may}; at {sites}; until {until}; from {from}", order.ticket()),
            Language::German => format!("{}: {may}; bei {sites}; bis {until}; von {from}", order.ticket()),
        })
        .await?;
    }
    Ok(Ended::done())
}

fn at(time: jiff::Timestamp) -> String {
    format!("{time:.0}")
}
