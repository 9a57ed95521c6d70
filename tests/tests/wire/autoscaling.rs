//! Auto Scaling's calls by the SDK: success and refusal of each, and pages.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::types::{LifecycleState, RetryStrategy, ScalingActivityStatusCode};
use http::Method;
use serde_json::json;

use crate::kit::{MISSING_INSTANCE, World, ZONE_A, ZONE_B, autoscaling_as, code, eventually};

#[tokio::test]
async fn groups_and_members_follow_their_pages() {
    let world = World::new().await;
    let mut pages = world.autoscaling.describe_auto_scaling_groups().max_records(1).into_paginator().send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert_eq!(page.auto_scaling_groups().len(), 1);
        names.push(page.auto_scaling_groups()[0].auto_scaling_group_name().unwrap().to_owned());
    }
    let seeded: BTreeSet<String> = world.fleet.groups.iter().map(|group| group.name.clone()).collect();
    assert_eq!(names.len(), 3);
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), seeded);

    let name = world.group("ladybug-large");
    let one = world.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
    let one = one.auto_scaling_group_names("nobody's").send().await.unwrap();
    assert_eq!(one.auto_scaling_groups().len(), 1, "an unknown name is absent");
    let group = &one.auto_scaling_groups()[0];
    let members: BTreeSet<&str> = group.instances().iter().filter_map(|i| i.instance_id()).collect();
    let expected: BTreeSet<&str> =
        world.fleet.instances.iter().filter(|i| i.group_name == name).map(|i| i.instance_id.as_str()).collect();
    assert_eq!(members, expected);
    assert_eq!(group.desired_capacity(), i32::try_from(expected.len()).ok());
    assert_eq!((group.min_size(), group.max_size()), (Some(0), Some(60)));
    assert_eq!(group.availability_zones(), [ZONE_A, ZONE_B]);
    assert_eq!(group.vpc_zone_identifier().unwrap().split(',').count(), 2);
    assert_eq!((group.health_check_type(), group.new_instances_protected_from_scale_in()), (Some("EC2"), Some(true)));
    assert_eq!(group.suspended_processes()[0].process_name(), Some("AZRebalance"));
    assert!(group.tags().iter().any(|tag| tag.key() == Some("Tier") && tag.value() == Some("ladybug-large")));
    let member = &group.instances()[0];
    assert_eq!((member.lifecycle_state(), member.health_status()), (Some(&LifecycleState::InService), Some("Healthy")));
    assert_eq!((member.instance_type(), member.protected_from_scale_in()), (Some("m7g.large"), Some(true)));

    let mut pages = world.autoscaling.describe_auto_scaling_instances().max_records(5).into_paginator().items().send();
    let mut seen = BTreeSet::new();
    while let Some(member) = pages.next().await {
        assert!(seen.insert(member.unwrap().instance_id.unwrap()), "each once");
    }
    assert_eq!(seen.len(), world.fleet.instances.len());
    let few = world.autoscaling.describe_auto_scaling_instances().instance_ids(MISSING_INSTANCE);
    let few = few.instance_ids(&world.fleet.instances[0].instance_id).send().await.unwrap();
    assert_eq!(few.auto_scaling_instances().len(), 1, "an unknown id is absent");
    assert_eq!(
        few.auto_scaling_instances()[0].auto_scaling_group_name(),
        Some(world.fleet.instances[0].group_name.as_str())
    );

    let groups = world.autoscaling.describe_auto_scaling_groups();
    assert_eq!(code(groups.clone().max_records(101).send().await), "ValidationError");
    assert_eq!(code(groups.next_token("nonsense").send().await), "InvalidNextToken");
    let members = world.autoscaling.describe_auto_scaling_instances();
    assert_eq!(code(members.max_records(51).send().await), "ValidationError");
}

#[tokio::test]
async fn launch_protect_and_terminate() {
    let world = World::new().await;
    let group = world.group("ladybug-large");
    let launch = |token: &str, count: i32| {
        let call = world.autoscaling.launch_instances().auto_scaling_group_name(group).client_token(token);
        call.requested_capacity(count).availability_zones(ZONE_B).retry_strategy(RetryStrategy::None).send()
    };
    let made = launch("t-1", 1).await.unwrap();
    let collection = &made.instances()[0];
    let id = collection.instance_ids()[0].clone();
    assert_eq!((collection.availability_zone(), collection.instance_type()), (Some(ZONE_B), Some("m7g.large")));
    assert_eq!((made.client_token(), made.auto_scaling_group_name()), (Some("t-1"), Some(group)));
    assert!(made.errors().is_empty());
    assert_eq!(launch("t-1", 1).await.unwrap().instances()[0].instance_ids()[0], id, "the same token");
    assert_eq!(code(launch("t-1", 2).await), "IdempotentParameterMismatch");
    assert_eq!(code(launch("t-2", 60).await), "ValidationError");

    let protect = |id: &str, on: bool| {
        let call = world.autoscaling.set_instance_protection().auto_scaling_group_name(group).instance_ids(id);
        call.protected_from_scale_in(on).send()
    };
    assert_eq!(code(protect(MISSING_INSTANCE, true).await), "ValidationError");
    eventually("instance in service", async || {
        let read = world.autoscaling.describe_auto_scaling_instances().instance_ids(&id).send().await.unwrap();
        (read.auto_scaling_instances()[0].lifecycle_state() == Some("InService")).then_some(())
    })
    .await;
    protect(&id, false).await.unwrap();
    let read = world.autoscaling.describe_auto_scaling_instances().instance_ids(&id).send().await.unwrap();
    assert_eq!(read.auto_scaling_instances()[0].protected_from_scale_in(), Some(false));

    let activities = || world.autoscaling.describe_scaling_activities().auto_scaling_group_name(group);
    let launched = activities().max_records(1).send().await.unwrap();
    assert_eq!(launched.activities()[0].description(), Some(format!("Launching a new EC2 instance: {id}").as_str()));
    assert_eq!(launched.activities()[0].status_code(), Some(&ScalingActivityStatusCode::Successful));
    assert!(launched.activities()[0].end_time().is_some());

    let terminate = |id: &str| {
        let call = world.autoscaling.terminate_instance_in_auto_scaling_group().instance_id(id);
        call.should_decrement_desired_capacity(true).send()
    };
    let activity = terminate(&id).await.unwrap().activity.unwrap();
    assert_eq!(activity.status_code(), Some(&ScalingActivityStatusCode::InProgress));
    assert_eq!(activity.auto_scaling_group_name(), Some(group));
    assert_eq!(code(terminate(MISSING_INSTANCE).await), "ValidationError");
    let mut pages = activities().max_records(1).into_paginator().items().send();
    let mut seen = BTreeSet::new();
    while let Some(activity) = pages.next().await {
        assert!(seen.insert(activity.unwrap().activity_id.unwrap()), "each once");
    }
    assert_eq!(seen.len(), 2, "a launch and a termination");
    let unknown = world.autoscaling.describe_scaling_activities().auto_scaling_group_name("nobody's").send().await;
    assert_eq!(code(unknown), "ValidationError");
}

#[tokio::test]
async fn a_launch_without_capacity_succeeds_with_errors() {
    let world = World::new().await;
    world.fault(json!({ "fault": "no_capacity" })).await;
    let group = world.group("ladybug-large");
    let call = world.autoscaling.launch_instances().auto_scaling_group_name(group).client_token("t-1");
    let answer = call.requested_capacity(1).availability_zones(ZONE_B).send().await.unwrap();
    assert!(answer.instances().is_empty());
    assert_eq!(answer.errors()[0].error_code(), Some("InsufficientInstanceCapacity"));
    assert_eq!(answer.errors()[0].availability_zone(), Some(ZONE_B));
}

#[tokio::test]
async fn instance_refreshes() {
    let world = World::new().await;
    let group = world.group("ladybug-large");
    let refreshes = |group: &str| world.autoscaling.describe_instance_refreshes().auto_scaling_group_name(group).send();
    assert!(refreshes(group).await.unwrap().instance_refreshes().is_empty());
    let edit = Some(json!({ "refresh_in_progress": true }));
    let (status, body) = world.http.ask(Method::POST, &format!("/sim/groups/{group}"), None, edit).await.unwrap();
    assert_eq!(status, 200, "{body}");
    let shown = refreshes(group).await.unwrap();
    assert_eq!(shown.instance_refreshes()[0].status().unwrap().as_str(), "InProgress");
    assert_eq!(shown.instance_refreshes()[0].end_time(), None);
    assert_eq!(code(refreshes("nobody's").await), "ValidationError");
}

#[tokio::test]
async fn only_the_right_key_is_let_in() {
    let world = World::new().await;
    let stranger = autoscaling_as(&world.running.cloud_url, "stranger");
    assert_eq!(code(stranger.describe_auto_scaling_groups().send().await), "InvalidClientTokenId");
    let desired =
        world.autoscaling.set_desired_capacity().auto_scaling_group_name("g").desired_capacity(1).send().await;
    assert_eq!(code(desired), "InvalidAction", "never called by the product, so not there");
}
