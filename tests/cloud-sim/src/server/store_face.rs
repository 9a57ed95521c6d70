//! DynamoDB's front door: passes every request on to the embedded one, unless a fault strikes.
//!
//! Real time throughout: a fault's answer comes at once, a lag is real milliseconds. Indexes of the embedded DynamoDB have
//! no lag, so one is made here, simply: while it is on, written items are remembered, and an index query does not show
//! those that are younger. A real index would show what they were before, and an item that was deleted a little longer;
//! here both are just not there. No reader may rest on either (docs/aws.md, rule 6).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header, request};
use axum::response::{IntoResponse as _, Response};
use dynoxide::Database;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};

use super::cloud::Cloud;
use super::dynamodb::Dynamodb;
use super::net::NoAnswer;
use crate::Sim;
use crate::store::StoreFault;

/// The most that a request or an answer may have: DynamoDB's own limit.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What comes before the action in `X-Amz-Target`.
const TARGET: &str = "DynamoDB_20120810.";

/// What comes before the name of an error.
const ERROR: &str = "com.amazonaws.dynamodb.v20120810#";

/// Headers that belong to one connection, or to the bytes of one body.
const OWN: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, HeaderName::from_static("x-amz-crc32")];

/// The front door.
struct Face {
    cloud: Arc<Cloud>,
    /// `127.0.0.1:port` of the embedded DynamoDB.
    authority: String,
    client: Client<HttpConnector, Body>,
    database: Database,
    fresh: Mutex<Fresh>,
}

/// An item: its table, and its key as JSON.
type ItemKey = (String, String);

/// What was written lately, while indexes lag.
#[derive(Default)]
struct Fresh {
    written: BTreeMap<ItemKey, Instant>,
    /// Names of the key attributes of each table.
    keys: BTreeMap<String, Vec<String>>,
}

/// The routes: everything.
pub(super) fn routes(cloud: Arc<Cloud>, dynamodb: &Dynamodb) -> Router {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let face = Face {
        cloud,
        authority: dynamodb.address.to_string(),
        client: Client::builder(TokioExecutor::new()).build(connector),
        database: dynamodb.database.clone(),
        fresh: Mutex::default(),
    };
    Router::new().fallback(handle).with_state(Arc::new(face))
}

async fn handle(State(face): State<Arc<Face>>, request: Request) -> Result<Response, NoAnswer> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| NoAnswer)?;
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let Some(action) = target.and_then(|target| target.strip_prefix(TARGET)).map(str::to_owned) else {
        return face.pass(head, body).await;
    };
    if let Some(fault) = face.struck(|sim| sim.strike_store_before(&action))? {
        return answer(fault, &action, &body);
    }
    let answered = face.pass(head, body.clone()).await?;
    if !answered.status().is_success() {
        return Ok(answered);
    }
    face.remember(&action, &body).await?;
    if let Some(fault) = face.struck(|sim| sim.strike_store_after(&action))? {
        return answer(fault, &action, &body);
    }
    face.lagging(&action, &body, answered).await
}

impl Face {
    fn struck<T>(&self, ask: impl FnOnce(&mut Sim) -> Option<T>) -> Result<Option<T>, NoAnswer> {
        self.cloud.state.store_faults(ask).map_err(|_| NoAnswer)
    }

    /// Asks the embedded DynamoDB.
    async fn pass(&self, head: request::Parts, body: Bytes) -> Result<Response, NoAnswer> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme("http").authority(self.authority.as_str()).path_and_query(path).build();
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri.map_err(|_| NoAnswer)?;
        *request.headers_mut() = without_own(head.headers);
        let (head, body) = self.client.request(request).await.map_err(|_| NoAnswer)?.into_parts();
        let body = to_bytes(Body::new(body), BODY_BYTES_MAX).await.map_err(|_| NoAnswer)?;
        Ok((head.status, without_own(head.headers), body).into_response())
    }

    /// Notes what was written, while indexes lag.
    async fn remember(&self, action: &str, body: &[u8]) -> Result<(), NoAnswer> {
        let Some(lag_ms) = self.struck(|sim| sim.index_lag_ms())? else { return Ok(()) };
        let request = serde_json::from_slice(body).unwrap_or_default();
        let mut written = Vec::new();
        for (table, item) in items_of(action, &request) {
            let keys = self.keys_of(&table).await?;
            written.push((table, key_of(&keys, item)));
        }
        let now = Instant::now();
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.written.retain(|_, at| now.duration_since(*at) < Duration::from_millis(lag_ms));
        fresh.written.extend(written.into_iter().map(|item| (item, now)));
        Ok(())
    }

    /// The names of a table's key attributes.
    async fn keys_of(&self, table: &str) -> Result<Vec<String>, NoAnswer> {
        if let Some(known) = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).keys.get(table) {
            return Ok(known.clone());
        }
        let (database, name) = (self.database.clone(), table.to_owned());
        // SQLite blocks.
        let found = tokio::task::spawn_blocking(move || database.get_table_metadata(&name)).await;
        let schema = found.ok().and_then(Result::ok).flatten().ok_or(NoAnswer)?.key_schema;
        let schema: Vec<Map<String, Value>> = serde_json::from_str(&schema).map_err(|_| NoAnswer)?;
        let name = |key: &Map<String, Value>| key.get("AttributeName")?.as_str().map(str::to_owned);
        let keys: Vec<String> = schema.iter().filter_map(name).collect();
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).keys.insert(table.to_owned(), keys.clone());
        Ok(keys)
    }

    /// An answer of an index without what is too young for it; any other answer as it is.
    async fn lagging(&self, action: &str, body: &[u8], answered: Response) -> Result<Response, NoAnswer> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let consistent = request["ConsistentRead"] == true;
        let (Some(table), "Query" | "Scan") = (request["TableName"].as_str(), action) else { return Ok(answered) };
        if request["IndexName"].is_null() || consistent {
            return Ok(answered);
        }
        let Some(lag_ms) = self.struck(Sim::strike_index)? else { return Ok(answered) };
        let keys = self.keys_of(table).await?;
        let (head, body) = answered.into_parts();
        let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| NoAnswer)?;
        let mut page: Value = serde_json::from_slice(&body).map_err(|_| NoAnswer)?;
        let lag = Duration::from_millis(lag_ms);
        if let Some(items) = page["Items"].as_array_mut() {
            let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            let young = |item: &Value| {
                let written = fresh.written.get(&(table.to_owned(), key_of(&keys, item)));
                written.is_some_and(|at| at.elapsed() < lag)
            };
            items.retain(|item| !young(item));
            let count = items.len();
            page["Count"] = json!(count);
        }
        Ok((head.status, without_own(head.headers), page.to_string()).into_response())
    }
}

fn without_own(mut headers: HeaderMap) -> HeaderMap {
    for name in OWN {
        headers.remove(name);
    }
    headers
}

/// The answer of a fault.
fn answer(fault: StoreFault, action: &str, body: &[u8]) -> Result<Response, NoAnswer> {
    let (status, body) = match fault {
        StoreFault::Lost => return Err(NoAnswer),
        StoreFault::Error => (500, error("InternalServerError", "Internal server error")),
        StoreFault::Throttled => {
            let message = "The level of configured provisioned throughput for the table was exceeded.";
            (400, error("ProvisionedThroughputExceededException", message))
        }
        StoreFault::Conflict if action == "TransactWriteItems" => (400, cancelled(body)),
        StoreFault::Conflict => (400, error("TransactionConflictException", "Transaction is ongoing for the item")),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok((status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response())
}

fn error(name: &str, message: &str) -> Value {
    json!({ "__type": format!("{ERROR}{name}"), "message": message })
}

/// A transaction that was cancelled because its first item is being written by another one.
fn cancelled(body: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let items = request["TransactItems"].as_array().map_or(1, Vec::len).max(1);
    let mut reasons = vec![json!({ "Code": "None" }); items];
    reasons[0] = json!({ "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" });
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason["Code"].as_str()).collect();
    let codes = codes.join(", ");
    json!({
        "__type": format!("{ERROR}TransactionCanceledException"),
        "Message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"),
        "CancellationReasons": reasons,
    })
}

/// Tables and items, or keys, that a write touches.
fn items_of<'a>(action: &str, request: &'a Value) -> Vec<(String, &'a Value)> {
    let one = |write: &'a Value, what: &str| Some((write["TableName"].as_str()?.to_owned(), write.get(what)?));
    match action {
        "PutItem" => one(request, "Item").into_iter().collect(),
        "UpdateItem" | "DeleteItem" => one(request, "Key").into_iter().collect(),
        "TransactWriteItems" => {
            let writes = request["TransactItems"].as_array().into_iter().flatten();
            let item = |write: &'a Value| {
                one(&write["Put"], "Item")
                    .or_else(|| one(&write["Update"], "Key"))
                    .or_else(|| one(&write["Delete"], "Key"))
            };
            writes.filter_map(item).collect()
        }
        "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            let writes = tables
                .flat_map(|(table, writes)| writes.as_array().into_iter().flatten().map(move |write| (table, write)));
            let item = |(table, write): (&'a String, &'a Value)| {
                let item = write["PutRequest"].get("Item").or_else(|| write["DeleteRequest"].get("Key"))?;
                Some((table.clone(), item))
            };
            writes.filter_map(item).collect()
        }
        _ => Vec::new(),
    }
}

/// The key of an item, as text.
fn key_of(keys: &[String], item: &Value) -> String {
    keys.iter().map(|key| item[key.as_str()].to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_write_says_what_it_touches() {
        let item = json!({ "pk": { "S": "a" }, "sk": { "N": "1" }, "more": { "S": "x" } });
        let key = json!({ "pk": { "S": "a" }, "sk": { "N": "1" } });
        let keys = ["pk".to_owned(), "sk".to_owned()];
        let touched = |action: &str, request: Value| {
            items_of(action, &request).into_iter().map(|(table, item)| (table, key_of(&keys, item))).collect::<Vec<_>>()
        };
        let one = [("t".to_owned(), key_of(&keys, &key))];
        assert_eq!(touched("PutItem", json!({ "TableName": "t", "Item": item })), one);
        assert_eq!(touched("UpdateItem", json!({ "TableName": "t", "Key": key })), one);
        assert_eq!(touched("DeleteItem", json!({ "TableName": "t", "Key": key })), one);
        let transaction = json!({ "TransactItems": [
            { "Put": { "TableName": "t", "Item": item } },
            { "Update": { "TableName": "t", "Key": key } },
            { "ConditionCheck": { "TableName": "t", "Key": key } },
            { "Delete": { "TableName": "t", "Key": key } },
        ] });
        assert_eq!(touched("TransactWriteItems", transaction), vec![one[0].clone(); 3]);
        let batch = json!({ "RequestItems": { "t": [
            { "PutRequest": { "Item": item } }, { "DeleteRequest": { "Key": key } },
        ] } });
        assert_eq!(touched("BatchWriteItem", batch), vec![one[0].clone(); 2]);
        assert!(touched("Query", json!({ "TableName": "t" })).is_empty());
    }

    #[test]
    fn a_cancelled_transaction_has_a_reason_for_each_item() {
        let body = json!({ "TransactItems": [{}, {}, {}] }).to_string();
        let codes: Vec<Value> = cancelled(body.as_bytes())["CancellationReasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["Code"].clone())
            .collect();
        assert_eq!(codes, ["TransactionConflict", "None", "None"]);
    }
}
