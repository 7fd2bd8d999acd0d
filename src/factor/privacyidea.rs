//! privacyIDEA: its push, its codes by SMS and its code generators confirm (validate API of 3.14).
//! Absent on purpose: enrolment, and any trust in `polltransaction`: it is anonymous, only `validate/check` opens.

mod answer;
mod api;
mod signature;

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::webhook::jittered;
use super::{Cause, Line, Prompt, Provider, Question, Say, Verdict, Way};
use crate::clock::Clock;
use crate::secret::Secret;
use answer::{Checked, Status, Triggered};
use api::{Api, Who};

/// The longest pause between two polls, in intervals, when the service does not answer them.
const SLOWEST: u32 = 8;

/// Who the gateway is to the service; only triggering needs it.
pub enum Service {
    /// A long-lived token of an administrator's role.
    Token(Secret),
    /// An administrator who may trigger challenges.
    User(String, Secret),
}

/// What the provider needs to know.
pub struct PrivacyIdeaConfig {
    /// The service's base address.
    pub url: Url,
    /// The realm of all people; the service's default one without it.
    pub realm: Option<String>,
    /// Who the gateway is there.
    pub service: Service,
    /// Certificates that alone are trusted, PEM; the system's without them.
    pub ca_pem: Option<Vec<u8>>,
    /// Where CONNECT goes.
    pub proxy: Option<String>,
    /// The service's public key, PEM: each answer must be signed with it, for our request.
    pub verify_pem: Option<Vec<u8>>,
    /// How long one question may take.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one request may take.
    pub answer_timeout: Duration,
    /// Between two polls.
    pub poll_interval: Duration,
}

impl PrivacyIdeaConfig {
    /// The usual times: 60 s a question, 5 s to connect, 10 s a request, a poll a second.
    #[must_use]
    pub fn new(url: Url, service: Service) -> Self {
        Self {
            url,
            realm: None,
            service,
            ca_pem: None,
            proxy: None,
            verify_pem: None,
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            poll_interval: Duration::from_secs(1),
        }
    }
}

/// Why a provider cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivacyIdeaError {
    /// The connections cannot be set up.
    #[error("privacyidea: {0}")]
    Client(#[from] super::http::BadClient),
    /// The address cannot have paths below it.
    #[error("privacyidea: the url is no base for others")]
    Url,
    /// The key's file holds none that can be used.
    #[error("privacyidea: verify: no RSA public key of 2048 to 8192 bits, PEM")]
    Verify,
}

/// The provider.
pub struct PrivacyIdea {
    api: Api,
    realm: Option<String>,
    timeout: Duration,
    poll_interval: Duration,
    clock: Clock,
}

impl PrivacyIdea {
    /// Makes the connection pool; dials nothing.
    pub fn new(config: PrivacyIdeaConfig, clock: Clock) -> Result<Self, PrivacyIdeaError> {
        let (realm, timeout, poll_interval) = (config.realm.clone(), config.timeout, config.poll_interval);
        Ok(Self { api: Api::new(config)?, realm, timeout, poll_interval, clock })
    }

    /// `late` is the verdict if time runs out.
    async fn run(
        &self,
        question: &Question,
        way: Way,
        line: &mut Line,
        late: &mut Verdict,
    ) -> Result<Verdict, Cause> {
        let who = Who::of(question, self.realm.as_deref());
        match way {
            Way::Push => {
                let challenge = self.trigger(&who, "push", line).await?;
                match &challenge.number {
                    Some(number) => line.enter(number).await?,
                    None => line.say(Say::Ringing).await,
                }
                self.wait(question, &who, &challenge, line, late).await
            }
            Way::Sms => {
                let challenge = self.trigger(&who, "sms", line).await?;
                line.say(Say::Sent(None)).await;
                self.typed(&who, Some(&challenge), line).await
            }
            Way::Code => self.typed(&who, None, line).await,
        }
    }

    /// Once a question: each time a phone rings, or an SMS costs.
    async fn trigger(&self, who: &Who<'_>, kind: &str, line: &mut Line) -> Result<Triggered, Cause> {
        line.step(format!("privacyidea: {kind} is triggered")).await;
        let challenge = self.api.trigger(who, kind).await;
        if matches!(challenge, Ok(_) | Err(Cause::TooSlow)) {
            line.rang();
        }
        let challenge = challenge?;
        let devices = challenge.serials.len();
        line.step(format!("privacyidea: {devices} challenged, transaction {}", challenge.tail())).await;
        Ok(challenge)
    }

    /// Polls until the phone has answered, and asks whether that counts.
    async fn wait(
        &self,
        question: &Question,
        who: &Who<'_>,
        challenge: &Triggered,
        line: &mut Line,
        late: &mut Verdict,
    ) -> Result<Verdict, Cause> {
        let mut patience = 1;
        for tick in 0_u32.. {
            tokio::time::sleep(jittered(self.poll_interval * patience, question, tick)).await;
            match self.api.poll(who, &challenge.transaction).await {
                Ok(Status::Pending) => (patience, *late) = (1, Verdict::TimedOut),
                Ok(Status::Refused) => {
                    line.step("privacyidea: refused on the phone").await;
                    return Ok(Verdict::Denied);
                }
                Ok(Status::Accepted) => break,
                Err(cause) if passes(cause) => {
                    line.step(format!("privacyidea: poll: {cause}")).await;
                    *late = Verdict::Failed(cause);
                    patience = (patience * 2).min(SLOWEST);
                }
                Err(cause) => return Err(cause),
            }
        }
        line.step("privacyidea: accepted on the phone; does it count?").await;
        *late = Verdict::TimedOut;
        match self.api.check(who, "", Some(&challenge.transaction)).await? {
            Checked::Accepted(serial) => challenge.holds(serial.as_deref()).map(|()| Verdict::Allowed),
            // Somebody else has used it up, or the poll was not the service's own.
            Checked::Refused | Checked::Challenged => Err(Cause::ProviderError),
        }
    }

    /// A code for `challenge`, or of any generator of the person; three tries.
    async fn typed(
        &self,
        who: &Who<'_>,
        challenge: Option<&Triggered>,
        line: &mut Line,
    ) -> Result<Verdict, Cause> {
        for prompt in [Prompt::Code, Prompt::Again, Prompt::Again] {
            let code = line.ask(prompt).await?;
            let code = code.reveal().trim();
            // Without a code the service would take it for an empty PIN, and ring whatever has one.
            if code.is_empty() {
                continue;
            }
            let checked = self.api.check(who, code, challenge.map(|c| c.transaction.as_str())).await?;
            line.step("privacyidea: a code was checked").await;
            match (checked, challenge) {
                (Checked::Accepted(serial), Some(challenge)) => {
                    return challenge.holds(serial.as_deref()).map(|()| Verdict::Allowed);
                }
                (Checked::Accepted(Some(_)), None) => return Ok(Verdict::Allowed),
                // A policy lets people without a token pass (passOnNoToken, passthru): that is no second factor.
                (Checked::Accepted(None), None) => return Err(Cause::NotEnrolled),
                // It was a PIN, and something rings now. Once is enough.
                (Checked::Challenged, _) => return Ok(Verdict::Denied),
                (Checked::Refused, _) => {}
            }
        }
        Ok(Verdict::Denied)
    }
}

#[async_trait]
impl Provider for PrivacyIdea {
    fn name(&self) -> &'static str {
        "privacyidea"
    }

    fn ways(&self) -> &[Way] {
        &[Way::Push, Way::Sms, Way::Code]
    }

    async fn ask(&self, question: &Question, way: Way, line: &mut Line) -> Verdict {
        let limit = question.remaining(&self.clock, self.timeout);
        if limit.is_zero() {
            return Verdict::TimedOut;
        }
        let mut late = Verdict::TimedOut;
        let verdict = tokio::time::timeout(limit, self.run(question, way, line, &mut late)).await;
        verdict.map_or(late, |verdict| verdict.unwrap_or_else(Verdict::Failed))
    }
}

/// May the next poll go better?
fn passes(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Unreachable
            | Cause::TimedOutConnecting
            | Cause::TooSlow
            | Cause::Throttled
            | Cause::Status(500..)
    )
}
