//! The durable store: journal, locks and registries behind one transaction.
//!
//! It is DynamoDB's model cut down to what is used (`volume_core::item` has the words). The rules of the journal
//! (which condition fences what) are the core's; here is only what a store does with them. Implementations:
//! `store/dynamodb.rs` and `store/memory.rs`; what both must do is written as cases in `store/suite.rs`.

use super::Source;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use volume_core::item::{Index, Item, Key, Table, Write};

/// The most writes of one transaction (DynamoDB's limit).
pub const WRITES_MAX: usize = 100;

/// The longest idempotency token, in characters (DynamoDB's limit).
pub const TOKEN_CHARS_MAX: usize = 36;

/// A store.
///
/// Promised: `transact` is all or nothing; its conditions are checked against the state that it changes; `get`,
/// `get_many` and `query` see every transaction that was acknowledged before they were called.
///
/// Not promised, by any implementation:
/// * that `get_many` or `query` is a snapshot: a transaction may show in one item of the answer and not in
///   another;
/// * that an index or a scan shows a write soon, or that two answers do not go back in time: a hit is a hint that
///   `get` must confirm, an empty answer proves nothing (rule 6);
/// * any order of `scan`, or of items with equal index keys;
/// * retries. A call is one attempt, or for reads a few by the SDK; the caller owns the loop and its deadline.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Applies all writes if all their conditions hold, else none.
    ///
    /// `token` is 1 to 36 characters. A repetition with the same token and the same writes within 10 minutes of
    /// success is acknowledged and not applied again; later it is a new transaction, so every write of worth also
    /// carries a condition. A transaction that was refused is not remembered: its token may be used again.
    ///
    /// 1 to 100 writes, at most one per item; anything else is `Invalid` and nothing was changed.
    async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<(), TransactError>;

    /// One item, strongly consistent.
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError>;

    /// Items in the order of their keys, each strongly consistent, together no snapshot. A key may occur twice.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;

    /// The first `limit` items of one hash key from `sk_from` (inclusive) on, in the order of their range keys
    /// (by UTF-8 bytes), strongly consistent. Pages are followed: fewer than `limit` means there are no more.
    async fn query(&self, table: Table, pk: &str, sk_from: Option<&str>, limit: usize)
    -> Result<Vec<Item>, StoreError>;

    /// One page of an index: at most `limit` items whose hash attribute is `hash` and whose range attribute, if
    /// asked for (string attributes only), is `range_eq`; ascending by the range attribute. A hint. A page may be
    /// short or empty although more follow: only `next` tells. An index may show only some attributes of its items
    /// (`store::schema::index_shape`).
    async fn query_index(
        &self,
        index: Index,
        hash: &str,
        range_eq: Option<&str>,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// One page of a whole table, for operator lists and housekeeping; a hint.
    async fn scan(&self, table: Table, page: Option<PageKey>, limit: usize) -> Result<Page, StoreError>;
}

/// Shows every item of an index with a hash, and a range if one is asked for, page after page. Each page is as old as an
/// index may be, and together they are no snapshot.
pub async fn each_of_index(
    store: &dyn Store,
    index: Index,
    hash: &str,
    range_eq: Option<&str>,
    mut each: impl FnMut(&Item) + Send,
) -> Result<(), StoreError> {
    let mut page = None;
    loop {
        let found = store.query_index(index, hash, range_eq, page.take(), INDEX_PAGE).await?;
        found.items.iter().for_each(&mut each);
        page = found.next;
        if page.is_none() {
            return Ok(());
        }
    }
}

/// Items asked for at a time: DynamoDB gives less where they are more than 1 MB.
const INDEX_PAGE: usize = 1_000;

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// Where to go on; none at the end.
    pub next: Option<PageKey>,
}

/// Where a listing goes on: the key attributes of the last item seen. Opaque to callers, who may keep it as JSON
/// in a page token; a store refuses one that does not fit the listing as `Invalid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageKey(pub Item);

/// A write whose condition failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its position in the transaction.
    pub write: usize,
    /// The item as it was when the condition was checked; none if there was none.
    pub item: Option<Item>,
}

/// Why a transaction was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// Nothing was applied: these conditions failed, in the order of the writes, at least one. A store may name
    /// fewer than all that failed, so "only registry items were refused" must be confirmed by reading META (H32).
    #[error("the transaction was refused by {} of its conditions", .0.len())]
    Refused(Vec<Refusal>),
    /// Nothing was applied: another transaction holds one of the items. Worth a retry with jitter.
    #[error("the transaction met another one on the same item")]
    Conflict,
    /// Nothing was applied: too many requests. Worth a retry after a pause.
    #[error("the store is throttling")]
    Throttled,
    /// **It may or may not have been applied**, now or in the next seconds. Repeat with the same token, or read
    /// META and compare `last_event_id` (rule 9).
    #[error("whether the transaction was applied is unknown")]
    Unknown(#[source] Source),
    /// Nothing was applied, and no retry will help: a fault of ours.
    #[error("the transaction is not valid")]
    Invalid(#[source] Source),
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many requests. Worth a retry after a pause.
    #[error("the store is throttling")]
    Throttled,
    /// No answer, or one that says to come back.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// No retry will help: a fault of ours.
    #[error("the read is not valid")]
    Invalid(#[source] Source),
}
