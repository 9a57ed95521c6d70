//! Looks at the clock for subscriptions: begins their next period, ends them, and tells the provider what is owed to it.
//!
//! What is due is a column, so that a restart forgets nothing and a million subscriptions cost one index. While a tier
//! change runs, time stands still for its subscription: a renewal then is invoiced at the price that the change leaves,
//! whatever its end (H23), and no graph is suspended while its volume is in flight.

use super::Fault;
use crate::pace::{self, Found};
use crate::payments::Answer;
use crate::service::Service;
use crate::store;
use crate::store::rows::{Subscription, TellKind, Told};
use std::sync::Arc;
use subscription_core::lifecycle::Refusal;
use tiershift_core::UnixMs;
use tokio_util::sync::CancellationToken;

/// Subscriptions read at once.
const BATCH: u32 = 100;

/// Subscriptions worked on at once: calls to the provider wait for each other's answers no longer than need be.
const AT_ONCE: usize = 8;

/// First wait after a provider without an answer, in milliseconds; doubled each time.
const BACKOFF_FIRST_MS: i64 = 1_000;

/// Longest wait.
const BACKOFF_MAX_MS: i64 = 300_000;

/// Runs until `stop`.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    pace::rounds(&service, &service.committer.lives, &stop, || turn(&service)).await;
}

/// Everything that is due now; gives back when there will be more.
async fn turn(service: &Service) -> Result<Option<UnixMs>, store::Fault> {
    let (due, next) = service.store.due_subscriptions(service.now(), BATCH).await?;
    let found = Found { more: due.len() >= BATCH as usize, due, next };
    let again = pace::work(service, found, AT_ONCE, |subscription| async move {
        match step(service, &subscription).await {
            Ok(()) | Err(Fault::Gone | Fault::Refused(Refusal::Over)) => false,
            Err(fault) => {
                tracing::warn!(subscription = %subscription.id, error = &fault as &dyn std::error::Error,
                    "a subscription's time could not be kept; trying again");
                true
            }
        }
    });
    Ok(again.await)
}

async fn step(service: &Service, subscription: &Subscription) -> Result<(), Fault> {
    match subscription.told.first() {
        Some(told) if told.not_before <= service.now() => tell(service, subscription, told).await,
        _ => service.live(&subscription.graph, &subscription.id, |turn| Ok(turn.catch_up()?)).await.map(|_| ()),
    }
}

/// Tells the provider one thing, and stores what came of it together with the end of the row.
async fn tell(service: &Service, subscription: &Subscription, told: &Told) -> Result<(), Fault> {
    let answer = service.payments.tell(subscription, told).await;
    let retry_at = service.now().plus(pace::doubled_ms(told.attempts, BACKOFF_FIRST_MS, BACKOFF_MAX_MS));
    let stored = service.live(&subscription.graph, &subscription.id, |turn| {
        let Some(at) = turn.subscription.told.iter().position(|owed| owed.key == told.key) else { return Ok(()) };
        match &answer {
            Answer::Done { .. } => {
                turn.subscription.told.remove(at);
            }
            Answer::Refused { reason } => {
                turn.subscription.told.remove(at);
                turn.provider_refused(told, *reason)?;
            }
            Answer::ServerFault | Answer::Unknown => {
                let owed = &mut turn.subscription.told[at];
                (owed.attempts, owed.not_before) = (told.attempts.saturating_add(1), retry_at);
                // What is stored under the key never becomes definite (H21 b). To set or to clear an end twice is to do
                // it once, so it may be said under another key; an invoice may not.
                if answer == Answer::ServerFault && told.kind != TellKind::Invoice {
                    owed.key = format!("{}/{}", told.key, owed.attempts);
                }
            }
        }
        Ok(())
    });
    stored.await?;
    Ok(())
}
