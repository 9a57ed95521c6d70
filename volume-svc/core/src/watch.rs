//! Whether the instances that a migration rests on are still there (H33, H34). Looked at seldom while all goes
//! well, and as soon as something does not answer.
//!
//! That the *source* is gone is decided here for the way forward, in `undo.rs` for the way back; what a gone
//! *target* means stands in the stages.

use crate::effect::{Observe, Seen, Trouble};
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use crate::state::Host;
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use tiershift_core::ids::InstanceId;
use tiershift_core::mutant::{self, Mutant};

/// Nobody is blocked before the gate, and a replacement of a lost source takes minutes to boot: seconds are enough.
const LOOK_EVERY_MS: i64 = 15_000;

/// Not visible reads like gone: a fact only after three reads over 30 s (rule 14).
const GONE_READS: u32 = 3;
const GONE_SPAN_MS: i64 = 30_000;

/// EC2 has established that the instance has ended, or never was.
pub(crate) fn is_gone(t: &Turn<'_>, instance: &InstanceId) -> bool {
    let (reads, span_ms) = if mutant::on(Mutant::TrustOneRead) { (1, 0) } else { (GONE_READS, GONE_SPAN_MS) };
    t.seen(&Observe::Instance { instance: instance.clone() }).is_some_and(|streak| {
        matches!(&streak.seen, Seen::Instance(seen) if seen.terminated) && streak.holds(reads, span_ms)
    })
}

/// A source that is lost on the way forward. Up to the gate nothing was taken from it: the locks are freed, so that
/// its replacement can claim the volume. Until it has released the volume a human is called, because there is no
/// way back without it; behind that it is not needed.
pub(crate) fn source_lost(t: &Turn<'_>) -> Option<Next> {
    let source = &t.spec()?.source.instance;
    if t.m.direction != Direction::Forward || t.m.source_host == Host::Unmounted || !is_gone(t, source) {
        return None;
    }
    let what = format!("the source {source} has ended");
    match t.m.stage {
        stage if stage <= Stage::Gate => Some(Turn::turn_back(Reason::SourceLost, what)),
        stage if stage <= Stage::Release => Some(Turn::stuck(Reason::SourceLost, what)),
        _ => None,
    }
}

/// Uses a wait to look at the instances that matter now.
pub(crate) fn beside(t: &Turn<'_>, next: Next) -> Next {
    let Next::Wait(mut until) = next else { return next };
    for instance in watched(t) {
        match t.ask(Observe::Instance { instance: instance.clone() }, LOOK_EVERY_MS) {
            Next::Wait(at) => until = until.min(at),
            look => return look,
        }
    }
    Next::Wait(until)
}

fn watched<'a>(t: &Turn<'a>) -> impl Iterator<Item = &'a InstanceId> {
    let moving = t.m.direction != Direction::Settle;
    let forward = t.m.direction == Direction::Forward;
    let slow = amiss(t);
    let source = moving && ((forward && t.m.stage <= Stage::Gate) || (slow && t.m.source_host != Host::Unmounted));
    // On the way back an unmounted source is needed too.
    let source = source || (slow && t.m.direction == Direction::Undo);
    let target = moving && (slow || t.m.stage == Stage::Gate);
    let source = t.spec().map(|s| &s.source.instance).filter(|_| source);
    source.into_iter().chain(t.target().map(|p| &p.instance).filter(move |_| target))
}

/// The present step takes longer than any that goes well, or its calls are not taken.
fn amiss(t: &Turn<'_>) -> bool {
    let since = t.m.open.as_ref().map_or(t.m.moved_at, |open| open.at.max(t.m.moved_at));
    t.now.since(since) >= t.set.agent_silent_ms
        || matches!(
            t.s.calls.answer,
            Some(Err(Trouble::Unknown | Trouble::NotFound | Trouble::IncorrectState | Trouble::Fenced))
        )
}
