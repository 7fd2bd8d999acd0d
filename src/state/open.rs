//! How a state is opened: the file that must be ours alone, the server that must be who it says it is.
//! Absent on purpose: its tables.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::StateError;
use super::store::Pool;
use crate::config::{PostgresAt, PostgresHost};

/// How long a connection to a server is waited for; a login that can do without the state waits no longer than this.
const CONNECT: Duration = Duration::from_secs(3);
/// Connections to a server; one of them listens.
const CONNECTIONS: u32 = 6;

/// A file; made, 0600, where it is missing.
pub(super) async fn sqlite(path: &Path) -> Result<Pool, StateError> {
    own_file(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(true);
    Ok(Pool::Sqlite(SqlitePoolOptions::new().max_connections(4).connect_with(options).await?))
}

/// A server. Whoever could answer in its place could say which orders are open; so it shows who it is.
pub(super) async fn postgres(at: &PostgresAt) -> Result<Pool, StateError> {
    let PostgresAt { url, password, ca } = at;
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(url.port)
        .username(&url.user)
        .database(&url.database)
        .application_name("pforte")
        .options([("statement_timeout", "10000"), ("idle_in_transaction_session_timeout", "30000")])
        .ssl_mode(if at.is_encrypted() { PgSslMode::VerifyFull } else { PgSslMode::Prefer });
    options = match &url.host {
        PostgresHost::Name(name) => options.host(name),
        PostgresHost::Socket(folder) => options.socket(folder),
    };
    if let Some(password) = password {
        options = options.password(password.reveal());
    }
    if let Some(ca) = ca {
        options = options.ssl_root_cert(ca);
    }
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(CONNECT);
    pool.connect_with(options)
        .await
        .map(Pool::Postgres)
        .map_err(|source| StateError::Away { server: url.to_string(), source: Box::new(source) })
}

fn own_file(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mode = file.and_then(|file| file.metadata()).map_err(failed)?.mode() & 0o777;
    let others = mode & 0o077;
    if others == 0 { Ok(()) } else { Err(StateError::Open { path: path.to_owned(), mode }) }
}
