//! EC2: the request of each call, and the answer as our types.

use super::{answering, aws, instance_id, parameters, tags, volume_id};
use crate::adapters::canned::{Canned, Reply};
use crate::ports::cloud::{
    AttachmentState, Check, CreateVolume, Ec2Api, InstanceState, ModificationState, SnapshotFilter, SnapshotRequest,
    SnapshotState, VolumeFilter, VolumeState,
};
use tiershift_core::UnixMs;
use tiershift_core::ids::{SnapshotId, Zone};

#[tokio::test]
async fn volumes_are_asked_for_in_filter_form_and_pages_are_followed() {
    let server = Canned::start(|seen, _| {
        Reply::ok(match seen.parameter("NextToken") {
            None => {
                r#"<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><volumeSet><item>
                <volumeId>vol-0123456789abcdef0</volumeId><size>100</size><snapshotId/>
                <availabilityZone>us-east-1b</availabilityZone><availabilityZoneId>use1-az2</availabilityZoneId>
                <status>in-use</status><createTime>2026-11-23T10:00:00.500Z</createTime>
                <attachmentSet><item><volumeId>vol-0123456789abcdef0</volumeId>
                <instanceId>i-0123456789abcdef0</instanceId><device>/dev/sdf</device><status>busy</status>
                <attachTime>2026-11-23T10:00:00Z</attachTime><deleteOnTermination>false</deleteOnTermination></item>
                <item><volumeId>vol-0123456789abcdef0</volumeId><status>teleporting</status></item></attachmentSet>
                <tagSet><item><key>Tier</key><value>large</value></item><item><key>Empty</key><value/></item></tagSet>
                <volumeType>gp3</volumeType><encrypted>true</encrypted><kmsKeyId>arn:k</kmsKeyId>
                <multiAttachEnabled>false</multiAttachEnabled></item></volumeSet>
                <nextToken>page2</nextToken></DescribeVolumesResponse>"#
            }
            Some(_) => {
                r#"<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><volumeSet><item>
                <volumeId>vol-0123456789abcdef1</volumeId><size>8</size><snapshotId>snap-01234567</snapshotId>
                <availabilityZone>us-east-1a</availabilityZone><status>shiny</status><volumeType>gp9</volumeType>
                </item></volumeSet></DescribeVolumesResponse>"#
            }
        })
    })
    .await;
    let filter = VolumeFilter {
        ids: vec![volume_id()],
        instance_ids: vec![instance_id()],
        tags: tags(&[("volsvc:migration", "chg_1")]),
    };
    let volumes = aws(&server).await.ec2().describe_volumes(&filter).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    let expected = [
        "Action=DescribeVolumes",
        "Filter.1.Name=volume-id",
        "Filter.1.Value.1=vol-0123456789abcdef0",
        "Filter.2.Name=attachment.instance-id",
        "Filter.2.Value.1=i-0123456789abcdef0",
        "Filter.3.Name=tag:volsvc:migration",
        "Filter.3.Value.1=chg_1",
        "MaxResults=500",
    ];
    assert_eq!(parameters(&seen[0].body), expected);
    assert_eq!(seen[1].parameter("NextToken"), Some("page2"));

    let [first, second] = volumes.as_slice() else { panic!("two volumes: {volumes:?}") };
    assert_eq!(first.state, VolumeState::InUse);
    assert_eq!((first.size_gib, first.zone.as_str(), first.zone_id.as_deref()), (100, "us-east-1b", Some("use1-az2")));
    assert_eq!(first.created_at, Some(UnixMs(1_795_428_000_500)));
    assert_eq!(first.snapshot_id, None, "an empty element is no snapshot");
    assert_eq!((first.encrypted, first.kms_key_id.as_deref(), first.multi_attach), (true, Some("arn:k"), false));
    assert_eq!(first.tags, tags(&[("Tier", "large"), ("Empty", "")]));
    let [held, strange] = first.attachments.as_slice() else { panic!("two attachments") };
    assert_eq!(held.instance_id, Some(instance_id()));
    assert_eq!((held.device.as_str(), &held.state), ("/dev/sdf", &AttachmentState::Busy));
    assert!(!held.delete_on_termination);
    assert_eq!(strange.state, AttachmentState::Other("teleporting".to_owned()));
    assert_eq!(strange.instance_id, None);
    assert!(strange.delete_on_termination, "not said is not known to be false");
    assert_eq!(second.state, VolumeState::Other("shiny".to_owned()));
    assert_eq!((second.volume_type.as_str(), second.attachments.len()), ("gp9", 0));
    assert_eq!(second.snapshot_id, Some(SnapshotId::parse("snap-01234567").unwrap()));
}

#[tokio::test]
async fn instances_and_their_checks() {
    let server = Canned::start(|seen, _| {
        Reply::ok(match seen.action() {
            "DescribeInstances" => {
                r"<DescribeInstancesResponse><reservationSet><item><reservationId>r-1</reservationId><instancesSet><item>
                <instanceId>i-0123456789abcdef0</instanceId><instanceState><code>16</code><name>running</name>
                </instanceState><instanceType>r7g.large</instanceType><launchTime>2026-11-23T10:00:00Z</launchTime>
                <placement><availabilityZone>us-east-1a</availabilityZone></placement>
                <privateIpAddress>10.0.0.7</privateIpAddress><subnetId>subnet-1</subnetId>
                <rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/xvda</deviceName>
                <ebs><volumeId>vol-0123456789abcdef9</volumeId><status>attached</status>
                <deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping></item></instancesSet>
                </item></reservationSet></DescribeInstancesResponse>"
            }
            _ => {
                r"<DescribeInstanceStatusResponse><instanceStatusSet><item><instanceId>i-0123456789abcdef0</instanceId>
                <instanceState><code>48</code><name>terminated</name></instanceState>
                <systemStatus><status>impaired</status></systemStatus><instanceStatus><status>ok</status>
                </instanceStatus></item></instanceStatusSet></DescribeInstanceStatusResponse>"
            }
        })
    })
    .await;
    let ec2 = aws(&server).await.ec2();
    let instances = ec2.describe_instances(&[instance_id()]).await.unwrap();
    let instance = &instances[0];
    assert_eq!((&instance.state, instance.instance_type.as_str()), (&InstanceState::Running, "r7g.large"));
    assert_eq!((instance.private_ip.as_deref(), instance.zone.as_str()), (Some("10.0.0.7"), "us-east-1a"));
    assert_eq!(instance.block_devices.len(), 1);
    assert_eq!(instance.block_devices[0].state, AttachmentState::Attached);
    let status = ec2.describe_instance_status(&[instance_id()]).await.unwrap();
    assert_eq!((&status[0].state, &status[0].system), (&InstanceState::Terminated, &Check::Impaired));
    assert_eq!((&status[0].instance, &status[0].attached_ebs), (&Check::Ok, &Check::Other(String::new())));
    let seen = server.seen();
    let by_filter = [
        "Action=DescribeInstances",
        "Filter.1.Name=instance-id",
        "Filter.1.Value.1=i-0123456789abcdef0",
        "MaxResults=500",
    ];
    assert_eq!(parameters(&seen[0].body), by_filter);
    let by_id = ["Action=DescribeInstanceStatus", "IncludeAllInstances=true", "InstanceId.1=i-0123456789abcdef0"];
    assert_eq!(parameters(&seen[1].body), by_id);
}

#[tokio::test]
async fn snapshots_are_found_by_volume_and_tag() {
    let server = answering(
        r"<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-0123456789abcdef0</snapshotId>
        <volumeId>vol-0123456789abcdef0</volumeId><status>pending</status><startTime>2026-11-23T10:00:00Z</startTime>
        <progress>42%</progress><volumeSize>100</volumeSize><tagSet><item><key>volsvc:step</key><value>safety</value>
        </item></tagSet></item><item><snapshotId>snap-0123456789abcdef1</snapshotId><volumeId>vol-ffffffff</volumeId>
        <status>error</status><statusMessage>key revoked</statusMessage><progress/></item></snapshotSet>
        </DescribeSnapshotsResponse>",
    )
    .await;
    let filter = SnapshotFilter {
        ids: vec![],
        volume_ids: vec![volume_id()],
        tags: tags(&[("volsvc:step", "safety")]),
        any_of: [("volsvc:migration".to_owned(), vec!["chg_1".to_owned(), "chg_2".to_owned()])].into(),
    };
    let snapshots = aws(&server).await.ec2().describe_snapshots(&filter).await.unwrap();
    assert_eq!((&snapshots[0].state, snapshots[0].progress_percent), (&SnapshotState::Pending, Some(42)));
    assert_eq!(snapshots[0].tags, tags(&[("volsvc:step", "safety")]));
    assert_eq!((&snapshots[1].state, snapshots[1].progress_percent), (&SnapshotState::Error, None));
    assert_eq!(snapshots[1].state_message.as_deref(), Some("key revoked"));
    let expected = [
        "Action=DescribeSnapshots",
        "Filter.1.Name=volume-id",
        "Filter.1.Value.1=vol-0123456789abcdef0",
        "Filter.2.Name=tag:volsvc:step",
        "Filter.2.Value.1=safety",
        "Filter.3.Name=tag:volsvc:migration",
        "Filter.3.Value.1=chg_1",
        "Filter.3.Value.2=chg_2",
        "MaxResults=500",
        "Owner.1=self",
    ];
    assert_eq!(parameters(&server.only().body), expected);
}

#[tokio::test]
async fn the_smaller_reads() {
    let server = Canned::start(|seen, _| {
        Reply::ok(match seen.action() {
            "DescribeVolumesModifications" => {
                r"<DescribeVolumesModificationsResponse><volumeModificationSet><item>
                <volumeId>vol-0123456789abcdef0</volumeId><modificationState>optimizing</modificationState>
                <targetSize>200</targetSize></item></volumeModificationSet></DescribeVolumesModificationsResponse>"
            }
            "DescribeInstanceTypeOfferings" => {
                r"<DescribeInstanceTypeOfferingsResponse><instanceTypeOfferingSet><item>
                <instanceType>r7g.large</instanceType><locationType>availability-zone</locationType>
                <location>us-east-1b</location></item><item><instanceType>r7g.large</instanceType>
                <locationType>availability-zone</locationType><location>us-east-1a</location></item>
                </instanceTypeOfferingSet></DescribeInstanceTypeOfferingsResponse>"
            }
            _ => {
                r"<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-1</subnetId>
                <availabilityZone>us-east-1a</availabilityZone><availableIpAddressCount>0</availableIpAddressCount>
                </item></subnetSet></DescribeSubnetsResponse>"
            }
        })
    })
    .await;
    let ec2 = aws(&server).await.ec2();
    let modifications = ec2.describe_volumes_modifications(&[volume_id()]).await.unwrap();
    assert_eq!(
        (&modifications[0].state, modifications[0].target_size_gib),
        (&ModificationState::Optimizing, Some(200))
    );
    let zones = ec2.describe_instance_type_offerings("r7g.large").await.unwrap();
    assert_eq!(zones.iter().map(Zone::as_str).collect::<Vec<_>>(), ["us-east-1a", "us-east-1b"]);
    let subnets = ec2.describe_subnets(&["subnet-1".to_owned()]).await.unwrap();
    assert_eq!((subnets[0].zone.as_str(), subnets[0].free_addresses), ("us-east-1a", Some(0)));
    let offerings = [
        "Action=DescribeInstanceTypeOfferings",
        "Filter.1.Name=instance-type",
        "Filter.1.Value.1=r7g.large",
        "LocationType=availability-zone",
        "MaxResults=500",
    ];
    assert_eq!(parameters(&server.seen()[1].body), offerings);
}

#[tokio::test]
async fn no_ids_no_call() {
    let server = answering("").await;
    let ec2 = aws(&server).await.ec2();
    assert_eq!(ec2.describe_instances(&[]).await, Ok(vec![]));
    assert_eq!(ec2.describe_instance_status(&[]).await, Ok(vec![]));
    assert_eq!(ec2.describe_volumes_modifications(&[]).await, Ok(vec![]));
    assert_eq!(ec2.describe_subnets(&[]).await, Ok(vec![]));
    assert_eq!(ec2.create_tags(&[], &tags(&[("a", "b")])).await, Ok(()));
    assert_eq!(server.seen(), []);
}

#[tokio::test]
async fn attach_and_detach_name_volume_instance_and_device_and_never_force() {
    let server = Canned::start(|seen, _| {
        let (action, state) = (seen.action(), if seen.action() == "AttachVolume" { "attaching" } else { "detaching" });
        Reply::ok(format!(
            "<{action}Response><volumeId>vol-0123456789abcdef0</volumeId><instanceId>i-0123456789abcdef0</instanceId>\
             <device>/dev/sdf</device><status>{state}</status></{action}Response>"
        ))
    })
    .await;
    let ec2 = aws(&server).await.ec2();
    let attached = ec2.attach_volume(&volume_id(), &instance_id(), "/dev/sdf").await.unwrap();
    let detached = ec2.detach_volume(&volume_id(), &instance_id(), "/dev/sdf").await.unwrap();
    assert_eq!((attached.state, detached.state), (AttachmentState::Attaching, AttachmentState::Detaching));
    for (seen, action) in server.seen().iter().zip(["AttachVolume", "DetachVolume"]) {
        let action = format!("Action={action}");
        let named = ["Device=/dev/sdf", "InstanceId=i-0123456789abcdef0", "VolumeId=vol-0123456789abcdef0"];
        assert_eq!(parameters(&seen.body), [&[action.as_str()][..], &named].concat());
    }
}

#[tokio::test]
async fn a_snapshot_is_tagged_in_the_call_that_makes_it() {
    let server = answering(
        "<CreateSnapshotResponse><snapshotId>snap-0123456789abcdef0</snapshotId>\
         <volumeId>vol-0123456789abcdef0</volumeId><status>pending</status><volumeSize>100</volumeSize>\
         <progress/></CreateSnapshotResponse>",
    )
    .await;
    let request = SnapshotRequest {
        volume_id: volume_id(),
        description: "safety".to_owned(),
        tags: tags(&[("volsvc:epoch", "3"), ("volsvc:migration", "chg_1")]),
    };
    let snapshot = aws(&server).await.ec2().create_snapshot(&request).await.unwrap();
    assert_eq!((snapshot.state, snapshot.volume_id), (SnapshotState::Pending, Some(volume_id())));
    let expected = [
        "Action=CreateSnapshot",
        "Description=safety",
        "TagSpecification.1.ResourceType=snapshot",
        "TagSpecification.1.Tag.1.Key=volsvc:epoch",
        "TagSpecification.1.Tag.1.Value=3",
        "TagSpecification.1.Tag.2.Key=volsvc:migration",
        "TagSpecification.1.Tag.2.Value=chg_1",
        "VolumeId=vol-0123456789abcdef0",
    ];
    assert_eq!(parameters(&server.only().body), expected);
}

#[tokio::test]
async fn the_other_writes_send_what_was_asked() {
    let server = Canned::start(|seen, _| {
        Reply::ok(match seen.action() {
            "TerminateInstances" => {
                "<TerminateInstancesResponse><instancesSet><item><instanceId>i-0123456789abcdef0</instanceId>\
                 <currentState><code>32</code><name>shutting-down</name></currentState></item></instancesSet>\
                 </TerminateInstancesResponse>"
                    .to_owned()
            }
            "CreateVolume" => "<CreateVolumeResponse><volumeId>vol-0123456789abcdef0</volumeId><size>50</size>\
                 <availabilityZone>us-east-1a</availabilityZone><status>creating</status></CreateVolumeResponse>"
                .to_owned(),
            action => format!("<{action}Response><return>true</return></{action}Response>"),
        })
    })
    .await;
    let ec2 = aws(&server).await.ec2();
    ec2.delete_snapshot(&SnapshotId::parse("snap-01234567").unwrap()).await.unwrap();
    ec2.create_tags(&["vol-1".to_owned()], &tags(&[("Tier", "xlarge")])).await.unwrap();
    ec2.modify_instance_attribute(&instance_id(), "/dev/sdf").await.unwrap();
    assert_eq!(ec2.terminate_instances(&instance_id()).await, Ok(InstanceState::ShuttingDown));
    let request = CreateVolume {
        client_token: "token".to_owned(),
        zone: Zone::parse("us-east-1a").unwrap(),
        size_gib: 50,
        volume_type: "gp3".to_owned(),
        iops: Some(3_000),
        throughput_mib: None,
        encrypted: true,
        kms_key_id: None,
        snapshot_id: None,
        tags: tags(&[]),
    };
    assert_eq!(ec2.create_volume(&request).await.unwrap().state, VolumeState::Creating);
    let expected = [
        vec!["Action=DeleteSnapshot", "SnapshotId=snap-01234567"],
        vec!["Action=CreateTags", "ResourceId.1=vol-1", "Tag.1.Key=Tier", "Tag.1.Value=xlarge"],
        vec![
            "Action=ModifyInstanceAttribute",
            "BlockDeviceMapping.1.DeviceName=/dev/sdf",
            "BlockDeviceMapping.1.Ebs.DeleteOnTermination=false",
            "InstanceId=i-0123456789abcdef0",
        ],
        vec!["Action=TerminateInstances", "InstanceId.1=i-0123456789abcdef0"],
        vec![
            "Action=CreateVolume",
            "AvailabilityZone=us-east-1a",
            "ClientToken=token",
            "Encrypted=true",
            "Iops=3000",
            "Size=50",
            "VolumeType=gp3",
        ],
    ];
    let sent: Vec<Vec<String>> = server.seen().iter().map(|seen| parameters(&seen.body)).collect();
    assert_eq!(sent, expected);
}
