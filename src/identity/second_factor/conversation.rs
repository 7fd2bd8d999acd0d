//! One question from its first word to its verdict: which way, whose turn, one provider, another one if that failed.
//! Absent on purpose: proofs. What comes out is a word for the journal or a refusal; it opens nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::{Fraud, NotConfirmed};
use crate::clock::Clock;
use crate::factor::{Cause, Heard, Line, Prompt, Provider, Providers, Question, Say, Tx, Verdict, Way};
use crate::identity::attempts::{Asker, Attempts};
use crate::names::Source;
use crate::random::Random;

/// Who has to wait longer than this for their turn is told so.
const SOON: Duration = Duration::from_secs(1);
/// Ways that one conversation tries.
const WAYS: usize = 4;

/// What a conversation needs; made for one question, used up by it.
pub(super) struct Conversation {
    pub(super) providers: Providers,
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) attempts: Arc<Attempts>,
    pub(super) alarm: mpsc::Sender<Fraud>,
    /// The question; each way that is tried gets its own name and expiry.
    pub(super) question: Question,
    pub(super) line: Line,
}

/// A provider, and how it is to ask.
type Choice = (Arc<dyn Provider>, Way);

impl Conversation {
    /// Runs to its end: what the journal calls the factor, or why not.
    pub(super) async fn run(mut self) -> Result<String, NotConfirmed> {
        let choices = self.choices();
        let Some((_, usual)) = choices.first().cloned() else {
            return Err(NotConfirmed::Failed(Cause::NotStarted));
        };
        let mut chosen = usual;
        if self.providers.menu && self.line.reach().types && choices.len() > 1 {
            self.line.offer(words(&choices));
            if let Some(other) = self.which(&choices, Prompt::Which).await? {
                chosen = other;
            }
        }
        for _ in 0..WAYS {
            let others: Vec<_> = choices.iter().filter(|(_, c)| !same(c, &chosen)).cloned().collect();
            self.line.offer(words(&others));
            let refused = match self.one(&chosen).await {
                Ok(()) => return Ok(chosen.0.factor(chosen.1)),
                Err(refused) => refused,
            };
            self.line.forget();
            if let Some(word) = self.line.wanted() {
                match find(&others, &word) {
                    Some(other) => chosen = other,
                    None => return Err(refused),
                }
                continue;
            }
            let again = match &refused {
                // Whom the provider itself keeps out is not led around it.
                NotConfirmed::Failed(cause) => !matches!(cause, Cause::NoPlace | Cause::NotAllowed),
                NotConfirmed::TimedOut => true,
                NotConfirmed::Denied
                | NotConfirmed::Fraud
                | NotConfirmed::WrongCode(_)
                | NotConfirmed::Displaced
                | NotConfirmed::Broke(_)
                | NotConfirmed::Locked(_) => false,
            };
            if !again || others.is_empty() || !self.line.reach().types {
                return Err(refused);
            }
            match self.which(&others, Prompt::Instead).await? {
                Some(other) => chosen = other,
                None => return Err(refused),
            }
        }
        Err(NotConfirmed::TimedOut)
    }

    /// All ways with the word of each: the way's own, or the provider's name where that is taken.
    fn choices(&self) -> Vec<(String, Choice)> {
        let mut found: Vec<(String, Choice)> = Vec::new();
        for provider in std::iter::once(&self.providers.first).chain(&self.providers.second) {
            for way in provider.ways() {
                let taken = |word: &str| found.iter().any(|(known, _)| known == word);
                let word = [way.as_str(), provider.name()].into_iter().find(|word| !taken(word));
                if let Some(word) = word {
                    found.push((word.to_owned(), (provider.clone(), *way)));
                }
            }
        }
        found
    }

    /// Which way? `None`: nothing was typed. Digits are a code for the first way that takes one.
    async fn which(
        &mut self,
        choices: &[(String, Choice)],
        prompt: Prompt,
    ) -> Result<Option<Choice>, NotConfirmed> {
        match self.line.hear(prompt).await.map_err(NotConfirmed::Failed)? {
            Heard::Word(word) => Ok(find(choices, &word)),
            Heard::Typed(typed) if typed.reveal().trim().is_empty() => Ok(None),
            Heard::Typed(typed) => {
                let code = choices.iter().find(|(_, (_, way))| *way == Way::Code);
                if code.is_some() {
                    self.line.preset(typed);
                }
                Ok(code.map(|(_, choice)| choice.clone()))
            }
        }
    }

    /// Asks once, one way, when it is this person's turn.
    async fn one(&mut self, (provider, way): &Choice) -> Result<(), NotConfirmed> {
        let question = &mut self.question;
        let asker = Asker {
            user: question.user.clone(),
            key: question.key.clone(),
            source: Source::of(question.from.ip()),
        };
        let locked =
            |attempts: &Attempts| attempts.locked(&asker).map_or(Ok(()), |l| Err(NotConfirmed::Locked(l)));
        locked(&self.attempts)?;
        let lasts = provider.lasts().unwrap_or(self.timeout);
        let turn = async {
            match way {
                Way::Push | Way::Sms => self.attempts.turn(&asker).await,
                Way::Code => self.attempts.prompt(&asker).await,
            }
        };
        tokio::pin!(turn);
        let turn = if let Ok(turn) = tokio::time::timeout(SOON, &mut turn).await {
            Ok(turn)
        } else {
            self.line.say(Say::Waiting).await;
            tokio::time::timeout(lasts, turn).await
        };
        let turn = turn.ok().flatten().ok_or(NotConfirmed::TimedOut)?;
        // Those before may have locked it meanwhile.
        locked(&self.attempts)?;
        let span = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::from_secs(60));
        question.tx = Tx::new(self.random.draw());
        question.expires = self.clock.now().saturating_add(span).unwrap_or(Timestamp::MAX);
        self.line.has_rung();
        let attempt = self.attempts.begin(&asker, *way != Way::Code, self.line.codes());
        // A provider keeps its own time; this is the belt to its braces.
        let longest = lasts + Duration::from_secs(5);
        let verdict = tokio::select! {
            verdict = tokio::time::timeout(longest, provider.ask(question, *way, &mut self.line)) => {
                verdict.unwrap_or(Verdict::TimedOut)
            }
            () = turn.displaced() => return Err(NotConfirmed::Displaced),
        };
        let typed = *way != Way::Push;
        match verdict {
            Verdict::Allowed => {
                attempt.confirmed();
                Ok(())
            }
            Verdict::Denied if typed => Err(NotConfirmed::WrongCode("wrong code".into())),
            Verdict::Failed(cause @ (Cause::Replay | Cause::NoEnrolment | Cause::BadEnrolment)) if typed => {
                Err(NotConfirmed::WrongCode(cause.to_string()))
            }
            Verdict::Denied => Err(NotConfirmed::Denied),
            Verdict::Fraud => {
                let Asker { user, key, source } = asker.clone();
                if self.alarm.try_send(Fraud { user, key, source }).is_err() {
                    tracing::error!(user = %asker.user, "FRAUD reported, and nobody hears the alarm");
                }
                Err(NotConfirmed::Fraud)
            }
            Verdict::TimedOut => Err(NotConfirmed::TimedOut),
            Verdict::Failed(cause) => {
                // Whoever asks for another SMS each time, tries codes and then another way, or makes the provider fail, is
                // asking in vain. A provider that fails has not judged the code that came last.
                let unjudged = usize::from(!matches!(cause, Cause::Switched | Cause::NoPlace));
                attempt.failed(self.line.has_rung(), unjudged);
                Err(NotConfirmed::Failed(cause))
            }
        }
    }
}

fn words(choices: &[(String, Choice)]) -> Vec<String> {
    choices.iter().map(|(word, _)| word.clone()).collect()
}

fn find(choices: &[(String, Choice)], word: &str) -> Option<Choice> {
    choices.iter().find(|(known, _)| known == word).map(|(_, choice)| choice.clone())
}

fn same(a: &Choice, b: &Choice) -> bool {
    Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1
}
