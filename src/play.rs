//! `pforte play`: a recording in the terminal at its own pace, or out as a plain asciicast. Absent on purpose: any gateway; it reads
//! the folder and the vault's identity file, and needs the right to.

pub(crate) mod filter;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use age::x25519::Identity;
use clap::{Args, ValueEnum};

use crate::clock::Clock;
use crate::config::{Config, Folder, Problems};
use crate::names::SessionId;
use crate::recording::{Code, Ending, Exporter, Format, Playback, RecordingName, Recordings, Unreadable};
use crate::vault;
use filter::Filter;

const FAILED: u8 = 1;
const CONFIGURATION: u8 = 78;

/// Brings a terminal back to where a shell expects it: no full screen, no mouse, no paste marks, cursor and colours as usual.
pub(crate) const RESET: &[u8] =
    b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1l\x1b>\x1b[?7h\x1b[?25h\x1b[r\x1b[4l\x1b(B\x1b[0m\r\n";

/// What is to be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    session: SessionId,
    channel: Option<u32>,
}

impl FromStr for Which {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let form = "expected SESSION or SESSION/CHANNEL";
        let (session, channel) = text.split_once('/').map_or((text, None), |(s, c)| (s, Some(c)));
        let channel = channel.map(|channel| channel.parse().map_err(|_| form)).transpose()?;
        Ok(Self { session: session.parse().map_err(|_| form)?, channel })
    }
}

/// asciicast's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    V2,
    V3,
}

/// `pforte play`.
#[derive(Args)]
pub struct Options {
    /// The session's ULID, and its channel where it has several: SESSION/CHANNEL.
    #[arg(value_name = "SESSION[/CHANNEL]")]
    which: Which,
    /// The folder that holds policy/ and keys/.
    #[arg(long, value_name = "DIR", default_value = ".")]
    config: PathBuf,
    /// So many times as fast.
    #[arg(long, value_name = "X", default_value = "1", value_parser = positive)]
    speed: f64,
    /// No pause longer than this, in seconds.
    #[arg(long, value_name = "S", value_parser = positive)]
    idle_limit: Option<f64>,
    /// Write a plain asciicast instead; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// The asciicast's version.
    #[arg(long = "as", value_enum, default_value = "v3", requires = "export")]
    version: Version,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && *x > 0.0)
        .ok_or_else(|| "expected a number above 0".into())
}

/// Plays or exports; the exit code: 0 done, 1 damaged or not there, 78 configuration.
///
/// # Errors
/// Standard output or the file to export to cannot be written.
pub async fn run(options: Options) -> anyhow::Result<u8> {
    let recordings = match shelf(&options.config) {
        Ok(recordings) => recordings,
        Err(why) => {
            say(&why);
            return Ok(CONFIGURATION);
        }
    };
    let name = match choose(&recordings, options.which) {
        Ok(Some(name)) => name,
        Ok(None) => return Ok(FAILED),
        Err(error) => return Ok(failed(&error)),
    };
    let mut playback = match recordings.read(&name) {
        Ok(playback) => playback,
        Err(error) => return Ok(failed(&error)),
    };
    let done = if let Some(file) = &options.export {
        let format = match options.version {
            Version::V2 => Format::V2,
            Version::V3 => Format::V3,
        };
        export(&mut playback, format, file)?
    } else {
        let mut out = std::io::stdout().lock();
        let stop = tokio::signal::ctrl_c();
        let pace = Pace { speed: options.speed, idle_limit: options.idle_limit };
        let played = tokio::select! {
            // First, so that Ctrl-C is heard from the first byte on.
            biased;
            _ = stop => None,
            played = show(&mut playback, &pace, &mut out) => Some(played),
        };
        out.write_all(RESET)?;
        out.flush()?;
        match played {
            Some(played) => played?,
            None => return Ok(0),
        }
    };
    if let Err(error) = done {
        return Ok(failed(&error));
    }
    if playback.ending() == Some(&Ending::Cut) {
        say(
            "The recording was cut here: the gateway was killed, its disk was full, or the session still runs.",
        );
    }
    Ok(0)
}

/// The recordings that a configuration speaks of.
fn shelf(dir: &Path) -> Result<Recordings, String> {
    let mut problems = Problems::default();
    let Some(config) = Config::load(&Folder::new(dir), &mut problems) else {
        return Err(problems.to_string());
    };
    let storage = &config.gateway.storage;
    let file = dir.join(&storage.vault_identity);
    let identities =
        vault::read_identities(&file).map_err(|e| format!("{}: {}", file.display(), e.sentence(false)))?;
    let recipients = identities.iter().map(Identity::to_public).collect();
    let folder = dir.join(&storage.recordings);
    if !folder.is_dir() {
        return Err(format!("{}: there are no recordings", folder.display()));
    }
    Recordings::open(&folder, recipients, identities, Clock::system()).map_err(|e| e.to_string())
}

/// The one that was asked for; none after a list of what could have been meant.
fn choose(recordings: &Recordings, which: Which) -> Result<Option<RecordingName>, Unreadable> {
    let mut found = recordings.of(which.session)?;
    if let Some(channel) = which.channel {
        found.retain(|name| name.channel() == channel);
    }
    if found.len() > 1 {
        say("This session has several recordings:");
        for name in &found {
            let title = match recordings.read(name) {
                Ok(playback) => {
                    let header = playback.header();
                    let command = header.command.as_deref().unwrap_or("a shell");
                    format!("{}  {}  {}", header.pforte.started, header.title, plain(command))
                }
                Err(error) => error.to_string(),
            };
            say(&format!("  {}/{}  {title}", name.session(), name.channel()));
        }
        return Ok(None);
    }
    found.pop().map(Some).ok_or(Unreadable::NotFound)
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect()
}

struct Pace {
    speed: f64,
    idle_limit: Option<f64>,
}

impl Pace {
    fn pause(&self, microseconds: u64) -> Duration {
        let pause = Duration::from_micros(microseconds);
        let limit = self.idle_limit.and_then(|limit| Duration::try_from_secs_f64(limit).ok());
        let pause = pause.min(limit.unwrap_or(Duration::MAX));
        Duration::try_from_secs_f64(pause.as_secs_f64() / self.speed).unwrap_or(Duration::MAX)
    }
}

/// Everything that is sound is shown before damage is told.
async fn show(
    playback: &mut Playback,
    pace: &Pace,
    out: &mut impl Write,
) -> std::io::Result<Result<(), Unreadable>> {
    let mut filter = Filter::new();
    for event in playback {
        let event = match event {
            Ok(event) => event,
            Err(error) => return Ok(Err(error)),
        };
        // Also where there is no pause: Ctrl-C must be heard in a flood.
        tokio::time::sleep(pace.pause(event.after)).await;
        if event.code == Code::Output {
            out.write_all(&filter.shown(&event.data))?;
            out.flush()?;
        }
    }
    Ok(Ok(()))
}

/// A new file of the owner's own, or standard output.
fn export(playback: &mut Playback, format: Format, file: &Path) -> anyhow::Result<Result<(), Unreadable>> {
    use std::os::unix::fs::OpenOptionsExt;
    if file == Path::new("-") {
        return Ok(write(playback, format, &mut std::io::stdout().lock())?);
    }
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    let mut out = std::io::BufWriter::new(opened.map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?);
    let written = write(playback, format, &mut out)?;
    out.flush()?;
    Ok(written)
}

fn write(
    playback: &mut Playback,
    format: Format,
    out: &mut impl Write,
) -> std::io::Result<Result<(), Unreadable>> {
    let mut exporter = Exporter::new(format);
    out.write_all(exporter.header(playback.header()).as_bytes())?;
    for event in playback {
        match event {
            Ok(event) => out.write_all(exporter.event(&event).unwrap_or_default().as_bytes())?,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

fn failed(error: &Unreadable) -> u8 {
    say(&error.to_string());
    FAILED
}

#[expect(clippy::print_stderr, reason = "what a command has to say beside its answer")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_or_one_of_its_channels_can_be_asked_for() {
        let session = "00000000010000000000000002";
        let which: Which = format!("{session}/7").parse().unwrap();
        assert_eq!((which.session.to_string().as_str(), which.channel), (session, Some(7)));
        assert_eq!(session.parse::<Which>().unwrap().channel, None);
        for bad in ["", "x", "00000000010000000000000002/", "00000000010000000000000002/-1", "../x"] {
            assert!(bad.parse::<Which>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pause_is_limited_before_it_is_made_faster() {
        let pace = Pace { speed: 2.0, idle_limit: Some(3.0) };
        assert_eq!(pace.pause(1_000_000), Duration::from_millis(500));
        assert_eq!(pace.pause(u64::MAX), Duration::from_millis(1500));
        assert_eq!(Pace { speed: 1.0, idle_limit: None }.pause(0), Duration::ZERO);
        for bad in ["0", "-1", "inf", "nan", "x"] {
            assert!(positive(bad).is_err(), "{bad}");
        }
    }
}
