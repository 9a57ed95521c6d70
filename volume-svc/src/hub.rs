//! Wakes whoever waits for something of a migration: its driver, and the watchers of its public events.
//!
//! A wake-up is a hint: it may be lost (another process appended) or come for nothing, so everybody who waits also
//! looks for himself now and then. What happened is always read from the journal, so no watcher can miss an event
//! or see one twice. Events are read and encoded once per process and shared (`events`).

use crate::journal::{Journal, ReadError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::ChangeId;
use tokio::sync::Notify;
use volume_core::fact::Entry;

/// A public event with the entry that it belongs to.
#[derive(Debug)]
pub struct Public {
    /// The entry.
    pub entry: Entry,
    /// The event.
    pub event: ChangeEvent,
}

/// What is known of one migration's public events in this process.
#[derive(Debug)]
struct Feed {
    /// Events 1, 2, 3, … as far as they were read.
    events: tokio::sync::Mutex<Vec<Arc<Public>>>,
    /// Rings whenever something may have happened.
    bell: Arc<Bell>,
}

/// Rings for everybody who waits, in the order in which they began to: tokio's watch channel wakes in an order of chance,
/// and then a history in virtual time cannot be repeated.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicU64,
    waiting: Notify,
}

/// Somebody who waits for a bell.
#[derive(Debug)]
pub struct Ear {
    bell: Arc<Bell>,
    heard: u64,
}

impl Ear {
    /// Returns when it has rung since the last return, or since it was marked unchanged. Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            // Registered before the look, so that no ring falls between the two.
            let mut rings = std::pin::pin!(self.bell.waiting.notified());
            rings.as_mut().enable();
            let rung = self.bell.rung.load(Ordering::Acquire);
            if rung != self.heard {
                self.heard = rung;
                return;
            }
            rings.await;
        }
    }

    /// What rang before does not count.
    pub fn mark_unchanged(&mut self) {
        self.heard = self.bell.rung.load(Ordering::Acquire);
    }
}

/// Feeds kept at most: a feed is a few kB, and one that nobody waits for can be read again.
const FEEDS_MAX: usize = 4_096;

/// All feeds of a process.
#[derive(Debug, Default)]
pub struct Hub {
    feeds: Mutex<BTreeMap<ChangeId, Arc<Feed>>>,
}

impl Hub {
    /// No feeds.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn feed(&self, id: &ChangeId) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.len() >= FEEDS_MAX && !feeds.contains_key(id) {
            // Held by nobody but the map, and its bell by nobody but itself: no driver and no watcher waits on it.
            feeds.retain(|_, feed| Arc::strong_count(feed) > 1 || Arc::strong_count(&feed.bell) > 1);
        }
        Arc::clone(
            feeds.entry(id.clone()).or_insert_with(|| {
                Arc::new(Feed { events: tokio::sync::Mutex::new(Vec::new()), bell: Arc::default() })
            }),
        )
    }

    /// Something of a migration changed.
    pub fn wake(&self, id: &ChangeId) {
        let feed = self.feed(id);
        feed.bell.rung.fetch_add(1, Ordering::Release);
        feed.bell.waiting.notify_waiters();
    }

    /// To wait on. Marked unchanged: what happened before is the caller's to read first.
    pub fn subscribe(&self, id: &ChangeId) -> Ear {
        let bell = Arc::clone(&self.feed(id).bell);
        Ear { heard: bell.rung.load(Ordering::Acquire), bell }
    }

    /// The public events behind a sequence, in order and without a gap, as the journal has them now.
    pub async fn events(&self, journal: &Journal, id: &ChangeId, after: u64) -> Result<Vec<Arc<Public>>, ReadError> {
        let feed = self.feed(id);
        let mut known = feed.events.lock().await;
        let have = u64::try_from(known.len()).unwrap_or(u64::MAX);
        let head = journal.head(id).await?.map_or(0, |h| h.public_seq);
        if head > have {
            // Sequences of entries are never below those of public events, so this reads from the last known one.
            let from = known.last().map_or(1, |p| p.entry.seq + 1);
            for entry in journal.entries(id, from).await? {
                if let Some(event) = entry.public.clone()
                    && event.seq == known.last().map_or(1, |p| p.event.seq + 1)
                {
                    known.push(Arc::new(Public { entry, event }));
                }
            }
        }
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(known.iter().skip(skip).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn id() -> ChangeId {
        ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_is_heard_once_by_everybody_and_not_by_who_came_later() {
        let hub = Hub::new();
        let (mut first, mut second) = (hub.subscribe(&id()), hub.subscribe(&id()));
        hub.wake(&id());
        let mut late = hub.subscribe(&id());
        first.changed().await;
        second.changed().await;
        for ear in [&mut first, &mut second, &mut late] {
            assert!(timeout(Duration::from_secs(9), ear.changed()).await.is_err(), "nothing rang since");
        }
        hub.wake(&id());
        late.mark_unchanged();
        assert!(timeout(Duration::from_secs(9), late.changed()).await.is_err(), "marked unchanged");
        first.changed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_while_somebody_waits_wakes_him() {
        let hub = Hub::new();
        let mut ear = hub.subscribe(&id());
        let waits = tokio::spawn(async move { ear.changed().await });
        tokio::task::yield_now().await;
        hub.wake(&id());
        timeout(Duration::from_secs(9), waits).await.expect("woken").unwrap();
    }
}
