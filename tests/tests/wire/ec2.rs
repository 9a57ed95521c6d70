//! EC2's calls for volumes, attachments and snapshots by the SDK: success and refusal of each, pages, keys.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aws_sdk_ec2::types::{
    ResourceType, SnapshotState, Tag, TagSpecification, VolumeAttachmentState, VolumeModificationState, VolumeState,
    VolumeType,
};
use aws_smithy_async::time::StaticTimeSource;

use crate::kit::{
    MISSING_INSTANCE, MISSING_SNAPSHOT, MISSING_VOLUME, World, ZONE_A, ZONE_B, code, ec2_as, ec2_config, eventually,
    filter,
};

fn tagged(kind: ResourceType, key: &str, value: &str) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).tags(Tag::builder().key(key).value(value).build()).build()
}

#[tokio::test]
async fn create_and_delete_volume() {
    let world = World::new().await;
    let before_ms = i64::from(world.running.clock.speed);
    let create = |size| {
        let call = world.ec2.create_volume().client_token("t-1").availability_zone(ZONE_A).size(size);
        let call = call.volume_type(VolumeType::Gp3).iops(4_000).throughput(250).encrypted(true);
        call.tag_specifications(tagged(ResourceType::Volume, "Name", "a <&> \"b\"")).send()
    };
    let made = create(20).await.unwrap();
    let id = made.volume_id().unwrap();
    assert_eq!(
        (made.size(), made.iops(), made.throughput(), made.encrypted()),
        (Some(20), Some(4_000), Some(250), Some(true))
    );
    assert_eq!(made.state(), Some(&VolumeState::Creating));
    assert_eq!((made.availability_zone(), made.volume_type()), (Some(ZONE_A), Some(&VolumeType::Gp3)));
    assert!(made.create_time().unwrap().to_millis().unwrap() > before_ms);
    assert_eq!(create(20).await.unwrap().volume_id(), Some(id), "the same token, the same volume");
    assert_eq!(code(create(21).await), "IdempotentParameterMismatch");

    let read = world.volume_becomes(id, |volume| volume.state() == Some(&VolumeState::Available)).await;
    assert_eq!(read.tags()[0].value(), Some("a <&> \"b\""));
    assert_eq!(read.snapshot_id(), Some(""));

    world.ec2.delete_volume().volume_id(id).send().await.unwrap();
    assert_eq!(code(world.ec2.delete_volume().volume_id(id).send().await), "InvalidVolume.NotFound");
    let none = world.ec2.create_volume().availability_zone("us-east-1z").size(1).send().await;
    assert_eq!(code(none), "InvalidZone.NotFound");
    let no_size = world.ec2.create_volume().availability_zone(ZONE_A).send().await;
    assert_eq!(code(no_size), "MissingParameter");
    let held = world.fleet.volumes[0].volume_id.as_str();
    assert_eq!(code(world.ec2.delete_volume().volume_id(held).send().await), "VolumeInUse");
}

#[tokio::test]
async fn describe_volumes_follows_its_pages() {
    let world = World::new().await;
    let whole = world.ec2.describe_volumes().send().await.unwrap();
    assert_eq!(whole.next_token(), None);
    let all: BTreeSet<String> = whole.volumes().iter().map(|v| v.volume_id().unwrap().to_owned()).collect();
    assert!(all.len() >= world.fleet.volumes.len() + world.fleet.instances.len(), "data and root volumes");

    let mut pages = world.ec2.describe_volumes().max_results(5).into_paginator().send();
    let mut seen = Vec::new();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.volumes().len() <= 5);
        seen.extend(page.volumes().iter().map(|v| v.volume_id().unwrap().to_owned()));
        count += 1;
    }
    assert_eq!(count, all.len().div_ceil(5));
    assert_eq!(seen.len(), all.len(), "each once");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);

    let seeded = &world.fleet.volumes[0];
    let by = world.ec2.describe_volumes().filters(filter("attachment.instance-id", &seeded.instance_id));
    let found = by.filters(filter("tag:NodeType", "writer")).send().await.unwrap();
    let attachment = &found.volumes()[0].attachments()[0];
    assert_eq!(found.volumes()[0].volume_id(), Some(seeded.volume_id.as_str()));
    assert_eq!(attachment.device(), Some(seeded.device.as_str()));
    assert_eq!(attachment.state(), Some(&VolumeAttachmentState::Attached));
    assert_eq!(attachment.delete_on_termination(), Some(false));

    let missing = world.ec2.describe_volumes().volume_ids(MISSING_VOLUME).volume_ids(&seeded.volume_id);
    assert_eq!(code(missing.send().await), "InvalidVolume.NotFound");
    let absent = world.ec2.describe_volumes().filters(filter("volume-id", MISSING_VOLUME)).send().await.unwrap();
    assert!(absent.volumes().is_empty(), "a filter finds nothing and does not fail");
    for refused in [
        world.ec2.describe_volumes().filters(filter("colour", "red")),
        world.ec2.describe_volumes().max_results(4),
        world.ec2.describe_volumes().next_token("nonsense"),
    ] {
        assert_eq!(code(refused.send().await), "InvalidParameterValue");
    }
    let both = world.ec2.describe_volumes().max_results(5).volume_ids(&seeded.volume_id);
    assert_eq!(code(both.send().await), "InvalidParameterCombination");
}

#[tokio::test]
async fn attach_and_detach_volume() {
    let world = World::new().await;
    let volume = world.volume(ZONE_A).await;
    let instance = world.idle(ZONE_A).instance_id.clone();
    let attach = |volume: &str, instance: &str, device: &str| {
        world.ec2.attach_volume().volume_id(volume).instance_id(instance).device(device).send()
    };
    let answer = attach(&volume, &instance, "/dev/sdg").await.unwrap();
    assert_eq!(answer.state(), Some(&VolumeAttachmentState::Attaching));
    assert_eq!(
        (answer.volume_id(), answer.instance_id(), answer.device()),
        (Some(volume.as_str()), Some(instance.as_str()), Some("/dev/sdg"))
    );
    assert!(answer.attach_time().is_some());
    world
        .volume_becomes(&volume, |v| {
            v.attachments().iter().any(|a| a.state() == Some(&VolumeAttachmentState::Attached))
        })
        .await;

    assert_eq!(code(attach(&volume, &instance, "/dev/sdh").await), "VolumeInUse");
    assert_eq!(code(attach(MISSING_VOLUME, &instance, "/dev/sdh").await), "InvalidVolume.NotFound");
    let other = world.volume(ZONE_B).await;
    assert_eq!(code(attach(&other, &instance, "/dev/sdh").await), "InvalidVolume.ZoneMismatch");
    assert_eq!(code(attach(&other, MISSING_INSTANCE, "/dev/sdh").await), "InvalidInstanceID.NotFound");
    assert_eq!(code(attach(&other, &instance, "sdh").await), "InvalidParameterValue");

    let detach = || world.ec2.detach_volume().volume_id(&volume);
    let serving = world.fleet.instances[0].instance_id.as_str();
    assert_eq!(code(detach().instance_id(serving).send().await), "InvalidAttachment.NotFound");
    assert_eq!(code(detach().device("/dev/sdh").send().await), "InvalidAttachment.NotFound");
    let answer = detach().instance_id(&instance).device("/dev/sdg").force(false).send().await.unwrap();
    assert_eq!(answer.state(), Some(&VolumeAttachmentState::Detaching));
    let free = world.volume_becomes(&volume, |v| v.attachments().is_empty()).await;
    assert_eq!(free.state(), Some(&VolumeState::Available));
    assert_eq!(code(detach().send().await), "IncorrectState");
}

#[tokio::test]
async fn modify_volume_and_its_modifications() {
    let world = World::new().await;
    let volume = world.volume(ZONE_A).await;
    let of = |id: &str| world.ec2.describe_volumes_modifications().volume_ids(id).send();
    assert_eq!(code(of(&volume).await), "InvalidVolumeModification.NotFound");
    let answer =
        world.ec2.modify_volume().volume_id(&volume).size(15).iops(5_000).throughput(300).send().await.unwrap();
    let modification = answer.volume_modification().unwrap();
    assert_eq!(modification.modification_state(), Some(&VolumeModificationState::Modifying));
    assert_eq!((modification.original_size(), modification.target_size()), (Some(10), Some(15)));
    assert_eq!(code(world.ec2.modify_volume().volume_id(&volume).size(16).send().await), "IncorrectModificationState");
    assert_eq!(code(world.ec2.modify_volume().volume_id(&volume).size(9).send().await), "InvalidParameterValue");
    assert_eq!(code(world.ec2.modify_volume().volume_id(MISSING_VOLUME).send().await), "InvalidVolume.NotFound");
    let done = eventually("end of the modification", async || {
        let read =
            world.ec2.describe_volumes_modifications().filters(filter("volume-id", &volume)).send().await.unwrap();
        let shown = read.volumes_modifications()[0].clone();
        (shown.modification_state() == Some(&VolumeModificationState::Completed)).then_some(shown)
    })
    .await;
    assert_eq!(done.progress(), Some(100));
    assert!(done.end_time().unwrap() > done.start_time().unwrap());
}

#[tokio::test]
async fn snapshots_and_what_is_made_of_them() {
    let world = World::new().await;
    // All of them are pending until they have been counted, on a busy machine too.
    world.fault(serde_json::json!({ "fault": "slow_snapshot", "count": 5 })).await;
    let seeded = &world.fleet.volumes[0];
    let create = |id: &str| {
        let call = world.ec2.create_snapshot().volume_id(id).description("before <the> move");
        call.tag_specifications(tagged(ResourceType::Snapshot, "change", "chg_1")).send()
    };
    let made = create(&seeded.volume_id).await.unwrap();
    let id = made.snapshot_id().unwrap().to_owned();
    assert_eq!((made.state(), made.volume_id()), (Some(&SnapshotState::Pending), Some(seeded.volume_id.as_str())));
    assert_eq!(made.owner_id(), Some("000000000000"));
    assert_eq!(code(create(MISSING_VOLUME).await), "InvalidVolume.NotFound");
    for _ in 0..4 {
        create(&seeded.volume_id).await.unwrap();
    }
    assert_eq!(code(create(&seeded.volume_id).await), "ConcurrentSnapshotLimitExceeded");
    let early = world.ec2.create_volume().availability_zone(ZONE_A).snapshot_id(&id).send().await;
    assert_eq!(code(early), "IncorrectState");

    let completed = eventually("completed snapshot", async || {
        let by = world.ec2.describe_snapshots().owner_ids("self").filters(filter("tag:change", "chg_1"));
        let read = by.filters(filter("volume-id", &seeded.volume_id)).send().await.unwrap();
        let found = read.snapshots().iter().find(|s| s.snapshot_id() == Some(&id))?.clone();
        (found.state() == Some(&SnapshotState::Completed)).then_some(found)
    })
    .await;
    assert_eq!((completed.progress(), completed.description()), (Some("100%"), Some("before <the> move")));
    assert!(completed.completion_time().unwrap() > completed.start_time().unwrap());
    assert_eq!(completed.volume_size(), i32::try_from(seeded.size_gib).ok());

    let mut pages = world.ec2.describe_snapshots().max_results(5).into_paginator().items().send();
    let mut seen = BTreeSet::new();
    while let Some(snapshot) = pages.next().await {
        assert!(seen.insert(snapshot.unwrap().snapshot_id.unwrap()), "each once");
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(
        code(world.ec2.describe_snapshots().snapshot_ids(MISSING_SNAPSHOT).send().await),
        "InvalidSnapshot.NotFound"
    );

    let copy = world.ec2.create_volume().availability_zone(ZONE_B).snapshot_id(&id).send().await.unwrap();
    assert_eq!((copy.snapshot_id(), copy.size()), (Some(id.as_str()), completed.volume_size()));
    world.ec2.delete_snapshot().snapshot_id(&id).send().await.unwrap();
    assert_eq!(code(world.ec2.delete_snapshot().snapshot_id(&id).send().await), "InvalidSnapshot.NotFound");
}

#[tokio::test]
async fn create_tags_on_all_or_none() {
    let world = World::new().await;
    let (volume, instance) = (world.volume(ZONE_A).await, world.idle(ZONE_A).instance_id.clone());
    let tag = |key: &str| Tag::builder().key(key).value("v").build();
    let call = world.ec2.create_tags().resources(&volume).resources(&instance).tags(tag("Tier")).tags(tag("Other"));
    call.send().await.unwrap();
    let read = world.volume_becomes(&volume, |v| v.tags().len() == 2).await;
    assert_eq!(read.tags()[1].key(), Some("Tier"));
    let half = world.ec2.create_tags().resources(&volume).resources(MISSING_VOLUME).tags(tag("Half")).send().await;
    assert_eq!(code(half), "InvalidVolume.NotFound");
    let read = world.ec2.describe_volumes().volume_ids(&volume).send().await.unwrap();
    assert!(read.volumes()[0].tags().iter().all(|tag| tag.key() != Some("Half")));
}

#[tokio::test]
async fn only_the_right_key_and_a_fresh_signature_are_let_in() {
    let world = World::new().await;
    let url = &world.running.cloud_url;
    let before = world.ledger(0).await.len();
    assert_eq!(code(ec2_as(url, "stranger").describe_volumes().send().await), "AuthFailure");
    for (age_s, expected) in [(301, Some("RequestExpired")), (240, None)] {
        let signed = SystemTime::now() - Duration::from_secs(age_s);
        let config = ec2_config(url, "dev").time_source(StaticTimeSource::new(signed)).build();
        let answer = aws_sdk_ec2::Client::from_conf(config).describe_subnets().send().await;
        match expected {
            Some(expected) => assert_eq!(code(answer), expected),
            None => assert_eq!(answer.unwrap().subnets().len(), 6),
        }
    }
    let unsigned = world.http.ask(http::Method::POST, "/", None, None).await.unwrap();
    assert_eq!(unsigned.0, 403);
    assert_eq!(world.ledger(0).await.len(), before + 1, "what was not let in did not reach the cloud");
}

#[tokio::test]
async fn what_the_simulator_does_not_do_is_refused_and_not_done() {
    let world = World::new().await;
    let volume = world.volume(ZONE_A).await;
    assert_eq!(code(world.ec2.copy_volumes().source_volume_id(&volume).send().await), "InvalidAction");
    let half = world.ec2.create_volume().availability_zone(ZONE_A).size(1).kms_key_id("k").send().await;
    assert_eq!(code(half), "UnknownParameter");
    let dry = world.ec2.delete_volume().volume_id(&volume).dry_run(true).send().await;
    assert_eq!(code(dry), "DryRunOperation");
    assert!(!world.ec2.describe_volumes().volume_ids(&volume).send().await.unwrap().volumes().is_empty());
}
