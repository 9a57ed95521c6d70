//! Deadlines, gaps and limits of a migration. All are configuration; each default says why.

use serde::{Deserialize, Serialize};

/// How long the machine waits, and how often it looks. Milliseconds of the clock port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A first snapshot of a large volume takes hours; nothing is blocked meanwhile.
    pub safety_snapshot_ms: i64,
    /// From the launch to a healthy agent: cold boot p99 90 s, user data p99 8 min.
    pub capacity_ms: i64,
    /// From GateRequested to ConfirmGate: calm lease 60 s, charge 60 s, and room.
    pub gate_ms: i64,
    /// One deadline for both drains: p99 of a drain is 300 s, of which a customer would see every one.
    pub drain_ms: i64,
    /// Engine stop and unmount: p99 60 s.
    pub release_ms: i64,
    /// Mount and engine open: p99 90 s and 30 s.
    pub adopt_ms: i64,
    /// Detach p99 12 s; past this a human is better.
    pub detach_ms: i64,
    /// Attach p99 8 s.
    pub attach_ms: i64,
    /// `attaching` for longer is stuck (rule 25).
    pub attach_stuck_ms: i64,
    /// An agent that does not answer for so long is silent (H33).
    pub agent_silent_ms: i64,
    /// From the release to the last moment at which another target is tried.
    pub offline_budget_ms: i64,
    /// Targets that may be tried in Attach and Adopt.
    pub max_targets: u32,
    /// Open may take so long before an alert.
    pub open_alert_ms: i64,
    /// How long the source is kept after Opened.
    pub soak_ms: i64,
    /// Each step of an undo is patient: the way back is the only one left.
    pub undo_step_ms: i64,
    /// First opposite call after a takeover with an unresolved intent of another fence (F6).
    pub turn_about_ms: i64,
    /// How long an attach or detach that got no answer may still begin: 0 for EC2's own calls, whose late ones match
    /// nothing (F1); the function's time limit where a function makes them (H17).
    pub late_call_ms: i64,
    /// Between two reads that must agree about a free volume (N2).
    pub free_gap_ms: i64,
    /// Between two counts of writers or connections (rule 38, N3).
    pub zero_gap_ms: i64,
    /// Between two probes that must agree (rule 39).
    pub probe_gap_ms: i64,
    /// Between two looks at anything slow (snapshots, instances).
    pub slow_gap_ms: i64,
    /// Between two looks at an agent that is busy.
    pub agent_gap_ms: i64,
    /// A detach that is `busy` or hangs is repeated this seldom (rule 23).
    pub detach_again_ms: i64,
    /// Between two tries of a call that was throttled or unanswered.
    pub retry_ms: i64,
    /// Absence of a tagged snapshot is believed after so many reads ...
    pub absent_reads: u32,
    /// ... this far apart (read lag p99 4 s).
    pub absent_gap_ms: i64,
    /// Permits per account: calls of the blocked window share EC2's buckets (H31).
    pub permits_account: u32,
    /// Permits per group.
    pub permits_group: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            safety_snapshot_ms: 6 * 3_600_000,
            capacity_ms: 600_000,
            gate_ms: 600_000,
            drain_ms: 120_000,
            release_ms: 180_000,
            adopt_ms: 180_000,
            detach_ms: 600_000,
            attach_ms: 600_000,
            attach_stuck_ms: 90_000,
            agent_silent_ms: 30_000,
            offline_budget_ms: 240_000,
            max_targets: 2,
            open_alert_ms: 60_000,
            soak_ms: 3_600_000,
            undo_step_ms: 1_800_000,
            turn_about_ms: 30_000,
            late_call_ms: 0,
            free_gap_ms: 300,
            zero_gap_ms: 1_000,
            probe_gap_ms: 200,
            slow_gap_ms: 5_000,
            agent_gap_ms: 250,
            detach_again_ms: 60_000,
            retry_ms: 1_000,
            absent_reads: 3,
            absent_gap_ms: 5_000,
            permits_account: 20,
            permits_group: 4,
        }
    }
}
