//! Open: behind the commit the target opens its door; there is no way back, only on. `Opened` is what opens the
//! other side's gate.

use super::adopt::PROBES;
use crate::effect::{AgentState, Effect, Observe, Seen};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::state::Host;
use tiershift_core::Reason;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(target) = t.target() else { return Turn::stuck(Reason::TargetLost, "there is no target to open") };
    if t.m.target_host != Host::Serving {
        if t.m.refusal.is_some() {
            return Turn::stuck(Reason::TargetLost, "the target's agent refused to open its door");
        }
        return t.intend(Effect::Resume { instance: target.instance.clone() });
    }
    let agent = Observe::AgentVolume { instance: target.instance.clone() };
    let probe = Observe::Probe { instance: target.instance.clone() };
    let serving =
        matches!(t.seen(&agent).map(|s| &s.seen), Some(Seen::AgentVolume(v)) if v.state == AgentState::Serving);
    // A write that was admitted before the gate closed may still land now, so more than the reference is right.
    let reads = t.seen(&probe).is_some_and(|s| match &s.seen {
        Seen::Probe(p) => t.m.reference.as_ref().is_none_or(|r| p.nodes >= r.nodes) && s.reads >= PROBES,
        _ => false,
    });
    if serving && reads {
        return Next::Append(vec![Fact::Opened]);
    }
    if t.in_stage_ms() >= t.set.undo_step_ms {
        return Turn::stuck(Reason::TargetLost, "the target does not serve behind the commit");
    }
    if serving { t.ask(probe, t.set.probe_gap_ms) } else { t.ask(agent, t.set.agent_gap_ms) }
}
