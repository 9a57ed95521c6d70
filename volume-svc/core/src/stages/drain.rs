//! DrainWrites and DrainReads: the engine's own door is shut, then what is inside runs out. Both share one
//! deadline, counted from the confirmation: a busy customer is not blocked for longer than that (H30).
//!
//! Zero is two reads a second apart; no answer is not zero (rule 38).

use crate::effect::{Effect, Observe, Scope, Seen};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use tiershift_core::Reason;
use tiershift_core::ids::InstanceId;
use tiershift_core::mutant::{self, Mutant};

pub(crate) fn writes(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    let source = &spec.source.instance;
    let writers = Observe::Writers { instance: source.clone() };
    if let Some(first) = shut(t, source, Scope::Writes, &writers).filter(|_| !mutant::on(Mutant::LeaveDoorOpen)) {
        return first;
    }
    if !empty(t, &writers) {
        return count(t, writers);
    }
    // With no writer left the data stands still: what it is now is what it must be on the target.
    let probe = Observe::Probe { instance: source.clone() };
    match t.seen(&probe).map(|s| &s.seen) {
        Some(Seen::Probe(reference)) => Next::Append(vec![
            Fact::WritesDrained { probe: reference.clone() },
            Fact::Entered { stage: Stage::DrainReads },
        ]),
        _ => t.ask(probe, t.set.agent_gap_ms),
    }
}

pub(crate) fn reads(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    let source = &spec.source.instance;
    let connections = Observe::Connections { instance: source.clone() };
    if let Some(first) = shut(t, source, Scope::All, &connections) {
        return first;
    }
    if empty(t, &connections) {
        return Turn::enter(Stage::Release);
    }
    count(t, connections)
}

/// Counts again: soon while there is somebody, so that the first zero is not missed for long; the second zero, which
/// makes it a fact, has its gap.
fn count(t: &Turn<'_>, what: Observe) -> Next {
    let gap_ms = if is_zero(t, &what) { t.set.zero_gap_ms } else { t.set.agent_gap_ms };
    t.ask(what, gap_ms)
}

fn is_zero(t: &Turn<'_>, what: &Observe) -> bool {
    t.seen(what).is_some_and(|s| s.seen == Seen::Count(0))
}

fn empty(t: &Turn<'_>, what: &Observe) -> bool {
    t.seen(what).is_some_and(|s| s.seen == Seen::Count(0) && s.holds(2, t.set.zero_gap_ms))
}

/// How much longer than the deadline it may take to look twice at who was gone by then, and to probe: going back for that
/// would take longer.
const LAST_LOOK_MS: i64 = 3_000;

/// What comes before the counts: the deadline, and the door.
fn shut(t: &Turn<'_>, source: &InstanceId, scope: Scope, counted: &Observe) -> Option<Next> {
    let drain = Effect::Drain { instance: source.clone(), scope };
    if t.m.refused(&drain).is_some() {
        return Some(Turn::turn_back(Reason::DrainTimeout, "the source's agent refused to drain"));
    }
    let confirmed_at = t.m.gate.as_ref().and_then(|g| g.confirmed_at)?;
    let limit_ms = t.set.drain_ms + if is_zero(t, counted) { LAST_LOOK_MS } else { 0 };
    if t.now.since(confirmed_at) >= limit_ms {
        return Some(Turn::turn_back(Reason::DrainTimeout, "connections did not end within the drain deadline"));
    }
    (!t.m.drained(scope)).then(|| t.intend(drain))
}
