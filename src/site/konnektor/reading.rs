//! Reads a box for the gateway: steps as they happen, then the values; or all of it as one archive, sealed for the site.
//! Absent on purpose: judging the values.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Boxes, Ended, Tools, Visit};
use crate::konnektor::archive::{Archive, Stamp};
use crate::konnektor::{Error, Konnektor, Progress, Reading, ServiceRead, Step};
use crate::link::frames::{Broken, Called, Sealed, SealedService};
use crate::names::ServiceName;
use crate::vault::{self, VaultError};

/// The longest list of what was taken out of a service that a gateway takes, in bytes.
const STRIPPED: usize = 4 << 20;

/// Hands each step on; there is room for all that a reading has.
struct Teller(mpsc::Sender<Called>);

impl Progress for Teller {
    fn step(&self, step: &Step<'_>) {
        let called = match step {
            Step::Started { service } => Called::Began { service: service.to_string() },
            Step::Done { service, bytes, took } => Called::Read {
                service: service.to_string(),
                bytes: *bytes as u64,
                millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            },
            Step::Failed { service, why } => {
                Called::NotRead { service: service.to_string(), error: Broken(why.to_wire()) }
            }
        };
        if self.0.try_send(called).is_err() {
            tracing::debug!("a step of a reading was not told");
        }
    }
}

/// Reads, and tells each step while it does. The inner error is the box's.
async fn told<S>(visit: &mut Visit<'_, S>, services: &[String]) -> Result<Result<Reading, Error>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let driver: Arc<dyn Konnektor> = Arc::clone(&visit.at.driver);
    let mut named: Vec<ServiceName> = Vec::new();
    for service in services {
        match service.parse() {
            Ok(service) if named.contains(&service) => {}
            Ok(service) => named.push(service),
            Err(_) => return Ok(Err(Error::SiteRefused { cause: "no-such-service".into() })),
        }
    }
    let (tell, mut steps) = mpsc::channel(2 * driver.profile().services().len() + 1);
    let teller = Teller(tell);
    let read = async move {
        let reading = driver.read(&named, &teller).await;
        drop(teller);
        reading
    };
    tokio::pin!(read);
    let mut reading = None;
    loop {
        tokio::select! {
            biased;
            step = steps.recv() => match (step, reading.take()) {
                (Some(step), kept) => {
                    reading = kept;
                    visit.talk.say(&step).await?;
                }
                // Whoever told has gone: it is read, and all of it was told.
                (None, Some(reading)) => return Ok(reading),
                (None, None) => return Ok(read.await),
            },
            done = &mut read, if reading.is_none() => reading = Some(done),
            // A gateway has nothing to say now: it has left, and nobody wants the rest.
            () = visit.talk.stirs() => return Err(Ended::Left),
        }
    }
}

/// Answers a call to read.
pub(super) async fn read<S>(visit: &mut Visit<'_, S>, services: &[String]) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reading = match told(visit, services).await? {
        Ok(reading) => reading,
        Err(error) => return visit.answer(Err(error)).await,
    };
    let limit = visit.at.driver.profile().limits.service_bytes;
    for read in reading.services {
        value(visit, read, limit).await?;
    }
    for (service, error) in reading.failed {
        let called = Called::Missing { service: service.to_string(), error: Broken(error.to_wire()) };
        visit.talk.say(&called).await?;
    }
    visit.answer(Ok(None)).await
}

async fn value<S>(visit: &mut Visit<'_, S>, read: ServiceRead, limit: usize) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = read.service.to_string();
    let list = if read.stripped.is_empty() {
        Vec::new()
    } else {
        serde_json::to_vec(&read.stripped).unwrap_or_default()
    };
    let text = read.value.bytes();
    if text.len() > limit || list.len() > STRIPPED {
        let error = Broken(Error::TooLarge { limit }.to_wire());
        return visit.talk.say(&Called::Missing { service, error }).await;
    }
    let (bytes, stripped) = (text.len() as u64, list.len() as u64);
    visit.talk.say(&Called::Value { service, bytes, read: read.bytes as u64, stripped }).await?;
    visit.talk.bytes(&text).await?;
    visit.talk.bytes(&list).await
}

/// The whole backup, made here and encrypted before it leaves.
pub(super) async fn sealed<S>(
    visit: &mut Visit<'_, S>,
    services: &[String],
    boxes: &Boxes,
    tools: &Tools,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let taken = tools.clock.now();
    let identity = tokio::select! {
        identity = visit.at.driver.identify() => identity,
        () = visit.talk.stirs() => return Err(Ended::Left),
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err(error) => return visit.answer(Err(error)).await,
    };
    let reading = match told(visit, services).await? {
        Ok(reading) => reading,
        Err(error) => return visit.answer(Err(error)).await,
    };
    let about = Sealed {
        identity: serde_json::to_value(&identity).unwrap_or_default(),
        services: reading
            .services
            .iter()
            .map(|read| SealedService {
                service: read.service.to_string(),
                read: read.bytes as u64,
                stripped: read.stripped.len() as u64,
            })
            .collect(),
        missing: (reading.failed.iter())
            .map(|(service, error)| (service.to_string(), Broken(error.to_wire())))
            .collect(),
    };
    let visitor = &visit.head.visitor;
    let stamp = Stamp {
        identity,
        konnektor: visit.known.spec.id.clone(),
        taken,
        by: visitor.user.parse().ok(),
        session: visitor.session.parse().ok(),
    };
    let recipients = boxes.recipients.clone();
    let sealing = tokio::task::spawn_blocking(move || {
        let archive = Archive::of(reading, stamp);
        vault::seal(move |out| archive.write_to(out), &recipients)
    });
    let sealed = match sealing.await.unwrap_or(Err(VaultError::Store("interrupted".into()))) {
        Ok(sealed) => sealed,
        Err(e) => {
            tracing::error!("a backup could not be encrypted: {e}");
            return visit.answer(Err(Error::Setup)).await;
        }
    };
    let sha256 = sealed.sha256.trim_start_matches("sha256:").to_owned();
    visit.talk.say(&Called::Archive { bytes: sealed.sealed_bytes(), sha256, about }).await?;
    for piece in sealed.pieces() {
        visit.talk.bytes(piece).await?;
    }
    visit.answer(Ok(None)).await
}
