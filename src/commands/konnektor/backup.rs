//! `konnektor backup`: what the box says, kept.
//! Absent on purpose: judging the values; a backup holds what was read and says what was not.

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::super::jobs::Desk;
use super::super::{Ended, Gone, Out, exit};
use super::changed::{self, Changed};
use super::{Konnektors, Reached, failed, vault_failed, visitor};
use crate::asks::{Command, Into};
use crate::config::Language;
use crate::journal::started::Started;
use crate::konnektor::archive::{Archive, Stamp};
use crate::konnektor::{Identity, Konnektor, Progress, Reading, Step};
use crate::names::{BackupName, KonnektorId, ServiceName, SessionId, Username};
use crate::vault::About;

/// Who has a backup taken.
pub(in crate::commands) struct By {
    /// The person, if there is one.
    pub(in crate::commands) user: Option<Username>,
    /// Their connection.
    pub(in crate::commands) session: Option<SessionId>,
    /// As `konnektor backups` shows it.
    pub(in crate::commands) name: String,
}

impl By {
    pub(in crate::commands) fn of(started: &Started<Command>) -> Self {
        let who = started.who();
        let user = who.user().clone();
        Self { name: user.to_string(), user: Some(user), session: Some(who.connection().session) }
    }
}

/// A backup that was taken and kept.
pub(in crate::commands) struct Taken {
    pub(in crate::commands) name: BackupName,
    pub(in crate::commands) identity: Identity,
    /// Its values are shared with what was kept; none, where the site sealed it.
    pub(in crate::commands) reading: Option<Reading>,
    /// The services and their sizes, for people.
    pub(in crate::commands) table: String,
    pub(in crate::commands) incomplete: Vec<String>,
}

/// Reads the box and keeps what it said.
pub(in crate::commands) async fn take(
    konnektors: &Konnektors,
    (driver, reached): (&dyn Konnektor, &Reached),
    (services, wanted): (&[ServiceName], Option<&BackupName>),
    (by, taken): (By, Timestamp),
    out: &Out,
) -> Result<Taken, Ended> {
    if let Some(backups) = &reached.sealed {
        let at = (backups, driver, reached);
        return super::sealed::take(konnektors, at, (services, wanted), (by, taken), out).await;
    }
    let id = &reached.id;
    // Make and firmware first: what is kept has to say what it was taken from.
    let identity = match driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(failed(out, &e).await),
    };
    let reading = match read(driver, services, out).await? {
        Ok(reading) => reading,
        Err(e) => return Err(failed(out, &e).await),
    };
    let table = table(&reading, out.language);
    let incomplete: Vec<String> = reading.failed.iter().map(|(name, _)| name.to_string()).collect();
    let about = About {
        product: identity.product_name.clone(),
        firmware: identity.firmware.clone(),
        by: by.name,
        taken,
    };
    let stamp =
        Stamp { identity: identity.clone(), konnektor: id.clone(), taken, by: by.user, session: by.session };
    let archive = Archive::of(reading.clone(), stamp);
    let kept = konnektors
        .vault
        .put_written(id, &about, &reached.recipients, move |out| archive.write_to(out), wanted)
        .await;
    match kept {
        Ok(name) => Ok(Taken { name, identity, reading: Some(reading), table, incomplete }),
        Err(e) => Err(vault_failed(out, &e).await),
    }
}

/// Reads services, each step told.
pub(crate) async fn read(
    driver: &dyn Konnektor,
    services: &[ServiceName],
    out: &Out,
) -> Result<Result<Reading, crate::konnektor::Error>, Gone> {
    let (teller, steps) = teller();
    followed(async move { driver.read(services, &teller).await }, steps, out).await
}

/// Who is told steps, and what comes of that for [`followed`].
pub(super) fn teller() -> (Teller, mpsc::Receiver<String>) {
    let (told, steps) = mpsc::channel(64);
    (Teller { told }, steps)
}

/// Does something, and shows its steps until whoever tells them is gone with it.
pub(super) async fn followed<T>(
    work: impl Future<Output = T>,
    steps: mpsc::Receiver<String>,
    out: &Out,
) -> Result<T, Gone> {
    let (done, shown) = tokio::join!(work, tell(steps, out));
    shown?;
    Ok(done)
}

/// Runs it.
pub(super) async fn backup(
    started: &Started<Command>,
    desk: &Desk,
    id: &KonnektorId,
    into: &Into,
    services: &[ServiceName],
) -> Result<Ended, Ended> {
    let (konnektors, out) = (&desk.works.konnektors, &desk.out);
    let taken = desk.works.clock.now();
    let (driver, reached) = konnektors.open(id, visitor(started), out).await?;
    let wanted = match into {
        Into::Named(name) => Some(name),
        Into::Store | Into::Output => None,
    };
    let by = (By::of(started), taken);
    let kept = take(konnektors, (driver.as_ref(), &reached), (services, wanted), by, out).await;
    driver.logout().await;
    let kept = kept?;
    if kept.incomplete.is_empty() && services.is_empty() {
        changed::note_good(&desk.works.state, id, taken).await;
    }
    let changed = changed::since_last(konnektors, driver.profile(), id, &kept, services.is_empty()).await;
    if *into == Into::Output {
        out.say(format!("{id} {}", kept.name)).await?;
    } else {
        out.line(format!("{id} {}", kept.name)).await?;
        out.data(kept.table).await?;
    }
    if let Some(changed) = &changed {
        out.say(changed.words(out.language)).await?;
    }
    if kept.reading.is_none() {
        let english = "The site has encrypted it for itself: only there it can be opened.";
        let german = "Der Kunde hat sie für sich verschlüsselt: Nur dort lässt sie sich öffnen.";
        out.say(out.pick(english, german)).await?;
    }
    desk.job.set_made(kept.name);
    ended(kept.incomplete, changed.as_ref(), out).await
}

/// How a backup ended that was kept.
pub(super) async fn ended(
    incomplete: Vec<String>,
    changed: Option<&Changed>,
    out: &Out,
) -> Result<Ended, Ended> {
    if incomplete.is_empty() {
        return Ok(Ended { exit: exit::DONE, cause: changed.and_then(Changed::cause) });
    }
    self::incomplete(&incomplete, out).await
}

/// Kept is what could be read; says what could not.
pub(crate) async fn incomplete(services: &[String], out: &Out) -> Result<Ended, Ended> {
    let list = services.join(", ");
    out.say(match out.language {
        Language::English => {
            format!("Kept, but without: {list}. The account on the box may not be allowed to read them.")
        }
        Language::German => {
            format!("Gesichert, aber ohne: {list}. Vielleicht darf das Konto auf dem Gerät sie nicht lesen.")
        }
    })
    .await?;
    Ok(Ended::failed(exit::FAILED, format!("incomplete: {list}")))
}

/// The services and their sizes.
pub(crate) fn table(reading: &Reading, language: Language) -> String {
    let mut text = String::new();
    for read in &reading.services {
        let (bytes, stripped) = (read.bytes as u64, read.stripped.len() as u64);
        text.push_str(&row(&read.service, bytes, stripped, language));
    }
    for (service, why) in &reading.failed {
        let line = format!("{service}\t-\t{}\n", why.sentence(language == Language::German));
        text.push_str(&line);
    }
    text
}

/// One service and its size.
pub(super) fn row(service: &ServiceName, bytes: u64, stripped: u64, language: Language) -> String {
    let stripped = match (stripped, language) {
        (0, _) => String::new(),
        (n, Language::English) => format!("\t{n} personal data left out"),
        (n, Language::German) => format!("\t{n} personenbezogene Angaben weggelassen"),
    };
    format!("{service}\t{bytes}{stripped}\n")
}

/// Hands each step on to the person; a client that does not read loses steps, not the backup.
pub(super) struct Teller {
    told: mpsc::Sender<String>,
}

impl Progress for Teller {
    fn step(&self, step: &Step<'_>) {
        let line = match step {
            Step::Started { .. } => return,
            Step::Done { service, bytes, took } => format!("{service} {bytes} B {} ms", took.as_millis()),
            Step::Failed { service, .. } => format!("{service} -"),
        };
        if self.told.try_send(line).is_err() {
            tracing::trace!("a step was not shown");
        }
    }
}

async fn tell(mut steps: mpsc::Receiver<String>, out: &Out) -> Result<(), Gone> {
    let mut done = 0;
    while let Some(step) = steps.recv().await {
        done += 1;
        out.progress(&format!("[{:<19}] {step}", "#".repeat(done)), &step).await?;
    }
    out.progress("", "").await
}
