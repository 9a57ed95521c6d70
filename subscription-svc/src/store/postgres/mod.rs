//! The store in PostgreSQL: production.
//!
//! A transaction takes an advisory lock of its graph first, also of one that does not exist yet, and runs READ COMMITTED:
//! what it reads after that nobody else writes. COMMIT waits for the disk, and for the standby where there is a
//! synchronous one (H9); a transaction is never cancelled, its deadline closes the connection and leaves the outcome
//! unknown. `read` asks, `write` changes, `sqlstate` says what a refusal means, `schema` keeps the tables, `tenure` sees to
//! it that one process serves a database.

mod read;
mod schema;
mod sqlstate;
pub mod tenure;
mod write;

pub use schema::{Migrate, SchemaFault};

use super::rows::{Access, AuditEvent, Leases, Revision, Subgraph, Subscription, TierChange};
use super::{Act, Cause, ChangeFilter, Committed, Due, Fault, Feed, Key, Loaded, Published, Store, SubscriptionFilter};
use async_trait::async_trait;
use sqlstate::away;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Row as _};
use std::str::FromStr as _;
use std::time::Duration;
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, ChangeId, GraphId, OrgId, SubscriptionId};

/// Connections. One writes at a time (`commit.rs`); the others read lists and streams.
const CONNECTIONS: u32 = 8;

/// How long a free connection, or a new one, is waited for.
const CONNECT: Duration = Duration::from_secs(5);

/// From BEGIN to the answer of COMMIT. Longer than any lock is waited for; a synchronous standby that is lost is noticed
/// by this.
const TRANSACTION: Duration = Duration::from_secs(10);

/// What every session runs with. H38: a lock is waited for one second, and a process that hangs in a transaction loses
/// it; H9: `synchronous_commit` is at least `on`, whatever the role says.
const SESSION: &str = "
    SET lock_timeout = '1s';
    SET statement_timeout = '8s';
    SET idle_in_transaction_session_timeout = '5s';
    SET default_transaction_isolation = 'read committed';
    SET TIME ZONE 'UTC';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The address is none.
    #[error("the database's address must be such as postgres://user@host:5432/name")]
    Url(#[source] sqlx::Error),
    /// It does not answer, or refuses.
    #[error("PostgreSQL does not let this process in")]
    Connect(#[source] sqlx::Error),
    /// It loses what it acknowledged when its machine fails.
    #[error("PostgreSQL runs with {0} = off, and would lose what it acknowledged: switch it on")]
    NotDurable(&'static str),
    /// It takes no writes.
    #[error("PostgreSQL is a standby: this process needs the primary")]
    Standby,
    /// The schema is another one.
    #[error(transparent)]
    Schema(#[from] SchemaFault),
    /// Another process serves it.
    #[error("another subscription-svc serves this database ({0}); stop it first")]
    Taken(String),
}

/// Why a process may not go on with it: it does not answer, or its session is another's now.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL took no write of this process")]
pub struct Lost(#[source] pub Cause);

/// The store.
#[derive(Debug)]
pub struct Postgres {
    pool: PgPool,
}

/// Checks an address, and says where it leads without its secrets.
pub fn described(url: &str) -> Result<String, OpenFault> {
    let options = PgConnectOptions::from_str(url).map_err(OpenFault::Url)?;
    let name = options.get_database().unwrap_or_else(|| options.get_username());
    Ok(format!("postgres://{}:{}/{name}", options.get_host(), options.get_port()))
}

fn options(url: &str) -> Result<PgConnectOptions, OpenFault> {
    let options = PgConnectOptions::from_str(url).map_err(OpenFault::Url)?;
    Ok(options.application_name("subscription-svc").disable_statement_logging())
}

impl Postgres {
    /// Connects, checks that what is acknowledged is kept, and brings the schema up to date, or verifies that it is.
    pub async fn open(url: &str, migrate: Migrate) -> Result<Self, OpenFault> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT)
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(|_| ()) })
            })
            .connect_with(options(url)?)
            .await
            .map_err(OpenFault::Connect)?;
        let store = Self { pool };
        store.check().await?;
        schema::bring(&store.pool, migrate).await?;
        Ok(store)
    }

    async fn check(&self) -> Result<(), OpenFault> {
        let row = sqlx::query(
            "SELECT pg_is_in_recovery() AS standby, current_setting('fsync') = 'on' AS fsync,
                    current_setting('full_page_writes') = 'on' AS full_page_writes",
        );
        let row = row.fetch_one(&self.pool).await.map_err(OpenFault::Connect)?;
        let is = |column: &str| row.try_get::<bool, _>(column).map_err(OpenFault::Connect);
        if is("standby")? {
            return Err(OpenFault::Standby);
        }
        for setting in ["fsync", "full_page_writes"] {
            if !is(setting)? {
                return Err(OpenFault::NotDurable(setting));
            }
        }
        Ok(())
    }

    /// What a setting is in the sessions of this store.
    pub async fn setting(&self, name: &str) -> Result<String, Fault> {
        let row = sqlx::query("SELECT current_setting($1)").bind(name).fetch_one(&self.pool).await;
        row.and_then(|row| row.try_get(0)).map_err(away)
    }

    async fn connection(&self) -> Result<PoolConnection<sqlx::Postgres>, Fault> {
        self.pool.acquire().await.map_err(away)
    }
}

/// From BEGIN to COMMIT.
async fn transaction(db: &mut PgConnection, key: &Key, act: Act<'_>) -> Result<Committed, Fault> {
    let mut transaction = db.begin().await.map_err(away)?;
    let loaded = read::load(&mut transaction, key, true).await?;
    let writes = act(&loaded);
    if writes.is_empty() {
        transaction.rollback().await.map_err(away)?;
        return Ok(Committed::default());
    }
    let committed = write::apply(&mut transaction, writes).await?;
    transaction.commit().await.map_err(sqlstate::commit)?;
    Ok(committed)
}

#[async_trait]
impl Store for Postgres {
    async fn transact(&self, key: &Key, act: Act<'_>) -> Result<Committed, Fault> {
        let mut connection = self.connection().await?;
        if let Ok(done) = tokio::time::timeout(TRANSACTION, transaction(&mut connection, key, act)).await {
            return done;
        }
        // Never cancelled: a cancelled wait for the standby would look like success (H9).
        connection.close_on_drop();
        Err(Fault::Unknown(Cause::from("a transaction had no answer in time")))
    }

    async fn read(&self, key: &Key) -> Result<Loaded, Fault> {
        let mut connection = self.connection().await?;
        // One snapshot for all of its statements.
        let mut transaction =
            connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(away)?;
        let loaded = read::load(&mut transaction, key, false).await?;
        transaction.rollback().await.map_err(away)?;
        Ok(loaded)
    }

    async fn subgraphs(
        &self,
        parent: &GraphId,
        after: Option<&AnyGraphId>,
        limit: u32,
    ) -> Result<Vec<Subgraph>, Fault> {
        read::subgraphs(&mut *self.connection().await?, parent, after, limit).await
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Subscription>, Fault> {
        read::subscription(&mut *self.connection().await?, id).await
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        before: Option<&SubscriptionId>,
        limit: u32,
    ) -> Result<Vec<Subscription>, Fault> {
        read::subscriptions(&mut *self.connection().await?, filter, before, limit).await
    }

    async fn changes(
        &self,
        filter: &ChangeFilter,
        before: Option<&ChangeId>,
        limit: u32,
    ) -> Result<Vec<TierChange>, Fault> {
        read::changes(&mut *self.connection().await?, filter, before, limit).await
    }

    async fn changes_by_id(&self, ids: &[ChangeId]) -> Result<Vec<TierChange>, Fault> {
        read::changes_by_id(&mut *self.connection().await?, ids).await
    }

    async fn open_changes(&self) -> Result<Vec<TierChange>, Fault> {
        read::open_changes(&mut *self.connection().await?).await
    }

    async fn due(&self, now: UnixMs) -> Result<Due, Fault> {
        read::due(&mut *self.connection().await?, now).await
    }

    async fn events(&self, feed: &Feed, after: u64, limit: u32) -> Result<Vec<Published>, Fault> {
        read::events(&mut *self.connection().await?, feed, after, limit).await
    }

    async fn feed_base(&self, org: &OrgId) -> Result<u64, Fault> {
        read::feed_base(&mut *self.connection().await?, org).await
    }

    async fn feed_head(&self) -> Result<u64, Fault> {
        read::feed_head(&mut *self.connection().await?).await
    }

    async fn access(&self) -> Result<(Revision, Leases, Vec<Access>), Fault> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin().await.map_err(away)?;
        let all = read::access(&mut transaction).await?;
        transaction.rollback().await.map_err(away)?;
        Ok(all)
    }

    async fn audit(&self, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
        read::audit(&mut *self.connection().await?, change).await
    }

    async fn epoch(&self) -> Result<i64, Fault> {
        read::epoch(&mut *self.connection().await?).await
    }

    async fn begin_epoch(&self) -> Result<i64, Fault> {
        write::begin_epoch(&mut *self.connection().await?).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
