//! What a transition wants done. *Facts* are written in the transition's own transaction; *outward* effects become
//! rows that a worker delivers one at a time and in order, at least once, and only while the change still wants them.

use serde::{Deserialize, Serialize};

words! {
    /// What people are told.
    Notice {
        /// The change has ended.
        Ended = "ended",
        /// A person must look: alert.
        Attention = "attention",
    }
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Outward: start the migration, under the change's own id.
    StartMigration,
    /// Outward: check again, then take the money; or find out what became of it.
    Charge,
    /// Outward: wait until the gate may close, check again, close it in one transaction.
    CloseGate,
    /// Outward: wait one changing lease from learning that the gate is closed (H7).
    WaitLease,
    /// Outward: tell the migration that no write is admitted any more.
    ConfirmGate {
        /// The request it answers (H10).
        gate_id: u64,
    },
    /// Outward: ask the migration to turn back.
    CancelMigration,
    /// Outward: restore the price paid before.
    RevertPrice,
    /// Outward: give back what the change took.
    Refund,
    /// Fact: the access record blocks writes for this change.
    BlockWrites,
    /// Fact: the access record blocks reads and writes for this change.
    SetGateOffline,
    /// Fact: the access record's gate is open and its pace calm.
    OpenGate,
    /// Fact: the access record's pace is calm; its gate was never closed.
    Calm,
    /// Fact: plan, price, tier and credits are the new ones.
    ApplyPlan,
    /// Fact: audit, log and alert.
    Notify(Notice),
}

impl Effect {
    /// Whether it leaves the transaction.
    pub const fn outward(&self) -> bool {
        match self {
            Self::StartMigration
            | Self::Charge
            | Self::CloseGate
            | Self::WaitLease
            | Self::ConfirmGate { .. }
            | Self::CancelMigration
            | Self::RevertPrice
            | Self::Refund => true,
            Self::BlockWrites
            | Self::SetGateOffline
            | Self::OpenGate
            | Self::Calm
            | Self::ApplyPlan
            | Self::Notify(_) => false,
        }
    }

    /// Its kind: a change has at most one undelivered row of a kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::StartMigration => "start_migration",
            Self::Charge => "charge",
            Self::CloseGate => "close_gate",
            Self::WaitLease => "wait_lease",
            Self::ConfirmGate { .. } => "confirm_gate",
            Self::CancelMigration => "cancel_migration",
            Self::RevertPrice => "revert_price",
            Self::Refund => "refund",
            Self::BlockWrites => "block_writes",
            Self::SetGateOffline => "set_gate_offline",
            Self::OpenGate => "open_gate",
            Self::Calm => "calm",
            Self::ApplyPlan => "apply_plan",
            Self::Notify(Notice::Ended) => "notify_ended",
            Self::Notify(Notice::Attention) => "notify_attention",
        }
    }
}
