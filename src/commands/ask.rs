//! `ask`: a technician asks the practice to be let in; who decides sits there, at the site's own page.
//! Absent on purpose: letting anybody in. What the practice says comes back as a signed lease, on its own way.

use std::time::Duration;

use super::{Ended, Out, Works, exit};
use crate::asks::{Command, Family};
use crate::config::Language;
use crate::journal::started::Started;
use crate::link::frames::{Asked, Refusal};
use crate::names::SiteName;
use crate::uplink::{Answered, NoWay};

/// How long an ask waits for an answer.
const PATIENCE: Duration = Duration::from_mins(15);

/// Runs it.
pub(super) async fn run(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    (site, why, minutes, wait): (&SiteName, &str, u32, bool),
) -> Result<Ended, Ended> {
    let who = started.who();
    // Of a site where nothing is permitted, nothing is told: not even whether it is there.
    if !Family::NAMED.into_iter().any(|family| works.gate.sites_for(who, family).contains(site)) {
        let sentence = match out.language {
            Language::English => format!("No rule lets you do anything at {site}, so nobody is asked there."),
            Language::German => {
                format!("Keine Regel erlaubt Ihnen etwas bei {site}, also wird dort niemand gefragt.")
            }
        };
        out.say(sentence).await?;
        return Ok(Ended::failed(exit::REFUSED, "no-rule"));
    }
    let now = works.clock.now();
    let asked = Asked {
        id: format!("{:032x}", works.random.draw()),
        user: who.user().to_string(),
        firm: who.firm().to_string(),
        why: why.to_owned(),
        minutes,
        at: now,
    };
    let mut asking = match works.uplinks.ask(site, asked).await {
        Ok(asking) => asking,
        Err(why) => return Ok(not_asked(out, site, &why).await?),
    };
    out.say(match out.language {
        Language::English => {
            format!("{site} is asked. Whoever sits there sees it at their page; you may phone them too.")
        }
        Language::German => {
            format!(
                "{site} wird gefragt. Wer dort sitzt, sieht es auf der eigenen Seite; ein Anruf hilft auch."
            )
        }
    })
    .await?;
    if !wait {
        asking.leave();
        return Ok(Ended::done());
    }
    let answer = tokio::time::timeout(PATIENCE, asking.answer()).await;
    let (sentence, ended) = match answer {
        Ok(Answered::Allowed) => (
            out.pick("The practice lets you in.", "Die Praxis lässt Sie herein."),
            Ended::done(),
        ),
        Ok(Answered::Denied) => (
            out.pick("The practice says no.", "Die Praxis lehnt ab."),
            Ended::failed(exit::REFUSED, "denied-by-site"),
        ),
        Ok(Answered::LinkLost) => (
            out.pick(
                "The practice's link broke before anybody answered. Ask again in a moment.",
                "Die Verbindung der Praxis brach ab, bevor jemand geantwortet hat. Bitte gleich noch einmal fragen.",
            ),
            Ended::failed(exit::AWAY, "link-lost"),
        ),
        Err(_) => (
            out.pick("Nobody answered.", "Niemand hat geantwortet."),
            Ended::failed(exit::REFUSED, "not-answered"),
        ),
    };
    out.say(sentence).await?;
    Ok(ended)
}

async fn not_asked(out: &Out, site: &SiteName, why: &NoWay) -> Result<Ended, super::Gone> {
    let busy = matches!(why, NoWay::Refused(Refusal::TooMany));
    out.say(match (busy, out.language) {
        (true, Language::English) => format!("You, or too many others, are asking at {site} already."),
        (true, Language::German) => format!("Bei {site} fragen Sie oder zu viele andere schon."),
        (false, Language::English) => {
            format!("{site} has no link to this gateway now, so nobody can be asked there.")
        }
        (false, Language::German) => {
            format!("{site} hat zurzeit keine Verbindung hierher, also kann dort niemand gefragt werden.")
        }
    })
    .await?;
    Ok(Ended::failed(if busy { exit::REFUSED } else { exit::AWAY }, why.to_string()))
}
