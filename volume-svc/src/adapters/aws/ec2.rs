//! EC2 by the SDK. Each method is one call; answers are converted in `ec2/convert.rs`, errors in `errors.rs`.

mod convert;

use super::errors::{api, malformed, not_asked};
use crate::ports::cloud::{
    ApiError, Attachment, CreateVolume, Ec2Api, FILTER_VALUES_MAX, Instance, InstanceState, InstanceStatus, Snapshot,
    SnapshotFilter, SnapshotRequest, Subnet, Tags, Volume, VolumeFilter, VolumeModification,
};
use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    EbsInstanceBlockDeviceSpecification, Filter, InstanceBlockDeviceMappingSpecification, LocationType, ResourceType,
    Tag, TagSpecification, VolumeType,
};
use std::collections::BTreeMap;
use tiershift_core::ids::{InstanceId, SnapshotId, VolumeId, Zone};

/// Records of one page; the most that every call in use allows.
const PAGE: i32 = 500;

/// The most ids of DescribeInstanceStatus.
const STATUS_IDS_MAX: usize = 100;

/// EC2.
#[derive(Clone, Debug)]
pub struct Ec2 {
    reads: Client,
    writes: Client,
}

impl Ec2 {
    /// Over two clients of one account: `reads` may retry, `writes` must not (`config` makes both).
    pub fn new(reads: Client, writes: Client) -> Self {
        Self { reads, writes }
    }
}

#[async_trait]
impl Ec2Api for Ec2 {
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, ApiError> {
        const OP: &str = "DescribeVolumes";
        let filters = Filters::new(OP)
            .values("volume-id", &filter.ids)?
            .values("attachment.instance-id", &filter.instance_ids)?
            .tags(&filter.tags)
            .finish()?;
        let pages = self.reads.describe_volumes().set_filters(Some(filters)).max_results(PAGE).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|volume| convert::volume(OP, volume)).collect()
    }

    async fn describe_instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, ApiError> {
        const OP: &str = "DescribeInstances";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = Filters::new(OP).values("instance-id", ids)?.finish()?;
        let pages = self.reads.describe_instances().set_filters(Some(filters)).max_results(PAGE).into_paginator();
        let reservations = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        let found = reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default());
        found.map(|instance| convert::instance(OP, instance)).collect()
    }

    async fn describe_instance_status(&self, ids: &[InstanceId]) -> Result<Vec<InstanceStatus>, ApiError> {
        const OP: &str = "DescribeInstanceStatus";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        limited(OP, ids.len(), STATUS_IDS_MAX)?;
        let request = self.reads.describe_instance_status().include_all_instances(true);
        let pages = request.set_instance_ids(Some(strings(ids))).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|status| convert::instance_status(OP, status)).collect()
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, ApiError> {
        const OP: &str = "DescribeSnapshots";
        let filters = Filters::new(OP)
            .values("snapshot-id", &filter.ids)?
            .values("volume-id", &filter.volume_ids)?
            .tags(&filter.tags)
            .any_of(&filter.any_of)?
            .finish()?;
        let request = self.reads.describe_snapshots().owner_ids("self").set_filters(Some(filters));
        let pages = request.max_results(PAGE).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|snapshot| convert::snapshot(OP, snapshot)).collect()
    }

    async fn describe_volumes_modifications(&self, ids: &[VolumeId]) -> Result<Vec<VolumeModification>, ApiError> {
        const OP: &str = "DescribeVolumesModifications";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = Filters::new(OP).values("volume-id", ids)?.finish()?;
        let request = self.reads.describe_volumes_modifications().set_filters(Some(filters));
        let pages = request.max_results(PAGE).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|modification| convert::modification(OP, modification)).collect()
    }

    async fn describe_instance_type_offerings(&self, instance_type: &str) -> Result<Vec<Zone>, ApiError> {
        const OP: &str = "DescribeInstanceTypeOfferings";
        let filters = Filters::new(OP).values("instance-type", &[instance_type])?.finish()?;
        let request = self.reads.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        let pages = request.set_filters(Some(filters)).max_results(PAGE).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        let mut zones: Vec<Zone> =
            found.into_iter().map(|offering| convert::zone(OP, offering.location)).collect::<Result<_, _>>()?;
        zones.sort();
        Ok(zones)
    }

    async fn describe_subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, ApiError> {
        const OP: &str = "DescribeSubnets";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filters = Filters::new(OP).values("subnet-id", ids)?.finish()?;
        let pages = self.reads.describe_subnets().set_filters(Some(filters)).max_results(PAGE).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|subnet| convert::subnet(OP, subnet)).collect()
    }

    async fn create_snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, ApiError> {
        const OP: &str = "CreateSnapshot";
        let call = self
            .writes
            .create_snapshot()
            .volume_id(request.volume_id.as_str())
            .description(&request.description)
            .set_tag_specifications(tagged(ResourceType::Snapshot, &request.tags));
        let answer = call.send().await.map_err(|e| api(OP, &e))?;
        convert::created_snapshot(OP, answer)
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ApiError> {
        const OP: &str = "DeleteSnapshot";
        self.writes.delete_snapshot().snapshot_id(id.as_str()).send().await.map(drop).map_err(|e| api(OP, &e))
    }

    async fn attach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError> {
        const OP: &str = "AttachVolume";
        let call = self.writes.attach_volume().volume_id(volume.as_str()).instance_id(instance.as_str());
        let answer = call.device(device).send().await.map_err(|e| api(OP, &e))?;
        convert::attached(OP, answer)
    }

    async fn detach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError> {
        const OP: &str = "DetachVolume";
        let call = self.writes.detach_volume().volume_id(volume.as_str()).instance_id(instance.as_str());
        let answer = call.device(device).send().await.map_err(|e| api(OP, &e))?;
        convert::detached(OP, answer)
    }

    async fn create_tags(&self, resources: &[String], tags: &Tags) -> Result<(), ApiError> {
        const OP: &str = "CreateTags";
        if resources.is_empty() || tags.is_empty() {
            return Ok(());
        }
        let call = self.writes.create_tags().set_resources(Some(resources.to_vec())).set_tags(Some(sdk_tags(tags)));
        call.send().await.map(drop).map_err(|e| api(OP, &e))
    }

    async fn modify_instance_attribute(&self, instance: &InstanceId, device: &str) -> Result<(), ApiError> {
        const OP: &str = "ModifyInstanceAttribute";
        let keep = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(false).build();
        let mapping = InstanceBlockDeviceMappingSpecification::builder().device_name(device).ebs(keep).build();
        let call = self.writes.modify_instance_attribute().instance_id(instance.as_str());
        call.block_device_mappings(mapping).send().await.map(drop).map_err(|e| api(OP, &e))
    }

    async fn terminate_instances(&self, instance: &InstanceId) -> Result<InstanceState, ApiError> {
        const OP: &str = "TerminateInstances";
        let call = self.writes.terminate_instances().instance_ids(instance.as_str());
        let answer = call.send().await.map_err(|e| api(OP, &e))?;
        let changes = answer.terminating_instances.unwrap_or_default();
        let ours = changes.into_iter().find(|change| change.instance_id() == Some(instance.as_str()));
        let state = ours.and_then(|change| change.current_state).and_then(|state| state.name);
        state.map(|name| InstanceState::parse(name.as_str())).ok_or_else(|| malformed(OP, "instance state"))
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, ApiError> {
        const OP: &str = "CreateVolume";
        let number = |field: &str, value: i64| {
            i32::try_from(value).map_err(|_| not_asked(OP, "OutOfRange", format!("{field} {value} is out of range")))
        };
        let call = self
            .writes
            .create_volume()
            .client_token(&request.client_token)
            .availability_zone(request.zone.as_str())
            .size(number("size_gib", request.size_gib)?)
            .volume_type(VolumeType::from(request.volume_type.as_str()))
            .set_iops(request.iops.map(|iops| number("iops", iops)).transpose()?)
            .set_throughput(request.throughput_mib.map(|mib| number("throughput_mib", mib)).transpose()?)
            .encrypted(request.encrypted)
            .set_kms_key_id(request.kms_key_id.clone())
            .set_snapshot_id(request.snapshot_id.as_ref().map(ToString::to_string))
            .set_tag_specifications(tagged(ResourceType::Volume, &request.tags));
        let answer = call.send().await.map_err(|e| api(OP, &e))?;
        convert::created_volume(OP, answer)
    }
}

/// The filters of a Describe. A call without any would list a whole account, out of a smaller bucket.
struct Filters {
    operation: &'static str,
    filters: Vec<Filter>,
}

impl Filters {
    fn new(operation: &'static str) -> Self {
        Self { operation, filters: Vec::new() }
    }

    fn values(mut self, name: &str, values: &[impl AsRef<str>]) -> Result<Self, ApiError> {
        limited(self.operation, values.len(), FILTER_VALUES_MAX)?;
        if !values.is_empty() {
            self.filters.push(Filter::builder().name(name).set_values(Some(strings(values))).build());
        }
        Ok(self)
    }

    fn tags(mut self, tags: &Tags) -> Self {
        let filter =
            |(key, value): (&String, &String)| Filter::builder().name(format!("tag:{key}")).values(value).build();
        self.filters.extend(tags.iter().map(filter));
        self
    }

    fn any_of(self, tags: &BTreeMap<String, Vec<String>>) -> Result<Self, ApiError> {
        tags.iter().try_fold(self, |filters, (key, values)| filters.values(&format!("tag:{key}"), values))
    }

    fn finish(self) -> Result<Vec<Filter>, ApiError> {
        if self.filters.is_empty() {
            return Err(not_asked(self.operation, "EmptyFilter", "a filter must name something".to_owned()));
        }
        Ok(self.filters)
    }
}

fn limited(operation: &'static str, count: usize, max: usize) -> Result<(), ApiError> {
    if count <= max {
        return Ok(());
    }
    Err(not_asked(operation, "TooManyIds", format!("{count} ids, at most {max} are allowed")))
}

fn strings(values: &[impl AsRef<str>]) -> Vec<String> {
    values.iter().map(|value| value.as_ref().to_owned()).collect()
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Tags set with the resource. EC2 refuses an empty specification.
fn tagged(kind: ResourceType, tags: &Tags) -> Option<Vec<TagSpecification>> {
    let specification = TagSpecification::builder().resource_type(kind).set_tags(Some(sdk_tags(tags))).build();
    (!tags.is_empty()).then(|| vec![specification])
}
