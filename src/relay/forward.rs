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
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    let outcome = |exit, cause: Option<String>| Outcome {
        exit,
        bytes_in: up.load(Ordering::Relaxed),
        bytes_out: down.load(Ordering::Relaxed),
        cause,
        ..Outcome::default()
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
                passed = both(&mut inbox, &out, &mut back, &there, &up, &down) => passed,
                () = session.stop.cancelled() => Ok(()),
            };
            drop(writing);
            out.close().await.ok();
            there.close().await.ok();
            let overfull = passed.err();
            if overfull.is_none() {
                session.pool.give(line);
            }
            started.finish(outcome(u32::from(overfull.is_some()), overfull.map(|o| o.to_string()))).await
        }
    };
    session.moved.up.fetch_add(up.into_inner(), Ordering::Relaxed);
    session.moved.down.fetch_add(down.into_inner(), Ordering::Relaxed);
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
