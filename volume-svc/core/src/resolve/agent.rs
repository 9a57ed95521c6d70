//! Commands to the agent of an instance. All are idempotent and fenced, so they are sent again until they are taken;
//! what they lead to is read from the agent's own record.
//!
//! A target whose agent is silent is given up: it will be condemned, and its end settles what its agent did not say
//! (H33). A source is not: the way back leads to it, so only its end, seen in EC2, gives a command up (H34).

use super::{call, call_after, conclude, done, look_or_give_up, open_ms, overdue, refused};
use crate::effect::{AgentState, Done, Observe, Seen, Trouble};
use crate::fact::Outcome;
use crate::machine::{Next, Turn};
use crate::scratch::Streak;
use crate::stage::Stage;
use crate::state::Open;
use crate::watch;
use tiershift_core::ids::InstanceId;
use tiershift_core::mutant::{self, Mutant};

/// Drain and resume: the answer is the outcome.
pub(super) fn at_once(t: &Turn<'_>, open: &Open, instance: &InstanceId) -> Next {
    match &t.s.calls.answer {
        None => call(open),
        Some(Ok(answer)) => done(open, answer.clone()),
        Some(Err(trouble)) if for_good(*trouble) => refused(open, *trouble),
        Some(Err(_)) => again(t, open, instance),
    }
}

/// Release and adopt answer 202 and are read from the agent's own record until they are there.
pub(super) fn until(t: &Turn<'_>, open: &Open, instance: &InstanceId, want: AgentState) -> Next {
    // A target that cannot mount in time is given up for another: released, which its agent does one after the other,
    // so that nothing is undone that is still to come.
    let hopeless = want == AgentState::Adopted && !t.m.is_source(instance) && open_ms(t, open) >= t.set.adopt_ms;
    let what = Observe::AgentVolume { instance: instance.clone() };
    if mutant::on(Mutant::ForgetUnmount) && want == AgentState::Released {
        return done(open, Done::Released { fs_uuid: None });
    }
    match &t.s.calls.answer {
        None => return call(open),
        Some(Ok(_)) => {}
        Some(Err(trouble)) if for_good(*trouble) => return refused(open, *trouble),
        Some(Err(_)) if hopeless && t.seen(&what).is_some_and(answered) => return refused(open, Trouble::Permanent),
        Some(Err(_)) => return again(t, open, instance),
    }
    if let Some(streak) = t.seen(&what)
        && let Seen::AgentVolume(volume) = &streak.seen
    {
        match volume.state {
            AgentState::Released if want == AgentState::Released && !volume.mounted => {
                return done(open, Done::Released { fs_uuid: volume.fs_uuid.clone() });
            }
            // `drained`, after a restart of the agent or where it had not released: open, and its door shut as well.
            AgentState::Adopted | AgentState::Drained if want == AgentState::Adopted && volume.mounted => {
                return done(open, Done::Accepted);
            }
            // The source may have been let go on meanwhile; a target's door is not opened before the commit.
            AgentState::Serving if want == AgentState::Adopted && volume.mounted && t.m.is_source(instance) => {
                return done(open, Done::Accepted);
            }
            AgentState::Failed => return refused(open, Trouble::Permanent),
            _ if hopeless => return refused(open, Trouble::Permanent),
            AgentState::Releasing | AgentState::Adopting | AgentState::Other => {}
            // It has restarted and forgotten what it was told: told again.
            AgentState::Idle
            | AgentState::Serving
            | AgentState::Drained
            | AgentState::Released
            | AgentState::Adopted => {
                if streak.holds(2, t.set.slow_gap_ms) {
                    return overdue(t, open).unwrap_or_else(|| call(open));
                }
            }
        }
    }
    if let Some(silent_ms) = t.silent_ms(&what)
        && let Some(next) = give_up(t, open, instance, silent_ms)
    {
        return next;
    }
    look_or_give_up(t, open, what, t.set.agent_gap_ms)
}

fn for_good(trouble: Trouble) -> bool {
    match trouble {
        // Fenced: somebody drives with a higher fence, and then our next append is refused; or the address is
        // another instance's by now, and then the deadline ends it.
        Trouble::Unknown
        | Trouble::Unlisted
        | Trouble::Throttled
        | Trouble::InProgress
        | Trouble::Fenced
        | Trouble::IncorrectState
        | Trouble::NotFound => false,
        Trouble::InUse
        | Trouble::Zone
        | Trouble::DeviceTaken
        | Trouble::SlotsFull
        | Trouble::NoCapacity
        | Trouble::SnapshotLimit
        | Trouble::Unsupported
        | Trouble::Denied
        | Trouble::Permanent => true,
    }
}

fn answered(streak: &Streak) -> bool {
    streak.seen != Seen::Nothing(Trouble::Unknown)
}

/// Sends it again, and asks between two calls whether the agent is there at all: one that answers is not silent,
/// whatever becomes of the command.
fn again(t: &Turn<'_>, open: &Open, instance: &InstanceId) -> Next {
    let silent_ms = t.s.calls.unanswered_since.map_or(0, |since| t.now.since(since));
    let what = Observe::AgentVolume { instance: instance.clone() };
    if t.s.calls.unanswered_since.is_some() && t.seen(&what).is_none() {
        return t.ask(what, t.set.agent_gap_ms);
    }
    give_up(t, open, instance, silent_ms)
        .or_else(|| overdue(t, open))
        .unwrap_or_else(|| call_after(t, open, t.set.retry_ms))
}

/// Ends the wait for an agent that does not answer.
fn give_up(t: &Turn<'_>, open: &Open, instance: &InstanceId, silent_ms: i64) -> Option<Next> {
    let gone = watch::is_gone(t, instance);
    if t.m.is_source(instance) {
        return gone.then(|| conclude(open, Outcome::Abandoned));
    }
    // Behind the commit its door may be open, and it may be serving although we do not hear it: then only its end
    // gives it up.
    let silent = silent_ms >= t.set.agent_silent_ms && t.m.stage < Stage::Open;
    (gone || silent).then(|| conclude(open, Outcome::Abandoned))
}
