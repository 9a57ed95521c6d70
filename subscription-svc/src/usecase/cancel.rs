//! CancelTierChange: stores the wish. How the change ends is told by the change (H20).
//!
//! Past the journalled detach it is refused at once: the head of the migration's journal is read first, because the
//! follower may be behind. If volume-svc does not answer, the wish is stored, and volume-svc refuses it later.

use super::repeat::Repeat;
use super::{change_not_found, owner_only};
use crate::migrations::Position;
use crate::saga::turn::Turn;
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::TierChange;
use crate::store::{Key, Write};
use subscription_core::change::{Event, Refusal, State};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{ChangeId, RequestId};
use tiershift_core::{Error, Kind, Reason};

impl Service {
    /// Asks for the end of a change.
    pub async fn cancel_change(
        &self,
        caller: &Caller,
        request: RequestId,
        id: &ChangeId,
        note: &str,
    ) -> Outcome<TierChange> {
        let repeat = Repeat::of(caller, request, "CancelTierChange", &(id, note));
        let key = Key::change(id.clone()).with_request(repeat.key.clone());
        let loaded = self.store.read(&key).await.map_err(from_store)?;
        let change = loaded.change.as_ref().filter(|c| caller.may_see(&c.org)).ok_or_else(change_not_found)?;
        owner_only(caller, &change.org)?;
        if repeat.resource(loaded.request.as_ref())?.is_some() {
            return Ok(change.clone());
        }
        // Only a moving change can be too late, and only the head of the journal knows.
        if change.machine.state == State::Moving {
            match self.migrations.get(id).await {
                Ok(view) if view.committed || view.position >= Position::PastDetach => {
                    return Err(refusal(Refusal::TooLate).into());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::info!(change = %id, reason = error.reason.as_str(), "cancel without a look at the journal");
                }
            }
        }
        let now = self.now();
        self.committer
            .transact(&key, |loaded| {
                if repeat.resource(loaded.request.as_ref())?.is_some() {
                    let change = loaded.change.clone().ok_or_else(change_not_found)?;
                    return Ok((Vec::new(), change));
                }
                let turn = Turn::begin(loaded, &self.ids, now).ok_or_else(change_not_found)?;
                let mut turn = turn.by(caller.user.as_str());
                turn.take(&Event::CancelRequested).map_err(refusal)?;
                let change = turn.change.clone();
                let mut writes = turn.finish();
                writes.push(Write::Request(repeat.remember(id.as_str())));
                Ok((writes, change))
            })
            .await
            .map_err(from_store)?
            .map_err(|error: Error| error.into())
    }
}

/// What a refused wish is to the caller.
fn refusal(refusal: Refusal) -> Error {
    let (reason, text) = match refusal {
        Refusal::TooLate => {
            (Reason::TooLateToCancel, "it is too late to cancel: the volume is on its way; wait for the end")
        }
        Refusal::Ended => (Reason::AlreadyEnded, "the change has ended; read it"),
        Refusal::Restored => (Reason::StoreRestored, "the store was restored; an operator must reconcile first"),
        Refusal::Unwanted | Refusal::Contradiction => {
            (Reason::WrongState, "the change cannot be canceled now; read it")
        }
    };
    Error::new(Kind::FailedPrecondition, reason, text)
}
