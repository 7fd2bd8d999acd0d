//! `pforte sessions [end|watch]`: asks a running gateway on its local socket. Absent on purpose: any right of its own; the gateway
//! says who may.

mod ask;
pub mod factor;
mod text;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::{Config, Folder, Language, Problems};
use crate::control::{Ask, Cause, Id, Say, Why};
use ask::{Line, NotReached};

const FAILED: u8 = 1;
/// `EX_UNAVAILABLE`, `EX_NOPERM` (sysexits.h), and the gateway's own code for a journal that cannot be written.
const AWAY: u8 = 69;
const REFUSED: u8 = 77;
const CANNOT_JOURNAL: u8 = 254;

/// `pforte sessions`
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    doing: Option<Doing>,
    #[command(flatten)]
    place: Place,
    /// The list as JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// Where the gateway is, and how it is talked to.
#[derive(Args)]
pub struct Place {
    /// The folder that holds policy/ and keys/.
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    config: PathBuf,
    /// The gateway's socket, for those who may not read the configuration.
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The language; without it the gateway's.
    #[arg(long, value_enum, global = true)]
    lang: Option<Lang>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    De,
    En,
}

/// What is done, but a list.
#[derive(Subcommand)]
enum Doing {
    /// End a connection, or one channel of it; the person reads why, and it is journalled.
    End {
        /// SESSION, or SESSION/CHANNEL.
        #[arg(value_name = "SESSION[/CHANNEL]")]
        id: Id,
        /// Why: one line of at most 200 characters.
        #[arg(long, value_name = "TEXT")]
        why: Why,
    },
    /// Look at a terminal until it ends or Ctrl-C; it is journalled, and the person is not told on their screen.
    Watch {
        /// SESSION, or SESSION/CHANNEL where it has several terminals.
        #[arg(value_name = "SESSION[/CHANNEL]")]
        id: Id,
    },
}

/// Lists, ends or watches; the exit code: 0 done, 1 nothing of that name, 69 no gateway, 77 not permitted, 78 configuration,
/// 254 cannot journal.
///
/// # Errors
/// Standard output cannot be written, or the gateway broke off.
pub async fn run(options: Options) -> anyhow::Result<u8> {
    let ask = match &options.doing {
        None => Ask::List,
        Some(Doing::End { id, why }) => Ask::End { id: *id, why: why.clone() },
        Some(Doing::Watch { id }) => Ask::Watch { id: *id },
    };
    let (mut line, language) = match reach(&options.place, ask).await {
        Ok(reached) => reached,
        Err(code) => return Ok(code),
    };
    let refused = match options.doing {
        None => list(&mut line, options.json, language).await?,
        Some(Doing::End { .. }) => ended(&mut line).await?,
        Some(Doing::Watch { .. }) => watch::run(&mut line, language).await?,
    };
    let Some(cause) = refused else { return Ok(0) };
    complain(text::refused(cause, language));
    Ok(code_of(cause))
}

/// What a refusal ends with.
fn code_of(cause: Cause) -> u8 {
    match cause {
        Cause::NotPermitted => REFUSED,
        Cause::CannotJournal => CANNOT_JOURNAL,
        Cause::Busy
        | Cause::TooSlow
        | Cause::BadRequest
        | Cause::NoSuch
        | Cause::NoTerminal
        | Cause::Several
        | Cause::Ending => FAILED,
    }
}

/// A line on which the gateway answers `ask`, or the exit code when the reason was said.
async fn reach(place: &Place, ask: Ask) -> Result<(Line, Language), u8> {
    let (socket, language) = match found(place) {
        Ok(found) => found,
        Err(problems) => {
            complain(&problems.to_string());
            return Err(crate::commands::exit::CONFIGURATION.try_into().unwrap_or(FAILED));
        }
    };
    match Line::open(&socket, ask).await {
        Ok(line) => Ok((line, language)),
        Err(why) => {
            complain(&why.sentence(&socket, language));
            Err(match why {
                NotReached::NoGateway => AWAY,
                NotReached::NotPermitted => REFUSED,
                NotReached::Failed(_) => FAILED,
            })
        }
    }
}

fn found(options: &Place) -> Result<(PathBuf, Language), Problems> {
    let said = options.lang.map(|lang| match lang {
        Lang::De => Language::German,
        Lang::En => Language::English,
    });
    if let Some(socket) = &options.socket {
        return Ok((socket.clone(), said.unwrap_or(Language::English)));
    }
    let mut problems = Problems::default();
    match Config::load(&Folder::new(&options.config), &mut problems) {
        Some(config) => {
            let socket = options.config.join(&config.gateway.storage.control);
            Ok((socket, said.unwrap_or(config.gateway.language)))
        }
        None => Err(problems),
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
async fn list(line: &mut Line, json: bool, language: Language) -> anyhow::Result<Option<Cause>> {
    let mut all = text::List::default();
    loop {
        match line.next().await? {
            Say::Session(session) => all.session(session),
            Say::Way(way) => all.way(way),
            Say::Act(act) => all.act(act),
            Say::Done {} => break,
            Say::Refused { cause } => return Ok(Some(cause)),
            Say::Screen { .. }
            | Say::Output(_)
            | Say::Size { .. }
            | Say::Over { .. }
            | Say::Step(_)
            | Say::Show(_)
            | Say::Prompt { .. }
            | Say::Verdict { .. } => {}
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", all.human(language, &jiff::tz::TimeZone::system()));
    }
    Ok(None)
}

async fn ended(line: &mut Line) -> anyhow::Result<Option<Cause>> {
    match line.next().await? {
        Say::Refused { cause } => Ok(Some(cause)),
        Say::Done {} => Ok(None),
        Say::Session(_)
        | Say::Way(_)
        | Say::Act(_)
        | Say::Screen { .. }
        | Say::Output(_)
        | Say::Size { .. }
        | Say::Over { .. }
        | Say::Step(_)
        | Say::Show(_)
        | Say::Prompt { .. }
        | Say::Verdict { .. } => anyhow::bail!("the gateway answers something else"),
    }
}

#[expect(clippy::print_stderr, reason = "what a command has to say beside its answer")]
fn complain(text: &str) {
    eprintln!("{text}");
}
