//! Auto Scaling groups: what they are and how they are read. What they do is in `asg/launch.rs`.

pub mod launch;
mod scale;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::api::agent::Info;
use crate::api::autoscaling::{
    AutoScalingGroup, AutoScalingGroups, AutoScalingInstances, DescribeAutoScalingGroups, DescribeAutoScalingInstances,
    DescribeInstanceRefreshes, DescribeScalingActivities, GroupInstance, InstanceRefresh, InstanceRefreshes,
    ScalingActivities, ScalingActivity,
};
use crate::api::control::EditGroup;
use crate::api::ec2::Tags;
use crate::api::{ApiError, Done};
use crate::ec2::instances::InstanceState;
use crate::sim::Sim;

/// Activities that a group keeps; AWS keeps six weeks.
const ACTIVITIES_KEPT: usize = 1_000;

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Instance type of the launch template.
    pub instance_type: String,
    /// Subnets, one for each zone.
    pub subnet_ids: Vec<String>,
    /// Least size.
    pub min_size: u32,
    /// Greatest size.
    pub max_size: u32,
    /// Wanted size.
    pub desired: u32,
    /// `EC2`, or with `ELB`/`EBS` added.
    pub health_check_type: String,
    /// Suspended processes, e.g. `AZRebalance`.
    pub suspended: BTreeSet<String>,
    /// When it was made.
    pub created_ms: u64,
    /// Tags; those of the instances are these and AWS's own.
    pub tags: Tags,
    /// What its launch template installs.
    pub build: Info,
    /// Members: everything launched and not terminated yet.
    pub members: BTreeSet<String>,
    /// Activities, oldest first.
    pub activities: Vec<ScalingActivity>,
    /// Refreshes, oldest first.
    pub refreshes: Vec<InstanceRefresh>,
}

impl Group {
    /// Notes an activity.
    pub(crate) fn note(&mut self, activity: ScalingActivity) {
        if self.activities.len() == ACTIVITIES_KEPT {
            self.activities.remove(0);
        }
        self.activities.push(activity);
    }
}

impl Sim {
    pub(crate) fn describe_groups(
        &self,
        at_ms: u64,
        request: &DescribeAutoScalingGroups,
    ) -> Result<AutoScalingGroups, ApiError> {
        let names = |name: &String| request.names.is_empty() || request.names.contains(name);
        let found: Vec<(&String, &Group)> = self.groups.iter().filter(|(name, _)| names(name)).collect();
        let (page, next_token) = page(found, request.max_records, 50, 100, request.next_token.as_deref())?;
        let groups = page.into_iter().map(|(name, group)| self.shown_group(at_ms, name, group)).collect();
        Ok(AutoScalingGroups { groups, next_token })
    }

    pub(crate) fn describe_group_instances(
        &self,
        at_ms: u64,
        request: &DescribeAutoScalingInstances,
    ) -> Result<AutoScalingInstances, ApiError> {
        if request.instance_ids.len() > 50 {
            return Err(invalid("InstanceIds: at most 50"));
        }
        let mut ids: Vec<&String> = if request.instance_ids.is_empty() {
            self.groups.values().flat_map(|group| &group.members).collect()
        } else {
            request.instance_ids.iter().collect()
        };
        ids.sort_unstable();
        ids.dedup();
        let found: Vec<GroupInstance> = ids.into_iter().filter_map(|id| self.shown_member(at_ms, id)).collect();
        let (instances, next_token) = page(found, request.max_records, 50, 50, request.next_token.as_deref())?;
        Ok(AutoScalingInstances { instances, next_token })
    }

    pub(crate) fn describe_activities(
        &self,
        at_ms: u64,
        request: &DescribeScalingActivities,
    ) -> Result<ScalingActivities, ApiError> {
        let mut found: Vec<ScalingActivity> = match &request.group_name {
            Some(name) => self.group(name)?.activities.clone(),
            None => self.groups.values().flat_map(|group| group.activities.clone()).collect(),
        };
        found.sort_by_key(|activity| std::cmp::Reverse(activity.start_time_ms));
        for activity in &mut found {
            // An activity that is told its end beforehand is under way until then.
            if activity.end_time_ms.is_some_and(|end| end > at_ms) {
                "InProgress".clone_into(&mut activity.status_code);
                activity.progress = 50;
                activity.end_time_ms = None;
            }
        }
        let (activities, next_token) = page(found, request.max_records, 100, 100, request.next_token.as_deref())?;
        Ok(ScalingActivities { activities, next_token })
    }

    pub(crate) fn describe_refreshes(
        &self,
        request: &DescribeInstanceRefreshes,
    ) -> Result<InstanceRefreshes, ApiError> {
        let found: Vec<InstanceRefresh> = self.group(&request.group_name)?.refreshes.iter().rev().cloned().collect();
        let (refreshes, next_token) = page(found, request.max_records, 100, 100, request.next_token.as_deref())?;
        Ok(InstanceRefreshes { refreshes, next_token })
    }

    pub(crate) fn edit_group(&mut self, request: &EditGroup) -> Result<Done, ApiError> {
        let now_ms = self.now_ms;
        self.group(&request.group_name)?;
        let refresh_id = format!("{:016x}", self.dice.id());
        let group = self.group_mut(&request.group_name)?;
        let (min_size, max_size) =
            (request.min_size.unwrap_or(group.min_size), request.max_size.unwrap_or(group.max_size));
        let desired = request.desired_capacity.unwrap_or(group.desired);
        if min_size > max_size || desired < min_size || desired > max_size {
            return Err(invalid("min <= desired <= max must hold"));
        }
        (group.min_size, group.max_size) = (min_size, max_size);
        if let Some(health_check_type) = &request.health_check_type {
            group.health_check_type.clone_from(health_check_type);
        }
        if let Some(processes) = &request.suspended_processes {
            group.suspended = processes.iter().cloned().collect();
        }
        match request.refresh_in_progress {
            None => {}
            Some(true) => group.refreshes.push(InstanceRefresh {
                refresh_id,
                group_name: request.group_name.clone(),
                status: "InProgress".to_owned(),
                start_time_ms: now_ms,
                end_time_ms: None,
            }),
            Some(false) => {
                for refresh in group.refreshes.iter_mut().filter(|refresh| refresh.end_time_ms.is_none()) {
                    "Successful".clone_into(&mut refresh.status);
                    refresh.end_time_ms = Some(now_ms);
                }
            }
        }
        if request.desired_capacity.is_some() {
            self.set_desired(now_ms, &request.group_name, desired)?;
        }
        Ok(Done {})
    }

    pub(crate) fn group(&self, name: &str) -> Result<&Group, ApiError> {
        self.groups.get(name).ok_or_else(|| unknown_group(name))
    }

    pub(crate) fn group_mut(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        self.groups.get_mut(name).ok_or_else(|| unknown_group(name))
    }

    /// A member of a group as it is shown; none if it is in no group.
    pub(crate) fn shown_member(&self, at_ms: u64, instance_id: &str) -> Option<GroupInstance> {
        let instance = self.instances.get(instance_id)?;
        self.groups.get(&instance.group_name)?.members.get(instance_id)?;
        let lifecycle_state = match instance.state(at_ms) {
            InstanceState::Pending => "Pending",
            InstanceState::Running if !instance.in_service(at_ms) => "Pending:Wait",
            InstanceState::Running => "InService",
            InstanceState::ShuttingDown => "Terminating",
            InstanceState::Terminated => "Terminated",
        };
        let healthy = instance.end.is_none();
        Some(GroupInstance {
            instance_id: instance_id.to_owned(),
            group_name: instance.group_name.clone(),
            instance_type: instance.instance_type.clone(),
            availability_zone: instance.zone.clone(),
            lifecycle_state: lifecycle_state.to_owned(),
            health_status: if healthy { "Healthy" } else { "Unhealthy" }.to_owned(),
            protected_from_scale_in: instance.protected,
        })
    }

    fn shown_group(&self, at_ms: u64, name: &str, group: &Group) -> AutoScalingGroup {
        let subnets = group.subnet_ids.iter().filter_map(|id| self.subnets.get(id));
        let zones: BTreeSet<String> = subnets.map(|subnet| subnet.availability_zone.clone()).collect();
        let arn = format!(
            "arn:aws:autoscaling:{}:{}:autoScalingGroup:{:016x}:autoScalingGroupName/{name}",
            self.config.region, self.config.account_id, group.created_ms
        );
        AutoScalingGroup {
            name: name.to_owned(),
            arn,
            min_size: group.min_size,
            max_size: group.max_size,
            desired_capacity: group.desired,
            availability_zones: zones.into_iter().collect(),
            subnet_ids: group.subnet_ids.clone(),
            health_check_type: group.health_check_type.clone(),
            // The predecessor's templates say 300 s; nothing here waits for it.
            health_check_grace_period_s: 300,
            new_instances_protected_from_scale_in: true,
            suspended_processes: group.suspended.iter().cloned().collect(),
            launch_template_name: format!("{name}-template"),
            created_time_ms: group.created_ms,
            instances: group.members.iter().filter_map(|id| self.shown_member(at_ms, id)).collect(),
            tags: group.tags.clone(),
        }
    }
}

/// Auto Scaling's refusal of bad parameters.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::bad("ValidationError", message)
}

fn unknown_group(name: &str) -> ApiError {
    invalid(format!("AutoScalingGroup name not found - AutoScalingGroup: {name} not found"))
}

/// Auto Scaling's pages: a default size, a greatest size, and an offset as the token.
fn page<T>(
    items: Vec<T>,
    max_records: Option<u32>,
    default: u32,
    most: u32,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let size = max_records.unwrap_or(default);
    if size == 0 || size > most {
        return Err(invalid(format!("MaxRecords must be 1 to {most}")));
    }
    let from = match token {
        None => 0,
        Some(token) => {
            let offset = token.strip_prefix("offset:").and_then(|offset| offset.parse::<usize>().ok());
            offset.ok_or_else(|| ApiError::bad("InvalidNextToken", format!("the token '{token}' is not valid")))?
        }
    };
    let to = from.saturating_add(size as usize);
    let next = (to < items.len()).then(|| format!("offset:{to}"));
    Ok((items.into_iter().skip(from).take(size as usize).collect(), next))
}
