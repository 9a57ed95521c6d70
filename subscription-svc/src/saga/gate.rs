//! The write gate: when it may close, and when it may be confirmed (H7, H10, H29).
//!
//! Two waits, both counted by this process's own clock from what this process has *learned*, and in full again after
//! a restart. It closes one calm lease after the acceptance was learned: by then every valid holder knows that the
//! graph is in a change and believes its record for a changing lease only. It is confirmed one changing lease after
//! the closing was learned: by then nobody believes that it is open.

use super::deliver::put_off;
use super::{Fault, delivered};
use crate::service::Service;
use crate::store::Key;
use crate::store::rows::{Owed, TierChange};
use subscription_core::access::Gate as AccessGate;
use subscription_core::change::{Event, Refusal};
use tiershift_core::Reason;
use tiershift_core::mutant::{self, Mutant};

/// What is learned when the acceptance is known to be committed.
pub const ACCEPTED: &str = "accepted";

/// What is learned when the closed gate is known to be committed.
const CLOSED: &str = "closed";

/// For how much longer the migration must wait at its gate, in milliseconds, for the gate to be closed: two changing
/// leases, a slow commit and several tries of the confirmation fit into it (H10).
const GATE_LEFT_MS: i64 = 60_000;

/// While the migration is seen not to wait at its gate, how often to look: its next event comes by the follower.
const LOOK_MS: i64 = 1_000;

/// Closes the gate, once it may.
pub async fn close(service: &Service, owed: &Owed, change: &TierChange) -> Result<(), Fault> {
    // Under the lock, and so that the access replica has the record (`Committer::transact`): the acceptance may be the last
    // COMMIT of a process that is gone, later than what this one loaded when it started. Until the replica knows of the
    // change it gives calm leases.
    let key = Key::change(change.id.clone());
    let calm_ms =
        service.committer.transact(&key, |loaded| Ok::<_, Fault>((Vec::new(), loaded.leases.calm_ms))).await??;
    let may_close = service.learned.since(&change.id, ACCEPTED, service.now()).plus(calm_ms);
    if service.now() < may_close && !mutant::on(Mutant::SkipCalmWait) {
        return service.later(owed, may_close, owed.attempts).await;
    }
    let Some(gate_id) = change.machine.gate_id else { return Err(Fault::Refused(Refusal::Unwanted)) };
    match service.migrations.get(&change.id).await {
        Ok(view) if view.waits_at(gate_id, GATE_LEFT_MS) => {}
        Ok(_) => return service.later(owed, service.now().plus(LOOK_MS), owed.attempts).await,
        Err(error) => return put_off(service, owed, &error).await,
    }
    service.hold.reached("gating", "intent").await;
    let closed = service.turn(&change.id, |turn, loaded| {
        // The limits once more: data may have grown since the charge (H28). It compensates, where the check before the
        // charge took nothing.
        let report = match &loaded.graph {
            Some(graph) => service.check_again(loaded, graph, &turn.change),
            None => return Err(Refusal::Unwanted),
        };
        match report.first_reason() {
            None => delivered(turn, owed, &Event::GateClosed),
            Some(reason) => {
                turn.violations(report.violations);
                delivered(turn, owed, &Event::GateCheckFailed { reason })
            }
        }
    });
    // A lost answer is read back under the lock by the next delivery: either this row is there again, or its
    // follow-up is. Nothing is assumed.
    closed.await?;
    service.hold.reached("gating", "called").await;
    Ok(())
}

/// Waits for the lease of a gate that is known to be closed, then owes its confirmation.
pub async fn wait_lease(service: &Service, owed: &Owed) -> Result<(), Fault> {
    let id = &owed.change;
    // Under the lock, which outwaits a COMMIT that is still on its way: this is where the closing is learned, also
    // after a restart.
    let key = Key::change(id.clone());
    let read = service.committer.transact(&key, |loaded| {
        let holds = matches!(loaded.access.as_ref().map(|a| &a.record.gate),
            Some(AccessGate::WritesBlocked(change) | AccessGate::Offline(change)) if change == id);
        Ok::<_, Fault>((Vec::new(), (holds, loaded.leases.changing_ms)))
    });
    let (holds, changing_ms) = read.await??;
    if !holds {
        let contradiction = Event::Contradicted { reason: Reason::WrongState, past_gate: false };
        service.turn(id, |turn, _| delivered(turn, owed, &contradiction)).await?;
        return Ok(());
    }
    let may_confirm = service.learned.since(id, CLOSED, service.now()).plus(changing_ms);
    if service.now() < may_confirm && !mutant::on(Mutant::SkipGateWait) {
        return service.later(owed, may_confirm, owed.attempts).await;
    }
    service.turn(id, |turn, _| delivered(turn, owed, &Event::LeaseWaited)).await?;
    service.hold.reached("moving", "intent").await;
    Ok(())
}
