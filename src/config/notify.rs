//! `[notify]` of gateway.toml: who is told of backups that failed and of fraud, and of what.
//! Absent on purpose: sending.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::files::Folder;
use super::problems::{Problems, near_miss};
use super::reader::Table;
use crate::secret::Secret;

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Notice {
    /// A scheduled backup failed for good.
    BackupFailed,
    /// There is no good backup as recent as the schedule wants.
    BackupMissing,
    /// A backup differs from the last one.
    BackupChanged,
    /// A restore is not at its end.
    RestoreInterrupted,
    /// Old backups were removed.
    Retention,
    /// A kept backup cannot be used.
    CheckFailed,
    /// Somebody reported a question of the second factor as not theirs.
    Fraud,
}

impl Notice {
    /// All of them.
    pub const ALL: [Notice; 7] = [
        Notice::BackupFailed,
        Notice::BackupMissing,
        Notice::BackupChanged,
        Notice::RestoreInterrupted,
        Notice::Retention,
        Notice::CheckFailed,
        Notice::Fraud,
    ];

    /// Those that are told where the file does not choose.
    pub const USUAL: [Notice; 5] = [
        Notice::BackupFailed,
        Notice::BackupMissing,
        Notice::CheckFailed,
        Notice::RestoreInterrupted,
        Notice::Fraud,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Notice::BackupFailed => "backup-failed",
            Notice::BackupMissing => "backup-missing",
            Notice::BackupChanged => "backup-changed",
            Notice::RestoreInterrupted => "restore-interrupted",
            Notice::Retention => "retention",
            Notice::CheckFailed => "check-failed",
            Notice::Fraud => "fraud",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Notice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Notice::ALL.into_iter().find(|notice| notice.as_str() == text).ok_or_else(|| {
            let known = Notice::ALL.map(Notice::as_str);
            format!("is none of \"{}\"{}", known.join("\", \""), near_miss(text, known))
        })
    }
}

/// Where notices go.
pub struct Notify {
    /// Posted there.
    pub url: url::Url,
    /// The HMAC key.
    pub secret: Secret,
    /// A CA file, PEM, instead of the system's.
    pub ca: Option<PathBuf>,
    /// These alone.
    pub events: Vec<Notice>,
}

/// The shortest HMAC key.
const SECRET_MIN: usize = 16;

pub(super) fn notify(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<Notify> {
    let url = table.required::<url::Url>("url", problems);
    let place = table.place();
    let secret = folder.secret(&mut table, "secret", problems);
    if !table.holds("secret") {
        table.missing("secret");
    }
    if secret.as_ref().is_some_and(|secret| secret.reveal().len() < SECRET_MIN) {
        problems.add(place, format!("notify.secret: expected at least {SECRET_MIN} bytes"));
    }
    let ca = table.parsed::<PathBuf>("ca", problems).map(|p| folder.path(p.value));
    let events = table.list::<Notice>("events", problems);
    table.finish(problems);
    let url = url?;
    if !matches!(url.value.scheme(), "http" | "https") || !url.value.has_host() {
        problems.add(url.place, "url: expected https://HOST/PATH");
    }
    Some(Notify {
        url: url.value,
        secret: secret?,
        ca,
        events: events
            .map_or_else(|| Notice::USUAL.to_vec(), |list| list.into_iter().map(|n| n.value).collect()),
    })
}
