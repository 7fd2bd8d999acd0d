//! The state's tables, and the way from each version of them to the next.
//! Absent on purpose: a way back. A file that a later pforte wrote is refused.

use super::StateError;
use super::store::{Pool, Transaction, sql};

/// The schema, one step after the other; a step that was released is never edited.
const MIGRATIONS: [&str; 6] = [
    "
    CREATE TABLE totp_step (
        username TEXT PRIMARY KEY NOT NULL,
        step BIGINT NOT NULL,
        used_at BIGINT NOT NULL
    );
    CREATE TABLE learned (
        what TEXT NOT NULL,
        address TEXT NOT NULL,
        pin TEXT NOT NULL,
        who TEXT NOT NULL,
        learned_at BIGINT NOT NULL,
        PRIMARY KEY (what, address)
    );
    CREATE TABLE penalty (
        source TEXT NOT NULL,
        subject TEXT NOT NULL,
        ends_at BIGINT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (source, subject)
    );
    CREATE INDEX penalty_ends_at ON penalty (ends_at);
",
    "
    CREATE TABLE job (
        number BIGINT PRIMARY KEY NOT NULL,
        konnektor TEXT NOT NULL,
        who TEXT NOT NULL,
        command TEXT NOT NULL,
        began_at BIGINT NOT NULL,
        ended_at BIGINT,
        exit_code BIGINT,
        cause TEXT
    );
    CREATE TABLE unfinished (
        konnektor TEXT PRIMARY KEY NOT NULL,
        record TEXT NOT NULL,
        changed_at BIGINT NOT NULL
    );
    CREATE TABLE schedule_run (
        schedule TEXT PRIMARY KEY NOT NULL,
        ran_at BIGINT NOT NULL
    );
",
    "
    DROP TABLE schedule_run;
    CREATE TABLE slot (
        schedule TEXT PRIMARY KEY NOT NULL,
        slot BIGINT NOT NULL,
        ended BIGINT NOT NULL,
        tries BIGINT NOT NULL,
        holder TEXT NOT NULL,
        not_before BIGINT NOT NULL
    );
    CREATE TABLE good_backup (
        konnektor TEXT PRIMARY KEY NOT NULL,
        taken_at BIGINT NOT NULL
    );
    CREATE TABLE told (
        what TEXT PRIMARY KEY NOT NULL,
        told_at BIGINT NOT NULL
    );
",
    "
    CREATE TABLE work_order (
        username TEXT NOT NULL,
        ticket TEXT NOT NULL,
        key TEXT NOT NULL,
        source TEXT NOT NULL,
        sites TEXT NOT NULL,
        may TEXT NOT NULL,
        begun_at BIGINT NOT NULL,
        ends_at BIGINT NOT NULL,
        PRIMARY KEY (username, ticket)
    );
",
    "
    CREATE TABLE usual_source (
        username TEXT NOT NULL,
        key TEXT NOT NULL,
        address TEXT NOT NULL,
        confirmed_at BIGINT NOT NULL,
        PRIMARY KEY (username, key, address)
    );
",
    "
    ALTER TABLE job ADD COLUMN holder TEXT NOT NULL DEFAULT '';
    CREATE TABLE gateway (
        holder TEXT PRIMARY KEY NOT NULL,
        beats BIGINT NOT NULL
    );
    CREATE TABLE turn (
        konnektor TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        job BIGINT NOT NULL
    );
    CREATE TABLE change (
        topic TEXT PRIMARY KEY NOT NULL,
        version BIGINT NOT NULL
    );
    INSERT INTO change (topic, version) VALUES ('job', 0), ('work_order', 0), ('penalty', 0), ('usual_source', 0);
    ALTER TABLE penalty ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE penalty ADD COLUMN writer TEXT NOT NULL DEFAULT '';
    CREATE INDEX penalty_version ON penalty (version);
    ALTER TABLE usual_source ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE usual_source ADD COLUMN writer TEXT NOT NULL DEFAULT '';
    CREATE INDEX usual_source_version ON usual_source (version);
",
];

/// What PostgreSQL knows our lock by: a number that nobody else in this database takes by accident.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7093275021)";

/// All steps that are missing, in one transaction that no second process can begin meanwhile.
pub(super) async fn migrate(pool: &Pool) -> Result<(), StateError> {
    let mut open = pool.begin().await?;
    if let Transaction::Postgres(_) = open {
        open.script(LOCK).await?;
    }
    open.script("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)").await?;
    let found: i64 =
        open.row(sql("SELECT COALESCE(MAX(version), 0) FROM schema_version")).await?.try_get(0)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StateError::Newer { found, known });
    }
    for (version, step) in (1_i64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        open.script(step).await?;
        open.execute(sql("INSERT INTO schema_version (version) VALUES ($1)").bind(version)).await?;
    }
    open.commit().await
}
