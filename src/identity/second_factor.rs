//! [`KeyProven`] → [`Principal`]: asks the person's phone, or takes their code. Fails closed.
//! Absent on purpose: how a provider rings a phone (that is `factor`, which can make no proof), and SSH's packets.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use super::{KeyProven, Principal, Who};
use crate::clock::Clock;
use crate::factor::{Number, Provider, Purpose, Question, Tx, Verdict};
use crate::random::Random;
use crate::secret::Secret;

/// Codes that one connection may try.
const TRIES: u8 = 3;

/// Why the second factor was not given. Every one of them is a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConfirmed {
    /// The person said no.
    #[error("factor-denied")]
    Denied,
    /// The person reported a question they had not caused.
    #[error("factor-fraud")]
    Fraud,
    /// Nobody answered.
    #[error("factor-timeout")]
    TimedOut,
    /// The provider failed; the text is for the journal.
    #[error("factor-failed: {0}")]
    Failed(String),
}

/// The second factor as this gateway is set up.
pub struct SecondFactor {
    provider: Provider,
    timeout: Duration,
    clock: Clock,
    random: Random,
}

/// A question that is open, and the proof it will strengthen. The number is what the SSH side shows.
pub enum Challenge {
    /// The phone rings.
    Push(PushChallenge),
    /// A code is to be typed.
    Code(CodeChallenge),
}

/// How a challenge stands.
pub enum Standing {
    /// No answer yet.
    Open(Challenge),
    /// Both factors are proven.
    Confirmed(Principal),
    /// Refused. The proof of the key is gone with it.
    Refused(KeyProven, NotConfirmed),
}

/// The person said yes to this very ask: rules with `confirm = true` want it.
/// Bound to the principal and to the words of the ask; good for one use.
pub struct Confirmation {
    who: Who,
    purpose: String,
}

impl Confirmation {
    /// Was it given by this principal, on this connection, for these words?
    pub fn covers(&self, who: &Who, words: &str) -> bool {
        Arc::ptr_eq(&self.who, who) && self.purpose == words
    }
}

impl SecondFactor {
    /// Asks through `provider`; a question stays open for `timeout`.
    pub fn new(provider: Provider, timeout: Duration, clock: Clock, random: Random) -> Self {
        Self { provider, timeout, clock, random }
    }

    /// The provider's name.
    pub fn name(&self) -> &'static str {
        self.provider.name()
    }

    /// The two digits for a question.
    pub fn number(&self) -> Number {
        Number::new(self.random.draw64())
    }

    /// Can it be answered without a terminal?
    pub fn rings_a_phone(&self) -> bool {
        match &self.provider {
            Provider::Push(_) => true,
            Provider::Code(_) => false,
        }
    }

    /// Opens the question for a login: a push begins now. `number` is what the SSH side shows.
    pub fn begin(&self, proof: KeyProven, number: Number) -> Challenge {
        match &self.provider {
            Provider::Push(push) => {
                let question = self.question(&proof, Purpose::Login, number);
                Challenge::Push(PushChallenge {
                    asking: self.ask(push.clone(), question),
                    proof,
                    name: push.name(),
                    clock: self.clock.clone(),
                })
            }
            Provider::Code(code) => Challenge::Code(CodeChallenge {
                proof,
                code: code.clone(),
                tries: TRIES,
                clock: self.clock.clone(),
            }),
        }
    }

    /// Asks for one ask of somebody who is logged in, naming it. `words` is the ask as it was written.
    /// `code` is what they typed, where codes are the factor.
    pub async fn confirm(
        &self,
        who: &Who,
        words: &str,
        site: Option<&crate::names::SiteName>,
        number: Number,
        code: Option<&Secret>,
    ) -> Result<Confirmation, NotConfirmed> {
        let verdict = match (&self.provider, code) {
            (Provider::Push(push), _) => {
                let purpose = Purpose::Command { command: words.to_owned(), site: site.cloned() };
                let question = Question {
                    tx: Tx::new(self.random.draw()),
                    user: who.user().clone(),
                    firm: who.firm().clone(),
                    key: who.key().clone(),
                    from: who.connection().from,
                    session: who.connection().session,
                    purpose,
                    number,
                    expires: self.expires(),
                };
                joined(&mut self.ask(push.clone(), question)).await?
            }
            (Provider::Code(provider), Some(code)) => {
                provider.check(who.user(), code, self.clock.now()).await
            }
            (Provider::Code(_), None) => return Err(NotConfirmed::Failed("no code was given".into())),
        };
        settled(verdict).map(|()| Confirmation { who: who.clone(), purpose: words.to_owned() })
    }

    fn expires(&self) -> Timestamp {
        let timeout = SignedDuration::try_from(self.timeout).unwrap_or(SignedDuration::from_secs(60));
        self.clock.now().saturating_add(timeout).unwrap_or(Timestamp::MAX)
    }

    fn question(&self, proof: &KeyProven, purpose: Purpose, number: Number) -> Question {
        Question {
            tx: Tx::new(self.random.draw()),
            user: proof.user.clone(),
            firm: proof.user.firm(),
            key: proof.key.clone(),
            from: proof.connection.from,
            session: proof.connection.session,
            purpose,
            number,
            expires: self.expires(),
        }
    }

    /// The question runs in a task of its own, so that what waits for it may be polled in rounds. Dropping it hangs up.
    fn ask(&self, push: Arc<dyn crate::factor::Push>, question: Question) -> Asking {
        let timeout = self.timeout;
        Asking(tokio::spawn(async move {
            // A provider keeps its own time; this is the belt to its braces.
            tokio::time::timeout(timeout + Duration::from_secs(5), push.ask(&question))
                .await
                .unwrap_or(Verdict::TimedOut)
        }))
    }
}

/// A question under way; hung up when dropped.
struct Asking(JoinHandle<Verdict>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A panic in a provider is a refusal.
async fn joined(asking: &mut Asking) -> Result<Verdict, NotConfirmed> {
    (&mut asking.0).await.map_err(|e| {
        NotConfirmed::Failed(if e.is_panic() { "the provider panicked".into() } else { "hung up".into() })
    })
}

fn settled(verdict: Verdict) -> Result<(), NotConfirmed> {
    match verdict {
        Verdict::Allowed => Ok(()),
        Verdict::Denied => Err(NotConfirmed::Denied),
        Verdict::Fraud => Err(NotConfirmed::Fraud),
        Verdict::TimedOut => Err(NotConfirmed::TimedOut),
        Verdict::Failed(cause) => Err(NotConfirmed::Failed(cause.to_string())),
    }
}

/// The phone rings.
pub struct PushChallenge {
    proof: KeyProven,
    asking: Asking,
    name: &'static str,
    clock: Clock,
}

impl PushChallenge {
    /// Waits for the answer, at most this long.
    pub async fn wait(mut self, at_most: Duration) -> Standing {
        match tokio::time::timeout(at_most, joined(&mut self.asking)).await {
            Err(_) => Standing::Open(Challenge::Push(self)),
            Ok(verdict) => match verdict.and_then(settled) {
                Ok(()) => Standing::Confirmed(principal(self.proof, self.name, self.clock.now())),
                Err(why) => Standing::Refused(self.proof, why),
            },
        }
    }

    /// The proof that waits for the phone.
    pub fn proof(&self) -> &KeyProven {
        &self.proof
    }
}

/// A code is to be typed; [`TRIES`] times at most.
pub struct CodeChallenge {
    proof: KeyProven,
    code: Arc<dyn crate::factor::Code>,
    tries: u8,
    clock: Clock,
}

impl CodeChallenge {
    /// Checks what was typed.
    pub async fn answer(mut self, code: &Secret) -> Standing {
        self.tries = self.tries.saturating_sub(1);
        let now = self.clock.now();
        match settled(self.code.check(&self.proof.user, code, now).await) {
            Ok(()) => Standing::Confirmed(principal(self.proof, self.code.name(), now)),
            Err(NotConfirmed::Denied) if self.tries > 0 => Standing::Open(Challenge::Code(self)),
            Err(why) => Standing::Refused(self.proof, why),
        }
    }

    /// The proof that waits for the code.
    pub fn proof(&self) -> &KeyProven {
        &self.proof
    }
}

/// The only place where a [`Principal`] is made.
fn principal(proof: KeyProven, factor: &'static str, since: Timestamp) -> Principal {
    let firm = proof.user.firm();
    Principal { user: proof.user, firm, key: proof.key, connection: proof.connection, factor, since }
}

/// A principal for the tests of modules that only look at one.
#[cfg(test)]
pub(crate) fn for_tests(
    user: crate::names::Username,
    key: crate::names::Fingerprint,
    connection: super::Connection,
) -> Who {
    Arc::new(principal(KeyProven { user, key, connection }, "test", Timestamp::UNIX_EPOCH))
}
