//! Every ten seconds: are the changes here and the migrations there of one world? (H9)
//!
//! A migration past its gate whose gate is open here is closed at once, and the change becomes NeedsAttention. A
//! migration without a change is canceled before its commit, and an alert after. Between two reads of two stores
//! anything can happen, so a suspicion counts only if the change is unchanged after the migration was read.

use super::{Fault, STORE_PAUSE_MS};
use crate::migrations::{Status, View};
use crate::service::Service;
use crate::store::Key;
use crate::store::rows::TierChange;
use std::sync::Arc;
use subscription_core::change::{Event, Gate, Refusal};
use tiershift_common::clock::sleep_ms;
use tiershift_core::ids::ChangeId;
use tiershift_core::{Reason, UnixMs};
use tokio_util::sync::CancellationToken;

/// How often, in milliseconds of the clock port.
const EVERY_MS: i64 = 10_000;

/// Runs until `stop`.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep_ms(service.clock.as_ref(), EVERY_MS) => {}
        }
        if let Err(fault) = once(&service).await {
            tracing::warn!(error = &fault as &dyn std::error::Error, "the comparison of the two services failed");
            sleep_ms(service.clock.as_ref(), STORE_PAUSE_MS).await;
        }
    }
}

/// One comparison. False: volume-svc did not answer to everything, and a gate that must be closed may be open still.
pub async fn once(service: &Service) -> Result<bool, Fault> {
    let live = match service.migrations.live().await {
        Ok(live) => live,
        Err(error) => {
            tracing::info!(reason = error.reason.as_str(), "no comparison: volume-svc does not answer");
            return Ok(false);
        }
    };
    let mut whole = true;
    for view in live.iter().filter(|v| v.status != Status::Tombstone) {
        whole &= one(service, view).await?;
    }
    for change in service.store.open_changes().await? {
        let known = live.iter().any(|v| v.id == change.id);
        if change.follows && !known && !change.machine.held() && !lost(&change) {
            missing(service, &change.id).await?;
        }
    }
    Ok(whole)
}

/// A migration that is known to be gone.
pub(super) fn lost(change: &TierChange) -> bool {
    change.machine.attention.is_some_and(|a| a.reason == Reason::MigrationNotFound)
}

/// Not among the live ones: ended, or gone. Gone is an alarm, and never a new start (H19 d).
async fn missing(service: &Service, id: &ChangeId) -> Result<(), Fault> {
    match service.migrations.get(id).await {
        Err(error) if error.reason == Reason::MigrationNotFound => {
            let gone = Event::Contradicted { reason: Reason::MigrationNotFound, past_gate: false };
            service.turn(id, |turn, _| turn.take(&gone)).await?;
            Ok(())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether it was compared: not if volume-svc did not say how far it is, or the change was written meanwhile.
async fn one(service: &Service, view: &View) -> Result<bool, Fault> {
    let loaded = service.store.read(&Key::change(view.id.clone())).await?;
    let Some(change) = loaded.change else { return orphan(service, view).await.map(|()| true) };
    if change.machine.gate != Gate::Open || !view.past_gate() {
        return Ok(true);
    }
    let Some(seen) = head(service, &view.id).await else { return Ok(false) };
    if !seen.past_gate() {
        return Ok(true);
    }
    close(service, &view.id, change.updated).await
}

/// The head of the journal, read after our own row.
async fn head(service: &Service, id: &ChangeId) -> Option<View> {
    service.migrations.get(id).await.ok()
}

/// Closes the gate, if the row is what it was before the journal was read.
async fn close(service: &Service, id: &ChangeId, unchanged_since: UnixMs) -> Result<bool, Fault> {
    let contradicted = Event::Contradicted { reason: Reason::WrongState, past_gate: true };
    let closed = service.turn(id, |turn, loaded| {
        let known = loaded.change.as_ref().is_some_and(|c| c.updated == unchanged_since);
        if !known || turn.change.machine.gate != Gate::Open {
            return Err(Refusal::Unwanted);
        }
        turn.take(&contradicted)
    });
    match closed.await {
        Ok(_) => {
            tracing::error!(change = %id, "a migration past its gate had an open gate here; it is closed now");
            Ok(true)
        }
        Err(Fault::Refused(_)) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// A migration that no change of ours asked for.
async fn orphan(service: &Service, view: &View) -> Result<(), Fault> {
    // Its change may have been accepted a moment after our read: StartMigration is only ever sent for a committed row,
    // so a second look, after the migration was seen, is final.
    if service.store.read(&Key::change(view.id.clone())).await?.change.is_some() {
        return Ok(());
    }
    if view.committed || view.status == Status::Serves {
        tracing::error!(migration = %view.id, "a migration without a change is committed; an operator must reconcile");
        return Ok(());
    }
    tracing::error!(migration = %view.id, "a migration without a change; canceling it");
    if let Err(error) = service.migrations.cancel(&view.id, super::turn::SYSTEM, "no change asked for it").await {
        tracing::warn!(migration = %view.id, reason = error.reason.as_str(), "it could not be canceled");
    }
    Ok(())
}
