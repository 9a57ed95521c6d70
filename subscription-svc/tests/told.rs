//! What the provider is told of a subscription's life: at least once, under a key that is right for what it is, and what it
//! refuses is not forgotten.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use std::sync::Arc;
use subscription_core::lifecycle::End;
use subscription_core::status::SubscriptionStatus as Status;
use subscription_svc::lifecycle::worker;
use subscription_svc::payments::Answer;
use subscription_svc::store::rows::{AuditKind, Subscription};
use subscription_svc::store::{AuditFilter, Store as _};
use subscription_svc::usecase::CorrectSubscription;
use support::books::World;
use support::seed;
use tiershift_core::Reason;
use tiershift_core::ids::GraphId;
use tokio_util::sync::CancellationToken;

/// A subscription that the provider knows, and the worker at work.
async fn known() -> (World, GraphId, Subscription) {
    let world = World::start().await;
    let graph = world.subscribed(1, Some("sub_p"), Status::Active).await;
    let of = world.subscription(&graph).await;
    tokio::spawn(worker::run(Arc::clone(&world.service), CancellationToken::new()));
    (world, graph, of)
}

async fn cancel(world: &World, of: &Subscription, end: End) {
    let cancel = seed::cancel("r1", of, end);
    world.service.cancel_subscription(&seed::owner("org_a"), cancel).await.expect("canceled");
}

async fn correct(world: &World, id: &str, of: &Subscription, status: Status) {
    let wish = CorrectSubscription {
        request: seed::request(id),
        subscription: of.id.clone(),
        status: Some(status),
        price: None,
        monthly_credits: None,
        reason: "ticket 7".to_owned(),
    };
    world.service.correct_subscription(&seed::operator(), wish).await.expect("corrected");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_until_it_answers_and_another_when_the_key_is_spoilt() {
    let (world, graph, of) = known().await;
    world.books.answer(&[Answer::Unknown, Answer::ServerFault, Answer::Unknown]);
    cancel(&world, &of, End::PeriodEnd).await;
    world.pass(60_000).await;
    let told = world.books.told();
    let keys: Vec<&str> = told.iter().map(|(_, key)| key.as_str()).collect();
    let [first, second, third, fourth] = keys[..] else { panic!("{told:?}") };
    assert_eq!((first, third), (second, fourth), "no answer: the same request");
    assert_ne!(second, third, "H21 b: what is stored under a key stays");
    assert!(told.iter().all(|(what, _)| *what == "cancel with its period"), "{told:?}");
    assert!(world.subscription(&graph).await.told.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_it_refuses_is_in_the_audit() {
    let (world, graph, of) = known().await;
    world.books.answer(&[Answer::Refused { reason: Reason::PaymentDeclined }]);
    cancel(&world, &of, End::Now).await;
    world.pass(60_000).await;
    assert_eq!(world.books.told().len(), 1);
    assert!(world.subscription(&graph).await.told.is_empty());
    let filter = AuditFilter { subscription: Some(of.id.clone()), ..AuditFilter::default() };
    let audit = world.store.audit_events(&filter, None, 10).await.expect("read");
    let refused: Vec<_> = audit.iter().filter(|entry| entry.kind == AuditKind::SubscriptionUpdated).collect();
    assert_eq!(refused.iter().map(|entry| entry.detail["told"].as_str()).collect::<Vec<_>>(), ["cancel_now"]);
}

#[tokio::test(start_paused = true)]
async fn it_hears_of_corrections_too() {
    let (world, _, of) = known().await;
    correct(&world, "c1", &of, Status::Canceled).await;
    world.pass(1_000).await;
    correct(&world, "c2", &of, Status::Active).await;
    world.pass(1_000).await;
    let what: Vec<_> = world.books.told().into_iter().map(|(what, _)| what).collect();
    assert_eq!(what, ["cancel with its period", "resume"]);
}
