//! Settle in bad weather (H35): final snapshots that fail or take their time, and a source that its group does not let
//! go.

use super::{at, at_open, told, two};
use crate::places;
use crate::world::cloud::Snapshot;
use crate::world::driver::{Ended, Run};
use crate::world::fixture::{self, Setup, source};
use tiershift_core::Reason;
use volume_core::effect::{Purpose, SnapshotState};
use volume_core::fact::Resume;
use volume_core::keys;
use volume_core::stage::Stage;

/// Settling, with a final snapshot that has just failed.
fn failed() -> Run {
    let mut run = at(&two(), Stage::Settle);
    run.world.cloud.fail_snapshots();
    run
}

/// A snapshot that somebody else took, so many milliseconds after the migration's last one.
fn foreign(run: &mut Run, after_ms: i64, state: SnapshotState) {
    let last = run.world.cloud.snapshots.values().map(|s| s.started).max().expect("there are some");
    let taken = Snapshot {
        purpose: Purpose::Final,
        started: last + after_ms,
        ends: last + after_ms + 1,
        state,
        image: run.world.cloud.volume.disk.clone(),
        deleted: false,
        foreign: true,
    };
    run.world.cloud.snapshots.insert(fixture::snapshot(90), taken);
}

/// A driver that was paused inside its call for the final snapshot, and replaced, makes a second one: it is found by its
/// tag and deleted, and so is a second one for safety. What somebody else took stays.
#[test]
fn f1_a_snapshot_that_a_replaced_driver_made_late_is_deleted_in_the_end() {
    for purpose in [Purpose::Final, Purpose::Safety] {
        let mut run = at(&two(), Stage::Settle);
        foreign(&mut run, 1, SnapshotState::Completed);
        let mut stray = run.world.cloud.snapshots[&fixture::snapshot(90)].clone();
        (stray.purpose, stray.foreign) = (purpose, false);
        run.world.cloud.snapshots.insert(fixture::snapshot(91), stray);
        assert_eq!(run.finish(), Ended::Moved);
        let left = run.world.cloud.snapshots.iter().filter(|(_, s)| !s.deleted).map(|(id, _)| id.clone());
        let last = run.state().last.clone().expect("one was taken");
        assert_eq!(left.collect::<Vec<_>>(), [last, fixture::snapshot(90)], "{purpose:?}");
    }
}

#[test]
fn h35_a_final_snapshot_that_failed_is_taken_again_and_people_are_told() {
    let mut run = failed();
    let from = run.world.store.entries.len();
    run.until("another", |run| run.state().last == Some(fixture::snapshot(3)));
    let lines = told(&run, from);
    assert!(lines.contains(&"snapshot_amiss Failed".to_owned()), "{lines:?}");
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(run.alerts, [Reason::SnapshotFailed]);
    assert!(run.state().completed.contains(&fixture::snapshot(3)));
}

#[test]
fn h35_a_later_snapshot_of_anybody_stands_in_for_one_that_failed() {
    let mut run = failed();
    foreign(&mut run, 1, SnapshotState::Completed);
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!(run.state().last, Some(fixture::snapshot(90)));
    assert_eq!(run.alerts, [Reason::SnapshotFailed, Reason::SnapshotFailed], "that it failed, and what stands in");
    let finals = run.world.arrived.iter().filter(|(_, effect, _)| effect.name() == "snapshot_final").count();
    assert_eq!(finals, 1, "none was taken in its stead");
}

#[test]
fn h35_an_earlier_or_unfinished_snapshot_stands_in_for_nothing() {
    for (after_ms, state) in [
        (-1, SnapshotState::Completed),
        (0, SnapshotState::Completed),
        (1, SnapshotState::Pending),
        (1, SnapshotState::Other),
    ] {
        let mut run = failed();
        foreign(&mut run, after_ms, state);
        assert_eq!(run.finish(), Ended::Moved);
        let last = run.state().last.clone().expect("another was taken");
        assert_ne!(last, fixture::snapshot(90), "{after_ms} ms, {state:?}");
        assert!(run.world.cloud.snapshots[&last].started > run.world.cloud.snapshots[&fixture::snapshot(2)].started);
    }
}

#[test]
fn h35_final_snapshots_that_keep_failing_call_a_human_and_a_retry_begins_anew() {
    let mut run = at(&two(), Stage::Settle);
    run.world.durations.last = 3_600_000;
    let mut failures = 0;
    while run.state().stuck.is_none() {
        run.world.cloud.fail_snapshots();
        run.step();
        failures = run.state().failed.len();
    }
    assert_eq!((run.finish(), failures), (Ended::Stuck(Reason::SnapshotFailed), 3));
    let kept = run.world.cloud.instances[&source()].life == crate::world::cloud::Life::Running;
    assert!(kept && run.state().deleted.is_empty(), "nothing that a rollback needs is gone");
    run.world.durations.last = 60_000;
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "the key is back")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
}

#[test]
fn h35_a_final_snapshot_that_takes_its_time_lengthens_the_soak_and_people_are_told_once() {
    let setup = places::brief(two());
    let mut run = at(&setup, Stage::FinalSnapshot);
    run.world.durations.last = 5 * setup.settings.safety_snapshot_ms;
    run.until("settle", |run| run.state().stage == Stage::Settle);
    let opened_at = run.state().opened_at.expect("it opened");
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(run.alerts, [Reason::SnapshotFailed]);
    let done_at = run.state().done_at.expect("it is done");
    assert!(done_at.since(opened_at) >= 4 * setup.settings.safety_snapshot_ms, "{} ms", done_at.since(opened_at));
}

#[test]
fn h35_behind_the_commit_the_locks_keep_out_migrations_and_nothing_else() {
    let run = at(&two(), Stage::Settle);
    for key in [keys::volume_lock(&fixture::volume()), keys::graph_lock(&fixture::graph())] {
        let lock = run.world.store.row(&key);
        assert_eq!((lock.s("kind"), lock.s("holder")), (Some("settling"), Some(fixture::change().as_str())));
    }
}

#[test]
fn h35_at_its_smallest_size_a_group_keeps_its_source_as_an_idle_member() {
    let mut run = Run::start(&Setup { source_min: 1, ..two() });
    assert_eq!(run.finish(), Ended::Moved);
    assert!(run.state().source_kept && !run.state().condemned.contains(&source()));
    let row = run.world.store.row(&keys::instance_row(&source()));
    assert_eq!((row.s("status"), row.n("database_count")), (Some("healthy"), Some(0)));
}

#[test]
fn h35_a_source_whose_end_is_refused_all_the_same_ends_without_lowering_its_group() {
    // The group shrinks its room between the look at it and the call.
    let mut run = at_open(&two(), "terminate");
    run.world.cloud.groups.get_mut(&fixture::source_group()).expect("it exists").min = 1;
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!(told(&run, from), ["intent terminate source (replaced)", "intent delete_snapshot snap-00000001"]);
    let row = run.world.store.row(&keys::instance_row(&source()));
    assert_eq!(row.s("status"), Some("terminated"));
    assert!(run.alerts.is_empty());
}
