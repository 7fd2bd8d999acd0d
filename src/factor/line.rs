//! What passes between a provider and the person who waits: sentences one way, typed answers the other.
//! Absent on purpose: SSH, and the words of any language; who shows it finds the words (`sentences`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::{Cause, Number};
use crate::secret::Secret;

/// Sentences that wait to be shown; a provider has a handful of them.
const QUEUE: usize = 16;
/// The most characters of a provider's own text.
const REMARK: usize = 300;

/// What the person's side can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// A sentence can be shown while the question is open.
    pub shows: bool,
    /// Something can be typed.
    pub types: bool,
    /// The question's own number was shown before it was asked (a banner).
    pub shown: bool,
}

impl Reach {
    /// keyboard-interactive, or a prompt.
    pub const ALL: Self = Self { shows: true, types: true, shown: false };
    /// A held key, or a channel that waits: nothing can be said but before and after.
    pub const NOTHING: Self = Self { shows: false, types: false, shown: false };
}

/// What the person is told while the question is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// The phone shows a number: it must be this one.
    Compare(Number),
    /// The phone asks for a number: this one has to be typed or pressed there. Digits.
    Enter(String),
    /// The phone rings, and there is no number.
    Ringing,
    /// A code is on its way; to which phone, masked, if that is known.
    Sent(Option<String>),
    /// Another question of the same person is open; this one waits for its turn.
    Waiting,
    /// Where to enrol.
    Enrol(String),
    /// The provider's own words: one line, without control characters.
    Remark(String),
}

/// What the person is to type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A code.
    Code,
    /// A code once more: the last one was wrong.
    Again,
    /// Which way; nothing typed means the usual one.
    Which,
    /// The way that was tried failed or nobody answered: another one, or nothing.
    Instead,
}

impl Prompt {
    /// May what is typed be seen?
    #[must_use]
    pub fn echoes(&self) -> bool {
        match self {
            Self::Which | Self::Instead => true,
            Self::Code | Self::Again => false,
        }
    }
}

/// What a provider or a conversation puts on the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// To be shown.
    Say(Say),
    /// To be answered; beside it these words may be typed.
    Ask(Prompt, Vec<String>),
    /// A step, for whoever looks on (`pforte factor test`): free of secrets.
    Step(String),
}

/// What was typed.
pub enum Heard {
    /// A code, or nothing.
    Typed(Secret),
    /// One of the words that were on offer.
    Word(String),
}

/// The provider's end.
pub struct Line {
    out: mpsc::Sender<Said>,
    back: mpsc::Receiver<Secret>,
    reach: Reach,
    words: Vec<String>,
    typed: Option<Secret>,
    wanted: Option<String>,
    codes: Arc<AtomicUsize>,
    rang: bool,
    traced: bool,
}

/// The person's end. Dropping it leaves the provider without anybody to talk to.
pub struct TheirEnd {
    /// What was said, in its order.
    pub said: mpsc::Receiver<Said>,
    /// One answer to each [`Said::Ask`].
    pub answers: mpsc::Sender<Secret>,
}

impl Line {
    /// Both ends of a new line. Steps are only put on it when `traced`.
    #[must_use]
    pub fn new(reach: Reach, traced: bool) -> (Self, TheirEnd) {
        let (out, said) = mpsc::channel(QUEUE);
        let (answers, back) = mpsc::channel(1);
        let line = Self {
            out,
            back,
            reach,
            words: Vec::new(),
            typed: None,
            wanted: None,
            codes: Arc::default(),
            rang: false,
            traced,
        };
        (line, TheirEnd { said, answers })
    }

    /// What can be said and typed.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Words of other ways that may be typed at each prompt from now on.
    pub fn offer(&mut self, words: Vec<String>) {
        self.words = words;
    }

    /// Something was typed before it was asked for: the next prompt takes it.
    pub fn preset(&mut self, typed: Secret) {
        self.typed = Some(typed);
    }

    /// How many codes were typed so far; counts on while the question is open.
    #[must_use]
    pub fn codes(&self) -> Arc<AtomicUsize> {
        self.codes.clone()
    }

    /// The provider has made a phone ring, or sent something: whatever fails from now on, that has happened.
    pub fn rang(&mut self) {
        self.rang = true;
    }

    /// What was typed and not taken is for nobody: it answered another question.
    pub fn forget(&mut self) {
        self.typed = None;
        while self.back.try_recv().is_ok() {}
    }

    /// Has something rung since this was asked last?
    pub fn has_rung(&mut self) -> bool {
        std::mem::take(&mut self.rang)
    }

    /// The word of another way that was typed, if one was.
    pub fn wanted(&mut self) -> Option<String> {
        self.wanted.take()
    }

    /// Shows `say`, where something can be shown.
    pub async fn say(&mut self, say: Say) {
        if self.reach.shows {
            let say = match say {
                Say::Remark(text) => Say::Remark(safe(&text)),
                Say::Enrol(text) => Say::Enrol(safe(&text)),
                other @ (Say::Compare(_) | Say::Enter(_) | Say::Ringing | Say::Sent(_) | Say::Waiting) => {
                    other
                }
            };
            // Whoever has gone hears nothing; the question is dropped with them.
            self.out.send(Said::Say(say)).await.ok();
        }
    }

    /// The number that the phone shows too. Where nothing can be shown it stood in the banner, or nowhere.
    pub async fn compare(&mut self, number: Number) {
        self.say(Say::Compare(number)).await;
    }

    /// The number that the provider wants typed on the phone; without a place to show it, that cannot be.
    pub async fn enter(&mut self, number: &str) -> Result<(), Cause> {
        if !self.reach.shows {
            return Err(Cause::NoPlace);
        }
        self.say(Say::Enter(safe(number))).await;
        Ok(())
    }

    /// Asks for something typed. The word of another way ends the question: [`Cause::Switched`].
    pub async fn ask(&mut self, prompt: Prompt) -> Result<Secret, Cause> {
        match self.hear(prompt).await? {
            Heard::Typed(typed) => Ok(typed),
            Heard::Word(word) => {
                self.wanted = Some(word);
                Err(Cause::Switched)
            }
        }
    }

    /// Asks for something typed, or a word.
    pub async fn hear(&mut self, prompt: Prompt) -> Result<Heard, Cause> {
        let is_a_code = !prompt.echoes();
        let typed = match self.typed.take() {
            Some(typed) => typed,
            None if !self.reach.types => return Err(Cause::NoPlace),
            None => {
                let ask = Said::Ask(prompt, self.words.clone());
                self.out.send(ask).await.map_err(|_| Cause::NoPlace)?;
                self.back.recv().await.ok_or(Cause::NoPlace)?
            }
        };
        let word = typed.reveal().trim();
        let word = self.words.iter().find(|known| known.eq_ignore_ascii_case(word)).cloned();
        if word.is_none() && is_a_code {
            self.codes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(word.map_or_else(|| Heard::Typed(typed), Heard::Word))
    }

    /// A step on the way, free of secrets: to the debug log, and to whoever tests a factor.
    pub async fn step(&mut self, step: impl Into<String> + Send) {
        let step = safe(&step.into());
        tracing::debug!(step, "second factor");
        if self.traced {
            self.out.send(Said::Step(step)).await.ok();
        }
    }
}

/// One line that no terminal obeys.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REMARK).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn what_is_typed_comes_back_and_a_word_on_offer_ends_the_question() {
        let (mut line, mut theirs) = Line::new(Reach::ALL, false);
        line.offer(vec!["sms".into()]);
        theirs.answers.send(secret("123456")).await.unwrap();
        assert_eq!(line.ask(Prompt::Code).await.unwrap().reveal(), "123456");
        assert_eq!(theirs.said.recv().await, Some(Said::Ask(Prompt::Code, vec!["sms".into()])));
        theirs.answers.send(secret(" SMS ")).await.unwrap();
        assert_eq!(line.ask(Prompt::Code).await.err(), Some(Cause::Switched));
        assert_eq!(line.wanted().as_deref(), Some("sms"));
    }

    #[tokio::test]
    async fn where_nothing_can_be_typed_or_shown_nothing_waits() {
        let (mut line, mut theirs) = Line::new(Reach::NOTHING, false);
        assert_eq!(line.ask(Prompt::Code).await.err(), Some(Cause::NoPlace));
        assert_eq!(line.enter("47").await.err(), Some(Cause::NoPlace));
        line.say(Say::Ringing).await;
        assert!(theirs.said.try_recv().is_err());
        line.preset(secret("123456"));
        assert_eq!(line.ask(Prompt::Code).await.unwrap().reveal(), "123456");
        let (mut line, theirs) = Line::new(Reach::ALL, false);
        drop(theirs);
        assert_eq!(line.ask(Prompt::Code).await.err(), Some(Cause::NoPlace), "they have gone");
    }

    #[tokio::test]
    async fn a_providers_words_are_one_line_without_control_characters() {
        let (mut line, mut theirs) = Line::new(Reach::ALL, true);
        line.say(Say::Remark(format!("a\u{1b}[2J\r\nb{}", "x".repeat(900)))).await;
        let Some(Said::Say(Say::Remark(text))) = theirs.said.recv().await else { panic!() };
        assert!(text.starts_with("a [2J  bxxx") && text.chars().count() == REMARK, "{text}");
        line.step("one\ntwo").await;
        assert_eq!(theirs.said.recv().await, Some(Said::Step("one two".into())));
    }
}
