//! Targets that fail: before the gate, with the volume offline, and behind the commit.

use super::{at, at_open, one, steps, told, two};
use crate::places;
use crate::world::driver::{Ended, Run};
use crate::world::faults::Fate;
use crate::world::fixture::{self, Setup, idle, launched};
use tiershift_core::Reason;
use volume_core::effect::Trouble;
use volume_core::fact::{Fact, Resume};
use volume_core::stage::Stage;

#[test]
fn a_launched_target_that_dies_before_it_is_proven_is_replaced_by_one_more_launch() {
    let mut run = at_open(&Setup::launched_target(), "protect");
    run.until("the launch", |run| run.state().target.is_some());
    let from = run.world.store.entries.len();
    run.world.kill(&launched(1));
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(
        told(&run, from)[..5],
        steps(&[
            "target_failed launched1 TARGET_LOST",
            "target_dropped launched1 TARGET_LOST",
            "intent launch large",
            "reserved launched2",
            "intent protect launched2",
        ])
    );
}

#[test]
fn launched_targets_that_keep_dying_end_the_change_before_anything_is_taken() {
    let mut run = Run::start(&Setup::launched_target());
    for n in 1..=2 {
        run.until("a launch", |run| run.state().target.as_ref().is_some_and(|t| t.instance == launched(n)));
        run.world.kill(&launched(n));
        run.until("its loss", |run| run.state().dropped.len() == n);
    }
    assert_eq!(run.finish(), Ended::RolledBack(Reason::TargetLost));
    assert!(run.state().gate.is_none());
}

#[test]
fn h15_an_idle_instance_of_another_engine_is_passed_over() {
    let mut run = Run::start(&two());
    run.world.faults.other_engine.insert(idle(1));
    assert_eq!(run.finish(), Ended::Moved);
    let lines = told(&run, 0);
    assert!(lines.contains(&"target_dropped idle1 ENGINE_MISMATCH".to_owned()), "{lines:?}");
    assert!(lines.contains(&"reserved idle2".to_owned()), "{lines:?}");
}

#[test]
fn what_one_target_was_refused_is_not_held_against_the_next() {
    let mut run = at(&two(), Stage::Attach);
    run.world.faults.once("attach", Fate::Refuse(Trouble::SlotsFull));
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(
        told(&run, from)[..5],
        steps(&[
            "target_failed idle1 ATTACH_FAILED",
            "target_dropped idle1 ATTACH_FAILED",
            "reserved idle2",
            "intent protect idle2",
            "intent attach idle2 /dev/sdf",
        ])
    );
}

#[test]
fn a_target_that_cannot_mount_is_cleared_and_replaced_through_any_crash() {
    let mut base = at_open(&two(), "adopt");
    base.world.faults.adopt_fails.insert(idle(1));
    let plain = {
        let mut run = base.clone();
        let from = run.world.store.entries.len();
        assert_eq!(run.finish(), Ended::Moved);
        assert_eq!(
            told(&run, from)[..8],
            steps(&[
                "target_failed idle1 ADOPT_FAILED",
                "intent release idle1",
                "intent detach idle1 /dev/sdf",
                "target_dropped idle1 ADOPT_FAILED",
                "reserved idle2",
                "intent protect idle2",
                "intent attach idle2 /dev/sdf",
                "intent adopt idle2",
            ])
        );
        run.steps - base.steps
    };
    for step in 0..plain {
        let mut run = base.clone();
        for _ in 0..step {
            run.step();
        }
        if run.state().is_over() {
            break;
        }
        run.note = format!("crash {step} steps behind the adopt");
        run.crash();
        assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    }
}

#[test]
fn h33_a_silent_target_is_condemned_and_the_volume_comes_back_by_its_end() {
    // H33, with no other target: the source serves again.
    let mut run = at_open(&one(), "adopt");
    let now = run.world.now;
    run.world.faults.silent.insert(idle(1), now);
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::TargetLost));
    assert_eq!(
        told(&run, from),
        steps(&[
            "target_failed idle1 TARGET_LOST",
            "intent terminate idle1",
            "target_dropped idle1 TARGET_LOST",
            "undo_begun TARGET_LOST",
            "intent attach source /dev/sdg",
            "intent adopt source",
            "intent resume source",
            "rolled_back",
        ])
    );
}

#[test]
fn h33_a_group_at_its_smallest_size_does_not_keep_the_customer_waiting() {
    let mut run = at_open(&Setup { target_min: 1, ..one() }, "adopt");
    let now = run.world.now;
    run.world.faults.silent.insert(idle(1), now);
    assert_eq!(run.finish(), Ended::RolledBack(Reason::TargetLost));
    let ended: Vec<String> = told(&run, 0).into_iter().filter(|line| line.contains("terminate")).collect();
    assert_eq!(ended, ["intent terminate idle1", "intent terminate idle1 (replaced)"]);
}

#[test]
fn h33_a_target_that_answers_and_cannot_unmount_is_not_ended() {
    let mut run = at(&one(), Stage::Adopt);
    run.world.faults.probe_lies.insert(idle(1));
    run.world.faults.unmount_fails.insert(idle(1));
    assert_eq!(run.finish(), Ended::Stuck(Reason::ReleaseFailed));
    assert!(!run.state().condemned.contains(&idle(1)));
    run.world.faults.unmount_fails.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "freed the mount")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DataMismatch));
}

#[test]
fn a_target_that_ends_behind_the_commit_is_replaced_and_the_rows_name_the_new_one() {
    for (setup, dead, next) in
        [(two(), idle(1), idle(2)), (one(), idle(1), launched(1)), (Setup::launched_target(), launched(1), launched(2))]
    {
        let mut run = at_open(&setup, "resume");
        run.world.kill(&dead);
        assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
        let graph = run.world.store.row(&volume_core::keys::graph_row(&fixture::graph()));
        assert_eq!(graph.s("instance_id"), Some(next.as_str()));
        assert_eq!(graph.s("private_ip"), Some(run.world.cloud.instances[&next].ip.as_str()));
        let commits = run.world.store.entries.iter().filter(|e| matches!(e.fact, Fact::Committed { .. })).count();
        assert_eq!(commits, 1, "the other service hears of one commit");
        assert!(run.state().terminated.contains(&dead));
    }
}

#[test]
fn h33_a_target_that_is_merely_silent_behind_the_commit_is_waited_for() {
    let mut run = at_open(&places::brief(two()), "resume");
    let now = run.world.now;
    run.world.faults.silent.insert(idle(1), now);
    assert_eq!(run.finish(), Ended::Stuck(Reason::StepTimeout));
    assert!(run.state().condemned.is_empty(), "its door may be open");
    run.world.faults.silent.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "restarted its agent")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::Moved);
}
