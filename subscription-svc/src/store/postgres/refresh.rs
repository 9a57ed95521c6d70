//! A refresh counts once its COMMIT is acknowledged: by a primary that takes writes, and that waited for its synchronous standby
//! where there is one (H2).

use super::sqlstate::away;
use crate::store::rows::Revision;
use crate::store::sql::refresh::{BEAT, QUESTION, refreshed};
use crate::store::{Fault, Refreshed};
use sqlx::postgres::PgConnection;

/// One, on a connection that is closed if this fails.
pub async fn once(db: &mut PgConnection, replica: &str, from: Revision) -> Result<Refreshed, Fault> {
    let version = i64::try_from(from.version).unwrap_or(i64::MAX);
    sqlx::raw_sql("BEGIN").execute(&mut *db).await.map_err(away)?;
    let rows = sqlx::query(QUESTION).bind(version).bind(from.nonce).fetch_all(&mut *db).await.map_err(away)?;
    sqlx::query(BEAT).bind(replica).execute(&mut *db).await.map_err(away)?;
    sqlx::raw_sql("COMMIT").execute(&mut *db).await.map_err(away)?;
    refreshed(&rows, from)
}
