//! What can happen to a change. Events from volume-svc come once each, in the order of its journal; answers to our
//! own calls can come twice, and late.
//!
//! Who makes them: the follower (volume facts), the outbox worker (answers), requests (cancel), timers (deadline).

use serde::{Deserialize, Serialize};
use tiershift_core::Reason;

words! {
    /// Where an operator's hand-over left the graph, verified by volume-svc (H26).
    Side {
        /// Where it was: as RolledBack.
        Source = "source",
        /// On the target: as Committed and Opened.
        Target = "target",
    }
}

words! {
    /// One of the two provider requests of the way back (H23).
    Back {
        /// Restore the price that was paid before.
        Price = "price",
        /// Give back what the change took, renewals included.
        Money = "money",
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The time of a scheduled change has come, and nothing forbids it.
    Begun,
    /// The time of a scheduled change has come, or its subscription is over, and it may not begin.
    NotBegun {
        /// The first fault.
        reason: Reason,
    },
    /// StartMigration was acknowledged, or the migration was seen.
    Started,
    /// StartMigration was refused; nothing was journalled.
    StartRefused {
        /// The first violation, or `Tombstone`.
        reason: Reason,
    },
    /// Volume: everything slow is ready; the gate is asked for.
    GateRequested {
        /// What the confirmation must name (H10).
        gate_id: u64,
        /// What the graph stores, in bytes; none if its engine could not say.
        usage_bytes: Option<i64>,
    },
    /// The money was taken.
    ChargeTaken,
    /// The money was refused for good, and a read showed nothing open (H21).
    ChargeRefused {
        /// `PaymentDeclined` or `PaymentNotImmediate`.
        reason: Reason,
    },
    /// It was never sent and never will be: the checks before it failed, or nobody wants it any more (H28).
    ChargeWithheld {
        /// The first fault.
        reason: Reason,
    },
    /// It was sent and its outcome is not known.
    ChargeUnknown,
    /// The transaction that closes the gate is being committed, and this event with it.
    GateClosed,
    /// The checks at the gate failed; it was not closed (H28).
    GateCheckFailed {
        /// The first fault.
        reason: Reason,
    },
    /// One changing lease has passed since this process learned of the closed gate (H7).
    LeaseWaited,
    /// ConfirmGate was accepted.
    GateConfirmed,
    /// ConfirmGate was refused. The gate stays closed (H10).
    GateRefused {
        /// Why.
        reason: Reason,
    },
    /// Volume: reads are being closed too (H30).
    Offline,
    /// Volume: the detach is journalled.
    DetachJournalled,
    /// Volume: the point of no return is passed.
    Committed,
    /// Volume: the engine serves on the target.
    Opened,
    /// Volume: the source serves again, verified.
    RolledBack {
        /// Why it turned back.
        reason: Reason,
    },
    /// Volume: an operator handed over, verified (H26).
    HandedOver {
        /// Where the graph serves.
        side: Side,
    },
    /// Volume: only a person can go on.
    Stuck {
        /// Why.
        reason: Reason,
    },
    /// Volume: an operator let it go on.
    Resumed,
    /// Volume: cleaned up, unlocked, done.
    Settled,
    /// One way back is done.
    BackDone {
        /// Which.
        back: Back,
    },
    /// One way back was sent and its outcome is not known.
    BackUnknown {
        /// Which.
        back: Back,
    },
    /// One way back was refused for good.
    BackRefused {
        /// Which.
        back: Back,
        /// Why.
        reason: Reason,
    },
    /// Somebody asks for the end.
    CancelRequested,
    /// CancelMigration was accepted.
    CancelAccepted {
        /// The id was unknown: a tombstone stands there now and nothing will ever start (H27).
        never_started: bool,
    },
    /// CancelMigration was refused: too late.
    CancelRefused {
        /// Why.
        reason: Reason,
    },
    /// The phase's budget is used up.
    Deadline,
    /// What volume-svc shows cannot be true of this change (H9), or the migration is gone (H19 d).
    Contradicted {
        /// What it is.
        reason: Reason,
        /// The migration is past its gate and not yet opened or rolled back: the gate must be closed at once.
        past_gate: bool,
    },
    /// The store was restored to another time; nothing may be sent (H19).
    Restored,
}

impl Event {
    /// Its name in tables, audit entries and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::NotBegun { .. } => "not_begun",
            Self::Started => "started",
            Self::StartRefused { .. } => "start_refused",
            Self::GateRequested { .. } => "gate_requested",
            Self::ChargeTaken => "charge_taken",
            Self::ChargeRefused { .. } => "charge_refused",
            Self::ChargeWithheld { .. } => "charge_withheld",
            Self::ChargeUnknown => "charge_unknown",
            Self::GateClosed => "gate_closed",
            Self::GateCheckFailed { .. } => "gate_check_failed",
            Self::LeaseWaited => "lease_waited",
            Self::GateConfirmed => "gate_confirmed",
            Self::GateRefused { .. } => "gate_refused",
            Self::Offline => "offline",
            Self::DetachJournalled => "detach_journalled",
            Self::Committed => "committed",
            Self::Opened => "opened",
            Self::RolledBack { .. } => "rolled_back",
            Self::HandedOver { .. } => "handed_over",
            Self::Stuck { .. } => "stuck",
            Self::Resumed => "resumed",
            Self::Settled => "settled",
            Self::BackDone { .. } => "back_done",
            Self::BackUnknown { .. } => "back_unknown",
            Self::BackRefused { .. } => "back_refused",
            Self::CancelRequested => "cancel_requested",
            Self::CancelAccepted { .. } => "cancel_accepted",
            Self::CancelRefused { .. } => "cancel_refused",
            Self::Deadline => "deadline",
            Self::Contradicted { .. } => "contradicted",
            Self::Restored => "restored",
        }
    }
}
