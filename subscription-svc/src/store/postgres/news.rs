//! Word among the processes of one database that something was committed, so that none waits for its next refresh. A hint, by
//! NOTIFY and LISTEN: what is lost of it, behind a pooler of transactions, in a failover, costs a quarter of a second.
//!
//! It is told behind the commit and on another connection: NOTIFY in a transaction takes a lock that all commits share (H38).

use super::{OpenFault, options};
use crate::service::Service;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The channel.
pub const CHANNEL: &str = "tiershift_news";

/// Between two connections, whatever ended the first: a server that ends each at once is not asked in a circle.
const AGAIN: Duration = Duration::from_secs(1);

/// How long silence is believed.
const SILENCE: Duration = Duration::from_mins(1);

/// Tells the others: many commits at once are one word.
#[derive(Debug)]
pub struct Tell {
    wanted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Tell {
    /// Over connections of this pool.
    pub fn start(pool: PgPool) -> Self {
        let wanted = Arc::new(Notify::new());
        let task = tokio::spawn(run(pool, Arc::clone(&wanted)));
        Self { wanted, task }
    }

    /// Something was committed, or may be.
    pub fn tell(&self) {
        self.wanted.notify_one();
    }
}

impl Drop for Tell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(pool: PgPool, wanted: Arc<Notify>) {
    while !pool.is_closed() {
        wanted.notified().await;
        if let Err(error) = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&pool).await {
            tracing::debug!(%error, "no word to the other processes; they look by themselves");
        }
    }
}

/// Refreshes whenever another process, or this one, tells of something, until `stop`.
pub async fn hear(url: String, service: Arc<Service>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(Err(fault)) = stop.run_until_cancelled(listen(&url, &service)).await {
            tracing::debug!(
                error = &fault as &dyn std::error::Error,
                "no word from the other processes; looking by itself"
            );
        }
        stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
    }
}

/// Ends with a fault, or when what was heard is to be doubted.
async fn listen(url: &str, service: &Service) -> Result<(), OpenFault> {
    // One connection for as long as it lives.
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let pool = pool.connect_with(options(url)?).await.map_err(OpenFault::Connect)?;
    let mut listener = PgListener::connect_with(&pool).await.map_err(OpenFault::Connect)?;
    listener.listen(CHANNEL).await.map_err(OpenFault::Connect)?;
    // What was told before is seen by looking once.
    service.committer.refresh.notify_one();
    // A connection that says nothing for long may be one that nobody speaks at any more.
    while let Ok(heard) = tokio::time::timeout(SILENCE, listener.try_recv()).await {
        // None: it was lost, and with it perhaps a word.
        if heard.map_err(OpenFault::Connect)?.is_none() {
            break;
        }
        service.committer.refresh.notify_one();
    }
    Ok(())
}
