//! This process's one heartbeat: `WORKER#<id>` with a record version that others watch (rule 5).
//!
//! The lease only avoids doubled work; what makes a paused owner harmless is F1-F8. It is real time, never scaled:
//! a simulated second is no reason to believe a process dead. (Virtual time has no other time, so a lease can be
//! told what to read.) Who takes over from whom is `worker.rs`.

use crate::ports::cloud::last_look::Lasts;
use crate::ports::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tiershift_common::clock::boottime_ms;
use tiershift_core::ids::WorkerId;
use tokio_util::sync::CancellationToken;
use volume_core::item::{Item, Key, Write};
use volume_core::keys;

/// How long a heartbeat holds: three missed beats.
pub const LEASE_MS: i64 = 6_000;

/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(2);

/// A process's own lease.
#[derive(Debug)]
pub struct Lease {
    /// Until when the last acknowledged heartbeat holds, counted from before it was sent.
    until_ms: AtomicI64,
    /// What all leases are counted by: milliseconds that never go back.
    time: fn() -> i64,
}

impl Lease {
    /// Not held yet; counted by CLOCK_BOOTTIME.
    pub fn new() -> Arc<Self> {
        Self::counted_by(boottime_ms)
    }

    /// Not held yet; counted by another time than CLOCK_BOOTTIME, in milliseconds. For virtual time only, where real
    /// milliseconds pass between simulated hours.
    pub fn counted_by(time: fn() -> i64) -> Arc<Self> {
        Arc::new(Self { until_ms: AtomicI64::new(i64::MIN), time })
    }

    /// Now, by the time that leases are counted by.
    pub fn now_ms(&self) -> i64 {
        (self.time)()
    }

    /// Whether it holds now; the last look before a call is sent (F7). BOOTTIME: a suspended machine's lease runs
    /// out while it sleeps.
    pub fn holds(&self) -> bool {
        self.now_ms() < self.until_ms.load(Ordering::Acquire)
    }

    /// Milliseconds for which it still holds; not positive when it does not.
    pub fn left_ms(&self) -> i64 {
        self.until_ms.load(Ordering::Acquire).saturating_sub(self.now_ms())
    }

    /// Beats until told to stop, then gives the lease up at once by removing its item.
    pub async fn keep(self: Arc<Self>, store: Arc<dyn Store>, me: WorkerId, stop: CancellationToken) {
        let mut rvn = 0_i64;
        loop {
            let begun_ms = self.now_ms();
            rvn += 1;
            let set = Item::default().with("rvn", rvn).with("lease_ms", LEASE_MS);
            let write = Write::upsert(keys::worker(&me), set, &[], Vec::new());
            match store.transact(&beat_token(&me, rvn), vec![write]).await {
                Ok(()) => self.until_ms.store(begun_ms + LEASE_MS, Ordering::Release),
                Err(error) => tracing::warn!(%error, "the heartbeat was not taken"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(BEAT) => {}
            }
        }
        self.until_ms.store(i64::MIN, Ordering::Release);
        // Handed back, so that the next one need not wait for the lease to run out.
        let set = Item::default().with("gone", true);
        let write = Write::upsert(keys::worker(&me), set, &[], Vec::new());
        if let Err(error) = store.transact(&beat_token(&me, -1), vec![write]).await {
            tracing::warn!(%error, "the lease was not handed back; it runs out by itself");
        }
    }
}

impl Lasts for Lease {
    fn left_ms(&self) -> i64 {
        Self::left_ms(self)
    }
}

/// A token per beat; the beat is unconditional and idempotent, so it only has to differ.
fn beat_token(me: &WorkerId, rvn: i64) -> String {
    let mut text = format!("{rvn}-{me}");
    text.truncate(36);
    text
}

/// What this process has seen of the others' heartbeats, by its own clock only (no clocks are compared).
#[derive(Debug, Default)]
pub struct Watched {
    seen: BTreeMap<WorkerId, (i64, i64)>,
}

impl Watched {
    /// Whether a worker is seen dead: the same record version for a full lease, or handed back. `item` is its
    /// heartbeat as just read.
    pub fn is_dead(&mut self, worker: &WorkerId, item: Option<&Item>, now_ms: i64) -> bool {
        if item.is_some_and(|i| matches!(i.0.get("gone"), Some(volume_core::item::Value::Bool(true)))) {
            return true;
        }
        let rvn = item.and_then(|i| i.n("rvn")).unwrap_or(0);
        let lease_ms = item.and_then(|i| i.n("lease_ms")).unwrap_or(LEASE_MS);
        match self.seen.get(worker) {
            Some((seen, since)) if *seen == rvn => now_ms - since >= lease_ms,
            _ => {
                self.seen.insert(worker.clone(), (rvn, now_ms));
                false
            }
        }
    }

    /// The key of a worker's heartbeat.
    pub fn key(worker: &WorkerId) -> Key {
        keys::worker(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(rvn: i64) -> Item {
        Item::default().with("rvn", rvn).with("lease_ms", LEASE_MS)
    }

    #[test]
    fn a_worker_is_dead_only_after_a_full_lease_of_silence() {
        let worker = WorkerId::parse("w-1").expect("well formed");
        let mut watched = Watched::default();
        assert!(!watched.is_dead(&worker, Some(&beat(7)), 1_000), "first sight proves nothing");
        assert!(!watched.is_dead(&worker, Some(&beat(7)), 6_999));
        assert!(watched.is_dead(&worker, Some(&beat(7)), 7_000));
        assert!(!watched.is_dead(&worker, Some(&beat(8)), 7_001), "a new version begins a new lease");
        assert!(!watched.is_dead(&worker, Some(&beat(8)), 13_000));
    }

    #[test]
    fn a_lease_that_was_handed_back_is_free_at_once() {
        let worker = WorkerId::parse("w-1").expect("well formed");
        assert!(Watched::default().is_dead(&worker, Some(&beat(7).with("gone", true)), 0));
    }

    #[test]
    fn a_missing_heartbeat_is_watched_like_any_other() {
        let worker = WorkerId::parse("w-1").expect("well formed");
        let mut watched = Watched::default();
        assert!(!watched.is_dead(&worker, None, 0));
        assert!(watched.is_dead(&worker, None, LEASE_MS));
    }
}
