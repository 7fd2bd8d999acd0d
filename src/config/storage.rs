//! `[storage]`: where things are kept, and the address of a state that several gateways share.
//! Absent on purpose: opening any of it. A password has no place in an address; it stands in a file of its own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::files::Folder;
use super::problems::Problems;
use super::reader::Table;
use crate::names::HostPort;
use crate::secret::Secret;

/// Where things are kept; paths below the configuration's folder.
pub struct Storage {
    /// `sqlite:PATH`, or `postgres://…`.
    pub state: StateAt,
    /// How long another gateway may be silent before its jobs count as lost.
    pub lost_after: Duration,
    /// `file:PATH`.
    pub vault: PathBuf,
    /// The journal's folder.
    pub journal: PathBuf,
    /// The recordings' folder, `file:PATH`.
    pub recordings: PathBuf,
    /// The operator's socket.
    pub control: PathBuf,
    /// The gateway's host key, Ed25519.
    pub host_key: PathBuf,
    /// The authority behind host certificates, Ed25519; made where it is missing.
    pub host_ca: PathBuf,
    /// The authority behind user certificates, Ed25519; made where it is missing.
    pub user_ca: PathBuf,
    /// The journal's own key, Ed25519.
    pub journal_key: PathBuf,
    /// The key with which the gateway logs in at hosts, Ed25519.
    pub target_key: PathBuf,
    /// The age identity that opens the vault.
    pub vault_identity: PathBuf,
}

/// Where the state is.
#[derive(Clone)]
pub enum StateAt {
    /// A file, of one machine; its path below the configuration's folder.
    Sqlite(PathBuf),
    /// A server that several gateways share.
    Postgres(PostgresAt),
}

/// A PostgreSQL server, and how it is known and entered.
#[derive(Clone)]
pub struct PostgresAt {
    /// Where, and as whom.
    pub url: PostgresUrl,
    /// If the server asks for one.
    pub password: Option<Secret>,
    /// Certificates in PEM that vouch for the server; without, those that browsers trust.
    pub ca: Option<PathBuf>,
}

/// `postgres://USER@HOST[:PORT]/DATABASE`, or `postgres://USER@/DATABASE?host=/FOLDER` for a socket of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The role.
    pub user: String,
    /// Where it listens.
    pub host: PostgresHost,
    /// Its port; names the socket's file too.
    pub port: u16,
    /// The database.
    pub database: String,
}

/// Where a PostgreSQL server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresHost {
    /// A name or address.
    Name(String),
    /// The folder of its socket.
    Socket(PathBuf),
}

/// Why an address is none. It never repeats what stands there: that may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPostgresUrl {
    /// Another form.
    #[error(
        "expected \"postgres://USER@HOST[:PORT]/DATABASE\", or \"postgres://USER@/DATABASE?host=/FOLDER\""
    )]
    Form,
    /// A password stands in it.
    #[error("a password does not belong here, where others can read it: state_password = {{ file = \"…\" }}")]
    Password,
    /// A parameter that is none here.
    #[error(
        "no parameter but host=/FOLDER counts here: TLS is used, and the server's name checked, wherever it is another machine"
    )]
    Parameter,
}

const PORT: u16 = 5432;

impl PostgresUrl {
    /// Is the server on this machine?
    pub fn is_here(&self) -> bool {
        match &self.host {
            PostgresHost::Socket(_) => true,
            PostgresHost::Name(name) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// Has this text its scheme?
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("postgres:") || text.starts_with("postgresql:")
    }
}

impl FromStr for PostgresUrl {
    type Err = BadPostgresUrl;

    fn from_str(text: &str) -> Result<Self, BadPostgresUrl> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(BadPostgresUrl::Form)?;
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        let (who, place) = place.rsplit_once('@').ok_or(BadPostgresUrl::Form)?;
        if who.contains(':') || query.is_some_and(|query| query.contains("password")) {
            return Err(BadPostgresUrl::Password);
        }
        let (host, database) = place.split_once('/').ok_or(BadPostgresUrl::Form)?;
        let socket = match query.map(|query| query.strip_prefix("host=")) {
            None => None,
            Some(Some(folder)) if folder.starts_with('/') && !folder.contains(['&', '%', '#']) => {
                Some(folder)
            }
            Some(_) => return Err(BadPostgresUrl::Parameter),
        };
        let (host, port) = match (host, socket) {
            ("", Some(folder)) => (PostgresHost::Socket(folder.into()), PORT),
            (port, Some(folder)) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
                (PostgresHost::Socket(folder.into()), port.ok_or(BadPostgresUrl::Form)?)
            }
            (host, None) => {
                let at: Result<HostPort, _> = host.parse().or_else(|_| format!("{host}:{PORT}").parse());
                let at = at.map_err(|_| BadPostgresUrl::Form)?;
                (PostgresHost::Name(at.host().to_owned()), at.port())
            }
        };
        let is_name = |name: &str| {
            (1..=63).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if !is_name(who) || !is_name(database) {
            return Err(BadPostgresUrl::Form);
        }
        Ok(Self { user: who.to_owned(), host, port, database: database.to_owned() })
    }
}

/// How it is said without a secret: the server and the database.
impl std::fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, host, port, database } = self;
        match host {
            PostgresHost::Name(name) if name.contains(':') => {
                write!(f, "postgres://{user}@[{name}]:{port}/{database}")
            }
            PostgresHost::Name(name) => write!(f, "postgres://{user}@{name}:{port}/{database}"),
            PostgresHost::Socket(folder) if *port == PORT => {
                write!(f, "postgres://{user}@/{database}?host={}", folder.display())
            }
            PostgresHost::Socket(folder) => {
                write!(f, "postgres://{user}@:{port}/{database}?host={}", folder.display())
            }
        }
    }
}

impl std::fmt::Display for StateAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(at) => at.url.fmt(f),
        }
    }
}

impl PostgresAt {
    /// What travels to another machine is encrypted, and goes to nobody but the one who bears the server's name; where an
    /// authority is named, on this machine too.
    pub fn is_encrypted(&self) -> bool {
        self.ca.is_some() || !self.url.is_here()
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            state: StateAt::Sqlite("state/pforte.sqlite".into()),
            lost_after: Duration::from_mins(1),
            vault: "state/vault".into(),
            journal: "state/journal".into(),
            recordings: "state/recordings".into(),
            control: "state/control.sock".into(),
            host_key: "state/host_ed25519".into(),
            host_ca: "state/host_ca".into(),
            user_ca: "state/user_ca".into(),
            journal_key: "state/journal_ed25519".into(),
            target_key: "state/target_ed25519".into(),
            vault_identity: "state/vault.agekey".into(),
        }
    }
}

pub(super) fn storage(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Storage {
    let mut found = Storage { state: state(folder, &mut table, problems), ..Storage::default() };
    let span = (Duration::from_secs(1), Duration::from_hours(1));
    if let Some(lost_after) = table.duration_within("lost_after", span, problems) {
        found.lost_after = lost_after.value;
    }
    let mut url = |key, into: &mut PathBuf| {
        let Some(text) = table.text(key, problems) else { return };
        match text.value.strip_prefix("file:") {
            Some(path) if !path.is_empty() => *into = path.into(),
            Some(_) | None => problems.add(text.place, format!("{key}: expected \"file:PATH\"")),
        }
    };
    url("vault", &mut found.vault);
    url("journal", &mut found.journal);
    url("recordings", &mut found.recordings);
    let mut path = |key, into: &mut PathBuf| {
        if let Some(path) = table.parsed::<PathBuf>(key, problems) {
            *into = path.value;
        }
    };
    path("control", &mut found.control);
    path("host_key", &mut found.host_key);
    path("host_ca", &mut found.host_ca);
    path("user_ca", &mut found.user_ca);
    path("journal_key", &mut found.journal_key);
    path("target_key", &mut found.target_key);
    path("vault_identity", &mut found.vault_identity);
    table.finish(problems);
    found
}

fn state(folder: &Folder, table: &mut Table<'_, '_>, problems: &mut Problems) -> StateAt {
    let here = Storage::default().state;
    let text = table.text("state", problems);
    let place = table.place();
    let more = table.holds("state_password") || table.holds("state_ca");
    let password = folder.secret(table, "state_password", problems);
    let ca = table.parsed::<PathBuf>("state_ca", problems);
    if let Some(ca) = &ca
        && let Err(e) = std::fs::File::open(folder.path(&ca.value))
    {
        problems.add(ca.place.clone(), format!("state_ca: cannot be read: {e}"));
    }
    let Some(text) = text else {
        if more {
            problems.add(place, "state_password and state_ca are for state = \"postgres://…\"");
        }
        return here;
    };
    if PostgresUrl::is_meant(&text.value) {
        match text.value.parse() {
            Ok(url) => {
                let ca = ca.map(|ca| folder.path(ca.value));
                return StateAt::Postgres(PostgresAt { url, password, ca });
            }
            Err(e) => problems.add(text.place, format!("state: {e}")),
        }
        return here;
    }
    if more {
        problems.add(text.place.clone(), "state_password and state_ca are for state = \"postgres://…\"");
    }
    match text.value.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => StateAt::Sqlite(path.into()),
        Some(_) | None => {
            let expected = "state: expected \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"";
            problems.add(text.place, expected);
            here
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_is_meant_and_knows_whether_it_is_here() {
        for (text, printed, here) in [
            ("postgres://pforte@db.example/pforte", "postgres://pforte@db.example:5432/pforte", false),
            ("postgresql://p@10.0.0.9:6432/x-1", "postgres://p@10.0.0.9:6432/x-1", false),
            ("postgres://p@[::1]:5433/x", "postgres://p@[::1]:5433/x", true),
            ("postgres://p@127.0.0.1/x", "postgres://p@127.0.0.1:5432/x", true),
            ("postgres://p@/x?host=/run/postgresql", "postgres://p@/x?host=/run/postgresql", true),
            ("postgres://p@:5433/x?host=/run/postgresql", "postgres://p@:5433/x?host=/run/postgresql", true),
        ] {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.is_here()), (printed, here), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_in_it_never_repeated() {
        use BadPostgresUrl::{Form, Parameter, Password};
        for (text, why) in [
            ("postgres://db/x", Form),
            ("postgres://p@db", Form),
            ("postgres://p@db/", Form),
            ("postgres://@db/x", Form),
            ("postgres://p@/x", Form),
            ("postgres://p@db:0/x", Form),
            ("postgres://p@db/x/y", Form),
            ("mysql://p@db/x", Form),
            ("postgres://p:geheim@db/x", Password),
            ("postgres://p:geh@eim@db/x", Password),
            ("postgres://p@db/x?password=geheim", Password),
            ("postgres://p@db/x?sslmode=disable", Parameter),
            ("postgres://p@/x?host=relative", Parameter),
            ("postgres://p@/x?host=/run&sslmode=disable", Parameter),
        ] {
            let refused = text.parse::<PostgresUrl>().unwrap_err();
            assert_eq!(refused, why, "{text}");
            assert!(!refused.to_string().contains("geheim"), "{refused}");
        }
    }
}
