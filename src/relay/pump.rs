//! Both directions of a relayed channel: each piece is written down, then passed on, in its order.
//! Absent on purpose: waiting for one side without taking what the other has to say.

use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::{ChannelMsg, ChannelWriteHalf, client};

use super::Session;
use super::client::Client;
use super::scribe::{CannotWrite, Scribe};
use crate::commands::exit;
use crate::flow::{GivenUp, Inbox, Piece};
use crate::live::{self, Counted};

/// How it ended, for the journal and for the client.
pub struct Ended {
    pub exit: Option<u32>,
    pub cause: Option<String>,
    /// The client has not been told yet.
    pub sentence: Option<String>,
    /// It ended because it could not be written down.
    pub unwritten: bool,
}

impl Ended {
    pub fn because(exit: u32, cause: impl Into<String>, sentence: Option<String>) -> Self {
        Self { exit: Some(exit), cause: Some(cause.into()), sentence, unwritten: false }
    }

    /// There is nobody to tell it to.
    pub fn untold(cause: &str) -> Self {
        Self { exit: None, cause: Some(cause.into()), sentence: None, unwritten: false }
    }

    /// What was asked for was given up.
    pub fn given_up(why: GivenUp) -> Self {
        match why {
            GivenUp::Overfull(_) => Self::because(exit::FAILED, why.to_string(), None),
            GivenUp::Left => Self::untold("client-closed"),
        }
    }
}

/// What cannot be written down is not done.
pub fn unwritten(session: &Session, cannot: &CannotWrite) -> Ended {
    let german = session.pick("en", "de") == "de";
    let sentence = match cannot {
        CannotWrite::Record(why) => why.sentence(german).to_owned(),
        CannotWrite::Journal(_) => crate::sentences::cannot_journal(session.relays.language).to_owned(),
    };
    let ended = Ended::because(exit::CANNOT_JOURNAL, cannot.to_string(), Some(sentence));
    Ended { unwritten: true, ..ended }
}

/// Returns when nothing has been counted for `idle`.
pub async fn idled(idle: Duration, counted: &Counted) {
    let all = || counted.up.load(Ordering::Relaxed).wrapping_add(counted.down.load(Ordering::Relaxed));
    let mut seen = all();
    loop {
        tokio::time::sleep(idle).await;
        let now = all();
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// From the technician to the host. Returns when the technician's side is closed.
pub async fn up(
    session: &Session,
    inbox: &mut Inbox,
    there: &ChannelWriteHalf<client::Msg>,
    client: &Client,
    scribe: &Scribe,
    live: &live::Act,
) -> Ended {
    loop {
        let passed = match inbox.next().await {
            Some(Piece::Data(data)) => {
                live.counted.up.fetch_add(data.len() as u64, Ordering::Relaxed);
                match inbox.beside(scribe.up(&data)).await {
                    Ok(Ok(())) => inbox.while_open(there.data_bytes(data)).await,
                    Ok(Err(cannot)) => return unwritten(session, &cannot),
                    Err(overfull) => Err(overfull.into()),
                }
            }
            Some(Piece::Other(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height })) => {
                match inbox.beside(scribe.resize(col_width, row_height)).await {
                    Ok(Ok(())) => {
                        live.resized(col_width, row_height);
                        let change = there.window_change(col_width, row_height, pix_width, pix_height);
                        inbox.while_open(change).await
                    }
                    Ok(Err(cannot)) => return unwritten(session, &cannot),
                    Err(overfull) => Err(overfull.into()),
                }
            }
            Some(Piece::Other(ChannelMsg::Signal { signal })) => inbox.while_open(there.signal(signal)).await,
            Some(Piece::Other(ChannelMsg::Eof)) => inbox.while_open(there.eof()).await,
            Some(Piece::Other(ChannelMsg::Close)) | None => {
                return Ended::untold("client-closed");
            }
            // A second command on the same channel (RFC 4254 §6.5: one of them can succeed).
            Some(Piece::Other(
                ChannelMsg::Exec { .. }
                | ChannelMsg::RequestShell { .. }
                | ChannelMsg::RequestSubsystem { .. },
            )) => {
                inbox.beside(client.refuse()).await.ok();
                continue;
            }
            Some(_) => continue,
        };
        match passed {
            Ok(Ok(())) => {}
            // The other direction knows why, and may still be telling the client.
            Ok(Err(_)) => {
                while let Some(piece) = inbox.next().await {
                    if matches!(piece, Piece::Other(ChannelMsg::Close)) {
                        break;
                    }
                }
                return Ended::untold("client-closed");
            }
            Err(why) => return Ended::given_up(why),
        }
    }
}

/// From the host to the technician. Returns when the host's side is closed, and whether it was closed in order.
pub async fn down(
    session: &Session,
    there: &mut Inbox,
    client: &Client,
    scribe: &Scribe,
    live: &live::Act,
) -> (Ended, bool) {
    let mut ended = Ended { exit: None, cause: None, sentence: None, unwritten: false };
    let mut told = false;
    loop {
        let gone = match there.next().await {
            Some(Piece::Data(data)) => {
                live.counted.down.fetch_add(data.len() as u64, Ordering::Relaxed);
                match there.beside(scribe.down(&data)).await {
                    Ok(Ok(())) => {
                        live.shown(&data);
                        there.beside(client.data(data)).await
                    }
                    Ok(Err(cannot)) => return (unwritten(session, &cannot), false),
                    Err(overfull) => Err(overfull),
                }
            }
            Some(Piece::Extended(kind, data)) => {
                live.counted.down.fetch_add(data.len() as u64, Ordering::Relaxed);
                match there.beside(scribe.errors(&data)).await {
                    Ok(Ok(())) => {
                        live.shown(&data);
                        there.beside(client.extended(kind, data)).await
                    }
                    Ok(Err(cannot)) => return (unwritten(session, &cannot), false),
                    Err(overfull) => Err(overfull),
                }
            }
            Some(Piece::Other(ChannelMsg::ExitStatus { exit_status })) => {
                (ended.exit, told) = (Some(exit_status), true);
                continue;
            }
            Some(Piece::Other(ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                error_message,
                lang_tag,
            })) => {
                ended.cause = Some(format!("signal {signal_name:?}"));
                told = true;
                let passing = client.exit_signal(signal_name, core_dumped, error_message, lang_tag);
                there.beside(passing).await.ok();
                continue;
            }
            Some(Piece::Other(ChannelMsg::Close)) => {
                if ended.exit.is_none() && !told {
                    ended.cause = Some("no-exit-status".into());
                }
                return (ended, true);
            }
            // EOF is kept until the end: a client that has had it both ways sends CLOSE, which russh answers at once, and
            // then there is no way left for the exit-status.
            Some(Piece::Other(_)) => continue,
            None => {
                ended.cause = Some("target-lost".into());
                if !told {
                    ended.exit = Some(exit::AWAY);
                    ended.sentence = Some("The connection to the host was lost.".into());
                }
                return (ended, false);
            }
        };
        match gone {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                ended.cause = Some("client-gone".into());
                return (ended, false);
            }
            Err(overfull) => {
                return (Ended::because(exit::FAILED, format!("overfull: {overfull}"), None), false);
            }
        }
    }
}
