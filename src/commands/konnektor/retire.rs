//! Old backups go, as the site's file has it.
//! Absent on purpose: the rule itself; see `vault::retention`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Konnektors;
use super::check::{Unusable, opened};
use crate::commands::Works;
use crate::journal::CannotJournal;
use crate::journal::started::Routine;
use crate::names::{BackupName, KonnektorId, ServiceName};
use crate::state::{State, StateError};
use crate::vault::VaultError;
use crate::vault::retention::{Candidate, Rules, keep};

/// Why nothing, or not all, was removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRetired {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error(transparent)]
    Journal(#[from] CannotJournal),
}

/// Has any backup of this box had its time? Opens none of them, so the answer may be yes though nothing goes.
pub async fn has_expired(works: &Works, id: &KonnektorId) -> bool {
    let known = works.konnektors.known.load().get(id).and_then(|known| known.retention);
    let Some(rules) = known else { return false };
    let now = works.clock.now();
    candidates(&works.konnektors, &works.state, id).await.is_ok_and(|all| !keep(&all, now, &rules).is_empty())
}

/// Removes those that have had their time, each with its line first; gives their names.
pub(super) async fn retire(
    (konnektors, state): (&Konnektors, &State),
    routine: &Routine,
    rules: &Rules,
    now: Timestamp,
) -> Result<Vec<BackupName>, NotRetired> {
    let id = routine.konnektor();
    let mut all = candidates(konnektors, state, id).await?;
    if keep(&all, now, rules).is_empty() {
        return Ok(Vec::new());
    }
    look_into(konnektors, id, &mut all, now, rules).await;
    let gone = keep(&all, now, rules);
    for name in &gone {
        routine.removes(name).await?;
        konnektors.vault.remove(id, name).await?;
    }
    Ok(gone)
}

async fn candidates(
    konnektors: &Konnektors,
    state: &State,
    id: &KonnektorId,
) -> Result<Vec<Candidate>, NotRetired> {
    // What would bring an interrupted restore to its end stays, whatever form its record has.
    let unfinished = state.unfinished(&id.to_string()).await?.unwrap_or_default();
    let kept = konnektors.vault.list(id).await?;
    Ok(kept
        .into_iter()
        .map(|kept| Candidate {
            taken: kept.about.as_ref().map_or(kept.modified, |about| about.taken),
            good: false,
            pinned: unfinished.contains(kept.name.as_str()),
            name: kept.name,
        })
        .collect())
}

/// Opens those that are old enough to go, and of the younger ones as many as it takes to find a good one: a sidecar is
/// not believed where something goes. The last good copy of each service stays, whichever backup it is in.
async fn look_into(
    konnektors: &Konnektors,
    id: &KonnektorId,
    all: &mut [Candidate],
    now: Timestamp,
    rules: &Rules,
) {
    all.sort_by_key(|one| std::cmp::Reverse((one.taken, one.name.clone())));
    let (mut held, mut found): (BTreeSet<ServiceName>, bool) = (BTreeSet::new(), false);
    for one in all {
        let old = SignedDuration::try_from(rules.all).is_ok_and(|all| now.duration_since(one.taken) >= all);
        if found && !old {
            continue;
        }
        let services: Vec<ServiceName> = match opened(konnektors, id, &one.name).await {
            Ok(archive) => {
                one.taken = archive.about.taken;
                one.good = archive.about.failed.is_empty();
                archive.about.services.into_keys().collect()
            }
            // Nobody here sees into it: that its bytes are those that came is all there is to be known.
            Err(Unusable::Vault(VaultError::SealedForSite)) => {
                let Ok(foreign) = konnektors.vault.foreign(id, &one.name).await else { continue };
                one.good = foreign.missing.is_empty();
                foreign.services
            }
            Err(_) => continue,
        };
        if one.good {
            found = true;
            for service in services {
                one.pinned |= held.insert(service);
            }
        }
    }
}
