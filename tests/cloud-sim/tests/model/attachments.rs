//! AttachVolume, DetachVolume, and what reads show of them.

use cloud_sim::api::agent::AgentState;
use cloud_sim::api::ec2::{
    AttachVolume, BlockDeviceChange, CreateVolume, DescribeInstances, DetachVolume, ModifyInstanceAttribute,
    TerminateInstances,
};
use cloud_sim::faults::Fault;

use crate::kit::{LAG_MS, MUTATE_MS, STANDARD, World, ZONE_A, ZONE_B};

/// Detached cleanly and gone from reads.
fn freed() -> World {
    let mut world = World::new();
    world.release_source(1);
    world.ok(world.detach(&world.source, "/dev/sdf"));
    world.until_attachment("none");
    world
}

#[test]
fn an_attach_goes_through_its_states_and_reads_lag() {
    let mut world = freed();
    let (target, start_ms) = (world.target.clone(), world.now + MUTATE_MS / 2);
    assert_eq!(world.ok(world.attach(&target, "/dev/sdf")).state, "attaching");
    for (after_ms, state) in
        [(LAG_MS - 1, "none"), (LAG_MS, "attaching"), (2_000 + LAG_MS - 1, "attaching"), (2_000 + LAG_MS, "attached")]
    {
        world.now = start_ms + after_ms;
        assert_eq!(world.attachment(), state, "{after_ms} ms after the attach");
    }
    assert_eq!(world.see().state, "in-use");
    // The guest does not lag: it has the device when EC2 has it.
    let status = world.status(&target);
    assert_eq!(status.serial, Some(world.volume.replacen('-', "", 1)));
    assert!(!status.mounted);
}

#[test]
fn attach_is_refused_for_every_reason() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    assert_eq!(world.err(world.attach(&target, "/dev/sdf")), "VolumeInUse");
    assert_eq!(world.err(world.attach(&source, "/dev/sdg")), "VolumeInUse");

    let mut world = freed();
    assert_eq!(world.err(world.attach(&target, "/dev/sda")), "InvalidParameterValue");
    assert_eq!(world.err(world.attach("i-00000000000000000", "/dev/sdf")), "InvalidInstanceID.NotFound");
    assert_eq!(world.err(world.attach("nonsense", "/dev/sdf")), "InvalidInstanceID.Malformed");
    let unknown = AttachVolume { volume_id: "vol-00000000000000000".into(), ..world.attach(&target, "/dev/sdf") };
    assert_eq!(world.err(unknown), "InvalidVolume.NotFound");

    let elsewhere = world.sim.add_instance(STANDARD, ZONE_B).unwrap();
    assert_eq!(world.err(world.attach(&elsewhere, "/dev/sdf")), "InvalidVolume.ZoneMismatch");

    let booting = world.ok(world.launch(STANDARD, ZONE_A, "t")).instances[0].instance_ids[0].clone();
    assert_eq!(world.err(world.attach(&booting, "/dev/sdf")), "IncorrectState");
    world.ok(TerminateInstances { instance_ids: vec![target.clone()] });
    assert_eq!(world.err(world.attach(&target, "/dev/sdf")), "IncorrectState");
}

#[test]
fn a_creating_volume_a_taken_device_and_a_full_instance_are_refused() {
    let mut world = World::new();
    let target = world.target.clone();
    let make = |world: &mut World| {
        let request = CreateVolume { availability_zone: ZONE_A.into(), size_gib: Some(1), ..CreateVolume::default() };
        world.ok(request).volume_id
    };
    let fresh = make(&mut world);
    let attach = |volume_id: &str, letter: char| AttachVolume {
        volume_id: volume_id.into(),
        instance_id: target.clone(),
        device: format!("/dev/sd{letter}"),
    };
    assert_eq!(world.err(attach(&fresh, 'b')), "IncorrectState");
    world.wait(2_000);
    world.ok(attach(&fresh, 'b'));
    let other = make(&mut world);
    world.wait(2_000);
    assert_eq!(world.err(attach(&other, 'b')), "InvalidParameterValue");
    // The root disk and 26 more are all that fit.
    for letter in 'c'..='z' {
        let volume_id = make(&mut world);
        world.wait(2_000);
        world.ok(attach(&volume_id, letter));
    }
    let xvd = |volume_id: String| AttachVolume { device: "/dev/xvdb".into(), ..attach(&volume_id, 'b') };
    let last = make(&mut world);
    world.wait(2_000);
    world.ok(xvd(last));
    assert_eq!(
        world.err(AttachVolume { device: "/dev/xvdc".into(), ..attach(&other, 'b') }),
        "AttachmentLimitExceeded"
    );
}

#[test]
fn detach_must_name_what_is_attached() {
    let mut world = World::new();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.release_source(1);
    assert_eq!(world.err(world.detach(&target, "/dev/sdf")), "InvalidAttachment.NotFound");
    assert_eq!(world.err(world.detach(&source, "/dev/sdg")), "InvalidAttachment.NotFound");
    assert_eq!(world.attachment(), "attached");
    let start_ms = world.now + MUTATE_MS / 2;
    assert_eq!(world.ok(world.detach(&source, "/dev/sdf")).state, "detaching");
    for (after_ms, state) in
        [(LAG_MS - 1, "attached"), (LAG_MS, "detaching"), (2_500 + LAG_MS - 1, "detaching"), (2_500 + LAG_MS, "none")]
    {
        world.now = start_ms + after_ms;
        assert_eq!(world.attachment(), state, "{after_ms} ms after the detach");
    }
    assert_eq!(world.see().state, "available");
    assert_eq!(world.err(world.detach(&source, "/dev/sdf")), "IncorrectState");
}

/// H11, F1: the stale request names a device that is not the one any more.
#[test]
fn a_stale_detach_misses_a_volume_that_came_back_on_another_device() {
    let mut world = freed();
    let source = world.source.clone();
    world.ok(world.attach(&source, "/dev/sdg"));
    world.until_attachment("attached");
    assert_eq!(world.err(world.detach(&source, "/dev/sdf")), "InvalidAttachment.NotFound");
    assert_eq!(world.attachment(), "attached");
}

#[test]
fn a_mounted_volume_becomes_busy_until_it_is_unmounted() {
    let mut world = World::new();
    let source = world.source.clone();
    let start_ms = world.now + MUTATE_MS / 2;
    world.ok(world.detach(&source, "/dev/sdf"));
    world.now = start_ms + 11_999 + LAG_MS;
    assert_eq!(world.attachment(), "detaching");
    world.now = start_ms + 12_000 + LAG_MS;
    assert_eq!(world.attachment(), "busy");
    world.wait(3_600_000);
    assert_eq!(world.attachment(), "busy");
    // Asking again changes nothing.
    assert_eq!(world.ok(world.detach(&source, "/dev/sdf")).state, "busy");
    world.ok(world.release(&source, 1));
    world.until(&source, AgentState::Released);
    world.until_attachment("none");
}

#[test]
fn force_tears_a_mounted_volume_off() {
    let mut world = World::new();
    let source = world.source.clone();
    world.ok(DetachVolume { force: true, ..world.detach(&source, "/dev/sdf") });
    world.until_attachment("none");
    assert_eq!(world.status(&source).error.as_deref(), Some("DEVICE_LOST"));
}

#[test]
fn a_root_disk_stays() {
    let mut world = World::new();
    let source = world.source.clone();
    let shown =
        world.ok(DescribeInstances { instance_ids: vec![source.clone()], ..Default::default() }).instances.remove(0);
    let root = shown.block_devices.iter().find(|device| device.device_name == shown.root_device_name).unwrap();
    assert!(root.delete_on_termination);
    let request = DetachVolume { volume_id: root.volume_id.clone(), ..DetachVolume::default() };
    assert_eq!(world.err(request), "OperationNotPermitted");
}

#[test]
fn delete_on_termination_is_false_until_it_is_set() {
    let mut world = World::new();
    let source = world.source.clone();
    let set = |device: &str, delete_on_termination| ModifyInstanceAttribute {
        instance_id: source.clone(),
        block_devices: vec![BlockDeviceChange { device_name: device.into(), delete_on_termination }],
    };
    assert!(!world.see().attachments[0].delete_on_termination);
    assert_eq!(world.err(set("/dev/sdx", true)), "InvalidInstanceAttributeValue");
    world.ok(set("/dev/sdf", true));
    assert!(world.see().attachments[0].delete_on_termination);
    world.ok(set("/dev/sdf", false));
    assert!(!world.see().attachments[0].delete_on_termination);
}

#[test]
fn a_terminated_instance_lets_go_after_a_while() {
    let mut world = World::new();
    let source = world.source.clone();
    let start_ms = world.now + MUTATE_MS / 2;
    let change = world.ok(TerminateInstances { instance_ids: vec![source.clone()] }).changes.remove(0);
    assert_eq!((change.previous_state.as_str(), change.current_state.as_str()), ("running", "shutting-down"));
    world.now = start_ms + 45_000 + LAG_MS - 1;
    assert_eq!(world.attachment(), "attached");
    world.now = start_ms + 45_000 + LAG_MS;
    assert_eq!(world.attachment(), "none");
    let shown =
        world.ok(DescribeInstances { instance_ids: vec![source.clone()], ..Default::default() }).instances.remove(0);
    assert_eq!((shown.state.as_str(), shown.state_code), ("terminated", 48));
    assert!(shown.block_devices.is_empty());
    world.wait(3_600_000);
    let again = DescribeInstances { instance_ids: vec![source], ..Default::default() };
    assert_eq!(world.err(again), "InvalidInstanceID.NotFound");
    // The data survived the instance.
    world.ok(world.attach(&world.target, "/dev/sdf"));
}

#[test]
fn attach_fails_only_on_strangers_and_as_often_as_told() {
    let mut world = freed();
    let (source, target) = (world.source.clone(), world.target.clone());
    world.fault(Fault::AttachFails, Some(2));
    for device in ["/dev/sdf", "/dev/sdg"] {
        assert_eq!(world.ok(world.attach(&target, device)).state, "attaching");
        world.until_attachment("attaching");
        world.until_attachment("none");
        assert_eq!(world.status(&target).serial, None);
        // The way back is open.
        if device == "/dev/sdf" {
            world.ok(world.attach(&source, "/dev/sdh"));
            world.until_attachment("attached");
            world.ok(world.detach(&source, "/dev/sdh"));
            world.until_attachment("none");
        }
    }
    world.ok(world.attach(&target, "/dev/sdi"));
    world.until_attachment("attached");
}

#[test]
fn a_stuck_attach_is_undone_by_a_detach() {
    let mut world = freed();
    let target = world.target.clone();
    world.fault(Fault::StuckAttach, Some(1));
    world.ok(world.attach(&target, "/dev/sdf"));
    world.wait(600_000);
    assert_eq!(world.attachment(), "attaching");
    assert_eq!(world.status(&target).serial, None);
    world.ok(world.detach(&target, "/dev/sdf"));
    world.until_attachment("none");
    world.ok(world.attach(&target, "/dev/sdg"));
    world.until_attachment("attached");
}

#[test]
fn stale_reads_show_what_was_before_a_fresh_change_only() {
    let mut world = freed();
    let target = world.target.clone();
    world.ok(world.attach(&target, "/dev/sdf"));
    world.until_attachment("attached");
    world.fault(Fault::StaleReads, Some(2));
    assert_eq!(world.attachment(), "attaching");
    assert_eq!(world.attachment(), "attaching");
    // The count is used up.
    assert_eq!(world.attachment(), "attached");
    // Without a count some reads are stale and some are not, as long as the change is fresh.
    world.fault(Fault::StaleReads, None);
    let seen: Vec<String> = (0..40).map(|_| world.attachment()).collect();
    assert!(seen.iter().any(|state| state == "attaching") && seen.iter().any(|state| state == "attached"));
    world.wait(30_000);
    assert!((0..40).all(|_| world.attachment() == "attached"));
}
