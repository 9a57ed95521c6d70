//! What this process has seen of the others' heartbeats, by its own clock only: no clocks are compared (rule 5).
//!
//! Dead is who was seen standing still for a full lease *by somebody who looked all the time*. An observer that was
//! paused itself, or could not read, has seen nothing meanwhile, and begins anew.

use crate::lease::LEASE_MS;
use std::collections::BTreeMap;
use tiershift_core::ids::WorkerId;
use volume_core::item::{Item, Value};

/// The longest time between two looks that still counts as looking all the time: two heartbeats of a live worker. It looks
/// each second; what takes longer is a store that does not answer, or a process that did not run.
const GAP_MS: i64 = 4_000;

/// The others' heartbeats, as seen.
#[derive(Debug, Default)]
pub struct Watched {
    seen: BTreeMap<WorkerId, Sight>,
}

/// One record version, standing still.
#[derive(Clone, Copy, Debug)]
struct Sight {
    rvn: i64,
    /// When the first read that showed it was answered.
    since_ms: i64,
    /// When the last one was.
    last_ms: i64,
}

/// A read of heartbeats: when it was asked and when it was answered, by the time that leases are counted by. What it
/// showed was true at some instant between the two.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Before it was sent.
    pub asked_ms: i64,
    /// After it was answered.
    pub heard_ms: i64,
}

impl Watched {
    /// Whether a worker is dead: its record version stood still for a full lease, or it handed its lease back. `item`
    /// is its heartbeat as read by this look.
    pub fn is_dead(&mut self, worker: &WorkerId, item: Option<&Item>, look: Look) -> bool {
        if item.is_some_and(|i| matches!(i.0.get("gone"), Some(Value::Bool(true)))) {
            return true;
        }
        let rvn = item.and_then(|i| i.n("rvn")).unwrap_or(0);
        let lease_ms = item.and_then(|i| i.n("lease_ms")).unwrap_or(LEASE_MS);
        match self.seen.get_mut(worker) {
            Some(sight) if sight.rvn == rvn && look.asked_ms - sight.last_ms <= GAP_MS => {
                sight.last_ms = look.heard_ms;
                look.asked_ms - sight.since_ms >= lease_ms
            }
            _ => {
                let sight = Sight { rvn, since_ms: look.heard_ms, last_ms: look.heard_ms };
                self.seen.insert(worker.clone(), sight);
                false
            }
        }
    }

    /// Forgets workers that own nothing any more.
    pub fn retain(&mut self, still: impl Fn(&WorkerId) -> bool) {
        self.seen.retain(|worker, _| still(worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(rvn: i64) -> Item {
        Item::default().with("rvn", rvn).with("lease_ms", LEASE_MS)
    }

    fn worker() -> WorkerId {
        WorkerId::parse("w-1").expect("well formed")
    }

    fn at(ms: i64) -> Look {
        Look { asked_ms: ms, heard_ms: ms }
    }

    /// Looks every second, from and to inclusive; gives the instants at which it was taken for dead.
    fn look(watched: &mut Watched, item: Option<&Item>, from_ms: i64, to_ms: i64) -> Vec<i64> {
        (from_ms..=to_ms).step_by(1_000).filter(|ms| watched.is_dead(&worker(), item, at(*ms))).collect()
    }

    #[test]
    fn a_worker_is_dead_only_after_a_full_lease_of_silence() {
        let mut watched = Watched::default();
        assert_eq!(look(&mut watched, Some(&beat(7)), 1_000, 7_000), [7_000], "first sight proves nothing");
        assert_eq!(look(&mut watched, Some(&beat(8)), 8_000, 14_000), [14_000], "a new version begins a new lease");
    }

    #[test]
    fn a_lease_that_was_handed_back_is_free_at_once() {
        assert!(Watched::default().is_dead(&worker(), Some(&beat(7).with("gone", true)), at(0)));
    }

    #[test]
    fn a_missing_heartbeat_is_watched_like_any_other() {
        assert_eq!(look(&mut Watched::default(), None, 0, LEASE_MS), [LEASE_MS]);
    }

    #[test]
    fn who_did_not_look_has_seen_nothing() {
        let mut watched = Watched::default();
        look(&mut watched, Some(&beat(7)), 0, 2_000);
        // The store was away, or this process was stopped. The first look behind that shows the old version all the
        // same: the other one could not write, or has not yet.
        assert_eq!(look(&mut watched, Some(&beat(7)), 60_000, 65_000), [0_i64; 0]);
        assert_eq!(look(&mut watched, Some(&beat(7)), 66_000, 66_000), [66_000]);
    }

    #[test]
    fn a_read_counts_from_when_it_was_asked() {
        let mut watched = Watched::default();
        look(&mut watched, Some(&beat(7)), 0, 5_000);
        // Answered an hour late, because this process was stopped in the middle: what it shows is an hour old.
        let paused = Look { asked_ms: 5_900, heard_ms: 3_605_900 };
        assert!(!watched.is_dead(&worker(), Some(&beat(7)), paused));
        assert!(!watched.is_dead(&worker(), Some(&beat(8)), at(3_606_000)), "it lives");
    }

    #[test]
    fn who_owns_nothing_is_forgotten() {
        let mut watched = Watched::default();
        look(&mut watched, Some(&beat(7)), 0, 5_000);
        watched.retain(|_| false);
        assert_eq!(look(&mut watched, Some(&beat(7)), 6_000, 11_000), [0_i64; 0]);
    }
}
