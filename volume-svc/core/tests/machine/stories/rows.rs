//! Deadlines, progress, rows of the registries, and what watchers see.

use super::{at, at_open, two};
use crate::places;
use crate::world::driver::{Ended, Run, Step};
use crate::world::faults::Fate;
use crate::world::fixture::{self, idle};
use tiershift_core::Reason;
use tiershift_core::event::{Direction, Reads, Writes};
use volume_core::fact::{Fact, Resume};
use volume_core::requests::Granted;
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::{Machine, Next};

#[test]
fn h30_both_drains_share_one_deadline() {
    let mut run = at(&two(), Stage::DrainReads);
    run.world.faults.busy_readers = true;
    let confirmed_at = run.state().gate.as_ref().expect("a gate").confirmed_at.expect("confirmed");
    run.until("the way back", |run| run.state().direction == Direction::Undo);
    let taken_ms = run.world.at().since(confirmed_at);
    let limit_ms = Settings::default().drain_ms;
    assert!((limit_ms..limit_ms + 3_000).contains(&taken_ms), "{taken_ms}");
    run.world.faults.busy_readers = false;
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DrainTimeout));
}

#[test]
fn a_resumed_step_gets_its_whole_deadline_again() {
    let mut run = at_open(&places::brief(two()), "resume");
    run.world.faults.always("resume", Fate::LostBefore);
    assert_eq!(run.finish(), Ended::Stuck(Reason::StepTimeout));
    run.world.advance(run.world.now + 3_600_000);
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "n")).expect("it is stuck");
    let resumed_at = run.world.now;
    assert_eq!(run.finish(), Ended::Stuck(Reason::StepTimeout));
    assert!(run.world.now - resumed_at >= run.settings.undo_step_ms, "{} ms", run.world.now - resumed_at);
}

#[test]
fn a_long_snapshot_does_not_flood_the_watchers() {
    let mut setup = two();
    setup.durations.safety = 5 * 3_600_000;
    let mut run = at(&setup, Stage::SafetySnapshot);
    for _ in 0..40 {
        // Restarts show it at most once more each.
        for _ in 0..20 {
            run.step();
        }
        run.crash();
    }
    run.until("capacity", |run| run.state().stage == Stage::Capacity);
    let shown: Vec<u32> = run
        .world
        .store
        .entries
        .iter()
        .filter_map(|e| match e.fact {
            Fact::Progress { percent } => Some(percent),
            _ => None,
        })
        .collect();
    assert!(!shown.is_empty() && shown.len() <= 100, "{}", shown.len());
    assert!(shown.is_sorted_by(|a, b| a < b), "{shown:?}");
}

#[test]
fn h32_a_foreign_row_at_the_commit_turns_back_and_one_on_the_way_back_calls_a_human() {
    // H32.
    let mut run = at(&two(), Stage::Commit);
    run.world.faults.foreign_rows.insert(fixture::graph().to_string());
    run.until("its end for the customer", |run| run.state().end.is_some());
    // What is left over needs the row, and says so.
    assert_eq!(run.finish(), Ended::Stuck(Reason::RegistryConflict));
    run.world.faults.foreign_rows.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "the row is ours again")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::RegistryConflict));

    let mut run = at(&two(), Stage::Commit);
    run.world.faults.foreign_rows.extend([fixture::graph().to_string(), fixture::volume().to_string()]);
    assert_eq!(run.finish(), Ended::Stuck(Reason::RegistryConflict));
    assert!(run.state().end.is_none());
    run.world.faults.foreign_rows.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "the row is ours again")).expect("it is stuck");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::RegistryConflict));
}

#[test]
fn a_reservation_that_is_lost_to_another_takes_the_next_instance() {
    let mut run = Run::start(&two());
    run.world.faults.foreign_rows.insert(idle(1).to_string());
    let mut refusals = 0;
    while run.state().target.is_none() {
        refusals += usize::from(matches!(run.step(), Step::RowsRefused(_)));
    }
    assert_eq!((refusals, run.state().target.as_ref().map(|t| t.instance.clone())), (1, Some(idle(2))));
}

#[test]
fn h30_watchers_are_told_what_is_open() {
    let mut run = Run::start(&two());
    assert_eq!(run.finish(), Ended::Moved);
    let at = |stage: Stage| {
        let event = run.world.store.entries.iter().filter_map(|e| e.public.as_ref()).find(|p| p.stage == stage.name());
        event.map(|p| (p.reads, p.writes)).expect("every stage shows itself")
    };
    assert_eq!(at(Stage::Gate), (Reads::Open, Writes::Open));
    assert_eq!(at(Stage::DrainWrites), (Reads::Open, Writes::Closed));
    assert_eq!(at(Stage::DrainReads), (Reads::Closing, Writes::Closed));
    assert_eq!(at(Stage::Detach), (Reads::Closed, Writes::Closed));
}

#[test]
fn nothing_is_proposed_for_what_has_ended() {
    let mut run = Run::start(&two());
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(run.next(), Next::Over);
    assert_eq!(run.machine.cancel("user_a").map_err(|r| r.reason), Err(Reason::TooLateToCancel));
    let tombstone = Machine::tombstone(&fixture::change(), "user_a", &Settings::default(), run.world.at());
    let append = tombstone.expect("it can be written");
    let machine = Machine::load(&fixture::change(), &append.entries, Settings::default(), run.world.at());
    let machine = machine.expect("it folds");
    assert_eq!(machine.next(run.world.at()), Next::Over);
    assert_eq!(machine.cancel("user_a"), Ok(Granted::Already));
}
