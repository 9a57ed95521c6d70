//! A database of each kind: ours, with a table of one number beside it, which a bare commit writes to over a connection of
//! the same settings.

use crate::saga::tables::Fault;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use std::sync::Arc;
use subscription_svc::store::Store;
use subscription_svc::store::inbox::Inbox;
use subscription_svc::store::postgres::failover::Failover;
use subscription_svc::store::postgres::{Migrate, Postgres};
use subscription_svc::store::sqlite::Sqlite;
use tempfile::TempDir;
use tiershift_postgres::Server;
use tokio::sync::Mutex;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A private server.
    Postgres,
    /// A file.
    Sqlite,
}

impl Kind {
    /// Its name in the last line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }
}

/// One, with its own server or folder.
pub struct Database {
    /// Our store.
    pub store: Arc<dyn Store>,
    /// The same, for the provider's events.
    pub inbox: Arc<dyn Inbox>,
    bare: Bare,
}

enum Bare {
    // What it is in ends with it.
    Postgres { connection: Mutex<PgConnection>, _server: Server },
    Sqlite { connection: Mutex<SqliteConnection>, _folder: TempDir },
}

const BARE: &str = "CREATE TABLE bare (n BIGINT PRIMARY KEY)";

impl Database {
    /// An empty one.
    pub async fn begin(kind: Kind) -> Result<Self, Fault> {
        match kind {
            Kind::Postgres => {
                // A buffer that a server of this size would have.
                let server = Server::start(&["shared_buffers=1GB", "max_wal_size=4GB"])?;
                let url = server.database()?;
                let store = Arc::new(Postgres::open(&url, Migrate::Apply, Failover::Single).await?);
                let mut connection = PgConnection::connect(&url).await?;
                sqlx::raw_sql(BARE).execute(&mut connection).await?;
                let inbox = Arc::clone(&store) as Arc<dyn Inbox>;
                let bare = Bare::Postgres { connection: Mutex::new(connection), _server: server };
                Ok(Self { store, inbox, bare })
            }
            Kind::Sqlite => {
                let folder = tempfile::tempdir()?;
                let path = folder.path().join("store.db");
                let store = Arc::new(Sqlite::open(&path).await?);
                let options = SqliteConnectOptions::new()
                    .filename(&path)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full);
                let mut connection = options.connect().await?;
                sqlx::raw_sql(BARE).execute(&mut connection).await?;
                let inbox = Arc::clone(&store) as Arc<dyn Inbox>;
                let bare = Bare::Sqlite { connection: Mutex::new(connection), _folder: folder };
                Ok(Self { store, inbox, bare })
            }
        }
    }

    /// One row, by a transaction of its own.
    pub async fn commit(&self, n: u64) -> Result<(), Fault> {
        const INSERT: &str = "INSERT INTO bare (n) VALUES ($1)";
        let n = i64::try_from(n)?;
        match &self.bare {
            Bare::Postgres { connection, .. } => {
                sqlx::query(INSERT).bind(n).execute(&mut *connection.lock().await).await?;
            }
            Bare::Sqlite { connection, .. } => {
                sqlx::query(INSERT).bind(n).execute(&mut *connection.lock().await).await?;
            }
        }
        Ok(())
    }

    /// So many subscriptions of so many organisations, with their graphs.
    pub async fn fill(&self, count: u64, orgs: u64) -> Result<(), Fault> {
        match &self.bare {
            Bare::Postgres { connection, .. } => {
                let numbers = format!("generate_series(1, {count}) AS numbers (n)");
                let graph = "'kg' || lpad(to_hex(n), 16, '0')";
                let fill = format!(
                    "INSERT INTO graph SELECT {graph}, 'org_' || (n % {orgs}), 'ladybug-standard', 'active', false, '', NULL,
                         now(), now(), NULL FROM {numbers};
                     INSERT INTO subscription SELECT 'sub_' || lpad(n::text, 26, '0'), 'org_' || (n % {orgs}), {graph},
                         'ladybug-standard', 'active', true, 100, 'USD', 1, 'monthly', now(), now() + interval '1 month',
                         NULL, NULL, 'manual', '', NULL, now(), now(), now(), '[]', now() + interval '1 month', NULL,
                         '{{\"start\": 0, \"end\": 0, \"granted\": 1, \"used\": 0}}'
                         FROM {numbers};
                     VACUUM ANALYZE"
                );
                for statement in fill.split(';') {
                    let statement = sqlx::AssertSqlSafe(statement.to_owned());
                    sqlx::raw_sql(statement).execute(&mut *connection.lock().await).await?;
                }
            }
            Bare::Sqlite { connection, .. } => {
                let numbers = format!(
                    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
                );
                let graph = "printf('kg%016x', n)";
                let fill = format!(
                    "{numbers} INSERT INTO graph SELECT {graph}, 'org_' || (n % {orgs}), 'ladybug-standard', 'active', 0, '',
                         NULL, 1, 1, NULL FROM numbers;
                     {numbers} INSERT INTO subscription SELECT printf('sub_%026d', n), 'org_' || (n % {orgs}), {graph},
                         'ladybug-standard', 'active', 1, 100, 'USD', 1, 'monthly', 1, 2, NULL, NULL, 'manual', '', NULL,
                         1, 1, 1, '[]', 2, NULL, '{{\"start\":0,\"end\":0,\"granted\":1,\"used\":0}}' FROM numbers;
                     ANALYZE"
                );
                let fill = sqlx::AssertSqlSafe(fill);
                sqlx::raw_sql(fill).execute(&mut *connection.lock().await).await?;
            }
        }
        Ok(())
    }
}
