//! `pforte site init`: a commented `site.toml`, the site's own key, and a PIN for the page.
//! Absent on purpose: overwriting. What is there already stays as it is, and ends the work.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use ssh_key::{Algorithm, LineEnding, PrivateKey};

use super::config::FILE;
use super::page::pin::{self, PinHash};
use crate::names::SiteName;
use crate::owner;
use crate::random::Random;
use crate::secret::Secret;

/// The shipped `site.toml`; `SITE` is the site's name.
pub const EXAMPLE: &str = include_str!("../../contrib/site.toml");
/// Where the key stands below the folder.
const KEY: &str = "secrets/site_ed25519";
/// Where the page's PIN stands.
const PIN: &str = "secrets/pin";

/// What was made.
pub struct Made {
    /// The line of the gateway's `keys/sites/NAME.pub`.
    pub public: String,
    /// For the page; said once.
    pub pin: Secret,
    /// `secrets` and `state` belong to the service's user now.
    pub given: bool,
}

/// Makes it below `dir`, which holds none of it yet.
///
/// # Errors
/// Something is there already, or the disk's.
pub fn run(dir: &Path, name: &SiteName, random: &Random) -> io::Result<Made> {
    let toml = dir.join(FILE);
    if toml.exists() || dir.join(KEY).exists() {
        let text = format!("{} holds a site already; nothing was written", dir.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    for folder in ["secrets", "state"] {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(folder))?;
    }
    let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
    key.set_comment(format!("pforte site {name}"));
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    write_new(&dir.join(KEY), text.as_bytes(), 0o600)?;
    let pin = pin::fresh(random);
    let hash = PinHash::of(&pin, random).map_err(io::Error::other)?;
    write_new(&dir.join(PIN), format!("{}\n", hash.reveal()).as_bytes(), 0o600)?;
    // Last: what is half made is no site.
    write_new(&toml, EXAMPLE.replace("SITE", name.as_str()).as_bytes(), 0o644)?;
    let given = owner::hand_over(dir, &["secrets", "state"], owner::SERVICES[1])?;
    let public = key.public_key().to_openssh().map_err(io::Error::other)?;
    Ok(Made { public, pin, given })
}

/// Another PIN for the page of the site in `dir`; the old one is gone with it.
///
/// # Errors
/// The disk's.
pub fn new_pin(dir: &Path, random: &Random) -> io::Result<Secret> {
    let pin = pin::fresh(random);
    let hash = PinHash::of(&pin, random).map_err(io::Error::other)?;
    let (path, fresh) = (dir.join(PIN), dir.join("secrets/pin.new"));
    std::fs::remove_file(&fresh)
        .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    write_new(&fresh, format!("{}\n", hash.reveal()).as_bytes(), 0o600)?;
    // The service reads it: it stays its owner's.
    if let Ok(old) = path.metadata() {
        use std::os::unix::fs::MetadataExt as _;
        std::os::unix::fs::chown(&fresh, Some(old.uid()), Some(old.gid()))?;
    }
    std::fs::rename(&fresh, &path)?;
    Ok(pin)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
