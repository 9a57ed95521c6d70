//! Attach: the free volume goes to the target. A target that fails is cleared and, while the offline budget lasts,
//! replaced by another idle one; then the migration turns back.
//!
//! `clear_target` and `claim_free` also serve the way back.

use super::capacity;
use crate::effect::{Effect, Observe, Seen, Trouble};
use crate::fact::{Fact, Party};
use crate::machine::{Next, Turn};
use crate::resolve;
use crate::stage::Stage;
use crate::state::{Host, Place};
use tiershift_core::Reason;

/// Attach calls that one target may refuse: rule 25 gives it one more device.
const ATTACHES_MAX: u32 = 2;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(reason) = t.m.dropping {
        return drop_target(t, reason);
    }
    let Some(target) = t.target() else { return retarget(t) };
    if !t.m.target_ready {
        return capacity::prove(t, spec).unwrap_or_else(|reason| fail_target(target, reason));
    }
    if t.m.at_target() {
        return Turn::enter(Stage::Adopt);
    }
    if let Some(first) = claim_free(t) {
        return first;
    }
    let probe = Effect::Attach { instance: target.instance.clone(), device: String::new() };
    let hopeless = matches!(t.m.refusal, Some(Trouble::Zone | Trouble::SlotsFull | Trouble::Denied));
    if hopeless || (t.m.refusal.is_some() && t.m.attempts_of(&probe) >= ATTACHES_MAX) {
        return fail_target(target, Reason::AttachFailed);
    }
    match t.fresh_device(&target.instance) {
        Some(device) => t.intend(Effect::Attach { instance: target.instance.clone(), device }),
        None => fail_target(target, Reason::AttachFailed),
    }
}

/// The volume must be free before an attach is decided. Right after our own detach that is established; when an
/// attach was refused because the volume is held, or when another driver's call may have landed, it is read, and
/// an attachment to one of our own that nobody wants is taken away first (F3).
pub(crate) fn claim_free(t: &Turn<'_>) -> Option<Next> {
    if t.m.place != Place::Free {
        return None;
    }
    let doubtful = t.m.refusal == Some(Trouble::InUse) || t.s.foreign.is_some();
    if !doubtful {
        return None;
    }
    match t.seen(&Observe::Volume).map(|s| (&s.seen, s.holds(2, t.set.free_gap_ms))) {
        Some((Seen::Volume(Some(list)), true)) => match list.as_slice() {
            [] => None,
            [one] if resolve::ours(t, &one.instance) => {
                Some(t.intend(Effect::Detach { instance: one.instance.clone(), device: one.device.clone() }))
            }
            _ => Some(Turn::stuck(Reason::ForeignHolder, "the volume is held by an instance that is not ours")),
        },
        _ => Some(t.ask(Observe::Volume, t.set.free_gap_ms)),
    }
}

/// The target failed.
pub(crate) fn fail_target(target: &Party, reason: Reason) -> Next {
    Next::Append(vec![Fact::TargetFailed { instance: target.instance.clone(), reason }])
}

/// Takes back what a failed target holds, then gives it up.
pub(crate) fn drop_target(t: &Turn<'_>, reason: Reason) -> Next {
    if let Some(first) = clear_target(t) {
        return first;
    }
    match t.target() {
        Some(target) => {
            let dropped = Fact::TargetDropped { instance: target.instance.clone(), reason };
            if t.m.stage == Stage::Adopt {
                return Next::Append(vec![dropped, Fact::Entered { stage: Stage::Attach }]);
            }
            Next::Append(vec![dropped])
        }
        None => retarget(t),
    }
}

/// What is left to do until the present target has neither engine nor volume; none when it has not.
pub(crate) fn clear_target(t: &Turn<'_>) -> Option<Next> {
    let target = t.target()?;
    let instance = &target.instance;
    if t.m.terminated.contains(instance) {
        return None;
    }
    if t.m.condemned.contains(instance) {
        // Its end was refused by the group: nothing else may be done with it (F4).
        return Some(Turn::stuck(Reason::TargetLost, format!("{instance} is condemned and could not be ended")));
    }
    if t.m.target_host != Host::Unmounted {
        let release = Effect::Release { instance: instance.clone() };
        // One try to unmount; an agent that failed or fell silent ends with its instance. Its door was never
        // open, so nothing that was acknowledged is lost (H33).
        return Some(if t.m.attempts_of(&release) == 0 {
            t.intend(release)
        } else {
            t.intend(Effect::Terminate { group: target.group.clone(), instance: instance.clone() })
        });
    }
    match &t.m.place {
        Place::At { instance: at, device } if at == instance => {
            Some(t.intend(Effect::Detach { instance: at.clone(), device: device.clone() }))
        }
        _ => None,
    }
}

/// Another idle instance, if there is one and time is left; launches take too long while the graph is offline.
fn retarget(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    let last = t.m.dropped.last().map_or(Reason::TargetLost, |(_, reason)| *reason);
    let tried = u32::try_from(t.m.dropped.len()).unwrap_or(u32::MAX);
    let offline_ms = t.m.offline_at.map_or(0, |at| t.now.since(at));
    if tried >= t.set.max_targets || offline_ms >= t.set.offline_budget_ms {
        return Turn::turn_back(last, "no target took the volume");
    }
    match capacity::candidates(t) {
        Err(wait) => wait,
        Ok(Some(candidate)) => capacity::reserve(spec, candidate),
        Ok(None) => Turn::turn_back(last, "the target failed and no other idle instance is in the zone"),
    }
}
