//! What must outlive a restart: used one-time codes, host keys and certificates seen first, penalties, jobs.
//! Absent on purpose: sessions and policy. What a connection knows dies with it; what a person may do stands in files.
//!
//! SQLite in one file, or PostgreSQL, which several gateways share; each statement is written once (`$1`, `ON CONFLICT`,
//! BIGINT microseconds for times).

mod alive;
mod changes;
mod open;
mod orders;
mod penalties;
mod schema;
mod slots;
mod store;
mod usual;
mod work;

pub use changes::{Change, Changes};
pub use orders::OrderRecord;
pub use penalties::Penalty;
pub use slots::{LONGEST_HOLD, Slot};
pub use usual::UsualRecord;
pub use work::JobRecord;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::config::{BadPostgresUrl, PostgresAt, PostgresUrl, StateAt};
use crate::names::Username;
use alive::Holder;
use penalties::Waiting;
use store::{Pool, sql};

/// How long a gateway may be silent before another one takes its jobs for lost.
pub const LOST_AFTER: Duration = Duration::from_mins(1);

/// The state cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The URL is of another kind.
    #[error("state: expected sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url,
    /// It should lead to a server.
    #[error("state: {0}")]
    PostgresUrl(#[from] BadPostgresUrl),
    /// The system says no.
    #[error("state {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others could have changed it.
    #[error("state {}: mode {mode:03o} lets others read or write it; chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A later pforte wrote it.
    #[error("state: its schema is version {found}, this pforte knows {known}; run the newer pforte")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The server cannot be entered.
    #[error("state {server}: {source}")]
    Away {
        /// Which one; without a password.
        server: String,
        /// Why not.
        source: Box<sqlx::Error>,
    },
    /// The server does not answer.
    #[error("state: the database does not answer")]
    Silent,
    /// The database says no.
    #[error("state: {0}")]
    Database(#[from] sqlx::Error),
}

/// A host key or certificate as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// `ssh-ed25519 AAAA…` or `sha256:…`.
    pub value: String,
    /// Who was connecting.
    pub who: String,
    /// When.
    pub when: Timestamp,
}

/// What became of a key or certificate that was to be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The first one for this box: kept from now on.
    New,
    /// The one that is kept already.
    Same(Pin),
    /// Another one is kept: refuse the box.
    Other(Pin),
}

/// A handle on the state; cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

struct Store {
    pool: Pool,
    clock: Clock,
    holder: Holder,
    waiting: Waiting,
    unwritten: Mutex<VecDeque<work::End>>,
    /// It said so itself; held while it says that it is there.
    gone: tokio::sync::Mutex<bool>,
}

impl State {
    /// Opens `sqlite:PATH` (made, 0600, where it is missing) or `postgres://USER@HOST/DATABASE`, and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// [`StateError`]: another URL, a file that others can open, a newer schema, or the disk or the server refuses.
    pub async fn open(url: &str, clock: Clock) -> Result<Self, StateError> {
        let at = if PostgresUrl::is_meant(url) {
            StateAt::Postgres(PostgresAt { url: url.parse()?, password: None, ca: None })
        } else {
            let path = url.strip_prefix("sqlite:").map(|p| p.strip_prefix("//").unwrap_or(p));
            let path = path.filter(|p| !p.is_empty() && !p.contains(['?', ':'])).ok_or(StateError::Url)?;
            StateAt::Sqlite(path.into())
        };
        Self::open_at(&at, LOST_AFTER, clock).await
    }

    /// The same, as a file of the configuration says it. On a server, another gateway that was not heard of for
    /// `lost_after` is gone.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn open_at(at: &StateAt, lost_after: Duration, clock: Clock) -> Result<Self, StateError> {
        let (pool, holder) = match at {
            StateAt::Sqlite(path) => (open::sqlite(path).await?, Holder::beside(path)?),
            StateAt::Postgres(at) => (open::postgres(at).await?, Holder::afar()),
        };
        schema::migrate(&pool).await?;
        let (waiting, unwritten, gone) = Default::default();
        let store = Arc::new(Store { pool, clock, holder, waiting, unwritten, gone });
        if let Err(e) = store.register().await {
            // A full disk; whatever is begun says so again.
            tracing::warn!("this gateway is not known in its state yet: {e}");
        }
        let tasks = [
            tokio::spawn(penalties::write(Arc::clone(&store))).abort_handle(),
            tokio::spawn(alive::watch(Arc::clone(&store), lost_after)).abort_handle(),
        ];
        Ok(Self(Arc::new(Inner { store, tasks })))
    }

    /// Takes a one-time code's time step: `true` once, and only if it is later than the last one taken (RFC 6238, 5.2).
    /// Of two callers at the same time one gets `true`.
    ///
    /// # Errors
    /// The database; the code then counts as wrong.
    pub async fn use_totp_step(&self, user: &Username, step: u64) -> Result<bool, StateError> {
        let Ok(step) = i64::try_from(step) else { return Ok(false) };
        let done = self
            .0
            .store
            .pool
            .execute(
                sql("INSERT INTO totp_step (username, step, used_at) VALUES ($1, $2, $3)
             ON CONFLICT (username) DO UPDATE SET step = excluded.step, used_at = excluded.used_at
             WHERE excluded.step > totp_step.step")
                .bind(user.as_str())
                .bind(step)
                .bind(self.0.store.clock.now().as_microsecond()),
            )
            .await?;
        Ok(done == 1)
    }

    /// What was learned for `what` (`praxis-mueller/konnektor/main`) at `address`.
    ///
    /// # Errors
    /// The database.
    pub async fn learned(&self, what: &str, address: &str) -> Result<Option<Pin>, StateError> {
        let row = self
            .0
            .store
            .pool
            .row(
                sql("SELECT pin, who, learned_at FROM learned WHERE what = $1 AND address = $2")
                    .bind(what)
                    .bind(address),
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Pin { value: row.try_get(0)?, who: row.try_get(1)?, when: time(row.try_get(2)?) }))
    }

    /// Keeps the first key or certificate seen; a later one never replaces it.
    ///
    /// # Errors
    /// The database.
    pub async fn learn(
        &self,
        what: &str,
        address: &str,
        value: &str,
        who: &str,
    ) -> Result<Learned, StateError> {
        let done = self
            .0
            .store
            .pool
            .execute(
                sql("INSERT INTO learned (what, address, pin, who, learned_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (what, address) DO NOTHING")
                .bind(what)
                .bind(address)
                .bind(value)
                .bind(who)
                .bind(self.0.store.clock.now().as_microsecond()),
            )
            .await?;
        if done == 1 {
            return Ok(Learned::New);
        }
        let kept = self.learned(what, address).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(if kept.value == value { Learned::Same(kept) } else { Learned::Other(kept) })
    }
}

/// Times were written by us; one that is out of range reads as the end of time, so that a penalty does not vanish.
fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
