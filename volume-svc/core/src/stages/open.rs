//! Open: behind the commit the target opens its door; there is no way back, only on. `Opened` is what opens the
//! other side's gate.
//!
//! A target that has ended is replaced: Attach and Adopt run again with another. One that is merely silent is not:
//! its door may be open, and what it acknowledged would end with it.

use super::{adopt, attach};
use crate::effect::{AgentState, Effect, Observe, Seen};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::state::Host;
use crate::watch;
use tiershift_core::Reason;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    if let Some(reason) = t.m.dropping {
        return attach::drop_target(t, reason);
    }
    let Some(target) = t.target() else { return Turn::stuck(Reason::TargetLost, "there is no target to open") };
    let instance = &target.instance;
    if watch::is_gone(t, instance) {
        return attach::fail_target(target, Reason::TargetLost);
    }
    if t.m.target_host != Host::Serving {
        return t.insist(Effect::Resume { instance: instance.clone() }, Reason::TargetLost);
    }
    let agent = Observe::AgentVolume { instance: instance.clone() };
    let probe = Observe::Probe { instance: instance.clone() };
    let serving =
        matches!(t.seen(&agent).map(|s| &s.seen), Some(Seen::AgentVolume(v)) if v.state == AgentState::Serving);
    // One answer is enough, and no two need be equal: behind an open door a client that asks no gate writes at once.
    // That the bytes are the right ones was established before the commit.
    let holds = matches!(t.seen(&probe).map(|s| &s.seen), Some(Seen::Probe(p)) if adopt::matches(t, p));
    if serving && holds {
        return Next::Append(vec![Fact::Opened]);
    }
    let (what, gap_ms) = if serving { (probe, t.set.probe_gap_ms) } else { (agent, t.set.agent_gap_ms) };
    if t.out_of_patience(t.m.entered_at) && t.seen(&what).is_some() {
        return Turn::stuck(Reason::TargetLost, "the target does not serve behind the commit");
    }
    t.ask(what, gap_ms)
}
