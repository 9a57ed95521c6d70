//! The questions to SQLite, but for the one that a transaction begins with (`transaction.rs`). What rows mean is `decode.rs`; instants
//! are columns in Unix milliseconds, JSON is text.

use super::{Connection, away};
use crate::store::rows::{Access, AuditEvent, Leases, Revision, Subgraph, Subscription, TierChange};
use crate::store::sql::decode::{self, Columns, all, id};
use crate::store::sql::{lists, refresh as refreshing};
use crate::store::{AuditFilter, ChangeFilter, Due, Fault, Feed, Published, Refreshed, SubscriptionFilter};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};

/// Subgraphs that are not deleted.
pub async fn subgraphs(
    db: &mut Connection,
    parent: &GraphId,
    after: Option<&AnyGraphId>,
    limit: u32,
) -> Result<Vec<Subgraph>, Fault> {
    let rows = sqlx::query(
        "SELECT * FROM subgraph WHERE graph_id = ? AND deleted_ms IS NULL AND subgraph_id > ?
         ORDER BY subgraph_id LIMIT ?",
    )
    .bind(parent.as_str())
    .bind(after.map_or("", AnyGraphId::as_str))
    .bind(limit);
    all(&rows.fetch_all(db).await.map_err(away)?, decode::subgraph)
}

/// One subscription.
pub async fn subscription(db: &mut Connection, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
    let row = sqlx::query("SELECT * FROM subscription WHERE subscription_id = ?").bind(id.as_str());
    row.fetch_optional(db).await.map_err(away)?.map(|row| decode::subscription(&row)).transpose()
}

/// Subscriptions, newest first.
pub async fn subscriptions(
    db: &mut Connection,
    filter: &SubscriptionFilter,
    before: Option<&SubscriptionId>,
    limit: u32,
) -> Result<Vec<Subscription>, Fault> {
    let mut query = lists::subscriptions(filter, before, limit);
    all(&query.build().fetch_all(db).await.map_err(away)?, decode::subscription)
}

/// Changes, newest first.
pub async fn changes(
    db: &mut Connection,
    filter: &ChangeFilter,
    before: Option<&ChangeId>,
    limit: u32,
) -> Result<Vec<TierChange>, Fault> {
    let mut query = lists::changes(filter, before, limit);
    all(&query.build().fetch_all(db).await.map_err(away)?, |row| row.json("body"))
}

/// Those of these changes that exist.
pub async fn changes_by_id(db: &mut Connection, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
    let rows = sqlx::query(
        "SELECT body FROM tier_change WHERE change_id IN (SELECT value FROM json_each(?)) ORDER BY change_id",
    )
    .bind(id_list(ids)?);
    all(&rows.fetch_all(db).await.map_err(away)?, |row| row.json("body"))
}

/// Changes that have not ended, or whose migration still has something to tell.
pub async fn open_changes(db: &mut Connection) -> Result<Vec<TierChange>, Fault> {
    let rows = sqlx::query("SELECT body FROM tier_change WHERE active = 1 OR follows = 1 ORDER BY change_id");
    all(&rows.fetch_all(db).await.map_err(away)?, |row| row.json("body"))
}

/// What is due.
pub async fn due(db: &mut Connection, now: UnixMs) -> Result<Due, Fault> {
    // The first row of each change, due or not: a later one must never overtake it.
    let heads = sqlx::query(
        "SELECT * FROM owed_effect WHERE id IN (SELECT min(id) FROM owed_effect GROUP BY change_id) ORDER BY id",
    );
    let heads = all(&heads.fetch_all(&mut *db).await.map_err(away)?, decode::owed)?;
    let mut later: Vec<UnixMs> = heads.iter().map(|o| o.not_before).filter(|at| *at > now).collect();
    let rows = sqlx::query("SELECT change_id FROM tier_change WHERE deadline_ms <= ? ORDER BY change_id").bind(now.0);
    let overdue = all(&rows.fetch_all(&mut *db).await.map_err(away)?, |row| id(row, "change_id", ChangeId::parse))?;
    let next = sqlx::query("SELECT min(deadline_ms) FROM tier_change WHERE deadline_ms > ?").bind(now.0);
    let next: Option<i64> = next.fetch_one(&mut *db).await.and_then(|row| row.try_get(0)).map_err(away)?;
    later.extend(next.map(UnixMs));
    let owed = heads.into_iter().filter(|o| o.not_before <= now).collect();
    Ok(Due { owed, overdue, next: later.into_iter().min() })
}

/// Events of a selection.
pub async fn events(db: &mut Connection, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = match feed {
        Feed::Changes(ids) => {
            let rows = sqlx::query(
                "SELECT feed, org_id, body FROM change_event
                 WHERE change_id IN (SELECT value FROM json_each(?)) AND feed > ? ORDER BY feed LIMIT ?",
            );
            rows.bind(id_list(ids)?).bind(after).bind(limit).fetch_all(db).await
        }
        Feed::Org(org, base) => {
            let rows = sqlx::query(
                "SELECT e.feed, e.org_id, e.body FROM change_event e JOIN tier_change c ON c.change_id = e.change_id
                 WHERE e.org_id = ? AND e.feed > ? AND c.first_feed > ? ORDER BY e.feed LIMIT ?",
            );
            let base = i64::try_from(*base).unwrap_or(i64::MAX);
            rows.bind(org.as_str()).bind(after).bind(base).bind(limit).fetch_all(db).await
        }
    };
    all(&rows.map_err(away)?, decode::published)
}

/// The feed number below which a new watcher of an organisation needs nothing.
pub async fn feed_base(db: &mut Connection, org: &OrgId) -> Result<u64, Fault> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT min(first_feed) - 1 FROM tier_change WHERE org_id = ? AND active = 1),
                         (SELECT feed FROM feed_counter)) AS feed",
    )
    .bind(org.as_str());
    row.fetch_one(db).await.map_err(away)?.count("feed")
}

/// The highest feed number given out.
pub async fn feed_head(db: &mut Connection) -> Result<u64, Fault> {
    sqlx::query("SELECT feed FROM feed_counter").fetch_one(db).await.map_err(away)?.count("feed")
}

/// All access records, in the snapshot of the caller's transaction.
pub async fn access(db: &mut Connection) -> Result<(Revision, Leases, Vec<Access>), Fault> {
    let counter = sqlx::query("SELECT * FROM access_counter").fetch_one(&mut *db).await.map_err(away)?;
    let (revision, leases) = decode::leases(&counter)?;
    let rows = sqlx::query("SELECT * FROM access_record ORDER BY graph_id");
    Ok((revision, leases, all(&rows.fetch_all(&mut *db).await.map_err(away)?, decode::access)?))
}

/// What is newer than a revision, and the replica's beat.
pub async fn refresh(db: &mut Connection, replica: &str, from: Revision) -> Result<Refreshed, Fault> {
    let version = i64::try_from(from.version).unwrap_or(i64::MAX);
    let rows =
        sqlx::query(refreshing::QUESTION).bind(version).bind(from.nonce).fetch_all(&mut *db).await.map_err(away)?;
    sqlx::query(refreshing::BEAT).bind(replica).execute(db).await.map_err(away)?;
    refreshing::refreshed(&rows, from)
}

/// The audit of a change, oldest first.
pub async fn audit(db: &mut Connection, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
    let rows = sqlx::query("SELECT * FROM audit WHERE change_id = ? ORDER BY at_ms, rowid").bind(change.as_str());
    all(&rows.fetch_all(db).await.map_err(away)?, decode::audit)
}

/// Subscriptions that are due, and when the next will be.
pub async fn due_subscriptions(
    db: &mut Connection,
    now: UnixMs,
    limit: u32,
) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault> {
    let rows = sqlx::query("SELECT * FROM subscription WHERE due_ms <= ? ORDER BY due_ms, subscription_id LIMIT ?");
    let rows = rows.bind(now.0).bind(limit).fetch_all(&mut *db).await.map_err(away)?;
    let next = sqlx::query("SELECT min(due_ms) FROM subscription WHERE due_ms > ?").bind(now.0);
    let next: Option<i64> = next.fetch_one(db).await.and_then(|row| row.try_get(0)).map_err(away)?;
    Ok((all(&rows, decode::subscription)?, next.map(UnixMs)))
}

/// The subscription that a provider knows by a name.
pub async fn subscription_of_provider(
    db: &mut Connection,
    provider: &str,
    name: &str,
) -> Result<Option<Subscription>, Fault> {
    // The last condition is the index's own.
    let row = sqlx::query(
        "SELECT * FROM subscription WHERE provider = ? AND provider_subscription_id = ? AND provider_subscription_id <> ''",
    );
    let row = row.bind(provider).bind(name).fetch_optional(db).await.map_err(away)?;
    row.map(|row| decode::subscription(&row)).transpose()
}

/// Entries of the audit, newest first.
pub async fn audit_events(
    db: &mut Connection,
    filter: &AuditFilter,
    before: Option<&AuditId>,
    limit: u32,
) -> Result<Vec<AuditEvent>, Fault> {
    let rows = lists::audit(filter, before, limit).build().fetch_all(db).await.map_err(away)?;
    all(&rows, decode::audit)
}

/// The epoch of the store.
pub async fn epoch(db: &mut Connection) -> Result<i64, Fault> {
    sqlx::query("SELECT epoch FROM store_epoch").fetch_one(db).await.and_then(|row| row.try_get(0)).map_err(away)
}

impl Columns for SqliteRow {
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
        self.number(&format!("{column}_ms")).map(UnixMs)
    }

    fn optional_instant(&self, column: &str) -> Result<Option<UnixMs>, Fault> {
        let ms: Option<i64> = self.try_get(format!("{column}_ms").as_str()).map_err(away)?;
        Ok(ms.map(UnixMs))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Fault> {
        read(column, &self.text(column)?)
    }

    fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Fault> {
        self.optional_text(column)?.map(|body| read(column, &body)).transpose()
    }
}

fn read<T: DeserializeOwned>(column: &str, body: &str) -> Result<T, Fault> {
    serde_json::from_str(body).map_err(|error| Fault::Corrupt(format!("{column}: {error}")))
}

fn id_list(ids: &[ChangeId]) -> Result<String, Fault> {
    serde_json::to_string(ids).map_err(|error| Fault::Corrupt(error.to_string()))
}
