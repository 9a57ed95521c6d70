//! Adopt: the target mounts by serial, checks the uuid and opens the engine with its door shut; what it answers
//! must equal what the source answered when its last writer had gone (H15, rule 39).

use super::attach;
use crate::effect::{Effect, Observe, Seen};
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use crate::state::Host;
use tiershift_core::Reason;

/// Equal answers that make a fact.
pub(crate) const PROBES: u32 = 3;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    if let Some(reason) = t.m.dropping {
        return attach::drop_target(t, reason);
    }
    let Some(target) = t.target() else { return Turn::turn_back(Reason::TargetLost, "the target was given up") };
    match t.m.target_host {
        Host::Adopted => {}
        Host::Unmounted => return t.intend(Effect::Adopt { instance: target.instance.clone() }),
        // Refused, or its agent fell silent.
        _ => {
            let reason = if t.m.refusal.is_some() { Reason::AdoptFailed } else { Reason::TargetLost };
            return attach::fail_target(target, reason);
        }
    }
    let what = Observe::Probe { instance: target.instance.clone() };
    let span_ms = t.set.probe_gap_ms * i64::from(PROBES - 1);
    if let Some(streak) = t.seen(&what) {
        match &streak.seen {
            Seen::Probe(probe) if streak.holds(PROBES, span_ms) => {
                if t.m.reference.as_ref() == Some(probe) {
                    return Turn::enter(Stage::Commit);
                }
                // Not the target's fault: the same bytes would open no better elsewhere. Back to the source,
                // where the same comparison decides whether anything is lost.
                return Turn::turn_back(
                    Reason::DataMismatch,
                    "the engine does not answer what it answered before the move",
                );
            }
            Seen::Nothing(_) if t.now.since(streak.first_at) >= t.set.agent_silent_ms => {
                return attach::fail_target(target, Reason::TargetLost);
            }
            _ => {}
        }
    }
    t.ask(what, t.set.probe_gap_ms)
}
