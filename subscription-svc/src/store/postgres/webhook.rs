//! What the payment provider sent, as rows: a table of its own that no transaction of a graph locks.

use super::read::{instant, unix_ms};
use super::sqlstate::away;
use crate::store::Fault;
use crate::store::inbox::{WebhookEvent, WebhookMark, WebhookRow, WebhookState};
use crate::store::sql::decode::{self, all};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use tiershift_core::UnixMs;
use time::OffsetDateTime;

/// Stores each event once; says how many were new. The rows come as one JSON value, so that a burst is one statement.
pub async fn receive(db: &mut PgConnection, events: &[WebhookEvent]) -> Result<u64, Fault> {
    let rows: Vec<WebhookRow<'_>> = events.iter().map(WebhookRow::of).collect();
    let insert = sqlx::query(
        "INSERT INTO webhook_event (event_id, provider, kind, subject, ours, created, received, state, attempts, not_before,
                                    note, body)
         SELECT event_id, provider, kind, subject, ours, 'epoch'::timestamptz + created_ms * interval '1 ms',
                'epoch'::timestamptz + received_ms * interval '1 ms', state, attempts,
                'epoch'::timestamptz + not_before_ms * interval '1 ms', note, body
         FROM jsonb_to_recordset($1) AS row (event_id TEXT, provider TEXT, kind TEXT, subject TEXT, ours TEXT,
             created_ms BIGINT, received_ms BIGINT, state TEXT, attempts BIGINT, not_before_ms BIGINT, note TEXT, body TEXT)
         ON CONFLICT (event_id) DO NOTHING",
    );
    Ok(insert.bind(Json(rows)).execute(db).await.map_err(away)?.rows_affected())
}

/// What became of events: of those in a list, and of all about a subject that wait with a number up to one. By a union, because
/// with an OR no index would be used.
pub const MARK: &str = "UPDATE webhook_event SET state = $1, attempts = $2, not_before = $3, note = $4
    WHERE event_id IN (
        SELECT jsonb_array_elements_text($5::jsonb) UNION ALL
        SELECT event_id FROM webhook_event WHERE state = 'pending' AND subject = $6::text AND n <= $7::bigint)";

/// Notes what became of events.
pub async fn mark(db: &mut PgConnection, mark: &WebhookMark) -> Result<(), Fault> {
    sqlx::query(MARK)
        .bind(mark.state.as_str())
        .bind(i64::from(mark.attempts))
        .bind(instant(mark.not_before)?)
        .bind(&mark.note)
        .bind(Json(&mark.ids))
        .bind(mark.answered.as_ref().map(|(subject, _)| subject))
        .bind(mark.answered.as_ref().map(|(_, n)| i64::try_from(*n).unwrap_or(i64::MAX)))
        .execute(db)
        .await
        .map_err(away)?;
    Ok(())
}

/// The highest number given out.
pub async fn head(db: &mut PgConnection) -> Result<u64, Fault> {
    let row = sqlx::query("SELECT coalesce(max(n), 0) FROM webhook_event").fetch_one(db).await;
    let n: i64 = row.and_then(|row| row.try_get(0)).map_err(away)?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Pending events that are due, in the order of arrival; and when the first of the others will be.
pub async fn due(db: &mut PgConnection, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
    let rows = sqlx::query(
        "SELECT * FROM webhook_event WHERE state = 'pending' AND not_before <= $1 ORDER BY not_before, n LIMIT $2",
    );
    let rows = rows.bind(instant(now)?).bind(i64::from(limit)).fetch_all(&mut *db).await.map_err(away)?;
    let next = sqlx::query("SELECT min(not_before) FROM webhook_event WHERE state = 'pending' AND not_before > $1");
    let next = next.bind(instant(now)?).fetch_one(db).await.map_err(away)?;
    let next: Option<OffsetDateTime> = next.try_get(0).map_err(away)?;
    Ok((all(&rows, decode::webhook)?, next.map(unix_ms)))
}

/// Makes those of these that are dead pending again; says which were.
pub async fn replay(db: &mut PgConnection, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
    let rows = sqlx::query(
        "UPDATE webhook_event SET state = 'pending', attempts = 0, not_before = $1, note = $2
         WHERE event_id = ANY($3) AND state = 'dead' RETURNING event_id",
    );
    let rows = rows.bind(instant(now)?).bind(note).bind(ids).fetch_all(db).await.map_err(away)?;
    rows.iter().map(|row| row.try_get(0).map_err(away)).collect()
}

/// Forgets old events that were applied or ignored, so many at most; says how many.
pub async fn prune(db: &mut PgConnection, before: UnixMs, limit: u32) -> Result<u64, Fault> {
    let delete = sqlx::query(
        "DELETE FROM webhook_event WHERE event_id IN (
             SELECT event_id FROM webhook_event WHERE state IN ('applied', 'ignored') AND received < $1
             ORDER BY received LIMIT $2)",
    );
    let delete = delete.bind(instant(before)?).bind(i64::from(limit));
    Ok(delete.execute(db).await.map_err(away)?.rows_affected())
}

/// Events in a state, newest first, below a number.
pub async fn list(
    db: &mut PgConnection,
    state: WebhookState,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<WebhookEvent>, Fault> {
    let before = before.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
    let rows = sqlx::query("SELECT * FROM webhook_event WHERE state = $1 AND n < $2 ORDER BY n DESC LIMIT $3");
    let rows = rows.bind(state.as_str()).bind(before).bind(i64::from(limit)).fetch_all(db).await.map_err(away)?;
    all(&rows, decode::webhook)
}
