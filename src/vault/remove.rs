//! Takes a backup away for good.
//! Absent on purpose: choosing which one; that is `retention`.

use object_store::ObjectStoreExt;

use super::{Vault, VaultError, about_path, sealed_path};
use crate::names::{BackupName, KonnektorId};

impl Vault {
    /// Removes the object, then its sidecar: what a crash leaves in between is a sidecar that no list shows. One that is
    /// gone already is gone.
    ///
    /// # Errors
    /// [`VaultError::Store`]; it may be there still.
    pub async fn remove(&self, id: &KonnektorId, name: &BackupName) -> Result<(), VaultError> {
        for path in [sealed_path(id, name), about_path(id, name)] {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
