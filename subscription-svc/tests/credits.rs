//! The credits of a month in virtual time: granted, used, shared out by tier changes, and untouched by those that fail.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use subscription_core::change::State;
use subscription_core::credits::Credits;
use subscription_core::lifecycle::End;
use subscription_core::period::plus_months;
use subscription_svc::service::Outcome;
use subscription_svc::store::rows::{Interval, Subscription};
use subscription_svc::store::{Key, Store as _};
use subscription_svc::usecase::{CreateSubscription, UseCredits};
use support::seed;
use support::volume::Script;
use support::world::World;
use tiershift_common::caller::Caller;
use tiershift_core::ids::GraphId;
use tiershift_core::{Kind, Reason, UnixMs};

const DAY_MS: i64 = 86_400_000;

async fn subscription(world: &World, graph: &GraphId) -> Subscription {
    world.store.read(&Key::graph(graph.clone())).await.expect("read").subscription.expect("a subscription")
}

async fn credits(world: &World, graph: &GraphId) -> Credits {
    subscription(world, graph).await.credits
}

async fn spend(world: &World, caller: &str, request: &str, graph: &GraphId, amount: i64) -> Outcome<Subscription> {
    let caller = Caller::parse_dev(caller).expect("a caller");
    let request = UseCredits { request: seed::request(request), graph: graph.clone().into(), amount };
    world.service.use_credits(&caller, request).await
}

const SERVICE: &str = "service:graph-api";

#[tokio::test(start_paused = true)]
async fn a_change_shares_the_rest_of_the_month_out_with_its_commit() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    spend(&world, SERVICE, "s1", &graph, 3_000).await.expect("used");
    world.pass(10 * DAY_MS).await;
    let up = world.change(1).await;
    assert!(up.quote.credits_due > 10_000, "{}", up.quote.credits_due);
    world.until(&up.id, "the move", |c| c.machine.state == State::Moving).await;
    assert_eq!(credits(&world, &graph).await.left(), 5_000, "nothing before the commit");
    // Work goes on while the tier changes.
    spend(&world, SERVICE, "s2", &graph, 1_000).await.expect("used");
    world.ended(&up.id).await;
    let after = credits(&world, &graph).await;
    assert_eq!((after.granted, after.used), (8_000 + up.quote.credits_due, 4_000));
    // Down again, with more used than the smaller tier would have granted.
    spend(&world, SERVICE, "s3", &graph, after.left() - 500).await.expect("used");
    world.pass(2 * 3_600_000).await;
    let wish = seed::change("down", 1, "ladybug-standard");
    let down = world.service.change_tier(&seed::owner("org_a"), wish).await.expect("accepted");
    assert!(down.quote.credits_due < -500);
    assert_eq!(world.ended(&down.id).await.machine.state, State::Succeeded);
    let left = credits(&world, &graph).await;
    assert_eq!((left.left(), left.used), (0, after.granted - 500), "never below what was used");
    let end = subscription(&world, &graph).await.period_end;
    world.pass(end.since(world.now()) + 60_000).await;
    let next = credits(&world, &graph).await;
    assert_eq!((next.start, next.granted, next.used), (end, 8_000, 0), "a new month");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_leaves_them_as_they_were() {
    for stage in ["drain_writes", "detach", "attach"] {
        let world = World::start().await;
        let graph = world.graph(1).await;
        spend(&world, SERVICE, "s1", &graph, 3_000).await.expect("used");
        let before = credits(&world, &graph).await;
        world.volume.script(&graph, Script { turn_back_at: Some(stage), ..Script::default() });
        let id = world.change(1).await.id;
        assert_eq!(world.ended(&id).await.machine.state, State::Failed, "{stage}");
        assert_eq!(credits(&world, &graph).await, before, "{stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn they_are_used_once_by_request_and_never_beyond_what_is_left() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    for _ in 0..3 {
        spend(&world, SERVICE, "s1", &graph, 7_000).await.expect("the same");
    }
    assert_eq!(credits(&world, &graph).await.used, 7_000);
    let more = spend(&world, SERVICE, "s2", &graph, 1_001).await.expect_err("refused");
    let fault = &more.error().violations[0];
    assert_eq!((fault.reason, fault.limit, fault.actual), (Reason::CreditsExhausted, Some(1_000), Some(1_001)));
    spend(&world, SERVICE, "s3", &graph, 1_000).await.expect("all of them");
    let reused = spend(&world, SERVICE, "s1", &graph, 1).await.expect_err("refused");
    assert_eq!(reused.error().reason, Reason::RequestIdReused);
    for caller in ["alice;org_a=owner", "mallory;org_b=owner"] {
        assert_eq!(
            spend(&world, caller, "s4", &graph, 1).await.expect_err("refused").error().kind,
            Kind::PermissionDenied
        );
    }
    let missing = spend(&world, SERVICE, "s5", &seed::graph(9), 1).await.expect_err("refused");
    assert_eq!(missing.error().reason, Reason::GraphNotFound);
    let gone = world.graph(2).await;
    let operator = seed::operator();
    world.service.deregister_graph(&operator, seed::request("d"), &gone.clone().into(), "").await.expect("gone");
    let missing = spend(&world, SERVICE, "s7", &gone, 1).await.expect_err("refused");
    assert_eq!(missing.error().reason, Reason::GraphNotFound, "of a graph that is gone");
    let of = subscription(&world, &graph).await;
    world
        .service
        .cancel_subscription(&seed::owner("org_a"), seed::cancel("c", &of, End::PeriodEnd))
        .await
        .expect("done");
    let canceled = spend(&world, SERVICE, "s6", &graph, 1).await.expect_err("refused");
    assert_eq!(canceled.error().reason, Reason::SubscriptionNotActive);
}

#[tokio::test(start_paused = true)]
async fn a_year_grants_each_month_also_while_a_downgrade_waits_for_its_end() {
    let mut world = World::start().await;
    let graph = seed::registered(&world.service, 1, "org_a", "ladybug-large").await;
    let yearly =
        CreateSubscription { interval: Interval::Annual, ..seed::subscription("s-1", 1, "org_a", "ladybug-large") };
    world.service.create_subscription(&seed::operator(), yearly).await.expect("subscribed");
    let of = subscription(&world, &graph).await;
    let wish = subscription_svc::usecase::ChangeTier {
        timing: subscription_core::rules::Timing::PeriodEnd,
        ..seed::change("later", 1, "ladybug-standard")
    };
    let change = world.service.change_tier(&seed::owner("org_a"), wish).await.expect("accepted");
    for month in 0..12_u32 {
        let present = credits(&world, &graph).await;
        let (start, end) = (plus_months(of.anchor, month), plus_months(of.anchor, month + 1));
        assert_eq!((present.start, present.end, present.granted, present.used), (start, end, 32_000, 0), "{month}");
        spend(&world, SERVICE, &format!("m{month}"), &graph, 31_000).await.expect("used");
        if month == 5 {
            // Nobody is there for a while: months that nobody used are not carried over.
            world.kill().await;
            world.restart().await;
        }
        if month < 11 {
            world.pass(end.since(world.now()) + 1_000).await;
        }
    }
    world.pass(of.period_end.since(world.now())).await;
    assert_eq!(world.ended(&change.id).await.machine.state, State::Succeeded);
    world.pass(60_000).await;
    let next = credits(&world, &graph).await;
    assert_eq!((next.start, next.granted, next.used), (of.period_end, 8_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_month_that_ends_while_the_tier_changes_is_shared_out_whole() {
    let world = World::start().await;
    let graph = seed::registered(&world.service, 1, "org_a", "ladybug-standard").await;
    let yearly =
        CreateSubscription { interval: Interval::Annual, ..seed::subscription("s-1", 1, "org_a", "ladybug-standard") };
    world.service.create_subscription(&seed::operator(), yearly).await.expect("subscribed");
    let first = credits(&world, &graph).await;
    world.pass(first.end.since(world.now()) - 30_000).await;
    let change = world.change(1).await;
    let ended = world.ended(&change.id).await;
    assert!(ended.ended.expect("ended") > first.end, "it ran over the end of the month");
    world.pass(60_000).await;
    let next = credits(&world, &graph).await;
    assert_eq!((next.start, next.granted), (first.end, 32_000), "time went on for them when it had ended");
    assert!(UnixMs(next.end.0) > world.now());
}
