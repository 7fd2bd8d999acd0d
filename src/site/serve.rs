//! `pforte site serve`: the parts built and run until somebody says stop. Absent on purpose: what they do.

use std::path::Path;
use std::sync::Arc;

use futures::future::OptionFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::config::{self, Settings};
use super::desk::{Desk, View};
use super::hall::Hall;
use super::konnektor::Shelf;
use super::page::{self, Listener};
use super::premises::Premises;
use super::socket::Socket;
use super::time::Time;
use crate::clock::Clock;
use crate::config::Problems;
use crate::random::Random;
use crate::service;

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// `site.toml`.
    #[error("the configuration is wrong:\n{0}")]
    Configuration(Problems),
    /// The state's folder, or the socket in it.
    #[error("{0}")]
    State(#[from] std::io::Error),
}

/// Serves the site in `dir` until `stop`.
///
/// # Errors
/// [`NotServed`]; nothing was dialled then.
pub async fn run(
    dir: &Path,
    clock: Clock,
    random: Random,
    stop: impl Future<Output = ()>,
) -> Result<(), NotServed> {
    let settings = Settings::load(dir).map_err(NotServed::Configuration)?;
    let boxes = Shelf::of(dir, &settings, clock.clone()).map_err(NotServed::Configuration)?;
    let socket = Socket::bind(&settings.socket).await?;
    let page = match &settings.page {
        Some(page) => Some(listening(page, &clock, &random).await?),
        None => None,
    };
    let premises = Premises::open(settings, Time::system(clock), random, Arc::new(boxes))?;
    let hall = Hall::new(premises);
    let ending = CancellationToken::new();
    let tasks = [
        tokio::spawn(Arc::clone(&hall).run(ending.clone())),
        tokio::spawn(socket.serve(hall.clone(), ending.clone())),
    ];
    let told = tokio::spawn(tell(hall.clone()));
    let paged = page.map(|page| tokio::spawn(page::serve(hall.clone(), page, ending.clone())));
    let alive = tokio::spawn(service::alive());
    service::ready();
    tracing::info!("the site is served");
    stop.await;
    service::stopping();
    ending.cancel();
    for task in tasks {
        if let Err(e) = task.await {
            tracing::error!("a task of the site: {e}");
        }
    }
    if let Some(Err(e)) = OptionFuture::from(paged).await {
        tracing::error!("the page: {e}");
    }
    told.abort();
    alive.abort();
    Ok(())
}

/// The page's addresses are taken, before anything is dialled.
async fn listening(page: &config::Page, clock: &Clock, random: &Random) -> Result<page::Settings, NotServed> {
    let mut listeners = Vec::new();
    for address in std::iter::once(page.listen).chain(page.lan) {
        // The link and the terminal's switch are there without it; a network that is not up yet is no reason to be without them.
        let socket = match TcpListener::bind(address).await {
            Ok(socket) => socket,
            Err(e) => {
                tracing::error!("the page is not shown at {address}: {e}");
                continue;
            }
        };
        tracing::info!("the page listens on http://{}", socket.local_addr()?);
        listeners.push(Listener::plain(socket));
    }
    Ok(page::Settings {
        listeners,
        hosts: Vec::new(),
        pin: page.pin.clone(),
        idle: page::IDLE,
        clock: clock.clone(),
        random: random.clone(),
    })
}

/// `systemctl status` shows how the switch stands.
async fn tell(desk: Arc<dyn Desk>) {
    let mut changes = desk.changes();
    loop {
        service::status(&line(&desk.view()));
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn line(view: &View) -> String {
    let linked = view.lights.iter().filter(|l| l.about == super::desk::About::Gateway);
    let (all, green) = linked.fold((0, 0), |(all, green), light| {
        (all + 1, green + usize::from(light.shine == super::desk::Shine::Green))
    });
    let switch = match (&view.switch.until, view.switch.backup_only) {
        (Some(until), _) => {
            format!("open until {until}, {} named, {} in", view.named.len(), view.present.len())
        }
        (None, true) => "closed, backups only".to_owned(),
        (None, false) => "closed".to_owned(),
    };
    format!("{switch}; {green} of {all} gateways linked")
}
