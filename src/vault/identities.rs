//! The vault's private keys: age identity files as `age-keygen` writes them.
//! Absent on purpose: passphrases and plugins; the file's mode guards it.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::VaultError;

/// Larger files are not read.
const LARGEST: u64 = 64 * 1024;

/// Makes a key and writes it to a new file of mode 0600, on disk before it returns; answers whom to encrypt to.
///
/// # Errors
/// [`VaultError::BadIdentityFile`] if the file exists, [`VaultError::Full`], [`VaultError::Store`].
pub fn generate_identity(path: &Path) -> Result<Recipient, VaultError> {
    let failed = |error: std::io::Error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        if exists { VaultError::BadIdentityFile("exists") } else { VaultError::of(&error) }
    };
    let identity = Identity::generate();
    let recipient = identity.to_public();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let key = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {recipient}\n{}\n", key.expose_secret()));
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        std::fs::remove_file(path).map_err(failed)?;
        return Err(failed(error));
    }
    Ok(recipient)
}

/// The keys of a file that only its owner can read, who is root or this process's user.
///
/// # Errors
/// [`VaultError::BadIdentityFile`], [`VaultError::Store`].
pub fn read_identities(path: &Path) -> Result<Vec<Identity>, VaultError> {
    let failed = |error: std::io::Error| VaultError::of(&error);
    // A FIFO must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    trusted(facts.uid(), facts.mode())?;
    if !facts.is_file() {
        return Err(VaultError::BadIdentityFile("is no file"));
    }
    let mut text = Zeroizing::new(String::new());
    if file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)? as u64 > LARGEST {
        return Err(VaultError::BadIdentityFile("too large"));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identities: Result<Vec<Identity>, _> = lines.map(str::parse).collect();
    match identities {
        Ok(identities) if !identities.is_empty() => Ok(identities),
        Ok(_) => Err(VaultError::BadIdentityFile("holds no key")),
        Err(_) => Err(VaultError::BadIdentityFile("not an age identity")),
    }
}

fn trusted(owner: u32, mode: u32) -> Result<(), VaultError> {
    if !crate::owner::is_ours(owner) {
        return Err(VaultError::BadIdentityFile("belongs to neither root nor the gateway's own user"));
    }
    if mode & 0o077 != 0 {
        return Err(VaultError::BadIdentityFile("others can read it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_file_of_another_user_is_refused() {
        let us = rustix::process::geteuid().as_raw();
        assert!(trusted(us, 0o100_600).is_ok());
        assert!(trusted(0, 0o100_600).is_ok());
        assert!(trusted(us + 1, 0o100_600).is_err());
        assert!(trusted(us, 0o100_640).is_err());
    }
}
