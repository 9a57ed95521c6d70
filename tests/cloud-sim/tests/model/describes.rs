//! Ids, filters, pages, and the things that are only read.

use cloud_sim::api::ec2::{
    CreateVolume, DescribeInstanceStatus, DescribeInstanceTypeOfferings, DescribeInstances, DescribeSubnets,
    DescribeVolumes, Filter, Paging,
};
use cloud_sim::faults::Fault;

use crate::kit::{LARGE, World, ZONE_A, ZONE_B};

const UNKNOWN: &str = "vol-00000000000000000";

fn by_filter(name: &str, values: &[&str]) -> DescribeVolumes {
    DescribeVolumes { filters: vec![Filter::new(name, values.iter().copied())], ..DescribeVolumes::default() }
}

#[test]
fn one_missing_id_fails_the_call_and_a_filter_leaves_it_out() {
    let mut world = World::new();
    let ids = vec![world.volume.clone(), UNKNOWN.to_owned()];
    let request = DescribeVolumes { volume_ids: ids.clone(), ..DescribeVolumes::default() };
    assert_eq!(world.err(request), "InvalidVolume.NotFound");
    let found = world.ok(by_filter("volume-id", &[&ids[0], UNKNOWN])).volumes;
    assert_eq!(found.iter().map(|volume| &volume.volume_id).collect::<Vec<_>>(), [&ids[0]]);
    let request = DescribeInstances { instance_ids: vec!["i-00000000000000000".into()], ..Default::default() };
    assert_eq!(world.err(request), "InvalidInstanceID.NotFound");
}

#[test]
fn volumes_are_found_by_holder_and_by_tag() {
    let mut world = World::new();
    let source = world.source.clone();
    // The holder's root disk is a volume like any other.
    let held = world.ok(by_filter("attachment.instance-id", &[&source])).volumes;
    let devices: Vec<&str> = held.iter().map(|volume| volume.attachments[0].device.as_str()).collect();
    assert_eq!(devices.len(), 2);
    assert!(devices.contains(&"/dev/sdf") && devices.contains(&"/dev/xvda"));
    let tagged = CreateVolume {
        availability_zone: ZONE_B.into(),
        size_gib: Some(1),
        tags: [("Tier".to_owned(), "x".to_owned())].into(),
        ..CreateVolume::default()
    };
    let id = world.ok(tagged).volume_id;
    world.wait(5_000);
    for filter in [("tag:Tier", "x"), ("tag-key", "T*"), ("availability-zone", ZONE_B), ("status", "available")] {
        let found = world.ok(by_filter(filter.0, &[filter.1])).volumes;
        assert_eq!(found.iter().map(|volume| &volume.volume_id).collect::<Vec<_>>(), [&id], "{filter:?}");
    }
    assert!(world.ok(by_filter("tag:Tier", &["y"])).volumes.is_empty());
}

#[test]
fn pages_are_followed_to_the_end() {
    let mut world = World::new();
    for _ in 0..9 {
        world.ok(CreateVolume { availability_zone: ZONE_B.into(), size_gib: Some(1), ..CreateVolume::default() });
    }
    world.wait(5_000);
    let mut request = by_filter("availability-zone", &[ZONE_B]);
    request.paging = Paging { max_results: Some(5), next_token: None };
    let first = world.ok(request.clone());
    assert_eq!(first.volumes.len(), 5);
    request.paging.next_token = first.next_token;
    let second = world.ok(request.clone());
    assert_eq!((second.volumes.len(), second.next_token), (4, None));
    request.paging.max_results = Some(4);
    assert_eq!(world.err(request.clone()), "InvalidParameterValue");
    request.volume_ids = vec![world.volume.clone()];
    assert_eq!(world.err(request), "InvalidParameterCombination");
}

#[test]
fn an_instance_shows_its_devices_and_its_status() {
    let mut world = World::new();
    let (source, volume) = (world.source.clone(), world.volume.clone());
    let request = DescribeInstances {
        filters: vec![Filter::new("block-device-mapping.volume-id", [volume.clone()])],
        ..DescribeInstances::default()
    };
    let shown = world.ok(request).instances.remove(0);
    assert_eq!((shown.instance_id.as_str(), shown.state_code), (source.as_str(), 16));
    assert_eq!(shown.tags["aws:autoscaling:groupName"], "standard-asg");
    let data = shown.block_devices.iter().find(|device| device.volume_id == volume).unwrap();
    assert_eq!((data.device_name.as_str(), data.status.as_str()), ("/dev/sdf", "attached"));

    let status = |world: &mut World| {
        let request = DescribeInstanceStatus { instance_ids: vec![source.clone()], ..Default::default() };
        world.ok(request).statuses.remove(0).instance_status
    };
    assert_eq!(status(&mut world), "ok");
    let dead = Fault::InstanceDead { instance_id: source.clone() };
    world.fault(dead.clone(), None);
    assert_eq!(status(&mut world), "impaired");
    world.clear(dead);
    assert_eq!(status(&mut world), "initializing");
    world.wait(15_000);
    assert_eq!(status(&mut world), "ok");
}

#[test]
fn a_new_instance_is_not_found_at_first() {
    let mut world = World::new();
    let launch_ms = world.now + 2_000;
    let id = world.ok(world.launch(LARGE, ZONE_A, "t")).instances[0].instance_ids[0].clone();
    let request = DescribeInstances { instance_ids: vec![id.clone()], ..Default::default() };
    world.now = launch_ms + 300 - 75 - 1;
    assert_eq!(world.err(request.clone()), "InvalidInstanceID.NotFound");
    world.now = launch_ms + 300 - 75;
    assert_eq!(world.ok(request.clone()).instances[0].state, "pending");
    let none = DescribeInstanceStatus { instance_ids: vec![id.clone()], ..Default::default() };
    assert!(world.ok(none.clone()).statuses.is_empty());
    let all = DescribeInstanceStatus { include_all_instances: true, ..none };
    assert_eq!(world.ok(all).statuses[0].instance_status, "not-applicable");
    world.now = launch_ms + 10_000 + 300 - 75;
    assert_eq!(world.ok(request).instances[0].state, "running");
}

#[test]
fn places_say_what_they_offer() {
    let mut world = World::new();
    let offered = |world: &mut World, instance_type: &str, zone: &str| {
        let filters = vec![Filter::new("instance-type", [instance_type]), Filter::new("location", [zone])];
        let location_type = "availability-zone".to_owned();
        let request = DescribeInstanceTypeOfferings { location_type, filters, paging: Paging::default() };
        world.ok(request).offerings.len()
    };
    assert_eq!(offered(&mut world, "m7g.large", ZONE_A), 1);
    assert_eq!(offered(&mut world, "m7g.large", "us-east-1c"), 0);
    assert_eq!(offered(&mut world, "r7g.xlarge", ZONE_A), 0);
    let filters = vec![Filter::new("availability-zone", [ZONE_B])];
    let subnets = world.ok(DescribeSubnets { filters, ..DescribeSubnets::default() }).subnets;
    assert_eq!(subnets.len(), 2);
    assert!(subnets.iter().all(|subnet| subnet.availability_zone_id == "use1-az2"));
}
