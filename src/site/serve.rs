//! `pforte site serve`: the parts built and run until somebody says stop. Absent on purpose: what they do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures::future::OptionFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::{self, Seal, Settings};
use super::desk::{self, Access, Desk, View};
use super::hall::Hall;
use super::konnektor::Shelf;
use super::page::keeper::{self, Keeper, NoCertificate, Source};
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
    settings.check_dates(clock.now()).map_err(NotServed::Configuration)?;
    let boxes = Shelf::of(dir, &settings, clock.clone()).map_err(NotServed::Configuration)?;
    let socket = Socket::bind(&settings.socket).await?;
    let (told, access) = watch::channel(Vec::new());
    let (page, keeper) = match &settings.page {
        Some(page) => {
            super::private_folder(&settings.state)?;
            let (page, keeper) = listening(page, &settings.state, &clock, &random, told).await?;
            (Some(page), keeper)
        }
        None => (None, None),
    };
    let premises = Premises::open(settings, Time::system(clock), random, Arc::new(boxes))?;
    let hall = Hall::new(premises, access);
    let ending = CancellationToken::new();
    let tasks = [
        tokio::spawn(Arc::clone(&hall).run(ending.clone())),
        tokio::spawn(socket.serve(hall.clone(), ending.clone())),
    ];
    let told = tokio::spawn(tell(hall.clone()));
    let paged = page.map(|page| tokio::spawn(page::serve(hall.clone(), page, ending.clone())));
    let kept = keeper.map(|keeper| tokio::spawn(keeper.run(keeper::EACH, ending.clone())));
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
    if let Some(Err(e)) = OptionFuture::from(kept).await {
        tracing::error!("the page's certificate: {e}");
    }
    told.abort();
    alive.abort();
    Ok(())
}

/// The page's addresses are taken, before anything is dialled. `told` hears how it is reached in the practice's network.
async fn listening(
    page: &config::Page,
    state: &Path,
    clock: &Clock,
    random: &Random,
    told: watch::Sender<Vec<Access>>,
) -> Result<(page::Settings, Option<Arc<Keeper>>), NotServed> {
    let (mut listeners, mut keeper) = (Vec::new(), None);
    if let Some(socket) = bound(page.listen).await {
        tracing::info!("the page listens on http://{}", socket.local_addr()?);
        listeners.push(Listener::plain(socket));
    }
    if let Some(lan) = page.lan
        && let Some(socket) = bound(lan).await
    {
        let address = socket.local_addr()?;
        match sealed(page, state, address, clock, told.clone()) {
            Ok(None) => {
                let warning = page.warning(clock.now());
                if let Some(warning) = &warning {
                    tracing::warn!("{}", warning.en);
                }
                let url = format!("http://{address}/");
                told.send_replace(vec![Access {
                    url,
                    seal: desk::Seal::Plain,
                    fingerprint: None,
                    until: None,
                    warning,
                }]);
                listeners.push(Listener::proxied(socket));
            }
            Ok(Some(kept)) => {
                let config = kept.config().map_err(std::io::Error::other)?;
                listeners.push(match page.seal {
                    Seal::Given { .. } => Listener::strict_tls(socket, config),
                    Seal::Own | Seal::Plain => Listener::tls(socket, config),
                });
                keeper = Some(kept);
            }
            // Never plain instead; the link, the switch and this machine's own page are there without it.
            Err(e) => tracing::error!("the page is not shown at https://{address}/: {e}"),
        }
    }
    let settings = page::Settings {
        listeners,
        state: Some(state.to_owned()),
        hosts: page.hosts.clone(),
        pin: page.pin.clone(),
        idle: page::IDLE,
        clock: clock.clone(),
        random: random.clone(),
    };
    Ok((settings, keeper))
}

/// The link and the terminal's switch are there without it; a network that is not up yet is no reason to be without them.
async fn bound(address: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(socket) => Some(socket),
        Err(e) => {
            tracing::error!("the page is not shown at {address}: {e}");
            None
        }
    }
}

/// The certificate of that address; none if it is to be plain.
fn sealed(
    page: &config::Page,
    state: &Path,
    address: SocketAddr,
    clock: &Clock,
    told: watch::Sender<Vec<Access>>,
) -> Result<Option<Arc<Keeper>>, NoCertificate> {
    let source = match &page.seal {
        Seal::Own => Source::Own {
            file: state.join(keeper::FILE),
            names: std::iter::once(address.ip().to_string()).chain(page.hosts.iter().cloned()).collect(),
        },
        Seal::Given { certificate, key, .. } => {
            Source::Given { certificate: certificate.clone(), key: key.clone() }
        }
        Seal::Plain => return Ok(None),
    };
    let first = source.read(clock.now())?;
    Ok(Some(Keeper::new(source, first, format!("https://{address}/"), clock.clone(), told)))
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
