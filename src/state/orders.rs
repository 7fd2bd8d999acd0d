//! Work orders that are open, so that a restart does not close them, and every gateway knows them.
//! Absent on purpose: what they allow.

use jiff::Timestamp;

use super::changes::Topic;
use super::store::{Row, sql};
use super::{State, StateError, time};

/// A work order as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    /// Who confirmed it.
    pub user: String,
    /// With which key.
    pub key: String,
    /// From which address.
    pub from: String,
    /// What it is called by.
    pub ticket: String,
    /// Sites, a comma between them.
    pub sites: String,
    /// Families, a comma between them.
    pub may: String,
    /// When it was confirmed.
    pub begun: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl State {
    /// Writes an order down, unless one of the same person and name is open: `false`. Of two at the same time, over all
    /// gateways, one is written.
    ///
    /// # Errors
    /// The database.
    pub async fn put_order(&self, order: &OrderRecord) -> Result<bool, StateError> {
        let now = self.0.store.clock.now().as_microsecond();
        let mut changing = self.0.store.changing(Topic::Orders).await?;
        changing.execute(sql("DELETE FROM work_order WHERE ends_at <= $1").bind(now)).await?;
        let written = changing
            .execute(
                sql("INSERT INTO work_order (username, ticket, key, source, sites, may, begun_at, ends_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                     ON CONFLICT (username, ticket) DO NOTHING")
                .bind(&order.user)
                .bind(&order.ticket)
                .bind(&order.key)
                .bind(&order.from)
                .bind(&order.sites)
                .bind(&order.may)
                .bind(order.begun.as_microsecond())
                .bind(order.until.as_microsecond()),
            )
            .await?;
        changing.told().await?;
        Ok(written == 1)
    }

    /// Removes an order that is closed; one of the same name that was begun at another time stays.
    ///
    /// # Errors
    /// The database.
    pub async fn end_order(&self, user: &str, ticket: &str, begun: Timestamp) -> Result<(), StateError> {
        let mut changing = self.0.store.changing(Topic::Orders).await?;
        let closed = sql("DELETE FROM work_order WHERE username = $1 AND ticket = $2 AND begun_at = $3");
        changing.execute(closed.bind(user).bind(ticket).bind(begun.as_microsecond())).await?;
        changing.told().await
    }

    /// Those that are open at `now`.
    ///
    /// # Errors
    /// The database.
    pub async fn open_orders(&self, now: Timestamp) -> Result<Vec<OrderRecord>, StateError> {
        let rows = sql("SELECT username, ticket, key, source, sites, may, begun_at, ends_at FROM work_order
             WHERE ends_at > $1 ORDER BY username, ticket");
        let order = |row: &Row| {
            Ok(OrderRecord {
                user: row.try_get(0)?,
                ticket: row.try_get(1)?,
                key: row.try_get(2)?,
                from: row.try_get(3)?,
                sites: row.try_get(4)?,
                may: row.try_get(5)?,
                begun: time(row.try_get(6)?),
                until: time(row.try_get(7)?),
            })
        };
        self.0.store.pool.rows(rows.bind(now.as_microsecond())).await?.iter().map(order).collect()
    }
}
