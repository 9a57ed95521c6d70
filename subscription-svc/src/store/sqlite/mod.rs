//! The store in one SQLite file: the embedded default, for one subscription-svc process.
//!
//! WAL with `synchronous = FULL`, so that an acknowledged gate is on the disk (H9); both are read back at the start
//! and pinned by a test. One connection writes, and every writing transaction begins IMMEDIATE: a transaction that
//! reads first and upgrades later would fail at once while another writes, whatever the busy time-out (H38). The
//! others read snapshots. A transaction is three hand-overs to the writer's thread: BEGIN with the question for everything of a
//! graph, all writes, COMMIT. `transaction` has its statements and their dialect, `read` the lists, `schema` applies the migrations.

mod read;
mod schema;
mod transaction;
mod webhook;

use super::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use super::rows::{Access, AuditEvent, Leases, Revision, Subgraph, Subscription, TierChange};
use super::sql::held::Held;
use super::{
    Act, AuditFilter, Cause, ChangeFilter, Committed, Constraint, Due, Fault, Feed, Key, Loaded, Published, Refreshed,
    Store, SubscriptionFilter,
};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};

/// Readers beside the one writer. SQLite reads are microseconds of CPU: more connections than a few cores help nobody.
const READERS: u32 = 4;

/// How long a statement waits for a lock. Only a second process on the same file could hold one for longer than one
/// transaction, and there must be none.
const BUSY: Duration = Duration::from_secs(5);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The address is none.
    #[error("`{0}` must be sqlite://path, such as sqlite:///var/lib/tiershift/subscription.db")]
    Url(String),
    /// The folder of the file cannot be made.
    #[error("cannot make the folder of {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// SQLite refuses it.
    #[error("cannot open {0}")]
    Open(PathBuf, #[source] sqlx::Error),
    /// It was written by a newer build.
    #[error("{path} has schema {found}, and this build knows {known}: use the newer build")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema here.
        known: i64,
    },
    /// It does not keep what is acknowledged.
    #[error("{0} does not run with journal_mode = wal and synchronous = full")]
    NotDurable(PathBuf),
}

/// The store.
#[derive(Debug)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// The path of an address `sqlite://path`.
pub fn path_of(url: &str) -> Result<PathBuf, OpenFault> {
    match url.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.contains(['?', '#']) => Ok(PathBuf::from(path)),
        Some(_) | None => Err(OpenFault::Url(url.to_owned())),
    }
}

impl Sqlite {
    /// Opens, or makes, the file and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, OpenFault> {
        let open = |error| OpenFault::Open(path.to_owned(), error);
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| OpenFault::Folder(path.to_owned(), error))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        // A file does not go away as a server does: a connection is not asked whether it is there before each use.
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false);
        let writer = pool(1).connect_with(options.clone()).await.map_err(open)?;
        schema::migrate(&writer, path).await?;
        let readers = pool(READERS).connect_with(options).await.map_err(open)?;
        let store = Self { writer, readers };
        if store.durability().await.map_err(open)? == ("wal".to_owned(), 2) {
            Ok(store)
        } else {
            Err(OpenFault::NotDurable(path.to_owned()))
        }
    }

    /// `journal_mode` and `synchronous` of the writing connection; 2 is FULL.
    pub async fn durability(&self) -> Result<(String, i64), sqlx::Error> {
        let mut connection = self.writer.acquire().await?;
        let mode = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *connection).await?.try_get(0)?;
        let synchronous = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await?.try_get(0)?;
        Ok((mode, synchronous))
    }

    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, Fault> {
        self.readers.acquire().await.map_err(away)
    }
}

/// An error before COMMIT: nothing was written.
fn away(error: sqlx::Error) -> Fault {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => Fault::Corrupt(error.to_string()),
        error => Fault::Away(Cause::from(error)),
    }
}

/// The same, for a statement that only `constraint` can refuse.
fn refused_by(constraint: Constraint) -> impl Fn(sqlx::Error) -> Fault {
    /// The primary code in the low byte of every extended one.
    const SQLITE_CONSTRAINT: i32 = 19;
    move |error| {
        let code = error.as_database_error().and_then(|e| e.code()?.parse::<i32>().ok());
        if code.is_some_and(|code| code & 0xff == SQLITE_CONSTRAINT) {
            Fault::Constraint(constraint)
        } else {
            away(error)
        }
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn transact(&self, key: &Key, act: Act<'_>) -> Result<Committed, Fault> {
        let mut held = Held::new(self.writer.acquire().await.map_err(away)?);
        let done = transaction::work(held.db(), key, act).await;
        held.end(done, |error| Fault::Unknown(Cause::from(error)), away).await
    }

    async fn read(&self, key: &Key) -> Result<Loaded, Fault> {
        transaction::load(&mut *self.reader().await?, key).await
    }

    async fn subgraphs(
        &self,
        parent: &GraphId,
        after: Option<&AnyGraphId>,
        limit: u32,
    ) -> Result<Vec<Subgraph>, Fault> {
        read::subgraphs(&mut *self.reader().await?, parent, after, limit).await
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
        read::subscription(&mut *self.reader().await?, id).await
    }

    async fn subscription_of_provider(&self, provider: &str, name: &str) -> Result<Option<Subscription>, Fault> {
        read::subscription_of_provider(&mut *self.reader().await?, provider, name).await
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        before: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, Fault> {
        read::subscriptions(&mut *self.reader().await?, filter, before, limit).await
    }

    async fn changes(
        &self,
        filter: &ChangeFilter,
        before: Option<&ChangeId>,
        limit: u32,
    ) -> Result<Vec<TierChange>, Fault> {
        read::changes(&mut *self.reader().await?, filter, before, limit).await
    }

    async fn changes_by_id(&self, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
        read::changes_by_id(&mut *self.reader().await?, ids).await
    }

    async fn open_changes(&self) -> Result<Vec<TierChange>, Fault> {
        read::open_changes(&mut *self.reader().await?).await
    }

    async fn due_subscriptions(&self, now: UnixMs, limit: u32) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault> {
        read::due_subscriptions(&mut *self.reader().await?, now, limit).await
    }

    async fn due(&self, now: UnixMs) -> Result<Due, Fault> {
        read::due(&mut *self.reader().await?, now).await
    }

    async fn events(&self, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault> {
        read::events(&mut *self.reader().await?, feed, after, limit).await
    }

    async fn feed_base(&self, org: &OrgId) -> Result<u64, Fault> {
        read::feed_base(&mut *self.reader().await?, org).await
    }

    async fn feed_head(&self) -> Result<u64, Fault> {
        read::feed_head(&mut *self.reader().await?).await
    }

    async fn access(&self) -> Result<(Revision, Leases, Vec<Access>), Fault> {
        let mut transaction = self.readers.begin().await.map_err(away)?;
        let all = read::access(&mut transaction).await?;
        transaction.rollback().await.map_err(away)?;
        Ok(all)
    }

    async fn refresh(&self, replica: &str, from: Revision) -> Result<Refreshed, Fault> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(away)?;
        let found = read::refresh(&mut transaction, replica, from).await?;
        transaction.commit().await.map_err(away)?;
        Ok(found)
    }

    async fn audit(&self, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
        read::audit(&mut *self.reader().await?, change).await
    }

    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Fault> {
        read::audit_events(&mut *self.reader().await?, filter, before, limit).await
    }

    async fn epoch(&self) -> Result<i64, Fault> {
        read::epoch(&mut *self.reader().await?).await
    }

    async fn begin_epoch(&self) -> Result<i64, Fault> {
        let mut writer = self.writer.acquire().await.map_err(away)?;
        // One statement, so a transaction of its own.
        let next =
            sqlx::query("UPDATE store_epoch SET epoch = epoch + 1 RETURNING epoch").fetch_one(&mut *writer).await;
        next.and_then(|row| row.try_get(0)).map_err(|error| Fault::Unknown(Box::new(error)))
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl Inbox for Sqlite {
    async fn receive(&self, events: &[WebhookEvent]) -> Result<u64, Fault> {
        webhook::receive(&mut *self.writer.acquire().await.map_err(away)?, events).await
    }

    async fn head(&self) -> Result<u64, Fault> {
        webhook::head(&mut *self.reader().await?).await
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
        webhook::due(&mut *self.reader().await?, now, limit).await
    }

    async fn mark(&self, mark: &WebhookMark) -> Result<(), Fault> {
        webhook::mark(&mut *self.writer.acquire().await.map_err(away)?, mark).await
    }

    async fn list(&self, state: WebhookState, before: Option<u64>, limit: u32) -> Result<Vec<WebhookEvent>, Fault> {
        webhook::list(&mut *self.reader().await?, state, before, limit).await
    }

    async fn replay(&self, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
        webhook::replay(&mut *self.writer.acquire().await.map_err(away)?, ids, now, note).await
    }

    async fn prune(&self, before: UnixMs, limit: u32) -> Result<u64, Fault> {
        webhook::prune(&mut *self.writer.acquire().await.map_err(away)?, before, limit).await
    }
}

/// What every reading function takes.
type Connection = SqliteConnection;
