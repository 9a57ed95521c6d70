//! Clouds that count their calls, for the tests of what stands before one.

use crate::ports::cloud::{
    Activity, ApiError, Attachment, AutoScalingApi, Class, CreateVolume, Ec2Api, Group, Instance, InstanceState,
    InstanceStatus, LaunchOutcome, LaunchRequest, Lifecycle, Member, Refresh, Snapshot, SnapshotFilter,
    SnapshotRequest, SnapshotState, Subnet, Tags, Thing, Volume, VolumeFilter, VolumeModification, VolumeState,
};
use async_trait::async_trait;
use std::sync::Mutex;
use tiershift_core::ids::{GroupName, InstanceId, SnapshotId, VolumeId, Zone};
use tokio::sync::Notify;

/// An EC2 in which every second volume exists, and everything else. Calls for volumes wait for a permit when `held`.
#[derive(Debug, Default)]
pub struct Cloud {
    calls: Mutex<Vec<Vec<VolumeId>>>,
    answers: Mutex<Vec<Result<(), ApiError>>>,
    /// A volume that spoils every call that names it.
    pub bad: Mutex<Option<VolumeId>>,
    /// Whether calls wait.
    pub held: Mutex<bool>,
    /// Lets one of them go.
    pub release: Notify,
}

impl Cloud {
    /// The volumes of each call.
    pub fn calls(&self) -> Vec<Vec<VolumeId>> {
        self.calls.lock().unwrap().clone()
    }

    /// The next calls fail so, the first last.
    pub fn fail_next(&self, errors: Vec<ApiError>) {
        *self.answers.lock().unwrap() = errors.into_iter().map(Err).collect();
    }
}

fn not_called<T>() -> T {
    panic!("nothing calls this")
}

/// An error of a class.
pub fn error(class: Class) -> ApiError {
    ApiError { operation: "DescribeVolumes", class, code: "X".to_owned(), message: String::new(), request_id: None }
}

/// A volume.
pub fn volume(id: &VolumeId) -> Volume {
    Volume {
        volume_id: id.clone(),
        state: VolumeState::Available,
        zone: Zone::parse("us-east-1a").unwrap(),
        zone_id: None,
        size_gib: 1,
        volume_type: "gp3".to_owned(),
        encrypted: false,
        kms_key_id: None,
        snapshot_id: None,
        multi_attach: false,
        attachments: vec![],
        tags: Tags::new(),
        created_at: None,
    }
}

#[async_trait]
impl Ec2Api for Cloud {
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, ApiError> {
        self.calls.lock().unwrap().push(filter.ids.clone());
        if *self.held.lock().unwrap() {
            self.release.notified().await;
        }
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))?;
        if self.bad.lock().unwrap().as_ref().is_some_and(|bad| filter.ids.contains(bad)) {
            return Err(error(Class::NotFound(Thing::Volume)));
        }
        let even =
            |id: &&VolumeId| u64::from_str_radix(id.as_str().trim_start_matches("vol-"), 16).unwrap().is_multiple_of(2);
        Ok(filter.ids.iter().filter(even).map(volume).collect())
    }
    async fn describe_instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, ApiError> {
        let instance = |id: &InstanceId| Instance {
            instance_id: id.clone(),
            state: InstanceState::Running,
            instance_type: "r7g.large".to_owned(),
            zone: Zone::parse("us-east-1a").unwrap(),
            zone_id: None,
            private_ip: None,
            subnet_id: None,
            root_device: None,
            block_devices: vec![],
            tags: Tags::new(),
            launched_at: None,
        };
        Ok(ids.iter().map(instance).collect())
    }
    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, ApiError> {
        let snapshot = |n: usize, tags: Tags| Snapshot {
            snapshot_id: SnapshotId::parse(format!("snap-{n:017x}")).unwrap(),
            volume_id: filter.volume_ids.get(n).cloned(),
            state: SnapshotState::Completed,
            state_message: None,
            progress_percent: Some(100),
            started_at: None,
            volume_size_gib: 1,
            tags,
        };
        let of_volumes = (0..filter.volume_ids.len()).map(|n| snapshot(n, Tags::new()));
        let tagged = filter.any_of.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        let tagged = tagged.enumerate().map(|(n, (key, value))| snapshot(n, [(key.clone(), value.clone())].into()));
        Ok(of_volumes.chain(tagged).collect())
    }
    async fn describe_instance_status(&self, _: &[InstanceId]) -> Result<Vec<InstanceStatus>, ApiError> {
        not_called()
    }
    async fn describe_volumes_modifications(&self, _: &[VolumeId]) -> Result<Vec<VolumeModification>, ApiError> {
        not_called()
    }
    async fn describe_instance_type_offerings(&self, _: &str) -> Result<Vec<Zone>, ApiError> {
        not_called()
    }
    async fn describe_subnets(&self, _: &[String]) -> Result<Vec<Subnet>, ApiError> {
        not_called()
    }
    async fn create_snapshot(&self, _: &SnapshotRequest) -> Result<Snapshot, ApiError> {
        not_called()
    }
    async fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), ApiError> {
        not_called()
    }
    async fn attach_volume(&self, _: &VolumeId, _: &InstanceId, _: &str) -> Result<Attachment, ApiError> {
        not_called()
    }
    async fn detach_volume(&self, _: &VolumeId, _: &InstanceId, _: &str) -> Result<Attachment, ApiError> {
        not_called()
    }
    async fn create_tags(&self, _: &[String], _: &Tags) -> Result<(), ApiError> {
        not_called()
    }
    async fn modify_instance_attribute(&self, _: &InstanceId, _: &str) -> Result<(), ApiError> {
        not_called()
    }
    async fn terminate_instances(&self, _: &InstanceId) -> Result<InstanceState, ApiError> {
        not_called()
    }
    async fn create_volume(&self, _: &CreateVolume) -> Result<Volume, ApiError> {
        not_called()
    }
}

/// An Auto Scaling that knows every instance as a member of one group, and takes every call that changes something.
#[derive(Debug, Default)]
pub struct Scaling {
    asked: Mutex<Vec<&'static str>>,
    throttle: Mutex<bool>,
}

impl Scaling {
    /// The calls, in order.
    pub fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }

    /// The next call is throttled.
    pub fn throttle_next(&self) {
        *self.throttle.lock().unwrap() = true;
    }

    fn ask(&self, operation: &'static str) -> Result<(), ApiError> {
        self.asked.lock().unwrap().push(operation);
        if std::mem::take(&mut *self.throttle.lock().unwrap()) { Err(error(Class::Throttled)) } else { Ok(()) }
    }
}

#[async_trait]
impl AutoScalingApi for Scaling {
    async fn describe_auto_scaling_groups(&self, _: &[GroupName]) -> Result<Vec<Group>, ApiError> {
        self.ask("DescribeAutoScalingGroups").map(|()| Vec::new())
    }
    async fn describe_auto_scaling_instances(&self, ids: &[InstanceId]) -> Result<Vec<Member>, ApiError> {
        let member = |id: &InstanceId| Member {
            instance_id: id.clone(),
            group: GroupName::parse("writers").unwrap(),
            instance_type: None,
            zone: Zone::parse("us-east-1a").unwrap(),
            zone_id: None,
            lifecycle: Lifecycle::InService,
            healthy: true,
            protected: true,
        };
        self.ask("DescribeAutoScalingInstances").map(|()| ids.iter().map(member).collect())
    }
    async fn describe_scaling_activities(&self, _: &GroupName, _: u8) -> Result<Vec<Activity>, ApiError> {
        not_called()
    }
    async fn describe_instance_refreshes(&self, _: &GroupName) -> Result<Vec<Refresh>, ApiError> {
        self.ask("DescribeInstanceRefreshes").map(|()| Vec::new())
    }
    async fn launch_instances(&self, _: &LaunchRequest) -> Result<LaunchOutcome, ApiError> {
        not_called()
    }
    async fn set_instance_protection(&self, _: &GroupName, _: &[InstanceId], _: bool) -> Result<(), ApiError> {
        self.ask("SetInstanceProtection")
    }
    async fn terminate_instance_in_auto_scaling_group(&self, _: &InstanceId, _: bool) -> Result<(), ApiError> {
        not_called()
    }
}
