//! What a backup has otherwise than the last good one, by services and places.
//! Absent on purpose: values; they are in the backups, for those who may open them.

use jiff::Timestamp;

use super::Konnektors;
use super::backup::Taken;
use super::check::opened;
use crate::config::Language;
use crate::konnektor::archive::Archive;
use crate::konnektor::diff::{Diff, diff};
use crate::konnektor::{Json, Profile, Reading};
use crate::names::{BackupName, KonnektorId, ServiceName};
use crate::prompt::printable;
use crate::state::State;

/// Places that are named at most.
const PLACES: usize = 20;
/// Backups that are opened at most to find a good one.
const OPENED: usize = 40;

/// What differs.
pub(in crate::commands) struct Changed {
    /// From which backup.
    since: BackupName,
    services: Vec<ServiceName>,
    /// `/service` and a JSON pointer.
    places: Vec<String>,
    more: usize,
}

impl Changed {
    /// For the journal: services alone; nothing, if nothing differs.
    pub(in crate::commands) fn cause(&self) -> Option<String> {
        let names: Vec<&str> = self.services.iter().map(ServiceName::as_str).collect();
        (!names.is_empty()).then(|| format!("changed since {}: {}", self.since, names.join(", ")))
    }

    /// For people.
    pub(super) fn words(&self, language: Language) -> String {
        let (since, names) = (&self.since, &self.services);
        let list: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
        let mut text = match (language, names.is_empty()) {
            (Language::English, true) => format!("Nothing has changed since {since}."),
            (Language::German, true) => format!("Seit {since} hat sich nichts geändert."),
            (Language::English, false) => format!("Changed since {since}: {}", list.join(", ")),
            (Language::German, false) => format!("Seit {since} geändert: {}", list.join(", ")),
        };
        for place in &self.places {
            text.push_str("\n  ");
            text.push_str(&printable(place));
        }
        match (language, self.more) {
            (_, 0) => {}
            (Language::English, more) => text.extend(["\n  … and ", &more.to_string(), " more"]),
            (Language::German, more) => text.extend(["\n  … und ", &more.to_string(), " weitere"]),
        }
        text
    }
}

/// What this backup has otherwise than the newest good one before it; none, if there is none. `whole`: it is of all
/// services, so that one which is not in it has gone.
pub(in crate::commands) async fn since_last(
    konnektors: &Konnektors,
    profile: &Profile,
    id: &KonnektorId,
    taken: &Taken,
    whole: bool,
) -> Option<Changed> {
    // What the site sealed cannot be compared.
    let after = taken.reading.clone()?;
    let (since, before) = newest_good(konnektors, id, &taken.name).await?;
    let profile = profile.clone();
    let compared =
        tokio::task::spawn_blocking(move || compare(since, &before, &after, &profile, whole)).await;
    compared.ok()
}

async fn newest_good(
    konnektors: &Konnektors,
    id: &KonnektorId,
    but: &BackupName,
) -> Option<(BackupName, Archive)> {
    let kept = konnektors.vault.list(id).await.ok()?;
    for backup in kept.into_iter().rev().filter(|kept| kept.name != *but).take(OPENED) {
        match opened(konnektors, id, &backup.name).await {
            Ok(archive) if archive.about.failed.is_empty() => return Some((backup.name, archive)),
            Ok(_) | Err(_) => {}
        }
    }
    None
}

fn compare(since: BackupName, before: &Archive, after: &Reading, profile: &Profile, whole: bool) -> Changed {
    let mut found = Changed { since, services: Vec::new(), places: Vec::new(), more: 0 };
    let nothing = || Json::of(&serde_json::Value::Null);
    let mut note = |service: &ServiceName, diff: Diff| {
        if diff.is_empty() {
            return;
        }
        found.services.push(service.clone());
        found.more += diff.more;
        for change in diff.changes {
            if found.places.len() < PLACES {
                found.places.push(format!("/{service}{}", change.place));
            } else {
                found.more += 1;
            }
        }
    };
    for (service, value) in after.services.iter().map(|read| (&read.service, &read.value)) {
        match before.service(service) {
            Some(old) => note(service, diff(old, value, profile)),
            // The one before was of named services.
            None if !whole => {}
            None => note(service, diff(&nothing(), value, profile)),
        }
    }
    if whole {
        let gone = before.services().filter(|(service, _)| {
            !after.services.iter().any(|read| read.service == **service)
                && !after.failed.iter().any(|(failed, _)| failed == *service)
        });
        for (service, value) in gone {
            note(service, diff(value, &nothing(), profile));
        }
    }
    found
}

/// A good backup was taken: none is missing now.
pub(super) async fn note_good(state: &State, id: &KonnektorId, taken: Timestamp) {
    if let Err(e) = state.note_good_backup(&id.to_string(), taken).await {
        tracing::error!("that a backup was taken could not be noted: {e}");
    }
}
