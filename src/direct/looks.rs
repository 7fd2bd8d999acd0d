//! `status`, `terminals`, `diff`: what a box is, and how it differs from a file.
//! Absent on purpose: writing anything.

use std::collections::BTreeMap;
use std::path::Path;

use super::arguments::{Diff, Make};
use super::files;
use super::is_german;
use super::seat::{Room, Seat};
use crate::commands::spoken::{self, Services, read};
use crate::commands::{Ended, exit};
use crate::konnektor::{Product, Profile, status_of, terminals as ct};
use crate::names::ServiceName;

/// `status`
pub(super) async fn status(room: Room) -> Result<Ended, Ended> {
    let seat = room.open(false).await?;
    let driver = seat.driver.as_ref();
    let identity = match driver.identify().await {
        Ok(identity) => identity,
        Err(e) => return Err(seat.failed(&e).await),
    };
    let status = status_of(driver).await;
    driver.logout().await;
    match status {
        Ok(status) => {
            let known = driver.profile().knows_firmware(&identity.firmware);
            let json = seat.room.globals.json;
            spoken::status(&seat.room.out, json, &seat.name, (&identity, &status, known)).await?;
            Ok(Ended::done())
        }
        Err(e) => Err(seat.failed(&e).await),
    }
}

/// `terminals`
pub(super) async fn terminals(room: Room) -> Result<Ended, Ended> {
    let seat = room.open(false).await?;
    let driver = seat.driver.as_ref();
    let service = match ct::service(driver.profile()) {
        Ok(service) => [service],
        Err(e) => return Err(seat.failed(&e).await),
    };
    let reading = driver.read(&service, &()).await;
    driver.logout().await;
    match reading.and_then(|reading| ct::terminals(driver.profile(), &reading)) {
        Ok(found) => {
            spoken::terminals(&seat.room.out, seat.room.globals.json, &found).await?;
            Ok(Ended::done())
        }
        Err(e) => Err(seat.failed(&e).await),
    }
}

/// `diff`
pub(super) async fn diff(room: Room, wish: &Diff) -> Result<Ended, Ended> {
    let services = &wish.services.services;
    match wish.file.as_slice() {
        [old] => {
            let seat = room.open(false).await?;
            let before = of_file(&seat.room, old, seat.driver.profile()).await?;
            let (after, unread) = of_box(&seat, services).await?;
            let (out, json) = (&seat.room.out, seat.room.globals.json);
            spoken::differences(out, json, (&before, &after, &unread), services, seat.driver.profile())
                .await?;
            Ok(Ended::done())
        }
        [old, new] if old != Path::new("-") || new != Path::new("-") => {
            // No box is asked: the make has to be said where it is not the usual one.
            let product = match room.globals.product {
                Make::Auto => Product::Kocobox,
                said @ (Make::Kocobox | Make::Secunet | Make::Rise) => said.product(),
            };
            let profiles = room.profiles(product).await?;
            let Some(profile) = profiles.of(product) else { return Err(two(&room).await) };
            let before = of_file(&room, old, profile).await?;
            let after = of_file(&room, new, profile).await?;
            let compared = (&before, &after, &BTreeMap::new());
            spoken::differences(&room.out, room.globals.json, compared, services, profile).await?;
            Ok(Ended::done())
        }
        _ => Err(two(&room).await),
    }
}

async fn two(room: &Room) -> Ended {
    let sentence =
        room.words.pick("One file or two: -f FILE [-f FILE].", "Eine Datei oder zwei: -f DATEI [-f DATEI].");
    room.no(sentence, exit::USAGE).await
}

async fn of_file(room: &Room, file: &Path, profile: &Profile) -> Result<Services, Ended> {
    let opened = files::open(file, room.globals.identity.as_deref(), room.words);
    let given = opened.and_then(|opened| files::given(file, &opened.bytes, profile, room.words));
    match given {
        Ok(given) => Ok(given.services),
        Err((sentence, code)) => Err(room.no(sentence, code).await),
    }
}

/// The box's services, and why some are missing.
async fn of_box(
    seat: &Seat,
    services: &[ServiceName],
) -> Result<(Services, BTreeMap<ServiceName, String>), Ended> {
    let reading = read(seat.driver.as_ref(), services, &seat.room.told).await?;
    seat.driver.logout().await;
    match reading {
        Ok(reading) => {
            let german = is_german(seat.room.words.language);
            let unread = reading.failed.into_iter().map(|(name, e)| (name, e.sentence(german)));
            let services = reading.services.into_iter().map(|read| (read.service, read.value));
            Ok((services.collect(), unread.collect()))
        }
        Err(e) => Err(seat.failed(&e).await),
    }
}
