//! Making, growing, deleting volumes.

use cloud_sim::api::ec2::{
    CreateVolume, DeleteVolume, DescribeVolumes, DescribeVolumesModifications, ModifyVolume, Tags,
};

use crate::kit::{LAG_MS, MUTATE_MS, World, ZONE_A};

fn create(token: &str, size_gib: u32) -> CreateVolume {
    CreateVolume {
        client_token: Some(token.into()),
        availability_zone: ZONE_A.into(),
        size_gib: Some(size_gib),
        tags: [("Name".to_owned(), "x".to_owned())].into(),
        ..CreateVolume::default()
    }
}

#[test]
fn a_token_makes_one_volume() {
    let mut world = World::new();
    let first = world.ok(create("t", 20));
    assert_eq!(first.state, "creating");
    let second = world.ok(create("t", 20));
    assert_eq!(first.volume_id, second.volume_id);
    assert_eq!(world.err(create("t", 21)), "IdempotentParameterMismatch");
    assert_ne!(world.ok(create("u", 20)).volume_id, first.volume_id);
}

#[test]
fn a_new_volume_is_seen_late_and_available_later() {
    let mut world = World::new();
    let made_ms = world.now + MUTATE_MS / 2;
    let volume = world.ok(create("t", 20));
    let by_id = DescribeVolumes { volume_ids: vec![volume.volume_id], ..DescribeVolumes::default() };
    world.now = made_ms + LAG_MS - 75 - 1;
    assert_eq!(world.err(by_id.clone()), "InvalidVolume.NotFound");
    world.now = made_ms + LAG_MS - 75;
    assert_eq!(world.ok(by_id.clone()).volumes[0].state, "creating");
    world.now = made_ms + 1_500;
    assert_eq!(world.ok(by_id).volumes[0].state, "available");
}

#[test]
fn bad_parameters_change_nothing() {
    let mut world = World::new();
    assert_eq!(world.err(CreateVolume { availability_zone: "mars".into(), ..create("t", 1) }), "InvalidZone.NotFound");
    assert_eq!(world.err(CreateVolume { size_gib: None, ..create("t", 1) }), "MissingParameter");
    let unknown = CreateVolume { snapshot_id: Some("snap-00000000000000000".into()), ..create("t", 1) };
    assert_eq!(world.err(unknown), "InvalidSnapshot.NotFound");
    // None of them has burned the token.
    world.ok(create("t", 1));
}

#[test]
fn only_a_free_volume_is_deleted() {
    let mut world = World::new();
    assert_eq!(world.err(DeleteVolume { volume_id: world.volume.clone() }), "VolumeInUse");
    let volume_id = world.ok(create("t", 1)).volume_id;
    world.ok(DeleteVolume { volume_id: volume_id.clone() });
    assert_eq!(world.err(DeleteVolume { volume_id }), "InvalidVolume.NotFound");
}

#[test]
fn volumes_grow_one_step_at_a_time_and_never_shrink() {
    let mut world = World::new();
    let volume_id = world.volume.clone();
    let to = |size_gib| ModifyVolume {
        volume_id: volume_id.clone(),
        size_gib: Some(size_gib),
        iops: None,
        throughput: None,
    };
    let none = DescribeVolumesModifications { volume_ids: vec![volume_id.clone()], ..Default::default() };
    assert_eq!(world.err(none.clone()), "InvalidVolumeModification.NotFound");
    assert_eq!(world.err(to(19)), "InvalidParameterValue");
    assert_eq!(world.ok(to(30)).modification_state, "modifying");
    assert_eq!(world.see().size_gib, 20);
    assert_eq!(world.err(to(40)), "IncorrectModificationState");
    world.wait(6_000);
    assert_eq!(world.see().size_gib, 30);
    assert_eq!(world.ok(none.clone()).modifications[0].modification_state, "optimizing");
    // 30 GiB at six hours for a TiB is less than eleven minutes.
    world.wait(660_000);
    assert_eq!(world.ok(none).modifications[0].modification_state, "completed");
    for size_gib in [31, 32, 33] {
        world.ok(to(size_gib));
        world.wait(3_600_000);
    }
    assert_eq!(world.err(to(34)), "VolumeModificationRateExceeded");
    world.wait(24 * 3_600_000);
    world.ok(to(34));
}

#[test]
fn tags_are_all_or_nothing() {
    let mut world = World::new();
    let tags: Tags = [("k".to_owned(), "v".to_owned())].into();
    let both = vec![world.volume.clone(), "i-00000000000000000".to_owned()];
    let request = cloud_sim::api::ec2::CreateTags { resource_ids: both, tags: tags.clone() };
    assert_eq!(world.err(request), "InvalidInstanceID.NotFound");
    assert!(world.see().tags.is_empty());
    let both = vec![world.volume.clone(), world.source.clone()];
    world.ok(cloud_sim::api::ec2::CreateTags { resource_ids: both, tags: tags.clone() });
    assert_eq!(world.see().tags, tags);
}
