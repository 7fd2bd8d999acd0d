//! The boxes' management interface: identify one, read and write its services, whatever the make; a driver a vendor below.
//! Absent on purpose: SSH, policy, and storage.

mod certificate;
mod error;
mod http;
mod identify;
mod json;
mod kocobox;
mod personal;
mod profile;
mod rest;
mod rise;
mod secunet;
mod status;

pub mod archive;
pub mod diff;
pub mod given;
pub mod perform;
pub mod restore;
pub mod simulator;
pub mod terminals;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use certificate::{CertificatePin, LearnNothing, Listener, NotKept, Pinned, Pins};
pub use error::Error;
pub(crate) use error::cleaned;
pub use given::{BadGiven, Given};
pub use identify::{Identity, identify};
pub use json::{Json, Part, Parts};
pub use profile::{Action, Profile, Profiles, Service};
pub use status::{Line as StatusLine, Status, status_of};

use profile::Login;

use crate::names::{ActionName, HostPort, KonnektorId, ServiceName};
use crate::secret::Secret;

/// The makes of Konnektor a site's file can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `KoCoBox MED+`.
    Kocobox,
    /// secunet Einbox-, Rechenzentrums- and Highspeedkonnektor.
    Secunet,
    /// RISE Konnektor.
    Rise,
    /// What `connector.sds` says.
    Auto,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub read: Duration,
    /// For everything together, login included.
    pub whole: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            read: Duration::from_secs(30),
            whole: Duration::from_mins(5),
        }
    }
}

/// A Konnektor as the site's file describes it; data only.
#[derive(Clone)]
pub struct Spec {
    /// Its name here.
    pub id: KonnektorId,
    /// Its make.
    pub product: Product,
    /// Where its management interface listens.
    pub address: HostPort,
    /// Where `connector.sds` is, when not on the ports 443 and 80 of the same host (TIP1-A_4528).
    pub sds_address: Option<HostPort>,
    /// The management interface's pinned certificate.
    pub certificate: Option<CertificatePin>,
    /// The account there.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Requests at the same time, 1 to 16; other values are taken as the nearest of these.
    pub parallel: usize,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl Spec {
    /// The default of [`Spec::parallel`].
    pub const PARALLEL: usize = 4;

    /// The same box at another address of its network; `connector.sds` moves with it where it was beside it.
    pub(crate) fn moved(&self, address: HostPort) -> Self {
        let beside = self.sds_address.as_ref().filter(|sds| sds.host() == self.address.host());
        let sds_address = match beside {
            Some(sds) => address.with_port(sds.port()),
            None => self.sds_address.clone(),
        };
        Self { address, sds_address, ..self.clone() }
    }

    pub(crate) fn slots(&self) -> usize {
        self.parallel.clamp(1, 16)
    }
}

/// One step of a reading, told while it happens.
#[derive(Debug)]
pub enum Step<'a> {
    /// The service was asked for.
    Started {
        /// Which.
        service: &'a ServiceName,
    },
    /// The service was read.
    Done {
        /// Which.
        service: &'a ServiceName,
        /// Bytes of the answer's body.
        bytes: usize,
        /// From request to last byte.
        took: Duration,
    },
    /// The service was not read.
    Failed {
        /// Which.
        service: &'a ServiceName,
        /// Why.
        why: &'a Error,
    },
}

/// Told each step; must return at once.
pub trait Progress: Send + Sync {
    /// One step.
    fn step(&self, step: &Step<'_>);
}

/// Nobody is told.
impl Progress for () {
    fn step(&self, _step: &Step<'_>) {}
}

/// One service as it was read, personal data of card holders already taken out (TIP1-A_5647).
#[derive(Debug, Clone)]
pub struct ServiceRead {
    /// Which.
    pub service: ServiceName,
    /// Its value.
    pub value: Json,
    /// Bytes of the answer's body, before anything was taken out.
    pub bytes: usize,
    /// JSON pointers of what was taken out, into the answer as it came.
    pub stripped: Vec<String>,
}

/// What a box said: what could be read, and by name what could not.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// In the profile's order.
    pub services: Vec<ServiceRead>,
    /// In the profile's order.
    pub failed: Vec<(ServiceName, Error)>,
}

impl Reading {
    /// Results in the order of what was wanted.
    fn gathered(wanted: &[&Service], results: Vec<Option<Result<ServiceRead, Error>>>) -> Self {
        let mut reading = Self::default();
        for (service, result) in wanted.iter().zip(results) {
            match result {
                Some(Ok(read)) => reading.services.push(read),
                Some(Err(error)) => reading.failed.push((service.name.clone(), error)),
                None => reading.failed.push((service.name.clone(), Error::Dropped)),
            }
        }
        reading
    }
}

/// Reads one service and tells of it.
async fn told(
    service: &ServiceName,
    progress: &dyn Progress,
    read: impl Future<Output = Result<ServiceRead, Error>>,
) -> Result<ServiceRead, Error> {
    let begun = Instant::now();
    progress.step(&Step::Started { service });
    let result = read.await;
    match &result {
        Ok(read) => progress.step(&Step::Done { service, bytes: read.bytes, took: begun.elapsed() }),
        Err(why) => progress.step(&Step::Failed { service, why }),
    }
    result
}

/// A Konnektor's management interface.
#[async_trait]
pub trait Konnektor: Send + Sync {
    /// What is known of its make.
    fn profile(&self) -> &Profile;
    /// Where it is dialled.
    fn address(&self) -> &HostPort;
    /// The same box at another address, with the same certificate.
    fn at(&self, address: HostPort) -> Arc<dyn Konnektor>;
    /// Make, firmware, hardware, from `connector.sds`; needs no login.
    async fn identify(&self) -> Result<Identity, Error>;
    /// Reads the services (an empty list: all that belong to a backup). One that fails does not stop the others;
    /// an error of the whole box, or no service read at all, is an `Err`.
    async fn read(&self, services: &[ServiceName], progress: &dyn Progress) -> Result<Reading, Error>;
    /// Writes one service's value as a whole. An `Err` other than a refusal leaves open whether it arrived: read it.
    /// Logs in again where the session ended before; never sends twice what may have arrived.
    async fn write(&self, service: &ServiceName, value: &Json) -> Result<(), Error>;
    /// Has the box do something; `data` must fit the action's schema. Gives what it answered, at most 4 KiB of it.
    async fn perform(&self, action: &ActionName, data: Option<&Json>) -> Result<String, Error>;
    /// Ends the session at the box, where its profile knows how; never fails.
    async fn logout(&self);
}

/// The driver for this box, by the make that its site's file or `connector.sds` names; how that make's profile logs in
/// chooses it. Dials only where the make is [`Product::Auto`].
///
/// # Errors
/// [`Error::UnknownProduct`] where there is no driver, and all of [`Konnektor::identify`]'s.
pub async fn open(spec: Spec, profiles: &Profiles, pins: Arc<dyn Pins>) -> Result<Arc<dyn Konnektor>, Error> {
    let product = match spec.product {
        Product::Auto => identify::identify(&spec, Arc::clone(&pins)).await?.product(),
        known @ (Product::Kocobox | Product::Secunet | Product::Rise) => known,
    };
    let profile = Arc::clone(profiles.of(product).ok_or(Error::UnknownProduct)?);
    Ok(match profile.login.clone() {
        Login::Form(form) => Arc::new(kocobox::Kocobox::new(spec, profile, Arc::new(form), pins)),
        Login::Bearer(bearer) => Arc::new(secunet::driver(spec, profile, bearer, pins)),
        Login::Session(session) => Arc::new(rise::driver(spec, profile, session, pins)),
    })
}
