//! A source that is lost (H34): before its gate, behind it, and on the way back.

use super::{at, at_open, one, steps, told, two};
use crate::places;
use crate::world::driver::{Ended, Run};
use crate::world::faults::Fate;
use crate::world::fixture::{self, Setup, idle, launched, source};
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use volume_core::effect::{AgentState, Trouble};
use volume_core::fact::Resume;
use volume_core::keys;
use volume_core::stage::Stage;

#[test]
fn h34_a_source_that_is_lost_before_the_gate_frees_its_locks() {
    for stage in [Stage::SafetySnapshot, Stage::Capacity, Stage::Gate] {
        let mut run = at(&Setup::launched_target(), stage);
        run.world.confirms = false;
        let lost_at = run.world.now;
        run.world.kill(&source());
        run.until("its end", |run| run.state().end.is_some());
        assert!(run.world.now - lost_at < 150_000, "{stage}: {} ms", run.world.now - lost_at);
        assert_eq!(run.finish(), Ended::RolledBack(Reason::SourceLost), "{stage}");
        assert!(run.state().home.is_none(), "its replacement claims the volume");
    }
}

#[test]
fn h34_a_source_that_ends_before_it_is_protected_is_not_asked_for_ever() {
    for cancels in [false, true] {
        let mut run = at_open(&two(), "protect");
        run.world.kill(&source());
        if cancels {
            run.request(|machine| machine.cancel("user_a")).expect("it is early");
        }
        let lost_at = run.world.now;
        run.until("its end", |run| run.state().end.is_some());
        assert!(run.world.now - lost_at < 150_000, "{cancels}: {} ms", run.world.now - lost_at);
        // Preflight looks once more, and then sees no source in service.
        let reason = if cancels { Reason::CanceledByRequest } else { Reason::RegistryMismatch };
        assert_eq!(run.finish(), Ended::RolledBack(reason));
        assert_eq!(run.alerts, [], "{cancels}: nobody is needed");
    }
}

/// Runs to the end after the source has ended in a stage.
fn lost_in(stage: Stage, log_is_lost: bool) -> (Run, usize, Ended) {
    let mut run = at(&two(), stage);
    run.world.faults.log_is_lost = log_is_lost;
    run.world.kill(&source());
    let from = run.world.store.entries.len();
    let ended = run.finish();
    (run, from, ended)
}

#[test]
fn h34_behind_the_gate_the_volume_leaves_uncleanly_and_the_change_goes_on() {
    for stage in [Stage::DrainWrites, Stage::DrainReads, Stage::Release] {
        let (run, from, ended) = lost_in(stage, false);
        assert_eq!(ended, Ended::Moved, "{stage}; {}", run.describe());
        let lines = told(&run, from);
        let lost = lines.iter().position(|line| line == "source_lost source").expect("it is told");
        assert_eq!(
            lines[lost..lost + 5],
            steps(&[
                "source_lost source",
                "intent snapshot_final",
                "intent detach source /dev/sdf",
                "intent attach idle1 /dev/sdf",
                "intent adopt idle1",
            ]),
            "{stage}"
        );
        assert_eq!(run.alerts, [Reason::SourceLost], "{stage}: people are told, once");
        let row = run.world.store.row(&keys::instance_row(&source()));
        assert_eq!(row.s("status"), Some("terminated"), "{stage}");
        assert!(run.world.died.is_empty() && run.world.cloud.volume.log.is_empty(), "{stage}: recovered");
    }
}

#[test]
fn h34_a_log_that_was_lost_too_is_found_out_and_no_gate_opens_over_it() {
    // The source had answered what it held before it ended; the target answers less.
    for stage in [Stage::DrainReads, Stage::Release] {
        let (run, _, ended) = lost_in(stage, true);
        assert!(!run.world.died.is_empty(), "{stage}: something was in memory only");
        assert_eq!(ended, Ended::Stuck(Reason::DataMismatch), "{stage}; {}", run.describe());
        assert!(!run.state().is_committed(), "{stage}");
        assert_eq!(run.alerts, [Reason::SourceLost, Reason::DataMismatch], "{stage}");
    }
}

#[test]
fn h34_a_source_that_is_lost_behind_its_release_is_not_missed() {
    for stage in [Stage::FinalSnapshot, Stage::Detach, Stage::Attach, Stage::Adopt] {
        let (run, _, ended) = lost_in(stage, true);
        assert_eq!(ended, Ended::Moved, "{stage}");
        assert!(run.alerts.is_empty(), "{stage}: it had let go of the volume");
    }
}

#[test]
fn h34_a_source_that_is_dying_is_waited_for_whatever_deadline_passes() {
    // It ends shortly before the drain's deadline: forward is a matter of seconds, back one of minutes.
    let mut run = at(&two(), Stage::DrainReads);
    run.world.faults.busy_readers = true;
    let limit_ms = run.settings.drain_ms;
    let confirmed_at = run.state().gate.as_ref().and_then(|g| g.confirmed_at).expect("confirmed");
    run.until("shortly before the deadline", |run| run.world.at().since(confirmed_at) >= limit_ms - 50_000);
    run.world.kill(&source());
    run.world.durations.terminate = 90_000;
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
}

/// On its way back with the volume free and the source ended.
fn nowhere_to_go_back(setup: &Setup) -> Run {
    let mut run = at_open(setup, "adopt");
    run.world.faults.adopt_fails.insert(idle(1));
    run.world.kill(&source());
    run.until("the loss", |run| run.state().source_lost);
    run
}

#[test]
fn h34_on_the_way_back_a_new_instance_takes_the_place_of_the_source() {
    let mut run = at_open(&one(), "adopt");
    run.world.faults.adopt_fails.insert(idle(1));
    run.world.kill(&source());
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed), "{}", run.describe());
    let lines = told(&run, from);
    let lost = lines.iter().position(|line| line == "source_lost source").expect("it is told");
    assert_eq!(
        lines[lost..lost + 8],
        steps(&[
            "source_lost source",
            "intent launch standard",
            "source_replaced launched1",
            "intent protect launched1",
            "intent attach launched1 /dev/sdf",
            "intent adopt launched1",
            "intent resume launched1",
            "rolled_back",
        ])
    );
    let home = launched(1);
    let graph = run.world.store.row(&keys::graph_row(&fixture::graph()));
    assert_eq!(graph.s("instance_id"), Some(home.as_str()));
    assert_eq!(graph.s("private_ip"), Some(run.world.cloud.instances[&home].ip.as_str()));
    let volume = run.world.store.row(&keys::volume_row(&fixture::volume()));
    assert_eq!((volume.s("instance_id"), volume.s("status")), (Some(home.as_str()), Some("attached")));
    let row = run.world.store.row(&keys::instance_row(&home));
    assert_eq!((row.s("status"), row.s("cluster_group")), (Some("healthy"), Some("standard")));
    assert_eq!(run.world.store.row(&keys::instance_row(&source())).s("status"), Some("terminated"));
    assert_eq!(run.world.hosts[&home].state, AgentState::Serving);
    assert!(run.world.cloud.instances[&home].protected, "as the source was");
    assert_eq!(run.alerts, [Reason::SourceLost]);
}

#[test]
fn h34_a_source_that_is_lost_after_a_cancel_is_replaced_too() {
    // In the drain nothing has left the source: the volume leaves what has ended, and comes back elsewhere.
    for effect in ["drain_writes", "drain_all", "release"] {
        let mut run = at_open(&two(), effect);
        run.world.kill(&source());
        run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
        let ended = run.finish();
        assert_eq!(ended, Ended::RolledBack(Reason::CanceledByRequest), "{effect}; {}", run.describe());
        let home = run.state().home.as_ref().expect("another took its place").instance.clone();
        assert!(run.world.cloud.is_attached(&home), "{effect}");
        assert_eq!(run.alerts, [Reason::SourceLost], "{effect}");
    }
}

#[test]
fn h34_the_way_back_by_a_new_instance_survives_any_crash() {
    let base = nowhere_to_go_back(&one());
    let plain = {
        let mut run = base.clone();
        run.until("its end for the customer", |run| run.state().end.is_some());
        run.steps - base.steps
    };
    assert!(plain > 20, "only {plain} steps");
    for step in 0..plain {
        let mut run = base.clone();
        for _ in 0..step {
            run.step();
        }
        run.note = format!("crash {step} steps behind the loss");
        run.crash();
        assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed), "{}", run.describe());
        let homes = run.world.cloud.instances.values().filter(|i| i.group == fixture::source_group()).count();
        assert_eq!(homes, 2, "the lost one and one in its place; {}", run.describe());
    }
}

#[test]
fn h34_what_was_launched_in_its_place_may_end_too_but_not_for_ever() {
    let mut run = nowhere_to_go_back(&one());
    run.until("the first in its place", |run| run.state().home.is_some());
    run.world.kill(&launched(1));
    run.until("the second", |run| run.state().home.as_ref().is_some_and(|h| h.instance == launched(2)));
    assert_eq!(run.clone().finish(), Ended::RolledBack(Reason::AdoptFailed));
    run.world.kill(&launched(2));
    assert_eq!(run.finish(), Ended::Stuck(Reason::SourceLost), "{}", run.describe());
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "the zone has power again")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed), "{}", run.describe());
    let rows: Vec<_> = [1, 2, 3].map(|n| run.world.store.row(&keys::instance_row(&launched(n)))).into();
    let words: Vec<_> = rows.iter().filter_map(|row| row.s("status")).collect();
    assert_eq!(words, ["terminated", "terminated", "healthy"]);
}

#[test]
fn h34_without_capacity_a_place_is_asked_for_again_and_then_by_a_human() {
    let mut run = nowhere_to_go_back(&one());
    run.world.faults.no_capacity = 2;
    let lost_at = run.world.now;
    assert_eq!(run.clone().finish(), Ended::RolledBack(Reason::AdoptFailed));
    run.world.faults.no_capacity = u32::MAX;
    assert_eq!(run.finish(), Ended::Stuck(Reason::SourceLost));
    assert!(run.world.now - lost_at >= 1_080_000, "it was patient for {} ms", run.world.now - lost_at);
    run.world.faults.no_capacity = 0;
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "there is room")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed));
}

#[test]
fn h34_an_instance_of_another_engine_does_not_get_the_volume() {
    let mut run = nowhere_to_go_back(&one());
    run.world.faults.other_engine.insert(launched(1));
    assert_eq!(run.finish(), Ended::Stuck(Reason::EngineMismatch));
    assert!(run.world.cloud.volume.attachments.is_empty());
    run.world.faults.other_engine.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "the template is mended")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed));
}

/// Its agent was never installed, say: to wait for it again, at a person's word, would be to wait for ever.
#[test]
fn h34_one_that_does_not_come_up_is_ended_and_another_tried_before_a_human_is_called() {
    let setup = Setup { idle: vec![idle(1)], ..places::brief(Setup::idle_target()) };
    let mut run = nowhere_to_go_back(&setup);
    let boot_ms = std::mem::replace(&mut run.world.durations.boot, 36_000_000);
    run.until("the second in its place", |run| run.state().home.as_ref().is_some_and(|h| h.instance == launched(2)));
    assert_eq!(run.finish(), Ended::Stuck(Reason::SourceLost), "{}", run.describe());
    run.world.durations.boot = boot_ms;
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "the template is mended")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed), "{}", run.describe());
    assert_eq!(run.state().home.as_ref().map(|h| h.instance.clone()), Some(launched(3)));
    let rows: Vec<_> = [1, 2, 3].map(|n| run.world.store.row(&keys::instance_row(&launched(n)))).into();
    let words: Vec<_> = rows.iter().filter_map(|row| row.s("status")).collect();
    assert_eq!(words, ["terminated", "terminated", "healthy"], "none is left behind");
}

#[test]
fn h34_a_row_that_somebody_else_keeps_calls_a_human_and_not_a_second_launch() {
    let mut run = nowhere_to_go_back(&one());
    run.world.faults.foreign_rows.insert(launched(1).to_string());
    assert_eq!(run.finish(), Ended::Stuck(Reason::RegistryConflict));
    assert_eq!(run.world.cloud.launches.len(), 1);
    run.world.faults.foreign_rows.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "removed it")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AdoptFailed));
    assert_eq!(run.world.cloud.launches.len(), 1, "the same instance");
}

#[test]
fn h34_going_forward_after_all_ends_what_was_launched_in_its_place() {
    let mut run = at_open(&places::brief(one()), "adopt");
    run.world.faults.probe_lies.insert(idle(1));
    run.world.kill(&source());
    run.until("the way back", |run| run.state().direction == Direction::Undo && run.state().source_lost);
    run.world.faults.always("attach", Fate::Refuse(Trouble::SlotsFull));
    assert_eq!(run.finish(), Ended::Stuck(Reason::AttachFailed), "{}", run.describe());
    assert!(run.state().home.is_some());
    run.world.faults.calls.clear();
    run.world.faults.probe_lies.clear();
    let forward = run.request(|machine| machine.resume(Resume::GoForward, "op_a", "mended the target"));
    forward.expect("the volume is free and the target sound");
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    let row = run.world.store.row(&keys::instance_row(&launched(1)));
    assert_eq!(row.s("status"), Some("terminated"), "nobody needs it");
}
