//! One change in a world of its own: the real driver, worker, journal and machine of volume-svc over the simulated cloud,
//! in virtual time, and the other side of its gate. What is kept of it is when what happened, and what was drawn for it.

#![expect(clippy::expect_used, reason = "a world that cannot be set up, or stands still, is no measurement")]

use super::orders::Draws;
use cloud_sim::fleet::{FleetError, GraphSpec, GroupSpec, VolumeSpec};
use cloud_sim::seed::{DEVICE, Fleet, FleetGraph, FleetInstance, FleetVolume, GraphKind, Wanted, ZONE_A};
use cloud_sim::timing::Timing;
use cloud_sim::{Config, Sim};
use std::collections::BTreeMap;
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tiershift_core::catalogue::{Catalogue, Tier};
use tiershift_core::{Reason, UnixMs};
use tiershift_tests::world::access::Access;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::{Front, Process};
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::subscriber::{Policy, Subscriber};
use volume_core::fact::{Entry, Fact};
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::state::{End, Migration};
use volume_core::view::Status;

const GIB: u64 = 1 << 30;

/// Bytes of the graph: what the timing model's first snapshot is of.
const USED_BYTES: u64 = 50 * GIB;

/// Bytes changed since the last snapshot, where there is one: what the timing model's later snapshot is of.
const DIRTY_BYTES: u64 = GIB;

/// The graph's short name in the rig.
const GRAPH: &str = "moving";

/// A safety snapshot may take six hours before the change is given up, and the gate waits for nobody here.
const END_WITHIN_MS: i64 = 8 * 3_600_000;

/// The other side hears of an end within so long, unless an operator is needed: then its gate stays closed.
const HEARD_WITHIN_MS: i64 = 10_000;

/// Reads no more go back behind what was planted.
const SETTLED_MS: i64 = 60_000;

/// How a change ended for its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The graph serves on the target.
    Succeeded,
    /// Its clients did not go within the drain deadline.
    Drain,
    /// Turned back for another reason, or an operator was called.
    Otherwise,
}

/// What is known of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub ended: Ended,
    /// When the gate was closed and when it was open again.
    pub gate: Option<(UnixMs, UnixMs)>,
    /// When the confirmation was accepted.
    pub confirmed_at: Option<UnixMs>,
    /// When each stage was entered.
    pub entered: BTreeMap<Stage, UnixMs>,
    /// When the move was done in the registries.
    pub committed_at: Option<UnixMs>,
    /// When the target served.
    pub opened_at: Option<UnixMs>,
    /// What the simulated cloud drew for it; none if it ended before everything was.
    pub draws: Option<Draws>,
}

impl History {
    /// The history of a seed, on a runtime of its own. Even seeds have a first snapshot, odd ones an incremental one.
    pub fn of(seed: u64) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime without I/O");
        runtime.block_on(change(seed))
    }

    /// Milliseconds from the closed gate to the open one.
    pub fn blocked_ms(&self) -> Option<i64> {
        self.gate.map(|(closed, opened)| opened.since(closed))
    }

    /// Milliseconds from the first request to release the volume to the target that serves.
    pub fn offline_ms(&self) -> Option<i64> {
        let released_at = self.draws.as_ref()?.released_at;
        Some(self.opened_at?.since(released_at))
    }

    /// Milliseconds from the first request to let no reader in to the target that serves.
    pub fn reads_closed_ms(&self) -> Option<i64> {
        Some(self.opened_at?.since(*self.entered.get(&Stage::DrainReads)?))
    }
}

async fn change(seed: u64) -> History {
    let config = Config { timing: Timing::Drawn, mishaps: false, ..Config::default() };
    let snapshotted = !seed.is_multiple_of(2);
    let rig = Rig::planted(config, seed, Settings::default(), |sim| plant(sim, snapshotted)).await;
    sleep_ms(&*rig.clock, SETTLED_MS).await;
    let process = Process::start(&rig, Fuse::endless());
    let (front, id, access) = (Front::default(), rig.change_id(), Access::new(Arc::clone(&rig.clock)));
    front.to(&process);
    let policy = Policy::Confirm;
    let subscriber = Subscriber { rig: Arc::clone(&rig), front, id: id.clone(), access: Arc::clone(&access), policy };
    let following = tokio::spawn(subscriber.follow(rig.wish(GRAPH, tier(2).name.as_str())));
    rig.until_late(&id, "over", END_WITHIN_MS, |head| head.view.status != Status::Running).await;
    reopened(&rig, &access).await;
    following.abort();
    let entries = rig.entries(&id).await;
    let state = Migration::replay(&id, &entries).expect("the journal folds");
    process.kill();
    let drained_out = state.undo.as_ref().is_some_and(|undo| undo.reason == Reason::DrainTimeout);
    let ended = match state.end {
        Some(End::Moved) => Ended::Succeeded,
        Some(End::RolledBack) if drained_out => Ended::Drain,
        _ => Ended::Otherwise,
    };
    let at = |name: &str| entries.iter().find(|entry| entry.fact.name() == name).map(|entry| entry.at);
    let gate = access.history().first().and_then(|(closed, opened)| Some((*closed, (*opened)?)));
    History {
        seed,
        ended,
        gate,
        confirmed_at: at("gate_confirmed"),
        entered: entered(&entries),
        committed_at: at("committed"),
        opened_at: at("opened"),
        draws: Draws::of(&rig.cloud.ledger()),
    }
}

/// Waits for the follower, who hears of an end a moment after it.
async fn reopened(rig: &Rig, access: &Access) {
    let until = rig.clock.now().plus(HEARD_WITHIN_MS);
    while !access.is_open() && rig.clock.now() < until {
        sleep_ms(&*rig.clock, 10).await;
    }
}

fn entered(entries: &[Entry]) -> BTreeMap<Stage, UnixMs> {
    let mut entered = BTreeMap::new();
    for entry in entries {
        if let Fact::Entered { stage } = entry.fact {
            entered.entry(stage).or_insert(entry.at);
        }
    }
    entered
}

/// A tier of the catalogue, lowest rank first.
fn tier(rank: usize) -> Tier {
    Catalogue::default().tiers()[rank].clone()
}

/// One graph on one instance, and an empty group in its zone that can launch another.
fn plant(sim: &mut Sim, snapshotted: bool) -> Result<Fleet, FleetError> {
    let tiers = [tier(1), tier(2)];
    let types: Vec<&str> = tiers.iter().map(|tier| tier.instance_type.as_str()).collect();
    sim.add_zone(ZONE_A, "use1-az1", &types);
    for tier in &tiers {
        sim.add_group(GroupSpec {
            name: tier.group("dev")?.into(),
            instance_type: tier.instance_type.clone(),
            zones: vec![ZONE_A.to_owned()],
            max_size: 4,
            tags: BTreeMap::new(),
            build: None,
        })?;
    }
    let source = &tiers[0];
    let group_name: String = source.group("dev")?.into();
    let instance_id = sim.add_instance(&group_name, ZONE_A)?;
    let volume_id = sim.add_volume(VolumeSpec {
        zone: ZONE_A.to_owned(),
        size_gib: 100,
        tags: BTreeMap::new(),
        snapshotted,
        dirty_bytes: if snapshotted { DIRTY_BYTES } else { 0 },
    })?;
    sim.serve(&instance_id, &volume_id, DEVICE)?;
    let graph_id = sim.new_graph_id();
    let spec = GraphSpec {
        nodes: 1_000,
        relationships: 5_000,
        bytes: USED_BYTES,
        readers: 4,
        writers: 2,
        ..GraphSpec::default()
    };
    sim.add_graph(&volume_id, &graph_id, spec)?;
    Ok(Fleet {
        organisations: Vec::new(),
        groups: Vec::new(),
        instances: vec![FleetInstance {
            instance_id: instance_id.clone(),
            group_name,
            tier: source.name.to_string(),
            instance_type: source.instance_type.clone(),
            availability_zone: ZONE_A.to_owned(),
            private_ip: sim.private_ip(&instance_id).unwrap_or_default(),
            volume_id: Some(volume_id.clone()),
        }],
        volumes: vec![FleetVolume {
            volume_id: volume_id.clone(),
            instance_id: instance_id.clone(),
            device: DEVICE.to_owned(),
            tier: source.name.to_string(),
            availability_zone: ZONE_A.to_owned(),
            size_gib: 100,
            fs_uuid: sim.fs_uuid(&volume_id).unwrap_or_default(),
            graph_ids: vec![graph_id.clone()],
        }],
        graphs: vec![FleetGraph {
            graph_id,
            name: GRAPH.to_owned(),
            story: "the one that moves".to_owned(),
            organisation_id: String::new(),
            owner_user_id: String::new(),
            tier: source.name.to_string(),
            kind: GraphKind::Entity,
            subgraphs: Vec::new(),
            used_bytes: USED_BYTES,
            volume_id,
            instance_id,
            subscription: Wanted::Active,
        }],
    })
}
