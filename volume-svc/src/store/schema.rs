//! The shape of the tables and what a transaction may contain: checked before a store is asked, so that every
//! store refuses the same transactions and a bug shows in the cheapest test.
//!
//! The names of tables and indexes are the predecessor's where it has them, because others read them.

use crate::ports::store::{TOKEN_CHARS_MAX, WRITES_MAX};
use std::collections::BTreeSet;
use volume_core::item::{Index, Item, Key, Op, Table, Value, Write};

/// The longest hash key, in bytes (DynamoDB's limit).
const HASH_KEY_BYTES_MAX: usize = 2_048;

/// The longest range key, in bytes (DynamoDB's limit).
const RANGE_KEY_BYTES_MAX: usize = 1_024;

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A string that is not empty.
    Text,
    /// A number.
    Number,
}

impl KeyType {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text, Value::S(text)) => !text.is_empty(),
            (Self::Number, Value::N(_)) => true,
            _ => false,
        }
    }
}

/// A secondary index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexShape {
    /// Of which table.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// Its hash attribute.
    pub hash: (&'static str, KeyType),
    /// Its range attribute.
    pub range: Option<(&'static str, KeyType)>,
    /// What it shows of an item beside the keys; none is everything.
    pub shows: Option<&'static [&'static str]>,
}

impl IndexShape {
    /// Whether it shows an attribute.
    pub fn shows(&self, attribute: &str) -> bool {
        let mut keys =
            [Some(self.table.hash_key()), self.table.range_key(), Some(self.hash.0), self.range.map(|r| r.0)]
                .into_iter()
                .flatten();
        self.shows.is_none_or(|names| names.contains(&attribute)) || keys.any(|key| key == attribute)
    }
}

/// What the index of live migrations shows of a head. Every process reads all of it every second: a head is some two
/// kilobytes, this a tenth of that.
const HINT: &[&str] = &["owner", "version"];

/// The predecessor's indexes that nothing here reads. They are made all the same, because others read them, and
/// because an index restricts what its key attributes may be.
const FOREIGN: [IndexShape; 4] = [
    shape(Table::Graph, "entity-index", "entity_id", None),
    shape(Table::Volume, "database-index", "database_id", None),
    shape(Table::Instance, "status-database-count-index", "status", Some("database_count")),
    shape(Table::Instance, "backend-type-status-index", "backend_type", Some("status")),
];

const fn shape(table: Table, name: &'static str, hash: &'static str, range: Option<&'static str>) -> IndexShape {
    let range = match range {
        Some(name) => Some((name, key_type(name))),
        None => None,
    };
    IndexShape { table, name, hash: (hash, key_type(hash)), range, shows: None }
}

/// The type of a key attribute by its name: the same in every table.
const fn key_type(attribute: &str) -> KeyType {
    match attribute.as_bytes() {
        b"updated_at" | b"created_at" | b"database_count" => KeyType::Number,
        _ => KeyType::Text,
    }
}

/// The shape of an index in use.
pub fn index_shape(index: Index) -> IndexShape {
    let (hash, range) = index.keys();
    let shows = match index {
        Index::JournalActive => Some(HINT),
        _ => None,
    };
    IndexShape { shows, ..shape(index.table(), index.name(), hash, range) }
}

/// Every index of a table: those in use, then the foreign ones.
pub fn indexes(table: Table) -> impl Iterator<Item = IndexShape> {
    Index::ALL.into_iter().map(index_shape).chain(FOREIGN).filter(move |i| i.table == table)
}

/// Everything that is wrong with a request to the store. A fault of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Malformed(pub Vec<String>);

/// Checks a transaction: its token, its size, and each write.
pub fn check(token: &str, writes: &[Write]) -> Result<(), Malformed> {
    let mut faults = Vec::new();
    if !(1..=TOKEN_CHARS_MAX).contains(&token.chars().count()) {
        faults.push(format!("the token must be 1 to {TOKEN_CHARS_MAX} characters"));
    }
    if !(1..=WRITES_MAX).contains(&writes.len()) {
        faults.push(format!("a transaction has 1 to {WRITES_MAX} writes, not {}", writes.len()));
    }
    let mut seen = BTreeSet::new();
    for (at, write) in writes.iter().enumerate() {
        if !seen.insert(&write.key) {
            faults.push(format!("write {at} is the second one to its item"));
        }
        faults.extend(write_faults(write).into_iter().map(|fault| format!("write {at} {fault}")));
    }
    if faults.is_empty() { Ok(()) } else { Err(Malformed(faults)) }
}

/// Checks a key.
pub fn check_key(key: &Key) -> Result<(), Malformed> {
    let faults = key_faults(key);
    if faults.is_empty() { Ok(()) } else { Err(Malformed(faults)) }
}

/// Checks the size of a page or listing.
pub fn check_limit(limit: usize) -> Result<(), Malformed> {
    if limit == 0 { Err(Malformed(vec!["a limit is at least 1".to_owned()])) } else { Ok(()) }
}

/// Checks the parts of a query of a table.
pub fn check_query(table: Table, pk: &str, sk_from: Option<&str>, limit: usize) -> Result<(), Malformed> {
    let mut faults = Vec::new();
    if pk.is_empty() {
        faults.push("the hash key of a query is not empty".to_owned());
    }
    if sk_from.is_some_and(str::is_empty) || (sk_from.is_some() && table.range_key().is_none()) {
        faults.push("a query goes on from a range key that is not empty, in a table that has one".to_owned());
    }
    faults.extend(check_limit(limit).err().into_iter().flat_map(|malformed| malformed.0));
    if faults.is_empty() { Ok(()) } else { Err(Malformed(faults)) }
}

/// Checks the parts of a query of an index.
pub fn check_index_query(index: Index, hash: &str, range_eq: Option<&str>, limit: usize) -> Result<(), Malformed> {
    let mut faults = Vec::new();
    if hash.is_empty() {
        faults.push("the hash of a query is not empty".to_owned());
    }
    let text_range = matches!(index_shape(index).range, Some((_, KeyType::Text)));
    if range_eq.is_some_and(|text| text.is_empty() || !text_range) {
        faults.push("only a range attribute that is a text can be asked for, and by a text".to_owned());
    }
    faults.extend(check_limit(limit).err().into_iter().flat_map(|malformed| malformed.0));
    if faults.is_empty() { Ok(()) } else { Err(Malformed(faults)) }
}

fn write_faults(write: &Write) -> Vec<String> {
    let mut faults = key_faults(&write.key);
    let table = write.key.table;
    let keys = key_attributes(&write.key);
    match &write.op {
        Op::Put(item) => {
            let contradicts =
                |(name, value): &(&str, &str)| item.0.get(*name).is_some_and(|v| v != &Value::from(*value));
            for (name, _) in keys.iter().filter(|key| contradicts(key)) {
                faults.push(format!("puts a {name} that is not its key's"));
            }
            faults.extend(attribute_faults(table, item));
        }
        Op::Update { set, remove } | Op::Upsert { set, remove } => {
            faults.extend(change_faults(&write.key, set, remove, None));
        }
        Op::Count { name, set, remove, .. } => faults.extend(change_faults(&write.key, set, remove, Some(name))),
        Op::Check if write.conds.is_empty() => faults.push("checks nothing".to_owned()),
        Op::Check => {}
    }
    faults
}

fn change_faults(key: &Key, set: &Item, remove: &[String], counted: Option<&String>) -> Vec<String> {
    let mut faults = Vec::new();
    if set.0.is_empty() && remove.is_empty() && counted.is_none() {
        faults.push("changes nothing; that is a check".to_owned());
    }
    for (name, _) in key_attributes(key) {
        if set.0.contains_key(name) || remove.iter().chain(counted).any(|other| other == name) {
            faults.push(format!("changes the key attribute {name}"));
        }
    }
    let mut named = BTreeSet::new();
    for name in remove.iter().chain(counted) {
        if set.0.contains_key(name) || !named.insert(name) {
            faults.push(format!("names {name} twice"));
        }
    }
    faults.extend(attribute_faults(key.table, set));
    faults
}

fn key_faults(key: &Key) -> Vec<String> {
    let mut faults = Vec::new();
    if !(1..=HASH_KEY_BYTES_MAX).contains(&key.pk.len()) {
        faults.push(format!("has a hash key that is not 1 to {HASH_KEY_BYTES_MAX} bytes"));
    }
    match (key.table.range_key(), &key.sk) {
        (Some(_), Some(sk)) if (1..=RANGE_KEY_BYTES_MAX).contains(&sk.len()) => {}
        (Some(_), _) => faults.push(format!("has no range key of 1 to {RANGE_KEY_BYTES_MAX} bytes")),
        (None, Some(_)) => faults.push("has a range key in a table without one".to_owned()),
        (None, None) => {}
    }
    faults
}

/// An attribute that an index uses must be of the index's type, else the whole write is refused; one that is
/// absent just keeps the item out of the index.
fn attribute_faults(table: Table, item: &Item) -> Vec<String> {
    let mut faults = BTreeSet::new();
    if item.0.contains_key("") {
        faults.insert("has an attribute without a name".to_owned());
    }
    for index in indexes(table) {
        for (name, kind) in std::iter::once(index.hash).chain(index.range) {
            if item.0.get(name).is_some_and(|value| !kind.fits(value)) {
                faults.insert(match kind {
                    KeyType::Text => format!("sets {name}, an index's key, to what is no text or empty"),
                    KeyType::Number => format!("sets {name}, an index's key, to what is no number"),
                });
            }
        }
    }
    faults.into_iter().collect()
}

/// The key attributes of an item and their values.
pub fn key_attributes(key: &Key) -> Vec<(&'static str, &str)> {
    let range = key.table.range_key().zip(key.sk.as_deref());
    std::iter::once((key.table.hash_key(), key.pk.as_str())).chain(range).collect()
}

/// An item with its key attributes, as the store keeps it.
pub fn keyed(key: &Key, item: Item) -> Item {
    key_attributes(key).into_iter().fold(item, |item, (name, value)| item.with(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use volume_core::item::Cond;

    #[test]
    fn numbers_and_texts_are_told_apart_by_the_attributes_name() {
        assert_eq!(index_shape(Index::JournalActive).range, Some(("updated_at", KeyType::Number)));
        assert_eq!(index_shape(Index::JournalByGraph).range, Some(("created_at", KeyType::Number)));
        assert_eq!(index_shape(Index::InstanceByTierStatus).range, Some(("status", KeyType::Text)));
        let names: Vec<_> = indexes(Table::Instance).map(|i| i.name).collect();
        assert_eq!(names, ["tier-status-index", "status-database-count-index", "backend-type-status-index"]);
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let twice = Write::check(Key::new(Table::Locks, ""), vec![]);
        let put = Write::create(
            Key::journal("p", "s"),
            Item::default().with("pk", "other").with("updated_at", "soon").with("", "x"),
        );
        let update = Write::update(
            Key::new(Table::Graph, "g"),
            Item::default().with("graph_id", "h").with("a", 1).with("instance_id", ""),
            &["a"],
            vec![Cond::Exists],
        );
        let faults = check("", &[twice.clone(), twice, put, update]).unwrap_err().0;
        let expected = [
            "the token must be 1 to 36 characters",
            "write 0 has a hash key that is not 1 to 2048 bytes",
            "write 0 checks nothing",
            "write 1 is the second one to its item",
            "write 1 has a hash key that is not 1 to 2048 bytes",
            "write 1 checks nothing",
            "write 2 puts a pk that is not its key's",
            "write 2 has an attribute without a name",
            "write 2 sets updated_at, an index's key, to what is no number",
            "write 3 changes the key attribute graph_id",
            "write 3 names a twice",
            "write 3 sets instance_id, an index's key, to what is no text or empty",
        ];
        assert_eq!(faults, expected);
    }
}
