//! The agent contract: doors, fences, release and adopt, and what survives a restart.

use cloud_sim::api::agent::{
    AgentAdopt, AgentConnections, AgentDrain, AgentHealth, AgentInfo, AgentRelease, AgentState, AgentUsage,
    AgentVolume, Command, Connections, DrainScope,
};
use cloud_sim::api::control::{RebootInstance, SetLoad};
use cloud_sim::api::ec2::{CreateVolume, TerminateInstances};
use cloud_sim::api::{Lost, Request};
use cloud_sim::faults::Fault;
use cloud_sim::fleet::{GraphSpec, GroupSpec, VolumeSpec};

use crate::kit::{GRAPH, LARGE, MIGRATION, World, ZONE_A};

fn connections(world: &mut World, instance: &str) -> (u32, u32) {
    let to = world.to(instance);
    let Connections { active_connections, active_writes } = world.ok(AgentConnections { to });
    (active_connections, active_writes)
}

/// Released by the source, attached to the target.
fn handed_over() -> World {
    let mut world = World::new();
    world.release_source(1);
    world.ok(world.detach(&world.source, "/dev/sdf"));
    world.until_attachment("none");
    world.ok(world.attach(&world.target, "/dev/sdf"));
    world.until_attachment("attached");
    world
}

#[test]
fn only_health_goes_without_the_key() {
    let mut world = World::new();
    let mut to = world.to(&world.source);
    to.api_key = None;
    assert!(world.ok(AgentHealth { to: to.clone() }).engine_open);
    assert_eq!(world.err(AgentInfo { to: to.clone() }), "UNAUTHORIZED");
    to.api_key = Some("wrong".into());
    assert_eq!(world.err(AgentVolume { to: to.clone() }), "UNAUTHORIZED");
    let drain = AgentDrain { to, ..world.drain(&world.source, 1, DrainScope::All) };
    assert_eq!(world.err(drain), "UNAUTHORIZED");
    assert_eq!(world.status(&world.source.clone()).state, AgentState::Serving);
}

#[test]
fn an_unknown_or_dead_instance_gives_no_answer() {
    let mut world = World::new();
    let nobody = AgentHealth { to: world.to("i-00000000000000000") }.into_call();
    assert_eq!(world.lost(nobody), Lost::Refused);
    let source = world.source.clone();
    world.fault(Fault::InstanceDead { instance_id: source.clone() }, None);
    assert_eq!(world.lost(AgentHealth { to: world.to(&source) }.into_call()), Lost::Refused);
    assert_eq!(world.lost(world.read(&source, 1).into_call()), Lost::Refused);
}

#[test]
fn a_drain_takes_its_time_writes_first() {
    let mut world = World::new();
    let source = world.source.clone();
    assert_eq!(connections(&mut world, &source), (6, 2));
    let start_ms = world.now;
    assert_eq!(world.ok(world.drain(&source, 1, DrainScope::Writes)).state, AgentState::Drained);
    // The door was shut before the answer, and the running writes are still there.
    assert_eq!(world.err(world.write(&source, 1)), "DRAINING");
    world.ok(world.read(&source, 1));
    assert_eq!(connections(&mut world, &source), (6, 2));
    world.now = start_ms + 4_999;
    assert_eq!(connections(&mut world, &source), (5, 1));
    world.now = start_ms + 5_000;
    assert_eq!(connections(&mut world, &source), (4, 0));
    let start_ms = world.now;
    world.ok(world.drain(&source, 1, DrainScope::All));
    assert_eq!(world.err(world.read(&source, 1)), "VOLUME_MOVING");
    assert_eq!(world.err(world.write(&source, 1)), "VOLUME_MOVING");
    // Asked again, the clock does not start anew, and the door does not open a little.
    world.now = start_ms + 4_000;
    world.ok(world.drain(&source, 1, DrainScope::Writes));
    assert_eq!(world.err(world.read(&source, 1)), "VOLUME_MOVING");
    world.now = start_ms + 5_000;
    assert_eq!(connections(&mut world, &source), (0, 0));
    assert_eq!(world.ok(world.resume(&source, 1)).state, AgentState::Serving);
    assert_eq!(connections(&mut world, &source), (6, 2));
    world.ok(world.write(&source, 1));
}

#[test]
fn a_graph_without_clients_drains_at_once() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(SetLoad { graph_id: GRAPH.into(), readers: 0, writers: 0 });
    world.ok(world.drain(&source, 1, DrainScope::All));
    assert_eq!(connections(&mut world, &source), (0, 0));
}

/// H14.
#[test]
fn commands_are_fenced() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.ok(world.drain(&source, 5, DrainScope::Writes));
    for (what, command) in [
        ("a lower fence", Command { fence: 4, ..world.command(&source, 5) }),
        ("another migration", Command { migration_id: "chg_2".into(), ..world.command(&source, 5) }),
        ("another instance", Command { instance_id: target.clone(), ..world.command(&source, 6) }),
    ] {
        let release = AgentRelease { to: world.to(&source), command: command.clone() };
        assert_eq!(world.err(release), "FENCED", "{what}");
        let adopt = AgentAdopt { to: world.to(&source), command, fs_uuid: None };
        assert_eq!(world.err(adopt), "FENCED", "{what}");
    }
    let status = world.status(&source);
    assert_eq!(
        (status.state, status.fence, status.migration_id.as_deref()),
        (AgentState::Drained, Some(5), Some(MIGRATION))
    );
    // A refused command of another instance has not raised the fence either.
    world.ok(world.resume(&source, 5));
    let next = Command { migration_id: "chg_2".into(), ..world.command(&source, 6) };
    world.ok(AgentDrain { to: world.to(&source), command: next, scope: DrainScope::Writes });
    assert_eq!(world.err(world.resume(&source, 5)), "FENCED");
}

/// A stale adopt that arrives after the undo must not mount anything.
#[test]
fn a_release_leaves_its_fence_with_an_agent_that_never_had_the_volume() {
    let mut world = handed_over();
    let target = world.target.clone();
    assert_eq!(world.ok(world.release(&target, 7)).state, AgentState::Released);
    assert_eq!(world.err(world.adopt(&target, 6)), "FENCED");
    assert!(!world.status(&target).mounted);
}

#[test]
fn fences_are_kept_per_volume() {
    let mut world = handed_over();
    let target = world.target.clone();
    world.ok(world.adopt(&target, 9));
    world.until(&target, AgentState::Adopted);
    world.ok(world.release(&target, 9));
    world.until(&target, AgentState::Released);
    world.ok(world.detach(&target, "/dev/sdf"));
    world.until_attachment("none");
    // Another volume, early in its life, on the instance that has seen fence 9.
    let spec = VolumeSpec { zone: ZONE_A.into(), size_gib: 1, tags: [].into(), snapshotted: true, dirty_bytes: 0 };
    world.volume = world.sim.add_volume(spec).unwrap();
    world.uuid = world.sim.fs_uuid(&world.volume).unwrap();
    world.ok(world.attach(&target, "/dev/sdg"));
    world.until_attachment("attached");
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Adopted);
    assert_eq!(world.status(&target).fence, Some(1));
}

#[test]
fn a_command_for_a_volume_that_is_elsewhere_is_refused() {
    let mut world = World::new();
    let source = world.source.clone();
    let stranger = Command { volume_id: "vol-00000000000000000".into(), ..world.command(&source, 1) };
    let to = world.to(&source);
    let drain = AgentDrain { to: to.clone(), command: stranger.clone(), scope: DrainScope::All };
    assert_eq!(world.err(drain), "VOLUME_NOT_HERE");
    assert_eq!(world.err(AgentRelease { to: to.clone(), command: stranger.clone() }), "VOLUME_NOT_HERE");
    assert_eq!(world.err(AgentAdopt { to, command: stranger, fs_uuid: None }), "WRONG_STATE");
    world.ok(world.write(&source, 1));
}

#[test]
fn a_release_stops_flushes_and_unmounts() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(world.write(&source, 1));
    world.ok(world.drain(&source, 1, DrainScope::All));
    let start_ms = world.now;
    assert_eq!(world.ok(world.release(&source, 1)).state, AgentState::Releasing);
    assert_eq!(world.err(world.read(&source, 1)), "VOLUME_MOVING");
    assert_eq!(world.err(world.probe(&source)), "GRAPH_NOT_SERVED");
    world.now = start_ms + 4_999;
    assert!(world.status(&source).mounted);
    world.now = start_ms + 5_000;
    let status = world.status(&source);
    assert_eq!((status.state, status.mounted), (AgentState::Released, false));
    assert_eq!(status.fs_uuid, Some(world.uuid.clone()));
    assert!(status.serial.is_some(), "the device is still attached");
    assert_eq!(world.err(world.read(&source, 1)), "GRAPH_NOT_SERVED");
    assert_eq!(world.audit().missing_count, 0);
    // Asked again: nothing happens. Drained again: nothing to drain. Resumed: nothing to open.
    assert_eq!(world.ok(world.release(&source, 1)).state, AgentState::Released);
    assert_eq!(world.ok(world.drain(&source, 1, DrainScope::All)).state, AgentState::Released);
    assert_eq!(world.err(world.resume(&source, 1)), "WRONG_STATE");
    // And back again on the same instance.
    world.ok(world.adopt(&source, 1));
    world.until(&source, AgentState::Adopted);
    world.ok(world.resume(&source, 1));
    assert!(world.ok(world.read(&source, 1)).present);
}

#[test]
fn an_adoption_opens_with_the_door_shut() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.ok(world.write(&source, 1));
    world.ok(world.drain(&source, 1, DrainScope::All));
    let before = world.ok(world.probe(&source));
    assert_eq!((before.nodes, before.relationships), (11, 21));
    world.release_source(1);
    world.ok(world.detach(&source, "/dev/sdf"));
    world.until_attachment("none");
    world.ok(world.attach(&target, "/dev/sdf"));
    world.until_attachment("attached");
    let start_ms = world.now;
    assert_eq!(world.ok(world.adopt(&target, 1)).state, AgentState::Adopting);
    world.now = start_ms + 1_000;
    assert!(world.status(&target).mounted);
    assert_eq!(world.err(world.probe(&target)), "GRAPH_NOT_SERVED");
    world.now = start_ms + 6_000;
    assert_eq!(world.status(&target).state, AgentState::Adopted);
    assert_eq!(world.ok(world.probe(&target)), before);
    assert_eq!(world.err(world.read(&target, 1)), "VOLUME_MOVING");
    assert_eq!(world.err(world.write(&target, 2)), "VOLUME_MOVING");
    assert_eq!(connections(&mut world, &target), (0, 0));
    // Asked again: no second mount.
    assert_eq!(world.ok(world.adopt(&target, 1)).state, AgentState::Adopted);
    world.ok(world.resume(&target, 1));
    world.ok(world.write(&target, 2));
    assert!(world.ok(world.read(&target, 1)).present);
    assert_ne!(world.ok(world.probe(&target)).checksum, before.checksum);
    assert_eq!(world.err(world.read(&source, 1)), "GRAPH_NOT_SERVED");
}

#[test]
fn an_adoption_fails_without_device_with_a_wrong_uuid_and_without_file_system() {
    let mut world = World::new();
    let target = world.target.clone();
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Failed);
    assert_eq!(world.status(&target).error.as_deref(), Some("SERIAL_NOT_FOUND"));

    let mut world = handed_over();
    let target = world.target.clone();
    world.ok(AgentAdopt { fs_uuid: Some("other".into()), ..world.adopt(&target, 1) });
    world.until(&target, AgentState::Failed);
    assert_eq!(world.status(&target).error.as_deref(), Some("FS_UUID_MISMATCH"));
    assert!(!world.status(&target).mounted);
    // A failed adoption is released at once and may be asked again.
    assert_eq!(world.ok(world.release(&target, 1)).state, AgentState::Released);
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Adopted);

    let mut world = World::new();
    let target = world.target.clone();
    let empty = CreateVolume { availability_zone: ZONE_A.into(), size_gib: Some(1), ..CreateVolume::default() };
    world.volume = world.ok(empty).volume_id;
    world.wait(2_000);
    world.ok(world.attach(&target, "/dev/sdf"));
    world.until_attachment("attached");
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Failed);
    // It never formats.
    assert_eq!(world.status(&target).error.as_deref(), Some("NO_FILE_SYSTEM"));
}

/// H15.
#[test]
fn an_engine_of_another_format_refuses_the_files() {
    let mut world = World::new();
    let mut build = world.sim.config().build.clone();
    build.format = "40".into();
    let spec = GroupSpec {
        name: "newer-asg".into(),
        instance_type: "m7g.large".into(),
        zones: vec![ZONE_A.into()],
        max_size: 1,
        tags: [].into(),
        build: Some(build.clone()),
    };
    world.sim.add_group(spec).unwrap();
    world.target = world.sim.add_instance("newer-asg", ZONE_A).unwrap();
    let target = world.target.clone();
    assert_eq!(world.ok(AgentInfo { to: world.to(&target) }), build);
    world.release_source(1);
    world.ok(world.detach(&world.source, "/dev/sdf"));
    world.until_attachment("none");
    world.ok(world.attach(&target, "/dev/sdf"));
    world.until_attachment("attached");
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Failed);
    assert_eq!(world.status(&target).error.as_deref(), Some("ENGINE_MISMATCH"));
}

#[test]
fn usage_counts_graph_subgraphs_and_writes() {
    let mut world = World::new();
    let source = world.source.clone();
    let part = format!("{GRAPH}_part");
    let graph = GraphSpec { bytes: 1_000, subgraphs: [(part.clone(), 500)].into(), ..GraphSpec::default() };
    world.sim.add_graph(&world.volume.clone(), GRAPH, graph).unwrap();
    let usage = |world: &mut World| {
        let to = world.to(&source);
        world.ok(AgentUsage { to })
    };
    let before = usage(&mut world);
    assert_eq!((before.graphs[GRAPH], before.subgraphs[&part]), (1_500, 500));
    world.ok(world.write(&source, 1));
    assert_eq!(usage(&mut world).graphs[GRAPH], 1_500 + 4_096);
    world.wait(60_000);
    assert_eq!(usage(&mut world).graphs[GRAPH], 1_500 + 4_096);
    world.release_source(1);
    assert_eq!(world.err(AgentUsage { to: world.to(&source) }), "WRONG_STATE");
}

/// The uuid was not recorded by anybody but the agent: it checks its own record, and a stranger takes what is there.
#[test]
fn an_adoption_without_a_uuid_goes_by_the_agents_own_record() {
    let mut world = handed_over();
    let target = world.target.clone();
    world.ok(AgentAdopt { fs_uuid: None, ..world.adopt(&target, 1) });
    world.until(&target, AgentState::Adopted);
    assert_eq!(world.status(&target).fs_uuid, Some(world.uuid.clone()));

    let mut world = World::new();
    let source = world.source.clone();
    world.release_source(1);
    world.ok(AgentAdopt { fs_uuid: None, ..world.adopt(&source, 1) });
    world.until(&source, AgentState::Adopted);
}

/// H13: after a restart the engine comes back only as the record says.
#[test]
fn a_restart_keeps_the_door_as_it_was() {
    let mut world = World::new();
    let source = world.source.clone();
    let reboot = |world: &mut World| {
        world.ok(RebootInstance { instance_id: world.source.clone() });
        world.wait(15_000 + 6_000);
    };
    reboot(&mut world);
    assert_eq!(world.status(&source).state, AgentState::Serving);
    world.ok(world.write(&source, 1));
    world.wait(30_000);

    world.ok(world.drain(&source, 3, DrainScope::Writes));
    reboot(&mut world);
    assert_eq!(world.status(&source).state, AgentState::Drained);
    assert_eq!(world.err(world.write(&source, 2)), "DRAINING");
    assert_eq!(world.err(world.resume(&source, 2)), "FENCED");

    world.release_source(3);
    reboot(&mut world);
    let status = world.status(&source);
    assert_eq!(
        (status.state, status.mounted, status.volume_id),
        (AgentState::Released, false, Some(world.volume.clone()))
    );
    assert_eq!(world.err(world.write(&source, 2)), "GRAPH_NOT_SERVED");
}

#[test]
fn an_adoption_cut_short_by_a_restart_is_not_resumed() {
    let mut world = handed_over();
    let target = world.target.clone();
    world.ok(world.adopt(&target, 1));
    world.wait(2_000);
    world.ok(RebootInstance { instance_id: target.clone() });
    world.wait(60_000);
    let status = world.status(&target);
    assert_eq!((status.state, status.mounted, status.fence), (AgentState::Released, false, Some(1)));
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Adopted);
    assert_eq!(world.status(&target).fence, Some(1));
}

#[test]
fn a_waiting_detach_goes_on_when_the_host_dies() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(world.detach(&source, "/dev/sdf"));
    world.wait(60_000);
    assert_eq!(world.attachment(), "busy");
    world.fault(Fault::InstanceDead { instance_id: source }, None);
    world.until_attachment("none");
}

#[test]
fn a_target_of_another_group_is_idle_until_it_is_told() {
    let mut world = World::new();
    let launched = world.ok(world.launch(LARGE, ZONE_A, "t")).instances[0].instance_ids[0].clone();
    world.wait(60_000);
    let status = world.status(&launched);
    assert_eq!((status.state, status.volume_id, status.serial, status.fence), (AgentState::Released, None, None, None));
}

/// H33: a target that hangs after the attach is got rid of, and the volume comes back.
#[test]
fn a_dead_target_is_terminated_and_lets_the_volume_go() {
    let mut world = handed_over();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Adopted);
    world.fault(Fault::InstanceDead { instance_id: target.clone() }, None);
    assert_eq!(world.lost(world.release(&target, 1).into_call()), Lost::Refused);
    assert_eq!(world.attachment(), "attached");
    world.ok(TerminateInstances { instance_ids: vec![target] });
    world.until_attachment("none");
    world.ok(world.attach(&source, "/dev/sdg"));
    world.until_attachment("attached");
    world.ok(world.adopt(&source, 1));
    world.until(&source, AgentState::Adopted);
    world.ok(world.resume(&source, 1));
    assert_eq!(world.audit().missing_count, 0);
}
