//! What reads give: the world as it was seen at one moment by one reader. Never a fact by itself; streaks of equal
//! answers (`scratch.rs`) are.
//!
//! Part of the vocabulary of `effect.rs`, under whose name it is public.

use crate::effect::Trouble;
use crate::plan::Facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tiershift_core::ids::{GroupName, InstanceId, SnapshotId, Zone};

/// A snapshot of the volume as EC2 shows it.
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

/// How many permits are held or are due to a migration that waited longer, by name (`account`, or a group's name).
pub type PermitsSeen = BTreeMap<String, u64>;

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No answer, or none that can be used. Never "zero", never "absent" (rule 38).
    Nothing(Trouble),
    /// The facts of `plan`.
    Facts(Box<Facts>),
    /// Snapshots, oldest first.
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
