//! From rows to values. What cannot be read as what it should be is `Fault::Corrupt`, never a default.

use super::{Connection, away};
use crate::store::rows::{
    Access, AuditEvent, AuditKind, Graph, Interval, Leases, Owed, PaymentKind, PaymentOutcome, PaymentRequest, Request,
    RequestKey, Revision, Subgraph, Subscription, TierChange,
};
use crate::store::{ChangeFilter, Due, Fault, Feed, Key, Loaded, Published, Subject, SubscriptionFilter};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use subscription_core::status::{GraphState, SubscriptionStatus};
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, Malformed, OrgId, SubscriptionId};

/// Everything of one graph.
pub async fn load(db: &mut Connection, key: &Key) -> Result<Loaded, Fault> {
    let (graph_id, named) = match &key.subject {
        Subject::Graph(graph) => (Some(graph.clone()), None),
        Subject::Change(id) => {
            let change = changes_by_id(&mut *db, std::slice::from_ref(id)).await?.pop();
            (change.as_ref().map(|c| c.graph.clone()), change)
        }
    };
    let mut loaded = Loaded {
        graph: None,
        subgraphs: 0,
        subgraph: None,
        subscription: None,
        change: named,
        owed: vec![],
        payments: vec![],
        access: None,
        request: None,
        leases: leases(&mut *db).await?.1,
        epoch: epoch(&mut *db).await?,
    };
    if let Some(request) = &key.request {
        loaded.request = self::request(&mut *db, request).await?;
    }
    let Some(graph_id) = graph_id else { return Ok(loaded) };
    let id = graph_id.as_str();
    let row = sqlx::query("SELECT * FROM graph WHERE graph_id = ?").bind(id).fetch_optional(&mut *db).await;
    loaded.graph = row.map_err(away)?.map(|row| graph(&row)).transpose()?;
    let count = sqlx::query("SELECT count(*) FROM subgraph WHERE graph_id = ? AND deleted_ms IS NULL").bind(id);
    loaded.subgraphs = count.fetch_one(&mut *db).await.and_then(|row| row.try_get(0)).map_err(away)?;
    if let Some(wanted) = &key.subgraph {
        let row = sqlx::query("SELECT * FROM subgraph WHERE subgraph_id = ?").bind(wanted.as_str());
        loaded.subgraph = row.fetch_optional(&mut *db).await.map_err(away)?.map(|row| subgraph(&row)).transpose()?;
    }
    let row =
        sqlx::query("SELECT * FROM subscription WHERE graph_id = ? ORDER BY live DESC, subscription_id DESC LIMIT 1")
            .bind(id);
    let row = row.fetch_optional(&mut *db).await.map_err(away)?;
    loaded.subscription = row.map(|row| subscription_of(&row)).transpose()?;
    if matches!(key.subject, Subject::Graph(_)) {
        let row =
            sqlx::query("SELECT body FROM tier_change WHERE graph_id = ? ORDER BY active DESC, change_id DESC LIMIT 1")
                .bind(id);
        let row = row.fetch_optional(&mut *db).await.map_err(away)?;
        loaded.change = row.map(|row| json(&row, "body")).transpose()?;
    }
    if let Some(change) = &loaded.change {
        let rows = sqlx::query("SELECT * FROM owed_effect WHERE change_id = ? ORDER BY id").bind(change.id.as_str());
        loaded.owed = all(rows.fetch_all(&mut *db).await, owed)?;
        let rows = sqlx::query("SELECT * FROM payment_request WHERE change_id = ?").bind(change.id.as_str());
        loaded.payments = all(rows.fetch_all(&mut *db).await, payment)?;
    }
    let row = sqlx::query("SELECT * FROM access_record WHERE graph_id = ?").bind(id).fetch_optional(&mut *db).await;
    loaded.access = row.map_err(away)?.map(|row| access_of(&row)).transpose()?;
    Ok(loaded)
}

async fn request(db: &mut Connection, key: &RequestKey) -> Result<Option<Request>, Fault> {
    let row = sqlx::query("SELECT * FROM request WHERE user_id = ? AND request_id = ?")
        .bind(key.user.as_str())
        .bind(key.id.as_str())
        .fetch_optional(db)
        .await
        .map_err(away)?;
    let read = |row: SqliteRow| {
        Ok(Request {
            key: key.clone(),
            method: text(&row, "method")?,
            fingerprint: text(&row, "fingerprint")?,
            resource: text(&row, "resource")?,
        })
    };
    row.map(read).transpose()
}

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
    all(rows.fetch_all(db).await, subgraph)
}

/// One subscription.
pub async fn subscription(db: &mut Connection, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
    let row = sqlx::query("SELECT * FROM subscription WHERE subscription_id = ?").bind(id.as_str());
    row.fetch_optional(db).await.map_err(away)?.map(|row| subscription_of(&row)).transpose()
}

/// Above every ULID.
const LAST: &str = "~";

/// Subscriptions, newest first.
pub async fn subscriptions(
    db: &mut Connection,
    filter: &SubscriptionFilter,
    before: Option<&SubscriptionId>,
    limit: u32,
) -> Result<Vec<Subscription>, Fault> {
    let rows = sqlx::query(
        "SELECT * FROM subscription
         WHERE (?1 IS NULL OR org_id = ?1) AND (?2 IS NULL OR graph_id = ?2) AND (?3 IS NULL OR status = ?3)
           AND subscription_id < ?4
         ORDER BY subscription_id DESC LIMIT ?5",
    )
    .bind(filter.org.as_ref().map(OrgId::as_str))
    .bind(filter.graph.as_ref().map(GraphId::as_str))
    .bind(filter.status.map(SubscriptionStatus::as_str))
    .bind(before.map_or(LAST, SubscriptionId::as_str))
    .bind(limit);
    all(rows.fetch_all(db).await, subscription_of)
}

/// Changes, newest first.
pub async fn changes(
    db: &mut Connection,
    filter: &ChangeFilter,
    before: Option<&ChangeId>,
    limit: u32,
) -> Result<Vec<TierChange>, Fault> {
    let rows = sqlx::query(
        "SELECT body FROM tier_change
         WHERE (?1 IS NULL OR org_id = ?1) AND (?2 IS NULL OR graph_id = ?2) AND (?3 IS NULL OR state = ?3)
           AND (?4 = 0 OR active = 1) AND change_id < ?5
         ORDER BY change_id DESC LIMIT ?6",
    )
    .bind(filter.org.as_ref().map(OrgId::as_str))
    .bind(filter.graph.as_ref().map(GraphId::as_str))
    .bind(filter.state.map(subscription_core::change::State::as_str))
    .bind(filter.active_only)
    .bind(before.map_or(LAST, ChangeId::as_str))
    .bind(limit);
    all(rows.fetch_all(db).await, |row| json(row, "body"))
}

/// Those of these changes that exist.
pub async fn changes_by_id(db: &mut Connection, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
    let rows = sqlx::query(
        "SELECT body FROM tier_change WHERE change_id IN (SELECT value FROM json_each(?)) ORDER BY change_id",
    )
    .bind(id_list(ids)?);
    all(rows.fetch_all(db).await, |row| json(row, "body"))
}

/// Changes that have not ended, or whose migration still has something to tell.
pub async fn open_changes(db: &mut Connection) -> Result<Vec<TierChange>, Fault> {
    let rows = sqlx::query("SELECT body FROM tier_change WHERE active = 1 OR follows = 1 ORDER BY change_id");
    all(rows.fetch_all(db).await, |row| json(row, "body"))
}

/// What is due.
pub async fn due(db: &mut Connection, now: UnixMs) -> Result<Due, Fault> {
    // The first row of each change, due or not: a later one must never overtake it.
    let heads = sqlx::query(
        "SELECT * FROM owed_effect WHERE id IN (SELECT min(id) FROM owed_effect GROUP BY change_id) ORDER BY id",
    );
    let heads = all(heads.fetch_all(&mut *db).await, owed)?;
    let mut later: Vec<UnixMs> = heads.iter().map(|o| o.not_before).filter(|at| *at > now).collect();
    let rows = sqlx::query("SELECT change_id FROM tier_change WHERE deadline_ms <= ? ORDER BY change_id").bind(now.0);
    let overdue = all(rows.fetch_all(&mut *db).await, |row| id(row, "change_id", ChangeId::parse))?;
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
    let published = |row: &SqliteRow| {
        Ok(Published { feed: number(row, "feed")?, org: id(row, "org_id", OrgId::parse)?, event: json(row, "body")? })
    };
    all(rows, published)
}

/// The feed number below which a new watcher of an organisation needs nothing.
pub async fn feed_base(db: &mut Connection, org: &OrgId) -> Result<u64, Fault> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT min(first_feed) - 1 FROM tier_change WHERE org_id = ? AND active = 1),
                         (SELECT feed FROM feed_counter)) AS feed",
    )
    .bind(org.as_str());
    number(&row.fetch_one(db).await.map_err(away)?, "feed")
}

/// The highest feed number given out.
pub async fn feed_head(db: &mut Connection) -> Result<u64, Fault> {
    number(&sqlx::query("SELECT feed FROM feed_counter").fetch_one(db).await.map_err(away)?, "feed")
}

async fn leases(db: &mut Connection) -> Result<(Revision, Leases), Fault> {
    let row = sqlx::query("SELECT * FROM access_counter").fetch_one(db).await.map_err(away)?;
    let revision = Revision { version: number(&row, "version")?, nonce: row.try_get("nonce").map_err(away)? };
    let leases = Leases {
        calm_ms: row.try_get("calm_ms").map_err(away)?,
        changing_ms: row.try_get("changing_ms").map_err(away)?,
    };
    Ok((revision, leases))
}

/// All access records, in the snapshot of the caller's transaction.
pub async fn access(db: &mut Connection) -> Result<(Revision, Leases, Vec<Access>), Fault> {
    let (revision, leases) = leases(&mut *db).await?;
    let rows = sqlx::query("SELECT * FROM access_record ORDER BY graph_id");
    Ok((revision, leases, all(rows.fetch_all(&mut *db).await, access_of)?))
}

/// The audit of a change, oldest first.
pub async fn audit(db: &mut Connection, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
    let rows = sqlx::query("SELECT * FROM audit WHERE change_id = ? ORDER BY at_ms, rowid").bind(change.as_str());
    all(rows.fetch_all(db).await, audit_event)
}

/// The epoch of the store.
pub async fn epoch(db: &mut Connection) -> Result<i64, Fault> {
    sqlx::query("SELECT epoch FROM store_epoch").fetch_one(db).await.and_then(|row| row.try_get(0)).map_err(away)
}

// One function a table.

fn graph(row: &SqliteRow) -> Result<Graph, Fault> {
    Ok(Graph {
        id: id(row, "graph_id", GraphId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        tier: id(row, "tier", tiershift_core::ids::TierName::parse)?,
        state: word(row, "state", GraphState::parse)?,
        shared_repository: row.try_get("shared_repository").map_err(away)?,
        display_name: text(row, "display_name")?,
        endpoint: optional_json(row, "endpoint")?,
        created: instant(row, "created_ms")?,
        updated: instant(row, "updated_ms")?,
        deprovisioned: optional_instant(row, "deprovisioned_ms")?,
    })
}

fn subgraph(row: &SqliteRow) -> Result<Subgraph, Fault> {
    Ok(Subgraph {
        id: id(row, "subgraph_id", AnyGraphId::parse)?,
        parent: id(row, "graph_id", GraphId::parse)?,
        name: text(row, "name")?,
        created: instant(row, "created_ms")?,
        deleted: optional_instant(row, "deleted_ms")?,
    })
}

fn subscription_of(row: &SqliteRow) -> Result<Subscription, Fault> {
    Ok(Subscription {
        id: id(row, "subscription_id", SubscriptionId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        graph: id(row, "graph_id", GraphId::parse)?,
        tier: id(row, "tier", tiershift_core::ids::TierName::parse)?,
        status: word(row, "status", SubscriptionStatus::parse)?,
        live: row.try_get("live").map_err(away)?,
        price_cents: row.try_get("price_cents").map_err(away)?,
        currency: text(row, "currency")?,
        monthly_credits: row.try_get("monthly_credits").map_err(away)?,
        interval: word(row, "billing_interval", Interval::parse)?,
        period_start: instant(row, "period_start_ms")?,
        period_end: instant(row, "period_end_ms")?,
        ends_at: optional_instant(row, "ends_at_ms")?,
        canceled: optional_instant(row, "canceled_ms")?,
        provider: text(row, "provider")?,
        provider_subscription_id: text(row, "provider_subscription_id")?,
        active_change: optional_id(row, "active_change_id", ChangeId::parse)?,
        created: instant(row, "created_ms")?,
        updated: instant(row, "updated_ms")?,
    })
}

fn owed(row: &SqliteRow) -> Result<Owed, Fault> {
    Ok(Owed {
        id: row.try_get("id").map_err(away)?,
        change: id(row, "change_id", ChangeId::parse)?,
        effect: json(row, "effect")?,
        attempts: row.try_get("attempts").map_err(away)?,
        not_before: instant(row, "not_before_ms")?,
    })
}

fn payment(row: &SqliteRow) -> Result<PaymentRequest, Fault> {
    Ok(PaymentRequest {
        change: id(row, "change_id", ChangeId::parse)?,
        kind: word(row, "kind", PaymentKind::parse)?,
        bytes: text(row, "bytes")?,
        stored: instant(row, "stored_ms")?,
        outcome: word(row, "outcome", PaymentOutcome::parse)?,
        reference: text(row, "reference")?,
    })
}

fn access_of(row: &SqliteRow) -> Result<Access, Fault> {
    Ok(Access {
        graph: id(row, "graph_id", GraphId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        record: json(row, "body")?,
    })
}

fn audit_event(row: &SqliteRow) -> Result<AuditEvent, Fault> {
    Ok(AuditEvent {
        id: id(row, "audit_id", AuditId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        graph: optional_id(row, "graph_id", GraphId::parse)?,
        subscription: optional_id(row, "subscription_id", SubscriptionId::parse)?,
        change: optional_id(row, "change_id", ChangeId::parse)?,
        kind: word(row, "kind", AuditKind::parse)?,
        actor: text(row, "actor")?,
        at: instant(row, "at_ms")?,
        message: text(row, "message")?,
        detail: json(row, "detail")?,
    })
}

// One function a column type.

fn all<T>(
    rows: Result<Vec<SqliteRow>, sqlx::Error>,
    read: impl Fn(&SqliteRow) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    rows.map_err(away)?.iter().map(read).collect()
}

fn text(row: &SqliteRow, column: &str) -> Result<String, Fault> {
    row.try_get(column).map_err(away)
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, Fault> {
    let number: i64 = row.try_get(column).map_err(away)?;
    u64::try_from(number).map_err(|_| Fault::Corrupt(format!("{column} is negative")))
}

fn instant(row: &SqliteRow, column: &str) -> Result<UnixMs, Fault> {
    row.try_get(column).map(UnixMs).map_err(away)
}

fn optional_instant(row: &SqliteRow, column: &str) -> Result<Option<UnixMs>, Fault> {
    let ms: Option<i64> = row.try_get(column).map_err(away)?;
    Ok(ms.map(UnixMs))
}

fn id<T>(row: &SqliteRow, column: &str, parse: fn(String) -> Result<T, Malformed>) -> Result<T, Fault> {
    parse(text(row, column)?).map_err(|malformed| Fault::Corrupt(format!("{column}: {malformed}")))
}

fn optional_id<T>(
    row: &SqliteRow,
    column: &str,
    parse: fn(String) -> Result<T, Malformed>,
) -> Result<Option<T>, Fault> {
    let value: Option<String> = row.try_get(column).map_err(away)?;
    let parsed = value.map(parse).transpose();
    parsed.map_err(|malformed| Fault::Corrupt(format!("{column}: {malformed}")))
}

fn word<T>(row: &SqliteRow, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, Fault> {
    let word = text(row, column)?;
    parse(&word).ok_or_else(|| Fault::Corrupt(format!("{column}: no such word as `{word}`")))
}

fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, Fault> {
    let body = text(row, column)?;
    serde_json::from_str(&body).map_err(|error| Fault::Corrupt(format!("{column}: {error}")))
}

fn optional_json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, Fault> {
    let body: Option<String> = row.try_get(column).map_err(away)?;
    let read = body.map(|body| serde_json::from_str(&body)).transpose();
    read.map_err(|error| Fault::Corrupt(format!("{column}: {error}")))
}

fn id_list(ids: &[ChangeId]) -> Result<String, Fault> {
    serde_json::to_string(ids).map_err(|error| Fault::Corrupt(error.to_string()))
}
