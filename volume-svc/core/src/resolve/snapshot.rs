//! CreateSnapshot has no token: what exists is found by the tag that was set in the same call, and the oldest is
//! adopted (rule 18). Absence is believed only after several reads, and then the call is sent again; a snapshot
//! that appears later all the same is garbage by its tag.

use super::{call, call_after, conclude, done, look_or_give_up, never_sent, overdue, refused};
use crate::effect::{Done, Observe, Purpose, Seen, SnapshotState, Trouble};
use crate::fact::Outcome;
use crate::machine::{Next, Turn};
use crate::state::Open;
use tiershift_core::event::Direction;
use tiershift_core::mutant::{self, Mutant};

/// Pending snapshots of the volume complete by themselves; until then EC2 takes no other.
const LIMIT_RETRY_MS: i64 = 60_000;

pub(super) fn next(t: &Turn<'_>, open: &Open, purpose: Purpose) -> Next {
    if let Some(Ok(Done::Snapshot(id))) = &t.s.calls.answer {
        return done(open, Done::Snapshot(id.clone()));
    }
    // On the way back nothing new is begun: what exists is found and kept, else the intent is given up.
    if t.m.direction != Direction::Undo {
        if never_sent(t) {
            return call(open);
        }
        match &t.s.calls.answer {
            Some(Err(Trouble::Throttled)) => {
                return overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms));
            }
            Some(Err(Trouble::SnapshotLimit)) => {
                return overdue(t, open).unwrap_or_else(|| call_after(t, open, LIMIT_RETRY_MS));
            }
            Some(Err(Trouble::Unknown)) if mutant::on(Mutant::BlindSnapshot) => return call(open),
            Some(Err(Trouble::Unknown) | Ok(_)) | None => {}
            Some(Err(trouble)) => return refused(open, *trouble),
        }
    }
    let what = Observe::Snapshots { purpose };
    if let Some(streak) = t.seen(&what)
        && let Seen::Snapshots(list) = &streak.seen
    {
        // One that was adopted before is no answer to this intent: it is what failed.
        let alive = list
            .iter()
            .filter(|s| s.state != SnapshotState::Error)
            .filter(|s| t.m.last.as_ref() != Some(&s.id) && t.m.safety.as_ref() != Some(&s.id))
            .min_by_key(|s| (s.started_ms, s.id.clone()));
        if let Some(found) = alive {
            return done(open, Done::Snapshot(found.id.clone()));
        }
        let span_ms = t.set.absent_gap_ms * i64::from(t.set.absent_reads.saturating_sub(1));
        if streak.holds(t.set.absent_reads, span_ms) {
            if t.m.direction == Direction::Undo {
                return conclude(open, Outcome::Abandoned);
            }
            return overdue(t, open).unwrap_or_else(|| call(open));
        }
    }
    look_or_give_up(t, open, what, t.set.absent_gap_ms)
}
