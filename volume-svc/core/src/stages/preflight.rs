//! Preflight: behind the locks everything is read and judged once more, and the source is protected from the
//! group's scale-in.

use crate::effect::{Effect, Observe, Seen};
use crate::fact::Spec;
use crate::machine::{Next, Turn};
use crate::plan::{Ask, judge};
use crate::stage::Stage;
use tiershift_core::Reason;

/// What the rules are asked on behalf of a running migration.
pub fn ask(spec: &Spec) -> Ask {
    Ask {
        graph: spec.graph.clone(),
        source_tier: Some(spec.source_tier.clone()),
        target_tier: spec.target_tier.clone(),
        target_group: spec.target_group.clone(),
        storage_limit_bytes: spec.storage_limit_bytes,
        migration: Some(spec.id.clone()),
    }
}

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(Seen::Facts(facts)) = t.seen(&Observe::Facts).map(|s| &s.seen) {
        let verdict = judge(&ask(spec), facts);
        if let Some(first) = verdict.violations.first() {
            let all: Vec<&str> = verdict.violations.iter().map(|v| v.fix.as_str()).collect();
            return Turn::turn_back(first.reason, all.join("; "));
        }
        if verdict.clean() {
            if t.m.protected.contains(&spec.source.instance) {
                return Turn::enter(Stage::SafetySnapshot);
            }
            let source = &spec.source;
            let protect = Effect::Protect { group: source.group.clone(), instance: source.instance.clone() };
            if t.m.refused(&protect).is_some() {
                return Turn::turn_back(Reason::GroupNotReady, "the source could not be protected from scale-in");
            }
            return t.intend(protect);
        }
    } else if t.m.protected.contains(&spec.source.instance) {
        // Read, judged and protected before a restart.
        return Turn::enter(Stage::SafetySnapshot);
    }
    // Something could not be read: asked again while nothing is blocked, but not for ever.
    if t.in_stage_ms() >= t.set.capacity_ms && t.seen(&Observe::Facts).is_some() {
        return Turn::turn_back(Reason::Unavailable, "the facts of the preflight could not be read");
    }
    t.ask(Observe::Facts, t.set.slow_gap_ms)
}
