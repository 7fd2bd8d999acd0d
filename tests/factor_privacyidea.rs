//! privacyIDEA, the real one: who answered opens, and nobody else, whatever is said in between.
//! Absent on purpose: a service that breaks (`factor_privacyidea_faults.rs`), and SSH (`door_privacyidea.rs`).

use crate::factor_common;
use crate::privacyidea;

use std::sync::Arc;
use std::time::Duration;

use factor_common::question;
use jiff::Timestamp;
use pforte::clock::Clock;
use pforte::factor::privacyidea::{PrivacyIdea, PrivacyIdeaConfig, Service};
use pforte::factor::{Cause, Contact, Line, Prompt, Provider, Reach, Said, Say, TheirEnd, Verdict, Way};
use pforte::secret::Secret;
use privacyidea::{Between, Meddle, NUMBER, PASSWORD, People, REALM, SERVICE, TOTP, Town};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A question on its way.
struct Asked {
    verdict: JoinHandle<Verdict>,
    theirs: TheirEnd,
}

impl Asked {
    fn new(config: PrivacyIdeaConfig, user: &str, way: Way, seconds: i64) -> Self {
        Self::where_reaches(config, user, way, seconds, Reach::ALL)
    }

    fn where_reaches(config: PrivacyIdeaConfig, user: &str, way: Way, seconds: i64, reach: Reach) -> Self {
        let provider = Arc::new(PrivacyIdea::new(config, Clock::system()).unwrap());
        let mut question = question(seconds);
        question.contact = Contact { external: Some(user.to_owned()), phone: None };
        let (mut line, theirs) = Line::new(reach, false);
        let verdict = tokio::spawn(async move { provider.ask(&question, way, &mut line).await });
        Self { verdict, theirs }
    }

    async fn said(&mut self) -> Said {
        let said = tokio::time::timeout(Duration::from_secs(30), self.theirs.said.recv()).await;
        said.unwrap().unwrap()
    }

    async fn types(&mut self, prompt: Prompt, code: &str) {
        assert_eq!(self.said().await, Said::Ask(prompt, vec![]));
        self.theirs.answers.send(Secret::new(code.to_owned())).await.unwrap();
    }

    async fn verdict(self) -> Verdict {
        tokio::time::timeout(Duration::from_mins(1), self.verdict).await.unwrap().unwrap()
    }
}

/// A check as anybody can send it.
async fn check(url: &str, user: &str, transaction: &str) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let form = [("user", user), ("realm", REALM), ("pass", ""), ("transaction_id", transaction)];
    let reply = client.post(format!("{url}/validate/check")).form(&form).send().await.unwrap();
    reply.json().await.unwrap()
}

const RINGING: Said = Said::Say(Say::Ringing);

#[tokio::test(flavor = "multi_thread")]
async fn a_push_opens_to_the_one_whose_phone_accepted_and_once() {
    let people = People {
        tokens: vec![("jane", &["push"]), ("bob", &["push"]), ("nora", &["push"]), ("nobody", &[])],
        presence: vec!["nora"],
        ..People::default()
    };
    let town = Town::open(people).await;
    let mut jane = town.phone("jane").await;

    // Accepted; and what was finished is used up.
    let between = Between::new(&town.url, Meddle::Not).await;
    let service = Service::User(SERVICE.into(), Secret::new(PASSWORD.into()));
    let config = PrivacyIdeaConfig { service, ..town.config_at(&between.url) };
    let mut asked = Asked::new(config, "jane", Way::Push, 30);
    assert_eq!(asked.said().await, RINGING);
    jane.approve().await;
    assert_eq!(asked.verdict().await, Verdict::Allowed);
    let transaction = between.transaction();
    let again = check(&town.url, "jane", &transaction).await;
    assert_eq!(
        (&again["result"]["value"], &again["result"]["authentication"]),
        (&false.into(), &"REJECT".into())
    );
    let finished = between.seen("/validate/check");
    assert!(finished.len() == 1 && finished[0].body.contains(&transaction), "{finished:?}");
    assert_eq!(between.seen("/validate/triggerchallenge").len(), 1);
    assert_eq!(between.seen("/auth").len(), 1);

    // Declined.
    let asked = Asked::new(town.config(), "jane", Way::Push, 30);
    jane.decline().await;
    assert_eq!(asked.verdict().await, Verdict::Denied);

    // Silent: the phone had the question, and nobody touched it.
    let asked = Asked::new(town.config(), "jane", Way::Push, 3);
    jane.question().await;
    assert_eq!(asked.verdict().await, Verdict::TimedOut);
    // What stays open is answered too late, so that the next question is alone on the screen.
    jane.decline().await;

    // Whoever says in between that the phone accepted opens nothing.
    let between = Between::new(&town.url, Meddle::SaysAccept).await;
    let asked = Asked::new(town.config_at(&between.url), "jane", Way::Push, 30);
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::ProviderError));
    assert_eq!(between.seen("/validate/check").len(), 1);
    jane.decline().await;

    // Somebody else finished it first.
    let between = Between::new(&town.url, Meddle::FinishesFirst).await;
    let asked = Asked::new(town.config_at(&between.url), "jane", Way::Push, 30);
    jane.approve().await;
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::ProviderError));

    // Another person's transaction, accepted by that person.
    let between = Between::new(&town.url, Meddle::TriggersFor("bob")).await;
    let asked = Asked::new(town.config_at(&between.url), "jane", Way::Push, 30);
    town.phone("bob").await.approve().await;
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::ProviderError));

    // A number: the wrong one leaves it open, the right one opens; without a place to show it, it cannot be pressed.
    let mut nora = town.phone("nora").await;
    let mut asked = Asked::new(town.config(), "nora", Way::Push, 30);
    let Said::Say(Say::Enter(number)) = asked.said().await else { panic!("no number is shown") };
    assert!(number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()), "{number}");
    let options = nora.question().await["require_presence"].as_str().unwrap().to_owned();
    let wrong = options.split(',').find(|option| **option != number).unwrap();
    assert!(!nora.press(wrong).await);
    assert!(nora.press(&number).await);
    assert_eq!(asked.verdict().await, Verdict::Allowed);
    let mut asked = Asked::new(town.config(), "nora", Way::Push, 3);
    let Said::Say(Say::Enter(number)) = asked.said().await else { panic!("no number is shown") };
    let wrong = nora.question().await["require_presence"].as_str().unwrap().to_owned();
    let wrong = wrong.split(',').find(|option| **option != number).unwrap();
    assert!(!nora.press(wrong).await);
    assert_eq!(asked.verdict().await, Verdict::TimedOut);
    let blind = Asked::where_reaches(town.config(), "nora", Way::Push, 30, Reach::NOTHING);
    assert_eq!(blind.verdict().await, Verdict::Failed(Cause::NoPlace));

    // Nobody to ask.
    for (user, way) in [("ghost", Way::Push), ("nobody", Way::Push), ("jane", Way::Sms), ("nobody", Way::Sms)]
    {
        let asked = Asked::new(town.config(), user, way, 30);
        assert_eq!(asked.verdict().await, Verdict::Failed(Cause::NotEnrolled), "{user} {way:?}");
    }

    // We are nobody there.
    for service in [
        Service::User(SERVICE.into(), Secret::new("wrong".into())),
        Service::User("ghost".into(), Secret::new(PASSWORD.into())),
        Service::Token(Secret::new("eyJhbGciOiJIUzI1NiJ9.e30.AAAA".into())),
        Service::Token(Secret::new("no\nheader".into())),
    ] {
        let asked = Asked::new(PrivacyIdeaConfig { service, ..town.config() }, "jane", Way::Push, 30);
        assert_eq!(asked.verdict().await, Verdict::Failed(Cause::Credentials));
    }
    assert_eq!(jane.open().await, 0, "a question that was not asked is on the screen");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_signed_for_this_request_open_nothing() {
    let people = People { tokens: vec![("jane", &["push"])], ..People::default() };
    let town = Town::open(people).await;
    let mut jane = town.phone("jane").await;
    let signed =
        |url: &str, key: &[u8]| PrivacyIdeaConfig { verify_pem: Some(key.to_vec()), ..town.config_at(url) };
    let key = town.public_key();

    let asked = Asked::new(signed(&town.url, &key), "jane", Way::Push, 30);
    jane.approve().await;
    assert_eq!(asked.verdict().await, Verdict::Allowed);
    // What it says of errors counts too.
    let asked = Asked::new(signed(&town.url, &key), "ghost", Way::Push, 30);
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::NotEnrolled));

    // The key of another server.
    let other = include_str!("privacyidea/other.pem");
    let asked = Asked::new(signed(&town.url, other.as_bytes()), "jane", Way::Push, 30);
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::BadSignature));

    // Somebody in between changes an answer, or gives an old one again.
    for (meddle, cause) in [(Meddle::SaysAccept, Cause::BadSignature), (Meddle::Repeats, Cause::WrongTx)] {
        let between = Between::new(&town.url, meddle).await;
        let asked = Asked::new(signed(&between.url, &key), "jane", Way::Push, 30);
        assert_eq!(asked.verdict().await, Verdict::Failed(cause), "{meddle:?}");
        assert!(between.seen("/validate/check").is_empty());
    }
}

fn totp(at: Timestamp) -> String {
    let totp = totp_rs::Builder::new()
        .with_algorithm(totp_rs::Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(totp_rs::Secret::try_from_base32(TOTP).unwrap())
        .build()
        .unwrap();
    totp.generate(at.as_second().unsigned_abs()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_opens_to_the_one_it_was_made_for_and_once() {
    let people = People {
        tokens: vec![("jane", &["sms", "totp"]), ("bob", &["sms"]), ("free", &[]), ("nobody", &[])],
        no_token: vec!["free"],
        ..People::default()
    };
    let mut town = Town::open(people).await;

    // Wrong, then right; one SMS for both.
    let mut asked = Asked::new(town.config(), "jane", Way::Sms, 30);
    let (to, code) = town.sms().await;
    assert_eq!(to, NUMBER);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(asked.said().await, Said::Say(Say::Sent(None)));
    asked.types(Prompt::Code, wrong).await;
    asked.types(Prompt::Again, &format!(" {code}\n")).await;
    assert_eq!(asked.verdict().await, Verdict::Allowed);
    assert!(!town.more_sms());

    // Used up; and three tries are all.
    let mut asked = Asked::new(town.config(), "jane", Way::Sms, 30);
    let (_, second) = town.sms().await;
    assert_eq!(asked.said().await, Said::Say(Say::Sent(None)));
    for prompt in [Prompt::Code, Prompt::Again, Prompt::Again] {
        asked.types(prompt, if second == code { wrong } else { &code }).await;
    }
    assert_eq!(asked.verdict().await, Verdict::Denied);
    assert!(!town.more_sms());

    // The code that another person was sent.
    let mut janes = Asked::new(town.config(), "jane", Way::Sms, 30);
    let (_, for_jane) = town.sms().await;
    let mut bobs = Asked::new(town.config(), "bob", Way::Sms, 30);
    let (_, for_bob) = town.sms().await;
    janes.said().await;
    bobs.said().await;
    if for_jane != for_bob {
        for prompt in [Prompt::Code, Prompt::Again, Prompt::Again] {
            janes.types(prompt, &for_bob).await;
        }
        assert_eq!(janes.verdict().await, Verdict::Denied);
    }
    bobs.types(Prompt::Code, &for_bob).await;
    assert_eq!(bobs.verdict().await, Verdict::Allowed);

    // A generator's code, once. An empty one is not sent: it would be an empty PIN, and an SMS would go out.
    let code = totp(factor_common::now());
    let mut asked = Asked::new(town.config(), "jane", Way::Code, 30);
    asked.types(Prompt::Code, "  ").await;
    asked.types(Prompt::Again, &code).await;
    assert_eq!(asked.verdict().await, Verdict::Allowed);
    let mut asked = Asked::new(town.config(), "jane", Way::Code, 30);
    for prompt in [Prompt::Code, Prompt::Again, Prompt::Again] {
        asked.types(prompt, &code).await;
    }
    assert_eq!(asked.verdict().await, Verdict::Denied);
    assert!(!town.more_sms());

    // Nobody; somebody without a token; somebody whom the server lets pass without one.
    let mut asked = Asked::new(town.config(), "ghost", Way::Code, 30);
    asked.types(Prompt::Code, "123456").await;
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::NotEnrolled));
    let mut asked = Asked::new(town.config(), "free", Way::Code, 30);
    asked.types(Prompt::Code, "123456").await;
    assert_eq!(asked.verdict().await, Verdict::Failed(Cause::NotEnrolled));
    let mut asked = Asked::new(town.config(), "nobody", Way::Code, 30);
    for prompt in [Prompt::Code, Prompt::Again, Prompt::Again] {
        asked.types(prompt, "123456").await;
    }
    assert_eq!(asked.verdict().await, Verdict::Denied);

    // Nobody types.
    let asked = Asked::new(town.config(), "bob", Way::Sms, 3);
    town.sms().await;
    assert_eq!(asked.verdict().await, Verdict::TimedOut);
}
