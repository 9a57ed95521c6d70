//! What the provider tells us, in virtual time: in any order, twice, late, about subscriptions that nobody knows, and while
//! a tier changes.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use async_trait::async_trait;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use std::sync::Arc;
use subscription_core::lifecycle::End;
use subscription_core::status::{GraphState, SubscriptionStatus};
use subscription_svc::payments::{Billing, Snapshot};
use subscription_svc::store::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use subscription_svc::store::memory::Memory;
use subscription_svc::store::{Fault, Key, Store as _};
use subscription_svc::webhooks::{apply, event, prune};
use support::books::{DAY_MS, World, snapshot};
use support::seed;
use support::world::START;
use tiershift_core::{Reason, UnixMs};
use tokio_util::sync::CancellationToken;

fn webhook(id: &str, kind: &str, subject: &str, ours: &str, now: UnixMs) -> WebhookEvent {
    let object = if kind.starts_with("customer.subscription.") {
        json!({ "id": subject, "metadata": { "subscription_id": ours } })
    } else {
        json!({ "id": "x", "subscription": subject, "client_reference_id": ours })
    };
    let body = json!({ "id": id, "type": kind, "created": now.0 / 1_000, "data": { "object": object } });
    event::read(&body.to_string(), now).expect("an event")
}

/// A month as it happens: a renewal that fails, is asked for again and is paid, a price looked at, a cancellation.
const MONTH: [&str; 12] = [
    "invoice.created",
    "invoice.updated",
    "invoice.payment_failed",
    "customer.subscription.updated",
    "invoice.updated",
    "invoice.payment_failed",
    "invoice.paid",
    "invoice.payment_succeeded",
    "customer.subscription.updated",
    "invoice.updated",
    "customer.created",
    "customer.subscription.updated",
];

#[tokio::test(start_paused = true)]
async fn ten_thousand_orders_of_one_month_end_alike() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    let stages = [
        snapshot(Billing::Active, 1),
        snapshot(Billing::PastDue, 2),
        snapshot(Billing::Active, 2),
        Snapshot { cancel_at: Some(UnixMs(START + 62 * DAY_MS)), ..snapshot(Billing::Active, 2) },
    ];
    let begun = world.store.copy();
    let mut random = StdRng::seed_from_u64(7);
    let mut ends = std::collections::BTreeSet::new();
    let now = world.now();
    for _ in 0..10_000 {
        world.store.become_copy_of(&begun);
        let mut order: Vec<(usize, &str)> = MONTH.iter().copied().enumerate().collect();
        // Each arrives once or twice, anywhere; the provider is somewhere on its way when it is asked.
        order.extend(order.clone().into_iter().filter(|(n, _)| n % 3 == 0));
        order.shuffle(&mut random);
        let mut stage = 0;
        for chunk in order.chunks(4) {
            // No event comes before what it tells of; the provider may be further on.
            let told = chunk.iter().map(|(n, _)| n * stages.len() / MONTH.len()).max().unwrap_or(0);
            stage = stage.max(told).max(random.random_range(0..=stage + 1)).min(stages.len() - 1);
            world.books.set("sub_p", stages[stage].clone());
            let events: Vec<_> =
                chunk.iter().map(|(n, kind)| webhook(&format!("evt_{n}"), kind, "sub_p", "", now)).collect();
            world.receive(&events).await;
            world.settle().await;
        }
        let end = world.subscription(&graph).await;
        assert!(world.store.list(WebhookState::Pending, None, 1).await.expect("read").is_empty());
        ends.insert(format!("{:?} {} {:?}", end.status, end.period_end, end.ends_at));
    }
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!(
        ends.first().map(String::as_str),
        Some(format!("Canceled {0} Some(UnixMs({0}))", START + 62 * DAY_MS).as_str())
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_is_stored_once_and_many_are_one_question() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    world.books.set("sub_p", snapshot(Billing::PastDue, 2));
    let now = world.now();
    let events: Vec<_> =
        (0..200).map(|n| webhook(&format!("evt_{}", n % 100), "invoice.updated", "sub_p", "", now)).collect();
    assert_eq!(world.receive(&events).await, 100);
    assert_eq!(world.receive(&events).await, 0);
    world.settle().await;
    assert_eq!(world.books.asked(), 1);
    let now = world.subscription(&graph).await;
    assert_eq!((now.status, now.period_end), (SubscriptionStatus::PastDue, UnixMs(START + 62 * DAY_MS)));
}

#[tokio::test(start_paused = true)]
async fn a_checkout_names_ours_and_the_first_payment_activates_it() {
    let world = World::start().await;
    let graph = world.subscribed(1, None, SubscriptionStatus::PendingPayment).await;
    let ours = world.subscription(&graph).await.id.to_string();
    world.books.set("sub_p", snapshot(Billing::Active, 1));
    world.receive(&[webhook("evt_1", "checkout.session.completed", "sub_p", &ours, world.now())]).await;
    world.settle().await;
    let active = world.subscription(&graph).await;
    assert_eq!((active.status, active.provider_subscription_id.as_str()), (SubscriptionStatus::Active, "sub_p"));
    assert_eq!((active.period_start, active.anchor), (UnixMs(START), UnixMs(START)), "the paid period, not now");
    // The second one names only the provider's id, and that is known by now.
    world.books.set("sub_p", snapshot(Billing::Unpaid, 1));
    world.receive(&[webhook("evt_2", "customer.subscription.updated", "sub_p", "", world.now())]).await;
    world.settle().await;
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::Unpaid);
}

#[tokio::test(start_paused = true)]
async fn nobodys_event_is_kept_and_tried_for_days_and_then_dead() {
    let world = World::start().await;
    world.books.set("sub_p", snapshot(Billing::Active, 2));
    world.receive(&[webhook("evt_1", "invoice.paid", "sub_p", "", world.now())]).await;
    world.settle().await;
    let pending = (WebhookState::Pending, "no subscription of this name is known here".to_owned());
    assert_eq!(world.state_of("evt_1").await, pending);
    // It may just be early: the import comes an hour later.
    world.pass(3_600_000).await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    world.pass(3_600_000).await;
    world.settle().await;
    assert_eq!(world.state_of("evt_1").await.0, WebhookState::Applied);
    assert_eq!(world.subscription(&graph).await.period_end, UnixMs(START + 62 * DAY_MS));
    world.receive(&[webhook("evt_2", "invoice.paid", "sub_stranger", "", world.now())]).await;
    for _ in 0..80 {
        world.settle().await;
        world.pass(3_600_000).await;
    }
    assert_eq!(world.state_of("evt_2").await.0, WebhookState::Dead);
    // Owners do not see it; an operator does, puts its cause right and has it looked at again.
    let (owner, operator) = (seed::owner("org_a"), seed::operator());
    let refused = world.service.list_webhooks(&owner, WebhookState::Dead, None, 9).await.expect_err("refused");
    assert_eq!(refused.error().reason, Reason::OperatorOnly);
    let ids = ["evt_2".to_owned()];
    let refused = world.service.replay_webhooks(&owner, &ids).await.expect_err("refused");
    assert_eq!(refused.error().reason, Reason::OperatorOnly);
    let dead = world.service.list_webhooks(&operator, WebhookState::Dead, None, 9).await.expect("listed");
    assert_eq!(dead.rows.iter().map(|event| &event.id).collect::<Vec<_>>(), [&ids[0]]);
    assert_eq!(world.service.replay_webhooks(&operator, &ids).await.expect("replayed"), ids);
    world.settle().await;
    assert_eq!(world.state_of("evt_2").await.0, WebhookState::Dead, "its cause is there still: one look was enough");
    let late = world.subscribed(2, Some("sub_stranger"), SubscriptionStatus::Active).await;
    world.books.set("sub_stranger", snapshot(Billing::Active, 2));
    assert_eq!(world.service.replay_webhooks(&operator, &ids).await.expect("replayed"), ids);
    world.settle().await;
    assert_eq!(world.state_of("evt_2").await.0, WebhookState::Applied);
    assert_eq!(world.subscription(&late).await.period_end, UnixMs(START + 62 * DAY_MS));
    assert!(world.service.replay_webhooks(&operator, &ids).await.expect("nothing to do").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_made_something_of_is_forgotten_after_a_quarter() {
    let world = World::start().await;
    world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    world.books.set("sub_p", snapshot(Billing::Active, 1));
    let events: Vec<WebhookEvent> =
        (0..2_500).map(|n| webhook(&format!("evt_{n}"), "invoice.paid", "sub_p", "", world.now())).collect();
    world.receive(&events).await;
    world.settle().await;
    let left = async || world.store.list(WebhookState::Applied, None, 9_000).await.expect("read").len();
    let forget = async || {
        let stop = CancellationToken::new();
        prune::turn(&world.service, world.store.as_ref(), &stop).await.expect("forgotten");
    };
    world.pass(prune::KEEP_MS - 60_000).await;
    forget().await;
    assert_eq!(left().await, 2_500);
    world.pass(120_000).await;
    forget().await;
    assert_eq!(left().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_asked_again() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    world.books.set("sub_p", snapshot(Billing::PastDue, 1));
    world.books.silent(true);
    world.receive(&[webhook("evt_1", "invoice.payment_failed", "sub_p", "", world.now())]).await;
    world.settle().await;
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::Active);
    world.books.silent(false);
    world.pass(2_000).await;
    world.settle().await;
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::PastDue);
}

#[tokio::test(start_paused = true)]
async fn h24_while_a_tier_changes_dates_are_applied_and_the_rest_waits_for_its_end() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    let change = world.service.change_tier(&seed::owner("org_a"), seed::change("c-1", 1, "ladybug-large")).await;
    let change = change.expect("accepted").id;
    world.books.set("sub_p", snapshot(Billing::PastDue, 2));
    world.receive(&[webhook("evt_1", "customer.subscription.updated", "sub_p", "", world.now())]).await;
    world.settle().await;
    let during = world.subscription(&graph).await;
    assert_eq!(during.period_end, UnixMs(START + 62 * DAY_MS), "dates at once");
    assert_eq!(during.status, SubscriptionStatus::Active, "the rest is deferred");
    assert_eq!(
        world.state_of("evt_1").await,
        (WebhookState::Pending, "deferred: the tier is being changed".to_owned())
    );
    world.books.asked();
    // Meanwhile it is paid; what counts is what is so when the change has ended.
    world.books.set("sub_p", snapshot(Billing::Active, 2));
    world.pass(600_000).await;
    world.settle().await;
    assert_eq!(world.books.asked(), 0, "nobody is asked while it runs");
    let cancel = world.service.cancel_change(&seed::owner("org_a"), seed::request("x"), &change, "").await;
    cancel.expect("canceled");
    let stop = CancellationToken::new();
    let saga = tokio::spawn(subscription_svc::saga::run(Arc::clone(&world.service), stop.clone()));
    let bound = world.now().plus(3_600_000);
    while world.subscription(&graph).await.active_change.is_some() {
        assert!(world.now() < bound, "the change does not end");
        world.pass(1_000).await;
    }
    world.pass(60_000).await;
    world.settle().await;
    assert_eq!(world.state_of("evt_1").await.0, WebhookState::Applied);
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::Active);
    stop.cancel();
    saga.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn h24_a_change_that_never_ends_defers_for_an_hour_at_most() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    // Nobody drives it.
    world.service.change_tier(&seed::owner("org_a"), seed::change("c-1", 1, "ladybug-large")).await.expect("accepted");
    world.books.set("sub_p", snapshot(Billing::PastDue, 1));
    world.receive(&[webhook("evt_1", "invoice.payment_failed", "sub_p", "", world.now())]).await;
    for _ in 0..361 {
        world.settle().await;
        world.pass(10_000).await;
    }
    world.settle().await;
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::PastDue);
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_the_provider_was_asked_is_asked_again() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    let of = world.subscription(&graph).await;
    world.books.set("sub_p", snapshot(Billing::Active, 1));
    world.receive(&[webhook("evt_1", "customer.subscription.updated", "sub_p", "", world.now())]).await;
    let canceling = async {
        // While the question is on its way.
        world.pass(40).await;
        let cancel = seed::cancel("r1", &of, End::PeriodEnd);
        world.service.cancel_subscription(&seed::owner("org_a"), cancel).await.expect("canceled");
    };
    tokio::join!(world.settle(), canceling);
    assert_eq!(world.books.asked(), 2);
    // The provider is still to be told of the cancellation, so that what it says of it is no news.
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::Canceled);
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_was_not_told_yet_it_cannot_know() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    let of = world.subscription(&graph).await;
    let cancel = seed::cancel("r1", &of, End::PeriodEnd);
    world.service.cancel_subscription(&seed::owner("org_a"), cancel).await.expect("canceled");
    // It goes on there, and its next period is paid.
    world.books.set("sub_p", snapshot(Billing::Active, 2));
    world.receive(&[webhook("evt_1", "invoice.paid", "sub_p", "", world.now())]).await;
    world.settle().await;
    let now = world.subscription(&graph).await;
    assert_eq!((now.status, now.period_end), (SubscriptionStatus::Canceled, UnixMs(START + 62 * DAY_MS)));
    let pending = (WebhookState::Pending, "the provider is still to be told".to_owned());
    assert_eq!(world.state_of("evt_1").await, pending);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_put_off_at_the_provider_is_put_off_here() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    for (n, days) in [(1, 31), (2, 62), (3, 20)] {
        let at = UnixMs(START + days * DAY_MS);
        world.books.set("sub_p", Snapshot { cancel_at: Some(at), ..snapshot(Billing::Active, 1) });
        let news = webhook(&format!("evt_{n}"), "customer.subscription.updated", "sub_p", "", world.now());
        world.receive(&[news]).await;
        world.settle().await;
        assert_eq!(world.subscription(&graph).await.ends_at, Some(at), "after {days} days");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_there_ends_here_and_never_comes_back() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    world.books.set("sub_p", Snapshot { ended_at: Some(UnixMs(START)), ..snapshot(Billing::Ended, 1) });
    world.receive(&[webhook("evt_1", "customer.subscription.deleted", "sub_p", "", world.now())]).await;
    world.settle().await;
    let over = world.subscription(&graph).await;
    assert_eq!((over.status, over.live), (SubscriptionStatus::Canceled, false));
    let state = world.store.read(&Key::graph(graph.clone())).await.expect("read").graph.expect("a graph").state;
    assert_eq!(state, GraphState::Suspended);
    world.books.set("sub_p", snapshot(Billing::Active, 3));
    world.receive(&[webhook("evt_2", "customer.subscription.updated", "sub_p", "", world.now())]).await;
    world.settle().await;
    assert_eq!(world.subscription(&graph).await, over);
}

/// An inbox in which nothing can be noted but what a transaction notes.
struct Stubborn(Arc<Memory>);

#[async_trait]
impl Inbox for Stubborn {
    async fn receive(&self, events: &[WebhookEvent]) -> Result<u64, Fault> {
        self.0.receive(events).await
    }

    async fn head(&self) -> Result<u64, Fault> {
        self.0.head().await
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
        Inbox::due(self.0.as_ref(), now, limit).await
    }

    async fn mark(&self, _: &WebhookMark) -> Result<(), Fault> {
        Err(Fault::Away("no connection".into()))
    }

    async fn list(&self, state: WebhookState, before: Option<u64>, limit: u32) -> Result<Vec<WebhookEvent>, Fault> {
        self.0.list(state, before, limit).await
    }

    async fn replay(&self, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
        self.0.replay(ids, now, note).await
    }

    async fn prune(&self, before: UnixMs, limit: u32) -> Result<u64, Fault> {
        self.0.prune(before, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_leaves_no_other_half_way() {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), SubscriptionStatus::Active).await;
    world.books.set("sub_p", snapshot(Billing::PastDue, 1));
    let now = world.now();
    let events = [
        webhook("evt_1", "invoice.paid", "sub_a_stranger", "", now),
        webhook("evt_2", "invoice.payment_failed", "sub_p", "", now),
    ];
    world.receive(&events).await;
    let inbox = Stubborn(Arc::clone(&world.store));
    let again = apply::turn(&world.service, &inbox).await.expect("read");
    assert!(again.is_some(), "what failed is tried again");
    assert_eq!(world.subscription(&graph).await.status, SubscriptionStatus::PastDue);
}
