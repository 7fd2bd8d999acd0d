//! The command `pforte`: subcommands, exit codes, what goes to which stream; no logic.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pforte::clock::Clock;
use pforte::house::{self, House};
use pforte::random::Random;
use pforte::{check, demo, direct, init, kit, ledger, play, service, sessions, site};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An SSH gateway for remote maintenance: a key, a phone, a policy, a journal.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A gateway, a Konnektor, a phone and two machines on loopback; a backup and a hop through the system's ssh.
    Demo(demo::Options),
    /// Run the gateway.
    Serve(Place),
    /// Read everything, dial nothing; print who may do what where, or every error with its place.
    Check {
        #[command(flatten)]
        place: Place,
        /// Only this user.
        #[arg(long)]
        user: Option<pforte::names::Username>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a commented configuration to start from, and make the gateway's keys.
    Init {
        /// Where to.
        dir: PathBuf,
    },
    /// Play a recorded session in the terminal, or export it as an asciicast.
    Play(play::Options),
    /// What a technician installs, filled in; or whether an old one still holds.
    Kit(kit::Options),
    /// A Konnektor from the practice's own PC, no gateway in between: the old tool's options and words.
    Konnektor(direct::Options),
    /// Who is in where, since when; end something, or look at a terminal.
    Sessions(sessions::Options),
    /// Whether somebody can be asked for a second factor.
    Factor(sessions::factor::Options),
    /// The customer's side: the link that is dialled out, and the switch.
    Site(site::cli::Options),
    /// Search, show, follow or verify the journal.
    Journal {
        #[command(subcommand)]
        ask: ledger::Ask,
    },
}

#[derive(Args)]
struct Place {
    /// The folder that holds policy/ and keys/.
    #[arg(long, value_name = "DIR", default_value = ".")]
    config: PathBuf,
}

/// `EX_USAGE` (sysexits.h).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Nobody reads it: the exit code still tells.
            e.print().ok();
            return ExitCode::from(parsing_ended(&e));
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("PFORTE_LOG")
                .unwrap_or_else(|_| "info,russh=off".into()),
        )
        .init();
    let code = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(e) => {
            tracing::error!("the runtime does not start: {e}");
            1
        }
    };
    ExitCode::from(code)
}

async fn run(cli: Cli) -> u8 {
    match cli.command {
        Command::Demo(options) => outcome(demo::run(options).await.map(|()| 0)),
        Command::Serve(place) => serve(&place).await,
        Command::Check { place, user, json } => check::run(&place.config, user.as_ref(), json),
        Command::Init { dir } => outcome(init::run(&dir, &Random::system()).map(|next| {
            say(&next);
            0
        })),
        Command::Play(options) => outcome(play::run(options).await),
        Command::Kit(options) => kit::run(&options, &Clock::system()),
        Command::Konnektor(options) => direct::run(options).await,
        Command::Factor(options) => outcome(sessions::factor::run(options).await),
        Command::Sessions(options) => outcome(sessions::run(options).await),
        Command::Site(options) => site::cli::run(options, house::told_to_stop()).await,
        Command::Journal { ask } => outcome(ledger::run(ask).await),
    }
}

async fn serve(place: &Place) -> u8 {
    let loaded = match house::load(&place.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            tracing::error!("the configuration is wrong:\n{problems}");
            return 78;
        }
    };
    let stop = house::told_to_stop();
    let house = match House::open(&place.config, loaded, Clock::system(), Random::system()).await {
        Ok(house) => house,
        Err(e) => {
            tracing::error!("{e:#}");
            return 78;
        }
    };
    for address in house.addresses() {
        tracing::info!("listening on {address}");
    }
    let alive = tokio::spawn(service::alive());
    service::ready();
    house
        .run(async {
            stop.await;
            service::stopping();
        })
        .await;
    alive.abort();
    0
}

/// Help and version are answers; everything else is a mistake of who called.
fn parsing_ended(e: &clap::Error) -> u8 {
    if e.use_stderr() { USAGE } else { 0 }
}

/// Commands other than `serve` are read by people as they end: a plain sentence, no log.
#[expect(clippy::print_stderr, reason = "the error of a command")]
fn outcome(done: anyhow::Result<u8>) -> u8 {
    done.unwrap_or_else(|e| {
        eprintln!("{e:#}");
        1
    })
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_ends_with_64_and_help_with_0() {
        let code = |line: &str| Cli::try_parse_from(line.split(' ')).map_err(|e| parsing_ended(&e)).err();
        for wrong in
            ["pforte", "pforte srve", "pforte check --jsn", "pforte init", "pforte check --user Jane"]
        {
            assert_eq!(code(wrong), Some(64), "{wrong}");
        }
        for answer in ["pforte --help", "pforte --version", "pforte help init", "pforte check --help"] {
            assert_eq!(code(answer), Some(0), "{answer}");
        }
        assert_eq!(code("pforte check --config x"), None);
    }
}
