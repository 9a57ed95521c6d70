//! The store in PostgreSQL: production.
//!
//! A transaction takes an advisory lock of its graph first, also of one that does not exist yet, and runs READ COMMITTED:
//! what it reads after that nobody else writes. It is three messages: BEGIN, the lock and the question for everything of the
//! graph, which are three statements so that the question's snapshot is taken behind the lock; all of its writes, the counters
//! last; COMMIT. COMMIT waits for the disk, and for the standby where there is a synchronous one (H9); a transaction is never
//! cancelled, its deadline closes the connection and leaves the outcome unknown, and so does a COMMIT with a warning.
//!
//! `session` has the statements of transactions and their dialect, `read` the lists, `sqlstate` says what a refusal means,
//! `schema` keeps the tables; `tenure` says which of several processes works, `news` wakes the others.

pub mod failover;
pub mod news;
mod read;
mod refresh;
mod schema;
mod session;
mod sqlstate;
pub mod tenure;
mod webhook;

pub use schema::{Migrate, SchemaFault};

use self::failover::{Failover, warned};
use super::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use super::rows::{Access, AuditEvent, Leases, Revision, Subgraph, Subscription, TierChange};
use super::sql::batch::Batch;
use super::sql::held::Held;
use super::sql::picture;
use super::{
    Act, AuditFilter, Cause, ChangeFilter, Committed, Due, Fault, Feed, Key, Loaded, Published, Refreshed, Store,
    SubscriptionFilter,
};
use async_trait::async_trait;
use session::Message;
use sqlstate::away;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Row as _};
use std::str::FromStr as _;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};
use tokio::sync::Mutex;

/// Connections of transactions and of looks at one graph. One writes at a time (`commit.rs`).
const WORKING: u32 = 8;

/// Connections of lists and streams.
const LISTING: u32 = 4;

/// How long a free connection, or a new one, is waited for.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection that was not used for so long is asked whether it is still there before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// From BEGIN to the answer of COMMIT. Longer than any lock is waited for; a synchronous standby that is lost is noticed
/// by this.
const TRANSACTION: Duration = Duration::from_secs(10);

/// From BEGIN of a refresh to the answer of its COMMIT, with a new connection if there is none. A lease of a record in a change
/// is two seconds.
const REFRESH: Duration = Duration::from_secs(1);

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
    /// It waits for no standby, although it is declared to.
    #[error(
        "--failover synchronous: PostgreSQL waits for no standby: set synchronous_standby_names, or declare another failover"
    )]
    NoStandby,
    /// A cancelled wait for the standby would look like success.
    #[error(
        "--failover synchronous: this process does not hear PostgreSQL's warnings, and cannot tell a wait that was cancelled"
    )]
    Deaf,
    /// It takes no writes.
    #[error("PostgreSQL is a standby: this process needs the primary")]
    Standby,
    /// The schema is another one.
    #[error(transparent)]
    Schema(#[from] SchemaFault),
}

/// Why a process does not work on with it: it does not answer, or its session was ended.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL took no write of this process")]
pub struct Lost(#[source] pub Cause);

/// The store.
#[derive(Debug)]
pub struct Postgres {
    /// Its sessions have the statements of transactions.
    working: PgPool,
    /// Its sessions plan each list by what it is filtered by.
    listing: PgPool,
    /// Refreshes have one of their own; none after one that failed.
    refreshing: Mutex<Option<PgConnection>>,
    options: PgConnectOptions,
    failover: Failover,
    /// When a refresh failed last: what is connected since before may lead to a primary that is none any more.
    doubted: Doubt,
    news: news::Tell,
}

/// An instant from which on older connections are not used.
#[derive(Clone, Debug, Default)]
struct Doubt(Arc<std::sync::Mutex<Option<Instant>>>);

impl Doubt {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it lies upon a connection of this age.
    fn is_upon(&self, age: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < age)
    }
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

/// What every session begins with.
fn session(failover: Failover) -> String {
    // Each may do without what the others have set, so what is demanded is asked first.
    format!("{}{SESSION}", failover.demand())
}

/// A connection of nobody else, which has said nothing yet.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, OpenFault> {
    let connected = tokio::time::timeout(CONNECT, options.connect()).await;
    connected.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(OpenFault::Connect)
}

async fn begin(connection: &mut PgConnection, failover: Failover) -> Result<(), sqlx::Error> {
    // Made of statements of ours.
    sqlx::raw_sql(AssertSqlSafe(session(failover))).execute(connection).await.map(|_| ())
}

/// Connections of which each is asked for this first, and is not used once there is a doubt upon it.
fn pool(connections: u32, first: String, doubted: &Doubt) -> PgPoolOptions {
    let doubted = doubted.clone();
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT)
        // One that was used just now answered just now: asking it again would be a round trip for each use.
        .test_before_acquire(false)
        .before_acquire(move |connection, told| {
            let doubtful = doubted.is_upon(told.age);
            Box::pin(async move {
                if doubtful {
                    return Ok(false);
                }
                if told.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            // Made of statements of ours.
            let first = sqlx::raw_sql(AssertSqlSafe(first.clone()));
            Box::pin(async move { first.execute(connection).await.map(|_| ()) })
        })
}

impl Postgres {
    /// Connects, checks that what is acknowledged is kept, and brings the schema up to date, or verifies that it is.
    pub async fn open(url: &str, migrate: Migrate, failover: Failover) -> Result<Self, OpenFault> {
        let (options, doubted) = (options(url)?, Doubt::default());
        // First, so that what is missing is told in its own words and not by a session that ends.
        let mut first = connect(&options).await?;
        check(&mut first).await?;
        failover.check(&mut first).await?;
        first.close().await.map_err(OpenFault::Connect)?;
        let pooled = |pool: PgPoolOptions| pool.connect_with(options.clone());
        let listing = pooled(pool(LISTING, session(failover), &doubted)).await.map_err(OpenFault::Connect)?;
        schema::bring(&listing, migrate).await?;
        // Statements can be prepared now that their tables are there.
        let prepared = format!("{}{}", session(failover), *session::PREPARE);
        let working = pooled(pool(WORKING, prepared, &doubted)).await.map_err(OpenFault::Connect)?;
        let news = news::Tell::start(listing.clone());
        Ok(Self { working, listing, refreshing: Mutex::new(None), options, failover, doubted, news })
    }

    /// What a setting is in the sessions of transactions.
    pub async fn setting(&self, name: &str) -> Result<String, Fault> {
        let row = sqlx::query("SELECT current_setting($1)").bind(name).fetch_one(&self.working).await;
        row.and_then(|row| row.try_get(0)).map_err(away)
    }

    /// A connection of nobody else.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        begin(&mut connection, self.failover).await?;
        Ok(connection)
    }

    async fn connection(&self) -> Result<PoolConnection<sqlx::Postgres>, Fault> {
        self.listing.acquire().await.map_err(away)
    }
}

async fn check(db: &mut PgConnection) -> Result<(), OpenFault> {
    let row = sqlx::query(
        "SELECT pg_is_in_recovery() AS standby, current_setting('fsync') = 'on' AS fsync,
                current_setting('full_page_writes') = 'on' AS full_page_writes",
    );
    let row = row.fetch_one(db).await.map_err(OpenFault::Connect)?;
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

/// From BEGIN to the last write; None: there is nothing to write.
async fn work(db: &mut PgConnection, key: &Key, act: Act<'_>) -> Result<Option<Committed>, Fault> {
    let mut message = Message::default();
    message.say("BEGIN");
    message.lock(key)?;
    message.picture(key)?;
    let writes = act(&loaded(&message.send(&mut *db).await?, key)?);
    if writes.is_empty() {
        return Ok(None);
    }
    let batch = Batch::of(writes)?;
    let mut message = Message::default();
    for step in &batch.steps {
        message.execute(step.deed.name(), &step.values)?;
    }
    let answers = message.send(db).await?;
    batch.committed(&answers).map(Some)
}

/// What the last statement of a message answered with.
fn loaded(answers: &[Vec<PgRow>], key: &Key) -> Result<Loaded, Fault> {
    let missing = || Fault::Corrupt("the rows of the counter and of the epoch are not there".to_owned());
    picture::loaded(answers.last().and_then(|rows| rows.first()).ok_or_else(missing)?, key)
}

#[async_trait]
impl Store for Postgres {
    async fn transact(&self, key: &Key, act: Act<'_>) -> Result<Committed, Fault> {
        let mut held = Held::new(self.working.acquire().await.map_err(away)?);
        let mut wrote = false;
        let transaction = warned(async {
            let done = work(held.db(), key, act).await;
            wrote = matches!(done, Ok(Some(_)));
            held.end(done, sqlstate::commit, away).await
        });
        // Never cancelled but by its connection's end: a cancelled wait for the standby would look like success (H9).
        let in_time = tokio::time::timeout(TRANSACTION, transaction).await;
        let done = match in_time {
            // Somebody else cancelled it: it is committed here, and perhaps nowhere else.
            Ok((Ok(_), true)) if wrote => {
                Err(Fault::Unknown(Cause::from("a transaction was committed with a warning")))
            }
            Ok((done, _)) => done,
            Err(_) => Err(Fault::Unknown(Cause::from("a transaction had no answer in time"))),
        };
        // Also what may be committed is news.
        if wrote {
            self.news.tell();
        }
        done
    }

    async fn read(&self, key: &Key) -> Result<Loaded, Fault> {
        // One statement, so one snapshot.
        let mut message = Message::default();
        message.picture(key)?;
        let mut session = self.working.acquire().await.map_err(away)?;
        loaded(&message.send(&mut session).await?, key)
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

    async fn subscription_of_provider(&self, provider: &str, name: &str) -> Result<Option<Subscription>, Fault> {
        read::subscription_of_provider(&mut *self.connection().await?, provider, name).await
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

    async fn due_subscriptions(&self, now: UnixMs, limit: u32) -> Result<(Vec<Subscription>, Option<UnixMs>), Fault> {
        read::due_subscriptions(&mut *self.connection().await?, now, limit).await
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

    async fn refresh(&self, replica: &str, from: Revision) -> Result<Refreshed, Fault> {
        // A connection of its own: it never waits behind work. One that did not answer in time is closed with whatever is on it.
        let mut kept = self.refreshing.lock().await;
        let mut connection = kept.take();
        let refreshed = warned(async {
            let db = match &mut connection {
                Some(open) => open,
                None => connection.insert(self.connect().await.map_err(away)?),
            };
            refresh::once(db, replica, from).await
        });
        let answered = match tokio::time::timeout(REFRESH, refreshed).await {
            Ok((Ok(_), true)) => Err(Fault::Away(Cause::from("a refresh was committed with a warning"))),
            Ok((answered, _)) => answered,
            Err(_) => Err(Fault::Away(Cause::from("a refresh had no answer in time"))),
        };
        let found = answered.inspect_err(|_| self.doubted.now())?;
        *kept = connection;
        Ok(found)
    }

    async fn audit(&self, change: &ChangeId) -> Result<Vec<AuditEvent>, Fault> {
        read::audit(&mut *self.connection().await?, change).await
    }

    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, Fault> {
        read::audit_events(&mut *self.connection().await?, filter, before, limit).await
    }

    async fn epoch(&self) -> Result<i64, Fault> {
        read::epoch(&mut *self.connection().await?).await
    }

    async fn begin_epoch(&self) -> Result<i64, Fault> {
        // One statement, so a transaction of its own.
        let next = sqlx::query("UPDATE store_epoch SET epoch = epoch + 1 RETURNING epoch");
        let next = next.fetch_one(&mut *self.connection().await?).await;
        next.and_then(|row| row.try_get(0)).map_err(|error| Fault::Unknown(Box::new(error)))
    }

    async fn close(&self) {
        self.working.close().await;
        self.listing.close().await;
    }
}

#[async_trait]
impl Inbox for Postgres {
    async fn receive(&self, events: &[WebhookEvent]) -> Result<u64, Fault> {
        let mut connection = self.connection().await?;
        match warned(webhook::receive(&mut connection, events)).await {
            // Not known to be kept (H9): the provider sends them again.
            (Ok(_), true) => Err(Fault::Unknown(Cause::from("events were stored with a warning"))),
            (received, _) => received,
        }
    }

    async fn head(&self) -> Result<u64, Fault> {
        webhook::head(&mut *self.connection().await?).await
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
        webhook::due(&mut *self.connection().await?, now, limit).await
    }

    async fn mark(&self, mark: &WebhookMark) -> Result<(), Fault> {
        webhook::mark(&mut *self.connection().await?, mark).await
    }

    async fn list(&self, state: WebhookState, before: Option<u64>, limit: u32) -> Result<Vec<WebhookEvent>, Fault> {
        webhook::list(&mut *self.connection().await?, state, before, limit).await
    }

    async fn replay(&self, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
        webhook::replay(&mut *self.connection().await?, ids, now, note).await
    }

    async fn prune(&self, before: UnixMs, limit: u32) -> Result<u64, Fault> {
        webhook::prune(&mut *self.connection().await?, before, limit).await
    }
}
