//! Wakes whoever waits for something of a migration: its driver, and the watchers of its public events.
//!
//! A wake-up is a hint: it may be lost (another process appended) or come for nothing, so everybody who waits also
//! looks for himself now and then. What happened is always read from the journal, so no watcher can miss an event
//! or see one twice. Events are read and encoded once per process and shared (`events`).

use crate::journal::{Journal, ReadError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::ChangeId;
use tokio::sync::watch;
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
    /// Changes whenever something may have happened.
    wake: watch::Sender<u64>,
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
            // Held by nobody but the map: no driver and no watcher waits on it.
            feeds.retain(|_, feed| Arc::strong_count(feed) > 1);
        }
        Arc::clone(feeds.entry(id.clone()).or_insert_with(|| {
            Arc::new(Feed { events: tokio::sync::Mutex::new(Vec::new()), wake: watch::Sender::new(0) })
        }))
    }

    /// Something of a migration changed.
    pub fn wake(&self, id: &ChangeId) {
        self.feed(id).wake.send_modify(|n| *n += 1);
    }

    /// To wait on. Marked unchanged: what happened before is the caller's to read first.
    pub fn subscribe(&self, id: &ChangeId) -> watch::Receiver<u64> {
        self.feed(id).wake.subscribe()
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
