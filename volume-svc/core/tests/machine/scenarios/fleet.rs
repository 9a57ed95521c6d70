//! LaunchInstances and the end of an instance (docs/aws.md, section 11).

use super::{arrived, at, at_open, decided, one};
use crate::places;
use crate::world::cloud::Life;
use crate::world::driver::{Ended, Run};
use crate::world::faults::Fate;
use crate::world::fixture::{self, Setup, launched, source};
use tiershift_core::Reason;
use volume_core::effect::Trouble;
use volume_core::settings::Settings;
use volume_core::stage::Stage;

fn launching() -> Run {
    at_open(&Setup::launched_target(), "launch")
}

#[test]
fn aws11_launch_no_capacity_is_asked_again_while_the_source_serves() {
    // Two refusals: after one minute, then two more.
    let mut run = launching();
    run.world.faults.no_capacity = 2;
    let from = run.world.now;
    run.until("an instance", |run| run.state().launched.is_some());
    assert!((180_000..185_000).contains(&(run.world.now - from)), "{} ms", run.world.now - from);
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn aws11_launch_no_capacity_ends_the_change_before_anything_is_taken() {
    let mut run = launching();
    run.world.faults.no_capacity = u32::MAX;
    assert_eq!(run.finish(), Ended::RolledBack(Reason::NoCapacity));
    assert!(run.state().gate.is_none() && run.state().source_host == volume_core::state::Host::Serving);
    let waited_ms = run.state().undo.as_ref().expect("it turned back").at.since(run.state().started_at);
    assert!(waited_ms <= Settings::default().capacity_ms + 120_000, "{waited_ms} ms");
}

#[test]
fn aws11_launch_in_progress_contention_and_lost_answer_are_the_same_call_again() {
    // ResourceContention is a 500 that tells nothing: unknown.
    for fate in [Fate::Refuse(Trouble::InProgress), Fate::Refuse(Trouble::Unknown), Fate::LostBefore, Fate::LostAfter] {
        let mut run = launching();
        run.world.faults.once("launch", fate);
        assert_eq!(run.finish(), Ended::Moved, "{fate:?}");
        assert_eq!(decided(&run, "launch"), 1, "{fate:?}: one token");
        assert_eq!(run.world.cloud.launches.len(), 1, "{fate:?}: one instance");
    }
}

#[test]
fn aws11_launch_never_healthy_turns_back_and_exactly_it_is_ended() {
    let mut run = launching();
    run.world.durations.boot = 100_000_000;
    assert_eq!(run.finish(), Ended::RolledBack(Reason::NoCapacity), "{}", run.describe());
    assert_eq!(run.state().condemned, [launched(1)].into());
    let alive = run.world.cloud.instances.iter().filter(|(_, i)| i.life == Life::Running);
    assert_eq!(alive.map(|(id, _)| id.clone()).collect::<Vec<_>>(), [source()]);
}

#[test]
fn aws11_ending_an_instance_lost_answer_is_observed_before_it_is_repeated() {
    for fate in [Fate::LostAfter, Fate::LostBefore] {
        let mut run = at_open(&one(), "terminate");
        let desired = run.world.cloud.groups[&fixture::source_group()].desired;
        run.world.faults.once("terminate", fate);
        assert_eq!(run.finish(), Ended::Moved, "{fate:?}");
        assert_eq!(arrived(&run, "terminate"), 1, "{fate:?}: each call that is accepted lowers the group");
        assert_eq!(run.world.cloud.groups[&fixture::source_group()].desired, desired - 1, "{fate:?}");
    }
}

#[test]
fn aws11_ending_an_instance_group_at_min_keeps_the_source_in_the_pool() {
    let mut run = at(&Setup { source_min: 1, ..one() }, Stage::Settle);
    assert_eq!(run.finish(), Ended::Moved);
    assert!(run.state().source_kept);
    assert_eq!(decided(&run, "terminate"), 0, "it is not even asked");
}

#[test]
fn aws11_instance_loss_of_a_target_with_the_volume_waits_until_it_is_free_and_takes_the_next() {
    let mut run = at_open(&places::brief(Setup::idle_target()), "adopt");
    run.world.kill(&fixture::idle(1));
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!(run.state().target.as_ref().map(|t| t.instance.clone()), Some(fixture::idle(2)));
    assert!(run.state().terminated.contains(&fixture::idle(1)), "its end was established");
}
