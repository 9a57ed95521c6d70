//! What use cases and sagas share: the store behind its committer, the two outside parties, the clock, the catalogue.
//!
//! It decides nothing. `usecase` are the requests, `saga` runs what was accepted; `app` makes one of these.

use crate::access::Replica;
use crate::commit::Committer;
use crate::hold::Hold;
use crate::hub::Hub;
use crate::migrations::Migrations;
use crate::payments::Payments;
use crate::store::inbox::Inbox;
use crate::store::{self, Constraint, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use subscription_core::flags::Flags;
use tiershift_common::clock::Clock;
use tiershift_common::ids::Ids;
use tiershift_common::status::Fault;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::ChangeId;
use tiershift_core::{Error, Kind, Reason, UnixMs};
use tokio::sync::Notify;

/// What a use case gives: a value, or an error for the caller with its cause for the log.
pub type Outcome<T> = Result<T, Fault>;

/// When a store that does not answer may be asked again, in milliseconds of real time.
const RETRY_STORE_MS: u64 = 1_000;

/// What this process has learned, and when by its own clock: where a wait begins (H7, H29). Empty after a restart,
/// so that every wait is waited in full again.
#[derive(Debug, Default)]
pub struct Learned {
    at: Mutex<BTreeMap<(ChangeId, &'static str), UnixMs>>,
}

impl Learned {
    /// When this was first learned: now, if it is news.
    pub fn since(&self, change: &ChangeId, what: &'static str, now: UnixMs) -> UnixMs {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at.entry((change.clone(), what)).or_insert(now)
    }

    /// Begins every wait anew.
    pub fn clear(&self) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The change has ended: nothing of it is waited for any more.
    pub fn forget(&self, change: &ChangeId) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.retain(|(known, _), _| known != change);
    }
}

/// Shared by everything.
pub struct Service {
    /// Reads.
    pub store: Arc<dyn Store>,
    /// Writes.
    pub committer: Committer,
    /// Access checks.
    pub replica: Arc<Replica>,
    /// Fresh events.
    pub hub: Arc<Hub>,
    /// The service that owns volumes.
    pub migrations: Arc<dyn Migrations>,
    /// The payment provider.
    pub payments: Arc<dyn Payments>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Ids,
    /// All tiers.
    pub catalogue: Catalogue,
    /// What is switched on.
    pub flags: Flags,
    /// Where to stand still.
    pub hold: Hold,
    /// Where waits begin.
    pub learned: Learned,
    /// Wakes the follower when there is one more migration to follow.
    pub follow: Notify,
    /// What the payment provider sent; none where nothing is ever received.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// Told of events that are to be looked at.
    pub arrived: Arc<Notify>,
    /// Whether other processes serve the same store: what they leave to be done wakes nobody here.
    pub shared: bool,
}

impl Service {
    /// Over these ports. The replica is empty until [`Committer::reload`].
    pub fn new(
        store: Arc<dyn Store>,
        migrations: Arc<dyn Migrations>,
        payments: Arc<dyn Payments>,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> Self {
        let (replica, hub) = (Arc::new(Replica::default()), Arc::new(Hub::new()));
        Self {
            committer: Committer::new(Arc::clone(&store), Arc::clone(&replica), Arc::clone(&hub)),
            store,
            replica,
            hub,
            migrations,
            payments,
            clock,
            ids,
            catalogue: Catalogue::default(),
            flags: Flags::default(),
            hold: Hold::never(),
            learned: Learned::default(),
            follow: Notify::new(),
            inbox: None,
            arrived: Arc::new(Notify::new()),
            shared: false,
        }
    }

    /// Other processes serve the same store.
    pub fn share(&mut self) {
        self.shared = true;
        self.replica.share();
    }

    /// Where to stand still: everywhere that it may.
    pub fn hold_at(&mut self, hold: Hold) {
        self.hold = hold;
        self.committer.hold = hold;
    }

    /// Now, on the one clock.
    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Milliseconds of the clock port as a hint in real time for a caller, at least 1.
    pub fn hint_ms(&self, ms: i64) -> u64 {
        u64::try_from(self.clock.real(ms).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// What a fault of the store is to a caller.
pub fn from_store(fault: store::Fault) -> Fault {
    match fault {
        // Under the lock everything was checked: somebody else's row came first.
        store::Fault::Constraint(
            constraint @ (Constraint::ActiveChange | Constraint::LiveSubscription | Constraint::Other),
        ) => {
            let text = "another request changed the same thing at the same time; read it and repeat";
            Fault::because(Error::new(Kind::Aborted, Reason::ConcurrentUpdate, text), constraint)
        }
        fault @ (store::Fault::Away(_) | store::Fault::Unknown(_)) => {
            Fault::unavailable("the database", RETRY_STORE_MS, fault)
        }
        fault @ (store::Fault::Constraint(Constraint::EventSequence | Constraint::PaymentBytes)
        | store::Fault::Corrupt(_)) => Fault::internal(fault),
    }
}
