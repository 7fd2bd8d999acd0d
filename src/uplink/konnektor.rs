//! A Konnektor behind a site's own link: the same calls, made by the site's machine with the site's own secrets.
//! Absent on purpose: the box's password, its protocol, and any address that is dialled from here.

mod reading;
mod sealed;
mod session;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{NoWay, Streams};
use crate::konnektor::{
    Error, Identity, Json, Konnektor, Product, Profile, Profiles, Progress, Reading, cleaned,
};
use crate::link::frames::{Call, Head, Reply, Visitor, Wish};
use crate::link::{BadLine, Stream};
use crate::names::{ActionName, HostPort, KonnektorId, ServiceName};

pub use sealed::{Backups, LARGEST, SiteArchive};
pub use session::Patience;

use session::Session;

/// The longest answer of an action, in characters; as the direct drivers cut it.
const ANSWER: usize = 4096;

/// A box behind a link.
pub struct Opened {
    /// Its driver.
    pub driver: Arc<dyn Konnektor>,
    /// Its make, as the site has it.
    pub product: Product,
    /// There, where the site seals its backups: they are made this way, and `driver` is not asked for them.
    pub sealed: Option<Backups>,
}

/// Opens a box behind a link on somebody's behalf. `make` is what the gateway's own file says; the site must not say another.
///
/// # Errors
/// [`Error::Away`] without a link, [`Error::SiteRefused`], and what the site met at the box.
pub async fn open(
    streams: Arc<dyn Streams>,
    (id, make): (&KonnektorId, Product),
    visitor: Visitor,
    profiles: &Profiles,
    patience: Patience,
) -> Result<Opened, Error> {
    let head = Head { visitor, wish: Wish::konnektor(&id.konnektor) };
    let reached = reached(streams.as_ref(), id, &head, patience).await?;
    let known = Profiles::MAKES.iter().find(|(_, name)| *name == reached.product);
    let Some((product, name)) = known.copied() else { return Err(Error::UnknownProduct) };
    if make != Product::Auto && make != product {
        return Err(Error::SiteUnclear);
    }
    let profile = Arc::clone(profiles.of(product).ok_or(Error::UnknownProduct)?);
    let home: HostPort = reached.address.parse().map_err(|_| Error::SiteUnclear)?;
    let (visitor, id) = (head.visitor, id.clone());
    let way = Arc::new(Way { streams, id, visitor, name, profile, home, patience });
    let session = Session::over(reached.stream, patience);
    let (address, session) = (way.home.clone(), Mutex::new(Some(session)));
    let sealed = reached.sealed.then(|| Backups(Arc::clone(&way)));
    Ok(Opened { driver: Arc::new(Remote { way, address, session }), product, sealed })
}

/// A stream that the site has agreed to.
struct Reached {
    stream: Stream,
    product: String,
    address: String,
    sealed: bool,
}

async fn reached(
    streams: &dyn Streams,
    id: &KonnektorId,
    head: &Head,
    patience: Patience,
) -> Result<Reached, Error> {
    let opened = timeout(patience.open, streams.open(&id.site, head)).await;
    let (stream, reply) = opened.map_err(|_| Error::Away)?.map_err(|e| no_way(&e))?;
    match reply {
        Reply::Open { product: Some(product), address: Some(address), sealed } => {
            Ok(Reached { stream, product, address, sealed })
        }
        Reply::Open { .. } | Reply::Refused { .. } | Reply::Away { .. } => Err(Error::SiteUnclear),
    }
}

/// Without a way to the site its box is away; what the site says of it is what it says.
fn no_way(why: &NoWay) -> Error {
    match why {
        NoWay::Refused(cause) => Error::SiteRefused { cause: cause.to_string() },
        NoWay::Away { error: Some(error), .. } => Error::from_wire(&error.0),
        NoWay::Broken(BadLine::NotUnderstood(_) | BadLine::TooLong) => Error::SiteUnclear,
        NoWay::Away { error: None, .. }
        | NoWay::NoLink
        | NoWay::Mux(_)
        | NoWay::Broken(BadLine::Closed | BadLine::Broken(_))
        | NoWay::Slow => Error::Away,
    }
}

/// How a box is reached: over which site's link, for whom, and what is known of its make.
struct Way {
    streams: Arc<dyn Streams>,
    id: KonnektorId,
    visitor: Visitor,
    name: &'static str,
    profile: Arc<Profile>,
    home: HostPort,
    patience: Patience,
}

impl Way {
    /// Another stream; the box has to be of the make that it was.
    async fn stream(&self, wish: Wish) -> Result<Reached, Error> {
        let head = Head { visitor: self.visitor.clone(), wish };
        let reached = reached(self.streams.as_ref(), &self.id, &head, self.patience).await?;
        if reached.product == self.name { Ok(reached) } else { Err(Error::SiteUnclear) }
    }
}

/// The driver; one stream at a time, kept between calls.
struct Remote {
    way: Arc<Way>,
    address: HostPort,
    session: Mutex<Option<Session>>,
}

impl Remote {
    /// The stream that was kept, or a new one.
    async fn session(&self, kept: Option<Session>) -> Result<Session, Error> {
        if let Some(mut session) = kept
            && session.is_fresh()
        {
            return Ok(session);
        }
        let opened = self.way.stream(Wish::konnektor(&self.way.id.konnektor)).await?;
        let mut session = Session::over(opened.stream, self.way.patience);
        if self.address != self.way.home {
            session.send(&Call::At { address: self.address.to_string() }).await?;
            session.end().await??;
        }
        Ok(session)
    }

    /// A call with nothing but an answer. A stream on which anything but that came, or that was cut, is not met again.
    async fn call(&self, call: &Call, body: Option<&[u8]>) -> Result<Option<Value>, Error> {
        let mut slot = self.session.lock().await;
        let mut session = self.session(slot.take()).await?;
        match body {
            Some(body) => session.send_with(call, body).await?,
            None => session.send(call).await?,
        }
        let answer = session.end().await?;
        *slot = Some(session);
        answer
    }
}

/// What a box says of itself, as the site tells it.
fn identity(told: Value) -> Result<Identity, Error> {
    let told: Identity = serde_json::from_value(told).map_err(|_| Error::SiteUnclear)?;
    let clean = |text: &String| cleaned(text).chars().take(128).collect();
    Ok(Identity {
        vendor_id: clean(&told.vendor_id),
        product_code: clean(&told.product_code),
        product_name: clean(&told.product_name),
        firmware: clean(&told.firmware),
        hardware: clean(&told.hardware),
        serial: told.serial.as_ref().map(clean),
    })
}

#[async_trait]
impl Konnektor for Remote {
    fn profile(&self) -> &Profile {
        &self.way.profile
    }

    fn address(&self) -> &HostPort {
        &self.address
    }

    fn at(&self, address: HostPort) -> Arc<dyn Konnektor> {
        Arc::new(Self { way: Arc::clone(&self.way), address, session: Mutex::new(None) })
    }

    async fn identify(&self) -> Result<Identity, Error> {
        identity(self.call(&Call::Identify, None).await?.ok_or(Error::SiteUnclear)?)
    }

    async fn read(&self, services: &[ServiceName], progress: &dyn Progress) -> Result<Reading, Error> {
        let wanted = self.way.profile.wanted(services)?;
        let services = wanted.iter().map(|service| service.name.to_string()).collect();
        let mut slot = self.session.lock().await;
        let mut session = self.session(slot.take()).await?;
        session.send(&Call::Read { services }).await?;
        let reading = reading::reading(&mut session, &wanted, &self.way.profile, progress).await?;
        *slot = Some(session);
        reading
    }

    async fn write(&self, service: &ServiceName, value: &Json) -> Result<(), Error> {
        // What this make does not take is not sent to find that out.
        self.way.profile.write_way(service)?;
        let body = value.bytes();
        let call = Call::Write { service: service.to_string(), bytes: body.len() as u64 };
        self.call(&call, Some(&body)).await.map(|_| ())
    }

    async fn perform(&self, action: &ActionName, data: Option<&Json>) -> Result<String, Error> {
        self.way.profile.perform_way(action, data)?;
        let body = data.map(Json::bytes);
        let bytes = body.as_ref().map(|body| body.len() as u64);
        let call = Call::Perform { action: action.to_string(), bytes };
        match self.call(&call, body.as_deref()).await? {
            Some(Value::String(answer)) if answer.chars().count() <= ANSWER => Ok(answer),
            Some(_) | None => Err(Error::SiteUnclear),
        }
    }

    async fn logout(&self) {
        let session = self.session.lock().await.take();
        if let Some(mut session) = session
            && session.is_fresh()
        {
            let left = async {
                session.send(&Call::Logout).await?;
                session.end().await
            };
            // The end of the stream ends the session at the box as well.
            if timeout(self.way.patience.silence, left).await.is_err() {
                tracing::debug!("a site did not say that its session at the box has ended");
            }
        }
    }
}
