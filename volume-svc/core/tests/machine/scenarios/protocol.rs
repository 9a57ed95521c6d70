//! Scenarios of the protocol that need no failing cloud to go wrong: late calls, agents that restart, dead drivers,
//! limits, permits, sequences (docs/protocol.md, section 5).

use super::{arrived, at, at_open, decided, one, told, turned_back, two};
use crate::places;
use crate::world::cloud::Life;
use crate::world::driver::{Ended, Run};
use crate::world::faults::Fate;
use crate::world::fixture::{self, Setup, idle, source};
use crate::world::host::Door;
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use volume_core::effect::{AgentState, Effect, Trouble};
use volume_core::fact::{Fact, Outcome, Resume};
use volume_core::keys;
use volume_core::stage::Stage;
use volume_core::state::Place;

/// Effects that were decided since an entry, by name.
fn since(run: &Run, from: usize) -> Vec<&'static str> {
    let intent = |fact: &Fact| match fact {
        Fact::Intent { effect, .. } => Some(effect.name()),
        _ => None,
    };
    run.world.store.entries[from..].iter().filter_map(|e| intent(&e.fact)).collect()
}

#[test]
fn h12_an_unknown_detach_is_completed_before_it_is_undone() {
    // No answer until its deadline turns the change back; then it lands. The source must not have mounted by then.
    let mut run = at_open(&places::brief(two()), "detach");
    run.world.faults.always("detach", Fate::LostBefore);
    turned_back(&mut run);
    assert!(run.state().open.as_ref().is_some_and(|o| matches!(o.effect, Effect::Detach { .. })), "it stays open");
    let from = run.world.store.entries.len();
    for _ in 0..40 {
        run.step();
        assert!(since(&run, from).is_empty(), "nothing is undone while its outcome is unknown");
    }
    run.world.faults.calls.clear();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DetachFailed));
    assert_eq!(since(&run, from), ["attach", "adopt", "resume"], "completed, and attached anew on another device");
}

#[test]
fn h12_an_unknown_attach_is_completed_before_it_is_undone() {
    let mut run = at_open(&places::brief(one()), "attach");
    run.world.faults.always("attach", Fate::LostBefore);
    turned_back(&mut run);
    run.world.faults.calls.clear();
    let from = run.world.store.entries.len();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::AttachFailed), "{}", run.describe());
    let names = since(&run, from);
    assert_eq!(names, ["detach", "attach", "adopt", "resume"], "attached to the target first, then taken away");
}

#[test]
fn h12_an_unknown_launch_is_asked_for_again_and_then_ended() {
    let mut run = at_open(&Setup::launched_target(), "launch");
    run.world.faults.once("launch", Fate::LostAfter);
    run.step();
    run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    assert_eq!(run.finish(), Ended::RolledBack(Reason::CanceledByRequest));
    assert_eq!(run.world.cloud.launches.len(), 1);
    assert!(run.world.cloud.instances[&fixture::launched(1)].life == Life::Ended, "exactly it is ended");
}

#[test]
fn h13_an_agent_that_restarts_and_forgets_its_job_is_told_again() {
    // In its release: the door stays as it was, the job is gone.
    let mut run = at_open(&two(), "release");
    run.step();
    assert_eq!(run.world.hosts[&source()].state, AgentState::Releasing);
    run.world.hosts.get_mut(&source()).expect("it is there").state = AgentState::Drained;
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!((arrived(&run, "release"), decided(&run, "release")), (2, 1), "one intent, told twice");
    // In its adopt.
    let mut run = at_open(&two(), "adopt");
    run.step();
    run.world.hosts.get_mut(&idle(1)).expect("it is there").state = AgentState::Released;
    assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
    assert_eq!((arrived(&run, "adopt"), decided(&run, "adopt")), (2, 1), "one intent, told twice");
}

#[test]
fn h14_a_dead_drivers_command_is_refused_by_its_fence() {
    for name in ["drain_all", "release", "adopt", "resume"] {
        let mut run = at_open(&two(), name);
        run.world.faults.once(name, Fate::Late(40_000));
        run.call_unheard();
        run.crash();
        assert_eq!(run.finish(), Ended::Moved, "{name}");
        let calls = run.world.arrived.iter().filter(|(_, effect, _)| effect.name() == name);
        let answers: Vec<_> = calls.map(|(_, _, answer)| answer.is_ok()).collect();
        assert_eq!(answers, [true, false], "{name}: the second driver's, then the first's");
        let last = run.world.arrived.iter().rfind(|(_, effect, _)| effect.name() == name).expect("it arrived");
        assert_eq!(last.2, Err(Trouble::Fenced), "{name}");
    }
}

#[test]
fn h15_the_target_opens_with_its_door_shut_and_only_behind_the_commit() {
    let mut run = at(&two(), Stage::Adopt);
    while run.state().end.is_none() {
        run.step();
        let open = run.world.hosts[&idle(1)].door != Door::Shut;
        assert!(!open || run.state().is_committed(), "{}", run.describe());
    }
    let lines = told(&run, 0);
    let at = |what: &str| lines.iter().position(|line| line.starts_with(what)).expect(what);
    assert!(at("committed") < at("intent resume idle1"));
}

#[test]
fn h15_an_engine_of_another_format_never_gets_the_volume() {
    // Found when it is proven, and found when it changed between then and the gate.
    let mut run = at(&two(), Stage::Gate);
    run.world.faults.other_engine.insert(idle(1));
    assert_eq!(run.finish(), Ended::Moved);
    assert_eq!(run.state().dropped[0].1, Reason::EngineMismatch);
    assert!(
        !run.world
            .arrived
            .iter()
            .any(|(_, effect, _)| matches!(effect, Effect::Attach { instance, .. } if *instance == idle(1)))
    );
}

#[test]
fn h16_an_instance_that_shows_a_data_volume_is_not_ended() {
    // The source got another graph's volume in the soak, by whatever hand: it serves somebody.
    let mut run = at(&places::brief(two()), Stage::Settle);
    run.world.faults.shows_volume.insert(source());
    assert_eq!(run.finish(), Ended::Stuck(Reason::StepTimeout));
    assert!(run.state().condemned.is_empty() && run.world.cloud.instances[&source()].life == Life::Running);
    run.world.faults.shows_volume.clear();
    super::retry(&mut run);
    assert_eq!(run.finish(), Ended::Moved);
}

#[test]
fn h16_a_row_that_names_another_migration_keeps_its_instance_alive() {
    let mut run = at(&places::brief(two()), Stage::Settle);
    run.world.faults.foreign_rows.insert(source().to_string());
    assert_eq!(run.finish(), Ended::Stuck(Reason::RegistryConflict));
    assert!(run.world.cloud.instances[&source()].life == Life::Running);
}

#[test]
fn h16_what_is_condemned_is_never_used_again() {
    // F4: its end was refused, and an operator says retry: the intent is final.
    let mut run = at_open(&places::brief(two()), "adopt");
    let now = run.world.now;
    run.world.faults.silent.insert(idle(1), now);
    run.world.faults.always("terminate", Fate::Refuse(Trouble::Denied));
    assert_eq!(run.finish(), Ended::Stuck(Reason::CloudRefused));
    let row = run.world.store.row(&keys::instance_row(&idle(1)));
    assert_eq!(row.s("ts_state"), Some("condemned"));
    run.world.faults.calls.clear();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "allowed it")).expect("it is stuck");
    let from = run.world.store.entries.len();
    let ended = run.finish();
    assert!(!matches!(ended, Ended::Stuck(_)), "{ended:?}");
    assert!(!told(&run, from).iter().any(|line| line == "intent adopt idle1" || line == "intent attach idle1"));
    assert!(run.state().terminated.contains(&idle(1)));
}

/// Drained and blocked for longer than the tier allows, in a stage.
fn blocked_past_the_limit(setup: &Setup, effect: &'static str) -> Run {
    let mut run = at_open(setup, effect);
    run.world.faults.always(effect, Fate::LostBefore);
    let limit_ms = fixture::spec().max_write_block_ms;
    let confirmed_at = run.state().gate.as_ref().and_then(|g| g.confirmed_at).expect("confirmed");
    run.until("the limit", |run| {
        run.state().direction == Direction::Undo || run.world.at().since(confirmed_at) > limit_ms
    });
    run
}

const HASTY_MS: i64 = 40_000;

/// Of a tier whose limit lies below the deadlines of the steps.
fn hasty() -> Setup {
    Setup { max_write_block_ms: HASTY_MS, ..two() }
}

fn confirmed_at(run: &Run) -> tiershift_core::UnixMs {
    run.state().gate.as_ref().and_then(|g| g.confirmed_at).expect("confirmed")
}

fn blocked(run: &Run) -> bool {
    run.state().gate.as_ref().is_some_and(|g| g.confirmed_at.is_some())
}

#[test]
fn h36_past_its_limit_a_change_turns_back_where_that_is_shorter() {
    // The first target does not mount, which takes its whole deadline; with the second there is more ahead than behind.
    let mut run = at_open(&two(), "adopt");
    run.world.faults.always("adopt", Fate::LostBefore);
    let confirmed_at = run.state().gate.as_ref().and_then(|g| g.confirmed_at).expect("confirmed");
    turned_back(&mut run);
    let undo = run.state().undo.clone().expect("it turned back");
    assert_eq!(undo.reason, Reason::WriteBlockExceeded);
    assert!(undo.at.since(confirmed_at) >= fixture::spec().max_write_block_ms);
    assert!(!run.state().at_target() && run.state().open.is_none());
    run.world.faults.calls.clear();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::WriteBlockExceeded));
}

#[test]
fn h36_a_hanging_step_turns_back_at_the_limit_and_not_at_its_own_deadline() {
    // The limit of a hasty tier lies below the deadlines of the steps: 40 s against 120 to 600 s.
    for effect in ["drain_writes", "drain_all", "snapshot_final"] {
        let mut run = Run::start(&hasty());
        run.until(effect, |run| blocked(run) && run.state().open.as_ref().is_some_and(|o| o.effect.name() == effect));
        run.world.faults.always(effect, Fate::LostBefore);
        turned_back(&mut run);
        let undo = run.state().undo.clone().expect("it turned back");
        assert_eq!(undo.reason, Reason::WriteBlockExceeded, "{effect}");
        let blocked_ms = undo.at.since(confirmed_at(&run));
        assert!((HASTY_MS..HASTY_MS + 15_000).contains(&blocked_ms), "{effect}: {blocked_ms} ms");
        assert!(run.state().open.is_some(), "{effect}: its outcome is unknown, so it stays open (H12)");
        run.world.faults.calls.clear();
        assert_eq!(run.finish(), Ended::RolledBack(Reason::WriteBlockExceeded), "{effect}");
    }
}

#[test]
fn h36_a_hanging_detach_is_completed_first_because_back_is_as_long() {
    // It must come through either way; where the volume goes then is decided then.
    let mut run = Run::start(&hasty());
    run.until("the detach", |run| run.state().open.as_ref().is_some_and(|o| o.effect.name() == "detach"));
    run.world.faults.always("detach", Fate::LostBefore);
    run.until("the limit", |run| run.world.at().since(confirmed_at(run)) > HASTY_MS + 30_000);
    assert_eq!(run.state().direction, Direction::Forward);
    let from = run.world.store.entries.len();
    run.world.faults.calls.clear();
    assert_eq!(run.finish(), Ended::RolledBack(Reason::WriteBlockExceeded));
    assert_eq!(since(&run, from), ["attach", "adopt", "resume"]);
}

#[test]
fn h36_never_once_the_volume_is_at_the_target_nor_behind_the_commit() {
    for effect in ["adopt", "resume"] {
        let mut run = blocked_past_the_limit(&two(), effect);
        let turned = run.state().undo.as_ref().map(|u| u.reason);
        assert_ne!(turned, Some(Reason::WriteBlockExceeded), "{effect}: it is at the target");
        run.world.faults.calls.clear();
        let ended = run.finish();
        assert_ne!(ended, Ended::RolledBack(Reason::WriteBlockExceeded), "{effect}");
    }
}

#[test]
fn h39_private_entries_take_no_public_sequence_and_public_ones_leave_no_gap() {
    let mut run = Run::start(&Setup::launched_target());
    assert_eq!(run.finish(), Ended::Moved);
    let entries = &run.world.store.entries;
    let public: Vec<u64> = entries.iter().filter_map(|e| e.public.as_ref()).map(|p| p.seq).collect();
    assert_eq!(public, (1..=u64::try_from(public.len()).expect("few")).collect::<Vec<_>>());
    assert!(entries.len() > 2 * public.len(), "most entries are nobody's business");
    assert_eq!(run.state().public_seq, *public.last().expect("there are some"));
}

#[test]
fn h40_behind_the_detach_both_snapshots_are_kept() {
    let mut run = at_open(&two(), "adopt");
    run.world.faults.probe_lies.insert(idle(1));
    assert_eq!(run.finish(), Ended::RolledBack(Reason::DataMismatch));
    assert_eq!(run.world.cloud.snapshots.len(), 2);
    assert!(run.world.cloud.snapshots.values().all(|s| !s.deleted), "{:?}", run.world.cloud.snapshots);
}

#[test]
fn h40_an_undo_does_not_wait_for_a_pending_snapshot() {
    let mut setup = two();
    setup.durations.safety = 5 * 3_600_000;
    let mut run = at(&setup, Stage::SafetySnapshot);
    run.until("the snapshot", |run| run.state().safety.is_some());
    run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    let from = run.world.now;
    assert_eq!(run.finish(), Ended::RolledBack(Reason::CanceledByRequest));
    assert!(run.world.now - from < 60_000, "{} ms", run.world.now - from);
}

#[test]
fn h31_permits_are_taken_before_the_gate_is_asked_for_and_given_back_at_every_end() {
    // Succeeded, rolled back, stuck.
    let held = |run: &Run| run.world.store.permits().values().filter(|holders| !holders.is_empty()).count();
    let mut moved = at(&two(), Stage::Gate);
    assert_eq!(held(&moved), 0);
    moved.until("the request", |run| run.state().gate.is_some());
    assert_eq!(held(&moved), 2, "of the account and of the group");
    let mut back = moved.clone();
    moved.until("its end", |run| run.state().opened_at.is_some());
    assert_eq!(held(&moved), 0, "not only when it is settled");
    back.until("its gate", |run| run.state().stage == Stage::DrainReads);
    back.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    back.until("its end", |run| run.state().end.is_some());
    assert_eq!(held(&back), 0);
    let mut stuck = at_open(&two(), "attach");
    stuck.world.faults.volume = Some(crate::world::faults::Shown::Foreign);
    assert_eq!(stuck.finish(), Ended::Stuck(Reason::ForeignHolder));
    assert_eq!(held(&stuck), 0);
}

#[test]
fn h32_a_foreign_row_turns_the_change_back_at_whatever_entry_it_refuses() {
    // Each stage's appends write rows of their own; the one that is refused first decides.
    for (stage, row) in [
        (Stage::Detach, fixture::volume().to_string()),
        (Stage::Attach, fixture::volume().to_string()),
        (Stage::Commit, fixture::graph().to_string()),
        (Stage::Commit, source().to_string()),
        (Stage::Commit, idle(1).to_string()),
    ] {
        let mut run = at(&two(), stage);
        run.world.faults.foreign_rows.insert(row.clone());
        turned_back(&mut run);
        let undo = run.state().undo.clone().expect("it turned back");
        assert_eq!(undo.reason, Reason::RegistryConflict, "{stage}, {row}");
        // If the way back is refused the same way a human is called, and nothing is tried behind their back.
        run.world.faults.foreign_rows.insert(fixture::volume().to_string());
        assert_eq!(run.clone().finish(), Ended::Stuck(Reason::RegistryConflict), "{stage}, {row}");
        run.world.faults.foreign_rows.clear();
        assert_eq!(run.finish(), Ended::RolledBack(Reason::RegistryConflict), "{stage}, {row}");
    }
}

#[test]
fn h32_a_lock_that_somebody_else_took_ends_nothing_and_calls_a_human() {
    let mut run = at(&two(), Stage::Commit);
    run.world.faults.foreign_rows.insert(keys::volume_lock(&fixture::volume()).pk);
    assert_eq!(run.finish(), Ended::Stuck(Reason::RegistryConflict));
    assert!(run.state().end.is_none() && run.alerts == [Reason::RegistryConflict]);
}

#[test]
fn f8_no_end_has_an_intent_without_a_result() {
    for run in [at_open(&two(), "detach"), at_open(&Setup::launched_target(), "launch")] {
        let mut run = run;
        assert!(run.machine.prepare(vec![Fact::Done], run.world.at()).is_err());
        assert!(run.machine.prepare(vec![Fact::Opened], run.world.at()).is_err());
        assert!(run.machine.prepare(vec![Fact::RolledBack], run.world.at()).is_err());
        run.finish();
        let mut open = 0_i32;
        for entry in &run.world.store.entries {
            match &entry.fact {
                Fact::Intent { .. } => open += 1,
                Fact::Outcome { outcome: Outcome::Done(_) | Outcome::Refused(_) | Outcome::Abandoned, .. } => open -= 1,
                Fact::Done => assert_eq!(open, 0),
                _ => {}
            }
        }
        assert!(matches!(run.state().place, Place::At { .. }));
    }
}
