//! What an operator can do.

use super::{at, at_open, one, two};
use crate::places;
use crate::text;
use crate::world::driver::{Ended, Run};
use crate::world::faults::{Fate, Shown};
use crate::world::fixture::{self, idle, source};
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use volume_core::effect::Trouble;
use volume_core::fact::{Fact, Resume, Side};
use volume_core::requests::Granted;
use volume_core::stage::Stage;

#[test]
fn a_retry_looks_anew_and_goes_on_with_the_open_effect() {
    let mut run = at_open(&two(), "detach");
    run.world.faults.volume = Some(Shown::Twice);
    assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder));
    assert!(run.state().open.is_some());
    // Not mended: stuck again, but only after it has looked again.
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "trying")).expect("it is stuck");
    assert!(text::next(&run.next(), run.world.now).starts_with("look volume"));
    assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder));
    run.world.faults.volume = None;
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "detached the other")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::Moved);
}

/// Stuck on the way back, with the volume free and a target that is sound.
fn stuck_and_free() -> Run {
    let mut run = at_open(&places::brief(two()), "adopt");
    run.world.faults.probe_lies.insert(idle(1));
    run.until("the way back", |run| run.state().direction == Direction::Undo);
    run.world.faults.always("attach", Fate::Refuse(Trouble::SlotsFull));
    assert_eq!(run.finish(), Ended::Stuck(Reason::AttachFailed));
    run
}

#[test]
fn going_forward_turns_an_undo_around_and_its_progress_never_falls() {
    let mut run = stuck_and_free();
    // Far behind the write-block limit: an operator's word counts more.
    run.world.advance(run.world.now + 3_600_000);
    run.world.faults.calls.clear();
    run.world.faults.probe_lies.clear();
    run.request(|machine| machine.resume(Resume::GoForward, "op_a", "mended the target")).expect("it may");
    assert_eq!(run.state().direction, Direction::Forward);
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
}

#[test]
fn going_forward_needs_an_undo_that_can_be_turned_around() {
    let refused = |run: &Run| run.machine.resume(Resume::GoForward, "op_a", "n").map_err(|r| r.reason);
    assert_eq!(refused(&at(&two(), Stage::Attach)), Err(Reason::NotStuck));
    // On the way forward there is nothing to turn around.
    let mut run = at_open(&two(), "detach");
    run.world.faults.volume = Some(Shown::Foreign);
    assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder));
    assert_eq!(refused(&run), Err(Reason::WrongState));
    // A condemned target is not sound.
    let mut run = at_open(&places::brief(one()), "adopt");
    let now = run.world.now;
    run.world.faults.silent.insert(idle(1), now);
    run.world.faults.always("terminate", Fate::Refuse(Trouble::Denied));
    assert_eq!(run.finish(), Ended::Stuck(Reason::CloudRefused));
    assert_eq!(refused(&run), Err(Reason::WrongState));
    let handed = run.machine.hand_over(Side::Target, "op_a", "n").map_err(|r| r.reason);
    assert_eq!(handed, Err(Reason::WrongState));
}

#[test]
fn h26_a_hand_over_ends_with_no_intent_open_and_settles_where_the_graph_serves() {
    // An operator mounts the volume on the target by hand.
    let mut run = at_open(&two(), "attach");
    run.world.faults.volume = Some(Shown::Foreign);
    assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder));
    let open = run.state().open.as_ref().expect("the attach has no result").n;
    run.world.faults.volume = None;
    run.world.cloud.put(&idle(1), "/dev/sdk");
    run.world.hosts.insert(idle(1), crate::world::host::Host::serving(&run.world.cloud.volume));
    let granted = run.request(|machine| machine.hand_over(Side::Target, "op_a", "by hand")).expect("it may");
    let Granted::Append(facts) = granted else { panic!("nothing was granted") };
    assert_eq!(text::facts(&facts), "outcome abandoned, handed_over Target");
    assert!(matches!(facts[0], Fact::Outcome { n, .. } if n == open));
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert!(!run.state().condemned.contains(&idle(1)), "what serves is not a leftover");
    let graph = run.world.store.row(&volume_core::keys::graph_row(&fixture::graph()));
    assert_eq!(graph.s("instance_id"), Some(idle(1).as_str()));
}

#[test]
fn h26_a_hand_over_to_the_source_puts_the_rows_right_and_frees_the_target() {
    let mut run = stuck_and_free();
    run.world.faults.calls.clear();
    run.world.cloud.put(&source(), "/dev/sdp");
    run.world.hosts.insert(source(), crate::world::host::Host::serving(&run.world.cloud.volume));
    run.request(|machine| machine.hand_over(Side::Source, "op_a", "by hand")).expect("it may");
    assert!(matches!(run.finish(), Ended::RolledBack(_)), "{}", run.describe());
    let volume = run.world.store.row(&volume_core::keys::volume_row(&fixture::volume()));
    assert_eq!(volume.s("instance_id"), Some(source().as_str()));
    assert_eq!(volume.s("status"), Some("attached"));
}
