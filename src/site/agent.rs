//! One task a gateway: dials it, proves itself, keeps the link, and is back when the network is.
//! Absent on purpose: a decision. What is allowed is the switch's, what is reached `site.toml`'s.

mod control;
mod line;
mod pause;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Dial;
use super::dial;
use super::links::{Link, Phase};
use super::premises::Premises;
use super::record::Line as Written;
use control::Over;
use line::NoLine;
use pause::{Ending, Pause};

/// A link that was up for so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// Holds the link to a gateway until `stop`.
pub async fn run(premises: Arc<Premises>, number: usize, stop: CancellationToken) {
    let Some(link) = premises.links.get(number) else { return };
    let mut pause = Pause::default();
    let mut network = premises.network.subscribe();
    let mut tries = 0;
    loop {
        if !wanted(&premises, link, &stop).await {
            return;
        }
        network.mark_unchanged();
        let began = Instant::now();
        let ending = tokio::select! {
            ending = once(&premises, link, number, tries, &stop) => ending,
            // A try over a network that is gone is given up; a link is probed instead.
            () = changed_before_up(&mut network, link) => Ending::Network,
            // A link that is up says good-bye itself.
            () = stopped(&stop, link) => return,
        };
        if stop.is_cancelled() {
            return;
        }
        tries += 1;
        let took = began.elapsed();
        if ending == Ending::Bye || took >= GOOD && ending != Ending::Network {
            pause.forget();
        }
        let wait = pause.after(ending, took, &premises.random);
        tracing::debug!(gateway = %link.via.title, ?ending, ?wait, "the link is tried again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Only where it was the network: who was refused waits.
            _ = network.changed(), if ending == Ending::Network => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until the link is wanted; `false`: the end.
async fn wanted(premises: &Premises, link: &Link, stop: &CancellationToken) -> bool {
    if premises.settings.link.dial == Dial::Always {
        return !stop.is_cancelled();
    }
    let mut changes = premises.switch.changes();
    while !premises.switch.wants_link() {
        link.is(Phase::Resting, premises.time.now().wall);
        tokio::select! {
            known = changes.changed() => if known.is_err() { return false },
            () = stop.cancelled() => return false,
        }
    }
    !stop.is_cancelled()
}

async fn changed_before_up(network: &mut tokio::sync::watch::Receiver<u64>, link: &Link) {
    loop {
        if network.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if link.status().phase != Phase::Up {
            return;
        }
    }
}

async fn stopped(stop: &CancellationToken, link: &Link) {
    stop.cancelled().await;
    if link.status().phase == Phase::Up {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// One try, and the link's life if it comes up.
async fn once(
    premises: &Arc<Premises>,
    link: &Link,
    number: usize,
    tries: usize,
    stop: &CancellationToken,
) -> Ending {
    let now = || premises.time.now().wall;
    let gateway = &link.gateway;
    let Some(address) = gateway.addresses.get(tries % gateway.addresses.len().max(1)) else {
        return Ending::Answered;
    };
    let stream = match dial::gateway(gateway, address).await {
        Ok(stream) => stream,
        Err(away) => {
            let (cause, answered) = (away.to_string(), !away.is_network());
            link.is(Phase::Away { address: address.to_string(), cause, answered }, now());
            return if answered { Ending::Answered } else { Ending::Network };
        }
    };
    let key = premises.settings.key.clone();
    let opened = line::open(stream, &premises.settings.name, key, &gateway.host_key).await;
    let (wire, channel) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            let phase = match &why {
                NoLine::OtherKey(presented) => Phase::OtherKey { presented: presented.clone() },
                NoLine::NotLetIn => Phase::NotLetIn,
                NoLine::NoSubsystem | NoLine::Handshake(_) | NoLine::Slow => {
                    Phase::Broken { cause: why.to_string() }
                }
            };
            if link.status().phase != phase {
                note(premises, link, "link-refused", why.to_string()).await;
            }
            link.is(phase, now());
            return Ending::Answered;
        }
    };
    let over = control::run(premises, link, number, channel, stop).await;
    link.speaks(None);
    premises.asks.lost(number);
    let cause = over.to_string();
    tracing::info!(gateway = %link.via.title, %cause, "the link is down");
    link.is(Phase::Broken { cause: cause.clone() }, now());
    note(premises, link, "link-down", cause).await;
    match over {
        // Nobody is there to take a word.
        Over::Silent | Over::ProbeUnanswered => Ending::Network,
        Over::Bye(_) | Over::Unwanted => {
            wire.leave().await;
            Ending::Bye
        }
        Over::Gone | Over::Hostile(_) | Over::Stopped => {
            wire.leave().await;
            Ending::Answered
        }
    }
}

async fn note(premises: &Premises, link: &Link, event: &'static str, cause: String) {
    let cause = cause.chars().filter(|c| !c.is_control()).take(200).collect();
    let gateway = Some(link.via.title.clone());
    premises.note_refusal(Written { event, gateway, cause: Some(cause), ..Written::default() }).await;
}
