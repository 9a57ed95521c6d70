//! The journal: what is known to have been decided, sent and established, in order. State is the fold of these
//! and of nothing else (`state.rs`).
//!
//! Serialised with a schema version in every entry; an entry of an unknown version refuses to load, it is never
//! skipped (V6). Adding a fact or a field is a new version unless old logs read the same without it.

use crate::effect::{Candidate, Done, Effect, Engine, Probe, Trouble};
use crate::stage::Stage;
use serde::{Deserialize, Serialize};
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{ChangeId, GraphId, GroupName, InstanceId, SnapshotId, TierName, VolumeId, WorkerId, Zone};
use tiershift_core::{Reason, UnixMs};

/// Version of the facts that this build writes and the only one that it reads.
pub const SCHEMA: u32 = 1;

/// An instance that plays a part: enough to reach its agent and its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Which.
    pub instance: InstanceId,
    /// Its private address.
    pub private_ip: String,
    /// The agent's address, if it is not the usual port there.
    pub endpoint_url: Option<String>,
    /// Its group.
    pub group: GroupName,
    /// Launched by this migration (and so ended by its undo), or reserved from the pool.
    pub launched: bool,
}

/// What a migration is to do: fixed by its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The migration, which is the change.
    pub id: ChangeId,
    /// The graph that moves.
    pub graph: GraphId,
    /// The volume that carries it, and no other graph.
    pub volume: VolumeId,
    /// The volume's zone.
    pub zone: Zone,
    /// The device name of the source's attachment.
    pub device: String,
    /// Where it is served now.
    pub source: Party,
    /// What the source runs.
    pub engine: Engine,
    /// The tier it has.
    pub source_tier: TierName,
    /// The tier it gets.
    pub target_tier: TierName,
    /// The target tier's group.
    pub target_group: GroupName,
    /// Most bytes that the target holds; checked again behind the locks.
    pub storage_limit_bytes: Option<i64>,
    /// Past this, counted from ConfirmGate, turning back is considered (H36).
    pub max_write_block_ms: i64,
    /// Who asked, for people.
    pub requested_by: String,
    /// Fingerprint of the request: a repeated start with another one is refused.
    pub fingerprint: String,
    /// Epoch of the store that accepted it (H19).
    pub store_epoch: i64,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is established that it happened.
    Done(Done),
    /// It is established that it did not and will not happen.
    Refused(Trouble),
    /// Nobody will ever say: a snapshot call that left no trace (one that appears later is garbage by its tag), a
    /// command to an agent that fell silent (the instance is condemned, and its end settles it), or an effect that
    /// was open when an operator handed over.
    Abandoned,
}

/// Which side serves after a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The old instance: as after RolledBack.
    Source,
    /// The new instance: as after Committed and Opened.
    Target,
}

/// What is amiss with a final snapshot (H35).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amiss {
    /// It ended in error: it restores nothing.
    Failed,
    /// It is pending for longer than any copy takes; the soak goes on until it is completed.
    Late,
}

/// What an operator wants of a stuck migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// Go on as before, with fresh deadlines.
    Retry,
    /// Turn an undo around: only while the volume is free or at the target.
    GoForward,
}

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// Accepted; locks taken in the same transaction.
    Started {
        /// What is to be done.
        spec: Box<Spec>,
    },
    /// Another driver took over; its fence is above all before.
    TakenOver {
        /// The new driver's process.
        worker: WorkerId,
        /// Its fence.
        fence: i64,
    },
    /// A stage of the way forward begins.
    Entered {
        /// Which.
        stage: Stage,
    },
    /// How far a slow stage is, for watchers.
    Progress {
        /// 0 to 100 of this stage.
        percent: u32,
    },
    /// An effect is about to be sent.
    Intent {
        /// Number within the migration, from 1.
        n: u32,
        /// What.
        effect: Effect,
        /// How often this effect was decided anew before.
        attempt: u32,
        /// Token of the call.
        token: String,
        /// Fence of the driver that decided it.
        fence: i64,
    },
    /// How the effect of the open intent ended.
    Outcome {
        /// The intent.
        n: u32,
        /// How.
        outcome: Outcome,
    },
    /// An instance is the target now.
    Reserved {
        /// Which.
        target: Party,
    },
    /// The target is healthy, protected, in its group and runs the same engine.
    TargetReady {
        /// What it runs.
        engine: Engine,
    },
    /// The target failed: what it holds is taken back, then it is dropped.
    TargetFailed {
        /// Which.
        instance: InstanceId,
        /// Why.
        reason: Reason,
    },
    /// The target holds nothing any more and is given up; another may be tried.
    TargetDropped {
        /// Which.
        instance: InstanceId,
        /// Why.
        reason: Reason,
    },
    /// A permit is held and the writes may be blocked: asks the other side to close its gate.
    GateRequested {
        /// Bytes of the graph, just read.
        usage_bytes: i64,
        /// After this the request aborts by itself.
        deadline_at: UnixMs,
    },
    /// The gate is closed; accepted by the append that leaves the stage.
    GateConfirmed {
        /// Sequence of the GateRequested that was answered.
        gate_id: u64,
    },
    /// No writer is left; what the engine then answered is what every later probe must equal.
    WritesDrained {
        /// The reference.
        probe: Probe,
    },
    /// The move is done in the registries: the point of no return.
    Committed {
        /// The target's zone and address as observed.
        private_ip: String,
    },
    /// Behind the commit another target took the place of one that was lost: the registries name it now.
    Rehomed {
        /// Its address as observed.
        private_ip: String,
    },
    /// The target serves.
    Opened,
    /// The way back begins.
    UndoBegun {
        /// Why.
        reason: Reason,
        /// For people.
        detail: String,
        /// Who, if somebody asked for it.
        by: Option<String>,
    },
    /// The source serves again, verified.
    RolledBack,
    /// Nothing more can be done without a human; locks are kept.
    Stuck {
        /// Why.
        reason: Reason,
        /// For people.
        detail: String,
    },
    /// An operator set it going again.
    Resumed {
        /// How.
        action: Resume,
        /// Who.
        by: String,
        /// Why.
        note: String,
    },
    /// An operator mended it by hand and said where the graph serves; verified.
    HandedOver {
        /// Where.
        side: Side,
        /// Who.
        by: String,
        /// Why.
        note: String,
    },
    /// Behind the gate the source ended. If it had not let go of the volume, nobody unmounted it, and the engine that
    /// opens it next recovers what its log has (H34).
    SourceLost {
        /// Which.
        instance: InstanceId,
    },
    /// On the way back a new instance of the source's group takes the place of the one that was lost (H34).
    SourceReplaced {
        /// The new one.
        home: Party,
    },
    /// A snapshot of this migration was seen completed.
    SnapshotCompleted {
        /// Which.
        snapshot: SnapshotId,
    },
    /// A final snapshot is no restore point, or not yet: people are told, and it goes on.
    SnapshotAmiss {
        /// Which.
        snapshot: SnapshotId,
        /// What.
        what: Amiss,
    },
    /// A later completed snapshot of the volume, whoever took it, stands in for a final one that failed (H35).
    SnapshotStoodIn {
        /// The later one.
        snapshot: SnapshotId,
    },
    /// The source goes back to the pool instead of ending: its group is at its smallest size (H35).
    SourceKept,
    /// The end: nothing is owed, locks are freed.
    Done,
    /// Canceled before it was started: refuses a later start (H27).
    Tombstone {
        /// Who.
        by: String,
    },
}

impl Fact {
    /// A short name for logs and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::TakenOver { .. } => "taken_over",
            Self::Entered { .. } => "entered",
            Self::Progress { .. } => "progress",
            Self::Intent { .. } => "intent",
            Self::Outcome { .. } => "outcome",
            Self::Reserved { .. } => "reserved",
            Self::TargetReady { .. } => "target_ready",
            Self::TargetFailed { .. } => "target_failed",
            Self::TargetDropped { .. } => "target_dropped",
            Self::GateRequested { .. } => "gate_requested",
            Self::GateConfirmed { .. } => "gate_confirmed",
            Self::WritesDrained { .. } => "writes_drained",
            Self::Committed { .. } => "committed",
            Self::Rehomed { .. } => "rehomed",
            Self::Opened => "opened",
            Self::UndoBegun { .. } => "undo_begun",
            Self::RolledBack => "rolled_back",
            Self::Stuck { .. } => "stuck",
            Self::Resumed { .. } => "resumed",
            Self::HandedOver { .. } => "handed_over",
            Self::SourceLost { .. } => "source_lost",
            Self::SourceReplaced { .. } => "source_replaced",
            Self::SnapshotCompleted { .. } => "snapshot_completed",
            Self::SnapshotAmiss { .. } => "snapshot_amiss",
            Self::SnapshotStoodIn { .. } => "snapshot_stood_in",
            Self::SourceKept => "source_kept",
            Self::Done => "done",
            Self::Tombstone { .. } => "tombstone",
        }
    }

    /// Whether watchers see it. Private facts take no public sequence (H39).
    pub const fn is_public(&self) -> bool {
        match self {
            Self::Started { .. }
            | Self::Entered { .. }
            | Self::Progress { .. }
            | Self::TargetFailed { .. }
            | Self::TargetDropped { .. }
            | Self::GateRequested { .. }
            | Self::GateConfirmed { .. }
            | Self::Committed { .. }
            | Self::Opened
            | Self::UndoBegun { .. }
            | Self::RolledBack
            | Self::Stuck { .. }
            | Self::Resumed { .. }
            | Self::HandedOver { .. }
            | Self::SourceLost { .. }
            | Self::SourceReplaced { .. }
            | Self::Done
            | Self::Tombstone { .. } => true,
            Self::TakenOver { .. }
            | Self::Intent { .. }
            | Self::Outcome { .. }
            | Self::Reserved { .. }
            | Self::TargetReady { .. }
            | Self::WritesDrained { .. }
            | Self::Rehomed { .. }
            | Self::SnapshotCompleted { .. }
            | Self::SnapshotAmiss { .. }
            | Self::SnapshotStoodIn { .. }
            | Self::SourceKept => false,
        }
    }
}

/// One entry of the journal, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of the facts.
    pub schema: u32,
    /// Position in the migration's journal: 1, 2, 3, …
    pub seq: u64,
    /// The driver's clock when it was decided.
    pub at: UnixMs,
    /// What is known.
    pub fact: Fact,
    /// What watchers see of it, with its public sequence; none for private facts.
    pub public: Option<ChangeEvent>,
}

/// A candidate made the target.
impl Party {
    /// From an idle instance.
    pub fn reserved(candidate: &Candidate, group: &GroupName) -> Self {
        Self {
            instance: candidate.instance.clone(),
            private_ip: candidate.private_ip.clone(),
            endpoint_url: candidate.endpoint_url.clone(),
            group: group.clone(),
            launched: false,
        }
    }
}
