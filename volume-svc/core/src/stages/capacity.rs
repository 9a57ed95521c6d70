//! Capacity: an instance of the target tier in the volume's zone, reserved from the pool or launched, and proven
//! before anything of the customer is touched (rule 37).
//!
//! `prove` and `candidates` also serve the replacement of a target that failed (`attach.rs`).

use crate::effect::{Candidate, Effect, InstanceSeen, Observe, Seen, Trouble};
use crate::fact::{Fact, Party, Spec};
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use tiershift_core::Reason;
use tiershift_core::ids::InstanceId;

/// Launches that may fail by themselves (capacity apart) before the change is given up.
const LAUNCHES_MAX: u32 = 2;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if t.m.target.is_some() {
        if t.m.target_ready {
            return Turn::enter(Stage::Gate);
        }
        return prove(t, spec).unwrap_or_else(|reason| Turn::turn_back(reason, "the target is not usable"));
    }
    if t.in_stage_ms() >= t.set.capacity_ms {
        return Turn::turn_back(Reason::NoCapacity, "no target instance was ready in time");
    }
    if let Some(launched) = &t.m.launched {
        return launched_one(t, spec, launched);
    }
    let launch = Effect::Launch { group: spec.target_group.clone(), zone: spec.zone.clone() };
    if t.m.refusal.is_some() && t.m.attempts_of(&launch) > 0 {
        return refused_launch(t, launch);
    }
    match candidates(t) {
        Err(wait) => wait,
        Ok(Some(candidate)) => reserve(spec, candidate),
        Ok(None) => t.intend(launch),
    }
}

/// The first idle instance that was not refused, condemned or dropped; `Err` while that is not known.
pub(crate) fn candidates<'a>(t: &Turn<'a>) -> Result<Option<&'a Candidate>, Next> {
    match t.seen(&Observe::Candidates).map(|s| &s.seen) {
        Some(Seen::Candidates(list)) => Ok(list.iter().find(|c| {
            !t.s.rejected.contains(&c.instance)
                && !t.m.condemned.contains(&c.instance)
                && !t.m.dropped.iter().any(|(p, _)| p.instance == c.instance)
        })),
        _ => Err(t.ask(Observe::Candidates, t.set.retry_ms)),
    }
}

/// Takes an idle instance; refused if somebody else was faster.
pub(crate) fn reserve(spec: &Spec, candidate: &Candidate) -> Next {
    Next::Append(vec![Fact::Reserved { target: Party::reserved(candidate, &spec.target_group) }])
}

/// Capacity comes back in minutes or not at all: asked again with growing gaps while the source still serves.
fn refused_launch(t: &Turn<'_>, launch: Effect) -> Next {
    if t.m.refusal != Some(Trouble::NoCapacity) {
        return Turn::turn_back(Reason::NoCapacity, "the launch was refused");
    }
    let gap_ms = match t.m.attempts_of(&launch) {
        0 | 1 => 60_000,
        2 => 120_000,
        3 => 300_000,
        _ => 600_000,
    };
    let ready = t.m.moved_at.plus(gap_ms);
    let end = t.m.entered_at.plus(t.set.capacity_ms);
    if ready > end {
        return Turn::turn_back(Reason::NoCapacity, "EC2 has no capacity of this type in the zone");
    }
    if t.now < ready { Next::Wait(ready) } else { t.intend(launch) }
}

/// A launched instance becomes the target once EC2 shows where it is.
fn launched_one(t: &Turn<'_>, spec: &Spec, launched: &InstanceId) -> Next {
    let what = Observe::Instance { instance: launched.clone() };
    if let Some(streak) = t.seen(&what)
        && let Seen::Instance(seen) = &streak.seen
    {
        if let (false, Some(ip)) = (seen.terminated, &seen.private_ip) {
            let target = Party {
                instance: launched.clone(),
                private_ip: ip.clone(),
                endpoint_url: None,
                group: spec.target_group.clone(),
                launched: true,
            };
            return Next::Append(vec![Fact::Reserved { target }]);
        }
        // Not visible yet reads like gone; only three reads over 30 s make it so (rule 14).
        if seen.terminated && streak.holds(3, 30_000) {
            let launch = Effect::Launch { group: spec.target_group.clone(), zone: spec.zone.clone() };
            if t.m.attempts_of(&launch) >= LAUNCHES_MAX {
                return Turn::turn_back(Reason::NoCapacity, "launched instances did not live");
            }
            return t.intend(launch);
        }
    }
    t.ask(what, t.set.retry_ms)
}

/// Until the target is in service in its group, protected, empty, and runs what the source runs.
pub(crate) fn prove(t: &Turn<'_>, spec: &Spec) -> Result<Next, Reason> {
    let Some(target) = t.target() else { return Err(Reason::NoCapacity) };
    let what = Observe::Instance { instance: target.instance.clone() };
    if let Some(streak) = t.seen(&what)
        && let Seen::Instance(seen) = &streak.seen
    {
        if seen.terminated && streak.holds(3, 30_000) {
            return Err(Reason::TargetLost);
        }
        if usable(seen, spec) {
            let engine = seen.engine.as_ref().ok_or(Reason::AgentUnreachable)?;
            if *engine != spec.engine {
                return Err(Reason::EngineMismatch);
            }
            if seen.protected || t.m.protected.contains(&target.instance) {
                return Ok(Next::Append(vec![Fact::TargetReady { engine: engine.clone() }]));
            }
            if t.m.refusal.is_some() {
                return Err(Reason::GroupNotReady);
            }
            return Ok(t.intend(Effect::Protect { group: target.group.clone(), instance: target.instance.clone() }));
        }
    }
    if t.in_stage_ms() >= t.set.capacity_ms {
        return Err(Reason::NoCapacity);
    }
    Ok(t.ask(what, t.set.retry_ms))
}

fn usable(seen: &InstanceSeen, spec: &Spec) -> bool {
    seen.running
        && seen.in_service
        && seen.data_volumes == 0
        && seen.group.as_ref() == Some(&spec.target_group)
        && seen.zone.as_ref() == Some(&spec.zone)
        && seen.engine.is_some()
}
