//! Reports of visits on disk, each signed with the site's key: `ssh-keygen -Y verify` checks them without us.
//! Absent on purpose: changing one. They are made once, and the oldest go after a year.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use ssh_key::{HashAlg, LineEnding, PrivateKey, SshSig};

use crate::site::desk::{self, Past, REPORT, Report};
use crate::site::record::replace;

/// Reports that are kept.
const MOST: usize = 500;
/// Bytes of all of them.
const ALL_BYTES: u64 = 512 << 20;
/// For how long.
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);
/// What a visit is called that is not reported yet.
const DRAFT: &str = "draft";

/// The folder of reports, and what is in it.
pub struct Shelf {
    folder: PathBuf,
    key: Arc<PrivateKey>,
    site: String,
    title: String,
    /// Newest first.
    kept: Mutex<Vec<(Past, u64)>>,
}

impl Shelf {
    /// Opens it, and signs what a crash has left unreported.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(state: &Path, key: Arc<PrivateKey>, site: &str, title: &str) -> io::Result<Self> {
        let folder = state.join("visits");
        super::super::private_folder(&folder)?;
        let shelf =
            Self { folder, key, site: site.to_owned(), title: title.to_owned(), kept: Mutex::default() };
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&shelf.folder)? {
            let path = entry?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("json") => {
                    let text = std::fs::read(&path)?;
                    // What is no report is left alone.
                    if let Ok(past) = serde_json::from_slice::<Past>(&text) {
                        kept.push((past, text.len() as u64));
                    }
                }
                Some(DRAFT) => {
                    if let Ok(visit) = serde_json::from_slice::<desk::Visit>(&std::fs::read(&path)?)
                        && !shelf.file(&visit.past.visit, "json").exists()
                    {
                        let length = shelf.write(&visit)?;
                        kept.push((visit.past, length));
                    }
                    std::fs::remove_file(&path)?;
                }
                _ => {}
            }
        }
        kept.sort_by_key(|(past, _)| std::cmp::Reverse(past.until));
        *shelf.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(shelf)
    }

    /// Whose it is: the site's name, and the practice's.
    pub(super) fn of(&self) -> (&str, &str) {
        (&self.site, &self.title)
    }

    fn file(&self, visit: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{visit}.{end}"))
    }

    /// Writes down how a visit stands, so that a crash does not lose it.
    ///
    /// # Errors
    /// The disk's.
    pub fn draft(&self, visit: &desk::Visit) -> io::Result<()> {
        replace(&self.file(&visit.past.visit, DRAFT), &serde_json::to_vec(visit)?)
    }

    /// Signs a report and keeps it.
    ///
    /// # Errors
    /// The disk's, or the key cannot sign.
    pub fn put(&self, visit: &desk::Visit, now: Timestamp) -> io::Result<()> {
        let length = self.write(visit)?;
        std::fs::remove_file(self.file(&visit.past.visit, DRAFT)).ok();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, (visit.past.clone(), length));
        kept.sort_by_key(|(past, _)| std::cmp::Reverse(past.until));
        let (mut bytes, mut number) = (0, 0);
        kept.retain(|(past, length)| {
            (bytes, number) = (bytes + length, number + 1);
            let keep = number <= MOST && bytes <= ALL_BYTES && now.duration_since(past.until) < YEAR;
            if !keep {
                std::fs::remove_file(self.file(&past.visit, "json")).ok();
                std::fs::remove_file(self.file(&past.visit, "json.sig")).ok();
            }
            keep
        });
        Ok(())
    }

    fn write(&self, visit: &desk::Visit) -> io::Result<u64> {
        let json = serde_json::to_string_pretty(visit)?;
        let signed = self.key.sign(REPORT, HashAlg::Sha512, json.as_bytes()).map_err(io::Error::other)?;
        let signature = signed.to_pem(LineEnding::LF).map_err(io::Error::other)?;
        // The signature first: a report without one is none.
        replace(&self.file(&visit.past.visit, "json.sig"), signature.as_bytes())?;
        replace(&self.file(&visit.past.visit, "json"), json.as_bytes())?;
        Ok(json.len() as u64)
    }

    /// Visits that are reported, newest first.
    pub fn kept(&self, most: usize) -> Vec<Past> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().take(most).map(|(past, _)| past.clone()).collect()
    }

    /// Has a visit of that name a report?
    pub fn holds(&self, visit: &str) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(past, _)| past.visit == visit)
    }

    /// A report.
    pub fn report(&self, visit: &str) -> Option<Report> {
        if !super::is_session(visit) {
            return None;
        }
        let read = |end| std::fs::read_to_string(self.file(visit, end)).ok();
        let key = self.key.public_key().to_openssh().ok()?;
        Some(Report { json: read("json")?, signature: read("json.sig")?, key })
    }
}

impl Report {
    /// Is it as it was signed, by that key?
    pub fn holds(&self) -> bool {
        let key = ssh_key::PublicKey::from_openssh(&self.key);
        let signature = SshSig::from_pem(&self.signature);
        key.is_ok_and(|key| signature.is_ok_and(|sig| key.verify(REPORT, self.json.as_bytes(), &sig).is_ok()))
    }
}
