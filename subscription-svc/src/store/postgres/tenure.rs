//! Who works: every process serves requests, and one of them delivers what is owed, follows migrations, keeps the time of
//! subscriptions and applies webhooks. It holds a lock of its own session, and shows every second by a write that it is still
//! connected to a primary which takes writes: a standby, a read-only or an isolated old primary cannot complete such a write
//! (H2), and then it stops. One that is killed frees the lock with its session; the session of one that stands still is ended
//! by whoever has watched it for ten seconds.
//!
//! It spares several processes from doing the same at once, and is not what makes work safe: one that was paused and wakes up
//! behind its successor repeats what was done, and every effect is made once by its key, its row or its gate id.
//!
//! Not here: what works (`work`), and what a process may answer from memory (`refresh`).

use super::failover::{Failover, warned};
use super::{Lost, OpenFault, begin, connect, options};
use crate::store::Cause;
use sqlx::{Connection as _, PgConnection};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The lock's number: the schema's and one more.
const LOCK: i64 = 0x7469_6572_7368_6967;

/// Between two beats.
const EVERY: Duration = Duration::from_secs(1);

/// Between two looks at a lock that is taken.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A beat is an update of one row and its COMMIT. One that takes longer means that the database is lost, or that so much
/// waits that another process may as well try.
const BEAT: Duration = Duration::from_secs(10);

/// Without a beat for so long, counted by the watcher's own clock, the holder stands still: ten of its beats.
const STANDS_STILL: Duration = Duration::from_secs(10);

/// A replica that has not refreshed for so long is gone for good, and its row is deleted.
const FORGET_REPLICAS: &str = "DELETE FROM access_replica WHERE seen_at < now() - interval '1 day'";

/// Ends the session that holds the lock, if it is still the one that was watched.
const END_HOLDER: &str = "
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (SELECT beat FROM service) = $2";

/// The right to work, for as long as this lives.
#[derive(Debug)]
pub struct Tenure {
    connection: PgConnection,
}

impl Tenure {
    /// Waits for it under a process's name. Dropped, it waits no more.
    pub async fn take(url: &str, process: &str, failover: Failover) -> Result<Self, OpenFault> {
        let timed_out = |_| OpenFault::Connect(sqlx::Error::PoolTimedOut);
        let mut connection = connect(&options(url)?).await?;
        // A beat must wait for the standby as a change does: else an isolated primary would complete it (H2).
        begin(&mut connection, failover).await.map_err(OpenFault::Connect)?;
        let mut seen: Option<(i64, Instant)> = None;
        // Each look has its bound: a network that is cut says nothing.
        while let Some(beat) =
            timeout(BEAT, look(&mut connection)).await.map_err(timed_out)?.map_err(OpenFault::Connect)?
        {
            let (_, since) = *seen.filter(|(last, _)| *last == beat).get_or_insert((beat, Instant::now()));
            seen = Some((beat, since));
            if since.elapsed() >= STANDS_STILL {
                tracing::warn!("the process that works has shown no life for ten seconds; its session is ended");
                let ended = sqlx::query(END_HOLDER).bind(LOCK).bind(beat).execute(&mut connection);
                timeout(BEAT, ended).await.map_err(timed_out)?.map_err(OpenFault::Connect)?;
                seen = None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let named = sqlx::query("UPDATE service SET process = $1, beat = beat + 1").bind(process);
        timeout(BEAT, named.execute(&mut connection)).await.map_err(timed_out)?.map_err(OpenFault::Connect)?;
        let forgotten = sqlx::query(FORGET_REPLICAS).execute(&mut connection);
        timeout(BEAT, forgotten).await.map_err(timed_out)?.map_err(OpenFault::Connect)?;
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
            match timeout(BEAT, warned(beat)).await {
                Ok((Ok(_), false)) => {}
                Ok((Ok(_), true)) => return Some(Lost(Cause::from("a beat was committed with a warning"))),
                Ok((Err(error), _)) => return Some(Lost(Box::new(error))),
                Err(elapsed) => return Some(Lost(Cause::from(elapsed))),
            }
        }
        // The lock goes with the session in any case.
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the session of the lock did not end in order");
        }
        None
    }
}

/// Takes the lock: none; else what the holder's beat is.
async fn look(db: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *db).await?;
    if locked {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT beat FROM service").fetch_one(db).await.map(Some)
}
