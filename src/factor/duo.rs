//! Duo as a second factor (Auth API v2): a push, a code by SMS, or a code that the person has.
//! Absent on purpose: calls by phone, enrolment, and any second push for one question.
//!
//! One question:
//!
//! ```text
//! GET  /auth/v2/ping         unsigned, where Duo's time is not known (any more): our requests carry it
//! POST /auth/v2/preauth      may this person confirm at all? allow and enroll end here, refused
//! POST /auth/v2/auth         async: rings, sends a code, or takes one; never sent twice but after a 429
//! GET  /auth/v2/auth_status  held by Duo until something changes, 20 times at most
//! ```

mod answer;
mod api;
mod asking;
mod signature;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Url};
use tokio::time::Instant;

pub use signature::Signature;

use self::api::{Api, Call, Head, Once, Patience};
use self::asking::Asking;
use self::signature::{Params, Signer};
use super::http::{self, BadClient};
use super::{Cause, Line, Provider, Question, Reach, Verdict, Way};
use crate::clock::Clock;
use crate::names::HostPort;
use crate::secret::Secret;

/// Where and as whom to ask. Times are upper bounds; the question's own expiry counts as well.
pub struct DuoConfig {
    /// Duo's host for this customer; the port is 443 but in tests.
    pub host: HostPort,
    /// The application's public name: `DI` and 18 letters or digits.
    pub ikey: String,
    /// The application's key.
    pub skey: Secret,
    /// PEM certificates that alone are trusted; without them the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// A proxy for CONNECT, `http://HOST:PORT`.
    pub proxy: Option<String>,
    /// How requests are signed.
    pub signature: Signature,
    /// Which device rings: Duo's name of one, or `auto`.
    pub device: String,
    /// Does it count if Duo lets somebody through without asking them?
    pub bypass: bool,
    /// For a person to answer.
    pub timeout: Duration,
    /// For a connection, with TLS.
    pub connect_timeout: Duration,
    /// For the answer to anything but a poll to begin.
    pub answer_timeout: Duration,
    /// For an answer's body after its head.
    pub body_timeout: Duration,
}

impl DuoConfig {
    /// The defaults: version 5, any device, nobody passes unasked; 60 s for the person, 5 s to connect, 10 s for an
    /// answer to begin, 5 s for its body.
    #[must_use]
    pub fn new(host: HostPort, ikey: String, skey: Secret) -> Self {
        Self {
            host,
            ikey,
            skey,
            ca_pem: None,
            proxy: None,
            signature: Signature::V5,
            device: "auto".into(),
            bypass: false,
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(5),
        }
    }
}

/// Why Duo cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum DuoError {
    /// The host makes no address.
    #[error("duo: host is no host name")]
    Host,
    /// An empty key signs nothing.
    #[error("duo: skey is empty")]
    EmptyKey,
    /// The HTTP client.
    #[error("duo: {0}")]
    Client(BadClient),
}

/// The provider.
pub struct Duo {
    api: Api,
    device: String,
    bypass: bool,
    timeout: Duration,
    clock: Clock,
}

impl Duo {
    /// Checks the configuration and makes the connection pool; dials nothing.
    pub fn new(config: DuoConfig, clock: Clock) -> Result<Self, DuoError> {
        if config.skey.reveal().is_empty() {
            return Err(DuoError::EmptyKey);
        }
        let base = Url::parse(&format!("https://{}/", config.host)).map_err(|_| DuoError::Host)?;
        let client = http::client(config.ca_pem.as_deref(), config.proxy.as_deref(), config.connect_timeout);
        let signer = Signer::new(&config.ikey, &config.skey, config.host.host());
        let api = Api::new(
            client.map_err(DuoError::Client)?,
            base,
            (signer, config.signature),
            config.answer_timeout,
            config.body_timeout,
        );
        let DuoConfig { device, bypass, timeout, .. } = config;
        Ok(Self { api, device, bypass, timeout, clock })
    }

    /// Is Duo there, and does it take our signature? Asks nobody.
    pub async fn check(&self) -> Result<(), Cause> {
        // Of nobody's question: it is not tried again.
        let patience = Patience { until: Instant::now(), seed: 0 };
        let (mut line, _nobody) = Line::new(Reach::NOTHING, false);
        let check = Call {
            method: Method::GET,
            path: "/auth/v2/check",
            params: Params::default(),
            head: Head::AtOnce,
        };
        let answer: Result<serde_json::Value, _> =
            self.api.call(&check, Once::MayRepeat, &patience, &mut line).await;
        answer.map(|_| ()).map_err(|trouble| trouble.cause)
    }
}

#[async_trait]
impl Provider for Duo {
    fn name(&self) -> &'static str {
        "duo"
    }

    fn ways(&self) -> &[Way] {
        &[Way::Push, Way::Sms, Way::Code]
    }

    async fn ask(&self, question: &Question, way: Way, line: &mut Line) -> Verdict {
        let limit = question.remaining(&self.clock, self.timeout);
        if limit.is_zero() {
            return Verdict::TimedOut;
        }
        let until = Instant::now() + limit;
        let user = question.contact.external.clone().unwrap_or_else(|| question.user.to_string());
        let patience = Patience { until, seed: question.tx.0 };
        let mut asking = Asking { duo: self, question, user, line, patience };
        let verdict = tokio::time::timeout_at(until, asking.run(way)).await;
        match verdict {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(cause)) => Verdict::Failed(cause),
            Err(_) => Verdict::TimedOut,
        }
    }
}
