//! `pforte site …`: what a person at this machine's terminal types. Absent on purpose: any right of its own; the running site does it.

mod text;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::config::{FILE, FOLDER, Settings};
use super::desk::{Action, Visit};
use super::konnektor::Shelf;
use super::serve::{self, NotServed};
use super::socket::{self, Got, Want};
use super::{init, visits};
use crate::clock::Clock;
use crate::config::{Document, Folder, Language, Problems, Readable};
use crate::names::SiteName;
use crate::random::Random;

const FAILED: u8 = 1;
const USAGE: u8 = 64;
const AWAY: u8 = 69;
const REFUSED: u8 = 77;
const CONFIGURATION: u8 = 78;

/// `pforte site`
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    doing: Doing,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// The folder that holds site.toml.
    #[arg(long, value_name = "DIR", default_value = FOLDER, global = true)]
    config: PathBuf,
    /// The running site's socket, for those who may not read the configuration.
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The language; without it the site's.
    #[arg(long, value_enum, global = true)]
    lang: Option<Lang>,
}

impl Place {
    fn language(&self) -> Option<Language> {
        self.lang.map(|lang| match lang {
            Lang::De => Language::German,
            Lang::En => Language::English,
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    De,
    En,
}

#[derive(Subcommand)]
enum Doing {
    /// Hold the link, the switch and the page.
    Serve,
    /// Read site.toml and everything that it names; say what is wrong in it, or unwise.
    Check,
    /// Make a commented site.toml and the site's own key; print the line for the gateway's keys/sites/NAME.pub.
    Init {
        /// Where to.
        dir: PathBuf,
        /// The site's name at the gateway.
        #[arg(long)]
        name: SiteName,
    },
    /// Make a new PIN for the page, say it once, and keep its hash; it counts from the next start on.
    Pin,
    /// The switch, who may come, who is in, the lights.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Open the link; nobody comes in before they are named.
    Open {
        /// 30m, 2h, or today.
        #[arg(long = "for", value_name = "TIME", default_value = "30m")]
        lasts: Lasts,
    },
    /// Close it: whoever is in is out within a second.
    Close,
    /// Let a firm or a person in while it is open.
    Allow {
        /// firm, or firm-jane.doe
        who: String,
    },
    /// Take that back: they are out within a second.
    Withdraw {
        /// firm, or firm-jane.doe
        who: String,
    },
    /// Let somebody in who asks.
    Grant {
        /// As `status` shows it.
        ask: String,
    },
    /// Do not.
    Deny {
        /// As `status` shows it.
        ask: String,
    },
    /// End a visit.
    End {
        /// As `status` shows it.
        visit: String,
    },
    /// What was done in a visit, signed; the newest one unless you say which.
    Report {
        /// As `status` shows it.
        visit: Option<String>,
        /// The JSON as it was signed.
        #[arg(long, conflicts_with = "verify")]
        json: bool,
        /// Check the signature.
        #[arg(long)]
        verify: bool,
    },
    /// A standing order: nightly backups, or opening after a restart.
    Standing {
        /// Which.
        #[arg(value_enum)]
        order: Order,
        /// On or off.
        #[arg(value_enum)]
        to: OnOff,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// Nightly backups run, nothing else.
    Backup,
    /// It opens by itself after a restart, and names nobody.
    WhenPossible,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Minutes(u32),
    Today,
}

impl std::str::FromStr for Lasts {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected 30m, 2h or today";
        if matches!(text, "today" | "heute") {
            return Ok(Self::Today);
        }
        let span: jiff::SignedDuration = text.parse().map_err(|_| EXPECTED)?;
        let minutes = u32::try_from(span.as_secs() / 60).map_err(|_| EXPECTED)?;
        if minutes == 0 || span.as_secs() % 60 != 0 { Err(EXPECTED) } else { Ok(Self::Minutes(minutes)) }
    }
}

impl Doing {
    fn action(self) -> Option<Action> {
        Some(match self {
            Self::Open { lasts: Lasts::Minutes(minutes) } => Action::Open { minutes },
            Self::Open { lasts: Lasts::Today } => Action::OpenToday,
            Self::Close => Action::Close,
            Self::Allow { who } => Action::Allow { who },
            Self::Withdraw { who } => Action::Withdraw { who },
            Self::Grant { ask } => Action::Grant { ask },
            Self::Deny { ask } => Action::Deny { ask },
            Self::End { visit } => Action::End { visit },
            Self::Standing { order: Order::Backup, to } => Action::BackupOnly { on: to == OnOff::On },
            Self::Standing { order: Order::WhenPossible, to } => Action::WhenPossible { on: to == OnOff::On },
            Self::Serve
            | Self::Check
            | Self::Init { .. }
            | Self::Pin
            | Self::Status { .. }
            | Self::Report { .. } => return None,
        })
    }
}

/// Does it; the exit code, as interface.md says.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> u8 {
    let Options { doing, place } = options;
    match doing {
        Doing::Serve => serve(&place.config, stop).await,
        Doing::Check => check(&place),
        Doing::Init { dir, name } => made(&dir, &name),
        Doing::Pin => new_pin(&place.config),
        Doing::Status { .. }
        | Doing::Report { .. }
        | Doing::Open { .. }
        | Doing::Close
        | Doing::Allow { .. }
        | Doing::Withdraw { .. }
        | Doing::Grant { .. }
        | Doing::Deny { .. }
        | Doing::End { .. }
        | Doing::Standing { .. } => match found(&place) {
            Ok((socket, language)) => asked(doing, &socket, language).await,
            Err(problems) => {
                complain(&problems.to_string());
                CONFIGURATION
            }
        },
    }
}

fn new_pin(dir: &Path) -> u8 {
    match init::new_pin(dir, &Random::system()) {
        Ok(pin) => {
            say(&format!("{}\n", pin.reveal()));
            complain("systemctl restart pforte-site");
            0
        }
        Err(e) => {
            complain(&e.to_string());
            FAILED
        }
    }
}

fn check(place: &Place) -> u8 {
    let clock = Clock::system();
    let read = Settings::load(&place.config).and_then(|settings| {
        settings.check_dates(clock.now())?;
        Shelf::of(&place.config, &settings, clock.clone())?;
        Ok(settings)
    });
    match read {
        Ok(settings) => {
            let warning = settings.page.and_then(|page| page.warning(clock.now()));
            let language = place.language().unwrap_or(settings.language);
            complain(&text::checked(warning.as_ref(), language));
            0
        }
        Err(problems) => {
            complain(&problems.to_string());
            CONFIGURATION
        }
    }
}

async fn serve(dir: &Path, stop: impl Future<Output = ()>) -> u8 {
    match serve::run(dir, Clock::system(), Random::system(), stop).await {
        Ok(()) => 0,
        Err(e @ NotServed::Configuration(_)) => {
            tracing::error!("{e}");
            CONFIGURATION
        }
        Err(e @ NotServed::State(_)) => {
            tracing::error!("{e}");
            FAILED
        }
    }
}

fn made(dir: &Path, name: &SiteName) -> u8 {
    match init::run(dir, name, &Random::system()) {
        Ok(made) => {
            complain(&text::made(dir, name, &made));
            say(&format!("{}\n", made.public));
            0
        }
        Err(e) => {
            complain(&e.to_string());
            FAILED
        }
    }
}

/// The socket and the language, without a look at any secret.
fn found(place: &Place) -> Result<(PathBuf, Language), Problems> {
    let said = place.language();
    if let Some(socket) = &place.socket {
        return Ok((socket.clone(), said.unwrap_or(Language::German)));
    }
    let (folder, mut problems) = (Folder::new(&place.config), Problems::default());
    let file = Path::new(FILE);
    let Some(text) = folder.read(file, Readable::ByAll, None, &mut problems) else { return Err(problems) };
    let Some(document) = Document::parse(file, &text, &mut problems) else { return Err(problems) };
    let mut root = document.root();
    let state = root.parsed::<PathBuf>("state", &mut problems).map_or_else(|| "state".into(), |at| at.value);
    let socket = root.parsed::<PathBuf>("socket", &mut problems).map(|at| at.value);
    let languages = [("de", Language::German), ("en", Language::English)];
    let language = root.one_of("language", &languages, &mut problems);
    problems.check()?;
    let socket = folder.path(socket.unwrap_or_else(|| state.join("site.sock")));
    Ok((socket, said.or(language).unwrap_or(Language::German)))
}

async fn asked(doing: Doing, path: &Path, language: Language) -> u8 {
    let (json, verify) = match &doing {
        Doing::Status { json } => (*json, false),
        Doing::Report { json, verify, .. } => (*json, *verify),
        Doing::Serve
        | Doing::Check
        | Doing::Init { .. }
        | Doing::Pin
        | Doing::Open { .. }
        | Doing::Close
        | Doing::Allow { .. }
        | Doing::Withdraw { .. }
        | Doing::Grant { .. }
        | Doing::Deny { .. }
        | Doing::End { .. }
        | Doing::Standing { .. } => (false, false),
    };
    let want = if let Doing::Report { visit, .. } = doing {
        if visit.as_deref().is_some_and(|visit| !visits::is_session(visit)) {
            complain(&text::no_report(language));
            return USAGE;
        }
        Want::Report { visit }
    } else {
        doing.action().map_or(Want::View, |action| Want::Act { action })
    };
    match socket::ask(path, &want).await {
        Ok(Got::View { view }) if json => in_json(&view),
        Ok(Got::View { view }) => {
            say(&text::view(&view, language));
            0
        }
        Ok(Got::Done) => {
            complain(&text::done(&want, language));
            0
        }
        Ok(Got::NotDone { code, said }) => {
            complain(text::in_language(&said, language));
            code
        }
        Ok(Got::Report { report: None }) => {
            complain(&text::no_report(language));
            FAILED
        }
        Ok(Got::Report { report: Some(report) }) if verify => {
            let good = report.holds();
            complain(&text::verified(&report, good, language));
            if good { 0 } else { FAILED }
        }
        Ok(Got::Report { report: Some(report) }) if json => {
            say(&report.json);
            0
        }
        Ok(Got::Report { report: Some(report) }) => match serde_json::from_str::<Visit>(&report.json) {
            Ok(visit) => {
                say(&text::report(&visit, &report, language));
                0
            }
            Err(e) => {
                complain(&e.to_string());
                FAILED
            }
        },
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            complain(&text::not_permitted(path, language));
            REFUSED
        }
        Err(_) => {
            complain(&text::nobody_there(path, language));
            AWAY
        }
    }
}

fn in_json(view: &super::desk::View) -> u8 {
    match serde_json::to_string_pretty(view) {
        Ok(text) => {
            say(&format!("{text}\n"));
            0
        }
        Err(_) => FAILED,
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "what a command has to say beside its answer")]
fn complain(text: &str) {
    eprintln!("{text}");
}
