//! One service in virtual time: store in memory, scripted volume-svc, simulated payments. It can be killed at any
//! moment and started again over the same store, which is all that a crash leaves.

use super::port::Port;
use super::seed;
use super::stripe::Purse;
use super::volume::Fake;
use std::collections::BTreeMap;
use std::sync::Arc;
use subscription_core::access::{Gate, Mode};
use subscription_svc::access::Answer;
use subscription_svc::payments::Payments;
use subscription_svc::payments::book::Book;
use subscription_svc::payments::sim::Sim;
use subscription_svc::saga;
use subscription_svc::service::Service;
use subscription_svc::store::memory::Memory;
use subscription_svc::store::rows::{AuditKind, TierChange};
use subscription_svc::store::{Feed, Key, Store};
use tiershift_common::clock::{Clock, Virtual};
use tiershift_common::ids::Ids;
use tiershift_core::UnixMs;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::event::{ChangeEvent, Direction, Source, Writes};
use tiershift_core::ids::{ChangeId, GraphId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// 2026-01-15: inside of a month, so that a proration is neither all nor nothing.
pub const START: i64 = 1_768_435_200_000;

/// No change takes longer than this without a person: an hour.
pub const BOUND_MS: i64 = 3_600_000;

/// The world.
pub struct World {
    /// What survives.
    pub store: Arc<Memory>,
    /// volume-svc.
    pub volume: Arc<Fake>,
    /// The simulated provider.
    pub sim: Arc<Sim>,
    /// The other one, if it is used instead.
    pub stripe: Option<Purse>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The process of today.
    pub service: Arc<Service>,
    running: Option<JoinHandle<()>>,
    starts: u64,
}

impl World {
    /// A running service.
    pub async fn start() -> Self {
        Self::start_with(|_| None).await
    }

    /// A running service whose first graph is paid for at Stripe.
    pub async fn start_with_stripe() -> Self {
        Self::start_with(|clock| Some(Purse::new(clock))).await
    }

    async fn start_with(stripe: impl FnOnce(&Arc<dyn Clock>) -> Option<Purse>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(START));
        let stripe = stripe(&clock);
        let store = Arc::new(Memory::default());
        let volume = Fake::new(Arc::clone(&clock));
        let sim = Arc::new(Sim::new(Arc::new(Book::in_memory()), BTreeMap::new()));
        let payments = payments(&sim, stripe.as_ref());
        let service = Arc::new(make(&store, &volume, payments, &clock, 0).await);
        let mut world = Self { store, volume, sim, stripe, clock, service, running: None, starts: 0 };
        world.run();
        world
    }

    fn run(&mut self) {
        self.running = Some(tokio::spawn(saga::run(Arc::clone(&self.service), CancellationToken::new())));
    }

    /// The process dies: its tasks stop where they stand.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            // Its own tasks are aborted with it.
            let _ = running.await;
        }
    }

    /// And starts again.
    pub async fn restart(&mut self) {
        self.restart_with(Catalogue::default()).await;
    }

    /// And starts again with other tiers.
    pub async fn restart_with(&mut self, catalogue: Catalogue) {
        self.kill().await;
        self.starts += 1;
        let payments = payments(&self.sim, self.stripe.as_ref());
        let mut service = make(&self.store, &self.volume, payments, &self.clock, self.starts).await;
        service.catalogue = catalogue;
        self.service = Arc::new(service);
        self.run();
    }

    /// Now.
    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Lets time pass.
    pub async fn pass(&self, ms: i64) {
        tiershift_common::clock::sleep_ms(self.clock.as_ref(), ms).await;
    }

    /// A subscribed graph.
    pub async fn graph(&self, n: u64) -> GraphId {
        let named = self.stripe.as_ref().map_or("", |purse| &purse.begun.subscription);
        seed::subscribed_as(&self.service, n, "org_a", "ladybug-standard", named).await
    }

    /// An accepted change of the n-th graph.
    pub async fn change(&self, n: u64) -> TierChange {
        let request = seed::change(&format!("c-{n}"), n, "ladybug-large");
        self.service.change_tier(&seed::owner("org_a"), request).await.expect("accepted")
    }

    /// The change as stored.
    pub async fn stored(&self, id: &ChangeId) -> TierChange {
        self.store.changes_by_id(std::slice::from_ref(id)).await.expect("read").pop().expect("stored")
    }

    /// Waits until the change is so; panics after [`BOUND_MS`].
    pub async fn until(&self, id: &ChangeId, what: &str, mut when: impl FnMut(&TierChange) -> bool) -> TierChange {
        let deadline = self.now().plus(BOUND_MS);
        let mut head = self.service.hub.subscribe();
        loop {
            let change = self.stored(id).await;
            if when(&change) {
                return change;
            }
            tokio::select! {
                biased;
                // A new process has a new hub; look from time to time whatever happens.
                _ = head.changed() => {}
                () = self.clock.sleep_until(self.now().plus(1_000)) => {}
            }
            assert!(self.now() < deadline, "{what} does not come: {change:#?}");
        }
    }

    /// Waits for its end.
    pub async fn ended(&self, id: &ChangeId) -> TierChange {
        self.until(id, "the end", |c| !c.active()).await
    }

    /// Its public events.
    pub async fn events(&self, id: &ChangeId) -> Vec<ChangeEvent> {
        let feed = Feed::Changes(vec![id.clone()]);
        let all = self.store.events(&feed, 0, 10_000).await.expect("read");
        all.into_iter().map(|p| p.event).collect()
    }

    /// The kinds of its audit, in order.
    pub async fn audit(&self, id: &ChangeId) -> Vec<AuditKind> {
        self.store.audit(id).await.expect("read").into_iter().map(|a| a.kind).collect()
    }

    /// Whether a service may write to a graph now, by the replica.
    pub fn writable(&self, graph: &GraphId) -> bool {
        self.asked(graph).is_some()
    }

    /// For how long a service may believe that it may write to a graph: 0 if it may not.
    pub fn keep_ms(&self, graph: &GraphId) -> i64 {
        self.asked(graph).map_or(0, |answer| answer.keep_ms)
    }

    fn asked(&self, graph: &GraphId) -> Option<Answer> {
        let caller = tiershift_common::caller::Caller::parse_dev("service:graph-api").expect("a caller");
        let answer = self.service.replica.check(&caller, &graph.clone().into(), Mode::Write, None, self.now());
        answer.ok().filter(|answer| answer.decision.allowed)
    }

    /// What must be true of every change at rest (invariants 5, 6, 7, 11, 16 as far as they are seen here).
    pub async fn check_at_rest(&self, id: &ChangeId) {
        let change = self.stored(id).await;
        let machine = &change.machine;
        assert!(machine.state.ended(), "{change:#?}");
        let loaded = self.store.read(&Key::change(id.clone())).await.expect("read");
        let access = loaded.access.expect("a record");
        assert_eq!(access.record.gate, Gate::Open, "6: no active change, no closed gate");
        let subscription = loaded.subscription.expect("a subscription");
        assert_eq!((&subscription.active_change, &subscription.scheduled_change), (&None, &None));
        assert!(loaded.owed.is_empty(), "nothing is owed: {:?}", loaded.owed);
        let succeeded = machine.state == subscription_core::change::State::Succeeded;
        let net = self.stripe.as_ref().map_or_else(|| self.sim.book().net_cents(id), Purse::net_cents);
        assert_eq!(net, if succeeded { change.quote.due_cents } else { 0 }, "7: the net money of {change:#?}");
        let graph = loaded.graph.expect("a graph");
        let tier = if succeeded { &change.to_tier } else { &change.from_tier };
        assert_eq!((&graph.tier, &subscription.tier), (tier, tier), "5: plan = graph tier");
        let price =
            if succeeded { change.quote.terms.price_after_cents } else { change.quote.terms.price_before_cents };
        assert_eq!(subscription.price_cents, price);
        if let Some(purse) = &self.stripe {
            assert_eq!(purse.price_cents(), price, "5: the provider's price is the plan's");
        }
        let events = self.events(id).await;
        Self::check_events(&events);
        let key = |e: &ChangeEvent| (e.stage.clone(), e.direction, e.message.clone());
        let relayed: Vec<_> = events.iter().filter(|e| e.source == Source::Volume).map(key).collect();
        let told: Vec<_> = self.volume.told(id).iter().map(key).collect();
        assert_eq!(relayed, told, "every event of the migration is shown once, in its order");
    }

    /// Invariant 11 over a public sequence, and that it tells the truth about writes at its ends.
    pub fn check_events(events: &[ChangeEvent]) {
        let mut best: BTreeMap<Direction, u32> = BTreeMap::new();
        let mut at_ms = 0;
        for (event, seq) in events.iter().zip(1..) {
            assert_eq!(event.seq, seq, "11: a gap or a duplicate");
            let before = best.insert(event.direction, event.permille).unwrap_or(0);
            assert!(event.permille >= before, "11: progress fell: {event:?}");
            assert!(event.at_ms >= at_ms, "time fell: {event:?}");
            at_ms = event.at_ms;
        }
        let last = events.last().expect("events");
        assert_eq!((last.writes, last.permille), (Writes::Open, 1_000), "{last:?}");
        assert!(matches!(events[0].stage.as_str(), "requested" | "scheduled"), "{:?}", events[0]);
    }
}

fn payments(sim: &Arc<Sim>, stripe: Option<&Purse>) -> Arc<dyn Payments> {
    match stripe {
        Some(purse) => Arc::new(super::stripe::adapter(&purse.fake)),
        None => Arc::clone(sim) as Arc<dyn Payments>,
    }
}

async fn make(
    store: &Arc<Memory>,
    volume: &Arc<Fake>,
    payments: Arc<dyn Payments>,
    clock: &Arc<dyn Clock>,
    starts: u64,
) -> Service {
    let ids = Ids::seeded(Arc::clone(clock), starts);
    let port = Arc::new(Port(Arc::clone(volume)));
    let service = Service::new(Arc::clone(store) as Arc<dyn Store>, port, payments, Arc::clone(clock), ids);
    service.committer.reload().await.expect("loaded");
    service
}
