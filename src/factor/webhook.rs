//! The second factor over HTTP: one signed POST a question; the answer comes in the reply, by polling, or by callback.
//! Absent on purpose: retries (a second POST is a second push on somebody's phone), redirects, proxies, cookies.
//!
//! The contract, from our side:
//!
//! ```text
//! POST url      {tx, user, firm, key_fp, client_ip, client_port, session, purpose: login|command, command, site, code,
//!                expires_at, message_de, message_en, callback_url?}
//!               X-Pforte-Timestamp: seconds since 1970
//!               X-Pforte-Signature: v1=hex(HMAC-SHA256(secret, timestamp "." body))
//! 200           {tx, result: allow|deny|fraud|timeout|error, user?}; may be held until the person has answered
//! 202           {tx, status_url?}; then GET status_url?tx=…, signed over timestamp "." "GET " path-and-query,
//!               answered by 200 {tx, result: pending|allow|…}; may be held; or the callback is called
//! POST callback_url {tx, result, timestamp, user?}: 200 taken, 401 not authenticated or stale, 404 not open (any more)
//! ```
//!
//! Replies carry the same two headers over their own body.

mod callbacks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, RequestBuilder, StatusCode, Url, header};

use super::callback::{Callbacks, Open};
use super::http::{self, BadClient};
use super::wire::{self, Answer, Key};
use super::{Cause, Push, Question, Verdict};
use crate::clock::Clock;
use crate::secret::Secret;

/// Where and how to ask. Times are upper bounds; the question's own expiry counts as well.
pub struct WebhookConfig {
    /// Where questions are posted; http or https.
    pub url: Url,
    /// The shared HMAC key, at least 16 bytes.
    pub secret: Secret,
    /// PEM certificates that alone are trusted for https; without them the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Where the answer is polled after a 202 that names no `status_url`.
    pub status_url: Option<Url>,
    /// Where the provider may call back, each question at a path of its own; none if it may not.
    pub callbacks: Option<Callbacks>,
    /// Must replies be signed? May be turned off for https only.
    pub verify_replies: bool,
    /// For a person to answer.
    pub timeout: Duration,
    /// For a connection, with TLS.
    pub connect_timeout: Duration,
    /// For a reply's body after its head.
    pub body_timeout: Duration,
    /// Between two polls; up to a quarter is added, so that many do not come at once.
    pub poll_interval: Duration,
}

impl WebhookConfig {
    /// The defaults: replies verified, 60 s for the person, 5 s to connect, 5 s for a body, a poll each second.
    #[must_use]
    pub fn new(url: Url, secret: Secret) -> Self {
        Self {
            url,
            secret,
            ca_pem: None,
            status_url: None,
            callbacks: None,
            verify_replies: true,
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
        }
    }
}

/// Why a webhook cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// An address that is neither http nor https.
    #[error("webhook: url must be http or https")]
    Scheme,
    /// Fewer than 16 bytes of HMAC key.
    #[error("webhook: secret must be at least 16 bytes")]
    ShortSecret,
    /// Unsigned replies over plain http could be anybody's.
    #[error("webhook: verify_replies = false needs https")]
    UnverifiedHttp,
    /// The CA file holds no usable certificate.
    #[error("webhook: no usable certificate in the CA file")]
    Ca,
    /// TLS could not be set up.
    #[error("webhook: TLS could not be set up")]
    Tls,
}

/// The provider.
pub struct Webhook {
    config: WebhookConfig,
    key: Arc<Key>,
    client: Client,
    clock: Clock,
}

impl Webhook {
    /// Checks the configuration and makes the connection pool; dials nothing.
    pub fn new(config: WebhookConfig, clock: Clock) -> Result<Self, WebhookError> {
        for url in [Some(&config.url), config.status_url.as_ref()].into_iter().flatten() {
            match url.scheme() {
                "https" => {}
                "http" if config.verify_replies => {}
                "http" => return Err(WebhookError::UnverifiedHttp),
                _ => return Err(WebhookError::Scheme),
            }
        }
        if config.secret.reveal().len() < 16 {
            return Err(WebhookError::ShortSecret);
        }
        let client = client(config.ca_pem.as_deref(), config.connect_timeout)?;
        Ok(Self { key: Arc::new(Key::new(&config.secret)), client, config, clock })
    }

    /// The answer by way of our own requests.
    async fn over_http(&self, question: &Question, callback: Option<&Url>) -> Result<Verdict, Cause> {
        let body = wire::body(question, callback.map(Url::as_str));
        let (timestamp, signature) = self.key.sign(self.clock.now(), &body);
        let post = self
            .client
            .post(self.config.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(wire::TIMESTAMP, timestamp)
            .header(wire::SIGNATURE, signature)
            .body(body);
        let (status, answer) = self.exchange(question, post).await?;
        if status == StatusCode::OK {
            return answer.result.and_then(wire::Word::verdict).ok_or(Cause::Malformed);
        }
        match self.status_url(&answer)? {
            Some(url) => self.poll(question, url).await,
            None if callback.is_some() => std::future::pending().await,
            None => Err(Cause::NoWayBack),
        }
    }

    /// Where to poll: the reply's address if it is on an origin we were told, else the configured one.
    fn status_url(&self, answer: &Answer) -> Result<Option<Url>, Cause> {
        let Some(text) = &answer.status_url else { return Ok(self.config.status_url.clone()) };
        let url = self.config.url.join(text).map_err(|_| Cause::Malformed)?;
        let known = [Some(&self.config.url), self.config.status_url.as_ref()];
        if known.into_iter().flatten().any(|known| known.origin() == url.origin()) {
            Ok(Some(url))
        } else {
            Err(Cause::ForeignUrl)
        }
    }

    async fn poll(&self, question: &Question, mut url: Url) -> Result<Verdict, Cause> {
        url.query_pairs_mut().append_pair("tx", &question.tx.to_string());
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let signed = format!("GET {path}");
        for tick in 0_u32.. {
            tokio::time::sleep(jittered(self.config.poll_interval, question, tick)).await;
            let (timestamp, signature) = self.key.sign(self.clock.now(), signed.as_bytes());
            let get = self
                .client
                .get(url.clone())
                .header(wire::TIMESTAMP, timestamp)
                .header(wire::SIGNATURE, signature);
            let (status, answer) = self.exchange(question, get).await?;
            let pending = match answer.result.map(wire::Word::verdict) {
                Some(Some(verdict)) if status == StatusCode::OK => return Ok(verdict),
                Some(Some(_)) => false,
                Some(None) => true,
                None => status == StatusCode::ACCEPTED,
            };
            if !pending {
                return Err(Cause::Malformed);
            }
        }
        Ok(Verdict::TimedOut)
    }

    /// One request and its reply: status 200 or 202, bounded, authenticated, and for this question.
    async fn exchange(
        &self,
        question: &Question,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Answer), Cause> {
        let reply = http::exchange(request, self.config.body_timeout).await?;
        let (status, body) = (reply.status, reply.body);
        if status != StatusCode::OK && status != StatusCode::ACCEPTED {
            return Err(Cause::Status(status.as_u16()));
        }
        if self.config.verify_replies {
            let header = |name| http::only(&reply.headers, name);
            let (timestamp, signature) = (header(wire::TIMESTAMP), header(wire::SIGNATURE));
            self.key.verify(self.clock.now(), timestamp, signature, &body)?;
        }
        Ok((status, Answer::to(question, &body)?))
    }

    async fn ask_within(&self, question: &Question) -> Verdict {
        let opened = self.config.callbacks.as_ref().map(|hub| self.open(hub, question)).transpose();
        match opened {
            Err(cause) => Verdict::Failed(cause),
            Ok(None) => self.over_http(question, None).await.unwrap_or_else(Verdict::Failed),
            Ok(Some((mut open, url))) => tokio::select! {
                biased;
                verdict = open.verdict() => verdict,
                verdict = self.over_http(question, Some(&url)) => verdict.unwrap_or_else(Verdict::Failed),
            },
        }
    }

    /// Where this question, and no other, is answered.
    fn open(&self, hub: &Callbacks, question: &Question) -> Result<(Open, Url), Cause> {
        let open = hub.open(question)?;
        let (key, clock, asked) = (self.key.clone(), self.clock.clone(), question.clone());
        let url = open.path(move |call| callbacks::judge(&asked, &key, &clock, call))?;
        Ok((open, url))
    }
}

#[async_trait]
impl Push for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn ask(&self, question: &Question) -> Verdict {
        let limit = question.remaining(&self.clock, self.config.timeout);
        if limit.is_zero() {
            return Verdict::TimedOut;
        }
        let verdict = tokio::time::timeout(limit, self.ask_within(question)).await;
        verdict.unwrap_or(Verdict::TimedOut)
    }
}

/// The pool of one webhook's connections.
pub(crate) fn client(ca_pem: Option<&[u8]>, connect_timeout: Duration) -> Result<Client, WebhookError> {
    http::client(ca_pem, None, connect_timeout).map_err(|e| match e {
        BadClient::Ca => WebhookError::Ca,
        BadClient::Proxy | BadClient::Tls => WebhookError::Tls,
    })
}

/// The interval and up to a quarter more; the question's random name is randomness enough.
pub(super) fn jittered(interval: Duration, question: &Question, tick: u32) -> Duration {
    let [.., byte] = (question.tx.0.rotate_right(tick.wrapping_mul(8))).to_be_bytes();
    interval + interval / 4 * u32::from(byte) / 255
}
