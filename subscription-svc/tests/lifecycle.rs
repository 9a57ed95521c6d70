//! The life of subscriptions in virtual time: cancellation and its taking back, renewal, end of grace, corrections.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use std::sync::Arc;
use subscription_core::access::Mode;
use subscription_core::change::State;
use subscription_core::lifecycle::End;
use subscription_core::period::plus_months;
use subscription_core::status::{GraphState, SubscriptionStatus};
use subscription_svc::payments::sim::Behaviour;
use subscription_svc::store::rows::{AuditEvent, AuditKind, Subscription};
use subscription_svc::store::{AuditFilter, Key, Store as _};
use subscription_svc::usecase::CorrectSubscription;
use support::world::World;
use support::{seed, world};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{GraphId, OrgId};
use tiershift_core::{Kind, Reason, UnixMs};

const DAY_MS: i64 = 86_400_000;

fn org() -> OrgId {
    OrgId::parse("org_a").expect("well formed")
}

async fn subscription(world: &World, graph: &GraphId) -> Subscription {
    world.store.read(&Key::graph(graph.clone())).await.expect("read").subscription.expect("a subscription")
}

async fn graph_state(world: &World, graph: &GraphId) -> GraphState {
    world.store.read(&Key::graph(graph.clone())).await.expect("read").graph.expect("a graph").state
}

/// Lets time pass until an instant and the workers have done what was due then.
async fn pass_to(world: &World, at: UnixMs) {
    world.pass(at.since(world.now()) + 60_000).await;
}

fn correction(id: &str, of: &Subscription) -> CorrectSubscription {
    CorrectSubscription {
        request: seed::request(id),
        subscription: of.id.clone(),
        status: None,
        price: None,
        monthly_credits: None,
        reason: "ticket 7".to_owned(),
    }
}

fn decision(world: &World, graph: &GraphId, mode: Mode) -> Result<(), Reason> {
    let caller = Caller::parse_dev("service:graph-api").expect("a caller");
    let answer = world.service.replica.check(&caller, &graph.clone().into(), mode, None, world.now()).expect("known");
    match answer.decision.reason {
        None => Ok(()),
        Some(reason) => Err(reason),
    }
}

async fn audit(world: &World, of: &Subscription) -> Vec<AuditEvent> {
    let filter = AuditFilter { subscription: Some(of.id.clone()), ..AuditFilter::default() };
    world.store.audit_events(&filter, None, 100).await.expect("read")
}

async fn kinds(world: &World, of: &Subscription) -> Vec<AuditKind> {
    audit(world, of).await.into_iter().rev().map(|event| event.kind).collect()
}

/// Amounts of the invoices of a subscription, in the order of their periods.
fn invoices(world: &World, of: &Subscription) -> Vec<i64> {
    let prefix = format!("{}/invoice/", of.id);
    let entries = world.sim.book().all();
    entries.iter().filter(|entry| entry.key.starts_with(&prefix)).map(|entry| entry.amount_cents).collect()
}

#[tokio::test(start_paused = true)]
async fn a_canceled_one_is_read_until_its_end_and_then_its_graph_is_suspended() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let before = subscription(&world, &graph).await;
    let after =
        world.service.cancel_subscription(&seed::owner("org_a"), seed::cancel("r1", &before, End::PeriodEnd)).await;
    let after = after.expect("canceled");
    assert_eq!((after.status, after.ends_at), (SubscriptionStatus::Canceled, Some(before.period_end)));
    assert_eq!(decision(&world, &graph, Mode::Read), Ok(()));
    assert_eq!(decision(&world, &graph, Mode::Write), Err(Reason::SubscriptionCanceled));
    pass_to(&world, before.period_end).await;
    assert_eq!(decision(&world, &graph, Mode::Read), Err(Reason::SubscriptionEnded));
    assert_eq!(graph_state(&world, &graph).await, GraphState::Suspended);
    let over = subscription(&world, &graph).await;
    assert!(!over.live && over.told.is_empty() && over.due().is_none());
    assert_eq!(
        kinds(&world, &over).await[1..],
        [AuditKind::SubscriptionCanceled, AuditKind::SubscriptionEnded, AuditKind::GraphSuspended]
    );
    assert_eq!(audit(&world, &over).await[2].detail.get("note").map(String::as_str), Some("too dear"));
    let late = world.service.resume_subscription(&seed::owner("org_a"), seed::request("r2"), &over.id).await;
    assert_eq!(late.expect_err("too late").error().reason, Reason::NotResumable);
    assert!(invoices(&world, &over).is_empty(), "what is canceled is not renewed");
}

#[tokio::test(start_paused = true)]
async fn resuming_is_one_call() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let before = subscription(&world, &graph).await;
    let owner = seed::owner("org_a");
    world.service.cancel_subscription(&owner, seed::cancel("r1", &before, End::PeriodEnd)).await.expect("canceled");
    let resumed = world.service.resume_subscription(&owner, seed::request("r2"), &before.id).await.expect("resumed");
    assert_eq!(resumed.life(), before.life());
    assert_eq!(decision(&world, &graph, Mode::Write), Ok(()));
    pass_to(&world, before.period_end).await;
    assert_eq!(decision(&world, &graph, Mode::Write), Ok(()), "its old end has no meaning any more");
    assert_eq!(invoices(&world, &before), [before.price_cents]);
}

#[tokio::test(start_paused = true)]
async fn ended_at_once_it_is_closed_at_once_and_a_repeat_is_the_same() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let before = subscription(&world, &graph).await;
    let owner = seed::owner("org_a");
    let first =
        world.service.cancel_subscription(&owner, seed::cancel("r1", &before, End::Now)).await.expect("canceled");
    assert!(!first.live);
    assert_eq!(decision(&world, &graph, Mode::Read), Err(Reason::SubscriptionEnded));
    let again =
        world.service.cancel_subscription(&owner, seed::cancel("r1", &before, End::Now)).await.expect("the same");
    let later = world.service.cancel_subscription(&owner, seed::cancel("r2", &before, End::PeriodEnd)).await;
    assert_eq!((again.life(), later.expect("no fault").life()), (first.life(), first.life()));
    assert_eq!(kinds(&world, &first).await.len(), 4, "created, canceled, ended, suspended: once each");
}

#[tokio::test(start_paused = true)]
async fn only_owners_and_operators_decide_and_strangers_see_nothing() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let of = subscription(&world, &graph).await;
    let reason = async |caller: &str| {
        let caller = Caller::parse_dev(caller).expect("a caller");
        let refused = world.service.cancel_subscription(&caller, seed::cancel("r", &of, End::Now)).await;
        refused.map(|_| ()).map_err(|fault| fault.error().reason)
    };
    assert_eq!(reason("bob;org_b=owner").await, Err(Reason::SubscriptionNotFound));
    assert_eq!(reason("bob;org_a=member").await, Err(Reason::NotOwner));
    assert_eq!(reason("bob;org_a=admin").await, Err(Reason::NotOwner));
    assert_eq!(reason("service:graph-api").await, Err(Reason::NotOwner));
    let corrected = world.service.correct_subscription(&seed::owner("org_a"), correction("c", &of)).await;
    assert_eq!(corrected.expect_err("refused").error().reason, Reason::OperatorOnly);
    assert_eq!(reason("root;operator").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_tier_change_keeps_ends_and_corrections_away_and_its_renewal_waits_for_the_price() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let of = subscription(&world, &graph).await;
    // The change begins just before the period ends, and runs over its end.
    world.pass(of.period_end.since(world.now()) - 60_000).await;
    let id = world.change(1).await.id;
    world.until(&id, "the gate", |c| c.machine.confirmed).await;
    let now = world.service.cancel_subscription(&seed::owner("org_a"), seed::cancel("r1", &of, End::Now)).await;
    let error = now.expect_err("refused");
    assert_eq!((error.error().kind, error.error().reason), (Kind::Aborted, Reason::ChangeActive), "H28");
    let wish = CorrectSubscription { price: Some((1, "USD".to_owned())), ..correction("c1", &of) };
    let corrected = world.service.correct_subscription(&seed::operator(), wish).await;
    assert_eq!(corrected.expect_err("refused").error().reason, Reason::ChangeActive);
    assert!(world.now() > of.period_end);
    let end = world.service.cancel_subscription(&seed::owner("org_a"), seed::cancel("r2", &of, End::PeriodEnd)).await;
    assert_eq!(end.expect_err("that is now").error().reason, Reason::ChangeActive);
    // Somebody saw that it was due just before the change began.
    let (late, ()) = world.service.live(&graph, &of.id, |turn| Ok(turn.catch_up()?)).await.expect("nothing to do");
    assert_eq!(late.period_end, of.period_end);
    assert!(invoices(&world, &of).is_empty(), "the renewal waits for the end of the change");
    let change = world.ended(&id).await;
    assert_eq!(change.machine.state, State::Succeeded);
    world.check_at_rest(&id).await;
    world.pass(60_000).await;
    assert_eq!(invoices(&world, &of), [change.quote.terms.price_after_cents], "H23: at the price that the change left");
    assert_eq!(subscription(&world, &graph).await.period_start, of.period_end, "no gap");
}

#[tokio::test(start_paused = true)]
async fn each_period_is_invoiced_once_whatever_is_lost() {
    for behaviour in [Behaviour::LoseAnswer, Behaviour::LoseRequest] {
        let mut world = World::start().await;
        let graph = world.graph(1).await;
        let of = subscription(&world, &graph).await;
        world.sim.behave(&org(), Some(behaviour));
        for period in 1..=4_u32 {
            let end = subscription(&world, &graph).await.period_end;
            pass_to(&world, end).await;
            world.restart().await;
            assert_eq!(subscription(&world, &graph).await.period_end, plus_months(of.anchor, period + 1));
        }
        world.pass(3_600_000).await;
        assert_eq!(invoices(&world, &of), [of.price_cents; 4], "{behaviour:?}");
        assert!(subscription(&world, &graph).await.told.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_away_for_months_invoices_every_month() {
    let mut world = World::start().await;
    let graph = world.graph(1).await;
    let of = subscription(&world, &graph).await;
    world.kill().await;
    world.pass(100 * DAY_MS).await;
    world.restart().await;
    world.pass(60_000).await;
    assert_eq!(invoices(&world, &of), [of.price_cents; 3]);
    assert_eq!(subscription(&world, &graph).await.period_end, plus_months(of.anchor, 4));
}

#[tokio::test(start_paused = true)]
async fn a_declined_renewal_is_past_due_until_it_is_paid() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let of = subscription(&world, &graph).await;
    world.sim.behave(&org(), Some(Behaviour::Decline));
    pass_to(&world, of.period_end).await;
    assert_eq!(decision(&world, &graph, Mode::Read), Err(Reason::SubscriptionPastDue));
    let wish = CorrectSubscription { status: Some(SubscriptionStatus::Active), ..correction("c1", &of) };
    let paid = world.service.correct_subscription(&seed::operator(), wish).await.expect("paid by hand");
    assert_eq!(paid.status, SubscriptionStatus::Active);
    assert_eq!(decision(&world, &graph, Mode::Write), Ok(()));
    let last = audit(&world, &of).await.remove(0);
    let detail = |key: &str| last.detail.get(key).map(String::as_str);
    assert_eq!((last.kind, last.actor.as_str()), (AuditKind::SubscriptionCorrected, "root"));
    assert_eq!((detail("status_before"), detail("status_after")), (Some("past_due"), Some("active")));
    assert_eq!(detail("reason"), Some("ticket 7"));
}

#[tokio::test(start_paused = true)]
async fn a_correction_that_life_does_not_know_changes_nothing() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let of = subscription(&world, &graph).await;
    let wish = CorrectSubscription {
        status: Some(SubscriptionStatus::Provisioning),
        monthly_credits: Some(5),
        ..correction("c1", &of)
    };
    let refused = world.service.correct_subscription(&seed::operator(), wish).await.expect_err("refused");
    assert_eq!((refused.error().kind, refused.error().reason), (Kind::FailedPrecondition, Reason::WrongState));
    let wish = CorrectSubscription { price: Some((1, "EUR".to_owned())), ..correction("c2", &of) };
    let refused = world.service.correct_subscription(&seed::operator(), wish).await.expect_err("refused");
    assert_eq!(refused.error().kind, Kind::InvalidArgument);
    assert_eq!(subscription(&world, &graph).await, of);
}

#[tokio::test(start_paused = true)]
async fn the_audit_is_for_those_who_answer_for_the_organisation() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    seed::subscribed(&world.service, 2, "org_b", "ladybug-standard").await;
    let list = async |caller: &str, filter: AuditFilter| {
        let caller = Caller::parse_dev(caller).expect("a caller");
        let page = world.service.list_audit(&caller, filter, None, 100).await;
        page.map(|page| page.rows.len()).map_err(|fault| fault.error().reason)
    };
    let of_graph = || AuditFilter { graph: Some(graph.clone()), ..AuditFilter::default() };
    let of_org = |id: &str| AuditFilter { org: Some(OrgId::parse(id).expect("well formed")), ..AuditFilter::default() };
    for caller in ["a;org_a=owner", "a;org_a=admin", "root;operator"] {
        assert_eq!(list(caller, of_graph()).await, Ok(2), "{caller}: registered, subscribed");
        assert_eq!(list(caller, of_org("org_a")).await, Ok(2), "{caller}");
    }
    assert_eq!(list("a;org_a=member", of_graph()).await, Err(Reason::PermissionDenied));
    assert_eq!(list("b;org_b=owner", of_graph()).await, Err(Reason::GraphNotFound));
    assert_eq!(list("b;org_b=owner", of_org("org_a")).await, Err(Reason::PermissionDenied));
    assert_eq!(list("b;org_b=owner", AuditFilter::default()).await, Err(Reason::OperatorOnly));
    assert_eq!(list("root;operator", AuditFilter::default()).await, Ok(4));
    // Both at once: the graph is theirs, the organisation is not.
    let mixed = AuditFilter { graph: Some(graph.clone()), ..of_org("org_b") };
    assert_eq!(list("a;org_a=owner", mixed).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_new_one_waits_until_the_provider_knows_the_end_of_the_old_one() {
    let mut world = World::start().await;
    let graph = world.graph(1).await;
    let of = subscription(&world, &graph).await;
    world.kill().await;
    world
        .service
        .cancel_subscription(&seed::owner("org_a"), seed::cancel("r1", &of, End::Now))
        .await
        .expect("canceled");
    let again = seed::subscription("s-again", 1, "org_a", "ladybug-standard");
    let early = world.service.create_subscription(&seed::operator(), again.clone()).await.expect_err("too early");
    assert_eq!((early.error().kind, early.error().reason), (Kind::Aborted, Reason::ConcurrentUpdate));
    world.restart().await;
    world.pass(60_000).await;
    let service = Arc::clone(&world.service);
    let made = service.create_subscription(&seed::operator(), again).await.expect("subscribed");
    assert_ne!(made.id, of.id);
    assert_eq!(decision(&world, &graph, Mode::Write), Ok(()));
    assert!(world.now() < of.created.plus(world::BOUND_MS));
}
