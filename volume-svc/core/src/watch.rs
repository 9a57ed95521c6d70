//! Whether the instances that a migration rests on are still there (H33, H34). Looked at seldom while all goes
//! well, and as soon as something does not answer.
//!
//! That the *source* is gone is decided here for the way forward, in `undo.rs` for the way back; what a gone
//! *target* means stands in the stages.

use crate::effect::{Observe, Seen, Trouble};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use crate::stage::Stage;
use crate::stages::gate;
use crate::state::Host;
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use tiershift_core::ids::InstanceId;
use tiershift_core::mutant::{self, Mutant};

/// Nobody is blocked before the gate, and a replacement of a lost source takes minutes to boot: seconds are enough.
const LOOK_EVERY_MS: i64 = 15_000;

/// For each permit that is to be given back first, the looks of one that waits are so much further apart: Auto Scaling
/// tells of a hundred instances a second, and ten thousand migrations may wait with two each.
const LOOK_LATER_MS: i64 = 200;

/// The longest between two looks of one that waits: both are looked at anew when there is a permit.
const LOOK_SELDOM_MS: i64 = 600_000;

/// Not visible reads like gone: a fact only after three reads over 30 s (rule 14).
const GONE_READS: u32 = 3;
const GONE_SPAN_MS: i64 = 30_000;

/// How long an instance may be shown as neither running nor ended: EC2 ends one in a minute.
const DYING_MS: i64 = 120_000;

/// EC2 has established that the instance has ended, or never was.
pub(crate) fn is_gone(t: &Turn<'_>, instance: &InstanceId) -> bool {
    let (reads, span_ms) = if mutant::on(Mutant::TrustOneRead) { (1, 0) } else { (GONE_READS, GONE_SPAN_MS) };
    t.seen(&Observe::Instance { instance: instance.clone() }).is_some_and(|streak| {
        matches!(&streak.seen, Seen::Instance(seen) if seen.terminated) && streak.holds(reads, span_ms)
    })
}

/// A source that is lost on the way forward (H34). Up to the gate nothing was taken from it: the locks are freed, so
/// that its replacement can claim the volume. Until it has released the volume, that leaves it uncleanly and goes on:
/// its writes had been stopped, or are in its log. Behind that it is not needed.
pub(crate) fn source_lost(t: &Turn<'_>) -> Option<Next> {
    let source = &t.spec()?.source.instance;
    if t.m.direction != Direction::Forward || t.m.source_host == Host::Unmounted || t.m.stage > Stage::Release {
        return None;
    }
    if !is_gone(t, source) {
        return dying(t, source);
    }
    if t.m.stage <= Stage::Gate {
        return Some(Turn::turn_back(Reason::SourceLost, format!("the source {source} has ended")));
    }
    // A command that its agent will never answer is given up first (`resolve/agent.rs`).
    let lost = vec![Fact::SourceLost { instance: source.clone() }, Fact::Entered { stage: Stage::FinalSnapshot }];
    t.m.open.is_none().then_some(Next::Append(lost))
}

/// Behind the gate a source that EC2 does not show running is waited for, whatever deadline passes: in seconds it has
/// ended, and forward is then the shortest way. One that neither ends nor runs again has the deadlines back.
fn dying(t: &Turn<'_>, source: &InstanceId) -> Option<Next> {
    let what = Observe::Instance { instance: source.clone() };
    let streak = t.seen(&what).filter(|_| t.m.stage > Stage::Gate)?;
    let down = matches!(&streak.seen, Seen::Instance(seen) if !seen.running);
    (down && streak.last_at.since(streak.first_at) < DYING_MS).then(|| t.ask(what, t.set.slow_gap_ms))
}

/// Uses a wait to look at the instances that matter now.
pub(crate) fn beside(t: &Turn<'_>, next: Next) -> Next {
    let Next::Wait(mut until) = next else { return next };
    let waits = t.m.direction == Direction::Forward && t.m.stage == Stage::Gate && t.m.gate.is_none();
    let before = gate::before(t).filter(|_| waits).unwrap_or(0);
    for instance in watched(t) {
        let what = Observe::Instance { instance: instance.clone() };
        let well = matches!(t.seen(&what).map(|s| &s.seen), Some(Seen::Instance(seen)) if seen.running);
        match t.ask(what, look_every_ms(before, well)) {
            Next::Wait(at) => until = until.min(at),
            look => return look,
        }
    }
    Next::Wait(until)
}

/// Of one behind so many permits. What was not well when it was seen last is looked at as closely as ever: whoever needs its
/// volume waits for that.
fn look_every_ms(before: u64, well: bool) -> i64 {
    let later = i64::try_from(before).unwrap_or(i64::MAX).saturating_mul(LOOK_LATER_MS);
    if well { later.clamp(LOOK_EVERY_MS, LOOK_SELDOM_MS) } else { LOOK_EVERY_MS }
}

fn watched<'a>(t: &Turn<'a>) -> impl Iterator<Item = &'a InstanceId> {
    let moving = t.m.direction != Direction::Settle;
    let forward = t.m.direction == Direction::Forward;
    let slow = amiss(t);
    let source = moving && ((forward && t.m.stage <= Stage::Gate) || (slow && t.m.source_host != Host::Unmounted));
    // On the way back an unmounted source is needed too.
    let source = source || (slow && t.m.direction == Direction::Undo);
    let target = moving && (slow || t.m.stage == Stage::Gate);
    let source = t.m.home().map(|home| &home.instance).filter(|_| source);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_that_wait_ask_for_less_than_auto_scaling_answers() {
        // Looks a hour: two instances each, the permits' holders beside them.
        let looks: i64 = (0..10_000).map(|before| 2 * 3_600_000 / look_every_ms(before, true)).sum();
        assert!(looks < 90 * 3_600, "{looks} looks an hour, of a hundred a second");
        assert_eq!(look_every_ms(0, true), LOOK_EVERY_MS);
        assert_eq!(look_every_ms(u64::MAX, true), LOOK_SELDOM_MS);
        assert_eq!(look_every_ms(u64::MAX, false), LOOK_EVERY_MS, "one that may have ended is not left alone");
    }
}
