//! The questions to PostgreSQL, but for the one that a transaction begins with (`session.rs`). What rows mean is `decode.rs`;
//! instants are TIMESTAMPTZ, JSON is JSONB.

use super::sqlstate::away;
use crate::store::rows::{Access, AuditEvent, Leases, Revision, Subgraph, Subscription, TierChange};
use crate::store::sql::decode::{self, Columns, all, id};
use crate::store::sql::lists;
use crate::store::{AuditFilter, ChangeFilter, Due, Fault, Feed, Published, SubscriptionFilter};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};
use time::OffsetDateTime;

/// Subgraphs that are not deleted.
pub async fn subgraphs(
    db: &mut PgConnection,
    parent: &GraphId,
    after: Option<&AnyGraphId>,
    limit: u32,
) -> Result<Vec<Subgraph>, Fault> {
    let rows = sqlx::query(
        "SELECT * FROM subgraph WHERE graph_id = $1 AND deleted IS NULL AND subgraph_id > $2
         ORDER BY subgraph_id LIMIT $3",
    )
    .bind(parent.as_str())
    .bind(after.map_or("", AnyGraphId::as_str))
    .bind(i64::from(limit));
    all(&rows.fetch_all(db).await.map_err(away)?, decode::subgraph)
}

/// One subscription.
pub async fn subscription(db: &mut PgConnection, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
    let row = sqlx::query("SELECT * FROM subscription WHERE subscription_id = $1").bind(id.as_str());
    row.fetch_optional(db).await.map_err(away)?.map(|row| decode::subscription(&row)).transpose()
}

/// Subscriptions, newest first.
pub async fn subscriptions(
    db: &mut PgConnection,
    filter: &SubscriptionFilter,
    before: Option<&SubscriptionId>,
    limit: u32,
) -> Result<Vec<Subscription>, Fault> {
    let mut query = lists::subscriptions(filter, before, limit);
    all(&query.build().fetch_all(db).await.map_err(away)?, decode::subscription)
}

/// Changes, newest first.
pub async fn changes(
    db: &mut PgConnection,
    filter: &ChangeFilter,
    before: Option<&ChangeId>,
    limit: u32,
) -> Result<Vec<TierChange>, Fault> {
    let mut query = lists::changes(filter, before, limit);
    all(&query.build().fetch_all(db).await.map_err(away)?, |row| row.json("body"))
}

/// Those of these changes that exist.
pub async fn changes_by_id(db: &mut PgConnection, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
    let rows =
        sqlx::query("SELECT body FROM tier_change WHERE change_id = ANY($1) ORDER BY change_id").bind(id_list(ids));
    all(&rows.fetch_all(db).await.map_err(away)?, |row| row.json("body"))
}

/// Changes that have not ended, or whose migration still has something to tell.
pub async fn open_changes(db: &mut PgConnection) -> Result<Vec<TierChange>, Fault> {
    let rows = sqlx::query("SELECT body FROM tier_change WHERE active OR follows ORDER BY change_id");
    all(&rows.fetch_all(db).await.map_err(away)?, |row| row.json("body"))
}

/// What is due.
pub async fn due(db: &mut PgConnection, now: UnixMs) -> Result<Due, Fault> {
    // The first row of each change, due or not: a later one must never overtake it.
    let heads = sqlx::query(
        "SELECT * FROM owed_effect WHERE id IN (SELECT min(id) FROM owed_effect GROUP BY change_id) ORDER BY id",
    );
    let heads = all(&heads.fetch_all(&mut *db).await.map_err(away)?, decode::owed)?;
    let mut later: Vec<UnixMs> = heads.iter().map(|o| o.not_before).filter(|at| *at > now).collect();
    let rows =
        sqlx::query("SELECT change_id FROM tier_change WHERE deadline <= $1 ORDER BY change_id").bind(instant(now)?);
    let overdue = all(&rows.fetch_all(&mut *db).await.map_err(away)?, |row| id(row, "change_id", ChangeId::parse))?;
    let next = sqlx::query("SELECT min(deadline) FROM tier_change WHERE deadline > $1").bind(instant(now)?);
    let next: Option<OffsetDateTime> = next.fetch_one(&mut *db).await.and_then(|row| row.try_get(0)).map_err(away)?;
    later.extend(next.map(unix_ms));
    let owed = heads.into_iter().filter(|o| o.not_before <= now).collect();
    Ok(Due { owed, overdue, next: later.into_iter().min() })
}

/// Events of a selection.
pub async fn events(db: &mut PgConnection, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = match feed {
        Feed::Changes(ids) => {
            let rows = sqlx::query(
                "SELECT feed, org_id, body FROM change_event
                 WHERE change_id = ANY($1) AND feed > $2 ORDER BY feed LIMIT $3",
            );
            rows.bind(id_list(ids)).bind(after).bind(i64::from(limit)).fetch_all(db).await
        }
        Feed::Org(org, base) => {
            let rows = sqlx::query(
                "SELECT e.feed, e.org_id, e.body FROM change_event e JOIN tier_change c ON c.change_id = e.change_id
                 WHERE e.org_id = $1 AND e.feed > $2 AND c.first_feed > $3 ORDER BY e.feed LIMIT $4",
            );
            let base = i64::try_from(*base).unwrap_or(i64::MAX);
            rows.bind(org.as_str()).bind(after).bind(base).bind(i64::from(limit)).fetch_all(db).await
        }
    };
    all(&rows.map_err(away)?, decode::published)
}

/// The feed number below which a new watcher of an organisation needs nothing.
pub async fn feed_base(db: &mut PgConnection, org: &OrgId) -> Result<u64, Fault> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT min(first_feed) - 1 FROM tier_change WHERE org_id = $1 AND active),
                         (SELECT feed FROM feed_counter)) AS feed",
    )
    .bind(org.as_str());
    row.fetch_one(db).await.map_err(away)?.count("feed")
}

/// The highest feed number given out.
pub async fn feed_head(db: &mut PgConnection) -> Result<u64, Fault> {
    sqlx::query("SELECT feed FROM feed_counter").fetch_one(db).await.map_err(away)?.count("feed")
}

/// All access records, with the counter locked: a transaction that has taken a version has ended by then, and is seen if
/// it committed. A process that died with its COMMIT on the way is outwaited by this (H7).
pub async fn access(db: &mut PgConnection) -> Result<(Revision, Leases, Vec<Access>), Fault> {
    let counter = sqlx::query("SELECT * FROM access_counter FOR UPDATE").fetch_one(&mut *db).await.map_err(away)?;
    let (revision, leases) = decode::leases(&counter)?;
    let rows = sqlx::query("SELECT * FROM access_record ORDER BY graph_id");
    Ok((revision, leases, all(&rows.fetch_all(&mut *db).await.map_err(away)?, decode::access)?))
}

/// The audit of a change, oldest first.
pub async fn audit(db: &mut PgConnection, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
    let rows = sqlx::query("SELECT * FROM audit WHERE change_id = $1 ORDER BY at, n").bind(change.as_str());
    all(&rows.fetch_all(db).await.map_err(away)?, decode::audit)
}

/// Subscriptions that are due, and when the next will be.
pub async fn due_subscriptions(
    db: &mut PgConnection,
    now: UnixMs,
    limit: u32,
) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault> {
    let rows = sqlx::query("SELECT * FROM subscription WHERE due <= $1 ORDER BY due, subscription_id LIMIT $2");
    let rows = rows.bind(instant(now)?).bind(i64::from(limit)).fetch_all(&mut *db).await.map_err(away)?;
    let next = sqlx::query("SELECT min(due) FROM subscription WHERE due > $1").bind(instant(now)?);
    let next: Option<OffsetDateTime> = next.fetch_one(db).await.and_then(|row| row.try_get(0)).map_err(away)?;
    Ok((all(&rows, decode::subscription)?, next.map(unix_ms)))
}

/// The subscription that a provider knows by a name.
pub async fn subscription_of_provider(
    db: &mut PgConnection,
    provider: &str,
    name: &str,
) -> Result<Option<Subscription>, Fault> {
    // The last condition is the index's own.
    let row = sqlx::query(
        "SELECT * FROM subscription WHERE provider = $1 AND provider_subscription_id = $2 AND provider_subscription_id <> ''",
    );
    let row = row.bind(provider).bind(name).fetch_optional(db).await.map_err(away)?;
    row.map(|row| decode::subscription(&row)).transpose()
}

/// Entries of the audit, newest first.
pub async fn audit_events(
    db: &mut PgConnection,
    filter: &AuditFilter,
    before: Option<&AuditId>,
    limit: u32,
) -> Result<Vec<AuditEvent>, Fault> {
    let rows = lists::audit(filter, before, limit).build().fetch_all(db).await.map_err(away)?;
    all(&rows, decode::audit)
}

/// The epoch of the store.
pub async fn epoch(db: &mut PgConnection) -> Result<i64, Fault> {
    sqlx::query("SELECT epoch FROM store_epoch").fetch_one(db).await.and_then(|row| row.try_get(0)).map_err(away)
}

impl Columns for PgRow {
    fn text(&self, column: &str) -> Result<String, Fault> {
        self.try_get(column).map_err(away)
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>, Fault> {
        self.try_get(column).map_err(away)
    }

    fn number(&self, column: &str) -> Result<i64, Fault> {
        self.try_get(column).map_err(away)
    }

    fn flag(&self, column: &str) -> Result<bool, Fault> {
        self.try_get(column).map_err(away)
    }

    fn instant(&self, column: &str) -> Result<UnixMs, Fault> {
        self.try_get(column).map(unix_ms).map_err(away)
    }

    fn optional_instant(&self, column: &str) -> Result<Option<UnixMs>, Fault> {
        let at: Option<OffsetDateTime> = self.try_get(column).map_err(away)?;
        Ok(at.map(unix_ms))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Fault> {
        // Decoded where it is used, so that the driver has no opinion of what a wrong one means.
        let value: Json<&RawValue> = self.try_get(column).map_err(away)?;
        read(column, value.0)
    }

    fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Fault> {
        let value: Option<Json<&RawValue>> = self.try_get(column).map_err(away)?;
        value.map(|value| read(column, value.0)).transpose()
    }
}

fn read<T: DeserializeOwned>(column: &str, body: &RawValue) -> Result<T, Fault> {
    serde_json::from_str(body.get()).map_err(|error| Fault::Corrupt(format!("{column}: {error}")))
}

/// Whole milliseconds: finer instants are not written here.
pub fn unix_ms(at: OffsetDateTime) -> UnixMs {
    UnixMs(i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

/// An instant as PostgreSQL keeps it.
pub fn instant(at: UnixMs) -> Result<OffsetDateTime, Fault> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .map_err(|error| Fault::Corrupt(format!("{} is no instant: {error}", at.0)))
}

fn id_list(ids: &[ChangeId]) -> Vec<&str> {
    ids.iter().map(ChangeId::as_str).collect()
}
