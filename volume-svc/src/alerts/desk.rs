//! Takes alerts, logs them at once, and has each told outside once: a bounded queue and one task of its own, so that
//! nobody who raises one ever waits.
//!
//! Told is what is marked in the store, behind the publisher's acknowledgement. So an alert is never lost with the
//! process that raised it (the next driver of the migration raises it again, and finds no mark), and a restart does not
//! repeat it. Between acknowledgement and mark a crash repeats it: receivers tell by the occurrence.

use super::{Alert, Alerts, Taken, logged};
use crate::ports::store::{Store, StoreError, TransactError};
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use volume_core::item::{Item, Write};
use volume_core::keys;

/// Alerts that may wait. One is told in well under a second, so this is a storm; what more comes is in the log.
pub const QUEUE_MAX: usize = 256;

/// Pauses between the tries of one alert, in real time: a minute in all, as long as a fail-over of a region's service
/// takes. What is still refused then is in the log, and raised again by the migration's next driver.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// Tells an alert outside. One call is one try, with a time-out of its own.
#[async_trait]
pub trait Publisher: Debug + Send + Sync {
    /// Told when this returns `Ok`; after an error perhaps all the same.
    async fn publish(&self, alert: &Alert) -> Result<(), NotPublished>;
}

/// Why an alert was not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not published: {code}")]
pub struct NotPublished {
    /// The publisher's code.
    pub code: String,
    /// Whether another try may help.
    pub again: bool,
}

/// What became of alerts in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged by the publisher.
    pub published: u64,
    /// Marked as told before, by this process or another.
    pub known: u64,
    /// Given up after all tries.
    pub failed: u64,
    /// Not taken, because the queue was full.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    known: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    queue: Mutex<Option<mpsc::Sender<Alert>>>,
    telling: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// What the desk shares with its task.
#[derive(Debug, Default)]
struct Shared {
    taken: Taken,
    counters: Counters,
}

impl Desk {
    /// Starts the task. Dropping the desk ends it at once.
    pub fn start(publisher: Arc<dyn Publisher>, store: Arc<dyn Store>) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let teller = Teller { publisher, store, shared: Arc::clone(&shared) };
        let telling = tokio::spawn(teller.run(receiver));
        Arc::new(Self { queue: Mutex::new(Some(sender)), telling: Mutex::new(Some(telling)), shared })
    }

    /// What became of alerts so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            published: read(&counters.published),
            known: read(&counters.known),
            failed: read(&counters.failed),
            dropped: read(&counters.dropped),
        }
    }

    /// Takes no more, and returns when all that was taken is told or given up. The caller sets the bound.
    pub async fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(telling) = telling {
            let _ended = telling.await;
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let telling = self.telling.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(telling) = telling {
            telling.abort();
        }
    }
}

impl Alerts for Desk {
    fn raise(&self, alert: Alert) {
        if !self.shared.taken.first(&alert.occurrence) {
            return;
        }
        logged(&alert);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = queue.as_ref().is_some_and(|queue| queue.try_send(alert.clone()).is_ok());
        if !taken {
            self.shared.taken.forget(&alert.occurrence);
            let dropped = self.shared.counters.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(occurrence = alert.occurrence, dropped, "an alert is in the log only: its queue is full");
        }
    }
}

/// The desk's task.
struct Teller {
    publisher: Arc<dyn Publisher>,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

impl Teller {
    async fn run(self, mut queue: mpsc::Receiver<Alert>) {
        while let Some(alert) = queue.recv().await {
            self.tell(&alert).await;
        }
    }

    async fn tell(&self, alert: &Alert) {
        let (occurrence, counters) = (&alert.occurrence, &self.shared.counters);
        match self.is_marked(occurrence).await {
            Ok(true) => {
                counters.known.fetch_add(1, Ordering::Relaxed);
                tracing::info!(occurrence, "an alert was published before");
                return;
            }
            Ok(false) => {}
            // Rather twice than never.
            Err(error) => tracing::warn!(occurrence, %error, "whether an alert was published before is not known"),
        }
        if self.publish(alert).await {
            counters.published.fetch_add(1, Ordering::Relaxed);
            tracing::info!(occurrence, kind = alert.kind.as_str(), "an alert was published");
            self.mark(occurrence).await;
        } else {
            let failed = counters.failed.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(occurrence, failed, "an alert is in the log only: it could not be published");
            self.shared.taken.forget(occurrence);
        }
    }

    async fn publish(&self, alert: &Alert) -> bool {
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.publisher.publish(alert).await {
                Ok(()) => return true,
                Err(NotPublished { code, again }) => {
                    tracing::warn!(occurrence = alert.occurrence, code, again, "an alert was not published");
                    let Some(pause) = pauses.next().filter(|_| again) else { return false };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn is_marked(&self, occurrence: &str) -> Result<bool, StoreError> {
        Ok(self.store.get(&keys::alert(occurrence)).await?.is_some())
    }

    /// If it cannot be marked, a restart tells it once more.
    async fn mark(&self, occurrence: &str) {
        let token = ulid::Ulid::generate().to_string();
        let write = Write::create(keys::alert(occurrence), Item::default());
        match self.store.transact(&token, vec![write]).await {
            // From here on no process tells it again.
            Ok(()) | Err(TransactError::Refused(_)) => tracing::info!(occurrence, "an alert is marked as published"),
            Err(error) => tracing::warn!(occurrence, %error, "a published alert could not be marked as such"),
        }
    }
}
