//! The stages of a migration, in order, with what each means for clients. The order is the product: everything
//! slow happens while the customer still writes (docs/protocol.md).
//!
//! What a stage *does* is in `stages/`; how it is undone is in `undo.rs`.

use serde::{Deserialize, Serialize};
use std::fmt;
use tiershift_core::event::{Reads, Writes};

/// A stage, in the order of the way forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Locks are held; the rules are checked once more behind them.
    Preflight,
    /// A first snapshot pays the bulk copy while the customer writes.
    SafetySnapshot,
    /// A target instance is reserved or launched, and proven.
    Capacity,
    /// A permit is taken and the gate is asked for; waits for `ConfirmGate`.
    Gate,
    /// The engine's door is shut for writes; writers run out.
    DrainWrites,
    /// The door is shut for reads too; connections end.
    DrainReads,
    /// The source's engine stops, syncs and unmounts.
    Release,
    /// A second, small snapshot: until Commit a lossless restore point.
    FinalSnapshot,
    /// The volume leaves the source.
    Detach,
    /// The volume reaches the target.
    Attach,
    /// The target mounts it and opens the engine, door shut; the data is compared.
    Adopt,
    /// One transaction: the point of no return.
    Commit,
    /// The target opens its door.
    Open,
    /// The source is retired, garbage deleted, locks freed.
    Settle,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 14] = [
        Self::Preflight,
        Self::SafetySnapshot,
        Self::Capacity,
        Self::Gate,
        Self::DrainWrites,
        Self::DrainReads,
        Self::Release,
        Self::FinalSnapshot,
        Self::Detach,
        Self::Attach,
        Self::Adopt,
        Self::Commit,
        Self::Open,
        Self::Settle,
    ];

    /// Lower snake case, as in events and in the names of instants.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::SafetySnapshot => "safety_snapshot",
            Self::Capacity => "capacity",
            Self::Gate => "gate",
            Self::DrainWrites => "drain_writes",
            Self::DrainReads => "drain_reads",
            Self::Release => "release",
            Self::FinalSnapshot => "final_snapshot",
            Self::Detach => "detach",
            Self::Attach => "attach",
            Self::Adopt => "adopt",
            Self::Commit => "commit",
            Self::Open => "open",
            Self::Settle => "settle",
        }
    }

    /// The stage of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// How long the stage takes when nothing is in its way, in milliseconds: the medians of the timing model
    /// (docs/aws.md). Used for progress and ETA only, never for a deadline.
    pub const fn nominal_ms(self) -> i64 {
        match self {
            Self::Preflight => 2_000,
            Self::SafetySnapshot => 60_000,
            Self::Capacity => 35_000,
            // The calm access lease, which runs from the acceptance of the change, and the charge.
            Self::Gate => 10_000,
            Self::DrainWrites | Self::DrainReads => 6_000,
            Self::Release => 5_500,
            Self::FinalSnapshot => 1_000,
            Self::Detach => 3_800,
            Self::Attach => 3_000,
            Self::Adopt => 7_000,
            Self::Commit => 200,
            Self::Open => 800,
            Self::Settle => 3_600_000,
        }
    }

    /// Whether clients may read on the way forward in this stage.
    pub const fn reads(self) -> Reads {
        match self {
            Self::Preflight | Self::SafetySnapshot | Self::Capacity | Self::Gate | Self::DrainWrites | Self::Settle => {
                Reads::Open
            }
            Self::DrainReads => Reads::Closing,
            Self::Release
            | Self::FinalSnapshot
            | Self::Detach
            | Self::Attach
            | Self::Adopt
            | Self::Commit
            | Self::Open => Reads::Closed,
        }
    }

    /// Whether clients may write on the way forward in this stage, as far as this service knows.
    pub const fn writes(self) -> Writes {
        match self {
            Self::Preflight | Self::SafetySnapshot | Self::Capacity | Self::Gate | Self::Settle => Writes::Open,
            _ => Writes::Closed,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
