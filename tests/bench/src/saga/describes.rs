//! How many Describe calls whole changes ask of EC2 and Auto Scaling, by the simulated cloud's own ledger, in virtual time:
//! as many changes at once as are asked for, in one process. How they ended is told with it: a crowd waits its turn.

use super::life::LifeError;
use super::ratio;
use super::tables::Fault;
use cloud_sim::api::control::ReadLedger;
use cloud_sim::fleet::{GraphSpec, GroupSpec, VolumeSpec};
use cloud_sim::seed::{DEVICE, Fleet, FleetGraph, FleetGroup, FleetInstance, FleetVolume, GraphKind, Wanted};
use cloud_sim::{Config, Sim};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiershift_core::UnixMs;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::ChangeId;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rig::{ORIGIN_MS, Rig};
use tiershift_tests::world::subscriber::FINGERPRINT;
use tokio::task::JoinSet;
use volume_core::settings::Settings;
use volume_core::view::Status;

/// Between two looks at the ledger, which keeps 100,000 calls, in virtual time.
const READ_EVERY: Duration = Duration::from_millis(200);

/// The longest that the other service waits for word of a journal before it looks, in virtual time.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_mins(1);

/// Gates closed at a time: two detachments a second and some 40 s behind the gate are 80; half of it leaves room.
const PERMITS: u32 = 40;

/// Between two lines of progress, in virtual time.
const TOLD_EVERY_MS: i64 = 600_000;

/// The zone that everything lies in.
const ZONE: &str = "us-east-1b";

/// Moves `count` graphs at once, and counts.
pub fn measure(count: usize, tell: &dyn Fn(&str, &Value)) -> Result<Value, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(LifeError::Runtime)?;
    let begun = Instant::now();
    let (ends, describes) = runtime.block_on(move_all(count, tell))?;
    let counted = u32::try_from(describes.values().sum::<u64>())?;
    Ok(json!({
        "migrations": count,
        "ends": ends,
        "describe_calls": counted,
        "per_migration": ratio(f64::from(counted), f64::from(u32::try_from(count)?)),
        "by_action": describes,
        "took_real_s": ratio(begun.elapsed().as_secs_f64(), 1.0),
    }))
}

async fn move_all(
    count: usize,
    tell: &dyn Fn(&str, &Value),
) -> Result<(BTreeMap<String, u64>, BTreeMap<String, u64>), Fault> {
    let (sim, fleet) = plant(count)?;
    // The permits are what keeps the waiting out of the blocked window; one group serves all, so that its share is the
    // account's.
    let settings = Settings {
        soak_ms: 60_000,
        capacity_ms: 24 * 3_600_000,
        permits_account: PERMITS,
        permits_group: PERMITS,
        ..Settings::default()
    };
    let rig = Rig::over(sim, fleet, settings).await;
    // Nobody else is there to be taken over from: what it asks of EC2 is the same however often it looks.
    let process = Process::start_alone(&rig);
    let mut describes: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = 0;
    let mut changes = JoinSet::new();
    let mut ids = Vec::with_capacity(count);
    for number in 1..=count {
        let (rig, service, id) = (Arc::clone(&rig), process.migrations.clone(), rig.change_id());
        let wish = rig.wish(&format!("crowd-{number}"), "ladybug-large");
        ids.push(id.clone());
        changes.spawn(async move {
            let started = service.start(&id, &wish, "user_ada", FINGERPRINT).await;
            started.map_err(|fault| Fault::from(format!("not started: {:?}", fault.error())))?;
            let mut word = service.hub.subscribe(&id);
            loop {
                let head = rig.head(&id).await;
                if head.done_at.is_some() || head.view.status == Status::Stuck {
                    let reason = head.view.reason.map(|reason| format!(" {}", reason.as_str()));
                    return Ok::<_, Fault>(format!("{:?}{}", head.view.status, reason.unwrap_or_default()));
                }
                if let (Some(gate), false) = (head.view.gate_id, head.view.gate_confirmed) {
                    let _told = service.confirm_gate(&id, gate, 1).await;
                }
                tokio::select! {
                    biased;
                    () = word.changed() => {}
                    () = tokio::time::sleep(LOOK_AT_LEAST_EVERY) => {}
                }
            }
        });
    }
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut told_at = rig.clock.now();
    loop {
        if rig.clock.now().since(told_at) >= TOLD_EVERY_MS {
            told_at = rig.clock.now();
            tell("stages", &stages(&rig, &ids).await?);
        }
        let page = rig.cloud.at_once(ReadLedger { after_seq: seen, limit: 0 });
        for call in &page.entries {
            seen = call.seq;
            if call.action.starts_with("Describe") {
                *describes.entry(call.action.clone()).or_default() += 1;
            }
        }
        tokio::select! {
            biased;
            ended = changes.join_next() => match ended {
                Some(ended) => {
                    *ends.entry(ended??).or_default() += 1;
                }
                None => return Ok((ends, describes)),
            },
            () = tokio::time::sleep(READ_EVERY) => {}
        }
    }
}

/// How many are in which stage.
async fn stages(rig: &Rig, ids: &[ChangeId]) -> Result<Value, Fault> {
    let mut stages: BTreeMap<String, u64> = BTreeMap::new();
    for id in ids {
        let head = rig.head(id).await;
        let stage = if head.done_at.is_some() { "done".to_owned() } else { format!("{:?}", head.view.stage) };
        *stages.entry(stage).or_default() += 1;
    }
    let minutes = rig.clock.now().since(UnixMs(ORIGIN_MS)) / 60_000;
    Ok(json!({ "simulated_minutes": minutes, "migrations": stages }))
}

/// A cloud with so many small graphs, each alone on its volume and instance, and as many idle large instances: Auto Scaling
/// launches some hundred an hour, so that a crowd that had to be launched would move for days.
fn plant(count: usize) -> Result<(Sim, Fleet), Fault> {
    let mut sim = Sim::new(Config::default(), 1);
    sim.advance(u64::try_from(ORIGIN_MS)?);
    let catalogue = Catalogue::default();
    let tiers = &catalogue.tiers()[..2];
    let types: Vec<&str> = tiers.iter().map(|tier| tier.instance_type.as_str()).collect();
    sim.add_zone(ZONE, "use1-az2", &types);
    let mut fleet = Fleet {
        organisations: Vec::new(),
        groups: Vec::new(),
        instances: Vec::new(),
        volumes: Vec::new(),
        graphs: Vec::new(),
    };
    for tier in tiers {
        let group = FleetGroup {
            name: tier.group("dev")?.into(),
            tier: tier.name.to_string(),
            instance_type: tier.instance_type.clone(),
            availability_zones: vec![ZONE.to_owned()],
        };
        sim.add_group(GroupSpec {
            name: group.name.clone(),
            instance_type: group.instance_type.clone(),
            zones: group.availability_zones.clone(),
            max_size: u32::try_from(count)? * 2,
            tags: BTreeMap::default(),
            build: None,
        })?;
        fleet.groups.push(group);
    }
    for number in 1..=count {
        one(&mut sim, &mut fleet, number)?;
        idle(&mut sim, &mut fleet)?;
    }
    Ok((sim, fleet))
}

/// One more large instance without a volume.
fn idle(sim: &mut Sim, fleet: &mut Fleet) -> Result<(), Fault> {
    let group = &fleet.groups[1];
    let instance_id = sim.add_instance(&group.name, ZONE)?;
    fleet.instances.push(FleetInstance {
        private_ip: sim.private_ip(&instance_id).unwrap_or_default(),
        instance_id,
        group_name: group.name.clone(),
        tier: group.tier.clone(),
        instance_type: group.instance_type.clone(),
        availability_zone: ZONE.to_owned(),
        volume_id: None,
    });
    Ok(())
}

fn one(sim: &mut Sim, fleet: &mut Fleet, number: usize) -> Result<(), Fault> {
    let group = &fleet.groups[0];
    let instance_id = sim.add_instance(&group.name, ZONE)?;
    let zone = ZONE.to_owned();
    let spec =
        VolumeSpec { zone: zone.clone(), size_gib: 20, tags: BTreeMap::default(), snapshotted: false, dirty_bytes: 0 };
    let volume_id = sim.add_volume(spec)?;
    sim.serve(&instance_id, &volume_id, DEVICE)?;
    let graph_id = sim.new_graph_id();
    let bytes = 4 << 30;
    let spec = GraphSpec { nodes: 1_000, relationships: 2_000, bytes, readers: 1, writers: 1, ..GraphSpec::default() };
    sim.add_graph(&volume_id, &graph_id, spec)?;
    fleet.instances.push(FleetInstance {
        instance_id: instance_id.clone(),
        group_name: group.name.clone(),
        tier: group.tier.clone(),
        instance_type: group.instance_type.clone(),
        availability_zone: zone.clone(),
        private_ip: sim.private_ip(&instance_id).unwrap_or_default(),
        volume_id: Some(volume_id.clone()),
    });
    fleet.volumes.push(FleetVolume {
        volume_id: volume_id.clone(),
        instance_id: instance_id.clone(),
        device: DEVICE.to_owned(),
        tier: group.tier.clone(),
        availability_zone: zone,
        size_gib: 20,
        fs_uuid: sim.fs_uuid(&volume_id).unwrap_or_default(),
        graph_ids: vec![graph_id.clone()],
    });
    fleet.graphs.push(FleetGraph {
        graph_id,
        name: format!("crowd-{number}"),
        story: String::new(),
        organisation_id: String::new(),
        owner_user_id: String::new(),
        tier: group.tier.clone(),
        kind: GraphKind::Entity,
        subgraphs: Vec::new(),
        used_bytes: bytes,
        volume_id,
        instance_id,
        subscription: Wanted::Active,
    });
    Ok(())
}
