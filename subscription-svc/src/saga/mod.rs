//! What runs accepted changes: it follows migrations, delivers owed effects, watches deadlines and compares.
//!
//! `turn` is the pure heart: one transaction of a change. `follower` brings the volume's events; `worker` delivers
//! owed effects, one at a time and in order per change, by `deliver`, `gate` and `charge`; what was scheduled begins by `schedule`; `compare` holds both
//! services against each other. Beside them runs the worker that keeps the time of subscriptions (`lifecycle`). Effects start only from the state at the head (H22): every delivery asks the change,
//! as it is now, whether it still wants the effect.

mod charge;
pub mod compare;
mod deliver;
mod follower;
pub mod gate;
pub mod schedule;
pub mod turn;
mod wording;
mod worker;

use crate::lifecycle;
use crate::pace::{STORE_PAUSE_MS, doubled_ms};
use crate::service::Service;
use crate::store;
use crate::store::rows::{Owed, TierChange};
use crate::store::{Key, Loaded, Write};
use std::sync::Arc;
use subscription_core::change::{Event, Notice, Refusal};
use tiershift_core::UnixMs;
use tiershift_core::ids::ChangeId;
use tokio_util::sync::CancellationToken;
use turn::Turn;

pub use wording::because;

/// First wait after a call without an answer, in milliseconds of the clock port; doubled each time.
const BACKOFF_FIRST_MS: i64 = 500;

/// Longest wait. A gate may be closed meanwhile, so that minutes would be the customer's; and a service that comes
/// back after an outage meets at most one call a change in this time.
const BACKOFF_MAX_MS: i64 = 10_000;

/// How one step of a saga failed. None of these is told to a customer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store.
    #[error("the store failed")]
    Store(#[from] store::Fault),
    /// The change does not take it any more.
    #[error("the change refuses: {0}")]
    Refused(Refusal),
    /// The change, or what belongs to it, is not there.
    #[error("the change is not there")]
    Gone,
}

/// The wait before try `attempts + 1`, with a quarter of it random, so that changes that failed together do not come
/// back together.
fn backoff_ms(attempts: u32, random: u128) -> i64 {
    let whole = doubled_ms(attempts, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
    let quarter = whole / 4;
    let jitter = i64::try_from(random % u128::from(quarter.unsigned_abs().max(1))).unwrap_or(0);
    whole - quarter + jitter
}

/// Runs everything until `stop`.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => return,
        () = hold_back_restored(&service) => {}
    }
    let follower = follower::run(Arc::clone(&service), stop.clone());
    let worker = worker::run(Arc::clone(&service), stop.clone());
    let compare = compare::run(Arc::clone(&service), stop.clone());
    let lives = lifecycle::worker::run(service, stop);
    tokio::join!(follower, worker, compare, lives);
}

/// Changes of another life of the store are put before a person before anything else happens: nothing of them may be
/// sent until they are reconciled (H19).
async fn hold_back_restored(service: &Service) {
    loop {
        match try_hold_back_restored(service).await {
            Ok(()) => return,
            Err(fault) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "cannot read which changes run; trying again");
                tiershift_common::clock::sleep_ms(service.clock.as_ref(), STORE_PAUSE_MS).await;
            }
        }
    }
}

async fn try_hold_back_restored(service: &Service) -> Result<(), Fault> {
    let epoch = service.store.epoch().await?;
    for change in service.store.open_changes().await? {
        if change.store_epoch != epoch && change.active() && !change.machine.held() {
            service.turn(&change.id, |turn, _| turn.take(&Event::Restored)).await?;
        }
    }
    Ok(())
}

impl Service {
    /// One transaction of one change: `act` applies events to its turn.
    async fn turn<T: Send>(
        &self,
        id: &ChangeId,
        act: impl FnOnce(&mut Turn<'_>, &Loaded) -> Result<T, Refusal> + Send,
    ) -> Result<(TierChange, T), Fault> {
        let now = self.now();
        let done: Result<_, Fault> = self
            .committer
            .transact(&Key::change(id.clone()), |loaded| {
                let mut turn = Turn::begin(loaded, &self.ids, now).ok_or(Fault::Gone)?;
                let value = act(&mut turn, loaded).map_err(Fault::Refused)?;
                let (change, notices) = (turn.change.clone(), std::mem::take(&mut turn.notices));
                let begins = change.follows && !loaded.change.as_ref().is_some_and(|c| c.follows);
                Ok((turn.finish(), (change, notices, begins, value)))
            })
            .await
            .inspect_err(|fault| {
                // It may be committed, and then there may be one more migration to follow.
                if matches!(fault, store::Fault::Unknown(_)) {
                    self.follow.notify_one();
                }
            })?;
        let (change, notices, begins, value): (TierChange, Vec<Notice>, bool, T) = done?;
        self.tell(&change, &notices);
        if begins {
            self.follow.notify_one();
        }
        Ok((change, value))
    }

    /// People are told of what has been committed.
    fn tell(&self, change: &TierChange, notices: &[Notice]) {
        let machine = &change.machine;
        for notice in notices {
            match notice {
                Notice::Ended => {
                    self.learned.forget(&change.id);
                    let now = self.now();
                    tracing::info!(change = %change.id, state = machine.state.as_str(),
                        reason = machine.failure.map(tiershift_core::Reason::as_str),
                        writes_blocked_ms = change.writes_blocked_ms(now), offline_ms = change.offline_ms(now),
                        "tier change ended");
                }
                Notice::Attention => {
                    let (cause, reason) = machine.attention.map_or(("", ""), |a| (a.cause.as_str(), a.reason.as_str()));
                    tracing::error!(change = %change.id, graph = %change.graph, cause, reason,
                        "tier change needs attention");
                }
            }
        }
    }

    /// An owed effect had no answer: again later.
    async fn later(&self, owed: &Owed, at: UnixMs, attempts: u32) -> Result<(), Fault> {
        let row = Owed { attempts, not_before: at, ..owed.clone() };
        let key = Key::change(owed.change.clone());
        self.committer.transact(&key, |_| Ok::<_, Fault>((vec![Write::Retry(row)], ()))).await?
    }

    /// An owed effect is not wanted any more.
    async fn drop_owed(&self, owed: &Owed) -> Result<(), Fault> {
        let key = Key::change(owed.change.clone());
        let id = owed.id;
        self.committer.transact(&key, |_| Ok::<_, Fault>((vec![Write::Settle(id)], ()))).await?
    }

    /// When to try an effect again.
    fn next_try(&self, attempts: u32) -> UnixMs {
        self.now().plus(backoff_ms(attempts, self.ids.random()))
    }
}

/// Marks the effect as delivered and applies what came of it.
fn delivered(turn: &mut Turn<'_>, owed: &Owed, event: &Event) -> Result<(), Refusal> {
    turn.settle(owed.id);
    turn.take(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_spread() {
        for random in [0, 7, u128::MAX] {
            let mut last = 0;
            for attempts in 0..40 {
                let wait = backoff_ms(attempts, random);
                assert!((BACKOFF_FIRST_MS * 3 / 4..=BACKOFF_MAX_MS).contains(&wait), "{attempts}: {wait}");
                assert!(wait >= last * 3 / 4, "{attempts}: {wait} after {last}");
                last = wait;
            }
        }
        assert_ne!(backoff_ms(3, 0), backoff_ms(3, 100));
    }
}
