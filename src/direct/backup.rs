//! `backup`: what the box says, in a file for its owner alone.
//! Absent on purpose: overwriting anything.

use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::arguments::Backup;
use super::files::{self, Lies};
use super::place::{self, There};
use super::seat::{Room, Seat};
use super::words::complain;
use crate::commands::spoken::{incomplete, read, table};
use crate::commands::{Ended, exit};
use crate::config::Language;
use crate::konnektor::archive::{Archive, Stamp, write_services};
use crate::konnektor::{Identity, Reading};
use crate::names::ServiceName;

/// What a box said.
pub(super) struct Taken {
    pub(super) identity: Identity,
    pub(super) reading: Reading,
    pub(super) archive: Archive,
}

/// Reads the box.
pub(super) async fn take(seat: &Seat, services: &[ServiceName]) -> Result<Taken, Ended> {
    // Make and firmware first: what is kept has to say what it was taken from.
    let identity = match seat.driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(seat.failed(&e).await),
    };
    let reading = match read(seat.driver.as_ref(), services, &seat.room.told).await? {
        Ok(reading) => reading,
        Err(e) => return Err(seat.failed(&e).await),
    };
    let stamp = Stamp {
        identity: identity.clone(),
        konnektor: seat.id.clone(),
        taken: seat.room.clock.now(),
        by: None,
        session: None,
    };
    let archive = Archive::of(reading.clone(), stamp);
    Ok(Taken { identity, reading, archive })
}

/// Reads the box and keeps it beside a file, before anything is written.
pub(super) async fn fresh(seat: &Seat, folder: &Path) -> Result<(Taken, Lies), Ended> {
    let room = &seat.room;
    let taken = take(seat, &[]).await?;
    let what = room.words.pick("-before", "-vorher");
    let bytes = Zeroizing::new(taken.archive.to_json());
    let kept = files::beside(folder, (&room.minute(), what), bytes, &room.globals.recipient);
    let lies = match kept {
        Ok(lies) => lies,
        Err(e) => return Err(seat.wrong_place(folder, &e).await),
    };
    let path = lies.path.display();
    room.told
        .say(match room.words.language {
            Language::English => format!("As it is now, the box is kept as {path}."),
            Language::German => format!("So wie es jetzt ist, ist das Gerät gesichert als {path}."),
        })
        .await?;
    Ok((taken, lies))
}

/// Runs it.
pub(super) async fn run(room: Room, wish: &Backup) -> Result<Ended, Ended> {
    let recipients = room.globals.recipient.clone();
    let to_output = wish.file.as_deref() == Some(Path::new("-"));
    let named = wish.file.as_deref().filter(|_| !to_output).map(|file| files::named(file, &recipients));
    if let Some(file) = named.as_ref().filter(|file| file.symlink_metadata().is_ok()) {
        return Err(exists(&room, file).await);
    }
    let seat = room.open(false).await?;
    let taken = take(&seat, &wish.services.services).await;
    seat.driver.logout().await;
    let taken = taken?;
    let room = &seat.room;
    let mut bytes = Zeroizing::new(Vec::new());
    if wish.plain {
        // Writing into memory does not fail.
        write_services(taken.archive.services(), 0, &mut *bytes).ok();
        bytes.push(b'\n');
    } else {
        *bytes = taken.archive.to_json();
    }
    let bytes = match files::sealed(bytes, &recipients) {
        Ok(bytes) => bytes,
        Err(e) => return Err(seat.wrong_place(Path::new("age"), &e).await),
    };
    let file = match (to_output, named) {
        (true, _) => None,
        (false, Some(file)) => match place::write(&file, &bytes, There::Stays) {
            Ok(()) => Some(file),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists(room, &file).await),
            Err(e) => return Err(seat.wrong_place(&file, &e).await),
        },
        (false, None) => {
            match place::write_free(Path::new(""), &room.minute(), files::ending(&recipients), &bytes) {
                Ok(file) => Some(file),
                Err(e) => return Err(seat.wrong_place(Path::new("."), &e).await),
            }
        }
    };
    told(&seat, &taken, file.as_ref(), bytes).await?;
    if recipients.is_empty() {
        complain(room.words.pick(
            "It holds clients' private keys and is not encrypted: keep it as you keep a key. --recipient age1… encrypts it.",
            "Sie enthält private Schlüssel von Clients und ist nicht verschlüsselt: wie einen Schlüssel aufbewahren. --recipient age1… verschlüsselt sie.",
        ));
    }
    if taken.reading.failed.is_empty() {
        return Ok(Ended::done());
    }
    let failed: Vec<String> = taken.reading.failed.iter().map(|(name, _)| name.to_string()).collect();
    incomplete(&failed, &room.told).await
}

async fn told(
    seat: &Seat,
    taken: &Taken,
    file: Option<&PathBuf>,
    bytes: Zeroizing<Vec<u8>>,
) -> Result<(), Ended> {
    let (room, reading) = (&seat.room, &taken.reading);
    let Some(file) = file else {
        room.out.data(bytes.to_vec()).await?;
        room.told.say(format!("{}\n{}", seat.name, table(reading, room.words.language).trim_end())).await?;
        return Ok(());
    };
    if room.globals.json {
        let german = room.german();
        let services =
            reading.services.iter().map(|read| json!({"service": read.service, "bytes": read.bytes}));
        let failed =
            reading.failed.iter().map(|(name, e)| json!({"service": name, "why": e.sentence(german)}));
        let whole = json!({
            "konnektor": seat.name,
            "file": file,
            "firmware": taken.identity.firmware,
            "services": services.collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>(),
        });
        room.out.json(&whole).await?;
        return Ok(());
    }
    room.out.line(format!("{} {}", seat.name, file.display())).await?;
    room.out.data(table(reading, room.words.language)).await?;
    Ok(())
}

async fn exists(room: &Room, file: &Path) -> Ended {
    let file = file.display();
    let sentence = match room.words.language {
        Language::English => format!("{file} is there already, and is not overwritten."),
        Language::German => format!("{file} gibt es schon und wird nicht überschrieben."),
    };
    room.no(sentence, exit::USAGE).await
}
