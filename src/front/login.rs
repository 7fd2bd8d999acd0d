//! The way in: a state that each answer takes out, and only a stronger proof puts back.
//! Absent on purpose: what happens inside. A connection that is not in has nothing to ask for.
//!
//! russh holds neither the order of the factors nor their binding to one user (CVE-2026-46705 in its own past): a client
//! may call any method at any time, as anybody. So nothing here is remembered but what [`State`] holds, and a step that
//! does not follow from it ends the login.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use russh::Disconnect;
use russh::server::{PublicKeyOffer, VerifiedPublicKey};
use tokio::time::Instant;

use super::Front;
use super::connection::{Phase, Shared, Trail};
use super::limits::Offence;
use crate::config::{Batch, Language};
use crate::factor::{Number, Reach};
use crate::identity::second_factor::{Challenge, NotConfirmed, SecondFactor, Show, Standing};
use crate::identity::{KeyProven, Principal, Who};
use crate::names::{Fingerprint, Source, Username};
use crate::secret::Secret;
use crate::sentences;
use crate::sentences::ascii;

/// What the client is told next.
pub enum Answer {
    /// No; the same in words and time for every reason.
    No,
    /// The key is proven; keyboard-interactive is next (RFC 4252 §5.1, partial success).
    KeyProven,
    /// RFC 4256 §3.2 `INFO_REQUEST`: a text, and a prompt where something is to be typed, with whether that may be seen.
    Show(String, Option<(String, bool)>),
    /// In.
    In,
    /// Nothing more: DISCONNECT is on its way.
    Over,
}

enum State {
    Stranger,
    KeyProven(KeyProven),
    /// The key is proven, and barred from here: the sentence is said where russh can say one.
    Barred(Username, &'static str, String),
    Asked(Challenge),
    In(Who),
    Over,
}

/// Unsigned offers of registered keys that no signature followed: bad signatures look like this from here (R34).
const UNFOLLOWED: usize = 3;
/// Every refusal takes this long.
const REFUSAL: Duration = Duration::from_millis(50);
/// A client is sent an empty `INFO_REQUEST` this often, and so known to live.
const ROUND: Duration = Duration::from_secs(8);

/// One connection's login.
pub struct Login {
    front: Arc<Front>,
    shared: Arc<Shared>,
    factor: Arc<SecondFactor>,
    number: Number,
    state: State,
    offers: usize,
    unfollowed: usize,
}

impl Login {
    /// A stranger's.
    pub fn new(front: Arc<Front>, shared: Arc<Shared>) -> Self {
        let factor = front.factor.load_full();
        let number = factor.number();
        Self { front, shared, factor, number, state: State::Stranger, offers: 0, unfollowed: 0 }
    }

    /// The key exchange is done, authentication begins. A number for the banner, where keys are held.
    pub fn begin(&mut self) -> Option<String> {
        self.shared.enter_phase(Phase::Key);
        (self.front.gate.holds_keys() || self.front.people.load().values().any(|p| p.batch == Batch::HoldKey))
            .then(|| match self.front.language {
                Language::English => format!("Number for the confirmation: {}\r\n", self.number),
                Language::German => format!("Zahl zur Bestaetigung: {}\r\n", self.number),
            })
    }

    /// Who is in, if somebody is.
    pub fn who(&self) -> Option<&Who> {
        match &self.state {
            State::In(who) => Some(who),
            State::Stranger | State::KeyProven(_) | State::Barred(..) | State::Asked(_) | State::Over => None,
        }
    }

    fn source(&self) -> Source {
        self.shared.place.source()
    }

    fn from(&self) -> SocketAddr {
        self.shared.connection.from
    }

    /// Takes the state out; what is not put back is over.
    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    /// `none`, `password` and all that is not ours.
    pub async fn other(&mut self, user: &str, method: &'static str) -> Answer {
        let since = Instant::now();
        let harmless = method == "none";
        match self.take() {
            State::Stranger => self.state = State::Stranger,
            State::KeyProven(_) | State::Barred(..) | State::Asked(_) | State::In(_) | State::Over => {
                return self.over("method-out-of-order", "out of order").await;
            }
        }
        if harmless {
            return Answer::No;
        }
        self.note(user.parse().ok(), user, None, method, Offence::Failed);
        alike(since).await
    }

    /// A key without, or before, its signature. Nothing is remembered of it but that it came (R1, R31, R56).
    pub async fn offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Answer {
        let since = Instant::now();
        self.offers += 1;
        self.unfollowed += 1;
        match self.take() {
            // A proof that was not used is given up: the client begins anew.
            State::Stranger | State::KeyProven(_) | State::Barred(..) => self.state = State::Stranger,
            State::Asked(_) | State::In(_) | State::Over => {
                return self.over("method-out-of-order", "out of order").await;
            }
        }
        if self.offers > self.front.keeper.limits().key_probes || self.unfollowed > UNFOLLOWED {
            return self.over("too-many-keys", "too many keys").await;
        }
        let fingerprint = super::fingerprint(offer.public_key);
        let Ok(name) = user.parse::<Username>() else {
            self.unfollowed -= 1;
            self.note(None, user, fingerprint, "bad-name", Offence::UnknownUser);
            return alike(since).await;
        };
        let keys = self.front.keys.load();
        match keys.would_prove(&name, &offer, self.from().ip(), self.front.clock.now()) {
            Ok(()) => {
                self.note(Some(name), user, fingerprint, "signature", Offence::Failed);
                Answer::In
            }
            Err(why) => {
                self.unfollowed -= 1;
                let offence = if why == crate::identity::keys::NoKey::UnknownUser {
                    Offence::UnknownUser
                } else {
                    Offence::Failed
                };
                self.note(Some(name), user, fingerprint, &why.to_string(), offence);
                alike(since).await
            }
        }
    }

    /// russh has verified the signature over this connection's session identifier.
    pub async fn signed(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Answer {
        let since = Instant::now();
        self.unfollowed = 0;
        match self.take() {
            State::Stranger | State::KeyProven(_) | State::Barred(..) => self.state = State::Stranger,
            State::Asked(_) | State::In(_) | State::Over => {
                return self.over("method-out-of-order", "out of order").await;
            }
        }
        let Ok(name) = user.parse::<Username>() else {
            self.note(None, user, None, "bad-name", Offence::UnknownUser);
            return alike(since).await;
        };
        let now = self.front.clock.now();
        let proven = self.front.keys.load().prove(&name, &key, self.shared.connection.clone(), now);
        let proof = match proven {
            Ok(proof) => proof,
            Err(why) => {
                self.note(
                    Some(name),
                    user,
                    super::fingerprint(key.public_key),
                    &why.to_string(),
                    Offence::Failed,
                );
                return alike(since).await;
            }
        };
        // A client that cannot be asked (BatchMode) leaves here: no sin, only no login.
        self.note_proven(&proof, "no-second-factor", Offence::NoTry);
        if let Some((left, reason)) = self.front.keeper.barred(self.source(), proof.key()) {
            let text = match self.front.language {
                Language::English => format!(
                    "Barred from here for {} s ({reason}). Other people and addresses are not.",
                    left.as_secs()
                ),
                Language::German => {
                    format!(
                        "Von hier noch {} s gesperrt ({reason}). Andere Personen und Adressen nicht.",
                        left.as_secs()
                    )
                }
            };
            // A FAILURE to this request would send OpenSSH away before it hears why: keyboard-interactive says it.
            self.note_proven(&proof, "barred", Offence::Counted);
            self.state = State::Barred(name, "barred", text);
            return Answer::KeyProven;
        }
        if let Some(under) = self.front.works.orders.covering(&proof) {
            let principal = self.factor.under(proof, under);
            return self.enter(principal).await;
        }
        if let Some(left) = self.factor.locked(&name, proof.key(), self.source()) {
            let text = sentences::not_confirmed(&NotConfirmed::Locked(left), self.front.language);
            self.note_proven(&proof, "factor-locked", Offence::Counted);
            self.state = State::Barred(name, "factor-locked", text);
            return Answer::KeyProven;
        }
        self.shared.enter_phase(Phase::Factor);
        let held = self.front.people.load().get(&name).is_some_and(|p| p.batch == Batch::HoldKey)
            || self.front.gate.holds_key(&name);
        if held && self.factor.rings_a_phone(&name) {
            return self.hold(proof).await;
        }
        self.state = State::KeyProven(proof);
        Answer::KeyProven
    }

    /// `batch = "hold-key"`: the signed request is answered when the phone has answered.
    async fn hold(&mut self, proof: KeyProven) -> Answer {
        self.note_proven(&proof, "no-answer", Offence::Counted);
        let reach = Reach { shown: true, ..Reach::NOTHING };
        let mut challenge = self.factor.begin(proof, self.number, reach);
        let line = self.shared.line.clone();
        let settled = async {
            loop {
                match challenge.next(None, ROUND).await {
                    Standing::Open(still, _) => challenge = still,
                    settled @ (Standing::Confirmed(_) | Standing::Refused(..)) => return settled,
                }
            }
        };
        let settled = tokio::select! {
            settled = settled => settled,
            // Whoever asked has gone: the phone stops ringing.
            () = line.gone() => return self.over("client-gone", "gone").await,
        };
        self.settle(settled).await
    }

    /// keyboard-interactive: its beginning (`None`), or the answers to the last request.
    pub async fn interactive(&mut self, user: &str, answers: Option<Vec<Secret>>) -> Answer {
        let since = Instant::now();
        match (self.take(), answers) {
            (State::KeyProven(proof), None) if proof.user().as_str() == user => {
                // The phone begins to ring when the request is sent, not when the client has read it; who goes now has
                // rung it in vain.
                self.note_proven(&proof, "no-answer", Offence::Counted);
                let challenge = self.factor.begin(proof, self.number, Reach::ALL);
                let standing = challenge.next(None, ROUND).await;
                self.settle(standing).await
            }
            (State::Asked(challenge), Some(answers)) if challenge.proof().user().as_str() == user => {
                let standing = challenge.next(answers.into_iter().next(), ROUND).await;
                self.settle(standing).await
            }
            (State::Stranger, None) => {
                self.state = State::Stranger;
                self.note(user.parse().ok(), user, None, "keyboard-interactive-first", Offence::Failed);
                alike(since).await
            }
            (State::Barred(name, cause, text), None) if name.as_str() == user => {
                self.over(cause, &text).await
            }
            // Another name than the key's, an answer to nothing, a question within a question.
            (
                State::Stranger
                | State::KeyProven(_)
                | State::Barred(..)
                | State::Asked(_)
                | State::In(_)
                | State::Over,
                _,
            ) => self.over("method-out-of-order", "out of order").await,
        }
    }

    async fn settle(&mut self, standing: Standing) -> Answer {
        match standing {
            Standing::Open(challenge, show) => {
                self.state = State::Asked(challenge);
                let Show { says, prompt, .. } = show;
                let language = self.front.language;
                let text: String = says.iter().map(|say| sentences::said(say, language) + "\n").collect();
                let prompt = prompt
                    .map(|(prompt, words)| (sentences::prompt(&prompt, &words, language), prompt.echoes()));
                Answer::Show(ascii(&text), prompt)
            }
            Standing::Confirmed(principal) => {
                self.front.remember_place(&principal).await;
                self.enter(principal).await
            }
            Standing::Refused(proof, why) => self.refused(&proof, why).await,
        }
    }

    async fn refused(&mut self, proof: &KeyProven, why: NotConfirmed) -> Answer {
        match why {
            NotConfirmed::Fraud => self.front.fraud(proof.user(), proof.key()),
            // What was in vain is counted where it was asked; a lock that came of it outlasts a restart.
            NotConfirmed::Denied | NotConfirmed::TimedOut | NotConfirmed::WrongCode(_) => {
                self.front.remember_locks();
            }
            NotConfirmed::Failed(_)
            | NotConfirmed::Broke(_)
            | NotConfirmed::Displaced
            | NotConfirmed::Locked(_) => {}
        }
        self.trail().offence = Some(Offence::Counted);
        let text = sentences::not_confirmed(&why, self.front.language);
        self.over(&why.to_string(), &text).await
    }

    /// Both factors are proven: a place of one's own, a line in the journal, then in.
    async fn enter(&mut self, principal: Principal) -> Answer {
        let who = Who::new(principal);
        // The phone took its time: the key's conditions hold now too, not only when it signed (R57).
        let holds = self.front.keys.load().holds(who.user(), who.key(), who.source(), self.front.clock.now());
        if let Err(why) = holds {
            let text = match self.front.language {
                Language::English => "Your key is no longer valid here.",
                Language::German => "Ihr Schluessel gilt hier nicht mehr.",
            };
            return self.over(&why.to_string(), text).await;
        }
        if self.shared.place.proven(who.user()).is_err() {
            let text = match self.front.language {
                Language::English => "You have too many connections open. Close some.",
                Language::German => "Sie haben zu viele Verbindungen offen. Schliessen Sie einige.",
            };
            return self.over("user-full", text).await;
        }
        self.front.enter(&who, &self.shared).await;
        self.shared.enter_phase(Phase::In);
        self.state = State::In(who);
        Answer::In
    }

    fn trail(&self) -> MutexGuard<'_, Trail> {
        self.shared.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers why, for the one line that a failed login leaves. The key may be anybody's: it has not signed.
    fn note(
        &self,
        user: Option<Username>,
        claimed: &str,
        key: Option<Fingerprint>,
        cause: &str,
        offence: Offence,
    ) {
        let mut trail = self.trail();
        trail.claimed = if user.is_none() { Some(claimed.as_bytes().to_vec()) } else { None };
        trail.user = user;
        trail.key = key;
        trail.cause = Some(cause.to_owned());
        trail.offence = Some(offence);
        trail.verified = false;
    }

    /// The same of a key that has signed.
    fn note_proven(&self, proof: &KeyProven, cause: &str, offence: Offence) {
        self.note(Some(proof.user().clone()), "", Some(proof.key().clone()), cause, offence);
        self.trail().verified = true;
    }

    /// Writes the refusal down, then says good-bye with a reason: DISCONNECT 14, and no FAILURE with methods, on which
    /// OpenSSH would begin anew and ring twice more. A second time there is nothing to say.
    async fn over(&mut self, cause: &str, text: &str) -> Answer {
        self.state = State::Over;
        let line = {
            let mut trail = self.trail();
            if std::mem::replace(&mut trail.over, true) {
                return Answer::Over;
            }
            trail.cause = Some(cause.to_owned());
            // A stranger's line is written at the connection's end, where there is a limit to them.
            trail.verified.then(|| {
                trail.written = true;
                trail.line(&self.shared.connection)
            })
        };
        if let Some(line) = line
            && let Err(e) = self.front.journal.append(line).await
        {
            tracing::error!("a refusal could not be journalled: {e}");
        }
        self.shared.goodbye(Disconnect::NoMoreAuthMethodsAvailable, ascii(text));
        Answer::Over
    }
}

/// Every refusal alike: nobody learns from the clock which check it was (R89).
async fn alike(since: Instant) -> Answer {
    tokio::time::sleep_until(since + REFUSAL).await;
    Answer::No
}
