//! Drain, release and adopt: agents that are busy, away, or cannot (docs/aws.md, section 11).

use super::{arrived, at, at_open, decided, one, retry, turned_back, two};
use crate::places;
use crate::world::driver::{Ended, Run};
use crate::world::fixture::{idle, source};
use crate::world::host::Door;
use tiershift_core::Reason;
use volume_core::effect::AgentState;
use volume_core::settings::Settings;
use volume_core::stage::Stage;

#[test]
fn aws11_drain_does_not_empty_and_turns_back() {
    let mut run = at(&two(), Stage::DrainReads);
    run.world.faults.busy_readers = true;
    turned_back(&mut run);
    run.world.faults.busy_readers = false;
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DrainTimeout));
    assert_eq!((run.world.hosts[&source()].door, arrived(&run, "release")), (Door::Open, 0));
}

#[test]
fn aws11_drain_agent_away_is_never_zero() {
    for stage in [Stage::DrainWrites, Stage::DrainReads] {
        let mut run = at(&two(), stage);
        run.until("its command", |run| {
            run.state().open.is_none() && run.state().attempts.keys().any(|k| k.starts_with("drain"))
        });
        let now = run.world.now;
        run.world.faults.silent.insert(source(), now);
        turned_back(&mut run);
        assert_eq!(run.state().undo.as_ref().map(|u| u.reason), Some(Reason::DrainTimeout), "{stage}");
        assert!(run.state().stage <= Stage::DrainReads, "{stage}: silence is not zero");
        let now = run.world.now;
        run.world.faults.answers(&source(), now);
        assert_eq!(run.finish(), Ended::RolledBack(Reason::DrainTimeout), "{stage}");
    }
}

#[test]
fn aws11_release_mount_busy_mounts_the_source_again() {
    let mut run = at_open(&two(), "release");
    run.world.faults.unmount_fails.insert(source());
    assert_eq!(run.finish(), Ended::RolledBack(Reason::ReleaseFailed), "{}", run.describe());
    assert_eq!((decided(&run, "detach"), decided(&run, "resume source")), (0, 1));
    assert_eq!(run.world.hosts[&source()].state, AgentState::Serving);
}

#[test]
fn aws11_release_no_word_is_no_detach() {
    let mut run = at_open(&two(), "release");
    let now = run.world.now;
    run.world.faults.silent.insert(source(), now);
    let opened_at = run.world.now;
    turned_back(&mut run);
    assert!(run.world.now - opened_at >= run.settings.release_ms, "only its deadline ends the wait");
    assert_eq!(decided(&run, "detach"), 0);
    // The release stays open and is completed before it is undone.
    let now = run.world.now;
    run.world.faults.answers(&source(), now);
    assert_eq!(run.finish(), Ended::RolledBack(Reason::ReleaseFailed));
    assert_eq!(decided(&run, "adopt source"), 1);
}

#[test]
fn aws11_adopt_no_device_drops_the_target() {
    let mut run = at_open(&two(), "adopt");
    run.world.faults.adopt_fails.insert(idle(1));
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(run.state().target.as_ref().map(|t| t.instance.clone()), Some(idle(2)));
    assert_eq!(run.state().dropped[0].1, Reason::AdoptFailed);
}

#[test]
fn aws11_adopt_wrong_uuid_is_never_mounted() {
    let mut run = at(&two(), Stage::Attach);
    "another file system".clone_into(&mut run.world.cloud.volume.fs_uuid);
    let ended = run.finish();
    assert!(matches!(ended, Ended::Stuck(_)), "no instance mounts it, so a human is called: {ended:?}");
    assert!(run.world.hosts.values().all(|host| !host.mounted), "nobody has mounted it");
    assert!(!run.state().is_committed());
}

#[test]
fn aws11_adopt_other_data_turns_back() {
    let mut run = at_open(&two(), "adopt");
    run.world.faults.probe_lies.insert(idle(1));
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DataMismatch));
    assert_eq!(decided(&run, "adopt idle2"), 0, "the same bytes would open no better elsewhere");
}

#[test]
fn aws11_adopt_other_data_on_the_source_too_calls_a_human() {
    let mut run = at_open(&places::brief(one()), "adopt");
    run.world.faults.probe_lies.extend([idle(1), source()]);
    assert_eq!(run.finish(), Ended::Stuck(Reason::DataMismatch));
    assert_eq!(run.world.hosts[&source()].door, Door::Shut, "no door opens over a loss");
    run.world.faults.probe_lies.clear();
    retry(&mut run);
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DataMismatch));
}

#[test]
fn h30_who_was_gone_by_the_deadline_is_looked_at_twice_and_who_was_not_turns_the_change_back() {
    let shut_after_ms = {
        let mut run = at_open(&two(), "drain_all");
        run.until("the door", |run| run.state().open.is_none());
        run.world.at().since(run.state().gate.as_ref().and_then(|g| g.confirmed_at).expect("confirmed"))
    };
    let deadline_ms = Settings::default().drain_ms;
    for (from_the_deadline_ms, ended) in [(-800, Ended::Moved), (1_500, Ended::RolledBack(Reason::DrainTimeout))] {
        let mut setup = two();
        setup.durations.readers = deadline_ms - shut_after_ms + from_the_deadline_ms;
        let mut run = Run::start(&setup);
        assert_eq!(run.finish(), ended, "{from_the_deadline_ms}");
    }
}
