//! The schema as files: one idea each, forward only, each in one transaction with its number.
//!
//! Not here: undoing one. A build that meets a newer schema refuses to start.

use super::OpenFault;
use sqlx::{Row as _, SqlitePool};
use std::path::Path;

/// All of them, in order; the number of a file is its place here.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_graph.sql"),
    include_str!("../../../migrations/sqlite/0002_subscription.sql"),
    include_str!("../../../migrations/sqlite/0003_tier_change.sql"),
    include_str!("../../../migrations/sqlite/0004_change_event.sql"),
    include_str!("../../../migrations/sqlite/0005_owed_effect.sql"),
    include_str!("../../../migrations/sqlite/0006_payment_request.sql"),
    include_str!("../../../migrations/sqlite/0007_access.sql"),
    include_str!("../../../migrations/sqlite/0008_audit.sql"),
    include_str!("../../../migrations/sqlite/0009_request.sql"),
    include_str!("../../../migrations/sqlite/0010_store_epoch.sql"),
    include_str!("../../../migrations/sqlite/0011_subscription_life.sql"),
    include_str!("../../../migrations/sqlite/0012_audit_lists.sql"),
    include_str!("../../../migrations/sqlite/0013_webhook_event.sql"),
    include_str!("../../../migrations/sqlite/0014_scheduled_change.sql"),
    include_str!("../../../migrations/sqlite/0015_credits.sql"),
    include_str!("../../../migrations/sqlite/0016_webhook_event_prune.sql"),
    include_str!("../../../migrations/sqlite/0017_webhook_event_subject.sql"),
    include_str!("../../../migrations/sqlite/0018_access_replica.sql"),
    include_str!("../../../migrations/sqlite/0019_access_replica_seen.sql"),
];

/// Applies what is missing.
pub async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), OpenFault> {
    let open = |error| OpenFault::Open(path.to_owned(), error);
    let found: i64 =
        sqlx::query("PRAGMA user_version").fetch_one(pool).await.and_then(|row| row.try_get(0)).map_err(open)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known || found < 0 {
        return Err(OpenFault::Newer { path: path.to_owned(), found, known });
    }
    for (sql, number) in MIGRATIONS.iter().zip(1_i64..).skip_while(|(_, number)| *number <= found) {
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(open)?;
        sqlx::raw_sql(*sql).execute(&mut *transaction).await.map_err(open)?;
        // A pragma takes no parameters; the number is ours.
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {number}"));
        sqlx::raw_sql(version).execute(&mut *transaction).await.map_err(open)?;
        transaction.commit().await.map_err(open)?;
    }
    Ok(())
}
