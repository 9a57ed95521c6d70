//! EC2's query protocol: answers and refusals as XML, element by element as the SDK reads them.

use super::timestamp::iso8601;
use super::xml::Xml;
use crate::api::ec2::{
    Attachment, BlockDevice, Instance, InstanceStateChange, InstanceStatus, Snapshot, Subnet, Tags, Volume,
    VolumeModification,
};
use crate::api::{Answer, ApiError};

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The answer of an action. None if it is not EC2's.
pub(super) fn answer(answer: &Answer, account_id: &str, request_id: &str) -> Option<String> {
    let document = |action: &str, fill: &dyn Fn(&mut Xml)| {
        Some(Xml::document(&format!("{action}Response"), NAMESPACE, |xml| {
            xml.value("requestId", request_id);
            fill(xml);
        }))
    };
    match answer {
        Answer::CreateVolume(made) => document("CreateVolume", &|xml| volume(xml, made)),
        Answer::DeleteVolume(_) => document("DeleteVolume", &done),
        Answer::ModifyVolume(made) => document("ModifyVolume", &|xml| {
            xml.element("volumeModification", |xml| modification(xml, made));
        }),
        Answer::DescribeVolumes(page) => document("DescribeVolumes", &|xml| {
            xml.list("volumeSet", "item", &page.volumes, volume);
            xml.option("nextToken", page.next_token.as_ref());
        }),
        Answer::DescribeVolumesModifications(page) => document("DescribeVolumesModifications", &|xml| {
            xml.list("volumeModificationSet", "item", &page.modifications, modification);
            xml.option("nextToken", page.next_token.as_ref());
        }),
        Answer::AttachVolume(made) => document("AttachVolume", &|xml| attachment(xml, made)),
        Answer::DetachVolume(made) => document("DetachVolume", &|xml| attachment(xml, made)),
        Answer::CreateSnapshot(made) => document("CreateSnapshot", &|xml| snapshot(xml, made, account_id)),
        Answer::DeleteSnapshot(_) => document("DeleteSnapshot", &done),
        Answer::DescribeSnapshots(page) => document("DescribeSnapshots", &|xml| {
            xml.list("snapshotSet", "item", &page.snapshots, |xml, found| snapshot(xml, found, account_id));
            xml.option("nextToken", page.next_token.as_ref());
        }),
        Answer::CreateTags(_) => document("CreateTags", &done),
        Answer::DescribeInstances(page) => document("DescribeInstances", &|xml| {
            xml.list("reservationSet", "item", &page.instances, |xml, found| {
                xml.value("reservationId", found.instance_id.replacen("i-", "r-", 1));
                xml.value("ownerId", account_id);
                xml.list("instancesSet", "item", [found], instance);
            });
            xml.option("nextToken", page.next_token.as_ref());
        }),
        Answer::DescribeInstanceStatus(page) => document("DescribeInstanceStatus", &|xml| {
            xml.list("instanceStatusSet", "item", &page.statuses, instance_status);
            xml.option("nextToken", page.next_token.as_ref());
        }),
        Answer::ModifyInstanceAttribute(_) => document("ModifyInstanceAttribute", &done),
        Answer::TerminateInstances(made) => document("TerminateInstances", &|xml| {
            xml.list("instancesSet", "item", &made.changes, state_change);
        }),
        Answer::DescribeInstanceTypeOfferings(page) => document("DescribeInstanceTypeOfferings", &|xml| {
            xml.list("instanceTypeOfferingSet", "item", &page.offerings, |xml, found| {
                xml.value("instanceType", &found.instance_type);
                xml.value("locationType", &found.location_type);
                xml.value("location", &found.location);
            });
            xml.option("nextToken", page.next_token.as_ref());
        }),
        Answer::DescribeSubnets(page) => document("DescribeSubnets", &|xml| {
            xml.list("subnetSet", "item", &page.subnets, subnet);
            xml.option("nextToken", page.next_token.as_ref());
        }),
        _ => None,
    }
}

/// A refusal.
pub(super) fn error(error: &ApiError, request_id: &str) -> String {
    Xml::document("Response", "", |xml| {
        xml.list("Errors", "Error", [error], |xml, error| {
            xml.value("Code", &error.code);
            xml.value("Message", &error.message);
        });
        xml.value("RequestID", request_id);
    })
}

fn done(xml: &mut Xml) {
    xml.value("return", true);
}

fn tags(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", "item", tags, |xml, (key, value)| {
        xml.value("key", key);
        xml.value("value", value);
    });
}

fn volume(xml: &mut Xml, volume: &Volume) {
    xml.value("volumeId", &volume.volume_id);
    xml.value("size", volume.size_gib);
    // An element without text where there is no snapshot, as EC2 has it.
    xml.value("snapshotId", &volume.snapshot_id);
    xml.value("availabilityZone", &volume.availability_zone);
    xml.value("availabilityZoneId", &volume.availability_zone_id);
    xml.value("status", &volume.state);
    xml.value("createTime", iso8601(volume.create_time_ms));
    xml.list("attachmentSet", "item", &volume.attachments, attachment);
    tags(xml, &volume.tags);
    xml.value("volumeType", &volume.volume_type);
    xml.value("iops", volume.iops);
    xml.value("throughput", volume.throughput);
    xml.value("encrypted", volume.encrypted);
    xml.value("multiAttachEnabled", false);
}

/// Also what AttachVolume and DetachVolume answer with.
fn attachment(xml: &mut Xml, attachment: &Attachment) {
    xml.value("volumeId", &attachment.volume_id);
    xml.value("instanceId", &attachment.instance_id);
    xml.value("device", &attachment.device);
    xml.value("status", &attachment.state);
    xml.value("attachTime", iso8601(attachment.attach_time_ms));
    xml.value("deleteOnTermination", attachment.delete_on_termination);
}

fn modification(xml: &mut Xml, modification: &VolumeModification) {
    xml.value("volumeId", &modification.volume_id);
    xml.value("modificationState", &modification.modification_state);
    xml.value("originalSize", modification.original_size_gib);
    xml.value("targetSize", modification.target_size_gib);
    xml.value("progress", modification.progress);
    xml.value("startTime", iso8601(modification.start_time_ms));
    xml.option("endTime", modification.end_time_ms.map(iso8601));
}

fn snapshot(xml: &mut Xml, snapshot: &Snapshot, account_id: &str) {
    xml.value("snapshotId", &snapshot.snapshot_id);
    xml.value("volumeId", &snapshot.volume_id);
    xml.value("status", &snapshot.state);
    xml.some("statusMessage", &snapshot.state_message);
    xml.value("startTime", iso8601(snapshot.start_time_ms));
    xml.option("completionTime", snapshot.completion_time_ms.map(iso8601));
    xml.value("progress", format!("{}%", snapshot.progress));
    xml.value("ownerId", account_id);
    xml.value("volumeSize", snapshot.volume_size_gib);
    xml.value("description", &snapshot.description);
    xml.value("encrypted", snapshot.encrypted);
    tags(xml, &snapshot.tags);
}

fn instance(xml: &mut Xml, instance: &Instance) {
    xml.value("instanceId", &instance.instance_id);
    xml.element("instanceState", |xml| state(xml, instance.state_code, &instance.state));
    if !instance.state_reason_code.is_empty() {
        xml.element("stateReason", |xml| {
            xml.value("code", &instance.state_reason_code);
            xml.value("message", &instance.state_reason_code);
        });
    }
    xml.value("instanceType", &instance.instance_type);
    xml.value("launchTime", iso8601(instance.launch_time_ms));
    xml.element("placement", |xml| {
        xml.value("availabilityZone", &instance.availability_zone);
        xml.value("availabilityZoneId", &instance.availability_zone_id);
        xml.value("tenancy", "default");
    });
    xml.some("subnetId", &instance.subnet_id);
    xml.some("privateIpAddress", &instance.private_ip);
    xml.value("rootDeviceType", "ebs");
    xml.value("rootDeviceName", &instance.root_device_name);
    xml.list("blockDeviceMapping", "item", &instance.block_devices, block_device);
    tags(xml, &instance.tags);
}

fn block_device(xml: &mut Xml, device: &BlockDevice) {
    xml.value("deviceName", &device.device_name);
    xml.element("ebs", |xml| {
        xml.value("volumeId", &device.volume_id);
        xml.value("status", &device.status);
        xml.value("attachTime", iso8601(device.attach_time_ms));
        xml.value("deleteOnTermination", device.delete_on_termination);
    });
}

fn state(xml: &mut Xml, code: u16, name: &str) {
    xml.value("code", code);
    xml.value("name", name);
}

fn instance_status(xml: &mut Xml, status: &InstanceStatus) {
    xml.value("instanceId", &status.instance_id);
    xml.value("availabilityZone", &status.availability_zone);
    xml.element("instanceState", |xml| state(xml, status.state_code, &status.state));
    xml.element("systemStatus", |xml| xml.value("status", &status.system_status));
    xml.element("instanceStatus", |xml| xml.value("status", &status.instance_status));
}

fn state_change(xml: &mut Xml, change: &InstanceStateChange) {
    xml.value("instanceId", &change.instance_id);
    xml.element("currentState", |xml| state(xml, change.current_state_code, &change.current_state));
    xml.element("previousState", |xml| state(xml, change.previous_state_code, &change.previous_state));
}

fn subnet(xml: &mut Xml, subnet: &Subnet) {
    xml.value("subnetId", &subnet.subnet_id);
    xml.value("state", "available");
    xml.value("vpcId", &subnet.vpc_id);
    xml.value("cidrBlock", &subnet.cidr_block);
    xml.value("availabilityZone", &subnet.availability_zone);
    xml.value("availabilityZoneId", &subnet.availability_zone_id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Done;

    #[test]
    fn a_refusal_is_written_as_ec2_writes_it() {
        let text = error(&ApiError::bad("InvalidVolume.NotFound", "The volume '<x>' does not exist."), "r-1");
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidVolume.NotFound</Code>\
             <Message>The volume '&lt;x&gt;' does not exist.</Message></Error></Errors><RequestID>r-1</RequestID>\
             </Response>"
        );
    }

    #[test]
    fn an_answer_names_its_action_and_its_request() {
        let text = answer(&Answer::CreateTags(Done {}), "0", "r-1").unwrap();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <CreateTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>\
             <return>true</return></CreateTagsResponse>"
        );
        let made = Attachment {
            volume_id: "vol-1".into(),
            instance_id: "i-1".into(),
            device: "/dev/sdf".into(),
            state: "attaching".into(),
            attach_time_ms: 1_795_465_260_123,
            delete_on_termination: false,
        };
        let text = answer(&Answer::AttachVolume(made), "0", "r-1").unwrap();
        assert!(text.contains(
            "<volumeId>vol-1</volumeId><instanceId>i-1</instanceId><device>/dev/sdf</device><status>attaching</status>\
             <attachTime>2026-11-23T20:21:00.123Z</attachTime><deleteOnTermination>false</deleteOnTermination>"
        ));
    }

    #[test]
    fn another_services_answer_is_none() {
        assert_eq!(answer(&Answer::SetInstanceProtection(Done {}), "0", "r-1"), None);
    }
}
