//! Konnektor jobs on the site's side: a gateway's calls, done here with the site's own secrets, one at a time.
//! Absent on purpose: the switch, which was asked before; and the box's password in anything that goes out.

mod reading;
mod rights;
mod shelf;
mod talk;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::konnektor::restore::around;
use crate::konnektor::{self, Error, Json, Konnektor, Pins, Product, Profile, Profiles, Spec};
use crate::link::frames::{Broken, Call, Called, Head, Refusal, Reply, Wish};
use crate::names::{HostPort, KonnektorName, ServiceName};
use rights::{Right, Rights};
use talk::Talk;

pub use shelf::Shelf;
pub use talk::Patience;

/// A box of the site, with its secrets.
#[derive(Clone)]
pub struct SiteBox {
    /// How it is reached, and the account on it.
    pub spec: Spec,
    /// Where a restore may follow it when its address changes; empty: the network around its address.
    pub networks: Vec<IpNet>,
}

/// What `site.toml` has of Konnektors.
#[derive(Clone, Default)]
pub struct Boxes {
    /// By their names.
    pub boxes: BTreeMap<KonnektorName, SiteBox>,
    /// Whom backups are encrypted to before they leave; empty: they are not.
    pub recipients: Vec<age::x25519::Recipient>,
}

/// What the work is done with.
#[derive(Clone)]
pub struct Tools {
    /// What is known of each make.
    pub profiles: Arc<Profiles>,
    /// Certificates seen first.
    pub pins: Arc<dyn Pins>,
    /// The time, for a backup's head.
    pub clock: Clock,
    /// With the gateway.
    pub patience: Patience,
}

/// How a stream ended; `Display` is for the site's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// All that was asked for was done, or the gateway left between two calls.
    #[error("done")]
    Done,
    /// The gateway asked for what this visitor may not, or for what is not there.
    #[error("refused={0}")]
    Refused(&'static str),
    /// The box could not be opened.
    #[error("away={0}")]
    Away(Error),
    /// The gateway left, or the link broke, in the middle.
    #[error("left")]
    Left,
    /// The gateway took too long.
    #[error("too-slow")]
    Idle,
    /// The gateway said something that nobody says.
    #[error("not-understood")]
    NotUnderstood,
}

/// A make has to be found out within this: the gateway waits for the answer to its head a little longer.
const OPEN: Duration = Duration::from_secs(12);
/// A session at the box has to end within this.
const LEAVE: Duration = Duration::from_secs(30);

/// Answers a head that was permitted, and then its calls, until the gateway leaves or asks for what its visitor may not.
/// Dropped, it ends at once, but for a write or an action that the box is at: that is brought to its end, and then the session
/// at the box is.
pub async fn serve<S>(stream: S, head: &Head, boxes: &Boxes, tools: &Tools) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut talk = Talk::over(stream, tools.patience);
    let ended = served(&mut talk, head, boxes, tools).await.err().unwrap_or(Ended::Done);
    talk.close().await;
    ended
}

async fn served<S>(talk: &mut Talk<S>, head: &Head, boxes: &Boxes, tools: &Tools) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = match &head.wish {
        Wish::Konnektor { name } | Wish::Backup { name, .. } => name,
        Wish::Dial { .. } => return refuse(talk, Refusal::NotUnderstood, "no-konnektor").await,
    };
    let seals = !boxes.recipients.is_empty();
    let Some(rights) = Rights::of(&head.visitor, seals) else {
        return refuse(talk, Refusal::NotUnderstood, "family").await;
    };
    let known = name.parse::<KonnektorName>().ok().and_then(|name| boxes.boxes.get(&name));
    let Some(known) = known else {
        return refuse(talk, Refusal::NotListed, "no-such-konnektor").await;
    };
    if matches!(head.wish, Wish::Backup { .. }) && !rights.may(Right::Backup) {
        return refuse(talk, Refusal::NotUnderstood, "no-sealed-backup").await;
    }
    let opened = timeout(OPEN, opened(&known.spec, tools)).await.unwrap_or(Err(Error::TimedOut));
    let (driver, product) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let reply = Reply::Away { cause: error.to_string(), error: Some(Broken(error.to_wire())) };
            talk.say(&reply).await?;
            return Err(Ended::Away(error));
        }
    };
    let address = Some(known.spec.address.to_string());
    talk.say(&Reply::Open { product: Some(product.to_owned()), address, sealed: seals }).await?;
    let mut visit = Visit { talk, head, rights, known, at: Held::of(driver) };
    match &head.wish {
        Wish::Backup { services, at, .. } => {
            match at {
                Some(_) if !visit.rights.may(Right::Move) => return visit.no("at").await,
                Some(at) => visit.follow(at).await?,
                None => {}
            }
            reading::sealed(&mut visit, services, boxes, tools).await
        }
        Wish::Konnektor { .. } | Wish::Dial { .. } => visit.calls().await,
    }
}

async fn refuse<S>(talk: &mut Talk<S>, cause: Refusal, why: &'static str) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    talk.say(&Reply::Refused { cause }).await?;
    Err(Ended::Refused(why))
}

/// The driver, and its make by name. Dials only where the make has to be found out.
async fn opened(spec: &Spec, tools: &Tools) -> Result<(Arc<dyn Konnektor>, &'static str), Error> {
    let mut spec = spec.clone();
    if spec.product == Product::Auto {
        spec.product = konnektor::identify(&spec, Arc::clone(&tools.pins)).await?.product();
    }
    let name = Profiles::MAKES.iter().find(|(product, _)| *product == spec.product);
    let (_, name) = name.ok_or(Error::UnknownProduct)?;
    let driver = konnektor::open(spec, &tools.profiles, Arc::clone(&tools.pins)).await?;
    Ok((driver, name))
}

/// A session at the box. Dropped, it is ended, once nothing changes the box any more.
struct Held {
    driver: Arc<dyn Konnektor>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Held {
    fn of(driver: Arc<dyn Konnektor>) -> Self {
        Self { driver, turn: Arc::default() }
    }

    /// Does what changes the box, to its end, whatever becomes of who waits for it.
    async fn change<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let done = tokio::spawn(async move {
            let _turn = turn;
            work.await
        });
        done.await.unwrap_or(Err(Error::Dropped))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (driver, turn) = (Arc::clone(&self.driver), Arc::clone(&self.turn));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _turn = turn.lock().await;
                if timeout(LEAVE, driver.logout()).await.is_err() {
                    tracing::debug!("a session at a Konnektor did not end in time");
                }
            });
        }
    }
}

/// A visitor at a box.
struct Visit<'v, S> {
    talk: &'v mut Talk<S>,
    head: &'v Head,
    rights: Rights<'v>,
    known: &'v SiteBox,
    at: Held,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Visit<'_, S> {
    async fn calls(&mut self) -> Result<(), Ended> {
        while let Some(call) = self.talk.call().await? {
            match call {
                Call::Identify => {
                    let identity = tokio::select! {
                        identity = self.at.driver.identify() => identity,
                        () = self.talk.stirs() => return Err(Ended::Left),
                    };
                    let answer = identity.map(|identity| serde_json::to_value(identity).ok());
                    self.answer(answer).await?;
                }
                Call::Read { services } if self.rights.may(Right::Read) => {
                    reading::read(self, &services).await?;
                }
                Call::Read { .. } => return self.no("read").await,
                Call::Write { service, bytes } if self.rights.may(Right::Write) => {
                    self.write(&service, bytes).await?;
                }
                Call::Write { .. } => return self.no("write").await,
                Call::Perform { action, bytes } if self.rights.may(Right::Perform) => {
                    self.perform(&action, bytes).await?;
                }
                Call::Perform { .. } => return self.no("perform").await,
                Call::At { address } if self.rights.may(Right::Move) => {
                    self.follow(&address).await?;
                    self.answer(Ok(None)).await?;
                }
                Call::At { .. } => return self.no("at").await,
                Call::Logout => {
                    self.at.driver.logout().await;
                    self.answer(Ok(None)).await?;
                }
            }
        }
        Ok(())
    }

    async fn answer(&mut self, answer: Result<Option<serde_json::Value>, Error>) -> Result<(), Ended> {
        let called = match answer {
            Ok(answer) => Called::Done { answer },
            Err(error) => Called::Failed { error: Broken(error.to_wire()) },
        };
        self.talk.say(&called).await
    }

    /// Says no, and no more.
    async fn no(&mut self, what: &'static str) -> Result<(), Ended> {
        self.answer(Err(Error::SiteRefused { cause: format!("not-allowed {what}") })).await?;
        Err(Ended::Refused(what))
    }

    /// The value of one service, as large as its make's profile allows.
    async fn write(&mut self, service: &str, bytes: u64) -> Result<(), Ended> {
        let profile = self.at.driver.profile();
        let known = service.parse::<ServiceName>().ok().filter(|name| profile.service(name).is_some());
        let Some((service, bytes)) = known.zip(within(bytes, profile.limits.service_bytes)) else {
            return self.no("write").await;
        };
        let body = self.talk.body(bytes).await?;
        let parsed = Json::parse(&body, &service);
        drop(body);
        let done = match parsed {
            Ok(value) => {
                let driver = Arc::clone(&self.at.driver);
                self.at.change(async move { driver.write(&service, &value).await }).await
            }
            Err(error) => Err(error),
        };
        self.answer(done.map(|()| None)).await
    }

    async fn perform(&mut self, action: &str, bytes: Option<u64>) -> Result<(), Ended> {
        let profile: &Profile = self.at.driver.profile();
        let (Ok(action), Some(bytes)) =
            (action.parse(), within(bytes.unwrap_or(0), profile.limits.page_bytes))
        else {
            return self.no("perform").await;
        };
        let data = if bytes == 0 {
            None
        } else {
            let body = self.talk.body(bytes).await?;
            let data = std::str::from_utf8(&body).ok().and_then(Json::of_data);
            if data.is_none() {
                return self.no("perform").await;
            }
            data
        };
        match self.rights.acts(self.at.driver.profile(), &action, data.as_ref()) {
            Ok(()) => {}
            Err(Error::SiteRefused { .. }) => return self.no("perform").await,
            Err(error) => return self.answer(Err(error)).await,
        }
        let driver = Arc::clone(&self.at.driver);
        let done = self.at.change(async move { driver.perform(&action, data.as_ref()).await }).await;
        self.answer(done.map(|answer| Some(answer.into()))).await
    }

    /// To the same box at another address: of its own networks, and with the port that it has.
    async fn follow(&mut self, address: &str) -> Result<(), Ended> {
        let home = &self.known.spec.address;
        let networks = match self.known.networks.as_slice() {
            [] => around(home),
            listed => listed.to_vec(),
        };
        let inside = |address: &HostPort| {
            let ip = address.host().parse::<IpAddr>();
            address == home
                || address.port() == home.port()
                    && ip.is_ok_and(|ip| networks.iter().any(|network| network.contains(&ip)))
        };
        let Some(address) = address.parse::<HostPort>().ok().filter(inside) else {
            return self.no("elsewhere").await;
        };
        let there = self.at.driver.at(address);
        self.at = Held::of(there);
        Ok(())
    }
}

/// A length that a gateway announces, if it is one that is taken.
fn within(bytes: u64, most: usize) -> Option<usize> {
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= most)
}
