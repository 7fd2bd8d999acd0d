//! `ssh -L` through a relayed session: on from the host to an address that its site's file lists.
//! Absent on purpose: a look at the bytes, and any other address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Msg};
use russh::{ChannelMsg, ChannelOpenFailure, ChannelWriteHalf, client};

use super::Session;
use super::door::Turn;
use super::pump::idled;
use super::target::Failed;
use crate::asks::Deed;
use crate::flow::{Backlog, GivenUp, Inbox, Piece};
use crate::journal::started::Outcome;
use crate::live::About;
use crate::names::HostPort;

/// For a host to open it.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a host to close it too.
const PARTING: Duration = Duration::from_secs(1);

/// The address of the host's file that a client's words name, word for word.
pub fn registered(session: &Session, host: &str, port: u32) -> Option<HostPort> {
    let file = session.target.host()?;
    let named = |to: &&HostPort| to.host() == host && u32::from(to.port()) == port;
    file.forwards.iter().find(named).cloned()
}

/// Opens it, passes bytes, and ends it.
pub async fn serve(
    session: Arc<Session>,
    mut inbox: Inbox,
    out: ChannelWriteHalf<Msg>,
    reply: ChannelOpenHandle,
    to: HostPort,
    asked: String,
    _turn: Turn,
) {
    let opened = session.open(Deed::Forward(to.clone()), asked.as_bytes()).await;
    let started = match opened {
        Ok(started) => started,
        Err(refused) => {
            let sentence = crate::sentences::refused(&refused, session.relays.language);
            let reason = crate::sentences::ascii(&sentence);
            return reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
        }
    };
    let channel = session.numbers.fetch_add(1, Ordering::Relaxed);
    let (command, since) = (asked.into_bytes(), session.relays.clock.now());
    let about = About { kind: "forward", command, terminal: None, recording: None, since };
    let listed = session.present.begin(channel, about);
    let (up, down) = (&listed.counted.up, &listed.counted.down);
    let outcome = |exit, cause: Option<String>| {
        let (bytes_in, bytes_out) = listed.counted.read();
        Outcome { exit, bytes_in, bytes_out, cause, channel: Some(channel), ..Outcome::default() }
    };
    let opened = async {
        let line = session.pool.take(&session).await?;
        let opening = line.handle.channel_open_direct_tcpip(to.host(), u32::from(to.port()), "127.0.0.1", 0);
        let way = tokio::time::timeout(PATIENCE, opening).await.map_err(|_| Failed::Slow)?;
        way.map(|way| (line, way)).map_err(|e| Failed::Channel(e.to_string()))
    };
    let opened =
        tokio::select! { opened = opened => opened, () = session.stop.cancelled() => Err(Failed::Gone) };
    let ended = match opened {
        Err(failed) => {
            let reason = crate::sentences::ascii(&failed.sentence(&to.to_string(), false));
            reply.reject(ChannelOpenFailure::Other { code: 2, reason }).await;
            started.finish(outcome(crate::commands::exit::AWAY, Some(failed.to_string()))).await
        }
        Ok((line, way)) => {
            reply.accept().await;
            let (read, there) = way.split();
            let mut back = Inbox::new(read, Backlog::new(&line.ledger));
            let writing = line.ledger.writing();
            let passed = tokio::select! {
                passed = both(&mut inbox, &out, &mut back, &there, up, down) => passed.err().map(|e| e.to_string()),
                () = session.stop.cancelled() => None,
                why = listed.ended() => Some(session.by_operator(why).0),
                () = session.act_withdrawn(started.ask()) => Some("withdrawn".to_owned()),
                () = idled(session.relays.idle, &listed.counted) => Some("idle".to_owned()),
            };
            drop(writing);
            inbox.letting_go(tokio::time::timeout(PARTING, out.close())).await.ok();
            there.close().await.ok();
            let closing = async { while back.next().await.is_some() {} };
            if passed.is_none() && inbox.letting_go(tokio::time::timeout(PARTING, closing)).await.is_ok() {
                session.pool.give(line);
            } else {
                line.leave().await;
            }
            let exit = u32::from(passed.is_some());
            inbox.letting_go(started.finish(outcome(exit, passed))).await
        }
    };
    let (up, down) = listed.counted.read();
    session.present.counted().up.fetch_add(up, Ordering::Relaxed);
    session.present.counted().down.fetch_add(down, Ordering::Relaxed);
    if ended.is_err() {
        tracing::error!("the end of a forward could not be journalled");
    }
}

/// Until both directions have ended, or one side has closed.
async fn both(
    inbox: &mut Inbox,
    out: &ChannelWriteHalf<Msg>,
    back: &mut Inbox,
    there: &ChannelWriteHalf<client::Msg>,
    up: &AtomicU64,
    down: &AtomicU64,
) -> Result<(), GivenUp> {
    let up = pass(inbox, Whose::Client, there, up);
    let down = pass(back, Whose::Host, out, down);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => if matches!(ended, Ok(Ended::Half)) { down.await.map(|_| ()) } else { ended.map(|_| ()) },
        ended = &mut down => if matches!(ended, Ok(Ended::Half)) { up.await.map(|_| ()) } else { ended.map(|_| ()) },
    }
}

/// Whose channel bytes are taken from.
#[derive(Clone, Copy)]
enum Whose {
    /// Who wants them to go on: none of them matter once it has closed.
    Client,
    /// What it said goes on, though it has closed.
    Host,
}

enum Ended {
    /// EOF, passed on.
    Half,
    /// One side is closed.
    Whole,
}

async fn pass<S>(
    from: &mut Inbox,
    whose: Whose,
    to: &ChannelWriteHalf<S>,
    count: &AtomicU64,
) -> Result<Ended, GivenUp>
where
    S: From<(russh::ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    loop {
        match from.next().await {
            Some(Piece::Data(data)) => {
                let bytes = data.len() as u64;
                let passing = to.data_bytes(data);
                let passed = match whose {
                    Whose::Client => from.while_open(passing).await,
                    Whose::Host => from.beside(passing).await.map_err(GivenUp::from),
                };
                match passed {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(GivenUp::Left) => return Ok(Ended::Whole),
                    Err(overfull @ GivenUp::Overfull(_)) => return Err(overfull),
                }
                count.fetch_add(bytes, Ordering::Relaxed);
            }
            Some(Piece::Other(ChannelMsg::Eof)) => {
                to.eof().await.ok();
                return Ok(Ended::Half);
            }
            Some(Piece::Other(ChannelMsg::Close)) | None => return Ok(Ended::Whole),
            Some(Piece::Extended(..) | Piece::Other(_)) => {}
        }
    }
}
