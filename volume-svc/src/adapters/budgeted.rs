//! `Ec2Api` and `AutoScalingApi` that wait for their budget before each call (rule 17), for the traffic that they are
//! called on behalf of. Reads that are polled do not come here: the describer takes from the budget itself.
//!
//! What waits has not been called: the port's own deadlines begin behind the wait, and so does the last look (F7), which
//! is taken anew. A lease that ran out meanwhile sends nothing.

use super::budget::{Api, Budget};
use crate::ports::cloud::{
    Activity, ApiError, Attachment, AutoScalingApi, Class, CreateVolume, Ec2Api, Group, Instance, InstanceState,
    InstanceStatus, LaunchOutcome, LaunchRequest, Member, Refresh, Snapshot, SnapshotFilter, SnapshotRequest, Subnet,
    Tags, Volume, VolumeFilter, VolumeModification, last_look, traffic,
};
use async_trait::async_trait;
use std::future::Future;
use std::sync::Arc;
use tiershift_core::ids::{GroupName, InstanceId, SnapshotId, VolumeId, Zone};

/// A port behind its budget.
#[derive(Debug)]
pub struct Budgeted<P: ?Sized> {
    budget: Arc<Budget>,
    port: Arc<P>,
}

impl<P: ?Sized> Budgeted<P> {
    /// Over a port that calls at once.
    pub fn new(port: &Arc<P>, budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), port: Arc::clone(port) }
    }

    async fn call<T>(
        &self,
        (api, operation): (Api, &'static str),
        call: impl Future<Output = Result<T, ApiError>> + Send,
    ) -> Result<T, ApiError> {
        let waited = self.budget.take(api, traffic::current()).await;
        if waited && !last_look::again() {
            return Err(ApiError {
                operation,
                class: Class::TooLate,
                code: "LeaseLost".to_owned(),
                message: "the lease ran out while the call waited for its budget".to_owned(),
                request_id: None,
            });
        }
        let answer = call.await;
        if answer.as_ref().is_err_and(|error| error.class == Class::Throttled) {
            self.budget.throttled(api);
        }
        answer
    }
}

#[async_trait]
impl Ec2Api for Budgeted<dyn Ec2Api> {
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, ApiError> {
        self.call((Api::DescribeVolumes, "DescribeVolumes"), self.port.describe_volumes(filter)).await
    }

    async fn describe_instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, ApiError> {
        self.call((Api::DescribeInstances, "DescribeInstances"), self.port.describe_instances(ids)).await
    }

    async fn describe_instance_status(&self, ids: &[InstanceId]) -> Result<Vec<InstanceStatus>, ApiError> {
        let api = (Api::DescribeInstanceStatus, "DescribeInstanceStatus");
        self.call(api, self.port.describe_instance_status(ids)).await
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, ApiError> {
        self.call((Api::DescribeSnapshots, "DescribeSnapshots"), self.port.describe_snapshots(filter)).await
    }

    async fn describe_volumes_modifications(&self, ids: &[VolumeId]) -> Result<Vec<VolumeModification>, ApiError> {
        let api = (Api::DescribeVolumesModifications, "DescribeVolumesModifications");
        self.call(api, self.port.describe_volumes_modifications(ids)).await
    }

    async fn describe_instance_type_offerings(&self, instance_type: &str) -> Result<Vec<Zone>, ApiError> {
        let api = (Api::DescribeInstanceTypeOfferings, "DescribeInstanceTypeOfferings");
        self.call(api, self.port.describe_instance_type_offerings(instance_type)).await
    }

    async fn describe_subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, ApiError> {
        self.call((Api::DescribeSubnets, "DescribeSubnets"), self.port.describe_subnets(ids)).await
    }

    async fn create_snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, ApiError> {
        self.call((Api::CreateSnapshot, "CreateSnapshot"), self.port.create_snapshot(request)).await
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ApiError> {
        self.call((Api::DeleteSnapshot, "DeleteSnapshot"), self.port.delete_snapshot(id)).await
    }

    async fn attach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError> {
        self.call((Api::AttachVolume, "AttachVolume"), self.port.attach_volume(volume, instance, device)).await
    }

    async fn detach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError> {
        self.call((Api::DetachVolume, "DetachVolume"), self.port.detach_volume(volume, instance, device)).await
    }

    async fn create_tags(&self, resources: &[String], tags: &Tags) -> Result<(), ApiError> {
        self.call((Api::CreateTags, "CreateTags"), self.port.create_tags(resources, tags)).await
    }

    async fn modify_instance_attribute(&self, instance: &InstanceId, device: &str) -> Result<(), ApiError> {
        let api = (Api::ModifyInstanceAttribute, "ModifyInstanceAttribute");
        self.call(api, self.port.modify_instance_attribute(instance, device)).await
    }

    async fn terminate_instances(&self, instance: &InstanceId) -> Result<InstanceState, ApiError> {
        self.call((Api::TerminateInstances, "TerminateInstances"), self.port.terminate_instances(instance)).await
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, ApiError> {
        self.call((Api::CreateVolume, "CreateVolume"), self.port.create_volume(request)).await
    }
}

#[async_trait]
impl AutoScalingApi for Budgeted<dyn AutoScalingApi> {
    async fn describe_auto_scaling_groups(&self, names: &[GroupName]) -> Result<Vec<Group>, ApiError> {
        let api = (Api::AutoScaling, "DescribeAutoScalingGroups");
        self.call(api, self.port.describe_auto_scaling_groups(names)).await
    }

    async fn describe_auto_scaling_instances(&self, ids: &[InstanceId]) -> Result<Vec<Member>, ApiError> {
        let api = (Api::AutoScaling, "DescribeAutoScalingInstances");
        self.call(api, self.port.describe_auto_scaling_instances(ids)).await
    }

    async fn describe_scaling_activities(&self, group: &GroupName, limit: u8) -> Result<Vec<Activity>, ApiError> {
        let api = (Api::AutoScaling, "DescribeScalingActivities");
        self.call(api, self.port.describe_scaling_activities(group, limit)).await
    }

    async fn describe_instance_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>, ApiError> {
        let api = (Api::AutoScaling, "DescribeInstanceRefreshes");
        self.call(api, self.port.describe_instance_refreshes(group)).await
    }

    async fn launch_instances(&self, request: &LaunchRequest) -> Result<LaunchOutcome, ApiError> {
        self.call((Api::AutoScaling, "LaunchInstances"), self.port.launch_instances(request)).await
    }

    async fn set_instance_protection(
        &self,
        group: &GroupName,
        ids: &[InstanceId],
        protected: bool,
    ) -> Result<(), ApiError> {
        let call = self.port.set_instance_protection(group, ids, protected);
        self.call((Api::AutoScaling, "SetInstanceProtection"), call).await
    }

    async fn terminate_instance_in_auto_scaling_group(
        &self,
        instance: &InstanceId,
        decrement: bool,
    ) -> Result<(), ApiError> {
        let call = self.port.terminate_instance_in_auto_scaling_group(instance, decrement);
        self.call((Api::AutoScaling, "TerminateInstanceInAutoScalingGroup"), call).await
    }
}

#[cfg(test)]
#[path = "budgeted_tests.rs"]
mod tests;
