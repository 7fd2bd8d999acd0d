//! How a simulated box behaves: its make, its account, its ways with tokens, writes, restarts and pairing.
//! Absent on purpose: failures; they are ordered while it runs, see `faults`.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::secret::Secret;

/// Whose box it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// `KoCoBox MED+`.
    Kocobox,
    /// secunet Highspeedkonnektor.
    Secunet,
    /// RISE Konnektor.
    Rise,
}

/// Where the `KoCoBox` puts its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenWay {
    /// A cookie of each `json-retrieve` answer.
    Cookie,
    /// A textarea in `start.htm`.
    Textarea,
    /// Both, the same token.
    Both,
}

/// The account's role at a secunet box (HSK manual, table 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Super-Admin.
    Super,
    /// Lokaler Admin.
    Lokal,
    /// Remote-Admin: on the remote port only; sees no keystores, no eGK, no HBA; starts no PIN.
    Remote,
}

/// How the box behaves.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each set by its name")]
pub struct Options {
    /// Whose box it is.
    pub make: Make,
    /// Its services, one JSON file each, read at each request; missing ones are written at the start.
    pub dir: PathBuf,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Waited before each answer.
    pub latency: Duration,
    /// Where the token is (`KoCoBox`).
    pub token: TokenWay,
    /// A new token with each answer that carries one; the old one is worth nothing from then on.
    pub rotating: bool,
    /// Services are read with the token only, but the one that hands it out. Writes always need it.
    pub token_on_reads: bool,
    /// After login there is only the page that wants a new password; secunet: login is answered with 403 and no token.
    pub forced_password_change: bool,
    /// What `connector.sds` says at the start.
    pub firmware: String,
    /// Each request is appended to `DIR/requests.log` too.
    pub log_file: bool,
    /// For the requests' times.
    pub clock: Clock,
    /// Where to listen; `None`: any free port of 127.0.0.1.
    pub listener: Option<TcpListener>,
    /// Whether it takes `POST /administration/json-store/{service}` (assumed; the real form is not public). Else 404.
    pub writable: bool,
    /// How long it is away after a restart or a loss of power.
    pub reboot_takes: Duration,
    /// How long the old address still answers after a change of the LAN address.
    pub old_address_closes_after: Duration,
    /// A new `lanwanservice.json` holds the address that it really listens on, not 192.168.2.100.
    pub real_lan_address: bool,
    /// Terminals that are paired anew get new identifiers, from `CT_ID_0011` on.
    pub new_ids_on_pairing: bool,
    /// Actions under `perform` beside `reboot` and `delete-ct`; each answers 200 and is recorded.
    pub actions: Vec<String>,
    /// Services whose reads and writes are answered with 403 (a file's name without `.json`).
    pub forbidden: Vec<String>,
    /// Services whose writes are answered with 403.
    pub read_only: Vec<String>,
    /// The account's role (secunet).
    pub role: Role,
    /// It listens as port 8501 does: for the Remote-Admin, and for nobody else (secunet).
    pub remote_port: bool,
}

impl Options {
    /// A quick `KoCoBox` with firmware 5.5.16, token in both places, user `koco-root`.
    #[must_use]
    pub fn new(dir: PathBuf, password: Secret, clock: Clock) -> Self {
        Self::of(Make::Kocobox, dir, password, clock)
    }

    /// A quick box of this make, with the account that the make ships with.
    #[must_use]
    pub fn of(make: Make, dir: PathBuf, password: Secret, clock: Clock) -> Self {
        let (user, firmware) = match make {
            Make::Kocobox => ("koco-root", "5.5.16"),
            Make::Secunet => ("super", "2.0.2"),
            Make::Rise => ("superadmin", "4.2.8"),
        };
        Self {
            make,
            dir,
            user: user.into(),
            password,
            latency: Duration::ZERO,
            token: TokenWay::Both,
            rotating: false,
            token_on_reads: false,
            forced_password_change: false,
            firmware: firmware.into(),
            log_file: false,
            clock,
            listener: None,
            writable: true,
            reboot_takes: Duration::from_millis(300),
            old_address_closes_after: Duration::ZERO,
            real_lan_address: false,
            new_ids_on_pairing: false,
            actions: Vec::new(),
            forbidden: Vec::new(),
            read_only: Vec::new(),
            role: Role::Super,
            remote_port: false,
        }
    }
}
