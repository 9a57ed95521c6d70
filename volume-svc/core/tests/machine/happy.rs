//! The way forward when nothing goes wrong: the exact order of effects, and where it ends.

use crate::world::driver::{Ended, Run, Step};
use crate::world::fixture::{self, Setup};

/// Effects in the order in which they were called, with whom they are about.
fn effects(setup: &Setup) -> (Run, Vec<String>) {
    let mut run = Run::start(setup);
    let mut called = Vec::new();
    loop {
        match run.step() {
            Step::Called(effect, result) => {
                assert!(result.is_ok(), "{} was not taken: {result:?}", effect.name());
                called.push(crate::text::effect(&effect));
            }
            Step::Over => return (run, called),
            Step::Idle => panic!("stuck: {:?}; {}", run.state().stuck, run.describe()),
            Step::RowsRefused(facts) => panic!("{facts:?} were refused"),
            Step::Appended(_) | Step::Looked(_) | Step::Waited => {}
        }
    }
}

#[test]
fn an_idle_target_is_reserved_and_the_effects_come_in_their_order() {
    let (run, called) = effects(&Setup::idle_target());
    assert_eq!(
        called,
        [
            "protect source",
            "snapshot_safety",
            "protect idle1",
            "drain_writes source",
            "drain_all source",
            "release source",
            "snapshot_final",
            "detach source /dev/sdf",
            "attach idle1 /dev/sdf",
            "adopt idle1",
            "resume idle1",
            "tag_volume ladybug-large",
            "terminate source",
            "delete_snapshot snap-00000001",
        ]
    );
    assert_eq!(run.world.cloud.volume.tier_tag, fixture::target_tier().to_string());
    assert_eq!(run.state().fs_uuid.as_deref(), Some(fixture::FS_UUID));
}

#[test]
fn an_empty_pool_is_answered_by_a_launch() {
    let (_, called) = effects(&Setup::launched_target());
    assert_eq!(
        called[..4],
        ["protect source", "snapshot_safety", "launch large", "protect launched1"].map(str::to_owned)
    );
    assert_eq!(
        called[4..10].join(", "),
        "drain_writes source, drain_all source, release source, snapshot_final, \
        detach source /dev/sdf, attach launched1 /dev/sdf"
    );
}

#[test]
fn a_source_whose_group_is_at_its_smallest_size_goes_back_to_the_pool() {
    let (run, called) = effects(&Setup { source_min: 1, ..Setup::idle_target() });
    assert!(!called.iter().any(|c| c.starts_with("terminate")), "{called:?}");
    assert!(run.state().source_kept);
}

#[test]
fn writes_are_blocked_and_the_volume_is_offline_for_seconds() {
    let mut run = Run::start(&Setup::idle_target());
    assert_eq!(run.finish(), Ended::Moved);
    let m = run.state();
    let opened_at = m.opened_at.expect("it opened");
    let blocked_ms = opened_at.since(m.gate.as_ref().expect("a gate").confirmed_at.expect("confirmed"));
    let offline_ms = opened_at.since(m.offline_at.expect("it was offline"));
    // The sum of the durations of this world, and what its reads and gaps add.
    assert!((15_000..40_000).contains(&blocked_ms), "{blocked_ms}");
    assert!((14_000..30_000).contains(&offline_ms), "{offline_ms}");
}
