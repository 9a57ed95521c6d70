//! Progress and the glance: monotonic within a direction, honest about what is open, and never a decision.

use crate::places;
use crate::world::driver::Run;
use crate::world::fixture::Setup;
use tiershift_core::event::{Direction, Writes};
use volume_core::progress;
use volume_core::stage::Stage;
use volume_core::view::{Status, View};

#[test]
fn progress_never_falls_while_time_passes_or_entries_come() {
    for setup in [Setup::idle_target(), Setup::launched_target()] {
        let mut run = Run::start(&setup);
        let mut shown = (Direction::Forward, 0);
        while !run.state().is_over() {
            for ahead_ms in [0, 10, 5_000, 600_000] {
                let (permille, eta_ms) = progress::of(run.state(), run.world.at().plus(ahead_ms));
                assert!(permille <= 1_000 && eta_ms >= 0);
                if ahead_ms == 0 {
                    let direction = run.state().direction;
                    let durable = run.state().permille();
                    assert!(permille >= durable, "{permille} below what was shown, {durable}");
                    if direction == shown.0 {
                        assert!(durable >= shown.1, "{durable} behind {}", shown.1);
                    }
                    shown = (direction, durable);
                }
            }
            run.step();
        }
    }
}

#[test]
fn the_way_forward_ends_below_a_thousand_and_opened_is_a_thousand() {
    let mut run = Run::start(&Setup::idle_target());
    run.finish();
    let events: Vec<_> = run.world.store.entries.iter().filter_map(|e| e.public.as_ref()).collect();
    let forward: Vec<u32> = events.iter().filter(|p| p.direction == Direction::Forward).map(|p| p.permille).collect();
    let (opened, before) = forward.split_last().expect("it opened");
    assert_eq!(*opened, 1_000);
    assert!(before.iter().all(|p| *p < 1_000), "{before:?}");
    assert!(*before.last().expect("many") > 900, "{before:?}");
}

#[test]
fn the_estimate_shrinks_with_the_stages() {
    let mut run = Run::start(&Setup::idle_target());
    let mut last_ms = i64::MAX;
    for stage in [Stage::SafetySnapshot, Stage::Gate, Stage::Release, Stage::Attach, Stage::Open] {
        run.until(stage.name(), |run| run.state().stage == stage);
        let eta_ms = progress::forward_ms(run.state(), run.world.at());
        assert!(eta_ms < last_ms, "{stage}: {eta_ms} after {last_ms}");
        last_ms = eta_ms;
    }
}

#[test]
fn a_way_back_is_longer_the_more_was_taken() {
    let back_ms = |stage: Stage| {
        let mut run = Run::start(&Setup::idle_target());
        run.until(stage.name(), |run| run.state().stage == stage && run.state().open.is_none());
        progress::undo_ms(run.state())
    };
    let mut run = Run::start(&Setup::idle_target());
    run.until("the commit", |run| run.state().stage == Stage::Commit);
    let from_target_ms = progress::undo_ms(run.state());
    assert!(back_ms(Stage::Gate) < back_ms(Stage::DrainReads));
    assert!(back_ms(Stage::DrainReads) < from_target_ms);
}

#[test]
fn the_glance_says_what_the_state_says() {
    for (place, run) in places::reached() {
        let view = View::of(run.state(), run.world.at());
        assert_eq!(view.status == Status::Stuck, place.stuck, "{place}");
        assert_eq!(view.settling, place.direction == Direction::Settle, "{place}");
        assert_eq!(view.stage, place.stage);
        assert_eq!(view.reason.is_some(), place.stuck || run.state().undo.is_some(), "{place}");
        assert!(["source", "target", "free", "elsewhere"].contains(&view.volume_at.as_str()));
        let confirmed = run.state().gate.as_ref().is_some_and(|g| g.confirmed_at.is_some());
        let closed = confirmed && run.state().end.is_none();
        assert_eq!(view.writes == Writes::Closed, closed, "{place}");
        let text = serde_json::to_string(&view).expect("it can be written");
        assert_eq!(serde_json::from_str::<View>(&text).expect("and read"), view);
    }
}
