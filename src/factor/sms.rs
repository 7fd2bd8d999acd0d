//! A code by SMS: made for one question, sent once, typed on the connection that it was made for.
//! Absent on purpose: retries (a second request is a second SMS), codes that outlive their question, and a clock of how
//! often a phone may be rung; that is the asker's.

mod gateway;
mod text;

use std::time::Duration;

use async_trait::async_trait;
use subtle::ConstantTimeEq;

pub use gateway::{Bounds, Gateway};

use self::gateway::Sender;
use super::exec::program::BadProgram;
use super::http::BadClient;
use super::{Cause, Line, Prompt, Provider, Question, Say, Verdict, Way};
use crate::clock::Clock;
use crate::names::Phone;
use crate::random::Random;
use crate::secret::Secret;

/// What is asked for, one after the other: three tries.
const PROMPTS: [Prompt; 3] = [Prompt::Code, Prompt::Again, Prompt::Again];

/// How an SMS is sent, and for how long its code counts.
pub struct SmsConfig {
    /// Who sends it.
    pub gateway: Gateway,
    /// `{from}`; empty if there is none.
    pub sender: String,
    /// The user of `{basic}`; empty if there is none.
    pub user: String,
    /// `{secret}`.
    pub secret: Option<Secret>,
    /// How long a code counts.
    pub lasts: Duration,
    /// The language of the SMS: German, else English.
    pub german: bool,
    /// For the gateway to answer.
    pub bounds: Bounds,
}

/// Why SMS cannot be sent as configured.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// No HTTP client.
    #[error("sms: {0}")]
    Client(#[from] BadClient),
    /// No program.
    #[error("sms: {0}")]
    Program(#[from] BadProgram),
}

/// The provider.
pub struct Sms {
    sender: Sender,
    lasts: Duration,
    german: bool,
    clock: Clock,
    random: Random,
}

impl Sms {
    /// Checks the gateway; dials nothing, runs nothing.
    pub fn new(config: SmsConfig, clock: Clock, random: Random) -> Result<Self, SmsError> {
        let SmsConfig { lasts, german, .. } = config;
        Ok(Self { sender: Sender::new(config)?, lasts, german, clock, random })
    }

    async fn converse(&self, question: &Question, phone: &Phone, line: &mut Line) -> Result<Verdict, Cause> {
        let code = Code::new(&self.random);
        let text = text::of(question, code.0.reveal(), self.german);
        line.step(format!("sms: one is sent to {phone} by {}", self.sender.name())).await;
        let sent = self.sender.send(phone, &text, line).await;
        // A gateway that answers too late, or nothing that can be read, may have sent it.
        if matches!(sent, Ok(()) | Err(Cause::TooSlow | Cause::Malformed)) {
            line.rang();
        }
        if let Err(cause) = sent {
            line.step(format!("sms: {cause}")).await;
            return Err(cause);
        }
        line.say(Say::Sent(Some(phone.to_string()))).await;
        for prompt in PROMPTS {
            let typed = line.ask(prompt).await?;
            if question.expires <= self.clock.now() {
                return Ok(Verdict::TimedOut);
            }
            let right = code.is(&typed);
            line.step(if right { "sms: the right code" } else { "sms: a wrong code" }).await;
            if right {
                return Ok(Verdict::Allowed);
            }
        }
        Ok(Verdict::Denied)
    }
}

#[async_trait]
impl Provider for Sms {
    fn name(&self) -> &'static str {
        "sms"
    }

    fn ways(&self) -> &[Way] {
        &[Way::Sms]
    }

    fn lasts(&self) -> Option<Duration> {
        Some(self.lasts)
    }

    async fn ask(&self, question: &Question, _way: Way, line: &mut Line) -> Verdict {
        let limit = question.remaining(&self.clock, self.lasts);
        if limit.is_zero() {
            return Verdict::TimedOut;
        }
        let Some(phone) = &question.contact.phone else { return Verdict::Failed(Cause::NoPhone) };
        // An SMS costs money: none for whom nobody can ask for its code.
        if !line.reach().types {
            return Verdict::Failed(Cause::NoPlace);
        }
        match tokio::time::timeout(limit, self.converse(question, phone, line)).await {
            Ok(verdict) => verdict.unwrap_or_else(Verdict::Failed),
            Err(_) => Verdict::TimedOut,
        }
    }
}

/// Six digits; they end with the question.
struct Code(Secret);

impl Code {
    /// Each of the million is equally likely, to 1 in 2⁴⁴.
    fn new(random: &Random) -> Self {
        Self(Secret::new(format!("{:06}", random.draw64() % 1_000_000)))
    }

    /// Is it what was typed? People leave spaces as they read them. Takes as long for a nearly right one as for any.
    fn is(&self, typed: &Secret) -> bool {
        let typed = Secret::new(typed.reveal().split_whitespace().collect());
        self.0.reveal().as_bytes().ct_eq(typed.reveal().as_bytes()).into()
    }
}
