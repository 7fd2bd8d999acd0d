//! `pforte factor test USER`: a running gateway asks that person's phone for real, and each step is shown.
//! Absent on purpose: letting anybody in, and any provider of its own; what is tested is what logins use.

use std::io::Write as _;

use super::ask::Line;
use super::{AWAY, FAILED, REFUSED, complain, text};
use crate::config::Language;
use crate::control::{Ask, Cause, Say, Typed};
use crate::names::Username;

/// `pforte factor`
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    doing: Doing,
    #[command(flatten)]
    place: super::Place,
}

#[derive(clap::Subcommand)]
enum Doing {
    /// Ask that person's phone for real; shows each step, secrets masked. Nobody is let in by it, and it is journalled.
    Test {
        /// firm-given.family
        user: Username,
    },
}

/// The exit code: 0 confirmed, 1 nobody of that name has a key, 69 no gateway or the provider fails, 77 not confirmed, 78
/// configuration, 254 cannot journal.
///
/// # Errors
/// Standard output cannot be written, or the gateway broke off.
pub async fn run(options: Options) -> anyhow::Result<u8> {
    let Options { doing: Doing::Test { user }, place } = options;
    let german = place.lang.map(|lang| matches!(lang, super::Lang::De));
    let ask = Ask::Factor { user: user.clone(), german };
    let (mut line, language) = match super::reach(&place, ask).await {
        Ok(reached) => reached,
        Err(code) => return Ok(code),
    };
    loop {
        match line.next().await? {
            Say::Step(step) => told(&format!("  {step}"))?,
            Say::Show(sentence) => told(&sentence)?,
            Say::Prompt { text, echo } => {
                let typed = typed(&text, echo).await?;
                line.send(&Typed { typed }).await?;
            }
            Say::Verdict { sentence, cause, .. } => {
                told(&sentence)?;
                return Ok(match cause {
                    None => 0,
                    Some(cause) if cause.starts_with("factor-failed") => {
                        complain(&cause);
                        AWAY
                    }
                    Some(cause) => {
                        complain(&cause);
                        REFUSED
                    }
                });
            }
            Say::Refused { cause: Cause::NoSuch } => {
                complain(&match language {
                    Language::English => format!("{user} has no key here, so nobody could log in as them."),
                    Language::German => {
                        format!("{user} hat hier keinen Schlüssel, also kann sich niemand so anmelden.")
                    }
                });
                return Ok(FAILED);
            }
            Say::Refused { cause } => {
                complain(text::refused(cause, language));
                return Ok(super::code_of(cause));
            }
            Say::Session(_)
            | Say::Way(_)
            | Say::Act(_)
            | Say::Done {}
            | Say::Screen { .. }
            | Say::Output(_)
            | Say::Size { .. }
            | Say::Over { .. } => anyhow::bail!("the gateway answers something else"),
        }
    }
}

fn told(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A line of the terminal's or of standard input; nothing is the same as an empty one.
async fn typed(question: &str, echo: bool) -> anyhow::Result<String> {
    use std::io::IsTerminal as _;
    if !echo && std::io::stdin().is_terminal() {
        let bytes = crate::direct::hidden(question).await.unwrap_or_default();
        return Ok(String::from_utf8_lossy(&bytes).trim().to_owned());
    }
    told(question)?;
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    Ok(line.await??.trim().to_owned())
}

/// What a line to the gateway carries back.
impl Line {
    async fn send(&mut self, typed: &Typed) -> anyhow::Result<()> {
        let line = zeroize::Zeroizing::new(serde_json::to_string(typed)? + "\n");
        self.write(line.as_bytes()).await
    }
}
