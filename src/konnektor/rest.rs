//! What secunet and RISE share: services are resources under a session, and one new login where the session ended.
//! Absent on purpose: how a make lets in; `secunet.rs` and `rise.rs` say it.

mod session;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use reqwest::Method;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::konnektor::http::{Answer, Ask, Bounds, Wire, shown};
use crate::konnektor::identify::{self, Identity};
use crate::konnektor::profile::Performed;
use crate::konnektor::{
    Error, Json, Konnektor, Pins, Profile, Progress, Reading, ServiceRead, Spec, json, told,
};
use crate::names::{ActionName, HostPort, ServiceName};
use crate::secret::Secret;
use session::Session;

/// JSON, where something is sent.
pub(super) const JSON: &str = "application/json";

/// How a make lets in and out.
#[async_trait]
pub(super) trait Door: Send + Sync {
    /// Logs in: the password is sent at most once.
    async fn enter(&self, wire: &Wire, spec: &Spec, bounds: Bounds) -> Result<Badge, Error>;
    /// What this answer says of the session.
    fn standing(&self, answer: &Answer) -> Standing;
    /// Asks the box whether the session is over, where an answer left it open.
    async fn is_over(&self, wire: &Wire, badge: &Badge, bounds: Bounds) -> Result<bool, Error>;
    /// What ends a session, where it is known.
    fn exit(&self) -> Option<(Method, &str)>;
}

/// What an answer says of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It lives.
    Lives,
    /// It is over.
    Over,
    /// It may be over, or the account may not do this.
    Unclear,
}

/// What every request of a session carries.
#[derive(Clone)]
pub(super) struct Badge {
    /// The header that proves the session, and its value.
    pub(super) proof: (&'static str, Secret),
    /// Headers beside it.
    pub(super) beside: Vec<(&'static str, String)>,
}

/// One request, to be sent under whichever login is the newest.
struct Request<'a> {
    method: Method,
    path: &'a str,
    content_type: Option<&'a str>,
    body: Option<Bytes>,
}

/// A login's body: user and password in members of these names.
pub(super) fn credentials(spec: &Spec, user_field: &str, password_field: &str) -> Bytes {
    let body = serde_json::json!({ user_field: spec.user, password_field: spec.password.reveal() });
    body.to_string().into()
}

/// The driver; one session at a time, kept between readings until [`Konnektor::logout`].
pub(crate) struct Rest {
    spec: Arc<Spec>,
    profile: Arc<Profile>,
    door: Arc<dyn Door>,
    pins: Arc<dyn Pins>,
    session: Mutex<Option<Arc<Session>>>,
    /// Who opens a session for all.
    opening: Semaphore,
}

impl Rest {
    pub(super) fn new(spec: Spec, profile: Arc<Profile>, door: Arc<dyn Door>, pins: Arc<dyn Pins>) -> Self {
        let (session, opening) = (Mutex::new(None), Semaphore::new(1));
        Self { spec: Arc::new(spec), profile, door, pins, session, opening }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that is kept, or a new one. A kept one that failed is ended at the box first.
    async fn session(&self, deadline: Instant) -> Result<Arc<Session>, Error> {
        let _turn = self.opening.acquire().await.map_err(|_| Error::SessionExpired)?;
        let kept = self.kept().clone();
        match kept {
            Some(session) if session.is_fresh() => return Ok(session),
            Some(session) => {
                self.kept().take();
                session.leave().await;
            }
            None => {}
        }
        let opened = Session::open(&self.spec, &self.profile, &self.door, &self.pins, deadline).await?;
        let session = Arc::new(opened);
        *self.kept() = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn read_one(
        &self,
        session: &Session,
        service: &ServiceName,
        deadline: Instant,
    ) -> Result<ServiceRead, Error> {
        let path = self.profile.read_path(service)?;
        let content_type = Some(self.profile.read.content_type.as_str()).filter(|text| !text.is_empty());
        let request = Request { method: Method::GET, path: &path, content_type, body: None };
        let answer = session.exchange(&request, self.profile.limits.service_bytes, deadline).await?;
        let status = answer.status.as_u16();
        match status {
            200..=299 if !answer.is_html => {}
            200..=299 => return Err(Error::NotJson { service: service.clone() }),
            403 | 404 => return Err(Error::NotAllowed { status }),
            _ => return Err(Error::Http { status, what: service.to_string() }),
        }
        let bytes = answer.body.len();
        let (depth, rules) = (self.profile.limits.json_depth, &self.profile.personal);
        let (value, stripped) = json::read(&answer.body, depth, service, rules)?;
        Ok(ServiceRead { service: service.clone(), value, bytes, stripped })
    }

    /// Sends something that changes the box; twice only where the box said that the session was over before.
    async fn change(&self, request: &Request<'_>, what: &str) -> Result<Answer, Error> {
        let deadline = Instant::now() + self.spec.timeouts.whole;
        let session = self.session(deadline).await?;
        let answer = session.exchange(request, self.profile.limits.page_bytes, deadline).await?;
        let status = answer.status.as_u16();
        match status {
            200..=299 if !answer.is_html => Ok(answer),
            403 | 404 => Err(Error::NotAllowed { status }),
            _ => Err(Error::Http { status, what: what.into() }),
        }
    }

    /// What an action answered, for a person; card holders' data taken out of it as out of a service.
    fn said(&self, action: &ActionName, answer: &Answer) -> String {
        let (depth, rules) = (self.profile.limits.json_depth, &self.profile.personal);
        let named = action.as_str().parse().ok();
        let read = named.and_then(|name: ServiceName| json::read(&answer.body, depth, &name, rules).ok());
        match read {
            Some((value, places)) if !places.is_empty() => shown(value.text().as_bytes()),
            _ => shown(&answer.body),
        }
    }
}

#[async_trait]
impl Konnektor for Rest {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn address(&self) -> &HostPort {
        &self.spec.address
    }

    fn at(&self, address: HostPort) -> Arc<dyn Konnektor> {
        let spec = self.spec.moved(address);
        let (profile, door, pins) =
            (Arc::clone(&self.profile), Arc::clone(&self.door), Arc::clone(&self.pins));
        Arc::new(Self::new(spec, profile, door, pins))
    }

    async fn identify(&self) -> Result<Identity, Error> {
        identify::identify(&self.spec, Arc::clone(&self.pins)).await
    }

    async fn read(&self, services: &[ServiceName], progress: &dyn Progress) -> Result<Reading, Error> {
        let wanted = self.profile.wanted(services)?;
        let deadline = Instant::now() + self.spec.timeouts.whole;
        let session = self.session(deadline).await?;
        let mut tasks: Vec<BoxFuture<'_, _>> = Vec::with_capacity(wanted.len());
        for (at, service) in wanted.iter().enumerate() {
            let read = self.read_one(&session, &service.name, deadline);
            tasks.push(told(&service.name, progress, read).map(move |result| (at, result)).boxed());
        }
        let mut results: Vec<Option<Result<ServiceRead, Error>>> = wanted.iter().map(|_| None).collect();
        let mut running = futures::stream::iter(tasks).buffer_unordered(self.spec.slots());
        while let Some((at, result)) = running.next().await {
            match result {
                Err(error) if error.ends_all() => {
                    session.wear_out();
                    return Err(error);
                }
                result => {
                    if let Some(place) = results.get_mut(at) {
                        *place = Some(result);
                    }
                }
            }
        }
        drop(running);
        let reading = Reading::gathered(&wanted, results);
        match reading.failed.first() {
            Some((_, error)) if reading.services.is_empty() => Err(error.clone()),
            _ => Ok(reading),
        }
    }

    async fn write(&self, service: &ServiceName, value: &Json) -> Result<(), Error> {
        let (method, path) = self.profile.write_way(service)?;
        let content_type = Some(self.profile.write.content_type.as_str());
        let request = Request { method, path: &path, content_type, body: Some(value.bytes()) };
        self.change(&request, service.as_str()).await.map(|_| ())
    }

    async fn perform(&self, action: &ActionName, data: Option<&Json>) -> Result<String, Error> {
        let Performed { method, path, body } = self.profile.perform_way(action, data)?;
        let content_type = (!body.is_empty()).then_some(JSON);
        let request = Request { method, path: &path, content_type, body: Some(body) };
        let answer = self.change(&request, action.as_str()).await?;
        Ok(self.said(action, &answer))
    }

    async fn logout(&self) {
        let session = self.kept().take();
        if let Some(session) = session {
            session.leave().await;
        }
    }
}

/// A request in a login's clothes.
fn dressed(wire: &Wire, badge: &Badge, request: &Request<'_>) -> Result<Ask, Error> {
    let (header, value) = &badge.proof;
    Ok(Ask {
        method: request.method.clone(),
        url: wire.url(request.path)?,
        content_type: request.content_type.map(ToOwned::to_owned),
        token: Some(((*header).to_owned(), value.clone())),
        body: request.body.clone(),
        headers: badge.beside.clone(),
    })
}
