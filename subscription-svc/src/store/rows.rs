//! The rows of the store, as values. What they mean is the cores' and the use cases'; how they are kept is the
//! adapters'.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use subscription_core::access::AccessRecord;
use subscription_core::change::{Change, Effect, State};
use subscription_core::progress::Progress;
use subscription_core::proration::Quote;
use subscription_core::rules::{Direction, Timing};
use subscription_core::status::GraphState;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, RequestId, SubscriptionId, TierName, UserId};
use tiershift_core::{UnixMs, Violation};

/// Declares an enum whose values have a stable text form.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $value:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $value,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value,)*];

            /// The stable text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }

            /// The value with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$value),)* _ => None }
            }
        }
    };
}

mod subscription;

pub use subscription::{Interval, STRIPE, Subscription, TellKind, Told};

/// Where a graph was last known to serve: a hint for routing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// EC2 instance; empty if not known.
    pub instance_id: String,
    /// Its address; empty if not known.
    pub private_ip: String,
    /// Its zone; empty if not known.
    pub availability_zone: String,
    /// When it was learned.
    pub observed: UnixMs,
}

/// A graph that is billed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Its id.
    pub id: GraphId,
    /// Whose it is.
    pub org: OrgId,
    /// The tier it is on.
    pub tier: TierName,
    /// Its life.
    pub state: GraphState,
    /// The platform's own graph.
    pub shared_repository: bool,
    /// A name for people; empty if none was given.
    pub display_name: String,
    /// Where it serves, if ever learned.
    pub endpoint: Option<Endpoint>,
    /// When it was registered.
    pub created: UnixMs,
    /// When a field last changed.
    pub updated: UnixMs,
    /// When it was deregistered.
    pub deprovisioned: Option<UnixMs>,
}

/// A graph inside another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subgraph {
    /// Its id: the parent's, `_`, its name.
    pub id: AnyGraphId,
    /// The graph it belongs to.
    pub parent: GraphId,
    /// Its name within the parent.
    pub name: String,
    /// When it was registered.
    pub created: UnixMs,
    /// When it was deregistered; such a row counts nowhere, and may be registered anew.
    pub deleted: Option<UnixMs>,
}

/// What the plan expected when the change was accepted. None: no honest estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Milliseconds of blocked writes.
    pub write_block_ms: Option<i64>,
    /// Milliseconds without a volume.
    pub offline_ms: Option<i64>,
    /// Milliseconds from acceptance to opened.
    pub total_ms: Option<i64>,
}

impl Expected {
    /// When the change can succeed at the earliest: its gate closes one calm lease after its beginning (H29).
    pub fn earliest_ms(&self, leases: Leases) -> i64 {
        leases.calm_ms.saturating_add(self.write_block_ms.unwrap_or(0))
    }
}

/// What is measured and learned while a change runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// When the transaction that closed the gate was made.
    pub gate_closed: Option<UnixMs>,
    /// From gate-close to gate-open transaction; 0 until it has opened, and if it never closed.
    pub writes_blocked_ms: i64,
    /// When the source was first asked to release the volume.
    pub released: Option<UnixMs>,
    /// From there to Opened or RolledBack, as the volume tells it; 0 until then, and if it never was offline.
    pub offline_ms: i64,
    /// What the graph stored when it was last asked, in bytes, and when that was.
    pub usage: Option<(i64, UnixMs)>,
    /// What was taken, in cents; negative if it was a credit.
    pub charged_cents: i64,
    /// What was given back of it.
    pub returned_cents: i64,
    /// The faults that ended it, if checks failed after its acceptance.
    pub violations: Vec<Violation>,
}

/// One tier change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierChange {
    /// Its id, which is its migration's too.
    pub id: ChangeId,
    /// Whose it is.
    pub org: OrgId,
    /// The graph.
    pub graph: GraphId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The request that it was accepted for.
    pub request: RequestId,
    /// sha256 of the accepted content, 64 hex digits.
    pub fingerprint: String,
    /// Who asked.
    pub requested_by: UserId,
    /// The tier before.
    pub from_tier: TierName,
    /// The tier asked for.
    pub to_tier: TierName,
    /// By rank.
    pub direction: Direction,
    /// When it begins.
    pub timing: Timing,
    /// The end of the paid period that it waits, or waited, for; none if it began at once.
    #[serde(default)]
    pub scheduled: Option<UnixMs>,
    /// When a scheduled one began; none before, and for any other.
    #[serde(default)]
    pub begun: Option<UnixMs>,
    /// The price as accepted; of a scheduled one, from its beginning on, as it was then.
    pub quote: Quote,
    /// The plan's estimates.
    pub expected: Expected,
    /// Its control.
    pub machine: Change,
    /// Its public sequence.
    pub progress: Progress,
    /// The newest public event.
    pub last_event: Option<ChangeEvent>,
    /// What was measured and learned.
    pub measured: Measured,
    /// Position in the migration's stream: opaque; none before its first event.
    pub cursor: Option<String>,
    /// Sequence of the migration's newest event that was applied; 0 before the first.
    pub volume_seq: u64,
    /// Store epoch of the gate request, to be named with its confirmation (H19).
    pub gate_epoch: i64,
    /// Whether the migration still has something to tell: from its start to its settling.
    pub follows: bool,
    /// When the present phase is over its budget.
    pub deadline: Option<UnixMs>,
    /// The epoch of our own store in which it was accepted (H19).
    pub store_epoch: i64,
    /// When it was accepted.
    pub accepted: UnixMs,
    /// When it last changed.
    pub updated: UnixMs,
    /// When it ended.
    pub ended: Option<UnixMs>,
}

impl TierChange {
    /// Whether it has not ended: at most one of a subscription has not.
    pub const fn active(&self) -> bool {
        !self.machine.state.ended()
    }

    /// Whether it has begun and not ended.
    pub const fn runs(&self) -> bool {
        self.machine.state.runs()
    }

    /// Whether it waits for its time.
    pub fn waits(&self) -> bool {
        self.machine.state == State::Scheduled
    }

    /// Where its own time counts from.
    pub fn origin(&self) -> UnixMs {
        self.begun.unwrap_or(self.accepted)
    }

    /// How long writes are, or were, blocked, in milliseconds.
    pub fn writes_blocked_ms(&self, now: UnixMs) -> i64 {
        match self.measured.gate_closed {
            Some(closed) if self.measured.writes_blocked_ms == 0 => now.since(closed),
            Some(_) | None => self.measured.writes_blocked_ms,
        }
    }

    /// How long the volume is, or was, offline, in milliseconds.
    pub fn offline_ms(&self, now: UnixMs) -> i64 {
        match self.measured.released {
            Some(released) if self.measured.offline_ms == 0 && self.active() => now.since(released),
            Some(_) | None => self.measured.offline_ms,
        }
    }
}

/// An outward effect that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its place in the queue.
    pub id: i64,
    /// For which change.
    pub change: ChangeId,
    /// What.
    pub effect: Effect,
    /// How often it was tried without an answer.
    pub attempts: u32,
    /// Not to be tried before.
    pub not_before: UnixMs,
}

words! {
    /// Which provider request of a change: each has its own key and bytes (H23).
    PaymentKind {
        /// Take the money, set the new price.
        Forward = "forward",
        /// Set the price that was paid before.
        BackPrice = "back/price",
        /// Give back what the change took.
        BackMoney = "back/money",
    }
}

words! {
    /// What is known of a provider request.
    PaymentOutcome {
        /// Nothing yet.
        Unknown = "unknown",
        /// The provider answered with a stored fault of its own: never posted again under this key (H21 b).
        Poisoned = "poisoned",
        /// Done.
        Taken = "taken",
        /// Refused for good.
        Refused = "refused",
    }
}

/// One provider request: stored before it is first sent, never changed but for its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRequest {
    /// For which change.
    pub change: ChangeId,
    /// Which of its requests.
    pub kind: PaymentKind,
    /// The exact bytes.
    pub bytes: String,
    /// When it was stored, just before the first send: the age of its key counts from here.
    pub stored: UnixMs,
    /// What is known.
    pub outcome: PaymentOutcome,
    /// The provider's own name for what it did; empty if none.
    pub reference: String,
}

impl PaymentRequest {
    /// The idempotency key: `<change>/forward`, `<change>/back/price`, `<change>/back/money`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.change, self.kind.as_str())
    }
}

words! {
    /// What was done, for the audit.
    AuditKind {
        /// A graph was added.
        GraphRegistered = "graph_registered",
        /// A subgraph was added.
        SubgraphRegistered = "subgraph_registered",
        /// A graph or subgraph was marked as gone.
        GraphDeregistered = "graph_deregistered",
        /// A graph's paid time ended.
        GraphSuspended = "graph_suspended",
        /// A subscription was created.
        SubscriptionCreated = "subscription_created",
        /// A cancellation was accepted.
        SubscriptionCanceled = "subscription_canceled",
        /// A cancellation was taken back, or a pause ended.
        SubscriptionResumed = "subscription_resumed",
        /// The payment provider's facts were applied.
        SubscriptionUpdated = "subscription_updated",
        /// It was paid for and serves.
        SubscriptionActivated = "subscription_activated",
        /// Its next period began.
        SubscriptionRenewed = "subscription_renewed",
        /// It is over for good.
        SubscriptionEnded = "subscription_ended",
        /// An operator corrected it.
        SubscriptionCorrected = "subscription_corrected",
        /// A tier change was accepted.
        ChangeAccepted = "change_accepted",
        /// Its money was taken.
        ChangeCharged = "change_charged",
        /// Its money was refused, or withheld, for good.
        ChangeChargeRefused = "change_charge_refused",
        /// Its gate was closed.
        ChangeGated = "change_gated",
        /// The move was committed and the plan changed.
        ChangeCommitted = "change_committed",
        /// The gate was opened on the new tier.
        ChangeOpened = "change_opened",
        /// The volume went back.
        ChangeRolledBack = "change_rolled_back",
        /// An operator handed over.
        ChangeHandedOver = "change_handed_over",
        /// What the change had taken was given back.
        ChangeMoneyReturned = "change_money_returned",
        /// The time of a scheduled one came.
        ChangeBegun = "change_begun",
        /// Somebody asked for its end.
        ChangeCancelRequested = "change_cancel_requested",
        /// It ended well.
        ChangeSucceeded = "change_succeeded",
        /// It ended with nothing changed.
        ChangeFailed = "change_failed",
        /// It ended by request with nothing changed.
        ChangeCanceled = "change_canceled",
        /// Only a person can go on.
        ChangeNeedsAttention = "change_needs_attention",
    }
}

/// One thing that was done. Never changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its id.
    pub id: AuditId,
    /// Whose it concerns.
    pub org: OrgId,
    /// Which graph, if any.
    pub graph: Option<GraphId>,
    /// Which subscription, if any.
    pub subscription: Option<SubscriptionId>,
    /// Which change, if any.
    pub change: Option<ChangeId>,
    /// What.
    pub kind: AuditKind,
    /// Who: a user, a service, or `system`.
    pub actor: String,
    /// When.
    pub at: UnixMs,
    /// One sentence for people.
    pub message: String,
    /// Facts, sorted.
    pub detail: BTreeMap<String, String>,
}

/// An access record with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The graph it decides about.
    pub graph: GraphId,
    /// Whose it is.
    pub org: OrgId,
    /// What decisions rest on. Its revision is given by the store when it is written.
    pub record: AccessRecord,
}

/// A point in the history of all access records: the version orders, the nonce proves that it exists (H1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// 1 or more; 0 before the first.
    pub version: u64,
    /// Random, stored with it.
    pub nonce: i64,
}

/// How long a holder may believe a record (H29). In the counter's row and never in configuration (H6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    /// For calm records.
    pub calm_ms: i64,
    /// For records in a change.
    pub changing_ms: i64,
}

/// Who used which request id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    /// The caller.
    pub user: UserId,
    /// The caller's id for the request.
    pub id: RequestId,
}

/// A mutation that was accepted, so that its repeat is the same mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who and which.
    pub key: RequestKey,
    /// The RPC.
    pub method: String,
    /// sha256 of its content, 64 hex digits.
    pub fingerprint: String,
    /// The id of what it made or changed.
    pub resource: String,
}
