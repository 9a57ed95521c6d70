//! EC2, as far as it is used: volumes, attachments, snapshots, instances.
//!
//! Every answer is eventually consistent and may go back in time (rule 12). The truth about a volume is its
//! attachments, never its `state` and never an instance's block devices (rule 13).

use super::error::ApiError;
use super::open_enum::open_enum;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use tiershift_core::UnixMs;
use tiershift_core::ids::{InstanceId, SnapshotId, VolumeId, Zone};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The most values of one filter: EC2's `FilterLimitExceeded` (rule 11).
pub const FILTER_VALUES_MAX: usize = 200;

/// The EC2 calls in use.
///
/// Reads are in filter form: an id that does not exist is absent from the answer and does not fail the call; no
/// ids, no call and an empty answer; pages are followed. More than [`FILTER_VALUES_MAX`] ids, or a filter with
/// nothing in it, are refused as `Permanent` and not sent: an unfiltered call draws from a smaller bucket and lists
/// a whole account. Polling goes through `adapters/describe.rs` (rule 11), not here.
///
/// Writes are one attempt each (rule 16). None but `create_volume` has a token: after `Class::Unknown` the caller
/// observes before it calls again.
#[async_trait]
pub trait Ec2Api: Debug + Send + Sync {
    /// DescribeVolumes.
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, ApiError>;

    /// DescribeInstances by id.
    async fn describe_instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, ApiError>;

    /// DescribeInstanceStatus by id, at most 100, running or not. It has no filter form: one id that EC2 does not
    /// know fails the call with `NotFound`.
    async fn describe_instance_status(&self, ids: &[InstanceId]) -> Result<Vec<InstanceStatus>, ApiError>;

    /// DescribeSnapshots of our own account.
    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, ApiError>;

    /// DescribeVolumesModifications by volume id. A volume that was never modified is absent.
    async fn describe_volumes_modifications(&self, ids: &[VolumeId]) -> Result<Vec<VolumeModification>, ApiError>;

    /// DescribeInstanceTypeOfferings by zone: the zones that offer the type, sorted.
    async fn describe_instance_type_offerings(&self, instance_type: &str) -> Result<Vec<Zone>, ApiError>;

    /// DescribeSubnets by id.
    async fn describe_subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, ApiError>;

    /// CreateSnapshot. Its point in time is this call (finding 6). The tags are in the same call, so that a lost
    /// answer can be found again by them (rule 18).
    async fn create_snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, ApiError>;

    /// DeleteSnapshot. A pending one goes when it completes.
    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ApiError>;

    /// AttachVolume. The answer says what EC2 intends, not what is.
    async fn attach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError>;

    /// DetachVolume, always naming volume, instance and device, never by force (rule 21).
    async fn detach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Attachment, ApiError>;

    /// CreateTags: sets tags on resources by id, replacing values of the same keys. Idempotent.
    async fn create_tags(&self, resources: &[String], tags: &Tags) -> Result<(), ApiError>;

    /// ModifyInstanceAttribute, for one attribute only: DeleteOnTermination of a device becomes false (rule 28).
    /// Idempotent.
    async fn modify_instance_attribute(&self, instance: &InstanceId, device: &str) -> Result<(), ApiError>;

    /// TerminateInstances of one instance. Idempotent. The answer is the state EC2 reports right then.
    async fn terminate_instances(&self, instance: &InstanceId) -> Result<InstanceState, ApiError>;

    /// CreateVolume, with our token. At the account's quota a repetition is refused although the call before it had
    /// succeeded: look the volume up by its tags before giving up.
    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, ApiError>;
}

open_enum! {
    /// A volume's state. `in-use` covers attaching, attached, detaching and busy: only the attachment tells.
    VolumeState {
        /// Being made.
        Creating = "creating",
        /// Attached nowhere, as far as this read goes.
        Available = "available",
        /// Has an attachment of whatever state.
        InUse = "in-use",
        /// Being deleted.
        Deleting = "deleting",
        /// Deleted.
        Deleted = "deleted",
        /// Failed.
        Error = "error",
    }
}

open_enum! {
    /// The state of an attachment, as the volume tells it.
    AttachmentState {
        /// Attach was accepted; for more than 90 s it is stuck.
        Attaching = "attaching",
        /// EC2 says attached. The agent's view of the serial completes the fact (rule 26).
        Attached = "attached",
        /// Detach was accepted.
        Detaching = "detaching",
        /// Detached; rarely seen: the entry is usually gone.
        Detached = "detached",
        /// Detach was accepted and the device is still mounted.
        Busy = "busy",
    }
}

open_enum! {
    /// A snapshot's state.
    SnapshotState {
        /// Being copied; usable for nothing but waiting.
        Pending = "pending",
        /// Whole.
        Completed = "completed",
        /// Failed.
        Error = "error",
        /// In the recycle bin.
        Recoverable = "recoverable",
        /// Coming back from the recycle bin.
        Recovering = "recovering",
    }
}

open_enum! {
    /// The state of a volume's latest modification.
    ModificationState {
        /// Being changed.
        Modifying = "modifying",
        /// Changed, still being copied: blocks the next one.
        Optimizing = "optimizing",
        /// Done.
        Completed = "completed",
        /// Failed.
        Failed = "failed",
    }
}

open_enum! {
    /// An instance's state.
    InstanceState {
        /// Starting.
        Pending = "pending",
        /// Running, which says nothing about the host's health.
        Running = "running",
        /// On its way to `terminated`.
        ShuttingDown = "shutting-down",
        /// Gone; it cannot write any more.
        Terminated = "terminated",
        /// On its way to `stopped`.
        Stopping = "stopping",
        /// Stopped.
        Stopped = "stopped",
    }
}

open_enum! {
    /// The result of a status check.
    Check {
        /// Passed.
        Ok = "ok",
        /// Failed.
        Impaired = "impaired",
        /// Not run yet.
        InsufficientData = "insufficient-data",
        /// Not run: the instance does not run.
        NotApplicable = "not-applicable",
        /// Starting.
        Initializing = "initializing",
    }
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub volume_id: VolumeId,
    /// A summary that is not the truth about attachments (rule 13).
    pub state: VolumeState,
    /// Its zone's name in this account.
    pub zone: Zone,
    /// Its zone's id, the same in every account.
    pub zone_id: Option<String>,
    /// Size in GiB.
    pub size_gib: i64,
    /// `gp3` and so on.
    pub volume_type: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The KMS key, if it is encrypted.
    pub kms_key_id: Option<String>,
    /// The snapshot it was made from: then it is no fresh volume (rule 27).
    pub snapshot_id: Option<SnapshotId>,
    /// Whether several instances may hold it: then it is not ours to move.
    pub multi_attach: bool,
    /// The truth. More than one on a volume that is not multi-attach: stop and alert (rule 15).
    pub attachments: Vec<Attachment>,
    /// Its tags.
    pub tags: Tags,
    /// When it was made, by AWS's clock.
    pub created_at: Option<UnixMs>,
}

/// A volume's hold on an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance. None: held by something that is no instance of ours, a foreign holder.
    pub instance_id: Option<InstanceId>,
    /// The device name of the API (`/dev/sdf`), which is not the name in the guest. Empty if EC2 gave none.
    pub device: String,
    /// Its state.
    pub state: AttachmentState,
    /// Whether the volume dies with the instance. True also when EC2 did not say: it must be *known* to be false
    /// (rule 28). The answers of AttachVolume and DetachVolume do not count for that.
    pub delete_on_termination: bool,
}

/// Which volumes: all that is set must fit; at least one part must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeFilter {
    /// One of these ids.
    pub ids: Vec<VolumeId>,
    /// Attached to one of these instances.
    pub instance_ids: Vec<InstanceId>,
    /// Has all of these tags.
    pub tags: Tags,
}

/// Which snapshots: all that is set must fit; at least one part must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotFilter {
    /// One of these ids.
    pub ids: Vec<SnapshotId>,
    /// Of one of these volumes.
    pub volume_ids: Vec<VolumeId>,
    /// Has all of these tags.
    pub tags: Tags,
    /// Has each of these tags with one of its values.
    pub any_of: BTreeMap<String, Vec<String>>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub instance_id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// `r7g.large` and so on.
    pub instance_type: String,
    /// Its zone's name in this account.
    pub zone: Zone,
    /// Its zone's id.
    pub zone_id: Option<String>,
    /// Its address in the VPC, while it has one.
    pub private_ip: Option<String>,
    /// Its subnet.
    pub subnet_id: Option<String>,
    /// The device of its root volume.
    pub root_device: Option<String>,
    /// Its block devices: stale enough to be a bad allocator and no proof of anything.
    pub block_devices: Vec<BlockDevice>,
    /// Its tags.
    pub tags: Tags,
    /// When it was launched, by AWS's clock.
    pub launched_at: Option<UnixMs>,
}

/// An entry of an instance's block device map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// The device name.
    pub device: String,
    /// Its volume.
    pub volume_id: Option<VolumeId>,
    /// As the instance tells it.
    pub state: AttachmentState,
    /// Whether the volume dies with the instance; true also when EC2 did not say.
    pub delete_on_termination: bool,
}

/// The status checks of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Which instance.
    pub instance_id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// The host's check.
    pub system: Check,
    /// The guest's check.
    pub instance: Check,
    /// Reachability of its EBS volumes.
    pub attached_ebs: Check,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub snapshot_id: SnapshotId,
    /// The volume it was taken of, which may be gone.
    pub volume_id: Option<VolumeId>,
    /// Its state.
    pub state: SnapshotState,
    /// Why it failed, in AWS's words: for the log only.
    pub state_message: Option<String>,
    /// How much is copied, 0 to 100, if EC2 says so.
    pub progress_percent: Option<u8>,
    /// Its point in time, by AWS's clock: never compared with ours.
    pub started_at: Option<UnixMs>,
    /// The volume's size in GiB.
    pub volume_size_gib: i64,
    /// Its tags.
    pub tags: Tags,
}

/// What to snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Of which volume.
    pub volume_id: VolumeId,
    /// For people; at most 255 characters.
    pub description: String,
    /// Set with the snapshot, in one call.
    pub tags: Tags,
}

/// The latest modification of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeModification {
    /// Which volume.
    pub volume_id: VolumeId,
    /// Its state.
    pub state: ModificationState,
    /// The size it is going to, in GiB.
    pub target_size_gib: Option<i64>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub subnet_id: String,
    /// Its zone's name in this account.
    pub zone: Zone,
    /// Its zone's id.
    pub zone_id: Option<String>,
    /// Free addresses, if EC2 says so.
    pub free_addresses: Option<i64>,
}

/// What volume to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVolume {
    /// Idempotency token, at most 64 ASCII characters.
    pub client_token: String,
    /// In which zone.
    pub zone: Zone,
    /// Size in GiB.
    pub size_gib: i64,
    /// `gp3` and so on.
    pub volume_type: String,
    /// Provisioned operations a second, where the type has them.
    pub iops: Option<i64>,
    /// Provisioned MiB a second, where the type has them.
    pub throughput_mib: Option<i64>,
    /// Whether to encrypt it.
    pub encrypted: bool,
    /// The KMS key; none for the account's own.
    pub kms_key_id: Option<String>,
    /// The snapshot to fill it from.
    pub snapshot_id: Option<SnapshotId>,
    /// Set with the volume, in one call.
    pub tags: Tags,
}
