//! DetachVolume and AttachVolume (docs/aws.md, section 11).

use super::{arrived, at, at_open, decided, one, retry, steps, told, turned_back, two};
use crate::places;
use crate::world::driver::{Ended, Run};
use crate::world::faults::{Fate, Shown};
use crate::world::fixture::{self, Setup, idle, source};
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use volume_core::effect::{AttachmentState, Effect, Trouble};
use volume_core::stage::Stage;
use volume_core::state::Place;

#[test]
fn aws11_detach_lost_answer_is_observed() {
    for fate in [Fate::LostAfter, Fate::LostBefore] {
        let mut run = at_open(&two(), "detach");
        run.world.faults.once("detach", fate);
        assert_eq!(run.finish(), Ended::Moved, "{fate:?}");
        assert_eq!((arrived(&run, "detach"), decided(&run, "detach")), (1, 1), "{fate:?}");
    }
}

#[test]
fn aws11_detach_free_already_goes_on() {
    let mut run = at_open(&two(), "detach");
    let now = run.world.now;
    run.world.cloud.free(now);
    assert_eq!(run.finish(), Ended::Moved);
    let refused = run.world.arrived.iter().find(|(_, effect, _)| effect.name() == "detach").map(|(_, _, r)| r.clone());
    assert_eq!(refused, Some(Err(Trouble::IncorrectState)), "the call was refused, and no attachment is success");
}

#[test]
fn aws11_detach_wrong_holder_stops_and_calls_a_human() {
    let mut run = at_open(&two(), "detach");
    run.world.faults.volume = Some(Shown::Foreign);
    assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder));
    assert_eq!(run.alerts, [Reason::ForeignHolder]);
    assert_eq!(decided(&run, "attach"), 0);
}

#[test]
fn aws11_detach_mounted_is_repeated_seldom_and_then_turned_back_without_a_remount() {
    // The agent lies: it says released, and the mount is still there.
    let mut run = at_open(&places::brief(two()), "detach");
    run.world.hosts.get_mut(&source()).expect("it is there").mounted = true;
    // So that only the detach itself is looked at, not the invariant that the lie breaks.
    let open = run.state().open.clone().expect("the detach");
    assert!(matches!(open.effect, Effect::Detach { .. }));
    turned_back(&mut run);
    let waited_ms = run.world.at().since(open.at);
    let calls = arrived(&run, "detach");
    assert!(waited_ms >= run.settings.detach_ms, "{waited_ms} ms");
    let most = usize::try_from(waited_ms / run.settings.detach_again_ms).expect("small") + 1;
    assert!((2..=most).contains(&calls), "{calls} calls in {waited_ms} ms (rule 23)");
    assert_eq!(decided(&run, "adopt"), 0, "no remount under a pending detach");
    // Mended by hand: the detach is completed, then the volume is attached anew.
    run.world.hosts.get_mut(&source()).expect("it is there").mounted = false;
    let now = run.world.now;
    run.world.cloud.unmounted(now, &source());
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DetachFailed), "{}", run.describe());
    assert_eq!(decided(&run, "attach source /dev/sdg"), 1);
}

#[test]
fn aws11_detach_stuck_calls_a_human_when_it_hangs_on_the_way_back_too() {
    let mut run = at_open(&places::brief(two()), "detach");
    run.world.durations.detach = 100_000_000;
    assert_eq!(run.finish(), Ended::Stuck(Reason::DetachFailed));
    assert!(run.state().open.is_some(), "it is completed before it is undone");
    let now = run.world.now;
    run.world.cloud.free(now);
    retry(&mut run);
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DetachFailed));
}

#[test]
fn aws11_detach_volume_gone_stops_and_calls_a_human() {
    let mut run = at_open(&two(), "detach");
    run.world.faults.volume = Some(Shown::Gone);
    let from = run.world.now;
    assert_eq!(run.finish(), Ended::Stuck(Reason::VolumeNotFound));
    assert!(run.world.now - from >= 2 * run.settings.absent_gap_ms, "three reads over ten seconds (rule 14)");
}

#[test]
fn aws11_attach_lost_answer_is_observed() {
    for fate in [Fate::LostAfter, Fate::LostBefore] {
        let mut run = at_open(&two(), "attach");
        run.world.faults.once("attach", fate);
        assert_eq!(run.finish(), Ended::Moved, "{fate:?}");
        assert_eq!((arrived(&run, "attach"), decided(&run, "attach")), (1, 1), "{fate:?}");
    }
}

#[test]
fn aws11_attach_not_free_yet_is_tried_again() {
    let mut run = at_open(&two(), "attach");
    for _ in 0..4 {
        run.world.faults.once("attach", Fate::Refuse(Trouble::IncorrectState));
    }
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!((decided(&run, "attach"), run.state().dropped.len()), (1, 0));
}

#[test]
fn aws11_attach_held_by_ours_and_right_is_success() {
    // The first call's answer is lost; the second is told VolumeInUse, by the first.
    let mut run = at_open(&two(), "attach");
    run.world.faults.once("attach", Fate::LostAfter);
    run.world.faults.once("attach", Fate::Refuse(Trouble::InUse));
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!((decided(&run, "attach"), run.state().dropped.len()), (1, 0));
}

#[test]
fn aws11_attach_held_by_ours_and_unwanted_is_taken_away_first() {
    // F3: an attach of the first target, refused as far as anybody knew, lands when the second is to have the volume.
    let mut run = at_open(&two(), "attach");
    run.world.faults.once("attach", Fate::Refuse(Trouble::SlotsFull));
    run.until("the second target", |run| {
        run.state()
            .open
            .as_ref()
            .is_some_and(|o| matches!(&o.effect, Effect::Attach { instance, .. } if *instance == idle(2)))
    });
    run.world.cloud.put(&idle(1), "/dev/sdf");
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    let lines = told(&run, from);
    assert!(lines.contains(&"intent detach idle1 /dev/sdf".to_owned()), "{lines:?}");
    assert_eq!(run.world.cloud.volume.attachments[0].instance, idle(2));
}

#[test]
fn aws11_attach_held_by_another_stops_and_calls_a_human() {
    let mut run = at_open(&two(), "attach");
    run.world.faults.volume = Some(Shown::Foreign);
    assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder));
    assert_eq!(decided(&run, "detach"), 1, "nothing of a stranger is taken away");
}

#[test]
fn aws11_attach_zone_mismatch_takes_another_target_else_the_way_back() {
    let mut run = at_open(&two(), "attach");
    run.world.faults.once("attach", Fate::Refuse(Trouble::Zone));
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(decided(&run, "attach idle1"), 1, "never tried again");
    let mut run = at_open(&one(), "attach");
    run.world.faults.once("attach", Fate::Refuse(Trouble::Zone));
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AttachFailed));
}

#[test]
fn aws11_attach_device_taken_tries_the_next_device() {
    let mut run = at_open(&two(), "attach");
    run.world.faults.once("attach", Fate::Refuse(Trouble::DeviceTaken));
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(told(&run, from)[0], "intent attach idle1 /dev/sdg");
    assert_eq!(run.state().dropped.len(), 0);
}

#[test]
fn aws11_attach_full_takes_another_target() {
    let mut run = at_open(&two(), "attach");
    run.world.faults.once("attach", Fate::Refuse(Trouble::SlotsFull));
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(run.state().target.as_ref().map(|t| t.instance.clone()), Some(idle(2)));
    assert_eq!(decided(&run, "attach idle1"), 1);
}

#[test]
fn aws11_attach_stuck_is_taken_away_and_given_one_more_device() {
    let mut run = at_open(&two(), "attach");
    run.world.faults.attach_hangs = true;
    let from = run.world.now;
    run.until("its end", |run| {
        run.state().place == Place::Free
            && run.state().open.as_ref().is_some_and(|o| matches!(o.effect, Effect::Detach { .. }))
    });
    assert!(run.world.now - from >= run.settings.attach_stuck_ms, "{} ms", run.world.now - from);
    run.world.faults.attach_hangs = false;
    let entries = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!(told(&run, entries)[0], "intent attach idle1 /dev/sdg", "one more device (rule 25)");
}

#[test]
fn aws11_attach_key_falls_back_and_another_device_is_tried_once() {
    let mut run = at_open(&two(), "attach");
    run.world.faults.attach_falls_back = 2;
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!(
        told(&run, from)[..3],
        steps(&[
            "intent attach idle1 /dev/sdg",
            "target_failed idle1 ATTACH_FAILED",
            "target_dropped idle1 ATTACH_FAILED"
        ])
    );
}

/// On its way back, with the volume free.
fn bringing_back() -> Run {
    let mut run = at_open(&places::brief(one()), "adopt");
    run.world.faults.probe_lies.insert(idle(1));
    run.until("the volume is free again", |run| run.state().undo.is_some() && run.state().place == Place::Free);
    run
}

#[test]
fn aws11_undos_attach_is_tried_patiently_whatever_refuses_it() {
    for trouble in
        [Trouble::Throttled, Trouble::IncorrectState, Trouble::InUse, Trouble::DeviceTaken, Trouble::SlotsFull]
    {
        let mut run = bringing_back();
        for _ in 0..3 {
            run.world.faults.once("attach", Fate::Refuse(trouble));
        }
        assert_eq!(run.finish(), Ended::RolledBack(Reason::DataMismatch), "{trouble:?}; {}", run.describe());
    }
}

#[test]
fn aws11_undos_attach_that_nothing_helps_calls_a_human_with_the_volume_kept() {
    let mut run = bringing_back();
    run.world.faults.always("attach", Fate::Refuse(Trouble::SlotsFull));
    assert_eq!(run.finish(), Ended::Stuck(Reason::AttachFailed));
    let lock = run.world.store.row(&volume_core::keys::volume_lock(&fixture::volume()));
    assert_eq!(lock.s("holder"), Some(fixture::change().as_str()));
    assert!(run.world.cloud.snapshots.values().all(|s| !s.deleted), "both snapshots are kept");
}

#[test]
fn aws11_attach_on_its_way_is_not_attached() {
    // `attaching` is no success, however often it is read.
    let mut run = at_open(&two(), "attach");
    run.world.durations.attach = 60_000;
    run.until("a read of it", |run| {
        run.world.cloud.volume.attachments.iter().any(|a| a.state == AttachmentState::Attaching)
    });
    for _ in 0..20 {
        run.step();
        let through = run.world.cloud.volume.attachments[0].state == AttachmentState::Attached;
        assert!(through || run.state().stage == Stage::Attach, "{}", run.describe());
    }
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn aws11_describe_more_than_one_attachment_stops_and_calls_a_human() {
    // Rule 15.
    for stage in [Stage::Detach, Stage::Attach] {
        let mut run = at(&two(), stage);
        run.world.faults.volume = Some(Shown::Twice);
        assert_eq!(run.finish(), Ended::Stuck(Reason::ForeignHolder), "{stage}");
    }
}

#[test]
fn rule46_a_code_that_no_table_has_is_sent_again_twice_and_then_the_change_turns_back() {
    for effect in ["protect", "snapshot_safety", "launch", "snapshot_final", "detach", "attach"] {
        let setup = if matches!(effect, "launch" | "protect") { Setup::launched_target() } else { one() };
        let mut run = at_open(&setup, effect);
        run.world.faults.always(effect, Fate::Refuse(Trouble::Unlisted));
        run.until("the way back", |run| run.state().direction == Direction::Undo || run.state().stuck.is_some());
        let calls = run.world.faults.struck(effect);
        assert_eq!(calls, 3 * decided(&run, effect), "{effect}: one call and two repeats of each intent");
        assert_eq!(run.state().direction, Direction::Undo, "{effect}: nothing is lost by turning back");
        run.world.faults.calls.clear();
        assert!(matches!(run.finish(), Ended::RolledBack(_)), "{effect}: {}", run.describe());
    }
}
