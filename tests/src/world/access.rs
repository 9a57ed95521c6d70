//! Access to one graph, as short as it can be and still be fenced: a gate that closes and opens, and holders who may
//! decide by themselves for one lease after they last asked.
//!
//! subscription-svc has the real thing. What volume-svc relies on is only this: whoever waits a lease after closing the
//! gate has outlived every decision made before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;

/// How long a holder may go on without asking (the lease of a graph that is changing).
pub const LEASE_MS: i64 = 2_000;

/// The gate.
#[derive(Debug)]
pub struct Access {
    clock: Arc<dyn Clock>,
    /// When the gate was closed and, if it was, opened again; oldest first.
    closed: Mutex<Vec<(UnixMs, Option<UnixMs>)>>,
}

impl Access {
    /// Open.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, closed: Mutex::default() })
    }

    fn closed(&self) -> MutexGuard<'_, Vec<(UnixMs, Option<UnixMs>)>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a holder who asks now gets a lease.
    pub fn is_open(&self) -> bool {
        self.closed().last().is_none_or(|(_, opened)| opened.is_some())
    }

    /// Closes the gate.
    pub fn close(&self) {
        if self.is_open() {
            let now = self.clock.now();
            self.closed().push((now, None));
        }
    }

    /// Opens the gate.
    pub fn open(&self) {
        let now = self.clock.now();
        if let Some((_, opened)) = self.closed().last_mut() {
            opened.get_or_insert(now);
        }
    }

    /// When the gate was closed and opened again, oldest first.
    pub fn history(&self) -> Vec<(UnixMs, Option<UnixMs>)> {
        self.closed().clone()
    }
}

/// Somebody who decides locally. Asks as seldom as it may: the one whom a shorter wait would let through.
#[derive(Debug)]
pub struct Holder {
    access: Arc<Access>,
    until: UnixMs,
}

impl Holder {
    /// With no lease yet.
    pub fn new(access: Arc<Access>) -> Self {
        Self { access, until: UnixMs(0) }
    }

    /// Whether a write is allowed now.
    pub fn may_write(&mut self) -> bool {
        let now = self.access.clock.now();
        if now < self.until {
            return true;
        }
        let open = self.access.is_open();
        if open {
            self.until = now.plus(LEASE_MS);
        }
        open
    }
}
