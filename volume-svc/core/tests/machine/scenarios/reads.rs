//! Reads that are refused, lag, go back, or use words that nobody knows (docs/aws.md, section 11).

use super::{at_open, decided, two};
use crate::world::driver::{Ended, Run};
use crate::world::faults::Shown;
use tiershift_core::Reason;
use volume_core::effect::Trouble;
use volume_core::stage::Stage;
use volume_core::state::Place;

#[test]
fn aws11_describe_throttled_costs_time_and_nothing_else() {
    for trouble in [Trouble::Throttled, Trouble::Unknown] {
        let mut run = Run::start(&two());
        run.world.faults.blind = Some((400, trouble));
        assert_eq!(run.finish(), Ended::Moved, "{trouble:?}; {}", run.describe());
        for effect in ["snapshot_safety", "snapshot_final", "detach", "attach", "adopt", "release"] {
            assert_eq!(decided(&run, effect), 1, "{trouble:?}: {effect}");
        }
        assert!(run.alerts.is_empty(), "{trouble:?}");
    }
}

#[test]
fn aws11_describe_stale_is_no_fact_until_it_agrees() {
    // The detach is through, and reads that lag show the volume where it was: it is looked at again.
    let mut run = at_open(&two(), "detach");
    run.step();
    run.until("the truth", |run| run.world.cloud.volume.attachments.is_empty());
    run.world.faults.stale = Some((4, 20_000));
    for _ in 0..3 {
        run.step();
        assert_ne!(run.state().place, Place::Free, "one read, or one that is old, is no fact");
    }
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(decided(&run, "detach"), 1);
}

#[test]
fn aws11_describe_backward_restarts_the_count() {
    // Two reads a third of a second apart must agree: one of the past between them begins it anew.
    let mut run = at_open(&two(), "detach");
    run.until("a first read of a free volume", |run| {
        use volume_core::effect::{Observe, Seen};
        run.machine.scratch.streak(&Observe::Volume).is_some_and(|s| s.seen == Seen::Volume(Some(Vec::new())))
    });
    assert_ne!(run.state().place, Place::Free);
    run.world.faults.stale = Some((1, 20_000));
    let mut looks = 0;
    while run.state().place != Place::Free {
        looks += u32::from(matches!(run.step(), crate::world::driver::Step::Looked(_)));
    }
    assert!(looks >= 3, "the old read, and two that agree: {looks}");
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn aws11_describe_unknown_word_is_never_success() {
    let mut run = at_open(&two(), "detach");
    run.world.faults.volume = Some(Shown::Unheard);
    for _ in 0..50 {
        run.step();
        assert_eq!(run.state().stage, Stage::Detach, "{}", run.describe());
    }
    run.world.faults.volume = None;
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn aws11_describe_unknown_word_for_ever_calls_a_human() {
    let mut run = at_open(&crate::places::brief(two()), "detach");
    run.world.faults.volume = Some(Shown::Unheard);
    assert_eq!(run.finish(), Ended::Stuck(Reason::DetachFailed));
    run.world.faults.volume = None;
    super::retry(&mut run);
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DetachFailed));
}
