//! The second factor's providers: a question about one login or command goes out, one verdict comes back.
//! Absent on purpose: SSH, policy, the number of tries, and what follows from a verdict; whoever asks decides that.

pub mod callback;
pub mod duo;
pub mod exec;
pub mod http;
mod line;
mod message;
pub mod ntfy;
pub mod phone;
pub mod privacyidea;
mod simple;
pub mod sms;
pub mod totp;
pub mod webhook;
pub(crate) mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use line::{Heard, Line, Prompt, Reach, Said, Say, TheirEnd};
pub use message::{message, message_ascii, message_unnumbered};
pub use simple::{Rings, Typed};

use crate::clock::Clock;
use crate::names::{BadName, Fingerprint, Firm, Phone, SessionId, SiteName, Username};
use crate::secret::Secret;

/// The name of one question: 128 random bits, printed as 32 lower-case hex digits. It is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tx(u128);

impl Tx {
    /// Made from 128 bits that the caller has drawn for this question and no other.
    #[must_use]
    pub fn new(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Tx {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName { what: "tx", form: "32 lower-case hex digits" };
        let hex = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex { u128::from_str_radix(text, 16).map(Self).map_err(|_| bad) } else { Err(bad) }
    }
}

/// The two digits, 10 to 99, that the SSH side shows and the phone repeats, so that a person can tell two questions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u8);

impl Number {
    /// Made from 64 bits that the caller has drawn; each of the 90 numbers is equally likely (to 1 in 2⁵⁷).
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self(u8::try_from(random % 90).map_or(10, |n| n + 10))
    }

    /// The number itself, 10 to 99.
    #[must_use]
    pub fn value(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// What the person is asked to approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Entry to the gateway.
    Login,
    /// One command, named to the person (`confirm = true` in the policy).
    Command {
        /// The command as it was asked for.
        command: String,
        /// The customer it acts on, if it acts on one.
        site: Option<SiteName>,
    },
}

/// One question to one person about one connection.
#[derive(Clone, Debug)]
pub struct Question {
    /// The question's own name.
    pub tx: Tx,
    /// Who is asked; the one whose key was proven.
    pub user: Username,
    /// The firm the person works for.
    pub firm: Firm,
    /// Where the provider reaches the person.
    pub contact: Contact,
    /// The key that was proven.
    pub key: Fingerprint,
    /// Where the connection comes from.
    pub from: SocketAddr,
    /// The connection.
    pub session: SessionId,
    /// What is approved.
    pub purpose: Purpose,
    /// The number that the SSH side shows.
    pub number: Number,
    /// No answer counts from this moment on.
    pub expires: Timestamp,
}

impl Question {
    /// How long an answer may still take: until `expires`, at most `longest`. Zero when it is too late.
    pub(crate) fn remaining(&self, clock: &Clock, longest: Duration) -> Duration {
        let left = self.expires.duration_since(clock.now());
        Duration::try_from(left).map_or(Duration::ZERO, |left| left.min(longest))
    }
}

/// What came of a question. Everything but `Allowed` is a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The person said yes, to this question, in time.
    Allowed,
    /// The person said no, or the code is wrong.
    Denied,
    /// The person said: that is not me.
    Fraud,
    /// Nobody answered in time.
    TimedOut,
    /// No answer that counts could be had.
    Failed(Cause),
}

/// Why no answer could be had. `Display` is for the journal: free of secrets and of text from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The provider's host refused, the name did not resolve, TLS failed, or the connection broke.
    #[error("provider unreachable")]
    Unreachable,
    /// No connection within the time for connecting.
    #[error("provider unreachable: time-out while connecting")]
    TimedOutConnecting,
    /// The answer began and did not end within its time.
    #[error("answer too slow")]
    TooSlow,
    /// An HTTP status that is no answer.
    #[error("provider answered status {0}")]
    Status(u16),
    /// The answer is not what the contract says.
    #[error("answer malformed")]
    Malformed,
    /// The answer's signature is absent or wrong.
    #[error("answer not authenticated")]
    BadSignature,
    /// The answer names another question.
    #[error("answer for another question")]
    WrongTx,
    /// The answer names another person.
    #[error("answer for another person")]
    WrongPerson,
    /// The answer was signed more than 60 s ago or ahead: replayed, or a clock is off.
    #[error("answer too old, or a clock is off")]
    Stale,
    /// The answer is larger than allowed.
    #[error("answer too large")]
    TooLarge,
    /// The provider sent us elsewhere; we do not go.
    #[error("provider redirects")]
    Redirect,
    /// The provider named a status address on another origin than the configured one; we do not go.
    #[error("status address on another origin")]
    ForeignUrl,
    /// The provider wants to answer later, but neither a status address nor a callback is there.
    #[error("no way for a later answer")]
    NoWayBack,
    /// The provider asks for fewer requests, for longer than the question lasts (429).
    #[error("provider asks for fewer requests")]
    Throttled,
    /// The provider refuses our own credentials.
    #[error("provider refuses the gateway's credentials")]
    Credentials,
    /// The provider knows a person of this name, but no device that could confirm; or no person.
    #[error("person not enrolled at the provider")]
    NotEnrolled,
    /// The provider lets the person through without asking them, and the settings do not take that for an answer.
    #[error("provider would let the person through unasked, which the settings do not allow")]
    Bypassed,
    /// The provider does not let this person confirm at all: its own policy, or locked out there.
    #[error("person not allowed by the provider")]
    NotAllowed,
    /// No phone number is on file.
    #[error("no phone number on file")]
    NoPhone,
    /// There is nobody who could type, or see the number that the provider wants matched.
    #[error("no place to type or to show a number")]
    NoPlace,
    /// The person typed the word of another way.
    #[error("another way was chosen")]
    Switched,
    /// The provider itself says that it failed.
    #[error("provider reports an error")]
    ProviderError,
    /// The program could not be started.
    #[error("program not started")]
    NotStarted,
    /// The program ended with a code that is no answer.
    #[error("program ended with exit code {0}")]
    ExitCode(i32),
    /// The program was ended by a signal that was not ours.
    #[error("program killed")]
    Killed,
    /// The program wrote more than allowed.
    #[error("program's output too large")]
    OutputTooLarge,
    /// Too many questions are open already.
    #[error("too many questions at once")]
    Busy,
    /// The person has no code generator on file.
    #[error("not enrolled")]
    NoEnrolment,
    /// The person's enrolment cannot be used: unreadable, readable by others, not base32, or too short.
    #[error("enrolment unusable")]
    BadEnrolment,
    /// The question or the code was used before.
    #[error("used before")]
    Replay,
    /// What was used before could not be stored or read.
    #[error("storage failed")]
    Storage,
}

/// How a person confirms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// The phone rings; there is nothing to type here.
    Push,
    /// A code is sent when the question is asked, and typed here.
    Sms,
    /// A code that the person has or makes themselves is typed here.
    Code,
}

impl Way {
    /// Its word, as it is typed at a prompt: `push`, `sms`, `code`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Sms => "sms",
            Self::Code => "code",
        }
    }
}

/// A second factor: asks a person, and says what came of it.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its kind, as the configuration writes it: "webhook", "duo".
    fn name(&self) -> &'static str;
    /// The ways it knows, its usual one first; at least one.
    fn ways(&self) -> &[Way];
    /// How long its question stays open where that is its own matter (a code by SMS); else the gateway's time-out counts.
    fn lasts(&self) -> Option<Duration> {
        None
    }
    /// What the journal calls it.
    fn factor(&self, way: Way) -> String {
        match self.ways() {
            [_] => self.name().to_owned(),
            _ => format!("{}-{}", self.name(), way.as_str()),
        }
    }
    /// Asks and waits, at most until the question expires. Dropping the future hangs up.
    /// What the person is to see or to type goes over `line`.
    async fn ask(&self, question: &Question, way: Way, line: &mut Line) -> Verdict;
}

/// A provider that has no more to say than its verdict: it rings, and waits.
#[async_trait]
pub trait Push: Send + Sync {
    /// The provider's kind for the journal: "webhook", "exec".
    fn name(&self) -> &'static str;
    /// Asks and waits, at most until the question expires or the provider's own time-out. Dropping the future cancels.
    async fn ask(&self, question: &Question) -> Verdict;
}

/// A provider that checks a code which the person makes.
#[async_trait]
pub trait Code: Send + Sync {
    /// The provider's kind for the journal: "totp".
    fn name(&self) -> &'static str;
    /// Is this the user's code at `now`? A code counts once. How often one may try is the caller's business.
    async fn check(&self, user: &Username, code: &Secret, now: Timestamp) -> Verdict;
}

/// Whom a provider can reach, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The person's name at the provider, if it is another than ours.
    pub external: Option<String>,
    /// The person's phone, for SMS.
    pub phone: Option<Phone>,
}

/// The second factor of one person.
#[derive(Clone)]
pub struct Providers {
    /// Asked unless the person chooses.
    pub first: Arc<dyn Provider>,
    /// May be chosen instead, or after the first one failed.
    pub second: Option<Arc<dyn Provider>>,
    /// Where it reaches the person.
    pub contact: Contact,
    /// Is the person asked which way they want, before anything rings?
    pub menu: bool,
}

/// Who confirms how.
pub trait Directory: Send + Sync {
    /// The second factor of `user`; everybody has one, also who does not exist.
    fn of(&self, user: &Username) -> Providers;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tx_is_32_lower_case_hex_digits() {
        let tx = Tx::new(0xab);
        assert_eq!(tx.to_string(), "000000000000000000000000000000ab");
        assert_eq!(tx.to_string().parse(), Ok(tx));
        for bad in ["", "ab", "000000000000000000000000000000AB", "+00000000000000000000000000000ab"] {
            assert!(bad.parse::<Tx>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_has_two_digits() {
        for random in [0, 1, 89, 90, u64::MAX] {
            assert!((10..=99).contains(&Number::new(random).value()));
        }
    }
}
