//! The simulator's own switches and reports, for tests, the dev stack and people. Nothing of this exists in AWS.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::engine::Door;
use super::{Lost, Service};
use crate::faults::Fault;
use crate::timing::Drawn;

/// Switches a fault on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFault {
    /// Which.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many times it strikes; `None` = until it is cleared.
    #[serde(default)]
    pub count: Option<u32>,
    /// How many chances it lets pass first.
    #[serde(default, skip_serializing_if = "none")]
    pub skip: u32,
    /// For how long it is on, in simulated ms; `None` = until it is cleared or its count is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl SetFault {
    /// From now on, so many times.
    pub fn new(fault: Fault, count: Option<u32>) -> Self {
        Self { fault, count, skip: 0, for_ms: None }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn none(count: &u32) -> bool {
    *count == 0
}

/// A fault that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFault {
    /// Which.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many times it will still strike; `None` = until it is cleared.
    #[serde(default)]
    pub count: Option<u32>,
    /// How many chances it will still let pass.
    #[serde(default, skip_serializing_if = "none")]
    pub skip: u32,
    /// When it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// Switches a fault off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearFault {
    /// Which.
    #[serde(flatten)]
    pub fault: Fault,
}

/// Switches off every fault that has all of these values in its JSON (`fault` is the name); without any, all faults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearFaults {
    /// Name and parameters, or less.
    #[serde(flatten)]
    pub with: BTreeMap<String, serde_json::Value>,
}

/// Asks for the faults that are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFaults {}

/// The faults that are on, or were until now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// In the order in which they were switched on.
    pub faults: Vec<ActiveFault>,
}

/// Reads the ledger from a sequence number on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadLedger {
    /// Entries with a higher sequence number only; 0 = from the oldest kept.
    pub after_seq: u64,
    /// At most this many; 0 = no bound.
    pub limit: usize,
}

/// Reads the engine log from a sequence number on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadEngineLog {
    /// Entries with a higher sequence number only; 0 = from the oldest kept.
    pub after_seq: u64,
    /// At most this many; 0 = no bound.
    pub limit: usize,
}

/// A stretch of the ledger. The newest 100,000 entries are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    /// Oldest first.
    pub entries: Vec<LedgerEntry>,
    /// Sequence number of the oldest entry that is still kept; 0 if there is none.
    pub oldest_seq: u64,
}

/// One API call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// 1, 2, 3, without gaps.
    pub seq: u64,
    /// When the call was made.
    pub at_ms: u64,
    /// Which API.
    pub service: Service,
    /// Action name.
    pub action: String,
    /// The parameters that identify what was asked for; long lists are cut.
    pub parameters: BTreeMap<String, String>,
    /// `ok`, or the error code.
    pub outcome: String,
    /// Set if the caller got no answer.
    pub lost: Option<Lost>,
    /// What was drawn since the entry before: the call's latency and the durations of what it began, behind those of what
    /// happened by itself. The first entry also has what was drawn while the cloud was filled.
    #[serde(default)]
    pub drew: Vec<Drawn>,
}

/// A stretch of the engine log. The newest 100,000 entries are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLogPage {
    /// Oldest first.
    pub entries: Vec<EngineLogEntry>,
    /// Sequence number of the oldest entry that is still kept; 0 if there is none.
    pub oldest_seq: u64,
}

/// Something that an engine did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLogEntry {
    /// 1, 2, 3, without gaps.
    pub seq: u64,
    /// When.
    pub at_ms: u64,
    /// On which instance.
    pub instance_id: String,
    /// On which volume.
    pub volume_id: String,
    /// What.
    #[serde(flatten)]
    pub event: EngineEvent,
}

/// What an engine did. Invariants 2 and 14 are checked on this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EngineEvent {
    /// The engine has the volume's files open from here on.
    Opened,
    /// The door: `open`, `writes_shut` or `shut`.
    Door {
        /// New position.
        door: Door,
    },
    /// A client's write was acknowledged.
    Write {
        /// The graph.
        graph_id: String,
        /// The write.
        write_id: u64,
    },
    /// The engine does not have the files open any more.
    Closed {
        /// Whether it stopped by itself with everything flushed.
        clean: bool,
    },
    /// Acknowledged writes that were not on the device yet are gone.
    Lost {
        /// The graph.
        graph_id: String,
        /// How many.
        writes: u64,
        /// True if the host died by an injected fault; false if a detach or termination took the device away.
        with_host: bool,
    },
}

/// Compares acknowledged with readable writes of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditWrites {
    /// The graph.
    pub graph_id: String,
}

/// Answer of `AuditWrites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteAudit {
    /// Writes that were ever acknowledged.
    pub acknowledged: u64,
    /// Those that can be read now: in the engine that has the graph open, else on its volume.
    pub readable: u64,
    /// Acknowledged and not readable: the first 100.
    pub missing: Vec<u64>,
    /// How many are missing.
    pub missing_count: u64,
    /// How many of the missing died with a host that a fault killed, which no mover of volumes can help.
    pub lost_with_host: u64,
    /// The instance whose engine has the graph open.
    pub open_on: Option<String>,
}

/// Background load of a graph: what a drain has to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLoad {
    /// The graph.
    pub graph_id: String,
    /// Long-lived reader connections while the door is open.
    pub readers: u32,
    /// Running writes while the door is open.
    pub writers: u32,
}

/// Power cut and boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootInstance {
    /// The instance.
    pub instance_id: String,
}

/// Changes a group. `None` leaves a value as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EditGroup {
    /// The group.
    pub group_name: String,
    /// New least size.
    pub min_size: Option<u32>,
    /// New greatest size.
    pub max_size: Option<u32>,
    /// New wanted size, as a scaling policy or an operator sets it: the last writer wins. The group launches what it
    /// lacks where it likes, and ends what is too much unless it is protected.
    pub desired_capacity: Option<u32>,
    /// New health check type.
    pub health_check_type: Option<String>,
    /// New list of suspended processes.
    pub suspended_processes: Option<Vec<String>>,
    /// Start (true) or end (false) an instance refresh. It is only shown, it replaces nothing.
    pub refresh_in_progress: Option<bool>,
}
