//! EC2's answers as our types. What must be there and is not makes the answer malformed, hence unknown; a word that
//! is not known is kept as `Other`.

use super::super::errors::malformed;
use crate::ports::cloud::{
    ApiError, Attachment, AttachmentState, BlockDevice, Check, Instance, InstanceState, InstanceStatus,
    ModificationState, Snapshot, SnapshotState, Subnet, Tags, Volume, VolumeModification, VolumeState,
};
use aws_sdk_ec2::operation::{attach_volume, create_snapshot, create_volume, detach_volume};
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types;
use tiershift_core::UnixMs;
use tiershift_core::ids::{InstanceId, Malformed, SnapshotId, VolumeId, Zone};

type Op = &'static str;

fn id<T>(
    op: Op,
    what: &str,
    text: Option<String>,
    parse: impl Fn(String) -> Result<T, Malformed>,
) -> Result<T, ApiError> {
    text.and_then(|text| parse(text).ok()).ok_or_else(|| malformed(op, what))
}

fn volume_id(op: Op, text: Option<String>) -> Result<VolumeId, ApiError> {
    id(op, "volume id", text, VolumeId::parse)
}

fn instance_id(op: Op, text: Option<String>) -> Result<InstanceId, ApiError> {
    id(op, "instance id", text, InstanceId::parse)
}

pub(super) fn zone(op: Op, text: Option<String>) -> Result<Zone, ApiError> {
    id(op, "zone", text, Zone::parse)
}

/// An id that may be missing, but not be malformed. EC2 writes "none" as an empty text, too.
fn optional<T>(
    op: Op,
    what: &str,
    text: Option<String>,
    parse: impl Fn(String) -> Result<T, Malformed>,
) -> Result<Option<T>, ApiError> {
    text.filter(|text| !text.is_empty()).map(|text| id(op, what, Some(text), &parse)).transpose()
}

fn instant(time: Option<DateTime>) -> Option<UnixMs> {
    time.and_then(|time| time.to_millis().ok()).map(UnixMs)
}

fn tags(tags: Option<Vec<types::Tag>>) -> Tags {
    let pair = |tag: types::Tag| Some((tag.key?, tag.value.unwrap_or_default()));
    tags.unwrap_or_default().into_iter().filter_map(pair).collect()
}

/// The SDK has three types with the fields of an attachment.
macro_rules! attachment_of {
    ($op:expr, $a:expr) => {{
        let (op, a) = ($op, $a);
        Ok(Attachment {
            volume_id: volume_id(op, a.volume_id)?,
            instance_id: optional(op, "instance id", a.instance_id, InstanceId::parse)?,
            device: a.device.unwrap_or_default(),
            state: AttachmentState::parse(a.state.as_ref().map_or("", |state| state.as_str())),
            delete_on_termination: a.delete_on_termination.unwrap_or(true),
        })
    }};
}

pub(super) fn attachment(op: Op, attachment: types::VolumeAttachment) -> Result<Attachment, ApiError> {
    attachment_of!(op, attachment)
}

pub(super) fn attached(op: Op, answer: attach_volume::AttachVolumeOutput) -> Result<Attachment, ApiError> {
    attachment_of!(op, answer)
}

pub(super) fn detached(op: Op, answer: detach_volume::DetachVolumeOutput) -> Result<Attachment, ApiError> {
    attachment_of!(op, answer)
}

/// The SDK has two types with the fields of a volume.
macro_rules! volume_of {
    ($op:expr, $v:expr) => {{
        let (op, v) = ($op, $v);
        let attachments = v.attachments.unwrap_or_default().into_iter();
        Ok(Volume {
            volume_id: volume_id(op, v.volume_id)?,
            state: VolumeState::parse(v.state.as_ref().map_or("", |state| state.as_str())),
            zone: zone(op, v.availability_zone)?,
            zone_id: v.availability_zone_id,
            size_gib: v.size.map(i64::from).ok_or_else(|| malformed(op, "size"))?,
            volume_type: v.volume_type.as_ref().map_or("", |kind| kind.as_str()).to_owned(),
            encrypted: v.encrypted.unwrap_or(false),
            kms_key_id: v.kms_key_id,
            snapshot_id: optional(op, "snapshot id", v.snapshot_id, SnapshotId::parse)?,
            multi_attach: v.multi_attach_enabled.unwrap_or(false),
            attachments: attachments.map(|a| attachment(op, a)).collect::<Result<_, _>>()?,
            tags: tags(v.tags),
            created_at: instant(v.create_time),
        })
    }};
}

pub(super) fn volume(op: Op, volume: types::Volume) -> Result<Volume, ApiError> {
    volume_of!(op, volume)
}

pub(super) fn created_volume(op: Op, answer: create_volume::CreateVolumeOutput) -> Result<Volume, ApiError> {
    volume_of!(op, answer)
}

/// The SDK has two types with the fields of a snapshot.
macro_rules! snapshot_of {
    ($op:expr, $s:expr) => {{
        let (op, s) = ($op, $s);
        Ok(Snapshot {
            snapshot_id: id(op, "snapshot id", s.snapshot_id, SnapshotId::parse)?,
            // A copied snapshot names a volume of zeros or f's: no volume of ours.
            volume_id: s.volume_id.and_then(|text| VolumeId::parse(text).ok()),
            state: SnapshotState::parse(s.state.as_ref().map_or("", |state| state.as_str())),
            state_message: s.state_message,
            progress_percent: s.progress.as_deref().and_then(percent),
            started_at: instant(s.start_time),
            volume_size_gib: s.volume_size.map_or(0, i64::from),
            tags: tags(s.tags),
        })
    }};
}

pub(super) fn snapshot(op: Op, snapshot: types::Snapshot) -> Result<Snapshot, ApiError> {
    snapshot_of!(op, snapshot)
}

pub(super) fn created_snapshot(op: Op, answer: create_snapshot::CreateSnapshotOutput) -> Result<Snapshot, ApiError> {
    snapshot_of!(op, answer)
}

/// `"42%"`.
fn percent(text: &str) -> Option<u8> {
    text.trim_end_matches('%').parse().ok().filter(|percent| *percent <= 100)
}

pub(super) fn modification(op: Op, found: types::VolumeModification) -> Result<VolumeModification, ApiError> {
    Ok(VolumeModification {
        volume_id: volume_id(op, found.volume_id)?,
        state: ModificationState::parse(found.modification_state.as_ref().map_or("", |state| state.as_str())),
        target_size_gib: found.target_size.map(i64::from),
    })
}

fn instance_state(state: Option<types::InstanceState>) -> InstanceState {
    InstanceState::parse(state.and_then(|state| state.name).as_ref().map_or("", |name| name.as_str()))
}

pub(super) fn instance(op: Op, found: types::Instance) -> Result<Instance, ApiError> {
    let placement = found.placement.unwrap_or_else(|| types::Placement::builder().build());
    let devices = found.block_device_mappings.unwrap_or_default().into_iter();
    Ok(Instance {
        instance_id: instance_id(op, found.instance_id)?,
        state: instance_state(found.state),
        instance_type: found.instance_type.as_ref().map_or("", |kind| kind.as_str()).to_owned(),
        zone: zone(op, placement.availability_zone)?,
        zone_id: placement.availability_zone_id,
        private_ip: found.private_ip_address,
        subnet_id: found.subnet_id,
        root_device: found.root_device_name,
        block_devices: devices.map(|device| block_device(op, device)).collect::<Result<_, _>>()?,
        tags: tags(found.tags),
        launched_at: instant(found.launch_time),
    })
}

fn block_device(op: Op, found: types::InstanceBlockDeviceMapping) -> Result<BlockDevice, ApiError> {
    let ebs = found.ebs.unwrap_or_else(|| types::EbsInstanceBlockDevice::builder().build());
    Ok(BlockDevice {
        device: found.device_name.unwrap_or_default(),
        volume_id: optional(op, "volume id", ebs.volume_id, VolumeId::parse)?,
        state: AttachmentState::parse(ebs.status.as_ref().map_or("", |state| state.as_str())),
        delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
    })
}

pub(super) fn instance_status(op: Op, found: types::InstanceStatus) -> Result<InstanceStatus, ApiError> {
    let check = |summary: Option<types::InstanceStatusSummary>| {
        Check::parse(summary.and_then(|summary| summary.status).as_ref().map_or("", |status| status.as_str()))
    };
    let ebs = found.attached_ebs_status.and_then(|summary| summary.status);
    Ok(InstanceStatus {
        instance_id: instance_id(op, found.instance_id)?,
        state: instance_state(found.instance_state),
        system: check(found.system_status),
        instance: check(found.instance_status),
        attached_ebs: Check::parse(ebs.as_ref().map_or("", |status| status.as_str())),
    })
}

pub(super) fn subnet(op: Op, found: types::Subnet) -> Result<Subnet, ApiError> {
    Ok(Subnet {
        subnet_id: found.subnet_id.ok_or_else(|| malformed(op, "subnet id"))?,
        zone: zone(op, found.availability_zone)?,
        zone_id: found.availability_zone_id,
        free_addresses: found.available_ip_address_count.map(i64::from),
    })
}
