//! Work orders that are open, so that a restart does not close them.
//! Absent on purpose: what they allow.

use jiff::Timestamp;
use sqlx::Row as _;

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
    /// Writes an order down. One of the same person and name is replaced: it is over.
    ///
    /// # Errors
    /// The database.
    pub async fn put_order(&self, order: &OrderRecord) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO work_order (username, ticket, key, source, sites, may, begun_at, ends_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (username, ticket) DO UPDATE SET key = excluded.key, source = excluded.source,
             sites = excluded.sites, may = excluded.may, begun_at = excluded.begun_at, ends_at = excluded.ends_at",
        )
        .bind(&order.user)
        .bind(&order.ticket)
        .bind(&order.key)
        .bind(&order.from)
        .bind(&order.sites)
        .bind(&order.may)
        .bind(order.begun.as_microsecond())
        .bind(order.until.as_microsecond())
        .execute(&self.0.store.pool)
        .await?;
        Ok(())
    }

    /// Removes an order that is closed.
    ///
    /// # Errors
    /// The database.
    pub async fn end_order(&self, user: &str, ticket: &str) -> Result<(), StateError> {
        sqlx::query("DELETE FROM work_order WHERE username = $1 AND ticket = $2")
            .bind(user)
            .bind(ticket)
            .execute(&self.0.store.pool)
            .await?;
        Ok(())
    }

    /// Those that are open at `now`; the others are removed.
    ///
    /// # Errors
    /// The database.
    pub async fn open_orders(&self, now: Timestamp) -> Result<Vec<OrderRecord>, StateError> {
        let (pool, now) = (&self.0.store.pool, now.as_microsecond());
        sqlx::query("DELETE FROM work_order WHERE ends_at <= $1").bind(now).execute(pool).await?;
        let rows = sqlx::query(
            "SELECT username, ticket, key, source, sites, may, begun_at, ends_at FROM work_order
             ORDER BY username, ticket",
        )
        .fetch_all(pool)
        .await?;
        let order = |row: sqlx::sqlite::SqliteRow| {
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
        rows.into_iter().map(order).collect()
    }
}
