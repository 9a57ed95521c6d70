//! volume-svc's own adapters over the simulated cloud: what they ask for is understood, what they read is complete.

use cloud_sim::seed::FleetGraph;
use tiershift_core::ids::{AnyGraphId, ChangeId, GroupName, InstanceId, SnapshotId, VolumeId, Zone};
use volume_svc::adapters::agent::HttpAgent;
use volume_svc::adapters::aws::autoscaling::AutoScaling;
use volume_svc::adapters::aws::ec2::Ec2;
use volume_svc::adapters::aws::{Aws, Identity, Settings};
use volume_svc::ports::agent::{Address, Agent as _, AgentError, Order, Scope, VolumeState as AgentState};
use volume_svc::ports::cloud::{
    AttachmentState, AutoScalingApi as _, Check, Class, CreateVolume, Ec2Api as _, HealthCheck, LaunchRequest,
    Lifecycle, Process, SnapshotFilter, SnapshotRequest, SnapshotState, Tags, Thing, Volume, VolumeFilter, VolumeState,
};

use crate::kit::{KEY, MISSING_SNAPSHOT, MISSING_VOLUME, World, ZONE_A, ZONE_B, eventually};

struct Adapters {
    ec2: Ec2,
    autoscaling: AutoScaling,
    agent: HttpAgent,
}

pub async fn aws(world: &World) -> Aws {
    let settings = Settings {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(world.running.cloud_url.clone()),
        dynamodb_endpoint_url: Some(world.running.dynamodb_url.clone()),
        identity: Identity::Dev,
    };
    Aws::load(&settings).await.unwrap()
}

async fn adapters(world: &World) -> Adapters {
    let aws = aws(world).await;
    Adapters { ec2: aws.ec2(), autoscaling: aws.autoscaling(), agent: HttpAgent::new(KEY).unwrap() }
}

fn volume_id(id: &str) -> VolumeId {
    VolumeId::parse(id).unwrap()
}

fn instance_id(id: &str) -> InstanceId {
    InstanceId::parse(id).unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn tags(key: &str, value: &str) -> Tags {
    [(key.to_owned(), value.to_owned())].into()
}

async fn volume(ec2: &Ec2, id: &VolumeId) -> Volume {
    let filter = VolumeFilter { ids: vec![id.clone()], ..VolumeFilter::default() };
    ec2.describe_volumes(&filter).await.unwrap().remove(0)
}

async fn becomes(ec2: &Ec2, id: &VolumeId, wanted: Option<AttachmentState>) {
    eventually("attachment as wanted", async || {
        let state = volume(ec2, id).await.attachments.first().map(|attachment| attachment.state.clone());
        (state == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ec2_reads_are_complete() {
    let world = World::new().await;
    let Adapters { ec2, .. } = adapters(&world).await;
    let seeded = &world.fleet.volumes[0];
    let read = volume(&ec2, &volume_id(&seeded.volume_id)).await;
    assert_eq!((read.state, read.size_gib), (VolumeState::InUse, i64::from(seeded.size_gib)));
    assert_eq!((read.zone, read.snapshot_id), (zone(&seeded.availability_zone), None));
    assert_eq!(read.attachments[0].instance_id, Some(instance_id(&seeded.instance_id)));
    assert!(!read.attachments[0].delete_on_termination);
    let by_tag = VolumeFilter { tags: tags("NodeType", "writer"), ..VolumeFilter::default() };
    assert_eq!(ec2.describe_volumes(&by_tag).await.unwrap().len(), world.fleet.volumes.len());

    let ids: Vec<InstanceId> = world.fleet.instances.iter().map(|i| instance_id(&i.instance_id)).collect();
    let instances = ec2.describe_instances(&ids).await.unwrap();
    assert_eq!(instances.len(), ids.len());
    for instance in &instances {
        let seeded = world.fleet.instances.iter().find(|i| i.instance_id == instance.instance_id.as_str()).unwrap();
        assert_eq!(instance.private_ip.as_ref(), Some(&seeded.private_ip));
        let data = instance.block_devices.iter().find(|d| Some(&d.device) != instance.root_device.as_ref());
        assert_eq!(data.and_then(|d| d.volume_id.clone()), seeded.volume_id.as_deref().map(volume_id));
    }
    let statuses = ec2.describe_instance_status(&ids).await.unwrap();
    assert!(statuses.len() == ids.len() && statuses.iter().all(|s| s.system == Check::Ok && s.instance == Check::Ok));
    assert_eq!(ec2.describe_instance_type_offerings("m7g.large").await.unwrap(), [zone(ZONE_A), zone(ZONE_B)]);
    let subnet = instances[0].subnet_id.clone().unwrap();
    assert_eq!(ec2.describe_subnets(&[subnet]).await.unwrap()[0].zone, instances[0].zone);
    let missing = ec2.delete_snapshot(&SnapshotId::parse(MISSING_SNAPSHOT).unwrap()).await.unwrap_err();
    assert_eq!(missing.class, Class::NotFound(Thing::Snapshot));
    assert!(missing.request_id.is_some());
}

#[tokio::test]
async fn ec2_writes_are_understood() {
    let world = World::new().await;
    let Adapters { ec2, .. } = adapters(&world).await;
    let request = CreateVolume {
        client_token: "t-1".to_owned(),
        zone: zone(ZONE_A),
        size_gib: 10,
        volume_type: "gp3".to_owned(),
        iops: Some(3_000),
        throughput_mib: Some(125),
        encrypted: true,
        kms_key_id: None,
        snapshot_id: None,
        tags: tags("Name", "new"),
    };
    let made = ec2.create_volume(&request).await.unwrap();
    let id = made.volume_id;
    eventually("available volume", async || {
        let filter = VolumeFilter { ids: vec![id.clone()], ..VolumeFilter::default() };
        let read = ec2.describe_volumes(&filter).await.unwrap();
        read.first().is_some_and(|v| v.state == VolumeState::Available).then_some(())
    })
    .await;
    let target = instance_id(&world.idle(ZONE_A).instance_id);
    assert_eq!(ec2.attach_volume(&id, &target, "/dev/sdg").await.unwrap().state, AttachmentState::Attaching);
    becomes(&ec2, &id, Some(AttachmentState::Attached)).await;
    assert_eq!(ec2.attach_volume(&id, &target, "/dev/sdh").await.unwrap_err().class, Class::VolumeInUse);
    ec2.modify_instance_attribute(&target, "/dev/sdg").await.unwrap();
    ec2.create_tags(&[id.to_string()], &tags("Tier", "ladybug-large")).await.unwrap();
    assert_eq!(ec2.detach_volume(&id, &target, "/dev/sdg").await.unwrap().state, AttachmentState::Detaching);
    becomes(&ec2, &id, None).await;
    assert_eq!(ec2.detach_volume(&id, &target, "/dev/sdg").await.unwrap_err().class, Class::IncorrectState);
    let missing = ec2.attach_volume(&volume_id(MISSING_VOLUME), &target, "/dev/sdg").await.unwrap_err();
    assert_eq!(missing.class, Class::NotFound(Thing::Volume));
    world.fault(serde_json::json!({ "fault": "lost_answer_after", "api": "AttachVolume", "count": 1 })).await;
    assert_eq!(ec2.attach_volume(&id, &target, "/dev/sdi").await.unwrap_err().class, Class::Unknown);
    becomes(&ec2, &id, Some(AttachmentState::Attached)).await;

    let request = SnapshotRequest { volume_id: id.clone(), description: "d".to_owned(), tags: tags("change", "chg_1") };
    let snapshot = ec2.create_snapshot(&request).await.unwrap();
    assert_eq!(snapshot.state, SnapshotState::Pending);
    let by_tag = SnapshotFilter { tags: tags("change", "chg_1"), ..SnapshotFilter::default() };
    eventually("completed snapshot", async || {
        let found = ec2.describe_snapshots(&by_tag).await.unwrap();
        found.first().is_some_and(|s| s.state == SnapshotState::Completed).then_some(())
    })
    .await;
    assert!(ec2.describe_volumes_modifications(&[id]).await.unwrap().is_empty(), "never modified");
}

#[tokio::test]
async fn autoscaling_is_understood() {
    let world = World::new().await;
    let Adapters { autoscaling, ec2, .. } = adapters(&world).await;
    let name = GroupName::parse(world.group("ladybug-large")).unwrap();
    let group = autoscaling.describe_auto_scaling_groups(std::slice::from_ref(&name)).await.unwrap().remove(0);
    assert_eq!(group.zones, [zone(ZONE_A), zone(ZONE_B)]);
    assert_eq!((group.health_checks, group.suspended), (vec![HealthCheck::Ec2], vec![Process::AzRebalance]));
    assert!(group.new_members_protected && !group.replaces_by_age && !group.warm_pool && !group.deleting);
    assert!(group.members.iter().all(|m| m.lifecycle == Lifecycle::InService && m.healthy && m.protected));
    assert!(autoscaling.describe_instance_refreshes(&name).await.unwrap().is_empty());

    let request = LaunchRequest { group: name.clone(), client_token: "t-1".to_owned(), zone: zone(ZONE_B) };
    let launched = autoscaling.launch_instances(&request).await.unwrap();
    assert!(launched.faults.is_empty());
    let id = launched.instances[0].clone();
    let in_service = async || {
        let read = autoscaling.describe_auto_scaling_instances(std::slice::from_ref(&id)).await.unwrap();
        (read[0].lifecycle == Lifecycle::InService).then_some(())
    };
    eventually("instance in service", in_service).await;
    autoscaling.set_instance_protection(&name, std::slice::from_ref(&id), true).await.unwrap();
    assert_eq!(autoscaling.describe_scaling_activities(&name, 10).await.unwrap().len(), 1);
    autoscaling.terminate_instance_in_auto_scaling_group(&id, true).await.unwrap();
    ec2.terminate_instances(&id).await.expect("once more is no error");
    let unknown = instance_id("i-00000000000000001");
    let refused = autoscaling.terminate_instance_in_auto_scaling_group(&unknown, true).await.unwrap_err();
    assert_eq!(refused.class, Class::IncorrectState);
    world.fault(serde_json::json!({ "fault": "no_capacity" })).await;
    let request = LaunchRequest { client_token: "t-2".to_owned(), ..request };
    assert_eq!(autoscaling.launch_instances(&request).await.unwrap().faults[0].class, Class::NoCapacity);
}

#[tokio::test]
async fn the_agents_contract_is_the_same_on_both_sides() {
    let world = World::new().await;
    let Adapters { agent, .. } = adapters(&world).await;
    let graph: FleetGraph = world.graph("upgrade-idle").clone();
    let at = |instance: &str| Address {
        endpoint_url: Some(format!("{}/agents/{instance}", world.running.cloud_url)),
        private_ip: None,
    };
    let here = at(&graph.instance_id);
    let order = Order {
        migration_id: ChangeId::parse(format!("chg_{:026}", 1)).unwrap(),
        fence: 7,
        volume_id: volume_id(&graph.volume_id),
        instance_id: instance_id(&graph.instance_id),
    };
    let graph_id = AnyGraphId::parse(graph.graph_id.as_str()).unwrap();
    assert!(agent.health(&here).await.unwrap().is_healthy());
    assert_eq!(agent.info(&here).await.unwrap().engine, "ladybug");
    assert_eq!(agent.usage(&here).await.unwrap().graphs[&graph.graph_id], graph.used_bytes);
    let serving = agent.volume(&here).await.unwrap();
    assert_eq!((serving.state, serving.fence), (AgentState::Serving, None));
    agent.drain(&here, &order, Scope::All).await.unwrap();
    eventually("quiet engine", async || {
        let counts = agent.connections(&here).await.unwrap();
        (counts.active_connections == 0 && counts.active_writes == 0).then_some(())
    })
    .await;
    let before = agent.probe(&here, &graph_id).await.unwrap();
    let late = Order { fence: 6, ..order.clone() };
    assert!(matches!(agent.release(&here, &late).await, Err(AgentError::Fenced)));
    agent.release(&here, &order).await.unwrap();
    let released = eventually("released volume", async || {
        let read = agent.volume(&here).await.unwrap();
        (read.state == AgentState::Released).then_some(read)
    })
    .await;
    assert!(!released.mounted && released.fence == Some(7) && released.sees(&order.volume_id));
    agent.adopt(&here, &order, released.fs_uuid.as_deref()).await.unwrap();
    eventually("adopted volume", async || {
        (agent.volume(&here).await.unwrap().state == AgentState::Adopted).then_some(())
    })
    .await;
    assert_eq!(agent.probe(&here, &graph_id).await.unwrap(), before);
    agent.resume(&here, &order).await.unwrap();

    let stranger = HttpAgent::new("wrong").unwrap();
    assert!(matches!(stranger.info(&here).await, Err(AgentError::Unauthorized)));
    let nobody = at("i-00000000000000001");
    assert!(matches!(agent.health(&nobody).await, Err(AgentError::Unknown(_))));
}
