//! One line that somebody asked for, from its bytes to its exit code: the same for exec and for the prompt.
//! Absent on purpose: SSH's packets, and deciding.

use std::sync::Arc;
use std::time::Duration;

use super::seat::Seat;
use super::{Front, told};
use crate::asks::{Ask, Family, Place, Relay, Verb};
use crate::commands::{self, Dialog, Foreground, Input, Means, Out, exit};
use crate::config::{Inner, Language};
use crate::factor::{Cause, Reach};
use crate::gate::{Refused, Unsettled};
use crate::identity::Who;
use crate::identity::second_factor::{Asked, Confirmation, Confirming, NotConfirmed, Show};
use crate::journal::started::{Outcome, Started};
use crate::names::{HostName, SiteName};
use crate::policy::Denied;
use crate::prompt::{Prompt, Read};
use crate::relay;
use crate::secret::Secret;
use crate::sentences;

/// How long a verdict is waited for before it is looked whether anybody still waits.
const ROUND: Duration = Duration::from_secs(8);

/// What the person's side of a line can give.
pub(super) struct Given<'a> {
    /// Where a code can be asked for, and a question.
    pub(super) prompt: Option<&'a mut Prompt>,
    /// The terminal.
    pub(super) seat: Option<&'a Seat>,
    /// Standard input.
    pub(super) input: Option<Arc<Input>>,
    /// What Ctrl-C is meant for.
    pub(super) foreground: &'a Foreground,
}

/// A prompt as commands ask on it.
struct Asking<'a>(&'a mut Prompt);

#[async_trait::async_trait]
impl Dialog for Asking<'_> {
    async fn ask(&mut self, question: &str) -> Option<String> {
        let read = self.0.read_line(question).await;
        // An answer is no command: it is not offered again.
        self.0.forget_last();
        match read {
            Read::Line(line) => Some(line.trim().to_owned()),
            Read::Interrupted | Read::End => None,
        }
    }
}

impl Front {
    /// One line that somebody asked for: parsed, settled, decided, journalled, run. Gives the exit code.
    pub(super) async fn serve(&self, line: &[u8], who: &Who, out: &Out, given: Given<'_>) -> u32 {
        let Given { mut prompt, seat, input, foreground } = given;
        let draft = match commands::parse(line) {
            Ok(draft) => draft,
            Err(unparsed) => {
                let masked = commands::masked(line);
                let line = masked.as_deref().unwrap_or(line);
                return match self.gate.refuse(who, unparsed.cause(), line).await {
                    Ok(()) => told(out, unparsed.sentence(out.language), exit::USAGE).await,
                    Err(refused) => self.refused(&refused, out).await,
                };
            }
        };
        if let Verb::Connect { host, site } = &draft.verb {
            return self.connect(line, host, site.as_ref(), who, out, prompt, seat).await;
        }
        let command = match self.gate.settle(draft, who).await {
            Ok(command) => command,
            Err(refused) => return self.refused(&refused, out).await,
        };
        let opened = match self.gate.open(command.clone(), who, None).await {
            Err(Refused::Denied { why: Denied::NeedsConfirmation { .. }, .. }) => {
                let prompt = prompt.as_deref_mut();
                let opened = self.confirmed(command.clone(), who, out, prompt).await;
                opened.map(|(started, confirmation)| (started, Some(confirmation)))
            }
            opened => opened.map(|started| (started, None)).map_err(Some),
        };
        let (started, confirmation) = match opened {
            Ok(started) => started,
            Err(Some(refused)) => return self.refused(&refused, out).await,
            Err(None) => return exit::REFUSED,
        };
        let mut asking = prompt.map(Asking);
        let dialog = asking.as_mut().map(|asking| asking as &mut dyn Dialog);
        let means = Means { dialog, input, foreground: Some(foreground), confirmation };
        if command.verb.is_a_job() {
            // A job looks itself whether it may go on.
            return match commands::run(started, &self.works, out, means).await {
                Ok(code) => code,
                Err(_) => self.cannot_journal(out).await,
            };
        }
        tokio::select! {
            ran = commands::run(started, &self.works, out, means) => match ran {
                Ok(code) => code,
                Err(_) => self.cannot_journal(out).await,
            },
            // What permitted it is gone: it ends within a second, and its last line is written by what is dropped here.
            refused = self.withdrawn_from(&command, who) => self.refused(&refused, out).await,
        }
    }

    /// `confirm = true`: the phone, or the person at the prompt, is asked for this very command, then the gate once more.
    /// `None`: it has been said.
    async fn confirmed<A: Ask + Clone>(
        &self,
        command: A,
        who: &Who,
        out: &Out,
        prompt: Option<&mut Prompt>,
    ) -> Result<(Started<A>, Confirmation), Option<Refused>> {
        let factor = self.factor.load_full();
        let words = String::from_utf8_lossy(command.confirmed_as()).into_owned();
        if prompt.is_none() && !factor.rings_a_phone(who.user()) {
            let english = "This command wants a code of its own. Open the prompt for it: ssh GATEWAY";
            let german =
                "Dieser Befehl verlangt einen eigenen Code. Öffnen Sie dafür die Eingabe: ssh GATEWAY";
            self.gate.refuse(who, "no-prompt-for-a-code", command.as_asked()).await.map_err(Some)?;
            told(out, out.pick(english, german), exit::REFUSED).await;
            return Err(None);
        }
        let reach = Reach { types: prompt.is_some(), ..Reach::ALL };
        let asking = factor.confirm(who, &words, command.site(), factor.number(), reach);
        match self.asked(asking, &words, out, prompt).await {
            Ok(confirmation) => {
                let opened = self.gate.open(command, who, Some(&confirmation)).await.map_err(Some)?;
                Ok((opened, confirmation))
            }
            Err(why) => {
                self.gate.refuse(who, &why.to_string(), command.as_asked()).await.map_err(Some)?;
                told(out, sentences::not_confirmed(&why, out.language), exit::REFUSED).await;
                if why == NotConfirmed::Fraud {
                    self.fraud(who.user(), who.key());
                }
                Err(None)
            }
        }
    }

    /// Shows what the second factor says, and types what it asks for, to its verdict.
    async fn asked(
        &self,
        mut asking: Confirming,
        words: &str,
        out: &Out,
        mut prompt: Option<&mut Prompt>,
    ) -> Result<Confirmation, NotConfirmed> {
        let (mut typed, mut named) = (None, false);
        loop {
            let Show { says, prompt: asked, .. } = match asking.next(typed.take(), ROUND).await {
                Asked::Open(show) => show,
                Asked::Confirmed(confirmation) => return Ok(confirmation),
                Asked::Refused(why) => return Err(why),
            };
            if !std::mem::replace(&mut named, true) {
                self.line_is_there(out, sentences::to_be_confirmed(words, out.language)).await?;
            }
            for say in &says {
                self.line_is_there(out, sentences::said(say, out.language)).await?;
            }
            let Some((question, choices)) = asked else { continue };
            let text = sentences::prompt(&question, &choices, out.language);
            let Some(prompt) = prompt.as_deref_mut() else {
                return Err(NotConfirmed::Failed(Cause::NoPlace));
            };
            match prompt.read_secret(&text).await {
                Read::Line(line) => typed = Some(Secret::new(line)),
                Read::Interrupted | Read::End => return Err(NotConfirmed::Failed(Cause::NoPlace)),
            }
        }
    }

    /// Says it, or finds that nobody is there any more: then nothing is asked.
    async fn line_is_there(&self, out: &Out, sentence: String) -> Result<(), NotConfirmed> {
        out.say(sentence).await.map_err(|_| NotConfirmed::Broke("nobody is there any more"))
    }

    /// `connect portal|backup [-i SITE]`: a recorded shell at the host, on this very terminal.
    #[expect(clippy::too_many_arguments, reason = "the parts of one line, each of its own kind")]
    async fn connect(
        &self,
        line: &[u8],
        host: &HostName,
        site: Option<&SiteName>,
        who: &Who,
        out: &Out,
        prompt: Option<&mut Prompt>,
        seat: Option<&Seat>,
    ) -> u32 {
        let refuse =
            async |cause: &str, sentence: String, code| match self.gate.refuse(who, cause, line).await {
                Ok(()) => told(out, sentence, code).await,
                Err(refused) => self.refused(&refused, out).await,
            };
        let Some(seat) = seat else {
            let english =
                "connect wants a terminal: ssh -t GATEWAY connect …, or better: ssh -J GATEWAY HOST";
            let german =
                "connect braucht ein Terminal: ssh -t GATEWAY connect …, oder besser: ssh -J GATEWAY HOST";
            return refuse("no-terminal", out.pick(english, german).to_owned(), exit::USAGE).await;
        };
        let permitted = Family::hop(host).map(|family| self.gate.sites_for(who, family)).unwrap_or_default();
        let site = match (site, permitted.as_slice()) {
            (Some(site), _) => site,
            (None, [only]) => only,
            (None, several) => {
                let list = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let sentence = match (out.language, several.is_empty()) {
                    (Language::English, true) => format!("No rule lets you go to a {host} anywhere."),
                    (Language::German, true) => format!("Keine Regel lässt Sie irgendwo zu einem {host}."),
                    (Language::English, false) => format!("Which one? Say -i with one of: {list}"),
                    (Language::German, false) => format!("Welcher? Nennen Sie mit -i einen von: {list}"),
                };
                let code = if several.is_empty() { exit::REFUSED } else { exit::USAGE };
                return refuse("which-site", sentence, code).await;
            }
        };
        // Asked of the policy first: a host that does not exist and one that is not open look the same.
        let target = self.hosts.at(site, host).filter(|_| permitted.contains(site));
        let ask = if let Some(target) = &target {
            Relay::to(target.place(line))
        } else {
            let family = Family::hop(host).unwrap_or(Family::HopPortal);
            Relay::to(Place { site: site.clone(), host: host.clone(), family, as_asked: line.into() })
        };
        let opened = match self.gate.open(ask.clone(), who, None).await {
            Ok(started) => Ok((started, None)),
            Err(Refused::Denied { why: Denied::NeedsConfirmation { .. }, .. }) => self
                .confirmed(ask.clone(), who, out, prompt)
                .await
                .map(|(started, confirmation)| (started, Some(confirmation))),
            Err(refused) => Err(Some(refused)),
        };
        let (started, confirmation) = match opened {
            Ok(opened) => opened,
            Err(Some(refused)) => return self.refused(&refused, out).await,
            Err(None) => return exit::REFUSED,
        };
        let Some(target) = target.filter(|target| target.host().is_some_and(|h| h.inner == Inner::Recorded))
        else {
            let outcome =
                Outcome { exit: exit::USAGE, cause: Some("no-such-host".into()), ..Outcome::default() };
            started.finish(outcome).await.ok();
            let english = "That host is not there to connect to from the prompt: try ssh -J GATEWAY HOST";
            let german = "Dieser Rechner ist von hier nicht zu erreichen: versuchen Sie ssh -J GATEWAY HOST";
            return told(out, out.pick(english, german), exit::USAGE).await;
        };
        let connect = relay::Connect {
            relays: self.relays.clone(),
            who: who.clone(),
            target,
            ask,
            started,
            confirmation,
            inbox: seat.take(),
            screen: seat.screen.clone(),
            terminal: seat.terminal(),
            numbers: seat.numbers.clone(),
            stop: seat.stop.clone(),
        };
        // In a task of its own: its last lines are written, though the terminal is gone.
        let code = match tokio::spawn(connect.run()).await {
            Ok(code) => code,
            Err(_) => self.panicked(out).await,
        };
        seat.give_back();
        code
    }

    async fn refused(&self, refused: &Refused, out: &Out) -> u32 {
        let code = match refused {
            Refused::Denied { .. } | Refused::Unsettled(Unsettled::Nowhere(_)) => exit::REFUSED,
            Refused::Unsettled(Unsettled::Several(_) | Unsettled::NoSuch(..)) => exit::USAGE,
            Refused::CannotJournal(_) => exit::CANNOT_JOURNAL,
        };
        let mut sentence = sentences::refused(refused, out.language);
        if let (Some(contact), true) = (&self.contact, code == exit::REFUSED || code == exit::CANNOT_JOURNAL)
        {
            sentence.extend([out.pick(" Operator: ", " Betreiber: "), contact]);
        }
        told(out, sentence, code).await
    }
}
