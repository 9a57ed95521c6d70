//! Attach: the free volume goes to the target. A target that fails is cleared and, while the offline budget lasts,
//! replaced by another idle one; then the migration turns back. Behind the commit it cannot turn back: there a lost
//! target is replaced at any cost, also by a launch.
//!
//! `clear_target` and `claim_free` also serve the way back; `end_instance` serves Settle too.

use super::capacity;
use crate::effect::{Effect, Observe, Seen, Trouble};
use crate::fact::{Fact, Party, Spec};
use crate::machine::{Next, Turn};
use crate::resolve;
use crate::stage::Stage;
use crate::state::{Host, Place};
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::{GroupName, InstanceId};

/// Attach calls for one target: rule 25 gives it one more device.
const ATTACHES_MAX: u32 = 2;

/// Release commands for one target before a human is called: an agent that answers can be helped.
const RELEASES_MAX: u32 = 3;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(reason) = t.m.dropping {
        return drop_target(t, reason);
    }
    if t.m.is_committed() && !t.m.at_target() && t.out_of_patience(t.m.entered_at) {
        return Turn::stuck(Reason::TargetLost, "no other instance took the volume behind the commit");
    }
    let Some(target) = t.target() else { return retarget(t, spec) };
    if !t.m.target_ready {
        if out_of_time(t) {
            return fail_target(target, Reason::OfflineBudget);
        }
        return capacity::prove(t, spec, target);
    }
    if t.m.at_target() {
        return Turn::enter(Stage::Adopt);
    }
    if let Some(first) = claim_free(t) {
        return first;
    }
    let instance = &target.instance;
    let attach = |device| Effect::Attach { instance: instance.clone(), device };
    let tried = t.m.attempts_of(&attach(String::new())) >= ATTACHES_MAX;
    let hopeless = match t.m.refused(&attach(String::new())) {
        Some(Trouble::Zone | Trouble::SlotsFull | Trouble::Denied | Trouble::NotFound) => true,
        Some(_) => tried,
        None => tried && !t.m.forced,
    };
    if hopeless {
        let lost = watch::is_gone(t, instance);
        return fail_target(target, if lost { Reason::TargetLost } else { Reason::AttachFailed });
    }
    match t.fresh_device(instance) {
        Some(device) => t.intend(attach(device)),
        None => fail_target(target, Reason::AttachFailed),
    }
}

/// The volume must be free before an attach is decided. Right after our own detach that is established; when an
/// attach was refused because the volume is held, or when another driver's call may have landed, it is read, and
/// an attachment to one of our own that nobody wants is taken away first, unless it is in use there (F3).
pub(crate) fn claim_free(t: &Turn<'_>) -> Option<Next> {
    if t.m.place != Place::Free {
        return None;
    }
    let held = t.m.refusal.as_ref().is_some_and(|r| {
        matches!(r.effect, Effect::Attach { .. }) && matches!(r.trouble, Trouble::InUse | Trouble::IncorrectState)
    });
    let stale = t.s.foreign.as_ref().is_some_and(|(effect, seen_at)| {
        matches!(effect, Effect::Attach { .. }) && t.now.since(*seen_at) < t.set.turn_about_ms
    });
    if !held && !stale {
        return None;
    }
    match t.seen(&Observe::Volume).map(|s| (&s.seen, s.holds(2, t.set.free_gap_ms))) {
        Some((Seen::Volume(Some(list)), true)) => match list.as_slice() {
            [] => None,
            [one] if resolve::ours(t, &one.instance) => Some(take_away(t, &one.instance, &one.device)),
            _ => Some(Turn::stuck(Reason::ForeignHolder, "the volume is held by an instance that is not ours")),
        },
        _ => Some(patiently(t, Observe::Volume, t.set.free_gap_ms)),
    }
}

/// A stray attachment: taken away where nothing can be mounted, else once the agent says so.
fn take_away(t: &Turn<'_>, instance: &InstanceId, device: &str) -> Next {
    let what = Observe::AgentVolume { instance: instance.clone() };
    let told = matches!(t.seen(&what).map(|s| &s.seen), Some(Seen::AgentVolume(volume)) if !volume.mounted);
    if told || unmounted(t, instance) || watch::is_gone(t, instance) {
        let detach = Effect::Detach { instance: instance.clone(), device: device.to_owned() };
        return t.insist(detach, Reason::DetachFailed);
    }
    patiently(t, what, t.set.slow_gap_ms)
}

/// Whether it is established that nothing of ours is mounted there: never adopted, or released, or ended.
fn unmounted(t: &Turn<'_>, instance: &InstanceId) -> bool {
    let target = t.target().is_some_and(|p| p.instance == *instance) && t.m.target_host == Host::Unmounted;
    let source = t.m.is_source(instance) && t.m.source_host == Host::Unmounted;
    target || source || t.m.terminated.contains(instance)
}

fn patiently(t: &Turn<'_>, what: Observe, gap_ms: i64) -> Next {
    if t.out_of_patience(t.m.moved_at) && t.seen(&what).is_some() {
        return Turn::stuck(Reason::AttachFailed, "the volume is not free and cannot be freed");
    }
    t.ask(what, gap_ms)
}

/// The target failed.
pub(crate) fn fail_target(target: &Party, reason: Reason) -> Next {
    Next::Append(vec![Fact::TargetFailed { instance: target.instance.clone(), reason }])
}

/// Takes back what a failed target holds, then gives it up and looks for another.
pub(crate) fn drop_target(t: &Turn<'_>, reason: Reason) -> Next {
    if let Some(first) = clear_target(t) {
        return first;
    }
    let Some(target) = t.target() else { return t.give_up(reason, "the target was given up") };
    let dropped = Fact::TargetDropped { instance: target.instance.clone(), reason };
    let again = match t.m.stage {
        Stage::Gate => Stage::Capacity,
        Stage::Adopt | Stage::Commit | Stage::Open => Stage::Attach,
        _ => return Next::Append(vec![dropped]),
    };
    Next::Append(vec![dropped, Fact::Entered { stage: again }])
}

/// What is left to do until the present target has neither engine nor volume; none when it has not.
pub(crate) fn clear_target(t: &Turn<'_>) -> Option<Next> {
    let target = t.target()?;
    let instance = &target.instance;
    if t.m.terminated.contains(instance) {
        return None;
    }
    // Nothing else may be done with a condemned one (F4).
    if t.m.condemned.contains(instance) {
        return Some(end_instance(t, &target.group, instance));
    }
    if t.m.target_host != Host::Unmounted {
        let release = Effect::Release { instance: instance.clone() };
        // Ended in EC2, or silent with a door that was never open: nothing that was acknowledged is lost with it
        // (H33). An agent that answers and cannot unmount is no reason to end its instance (invariant 15).
        if watch::is_gone(t, instance) || t.m.silent.contains(instance) || t.m.stage == Stage::Open {
            return Some(end_instance(t, &target.group, instance));
        }
        if t.m.refused(&release).is_some() && t.m.attempts_of(&release) >= RELEASES_MAX {
            return Some(Turn::stuck(Reason::ReleaseFailed, format!("{instance} cannot unmount the volume")));
        }
        return Some(t.insist(release, Reason::ReleaseFailed));
    }
    match &t.m.place {
        Place::At { instance: at, device } if at == instance => {
            let detach = Effect::Detach { instance: at.clone(), device: device.clone() };
            Some(t.insist(detach, Reason::DetachFailed))
        }
        _ => None,
    }
}

/// Ends an instance for good. A group at its smallest size refuses to lower desired; then it is ended without that,
/// and the group replaces it (H35).
pub(crate) fn end_instance(t: &Turn<'_>, group: &GroupName, instance: &InstanceId) -> Next {
    let terminate = |decrement| Effect::Terminate { group: group.clone(), instance: instance.clone(), decrement };
    match t.m.refusal.as_ref().map(|r| (&r.effect, r.trouble)) {
        Some((Effect::Terminate { instance: other, decrement, .. }, trouble)) if other == instance => {
            if *decrement && trouble == Trouble::IncorrectState {
                return t.intend(terminate(false));
            }
            Turn::stuck(Reason::CloudRefused, format!("{instance} is condemned and could not be ended ({trouble:?})"))
        }
        _ => t.intend(terminate(true)),
    }
}

/// Whether no further target may be tried before the way back is taken.
fn out_of_time(t: &Turn<'_>) -> bool {
    !t.m.is_committed() && t.m.offline_at.is_some_and(|at| t.now.since(at) >= t.set.offline_budget_ms)
}

/// Another target. Before the commit an idle one, while time is left: a launch takes too long while the graph is
/// offline.
fn retarget(t: &Turn<'_>, spec: &Spec) -> Next {
    if t.m.is_committed() {
        return capacity::obtain(t, spec);
    }
    let last = t.m.dropped.last().map_or(Reason::TargetLost, |(_, reason)| *reason);
    if out_of_time(t) {
        return Turn::turn_back(last, "the volume was offline for too long to try another target");
    }
    if t.m.dropped_offline >= t.set.max_targets {
        return Turn::turn_back(last, "no target took the volume");
    }
    match capacity::candidates(t) {
        Err(wait) => wait,
        Ok(Some(candidate)) => capacity::reserve(spec, candidate),
        Ok(None) => Turn::turn_back(last, "the target failed and no other idle instance is in the zone"),
    }
}
