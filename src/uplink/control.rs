//! A link from its first line to its last: hello, leases asked for and checked, asks and journal lines passed on.
//! Absent on purpose: believing a site anything but what it signed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ssh_key::PublicKey;
use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::door::Proof;
use super::{Link, Uplinks, sane};
use crate::journal::{Entry, Event};
use crate::link::frames::{ToGateway, ToSite};
use crate::link::lease::{BadLease, Expected, Granted};
use crate::link::{BadLine, Bounds, Lines, Mux, SILENCE, Stream, VERSION, write_line};
use crate::names::SessionId;

/// How often a lease is renewed while it grants anything; a third of what one lasts.
const RENEW: Duration = Duration::from_secs(15);
/// How long a site may take to answer a renewal before it is asked again.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a line may take to go.
const WRITE: Duration = Duration::from_secs(20);
/// Nonces that may be open at once.
const UNANSWERED: usize = 4;
/// Lines for the site that wait.
const QUEUE: usize = 64;

/// How a link ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("link-lost: {0}")]
    Line(#[from] BadLine),
    #[error("link-lost: silent")]
    Silent,
    #[error("link-lost")]
    Gone,
    #[error("protocol: {0}")]
    Protocol(&'static str),
    #[error("{0}")]
    Lease(#[from] BadLease),
    #[error("site-says-bye: {0}")]
    Bye(String),
    #[error("shutdown")]
    Shutdown,
}

impl Ended {
    /// Has the site done what none should?
    fn is_a_breach(&self) -> bool {
        match self {
            Self::Line(BadLine::TooLong | BadLine::NotUnderstood(_)) | Self::Protocol(_) | Self::Lease(_) => {
                true
            }
            Self::Line(BadLine::Closed | BadLine::Broken(_))
            | Self::Silent
            | Self::Gone
            | Self::Bye(_)
            | Self::Shutdown => false,
        }
    }
}

/// What is known of a link while it lasts.
struct Held {
    link: Arc<Link>,
    key: PublicKey,
    session: SessionId,
    /// The nonces that are open, oldest first, and when each was sent.
    open: VecDeque<(String, Instant)>,
    /// Something changed while an answer was on its way.
    again: bool,
    /// When the lease that counts was asked for.
    asked: Instant,
    granted: Vec<Granted>,
    limiter: DefaultDirectRateLimiter,
}

/// A link that is in force. However it ends, what it brought ends with it.
struct InForce {
    uplinks: Arc<Uplinks>,
    link: Arc<Link>,
}

impl Drop for InForce {
    fn drop(&mut self) {
        let link = &self.link;
        link.gone.cancel();
        self.uplinks.parts.grants.unlinked(&link.site, link.number);
        let mut links = self.uplinks.links();
        if links.get(&link.site).is_some_and(|current| current.number == link.number) {
            links.remove(&link.site);
        }
    }
}

/// What goes over a link, once both sides have said hello.
struct Way {
    lines: Lines<ReadHalf<Stream>>,
    to: Writing<WriteHalf<Stream>>,
    told: mpsc::Receiver<Box<ToSite>>,
    mux: Mux,
}

impl Uplinks {
    /// A machine has proven itself and asked for its link.
    pub(super) async fn linked(self: Arc<Self>, proof: Proof, whence: (SessionId, SocketAddr)) {
        // Each step is boxed: a link lasts for months, and what only its beginning and its end need is not held meanwhile.
        let Some((in_force, mut held, way)) = Box::pin(self.clone().greeted(proof, whence)).await else {
            return;
        };
        let ended = Box::pin(self.control(&mut held, way)).await;
        drop(in_force);
        Box::pin(self.parted(&held, &ended)).await;
    }

    /// Hello, and the line in the journal: from then on it is a link.
    async fn greeted(
        self: Arc<Self>,
        proof: Proof,
        (session, from): (SessionId, SocketAddr),
    ) -> Option<(InForce, Held, Way)> {
        let Proof { machine, key, channel } = proof;
        let mut mux = Mux::new(channel.into_stream(), false, Bounds::ORDINARY);
        let gone = mux.gone().clone();
        let grace = self.parts.settings.grace;
        let control = tokio::time::timeout(grace, mux.next()).await.ok()??;
        let (reading, writing) = tokio::io::split(control);
        let mut lines = Lines::new(reading);
        let hello = tokio::time::timeout(grace, lines.next::<ToGateway>()).await;
        let (tell, told) = mpsc::channel(QUEUE);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(Link {
            site: machine.site().clone(),
            since: self.parts.clock.now(),
            from,
            key: machine.key().clone(),
            number,
            opener: mux.opener(),
            tell,
            gone,
        });
        let Ok(Ok(ToGateway::Hello { version: VERSION.., software })) = hello else {
            self.refused(Entry { cause: Some("no-hello".into()), ..line(&link, session) }).await;
            return None;
        };
        let linked = Entry { cause: Some(format!("linked: {}", sane(&software))), ..line(&link, session) };
        if self.append(linked).await.is_err() {
            // No line, no link.
            return None;
        }
        let older = self.links().insert(link.site.clone(), link.clone());
        if let Some(older) = older {
            older.gone.cancel();
        }
        self.parts.grants.linked(&link.site, number);
        let in_force = InForce { uplinks: self.clone(), link: link.clone() };
        let quota = Quota::per_second(std::num::NonZeroU32::new(20).unwrap_or(std::num::NonZeroU32::MIN))
            .allow_burst(std::num::NonZeroU32::new(200).unwrap_or(std::num::NonZeroU32::MIN));
        let held = Held {
            link,
            key,
            session,
            open: VecDeque::new(),
            again: false,
            asked: Instant::now(),
            granted: Vec::new(),
            limiter: RateLimiter::direct(quota),
        };
        Some((in_force, held, Way { lines, to: Writing(writing), told, mux }))
    }

    /// The link's last line.
    async fn parted(&self, held: &Held, ended: &Ended) {
        let cause = Some(ended.to_string());
        let last = Entry { cause, ..line(&held.link, held.session) };
        if ended.is_a_breach() {
            self.refused(last.clone()).await;
        }
        if self.append(last).await.is_err() {
            tracing::error!(site = %held.link.site, "the end of a link could not be journalled");
        }
    }

    async fn control(&self, held: &mut Held, way: Way) -> Ended {
        let Way { mut lines, mut to, mut told, mut mux } = way;
        let hello = ToSite::Hello {
            version: VERSION,
            now: self.parts.clock.now(),
            seen_from: held.link.from.to_string(),
        };
        if let Err(ended) = to.send(&hello).await {
            return ended;
        }
        if let Err(ended) = self.renew(held, &mut to).await {
            return ended;
        }
        let mut heard = Instant::now();
        let gone = held.link.gone.clone();
        loop {
            let renew_at = match held.open.back() {
                Some((_, asked)) => *asked + ANSWER,
                None if held.granted.is_empty() => heard + SILENCE,
                None => held.asked + RENEW,
            };
            let went = tokio::select! {
                line = lines.next::<ToGateway>() => {
                    heard = Instant::now();
                    match line {
                        // Boxed: it takes much more room than the wait for it.
                        Ok(line) => Box::pin(self.heard(line, held, &mut to)).await,
                        Err(e) => Err(e.into()),
                    }
                }
                line = told.recv() => match line {
                    Some(line) => to.send(&line).await,
                    None => Err(Ended::Gone),
                },
                () = tokio::time::sleep_until(renew_at.min(heard + SILENCE)) => {
                    if heard.elapsed() >= SILENCE {
                        Err(Ended::Silent)
                    } else {
                        self.renew(held, &mut to).await
                    }
                }
                stream = mux.next() => Err(match stream {
                    Some(_) => Ended::Protocol("a-stream-of-the-site"),
                    None => Ended::Gone,
                }),
                () = gone.cancelled() => Err(Ended::Gone),
                () = self.stop.cancelled() => {
                    to.send(&ToSite::Bye { reason: "shutdown".into() }).await.ok();
                    Err(Ended::Shutdown)
                }
            };
            if let Err(ended) = went {
                return ended;
            }
        }
    }

    /// Asks for a lease.
    async fn renew<W: AsyncWrite + Unpin>(&self, held: &mut Held, to: &mut Writing<W>) -> Result<(), Ended> {
        let bytes = [self.parts.random.draw().to_le_bytes(), self.parts.random.draw().to_le_bytes()].concat();
        let nonce = STANDARD_NO_PAD.encode(bytes);
        if held.open.len() == UNANSWERED {
            held.open.pop_front();
        }
        held.open.push_back((nonce.clone(), Instant::now()));
        held.again = false;
        to.send(&ToSite::Renew { nonce }).await
    }

    async fn heard<W: AsyncWrite + Unpin>(
        &self,
        line: ToGateway,
        held: &mut Held,
        to: &mut Writing<W>,
    ) -> Result<(), Ended> {
        if held.limiter.check().is_err() {
            return Err(Ended::Protocol("a-flood-of-lines"));
        }
        match line {
            ToGateway::Hello { .. } => Err(Ended::Protocol("a-second-hello")),
            ToGateway::Alive { number } => to.send(&ToSite::Alive { number }).await,
            ToGateway::Bye { reason } => Err(Ended::Bye(sane(&reason))),
            ToGateway::Changed if !held.open.is_empty() => {
                held.again = true;
                Ok(())
            }
            ToGateway::Changed => self.renew(held, to).await,
            ToGateway::Closed => {
                self.parts.grants.close(&held.link.site, held.link.number);
                // A lease that was signed before this has come before it; one that answers later says what is so then.
                self.granted(held, Vec::new()).await
            }
            ToGateway::Lease(signed) => {
                let said = signed.nonce();
                let place = held.open.iter().position(|(open, _)| said.as_deref() == Some(open));
                let place = place.ok_or(BadLease::Replayed)?;
                let Some((nonce, asked)) = held.open.drain(..=place).next_back() else {
                    return Err(BadLease::Replayed.into());
                };
                let granted = signed.check(&Expected {
                    site: &held.link.site,
                    key: &held.key,
                    gateway: &self.parts.gateway,
                    nonce: &nonce,
                })?;
                self.granted(held, granted.clone()).await?;
                self.parts.grants.lease(&held.link.site, held.link.number, asked, granted);
                held.asked = asked;
                if held.again && held.open.is_empty() { self.renew(held, to).await } else { Ok(()) }
            }
            ToGateway::Answer { id, allowed } => {
                self.asks.answered(&held.link.site, &id, allowed);
                Ok(())
            }
            // Whom it ends is not named any more: the lease says so, and that is what counts.
            ToGateway::End { .. } => Ok(()),
        }
    }

    /// A consent that is not the one before is written down, before it counts.
    async fn granted(&self, held: &mut Held, granted: Vec<Granted>) -> Result<(), Ended> {
        let same = |a: &Granted, b: &Granted| a.who == b.who && a.may == b.may;
        let unchanged =
            held.granted.len() == granted.len() && held.granted.iter().zip(&granted).all(|(a, b)| same(a, b));
        if !unchanged {
            let line = Entry {
                session: Some(held.session),
                from: Some(held.link.from),
                site: Some(held.link.site.clone()),
                key: Some(held.link.key.clone()),
                cause: Some(in_words(&granted)),
                ..Entry::new(Event::Consent)
            };
            let written = self.append(line).await;
            // A consent that is less than before counts without its line, too.
            if written.is_err() && !granted.is_empty() {
                return Err(Ended::Protocol("cannot-journal"));
            }
        }
        held.granted = granted;
        Ok(())
    }
}

/// About this link.
fn line(link: &Link, session: SessionId) -> Entry {
    Entry {
        session: Some(session),
        from: Some(link.from),
        site: Some(link.site.clone()),
        key: Some(link.key.clone()),
        target: Some("link".into()),
        ..Entry::new(Event::Link)
    }
}

/// `open: firm 30 min, other-jane.doe (konnektor backup) 20 min`
fn in_words(granted: &[Granted]) -> String {
    if granted.is_empty() {
        return "closed".into();
    }
    let one = |granted: &Granted| {
        let minutes = granted.said.as_secs().div_ceil(60);
        if granted.may.contains(crate::link::lease::EVERYTHING) {
            return format!("{} {minutes} min", granted.who);
        }
        let may: Vec<String> = granted.may.iter().take(8).map(|may| sane(may)).collect();
        format!("{} ({}) {minutes} min", granted.who, may.join(", "))
    };
    format!("open: {}", granted.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The control stream's way out: a site that takes nothing ends its link.
struct Writing<W>(W);

impl<W: AsyncWrite + Unpin> Writing<W> {
    async fn send(&mut self, line: &ToSite) -> Result<(), Ended> {
        let sent = tokio::time::timeout(WRITE, write_line(&mut self.0, line)).await;
        match sent {
            // A line of the journal that is longer than any of this protocol's is left out.
            Ok(Ok(()) | Err(BadLine::TooLong)) => Ok(()),
            Ok(Err(e)) => Err(e.into()),
            Err(_) => Err(Ended::Silent),
        }
    }
}
