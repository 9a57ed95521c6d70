//! Cancels, and drivers that die or sleep.

use super::{at, at_open, one, two};
use crate::text;
use crate::world::driver::{Ended, Step};
use crate::world::faults::Fate;
use crate::world::fixture::{self, Setup, idle, source};
use crate::world::host::Door;
use tiershift_core::Reason;
use volume_core::Machine;
use volume_core::effect::{AgentState, Effect, Trouble};
use volume_core::fact::Fact;
use volume_core::machine::Next;
use volume_core::settings::Settings;
use volume_core::stage::Stage;

#[test]
fn h31_a_cancel_behind_the_gate_request_ends_rolled_back_and_gives_the_permits_back() {
    let mut run = at(&two(), Stage::Gate);
    run.until("the request", |run| run.state().gate.is_some());
    assert_eq!(run.world.store.permits().values().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    run.request(|machine| machine.cancel("user_a")).expect("it may be canceled");
    run.until("its end", |run| run.state().end.is_some());
    assert!(run.world.store.permits().values().all(Vec::is_empty));
    assert_eq!(run.finish(), Ended::RolledBack(Reason::CanceledByRequest));
    assert!(run.world.arrived.iter().all(|(_, effect, _)| !matches!(effect, Effect::Drain { .. })));
}

/// Two hundred become ready at once: one that is late for its permit again and again, for hours, looks at its graph and
/// its target each time, and its patience with those begins when there is a permit.
#[test]
fn h31_to_wait_for_a_permit_for_hours_is_no_reason_to_turn_back() {
    let mut run = at(&two(), Stage::Gate);
    for _ in 0..3 {
        run.until(
            "a free permit, and all that is looked at for it",
            |run| matches!(run.next(), Next::Append(facts) if matches!(facts[..], [Fact::GateRequested { .. }])),
        );
        run.world.store.hold_permits(30);
        assert!(matches!(run.step(), Step::RowsRefused(_)), "somebody else was faster");
        let again_at = run.world.now + 3_600_000;
        run.until("an hour without a permit", |run| run.world.now >= again_at);
        run.world.store.hold_permits(0);
    }
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn a_cancel_while_reads_run_out_opens_the_door_again() {
    let mut run = at(&two(), Stage::DrainReads);
    run.until("the shut door", |run| run.world.hosts[&source()].door == Door::Shut);
    run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::CanceledByRequest));
    assert_eq!(run.world.hosts[&source()].door, Door::Open);
    assert_eq!(run.world.hosts[&source()].state, AgentState::Serving);
}

#[test]
fn h40_a_cancel_during_the_snapshot_call_leaves_no_intent_open() {
    // Its call arrived: the snapshot is found by its tag, and deleted as garbage, for nothing was detached (H40).
    let mut run = at_open(&two(), "snapshot_safety");
    run.world.faults.once("snapshot_safety", Fate::LostAfter);
    run.step();
    run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::CanceledByRequest));
    assert!(run.world.cloud.snapshots.values().all(|s| s.deleted), "{:?}", run.world.cloud.snapshots);

    // It never arrived: abandoned, and no call is made on the way back.
    let mut run = at_open(&two(), "snapshot_safety");
    run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::CanceledByRequest));
    assert!(run.world.cloud.snapshots.is_empty());
    let abandoned = run.world.store.entries.iter().any(|e| text::fact(&e.fact) == "outcome abandoned");
    assert!(abandoned);
}

#[test]
fn behind_the_detach_a_cancel_is_too_late() {
    for stage in [Stage::Attach, Stage::Adopt, Stage::Commit, Stage::Open] {
        let run = at(&two(), stage);
        let refused = run.machine.cancel("user_a").expect_err("too late");
        assert_eq!(refused.reason, Reason::TooLateToCancel, "{stage}");
    }
}

#[test]
fn f6_the_first_opposite_call_after_a_take_over_waits_half_a_minute() {
    // F6: the dead driver's attach may still come; the detach that undoes it waits, the attach itself does not.
    let mut run = at_open(&one(), "attach");
    run.world.faults.always("attach", Fate::LostBefore);
    run.call_unheard();
    let loaded_at = run.world.now;
    run.crash();
    run.world.faults.calls.clear();
    run.world.faults.adopt_fails.insert(idle(1));
    run.until("the attach", |run| run.state().at_target());
    assert!(run.world.now - loaded_at < 8_000, "the same direction goes at once");
    run.until("the way back", |run| {
        run.state().open.as_ref().is_some_and(|o| matches!(o.effect, Effect::Detach { .. }))
    });
    let waited_ms = run.world.now - loaded_at;
    assert!(waited_ms >= Settings::default().turn_about_ms, "only {waited_ms} ms");
}

/// H17: where calls are made by a function, one that was never answered may begin until the function's limit.
#[test]
fn an_unanswered_call_of_our_own_holds_back_its_opposite_where_it_may_begin_late() {
    let waited = |late_call_ms: i64| {
        let setup = Setup { settings: Settings { late_call_ms, ..Settings::default() }, ..two() };
        let mut run = at_open(&setup, "detach");
        run.world.faults.once("detach", Fate::LostAfter);
        run.until("the lost answer", |run| run.machine.scratch.calls.doubted_at.is_some());
        let given_up_at = run.world.now;
        run.until("the attach", |run| {
            run.state().open.as_ref().is_some_and(|o| matches!(o.effect, Effect::Attach { .. }))
        });
        let waited_ms = run.world.now - given_up_at;
        assert_eq!(run.finish(), Ended::Moved);
        waited_ms
    };
    assert!(waited(0) < 30_000, "EC2's own late calls match nothing (F1)");
    assert!((100_000..130_000).contains(&waited(100_000)));
}

/// And a dead driver's does so too, for longer than half a minute.
#[test]
fn a_stale_call_by_a_function_is_waited_for_as_long_as_it_may_begin() {
    let setup = Setup { settings: Settings { late_call_ms: 100_000, ..Settings::default() }, ..one() };
    let mut run = at_open(&setup, "attach");
    run.world.faults.always("attach", Fate::LostBefore);
    run.call_unheard();
    let loaded_at = run.world.now;
    run.crash();
    run.world.faults.calls.clear();
    run.world.faults.adopt_fails.insert(idle(1));
    run.until("the way back", |run| {
        run.state().open.as_ref().is_some_and(|o| matches!(o.effect, Effect::Detach { .. }))
    });
    let waited_ms = run.world.now - loaded_at;
    assert!(waited_ms >= 100_000, "only {waited_ms} ms");
}

#[test]
fn h11_a_stale_detach_of_a_paused_driver_hits_nothing() {
    // H11: the driver stops before its call leaves; another finishes, fails, and brings the volume back; the call
    // then arrives. The volume hangs on another device: nothing matches.
    let mut run = at_open(&one(), "detach");
    run.world.faults.once("detach", Fate::Late(300_000));
    run.call_unheard();
    run.crash();
    run.world.faults.adopt_fails.insert(idle(1));
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed));
    run.world.advance(run.world.now + 400_000);
    let (_, effect, result) = run.world.arrived.last().expect("it arrived");
    assert!(matches!(effect, Effect::Detach { .. }), "{effect:?}");
    assert_eq!(*result, Err(Trouble::NotFound));
    assert_eq!(run.world.hosts[&source()].state, AgentState::Serving);
    assert_eq!(run.world.cloud.volume.attachments.len(), 1);
}

#[test]
fn a_take_over_by_a_machine_that_is_loaded_already_minds_the_stale_call_too() {
    let run = at_open(&two(), "attach");
    let mut machine = Machine::load(&fixture::change(), &run.world.store.entries, Settings::default(), run.world.at())
        .expect("it folds");
    assert!(machine.scratch.foreign.is_none());
    let append = machine.prepare(vec![machine.take_over(&fixture::worker(2), 9)], run.world.at()).expect("it follows");
    machine.committed(&append);
    assert!(machine.scratch.foreign.is_some());
    // And it looks before it calls.
    assert!(text::next(&machine.next(run.world.at()), run.world.now).starts_with("look volume"));
}
