//! `ssh -L` through a relayed session: on from the host to an address that its site's file lists.
//! Absent on purpose: a look at the bytes, and any other address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use russh::server::{ChannelOpenHandle, Msg};
use russh::{ChannelMsg, ChannelOpenFailure, ChannelWriteHalf, client};

use super::Session;
use super::door::Turn;
use super::target::Failed;
use crate::asks::Deed;
use crate::flow::{Backlog, Inbox, Overfull, Piece};
use crate::journal::started::Outcome;
use crate::live::About;
use crate::names::HostPort;

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
        let way =
            line.handle.channel_open_direct_tcpip(to.host(), u32::from(to.port()), "127.0.0.1", 0).await;
        way.map(|way| (line, way)).map_err(|e| Failed::Channel(e.to_string()))
    };
    let ended = match opened.await {
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
                passed = both(&mut inbox, &out, &mut back, &there, up, down) => passed.map_err(|o| o.to_string()),
                () = session.stop.cancelled() => Ok(()),
                why = listed.ended() => Err(session.by_operator(why).0),
            };
            drop(writing);
            out.close().await.ok();
            there.close().await.ok();
            let why = passed.err();
            if why.is_none() {
                session.pool.give(line);
            }
            started.finish(outcome(u32::from(why.is_some()), why)).await
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
) -> Result<(), Overfull> {
    let up = pass(inbox, there, up);
    let down = pass(back, out, down);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => if matches!(ended, Ok(Ended::Half)) { down.await.map(|_| ()) } else { ended.map(|_| ()) },
        ended = &mut down => if matches!(ended, Ok(Ended::Half)) { up.await.map(|_| ()) } else { ended.map(|_| ()) },
    }
}

enum Ended {
    /// EOF, passed on.
    Half,
    /// One side is closed.
    Whole,
}

async fn pass<S>(from: &mut Inbox, to: &ChannelWriteHalf<S>, count: &AtomicU64) -> Result<Ended, Overfull>
where
    S: From<(russh::ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    loop {
        match from.next().await {
            Some(Piece::Data(data)) => {
                let bytes = data.len() as u64;
                if from.beside(to.data_bytes(data)).await?.is_err() {
                    return Ok(Ended::Whole);
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
