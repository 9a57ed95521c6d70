//! Auto Scaling requests and answers: the fields in use, with AWS's names in our spelling.
//!
//! There is no `SetDesiredCapacity` here on purpose: the product never calls it (H16).

use serde::{Deserialize, Serialize};

use super::ec2::Tags;

/// Parameters of `DescribeAutoScalingGroups`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeAutoScalingGroups {
    /// Names; unknown ones are absent from the answer. Empty = all.
    pub names: Vec<String>,
    /// 1 to 100; `None` = 50.
    pub max_records: Option<u32>,
    /// From the page before.
    pub next_token: Option<String>,
}

/// A page of groups, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroups {
    /// The page.
    pub groups: Vec<AutoScalingGroup>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// Least number of members.
    pub min_size: u32,
    /// Greatest number of members.
    pub max_size: u32,
    /// Wanted number of members.
    pub desired_capacity: u32,
    /// Zone names, ordered.
    pub availability_zones: Vec<String>,
    /// `VPCZoneIdentifier`, one id each.
    pub subnet_ids: Vec<String>,
    /// `EC2`, or with `ELB`/`EBS` added.
    pub health_check_type: String,
    /// Seconds.
    pub health_check_grace_period_s: u32,
    /// Members protected from scale-in when they come into service.
    pub new_instances_protected_from_scale_in: bool,
    /// Names of suspended processes, e.g. `AZRebalance`.
    pub suspended_processes: Vec<String>,
    /// Name of the launch template.
    pub launch_template_name: String,
    /// When it was made.
    pub created_time_ms: u64,
    /// Members, ordered by instance id.
    pub instances: Vec<GroupInstance>,
    /// Tags.
    pub tags: Tags,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInstance {
    /// The instance.
    pub instance_id: String,
    /// Its group.
    pub group_name: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone name.
    pub availability_zone: String,
    /// `Pending`, `InService`, `Terminating`, `Terminated`.
    pub lifecycle_state: String,
    /// `Healthy`, `Unhealthy`.
    pub health_status: String,
    /// Scale-in protection.
    pub protected_from_scale_in: bool,
}

/// Parameters of `DescribeAutoScalingInstances`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeAutoScalingInstances {
    /// At most 50; ids that are in no group are absent from the answer. Empty = all.
    pub instance_ids: Vec<String>,
    /// 1 to 50; `None` = 50.
    pub max_records: Option<u32>,
    /// From the page before.
    pub next_token: Option<String>,
}

/// A page of members, ordered by instance id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingInstances {
    /// The page.
    pub instances: Vec<GroupInstance>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// Parameters of `DescribeScalingActivities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeScalingActivities {
    /// `None` = of all groups.
    pub group_name: Option<String>,
    /// 1 to 100; `None` = 100.
    pub max_records: Option<u32>,
    /// From the page before.
    pub next_token: Option<String>,
}

/// A page of activities, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingActivities {
    /// The page.
    pub activities: Vec<ScalingActivity>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A launch or termination that a group made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingActivity {
    /// Id.
    pub activity_id: String,
    /// Group.
    pub group_name: String,
    /// What: `Launching a new EC2 instance: i-...`.
    pub description: String,
    /// Why.
    pub cause: String,
    /// `InProgress`, `Successful`, `Failed`.
    pub status_code: String,
    /// Why it failed, or empty.
    pub status_message: String,
    /// 0 to 100.
    pub progress: u32,
    /// Begin.
    pub start_time_ms: u64,
    /// End.
    pub end_time_ms: Option<u64>,
}

/// Parameters of `DescribeInstanceRefreshes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeInstanceRefreshes {
    /// Group.
    pub group_name: String,
    /// 1 to 100; `None` = 100.
    pub max_records: Option<u32>,
    /// From the page before.
    pub next_token: Option<String>,
}

/// A page of refreshes, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRefreshes {
    /// The page.
    pub refreshes: Vec<InstanceRefresh>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A rolling replacement of a group's instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRefresh {
    /// Id.
    pub refresh_id: String,
    /// Group.
    pub group_name: String,
    /// `Pending`, `InProgress`, `Successful`, `Cancelled`.
    pub status: String,
    /// Begin.
    pub start_time_ms: u64,
    /// End.
    pub end_time_ms: Option<u64>,
}

/// Parameters of `LaunchInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchInstances {
    /// Group.
    pub group_name: String,
    /// Required, 1 to 64 characters. Same token and parameters = the same instances.
    pub client_token: String,
    /// How many.
    pub requested_capacity: u32,
    /// At most one; either this or a subnet for a group of several zones.
    pub availability_zones: Vec<String>,
    /// At most one.
    pub subnet_ids: Vec<String>,
    /// `none` (also when `None`), or `retry-with-group-configuration`, which is refused here: the product must never ask for it.
    pub retry_strategy: Option<String>,
}

/// Answer of `LaunchInstances`. Both lists may be filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchedInstances {
    /// Group.
    pub group_name: String,
    /// The token given.
    pub client_token: String,
    /// What was launched.
    pub instances: Vec<InstanceCollection>,
    /// What was not.
    pub errors: Vec<LaunchError>,
}

/// Instances launched alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceCollection {
    /// Instance type.
    pub instance_type: String,
    /// `on-demand`.
    pub market_type: String,
    /// Subnet.
    pub subnet_id: String,
    /// Zone name.
    pub availability_zone: String,
    /// Zone id.
    pub availability_zone_id: String,
    /// The new instances.
    pub instance_ids: Vec<String>,
}

/// Why instances were not launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchError {
    /// Instance type.
    pub instance_type: String,
    /// `on-demand`.
    pub market_type: String,
    /// Subnet.
    pub subnet_id: String,
    /// Zone name.
    pub availability_zone: String,
    /// E.g. `InsufficientInstanceCapacity`.
    pub error_code: String,
    /// For people.
    pub error_message: String,
}

/// Parameters of `SetInstanceProtection`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInstanceProtection {
    /// Group.
    pub group_name: String,
    /// At most 50, all members and in service, else nothing changes.
    pub instance_ids: Vec<String>,
    /// On or off.
    pub protected_from_scale_in: bool,
}

/// Parameters of `TerminateInstanceInAutoScalingGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminateInstanceInAutoScalingGroup {
    /// The member.
    pub instance_id: String,
    /// Lower desired by one, so that it is not replaced. Refused at min size.
    pub should_decrement_desired_capacity: bool,
}

/// Answer of `TerminateInstanceInAutoScalingGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminationActivity {
    /// The activity that was started, or is already under way.
    pub activity: ScalingActivity,
}
