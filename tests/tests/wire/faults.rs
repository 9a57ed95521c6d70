//! What goes wrong on purpose: refusals, lost answers, dead hosts; and the ledger that saw it all.

use std::fmt::Debug;

use aws_sdk_ec2::types::VolumeState;
use http::Method;
use serde_json::{Value, json};
use tiershift_common::clock::Clock as _;

use crate::kit::{KEY, World, ZONE_A, code, filter, unanswered};

/// Action, outcome and loss of ledger entries.
fn lines(entries: &[Value]) -> Vec<(String, String, Value)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    entries.iter().map(|entry| (text(entry, "action"), text(entry, "outcome"), entry["lost"].clone())).collect()
}

fn line(action: &str, outcome: &str, lost: impl Into<Value>) -> (String, String, Value) {
    (action.to_owned(), outcome.to_owned(), lost.into())
}

#[tokio::test]
async fn the_ledger_has_each_call_once() {
    let world = World::new().await;
    let seeded = &world.fleet.volumes[0];
    world.ec2.describe_volumes().volume_ids(&seeded.volume_id).send().await.unwrap();
    assert_eq!(code(world.ec2.delete_volume().volume_id(&seeded.volume_id).send().await), "VolumeInUse");
    world.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
    let health = world.http.agent(Method::GET, &seeded.instance_id, "health", None).await;
    assert_eq!(health.0, 200);

    world.fault(json!({ "fault": "throttle", "api": "CreateVolume", "count": 1 })).await;
    let create = || world.ec2.create_volume().availability_zone(ZONE_A).size(1).client_token("t-1").send();
    assert_eq!(code(create().await), "RequestLimitExceeded");
    world.fault(json!({ "fault": "lost_answer_before", "api": "CreateVolume", "count": 1 })).await;
    assert!(unanswered(&create().await));
    world.fault(json!({ "fault": "lost_answer_after", "api": "CreateVolume", "count": 1 })).await;
    assert!(unanswered(&create().await));
    create().await.unwrap();

    let ledger = world.ledger(0).await;
    let expected = [
        line("DescribeVolumes", "ok", Value::Null),
        line("DeleteVolume", "VolumeInUse", Value::Null),
        line("DescribeAutoScalingGroups", "ok", Value::Null),
        line("AgentHealth", "ok", Value::Null),
        line("CreateVolume", "RequestLimitExceeded", Value::Null),
        line("CreateVolume", "RequestLost", "before"),
        line("CreateVolume", "ok", "after"),
        line("CreateVolume", "ok", Value::Null),
    ];
    assert_eq!(lines(&ledger), expected);
    assert_eq!(ledger[0]["parameters"]["volume_ids"], json!(seeded.volume_id));
    let sequence: Vec<u64> = ledger.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (1..=8).collect::<Vec<_>>());
    assert_eq!(lines(&world.ledger(6).await), expected[6..]);
    let few = world.http.get("/sim/ledger?after=2&limit=3").await;
    assert_eq!(lines(few["entries"].as_array().unwrap()), expected[2..5]);
}

#[tokio::test]
async fn a_lost_answer_may_have_been_done() {
    let world = World::new().await;
    let create = |token: &str| world.ec2.create_volume().availability_zone(ZONE_A).size(77).client_token(token).send();
    let count = async || {
        let found = world.ec2.describe_volumes().filters(filter("size", "77")).send().await.unwrap();
        found.volumes().len()
    };
    world.fault(json!({ "fault": "lost_answer_before", "api": "CreateVolume", "count": 1 })).await;
    assert!(unanswered(&create("t-1").await));
    world.fault(json!({ "fault": "lost_answer_after", "api": "CreateVolume", "count": 1 })).await;
    assert!(unanswered(&create("t-2").await));
    let id = create("t-2").await.unwrap().volume_id.unwrap();
    world.volume_becomes(&id, |volume| volume.state() == Some(&VolumeState::Available)).await;
    assert_eq!(count().await, 1, "of three calls only the one that was done, once");
}

#[tokio::test]
async fn a_call_takes_its_time() {
    let world = World::new().await;
    let clock = world.running.clock;
    let before = clock.now();
    world.ec2.describe_subnets().send().await.unwrap();
    let between = clock.now();
    world.ec2.create_volume().availability_zone(ZONE_A).size(1).send().await.unwrap();
    assert!(between.since(before) >= 150, "a Describe has 150 ms");
    assert!(clock.now().since(between) >= 400, "a change has 400 ms");
}

#[tokio::test]
async fn faults_are_listed_and_cleared() {
    let world = World::new().await;
    let post = async |path: &str, body: Value| world.http.ask(Method::POST, path, None, Some(body)).await.unwrap();
    world.fault(json!({ "fault": "stuck_attach", "count": 2 })).await;
    world.fault(json!({ "fault": "throttle", "api": "AttachVolume" })).await;
    let listed = world.http.get("/sim/faults").await;
    let expected =
        json!([{ "fault": "stuck_attach", "count": 2 }, { "fault": "throttle", "api": "AttachVolume", "count": null }]);
    assert_eq!(listed["faults"], expected);
    assert_eq!(post("/sim/faults/clear", json!({ "fault": "throttle", "api": "AttachVolume" })).await.0, 200);
    assert_eq!(world.http.get("/sim/faults").await["faults"].as_array().unwrap().len(), 1);
    let named = json!({ "fault": "failed_snapshot", "skip": 1, "for_ms": 3_600_000 });
    assert_eq!(post("/sim/faults", named).await.0, 200);
    let listed = world.http.get("/sim/faults").await["faults"][1].clone();
    assert_eq!((&listed["skip"], listed["until_ms"].is_u64()), (&json!(1), true), "{listed}");
    let (status, cleared) = post("/sim/faults/clear", json!({ "fault": "failed_snapshot" })).await;
    assert_eq!((status, &cleared["faults"][0]["fault"]), (200, &json!("failed_snapshot")));
    let catalogue = world.http.get("/sim/faults/catalogue").await;
    let entries = catalogue["faults"].as_array().unwrap();
    let throttle = entries.iter().find(|entry| entry["name"] == "throttle").unwrap();
    assert_eq!(throttle["parameters"], json!([{ "name": "api", "required": true, "kind": "action" }]));
    assert_eq!(throttle["strikes"], "chances");

    let (status, body) = post("/sim/faults", json!({ "fault": "earthquake" })).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("stuck_attach"), "{body}");
    let bad = json!({ "fault": "throttle", "api": "Nonsense", "count": "many", "colour": 1 });
    let (status, body) = post("/sim/faults", bad).await;
    let fields: Vec<&str> = body["faults"].as_array().unwrap().iter().map(|f| f["field"].as_str().unwrap()).collect();
    assert_eq!((status, body["code"].as_str(), fields), (400, Some("INVALID_FAULT"), vec!["api", "colour", "count"]));
    assert_eq!(world.http.get("/sim/faults").await["faults"].as_array().unwrap().len(), 1, "it changed nothing");
    let (status, _) = post("/sim/nothing", json!({})).await;
    assert_eq!(status, 404);
    assert_eq!(world.http.ask(Method::DELETE, "/sim/faults", None, None).await.unwrap().0, 405);
}

/// Whatever is asked of it, with whatever key: a dead host has nobody who could answer.
#[tokio::test]
async fn nobody_answers_for_a_dead_instance() {
    let world = World::new().await;
    let graph = world.graph("upgrade-idle");
    let dead = graph.instance_id.as_str();
    world.fault(json!({ "fault": "instance_dead", "instance_id": dead })).await;
    for instance in [dead, "i-00000000000000009"] {
        let engine = format!("/engine/{instance}/{}", graph.graph_id);
        let asked = [
            (Method::GET, format!("/agents/{instance}/health")),
            (Method::GET, format!("/agents/{instance}/admin/volume")),
            (Method::POST, format!("/agents/{instance}/admin/drain")),
            (Method::GET, format!("/agents/{instance}/nothing/here")),
            (Method::POST, format!("{engine}/write")),
            (Method::GET, format!("{engine}/read")),
        ];
        for (method, path) in asked {
            for key in [Some(KEY), None] {
                let answer = world.http.ask(method.clone(), &path, key, Some(json!({ "write_id": 1 }))).await;
                assert!(closed(&answer), "{method} {path}: {answer:?}");
            }
        }
    }
}

fn closed<T: Debug>(answer: &Result<T, hyper_util::client::legacy::Error>) -> bool {
    answer.as_ref().is_err_and(|error| !error.is_connect())
}
