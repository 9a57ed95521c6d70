//! Keeps the access records of one process among several: it asks the store four times a second what has changed, and only an
//! answer whose own write was acknowledged counts, from the instant before it was begun (H1, H2, H4).
//!
//! Where the database went back in time, to a standby that had not everything or to a backup, the point of departure cannot be
//! proved: the records are loaded anew, gates that must be closed are closed by comparing with volume-svc (H9), and nothing is
//! vouched for before both are done. The same answer tells of events that other processes published, and wakes what works here.
//!
//! Not here: what is believed for how long (`access`), and how the store answers (`store::*::refresh`).

use crate::saga::{self, compare};
use crate::service::Service;
use crate::store::{self, Refreshed};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two refreshes, in milliseconds of the clock port, as leases are: what a commit of another process takes to arrive
/// without a word of it, and an eighth of the shorter lease.
const EVERY_MS: i64 = 250;

/// The least of it in real time: a development stack's clock may run a hundred times as fast as the wall.
const LEAST: Duration = Duration::from_millis(50);

/// Between two refreshes that others' commits call for: each is a commit of its own.
const APART: Duration = Duration::from_millis(5);

/// After one that failed, and between two tries to catch up with another history.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a refresh does not count.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the store does not answer")]
    Store(#[from] store::Fault),
    #[error("what must be closed could not be closed")]
    Compare(#[from] saga::Fault),
    #[error("volume-svc does not say what must be closed")]
    Silent,
}

/// Refreshes under a name of this process until `stop`.
pub async fn run(service: Arc<Service>, name: String, stop: CancellationToken) {
    let (mut failed, mut torn) = (false, false);
    while !stop.is_cancelled() {
        let next = match once(&service, &name, &mut torn).await {
            Ok(()) => {
                if std::mem::take(&mut failed) {
                    tracing::info!("the access records are refreshed again");
                }
                service.clock.real(EVERY_MS).max(LEAST)
            }
            Err(fault) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(
                        error = &fault as &dyn std::error::Error,
                        "the access records are not refreshed; writes are refused when their leases run out"
                    );
                }
                AGAIN
            }
        };
        let woken = async {
            tokio::time::sleep(APART).await;
            service.committer.refresh.notified().await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = woken => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// One refresh, or everything anew where the history is another one. `torn`: it is, and what must be closed is not closed yet;
/// whoever loads the records meanwhile does not change that.
async fn once(service: &Service, name: &str, torn: &mut bool) -> Result<(), Fault> {
    // Before BEGIN: whatever is committed from here on may be missing from the answer.
    let begun = service.now();
    let found = service.store.refresh(name, service.replica.departure()).await?;
    *torn |= !found.proved;
    if *torn {
        anew(service).await?;
        *torn = false;
        return Ok(());
    }
    heard(service, &found);
    service.replica.refreshed(begun, found);
    Ok(())
}

/// Loads everything, and closes what must be closed; the next refresh may count.
async fn anew(service: &Service) -> Result<(), Fault> {
    tracing::error!("the database went back in time: loading everything anew, and comparing with volume-svc");
    service.replica.distrust();
    if !compare::once(service).await? {
        return Err(Fault::Silent);
    }
    // Behind the comparison, so that what it closed is in it.
    service.committer.reload().await?;
    service.hub.torn(service.store.feed_head().await?);
    service.replica.depart_anew();
    Ok(())
}

/// Others have published: whoever watches or works here looks.
fn heard(service: &Service, found: &Refreshed) {
    if *service.hub.subscribe().borrow() < found.feed {
        service.hub.elsewhere(found.feed);
        service.committer.owed.notify_one();
        service.committer.lives.notify_one();
        service.follow.notify_one();
    }
}
