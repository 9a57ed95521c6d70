//! `AutoScalingApi` over the simulated cloud.

use super::classes::{aws, not_asked};
use super::face::Face;
use async_trait::async_trait;
use cloud_sim::api::autoscaling as sim;
use std::fmt::Display;
use tiershift_core::UnixMs;
use tiershift_core::ids::{GroupName, InstanceId, Malformed, Zone};
use volume_svc::ports::cloud::{
    Activity, ActivityStatus, ApiError, AutoScalingApi, Class, Group, HealthCheck, LaunchFault, LaunchOutcome,
    LaunchRequest, Lifecycle, Member, Process, Refresh, RefreshStatus, codes,
};

/// The most names or ids of one call.
const IDS_MAX: usize = 50;

fn id<T>(parsed: Result<T, Malformed>) -> T {
    parsed.expect("the model writes AWS's ids as AWS does")
}

fn at(ms: u64) -> UnixMs {
    UnixMs(i64::try_from(ms).expect("an instant of this era"))
}

fn limited(operation: &'static str, ids: &[impl Display]) -> Result<Vec<String>, ApiError> {
    if ids.len() > IDS_MAX {
        return Err(not_asked(operation, "TooManyIds"));
    }
    Ok(ids.iter().map(ToString::to_string).collect())
}

fn member(shown: sim::GroupInstance) -> Member {
    Member {
        instance_id: id(InstanceId::parse(shown.instance_id)),
        group: id(GroupName::parse(shown.group_name)),
        instance_type: Some(shown.instance_type),
        zone: id(Zone::parse(shown.availability_zone)),
        zone_id: None,
        lifecycle: Lifecycle::parse(&shown.lifecycle_state),
        healthy: shown.health_status.eq_ignore_ascii_case("healthy"),
        protected: shown.protected_from_scale_in,
    }
}

fn group(shown: sim::AutoScalingGroup) -> Group {
    Group {
        name: id(GroupName::parse(shown.name)),
        min: shown.min_size.into(),
        max: shown.max_size.into(),
        desired: shown.desired_capacity.into(),
        zones: shown.availability_zones.into_iter().map(|zone| id(Zone::parse(zone))).collect(),
        zone_ids: Vec::new(),
        subnet_ids: shown.subnet_ids,
        health_checks: shown.health_check_type.split(',').map(|word| HealthCheck::parse(word.trim())).collect(),
        suspended: shown.suspended_processes.iter().map(|word| Process::parse(word)).collect(),
        members: shown.instances.into_iter().map(member).collect(),
        new_members_protected: shown.new_instances_protected_from_scale_in,
        replaces_by_age: false,
        warm_pool: false,
        deleting: false,
        tags: shown.tags,
    }
}

#[async_trait]
impl AutoScalingApi for Face {
    async fn describe_auto_scaling_groups(&self, names: &[GroupName]) -> Result<Vec<Group>, ApiError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = limited("DescribeAutoScalingGroups", names)?;
        let request = sim::DescribeAutoScalingGroups { names, ..sim::DescribeAutoScalingGroups::default() };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        Ok(found.groups.into_iter().map(group).collect())
    }

    async fn describe_auto_scaling_instances(&self, ids: &[InstanceId]) -> Result<Vec<Member>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let instance_ids = limited("DescribeAutoScalingInstances", ids)?;
        let request =
            sim::DescribeAutoScalingInstances { instance_ids, ..sim::DescribeAutoScalingInstances::default() };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        Ok(found.instances.into_iter().map(member).collect())
    }

    async fn describe_scaling_activities(&self, group: &GroupName, limit: u8) -> Result<Vec<Activity>, ApiError> {
        let request = sim::DescribeScalingActivities {
            group_name: Some(group.to_string()),
            max_records: Some(u32::from(limit.clamp(1, 100))),
            next_token: None,
        };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        let activity = |shown: sim::ScalingActivity| Activity {
            activity_id: shown.activity_id,
            status: ActivityStatus::parse(&shown.status_code),
            started_at: Some(at(shown.start_time_ms)),
            ended_at: shown.end_time_ms.map(at),
            message: shown.status_message,
        };
        Ok(found.activities.into_iter().map(activity).collect())
    }

    async fn describe_instance_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>, ApiError> {
        let request = sim::DescribeInstanceRefreshes {
            group_name: group.to_string(),
            ..sim::DescribeInstanceRefreshes::default()
        };
        let found = self.cloud.ask(request).await.map_err(aws)?;
        let refresh = |shown: sim::InstanceRefresh| Refresh {
            refresh_id: shown.refresh_id,
            status: RefreshStatus::parse(&shown.status),
        };
        Ok(found.refreshes.into_iter().map(refresh).collect())
    }

    async fn launch_instances(&self, request: &LaunchRequest) -> Result<LaunchOutcome, ApiError> {
        const OP: &str = "LaunchInstances";
        let request = sim::LaunchInstances {
            group_name: request.group.to_string(),
            client_token: request.client_token.clone(),
            requested_capacity: 1,
            availability_zones: vec![request.zone.to_string()],
            subnet_ids: Vec::new(),
            retry_strategy: Some("none".to_owned()),
        };
        let answer = self.change(request).await.map_err(aws)?;
        let launched = answer.instances.into_iter().flat_map(|collection| collection.instance_ids);
        let fault = |found: sim::LaunchError| LaunchFault {
            class: codes::class_of(OP, &found.error_code).unwrap_or(Class::UnknownCode),
            code: found.error_code,
            message: found.error_message,
        };
        Ok(LaunchOutcome {
            instances: launched.map(|text| id(InstanceId::parse(text))).collect(),
            faults: answer.errors.into_iter().map(fault).collect(),
        })
    }

    async fn set_instance_protection(
        &self,
        group: &GroupName,
        ids: &[InstanceId],
        protected: bool,
    ) -> Result<(), ApiError> {
        if ids.is_empty() {
            return Ok(());
        }
        let request = sim::SetInstanceProtection {
            group_name: group.to_string(),
            instance_ids: limited("SetInstanceProtection", ids)?,
            protected_from_scale_in: protected,
        };
        self.change(request).await.map(drop).map_err(aws)
    }

    async fn terminate_instance_in_auto_scaling_group(
        &self,
        instance: &InstanceId,
        decrement: bool,
    ) -> Result<(), ApiError> {
        let request = sim::TerminateInstanceInAutoScalingGroup {
            instance_id: instance.to_string(),
            should_decrement_desired_capacity: decrement,
        };
        self.change(request).await.map(drop).map_err(aws)
    }
}
