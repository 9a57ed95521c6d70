//! Delivers owed effects and gives changes their deadlines.
//!
//! One task; each delivery is a task of its own, at most one of a change at a time, the first of its rows (H20).
//! Waits are rows with a time, not sleeping tasks: so a cancel is never behind one, and a restart forgets nothing.

use super::{STORE_PAUSE_MS, deliver, schedule};
use crate::pace;
use crate::service::Service;
use crate::store::Key;
use std::collections::BTreeSet;
use std::sync::Arc;
use subscription_core::change::Event;
use tiershift_common::clock::sleep_ms;
use tiershift_core::ids::ChangeId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`. Deliveries that are out are left: what they owe is in their rows.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut running: JoinSet<ChangeId> = JoinSet::new();
    let mut busy: BTreeSet<ChangeId> = BTreeSet::new();
    loop {
        let next = match turn(&service, &mut running, &mut busy).await {
            Ok(next) => next,
            Err(fault) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "the worker cannot go on; trying again");
                Some(service.now().plus(STORE_PAUSE_MS))
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(ended) = running.join_next() => note_end(ended, &mut busy),
            () = service.committer.owed.notified() => {}
            () = pace::until(&service, next) => {}
        }
        while let Some(ended) = running.try_join_next() {
            note_end(ended, &mut busy);
        }
    }
}

fn note_end(ended: Result<ChangeId, tokio::task::JoinError>, busy: &mut BTreeSet<ChangeId>) {
    match ended {
        Ok(change) => {
            busy.remove(&change);
        }
        // A panic is a bug; the row is there, and a restart tries it again.
        Err(error) => tracing::error!(%error, "a delivery broke"),
    }
}

async fn turn(
    service: &Arc<Service>,
    running: &mut JoinSet<ChangeId>,
    busy: &mut BTreeSet<ChangeId>,
) -> Result<Option<tiershift_core::UnixMs>, super::Fault> {
    let due = service.store.due(service.now()).await?;
    for change in due.overdue {
        let loaded = service.store.read(&Key::change(change.clone())).await?;
        if !loaded.change.is_some_and(|c| c.waits()) {
            service.turn(&change, |turn, _| turn.take(&Event::Deadline)).await?;
            continue;
        }
        if busy.insert(change.clone()) {
            let service = Arc::clone(service);
            running.spawn(async move {
                if let Err(fault) = schedule::begin(&service, &change).await {
                    tracing::warn!(%change, error = &fault as &dyn std::error::Error,
                        "a scheduled change could not begin; trying again");
                    sleep_ms(service.clock.as_ref(), STORE_PAUSE_MS).await;
                }
                change
            });
        }
    }
    for owed in due.owed {
        if !busy.insert(owed.change.clone()) {
            continue;
        }
        let service = Arc::clone(service);
        running.spawn(async move {
            if let Err(fault) = deliver::deliver(&service, &owed).await {
                tracing::warn!(change = %owed.change, effect = owed.effect.kind(),
                    error = &fault as &dyn std::error::Error, "an effect could not be delivered; trying again");
                // Its row is as it was, and due: the change stays busy for a moment.
                sleep_ms(service.clock.as_ref(), STORE_PAUSE_MS).await;
            }
            owed.change
        });
    }
    Ok(due.next)
}
