//! What goes on without a request: changes, subscriptions and webhooks, each by a worker of its own. In one process at a time:
//! where several serve one database, the holder of its tenure works, and the next one goes on within seconds where it ends.
//!
//! Nothing that must not be lost is in memory here: what is owed, followed and due are rows. Not here: what each worker does
//! (`saga`, `lifecycle`, `webhooks`), and who may work (`store::postgres::tenure`).

use crate::saga;
use crate::service::Service;
use crate::store::inbox::Inbox;
use crate::store::postgres::Lost;
use crate::store::postgres::failover::Failover;
use crate::store::postgres::tenure::Tenure;
use crate::webhooks::{apply, prune};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// After a database that does not let this process wait for its turn.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether this process is the only one.
#[derive(Debug)]
pub enum Among {
    /// It is: nobody else may open the database.
    Alone,
    /// One of several over this address, under a name of its own.
    Several {
        /// The database's address.
        url: String,
        /// The process's name.
        process: String,
        /// What its sessions demand.
        failover: Failover,
    },
}

/// Works, whenever it is this process's turn, until `stop`. `inbox`: what webhooks left; none where nobody receives any.
pub async fn run(among: Among, service: Arc<Service>, inbox: Option<Arc<dyn Inbox>>, stop: CancellationToken) {
    let Among::Several { url, process, failover } = among else { return all(service, inbox, stop).await };
    while !stop.is_cancelled() {
        match stop.run_until_cancelled(Tenure::take(&url, &process, failover)).await {
            None => {}
            Some(Ok(tenure)) => turn(tenure, &service, inbox.as_ref(), &stop).await,
            Some(Err(fault)) => {
                tracing::debug!(error = &fault as &dyn std::error::Error, "cannot wait for the turn to work");
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
        }
    }
}

/// Works until the tenure is lost, or until `stop`.
async fn turn(tenure: Tenure, service: &Arc<Service>, inbox: Option<&Arc<dyn Inbox>>, stop: &CancellationToken) {
    tracing::info!("this process works now");
    // Others have worked meanwhile, perhaps on another history: every wait begins anew (H7).
    service.learned.clear();
    let (end, given_back) = (stop.child_token(), CancellationToken::new());
    let working = tokio::spawn(all(Arc::clone(service), inbox.cloned(), end.clone()));
    let mut keeping = tokio::spawn(tenure.keep(given_back.clone()));
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        lost = &mut keeping => tell(lost),
    }
    end.cancel();
    note(working).await;
    // Last, so that the next one finds everything written.
    given_back.cancel();
    if !keeping.is_finished() {
        note(keeping).await;
    }
}

/// All workers, until `stop`.
async fn all(service: Arc<Service>, inbox: Option<Arc<dyn Inbox>>, stop: CancellationToken) {
    let webhooks = async {
        let Some(inbox) = inbox else { return };
        let arrived = Arc::clone(&service.arrived);
        let applying = apply::run(Arc::clone(&service), Arc::clone(&inbox), arrived, stop.clone());
        tokio::join!(applying, prune::run(Arc::clone(&service), inbox, stop.clone()));
    };
    tokio::join!(saga::run(Arc::clone(&service), stop.clone()), webhooks);
}

fn tell(lost: Result<Option<Lost>, tokio::task::JoinError>) {
    match lost {
        Ok(None) => {}
        Ok(Some(lost)) => {
            tracing::warn!(error = &lost as &dyn std::error::Error, "this process does not work any more");
        }
        Err(error) => tracing::error!(%error, "the tenure broke"),
    }
}

/// A task's end matters only if it broke.
async fn note(task: JoinHandle<impl Sized>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task broke");
    }
}
