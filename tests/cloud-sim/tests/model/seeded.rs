//! The dev fleet is what the README promises, and everything in it answers.

use std::collections::BTreeSet;

use cloud_sim::api::agent::{Address, AgentState, AgentUsage, AgentVolume};
use cloud_sim::api::autoscaling::{DescribeAutoScalingGroups, LaunchInstances};
use cloud_sim::api::ec2::{DescribeInstances, DescribeVolumes, Filter};
use cloud_sim::seed::{FRESH_GRAPHS, Fleet, FleetGraph, GraphKind, Wanted, ZONE_A, ZONE_B, plant};
use cloud_sim::{Config, Sim};
use tiershift_core::catalogue::GIB;
use tiershift_core::ids::{AnyGraphId, GraphId, InstanceId, OrgId, UserId, VolumeId};

fn planted() -> (Sim, Fleet) {
    let mut sim = Sim::new(Config::default(), 1);
    sim.advance(1_000);
    let fleet = plant(&mut sim).unwrap();
    (sim, fleet)
}

fn graph<'a>(fleet: &'a Fleet, name: &str) -> &'a FleetGraph {
    fleet.graphs.iter().find(|graph| graph.name == name).unwrap()
}

fn zone<'a>(fleet: &'a Fleet, graph: &FleetGraph) -> &'a str {
    &fleet.volumes.iter().find(|volume| volume.volume_id == graph.volume_id).unwrap().availability_zone
}

fn launch(sim: &mut Sim, fleet: &Fleet, tier: &str, zone: &str) -> Result<usize, String> {
    let group_name = fleet.groups.iter().find(|group| group.tier == tier).unwrap().name.clone();
    let request = LaunchInstances {
        group_name,
        client_token: format!("{tier}-{zone}"),
        requested_capacity: 1,
        availability_zones: vec![zone.into()],
        subnet_ids: Vec::new(),
        retry_strategy: None,
    };
    sim.ask(sim.now_ms(), request).answer.map(|launched| launched.instances.len()).map_err(|error| error.code)
}

#[test]
fn every_story_is_there() {
    let (_, fleet) = planted();
    let fresh: Vec<&FleetGraph> = (1..=FRESH_GRAPHS).map(|n| graph(&fleet, &format!("upgrade-{n}"))).collect();
    assert!(fresh.len() >= 6);
    for graph in fresh {
        assert_eq!(
            (graph.tier.as_str(), graph.used_bytes, zone(&fleet, graph)),
            ("ladybug-standard", 4 * GIB.unsigned_abs(), ZONE_B)
        );
    }
    assert_eq!(graph(&fleet, "five-subgraphs").subgraphs.len(), 5);
    let big = graph(&fleet, "too-much-data");
    assert_eq!((big.tier.as_str(), big.used_bytes), ("ladybug-large", 30 * GIB.unsigned_abs()));
    let (one, two) = (graph(&fleet, "shared-volume-1"), graph(&fleet, "shared-volume-2"));
    assert_eq!((&one.volume_id, one.tier.as_str()), (&two.volume_id, "ladybug-standard"));
    for (name, wanted) in [
        ("past-due", Wanted::PastDue),
        ("canceled-in-grace", Wanted::CanceledInGrace),
        ("suspended", Wanted::Suspended),
        ("shared-repository", Wanted::None),
        ("upgrade-1", Wanted::Active),
    ] {
        assert_eq!(graph(&fleet, name).subscription, wanted, "{name}");
    }
    assert_eq!(graph(&fleet, "shared-repository").kind, GraphKind::SharedRepository);
    assert_ne!(graph(&fleet, "other-organisation").organisation_id, graph(&fleet, "upgrade-1").organisation_id);
    assert_eq!(fleet.organisations.len(), 3);
}

#[test]
fn ids_have_their_forms() {
    let (_, fleet) = planted();
    let mut all = BTreeSet::new();
    for graph in &fleet.graphs {
        GraphId::parse(graph.graph_id.as_str()).unwrap();
        OrgId::parse(graph.organisation_id.as_str()).unwrap();
        UserId::parse(graph.owner_user_id.as_str()).unwrap();
        assert!(all.insert(graph.graph_id.clone()));
        for subgraph in &graph.subgraphs {
            assert_eq!(AnyGraphId::parse(subgraph.as_str()).unwrap().parent().as_str(), graph.graph_id);
        }
    }
    for volume in &fleet.volumes {
        VolumeId::parse(volume.volume_id.as_str()).unwrap();
        assert!(all.insert(volume.volume_id.clone()) && all.insert(volume.fs_uuid.clone()));
    }
    for instance in &fleet.instances {
        InstanceId::parse(instance.instance_id.as_str()).unwrap();
        assert!(all.insert(instance.instance_id.clone()) && all.insert(instance.private_ip.clone()));
    }
}

#[test]
fn capacity_is_as_the_stories_need_it() {
    let (mut sim, fleet) = planted();
    let idle = |tier: &str, zone: &str| {
        let free = fleet.instances.iter().filter(|instance| instance.volume_id.is_none());
        free.filter(|instance| instance.tier == tier && instance.availability_zone == zone).count()
    };
    assert!(idle("ladybug-large", ZONE_A) >= 1);
    assert_eq!(idle("ladybug-large", ZONE_B), 0);
    assert_eq!(idle("ladybug-xlarge", ZONE_B), 0);
    assert_eq!(launch(&mut sim, &fleet, "ladybug-large", ZONE_B), Ok(1));
    assert_eq!(launch(&mut sim, &fleet, "ladybug-standard", ZONE_B), Ok(1));
    assert_eq!(launch(&mut sim, &fleet, "ladybug-xlarge", ZONE_B), Err("ValidationError".into()));
    // Even with a greater group there is no capacity in that zone.
    let group_name = fleet.groups[2].name.clone();
    let edit = cloud_sim::api::control::EditGroup { group_name, max_size: Some(9), ..Default::default() };
    sim.ask(sim.now_ms(), edit).answer.unwrap();
    assert_eq!(launch(&mut sim, &fleet, "ladybug-xlarge", ZONE_B), Ok(0));
}

#[test]
fn groups_are_as_preflight_wants_them() {
    let (mut sim, fleet) = planted();
    let shown = sim.ask(sim.now_ms(), DescribeAutoScalingGroups::default()).answer.unwrap().groups;
    assert_eq!(shown.len(), 3);
    for group in shown {
        assert!(fleet.groups.iter().any(|planted| planted.name == group.name));
        assert!(group.name.starts_with("tiershift-ladybug-") && group.name.ends_with("-writers-dev-asg"));
        assert_eq!((group.min_size, group.health_check_type.as_str()), (0, "EC2"));
        assert_eq!(group.desired_capacity as usize, group.instances.len());
        assert_eq!(group.availability_zones, [ZONE_A, ZONE_B]);
        assert_eq!(group.suspended_processes, ["AZRebalance"]);
        assert!(group.instances.iter().all(|instance| instance.lifecycle_state == "InService"));
    }
}

#[test]
fn what_the_fleet_says_is_what_the_cloud_shows() {
    let (mut sim, fleet) = planted();
    let now_ms = sim.now_ms();
    for instance in &fleet.instances {
        let to = Address { instance_id: instance.instance_id.clone(), api_key: Some("dev-agent-key".into()) };
        let status = sim.ask(now_ms, AgentVolume { to: to.clone() }).answer.unwrap();
        let request = DescribeInstances { instance_ids: vec![instance.instance_id.clone()], ..Default::default() };
        let shown = sim.ask(now_ms, request).answer.unwrap().instances.remove(0);
        assert_eq!(shown.private_ip, instance.private_ip);
        assert_eq!(shown.instance_type, instance.instance_type);
        let data = shown.block_devices.iter().filter(|device| device.device_name != shown.root_device_name).count();
        let Some(volume_id) = &instance.volume_id else {
            assert_eq!((status.state, data), (AgentState::Released, 0));
            continue;
        };
        let volume = fleet.volumes.iter().find(|volume| volume.volume_id == *volume_id).unwrap();
        assert_eq!((status.state, status.fs_uuid.as_ref(), data), (AgentState::Serving, Some(&volume.fs_uuid), 1));
        let usage = sim.ask(now_ms, AgentUsage { to }).answer.unwrap();
        assert_eq!(usage.graphs.keys().collect::<BTreeSet<_>>(), volume.graph_ids.iter().collect());
        for (graph_id, bytes) in usage.graphs {
            assert_eq!(fleet.graphs.iter().find(|graph| graph.graph_id == graph_id).unwrap().used_bytes, bytes);
        }
        let filters = vec![Filter::new("volume-id", [volume_id.clone()])];
        let seen = sim.ask(now_ms, DescribeVolumes { filters, ..Default::default() }).answer.unwrap().volumes.remove(0);
        assert_eq!(seen.attachments[0].instance_id, instance.instance_id);
        assert_eq!((seen.attachments[0].device.as_str(), seen.size_gib), (volume.device.as_str(), volume.size_gib));
    }
}

#[test]
fn the_fleet_can_be_kept_as_json() {
    let (_, fleet) = planted();
    let json = serde_json::to_value(&fleet).unwrap();
    assert_eq!(serde_json::from_value::<Fleet>(json).unwrap(), fleet);
}
