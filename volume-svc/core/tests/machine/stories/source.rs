//! A source that is lost (H34).

use super::{at, at_open, one, two};
use crate::world::driver::Ended;
use crate::world::fixture::{self, Setup, idle, source};
use tiershift_core::Reason;
use volume_core::stage::Stage;

#[test]
fn a_source_that_is_lost_before_the_gate_frees_its_locks() {
    for stage in [Stage::SafetySnapshot, Stage::Capacity, Stage::Gate] {
        let mut run = at(&Setup::launched_target(), stage);
        run.world.confirms = false;
        let lost_at = run.world.now;
        run.world.kill(&source());
        run.until("its end", |run| run.state().end.is_some());
        assert!(run.world.now - lost_at < 150_000, "{stage}: {} ms", run.world.now - lost_at);
        assert_eq!(run.finish(), Ended::RolledBack(Reason::SourceLost), "{stage}");
    }
}

#[test]
fn a_source_that_is_lost_with_the_gate_closed_calls_a_human_and_keeps_the_locks() {
    for stage in [Stage::DrainWrites, Stage::DrainReads, Stage::Release] {
        let mut run = at(&two(), stage);
        run.world.kill(&source());
        assert_eq!(run.finish(), Ended::Stuck(Reason::SourceLost), "{stage}");
        let lock = run.world.store.row(&volume_core::keys::volume_lock(&fixture::volume()));
        assert_eq!(lock.s("holder"), Some(fixture::change().as_str()));
    }
}

#[test]
fn a_source_that_is_lost_behind_its_release_is_not_missed() {
    for stage in [Stage::FinalSnapshot, Stage::Detach, Stage::Attach, Stage::Adopt] {
        let mut run = at(&two(), stage);
        run.world.kill(&source());
        assert_eq!(run.finish(), Ended::Moved, "{stage}");
    }
}

#[test]
fn without_a_source_there_is_no_way_back() {
    let mut run = at_open(&one(), "adopt");
    run.world.faults.adopt_fails.insert(idle(1));
    run.world.kill(&source());
    assert_eq!(run.finish(), Ended::Stuck(Reason::SourceLost));
}
