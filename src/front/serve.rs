//! One line that somebody asked for, from its bytes to its exit code: the same for exec and for the prompt.
//! Absent on purpose: SSH's packets, and deciding.

use super::{Front, told};
use crate::asks::{Ask, Command};
use crate::commands::{self, Out, exit};
use crate::config::Language;
use crate::gate::{Refused, Unsettled};
use crate::identity::Who;
use crate::identity::second_factor::NotConfirmed;
use crate::journal::started::Started;
use crate::policy::Denied;
use crate::prompt::{Prompt, Read};
use crate::secret::Secret;
use crate::sentences;

impl Front {
    /// One line that somebody asked for: parsed, settled, decided, journalled, run. Gives the exit code.
    /// `prompt` is where a code can be asked for, if there is one.
    pub(super) async fn serve(&self, line: &[u8], who: &Who, out: &Out, prompt: Option<&mut Prompt>) -> u32 {
        let draft = match commands::parse(line) {
            Ok(draft) => draft,
            Err(unparsed) => {
                return match self.gate.refuse(who, unparsed.cause(), line).await {
                    Ok(()) => told(out, unparsed.sentence(out.language), exit::USAGE).await,
                    Err(refused) => self.refused(&refused, out).await,
                };
            }
        };
        let command = match self.gate.settle(draft, who).await {
            Ok(command) => command,
            Err(refused) => return self.refused(&refused, out).await,
        };
        let opened = match self.gate.open(command.clone(), who, None).await {
            Err(Refused::Denied { why: Denied::NeedsConfirmation { .. }, .. }) => {
                self.confirmed(command.clone(), who, out, prompt).await
            }
            opened => opened.map_err(Some),
        };
        let started = match opened {
            Ok(started) => started,
            Err(Some(refused)) => return self.refused(&refused, out).await,
            Err(None) => return exit::REFUSED,
        };
        tokio::select! {
            ran = commands::run(started, &self.works, out) => match ran {
                Ok(code) => code,
                Err(_) => self.cannot_journal(out).await,
            },
            // What permitted it is gone: it ends within a second, and its last line is written by what is dropped here.
            refused = self.withdrawn_from(&command, who) => self.refused(&refused, out).await,
        }
    }

    /// `confirm = true`: the phone, or the person at the prompt, is asked for this very command, then the gate once more.
    /// `None`: it has been said.
    async fn confirmed(
        &self,
        command: Command,
        who: &Who,
        out: &Out,
        prompt: Option<&mut Prompt>,
    ) -> Result<Started<Command>, Option<Refused>> {
        let factor = self.factor.load_full();
        let words = String::from_utf8_lossy(&command.as_asked).into_owned();
        let number = factor.number();
        let mut code = None;
        if factor.rings_a_phone() {
            let sentence = match out.language {
                Language::English => {
                    format!("Confirm \"{words}\" on your phone. The number there must be {number}.")
                }
                Language::German => {
                    format!("Bitte „{words}“ am Telefon bestätigen. Dort muss die Zahl {number} stehen.")
                }
            };
            if out.say(sentence).await.is_err() {
                return Err(None);
            }
        } else if let Some(prompt) = prompt {
            match prompt.read_secret("Code: ").await {
                Read::Line(typed) => code = Some(Secret::new(typed)),
                Read::Interrupted | Read::End => {}
            }
        } else {
            let english = "This command wants a code of its own. Open the prompt for it: ssh GATEWAY";
            let german =
                "Dieser Befehl verlangt einen eigenen Code. Öffnen Sie dafür die Eingabe: ssh GATEWAY";
            self.gate.refuse(who, "no-prompt-for-a-code", &command.as_asked).await.map_err(Some)?;
            told(out, out.pick(english, german), exit::REFUSED).await;
            return Err(None);
        }
        match factor.confirm(who, &words, command.site(), number, code.as_ref()).await {
            Ok(confirmation) => self.gate.open(command, who, Some(&confirmation)).await.map_err(Some),
            Err(why) => {
                self.gate.refuse(who, &why.to_string(), &command.as_asked).await.map_err(Some)?;
                told(out, sentences::not_confirmed(&why, out.language), exit::REFUSED).await;
                if why == NotConfirmed::Fraud {
                    self.fraud(who.user(), who.key());
                }
                Err(None)
            }
        }
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
