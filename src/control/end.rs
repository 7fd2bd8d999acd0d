//! An operator ends a connection, or one channel of it. Absent on purpose: an end without a line in the journal before it.

use std::time::Duration;

use super::{Cause, Client, Desk, Gone, Id, Say, Why};
use crate::config::Language;
use crate::journal::started::of;
use crate::journal::{Entry, Event};
use crate::names::SessionId;

/// For what runs to say its last words, before the connection goes.
const LAST_WORDS: Duration = Duration::from_millis(400);
/// How long they take to the client's screen.
const PASSING: Duration = Duration::from_millis(100);

pub(super) async fn serve(desk: &Desk, client: &mut Client, id: Id, why: &Why) -> Result<(), Gone> {
    let ended = match id.channel {
        Some(channel) => one(desk, client, id.session, channel, why).await,
        None => all(desk, client, id.session, why).await,
    };
    match ended {
        Ok(()) => client.say(Say::Done {}).await,
        Err(cause) => client.refuse(cause).await,
    }
}

fn cause(client: &Client, why: &Why) -> String {
    format!("ended-by-operator {} why={}", client.operator, why.as_str())
}

async fn one(desk: &Desk, client: &Client, session: SessionId, channel: u32, why: &Why) -> Result<(), Cause> {
    let who = desk.front.registry.who(session).ok_or(Cause::NoSuch)?;
    let (way, act) = desk.front.relays.live.act(session, channel).ok_or(Cause::NoSuch)?;
    let line = Entry {
        site: Some(way.site.clone()),
        target: Some(way.host.to_string()),
        channel: Some(channel),
        recording: act.about.recording.clone(),
        cause: Some(cause(client, why)),
        ..of(&who, Event::Refused)
    };
    desk.front.journal.append(line).await.map_err(|_| Cause::CannotJournal)?;
    if !act.end(why.as_str()) {
        return Err(Cause::Ending);
    }
    gone(|| desk.front.relays.live.act(session, channel).is_none()).await;
    Ok(())
}

async fn all(desk: &Desk, client: &Client, session: SessionId, why: &Why) -> Result<(), Cause> {
    let front = &desk.front;
    let who = front.registry.who(session).ok_or(Cause::NoSuch)?;
    let line = Entry { cause: Some(cause(client, why)), ..of(&who, Event::Refused) };
    front.journal.append(line).await.map_err(|_| Cause::CannotJournal)?;
    let reason = format!("ended-by-operator: {}", why.as_str());
    let leaving = front.registry.will_end(session, reason).ok_or(Cause::Ending)?;
    for (_, act) in front.relays.live.acts(session) {
        act.end(why.as_str());
    }
    // Where somebody reads: a jump host's farewell is shown by few clients.
    gone(|| front.relays.live.acts(session).is_empty()).await;
    // The exit-status of an inner session has its outer connection's pipe to pass, and a client one read's time to pass it on.
    tokio::time::sleep(PASSING).await;
    leaving.goodbye(&match front.language {
        Language::English => format!("The operator has ended this connection: {}", why.as_str()),
        Language::German => format!("Der Betreiber hat diese Verbindung beendet: {}", why.as_str()),
    });
    Ok(())
}

/// Returns when it is gone, or [`LAST_WORDS`] later.
async fn gone(is_gone: impl Fn() -> bool) {
    let looking = async {
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LAST_WORDS, looking).await.ok();
}
