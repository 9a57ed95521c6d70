//! Auto Scaling, as far as it is used: groups, their members, one launch, one termination.
//!
//! SetDesiredCapacity is missing on purpose: it has no token, no version and no zone (finding 1).

use super::ec2::Tags;
use super::error::{ApiError, Class};
use super::open_enum::open_enum;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use tiershift_core::UnixMs;
use tiershift_core::ids::{GroupName, InstanceId, Zone};

/// The Auto Scaling calls in use. All share one bucket of the account; reads follow pages unless said otherwise.
///
/// Writes are one attempt each (rule 16), `launch_instances` too: its token makes a repetition by the caller safe.
#[async_trait]
pub trait AutoScalingApi: Debug + Send + Sync {
    /// DescribeAutoScalingGroups by name, at most 50. A name that does not exist is absent.
    async fn describe_auto_scaling_groups(&self, names: &[GroupName]) -> Result<Vec<Group>, ApiError>;

    /// DescribeAutoScalingInstances by id, at most 50. An instance in no group is absent.
    async fn describe_auto_scaling_instances(&self, ids: &[InstanceId]) -> Result<Vec<Member>, ApiError>;

    /// DescribeScalingActivities: the newest `limit` (1 to 100) of a group, newest first.
    async fn describe_scaling_activities(&self, group: &GroupName, limit: u8) -> Result<Vec<Activity>, ApiError>;

    /// DescribeInstanceRefreshes: the newest 100 of a group, newest first.
    async fn describe_instance_refreshes(&self, group: &GroupName) -> Result<Vec<Refresh>, ApiError>;

    /// LaunchInstances: one instance in one zone, with our token and retry strategy `none` (the other one lets the
    /// group choose the zone). Waits for the instance id, at most 60 s.
    async fn launch_instances(&self, request: &LaunchRequest) -> Result<LaunchOutcome, ApiError>;

    /// SetInstanceProtection from scale-in, at most 50 ids. Idempotent; needs `InService`.
    async fn set_instance_protection(
        &self,
        group: &GroupName,
        ids: &[InstanceId],
        protected: bool,
    ) -> Result<(), ApiError>;

    /// TerminateInstanceInAutoScalingGroup: exactly this instance. With `decrement` the group does not replace it;
    /// refused at the group's minimum size.
    async fn terminate_instance_in_auto_scaling_group(
        &self,
        instance: &InstanceId,
        decrement: bool,
    ) -> Result<(), ApiError>;
}

open_enum! {
    /// Where a member is in its life. Only `InService` may be used.
    Lifecycle {
        /// Starting.
        Pending = "Pending",
        /// Starting, held by a hook.
        PendingWait = "Pending:Wait",
        /// Starting, released by a hook.
        PendingProceed = "Pending:Proceed",
        /// In service.
        InService = "InService",
        /// Leaving.
        Terminating = "Terminating",
        /// Leaving, held by a hook.
        TerminatingWait = "Terminating:Wait",
        /// Leaving, released by a hook.
        TerminatingProceed = "Terminating:Proceed",
        /// Gone.
        Terminated = "Terminated",
        /// Being taken out of the group.
        Detaching = "Detaching",
        /// Taken out of the group.
        Detached = "Detached",
        /// Being put aside.
        EnteringStandby = "EnteringStandby",
        /// Put aside.
        Standby = "Standby",
    }
}

open_enum! {
    /// A process of a group that may be suspended.
    Process {
        /// Launches.
        Launch = "Launch",
        /// Terminations.
        Terminate = "Terminate",
        /// Moves instances between zones; must be suspended on groups that hold data volumes (rule 35).
        AzRebalance = "AZRebalance",
        /// Replaces unhealthy members.
        ReplaceUnhealthy = "ReplaceUnhealthy",
        /// Judges health.
        HealthCheck = "HealthCheck",
    }
}

open_enum! {
    /// By what a group judges health. Anything but EC2 can kill a source whose engine is stopped (H34).
    HealthCheck {
        /// Status checks only.
        Ec2 = "EC2",
        /// Load balancer.
        Elb = "ELB",
        /// Volume reachability.
        Ebs = "EBS",
        /// VPC Lattice.
        VpcLattice = "VPC_LATTICE",
    }
}

open_enum! {
    /// How far a scaling activity is.
    ActivityStatus {
        /// Waiting for Spot.
        PendingSpotBidPlacement = "PendingSpotBidPlacement",
        /// Waiting for Spot.
        WaitingForSpotInstanceRequestId = "WaitingForSpotInstanceRequestId",
        /// Waiting for Spot.
        WaitingForSpotInstanceId = "WaitingForSpotInstanceId",
        /// Waiting for the id.
        WaitingForInstanceId = "WaitingForInstanceId",
        /// Before it starts.
        PreInService = "PreInService",
        /// Running.
        InProgress = "InProgress",
        /// Waiting for a load balancer.
        WaitingForElbConnectionDraining = "WaitingForELBConnectionDraining",
        /// Waiting for a hook.
        MidLifecycleAction = "MidLifecycleAction",
        /// Waiting for warm-up.
        WaitingForInstanceWarmup = "WaitingForInstanceWarmup",
        /// Waiting for draining.
        WaitingForConnectionDraining = "WaitingForConnectionDraining",
        /// Done.
        Successful = "Successful",
        /// Failed.
        Failed = "Failed",
        /// Canceled.
        Cancelled = "Cancelled",
    }
}

open_enum! {
    /// How far an instance refresh is.
    RefreshStatus {
        /// Not begun.
        Pending = "Pending",
        /// Replacing instances.
        InProgress = "InProgress",
        /// Done.
        Successful = "Successful",
        /// Failed.
        Failed = "Failed",
        /// Being canceled.
        Cancelling = "Cancelling",
        /// Canceled.
        Cancelled = "Cancelled",
        /// Being rolled back.
        RollbackInProgress = "RollbackInProgress",
        /// Not rolled back.
        RollbackFailed = "RollbackFailed",
        /// Rolled back.
        RollbackSuccessful = "RollbackSuccessful",
        /// Waiting before the next phase.
        Baking = "Baking",
    }
}

impl RefreshStatus {
    /// Whether it can replace no more instances. An unknown word counts as running.
    pub fn ended(&self) -> bool {
        matches!(
            self,
            Self::Successful | Self::Failed | Self::Cancelled | Self::RollbackFailed | Self::RollbackSuccessful
        )
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// It never has fewer members than this by its own doing.
    pub min: i64,
    /// Nor more than this.
    pub max: i64,
    /// What it wants; below the real count after a scale-in event under protection (finding 8).
    pub desired: i64,
    /// Its zones' names.
    pub zones: Vec<Zone>,
    /// Its zones' ids.
    pub zone_ids: Vec<String>,
    /// Its subnets.
    pub subnet_ids: Vec<String>,
    /// By what it judges health.
    pub health_checks: Vec<HealthCheck>,
    /// Suspended processes.
    pub suspended: Vec<Process>,
    /// Its members, in the order of AWS.
    pub members: Vec<Member>,
    /// Whether new members start protected from scale-in.
    pub new_members_protected: bool,
    /// Whether it replaces members by age: then it can kill a source.
    pub replaces_by_age: bool,
    /// Whether it has a warm pool, where user data may run before the instance is asked for.
    pub warm_pool: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its tags.
    pub tags: Tags,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which instance.
    pub instance_id: InstanceId,
    /// Of which group.
    pub group: GroupName,
    /// Its type, if AWS says so.
    pub instance_type: Option<String>,
    /// Its zone's name.
    pub zone: Zone,
    /// Its zone's id.
    pub zone_id: Option<String>,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Whether the group calls it healthy; false also when it does not say.
    pub healthy: bool,
    /// Whether it is protected from scale-in.
    pub protected: bool,
}

/// A scaling activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Its id.
    pub activity_id: String,
    /// How far it is.
    pub status: ActivityStatus,
    /// When it began, by AWS's clock.
    pub started_at: Option<UnixMs>,
    /// When it ended, by AWS's clock.
    pub ended_at: Option<UnixMs>,
    /// What AWS says about it, for people ("We currently do not have sufficient … capacity"). Never compared.
    pub message: String,
}

/// An instance refresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Its id.
    pub refresh_id: String,
    /// How far it is.
    pub status: RefreshStatus,
}

/// What to launch: one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRequest {
    /// In which group.
    pub group: GroupName,
    /// Idempotency token, 1 to 64 ASCII characters.
    pub client_token: String,
    /// In which zone: the volume's.
    pub zone: Zone,
}

/// What a launch gave. Both lists may be filled, or neither: then the group is described and the instance adopted
/// by its token in the journal (rule 32).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchOutcome {
    /// The instances, as a rule one.
    pub instances: Vec<InstanceId>,
    /// What went wrong.
    pub faults: Vec<LaunchFault>,
}

/// A fault inside a launch that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchFault {
    /// What it means, by the same table as errors.
    pub class: Class,
    /// AWS's code.
    pub code: String,
    /// AWS's text: for the log only.
    pub message: String,
}
