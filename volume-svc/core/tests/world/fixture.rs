//! Names and sizes of the world: ids, the migration's spec, durations.

use tiershift_core::ids::{ChangeId, GraphId, GroupName, InstanceId, SnapshotId, TierName, VolumeId, WorkerId, Zone};
use volume_core::effect::Engine;
use volume_core::fact::{Party, Spec};
use volume_core::settings::Settings;

/// Parses an id that is right.
macro_rules! id {
    ($kind:ident, $text:expr) => {
        $kind::parse($text).expect("well formed")
    };
}

pub fn change() -> ChangeId {
    id!(ChangeId, "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV")
}
pub fn graph() -> GraphId {
    id!(GraphId, "kg0123456789abcdef")
}
pub fn volume() -> VolumeId {
    id!(VolumeId, "vol-0000000a")
}
pub fn source() -> InstanceId {
    id!(InstanceId, "i-50000000")
}
/// The `n`th idle instance of the target tier.
pub fn idle(n: u32) -> InstanceId {
    id!(InstanceId, format!("i-1d1e{n:04x}"))
}
/// The `n`th instance that was launched.
pub fn launched(n: usize) -> InstanceId {
    id!(InstanceId, format!("i-1a00{n:04x}"))
}
/// An instance that has nothing to do with it.
pub fn stranger() -> InstanceId {
    id!(InstanceId, "i-fffffff0")
}
pub fn snapshot(n: usize) -> SnapshotId {
    id!(SnapshotId, format!("snap-{n:08x}"))
}
pub fn zone() -> Zone {
    id!(Zone, "us-east-1a")
}
pub fn source_group() -> GroupName {
    id!(GroupName, "standard")
}
pub fn target_group() -> GroupName {
    id!(GroupName, "large")
}
pub fn source_tier() -> TierName {
    id!(TierName, "ladybug-standard")
}
pub fn target_tier() -> TierName {
    id!(TierName, "ladybug-large")
}
pub fn worker(n: u32) -> WorkerId {
    id!(WorkerId, format!("worker-{n}"))
}
pub fn engine() -> Engine {
    Engine { engine: "ladybug".to_owned(), version: "1.2.0".to_owned(), format: "7".to_owned() }
}
pub const DEVICE: &str = "/dev/sdf";
pub const FS_UUID: &str = "6f1c-fs";
pub const LIMIT_BYTES: i64 = 1_000_000;

/// A person's word for an instance.
pub fn word(instance: &InstanceId) -> String {
    match instance.as_str() {
        "i-50000000" => "source".to_owned(),
        "i-fffffff0" => "stranger".to_owned(),
        text if text.starts_with("i-1d1e") => {
            format!("idle{}", text.trim_start_matches("i-1d1e").trim_start_matches('0'))
        }
        text => format!("launched{}", text.trim_start_matches("i-1a00").trim_start_matches('0')),
    }
}

pub fn party(instance: InstanceId, group: GroupName) -> Party {
    Party { instance, private_ip: "10.0.0.9".to_owned(), endpoint_url: None, group, launched: false }
}

pub fn spec() -> Spec {
    Spec {
        id: change(),
        graph: graph(),
        volume: volume(),
        zone: zone(),
        device: DEVICE.to_owned(),
        source: party(source(), source_group()),
        engine: engine(),
        source_tier: source_tier(),
        target_tier: target_tier(),
        target_group: target_group(),
        storage_limit_bytes: Some(LIMIT_BYTES),
        max_write_block_ms: 300_000,
        requested_by: "user_a".to_owned(),
        fingerprint: "f".to_owned(),
        store_epoch: 1,
    }
}

/// How long things take, in milliseconds: the medians of the timing model, rounded.
#[derive(Clone, Debug)]
pub struct Durations {
    pub call: i64,
    pub look: i64,
    /// A call without an answer.
    pub unanswered: i64,
    pub attach: i64,
    pub detach: i64,
    pub safety: i64,
    pub last: i64,
    pub boot: i64,
    pub terminate: i64,
    pub release: i64,
    pub adopt: i64,
    /// From a shut door to the last writer's end.
    pub writers: i64,
    /// From a shut door to the last connection's end.
    pub readers: i64,
    /// Between two steps of the other service.
    pub gate: i64,
    /// Between two writes of clients.
    pub write: i64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            call: 400,
            look: 150,
            unanswered: 3_000,
            attach: 2_000,
            detach: 2_500,
            safety: 60_000,
            last: 90_000,
            boot: 30_000,
            terminate: 45_000,
            release: 5_000,
            adopt: 6_000,
            writers: 1_500,
            readers: 2_500,
            gate: 2_000,
            write: 700,
        }
    }
}

/// What the world begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Idle instances of the target tier.
    pub idle: Vec<InstanceId>,
    /// Smallest size of the source's group; it has one member more than `1` to lose by default.
    pub source_min: i64,
    /// Smallest size of the target's group.
    pub target_min: i64,
    /// The tier's limit of the write block.
    pub max_write_block_ms: i64,
    pub durations: Durations,
    pub settings: Settings,
}

impl Setup {
    /// With two idle instances: no launch is needed.
    pub fn idle_target() -> Self {
        Self {
            idle: vec![idle(1), idle(2)],
            source_min: 0,
            target_min: 0,
            max_write_block_ms: spec().max_write_block_ms,
            durations: Durations::default(),
            settings: Settings::default(),
        }
    }

    /// With an empty pool: a launch is needed.
    pub fn launched_target() -> Self {
        Self { idle: Vec::new(), ..Self::idle_target() }
    }
}
