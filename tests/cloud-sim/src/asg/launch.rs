//! What groups do: launch, protect, terminate, and replace what they lose.
//!
//! Assumptions about LaunchInstances that AWS does not document (docs/aws.md 13): it raises desired by what it launched;
//! a token keeps its answer for ever, an answer without instances included; it is refused above max size. A second
//! termination of a terminating member answers the activity that is under way.

use serde::{Deserialize, Serialize};

use super::Group;
use super::invalid;
use crate::agent::Agent;
use crate::api::autoscaling::{
    InstanceCollection, LaunchError, LaunchInstances, LaunchedInstances, ScalingActivity, SetInstanceProtection,
    TerminateInstanceInAutoScalingGroup, TerminationActivity,
};
use crate::api::ec2::Tags;
use crate::api::{ApiError, Done};
use crate::device::Device;
use crate::ec2::instances::{Instance, ROOT_DEVICE};
use crate::ec2::link::Link;
use crate::ec2::volumes::Volume;
use crate::faults::Fault;
use crate::host::Host;
use crate::ids::Kind;
use crate::sim::{Event, Sim};
use crate::timing::{Mishap, Op};

/// A group that could not launch tries again after so long.
const RELAUNCH_MS: u64 = 300_000;

/// How long a lifecycle hook that strikes keeps an instance waiting: what installs itself slowly, and completes the hook.
const HOOK_MS: u64 = 120_000;

/// GiB of a root disk.
const ROOT_GIB: u32 = 30;

/// The answer to a LaunchInstances token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchToken {
    request: LaunchInstances,
    answer: LaunchedInstances,
    /// Until the first call was answered, others with its token are told to wait.
    answered_ms: u64,
}

/// An instance to be.
pub(crate) struct Newcomer<'a> {
    /// Its group.
    pub(crate) group_name: &'a str,
    /// Its zone.
    pub(crate) zone: &'a str,
    /// Its subnet.
    pub(crate) subnet_id: &'a str,
    /// When it was launched.
    pub(crate) launch_ms: u64,
    /// Lag of reads behind that.
    pub(crate) lag_ms: u64,
    /// When it is `running`.
    pub(crate) running_ms: u64,
    /// When its agent answers.
    pub(crate) up_ms: u64,
}

impl Sim {
    /// `at_ms` is when the call takes effect, `answered_ms` when it is answered.
    pub(crate) fn launch_instances(
        &mut self,
        at_ms: u64,
        answered_ms: u64,
        request: &LaunchInstances,
    ) -> Result<LaunchedInstances, ApiError> {
        if !(1..=64).contains(&request.client_token.len()) {
            return Err(invalid("ClientToken must have 1 to 64 characters"));
        }
        if let Some(known) = self.launch_tokens.get(&request.client_token) {
            if known.request != *request {
                let message = "The client token was used with other parameters";
                return Err(ApiError::bad("IdempotentParameterMismatch", message));
            }
            if known.answered_ms > self.now_ms {
                return Err(in_progress());
            }
            return Ok(known.answer.clone());
        }
        let (mut zone, mut subnet_id) = self.check_launch(request)?;
        if let Some(other) = self.elsewhere(&request.group_name, &zone)
            && self.faults.strikes(&Fault::WrongZone)
        {
            (zone, subnet_id) = other;
        }
        let instance_type = self.group(&request.group_name)?.instance_type.clone();
        let mut launched = Vec::new();
        let mut errors = Vec::new();
        for _ in 0..request.requested_capacity {
            if self.take_capacity(at_ms, &zone, &instance_type) {
                launched.push(self.launch(at_ms, &request.group_name, &zone, &subnet_id, "a LaunchInstances call"));
                self.group_mut(&request.group_name)?.desired += 1;
            } else {
                self.note_no_capacity(at_ms, &request.group_name, &zone, &instance_type);
                errors.push(LaunchError {
                    instance_type: instance_type.clone(),
                    market_type: "on-demand".to_owned(),
                    subnet_id: subnet_id.clone(),
                    availability_zone: zone.clone(),
                    error_code: "InsufficientInstanceCapacity".to_owned(),
                    error_message: no_capacity(&instance_type, &zone),
                });
                break;
            }
        }
        let collection = InstanceCollection {
            instance_type,
            market_type: "on-demand".to_owned(),
            subnet_id,
            availability_zone_id: self.zone_id(&zone),
            availability_zone: zone,
            instance_ids: launched,
        };
        let answer = LaunchedInstances {
            group_name: request.group_name.clone(),
            client_token: request.client_token.clone(),
            instances: if collection.instance_ids.is_empty() { Vec::new() } else { vec![collection] },
            errors,
        };
        let token = LaunchToken { request: request.clone(), answer: answer.clone(), answered_ms };
        self.launch_tokens.insert(request.client_token.clone(), token);
        if self.dice.mishap(Mishap::LaunchInProgress) { Err(in_progress()) } else { Ok(answer) }
    }

    /// The zone and subnet that a launch goes to.
    fn check_launch(&self, request: &LaunchInstances) -> Result<(String, String), ApiError> {
        let group = self.group(&request.group_name)?;
        if let Some(strategy) = request.retry_strategy.as_deref().filter(|strategy| *strategy != "none") {
            return Err(invalid(format!("RetryStrategy '{strategy}' is not supported")));
        }
        if request.requested_capacity == 0 {
            return Err(invalid("RequestedCapacity must be at least 1"));
        }
        if request.availability_zones.len() + request.subnet_ids.len() > 1 {
            return Err(invalid("Only one Availability Zone or one subnet can be given"));
        }
        let subnet = match (request.availability_zones.first(), request.subnet_ids.first()) {
            (Some(zone), _) => self.subnet_in(&group.subnet_ids, zone),
            (None, Some(id)) => self.subnets.get(id).filter(|_| group.subnet_ids.contains(id)),
            (None, None) if group.subnet_ids.len() == 1 => self.subnets.get(&group.subnet_ids[0]),
            (None, None) => return Err(invalid("A group of several zones needs an Availability Zone or a subnet")),
        };
        let subnet = subnet.ok_or_else(|| invalid("The group has no such Availability Zone or subnet"))?;
        if group.suspended.contains("Launch") {
            return Err(invalid("The Launch process of the group is suspended"));
        }
        if group.desired + request.requested_capacity > group.max_size {
            return Err(invalid(format!(
                "The requested capacity {} would exceed the group's maximum size {}",
                request.requested_capacity, group.max_size
            )));
        }
        Ok((subnet.availability_zone.clone(), subnet.subnet_id.clone()))
    }

    /// Another zone of the group, with its subnet.
    fn elsewhere(&self, group_name: &str, zone: &str) -> Option<(String, String)> {
        let subnets = self.groups.get(group_name)?.subnet_ids.iter().filter_map(|id| self.subnets.get(id));
        let other = subnets.into_iter().find(|subnet| subnet.availability_zone != zone)?;
        Some((other.availability_zone.clone(), other.subnet_id.clone()))
    }

    /// Launches one instance; capacity was taken.
    pub(crate) fn launch(&mut self, at_ms: u64, group_name: &str, zone: &str, subnet_id: &str, cause: &str) -> String {
        let running_ms = at_ms + self.dice.duration_ms(Op::Running);
        let up_ms = running_ms + self.dice.duration_ms(Op::AgentUp);
        let lag_ms = self.lag_ms();
        let instance_id =
            self.add_member(&Newcomer { group_name, zone, subnet_id, launch_ms: at_ms, lag_ms, running_ms, up_ms });
        if self.faults.strikes(&Fault::LaunchHook)
            && let Some(instance) = self.instances.get_mut(&instance_id)
        {
            instance.hooked_until_ms = running_ms + HOOK_MS;
        }
        let no_agent = self.faults.strikes(&Fault::LaunchWithoutAgent);
        if let Some(host) = self.host_mut(&instance_id) {
            host.no_agent = no_agent;
        }
        let activity = self.activity(
            at_ms,
            group_name,
            format!("Launching a new EC2 instance: {instance_id}"),
            format!("At {at_ms} an instance was started in response to {cause}."),
            running_ms,
        );
        if let Some(group) = self.groups.get_mut(group_name) {
            group.note(activity);
        }
        instance_id
    }

    /// Makes an instance with its root disk and puts it into its group.
    pub(crate) fn add_member(&mut self, newcomer: &Newcomer<'_>) -> String {
        let Newcomer { group_name, zone, subnet_id, launch_ms, lag_ms, running_ms, up_ms } = *newcomer;
        let instance_id = Kind::Instance.make(&mut self.dice);
        let root_volume_id = Kind::Volume.make(&mut self.dice);
        self.addresses += 1;
        let group = self.groups.get(group_name);
        let mut tags = group.map(|group| group.tags.clone()).unwrap_or_default();
        tags.insert("aws:autoscaling:groupName".to_owned(), group_name.to_owned());
        let instance = Instance {
            group_name: group_name.to_owned(),
            instance_type: group.map(|group| group.instance_type.clone()).unwrap_or_default(),
            zone: zone.to_owned(),
            subnet_id: subnet_id.to_owned(),
            private_ip: format!(
                "10.{}.{}.{}",
                self.addresses >> 16 & 255,
                self.addresses >> 8 & 255,
                self.addresses & 255
            ),
            launch_ms,
            lag_ms,
            running_ms,
            hooked_until_ms: 0,
            end: None,
            root_volume_id: root_volume_id.clone(),
            protected: true,
            tags,
            touched: [root_volume_id.clone()].into(),
            host: Host {
                dead: false,
                no_agent: false,
                boot: 0,
                up_ms,
                build: group.map_or_else(|| self.config.build.clone(), |group| group.build.clone()),
                agent: Agent::default(),
                engine: None,
                cache: crate::host::Cache::new(),
            },
        };
        self.volumes.insert(root_volume_id, root_volume(&instance_id, zone, launch_ms, lag_ms));
        self.instances.insert(instance_id.clone(), instance);
        if let Some(group) = self.groups.get_mut(group_name) {
            group.members.insert(instance_id.clone());
        }
        instance_id
    }

    pub(crate) fn set_protection(&mut self, at_ms: u64, request: &SetInstanceProtection) -> Result<Done, ApiError> {
        let group = self.group(&request.group_name)?;
        if request.instance_ids.len() > 50 {
            return Err(invalid("InstanceIds: at most 50"));
        }
        for id in &request.instance_ids {
            let Some(instance) = self.instances.get(id).filter(|_| group.members.contains(id)) else {
                return Err(invalid(format!(
                    "The instance {id} is not part of Auto Scaling group {}.",
                    request.group_name
                )));
            };
            if !instance.in_service(at_ms) {
                return Err(invalid(format!("The instance {id} is not in InService or EnteringStandby or Standby.")));
            }
        }
        for id in &request.instance_ids {
            if let Some(instance) = self.instances.get_mut(id) {
                instance.protected = request.protected_from_scale_in;
            }
        }
        Ok(Done {})
    }

    pub(crate) fn terminate_member(
        &mut self,
        at_ms: u64,
        request: &TerminateInstanceInAutoScalingGroup,
    ) -> Result<TerminationActivity, ApiError> {
        let instance_id = &request.instance_id;
        let unknown =
            || invalid(format!("Instance Id not found - No managed instance found for instance ID: {instance_id}"));
        let group_name = self.shown_member(at_ms, instance_id).ok_or_else(unknown)?.group_name;
        let group = self.group(&group_name)?;
        let description = format!("Terminating EC2 instance: {instance_id}");
        if self.instances.get(instance_id).is_some_and(|instance| instance.end.is_some()) {
            let known = group.activities.iter().rev().find(|activity| activity.description == description);
            let activity = known.cloned().ok_or_else(unknown)?;
            return Ok(TerminationActivity { activity });
        }
        let decrement = request.should_decrement_desired_capacity;
        if decrement && group.desired == group.min_size {
            return Err(invalid(format!(
                "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate \
                 group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower \
                 group's min size.",
                group.min_size
            )));
        }
        if decrement {
            self.group_mut(&group_name)?.desired -= 1;
        }
        self.terminate(at_ms, instance_id, "Client.UserInitiatedShutdown");
        self.note_termination(at_ms, &group_name, instance_id, "a user request");
        // Without decrement the group makes up for it; the check finds out.
        self.queue(at_ms, Event::GroupCheck { group_name: group_name.clone() });
        let group = self.group(&group_name)?;
        let mut activity = group.activities.last().cloned().ok_or_else(unknown)?;
        "InProgress".clone_into(&mut activity.status_code);
        activity.progress = 0;
        activity.end_time_ms = None;
        Ok(TerminationActivity { activity })
    }

    /// A member was terminated behind the group's back.
    pub(crate) fn lost_member(&mut self, at_ms: u64, instance_id: &str) {
        let Some(member) = self.shown_member(at_ms, instance_id) else { return };
        self.note_termination(at_ms, &member.group_name, instance_id, "an EC2 health check");
        let after_ms = self.dice.duration_ms(Op::Replacement);
        self.queue(at_ms + after_ms, Event::GroupCheck { group_name: member.group_name });
    }

    pub(crate) fn note_termination(&mut self, at_ms: u64, group_name: &str, instance_id: &str, cause: &str) {
        let end = self.instances.get(instance_id).and_then(|instance| instance.end.as_ref());
        let gone_ms = end.map_or(at_ms, |end| end.gone_ms);
        let activity = self.activity(
            at_ms,
            group_name,
            format!("Terminating EC2 instance: {instance_id}"),
            format!("At {at_ms} an instance was taken out of service in response to {cause}."),
            gone_ms,
        );
        if let Some(group) = self.groups.get_mut(group_name) {
            group.note(activity);
        }
        let (group_name, instance_id) = (group_name.to_owned(), instance_id.to_owned());
        self.queue(gone_ms, Event::MemberGone { group_name, instance_id });
    }

    pub(crate) fn member_gone(&mut self, group_name: &str, instance_id: &str) {
        if let Some(group) = self.groups.get_mut(group_name) {
            group.members.remove(instance_id);
        }
    }

    /// Launches what a group lacks, in the zones that have the fewest members, and ends what it has too much of.
    pub(crate) fn group_check(&mut self, group_name: &str) {
        let now_ms = self.now_ms;
        self.end_surplus(group_name);
        while let Some((zones, instance_type)) = self.lacking(group_name) {
            let Some((zone, subnet_id)) =
                zones.into_iter().find(|(zone, _)| self.take_capacity(now_ms, zone, &instance_type))
            else {
                self.note_no_capacity(now_ms, group_name, "any", &instance_type);
                self.queue(now_ms + RELAUNCH_MS, Event::GroupCheck { group_name: group_name.to_owned() });
                return;
            };
            self.launch(now_ms, group_name, &zone, &subnet_id, "a difference between desired and actual capacity");
        }
    }

    /// Zones with subnet, fewest members first, if the group has fewer members than it should.
    fn lacking(&self, group_name: &str) -> Option<(Vec<(String, String)>, String)> {
        let group = self.groups.get(group_name)?;
        let members = group.members.iter().filter_map(|id| self.instances.get(id));
        let staying = members.filter(|instance| instance.end.is_none()).count();
        if staying >= group.desired as usize || group.suspended.contains("Launch") {
            return None;
        }
        Some((self.zones_by_members(group), group.instance_type.clone()))
    }

    /// The zone of a group that has the fewest members, with its subnet.
    pub(crate) fn emptiest(&self, group_name: &str) -> Option<(String, String)> {
        self.zones_by_members(self.groups.get(group_name)?).into_iter().next()
    }

    /// Zones of a group with their subnets, fewest members first.
    fn zones_by_members(&self, group: &Group) -> Vec<(String, String)> {
        let members = group.members.iter().filter_map(|id| self.instances.get(id));
        let staying: Vec<&str> = members.filter(|i| i.end.is_none()).map(|i| i.zone.as_str()).collect();
        let subnets = group.subnet_ids.iter().filter_map(|id| self.subnets.get(id));
        let mut zones: Vec<(String, String)> =
            subnets.map(|subnet| (subnet.availability_zone.clone(), subnet.subnet_id.clone())).collect();
        zones.sort_by_key(|(zone, _)| (staying.iter().filter(|member| *member == zone).count(), zone.clone()));
        zones
    }

    fn note_no_capacity(&mut self, at_ms: u64, group_name: &str, zone: &str, instance_type: &str) {
        let mut activity = self.activity(
            at_ms,
            group_name,
            "Launching a new EC2 instance".to_owned(),
            format!("At {at_ms} an instance was to be started."),
            at_ms,
        );
        "Failed".clone_into(&mut activity.status_code);
        activity.status_message = no_capacity(instance_type, zone);
        if let Some(group) = self.groups.get_mut(group_name) {
            group.note(activity);
        }
    }

    pub(crate) fn activity(
        &mut self,
        at_ms: u64,
        group: &str,
        description: String,
        cause: String,
        end_ms: u64,
    ) -> ScalingActivity {
        ScalingActivity {
            activity_id: format!("{:016x}", self.dice.id()),
            group_name: group.to_owned(),
            description,
            cause,
            status_code: "Successful".to_owned(),
            status_message: String::new(),
            progress: 100,
            start_time_ms: at_ms,
            end_time_ms: Some(end_ms),
        }
    }
}

fn root_volume(instance_id: &str, zone: &str, at_ms: u64, lag_ms: u64) -> Volume {
    let link = Link {
        instance_id: instance_id.to_owned(),
        device: ROOT_DEVICE.to_owned(),
        delete_on_termination: true,
        start_ms: at_ms,
        attached_ms: Some(at_ms),
        detach_ms: None,
        busy_ms: None,
        gone_ms: None,
        attach_lag_ms: lag_ms,
        detach_lag_ms: lag_ms,
        instance_lag_ms: 0,
        hidden_from_ms: None,
    };
    Volume {
        zone: zone.to_owned(),
        size_gib: ROOT_GIB,
        volume_type: "gp3".to_owned(),
        iops: 3_000,
        throughput: 125,
        encrypted: true,
        snapshot_id: String::new(),
        created_ms: at_ms,
        available_ms: at_ms,
        visible_ms: at_ms + lag_ms,
        deleted_ms: None,
        root: true,
        tags: Tags::new(),
        links: vec![link],
        device: Device::default(),
        dirty_bytes: 0,
        snapshotted: true,
        home: None,
        modifications: Vec::new(),
    }
}

fn in_progress() -> ApiError {
    ApiError::bad("IdempotentCallInProgress", "A call with this client token is in progress")
}

fn no_capacity(instance_type: &str, zone: &str) -> String {
    format!(
        "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone})."
    )
}
