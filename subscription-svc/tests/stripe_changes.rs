//! Whole tier changes that are paid for at Stripe, in virtual time, against a Stripe of our own.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use subscription_core::change::{Cause, Charge, State};
use support::seed;
use support::stripe::Purse;
use support::volume::Script;
use support::world::World;
use tiershift_core::Reason;
use tiershift_core::ids::ChangeId;
use tiershift_stripe::Behaviour;

fn purse(world: &World) -> &Purse {
    world.stripe.as_ref().expect("a world with Stripe")
}

/// The posts that may have had an effect, under one key.
fn posts(world: &World, id: &ChangeId, kind: &str) -> usize {
    let key = format!("{id}/{kind}");
    purse(world).fake.requests().iter().filter(|seen| seen.key.as_ref() == Some(&key)).count()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_paid_for_and_succeeds() {
    let world = World::start_with_stripe().await;
    world.graph(1).await;
    let id = world.change(1).await.id;
    let change = world.ended(&id).await;
    assert_eq!(change.machine.state, State::Succeeded);
    assert!(change.quote.due_cents > 0);
    assert_eq!((purse(&world).net_cents(), posts(&world, &id, "forward")), (change.quote.due_cents, 1));
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_decline_ends_the_change_with_nothing_taken() {
    for (behaviour, reason) in [
        (Behaviour::Decline, Reason::PaymentDeclined),
        (Behaviour::RequiresAction, Reason::PaymentNotImmediate),
        (Behaviour::FaultBefore, Reason::PaymentDeclined),
    ] {
        let world = World::start_with_stripe().await;
        let graph = world.graph(1).await;
        purse(&world).behave(Some(behaviour));
        let id = world.change(1).await.id;
        let change = world.ended(&id).await;
        assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(reason)), "{behaviour:?}");
        assert_eq!(change.measured.gate_closed, None, "{behaviour:?}");
        assert!(world.writable(&graph));
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_bad_answer_charges_twice() {
    for behaviour in [
        Behaviour::SilentAfter,
        Behaviour::CutAfter,
        Behaviour::CutBefore,
        Behaviour::Unavailable,
        Behaviour::KeyInUse,
        Behaviour::TooMany,
        Behaviour::FaultAfter,
    ] {
        let world = World::start_with_stripe().await;
        world.graph(1).await;
        purse(&world).behave(Some(behaviour));
        let id = world.change(1).await.id;
        let change = world.ended(&id).await;
        assert_eq!(change.machine.state, State::Succeeded, "{behaviour:?}");
        let posted = if behaviour == Behaviour::FaultAfter { 1 } else { 2 };
        assert_eq!(posts(&world, &id, "forward"), posted, "{behaviour:?}");
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rolled_back_change_costs_nothing() {
    for behaviour in [None, Some(Behaviour::SilentAfter), Some(Behaviour::CutAfter), Some(Behaviour::FaultAfter)] {
        let world = World::start_with_stripe().await;
        let graph = world.graph(1).await;
        world.volume.script(&graph, Script { turn_back_at: Some("attach"), ..Script::default() });
        purse(&world).behave(behaviour);
        let id = world.change(1).await.id;
        let moving = world.until(&id, "the charge", |c| c.machine.charge == Charge::Taken).await;
        assert_eq!(purse(&world).net_cents(), moving.quote.due_cents, "{behaviour:?}");
        let change = world.ended(&id).await;
        assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::DrainTimeout)));
        assert_eq!(purse(&world).net_cents(), 0, "{behaviour:?}");
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn money_waits_for_a_provider_that_is_away_and_the_gate_does_not() {
    let world = World::start_with_stripe().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { turn_back_at: Some("drain_writes"), ..Script::default() });
    let id = world.change(1).await.id;
    world.until(&id, "the move", |c| c.machine.state == State::Moving).await;
    purse(&world).behave(Some(Behaviour::Away));
    world.until(&id, "compensation", |c| c.machine.state == State::Compensating).await;
    assert!(world.writable(&graph), "H37");
    world.pass(1_800_000).await;
    assert_eq!(world.stored(&id).await.machine.state, State::Compensating);
    purse(&world).behave(None);
    assert_eq!(world.ended(&id).await.machine.state, State::Failed);
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_before_the_charge_turns_the_change_back_at_once() {
    let world = World::start_with_stripe().await;
    world.graph(1).await;
    let id = world.change(1).await.id;
    purse(&world).behave(Some(Behaviour::Away));
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, posts(&world, &id, "forward")), (State::Failed, 0));
    purse(&world).behave(None);
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_charge_is_made_definite_before_anything_goes_back() {
    let world = World::start_with_stripe().await;
    world.graph(1).await;
    purse(&world).behave(Some(Behaviour::Silent));
    let id = world.change(1).await.id;
    let waiting = world.until(&id, "compensation", |c| c.machine.state == State::Compensating).await;
    assert_eq!((waiting.machine.charge, posts(&world, &id, "back/price")), (Charge::Unknown, 0));
    purse(&world).behave(None);
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::PaymentUnknown)));
    assert_eq!((posts(&world, &id, "back/price"), posts(&world, &id, "back/money")), (1, 1));
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_moment_charges_once() {
    // The charge comes some seconds after the acceptance; its answer is lost, so that it takes a while.
    for after_ms in (0..40_000).step_by(1_333) {
        for turn_back_at in [None, Some("attach")] {
            let mut world = World::start_with_stripe().await;
            let graph = world.graph(1).await;
            world.volume.script(&graph, Script { turn_back_at, ..Script::default() });
            purse(&world).behave(Some(Behaviour::SilentAfter));
            let id = world.change(1).await.id;
            world.pass(after_ms).await;
            world.restart().await;
            let change = world.ended(&id).await;
            let wanted = if turn_back_at.is_some() { State::Failed } else { State::Succeeded };
            assert_eq!(change.machine.state, wanted, "{after_ms}");
            world.check_at_rest(&id).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_refund_needs_a_person() {
    let world = World::start_with_stripe().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { turn_back_at: Some("drain_writes"), ..Script::default() });
    purse(&world).behave(Some(Behaviour::RefuseRefund));
    let id = world.change(1).await.id;
    let change = world.until(&id, "attention", |c| c.machine.state == State::NeedsAttention).await;
    assert_eq!(change.machine.attention.expect("attention").cause, Cause::BackRefused);
    assert_eq!(purse(&world).price_cents(), 9_900, "the price is back all the same");
    assert!(world.writable(&graph));
}

#[tokio::test(start_paused = true)]
async fn another_price_at_the_provider_is_found_before_the_acceptance_and_before_the_charge() {
    let world = World::start_with_stripe().await;
    world.graph(1).await;
    let owner = seed::owner("org_a");
    let shown = world
        .service
        .preview(&owner, &seed::graph(1), &seed::tier("ladybug-large"), subscription_core::rules::Timing::Now)
        .await;
    let quoted_cents = shown.expect("a preview").quote.expect("a price").due_cents;
    purse(&world).fake.surcharge(7);
    let shown = world
        .service
        .preview(&owner, &seed::graph(1), &seed::tier("ladybug-large"), subscription_core::rules::Timing::Now)
        .await;
    let violations = shown.expect("a preview").report.violations;
    let found: Vec<_> = violations.iter().map(|v| (v.reason, v.limit, v.actual)).collect();
    assert_eq!(found, [(Reason::PriceChanged, Some(quoted_cents), Some(quoted_cents + 7))]);
    let request = seed::change("c-1", 1, "ladybug-large");
    let refusal = world.service.change_tier(&owner, request).await.expect_err("refused");
    assert_eq!(refusal.error().violations.iter().map(|v| v.reason).collect::<Vec<_>>(), [Reason::PriceChanged]);
    // Accepted, and found only later.
    purse(&world).fake.surcharge(0);
    let id = world.change(1).await.id;
    purse(&world).fake.surcharge(7);
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::PriceChanged)));
    assert_eq!(posts(&world, &id, "forward"), 0, "H28: nothing was taken");
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn no_change_is_accepted_while_the_provider_is_away() {
    let world = World::start_with_stripe().await;
    world.graph(1).await;
    purse(&world).behave(Some(Behaviour::Away));
    let request = seed::change("c-1", 1, "ladybug-large");
    let refusal = world.service.change_tier(&seed::owner("org_a"), request).await.expect_err("refused");
    assert_eq!(
        (refusal.error().kind, refusal.error().reason),
        (tiershift_core::Kind::Unavailable, Reason::Unavailable)
    );
    purse(&world).behave(None);
    let id = world.change(1).await.id;
    assert_eq!(world.ended(&id).await.machine.state, State::Succeeded);
}
