//! A refresh of the access records, for every SQL adapter: one statement, so one snapshot, that asks for the proof of the point
//! of departure, for what is newer, and for the leases (H1, H4, H6). What makes it count, a write and its COMMIT, is the
//! adapter's.

use super::decode::{self, Columns};
use crate::store::rows::{Leases, Revision};
use crate::store::{Fault, Refreshed};

/// The question, for a version and its nonce.
pub const QUESTION: &str = "
    SELECT ($1 = 0 OR EXISTS (SELECT 1 FROM access_change WHERE version = $1 AND nonce = $2)) AS proved,
           access_counter.calm_ms, access_counter.changing_ms, feed_counter.feed,
           access_record.graph_id, access_record.org_id, access_record.revision, access_record.body, access_change.nonce
    FROM access_counter CROSS JOIN feed_counter
    LEFT JOIN access_record ON access_record.revision > $1
    LEFT JOIN access_change ON access_change.version = access_record.revision
    ORDER BY access_record.revision";

/// The write that only a primary can make: the replica's own row, by its name.
pub const BEAT: &str = "
    INSERT INTO access_replica (replica_id, beat, seen_at) VALUES ($1, 1, CURRENT_TIMESTAMP)
    ON CONFLICT (replica_id) DO UPDATE SET beat = access_replica.beat + 1, seen_at = excluded.seen_at";

/// What the rows of the answer say. There is one row at least; without a record, if nothing is newer.
pub fn refreshed<R: Columns>(rows: &[R], from: Revision) -> Result<Refreshed, Fault> {
    let missing = || Fault::Corrupt("the rows of the counters are not there".to_owned());
    let (first, last) = rows.first().zip(rows.last()).ok_or_else(missing)?;
    let newer = first.optional_text("graph_id")?.is_some();
    let changed = if newer { decode::all(rows, decode::access)? } else { Vec::new() };
    let revision = match changed.last() {
        Some(newest) => Revision { version: newest.record.revision, nonce: last.number("nonce")? },
        None => from,
    };
    Ok(Refreshed {
        proved: first.flag("proved")?,
        revision,
        leases: Leases { calm_ms: first.number("calm_ms")?, changing_ms: first.number("changing_ms")? },
        changed,
        feed: first.count("feed")?,
    })
}
