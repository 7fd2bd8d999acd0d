//! `konnektor perform`: an action that the make's profile lists, or that a rule spells out.
//! Absent on purpose: what an action means; the profile's schema says what its data must be.

use super::super::jobs::Desk;
use super::super::{Ended, Gone, Out, exit};
use super::{failed, said, unknown_firmware, visitor};
use crate::asks::{Command, Data};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::perform::{back_after_reboot, check, would_remove_last_administrator};
use crate::konnektor::{Error, Json, Konnektor, Parts, Profile};
use crate::names::{ActionName, KonnektorId};

/// How long a box may take to come back.
const BACK: std::time::Duration = std::time::Duration::from_mins(10);

/// Runs it.
pub(super) async fn run(
    started: &Started<Command>,
    desk: &Desk,
    id: &KonnektorId,
    (action, data): (&ActionName, Option<&Data>),
) -> Result<Ended, Ended> {
    let out = &desk.out;
    let (driver, _) = desk.works.konnektors.open(id, visitor(started), out).await?;
    let data = match data {
        Some(data) => {
            let Some(json) = Json::of_data(&data.0) else {
                let error = Error::BadData { action: action.clone(), what: "JSON".into() };
                return Err(failed(out, &error).await);
            };
            Some(json)
        }
        None => None,
    };
    let allowances = started.allowances();
    if let Err(e) = check(driver.profile(), action, data.as_ref(), allowances.spelled_out) {
        return Err(failed(out, &e).await);
    }
    let identity = match driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(failed(out, &e).await),
    };
    if !driver.profile().knows_firmware(&identity.firmware) && !allowances.any_firmware {
        return Err(unknown_firmware(out, &identity.firmware).await);
    }
    match would_remove_last_administrator(driver.as_ref(), action, data.as_ref()).await {
        Ok(false) => {}
        Ok(true) => {
            let english = "This would remove the box's last administrator; it is not done.";
            let german = "Das nähme dem Gerät seinen letzten Administrator; es wird nicht getan.";
            let sentence = out.pick(english, german).to_owned();
            return Err(said(out, sentence, exit::REFUSED, "last-administrator".into()).await);
        }
        Err(e) => return Err(failed(out, &e).await),
    }
    // From here on it may have happened, whatever comes back.
    desk.job.set_delicate(true);
    let answer = match driver.perform(action, data.as_ref()).await {
        Ok(answer) => answer,
        Err(e) => return Err(failed(out, &e).await),
    };
    let reboots = driver.profile().action(action).is_some_and(|action| action.reboots);
    answered(out, driver.profile(), &answer).await?;
    desk.job.set_delicate(false);
    if !reboots {
        driver.logout().await;
        out.say(out.pick("Done.", "Erledigt.")).await?;
        return Ok(Ended::done());
    }
    match returned(driver.as_ref(), out).await? {
        Ok(()) => Ok(Ended::done()),
        Err(e) => Err(failed(out, &e).await),
    }
}

/// Says what a box answered, without persons.
pub(crate) async fn answered(out: &Out, profile: &Profile, answer: &str) -> Result<(), Gone> {
    // Text alone has no members by whose names a patient's could be known.
    let whole = Json::of_data(answer).filter(|json| !matches!(json.part().parts(), Parts::Text(_)));
    if let Some(json) = whole {
        let (json, _) = profile.without_persons(&json);
        out.line(json.text()).await?;
    } else if !answer.is_empty() {
        // Text of a box could name a patient; what is not JSON cannot be looked through.
        out.say(match out.language {
            Language::English => format!("The box answered {} bytes of plain text.", answer.len()),
            Language::German => format!("Das Gerät antwortete mit {} Bytes reinem Text.", answer.len()),
        })
        .await?;
    }
    Ok(())
}

/// Waits until a box that restarts is back, and says so.
pub(crate) async fn returned(driver: &dyn Konnektor, out: &Out) -> Result<Result<(), Error>, Gone> {
    let english = "The box restarts. This waits until it is back, ten minutes at most.";
    let german = "Das Gerät startet neu. Gewartet wird, bis es wieder da ist, höchstens zehn Minuten.";
    out.say(out.pick(english, german)).await?;
    match back_after_reboot(driver, BACK, &|_| {}).await {
        Ok(took) => {
            out.say(match out.language {
                Language::English => format!("It is back after {} s.", took.as_secs()),
                Language::German => format!("Nach {} s ist es wieder da.", took.as_secs()),
            })
            .await?;
            Ok(Ok(()))
        }
        Err(e) => Ok(Err(e)),
    }
}
