//! Capacity: an instance of the target tier in the volume's zone, reserved from the pool or launched, and proven
//! before anything of the customer is touched (rule 37). One that cannot be proven is given up for the next.
//!
//! `prove` and `obtain` also serve the replacement of a target that failed (`attach.rs`).

use super::attach::{drop_target, fail_target};
use crate::effect::{Candidate, Effect, Engine, InstanceSeen, Observe, Seen, Trouble};
use crate::fact::{Fact, Party, Spec};
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::{GroupName, InstanceId, Zone};

/// Launches whose instances may die or not be usable before the change is given up.
const LAUNCHES_MAX: u32 = 2;

/// Idle instances that may turn out not to be usable before one is launched: more of the same pool are no better.
const IDLE_MAX: usize = 3;

/// How long an idle instance, just seen healthy, may take to prove it once it is ours.
const PROOF_MS: i64 = 60_000;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(reason) = t.m.dropping {
        return drop_target(t, reason);
    }
    if t.m.target_ready {
        return Turn::enter(Stage::Gate);
    }
    if t.in_stage_ms() >= t.set.capacity_ms {
        return Turn::turn_back(last_reason(t), "no target instance was ready in time");
    }
    match t.target() {
        Some(target) => prove(t, spec, target),
        None => obtain(t, spec),
    }
}

/// Why the last target was given up, else that there was none.
pub(crate) fn last_reason(t: &Turn<'_>) -> Reason {
    t.m.dropped.last().map_or(Reason::NoCapacity, |(_, reason)| *reason)
}

/// Reserves an idle instance, else launches one.
pub(crate) fn obtain(t: &Turn<'_>, spec: &Spec) -> Next {
    let launch = Effect::Launch { group: spec.target_group.clone(), zone: spec.zone.clone() };
    if let Some(launched) = &t.m.launched {
        return launched_one(t, spec, launched, launch);
    }
    if let Some(trouble) = t.m.refused(&launch) {
        return refused_launch(t, launch, trouble);
    }
    let tried = t.m.dropped.iter().filter(|(party, _)| !party.launched).count();
    if tried < IDLE_MAX {
        match candidates(t) {
            Err(wait) => return wait,
            Ok(Some(candidate)) => return reserve(spec, candidate),
            Ok(None) => {}
        }
    }
    launch_again(t, launch)
}

/// The first idle instance that was not refused, condemned or dropped; `Err` while that is not known.
pub(crate) fn candidates<'a>(t: &Turn<'a>) -> Result<Option<&'a Candidate>, Next> {
    match t.seen(&Observe::Candidates).map(|s| &s.seen) {
        Some(Seen::Candidates(list)) => {
            let wanted = |c: &&Candidate| !t.s.rejected.contains(&c.instance) && !t.m.is_done_with(&c.instance);
            Ok(list.iter().find(wanted))
        }
        _ => Err(t.ask(Observe::Candidates, t.set.retry_ms)),
    }
}

/// Takes an idle instance; refused if somebody else was faster.
pub(crate) fn reserve(spec: &Spec, candidate: &Candidate) -> Next {
    Next::Append(vec![Fact::Reserved { target: Party::reserved(candidate, &spec.target_group) }])
}

fn launch_again(t: &Turn<'_>, launch: Effect) -> Next {
    if t.m.attempts_of(&launch) >= LAUNCHES_MAX {
        return t.give_up(last_reason(t), "launched instances did not become usable");
    }
    t.intend(launch)
}

/// Capacity comes back in minutes or not at all: asked again with growing gaps, before the gate while the source
/// still serves, behind the commit because there is no other way.
fn refused_launch(t: &Turn<'_>, launch: Effect, trouble: Trouble) -> Next {
    if trouble != Trouble::NoCapacity {
        return t.give_up(Reason::NoCapacity, format!("the launch was refused ({trouble:?})"));
    }
    let ready = t.m.moved_at.plus(pause_ms(t.m.attempts_of(&launch)));
    let limit_ms = if t.m.is_committed() { t.set.undo_step_ms } else { t.set.capacity_ms };
    if ready > t.m.entered_at.plus(limit_ms) {
        return t.give_up(Reason::NoCapacity, "EC2 has no capacity of this type in the zone");
    }
    if t.now < ready { Next::Wait(ready) } else { t.intend(launch) }
}

/// How long to wait before capacity is asked for again after so many tries.
pub(crate) const fn pause_ms(tries: u32) -> i64 {
    match tries {
        0 | 1 => 60_000,
        2 => 120_000,
        3 => 300_000,
        _ => 600_000,
    }
}

/// A launched instance becomes the target once EC2 shows where it is.
fn launched_one(t: &Turn<'_>, spec: &Spec, launched: &InstanceId, launch: Effect) -> Next {
    if t.s.rejected.contains(launched) {
        return t.give_up(Reason::RegistryConflict, format!("the row of {launched} belongs to somebody else"));
    }
    let what = Observe::Instance { instance: launched.clone() };
    if let Some(Seen::Instance(seen)) = t.seen(&what).map(|s| &s.seen)
        && let (false, Some(ip)) = (seen.terminated, &seen.private_ip)
    {
        let target = Party {
            instance: launched.clone(),
            private_ip: ip.clone(),
            endpoint_url: None,
            group: spec.target_group.clone(),
            launched: true,
        };
        return Next::Append(vec![Fact::Reserved { target }]);
    }
    if watch::is_gone(t, launched) {
        return launch_again(t, launch);
    }
    t.ask(what, t.set.retry_ms)
}

/// Until the target is in service in its group, protected, empty, and runs what the source runs.
pub(crate) fn prove(t: &Turn<'_>, spec: &Spec, target: &Party) -> Next {
    let instance = &target.instance;
    if watch::is_gone(t, instance) {
        return fail_target(target, Reason::TargetLost);
    }
    let what = Observe::Instance { instance: instance.clone() };
    if let Some(Seen::Instance(seen)) = t.seen(&what).map(|s| &s.seen)
        && let Some(engine) = usable(seen, spec)
    {
        if *engine != spec.engine {
            return fail_target(target, Reason::EngineMismatch);
        }
        if seen.protected || t.m.protected.contains(instance) {
            return Next::Append(vec![Fact::TargetReady { engine: engine.clone() }]);
        }
        let protect = Effect::Protect { group: target.group.clone(), instance: instance.clone() };
        if t.m.refused(&protect).is_some() {
            return fail_target(target, Reason::GroupNotReady);
        }
        return t.intend(protect);
    }
    if !target.launched && t.now.since(t.m.moved_at) >= PROOF_MS {
        return fail_target(target, Reason::AgentUnreachable);
    }
    t.ask(what, t.set.retry_ms)
}

/// What its agent runs, if the instance could take the volume now.
pub(crate) fn usable<'a>(seen: &'a InstanceSeen, spec: &Spec) -> Option<&'a Engine> {
    usable_in(seen, &spec.target_group, &spec.zone)
}

/// The same for a member of any group.
pub(crate) fn usable_in<'a>(seen: &'a InstanceSeen, group: &GroupName, zone: &Zone) -> Option<&'a Engine> {
    let fits = seen.running
        && seen.in_service
        && seen.data_volumes == 0
        && seen.group.as_ref() == Some(group)
        && seen.zone.as_ref() == Some(zone);
    seen.engine.as_ref().filter(|_| fits)
}
