//! New ids: a prefix and a ULID made of the clock port's time and 80 random bits.
//!
//! They sort by the millisecond in which they were made, as far as the clocks agree; nothing relies on it. Two ids of one
//! millisecond stand in no order, but for those of the audit: what one process did in one transaction is read in the order in
//! which it was done. The parsing side is `tiershift_core::ids`.

use crate::clock::Clock;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_core::ids::{AuditId, ChangeId, Malformed, OrgId, RequestId, SubscriptionId};
use ulid::Ulid;

/// Makes ids. One per process; cheap to share behind an `Arc`.
pub struct Ids {
    clock: Arc<dyn Clock>,
    random: Mutex<StdRng>,
    /// The last id of the audit.
    audited: Mutex<Ulid>,
}

impl Ids {
    /// Random bits from the operating system.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, random: Mutex::new(rand::make_rng()), audited: Mutex::new(Ulid::nil()) }
    }

    /// Random bits from a seed: the same ids in every run of a simulation.
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self { clock, random: Mutex::new(StdRng::seed_from_u64(seed)), audited: Mutex::new(Ulid::nil()) }
    }

    /// A new organisation.
    pub fn org(&self) -> OrgId {
        self.make("org_", OrgId::parse)
    }

    /// A new subscription.
    pub fn subscription(&self) -> SubscriptionId {
        self.make("sub_", SubscriptionId::parse)
    }

    /// A new tier change, and so a new migration.
    pub fn change(&self) -> ChangeId {
        self.make("chg_", ChangeId::parse)
    }

    /// A new entry of the audit log.
    pub fn audit(&self) -> AuditId {
        let mut last = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.ulid();
        // The 80 bits overflow once in 2^80 times; then it stands in no order.
        let behind = last.increment().ok().filter(|_| next.timestamp_ms() == last.timestamp_ms());
        *last = behind.unwrap_or(next);
        id("aud_", *last, AuditId::parse)
    }

    /// A new request id, for a client that was not given one.
    pub fn request(&self) -> RequestId {
        self.make("req_", RequestId::parse)
    }

    /// 128 random bits for what is not an id (a nonce, jitter).
    pub fn random(&self) -> u128 {
        // A poisoned generator is as random as before.
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64())
    }

    fn make<T>(&self, prefix: &str, parse: fn(String) -> Result<T, Malformed>) -> T {
        id(prefix, self.ulid(), parse)
    }

    fn ulid(&self) -> Ulid {
        let unix_ms = u64::try_from(self.clock.now().0).unwrap_or(0);
        Ulid::from_parts(unix_ms, self.random())
    }
}

#[expect(clippy::expect_used, reason = "a prefix and a ULID are an id of that prefix; the test makes each kind")]
fn id<T>(prefix: &str, ulid: Ulid, parse: fn(String) -> Result<T, Malformed>) -> T {
    parse(format!("{prefix}{ulid}")).expect("prefix and ULID")
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Scaled;
    use std::collections::BTreeSet;

    /// A clock that stands still.
    fn still(at_ms: i64) -> Arc<dyn Clock> {
        Arc::new(Scaled { origin_ms: at_ms, boot_ms: crate::clock::boottime_ms(), speed: 0 })
    }

    #[test]
    fn the_audit_of_one_millisecond_is_in_its_order() {
        let ids = Ids::new(still(1_700_000_000_000));
        let made: Vec<AuditId> = (0..100).map(|_| ids.audit()).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
    }

    #[test]
    fn each_kind_has_its_prefix_and_parses() {
        let ids = Ids::new(still(1_700_000_000_000));
        let texts = [
            (ids.org().to_string(), "org_"),
            (ids.subscription().to_string(), "sub_"),
            (ids.change().to_string(), "chg_"),
            (ids.audit().to_string(), "aud_"),
            (ids.request().to_string(), "req_"),
        ];
        for (text, prefix) in texts {
            let ulid = Ulid::from_string(text.strip_prefix(prefix).expect("prefix")).expect("ULID");
            assert_eq!(ulid.timestamp_ms(), 1_700_000_000_000, "{text}");
        }
    }

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        let first = |seed| Ids::seeded(still(5), seed).change();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
        let ids = Ids::new(still(5));
        let made: BTreeSet<_> = (0..1_000).map(|_| ids.change()).collect();
        assert_eq!(made.len(), 1_000);
        assert_ne!(Ids::new(still(5)).change(), Ids::new(still(5)).change());
    }

    #[test]
    fn a_clock_before_1970_still_gives_ids() {
        assert!(Ids::new(still(-5)).change().as_str().starts_with("chg_0000000000"));
    }
}
