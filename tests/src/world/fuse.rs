//! Where a process dies: a fuse burns one step at each border of a durable change, and the process that reaches its end
//! gets no further.
//!
//! The borders are the four instants that matter to recovery: before and after an append, before and after an effect.
//! Reads do not count, so that the places worth dying at are met as often as the long waits between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// The fuse of one process.
#[derive(Debug)]
pub struct Fuse {
    burnt: AtomicU64,
    ends_at: Option<u64>,
    ended: CancellationToken,
}

impl Fuse {
    /// Never ends.
    pub fn endless() -> Arc<Self> {
        Arc::new(Self { burnt: AtomicU64::new(0), ends_at: None, ended: CancellationToken::new() })
    }

    /// Ends at the `ends_at`-th border; 1 is the first.
    pub fn ending_at(ends_at: u64) -> Arc<Self> {
        Arc::new(Self { burnt: AtomicU64::new(0), ends_at: Some(ends_at), ended: CancellationToken::new() })
    }

    /// A border. From the last one on nobody gets past any.
    pub async fn border(&self) {
        let burnt = self.burnt.fetch_add(1, Ordering::Relaxed) + 1;
        if self.ends_at.is_some_and(|end| burnt >= end) {
            self.ended.cancel();
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has an end at all.
    pub fn ends(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Returns when the end is reached.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}
