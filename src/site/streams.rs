//! The streams that a gateway opens: who, whereto; the switch is asked, then the list, then it is dialled. Cut when the switch says so.
//! Absent on purpose: any trust in the gateway's own decision. It has one, and so has the site.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::task::JoinSet;

use super::dial;
use super::premises::Premises;
use super::record::Line;
use super::visits::{Begun, Cause, Seat, is_session};
use crate::link::frames::{Head, Refusal, Reply, Visitor, Wish};
use crate::link::lease::SCHEDULE;
use crate::link::{self, Stream};
use crate::names::{HostPort, KonnektorName};

/// Streams of one link at once.
const MOST: usize = 32;
/// Of those beyond, so many are told.
const TOLD: usize = 8;
/// For what nobody has to take.
const PATIENCE: Duration = Duration::from_secs(1);
/// For an answer that the gateway has to take.
const ANSWER: Duration = Duration::from_secs(10);
/// Each way of a stream's copy.
const COPY: usize = 32 << 10;

/// Calls to the site's Konnektors, as [`Wish::Konnektor`] and [`Wish::Backup`] want them.
#[async_trait]
pub trait Boxes: Send + Sync + 'static {
    /// Answers the head with a [`Reply`] and serves the stream to its end. The Konnektor is one of `site.toml`, and the switch admits
    /// the visitor; for [`SCHEDULE`] nothing but reading is allowed. Dropped when the switch says so: the box is left in order.
    async fn serve(&self, stream: Stream, head: Head);
}

/// The streams of one link. Dropped, all are cut.
pub struct Streams {
    premises: Arc<Premises>,
    gateway: usize,
    open: JoinSet<()>,
    told: JoinSet<()>,
}

impl Streams {
    /// None yet.
    pub fn new(premises: Arc<Premises>, gateway: usize) -> Self {
        Self { premises, gateway, open: JoinSet::new(), told: JoinSet::new() }
    }

    /// Takes a stream, or has it told that there are too many.
    pub fn take(&mut self, mut stream: Stream) {
        while self.open.try_join_next().is_some() {}
        while self.told.try_join_next().is_some() {}
        if self.open.len() < MOST {
            self.open.spawn(serve(Arc::clone(&self.premises), self.gateway, stream));
        } else if self.told.len() < TOLD {
            self.told.spawn(async move {
                let refused = Reply::Refused { cause: Refusal::TooMany };
                tokio::time::timeout(PATIENCE, link::write_line(&mut stream, &refused)).await.ok();
            });
        }
    }
}

async fn serve(premises: Arc<Premises>, gateway: usize, mut stream: Stream) {
    let read = tokio::time::timeout(link::HEAD, link::read_line::<Head>(&mut stream)).await;
    let Ok(Ok(head)) = read else {
        let visitor = None;
        return refuse(&premises, gateway, &mut stream, visitor, "", Refusal::NotUnderstood).await;
    };
    // Before the switch is asked, so that no change is missed.
    let mut changes = premises.switch.changes();
    let at = at(&head);
    let opened = match admitted(&premises, &head) {
        Ok(opened) => opened,
        Err(cause) => return refuse(&premises, gateway, &mut stream, Some(&head.visitor), &at, cause).await,
    };
    let seat = match begin(&premises, gateway, &head.visitor, at.clone()).await {
        Ok(seat) => seat,
        Err(NoSeat::Refused(cause)) => {
            return refuse(&premises, gateway, &mut stream, Some(&head.visitor), &at, cause).await;
        }
        Err(NoSeat::NotWritten) => {
            let away = Reply::Away { cause: "site-record-not-written".into(), error: None };
            tokio::time::timeout(ANSWER, link::write_line(&mut stream, &away)).await.ok();
            return;
        }
    };
    let visitor = head.visitor.clone();
    let stop = seat.stop.clone();
    let cause = tokio::select! {
        () = carry(&premises, stream, head, opened) => Cause::Left,
        () = stop.cancelled() => Cause::Ended,
        () = async {
            // Biased to what counts: nothing is carried that is not admitted.
            while premises.switch.admits(&visitor).is_ok() && changes.changed().await.is_ok() {}
        } => if premises.switch.ended_by_time() { Cause::Time } else { Cause::Closed },
    };
    seat.leave(cause);
}

/// What a stream leads to, for people.
fn at(head: &Head) -> String {
    let text = match &head.wish {
        Wish::Dial { to } => to.clone(),
        Wish::Konnektor { name } | Wish::Backup { name, .. } => {
            format!("Konnektor {name}: {}", head.visitor.command)
        }
    };
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What may be opened.
enum Opened {
    Dial(HostPort),
    Box,
}

/// The switch, then the list.
fn admitted(premises: &Premises, head: &Head) -> Result<Opened, Refusal> {
    let visitor = &head.visitor;
    let long = visitor.command.len() > link_text() || visitor.family.len() > 256;
    if long || !is_session(&visitor.session) {
        return Err(Refusal::NotUnderstood);
    }
    premises.switch.admits(visitor)?;
    match &head.wish {
        // As it is written: another name or writing of the same address is not listed.
        Wish::Dial { to } if premises.settings.allow.contains(to) => {
            if visitor.user == SCHEDULE {
                return Err(Refusal::NotNamed);
            }
            Ok(Opened::Dial(to.parse().map_err(|_| Refusal::NotListed)?))
        }
        Wish::Dial { .. } => Err(Refusal::NotListed),
        Wish::Konnektor { name } | Wish::Backup { name, .. } => {
            let name: KonnektorName = name.parse().map_err(|_| Refusal::NotListed)?;
            let known = premises.settings.konnektors.contains_key(&name);
            if known { Ok(Opened::Box) } else { Err(Refusal::NotListed) }
        }
    }
}

/// A command as a journal shows it is no longer.
const fn link_text() -> usize {
    16 << 10
}

enum NoSeat {
    Refused(Refusal),
    NotWritten,
}

/// A place in the session's visit. That somebody comes stands in the record first.
async fn begin(premises: &Premises, gateway: usize, visitor: &Visitor, at: String) -> Result<Seat, NoSeat> {
    let link = premises.links.get(gateway).ok_or(NoSeat::Refused(Refusal::NotUnderstood))?;
    let firm = visitor.user.split('-').next().unwrap_or_default();
    let about = (premises.firm_title(firm), premises.asks.why(&visitor.user));
    let begun = premises.visits.begin(&link.via, visitor, about, at).map_err(NoSeat::Refused)?;
    let Begun { seat, new } = begun;
    let Some(visit) = new else { return Ok(seat) };
    let written = Line {
        event: "came",
        who: Some(visitor.user.clone()),
        gateway: Some(link.via.title.clone()),
        visit: Some(visit),
        ..Line::default()
    };
    if let Err(e) = premises.write_down(written).await {
        tracing::error!("the site's record cannot be written, so nobody comes in: {e}");
        return Err(NoSeat::NotWritten);
    }
    Ok(seat)
}

async fn carry(premises: &Premises, mut stream: Stream, head: Head, opened: Opened) {
    let to = match opened {
        Opened::Dial(to) => to,
        Opened::Box => return premises.boxes.serve(stream, head).await,
    };
    let reply = match dial::target(&to).await {
        Ok(mut target) => {
            let open = Reply::Open { product: None, address: None, sealed: false };
            if link::write_line(&mut stream, &open).await.is_ok() {
                copy_bidirectional_with_sizes(&mut stream, &mut target, COPY, COPY).await.ok();
            }
            return;
        }
        Err(away) => Reply::Away { cause: away.to_string(), error: None },
    };
    tokio::time::timeout(ANSWER, link::write_line(&mut stream, &reply)).await.ok();
}

async fn refuse(
    premises: &Premises,
    gateway: usize,
    stream: &mut Stream,
    visitor: Option<&Visitor>,
    at: &str,
    cause: Refusal,
) {
    let answer = async {
        link::write_line(stream, &Reply::Refused { cause }).await.ok();
        stream.shutdown().await.ok();
    };
    tokio::time::timeout(ANSWER, answer).await.ok();
    if let Some(visitor) = visitor {
        premises.visits.refused(visitor, at, cause);
    }
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    let line = Line {
        event: "refused",
        who: visitor.map(|visitor| shown(&visitor.user)),
        gateway: premises.links.get(gateway).map(|link| link.via.title.clone()),
        visit: visitor.map(|visitor| shown(&visitor.session)),
        cause: Some(if at.is_empty() { cause.to_string() } else { format!("{cause}: {at}") }),
        ..Line::default()
    };
    premises.note_refusal(line).await;
}
