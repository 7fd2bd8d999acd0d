//! A Konnektor on loopback for the demo and the tests: one of three makes, TLS, its login, its content out of a folder,
//! faults to order.
//! Absent on purpose: anything of the drivers; it is written from what is publicly known of the boxes, so that it can disagree.

mod big;
mod directory;
mod faults;
mod folder;
mod koco;
mod network;
mod options;
mod replies;
mod rise;
mod secunet;

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use hyper::header::HeaderMap;
use hyper::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::konnektor::CertificatePin;
use faults::Met;
use folder::Folder;
use koco::physical::Physical;
use network::{Asked, Own, Turn};

pub use big::big_infomodell;
pub use faults::{Fault, Moment, Order, Timed, When};
pub use koco::content::{PATIENTS, SERVICES};
pub use options::{Make, Options, Role, TokenWay};

/// A request the box got, noted before it was answered. Bodies and headers are not kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Request {
    /// When.
    pub time: jiff::Timestamp,
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Whether it came with a live session.
    pub session: bool,
}

/// Why the box did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder or listener.
    #[error("the simulated Konnektor cannot use its folder or port: {0}")]
    Io(#[from] std::io::Error),
    /// Its certificate or TLS.
    #[error("the simulated Konnektor cannot make its certificate")]
    Tls,
}

/// Why the box could not be changed by hand.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// Its folder.
    #[error("the simulated Konnektor cannot change its folder: {0}")]
    Io(#[from] std::io::Error),
    /// It holds no such terminal.
    #[error("the simulated Konnektor holds no terminal with this MAC address")]
    NoTerminal,
    /// Not with this make.
    #[error("only the simulated KoCoBox can do this")]
    OtherMake,
}

/// A running box; dropping it ends it and its connections.
pub struct Simulator {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// Requests kept in memory at most.
const REMEMBERED: usize = 100_000;

pub(crate) struct Shared {
    options: Options,
    folder: Folder,
    /// Session's id or bearer token → is it logged in, and its token.
    sessions: Mutex<HashMap<String, Session>>,
    requests: Mutex<Vec<Request>>,
    orders: Mutex<Vec<Timed>>,
    performed: Mutex<Vec<(String, Value)>>,
    tls: Mutex<(TlsAcceptor, CertificatePin)>,
    firmware: Mutex<String>,
    physical: Mutex<Physical>,
    turns: mpsc::Sender<Asked>,
    address: Mutex<SocketAddr>,
    /// What `lanwanservice` called the address at the start, and what it really is.
    home: (String, IpAddr),
    served: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    writes: AtomicUsize,
    user_writes: AtomicUsize,
    reboots: AtomicUsize,
}

#[derive(Clone, Default)]
struct Session {
    logged_in: bool,
    token: String,
}

impl Simulator {
    /// Writes missing services into the folder, makes a certificate, listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(mut options: Options) -> Result<Self, StartError> {
        std::fs::create_dir_all(&options.dir)?;
        let listener = network::first(options.listener.take()).await?;
        let address = listener.local_addr()?;
        let folder = Folder::new(options.dir.clone());
        match options.make {
            Make::Kocobox => {
                koco::content::write_missing(&folder, options.real_lan_address.then(|| address.ip()))?;
            }
            Make::Secunet => secunet::content::write_missing(&folder)?,
            Make::Rise => rise::content::write_missing(&folder)?,
        }
        let (turns, asked) = mpsc::channel(4);
        let shared = Arc::new(Shared {
            home: (koco::writes::lan_address(&folder), address.ip()),
            physical: Mutex::new(Physical::load(&folder)),
            folder,
            sessions: Mutex::default(),
            requests: Mutex::default(),
            orders: Mutex::default(),
            performed: Mutex::default(),
            tls: Mutex::new(network::certificate()?),
            firmware: Mutex::new(options.firmware.clone()),
            turns,
            address: Mutex::new(address),
            options,
            served: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            user_writes: AtomicUsize::new(0),
            reboots: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(network::listen(listener, Arc::clone(&shared), asked, stop.clone()));
        Ok(Self { shared, _stop: stop.drop_guard() })
    }

    /// Where it listens now, or will when it is back.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        *lock(&self.shared.address)
    }

    /// The certificate it shows now.
    #[must_use]
    pub fn certificate_pin(&self) -> CertificatePin {
        lock(&self.shared.tls).1
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The most requests that were under way at the same time.
    #[must_use]
    pub fn most_parallel(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Requests so far that wanted to change something (see [`When::NthWrite`]), refused ones too.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// Those of them that wanted to write `usermanagement`, refused ones too.
    #[must_use]
    pub fn user_writes(&self) -> usize {
        self.shared.user_writes.load(Ordering::SeqCst)
    }

    /// How often it was told to restart and did. Power that was cut does not count.
    #[must_use]
    pub fn reboots(&self) -> usize {
        self.shared.reboots.load(Ordering::SeqCst)
    }

    /// The actions it carried out, in order, each with its body; [`Value::Null`] for none.
    #[must_use]
    pub fn performed(&self) -> Vec<(String, Value)> {
        lock(&self.shared.performed).clone()
    }

    /// Orders a failure, an [`Order`] or one [`at`](Order::at) a moment; earlier orders stay.
    pub fn set_fault(&self, order: impl Into<Timed>) {
        lock(&self.shared.orders).push(order.into());
    }

    /// Takes all ordered failures back.
    pub fn clear_faults(&self) {
        lock(&self.shared.orders).clear();
    }

    /// From the next connection on it shows another certificate.
    ///
    /// # Errors
    /// [`StartError::Tls`].
    pub fn change_certificate(&self) -> Result<(), StartError> {
        *lock(&self.shared.tls) = network::certificate()?;
        Ok(())
    }

    /// Cuts the power: returns when all connections and sessions have ended. The box is back by itself after
    /// [`Options::reboot_takes`].
    pub async fn cut_power(&self) {
        self.end_sessions();
        self.shared.turn(Turn::Away(self.shared.options.reboot_takes)).await;
    }

    /// Puts all of its configuration to what it left the factory with, and ends the sessions. What stays: the LAN address,
    /// the account and its password, the serial number, the firmware, and the cards in the terminals. What is lost: the
    /// pairing of each terminal.
    ///
    /// # Errors
    /// [`HandError::OtherMake`], [`HandError::Io`].
    pub fn factory_reset(&self) -> Result<(), HandError> {
        self.of_kocobox()?;
        self.shared.factory_reset()?;
        self.end_sessions();
        Ok(())
    }

    /// Pairs a configured terminal, as a person before it does; gives its identifier, which is another one with
    /// [`Options::new_ids_on_pairing`].
    ///
    /// # Errors
    /// [`HandError`].
    pub fn pair(&self, mac: &str) -> Result<String, HandError> {
        self.of_kocobox()?;
        self.shared.pair(mac)
    }

    /// From now on it has this firmware, and `protocolservice` a member more (`"LOG_NEW": "X"`), which a write without it
    /// leaves as it is.
    ///
    /// # Errors
    /// [`HandError::OtherMake`], [`HandError::Io`].
    pub fn update_firmware(&self, firmware: &str) -> Result<(), HandError> {
        self.of_kocobox()?;
        Ok(self.shared.update_firmware(firmware)?)
    }

    fn of_kocobox(&self) -> Result<(), HandError> {
        match self.shared.options.make {
            Make::Kocobox => Ok(()),
            Make::Secunet | Make::Rise => Err(HandError::OtherMake),
        }
    }

    /// Ends all sessions, as a restart of the box does.
    pub fn end_sessions(&self) {
        lock(&self.shared.sessions).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Shared {
    /// Notes the request, waits the latency, then answers, or fails as ordered.
    async fn serve(
        &self,
        request: hyper::Request<Body>,
        own: &Own,
    ) -> Result<Response<Body>, faults::Dropped> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let _leave = Leave(&self.running);
        let nth = self.served.fetch_add(1, Ordering::SeqCst) + 1;
        let path = request.uri().path().to_owned();
        let nth_write =
            self.is_write(request.method(), &path).then(|| self.writes.fetch_add(1, Ordering::SeqCst) + 1);
        if nth_write.is_some() && path.ends_with("/usermanagement") {
            self.user_writes.fetch_add(1, Ordering::SeqCst);
        }
        self.note(&request);
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        let met = Met { path, nth, nth_write };
        let before = met.due(&mut lock(&self.orders), Moment::Before);
        let slow = match before {
            Some(Fault::Slow(pause)) => Some(pause),
            Some(fault) => return self.fail(fault, &met.path).await,
            None => None,
        };
        let answer = match self.options.make {
            Make::Kocobox => self.koco(request, own).await,
            Make::Secunet => self.secunet(request, own).await,
            Make::Rise => self.rise(request, own).await,
        };
        let after = met.due(&mut lock(&self.orders), Moment::After);
        match (after, slow) {
            (Some(Fault::Slow(pause)), _) | (None, Some(pause)) => Ok(faults::slowly(answer, pause)),
            (Some(fault), _) => self.fail(fault, &met.path).await,
            (None, None) => Ok(answer),
        }
    }

    fn is_write(&self, method: &Method, path: &str) -> bool {
        match self.options.make {
            Make::Kocobox => method == Method::POST && path.starts_with("/administration/json-store/"),
            Make::Secunet => (method == Method::PUT || method == Method::DELETE) && path != secunet::LOGOUT,
            Make::Rise => method == Method::POST && path.starts_with("/api/v1/ctm/"),
        }
    }

    /// What a request without a live session gets.
    fn no_session(&self) -> Response<Body> {
        match self.options.make {
            Make::Kocobox => replies::redirect(koco::LOGIN_PAGE),
            Make::Secunet | Make::Rise => replies::bare(StatusCode::UNAUTHORIZED),
        }
    }

    fn session_of(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        match self.options.make {
            Make::Kocobox | Make::Rise => self.cookie_session(headers),
            Make::Secunet => self.bearer_session(headers),
        }
    }

    fn closed_to_reads(&self, service: &str) -> bool {
        self.options.forbidden.iter().any(|forbidden| forbidden == service)
    }

    fn closed_to_writes(&self, service: &str) -> bool {
        self.closed_to_reads(service) || self.options.read_only.iter().any(|closed| closed == service)
    }

    /// Ends the sessions and goes away; the present answer is still sent.
    async fn reboot(&self, own: &Own) {
        self.reboots.fetch_add(1, Ordering::SeqCst);
        lock(&self.sessions).clear();
        own.finish();
        self.turn(Turn::Away(self.options.reboot_takes)).await;
    }

    fn note(&self, request: &hyper::Request<Body>) {
        let noted = Request {
            time: self.options.clock.now(),
            method: request.method().to_string(),
            path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            session: self.session_of(request.headers()).is_some_and(|(_, session)| session.logged_in),
        };
        if self.options.log_file
            && let Ok(line) = serde_json::to_string(&noted)
        {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.options.dir.join("requests.log"));
            if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
                tracing::warn!(%error, "the simulated Konnektor cannot write requests.log");
            }
        }
        let mut requests = lock(&self.requests);
        if requests.len() < REMEMBERED {
            requests.push(noted);
        }
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
