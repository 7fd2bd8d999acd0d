//! The second factor over an ntfy server: a notification with Approve and Deny, answered at the hub of callbacks.
//! Absent on purpose: reading from the server (whoever could publish there would decide), retries (a second notification),
//! and any answer by GET (what previews links would approve).
//!
//! ntfy proves no more than that a phone reads a topic. So each action has an address of its own, 128 random bits that
//! only this notification holds; and with [`Match::Typed`] the person types the SSH side's number on a page.
//!
//! ```text
//! POST url/          {topic, title, message, priority, sequence_id, actions}, X-Cache: no, X-Firebase: no
//! 200                {id, event: "message", topic}; 401 and 403: credentials; 429: throttled
//! DELETE url/topic/sequence_id   when it is over: the notification goes away (2.16 and newer; older ones answer 404)
//! ```

mod page;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::callback::{Call, Callbacks, Heard, Open, Reply};
use super::http::{self, BadClient};
use super::{Cause, Line, Provider, Question, Verdict, Way, message, message_unnumbered};
use crate::clock::Clock;
use crate::names::Topic;
use crate::secret::Secret;

/// Retractions under way at once; a further one is left out.
const RETRACTIONS: usize = 64;
/// For one retraction.
const RETRACT: Duration = Duration::from_secs(5);

/// How the number is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is typed on a page that Approve opens; the notification does not hold it.
    Typed,
    /// The notification shows it, and the person compares; Approve answers at once.
    Shown,
}

/// Where and how to ask. Times are upper bounds; the question's own expiry counts as well.
pub struct NtfyConfig {
    /// The server's root; https unless it is this machine.
    pub url: Url,
    /// Its access token, which needs no more than to write.
    pub token: Option<Secret>,
    /// Where a person's phone reads.
    pub topic: Topic,
    /// How the number is matched.
    pub number: Match,
    /// 1 to 5; 3 is ntfy's usual one, from 4 on a phone vibrates longer.
    pub priority: u8,
    /// PEM certificates that alone are trusted; without them the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// An HTTP proxy.
    pub proxy: Option<String>,
    /// Where phones answer.
    pub callbacks: Callbacks,
    /// Is the notification in German? The page asks the browser first.
    pub german: bool,
    /// For a person to answer.
    pub timeout: Duration,
    /// For a connection, with TLS.
    pub connect_timeout: Duration,
    /// For the server's reply, all of it.
    pub publish_timeout: Duration,
}

impl NtfyConfig {
    /// The defaults: no token, the number typed, priority 4, English, 60 s for the person, 5 s to connect, 10 s for a reply.
    #[must_use]
    pub fn new(url: Url, topic: Topic, callbacks: Callbacks) -> Self {
        Self {
            url,
            token: None,
            topic,
            number: Match::Typed,
            priority: 4,
            ca_pem: None,
            proxy: None,
            callbacks,
            german: false,
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(10),
        }
    }
}

/// Why an ntfy server cannot be used as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NtfyError {
    /// The addresses of the actions would cross the network in the clear.
    #[error("ntfy: url must be https, or http to this machine")]
    Clear,
    /// A token that no header can hold.
    #[error("ntfy: token: not an access token")]
    Token,
    /// The HTTP client.
    #[error("ntfy: {0}")]
    Client(#[from] BadClient),
}

/// The provider.
pub struct Ntfy {
    config: NtfyConfig,
    server: Arc<Server>,
    clock: Clock,
}

/// What a retraction needs too.
struct Server {
    url: Url,
    authorization: Option<HeaderValue>,
    client: Client,
    retractions: Arc<Semaphore>,
}

/// What the server says of a message that it took.
#[derive(Deserialize)]
struct Published {
    id: String,
    event: String,
    topic: String,
}

impl Ntfy {
    /// Checks the configuration and makes the connection pool; dials nothing.
    pub fn new(mut config: NtfyConfig, clock: Clock) -> Result<Self, NtfyError> {
        if config.url.scheme() != "https" && !(config.url.scheme() == "http" && http::here(&config.url)) {
            return Err(NtfyError::Clear);
        }
        let client = http::client(config.ca_pem.as_deref(), config.proxy.as_deref(), config.connect_timeout)?;
        let bearer = |token: Secret| {
            let value = zeroize::Zeroizing::new(format!("Bearer {}", token.reveal().trim()));
            let mut value = HeaderValue::from_str(&value).map_err(|_| NtfyError::Token)?;
            value.set_sensitive(true);
            Ok::<_, NtfyError>(value)
        };
        let authorization = config.token.take().map(bearer).transpose()?;
        let retractions = Arc::new(Semaphore::new(RETRACTIONS));
        let server = Server { url: config.url.clone(), authorization, client, retractions };
        Ok(Self { config, server: Arc::new(server), clock })
    }

    async fn over_ntfy(&self, question: &Question, line: &mut Line) -> Result<Verdict, Cause> {
        let config = &self.config;
        let topic = config.topic.of(&question.user, question.contact.external.as_deref());
        let topic = topic.ok_or(Cause::NotEnrolled)?;
        let mut open = config.callbacks.open(question)?;
        let message = self.notification(question, &topic, &open)?;
        match config.number {
            // A held key has had its number in the banner.
            Match::Typed if line.reach().shown => line.compare(question.number).await,
            Match::Typed => line.enter(&question.number.to_string()).await?,
            Match::Shown => line.compare(question.number).await,
        }
        let published = Notification { server: &self.server, path: format!("{topic}/{}", question.tx) };
        line.step(format!("ntfy: the question goes to the topic {topic}")).await;
        let verdict = tokio::select! {
            biased;
            verdict = open.verdict() => verdict,
            sent = self.publish(&message, &topic) => {
                if let Err(cause) = sent {
                    published.unless_refused(cause);
                    return Err(cause);
                }
                line.step("ntfy: the server took it; waiting for the phone").await;
                open.verdict().await
            }
        };
        line.step("ntfy: the phone answered").await;
        Ok(verdict)
    }

    /// The whole notification. It holds the addresses of the answers: not for any log.
    fn notification(&self, question: &Question, topic: &str, open: &Open) -> Result<Value, Cause> {
        let german = self.config.german;
        let (approve, deny) = if german { ("Zulassen", "Ablehnen") } else { ("Approve", "Deny") };
        let (text, approve) = match self.config.number {
            Match::Typed => {
                let asked = question.clone();
                let page = open.path(move |call| page::judge(&asked, german, call))?;
                let approve = json!({ "action": "view", "label": approve, "url": page.as_str() });
                (message_unnumbered(question, german), approve)
            }
            Match::Shown => (message(question, german), press(approve, Verdict::Allowed, open)?),
        };
        let deny = press(deny, Verdict::Denied, open)?;
        Ok(json!({
            "topic": topic,
            "title": "pforte",
            "message": text,
            "priority": self.config.priority,
            "sequence_id": question.tx.to_string(),
            "actions": [approve, deny],
        }))
    }

    async fn publish(&self, message: &Value, topic: &str) -> Result<(), Cause> {
        let timeout = self.config.publish_timeout;
        let post = self.server.request(self.server.client.post(self.server.url.clone()));
        let exchange = http::exchange(post.json(message), timeout);
        let reply = tokio::time::timeout(timeout, exchange).await.map_err(|_| Cause::TooSlow)??;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Cause::Credentials),
            StatusCode::TOO_MANY_REQUESTS => return Err(Cause::Throttled),
            other => return Err(Cause::Status(other.as_u16())),
        }
        let published: Published = reply.json()?;
        let taken = !published.id.is_empty() && published.event == "message" && published.topic == topic;
        if taken { Ok(()) } else { Err(Cause::Malformed) }
    }
}

/// An action that answers at once, by POST alone.
fn press(label: &str, verdict: Verdict, open: &Open) -> Result<Value, Cause> {
    let url = open.path(move |call: &Call<'_>| match *call.method {
        Method::POST => Heard::Answer(verdict, Reply::bare(StatusCode::OK)),
        _ => Heard::Nothing(Reply::bare(StatusCode::METHOD_NOT_ALLOWED)),
    })?;
    Ok(json!({ "action": "http", "label": label, "method": "POST", "url": url.as_str(), "clear": true }))
}

impl Server {
    /// Neither kept on the server's disk nor passed on to a phone's maker.
    fn request(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("X-Cache", "no").header("X-Firebase", "no");
        match &self.authorization {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }
}

/// A notification that may be on a phone; dropped, it is retracted in the background, as best as can be.
struct Notification<'s> {
    server: &'s Arc<Server>,
    path: String,
}

impl Notification<'_> {
    /// Nothing is retracted that the server certainly did not take.
    fn unless_refused(mut self, cause: Cause) {
        let refused = matches!(
            cause,
            Cause::Credentials
                | Cause::Throttled
                | Cause::Status(_)
                | Cause::Redirect
                | Cause::TimedOutConnecting
        );
        if refused {
            self.path.clear();
        }
    }
}

impl Drop for Notification<'_> {
    fn drop(&mut self) {
        if self.path.is_empty() {
            return;
        }
        let (Ok(runtime), Ok(place), Ok(url)) = (
            tokio::runtime::Handle::try_current(),
            Arc::clone(&self.server.retractions).try_acquire_owned(),
            self.server.url.join(&self.path),
        ) else {
            return;
        };
        let server = Arc::clone(self.server);
        runtime.spawn(async move {
            let delete = server.request(server.client.delete(url));
            match tokio::time::timeout(RETRACT, http::exchange(delete, RETRACT)).await {
                Ok(Ok(reply)) => tracing::debug!(status = %reply.status, "ntfy: retracted"),
                Ok(Err(cause)) => tracing::debug!(%cause, "ntfy: not retracted"),
                Err(_) => tracing::debug!("ntfy: not retracted: too slow"),
            }
            drop(place);
        });
    }
}

#[async_trait]
impl Provider for Ntfy {
    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn ways(&self) -> &[Way] {
        &[Way::Push]
    }

    async fn ask(&self, question: &Question, _way: Way, line: &mut Line) -> Verdict {
        let limit = question.remaining(&self.clock, self.config.timeout);
        if limit.is_zero() {
            return Verdict::TimedOut;
        }
        let asked = tokio::time::timeout(limit, self.over_ntfy(question, line)).await;
        asked.map_or(Verdict::TimedOut, |verdict| verdict.unwrap_or_else(Verdict::Failed))
    }
}
