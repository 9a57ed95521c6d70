//! Auto Scaling's answers as our types. What must be there and is not makes the answer malformed, hence unknown; a
//! word that is not known is kept as `Other`.

use super::super::errors::malformed;
use crate::ports::cloud::{
    Activity, ActivityStatus, ApiError, Class, Group, HealthCheck, LaunchFault, LaunchOutcome, Lifecycle, Member,
    Process, Refresh, RefreshStatus, codes,
};
use aws_sdk_autoscaling::operation::launch_instances::LaunchInstancesOutput;
use aws_sdk_autoscaling::primitives::DateTime;
use aws_sdk_autoscaling::types;
use tiershift_core::UnixMs;
use tiershift_core::ids::{GroupName, InstanceId, Malformed, Zone};

type Op = &'static str;

fn id<T>(
    op: Op,
    what: &str,
    text: Option<String>,
    parse: impl Fn(String) -> Result<T, Malformed>,
) -> Result<T, ApiError> {
    text.and_then(|text| parse(text).ok()).ok_or_else(|| malformed(op, what))
}

fn number(op: Op, what: &str, number: Option<i32>) -> Result<i64, ApiError> {
    number.map(i64::from).ok_or_else(|| malformed(op, what))
}

fn instant(time: Option<DateTime>) -> Option<UnixMs> {
    time.and_then(|time| time.to_millis().ok()).map(UnixMs)
}

fn healthy(status: Option<&str>) -> bool {
    // One call writes "Healthy", the other "HEALTHY".
    status.is_some_and(|status| status.eq_ignore_ascii_case("healthy"))
}

pub(super) fn group(op: Op, found: types::AutoScalingGroup) -> Result<Group, ApiError> {
    let name = id(op, "group name", found.auto_scaling_group_name, GroupName::parse)?;
    let zones = found.availability_zones.unwrap_or_default().into_iter();
    let members = found.instances.unwrap_or_default().into_iter();
    let split = |text: Option<String>| {
        let parts = text.unwrap_or_default();
        let parts = parts.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(Group {
        min: number(op, "minimum size", found.min_size)?,
        max: number(op, "maximum size", found.max_size)?,
        desired: number(op, "desired capacity", found.desired_capacity)?,
        zones: zones.map(|zone| id(op, "zone", Some(zone), Zone::parse)).collect::<Result<_, _>>()?,
        zone_ids: found.availability_zone_ids.unwrap_or_default(),
        subnet_ids: split(found.vpc_zone_identifier),
        health_checks: split(found.health_check_type).iter().map(|check| HealthCheck::parse(check)).collect(),
        suspended: found.suspended_processes.unwrap_or_default().iter().map(process).collect(),
        members: members.map(|member| of_group(op, &name, member)).collect::<Result<_, _>>()?,
        new_members_protected: found.new_instances_protected_from_scale_in.unwrap_or(false),
        replaces_by_age: found.max_instance_lifetime.is_some_and(|seconds| seconds != 0),
        warm_pool: found.warm_pool_configuration.is_some(),
        deleting: found.status.is_some(),
        tags: found.tags.unwrap_or_default().into_iter().filter_map(|t| Some((t.key?, t.value?))).collect(),
        name,
    })
}

fn process(found: &types::SuspendedProcess) -> Process {
    Process::parse(found.process_name.as_deref().unwrap_or_default())
}

fn of_group(op: Op, group: &GroupName, found: types::Instance) -> Result<Member, ApiError> {
    Ok(Member {
        instance_id: id(op, "instance id", found.instance_id, InstanceId::parse)?,
        group: group.clone(),
        instance_type: found.instance_type,
        zone: id(op, "zone", found.availability_zone, Zone::parse)?,
        zone_id: found.availability_zone_id,
        lifecycle: Lifecycle::parse(found.lifecycle_state.as_ref().map_or("", |state| state.as_str())),
        healthy: healthy(found.health_status.as_deref()),
        protected: found.protected_from_scale_in.unwrap_or(false),
    })
}

pub(super) fn instance(op: Op, found: types::AutoScalingInstanceDetails) -> Result<Member, ApiError> {
    Ok(Member {
        instance_id: id(op, "instance id", found.instance_id, InstanceId::parse)?,
        group: id(op, "group name", found.auto_scaling_group_name, GroupName::parse)?,
        instance_type: found.instance_type,
        zone: id(op, "zone", found.availability_zone, Zone::parse)?,
        zone_id: found.availability_zone_id,
        lifecycle: Lifecycle::parse(found.lifecycle_state.as_deref().unwrap_or_default()),
        healthy: healthy(found.health_status.as_deref()),
        protected: found.protected_from_scale_in.unwrap_or(false),
    })
}

pub(super) fn activity(op: Op, found: types::Activity) -> Result<Activity, ApiError> {
    let message = found.status_message.or(found.description).unwrap_or_default();
    Ok(Activity {
        activity_id: found.activity_id.ok_or_else(|| malformed(op, "activity id"))?,
        status: ActivityStatus::parse(found.status_code.as_ref().map_or("", |status| status.as_str())),
        started_at: instant(found.start_time),
        ended_at: instant(found.end_time),
        message,
    })
}

pub(super) fn refresh(op: Op, found: types::InstanceRefresh) -> Result<Refresh, ApiError> {
    Ok(Refresh {
        refresh_id: found.instance_refresh_id.ok_or_else(|| malformed(op, "refresh id"))?,
        status: RefreshStatus::parse(found.status.as_ref().map_or("", |status| status.as_str())),
    })
}

pub(super) fn launch(op: Op, answer: LaunchInstancesOutput) -> Result<LaunchOutcome, ApiError> {
    let launched = answer.instances.unwrap_or_default().into_iter();
    let ids = launched.flat_map(|collection| collection.instance_ids.unwrap_or_default());
    let fault = |found: types::LaunchInstancesError| {
        let code = found.error_code.unwrap_or_default();
        let class = codes::class_of(op, &code).unwrap_or(Class::UnknownCode);
        LaunchFault { class, code, message: found.error_message.unwrap_or_default() }
    };
    Ok(LaunchOutcome {
        instances: ids.map(|text| id(op, "instance id", Some(text), InstanceId::parse)).collect::<Result<_, _>>()?,
        faults: answer.errors.unwrap_or_default().into_iter().map(fault).collect(),
    })
}
