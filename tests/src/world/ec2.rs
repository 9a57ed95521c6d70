//! `Ec2Api` over the simulated cloud: filters and answers in the port's types.

use super::classes::{aws, not_asked};
use super::face::Face;
use async_trait::async_trait;
use cloud_sim::api::ec2 as sim;
use std::collections::BTreeMap;
use std::fmt::Display;
use tiershift_core::UnixMs;
use tiershift_core::ids::{InstanceId, Malformed, SnapshotId, VolumeId, Zone};
use volume_svc::ports::cloud::{
    ApiError, Attachment, AttachmentState, BlockDevice, Check, CreateVolume, Ec2Api, FILTER_VALUES_MAX, Instance,
    InstanceState, InstanceStatus, ModificationState, Snapshot, SnapshotFilter, SnapshotRequest, SnapshotState, Subnet,
    Tags, Volume, VolumeFilter, VolumeModification, VolumeState,
};

fn id<T>(parsed: Result<T, Malformed>) -> T {
    parsed.expect("the model writes AWS's ids as AWS does")
}

fn at(ms: u64) -> UnixMs {
    UnixMs(i64::try_from(ms).expect("an instant of this era"))
}

/// An empty text is AWS's "none" in several places.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Filters of a Describe; refused as the port says when they name nothing or too much.
struct Filters(&'static str, Vec<sim::Filter>);

impl Filters {
    fn values(mut self, name: &str, values: &[impl Display]) -> Result<Self, ApiError> {
        if values.len() > FILTER_VALUES_MAX {
            return Err(not_asked(self.0, "TooManyIds"));
        }
        if !values.is_empty() {
            self.1.push(sim::Filter::new(name, values.iter().map(ToString::to_string)));
        }
        Ok(self)
    }

    fn tags(mut self, tags: &Tags) -> Self {
        self.1.extend(tags.iter().map(|(key, value)| sim::Filter::new(&format!("tag:{key}"), [value.clone()])));
        self
    }

    fn any_of(self, tags: &BTreeMap<String, Vec<String>>) -> Result<Self, ApiError> {
        tags.iter().try_fold(self, |filters, (key, values)| filters.values(&format!("tag:{key}"), values))
    }

    fn finish(self) -> Result<Vec<sim::Filter>, ApiError> {
        if self.1.is_empty() { Err(not_asked(self.0, "EmptyFilter")) } else { Ok(self.1) }
    }
}

fn attachment(shown: sim::Attachment) -> Attachment {
    Attachment {
        volume_id: id(VolumeId::parse(shown.volume_id)),
        instance_id: some(shown.instance_id).map(|text| id(InstanceId::parse(text))),
        device: shown.device,
        state: AttachmentState::parse(&shown.state),
        delete_on_termination: shown.delete_on_termination,
    }
}

fn volume(shown: sim::Volume) -> Volume {
    Volume {
        volume_id: id(VolumeId::parse(shown.volume_id)),
        state: VolumeState::parse(&shown.state),
        zone: id(Zone::parse(shown.availability_zone)),
        zone_id: some(shown.availability_zone_id),
        size_gib: shown.size_gib.into(),
        volume_type: shown.volume_type,
        encrypted: shown.encrypted,
        kms_key_id: None,
        snapshot_id: some(shown.snapshot_id).map(|text| id(SnapshotId::parse(text))),
        multi_attach: false,
        attachments: shown.attachments.into_iter().map(attachment).collect(),
        tags: shown.tags,
        created_at: Some(at(shown.create_time_ms)),
    }
}

fn snapshot(shown: sim::Snapshot) -> Snapshot {
    Snapshot {
        snapshot_id: id(SnapshotId::parse(shown.snapshot_id)),
        volume_id: VolumeId::parse(shown.volume_id).ok(),
        state: SnapshotState::parse(&shown.state),
        state_message: some(shown.state_message),
        progress_percent: u8::try_from(shown.progress).ok(),
        started_at: Some(at(shown.start_time_ms)),
        volume_size_gib: shown.volume_size_gib.into(),
        tags: shown.tags,
    }
}

fn instance(shown: sim::Instance) -> Instance {
    let device = |device: sim::BlockDevice| BlockDevice {
        device: device.device_name,
        volume_id: some(device.volume_id).map(|text| id(VolumeId::parse(text))),
        state: AttachmentState::parse(&device.status),
        delete_on_termination: device.delete_on_termination,
    };
    Instance {
        instance_id: id(InstanceId::parse(shown.instance_id)),
        state: InstanceState::parse(&shown.state),
        instance_type: shown.instance_type,
        zone: id(Zone::parse(shown.availability_zone)),
        zone_id: some(shown.availability_zone_id),
        private_ip: some(shown.private_ip),
        subnet_id: some(shown.subnet_id),
        root_device: some(shown.root_device_name),
        block_devices: shown.block_devices.into_iter().map(device).collect(),
        tags: shown.tags,
        launched_at: Some(at(shown.launch_time_ms)),
    }
}

#[async_trait]
impl Ec2Api for Face {
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, ApiError> {
        let filters = Filters("DescribeVolumes", Vec::new())
            .values("volume-id", &filter.ids)?
            .values("attachment.instance-id", &filter.instance_ids)?
            .tags(&filter.tags)
            .finish()?;
        let request = sim::DescribeVolumes { filters, ..sim::DescribeVolumes::default() };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        Ok(found.volumes.into_iter().map(volume).collect())
    }

    async fn describe_instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = Filters("DescribeInstances", Vec::new()).values("instance-id", ids)?.finish()?;
        let request = sim::DescribeInstances { filters, ..sim::DescribeInstances::default() };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        Ok(found.instances.into_iter().map(instance).collect())
    }

    async fn describe_instance_status(&self, ids: &[InstanceId]) -> Result<Vec<InstanceStatus>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = sim::DescribeInstanceStatus {
            instance_ids: ids.iter().map(ToString::to_string).collect(),
            include_all_instances: true,
            ..sim::DescribeInstanceStatus::default()
        };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        let status = |shown: sim::InstanceStatus| InstanceStatus {
            instance_id: id(InstanceId::parse(shown.instance_id)),
            state: InstanceState::parse(&shown.state),
            system: Check::parse(&shown.system_status),
            instance: Check::parse(&shown.instance_status),
            attached_ebs: Check::parse(""),
        };
        Ok(found.statuses.into_iter().map(status).collect())
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, ApiError> {
        let filters = Filters("DescribeSnapshots", Vec::new())
            .values("snapshot-id", &filter.ids)?
            .values("volume-id", &filter.volume_ids)?
            .tags(&filter.tags)
            .any_of(&filter.any_of)?
            .finish()?;
        let request =
            sim::DescribeSnapshots { filters, owner_ids: vec!["self".to_owned()], ..sim::DescribeSnapshots::default() };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        Ok(found.snapshots.into_iter().map(snapshot).collect())
    }

    async fn describe_volumes_modifications(&self, ids: &[VolumeId]) -> Result<Vec<VolumeModification>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = Filters("DescribeVolumesModifications", Vec::new()).values("volume-id", ids)?.finish()?;
        let request = sim::DescribeVolumesModifications { filters, ..sim::DescribeVolumesModifications::default() };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        let modification = |shown: sim::VolumeModification| VolumeModification {
            volume_id: id(VolumeId::parse(shown.volume_id)),
            state: ModificationState::parse(&shown.modification_state),
            target_size_gib: Some(shown.target_size_gib.into()),
        };
        Ok(found.modifications.into_iter().map(modification).collect())
    }

    async fn describe_instance_type_offerings(&self, instance_type: &str) -> Result<Vec<Zone>, ApiError> {
        let request = sim::DescribeInstanceTypeOfferings {
            location_type: "availability-zone".to_owned(),
            filters: vec![sim::Filter::new("instance-type", [instance_type])],
            paging: sim::Paging::default(),
        };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        let mut zones: Vec<Zone> = found.offerings.into_iter().map(|o| id(Zone::parse(o.location))).collect();
        zones.sort();
        Ok(zones)
    }

    async fn describe_subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = Filters("DescribeSubnets", Vec::new()).values("subnet-id", ids)?.finish()?;
        let found =
            self.cloud.ask(sim::DescribeSubnets { filters, ..sim::DescribeSubnets::default() }).await.map_err(aws)?;
        let subnet = |shown: sim::Subnet| Subnet {
            subnet_id: shown.subnet_id,
            zone: id(Zone::parse(shown.availability_zone)),
            zone_id: some(shown.availability_zone_id),
            free_addresses: None,
        };
        Ok(found.subnets.into_iter().map(subnet).collect())
    }

    async fn create_snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, ApiError> {
        let request = sim::CreateSnapshot {
            volume_id: request.volume_id.to_string(),
            description: request.description.clone(),
            tags: request.tags.clone(),
        };
        self.change(request).await.map(snapshot).map_err(aws)
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ApiError> {
        let request = sim::DeleteSnapshot { snapshot_id: id.to_string() };
        self.change(request).await.map(drop).map_err(aws)
    }

    async fn attach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError> {
        let request = sim::AttachVolume {
            volume_id: volume.to_string(),
            instance_id: instance.to_string(),
            device: device.to_owned(),
        };
        self.change(request).await.map(attachment).map_err(aws)
    }

    async fn detach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError> {
        let request = sim::DetachVolume {
            volume_id: volume.to_string(),
            instance_id: Some(instance.to_string()),
            device: Some(device.to_owned()),
            force: false,
        };
        self.change(request).await.map(attachment).map_err(aws)
    }

    async fn create_tags(&self, resources: &[String], tags: &Tags) -> Result<(), ApiError> {
        let request = sim::CreateTags { resource_ids: resources.to_vec(), tags: tags.clone() };
        self.change(request).await.map(drop).map_err(aws)
    }

    async fn modify_instance_attribute(&self, instance: &InstanceId, device: &str) -> Result<(), ApiError> {
        let change = sim::BlockDeviceChange { device_name: device.to_owned(), delete_on_termination: false };
        let request = sim::ModifyInstanceAttribute { instance_id: instance.to_string(), block_devices: vec![change] };
        self.change(request).await.map(drop).map_err(aws)
    }

    async fn terminate_instances(&self, instance: &InstanceId) -> Result<InstanceState, ApiError> {
        let request = sim::TerminateInstances { instance_ids: vec![instance.to_string()] };
        let answer = self.change(request).await.map_err(aws)?;
        let change = answer.changes.into_iter().next().expect("one change for one id");
        Ok(InstanceState::parse(&change.current_state))
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, ApiError> {
        let number = |value: i64| u32::try_from(value).map_err(|_| not_asked("CreateVolume", "OutOfRange"));
        let request = sim::CreateVolume {
            client_token: Some(request.client_token.clone()),
            availability_zone: request.zone.to_string(),
            size_gib: Some(number(request.size_gib)?),
            snapshot_id: request.snapshot_id.as_ref().map(ToString::to_string),
            volume_type: Some(request.volume_type.clone()),
            iops: request.iops.map(number).transpose()?,
            throughput: request.throughput_mib.map(number).transpose()?,
            encrypted: request.encrypted,
            tags: request.tags.clone(),
        };
        self.change(request).await.map(volume).map_err(aws)
    }
}
