//! Gate: a permit is taken, then the other side is asked to close the write gate. Everything slow lies behind;
//! from the confirmation on, seconds count.
//!
//! Confirm and abort race for the same append: whoever moves the journal's head first has won (H10). The
//! confirmation itself is in `requests.rs`.

use crate::effect::{Observe, Seen};
use crate::fact::Fact;
use crate::machine::{Next, Turn};
use tiershift_core::Reason;

/// Name of the account-wide permit.
pub(crate) const ACCOUNT: &str = "account";

pub(crate) fn next(t: &Turn<'_>) -> Next {
    let Some(spec) = t.spec() else { return Next::Idle };
    if let Some(gate) = &t.m.gate {
        if t.now >= gate.deadline_at {
            return Turn::turn_back(Reason::GateTimeout, "the gate was not confirmed in time");
        }
        return Next::Wait(gate.deadline_at);
    }
    let usage = Observe::Usage { instance: spec.source.instance.clone() };
    let Some(Seen::Usage(used)) = t.seen(&usage).map(|s| &s.seen) else {
        if t.in_stage_ms() >= t.set.gate_ms {
            return Turn::turn_back(Reason::UsageUnknown, "the graph's size could not be read before the gate");
        }
        return t.ask(usage, t.set.retry_ms);
    };
    if let Some(limit) = spec.storage_limit_bytes
        && *used > limit
    {
        return Turn::turn_back(Reason::StorageExceedsLimit, format!("{used} bytes are more than the tier's {limit}"));
    }
    // Waiting here is not bounded: nothing is blocked, and the permits of others end with their migrations.
    match t.seen(&Observe::Permits).map(|s| &s.seen) {
        Some(Seen::Permits(taken)) => {
            let held = |name: &str| taken.get(name).map_or(0, Vec::len);
            let free = held(ACCOUNT) < t.set.permits_account as usize
                && held(spec.target_group.as_str()) < t.set.permits_group as usize;
            if free {
                let deadline_at = t.now.plus(t.set.gate_ms);
                return Next::Append(vec![Fact::GateRequested { usage_bytes: *used, deadline_at }]);
            }
            t.ask(Observe::Permits, t.set.retry_ms)
        }
        _ => t.ask(Observe::Permits, t.set.retry_ms),
    }
}
