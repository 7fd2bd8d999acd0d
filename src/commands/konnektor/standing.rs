//! What a schedule has done at a box, as a job: a backup, a look through all that is kept, old ones removed.
//! Absent on purpose: when, how often, and telling anybody; see `schedule`.

use super::super::jobs::Desk;
use super::super::{Ended, exit};
use super::backup::{By, ended, take};
use super::check::look_through;
use super::{Konnektors, boxes, changed, retire};
use crate::asks::{Chore, Form};
use crate::config::Language;
use crate::journal::started::Routine;
use crate::names::{BackupName, ServiceName};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upshot {
    /// The exit code.
    pub exit: u32,
    /// Why, for programs.
    pub cause: Option<String>,
    /// The backup that was made.
    pub made: Option<BackupName>,
    /// In which services it differs from the last good one.
    pub changed: Option<String>,
    /// Backups that had had their time.
    pub removed: Vec<BackupName>,
}

/// Does it.
pub(in crate::commands) async fn run_chore(
    routine: &Routine,
    desk: &Desk,
    upshot: &mut Upshot,
) -> Result<Ended, Ended> {
    let id = routine.konnektor();
    match routine.chore() {
        Chore::Backup { services } => {
            let ended = backup(routine, desk, services, upshot).await?;
            tidy(routine, desk, upshot).await?;
            Ok(ended)
        }
        Chore::Check => look_through(&desk.works.konnektors, id, Form::Text, &desk.out).await,
        Chore::Tidy => {
            tidy(routine, desk, upshot).await?;
            Ok(Ended::done())
        }
    }
}

async fn backup(
    routine: &Routine,
    desk: &Desk,
    services: &[ServiceName],
    upshot: &mut Upshot,
) -> Result<Ended, Ended> {
    let (konnektors, out): (&Konnektors, _) = (&desk.works.konnektors, &desk.out);
    let id = routine.konnektor();
    let now = desk.works.clock.now();
    let (driver, reached) = konnektors.open(id, boxes::nobody(routine), out).await?;
    let by = By { user: None, session: None, name: "schedule".into() };
    let taken = take(konnektors, (driver.as_ref(), &reached), (services, None), (by, now), out).await;
    driver.logout().await;
    let taken = taken?;
    upshot.made = Some(taken.name.clone());
    desk.job.set_made(taken.name.clone());
    out.line(format!("{id} {}", taken.name)).await?;
    out.data(taken.table.clone()).await?;
    if taken.incomplete.is_empty() {
        changed::note_good(&desk.works.state, id, now).await;
    }
    let changed = changed::since_last(konnektors, driver.profile(), id, &taken, services.is_empty()).await;
    if let Some(changed) = &changed {
        out.say(changed.words(out.language)).await?;
    }
    upshot.changed = changed.as_ref().and_then(changed::Changed::cause);
    ended(taken.incomplete, changed.as_ref(), out).await
}

/// Removes what has had its time. That this fails makes no backup a bad one, but it is said.
async fn tidy(routine: &Routine, desk: &Desk, upshot: &mut Upshot) -> Result<(), Ended> {
    let (konnektors, out) = (&desk.works.konnektors, &desk.out);
    let known = konnektors.known.load().get(routine.konnektor()).and_then(|known| known.retention);
    let Some(rules) = known else { return Ok(()) };
    let now = desk.works.clock.now();
    match retire::retire((konnektors, &desk.works.state), routine, &rules, now).await {
        Ok(removed) => {
            for name in &removed {
                out.line(match out.language {
                    Language::English => format!("removed {name}"),
                    Language::German => format!("entfernt {name}"),
                })
                .await?;
            }
            upshot.removed = removed;
            Ok(())
        }
        Err(e) => Err(Ended::failed(exit::FAILED, format!("retention: {e}"))),
    }
}
