//! What survives: a kill (the server is dropped), a stop, and a start on a folder that is not free.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use cloud_sim::server::{Config, ServerError, start};
use serde_json::json;
use tempfile::TempDir;
use tiershift_common::clock::{Clock as _, Scaled};

use crate::kit::{World, ZONE_A, code, config};

async fn make_table(client: &aws_sdk_dynamodb::Client) {
    let key = KeySchemaElement::builder().attribute_name("k").key_type(KeyType::Hash).build().unwrap();
    let name =
        AttributeDefinition::builder().attribute_name("k").attribute_type(ScalarAttributeType::S).build().unwrap();
    let call = client.create_table().table_name("table").key_schema(key).attribute_definitions(name);
    call.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
}

async fn put_once(client: &aws_sdk_dynamodb::Client) -> Result<(), String> {
    let call = client
        .put_item()
        .table_name("table")
        .item("k", AttributeValue::S("a".into()))
        .item("n", AttributeValue::N("1".into()));
    let answer = call.condition_expression("attribute_not_exists(k)").send().await;
    if answer.is_ok() { Ok(()) } else { Err(code(answer)) }
}

async fn item(client: &aws_sdk_dynamodb::Client) -> Option<AttributeValue> {
    let call = client.get_item().table_name("table").key("k", AttributeValue::S("a".into())).consistent_read(true);
    call.send().await.unwrap().item?.remove("n")
}

/// Ends the server as a kill does and gives back its folder and the last time that it showed.
fn killed(world: World) -> (TempDir, i64) {
    let shown = world.running.clock.now().0;
    let World { running, data, .. } = world;
    drop(running);
    (data, shown)
}

#[tokio::test]
async fn dynamodb_is_served() {
    let world = World::new().await;
    make_table(&world.dynamodb).await;
    assert_eq!(put_once(&world.dynamodb).await, Ok(()));
    assert_eq!(put_once(&world.dynamodb).await, Err("ConditionalCheckFailedException".to_owned()));
    assert_eq!(item(&world.dynamodb).await, Some(AttributeValue::N("1".into())));
    let lost = crate::kit::dynamodb(&world.running.cloud_url).list_tables().send().await;
    assert_eq!(code(lost), "UnknownOperationException", "it has an address of its own");
}

#[tokio::test]
async fn a_killed_cloud_has_forgotten_nothing_that_it_told() {
    let world = World::new().await;
    make_table(&world.dynamodb).await;
    put_once(&world.dynamodb).await.unwrap();
    let volume = world.volume(ZONE_A).await;
    let instance = world.idle(ZONE_A).instance_id.clone();
    world.attach(&volume, &instance, "/dev/sdg").await;
    world.fault(json!({ "fault": "slow_snapshot" })).await;
    let graph = world.graph("upgrade-1").clone();
    assert_eq!(world.http.engine(&graph, "write", 1).await.0, 200);
    let before = world.ec2.describe_volumes().send().await.unwrap();
    let fleet = world.fleet.clone();
    // The newest change of all: answered, then killed.
    let snapshot = world.ec2.create_snapshot().volume_id(&volume).send().await.unwrap().snapshot_id.unwrap();
    let ledger = world.ledger(0).await;
    let (data, shown) = killed(world);

    let world = World::over(data).await;
    assert!(world.running.clock.origin_ms >= shown, "time does not go back");
    assert!(world.running.clock.origin_ms <= shown + 100 * 6_000, "and not far ahead");
    assert_eq!(world.fleet, fleet);
    let after = world.ec2.describe_volumes().send().await.unwrap();
    assert_eq!(after.volumes(), before.volumes());
    assert!(!world.ec2.describe_snapshots().snapshot_ids(&snapshot).send().await.unwrap().snapshots().is_empty());
    assert_eq!(world.http.get("/sim/faults").await["faults"], json!([{ "fault": "slow_snapshot", "count": null }]));
    assert_eq!(world.http.engine(&graph, "read", 1).await, (200, json!({ "present": true })));
    assert_eq!(world.ledger(0).await[..ledger.len()], ledger);
    assert_eq!(item(&world.dynamodb).await, Some(AttributeValue::N("1".into())));
}

#[tokio::test]
async fn time_stands_still_while_a_stopped_cloud_is_down() {
    let mut folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let world = World::over(folder).await;
        let written: Scaled = serde_json::from_slice(&std::fs::read(&world.running.clock_file).unwrap()).unwrap();
        assert_eq!(written, world.running.clock, "others take it from the file");
        let told = world.http.get("/sim/clock").await;
        assert_eq!((told["origin_ms"].as_i64(), told["speed"].as_u64()), (Some(written.origin_ms), Some(100)));
        let World { running, data, .. } = world;
        let (clock, before) = (running.clock, running.clock.now().0);
        running.stop().await.unwrap();
        let after = clock.now().0;
        let again = start(config(data.path())).await.unwrap();
        assert!((before..=after).contains(&again.clock.origin_ms), "{before} {} {after}", again.clock.origin_ms);
        again.stop().await.unwrap();
        folder = data;
    }
}

#[tokio::test]
async fn a_cloud_can_join_the_clock_of_those_who_stayed() {
    let world = World::new().await;
    let clock = world.running.clock;
    let (data, shown) = killed(world);
    let joined = start(Config { same_clock: true, ..config(data.path()) }).await.unwrap();
    assert_eq!(joined.clock, clock);
    assert!(joined.clock.now().0 >= shown);
    joined.stop().await.unwrap();
    std::fs::remove_file(data.path().join("clock.json")).unwrap();
    let refused = start(Config { same_clock: true, ..config(data.path()) }).await;
    assert!(matches!(refused, Err(ServerError::Clock { .. })));
}

#[tokio::test]
async fn a_folder_has_one_cloud_and_one_speed() {
    let world = World::new().await;
    let second = start(config(world.data.path())).await;
    assert!(matches!(second, Err(ServerError::Locked(_))));
    let World { running, data, .. } = world;
    running.stop().await.unwrap();
    let faster = start(Config { speed: Some(50), ..config(data.path()) }).await;
    assert!(matches!(faster, Err(ServerError::Speed { saved: 100, asked: 50, .. })));
    let same = start(Config { speed: None, ..config(data.path()) }).await.unwrap();
    assert_eq!(same.clock.speed, 100, "the folder's");
    same.stop().await.unwrap();
    for speed in [0, 101] {
        let refused = start(Config { speed: Some(speed), ..config(data.path()) }).await;
        assert!(matches!(refused, Err(ServerError::Config(_))));
    }
    std::fs::write(data.path().join("cloud.json"), "{}").unwrap();
    assert!(matches!(start(config(data.path())).await, Err(ServerError::Unreadable { .. })));
}
