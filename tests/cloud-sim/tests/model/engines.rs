//! What is acknowledged, what is on the device, and what gets lost when somebody lies or dies (invariants 2, 13, 14).

use cloud_sim::api::agent::{AgentState, DrainScope};
use cloud_sim::api::control::{EngineEvent, EngineLogEntry, ReadEngineLog};
use cloud_sim::api::ec2::{DetachVolume, TerminateInstances};
use cloud_sim::api::engine::Door;
use cloud_sim::engine::CHECKPOINT_MS;
use cloud_sim::faults::Fault;

use crate::kit::{GRAPH, World};

fn log(world: &mut World) -> Vec<EngineLogEntry> {
    world.ok(ReadEngineLog::default()).entries
}

/// Moves the volume to the target by the book, but for the fault that is on.
fn move_to_target(world: &mut World) {
    let (source, target) = (world.source.clone(), world.target.clone());
    world.release_source(1);
    world.ok(world.detach(&source, "/dev/sdf"));
    world.until_attachment("none");
    world.ok(world.attach(&target, "/dev/sdf"));
    world.until_attachment("attached");
    world.ok(world.adopt(&target, 1));
    world.until(&target, AgentState::Adopted);
    world.ok(world.resume(&target, 1));
}

#[test]
fn a_move_by_the_book_loses_nothing() {
    let mut world = World::new();
    let source = world.source.clone();
    for write_id in 1..=100 {
        world.ok(world.write(&source, write_id));
        world.wait(777);
    }
    move_to_target(&mut world);
    let audit = world.audit();
    assert_eq!((audit.acknowledged, audit.readable, audit.missing_count), (100, 100, 0));
    assert_eq!(audit.open_on, Some(world.target.clone()));
}

#[test]
fn an_agent_that_lies_about_the_unmount_loses_what_was_not_flushed() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(world.write(&source, 1));
    world.wait(CHECKPOINT_MS);
    world.ok(world.write(&source, 2));
    world.ok(world.write(&source, 3));
    world.fault(Fault::AgentSkipsUnmount, Some(1));
    move_to_target(&mut world);
    let target = world.target.clone();
    assert!(world.ok(world.read(&target, 1)).present);
    assert!(!world.ok(world.read(&target, 2)).present);
    let audit = world.audit();
    assert_eq!((audit.missing, audit.missing_count, audit.lost_with_host), (vec![2, 3], 2, 0));
    let lost = EngineEvent::Lost { graph_id: GRAPH.into(), writes: 2, with_host: false };
    assert!(log(&mut world).iter().any(|entry| entry.event == lost));
    // The lie was told once.
    world.ok(world.write(&target, 4));
    assert!(world.ok(world.read(&target, 4)).present);
}

#[test]
fn a_volume_torn_off_or_terminated_under_a_mount_loses_what_was_not_flushed() {
    for torn in [true, false] {
        let mut world = World::new();
        let source = world.source.clone();
        world.ok(world.write(&source, 1));
        world.wait(CHECKPOINT_MS);
        world.ok(world.write(&source, 2));
        if torn {
            world.ok(DetachVolume { force: true, ..world.detach(&source, "/dev/sdf") });
        } else {
            world.ok(TerminateInstances { instance_ids: vec![source] });
        }
        world.until_attachment("none");
        let audit = world.audit();
        assert_eq!((audit.missing.clone(), audit.lost_with_host, audit.open_on), (vec![2], 0, None));
    }
}

#[test]
fn writes_that_die_with_a_host_are_counted_apart() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(world.write(&source, 1));
    let dead = Fault::InstanceDead { instance_id: source.clone() };
    world.fault(dead.clone(), None);
    let audit = world.audit();
    assert_eq!((audit.missing_count, audit.lost_with_host), (1, 1));
    // The host comes back, and with it the graph, without that write.
    world.clear(dead);
    world.wait(21_000);
    assert!(!world.ok(world.read(&source, 1)).present);
    // The client writes it again: it is there again.
    world.ok(world.write(&source, 1));
    let audit = world.audit();
    assert_eq!((audit.missing_count, audit.lost_with_host), (0, 0));
}

#[test]
fn a_checkpoint_comes_every_five_minutes() {
    let mut world = World::new();
    let source = world.source.clone();
    let opened_ms = log(&mut world)[0].at_ms;
    world.now = opened_ms + CHECKPOINT_MS - 1_000;
    world.ok(world.write(&source, 1));
    world.now = opened_ms + CHECKPOINT_MS;
    world.ok(world.write(&source, 2));
    let dead = Fault::InstanceDead { instance_id: source };
    world.fault(dead, None);
    assert_eq!(world.audit().missing, [2]);
}

#[test]
fn the_log_tells_who_had_the_volume_open_and_what_was_let_in() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(world.write(&source, 1));
    move_to_target(&mut world);
    let target = world.target.clone();
    world.ok(world.write(&target, 2));
    let entries = log(&mut world);
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=entries.len() as u64).collect::<Vec<_>>());
    let told: Vec<(&str, EngineEvent)> = entries
        .iter()
        .map(|entry| (if entry.instance_id == source { "source" } else { "target" }, entry.event.clone()))
        .collect();
    let write = |write_id| EngineEvent::Write { graph_id: GRAPH.into(), write_id };
    assert_eq!(
        told,
        [
            ("source", EngineEvent::Opened),
            ("source", EngineEvent::Door { door: Door::Open }),
            ("source", write(1)),
            ("source", EngineEvent::Door { door: Door::WritesShut }),
            ("source", EngineEvent::Door { door: Door::Shut }),
            ("source", EngineEvent::Closed { clean: true }),
            ("target", EngineEvent::Opened),
            ("target", EngineEvent::Door { door: Door::Shut }),
            ("target", EngineEvent::Door { door: Door::Open }),
            ("target", write(2)),
        ]
    );
}

#[test]
fn a_refused_write_is_not_acknowledged() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.ok(world.drain(&source, 1, DrainScope::Writes));
    assert_eq!(world.err(world.write(&source, 1)), "DRAINING");
    assert_eq!(world.err(world.write(&target, 1)), "GRAPH_NOT_SERVED");
    assert_eq!(world.audit().acknowledged, 0);
}
