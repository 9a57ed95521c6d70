//! The way forward: one file a stage, each a function from what is known and seen to the next thing to do.
//!
//! A stage is entered with no intent open (`resolve/` sees to that) and left by an `Entered` of the next. What
//! holds for every stage (the write-block limit, the lost source) stands here. The way back is `undo.rs`.

pub(crate) mod adopt;
pub(crate) mod attach;
pub(crate) mod capacity;
pub(crate) mod drain;
pub(crate) mod gate;
pub(crate) mod open;
pub(crate) mod preflight;
pub(crate) mod safety_snapshot;
pub(crate) mod settle;

pub use gate::look_for_permit_every_ms;
pub use preflight::ask as preflight_ask;

use crate::effect::{Effect, Purpose};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::progress;
use crate::stage::Stage;
use crate::state::{Host, Place};
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use tiershift_core::mutant::{self, Mutant};

/// What to do on the way forward.
pub(crate) fn next(t: &Turn<'_>) -> Next {
    if let Some(back) = write_block(t) {
        return back;
    }
    match t.m.stage {
        Stage::Preflight => preflight::next(t),
        Stage::SafetySnapshot => safety_snapshot::next(t),
        Stage::Capacity => capacity::next(t),
        Stage::Gate => gate::next(t),
        Stage::DrainWrites => drain::writes(t),
        Stage::DrainReads => drain::reads(t),
        Stage::Release => release(t),
        Stage::FinalSnapshot => final_snapshot(t),
        Stage::Detach => detach(t),
        Stage::Attach => attach::next(t),
        Stage::Adopt => adopt::next(t),
        Stage::Commit => commit(t),
        Stage::Open => open::next(t),
        Stage::Settle => settle::next(t),
    }
}

/// H36: past the tier's limit the migration turns back if going back is estimated shorter than going on; never
/// once the volume is at the target, never behind the commit. `resolve/` asks too, while an effect is open.
pub(crate) fn write_block(t: &Turn<'_>) -> Option<Next> {
    let confirmed_at = t.m.gate.as_ref()?.confirmed_at?;
    let limit_ms = t.spec()?.max_write_block_ms;
    let bound = t.m.direction != Direction::Forward || t.m.is_committed() || t.m.forced || t.m.at_target();
    if bound || t.now.since(confirmed_at) < limit_ms {
        return None;
    }
    progress::is_back_shorter(t.m, t.now).then(|| {
        Turn::turn_back(Reason::WriteBlockExceeded, format!("writes were blocked for more than {} s", limit_ms / 1_000))
    })
}

/// The source's engine stops, syncs and unmounts, and its agent remembers that on its own disk (H13).
fn release(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    let release = Effect::Release { instance: spec.source.instance.clone() };
    match (t.m.source_host, t.m.refused(&release)) {
        (Host::Unmounted, _) => Turn::enter(Stage::FinalSnapshot),
        (_, Some(_)) => Turn::turn_back(Reason::ReleaseFailed, "the source's agent could not unmount the volume"),
        (_, None) => t.intend(release),
    }
}

/// Taken when nothing can change any more; its point in time is the call, so nobody waits for its end (rule 19).
fn final_snapshot(t: &Turn<'_>) -> Next {
    let snapshot = Effect::Snapshot { purpose: Purpose::Final };
    match (&t.m.last, t.m.refused(&snapshot)) {
        (Some(_), _) => Turn::enter(Stage::Detach),
        (None, Some(_)) => Turn::turn_back(Reason::SnapshotFailed, "the final snapshot was refused"),
        (None, None) => t.intend(snapshot),
    }
}

/// Invariant 3: the intent is decided only here, behind the confirmed gate, the drains, the agent's unmount, a
/// completed safety snapshot and a proven target.
fn detach(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    match &t.m.place {
        Place::Free => Turn::enter(Stage::Attach),
        Place::At { instance, device } if *instance == spec.source.instance => {
            let proven = t.m.source_host == Host::Unmounted
                && t.m.target_ready
                && t.m.safety.as_ref().is_some_and(|s| t.m.completed.contains(s) || mutant::on(Mutant::SkipSafety))
                && t.m.gate.as_ref().is_some_and(|g| g.confirmed_at.is_some());
            if !proven {
                return Turn::turn_back(Reason::Internal, "the detach was reached without its preconditions");
            }
            let detach = Effect::Detach { instance: instance.clone(), device: device.clone() };
            if t.m.refused(&detach).is_some() {
                return Turn::turn_back(Reason::DetachFailed, "EC2 refused the detach");
            }
            t.intend(detach)
        }
        Place::At { instance, .. } => {
            Turn::stuck(Reason::ForeignHolder, format!("the volume is attached to {instance}"))
        }
    }
}

/// One transaction over the journal, the locks and the registries: the point of no return. When a target is
/// replaced behind it, a second one names the new target.
fn commit(t: &Turn<'_>) -> Next {
    match t.target() {
        Some(target) if t.m.at_target() && t.m.target_host == Host::Adopted => {
            let private_ip = target.private_ip.clone();
            Next::Append(vec![if t.m.is_committed() {
                Fact::Rehomed { private_ip }
            } else {
                Fact::Committed { private_ip }
            }])
        }
        _ => t.give_up(Reason::Internal, "the commit was reached without an adopted target"),
    }
}
