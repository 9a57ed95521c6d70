//! The store in memory: for virtual time, where no foreign thread may run, and as the plainest reading of the port.
//!
//! One mutex, no I/O, nothing durable. Every rule that the schema of the SQL adapters holds is checked (`rules`)
//! before anything is written; the conformance suite runs over both.

mod rules;
mod webhook;

use super::inbox::WebhookEvent;
use super::rows::{
    Access, AuditEvent, Graph, Leases, Owed, PaymentKind, PaymentRequest, Request, RequestKey, Revision, Subgraph,
    Subscription, TierChange,
};
use super::{
    Act, AuditFilter, ChangeFilter, Committed, Due, FIRST_LEASES, Fault, Feed, Key, Loaded, Published, Refreshed,
    Store, Subject, SubscriptionFilter, Write,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tiershift_core::UnixMs;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};

/// The store.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    graphs: BTreeMap<GraphId, Graph>,
    subgraphs: BTreeMap<AnyGraphId, Subgraph>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// By graph, so that loading one does not read all; `changes_of` too.
    subscriptions_of: BTreeMap<GraphId, Vec<SubscriptionId>>,
    of_provider: BTreeMap<(String, String), SubscriptionId>,
    changes: BTreeMap<ChangeId, TierChange>,
    changes_of: BTreeMap<GraphId, Vec<ChangeId>>,
    events: BTreeMap<u64, Published>,
    first_feed: BTreeMap<ChangeId, u64>,
    last_seq: BTreeMap<ChangeId, u64>,
    owed: BTreeMap<i64, Owed>,
    next_owed: i64,
    payments: BTreeMap<(ChangeId, PaymentKind), PaymentRequest>,
    audit: Vec<AuditEvent>,
    access: BTreeMap<GraphId, Access>,
    revision: Revision,
    /// The nonce of each version.
    history: BTreeMap<u64, i64>,
    requests: BTreeMap<RequestKey, Request>,
    webhooks: BTreeMap<String, WebhookEvent>,
    last_webhook: u64,
    leases: Leases,
    feed: u64,
    epoch: i64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(FIRST_LEASES)
    }
}

impl Memory {
    /// An empty store.
    pub fn new(leases: Leases) -> Self {
        let state = State {
            graphs: BTreeMap::new(),
            subgraphs: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            subscriptions_of: BTreeMap::new(),
            of_provider: BTreeMap::new(),
            changes: BTreeMap::new(),
            changes_of: BTreeMap::new(),
            events: BTreeMap::new(),
            first_feed: BTreeMap::new(),
            last_seq: BTreeMap::new(),
            owed: BTreeMap::new(),
            next_owed: 1,
            payments: BTreeMap::new(),
            audit: Vec::new(),
            access: BTreeMap::new(),
            revision: Revision { version: 0, nonce: 0 },
            history: BTreeMap::new(),
            requests: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            last_webhook: 0,
            leases,
            feed: 0,
            epoch: 1,
        };
        Self { state: Mutex::new(state) }
    }

    /// A store of its own with everything that is in this one.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { state: Mutex::new(self.lock().clone()) }
    }

    /// Holds what another one holds, and nothing else.
    pub fn become_copy_of(&self, other: &Self) {
        let state = other.lock().clone();
        *self.lock() = state;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Writes are checked before the first is applied, so a panicked holder leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn load(&self, key: &Key) -> Loaded {
        let (graph, named) = match &key.subject {
            Subject::Graph(graph) => (Some(graph.clone()), None),
            Subject::Change(id) => {
                let change = self.changes.get(id);
                (change.map(|c| c.graph.clone()), change)
            }
        };
        let change = match &key.subject {
            Subject::Graph(graph) => self.changes_of(graph).max_by_key(|c| (c.active(), c.id.clone())),
            Subject::Change(_) => named,
        };
        let subscriptions = graph.as_ref().map(|g| self.subscriptions_of(g));
        let subscription = subscriptions.into_iter().flatten().max_by_key(|s| (s.live, s.id.clone()));
        let subgraphs = graph.as_ref().map(|g| self.alive_subgraphs(g).count());
        let id = change.map(|c| &c.id);
        Loaded {
            graph: graph.as_ref().and_then(|g| self.graphs.get(g)).cloned(),
            subgraphs: subgraphs.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX)),
            subgraph: key.subgraph.as_ref().and_then(|s| self.subgraphs.get(s)).cloned(),
            subscription: subscription.cloned(),
            change: change.cloned(),
            owed: self.owed.values().filter(|o| Some(&o.change) == id).cloned().collect(),
            payments: self.payments.values().filter(|p| Some(&p.change) == id).cloned().collect(),
            access: graph.as_ref().and_then(|g| self.access.get(g)).cloned(),
            request: key.request.as_ref().and_then(|r| self.requests.get(r)).cloned(),
            leases: self.leases,
            epoch: self.epoch,
        }
    }

    /// Another row with the provider's name of this one, by the index that it would break.
    fn named_by_provider(&self, row: &Subscription) -> Option<SubscriptionId> {
        let name = (row.provider.clone(), row.provider_subscription_id.clone());
        self.of_provider.get(&name).cloned()
    }

    fn changes_of(&self, graph: &GraphId) -> impl Iterator<Item = &TierChange> {
        self.changes_of.get(graph).into_iter().flatten().filter_map(|id| self.changes.get(id))
    }

    fn subscriptions_of(&self, graph: &GraphId) -> impl Iterator<Item = &Subscription> {
        self.subscriptions_of.get(graph).into_iter().flatten().filter_map(|id| self.subscriptions.get(id))
    }

    /// A subgraph's id begins with its parent's, so that they lie together.
    fn alive_subgraphs(&self, parent: &GraphId) -> impl Iterator<Item = &Subgraph> {
        let from = AnyGraphId::from(parent.clone());
        let own = |(id, _): &(&AnyGraphId, &Subgraph)| id.as_str().starts_with(parent.as_str());
        self.subgraphs.range(from..).take_while(own).map(|(_, s)| s).filter(|s| s.deleted.is_none())
    }

    /// Applies writes that were checked.
    fn apply(&mut self, writes: Vec<Write>) -> Committed {
        let mut committed = Committed::default();
        let mut records = Vec::new();
        for write in writes {
            match write {
                Write::Graph(graph) => {
                    self.graphs.insert(graph.id.clone(), graph);
                }
                Write::Subgraph(subgraph) => {
                    self.subgraphs.insert(subgraph.id.clone(), subgraph);
                }
                Write::DeleteSubgraphs(parent, at) => {
                    for subgraph in self.subgraphs.values_mut().filter(|s| s.parent == parent && s.deleted.is_none()) {
                        subgraph.deleted = Some(at);
                    }
                }
                Write::Subscription(subscription) => {
                    index(&mut self.subscriptions_of, &subscription.graph, &subscription.id);
                    if !subscription.provider_subscription_id.is_empty() {
                        let name = (subscription.provider.clone(), subscription.provider_subscription_id.clone());
                        self.of_provider.insert(name, subscription.id.clone());
                    }
                    self.subscriptions.insert(subscription.id.clone(), *subscription);
                }
                Write::Change(change) => {
                    committed.owes = true;
                    index(&mut self.changes_of, &change.graph, &change.id);
                    self.changes.insert(change.id.clone(), *change);
                }
                Write::Event(event) => committed.published.extend(self.append(event)),
                Write::Owe { change, effect, attempts, not_before } => {
                    committed.owes = true;
                    self.owed.retain(|_, o| o.change != change || o.effect.kind() != effect.kind());
                    let id = self.next_owed;
                    self.next_owed += 1;
                    self.owed.insert(id, Owed { id, change, effect, attempts, not_before });
                }
                Write::Settle(id) => {
                    committed.owes = true;
                    self.owed.remove(&id);
                }
                Write::Retry(owed) => {
                    // A row that was dropped meanwhile stays dropped.
                    if let Some(row) = self.owed.get_mut(&owed.id) {
                        *row = owed;
                    }
                }
                Write::Payment(payment) => {
                    self.payments.insert((payment.change.clone(), payment.kind), payment);
                }
                Write::Audit(event) => self.audit.push(*event),
                Write::Access(access, nonce) => records.push((*access, nonce)),
                Write::Webhooks(mark) => self.mark(&mark),
                Write::Request(request) => {
                    self.requests.insert(request.key.clone(), request);
                }
            }
        }
        let mut stored = Vec::new();
        for (mut access, nonce) in records {
            self.revision = Revision { version: self.revision.version + 1, nonce };
            self.history.insert(self.revision.version, nonce);
            access.record.revision = self.revision.version;
            self.access.insert(access.graph.clone(), access.clone());
            stored.push(access);
        }
        committed.access = (!stored.is_empty()).then_some((self.revision, stored));
        committed
    }

    /// None cannot be: the change was checked to be there.
    fn append(&mut self, event: ChangeEvent) -> Option<Published> {
        let id = ChangeId::parse(event.change_id.clone()).ok()?;
        let org = self.changes.get(&id)?.org.clone();
        self.feed += 1;
        self.last_seq.insert(id.clone(), event.seq);
        self.first_feed.entry(id).or_insert(self.feed);
        let published = Published { feed: self.feed, org, event };
        self.events.insert(self.feed, published.clone());
        Some(published)
    }
}

fn index<T: Clone + PartialEq>(of: &mut BTreeMap<GraphId, Vec<T>>, graph: &GraphId, id: &T) {
    let all = of.entry(graph.clone()).or_default();
    if !all.contains(id) {
        all.push(id.clone());
    }
}

#[async_trait]
impl Store for Memory {
    async fn transact(&self, key: &Key, act: Act<'_>) -> Result<Committed, Fault> {
        let mut state = self.lock();
        let writes = act(&state.load(key));
        if writes.is_empty() {
            return Ok(Committed::default());
        }
        state.check(&writes).map_err(Fault::Constraint)?;
        Ok(state.apply(writes))
    }

    async fn read(&self, key: &Key) -> Result<Loaded, Fault> {
        Ok(self.lock().load(key))
    }

    async fn subgraphs(
        &self,
        parent: &GraphId,
        after: Option<&AnyGraphId>,
        limit: u32,
    ) -> Result<Vec<Subgraph>, Fault> {
        let state = self.lock();
        let wanted = |s: &&Subgraph| after.is_none_or(|a| &s.id > a);
        Ok(state.alive_subgraphs(parent).filter(wanted).take(limit as usize).cloned().collect())
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
        Ok(self.lock().subscriptions.get(id).cloned())
    }

    async fn subscription_of_provider(&self, provider: &str, name: &str) -> Result<Option<Subscription>, Fault> {
        let state = self.lock();
        let id = state.of_provider.get(&(provider.to_owned(), name.to_owned()));
        Ok(id.and_then(|id| state.subscriptions.get(id)).cloned())
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        before: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, Fault> {
        let state = self.lock();
        let wanted = |s: &&Subscription| {
            filter.org.as_ref().is_none_or(|org| &s.org == org)
                && filter.graph.as_ref().is_none_or(|graph| &s.graph == graph)
                && filter.status.is_none_or(|status| s.status == status)
                && before.is_none_or(|b| &s.id < b)
        };
        Ok(state.subscriptions.values().rev().filter(wanted).take(limit as usize).cloned().collect())
    }

    async fn changes(
        &self,
        filter: &ChangeFilter,
        before: Option<&ChangeId>,
        limit: u32,
    ) -> Result<Vec<TierChange>, Fault> {
        let state = self.lock();
        let wanted = |c: &&TierChange| {
            filter.org.as_ref().is_none_or(|org| &c.org == org)
                && filter.graph.as_ref().is_none_or(|graph| &c.graph == graph)
                && filter.state.is_none_or(|state| c.machine.state == state)
                && (!filter.active_only || c.active())
                && before.is_none_or(|b| &c.id < b)
        };
        Ok(state.changes.values().rev().filter(wanted).take(limit as usize).cloned().collect())
    }

    async fn changes_by_id(&self, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
        let state = self.lock();
        let mut found: Vec<TierChange> = ids.iter().filter_map(|id| state.changes.get(id)).cloned().collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    async fn open_changes(&self) -> Result<Vec<TierChange>, Fault> {
        Ok(self.lock().changes.values().filter(|c| c.active() || c.follows).cloned().collect())
    }

    async fn due_subscriptions(&self, now: UnixMs, limit: u32) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault> {
        let state = self.lock();
        let timed = state.subscriptions.values().filter_map(|s| Some((s.due()?, &s.id, s)));
        let (mut due, later): (Vec<_>, Vec<_>) = timed.partition(|(at, _, _)| *at <= now);
        due.sort_by_key(|(at, id, _)| (*at, *id));
        let next = later.into_iter().map(|(at, _, _)| at).min();
        Ok((due.into_iter().take(limit as usize).map(|(_, _, s)| s.clone()).collect(), next))
    }

    async fn due(&self, now: UnixMs) -> Result<Due, Fault> {
        let state = self.lock();
        let mut due = Due::default();
        let mut later = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for owed in state.owed.values() {
            if !seen.insert(&owed.change) {
                continue;
            }
            if owed.not_before <= now { due.owed.push(owed.clone()) } else { later.push(owed.not_before) }
        }
        for change in state.changes.values() {
            match change.deadline {
                Some(at) if at <= now => due.overdue.push(change.id.clone()),
                Some(at) => later.push(at),
                None => {}
            }
        }
        due.next = later.into_iter().min();
        Ok(due)
    }

    async fn events(&self, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault> {
        let state = self.lock();
        let wanted = |p: &&Published| match feed {
            Feed::Changes(ids) => ids.iter().any(|id| id.as_str() == p.event.change_id),
            Feed::Org(org, base) => {
                let first = ChangeId::parse(p.event.change_id.clone()).ok().and_then(|id| state.first_feed.get(&id));
                &p.org == org && first.is_some_and(|first| first > base)
            }
        };
        let all = state.events.range(after.saturating_add(1)..).map(|(_, p)| p);
        Ok(all.filter(wanted).take(limit as usize).cloned().collect())
    }

    async fn feed_base(&self, org: &OrgId) -> Result<u64, Fault> {
        let state = self.lock();
        let active = state.changes.values().filter(|c| &c.org == org && c.active());
        let first = active.filter_map(|c| state.first_feed.get(&c.id)).min();
        Ok(first.map_or(state.feed, |first| first - 1))
    }

    async fn feed_head(&self) -> Result<u64, Fault> {
        Ok(self.lock().feed)
    }

    async fn access(&self) -> Result<(Revision, Leases, Vec<Access>), Fault> {
        let state = self.lock();
        Ok((state.revision, state.leases, state.access.values().cloned().collect()))
    }

    async fn refresh(&self, _: &str, from: Revision) -> Result<Refreshed, Fault> {
        let state = self.lock();
        let changed: Vec<Access> =
            state.access.values().filter(|access| access.record.revision > from.version).cloned().collect();
        let newest = changed.iter().map(|access| access.record.revision).max();
        let nonce = |version| state.history.get(&version).copied().unwrap_or(0);
        Ok(Refreshed {
            proved: from.version == 0 || state.history.get(&from.version) == Some(&from.nonce),
            revision: newest.map_or(from, |version| Revision { version, nonce: nonce(version) }),
            leases: state.leases,
            changed,
            feed: state.feed,
        })
    }

    async fn audit(&self, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
        let state = self.lock();
        Ok(state.audit.iter().filter(|a| a.change.as_ref() == Some(change)).cloned().collect())
    }

    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Fault> {
        let state = self.lock();
        let wanted = |a: &&AuditEvent| {
            filter.org.as_ref().is_none_or(|org| &a.org == org)
                && filter.graph.as_ref().is_none_or(|graph| a.graph.as_ref() == Some(graph))
                && filter.subscription.as_ref().is_none_or(|id| a.subscription.as_ref() == Some(id))
                && filter.change.as_ref().is_none_or(|id| a.change.as_ref() == Some(id))
                && before.is_none_or(|b| &a.id < b)
        };
        let mut found: Vec<&AuditEvent> = state.audit.iter().filter(wanted).collect();
        found.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(found.into_iter().take(limit as usize).cloned().collect())
    }

    async fn epoch(&self) -> Result<i64, Fault> {
        Ok(self.lock().epoch)
    }

    async fn begin_epoch(&self) -> Result<i64, Fault> {
        let mut state = self.lock();
        state.epoch += 1;
        Ok(state.epoch)
    }
}
