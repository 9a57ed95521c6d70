//! Gate: a permit is taken, then the other side is asked to close the write gate. Everything slow lies behind;
//! from the confirmation on, seconds count.
//!
//! Confirm and abort race for the same append: whoever moves the journal's head first has won (H10). The
//! confirmation itself is in `requests.rs`.

use super::attach::{drop_target, fail_target};
use super::capacity;
use crate::effect::{Observe, Seen};
use crate::fact::{Fact, Party, Spec};
use crate::machine::{Next, Turn};
use crate::watch;
use tiershift_core::Reason;

/// Name of the account-wide permit.
pub(crate) const ACCOUNT: &str = "account";

/// The longest between two looks for a permit.
const LOOK_SELDOM_MS: i64 = 300_000;

/// The graph's size and the target's state are "just read" for so long: permits may be waited for much longer.
const FRESH_MS: i64 = 10_000;

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(reason) = t.m.dropping {
        return drop_target(t, reason);
    }
    let Some(target) = t.target() else { return Turn::turn_back(Reason::TargetLost, "there is no target any more") };
    if let Some(gate) = &t.m.gate {
        if t.now >= gate.deadline_at {
            return Turn::turn_back(Reason::GateTimeout, "the gate was not confirmed in time");
        }
        if watch::is_gone(t, &target.instance) {
            return Turn::turn_back(Reason::TargetLost, "the target ended before the gate was confirmed");
        }
        return Next::Wait(gate.deadline_at);
    }
    permitted(t).and_then(|()| used(t, spec)).and_then(|used| still_usable(t, spec, target).map(|()| used)).map_or_else(
        |next| next,
        |usage_bytes| {
            let deadline_at = t.now.plus(t.set.gate_ms);
            Next::Append(vec![Fact::GateRequested { usage_bytes, deadline_at }])
        },
    )
}

/// Waiting here is not bounded: nothing is blocked, and the permits of others end with their migrations.
fn permitted(t: &Turn<'_>) -> Result<(), Next> {
    match before(t) {
        Some(0) => Ok(()),
        Some(before) => Err(t.ask(Observe::Permits, look_for_permit_every_ms(t.set.retry_ms, before))),
        None => Err(t.ask(Observe::Permits, t.set.retry_ms)),
    }
}

/// How many permits are to be given back before there is one for this migration, as it was seen last.
pub(crate) fn before(t: &Turn<'_>) -> Option<u64> {
    let Some(Seen::Permits(taken)) = t.seen(&Observe::Permits).map(|s| &s.seen) else { return None };
    let limits = [(ACCOUNT, t.set.permits_account), (t.spec()?.target_group.as_str(), t.set.permits_group)];
    let before = limits.map(|(name, most)| (taken.get(name).copied().unwrap_or(0) + 1).saturating_sub(most.into()));
    before.into_iter().max()
}

/// How long until a permit is looked for again, in milliseconds. The more are to give back theirs first, the more seldom:
/// thousands may wait. A permit is held for half a minute or more, so that by twenty of them a quarter of a second each is
/// well before one's turn.
pub fn look_for_permit_every_ms(retry_ms: i64, before: u64) -> i64 {
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    retry_ms.saturating_mul(before).saturating_div(4).clamp(retry_ms, retry_ms.max(LOOK_SELDOM_MS))
}

/// The graph's size, just read, against the tier's limit.
fn used(t: &Turn<'_>, spec: &Spec) -> Result<i64, Next> {
    let usage = Observe::Usage { instance: spec.source.instance.clone() };
    match t.seen(&usage) {
        Some(streak) if t.now.since(streak.last_at) < FRESH_MS => {
            if let Seen::Usage(used) = streak.seen {
                return match spec.storage_limit_bytes {
                    Some(limit) if used > limit => Err(Turn::turn_back(
                        Reason::StorageExceedsLimit,
                        format!("{used} bytes are more than the tier's {limit}"),
                    )),
                    _ => Ok(used),
                };
            }
        }
        _ => {}
    }
    Err(unless_late(t, Reason::UsageUnknown, "the graph's size could not be read before the gate", usage))
}

/// The target may have been ready for hours; it is looked at once more before writes are blocked for it (H15).
fn still_usable(t: &Turn<'_>, spec: &Spec, target: &Party) -> Result<(), Next> {
    if watch::is_gone(t, &target.instance) {
        return Err(fail_target(target, Reason::TargetLost));
    }
    let what = Observe::Instance { instance: target.instance.clone() };
    if let Some(streak) = t.seen(&what)
        && let Seen::Instance(seen) = &streak.seen
    {
        match capacity::usable(seen, spec) {
            Some(engine) if *engine != spec.engine => return Err(fail_target(target, Reason::EngineMismatch)),
            Some(_) if t.now.since(streak.last_at) < FRESH_MS => return Ok(()),
            None if streak.holds(2, t.set.agent_silent_ms) => {
                return Err(fail_target(target, Reason::AgentUnreachable));
            }
            Some(_) | None => {}
        }
    }
    Err(unless_late(t, Reason::TargetLost, "the target could not be looked at before the gate", what))
}

/// Asks, for as long as a gate may take from the moment when there was a permit: how long that was waited for says
/// nothing about the one who is asked.
fn unless_late(t: &Turn<'_>, reason: Reason, why: &str, what: Observe) -> Next {
    let since = t.seen(&Observe::Permits).map_or(t.now, |permits| permits.first_at);
    if t.now.since(since) >= t.set.gate_ms && t.seen(&what).is_some() {
        return Turn::turn_back(reason, why);
    }
    t.ask(what, t.set.retry_ms)
}
