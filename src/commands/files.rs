//! What SFTP on the gateway does with the vault, once it is permitted and journalled: lists, opens, keeps, removes, renames.
//! Absent on purpose: paths, packets and handles (`front`), and any name that was not parsed.

mod json;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Works;
use crate::asks::{FileAsk, FilePlace};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::archive::Archive;
use crate::names::{BackupName, IncomingName, KonnektorId, SiteName};
use crate::vault::{INCOMING_BYTES, INCOMING_FILES, Kept, VaultError};

pub use crate::vault::INCOMING_LARGEST as LARGEST;

/// There is no such file.
pub const NOT_FOUND: VaultError = VaultError::NotFound;
/// There is one already.
pub const EXISTS: VaultError = VaultError::Exists;
/// Files that a site may have in `incoming`.
pub const MOST: usize = INCOMING_FILES;

/// One file as a listing shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its size in bytes, decrypted.
    pub bytes: u64,
    /// When it was taken or handed in, in seconds since 1970.
    pub time: i64,
    /// Who took it or handed it in, if that is a name.
    pub by: Option<String>,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFailed {
    /// The vault says so.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// Another box's file lies there, or what is no backup.
    #[error("archive={0}")]
    Archive(String),
    /// The site has as many files, or bytes, as it may have.
    #[error("incoming=quota")]
    Quota,
    /// What was handed in is no JSON; where reading it stopped.
    #[error("incoming=not-json line={line} column={column}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column in it.
        column: usize,
    },
    /// All connections together transfer as much as they may.
    #[error("no-room")]
    NoRoom,
    /// It was permitted for something else.
    #[error("wrong-place")]
    WrongPlace,
}

impl FileFailed {
    /// Is it that there is no such file?
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Vault(VaultError::NotFound))
    }

    /// One sentence for a person.
    pub fn sentence(&self, language: Language) -> String {
        let german = language == Language::German;
        match (self, german) {
            (Self::Vault(VaultError::NotFound), false) => "There is no such file.".into(),
            (Self::Vault(VaultError::NotFound), true) => "Diese Datei gibt es nicht.".into(),
            (Self::Vault(VaultError::Exists), false) => "A file of that name is there already.".into(),
            (Self::Vault(VaultError::Exists), true) => "Eine Datei dieses Namens gibt es schon.".into(),
            (Self::Vault(e), german) => e.sentence(german),
            (Self::Archive(cause), false) => format!("This is no valid backup of this box: {cause}"),
            (Self::Archive(cause), true) => format!("Das ist keine gültige Sicherung dieses Geräts: {cause}"),
            (Self::Quota, false) => format!(
                "This site's incoming folder is full: {INCOMING_FILES} files, {} MiB. Remove some.",
                INCOMING_BYTES >> 20
            ),
            (Self::Quota, true) => format!(
                "Der Ordner incoming dieses Standorts ist voll: {INCOMING_FILES} Dateien, {} MiB. Bitte aufräumen.",
                INCOMING_BYTES >> 20
            ),
            (Self::NotJson { line, column }, false) => {
                format!("This is not JSON (line {line}, column {column}); nothing was kept.")
            }
            (Self::NotJson { line, column }, true) => {
                format!("Das ist kein JSON (Zeile {line}, Spalte {column}); es wurde nichts aufbewahrt.")
            }
            (Self::NoRoom, false) => {
                "Too much is being transferred by everybody right now. Try again in a minute.".into()
            }
            (Self::NoRoom, true) => {
                "Gerade wird von allen zusammen zu viel übertragen. Versuchen Sie es in einer Minute wieder."
                    .into()
            }
            (Self::WrongPlace, false) => "The gateway asked itself for the wrong thing.".into(),
            (Self::WrongPlace, true) => "Das Gateway hat sich selbst nach dem Falschen gefragt.".into(),
        }
    }
}

/// Content in pieces, so that its size is known to whoever bounds it. Wiped when it is let go.
pub type Pieces = Arc<Vec<Zeroizing<Vec<u8>>>>;

fn person(text: &str) -> Option<String> {
    text.parse::<crate::names::Username>().ok().map(|user| user.to_string())
}

fn of_a_box(started: &Started<FileAsk>) -> Result<&KonnektorId, FileFailed> {
    match &started.ask().place {
        FilePlace::Kept(id) | FilePlace::Backup(id, _) => Ok(id),
        FilePlace::Overview | FilePlace::Incoming(_) => Err(FileFailed::WrongPlace),
    }
}

fn at_incoming(started: &Started<FileAsk>) -> Result<&SiteName, FileFailed> {
    match &started.ask().place {
        FilePlace::Incoming(site) => Ok(site),
        FilePlace::Overview | FilePlace::Kept(_) | FilePlace::Backup(..) => Err(FileFailed::WrongPlace),
    }
}

/// What is kept of the box, the oldest first.
pub async fn backups(started: &Started<FileAsk>, works: &Works) -> Result<Vec<Listed>, FileFailed> {
    let (id, vault) = (of_a_box(started)?, &works.konnektors.vault);
    let mut all = Vec::new();
    for kept in vault.list(id).await? {
        // Without a sidecar only the content knows how long it is; a damaged one shows as it lies there.
        let bytes = if kept.about.is_some() {
            kept.bytes
        } else {
            let length = |from: &mut dyn std::io::Read| std::io::copy(from, &mut std::io::sink()).ok();
            let length = vault.get_read(id, &kept.name, length).await;
            length.ok().flatten().unwrap_or(kept.bytes)
        };
        all.push(listed(&kept, bytes));
    }
    Ok(all)
}

fn listed(kept: &Kept, bytes: u64) -> Listed {
    Listed {
        name: kept.name.to_string(),
        bytes,
        time: kept.about.as_ref().map_or(kept.modified, |about| about.taken).as_second(),
        by: kept.about.as_ref().and_then(|about| person(&about.by)),
    }
}

/// One backup as the vault's index has it, if there is such a one.
pub async fn row_of(
    started: &Started<FileAsk>,
    works: &Works,
    name: &BackupName,
) -> Result<Option<Listed>, FileFailed> {
    let kept = works.konnektors.vault.list(of_a_box(started)?).await?;
    Ok(kept.iter().find(|kept| kept.name == *name).map(|kept| listed(kept, kept.bytes)))
}

/// One backup, decrypted: the same bytes as `konnektor show`; one that its site sealed, as it is.
pub async fn backup(started: &Started<FileAsk>, works: &Works) -> Result<Zeroizing<Vec<u8>>, FileFailed> {
    let FilePlace::Backup(id, name) = &started.ask().place else { return Err(FileFailed::WrongPlace) };
    let vault = &works.konnektors.vault;
    let json = match vault.get(id, name).await {
        Err(VaultError::SealedForSite) => return Ok(vault.get_or_foreign(id, name).await?),
        got => got?,
    };
    match Archive::parse(&json) {
        // age proves no sender: the file has to be the one of this box (its own head says which).
        Ok(archive) if archive.konnektor().as_ref() == Ok(id) => {}
        Ok(_) => return Err(FileFailed::Archive("another-box".into())),
        Err(e) => return Err(FileFailed::Archive(e.to_string())),
    }
    Ok(json)
}

/// What was handed in at the site.
pub async fn incoming(started: &Started<FileAsk>, works: &Works) -> Result<Vec<Listed>, FileFailed> {
    let (site, vault) = (at_incoming(started)?, &works.konnektors.vault);
    let mut listed = Vec::new();
    for file in vault.list_incoming(site).await? {
        let bytes = if let Some(bytes) = file.bytes {
            bytes
        } else {
            let content = vault.get_incoming(site, &file.name).await;
            content.map_or(file.sealed_bytes, |content| content.len() as u64)
        };
        listed.push(Listed {
            name: file.name.to_string(),
            bytes,
            time: file.modified.as_second(),
            by: file.by.as_deref().and_then(person),
        });
    }
    Ok(listed)
}

/// A file that was handed in, decrypted.
pub async fn handed_in(
    started: &Started<FileAsk>,
    works: &Works,
    name: &IncomingName,
) -> Result<Zeroizing<Vec<u8>>, FileFailed> {
    Ok(works.konnektors.vault.get_incoming(at_incoming(started)?, name).await?)
}

/// Keeps what was handed in, byte for byte, if it is JSON. One caller at a time: the quota is counted first.
pub async fn keep(
    started: &Started<FileAsk>,
    works: &Works,
    name: &IncomingName,
    pieces: Pieces,
) -> Result<(), FileFailed> {
    let (site, konnektors) = (at_incoming(started)?, &works.konnektors);
    let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
    if bytes > LARGEST {
        return Err(VaultError::TooLarge.into());
    }
    let checked = pieces.clone();
    let checked = tokio::task::spawn_blocking(move || json::check(&checked));
    checked.await.map_err(|_| VaultError::Store("interrupted".into()))??;
    let others = konnektors.vault.list_incoming(site).await?.into_iter().filter(|file| file.name != *name);
    let (files, together) =
        others.fold((1, bytes), |(n, sum), file| (n + 1, sum + file.bytes.unwrap_or(file.sealed_bytes)));
    if files > INCOMING_FILES || together > INCOMING_BYTES {
        return Err(FileFailed::Quota);
    }
    // The customer's recipients are the site's; each of its boxes knows them.
    let known = konnektors.known.load_full();
    let also = known.iter().find(|(id, _)| id.site == *site).map(|(_, known)| known.recipients.clone());
    let by = (started.who().user().as_str(), works.clock.now());
    Ok(konnektors.vault.put_incoming(site, name, &also.unwrap_or_default(), by, pieces).await?)
}

/// Removes a file that was handed in.
pub async fn remove(
    started: &Started<FileAsk>,
    works: &Works,
    name: &IncomingName,
) -> Result<(), FileFailed> {
    Ok(works.konnektors.vault.remove_incoming(at_incoming(started)?, name).await?)
}

/// Gives a file that was handed in another name; `replace` what has that name, or not.
pub async fn rename(
    started: &Started<FileAsk>,
    works: &Works,
    (from, to): (&IncomingName, &IncomingName),
    replace: bool,
) -> Result<(), FileFailed> {
    Ok(works.konnektors.vault.rename_incoming(at_incoming(started)?, from, to, replace).await?)
}
