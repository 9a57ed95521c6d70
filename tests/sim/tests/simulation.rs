//! The simulation itself: histories that break nothing, by the command that people use; and that a seed is one history.
//! That deliberate bugs are found is in `mutants.rs`.

use std::process::Command;
use tiershift_sim::history::play;
use tiershift_sim::plan::Plan;

/// `./x sim --seeds 200 --json`, as in every run of the tests.
#[test]
fn two_hundred_histories_break_nothing_and_meet_every_end() {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(["--seeds", "200", "--json"]).output().expect("sim runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let last = printed.lines().last().expect("a last line");
    let report: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let count = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key} in {report}"));
    assert_eq!((count("seeds"), count("violations")), (200, 0), "{report}");
    for met in ["events", "crashes", "faults", "committed", "rolled_back", "stuck"] {
        assert!(count(met) > 0, "no history met {met}: {report}");
    }
    // An operator's retry ends what was stuck once its cause is mended; but for data that died with a host, over which
    // no door is opened without a person's word.
    let by_reason = report["left_stuck_by"].as_object().expect("reasons");
    assert!(by_reason.keys().all(|reason| reason == "DATA_MISMATCH"), "a retry did not end it: {report}");
    assert!(count("left_stuck") < count("stuck"), "{report}");
}

#[test]
fn a_seed_is_one_history() {
    for seed in [4, 15] {
        let plan = Plan::of(seed);
        let (first, second) = (play(&plan, None), play(&plan, None));
        assert!(first.events > 1_000, "a history worth the name");
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
    assert_ne!(play(&Plan::of(4), None).trace, play(&Plan::of(5), None).trace);
}

#[test]
fn a_panic_is_a_broken_rule_and_ends_one_history() {
    let mut plan = Plan::of(4);
    plan.changes[0].graph = "a graph that nobody has";
    assert_eq!(play(&plan, None).violation.map(|violation| violation.rule), Some("panic"));
}

#[test]
fn wrong_usage_says_so() {
    for wrong in [&["--seed", "1", "--seeds", "2"][..], &["--mutant", "nonsense"], &["--seeds", "many"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(wrong).output().expect("sim runs");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty(), "{wrong:?}");
    }
}
