//! Attaching and detaching. Where a volume is, is what EC2's list of its attachments says in agreeing reads (rules
//! 12, 13); what a call answered only says when to look.

use super::{all_answered, call, done, earlier, look_or_give_up, never_sent, open_ms, ours, overdue, refused};
use crate::effect::{Attachment, AttachmentState, Done, Observe, Seen, Trouble};
use crate::machine::{Next, Turn};
use crate::state::Open;
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::InstanceId;

/// What EC2 shows of the volume, sorted by what it means for an effect on one instance and device.
enum Where<'a> {
    NotSeen,
    Free,
    Here(&'a Attachment),
    /// On the same instance under another name: a late call of an earlier intent of ours.
    HereAs,
    Elsewhere(&'a Attachment),
    Twice,
    Gone,
}

fn whereabouts<'a>(t: &Turn<'a>, instance: &InstanceId, device: &str) -> Where<'a> {
    match t.seen(&Observe::Volume).map(|s| &s.seen) {
        Some(Seen::Volume(Some(list))) => match list.as_slice() {
            [] => Where::Free,
            [one] if one.instance == *instance && one.device == device => Where::Here(one),
            [one] if one.instance == *instance => Where::HereAs,
            [one] => Where::Elsewhere(one),
            _ => Where::Twice,
        },
        Some(Seen::Volume(None)) => Where::Gone,
        _ => Where::NotSeen,
    }
}

fn reads(t: &Turn<'_>, reads: u32, span_ms: i64) -> bool {
    t.seen(&Observe::Volume).is_some_and(|s| s.holds(reads, span_ms))
}

/// Two reads that agree.
fn agreed(t: &Turn<'_>) -> bool {
    reads(t, 2, t.set.free_gap_ms)
}

/// Things that no effect of ours leads to. Nothing is undone or repeated on such a read: a human looks.
fn foreign(t: &Turn<'_>, place: &Where<'_>) -> Option<Next> {
    match place {
        Where::Twice if agreed(t) => {
            Some(Turn::stuck(Reason::ForeignHolder, "the volume has more than one attachment"))
        }
        // NotFound is a fact only after three reads (rule 14).
        Where::Gone if reads(t, 3, 2 * t.set.absent_gap_ms) => {
            Some(Turn::stuck(Reason::VolumeNotFound, "EC2 does not know the volume any more"))
        }
        Where::Elsewhere(other) if agreed(t) && !ours(t, &other.instance) => {
            Some(Turn::stuck(Reason::ForeignHolder, format!("the volume is attached to {}", other.instance)))
        }
        _ => None,
    }
}

/// DetachVolume: sent, then read until two agreeing reads show that the attachment is gone; repeated seldom (rules
/// 21-23). The call names instance and device, so a repetition cannot hit anything else (F1).
pub(super) fn detach(t: &Turn<'_>, open: &Open, instance: &InstanceId, device: &str) -> Next {
    if never_sent(t) {
        return call(open);
    }
    let place = whereabouts(t, instance, device);
    if let Some(stuck) = foreign(t, &place) {
        return stuck;
    }
    match place {
        // Gone from there, even if a late call of ours has put it elsewhere: whoever needs it free finds that (F3).
        Where::Free | Where::HereAs | Where::Elsewhere(_) if agreed(t) => return done(open, Done::Accepted),
        Where::Here(here) => {
            let attached = matches!(here.state, AttachmentState::Attached | AttachmentState::Attaching);
            let refusal = match &t.s.calls.answer {
                Some(Err(trouble @ (Trouble::Denied | Trouble::Permanent | Trouble::Unsupported))) => Some(*trouble),
                _ => None,
            };
            // Refused, and no call of ours can be under way: nothing will happen.
            if let (true, true, Some(trouble)) = (attached && agreed(t), all_answered(t), refusal) {
                return refused(open, trouble);
            }
            if again_is_due(t, attached) && overdue(t, open).is_none() {
                return call(open);
            }
        }
        _ => {}
    }
    look_or_give_up(t, open, Observe::Volume, t.set.free_gap_ms)
}

fn again_is_due(t: &Turn<'_>, attached: bool) -> bool {
    let after = |gap_ms: i64| t.s.calls.last_at.is_none_or(|at| t.now.since(at) >= gap_ms);
    match (attached, &t.s.calls.answer) {
        // Another driver's intent, and two reads say that it is still there: its call may never have left.
        (true, None) => agreed(t),
        (true, Some(Err(_))) => after(t.set.retry_ms),
        // Accepted and still `attached`: reads lag by up to 4 s.
        (true, Some(Ok(_))) => after(t.set.absent_gap_ms),
        // `busy` or `detaching`: the call was taken, and asking again seldom helps.
        (false, None) => reads(t, 2, t.set.detach_again_ms),
        (false, Some(_)) => after(t.set.detach_again_ms),
    }
}

/// AttachVolume: established by the agent that sees the serial and one read of EC2 (N2); refused for good by code,
/// or by falling back to no attachment (a key that cannot be used shows itself only so).
pub(super) fn attach(t: &Turn<'_>, open: &Open, instance: &InstanceId, device: &str) -> Next {
    if never_sent(t) {
        return call(open);
    }
    let refusal = match &t.s.calls.answer {
        Some(Err(trouble)) if refuses_attach(*trouble) => Some(*trouble),
        _ => None,
    };
    if let (Some(trouble), true) = (refusal, all_answered(t)) {
        return refused(open, trouble);
    }
    let place = whereabouts(t, instance, device);
    if let Some(stuck) = foreign(t, &place) {
        return stuck;
    }
    match place {
        Where::Here(here) if here.state == AttachmentState::Attached => return arriving(t, open, instance),
        // On its way for too long (rule 25): it is there, and not usable. Whoever needs it free takes it away.
        Where::Here(here) if here.state == AttachmentState::Attaching && reads(t, 2, t.set.attach_stuck_ms) => {
            return refused(open, Trouble::InUse);
        }
        Where::HereAs | Where::Elsewhere(_) if agreed(t) => return refused(open, Trouble::InUse),
        Where::Free if agreed(t) => {
            if let Some(next) = still_free(t, open, instance, refusal) {
                return next;
            }
        }
        _ => {}
    }
    look_or_give_up(t, open, Observe::Volume, t.set.free_gap_ms)
}

/// Codes that say no for good, if no earlier call can have been accepted.
fn refuses_attach(trouble: Trouble) -> bool {
    match trouble {
        Trouble::Zone
        | Trouble::DeviceTaken
        | Trouble::SlotsFull
        | Trouble::Denied
        | Trouble::Permanent
        | Trouble::Unsupported => true,
        Trouble::Unknown
        | Trouble::Unlisted
        | Trouble::Throttled
        | Trouble::InProgress
        | Trouble::IncorrectState
        | Trouble::NotFound
        | Trouble::InUse
        | Trouble::NoCapacity
        | Trouble::SnapshotLimit
        | Trouble::Fenced => false,
    }
}

/// EC2 says `attached`; the agent that sees the serial is the second witness.
fn arriving(t: &Turn<'_>, open: &Open, instance: &InstanceId) -> Next {
    let agent = Observe::AgentVolume { instance: instance.clone() };
    let sees = matches!(t.seen(&agent).map(|s| &s.seen), Some(Seen::AgentVolume(v)) if v.sees_volume);
    // A silent agent cannot say so; EC2's word, twice a second apart, is enough to know where the volume is. That
    // the agent is silent, or blind, is then the next step's trouble.
    let mute = t.silent_ms(&agent).is_some_and(|ms| ms >= 2 * t.set.zero_gap_ms) && reads(t, 2, t.set.zero_gap_ms);
    if sees || mute || reads(t, 2, t.set.attach_stuck_ms) {
        return done(open, Done::Accepted);
    }
    earlier(look_or_give_up(t, open, agent, t.set.agent_gap_ms), t.ask(Observe::Volume, t.set.zero_gap_ms))
}

/// Nothing is attached: refused for good, or to be called (again).
fn still_free(t: &Turn<'_>, open: &Open, instance: &InstanceId, refusal: Option<Trouble>) -> Option<Next> {
    if watch::is_gone(t, instance) {
        return Some(refused(open, Trouble::NotFound));
    }
    let settled = reads(t, t.set.absent_reads, 2 * t.set.absent_gap_ms);
    let long = open_ms(t, open) >= t.set.attach_stuck_ms;
    match (&t.s.calls.answer, refusal) {
        // Another driver's intent: its call may never have left.
        (None, _) => Some(overdue(t, open).unwrap_or_else(|| call(open))),
        // Accepted, and fallen back.
        (Some(Ok(_)), _) => settled.then(|| refused(open, Trouble::Permanent)),
        (Some(Err(_)), Some(trouble)) => settled.then(|| refused(open, trouble)),
        // The instance or the volume is not in the state for it and does not come there; a call that lands late all
        // the same is found by whoever needs the volume (F3).
        (Some(Err(trouble @ (Trouble::IncorrectState | Trouble::NotFound | Trouble::InUse))), None) if long => {
            Some(refused(open, *trouble))
        }
        (Some(Err(_)), None) => {
            let due = t.s.calls.last_at.is_none_or(|at| t.now.since(at) >= t.set.retry_ms);
            due.then(|| overdue(t, open).unwrap_or_else(|| call(open)))
        }
    }
}
