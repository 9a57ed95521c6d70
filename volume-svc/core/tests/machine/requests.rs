//! Requests from outside, and the fold's own refusals: what may not follow is an error and changes nothing.

use crate::world::driver::Run;
use crate::world::fixture::{self, Setup};
use tiershift_core::{Reason, UnixMs};
use volume_core::Machine;
use volume_core::fact::{Entry, Fact, Resume, SCHEMA, Side};
use volume_core::requests::Granted;
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::state::{Corrupt, Migration};

fn at(stage: Stage) -> Run {
    let mut run = Run::start(&Setup::idle_target());
    run.until(stage.name(), |run| run.state().stage == stage);
    run
}

#[test]
fn h10_a_gate_is_confirmed_once_by_its_id_before_its_deadline() {
    let mut run = at(Stage::Gate);
    let now = run.world.at();
    let refused = |run: &Run, id, now| run.machine.confirm_gate(id, now).map_err(|r| r.reason);
    assert_eq!(refused(&run, 1, now), Err(Reason::GateMismatch), "nothing was requested");
    run.until("the request", |run| run.state().gate.is_some());
    let gate = run.state().gate.clone().expect("requested");
    assert_eq!(refused(&run, gate.id + 1, run.world.at()), Err(Reason::GateMismatch));
    assert_eq!(refused(&run, gate.id, gate.deadline_at), Err(Reason::GateMismatch), "the deadline is too late");
    let last_moment = UnixMs(gate.deadline_at.0 - 1);
    assert!(matches!(refused(&run, gate.id, last_moment), Ok(Granted::Append(_))));
    run.until("the drain", |run| run.state().stage == Stage::DrainWrites);
    assert_eq!(refused(&run, gate.id, run.world.at()), Ok(Granted::Already));
    assert_eq!(refused(&run, gate.id + 1, run.world.at()), Err(Reason::GateMismatch));
}

#[test]
fn h10_confirm_and_abort_want_the_same_place_in_the_journal() {
    // H10: both are prepared over one head; the store takes one of them.
    let mut run = at(Stage::Gate);
    run.until("the request", |run| run.state().gate.is_some());
    let id = run.state().gate.as_ref().expect("requested").id;
    let at = run.world.at();
    let Ok(Granted::Append(confirm)) = run.machine.confirm_gate(id, at) else { panic!("it is open") };
    let Ok(Granted::Append(cancel)) = run.machine.cancel("user_a") else { panic!("it may be canceled") };
    let (confirm, cancel) = (run.machine.prepare(confirm, at), run.machine.prepare(cancel, at));
    let (confirm, cancel) = (confirm.expect("sound"), cancel.expect("sound"));
    assert_eq!(confirm.entries[0].seq, cancel.entries[0].seq);
    let worker = fixture::worker(1);
    let none = std::collections::BTreeSet::new();
    assert_eq!(run.world.store.append(&cancel, &worker, &none), Ok(()));
    let lost = run.world.store.append(&confirm, &worker, &none);
    assert_eq!(lost, Err(crate::world::store::Refused::Head));
    run.machine.caught_up(&cancel.entries).expect("it follows");
    let after = run.machine.confirm_gate(id, at).map_err(|r| r.reason);
    assert_eq!(after, Err(Reason::GateMismatch), "no gate opens by a late confirmation");
}

#[test]
fn a_request_that_needs_a_stuck_migration_says_so() {
    let run = at(Stage::Attach);
    let reason = |result: Result<Granted, volume_core::requests::Refused>| result.map_err(|r| r.reason);
    assert_eq!(reason(run.machine.resume(Resume::Retry, "op", "n")), Err(Reason::NotStuck));
    assert_eq!(reason(run.machine.hand_over(Side::Source, "op", "n")), Err(Reason::NotStuck));
}

#[test]
fn a_cancel_of_a_stuck_one_sets_it_going_on_the_way_back() {
    let mut run = at(Stage::DrainReads);
    let stuck = Fact::Stuck { reason: Reason::Internal, detail: "by hand".to_owned() };
    run.request(|_| Ok(Granted::Append(vec![stuck]))).expect("it can follow");
    let Ok(Granted::Append(facts)) = run.machine.cancel("user_a") else { panic!("nothing is detached") };
    let names: Vec<&str> = facts.iter().map(Fact::name).collect();
    assert_eq!(names, ["resumed", "undo_begun"]);
    assert!(run.machine.prepare(facts, run.world.at()).is_ok());
}

#[test]
fn a_take_over_is_above_every_fence() {
    let run = at(Stage::Gate);
    let fence = |wanted| match run.machine.take_over(&fixture::worker(2), wanted) {
        Fact::TakenOver { fence, .. } => fence,
        other => panic!("{other:?}"),
    };
    assert_eq!((fence(0), fence(1), fence(40)), (2, 2, 40));
}

fn entry(m: &Migration, fact: Fact) -> Entry {
    Entry { schema: SCHEMA, seq: m.seq + 1, at: UnixMs(9_999_999), fact, public: None }
}

#[test]
fn a_fact_that_cannot_follow_is_refused() {
    let order = |run: &Run, fact: Fact| {
        let mut state = run.state().clone();
        let prepared = run.machine.prepare(vec![fact.clone()], run.world.at());
        let raw = state.apply(&entry(run.state(), fact.clone()));
        assert!(raw.is_err(), "{fact:?} was taken");
        match prepared {
            Err(Corrupt::Order { why, .. }) => why,
            other => panic!("{fact:?}: {other:?}"),
        }
    };
    let gate = at(Stage::Gate);
    let undo = || Fact::UndoBegun { reason: Reason::Internal, detail: String::new(), by: None };
    assert_eq!(order(&gate, Fact::RolledBack), "it is not on its way back");
    assert_eq!(order(&gate, Fact::Opened), "the target does not serve");
    assert_eq!(order(&gate, Fact::Done), "the customer's part has not ended");
    assert_eq!(order(&gate, Fact::Committed { private_ip: String::new() }), "the target has not adopted the volume");
    assert_eq!(order(&gate, Fact::GateConfirmed { gate_id: 3 }), "another gate is open");
    assert_eq!(order(&gate, Fact::TakenOver { worker: fixture::worker(2), fence: 1 }), "a fence only grows");
    let resumed = Fact::Resumed { action: Resume::Retry, by: String::new(), note: String::new() };
    assert_eq!(order(&gate, resumed), "it is not stuck");
    let open = at(Stage::DrainWrites);
    let mut open = open;
    open.until("its intent", |run| run.state().open.is_some());
    assert_eq!(order(&open, Fact::Entered { stage: Stage::Attach }), "an intent is open");
    let mut committed = at(Stage::Open);
    assert_eq!(order(&committed, undo()), "there is no way back behind the commit");
    committed.finish();
    assert_eq!(order(&committed, undo()), "the migration has ended");
    let mut stuck = at(Stage::Detach);
    stuck.world.faults.volume = Some(crate::world::faults::Shown::Twice);
    stuck.finish();
    assert_eq!(order(&stuck, undo()), "only an operator moves it on");
}

#[test]
fn a_journal_of_another_version_or_with_a_gap_does_not_load() {
    let run = at(Stage::Gate);
    let entries = &run.world.store.entries;
    let load = |entries: &[Entry]| {
        Machine::load(&fixture::change(), entries, Settings::default(), run.world.at()).map(|m| m.state)
    };
    assert_eq!(load(entries).as_ref(), Ok(run.state()));
    let mut newer = entries.clone();
    newer[3].schema = SCHEMA + 1;
    assert!(matches!(load(&newer), Err(Corrupt::Schema { seq: 4, .. })));
    let mut gap = entries.clone();
    gap.remove(3);
    assert!(matches!(load(&gap), Err(Corrupt::Sequence { expected: 4, found: 5 })));
    let mut silent = entries.clone();
    silent[0].public = None;
    assert!(load(&silent).is_err(), "a public fact without its event");
}

#[test]
fn what_is_caught_up_wrongly_is_not_taken_by_half() {
    let mut run = at(Stage::Gate);
    let before = run.state().clone();
    let fact = run.machine.take_over(&fixture::worker(2), 5);
    let good = run.machine.prepare(vec![fact], run.world.at()).expect("sound").entries.remove(0);
    let bad = Entry { seq: good.seq + 5, ..good.clone() };
    assert!(run.machine.caught_up(&[good, bad]).is_err());
    assert_eq!(*run.state(), before);
}

#[test]
fn a_journal_survives_its_serialised_form() {
    let mut run = Run::start(&Setup::launched_target());
    run.finish();
    let text = serde_json::to_string(&run.world.store.entries).expect("it can be written");
    let entries: Vec<Entry> = serde_json::from_str(&text).expect("it can be read");
    assert_eq!(entries, run.world.store.entries);
    let state = serde_json::to_string(run.state()).expect("the state too");
    assert_eq!(serde_json::from_str::<Migration>(&state).expect("and back"), *run.state());
}
