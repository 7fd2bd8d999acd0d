//! A client of our fake Duo, and somebody who is asked.

use std::time::Duration;

use pforte::clock::Clock;
use pforte::factor::duo::{Duo as Client, DuoConfig};
use pforte::factor::{Line, Prompt, Provider, Question, Reach, Said, Say, Verdict, Way};
use pforte::secret::Secret;

use crate::duo::{Duo, IKEY, SKEY};
use crate::factor_common::question;

pub const JANE: &str = "firm-jane.doe";

pub fn config(duo: &Duo) -> DuoConfig {
    let skey = Secret::new(SKEY.to_owned());
    let mut config = DuoConfig::new(duo.address.to_string().parse().unwrap(), IKEY.into(), skey);
    config.ca_pem = Some(duo.ca_pem.clone().into_bytes());
    config.answer_timeout = Duration::from_millis(700);
    config.body_timeout = Duration::from_millis(300);
    config
}

pub fn client(duo: &Duo) -> Client {
    Client::new(config(duo), Clock::system()).unwrap()
}

/// A Duo that knows jane.
pub async fn janes() -> Duo {
    let duo = Duo::start().await;
    duo.person(JANE, |_| {});
    duo
}

/// What came of a question, and what was said meanwhile.
#[derive(Debug)]
pub struct Asked {
    pub verdict: Verdict,
    pub says: Vec<Say>,
    pub prompts: Vec<Prompt>,
    pub steps: Vec<String>,
}

/// Asks; whoever is asked types `typed`, one a prompt, and leaves when there is no more.
pub async fn asked(client: &Client, question: &Question, way: Way, reach: Reach, typed: &[&str]) -> Asked {
    let (mut line, mut theirs) = Line::new(reach, true);
    let (mut says, mut prompts, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let asking = async {
        let verdict = client.ask(question, way, &mut line).await;
        drop(line);
        verdict
    };
    let hearing = async {
        let mut typed = typed.iter();
        let mut answers = Some(theirs.answers);
        while let Some(said) = theirs.said.recv().await {
            match said {
                Said::Say(say) => says.push(say),
                Said::Step(step) => steps.push(step),
                Said::Ask(prompt, _) => {
                    prompts.push(prompt);
                    match typed.next() {
                        Some(text) => {
                            answers.as_ref().unwrap().send(Secret::new((*text).to_owned())).await.unwrap();
                        }
                        None => answers = None,
                    }
                }
            }
        }
    };
    let (verdict, ()) = tokio::join!(asking, hearing);
    Asked { verdict, says, prompts, steps }
}

pub async fn pushed(client: &Client) -> Asked {
    asked(client, &question(20), Way::Push, Reach::ALL, &[]).await
}
