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
    let spec = t.spec().ok_or(Next::Idle)?;
    if let Some(Seen::Permits(taken)) = t.seen(&Observe::Permits).map(|s| &s.seen) {
        let held = |name: &str| taken.get(name).map_or(0, Vec::len);
        if held(ACCOUNT) < t.set.permits_account as usize
            && held(spec.target_group.as_str()) < t.set.permits_group as usize
        {
            return Ok(());
        }
    }
    Err(t.ask(Observe::Permits, t.set.retry_ms))
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

fn unless_late(t: &Turn<'_>, reason: Reason, why: &str, what: Observe) -> Next {
    if t.in_stage_ms() >= t.set.gate_ms && t.seen(&what).is_some() {
        return Turn::turn_back(reason, why);
    }
    t.ask(what, t.set.retry_ms)
}
