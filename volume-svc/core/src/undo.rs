//! The way back: a forward machine of its own. It does not retrace positions; it asks what was done and takes it
//! back in the order that is safe: the target's hold first, then the volume, then the source's engine, then its
//! door. Every step has an intent, a result and a verification, and an open effect is completed before it is
//! undone (`resolve/`, H12). It ends only when the source serves again, or what took the place of one that was lost
//! (`home.rs`, H34): "the source" means either here.

use crate::effect::{AgentState, Effect, Observe, Scope, Seen, Trouble};
use crate::fact::{Fact, Party, Spec};
use crate::home;
use crate::machine::{Next, TRIES_MAX, Turn};
use crate::stages::adopt;
use crate::stages::attach::{claim_free, clear_target};
use crate::state::{Host, Place};
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::InstanceId;

/// What to do on the way back.
pub(crate) fn next(t: &Turn<'_>) -> Next {
    let (Some(spec), Some(home)) = (t.spec(), t.m.home()) else { return Next::Idle };
    let source = &home.instance;
    if let Some(first) = clear_target(t) {
        return first;
    }
    // Nothing was taken from it: that it may have ended is its replacement's matter, for which the locks are freed.
    if t.m.at_source() && t.m.source_host == Host::Serving && !t.m.drained(Scope::Writes) {
        return Next::Append(vec![Fact::RolledBack]);
    }
    if t.m.source_lost {
        return home::instead(t, spec);
    }
    if watch::is_gone(t, source) {
        return Next::Append(vec![Fact::SourceLost { instance: source.clone() }]);
    }
    if let Some(first) = bring_back(t, spec, home) {
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

/// The free volume goes back to the source, on a device never used before; to one that took its place once that is
/// proven.
fn bring_back(t: &Turn<'_>, spec: &Spec, home: &Party) -> Option<Next> {
    let source = &home.instance;
    match &t.m.place {
        Place::At { instance, .. } if instance == source => None,
        Place::At { instance, .. } => Some(Turn::stuck(
            Reason::ForeignHolder,
            format!("the volume is attached to {instance}, which is not the source"),
        )),
        Place::Free => Some(claim_free(t).or_else(|| home::prove(t, spec, home)).unwrap_or_else(|| attach(t, source))),
    }
}

/// Attaches to the source that each retry of an operator adds: ten names, five at first, and so two retries and more.
const TRIES_MORE: u32 = 2;

/// As `Turn::insist`, but each try takes a device name of its own, and those end.
fn attach(t: &Turn<'_>, source: &InstanceId) -> Next {
    let Some(device) = t.fresh_device(source) else {
        return Turn::stuck(Reason::AttachFailed, "the source takes the volume on no device");
    };
    let attach = Effect::Attach { instance: source.clone(), device };
    // Names end (F1): a person is called while some are left for the tries that a mended cause deserves.
    if t.m.attempts_of(&attach) >= TRIES_MAX + TRIES_MORE * t.m.resumed {
        let detail = format!("the source did not take the volume {} times", t.m.attempts_of(&attach));
        return Turn::stuck(Reason::AttachFailed, detail);
    }
    match t.m.refused(&attach) {
        // Not visible reads like gone; whether it is decides what takes its place (H34).
        Some(Trouble::NotFound) => {
            let what = Observe::Instance { instance: source.clone() };
            patiently(t, what, t.set.slow_gap_ms, "EC2 does not know the source, and does not say that it has ended")
        }
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
