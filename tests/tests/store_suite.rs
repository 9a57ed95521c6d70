//! The store's conformance suite over the DynamoDB adapter, against an embedded DynamoDB-compatible server.
//!
//! volume-svc itself runs the same suite over its store in memory; it must not link SQLite, so this half is here.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are tests: a failed one is the report")]

use dynoxide::Database;
use std::sync::Arc;
use tokio::net::TcpListener;
use volume_core::item::{Cond, Item, Key, Op, Table, Write};
use volume_svc::adapters::aws::{Attempts, Aws, Identity, Settings};
use volume_svc::ports::store::{Store, StoreError, TransactError};
use volume_svc::store::dynamodb::{DynamoDb, Names, tables};

/// A server with an empty database, for the rest of the test.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, Database::memory().unwrap()));
    url
}

async fn aws(dynamodb_url: String) -> Aws {
    let settings = Settings {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(dynamodb_url.clone()),
        dynamodb_endpoint_url: Some(dynamodb_url),
        identity: Identity::Dev,
    };
    Aws::load(&settings).await.unwrap()
}

fn names() -> Names {
    Names::new("tiershift", "test")
}

async fn store() -> DynamoDb {
    let aws = aws(server().await).await;
    tables::create(&aws.dynamodb_client(Attempts::Several), &names()).await.unwrap();
    aws.dynamodb(names())
}

async fn fresh() -> Arc<dyn Store> {
    Arc::new(store().await)
}

volume_svc::store_suite!(fresh);

#[tokio::test]
async fn tables_are_made_once_and_a_foreign_shape_is_refused() {
    let aws = aws(server().await).await;
    let client = aws.dynamodb_client(Attempts::Several);
    tables::create(&client, &names()).await.unwrap();
    let put = Write::create(Key::new(Table::Locks, "k"), Item::default().with("n", 1));
    aws.dynamodb(names()).transact("t", vec![put]).await.unwrap();
    tables::create(&client, &names()).await.unwrap();
    let kept = aws.dynamodb(names()).get(&Key::new(Table::Locks, "k")).await.unwrap();
    assert_eq!(kept.and_then(|item| item.n("n")), Some(1), "a second time changes nothing");

    let described = client.describe_table().table_name("tiershift-test-instance-registry").send().await.unwrap();
    let table = described.table.unwrap();
    let mut indexes: Vec<&str> = table.global_secondary_indexes().iter().filter_map(|i| i.index_name()).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, ["backend-type-status-index", "status-database-count-index", "tier-status-index"]);

    client.delete_table().table_name(names().of(Table::Graph)).send().await.unwrap();
    let journal = client.describe_table().table_name(names().of(Table::Journal)).send().await.unwrap().table.unwrap();
    let definitions = journal.attribute_definitions().to_vec();
    let key_only = |name: &str| journal.key_schema().iter().any(|key| key.attribute_name() == name);
    client
        .create_table()
        .table_name(names().of(Table::Graph))
        .billing_mode(aws_sdk_dynamodb::types::BillingMode::PayPerRequest)
        .set_key_schema(Some(journal.key_schema().to_vec()))
        .set_attribute_definitions(Some(definitions.into_iter().filter(|d| key_only(d.attribute_name())).collect()))
        .send()
        .await
        .unwrap();
    let refused = tables::create(&client, &names()).await;
    assert!(
        matches!(&refused, Err(tables::TablesError::Differs { table, .. }) if table.ends_with("graph-registry")),
        "{refused:?}"
    );
}

/// What others put into a row is neither lost by our update nor able to hide an element of a list.
#[tokio::test]
async fn a_row_of_others_is_read_and_updated_without_loss() {
    use aws_sdk_dynamodb::types::AttributeValue as A;
    let aws = aws(server().await).await;
    let client = aws.dynamodb_client(Attempts::Several);
    tables::create(&client, &names()).await.unwrap();
    let databases = A::L(vec![A::S("kg1".to_owned()), A::N("2".to_owned())]);
    client
        .put_item()
        .table_name(names().of(Table::Volume))
        .item("volume_id", A::S("vol-1".to_owned()))
        .item("databases", databases)
        .item("load", A::N("0.5".to_owned()))
        .item("size", A::N("50.0".to_owned()))
        .item("nested", A::M([("a".to_owned(), A::Null(true))].into()))
        .send()
        .await
        .unwrap();
    let (store, key) = (aws.dynamodb(names()), Key::new(Table::Volume, "vol-1"));
    let read = store.get(&key).await.unwrap().unwrap();
    assert_eq!(read.l("databases"), ["kg1", "<number 2>"]);
    assert_eq!(read.n("size"), Some(50));
    assert_eq!(read.0.len(), 3, "the fraction and the map are left out: {read:?}");
    let ours =
        Write::update(key.clone(), Item::default().with("ts_state", "migrating"), &[], vec![Cond::absent("ts_state")]);
    store.transact("t", vec![ours]).await.unwrap();
    let raw = client.get_item().table_name(names().of(Table::Volume)).key("volume_id", A::S("vol-1".to_owned())).send();
    let raw = raw.await.unwrap().item.unwrap();
    assert_eq!(raw["load"], A::N("0.5".to_owned()));
    assert!(raw["nested"].is_m());
    assert_eq!(raw["ts_state"], A::S("migrating".to_owned()));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unknown_to_a_write_and_unavailable_to_a_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Takes connections and closes them.
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let store = aws(url).await.dynamodb(names());
    let write = Write { key: Key::new(Table::Locks, "k"), op: Op::Put(Item::default()), conds: vec![] };
    assert!(matches!(store.transact("t", vec![write]).await, Err(TransactError::Unknown(_))));
    assert!(matches!(store.get(&Key::new(Table::Locks, "k")).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_missing_table_is_a_fault_of_ours() {
    let store = aws(server().await).await.dynamodb(names());
    let write = Write { key: Key::new(Table::Locks, "k"), op: Op::Put(Item::default()), conds: vec![] };
    let answer = store.transact("t", vec![write]).await;
    assert!(matches!(answer, Err(TransactError::Invalid(_))), "{answer:?}");
    assert!(matches!(store.get(&Key::new(Table::Locks, "k")).await, Err(StoreError::Invalid(_))));
}
