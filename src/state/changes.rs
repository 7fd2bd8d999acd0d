//! What other gateways have written since: each change of a topic counts it up in the transaction that makes it, so
//! that whoever knows the count they have read misses nothing, whatever was lost on the way.
//! Absent on purpose: what follows from a change.
//!
//! The count's row is held until its transaction ends: counts become visible in their order. On PostgreSQL a NOTIFY wakes
//! the others at once; they look by themselves too, for a notice may be lost. On SQLite they look alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;

use super::penalties::{Penalty, penalty};
use super::store::{Pool, Row, Sql, Transaction, sql, within};
use super::usual::{UsualRecord, usual};
use super::{State, StateError, Store};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often a server is looked at that would have told; and how often the orders are read again in any case.
const LOOK_ANYWAY: Duration = Duration::from_secs(3);
/// The channel of PostgreSQL's NOTIFY.
const CHANNEL: &str = "pforte";

/// What is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Jobs,
    Orders,
    Penalties,
    Usual,
}

impl Topic {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "job",
            Self::Orders => "work_order",
            Self::Penalties => "penalty",
            Self::Usual => "usual_source",
        }
    }
}

/// Something that another gateway has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Work orders may have been opened or closed: they are to be read again.
    Orders,
    /// People have confirmed there.
    Usual(Vec<UsualRecord>),
    /// They have to wait; those of all sources are keys reported as stolen.
    Penalties(Vec<Penalty>),
}

/// A transaction that changes a topic.
pub(super) struct Changing {
    open: Transaction,
    topic: Topic,
    /// What the topic's count is once this is over; for rows that are found by it.
    pub(super) version: i64,
}

impl Changing {
    pub(super) async fn execute(&mut self, sql: Sql) -> Result<u64, StateError> {
        self.open.execute(sql).await
    }

    pub(super) async fn row(&mut self, sql: Sql) -> Result<Row, StateError> {
        self.open.row(sql).await
    }

    /// Commits it, and wakes the others.
    pub(super) async fn told(mut self) -> Result<(), StateError> {
        if let Transaction::Postgres(_) = self.open {
            let notice = sql("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(self.topic.as_str());
            self.open.execute(notice).await?;
        }
        self.open.commit().await
    }
}

impl Store {
    /// Begins to change a topic: one at a time, over all gateways.
    pub(super) async fn changing(&self, topic: Topic) -> Result<Changing, StateError> {
        let mut open = self.pool.begin().await?;
        let count = sql("UPDATE change SET version = version + 1 WHERE topic = $1 RETURNING version");
        let version = open.row(count.bind(topic.as_str())).await?.try_get(0)?;
        Ok(Changing { open, topic, version })
    }

    async fn versions(&self) -> Result<BTreeMap<String, i64>, StateError> {
        let rows = self.pool.rows(sql("SELECT topic, version FROM change")).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

impl State {
    /// What others change from now on.
    ///
    /// # Errors
    /// The database.
    pub async fn changes(&self) -> Result<Changes, StateError> {
        let store = Arc::clone(&self.0.store);
        let listener = listen(&store).await?;
        let seen = store.versions().await?;
        Ok(Changes { store, seen, listener, found: VecDeque::new(), away: false, anyway: None })
    }
}

/// Other gateways' changes, one after the other.
pub struct Changes {
    store: Arc<Store>,
    seen: BTreeMap<String, i64>,
    listener: Option<PgListener>,
    found: VecDeque<Change>,
    away: bool,
    /// When the orders are read again in any case.
    anyway: Option<tokio::time::Instant>,
}

impl Changes {
    /// Waits for the next one. Where the database is away it waits for its return, and for nothing that was changed
    /// meanwhile is lost. Orders come every few seconds, changed or not: who follows knows that way that they are known.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.found.pop_front() {
                return change;
            }
            self.wait().await;
            match self.look().await {
                Ok(()) if self.away => {
                    self.away = false;
                    tracing::warn!("the state is back");
                }
                Ok(()) => {}
                Err(e) => {
                    if !self.away {
                        tracing::error!("the state is away: {e}");
                    }
                    self.away = true;
                }
            }
        }
    }

    /// Until there may be something.
    async fn wait(&mut self) {
        let Pool::Postgres(_) = self.store.pool else { return tokio::time::sleep(LOOK).await };
        if self.listener.is_none() {
            tokio::time::sleep(LOOK).await;
            // It may have been told while nobody listened; `look` comes after this in any case.
            match listen(&self.store).await {
                Ok(listener) => self.listener = listener,
                Err(e) => tracing::debug!("nobody listens for changes: {e}"),
            }
            return;
        }
        let Some(listener) = &mut self.listener else { return };
        match tokio::time::timeout(LOOK_ANYWAY, listener.try_recv()).await {
            Err(_) | Ok(Ok(Some(_))) => {}
            Ok(Ok(None) | Err(_)) => self.listener = None,
        }
    }

    async fn look(&mut self) -> Result<(), StateError> {
        let now = self.store.versions().await?;
        let due = |topic: Topic| {
            let (seen, now) = (self.seen.get(topic.as_str()), now.get(topic.as_str()));
            // A count that went down is another database's, put in this one's place: all of it is news.
            (seen != now).then(|| seen.copied().filter(|seen| now.is_some_and(|now| now > seen)).unwrap_or(0))
        };
        let anyway = self.anyway.is_none_or(|anyway| anyway <= tokio::time::Instant::now());
        let mut found = VecDeque::new();
        if anyway || due(Topic::Orders).is_some() {
            found.push_back(Change::Orders);
            self.anyway = Some(tokio::time::Instant::now() + LOOK_ANYWAY);
        }
        if let Some(since) = due(Topic::Penalties) {
            let text =
                "SELECT source, subject, ends_at, reason FROM penalty WHERE version > $1 AND writer <> $2";
            let rows = self.others(text, since).await?;
            found.push_back(Change::Penalties(rows.iter().map(penalty).collect::<Result<_, _>>()?));
        }
        if let Some(since) = due(Topic::Usual) {
            let text = "SELECT username, key, address, confirmed_at FROM usual_source WHERE version > $1 AND writer <> $2";
            let rows = self.others(text, since).await?;
            found.push_back(Change::Usual(rows.iter().map(usual).collect::<Result<_, _>>()?));
        }
        found.retain(|change| match change {
            Change::Orders => true,
            Change::Usual(rows) => !rows.is_empty(),
            Change::Penalties(rows) => !rows.is_empty(),
        });
        self.found = found;
        self.seen = now;
        Ok(())
    }

    /// What others have written later than that count; a row's latest writer is the one that is known of it.
    async fn others(&self, text: &'static str, since: i64) -> Result<Vec<Row>, StateError> {
        self.store.pool.rows(sql(text).bind(since).bind(self.store.holder.as_str())).await
    }
}

/// `None`: this database tells nobody.
async fn listen(store: &Store) -> Result<Option<PgListener>, StateError> {
    let Pool::Postgres(pool) = &store.pool else { return Ok(None) };
    let mut listener = within(PgListener::connect_with(pool)).await?;
    listener.eager_reconnect(false);
    within(listener.listen(CHANNEL)).await?;
    Ok(Some(listener))
}
