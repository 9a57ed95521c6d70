//! volume-svc's store as the monitor sees it: every transaction that was applied is looked at, whether or not its answer
//! will reach the process that sent it, and its indexes lag behind it. Below the ways of single processes
//! (`tiershift_tests::world::store`).

use crate::monitor::Monitor;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use volume_core::item::{Index, Item, Key, Table, Write};
use volume_svc::ports::store::{Page, PageKey, Store, StoreError, TransactError};
use volume_svc::store::memory::Memory;

/// The store of all processes.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<Memory>,
    monitor: Arc<Monitor>,
    away_until: Mutex<Option<Instant>>,
    indexes: Indexes,
}

/// What the indexes show: what was committed a little while ago, in the order of the commits.
#[derive(Debug)]
struct Indexes {
    behind: Memory,
    coming: Mutex<VecDeque<(Instant, String, Vec<Write>)>>,
}

/// Ages of what an index shows, one commit after the other: mostly too young to be noticed, sometimes seconds.
const LAGS_MS: [u64; 5] = [20, 150, 900, 40, 2_500];

impl Indexes {
    fn committed(&self, token: &str, writes: Vec<Write>) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = Duration::from_millis(LAGS_MS[coming.len() % LAGS_MS.len()]);
        let last = coming.back().map(|(shown_at, ..)| *shown_at);
        let shown_at = last.unwrap_or_else(Instant::now).max(Instant::now() + lag);
        coming.push_back((shown_at, token.to_owned(), writes));
    }

    /// As they are now.
    async fn now(&self) -> &Memory {
        loop {
            let due = {
                let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
                coming.pop_front_if(|(shown_at, ..)| *shown_at <= Instant::now())
            };
            let Some((_, token, writes)) = due else { return &self.behind };
            self.behind.transact(&token, writes).await.expect("what was committed once is committed in the same order");
        }
    }
}

/// How long a call waits for a store that does not answer.
const NO_ANSWER: Duration = Duration::from_secs(1);

impl Watched {
    /// Over the one memory.
    pub fn new(inner: Arc<Memory>, monitor: Arc<Monitor>) -> Self {
        let indexes = Indexes { behind: inner.copy(), coming: Mutex::default() };
        Self { inner, monitor, away_until: Mutex::default(), indexes }
    }

    /// Answers nobody for so long from now.
    pub fn away_for(&self, length: Duration) {
        *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + length);
    }

    fn is_away(&self) -> bool {
        self.away_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.is_away() {
            tokio::time::sleep(NO_ANSWER).await;
            return Err(StoreError::Unavailable("no answer".into()));
        }
        read.await
    }
}

#[async_trait]
impl Store for Watched {
    async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<(), TransactError> {
        if self.is_away() {
            tokio::time::sleep(NO_ANSWER).await;
            return Err(TransactError::Unknown("no answer".into()));
        }
        let before = self.monitor.rows_before(&writes);
        let answer = self.inner.transact(token, writes.clone()).await;
        if answer.is_ok() {
            self.monitor.journalled(&writes, &before);
            self.indexes.committed(token, writes);
        }
        answer
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.read(self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.read(self.inner.get_many(keys)).await
    }

    async fn query(
        &self,
        table: Table,
        pk: &str,
        sk_from: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.read(self.inner.query(table, pk, sk_from, limit)).await
    }

    async fn query_index(
        &self,
        index: Index,
        hash: &str,
        range_eq: Option<&str>,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let indexes = self.indexes.now().await;
        self.read(indexes.query_index(index, hash, range_eq, page, limit)).await
    }

    async fn scan(&self, table: Table, page: Option<PageKey>, limit: usize) -> Result<Page, StoreError> {
        self.read(self.inner.scan(table, page, limit)).await
    }
}
