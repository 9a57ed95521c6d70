//! May this graph be read or written now? One pure function over one record.
//!
//! The table is in docs/protocol.md; its rows are tried in the order of the code. **The gate comes before every
//! setting** (H5): no configuration opens it. Not here: leases, which say how long a holder may go on believing a
//! record (`subscription_svc::access`).

use crate::status::{GraphState, SubscriptionStatus};
use serde::{Deserialize, Serialize};
use tiershift_core::ids::ChangeId;
use tiershift_core::{Reason, UnixMs};

/// Hint for a refused write while its gate is closed: about a tenth of the median block, so that a client adds
/// little to it and does not storm.
pub const RETRY_BLOCKED_MS: i64 = 5_000;

/// Hint while the volume is in flight: the same, for the same reason.
pub const RETRY_MOVING_MS: i64 = 5_000;

words! {
    /// What the caller wants to do.
    Mode {
        /// Read.
        Read = "read",
        /// Write.
        Write = "write",
    }
}

words! {
    /// How fast news about a record must reach every holder (H29).
    Pace {
        /// No change runs: the long lease.
        Calm = "calm",
        /// A change runs: the short lease.
        Changing = "changing",
    }
}

/// Whether a tier change holds the graph shut. A closed gate belongs to exactly one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing is held.
    Open,
    /// Writes wait for this change.
    WritesBlocked(ChangeId),
    /// Reads and writes wait: the volume is, or is about to be, in flight.
    Offline(ChangeId),
}

impl Gate {
    /// The change that holds it shut.
    pub const fn holder(&self) -> Option<&ChangeId> {
        match self {
            Self::Open => None,
            Self::WritesBlocked(change) | Self::Offline(change) => Some(change),
        }
    }
}

/// All that a decision about one billing graph rests on. Subgraphs have none: their parent's holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRecord {
    /// The access version that wrote it: 1 or more, one sequence over all records.
    pub revision: u64,
    /// The graph's life.
    pub graph: GraphState,
    /// The platform's own graph, open to all.
    pub shared_repository: bool,
    /// The status of the subscription that counts; none if the graph has no subscription.
    pub subscription: Option<SubscriptionStatus>,
    /// When a canceled subscription ends; none for every other status.
    pub ends_at: Option<UnixMs>,
    /// The gate.
    pub gate: Gate,
    /// Billing does not apply. A field of the record and not configuration, so that a change of it has a version (H5).
    pub billing_off: bool,
    /// Which lease holds for it.
    pub pace: Pace,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Yes or no.
    pub allowed: bool,
    /// Why not; none if allowed.
    pub reason: Option<Reason>,
    /// When to ask again, in milliseconds, if time can help.
    pub retry_after_ms: Option<i64>,
    /// For how long, in milliseconds, the *record* makes this answer true: until `ends_at` passes. None: the record
    /// sets no end. A holder also bounds it by its own lease.
    pub valid_for_ms: Option<i64>,
}

impl Decision {
    const fn yes() -> Self {
        Self { allowed: true, reason: None, retry_after_ms: None, valid_for_ms: None }
    }

    const fn no(reason: Reason) -> Self {
        Self { allowed: false, reason: Some(reason), retry_after_ms: None, valid_for_ms: None }
    }

    const fn later(reason: Reason, retry_after_ms: i64) -> Self {
        Self { allowed: false, reason: Some(reason), retry_after_ms: Some(retry_after_ms), valid_for_ms: None }
    }
}

/// Decides. `record` is none for an unknown graph; `now` is the holder's clock and matters for `ends_at` only.
pub fn decide(record: Option<&AccessRecord>, mode: Mode, now: UnixMs) -> Decision {
    let Some(record) = record else { return Decision::no(Reason::GraphNotFound) };
    if record.graph.gone() {
        return Decision::no(Reason::GraphNotFound);
    }
    match (&record.gate, mode) {
        (Gate::Offline(_), _) => return Decision::later(Reason::VolumeMoving, RETRY_MOVING_MS),
        (Gate::WritesBlocked(_), Mode::Write) => {
            return Decision::later(Reason::TierChangeInProgress, RETRY_BLOCKED_MS);
        }
        (Gate::WritesBlocked(_), Mode::Read) | (Gate::Open, _) => {}
    }
    if record.shared_repository || record.billing_off {
        return Decision::yes();
    }
    let Some(status) = record.subscription else { return Decision::no(Reason::NoSubscription) };
    if status == SubscriptionStatus::Active {
        return Decision::yes();
    }
    let left_ms = record.ends_at.map_or(0, |end| end.since(now));
    if status == SubscriptionStatus::Canceled && left_ms > 0 {
        let decision = match mode {
            Mode::Read => Decision::yes(),
            Mode::Write => Decision::no(Reason::SubscriptionCanceled),
        };
        return Decision { valid_for_ms: Some(left_ms), ..decision };
    }
    if record.graph == GraphState::Suspended {
        return Decision::no(Reason::SubscriptionEnded);
    }
    match status {
        SubscriptionStatus::Active => Decision::yes(),
        SubscriptionStatus::Canceled => Decision::no(Reason::SubscriptionEnded),
        SubscriptionStatus::Pending => Decision::no(Reason::SubscriptionPending),
        SubscriptionStatus::PendingPayment => Decision::no(Reason::SubscriptionPendingPayment),
        SubscriptionStatus::Provisioning => Decision::no(Reason::SubscriptionProvisioning),
        SubscriptionStatus::Paused => Decision::no(Reason::SubscriptionPaused),
        SubscriptionStatus::PastDue => Decision::no(Reason::SubscriptionPastDue),
        SubscriptionStatus::Unpaid => Decision::no(Reason::SubscriptionUnpaid),
        SubscriptionStatus::Failed => Decision::no(Reason::SubscriptionFailed),
    }
}
