//! Values between the core's items and DynamoDB's.
//!
//! Rows of the registries may hold what others wrote. An attribute that the core has no word for (a map, binary, a
//! fraction) is left out when read: nobody here writes it back, because registry rows are updated by attribute and
//! never put whole. A *list* is never shortened, because its length can carry a decision ("this volume holds one
//! graph"): an element that is no text becomes a text that is no id.

use super::super::schema::{self, Malformed};
use crate::ports::store::{Page, PageKey, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;
use volume_core::item::{Index, Item, Key, Table, Value};

/// An item as DynamoDB has it.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// A value for DynamoDB.
pub(super) fn value(value: Value) -> AttributeValue {
    match value {
        Value::S(text) => AttributeValue::S(text),
        Value::N(number) => AttributeValue::N(number.to_string()),
        Value::Bool(flag) => AttributeValue::Bool(flag),
        Value::L(list) => AttributeValue::L(list.into_iter().map(AttributeValue::S).collect()),
    }
}

/// An item for DynamoDB.
pub(super) fn item(item: Item) -> Attributes {
    item.0.into_iter().map(|(name, v)| (name, value(v))).collect()
}

/// A key for DynamoDB.
pub(super) fn key(key: &Key) -> Attributes {
    let attributes = schema::key_attributes(key).into_iter();
    attributes.map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned()))).collect()
}

/// An item from DynamoDB.
pub(super) fn item_from(attributes: Attributes) -> Item {
    Item(attributes.into_iter().filter_map(|(name, v)| Some((name, value_from(v)?))).collect())
}

fn value_from(value: AttributeValue) -> Option<Value> {
    match value {
        AttributeValue::S(text) => Some(Value::S(text)),
        // DynamoDB writes whole numbers without fraction or exponent, whatever was put.
        AttributeValue::N(number) => number.parse().ok().map(Value::N),
        AttributeValue::Bool(flag) => Some(Value::Bool(flag)),
        AttributeValue::L(list) => Some(Value::L(list.into_iter().map(element_from).collect())),
        AttributeValue::Ss(set) => Some(Value::L(set)),
        _ => None,
    }
}

fn element_from(value: AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => text,
        AttributeValue::N(number) => format!("<number {number}>"),
        AttributeValue::Bool(flag) => format!("<flag {flag}>"),
        _ => "<not a text>".to_owned(),
    }
}

/// The key of an item that was read.
pub(super) fn key_of(table: Table, item: &Item) -> Result<Key, StoreError> {
    let part = |name: &str| item.s(name).map(str::to_owned);
    let sk = table.range_key().map(part);
    match (part(table.hash_key()), sk) {
        (Some(pk), None) => Ok(Key { table, pk, sk: None }),
        (Some(pk), Some(Some(sk))) => Ok(Key { table, pk, sk: Some(sk) }),
        _ => Err(StoreError::Unavailable("an item came without its key".into())),
    }
}

/// A page of an answer.
pub(super) fn page(items: Option<Vec<Attributes>>, last: Option<Attributes>) -> Page {
    let items = items.unwrap_or_default().into_iter().map(item_from).collect();
    // Key attributes are texts and whole numbers, so a page key loses nothing by being an item.
    Page { items, next: last.filter(|key| !key.is_empty()).map(|key| PageKey(item_from(key))) }
}

/// Where a scan goes on.
pub(super) fn start_of_table(table: Table, page: PageKey) -> Result<Attributes, StoreError> {
    let names: Vec<&str> = std::iter::once(table.hash_key()).chain(table.range_key()).collect();
    start(&names, page)
}

/// Where the listing of an index goes on.
pub(super) fn start_of_index(index: Index, hash: &str, page: PageKey) -> Result<Attributes, StoreError> {
    let (hash_name, range_name) = index.keys();
    if page.0.s(hash_name) != Some(hash) {
        return Err(misfit());
    }
    let table = index.table();
    let of_table = std::iter::once(table.hash_key()).chain(table.range_key());
    let names: Vec<&str> = of_table.chain([hash_name]).chain(range_name).collect();
    start(&names, page)
}

fn start(names: &[&str], page: PageKey) -> Result<Attributes, StoreError> {
    let fits = page.0.0.len() == names.len() && names.iter().all(|name| page.0.0.contains_key(*name));
    if fits { Ok(item(page.0)) } else { Err(misfit()) }
}

fn misfit() -> StoreError {
    StoreError::Invalid(Malformed(vec!["the page key is of another listing".to_owned()]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_length_whatever_is_in_it() {
        let list =
            vec![AttributeValue::S("kg1".to_owned()), AttributeValue::N("5".to_owned()), AttributeValue::Null(true)];
        let read = value_from(AttributeValue::L(list));
        assert_eq!(read, Some(Value::L(["kg1", "<number 5>", "<not a text>"].map(str::to_owned).to_vec())));
        let set = AttributeValue::Ss(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(value_from(set), Some(Value::L(vec!["a".to_owned(), "b".to_owned()])));
    }

    #[test]
    fn what_the_core_has_no_word_for_is_left_out() {
        let attributes = Attributes::from([
            ("load".to_owned(), AttributeValue::N("0.75".to_owned())),
            ("none".to_owned(), AttributeValue::Null(true)),
            ("tags".to_owned(), AttributeValue::M(HashMap::new())),
            ("size".to_owned(), AttributeValue::N("-7".to_owned())),
        ]);
        assert_eq!(item_from(attributes), Item::default().with("size", -7));
    }
}
