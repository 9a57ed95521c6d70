//! EC2's calls for instances and places by the SDK: success and refusal of each, and pages.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    AttachmentStatus, EbsInstanceBlockDeviceSpecification, Instance, InstanceBlockDeviceMappingSpecification,
    InstanceStateName, LocationType, SummaryStatus,
};
use serde_json::json;

use crate::kit::{MISSING_INSTANCE, World, ZONE_A, ZONE_B, code, eventually, filter};

async fn instance(world: &World, id: &str) -> Instance {
    let read = world.ec2.describe_instances().filters(filter("instance-id", id)).send().await.unwrap();
    read.reservations.unwrap().remove(0).instances.unwrap().remove(0)
}

#[tokio::test]
async fn describe_instances_follows_its_pages() {
    let world = World::new().await;
    let mut pages = world.ec2.describe_instances().max_results(5).into_paginator().items().send();
    let mut seen = BTreeSet::new();
    while let Some(reservation) = pages.next().await {
        for instance in reservation.unwrap().instances.unwrap() {
            assert!(seen.insert(instance.instance_id.unwrap()), "each once");
        }
    }
    let seeded: BTreeSet<String> = world.fleet.instances.iter().map(|i| i.instance_id.clone()).collect();
    assert_eq!(seen, seeded);

    let seeded = world.fleet.instances.iter().find(|i| i.volume_id.is_some()).unwrap();
    let read = instance(&world, &seeded.instance_id).await;
    assert_eq!(read.state().unwrap().name(), Some(&InstanceStateName::Running));
    assert_eq!(read.state().unwrap().code(), Some(16));
    assert_eq!(read.private_ip_address(), Some(seeded.private_ip.as_str()));
    assert_eq!(read.instance_type().unwrap().as_str(), seeded.instance_type);
    assert_eq!(read.placement().unwrap().availability_zone(), Some(seeded.availability_zone.as_str()));
    assert!(
        read.tags()
            .iter()
            .any(|t| t.key() == Some("aws:autoscaling:groupName") && t.value() == Some(&seeded.group_name))
    );
    let device = read.block_device_mappings().iter().find(|d| d.device_name() == Some("/dev/sdf")).unwrap();
    assert_eq!(device.ebs().unwrap().volume_id(), seeded.volume_id.as_deref());
    assert_eq!(device.ebs().unwrap().status(), Some(&AttachmentStatus::Attached));
    assert_eq!(read.root_device_name(), Some("/dev/xvda"));

    let ids = |id: &str| world.ec2.describe_instances().instance_ids(id).send();
    assert_eq!(code(ids(MISSING_INSTANCE).await), "InvalidInstanceID.NotFound");
    assert_eq!(code(ids("i-nonsense").await), "InvalidInstanceID.Malformed");
}

#[tokio::test]
async fn status_checks_tell_a_dead_host() {
    let world = World::new().await;
    let dead = world.idle(ZONE_A).instance_id.clone();
    let status = || world.ec2.describe_instance_status().instance_ids(&dead).include_all_instances(true).send();
    let before = status().await.unwrap();
    let shown = &before.instance_statuses()[0];
    assert_eq!(shown.instance_status().unwrap().status(), Some(&SummaryStatus::Ok));
    assert_eq!(shown.system_status().unwrap().status(), Some(&SummaryStatus::Ok));
    world.fault(json!({ "fault": "instance_dead", "instance_id": dead })).await;
    let after = eventually("impaired instance", async || {
        let read = status().await.unwrap();
        let shown = read.instance_statuses()[0].clone();
        (shown.instance_status()?.status() == Some(&SummaryStatus::Impaired)).then_some(shown)
    })
    .await;
    assert_eq!(after.instance_state().unwrap().name(), Some(&InstanceStateName::Running));
    let mut pages = world.ec2.describe_instance_status().max_results(5).into_paginator().items().send();
    let mut count = 0;
    while let Some(status) = pages.next().await {
        status.unwrap();
        count += 1;
    }
    assert_eq!(count, world.fleet.instances.len());
    let missing = world.ec2.describe_instance_status().instance_ids(MISSING_INSTANCE).send().await;
    assert_eq!(code(missing), "InvalidInstanceID.NotFound");
}

#[tokio::test]
async fn modify_instance_attribute_keeps_a_volume() {
    let world = World::new().await;
    let seeded = world.fleet.instances.iter().find(|i| i.volume_id.is_some()).unwrap();
    let keep = |device: &str, delete: bool| {
        let ebs = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(delete).build();
        let mapping = InstanceBlockDeviceMappingSpecification::builder().device_name(device).ebs(ebs).build();
        world.ec2.modify_instance_attribute().instance_id(&seeded.instance_id).block_device_mappings(mapping).send()
    };
    keep("/dev/sdf", true).await.unwrap();
    let id = seeded.volume_id.as_deref().unwrap();
    world.volume_becomes(id, |v| v.attachments()[0].delete_on_termination() == Some(true)).await;
    keep("/dev/sdf", false).await.unwrap();
    world.volume_becomes(id, |v| v.attachments()[0].delete_on_termination() == Some(false)).await;
    assert_eq!(code(keep("/dev/sdz", false).await), "InvalidInstanceAttributeValue");
}

#[tokio::test]
async fn terminate_instances() {
    let world = World::new().await;
    let id = world.idle(ZONE_A).instance_id.clone();
    let mixed = world.ec2.terminate_instances().instance_ids(&id).instance_ids(MISSING_INSTANCE).send().await;
    assert_eq!(code(mixed), "InvalidInstanceID.NotFound");
    let answer = world.ec2.terminate_instances().instance_ids(&id).send().await.unwrap();
    let change = &answer.terminating_instances()[0];
    assert_eq!(change.instance_id(), Some(id.as_str()));
    assert_eq!(change.previous_state().unwrap().name(), Some(&InstanceStateName::Running));
    assert_eq!(change.current_state().unwrap().name(), Some(&InstanceStateName::ShuttingDown));
    let gone = eventually("terminated instance", async || {
        let read = instance(&world, &id).await;
        (read.state()?.name() == Some(&InstanceStateName::Terminated)).then_some(read)
    })
    .await;
    assert_eq!(gone.private_ip_address(), None);
    assert_eq!(gone.state_reason().unwrap().code(), Some("Client.UserInitiatedShutdown"));
    world.ec2.terminate_instances().instance_ids(&id).send().await.expect("once more is no error");
}

#[tokio::test]
async fn offerings_and_subnets() {
    let world = World::new().await;
    let by_zone = || world.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
    let offered = by_zone().filters(filter("instance-type", "m7g.large")).send().await.unwrap();
    let zones: Vec<&str> = offered.instance_type_offerings().iter().map(|o| o.location().unwrap()).collect();
    assert_eq!(zones, [ZONE_A, ZONE_B]);
    let mut pages = by_zone().max_results(5).into_paginator().items().send();
    let mut seen = BTreeSet::new();
    while let Some(offering) = pages.next().await {
        let offering = offering.unwrap();
        assert!(seen.insert((offering.location.unwrap(), offering.instance_type.unwrap().as_str().to_owned())));
    }
    assert_eq!(seen.len(), 6, "three types in two zones");
    let wrong = world.ec2.describe_instance_type_offerings().location_type(LocationType::from("planet"));
    assert_eq!(code(wrong.send().await), "InvalidParameterValue");

    let subnets = world.ec2.describe_subnets().send().await.unwrap();
    assert_eq!(subnets.subnets().len(), 6, "three groups in two zones");
    let first = &subnets.subnets()[0];
    let again = world.ec2.describe_subnets().subnet_ids(first.subnet_id().unwrap()).send().await.unwrap();
    assert_eq!(again.subnets()[0].availability_zone(), first.availability_zone());
    assert!(first.cidr_block().is_some() && first.vpc_id().is_some());
    let missing = world.ec2.describe_subnets().subnet_ids("subnet-00000000000000001").send().await;
    assert_eq!(code(missing), "InvalidSubnetID.NotFound");
}
