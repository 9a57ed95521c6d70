//! The schema as files: one idea each, forward only, each in one transaction with its number, under an advisory lock, so
//! that of two processes which start at once one waits. What was applied is kept with its hash: a file that was changed
//! after it was applied is an error, not another schema.
//!
//! Not here: undoing one. A build that meets a newer schema refuses to start.

use crate::digest::sha256_hex;
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};

/// All of them, in order; the number of a file is its place here.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_graph.sql"),
    include_str!("../../../migrations/postgres/0002_subscription.sql"),
    include_str!("../../../migrations/postgres/0003_tier_change.sql"),
    include_str!("../../../migrations/postgres/0004_change_event.sql"),
    include_str!("../../../migrations/postgres/0005_owed_effect.sql"),
    include_str!("../../../migrations/postgres/0006_payment_request.sql"),
    include_str!("../../../migrations/postgres/0007_access.sql"),
    include_str!("../../../migrations/postgres/0008_audit.sql"),
    include_str!("../../../migrations/postgres/0009_request.sql"),
    include_str!("../../../migrations/postgres/0010_store_epoch.sql"),
    include_str!("../../../migrations/postgres/0011_service.sql"),
    include_str!("../../../migrations/postgres/0012_subscription_life.sql"),
    include_str!("../../../migrations/postgres/0013_audit_lists.sql"),
    include_str!("../../../migrations/postgres/0014_webhook_event.sql"),
    include_str!("../../../migrations/postgres/0015_scheduled_change.sql"),
    include_str!("../../../migrations/postgres/0016_credits.sql"),
    include_str!("../../../migrations/postgres/0017_webhook_event_prune.sql"),
    include_str!("../../../migrations/postgres/0018_webhook_event_subject.sql"),
    include_str!("../../../migrations/postgres/0019_access_replica.sql"),
    include_str!("../../../migrations/postgres/0020_access_replica_seen.sql"),
];

/// The lock's number: any that nothing else in the database uses.
const LOCK: i64 = 0x7469_6572_7368_6966;

/// What to do about an older schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Migrate {
    /// Refuse to start: whoever deploys applies it by a process of its own.
    Verify,
    /// Apply what is missing.
    Apply,
}

/// Why the schema is not this build's.
#[derive(Debug, thiserror::Error)]
pub enum SchemaFault {
    /// It was written by a newer build.
    #[error("the database has schema {found}, and this build knows {known}: use the newer build")]
    Newer {
        /// Its schema.
        found: usize,
        /// The newest one here.
        known: usize,
    },
    /// It is older, and this process may not change it.
    #[error("the database has schema {found}, and this build needs {known}: start it once with --migrate apply")]
    Older {
        /// Its schema.
        found: usize,
        /// The newest one here.
        known: usize,
    },
    /// A file is not what was applied.
    #[error("schema file {0} is not the one that was applied to the database: use the build that it came from")]
    Changed(i64),
    /// PostgreSQL refuses.
    #[error("the schema cannot be read or applied")]
    Refused(#[from] sqlx::Error),
}

/// Applies what is missing, or says what is.
pub async fn bring(pool: &PgPool, migrate: Migrate) -> Result<(), SchemaFault> {
    let mut connection = pool.acquire().await?;
    // Another process may be applying: that takes as long as its largest statement.
    sqlx::raw_sql("SET lock_timeout = 0; SET statement_timeout = 0").execute(&mut *connection).await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await?;
    let brought = under_lock(&mut connection, migrate).await;
    // Its settings, and the lock with them, end with the session.
    connection.close().await?;
    brought
}

async fn under_lock(db: &mut PgConnection, migrate: Migrate) -> Result<(), SchemaFault> {
    let applied = applied(&mut *db).await?;
    let (found, known) = (applied.len(), MIGRATIONS.len());
    if found > known {
        return Err(SchemaFault::Newer { found, known });
    }
    for ((number, sql), hash) in (1..).zip(MIGRATIONS).zip(&applied) {
        if *hash != sha256_hex(sql) {
            return Err(SchemaFault::Changed(number));
        }
    }
    if found < known && migrate == Migrate::Verify {
        return Err(SchemaFault::Older { found, known });
    }
    for (number, sql) in (1_i64..).zip(MIGRATIONS).skip(applied.len()) {
        let mut transaction = db.begin().await?;
        if number == 1 {
            let table = "CREATE TABLE schema_migration (number BIGINT PRIMARY KEY, sha256 TEXT NOT NULL,
                         applied TIMESTAMPTZ NOT NULL DEFAULT now())";
            sqlx::raw_sql(table).execute(&mut *transaction).await?;
        }
        sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
        let note = sqlx::query("INSERT INTO schema_migration (number, sha256) VALUES ($1, $2)");
        note.bind(number).bind(sha256_hex(sql)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        tracing::info!(number, "a schema file was applied");
    }
    db.ping().await?;
    Ok(())
}

/// The hashes of what was applied, in order.
async fn applied(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let there = sqlx::query("SELECT to_regclass('schema_migration') IS NOT NULL").fetch_one(&mut *db).await?;
    if !there.try_get::<bool, _>(0)? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT sha256 FROM schema_migration ORDER BY number").fetch_all(db).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
