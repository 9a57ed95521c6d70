//! What the payment provider sent, as rows: a table of its own that no transaction of a graph locks.

use super::{Connection, away};
use crate::store::Fault;
use crate::store::inbox::{WebhookEvent, WebhookMark, WebhookRow, WebhookState};
use crate::store::sql::decode::{self, all};
use serde::Serialize;
use sqlx::Row as _;
use tiershift_core::UnixMs;

/// Stores each event once; says how many were new. The rows come as one JSON text, so that a burst is one statement.
pub async fn receive(db: &mut Connection, events: &[WebhookEvent]) -> Result<u64, Fault> {
    let rows: Vec<WebhookRow<'_>> = events.iter().map(WebhookRow::of).collect();
    let insert = sqlx::query(
        "INSERT INTO webhook_event (event_id, provider, kind, subject, ours, created_ms, received_ms, state, attempts,
                                    not_before_ms, note, body)
         SELECT value ->> 'event_id', value ->> 'provider', value ->> 'kind', value ->> 'subject', value ->> 'ours',
                value ->> 'created_ms', value ->> 'received_ms', value ->> 'state', value ->> 'attempts',
                value ->> 'not_before_ms', value ->> 'note', value ->> 'body'
         FROM json_each(?) WHERE TRUE ON CONFLICT (event_id) DO NOTHING",
    );
    Ok(insert.bind(json(&rows)?).execute(db).await.map_err(away)?.rows_affected())
}

/// What became of events: of those in a list, and of all about a subject that wait with a number up to one.
pub const MARK: &str = "UPDATE webhook_event SET state = $1, attempts = $2, not_before_ms = $3, note = $4
    WHERE event_id IN (
        SELECT value FROM json_each($5) UNION ALL
        SELECT event_id FROM webhook_event WHERE state = 'pending' AND subject = $6 AND n <= $7)";

/// Notes what became of events.
pub async fn mark(db: &mut Connection, mark: &WebhookMark) -> Result<(), Fault> {
    sqlx::query(MARK)
        .bind(mark.state.as_str())
        .bind(i64::from(mark.attempts))
        .bind(mark.not_before.0)
        .bind(&mark.note)
        .bind(json(&mark.ids)?)
        .bind(mark.answered.as_ref().map(|(subject, _)| subject))
        .bind(mark.answered.as_ref().map(|(_, n)| i64::try_from(*n).unwrap_or(i64::MAX)))
        .execute(db)
        .await
        .map_err(away)?;
    Ok(())
}

/// The highest number given out.
pub async fn head(db: &mut Connection) -> Result<u64, Fault> {
    let row = sqlx::query("SELECT coalesce(max(n), 0) FROM webhook_event").fetch_one(db).await;
    let n: i64 = row.and_then(|row| row.try_get(0)).map_err(away)?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Pending events that are due, in the order of arrival; and when the first of the others will be.
pub async fn due(db: &mut Connection, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
    let rows = sqlx::query(
        "SELECT * FROM webhook_event WHERE state = 'pending' AND not_before_ms <= ? ORDER BY not_before_ms, n LIMIT ?",
    );
    let rows = rows.bind(now.0).bind(limit).fetch_all(&mut *db).await.map_err(away)?;
    let next =
        sqlx::query("SELECT min(not_before_ms) FROM webhook_event WHERE state = 'pending' AND not_before_ms > ?");
    let next: Option<i64> = next.bind(now.0).fetch_one(db).await.and_then(|row| row.try_get(0)).map_err(away)?;
    Ok((all(&rows, decode::webhook)?, next.map(UnixMs)))
}

/// Makes those of these that are dead pending again; says which were.
pub async fn replay(db: &mut Connection, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
    let rows = sqlx::query(
        "UPDATE webhook_event SET state = 'pending', attempts = 0, not_before_ms = ?, note = ?
         WHERE event_id IN (SELECT value FROM json_each(?)) AND state = 'dead' RETURNING event_id",
    );
    let rows = rows.bind(now.0).bind(note).bind(json(&ids)?).fetch_all(db).await.map_err(away)?;
    rows.iter().map(|row| row.try_get(0).map_err(away)).collect()
}

/// Forgets old events that were applied or ignored, so many at most; says how many.
pub async fn prune(db: &mut Connection, before: UnixMs, limit: u32) -> Result<u64, Fault> {
    let delete = sqlx::query(
        "DELETE FROM webhook_event WHERE event_id IN (
             SELECT event_id FROM webhook_event WHERE state IN ('applied', 'ignored') AND received_ms < ?
             ORDER BY received_ms LIMIT ?)",
    );
    Ok(delete.bind(before.0).bind(limit).execute(db).await.map_err(away)?.rows_affected())
}

/// Events in a state, newest first, below a number.
pub async fn list(
    db: &mut Connection,
    state: WebhookState,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<WebhookEvent>, Fault> {
    let before = before.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
    let rows = sqlx::query("SELECT * FROM webhook_event WHERE state = ? AND n < ? ORDER BY n DESC LIMIT ?");
    let rows = rows.bind(state.as_str()).bind(before).bind(limit).fetch_all(db).await.map_err(away)?;
    all(&rows, decode::webhook)
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Corrupt(error.to_string()))
}
