//! What the machine asks of the world and what it hears back: the vocabulary of the ports, not a language on top.
//!
//! An *effect* changes the world; its intent is journalled before it is sent and it has three outcomes: done,
//! refused, unknown. An *observation* only reads; it is repeated at will and never journalled by itself.
//! `volume-svc/src/execute.rs` runs both by one `match`.

use crate::plan::Facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// Ends exactly this instance, lowering desired. Its intent condemns the instance for good (F4).
    Terminate {
        /// Its group.
        group: GroupName,
        /// Which.
        instance: InstanceId,
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

/// One of our snapshots as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSeen {
    /// Its id.
    pub id: SnapshotId,
    /// `pending`, `completed`, `error` or something newer.
    pub state: SnapshotState,
    /// When EC2 says it was begun, for picking the oldest; never compared with our clock.
    pub started_ms: i64,
    /// 0 to 100, as EC2 estimates it.
    pub percent: u32,
}

/// A snapshot's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// Being copied; its point in time is already fixed.
    Pending,
    /// Usable.
    Completed,
    /// Failed.
    Error,
    /// A word we do not know: never success (rule 45).
    Other,
}

/// State of one attachment of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// On its way.
    Attaching,
    /// There.
    Attached,
    /// Leaving.
    Detaching,
    /// Leaving, but still mounted.
    Busy,
    /// A word we do not know.
    Other,
}

/// One attachment as `Volume.Attachments[]` shows it: the only truth about where a volume is (rule 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance: InstanceId,
    /// The device name.
    pub device: String,
    /// How far.
    pub state: AttachmentState,
    /// Whether the volume would die with the instance.
    pub delete_on_termination: bool,
}

/// One instance in EC2, in its group and by its agent, in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSeen {
    /// EC2 says `running`.
    pub running: bool,
    /// EC2 says `terminated`, or has forgotten it.
    pub terminated: bool,
    /// The group says `InService`.
    pub in_service: bool,
    /// The group protects it from scale-in.
    pub protected: bool,
    /// The group it is a member of, if any.
    pub group: Option<GroupName>,
    /// Its zone.
    pub zone: Option<Zone>,
    /// Its private address.
    pub private_ip: Option<String>,
    /// Data volumes attached to it (the root volume is none).
    pub data_volumes: u32,
    /// What the agent says of itself; none while it does not answer.
    pub engine: Option<Engine>,
}

/// What an agent says it runs. Source and target must be equal (H15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Name of the engine.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// Version of its storage format.
    pub format: String,
}

/// The agent's record of its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentVolume {
    /// Serial of the block device that it sees for our volume: the volume id without its dash, or none.
    pub sees_volume: bool,
    /// Whether a file system of that device is mounted.
    pub mounted: bool,
    /// The file system's uuid, once known.
    pub fs_uuid: Option<String>,
    /// The state machine of the contract.
    pub state: AgentState,
    /// Who keeps the mount busy, for people.
    pub holders: Vec<String>,
    /// Why it failed, for people.
    pub error: Option<String>,
}

/// The agent's states (agent contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// No volume was ever given to it.
    Idle,
    /// Door open.
    Serving,
    /// Door shut for writes, or for all.
    Drained,
    /// Stopping and unmounting.
    Releasing,
    /// Stopped and unmounted.
    Released,
    /// Mounting and opening.
    Adopting,
    /// Open, door shut.
    Adopted,
    /// Could not.
    Failed,
    /// A word we do not know.
    Other,
}

/// What an engine answers about the graph with its subgraphs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Nodes.
    pub nodes: i64,
    /// Relationships.
    pub relationships: i64,
    /// Checksum over what the engine sees.
    pub checksum: String,
}

/// An idle instance that may become the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub instance: InstanceId,
    /// Its private address.
    pub private_ip: String,
    /// The agent's address, if it is not the usual port there.
    pub endpoint_url: Option<String>,
    /// What it runs.
    pub engine: Engine,
}

/// Members and limits of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSeen {
    /// Desired capacity.
    pub desired: i64,
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
}

/// Permits taken, by name (`account`, or a group's name), with who holds them.
pub type PermitsSeen = BTreeMap<String, Vec<String>>;

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No answer, or none that can be used. Never "zero", never "absent" (rule 38).
    Nothing(Trouble),
    /// The facts of `plan`.
    Facts(Box<Facts>),
    /// Our snapshots, oldest first.
    Snapshots(Vec<SnapshotSeen>),
    /// Idle instances, in the order of their ids.
    Candidates(Vec<Candidate>),
    /// An instance.
    Instance(InstanceSeen),
    /// The volume's attachments; `None` if EC2 does not know the volume.
    Volume(Option<Vec<Attachment>>),
    /// The agent's record.
    AgentVolume(AgentVolume),
    /// A count of writers or connections.
    Count(i64),
    /// The engine's answer.
    Probe(Probe),
    /// Bytes of the graph with its subgraphs.
    Usage(i64),
    /// A group.
    Group(GroupSeen),
    /// Permits.
    Permits(PermitsSeen),
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
