//! subscription-svc's store as one of its processes reaches it: a little away, looked at by the monitor after every commit,
//! and for a while, if the plan says so, with a database's manners: away, or a COMMIT whose answer is lost.

use crate::monitor::Monitor;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subscription_svc::store::memory::Memory;
use subscription_svc::store::rows::{Access, AuditEvent, Leases, Revision, Subgraph, Subscription, TierChange};
use subscription_svc::store::{
    Act, AuditFilter, ChangeFilter, Committed, Due, Fault, Feed, Key, Loaded, Published, Refreshed, Store,
    SubscriptionFilter,
};
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};
use tiershift_tests::world::dice::Dice;

/// Half of what a commit takes.
const ONE_WAY: Duration = Duration::from_millis(2);

/// How badly the database behaves, for how many more transactions. Shared by the processes that come and go.
#[derive(Debug, Default)]
pub struct Manners(Mutex<Option<(u64, Dice)>>);

impl Manners {
    /// Behaves badly for so many transactions.
    pub fn worsen(&self, transactions: u64, seed: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((transactions, Dice::new(seed)));
    }

    /// Behaves well from here on.
    pub fn mend(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fate(&self) -> Fate {
        let mut manners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((left, dice)) = manners.as_mut() else { return Fate::Answered };
        let fate = match dice.between(1, 6) {
            1 => Fate::Away,
            2 => Fate::LostBefore,
            3 | 4 => Fate::LostAfter,
            _ => Fate::Answered,
        };
        *left -= 1;
        if *left == 0 {
            *manners = None;
        }
        fate
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Away,
    LostBefore,
    LostAfter,
}

/// One process's way to the store.
pub struct Hazard {
    inner: Arc<Memory>,
    monitor: Arc<Monitor>,
    manners: Arc<Manners>,
}

impl Hazard {
    /// Over the one memory.
    pub fn new(inner: Arc<Memory>, monitor: Arc<Monitor>, manners: Arc<Manners>) -> Self {
        Self { inner, monitor, manners }
    }
}

#[async_trait]
impl Store for Hazard {
    async fn transact(&self, key: &Key, act: Act<'_>) -> Result<Committed, Fault> {
        tokio::time::sleep(ONE_WAY).await;
        let fate = self.manners.fate();
        let lost = || Err(Fault::Unknown("no answer to COMMIT".into()));
        let answer = match fate {
            Fate::Away => return Err(Fault::Away("no connection".into())),
            // The transaction was rolled back by the server; the client cannot know.
            Fate::LostBefore => return lost(),
            Fate::Answered | Fate::LostAfter => self.inner.transact(key, act).await,
        };
        if answer.is_ok() {
            self.monitor.committed(key);
        }
        if fate == Fate::LostAfter && answer.is_ok() {
            return lost();
        }
        // Nothing is between a commit and its news: a killed process may have committed and not have learned it.
        tokio::time::sleep(ONE_WAY).await;
        answer
    }

    async fn read(&self, key: &Key) -> Result<Loaded, Fault> {
        self.inner.read(key).await
    }

    async fn subgraphs(
        &self,
        parent: &GraphId,
        after: Option<&AnyGraphId>,
        limit: u32,
    ) -> Result<Vec<Subgraph>, Fault> {
        self.inner.subgraphs(parent, after, limit).await
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
        self.inner.subscription(id).await
    }

    async fn subscription_of_provider(&self, provider: &str, name: &str) -> Result<Option<Subscription>, Fault> {
        self.inner.subscription_of_provider(provider, name).await
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        before: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, Fault> {
        self.inner.subscriptions(filter, before, limit).await
    }

    async fn changes(
        &self,
        filter: &ChangeFilter,
        before: Option<&ChangeId>,
        limit: u32,
    ) -> Result<Vec<TierChange>, Fault> {
        self.inner.changes(filter, before, limit).await
    }

    async fn changes_by_id(&self, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
        self.inner.changes_by_id(ids).await
    }

    async fn open_changes(&self) -> Result<Vec<TierChange>, Fault> {
        self.inner.open_changes().await
    }

    async fn due_subscriptions(&self, now: UnixMs, limit: u32) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault> {
        self.inner.due_subscriptions(now, limit).await
    }

    async fn due(&self, now: UnixMs) -> Result<Due, Fault> {
        self.inner.due(now).await
    }

    async fn events(&self, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault> {
        self.inner.events(feed, after, limit).await
    }

    async fn feed_base(&self, org: &OrgId) -> Result<u64, Fault> {
        self.inner.feed_base(org).await
    }

    async fn feed_head(&self) -> Result<u64, Fault> {
        self.inner.feed_head().await
    }

    async fn access(&self) -> Result<(Revision, Leases, Vec<Access>), Fault> {
        self.inner.access().await
    }

    async fn refresh(&self, replica: &str, from: Revision) -> Result<Refreshed, Fault> {
        self.inner.refresh(replica, from).await
    }

    async fn audit(&self, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
        self.inner.audit(change).await
    }

    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Fault> {
        self.inner.audit_events(filter, before, limit).await
    }

    async fn epoch(&self) -> Result<i64, Fault> {
        self.inner.epoch().await
    }

    async fn begin_epoch(&self) -> Result<i64, Fault> {
        self.inner.begin_epoch().await
    }
}
