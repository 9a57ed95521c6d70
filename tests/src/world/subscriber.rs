//! The other service's part of one change, and nothing of what it is for: it follows the public events, closes the gate
//! when it is asked to, outlives the leases, confirms, and opens the gate again when it is told that the graph serves.
//!
//! It obeys the rules of the conversation: effects start only at the journal's head, a closed gate opens only by
//! Opened, RolledBack or HandedOver, and a call that got no answer is made again (docs/protocol.md, H10, H22).

use super::access::{Access, LEASE_MS};
use super::process::Front;
use super::rig::Rig;
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tiershift_common::status::Fault;
use tiershift_core::Reason;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::ChangeId;
use volume_core::fact::Fact;
use volume_core::view::Status;
use volume_svc::migrations::Wish;

/// Between two looks at the journal; a wake-up would come sooner, but dies with its process.
const LOOK_EVERY_MS: i64 = 100;

/// The same behind the end, where nothing is waited for but leftovers.
const LOOK_SELDOM_MS: i64 = 5_000;

/// From the request of the gate to its closing: what a charge takes.
const CHARGE_MS: i64 = 1_000;

/// A fingerprint of a request, as the other service makes it.
pub const FINGERPRINT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What it does when it is asked to close the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Charges, closes, waits a lease, confirms.
    Confirm,
    /// Nothing, for ever.
    Ignore,
}

/// What it has seen.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// The public events, as they came.
    pub events: Vec<ChangeEvent>,
    /// Why confirmations were refused.
    pub refusals: Vec<Reason>,
}

/// The follower of one change.
#[derive(Debug)]
pub struct Subscriber {
    /// What there is.
    pub rig: Arc<Rig>,
    /// Where volume-svc is called.
    pub front: Front,
    /// The change.
    pub id: ChangeId,
    /// The graph's gate.
    pub access: Arc<Access>,
    /// What it does about the gate.
    pub policy: Policy,
}

impl Subscriber {
    /// Starts the migration and follows it until it owes nothing any more, or needs an operator.
    pub async fn follow(self, wish: Wish) -> Followed {
        let id = self.id.clone();
        let started = self.front.call(move |service| {
            let (id, wish) = (id.clone(), wish.clone());
            async move { service.start(&id, &wish, "user_ada", FINGERPRINT).await }
        });
        started.await.expect("the change is accepted");
        let mut followed = Followed::default();
        loop {
            let after = followed.events.last().map_or(0, |event| event.seq);
            let id = self.id.clone();
            let asked = self.front.call(move |service| {
                let id = id.clone();
                async move { service.hub.events(&service.journal, &id, after).await.map_err(Fault::internal) }
            });
            let mut at_head = None;
            for public in asked.await.expect("events can be read") {
                at_head = Some(Arc::clone(&public));
                followed.events.push(public.event.clone());
                if matches!(public.entry.fact, Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. }) {
                    self.access.open();
                }
            }
            if let Some(gate) = at_head
                && matches!(gate.entry.fact, Fact::GateRequested { .. })
                && self.policy == Policy::Confirm
            {
                followed.refusals.extend(self.answer(gate.event.seq).await);
            }
            let head = self.rig.head(&self.id).await;
            if head.public_seq == followed.events.last().map_or(0, |event| event.seq)
                && (head.done_at.is_some() || head.view.status == Status::Stuck)
            {
                return followed;
            }
            let running = head.view.status == Status::Running;
            sleep_ms(&*self.rig.clock, if running { LOOK_EVERY_MS } else { LOOK_SELDOM_MS }).await;
        }
    }

    async fn answer(&self, gate_id: u64) -> Option<Reason> {
        sleep_ms(&*self.rig.clock, CHARGE_MS).await;
        self.access.close();
        sleep_ms(&*self.rig.clock, LEASE_MS).await;
        let id = self.id.clone();
        let confirmed = self.front.call(move |service| {
            let id = id.clone();
            async move { service.confirm_gate(&id, gate_id, 1).await }
        });
        confirmed.await.err().map(|error| error.reason)
    }
}
