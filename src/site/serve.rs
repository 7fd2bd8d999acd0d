//! `pforte site serve`: the parts built and run until somebody says stop. Absent on purpose: what they do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures::future::OptionFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::{self, Seal, Settings};
use super::desk::{self, Access, Desk, Said, View};
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
    if let Some(lan) = page.lan {
        match in_network(page, lan, state, clock, &told).await {
            Ok((listener, kept)) => {
                listeners.push(listener);
                keeper = kept;
            }
            // Never plain instead. The link, the switch and this machine's own page are there without it.
            Err(e) => {
                tracing::error!("the page is not shown at {lan}: {e}");
                let warning = Said {
                    de: format!("Dort ist die Seite nicht zu erreichen: {e}"),
                    en: format!("The page cannot be reached there: {e}"),
                };
                told.send_replace(vec![unsealed(page, lan, Some(warning))]);
            }
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

/// Why the page is not shown in the practice's network.
#[derive(Debug, thiserror::Error)]
enum NotThere {
    #[error("{0}")]
    Network(#[from] std::io::Error),
    #[error("{0}")]
    Certificate(#[from] NoCertificate),
}

/// The listener of the practice's network, and whoever keeps its certificate if it has one of ours.
async fn in_network(
    page: &config::Page,
    lan: SocketAddr,
    state: &Path,
    clock: &Clock,
    told: &watch::Sender<Vec<Access>>,
) -> Result<(Listener, Option<Arc<Keeper>>), NotThere> {
    let socket = TcpListener::bind(lan).await?;
    let address = socket.local_addr()?;
    let source = match &page.seal {
        Seal::Own => Source::Own {
            file: state.join(keeper::FILE),
            names: std::iter::once(address.ip().to_string()).chain(page.hosts.iter().cloned()).collect(),
        },
        Seal::Given { certificate, key, .. } => {
            Source::Given { certificate: certificate.clone(), key: key.clone() }
        }
        Seal::Plain => {
            let warning = page.warning(clock.now());
            if let Some(warning) = &warning {
                tracing::warn!("{}", warning.en);
            }
            told.send_replace(vec![unsealed(page, address, warning)]);
            return Ok((Listener::proxied(socket), None));
        }
    };
    let first = source.read(clock.now())?;
    let strict = matches!(source, Source::Given { .. });
    let keeper = Keeper::new(source, first, format!("https://{address}/"), clock.clone(), told.clone());
    let config = keeper.config()?;
    let listener = if strict { Listener::strict_tls(socket, config) } else { Listener::tls(socket, config) };
    Ok((listener, Some(keeper)))
}

/// What is said of an address without a certificate.
fn unsealed(page: &config::Page, address: SocketAddr, warning: Option<Said>) -> Access {
    let (scheme, seal) = match page.seal {
        Seal::Own => ("https", desk::Seal::Own),
        Seal::Given { .. } => ("https", desk::Seal::Given),
        Seal::Plain => ("http", desk::Seal::Plain),
    };
    Access { url: format!("{scheme}://{address}/"), seal, fingerprint: None, until: None, warning }
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
