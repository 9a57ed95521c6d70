//! From values to rows, inside one transaction.
//!
//! Order: everything else, then the events with their feed numbers, and the access counter by the last statement before
//! COMMIT (H38). Each of these two counters is one locked row, taken always in this order, and nothing but the database is
//! waited for while it is held.

use super::read::instant;
use super::sqlstate::away;
use crate::store::decode::{Columns as _, id};
use crate::store::rows::TierChange;
use crate::store::rows::{Access, AuditEvent, Graph, Owed, PaymentRequest, Request, Revision, Subgraph, Subscription};
use crate::store::{Committed, Constraint, Fault, Published, Write};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use subscription_core::change::Effect;
use tiershift_core::UnixMs;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{ChangeId, GraphId, OrgId, SubscriptionId};

/// Applies all writes, or fails; the caller's transaction decides.
pub async fn apply(db: &mut PgConnection, writes: Vec<Write>) -> Result<Committed, Fault> {
    let mut committed = Committed::default();
    let mut events = Vec::new();
    let mut records = Vec::new();
    for write in writes {
        match write {
            Write::Graph(row) => graph(&mut *db, &row).await?,
            Write::Subgraph(row) => subgraph(&mut *db, &row).await?,
            Write::DeleteSubgraphs(parent, at) => delete_subgraphs(&mut *db, &parent, at).await?,
            Write::Subscription(row) => subscription(&mut *db, &row).await?,
            Write::Change(row) => {
                committed.owes = true;
                change(&mut *db, &row).await?;
            }
            Write::Event(event) => events.push(event),
            Write::Owe { change, effect, attempts, not_before } => {
                committed.owes = true;
                owe(&mut *db, &change, &effect, (attempts, not_before)).await?;
            }
            Write::Settle(id) => {
                committed.owes = true;
                let delete = sqlx::query("DELETE FROM owed_effect WHERE id = $1").bind(id);
                delete.execute(&mut *db).await.map_err(away)?;
            }
            Write::Retry(row) => retry(&mut *db, &row).await?,
            Write::Payment(row) => payment(&mut *db, &row).await?,
            Write::Audit(row) => audit(&mut *db, &row).await?,
            Write::Access(row, nonce) => records.push((*row, nonce)),
            Write::Request(row) => request(&mut *db, &row).await?,
        }
    }
    for event in events {
        committed.published.push(append(&mut *db, event).await?);
    }
    let mut stored = Vec::new();
    let mut revision = None;
    for (row, nonce) in records {
        let (next, row) = access(&mut *db, row, nonce).await?;
        revision = Some(next);
        stored.push(row);
    }
    committed.access = revision.map(|revision| (revision, stored));
    Ok(committed)
}

async fn graph(db: &mut PgConnection, row: &Graph) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO graph (graph_id, org_id, tier, state, shared_repository, display_name, endpoint, created,
                            updated, deprovisioned)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (graph_id) DO UPDATE SET tier = $3, state = $4, shared_repository = $5, display_name = $6,
             endpoint = $7, updated = $9, deprovisioned = $10",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.tier.as_str())
    .bind(row.state.as_str())
    .bind(row.shared_repository)
    .bind(&row.display_name)
    .bind(row.endpoint.as_ref().map(Json))
    .bind(instant(row.created)?)
    .bind(instant(row.updated)?)
    .bind(row.deprovisioned.map(instant).transpose()?)
    .execute(db)
    .await
    .map_err(away)?;
    Ok(())
}

async fn subgraph(db: &mut PgConnection, row: &Subgraph) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO subgraph (subgraph_id, graph_id, name, created, deleted) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (subgraph_id) DO UPDATE SET created = $4, deleted = $5",
    )
    .bind(row.id.as_str())
    .bind(row.parent.as_str())
    .bind(&row.name)
    .bind(instant(row.created)?)
    .bind(row.deleted.map(instant).transpose()?)
    .execute(db)
    .await
    .map_err(away)?;
    Ok(())
}

async fn delete_subgraphs(db: &mut PgConnection, parent: &GraphId, at: UnixMs) -> Result<(), Fault> {
    let update = sqlx::query("UPDATE subgraph SET deleted = $1 WHERE graph_id = $2 AND deleted IS NULL");
    update.bind(instant(at)?).bind(parent.as_str()).execute(db).await.map_err(away)?;
    Ok(())
}

async fn subscription(db: &mut PgConnection, row: &Subscription) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO subscription (subscription_id, org_id, graph_id, tier, status, live, price_cents, currency,
             monthly_credits, billing_interval, period_start, period_end, ends_at, canceled, provider,
             provider_subscription_id, active_change_id, created, updated)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (subscription_id) DO UPDATE SET tier = $4, status = $5, live = $6, price_cents = $7,
             currency = $8, monthly_credits = $9, billing_interval = $10, period_start = $11, period_end = $12,
             ends_at = $13, canceled = $14, provider = $15, provider_subscription_id = $16,
             active_change_id = $17, updated = $19",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.graph.as_str())
    .bind(row.tier.as_str())
    .bind(row.status.as_str())
    .bind(row.live)
    .bind(row.price_cents)
    .bind(&row.currency)
    .bind(row.monthly_credits)
    .bind(row.interval.as_str())
    .bind(instant(row.period_start)?)
    .bind(instant(row.period_end)?)
    .bind(row.ends_at.map(instant).transpose()?)
    .bind(row.canceled.map(instant).transpose()?)
    .bind(&row.provider)
    .bind(&row.provider_subscription_id)
    .bind(row.active_change.as_ref().map(ChangeId::as_str))
    .bind(instant(row.created)?)
    .bind(instant(row.updated)?)
    .execute(db)
    .await
    .map_err(away)?;
    Ok(())
}

async fn change(db: &mut PgConnection, row: &TierChange) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO tier_change (change_id, org_id, graph_id, subscription_id, state, active, follows, deadline,
                                  store_epoch, updated, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (change_id) DO UPDATE SET state = $5, active = $6, follows = $7, deadline = $8,
             store_epoch = $9, updated = $10, body = $11",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.graph.as_str())
    .bind(row.subscription.as_str())
    .bind(row.machine.state.as_str())
    .bind(row.active())
    .bind(row.follows)
    .bind(row.deadline.map(instant).transpose()?)
    .bind(row.store_epoch)
    .bind(instant(row.updated)?)
    .bind(Json(row))
    .execute(db)
    .await
    .map_err(away)?;
    Ok(())
}

async fn append(db: &mut PgConnection, event: ChangeEvent) -> Result<Published, Fault> {
    let row = sqlx::query(
        "WITH next AS (UPDATE feed_counter SET feed = feed + 1 RETURNING feed)
         INSERT INTO change_event (change_id, seq, feed, org_id, body)
         SELECT $1, $2, next.feed, tier_change.org_id, $3 FROM next, tier_change WHERE change_id = $1
         RETURNING feed, org_id",
    )
    .bind(&event.change_id)
    .bind(i64::try_from(event.seq).unwrap_or(i64::MAX))
    .bind(Json(&event))
    .fetch_optional(&mut *db)
    .await
    .map_err(away)?;
    // Of a change that does not exist.
    let row = row.ok_or(Fault::Constraint(Constraint::EventSequence))?;
    let feed = row.count("feed")?;
    if event.seq == 1 {
        let first = sqlx::query("UPDATE tier_change SET first_feed = $1 WHERE change_id = $2");
        first.bind(row.number("feed")?).bind(&event.change_id).execute(db).await.map_err(away)?;
    }
    Ok(Published { feed, org: id(&row, "org_id", OrgId::parse)?, event })
}

async fn owe(
    db: &mut PgConnection,
    change: &ChangeId,
    effect: &Effect,
    (attempts, not_before): (u32, UnixMs),
) -> Result<(), Fault> {
    let delete = sqlx::query("DELETE FROM owed_effect WHERE change_id = $1 AND kind = $2");
    delete.bind(change.as_str()).bind(effect.kind()).execute(&mut *db).await.map_err(away)?;
    sqlx::query("INSERT INTO owed_effect (change_id, kind, effect, attempts, not_before) VALUES ($1, $2, $3, $4, $5)")
        .bind(change.as_str())
        .bind(effect.kind())
        .bind(Json(effect))
        .bind(i64::from(attempts))
        .bind(instant(not_before)?)
        .execute(db)
        .await
        .map_err(away)?;
    Ok(())
}

async fn retry(db: &mut PgConnection, row: &Owed) -> Result<(), Fault> {
    // A row that was dropped meanwhile stays dropped.
    let update = sqlx::query("UPDATE owed_effect SET attempts = $1, not_before = $2 WHERE id = $3");
    update.bind(i64::from(row.attempts)).bind(instant(row.not_before)?).bind(row.id).execute(db).await.map_err(away)?;
    Ok(())
}

async fn payment(db: &mut PgConnection, row: &PaymentRequest) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO payment_request (change_id, kind, bytes, stored, outcome, reference)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (change_id, kind) DO UPDATE SET bytes = $3, outcome = $5, reference = $6",
    )
    .bind(row.change.as_str())
    .bind(row.kind.as_str())
    .bind(&row.bytes)
    .bind(instant(row.stored)?)
    .bind(row.outcome.as_str())
    .bind(&row.reference)
    .execute(db)
    .await
    .map_err(away)?;
    Ok(())
}

async fn audit(db: &mut PgConnection, row: &AuditEvent) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO audit (audit_id, org_id, graph_id, subscription_id, change_id, kind, actor, at, message, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.graph.as_ref().map(GraphId::as_str))
    .bind(row.subscription.as_ref().map(SubscriptionId::as_str))
    .bind(row.change.as_ref().map(ChangeId::as_str))
    .bind(row.kind.as_str())
    .bind(&row.actor)
    .bind(instant(row.at)?)
    .bind(&row.message)
    .bind(Json(&row.detail))
    .execute(db)
    .await
    .map_err(away)?;
    Ok(())
}

async fn request(db: &mut PgConnection, row: &Request) -> Result<(), Fault> {
    sqlx::query("INSERT INTO request (user_id, request_id, method, fingerprint, resource) VALUES ($1, $2, $3, $4, $5)")
        .bind(row.key.user.as_str())
        .bind(row.key.id.as_str())
        .bind(&row.method)
        .bind(&row.fingerprint)
        .bind(&row.resource)
        .execute(db)
        .await
        .map_err(away)?;
    Ok(())
}

/// Takes the next version for one record, in one statement: the counter's row is locked from here to COMMIT, and nothing
/// but COMMIT, or another record of the same transaction, follows. The record's own row is nobody else's: its graph is
/// locked.
async fn access(db: &mut PgConnection, mut row: Access, nonce: i64) -> Result<(Revision, Access), Fault> {
    let taken = sqlx::query(
        "WITH next AS (UPDATE access_counter SET version = version + 1, nonce = $1 RETURNING version),
              record AS (
                  INSERT INTO access_record (graph_id, org_id, revision, body)
                  SELECT $2, $3, version, jsonb_set($4, '{revision}', to_jsonb(version)) FROM next
                  ON CONFLICT (graph_id) DO UPDATE SET revision = excluded.revision, body = excluded.body),
              proof AS (INSERT INTO access_change (version, nonce, graph_id) SELECT version, $1, $2 FROM next)
         SELECT version FROM next",
    )
    .bind(nonce)
    .bind(row.graph.as_str())
    .bind(row.org.as_str())
    .bind(Json(&row.record))
    .fetch_one(db)
    .await
    .map_err(away)?;
    row.record.revision = taken.count("version")?;
    Ok((Revision { version: row.record.revision, nonce }, row))
}

/// Begins a new epoch: one statement, so a transaction of its own.
pub async fn begin_epoch(db: &mut PgConnection) -> Result<i64, Fault> {
    let next = sqlx::query("UPDATE store_epoch SET epoch = epoch + 1 RETURNING epoch").fetch_one(db).await;
    next.and_then(|row| row.try_get(0)).map_err(|error| Fault::Unknown(Box::new(error)))
}
