//! The way back: a forward machine of its own. It does not retrace positions; it asks what was done and takes it
//! back in the order that is safe: the target's hold first, then the volume, then the source's engine, then its
//! door. Every step has an intent, a result and a verification, and an open effect is completed before it is
//! undone (`resolve/`, H12). It ends only when the source serves again.

use crate::effect::{AgentState, Effect, Observe, Scope, Seen, Trouble};
use crate::fact::Fact;
use crate::machine::{Next, TRIES_MAX, Turn};
use crate::stages::adopt;
use crate::stages::attach::{claim_free, clear_target};
use crate::state::{Host, Place};
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::InstanceId;

/// What to do on the way back.
pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    let source = &spec.source.instance;
    if let Some(first) = clear_target(t) {
        return first;
    }
    // Nothing was taken from it: that it may have ended is its replacement's matter, for which the locks are freed.
    if t.m.at_source() && t.m.source_host == Host::Serving && !t.m.drained(Scope::Writes) {
        return Next::Append(vec![Fact::RolledBack]);
    }
    if watch::is_gone(t, source) {
        return Turn::stuck(
            Reason::SourceLost,
            format!("the source {source} has ended; there is nowhere to go back to"),
        );
    }
    if let Some(first) = bring_back(t, source) {
        return first;
    }
    match t.m.source_host {
        // Closed: a release that failed half-way, or an adopt that was refused. Adopting is idempotent.
        Host::Unmounted | Host::Closed => t.insist(Effect::Adopt { instance: source.clone() }, Reason::AdoptFailed),
        Host::Adopted => compare(t, source).unwrap_or_else(|| resume(t, source)),
        Host::Drained => resume(t, source),
        Host::Serving => verify(t, source),
    }
}

/// Opens the door. An agent that refuses has no open engine any more (it restarted and could not mount): then it is
/// asked to adopt first.
fn resume(t: &Turn<'_>, source: &InstanceId) -> Next {
    let resume = Effect::Resume { instance: source.clone() };
    if t.m.refused(&resume).is_some() && t.m.attempts_of(&resume) < TRIES_MAX {
        return t.intend(Effect::Adopt { instance: source.clone() });
    }
    t.insist(resume, Reason::UndoFailed)
}

/// The free volume goes back to the source, on a device never used before.
fn bring_back(t: &Turn<'_>, source: &InstanceId) -> Option<Next> {
    match &t.m.place {
        Place::At { instance, .. } if instance == source => None,
        Place::At { instance, .. } => Some(Turn::stuck(
            Reason::ForeignHolder,
            format!("the volume is attached to {instance}, which is not the source"),
        )),
        Place::Free => Some(claim_free(t).unwrap_or_else(|| attach(t, source))),
    }
}

/// As `Turn::insist`, but each try takes a device name of its own, and those end.
fn attach(t: &Turn<'_>, source: &InstanceId) -> Next {
    let Some(device) = t.fresh_device(source) else {
        return Turn::stuck(Reason::AttachFailed, "the source takes the volume on no device");
    };
    let attach = Effect::Attach { instance: source.clone(), device };
    match t.m.refused(&attach) {
        Some(Trouble::NotFound) => Turn::stuck(Reason::SourceLost, format!("EC2 does not know the source {source}")),
        Some(_) if t.now < t.m.moved_at.plus(t.set.slow_gap_ms) => Next::Wait(t.m.moved_at.plus(t.set.slow_gap_ms)),
        Some(_) | None => t.intend(attach),
    }
}

/// The source must answer what it answered before; if it does not, something acknowledged is lost and no gate is
/// opened over it (invariant 13).
fn compare(t: &Turn<'_>, source: &InstanceId) -> Option<Next> {
    let reference = t.m.reference.as_ref()?;
    let what = Observe::Probe { instance: source.clone() };
    match adopt::agreed(t, &what) {
        Some(probe) if probe == reference => None,
        Some(probe) => Some(Turn::stuck(
            Reason::DataMismatch,
            format!("the source had {} nodes before the move and has {} now", reference.nodes, probe.nodes),
        )),
        None => Some(patiently(t, what, t.set.probe_gap_ms, "the source's engine does not answer")),
    }
}

/// The door is open by our word; now by the agent's.
fn verify(t: &Turn<'_>, source: &InstanceId) -> Next {
    let what = Observe::AgentVolume { instance: source.clone() };
    match t.seen(&what).map(|s| &s.seen) {
        Some(Seen::AgentVolume(v)) if v.state == AgentState::Serving => Next::Append(vec![Fact::RolledBack]),
        _ => patiently(t, what, t.set.agent_gap_ms, "the source does not serve again"),
    }
}

fn patiently(t: &Turn<'_>, what: Observe, gap_ms: i64, otherwise: &str) -> Next {
    if t.out_of_patience(t.m.moved_at) && t.seen(&what).is_some() {
        return Turn::stuck(Reason::UndoFailed, otherwise);
    }
    t.ask(what, gap_ms)
}
