//! Looks at the clock for subscriptions: begins their next period, ends them, and tells the provider what is owed to it.
//!
//! What is due is a column, so that a restart forgets nothing and a million subscriptions cost one index. While a tier
//! change runs, time stands still for its subscription: a renewal then is invoiced at the price that the change leaves,
//! whatever its end (H23), and no graph is suspended while its volume is in flight.

use super::Fault;
use crate::payments::Answer;
use crate::service::Service;
use crate::store;
use crate::store::rows::{Subscription, TellKind, Told};
use futures_util::StreamExt as _;
use std::sync::Arc;
use subscription_core::lifecycle::{Event, Refusal};
use tiershift_core::UnixMs;
use tokio_util::sync::CancellationToken;

/// Subscriptions read at once.
const BATCH: u32 = 100;

/// Subscriptions worked on at once: calls to the provider wait for each other's answers no longer than need be.
const AT_ONCE: usize = 8;

/// After a store that does not answer, in milliseconds of the clock port.
const STORE_PAUSE_MS: i64 = 1_000;

/// First wait after a provider without an answer, in milliseconds; doubled each time.
const BACKOFF_FIRST_MS: i64 = 1_000;

/// Longest wait.
const BACKOFF_MAX_MS: i64 = 300_000;

/// Runs until `stop`.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    loop {
        let next = match turn(&service).await {
            Ok(next) => next,
            Err(fault) => {
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "due subscriptions cannot be read; trying again"
                );
                Some(service.now().plus(STORE_PAUSE_MS))
            }
        };
        let until_next = async {
            match next {
                Some(at) => service.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = service.committer.lives.notified() => {}
            () = until_next => {}
        }
    }
}

/// Everything that is due now; gives back when there will be more.
async fn turn(service: &Service) -> Result<Option<UnixMs>, store::Fault> {
    let (due, next) = service.store.due_subscriptions(service.now(), BATCH).await?;
    let more = due.len() >= BATCH as usize;
    let failed = futures_util::stream::iter(due)
        .map(|subscription| async move {
            match step(service, &subscription).await {
                Ok(()) | Err(Fault::Gone | Fault::Refused(Refusal::Over)) => false,
                Err(fault) => {
                    tracing::warn!(subscription = %subscription.id, error = &fault as &dyn std::error::Error,
                        "a subscription's time could not be kept; trying again");
                    true
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        // All of them: one that is left half-way could have committed without anybody knowing.
        .fold(false, |any, failed| async move { any || failed })
        .await;
    let again = match (failed, more) {
        (true, _) => Some(service.now().plus(STORE_PAUSE_MS)),
        (false, true) => Some(service.now()),
        (false, false) => None,
    };
    Ok(again.into_iter().chain(next).min())
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
    let retry_at = service.now().plus(backoff_ms(told.attempts));
    let told_and = service.live(&subscription.graph, &subscription.id, |turn| {
        let Some(at) = turn.subscription.told.iter().position(|owed| owed.key == told.key) else { return Ok(()) };
        match &answer {
            Answer::Done { .. } => {
                turn.subscription.told.remove(at);
            }
            Answer::Refused { reason } => {
                turn.subscription.told.remove(at);
                tracing::warn!(subscription = %told.key, reason = reason.as_str(), "the provider refused");
                if told.kind == TellKind::Invoice {
                    match turn.take(Event::PaymentFailed) {
                        // It is not active any more: there is nothing to be overdue with.
                        Ok(_) | Err(Refusal::From(_)) => {}
                        Err(refusal) => return Err(refusal.into()),
                    }
                }
            }
            Answer::ServerFault | Answer::Unknown => {
                let owed = &mut turn.subscription.told[at];
                (owed.attempts, owed.not_before) = (told.attempts.saturating_add(1), retry_at);
            }
        }
        Ok(())
    });
    told_and.await?;
    Ok(())
}

fn backoff_ms(attempts: u32) -> i64 {
    BACKOFF_FIRST_MS.saturating_mul(1_i64 << attempts.min(16)).min(BACKOFF_MAX_MS)
}
