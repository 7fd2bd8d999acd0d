//! An operator looks at a person's terminal: what it shows, then what comes. Absent on purpose: typing into it, holding it up, and a
//! word on it; the journal says who watched.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt;

use super::{Cause, Client, Desk, Gone, Id, Say};
use crate::journal::started::of;
use crate::journal::{Entry, Event};
use crate::live::{Act, Lost, Picture, Piece, Screen, Way};

/// Output of one line.
const CHUNK: usize = 32 << 10;
/// A terminal that was stopped with Ctrl-S takes nothing for a while.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two pictures for somebody who is slow.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn serve(desk: &Desk, client: &mut Client, id: Id) -> Result<(), Gone> {
    let Ok(_turn) = desk.watchers.clone().try_acquire_owned() else {
        return client.refuse(Cause::Busy).await;
    };
    let (way, act) = match find(desk, id) {
        Ok(found) => found,
        Err(cause) => return client.refuse(cause).await,
    };
    let (Some(screen), Some(who)) = (&act.screen, desk.front.registry.who(id.session)) else {
        return client.refuse(Cause::NoTerminal).await;
    };
    let id = Id { channel: Some(act.channel), ..id };
    let line = |event| Entry {
        site: Some(way.site.clone()),
        target: Some(way.host.to_string()),
        command: Some(format!("sessions watch {id}").into_bytes()),
        cause: Some(format!("watched-by-operator {}", client.operator)),
        channel: Some(act.channel),
        recording: act.about.recording.clone(),
        ..of(&who, event)
    };
    let (journal, clock) = (&desk.front.journal, &desk.front.clock);
    let (begins, ends) = (line(Event::Started), line(Event::Finished));
    if journal.append(begins).await.is_err() {
        return client.refuse(Cause::CannotJournal).await;
    }
    client.patience = PATIENCE;
    let since = clock.now();
    let mut shown = 0;
    let told = tokio::select! {
        told = follow(screen, client, id, &mut shown) => told,
        () = desk.stop.cancelled() => Ok(()),
    };
    let took = u64::try_from(clock.now().duration_since(since).as_millis()).unwrap_or_default();
    let ends = Entry { exit: Some(0), bytes_out: Some(shown), duration_ms: Some(took), ..ends };
    if journal.append(ends).await.is_err() {
        tracing::error!("the end of a look at a session could not be journalled");
    }
    told
}

/// The channel, or the connection's only terminal.
fn find(desk: &Desk, id: Id) -> Result<(Arc<Way>, Arc<Act>), Cause> {
    let live = &desk.front.relays.live;
    if let Some(channel) = id.channel {
        return live.act(id.session, channel).ok_or(Cause::NoSuch);
    }
    desk.front.registry.who(id.session).ok_or(Cause::NoSuch)?;
    let mut terminals: Vec<_> =
        live.acts(id.session).into_iter().filter(|(_, act)| act.screen.is_some()).collect();
    let only = terminals.pop().ok_or(Cause::NoTerminal)?;
    if terminals.is_empty() { Ok(only) } else { Err(Cause::Several) }
}

async fn follow(screen: &Screen, client: &mut Client, id: Id, shown: &mut u64) -> Result<(), Gone> {
    let mut lost = 0;
    while let Some((picture, mut watcher)) = screen.watch() {
        draw(client, id, picture, lost, shown).await?;
        lost = loop {
            let next = tokio::select! {
                next = watcher.next() => next,
                () = hung_up(client) => return Ok(()),
            };
            match next {
                Ok(Some(Piece::Output(bytes))) => output(client, &bytes, shown).await?,
                Ok(Some(Piece::Size(columns, rows))) => client.say(Say::Size { columns, rows }).await?,
                Ok(None) => return client.say(Say::Over { lost: 0 }).await,
                Err(Lost(pieces)) => break pieces,
            }
        };
        drop(watcher);
        tokio::time::sleep(PAUSE).await;
    }
    client.say(Say::Over { lost }).await
}

async fn draw(client: &mut Client, id: Id, picture: Picture, lost: u64, shown: &mut u64) -> Result<(), Gone> {
    let (columns, rows) = picture.size;
    client.say(Say::Screen { id, columns, rows, lost }).await?;
    // Off the threads that serve sessions; and whatever the bytes do to the model, it is not them who suffer.
    let drawn = tokio::task::spawn_blocking(move || picture.drawn()).await.unwrap_or_default();
    output(client, &drawn, shown).await
}

async fn output(client: &mut Client, bytes: &[u8], shown: &mut u64) -> Result<(), Gone> {
    for chunk in bytes.chunks(CHUNK) {
        client.say(Say::Output(STANDARD.encode(chunk))).await?;
        *shown += chunk.len() as u64;
    }
    Ok(())
}

/// Returns when the client has closed; what else it says is let go.
async fn hung_up(client: &mut Client) {
    let mut byte = [0; 64];
    while client.input.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
