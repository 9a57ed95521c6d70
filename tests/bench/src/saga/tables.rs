//! Two sets of tables in one embedded DynamoDB: one that journals write to, and one for the same transactions without them.

use super::life::Life;
use async_trait::async_trait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_common::clock::Scaled;
use tiershift_core::ids::WorkerId;
use tiershift_dev::stack::{Options, Process, Stack};
use volume_core::fact::Spec;
use volume_core::item::{Index, Item, Key, Table, Write};
use volume_core::keys;
use volume_core::settings::Settings;
use volume_svc::adapters::aws::{Attempts, Aws, Identity, Settings as AwsSettings};
use volume_svc::journal::Journal;
use volume_svc::ports::store::{Page, PageKey, Store, StoreError, TransactError};
use volume_svc::store::dynamodb::{DynamoDb, Names, tables};

/// Any fault of a bench: it is told and ends it.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A simulated cloud with both sets.
pub struct Tables {
    /// The cloud, for further processes over the first set.
    pub stack: Stack,
    /// The SDK's clients.
    pub aws: Aws,
    /// Names of the first set: the development stack's.
    pub names: Names,
    /// Names of the second set, as long as the first.
    pub bare: Names,
    _folder: tempfile::TempDir,
}

/// Enough permits for everyone.
pub fn settings() -> Settings {
    Settings { permits_account: 100_000, permits_group: 100_000, ..Settings::default() }
}

impl Tables {
    /// Starts a cloud at real time and makes the tables.
    pub async fn begin() -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let options = Options {
            data: folder.path().join("data"),
            speed: 1,
            cors_origins: Vec::new(),
            database: None,
            logs: folder.path().join("logs"),
        };
        let mut stack = Stack::idle(options)?;
        stack.restart(Process::Cloud, &[]).await?;
        let aws = Aws::load(&AwsSettings {
            region: "us-east-1".to_owned(),
            endpoint_url: Some(stack.cloud_url.clone()),
            dynamodb_endpoint_url: Some(stack.dynamodb_url.clone()),
            identity: Identity::Dev,
        })
        .await?;
        let (names, bare) = (Names::new("tiershift", "dev"), Names::new("tiershift", "raw"));
        for set in [&names, &bare] {
            tables::create(&aws.dynamodb_client(Attempts::Several), set).await?;
        }
        Ok(Self { stack, aws, names, bare, _folder: folder })
    }

    /// The adapter over one set.
    pub fn store(&self, names: &Names) -> DynamoDb {
        self.aws.dynamodb(names.clone())
    }

    /// A journal for a worker of that name.
    pub fn journal(store: Arc<dyn Store>, worker: &str) -> Result<Journal, Fault> {
        Ok(Journal::new(store, Arc::new(Scaled::wall()), WorkerId::parse(worker)?, settings()))
    }
}

/// The registry rows that a life changes.
pub async fn register(store: &dyn Store, life: &Life) -> Result<(), Fault> {
    // A token is the account's, not a table's.
    static REGISTERED: AtomicU64 = AtomicU64::new(0);
    let spec: &Spec = life.spec()?;
    let row = |name: &str, id: &str| Item::default().with(name, id).with("status", "active").with("created_at", 1_i64);
    let writes = vec![
        Write::create(keys::graph_row(&spec.graph), row("graph_id", spec.graph.as_str())),
        Write::create(keys::volume_row(&spec.volume), row("volume_id", spec.volume.as_str())),
        // A crowd has one source for all.
        Write::upsert(
            keys::instance_row(&spec.source.instance),
            Item::default().with("status", "healthy"),
            &[],
            Vec::new(),
        ),
    ];
    let token = format!("register-{}", REGISTERED.fetch_add(1, Ordering::Relaxed));
    Ok(store.transact(&token, writes).await?)
}

/// A store that remembers which transactions were made through it.
#[derive(Debug)]
pub struct Tap {
    inner: DynamoDb,
    made: Mutex<Vec<Vec<Write>>>,
}

impl Tap {
    /// In front of a store.
    pub fn new(inner: DynamoDb) -> Arc<Self> {
        Arc::new(Self { inner, made: Mutex::default() })
    }

    /// What was made so far, in order.
    pub fn made(&self) -> Vec<Vec<Write>> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for Tap {
    async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<(), TransactError> {
        let copy = writes.clone();
        self.inner.transact(token, writes).await?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn query(
        &self,
        table: Table,
        pk: &str,
        sk_from: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.inner.query(table, pk, sk_from, limit).await
    }

    async fn query_index(
        &self,
        index: Index,
        hash: &str,
        range_eq: Option<&str>,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.inner.query_index(index, hash, range_eq, page, limit).await
    }

    async fn scan(&self, table: Table, page: Option<PageKey>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(table, page, limit).await
    }
}
