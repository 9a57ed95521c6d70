//! From values to rows, inside one transaction.
//!
//! Order: everything else, then the events with their feed numbers, and the access counter by the last statement
//! before COMMIT (H38). Which rule refused a statement is known by the statement, because no code tells it.

use super::{Connection, away, refused_by};
use crate::store::rows::TierChange;
use crate::store::rows::{Access, AuditEvent, Graph, Owed, PaymentRequest, Request, Revision, Subgraph, Subscription};
use crate::store::{Committed, Constraint, Fault, Published, Write};
use serde::Serialize;
use sqlx::Row as _;
use subscription_core::change::Effect;
use tiershift_core::UnixMs;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{ChangeId, GraphId, OrgId, SubscriptionId};

/// Applies all writes, or fails; the caller's transaction decides.
pub async fn apply(db: &mut Connection, writes: Vec<Write>) -> Result<Committed, Fault> {
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
                let delete = sqlx::query("DELETE FROM owed_effect WHERE id = ?").bind(id);
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

async fn graph(db: &mut Connection, row: &Graph) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO graph (graph_id, org_id, tier, state, shared_repository, display_name, endpoint, created_ms,
                            updated_ms, deprovisioned_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (graph_id) DO UPDATE SET tier = ?3, state = ?4, shared_repository = ?5, display_name = ?6,
             endpoint = ?7, updated_ms = ?9, deprovisioned_ms = ?10",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.tier.as_str())
    .bind(row.state.as_str())
    .bind(row.shared_repository)
    .bind(&row.display_name)
    .bind(row.endpoint.as_ref().map(json).transpose()?)
    .bind(row.created.0)
    .bind(row.updated.0)
    .bind(row.deprovisioned.map(|at| at.0))
    .execute(db)
    .await
    .map_err(refused_by(Constraint::Other))?;
    Ok(())
}

async fn subgraph(db: &mut Connection, row: &Subgraph) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO subgraph (subgraph_id, graph_id, name, created_ms, deleted_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (subgraph_id) DO UPDATE SET created_ms = ?4, deleted_ms = ?5",
    )
    .bind(row.id.as_str())
    .bind(row.parent.as_str())
    .bind(&row.name)
    .bind(row.created.0)
    .bind(row.deleted.map(|at| at.0))
    .execute(db)
    .await
    .map_err(refused_by(Constraint::Other))?;
    Ok(())
}

async fn delete_subgraphs(db: &mut Connection, parent: &GraphId, at: UnixMs) -> Result<(), Fault> {
    let update = sqlx::query("UPDATE subgraph SET deleted_ms = ? WHERE graph_id = ? AND deleted_ms IS NULL");
    update.bind(at.0).bind(parent.as_str()).execute(db).await.map_err(away)?;
    Ok(())
}

async fn subscription(db: &mut Connection, row: &Subscription) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO subscription (subscription_id, org_id, graph_id, tier, status, live, price_cents, currency,
             monthly_credits, billing_interval, period_start_ms, period_end_ms, ends_at_ms, canceled_ms, provider,
             provider_subscription_id, active_change_id, created_ms, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
         ON CONFLICT (subscription_id) DO UPDATE SET tier = ?4, status = ?5, live = ?6, price_cents = ?7,
             currency = ?8, monthly_credits = ?9, billing_interval = ?10, period_start_ms = ?11, period_end_ms = ?12,
             ends_at_ms = ?13, canceled_ms = ?14, provider = ?15, provider_subscription_id = ?16,
             active_change_id = ?17, updated_ms = ?19",
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
    .bind(row.period_start.0)
    .bind(row.period_end.0)
    .bind(row.ends_at.map(|at| at.0))
    .bind(row.canceled.map(|at| at.0))
    .bind(&row.provider)
    .bind(&row.provider_subscription_id)
    .bind(row.active_change.as_ref().map(ChangeId::as_str))
    .bind(row.created.0)
    .bind(row.updated.0)
    .execute(db)
    .await
    .map_err(refused_by(Constraint::LiveSubscription))?;
    Ok(())
}

async fn change(db: &mut Connection, row: &TierChange) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO tier_change (change_id, org_id, graph_id, subscription_id, state, active, follows, deadline_ms,
                                  store_epoch, updated_ms, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (change_id) DO UPDATE SET state = ?5, active = ?6, follows = ?7, deadline_ms = ?8,
             store_epoch = ?9, updated_ms = ?10, body = ?11",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.graph.as_str())
    .bind(row.subscription.as_str())
    .bind(row.machine.state.as_str())
    .bind(row.active())
    .bind(row.follows)
    .bind(row.deadline.map(|at| at.0))
    .bind(row.store_epoch)
    .bind(row.updated.0)
    .bind(json(row)?)
    .execute(db)
    .await
    .map_err(refused_by(Constraint::ActiveChange))?;
    Ok(())
}

async fn append(db: &mut Connection, event: ChangeEvent) -> Result<Published, Fault> {
    let taken = sqlx::query("UPDATE feed_counter SET feed = feed + 1 RETURNING feed").fetch_one(&mut *db).await;
    let feed: i64 = taken.and_then(|row| row.try_get(0)).map_err(away)?;
    let row = sqlx::query(
        "INSERT INTO change_event (change_id, seq, feed, org_id, body)
         VALUES (?1, ?2, ?3, coalesce((SELECT org_id FROM tier_change WHERE change_id = ?1), ''), ?4)
         RETURNING org_id",
    )
    .bind(&event.change_id)
    .bind(i64::try_from(event.seq).unwrap_or(i64::MAX))
    .bind(feed)
    .bind(json(&event)?)
    .fetch_one(&mut *db)
    .await
    .map_err(refused_by(Constraint::EventSequence))?;
    let org: String = row.try_get(0).map_err(away)?;
    // A change that does not exist has no organisation: the foreign key would refuse it at COMMIT only.
    let org = OrgId::parse(org).map_err(|_| Fault::Constraint(Constraint::EventSequence))?;
    if event.seq == 1 {
        let first = sqlx::query("UPDATE tier_change SET first_feed = ? WHERE change_id = ?").bind(feed);
        first.bind(&event.change_id).execute(db).await.map_err(away)?;
    }
    Ok(Published { feed: u64::try_from(feed).unwrap_or(0), org, event })
}

async fn owe(
    db: &mut Connection,
    change: &ChangeId,
    effect: &Effect,
    (attempts, not_before): (u32, UnixMs),
) -> Result<(), Fault> {
    let delete = sqlx::query("DELETE FROM owed_effect WHERE change_id = ? AND kind = ?");
    delete.bind(change.as_str()).bind(effect.kind()).execute(&mut *db).await.map_err(away)?;
    sqlx::query("INSERT INTO owed_effect (change_id, kind, effect, attempts, not_before_ms) VALUES (?, ?, ?, ?, ?)")
        .bind(change.as_str())
        .bind(effect.kind())
        .bind(json(effect)?)
        .bind(attempts)
        .bind(not_before.0)
        .execute(db)
        .await
        .map_err(refused_by(Constraint::Other))?;
    Ok(())
}

async fn retry(db: &mut Connection, row: &Owed) -> Result<(), Fault> {
    // A row that was dropped meanwhile stays dropped.
    let update = sqlx::query("UPDATE owed_effect SET attempts = ?, not_before_ms = ? WHERE id = ?");
    update.bind(row.attempts).bind(row.not_before.0).bind(row.id).execute(db).await.map_err(away)?;
    Ok(())
}

async fn payment(db: &mut Connection, row: &PaymentRequest) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO payment_request (change_id, kind, bytes, stored_ms, outcome, reference)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (change_id, kind) DO UPDATE SET bytes = ?3, outcome = ?5, reference = ?6",
    )
    .bind(row.change.as_str())
    .bind(row.kind.as_str())
    .bind(&row.bytes)
    .bind(row.stored.0)
    .bind(row.outcome.as_str())
    .bind(&row.reference)
    .execute(db)
    .await
    .map_err(refused_by(Constraint::PaymentBytes))?;
    Ok(())
}

async fn audit(db: &mut Connection, row: &AuditEvent) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO audit (audit_id, org_id, graph_id, subscription_id, change_id, kind, actor, at_ms, message, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.as_str())
    .bind(row.org.as_str())
    .bind(row.graph.as_ref().map(GraphId::as_str))
    .bind(row.subscription.as_ref().map(SubscriptionId::as_str))
    .bind(row.change.as_ref().map(ChangeId::as_str))
    .bind(row.kind.as_str())
    .bind(&row.actor)
    .bind(row.at.0)
    .bind(&row.message)
    .bind(json(&row.detail)?)
    .execute(db)
    .await
    .map_err(refused_by(Constraint::Other))?;
    Ok(())
}

async fn request(db: &mut Connection, row: &Request) -> Result<(), Fault> {
    sqlx::query("INSERT INTO request (user_id, request_id, method, fingerprint, resource) VALUES (?, ?, ?, ?, ?)")
        .bind(row.key.user.as_str())
        .bind(row.key.id.as_str())
        .bind(&row.method)
        .bind(&row.fingerprint)
        .bind(&row.resource)
        .execute(db)
        .await
        .map_err(refused_by(Constraint::Other))?;
    Ok(())
}

/// Takes the next version for one record. The counter's row is locked from here to COMMIT, and nothing but COMMIT, or
/// another record of the same transaction, follows.
async fn access(db: &mut Connection, mut row: Access, nonce: i64) -> Result<(Revision, Access), Fault> {
    let taken = sqlx::query("SELECT version + 1 FROM access_counter").fetch_one(&mut *db).await;
    let version: i64 = taken.and_then(|row| row.try_get(0)).map_err(away)?;
    row.record.revision = u64::try_from(version).unwrap_or(0);
    sqlx::query(
        "INSERT INTO access_record (graph_id, org_id, revision, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (graph_id) DO UPDATE SET revision = ?3, body = ?4",
    )
    .bind(row.graph.as_str())
    .bind(row.org.as_str())
    .bind(version)
    .bind(json(&row.record)?)
    .execute(&mut *db)
    .await
    .map_err(refused_by(Constraint::Other))?;
    sqlx::query("INSERT INTO access_change (version, nonce, graph_id) VALUES (?, ?, ?)")
        .bind(version)
        .bind(nonce)
        .bind(row.graph.as_str())
        .execute(&mut *db)
        .await
        .map_err(refused_by(Constraint::Other))?;
    // The IMMEDIATE transaction holds the only write lock, so what was read above is still the version.
    let update = sqlx::query("UPDATE access_counter SET version = ?, nonce = ?");
    update.bind(version).bind(nonce).execute(db).await.map_err(away)?;
    Ok((Revision { version: row.record.revision, nonce }, row))
}

/// Begins a new epoch: one statement, so a transaction of its own.
pub async fn begin_epoch(db: &mut Connection) -> Result<i64, Fault> {
    let next = sqlx::query("UPDATE store_epoch SET epoch = epoch + 1 RETURNING epoch").fetch_one(db).await;
    next.and_then(|row| row.try_get(0)).map_err(|error| Fault::Unknown(Box::new(error)))
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Corrupt(error.to_string()))
}
