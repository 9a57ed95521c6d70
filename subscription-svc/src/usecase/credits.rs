//! UseCredits: a service tells what a graph used, before it does the work.
//!
//! Exactly once by request id, refused whole if not enough is left: a caller that is refused does not do the work. What a
//! month has is `subscription_core::credits`'s; it begins by the clock, or with the period (`lifecycle`).

use super::repeat::Repeat;
use super::{graph_not_found, service_only};
use crate::lifecycle::turn::Turn;
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::Subscription;
use crate::store::{Key, Write};
use serde::Serialize;
use subscription_core::credits::Exhausted;
use subscription_core::status::SubscriptionStatus;
use tiershift_common::caller::Caller;
use tiershift_core::ids::{AnyGraphId, RequestId};
use tiershift_core::{Error, Kind, Reason, Violation};

/// What was used.
#[derive(Clone, Debug, Serialize)]
pub struct UseCredits {
    /// The caller's id for it. Not part of its content.
    #[serde(skip)]
    pub request: RequestId,
    /// The graph that used it, or the one whose subgraph did.
    pub graph: AnyGraphId,
    /// How many credits, 1 or more.
    pub amount: i64,
}

impl Service {
    /// Uses credits of the present month of the graph's subscription.
    pub async fn use_credits(&self, caller: &Caller, request: UseCredits) -> Outcome<Subscription> {
        service_only(caller)?;
        let repeat = Repeat::of(caller, request.request.clone(), "UseCredits", &request);
        let key = Key::graph(request.graph.parent()).with_request(repeat.key.clone());
        let now = self.now();
        let used = self.committer.transact(&key, |loaded| {
            let here = loaded.graph.as_ref().is_some_and(|graph| !graph.state.gone());
            let subscription = loaded.subscription.as_ref().filter(|_| here).ok_or_else(graph_not_found)?;
            if repeat.resource(loaded.request.as_ref())?.is_some() {
                return Ok((Vec::new(), subscription.clone()));
            }
            if subscription.status != SubscriptionStatus::Active {
                return Err(not_active(subscription.status));
            }
            let mut turn = Turn::begin(loaded, &self.ids, now).ok_or_else(graph_not_found)?;
            turn.spend(request.amount).map_err(|exhausted| refused(exhausted, request.amount))?;
            let after = turn.subscription.clone();
            let mut writes = turn.finish();
            writes.push(Write::Request(repeat.remember(after.id.as_str())));
            Ok((writes, after))
        });
        used.await.map_err(from_store)?.map_err(|error: Error| error.into())
    }
}

fn not_active(status: SubscriptionStatus) -> Error {
    let text = format!("credits are granted while the subscription is active, and it is {status}");
    Error::new(Kind::FailedPrecondition, Reason::SubscriptionNotActive, text)
}

fn refused(exhausted: Exhausted, amount: i64) -> Error {
    let violation = Violation {
        reason: Reason::CreditsExhausted,
        field: "credits".to_owned(),
        limit: Some(exhausted.left),
        actual: Some(amount),
        fix: "use no more than is left, wait for the next month, or choose a larger tier".to_owned(),
    };
    Error::refused(vec![violation], Vec::new())
}
