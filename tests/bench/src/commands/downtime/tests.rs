//! The bench's own code over a few seeds: that it measures what it says, not how long anything takes.

use super::histories;
use super::history::{Ended, History};
use super::orders::{self, Draws, Effect};
use super::report::{Report, stages};
use volume_core::stage::Stage;

/// Enough for both kinds of snapshot, and a few of each.
const SEEDS: u64 = 10;

/// What people and programs read of the last line.
const KEYS: [(&str, &[&str]); 3] = [
    (
        "ours",
        &["aborted_share", "blocked_p50_s", "blocked_p99_s", "offline_p50_s", "offline_p99_s", "reads_closed_p50_s"],
    ),
    ("predecessor", &["blocked_p50_s", "blocked_p99_s", "offline_p50_s", "offline_p99_s"]),
    ("limit", &["offline_p50_s", "offline_p99_s"]),
];

/// What no history can undercut: as the limit, but in the simulated cloud a call has its effect, and a read its view,
/// in the middle of its latency.
fn least_ms(draws: &Draws) -> u64 {
    let early = |effect: Effect| effect.call_ms.div_ceil(2) + effect.read_ms.div_ceil(2);
    orders::limit_ms(draws) - early(draws.detach) - early(draws.attach)
}

fn holds(history: &History) {
    let seed = history.seed;
    let draws = history.draws.expect("everything was drawn for a change that succeeded");
    let ms = |value: Option<i64>| u64::try_from(value.expect("it was measured")).expect("it is not negative");
    let (blocked, offline) = (ms(history.blocked_ms()), ms(history.offline_ms()));
    let reads_closed = ms(history.reads_closed_ms());
    assert!(offline >= least_ms(&draws), "seed {seed}: offline for less than was drawn: {history:?}");
    assert!(reads_closed >= offline + draws.drain_ms / 2, "seed {seed}: readers went too soon: {history:?}");
    assert!(blocked >= reads_closed + draws.drain_ms / 2, "seed {seed}: writers went too soon: {history:?}");
    let before = orders::predecessor(seed, &draws);
    assert!(before.blocked_ms > before.offline_ms && before.offline_ms > draws.launch_ms, "seed {seed}: {before:?}");
}

#[test]
fn a_report_is_coherent() {
    let all = histories(SEEDS, 2);
    assert_eq!(all[..2], histories(2, 1), "the same whatever the threads");
    assert!(all.iter().any(|history| history.ended == Ended::Succeeded));
    for history in &all {
        match history.ended {
            Ended::Succeeded => holds(history),
            // What was not reached was not measured either.
            Ended::Drain => assert!(!history.entered.contains_key(&Stage::Release), "{history:?}"),
            Ended::Otherwise => panic!("nothing else goes wrong by itself: {history:?}"),
        }
    }
    let json = Report::over(&all).json();
    for (order, keys) in KEYS {
        let found: Vec<&str> = json[order].as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(found, keys, "{order}");
        assert!(json[order].as_object().expect("an object").values().all(serde_json::Value::is_f64), "{json}");
    }
    let number = |order: &str, key: &str| json[order][key].as_f64().expect("a number");
    assert!(number("ours", "blocked_p99_s") >= number("ours", "blocked_p50_s"));
    assert!(number("ours", "blocked_p50_s") > number("ours", "reads_closed_p50_s"));
    assert!(number("ours", "reads_closed_p50_s") > number("ours", "offline_p50_s"));
    let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 100.0;
    let ratio = number("predecessor", "blocked_p50_s") / number("ours", "blocked_p50_s");
    assert!(near(json["blocked_ratio"].as_f64().expect("a ratio"), ratio), "{json}");
    let of_limit = number("limit", "offline_p50_s") / number("ours", "offline_p50_s");
    assert!(near(json["offline_of_limit"].as_f64().expect("a ratio"), of_limit), "{json}");
    assert_eq!(json["seeds"], SEEDS);
    let succeeded = all.iter().filter(|history| history.ended == Ended::Succeeded).count();
    assert_eq!(json["succeeded"], succeeded, "each of them was measured");
    let table = stages(&all);
    for name in ["lease", "drain_writes", "detach", "adopt", "blocked"] {
        assert!(table.lines().any(|line| line.starts_with(name)), "{name}:\n{table}");
    }
}

#[test]
fn a_history_without_its_draws_is_seen() {
    let succeeds = |history: &History| history.ended == Ended::Succeeded;
    let mut history = (1..=SEEDS).map(History::of).find(succeeds).expect("one succeeds");
    holds(&history);
    let offline_ms = u64::try_from(history.offline_ms().expect("it was offline")).expect("a duration");
    history.draws.as_mut().expect("its draws").stop_ms += offline_ms;
    let broken = std::panic::catch_unwind(|| holds(&history));
    assert!(broken.is_err(), "draws of another history pass for this one's");
}
