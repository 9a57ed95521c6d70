//! The three orders on one set of draws. What was drawn is read from the simulated cloud's ledger, so that all three are
//! about the same history; what ours has no use for is drawn from the same seed.

use cloud_sim::api::control::LedgerEntry;
use cloud_sim::timing::{Dice, Op, Timing};
use tiershift_core::UnixMs;
use volume_svc::world::TAG_STEP;

/// A change that EC2 makes: called, under way, and seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
pub struct Effect {
    /// Latency of its call, in ms.
    pub call_ms: u64,
    /// From its effect to its end, in ms.
    pub takes_ms: u64,
    /// From its end to the first read that shows it, in ms.
    pub lag_ms: u64,
    /// Latency of the read that established it, in ms.
    pub read_ms: u64,
}

impl Effect {
    /// With one latency of the call, the lag and one read, all of each.
    pub fn whole_ms(self) -> u64 {
        self.call_ms + self.takes_ms + self.lag_ms + self.read_ms
    }
}

/// What was drawn for one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// When the release was first requested.
    pub released_at: UnixMs,
    /// The safety snapshot, first or incremental.
    pub snapshot_ms: u64,
    /// Launch to an agent that answers.
    pub launch_ms: u64,
    /// Both halves of the drain.
    pub drain_ms: u64,
    /// Engine stop, sync and unmount.
    pub stop_ms: u64,
    /// Latency of the final snapshot's call.
    pub snapshot_call_ms: u64,
    /// The detach.
    pub detach: Effect,
    /// The attach.
    pub attach: Effect,
    /// The mount.
    pub mount_ms: u64,
    /// The engine's open.
    pub open_ms: u64,
}

impl Draws {
    /// From a ledger; none unless every one of these was drawn.
    pub fn of(ledger: &[LedgerEntry]) -> Option<Self> {
        let call = |action: &str| ledger.iter().rposition(|call| call.action == action && call.outcome == "ok");
        let snapshot = |step: &str| {
            let of_step =
                |call: &LedgerEntry| call.parameters.get(&format!("tag:{TAG_STEP}")).is_some_and(|s| s == step);
            ledger.iter().find(|call| call.action == "CreateSnapshot" && of_step(call))
        };
        let drain = ledger.iter().find(|call| call.action == "AgentDrain")?;
        let release = ledger.iter().find(|call| call.action == "AgentRelease")?;
        let launch = ledger.get(call("LaunchInstances")?)?;
        let (detach, attach, adopt) = (call("DetachVolume")?, call("AttachVolume")?, call("AgentAdopt")?);
        let safety = snapshot("safety")?;
        Some(Self {
            released_at: UnixMs(i64::try_from(release.at_ms).ok()?),
            snapshot_ms: drew(safety, Op::SnapshotFirst).or_else(|| drew(safety, Op::SnapshotIncremental))?,
            launch_ms: drew(launch, Op::Running)? + drew(launch, Op::AgentUp)?,
            drain_ms: drew(drain, Op::Drain)?,
            stop_ms: drew(release, Op::EngineStop)?,
            snapshot_call_ms: drew(snapshot("final")?, Op::SnapshotCall)?,
            detach: effect(ledger, detach, attach, Op::Detach)?,
            attach: effect(ledger, attach, adopt, Op::Attach)?,
            mount_ms: drew(ledger.get(adopt)?, Op::Mount)?,
            // Begun when the mount is through, not by a call: noted with the next one.
            open_ms: ledger.get(adopt..)?.iter().find_map(|call| drew(call, Op::EngineOpen))?,
        })
    }
}

fn drew(call: &LedgerEntry, op: Op) -> Option<u64> {
    call.drew.iter().rev().find(|drawn| drawn.op == op).map(|drawn| drawn.ms)
}

/// An effect's call at one place of the ledger, and the read of the volume that was the last before the next step's.
fn effect(ledger: &[LedgerEntry], at: usize, next: usize, op: Op) -> Option<Effect> {
    let call = ledger.get(at)?;
    let place = call.drew.iter().rposition(|drawn| drawn.op == op)?;
    // An attach draws a second lag behind, for the instance's own view.
    let lag = call.drew.get(..place)?.iter().rfind(|drawn| drawn.op == Op::ReadLag)?;
    let of_volume = |call: &&LedgerEntry| call.parameters.contains_key("filter:volume-id");
    let mut reads = ledger.get(at..next)?.iter().filter(|call| call.action == "DescribeVolumes").filter(of_volume);
    Some(Effect {
        call_ms: drew(call, Op::MutateCall)?,
        takes_ms: call.drew.get(place)?.ms,
        lag_ms: lag.ms,
        read_ms: drew(reads.next_back()?, Op::DescribeCall)?,
    })
}

/// Least time that the volume can be offline: everything that has to be, one after another, and nothing else.
pub fn limit_ms(draws: &Draws) -> u64 {
    let effects = draws.detach.whole_ms() + draws.attach.whole_ms();
    draws.stop_ms + draws.snapshot_call_ms + effects + draws.mount_ms + draws.open_ms
}

/// What the predecessor's order makes of the same draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Writes refused.
    pub blocked_ms: u64,
    /// From the detach to the open engine.
    pub offline_ms: u64,
}

/// It blocks writes first and does everything slow behind that: pause, snapshot, drain, detach, a cold launch with
/// everything installed at boot, attach, mount, open, a health check every 10 s, pause, and caches of five minutes.
pub fn predecessor(seed: u64, draws: &Draws) -> Predecessor {
    let mut dice = Dice::new(seed, Timing::Drawn, false);
    let user_data_ms = dice.duration_ms(Op::UserData);
    let moved = draws.detach.takes_ms + draws.launch_ms + user_data_ms + draws.attach.takes_ms;
    let offline_ms = moved + draws.mount_ms + draws.open_ms;
    let before = 5_000 + draws.snapshot_ms.min(600_000) + draws.drain_ms.min(120_000);
    let behind = dice.between(0, 10_000) + 5_000 + dice.between(0, 300_000);
    Predecessor { blocked_ms: before + offline_ms + behind, offline_ms }
}
