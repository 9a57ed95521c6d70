//! The last look before an effect leaves the process (F7): EC2 checks no fence, so a driver that was paused between
//! its lease check and its call must not send what it had in hand.
//!
//! `under_lease(lease, call)` runs a call of a port. Whatever makes it wait looks `again` behind the wait. The adapter
//! then signs its request with the time of the look, so that AWS refuses it when it arrives many minutes late, and does
//! not send it when the lease has run out. In process and in virtual time nothing is between that and the call.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;
use tiershift_common::clock::boottime_ms;

tokio::task_local! {
    static LOOK: Watch;
}

/// What is looked at: a lease.
pub trait Lasts: Send + Sync {
    /// Milliseconds for which it still holds, in real time (worker leases are never scaled); not positive when it does
    /// not.
    fn left_ms(&self) -> i64;
}

struct Watch {
    lease: Option<Arc<dyn Lasts>>,
    last: Cell<LastLook>,
}

/// What was known when the lease was last seen to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLook {
    signed_at: SystemTime,
    not_after_boot_ms: i64,
}

impl LastLook {
    /// A look that ends `left_ms` milliseconds from now, in real time.
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
    LOOK.scope(Watch { lease: None, last: Cell::new(look) }, call).await
}

/// Looks at a lease and runs `call` under that look, which can be taken `again`.
pub async fn under_lease<F: Future>(lease: Arc<dyn Lasts>, call: F) -> F::Output {
    let last = Cell::new(LastLook::with_left(lease.left_ms()));
    LOOK.scope(Watch { lease: Some(lease), last }, call).await
}

/// Looks again, because something was waited for since; whether the lease still holds. It does where none guards.
pub fn again() -> bool {
    let look = |watch: &Watch| {
        let Some(lease) = &watch.lease else { return !watch.last.get().has_ended() };
        let left_ms = lease.left_ms();
        watch.last.set(LastLook::with_left(left_ms));
        left_ms > 0
    };
    LOOK.try_with(look).unwrap_or(true)
}

/// The look that the present call runs under. None for calls that no lease guards.
pub fn current() -> Option<LastLook> {
    LOOK.try_with(|watch| watch.last.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    impl Lasts for AtomicI64 {
        fn left_ms(&self) -> i64 {
            self.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_look_holds_for_its_call_only_and_ends() {
        assert_eq!(current(), None);
        let look = LastLook::with_left(60_000);
        assert_eq!(under(look, async { current() }).await, Some(look));
        assert_eq!(current(), None);
        assert!(!look.has_ended());
        assert!(LastLook::with_left(-1).has_ended());
    }

    #[tokio::test]
    async fn a_second_look_sees_the_lease_as_it_is_then() {
        assert!(again(), "nobody looks");
        let lease = Arc::new(AtomicI64::new(60_000));
        let call = async {
            let first = current().unwrap();
            lease.store(-1, Ordering::Relaxed);
            assert!(!first.has_ended() && !current().unwrap().has_ended(), "the first look knew nothing of that");
            assert!(!again());
            assert!(current().unwrap().has_ended());
            lease.store(6_000, Ordering::Relaxed);
            assert!(again(), "renewed meanwhile");
            assert!(!current().unwrap().has_ended());
        };
        under_lease(lease.clone(), call).await;
    }
}
