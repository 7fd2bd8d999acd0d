//! [`KeyProven`] → [`Principal`]: asks the person's phone, or takes their code. Fails closed.
//! Absent on purpose: how a provider rings a phone (that is `factor`, which can make no proof), and SSH's packets.

mod conversation;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::attempts::{Asker, Attempts, USUAL_FOR};
use super::orders::Under;
use super::{Connection, KeyProven, Principal, Who};
use crate::clock::Clock;
use crate::factor::{
    Cause, Directory, Line, Number, Prompt, Purpose, Question, Reach, Said, Say, TheirEnd, Tx, Way,
};
use crate::names::{Fingerprint, SiteName, Source, Username};
use crate::random::Random;
use crate::secret::Secret;
use conversation::Conversation;

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
    /// This key has asked too often in vain from this source.
    #[error("factor-locked: {} s", .0.as_secs())]
    Locked(Duration),
    /// The same person asked from where they have confirmed before; this question gave way.
    #[error("factor-displaced")]
    Displaced,
    /// No answer that counts could be had.
    #[error("factor-failed: {0}")]
    Failed(Cause),
    /// The conversation itself broke; the text is for the journal.
    #[error("factor-failed: {0}")]
    Broke(&'static str),
}

/// The second factor as this gateway is set up. A clone shares what it remembers.
pub struct SecondFactor {
    directory: Arc<dyn Directory>,
    timeout: Duration,
    clock: Clock,
    random: Random,
    attempts: Arc<Attempts>,
    alarm: mpsc::Sender<Fraud>,
}

/// Somebody reported a question that they had not caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fraud {
    /// The person.
    pub user: Username,
    /// The key that caused the question.
    pub key: Fingerprint,
    /// Where it came from.
    pub source: Source,
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
    /// Asks whom `directory` names; a question stays open for `timeout` unless its provider says otherwise.
    /// Reports of fraud go to `alarm` too, wherever the question was asked.
    pub fn new(
        directory: Arc<dyn Directory>,
        timeout: Duration,
        clock: Clock,
        random: Random,
        alarm: mpsc::Sender<Fraud>,
    ) -> Self {
        let attempts = Arc::new(Attempts::new(clock.clone()));
        Self { directory, timeout, clock, random, attempts, alarm }
    }

    /// The same, asking whom another directory names. What was asked in vain is not forgotten.
    #[must_use]
    pub fn changed(&self, directory: Arc<dyn Directory>, timeout: Duration) -> Self {
        let Self { clock, random, attempts, alarm, .. } = self;
        let (clock, random) = (clock.clone(), random.clone());
        Self { directory, timeout, clock, random, attempts: attempts.clone(), alarm: alarm.clone() }
    }

    /// The two digits for a question.
    pub fn number(&self) -> Number {
        Number::new(self.random.draw64())
    }

    /// Can this person answer where nothing can be typed?
    pub fn rings_a_phone(&self, user: &Username) -> bool {
        let providers = self.directory.of(user);
        providers.first.ways().first() == Some(&Way::Push)
    }

    /// How much longer this key may not ask from here, after too many questions in vain.
    pub fn locked(&self, user: &Username, key: &Fingerprint, source: Source) -> Option<Duration> {
        self.attempts.locked(&Asker { user: user.clone(), key: key.clone(), source })
    }

    /// From when on a place where somebody has confirmed is one of theirs: it is not waited for, nor locked, because of what
    /// their key does elsewhere.
    pub fn usual_since(&self) -> Timestamp {
        self.clock.now().checked_sub(USUAL_FOR).unwrap_or(Timestamp::MIN)
    }

    /// The locks since this was asked last, wherever the questions in vain were asked: whose, and when each ends.
    pub fn fresh_locks(&self) -> Vec<(Fingerprint, Source, Timestamp)> {
        let fresh = self.attempts.fresh().into_iter();
        fresh.map(|(asker, until)| (asker.key, asker.source, until)).collect()
    }

    /// Is it time to write down that they confirm from there? It is so once a day for each person, key and source.
    pub fn is_to_be_noted(&self, who: &Principal) -> bool {
        let (user, key) = (who.user().clone(), who.key().clone());
        self.attempts.is_to_be_noted(&Asker { user, key, source: Source::of(who.source()) })
    }

    /// Somebody has confirmed with this key from there, before a restart or at another gateway.
    pub fn remember(&self, user: Username, key: Fingerprint, source: Source, confirmed: Timestamp) {
        self.attempts.remember(Asker { user, key, source }, confirmed);
    }

    /// Lets somebody in who has confirmed work orders with this key from this address: nobody is asked, and nothing but
    /// what the orders name is open without a question.
    pub fn under(&self, proof: KeyProven, under: Under) -> Principal {
        let factor = under.factor();
        Principal { under: Some(under), ..principal(proof, &factor, self.clock.now()) }
    }

    /// Opens the question for a login: a push begins now. `number` is what the SSH side shows.
    pub fn begin(&self, proof: KeyProven, number: Number, reach: Reach) -> Challenge {
        let question = Question {
            tx: Tx::new(0),
            user: proof.user.clone(),
            firm: proof.user.firm(),
            contact: self.directory.of(&proof.user).contact,
            key: proof.key.clone(),
            from: proof.connection.from,
            session: proof.connection.session,
            purpose: Purpose::Login,
            number,
            expires: Timestamp::MIN,
        };
        Challenge { talk: self.talk(question, reach, false), proof, clock: self.clock.clone() }
    }

    /// Asks for one ask of somebody who is logged in, naming it. `words` is the ask as it was written.
    pub fn confirm(
        &self,
        who: &Who,
        words: &str,
        site: Option<&SiteName>,
        number: Number,
        reach: Reach,
    ) -> Confirming {
        let question = Question {
            tx: Tx::new(0),
            user: who.user().clone(),
            firm: who.firm().clone(),
            contact: self.directory.of(who.user()).contact,
            key: who.key().clone(),
            from: who.connection().from,
            session: who.connection().session,
            purpose: Purpose::Command { command: words.to_owned(), site: site.cloned() },
            number,
            expires: Timestamp::MIN,
        };
        Confirming { talk: self.talk(question, reach, false), who: who.clone(), purpose: words.to_owned() }
    }

    /// Asks `user` for real, to see whether it works; no proof comes of it. `words` are what the phone shows.
    pub fn trial(&self, user: &Username, key: &Fingerprint, on: &Connection, words: &str) -> Trial {
        let question = Question {
            tx: Tx::new(0),
            user: user.clone(),
            firm: user.firm(),
            contact: self.directory.of(user).contact,
            key: key.clone(),
            from: on.from,
            session: on.session,
            purpose: Purpose::Command { command: words.to_owned(), site: None },
            number: self.number(),
            expires: Timestamp::MIN,
        };
        Trial { talk: self.talk(question, Reach::ALL, true) }
    }

    /// The conversation runs in a task of its own, so that what waits for it may be polled in rounds. Dropping it hangs up.
    fn talk(&self, question: Question, reach: Reach, traced: bool) -> Talk {
        let (line, TheirEnd { said, answers }) = Line::new(reach, traced);
        let conversation = Conversation {
            providers: self.directory.of(&question.user),
            timeout: self.timeout,
            clock: self.clock.clone(),
            random: self.random.clone(),
            attempts: self.attempts.clone(),
            alarm: self.alarm.clone(),
            question,
            line,
        };
        Talk { running: Running(tokio::spawn(conversation.run())), said, answers, asked: false, over: false }
    }
}

/// What to show next, and whether something has to be typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// To be said, in this order.
    pub says: Vec<Say>,
    /// The provider's steps, where they are looked at.
    pub steps: Vec<String>,
    /// To be answered by the next call; beside it these words may be typed.
    pub prompt: Option<(Prompt, Vec<String>)>,
}

/// A conversation under way; hung up when dropped.
struct Talk {
    running: Running,
    said: mpsc::Receiver<Said>,
    answers: mpsc::Sender<Secret>,
    /// Something has to be typed: only then is an answer one.
    asked: bool,
    /// The verdict is given out; there is no second one.
    over: bool,
}

struct Running(JoinHandle<Result<String, NotConfirmed>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Talk {
    /// Gives `answer` to what was asked last, then waits for what comes next: something to show, or the end.
    /// After `at_most` without either, an empty [`Show`].
    async fn next(
        &mut self,
        answer: Option<Secret>,
        at_most: Duration,
    ) -> Result<Show, Result<String, NotConfirmed>> {
        let mut show = Show::default();
        let asked = std::mem::take(&mut self.asked);
        // What was said since has overtaken the answer: it was to a question that is over.
        if let Ok(said) = self.said.try_recv() {
            show.add(said);
        } else {
            if asked {
                // An answer that nobody asked for is for nobody; no answer is an empty one.
                let answer = answer.unwrap_or_else(|| Secret::new(String::new()));
                self.answers.try_send(answer).ok();
            }
            match tokio::time::timeout(at_most, self.said.recv()).await {
                Err(_) => return Ok(show),
                Ok(Some(said)) => show.add(said),
                Ok(None) => {}
            }
        }
        while show.prompt.is_none() {
            match self.said.try_recv() {
                Ok(said) => show.add(said),
                Err(_) => break,
            }
        }
        if show != Show::default() {
            self.asked = show.prompt.is_some();
            return Ok(show);
        }
        Err(self.end().await)
    }

    /// A panic in a provider is a refusal.
    async fn end(&mut self) -> Result<String, NotConfirmed> {
        if std::mem::replace(&mut self.over, true) {
            return Err(NotConfirmed::Broke("asked after the verdict"));
        }
        (&mut self.running.0).await.unwrap_or_else(|e| {
            let why = if e.is_panic() { "the provider panicked" } else { "hung up" };
            Err(NotConfirmed::Broke(why))
        })
    }
}

impl Show {
    fn add(&mut self, said: Said) {
        match said {
            Said::Say(say) => self.says.push(say),
            Said::Ask(prompt, words) => self.prompt = Some((prompt, words)),
            Said::Step(step) => self.steps.push(step),
        }
    }
}

/// A question that only shows whether a person can be asked.
pub struct Trial {
    talk: Talk,
}

impl Trial {
    /// As [`Challenge::next`]: what comes next, or the verdict with what the journal calls the factor.
    pub async fn next(
        &mut self,
        typed: Option<Secret>,
        at_most: Duration,
    ) -> Result<Show, Result<String, NotConfirmed>> {
        self.talk.next(typed, at_most).await
    }
}

/// A question for a login that is open, and the proof it will strengthen.
pub struct Challenge {
    proof: KeyProven,
    talk: Talk,
    clock: Clock,
}

/// How a challenge stands.
pub enum Standing {
    /// No verdict yet; this is to be shown, and answered if it asks for something.
    Open(Challenge, Show),
    /// Both factors are proven.
    Confirmed(Principal),
    /// Refused. The proof of the key is gone with it.
    Refused(KeyProven, NotConfirmed),
}

impl Challenge {
    /// Gives what was typed, then waits for what comes next, at most this long.
    pub async fn next(mut self, typed: Option<Secret>, at_most: Duration) -> Standing {
        match self.talk.next(typed, at_most).await {
            Ok(show) => Standing::Open(self, show),
            Err(Ok(factor)) => Standing::Confirmed(principal(self.proof, &factor, self.clock.now())),
            Err(Err(why)) => Standing::Refused(self.proof, why),
        }
    }

    /// The proof that waits.
    pub fn proof(&self) -> &KeyProven {
        &self.proof
    }
}

/// A question for one ask that is open.
pub struct Confirming {
    who: Who,
    purpose: String,
    talk: Talk,
}

/// How that question stands.
pub enum Asked {
    /// No verdict yet; this is to be shown, and answered if it asks for something.
    Open(Show),
    /// The person said yes to this very ask.
    Confirmed(Confirmation),
    /// Refused.
    Refused(NotConfirmed),
}

impl Confirming {
    /// Gives what was typed, then waits for what comes next, at most this long. There is one verdict.
    pub async fn next(&mut self, typed: Option<Secret>, at_most: Duration) -> Asked {
        match self.talk.next(typed, at_most).await {
            Ok(show) => Asked::Open(show),
            Err(Ok(_)) => {
                self.who.note_confirmed(&self.purpose);
                Asked::Confirmed(Confirmation { who: self.who.clone(), purpose: self.purpose.clone() })
            }
            Err(Err(why)) => Asked::Refused(why),
        }
    }

    /// Waits for the verdict where nothing can be shown or typed.
    pub async fn settled(mut self) -> Result<Confirmation, NotConfirmed> {
        loop {
            match self.next(None, Duration::from_mins(10)).await {
                Asked::Open(Show { prompt: None, .. }) => {}
                Asked::Open(Show { prompt: Some(_), .. }) => {
                    return Err(NotConfirmed::Failed(Cause::NoPlace));
                }
                Asked::Confirmed(confirmation) => return Ok(confirmation),
                Asked::Refused(why) => return Err(why),
            }
        }
    }
}

/// The only place where a [`Principal`] is made.
fn principal(proof: KeyProven, factor: &str, since: Timestamp) -> Principal {
    let (firm, factor) = (proof.user.firm(), factor.into());
    let KeyProven { user, key, connection } = proof;
    Principal { user, firm, key, connection, factor, since, under: None, confirmed: Mutex::default() }
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

#[cfg(test)]
mod tests;
