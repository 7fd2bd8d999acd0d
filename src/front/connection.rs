//! What a connection's task, its login and its sessions all see of it; and how it is said good-bye to.
//! Absent on purpose: deciding when.

use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use russh::Disconnect;
use russh::server::Handle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::limits::{Offence, Place};
use crate::flow::{Ledger, Line, Windows};
use crate::identity::{Connection, Who};
use crate::journal::{Entry, Event};
use crate::names::{Fingerprint, Username};

/// How far a connection has come; its grace times hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The key exchange is not done.
    Exchange,
    /// No key is proven.
    Key,
    /// The second factor is open.
    Factor,
    /// In.
    In,
}

/// What will be written down of a connection that never got in.
#[derive(Default)]
pub struct Trail {
    pub(super) user: Option<Username>,
    pub(super) claimed: Option<Vec<u8>>,
    pub(super) key: Option<Fingerprint>,
    pub(super) cause: Option<String>,
    pub(super) offence: Option<Offence>,
    /// The key has signed; only then does it count whose it is.
    pub(super) verified: bool,
    /// DISCONNECT is on its way.
    pub(super) over: bool,
    pub(super) written: bool,
}

/// What a connection's task and its handler both see.
pub struct Shared {
    /// The TCP connection.
    pub line: Arc<Line>,
    /// Its name and origin.
    pub connection: Connection,
    /// Its place.
    pub place: Place,
    /// How far it has come.
    pub phase: watch::Sender<Phase>,
    /// The way to say good-bye; set once the versions are exchanged.
    pub handle: OnceLock<Handle>,
    /// Who is in.
    pub who: OnceLock<Who>,
    /// What led to a refusal.
    pub trail: Mutex<Trail>,
    /// Refusals after the login that have no line of their own.
    pub unwritten: AtomicUsize,
    /// Cancelled when the connection is to end: what runs on it runs no longer.
    pub stop: CancellationToken,
    /// What its channels have received and not passed on.
    pub ledger: Arc<Ledger>,
    /// Their receive windows.
    pub windows: Windows,
    /// The number of the next channel in a relayed session.
    pub numbers: Arc<AtomicU32>,
}

/// For the last words, and for the client to hear them.
const PARTING: Duration = Duration::from_millis(300);
impl Trail {
    pub(super) fn line(&self, connection: &Connection) -> Entry {
        Entry {
            session: Some(connection.session),
            from: Some(connection.from),
            user: self.user.clone(),
            claimed: self.claimed.clone(),
            key: self.key.clone(),
            cause: self.cause.clone(),
            ..Entry::new(Event::Refused)
        }
    }

    /// The line for a connection that ends without a login, if somebody tried one and it is not written yet.
    pub fn last_line(&mut self, connection: &Connection) -> Option<Entry> {
        (self.cause.is_some() && !std::mem::replace(&mut self.written, true)).then(|| self.line(connection))
    }

    /// What the connection's end costs, and whose key it was.
    pub fn offence(&self) -> Option<(Offence, Option<&Fingerprint>)> {
        self.offence.map(|offence| (offence, self.key.as_ref().filter(|_| self.verified)))
    }

    /// Has a registered key signed here? Of such a connection the line is never left out.
    pub fn is_verified(&self) -> bool {
        self.verified
    }
}

impl Shared {
    /// The next phase; the same one again does not begin its grace time anew.
    pub(super) fn enter_phase(&self, next: Phase) {
        self.phase.send_if_modified(|phase| std::mem::replace(phase, next) != next);
    }

    /// DISCONNECT with a reason, then, a little later, the end of the TCP connection. What runs on it ends at once.
    pub fn goodbye(&self, reason: Disconnect, text: String) {
        self.stop.cancel();
        // Not the connection's place: that is free as soon as the connection has ended.
        let (handle, line) = (self.handle.get().cloned(), self.line.clone());
        let mut farewell = Box::pin(async move {
            if let Some(handle) = handle {
                handle.disconnect(reason, text, "en".into()).await.ok();
            }
        });
        // Queued before this returns, where there is room: so it goes out before anything more is read.
        let queued = farewell.as_mut().now_or_never().is_some();
        tokio::spawn(async move {
            if !queued {
                tokio::time::timeout(PARTING, farewell).await.ok();
            }
            tokio::time::sleep(PARTING).await;
            line.cut();
        });
    }
}

/// No Nagle (44 ms an echo), dead peers found by TCP too (RFC 5482).
pub(super) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, 90_000)?;
    Ok(())
}
