//! Tier changes from acceptance to end, in virtual time, against a scripted volume-svc.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use std::sync::Arc;
use subscription_core::change::{Cause, Charge, Side, State};
use subscription_svc::migrations::Position;
use subscription_svc::payments::sim::Behaviour;
use subscription_svc::store::Store as _;
use subscription_svc::store::rows::AuditKind;
use support::volume::{Resume, Script};
use support::world::World;
use support::{seed, world};
use tiershift_core::Reason;
use tiershift_core::catalogue::{Catalogue, Tier};
use tiershift_core::event::{Source, Writes};
use tiershift_core::ids::{ChangeId, OrgId};

fn org() -> OrgId {
    OrgId::parse("org_a").expect("well formed")
}

#[tokio::test(start_paused = true)]
async fn a_change_goes_from_acceptance_to_success() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let accepted = world.change(1).await;
    let change = world.ended(&accepted.id).await;
    assert_eq!(change.machine.state, State::Succeeded);
    world.check_at_rest(&change.id).await;
    let stages: Vec<String> = world.events(&change.id).await.into_iter().map(|e| e.stage).collect();
    let own: Vec<&str> = stages.iter().map(String::as_str).filter(|s| State::parse(s).is_some()).collect();
    assert_eq!(own, ["requested", "preparing", "charging", "gating", "gating", "moving", "finalizing", "succeeded"]);
    let audit = world.audit(&change.id).await;
    assert_eq!(
        audit,
        [
            AuditKind::ChangeAccepted,
            AuditKind::ChangeCharged,
            AuditKind::ChangeGated,
            AuditKind::ChangeCommitted,
            AuditKind::ChangeOpened,
            AuditKind::ChangeSucceeded,
        ]
    );
    assert!(world.writable(&graph));
    let last = world.events(&change.id).await.pop().expect("events");
    let detail = |key: &str| last.detail.get(key).and_then(|text| text.parse::<i64>().ok()).expect(key);
    assert_eq!(detail("writes_blocked_ms"), change.measured.writes_blocked_ms);
    assert_eq!((detail("offline_ms"), change.measured.offline_ms), (7_000, 7_000));
    assert_eq!(detail("net_charged_cents"), change.quote.due_cents);
    // Nine stages of a second after the confirmation, and the lease before it.
    assert!((11_000..=12_500).contains(&change.measured.writes_blocked_ms), "{}", change.measured.writes_blocked_ms);
}

#[tokio::test(start_paused = true)]
async fn the_gate_closes_one_calm_lease_after_acceptance_and_is_confirmed_one_changing_lease_later() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let change = world.change(1).await;
    let gated = world.until(&change.id, "the gate", |c| c.measured.gate_closed.is_some()).await;
    let closed = gated.measured.gate_closed.expect("closed");
    assert!(closed.since(change.accepted) >= 60_000, "H29: {}", closed.since(change.accepted));
    assert!(!world.writable(&graph));
    world.until(&change.id, "the confirmation", |c| c.machine.confirmed).await;
    let waited = world.now().since(closed);
    assert!((2_000..3_000).contains(&waited), "H7: {waited}");
    world.ended(&change.id).await;
    world.check_at_rest(&change.id).await;
}

#[tokio::test(start_paused = true)]
async fn no_holder_writes_behind_the_confirmation_of_a_change_that_a_dead_process_committed_last() {
    let mut world = World::start().await;
    let graph = world.graph(1).await;
    let dead = Arc::clone(&world.service);
    // The new process has loaded all records when the last COMMIT of the dead one arrives.
    world.restart().await;
    let accepted = dead.change_tier(&seed::owner("org_a"), seed::change("c-1", 1, "ladybug-large")).await;
    let id = accepted.expect("accepted").id;
    // A holder that asks as seldom as it may.
    let (mut until, bound) = (world.now(), world.now().plus(world::BOUND_MS));
    while !world.stored(&id).await.machine.confirmed {
        if until <= world.now() {
            until = world.now().plus(world.keep_ms(&graph).max(100));
        }
        world.pass(100).await;
        assert!(world.now() < bound, "no confirmation comes");
    }
    assert!(until <= world.now(), "2: a holder believes for {} ms more that it may write", until.since(world.now()));
}

#[tokio::test(start_paused = true)]
async fn writes_stay_open_until_everything_slow_is_done_and_paid() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { stage_ms: 3_600_000, ..Script::default() });
    let change = world.change(1).await;
    for _ in 0..3 {
        world.pass(3_500_000).await;
        assert!(world.writable(&graph));
        assert_eq!(world.stored(&change.id).await.machine.charge, Charge::None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decline_ends_cleanly_without_a_refused_write() {
    for (behaviour, reason) in
        [(Behaviour::Decline, Reason::PaymentDeclined), (Behaviour::NotImmediate, Reason::PaymentNotImmediate)]
    {
        let world = World::start().await;
        world.graph(1).await;
        world.sim.behave(&org(), Some(behaviour));
        let id = world.change(1).await.id;
        let change = world.ended(&id).await;
        assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(reason)));
        assert_eq!((change.measured.gate_closed, change.measured.writes_blocked_ms), (None, 0));
        assert!(world.events(&id).await.iter().all(|e| e.writes == Writes::Open));
        assert!(!world.volume.confirmed(&id));
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_the_provider_never_charges_twice() {
    for behaviour in [Behaviour::LoseAnswer, Behaviour::LoseRequest, Behaviour::ServerFault] {
        let world = World::start().await;
        world.graph(1).await;
        world.sim.behave(&org(), Some(behaviour));
        let id = world.change(1).await.id;
        let change = world.ended(&id).await;
        assert_eq!(change.machine.state, State::Succeeded, "{behaviour:?}");
        assert_eq!(world.sim.book().entries(&id).len(), 1, "{behaviour:?}: one key, one charge (H21)");
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_turns_the_change_back_and_nothing_goes_back_before_forward_is_definite() {
    let world = World::start().await;
    world.graph(1).await;
    world.sim.behave(&org(), Some(Behaviour::Silent));
    let id = world.change(1).await.id;
    let waiting = world.until(&id, "compensation", |c| c.machine.state == State::Compensating).await;
    assert_eq!(waiting.machine.charge, Charge::Unknown);
    assert_eq!(waiting.measured.gate_closed, None, "no write is blocked while a bank thinks");
    world.pass(600_000).await;
    assert_eq!(world.stored(&id).await.machine.state, State::Compensating);
    world.sim.behave(&org(), None);
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::PaymentUnknown)));
    let entries = world.sim.book().entries(&id);
    assert_eq!(entries.len(), 3, "forward, then both ways back: {entries:?}");
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_opens_the_gate_at_once_and_money_follows() {
    for stage in ["drain_writes", "release", "attach", "adopt"] {
        let world = World::start().await;
        let graph = world.graph(1).await;
        world.volume.script(&graph, Script { turn_back_at: Some(stage), ..Script::default() });
        // Money can go back only hours later (H37).
        let id = world.change(1).await.id;
        world.until(&id, "the move", |c| c.machine.state == State::Moving).await;
        world.sim.behave(&org(), Some(Behaviour::Silent));
        world.until(&id, "compensation", |c| c.machine.state == State::Compensating).await;
        assert!(world.writable(&graph), "{stage}: no payment stands between a serving graph and its gate");
        world.pass(1_800_000).await;
        assert_eq!(world.stored(&id).await.machine.state, State::Compensating);
        world.sim.behave(&org(), None);
        let change = world.ended(&id).await;
        assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::DrainTimeout)));
        assert!(change.measured.writes_blocked_ms > 0 && change.measured.writes_blocked_ms < 60_000);
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_refund_needs_a_person_while_the_graph_serves() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { turn_back_at: Some("drain_writes"), ..Script::default() });
    world.sim.behave(&org(), Some(Behaviour::RefuseRefund));
    let id = world.change(1).await.id;
    let change = world.until(&id, "attention", |c| c.machine.state == State::NeedsAttention).await;
    assert_eq!(change.machine.attention.expect("attention").cause, Cause::BackRefused);
    assert!(world.writable(&graph));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_works_until_the_detach_and_not_after() {
    // Seconds after the acceptance, up to the last moment: the detach comes at about 70 s.
    for seconds in [0, 1, 2, 3, 4, 5, 30, 61, 63, 65, 66, 67, 68] {
        let world = World::start().await;
        world.graph(1).await;
        let id = world.change(1).await.id;
        world.pass(seconds * 1_000).await;
        let owner = seed::owner("org_a");
        let canceled = world.service.cancel_change(&owner, seed::request("x"), &id, "changed my mind").await;
        let change = world.ended(&id).await;
        match canceled {
            Ok(_) if change.machine.state == State::Canceled => {
                assert_eq!(change.machine.failure, Some(Reason::CanceledByRequest));
            }
            Ok(_) => assert!(change.machine.cancel_refused, "{seconds} s: {change:#?}"),
            Err(fault) => {
                assert_eq!(fault.error().reason, Reason::TooLateToCancel, "{seconds} s");
                assert_eq!(change.machine.state, State::Succeeded);
            }
        }
        if seconds <= 63 {
            assert_eq!(change.machine.state, State::Canceled, "{seconds} s");
            // It waits behind nothing, not even behind the lease that the gate waits for.
            let took = change.ended.expect("ended").since(change.accepted) - seconds * 1_000;
            assert!(took < 5_000, "{seconds} s: {took} ms");
        }
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_too_late_is_refused_with_its_reason() {
    let world = World::start().await;
    world.graph(1).await;
    let id = world.change(1).await.id;
    world.until(&id, "the detach", |c| c.machine.detached).await;
    let owner = seed::owner("org_a");
    let fault = world.service.cancel_change(&owner, seed::request("x"), &id, "").await.expect_err("too late");
    assert_eq!(fault.error().reason, Reason::TooLateToCancel);
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.cancel_requested), (State::Succeeded, false));
    let fault = world.service.cancel_change(&owner, seed::request("y"), &id, "").await.expect_err("ended");
    assert_eq!(fault.error().reason, Reason::AlreadyEnded);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_start_leaves_a_tombstone_and_never_a_migration() {
    let world = World::start().await;
    world.graph(1).await;
    world.volume.away(true);
    // Its plan was asked for before; only the start meets silence.
    world.volume.away(false);
    world.volume.silence("start", u32::MAX);
    let id = world.change(1).await.id;
    world.pass(5_000).await;
    let owner = seed::owner("org_a");
    world.service.cancel_change(&owner, seed::request("x"), &id, "").await.expect("stored");
    let change = world.ended(&id).await;
    assert_eq!(change.machine.state, State::Canceled);
    assert!(!world.volume.exists(&id), "H27");
    world.volume.silence("start", 0);
    world.pass(60_000).await;
    assert!(!world.volume.exists(&id));
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_start_ends_the_change_with_its_reason() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { refuse_start: Some(Reason::NoCapacity), ..Script::default() });
    let id = world.change(1).await.id;
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::NoCapacity)));
    assert_eq!(world.volume.calls("cancel"), 1, "a tombstone stands before the end (H27)");
    world.check_at_rest(&id).await;
    world.volume.script(&graph, Script::default());
    let next = world.service.change_tier(&seed::owner("org_a"), seed::change("again", 1, "ladybug-large")).await;
    assert!(next.is_ok(), "nothing is left in the way: {next:?}");
}

#[tokio::test(start_paused = true)]
async fn data_that_grew_stops_the_change_before_its_charge() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let over = Script { usage_at_gate: Some(51 << 30), ..Script::default() };
    world.volume.script(&graph, over);
    let id = world.change(1).await.id;
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::StorageExceedsLimit)));
    assert_eq!(change.measured.violations.len(), 1, "the reader learns why");
    assert!(world.sim.book().entries(&id).is_empty(), "H28: nothing was taken");
    world.check_at_rest(&id).await;
}

fn catalogue(change: impl Fn(&mut Tier)) -> Catalogue {
    let mut tiers = Catalogue::default().tiers().to_vec();
    tiers.iter_mut().filter(|t| t.name.as_str() == "ladybug-large").for_each(change);
    Catalogue::new(tiers).expect("a catalogue")
}

#[tokio::test(start_paused = true)]
async fn a_price_that_changed_since_the_acceptance_takes_no_money() {
    let mut world = World::start().await;
    world.graph(1).await;
    let id = world.change(1).await.id;
    world.until(&id, "preparing", |c| c.machine.state == State::Preparing).await;
    world.restart_with(catalogue(|tier| tier.price_cents += 1)).await;
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::PriceChanged)));
    let fault = change.measured.violations.first().expect("the reader learns why");
    assert_eq!((fault.limit, fault.actual), (Some(24_900), Some(24_901)));
    assert!(world.sim.book().entries(&id).is_empty(), "H28: nothing was taken");
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_fails_at_the_gate_gives_the_money_back() {
    let mut world = World::start().await;
    let graph = world.graph(1).await;
    let id = world.change(1).await.id;
    world.until(&id, "the charge", |c| c.machine.charge == Charge::Taken).await;
    world.restart_with(catalogue(|tier| tier.storage_limit_bytes = 1)).await;
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::StorageExceedsLimit)));
    assert_eq!(change.measured.gate_closed, None);
    assert_eq!(world.sim.book().entries(&id).len(), 3, "H28: the check at the gate compensates");
    assert!(world.writable(&graph));
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_not_closed_for_a_migration_that_is_about_to_give_up() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { gate_ms: 150_000, ..Script::default() });
    let id = world.change(1).await.id;
    world.until(&id, "the charge", |c| c.machine.charge == Charge::Taken).await;
    world.volume.away(true);
    world.pass(95_000).await;
    world.volume.away(false);
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::GateTimeout)));
    assert_eq!(change.measured.gate_closed, None, "H10: less than 60 s were left");
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn usage_that_nobody_knows_at_the_gate_takes_no_money() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { usage_bytes: Some(1), ..Script::default() });
    let id = world.change(1).await.id;
    world.volume.script(&graph, Script { usage_bytes: None, ..Script::default() });
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::UsageUnknown)));
    assert!(world.sim.book().entries(&id).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_migration_keeps_the_gate_closed_until_a_person_acts() {
    for how in [Resume::Retry, Resume::HandOver(Side::Source), Resume::HandOver(Side::Target)] {
        let world = World::start().await;
        let graph = world.graph(1).await;
        world.volume.script(&graph, Script { stuck_at: Some("attach"), ..Script::default() });
        let id = world.change(1).await.id;
        let stuck = world.until(&id, "stuck", |c| c.machine.state == State::NeedsAttention).await;
        let attention = stuck.machine.attention.expect("attention");
        assert_eq!((attention.cause, attention.reason), (Cause::Stuck, Reason::AttachFailed));
        world.pass(2 * world::BOUND_MS).await;
        assert!(!world.writable(&graph), "H10: no timer opens a gate");
        world.volume.resume(&id, how);
        let change = world.ended(&id).await;
        let expected = if how == Resume::HandOver(Side::Source) { State::Failed } else { State::Succeeded };
        assert_eq!(change.machine.state, expected, "{how:?} (H26)");
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_repeated_events_change_nothing() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { doubled: true, ..Script::default() });
    for call in ["start", "confirm"] {
        world.volume.lose(call, 2);
        world.volume.silence(call, 2);
    }
    let id = world.change(1).await.id;
    let change = world.ended(&id).await;
    assert_eq!(change.machine.state, State::Succeeded);
    // Two unanswered, then answered and lost: the start is asked for until it is acknowledged; that the gate was
    // confirmed is told by the migration's own event.
    assert_eq!((world.volume.calls("start"), world.volume.calls("confirm")), (5, 3));
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_volume_svc_is_waited_out_and_a_closed_gate_stays_closed() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let id = world.change(1).await.id;
    world.until(&id, "the gate", |c| c.measured.gate_closed.is_some()).await;
    world.volume.away(true);
    world.pass(300_000).await;
    assert!(!world.writable(&graph), "H10");
    let waiting = world.stored(&id).await;
    assert_eq!(waiting.machine.attention.map(|a| a.cause), Some(Cause::Overdue), "people were told");
    world.volume.away(false);
    let change = world.ended(&id).await;
    assert_eq!(change.machine.state, State::Succeeded);
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn old_news_starts_no_charge() {
    // subscription-svc sleeps while the gate is requested and times out (H22), and hears of it event by event.
    let mut world = World::start().await;
    world.graph(1).await;
    world.volume.lag(3_000);
    let id = world.change(1).await.id;
    world.until(&id, "preparing", |c| c.machine.state == State::Preparing).await;
    world.kill().await;
    world.pass(2 * support::volume::GATE_MS).await;
    world.restart().await;
    let change = world.ended(&id).await;
    assert_eq!((change.machine.state, change.machine.failure), (State::Failed, Some(Reason::GateTimeout)));
    assert!(world.sim.book().entries(&id).is_empty(), "nothing was charged on a stale request");
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_both_leases_again_in_full() {
    let mut world = World::start().await;
    world.graph(1).await;
    let id = world.change(1).await.id;
    world.pass(50_000).await;
    world.restart().await;
    let restarted = world.now();
    let gated = world.until(&id, "the gate", |c| c.measured.gate_closed.is_some()).await;
    assert!(gated.measured.gate_closed.expect("closed").since(restarted) >= 60_000, "H29 after a restart");
    world.restart().await;
    let restarted = world.now();
    world.until(&id, "the confirmation", |c| c.machine.confirmed).await;
    assert!(world.now().since(restarted) >= 2_000, "H7 after a restart");
    world.ended(&id).await;
    world.check_at_rest(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_second_ends_as_if_nothing_had_happened() {
    for (turn_back_at, expected) in [(None, State::Succeeded), (Some("attach"), State::Failed)] {
        for half_seconds in 0..170 {
            let mut world = World::start().await;
            let graph = world.graph(1).await;
            world.volume.script(&graph, Script { turn_back_at, ..Script::default() });
            let id = world.change(1).await.id;
            world.pass(half_seconds * 500).await;
            world.restart().await;
            let change = world.ended(&id).await;
            assert_eq!(change.machine.state, expected, "killed after {half_seconds} half seconds");
            world.check_at_rest(&id).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_migration_past_its_gate_closes_an_open_gate_and_calls_for_a_person() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { stage_ms: 1_000_000, ..Script::default() });
    let id = world.change(1).await.id;
    world.until(&id, "preparing", |c| c.machine.state == State::Preparing).await;
    assert!(world.writable(&graph));
    world.volume.misplace(&id, Position::PastGate);
    let change = world.until(&id, "attention", |c| c.machine.state == State::NeedsAttention).await;
    assert_eq!(change.machine.attention.expect("attention").cause, Cause::Contradiction, "H9");
    assert!(!world.writable(&graph), "the gate was closed at once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_migration_is_an_alarm_and_never_a_new_start() {
    let world = World::start().await;
    world.graph(1).await;
    let id = world.change(1).await.id;
    world.until(&id, "preparing", |c| c.machine.state == State::Preparing).await;
    world.volume.forget(&id);
    let change = world.until(&id, "attention", |c| c.machine.state == State::NeedsAttention).await;
    let attention = change.machine.attention.expect("attention");
    assert_eq!((attention.cause, attention.reason), (Cause::Contradiction, Reason::MigrationNotFound), "H19 d");
    world.pass(600_000).await;
    assert!(!world.volume.exists(&id));
    assert_eq!(world.volume.calls("start"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_nothing_is_sent_until_a_person_has_decided() {
    let mut world = World::start().await;
    let graph = world.graph(1).await;
    let id = world.change(1).await.id;
    world.until(&id, "preparing", |c| c.machine.state == State::Preparing).await;
    world.kill().await;
    world.store.begin_epoch().await.expect("a new life");
    let calls = |world: &World| ["start", "confirm", "cancel"].map(|call| world.volume.calls(call));
    let before = calls(&world);
    world.restart().await;
    world.pass(1_000_000).await;
    let held = world.stored(&id).await;
    assert_eq!(held.machine.attention.map(|a| a.cause), Some(Cause::Restored), "H19");
    assert_eq!(calls(&world), before);
    assert!(world.sim.book().entries(&id).is_empty());
    assert!(world.writable(&graph), "its gate was never closed");
    let fault = world.service.cancel_change(&seed::owner("org_a"), seed::request("x"), &id, "").await;
    assert_eq!(fault.expect_err("held").error().reason, Reason::StoreRestored);
}

#[tokio::test(start_paused = true)]
async fn a_migration_without_a_change_is_canceled() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    let id = ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed");
    world.volume.orphan(&id, &graph, Position::BeforeGate);
    world.pass(15_000).await;
    assert_eq!(world.volume.calls("cancel"), 1, "H9");
}

#[tokio::test(start_paused = true)]
async fn many_changes_run_beside_each_other() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for n in 0..60 {
        let graph = world.graph(n).await;
        let turn_back_at = (n % 5 == 4).then_some("release");
        world.volume.script(&graph, Script { turn_back_at, ..Script::default() });
        ids.push(world.change(n).await.id);
    }
    for id in ids {
        world.ended(&id).await;
        world.check_at_rest(&id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_change_waits_for_the_settling_of_the_last() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, Script { stage_ms: 5_000, ..Script::default() });
    let id = world.change(1).await.id;
    let owner = seed::owner("org_a");
    let busy = world.service.change_tier(&owner, seed::change("b", 1, "ladybug-xlarge")).await.expect_err("busy");
    assert_eq!(busy.error().reason, Reason::ChangeActive);
    world.ended(&id).await;
    let settling =
        world.service.change_tier(&owner, seed::change("b", 1, "ladybug-xlarge")).await.expect_err("settling");
    assert_eq!(settling.error().reason, Reason::Settling);
    assert_eq!(settling.error().metadata.get("change_id").map(String::as_str), Some(id.as_str()));
    world.until(&id, "the settling", |c| !c.follows).await;
    let next = world.service.change_tier(&owner, seed::change("b", 1, "ladybug-xlarge")).await.expect("free");
    world.ended(&next.id).await;
    world.check_at_rest(&next.id).await;
    assert!(world.events(&id).await.iter().all(|e| e.stage != "settle" || e.source != Source::Volume));
}
