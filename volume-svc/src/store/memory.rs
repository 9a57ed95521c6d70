//! The store in memory, for virtual-time simulation: deterministic, and gone with the process.
//!
//! It runs `Cond::holds` itself. It is stricter than the port allows: it never conflicts, never throttles, never
//! loses an answer, and its indexes show a write at once; simulation wraps it to get the bad manners back. It does
//! not check DynamoDB's sizes (400 KB an item, 4 MB a transaction).

use super::schema::{self, IndexShape, Malformed};
use crate::ports::store::{Page, PageKey, Refusal, Store, StoreError, TransactError};
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use volume_core::item::{Index, Item, Key, Op, Table, Value, Write};

/// How many of the last successful tokens are remembered. DynamoDB remembers for 10 minutes; a count keeps the
/// store free of a clock. More than a simulation commits between a lost answer and its repetition.
const TOKENS_MAX: usize = 4_096;

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    items: BTreeMap<Key, Item>,
    /// With what the index shows, where that is not the whole item.
    index: BTreeMap<Entry, Option<Item>>,
    tokens: BTreeMap<String, Vec<Write>>,
    /// The order in which tokens are forgotten.
    token_order: VecDeque<String>,
}

/// An item's place in an index. The order of the fields is the order of a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    index: Index,
    hash: String,
    range: Range,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    None,
    Number(i64),
    Text(String),
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with everything that is in this one.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { state: Mutex::new(self.lock().clone()) }
    }

    /// A panic elsewhere leaves whole transactions only: `apply` does not stop half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<(), TransactError> {
        schema::check(token, &writes).map_err(|e| TransactError::Invalid(e.into()))?;
        let mut state = self.lock();
        if let Some(done) = state.tokens.get(token) {
            if *done == writes {
                return Ok(());
            }
            let other = Malformed(vec!["the token was used with other writes".to_owned()]);
            return Err(TransactError::Invalid(other.into()));
        }
        let refusals: Vec<Refusal> = writes
            .iter()
            .enumerate()
            .filter_map(|(at, write)| {
                let item = state.items.get(&write.key);
                let must_exist = matches!(write.op, Op::Update { .. });
                let holds = (!must_exist || item.is_some()) && write.conds.iter().all(|cond| cond.holds(item));
                (!holds).then(|| Refusal { write: at, item: item.cloned() })
            })
            .collect();
        if !refusals.is_empty() {
            return Err(TransactError::Refused(refusals));
        }
        for write in &writes {
            state.apply(write);
        }
        state.remember(token, writes);
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        schema::check_key(key).map_err(invalid)?;
        Ok(self.lock().items.get(key).cloned())
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        keys.iter().try_for_each(schema::check_key).map_err(invalid)?;
        let state = self.lock();
        Ok(keys.iter().map(|key| state.items.get(key).cloned()).collect())
    }

    async fn query(
        &self,
        table: Table,
        pk: &str,
        sk_from: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        schema::check_query(table, pk, sk_from, limit).map_err(invalid)?;
        let from = Key { table, pk: pk.to_owned(), sk: sk_from.map(str::to_owned) };
        let state = self.lock();
        let items = state.items.range(from..).take_while(|(key, _)| key.table == table && key.pk == pk);
        Ok(items.take(limit).map(|(_, item)| item.clone()).collect())
    }

    async fn query_index(
        &self,
        index: Index,
        hash: &str,
        range_eq: Option<&str>,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        schema::check_index_query(index, hash, range_eq, limit).map_err(invalid)?;
        let wanted = range_eq.map(|text| Range::Text(text.to_owned()));
        let from = match page {
            Some(page) => {
                let last = entry_of_page(index, &page).filter(|last| last.hash == hash).ok_or_else(misfit)?;
                Bound::Excluded(last)
            }
            // The least entry of this hash, whatever its range and key.
            None => Bound::Included(Entry {
                index,
                hash: hash.to_owned(),
                range: wanted.clone().unwrap_or(Range::None),
                key: Key { table: Table::ALL[0], pk: String::new(), sk: None },
            }),
        };
        let state = self.lock();
        let entries = state.index.range((from, Bound::Unbounded)).take_while(|(e, _)| {
            e.index == index && e.hash == hash && wanted.as_ref().is_none_or(|range| e.range == *range)
        });
        let found: Vec<_> = entries.take(limit.saturating_add(1)).collect();
        let item = |(entry, shown): &(&Entry, &Option<Item>)| match shown {
            Some(shown) => Some(shown.clone()),
            None => state.items.get(&entry.key).cloned(),
        };
        let items: Vec<Item> = found.iter().take(limit).filter_map(item).collect();
        let next = (found.len() > limit).then(|| items.last().map(|last| page_key(last, Some(index), index.table())));
        Ok(Page { items, next: next.flatten() })
    }

    async fn scan(&self, table: Table, page: Option<PageKey>, limit: usize) -> Result<Page, StoreError> {
        schema::check_limit(limit).map_err(invalid)?;
        let from = match page {
            Some(page) => Bound::Excluded(key_of_page(table, &page).ok_or_else(misfit)?),
            None => Bound::Included(Key { table, pk: String::new(), sk: None }),
        };
        let state = self.lock();
        let rows = state.items.range((from, Bound::Unbounded)).take_while(|(key, _)| key.table == table);
        let found: Vec<&Item> = rows.map(|(_, item)| item).take(limit.saturating_add(1)).collect();
        let next = (found.len() > limit).then(|| page_key(found[limit - 1], None, table));
        Ok(Page { items: found.into_iter().take(limit).cloned().collect(), next })
    }
}

impl State {
    fn apply(&mut self, write: &Write) {
        let old = self.items.get(&write.key).cloned();
        let new = match &write.op {
            Op::Check => return,
            Op::Put(item) => item.clone(),
            Op::Update { set, remove } | Op::Upsert { set, remove } => {
                let mut item = old.clone().unwrap_or_default();
                item.0.extend(set.0.clone());
                for name in remove {
                    item.0.remove(name);
                }
                item
            }
            Op::Count { name, by, set, remove } => {
                let mut item = old.clone().unwrap_or_default();
                let sum = item.n(name).unwrap_or(0).saturating_add(*by);
                item.0.extend(set.0.clone());
                for gone in remove {
                    item.0.remove(gone);
                }
                item.with(name, sum)
            }
        };
        let new = schema::keyed(&write.key, new);
        for index in Index::ALL.into_iter().filter(|index| index.table() == write.key.table) {
            if let Some(entry) = old.as_ref().and_then(|item| entry(index, &write.key, item)) {
                self.index.remove(&entry);
            }
            if let Some(entry) = entry(index, &write.key, &new) {
                self.index.insert(entry, shown(&schema::index_shape(index), &new));
            }
        }
        self.items.insert(write.key.clone(), new);
    }

    fn remember(&mut self, token: &str, writes: Vec<Write>) {
        if self.token_order.len() == TOKENS_MAX
            && let Some(oldest) = self.token_order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
        self.token_order.push_back(token.to_owned());
        self.tokens.insert(token.to_owned(), writes);
    }
}

/// An item's entry in an index; none if it lacks one of the index's attributes.
fn entry(index: Index, key: &Key, item: &Item) -> Option<Entry> {
    let IndexShape { hash, range, .. } = schema::index_shape(index);
    let range = match range {
        None => Range::None,
        Some((name, _)) => match item.0.get(name)? {
            Value::S(text) => Range::Text(text.clone()),
            Value::N(number) => Range::Number(*number),
            Value::Bool(_) | Value::L(_) => return None,
        },
    };
    Some(Entry { index, hash: item.s(hash.0)?.to_owned(), range, key: key.clone() })
}

/// An item as an index shows it; none if it shows all of it.
fn shown(index: &IndexShape, item: &Item) -> Option<Item> {
    index.shows?;
    let shown = item.0.iter().filter(|(name, _)| index.shows(name));
    Some(Item(shown.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// The key attributes of an item, of its table and of the index that is listed.
fn page_key(item: &Item, index: Option<Index>, table: Table) -> PageKey {
    let of_index = index.map(Index::keys);
    let names = [Some(table.hash_key()), table.range_key(), of_index.map(|i| i.0), of_index.and_then(|i| i.1)];
    let keys = names.into_iter().flatten().filter_map(|name| item.0.get_key_value(name));
    PageKey(Item(keys.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

fn key_of_page(table: Table, page: &PageKey) -> Option<Key> {
    let sk = match table.range_key() {
        Some(name) => Some(page.0.s(name)?.to_owned()),
        None => None,
    };
    Some(Key { table, pk: page.0.s(table.hash_key())?.to_owned(), sk })
}

fn entry_of_page(index: Index, page: &PageKey) -> Option<Entry> {
    entry(index, &key_of_page(index.table(), page)?, &page.0)
}

fn misfit() -> StoreError {
    invalid(Malformed(vec!["the page key is of another listing".to_owned()]))
}

fn invalid(malformed: Malformed) -> StoreError {
    StoreError::Invalid(malformed.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    async fn fresh() -> Arc<dyn Store> {
        Arc::new(Memory::new())
    }

    crate::store_suite!(fresh);

    #[test]
    fn no_case_is_left_out_of_the_list() {
        let list = include_str!("suite.rs");
        let cases = [include_str!("suite/reads.rs"), include_str!("suite/transactions.rs")].concat();
        let names: Vec<&str> =
            cases.split("pub async fn ").skip(1).filter_map(|rest| Some(rest.split_once('(')?.0)).collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            assert!(list.contains(&format!("            {name}")), "{name} is in no test");
        }
    }

    #[tokio::test]
    async fn the_oldest_token_is_forgotten_first() {
        let store = Memory::new();
        let write =
            |n: i64| vec![Write::upsert(Key::new(Table::Locks, "k"), Item::default().with("n", n), &[], vec![])];
        store.transact("first", write(1)).await.unwrap();
        for n in 0..i64::try_from(TOKENS_MAX).unwrap() {
            store.transact(&format!("t{n}"), write(n)).await.unwrap();
        }
        assert_eq!(store.lock().tokens.len(), TOKENS_MAX);
        store.transact("first", write(-1)).await.unwrap();
        let item = store.get(&Key::new(Table::Locks, "k")).await.unwrap().unwrap();
        assert_eq!(item.n("n"), Some(-1), "a forgotten token is a new transaction");
    }
}
