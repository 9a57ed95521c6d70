//! The graph engine.

use serde::{Deserialize, Serialize};

/// What an engine lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// Reads and writes.
    Open,
    /// Reads only.
    WritesShut,
    /// The agent's probe only.
    Shut,
}
