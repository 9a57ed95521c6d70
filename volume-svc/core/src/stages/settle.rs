//! Settle: the customer is served; what is left over is put away. Forward only, at leisure, and nothing that a
//! rollback would need goes before its time (invariant 4).

use crate::effect::{Effect, GroupSeen, Observe, Purpose, Seen, SnapshotState};
use crate::fact::{Fact, Party};
use crate::machine::{Next, Turn};
use crate::state::{End, Place};
use tiershift_core::Reason;

/// A pending snapshot is looked at this seldom: nobody waits for it.
const LOOK_EVERY_MS: i64 = 30_000;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let step = match t.m.end {
        Some(End::Moved) => moved(t),
        Some(End::RolledBack) => rolled_back(t),
        Some(End::Tombstone) | None => return Next::Idle,
    };
    step.unwrap_or_else(|| Next::Append(vec![Fact::Done]))
}

fn moved(t: &Turn<'_>) -> Option<Next> {
    let spec = t.spec()?;
    keep_on_termination(t)
        .or_else(|| (!t.m.tagged).then(|| t.intend(Effect::TagVolume { tier: spec.target_tier.clone() })))
        .or_else(|| final_completed(t))
        .or_else(|| soak(t))
        .or_else(|| leftovers(t))
        .or_else(|| retire_source(t, &spec.source))
        .or_else(|| delete_safety(t))
}

fn rolled_back(t: &Turn<'_>) -> Option<Next> {
    leftovers(t).or_else(|| if t.m.detach_journalled { None } else { delete_safety(t) })
}

/// The volume must outlive the instance that it is attached to now (rule 28).
fn keep_on_termination(t: &Turn<'_>) -> Option<Next> {
    if t.m.kept_on_termination {
        return None;
    }
    match t.seen(&Observe::Volume).map(|s| &s.seen) {
        Some(Seen::Volume(Some(list))) => match list.as_slice() {
            [one] if one.delete_on_termination => {
                Some(t.intend(Effect::KeepOnTermination { instance: one.instance.clone(), device: one.device.clone() }))
            }
            [_] => None,
            _ => Some(t.ask(Observe::Volume, LOOK_EVERY_MS)),
        },
        // Behind the soak the question was answered before; do not ask for ever about a volume that moved on.
        _ if t.m.tagged => None,
        _ => Some(t.ask(Observe::Volume, t.set.slow_gap_ms)),
    }
}

/// A completed snapshot not older than the release, before any rollback asset goes.
fn final_completed(t: &Turn<'_>) -> Option<Next> {
    let last = t.m.last.as_ref()?;
    if t.m.completed.contains(last) {
        return None;
    }
    let what = Observe::Snapshots { purpose: Purpose::Final };
    if let Some(Seen::Snapshots(list)) = t.seen(&what).map(|s| &s.seen)
        && let Some(seen) = list.iter().find(|s| s.id == *last)
    {
        match seen.state {
            SnapshotState::Completed => {
                return Some(Next::Append(vec![Fact::SnapshotCompleted { snapshot: last.clone() }]));
            }
            SnapshotState::Error => {
                return Some(Turn::stuck(
                    Reason::SnapshotFailed,
                    "the final snapshot failed: take another, then resume",
                ));
            }
            SnapshotState::Pending | SnapshotState::Other => {}
        }
    }
    Some(t.ask(what, LOOK_EVERY_MS))
}

fn soak(t: &Turn<'_>) -> Option<Next> {
    let until = t.m.opened_at?.plus(t.set.soak_ms);
    (t.now < until).then_some(Next::Wait(until))
}

/// Ends a launched instance that this migration no longer needs, once two reads show no data volume on it (H16).
fn end_launched(t: &Turn<'_>, party: &Party) -> Option<Next> {
    if t.m.terminated.contains(&party.instance) {
        return None;
    }
    let what = Observe::Instance { instance: party.instance.clone() };
    match t.seen(&what) {
        Some(streak) => match &streak.seen {
            Seen::Instance(seen) if seen.terminated && streak.holds(3, 30_000) => None,
            Seen::Instance(seen)
                if seen.data_volumes == 0 && !seen.terminated && streak.holds(2, t.set.zero_gap_ms) =>
            {
                let effect = Effect::Terminate { group: party.group.clone(), instance: party.instance.clone() };
                if t.m.condemned.contains(&party.instance) {
                    return Some(Turn::stuck(
                        Reason::TargetLost,
                        format!("{} is condemned and could not be ended", party.instance),
                    ));
                }
                Some(t.intend(effect))
            }
            _ => Some(t.ask(what, t.set.slow_gap_ms)),
        },
        None => Some(t.ask(what, t.set.slow_gap_ms)),
    }
}

/// Targets that were launched here and are not where the graph serves. Reserved ones go back to the pool with the
/// last append.
fn leftovers(t: &Turn<'_>) -> Option<Next> {
    let serving = match &t.m.place {
        Place::At { instance, .. } => Some(instance),
        Place::Free => None,
    };
    let present = t.target().into_iter();
    let all = t.m.dropped.iter().map(|(p, _)| p).chain(present);
    if let Some(unreserved) = &t.m.launched {
        let spec = t.spec()?;
        let party = Party {
            instance: unreserved.clone(),
            private_ip: String::new(),
            endpoint_url: None,
            group: spec.target_group.clone(),
            launched: true,
        };
        if let Some(next) = end_launched(t, &party) {
            return Some(next);
        }
    }
    all.filter(|p| p.launched && Some(&p.instance) != serving).find_map(|p| end_launched(t, p))
}

/// The source ends, unless its group is at its smallest size: then it is cleaned and goes back to the pool (H35).
fn retire_source(t: &Turn<'_>, source: &Party) -> Option<Next> {
    if t.m.source_kept || t.m.terminated.contains(&source.instance) {
        return None;
    }
    let what = Observe::Group { group: source.group.clone() };
    let Some(Seen::Group(GroupSeen { desired, min, .. })) = t.seen(&what).map(|s| &s.seen) else {
        return Some(t.ask(what, t.set.slow_gap_ms));
    };
    if desired > min || t.m.condemned.contains(&source.instance) {
        return end_launched(t, source);
    }
    Some(Next::Append(vec![Fact::SourceKept]))
}

fn delete_safety(t: &Turn<'_>) -> Option<Next> {
    let safety = t.m.safety.as_ref()?;
    (!t.m.deleted.contains(safety)).then(|| t.intend(Effect::DeleteSnapshot { snapshot: safety.clone() }))
}
