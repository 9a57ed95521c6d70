//! A migration that needs a human, on the real stack: the topic gets exactly one alert, also when the process that
//! raised it dies.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed test is the report")]

#[allow(dead_code, reason = "shared with other tests, which use the rest")]
#[path = "stack/stage.rs"]
mod stage;

use serde_json::{Value, json};
use stage::Stage;

/// What was published so far, with the messages read.
async fn published(stage: &Stage) -> Vec<Value> {
    let page: Value = stage.cloud().get("/sim/published").await.expect("the topic's messages");
    let mut messages = page["messages"].as_array().expect("a list").clone();
    for message in &mut messages {
        let text = message["message"].as_str().expect("a text").to_owned();
        message["message"] = serde_json::from_str(&text).expect("JSON");
    }
    messages
}

#[tokio::test]
async fn a_stuck_migration_is_told_once_however_often_its_driver_is_started() {
    let mut stage = Stage::begin().await;
    let run = stage.demo(&["--fault", "agent_skips_unmount"]).await;
    assert_eq!(run.status, 5, "{run:#?}");
    stage.until("an alert", async |stage| !published(stage).await.is_empty()).await;
    let messages = published(&stage).await;
    let [message] = messages.as_slice() else { panic!("{messages:#?}") };
    let told = &message["message"];
    assert_eq!((&told["kind"], &told["reason"]), (&json!("undo_failed"), &json!("DATA_MISMATCH")), "{message:#}");
    assert_eq!(message["attributes"], json!({ "kind": "undo_failed", "environment": "dev" }));
    assert_eq!(told["migration_id"], run.change_id());
    assert_eq!(told["graph_id"], run.summary["graph_id"]);
    assert!(told["next_step"].as_str().expect("a text").contains("hand-over"), "{message:#}");

    // One that dies between the publishing and its mark tells it twice, rather than never: not the matter here.
    stage.until("the mark", async |stage| stage.volume_log().contains("is marked as published")).await;
    // The process is killed: the next one takes over, finds the migration stuck, and finds it told.
    stage.restart_volume(&[]).await;
    stage.until("the next driver's look", async |stage| stage.volume_log().contains("was published before")).await;
    assert_eq!(published(&stage).await.len(), 1);
}
