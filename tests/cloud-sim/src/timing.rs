//! How long things take and how often they go wrong by themselves: the timing model of docs/aws.md, section 12, as data.
//!
//! Every number of the model is here and nowhere else. [`Dice`] draws them: with [`Timing::Median`] always the p50, with
//! [`Timing::Drawn`] log-normal between p50 and p99, from one stream of chance for each kind of draw, so that one more
//! Describe call does not change how long the next attach takes. Faults that are switched on by hand are in `faults.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which durations the model uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Always the p50: what a person at the dev stack expects.
    #[default]
    Median,
    /// Log-normal between p50 and p99, from the seed.
    Drawn,
}

/// Something that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Latency of a Describe call.
    DescribeCall,
    /// Latency of a call that changes something.
    MutateCall,
    /// Latency of CreateSnapshot.
    SnapshotCall,
    /// Latency of LaunchInstances.
    LaunchCall,
    /// Latency of a call to an agent.
    AgentCall,
    /// Latency of a client's call to an engine.
    EngineCall,
    /// From an EC2 change to the first read that shows it.
    ReadLag,
    /// CreateVolume to `available`.
    VolumeCreate,
    /// AttachVolume to `attached`.
    Attach,
    /// DetachVolume of an unmounted volume to free; also unmount to free when a detach is waiting.
    Detach,
    /// First snapshot of a volume, for 50 GiB in use.
    SnapshotFirst,
    /// Later snapshot of a volume, for 1 GiB changed.
    SnapshotIncremental,
    /// ModifyVolume to `optimizing`.
    Modify,
    /// Launch to `running`.
    Running,
    /// `running` (or power back) to an agent that answers: an image with everything baked in.
    AgentUp,
    /// Termination to volume free.
    Terminate,
    /// Loss of a member to the group's replacement.
    Replacement,
    /// Drain of writes and reads together; half each.
    Drain,
    /// Engine stop, sync and unmount.
    EngineStop,
    /// Mount with log replay.
    Mount,
    /// Engine open.
    EngineOpen,
    /// What an image with nothing baked in installs at boot. Nothing here boots so; benches compare with it.
    UserData,
}

impl Op {
    /// (p50, p99) in ms. Sources and their weight: docs/aws.md, section 12; those of agents and engines are guesses.
    pub const fn percentiles_ms(self) -> (u64, u64) {
        match self {
            Self::DescribeCall => (150, 1_000),
            Self::MutateCall => (400, 2_500),
            Self::SnapshotCall => (500, 3_000),
            Self::LaunchCall => (4_000, 20_000),
            Self::ReadLag => (300, 4_000),
            Self::VolumeCreate => (1_500, 4_000),
            Self::Attach => (2_000, 8_000),
            Self::Detach => (2_500, 12_000),
            Self::SnapshotFirst => (720_000, 3_600_000),
            Self::SnapshotIncremental => (60_000, 900_000),
            Self::Modify | Self::EngineStop => (5_000, 60_000),
            Self::Running => (10_000, 40_000),
            Self::AgentUp => (15_000, 60_000),
            Self::Terminate => (45_000, 240_000),
            Self::Replacement => (120_000, 600_000),
            Self::Drain => (10_000, 300_000),
            Self::Mount => (1_000, 30_000),
            Self::EngineOpen => (5_000, 90_000),
            Self::UserData => (180_000, 480_000),
            Self::AgentCall => (5, 50),
            Self::EngineCall => (2, 20),
        }
    }
}

/// Something that goes wrong now and then without a fault being switched on, when [`crate::Config::mishaps`] is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    /// The answer to a changing EC2 or Auto Scaling call is lost, half before and half after the effect.
    LostAnswer,
    /// A read within 30 s of a change shows the state before it.
    BackwardRead,
    /// An attach stays `attaching`.
    StuckAttach,
    /// A detach of an unmounted volume takes 10 to 60 min.
    StuckDetach,
    /// A snapshot ends in `error`.
    SnapshotError,
    /// LaunchInstances answers IdempotentCallInProgress though this was the first call.
    LaunchInProgress,
    /// A zone has no more of a type, for 5 to 60 min.
    NoCapacity,
    /// Unmount finds the mount held by a process.
    MountBusy,
    /// One reader never goes away: the tail of [`Op::Drain`].
    DrainNever,
    /// No mishap but a lot: which half of something happens.
    Coin,
    /// No mishap but a lot: how much of a range.
    Range,
}

impl Mishap {
    /// How often, per million. Same source as [`Op::percentiles_ms`].
    pub const fn per_million(self) -> u64 {
        match self {
            Self::LostAnswer | Self::BackwardRead | Self::StuckAttach => 1_000,
            Self::StuckDetach => 500,
            Self::SnapshotError => 100,
            Self::LaunchInProgress | Self::NoCapacity | Self::MountBusy | Self::DrainNever => 10_000,
            Self::Coin | Self::Range => 500_000,
        }
    }
}

/// A duration as it was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Of what.
    pub op: Op,
    /// How long, in ms.
    pub ms: u64,
}

/// The model's only source of chance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dice {
    seed: u64,
    timing: Timing,
    mishaps: bool,
    ops: BTreeMap<Op, u64>,
    lots: BTreeMap<Mishap, u64>,
    ids: u64,
    /// Drawn since the ledger last took it.
    #[serde(default)]
    noted: Vec<Drawn>,
}

impl Dice {
    /// Dice for a seed.
    pub fn new(seed: u64, timing: Timing, mishaps: bool) -> Self {
        Self { seed, timing, mishaps, ops: BTreeMap::new(), lots: BTreeMap::new(), ids: 0, noted: Vec::new() }
    }

    /// A duration in ms; at least 1.
    pub fn duration_ms(&mut self, op: Op) -> u64 {
        self.scaled_ms(op, 1.0)
    }

    /// A duration in ms for `factor` times the amount that the op's numbers are for; at least 1.
    pub fn scaled_ms(&mut self, op: Op, factor: f64) -> u64 {
        let (p50, p99) = op.percentiles_ms();
        let median = to_f64(p50) * factor;
        let value = match self.timing {
            Timing::Median => median,
            Timing::Drawn => {
                let count = self.ops.entry(op).or_default();
                *count += 1;
                let first = mix(self.seed ^ mix(0x0100 + op as u64) ^ mix(*count));
                // 2.3263 standard deviations lie between the p50 and the p99 of a normal distribution.
                let sigma = (to_f64(p99) / to_f64(p50)).ln() / 2.326_347_874;
                median * (sigma * normal(first)).exp()
            }
        };
        let ms = to_ms(value);
        // Calls to engines have no entry in the ledger, and there are millions of them.
        if op != Op::EngineCall {
            self.noted.push(Drawn { op, ms });
        }
        ms
    }

    /// What was drawn since this was last asked, in order.
    pub(crate) fn take_noted(&mut self) -> Vec<Drawn> {
        std::mem::take(&mut self.noted)
    }

    /// Whether a mishap happens now. Never, unless mishaps are on.
    pub fn mishap(&mut self, mishap: Mishap) -> bool {
        self.mishaps && self.lot(mishap) % 1_000_000 < mishap.per_million()
    }

    /// The same for one that is no mishap but the tail of a duration: it also happens wherever durations are drawn.
    pub fn tail(&mut self, mishap: Mishap) -> bool {
        (self.mishaps || self.timing == Timing::Drawn) && self.lot(mishap) % 1_000_000 < mishap.per_million()
    }

    /// Heads or tails, mishaps on or off.
    pub fn coin(&mut self) -> bool {
        self.lot(Mishap::Coin).is_multiple_of(2)
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.lot(Mishap::Range) % (high - low + 1)
    }

    /// 64 bits for the next id; never repeats within 2^64 ids of a seed.
    pub fn id(&mut self) -> u64 {
        self.ids += 1;
        // `mix` is a bijection, so that different numbers give different ids.
        mix(mix(self.seed ^ 0x1d5).wrapping_add(self.ids))
    }

    fn lot(&mut self, mishap: Mishap) -> u64 {
        let count = self.lots.entry(mishap).or_default();
        *count += 1;
        mix(self.seed ^ mix(0x0200 + mishap as u64) ^ mix(*count))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that scatters counters. Not `rand`, because its
/// generators may change between versions and cannot be kept in a file; a seed must give the same history for ever.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A standard normal value (Box and Muller) from 64 random bits.
fn normal(bits: u64) -> f64 {
    let radius = (-2.0 * unit(bits).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(mix(bits))).cos()
}

/// A value in (0, 1) from the upper 53 bits.
fn unit(bits: u64) -> f64 {
    (to_f64(bits >> 11) + 0.5) / to_f64(1 << 53)
}

#[expect(clippy::cast_precision_loss, reason = "durations in ms and 53-bit numbers are exact in an f64")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and 1 is the least"
)]
fn to_ms(value: f64) -> u64 {
    (value.round() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_p50_and_never_a_mishap() {
        let mut dice = Dice::new(1, Timing::Median, false);
        assert_eq!(dice.duration_ms(Op::Attach), 2_000);
        assert_eq!(dice.scaled_ms(Op::SnapshotFirst, 0.08), 57_600);
        assert!((0..10_000).all(|_| !dice.mishap(Mishap::DrainNever)));
    }

    #[test]
    fn drawn_values_have_the_percentiles_of_the_table() {
        let mut dice = Dice::new(42, Timing::Drawn, false);
        let mut drawn: Vec<u64> = (0..20_000).map(|_| dice.duration_ms(Op::Detach)).collect();
        drawn.sort_unstable();
        let (p50, p99) = (drawn[10_000], drawn[19_800]);
        assert!((2_400..2_600).contains(&p50), "{p50}");
        assert!((11_000..13_000).contains(&p99), "{p99}");
    }

    #[test]
    fn mishaps_come_as_often_as_the_table_says() {
        let mut dice = Dice::new(42, Timing::Drawn, true);
        let hits = (0..100_000).filter(|_| dice.mishap(Mishap::MountBusy)).count();
        assert!((850..1_150).contains(&hits), "{hits}");
    }

    #[test]
    fn the_tail_of_a_duration_comes_with_drawn_ones() {
        let hits = |timing| {
            let mut dice = Dice::new(42, timing, false);
            (0..100_000).filter(|_| dice.tail(Mishap::DrainNever)).count()
        };
        assert!((850..1_150).contains(&hits(Timing::Drawn)), "{}", hits(Timing::Drawn));
        assert_eq!(hits(Timing::Median), 0);
    }

    #[test]
    fn a_draw_of_one_kind_does_not_move_another() {
        let mut quiet = Dice::new(7, Timing::Drawn, true);
        let mut busy = quiet.clone();
        for _ in 0..100 {
            busy.duration_ms(Op::DescribeCall);
            busy.mishap(Mishap::BackwardRead);
            busy.id();
        }
        assert_eq!(quiet.duration_ms(Op::Attach), busy.duration_ms(Op::Attach));
        assert_eq!(quiet.mishap(Mishap::StuckAttach), busy.mishap(Mishap::StuckAttach));
    }
}
