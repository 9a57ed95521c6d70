//! The agent on an instance: the one who drains, unmounts, mounts and opens the engine.
//!
//! The agent obeys only the highest fence it has stored and only commands for its own instance (F5, H14); it keeps
//! what it was told on its own disk (H13). Every command is idempotent. What no answer means is the caller's
//! decision; here it is `Unknown`, and unknown is never zero connections. The HTTP client is `adapters/agent.rs`.

use super::Source;
use super::cloud::open_enum;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use tiershift_core::ids::{AnyGraphId, ChangeId, InstanceId, VolumeId};

/// The port of the agent on every instance.
pub const PORT: u16 = 8001;

/// The agents of all instances.
#[async_trait]
pub trait Agent: Debug + Send + Sync {
    /// `GET /health`, without key: whether the agent and its engine are up.
    async fn health(&self, at: &Address) -> Result<Health, AgentError>;

    /// `POST /admin/drain`: shuts the engine's door to writers or to everyone, before the first count (rule 38).
    async fn drain(&self, at: &Address, order: &Order, scope: Scope) -> Result<(), AgentError>;

    /// `GET /admin/connections`.
    async fn connections(&self, at: &Address) -> Result<Connections, AgentError>;

    /// `POST /admin/resume`: opens the door.
    async fn resume(&self, at: &Address, order: &Order) -> Result<(), AgentError>;

    /// `POST /admin/volume/release`: stop the engine, sync, unmount, remember. Ok means accepted; the outcome is
    /// read from [`Agent::volume`].
    async fn release(&self, at: &Address, order: &Order) -> Result<(), AgentError>;

    /// `POST /admin/volume/adopt`: mount by serial, check the file system's uuid, open the engine with the door
    /// shut. Ok means accepted; the outcome is read from [`Agent::volume`].
    async fn adopt(&self, at: &Address, order: &Order, fs_uuid: Option<&str>) -> Result<(), AgentError>;

    /// `GET /admin/volume`.
    async fn volume(&self, at: &Address) -> Result<VolumeStatus, AgentError>;

    /// `GET /admin/probe/{graph_id}`: a read of known data. Passes a shut door.
    async fn probe(&self, at: &Address, graph: &AnyGraphId) -> Result<Probe, AgentError>;

    /// `GET /admin/usage`: the engine's bytes per billing graph, its subgraphs included.
    async fn usage(&self, at: &Address) -> Result<Usage, AgentError>;

    /// `GET /admin/info`: what engine it runs.
    async fn info(&self, at: &Address) -> Result<Info, AgentError>;
}

/// Where an agent is: what the instance's registry row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The row's `endpoint_url`, if it has one (`http://host:port/prefix`).
    pub endpoint_url: Option<String>,
    /// The row's `private_ip`.
    pub private_ip: Option<String>,
}

impl Address {
    /// The base of all paths, without a slash at its end: the endpoint, else port 8001 of the address. None if the
    /// row has neither.
    pub fn base_url(&self) -> Option<String> {
        match (self.endpoint_url.as_deref(), self.private_ip.as_deref()) {
            (Some(url), _) if !url.is_empty() => Some(url.trim_end_matches('/').to_owned()),
            (_, Some(ip)) if !ip.is_empty() => Some(format!("http://{ip}:{PORT}")),
            _ => None,
        }
    }
}

/// What every command carries. A wrong instance or a fence below the agent's is refused as `Fenced`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The migration that commands.
    pub migration_id: ChangeId,
    /// The volume's fence of this driver; grows over all migrations of the volume.
    pub fence: i64,
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance that is meant, for addresses are used again.
    pub instance_id: InstanceId,
}

/// To whom the door is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To writers.
    Writes,
    /// To everyone; idle connections are closed.
    All,
}

/// The agent's own health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy`, or the agent's word for what it is instead.
    pub status: String,
}

impl Health {
    /// Whether the agent calls itself healthy; any other word is no.
    pub fn is_healthy(&self) -> bool {
        self.status == "healthy"
    }
}

/// Who is connected to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections of any kind.
    pub active_connections: u64,
    /// Writers.
    pub active_writes: u64,
}

open_enum! {
    /// What the agent has done with its volume.
    VolumeState {
        /// The engine runs with its door open.
        Serving = "serving",
        /// The engine runs with its door shut to writers or everyone.
        Drained = "drained",
        /// On its way to `released`.
        Releasing = "releasing",
        /// Engine stopped, synced, unmounted.
        Released = "released",
        /// On its way to `adopted`.
        Adopting = "adopting",
        /// Mounted, engine open, door shut.
        Adopted = "adopted",
        /// The last command failed; `error` says why.
        Failed = "failed",
    }
}

/// The agent's view of its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// The volume it was last told of.
    #[serde(default)]
    pub volume_id: Option<VolumeId>,
    /// The NVMe serial of the device it sees: the volume id without its dash. None: it sees no data device.
    #[serde(default)]
    pub serial: Option<String>,
    /// Whether it is mounted.
    pub mounted: bool,
    /// The file system's uuid: seen now, or remembered after a release.
    #[serde(default)]
    pub fs_uuid: Option<String>,
    /// What it has done.
    pub state: VolumeState,
    /// The highest fence it has obeyed.
    #[serde(default)]
    pub fence: Option<i64>,
    /// Processes that hold the mount, for people.
    #[serde(default)]
    pub holders: Vec<String>,
    /// Why the last command failed, for people.
    #[serde(default)]
    pub error: Option<String>,
}

impl VolumeStatus {
    /// Whether the device it sees is `volume`. EBS sets the serial to the volume id without the dash.
    pub fn sees(&self, volume: &VolumeId) -> bool {
        self.serial.as_deref().is_some_and(|serial| serial == volume.as_str().replace('-', ""))
    }
}

/// What a read of known data gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Nodes of the graph.
    pub nodes: u64,
    /// Relationships of the graph.
    pub relationships: u64,
    /// Over the data, in the engine's own words; compared for equality only.
    pub checksum: String,
}

/// What the engine stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes by billing graph, subgraphs included.
    pub graphs: BTreeMap<String, u64>,
}

/// What engine it is. Source and target must agree (H15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The engine's name.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// The version of its storage format.
    pub format: String,
}

/// Why an agent did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It obeys a higher fence, or is another instance: someone else drives. Nothing was done.
    #[error("the agent is fenced against this order")]
    Fenced,
    /// It does not accept our key. Nothing was done.
    #[error("the agent refuses our key")]
    Unauthorized,
    /// It does not know the call: an agent of before release and adopt. Nothing was done.
    #[error("the agent does not know this call")]
    Unsupported,
    /// It refuses, with its reason. Nothing was done.
    #[error("the agent refuses with {code}")]
    Refused {
        /// The agent's code, or `HTTP_<status>` if it gave none.
        code: String,
    },
    /// Nothing was sent: the instance's address is missing or cannot be used.
    #[error("the agent's address cannot be used")]
    NoAddress(#[source] Source),
    /// No answer, or one that cannot be understood: **it may have been done**.
    #[error("the agent's answer is unknown")]
    Unknown(#[source] Source),
}
