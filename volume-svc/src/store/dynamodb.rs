//! The store on DynamoDB. In production the service itself; embedded and in tests the same adapter talks to a
//! compatible server.
//!
//! Parts: `convert` (values), `expression` (conditions and updates as DynamoDB's text), `errors` (what an error
//! means), `tables` (makes the tables where no template does).

mod convert;
mod errors;
mod expression;
pub mod tables;

use super::schema;
use crate::ports::store::{Page, PageKey, Store, StoreError, TransactError};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, TransactWriteItem};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use volume_core::item::{Index, Item, Key, Table, Write};

/// The most keys of one BatchGetItem (DynamoDB's limit).
const BATCH_KEYS_MAX: usize = 100;

/// The tables' names: `{prefix}-{env}-{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    stem: String,
}

impl Names {
    /// Names that begin with `{prefix}-{env}-`.
    pub fn new(prefix: &str, env: &str) -> Self {
        Self { stem: format!("{prefix}-{env}-") }
    }

    /// The name of a table.
    pub fn of(&self, table: Table) -> String {
        format!("{}{}", self.stem, table.name())
    }
}

/// A store on DynamoDB.
///
/// Reads may be repeated by the SDK. A transaction is one attempt: the answer to a repetition (throttled, say)
/// would hide that the attempt before it is unknown.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    reads: Client,
    writes: Client,
    names: Names,
}

impl DynamoDb {
    /// Over two clients of one account: `reads` may retry, `writes` must not (`adapters::aws::config` makes both).
    pub fn new(reads: Client, writes: Client, names: Names) -> Self {
        Self { reads, writes, names }
    }

    /// Asks for up to 100 keys, until DynamoDB has answered for all of them.
    async fn batch_get(&self, keys: BTreeSet<&Key>, found: &mut BTreeMap<Key, Item>) -> Result<(), StoreError> {
        let mut request: HashMap<String, KeysAndAttributes> = HashMap::new();
        for table in Table::ALL {
            let of_table = keys.iter().filter(|key| key.table == table).map(|key| convert::key(key));
            let of_table: Vec<_> = of_table.collect();
            if !of_table.is_empty() {
                let asked = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(of_table));
                request.insert(self.names.of(table), asked.build().map_err(errors::invalid_read)?);
            }
        }
        while !request.is_empty() {
            let before = unanswered(&request);
            let answer = self.reads.batch_get_item().set_request_items(Some(request)).send().await;
            let answer = answer.map_err(errors::read)?;
            let mut responses = answer.responses.unwrap_or_default();
            for table in Table::ALL {
                for item in responses.remove(&self.names.of(table)).unwrap_or_default() {
                    let item = convert::item_from(item);
                    found.insert(convert::key_of(table, &item)?, item);
                }
            }
            request = answer.unprocessed_keys.unwrap_or_default();
            // Some keys stay unanswered when the answer would be larger than 16 MB. None answered: throttled.
            if unanswered(&request) == before {
                return Err(StoreError::Throttled);
            }
        }
        Ok(())
    }
}

/// The writes of a transaction as DynamoDB's own items, for whoever sends them without a store around them.
pub fn transact_items(names: &Names, writes: Vec<Write>) -> Result<Vec<TransactWriteItem>, BuildError> {
    writes.into_iter().map(|write| expression::transact_item(names, write)).collect()
}

fn unanswered(request: &HashMap<String, KeysAndAttributes>) -> usize {
    request.values().map(|asked| asked.keys().len()).sum()
}

#[async_trait]
impl Store for DynamoDb {
    async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<(), TransactError> {
        schema::check(token, &writes).map_err(|e| TransactError::Invalid(e.into()))?;
        let items = transact_items(&self.names, writes).map_err(|e| TransactError::Invalid(e.into()))?;
        let request = self.writes.transact_write_items().client_request_token(token).set_transact_items(Some(items));
        request.send().await.map(drop).map_err(errors::transact)
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        schema::check_key(key).map_err(errors::invalid_read)?;
        let request = self.reads.get_item().table_name(self.names.of(key.table)).consistent_read(true);
        let answer = request.set_key(Some(convert::key(key))).send().await.map_err(errors::read)?;
        Ok(answer.item.map(convert::item_from))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        keys.iter().try_for_each(schema::check_key).map_err(errors::invalid_read)?;
        let distinct: Vec<&Key> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = BTreeMap::new();
        for chunk in distinct.chunks(BATCH_KEYS_MAX) {
            self.batch_get(chunk.iter().copied().collect(), &mut found).await?;
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn query(
        &self,
        table: Table,
        pk: &str,
        sk_from: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        schema::check_query(table, pk, sk_from, limit).map_err(errors::invalid_read)?;
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            let mut request = self
                .reads
                .query()
                .table_name(self.names.of(table))
                .consistent_read(true)
                .limit(page_size(limit - items.len()))
                .set_exclusive_start_key(next)
                .key_condition_expression("#pk = :pk")
                .expression_attribute_names("#pk", table.hash_key())
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()));
            if let (Some(name), Some(from)) = (table.range_key(), sk_from) {
                request = request
                    .key_condition_expression("#pk = :pk AND #sk >= :sk")
                    .expression_attribute_names("#sk", name)
                    .expression_attribute_values(":sk", AttributeValue::S(from.to_owned()));
            }
            let answer = request.send().await.map_err(errors::read)?;
            items.extend(answer.items.unwrap_or_default().into_iter().map(convert::item_from));
            next = answer.last_evaluated_key;
            if next.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    async fn query_index(
        &self,
        index: Index,
        hash: &str,
        range_eq: Option<&str>,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        schema::check_index_query(index, hash, range_eq, limit).map_err(errors::invalid_read)?;
        let (hash_name, range_name) = index.keys();
        let start = page.map(|page| convert::start_of_index(index, hash, page)).transpose()?;
        let mut request = self
            .reads
            .query()
            .table_name(self.names.of(index.table()))
            .index_name(index.name())
            .limit(page_size(limit))
            .set_exclusive_start_key(start)
            .key_condition_expression("#hash = :hash")
            .expression_attribute_names("#hash", hash_name)
            .expression_attribute_values(":hash", AttributeValue::S(hash.to_owned()));
        if let (Some(name), Some(wanted)) = (range_name, range_eq) {
            request = request
                .key_condition_expression("#hash = :hash AND #range = :range")
                .expression_attribute_names("#range", name)
                .expression_attribute_values(":range", AttributeValue::S(wanted.to_owned()));
        }
        let answer = request.send().await.map_err(errors::read)?;
        Ok(convert::page(answer.items, answer.last_evaluated_key))
    }

    async fn scan(&self, table: Table, page: Option<PageKey>, limit: usize) -> Result<Page, StoreError> {
        schema::check_limit(limit).map_err(errors::invalid_read)?;
        let start = page.map(|page| convert::start_of_table(table, page)).transpose()?;
        let request = self.reads.scan().table_name(self.names.of(table)).limit(page_size(limit));
        let answer = request.set_exclusive_start_key(start).send().await.map_err(errors::read)?;
        Ok(convert::page(answer.items, answer.last_evaluated_key))
    }
}

/// DynamoDB counts in 32 bits; a page ends at 1 MB long before.
fn page_size(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}
