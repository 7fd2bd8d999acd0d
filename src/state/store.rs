//! One statement, two databases: each is written once, and run by SQLite or PostgreSQL.
//! Absent on purpose: what the statements say.
//!
//! What the drivers wait with is large, and boxed: commands carry it through many layers.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Database, Decode, Encode, Postgres, Row as _, Sqlite, Type};

use super::StateError;

/// A server that says nothing for so long is not there. A file is never waited for so long, but by its own timeout.
const LONGEST: Duration = Duration::from_secs(10);

/// A database that is open.
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A statement and its values, `$1` first.
pub(super) struct Sql {
    text: &'static str,
    values: Vec<Value>,
}

/// All that the state is made of; times are microseconds since 1970.
pub(super) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<&str>> for Value {
    /// PostgreSQL keeps no NUL in a text.
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(|text| text.replace('\0', "\u{fffd}")))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Some(text).into()
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// A statement without values yet.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text, values: Vec::new() }
}

impl Sql {
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    fn query<D: Database>(self) -> Query<'static, D, D::Arguments>
    where
        Option<i64>: Encode<'static, D> + Type<D>,
        Option<String>: Encode<'static, D> + Type<D>,
    {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        })
    }
}

/// A row of either.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What stands in a column.
pub(super) trait Cell:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl Cell for i64 {}
impl Cell for Option<i64> {}
impl Cell for String {}
impl Cell for Option<String> {}

impl Row {
    pub(super) fn try_get<C: Cell>(&self, column: usize) -> Result<C, StateError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

/// What is done as a whole or not at all.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// An answer of a server, if it comes in time.
pub(super) async fn within<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StateError> {
    match tokio::time::timeout(LONGEST, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StateError::Silent),
    }
}

impl Pool {
    /// How many rows it changed.
    pub(super) async fn execute(&self, sql: Sql) -> Result<u64, StateError> {
        Ok(match self {
            Self::Sqlite(pool) => Box::pin(sql.query().execute(pool)).await?.rows_affected(),
            Self::Postgres(pool) => within(Box::pin(sql.query().execute(pool))).await?.rows_affected(),
        })
    }

    pub(super) async fn rows(&self, sql: Sql) -> Result<Vec<Row>, StateError> {
        Ok(match self {
            Self::Sqlite(pool) => {
                Box::pin(sql.query().fetch_all(pool)).await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(pool) => {
                within(Box::pin(sql.query().fetch_all(pool))).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    pub(super) async fn row(&self, sql: Sql) -> Result<Option<Row>, StateError> {
        Ok(match self {
            Self::Sqlite(pool) => Box::pin(sql.query().fetch_optional(pool)).await?.map(Row::Sqlite),
            Self::Postgres(pool) => {
                within(Box::pin(sql.query().fetch_optional(pool))).await?.map(Row::Postgres)
            }
        })
    }

    /// Begins to write: of two at the same time one waits here (SQLite), or at the first row both change (PostgreSQL).
    pub(super) async fn begin(&self) -> Result<Transaction, StateError> {
        Ok(match self {
            Self::Sqlite(pool) => Transaction::Sqlite(Box::pin(pool.begin_with("BEGIN IMMEDIATE")).await?),
            Self::Postgres(pool) => Transaction::Postgres(within(Box::pin(pool.begin())).await?),
        })
    }
}

impl Transaction {
    pub(super) async fn execute(&mut self, sql: Sql) -> Result<u64, StateError> {
        Ok(match self {
            Self::Sqlite(open) => Box::pin(sql.query().execute(&mut **open)).await?.rows_affected(),
            Self::Postgres(open) => within(Box::pin(sql.query().execute(&mut **open))).await?.rows_affected(),
        })
    }

    pub(super) async fn row(&mut self, sql: Sql) -> Result<Row, StateError> {
        Ok(match self {
            Self::Sqlite(open) => Row::Sqlite(Box::pin(sql.query().fetch_one(&mut **open)).await?),
            Self::Postgres(open) => {
                Row::Postgres(within(Box::pin(sql.query().fetch_one(&mut **open))).await?)
            }
        })
    }

    /// Several statements without values.
    pub(super) async fn script(&mut self, text: &'static str) -> Result<(), StateError> {
        match self {
            Self::Sqlite(open) => Box::pin(sqlx::raw_sql(text).execute(&mut **open)).await.map(drop)?,
            Self::Postgres(open) => {
                within(Box::pin(sqlx::raw_sql(text).execute(&mut **open))).await.map(drop)?;
            }
        }
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), StateError> {
        match self {
            Self::Sqlite(open) => Ok(Box::pin(open.commit()).await?),
            Self::Postgres(open) => within(Box::pin(open.commit())).await,
        }
    }
}
