//! Which gateways are there: a job, or a turn at a box, whose gateway is gone is nobody's.
//! Absent on purpose: clocks, the gateways' or the database's. They differ, and they jump.
//!
//! SQLite is one machine's: each process holds a lock on a file of its own beside the database, and the system lets go of
//! it whatever ends the process. On PostgreSQL each gateway counts up a row; whoever has not while another one
//! looked so many times is gone. Looking begins anew where the database was away, for then nobody could count.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::store::{Pool, sql};
use super::{State, StateError, Store};
use crate::random::Random;

/// How often a gateway counts up before it would count as gone.
const BEATS: u32 = 6;

/// This process's name in the state, and what shows that it is there.
pub(super) struct Holder {
    name: String,
    /// SQLite: where the lock files are.
    beside: Option<PathBuf>,
    /// Held as long as this is.
    lock: Option<(File, PathBuf)>,
}

impl Holder {
    /// One of many on a server.
    pub(super) fn afar() -> Self {
        Self { name: name(), beside: None, lock: None }
    }

    /// One of many beside a file.
    pub(super) fn beside(database: &Path) -> Result<Self, StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        loop {
            let name = name();
            let path = lock_file(database, &name);
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(failed(&path))?;
            let locked = file.try_lock().is_ok();
            // Somebody may have taken it for one that was left over before it was locked.
            if locked && file.metadata().map_err(failed(&path))?.nlink() > 0 {
                return Ok(Self { name, beside: Some(database.to_owned()), lock: Some((file, path)) });
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.name
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Holder {
    /// Its file goes; where nobody drops this, a later start finds it by its row.
    fn leave(&self) {
        if let Some((_, path)) = &self.lock
            && let Err(e) = std::fs::remove_file(path)
        {
            tracing::debug!("{}: {e}", path.display());
        }
    }
}

fn name() -> String {
    format!("{:032x}", Random::system().draw())
}

fn lock_file(database: &Path, name: &str) -> PathBuf {
    let mut file = database.as_os_str().to_owned();
    file.push("-run-");
    file.push(name);
    file.into()
}

/// Is nobody holding it? Then it goes.
fn is_left_over(path: &Path) -> bool {
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(e) => return e.kind() == std::io::ErrorKind::NotFound,
    };
    match file.try_lock() {
        Ok(()) => {
            std::fs::remove_file(path).ok();
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(e)) => {
            tracing::warn!("{}: {e}", path.display());
            false
        }
    }
}

impl State {
    /// Jobs that no end was written of, and whose gateway is gone: it ended in their midst. Called at the start; later ones
    /// are looked after as long as the state is open.
    ///
    /// # Errors
    /// The database.
    pub async fn close_lost_jobs(&self) -> Result<u64, StateError> {
        self.0.store.close_lost().await
    }

    /// For a clean end: writes what waits, and says that this gateway is gone.
    ///
    /// # Errors
    /// The database.
    pub async fn close(&self) -> Result<(), StateError> {
        let store = &self.0.store;
        store.flush().await?;
        store.write_ends().await?;
        let mut gone = store.gone.lock().await;
        *gone = true;
        store.pool.execute(sql("DELETE FROM gateway WHERE holder = $1").bind(store.holder.as_str())).await?;
        store.holder.leave();
        Ok(())
    }
}

impl Store {
    /// This gateway is there.
    pub(super) async fn register(&self) -> Result<(), StateError> {
        let beat = sql("INSERT INTO gateway (holder, beats) VALUES ($1, 1)
             ON CONFLICT (holder) DO UPDATE SET beats = gateway.beats + 1");
        self.pool.execute(beat.bind(self.holder.as_str())).await.map(drop)
    }

    async fn others(&self) -> Result<HashMap<String, i64>, StateError> {
        let rows = sql("SELECT holder, beats FROM gateway WHERE holder <> $1").bind(self.holder.as_str());
        let rows = self.pool.rows(rows).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Forgets a gateway that has not counted up since.
    async fn forget(&self, holder: &str, beats: i64) -> Result<(), StateError> {
        let gone = sql("DELETE FROM gateway WHERE holder = $1 AND beats = $2").bind(holder).bind(beats);
        self.pool.execute(gone).await.map(drop)
    }

    async fn close_lost(&self) -> Result<u64, StateError> {
        if let Some(database) = &self.holder.beside {
            for (holder, beats) in self.others().await? {
                if is_left_over(&lock_file(database, &holder)) {
                    self.forget(&holder, beats).await?;
                }
            }
        }
        let lost = sql("UPDATE job SET ended_at = $1, exit_code = 1, cause = 'gateway-ended'
             WHERE ended_at IS NULL AND holder <> $2
             AND NOT EXISTS (SELECT 1 FROM gateway WHERE gateway.holder = job.holder)");
        let now = self.clock.now().as_microsecond();
        self.pool.execute(lost.bind(now).bind(self.holder.as_str())).await
    }

    /// Jobs' ends that could not be written when they came.
    pub(super) async fn write_ends(&self) -> Result<(), StateError> {
        loop {
            let first = {
                let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
                unwritten.front().cloned()
            };
            let Some(end) = first else { return Ok(()) };
            self.end_job(&end).await?;
            let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            if unwritten.front() == Some(&end) {
                unwritten.pop_front();
            }
        }
    }
}

/// Others, what they have counted to, and how many looks in a row found it so.
type Seen = HashMap<String, (i64, u32)>;

/// Says again and again that this gateway is there, and looks after what the others leave, until it is aborted.
pub(super) async fn watch(store: Arc<Store>, lost_after: Duration) {
    let mut seen = Seen::new();
    let mut beat = tokio::time::interval(lost_after / BEATS);
    // Looks are counted, not seconds: after a pause of this machine the others get their time too.
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        match look(&store, &mut seen).await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(lost, "jobs were under way when their gateway ended; jobs lists them"),
            Err(error) => {
                seen.clear();
                tracing::debug!(%error, "nobody knows that this gateway is there");
            }
        }
    }
}

async fn look(store: &Store, seen: &mut Seen) -> Result<u64, StateError> {
    let gone = store.gone.lock().await;
    if *gone {
        return Ok(0);
    }
    if let Pool::Postgres(_) = store.pool {
        store.register().await?;
        let others = store.others().await?.into_iter().map(|(holder, beats)| {
            let before = seen.get(&holder).filter(|(then, _)| *then == beats);
            let looks = before.map_or(0, |(_, looks)| looks + 1);
            (holder, (beats, looks))
        });
        *seen = others.collect();
        for (holder, (beats, _)) in seen.iter().filter(|(_, (_, looks))| *looks >= BEATS) {
            store.forget(holder, *beats).await?;
        }
    }
    store.write_ends().await?;
    store.flush().await?;
    store.close_lost().await
}
