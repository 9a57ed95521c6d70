//! What lives with a subscription beside its tier changes: renewals, ends of grace, and what the provider is told.
//!
//! `turn` is the pure heart: one transaction of a life. `worker` looks at the clock and tells the provider. Which events
//! there are and what they do is `subscription_core::lifecycle`; who may cause them by hand is in `usecase`.

pub mod turn;
pub mod worker;

use crate::service::Service;
use crate::store::rows::Subscription;
use crate::store::{self, Key, Write};
use subscription_core::lifecycle::Refusal;
use tiershift_core::ids::{GraphId, SubscriptionId};
use turn::Turn;

/// How one step of a life failed. None of these is told to a customer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store.
    #[error("the store failed")]
    Store(#[from] store::Fault),
    /// The life does not take it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The subscription is not the one that counts for its graph, or not there.
    #[error("the subscription is not there")]
    Gone,
}

impl Service {
    /// One transaction of one subscription: `act` applies events to its turn, which then is written.
    pub async fn live<T: Send>(
        &self,
        graph: &GraphId,
        id: &SubscriptionId,
        act: impl FnOnce(&mut Turn<'_>) -> Result<T, Fault> + Send,
    ) -> Result<(Subscription, T), Fault> {
        let now = self.now();
        self.committer
            .transact(&Key::graph(graph.clone()), |loaded| {
                let mut turn = Turn::begin(loaded, &self.ids, now).ok_or(Fault::Gone)?;
                if turn.subscription.id != *id {
                    return Err(Fault::Gone);
                }
                let value = act(&mut turn)?;
                let after = turn.subscription.clone();
                let writes: Vec<Write> = turn.finish();
                Ok::<_, Fault>((writes, (after, value)))
            })
            .await?
    }
}
