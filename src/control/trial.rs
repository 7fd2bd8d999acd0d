//! An operator has a person's phone asked for real, and sees each step.
//! Absent on purpose: a proof; whatever the person says, nobody is let in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use super::{Cause, Client, Desk, Gone, LONGEST, Say, Typed};
use crate::config::Language;
use crate::identity::second_factor::Show;
use crate::identity::{Connection, Ended};
use crate::journal::{Entry, Event};
use crate::names::Username;
use crate::secret::Secret;
use crate::sentences;

/// How long a step is waited for before it is looked whether the operator is still there.
const ROUND: Duration = Duration::from_secs(8);
/// For something to be typed.
const TYPING: Duration = Duration::from_mins(5);

pub(super) async fn serve(
    desk: &Desk,
    client: &mut Client,
    user: Username,
    german: Option<bool>,
) -> Result<(), Gone> {
    let front = &desk.front;
    let language = match german {
        Some(true) => Language::German,
        Some(false) => Language::English,
        None => front.language,
    };
    let Some(key) = front.keys.load().keys_of(&user).into_iter().next() else {
        return client.refuse(Cause::NoSuch).await;
    };
    let operator = client.operator.to_string();
    let on = Connection {
        session: crate::names::SessionId::new(
            front.clock.now().as_millisecond().unsigned_abs(),
            front.random.draw(),
        ),
        from: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ended: Ended::default(),
    };
    let line = |cause: String| Entry {
        user: Some(user.clone()),
        firm: Some(user.firm()),
        session: Some(on.session),
        target: Some("second factor".into()),
        cause: Some(cause),
        ..Entry::new(Event::Loaded)
    };
    if front.journal.append(line(format!("factor-test by operator {operator}"))).await.is_err() {
        return client.refuse(Cause::CannotJournal).await;
    }
    let factor = front.factor.load_full();
    let mut trial = factor.trial(&user, &key, &on, "pforte factor test");
    let mut typed = None;
    let verdict = loop {
        let Show { says, steps, prompt } = match trial.next(typed.take(), ROUND).await {
            Ok(show) => show,
            Err(verdict) => break verdict,
        };
        for step in steps {
            client.say(Say::Step(step)).await?;
        }
        for say in &says {
            client.say(Say::Show(sentences::said(say, language))).await?;
        }
        if let Some((prompt, words)) = prompt {
            let text = sentences::prompt(&prompt, &words, language);
            client.say(Say::Prompt { text, echo: prompt.echoes() }).await?;
            typed = Some(client.typed().await?);
        }
    };
    let said = match &verdict {
        Ok(factor) => format!("factor-test: confirmed by {factor}"),
        Err(why) => format!("factor-test: {why}"),
    };
    if front.journal.append(line(said)).await.is_err() {
        tracing::error!("the end of a factor test could not be journalled");
    }
    let say = match verdict {
        Ok(factor) => Say::Verdict {
            sentence: sentences::confirmed_by(&factor, language),
            factor: Some(factor),
            cause: None,
        },
        Err(why) => Say::Verdict {
            factor: None,
            cause: Some(why.to_string()),
            sentence: sentences::not_confirmed(&why, language),
        },
    };
    client.say(say).await
}

impl Client {
    /// What the operator typed.
    async fn typed(&mut self) -> Result<Secret, Gone> {
        let mut line = zeroize::Zeroizing::new(Vec::new());
        let mut input = (&mut self.input).take(LONGEST as u64);
        let read = tokio::time::timeout(TYPING, input.read_until(b'\n', &mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return Err(Gone);
        }
        let typed: Typed = serde_json::from_slice(&line).map_err(|_| Gone)?;
        Ok(Secret::new(typed.typed))
    }
}
