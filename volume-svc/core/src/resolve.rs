//! The life of one effect: from its journalled intent to an established outcome.
//!
//! An answer of the call is a hint; an attachment, a mount or an end is established by reading. An unknown
//! outcome is never guessed: the effect is observed and, where it must be, completed by repeating it, also on the
//! way back (H12). What an outcome means for the migration is decided in `stages/` and `undo.rs`.

use crate::effect::{
    AgentState, Attachment, AttachmentState, Command, Done, Effect, Observe, Purpose, Seen, SnapshotState, Trouble,
};
use crate::fact::{Fact, Outcome};
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use crate::state::Open;
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use tiershift_core::ids::{GroupName, InstanceId};

/// What to do about the open intent.
pub(crate) fn next(t: &Turn<'_>, open: &Open) -> Next {
    match &open.effect {
        Effect::Snapshot { purpose } => snapshot(t, open, *purpose),
        Effect::Detach { instance, .. } => detach(t, open, instance),
        Effect::Attach { instance, device } => attach(t, open, instance, device),
        Effect::Launch { .. } => launch(t, open),
        Effect::Terminate { group, instance } => terminate(t, open, group, instance),
        Effect::Release { instance } => agent_until(t, open, instance, AgentState::Released),
        Effect::Adopt { instance } => agent_until(t, open, instance, AgentState::Adopted),
        Effect::Drain { .. }
        | Effect::Resume { .. }
        | Effect::Protect { .. }
        | Effect::KeepOnTermination { .. }
        | Effect::TagVolume { .. }
        | Effect::DeleteSnapshot { .. } => plain(t, open),
    }
}

/// The effect's outcome is established.
fn conclude(open: &Open, outcome: Outcome) -> Next {
    Next::Append(vec![Fact::Outcome { n: open.n, outcome }])
}

fn done(open: &Open, done: Done) -> Next {
    conclude(open, Outcome::Done(done))
}

/// Sends the call.
fn call(open: &Open) -> Next {
    Next::Run(Command::Effect { n: open.n, effect: open.effect.clone(), token: open.token.clone() })
}

/// Sends it again, but not before `gap_ms` after the last answer.
fn call_after(t: &Turn<'_>, open: &Open, gap_ms: i64) -> Next {
    match t.s.calls.last_at.map(|at| at.plus(gap_ms)) {
        Some(ready) if t.now < ready => Next::Wait(ready),
        _ => call(open),
    }
}

/// Whether this is the first thing that this process does about the intent, and no other process can have a call
/// of it under way.
fn never_sent(t: &Turn<'_>) -> bool {
    t.s.calls.fresh && t.s.calls.made == 0
}

/// The step's own deadline. On the way forward it turns back (the intent stays open and is completed there);
/// on the way back and in Settle a human is called.
fn overdue(t: &Turn<'_>, open: &Open) -> Option<Next> {
    let limit_ms = match (t.m.direction, &open.effect) {
        (Direction::Forward, _) if t.m.committed_at.is_some() => t.set.undo_step_ms,
        (Direction::Undo | Direction::Settle, _) => t.set.undo_step_ms,
        (Direction::Forward, Effect::Snapshot { purpose: Purpose::Safety }) => t.set.safety_snapshot_ms,
        (Direction::Forward, Effect::Snapshot { purpose: Purpose::Final }) => t.set.release_ms,
        (Direction::Forward, Effect::Launch { .. } | Effect::Protect { .. } | Effect::Terminate { .. }) => {
            t.set.capacity_ms
        }
        (Direction::Forward, Effect::Drain { .. } | Effect::Resume { .. }) => t.set.drain_ms,
        (Direction::Forward, Effect::Release { .. }) => t.set.release_ms,
        (Direction::Forward, Effect::Adopt { .. }) => t.set.adopt_ms,
        (Direction::Forward, Effect::Detach { .. }) => t.set.detach_ms,
        (Direction::Forward, _) => t.set.attach_ms,
    };
    // From the later of the intent and the last turn: a resumed migration gets a fresh deadline.
    let since = open.at.max(t.m.moved_at);
    if t.now.since(since) < limit_ms {
        return None;
    }
    let reason = reason_of(&open.effect);
    let what = format!("{} did not end within {} s", open.effect.name(), limit_ms / 1_000);
    Some(if t.m.direction == Direction::Forward && t.m.committed_at.is_none() {
        Turn::turn_back(reason, what)
    } else {
        Turn::stuck(reason, what)
    })
}

/// Why a migration fails when this effect does.
pub(crate) fn reason_of(effect: &Effect) -> Reason {
    match effect {
        Effect::Snapshot { .. } => Reason::SnapshotFailed,
        Effect::Launch { .. } => Reason::NoCapacity,
        Effect::Drain { .. } => Reason::DrainTimeout,
        Effect::Release { .. } => Reason::ReleaseFailed,
        Effect::Detach { .. } => Reason::DetachFailed,
        Effect::Attach { .. } => Reason::AttachFailed,
        Effect::Adopt { .. } => Reason::AdoptFailed,
        _ => Reason::StepTimeout,
    }
}

/// Calls that are idempotent and whose answer is their outcome.
fn plain(t: &Turn<'_>, open: &Open) -> Next {
    match &t.s.calls.answer {
        None => call(open),
        Some(Ok(done_)) => done(open, done_.clone()),
        Some(Err(trouble)) => match trouble {
            Trouble::Unknown | Trouble::Throttled | Trouble::InProgress | Trouble::Fenced | Trouble::IncorrectState => {
                overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms))
            }
            // A snapshot that is gone is deleted.
            Trouble::NotFound if matches!(open.effect, Effect::DeleteSnapshot { .. }) => done(open, Done::Accepted),
            other => conclude(open, Outcome::Refused(*other)),
        },
    }
}

/// CreateSnapshot has no token: what exists is found by the tag that was set in the same call, and the oldest is
/// adopted (rule 18). Absence is believed only after several reads, and then the call is sent again; a snapshot
/// that appears later all the same is garbage by its tag.
fn snapshot(t: &Turn<'_>, open: &Open, purpose: Purpose) -> Next {
    if never_sent(t) {
        return call(open);
    }
    match &t.s.calls.answer {
        Some(Ok(Done::Snapshot(id))) => return done(open, Done::Snapshot(id.clone())),
        Some(Err(Trouble::Throttled)) => {
            return overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms));
        }
        // Pending snapshots complete by themselves; until then nothing was begun.
        Some(Err(Trouble::SnapshotLimit)) => {
            return overdue(t, open).unwrap_or_else(|| call_after(t, open, 60 * t.set.retry_ms));
        }
        Some(Err(Trouble::Unknown) | Ok(_)) | None => {}
        Some(Err(trouble)) => return conclude(open, Outcome::Refused(*trouble)),
    }
    let what = Observe::Snapshots { purpose };
    if let Some(streak) = t.seen(&what)
        && let Seen::Snapshots(list) = &streak.seen
    {
        let alive =
            list.iter().filter(|s| s.state != SnapshotState::Error).min_by_key(|s| (s.started_ms, s.id.clone()));
        if let Some(found) = alive {
            return done(open, Done::Snapshot(found.id.clone()));
        }
        let span = t.set.absent_gap_ms * i64::from(t.set.absent_reads.saturating_sub(1));
        if streak.holds(t.set.absent_reads, span) {
            if t.m.direction == Direction::Undo {
                return conclude(open, Outcome::Abandoned);
            }
            return overdue(t, open).unwrap_or_else(|| call(open));
        }
    }
    overdue(t, open).unwrap_or_else(|| t.ask(what, t.set.absent_gap_ms))
}

/// What EC2 shows of the volume, sorted by what it means for an effect on `instance`.
enum Where<'a> {
    NotSeen,
    Free,
    Here(&'a Attachment),
    Elsewhere(&'a Attachment),
    Twice,
    Gone,
}

fn whereabouts<'a>(t: &Turn<'a>, instance: &InstanceId) -> Where<'a> {
    match t.seen(&Observe::Volume).map(|s| &s.seen) {
        Some(Seen::Volume(Some(list))) => match list.as_slice() {
            [] => Where::Free,
            [one] if one.instance == *instance => Where::Here(one),
            [one] => Where::Elsewhere(one),
            _ => Where::Twice,
        },
        Some(Seen::Volume(None)) => Where::Gone,
        _ => Where::NotSeen,
    }
}

fn volume_reads(t: &Turn<'_>, reads: u32, span_ms: i64) -> bool {
    t.seen(&Observe::Volume).is_some_and(|s| s.holds(reads, span_ms))
}

/// Things that no effect of ours leads to. Nothing is undone or repeated on such a read: a human looks.
fn foreign(t: &Turn<'_>, place: &Where<'_>) -> Option<Next> {
    match place {
        Where::Twice if volume_reads(t, 2, t.set.free_gap_ms) => {
            Some(Turn::stuck(Reason::ForeignHolder, "the volume has more than one attachment"))
        }
        // NotFound is a fact only after three reads (rule 14).
        Where::Gone if volume_reads(t, 3, 2 * t.set.absent_gap_ms) => {
            Some(Turn::stuck(Reason::VolumeNotFound, "EC2 does not know the volume any more"))
        }
        _ => None,
    }
}

/// DetachVolume: sent, then read until two agreeing reads show no attachment; repeated seldom (rules 21-23).
fn detach(t: &Turn<'_>, open: &Open, instance: &InstanceId) -> Next {
    if never_sent(t) {
        return call(open);
    }
    let place = whereabouts(t, instance);
    if let Some(stuck) = foreign(t, &place) {
        return stuck;
    }
    match place {
        Where::Free if volume_reads(t, 2, t.set.free_gap_ms) => return done(open, Done::Accepted),
        Where::Elsewhere(other) if volume_reads(t, 2, t.set.free_gap_ms) => {
            return Turn::stuck(Reason::ForeignHolder, format!("the volume is attached to {}", other.instance));
        }
        Where::Here(here) => {
            let again_ms = match (here.state, &t.s.calls.answer) {
                // Not sent by this process yet, and two reads say that it is still there: the intent's call may
                // never have left. The call names the device, so a second one cannot hit anything else (F1).
                (AttachmentState::Attached | AttachmentState::Attaching, None)
                    if volume_reads(t, 2, t.set.free_gap_ms) =>
                {
                    0
                }
                (_, None) => i64::MAX,
                (AttachmentState::Attached | AttachmentState::Attaching, Some(Err(_))) => t.set.retry_ms,
                // Accepted and still `attached`: reads lag by up to 4 s.
                (AttachmentState::Attached | AttachmentState::Attaching, Some(Ok(_))) => t.set.absent_gap_ms,
                _ => t.set.detach_again_ms,
            };
            let due = t.s.calls.last_at.is_none_or(|at| t.now.since(at) >= again_ms);
            if again_ms < i64::MAX && due && overdue(t, open).is_none() {
                return call(open);
            }
        }
        _ => {}
    }
    overdue(t, open).unwrap_or_else(|| t.ask(Observe::Volume, t.set.free_gap_ms))
}

/// AttachVolume: established by the agent that sees the serial and one read of EC2 (N2); refused for good by code,
/// or by falling back to no attachment (a key that cannot be used shows itself only so).
fn attach(t: &Turn<'_>, open: &Open, instance: &InstanceId, device: &str) -> Next {
    if never_sent(t) {
        return call(open);
    }
    if let Some(Err(
        trouble @ (Trouble::Zone | Trouble::DeviceTaken | Trouble::SlotsFull | Trouble::Denied | Trouble::Permanent),
    )) = &t.s.calls.answer
    {
        return conclude(open, Outcome::Refused(*trouble));
    }
    let place = whereabouts(t, instance);
    if let Some(stuck) = foreign(t, &place) {
        return stuck;
    }
    let agent = Observe::AgentVolume { instance: instance.clone() };
    match place {
        Where::Here(here) if here.device == device && here.state == AttachmentState::Attached => {
            let sees = matches!(t.seen(&agent).map(|s| &s.seen), Some(Seen::AgentVolume(v)) if v.sees_volume);
            // A silent agent cannot say so; EC2's word, twice a second apart, is enough to know where the volume
            // is. That the agent is silent is then the next step's trouble.
            let mute = t.silent_ms(&agent).is_some_and(|ms| ms >= 2 * t.set.zero_gap_ms);
            if sees || (mute && volume_reads(t, 2, t.set.zero_gap_ms)) {
                return done(open, Done::Accepted);
            }
            let first = t.ask(agent, t.set.agent_gap_ms);
            return earlier(overdue(t, open).unwrap_or(first), t.ask(Observe::Volume, t.set.zero_gap_ms));
        }
        // Stuck on its way, or there under another name by a call of ours: it is an attachment all the same, and
        // whoever needs it gone detaches it (rule 25).
        Where::Here(here)
            if here.device == device
                && here.state == AttachmentState::Attaching
                && volume_reads(t, 2, t.set.attach_stuck_ms) =>
        {
            return done(open, Done::Accepted);
        }
        Where::Elsewhere(other) if volume_reads(t, 2, t.set.free_gap_ms) => {
            return if ours(t, &other.instance) {
                conclude(open, Outcome::Refused(Trouble::InUse))
            } else {
                Turn::stuck(Reason::ForeignHolder, format!("the volume is attached to {}", other.instance))
            };
        }
        Where::Free => {
            let settled = volume_reads(t, t.set.absent_reads, 2 * t.set.absent_gap_ms);
            match &t.s.calls.answer {
                Some(Ok(_)) if settled => return conclude(open, Outcome::Refused(Trouble::Permanent)),
                Some(Err(_)) if t.s.calls.last_at.is_none_or(|at| t.now.since(at) >= t.set.retry_ms) => {
                    return overdue(t, open).unwrap_or_else(|| call(open));
                }
                None if volume_reads(t, 2, t.set.free_gap_ms) => return call(open),
                _ => {}
            }
        }
        _ => {}
    }
    overdue(t, open).unwrap_or_else(|| t.ask(Observe::Volume, t.set.free_gap_ms))
}

/// Whichever of two can go on sooner; something to run comes before any wait.
fn earlier(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::Wait(a), Next::Wait(b)) => Next::Wait(a.min(b)),
        (Next::Wait(_), run) => run,
        (run, _) => run,
    }
}

/// Whether an instance plays a part in this migration.
pub(crate) fn ours(t: &Turn<'_>, instance: &InstanceId) -> bool {
    t.m.is_source(instance)
        || t.target().is_some_and(|p| p.instance == *instance)
        || t.m.dropped.iter().any(|(p, _)| p.instance == *instance)
}

/// LaunchInstances takes our token: the same call again is the same instance (rule 32).
fn launch(t: &Turn<'_>, open: &Open) -> Next {
    match &t.s.calls.answer {
        None => call(open),
        Some(Ok(Done::Launched(ids))) if !ids.is_empty() => done(open, Done::Launched(ids.clone())),
        Some(Err(
            trouble @ (Trouble::NoCapacity | Trouble::Denied | Trouble::Permanent | Trouble::NotFound | Trouble::Zone),
        )) => conclude(open, Outcome::Refused(*trouble)),
        Some(_) => overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms)),
    }
}

/// Ends an instance; established when EC2 shows it terminated twice and our volume is not on it (invariant 15).
fn terminate(t: &Turn<'_>, open: &Open, _group: &GroupName, instance: &InstanceId) -> Next {
    if t.s.calls.made == 0 {
        return call(open);
    }
    match &t.s.calls.answer {
        Some(Err(Trouble::Unknown | Trouble::Throttled | Trouble::InProgress))
            if t.s.calls.last_at.is_none_or(|at| t.now.since(at) >= t.set.retry_ms)
                && !t.seen(&Observe::Instance { instance: instance.clone() }).is_some_and(|s| is_ending(&s.seen))
                && t.seen(&Observe::Instance { instance: instance.clone() }).is_some() =>
        {
            return overdue(t, open).unwrap_or_else(|| call(open));
        }
        Some(Err(trouble @ (Trouble::Denied | Trouble::Permanent))) => {
            return conclude(open, Outcome::Refused(*trouble));
        }
        _ => {}
    }
    let what = Observe::Instance { instance: instance.clone() };
    let gone = t
        .seen(&what)
        .is_some_and(|s| matches!(&s.seen, Seen::Instance(i) if i.terminated) && s.holds(2, t.set.zero_gap_ms));
    if gone {
        let holds_ours = matches!(&t.m.place, crate::state::Place::At { instance: at, .. } if at == instance);
        if !holds_ours || (matches!(whereabouts(t, instance), Where::Free) && volume_reads(t, 2, t.set.free_gap_ms)) {
            return done(open, Done::Accepted);
        }
        return overdue(t, open).unwrap_or_else(|| t.ask(Observe::Volume, t.set.zero_gap_ms));
    }
    overdue(t, open).unwrap_or_else(|| t.ask(what, t.set.zero_gap_ms))
}

fn is_ending(seen: &Seen) -> bool {
    matches!(seen, Seen::Instance(i) if i.terminated || !i.running)
}

/// Release and adopt answer 202 and are read from the agent's own record until they are there.
fn agent_until(t: &Turn<'_>, open: &Open, instance: &InstanceId, want: AgentState) -> Next {
    let what = Observe::AgentVolume { instance: instance.clone() };
    if t.s.calls.made == 0 {
        return call(open);
    }
    match &t.s.calls.answer {
        Some(Err(Trouble::Unsupported | Trouble::Denied | Trouble::Permanent)) => {
            let trouble =
                t.s.calls.answer.as_ref().and_then(|a| a.as_ref().err()).copied().unwrap_or(Trouble::Permanent);
            return conclude(open, Outcome::Refused(trouble));
        }
        Some(Err(_)) => {
            // Idempotent: sent again until it is taken. An agent that stays silent is given up below.
            let silent_ms = t.now.since(open.at.max(t.m.moved_at));
            if let Some(next) = give_up_silent(t, open, instance, silent_ms) {
                return next;
            }
            return overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms));
        }
        _ => {}
    }
    if let Some(streak) = t.seen(&what)
        && let Seen::AgentVolume(volume) = &streak.seen
    {
        let reached = match want {
            AgentState::Released => volume.state == AgentState::Released && !volume.mounted,
            _ => volume.state == want && volume.mounted,
        };
        if reached && want == AgentState::Released {
            return done(open, Done::Released { fs_uuid: volume.fs_uuid.clone() });
        }
        if reached {
            return done(open, Done::Accepted);
        }
        if volume.state == AgentState::Failed {
            return conclude(open, Outcome::Refused(Trouble::Permanent));
        }
    }
    if let Some(silent_ms) = t.silent_ms(&what)
        && let Some(next) = give_up_silent(t, open, instance, silent_ms)
    {
        return next;
    }
    overdue(t, open).unwrap_or_else(|| t.ask(what, t.set.agent_gap_ms))
}

/// A target whose agent is silent is given up: it will be condemned, and its end settles what its agent did not
/// say (H33). A source is never given up so: there is no way back without it.
fn give_up_silent(t: &Turn<'_>, open: &Open, instance: &InstanceId, silent_ms: i64) -> Option<Next> {
    let target = !t.m.is_source(instance) && t.m.stage < Stage::Open;
    (target && silent_ms >= t.set.agent_silent_ms).then(|| conclude(open, Outcome::Abandoned))
}
