//! Clients of the graph engine on an instance. What the engine does is in `engine.rs` of the crate.
//!
//! Refusals: 503 `DRAINING` (door shut for writes), 503 `VOLUME_MOVING` (door shut for all, or volume in flight),
//! 404 `GRAPH_NOT_SERVED` (this engine does not have that graph). A dead host gives no answer ([`super::Lost::Refused`]).

use serde::{Deserialize, Serialize};

pub use crate::engine::Door;

/// A write that reaches an engine, whatever the access gate said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineWrite {
    /// Where the client believes that the graph lives.
    pub instance_id: String,
    /// The graph.
    pub graph_id: String,
    /// Chosen by the client, unique per graph; the same id again is the same write.
    pub write_id: u64,
}

/// A read of one earlier write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRead {
    /// Where the client believes that the graph lives.
    pub instance_id: String,
    /// The graph.
    pub graph_id: String,
    /// The write to look for.
    pub write_id: u64,
}

/// Answer of `EngineRead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadResult {
    /// Whether the write is there.
    pub present: bool,
}
