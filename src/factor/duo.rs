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
mod signature;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Url};
use tokio::time::Instant;

pub use signature::Signature;

use self::answer::{Preauth, Progress, Stands};
use self::api::{Api, Call, Head, Once, Patience};
use self::signature::{Params, Signer, encode};
use super::http::{self, BadClient};
use super::message::shown;
use super::{Cause, Line, Prompt, Provider, Purpose, Question, Reach, Say, Verdict, Way};
use crate::clock::Clock;
use crate::names::HostPort;
use crate::secret::Secret;

/// Codes that one question may try.
const TRIES: usize = 3;
/// Polls that one question may cost.
const POLLS: u32 = 20;
/// The least time between two polls that say the same: Duo holds each, another one may not.
const POLL_EVERY: Duration = Duration::from_secs(1);

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

/// One question on its way.
struct Asking<'a> {
    duo: &'a Duo,
    question: &'a Question,
    /// The person's name at Duo.
    user: String,
    line: &'a mut Line,
    patience: Patience,
}

impl Asking<'_> {
    async fn run(&mut self, way: Way) -> Result<Verdict, Cause> {
        if way == Way::Sms && !self.line.reach().types {
            return Err(Cause::NoPlace);
        }
        let preauth = self.preauth(way).await?;
        self.line.step(format!("duo: preauth says {}", preauth.result)).await;
        match preauth.result.as_str() {
            "auth" => {}
            "allow" => return self.passed_unasked(),
            "deny" => {
                self.remark(preauth.status_msg).await;
                return Ok(Verdict::Denied);
            }
            "enroll" => {
                let portal = preauth.enroll_portal_url.filter(|url| url.starts_with("https://"));
                if let Some(url) = portal {
                    self.line.say(Say::Enrol(url)).await;
                }
                return Err(Cause::NotEnrolled);
            }
            _ => return Err(Cause::Malformed),
        }
        match way {
            Way::Push => self.push(&preauth).await,
            Way::Sms => self.sms(&preauth).await,
            Way::Code => self.codes().await,
        }
    }

    /// May this person confirm?
    async fn preauth(&mut self, way: Way) -> Result<Preauth, Cause> {
        let mut params = self.person();
        if way == Way::Push && self.line.reach().shows {
            params = params.with("client_supports_verified_push", "1");
        }
        self.post("/auth/v2/preauth", params, Once::MayRepeat).await
    }

    async fn push(&mut self, preauth: &Preauth) -> Result<Verdict, Cause> {
        self.has(preauth, "push")?;
        let verified = preauth.verified()?;
        match &verified {
            Some((code, _)) => self.line.enter(code).await?,
            None => self.line.compare(self.question.number).await,
        }
        let kind = match self.question.purpose {
            Purpose::Login => "Login",
            Purpose::Command { .. } => "Command",
        };
        let params = Params::default()
            .with("device", self.duo.device.as_str())
            .with("type", kind)
            .with("pushinfo", pushinfo(self.question))
            .with_some("txid", verified.map(|(_, txid)| txid));
        let (stands, message) = self.auth("push", params).await?;
        self.verdict(stands, message).await
    }

    async fn sms(&mut self, preauth: &Preauth) -> Result<Verdict, Cause> {
        self.has(preauth, "sms")?;
        let params = Params::default().with("device", self.duo.device.as_str());
        match self.auth("sms", params).await? {
            (Stands::Sent, _) => {}
            // Nobody has typed anything yet.
            (Stands::Allowed, _) => return Err(Cause::Malformed),
            (other, message) => return self.verdict(other, message).await,
        }
        let to = self.only_phone(preauth);
        self.line.say(Say::Sent(to)).await;
        self.codes().await
    }

    /// Takes codes until one is right, three at most.
    async fn codes(&mut self) -> Result<Verdict, Cause> {
        for prompt in [Prompt::Code, Prompt::Again, Prompt::Again].into_iter().take(TRIES) {
            let code = self.line.ask(prompt).await?;
            let code = code.reveal().trim();
            // Duo has codes of digits and of letters; what is no code is not sent there.
            if !(1..=64).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
                self.line.step("duo: what was typed is no code").await;
                continue;
            }
            let (stands, message) = self.auth("passcode", Params::default().with("passcode", code)).await?;
            if stands != Stands::Denied {
                return self.verdict(stands, message).await;
            }
        }
        Ok(Verdict::Denied)
    }

    async fn verdict(&mut self, stands: Stands, message: Option<String>) -> Result<Verdict, Cause> {
        match stands {
            Stands::Allowed => Ok(Verdict::Allowed),
            Stands::Bypassed => self.passed_unasked(),
            Stands::Denied => Ok(Verdict::Denied),
            Stands::LockedOut => {
                self.remark(message).await;
                Ok(Verdict::Denied)
            }
            Stands::Fraud => Ok(Verdict::Fraud),
            Stands::TimedOut => Ok(Verdict::TimedOut),
            // A code was sent that nobody asked for, or Duo still waits.
            Stands::Sent | Stands::Waiting => Err(Cause::Malformed),
        }
    }

    fn passed_unasked(&self) -> Result<Verdict, Cause> {
        if self.duo.bypass { Ok(Verdict::Allowed) } else { Err(Cause::Bypassed) }
    }

    /// Opens a transaction, once, and waits until it is decided.
    async fn auth(
        &mut self,
        factor: &'static str,
        params: Params,
    ) -> Result<(Stands, Option<String>), Cause> {
        let params = self.person_too(params).with("factor", factor).with("async", "1");
        let opened: Progress = self.post("/auth/v2/auth", params, Once::Only).await?;
        self.line.step(format!("duo: {factor} is under way")).await;
        match opened.opened()? {
            Some(txid) => self.decided(txid).await,
            // It was decided at once.
            None => Ok((self.stands(&opened, None).await?, opened.status_msg)),
        }
    }

    async fn decided(&mut self, txid: &str) -> Result<(Stands, Option<String>), Cause> {
        let mut last = None;
        for _ in 0..POLLS {
            let begun = Instant::now();
            let poll = Call {
                method: Method::GET,
                path: "/auth/v2/auth_status",
                params: Params::default().with("txid", txid),
                head: Head::Held,
            };
            let answer = self.duo.api.call::<Progress>(&poll, Once::MayRepeat, &self.patience, self.line);
            let status = match answer.await {
                Ok(progress) => match self.stands(&progress, Some(txid)).await? {
                    Stands::Waiting => progress.status,
                    decided => return Ok((decided, progress.status_msg)),
                },
                Err(trouble) if trouble.is_long_poll_over() => last.clone().flatten(),
                Err(trouble) => return Err(trouble.cause),
            };
            if last.replace(status.clone()) == Some(status) {
                tokio::time::sleep_until(begun + POLL_EVERY).await;
            }
        }
        Ok((Stands::TimedOut, None))
    }

    async fn stands(&mut self, progress: &Progress, txid: Option<&str>) -> Result<Stands, Cause> {
        if let (Some(asked), Some(named)) = (txid, progress.txid.as_deref())
            && asked != named
        {
            return Err(Cause::WrongTx);
        }
        if progress.username.as_ref().is_some_and(|name| name.to_lowercase() != self.user.to_lowercase()) {
            return Err(Cause::WrongPerson);
        }
        let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".into());
        self.line.step(format!("duo: {}, {}", part(&progress.result), part(&progress.status))).await;
        progress.stands()
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &'static str,
        params: Params,
        once: Once,
    ) -> Result<T, Cause> {
        let call = Call { method: Method::POST, path, params, head: Head::AtOnce };
        let answer = self.duo.api.call(&call, once, &self.patience, self.line).await;
        answer.map_err(|trouble| trouble.cause)
    }

    /// Who is asked, from where.
    fn person(&self) -> Params {
        self.person_too(Params::default())
    }

    fn person_too(&self, params: Params) -> Params {
        let ip = self.question.from.ip().to_canonical();
        // Duo documents this field as a dotted quad.
        params.with("username", self.user.as_str()).with_some("ipaddr", ip.is_ipv4().then(|| ip.to_string()))
    }

    /// The devices that may be used.
    fn usable<'p>(&self, preauth: &'p Preauth) -> impl Iterator<Item = &'p answer::Device> {
        let wanted = (self.duo.device != "auto").then(|| self.duo.device.clone());
        let devices = preauth.devices.iter().flatten();
        devices.filter(move |device| wanted.is_none() || device.device == wanted)
    }

    /// Is there a device that can? Where Duo lists none at all, Duo has to know.
    fn has(&self, preauth: &Preauth, what: &str) -> Result<(), Cause> {
        let none_listed = preauth.devices.as_ref().is_none_or(Vec::is_empty);
        if none_listed || self.usable(preauth).any(|device| device.can(what)) {
            Ok(())
        } else {
            Err(Cause::NotEnrolled)
        }
    }

    /// The end of the number that a code goes to, where it can go to one phone alone.
    fn only_phone(&self, preauth: &Preauth) -> Option<String> {
        let mut able = self.usable(preauth).filter(|device| device.can("sms"));
        match (able.next(), able.next()) {
            (Some(only), None) => only.masked(),
            _ => None,
        }
    }

    async fn remark(&mut self, message: Option<String>) {
        if let Some(message) = message.filter(|message| !message.trim().is_empty()) {
            self.line.say(Say::Remark(message)).await;
        }
    }
}

/// What the phone shows beside Duo's own words: `Key=value&…`, itself a value that is encoded again.
fn pushinfo(question: &Question) -> String {
    let mut lines = vec![("Number", question.number.to_string()), ("Firm", question.firm.to_string())];
    if let Purpose::Command { command, site } = &question.purpose {
        lines.extend(site.as_ref().map(|site| ("Site", site.to_string())));
        lines.push(("Command", shown(command)));
    }
    lines.push(("From", question.from.ip().to_canonical().to_string()));
    let lines: Vec<String> =
        lines.into_iter().map(|(key, value)| format!("{key}={}", encode(&value))).collect();
    lines.join("&")
}
