//! One session channel of an inner session: its line in the journal, its record, and its other half at the host.
//! Absent on purpose: deciding, and the inner login.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::server::{self, Msg};
use russh::{ChannelWriteHalf, client};

use super::Session;
use super::client::Client;
use super::door::Turn;
use super::pump::{Ended, down, idled, unwritten, up};
use super::scribe::Scribe;
use super::target::{Failed, TargetLine};
use super::wish::{Terminal, Wish, wish};
use crate::asks::{Act, Deed};
use crate::commands::exit;
use crate::flow::{Backlog, Inbox, Overfull};
use crate::journal::started::{Outcome, Started};
use crate::live;

/// For a host to say yes or no to a command.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a client to say what it wants after it has opened a channel.
const WISHING: Duration = Duration::from_mins(2);

/// From the channel's opening to its end.
pub async fn serve(
    session: Arc<Session>,
    handle: server::Handle,
    mut inbox: Inbox,
    out: ChannelWriteHalf<Msg>,
    _turn: Turn,
) {
    let stop = session.stop.clone();
    let mut client = Client::Channel { handle, out, on_terminal: false };
    let wish = tokio::select! {
        wish = tokio::time::timeout(WISHING, wish(&mut inbox)) => wish.ok().flatten(),
        () = stop.cancelled() => None,
    };
    let Some(wish) = wish else { return client.end(None).await };
    if let Client::Channel { on_terminal, .. } = &mut client {
        *on_terminal = wish.terminal.is_some();
    }
    match inbox.beside(Box::pin(session.open(wish.deed.clone(), &wish.as_asked))).await {
        Err(Overfull) => client.end(None).await,
        Ok(Err(refused)) => {
            client.accept().await;
            client.say(&crate::sentences::refused(&refused, session.relays.language)).await;
            let code = match refused {
                crate::gate::Refused::CannotJournal(_) => exit::CANNOT_JOURNAL,
                crate::gate::Refused::Denied { .. } | crate::gate::Refused::Unsettled(_) => exit::REFUSED,
            };
            client.end(Some(code)).await;
        }
        Ok(Ok(started)) => {
            Box::pin(run(&session, &wish, inbox, &client, started)).await;
        }
    }
}

/// Does it, writes it down, and ends the channel; the exit code.
pub async fn run(
    session: &Session,
    wish: &Wish,
    mut inbox: Inbox,
    client: &Client,
    started: Started<Act>,
) -> u32 {
    let channel = session.numbers.fetch_add(1, Ordering::Relaxed);
    // No record, no session.
    let scribe = match inbox.beside(Box::pin(Scribe::begin(session, wish, channel))).await {
        Ok(Ok(scribe)) => scribe,
        Ok(Err(cannot)) => {
            client.accept().await;
            return Box::pin(finish(inbox, client, started, unwritten(session, &cannot), Outcome::default()))
                .await;
        }
        Err(overfull) => {
            let ended = Ended::because(exit::FAILED, overfull.to_string(), None);
            return Box::pin(finish(inbox, client, started, ended, Outcome::default())).await;
        }
    };
    let live = session.present.begin(channel, wish.about(&scribe, session.relays.clock.now()));
    let work = act(session, wish, &mut inbox, client, &scribe, &live);
    let mut ended = tokio::select! {
        ended = work => ended,
        cannot = scribe.failed() => unwritten(session, &cannot),
        () = session.stop.cancelled() => Ended::because(exit::FAILED, "session-ended", None),
        why = live.ended() => {
            let (cause, sentence) = session.by_operator(why);
            Ended::because(exit::REFUSED, cause, Some(sentence))
        }
        () = idled(session.relays.idle, &live.counted) => {
            let english = "Nothing has come or gone for too long: this session was ended.";
            let german = "Zu lange kam und ging nichts: diese Sitzung wurde beendet.";
            Ended::because(exit::FAILED, "idle", Some(session.pick(english, german).to_owned()))
        }
    };
    let (up, down) = live.counted.read();
    drop(live);
    session.present.counted().up.fetch_add(up, Ordering::Relaxed);
    session.present.counted().down.fetch_add(down, Ordering::Relaxed);
    // Whatever the client sends meanwhile: this is written to its end.
    let recording = match inbox.letting_go(Box::pin(scribe.end(session, ended.exit))).await {
        Ok(recording) => recording,
        Err(cannot) => {
            if !ended.unwritten {
                ended = unwritten(session, &cannot);
            }
            None
        }
    };
    let outcome =
        Outcome { bytes_in: up, bytes_out: down, channel: Some(channel), recording, ..Outcome::default() };
    Box::pin(finish(inbox, client, started, ended, outcome)).await
}

/// The last line, then the last frames.
async fn finish(
    mut inbox: Inbox,
    client: &Client,
    started: Started<Act>,
    ended: Ended,
    outcome: Outcome,
) -> u32 {
    let outcome = Outcome { exit: ended.exit.unwrap_or(exit::FAILED), cause: ended.cause, ..outcome };
    // The line first: who has read the end of a command may look for it at once.
    if inbox.letting_go(started.finish(outcome)).await.is_err() {
        tracing::error!("the end of a command at a host could not be journalled");
    }
    if let Some(sentence) = ended.sentence {
        inbox.letting_go(client.say(&sentence)).await;
    }
    // Nobody writes to the client any more; what it still says is let go.
    inbox.letting_go(client.end(ended.exit)).await;
    ended.exit.unwrap_or(exit::FAILED)
}

/// The host's side of the channel.
struct There {
    line: TargetLine,
    inbox: Inbox,
    out: ChannelWriteHalf<client::Msg>,
}

async fn act(
    session: &Session,
    wish: &Wish,
    inbox: &mut Inbox,
    client: &Client,
    scribe: &Scribe,
    live: &live::Act,
) -> Ended {
    let german = session.pick("en", "de") == "de";
    let begun = inbox.while_open(Box::pin(begin(session, wish))).await;
    let mut there = match begun {
        Err(why) => return Ended::given_up(why),
        Ok(Err(failed)) => {
            client.accept().await;
            let sentence = failed.sentence(&session.target.domain(), german);
            return Ended::because(exit::AWAY, failed.to_string(), Some(sentence));
        }
        Ok(Ok(None)) => {
            // As the host said it: some clients try another way then.
            client.refuse().await;
            return Ended::untold("target-refused");
        }
        Ok(Ok(Some(there))) => there,
    };
    client.accept().await;
    for what in &wish.refused {
        let sentence = if german {
            format!("pforte: {what}-Weiterleitung gibt es hier nicht.")
        } else {
            format!("pforte: {what} forwarding is refused here.")
        };
        client.say(&sentence).await;
    }
    let writing = there.line.ledger.writing();
    let (ended, clean) = tokio::select! {
        ended = up(session, inbox, &there.out, client, scribe, live) => (ended, false),
        down = down(session, &mut there.inbox, client, scribe, live) => down,
    };
    drop(writing);
    let There { line, inbox: back, out } = there;
    if clean {
        drop(back);
        session.pool.give(line);
    } else {
        // What still runs there ends with its connection.
        out.close().await.ok();
        drop(back);
        Box::pin(line.leave()).await;
    }
    ended
}

/// Opens the channel at the host and starts there what was asked for; `None` if the host refuses it.
async fn begin(session: &Session, wish: &Wish) -> Result<Option<There>, Failed> {
    let broken = |e: russh::Error| Failed::Channel(e.to_string());
    let line = session.pool.take(session).await?;
    let opening = tokio::time::timeout(PATIENCE, line.handle.channel_open_session());
    let channel = opening.await.map_err(|_| Failed::Slow)?.map_err(broken)?;
    let (read, out) = channel.split();
    let mut inbox = Inbox::new(read, Backlog::new(&line.ledger));
    let starting = async {
        for (name, value) in &wish.variables {
            out.set_env(false, name.as_str(), value.as_str()).await.map_err(broken)?;
        }
        if let Some(terminal) = &wish.terminal {
            let Terminal { term, columns, rows, width, height, modes } = terminal;
            out.request_pty(true, term, *columns, *rows, *width, *height, modes).await.map_err(broken)?;
            if !answered(&mut inbox).await? {
                return Err(Failed::Channel("no terminal".into()));
            }
        }
        match (&wish.deed, &wish.subsystem) {
            (Deed::Shell, _) => out.request_shell(true).await,
            (Deed::Exec | Deed::Forward(_), _) => out.exec(true, wish.as_asked.as_slice()).await,
            (Deed::Subsystem, name) => out.request_subsystem(true, name.as_deref().unwrap_or_default()).await,
        }
        .map_err(broken)?;
        answered(&mut inbox).await
    };
    let yes = tokio::time::timeout(PATIENCE, starting).await.map_err(|_| Failed::Slow)??;
    if yes { Ok(Some(There { line, inbox, out })) } else { Ok(None) }
}

/// The host's next reply.
async fn answered(inbox: &mut Inbox) -> Result<bool, Failed> {
    inbox.reply().await.ok_or_else(|| Failed::Channel("closed".into()))
}
