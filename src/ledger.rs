//! `pforte journal search|show|verify|tail`: reads the journal's folder; writes nothing, asks no gateway.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use ssh_key::PublicKey;

use crate::clock::Clock;
use crate::config::{Config, Folder, Problems};
use crate::journal::{self, Event, Filter, Line};
use crate::names::{Firm, SessionId, SiteName, Username};

/// What is asked of the journal.
#[derive(Subcommand)]
pub enum Ask {
    /// Lines that match, the oldest first.
    Search(Which),
    /// All lines of one session.
    Show {
        /// Its ULID.
        session: SessionId,
        /// Where the journal is, and how to print it.
        #[command(flatten)]
        place: Place,
    },
    /// Is every line there, as it was written? Ends with 1 if not, and says which is not.
    Verify {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
    },
    /// Lines that match, as they come.
    Tail(Which),
}

/// Where the journal is, and how to print it.
#[derive(Args)]
pub struct Place {
    /// The folder that holds policy/ and keys/.
    #[arg(long, value_name = "DIR", default_value = ".")]
    config: PathBuf,
    /// The lines as they are.
    #[arg(long)]
    json: bool,
}

/// Which lines.
#[derive(Args)]
pub struct Which {
    #[command(flatten)]
    place: Place,
    /// Of this user.
    #[arg(long)]
    user: Option<Username>,
    /// Of this firm.
    #[arg(long)]
    firm: Option<Firm>,
    /// About this site.
    #[arg(long)]
    site: Option<SiteName>,
    /// Of this kind: login, refused, started, finished, …
    #[arg(long)]
    event: Option<Event>,
    /// Not older than this: 2026-11-21, 2026-11-21T16:04:05Z, or a span such as 90m or 2h.
    #[arg(long, value_name = "T")]
    since: Option<String>,
}

impl Which {
    fn filter(&self) -> Result<Filter> {
        let since = self.since.as_deref().map(since).transpose()?;
        Ok(Filter {
            user: self.user.clone(),
            firm: self.firm.clone(),
            site: self.site.clone(),
            event: self.event,
            session: None,
            since,
        })
    }
}

fn since(text: &str) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return Ok(date.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp());
    }
    let span: SignedDuration = text.parse().context("--since: a date, a time, or a span such as 2h")?;
    Ok(Clock::system().now().checked_sub(span)?)
}

struct Books {
    journal: PathBuf,
    key: PathBuf,
}

fn books(dir: &Path) -> Result<Books, Problems> {
    let mut problems = Problems::default();
    match Config::load(&Folder::new(dir), &mut problems) {
        Some(config) => {
            let storage = &config.gateway.storage;
            let mut key = dir.join(&storage.journal_key);
            key.as_mut_os_string().push(".pub");
            Ok(Books { journal: dir.join(&storage.journal), key })
        }
        None => Err(problems),
    }
}

/// Answers on standard output; the exit code.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub async fn run(ask: Ask) -> Result<u8> {
    match ask {
        Ask::Search(which) => {
            for line in journal::search(&books(&which.place.config)?.journal, which.filter()?)? {
                print(&line?, which.place.json);
            }
        }
        Ask::Show { session, place } => {
            for line in journal::show(&books(&place.config)?.journal, session)? {
                print(&line?, place.json);
            }
        }
        Ask::Tail(which) => {
            let mut tail = journal::follow(&books(&which.place.config)?.journal, which.filter()?)?;
            loop {
                let lines = tokio::select! {
                    lines = tail.next() => lines?,
                    _ = tokio::signal::ctrl_c() => break,
                };
                for line in lines {
                    print(&line, which.place.json);
                }
            }
        }
        Ask::Verify { place } => {
            let books = books(&place.config)?;
            let key = PublicKey::read_openssh_file(&books.key)
                .with_context(|| format!("{}", books.key.display()))?;
            let report = tokio::task::spawn_blocking(move || journal::verify(&books.journal, &key)).await??;
            println!("{report}");
            return Ok(u8::from(!report.is_sound()));
        }
    }
    Ok(0)
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn print(line: &Line, json: bool) {
    if json { println!("{}", line.json()) } else { println!("{}", line.human()) }
}
