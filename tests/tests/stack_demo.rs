//! The demo as a user runs it: the real binary, a real stack, JSON and exit status read from outside.
//!
//! What it must show: the order of events, the times of the blocked window, every refusal with all its violations, the
//! ends of faults and cancels, the money, and the exact list of AWS calls that one change makes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed test is the report")]

#[allow(dead_code, reason = "shared with other tests, which use the rest")]
#[path = "stack/stage.rs"]
mod stage;

use serde_json::Value;
use stage::{Demo, Stage, demo};

/// Bounds of the blocked window at `--speed 40`, in simulated milliseconds: the stated limits of the demo, not a
/// measurement (those are ratios, and in the bench).
const BLOCKED_MS_MAX: i64 = 75_000;
const OFFLINE_MS_MAX: i64 = 45_000;

const EVENT_KEYS: [&str; 12] = [
    "at_ms",
    "change_id",
    "detail",
    "direction",
    "eta_ms",
    "message",
    "permille",
    "reads",
    "seq",
    "source",
    "stage",
    "writes",
];

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// Positions of the events of these stages, in the order asked for.
fn position(run: &Demo, stage: &str, message: &str) -> usize {
    let found = run.events.iter().position(|e| e["stage"] == stage && e["message"].as_str().unwrap().contains(message));
    found.unwrap_or_else(|| panic!("no event {stage}: {message} in {:#?}", run.events))
}

#[tokio::test]
async fn it_succeeds_and_nothing_slow_happens_while_writes_are_blocked() {
    let run = demo(&["--speed", "40", "--json"]).await;
    assert_eq!(run.status, 0, "{run:#?}");
    for (i, event) in run.events.iter().enumerate() {
        let keys: Vec<&str> = event.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, EVENT_KEYS);
        assert_eq!(number(&event["seq"]), i64::try_from(i).unwrap() + 1, "{event}");
    }
    let summary = &run.summary;
    assert_eq!(summary["result"], "succeeded");
    assert_eq!(number(&summary["events"]), i64::try_from(run.events.len()).unwrap());
    assert_eq!(summary["violations"], Value::Array(Vec::new()));
    let (blocked, offline) = (number(&summary["writes_blocked_ms"]), number(&summary["offline_ms"]));
    assert!((1..BLOCKED_MS_MAX).contains(&blocked), "{summary}");
    assert!((1..OFFLINE_MS_MAX).contains(&offline), "{summary}");

    // The graph's zone has no idle target, so one is launched, and the snapshot is waited for: both before the gate.
    let closed = run.events.iter().position(|e| e["writes"] == "closed").expect("writes are closed");
    let opened = position(&run, "open", "serves on its new instance");
    for slow in ["safety_snapshot", "capacity"] {
        let last = run.events.iter().rposition(|e| e["stage"] == slow).expect("the slow stage is shown");
        assert!(last < closed, "{slow} lies in the blocked window");
    }
    assert!(closed < opened);
    let gate = position(&run, "gate", "everything slow is done");
    assert_eq!(run.events[gate]["detail"]["target_launched"], "true");
    let in_window = |e: &Value| matches!(e["stage"].as_str(), Some("preflight" | "safety_snapshot" | "capacity"));
    assert!(!run.events[closed..=opened].iter().any(in_window));

    let writes = &summary["writes"];
    assert!(number(&writes["acknowledged"]) > 0 && number(&writes["refused_at_gate"]) > 0, "{writes}");
    assert_eq!(number(&writes["missing"]), 0);
}

#[tokio::test]
async fn for_people_it_draws_lines_and_ends_with_what_happened() {
    let stage = Stage::begin().await;
    let graph = stage.graph("upgrade-idle");
    let output = stage.run("tiershift-dev", &["demo", "--data", &stage.data(), "--graph", &graph]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("drain_writes") && text.contains("writes closed"), "{text}");
    assert!(text.contains("succeeded:") && text.contains("0 missing"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour on a pipe");
}

#[tokio::test]
async fn attach_fails_ends_failed_with_the_source_serving_and_net_money_zero() {
    let stage = Stage::begin().await;
    let run = stage.demo(&["--fault", "attach_fails"]).await;
    assert_eq!(run.status, 4, "{run:#?}");
    assert_eq!(run.summary["result"], "failed");
    assert_eq!(run.summary["reason"], "ATTACH_FAILED");
    assert_eq!(number(&run.summary["writes"]["missing"]), 0);
    let last = run.events.last().expect("events");
    assert_eq!((&last["reads"], &last["writes"]), (&Value::from("open"), &Value::from("open")));
    assert!(run.events.iter().any(|e| e["direction"] == "undo"));
    // The source serves: the customer's next write is acknowledged there.
    let graph = run.summary["graph_id"].as_str().expect("a graph").to_owned();
    let row = stage.get_graph(&graph).await;
    assert_eq!(row.tier, "ladybug-standard");
    stage
        .cloud()
        .post::<Value>(
            &format!("/engine/{}/{graph}/write", stage.instance(&graph)),
            &serde_json::json!({ "write_id": 7 }),
        )
        .await
        .expect("the source takes a write");
    let (charged, net) = stage.money(run.change_id());
    assert!(charged > 0, "nothing was charged, so nothing was given back");
    assert_eq!(net, 0);
}

#[tokio::test]
async fn a_skipped_unmount_is_noticed_and_the_lost_writes_are_counted() {
    let run = demo(&["--speed", "40", "--json", "--fault", "agent_skips_unmount"]).await;
    assert_eq!(run.status, 5, "{run:#?}");
    assert_eq!(run.summary["result"], "needs_attention");
    assert!(number(&run.summary["writes"]["missing"]) > 0, "{}", run.summary);
    let noticed = run.events.iter().any(|e| e["detail"]["reason"] == "DATA_MISMATCH");
    assert!(noticed, "{:#?}", run.events);
    // Nothing opened a gate over lost data.
    assert_eq!(run.events.last().expect("events")["writes"], "closed");
}

#[tokio::test]
async fn cancel_works_while_the_snapshot_is_taken() {
    let run = demo(&["--speed", "40", "--json", "--cancel-at", "safety_snapshot"]).await;
    canceled(&run);
    assert_eq!(number(&run.summary["writes_blocked_ms"]), 0, "no write was refused");
}

#[tokio::test]
async fn cancel_works_while_reads_are_drained() {
    let run = demo(&["--speed", "40", "--json", "--cancel-at", "drain_reads"]).await;
    canceled(&run);
    assert!(number(&run.summary["writes_blocked_ms"]) > 0);
}

fn canceled(run: &Demo) {
    assert_eq!(run.status, 4, "{run:#?}");
    assert_eq!(run.summary["result"], "canceled");
    assert_eq!(number(&run.summary["writes"]["missing"]), 0);
    let last = run.events.last().expect("events");
    assert_eq!((&last["reads"], &last["writes"]), (&Value::from("open"), &Value::from("open")), "{last}");
    assert_eq!(number(&run.summary["offline_ms"]), 0);
}

#[tokio::test]
async fn every_refusal_says_every_violation() {
    let stage = Stage::begin().await;
    let cases: [(&str, &str, &[&str]); 9] = [
        ("upgrade-2", "ladybug-huge", &["UNKNOWN_TIER"]),
        ("upgrade-2", "ladybug-standard", &["SAME_TIER"]),
        ("five-subgraphs", "ladybug-standard", &["TOO_MANY_SUBGRAPHS"]),
        ("too-much-data", "ladybug-standard", &["STORAGE_EXCEEDS_LIMIT"]),
        ("shared-volume-1", "ladybug-large", &["VOLUME_SHARED"]),
        ("upgrade-2", "ladybug-xlarge", &["NO_CAPACITY"]),
        ("past-due", "ladybug-large", &["SUBSCRIPTION_NOT_ACTIVE"]),
        ("suspended", "ladybug-large", &["SUBSCRIPTION_NOT_ACTIVE", "GRAPH_NOT_ACTIVE"]),
        ("shared-repository", "ladybug-large", &["SHARED_REPOSITORY"]),
    ];
    for (name, tier, reasons) in cases {
        let summary = stage.refused(name, tier).await;
        assert_eq!(reasons_of(&summary), reasons, "{name} to {tier}: {summary}");
    }
    let five = stage.refused("five-subgraphs", "ladybug-standard").await;
    assert_eq!(five["violations"][0]["fix"], "delete 2 subgraphs");

    // Two faults of different services at once: a change that runs, and a group without room.
    let graph = stage.graph("upgrade-3");
    let begun = stage.tierctl(&["--json", "tier", "change", &graph, "ladybug-large"]).await;
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    let both = stage.refused("upgrade-3", "ladybug-xlarge").await;
    assert_eq!(reasons_of(&both), ["CHANGE_ACTIVE", "NO_CAPACITY"], "{both}");
    // A stranger cannot tell a foreign graph from a missing one.
    let stranger = "mallory;org_elsewhere=owner";
    let foreign = stage.tierctl(&["--json", "--as", stranger, "tier", "change", &graph, "ladybug-large"]).await;
    let missing =
        stage.tierctl(&["--json", "--as", stranger, "tier", "change", "kg0000000000000000", "ladybug-large"]).await;
    assert_eq!((foreign.status.code(), missing.status.code()), (Some(3), Some(3)));
    let words = |o: &std::process::Output| {
        String::from_utf8_lossy(&o.stdout).replace(&graph, "G").replace("kg0000000000000000", "G")
    };
    assert_eq!(words(&foreign), words(&missing));
}

fn reasons_of(summary: &Value) -> Vec<&str> {
    summary["violations"]
        .as_array()
        .expect("violations")
        .iter()
        .map(|v| v["reason"].as_str().expect("a word"))
        .collect()
}

/// The mutating calls of one change, in order, each once, and the kinds of read beside them.
#[tokio::test]
async fn the_clouds_ledger_of_one_change_equals_the_kept_list() {
    let stage = Stage::begin().await;
    let run = stage.demo(&[]).await;
    assert_eq!(run.status, 0, "{run:#?}");
    let kept = include_str!("stack/ledger.txt");
    let ledger = stage.ledger_until("CreateTags").await;
    let (reads, writes): (Vec<&Value>, Vec<&Value>) =
        ledger.iter().partition(|e| e["action"].as_str().expect("a word").starts_with("Describe"));
    let mut lines: Vec<String> = writes.iter().map(|e| stage::line(e)).collect();
    let mut kinds: Vec<String> = reads.iter().map(|e| stage::line(e)).collect();
    kinds.sort();
    kinds.dedup();
    lines.push("--".to_owned());
    lines.extend(kinds);
    assert_eq!(lines.join("\n"), kept.trim_end(), "the ledger differs from tests/tests/stack/ledger.txt");
}

#[tokio::test]
async fn wrong_usage_is_said_before_anything_is_begun() {
    for args in
        [&["--speed", "0"][..], &["--fault", "gremlins"], &["--fault", "throttle"], &["--graph", "nonsense", "--json"]]
    {
        let output = stage::binary("tiershift-dev").arg("demo").args(args).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}
