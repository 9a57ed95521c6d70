//! The test of the test: every deliberate bug (`tiershift_core::mutant`) is found by the simulation, most within a few
//! histories. A new rule of the invariants that nothing can break, or a mutant that nothing meets, shows itself here.

use tiershift_core::mutant::Mutant;
use tiershift_sim::history::play;
use tiershift_sim::plan::Plan;
use tiershift_sim::shrink::shrink;

/// Histories in which a bug must be met.
const SEEDS: u64 = 200;

/// The first history that finds a bug.
fn found(mutant: Mutant) -> Option<u64> {
    (0..SEEDS).find(|seed| play(&Plan::of(*seed), Some(mutant)).violation.is_some())
}

/// Every second one, so that two cores share them.
fn all_are_found(half: usize) {
    let missed: Vec<&str> = Mutant::ALL
        .iter()
        .skip(half)
        .step_by(2)
        .filter(|mutant| {
            let seed = found(**mutant);
            println!("{}: {seed:?}", mutant.name());
            seed.is_none()
        })
        .map(|mutant| mutant.name())
        .collect();
    assert_eq!(missed, Vec::<&str>::new(), "deliberate bugs that no history found");
}

#[test]
fn the_first_half_of_the_bugs_is_found() {
    all_are_found(0);
}

#[test]
fn the_second_half_of_the_bugs_is_found() {
    all_are_found(1);
}

#[test]
fn a_broken_history_is_told_by_a_shorter_one() {
    let mutant = Mutant::SkipGateWait;
    let seed = (0..SEEDS).find(|seed| {
        let plan = Plan::of(*seed);
        plan.mishaps.len() > 2 && play(&plan, Some(mutant)).violation.is_some()
    });
    let plan = Plan::of(seed.expect("a long history finds it"));
    let outcome = play(&plan, Some(mutant));
    let rule = outcome.violation.as_ref().expect("broken").rule;
    let (short, told) = shrink(&plan, outcome, Some(mutant));
    assert!(short.mishaps.is_empty(), "no mishap is needed for this bug: {short}");
    assert_eq!(told.violation.expect("still broken").rule, rule);
    assert!(told.trace.last().is_some_and(|line| line.contains("BROKEN")), "the trace ends with what was broken");
}
