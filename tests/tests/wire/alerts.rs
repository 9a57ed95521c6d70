//! Alerts by volume-svc's own adapter over the simulated SNS: what was published can be read, word for word.

use serde_json::{Value, json};
use tiershift_core::UnixMs;
use volume_svc::adapters::aws::sns::{Sns, Topic};
use volume_svc::alerts::{Alert, NotPublished, Publisher as _};

use crate::adapters::aws;
use crate::kit::World;

const ARN: &str = "arn:aws:sns:us-east-1:000000000000:tiershift-dev-alerts";

async fn topic(world: &World, arn: &str) -> Sns {
    aws(world).await.sns(Topic::parse(arn).unwrap(), "dev")
}

fn alert(code: &str) -> Alert {
    Alert::unknown_code("AttachVolume", code, UnixMs(5))
}

#[tokio::test]
async fn what_was_published_can_be_read() {
    let world = World::new().await;
    let topic = topic(&world, ARN).await;
    let alert = alert("Brand.New");
    topic.publish(&alert).await.unwrap();
    let published = world.http.get("/sim/published").await;
    let messages = published["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!((&messages[0]["topic_arn"], &messages[0]["seq"]), (&json!(ARN), &json!(1)));
    assert_eq!(messages[0]["attributes"], json!({ "kind": "unknown_code", "environment": "dev" }));
    assert!(messages[0]["subject"].as_str().unwrap().starts_with("[tiershift dev] unknown_code: "));
    let text: Value = serde_json::from_str(messages[0]["message"].as_str().unwrap()).unwrap();
    assert_eq!(text, alert.message("dev"));
    let call = world.ledger(0).await.pop().unwrap();
    assert_eq!((&call["service"], &call["action"], &call["outcome"]), (&json!("sns"), &json!("Publish"), &json!("ok")));
    assert_eq!(call["parameters"]["attribute:kind"], "unknown_code");
    assert_eq!(world.http.get("/sim/published?after=1").await["messages"], json!([]));
}

/// A subject in any other words than ASCII's would be refused.
#[tokio::test]
async fn a_subject_is_taken_whatever_is_in_the_alert() {
    let world = World::new().await;
    topic(&world, ARN).await.publish(&alert(&"\u{e9}\n\u{0}<&>".repeat(40))).await.unwrap();
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_may_not() {
    let world = World::new().await;
    let nowhere = topic(&world, "arn:aws:sns:us-east-1:000000000000:elsewhere").await;
    let refused = |code: &str, again| Err(NotPublished { code: code.to_owned(), again });
    assert_eq!(nowhere.publish(&alert("A")).await, refused("NotFound", false));
    let topic = topic(&world, ARN).await;
    world.fault(json!({ "fault": "throttle", "api": "Publish", "count": 1 })).await;
    assert_eq!(topic.publish(&alert("A")).await, refused("Throttled", true));
    world.fault(json!({ "fault": "lost_answer_after", "api": "Publish", "count": 1 })).await;
    assert_eq!(topic.publish(&alert("A")).await, refused("Dispatch", true));
    topic.publish(&alert("A")).await.unwrap();
    let messages = world.http.get("/sim/published").await["messages"].clone();
    let occurrences: Vec<Value> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|m| serde_json::from_str::<Value>(m["message"].as_str().unwrap()).unwrap()["occurrence"].clone())
        .collect();
    assert_eq!(occurrences, [json!("code/AttachVolume/A/0"), json!("code/AttachVolume/A/0")], "twice, and it shows");
}
