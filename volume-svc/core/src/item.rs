//! What is asked of the store, as values: items, keys, conditions, and the writes of one transaction.
//!
//! The machine and the registries describe every durable write with these words, so that the rules (which
//! attributes are ours, which condition fences a write) stand in the core and are tested there, and each store
//! (`volume-svc/src/store/`) only has to interpret them. It is DynamoDB's model cut down to what is used; it is
//! not an abstraction over databases.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The five tables (`{prefix}-{env}-{name}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// `graph-registry`, hash `graph_id`.
    Graph,
    /// `volume-registry`, hash `volume_id`.
    Volume,
    /// `instance-registry`, hash `instance_id`.
    Instance,
    /// `journal`, hash `pk`, range `sk`: META and EV items of migrations.
    Journal,
    /// `locks`, hash `pk`: VOL#, GRAPH#, PERMIT#, WORKER# items.
    Locks,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [Self::Graph, Self::Volume, Self::Instance, Self::Journal, Self::Locks];

    /// The last part of the table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph-registry",
            Self::Volume => "volume-registry",
            Self::Instance => "instance-registry",
            Self::Journal => "journal",
            Self::Locks => "locks",
        }
    }

    /// The hash key's attribute.
    pub const fn hash_key(self) -> &'static str {
        match self {
            Self::Graph => "graph_id",
            Self::Volume => "volume_id",
            Self::Instance => "instance_id",
            Self::Journal | Self::Locks => "pk",
        }
    }

    /// The range key's attribute, if the table has one.
    pub const fn range_key(self) -> Option<&'static str> {
        match self {
            Self::Journal => Some("sk"),
            _ => None,
        }
    }
}

/// The indexes in use. All are eventually consistent: a hit is a hint that a consistent `get` must confirm, an
/// empty answer proves nothing (rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Index {
    /// Graphs by `instance_id`.
    GraphByInstance,
    /// Volumes by `instance_id`; free volumes have no such attribute (rule 8).
    VolumeByInstance,
    /// Volumes by `tier`.
    VolumeByTier,
    /// Instances by `cluster_tier`, then `status`.
    InstanceByTierStatus,
    /// Live migrations by `active_shard`, then `updated_at`; sparse: absent once terminal.
    JournalActive,
    /// Migrations by `graph_id`, then `created_at`.
    JournalByGraph,
}

impl Index {
    /// Every index.
    pub const ALL: [Self; 6] = [
        Self::GraphByInstance,
        Self::VolumeByInstance,
        Self::VolumeByTier,
        Self::InstanceByTierStatus,
        Self::JournalActive,
        Self::JournalByGraph,
    ];

    /// The table it belongs to.
    pub const fn table(self) -> Table {
        match self {
            Self::GraphByInstance => Table::Graph,
            Self::VolumeByInstance | Self::VolumeByTier => Table::Volume,
            Self::InstanceByTierStatus => Table::Instance,
            Self::JournalActive | Self::JournalByGraph => Table::Journal,
        }
    }

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GraphByInstance | Self::VolumeByInstance => "instance-index",
            Self::VolumeByTier => "tier-index",
            Self::InstanceByTierStatus => "tier-status-index",
            Self::JournalActive => "active-index",
            Self::JournalByGraph => "graph-index",
        }
    }

    /// Its hash attribute and, if it has one, its range attribute. All are strings but `updated_at` and
    /// `created_at` of the journal, which are numbers.
    pub const fn keys(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::GraphByInstance | Self::VolumeByInstance => ("instance_id", None),
            Self::VolumeByTier => ("tier", None),
            Self::InstanceByTierStatus => ("cluster_tier", Some("status")),
            Self::JournalActive => ("active_shard", Some("updated_at")),
            Self::JournalByGraph => ("graph_id", Some("created_at")),
        }
    }
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A string; never empty in a key.
    S(String),
    /// A whole number.
    N(i64),
    /// True or false.
    Bool(bool),
    /// A list of strings.
    L(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::S(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::S(text)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::N(number)
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::L(list)
    }
}

/// An item: attributes by name, keys included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Item(pub BTreeMap<String, Value>);

impl Item {
    /// The text of an attribute, if it is there and a string.
    pub fn s(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::S(text)) => Some(text),
            _ => None,
        }
    }

    /// The number of an attribute, if it is there and a number.
    pub fn n(&self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::N(number)) => Some(*number),
            _ => None,
        }
    }

    /// The list of an attribute; empty if it is not there or no list.
    pub fn l(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Value::L(list)) => list,
            _ => &[],
        }
    }

    /// Sets an attribute, for building.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Sets an attribute if there is a value.
    #[must_use]
    pub fn with_opt(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// Names one item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The table.
    pub table: Table,
    /// Value of the hash key.
    pub pk: String,
    /// Value of the range key, for tables that have one.
    pub sk: Option<String>,
}

impl Key {
    /// The key of an item in a table without a range key.
    pub fn new(table: Table, pk: impl Into<String>) -> Self {
        Self { table, pk: pk.into(), sk: None }
    }

    /// The key of an item of the journal.
    pub fn journal(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { table: Table::Journal, pk: pk.into(), sk: Some(sk.into()) }
    }
}

/// A condition on one item as it is before the transaction. All of a write's conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cond {
    /// There is no such item.
    NotExists,
    /// The item exists.
    Exists,
    /// The attribute is there and equal.
    Eq(String, Value),
    /// The attribute (or the item) is not there.
    Absent(String),
    /// The attribute is not there, or equal.
    AbsentOrEq(String, Value),
    /// The attribute is a number below this.
    Below(String, i64),
    /// The attribute is not there, or a number below this.
    AbsentOrBelow(String, i64),
}

impl Cond {
    /// `attribute = value`.
    pub fn eq(name: &str, value: impl Into<Value>) -> Self {
        Self::Eq(name.to_owned(), value.into())
    }

    /// The attribute is not there.
    pub fn absent(name: &str) -> Self {
        Self::Absent(name.to_owned())
    }

    /// The attribute is not there, or equal.
    pub fn absent_or_eq(name: &str, value: impl Into<Value>) -> Self {
        Self::AbsentOrEq(name.to_owned(), value.into())
    }

    /// Whether it holds for an item; the one meaning of a condition, which the `memory` store runs and the
    /// conformance suite compares with DynamoDB's.
    pub fn holds(&self, item: Option<&Item>) -> bool {
        let get = |name: &str| item.and_then(|i| i.0.get(name));
        match self {
            Self::NotExists => item.is_none(),
            Self::Exists => item.is_some(),
            Self::Eq(name, value) => get(name) == Some(value),
            Self::Absent(name) => get(name).is_none(),
            Self::AbsentOrEq(name, value) => get(name).is_none_or(|v| v == value),
            Self::Below(name, limit) => matches!(get(name), Some(Value::N(n)) if n < limit),
            Self::AbsentOrBelow(name, limit) => match get(name) {
                None => true,
                Some(Value::N(n)) => n < limit,
                Some(_) => false,
            },
        }
    }
}

/// What a write does to its item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Puts the whole item (its keys are in the write's key and need not be repeated).
    Put(Item),
    /// Sets and removes attributes of an item that exists: an update never creates a row (invariant 12).
    Update {
        /// Attributes to set.
        set: Item,
        /// Attributes to remove.
        remove: Vec<String>,
    },
    /// As `Update`, but creates the item if need be. For locks, permits and workers only.
    Upsert {
        /// Attributes to set.
        set: Item,
        /// Attributes to remove.
        remove: Vec<String>,
    },
    /// As `Upsert`, and adds to a number, which counts as 0 where there is none: of many who do it at once none has to
    /// have seen the others. For counters that are shared.
    Count {
        /// The number.
        name: String,
        /// What is added; below 0 is taken away.
        by: i64,
        /// Attributes to set.
        set: Item,
        /// Attributes to remove.
        remove: Vec<String>,
    },
    /// Changes nothing; only the conditions count.
    Check,
}

/// One write of a transaction. A transaction has at most one write per item and at most 100 in all (DynamoDB).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which item.
    pub key: Key,
    /// What to do.
    pub op: Op,
    /// Under which conditions.
    pub conds: Vec<Cond>,
}

impl Write {
    /// Puts an item that must not exist yet.
    pub fn create(key: Key, item: Item) -> Self {
        Self { key, op: Op::Put(item), conds: vec![Cond::NotExists] }
    }

    /// Updates an item that exists.
    pub fn update(key: Key, set: Item, remove: &[&str], conds: Vec<Cond>) -> Self {
        Self { key, op: Op::Update { set, remove: owned(remove) }, conds }
    }

    /// Updates an item, or creates it.
    pub fn upsert(key: Key, set: Item, remove: &[&str], conds: Vec<Cond>) -> Self {
        Self { key, op: Op::Upsert { set, remove: owned(remove) }, conds }
    }

    /// Adds to a number of an item, and sets and removes attributes; creates the item if need be.
    pub fn count(key: Key, (name, by): (&str, i64), set: Item, remove: &[&str], conds: Vec<Cond>) -> Self {
        Self { key, op: Op::Count { name: name.to_owned(), by, set, remove: owned(remove) }, conds }
    }

    /// Checks an item.
    pub fn check(key: Key, conds: Vec<Cond>) -> Self {
        Self { key, op: Op::Check, conds }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}
