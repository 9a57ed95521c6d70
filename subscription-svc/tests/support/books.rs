//! A service whose provider keeps subscriptions of its own: as they are now in its books, which a test writes, with answers
//! that a test chooses. In virtual time, over a store in memory; nothing runs that the test does not run.

use super::port::Port;
use super::seed;
use super::volume::Fake;
use super::world::START;
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use subscription_core::status::SubscriptionStatus;
use subscription_svc::payments::{Answer, Billing, Fetched, Payments, Reading, Snapshot};
use subscription_svc::service::Service;
use subscription_svc::store::inbox::{Inbox, WebhookEvent, WebhookState};
use subscription_svc::store::memory::Memory;
use subscription_svc::store::rows::{Interval, PaymentRequest, Subscription};
use subscription_svc::store::{Key, Store};
use subscription_svc::usecase::Initial;
use subscription_svc::webhooks::apply;
use tiershift_common::clock::{Clock, Virtual, sleep_ms};
use tiershift_common::ids::Ids;
use tiershift_core::UnixMs;
use tiershift_core::ids::GraphId;

/// A day.
pub const DAY_MS: i64 = 86_400_000;

/// A provider with one picture of each subscription, as it is now.
#[derive(Default)]
pub struct Books {
    all: Mutex<BTreeMap<String, Snapshot>>,
    silent: Mutex<bool>,
    asked: Mutex<u32>,
    answers: Mutex<VecDeque<Answer>>,
    told: Mutex<Vec<(&'static str, String)>>,
}

impl Books {
    /// It is so from now on.
    pub fn set(&self, name: &str, snapshot: Snapshot) {
        self.all.lock().expect("books").insert(name.to_owned(), snapshot);
    }

    /// Whether it answers no question.
    pub fn silent(&self, silent: bool) {
        *self.silent.lock().expect("silent") = silent;
    }

    /// How often it was asked since this was last read.
    pub fn asked(&self) -> u32 {
        std::mem::take(&mut *self.asked.lock().expect("asked"))
    }

    /// Answers of these to what it is told next; then it does what it is told.
    pub fn answer(&self, answers: &[Answer]) {
        self.answers.lock().expect("answers").extend(answers.iter().cloned());
    }

    /// What it was told, under which keys.
    pub fn told(&self) -> Vec<(&'static str, String)> {
        self.told.lock().expect("told").clone()
    }

    fn hear(&self, what: &'static str, key: &str) -> Answer {
        self.told.lock().expect("told").push((what, key.to_owned()));
        let answer = self.answers.lock().expect("answers").pop_front();
        answer.unwrap_or(Answer::Done { reference: "done".to_owned() })
    }
}

#[async_trait]
impl Payments for Books {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn post(&self, _: &PaymentRequest) -> Answer {
        Answer::Done { reference: "r".to_owned() }
    }

    async fn read(&self, _: &PaymentRequest) -> Reading {
        Reading::Nothing
    }

    async fn cancel(&self, _: &str, at_period_end: bool, key: &str) -> Answer {
        self.hear(if at_period_end { "cancel with its period" } else { "cancel" }, key)
    }

    async fn resume(&self, _: &str, key: &str) -> Answer {
        self.hear("resume", key)
    }

    async fn fetch(&self, name: &str) -> Fetched {
        *self.asked.lock().expect("asked") += 1;
        tokio::time::sleep(std::time::Duration::from_millis(80)).await;
        if *self.silent.lock().expect("silent") {
            return Fetched::Unknown;
        }
        let found = self.all.lock().expect("books").get(name).cloned();
        found.map_or(Fetched::Gone, |snapshot| Fetched::Snapshot(Box::new(snapshot)))
    }
}

/// The service and what is around it.
pub struct World {
    /// What is stored.
    pub store: Arc<Memory>,
    /// The provider.
    pub books: Arc<Books>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The service.
    pub service: Arc<Service>,
}

impl World {
    /// A service with nothing in it.
    pub async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(START));
        let store = Arc::new(Memory::default());
        let books = Arc::new(Books::default());
        let port = Arc::new(Port(Fake::new(Arc::clone(&clock))));
        let ids = Ids::seeded(Arc::clone(&clock), 1);
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let payments = Arc::clone(&books) as Arc<dyn Payments>;
        let mut service = Service::new(shared, port, payments, Arc::clone(&clock), ids);
        service.inbox = Some(Arc::clone(&store) as Arc<dyn Inbox>);
        service.committer.reload().await.expect("loaded");
        Self { store, books, clock, service: Arc::new(service) }
    }

    /// A graph whose subscription the provider knows by `name`; none: not yet.
    pub async fn subscribed(&self, n: u64, name: Option<&str>, status: SubscriptionStatus) -> GraphId {
        let graph = seed::registered(&self.service, n, "org_a", "ladybug-standard").await;
        let initial = Initial {
            status,
            price: None,
            period_start: Some(UnixMs(START)),
            period_end: Some(UnixMs(START + 31 * DAY_MS)),
            ends_at: None,
            provider_subscription_id: name.unwrap_or_default().to_owned(),
        };
        let mut wanted = seed::subscription(&format!("s-{n}"), n, "org_a", "ladybug-standard");
        wanted.initial = Some(initial);
        self.service.create_subscription(&seed::operator(), wanted).await.expect("subscribed");
        graph
    }

    /// The subscription of a graph.
    pub async fn subscription(&self, graph: &GraphId) -> Subscription {
        self.store.read(&Key::graph(graph.clone())).await.expect("read").subscription.expect("a subscription")
    }

    /// Stores events; says how many were new.
    pub async fn receive(&self, events: &[WebhookEvent]) -> u64 {
        self.store.receive(events).await.expect("stored")
    }

    /// Works until nothing is due.
    pub async fn settle(&self) {
        while apply::turn(&self.service, self.store.as_ref()).await.expect("read").is_some_and(|at| at <= self.now()) {}
    }

    /// Now.
    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Lets time pass.
    pub async fn pass(&self, ms: i64) {
        sleep_ms(self.clock.as_ref(), ms).await;
    }

    /// What became of an event, and why.
    pub async fn state_of(&self, id: &str) -> (WebhookState, String) {
        for state in WebhookState::ALL {
            let found = self.store.list(*state, None, 100_000).await.expect("read");
            if let Some(event) = found.into_iter().find(|event| event.id == id) {
                return (event.state, event.note);
            }
        }
        panic!("no event {id}");
    }
}

/// The books of a subscription in its so-manieth period.
pub fn snapshot(status: Billing, periods: i64) -> Snapshot {
    Snapshot {
        status,
        period_start: UnixMs(START + 31 * DAY_MS * (periods - 1)),
        period_end: UnixMs(START + 31 * DAY_MS * periods),
        cancel_at: None,
        canceled_at: None,
        ended_at: None,
        price_cents: 9_900,
        currency: "USD".to_owned(),
        interval: Some(Interval::Monthly),
        latest_invoice: None,
    }
}
