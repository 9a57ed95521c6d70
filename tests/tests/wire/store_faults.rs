//! DynamoDB's faults through AWS's own SDK: what a caller sees, and what was done meanwhile.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, Put, ScalarAttributeType, TransactWriteItem,
};
use http::Method;
use serde_json::json;

use crate::kit::{World, code, eventually, unanswered};

const TABLE: &str = "things";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

/// A cloud with a table of things by id, and an index of them by colour.
async fn world() -> World {
    let world = World::new().await;
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name("by-colour")
        .key_schema(key("colour", KeyType::Hash))
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()
        .unwrap();
    let table = world.dynamodb.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    let table = table.attribute_definitions(attribute("id")).attribute_definitions(attribute("colour"));
    let table = table.key_schema(key("id", KeyType::Hash)).global_secondary_indexes(index);
    table.send().await.unwrap();
    world
}

fn thing(id: &str, colour: &str) -> HashMap<String, AttributeValue> {
    [("id".to_owned(), text(id)), ("colour".to_owned(), text(colour))].into()
}

/// A transaction of two things.
fn two(
    client: &Client,
    ids: [&str; 2],
) -> aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder {
    let put = |id: &str| {
        let put = Put::builder().table_name(TABLE).set_item(Some(thing(id, "red"))).build().unwrap();
        TransactWriteItem::builder().put(put).build()
    };
    client.transact_write_items().transact_items(put(ids[0])).transact_items(put(ids[1]))
}

async fn exists(world: &World, id: &str) -> bool {
    let read = world.dynamodb.get_item().table_name(TABLE).key("id", text(id)).consistent_read(true);
    read.send().await.unwrap().item.is_some()
}

#[tokio::test]
async fn a_conflict_cancels_the_transaction_and_says_which_item() {
    let world = world().await;
    world.fault(json!({ "fault": "conflict", "count": 2 })).await;
    let refused = two(&world.dynamodb, ["a", "b"]).send().await.unwrap_err();
    let SdkError::ServiceError(refused) = refused else { panic!("{refused:?}") };
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = refused.err() else { panic!("{refused:?}") };
    let codes: Vec<_> = cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["TransactionConflict", "None"]);
    let put = || world.dynamodb.put_item().table_name(TABLE).set_item(Some(thing("a", "red"))).send();
    assert_eq!(code(put().await), "TransactionConflictException");
    assert!(!exists(&world, "a").await && !exists(&world, "b").await);
    // Its count is used up.
    two(&world.dynamodb, ["a", "b"]).send().await.unwrap();
    assert!(exists(&world, "a").await && exists(&world, "b").await);
    // Of one action only.
    world.fault(json!({ "fault": "conflict", "api": "TransactWriteItems" })).await;
    put().await.unwrap();
    assert_eq!(code(two(&world.dynamodb, ["c", "d"]).send().await), "TransactionCanceledException");
}

#[tokio::test]
async fn an_answer_is_lost_before_or_after_the_commit() {
    let world = world().await;
    let set = async |fault: &str| {
        world.fault(json!({ "fault": fault, "api": "TransactWriteItems", "count": 1 })).await;
    };
    set("lost_answer_before").await;
    assert!(unanswered(&two(&world.dynamodb, ["a", "b"]).send().await));
    assert!(!exists(&world, "a").await);
    set("lost_answer_after").await;
    let token = "0123456789abcdef0123456789abcdef";
    assert!(unanswered(&two(&world.dynamodb, ["a", "b"]).client_request_token(token).send().await));
    assert!(exists(&world, "a").await && exists(&world, "b").await);
    // The same token once more is the same transaction.
    two(&world.dynamodb, ["a", "b"]).client_request_token(token).send().await.unwrap();
    let other = two(&world.dynamodb, ["a", "c"]).client_request_token(token).send().await;
    assert_eq!(code(other), "IdempotentParameterMismatchException");
}

#[tokio::test]
async fn an_internal_error_leaves_open_what_was_done() {
    let world = world().await;
    let put = |id: &str| world.dynamodb.put_item().table_name(TABLE).set_item(Some(thing(id, "red"))).send();
    world.fault(json!({ "fault": "server_error_before", "api": "PutItem", "count": 1 })).await;
    assert_eq!(code(put("a").await), "InternalServerError");
    assert!(!exists(&world, "a").await);
    world.fault(json!({ "fault": "server_error_after", "api": "PutItem", "count": 1 })).await;
    assert_eq!(code(put("b").await), "InternalServerError");
    assert!(exists(&world, "b").await);
    // A refusal is told as it is, and uses up nothing.
    world.fault(json!({ "fault": "server_error_after", "api": "PutItem", "count": 1 })).await;
    let conditional = world.dynamodb.put_item().table_name(TABLE).set_item(Some(thing("b", "red")));
    let conditional = conditional.condition_expression("attribute_not_exists(id)");
    assert_eq!(code(conditional.send().await), "ConditionalCheckFailedException");
    assert_eq!(code(put("c").await), "InternalServerError");
    put("c").await.unwrap();
}

#[tokio::test]
async fn a_throttled_read_is_refused_and_others_are_not() {
    let world = world().await;
    world.fault(json!({ "fault": "throttle", "api": "GetItem" })).await;
    let get = || world.dynamodb.get_item().table_name(TABLE).key("id", text("a")).send();
    for _ in 0..2 {
        assert_eq!(code(get().await), "ProvisionedThroughputExceededException");
    }
    world.dynamodb.scan().table_name(TABLE).send().await.unwrap();
    let cleared = json!({ "fault": "throttle" });
    world.http.ask(Method::POST, "/sim/faults/clear", None, Some(cleared)).await.unwrap();
    get().await.unwrap();
}

#[tokio::test]
async fn an_index_shows_nothing_that_is_younger_than_its_lag() {
    let world = world().await;
    let client = &world.dynamodb;
    let red = async || {
        let query = client.query().table_name(TABLE).index_name("by-colour");
        let query = query.key_condition_expression("colour = :c").expression_attribute_values(":c", text("red"));
        let page = query.send().await.unwrap();
        assert_eq!(page.count(), i32::try_from(page.items().len()).unwrap());
        let mut ids: Vec<String> = page.items().iter().map(|item| item["id"].as_s().unwrap().clone()).collect();
        ids.sort();
        ids
    };
    client.put_item().table_name(TABLE).set_item(Some(thing("old", "red"))).send().await.unwrap();
    // An hour: nothing that is written now is shown while it is on.
    world.fault(json!({ "fault": "index_lag", "lag_ms": 3_600_000 })).await;
    client.put_item().table_name(TABLE).set_item(Some(thing("put", "red"))).send().await.unwrap();
    two(client, ["a", "b"]).send().await.unwrap();
    assert_eq!(red().await, ["old"], "as before");
    let painted = client.update_item().table_name(TABLE).key("id", text("old")).update_expression("SET heft = :s");
    painted.expression_attribute_values(":s", text("much")).send().await.unwrap();
    assert!(red().await.is_empty(), "what was changed is not shown as it is now");
    assert!(exists(&world, "put").await, "the table knows it");
    let all = client.scan().table_name(TABLE).consistent_read(true).send().await.unwrap();
    assert_eq!(all.count(), 4);
    // Set again with less, it catches up by itself.
    world.fault(json!({ "fault": "index_lag", "lag_ms": 1 })).await;
    eventually("index that has caught up", async || (red().await == ["a", "b", "old", "put"]).then_some(())).await;
    // A count counts queries.
    world.fault(json!({ "fault": "index_lag", "lag_ms": 3_600_000, "count": 1 })).await;
    client.put_item().table_name(TABLE).set_item(Some(thing("new", "red"))).send().await.unwrap();
    assert!(!red().await.contains(&"new".to_owned()));
    assert!(red().await.contains(&"new".to_owned()), "its count is used up");
}
