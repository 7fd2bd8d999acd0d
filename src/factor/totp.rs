//! The second factor by a code of six digits from an authenticator app (RFC 6238: SHA-1, 30 s, one step either way).
//! Absent on purpose: enrolment, the number of tries, and the storage of used steps.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::fs::OFlags;
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, Builder};
use zeroize::Zeroizing;

use super::{Cause, Code, Verdict};
use crate::names::Username;
use crate::secret::Secret;

/// Seconds a step lasts.
const STEP: u64 = 30;
/// The most bytes of a secret's file.
const FILE_LIMIT: u64 = 1024;

/// What was used could not be stored or read; the text is for the journal.
#[derive(Debug, thiserror::Error)]
#[error("used steps: {0}")]
pub struct StorageError(pub String);

/// Remembers the last step that each user has used (RFC 6238 §5.2: a code counts once).
#[async_trait]
pub trait UsedSteps: Send + Sync {
    /// Atomically: true, and remembered, only if `step` is greater than the last one of this user.
    async fn use_step(&self, user: &Username, step: u64) -> Result<bool, StorageError>;
}

/// Used steps in memory, for tests: they do not outlive a restart, so a code could be used again after one.
#[derive(Default)]
pub struct StepsInMemory(Mutex<HashMap<Username, u64>>);

#[async_trait]
impl UsedSteps for StepsInMemory {
    async fn use_step(&self, user: &Username, step: u64) -> Result<bool, StorageError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = last.get(user).is_none_or(|&last| step > last);
        if newer {
            last.insert(user.clone(), step);
        }
        Ok(newer)
    }
}

/// The provider. A user's secret stands base32-encoded in a file of the user's name, readable by the gateway alone.
pub struct Totp {
    directory: PathBuf,
    used: Arc<dyn UsedSteps>,
}

impl Totp {
    /// `directory` is `secrets/totp`; its files are read at each check, so a new one counts at once.
    #[must_use]
    pub fn new(directory: PathBuf, used: Arc<dyn UsedSteps>) -> Self {
        Self { directory, used }
    }

    async fn matching_step(&self, user: &Username, code: [u8; 6], now: u64) -> Result<Option<u64>, Cause> {
        // The grammar of a username has no `/` and no leading dot.
        let path = self.directory.join(user.as_str());
        let secret = tokio::task::spawn_blocking(move || read_secret(&path)).await;
        let secret = secret.map_err(|_| Cause::BadEnrolment)?;
        // Somebody without enrolment costs the same computation as somebody with one.
        let stand_in = || totp_rs::Secret::from([0; 20]);
        let step = match_step(secret.as_ref().map_or_else(|_| stand_in(), Clone::clone), code, now);
        secret.and(step)
    }
}

#[async_trait]
impl Code for Totp {
    fn name(&self) -> &'static str {
        "totp"
    }

    async fn check(&self, user: &Username, code: &Secret, now: Timestamp) -> Verdict {
        let Some(code) = six_digits(code) else { return Verdict::Denied };
        let Ok(now) = u64::try_from(now.as_second()) else { return Verdict::Failed(Cause::Stale) };
        let step = match self.matching_step(user, code, now).await {
            Err(cause) => return Verdict::Failed(cause),
            Ok(None) => return Verdict::Denied,
            Ok(Some(step)) => step,
        };
        match self.used.use_step(user, step).await {
            Ok(true) => Verdict::Allowed,
            Ok(false) => Verdict::Failed(Cause::Replay),
            Err(error) => {
                tracing::error!(%error, "second factor");
                Verdict::Failed(Cause::Storage)
            }
        }
    }
}

/// Exactly six ASCII digits, once spaces around them are gone.
fn six_digits(code: &Secret) -> Option<[u8; 6]> {
    let digits: [u8; 6] = code.reveal().trim_matches(' ').as_bytes().try_into().ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

/// The latest step, of the one at `now` (seconds since 1970) and its two neighbours, whose code this is.
/// All three are computed and compared in full, whichever fits.
fn match_step(secret: totp_rs::Secret, code: [u8; 6], now: u64) -> Result<Option<u64>, Cause> {
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(STEP)
        .with_secret(secret)
        .build()
        .map_err(|_| Cause::BadEnrolment)?;
    let middle = now / STEP;
    let mut matching = None;
    for step in middle.saturating_sub(1)..=middle.saturating_add(1) {
        let expected = Zeroizing::new(totp.generate(step.saturating_mul(STEP)).to_string());
        if bool::from(expected.as_bytes().ct_eq(&code)) {
            matching = Some(step);
        }
    }
    Ok(matching)
}

/// Reads a secret through one open file, so that what was checked is what is read.
fn read_secret(path: &Path) -> Result<totp_rs::Secret, Cause> {
    let flags =
        i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(|_| Cause::BadEnrolment)?;
    let file: File = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Cause::NoEnrolment),
        Err(_) => return Err(Cause::BadEnrolment),
    };
    let found = file.metadata().map_err(|_| Cause::BadEnrolment)?;
    let ours = crate::owner::is_ours(found.uid());
    if !found.is_file() || found.mode() & 0o077 != 0 || !ours || found.len() > FILE_LIMIT {
        tracing::error!(path = %path.display(), "totp secret: must be a small file of ours with mode 0600");
        return Err(Cause::BadEnrolment);
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_LIMIT).read_to_string(&mut text).map_err(|_| Cause::BadEnrolment)?;
    // Apps show secrets in groups, in small letters, with padding (RFC 4648 §6).
    text.retain(|c| !c.is_ascii_whitespace() && c != '-' && c != '=');
    text.make_ascii_uppercase();
    totp_rs::Secret::try_from_base32(text.as_str()).map_err(|_| Cause::BadEnrolment)
}
