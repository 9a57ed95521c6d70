//! Snapshots: when they complete, what they hold, how many there may be.

use cloud_sim::api::ec2::{CreateSnapshot, CreateVolume, DeleteSnapshot, DescribeSnapshots, Filter, Snapshot, Tags};
use cloud_sim::engine::CHECKPOINT_MS;
use cloud_sim::faults::Fault;

use crate::kit::{LAG_MS, World, ZONE_A};

fn snapshot(world: &World, step: &str) -> CreateSnapshot {
    let tags: Tags = [("volsvc:step".to_owned(), step.to_owned())].into();
    CreateSnapshot { volume_id: world.volume.clone(), description: step.into(), tags }
}

fn find(world: &mut World, filters: Vec<Filter>) -> Vec<Snapshot> {
    world.ok(DescribeSnapshots { filters, ..DescribeSnapshots::default() }).snapshots
}

fn duration_ms(world: &mut World, id: &str) -> u64 {
    world.wait(100 * 3_600_000);
    let found = find(world, vec![Filter::new("snapshot-id", [id])]).remove(0);
    assert_eq!((found.state.as_str(), found.progress), ("completed", 100));
    found.completion_time_ms.unwrap() - found.start_time_ms
}

#[test]
fn the_first_is_slow_and_later_ones_pay_for_what_changed() {
    let mut world = World::new();
    let request = snapshot(&world, "safety");
    let first = world.ok(request.clone());
    assert_eq!((first.state.as_str(), first.progress), ("pending", 0));
    // 5 GiB in use, at 720 s for 50 GiB.
    assert_eq!(duration_ms(&mut world, &first.snapshot_id), 72_000);
    let second = world.ok(request.clone()).snapshot_id;
    assert_eq!(duration_ms(&mut world, &second), 12_000);
    // 131,072 writes of 4 KiB are half a GiB.
    for write_id in 0..131_072 {
        world.ok(world.write(&world.source, write_id));
    }
    world.wait(CHECKPOINT_MS);
    let third = world.ok(request).snapshot_id;
    assert_eq!(duration_ms(&mut world, &third), 30_000);
}

#[test]
fn slow_snapshots_take_ten_times_as_long() {
    let mut world = World::new();
    world.fault(Fault::SlowSnapshot, None);
    let id = world.ok(snapshot(&world, "safety")).snapshot_id;
    assert_eq!(duration_ms(&mut world, &id), 720_000);
}

#[test]
fn it_is_found_by_volume_and_tag_a_little_later() {
    let mut world = World::new();
    let start_ms = world.now + 250;
    let id = world.ok(snapshot(&world, "safety")).snapshot_id;
    let filters = vec![
        Filter::new("volume-id", [world.volume.clone()]),
        Filter::new("tag:volsvc:step", ["safety"]),
        Filter::new("status", ["pending", "completed"]),
    ];
    world.now = start_ms + LAG_MS - 75 - 1;
    assert!(find(&mut world, filters.clone()).is_empty());
    world.now = start_ms + LAG_MS - 75;
    assert_eq!(find(&mut world, filters.clone())[0].state, "pending");
    world.ok(snapshot(&world, "final"));
    world.wait(5_000);
    let found = find(&mut world, filters);
    assert_eq!(found.into_iter().map(|snapshot| snapshot.snapshot_id).collect::<Vec<_>>(), [id]);
}

#[test]
fn five_may_be_pending_and_a_deleted_one_counts_until_it_completes() {
    let mut world = World::new();
    let ids: Vec<String> = (0..5).map(|_| world.ok(snapshot(&world, "x")).snapshot_id).collect();
    assert_eq!(world.err(snapshot(&world, "x")), "ConcurrentSnapshotLimitExceeded");
    let delete = DeleteSnapshot { snapshot_id: ids[0].clone() };
    world.ok(delete.clone());
    assert_eq!(world.err(snapshot(&world, "x")), "ConcurrentSnapshotLimitExceeded");
    world.wait(72_000);
    world.ok(snapshot(&world, "x"));
    assert_eq!(world.err(delete), "InvalidSnapshot.NotFound");
}

/// The bytes of the device at the call: neither what is in the page cache, nor what comes after.
#[test]
fn it_holds_the_device_at_the_call() {
    let mut world = World::new();
    world.ok(world.write(&world.source, 1));
    world.wait(CHECKPOINT_MS);
    world.ok(world.write(&world.source, 2));
    let id = world.ok(snapshot(&world, "safety")).snapshot_id;
    world.wait(600_000);
    let restore = CreateVolume {
        availability_zone: ZONE_A.into(),
        snapshot_id: Some(id),
        size_gib: Some(10),
        ..CreateVolume::default()
    };
    assert_eq!(world.err(restore.clone()), "InvalidParameterValue");
    let restored = world.ok(CreateVolume { size_gib: None, ..restore });
    assert_eq!(restored.size_gib, 20);
    // Serve the copy from the target: the flushed write is there, the other is not.
    world.wait(5_000);
    world.volume = restored.volume_id;
    let target = world.target.clone();
    world.ok(world.attach(&target, "/dev/sdf"));
    world.wait(3_000);
    world.ok(world.adopt(&target, 1));
    world.until(&target, cloud_sim::api::agent::AgentState::Adopted);
    world.ok(world.resume(&target, 1));
    assert!(world.ok(world.read(&target, 1)).present);
    assert!(!world.ok(world.read(&target, 2)).present);
}

#[test]
fn a_pending_one_cannot_be_restored() {
    let mut world = World::new();
    let id = world.ok(snapshot(&world, "safety")).snapshot_id;
    let request = CreateVolume { availability_zone: ZONE_A.into(), snapshot_id: Some(id), ..CreateVolume::default() };
    assert_eq!(world.err(request), "IncorrectState");
}
