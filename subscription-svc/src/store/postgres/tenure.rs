//! One process serves a database at a time: it holds a lock of its own session, and shows every second by a write that it
//! is still connected to a primary which takes writes. A standby, a read-only or an isolated old primary cannot complete
//! such a write (H2). When it cannot, the process ends, and whoever starts it again loads everything anew (H1).
//!
//! Its access replica is in memory and follows its own transactions only, so that a second process beside it would decide
//! by stale records. This goes when replicas refresh from the store.

use super::{CONNECT, Lost, OpenFault, SESSION, options};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The lock's number: the schema's and one more.
const LOCK: i64 = 0x7469_6572_7368_6967;

/// How long one that ends is waited for: its shutdown may take this long.
pub const PREDECESSOR: Duration = Duration::from_secs(20);

/// Between two beats.
const EVERY: Duration = Duration::from_secs(1);

/// Between two looks at a lock that is taken: the server needs a moment to see that a killed process is gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A beat is an update of one row and its COMMIT. One that takes longer means that the database is lost, or that so much
/// waits that a restart does no harm.
const BEAT: Duration = Duration::from_secs(10);

/// The right to serve, for as long as this lives.
#[derive(Debug)]
pub struct Tenure {
    connection: PgConnection,
}

impl Tenure {
    /// Takes it, and waits for so long for a predecessor that is ending.
    pub async fn take(url: &str, process: &str, patience: Duration) -> Result<Self, OpenFault> {
        let connecting = timeout(CONNECT, options(url)?.connect()).await;
        let timed_out = |_| OpenFault::Connect(sqlx::Error::PoolTimedOut);
        let mut connection = connecting.map_err(timed_out)?.map_err(OpenFault::Connect)?;
        // A beat must wait for the standby as a change does: else an isolated primary would complete it (H2).
        sqlx::raw_sql(SESSION).execute(&mut connection).await.map_err(OpenFault::Connect)?;
        let until = Instant::now() + patience;
        while !locked(&mut connection).await.map_err(OpenFault::Connect)? {
            if Instant::now() >= until {
                return Err(OpenFault::Taken(holder(&mut connection).await.map_err(OpenFault::Connect)?));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let named = sqlx::query("UPDATE service SET process = $1, beat = beat + 1").bind(process);
        named.execute(&mut connection).await.map_err(OpenFault::Connect)?;
        Ok(Self { connection })
    }

    /// Beats until it is lost, or is to be given back: then there is no loss to tell of.
    pub async fn keep(mut self, end: CancellationToken) -> Option<Lost> {
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                () = tokio::time::sleep(EVERY) => {}
            }
            let beat = sqlx::query("UPDATE service SET beat = beat + 1").execute(&mut self.connection);
            match timeout(BEAT, beat).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Some(Lost(Box::new(error))),
                Err(elapsed) => return Some(Lost(Box::new(elapsed))),
            }
        }
        // The lock goes with the session in any case.
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the session of the lock did not end in order");
        }
        None
    }
}

async fn locked(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(db).await?.try_get(0)
}

async fn holder(db: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query("SELECT process FROM service").fetch_one(db).await?.try_get(0)
}
