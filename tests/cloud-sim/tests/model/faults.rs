//! Named faults that are more than a refusal: what is shown before, while and after they strike, that a count is used
//! up, that clearing ends them. Those of attach, snapshots and agents that came first are with their subjects.

use cloud_sim::api::agent::{AgentConnections, AgentHealth, AgentState, DrainScope};
use cloud_sim::api::autoscaling::{
    AutoScalingGroup, DescribeAutoScalingGroups, DescribeAutoScalingInstances, DescribeScalingActivities,
    SetInstanceProtection,
};
use cloud_sim::api::control::{ClearFaults, EditGroup, ListFaults, RebootInstance, SetFault};
use cloud_sim::api::ec2::{
    CreateSnapshot, CreateVolume, DeleteSnapshot, DescribeInstanceStatus, DescribeInstances, DescribeSnapshots,
    DescribeVolumes, DetachVolume, Filter,
};
use cloud_sim::api::{Lost, Request as _};
use cloud_sim::faults::Fault;
use serde_json::json;

use crate::kit::{LAG_MS, LARGE, MUTATE_MS, STANDARD, World, ZONE_A, ZONE_B};

/// Released by the source, still attached to it.
fn released() -> World {
    let mut world = World::new();
    world.release_source(1);
    world
}

/// Detached cleanly and gone from reads.
fn freed() -> World {
    let mut world = released();
    world.ok(world.detach(&world.source, "/dev/sdf"));
    world.until_attachment("none");
    world
}

fn is_on(world: &mut World, fault: &Fault) -> bool {
    world.ok(ListFaults {}).faults.iter().any(|active| active.fault == *fault)
}

fn group(world: &mut World, name: &str) -> AutoScalingGroup {
    let request = DescribeAutoScalingGroups { names: vec![name.into()], ..Default::default() };
    world.ok(request).groups.remove(0)
}

fn instance_state(world: &mut World, id: &str) -> String {
    world.ok(DescribeInstances { instance_ids: vec![id.into()], ..Default::default() }).instances.remove(0).state
}

// ---- How faults are switched ----

#[test]
fn chances_are_let_pass_before_a_count_is_used_up() {
    let mut world = World::new();
    let throttle = Fault::Throttle { api: "DescribeVolumes".into() };
    world.ok(SetFault { skip: 2, ..SetFault::new(throttle.clone(), Some(1)) });
    world.ok(DescribeVolumes::default());
    world.ok(DescribeVolumes::default());
    assert_eq!(world.err(DescribeVolumes::default()), "RequestLimitExceeded");
    assert!(!is_on(&mut world, &throttle));
    world.ok(DescribeVolumes::default());
}

#[test]
fn a_fault_ends_by_itself_when_its_time_is_over() {
    let mut world = World::new();
    let source = world.source.clone();
    let dead = Fault::InstanceDead { instance_id: source.clone() };
    let start_ms = world.now;
    world.ok(SetFault { for_ms: Some(60_000), ..SetFault::new(dead.clone(), None) });
    world.now = start_ms + 59_999;
    assert!(is_on(&mut world, &dead));
    assert_eq!(world.ok(ListFaults {}).faults[0].until_ms, Some(start_ms + 60_000));
    world.now = start_ms + 60_000;
    assert!(!is_on(&mut world, &dead));
    // Its power came back then; the agent needs 15 s.
    world.now = start_ms + 74_999;
    assert_eq!(world.lost(AgentHealth { to: world.to(&source) }.into_call()), Lost::Refused);
    world.now = start_ms + 75_000;
    world.ok(AgentHealth { to: world.to(&source) });
}

#[test]
fn a_fault_that_is_set_again_does_not_end_with_the_first_time() {
    let mut world = World::new();
    let start_ms = world.now;
    world.ok(SetFault { for_ms: Some(10_000), ..SetFault::new(Fault::StuckAttach, None) });
    world.ok(SetFault { for_ms: Some(30_000), ..SetFault::new(Fault::StuckAttach, None) });
    world.now = start_ms + 29_999;
    assert!(is_on(&mut world, &Fault::StuckAttach));
    world.now = start_ms + 30_000;
    assert!(!is_on(&mut world, &Fault::StuckAttach));
}

#[test]
fn faults_are_cleared_by_name_by_parameter_and_all_together() {
    let mut world = World::new();
    let throttle = |api: &str| Fault::Throttle { api: api.into() };
    let clear = |with: serde_json::Value| serde_json::from_value::<ClearFaults>(with).unwrap();
    for fault in [throttle("AttachVolume"), throttle("DetachVolume"), Fault::StuckDetach, Fault::NoCapacity] {
        world.fault(fault, None);
    }
    let names = |faults: Vec<cloud_sim::api::control::ActiveFault>| {
        faults.into_iter().map(|active| active.fault).collect::<Vec<_>>()
    };
    let one = world.ok(clear(json!({ "fault": "throttle", "api": "DetachVolume" }))).faults;
    assert_eq!(names(one), [throttle("DetachVolume")]);
    assert_eq!(names(world.ok(clear(json!({ "fault": "throttle" }))).faults), [throttle("AttachVolume")]);
    assert!(world.ok(clear(json!({ "fault": "throttle" }))).faults.is_empty());
    assert_eq!(names(world.ok(clear(json!({}))).faults), [Fault::StuckDetach, Fault::NoCapacity]);
    assert!(world.ok(ListFaults {}).faults.is_empty());
}

/// R19: bad input changes nothing and is told whole.
#[test]
fn everything_that_is_wrong_with_a_request_is_told_at_once() {
    let world = World::new();
    let fields = |body: &serde_json::Value| {
        let faults = world.sim.read_set_fault(body.to_string().as_bytes()).unwrap_err();
        faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
    };
    let bad = json!({ "fault": "throttle", "api": "NoSuchCall", "count": -1, "skip": "x", "for_ms": 0, "color": 1 });
    assert_eq!(fields(&bad), ["api", "color", "count", "for_ms", "skip"]);
    assert_eq!(fields(&json!({ "fault": "throttle" })), ["api"]);
    assert_eq!(fields(&json!({ "fault": "throttle", "api": 7 })), ["api"]);
    assert_eq!(fields(&json!({ "fault": "earthquake", "count": 1.5 })), ["fault", "count"]);
    assert_eq!(fields(&json!({ "count": 1 })), ["fault"]);
    assert_eq!(
        fields(&json!({ "fault": "instance_dead", "instance_id": "i-0", "count": 1 })),
        ["count", "instance_id"]
    );
    assert_eq!(fields(&json!({ "fault": "scale_in", "group_name": "nope", "for_ms": 1 })), ["for_ms", "group_name"]);
    assert_eq!(fields(&json!({ "fault": "index_lag", "lag_ms": 0 })), ["lag_ms"]);
    assert_eq!(fields(&json!({ "fault": "conflict", "api": "GetItem" })), ["api"]);
    assert_eq!(fields(&json!([1])), ["body"]);
    assert_eq!(world.sim.read_set_fault(b"{").unwrap_err()[0].field, "body");
    let good = json!({ "fault": "agent_silent", "instance_id": world.source, "count": 2, "skip": 1, "for_ms": 5 });
    let set = world.sim.read_set_fault(good.to_string().as_bytes()).unwrap();
    assert_eq!((set.count, set.skip, set.for_ms), (Some(2), 1, Some(5)));
    let clear = world.sim.read_clear_faults(br#"{"fault":"throttle","lag_ms":1,"count":2}"#).unwrap_err();
    assert_eq!(clear.len(), 2, "{clear:?}");
    assert!(world.sim.read_clear_faults(br#"{"api":"AttachVolume"}"#).is_err(), "of which fault?");
    assert!(world.sim.read_clear_faults(br#"{"fault":"instance_dead","instance_id":"i-gone"}"#).is_ok());
}

// ---- Detach ----

#[test]
fn a_stuck_detach_is_free_after_twenty_minutes() {
    let mut world = released();
    let source = world.source.clone();
    world.fault(Fault::StuckDetach, Some(1));
    let start_ms = world.now + MUTATE_MS / 2;
    assert_eq!(world.ok(world.detach(&source, "/dev/sdf")).state, "detaching");
    assert!(!is_on(&mut world, &Fault::StuckDetach));
    world.now = start_ms + 600_000;
    // Asked again it stays as it is, and the guest has the device.
    assert_eq!(world.ok(world.detach(&source, "/dev/sdf")).state, "detaching");
    assert!(world.status(&source).serial.is_some());
    world.now = start_ms + 1_200_000 + LAG_MS - 1;
    assert_eq!(world.attachment(), "detaching");
    world.now = start_ms + 1_200_000 + LAG_MS;
    assert_eq!(world.attachment(), "none");
    assert_eq!(world.status(&source).serial, None);
    // The next one is as always.
    world.ok(world.attach(&source, "/dev/sdg"));
    world.until_attachment("attached");
    let start_ms = world.now + MUTATE_MS / 2;
    world.ok(world.detach(&source, "/dev/sdg"));
    world.now = start_ms + 2_500 + LAG_MS;
    assert_eq!(world.attachment(), "none");
}

#[test]
fn a_detach_that_is_busy_without_a_mount_ends_when_it_is_asked_for_again() {
    let mut world = released();
    let source = world.source.clone();
    world.fault(Fault::BusyDetach, Some(1));
    let start_ms = world.now + MUTATE_MS / 2;
    assert_eq!(world.ok(world.detach(&source, "/dev/sdf")).state, "detaching");
    world.now = start_ms + 11_999 + LAG_MS;
    assert_eq!(world.attachment(), "detaching");
    world.now = start_ms + 12_000 + LAG_MS;
    assert_eq!(world.attachment(), "busy");
    world.now = start_ms + 72_000;
    let again_ms = world.now + MUTATE_MS / 2;
    assert_eq!(world.ok(world.detach(&source, "/dev/sdf")).state, "detaching");
    world.now = again_ms + 2_500 + LAG_MS - 1;
    assert_eq!(world.attachment(), "detaching");
    world.now = again_ms + 2_500 + LAG_MS;
    assert_eq!(world.attachment(), "none");
    assert!(!is_on(&mut world, &Fault::BusyDetach));
    // The device that would have gone by itself later is another one by then.
    world.ok(world.attach(&source, "/dev/sdg"));
    world.until_attachment("attached");
    world.wait(600_000);
    assert_eq!(world.attachment(), "attached");
}

#[test]
fn a_detach_that_is_busy_without_a_mount_ends_by_itself_and_by_force() {
    let mut world = released();
    let source = world.source.clone();
    world.fault(Fault::BusyDetach, Some(1));
    let start_ms = world.now + MUTATE_MS / 2;
    world.ok(world.detach(&source, "/dev/sdf"));
    world.now = start_ms + 300_000 + LAG_MS - 1;
    assert_eq!(world.attachment(), "busy");
    world.now = start_ms + 300_000 + LAG_MS;
    assert_eq!(world.attachment(), "none");

    let mut world = released();
    world.fault(Fault::BusyDetach, Some(1));
    world.ok(world.detach(&source, "/dev/sdf"));
    world.wait(20_000);
    assert_eq!(world.attachment(), "busy");
    world.ok(DetachVolume { force: true, ..world.detach(&source, "/dev/sdf") });
    world.wait(5_000);
    assert_eq!(world.attachment(), "none");
}

/// A volume that is mounted is busy honestly; the fault waits for one that is not.
#[test]
fn a_mounted_volume_uses_up_no_busy_detach() {
    let mut world = World::new();
    let source = world.source.clone();
    world.fault(Fault::BusyDetach, Some(1));
    world.ok(world.detach(&source, "/dev/sdf"));
    assert!(is_on(&mut world, &Fault::BusyDetach));
}

// ---- Snapshots ----

fn snapshot(world: &mut World, id: &str) -> (String, u32) {
    let found = world.ok(DescribeSnapshots { snapshot_ids: vec![id.into()], ..Default::default() }).snapshots;
    (found[0].state.clone(), found[0].progress)
}

#[test]
fn a_failed_snapshot_ends_in_error_and_the_next_one_does_not() {
    let mut world = World::new();
    let request = CreateSnapshot { volume_id: world.volume.clone(), ..CreateSnapshot::default() };
    world.fault(Fault::FailedSnapshot, Some(1));
    // 5 GiB, first of its volume: 72 s from the effect of the call.
    let start_ms = world.now + 250;
    let failed = world.ok(request.clone()).snapshot_id;
    world.now = start_ms + 72_000 - 1 - 75;
    assert_eq!(snapshot(&mut world, &failed).0, "pending");
    world.now = start_ms + 72_000;
    assert_eq!(snapshot(&mut world, &failed).0, "error");
    let restored =
        CreateVolume { availability_zone: ZONE_A.into(), snapshot_id: Some(failed.clone()), ..CreateVolume::default() };
    assert_eq!(world.err(restored), "IncorrectState");
    world.ok(DeleteSnapshot { snapshot_id: failed });
    let good = world.ok(request).snapshot_id;
    world.wait(3_600_000);
    assert_eq!(snapshot(&mut world, &good), ("completed".to_owned(), 100));
}

#[test]
fn an_endless_snapshot_stays_pending_and_counts_as_such() {
    let mut world = World::new();
    let request = CreateSnapshot { volume_id: world.volume.clone(), ..CreateSnapshot::default() };
    world.fault(Fault::EndlessSnapshot, Some(5));
    let endless: Vec<String> = (0..5).map(|_| world.ok(request.clone()).snapshot_id).collect();
    world.wait(1_000 * 3_600_000);
    assert_eq!(snapshot(&mut world, &endless[0]).0, "pending");
    assert!(world.ok(ListFaults {}).faults.is_empty());
    assert_eq!(world.err(request), "ConcurrentSnapshotLimitExceeded");
    // A deletion waits for the end that never comes.
    world.ok(DeleteSnapshot { snapshot_id: endless[0].clone() });
    world.wait(1_000 * 3_600_000);
    assert_eq!(snapshot(&mut world, &endless[0]).0, "pending");
}

// ---- Launches and groups ----

#[test]
fn a_launch_lands_in_another_zone_and_says_so() {
    let mut world = World::new();
    world.fault(Fault::WrongZone, Some(1));
    let launched = world.ok(world.launch(LARGE, ZONE_A, "t")).instances.remove(0);
    assert_eq!((launched.availability_zone.as_str(), launched.availability_zone_id.as_str()), (ZONE_B, "use1-az2"));
    let id = launched.instance_ids[0].clone();
    world.wait(30_000);
    let shown =
        world.ok(DescribeInstances { instance_ids: vec![id.clone()], ..Default::default() }).instances.remove(0);
    assert_eq!((shown.availability_zone.as_str(), shown.subnet_id), (ZONE_B, launched.subnet_id));
    assert!(group(&mut world, LARGE).instances.iter().any(|member| member.instance_id == id));
    // The token keeps its answer; a new one goes where it is sent.
    assert_eq!(world.ok(world.launch(LARGE, ZONE_A, "t")).instances[0].instance_ids, [id]);
    assert_eq!(world.ok(world.launch(LARGE, ZONE_A, "u")).instances[0].availability_zone, ZONE_A);
}

#[test]
fn a_launched_instance_without_an_agent_passes_every_check_but_ours() {
    let mut world = World::new();
    world.fault(Fault::LaunchWithoutAgent, Some(1));
    let id = world.ok(world.launch(LARGE, ZONE_A, "t")).instances[0].instance_ids[0].clone();
    world.wait(3_600_000);
    assert_eq!(instance_state(&mut world, &id), "running");
    let status = DescribeInstanceStatus { instance_ids: vec![id.clone()], ..Default::default() };
    assert_eq!(world.ok(status).statuses[0].instance_status, "ok");
    let member = DescribeAutoScalingInstances { instance_ids: vec![id.clone()], ..Default::default() };
    assert_eq!(world.ok(member).instances[0].lifecycle_state, "InService");
    assert_eq!(world.lost(AgentHealth { to: world.to(&id) }.into_call()), Lost::Refused);
    // Not even a boot helps.
    world.ok(RebootInstance { instance_id: id.clone() });
    world.wait(3_600_000);
    assert_eq!(world.lost(AgentHealth { to: world.to(&id) }.into_call()), Lost::Refused);
    let next = world.ok(world.launch(LARGE, ZONE_A, "u")).instances[0].instance_ids[0].clone();
    world.wait(30_000);
    world.ok(AgentHealth { to: world.to(&next) });
}

#[test]
fn a_terminated_instance_goes_at_once_and_its_group_replaces_it() {
    let mut world = World::new();
    let source = world.source.clone();
    let start_ms = world.now;
    let terminated = Fault::InstanceTerminated { instance_id: source.clone() };
    world.fault(terminated.clone(), None);
    assert!(!is_on(&mut world, &terminated), "it happens once");
    assert_eq!(world.lost(AgentHealth { to: world.to(&source) }.into_call()), Lost::Refused);
    let member = |world: &mut World| {
        let shown = group(world, STANDARD);
        let found = shown.instances.iter().find(|member| member.instance_id == source);
        found.map(|member| (member.lifecycle_state.clone(), member.health_status.clone()))
    };
    assert_eq!(member(&mut world), Some(("Terminating".to_owned(), "Unhealthy".to_owned())));
    world.now = start_ms + LAG_MS;
    assert_eq!(instance_state(&mut world, &source), "shutting-down");
    assert_eq!(world.attachment(), "attached");
    world.now = start_ms + 45_000 + LAG_MS;
    assert_eq!(instance_state(&mut world, &source), "terminated");
    assert_eq!(world.attachment(), "none", "the volume survives and is free");
    assert_eq!(member(&mut world), None);
    // Two minutes after the loss the group makes up for it.
    world.now = start_ms + 119_999;
    assert_eq!(group(&mut world, STANDARD).instances.len(), 0);
    world.now = start_ms + 120_000;
    let shown = group(&mut world, STANDARD);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (1, 1));
    assert_eq!(world.err(SetFault::new(terminated, None)), "InvalidInstanceID.NotFound");
}

/// docs/aws.md 0: a fully protected group shows a desired capacity below its members.
#[test]
fn scaling_in_ends_an_unprotected_member_and_of_protected_ones_only_the_number() {
    let mut world = World::new();
    let target = world.target.clone();
    let other = world.sim.add_instance(LARGE, ZONE_B).unwrap();
    world.fault(Fault::ScaleIn { group_name: LARGE.into() }, None);
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (1, 2));
    assert!(shown.instances.iter().all(|member| member.lifecycle_state == "InService"));
    let activities = DescribeScalingActivities { group_name: Some(LARGE.into()), ..Default::default() };
    assert_eq!(world.ok(activities).activities[0].status_code, "Cancelled");
    // A launch adds one to the number; what is there stays one more than that.
    world.ok(world.launch(LARGE, ZONE_A, "t"));
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (2, 3));

    let unprotect = SetInstanceProtection {
        group_name: LARGE.into(),
        instance_ids: vec![other.clone()],
        protected_from_scale_in: false,
    };
    world.ok(unprotect);
    world.fault(Fault::ScaleIn { group_name: LARGE.into() }, None);
    world.wait(LAG_MS);
    assert_eq!(instance_state(&mut world, &other), "shutting-down");
    assert_eq!(instance_state(&mut world, &target), "running");
    world.ok(EditGroup { group_name: LARGE.into(), min_size: Some(1), ..EditGroup::default() });
    assert_eq!(world.err(SetFault::new(Fault::ScaleIn { group_name: LARGE.into() }, None)), "ValidationError");
    assert_eq!(group(&mut world, LARGE).desired_capacity, 1, "what is refused changes nothing");
}

#[test]
fn scaling_out_launches_where_the_group_likes() {
    let mut world = World::new();
    world.fault(Fault::ScaleOut { group_name: LARGE.into() }, None);
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (2, 2));
    let new = shown.instances.iter().find(|member| member.instance_id != world.target).unwrap();
    assert_eq!((new.availability_zone.as_str(), new.lifecycle_state.as_str()), (ZONE_B, "Pending"));
    // Somebody else sets it outright.
    let set = |desired| EditGroup { group_name: LARGE.into(), desired_capacity: Some(desired), ..Default::default() };
    world.ok(set(4));
    assert_eq!(group(&mut world, LARGE).instances.len(), 4);
    assert_eq!(world.err(set(6)), "ValidationError");
}

#[test]
fn rebalancing_moves_an_unprotected_member_out_of_the_fullest_zone_and_no_other() {
    let mut world = World::new();
    let target = world.target.clone();
    let second = world.sim.add_instance(LARGE, ZONE_A).unwrap();
    let rebalance = || SetFault::new(Fault::Rebalance { group_name: LARGE.into() }, None);
    assert_eq!(world.err(rebalance()), "ValidationError", "the fleet's groups have it suspended (rule 35)");
    world.ok(EditGroup { group_name: LARGE.into(), suspended_processes: Some(Vec::new()), ..EditGroup::default() });
    world.ok(rebalance());
    assert_eq!(group(&mut world, LARGE).instances.len(), 2, "all are protected");
    let unprotect = |id: &str| SetInstanceProtection {
        group_name: LARGE.into(),
        instance_ids: vec![id.to_owned()],
        protected_from_scale_in: false,
    };
    world.ok(unprotect(&second));
    world.ok(rebalance());
    world.wait(LAG_MS);
    let shown = group(&mut world, LARGE);
    let new = shown.instances.iter().find(|m| m.instance_id != target && m.instance_id != second).unwrap();
    assert_eq!((new.availability_zone.as_str(), new.lifecycle_state.as_str()), (ZONE_B, "Pending"));
    assert_eq!(instance_state(&mut world, &second), "shutting-down");
    assert_eq!(instance_state(&mut world, &target), "running");
    world.wait(3_600_000);
    let shown = group(&mut world, LARGE);
    assert_eq!((shown.desired_capacity, shown.instances.len()), (2, 2));
    // Balanced: nothing is left to do.
    world.ok(unprotect(&target));
    world.ok(rebalance());
    assert_eq!(group(&mut world, LARGE).instances.len(), 2);
}

#[test]
fn a_hook_keeps_a_running_instance_out_of_service() {
    let mut world = World::new();
    world.fault(Fault::LaunchHook, Some(1));
    let id = world.ok(world.launch(LARGE, ZONE_A, "t")).instances[0].instance_ids[0].clone();
    let protect = SetInstanceProtection {
        group_name: LARGE.into(),
        instance_ids: vec![id.clone()],
        protected_from_scale_in: true,
    };
    let member = |world: &mut World| {
        let asked = DescribeAutoScalingInstances { instance_ids: vec![id.clone()], ..Default::default() };
        world.ok(asked).instances[0].lifecycle_state.clone()
    };
    world.wait(60_000);
    assert_eq!((instance_state(&mut world, &id).as_str(), member(&mut world).as_str()), ("running", "Pending:Wait"));
    world.ok(AgentHealth { to: world.to(&id) });
    assert_eq!(world.err(protect.clone()), "ValidationError");
    world.wait(120_000);
    assert_eq!(member(&mut world), "InService");
    world.ok(protect);
}

// ---- Agents ----

#[test]
fn a_silent_agent_does_nothing_and_its_engine_lives_on() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    let silent = Fault::AgentSilent { instance_id: Some(source.clone()) };
    world.fault(silent.clone(), None);
    let start_ms = world.now;
    let drain = world.drain(&source, 1, DrainScope::All).into_call();
    assert_eq!(world.lost(drain), Lost::Before);
    assert_eq!(world.now - start_ms, 10_000, "its client waits for its time-out");
    world.ok(world.write(&source, 1));
    world.ok(AgentHealth { to: world.to(&target) });
    world.clear(silent);
    assert_eq!(world.status(&source).state, AgentState::Serving, "nothing of it was heard");
    // Everybody's, and a count counts calls.
    world.fault(Fault::AgentSilent { instance_id: None }, Some(2));
    for instance in [&source, &target] {
        assert_eq!(world.lost(AgentHealth { to: world.to(instance) }.into_call()), Lost::Before);
    }
    world.ok(AgentHealth { to: world.to(&source) });
}

#[test]
fn a_slow_agent_does_its_work_and_answers_too_late() {
    let mut world = World::new();
    let source = world.source.clone();
    world.fault(Fault::AgentSlow { instance_id: Some(source.clone()) }, Some(1));
    let start_ms = world.now;
    let drain = world.drain(&source, 1, DrainScope::All).into_call();
    assert_eq!(world.lost(drain), Lost::After);
    assert_eq!(world.now - start_ms, 10_000);
    assert_eq!(world.status(&source).state, AgentState::Drained);
    assert_eq!(world.err(world.read(&source, 1)), "VOLUME_MOVING");
}

/// A dead host uses up nothing: nobody is there who could be silent.
#[test]
fn a_dead_host_is_neither_silent_nor_slow() {
    let mut world = World::new();
    let source = world.source.clone();
    let slow = Fault::AgentSlow { instance_id: None };
    world.fault(slow.clone(), Some(1));
    world.fault(Fault::InstanceDead { instance_id: source.clone() }, None);
    assert_eq!(world.lost(AgentHealth { to: world.to(&source) }.into_call()), Lost::Refused);
    assert!(is_on(&mut world, &slow));
}

#[test]
fn an_agent_that_skips_the_drain_leaves_the_door_open() {
    let mut world = World::new();
    let source = world.source.clone();
    world.fault(Fault::AgentSkipsDrain, Some(1));
    assert_eq!(world.ok(world.drain(&source, 1, DrainScope::All)).state, AgentState::Drained);
    world.wait(60_000);
    world.ok(world.write(&source, 1));
    let to = world.to(&source);
    assert_eq!(world.ok(AgentConnections { to: to.clone() }).active_connections, 6, "it counts as it is");
    // Asked again it does what it says.
    world.ok(world.drain(&source, 1, DrainScope::All));
    assert_eq!(world.err(world.write(&source, 2)), "VOLUME_MOVING");
    world.wait(10_000);
    assert_eq!(world.ok(AgentConnections { to }).active_connections, 0);
}

#[test]
fn an_agent_hides_connections_only_where_there_are_some() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.fault(Fault::AgentHidesConnections, Some(1));
    let count = |world: &mut World, instance: &str| {
        let to = world.to(instance);
        let counted = world.ok(AgentConnections { to });
        (counted.active_connections, counted.active_writes)
    };
    assert_eq!(count(&mut world, &target), (0, 0));
    assert_eq!(count(&mut world, &source), (0, 0), "a lie");
    assert_eq!(count(&mut world, &source), (6, 2));
}

#[test]
fn a_mount_that_was_left_behind_keeps_the_volume_busy_until_somebody_unmounts() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(world.write(&source, 1));
    world.fault(Fault::AgentKeepsMount, Some(1));
    world.release_source(1);
    let status = world.status(&source);
    assert_eq!((status.state, status.mounted), (AgentState::Released, false), "so it says");
    world.ok(world.detach(&source, "/dev/sdf"));
    world.wait(3_600_000);
    assert_eq!(world.attachment(), "busy");
    world.ok(world.detach(&source, "/dev/sdf"));
    world.wait(3_600_000);
    assert_eq!(world.attachment(), "busy", "asking again helps nothing");
    // Its count is used up, and clearing it is still somebody who goes there.
    let clear = serde_json::from_value::<ClearFaults>(json!({ "fault": "agent_keeps_mount" })).unwrap();
    assert!(world.ok(clear).faults.is_empty());
    world.wait(5_000);
    assert_eq!(world.attachment(), "none");
    assert_eq!(world.audit().missing_count, 0, "it was flushed");
}

#[test]
fn a_mount_that_was_left_behind_goes_with_the_host_and_with_an_adoption() {
    for reboots in [true, false] {
        let mut world = World::new();
        let source = world.source.clone();
        world.fault(Fault::AgentKeepsMount, Some(1));
        world.release_source(1);
        if reboots {
            world.ok(RebootInstance { instance_id: source.clone() });
        } else {
            // Mounted again it is a mount like any other.
            world.ok(world.adopt(&source, 1));
            world.until(&source, AgentState::Adopted);
            world.release_source(1);
        }
        world.ok(world.detach(&source, "/dev/sdf"));
        world.wait(5_000);
        assert_eq!(world.attachment(), "none", "reboots: {reboots}");
    }
}

// ---- Whole calls ----

#[test]
fn reads_go_back_behind_what_they_have_shown() {
    let mut world = freed();
    let target = world.target.clone();
    world.wait(60_000);
    world.ok(world.attach(&target, "/dev/sdf"));
    world.wait(2_000 + LAG_MS);
    world.fault(Fault::BackwardReads, Some(2));
    let seen: Vec<String> = (0..6).map(|_| world.attachment()).collect();
    assert_eq!(seen, ["attached", "attaching", "attached", "attaching", "attached", "attached"]);
    assert!(!is_on(&mut world, &Fault::BackwardReads));
    // Without a count for as long as the change is fresh; then reads tell the truth.
    world.fault(Fault::BackwardReads, None);
    let seen: Vec<String> = (0..4).map(|_| world.attachment()).collect();
    assert_eq!(seen, ["attached", "attaching", "attached", "attaching"]);
    world.wait(30_000);
    assert!((0..10).all(|_| world.attachment() == "attached"));
}

#[test]
fn a_server_error_is_answered_before_or_after_the_effect() {
    let mut world = released();
    let detach = world.detach(&world.source, "/dev/sdf");
    let api = || "DetachVolume".to_owned();
    world.fault(Fault::ServerErrorBefore { api: api() }, Some(1));
    let error = world.sim.ask(world.now, detach.clone()).answer.unwrap_err();
    assert_eq!((error.code.as_str(), error.http_status), ("InternalError", 500));
    world.wait(10_000);
    assert_eq!(world.attachment(), "attached");
    world.fault(Fault::ServerErrorAfter { api: api() }, Some(1));
    let error = world.sim.ask(world.now, detach.clone()).answer.unwrap_err();
    assert_eq!((error.code.as_str(), error.http_status), ("InternalError", 500));
    world.wait(10_000);
    assert_eq!(world.attachment(), "none");
    // A refusal is told as it is, and uses up nothing.
    world.fault(Fault::ServerErrorAfter { api: api() }, Some(1));
    assert_eq!(world.err(detach), "IncorrectState");
    assert!(is_on(&mut world, &Fault::ServerErrorAfter { api: api() }));
}

#[test]
fn rates_are_awss_own_while_they_apply() {
    let mut world = World::new();
    let filters = vec![Filter::new("volume-id", [world.volume.clone()])];
    let read = DescribeVolumes { filters, ..DescribeVolumes::default() };
    let throttled = |world: &mut World, calls: usize| {
        let answers = (0..calls).map(|_| world.sim.ask(world.now, read.clone()).answer);
        answers.filter(|answer| answer.as_ref().is_err_and(|error| error.code == "RequestLimitExceeded")).count()
    };
    assert_eq!(throttled(&mut world, 300), 0, "off by default");
    world.fault(Fault::RateLimits, None);
    // 100 at once, then 20 a second.
    assert_eq!(throttled(&mut world, 103), 3);
    world.wait(500);
    assert_eq!(throttled(&mut world, 12), 2);
    world.clear(Fault::RateLimits);
    assert_eq!(throttled(&mut world, 300), 0);
    // Auto Scaling counts all its actions together: 20.
    world.fault(Fault::RateLimits, Some(1));
    let mut codes = (0..23).filter_map(|n| {
        let group_name = Some(LARGE.to_owned());
        let answer = if n % 2 == 0 {
            world.sim.ask(world.now, DescribeAutoScalingGroups::default()).answer.err()
        } else {
            world.sim.ask(world.now, DescribeScalingActivities { group_name, ..Default::default() }).answer.err()
        };
        answer.map(|error| (n, error.code))
    });
    assert_eq!(codes.next(), Some((20, "Throttling".to_owned())));
    assert_eq!(codes.next(), None, "its count is used up, so it is off");
}
