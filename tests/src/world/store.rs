//! The store as one process reaches it: away by a few milliseconds each way, and each transaction a border of the
//! process's fuse, so that a process can die before one, or after one that it never learns of. Where a test wants it, it
//! has DynamoDB's manners too: transactions that meet others, are throttled, or whose answer gets lost.

use super::dice::Dice;
use super::fuse::Fuse;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use volume_core::item::{Index, Item, Key, Table, Write};
use volume_svc::ports::store::{Page, PageKey, Store, StoreError, TransactError};

/// Half of what a DynamoDB transaction takes (some 15 ms) or a read (some 5 ms); the difference decides nothing here.
const ONE_WAY: Duration = Duration::from_millis(5);

/// One process's way to the store.
#[derive(Debug)]
pub struct Away {
    store: Arc<dyn Store>,
    fuse: Arc<Fuse>,
    manners: Option<Mutex<Dice>>,
}

/// What may become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    LostBefore,
    LostAfter,
    Conflict,
    Throttled,
}

impl Away {
    /// For a process with this fuse; every transaction is answered.
    pub fn new(store: Arc<dyn Store>, fuse: Arc<Fuse>) -> Self {
        Self { store, fuse, manners: None }
    }

    /// The same, but four in ten transactions are refused or lost, by lot.
    pub fn unruly(store: Arc<dyn Store>, fuse: Arc<Fuse>, seed: u64) -> Self {
        Self { manners: Some(Mutex::new(Dice::new(seed))), ..Self::new(store, fuse) }
    }

    fn fate(&self) -> Fate {
        let Some(dice) = &self.manners else { return Fate::Answered };
        match dice.lock().unwrap_or_else(PoisonError::into_inner).between(1, 10) {
            1 => Fate::LostBefore,
            2 => Fate::LostAfter,
            3 => Fate::Conflict,
            4 => Fate::Throttled,
            _ => Fate::Answered,
        }
    }

    async fn read<T>(&self, read: impl Future<Output = T>) -> T {
        tokio::time::sleep(ONE_WAY).await;
        read.await
    }
}

#[async_trait]
impl Store for Away {
    async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<(), TransactError> {
        self.fuse.border().await;
        tokio::time::sleep(ONE_WAY).await;
        let unknown = || Err(TransactError::Unknown("no answer".into()));
        let answer = match self.fate() {
            Fate::Answered => self.store.transact(token, writes).await,
            Fate::LostBefore => unknown(),
            Fate::LostAfter => self.store.transact(token, writes).await.or_else(|_| unknown()).and_then(|()| unknown()),
            Fate::Conflict => Err(TransactError::Conflict),
            Fate::Throttled => Err(TransactError::Throttled),
        };
        tokio::time::sleep(ONE_WAY).await;
        self.fuse.border().await;
        answer
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.read(self.store.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.read(self.store.get_many(keys)).await
    }

    async fn query(
        &self,
        table: Table,
        pk: &str,
        sk_from: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.read(self.store.query(table, pk, sk_from, limit)).await
    }

    async fn query_index(
        &self,
        index: Index,
        hash: &str,
        range_eq: Option<&str>,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read(self.store.query_index(index, hash, range_eq, page, limit)).await
    }

    async fn scan(&self, table: Table, page: Option<PageKey>, limit: usize) -> Result<Page, StoreError> {
        self.read(self.store.scan(table, page, limit)).await
    }
}
