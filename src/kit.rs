//! `pforte kit USER`: what a technician installs, filled in; and whether an old one still holds.
//! Absent on purpose: secrets. A kit holds public keys, names and paths, and can be sent by mail.

mod choices;
mod facts;
mod files;
mod manifest;
mod numbers;
mod putty;
mod registry;
mod view;

pub use choices::{Choices, Unwritable};
pub use facts::{Facts, Host, NoFacts, Shown, Site};
pub use files::{Files, Unwritten, files};
pub use manifest::Manifest;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::clock::Clock;
use crate::names::Username;

/// How a kit is made or looked at.
#[derive(Args)]
pub struct Options {
    /// Whose kit.
    #[arg(required_unless_present = "check", conflicts_with = "check", requires = "out")]
    user: Option<Username>,
    /// Where to: an empty folder, or one that holds an older kit.
    #[arg(long, value_name = "DIR", requires = "user")]
    out: Option<PathBuf>,
    /// Is the kit in DIR still what would be made today?
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
    /// The folder that holds policy/ and keys/.
    #[arg(long, value_name = "DIR", default_value = ".")]
    config: PathBuf,
    /// Where it will lie at the technician's, from / or ~/ on; without it, where it is written.
    #[arg(long, value_name = "PATH", requires = "user")]
    install_dir: Option<String>,
    /// The technician's private key, from / or ~/ on.
    #[arg(long, value_name = "PATH", default_value = "~/.ssh/id_ed25519")]
    identity: String,
    /// Where ssh keeps its sockets; another one where a home cannot hold any (NFS).
    #[arg(long, value_name = "PATH", default_value = "~/.ssh")]
    control_dir: String,
    /// The key for PuTTY and WinSCP; without it Pageant is asked.
    #[arg(long, value_name = "PATH", requires = "user")]
    ppk: Option<String>,
    /// Sent as EMAIL, by which targets tell people apart.
    #[arg(long, value_name = "ADDRESS", requires = "user")]
    email: Option<String>,
}

/// `EX_USAGE`, `EX_CONFIG` (sysexits.h), and "out of date".
const USAGE: u8 = 64;
const CONFIGURATION: u8 = 78;
const FAILED: u8 = 1;

/// The command. Exit codes: 0 made, or up to date; 1 out of date, or not written; 64 a path that cannot be written
/// down; 78 configuration.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command")]
pub fn run(options: &Options, clock: &Clock) -> u8 {
    let answered = match (&options.check, &options.user, &options.out) {
        (Some(dir), _, _) => check(dir, &options.config, clock),
        (None, Some(user), Some(out)) => make(user, out, options, clock),
        (None, _, _) => return USAGE,
    };
    match answered {
        Ok(Answer { text, code }) => {
            println!("{text}");
            code
        }
        Err(e) => {
            eprintln!("{e:#}");
            if e.is::<NoFacts>() {
                CONFIGURATION
            } else if e.is::<Unwritable>() {
                USAGE
            } else {
                FAILED
            }
        }
    }
}

struct Answer {
    text: String,
    code: u8,
}

fn make(user: &Username, out: &Path, options: &Options, clock: &Clock) -> Result<Answer> {
    let facts = Facts::read(&options.config, user)?;
    let dir = if let Some(dir) = &options.install_dir {
        dir.clone()
    } else {
        std::path::absolute(out)?.to_str().context("--out: expected a path of UTF-8")?.to_owned()
    };
    let choices = Choices {
        dir: dir.trim_end_matches('/').to_owned(),
        identity: options.identity.clone(),
        control_dir: options.control_dir.trim_end_matches('/').to_owned(),
        ppk: options.ppk.clone(),
        email: options.email.clone(),
    };
    choices.check()?;
    let kept = write(out, &facts, &choices, clock)?;
    Ok(Answer { text: made(&facts, out, &kept), code: 0 })
}

/// Writes a kit into `out`: an empty or new folder, or one with an older kit. Files that somebody has changed since
/// are kept as `NAME.before`, whose names are returned.
pub fn write(out: &Path, facts: &Facts, choices: &Choices, clock: &Clock) -> Result<Vec<String>> {
    choices.check()?;
    let files = files(facts, choices)?;
    let manifest = Manifest::of(facts, choices, &files, clock.now());
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let old = Manifest::read(out)?;
    if old.is_none() && fs::read_dir(out)?.next().is_some() {
        bail!("{} holds other files and no kit: give a folder of its own", out.display());
    }
    let mut kept = Vec::new();
    for (name, was) in old.iter().flat_map(|old| &old.files) {
        let path = out.join(name);
        let Ok(bytes) = fs::read(&path) else { continue };
        let hash = manifest::sha256(&bytes);
        if hash != *was && manifest.files.get(name) != Some(&hash) {
            let before = format!("{name}.before");
            fs::rename(&path, out.join(&before)).with_context(|| path.display().to_string())?;
            kept.push(before);
        } else if !files.contains_key(name) {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    for (name, bytes) in &files {
        put(&out.join(name), bytes, if name == files::PROGRAM { 0o755 } else { 0o644 })?;
    }
    // Last: where it stands, the rest does too.
    put(&out.join(manifest::FILE), manifest.text()?.as_bytes(), 0o644)?;
    Ok(kept)
}

/// Whole or not at all, whatever stood there.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut new = path.to_owned();
        new.as_mut_os_string().push(".new");
        match fs::remove_file(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn made(facts: &Facts, out: &Path, kept: &[String]) -> String {
    let (user, place) = (&facts.user, out.display());
    let hosts: Vec<String> = facts.hosts().into_keys().collect();
    let mut lines = vec![if hosts.is_empty() {
        format!(
            "The kit of {user} is in {place}. No rule lets them on to a host: it leads to the gateway alone."
        )
    } else {
        format!("The kit of {user} is in {place}. It leads to {}.", hosts.join(", "))
    }];
    lines.extend(kept.iter().map(|name| format!("What was changed by hand is kept as {place}/{name}.")));
    if !facts.has_key {
        lines.push(format!("They cannot log in yet: write their public key to keys/{user}.pub."));
    }
    for host in facts.sites.iter().flat_map(Site::hosts).filter(|host| host.shown == Shown::Unknown) {
        let names = host.names.join(", ");
        lines.push(format!(
            "{names} is sealed and its site's file has no host_key: ssh will refuse it. Write host_key there and make the kit again."
        ));
    }
    lines.push(format!(
        "It holds no secret. Next: give them the folder; README.txt and LIESMICH.txt say the rest. \
         Later: pforte kit --check {place}"
    ));
    lines.join("\n")
}

fn check(dir: &Path, config: &Path, clock: &Clock) -> Result<Answer> {
    let Some(old) = Manifest::read(dir)? else {
        bail!("{} holds no kit: there is no {}", dir.display(), manifest::FILE);
    };
    old.choices.check()?;
    let facts = Facts::read(config, &old.user)?;
    let files = files(&facts, &old.choices)?;
    let differences = old.differences(dir, &Manifest::of(&facts, &old.choices, &files, clock.now()));
    Ok(if differences.is_empty() {
        Answer { text: format!("The kit of {} in {} is up to date.", old.user, dir.display()), code: 0 }
    } else {
        Answer { text: differences.join("\n"), code: FAILED }
    })
}
