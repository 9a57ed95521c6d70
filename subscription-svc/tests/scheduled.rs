//! Downgrades that wait for the end of the paid period, in virtual time: they run by themselves, can be withdrawn, and are
//! looked at anew when their time comes.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use subscription_core::change::State;
use subscription_core::lifecycle::{End, Event};
use subscription_core::period::plus_months;
use subscription_core::rules::Timing;
use subscription_svc::store::rows::{AuditKind, Subscription, TierChange};
use subscription_svc::store::{Key, Store as _};
use subscription_svc::usecase::ChangeTier;
use support::seed;
use support::volume::Script;
use support::world::World;
use tiershift_core::ids::GraphId;
use tiershift_core::{Kind, Reason, UnixMs};

const LARGE: &str = "ladybug-large";
const STANDARD: &str = "ladybug-standard";
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// A graph on the large tier.
async fn large(world: &World, n: u64) -> GraphId {
    let named = world.stripe.as_ref().map_or("", |purse| &purse.begun.subscription);
    seed::subscribed_as(&world.service, n, "org_a", LARGE, named).await
}

fn wish(request: &str, n: u64) -> ChangeTier {
    ChangeTier { timing: Timing::PeriodEnd, ..seed::change(request, n, STANDARD) }
}

async fn scheduled(world: &World, n: u64) -> TierChange {
    let change =
        world.service.change_tier(&seed::owner("org_a"), wish(&format!("later-{n}"), n)).await.expect("accepted");
    assert_eq!(change.machine.state, State::Scheduled);
    change
}

async fn subscription(world: &World, graph: &GraphId) -> Subscription {
    world.store.read(&Key::graph(graph.clone())).await.expect("read").subscription.expect("a subscription")
}

/// Amounts of the invoices of a subscription, in the order of their periods.
fn invoices(world: &World, of: &Subscription) -> Vec<i64> {
    let prefix = format!("{}/invoice/", of.id);
    let entries = world.sim.book().all();
    entries.iter().filter(|entry| entry.key.starts_with(&prefix)).map(|entry| entry.amount_cents).collect()
}

async fn pass_to(world: &World, at: UnixMs) {
    world.pass(at.since(world.now())).await;
}

#[tokio::test(start_paused = true)]
async fn it_waits_costs_nothing_and_runs_by_itself_when_the_period_ends() {
    let world = World::start().await;
    let graph = large(&world, 1).await;
    let of = subscription(&world, &graph).await;
    let preview = world.service.preview(&seed::owner("org_a"), &graph, &seed::tier(STANDARD), Timing::PeriodEnd).await;
    assert_eq!(preview.expect("a preview").quote.expect("a price").due_cents, 0);
    let change = scheduled(&world, 1).await;
    assert_eq!((change.scheduled, change.quote.due_cents), (Some(of.period_end), 0));
    assert_eq!(subscription(&world, &graph).await.scheduled_change, Some(change.id.clone()));
    let calm_ms = world.keep_ms(&graph);
    assert!(calm_ms > 2_000, "access does not hear of it: {calm_ms} ms");
    pass_to(&world, of.period_end.plus(-MINUTE_MS)).await;
    assert_eq!(world.stored(&change.id).await.machine.state, State::Scheduled);
    assert!(!world.volume.exists(&change.id) && world.writable(&graph));
    pass_to(&world, of.period_end).await;
    let ended = world.ended(&change.id).await;
    assert_eq!(ended.machine.state, State::Succeeded);
    let begun = ended.begun.expect("it began");
    assert!(begun.since(of.period_end) < MINUTE_MS);
    let closed = ended.measured.gate_closed.expect("it closed");
    assert!(closed.since(begun) >= calm_ms, "H29: one calm lease from its beginning, {} ms", closed.since(begun));
    world.check_at_rest(&change.id).await;
    world.pass(MINUTE_MS).await;
    assert_eq!(invoices(&world, &of), [ended.quote.terms.price_after_cents], "the renewal is at the new price");
    assert_eq!(subscription(&world, &graph).await.period_start, of.period_end, "no gap");
    let events = world.events(&change.id).await;
    assert_eq!((events[0].stage.as_str(), events[0].eta_ms, events[1].stage.as_str()), ("scheduled", -1, "requested"));
    assert!(events.last().expect("events").at_ms < 3_600_000, "its time counts from its beginning");
    assert_eq!(world.audit(&change.id).await[..2], [AuditKind::ChangeAccepted, AuditKind::ChangeBegun]);
}

#[tokio::test(start_paused = true)]
async fn it_can_be_withdrawn_and_the_renewal_is_as_ever() {
    let world = World::start().await;
    let graph = large(&world, 1).await;
    let of = subscription(&world, &graph).await;
    let change = scheduled(&world, 1).await;
    let stranger = world.service.cancel_change(&seed::owner("org_b"), seed::request("x"), &change.id, "").await;
    assert_eq!(stranger.expect_err("refused").error().reason, Reason::TierChangeNotFound);
    let owner = seed::owner("org_a");
    let canceled = world.service.cancel_change(&owner, seed::request("w"), &change.id, "").await.expect("withdrawn");
    assert_eq!((canceled.machine.state, canceled.machine.failure), (State::Canceled, Some(Reason::CanceledByRequest)));
    world.check_at_rest(&change.id).await;
    assert!(!world.volume.exists(&change.id));
    // Nothing settles: the next one may come at once.
    let again = world.service.change_tier(&owner, wish("later-1", 1)).await.expect("the same");
    assert_eq!(again.id, change.id, "the same request is the same change");
    let next = world.service.change_tier(&owner, wish("c-2", 1)).await.expect("accepted");
    world.service.cancel_change(&owner, seed::request("w2"), &next.id, "").await.expect("withdrawn");
    pass_to(&world, of.period_end.plus(MINUTE_MS)).await;
    assert_eq!(invoices(&world, &of), [of.price_cents]);
    assert_eq!(subscription(&world, &graph).await.tier, seed::tier(LARGE));
}

#[tokio::test(start_paused = true)]
async fn it_keeps_other_changes_away_and_nothing_else() {
    let world = World::start().await;
    let graph = large(&world, 1).await;
    let owner = seed::owner("org_a");
    let change = scheduled(&world, 1).await;
    let now = world.service.change_tier(&owner, seed::change("now", 1, STANDARD)).await.expect_err("refused");
    let error = now.error();
    assert_eq!((error.kind, error.reason), (Kind::Aborted, Reason::ChangeActive));
    assert_eq!(error.metadata.get("change_id"), Some(&change.id.to_string()));
    // Growing is checked anew when its time comes; that an upgrade cannot wait is told at once.
    world.service.register_subgraph(&owner, seed::request("sg"), &graph, "one").await.expect("registered");
    let other = seed::subscribed(&world.service, 2, "org_a", STANDARD).await;
    let up = ChangeTier { timing: Timing::PeriodEnd, ..seed::change("up", 2, LARGE) };
    let refused = world.service.change_tier(&owner, up).await.expect_err("refused");
    assert!(refused.error().violations.iter().any(|v| v.reason == Reason::ScheduleNotAllowed), "{other}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_by_then_does_not_begin() {
    let world = World::start().await;
    let graph = large(&world, 1).await;
    let of = subscription(&world, &graph).await;
    let change = scheduled(&world, 1).await;
    world.volume.script(&graph, Script { usage_bytes: Some(1 << 50), ..Script::default() });
    pass_to(&world, of.period_end).await;
    let ended = world.ended(&change.id).await;
    assert_eq!((ended.machine.state, ended.machine.failure), (State::Failed, Some(Reason::StorageExceedsLimit)));
    assert!(ended.measured.violations.iter().all(|v| v.limit.is_some() && !v.fix.is_empty()));
    assert!(!ended.measured.violations.is_empty() && !world.volume.exists(&change.id) && world.writable(&graph));
    world.check_at_rest(&change.id).await;
    world.pass(MINUTE_MS).await;
    assert_eq!(invoices(&world, &of), [of.price_cents], "its renewal is at the price that it kept");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_away_is_waited_for_and_the_renewal_with_it() {
    let world = World::start().await;
    let graph = large(&world, 1).await;
    let of = subscription(&world, &graph).await;
    let change = scheduled(&world, 1).await;
    world.volume.away(true);
    pass_to(&world, of.period_end.plus(DAY_MS)).await;
    assert_eq!(world.stored(&change.id).await.machine.state, State::Scheduled);
    assert!(invoices(&world, &of).is_empty());
    world.volume.away(false);
    let ended = world.ended(&change.id).await;
    assert_eq!(ended.machine.state, State::Succeeded);
    assert_eq!(ended.quote.due_cents, 0, "the day that nobody answered is not the customer's");
    world.pass(MINUTE_MS).await;
    assert_eq!(invoices(&world, &of), [ended.quote.terms.price_after_cents]);
    assert_eq!(subscription(&world, &graph).await.period_end, plus_months(of.anchor, 2));
}

#[tokio::test(start_paused = true)]
async fn after_three_days_it_is_not_waited_for_any_more() {
    let world = World::start().await;
    let graph = large(&world, 1).await;
    let of = subscription(&world, &graph).await;
    let change = scheduled(&world, 1).await;
    world.volume.away(true);
    pass_to(&world, of.period_end.plus(3 * DAY_MS + 2 * MINUTE_MS)).await;
    let ended = world.stored(&change.id).await;
    assert_eq!((ended.machine.state, ended.machine.failure), (State::Failed, Some(Reason::UsageUnknown)));
    assert_eq!(invoices(&world, &of), [of.price_cents]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_subscription() {
    for end in [End::Now, End::PeriodEnd] {
        let world = World::start().await;
        let graph = large(&world, 1).await;
        let of = subscription(&world, &graph).await;
        let change = scheduled(&world, 1).await;
        let owner = seed::owner("org_a");
        world.service.cancel_subscription(&owner, seed::cancel("r1", &of, end)).await.expect("canceled");
        if end == End::PeriodEnd {
            assert_eq!(world.stored(&change.id).await.machine.state, State::Scheduled, "it may be taken back");
            pass_to(&world, of.period_end.plus(MINUTE_MS)).await;
        }
        let ended = world.stored(&change.id).await;
        assert_eq!(
            (ended.machine.state, ended.machine.failure),
            (State::Failed, Some(Reason::SubscriptionNotActive)),
            "{end:?}"
        );
        assert!(!world.volume.exists(&change.id));
        World::check_events(&world.events(&change.id).await);
        let over = subscription(&world, &graph).await;
        assert!(!over.live && over.scheduled_change.is_none() && invoices(&world, &of).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_forgets_nothing_of_it() {
    let mut world = World::start().await;
    let graph = large(&world, 1).await;
    let of = subscription(&world, &graph).await;
    let change = scheduled(&world, 1).await;
    pass_to(&world, of.period_end.plus(-10)).await;
    // Nobody is there when its time comes.
    world.kill().await;
    world.pass(MINUTE_MS).await;
    world.restart().await;
    for step in 0..40 {
        world.pass(700 + 37 * step).await;
        world.restart().await;
    }
    assert_eq!(world.ended(&change.id).await.machine.state, State::Succeeded);
    world.check_at_rest(&change.id).await;
    world.pass(MINUTE_MS).await;
    assert_eq!(invoices(&world, &of).len(), 1);
}

/// The provider's word of the next period.
async fn renewed(world: &World, graph: &GraphId, of: &Subscription) {
    let purse = world.stripe.as_ref().expect("a world with Stripe");
    let (start, end) = purse.fake.period(&purse.begun.subscription).expect("known there");
    let period = Event::Period { start: UnixMs(start * 1_000), end: UnixMs(end * 1_000) };
    world.service.live(graph, &of.id, |turn| Ok(turn.take(period)?)).await.expect("applied");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_renews_by_itself_gives_back_what_the_renewal_took_too_much() {
    let world = World::start_with_stripe().await;
    let purse = world.stripe.as_ref().expect("a world with Stripe");
    let graph = world.graph(1).await;
    // The fake's customer begins on the standard tier: up first, then down at the end of the period.
    let up = world.change(1).await;
    world.ended(&up.id).await;
    let of = subscription(&world, &graph).await;
    pass_to(&world, of.period_end.plus(-DAY_MS)).await;
    let change = scheduled(&world, 1).await;
    let before = purse.net_cents();
    pass_to(&world, of.period_end.plus(60 * MINUTE_MS)).await;
    assert_eq!(world.stored(&change.id).await.machine.state, State::Scheduled, "the renewal is still to be told");
    purse.fake.renew(&purse.begun.subscription).expect("renewed");
    assert_eq!(purse.net_cents() - before, of.price_cents, "at the old price");
    renewed(&world, &graph, &of).await;
    let ended = world.ended(&change.id).await;
    assert_eq!((ended.machine.state, ended.machine.failure), (State::Succeeded, None));
    let paid = purse.net_cents() - before;
    assert_eq!(paid, ended.quote.terms.price_after_cents, "the new period costs the new price, to the cent");
    assert_eq!(purse.price_cents(), ended.quote.terms.price_after_cents);
}

#[tokio::test(start_paused = true)]
async fn it_follows_a_period_that_the_provider_lengthens() {
    let world = World::start_with_stripe().await;
    let graph = world.graph(1).await;
    let up = world.change(1).await;
    world.ended(&up.id).await;
    let of = subscription(&world, &graph).await;
    world.pass(2 * 3_600_000).await;
    let change = scheduled(&world, 1).await;
    let longer = of.period_end.plus(7 * DAY_MS);
    let period = Event::Period { start: of.period_start, end: longer };
    world.service.live(&graph, &of.id, |turn| Ok(turn.take(period)?)).await.expect("applied");
    pass_to(&world, of.period_end.plus(MINUTE_MS)).await;
    let moved = world.stored(&change.id).await;
    assert_eq!((moved.machine.state, moved.scheduled), (State::Scheduled, Some(longer)));
}
