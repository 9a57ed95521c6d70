//! What is on a volume: a file system with the files of graphs. Bytes are counted, never stored.
//!
//! Only what was flushed is here; what an engine acknowledged and has not flushed is in `host.rs`. A snapshot is a copy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::writes::WriteSet;

/// Bytes that one write adds to a graph, and makes dirty for the next snapshot.
pub const WRITE_BYTES: u64 = 4_096;

/// The catalogue's unit, for counts that are never negative.
pub const GIB: u64 = tiershift_core::catalogue::GIB.unsigned_abs();

/// A device's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Uuid of the file system; `None` = not formatted.
    pub fs_uuid: Option<String>,
    /// Storage format of the engine that wrote the files; empty if there are none.
    pub format: String,
    /// Files by graph id.
    pub graphs: BTreeMap<String, GraphFiles>,
}

impl Device {
    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.graphs.values().map(GraphFiles::total_bytes).sum()
    }
}

/// A graph's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphFiles {
    /// Nodes that were there before the first write.
    pub nodes: u64,
    /// Relationships that were there before the first write.
    pub relationships: u64,
    /// Bytes that were there before the first write, without subgraphs.
    pub bytes: u64,
    /// Subgraph id to bytes.
    pub subgraphs: BTreeMap<String, u64>,
    /// Writes that are on the device.
    pub writes: WriteSet,
}

impl GraphFiles {
    /// Bytes with subgraphs and writes.
    pub fn total_bytes(&self) -> u64 {
        self.bytes + self.subgraphs.values().sum::<u64>() + self.writes.len() * WRITE_BYTES
    }
}
