//! The site's own page, in the practice: the switch, who is in, what they did; for people who never saw a terminal.
//! Absent on purpose: how any of it is done; a [`Desk`] does it. And anything that is loaded from elsewhere.
//!
//! ```text
//! connection ─limits─▶ TLS, but on this machine ─▶ guard: our Host, our Origin ─▶ PIN ─▶ session ─▶ its token in each form ─▶ Desk
//! ```

mod answers;
mod attempts;
mod certificate;
mod doings;
mod guard;
pub mod keeper;
mod listen;
mod metrics;
pub mod pin;
mod report;
mod sessions;
mod shown;
mod text;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use certificate::{BadCertificate, Certificate};
pub use listen::Listener;
pub use pin::{BadPin, PinHash};

use super::desk::Desk;
use crate::clock::Clock;
use crate::random::Random;

/// How long nothing may be done before the PIN is asked for again, unless it is set otherwise.
pub const IDLE: Duration = Duration::from_mins(15);
/// The most pages that follow what is new at once; further ones look every few seconds.
const STREAMS: usize = 48;

/// What the page needs.
pub struct Settings {
    /// 127.0.0.1, and an address of the practice's network if it is set.
    pub listeners: Vec<Listener>,
    /// The state's folder: wrong PINs are remembered there. Without it a restart forgets them.
    pub state: Option<PathBuf>,
    /// Names that the page may be called by, without a port, beside the addresses that it listens on: `fernwartung.praxis`.
    pub hosts: Vec<String>,
    /// The PIN, as it was kept.
    pub pin: PinHash,
    /// [`IDLE`]
    pub idle: Duration,
    /// The time for sessions and waits.
    pub clock: Clock,
    /// For sessions and forms.
    pub random: Random,
}

/// What all requests share.
struct Page {
    desk: Arc<dyn Desk>,
    hosts: Vec<String>,
    pin: PinHash,
    clock: Clock,
    attempts: attempts::Attempts,
    sessions: sessions::Sessions,
    templates: minijinja::Environment<'static>,
    /// A PIN is checked one at a time: each takes 19 MiB.
    checking: Semaphore,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves the page on all listeners until `stop`; nothing of it fails beyond a line in the log.
pub async fn serve(desk: Arc<dyn Desk>, settings: Settings, stop: CancellationToken) {
    let idle = SignedDuration::try_from(settings.idle).unwrap_or(SignedDuration::from_mins(15));
    let attempts = match settings.state {
        Some(state) => attempts::Attempts::kept(&state, &settings.pin, settings.clock.now()),
        None => attempts::Attempts::default(),
    };
    let page = Arc::new(Page {
        desk,
        hosts: settings.hosts,
        pin: settings.pin,
        clock: settings.clock,
        attempts,
        sessions: sessions::Sessions::new(settings.random, idle),
        templates: answers::templates(),
        checking: Semaphore::new(1),
        streams: Arc::new(Semaphore::new(STREAMS)),
        stop: stop.clone(),
    });
    let router = answers::router(page);
    let mut all = JoinSet::new();
    for listener in settings.listeners {
        all.spawn(listen::serve(listener, router.clone(), stop.clone()));
    }
    while all.join_next().await.is_some() {}
}
