//! This process's one heartbeat: `WORKER#<id>` with a record version that others watch (rule 5).
//!
//! The lease only avoids doubled work; what makes a paused owner harmless is F1-F8. It is real time, never scaled:
//! a simulated second is no reason to believe a process dead. (Virtual time has no other time, so a lease can be
//! told what to read.) How others' heartbeats are judged is `watched.rs`, who takes over from whom `worker.rs`.

use crate::ports::cloud::last_look::Lasts;
use crate::ports::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tiershift_common::clock::boottime_ms;
use tiershift_core::ids::WorkerId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use volume_core::item::{Item, Write};
use volume_core::keys;

/// How long a heartbeat holds: three missed beats.
pub const LEASE_MS: i64 = 6_000;

/// Between two heartbeats, and how long one may take: a connection that says nothing must not cost the lease.
const BEAT: Duration = Duration::from_secs(2);

/// After a heartbeat that was not taken.
const BEAT_AGAIN: Duration = Duration::from_millis(500);

/// A process's own lease.
#[derive(Debug)]
pub struct Lease {
    /// Until when the last acknowledged heartbeat holds, counted from before it was sent.
    until_ms: AtomicI64,
    /// How often the lease was begun anew after it had run out.
    terms: AtomicU64,
    /// What all leases are counted by: milliseconds that never go back.
    time: fn() -> i64,
}

/// One unbroken life of a lease. A process that was paused beats again as soon as it wakes, but what it knew of its
/// migrations is of an earlier term: others may have taken them over meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(u64);

impl Lease {
    /// Not held yet; counted by CLOCK_BOOTTIME.
    pub fn new() -> Arc<Self> {
        Self::counted_by(boottime_ms)
    }

    /// Not held yet; counted by another time than CLOCK_BOOTTIME, in milliseconds. For virtual time only, where real
    /// milliseconds pass between simulated hours.
    pub fn counted_by(time: fn() -> i64) -> Arc<Self> {
        Arc::new(Self { until_ms: AtomicI64::new(i64::MIN), terms: AtomicU64::new(0), time })
    }

    /// Now, by the time that leases are counted by.
    pub fn now_ms(&self) -> i64 {
        (self.time)()
    }

    /// The term that holds now, if one does. Taken *before* anything is read that is to be acted on under it.
    pub fn term(&self) -> Option<Term> {
        let term = Term(self.terms.load(Ordering::Acquire));
        self.holds(term).then_some(term)
    }

    /// Whether it holds now and never ran out since `term` was taken; the last look before a call is sent (F7).
    /// BOOTTIME: a suspended machine's lease runs out while it sleeps.
    pub fn holds(&self, term: Term) -> bool {
        self.left_ms(term) > 0
    }

    /// Milliseconds for which a term still holds; not positive when it does not.
    pub fn left_ms(&self, term: Term) -> i64 {
        // The end before the term: an end that is seen extended was extended under a term that is seen too.
        let until_ms = self.until_ms.load(Ordering::Acquire);
        if self.terms.load(Ordering::Acquire) == term.0 { until_ms.saturating_sub(self.now_ms()) } else { 0 }
    }

    /// A heartbeat that was sent at `sent_ms` is acknowledged.
    fn extend(&self, sent_ms: i64) {
        if self.now_ms() >= self.until_ms.load(Ordering::Acquire) {
            self.terms.fetch_add(1, Ordering::Release);
        }
        self.until_ms.store(sent_ms + LEASE_MS, Ordering::Release);
    }

    /// One term, to be looked at where calls wait and leave.
    pub fn during(self: &Arc<Self>, term: Term) -> Arc<dyn Lasts> {
        Arc::new(During { lease: Arc::clone(self), term })
    }

    /// Beats until told to stop, then gives the lease up at once by saying so in its item.
    pub async fn keep(self: Arc<Self>, store: Arc<dyn Store>, me: WorkerId, stop: CancellationToken) {
        let mut rvn = 0_i64;
        loop {
            let (begun, sent_ms) = (Instant::now(), self.now_ms());
            rvn += 1;
            let set = Item::default().with("rvn", rvn).with("lease_ms", LEASE_MS);
            let write = Write::upsert(keys::worker(&me), set, &[], Vec::new());
            let token = beat_token(&me, rvn);
            // One that comes late all the same is a life-sign like any other.
            let next = match tokio::time::timeout(BEAT, store.transact(&token, vec![write])).await {
                Ok(Ok(())) => {
                    self.extend(sent_ms);
                    begun + BEAT
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the heartbeat was not taken");
                    Instant::now() + BEAT_AGAIN
                }
                Err(_) => {
                    tracing::warn!("the heartbeat was not answered");
                    Instant::now() + BEAT_AGAIN
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
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

/// One term of a lease.
struct During {
    lease: Arc<Lease>,
    term: Term,
}

impl Lasts for During {
    fn left_ms(&self) -> i64 {
        self.lease.left_ms(self.term)
    }
}

/// A token per beat; the beat is unconditional and idempotent, so it only has to differ.
fn beat_token(me: &WorkerId, rvn: i64) -> String {
    let mut text = format!("{rvn}-{me}");
    text.truncate(36);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local!(static NOW: Cell<i64> = const { Cell::new(0) });

    fn lease() -> Arc<Lease> {
        Lease::counted_by(|| NOW.get())
    }

    #[test]
    fn a_lease_holds_from_its_first_beat_until_the_last_has_run_out() {
        let lease = lease();
        NOW.set(1_000);
        assert_eq!(lease.term(), None, "nothing was acknowledged yet");
        NOW.set(1_200);
        lease.extend(1_000);
        let term = lease.term().expect("held");
        assert_eq!(lease.left_ms(term), 5_800, "counted from before it was sent");
        NOW.set(3_100);
        lease.extend(3_000);
        assert_eq!((lease.term(), lease.left_ms(term)), (Some(term), 5_900), "the same term goes on");
        NOW.set(9_000);
        assert_eq!((lease.term(), lease.left_ms(term)), (None, 0));
    }

    #[test]
    fn a_lease_that_ran_out_is_another_one_when_it_is_back() {
        let lease = lease();
        lease.extend(0);
        let before = lease.term().expect("held");
        // The process was stopped; its heartbeat is the first to wake.
        NOW.set(60_000);
        lease.extend(60_000);
        let after = lease.term().expect("held again");
        assert_ne!(before, after);
        assert!(lease.holds(after));
        assert!(!lease.holds(before), "what was known before the pause is not acted on");
        assert_eq!(lease.left_ms(before), 0);
    }

    #[test]
    fn a_beat_whose_answer_took_too_long_begins_a_new_term() {
        let lease = lease();
        lease.extend(0);
        let before = lease.term().expect("held");
        // Sent in time, acknowledged after the old one had run out: in between nothing was held.
        NOW.set(LEASE_MS + 1);
        lease.extend(LEASE_MS - 1);
        assert!(!lease.holds(before));
        assert!(lease.term().is_some());
    }
}
