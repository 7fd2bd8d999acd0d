//! The lights, in the order of a cable: each is a check that was made, its sentence, and what to do.
//! Absent on purpose: root, and a guess. What cannot be known before another light is green is not known.

mod probe;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::desk::{About, Light};
use super::links::{CLOCK, Phase, Status};
use super::premises::Premises;
use super::{dial, network};
use crate::names::HostPort;
use words::{Sentence, light};

/// How often all is looked at.
const EACH: Duration = Duration::from_secs(10);
/// After a change, so that many changes are one look.
const SOON: Duration = Duration::from_millis(300);
/// For a name's look-up.
const LOOK_UP: Duration = Duration::from_secs(4);

/// The lights as they were last seen, the links' as they are.
pub struct Lights {
    premises: Arc<Premises>,
    seen: watch::Sender<Seen>,
}

/// What was checked.
#[derive(Clone, Default, PartialEq)]
struct Seen {
    near: Vec<Light>,
    boxes: Vec<Light>,
    of_links: Vec<Light>,
}

impl Lights {
    /// Nothing is known yet.
    pub fn new(premises: Arc<Premises>) -> Self {
        let unknown = |about| light(about, None, &Sentence::NotYet);
        let boxes = premises.settings.konnektors.keys();
        let boxes = boxes.map(|name| light(About::Konnektor, Some(name.to_string()), &Sentence::NotYet));
        let seen = Seen {
            near: [About::Network, About::Router, About::Dns].map(unknown).to_vec(),
            boxes: boxes.collect(),
            of_links: Vec::new(),
        };
        let seen = watch::Sender::new(seen);
        let lights = Self { premises, seen };
        lights.look_at_links();
        lights
    }

    /// With each change of a light.
    pub fn changes(&self) -> watch::Receiver<impl Clone + PartialEq> {
        self.seen.subscribe()
    }

    /// All of them.
    pub fn now(&self) -> Vec<Light> {
        let of_links = of_links(&self.premises);
        let seen = self.seen.borrow();
        seen.near.iter().chain(&of_links).chain(&seen.boxes).cloned().collect()
    }

    /// Looks again and again until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut network = self.premises.network.subscribe();
        let mut links: Vec<_> = self.premises.links.iter().map(super::links::Link::changes).collect();
        loop {
            tokio::select! {
                () = self.look() => {}
                () = stop.cancelled() => return,
            }
            let next = tokio::time::sleep(EACH);
            tokio::pin!(next);
            loop {
                let any = futures::future::select_all(links.iter_mut().map(|link| Box::pin(link.changed())));
                tokio::select! {
                    () = &mut next => break,
                    _ = network.changed() => break,
                    _ = any => self.look_at_links(),
                    () = stop.cancelled() => return,
                }
            }
            tokio::time::sleep(SOON).await;
        }
    }

    fn look_at_links(&self) {
        let of_links = of_links(&self.premises);
        self.seen.send_if_modified(|seen| {
            let changed = seen.of_links != of_links;
            seen.of_links = of_links;
            changed
        });
    }

    async fn look(&self) {
        let premises = &self.premises;
        let boxes = premises.settings.konnektors.iter().map(async |(name, settings)| {
            let sentence = probe::konnektor(&settings.address, settings.certificate.as_deref()).await;
            light(About::Konnektor, Some(name.to_string()), &sentence)
        });
        let (near, boxes) = tokio::join!(near(premises), futures::future::join_all(boxes));
        let of_links = of_links(premises);
        self.seen.send_if_modified(|seen| {
            let new = Seen { near, boxes, of_links };
            let changed = *seen != new;
            *seen = new;
            changed
        });
    }
}

async fn near(premises: &Premises) -> Vec<Light> {
    let addresses = network::addresses();
    let cable = if addresses.is_empty() {
        Sentence::NoAddress
    } else {
        Sentence::Addresses(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    };
    let router = match network::default_route() {
        _ if addresses.is_empty() => Sentence::NotYet,
        None => Sentence::NoRoute,
        Some((_, None)) => Sentence::NoRouterBetween,
        Some((_, Some(router))) => probe::router(router).await,
    };
    vec![
        light(About::Network, None, &cable),
        light(About::Router, None, &router),
        light(About::Dns, None, &dns(premises).await),
    ]
}

/// The name that has to be looked up first: the proxy's, or the gateway's.
async fn dns(premises: &Premises) -> Sentence {
    let gateways = premises.settings.gateways.iter();
    let first = gateways.filter_map(|g| g.proxy.as_ref().map(|p| &p.address).or(g.addresses.first()));
    let Some(name) = first.into_iter().find(|address| address.host().parse::<std::net::IpAddr>().is_err())
    else {
        return Sentence::NoNameNeeded;
    };
    match tokio::time::timeout(LOOK_UP, dial::look_up(name)).await {
        Ok(Ok(_)) => Sentence::Found(name.host().to_owned()),
        Ok(Err(_)) | Err(_) => Sentence::NotFound(name.host().to_owned()),
    }
}

fn of_links(premises: &Premises) -> Vec<Light> {
    let all: Vec<(String, Status)> =
        premises.links.iter().map(|link| (link.gateway.title(), link.status())).collect();
    let seen_from = all.iter().find_map(|(_, status)| status.seen_from.clone()).filter(|a| !a.is_empty());
    let public = seen_from.map_or(Sentence::NotYet, Sentence::SeenFrom);
    let now = premises.time.now();
    let ahead = all.iter().find_map(|(_, status)| status.ahead(now));
    let clock = match ahead {
        None => Sentence::NotYet,
        Some(ahead) if ahead.unsigned_abs() <= CLOCK => Sentence::ClockRight,
        Some(ahead) => Sentence::ClockWrong { seconds: ahead.as_secs() },
    };
    let mut lights = vec![light(About::PublicAddress, None, &public)];
    for (title, status) in &all {
        let proxied = premises.settings.gateways.iter().any(|g| g.title() == *title && g.proxy.is_some());
        lights.push(light(About::Gateway, Some(title.clone()), &reached(status, proxied)));
    }
    let key = premises.settings.key.public_key();
    let ours = key.fingerprint(ssh_key::HashAlg::Sha256).to_string();
    for ((title, status), link) in all.iter().zip(&premises.links) {
        let sentence = match &status.phase {
            Phase::Up => Sentence::KeysRight,
            Phase::OtherKey { presented } => {
                Sentence::OtherKey { pinned: link.via.fingerprint.clone(), presented: presented.clone() }
            }
            Phase::NotLetIn => {
                Sentence::NotLetIn { ours: ours.clone(), site: premises.settings.name.to_string() }
            }
            Phase::Resting | Phase::Trying | Phase::Away { .. } | Phase::Broken { .. } => Sentence::NotYet,
        };
        lights.push(light(About::Key, Some(title.clone()), &sentence));
    }
    lights.push(light(About::Clock, None, &clock));
    lights
}

fn reached(status: &Status, proxied: bool) -> Sentence {
    match &status.phase {
        Phase::Up => Sentence::Reached,
        Phase::OtherKey { .. } | Phase::NotLetIn => Sentence::ReachedNotIn,
        Phase::Resting => Sentence::Resting,
        Phase::Trying => Sentence::NotYet,
        Phase::Away { address, cause, answered } if proxied => {
            Sentence::BehindProxy { address: address.clone(), cause: cause.clone(), answered: *answered }
        }
        Phase::Away { address, cause, answered: true } => {
            Sentence::SaidNo { address: address.clone(), cause: cause.clone() }
        }
        Phase::Away { address, cause, answered: false } => {
            Sentence::NoAnswer { address: address.clone(), cause: cause.clone() }
        }
        Phase::Broken { cause } => Sentence::Broken { cause: cause.clone() },
    }
}

/// An address for people.
fn shown(address: &HostPort) -> String {
    address.to_string()
}
