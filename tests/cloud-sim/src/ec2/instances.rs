//! Instances: reading and terminating them. Launching is in `asg/launch.rs`, what runs on them in `host.rs`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::filter;
use crate::api::ec2::{
    BlockDevice, DescribeInstanceStatus, DescribeInstances, Instance as Shown, InstanceStateChange, InstanceStatus,
    InstanceStatuses, Instances, ModifyInstanceAttribute, Tags, TerminateInstances, TerminatedInstances,
};
use crate::api::{ApiError, Done};
use crate::host::Host;
use crate::ids::Kind;
use crate::sim::Sim;
use crate::timing::Op;

/// Device of the root disk.
pub const ROOT_DEVICE: &str = "/dev/xvda";

/// A terminated instance is shown for so long.
const TERMINATED_SHOWN_MS: u64 = 3_600_000;

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Launched, not up yet.
    Pending,
    /// Up, as far as EC2 knows.
    Running,
    /// Being terminated.
    ShuttingDown,
    /// Gone, with everything that was attached let go.
    Terminated,
}

impl InstanceState {
    /// AWS's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// AWS's number.
    pub const fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
        }
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the API's own names")]
pub struct Instance {
    /// The group it was launched by.
    pub group_name: String,
    /// E.g. `m7g.large`.
    pub instance_type: String,
    /// Zone name.
    pub zone: String,
    /// Subnet.
    pub subnet_id: String,
    /// Address in the VPC.
    pub private_ip: String,
    /// When it was launched.
    pub launch_ms: u64,
    /// Lag of reads behind the launch.
    pub lag_ms: u64,
    /// When it is `running`.
    pub running_ms: u64,
    /// Until when a lifecycle hook keeps it out of service; 0: none does.
    #[serde(default)]
    pub hooked_until_ms: u64,
    /// Its end, once it was asked for.
    pub end: Option<End>,
    /// Its root disk.
    pub root_volume_id: String,
    /// Scale-in protection, as far as it was set by a call or by the group.
    pub protected: bool,
    /// Tags.
    pub tags: Tags,
    /// Every volume that was ever attached to it.
    pub touched: BTreeSet<String>,
    /// What runs on it.
    pub host: Host,
}

/// The end of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When it began to shut down.
    pub at_ms: u64,
    /// When it is terminated and its volumes are free.
    pub gone_ms: u64,
    /// Lag of reads behind both.
    pub lag_ms: u64,
    /// AWS's reason code.
    pub reason: String,
}

impl Instance {
    /// What is true at an instant.
    pub fn state(&self, at_ms: u64) -> InstanceState {
        self.state_with(at_ms, 0, 0)
    }

    /// Whether its group counts it as in service: running, and held back by no hook.
    pub fn in_service(&self, at_ms: u64) -> bool {
        self.state(at_ms) == InstanceState::Running && self.hooked_until_ms <= at_ms
    }

    /// What a read shows.
    pub fn shown(&self, at_ms: u64) -> InstanceState {
        self.state_with(at_ms, self.lag_ms, self.end.as_ref().map_or(0, |end| end.lag_ms))
    }

    fn state_with(&self, at_ms: u64, start_lag_ms: u64, end_lag_ms: u64) -> InstanceState {
        match &self.end {
            Some(end) if end.gone_ms + end_lag_ms <= at_ms => InstanceState::Terminated,
            Some(end) if end.at_ms + end_lag_ms <= at_ms => InstanceState::ShuttingDown,
            _ if self.running_ms + start_lag_ms <= at_ms => InstanceState::Running,
            _ => InstanceState::Pending,
        }
    }

    /// Whether a read can see it at all: not yet right after the launch, not any more an hour after the end.
    fn visible(&self, at_ms: u64) -> bool {
        self.launch_ms + self.lag_ms <= at_ms && !self.forgotten(at_ms)
    }

    fn forgotten(&self, at_ms: u64) -> bool {
        self.end.as_ref().is_some_and(|end| end.gone_ms + TERMINATED_SHOWN_MS <= at_ms)
    }
}

impl Sim {
    pub(crate) fn describe_instances(
        &mut self,
        at_ms: u64,
        request: &DescribeInstances,
    ) -> Result<Instances, ApiError> {
        filter::check(
            &request.filters,
            &[
                "instance-id",
                "instance-state-name",
                "instance-type",
                "availability-zone",
                "subnet-id",
                "private-ip-address",
                "block-device-mapping.volume-id",
                "tag",
            ],
        )?;
        filter::ids_or_pages(&request.instance_ids, &request.paging)?;
        let mut found = Vec::new();
        for instance_id in self.visible_instances(at_ms, &request.instance_ids, &request.filters)? {
            let block_devices = self.block_devices(at_ms, &instance_id);
            let Some(instance) = self.instances.get(&instance_id) else { continue };
            let shown = self.shown_instance(at_ms, &instance_id, instance, block_devices);
            let field = |name: &str| match name {
                "instance-id" => vec![shown.instance_id.clone()],
                "instance-state-name" => vec![shown.state.clone()],
                "instance-type" => vec![shown.instance_type.clone()],
                "availability-zone" => vec![shown.availability_zone.clone()],
                "subnet-id" => vec![shown.subnet_id.clone()],
                "private-ip-address" => vec![shown.private_ip.clone()],
                _ => shown.block_devices.iter().map(|device| device.volume_id.clone()).collect(),
            };
            if filter::matches(&request.filters, &shown.tags, field) {
                found.push((instance_id, shown));
            }
        }
        let (instances, next_token) = filter::page(found, &request.paging)?;
        Ok(Instances { instances, next_token })
    }

    pub(crate) fn describe_instance_status(
        &mut self,
        at_ms: u64,
        request: &DescribeInstanceStatus,
    ) -> Result<InstanceStatuses, ApiError> {
        filter::check(
            &request.filters,
            &["instance-state-name", "availability-zone", "instance-status.status", "system-status.status"],
        )?;
        filter::ids_or_pages(&request.instance_ids, &request.paging)?;
        let mut found = Vec::new();
        for instance_id in self.visible_instances(at_ms, &request.instance_ids, &[])? {
            let Some(instance) = self.instances.get(&instance_id) else { continue };
            let state = instance.shown(at_ms);
            if state != InstanceState::Running && !request.include_all_instances {
                continue;
            }
            let check = match state {
                InstanceState::Running if instance.host.dead => "impaired",
                InstanceState::Running if at_ms < instance.host.up_ms => "initializing",
                InstanceState::Running => "ok",
                _ => "not-applicable",
            };
            let field = |name: &str| match name {
                "instance-state-name" => vec![state.name().to_owned()],
                "availability-zone" => vec![instance.zone.clone()],
                _ => vec![check.to_owned()],
            };
            if filter::matches(&request.filters, &instance.tags, field) {
                let status = InstanceStatus {
                    instance_id: instance_id.clone(),
                    availability_zone: instance.zone.clone(),
                    state: state.name().to_owned(),
                    state_code: state.code(),
                    instance_status: check.to_owned(),
                    system_status: check.to_owned(),
                };
                found.push((instance_id, status));
            }
        }
        let (statuses, next_token) = filter::page(found, &request.paging)?;
        Ok(InstanceStatuses { statuses, next_token })
    }

    pub(crate) fn modify_instance_attribute(
        &mut self,
        at_ms: u64,
        request: &ModifyInstanceAttribute,
    ) -> Result<Done, ApiError> {
        let instance_id = &request.instance_id;
        let touched = self.instance(at_ms, instance_id)?.touched.clone();
        let holds = |sim: &Self, volume_id: &str, device: &str| {
            let link = sim.volumes.get(volume_id).and_then(|volume| volume.link(at_ms));
            link.is_some_and(|link| link.instance_id == *instance_id && link.device == device)
        };
        let mut changes = Vec::new();
        for change in &request.block_devices {
            let Some(volume_id) = touched.iter().find(|id| holds(self, id, &change.device_name)) else {
                return Err(ApiError::bad(
                    "InvalidInstanceAttributeValue",
                    format!("No device is currently mapped at {}", change.device_name),
                ));
            };
            changes.push((volume_id, change.delete_on_termination));
        }
        for (volume_id, delete_on_termination) in changes {
            if let Some(link) = self.volumes.get_mut(volume_id).and_then(|volume| volume.link_mut(at_ms)) {
                link.delete_on_termination = delete_on_termination;
            }
        }
        Ok(Done {})
    }

    pub(crate) fn terminate_instances(
        &mut self,
        at_ms: u64,
        request: &TerminateInstances,
    ) -> Result<TerminatedInstances, ApiError> {
        for instance_id in &request.instance_ids {
            Kind::Instance.check(instance_id)?;
        }
        let unknown = |id: &&str| self.instance(at_ms, id).is_err();
        let missing: Vec<&str> = request.instance_ids.iter().map(String::as_str).filter(unknown).collect();
        if !missing.is_empty() {
            return Err(Kind::Instance.not_found(&missing));
        }
        let mut changes = Vec::new();
        for instance_id in &request.instance_ids {
            let before = self.instance(at_ms, instance_id)?.state(at_ms);
            self.terminate_by_hand(at_ms, instance_id);
            let after = self.instance(at_ms, instance_id)?.state(at_ms);
            changes.push(InstanceStateChange {
                instance_id: instance_id.clone(),
                previous_state: before.name().to_owned(),
                previous_state_code: before.code(),
                current_state: after.name().to_owned(),
                current_state_code: after.code(),
            });
        }
        Ok(TerminatedInstances { changes })
    }

    /// Terminates an instance as an operator does who asks EC2 for it.
    pub(crate) fn terminate_by_hand(&mut self, at_ms: u64, instance_id: &str) {
        if self.terminate(at_ms, instance_id, "Client.UserInitiatedShutdown") {
            // The group only learns of it by a health check, then makes up for it.
            self.lost_member(at_ms, instance_id);
        }
    }

    /// Begins an instance's end: power off now, terminated and volumes free later. False if it had begun before.
    pub(crate) fn terminate(&mut self, at_ms: u64, instance_id: &str, reason: &str) -> bool {
        if self.instances.get(instance_id).is_none_or(|instance| instance.end.is_some()) {
            return false;
        }
        let gone_ms = at_ms + self.dice.duration_ms(Op::Terminate);
        let lag_ms = self.lag_ms();
        let Some(instance) = self.instances.get_mut(instance_id) else { return false };
        instance.end = Some(End { at_ms, gone_ms, lag_ms, reason: reason.to_owned() });
        let touched = instance.touched.clone();
        // An unclean end: whatever the engine had not flushed goes with the host.
        self.power_off(instance_id, false);
        for volume_id in touched {
            let Some(volume) = self.volumes.get_mut(&volume_id) else { continue };
            let Some(link) = volume.link_mut(at_ms).filter(|link| link.instance_id == *instance_id) else { continue };
            link.gone_ms = Some(link.gone_ms.map_or(gone_ms, |gone| gone.min(gone_ms)));
            link.detach_lag_ms = lag_ms;
            if link.delete_on_termination {
                volume.deleted_ms = Some(gone_ms);
            }
        }
        true
    }

    /// An instance that exists, for a call that names it. Terminated ones do for an hour.
    pub(crate) fn instance(&self, at_ms: u64, instance_id: &str) -> Result<&Instance, ApiError> {
        Kind::Instance.check(instance_id)?;
        let found = self.instances.get(instance_id).filter(|instance| !instance.forgotten(at_ms));
        found.ok_or_else(|| Kind::Instance.not_found(&[instance_id]))
    }

    /// Ids that a Describe call means and a read can see.
    fn visible_instances(
        &self,
        at_ms: u64,
        ids: &[String],
        filters: &[crate::api::ec2::Filter],
    ) -> Result<Vec<String>, ApiError> {
        let visible = |id: &str| self.instances.get(id).is_some_and(|instance| instance.visible(at_ms));
        if ids.is_empty() {
            let mut found: Vec<String> = match filter::exact(filters, "instance-id") {
                Some(ids) => ids.iter().filter(|id| visible(id)).cloned().collect(),
                None => self.instances.keys().filter(|id| visible(id)).cloned().collect(),
            };
            found.sort_unstable();
            found.dedup();
            return Ok(found);
        }
        for id in ids {
            Kind::Instance.check(id)?;
        }
        let missing: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !visible(id)).collect();
        if missing.is_empty() { Ok(ids.to_vec()) } else { Err(Kind::Instance.not_found(&missing)) }
    }

    /// An instance's block device map as a read shows it.
    fn block_devices(&mut self, at_ms: u64, instance_id: &str) -> Vec<BlockDevice> {
        let Some(instance) = self.instances.get(instance_id) else { return Vec::new() };
        if instance.shown(at_ms) == InstanceState::Terminated {
            return Vec::new();
        }
        let touched: Vec<String> = instance.touched.iter().cloned().collect();
        let links = touched.iter().filter_map(|id| self.volumes.get(id)).flat_map(|volume| &volume.links);
        let of_instance = links.filter(|link| link.instance_id == *instance_id);
        let change = of_instance.filter_map(|link| link.last_shown_change(at_ms)).max();
        let read_ms = self.read_instant_ms(instance_id, change, at_ms);
        let mut devices = Vec::new();
        for volume_id in touched {
            let links = self.volumes.get(&volume_id).into_iter().flat_map(|volume| &volume.links);
            for link in links.filter(|link| link.instance_id == *instance_id) {
                if let Some(state) = link.shown_on_instance(read_ms) {
                    devices.push(BlockDevice {
                        device_name: link.device.clone(),
                        volume_id: volume_id.clone(),
                        status: state.instance_name().to_owned(),
                        attach_time_ms: link.start_ms,
                        delete_on_termination: link.delete_on_termination,
                    });
                }
            }
        }
        devices.sort_by(|a, b| a.device_name.cmp(&b.device_name));
        devices
    }

    fn shown_instance(&self, at_ms: u64, id: &str, instance: &Instance, block_devices: Vec<BlockDevice>) -> Shown {
        let state = instance.shown(at_ms);
        let ended = matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
        let reason = instance.end.as_ref().filter(|_| ended).map(|end| end.reason.clone());
        let private_ip = if state == InstanceState::Terminated { String::new() } else { instance.private_ip.clone() };
        Shown {
            instance_id: id.to_owned(),
            state: state.name().to_owned(),
            state_code: state.code(),
            state_reason_code: reason.unwrap_or_default(),
            instance_type: instance.instance_type.clone(),
            availability_zone: instance.zone.clone(),
            availability_zone_id: self.zone_id(&instance.zone),
            subnet_id: instance.subnet_id.clone(),
            private_ip,
            launch_time_ms: instance.launch_ms,
            root_device_name: ROOT_DEVICE.to_owned(),
            block_devices,
            tags: instance.tags.clone(),
        }
    }
}
