//! The store's port: everything subscription-svc keeps.
//!
//! One writing method for all use cases ([`Store::begin_epoch`] is the operators'). A use case is a *transaction*: the store locks one graph with all that belongs to it, loads it
//! whole, asks a pure function what to write, and writes that or nothing. So the rules stand once, in the use cases,
//! and no adapter can have an opinion of its own. Lock order: subscription, change, record, counter (H38).
//!
//! What it promises: a transaction is serial against every other of the same graph; events of a change have the next
//! sequence or the transaction fails; feed numbers and access versions grow in commit order; a version is taken by
//! the last statement before COMMIT. Acknowledged is durable.
//!
//! What it does *not* promise: that a transaction without an answer did not happen ([`Fault::Unknown`]: read it back
//! under the lock, H7); order between graphs; that reads outside of a transaction are the newest, only that they are
//! of some committed state not older than the last acknowledged write of this process.

pub mod inbox;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod rows;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use async_trait::async_trait;
use inbox::WebhookMark;
use rows::{
    Access, AuditEvent, Graph, Leases, Owed, PaymentRequest, Request, RequestKey, Revision, Subgraph, Subscription,
    TierChange,
};
use subscription_core::change::{Effect, State};
use subscription_core::status::SubscriptionStatus;
use tiershift_core::UnixMs;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};

/// The leases of a new store: a minute while nothing happens, two seconds while a change runs (H29).
pub const FIRST_LEASES: Leases = Leases { calm_ms: 60_000, changing_ms: 2_000 };

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A rule of the schema refused it; nothing was written. Somebody else was faster, or it is a fault of ours.
    #[error("refused by {0}")]
    Constraint(Constraint),
    /// It does not answer, or is too busy; nothing was written.
    #[error("the store does not answer")]
    Away(#[source] Cause),
    /// COMMIT has no answer: it happened or not.
    #[error("the outcome of a transaction is not known")]
    Unknown(#[source] Cause),
    /// What it holds cannot be read as what it should be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// The cause below an adapter.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The rules that the schema itself holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Constraint {
    /// One live subscription per graph.
    #[error("one live subscription per graph")]
    LiveSubscription,
    /// One active change per subscription.
    #[error("one active change per subscription")]
    ActiveChange,
    /// An event's sequence number is taken, or leaves a gap.
    #[error("a gapless event sequence per change")]
    EventSequence,
    /// A provider request exists with other bytes.
    #[error("one set of bytes per payment key")]
    PaymentBytes,
    /// Any other.
    #[error("a rule of the schema")]
    Other,
}

/// What a transaction is about. Everything of that graph is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A graph, with the change that runs, or else the newest.
    Graph(GraphId),
    /// The graph of a change, with that change.
    Change(ChangeId),
}

/// What a transaction wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The graph or change.
    pub subject: Subject,
    /// A subgraph to load with it.
    pub subgraph: Option<AnyGraphId>,
    /// A request id to look up.
    pub request: Option<RequestKey>,
}

impl Key {
    /// A graph.
    pub const fn graph(id: GraphId) -> Self {
        Self { subject: Subject::Graph(id), subgraph: None, request: None }
    }

    /// A change.
    pub const fn change(id: ChangeId) -> Self {
        Self { subject: Subject::Change(id), subgraph: None, request: None }
    }

    /// And a request id.
    #[must_use]
    pub fn with_request(mut self, key: RequestKey) -> Self {
        self.request = Some(key);
        self
    }
}

/// Everything of one graph, locked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The graph.
    pub graph: Option<Graph>,
    /// How many subgraphs it has.
    pub subgraphs: i64,
    /// The subgraph of the key, deleted or not.
    pub subgraph: Option<Subgraph>,
    /// The subscription that counts: the live one, else the newest.
    pub subscription: Option<Subscription>,
    /// The change of the key; for a graph the active one, else the newest.
    pub change: Option<TierChange>,
    /// The change's undelivered effects, in order.
    pub owed: Vec<Owed>,
    /// The change's provider requests.
    pub payments: Vec<PaymentRequest>,
    /// The access record.
    pub access: Option<Access>,
    /// The request of the key, if it was used before.
    pub request: Option<Request>,
    /// The leases.
    pub leases: Leases,
    /// The epoch of this store (H19).
    pub epoch: i64,
}

/// What a refresh found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// Whether the revision that was begun from exists in this history. If not, the database went back in time, and nothing
    /// else here means anything: everything is to be loaded anew (H1).
    pub proved: bool,
    /// The highest revision among `changed`, never the counter (H4); where it was begun from, if nothing has changed.
    pub revision: Revision,
    /// The leases now.
    pub leases: Leases,
    /// Records that are newer than where it was begun from.
    pub changed: Vec<Access>,
    /// The highest feed number given out.
    pub feed: u64,
}

/// One thing to write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Insert or replace a graph.
    Graph(Graph),
    /// Insert or replace a subgraph.
    Subgraph(Subgraph),
    /// Mark all subgraphs of a graph as deleted.
    DeleteSubgraphs(GraphId, UnixMs),
    /// Insert or replace a subscription.
    Subscription(Box<Subscription>),
    /// Insert or replace a change.
    Change(Box<TierChange>),
    /// Append a public event.
    Event(ChangeEvent),
    /// Owe an effect, behind all others of the change. An undelivered one of the same kind is dropped.
    Owe {
        /// For which change.
        change: ChangeId,
        /// What.
        effect: Effect,
        /// Tries so far, if it is owed again.
        attempts: u32,
        /// Not to be tried before.
        not_before: UnixMs,
    },
    /// An effect is delivered, or not wanted any more.
    Settle(i64),
    /// An effect had no answer: try again later.
    Retry(Owed),
    /// Insert a provider request, or note its outcome.
    Payment(PaymentRequest),
    /// Append to the audit.
    Audit(Box<AuditEvent>),
    /// Insert or replace an access record, under the next version with this nonce.
    Access(Box<Access>, i64),
    /// Remember a request.
    Request(Request),
    /// Note what became of events of the payment provider.
    Webhooks(WebhookMark),
}

/// A public event with its place in the feed over all changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Grows in commit order over all changes; may skip.
    pub feed: u64,
    /// Whose change it is.
    pub org: OrgId,
    /// The event.
    pub event: ChangeEvent,
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The access revision it made, with the records as stored.
    pub access: Option<(Revision, Vec<Access>)>,
    /// The events it published.
    pub published: Vec<Published>,
    /// Whether it owes effects, or changed a deadline.
    pub owes: bool,
}

/// The pure function of a transaction. No writes: nothing is committed.
pub type Act<'a> = &'a mut (dyn FnMut(&Loaded) -> Vec<Write> + Send);

/// Which changes a list shows. All that are given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Of this organisation.
    pub org: Option<OrgId>,
    /// Of this graph.
    pub graph: Option<GraphId>,
    /// In this state.
    pub state: Option<State>,
    /// Not ended.
    pub active_only: bool,
}

/// Which subscriptions a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFilter {
    /// Of this organisation.
    pub org: Option<OrgId>,
    /// Of this graph.
    pub graph: Option<GraphId>,
    /// In this status.
    pub status: Option<SubscriptionStatus>,
}

/// Which entries of the audit a list shows. All that are given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this organisation.
    pub org: Option<OrgId>,
    /// About this graph.
    pub graph: Option<GraphId>,
    /// About this subscription.
    pub subscription: Option<SubscriptionId>,
    /// About this change.
    pub change: Option<ChangeId>,
}

/// Which events a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Of these changes.
    Changes(Vec<ChangeId>),
    /// Of the changes of an organisation whose first event has a feed number above this one: so each change is seen
    /// whole or not at all.
    Org(OrgId, u64),
}

/// What is to be done, and when the next thing will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The first undelivered effect of each change that has one and is due.
    pub owed: Vec<Owed>,
    /// Changes whose deadline has passed.
    pub overdue: Vec<ChangeId>,
    /// The next instant at which there will be more, if nothing else happens.
    pub next: Option<UnixMs>,
}

/// The store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Locks, loads, asks, writes, commits.
    async fn transact(&self, key: &Key, act: Act<'_>) -> Result<Committed, Fault>;

    /// The same picture without a lock.
    async fn read(&self, key: &Key) -> Result<Loaded, Fault>;

    /// Subgraphs of a graph that are not deleted, by id, after this one.
    async fn subgraphs(&self, parent: &GraphId, after: Option<&AnyGraphId>, limit: u32)
    -> Result<Vec<Subgraph>, Fault>;

    /// One subscription.
    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Subscription>, Fault>;

    /// The subscription that a payment provider knows by this name.
    async fn subscription_of_provider(&self, provider: &str, name: &str) -> Result<Option<Subscription>, Fault>;

    /// Subscriptions, newest first, before this one.
    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        before: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, Fault>;

    /// Changes, newest first, before this one.
    async fn changes(
        &self,
        filter: &ChangeFilter,
        before: Option<&ChangeId>,
        limit: u32,
    ) -> Result<Vec<TierChange>, Fault>;

    /// Those of these changes that exist, by id.
    async fn changes_by_id(&self, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault>;

    /// Changes that have not ended, or whose migration still has something to tell, by id.
    async fn open_changes(&self) -> Result<Vec<TierChange>, Fault>;

    /// Subscriptions for which something is due at `now`, those due longest first, at most so many; and when the first of
    /// the others will be. Of one whose tier changes only what the provider must be told is ever due.
    async fn due_subscriptions(&self, now: UnixMs, limit: u32) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault>;

    /// What is due at `now`.
    async fn due(&self, now: UnixMs) -> Result<Due, Fault>;

    /// Events of a selection after a feed number, in feed order.
    async fn events(&self, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault>;

    /// The feed number below which a new watcher of an organisation needs nothing: that of the oldest first event of
    /// its changes that have not ended, less one; the head if there are none.
    async fn feed_base(&self, org: &OrgId) -> Result<u64, Fault>;

    /// The highest feed number given out.
    async fn feed_head(&self) -> Result<u64, Fault>;

    /// All access records with the revision they are at, in one consistent read.
    async fn access(&self) -> Result<(Revision, Leases, Vec<Access>), Fault>;

    /// What has changed in the access records since a revision, by one transaction that writes too, for the replica with this
    /// name: whoever cannot write, a standby or a primary that was cut off, cannot answer (H2). It never gives less than what
    /// was committed before it began (H4).
    async fn refresh(&self, replica: &str, from: Revision) -> Result<Refreshed, Fault>;

    /// The audit of a change, oldest first.
    async fn audit(&self, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault>;

    /// The audit, newest first, before this one.
    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Fault>;

    /// The epoch of this store (H19).
    async fn epoch(&self) -> Result<i64, Fault>;

    /// Begins a new epoch, after a restore, and gives it back. No service may run.
    async fn begin_epoch(&self) -> Result<i64, Fault>;

    /// Ends it in order: nothing may be asked of it any more.
    async fn close(&self) {}
}
