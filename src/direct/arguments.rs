//! The command line: the old tool's letters and words, the gateway's words, and what a gateway would have known.
//! Absent on purpose: what any of it does.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::konnektor::restore::Certificates;
use crate::konnektor::{CertificatePin, Product};
use crate::names::{ActionName, HostPort, ServiceName};

/// `pforte konnektor`
#[derive(Args)]
#[command(disable_help_subcommand = true)]
pub struct Options {
    #[command(flatten)]
    pub(super) globals: Globals,
    #[command(subcommand)]
    pub(super) doing: Doing,
}

/// What every command takes, before its word or behind it.
#[derive(Args)]
pub(super) struct Globals {
    /// The Konnektor; without a port, its make's own.
    #[arg(short = 'i', long = "ip", value_name = "HOST[:PORT]", global = true)]
    pub(super) host: Option<String>,
    /// The account on it.
    #[arg(short, long, global = true)]
    pub(super) user: Option<String>,
    /// Its password, for the old tool's sake: everybody on this machine can read it in the process list.
    #[arg(short, long, value_name = "PASSWORD", global = true, allow_hyphen_values = true)]
    pub(super) password: Option<String>,
    /// Its password: the first and only line of a file that nobody else can read.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) password_file: Option<PathBuf>,
    /// Its make.
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub(super) product: Make,
    /// Where its connector.sds is, if not on port 443: behind a tunnel.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub(super) sds: Option<HostPort>,
    /// The certificate it has to show: sha256:… (twice where connector.sds shows another).
    #[arg(long, value_name = "sha256:…", global = true)]
    pub(super) certificate: Vec<CertificatePin>,
    /// Keep a certificate that was never seen, without asking.
    #[arg(long, global = true)]
    pub(super) accept_new: bool,
    /// A profile in the place of the shipped one.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) profile: Option<PathBuf>,
    /// Write to a firmware that the profile does not know, too.
    #[arg(long, value_enum, value_name = "any", global = true)]
    pub(super) firmware: Option<Firmware>,
    /// For programs.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// The language; else `LC_ALL` or `LANG`.
    #[arg(long, value_enum, global = true)]
    pub(super) lang: Option<Lang>,
    /// Encrypt what is written to this age recipient; again for more.
    #[arg(long, value_name = "age1…", global = true, value_parser = recipient)]
    pub(super) recipient: Vec<age::x25519::Recipient>,
    /// The age identity that opens an encrypted file.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) identity: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lang {
    De,
    En,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Firmware {
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Make {
    Kocobox,
    Secunet,
    Rise,
    Auto,
}

impl Make {
    pub(super) fn product(self) -> Product {
        match self {
            Self::Kocobox => Product::Kocobox,
            Self::Secunet => Product::Secunet,
            Self::Rise => Product::Rise,
            Self::Auto => Product::Auto,
        }
    }
}

/// The commands.
#[derive(Subcommand)]
pub(super) enum Doing {
    /// Back it up, into one JSON file.
    #[command(visible_alias = "sichern")]
    Backup(Backup),
    /// Write a backup back; --dry-run shows the plan, --resume and --undo end what was interrupted.
    #[command(visible_alias = "einlesen")]
    Restore(Restore),
    /// Have it do something: reboot, …; its data is JSON.
    #[command(visible_alias = "ausfuehren")]
    Perform(Perform),
    /// What it is and how it is.
    #[command(visible_alias = "zustand")]
    Status,
    /// What differs between a backup and the Konnektor, or a second backup.
    #[command(visible_alias = "vergleichen")]
    Diff(Diff),
    /// Its card terminals.
    #[command(visible_alias = "kartenterminals")]
    Terminals,
    /// After a new pairing: the Infomodell's references put right, by a backup from before.
    #[command(visible_alias = "zuordnen")]
    Remap(Remap),
}

#[derive(Args)]
pub(super) struct Backup {
    /// Where to; `-` is standard output. Without it YYYY-MM-DD-HH-MM.json, here.
    #[arg(short, value_name = "FILE|-")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) services: Services,
    /// The old form: `service: value`, and nothing about when and of what.
    #[arg(long)]
    pub(super) plain: bool,
}

#[derive(Args)]
pub(super) struct Services {
    /// These alone.
    #[arg(short = 's', value_name = "SERVICE,…", value_delimiter = ',', num_args = 1..)]
    pub(super) services: Vec<ServiceName>,
}

#[derive(Args)]
pub(super) struct Restore {
    /// The file; `-` is standard input.
    #[arg(short, value_name = "FILE|-", required_unless_present_any = ["resume", "undo"])]
    pub(super) file: Option<PathBuf>,
    /// Client certificates: without it only those come whose names the Konnektor does not have.
    #[arg(short = 'z', value_enum, value_name = "overwrite|delete")]
    pub(super) certificates: Vec<Clients>,
    #[command(flatten)]
    pub(super) services: Services,
    /// Show the plan and write nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Bring an interrupted restore to its end.
    #[arg(long, conflicts_with_all = ["file", "certificates", "services", "dry_run", "undo"])]
    pub(super) resume: bool,
    /// Go back to what the Konnektor held before it.
    #[arg(long, conflicts_with_all = ["file", "certificates", "services", "dry_run"])]
    pub(super) undo: bool,
    /// Do not ask; twice where certificates are deleted.
    #[arg(long, action = ArgAction::Count)]
    pub(super) yes: u8,
    /// Where its address may change to; without it, its own /24.
    #[arg(long, value_name = "CIDR")]
    pub(super) network: Vec<IpNet>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Clients {
    #[value(alias = "ueberschreiben")]
    Overwrite,
    #[value(alias = "loeschen")]
    Delete,
}

impl Restore {
    /// The strongest of what was said.
    pub(super) fn clients(&self) -> Certificates {
        if self.certificates.contains(&Clients::Delete) {
            Certificates::Delete
        } else if self.certificates.contains(&Clients::Overwrite) {
            Certificates::Overwrite
        } else {
            Certificates::New
        }
    }
}

#[derive(Args)]
pub(super) struct Perform {
    /// What.
    #[arg(short, value_name = "ACTION")]
    pub(super) action: ActionName,
    /// With what.
    #[arg(short, value_name = "JSON")]
    pub(super) data: Option<String>,
    /// An action that the profile does not list is sent all the same.
    #[arg(long)]
    pub(super) unknown_action: bool,
}

#[derive(Args)]
pub(super) struct Diff {
    /// The file; a second one instead of the Konnektor.
    #[arg(short, value_name = "FILE|-", required = true)]
    pub(super) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) services: Services,
}

#[derive(Args)]
pub(super) struct Remap {
    /// A backup from before.
    #[arg(short, value_name = "FILE|-")]
    pub(super) file: PathBuf,
    /// An old terminal's id and the new one's.
    #[arg(short = 'm', value_name = "OLD=NEW", value_parser = pair)]
    pub(super) pairs: Vec<(String, String)>,
    /// Show it and write nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,
}

fn recipient(text: &str) -> Result<age::x25519::Recipient, &'static str> {
    text.parse().map_err(|_| "expected age1…")
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        Some(_) | None => Err("expected OLD=NEW"),
    }
}
