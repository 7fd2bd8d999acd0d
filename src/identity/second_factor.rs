//! [`KeyProven`] → [`Principal`]: asks the person's phone, or takes their code. Fails closed.
//! Absent on purpose: how a provider rings a phone (that is `factor`, which can make no proof), and SSH's packets.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use super::attempts::{Attempts, whose};
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
    /// The code was wrong, was used before, or there is none to compare it with; the text is for the journal alone.
    #[error("factor-denied: {0}")]
    WrongCode(String),
    /// This key has asked too often in vain.
    #[error("factor-locked: {} s", .0.as_secs())]
    Locked(Duration),
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
    attempts: Arc<Attempts>,
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
        let attempts = Arc::new(Attempts::new(clock.clone()));
        Self { provider, timeout, clock, random, attempts }
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

    /// How much longer this key may not ask, after too many questions in vain.
    pub fn locked(&self, proof: &KeyProven) -> Option<Duration> {
        let (user, key) = whose(proof);
        self.attempts.locked(user, key)
    }

    /// Opens the question for a login: a push begins now. `number` is what the SSH side shows.
    pub fn begin(&self, proof: KeyProven, number: Number) -> Challenge {
        match &self.provider {
            Provider::Push(push) => {
                let question = Question {
                    tx: Tx::new(self.random.draw()),
                    user: proof.user.clone(),
                    firm: proof.user.firm(),
                    key: proof.key.clone(),
                    from: proof.connection.from,
                    session: proof.connection.session,
                    purpose: Purpose::Login,
                    number,
                    expires: Timestamp::MIN,
                };
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
                attempts: self.attempts.clone(),
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
        if let Some(left) = self.attempts.locked(who.user(), who.key()) {
            return Err(NotConfirmed::Locked(left));
        }
        let settled = match (&self.provider, code) {
            (Provider::Push(push), _) => {
                let question = Question {
                    tx: Tx::new(self.random.draw()),
                    user: who.user().clone(),
                    firm: who.firm().clone(),
                    key: who.key().clone(),
                    from: who.connection().from,
                    session: who.connection().session,
                    purpose: Purpose::Command { command: words.to_owned(), site: site.cloned() },
                    number,
                    expires: Timestamp::MIN,
                };
                joined(&mut self.ask(push.clone(), question)).await.and_then(settled)
            }
            (Provider::Code(provider), Some(code)) => {
                checked(provider.as_ref(), &self.attempts, who.user(), who.key(), code, self.clock.now())
                    .await
            }
            (Provider::Code(_), None) => Err(NotConfirmed::Failed("no code was given".into())),
        };
        settled.map(|()| Confirmation { who: who.clone(), purpose: words.to_owned() })
    }

    /// The question runs in a task of its own, so that what waits for it may be polled in rounds. Dropping it hangs up.
    /// A person has one open question at a time: the others wait for their turn, and only then do they begin to expire.
    fn ask(&self, push: Arc<dyn crate::factor::Push>, mut question: Question) -> Asking {
        let (timeout, clock, attempts) = (self.timeout, self.clock.clone(), self.attempts.clone());
        let turn = attempts.turn(&question.user);
        Asking(tokio::spawn(async move {
            let Ok(Ok(_turn)) = tokio::time::timeout(timeout, turn.acquire_owned()).await else {
                return Verdict::TimedOut;
            };
            let (user, key) = (question.user.clone(), question.key.clone());
            if attempts.locked(&user, &key).is_some() {
                return Verdict::TimedOut;
            }
            let span = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::from_secs(60));
            question.expires = clock.now().saturating_add(span).unwrap_or(Timestamp::MAX);
            attempts.asked(&user, &key);
            // A provider keeps its own time; this is the belt to its braces.
            let longest = timeout + Duration::from_secs(5);
            let verdict =
                tokio::time::timeout(longest, push.ask(&question)).await.unwrap_or(Verdict::TimedOut);
            match verdict {
                Verdict::Allowed | Verdict::Failed(_) => attempts.answered(&user, &key),
                Verdict::Denied | Verdict::Fraud | Verdict::TimedOut => {}
            }
            verdict
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

/// Checks a code; whatever is wrong with it looks the same from outside, but for the journal.
async fn checked(
    code: &dyn crate::factor::Code,
    attempts: &Attempts,
    user: &crate::names::Username,
    key: &crate::names::Fingerprint,
    typed: &Secret,
    now: Timestamp,
) -> Result<(), NotConfirmed> {
    if let Some(left) = attempts.locked(user, key) {
        return Err(NotConfirmed::Locked(left));
    }
    attempts.asked(user, key);
    match code.check(user, typed, now).await {
        Verdict::Allowed => {
            attempts.answered(user, key);
            Ok(())
        }
        Verdict::Denied => Err(NotConfirmed::WrongCode("wrong code".into())),
        Verdict::Fraud | Verdict::TimedOut => Err(NotConfirmed::WrongCode("no answer".into())),
        Verdict::Failed(cause) => Err(NotConfirmed::WrongCode(cause.to_string())),
    }
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
    attempts: Arc<Attempts>,
}

impl CodeChallenge {
    /// Checks what was typed.
    pub async fn answer(mut self, code: &Secret) -> Standing {
        self.tries = self.tries.saturating_sub(1);
        let now = self.clock.now();
        let (user, key) = whose(&self.proof);
        match checked(self.code.as_ref(), &self.attempts, user, key, code, now).await {
            Ok(()) => Standing::Confirmed(principal(self.proof, self.code.name(), now)),
            Err(NotConfirmed::WrongCode(_)) if self.tries > 0 => Standing::Open(Challenge::Code(self)),
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
