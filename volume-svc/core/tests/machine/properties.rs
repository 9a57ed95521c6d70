//! Random lives: up to eight faults at random moments of whole migrations. Every one ends, and what `driver.rs`
//! checks at every step (invariants, replay, what `next` proposes can be prepared, a restart repeats its call) holds.
//!
//! The draws are the same in every run: a failure here is a defect, never bad luck.

use crate::places;
use crate::world::driver::{Ended, Run, Step};
use crate::world::faults::Fate;
use crate::world::fixture::{self, Durations, Setup};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use tiershift_core::Reason;
use volume_core::effect::Trouble;
use volume_core::fact::Resume;

/// One thing that goes wrong.
#[derive(Clone, Debug)]
enum Fault {
    /// The next call of the open effect.
    Call(Fate),
    /// So many reads of the volume are so old.
    Stale(u32, i64),
    /// Attaches and detaches take so many times longer.
    Slow(i64),
    /// An agent does not answer for so long.
    Silent { source: bool, for_ms: i64 },
    /// The target's instance ends.
    TargetDies,
    /// The source's instance ends, perhaps with what its engine had not flushed.
    SourceDies { log_is_lost: bool },
    /// The target cannot mount.
    AdoptFails,
    /// A customer changes their mind.
    Cancel,
    /// The driver dies; another takes over.
    Crash,
    /// The driver dies while its call is under way, to arrive later.
    CrashDuringCall(i64),
    /// The other service says it again, or says something wrong.
    ConfirmAgain(u64),
    /// Somebody else writes to the graph's row for so long.
    ForeignRow { for_ms: i64 },
}

fn fault() -> impl Strategy<Value = Fault> {
    let fate = prop_oneof![
        Just(Fate::LostBefore),
        Just(Fate::LostAfter),
        (1_000_i64..90_000).prop_map(Fate::Late),
        Just(Fate::Refuse(Trouble::Throttled)),
        Just(Fate::Refuse(Trouble::IncorrectState)),
        Just(Fate::Refuse(Trouble::Permanent)),
    ];
    prop_oneof![
        6 => fate.prop_map(Fault::Call),
        2 => (1_u32..6, 500_i64..5_000).prop_map(|(times, lag_ms)| Fault::Stale(times, lag_ms)),
        1 => (2_i64..40).prop_map(Fault::Slow),
        2 => (any::<bool>(), 1_000_i64..120_000).prop_map(|(source, for_ms)| Fault::Silent { source, for_ms }),
        1 => Just(Fault::TargetDies),
        1 => any::<bool>().prop_map(|log_is_lost| Fault::SourceDies { log_is_lost }),
        1 => Just(Fault::AdoptFails),
        2 => Just(Fault::Cancel),
        4 => Just(Fault::Crash),
        3 => (1_000_i64..120_000).prop_map(Fault::CrashDuringCall),
        1 => (0_u64..40).prop_map(Fault::ConfirmAgain),
        1 => (1_000_i64..60_000).prop_map(|for_ms| Fault::ForeignRow { for_ms }),
    ]
}

/// A whole life.
#[derive(Clone, Debug)]
struct Life {
    idle: u32,
    source_min: i64,
    target_min: i64,
    /// At which step what happens. A quiet life has some two hundred steps.
    faults: BTreeMap<u32, Fault>,
}

fn life() -> impl Strategy<Value = Life> {
    let faults = prop::collection::btree_map(0_u32..220, fault(), 0..8);
    (0_u32..4, 0_i64..2, 0_i64..2, faults).prop_map(|(idle, source_min, target_min, faults)| Life {
        idle,
        source_min,
        target_min,
        faults,
    })
}

fn setup(life: &Life) -> Setup {
    places::brief(Setup {
        idle: (1..=life.idle).map(fixture::idle).collect(),
        source_min: life.source_min,
        target_min: life.target_min,
        ..Setup::idle_target()
    })
}

/// What ends by itself, and when.
#[derive(Default)]
struct Passing {
    silent: Vec<(i64, tiershift_core::ids::InstanceId)>,
    foreign: Option<i64>,
}

fn strike(run: &mut Run, fault: &Fault, passing: &mut Passing) {
    let now = run.world.now;
    let open = run.state().open.as_ref().map(|o| o.effect.name());
    let target = run.state().target.as_ref().map(|t| t.instance.clone());
    match fault {
        Fault::Call(fate) => {
            if let Some(name) = open {
                run.world.faults.once(name, *fate);
            }
        }
        Fault::Stale(times, lag_ms) => run.world.faults.stale = Some((*times, *lag_ms)),
        Fault::Slow(times) => {
            run.world.durations.attach = 2_000 * times;
            run.world.durations.detach = 2_500 * times;
        }
        Fault::Silent { source, for_ms } => {
            if let Some(agent) = if *source { Some(fixture::source()) } else { target } {
                run.world.faults.silent.entry(agent.clone()).or_insert(now);
                passing.silent.push((now + for_ms, agent));
            }
        }
        Fault::TargetDies => {
            if let Some(target) = target {
                run.world.kill(&target);
            }
        }
        Fault::SourceDies { log_is_lost } => {
            run.world.faults.log_is_lost = *log_is_lost;
            run.world.kill(&fixture::source());
        }
        Fault::AdoptFails => run.world.faults.adopt_fails.extend(target),
        Fault::Cancel => {
            let _ = run.request(|machine| machine.cancel("user_a"));
        }
        Fault::Crash => run.crash(),
        Fault::CrashDuringCall(ms) => {
            if let Some(name) = open {
                run.world.faults.once(name, Fate::Late(*ms));
                run.call_unheard();
            }
            run.crash();
        }
        Fault::ConfirmAgain(gate_id) => {
            let at = run.world.at();
            let real = run.state().gate.as_ref().map(|g| g.id);
            // A wrong one is drawn too; the right one only repeats what was confirmed.
            if real != Some(*gate_id) || run.state().gate.as_ref().is_some_and(|g| g.confirmed_at.is_some()) {
                let before = run.state().clone();
                let _ = run.request(|machine| machine.confirm_gate(*gate_id, at));
                assert_eq!(before, *run.state(), "a wrong or repeated confirmation changed something");
            }
        }
        Fault::ForeignRow { for_ms } => {
            run.world.faults.foreign_rows.insert(fixture::graph().to_string());
            passing.foreign = Some(now + for_ms);
        }
    }
}

fn pass(run: &mut Run, passing: &mut Passing) {
    let now = run.world.now;
    for (until, agent) in &passing.silent {
        if now >= *until {
            run.world.faults.answers(agent, now);
        }
    }
    passing.silent.retain(|(until, _)| now < *until);
    if passing.foreign.is_some_and(|until| now >= until) {
        run.world.faults.foreign_rows.clear();
        passing.foreign = None;
    }
}

fn live(life: &Life) -> (Run, Ended) {
    let mut run = Run::start(&setup(life));
    run.note = format!("{life:?}");
    let mut passing = Passing::default();
    let mut n = 0;
    loop {
        if let Some(fault) = life.faults.get(&n)
            && !run.state().is_over()
        {
            strike(&mut run, fault, &mut passing);
        }
        n += 1;
        pass(&mut run, &mut passing);
        let step = run.step();
        let more = life.faults.range(n..).next().is_some();
        match step {
            Step::Over => {
                let ended = run.finish();
                return (run, ended);
            }
            // What strikes a stuck one (a take-over, a cancel) is drawn too.
            Step::Idle if !more && passing.silent.is_empty() && passing.foreign.is_none() => {
                let ended = run.finish();
                return (run, ended);
            }
            _ => {}
        }
    }
}

/// What an operator does: mends the world and says "retry".
fn mend(run: &mut Run) -> Ended {
    run.world.faults = crate::world::faults::Faults::default();
    run.world.durations = Durations::default();
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "mended")).expect("it is stuck");
    run.finish()
}

/// Whether the world could be mended at all.
fn both_live(run: &Run) -> bool {
    let lives = |id: &tiershift_core::ids::InstanceId| {
        run.world.cloud.instances.get(id).is_some_and(|i| i.life == crate::world::cloud::Life::Running)
    };
    let target = run.state().target.as_ref().is_none_or(|t| lives(&t.instance));
    (lives(&fixture::source()) || run.state().end.is_some()) && target
}

#[test]
fn every_life_ends_well_or_stuck_with_everything_held_together() {
    let cases = std::env::var("MACHINE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ends = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let result = runner.run(&life(), |life| {
        let (mut run, ended) = live(&life);
        *ends.borrow_mut().entry(format!("{ended:?}")).or_default() += 1;
        if run.state().home.is_some() {
            *ends.borrow_mut().entry("with another in the source's place".to_owned()).or_default() += 1;
        }
        if let Ended::Stuck(reason) = ended
            && both_live(&run)
        {
            // A human can always be of help, unless what they would have to mend is not in this world.
            let after = mend(&mut run);
            let hopeless = matches!(after, Ended::Stuck(Reason::AttachFailed | Reason::SourceLost));
            prop_assert!(
                !matches!(after, Ended::Stuck(_)) || hopeless,
                "stuck for {reason}, mended, and then {after:?}: {}",
                run.describe()
            );
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let ends = ends.into_inner();
    println!("{ends:#?}");
    for end in ["Moved", "RolledBack(CanceledByRequest)", "RolledBack(SourceLost)"] {
        assert!(ends.get(end).is_some_and(|n| *n > 3), "the draws never end {end}: {ends:?}");
    }
}
