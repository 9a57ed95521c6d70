//! Fresh public events for watchers, in memory: a wake-up, and the last few so that most need no database.
//!
//! Losing anything here costs latency and never correctness: a watcher that finds a gap reads the store. Nobody is
//! waited for; a slow watcher is simply behind.

use crate::store::Published;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// Events kept. At 40 events a change, those of the last hundred changes: a watcher that is further behind than that
/// is catching up, not following.
const KEPT: usize = 4_096;

/// The hub.
#[derive(Debug)]
pub struct Hub {
    recent: RwLock<Recent>,
    head: watch::Sender<u64>,
    /// How often the store went back in time.
    histories: AtomicU64,
}

#[derive(Debug, Default)]
struct Recent {
    /// Every event with a feed number above this one is in `events`; none: nothing was published yet.
    complete_after: Option<u64>,
    events: VecDeque<Arc<Published>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// Empty.
    pub fn new() -> Self {
        Self { recent: RwLock::default(), head: watch::Sender::new(0), histories: AtomicU64::new(0) }
    }

    /// Publishes the events of one transaction, in commit order.
    pub fn publish(&self, events: Vec<Published>) {
        let Some(last) = events.last().map(|p| p.feed) else { return };
        {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            let follows = |event: &Published| recent.events.back().is_none_or(|last| last.feed + 1 == event.feed);
            if events.first().is_some_and(|first| !follows(first)) {
                // Another process published what lies between.
                *recent = Recent::default();
            }
            for event in events {
                if recent.complete_after.is_none() {
                    recent.complete_after = Some(event.feed.saturating_sub(1));
                }
                recent.events.push_back(Arc::new(event));
                if recent.events.len() > KEPT {
                    recent.complete_after = recent.events.pop_front().map(|p| p.feed);
                }
            }
        }
        // Another process may have been further already.
        self.head.send_modify(|head| *head = last.max(*head));
    }

    /// Wakes at each publication; its value is the highest feed number, 0 before the first.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Events after a feed number; none if only the store has them all.
    pub fn since(&self, after: u64) -> Option<Vec<Arc<Published>>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if after < recent.complete_after? {
            return None;
        }
        let first = recent.events.partition_point(|p| p.feed <= after);
        Some(recent.events.range(first..).cloned().collect())
    }

    /// Something up to this feed number was published by another process: the next watchers read the store.
    pub fn elsewhere(&self, feed: u64) {
        if *self.head.borrow() < feed {
            *self.recent.write().unwrap_or_else(PoisonError::into_inner) = Recent::default();
            self.head.send_replace(feed);
        }
    }

    /// The store went back in time, and has events up to this feed number: what was seen of the old history may be numbered
    /// as what comes. Wakes everybody.
    pub fn torn(&self, feed: u64) {
        self.histories.fetch_add(1, Ordering::SeqCst);
        *self.recent.write().unwrap_or_else(PoisonError::into_inner) = Recent::default();
        self.head.send_replace(feed);
    }

    /// Which history the events are of, by this process's own count.
    pub fn history(&self) -> u64 {
        self.histories.load(Ordering::SeqCst)
    }

    /// Forgets what it has: the next watchers read the store. After a transaction whose outcome is not known, an
    /// event may be there that was never published here.
    pub fn forget(&self) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        *recent = Recent::default();
        drop(recent);
        self.head.send_modify(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tiershift_core::event::{ChangeEvent, Direction, Reads, Source, Writes};
    use tiershift_core::ids::OrgId;

    fn published(feed: u64) -> Published {
        let event = ChangeEvent {
            change_id: "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            seq: feed,
            at_ms: 0,
            source: Source::Subscription,
            stage: "requested".to_owned(),
            direction: Direction::Forward,
            permille: 0,
            eta_ms: -1,
            reads: Reads::Open,
            writes: Writes::Open,
            message: "x".to_owned(),
            detail: BTreeMap::new(),
        };
        Published { feed, org: OrgId::parse("org_a").expect("well formed"), event }
    }

    fn feeds(hub: &Hub, after: u64) -> Option<Vec<u64>> {
        hub.since(after).map(|events| events.iter().map(|p| p.feed).collect())
    }

    #[test]
    fn it_knows_what_it_does_not_know() {
        let hub = Hub::new();
        assert_eq!(feeds(&hub, 0), None, "before the first publication only the store knows");
        hub.publish(vec![published(10), published(11)]);
        assert_eq!(feeds(&hub, 8), None, "9 may be in the store");
        assert_eq!(feeds(&hub, 9), Some(vec![10, 11]));
        assert_eq!(feeds(&hub, 11), Some(vec![]));
        hub.forget();
        assert_eq!(feeds(&hub, 11), None);
        hub.publish(vec![published(12)]);
        hub.publish(vec![published(14)]);
        assert_eq!((feeds(&hub, 12), feeds(&hub, 13)), (None, Some(vec![14])), "13 is another process's");
        hub.elsewhere(14);
        assert_eq!(feeds(&hub, 13), Some(vec![14]), "nothing new");
        hub.elsewhere(17);
        assert_eq!((feeds(&hub, 14), *hub.subscribe().borrow()), (None, 17));
        hub.publish(vec![published(16)]);
        assert_eq!((feeds(&hub, 15), *hub.subscribe().borrow()), (Some(vec![16]), 17), "17 is still to be read");
        let (watching, history) = (hub.subscribe(), hub.history());
        hub.torn(12);
        assert!(watching.has_changed().expect("it lives") && history != hub.history());
        assert_eq!((feeds(&hub, 12), *watching.borrow()), (None, 12), "everything is read anew");
    }

    #[test]
    fn it_keeps_only_so_many() {
        let hub = Hub::new();
        let all = u64::try_from(KEPT).expect("a number") + 5;
        hub.publish((1..=all).map(published).collect());
        assert_eq!(feeds(&hub, 4), None);
        assert_eq!(feeds(&hub, 5).map(|f| f.len()), Some(KEPT));
        assert_eq!(*hub.subscribe().borrow(), all);
    }
}
