//! Forgets events of which something was made, long after the provider could send them again.
//!
//! Dead ones are kept until an operator has replayed them, pending ones until they are due.

use crate::service::Service;
use crate::store;
use crate::store::inbox::Inbox;
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tokio_util::sync::CancellationToken;

/// How long events are kept, in milliseconds: 90 days. Stripe sends an event again for three, and shows it for thirty; what
/// customers ask about is seldom older than a quarter.
pub const KEEP_MS: i64 = 90 * 24 * 3_600_000;

/// How often, in milliseconds of the clock port.
const EVERY_MS: i64 = 3_600_000;

/// Events forgotten by one statement, so that none holds the table for long.
const BATCH: u32 = 1_000;

/// Runs until `stop`.
pub async fn run(service: Arc<Service>, inbox: Arc<dyn Inbox>, stop: CancellationToken) {
    loop {
        if let Err(fault) = turn(&service, inbox.as_ref(), &stop).await {
            tracing::warn!(error = &fault as &dyn std::error::Error, "old webhooks could not be forgotten");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep_ms(service.clock.as_ref(), EVERY_MS) => {}
        }
    }
}

/// Forgets all that is old enough now.
pub async fn turn(service: &Service, inbox: &dyn Inbox, stop: &CancellationToken) -> Result<(), store::Fault> {
    let before = service.now().plus(-KEEP_MS);
    while !stop.is_cancelled() && inbox.prune(before, BATCH).await? >= u64::from(BATCH) {}
    Ok(())
}
