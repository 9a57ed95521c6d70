//! Adopt: the target mounts by serial, checks the uuid and opens the engine with its door shut; what it answers
//! must equal what the source answered when its last writer had gone (H15, rule 39).

use super::attach;
use crate::effect::{Effect, Observe, Probe, Seen};
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use crate::state::Host;
use tiershift_core::Reason;

/// Equal answers that make a fact.
const PROBES: u32 = 3;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    if let Some(reason) = t.m.dropping {
        return attach::drop_target(t, reason);
    }
    let Some(target) = t.target() else { return t.give_up(Reason::TargetLost, "the target was given up") };
    let adopt = Effect::Adopt { instance: target.instance.clone() };
    match t.m.target_host {
        Host::Adopted => {}
        _ if t.m.silent.contains(&target.instance) => return attach::fail_target(target, Reason::TargetLost),
        _ if t.m.refused(&adopt).is_some() => return attach::fail_target(target, Reason::AdoptFailed),
        // Closed without a refusal: an operator turned an undo around. Adopting is idempotent.
        _ => return t.intend(adopt),
    }
    let what = Observe::Probe { instance: target.instance.clone() };
    if let Some(probe) = agreed(t, &what) {
        if matches(t, probe) {
            return Turn::enter(Stage::Commit);
        }
        // Not the target's fault: the same bytes would open no better elsewhere. Back to the source, where the same
        // comparison decides whether anything is lost; without one, a human decides at once (H34).
        let why = "the engine does not answer what it answered before the move";
        return if t.m.source_lost {
            Turn::stuck(Reason::DataMismatch, why)
        } else {
            t.give_up(Reason::DataMismatch, why)
        };
    }
    if t.silent_ms(&what).is_some_and(|ms| ms >= t.set.agent_silent_ms) {
        return attach::fail_target(target, Reason::TargetLost);
    }
    if t.now.since(t.m.moved_at) >= t.set.adopt_ms && t.seen(&what).is_some() {
        return attach::fail_target(target, Reason::AdoptFailed);
    }
    t.ask(what, t.set.probe_gap_ms)
}

/// What the engine answers, once it has answered the same often enough.
pub(crate) fn agreed<'a>(t: &Turn<'a>, what: &Observe) -> Option<&'a Probe> {
    let streak = t.seen(what)?;
    match &streak.seen {
        Seen::Probe(probe) if streak.holds(PROBES, t.set.probe_gap_ms * i64::from(PROBES - 1)) => Some(probe),
        _ => None,
    }
}

/// Whether it is what the source answered. Behind the commit a door may have been open: a write that was admitted
/// before the gate closed may have landed, so more is right too.
pub(crate) fn matches(t: &Turn<'_>, probe: &Probe) -> bool {
    t.m.reference.as_ref().is_none_or(|reference| {
        probe == reference
            || (t.m.is_committed() && probe.nodes >= reference.nodes && probe.relationships >= reference.relationships)
    })
}
