//! How a box is: the lines its profile names, out of its services; and its serial number.
//! Absent on purpose: judging them.

use crate::konnektor::{Error, Json, Konnektor};
use crate::names::ServiceName;

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it says, English.
    pub english: String,
    /// German.
    pub german: String,
    /// As the box says it; none where it does not.
    pub value: Option<Json>,
}

/// What a box says of itself behind its login.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Its serial number, where the profile knows where it stands.
    pub serial: Option<String>,
    /// In the profile's order.
    pub lines: Vec<Line>,
}

/// Reads what the profile names.
///
/// # Errors
/// As [`Konnektor::read`]'s; a service that cannot be read leaves its lines empty.
pub async fn status_of(driver: &dyn Konnektor) -> Result<Status, Error> {
    let profile = driver.profile();
    let mut services: Vec<ServiceName> = profile.status.iter().map(|line| line.service.clone()).collect();
    services.extend(profile.serial.iter().map(|place| place.service.clone()));
    services.sort();
    services.dedup();
    if services.is_empty() {
        return Ok(Status::default());
    }
    let reading = driver.read(&services, &()).await?;
    let at = |service: &ServiceName, pointer: &str| {
        let read = reading.services.iter().find(|read| read.service == *service)?;
        let part = read.value.at(pointer)?;
        Some(Json::of_text(part.text().to_owned()))
    };
    let serial = profile.serial.as_ref().and_then(|place| at(&place.service, &place.pointer));
    let lines = profile.status.iter().map(|line| Line {
        english: line.english.clone(),
        german: line.german.clone(),
        value: at(&line.service, &line.pointer),
    });
    let lines = lines.collect();
    Ok(Status { serial: serial.and_then(|json| json.part().word().map(std::borrow::Cow::into_owned)), lines })
}
