//! Delivers one owed effect: asks the change whether it still wants it, does it, and stores what came of it together
//! with the end of the row.

use super::{Fault, charge, delivered, gate};
use crate::migrations::{Canceled, Start, outcome_open};
use crate::service::Service;
use crate::store::Key;
use crate::store::rows::{Owed, PaymentKind, TierChange};
use crate::usecase::facts::spec;
use subscription_core::change::{Back, Effect, Event, Refusal};
use tiershift_core::{Error, Kind, Reason};

/// Delivers, or puts it off.
pub async fn deliver(service: &Service, owed: &Owed) -> Result<(), Fault> {
    let loaded = service.store.read(&Key::change(owed.change.clone())).await?;
    let change = loaded.change.as_ref().ok_or(Fault::Gone)?;
    // A row that was dropped since it was read, or that nobody wants any more.
    if !loaded.owed.iter().any(|row| row.id == owed.id) {
        return Ok(());
    }
    if !change.machine.wants(&owed.effect) {
        return service.drop_owed(owed).await;
    }
    let done = match &owed.effect {
        Effect::StartMigration => start(service, owed, change).await,
        Effect::Charge => charge::charge(service, owed, &loaded).await,
        Effect::CloseGate => gate::close(service, owed, change).await,
        Effect::WaitLease => gate::wait_lease(service, owed).await,
        Effect::ConfirmGate { gate_id } => confirm(service, owed, change, *gate_id).await,
        Effect::CancelMigration => cancel(service, owed, change).await,
        Effect::RevertPrice => charge::give_back(service, owed, &loaded, PaymentKind::BackPrice, Back::Price).await,
        Effect::Refund => charge::give_back(service, owed, &loaded, PaymentKind::BackMoney, Back::Money).await,
        // Facts are never owed.
        Effect::BlockWrites
        | Effect::SetGateOffline
        | Effect::OpenGate
        | Effect::Calm
        | Effect::ApplyPlan
        | Effect::Notify(_) => service.drop_owed(owed).await,
    };
    match done {
        // The ground went while it was done: nothing was written, and the row goes with the next look at it.
        Err(Fault::Refused(Refusal::Unwanted | Refusal::Restored)) => service.drop_owed(owed).await,
        other => other,
    }
}

async fn start(service: &Service, owed: &Owed, change: &TierChange) -> Result<(), Fault> {
    service.hold.reached("starting", "intent").await;
    let answer = match service.catalogue.get(&change.to_tier) {
        None => Err(Error::new(Kind::FailedPrecondition, Reason::UnknownTier, "the tier left the catalogue")),
        Some(target) => {
            let loaded = service.store.read(&Key::change(change.id.clone())).await?;
            let graph = loaded.graph.ok_or(Fault::Gone)?;
            let start = Start {
                id: change.id.clone(),
                spec: spec(&graph, target),
                requested_by: change.requested_by.clone(),
                fingerprint: change.fingerprint.clone(),
            };
            service.migrations.start(&start).await
        }
    };
    service.hold.reached("starting", "called").await;
    match answer {
        Ok(()) => service.turn(&change.id, |turn, _| delivered(turn, owed, &Event::Started)).await?,
        Err(error) if outcome_open(&error) => return put_off(service, owed, &error).await,
        Err(error) => {
            let event = Event::StartRefused { reason: error.reason };
            let refused = service.turn(&change.id, |turn, _| {
                turn.violations(error.violations);
                delivered(turn, owed, &event)
            });
            refused.await?
        }
    };
    service.hold.reached("starting", "outcome").await;
    Ok(())
}

async fn confirm(service: &Service, owed: &Owed, change: &TierChange, gate_id: u64) -> Result<(), Fault> {
    let answer = service.migrations.confirm(&change.id, gate_id, change.gate_epoch).await;
    service.hold.reached("moving", "called").await;
    let event = match answer {
        Ok(()) => Event::GateConfirmed,
        Err(error) if outcome_open(&error) => return put_off(service, owed, &error).await,
        // The gate stays closed: only the volume says where the graph serves (H10).
        Err(error) => {
            tracing::warn!(change = %change.id, gate_id, reason = error.reason.as_str(), "the gate was not confirmed");
            Event::GateRefused { reason: error.reason }
        }
    };
    service.turn(&change.id, |turn, _| delivered(turn, owed, &event)).await?;
    service.hold.reached("moving", "outcome").await;
    Ok(())
}

async fn cancel(service: &Service, owed: &Owed, change: &TierChange) -> Result<(), Fault> {
    service.hold.reached("canceling", "intent").await;
    let note = match change.machine.turn_back {
        Some(reason) => super::because(reason),
        None => "canceled on request".to_owned(),
    };
    let answer = service.migrations.cancel(&change.id, change.requested_by.as_str(), &note).await;
    service.hold.reached("canceling", "called").await;
    let event = match answer {
        Ok(Canceled::TurningBack) => Event::CancelAccepted { never_started: false },
        Ok(Canceled::Tombstone) => Event::CancelAccepted { never_started: true },
        Err(error) if outcome_open(&error) => return put_off(service, owed, &error).await,
        Err(error) => Event::CancelRefused { reason: error.reason },
    };
    service.turn(&change.id, |turn, _| delivered(turn, owed, &event)).await?;
    service.hold.reached("canceling", "outcome").await;
    Ok(())
}

/// A call without an answer: its outcome is open, and every one of them may be repeated.
pub(super) async fn put_off(service: &Service, owed: &Owed, error: &Error) -> Result<(), Fault> {
    tracing::info!(change = %owed.change, effect = owed.effect.kind(), attempts = owed.attempts,
        reason = error.reason.as_str(), "no answer; trying again");
    let at = service.next_try(owed.attempts);
    service.later(owed, at, owed.attempts.saturating_add(1)).await
}
