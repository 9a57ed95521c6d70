//! Where a process dies or stands still: a fuse burns one step at each border of a durable change, and the process that
//! reaches its end gets no further.
//!
//! The borders are the four instants that matter to recovery: before and after an append, before and after an effect.
//! Reads do not count, so that the places worth dying at are met as often as the long waits between them. A process that
//! stands still at a border (as SIGSTOP or a long pause does it) goes on later with exactly what it had in hand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The fuse of one process.
#[derive(Debug)]
pub struct Fuse {
    burnt: AtomicU64,
    ends_at: Option<u64>,
    pauses_at: Option<(u64, Duration)>,
    ended: CancellationToken,
    blown: AtomicBool,
    still: Arc<Still>,
}

/// Until when a process stands still; shared by everything in it.
#[derive(Debug, Default)]
pub struct Still(Mutex<Option<Instant>>);

impl Still {
    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands still for so long from now.
    pub fn begin(&self, length: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + length);
    }

    /// Returns when the process does not stand still.
    pub async fn over(&self) {
        while let Some(until) = self.until().filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Fuse {
    fn new(ends_at: Option<u64>, pauses_at: Option<(u64, Duration)>, still: Arc<Still>) -> Arc<Self> {
        let (burnt, blown, ended) = (AtomicU64::new(0), AtomicBool::new(false), CancellationToken::new());
        Arc::new(Self { burnt, ends_at, pauses_at, ended, blown, still })
    }

    /// Never ends.
    pub fn endless() -> Arc<Self> {
        Self::new(None, None, Arc::default())
    }

    /// Ends at the `ends_at`-th border; 1 is the first.
    pub fn ending_at(ends_at: u64) -> Arc<Self> {
        Self::new(Some(ends_at), None, Arc::default())
    }

    /// Stands still for so long at the `at`-th border, and never ends.
    pub fn pausing_at(at: u64, length: Duration) -> Arc<Self> {
        Self::new(None, Some((at, length)), Arc::default())
    }

    /// Never ends, and stands still whenever this one does: for what else runs in the same process.
    #[must_use]
    pub fn beside(&self) -> Arc<Self> {
        Self::new(None, None, Arc::clone(&self.still))
    }

    /// A border. From the last one on nobody gets past any.
    pub async fn border(&self) {
        let burnt = self.burnt.fetch_add(1, Ordering::Relaxed) + 1;
        if self.ends_at.is_some_and(|end| burnt >= end) {
            self.ended.cancel();
            std::future::pending::<()>().await;
        }
        if let Some((_, length)) = self.pauses_at.filter(|(at, _)| *at == burnt) {
            self.still.begin(length);
        }
        self.still.over().await;
        if self.blown.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Stands still for so long from now, wherever it is.
    pub fn pause(&self, length: Duration) {
        self.still.begin(length);
    }

    /// Ends it now: whatever of the process is still scheduled gets past no border any more.
    pub fn blow(&self) {
        self.blown.store(true, Ordering::Relaxed);
    }

    /// Whether it has an end at all.
    pub fn ends(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Whether the end is reached.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Returns when the end is reached.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}
