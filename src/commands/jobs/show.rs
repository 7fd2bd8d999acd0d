//! `jobs`, `jobs attach N`, `jobs cancel N`.
//! Absent on purpose: jobs at boxes where the person may do nothing; they look as if they were not there.

use std::sync::Arc;

use serde_json::json;

use super::job::{Job, Stop};
use super::{Dialog, follow};
use crate::asks::{Command, Family, Form, Verb};
use crate::commands::{Ended, Out, Works, exit};
use crate::config::Language;
use crate::journal::started::Started;
use crate::names::KonnektorId;
use crate::prompt::printable;
use crate::state::JobRecord;

/// Ended jobs that the list shows.
const SHOWN: u32 = 20;

/// Runs it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list is what is left")]
pub(in crate::commands) async fn run(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    dialog: Option<&mut dyn Dialog>,
) -> Result<Ended, Ended> {
    match &started.ask().verb {
        Verb::JobAttach(number) => attach(started, works, out, *number, dialog).await,
        Verb::JobCancel(number) => cancel(started, works, out, *number).await,
        _ => list(started, works, out).await,
    }
}

/// The boxes at which this person may do something that is a job.
fn may_see(started: &Started<Command>, works: &Works, id: &KonnektorId) -> bool {
    const FAMILIES: [Family; 4] =
        [Family::KonnektorBackup, Family::KonnektorRestore, Family::KonnektorPerform, Family::KonnektorRemap];
    FAMILIES.iter().any(|family| works.gate.sites_for(started.who(), *family).contains(&id.site))
}

/// A schedule's job is theirs who could have begun the same.
fn may_back_up(started: &Started<Command>, works: &Works, id: &KonnektorId) -> bool {
    works.gate.sites_for(started.who(), Family::KonnektorBackup).contains(&id.site)
}

async fn list(started: &Started<Command>, works: &Works, out: &Out) -> Result<Ended, Ended> {
    let records = match works.jobs.state.jobs(200).await {
        Ok(records) => records,
        Err(e) => {
            tracing::error!("jobs: {e}");
            out.say(out.pick("The jobs cannot be read.", "Die Aufträge sind nicht lesbar.")).await?;
            return Err(Ended::failed(exit::FAILED, "state"));
        }
    };
    let seen = |record: &&JobRecord| {
        record.konnektor.split_once('/').and_then(|(site, konnektor)| {
            let id = KonnektorId { site: site.parse().ok()?, konnektor: konnektor.parse().ok()? };
            may_see(started, works, &id).then_some(())
        })
    };
    let mut shown: Vec<&JobRecord> = records.iter().filter(|record| seen(record).is_some()).collect();
    let ended = shown.iter().filter(|record| record.ended.is_some()).count();
    let mut hide = ended.saturating_sub(usize::try_from(SHOWN).unwrap_or(20));
    shown.retain(|record| {
        let hidden = record.ended.is_some() && hide > 0;
        hide -= usize::from(hidden);
        !hidden
    });
    if started.ask().form() == Form::Json {
        let rows = shown.iter().map(|record| {
            json!({
                "job": record.number,
                "konnektor": record.konnektor,
                "who": record.who,
                "command": record.command,
                "began": format!("{:.0}", record.began),
                "ended": record.ended.map(|ended| format!("{ended:.0}")),
                "exit": record.exit,
                "cause": record.cause,
                "waits": works.jobs.get(record.number).is_some_and(|job| job.exit().is_none() && !job.works()),
            })
        });
        out.json(&rows.collect()).await?;
        return Ok(Ended::done());
    }
    if shown.is_empty() {
        out.say(out.pick("There are no jobs.", "Es gibt keine Aufträge.")).await?;
    }
    for record in shown {
        out.line(line(record, works, out.language)).await?;
    }
    Ok(Ended::done())
}

fn line(record: &JobRecord, works: &Works, language: Language) -> String {
    let german = language == Language::German;
    let running = works.jobs.get(record.number).filter(|job| job.exit().is_none());
    let state = match (running, record.exit, &record.cause, german) {
        (Some(job), ..) if job.works() => if german { "läuft" } else { "runs" }.to_owned(),
        (Some(_), ..) => if german { "wartet" } else { "waits" }.to_owned(),
        (None, Some(0), _, false) => "done".to_owned(),
        (None, Some(0), _, true) => "fertig".to_owned(),
        (None, _, Some(cause), _) => printable(cause),
        (None, Some(exit), None, _) => format!("exit {exit}"),
        // Begun at another gateway, which is there, or was a moment ago.
        (None, None, None, false) => "runs elsewhere".to_owned(),
        (None, None, None, true) => "läuft anderswo".to_owned(),
    };
    let began = format!("{:.0}", record.began);
    let command = printable(&record.command);
    format!("{}\t{}\t{began}\t{}\t{state}\t{command}", record.number, record.konnektor, record.who)
}

async fn found(started: &Started<Command>, works: &Works, out: &Out, number: u32) -> Result<Arc<Job>, Ended> {
    if let Some(job) = works.jobs.get(number).filter(|job| may_see(started, works, &job.id)) {
        return Ok(job);
    }
    out.say(match out.language {
        Language::English => format!("There is no job {number} to be had. What there is: jobs"),
        Language::German => format!("Einen Auftrag {number} gibt es nicht. Was es gibt: jobs"),
    })
    .await?;
    Err(Ended::failed(exit::USAGE, "no-such-job"))
}

async fn attach(
    started: &Started<Command>,
    works: &Works,
    out: &Out,
    number: u32,
    dialog: Option<&mut dyn Dialog>,
) -> Result<Ended, Ended> {
    let job = found(started, works, out, number).await?;
    // What a job says and asks is between it and the person who began it; a schedule's asks nothing.
    let own = match &job.who {
        Some(who) => who.user() == started.who().user(),
        None => may_back_up(started, works, &job.id),
    };
    if !own {
        out.say(match out.language {
            Language::English => format!("Job {number} is {}'s; only they can follow it.", job.name),
            Language::German => {
                format!("Auftrag {number} gehört {}; nur diese Person kann folgen.", job.name)
            }
        })
        .await?;
        return Err(Ended::failed(exit::REFUSED, "not-ones-own"));
    }
    let exit = follow(&job, out, dialog).await?;
    Ok(Ended { exit, cause: None })
}

async fn cancel(started: &Started<Command>, works: &Works, out: &Out, number: u32) -> Result<Ended, Ended> {
    let job = found(started, works, out, number).await?;
    let own_firm = match &job.who {
        Some(who) => who.firm() == started.who().firm(),
        None => may_back_up(started, works, &job.id),
    };
    if !own_firm {
        out.say(match out.language {
            Language::English => format!("Job {number} is {}'s, of another firm.", job.name),
            Language::German => format!("Auftrag {number} gehört {}, einer anderen Firma.", job.name),
        })
        .await?;
        return Err(Ended::failed(exit::REFUSED, "another-firm"));
    }
    if job.exit().is_some() {
        out.say(match out.language {
            Language::English => format!("Job {number} has ended already."),
            Language::German => format!("Auftrag {number} ist schon zu Ende."),
        })
        .await?;
        return Ok(Ended::done());
    }
    job.stop(&Stop::Safely(format!("cancelled by {}", started.who().user())));
    out.say(match out.language {
        Language::English => format!("Job {number} is told to stop at the next safe place."),
        Language::German => format!("Auftrag {number} hält an der nächsten sicheren Stelle an."),
    })
    .await?;
    // Waits for its end: what is said next is what became of it.
    let mut changed = job.changed();
    if changed.wait_for(|(_, exit)| exit.is_some()).await.is_err() {
        tracing::debug!("a job vanished");
    }
    out.line(match out.language {
        Language::English => format!("Job {number} has ended."),
        Language::German => format!("Auftrag {number} ist zu Ende."),
    })
    .await?;
    Ok(Ended::done())
}

/// Who is at a box now, for whoever waits.
pub(in crate::commands) fn busy(job: &Job, language: Language) -> String {
    match language {
        Language::English => format!(
            "{} is at work at {} (job {}: {}). This waits until that has ended.",
            job.name,
            job.id,
            job.number,
            printable(&job.command)
        ),
        Language::German => format!(
            "{} arbeitet gerade an {} (Auftrag {}: {}). Dies wartet, bis das zu Ende ist.",
            job.name,
            job.id,
            job.number,
            printable(&job.command)
        ),
    }
}

/// Why it ended before it was done.
pub(super) fn stopped(cause: &str, language: Language) -> String {
    let cause = printable(cause);
    match language {
        Language::English => format!("Stopped: {cause}."),
        Language::German => format!("Angehalten: {cause}."),
    }
}
