//! Whole migrations whose volume is moved by the volume manager function, with the real binaries: what the function is
//! asked, when it must not be used at all, and what a late or doubled run cannot do.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed test is the report")]

#[allow(dead_code, reason = "shared with other tests, which use the rest")]
#[path = "stack/stage.rs"]
mod stage;

use cloud_sim::seed::VOLUME_FUNCTION;
use serde_json::{Value, json};
use stage::Stage;

/// The function's time limit, and so how long the driver waits before a step against an unanswered call.
const LIMIT_MS: i64 = 60_000;

async fn begin() -> Stage {
    let mut stage = Stage::begin().await;
    let function = ["--volume-ops", "lambda", "--volume-function-name", VOLUME_FUNCTION];
    let limit = (LIMIT_MS / 1_000).to_string();
    let args: Vec<&str> = function.into_iter().chain(["--volume-function-timeout-s", limit.as_str()]).collect();
    stage.restart_volume(&args).await;
    stage
}

/// Calls of one action, oldest first.
fn of<'a>(ledger: &'a [Value], action: &str) -> Vec<&'a Value> {
    ledger.iter().filter(|e| e["action"] == action).collect()
}

/// What the function was asked to do, in order, without the questions about itself.
fn asked(ledger: &[Value]) -> Vec<&str> {
    let actions = of(ledger, "Invoke").into_iter().map(|e| e["parameters"]["action"].as_str().expect("a word"));
    actions.filter(|action| *action != "describe").collect()
}

fn at_ms(entry: &Value) -> i64 {
    entry["at_ms"].as_i64().expect("a time")
}

#[tokio::test]
async fn a_change_moves_its_volume_by_the_function_alone() {
    let stage = begin().await;
    let run = stage.demo(&[]).await;
    assert_eq!(run.status, 0, "{run:#?}");
    assert_eq!(run.summary["writes"]["missing"], 0);
    let ledger = stage.everything().await;
    let actions = ["snapshot_for_upgrade", "snapshot_for_upgrade", "detach_volume", "attach_volume"];
    assert_eq!(asked(&ledger), actions);
    // EC2 saw what the function did, and nothing beside it.
    for (action, times) in [("CreateSnapshot", 2), ("DetachVolume", 1), ("AttachVolume", 1)] {
        assert_eq!(of(&ledger, action).len(), times, "{action}");
    }
}

/// H17: nothing is begun with a function that lacks the contract.
#[tokio::test]
async fn the_old_function_is_refused_before_anything_is_begun() {
    let stage = begin().await;
    stage.fault(json!({ "fault": "function_is_old" })).await;
    let summary = stage.refused("upgrade-2", "ladybug-large").await;
    let violations = summary["violations"].as_array().expect("violations");
    assert_eq!(violations.len(), 1, "{summary}");
    assert_eq!(violations[0]["reason"], "LAMBDA_UNSUPPORTED");
    assert!(violations[0]["fix"].as_str().expect("a text").contains(VOLUME_FUNCTION), "{summary}");
    assert_eq!(asked(&stage.everything().await), Vec::<&str>::new());
}

/// Each of the three calls is run again a minute later by Lambda itself: the volume stays where it is.
#[tokio::test]
async fn doubled_runs_are_harmless() {
    let stage = begin().await;
    let actions = ["snapshot_for_upgrade", "detach_volume", "attach_volume"];
    for action in actions {
        stage.fault(json!({ "fault": "function_runs_twice", "action": action })).await;
    }
    let run = stage.demo(&[]).await;
    assert_eq!(run.status, 0, "{run:#?}");
    let last = at_ms(of(&stage.everything().await, "AttachVolume")[0]);
    let run_again = last + i64::try_from(cloud_sim::lambda::AGAIN_MS).expect("a time");
    stage.until("the last run's time", async |stage| stage.now_ms().await > run_again).await;
    let ledger = stage.everything().await;
    for (action, times) in [("CreateSnapshot", 2), ("DetachVolume", 1), ("AttachVolume", 1)] {
        assert_eq!(of(&ledger, action).len(), times, "{action}");
    }
    let summary = &run.summary;
    let audit: Value = stage
        .cloud()
        .get(&format!("/sim/audit/{}", summary["graph_id"].as_str().expect("a graph")))
        .await
        .expect("an audit");
    assert_eq!(audit["missing_count"], 0);
    assert!(audit["open_on"].is_string(), "the engine has the volume: {audit}");
}

/// The detach gets no answer and happens later. The attach is its opposite, and waits until no run of it can come.
#[tokio::test]
async fn no_opposite_step_is_made_while_an_unanswered_call_may_still_run() {
    let stage = begin().await;
    let run = stage.demo(&["--fault", "function_runs_late:detach_volume"]).await;
    assert_eq!(run.status, 0, "{run:#?}");
    let ledger = stage.everything().await;
    assert_eq!(of(&ledger, "DetachVolume").iter().filter(|e| e["outcome"] == "ok").count(), 1);
    let unanswered = |e: &&&Value| e["parameters"]["action"] == "detach_volume" && !e["lost"].is_null();
    let invokes = of(&ledger, "Invoke");
    let last = invokes.iter().filter(unanswered).map(|e| at_ms(e)).max().expect("an unanswered call");
    let attach = of(&ledger, "AttachVolume").first().map(|e| at_ms(e)).expect("an attach");
    assert!(attach >= last + LIMIT_MS, "only {} ms behind the last call", attach - last);
}

#[tokio::test]
async fn a_function_without_a_name_is_a_fault_of_the_command_line() {
    let output = stage::binary("volume-svc")
        .args(["--dev", "--volume-ops", "lambda", "--volume-function-timeout-s", "5", "--environment", "Dev"])
        .output()
        .await
        .expect("it runs");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    for fault in ["--volume-function-name", "--volume-function-timeout-s", "--environment"] {
        assert!(words.contains(fault), "{fault}: all at once in {words}");
    }
}
