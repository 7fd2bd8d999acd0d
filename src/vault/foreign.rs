//! Backups that a site sealed for itself: kept as they came, under their sum; nobody here opens them.
//! Absent on purpose: looking inside. What is known of one stands in its sidecar, as the site told it.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::sealing::hex;
use super::{About, LARGEST, Sidecar, Vault, VaultError, sealed_path};
use crate::names::{BackupName, KonnektorId, ServiceName};

/// What is known of a backup that only its site opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// What is in it.
    pub services: Vec<ServiceName>,
    /// What could not be read.
    pub missing: Vec<ServiceName>,
}

/// A file that a site sealed.
pub struct SiteSealed {
    /// The file, in pieces.
    pub pieces: Vec<Bytes>,
    /// `sha256:` and hex of all of it.
    pub sha256: String,
    /// What is in it.
    pub foreign: Foreign,
}

impl Vault {
    /// Keeps what a site sealed, as it is, under the name of its minute or under `wanted`; returns once it is on disk.
    ///
    /// # Errors
    /// As [`Vault::put`]'s.
    pub async fn put_foreign(
        &self,
        id: &KonnektorId,
        about: &About,
        sealed: SiteSealed,
        wanted: Option<&BackupName>,
    ) -> Result<BackupName, VaultError> {
        let bytes: u64 = sealed.pieces.iter().map(|piece| piece.len() as u64).sum();
        if bytes > LARGEST {
            return Err(VaultError::TooLarge);
        }
        let sidecar = Sidecar {
            format: 1,
            // What anybody gets of it is what lies there.
            bytes,
            sealed_bytes: bytes,
            sha256: sealed.sha256,
            about: about.clone(),
            foreign: Some(sealed.foreign),
        };
        self.keep(id, &sidecar, &|| sealed.pieces.iter().cloned().collect(), wanted).await
    }

    /// What is known of a backup that its site sealed, its bytes held against their sum.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] also where the site did not seal it; [`VaultError::Damaged`] where the sum is another one.
    pub async fn foreign(&self, id: &KonnektorId, name: &BackupName) -> Result<Foreign, VaultError> {
        let sidecar = self.sidecar(id, name).await?.ok_or(VaultError::NotFound)?;
        let foreign = sidecar.foreign.ok_or(VaultError::NotFound)?;
        let bytes = self.as_it_lies(id, name).await?;
        let sum = tokio::task::spawn_blocking(move || hex(&Sha256::digest(&bytes)));
        let sum = sum.await.map_err(|_| VaultError::Store("interrupted".into()))?;
        if sum == sidecar.sha256 { Ok(foreign) } else { Err(VaultError::Damaged) }
    }

    /// What a person gets of a backup: its content; or the file as it lies there, where its site sealed it.
    ///
    /// # Errors
    /// As [`Vault::get`]'s, but for [`VaultError::SealedForSite`].
    pub async fn get_or_foreign(
        &self,
        id: &KonnektorId,
        name: &BackupName,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        match self.get(id, name).await {
            Err(VaultError::SealedForSite) => {
                self.as_it_lies(id, name).await.map(|bytes| Zeroizing::new(bytes.to_vec()))
            }
            got => got,
        }
    }

    async fn as_it_lies(&self, id: &KonnektorId, name: &BackupName) -> Result<Bytes, VaultError> {
        let found = self.store.get(&sealed_path(id, name)).await?;
        if found.meta.size > LARGEST {
            return Err(VaultError::TooLarge);
        }
        Ok(found.bytes().await?)
    }

    /// None of our identities opens it: is that because its site sealed it?
    pub(super) async fn whose(&self, id: &KonnektorId, name: &BackupName) -> VaultError {
        match self.sidecar(id, name).await {
            Ok(Some(sidecar)) if sidecar.foreign.is_some() => VaultError::SealedForSite,
            Ok(_) | Err(_) => VaultError::WrongIdentity,
        }
    }
}
