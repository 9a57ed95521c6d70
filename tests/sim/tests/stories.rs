//! What the simulation once found, each as the shortest history that showed it.

use cloud_sim::faults::Fault;
use tiershift_sim::history::{Outcome, play};
use tiershift_sim::plan::{Mishap, Plan, Wanted, What};

fn played(graph: &'static str, tier: &'static str, calm_ms: u64, mishap: Mishap) -> Outcome {
    let wanted = Wanted { graph, tier, at_ms: 0, cancel_after_ms: None, payments: None };
    let plan = Plan { seed: 34, processes: 1, calm_ms, changes: vec![wanted], mishaps: vec![mishap] };
    play(&plan, None)
}

/// The COMMIT of the acceptance had no answer, so nobody was woken for what it owes, and the change was never begun.
#[test]
fn a_change_whose_acceptance_lost_its_answer_is_begun() {
    let mut lost = 0;
    for seed in 0..8 {
        let what = What::UnrulySubscription { transactions: 1, seed };
        let outcome = played("upgrade-idle", "ladybug-large", 420_000, Mishap { at_ms: 0, what });
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert_eq!(outcome.committed, 1, "seed {seed}");
        lost += usize::from(outcome.trace.iter().any(|line| line.contains("behaves badly")));
    }
    assert_eq!(lost, 8, "every one met its lot");
}

/// A clean-up that was stuck behind Opened read as a migration past its gate, and the gate of a healthy graph was closed.
#[test]
fn a_stuck_clean_up_leaves_the_graph_its_writes() {
    let fault = Fault::LostAnswerBefore { api: "DeleteSnapshot".to_owned() };
    let siege = Mishap { at_ms: 100_000, what: What::Siege { fault } };
    let outcome = played("downgrade", "ladybug-standard", 3_000_000, siege);
    assert_eq!(outcome.violation, None);
    assert_eq!((outcome.committed, outcome.stuck, outcome.left_stuck.len()), (1, 1, 0));
    let attention = outcome.trace.iter().find(|line| line.contains("NeedsAttention"));
    assert_eq!(attention, None, "the change has ended, whatever the clean-up does");
}
