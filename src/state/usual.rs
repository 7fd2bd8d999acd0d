//! Where people have confirmed logins, so that a restart does not make strangers of them.
//! Absent on purpose: what follows from it.

use jiff::Timestamp;

use super::changes::Topic;
use super::store::{Row, sql};
use super::{State, StateError, time};

/// Rows that are kept; the oldest go.
const KEPT: i64 = 65_536;

/// A login that was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsualRecord {
    /// Whose.
    pub user: String,
    /// With which key.
    pub key: String,
    /// From which address.
    pub address: String,
    /// When, last.
    pub confirmed: Timestamp,
}

impl State {
    /// Notes that this person has confirmed with this key from there.
    ///
    /// # Errors
    /// The database.
    pub async fn note_usual(&self, usual: &UsualRecord) -> Result<(), StateError> {
        let mut changing = self.0.store.changing(Topic::Usual).await?;
        let version = changing.version;
        changing
            .execute(
                sql("INSERT INTO usual_source (username, key, address, confirmed_at, version, writer)
                     VALUES ($1, $2, $3, $4, $5, $6)
                     ON CONFLICT (username, key, address) DO UPDATE SET confirmed_at = excluded.confirmed_at,
                     version = excluded.version, writer = excluded.writer")
                .bind(&usual.user)
                .bind(&usual.key)
                .bind(&usual.address)
                .bind(usual.confirmed.as_microsecond())
                .bind(version)
                .bind(self.0.store.holder.as_str()),
            )
            .await?;
        changing.told().await
    }

    /// Those of `since` and later; earlier ones are removed.
    ///
    /// # Errors
    /// The database.
    pub async fn usual(&self, since: Timestamp) -> Result<Vec<UsualRecord>, StateError> {
        let pool = &self.0.store.pool;
        let since = since.as_microsecond();
        pool.execute(sql("DELETE FROM usual_source WHERE confirmed_at < $1").bind(since)).await?;
        let oldest = sql("DELETE FROM usual_source WHERE confirmed_at <=
             (SELECT confirmed_at FROM usual_source ORDER BY confirmed_at DESC LIMIT 1 OFFSET $1)");
        pool.execute(oldest.bind(KEPT)).await?;
        let rows = pool.rows(sql("SELECT username, key, address, confirmed_at FROM usual_source"));
        rows.await?.iter().map(usual).collect()
    }
}

pub(super) fn usual(row: &Row) -> Result<UsualRecord, StateError> {
    let (user, key, address) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(UsualRecord { user, key, address, confirmed: time(row.try_get(3)?) })
}
