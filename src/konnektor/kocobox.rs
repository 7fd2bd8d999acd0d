//! The `KoCoBox MED+`: its services read in parallel, and written one by one, through the interface its web page uses.
//! Absent on purpose: paths or markers of our own; they stand in `kocobox.toml`.

mod login;
mod pages;
mod session;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::Instant;

use crate::konnektor::identify::{self, Identity};
use crate::konnektor::profile::{Form, Performed};
use crate::konnektor::{Error, Json, Konnektor, Pins, Profile, Progress, Reading, ServiceRead, Spec, told};
use crate::names::{ActionName, HostPort, ServiceName};
use session::{Sent, Session};

/// The driver; one session at a time, kept between readings.
pub(crate) struct Kocobox {
    spec: Arc<Spec>,
    profile: Arc<Profile>,
    form: Arc<Form>,
    pins: Arc<dyn Pins>,
    session: Mutex<Option<Arc<Session>>>,
}

impl Kocobox {
    pub(crate) fn new(spec: Spec, profile: Arc<Profile>, form: Arc<Form>, pins: Arc<dyn Pins>) -> Self {
        Self { spec: Arc::new(spec), profile, form, pins, session: Mutex::new(None) }
    }

    async fn opened(&self, deadline: Instant) -> Result<Arc<Session>, Error> {
        let pins = Arc::clone(&self.pins);
        Session::open(&self.spec, &self.profile, &self.form, pins, deadline).await.map(Arc::new)
    }

    /// The session that was kept, or a new one, its page behind the login seen.
    async fn session(&self, deadline: Instant) -> Result<Arc<Session>, Error> {
        let kept = self.kept().take();
        let session = match kept {
            Some(session) => session,
            None => self.opened(deadline).await?,
        };
        if !session.has_landed() {
            session.land(deadline).await?;
        }
        Ok(session)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a slot of the pool did.
enum Outcome {
    LandingPage(Result<(), Error>),
    Service(usize, Result<ServiceRead, Error>),
}

#[async_trait]
impl Konnektor for Kocobox {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn address(&self) -> &HostPort {
        &self.spec.address
    }

    fn at(&self, address: HostPort) -> Arc<dyn Konnektor> {
        let spec = self.spec.moved(address);
        Arc::new(Self::new(spec, Arc::clone(&self.profile), Arc::clone(&self.form), Arc::clone(&self.pins)))
    }

    async fn write(&self, service: &ServiceName, value: &Json) -> Result<(), Error> {
        let (method, path) = self.profile.write_way(service)?;
        let deadline = Instant::now() + self.spec.timeouts.whole;
        let session = self.session(deadline).await?;
        let content_type = Some(self.profile.write.content_type.as_str());
        let sent = Sent { method, path: &path, content_type, body: value.bytes(), what: service.as_str() };
        session.send(&sent, deadline).await?;
        *self.kept() = Some(session);
        Ok(())
    }

    async fn perform(&self, action: &ActionName, data: Option<&Json>) -> Result<String, Error> {
        let Performed { method, path, body } = self.profile.perform_way(action, data)?;
        let deadline = Instant::now() + self.spec.timeouts.whole;
        let session = self.session(deadline).await?;
        let sent =
            Sent { method, path: &path, content_type: Some("application/json"), body, what: action.as_str() };
        let answer = session.send(&sent, deadline).await?;
        *self.kept() = Some(session);
        Ok(answer)
    }

    async fn identify(&self) -> Result<Identity, Error> {
        identify::identify(&self.spec, Arc::clone(&self.pins)).await
    }

    /// The page after login is fetched in one slot while the others read services already: it costs no round of its own.
    async fn read(&self, services: &[ServiceName], progress: &dyn Progress) -> Result<Reading, Error> {
        let wanted = self.profile.wanted(services)?;
        let deadline = Instant::now() + self.spec.timeouts.whole;
        // Put back only if it served well: a session that failed is not met again.
        let kept = self.kept().take();
        let session = match kept {
            Some(session) => session,
            None => self.opened(deadline).await?,
        };
        let mut tasks: Vec<BoxFuture<'_, Outcome>> = Vec::with_capacity(wanted.len() + 1);
        if !session.has_landed() {
            tasks.push(session.land(deadline).map(Outcome::LandingPage).boxed());
        }
        for (at, service) in wanted.iter().enumerate() {
            let read = session.read(&service.name, deadline);
            tasks.push(told(&service.name, progress, read).map(move |r| Outcome::Service(at, r)).boxed());
        }
        let mut results: Vec<Option<Result<ServiceRead, Error>>> = wanted.iter().map(|_| None).collect();
        let mut running = futures::stream::iter(tasks).buffer_unordered(self.spec.slots());
        while let Some(outcome) = running.next().await {
            match outcome {
                Outcome::LandingPage(landed) => landed?,
                Outcome::Service(_, Err(error)) if error.ends_all() => return Err(error),
                Outcome::Service(at, result) => {
                    if let Some(place) = results.get_mut(at) {
                        *place = Some(result);
                    }
                }
            }
        }
        drop(running);
        let reading = Reading::gathered(&wanted, results);
        if reading.services.is_empty()
            && let Some((_, error)) = reading.failed.first()
        {
            let unproven =
                !session.has_token() && matches!(error, Error::NotJson { .. } | Error::NotAllowed { .. });
            return Err(if unproven { Error::NoToken } else { error.clone() });
        }
        if !reading.failed.iter().any(|(_, error)| *error == Error::SessionExpired) {
            *self.kept() = Some(session);
        }
        Ok(reading)
    }

    async fn logout(&self) {
        let session = self.kept().take();
        if let Some(session) = session {
            session.logout().await;
        }
    }
}
