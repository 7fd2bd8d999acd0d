//! Tells somebody outside what a schedule found, and of fraud: journalled first, then posted, signed, and tried again for a day.
//! Absent on purpose: values of a box, and names of people other than whose login was reported as fraud.
//!
//! ```text
//! POST url  {event, site, konnektor, time, text_en, text_de, job, cause}; of fraud {event, user, time, text_en, text_de, cause}
//!           X-Pforte-Timestamp: seconds since 1970, of this try
//!           X-Pforte-Signature: sha256=hex(HMAC-SHA256(secret, timestamp "." body))
//! ```
//!
//! Any 2xx is taken for an answer and its body is not read. A 4xx but 408, 425 and 429 ends it; all else is tried again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use reqwest::{Client, StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Notice, Notify};
use crate::factor::webhook::{self, WebhookError};
use crate::factor::wire::{Key, SIGNATURE, TIMESTAMP};
use crate::journal::{Entry, Event, Journal};
use crate::names::{Fingerprint, KonnektorId, Username};

/// Notices that wait at most; one that comes then is in the journal alone.
const QUEUE: usize = 256;
const CONNECT: Duration = Duration::from_secs(5);
/// For one try, until the head of the answer.
const TRY: Duration = Duration::from_secs(20);
/// Before the second try; each further pause is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// After that nobody hears it any more.
const PATIENCE: Duration = Duration::from_hours(24);

/// Something to be told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happened.
    pub notice: Notice,
    /// To what.
    pub about: About,
    /// For people, English.
    pub english: String,
    /// For people, German.
    pub german: String,
    /// The job that found it.
    pub job: Option<u32>,
    /// For programs, as the journal has it.
    pub cause: String,
}

/// What a notice is about.
#[derive(Clone, Debug)]
pub enum About {
    /// A box.
    Konnektor(KonnektorId),
    /// A person whose login was reported, with the key that tried it.
    Login(Username, Fingerprint),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Konnektor(konnektor) => konnektor.fmt(f),
            Self::Login(user, _) => user.fmt(f),
        }
    }
}

#[derive(Serialize)]
struct Body<'t> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    konnektor: Option<&'t str>,
    time: Timestamp,
    text_en: &'t str,
    text_de: &'t str,
    job: Option<u32>,
    cause: &'t str,
}

/// Where notices go, ready for use.
pub struct Target {
    url: url::Url,
    key: Key,
    events: Vec<Notice>,
    client: Client,
}

impl Target {
    /// As gateway.toml says; `ca_pem` is what its `ca` holds. Dials nothing.
    ///
    /// # Errors
    /// [`WebhookError::Ca`], [`WebhookError::Tls`].
    pub fn new(notify: &Notify, ca_pem: Option<&[u8]>) -> Result<Self, WebhookError> {
        let client = webhook::client(ca_pem, CONNECT)?;
        let (url, events) = (notify.url.clone(), notify.events.clone());
        Ok(Self { url, key: Key::new(&notify.secret), events, client })
    }
}

/// A notice on its way.
struct Post {
    body: Vec<u8>,
    what: String,
    since: Instant,
    tries: u32,
}

/// Takes notices; cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    journal: Journal,
    clock: Clock,
    target: Arc<ArcSwapOption<Target>>,
    queue: mpsc::Sender<Post>,
}

impl Notifier {
    /// One that posts to `target`, if there is one, in a task that ends when it is aborted.
    pub fn new(journal: Journal, clock: Clock, target: Option<Target>) -> (Self, JoinHandle<()>) {
        let target = Arc::new(ArcSwapOption::new(target.map(Arc::new)));
        let (queue, posts) = mpsc::channel(QUEUE);
        let posting = tokio::spawn(post_all(posts, Arc::clone(&target), clock.clone()));
        (Self(Arc::new(Inner { journal, clock, target, queue })), posting)
    }

    /// From now on they go there; those that wait as well.
    pub fn change(&self, target: Option<Target>) {
        self.0.target.store(target.map(Arc::new));
    }

    /// Writes it into the journal and has it posted, if gateway.toml wants it; waits for the journal alone.
    pub async fn tell(&self, told: Told) {
        let cause = Some(format!("notice {}: {}", told.notice, told.cause));
        let line = match &told.about {
            About::Konnektor(konnektor) => Entry {
                factor: Some("schedule".into()),
                site: Some(konnektor.site.clone()),
                target: Some(format!("konnektor/{}", konnektor.konnektor)),
                cause,
                ..Entry::new(Event::Loaded)
            },
            About::Login(user, key) => Entry {
                user: Some(user.clone()),
                firm: Some(user.firm()),
                key: Some(key.clone()),
                cause,
                ..Entry::new(Event::Loaded)
            },
        };
        if let Err(e) = self.0.journal.append(line).await {
            tracing::error!(notice = %told.notice, about = %told.about, "a notice could not be journalled: {e}");
        }
        let Some(target) = self.0.target.load_full() else { return };
        if !target.events.contains(&told.notice) {
            return;
        }
        let (user, konnektor) = match &told.about {
            About::Konnektor(konnektor) => (None, Some(konnektor)),
            About::Login(user, _) => (Some(user.as_str()), None),
        };
        let body = Body {
            event: told.notice.as_str(),
            user,
            site: konnektor.map(|k| k.site.as_str()),
            konnektor: konnektor.map(|k| k.konnektor.as_str()),
            time: self.0.clock.now(),
            text_en: &told.english,
            text_de: &told.german,
            job: told.job,
            cause: &told.cause,
        };
        // Strings and numbers only: serde_json has no way to fail here.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let what = format!("{} {}", told.notice, told.about);
        if self.0.queue.try_send(Post { body, what, since: Instant::now(), tries: 0 }).is_err() {
            tracing::error!(about = %told.about, "too many notices wait: one is in the journal alone");
        }
    }
}

/// Posts each when its time has come; one that has to wait holds up no other.
async fn post_all(mut posts: mpsc::Receiver<Post>, target: Arc<ArcSwapOption<Target>>, clock: Clock) {
    let mut waiting: BTreeMap<(Instant, u64), Post> = BTreeMap::new();
    let mut number = 0;
    loop {
        let next = waiting.keys().next().map(|(at, _)| *at);
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            post = posts.recv(), if waiting.len() < QUEUE => {
                let Some(post) = post else { return };
                number += 1;
                waiting.insert((Instant::now(), number), post);
            }
            () = wait => {
                let Some((_, mut post)) = waiting.pop_first() else { continue };
                let Some(target) = target.load_full() else { continue };
                if let Some(why) = posted(&target, &post, &clock).await {
                    post.tries += 1;
                    let pause = PAUSE.saturating_mul(1 << post.tries.min(16) >> 1).min(PAUSE_MAX);
                    if why.for_good || post.since.elapsed() + pause > PATIENCE {
                        tracing::error!("notice {} was not delivered: {}", post.what, why.cause);
                        continue;
                    }
                    tracing::warn!("notice {} waits for its next try: {}", post.what, why.cause);
                    number += 1;
                    waiting.insert((Instant::now() + pause, number), post);
                }
            }
        }
    }
}

struct NotPosted {
    for_good: bool,
    cause: String,
}

async fn posted(target: &Target, post: &Post, clock: &Clock) -> Option<NotPosted> {
    let (timestamp, signature) = target.key.mark(clock.now(), &post.body);
    let request = target
        .client
        .post(target.url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(TIMESTAMP, timestamp)
        .header(SIGNATURE, format!("sha256={signature}"))
        .body(post.body.clone());
    let not = |for_good, cause: String| Some(NotPosted { for_good, cause });
    match tokio::time::timeout(TRY, request.send()).await {
        Err(_) => not(false, "no answer in time".into()),
        // The URL may hold a token, and reqwest's text repeats it.
        Ok(Err(e)) => not(false, if e.is_connect() { "no connection".into() } else { "no answer".into() }),
        Ok(Ok(answer)) if answer.status().is_success() => None,
        Ok(Ok(answer)) => {
            let status = answer.status();
            let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
            not(status.is_client_error() && !later.contains(&status), status.to_string())
        }
    }
}
