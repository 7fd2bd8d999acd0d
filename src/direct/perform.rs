//! `perform`: an action that the make's profile lists, or that is spelled out.
//! Absent on purpose: what an action means.

use super::arguments::Perform;
use super::seat::{Room, Seat};
use crate::commands::spoken::{answered, returned};
use crate::commands::{Ended, exit};
use crate::konnektor::perform::{check, would_remove_last_administrator};
use crate::konnektor::{Error, Json};

/// Runs it.
pub(super) async fn run(room: Room, wish: &Perform) -> Result<Ended, Ended> {
    let data = match wish.data.as_deref().map(Json::of_data) {
        Some(None) => {
            let sentence =
                room.words.error(&Error::BadData { action: wish.action.clone(), what: "JSON".into() }, None);
            return Err(room.no(sentence, exit::USAGE).await);
        }
        data => data.flatten(),
    };
    let seat = room.open(false).await?;
    let done = act(&seat, wish, data.as_ref()).await;
    seat.driver.logout().await;
    done
}

async fn act(seat: &Seat, wish: &Perform, data: Option<&Json>) -> Result<Ended, Ended> {
    let (driver, out) = (seat.driver.as_ref(), &seat.room.out);
    if let Err(e) = check(driver.profile(), &wish.action, data, wish.unknown_action) {
        return Err(seat.failed(&e).await);
    }
    let identity = match driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(seat.failed(&e).await),
    };
    seat.may_write(&identity.firmware).await?;
    match would_remove_last_administrator(driver, &wish.action, data).await {
        Ok(false) => {}
        Ok(true) => {
            let english = "This would remove the box's last administrator; it is not done.";
            let german = "Das nähme dem Gerät seinen letzten Administrator; es wird nicht getan.";
            return Err(seat.room.no(out.pick(english, german), exit::REFUSED).await);
        }
        Err(e) => return Err(seat.failed(&e).await),
    }
    let answer = match driver.perform(&wish.action, data).await {
        Ok(answer) => answer,
        Err(e) => return Err(seat.failed(&e).await),
    };
    answered(out, driver.profile(), &answer).await?;
    if !driver.profile().action(&wish.action).is_some_and(|action| action.reboots) {
        out.say(out.pick("Done.", "Erledigt.")).await?;
        return Ok(Ended::done());
    }
    match returned(driver, out).await? {
        Ok(()) => Ok(Ended::done()),
        Err(e) => Err(seat.failed(&e).await),
    }
}
