//! The link's life: the control stream, a JSON line each way; the streams that the gateway opens; and whether it still lives.
//! Absent on purpose: patience with a gateway that says what it may not. Its link ends.

use std::sync::Arc;
use std::time::Duration;

use russh::ChannelStream;
use russh::client::Msg;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::link::frames::{ToGateway, ToSite};
use crate::link::{self, BadLine, Bounds, Lines, Mux, Stream};
use crate::site::config::Dial;
use crate::site::links::{Link, Phase, WAITING};
use crate::site::premises::Premises;
use crate::site::streams::Streams;

/// For the gateway's first line.
const HELLO: Duration = Duration::from_secs(15);
/// For the answer to a probe, after this machine's network has changed.
const PROBE: Duration = Duration::from_secs(3);
/// For a good-bye.
const PARTING: Duration = Duration::from_secs(1);
/// The longest nonce.
const NONCE: usize = 128;
/// Lines of the gateway: so many at once, and so many more each second. No journal is that busy.
const LINES: (u32, u32) = (20_000, 1000);

/// Why the link is over.
#[derive(Debug, thiserror::Error)]
pub enum Over {
    /// The gateway said so.
    #[error("bye: {0}")]
    Bye(String),
    /// The connection ended without a word.
    #[error("closed")]
    Gone,
    /// No word for too long.
    #[error("silent")]
    Silent,
    /// The network changed, and nobody answered since.
    #[error("probe-unanswered")]
    ProbeUnanswered,
    /// The gateway said what it may not say.
    #[error("hostile: {0}")]
    Hostile(String),
    /// `dial = "when-open"`, and it is closed.
    #[error("not-wanted")]
    Unwanted,
    /// The program ends.
    #[error("stopped")]
    Stopped,
}

impl From<BadLine> for Over {
    fn from(bad: BadLine) -> Self {
        match bad {
            BadLine::Closed | BadLine::Broken(_) => Self::Gone,
            BadLine::TooLong | BadLine::NotUnderstood(_) => Self::Hostile(bad.to_string()),
        }
    }
}

/// Until the link is over.
pub async fn run(
    premises: &Arc<Premises>,
    link: &Link,
    number: usize,
    channel: ChannelStream<Msg>,
    stop: &CancellationToken,
) -> Over {
    let mut mux = Mux::new(channel, true, Bounds::ORDINARY);
    let streams = Streams::new(Arc::clone(premises), number);
    let over = match mux.open().await {
        Ok(control) => talk(premises, link, number, &mut mux, control, streams, stop).await,
        Err(_) => Over::Gone,
    };
    // What was said last, that the switch is closed for one, is on its way before the line is cut.
    mux.leave().await;
    over
}

struct Talk<'a> {
    premises: &'a Arc<Premises>,
    link: &'a Link,
    number: usize,
    out: mpsc::Sender<ToGateway>,
    alive: u64,
    /// The number of the last answer.
    answered: u64,
    probe: Option<(u64, Instant)>,
    heard: Instant,
    was_open: bool,
    lines: Quota,
}

async fn talk(
    premises: &Arc<Premises>,
    link: &Link,
    number: usize,
    mux: &mut Mux,
    control: Stream,
    mut streams: Streams,
    stop: &CancellationToken,
) -> Over {
    // Before the first word: no change from here on is missed.
    let (mut changes, mut network) = (premises.switch.changes(), premises.network.subscribe());
    let was_open = premises.switch.is_open();
    let (read, write) = tokio::io::split(control);
    let mut lines = Lines::new(read);
    let (out, waiting) = mpsc::channel(WAITING);
    let writer = tokio::spawn(write_all(write, waiting));
    let mut ends = Ends(writer);
    let software = concat!("pforte ", env!("CARGO_PKG_VERSION")).to_owned();
    out.try_send(ToGateway::Hello { version: link::VERSION, software }).ok();
    if let Err(over) = hello(premises, link, &mut lines).await {
        return over;
    }
    let settings = premises.settings.link;
    link.is(Phase::Up, premises.time.now().wall);
    link.speaks(Some(out.clone()));
    tracing::info!(gateway = %link.via.title, "the link is up");
    super::note(premises, link, "link-up", String::new()).await;
    let mut talk = Talk {
        premises,
        link,
        number,
        out,
        alive: 0,
        answered: 0,
        probe: None,
        heard: Instant::now(),
        was_open,
        lines: Quota::new(),
    };
    let mut alive = tokio::time::interval_at(Instant::now() + settings.alive, settings.alive);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let over = loop {
        let quiet_until = talk.heard + settings.silence;
        let unanswered = talk.probe.map(|(_, until)| until);
        let going = tokio::select! {
            said = lines.next::<ToSite>() => said.map_err(Over::from).and_then(|said| talk.heard(said)),
            opened = mux.next() => match opened {
                Some(opened) => { streams.take(opened); Ok(()) }
                None => Err(Over::Gone),
            },
            known = changes.changed() => match known {
                Ok(()) => talk.switched(),
                Err(_) => Err(Over::Stopped),
            },
            _ = network.changed() => talk.probe(),
            _ = alive.tick() => talk.say_alive().map(|_| ()),
            () = tokio::time::sleep_until(quiet_until) => Err(Over::Silent),
            () = at(unanswered) => Err(Over::ProbeUnanswered),
            () = stop.cancelled() => Err(Over::Stopped),
        };
        if let Err(over) = going {
            break over;
        }
    };
    link.speaks(None);
    if matches!(over, Over::Stopped | Over::Unwanted | Over::Hostile(_)) {
        talk.out.try_send(ToGateway::Bye { reason: over.to_string() }).ok();
        drop(talk);
        tokio::time::timeout(PARTING, &mut ends.0).await.ok();
    }
    over
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The gateway's first line, and nothing else before it.
async fn hello(premises: &Premises, link: &Link, lines: &mut Lines<ReadHalf<Stream>>) -> Result<(), Over> {
    let first = tokio::time::timeout(HELLO, lines.next::<ToSite>()).await.map_err(|_| Over::Silent)??;
    let ToSite::Hello { version, now, seen_from } = first else {
        return Err(Over::Hostile("no hello".into()));
    };
    if version < link::VERSION {
        return Err(Over::Hostile(format!("version {version}")));
    }
    // It may be any text: an address, or nothing.
    let seen_from =
        seen_from.chars().filter(|c| c.is_ascii_hexdigit() || ".:[]".contains(*c)).take(64).collect();
    link.greeted(seen_from, now, premises.time.now());
    Ok(())
}

impl Talk<'_> {
    /// A gateway that takes nothing is not waited for.
    fn say(&self, what: ToGateway) -> Result<(), Over> {
        self.out.try_send(what).map_err(|_| Over::Gone)
    }

    fn say_alive(&mut self) -> Result<u64, Over> {
        self.alive += 1;
        self.say(ToGateway::Alive { number: self.alive })?;
        Ok(self.alive)
    }

    fn probe(&mut self) -> Result<(), Over> {
        let number = self.say_alive()?;
        self.probe.get_or_insert((number, Instant::now() + PROBE));
        Ok(())
    }

    fn switched(&mut self) -> Result<(), Over> {
        let open = self.premises.switch.is_open();
        let closed = self.was_open && !open;
        self.was_open = open;
        self.say(if closed { ToGateway::Closed } else { ToGateway::Changed })?;
        if self.premises.settings.link.dial == Dial::WhenOpen && !self.premises.switch.wants_link() {
            return Err(Over::Unwanted);
        }
        Ok(())
    }

    fn heard(&mut self, line: ToSite) -> Result<(), Over> {
        self.heard = Instant::now();
        self.lines.one().map_err(|()| Over::Hostile("flood".into()))?;
        match line {
            ToSite::Hello { .. } => Err(Over::Hostile("a second hello".into())),
            ToSite::Renew { nonce } => self.renew(nonce),
            ToSite::Ask(asked) => {
                let (id, premises) = (asked.id.clone(), self.premises);
                let most = premises.settings.switch.most;
                if !premises.asks.came(self.number, asked, |firm| premises.firm_title(firm), most) {
                    let id = id.chars().take(128).collect();
                    return self.say(ToGateway::Answer { id, allowed: false });
                }
                Ok(())
            }
            ToSite::AskGone { id } => {
                self.premises.asks.gone(self.number, &id);
                Ok(())
            }
            ToSite::Told { line } => {
                self.premises.visits.told(&self.link.via.fingerprint, line);
                Ok(())
            }
            ToSite::Alive { number } => {
                if number > self.alive || number < self.answered {
                    return Err(Over::Hostile("an answer to nothing".into()));
                }
                self.answered = number;
                self.probe = self.probe.filter(|(probed, _)| number < *probed);
                Ok(())
            }
            ToSite::Bye { reason } => {
                Err(Over::Bye(reason.chars().filter(|c| !c.is_control()).take(100).collect()))
            }
        }
    }

    fn renew(&mut self, nonce: String) -> Result<(), Over> {
        if nonce.is_empty() || nonce.len() > NONCE || !nonce.is_ascii() {
            return Err(Over::Hostile("nonce".into()));
        }
        match self.premises.switch.lease(nonce, &self.link.via.fingerprint) {
            Ok(lease) => self.say(ToGateway::Lease(lease)),
            Err(e) => {
                tracing::error!("the site's key cannot sign: {e}");
                Err(Over::Stopped)
            }
        }
    }
}

/// Ends the writer with the link.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn write_all(mut to: WriteHalf<Stream>, mut waiting: mpsc::Receiver<ToGateway>) {
    while let Some(what) = waiting.recv().await {
        if link::write_line(&mut to, &what).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

/// How many lines the gateway may still send now.
struct Quota {
    left: u32,
    filled: Instant,
}

impl Quota {
    fn new() -> Self {
        Self { left: LINES.0, filled: Instant::now() }
    }

    fn one(&mut self) -> Result<(), ()> {
        let passed = self.filled.elapsed().as_secs();
        if passed > 0 {
            let more = LINES.1.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX));
            self.left = self.left.saturating_add(more).min(LINES.0);
            self.filled = Instant::now();
        }
        self.left = self.left.checked_sub(1).ok_or(())?;
        Ok(())
    }
}
