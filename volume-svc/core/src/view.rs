//! A migration in one glance: what lists and `GetMigration` show, without a replay.

use crate::progress;
use crate::state::{End, Migration};
use crate::{events, stage::Stage};
use serde::{Deserialize, Serialize};
use tiershift_core::event::{Direction, Reads, Writes};
use tiershift_core::{Reason, UnixMs};

/// Whether it runs, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On its way, forward, back or settling behind the customer's end.
    Running,
    /// The graph serves on the target.
    Succeeded,
    /// The graph serves on the source again.
    RolledBack,
    /// A human is needed.
    Stuck,
    /// Canceled before it started.
    Tombstone,
}

/// The glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Whether it runs.
    pub status: Status,
    /// The customer's part is over and cleaning up goes on.
    pub settling: bool,
    /// Where.
    pub stage: Stage,
    /// Which way.
    pub direction: Direction,
    /// 0 to 1000.
    pub permille: u32,
    /// Milliseconds left, estimated when the last entry was written.
    pub eta_ms: i64,
    /// Whether clients may read.
    pub reads: Reads,
    /// Whether clients may write.
    pub writes: Writes,
    /// The open gate request.
    pub gate_id: Option<u64>,
    /// When it aborts by itself.
    pub gate_deadline_at: Option<UnixMs>,
    /// The gate was confirmed.
    pub gate_confirmed: bool,
    /// The target instance.
    pub target: Option<String>,
    /// The safety snapshot.
    pub safety_snapshot: Option<String>,
    /// The final snapshot.
    pub final_snapshot: Option<String>,
    /// Why it went back or is stuck.
    pub reason: Option<Reason>,
    /// The same for people.
    pub reason_detail: Option<String>,
    /// Since when it is stuck.
    pub stuck_since: Option<UnixMs>,
    /// Where the volume is: `source`, `target`, `free`, `elsewhere`.
    pub volume_at: String,
}

impl View {
    /// Of a state, when its last entry is written.
    pub fn of(m: &Migration, now: UnixMs) -> Self {
        let (permille, eta_ms) = progress::of(m, now);
        let status = match (&m.stuck, m.end) {
            (Some(_), _) => Status::Stuck,
            (None, Some(End::Moved)) => Status::Succeeded,
            (None, Some(End::RolledBack)) => Status::RolledBack,
            (None, Some(End::Tombstone)) => Status::Tombstone,
            (None, None) => Status::Running,
        };
        let stuck = m.stuck.as_ref();
        Self {
            status,
            settling: m.end.is_some() && m.done_at.is_none(),
            stage: m.stage,
            direction: m.direction,
            permille,
            eta_ms,
            reads: events::reads(m),
            writes: events::writes(m),
            gate_id: m.gate.as_ref().map(|g| g.id),
            gate_deadline_at: m.gate.as_ref().map(|g| g.deadline_at),
            gate_confirmed: m.gate.as_ref().is_some_and(|g| g.confirmed_at.is_some()),
            target: m.target.as_ref().map(|t| t.instance.to_string()),
            safety_snapshot: m.safety.as_ref().map(ToString::to_string),
            final_snapshot: m.last.as_ref().map(ToString::to_string),
            reason: stuck.map(|s| s.reason).or(m.undo.as_ref().map(|u| u.reason)),
            reason_detail: stuck.map(|s| s.detail.clone()).or(m.undo.as_ref().map(|u| u.detail.clone())),
            stuck_since: stuck.map(|s| s.at),
            volume_at: progress::place_word(m).to_owned(),
        }
    }
}
