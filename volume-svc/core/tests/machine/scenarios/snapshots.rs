//! CreateSnapshot: lost, limited, failed, late (docs/aws.md, section 11).

use super::{arrived, at, at_open, decided, two};
use crate::places;
use crate::world::driver::Ended;
use crate::world::faults::Fate;
use crate::world::fixture;
use tiershift_core::Reason;
use volume_core::effect::{SnapshotState, Trouble};
use volume_core::stage::Stage;

#[test]
fn aws11_create_snapshot_lost_answer_is_found_by_its_tag() {
    for (name, nth) in [("snapshot_safety", 1), ("snapshot_final", 2)] {
        let mut run = at_open(&two(), name);
        run.world.faults.once(name, Fate::LostAfter);
        assert_eq!(run.finish(), Ended::Moved, "{name}");
        assert_eq!((arrived(&run, name), decided(&run, name)), (1, 1), "{name}: it is made once");
        let adopted = if nth == 1 { &run.state().safety } else { &run.state().last };
        assert_eq!(*adopted, Some(fixture::snapshot(nth)), "{name}");
    }
}

#[test]
fn aws11_create_snapshot_lost_request_is_made_again_once_its_absence_is_believed() {
    let mut run = at_open(&two(), "snapshot_final");
    run.world.faults.once("snapshot_final", Fate::LostBefore);
    let from = run.world.now;
    run.until("the snapshot", |run| run.state().last.is_some());
    let waited_ms = run.world.now - from;
    let span_ms = run.settings.absent_gap_ms * i64::from(run.settings.absent_reads - 1);
    assert!(waited_ms >= span_ms, "absence was believed after {waited_ms} ms");
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!((arrived(&run, "snapshot_final"), decided(&run, "snapshot_final")), (1, 1), "one intent, one snapshot");
}

#[test]
fn aws11_create_snapshot_limit_is_asked_again_every_minute() {
    let mut run = at_open(&two(), "snapshot_safety");
    let from = run.world.now;
    for _ in 0..3 {
        run.world.faults.once("snapshot_safety", Fate::Refuse(Trouble::SnapshotLimit));
    }
    run.until("the snapshot", |run| run.state().safety.is_some());
    assert!((180_000..190_000).contains(&(run.world.now - from)), "{} ms", run.world.now - from);
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn aws11_create_snapshot_limit_ends_the_change_at_its_deadline() {
    let mut run = at_open(&places::brief(two()), "snapshot_safety");
    run.world.faults.always("snapshot_safety", Fate::Refuse(Trouble::SnapshotLimit));
    assert_eq!(run.finish(), Ended::RolledBack(Reason::SnapshotFailed));
    assert!(run.state().gate.is_none() && run.world.cloud.snapshots.is_empty());
}

#[test]
fn aws11_create_snapshot_fails_later_a_safety_one_turns_back() {
    let mut run = at(&two(), Stage::SafetySnapshot);
    run.until("the snapshot", |run| run.state().safety.is_some());
    run.world.cloud.fail_snapshots();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::SnapshotFailed));
    assert!(run.state().gate.is_none(), "before anything was asked of the customer");
    assert!(run.world.cloud.snapshots.values().all(|s| s.deleted), "garbage, for nothing was detached (H40)");
}

#[test]
fn aws11_create_snapshot_fails_later_a_final_one_keeps_source_and_volume() {
    let mut run = at(&two(), Stage::Settle);
    run.world.cloud.fail_snapshots();
    run.until("its trouble", |run| !run.state().failed.is_empty());
    assert_eq!(run.alerts, [Reason::SnapshotFailed]);
    run.until("another completed", |run| run.state().last.as_ref().is_some_and(|l| run.state().completed.contains(l)));
    assert!(run.state().deleted.is_empty() && run.state().condemned.is_empty(), "nothing had gone before that");
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn aws11_create_snapshot_never_completes_a_safety_one_turns_back_at_its_deadline() {
    let mut setup = places::brief(two());
    setup.durations.safety = 20 * setup.settings.safety_snapshot_ms;
    let mut run = at(&setup, Stage::SafetySnapshot);
    let from = run.world.now;
    assert_eq!(run.finish(), Ended::RolledBack(Reason::SnapshotFailed));
    assert!(run.world.now - from >= setup.settings.safety_snapshot_ms);
}

#[test]
fn aws11_create_snapshot_never_completes_a_final_one_lengthens_the_soak() {
    let mut run = at(&two(), Stage::FinalSnapshot);
    run.world.durations.last = 3 * run.settings.soak_ms;
    run.until("settle", |run| run.state().stage == Stage::Settle);
    let opened_at = run.state().opened_at.expect("it opened");
    assert_eq!(run.finish(), Ended::Moved);
    let done_at = run.state().done_at.expect("done");
    assert!(done_at.since(opened_at) >= 2 * run.settings.soak_ms, "{} ms", done_at.since(opened_at));
    let state = run.world.cloud.snapshots[run.state().last.as_ref().expect("a final one")].state;
    assert_eq!(state, SnapshotState::Completed);
}
