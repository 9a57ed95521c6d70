//! Launching an instance, protecting one, and ending one.

use super::{call, call_after, done, earlier, look_or_give_up, never_sent, overdue, plain, refused};
use crate::effect::{Done, Effect, InstanceSeen, Observe, Seen, Trouble};
use crate::machine::{Next, Turn};
use crate::scratch::Streak;
use crate::state::{Open, Place};
use crate::watch;
use tiershift_core::ids::InstanceId;

/// How long an instance may be seen alive after a call that may have been lost, before the call is repeated: the
/// group needs up to a minute to show that it ends one.
const ALIVE_MS: i64 = 60_000;

/// LaunchInstances takes our token: the same call again is the same instance (rule 32).
pub(super) fn launch(t: &Turn<'_>, open: &Open) -> Next {
    match &t.s.calls.answer {
        None => call(open),
        Some(Ok(Done::Launched(ids))) if !ids.is_empty() => done(open, Done::Launched(ids.clone())),
        Some(Err(
            trouble @ (Trouble::NoCapacity | Trouble::Denied | Trouble::Permanent | Trouble::NotFound | Trouble::Zone),
        )) => refused(open, *trouble),
        Some(_) => overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms)),
    }
}

/// Protects an instance from scale-in. One that has ended is in no group any more, which reads like not yet being in
/// service: only its end, seen in EC2, says that there is nothing left to protect, also on the way back (H34).
pub(super) fn protect(t: &Turn<'_>, open: &Open, instance: &InstanceId) -> Next {
    match &t.s.calls.answer {
        None | Some(Ok(_)) => plain(t, open),
        Some(Err(_)) if watch::is_gone(t, instance) => refused(open, Trouble::NotFound),
        Some(Err(_)) => {
            let look = t.ask(Observe::Instance { instance: instance.clone() }, t.set.slow_gap_ms);
            earlier(plain(t, open), look)
        }
    }
}

/// Ends an instance; established when EC2 shows it terminated and our volume is not on it (invariant 15). The call
/// has no token and lowers desired each time that it is accepted, so it is not repeated while the instance may be
/// on its way out.
pub(super) fn terminate(t: &Turn<'_>, open: &Open, instance: &InstanceId) -> Next {
    if never_sent(t) {
        return call(open);
    }
    let what = Observe::Instance { instance: instance.clone() };
    if let Some(streak) = t.seen(&what)
        && let Seen::Instance(seen) = &streak.seen
    {
        if seen.terminated {
            return ended(t, open, instance, streak);
        }
        if let Some(next) = alive(t, open, seen, streak) {
            return next;
        }
    }
    look_or_give_up(t, open, what, t.set.zero_gap_ms)
}

fn ended(t: &Turn<'_>, open: &Open, instance: &InstanceId, streak: &Streak) -> Next {
    // Our call was taken, so what reads like gone is gone; else it may only not be visible yet (rule 14).
    let accepted = matches!(t.s.calls.answer, Some(Ok(_)));
    if !(watch::is_gone(t, instance) || (accepted && streak.holds(2, t.set.zero_gap_ms))) {
        return look_or_give_up(t, open, Observe::Instance { instance: instance.clone() }, t.set.zero_gap_ms);
    }
    let held = matches!(&t.m.place, Place::At { instance: at, .. } if at == instance);
    let free = t.seen(&Observe::Volume).is_some_and(|s| {
        matches!(&s.seen, Seen::Volume(Some(list)) if list.iter().all(|a| a.instance != *instance))
            && s.holds(2, t.set.free_gap_ms)
    });
    if held && !free {
        return look_or_give_up(t, open, Observe::Volume, t.set.free_gap_ms);
    }
    done(open, Done::Accepted)
}

/// Whether the call is to lower the group's desired size too.
fn lowers(open: &Open) -> bool {
    matches!(open.effect, Effect::Terminate { decrement: true, .. })
}

/// Still there: refused for good, or to be called (again).
fn alive(t: &Turn<'_>, open: &Open, seen: &InstanceSeen, streak: &Streak) -> Option<Next> {
    let agreed = streak.holds(2, t.set.zero_gap_ms);
    let stays = agreed && seen.running && (seen.in_service || streak.holds(2, ALIVE_MS));
    let again = |gap_ms| stays.then(|| overdue(t, open).unwrap_or_else(|| call_after(t, open, gap_ms)));
    match &t.s.calls.answer {
        Some(Err(trouble @ (Trouble::Denied | Trouble::Permanent | Trouble::Unsupported))) => {
            agreed.then(|| refused(open, *trouble))
        }
        None | Some(Err(Trouble::Unknown | Trouble::Throttled | Trouble::InProgress)) => again(t.set.retry_ms),
        // In service, so in its group: which is at its smallest size.
        Some(Err(Trouble::IncorrectState)) if lowers(open) => {
            (agreed && seen.in_service).then(|| refused(open, Trouble::IncorrectState))
        }
        Some(Err(_)) => again(t.set.detach_again_ms),
        Some(Ok(_)) => None,
    }
}
