//! Backups at rest: each an object encrypted with age, at `<site>/<konnektor>/<name>.age`, on disk before it has a name.
//! Absent on purpose: what is inside, who may read it, and any path that a person could have written.
//!
//! Beside each object lies `<name>.about`, plain JSON for `konnektor backups`: time, sizes, box, firmware, who, and the
//! SHA-256 of the encrypted bytes. It holds no secret and is not trusted: a file is what its decrypted content says.
//! age detects every change of a file, but proves no sender: hold a backup's own `konnektor` against the name asked for.

mod foreign;
mod identities;
mod incoming;
mod remove;
pub mod retention;
mod sealing;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use age::x25519::{Identity, Recipient};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use foreign::{Foreign, SiteSealed};
pub use identities::{generate_identity, read_identities};
pub use incoming::{INCOMING_BYTES, INCOMING_FILES, INCOMING_LARGEST, Incoming};
pub use sealing::{Sealed, seal};

use crate::names::{BackupName, KonnektorId};
use sealing::{unseal, whole};

/// More than this is no backup of ours: 19 services of 64 MiB and some.
const LARGEST: u64 = 2 << 30;
const ABOUT_LIMIT: u64 = 16 * 1024;
const MOST_A_MINUTE: u16 = 9999;

/// What can go wrong with the store. `Display` is for the journal, [`VaultError::sentence`] for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The URL is not one this build opens.
    #[error("vault=bad-url")]
    BadUrl,
    /// Nothing to encrypt to.
    #[error("vault=no-recipients")]
    NoRecipients,
    /// No such backup.
    #[error("vault=not-found")]
    NotFound,
    /// The disk is full; nothing of this backup was kept.
    #[error("vault=full")]
    Full,
    /// None of our identities opens it.
    #[error("vault=wrong-identity")]
    WrongIdentity,
    /// A site sealed it for itself; nobody here opens it.
    #[error("vault=sealed-for-site")]
    SealedForSite,
    /// Cut off or changed.
    #[error("vault=damaged")]
    Damaged,
    /// Larger than any backup.
    #[error("vault=too-large")]
    TooLarge,
    /// A backup of that name is kept already.
    #[error("vault=exists")]
    Exists,
    /// 9,999 backups in one minute.
    #[error("vault=no-name-left")]
    NoNameLeft,
    /// An identity file that others can read, or that holds none.
    #[error("vault=bad-identity-file cause={0}")]
    BadIdentityFile(&'static str),
    /// The store failed otherwise.
    #[error("vault=store cause={0}")]
    Store(String),
}

impl VaultError {
    /// One sentence for a person.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        let (english, deutsch) = match self {
            Self::BadUrl => (
                "The vault's URL is not one this build opens.",
                "Die URL des Tresors kann dieses Programm nicht öffnen.",
            ),
            Self::NoRecipients => (
                "The vault has no key to encrypt to.",
                "Der Tresor hat keinen Schlüssel, für den er verschlüsselt.",
            ),
            Self::NotFound => ("There is no such backup.", "Diese Sicherung gibt es nicht."),
            Self::Full => (
                "The vault's disk is full; nothing was kept.",
                "Der Datenträger des Tresors ist voll; es wurde nichts aufbewahrt.",
            ),
            Self::WrongIdentity => (
                "This backup is encrypted for another key.",
                "Diese Sicherung ist für einen anderen Schlüssel verschlüsselt.",
            ),
            Self::SealedForSite => (
                "The site has encrypted this backup for itself; only there it can be opened: age -d -i KEY FILE > backup.json, then pforte konnektor einlesen -f backup.json.",
                "Der Kunde hat diese Sicherung für sich verschlüsselt; nur dort lässt sie sich öffnen: age -d -i SCHLÜSSEL DATEI > sicherung.json, dann pforte konnektor einlesen -f sicherung.json.",
            ),
            Self::Damaged => (
                "This backup is damaged or was changed.",
                "Diese Sicherung ist beschädigt oder wurde verändert.",
            ),
            Self::TooLarge => ("This is larger than any backup.", "Das ist größer als jede Sicherung."),
            Self::Exists => {
                ("A backup of that name is kept already.", "Eine Sicherung dieses Namens gibt es schon.")
            }
            Self::NoNameLeft => {
                ("Too many backups in this minute.", "Zu viele Sicherungen in dieser Minute.")
            }
            Self::BadIdentityFile(_) => (
                "The vault's key file cannot be used.",
                "Die Schlüsseldatei des Tresors ist nicht brauchbar.",
            ),
            Self::Store(_) => (
                "The vault cannot be read or written.",
                "Der Tresor kann nicht gelesen oder beschrieben werden.",
            ),
        };
        if german { deutsch } else { english }.to_owned()
    }
}

impl VaultError {
    fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let kind = error.kind();
        if matches!(kind, StorageFull | QuotaExceeded) { Self::Full } else { Self::Store(kind.to_string()) }
    }
}

impl From<object_store::Error> for VaultError {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return Self::NotFound;
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(at) = cause {
            if let Some(io) = at.downcast_ref::<std::io::Error>() {
                return Self::of(io);
            }
            cause = at.source();
        }
        Self::Store("object-store".into())
    }
}

/// What `konnektor backups` shows of a backup without opening it; no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The box, `KoCoBox MED+`.
    pub product: String,
    /// Its firmware.
    pub firmware: String,
    /// Who took it.
    pub by: String,
    /// When it was taken.
    pub taken: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Sidecar {
    format: u32,
    bytes: u64,
    sealed_bytes: u64,
    sha256: String,
    #[serde(flatten)]
    about: About,
    /// There, where the site sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    foreign: Option<Foreign>,
}

/// A backup in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: BackupName,
    /// Its size in bytes: decrypted where known, else as it lies there.
    pub bytes: u64,
    /// When the object was written.
    pub modified: Timestamp,
    /// From its sidecar; none if that is missing, unreadable, or of an object of another size.
    pub about: Option<About>,
    /// There, where the site sealed it for itself.
    pub foreign: Option<Foreign>,
}

/// Removes what a killed process left half written below `dir`: the store stages a file beside its place as `NAME#N`.
/// Only before the vault is opened, and by the one process that writes it.
///
/// # Errors
/// [`VaultError::Store`]: the folder cannot be read, or a file not removed.
pub fn sweep(dir: &Path) -> Result<(), VaultError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(VaultError::of(&e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| VaultError::of(&e))?;
        let name = entry.file_name();
        let staged = name.to_str().and_then(|name| name.rsplit_once('#')).is_some_and(|(stem, number)| {
            let ours = [".age", ".about"].iter().any(|ending| stem.ends_with(ending));
            ours && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        });
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep(&entry.path())?;
        } else if staged {
            std::fs::remove_file(entry.path()).map_err(|e| VaultError::of(&e))?;
        }
    }
    Ok(())
}

/// The store and its keys.
#[derive(Clone)]
pub struct Vault {
    store: Arc<dyn ObjectStore>,
    recipients: Arc<[Recipient]>,
    identities: Arc<[Identity]>,
}

impl Vault {
    /// Opens `file:PATH` (relative to `base`); makes the folder, for its owner only.
    ///
    /// # Errors
    /// [`VaultError::BadUrl`], [`VaultError::NoRecipients`], [`VaultError::Store`].
    pub fn open(
        url: &str,
        base: &Path,
        recipients: Vec<Recipient>,
        identities: Vec<Identity>,
    ) -> Result<Self, VaultError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = url.strip_prefix("file:").ok_or(VaultError::BadUrl)?;
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains(['?', '#', '%']) {
            return Err(VaultError::BadUrl);
        }
        let path = base.join(path);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| VaultError::of(&error))?;
        let store = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
        Self::over(Arc::new(store), recipients, identities)
    }

    /// A vault over any store that puts an object whole or not at all, and refuses to replace one ([`PutMode::Create`]).
    ///
    /// # Errors
    /// [`VaultError::NoRecipients`].
    pub fn over(
        store: Arc<dyn ObjectStore>,
        recipients: Vec<Recipient>,
        identities: Vec<Identity>,
    ) -> Result<Self, VaultError> {
        if recipients.is_empty() {
            return Err(VaultError::NoRecipients);
        }
        Ok(Self { store, recipients: recipients.into(), identities: identities.into() })
    }

    /// Keeps a backup, encrypted for the vault's recipients and for `also` (the site's), under the name of its minute;
    /// or under `wanted`; returns once it is on disk. Two at once get two names, but the same wanted one only once.
    ///
    /// # Errors
    /// [`VaultError::Full`], [`VaultError::NoNameLeft`], [`VaultError::Exists`], [`VaultError::TooLarge`], [`VaultError::Store`]; nothing is kept then.
    pub async fn put(
        &self,
        id: &KonnektorId,
        about: &About,
        also: &[Recipient],
        content: Zeroizing<Vec<u8>>,
        wanted: Option<&BackupName>,
    ) -> Result<BackupName, VaultError> {
        if content.len() as u64 > LARGEST {
            return Err(VaultError::TooLarge);
        }
        self.put_written(id, about, also, move |out| out.write_all(&content), wanted).await
    }

    /// The same for content that is written straight into the encryption: no copy of it is held.
    ///
    /// # Errors
    /// As [`Vault::put`]'s.
    pub async fn put_written<W>(
        &self,
        id: &KonnektorId,
        about: &About,
        also: &[Recipient],
        write: W,
        wanted: Option<&BackupName>,
    ) -> Result<BackupName, VaultError>
    where
        W: FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
    {
        let recipients: Vec<Recipient> = self.recipients.iter().chain(also).cloned().collect();
        let sealed = tokio::task::spawn_blocking(move || seal(write, &recipients));
        let sealed = sealed.await.map_err(|_| VaultError::Store("interrupted".into()))??;
        let sidecar = Sidecar {
            format: 1,
            bytes: sealed.bytes,
            sealed_bytes: sealed.sealed_bytes(),
            sha256: sealed.sha256.clone(),
            about: about.clone(),
            foreign: None,
        };
        self.keep(id, &sidecar, &|| sealed.payload(), wanted).await
    }

    /// Puts an object and its sidecar under the first name that is free.
    async fn keep(
        &self,
        id: &KonnektorId,
        sidecar: &Sidecar,
        payload: &(dyn Fn() -> PutPayload + Sync),
        wanted: Option<&BackupName>,
    ) -> Result<BackupName, VaultError> {
        let taken = sidecar.about.taken;
        let sidecar = serde_json::to_vec(sidecar).map_err(|_| VaultError::Store("about".into()))?;
        for again in 1..=MOST_A_MINUTE {
            let name = wanted.map_or_else(|| minute(taken, again), |name| Ok(name.clone()))?;
            let create = PutOptions::from(PutMode::Create);
            match self.store.put_opts(&sealed_path(id, &name), payload(), create).await {
                Ok(_) => {}
                Err(object_store::Error::AlreadyExists { .. }) if wanted.is_some() => {
                    return Err(VaultError::Exists);
                }
                Err(object_store::Error::AlreadyExists { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            if let Err(error) = self.store.put(&about_path(id, &name), PutPayload::from(sidecar)).await {
                self.store.delete(&sealed_path(id, &name)).await?;
                return Err(error.into());
            }
            return Ok(name);
        }
        Err(VaultError::NoNameLeft)
    }

    /// What is kept of this box, the oldest first; opens no backup. Files that are not ours are passed over.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub async fn list(&self, id: &KonnektorId) -> Result<Vec<Kept>, VaultError> {
        let folder = ObjectPath::from_iter([id.site.as_str(), id.konnektor.as_str()]);
        let listed = self.store.list_with_delimiter(Some(&folder)).await?;
        let ours = listed.objects.into_iter().filter_map(|object| {
            let name: BackupName = object.location.filename()?.strip_suffix(".age")?.parse().ok()?;
            let modified = Timestamp::from_millisecond(object.last_modified.timestamp_millis()).ok()?;
            Some((name, object.size, modified))
        });
        let kept = futures::stream::iter(ours).map(|(name, size, modified)| async move {
            let sidecar = self.sidecar(id, &name).await?.filter(|sidecar| sidecar.sealed_bytes == size);
            let bytes = sidecar.as_ref().map_or(size, |sidecar| sidecar.bytes);
            let (about, foreign) = sidecar.map_or((None, None), |all| (Some(all.about), all.foreign));
            Ok::<_, VaultError>(Kept { name, bytes, modified, about, foreign })
        });
        let mut kept: Vec<Kept> = kept.buffered(8).try_collect().await?;
        kept.sort_by_key(|kept| age_of(&kept.name));
        Ok(kept)
    }

    /// A backup's content, decrypted.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::WrongIdentity`], [`VaultError::Damaged`], [`VaultError::TooLarge`], [`VaultError::Store`].
    pub async fn get(&self, id: &KonnektorId, name: &BackupName) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.get_read(id, name, whole).await?.map_err(|_| VaultError::Damaged)
    }

    /// The same for who reads it as a stream: no copy of it is held. What `read` makes of it counts only if the stream
    /// has come to its end undamaged.
    ///
    /// # Errors
    /// As [`Vault::get`]'s.
    pub async fn get_read<T: Send + 'static>(
        &self,
        id: &KonnektorId,
        name: &BackupName,
        read: impl FnOnce(&mut dyn Read) -> T + Send + 'static,
    ) -> Result<T, VaultError> {
        let found = self.store.get(&sealed_path(id, name)).await?;
        if found.meta.size > LARGEST {
            return Err(VaultError::TooLarge);
        }
        let identities = Arc::clone(&self.identities);
        let opened = match found.payload {
            // Read as it is decrypted: no copy of it is held.
            GetResultPayload::File(file, _) => tokio::task::spawn_blocking(move || {
                unseal(std::io::BufReader::with_capacity(65_536, file), &identities, read)
            }),
            GetResultPayload::Stream(stream) => {
                let pieces: Vec<Bytes> = stream.try_collect().await?;
                let sealed = pieces.concat();
                tokio::task::spawn_blocking(move || unseal(sealed.as_slice(), &identities, read))
            }
        };
        match opened.await.map_err(|_| VaultError::Store("interrupted".into()))? {
            Err(VaultError::WrongIdentity) => Err(self.whose(id, name).await),
            read => read,
        }
    }

    async fn sidecar(&self, id: &KonnektorId, name: &BackupName) -> Result<Option<Sidecar>, VaultError> {
        let found = match self.store.get(&about_path(id, name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if found.meta.size > ABOUT_LIMIT {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&found.bytes().await?).ok())
    }
}

fn sealed_path(id: &KonnektorId, name: &BackupName) -> ObjectPath {
    ObjectPath::from_iter([id.site.as_str(), id.konnektor.as_str(), &format!("{name}.age")])
}

fn about_path(id: &KonnektorId, name: &BackupName) -> ObjectPath {
    ObjectPath::from_iter([id.site.as_str(), id.konnektor.as_str(), &format!("{name}.about")])
}

/// `YYYY-MM-DD-HH-MM.json`, UTC; from the second on with its number.
fn minute(time: Timestamp, again: u16) -> Result<BackupName, VaultError> {
    let stem = time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d-%H-%M").to_string();
    let text = if again == 1 { format!("{stem}.json") } else { format!("{stem}-{again}.json") };
    text.parse().map_err(|_| VaultError::Store("time".into()))
}

/// Sorts `-10` after `-9`.
fn age_of(name: &BackupName) -> (String, u16) {
    let text = name.as_str().trim_end_matches(".json");
    let (stem, again) = text.split_at_checked(16).unwrap_or((text, ""));
    (stem.to_owned(), again.trim_start_matches('-').parse().unwrap_or(1))
}
