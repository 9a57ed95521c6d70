//! What the machine asks of the world and what it hears back: the vocabulary of the ports, not a language on top.
//!
//! An *effect* changes the world; its intent is journalled before it is sent and it has three outcomes: done,
//! refused, unknown. An *observation* only reads; it is repeated at will and never journalled by itself.
//! `volume-svc/src/world.rs` runs both by one `match`.

pub use crate::seen::{
    AgentState, AgentVolume, Attachment, AttachmentState, Candidate, Engine, GroupSeen, InstanceSeen, PermitsSeen,
    Probe, Seen, SnapshotSeen, SnapshotState,
};
use serde::{Deserialize, Serialize};
use tiershift_core::ids::{GroupName, InstanceId, SnapshotId, TierName, Zone};

/// Why a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Before the gate: pays the bulk copy.
    Safety,
    /// After the unmount: the restore point.
    Final,
}

impl Purpose {
    /// The value of the snapshot's step tag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Final => "final",
        }
    }
}

/// What a drain shuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// New writes.
    Writes,
    /// Everything.
    All,
}

/// Something that changes the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Scale-in protection for an instance (rule 35).
    Protect {
        /// Its group.
        group: GroupName,
        /// Which.
        instance: InstanceId,
    },
    /// CreateSnapshot of the volume, tagged in the same call; it has no client token.
    Snapshot {
        /// Why.
        purpose: Purpose,
    },
    /// LaunchInstances: one, in one zone, with our token.
    Launch {
        /// The target group.
        group: GroupName,
        /// The volume's zone.
        zone: Zone,
    },
    /// Ends exactly this instance. Its intent condemns the instance for good (F4).
    Terminate {
        /// Its group.
        group: GroupName,
        /// Which.
        instance: InstanceId,
        /// Lower the group's desired size with it. A group at its smallest size refuses that; without it the group
        /// replaces the instance (H35).
        decrement: bool,
    },
    /// The agent shuts its engine's door.
    Drain {
        /// Whose agent.
        instance: InstanceId,
        /// For what.
        scope: Scope,
    },
    /// The agent opens its engine's door.
    Resume {
        /// Whose agent.
        instance: InstanceId,
    },
    /// The agent stops the engine, syncs and unmounts.
    Release {
        /// Whose agent.
        instance: InstanceId,
    },
    /// DetachVolume, always by volume, instance and device (F1).
    Detach {
        /// From which.
        instance: InstanceId,
        /// The device name of that attachment.
        device: String,
    },
    /// AttachVolume on a device name never used before on this instance in this migration (F1).
    Attach {
        /// To which.
        instance: InstanceId,
        /// The device name.
        device: String,
    },
    /// ModifyInstanceAttribute: the attachment must outlive the instance (rule 28).
    KeepOnTermination {
        /// Which instance.
        instance: InstanceId,
        /// Which attachment.
        device: String,
    },
    /// The agent mounts by serial, checks the uuid and opens the engine with the door shut.
    Adopt {
        /// Whose agent.
        instance: InstanceId,
    },
    /// CreateTags on the volume: the tier it has now (D-32).
    TagVolume {
        /// The tier.
        tier: TierName,
    },
    /// DeleteSnapshot of garbage.
    DeleteSnapshot {
        /// Which.
        snapshot: SnapshotId,
    },
}

impl Effect {
    /// A short name, stable, for tokens, logs and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Protect { .. } => "protect",
            Self::Snapshot { purpose: Purpose::Safety } => "snapshot_safety",
            Self::Snapshot { purpose: Purpose::Final } => "snapshot_final",
            Self::Launch { .. } => "launch",
            Self::Terminate { .. } => "terminate",
            Self::Drain { scope: Scope::Writes, .. } => "drain_writes",
            Self::Drain { scope: Scope::All, .. } => "drain_all",
            Self::Resume { .. } => "resume",
            Self::Release { .. } => "release",
            Self::Detach { .. } => "detach",
            Self::Attach { .. } => "attach",
            Self::KeepOnTermination { .. } => "keep_on_termination",
            Self::Adopt { .. } => "adopt",
            Self::TagVolume { .. } => "tag_volume",
            Self::DeleteSnapshot { .. } => "delete_snapshot",
        }
    }

    /// Whether `other` works against this effect, so that a stale call of one may meet a fresh call of the other
    /// (F6: the first call in the opposite direction after a takeover waits).
    pub const fn opposes(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Attach { .. }, Self::Detach { .. })
                | (Self::Detach { .. }, Self::Attach { .. })
                | (
                    Self::Drain { .. } | Self::Release { .. } | Self::Terminate { .. },
                    Self::Resume { .. } | Self::Adopt { .. }
                )
                | (
                    Self::Resume { .. } | Self::Adopt { .. },
                    Self::Drain { .. } | Self::Release { .. } | Self::Terminate { .. }
                )
        )
    }
}

/// Something that is only read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observe {
    /// Everything the rules of `plan` need.
    Facts,
    /// Snapshots with this migration's tag.
    Snapshots {
        /// Of which step.
        purpose: Purpose,
    },
    /// Every snapshot of the volume, whoever took it.
    AllSnapshots,
    /// Idle instances of the target group in the zone, confirmed in EC2 and by their agents.
    Candidates,
    /// One instance in EC2, its group and its agent.
    Instance {
        /// Which.
        instance: InstanceId,
    },
    /// The volume's attachments in EC2.
    Volume,
    /// The agent's record of its volume.
    AgentVolume {
        /// Whose agent.
        instance: InstanceId,
    },
    /// Writes that are running.
    Writers {
        /// Whose engine.
        instance: InstanceId,
    },
    /// Connections that are open.
    Connections {
        /// Whose engine.
        instance: InstanceId,
    },
    /// What the engine answers about the graph.
    Probe {
        /// Whose engine.
        instance: InstanceId,
    },
    /// How much data the graph has.
    Usage {
        /// Whose engine.
        instance: InstanceId,
    },
    /// Whether the group may lose a member.
    Group {
        /// Which group.
        group: GroupName,
    },
    /// How many permits are taken.
    Permits,
}

/// What is to be run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A journalled effect: its intent's number, the effect and its token.
    Effect {
        /// Number of the intent within the migration.
        n: u32,
        /// What.
        effect: Effect,
        /// Idempotency token, where the call takes one.
        token: String,
    },
    /// A read.
    Observe(Observe),
}

/// What an effect's call answered when it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Accepted; what it leads to is established by reading.
    Accepted,
    /// A snapshot was begun.
    Snapshot(SnapshotId),
    /// Instances were launched (one was asked for).
    Launched(Vec<InstanceId>),
    /// The agent unmounted, and says which file system it was: the next mount must be of the same (rule 26).
    Released {
        /// The file system's uuid, if the agent told it.
        fs_uuid: Option<String>,
    },
}

/// Why a call was not accepted, as far as the machine cares. By code, never by text (rule 46).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// No answer, or one that does not tell: the effect may have happened.
    Unknown,
    /// Refused, with a code that no table has: sent again twice, and then as if refused for good (rule 46;
    /// `Scratch::called`, behind which nobody meets it).
    Unlisted,
    /// Slow down.
    Throttled,
    /// The same call is still running (LaunchInstances).
    InProgress,
    /// The resource is not in the state that the call needs.
    IncorrectState,
    /// The resource is not there, or not visible yet.
    NotFound,
    /// The volume is attached somewhere.
    InUse,
    /// Another availability zone: never retried.
    Zone,
    /// The device name is taken.
    DeviceTaken,
    /// The instance has no slot left.
    SlotsFull,
    /// EC2 has no capacity of that type in that zone.
    NoCapacity,
    /// Too many pending snapshots.
    SnapshotLimit,
    /// The agent obeys a higher fence.
    Fenced,
    /// The agent does not know the call.
    Unsupported,
    /// We may not, or our credentials are wrong: an operator's matter.
    Denied,
    /// Refused for good.
    Permanent,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an effect.
    Effect {
        /// Its intent.
        n: u32,
        /// What was heard.
        result: Result<Done, Trouble>,
    },
    /// To an observation.
    Seen {
        /// Which.
        what: Observe,
        /// What was seen.
        seen: Seen,
    },
}
