//! One change from its start to its end, with a customer who writes and the other service that follows.

use super::access::Access;
use super::customer::Customer;
use super::evidence::{Before, Evidence};
use super::process::{Front, Process};
use super::rig::Rig;
use super::subscriber::{Followed, Policy, Subscriber};
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tiershift_core::Error;
use tiershift_core::ids::{ChangeId, GraphId};
use tokio::task::JoinHandle;
use volume_core::stage::Stage;
use volume_core::view::Status;
use volume_svc::journal::Head;
use volume_svc::migrations::{Canceled, Wish};

/// Longest time from a start to its end for the customer that any test waits for: a snapshot and some patience.
const END_WITHIN_MS: i64 = 4 * 3_600_000;

/// From the end for the customer to nothing owed: the soak and some patience.
const DONE_WITHIN_MS: i64 = 3 * 3_600_000;

/// A start is a dozen reads and one append.
const ACCEPTED_WITHIN_MS: i64 = 60_000;

/// How long the customer goes on writing behind the end.
const AFTERWARDS_MS: i64 = 10_000;

/// A change under way.
#[derive(Debug)]
pub struct Run {
    /// What there is.
    pub rig: Arc<Rig>,
    /// Where volume-svc is called.
    pub front: Front,
    /// The change.
    pub id: ChangeId,
    /// Its graph.
    pub graph: GraphId,
    /// The graph's gate.
    pub access: Arc<Access>,
    customer: Customer,
    following: JoinHandle<Followed>,
    before: Before,
}

impl Run {
    /// Starts a change and waits until it is accepted.
    pub async fn begin(rig: &Arc<Rig>, process: &Process, graph: &str, tier: &str, policy: Policy) -> Self {
        let run = Self::ask_for(rig, process, rig.wish(graph, tier), policy);
        rig.until(&run.id, "accepted", ACCEPTED_WITHIN_MS, |_| true).await;
        run
    }

    /// Asks for a change, again and again until a process accepts it, and does not wait. A refusal fails the test when
    /// the change is waited for.
    pub fn ask_for(rig: &Arc<Rig>, process: &Process, wish: Wish, policy: Policy) -> Self {
        let (front, id, graph) = (Front::default(), rig.change_id(), wish.graph.clone());
        front.to(process);
        let before = Before { calls: rig.cloud.ledger().len(), acknowledged: rig.cloud.audit(&graph).acknowledged };
        let access = Access::new(Arc::clone(&rig.clock));
        let customer = Customer::start(rig, &graph, &access);
        let subscriber = Subscriber {
            rig: Arc::clone(rig),
            front: front.clone(),
            id: id.clone(),
            access: Arc::clone(&access),
            policy,
        };
        let following = tokio::spawn(subscriber.follow(wish));
        Self { rig: Arc::clone(rig), front, id, graph, access, customer, following, before }
    }

    /// Waits until the migration enters a stage on its way forward.
    pub async fn until_stage(&self, stage: Stage) -> Head {
        self.rig.until(&self.id, stage.name(), END_WITHIN_MS, |head| head.view.stage >= stage).await
    }

    /// Cancels.
    pub async fn cancel(&self) -> Result<(Canceled, Head), Error> {
        let id = self.id.clone();
        let cancel = self.front.call(move |service| {
            let id = id.clone();
            async move { service.cancel(&id, "user_ada").await }
        });
        cancel.await
    }

    /// Confirms a gate by hand.
    pub async fn confirm(&self, gate_id: u64) -> Result<Head, Error> {
        let id = self.id.clone();
        let confirm = self.front.call(move |service| {
            let id = id.clone();
            async move { service.confirm_gate(&id, gate_id, 1).await }
        });
        confirm.await
    }

    /// Waits until the customer's part has ended, or an operator is needed.
    pub async fn until_end(&self) -> Head {
        self.rig.until_late(&self.id, "at its end", END_WITHIN_MS, |head| head.view.status != Status::Running).await
    }

    /// Waits for everything: the end, some more writes, and nothing owed any more unless an operator is needed.
    pub async fn finish(self) -> Evidence {
        self.until_end().await;
        sleep_ms(&*self.rig.clock, AFTERWARDS_MS).await;
        let acks = self.customer.stop().await;
        let over = |head: &Head| head.done_at.is_some() || head.view.status == Status::Stuck;
        self.rig.until_late(&self.id, "done", DONE_WITHIN_MS, over).await;
        let followed = self.following.await.expect("the follower does not panic");
        Evidence::gather(&self.rig, &self.id, &self.graph, &self.before, acks, followed, &self.access).await
    }
}
