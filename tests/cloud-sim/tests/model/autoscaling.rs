//! Groups: launching, protecting, terminating, replacing.

use cloud_sim::api::agent::AgentHealth;
use cloud_sim::api::autoscaling::{
    AutoScalingGroup, DescribeAutoScalingGroups, DescribeAutoScalingInstances, DescribeInstanceRefreshes,
    DescribeScalingActivities, LaunchInstances, SetInstanceProtection, TerminateInstanceInAutoScalingGroup,
};
use cloud_sim::api::control::EditGroup;
use cloud_sim::api::ec2::TerminateInstances;
use cloud_sim::api::{Call, Lost, Request};
use cloud_sim::faults::Fault;

use crate::kit::{LARGE, STANDARD, World, ZONE_A, ZONE_B};

fn group(world: &mut World, name: &str) -> AutoScalingGroup {
    let request = DescribeAutoScalingGroups { names: vec![name.into()], ..Default::default() };
    world.ok(request).groups.remove(0)
}

fn terminate(instance_id: &str, decrement: bool) -> TerminateInstanceInAutoScalingGroup {
    TerminateInstanceInAutoScalingGroup {
        instance_id: instance_id.into(),
        should_decrement_desired_capacity: decrement,
    }
}

fn health(world: &World, id: &str) -> Call {
    AgentHealth { to: world.to(id) }.into_call()
}

#[test]
fn a_launch_gives_an_instance_in_the_zone_that_comes_up_by_itself() {
    let mut world = World::new();
    let start_ms = world.now;
    let launched = world.ok(world.launch(LARGE, ZONE_B, "t"));
    assert_eq!(world.now, start_ms + 4_000);
    assert!(launched.errors.is_empty());
    let collection = &launched.instances[0];
    assert_eq!((collection.availability_zone.as_str(), collection.availability_zone_id.as_str()), (ZONE_B, "use1-az2"));
    let id = collection.instance_ids[0].clone();

    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (2, 2));
    let member = |world: &mut World| {
        let request = DescribeAutoScalingInstances { instance_ids: vec![id.clone()], ..Default::default() };
        world.ok(request).instances.remove(0).lifecycle_state
    };
    assert_eq!(member(&mut world), "Pending");
    // The launch takes effect half-way through the call; then 10 s to running, 15 s more to an agent.
    let up_ms = start_ms + 2_000 + 25_000;
    world.now = up_ms - 1;
    assert_eq!(world.lost(health(&world, &id)), Lost::Refused);
    world.now = up_ms;
    assert_eq!(world.ok(AgentHealth { to: world.to(&id) }).status, "healthy");
    assert_eq!(member(&mut world), "InService");
    let activities = world.ok(DescribeScalingActivities { group_name: Some(LARGE.into()), ..Default::default() });
    assert_eq!(activities.activities[0].status_code, "Successful");
    assert!(activities.activities[0].description.contains(&id));
}

#[test]
fn a_launch_token_gives_the_same_instances() {
    let mut world = World::new();
    let request = world.launch(LARGE, ZONE_A, "t");
    let start_ms = world.now;
    let first = world.ok(request.clone());
    world.now = start_ms + 3_999;
    assert_eq!(world.err(request.clone()), "IdempotentCallInProgress");
    assert_eq!(world.ok(request.clone()), first);
    let other = LaunchInstances { availability_zones: vec![ZONE_B.into()], ..request };
    assert_eq!(world.err(other), "IdempotentParameterMismatch");
    assert_eq!(group(&mut world, LARGE).desired_capacity, 2);
}

#[test]
fn a_lost_launch_is_found_again_by_its_token() {
    let mut world = World::new();
    let request = world.launch(LARGE, ZONE_A, "t");
    world.fault(Fault::LostAnswerAfter { api: "LaunchInstances".into() }, Some(1));
    assert_eq!(world.lost(request.clone().into_call()), Lost::After);
    assert_eq!(group(&mut world, LARGE).desired_capacity, 2);
    assert_eq!(world.ok(request.clone()).instances[0].instance_ids.len(), 1);
    assert_eq!(group(&mut world, LARGE).desired_capacity, 2);

    let request = LaunchInstances { client_token: "u".into(), ..request };
    world.fault(Fault::LostAnswerBefore { api: "LaunchInstances".into() }, Some(1));
    assert_eq!(world.lost(request.clone().into_call()), Lost::Before);
    assert_eq!(group(&mut world, LARGE).desired_capacity, 2);
    world.ok(request);
    assert_eq!(group(&mut world, LARGE).desired_capacity, 3);
}

#[test]
fn no_capacity_is_an_error_in_the_answer_and_an_activity() {
    let mut world = World::new();
    world.fault(Fault::NoCapacity, Some(1));
    let refused = world.ok(world.launch(LARGE, ZONE_A, "t"));
    assert!(refused.instances.is_empty());
    assert_eq!(refused.errors[0].error_code, "InsufficientInstanceCapacity");
    assert_eq!(group(&mut world, LARGE).desired_capacity, 1);
    let request = DescribeScalingActivities { group_name: Some(LARGE.into()), ..Default::default() };
    assert_eq!(world.ok(request).activities[0].status_code, "Failed");
    // The same token has its answer for good; a new one succeeds.
    assert_eq!(world.ok(world.launch(LARGE, ZONE_A, "t")), refused);
    assert_eq!(world.ok(world.launch(LARGE, ZONE_A, "u")).instances.len(), 1);

    world.sim.limit_capacity(ZONE_B, "m7g.large", 1).unwrap();
    assert!(world.ok(world.launch(LARGE, ZONE_B, "v")).errors.is_empty());
    assert_eq!(world.ok(world.launch(LARGE, ZONE_B, "w")).errors.len(), 1);
    assert!(world.ok(world.launch(LARGE, ZONE_A, "x")).errors.is_empty());
}

#[test]
fn launches_that_cannot_be_are_refused() {
    let mut world = World::new();
    let good = world.launch(LARGE, ZONE_A, "t");
    for bad in [
        LaunchInstances { group_name: "nope".into(), ..good.clone() },
        LaunchInstances { client_token: String::new(), ..good.clone() },
        LaunchInstances { availability_zones: Vec::new(), ..good.clone() },
        LaunchInstances { availability_zones: vec!["us-east-1c".into()], ..good.clone() },
        LaunchInstances { availability_zones: vec![ZONE_A.into(), ZONE_B.into()], ..good.clone() },
        LaunchInstances { requested_capacity: 0, ..good.clone() },
        LaunchInstances { requested_capacity: 5, ..good.clone() },
        LaunchInstances { retry_strategy: Some("retry-with-group-configuration".into()), ..good.clone() },
    ] {
        assert_eq!(world.err(bad.clone()), "ValidationError", "{bad:?}");
    }
    let suspend = |processes: &[&str]| EditGroup {
        group_name: LARGE.into(),
        suspended_processes: Some(processes.iter().map(|name| (*name).to_owned()).collect()),
        ..EditGroup::default()
    };
    world.ok(suspend(&["Launch"]));
    assert_eq!(world.err(good.clone()), "ValidationError");
    world.ok(suspend(&["AZRebalance"]));
    world.ok(good);
}

#[test]
fn protection_needs_a_member_in_service() {
    let mut world = World::new();
    let id = world.ok(world.launch(LARGE, ZONE_A, "t")).instances[0].instance_ids[0].clone();
    let protect = |group: &str, id: &str, on| SetInstanceProtection {
        group_name: group.into(),
        instance_ids: vec![id.into()],
        protected_from_scale_in: on,
    };
    assert_eq!(world.err(protect(LARGE, &id, false)), "ValidationError");
    world.wait(10_000);
    assert_eq!(world.err(protect(STANDARD, &id, false)), "ValidationError");
    let of = |shown: &AutoScalingGroup| {
        shown.instances.iter().find(|member| member.instance_id == id).unwrap().protected_from_scale_in
    };
    assert!(of(&group(&mut world, LARGE)));
    world.ok(protect(LARGE, &id, false));
    assert!(!of(&group(&mut world, LARGE)));
}

#[test]
fn exactly_one_is_terminated_and_not_replaced() {
    let mut world = World::new();
    let target = world.target.clone();
    world.ok(world.launch(LARGE, ZONE_B, "t"));
    let activity = world.ok(terminate(&target, true)).activity;
    assert_eq!(activity.status_code, "InProgress");
    // A second call finds the first one's work and takes nothing more off.
    assert_eq!(world.ok(terminate(&target, true)).activity.activity_id, activity.activity_id);
    let shown = group(&mut world, LARGE);
    assert_eq!(shown.desired_capacity, 1);
    let member = shown.instances.iter().find(|member| member.instance_id == target).unwrap();
    assert_eq!((member.lifecycle_state.as_str(), member.health_status.as_str()), ("Terminating", "Unhealthy"));
    world.wait(3_600_000);
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (1, 1));
    assert_eq!(world.err(terminate(&target, true)), "ValidationError");
}

/// H35: desired equals min.
#[test]
fn at_min_size_a_decrement_is_refused_and_without_one_there_is_a_replacement() {
    let mut world = World::new();
    let target = world.target.clone();
    world.ok(EditGroup { group_name: LARGE.into(), min_size: Some(1), ..EditGroup::default() });
    assert_eq!(world.err(terminate(&target, true)), "ValidationError");
    world.ok(terminate(&target, false));
    world.wait(60_000);
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (1, 1));
    assert_ne!(shown.instances[0].instance_id, target);
}

#[test]
fn a_member_terminated_behind_the_groups_back_is_replaced_after_the_health_check() {
    let mut world = World::new();
    let target = world.target.clone();
    world.ok(TerminateInstances { instance_ids: vec![target.clone()] });
    world.wait(60_000);
    assert!(group(&mut world, LARGE).instances.is_empty());
    // No capacity at the check: the group tries again.
    world.fault(Fault::NoCapacity, Some(2));
    world.wait(120_000);
    assert!(group(&mut world, LARGE).instances.is_empty());
    world.wait(300_000);
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (1, 1));
}

#[test]
fn refreshes_are_shown_while_they_run() {
    let mut world = World::new();
    let request = DescribeInstanceRefreshes { group_name: LARGE.into(), ..Default::default() };
    assert!(world.ok(request.clone()).refreshes.is_empty());
    let edit = |on| EditGroup { group_name: LARGE.into(), refresh_in_progress: Some(on), ..EditGroup::default() };
    world.ok(edit(true));
    assert_eq!(world.ok(request.clone()).refreshes[0].status, "InProgress");
    world.ok(edit(false));
    assert_eq!(world.ok(request).refreshes[0].status, "Successful");
}
