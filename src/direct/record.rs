//! A restore that is not at its end, without a gateway: what is needed to resume it, or to undo it; on disk before each write.
//! Absent on purpose: values of services, the password, any key. The files that it names have the values.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::Lies;
use super::place::{self, Guard, There, Untaken};
use crate::konnektor::restore::Certificates;
use crate::names::{HostPort, ServiceName};

/// It is small.
const LARGEST: u64 = 1024 * 1024;

/// Kept from before the first write until all is as wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// As it was dialled.
    pub(super) konnektor: String,
    /// Its make, for it may not be where it could be asked.
    pub(super) product: String,
    /// What is restored.
    pub(super) file: Lies,
    /// What the box held before.
    pub(super) before: Lies,
    /// `new`, `overwrite`, `delete`, `exact`.
    pub(super) certificates: String,
    /// These alone, if any is named.
    pub(super) services: Vec<ServiceName>,
    /// What may have been written.
    pub(super) attempted: Vec<ServiceName>,
    /// Where the box may be by now.
    pub(super) address: Option<String>,
    /// Whether it came to its last step: then a new restore may take its place.
    pub(super) at_its_end: bool,
    /// When.
    pub(super) began: Timestamp,
}

pub(super) fn word(certificates: Certificates) -> &'static str {
    match certificates {
        Certificates::New => "new",
        Certificates::Overwrite => "overwrite",
        Certificates::Delete => "delete",
        Certificates::Exact => "exact",
    }
}

impl Record {
    pub(super) fn certificates(&self) -> Certificates {
        match self.certificates.as_str() {
            "overwrite" => Certificates::Overwrite,
            "delete" => Certificates::Delete,
            "exact" => Certificates::Exact,
            _ => Certificates::New,
        }
    }

    pub(super) fn path(state: &Path, address: &HostPort) -> PathBuf {
        state.join(format!("restore-{}.json", place::file_name(address)))
    }

    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match place::guarded(path, Guard::Secret, LARGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(Untaken::Io(e)) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(Untaken::Io(e)) => Err(e),
            Err(Untaken::Others) => Err(io::ErrorKind::PermissionDenied.into()),
            Err(Untaken::NoFile | Untaken::TooLarge) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    pub(super) fn keep(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        place::write(path, &text, There::Goes)
    }

    pub(super) fn forget(path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}
