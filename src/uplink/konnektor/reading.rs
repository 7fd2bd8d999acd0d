//! What comes of a reading: steps as they happen, then a value or a reason for each service that was asked for.
//! Absent on purpose: a service that was not; and more of one than its profile allows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::session::Session;
use crate::konnektor::{Error, Profile, Progress, Reading, Service, ServiceRead, Step};
use crate::link::frames::Called;
use crate::names::ServiceName;

/// The longest list of what was taken out of a service, in bytes.
const STRIPPED: u64 = 4 << 20;

/// What was told of a service so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Began,
    Ended,
}

/// Steps of the services that were asked for, each once and in its order.
pub(super) struct Steps<'a> {
    told: BTreeMap<&'a ServiceName, Told>,
    most: usize,
    progress: &'a dyn Progress,
}

impl<'a> Steps<'a> {
    pub(super) fn of(wanted: &[&'a Service], profile: &Profile, progress: &'a dyn Progress) -> Self {
        let told = wanted.iter().map(|service| (&service.name, Told::Nothing)).collect();
        Self { told, most: profile.limits.service_bytes, progress }
    }

    /// Tells it on, if it is one; gives back what is none.
    pub(super) fn take(&mut self, called: Called) -> Result<Option<Called>, Error> {
        match called {
            Called::Began { service } => {
                let service = self.moves(&service, Told::Nothing, Told::Began)?;
                self.progress.step(&Step::Started { service });
            }
            Called::Read { service, bytes, millis } => {
                let service = self.moves(&service, Told::Began, Told::Ended)?;
                let bytes = usize::try_from(bytes).unwrap_or(self.most).min(self.most);
                let took = Duration::from_millis(millis.min(3_600_000));
                self.progress.step(&Step::Done { service, bytes, took });
            }
            Called::NotRead { service, error } => {
                let service = self.moves(&service, Told::Began, Told::Ended)?;
                let why = Error::from_wire(&error.0);
                self.progress.step(&Step::Failed { service, why: &why });
            }
            other @ (Called::Value { .. }
            | Called::Missing { .. }
            | Called::Archive { .. }
            | Called::Done { .. }
            | Called::Failed { .. }) => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn moves(&mut self, service: &str, from: Told, to: Told) -> Result<&'a ServiceName, Error> {
        let told = self.told.iter_mut().find(|(name, _)| name.as_str() == service);
        match told {
            Some((name, told)) if *told == from => {
                *told = to;
                Ok(*name)
            }
            _ => Err(Error::SiteUnclear),
        }
    }
}

/// All of it. The outer error ends the stream, the inner one is the box's.
pub(super) async fn reading(
    session: &mut Session,
    wanted: &[&Service],
    profile: &Profile,
    progress: &dyn Progress,
) -> Result<Result<Reading, Error>, Error> {
    let mut steps = Steps::of(wanted, profile, progress);
    let mut found: BTreeMap<&ServiceName, Result<ServiceRead, Error>> = BTreeMap::new();
    let known = |service: &str| {
        let service = wanted.iter().find(|one| one.name.as_str() == service);
        service.map(|service| &service.name).ok_or(Error::SiteUnclear)
    };
    loop {
        let called = session.next().await?;
        let called = if found.is_empty() { steps.take(called)? } else { Some(called) };
        let Some(called) = called else { continue };
        let (service, result) = match called {
            Called::Value { service, bytes, read, stripped } => {
                let service = known(&service)?;
                if found.contains_key(service) {
                    return Err(Error::SiteUnclear);
                }
                (service, Ok(value(session, service, profile, (bytes, read, stripped)).await?))
            }
            Called::Missing { service, error } => (known(&service)?, Err(Error::from_wire(&error.0))),
            Called::Done { .. } => return gathered(wanted, found).map(Ok),
            Called::Failed { error } => return session.failed(&error).map(Err),
            Called::Began { .. } | Called::Read { .. } | Called::NotRead { .. } | Called::Archive { .. } => {
                return Err(Error::SiteUnclear);
            }
        };
        if found.insert(service, result).is_some() {
            return Err(Error::SiteUnclear);
        }
    }
}

/// One value, looked at as a box's own answer is: nested within bounds, exact, and without persons.
async fn value(
    session: &mut Session,
    service: &ServiceName,
    profile: &Profile,
    (bytes, read, stripped): (u64, u64, u64),
) -> Result<ServiceRead, Error> {
    let limit = profile.limits.service_bytes;
    if bytes > limit as u64 || stripped > STRIPPED {
        return Err(Error::TooLarge { limit });
    }
    let text = session.whole(bytes).await?;
    let (value, mut places) = profile.taken(&text, service).map_err(|_| Error::SiteUnclear)?;
    drop(text);
    if stripped > 0 {
        let list = session.whole(stripped).await?;
        let mut told: Vec<String> = serde_json::from_slice(&list).map_err(|_| Error::SiteUnclear)?;
        told.append(&mut places);
        places = told;
    }
    let bytes = usize::try_from(read).unwrap_or(limit).min(limit);
    Ok(ServiceRead { service: service.clone(), value, bytes, stripped: places })
}

/// In the profile's order, as the direct driver has it; nothing may lack, and something has to be there.
fn gathered(
    wanted: &[&Service],
    mut found: BTreeMap<&ServiceName, Result<ServiceRead, Error>>,
) -> Result<Reading, Error> {
    let mut reading = Reading::default();
    for service in wanted {
        match found.remove(&service.name).ok_or(Error::SiteUnclear)? {
            Ok(read) => reading.services.push(read),
            Err(error) => reading.failed.push((service.name.clone(), error)),
        }
    }
    if reading.services.is_empty() { Err(Error::SiteUnclear) } else { Ok(reading) }
}
