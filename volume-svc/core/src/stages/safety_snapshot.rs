//! SafetySnapshot: the bulk copy, paid while the customer writes. However old it is at the gate, it only pays the
//! copy: the final snapshot is the restore point.

use crate::effect::{Effect, Observe, Purpose, Seen, SnapshotState};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use tiershift_core::Reason;
use tiershift_core::mutant::{self, Mutant};

/// How often watchers hear of a slow stage, if there is anything new: at most a hundred times a stage.
const SHOW_EVERY_MS: i64 = 15_000;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(safety) = &t.m.safety else {
        let snapshot = Effect::Snapshot { purpose: Purpose::Safety };
        if t.m.refused(&snapshot).is_some() {
            return Turn::turn_back(Reason::SnapshotFailed, "the safety snapshot was refused");
        }
        return t.intend(snapshot);
    };
    if t.m.completed.contains(safety) || mutant::on(Mutant::SkipSafety) {
        return Turn::enter(Stage::Capacity);
    }
    let what = Observe::Snapshots { purpose: Purpose::Safety };
    if let Some(Seen::Snapshots(list)) = t.seen(&what).map(|s| &s.seen)
        && let Some(seen) = list.iter().find(|s| s.id == *safety)
    {
        match seen.state {
            SnapshotState::Completed => {
                return Next::Append(vec![Fact::SnapshotCompleted { snapshot: safety.clone() }]);
            }
            SnapshotState::Error => {
                return Turn::turn_back(Reason::SnapshotFailed, "the safety snapshot ended in error");
            }
            SnapshotState::Pending | SnapshotState::Other => {
                let percent = seen.percent.min(100);
                if percent > t.m.percent && t.s.shown_at.is_none_or(|at| t.now.since(at) >= SHOW_EVERY_MS) {
                    return Next::Append(vec![Fact::Progress { percent }]);
                }
            }
        }
    }
    if t.in_stage_ms() >= t.set.safety_snapshot_ms && t.seen(&what).is_some() {
        return Turn::turn_back(Reason::SnapshotFailed, "the safety snapshot did not complete in time");
    }
    t.ask(what, t.set.slow_gap_ms)
}
