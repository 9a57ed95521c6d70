//! The last look before an effect leaves the process (F7): EC2 checks no fence, so a driver that was paused between
//! its lease check and its call must not send what it had in hand.
//!
//! `under(look, call)` runs a call of a port. The adapter then signs its request with the time of the look, so that
//! AWS refuses it when it arrives many minutes late, and does not send it when the lease has run out. In process
//! and in virtual time nothing is between the check and the call, and nobody looks.

use std::future::Future;
use std::time::SystemTime;
use tiershift_common::clock::boottime_ms;

tokio::task_local! {
    static LOOK: LastLook;
}

/// What was known when the lease was last seen to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLook {
    signed_at: SystemTime,
    not_after_boot_ms: i64,
}

impl LastLook {
    /// A look that ends `left_ms` milliseconds from now, in real time (worker leases are never scaled).
    pub fn with_left(left_ms: i64) -> Self {
        Self { signed_at: SystemTime::now(), not_after_boot_ms: boottime_ms().saturating_add(left_ms) }
    }

    /// The time to sign a request with.
    pub fn signed_at(&self) -> SystemTime {
        self.signed_at
    }

    /// Whether the lease has run out, by CLOCK_BOOTTIME, which a suspended machine does not stop (H8).
    pub fn has_ended(&self) -> bool {
        boottime_ms() > self.not_after_boot_ms
    }
}

/// Runs `call` under a look. It holds for this task only, not for one that `call` spawns.
pub async fn under<F: Future>(look: LastLook, call: F) -> F::Output {
    LOOK.scope(look, call).await
}

/// The look that the present call runs under. None for calls that no lease guards.
pub fn current() -> Option<LastLook> {
    LOOK.try_with(|look| *look).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_holds_for_its_call_only_and_ends() {
        assert_eq!(current(), None);
        let look = LastLook::with_left(60_000);
        assert_eq!(under(look, async { current() }).await, Some(look));
        assert_eq!(current(), None);
        assert!(!look.has_ended());
        assert!(LastLook::with_left(-1).has_ended());
    }
}
