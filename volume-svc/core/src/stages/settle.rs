//! Settle: the customer is served; what is left over is put away. Forward only, at leisure, and nothing that a
//! rollback would need goes before its time (invariant 4).

use super::attach::end_instance;
use crate::effect::{Effect, GroupSeen, Observe, Purpose, Seen, SnapshotState};
use crate::fact::{Amiss, Fact, Party};
use crate::machine::{Next, Turn};
use crate::state::{End, Place};
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::{GroupName, InstanceId, SnapshotId};
use tiershift_core::mutant::{self, Mutant};

/// A pending snapshot is looked at this seldom: nobody waits for it.
const LOOK_EVERY_MS: i64 = 30_000;

/// Final snapshots that may end in error before a human is called.
const FINALS_MAX: u32 = 3;

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
        .or_else(|| final_completed(t).filter(|_| !mutant::on(Mutant::ReleaseAssetsEarly)))
        .or_else(|| soak(t).filter(|_| !mutant::on(Mutant::ReleaseAssetsEarly)))
        .or_else(|| leftovers(t))
        .or_else(|| retire_source(t, &spec.source))
        .or_else(|| delete_safety(t))
        .or_else(|| delete_strays(t, &[Purpose::Final, Purpose::Safety]))
}

fn rolled_back(t: &Turn<'_>) -> Option<Next> {
    if t.m.detach_journalled {
        // Both snapshots are kept; the volume hangs on an attachment that we made.
        return keep_on_termination(t).or_else(|| leftovers(t));
    }
    leftovers(t).or_else(|| delete_safety(t)).or_else(|| delete_strays(t, &[Purpose::Safety]))
}

/// The volume must outlive the instance that it is attached to now (rule 28). If it is not where it was left, its
/// new holder looks after it.
fn keep_on_termination(t: &Turn<'_>) -> Option<Next> {
    let Place::At { instance, .. } = &t.m.place else { return None };
    if t.m.kept_on_termination {
        return None;
    }
    match t.seen(&Observe::Volume).map(|s| &s.seen) {
        Some(Seen::Volume(Some(list))) => {
            let mine = list.iter().find(|a| a.instance == *instance && a.delete_on_termination)?;
            let (instance, device) = (mine.instance.clone(), mine.device.clone());
            Some(t.intend(Effect::KeepOnTermination { instance, device }))
        }
        Some(Seen::Volume(None)) => None,
        _ => Some(t.ask(Observe::Volume, t.set.slow_gap_ms)),
    }
}

/// A completed snapshot not older than the release, before any rollback asset goes. One that ended in error, or was
/// never taken because of a hand-over, is replaced by a later one (H35). One that takes its time only lengthens the soak.
fn final_completed(t: &Turn<'_>) -> Option<Next> {
    let snapshot = Effect::Snapshot { purpose: Purpose::Final };
    let Some(last) = &t.m.last else {
        return Some(t.insist(snapshot, Reason::SnapshotFailed));
    };
    if t.m.completed.contains(last) {
        return None;
    }
    if t.m.refused(&snapshot).is_some() {
        return Some(t.insist(snapshot, Reason::SnapshotFailed));
    }
    if t.m.failed.contains(last) {
        return Some(stand_in(t, last, snapshot));
    }
    let amiss = |what| Some(Next::Append(vec![Fact::SnapshotAmiss { snapshot: last.clone(), what }]));
    let what = Observe::Snapshots { purpose: Purpose::Final };
    if let Some(Seen::Snapshots(list)) = t.seen(&what).map(|s| &s.seen)
        && let Some(seen) = list.iter().find(|s| s.id == *last)
    {
        match seen.state {
            SnapshotState::Completed => {
                return Some(Next::Append(vec![Fact::SnapshotCompleted { snapshot: last.clone() }]));
            }
            SnapshotState::Error => return amiss(Amiss::Failed),
            SnapshotState::Pending | SnapshotState::Other
                if !t.m.late.contains(last) && t.in_stage_ms() >= t.set.safety_snapshot_ms =>
            {
                return amiss(Amiss::Late);
            }
            SnapshotState::Pending | SnapshotState::Other => {}
        }
    }
    Some(t.ask(what, LOOK_EVERY_MS))
}

/// Another completed snapshot that EC2 began later than the failed one is a restore point as good, whoever took it; else
/// one more is taken. Both times are EC2's: no clock of ours is compared with them.
fn stand_in(t: &Turn<'_>, failed: &SnapshotId, snapshot: Effect) -> Next {
    let Some(Seen::Snapshots(list)) = t.seen(&Observe::AllSnapshots).map(|s| &s.seen) else {
        return t.ask(Observe::AllSnapshots, t.set.slow_gap_ms);
    };
    let since_ms = list.iter().find(|s| s.id == *failed).map(|s| s.started_ms);
    let later = list
        .iter()
        .find(|s| s.state == SnapshotState::Completed && since_ms.is_some_and(|since_ms| s.started_ms > since_ms));
    match later {
        Some(later) => Next::Append(vec![Fact::SnapshotStoodIn { snapshot: later.id.clone() }]),
        None if t.m.finals_failed < FINALS_MAX => t.intend(snapshot),
        None => Turn::stuck(Reason::SnapshotFailed, "no final snapshot was ever completed"),
    }
}

fn soak(t: &Turn<'_>) -> Option<Next> {
    let until = t.m.opened_at?.plus(t.set.soak_ms);
    (t.now < until).then_some(Next::Wait(until))
}

/// Ends an instance that this migration no longer needs, once two reads show no data volume on it (H16). One that
/// has ended by itself is condemned too, so that its row says so.
fn end_empty(t: &Turn<'_>, group: &GroupName, instance: &InstanceId) -> Option<Next> {
    if t.m.terminated.contains(instance) {
        return None;
    }
    let what = Observe::Instance { instance: instance.clone() };
    let empty = t.seen(&what).is_some_and(|streak| {
        matches!(&streak.seen, Seen::Instance(seen) if seen.data_volumes == 0 && !seen.terminated)
            && streak.holds(2, t.set.zero_gap_ms)
    });
    if empty || watch::is_gone(t, instance) || mutant::on(Mutant::EndWithoutLooking) {
        return Some(end_instance(t, group, instance));
    }
    Some(look(t, what, &format!("{instance} still holds a volume")))
}

/// Asks, until the answer has stayed the same for so long that only a human changes it.
fn look(t: &Turn<'_>, what: Observe, otherwise: &str) -> Next {
    if t.seen(&what).is_some_and(|streak| streak.holds(2, t.set.undo_step_ms)) {
        return Turn::stuck(Reason::StepTimeout, otherwise);
    }
    t.ask(what, t.set.slow_gap_ms)
}

/// Targets that were launched here and are not where the graph serves. Reserved ones go back to the pool with the
/// last append; condemned ones are ended, wherever they came from.
fn leftovers(t: &Turn<'_>) -> Option<Next> {
    let spec = t.spec()?;
    let serving = match &t.m.place {
        Place::At { instance, .. } => Some(instance),
        Place::Free => None,
    };
    let unreserved = t.m.launched.iter().map(|instance| (&spec.target_group, instance));
    let homeless = t.m.home_launched.iter().map(|instance| (&spec.source.group, instance));
    let owed = |p: &&Party| p.launched || t.m.condemned.contains(&p.instance);
    let parties = t.m.dropped.iter().map(|(p, _)| p).chain(t.target()).chain(&t.m.home);
    let parties = parties.filter(owed).map(|p| (&p.group, &p.instance));
    unreserved
        .chain(homeless)
        .chain(parties)
        .filter(|(_, instance)| Some(*instance) != serving || mutant::on(Mutant::EndWithoutLooking))
        .find_map(|(group, instance)| end_empty(t, group, instance))
}

/// The source ends, unless its group is at its smallest size: then it is cleaned and goes back to the pool (H35).
fn retire_source(t: &Turn<'_>, source: &Party) -> Option<Next> {
    if t.m.source_kept || t.m.terminated.contains(&source.instance) {
        return None;
    }
    if t.m.condemned.contains(&source.instance) {
        return end_empty(t, &source.group, &source.instance);
    }
    let what = Observe::Group { group: source.group.clone() };
    match t.seen(&what).map(|s| &s.seen) {
        Some(Seen::Group(GroupSeen { desired, min, .. })) if desired > min => {
            end_empty(t, &source.group, &source.instance)
        }
        Some(Seen::Group(_)) if watch::is_gone(t, &source.instance) => end_empty(t, &source.group, &source.instance),
        Some(Seen::Group(_)) => Some(keep_source(t, source)),
        _ => Some(t.ask(what, t.set.slow_gap_ms)),
    }
}

/// Back to the pool, once two reads show it running with no data volume: no row says more than was observed.
fn keep_source(t: &Turn<'_>, source: &Party) -> Next {
    let what = Observe::Instance { instance: source.instance.clone() };
    let idle = t.seen(&what).is_some_and(|streak| {
        matches!(&streak.seen, Seen::Instance(seen) if seen.running && seen.in_service && seen.data_volumes == 0)
            && streak.holds(2, t.set.zero_gap_ms)
    });
    if idle {
        return Next::Append(vec![Fact::SourceKept]);
    }
    look(t, what, &format!("{} does not become idle", source.instance))
}

/// A driver that was replaced may have called once more for a snapshot that its successor had made, too late for the
/// successor to find it: it has our tag, and nobody else knows of it. Looked for behind everything else, when whoever
/// was paused has long been found out.
fn delete_strays(t: &Turn<'_>, purposes: &[Purpose]) -> Option<Next> {
    purposes.iter().find_map(|purpose| {
        let what = Observe::Snapshots { purpose: *purpose };
        let Some(Seen::Snapshots(list)) = t.seen(&what).filter(|s| s.last_at >= t.m.moved_at).map(|s| &s.seen) else {
            return Some(t.ask(what, t.set.slow_gap_ms));
        };
        let stray = list.iter().find(|s| t.m.last.as_ref() != Some(&s.id) && !t.m.deleted.contains(&s.id))?;
        Some(t.intend(Effect::DeleteSnapshot { snapshot: stray.id.clone() }))
    })
}

fn delete_safety(t: &Turn<'_>) -> Option<Next> {
    let safety = t.m.safety.as_ref()?;
    (!t.m.deleted.contains(safety)).then(|| t.intend(Effect::DeleteSnapshot { snapshot: safety.clone() }))
}
