//! Faults as volume-svc's own adapters meet them: how each of them is understood.

use serde_json::json;
use tiershift_core::ids::{ChangeId, GroupName, InstanceId, VolumeId, Zone};
use volume_svc::adapters::agent::HttpAgent;
use volume_svc::adapters::aws::{Aws, Identity, Settings};
use volume_svc::ports::agent::{Address, Agent as _, AgentError, Order, Scope, VolumeState};
use volume_svc::ports::cloud::{
    AutoScalingApi as _, Check, Class, Ec2Api as _, LaunchRequest, Lifecycle, SnapshotFilter, SnapshotRequest,
    SnapshotState, Tags,
};

use crate::kit::{KEY, World, ZONE_A, ZONE_B, eventually};

async fn aws(world: &World) -> Aws {
    let settings = Settings {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(world.running.cloud_url.clone()),
        dynamodb_endpoint_url: Some(world.running.dynamodb_url.clone()),
        identity: Identity::Dev,
    };
    Aws::load(&settings).await.unwrap()
}

fn launch(world: &World, token: &str) -> LaunchRequest {
    LaunchRequest {
        group: GroupName::parse(world.group("ladybug-large")).unwrap(),
        client_token: token.to_owned(),
        zone: Zone::parse(ZONE_B).unwrap(),
    }
}

#[tokio::test]
async fn a_failed_snapshot_is_read_as_one() {
    let world = World::new().await;
    let ec2 = aws(&world).await.ec2();
    world.fault(json!({ "fault": "failed_snapshot", "count": 1 })).await;
    let tags: Tags = [("change".to_owned(), "chg_1".to_owned())].into();
    let volume_id = VolumeId::parse(world.volume(ZONE_A).await).unwrap();
    let request = SnapshotRequest { volume_id, description: "d".to_owned(), tags: tags.clone() };
    assert_eq!(ec2.create_snapshot(&request).await.unwrap().state, SnapshotState::Pending);
    let filter = SnapshotFilter { tags, ..SnapshotFilter::default() };
    eventually("failed snapshot", async || {
        let found = ec2.describe_snapshots(&filter).await.unwrap();
        found.first().is_some_and(|snapshot| snapshot.state == SnapshotState::Error).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_launch_into_another_zone_is_seen_by_its_instance() {
    let world = World::new().await;
    let aws = aws(&world).await;
    world.fault(json!({ "fault": "wrong_zone", "count": 1 })).await;
    let launched = aws.autoscaling().launch_instances(&launch(&world, "t-1")).await.unwrap();
    let id = launched.instances[0].clone();
    let shown = eventually("visible instance", async || {
        aws.ec2().describe_instances(std::slice::from_ref(&id)).await.unwrap().pop()
    })
    .await;
    assert_eq!(shown.zone, Zone::parse(ZONE_A).unwrap());
}

#[tokio::test]
async fn an_instance_that_was_launched_without_an_agent_looks_well_to_aws() {
    let world = World::new().await;
    let aws = aws(&world).await;
    world.fault(json!({ "fault": "launch_without_agent", "count": 1 })).await;
    let id = aws.autoscaling().launch_instances(&launch(&world, "t-1")).await.unwrap().instances[0].clone();
    eventually("instance that passes its checks", async || {
        let status = aws.ec2().describe_instance_status(std::slice::from_ref(&id)).await.unwrap().pop()?;
        (status.system == Check::Ok && status.instance == Check::Ok).then_some(())
    })
    .await;
    let at = Address { endpoint_url: Some(format!("{}/agents/{id}", world.running.cloud_url)), private_ip: None };
    let agent = HttpAgent::new(KEY).unwrap();
    assert!(matches!(agent.health(&at).await, Err(AgentError::Unknown(_))));
}

#[tokio::test]
async fn an_instance_that_was_terminated_is_leaving_its_group() {
    let world = World::new().await;
    let aws = aws(&world).await;
    let id = InstanceId::parse(world.idle(ZONE_A).instance_id.as_str()).unwrap();
    world.fault(json!({ "fault": "instance_terminated", "instance_id": id.as_str() })).await;
    let members = aws.autoscaling().describe_auto_scaling_instances(std::slice::from_ref(&id)).await.unwrap();
    assert!(members.iter().all(|member| member.lifecycle != Lifecycle::InService), "{members:?}");
    let gone = eventually("end of the instance", async || {
        let members = aws.autoscaling().describe_auto_scaling_instances(std::slice::from_ref(&id)).await.unwrap();
        members.is_empty().then_some(())
    });
    gone.await;
}

#[tokio::test]
async fn a_server_error_and_a_lost_answer_are_both_unknown() {
    let world = World::new().await;
    let ec2 = aws(&world).await.ec2();
    let id = VolumeId::parse(world.volume(ZONE_A).await).unwrap();
    let target = InstanceId::parse(world.idle(ZONE_A).instance_id.as_str()).unwrap();
    for fault in ["server_error_before", "lost_answer_before", "server_error_after"] {
        world.fault(json!({ "fault": fault, "api": "AttachVolume", "count": 1 })).await;
        assert_eq!(ec2.attach_volume(&id, &target, "/dev/sdg").await.unwrap_err().class, Class::Unknown, "{fault}");
    }
    // The last one did it.
    assert_eq!(ec2.attach_volume(&id, &target, "/dev/sdg").await.unwrap_err().class, Class::VolumeInUse);
}

#[tokio::test]
async fn an_agent_that_is_silent_or_slow_is_unknown_and_may_have_done_it() {
    let world = World::new().await;
    let graph = world.graph("upgrade-idle").clone();
    let agent = HttpAgent::new(KEY).unwrap();
    let at = Address {
        endpoint_url: Some(format!("{}/agents/{}", world.running.cloud_url, graph.instance_id)),
        private_ip: None,
    };
    let order = Order {
        migration_id: ChangeId::parse(format!("chg_{:026}", 1)).unwrap(),
        fence: 7,
        volume_id: VolumeId::parse(graph.volume_id.as_str()).unwrap(),
        instance_id: InstanceId::parse(graph.instance_id.as_str()).unwrap(),
    };
    for (fault, state) in [("agent_silent", VolumeState::Serving), ("agent_slow", VolumeState::Drained)] {
        world.fault(json!({ "fault": fault, "instance_id": graph.instance_id, "count": 1 })).await;
        assert!(matches!(agent.drain(&at, &order, Scope::All).await, Err(AgentError::Unknown(_))), "{fault}");
        assert_eq!(agent.volume(&at).await.unwrap().state, state, "{fault}");
    }
    // Whatever is asked, with whatever path; the engine answers its clients.
    world.fault(json!({ "fault": "agent_silent" })).await;
    let path = format!("/agents/{}/nothing/here", graph.instance_id);
    assert!(world.http.ask(http::Method::GET, &path, None, None).await.is_err());
    assert_eq!(world.http.engine(&graph, "write", 1).await.0, 503, "drained, and not gone");
}
