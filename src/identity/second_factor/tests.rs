//! Conversations with providers that do as told: which way, another one, and answers that come when nobody asks any more.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::factor::{Provider, Providers, Verdict};
use crate::identity::Ended;
use crate::names::SessionId;

/// Takes codes that are "right", until `patience` is over; or only gives its verdict.
struct Scripted {
    name: &'static str,
    ways: Vec<Way>,
    verdict: Option<Verdict>,
    asked: Mutex<Vec<Way>>,
}

impl Scripted {
    fn rings(verdict: Verdict) -> Arc<Self> {
        let (name, ways) = ("bell", vec![Way::Push]);
        Arc::new(Self { name, ways, verdict: Some(verdict), asked: Mutex::default() })
    }

    fn takes_codes(name: &'static str, way: Way) -> Arc<Self> {
        Arc::new(Self { name, ways: vec![way], verdict: None, asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ways(&self) -> &[Way] {
        &self.ways
    }

    async fn ask(&self, question: &Question, way: Way, line: &mut Line) -> Verdict {
        self.asked.lock().unwrap().push(way);
        if let Some(verdict) = self.verdict {
            line.compare(question.number).await;
            return verdict;
        }
        for prompt in [Prompt::Code, Prompt::Again] {
            match line.ask(prompt).await {
                Ok(code) if code.reveal() == "right" || code.reveal() == "123456" => return Verdict::Allowed,
                Ok(_) => {}
                Err(cause) => return Verdict::Failed(cause),
            }
        }
        Verdict::Denied
    }
}

struct Both(Providers);

impl Directory for Both {
    fn of(&self, _: &Username) -> Providers {
        self.0.clone()
    }
}

fn factor(first: Arc<Scripted>, second: Option<Arc<Scripted>>, menu: bool) -> SecondFactor {
    let second = second.map(|second| second as Arc<dyn Provider>);
    let contact = crate::factor::Contact::default();
    let directory = Arc::new(Both(Providers { first, second, contact, menu }));
    let (alarm, _) = mpsc::channel(1);
    SecondFactor::new(directory, Duration::from_mins(1), Clock::system(), Random::system(), alarm)
}

fn trial(factor: &SecondFactor) -> Trial {
    let key = format!("SHA256:{}", "A".repeat(43)).parse().unwrap();
    let on = Connection {
        session: SessionId::new(1, 2),
        from: "203.0.113.7:50122".parse().unwrap(),
        ended: Ended::default(),
    };
    factor.trial(&"firm-jane.doe".parse().unwrap(), &key, &on, "a test")
}

/// Types these words, one a prompt, an empty line for what is missing; gives the prompts and the verdict.
async fn typing(
    trial: &mut Trial,
    words: &[&str],
) -> (Vec<(Prompt, Vec<String>)>, Result<String, NotConfirmed>) {
    let (mut words, mut typed, mut prompts) = (words.iter(), None, Vec::new());
    loop {
        match trial.next(typed.take(), Duration::from_secs(5)).await {
            Ok(Show { prompt: Some(prompt), .. }) => {
                prompts.push(prompt);
                typed = Some(Secret::new((*words.next().unwrap_or(&"")).to_owned()));
            }
            Ok(_) => {}
            Err(verdict) => return (prompts, verdict),
        }
    }
}

#[tokio::test]
async fn who_failed_is_followed_by_another_way_if_the_person_names_it() {
    for verdict in [Verdict::Failed(Cause::Unreachable), Verdict::TimedOut] {
        let codes = Scripted::takes_codes("codes", Way::Code);
        let factor = factor(Scripted::rings(verdict), Some(codes), false);
        let (prompts, confirmed) = typing(&mut trial(&factor), &["code", "wrong", "right"]).await;
        assert_eq!(confirmed, Ok("codes".into()));
        assert_eq!(prompts[0], (Prompt::Instead, vec!["code".to_owned()]));
        let (_, given_up) = typing(&mut trial(&factor), &[""]).await;
        assert!(matches!(given_up, Err(NotConfirmed::Failed(_) | NotConfirmed::TimedOut)), "{given_up:?}");
    }
}

#[tokio::test]
async fn a_no_and_whom_the_provider_keeps_out_are_led_to_nothing_else() {
    for (verdict, expected) in [
        (Verdict::Denied, NotConfirmed::Denied),
        (Verdict::Fraud, NotConfirmed::Fraud),
        (Verdict::Failed(Cause::NotAllowed), NotConfirmed::Failed(Cause::NotAllowed)),
    ] {
        let codes = Scripted::takes_codes("codes", Way::Code);
        let factor = factor(Scripted::rings(verdict), Some(codes.clone()), false);
        let (prompts, refused) = typing(&mut trial(&factor), &["code", "right"]).await;
        assert_eq!((prompts.len(), refused, codes.asked()), (0, Err(expected), 0));
    }
}

#[tokio::test]
async fn the_menu_takes_a_word_a_code_or_nothing() {
    let ring = || Scripted::rings(Verdict::Allowed);
    for (typed, confirmed, rung) in
        [("", "bell", 1), ("push", "bell", 1), ("code", "codes", 0), ("123456", "codes", 0)]
    {
        let (bell, codes) = (ring(), Scripted::takes_codes("codes", Way::Code));
        let factor = factor(bell.clone(), Some(codes), true);
        let (prompts, verdict) = typing(&mut trial(&factor), &[typed, "right"]).await;
        assert_eq!(prompts[0], (Prompt::Which, vec!["push".to_owned(), "code".to_owned()]));
        assert_eq!((verdict, bell.asked()), (Ok(confirmed.into()), rung), "{typed:?}");
    }
}

#[tokio::test]
async fn the_word_of_another_way_at_a_code_prompt_changes_over_a_few_times_at_most() {
    let (codes, texts) =
        (Scripted::takes_codes("codes", Way::Code), Scripted::takes_codes("texts", Way::Sms));
    let factor = factor(codes.clone(), Some(texts.clone()), false);
    let (prompts, confirmed) = typing(&mut trial(&factor), &["SMS", "right"]).await;
    assert_eq!((prompts.len(), confirmed), (2, Ok("texts".into())));
    let for_ever = ["sms", "code"].repeat(50);
    let (prompts, refused) = typing(&mut trial(&factor), &for_ever).await;
    assert!(prompts.len() <= 4 && refused.is_err(), "{prompts:?} {refused:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_prompt_that_is_over_is_not_taken_for_one_to_the_next() {
    let (codes, texts) =
        (Scripted::takes_codes("codes", Way::Code), Scripted::takes_codes("texts", Way::Sms));
    let factor = factor(codes, Some(texts.clone()), false);
    let mut trial = trial(&factor);
    let first = trial.next(None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(first.prompt.unwrap().0, Prompt::Code);
    // The person is at lunch; the question runs out, and another way is offered to nobody.
    tokio::time::sleep(Duration::from_mins(2)).await;
    let late = trial.next(Some(Secret::new("sms".into())), Duration::from_secs(5)).await.unwrap();
    assert_eq!(late.prompt.unwrap().0, Prompt::Instead);
    assert_eq!(texts.asked(), 0, "what was typed was no answer to that");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_question_of_theirs_is_told_so() {
    let texts = Scripted::takes_codes("texts", Way::Sms);
    let factor = factor(texts.clone(), None, false);
    let (mut first, mut second) = (trial(&factor), trial(&factor));
    assert!(first.next(None, Duration::from_secs(5)).await.unwrap().prompt.is_some());
    let told = second.next(None, Duration::from_secs(5)).await.unwrap();
    assert_eq!((told.says, told.prompt), (vec![Say::Waiting], None));
    assert_eq!(texts.asked(), 1, "one open question a person");
    let (_, confirmed) = typing(&mut first, &[]).await;
    assert!(confirmed.is_err());
    let (_, confirmed) = typing(&mut second, &["right"]).await;
    assert_eq!(confirmed, Ok("texts".into()));
}
