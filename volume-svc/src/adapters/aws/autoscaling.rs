//! Auto Scaling by the SDK. Each method is one call; answers are converted in `autoscaling/convert.rs`, errors in
//! `errors.rs`.

mod convert;

use super::errors::{api, not_asked};
use crate::ports::cloud::{Activity, ApiError, AutoScalingApi, Group, LaunchOutcome, LaunchRequest, Member, Refresh};
use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::RetryStrategy;
use tiershift_core::ids::{GroupName, InstanceId};

/// The most names or ids of one call.
const IDS_MAX: usize = 50;

/// Records of one page.
const PAGE: i32 = 100;

/// Auto Scaling.
#[derive(Clone, Debug)]
pub struct AutoScaling {
    reads: Client,
    writes: Client,
    launches: Client,
}

impl AutoScaling {
    /// Over three clients of one account: `reads` may retry, `writes` must not, `launches` neither, and they wait
    /// longer (`config` makes all).
    pub fn new(reads: Client, writes: Client, launches: Client) -> Self {
        Self { reads, writes, launches }
    }
}

#[async_trait]
impl AutoScalingApi for AutoScaling {
    async fn describe_auto_scaling_groups(&self, names: &[GroupName]) -> Result<Vec<Group>, ApiError> {
        const OP: &str = "DescribeAutoScalingGroups";
        // No names would mean all groups of the account.
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let request = self.reads.describe_auto_scaling_groups().max_records(PAGE);
        let pages = request.set_auto_scaling_group_names(Some(limited(OP, names)?)).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|group| convert::group(OP, group)).collect()
    }

    async fn describe_auto_scaling_instances(&self, ids: &[InstanceId]) -> Result<Vec<Member>, ApiError> {
        const OP: &str = "DescribeAutoScalingInstances";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = self.reads.describe_auto_scaling_instances();
        let pages = request.set_instance_ids(Some(limited(OP, ids)?)).into_paginator();
        let found = pages.items().send().try_collect().await.map_err(|e| api(OP, &e))?;
        found.into_iter().map(|instance| convert::instance(OP, instance)).collect()
    }

    async fn describe_scaling_activities(&self, group: &GroupName, limit: u8) -> Result<Vec<Activity>, ApiError> {
        const OP: &str = "DescribeScalingActivities";
        let request = self.reads.describe_scaling_activities().auto_scaling_group_name(group.as_str());
        let answer = request.max_records(i32::from(limit.clamp(1, 100))).send().await.map_err(|e| api(OP, &e))?;
        answer.activities.unwrap_or_default().into_iter().map(|activity| convert::activity(OP, activity)).collect()
    }

    async fn describe_instance_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>, ApiError> {
        const OP: &str = "DescribeInstanceRefreshes";
        let request = self.reads.describe_instance_refreshes().auto_scaling_group_name(group.as_str());
        let answer = request.max_records(PAGE).send().await.map_err(|e| api(OP, &e))?;
        let found = answer.instance_refreshes.unwrap_or_default().into_iter();
        found.map(|refresh| convert::refresh(OP, refresh)).collect()
    }

    async fn launch_instances(&self, request: &LaunchRequest) -> Result<LaunchOutcome, ApiError> {
        const OP: &str = "LaunchInstances";
        let call = self
            .launches
            .launch_instances()
            .auto_scaling_group_name(request.group.as_str())
            .client_token(&request.client_token)
            .availability_zones(request.zone.as_str())
            .requested_capacity(1)
            .retry_strategy(RetryStrategy::None);
        let answer = call.send().await.map_err(|e| api(OP, &e))?;
        convert::launch(OP, answer)
    }

    async fn set_instance_protection(
        &self,
        group: &GroupName,
        ids: &[InstanceId],
        protected: bool,
    ) -> Result<(), ApiError> {
        const OP: &str = "SetInstanceProtection";
        if ids.is_empty() {
            return Ok(());
        }
        let call = self.writes.set_instance_protection().auto_scaling_group_name(group.as_str());
        let call = call.set_instance_ids(Some(limited(OP, ids)?)).protected_from_scale_in(protected);
        call.send().await.map(drop).map_err(|e| api(OP, &e))
    }

    async fn terminate_instance_in_auto_scaling_group(
        &self,
        instance: &InstanceId,
        decrement: bool,
    ) -> Result<(), ApiError> {
        const OP: &str = "TerminateInstanceInAutoScalingGroup";
        let call = self.writes.terminate_instance_in_auto_scaling_group().instance_id(instance.as_str());
        let call = call.should_decrement_desired_capacity(decrement);
        call.send().await.map(drop).map_err(|e| api(OP, &e))
    }
}

fn limited(operation: &'static str, ids: &[impl AsRef<str>]) -> Result<Vec<String>, ApiError> {
    if ids.len() > IDS_MAX {
        let message = format!("{} ids, at most {IDS_MAX} are allowed", ids.len());
        return Err(not_asked(operation, "TooManyIds", message));
    }
    Ok(ids.iter().map(|id| id.as_ref().to_owned()).collect())
}
