//! The agent on an instance: requests and answers of its HTTP contract. What they do is in `agent.rs` of the crate.
//!
//! Refusals: 401 `UNAUTHORIZED`; 409 `FENCED` (other instance, lower fence, or the same fence of another migration);
//! 409 `VOLUME_NOT_HERE` (the volume named is not the one this agent has); 409 `WRONG_STATE`; 404 `GRAPH_NOT_SERVED`.
//! An agent that is not up gives no answer at all ([`super::Lost::Refused`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which agent is spoken to, and with which key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The instance that the connection reaches (by its address), whatever the body says.
    pub instance_id: String,
    /// `X-API-Key`; the model decides whether it is right.
    pub api_key: Option<String>,
}

/// What every command carries (H14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The migration that commands.
    pub migration_id: String,
    /// Grows per volume over all migrations; the agent keeps the highest and refuses lower ones.
    pub fence: u64,
    /// The volume meant.
    pub volume_id: String,
    /// The instance meant; another one refuses.
    pub instance_id: String,
}

macro_rules! reads {
    ($( $(#[$doc:meta])* $name:ident ),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// Whom.
            pub to: Address,
        }
    )* };
}

reads! {
    /// `GET /health`.
    AgentHealth,
    /// `GET /admin/info`.
    AgentInfo,
    /// `GET /admin/volume`.
    AgentVolume,
    /// `GET /admin/connections`.
    AgentConnections,
    /// `GET /admin/usage`.
    AgentUsage,
}

/// `GET /admin/probe/{graph_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProbe {
    /// Whom.
    pub to: Address,
    /// The graph to look at.
    pub graph_id: String,
}

/// How far a drain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainScope {
    /// New writes are refused, running ones end.
    Writes,
    /// New reads too; idle connections are closed.
    All,
}

/// `POST /admin/drain`. The door is shut when this answers; counts then fall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDrain {
    /// Whom.
    pub to: Address,
    /// By whom.
    pub command: Command,
    /// How far.
    pub scope: DrainScope,
}

/// `POST /admin/resume`: opens the door of a mounted, running engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentResume {
    /// Whom.
    pub to: Address,
    /// By whom.
    pub command: Command,
}

/// `POST /admin/volume/release`: stop the engine, sync, unmount, remember it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRelease {
    /// Whom.
    pub to: Address,
    /// By whom.
    pub command: Command,
}

/// `POST /admin/volume/adopt`: find the serial, check the uuid, mount, open the engine with the door shut. Never formats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAdopt {
    /// Whom.
    pub to: Address,
    /// By whom.
    pub command: Command,
    /// The file system's uuid as it was recorded before the release. `None` = what this agent has recorded itself, if
    /// it had the volume before; else any, but there must be one.
    #[serde(default)]
    pub fs_uuid: Option<String>,
}

/// Answer of `AgentHealth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy` while the agent itself works, with or without a volume.
    pub status: String,
    /// Who answers.
    pub instance_id: String,
    /// Whether the engine is open.
    pub engine_open: bool,
}

/// Answer of `AgentInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Engine name.
    pub engine: String,
    /// Engine version.
    pub version: String,
    /// Storage format that the engine writes; files of another one are refused (H15).
    pub format: String,
}

/// Where an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Engine open, door open.
    Serving,
    /// Engine open, door shut for writes or for all.
    Drained,
    /// Engine stopping, unmounting.
    Releasing,
    /// No volume mounted. Also the state of an instance that never had one: then there is no `volume_id`.
    Released,
    /// Looking for the device, mounting, opening the engine.
    Adopting,
    /// Engine open, door shut, only the probe passes; until resume.
    Adopted,
    /// The last release or adopt went wrong; see `error`. May be asked again.
    Failed,
}

/// Answer of `AgentVolume` and of every command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// The volume that is, was last, or is to be mounted.
    pub volume_id: Option<String>,
    /// NVMe serial of the data device that the guest sees now (`vol0123...`, no dash); the one of `volume_id` if several.
    pub serial: Option<String>,
    /// Whether the file system is mounted.
    pub mounted: bool,
    /// Uuid of the file system of `volume_id`, kept after a release; `None` if it was never mounted.
    pub fs_uuid: Option<String>,
    /// Where the agent stands.
    pub state: AgentState,
    /// Highest fence seen for `volume_id`.
    pub fence: Option<u64>,
    /// Migration of the last accepted command.
    pub migration_id: Option<String>,
    /// Processes that keep the mount busy.
    pub holders: Vec<String>,
    /// Why `state` is `failed`: `SERIAL_NOT_FOUND`, `FS_UUID_MISMATCH`, `NO_FILE_SYSTEM`, `ENGINE_MISMATCH`, `MOUNT_BUSY`, `DEVICE_LOST`.
    pub error: Option<String>,
}

/// Answer of `AgentConnections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// All client connections, those with a running write included.
    pub active_connections: u32,
    /// Running writes.
    pub active_writes: u32,
}

/// Answer of `AgentUsage`: bytes as the engine counts them, of everything that it has open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Graph id to bytes, all its subgraphs included.
    pub graphs: BTreeMap<String, u64>,
    /// Subgraph id (`<graph>_<name>`) to bytes; these are counted in `graphs` already.
    pub subgraphs: BTreeMap<String, u64>,
}

/// Answer of `AgentProbe`: equal before and after a move, if nothing was written and nothing lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Nodes.
    pub nodes: u64,
    /// Relationships.
    pub relationships: u64,
    /// 16 hex digits over everything readable.
    pub checksum: String,
}
