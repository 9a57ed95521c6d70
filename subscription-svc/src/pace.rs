//! How workers keep time: rounds over what is due, and waits that grow. Used by `lifecycle` and `webhooks`; `saga` has rounds of
//! its own, because its deliveries outlast them, and takes its waits from here.
//!
//! What is due is a row with a time and never a sleeping task, so that a restart forgets nothing. Not here: what is done.

use crate::service::Service;
use crate::store;
use futures_util::StreamExt as _;
use std::time::Duration;
use tiershift_core::UnixMs;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After a store that does not answer, in milliseconds of the clock port.
pub const STORE_PAUSE_MS: i64 = 1_000;

/// `first_ms`, doubled for each attempt before, `longest_ms` at most.
pub fn doubled_ms(attempts: u32, first_ms: i64, longest_ms: i64) -> i64 {
    first_ms.saturating_mul(1_i64 << attempts.min(30)).min(longest_ms)
}

/// Among several processes, the longest between two looks at what is due, in real time: others do not say what they leave to
/// be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Waits for an instant; for ever, if there is none and nobody else leaves anything to be done.
pub async fn until(service: &Service, next: Option<UnixMs>) {
    let due = async {
        match next {
            Some(at) => service.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    if service.shared {
        // Which of them ended it does not matter: what is due is read.
        let _ = tokio::time::timeout(LOOK_EVERY, due).await;
    } else {
        due.await;
    }
}

/// Runs rounds until `stop`. Each says when there will be more to do; `woken` begins the next one earlier.
pub async fn rounds<F>(service: &Service, woken: &Notify, stop: &CancellationToken, mut round: impl FnMut() -> F)
where
    F: Future<Output = Result<Option<UnixMs>, store::Fault>>,
{
    loop {
        let next = match round().await {
            Ok(next) => next,
            Err(fault) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "what is due cannot be read; trying again");
                Some(service.now().plus(STORE_PAUSE_MS))
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = woken.notified() => {}
            () = until(service, next) => {}
        }
    }
}

/// What one round found.
#[derive(Debug)]
pub struct Found<T> {
    /// What is due.
    pub due: Vec<T>,
    /// More is due than was read.
    pub more: bool,
    /// When the first of the others will be due.
    pub next: Option<UnixMs>,
}

/// Works on everything that was found, so many at once; `work` says whether it failed. Gives back when the next round is.
pub async fn work<T, F>(service: &Service, found: Found<T>, at_once: usize, work: impl FnMut(T) -> F) -> Option<UnixMs>
where
    F: Future<Output = bool>,
{
    let failed = futures_util::stream::iter(found.due)
        .map(work)
        .buffer_unordered(at_once)
        // All of them: one that is left half-way could have committed without anybody knowing.
        .fold(false, |any, failed| async move { any || failed })
        .await;
    let again = match (failed, found.more) {
        (true, _) => Some(service.now().plus(STORE_PAUSE_MS)),
        (false, true) => Some(service.now()),
        (false, false) => None,
    };
    again.into_iter().chain(found.next).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_bound() {
        let waits: Vec<i64> = (0..5).map(|attempts| doubled_ms(attempts, 1_000, 6_000)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 6_000, 6_000]);
        assert_eq!(doubled_ms(u32::MAX, i64::MAX, 7), 7);
    }
}
