//! Files that people hand in for a site, to be restored later: at `<site>/incoming/<name>.age`, sealed as backups are.
//! Absent on purpose: what is inside. What was handed in is kept byte for byte, and whoever restores it has to judge it.

use std::io::Write;
use std::sync::Arc;

use age::x25519::Recipient;
use jiff::Timestamp;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::sealing::{seal, unseal, whole};
use super::{ABOUT_LIMIT, Vault, VaultError};
use crate::names::{IncomingName, SiteName};

/// The largest file that can be handed in, in bytes.
pub const INCOMING_LARGEST: u64 = 64 << 20;
/// Files that a site may have at once.
pub const INCOMING_FILES: usize = 100;
/// Bytes that they may have together, decrypted.
pub const INCOMING_BYTES: u64 = 1 << 30;
/// What age adds: a stanza for each recipient, 16 bytes for each 64 KiB.
const SEALING: u64 = 1 << 20;

/// A file that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its name.
    pub name: IncomingName,
    /// Its size in bytes, decrypted; none where its sidecar does not tell.
    pub bytes: Option<u64>,
    /// Its size as it lies there.
    pub sealed_bytes: u64,
    /// When it was written last.
    pub modified: Timestamp,
    /// Who handed it in, from its sidecar, which is not trusted.
    pub by: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Sidecar {
    format: u32,
    bytes: u64,
    sealed_bytes: u64,
    sha256: String,
    by: String,
    handed_in: Timestamp,
}

impl Vault {
    /// Keeps what was handed in under `name`, for the vault's recipients and `also`; replaces what had that name. Returns
    /// once it is on disk. `pieces` make up the content, in their order. One caller at a time: it does not count the files.
    ///
    /// # Errors
    /// [`VaultError::Full`], [`VaultError::TooLarge`], [`VaultError::Store`]; nothing of it is kept then, and what had the name
    /// before has it still.
    pub async fn put_incoming(
        &self,
        site: &SiteName,
        name: &IncomingName,
        also: &[Recipient],
        by: (&str, Timestamp),
        pieces: Arc<Vec<Zeroizing<Vec<u8>>>>,
    ) -> Result<(), VaultError> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        if bytes > INCOMING_LARGEST {
            return Err(VaultError::TooLarge);
        }
        let recipients: Vec<Recipient> = self.recipients.iter().chain(also).cloned().collect();
        let sealed = tokio::task::spawn_blocking(move || {
            let write = |out: &mut dyn Write| pieces.iter().try_for_each(|piece| out.write_all(piece));
            seal(write, &recipients)
        });
        let sealed = sealed.await.map_err(|_| VaultError::Store("interrupted".into()))??;
        let sidecar = Sidecar {
            format: 1,
            bytes,
            sealed_bytes: sealed.sealed_bytes(),
            sha256: sealed.sha256.clone(),
            by: by.0.to_owned(),
            handed_in: by.1,
        };
        let sidecar = serde_json::to_vec(&sidecar).map_err(|_| VaultError::Store("about".into()))?;
        // The sidecar first: one that does not fit its file is passed over, a file that lost its content is not mended.
        self.store.put(&about(site, name), PutPayload::from(sidecar)).await?;
        if let Err(error) = self.store.put(&sealed_at(site, name), sealed.payload()).await {
            self.forget_about(site, name).await?;
            return Err(error.into());
        }
        Ok(())
    }

    /// What was handed in at this site, by name; opens none of it. Files that are not ours are passed over.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub async fn list_incoming(&self, site: &SiteName) -> Result<Vec<Incoming>, VaultError> {
        let folder = ObjectPath::from_iter([site.as_str(), "incoming"]);
        let listed = self.store.list_with_delimiter(Some(&folder)).await?;
        let mut found = Vec::new();
        for object in listed.objects {
            let name = object.location.filename().and_then(|name| name.strip_suffix(".age"));
            let Some(name) = name.and_then(|name| name.parse::<IncomingName>().ok()) else { continue };
            let Ok(modified) = Timestamp::from_millisecond(object.last_modified.timestamp_millis()) else {
                continue;
            };
            let sidecar = self.incoming_sidecar(site, &name).await?.filter(|s| s.sealed_bytes == object.size);
            found.push(Incoming {
                bytes: sidecar.as_ref().map(|sidecar| sidecar.bytes),
                sealed_bytes: object.size,
                modified,
                by: sidecar.map(|sidecar| sidecar.by),
                name,
            });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// What was handed in under this name, decrypted.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::WrongIdentity`], [`VaultError::Damaged`], [`VaultError::TooLarge`], [`VaultError::Store`].
    pub async fn get_incoming(
        &self,
        site: &SiteName,
        name: &IncomingName,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let found = self.store.get(&sealed_at(site, name)).await?;
        if found.meta.size > INCOMING_LARGEST + SEALING {
            return Err(VaultError::TooLarge);
        }
        let sealed = found.bytes().await?;
        let identities = Arc::clone(&self.identities);
        let opened = tokio::task::spawn_blocking(move || unseal(sealed.as_ref(), &identities, whole));
        opened.await.map_err(|_| VaultError::Store("interrupted".into()))??.map_err(|_| VaultError::Damaged)
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Store`].
    pub async fn remove_incoming(&self, site: &SiteName, name: &IncomingName) -> Result<(), VaultError> {
        // A store may say nothing about what was not there.
        self.store.head(&sealed_at(site, name)).await?;
        self.store.delete(&sealed_at(site, name)).await?;
        self.forget_about(site, name).await
    }

    /// Gives it another name at its site; `replace` what has that name already, or not.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Exists`], [`VaultError::Store`].
    pub async fn rename_incoming(
        &self,
        site: &SiteName,
        from: &IncomingName,
        to: &IncomingName,
        replace: bool,
    ) -> Result<(), VaultError> {
        self.store.head(&sealed_at(site, from)).await?;
        if from == to {
            return Ok(());
        }
        let (old, new) = (sealed_at(site, from), sealed_at(site, to));
        if replace {
            self.store.rename(&old, &new).await?;
        } else {
            match self.store.rename_if_not_exists(&old, &new).await {
                Err(object_store::Error::AlreadyExists { .. }) => return Err(VaultError::Exists),
                done => done?,
            }
        }
        // Without its sidecar a file is what it is, and so it is with one that does not fit.
        match self.store.rename(&about(site, from), &about(site, to)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn incoming_sidecar(
        &self,
        site: &SiteName,
        name: &IncomingName,
    ) -> Result<Option<Sidecar>, VaultError> {
        let found = match self.store.get(&about(site, name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if found.meta.size > ABOUT_LIMIT {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&found.bytes().await?).ok())
    }

    async fn forget_about(&self, site: &SiteName, name: &IncomingName) -> Result<(), VaultError> {
        match self.store.delete(&about(site, name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn sealed_at(site: &SiteName, name: &IncomingName) -> ObjectPath {
    ObjectPath::from_iter([site.as_str(), "incoming", &format!("{name}.age")])
}

fn about(site: &SiteName, name: &IncomingName) -> ObjectPath {
    ObjectPath::from_iter([site.as_str(), "incoming", &format!("{name}.about")])
}
