//! The public progress event of a change: what watchers, the console and `tierctl` see.
//!
//! The same shape is used by both services; the sequence is gapless per change and per service. Its JSON form is
//! part of the API. How a stage is reached is the machines' business (`volume-core`, `subscription-core`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which service wrote the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Money, tiers, access.
    Subscription,
    /// Volume, instances, registries.
    Volume,
}

/// Which way the change is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards the target.
    Forward,
    /// Back to the source.
    Undo,
    /// Done for the customer; cleaning up.
    Settle,
}

/// Whether clients may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// As usual.
    Open,
    /// The door is shut; running reads are given a grace.
    Closing,
    /// None: the volume is in flight.
    Closed,
}

/// Whether clients may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// As usual.
    Open,
    /// Refused by the gate, the engine's door, or both.
    Closed,
}

/// One public event of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// The change (and migration) it belongs to.
    pub change_id: String,
    /// Position in the change's sequence of this stream: 1, 2, 3, …, no gap, no duplicate.
    pub seq: u64,
    /// Milliseconds of the clock port since the change was accepted (for a migration alone: since it started).
    pub at_ms: i64,
    /// Who wrote it.
    pub source: Source,
    /// The stage it speaks of, in lower snake case (`safety_snapshot`, `charging`).
    pub stage: String,
    /// Which way.
    pub direction: Direction,
    /// Progress, 0 to 1000; never falls within a direction.
    pub permille: u32,
    /// Estimate of the milliseconds left until the customer is served on the target (or, in undo, the source).
    /// -1 = there is no honest estimate.
    pub eta_ms: i64,
    /// Whether clients may read now.
    pub reads: Reads,
    /// Whether clients may write now.
    pub writes: Writes,
    /// One sentence for people.
    pub message: String,
    /// Facts for people and programs, sorted by key.
    pub detail: BTreeMap<String, String>,
}
