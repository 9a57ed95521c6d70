//! The way back: a forward machine of its own. It does not retrace positions; it asks what was done and takes it
//! back in the order that is safe: the target's hold first, then the volume, then the source's engine, then its
//! door. Every step has an intent, a result and a verification, and an open effect is completed before it is
//! undone (`resolve.rs`, H12). It ends only when the source serves again.

use crate::effect::{AgentState, Effect, Observe, Scope, Seen};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::stages::adopt::PROBES;
use crate::stages::attach::{claim_free, clear_target};
use crate::state::{Host, Place};
use tiershift_core::Reason;

/// What to do on the way back.
pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(first) = clear_target(t) {
        return first;
    }
    if let Some(first) = bring_back(t) {
        return first;
    }
    let source = &spec.source.instance;
    match t.m.source_host {
        Host::Unmounted => return t.intend(Effect::Adopt { instance: source.clone() }),
        Host::Closed => {
            // A release that failed half-way, or an adopt that was refused: the agent is asked to adopt again,
            // patiently, because there is nowhere else to go.
            let ready = t.m.moved_at.plus(t.set.slow_gap_ms);
            if t.m.refusal.is_some() && t.m.attempts_of(&Effect::Adopt { instance: source.clone() }) >= 5 {
                return Turn::stuck(Reason::AdoptFailed, "the source cannot open the volume again");
            }
            if t.m.refusal.is_some() && t.now < ready {
                return Next::Wait(ready);
            }
            return t.intend(Effect::Adopt { instance: source.clone() });
        }
        Host::Adopted => {
            if let Some(first) = compare(t) {
                return first;
            }
            return t.intend(Effect::Resume { instance: source.clone() });
        }
        Host::Drained => return t.intend(Effect::Resume { instance: source.clone() }),
        Host::Serving => {}
    }
    if t.m.drained(Scope::Writes) {
        let agent = Observe::AgentVolume { instance: source.clone() };
        let serving =
            matches!(t.seen(&agent).map(|s| &s.seen), Some(Seen::AgentVolume(v)) if v.state == AgentState::Serving);
        if !serving {
            if t.now.since(t.m.moved_at) >= t.set.undo_step_ms {
                return Turn::stuck(Reason::SourceLost, "the source does not serve again");
            }
            return t.ask(agent, t.set.agent_gap_ms);
        }
    }
    Next::Append(vec![Fact::RolledBack])
}

/// The free volume goes back to the source, on a device never used before.
fn bring_back(t: &Turn<'_>) -> Option<Next> {
    let spec = t.spec()?;
    match &t.m.place {
        Place::At { instance, .. } if *instance == spec.source.instance => None,
        Place::At { instance, .. } => Some(Turn::stuck(
            Reason::ForeignHolder,
            format!("the volume is attached to {instance}, which is not the source"),
        )),
        Place::Free => {
            if let Some(first) = claim_free(t) {
                return Some(first);
            }
            let ready = t.m.moved_at.plus(t.set.slow_gap_ms);
            if t.m.refusal.is_some() && t.now < ready {
                return Some(Next::Wait(ready));
            }
            Some(match t.fresh_device(&spec.source.instance) {
                Some(device) => t.intend(Effect::Attach { instance: spec.source.instance.clone(), device }),
                None => Turn::stuck(Reason::AttachFailed, "the source takes the volume on no device"),
            })
        }
    }
}

/// The source must answer what it answered before; if it does not, something acknowledged is lost and no gate is
/// opened over it (invariant 13).
fn compare(t: &Turn<'_>) -> Option<Next> {
    let reference = t.m.reference.as_ref()?;
    let source = &t.spec()?.source.instance;
    let what = Observe::Probe { instance: source.clone() };
    let span_ms = t.set.probe_gap_ms * i64::from(PROBES - 1);
    if let Some(streak) = t.seen(&what)
        && let Seen::Probe(probe) = &streak.seen
        && streak.holds(PROBES, span_ms)
    {
        if probe == reference {
            return None;
        }
        return Some(Turn::stuck(
            Reason::DataMismatch,
            format!("the source had {} nodes before the move and has {} now", reference.nodes, probe.nodes),
        ));
    }
    if t.now.since(t.m.moved_at) >= t.set.undo_step_ms {
        return Some(Turn::stuck(Reason::SourceLost, "the source's engine does not answer"));
    }
    Some(t.ask(what, t.set.probe_gap_ms))
}
